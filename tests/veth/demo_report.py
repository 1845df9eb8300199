#!/usr/bin/python3
# SPDX-License-Identifier: BSD-2-Clause
"""scripts/demo-report finds every fault that an account can have."""
import copy
import json
import subprocess
import tempfile

from lab import ROOT, STOP_S, Lab, expect, expect_words, main
from load import expect_ping

# Each makes one account wrong.
FAULTS = {
    "a packet without a name": lambda final: final["packets"].update(unnamed=1),
    "more out than in": lambda final: final["packets"].update(unnamed=-1),
    "no packet at all": lambda final: final["packets"].update({"in": 0}),
    "a frame missing": lambda final: final["ledger"].update(missing=1),
    "a sum that is short": lambda final: final["ledger"].update(free=final["ledger"]["free"] - 1),
    "a ledger out of balance": lambda final: final.update(balanced=False),
    "a copy": lambda final: final.update(copies=1),
    "copied bytes": lambda final: final.update(copied_bytes=1),
    "no final report": lambda final: final.update(type="interval"),
}


def say(command, text):
    with tempfile.NamedTemporaryFile("w", prefix="xmbuf-report-") as file:
        file.write(text)
        file.flush()
        return subprocess.run([ROOT / "scripts/demo-report", command, file.name],
                              capture_output=True, text=True, timeout=STOP_S)


def lines(*objects):
    return "".join(json.dumps(one) + "\n" for one in objects)


def a_run():
    with Lab() as lab, lab.forward() as forward:
        expect_ping(lab, 5)
        final = forward.finish()
    return forward.objects[:-1], final


def every_fault_of_an_account_is_found():
    intervals, final = a_run()
    good = say("summary", lines(*intervals, final))
    expect(good.returncode, 0, f"status of a good run: {good.stdout}{good.stderr}")
    for name, spoil in FAULTS.items():
        bad = copy.deepcopy(final)
        spoil(bad)
        done = say("summary", lines(*intervals, bad))
        expect(done.returncode, 1, f"status with {name}: {done.stdout}{done.stderr}")
        expect_words(done.stdout, "NOT OK")
    for name, text in (("nothing", ""), ("half a line", lines(final)[:-20])):
        done = say("summary", text)
        expect(done.returncode, 1, f"status with {name}: {done.stdout}{done.stderr}")
    drop = copy.deepcopy(final)
    drop["ports"][0]["drops"]["rx_dropped"] = 7
    expect_words(say("summary", lines(drop)).stdout, "7 rx_dropped at left")


def follow_prints_a_line_for_each_interval():
    intervals, final = a_run()
    done = say("follow", lines(*intervals, final))
    expect(done.returncode, 0, f"status: {done.stderr}")
    expect(len(done.stdout.splitlines()), len(intervals), "lines of rates")


main(every_fault_of_an_account_is_found, follow_prints_a_line_for_each_interval)
