# SPDX-License-Identifier: BSD-2-Clause
"""A row of scripts/bench --json has its keys, and above 1 ours is better."""
import itertools
import json
import sys

from tap import Report, arguments

KEYS = ["bench", "row", "unit", "ours", "peer", "peer_value", "ratio", "rounds", "spread"]
# Unit, a value, one that is better, and how much better it is.
BETTER = (("Mpps", 4.0, 5.0, 1.25), ("Gbit/s", 40.0, 44.0, 1.1), ("ns/packet", 10.0, 5.0, 2.0),
          ("ns/item", 3.0, 2.0, 1.5), ("lost/million", 500000.0, 0.0, 2.0))


def rounds(*values, **more):
    return [{"value": v, **more} for v in values]


def json_of(report, unit, samples, **more):
    row = report.Row("64B", unit, "", samples, **more)
    return [json.loads(json.dumps(each, allow_nan=False)) for each in report.objects("b", row)]


def ratio_faults(report):
    for unit, worse, better, times in BETTER:
        for ours, peer, wanted in ((better, worse, times), (worse, better, 1 / times),
                                   (worse, worse, 1)):
            (row,) = json_of(report, unit, {"xmbuf": rounds(ours), "peer": rounds(peer)})
            if abs(row["ratio"] - wanted) > 1e-4:
                yield f"{unit}: {ours} beside {peer} is {row['ratio']}, not {wanted}"


def busy_faults(report):
    """Of a rate that is better and a time that is worse, each has its own ratio."""
    rows = json_of(report, "Mpps", {"xmbuf": rounds(6.0, busy_ns=20.0),
                                    "peer": rounds(5.0, busy_ns=10.0)})
    got = {row["row"]: (row["unit"], row["ratio"]) for row in rows}
    if got != {"64B": ("Mpps", 1.2), "64B busy": ("ns/packet", 0.5)}:
        yield str(got)


def shape_faults(report):
    samples = {"xmbuf": rounds(3.0, 1.0, 2.0), "bare-512": rounds(1.0, 1.0),
               "bare-2048": rounds(1.0, 4.0, 3.0), "testpmd": None, "rtc": []}
    (row,) = json_of(report, "Mpps", samples)
    if list(row) != KEYS:
        yield f"keys: {list(row)}"
    wanted = ["b", "64B", "Mpps", 2.0, "bare-2048", 3.0, 0.6667, 3, 1.0]
    if list(row.values()) != wanted:
        yield f"{list(row.values())} instead of {wanted}"
    (alone,) = json_of(report, "Mpps", {"xmbuf": rounds(2.0)})
    if list(alone) != KEYS or alone["ratio"] is not None:
        yield f"a row that no peer has: {alone}"


def odd_faults(report):
    for (unit, *_), ours, peer in itertools.product(BETTER, (0.0, 1.0, 1e6), (0.0, 1e6)):
        try:
            json_of(report, unit, {"xmbuf": rounds(ours), "peer": rounds(peer)})
        except (ValueError, ArithmeticError) as error:
            yield f"{unit}, {ours} beside {peer}: {error}"
    (row,) = json_of(report, "Mpps", {"xmbuf": rounds(1.0, foreign=0.5), "peer": rounds(1.0)})
    if row.get("disturbed") != 1:
        yield f"a disturbed round that was kept is not told: {row}"


def main():
    root, _ = arguments()
    sys.path.insert(0, str(root / "bench"))
    import report as bench_report
    tap = Report()
    tap.check("a ratio above 1 says that ours is better, in every unit", ratio_faults(bench_report))
    tap.check("busy time has a row of its own, and its ratio", busy_faults(bench_report))
    tap.check("a row has the demanded keys, medians, and the better bare loop",
              shape_faults(bench_report))
    tap.check("no value makes a row that is not JSON, and spoilt rounds are told",
              odd_faults(bench_report))
    return tap.finish()


raise SystemExit(main())
