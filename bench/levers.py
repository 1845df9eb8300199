# SPDX-License-Identifier: BSD-2-Clause
"""What each choice of a program gives: the bare loop that has it beside the one without.

The loop without: 2 KiB frames, the one used last first, 512 of them with the
kernel to receive and 256 to forward and send, 64 packets a turn, a sendto() after
each, no headroom beside the kernel's own, private memory on huge pages.  All others
are compared with it, so it runs more often than they do.
"""
import contextlib
import pathlib
import time

from lab import APP_CPU, GEN_CPU
from report import Row

COMMON = {
    "longest free frame first": ("--fifo",),
    "64 frames": ("--circulating", 64),
    "2048 frames": ("--circulating", 2048),
    "frames of 4096": ("--frame-len", 4096),
    "frames of 2112, unaligned": ("--unaligned", "--frame-len", 2112),
    "16 packets a turn": ("--batch", 16),
    "128 packets a turn": ("--batch", 128),
    "small pages": ("--pages", "small"),
    "hugetlb pages": ("--pages", "hugetlb"),
}
RECEIVING = {
    "frames of 2048, unaligned": ("--unaligned",),
    "frames of 4032, unaligned": ("--unaligned", "--frame-len", 4032),
    "256 bytes of headroom": ("--headroom", 256),
    "32 packets a turn": ("--batch", 32),
    "headers prefetched": ("--prefetch", 64),
}
SENDING = {
    "512 frames": ("--circulating", 512),
    "a kick takes 2048": ("--tx-budget", 2048),
    "a kick by io_uring": ("--kick", "uring"),
    "SQPOLL beside the program": ("--sqpoll", APP_CPU),
    "SQPOLL beside the generator": ("--sqpoll", GEN_CPU),
}
LEVERS = {
    "rxdrop": (("--circulating", 512), {
        **COMMON, **RECEIVING,
        "256 frames": ("--circulating", 256),
        "1024 frames": ("--circulating", 1024)}),
    "forward": (("--circulating", 256), {
        **COMMON, **RECEIVING, **SENDING,
        "completions taken late": ("--reap-late",),
        "whole packets prefetched": ("--prefetch", 1500),
        "a kick a packet": ("--kick", "each"),
        "a kick after the next poll": ("--kick", "late")}),
    "txonly": (("--circulating", 256), {
        **COMMON, **SENDING,
        "staggered": ("--staggered",)}),
}
SIZES = (64, 1500)
BETWEEN = 4          # choices run between two runs of the loop without
# Microseconds of a pause every 2 ms, and frames that the kernel has.
STALLS = ((0, 512), (0, 2048), (50, 512), (50, 2048), (200, 512), (200, 1024), (200, 2048))
STALL_RATE = 4000000
STALL_WEIGHT = 2     # rounds of losses are longer, beside the others'
HUGE_PAGES = 128     # of 2 MiB: 64 K frames of 2 KiB have 64
OVERCOMMIT = pathlib.Path("/proc/sys/vm/nr_overcommit_hugepages")


@contextlib.contextmanager
def huge_pages():
    """Some for who maps them: made then, and unmade when the mapping ends."""
    before = OVERCOMMIT.read_text()
    OVERCOMMIT.write_text(f"{HUGE_PAGES}\n")
    try:
        yield
    finally:
        OVERCOMMIT.write_text(before)


def stalled(program, us, frames):
    """A loop that pauses so long, whatever the bench has others do."""
    class Stalled(program):
        def start(self, mode, size, extra=()):
            return super().start(mode, size)
    stall = ("--stall", us, "--each", 2000) if us else ()
    return Stalled(f"{us} us, {frames}", "bench_bare", "--circulating", frames, *stall)


def groups(program):
    """(bench, size, contenders): what is measured turn about, one after the other."""
    for bench, (plain, choices) in LEVERS.items():
        without = program("bare", "bench_bare", *plain)
        names = [program(what, "bench_bare", *plain, *options)
                 for what, options in choices.items()]
        turns = [each for i in range(0, len(names), BETWEEN)
                 for each in (without, *names[i:i + BETWEEN])]
        for size in SIZES:
            yield bench, size, turns
    yield "stall", SIZES[0], [stalled(program, *each) for each in STALLS]


def rows_of_group(bench, size, samples):
    if bench == "stall":
        for us, frames in STALLS:
            what = f"paused {us} us" if us else "not paused"
            yield Row(f"{what}, {frames} frames", "lost/million", "", {
                "with it": samples[f"{us} us, {frames}"],
                "bare": samples[f"{us} us, 2048"]}, ours="with it")
        return
    for what in LEVERS[bench][1]:
        yield Row(f"{bench} {size}B, {what}", "Mpps", "", {
            "with it": samples[what], "bare": samples["bare"]}, ours="with it")


def levers(plan, holders, deadline, program, turn_about):
    """A row for each choice and size; each group has its part of the time."""
    left = list(groups(program))
    while left:
        bench, size, names = left.pop(0)
        weight = STALL_WEIGHT if bench == "stall" else 1
        part = weight * len(names) / (weight * len(names) + sum(len(n) for *_, n in left))
        until = time.monotonic() + part * (deadline - time.monotonic())
        its = {**plan, "seconds": weight * plan["seconds"]}
        with huge_pages():
            samples = turn_about(bench, size, its, holders, until,
                                 STALL_RATE if bench == "stall" else 0, names)
        yield from rows_of_group(bench, size, samples)
