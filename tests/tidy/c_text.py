# SPDX-License-Identifier: BSD-2-Clause
"""Just enough reading of C for the checks beside this file."""
import re

# A comment, a string or a character, whichever begins first.
TOKEN = re.compile(r'/\*.*?\*/|//[^\n]*|"(?:\\.|[^"\\\n])*"|'
                   r"'(?:\\.|[^'\\\n])*'", re.S)
DIRECTIVE = re.compile(r"^[ \t]*#(?:[^\n]*\\\n)*[^\n]*", re.M)


def blank(text, keep_strings=False):
    """The text without comments and strings, its lines where they were."""
    def replace(match):
        token = match.group()
        if keep_strings and token[0] != "/":
            return token
        return "\n" * token.count("\n") or " "
    return TOKEN.sub(replace, text)


def declarations(text):
    """The top-level declarations of a header, function bodies left out."""
    text = DIRECTIVE.sub("", blank(text))
    depth = 0
    current = []
    for char in text:
        if char == "{":
            depth += 1
        elif char == "}":
            depth -= 1
            if depth == 0:
                current.append("{}")
                head = "".join(current).split("{")[0]
                if "(" in head:         # a function: nothing follows it
                    yield " ".join("".join(current).split())
                    current = []
        elif depth == 0:
            if char == ";":
                yield " ".join("".join(current).split())
                current = []
            else:
                current.append(char)


ATTRIBUTE = re.compile(r"__attribute__\s*\(\((?:[^()]|\([^()]*\))*\)\)")
FUNCTION = re.compile(r"\b(xmb_\w+)\s*\(")
OBJECT = re.compile(r"^(?:XMB_API )?extern .*?\b(xmb_\w+)(?:\s*\[[^]]*\])*$")


def public_names(text):
    """(name, declaration) of each function and object a header declares."""
    for declaration in declarations(text):
        declaration = ATTRIBUTE.sub("", declaration).strip()
        match = OBJECT.search(declaration) or \
            FUNCTION.search(declaration.split("{")[0])
        if match and not declaration.startswith(("typedef", "static")):
            yield match.group(1), declaration
