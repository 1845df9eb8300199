# SPDX-License-Identifier: BSD-2-Clause
"""xmbuf forward between two veth pairs, driven and watched from outside.

      client0 === left | xmbuf forward | right === server0
      10.99.0.1        (namespace fwd)             10.99.0.2

A test is a function whose name is a sentence; it makes a Lab, runs a Forward
in it and drives traffic.  When a Forward ends, its last JSON object and the
devices are looked at, so every test ends in the same checks:

    balanced, no frame missing, no packet unnamed, nothing copied, no fault
    counted, no program on a device, promiscuity and VLAN stripping as before

Both take what they made away however the test ends.
"""
import contextlib
import ctypes
import itertools
import json
import os
import pathlib
import signal
import socket
import subprocess
import sys
import threading
import time
import traceback

ROOT = pathlib.Path(os.environ.get("XMBUF_ROOT", pathlib.Path(__file__).parents[2]))
XMBUF = os.environ.get("XMBUF", str(ROOT / "build/plain/apps/xmbuf/xmbuf"))
VETH_LAB = str(ROOT / "scripts/veth-lab")
sys.path.insert(0, str(ROOT / "tests/tidy"))
from tap import Report  # noqa: E402

CLIENT_IP, SERVER_IP = "10.99.0.1", "10.99.0.2"
CLIENT_MAC, SERVER_MAC = "02:00:00:00:00:01", "02:00:00:00:00:02"
PLACE = {"client0": "client", "left": "fwd", "right": "fwd", "server0": "server"}
AF_XDP = 44
CLONE_NEWNET = 0x40000000
# Far more than anything takes: a machine whose CPUs are elsewhere for a while
# fails no test.
WAIT_S, START_S, STOP_S, COMMAND_S = 60, 120, 120, 300
TRIES = 10

libc = ctypes.CDLL(None, use_errno=True)
report = Report()
lab_letter = itertools.cycle("abcdefghijklmnopqrstuvwxyz")


class Skip(Exception):
    """This machine cannot show it; the text says why."""


class TooSlow(AssertionError):
    """A measure of time or speed that a busy machine may spoil."""


def in_some_try(attempt, tries=TRIES):
    """What a busy machine spoils now and then comes true before long; what is
    never true fails, and any other failure does at once."""
    for left in reversed(range(tries)):
        try:
            return attempt()
        except TooSlow as slow:
            if not left:
                raise
            report.note(f"once more: {slow}")


def expect(got, wanted, what):
    if got != wanted:
        raise AssertionError(f"{what}: {got} instead of {wanted}")


def expect_words(text, *words):
    """Each of the words is in the text, whatever the case."""
    for word in words:
        if word.lower() not in text.lower():
            raise AssertionError(f"'{word}' is not in: {text.strip()}")


def wait_for(condition, what, seconds=WAIT_S):
    end = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > end:
            raise AssertionError(f"{what} did not come in {seconds} s")
        time.sleep(0.01)


@contextlib.contextmanager
def entered(namespace):
    """This thread in another network namespace."""
    with open("/proc/thread-self/ns/net") as here, open(namespace) as there:
        def move(file):
            if libc.setns(file.fileno(), CLONE_NEWNET):
                raise OSError(ctypes.get_errno(), "setns")
        move(there)
        try:
            yield
        finally:
            move(here)


class Lab:
    """One lab of scripts/veth-lab; the options are those of its `up`."""

    def __init__(self, **options):
        # The tag holds the pid, and a letter because labs follow one another.
        self.tag = f"{os.getpid() % 10**7}{next(lab_letter)}"
        self.options = [text for name, value in options.items()
                        for text in ("--" + name.replace("_", "-"), str(value))]
        self.processes, self.kept = [], []

    def __enter__(self):
        try:
            subprocess.run([VETH_LAB, "up", "-q", "--tag", self.tag, *self.options],
                           check=True, stdout=subprocess.DEVNULL, timeout=COMMAND_S)
            self.before = self.settings()
        except BaseException:
            self.down()
            raise
        return self

    def __exit__(self, *_):
        self.down()

    def down(self):
        for process in self.processes:
            if process.poll() is None:
                process.kill()
            process.wait()
        for held in self.kept:
            held.close()
        subprocess.run([VETH_LAB, "down", "--tag", self.tag, "-q"], check=True,
                       stderr=subprocess.DEVNULL, timeout=COMMAND_S)

    def ns(self, where):
        return f"xmb-{self.tag}-{where}"

    def command(self, where, arguments):
        return ["nsenter", f"--net=/run/netns/{self.ns(where)}", "--", *map(str, arguments)]

    def start(self, where, *arguments, **options):
        """A process in a namespace, killed at the latest with the lab."""
        process = subprocess.Popen(self.command(where, arguments), **options)
        self.processes.append(process)
        return process

    def run(self, where, *arguments, check=True, timeout=COMMAND_S):
        done = subprocess.run(self.command(where, arguments), capture_output=True,
                              text=True, timeout=timeout)
        if check and done.returncode:
            raise AssertionError(f"{' '.join(map(str, arguments))} exited with "
                                 f"{done.returncode}: {done.stdout}{done.stderr}")
        return done

    def socket(self, where, *arguments):
        with entered(f"/run/netns/{self.ns(where)}"):
            return socket.socket(*arguments)

    def set(self, dev, *settings):
        subprocess.run(["ip", "-n", self.ns(PLACE[dev]), "link", "set", dev,
                        *map(str, settings)], check=True)

    def pin_neighbours(self):
        """No ARP any more, so that a counter sees only what a test sends."""
        for where, dev, ip, mac in (("client", "client0", SERVER_IP, SERVER_MAC),
                                    ("server", "server0", CLIENT_IP, CLIENT_MAC)):
            subprocess.run(["ip", "-n", self.ns(where), "neigh", "replace", ip, "lladdr", mac,
                            "nud", "permanent", "dev", dev], check=True)

    def counters(self):
        """{device: {rx_packets, rx_dropped, tx_packets, tx_dropped}}"""
        counters = {}
        for where in ("client", "fwd", "server"):
            out = subprocess.run(["ip", "-n", self.ns(where), "-s", "-j", "link"], check=True,
                                 capture_output=True, text=True).stdout
            for link in json.loads(out):
                counters[link["ifname"]] = {
                    f"{way}_{what}": link["stats64"][way][what]
                    for way in ("rx", "tx") for what in ("packets", "dropped")}
        return counters

    def counted_since(self, before):
        now = self.counters()
        return {dev: {name: value - before[dev][name] for name, value in counters.items()}
                for dev, counters in now.items() if dev in before}

    def await_counted(self, before, dev, cnt, names=("tx_packets", "tx_dropped")):
        """Until dev has counted cnt since then; if it does not, the counts tell."""
        def is_there():
            now = self.counted_since(before)[dev]
            return sum(now[name] for name in names) >= cnt

        with contextlib.suppress(AssertionError):
            wait_for(is_there, f"{cnt} packets of {dev}")

    def settings(self):
        """What xmbuf may change of left and right, or leave behind on them."""
        settings = {}
        for dev in ("left", "right"):
            shown = subprocess.run(["ip", "-n", self.ns("fwd"), "-d", "-j", "link", "show", dev],
                                   capture_output=True, text=True)
            if shown.returncode:
                continue
            link = json.loads(shown.stdout)[0]
            features = self.run("fwd", "ethtool", "-k", dev).stdout.splitlines()
            settings[dev] = {
                "program": link.get("xdp", {}).get("prog"),
                "promiscuity": link["promiscuity"],
                "mtu": link["mtu"],
                "features": [line for line in features if "vlan" in line],
            }
        return settings

    def expect_untouched(self):
        now = self.settings()
        for dev, settings in now.items():
            for name, value in settings.items():
                expect(value, self.before[dev][name], f"{name} of {dev} afterwards")

    def forward(self, *options, **more):
        return Forward(self, *options, **more)

    def refused(self, *options, devices=("left", "right"), code=1, prefix=(), app=XMBUF):
        """What a forward that cannot start says; nothing may be left of it."""
        done = self.run("fwd", *prefix, app, "forward", *devices, "--json", *options,
                        check=False, timeout=STOP_S)
        if done.returncode != code:
            raise AssertionError(f"exit status {done.returncode} instead of {code}: "
                                 f"{done.stdout}{done.stderr}")
        return done.stderr


class Forward:
    """A running `xmbuf forward left right --json`, from its first interval on."""

    def __init__(self, lab, *options, interval=0.1):
        self.lab = lab
        self.options = [*options, "--json", "--interval", str(interval)]
        self.objects, self.words = [], []
        self.final = None

    def __enter__(self):
        self.process = self.lab.start(
            "fwd", XMBUF, "forward", "left", "right", *self.options,
            stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        self.readers = [threading.Thread(target=target, daemon=True)
                        for target in (self.read_objects, self.read_words)]
        for reader in self.readers:
            reader.start()
        wait_for(lambda: self.objects or self.process.poll() is not None,
                 "the first interval", START_S)
        if self.process.poll() is not None and self.process.returncode:
            raise AssertionError(f"xmbuf exited with {self.process.returncode}: {self.said()}")
        return self

    def __exit__(self, kind, *_):
        if kind is None:
            self.finish()
        elif self.process.poll() is None:
            self.process.kill()
            self.process.wait()

    def read_objects(self):
        for line in self.process.stdout:
            self.objects.append(json.loads(line))

    def read_words(self):
        for line in self.process.stderr:
            self.words.append(line)

    def said(self):
        return "".join(self.words)

    def interval(self):
        """The next interval object that begins and ends after now."""
        seen = len(self.objects)
        wait_for(lambda: len(self.objects) >= seen + 2, "an interval")
        return self.objects[-1]

    def wait_until(self, condition, what):
        """Until a report says so; gives that report."""
        wait_for(lambda: self.objects and condition(self.objects[-1]) or
                 self.process.poll() is not None, what)
        return self.objects[-1]

    def finish(self, sig=signal.SIGINT, code=0, seconds=STOP_S):
        """End it by a signal (None: it ends by itself) and check what it left."""
        if self.final:
            return self.final
        if sig is not None and self.process.poll() is None:
            self.process.send_signal(sig)
        try:
            self.process.wait(seconds)
        except subprocess.TimeoutExpired:
            raise AssertionError(f"xmbuf did not end in {seconds} s: {self.said()}") from None
        for reader in self.readers:
            reader.join(seconds)
        expect(self.process.returncode, code, f"exit status, having said: {self.said()}\n")
        if not self.objects or self.objects[-1]["type"] != "final":
            raise AssertionError(f"no final object: {self.said()}")
        self.final = self.objects[-1]
        self.expect_whole()
        self.lab.expect_untouched()
        return self.final

    def expect_whole(self):
        final = self.final
        ledger, packets = final["ledger"], final["packets"]
        expect(final["balanced"], True, f"balanced, with {ledger} having said: {self.said()}\n")
        expect(ledger["missing"], 0, "frames missing")
        expect(ledger["free"], ledger["frames"], "frames free at the end")
        expect(packets["unnamed"], 0, f"packets unnamed of {packets}, {drops_of(final)}")
        expect(packets["in"] - packets["out"] - packets["dropped"], 0, "in - out - dropped")
        expect((final["copies"], final["copied_bytes"]), (0, 0), "copies and bytes copied")
        for port in final["ports"]:
            faults = {name: value for name, value in port["faults"].items() if value}
            expect(faults, {}, f"faults of {port['dev']}")


def port(json_object, dev):
    return next(p for p in json_object["ports"] if p["dev"] == dev)


def sent_by(json_object):
    """Packets that went out, of any report."""
    return sum(p["sent"] for p in json_object["ports"])


def received_by(json_object):
    return sum(p["totals"]["rx_packets"] for p in json_object["ports"])


def drops_of(json_object):
    """Every drop by its name, those that happened."""
    drops = {f"{p['dev']} {name}": value for p in json_object["ports"]
             for name, value in p["drops"].items() if value}
    return drops | {name: value for name, value
                    in json_object["handler_drops"].items() if value}


def cannot_run():
    if os.geteuid() != 0:
        return "needs root"
    try:
        socket.socket(AF_XDP, socket.SOCK_RAW).close()
    except OSError as error:
        return f"no AF_XDP: {error}"
    return None


def main(*tests):
    """Run the tests that match an argument, or all; ends the program."""
    def stop(number, _):
        raise SystemExit(128 + number)

    signal.signal(signal.SIGTERM, stop)
    signal.signal(signal.SIGHUP, stop)
    reason = cannot_run()
    chosen = [test for test in tests
              if not sys.argv[1:] or any(word in test.__name__ for word in sys.argv[1:])]
    for test in chosen:
        sentence = test.__name__.replace("_", " ")
        start = time.monotonic()
        try:
            if reason:
                raise Skip(reason)
            test()
        except Skip as skip:
            report.skip(sentence, str(skip))
            continue
        except Exception:
            report.check(sentence, traceback.format_exc().splitlines())
        else:
            report.check(sentence, [])
        report.note(f"in {time.monotonic() - start:.1f} s")
    raise SystemExit(report.finish())
