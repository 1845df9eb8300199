# SPDX-License-Identifier: BSD-2-Clause
"""How far the two CPUs are from each other, which a host may change in between.

What goes from the generator's CPU to the program's is a cache line at a time, and
lines take several times as long once the host has moved one of the two to where
it shares no cache with the other.  Rounds are compared with those of the same
distance alone.
"""
import subprocess

FAR = 2  # times as far as the nearest of the run

hops = []


def hop(program, *cpus):
    """Nanoseconds there and back, now."""
    done = subprocess.run([str(program), *map(str, cpus)], check=True,
                          capture_output=True, text=True)
    hops.append(int(done.stdout))
    return hops[-1]


def place(sample):
    """near, far, or None: between the two, or not known."""
    if "hops" not in sample:
        return None
    is_far = {h > FAR * min(hops) for h in sample["hops"]}
    return None if len(is_far) > 1 else "far" if True in is_far else "near"


def count(samples, where):
    """Rounds of the contender that has the fewest there."""
    return min((sum(place(s) == where for s in each) for each in samples.values()), default=0)


def rows_by_distance(row):
    """The row, of rounds at the same distance: near, and far if there were such."""
    if not any("hops" in s for each in row.samples.values() for s in each or []):
        yield row
        return
    known = {n: s for n, s in row.samples.items() if s is not None}
    places = [p for p in ("near", "far") if any(place(s) == p for s in known[row.ours])]
    for where in places or [None]:
        samples = {n: None if s is None else [x for x in s if place(x) == where]
                   for n, s in row.samples.items()}
        ns = sorted(h for s in samples.values() for x in s or [] for h in x["hops"])
        yield row._replace(
            name=row.name if where != "far" or len(places) == 1 else f"{row.name} far",
            samples=samples,
            remark=f"{row.remark} A line takes {ns[len(ns) // 2]} ns there and back.".strip())
