# SPDX-License-Identifier: BSD-2-Clause
"""The network that scripts/bench measures in, and the programs that run there."""
import atexit
import contextlib
import os
import signal
import subprocess
import sys

TAG = f"xmbb{os.getpid()}"
GEN_CPU, APP_CPU = 0, 1
FRAMES = 65536       # of each contender

children = []


def say(text):
    print(text, file=sys.stderr, flush=True)


def run(*command, **options):
    return subprocess.run([str(c) for c in command], check=True, **options)


def within(ns, *command):
    return ["nsenter", f"--net=/run/netns/{TAG}-{ns}", "--", *map(str, command)]


def spawn(command, cpu, **options):
    child = subprocess.Popen(["taskset", "-c", str(cpu), *command], **options)
    children.append(child)
    return child


def finish(child, signo=signal.SIGTERM, timeout=5):
    if child.poll() is None and signo:
        child.send_signal(signo)
    try:
        child.wait(timeout)
    except subprocess.TimeoutExpired:
        child.kill()
        child.wait()
    if child in children:
        children.remove(child)


def offloads(ns, dev):
    run(*within(ns, "ethtool", "-K", dev, "tx", "off", "sg", "on", "gso", "off",
                "tso", "off", "gro", "on" if ns == "dut" else "off",
                "txvlan", "off", "rxvlan", "off"),
        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)


OFFLOADS = {"tx-checksumming": "csum", "scatter-gather": "sg",
            "tcp-segmentation-offload": "tso", "generic-segmentation-offload": "gso",
            "generic-receive-offload": "gro", "rx-vlan-offload": "rxvlan",
            "tx-vlan-offload": "txvlan"}


def offloads_on():
    """{device: those that are on}, as ethtool reads them back."""
    found = {}
    for ns, dev in (("gen", "gen0"), ("dut", "left"), ("dut", "right"), ("sink", "sink0")):
        told = run(*within(ns, "ethtool", "-k", dev), capture_output=True, text=True).stdout
        states = dict(line.split(":", 1) for line in told.splitlines()[1:])
        found[dev] = " ".join(short for name, short in OFFLOADS.items()
                              if states[name].split()[0] == "on") or "none"
    return found


def lab_up():
    atexit.register(lab_down)
    for ns in ("gen", "dut", "sink"):
        run("ip", "netns", "add", f"{TAG}-{ns}")
        for which in ("all", "default"):
            run(*within(ns, "sh", "-c",
                        f"echo 1 >/proc/sys/net/ipv6/conf/{which}/disable_ipv6"))
    pairs = (("gen", "gen0", "dut", "left", 1), ("dut", "right", "sink", "sink0", 3))
    for ns, dev, peer_ns, peer, mac in pairs:
        run("ip", "-n", f"{TAG}-{ns}", "link", "add", dev, "address",
            f"02:b1:00:00:00:0{mac}", "numtxqueues", 1, "numrxqueues", 1, "type", "veth",
            "peer", "name", peer, "netns", f"{TAG}-{peer_ns}", "address",
            f"02:b1:00:00:00:0{mac + 1}", "numtxqueues", 1, "numrxqueues", 1)
        for each_ns, each in ((ns, dev), (peer_ns, peer)):
            offloads(each_ns, each)
            run("ip", "-n", f"{TAG}-{each_ns}", "link", "set", each, "arp", "off", "up")
    # A process in each namespace, by whose /proc its counters are read.
    return {ns: spawn(within(ns, "sleep", "3600"), APP_CPU).pid
            for ns in ("dut", "sink")}


def lab_down():
    for child in list(children):
        child.kill()
        finish(child, None)
    for ns in ("gen", "dut", "sink"):
        if os.path.exists(f"/run/netns/{TAG}-{ns}"):
            subprocess.run(["ip", "netns", "delete", f"{TAG}-{ns}"], check=False)


@contextlib.contextmanager
def mtu(value):
    """Another MTU on all four devices, for a while."""
    def put(size):
        for ns, dev in (("gen", "gen0"), ("dut", "left"), ("dut", "right"), ("sink", "sink0")):
            run("ip", "-n", f"{TAG}-{ns}", "link", "set", dev, "mtu", size)
    put(value)
    try:
        yield
    finally:
        put(1500)


@contextlib.contextmanager
def pinned(cpu):
    """This process on one CPU, for a while."""
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {cpu})
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)
