# SPDX-License-Identifier: BSD-2-Clause
"""How far the two CPUs are from each other, which a host may change in between.

What goes from the generator's CPU to the program's is a cache line at a time, and
lines take several times as long once the host has moved one of the two to where
it shares no cache with the other.  Rounds are compared with those of the same
distance alone.
"""
import subprocess
import time

from lab import say

GAP = 1.4        # times as far is another distance
ALONE = 2        # as few looks are no distance of their own
LOOKS = 5        # before the first round
PAUSE_S = 0.2    # from one look to the next
HOP_MAX_S = 5    # for a look, which takes some milliseconds

hops = []


def hop(program, *cpus):
    """Nanoseconds there and back, now."""
    done = subprocess.run([str(program), *map(str, cpus)], check=True, timeout=HOP_MAX_S,
                          capture_output=True, text=True)
    hops.append(int(done.stdout))
    return hops[-1]


def look_around(program, *cpus):
    """Some hops before the first round: a run that begins far may so know near."""
    for _ in range(LOOKS):
        try:
            hop(program, *cpus)
        except (OSError, subprocess.SubprocessError) as error:
            say(f"scripts/bench: {error}")
        time.sleep(PAUSE_S)


def border():
    """Nanoseconds between near and far: the widest gap of what was seen, if it is wide."""
    seen = sorted(hops)
    gaps = [(b / a, (a * b) ** 0.5) for a, b in zip(seen[ALONE - 1:], seen[ALONE:-ALONE + 1])]
    width, middle = max(gaps, default=(1, 0))
    return middle if width > GAP else float("inf")


def place(sample):
    """near, far, or None: between the two, or not known."""
    if "hops" not in sample:
        return None
    is_far = {h > border() for h in sample["hops"]}
    return None if len(is_far) > 1 else "far" if True in is_far else "near"


def count(samples, where):
    """Rounds of the contender that has the fewest there, of those that ran at all."""
    return min((sum(place(s) == where for s in each) for each in samples.values() if each),
               default=0)


def is_enough(samples, rounds):
    """So many of each distance that there was, for every contender."""
    cnts = [count(samples, where) for where in ("near", "far")]
    return max(cnts) >= rounds and all(n == 0 or n >= rounds for n in cnts)


def rows_by_distance(row):
    """The row, of rounds at the same distance: near, far, or one of each.

    A distance counts if everybody has a round there; without one, all rounds stay.
    """
    if not any("hops" in s for each in row.samples.values() for s in each or []):
        yield row
        return
    known = [each for each in row.samples.values() if each]
    places = [p for p in ("near", "far")
              if all(any(place(s) == p for s in each) for each in known)]
    if not places:
        yield row._replace(remark=(
            f"{row.remark} The distance of the CPUs differs between these rounds, so that "
            "they do not compare.").strip())
    for where in places:
        samples = {n: None if s is None else [x for x in s if place(x) == where]
                   for n, s in row.samples.items()}
        yield row._replace(name=f"{row.name} far" if where == "far" else row.name,
                           samples=samples,
                           paused={n: [x for x in s if place(x) == where]
                                   for n, s in row.paused.items()})
