# SPDX-License-Identifier: BSD-2-Clause
"""What docs/coming-from.md says is here is in a public header."""
import re

from c_text import blank
from tap import Report, arguments


def main():
    root, _ = arguments()
    page = (root / "docs" / "coming-from.md").read_text()
    headers = [path for room in ("lib/*", "interop") for path in
               root.glob(f"{room}/*.h") if not path.stem.endswith("_priv")]
    known = set(re.findall(r"\w+", " ".join(blank(path.read_text())
                                            for path in headers)))
    named = set(re.findall(r"\bxmb_\w+", page))
    paths = set(re.findall(r"`(\w+/\w+\.h)`", page))
    report = Report()
    report.check("every name of ours is in a public header",
                 sorted(named - known))
    report.check("every header that it names is there",
                 sorted(p for p in paths if not (root / "lib" / p).exists()))
    report.check("there is a name of ours in each row",
                 [line for line in page.splitlines() if line.startswith("| ")
                  and not line.startswith("| task")
                  and "xmb_" not in line.split("|")[-2]])
    return report.finish()


raise SystemExit(main())
