#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-2-Clause
"""What devices do to xmbuf forward under traffic, again and again.

Links go down and up, devices are deleted and moved to another namespace, at
odd moments of a run; in half of the runs packets go through a pipeline.  Each
run goes on, or ends at once with words, and either way every frame is
accounted for and the devices are as they were.  forward_squall.py is a short
one of this.
"""
import random
import subprocess
import time

from forward_life import expect_first_ping, load
from lab import PLACE, Lab, drops_of, expect, expect_words, main, report
from load import expect_ping

FLAPS, DELETIONS, MOVES = 1000, 200, 200
MODES = ((), ("--mode", "pipeline", "--workers", "2"))
LOST = {"client0": "left", "server0": "right"}  # a pair goes as one
END_S = 30  # of a process that hangs


def odd_moment(rng, most_s=0.03):
    time.sleep(rng.uniform(0, most_s))


def flaps(cnt, mode):
    rng = random.Random(cnt)
    with Lab() as lab, lab.forward(*MODES[mode]) as forward:
        with load(lab):
            for _ in range(cnt):
                dev = rng.choice(list(PLACE))
                lab.set(dev, "down")
                odd_moment(rng)
                lab.set(dev, "up")
                odd_moment(rng)
        expect(forward.process.poll(), None, f"exit status, having said {forward.said()}")
        lab.pin_neighbours()
        expect_first_ping(lab)
        expect_ping(lab, 50)
        final = forward.finish()
        expect_words(forward.said(), "the link is down", "the link is up again")
        report.note(f"{cnt} flaps, {final['packets']}, drops {drops_of(final)}")


def expect_end(forward, words):
    final = forward.finish(sig=None, code=1, seconds=END_S)
    expect_words(forward.said(), *words)
    return final


def deletions(cnt):
    rng = random.Random(cnt)
    came = 0
    for i in range(cnt):
        dev = list(PLACE)[i % len(PLACE)]
        with Lab() as lab, lab.forward(*MODES[i // 4 % 2]) as forward, load(lab):
            odd_moment(rng)
            subprocess.run(["ip", "-n", lab.ns(PLACE[dev]), "link", "delete", dev], check=True)
            final = expect_end(forward, [f"{LOST.get(dev, dev)} was deleted"])
            came += final["packets"]["in"]
    report.note(f"{cnt} deletions, {came} packets came before")
    if came < cnt:
        raise AssertionError("there was no traffic")


def put_back(lab, dev):
    """As it was before: a forwarder cannot reach what was moved away."""
    subprocess.run(["ip", "-n", lab.ns("server"), "link", "set", dev, "netns", lab.ns("fwd")],
                   check=True)
    lab.run("fwd", "ethtool", "-K", dev, "rxvlan", "on", "rx-vlan-stag-hw-parse", "on")
    lab.set(dev, "up")
    lab.expect_untouched()


def moves(cnt):
    rng = random.Random(cnt)
    came = 0
    with Lab() as lab:
        for i in range(cnt):
            dev = ("left", "right")[i % 2]
            lab.pin_neighbours()
            with lab.forward(*MODES[i // 2 % 2]) as forward, load(lab):
                odd_moment(rng)
                lab.set(dev, "netns", lab.ns("server"))
                final = expect_end(forward, [dev, "moved to another namespace"])
                came += final["packets"]["in"]
            put_back(lab, dev)
    report.note(f"{cnt} moves, {came} packets came before")
    if came < cnt:
        raise AssertionError("there was no traffic")


def links_that_flap_a_thousand_times_end_nothing():
    flaps(FLAPS // 2, 0)
    flaps(FLAPS // 2, 1)


def two_hundred_deleted_devices_end_it_in_words_each():
    deletions(DELETIONS)


def two_hundred_moves_to_another_namespace_end_it_in_words_each():
    moves(MOVES)


if __name__ == "__main__":
    main(links_that_flap_a_thousand_times_end_nothing,
         two_hundred_deleted_devices_end_it_in_words_each,
         two_hundred_moves_to_another_namespace_end_it_in_words_each)
