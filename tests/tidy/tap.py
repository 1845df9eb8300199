# SPDX-License-Identifier: BSD-2-Clause
"""Checks that report in TAP: one line a check, its faults below it."""
import pathlib
import sys

SKIPPED_DIRS = {".git", "__pycache__", "corpus"}


class Report:
    """Collects the checks of one program; exit(report.finish()) ends it."""

    def __init__(self):
        self.count = 0
        self.failed = 0
        print("TAP version 13")

    def check(self, sentence, faults):
        """One check, which holds when it found no fault."""
        self.count += 1
        faults = list(faults)
        self.failed += bool(faults)
        print("not ok" if faults else "ok", self.count, "-", sentence)
        for fault in faults:
            print("#  ", fault)
        sys.stdout.flush()

    def skip(self, sentence, reason):
        """One check that cannot be made here, and why."""
        self.count += 1
        print("ok", self.count, "-", sentence, "# SKIP", reason, flush=True)

    def note(self, text):
        """Something worth reading that decides nothing."""
        print("#", text, flush=True)

    def finish(self):
        print(f"1..{self.count}")
        return 1 if self.failed else 0


def arguments():
    """The roots of the source tree and of the build."""
    if len(sys.argv) != 3:
        sys.exit(f"usage: {sys.argv[0]} SOURCE_ROOT BUILD_ROOT")
    return pathlib.Path(sys.argv[1]), pathlib.Path(sys.argv[2])


def sources(root):
    """Every file of the tree, without those that a build made."""
    for path in sorted(root.iterdir()):
        if path.name in SKIPPED_DIRS or path.is_symlink():
            continue
        if path.is_dir():
            if not (path / "meson-private").exists() and \
                    not path.name.startswith("build"):
                yield from sources(path)
        elif path.is_file():
            yield path
