# SPDX-License-Identifier: BSD-2-Clause
"""What can be told from the text of the sources alone."""
import os
import re

from c_text import blank
from tap import Report, arguments, sources

FILE_LINES = 600
FUNCTION_LINES = 70
C_COLUMNS = 80
SCRIPT_COLUMNS = 100
C_SUFFIXES = {".c", ".h"}
NO_SPDX = {"LICENSE", "LAYERS", ".clang-format", ".clang-tidy", ".gitignore",
           "required", "lib.map", "meson_options.txt"}
NO_SPDX_SUFFIXES = {".md", ".1", ".3", ".7", ".svg", ".json", ".pcap", ".txt"}
# Taken apart, so that this file holds none of them.
UNFINISHED = re.compile(r"\b(" + "|".join(
    ["TO" "DO", "FIX" "ME", "XX" "X", "HA" "CK"]) + r")\b")
VOLATILE = re.compile(r"\b(const\s+)?volatile\b")
GPL_TOO = "GPL-2.0-only OR BSD-2-Clause"


def is_script(path, text):
    return path.suffix in {".py", ".sh", ".build"} or text.startswith("#!")


def long_functions(text):
    """(line, length) of the functions that are too long.

    Kernel formatting helps: a function's body, and nothing else, begins and
    ends with a brace that stands alone in the first column.
    """
    start = None
    for number, line in enumerate(text.splitlines(), 1):
        if line == "{":
            start = number
        elif line.startswith("}") and start is not None:
            if number - start > FUNCTION_LINES:
                yield start, number - start
            start = None


def text_faults(name, text, columns):
    for number, line in enumerate(text.splitlines(), 1):
        if line != line.rstrip():
            yield f"{name}:{number}: ends in white space"
        width = len(line.expandtabs(8))
        if columns and width > columns:
            yield f"{name}:{number}: {width} columns, {columns} at most"
    if text and not text.endswith("\n"):
        yield f"{name}: the last line has no end"
    if text.endswith("\n\n"):
        yield f"{name}: ends in an empty line"


def indent_faults(name, text):
    """Indented by tabs; blanks only align, seven at most, and in comments."""
    code = blank(text).splitlines()
    for number, line in enumerate(text.splitlines(), 1):
        body = line.lstrip(" \t")
        indent = line[:len(line) - len(body)]
        if " \t" in indent:
            yield f"{name}:{number}: blanks before a tab"
        elif "        " in indent and code[number - 1].strip():
            yield f"{name}:{number}: indented by blanks, not tabs"


def volatile_faults(path, name, text):
    code = blank(text)
    for match in VOLATILE.finditer(code):
        if not (match.group(1) and path.name.endswith(".bpf.c")):
            number = code.count("\n", 0, match.start()) + 1
            yield f"{name}:{number}: volatile; stdatomic.h says what is meant"


def spdx_faults(path, name, text):
    if path.name in NO_SPDX or path.suffix in NO_SPDX_SUFFIXES:
        return
    head = "\n".join(text.splitlines()[:3])
    want = GPL_TOO if path.name.endswith(".bpf.c") else "BSD-2-Clause"
    if "SPDX-License-Identifier: " not in head:
        yield f"{name}: no SPDX line"
    elif want not in head:
        yield f"{name}: its SPDX line does not say {want}"


def unlisted_tests(root):
    """Test programs that no build would run."""
    table = (root / "tests" / "meson.build").read_text()
    for path in sorted((root / "tests").glob("*/*")):
        name = path.stem.removeprefix("test_")
        runs = path.match("unit/test_*.c") or path.match("bpf/test_*.c") or \
            path.match("veth/test_*.c") or path.match("stress/*.c") or \
            (path.match("veth/*.py") and os.access(path, os.X_OK))
        if runs and f"'{name}'" not in table:
            yield f"{path.relative_to(root)} is not in tests/meson.build"


def main():
    root, _ = arguments()
    text_all, indent, functions, files = [], [], [], []
    words, volatiles, spdx = [], [], []
    for path in sources(root):
        try:
            text = path.read_text()
        except UnicodeDecodeError:
            continue
        name = str(path.relative_to(root))
        is_c = path.suffix in C_SUFFIXES
        if not is_c and not is_script(path, text):
            words += [f"{name}:{n}: {line.strip()}" for n, line in
                      enumerate(text.splitlines(), 1)
                      if UNFINISHED.search(line)]
            spdx += spdx_faults(path, name, text)
            continue
        lines = text.count("\n")
        if lines > FILE_LINES:
            files.append(f"{name}: {lines} lines, {FILE_LINES} at most")
        text_all += text_faults(name, text,
                                C_COLUMNS if is_c else SCRIPT_COLUMNS)
        words += [f"{name}:{n}: {line.strip()}" for n, line in
                  enumerate(text.splitlines(), 1) if UNFINISHED.search(line)]
        spdx += spdx_faults(path, name, text)
        if is_c:
            functions += [f"{name}:{n}: {length} lines, {FUNCTION_LINES} at"
                          " most" for n, length in long_functions(text)]
            indent += indent_faults(name, text)
            volatiles += volatile_faults(path, name, text)

    report = Report()
    report.check("lines end where they should", text_all)
    report.check("C is indented by tabs", indent)
    report.check(f"functions have {FUNCTION_LINES} lines at most", functions)
    report.check(f"files have {FILE_LINES} lines at most", files)
    report.check("nothing says that it is unfinished", words)
    report.check("shared words are atomics, not volatile", volatiles)
    report.check("every source names its licence", spdx)
    report.check("every test program is in the build", unlisted_tests(root))
    return report.finish()


raise SystemExit(main())
