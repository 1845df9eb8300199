#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-2-Clause
"""Real traffic through xmbuf forward: ping, TCP, UDP at full rate (see lab.py)."""
import signal
import time

from lab import (COMMAND_S, Lab, TooSlow, drops_of, expect, in_some_try, main, port, report,
                 sent_by)
from load import Udp, expect_ping, iperf, ping_all

# A floor that any machine reaches and broken forwarding does not: what a TCP
# connection carries that lives on retransmissions is below 1 MB/s.
TCP_FLOOR = 4_000_000
FLOOD_MIN, OVERFLOW = 10000, 20000


def expect_tcp(lab, *options, seconds=5, **more):
    """How many bytes went through in all."""
    total = 0

    def run():
        nonlocal total
        got = iperf(lab, *options, seconds=seconds, **more)
        total += got
        report.note(f"iperf3 {' '.join(options)}: {got / seconds / 1e6:.0f} MB/s")
        if got < TCP_FLOOR * seconds:
            raise TooSlow(f"iperf3 {options}: only {got} bytes in {seconds} s")

    in_some_try(run)
    return total


def a_flood_of_20000_pings_loses_none():
    with Lab() as lab, lab.forward() as forward:
        got = ping_all(lab, "-f", "-c", "20000", seconds=2 * COMMAND_S)
        expect((got["sent"], got["received"]), (20000, 20000), "pings sent and answered")
        final = forward.finish()
        expect(drops_of(final), {}, "drops")
        if final["packets"]["out"] < 40000:
            raise AssertionError(f"the pings did not pass here: {final['packets']}")


def tcp_both_ways(mtu):
    with Lab(mtu=mtu) as lab, lab.forward() as forward:
        there = expect_tcp(lab)
        back = expect_tcp(lab, "-R")
        final = forward.finish()
        for dev, bytes_min in (("left", there), ("right", back)):
            got = port(final, dev)["totals"]["rx_bytes"]
            if got < bytes_min:
                raise AssertionError(f"{dev} received {got} of {bytes_min} bytes")
    return final


def tcp_flows_both_ways_at_mtu_1500():
    final = tcp_both_ways(1500)
    for dev in ("left", "right"):
        expect(port(final, dev)["totals"]["rx_chains"], 0, f"chains received by {dev}")


def tcp_flows_both_ways_at_mtu_9000_in_chains():
    final = tcp_both_ways(9000)
    for dev in ("left", "right"):
        totals = port(final, dev)["totals"]
        if totals["rx_chains"] < 100:
            raise AssertionError(f"{dev} received {totals['rx_chains']} chains")
        # Each chain of 9000 bytes is three frames of 4096.
        if totals["tx_completed"] <= totals["tx_packets"]:
            raise AssertionError(f"{dev} sent no chains: {totals}")


def tcp_flows_at_mtu_9000_in_frames_of_2048():
    with Lab(mtu=9000) as lab, lab.forward("--frame-size", "2048"):
        expect_ping(lab, 50, "-s", "8972", "-M", "do")
        expect_tcp(lab, seconds=2)


def tcp_flows_when_the_sender_leaves_checksums_partial():
    with Lab(offloads="csum") as lab, lab.forward() as forward:
        expect_tcp(lab, seconds=2)
        expect_tcp(lab, "-R", seconds=2)
        final = forward.finish()
        done = final["handler"]["csum_completed"]
        if done < final["packets"]["in"] // 2:
            raise AssertionError(f"{done} checksums completed in {final['packets']}")


def tcp_flows_when_the_sender_does_not_cut_packets_to_the_mtu():
    with Lab(offloads="on") as lab, lab.forward():
        expect_tcp(lab, seconds=2)
        expect_tcp(lab, "-R", seconds=2)


def expect_accounted(way_in, way_out, sender, receiver, sent, final, counted):
    """Every datagram of one direction, from the application to the far device.

    sender --> way_in: veth counts as the sender's tx_packets what the XDP
    program of its peer was run on, and as tx_dropped what found the ring
    between the two full.  way_out --> receiver: veth counts as the receiver's
    rx_packets, and as nothing else, what was handed to its stack, and as
    tx_dropped of way_out what the stack refused (its backlog full, the device
    down); the socket is told of each refusal.
    """
    came, went = port(final, way_in), port(final, way_out)
    program, totals, drops = came["program"], came["totals"], came["drops"]
    expect(counted[sender]["tx_packets"] + counted[sender]["tx_dropped"], sent,
           f"datagrams that {sender} took")
    expect(program["matched"] + program["passed"] + program["no_socket"],
           counted[sender]["tx_packets"], f"packets that the program of {way_in} saw")
    expect(program["matched"], counted[sender]["tx_packets"], f"matched by {way_in}")
    expect(totals["rx_packets"] + sum(v for n, v in drops.items() if n.startswith("rx_")),
           program["matched"], f"received or dropped by name at {way_in}")
    expect(went["sent"] + sum(v for n, v in went["drops"].items() if n.startswith("tx_")),
           totals["rx_packets"], f"sent or dropped by name at {way_out}")
    expect(counted[receiver]["rx_packets"], went["sent"], f"what {receiver} received")
    expect(counted[way_out]["tx_dropped"], went["drops"]["tx_kernel_drop"],
           f"what {way_out} told to have dropped")


def flood(seconds, ways, pauses=0):
    with Lab() as lab:
        lab.pin_neighbours()
        before = lab.counters()
        with lab.forward() as forward:
            senders = [Udp(lab, where) for where in ways]
            for sender in senders:
                sender.__enter__()
            for _ in range(pauses):
                time.sleep(seconds / (pauses + 1))
                forward.process.send_signal(signal.SIGSTOP)
                # More than its rings hold.
                senders[0].wait_sent(OVERFLOW)
                forward.process.send_signal(signal.SIGCONT)
            time.sleep(seconds / (pauses + 1))
            for sender in senders:
                sender.wait_sent(max(0, FLOOD_MIN - sender.sent))
            forward.wait_until(lambda o: sent_by(o) >= FLOOD_MIN, f"{FLOOD_MIN} packets out")
            for sender in senders:
                sender.__exit__()
            for sender, dev in zip(senders, ("client0", "server0")):
                lab.await_counted(before, dev, sender.sent)
            final = forward.finish()
        for dev, out in (("server0", "right"), ("client0", "left")):
            lab.await_counted(before, dev, port(final, out)["sent"], ["rx_packets"])
        counted = lab.counted_since(before)
        sent = dict(zip(ways, (sender.sent for sender in senders)))
        report.note(f"sent {sent}, out {final['packets']['out']}, drops {drops_of(final)}")
        expect_accounted("left", "right", "client0", "server0", sent.get("client", 0), final,
                         counted)
        expect_accounted("right", "left", "server0", "client0", sent.get("server", 0), final,
                         counted)
        for where, cnt in sent.items():
            if cnt < FLOOD_MIN:
                raise AssertionError(f"only {cnt} sent from {where}")
    return final


def udp_at_full_rate_is_accounted_for_to_the_packet():
    final = flood(3, ["client"])
    if final["packets"]["out"] < FLOOD_MIN:
        raise AssertionError(f"hardly anything came out: {final['packets']}")


def udp_at_full_rate_both_ways_is_accounted_for_to_the_packet():
    flood(3, ["client", "server"])


def udp_that_overflows_a_stopped_forwarder_is_dropped_by_name():
    final = flood(1.5, ["client"], pauses=4)
    drops = port(final, "left")["drops"]
    if drops["rx_dropped"] + drops["rx_ring_full"] == 0:
        raise AssertionError(f"nothing overflowed: {drops_of(final)}")


def unequal_queues(left, right):
    with Lab(queues_left=left, queues_right=right) as lab, lab.forward() as forward:
        expect_ping(lab, 100)
        expect_tcp(lab, "-P", "4", seconds=2)
        expect_tcp(lab, "-P", "4", "-R", seconds=2)
        final = forward.finish()
        expect(final["threads"], min(left, right), "threads")
        expect((port(final, "left")["queues"], port(final, "right")["queues"]), (left, right),
               "queues")
        for dev in ("left", "right"):
            expect(port(final, dev)["program"]["no_socket"], 0, f"no_socket of {dev}")


def four_queues_and_one_forward_all():
    unequal_queues(4, 1)


def two_queues_and_three_forward_all():
    unequal_queues(2, 3)


def the_devices_own_address_works_while_udp_is_forwarded():
    with Lab() as lab:
        lab.pin_neighbours()
        lab.run("fwd", "ip", "address", "add", "10.99.0.3/24", "dev", "left")
        before = lab.counters()
        with lab.forward("--match", "udp") as forward:
            with Udp(lab, pause=0.001) as udp:
                got = expect_tcp(lab, seconds=2, to="10.99.0.3", server="fwd")
                forward.wait_until(lambda o: sent_by(o) >= 1000, "1000 datagrams")
            forward.wait_until(
                lambda o: port(o, "left")["program"]["matched"] + lab.counted_since(
                    before)["client0"]["tx_dropped"] >= udp.sent, "what is on its way")
            final = forward.finish()
        lab.await_counted(before, "server0", port(final, "right")["sent"], ["rx_packets"])
        counted = lab.counted_since(before)
        program = port(final, "left")["program"]
        # What the ring of the client's device had no room for is of either kind.
        unseen = udp.sent - program["matched"]
        if not 0 <= unseen <= counted["client0"]["tx_dropped"]:
            raise AssertionError(f"{program} of {udp.sent} sent, {counted['client0']}")
        expect(counted["server0"]["rx_packets"] + sum(drops_of(final).values()),
               program["matched"], "datagrams that arrived or were dropped by name")
        if counted["server0"]["rx_packets"] < 1000:
            raise AssertionError(f"only {counted['server0']} arrived of {udp.sent}")
        if program["passed"] * 1448 < got:
            raise AssertionError(f"{program['passed']} packets passed for {got} bytes")


if __name__ == "__main__":
    main(a_flood_of_20000_pings_loses_none,
         tcp_flows_both_ways_at_mtu_1500,
         tcp_flows_both_ways_at_mtu_9000_in_chains,
         tcp_flows_at_mtu_9000_in_frames_of_2048,
         tcp_flows_when_the_sender_leaves_checksums_partial,
         tcp_flows_when_the_sender_does_not_cut_packets_to_the_mtu,
         udp_at_full_rate_is_accounted_for_to_the_packet,
         udp_at_full_rate_both_ways_is_accounted_for_to_the_packet,
         udp_that_overflows_a_stopped_forwarder_is_dropped_by_name,
         four_queues_and_one_forward_all,
         two_queues_and_three_forward_all,
         the_devices_own_address_works_while_udp_is_forwarded)
