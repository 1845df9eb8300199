#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-2-Clause
"""System calls of xmbuf forward that fail once, one at a time, by strace; and
those of share_piece.c, which does with the library what forward does not.

A run without faults tells the sites: which call, for the how manyth time, at
start, while it runs, and at the end.  Each of them, or a sample, is then made
to fail with each of ERRORS, and whatever comes of it has to be one of two:

    it goes on      exit status 0, every frame and packet accounted for
                    (share_piece looks for itself, and ends with 2 if not)
    it gives up     exit status 1, within END_S, in words: the device or what
                    was asked, what the kernel answered, and what to do

and either way the devices are as before, nothing is pinned, and the next run
without a fault works.  A run waits more than it works, so that AT_ONCE of them
go side by side, each in a lab and with a bpffs of its own.

close() and munmap() are left out: Linux does what they ask whatever it
answers, strace does not.  So are brk(), which answers with no errno, futex(),
after whose failure glibc ends the process, calls of the loader, and those on
standard error, where the words would be.
"""
import collections
import concurrent.futures
import contextlib
import errno
import functools
import json
import multiprocessing
import os
import pathlib
import random
import re
import shutil
import tempfile

from gate_lab import PINNED, own_bpffs, without_links
from lab import (COMMAND_S, XMBUF, Lab, Skip, TooSlow, expect, in_some_try, main, report)
from load import Udp

ERRORS = ("ENOMEM", "ENOBUFS", "EAGAIN", "EINTR", "EBUSY", "EPERM", "EMFILE")
CALLS = ("socket", "bind", "getsockname", "sendto", "recvfrom", "recvmsg", "setsockopt",
         "getsockopt", "ioctl", "bpf", "mmap", "madvise", "memfd_create", "ftruncate",
         "fcntl", "openat", "mkdirat", "mkdir", "rmdir", "flock", "unlink", "read", "write",
         "statfs", "newfstatat", "fstat", "getdents64", "faccessat2", "uname", "sysinfo",
         "mremap", "mprotect", "eventfd2", "timerfd_create", "timerfd_settime", "signalfd4",
         "io_uring_setup", "io_uring_enter", "poll", "clock_nanosleep", "clone3")
# Calls of libraries that answer otherwise than the kernel: libbpf, which takes a
# feature for missing, and glibc, which has one errno for every thread that it
# cannot make.
TRANSLATED = {"bpf": {"EINVAL", "ENOTSUP"}, "mmap": {"EAGAIN"}, "mprotect": {"EAGAIN"},
              "clone3": {"EAGAIN"}}
# The first thing that main() does.
BEGIN = "rt_sigaction(SIGPIPE"
FORWARD = ("forward", "left", "right", "--json", "--duration", "0.05", "--interval", "0.02")
DETACH = ("detach", "left", "right")
SHARE_PIECE = os.environ.get("XMB_SHARE_PIECE", "")
Mode = collections.namedtuple("Mode", "command before beyond has_links app",
                              defaults=(None, None, True, XMBUF))
# What is run; before it, what leaves gates for it; the mode whose sites are
# failed there and not once more; whether the kernel has links for XDP; and
# what it is a command of.
MODES = {"rtc": Mode(FORWARD),
         "pipeline": Mode((*FORWARD, "--mode", "pipeline", "--workers", "2")),
         "gate": Mode((*FORWARD, "--on-exit", "drop")),
         "successor": Mode(FORWARD, "gate", "gate"),
         "detach": Mode(DETACH, "gate", "gate"),
         "options": Mode((*FORWARD, "--xdp", "generic", "--busy-poll", "20", "--frame-size",
                          "3008", "--cpus", "0"), None, "rtc"),
         "program": Mode((*FORWARD, "--program", os.environ.get("XMB_USER_ONE_OBJECT", "")),
                         None, "rtc"),
         "netlink": Mode(FORWARD, None, "rtc", False),
         "share": Mode(("left", "client0"), app=SHARE_PIECE)}
END_S = 120  # of a process that hangs
SAMPLE, SEED = 50, 20
AT_ONCE = 4
# More calls of a kind than the main thread makes: only data threads get there.
IN_TRAFFIC = 150

Site = collections.namedtuple("Site", "call when what")


# A sanitizer's own memory may not be refused, and it cannot look for leaks in a
# process that is traced.
IS_SANITIZED = b"__asan_init" in pathlib.Path(XMBUF).read_bytes()
SANITIZER_CALLS = ("mmap", "madvise")
ENV = ("env", "ASAN_OPTIONS=" + os.environ.get("ASAN_OPTIONS", "") + ":detect_leaks=0")


def run(lab, mode, *strace):
    """(exit status or None, its last object, words, what it put out) of one short run."""
    done = lab.run("fwd", "timeout", "-s", "KILL", END_S, *ENV, *strace,
                   MODES[mode].app, *MODES[mode].command, check=False, timeout=END_S + COMMAND_S)
    final = None
    lines = done.stdout.splitlines()
    if lines and lines[-1].startswith("{"):
        final = json.loads(lines[-1])
        final = final if final["type"] == "final" else None
    return done.returncode, final, done.stderr, done.stdout


def prepare(lab, mode):
    before = MODES[mode].before
    if before and run(lab, before)[0]:
        raise AssertionError(f"no {before} before {mode}")


@contextlib.contextmanager
def lab_of(mode):
    """A lab; of a program that has both ends of left, with client0 beside it."""
    with Lab() as lab:
        if MODES[mode].app != XMBUF:
            lab.run("client", "ip", "link", "set", "client0", "netns", lab.ns("fwd"))
            lab.run("fwd", "ip", "link", "set", "client0", "up")
        yield lab


def open_gates(lab):
    lab.run("fwd", XMBUF, *DETACH, check=False)


def parsed(trace):
    """(thread, call, its line) of each call that begins."""
    for line in trace.read_text(errors="replace").splitlines():
        if found := re.match(r"(\d+) +(\w+)\((.*)", line):
            yield found[1], found[2], found[3]


def sites_of(lab, mode, place):
    """Every call to be failed, as a run without faults makes them."""
    trace = place / f"{mode}.trace"
    prepare(lab, mode)
    code, _, said, _ = run(lab, mode, "strace", "-f", "-qq", "-o", trace)
    open_gates(lab)
    if code:
        raise AssertionError(f"under strace it ends with {code}: {said}")
    counts, sites, others, begun = collections.Counter(), {}, set(), False
    for thread, call, line in parsed(trace):
        begun = begun or f"{call}({line}".startswith(BEGIN)
        # strace counts the calls of each thread for itself, and fails all of
        # this number.
        counts[thread, call] += 1
        site = Site(call, counts[thread, call], line[:120])
        if not begun or call == "write" and line.startswith("2, "):
            others.add(site[:2])
        elif call in CALLS and not (IS_SANITIZED and call in SANITIZER_CALLS):
            sites.setdefault(site[:2], site)
    return [site for key, site in sites.items() if key not in others]


def shape(site):
    """What a call asks for, whatever the numbers, addresses and bytes."""
    return site.call, re.sub(r'0x[0-9a-f]+|"[^"]*\\[^"]*"?|\d+', "N", site.what)


class Faults:
    """What came of the faults of one mode, and what should not have."""

    def __init__(self, lab, mode, place):
        self.lab, self.mode, self.place = lab, mode, place
        self.is_forward = MODES[mode].command[0] == "forward"
        self.has_gates = "gate" in (mode, MODES[mode].before)
        self.usual = self.plain()
        self.outcomes, self.wrong = collections.Counter(), []
        self.words = collections.Counter()

    def plain(self):
        prepare(self.lab, self.mode)
        code, final, said, _ = run(self.lab, self.mode)
        if code or self.is_forward and not (final and final["balanced"]):
            raise AssertionError(f"a run without a fault ends with {code}: {said}")
        if self.has_gates:
            open_gates(self.lab)
        return set(shorn(said))

    def inject(self, site, error):
        trace = self.place / "fault.trace"
        prepare(self.lab, self.mode)
        code, final, said, out = run(
            self.lab, self.mode, "strace", "-f", "-qq", "-o", trace, "--seccomp-bpf",
            "-e", f"trace={site.call}",
            "-e", f"inject={site.call}:error={error}:when={site.when}")
        hits = [line for line in trace.read_text(errors="replace").splitlines()
                if "INJECTED" in line]
        news = [line for line in shorn(said) if line not in self.usual]
        fault = self.fault_of(code, final, news, site.call, error)
        # Numbers differ a little between runs: this is not one of ours.
        if any(re.search(r"\bwrite\(2,", line) for line in hits):
            fault = None
        if code == 1 and MODES[self.mode].before and "standard output" not in said:
            fault = fault or self.gate_fault_of(said + out)
        if self.has_gates:
            open_gates(self.lab)
        try:
            self.lab.expect_untouched()
        except AssertionError as touched:
            fault = fault or str(touched)
            self.put_back()
        if PINNED.exists() and any(PINNED.iterdir()):
            fault = fault or f"pinned: {list(PINNED.iterdir())}"
        self.outcomes["not reached" if not hits else f"exit status {code}"] += 1
        if code:
            self.words.update(news)
            try:
                self.plain()
            except AssertionError as next_run:
                fault = fault or f"the next run: {next_run}"
        if fault:
            where = (hits or [site.what])[0][:110]
            self.wrong.append(f"{self.mode}: {site.call} {site.when} {error}: {fault}; "
                              f"it said {news}; {where}")

    def gate_fault_of(self, told):
        """A gate is closed still, or it was said that it is not."""
        for dev, settings in self.lab.settings().items():
            is_open = f"{dev}: the gate was taken over" in told or f"{dev}: gate opened" in told
            if is_open == bool(settings["program"]):
                return f"the gate of {dev}, is_open {is_open}, has {settings['program']}"
        return None

    def put_back(self):
        """What one fault left changed is not to be counted again."""
        for dev in ("left", "right"):
            self.lab.run("fwd", "ethtool", "-K", dev, "rxvlan", "on", "rx-vlan-stag-hw-parse",
                         "on", check=False)
            self.lab.run("fwd", "ip", "link", "set", "dev", dev, "xdp", "off", check=False)

    def fault_of(self, code, final, news, call, error):
        if code == 0 and not self.is_forward:
            return None
        if code == 0:
            if not final:
                return "no final object"
            ledger, packets = final["ledger"], final["packets"]
            if not final["balanced"] or ledger["free"] != ledger["frames"]:
                return f"ledger {ledger}"
            if packets["unnamed"]:
                return f"packets {packets}"
            return None
        if code != 1:
            return f"exit status {code}"
        words = [os.strerror(getattr(errno, name))
                 for name in {error} | TRANSLATED.get(call, set())]
        told = [line for line in news if len(line.split()) >= 10 and
                any(word in line for word in words)]
        return None if told else f"no sentence with {words}"


def shorn(said):
    """The lines without numbers, which differ from run to run."""
    return [re.sub(r"\d+", "N", line) for line in said.splitlines()]


def needs_strace():
    if not shutil.which("strace"):
        raise Skip("no strace")


def needs_share_piece():
    if not SHARE_PIECE:
        raise Skip("XMB_SHARE_PIECE names no program to run")


def processes(mode, cnt):
    """As many, in which the kernel is as the mode wants it; one that dies is told."""
    return concurrent.futures.ProcessPoolExecutor(
        cnt, multiprocessing.get_context("fork"),
        None if MODES[mode].has_links else without_links())


def find_sites(mode):
    own_bpffs(again=True)
    with tempfile.TemporaryDirectory() as place, lab_of(mode) as lab:
        return sites_of(lab, mode, pathlib.Path(place))


def sites_beyond(mode):
    """The mode's, but for those that another one has."""
    with processes(mode, 1) as pool:
        sites = pool.submit(find_sites, mode).result()
    beyond = MODES[mode].beyond
    known = {shape(site) for site in sites_beyond(beyond)} if beyond else ()
    return [site for site in sites if shape(site) not in known]


def fail_these(mode, pairs):
    """Fail each (site, error) once, in a lab of this process's own."""
    own_bpffs(again=True)
    with tempfile.TemporaryDirectory() as place, lab_of(mode) as lab:
        faults = Faults(lab, mode, pathlib.Path(place))
        for site, error in pairs:
            faults.inject(site, error)
        faults.plain()
    return faults.outcomes, faults.words, faults.wrong


def fail_sites(mode, choose):
    """Fail what choose() picks of all (site, error); each once."""
    needs_strace()
    sites = sites_beyond(mode)
    pairs = choose([(site, error) for site in sites for error in ERRORS])
    outcomes, words, wrong = collections.Counter(), collections.Counter(), []
    with processes(mode, AT_ONCE) as pool:
        for part in pool.map(functools.partial(fail_these, mode),
                             [pairs[i::AT_ONCE] for i in range(AT_ONCE)]):
            outcomes += part[0]
            words += part[1]
            wrong += part[2]
    report.note(f"{len(sites)} sites, {len(pairs)} faults: {dict(outcomes)}")
    if os.environ.get("XMB_FAULT_WORDS"):
        for line, cnt in sorted(words.items()):
            report.note(f"{cnt:5} {line}")
    if wrong:
        raise AssertionError(f"{len(wrong)} faults:\n" + "\n".join(wrong))


def kicks_fail(call, error):
    """Every seventh call of a data thread's, once it is in traffic."""
    with Lab() as lab:
        lab.pin_neighbours()
        with Udp(lab, "client", pause=0.0005), Udp(lab, "server", pause=0.0005):
            done = lab.run(
                "fwd", *ENV, "strace", "-f", "-qq", "-o", "/dev/null", "--seccomp-bpf",
                "-e", f"trace={call}",
                "-e", f"inject={call}:error={error}:when={IN_TRAFFIC}+7",
                XMBUF, "forward", "left", "right", "--json", "--duration", "0.7",
                check=False, timeout=END_S)
        if done.returncode:
            raise AssertionError(f"{call} {error}: exit status {done.returncode}: {done.stderr}")
        final = json.loads(done.stdout.splitlines()[-1])
        expect(final["balanced"], True, f"balanced with {call} {error}: {done.stderr}")
        expect(final["packets"]["unnamed"], 0, f"unnamed with {call} {error}")
        lab.expect_untouched()
        return final["packets"]["in"], sum(p["events"]["tx_kicks"] for p in final["ports"])


def fail_in_traffic(faults):
    needs_strace()
    def run(call, error):
        packets, kicks = kicks_fail(call, error)
        if packets < 1000 or kicks < 2 * IN_TRAFFIC:
            raise TooSlow(f"{packets} packets and {kicks} kicks with {call} {error}")

    for fault in faults:
        in_some_try(functools.partial(run, *fault))
    report.note(f"{len(faults)} faults, of every seventh call each")


def a_call_for_pieces_or_a_shared_queue_that_fails_ends_in_words_or_is_made_again():
    needs_share_piece()
    fail_sites("share", sample)


def calls_that_move_packets_fail_and_each_packet_has_a_name():
    fail_in_traffic([("sendto", "EAGAIN"), ("sendto", "EBUSY"), ("sendto", "ENOBUFS"),
                     ("sendto", "EINTR"), ("poll", "EINTR"), ("getsockopt", "ENOBUFS")])


def sample(pairs, cnt=SAMPLE):
    """One of each call, then whichever, the same ones each time."""
    rng = random.Random(SEED)
    rng.shuffle(pairs)
    first = {pair[0].call: pair for pair in reversed(pairs)}
    chosen = list(first.values())
    chosen += [pair for pair in pairs if pair not in chosen]
    return chosen[:cnt]


def a_call_that_fails_ends_it_in_words_or_is_made_again():
    fail_sites("rtc", sample)


def a_call_that_fails_ends_a_pipeline_in_words_or_is_made_again():
    fail_sites("pipeline", sample)


def a_call_that_fails_leaves_a_gate_that_can_be_opened_or_none():
    fail_sites("gate", lambda pairs: sample(pairs, SAMPLE // 2))


def a_call_of_detach_that_fails_leaves_the_gate_closed_or_says_otherwise():
    fail_sites("detach", lambda pairs: sample(pairs, SAMPLE // 2))


if __name__ == "__main__":
    main(a_call_that_fails_ends_it_in_words_or_is_made_again,
         a_call_that_fails_ends_a_pipeline_in_words_or_is_made_again,
         a_call_that_fails_leaves_a_gate_that_can_be_opened_or_none,
         a_call_of_detach_that_fails_leaves_the_gate_closed_or_says_otherwise,
         a_call_for_pieces_or_a_shared_queue_that_fails_ends_in_words_or_is_made_again,
         calls_that_move_packets_fail_and_each_packet_has_a_name)
