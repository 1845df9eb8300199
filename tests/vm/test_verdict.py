#!/usr/bin/python3
# SPDX-License-Identifier: BSD-2-Clause
"""What scripts/vm-test makes of consoles: nothing that went wrong passes."""
import contextlib
import io
import types

import verdict

SUITE = types.SimpleNamespace(name="s", tests=["one", "two"])
GOOD = ("TAP version 13\n1..2\nok - one::a  (0.1s)\nok - one::b  (0.1s)\n# end of one\n"
        "TAP version 13\n1..1\nok - two::c  (0.1s)\n# end of two\n")
# name, TAP, console, status inside, which of the points may not be ok
CASES = [
    ("all is well", GOOD, "", 0, []),
    ("a test that failed", GOOD.replace("ok - one::b", "not ok - one::b"), "", 1,
     ["one::b"]),
    ("a failure that the status does not know",
     GOOD.replace("ok - one::b", "not ok - one::b"), "", 0, ["one::b", "came to its end"]),
    ("a status that no failure explains", GOOD, "", 1, ["came to its end"]),
    ("no marker", GOOD, "", None, ["came to its end"]),
    ("nothing at all", "", "", None, ["came to its end"]),
    ("a program that ended too soon", GOOD.replace("ok - one::b  (0.1s)\n", ""), "", 0,
     ["came to its end"]),
    ("a program without a test",
     GOOD.replace("1..1\nok - two::c  (0.1s)\n", "1..0\n"), "", 0, ["came to its end"]),
    ("a program that is not there", GOOD.partition("# end of one\n")[0] + "# end of one\n",
     "", 0, ["came to its end"]),
    ("a test that was skipped", GOOD.replace("one::b  (0.1s)", "one::b # SKIP no"), "", 0,
     ["one::b"]),
    ("a fact of what this kernel has not",
     GOOD.replace("one::b  (0.1s)", "fact_one::b # SKIP since 6.6"), "", 0, []),
    ("a fact that is none", GOOD.replace("ok - one::b", "not ok - fact_one::b"), "", 1,
     ["fact_one::b"]),
    ("a warning", GOOD, "[    1.0] WARNING: CPU: 0 PID: 1 at net/x.c:1\n", 0, ["complained"]),
    ("a bug", GOOD, "[    1.0] BUG: unable to handle page fault\n", 0, ["complained"]),
    ("an oops", GOOD, "[    1.0] Oops: 0000 [#1]\n", 0, ["complained"]),
    ("a panic", GOOD, "[    1.0] Kernel panic - not syncing: x\n", None,
     ["came to its end", "complained"]),
]


def faults(tap_text, console, status, want):
    run = types.SimpleNamespace(tap=tap_text, console=console, status=status,
                                ended="status 0")
    tap, output = verdict.Tap(), io.StringIO()
    with contextlib.redirect_stdout(output):
        verdict.judge(tap, SUITE, run, 1)
        code = tap.end(False)
    bad = [line for line in output.getvalue().splitlines() if line.startswith("not ok")]
    if len(bad) != len(want) or any(part not in line for part, line in zip(want, bad)):
        yield f"wanted {want}, got {bad}"
    if code != (1 if want else 0):
        yield f"exit status {code}"


def main():
    failed = 0
    for number, (name, tap_text, console, status, want) in enumerate(CASES, 1):
        found = list(faults(tap_text, console, status, want))
        failed += bool(found)
        print(f"{'not ok' if found else 'ok'} {number} - {name}")
        for line in found:
            print(f"# {line}")
    print(f"1..{len(CASES)}")
    return 1 if failed else 0


raise SystemExit(main())
