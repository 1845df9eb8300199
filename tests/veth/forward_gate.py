#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-2-Clause
"""xmbuf forward --on-exit drop: however it ends, nothing gets around it."""
import contextlib
import pathlib
import re
import shutil
import signal
import subprocess
import tempfile

from gate_lab import BPFFS, GateLab, Stack
from lab import STOP_S, XMBUF, expect, expect_words, main, port, report, sent_by, wait_for
from load import UDP_PORT, Udp, expect_ping

GATE = ("--on-exit", "drop")
LOAD = 1000
OTHER_PORT = UDP_PORT + 3


def kill(forward):
    forward.process.kill()
    forward.process.wait(STOP_S)
    forward.final = {"type": "killed"}
    forward.lab.switch_back()


@contextlib.contextmanager
def killed(lab, *options):
    """What a forward with a gate leaves when it is killed under load."""
    lab.pin_neighbours()
    with Stack(lab) as stack, Udp(lab, pause=0.0005) as udp:
        with lab.forward(*GATE, *options) as forward:
            lab.keeps_program = True
            stack.read()
            stack.expect_nothing(UDP_PORT, 0.3)
            kill(forward)
        udp.wait_sent(LOAD)
        stack.load = udp
        yield stack


def dropped_of(text):
    return [int(n) for n in re.findall(r"dropped (\d+) packet", text)]


def expect_opened(lab, stack):
    said = lab.detach("left", "right")
    expect_words(said, "left: gate opened", "right: gate opened")
    stack.expect_some(UDP_PORT)
    lab.keeps_program = False
    expect((lab.pinned(), lab.program("left"), lab.program("right")), (0, None, None),
           "gates and programs that are left")
    return dropped_of(said)[0]


def nothing_passes_between(mode):
    with GateLab() as lab, killed(lab, "--xdp", mode) as stack:
        program = lab.program()
        stack.expect_nothing(UDP_PORT, 0.5)
        expect((lab.pinned(), lab.program()), (2, program), "gates and program after SIGKILL")
        with lab.forward(*GATE, "--xdp", mode) as forward:
            stack.expect_nothing(UDP_PORT, 0.3)
            forward.wait_until(lambda o: sent_by(o) >= LOAD, "load")
            final = forward.finish()
        count = dropped_of(forward.said())
        report.note(f"{mode}: a gate dropped {count[0]} packets until a successor came")
        if count[0] < 100 or port(final, "right")["sent"] < 100:
            raise AssertionError(f"there was no load: {forward.said()}")
        stack.expect_nothing(UDP_PORT, 0.3)
        stack.load.wait_sent(LOAD)
        expect(expect_opened(lab, stack) > 100, True, "drops after a clean end")


def nothing_passes_between_sigkill_and_a_successor():
    nothing_passes_between("native")


def nothing_passes_between_sigkill_and_a_successor_in_generic_mode():
    nothing_passes_between("generic")


def without_a_gate_packets_pass_as_soon_as_it_is_killed():
    with GateLab() as lab:
        lab.pin_neighbours()
        with Stack(lab) as stack, Udp(lab, pause=0.0005), lab.forward() as forward:
            stack.read()
            stack.expect_nothing(UDP_PORT, 0.2)
            kill(forward)
            stack.expect_some(UDP_PORT)
            expect((lab.pinned(), lab.program()), (0, None), "gates and program")


def strip_commands(said):
    """What is said to do of VLAN stripping that is found off."""
    return re.findall(r"is off and stays so; if a process that was killed left it off: (.*)", said)


def what_sigkill_left_off_is_said_by_the_next_start_and_by_detach():
    with GateLab() as lab:
        whole = lab.settings()
        with lab.forward(*GATE) as forward:
            expect(strip_commands(forward.said()), [], "what was off before")
            expect_words(forward.said(), "not by SIGKILL: then `ethtool -K left rx-vlan-hw-parse")
            lab.keeps_program = True
            forward.process.kill()
            forward.process.wait(STOP_S)
            forward.final = {"type": "killed"}
        # From here on this is how the devices are, until somebody does as is said.
        lab.before = lab.settings()
        with lab.forward(*GATE) as forward:
            commands = strip_commands(forward.said())
            forward.finish()
        expect(sorted(commands),
               [f"ethtool -K {dev} {feature} on" for dev in ("left", "right")
                for feature in ("rx-vlan-hw-parse", "rx-vlan-stag-hw-parse")], "what to do")
        expect(strip_commands(lab.detach("left", "right")), commands, "what detach says to do")
        for command in commands:
            lab.run("fwd", *command.split())
        lab.keeps_program = False
        expect(lab.settings(), whole, "what the devices are in the end")
        expect(strip_commands(lab.detach("left", code=1)), [], "what there is to do in the end")


def defer_commands(said):
    """What is said to do of interrupts that are found deferred."""
    return re.findall(r"as for busy polling, and stay so; if a process that was killed "
                      r"left them so: `([^`]*)` \(with the /sys", said)


def interrupts_that_sigkill_left_deferred_are_said_by_the_next_start_and_by_detach():
    with GateLab() as lab:
        for dev in ("left", "right"):  # its NAPIs outlive the XDP program
            lab.run("fwd", "ethtool", "-K", dev, "gro", "on")
        lab.before = lab.settings()
        with lab.forward("--busy-poll", "20") as forward:
            said = forward.said()
            expect(defer_commands(said), [], "what was deferred before")
            if "before Linux 6.13" in said:
                report.note("NAPIs cannot be set before Linux 6.13")
                forward.finish()
                return
            own = re.findall("not by SIGKILL: then `(echo [^`]*)`", said)
            kill(forward)
        with lab.forward() as forward:
            commands = defer_commands(forward.said())
            forward.finish()
        expect(len(commands), 2, "devices of which it is said")
        expect(commands, own, "what to do, as the process said that was killed")
        expect(defer_commands(lab.detach("left", "right", code=1)), commands,
               "what detach says to do")
        for command in commands:
            lab.run("fwd", "unshare", "--mount", "sh", "-c",
                    f"mount -t sysfs none /sys && {command}")
        expect(defer_commands(lab.detach("left", "right", code=1)), [],
               "what there is to do in the end")


def ten_successors_are_killed_under_load_and_nothing_passes():
    with GateLab() as lab, killed(lab) as stack:
        for _ in range(10):
            with lab.forward(*GATE, interval=0.02) as forward:
                kill(forward)
            stack.expect_nothing(UDP_PORT)
        expect_opened(lab, stack)


def what_does_not_match_passes_a_closed_gate():
    with GateLab() as lab, killed(lab, "--match", f"port {UDP_PORT}") as stack:
        with lab.socket("client", 2, 2) as sender:
            def passes():
                sender.sendto(b"x", ("10.99.0.2", OTHER_PORT))
                return stack.read().get(OTHER_PORT)
            wait_for(passes, "a packet that does not match")
        stack.expect_nothing(UDP_PORT, 0.2)
        expect_opened(lab, stack)


def a_start_that_fails_leaves_a_closed_gate_closed():
    with GateLab() as lab, killed(lab) as stack:
        program = lab.program()
        for options in (GATE, ()):
            said = lab.refused(*options, "--bind", "zc")
            expect_words(said, "zero copy")
            stack.expect_nothing(UDP_PORT, 0.2)
        expect_words(lab.refused(*GATE, "--xdp", "generic"), "its gate is in native mode",
                     "xmbuf detach left")
        expect((lab.pinned(), lab.program()), (2, program), "gates and program")
        expect_opened(lab, stack)


def a_start_that_fails_leaves_no_gate():
    with GateLab() as lab:
        expect_words(lab.refused(*GATE, "--bind", "zc"), "zero copy")
        expect(lab.pinned(), 0, "gates")
        lab.expect_untouched()


def a_successor_without_one_opens_it_at_its_end():
    with GateLab() as lab, killed(lab) as stack:
        with lab.forward() as forward:
            stack.expect_nothing(UDP_PORT, 0.3)
            lab.keeps_program = False
            expect(lab.pinned(), 0, "gates while the successor runs")
            forward.finish()
        expect_words(forward.said(), "it is open when this process has ended")
        stack.expect_some(UDP_PORT)


def a_second_start_and_a_detach_leave_a_running_one_alone():
    with GateLab() as lab, lab.forward(*GATE) as forward:
        lab.keeps_program = True
        for options in (GATE, ()):
            expect_words(lab.refused(*options), "another process is using its gate")
        said = lab.detach("left", "right", code=1)
        expect_words(said, "left: another process is using", "right: another process is using")
        expect(strip_commands(said), [], "what is not to be done while it runs")
        expect_ping(lab)
        forward.finish()
        lab.detach("left", "right")


def every_signal_leaves_it_closed():
    for sig in (signal.SIGTERM, signal.SIGHUP):
        with GateLab() as lab:
            lab.pin_neighbours()
            with Stack(lab) as stack, Udp(lab, pause=0.001), lab.forward(*GATE) as forward:
                lab.keeps_program = True
                stack.read()
                forward.finish(sig)
                stack.expect_nothing(UDP_PORT, 0.2)
                expect_words(forward.said(), "the gate stays closed", "xmbuf detach left")
                expect_opened(lab, stack)


def queues_without_a_socket_are_closed_too():
    with GateLab(queues=2) as lab:
        lab.pin_neighbours()
        before = lab.counters()
        with Stack(lab) as stack, lab.forward(*GATE, "--queues", "1") as forward:
            lab.keeps_program = True
            for _ in range(256):
                with lab.socket("client", 2, 2) as sender:
                    sender.sendto(b"x", ("10.99.0.2", UDP_PORT))
            lab.await_counted(before, "client0", 256)
            stack.expect_nothing(UDP_PORT)
            program = port(forward.finish(), "left")["program"]
            expect(program["matched"] + program["gate_drop"], 256, f"flows of {program}")
            expect(program["gate_drop"] > 16, True, f"drops of {program}")
            expect_words(forward.said(), "dropped by the gate, if it matches")
        lab.detach("left", "right")


def gates_of_several_labs_come_and_go_at_once():
    with GateLab() as one, GateLab() as two:
        one.keeps_program = two.keeps_program = True
        command = [XMBUF, "forward", *GATE, "left", "right", "--duration", "0.05"]
        for _ in range(8):
            running = [lab.start("fwd", *command, stdout=subprocess.DEVNULL,
                                 stderr=subprocess.PIPE, text=True) for lab in (one, two)]
            for process in running:
                said = process.communicate(timeout=STOP_S)[1]
                expect(process.returncode, 0, f"exit status, having said: {said}")
            expect(one.pinned(), 4, "gates of both")
            opening = [lab.start("fwd", XMBUF, "detach", "left", "right",
                                 stdout=subprocess.DEVNULL) for lab in (one, two)]
            expect([process.wait(STOP_S) for process in opening], [0, 0], "exit status of detach")
            expect(one.pinned(), 0, "gates of both")


def a_deleted_device_takes_its_gate_along():
    with GateLab() as lab:
        with lab.forward(*GATE) as forward:
            lab.set("server0", "down")
            subprocess.run(["ip", "-n", lab.ns("fwd"), "link", "del", "right"], check=True)
            lab.keeps_program = True
            lab.before.pop("right")
            forward.finish(sig=None, code=1)
        expect(lab.pinned(), 1, "gates: of left only")
        lab.detach("left")


def detach_refuses_in_words():
    with GateLab() as lab:
        expect_words(lab.detach("left", code=1), "left: it has no gate")
        expect_words(lab.detach("nosuch", code=1), "nosuch: there is no such device")
        expect_words(lab.detach(code=2), "a device is needed")
        with lab.forward(*GATE) as forward:
            lab.keeps_program = True
            forward.finish()
        # One that fails does not keep the others closed.
        said = lab.detach("nosuch", "left", "left", "right", code=1)
        expect_words(said, "nosuch: there is no such", "left: gate opened",
                     "left: it has no gate", "right: gate opened; it had dropped 0 packets")
        expect(lab.pinned(), 0, "gates")


def without_privilege_it_says_what_is_missing():
    with GateLab() as lab, tempfile.TemporaryDirectory(prefix="xmbuf-nobody-") as place:
        BPFFS.chmod(0o755)
        subprocess.run(["chmod", "755", place], check=True)
        app = shutil.copy(XMBUF, place)
        built = pathlib.Path(XMBUF).resolve().parents[2]
        for path in filter(pathlib.Path.is_file, built.glob("libxmbuf.so*")):
            shutil.copy(path, place)
        with lab.forward(*GATE) as forward:
            lab.keeps_program = True
            forward.finish()
        done = lab.run("fwd", "setpriv", "--reuid=65534", "--regid=65534", "--clear-groups",
                       "--", "env", f"LD_LIBRARY_PATH={place}", app, "detach", "left",
                       check=False)
        expect(done.returncode, 1, "exit status")
        expect_words(done.stderr, "left", "CAP_NET_ADMIN", "root")
        expect(lab.pinned(), 2, "gates")
        lab.detach("left", "right")


def without_a_bpffs_it_says_how_to_get_one():
    hide = ("unshare", "--mount", "bash", "-c",
            'umount /sys/fs/bpf; mount -t tmpfs none /sys/fs/bpf; exec "$@"', "-")
    with GateLab() as lab:
        said = lab.refused(*GATE, prefix=hide)
        expect_words(said, "mount -t bpf bpf /sys/fs/bpf", "nsenter --net=")
        lab.expect_untouched()
        said = lab.detach("left", code=1, prefix=hide)
        expect_words(said, "mount -t bpf bpf /sys/fs/bpf")


if __name__ == "__main__":
    main(nothing_passes_between_sigkill_and_a_successor,
         nothing_passes_between_sigkill_and_a_successor_in_generic_mode,
         without_a_gate_packets_pass_as_soon_as_it_is_killed,
         what_sigkill_left_off_is_said_by_the_next_start_and_by_detach,
         interrupts_that_sigkill_left_deferred_are_said_by_the_next_start_and_by_detach,
         ten_successors_are_killed_under_load_and_nothing_passes,
         what_does_not_match_passes_a_closed_gate,
         a_start_that_fails_leaves_a_closed_gate_closed,
         a_start_that_fails_leaves_no_gate,
         a_successor_without_one_opens_it_at_its_end,
         a_second_start_and_a_detach_leave_a_running_one_alone,
         every_signal_leaves_it_closed,
         queues_without_a_socket_are_closed_too,
         gates_of_several_labs_come_and_go_at_once,
         a_deleted_device_takes_its_gate_along,
         detach_refuses_in_words,
         without_privilege_it_says_what_is_missing,
         without_a_bpffs_it_says_how_to_get_one)
