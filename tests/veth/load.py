# SPDX-License-Identifier: BSD-2-Clause
"""Traffic for a lab: ping, iperf3, and senders of our own that count exactly."""
import contextlib
import json
import re
import socket
import subprocess
import threading
import time

from lab import CLIENT_IP, COMMAND_S, SERVER_IP, WAIT_S, expect, wait_for

SOL_UDP, UDP_SEGMENT = 17, 103
UDP_PORT, TCP_PORT, IPERF_PORT = 4000, 4001, 5201
SEGMENTS = 40
ADDRESS = {"client": CLIENT_IP, "server": SERVER_IP}


def ping(lab, *options, where="client", to=None, seconds=COMMAND_S):
    """{sent, received, rtt_ms}; a lost packet is no error of ping's."""
    to = to or ADDRESS["server" if where == "client" else "client"]
    done = lab.run(where, "ping", "-n", "-q", *options, to, check=False, timeout=seconds)
    counts = re.search(r"(\d+) packets transmitted, (\d+) received", done.stdout)
    if not counts:
        raise AssertionError(f"ping: {done.stdout}{done.stderr}")
    rtt = re.search(r"= [\d.]+/([\d.]+)/", done.stdout)
    return {"sent": int(counts[1]), "received": int(counts[2]),
            "rtt_ms": float(rtt[1]) if rtt else None}


def echo_replies(lab, where):
    """All that ever came to this end."""
    text = lab.run(where, "cat", "/proc/net/snmp").stdout
    names, values = (line.split() for line in text.splitlines() if line.startswith("Icmp:"))
    return int(dict(zip(names, values))["InEchoReps"])


def ping_all(lab, *options, where="client", **more):
    """The same, but replies count that come when ping has gone, which waits for
    the last ones no longer than two round trips."""
    before = echo_replies(lab, where)
    got = ping(lab, *options, where=where, **more)
    with contextlib.suppress(AssertionError):
        wait_for(lambda: echo_replies(lab, where) - before >= got["sent"], "replies")
    got["received"] = echo_replies(lab, where) - before
    return got


def expect_ping(lab, cnt=20, *options, **more):
    got = ping_all(lab, "-c", cnt, "-i", "0.01", "-W", "30", *options, **more)
    expect((got["sent"], got["received"]), (cnt, cnt), "pings sent and answered")
    return got


def iperf(lab, *options, seconds=5, to=SERVER_IP, server="server"):
    """Bytes that arrived in an iperf3 run over TCP."""
    listener = lab.start(server, "iperf3", "-s", "-1", "-p", IPERF_PORT,
                         stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    wait_for(lambda: "LISTEN" in lab.run(
        server, "ss", "-Hltn", f"sport = :{IPERF_PORT}").stdout, "iperf3's server")
    done = lab.run("client", "iperf3", "-J", "-c", to, "-p", IPERF_PORT, "-t", seconds,
                   *options, check=False, timeout=seconds + COMMAND_S)
    result = json.loads(done.stdout)
    if "error" in result:
        raise AssertionError(f"iperf3: {result['error']}")
    listener.wait(WAIT_S)
    return result["end"]["sum_received"]["bytes"]


class Udp:
    """A flood of UDP datagrams from one end to the other, counted exactly.

    The kernel cuts each send into datagrams on its way to the device, so few
    system calls make many packets.  A pause of None is full rate.
    """

    def __init__(self, lab, where="client", data_len=64, pause=None, tolerant=False):
        other = "server" if where == "client" else "client"
        self.to = (ADDRESS[other], UDP_PORT)
        # Nobody reads it, but without it the far end would answer by ICMP; it
        # stays with the lab, because what was sent arrives later.
        sink = lab.socket(other, socket.AF_INET, socket.SOCK_DGRAM)
        sink.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        sink.bind(("", UDP_PORT))
        lab.kept.append(sink)
        self.sink = sink
        self.socket = lab.socket(where, socket.AF_INET, socket.SOCK_DGRAM)
        self.socket.setsockopt(SOL_UDP, UDP_SEGMENT, data_len)
        self.data = bytes(data_len * SEGMENTS)
        self.pause, self.tolerant = pause, tolerant
        self.sent, self.error = 0, None
        self.is_ended = threading.Event()
        self.thread = threading.Thread(target=self.send, daemon=True)

    def send(self):
        while not self.is_ended.is_set():
            try:
                self.socket.sendto(self.data, self.to)
                self.sent += SEGMENTS
            except OSError as error:
                if not self.tolerant:
                    self.error = error
                    return
                time.sleep(0.001)
            if self.pause:
                time.sleep(self.pause)

    def __enter__(self):
        self.thread.start()
        return self

    def wait_sent(self, cnt):
        """Until it has sent so many more."""
        wanted = self.sent + cnt
        wait_for(lambda: self.sent >= wanted or self.error, f"{cnt} datagrams to be sent")

    def __exit__(self, *_):
        self.is_ended.set()
        self.thread.join()
        self.socket.close()
        if self.error:
            raise AssertionError(f"sending: {self.error}")


class Paced(Udp):
    """Datagrams of which no more than a window are not yet seen by taken().

    However long the far end is not run, no queue on the way is full.
    """

    def __init__(self, lab, taken, where="client", window=4 * SEGMENTS, **more):
        super().__init__(lab, where, **more)
        self.taken, self.window = taken, window

    def send(self):
        while not self.is_ended.is_set():
            if self.sent + SEGMENTS - self.taken() > self.window:
                time.sleep(0.001)
                continue
            self.socket.sendto(self.data, self.to)
            self.sent += SEGMENTS
            if self.pause:
                time.sleep(self.pause)


class Tcp:
    """A TCP connection that carries bytes for as long as it can."""

    def __init__(self, lab, where="client"):
        other = "server" if where == "client" else "client"
        self.received = 0
        self.is_ended = threading.Event()
        self.listener = lab.socket(other, socket.AF_INET, socket.SOCK_STREAM)
        self.listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        self.listener.bind(("", TCP_PORT))
        self.listener.listen()
        self.sender = lab.socket(where, socket.AF_INET, socket.SOCK_STREAM)
        self.sender.settimeout(WAIT_S)
        self.to = (ADDRESS[other], TCP_PORT)
        self.threads = []

    def pump(self):
        data = bytes(65536)
        while not self.is_ended.is_set():
            try:
                self.sender.send(data)
            except TimeoutError:
                continue
            except OSError:
                return

    def drink(self):
        while not self.is_ended.is_set():
            try:
                self.received += len(self.end.recv(65536))
            except TimeoutError:
                continue
            except OSError:
                return

    def __enter__(self):
        self.sender.connect(self.to)
        self.end, _ = self.listener.accept()
        for end in (self.sender, self.end):
            end.settimeout(0.2)
        self.threads = [threading.Thread(target=target, daemon=True)
                        for target in (self.pump, self.drink)]
        for thread in self.threads:
            thread.start()
        return self

    def __exit__(self, *_):
        self.is_ended.set()
        for thread in self.threads:
            thread.join()
        for end in (self.sender, self.end, self.listener):
            end.close()
