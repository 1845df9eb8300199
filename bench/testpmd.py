# SPDX-License-Identifier: BSD-2-Clause
"""testpmd as a contender of scripts/bench: started, driven and read by a terminal."""
import os
import pty
import re
import threading

from lab import APP_CPU, FRAMES, finish, spawn, within


class Testpmd:
    """DPDK's own program at its defaults, but for a pool as large as ours."""

    name = "testpmd"
    MODES = {"rxdrop": "rxonly", "txonly": "txonly", "forward": "macswap"}

    def start(self, mode, size, extra=()):
        self.mode = mode
        devices = {"txonly": ["right"], "rxdrop": ["left"]}.get(mode, ["left", "right"])
        vdevs = [w for i, dev in enumerate(devices)
                 for w in ("--vdev", f"net_af_xdp{i},iface={dev},busy_budget=0")]
        # A terminal, for testpmd tells a pipe nothing until its buffer is full.
        self.terminal, theirs = pty.openpty()
        self.child = spawn(
            within("dut", "dpdk-testpmd", "--no-huge", "-m", "512", "--no-pci",
                   "--no-telemetry", "--no-shconf", f"--lcores=0@{APP_CPU},1@{APP_CPU}",
                   *vdevs, "--", "-i", "--nb-cores=1", f"--forward-mode={self.MODES[mode]}",
                   f"--total-num-mbufs={FRAMES}", f"--txpkts={size}"),
            APP_CPU, stdin=theirs, stdout=theirs, stderr=theirs)
        os.close(theirs)
        self.text, self.has_more = "", threading.Condition()
        self.reader = threading.Thread(target=self.read, daemon=True)
        self.reader.start()
        self.wait_for("testpmd> ", 0)
        self.command("set record-core-cycles on")
        self.command("start")
        return self.child.pid

    def read(self):
        while True:
            try:
                part = os.read(self.terminal, 65536).decode(errors="replace")
            except OSError:
                part = ""
            with self.has_more:
                self.text += part
                self.has_more.notify_all()
            if not part:
                return

    def wait_for(self, what, start, timeout=15):
        with self.has_more:
            if not self.has_more.wait_for(lambda: what in self.text[start:], timeout):
                raise RuntimeError(f"testpmd did not say '{what}': {self.text[-600:]}")

    def command(self, text):
        with self.has_more:
            start = len(self.text)
        os.write(self.terminal, f"{text}\n".encode())
        self.wait_for("\ntestpmd> ", start)

    def stop(self):
        start = len(self.text)
        try:
            self.command("stop")
            os.write(self.terminal, b"quit\n")
        finally:
            finish(self.child, None, 8)
            self.reader.join(5)
            os.close(self.terminal)
        found = re.findall(r"CPU cycles/packet=([\d.]+).* at (\d+) MHz", self.text[start:])
        if not found:
            return {}
        turn_ns = float(found[-1][0]) * 1000 / int(found[-1][1])
        # It does not tell its system calls apart; receiving has none.
        return {"turn_ns": turn_ns, **({"busy_ns": turn_ns} if self.mode == "rxdrop" else {})}
