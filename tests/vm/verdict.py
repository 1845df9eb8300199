# SPDX-License-Identifier: BSD-2-Clause
"""What a run of an emulated machine has shown, as TAP."""
import re

SKIPPED = 77
TAIL_LINES = 60
POINT_LINES = 12
TAP_LINE = re.compile(r"^(not ok|ok)\b(?:\s+\d+)?[\s-]*(.*)$")
TAP_PLAN = re.compile(r"^1\.\.(\d+)$", re.M)
COMPLAINT = re.compile(r"\b(?:BUG|WARNING):|\bOops\b|Kernel panic")


class Tap:
    def __init__(self):
        self.count = self.failed = self.skipped = 0

    def point(self, is_ok, name, lines=()):
        self.count += 1
        self.failed += not is_ok
        print(f"{'ok' if is_ok else 'not ok'} {self.count} - {name}", flush=True)
        for line in lines:
            print(f"# {line}")

    def skip(self, name, reason):
        self.skipped += 1
        self.point(True, f"{name} # SKIP {reason}")

    def end(self, is_tap):
        print(f"1..{self.count}")
        if self.failed:
            return 1
        return SKIPPED if self.skipped == self.count and not is_tap else 0


def guest_points(text):
    """[(is_ok, name with its directive, lines that follow)] of the guest's TAP."""
    points = []
    for line in text.splitlines():
        if match := TAP_LINE.match(line):
            points.append((match.group(1) == "ok", match.group(2), []))
        elif points and line.startswith("  "):
            points[-1][2][POINT_LINES:] = ["..."] if points[-1][2][POINT_LINES:] else [line]
    return points


def is_whole(suite, run, points):
    """Did every program come to its end, and run all the tests it has?"""
    ended = [name for name in suite.tests if f"# end of {name}\n" in run.tap]
    plans = [int(count) for count in TAP_PLAN.findall(run.tap)]
    return ended == suite.tests and len(plans) == len(ended) and \
        0 not in plans and sum(plans) == len(points)


def judge(tap, suite, run, seconds):
    tail = run.console.splitlines()[-TAIL_LINES:]
    points = guest_points(run.tap)
    for is_ok, name, lines in points:
        # A test that is skipped inside has not shown what it is there for;
        # but a fact may be of something that this kernel does not have.
        if re.search(r"# *SKIP", name, re.I) and not name.startswith("fact_"):
            is_ok, name = False, name.replace("#", "-")
        tap.point(is_ok, f"{suite.name}: {name}", [] if is_ok else lines)
    was_red = any(not is_ok for is_ok, _, _ in points)
    status_fits = run.status == (1 if was_red else 0)
    is_good = status_fits and is_whole(suite, run, points)
    tap.point(is_good, f"{suite.name}: came to its end in {seconds:.0f} s",
              [] if is_good and not was_red else [
                  f"status inside: {run.status}, QEMU: {run.ended}", *tail])
    complaints = [line for line in run.console.splitlines()
                  if COMPLAINT.search(line)]
    tap.point(not complaints, f"{suite.name}: its kernel complained of nothing",
              complaints + tail if complaints else [])
