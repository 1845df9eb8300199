#!/usr/bin/python3
# SPDX-License-Identifier: BSD-2-Clause
"""Explore region.pml, the model of a split region's protocol, with spin.

usage: model.py [--slow] [--story] [WORD...]

  --slow   the large configurations instead of the quick ones
  --story  tell, of each broken form, how it comes to harm
  WORD     only the tests whose sentence has all of these words

TAP on stdout, one test a configuration.  A form that is right must pass every
check in every state that can be reached; a form that is broken on purpose must
fail the check that is named for it.
"""
import os
import pathlib
import re
import resource
import shlex
import shutil
import signal
import subprocess
import sys
import tempfile

HERE = pathlib.Path(__file__).resolve().parent
MODEL = HERE / "region.pml"
# Seconds of one search: far more than an idle core needs.
QUICK_LIMIT, SLOW_LIMIT = 300, 900
# Steps of the longest path, with calls counted and without end.
DEPTH, ENDLESS_DEPTH = 10_000, 6_000_000
# Two to this many states; spin makes the table larger when it is full.
HASH_BITS = 24
STORY_LINES = 70
# How the model shows EMPTY, and the handle that has no slot.
SHOWN = {"[31, 7)": "EMPTY", "slot 9": "exclusive"}

ALL = "MERGE SHARE TX"


def threads(size, features, calls=0, sent=2):
    """Actors that are threads of one process; size is bytes, slots, actors."""
    return defines(size, features, calls, sent)


def processes(size, features, calls=0, sent=1):
    """Two processes with rings, each of which may die, and a supervisor."""
    return defines((*size, 2), features, calls, sent) + ["PROCESSES", "WITH_DEATH"]


def defines(size, features, calls, sent):
    values = dict(zip(("BYTES", "SLOTS", "ACTORS"), size), SENT_MAX=sent)
    if calls:
        values["CALLS"] = calls
    return [f"{name}={value}" for name, value in values.items()] + \
        [f"WITH_{feature}" for feature in features.split()]


# sentence: (defines, megabytes that the search needs)
QUICK = {
    "3 bytes, 3 slots, 2 threads, all calls, 6 of them":
        (threads((3, 3, 2), ALL, 6), 800),
    "2 bytes, 2 slots, 2 threads, all calls, without end":
        (threads((2, 2, 2), ALL), 800),
    "2 bytes, 2 slots, 2 processes that die, TX and merge, without end":
        (processes((2, 2), "MERGE TX"), 1200),
    "2 bytes, 2 slots, 2 processes that die, all calls, 5 of them":
        (processes((2, 2), ALL, 5), 500),
}

SLOW = {
    "3 bytes, 3 slots, 3 threads, all calls, 6 of them":
        (threads((3, 3, 3), ALL, 6, 1), 2000),
    "4 bytes, 4 slots, 2 threads, all calls, 6 of them":
        (threads((4, 4, 2), ALL, 6), 4200),
    "3 bytes, 3 slots, 2 threads, all calls, 7 of them":
        (threads((3, 3, 2), ALL, 7), 2500),
    "3 bytes, 3 slots, 2 threads, merge, without end":
        (threads((3, 3, 2), "MERGE"), 2200),
    "3 bytes, 3 slots, 2 processes that die, all calls, 5 of them":
        (processes((3, 3), ALL, 5), 2200),
    "2 bytes, 2 slots, 2 processes that die, all calls, without end":
        (processes((2, 2), ALL), 2500),
}

# What is broken: (define, defines of a form that is right by the tests above,
# what it breaks).
OWNERS = "no byte has two writable owners"
TRIO = threads((3, 3, 2), "", 6)
DEADLY = processes((2, 2), "", 6)
BROKEN = {
    "merge that does not raise gen between widening and emptying":
        ("MERGE_GEN", threads((3, 3, 2), "MERGE", 6), OWNERS),
    "a TX completion looked up by its start alone":
        ("TX_START", threads((3, 3, 2), "TX", 6), "nobody else's slot is released"),
    "a TX completion that takes the largest of several clones":
        ("TX_LARGEST", threads((3, 3, 2), "SHARE TX", 6),
         "what is being sent is not yet released"),
    "a used bit apart from the slot's owner":
        ("MASK", DEADLY, "each owned slot has its handle: none leaks"),
    "claim that does not look at gen again":
        ("NO_RECHECK", TRIO, OWNERS),
    "claim that takes the owners from before its exchange":
        ("STALE_STATE", TRIO, OWNERS),
    "split that narrows before it shows":
        ("SPLIT_NARROW", TRIO, OWNERS),
    "split that does not raise gen":
        ("SPLIT_GEN", TRIO, OWNERS),
    "release that takes its owner out before it empties its word":
        ("RELEASE_ORDER", TRIO, OWNERS),
    "trim that leaves its word as it was":
        ("TRIM", TRIO, "no claim is refused without a cause"),
    "share that does not raise gen":
        ("SHARE_GEN", threads((3, 3, 2), "SHARE", 6), OWNERS),
    "unshare that does not look around":
        ("UNSHARE_SCAN", threads((3, 3, 2), "SHARE", 6), OWNERS),
    "a supervisor that takes by place before it looks at the state":
        ("PLACE_FIRST", DEADLY, "only a dead one's frame is reclaimed"),
    "a supervisor that gives back what was not read after it has swept":
        ("RETURN_LATE", DEADLY, "what goes back is what was sent"),
    "a receiver that frees the ring's entry before its CAS":
        ("RING_FIRST", DEADLY, "a descriptor is taken for what it was"),
}


def cpu_seconds():
    """What the programs that were waited for have taken."""
    return resource.getrusage(resource.RUSAGE_CHILDREN).ru_utime


class Found:
    """What a search came to."""

    def __init__(self, out, seconds):
        states = re.search(r"(\d+) states, stored", out)
        errors = re.search(r"errors: (\d+)", out)
        self.states = int(states.group(1)) if states else 0
        self.seconds = seconds
        self.broken = bool(errors) and int(errors.group(1)) > 0
        self.complete = bool(errors) and not re.search(
            r"max search depth too small|not completed|out of memory|reached -DMEMLIM", out)
        self.out = out
        self.why = ""
        self.story = []

    def __str__(self):
        return f"{self.states} states in {self.seconds:.1f} s of CPU"


def run(command, cwd, limit=60):
    done = subprocess.run(command, cwd=cwd, timeout=limit, text=True,
                          stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    return done.returncode, done.stdout


def must(command, cwd):
    status, out = run(command, cwd)
    if status != 0:
        raise RuntimeError(f"{shlex.join(map(str, command))}: status {status}\n{out}")
    return out


def reason(path, number):
    """The sentence of the MUST() that begins on that line."""
    text = "\n".join(pathlib.Path(path).read_text().splitlines()[int(number) - 1:])
    match = re.match(r'[^"]*?MUST\([^;]*?"([^"]*)"', text)
    return match.group(1) if match else f"{path}:{number}"


def explain(found, flags, cwd):
    """Replay the trail: which check failed, and what was done before."""
    trail = cwd / "region.pml.trail"
    if not trail.exists():
        return
    out = must(["spin", "-t", "-T", *flags, "-k", trail, MODEL], cwd)
    story, _, rest = out.partition("spin: ")
    for shown, meant in SHOWN.items():
        story = story.replace(shown, meant)
    found.story = story.splitlines()[-STORY_LINES:]
    match = re.match(r"([^\s:]+):(\d+), Error", rest)
    found.why = reason(*match.groups()) if match else rest.partition("\n")[0]


def search(names, megabytes, limit, optimize):
    flags = [f"-D{name}" for name in names]
    with tempfile.TemporaryDirectory(prefix="xmbuf-model-") as name:
        cwd = pathlib.Path(name)
        must(["spin", "-a", *flags, MODEL], cwd)
        must([*shlex.split(os.environ.get("CC", "cc")), optimize, "-w", "-DSAFETY", "-DCOLLAPSE",
              f"-DMEMLIM={megabytes}", "-o", "pan", "pan.c"], cwd)
        depth = DEPTH if any(name.startswith("CALLS=") for name in names) else ENDLESS_DEPTH
        start = cpu_seconds()
        # The judge of the model looks for deadlock, so pan need not (-E).
        _, out = run(["./pan", "-E", f"-m{depth}", f"-w{HASH_BITS}"], cwd, limit)
        found = Found(out, cpu_seconds() - start)
        if found.broken:
            explain(found, flags, cwd)
        return found


def available():
    """Megabytes that a program may take here."""
    for line in pathlib.Path("/proc/meminfo").read_text().splitlines():
        if line.startswith("MemAvailable:"):
            return int(line.split()[1]) // 1024
    return 0


def holds(defined, megabytes, limit):
    """The faults of a form that should be right, and a note."""
    found = search(defined, megabytes, limit, "-O2")
    if found.broken:
        return [f"broken: {found.why}", *found.story], found
    if not found.complete:
        return found.out.splitlines(), found
    return [], found


def breaks(name, defined, why):
    """The faults of a form that should be found broken, and a note."""
    found = search([*defined, "HARM_ONLY", f"BREAK_{name}"], 900, QUICK_LIMIT, "-O0")
    if found.broken and found.why == why:
        return [], found
    return [f"wanted: {why}", f"found: {found.why or 'nothing'}", *found.story], found


def main(words):
    slow, story = "--slow" in words, "--story" in words
    words = [word for word in words if not word.startswith("--")]
    for program in ("spin", shlex.split(os.environ.get("CC", "cc"))[0]):
        if not shutil.which(program):
            print(f"1..0 # SKIP there is no {program} here; scripts/setup installs it")
            return 0
    tests = []
    for name, (defined, megabytes) in (SLOW if slow else QUICK).items():
        tests.append((name, megabytes, lambda d=defined, m=megabytes:
                      holds(d, m, SLOW_LIMIT if slow else QUICK_LIMIT)))
    for name, form in () if slow else BROKEN.items():
        tests.append((f"the model finds: {name}", 900, lambda f=form: breaks(*f)))
    tests = [test for test in tests if all(word in test[0] for word in words)]
    print("TAP version 13")
    print(f"1..{len(tests)}", flush=True)
    failed = 0
    for number, (name, megabytes, test) in enumerate(tests, 1):
        if available() < megabytes:
            print(f"ok {number} - {name} # SKIP needs {megabytes} MB of memory", flush=True)
            continue
        try:
            faults, found = test()
        except (RuntimeError, subprocess.TimeoutExpired) as error:
            faults, found = str(error).splitlines(), None
        print("not ok" if faults else "ok", number, "-", name)
        for line in faults:
            print("#  ", line)
        if found:
            print("#", found, f"({found.why})" if found.why else "")
            for line in found.story if story and not faults else ():
                print("#  ", line)
        sys.stdout.flush()
        failed += bool(faults)
    return 1 if failed else 0


# Ended early, it leaves no search and no directory behind.
signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
raise SystemExit(main(sys.argv[1:]))
