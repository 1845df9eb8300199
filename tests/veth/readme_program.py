#!/usr/bin/python3
# SPDX-License-Identifier: BSD-2-Clause
"""The program of README.md: compiled as a user would, run, and seen to work."""
import os
import pathlib
import re
import shlex
import signal
import socket
import subprocess
import tempfile

from lab import COMMAND_S, ROOT, SERVER_IP, STOP_S, XMBUF, Lab, expect, expect_words, main, wait_for
from load import expect_ping

SOURCE = ROOT / "docs/example/filter.c"
BUILD = pathlib.Path(XMBUF).parents[2]
DISCARD, OTHER, DATAGRAMS = 9, 10, 25


def command(*arguments, **options):
    done = subprocess.run(list(map(str, arguments)), stdout=subprocess.PIPE,
                          stderr=subprocess.STDOUT, text=True, timeout=COMMAND_S, **options)
    expect(done.returncode, 0, f"status of {shlex.join(map(str, arguments))}: {done.stdout}")
    return done.stdout


def stage(dest):
    """Install into dest; the flags that pkg-config gives, and the library's folder."""
    command("meson", "install", "-C", BUILD, "--no-rebuild", "--quiet", "--destdir", dest)
    pc = next(dest.glob("**/xmbuf.pc"))
    prefix = re.search(r"^prefix=(.*)$", pc.read_text(), re.M)[1]
    flags = command("pkg-config", f"--define-variable=prefix={dest}{prefix}", "--cflags",
                    "--libs", "xmbuf", env=dict(os.environ, PKG_CONFIG_PATH=str(pc.parent)))
    return shlex.split(flags), next(dest.glob("**/libxmbuf.so")).parent


def compiled(dest):
    """The program, and the environment to run it in."""
    flags, folder = stage(dest)
    program = dest / "filter"
    command(*shlex.split(os.environ.get("CC", "cc")), "-Wall", "-Werror", SOURCE, "-o",
            program, *flags)
    return program, dict(os.environ, LD_LIBRARY_PATH=str(folder))


def send(lab, port):
    """Datagrams that the server answers with an error each, if they arrive."""
    with lab.socket("client", socket.AF_INET, socket.SOCK_DGRAM) as sender:
        for _ in range(DATAGRAMS):
            sender.sendto(b"xmbuf", (SERVER_IP, port))


def arrived(lab):
    """Datagrams that the server's stack took and found no socket for."""
    text = lab.run("server", "cat", "/proc/net/snmp").stdout
    names, values = (line.split() for line in text.splitlines() if line.startswith("Udp:"))
    return int(dict(zip(names, values))["NoPorts"])


def the_readme_shows_the_program_as_it_is():
    blocks = re.findall(r"^```c\n(.*?)^```$", (ROOT / "README.md").read_text(), re.M | re.S)
    expect(blocks, [SOURCE.read_text()], "C in README.md")


def it_compiles_with_pkg_config_alone_and_filters():
    with tempfile.TemporaryDirectory(prefix="xmbuf-readme-") as name, Lab() as lab:
        program, env = compiled(pathlib.Path(name))
        running = lab.start("fwd", program, "left", "right", env=env, text=True,
                            stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        wait_for(lambda: lab.run("client", "ping", "-c", "1", "-W", "1", SERVER_IP,
                                 check=False).returncode == 0, "the first ping")
        expect_ping(lab)
        before = arrived(lab)
        send(lab, OTHER)
        wait_for(lambda: arrived(lab) == before + DATAGRAMS, "what is not for port 9")
        send(lab, DISCARD)
        expect_ping(lab)    # what was sent before has passed, if it passes
        expect(arrived(lab), before + DATAGRAMS, "datagrams that arrived, port 9's not among them")
        running.send_signal(signal.SIGINT)
        out, words = running.communicate(timeout=STOP_S)
        expect(running.returncode, 0, f"exit status, having said: {words}\n")
        last = re.fullmatch(r"forwarded (\d+), dropped (\d+)", out.splitlines()[-1])
        expect(int(last[2]), DATAGRAMS, "packets that the program says it dropped")
        lab.expect_untouched()


def it_says_why_it_cannot_start():
    with tempfile.TemporaryDirectory(prefix="xmbuf-readme-") as name, Lab() as lab:
        program, env = compiled(pathlib.Path(name))
        done = subprocess.run(lab.command("fwd", [program, "left", "nowhere0"]), env=env,
                              capture_output=True, text=True, timeout=STOP_S)
        expect(done.returncode, 1, "exit status")
        expect_words(done.stderr, "nowhere0", "none of this name")
        lab.expect_untouched()


main(the_readme_shows_the_program_as_it_is, it_compiles_with_pkg_config_alone_and_filters,
     it_says_why_it_cannot_start)
