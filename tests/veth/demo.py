#!/usr/bin/python3
# SPDX-License-Identifier: BSD-2-Clause
"""scripts/demo passes, and fails, and leaves nothing either way."""
import os
import pathlib
import signal
import subprocess
import tempfile
import time

from lab import ROOT, XMBUF, expect, expect_words, main

BUILD = pathlib.Path(XMBUF).parents[2]
TOO_LONG_S = 90
# What the user's curl would be if a byte were lost on the way.
BAD_CURL = """#!/bin/bash
/usr/bin/curl "$@"
while (($#)); do
	[[ $1 != -o ]] || printf x >>"$2"
	shift
done
"""


class Demo:
    """A run in a folder of its own, with the build of this test."""

    def __init__(self, folder):
        self.folder = pathlib.Path(folder)
        self.bin = self.folder / "bin"
        self.tmp = self.folder / "tmp"
        for new in (self.bin, self.tmp):
            new.mkdir()
        (self.folder / "plain").symlink_to(BUILD)

    def start(self):
        env = dict(os.environ, XMBUF_BUILD=str(self.folder), TMPDIR=str(self.tmp),
                   PATH=f"{self.bin}:{os.environ['PATH']}")
        self.process = subprocess.Popen(
            [ROOT / "scripts/demo"], env=env, stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT, text=True, stdin=subprocess.DEVNULL)
        return self

    def forwarder(self):
        """The pid of the xmbuf that the demo started, once it carries TCP."""
        for line in self.process.stdout:
            if line.startswith("== iperf3"):
                break
        time.sleep(1)
        shown = subprocess.run(["ip", "netns", "pids", f"xmb-{self.process.pid}-fwd"],
                               capture_output=True, text=True, check=True).stdout
        return int(shown)

    def end(self):
        """Exit status and words; its files and namespaces have to be gone."""
        try:
            out, _ = self.process.communicate(timeout=TOO_LONG_S)
        except subprocess.TimeoutExpired:
            self.process.terminate()
            out, _ = self.process.communicate(timeout=TOO_LONG_S)
            raise AssertionError(f"not done in {TOO_LONG_S} s: {out}") from None
        expect(os.listdir(self.tmp), [], "files left behind")
        left = [name for name in os.listdir("/run/netns")
                if name.startswith(f"xmb-{self.process.pid}-")]
        expect(left, [], "namespaces left behind")
        return self.process.returncode, out


def run(sabotage=None, shims=()):
    with tempfile.TemporaryDirectory(prefix="xmbuf-demo-test-") as folder:
        demo = Demo(folder)
        for name, text in shims:
            (demo.bin / name).write_text(text)
            (demo.bin / name).chmod(0o755)
        demo.start()
        try:
            if sabotage:
                sabotage(demo)
        except BaseException:
            demo.process.terminate()
            demo.process.wait()
            raise
        return demo.end()


def the_demo_passes():
    status, out = run()
    expect(status, 0, f"status of the demo: {out}\n")
    expect_words(out, "all checks passed")


def it_fails_when_xmbuf_dies():
    status, out = run(lambda demo: os.kill(demo.forwarder(), signal.SIGKILL))
    expect(status, 1, f"status of the demo: {out}\n")
    expect_words(out, "xmbuf is not running any more", "without its final report")


def it_fails_when_the_file_is_another_one():
    status, out = run(shims=[("curl", BAD_CURL)])
    expect(status, 1, f"status of the demo: {out}\n")
    expect_words(out, "the file that curl got is another one", "1 check(s) failed")


def it_ends_clean_when_it_is_told_to():
    def terminate(demo):
        demo.forwarder()
        demo.process.terminate()

    status, out = run(terminate)
    expect(status, 143, f"status of the demo: {out}\n")


main(the_demo_passes, it_fails_when_xmbuf_dies, it_fails_when_the_file_is_another_one,
     it_ends_clean_when_it_is_told_to)
