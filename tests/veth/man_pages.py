#!/usr/bin/python3
# SPDX-License-Identifier: BSD-2-Clause
"""The man pages say what the program says, and their examples run."""
import os
import pathlib
import re
import shutil
import signal
import socket
import subprocess
import tempfile

from forward_program import TheirProgram, user_object
from gate_lab import BPFFS, GateLab
from lab import (COMMAND_S, ROOT, SERVER_IP, STOP_S, XMBUF, Lab, expect, expect_words, main,
                 wait_for)

PAGES = ROOT / "docs/man"
BUILD = pathlib.Path(XMBUF).parents[2]
DEVICES = {"eth0": "left", "eth1": "right"}


def said(*arguments):
    return subprocess.run([XMBUF, *arguments], check=True, capture_output=True, text=True,
                          timeout=STOP_S).stdout


def page(name):
    return (PAGES / name).read_text()


def section(text, title):
    return re.search(rf"^\.Sh {title}\n(.*?)(?=^\.Sh |\Z)", text, re.M | re.S)[1]


def examples(name):
    """The commands of EXAMPLES, as they are typed."""
    lines = re.findall(r"^\.Dl (.*)$", section(page(name), "EXAMPLES"), re.M)
    expect(len(lines) > 1, True, f"{name} has examples")
    return [line.replace(r"\(aq", "'") for line in lines]


def the_options_of_forward_are_those_of_its_help():
    shown = set(re.findall(r"^ +(?:-\?, )?--([a-z-]+)", said("forward", "--help"), re.M))
    told = set(re.findall(r"^\.It Fl -([a-z-]+)", section(page("xmbuf-forward.1"), "OPTIONS"),
                          re.M))
    expect(sorted(told), sorted(shown), "options in xmbuf-forward.1")
    if len(shown) < 10:
        raise AssertionError(f"the help was not understood: {shown}")


def the_options_of_detach_are_those_of_its_help():
    shown = set(re.findall(r"^ +(?:-\?, )?--([a-z-]+)", said("detach", "--help"), re.M))
    told = set(re.findall(r"^\.It Fl -([a-z-]+)", section(page("xmbuf-detach.1"), "OPTIONS"),
                          re.M))
    expect(sorted(told), sorted(shown), "options in xmbuf-detach.1")


def the_values_of_options_are_those_of_its_help():
    shown = dict(re.findall(r"^ +--([a-z-]+)=(\S+)", said("forward", "--help"), re.M))
    told = dict(re.findall(r"^\.It Fl -([a-z-]+) Ar (\S+)", page("xmbuf-forward.1"), re.M))
    expect(told, shown, "options with a value in xmbuf-forward.1")


def every_handler_is_in_the_help_and_in_the_page():
    done = subprocess.run([XMBUF, "forward", "--handler", "none", "a", "b"], capture_output=True,
                          text=True, timeout=20)
    names = re.search(r"is none of (.*)", done.stderr)[1].split(", ")
    expect(len(names) > 3, True, f"handlers: {names}")
    shown = re.search(r"--handler=.*?(?= --)", " ".join(said("forward", "--help").split()))[0]
    expect([name for name in names if not re.search(rf"\b{name}\b", shown)], [],
           "handlers that the help does not mention")
    told = re.search(r"^\.It Fl -handler.*?(?=^\.It )", page("xmbuf-forward.1"), re.M | re.S)[0]
    expect([name for name in names if f"\n.Cm {name}\n" not in told], [],
           "handlers that the page does not mention")


def the_commands_are_those_of_the_help():
    shown = set(re.findall(r"^  ([a-z]+) ", said("help"), re.M)) | {"help"}
    told = set(re.findall(r"^\.It Cm ([a-z]+)$", page("xmbuf.1"), re.M))
    expect(sorted(told), sorted(shown), "commands in xmbuf.1")


def all_pages_are_installed():
    with tempfile.TemporaryDirectory(prefix="xmbuf-man-") as name:
        subprocess.run(["meson", "install", "-C", BUILD, "--no-rebuild", "--quiet",
                        "--destdir", name], check=True, timeout=COMMAND_S)
        found = sorted(path.name for path in pathlib.Path(name).glob("**/man/man1/*.1"))
    expect(found, sorted(path.name for path in PAGES.glob("*.1")), "pages that are installed")


def shell(command, **options):
    env = dict(os.environ, PATH=f"{pathlib.Path(XMBUF).parent}:{os.environ['PATH']}")
    return dict(args=["bash", "-c", command], env=env, **options)


def the_examples_of_xmbuf_print_what_they_say():
    for command in examples("xmbuf.1"):
        done = subprocess.run(**shell(command), capture_output=True, text=True, timeout=STOP_S)
        expect((done.returncode, done.stderr), (0, ""), command)
        expect_words(done.stdout, "xmbuf")


def pings(lab):
    return lab.run("client", "ping", "-c", "1", "-W", "1", SERVER_IP, check=False,
                   timeout=STOP_S).returncode == 0


def took(lab, port):
    """A datagram to a port that nobody has came to the server's stack."""
    def refused():
        text = lab.run("server", "cat", "/proc/net/snmp").stdout
        names, values = (line.split() for line in text.splitlines()
                         if line.startswith("Udp:"))
        return int(dict(zip(names, values))["NoPorts"])

    before = refused()
    with lab.socket("client", socket.AF_INET, socket.SOCK_DGRAM) as sender:
        sender.sendto(b"xmbuf", (SERVER_IP, port))
    try:
        wait_for(lambda: refused() > before, "the datagram", 0.3)
    except AssertionError:
        return False
    return True


def drive(lab, command):
    """What the example is for, seen from the two ends."""
    if "--match 'port 53'" in command:
        wait_for(lambda: took(lab, 53), f"a packet to port 53 through {command}")
        expect((took(lab, 54), pings(lab)), (False, False), "other packets")
    elif "macswap" in command:
        # What comes out of right carries the client's own address as its
        # destination, so a server that takes any shows it and answers none.
        lab.run("server", "ip", "link", "set", "server0", "promisc", "on")
        before = lab.counters()
        wait_for(lambda: pings(lab) or
                 lab.counted_since(before)["server0"]["rx_packets"] > 0,
                 f"a packet through {command}")
        expect(pings(lab), False, "a ping answered")
    else:
        wait_for(lambda: pings(lab), f"a ping through {command}")


def with_our_devices(command):
    for theirs, ours in DEVICES.items():
        expect(len(re.findall(rf" {theirs}(?= |$)", command)), 1, f"{theirs} in: {command}")
        command = re.sub(rf"\b{theirs}\b", ours, command)
    return command


def prepare(lab, command, place):
    """What an example finds: a file, or a program of another's."""
    if "filter.o" in command:
        shutil.copy(user_object("XMB_USER_ONE_OBJECT"), pathlib.Path(place) / "filter.o")
    if "--xskmap" in command:
        expect_words(command, str(TheirProgram(lab).map))


def expect_closed(lab, command):
    expect(("--on-exit drop" in command, lab.pinned()), (True, 2), f"gates after {command}")
    expect(pings(lab), False, "a ping answered")
    lab.detach("left", "right")


def run_example(command):
    typed = with_our_devices(command)
    typed = typed.replace("xmbuf forward", "exec xmbuf forward", 1)
    kind = GateLab if "--on-exit" in command or "--xskmap" in command else Lab
    with tempfile.TemporaryDirectory(prefix="xmbuf-man-") as name, kind() as lab:
        lab.pin_neighbours()
        prepare(lab, command, name)
        options = shell(typed, cwd=name, text=True, stdout=subprocess.PIPE,
                        stderr=subprocess.PIPE)
        running = lab.start("fwd", *options.pop("args"), **options)
        drive(lab, command)
        running.send_signal(signal.SIGINT)
        out, words = running.communicate(timeout=STOP_S)
        expect(running.returncode, 0, f"status of {typed}, having said: {words}\n")
        if "--json" in command:
            done = subprocess.run([ROOT / "scripts/demo-report", "summary", "run.json"],
                                  cwd=name, capture_output=True, text=True, timeout=STOP_S)
            expect(done.returncode, 0, f"status of the summary: {done.stdout}{done.stderr}")
        else:
            expect_words(out, "ledger: balanced, 0 frames missing", "without a name: 0",
                         "copied in user space: 0 packets")
        if "--on-exit" in command:
            expect_closed(lab, command)
        lab.expect_untouched()


def the_examples_of_detach_open_what_forward_closed():
    listed, opened = examples("xmbuf-detach.1")
    with GateLab() as lab:
        lab.run("fwd", XMBUF, "forward", "--on-exit", "drop", "left", "right", "--duration", "0.1")
        for command, words in ((listed, ["-"]), (with_our_devices(opened),
                                                 ["left: gate opened", "right: gate opened"])):
            options = shell(command, text=True, stdout=subprocess.PIPE)
            process = lab.start("fwd", *options.pop("args"), **options)
            out, _ = process.communicate(timeout=STOP_S)
            expect(process.returncode, 0, f"status of {command}")
            expect_words(out, *words)
            expect(len(out.split()) > 1, True, f"two devices: {out}")
        expect(list(BPFFS.glob("xmbuf*")), [], "what is pinned")
        lab.expect_untouched()


def the_examples_of_forward_do_what_they_say():
    for command in examples("xmbuf-forward.1"):
        run_example(command)


main(the_options_of_forward_are_those_of_its_help, the_options_of_detach_are_those_of_its_help,
     the_values_of_options_are_those_of_its_help, every_handler_is_in_the_help_and_in_the_page,
     the_commands_are_those_of_the_help, all_pages_are_installed,
     the_examples_of_xmbuf_print_what_they_say, the_examples_of_forward_do_what_they_say,
     the_examples_of_detach_open_what_forward_closed)
