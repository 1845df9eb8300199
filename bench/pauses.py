# SPDX-License-Identifier: BSD-2-Clause
"""Rounds in which a program was kept off its CPU for longer than its ring lasts.

Frames that wait for packets last for so long at a rate.  A host that does not run
a virtual CPU for longer than that, or somebody else who runs there, has packets
lost that no program can save: such a round is named paused and counted apart.  A
generator that was paused is no excuse: for a while it sent less.

      |<--- 2048 frames / rate --->|
    --+-- stall --+---- pause -----+---- lost ----+-->

The programs tell the pauses themselves (bench/pause.h): what was no CPU time of
theirs, while a turn of their loop took too long.
"""
RING = 2048          # frames that wait for packets, at most: of any AF_XDP program here
HEADROOM = 256       # of each frame, the kernel's


def frames_of(size, frame_len):
    return -(-size // (frame_len - HEADROOM)) if size > frame_len - HEADROOM else 1


def bridged_us(rate, frames=1, stall_us=0):
    """What a full ring lasts for, at rate packets a second of so many frames each."""
    return 1e6 * RING / (rate * frames) - stall_us


def late_us(end, us, gen_pauses):
    """Of a gap in which the program slept, what passed since there were packets again.

    It sleeps while the generator is paused, and the first packet wakes it.  Without
    such a pause to explain it, sleep is the program's own fault.
    """
    return min((1e6 * (end - back) for back, *_ in gen_pauses if 0 <= end - back < us / 1e6),
               default=0)


def longest_us(pauses, gen_pauses, began, ended):
    """Of those that overlap with began to ended, by the monotonic clock."""
    return max((late_us(end, us, gen_pauses) if slept else us
                for end, us, slept in pauses if end > began and end - us / 1e6 < ended),
               default=0)


def judge(sample, rate, frames, stall_us, gen_pauses, began, ended):
    """Says in a sample whether its round was paused."""
    sample["pause_us"] = longest_us(sample["pauses"], gen_pauses, began, ended)
    sample["is_paused"] = sample["pause_us"] > bridged_us(rate, frames, stall_us)
