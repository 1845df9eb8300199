#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-2-Clause
"""xmbuf forward with programs of the user's own, and with strangers about."""
import ctypes
import json
import os
import shutil
import signal
import struct
import subprocess
import time

from gate_lab import BPFFS, SYS_BPF, GateLab, own_bpffs, without_links
from lab import (STOP_S, XMBUF, Lab, Skip, TooSlow, expect, expect_words, in_some_try, libc, main,
                 port, received_by, report)
from load import Udp, expect_ping

BPF_OBJ_GET = 7
BPFTOOL = shutil.which("bpftool", path=os.environ["PATH"] + ":/usr/sbin:/sbin")


def user_object(name):
    path = os.environ.get(name)
    if not path:
        raise Skip(f"{name} names no program to load")
    return path


def a_program_of_the_users_carries_all_traffic():
    one, two = user_object("XMB_USER_ONE_OBJECT"), user_object("XMB_USER_OBJECT")
    runs = [("user_one", "--program", one),
            ("user_large", "--program", f"{two}:xdp", "--program-map", "large"),
            ("user_xsks", "--program", f"{two}:user_xsks", "--xdp", "generic")]
    for name, *options in runs:
        with Lab() as lab, lab.forward(*options) as forward:
            expect(lab.settings()["left"]["program"]["name"], name, "program of left")
            expect_ping(lab, 50)
            final = forward.finish()
            # The totals balance without the counters of our program.
            expect(final["packets"]["in"] >= 100, True, f"packets {final['packets']}")
            expect(port(final, "left")["program"]["matched"], 0, "what our program counted")


def a_flood_by_a_users_program_is_accounted_for():
    with Lab() as lab:
        lab.pin_neighbours()
        with lab.forward("--program", user_object("XMB_USER_ONE_OBJECT")) as forward, Udp(lab):
            time.sleep(1)
            forward.wait_until(lambda o: received_by(o) > 10000, "a flood")
            packets = forward.finish()["packets"]
        report.note(f"{packets}")
        expect(packets["in"] > 10000, True, f"a flood of {packets}")


def what_a_users_program_lacks_is_said():
    two, one = user_object("XMB_USER_OBJECT"), user_object("XMB_USER_ONE_OBJECT")
    with Lab(queues=4) as lab:
        for options, words in (
                ((two,), ["left", "more than one XDP program", "name one"]),
                ((f"{two}:user_xsks",), ["xsks has 2 entries, and queue 3", "fewer queues"]),
                ((one, "--program-map", "maps"), ["no map called maps"]),
                ((one, "--match", "tcp"), ["a match is for our own program"]),
                ((one, "--on-exit", "drop"), ["is our own program"]),
                (("/nowhere.o",), ["/nowhere.o", "no such file"])):
            expect_words(lab.refused("--program", *options), *words)
            lab.expect_untouched()
        # As many queues as its map has are enough.
        with lab.forward("--program", f"{two}:user_xsks", "--queues", "2"):
            pass


class TheirProgram:
    """A program on left that somebody else attached, with its map pinned."""

    def __init__(self, lab):
        if not BPFTOOL:
            raise Skip("there is no bpftool to attach a program of another's")
        self.lab = lab
        self.bpftool("prog", "load", user_object("XMB_USER_ONE_OBJECT"), BPFFS / "theirs",
                     "type", "xdp", "pinmaps", BPFFS / "maps")
        self.bpftool("net", "attach", "xdpdrv", "pinned", BPFFS / "theirs", "dev", "left")
        self.map = BPFFS / "maps/xsks"
        lab.before = lab.settings()

    def bpftool(self, *arguments):
        return self.lab.run("fwd", BPFTOOL, *arguments).stdout

    def detach(self):
        self.bpftool("net", "detach", "xdpdrv", "dev", "left")


def an_xskmap_that_is_pinned_is_used_and_its_program_stays():
    own_bpffs()
    with GateLab() as lab:
        theirs = TheirProgram(lab)
        with lab.forward("--xskmap", f"left={theirs.map}") as forward:
            expect_ping(lab, 50)
            final = forward.finish()
        expect(lab.settings()["left"]["program"]["name"], "user_one", "program of left")
        expect(lab.settings()["right"]["program"], None, "program of right")
        expect(port(final, "right")["program"]["matched"] >= 50, True, "ours on right")
        expect_words(forward.said(), "left: no XDP program attached: steering by the XSKMAP",
                     "right: XDP program")
        # Once more: the slots were given back.
        with lab.forward("--xskmap", f"left={theirs.map}"):
            expect_ping(lab)
        theirs.detach()


def open_pinned(path):
    """A descriptor of a pinned object, for which Python has no call."""
    number = SYS_BPF.get(os.uname().machine)
    if number is None:
        raise Skip(f"the number of bpf() on {os.uname().machine} is not known")
    name = ctypes.create_string_buffer(bytes(path))
    attr = ctypes.create_string_buffer(struct.pack("=QII", ctypes.addressof(name), 0, 0), 16)
    fd = libc.syscall(number, BPF_OBJ_GET, attr, 16)
    expect(fd >= 0, True, f"a descriptor of {path}")
    return fd


def an_xskmap_that_is_passed_is_used():
    """As by a service manager, which opened what we may not."""
    own_bpffs()
    with GateLab() as lab:
        theirs = TheirProgram(lab)
        opener = f"exec {XMBUF} forward left right --xskmap left=fd:9 --duration 0.2"
        done = lab.run("fwd", "bash", "-c", opener, check=False)
        expect(done.returncode, 1, "exit status with no descriptor 9")
        expect_words(done.stderr, "left", "the XSKMAP that was passed", "Bad file descriptor")
        done = lab.run("fwd", "bash", "-c", opener + " 9</dev/null", check=False)
        expect_words(done.stderr, "the XSKMAP that was passed is no BPF map")
        fd = open_pinned(theirs.map)
        try:
            done = subprocess.run(
                lab.command("fwd", [XMBUF, "forward", "left", "right", "--json", "--xskmap",
                                    f"left=fd:{fd}", "--duration", "0.3"]),
                pass_fds=[fd], capture_output=True, text=True, timeout=STOP_S)
        finally:
            os.close(fd)
        expect(done.returncode, 0, f"exit status: {done.stderr}")
        expect(json.loads(done.stdout.splitlines()[-1])["balanced"], True, "balanced")
        expect_words(done.stderr, "left: no XDP program attached")
        lab.expect_untouched()
        theirs.detach()


def an_xskmap_that_does_not_fit_is_refused_in_words():
    own_bpffs()
    with GateLab() as lab:
        theirs = TheirProgram(lab)
        theirs.bpftool("map", "create", BPFFS / "hash", "type", "hash", "key", "4", "value", "4",
                       "entries", "4", "name", "hash")
        for path, words in ((BPFFS / "none", ["none", "No such file", "pinned in a bpffs"]),
                            (BPFFS / "hash", ["type 1 (hash)", "not an XSKMAP"])):
            expect_words(lab.refused("--xskmap", f"left={path}"), "left", *words)
            lab.expect_untouched()
        expect_words(lab.refused("--xskmap", f"left={theirs.map}", "--xdp", "generic"),
                     "is attached in native mode")
        # Without it the program is in the way, and named.
        expect_words(lab.refused(), "(user_one) is attached in native mode already")
        # Two processes do not share a queue of one map.
        with lab.forward("--xskmap", f"left={theirs.map}"):
            lab.refused("--xskmap", f"left={theirs.map}")
        theirs.detach()


def options_that_contradict_each_other_are_usage_errors():
    with Lab() as lab:
        for options, words in (
                (("--xskmap", "/sys/fs/bpf/m"), "is not DEV=PATH"),
                (("--xskmap", "eth7=/m"), "no device that is forwarded"),
                (("--xskmap", "left=/m", "--xskmap", "left=/n"), "left has two"),
                (("--xskmap", "left=fd:x"), "'x' is not a number"),
                (("--program-map", "m"), "goes with --program"),
                (("--on-exit", "close"), "none of pass, drop")):
            expect_words(lab.refused(*options, code=2), words)


class LinklessLab(GateLab):
    """A lab whose processes find a kernel without bpf_link for XDP."""

    def start(self, where, *arguments, **options):
        return super().start(where, *arguments, preexec_fn=without_links(), **options)


def netlink_is_last_and_said():
    with LinklessLab() as lab, lab.forward() as forward:
        expect_ping(lab)
        expect_words(forward.said(), "asked for a bpf_link, the kernel answered",
                     "by netlink", "can be taken off by others")
        forward.finish()


def the_way_of_attaching_that_is_named_is_got_and_reported():
    own_bpffs()
    with GateLab() as lab:
        for name, words in (("auto", "by bpf_link"), ("link", "by bpf_link"),
                            ("netlink", "by netlink")):
            with lab.forward("--attach", name) as forward:
                expect_ping(lab)
                final = forward.finish()
            got = "link" if name == "auto" else name
            expect([p["attach"] for p in final["ports"]], [got, got], f"--attach {name}")
            expect_words(forward.said(), f"match all, {words}")
        expect_words(lab.refused("--attach", "netlink", "--on-exit", "drop"),
                     "held by a pinned bpf_link")
        lab.expect_untouched()
        expect_words(lab.refused("--attach", "both", code=2),
                     "none of auto, link, dispatcher, netlink")


def a_dispatcher_is_joined_or_refused_in_words():
    """Where a kernel loads one, tests/vm has the rest."""
    own_bpffs()
    with GateLab() as lab:
        options = ("--attach", "dispatcher", "--duration", "0.3", "--json")
        done = lab.run("fwd", XMBUF, "forward", "left", "right", *options, check=False)
        if done.returncode:
            expect_words(done.stderr, "left: asked for libxdp's dispatcher, libxdp cannot load",
                         "--attach link")
            report.note("this kernel loads no dispatcher")
        else:
            final = json.loads(done.stdout.splitlines()[-1])
            expect([p["attach"] for p in final["ports"]], ["dispatcher"] * 2, "ways")
        lab.expect_untouched()


def a_stranger_who_takes_a_program_off_ends_it_in_words():
    in_some_try(a_program_is_taken_off)


def a_program_is_taken_off():
    with LinklessLab() as lab, lab.forward(interval=1) as forward:
        expect_ping(lab)
        start = time.monotonic()
        lab.set("right", "xdp", "off")
        forward.finish(sig=None, code=1)
        took = time.monotonic() - start
        report.note(f"noticed and ended in {took:.2f} s")
        expect_words(forward.said(), "right: somebody took XDP program", "start again")
        if took >= 1.5:
            raise TooSlow(f"{took:.2f} s is not soon")


def a_strangers_program_in_its_place_ends_it_and_stays():
    with LinklessLab() as lab:
        with lab.forward() as forward:
            lab.set("right", "xdp", "off")
            lab.set("right", "xdpdrv", "obj", user_object("XMB_USER_ONE_OBJECT"), "sec",
                    "xdp.frags")
            lab.keeps_program = True
            forward.finish(sig=None, code=1)
        expect(Lab.settings(lab)["right"]["program"]["name"], "user_one", "program of right")
        lab.set("right", "xdp", "off")


def a_bpf_link_resists_a_stranger():
    with Lab() as lab, lab.forward() as forward:
        for dev, how in (("left", "xdp"), ("right", "xdpdrv")):
            done = subprocess.run(["ip", "-n", lab.ns("fwd"), "link", "set", dev, how, "off"],
                                  capture_output=True, text=True)
            expect_words(done.stderr, "Can't replace active BPF XDP link")
            expect(done.returncode != 0, True, "refused")
        expect_ping(lab, 50)
        forward.finish(signal.SIGTERM)


def root_who_detaches_a_bpf_link_ends_it_in_words():
    if not BPFTOOL:
        raise Skip("there is no bpftool to detach a link with")
    with Lab() as lab, lab.forward(interval=0.1) as forward:
        program = lab.settings()["left"]["program"]["id"]
        links = json.loads(lab.run("fwd", BPFTOOL, "-j", "link", "show").stdout)
        link = next(link["id"] for link in links if link.get("prog_id") == program)
        lab.run("fwd", BPFTOOL, "link", "detach", "id", link)
        forward.finish(sig=None, code=1)
        expect_words(forward.said(), "left: somebody took XDP program")


if __name__ == "__main__":
    main(a_program_of_the_users_carries_all_traffic,
         a_flood_by_a_users_program_is_accounted_for,
         what_a_users_program_lacks_is_said,
         an_xskmap_that_is_pinned_is_used_and_its_program_stays,
         an_xskmap_that_is_passed_is_used,
         an_xskmap_that_does_not_fit_is_refused_in_words,
         options_that_contradict_each_other_are_usage_errors,
         netlink_is_last_and_said,
         a_stranger_who_takes_a_program_off_ends_it_in_words,
         a_strangers_program_in_its_place_ends_it_and_stays,
         a_bpf_link_resists_a_stranger,
         root_who_detaches_a_bpf_link_ends_it_in_words)
