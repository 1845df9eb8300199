# SPDX-License-Identifier: BSD-2-Clause
"""The shared library exports what the public headers promise, and no more."""
import subprocess

from c_text import public_names
from tap import Report, arguments


def exported(library):
    """The names that a program can link against, without the version nodes."""
    out = subprocess.run(["nm", "--dynamic", "--defined-only", str(library)],
                         check=True, capture_output=True, text=True).stdout
    for line in out.splitlines():
        _, kind, name = line.split()
        if kind != "A":
            yield name.split("@")[0]


def main():
    root, build = arguments()
    names = set(exported(build / "libxmbuf.so"))
    declared, unmarked, hidden = {}, [], []
    for path in sorted(root.glob("lib/*/*.h")):
        where = path.relative_to(root)
        private = path.stem.endswith("_priv")
        for name, declaration in public_names(path.read_text()):
            marked = "XMB_API" in declaration
            if private and marked:
                hidden.append(f"{where}: {name} is XMB_API in a private header")
            elif not private and not marked:
                unmarked.append(f"{where}: {name} is not XMB_API")
            elif marked:
                declared[name] = where

    report = Report()
    report.check("what is exported begins with xmb_",
                 sorted(n for n in names if not n.startswith("xmb_")))
    report.check("a public header declares what it gives as XMB_API", unmarked)
    report.check("a private header exports nothing", hidden)
    report.check("all of a public header is exported",
                 [f"{where}: {name}" for name, where in declared.items()
                  if name not in names])
    report.check("what is exported is declared in a public header",
                 sorted(names - set(declared)))
    return report.finish()


raise SystemExit(main())
