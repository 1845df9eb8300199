#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-2-Clause
"""What each option of xmbuf forward does, as seen from outside."""
import os
import pathlib
import re
import signal
import socket
import subprocess
import time

from frames import ETH_P_IP, UDP, Wire, ether, expect_equal, ip_packet, pass_through
from lab import (SERVER_IP, STOP_S, XMBUF, Lab, Skip, TooSlow, drops_of, expect, expect_words,
                 in_some_try, main, port, received_by)
from load import UDP_PORT, Tcp, Udp, expect_ping

FLOWS = 256


def expect_tcp(lab, byte_cnt=20_000_000, seconds=300):
    with Tcp(lab) as tcp:
        end = time.monotonic() + seconds
        while tcp.received < byte_cnt:
            if time.monotonic() > end:
                raise AssertionError(f"{tcp.received} bytes came in {seconds} s")
            time.sleep(0.01)


def the_final_object_says_which_modes_were_got():
    wanted = {
        (): ("native", "copy"),
        ("--xdp", "native", "--bind", "copy"): ("native", "copy"),
        ("--xdp", "auto", "--bind", "auto"): ("native", "copy"),
        ("--xdp", "generic"): ("generic", "copy"),
        ("--xdp", "generic", "--bind", "copy"): ("generic", "copy"),
    }
    with Lab() as lab:
        for options, modes in wanted.items():
            with lab.forward(*options) as forward:
                expect_ping(lab)
                expect_tcp(lab)
            for p in forward.final["ports"]:
                expect((p["xdp"], p["bind"]), modes, f"modes of {p['dev']} with {options}")


def generic_mode_completes_checksums_and_names_what_merges_packets():
    with Lab(offloads="csum") as lab, lab.forward("--xdp", "generic") as forward:
        expect_tcp(lab)
        final = forward.finish()
        expect_words(forward.said(), "generic XDP", "TSO")
        if final["handler"]["csum_completed"] < 1000:
            raise AssertionError(f"{final['handler']}")


def generic_mode_accounts_for_udp_at_full_rate():
    with Lab() as lab:
        lab.pin_neighbours()
        before = lab.counters()
        with lab.forward("--xdp", "generic") as forward:
            with Udp(lab) as udp:
                time.sleep(1.5)
            lab.await_counted(before, "client0", udp.sent)
            taken = lab.counted_since(before)["client0"]["tx_packets"]
            forward.wait_until(lambda o: received_by(o) + sum(
                n for name, n in drops_of(o).items() if "rx_" in name) >= taken,
                "what is on its way")
            final = forward.finish()
        lab.await_counted(before, "server0", final["packets"]["out"], ["rx_packets"])
        counted = lab.counted_since(before)
        expect(counted["client0"]["tx_packets"] + counted["client0"]["tx_dropped"], udp.sent,
               "datagrams that client0 took")
        expect(final["packets"]["in"], counted["client0"]["tx_packets"], "packets in")
        expect(counted["server0"]["rx_packets"], final["packets"]["out"], "packets out")
        expect(sum(drops_of(final).values()), final["packets"]["in"] - final["packets"]["out"],
               "drops by name")


def settings_change_while_it_runs_and_come_back():
    with Lab() as lab:
        with lab.forward() as forward:
            for dev, settings in lab.settings().items():
                was = lab.before[dev]
                expect(settings["program"]["name"], "xmb_steer", f"program of {dev}")
                expect(settings["promiscuity"], was["promiscuity"] + 1, f"promiscuity of {dev}")
                expect_words("\n".join(was["features"]), "rx-vlan-offload: on")
                expect_words("\n".join(settings["features"]), "rx-vlan-offload: off")
            expect_words(forward.said(), "promiscuous mode on, put back", "VLAN stripping",
                         "native mode")
        # What was off before is off after.
        for dev in ("left", "right"):
            lab.run("fwd", "ethtool", "-K", dev, "rxvlan", "off")
            lab.set(dev, "promisc", "on")
        lab.before = lab.settings()
        with lab.forward():
            expect_ping(lab)


def no_promisc_leaves_promiscuous_mode_alone():
    with Lab() as lab, lab.forward("--no-promisc") as forward:
        for dev, settings in lab.settings().items():
            expect(settings["promiscuity"], lab.before[dev]["promiscuity"], f"promiscuity of {dev}")
        if "promiscuous" in forward.said():
            raise AssertionError(forward.said())


def some_queues_leave_the_rest_to_the_kernel():
    with Lab(queues=2) as lab:
        lab.pin_neighbours()
        for options in ("1", "0-0", "1-1"):
            before = lab.counters()
            with lab.forward("--queues", options) as forward:
                # A flow, which is what has a queue, for each source port.
                for _ in range(FLOWS):
                    with lab.socket("client", socket.AF_INET, socket.SOCK_DGRAM) as sender:
                        sender.sendto(b"x", (SERVER_IP, UDP_PORT))
                lab.await_counted(before, "client0", FLOWS)
                final = forward.finish()
            program = port(final, "left")["program"]
            expect(program["matched"] + program["no_socket"], FLOWS, f"flows, --queues {options}")
            if min(program["matched"], program["no_socket"]) < FLOWS // 16:
                raise AssertionError(f"--queues {options}: {program}")
            expect((port(final, "left")["queues"], final["threads"]), (1, 1), "queues, threads")
            expect_words(forward.said(), "receiving on 1 of 2 queues")


def data_threads_run_where_cpus_says():
    cpus = sorted(os.sched_getaffinity(0))
    with Lab(queues=2) as lab:
        for chosen in ([cpus[0]], [cpus[-1]], [cpus[-1], cpus[0]]):
            with lab.forward("--cpus", ",".join(map(str, chosen))) as forward:
                allowed = []
                for task in sorted(pathlib.Path(f"/proc/{forward.process.pid}/task").iterdir()):
                    if int(task.name) != forward.process.pid:
                        allowed.append(os.sched_getaffinity(int(task.name)))
                expect(allowed, [{chosen[i % len(chosen)]} for i in range(2)],
                       f"CPUs of the data threads with {chosen}")
                expect_ping(lab)


def run_of_six_intervals():
    with Lab() as lab, lab.forward("--duration", "1.5", interval=0.25) as forward:
        final = forward.finish(sig=None)
        expect(final["time_s"] >= 1.5, True, f"{final['time_s']} s is 1.5 at least")
        intervals = [o["time_s"] for o in forward.objects if o["type"] == "interval"]
        if final["time_s"] >= 2.5 or not 5 <= len(intervals) <= 6:
            raise TooSlow(f"{final['time_s']} s with intervals at {intervals}")


def duration_and_interval_are_kept():
    in_some_try(run_of_six_intervals)


def rates_are_those_of_the_traffic():
    with Lab() as lab:
        lab.pin_neighbours()
        with lab.forward(interval=0.5) as forward:
            with Udp(lab, data_len=100, pause=0.005) as udp:
                time.sleep(0.5)
                in_some_try(lambda: expect_rates(forward, udp))


def expect_rates(forward, udp):
    first = forward.interval()
    sent, start = udp.sent, time.monotonic()
    last = forward.interval()
    pps = (udp.sent - sent) / (time.monotonic() - start)
    for dev, way in (("left", "rx"), ("right", "tx")):
        rates = port(last, dev)["rates"]
        if not 0.5 * pps < rates[f"{way}_pps"] < 2 * pps:
            raise TooSlow(f"{rates} of {pps} packets a second")
        bits = rates[f"{way}_bps"] / rates[f"{way}_pps"]
        expect(round(bits), 8 * (14 + 20 + 8 + 100), f"bits a packet, {way} of {dev}")
    expect(first["time_s"] < last["time_s"], True, "time goes on")


def plain_lines_end_in_totals_when_piped():
    with Lab() as lab:
        process = lab.start("fwd", XMBUF, "forward", "left", "right", "--interval", "0.1",
                            stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        # From its first line on it forwards.
        lines = [process.stdout.readline()]
        expect_ping(lab, 50)
        lines += [process.stdout.readline() for _ in range(10)]
        process.send_signal(signal.SIGINT)
        rest, _ = process.communicate(timeout=STOP_S)
        out = "".join(lines) + rest
        expect(process.returncode, 0, "exit status")
        lab.expect_untouched()
        if "\x1b" in out:
            raise AssertionError(f"terminal controls in a pipe: {out!r}")
        expect_words(out, "left", "right", "ledger", "in")
        if len(out.splitlines()) < 10:
            raise AssertionError(f"few lines: {out}")
        if not re.search(r"\b10[0-4]\b", out):
            raise AssertionError(f"no total of the pings: {out}")


def as_many_frames_wait_as_are_asked_for():
    with Lab() as lab:
        for fill, level in (("auto", 256), ("full", 2048), ("300", 300)):
            with lab.forward("--fill", fill) as forward:
                expect_ping(lab, 20)
                # In zero copy it is all; what a busy machine lost may have raised it.
                levels = {p["fill_level"] for p in forward.finish()["ports"]}
                if min(levels) < level or (fill == "full" and levels != {level}):
                    raise AssertionError(f"--fill {fill}: levels of {levels}")


def busy_polling_is_reported_with_what_it_got():
    with Lab() as lab:
        with lab.forward("--busy-poll", "40,32") as forward:
            expect_ping(lab)
            expect_tcp(lab)
        for p in forward.final["ports"]:
            busy = p["busy_poll"]
            expect((busy["us"], busy["budget"], busy["preferred"]), (40, 32, True),
                   f"busy polling of {p['dev']}")
            # Not by older kernels; the socket knows its NAPI only where the driver told.
            deferred = int(tuple(map(int, re.findall(r"\d+", os.uname().release)[:2])) >= (6, 13))
            expect(busy["napis_deferred"], deferred, f"NAPIs of {p['dev']}")
            if p["events"]["rx_kicks"] < 100:
                raise AssertionError(f"the device was not polled: {p['events']}")
        with lab.forward() as forward:
            expect_ping(lab)
        expect({p["busy_poll"] for p in forward.final["ports"]}, {None}, "busy polling, not asked")
        for wrong in ("0", "x", "10,0", "10,x", "1000001"):
            done = lab.run("fwd", XMBUF, "forward", "left", "right", "--busy-poll", wrong,
                           check=False)
            expect(done.returncode, 2, f"exit status of --busy-poll {wrong}")
            expect_words(done.stderr, "--busy-poll", "is not a number")


def interrupts_are_deferred_as_the_options_say():
    with Lab() as lab:
        with lab.forward("--gro-flush-timeout", "300", "--busy-poll", "40",
                         "--napi-defer-hard-irqs", "5", "--irq-suspend-timeout", "20") as forward:
            expect_ping(lab)
            final = forward.finish()
        if "before Linux 6.13" in forward.said():
            raise Skip("NAPIs cannot be set before Linux 6.13")
        for p in final["ports"]:
            busy = p["busy_poll"]
            expect([busy[name] for name in (
                "deferred_by", "napis_deferred", "napi_defer_hard_irqs", "gro_flush_timeout_ns",
                "irq_suspend_timeout_ns")], ["netlink", 1, 5, 300_000, 20_000_000],
                f"how interrupts of {p['dev']} were deferred")
        words = "20 ms is set; our threads wait by poll(), for which the kernel suspends nothing"
        expect(forward.said().count(words), 2, f"devices of which is said: {words}")


def the_last_report_says_what_moved_and_what_to_do():
    with Lab() as lab:
        process = lab.start("fwd", XMBUF, "forward", "left", "right", "--handler", "drop",
                            "--busy-poll", "20", "--gro-flush-timeout", "250", "--interval", "0.1",
                            stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        first = process.stdout.readline()
        lab.run("client", "ping", "-c", "3", "-i", "0.1", "-W", "1", SERVER_IP, check=False)
        process.send_signal(signal.SIGINT)
        rest, _ = process.communicate(timeout=STOP_S)
        out = first + rest
        expect(process.returncode, 0, "exit status")
        expect_words(out, "busy polling 20 us, budget 64", "of 1 queues have a NAPI to poll",
                     "handler_drop",
                     "packets that the handler dropped", "rx_kicks",
                     "system calls to resume receiving, or to poll the device busily")
        if not re.search("interrupts (not deferred|of 1 NAPIs deferred by netlink: 2 turns, timer "
                         "after 250 us, suspension by epoll_wait\\(\\) off)\n", out):
            raise AssertionError(f"how interrupts were deferred is not said: {out}")
        if "tx_unsent" in out:
            raise AssertionError(f"what did not move is named: {out}")


def a_match_by_port_leaves_its_neighbour_to_the_kernel():
    wanted = ether(ETH_P_IP, ip_packet(4, UDP, 100))
    other = wanted[:37] + bytes([wanted[37] ^ 1]) + wanted[38:]
    with Lab() as lab, lab.forward("--match", "port 4003", "--handler", "macswap") as forward:
        with Wire(lab, "client0") as client, Wire(lab, "server0") as server:
            client.send(other)
            came = pass_through(client, server, [wanted])
            expect_equal(came, [wanted[6:12] + wanted[:6] + wanted[12:]])
            expect(server.rest(), [], "other frames")
        program = port(forward.finish(), "left")["program"]
        expect((program["matched"], program["passed"]), (1, 1), "matched and passed")


if __name__ == "__main__":
    main(the_final_object_says_which_modes_were_got,
         generic_mode_completes_checksums_and_names_what_merges_packets,
         generic_mode_accounts_for_udp_at_full_rate,
         settings_change_while_it_runs_and_come_back,
         no_promisc_leaves_promiscuous_mode_alone,
         some_queues_leave_the_rest_to_the_kernel,
         data_threads_run_where_cpus_says,
         duration_and_interval_are_kept,
         rates_are_those_of_the_traffic,
         plain_lines_end_in_totals_when_piped,
         as_many_frames_wait_as_are_asked_for,
         busy_polling_is_reported_with_what_it_got,
         interrupts_are_deferred_as_the_options_say,
         the_last_report_says_what_moved_and_what_to_do,
         a_match_by_port_leaves_its_neighbour_to_the_kernel)
