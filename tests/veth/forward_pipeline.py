#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-2-Clause
"""xmbuf forward --mode pipeline, and with split packets, from outside (see lab.py)."""
import struct

from frames import (ETH_P_IP, ETH_P_LOCAL, TCP, UDP, Wire, ether, expect_equal, ip_packet,
                    noise, ones_sum, pass_through)
from lab import COMMAND_S, Lab, TooSlow, drops_of, expect, in_some_try, main, report
from load import iperf, ping_all

# A floor that any machine reaches and broken forwarding does not.
TCP_FLOOR = 4_000_000
SECONDS = 2
MAC_LEN, ETHER_LEN = 6, 14


def expect_no_drops(json_object):
    expect(drops_of(json_object), {}, "drops")


def expect_tcp(lab, worker_cnt, way):
    carried = iperf(lab, *way, seconds=SECONDS)
    report.note(f"{worker_cnt} workers {' '.join(way)}: {carried / SECONDS / 1e6:.0f} MB/s")
    if carried < TCP_FLOOR * SECONDS:
        raise TooSlow(f"iperf3 {way}: only {carried} bytes in {SECONDS} s")


def real_traffic_with(worker_cnt, *options):
    with Lab() as lab, lab.forward("--mode", "pipeline", "--workers", str(worker_cnt),
                                   *options) as forward:
        got = ping_all(lab, "-f", "-c", "2000", seconds=COMMAND_S)
        expect((got["sent"], got["received"]), (2000, 2000), "pings sent and answered")
        expect_no_drops(forward.interval())
        for way in ((), ("-R",)):
            in_some_try(lambda way=way: expect_tcp(lab, worker_cnt, way))
        final = forward.finish()
        expect(final["threads"], 1 + worker_cnt, "threads")
        roles = [thread["role"] for thread in final["per_thread"]]
        expect(roles, ["io"] + ["worker"] * worker_cnt, "roles of the threads")
        if final["packets"]["out"] < 4000:
            raise AssertionError(f"the pings did not pass here: {final['packets']}")
    return final


def pings_and_tcp_pass_one_worker():
    real_traffic_with(1)


def pings_and_tcp_pass_two_workers():
    real_traffic_with(2)


def pings_and_tcp_pass_four_workers_symmetric():
    real_traffic_with(4, "--symmetric")


def udp_frames():
    """UDP and TCP of many lengths, and frames that are not IP at all."""
    for data_len in range(18, 1400, 17):
        for proto in (UDP, TCP):
            yield ether(ETH_P_IP, ip_packet(4, proto, data_len))
        yield ether(ETH_P_LOCAL, noise(f"pipeline {data_len}", data_len + 40))
    # Of headers alone, with and without the padding of the frame.
    bare = ether(ETH_P_IP, ip_packet(4, TCP, 0))
    yield bare
    yield bare + bytes(6)
    yield with_sum(0xFEFF)


def with_sum(wanted):
    """One whose header has that checksum: with a hop less, a sum of all ones."""
    packet = bytearray(ip_packet(4, UDP, 18))
    packet[4:6], packet[10:12] = b"\0\0", struct.pack("!H", wanted)
    packet[4:6] = struct.pack("!H", 0xFFFF ^ ones_sum(bytes(packet[:20])))
    return ether(ETH_P_IP, bytes(packet))


def one_hop_on(frame):
    """What the split handler is to make of a frame: byte by byte, as RFC 791 has it."""
    frame = frame[MAC_LEN:2 * MAC_LEN] + frame[:MAC_LEN] + frame[2 * MAC_LEN:]
    if struct.unpack("!H", frame[12:14])[0] != ETH_P_IP:
        return frame
    head = bytearray(frame[ETHER_LEN:ETHER_LEN + 20])
    head[8] -= 1
    head[10:12] = b"\0\0"
    head[10:12] = struct.pack("!H", 0xFFFF ^ ones_sum(bytes(head)))
    return frame[:ETHER_LEN] + bytes(head) + frame[ETHER_LEN + 20:]


def split_with(*options):
    frames = list(udp_frames())
    with Lab() as lab:
        lab.pin_neighbours()
        with lab.forward("--handler", "split", *options) as forward:
            client, server = Wire(lab, "client0"), Wire(lab, "server0")
            with client, server:
                wanted = [one_hop_on(frame) for frame in frames]
                expect_equal(pass_through(client, server, frames), wanted)
                expect_equal(pass_through(server, client, frames), wanted)
                expect((client.rest(), server.rest()), ([], []), "frames that nobody sent")
            final = forward.finish()
        expect_no_drops(final)
        expect(final["packets"]["out"], 2 * len(frames), "packets out")
        shared = [thread for thread in final["per_thread"] if thread["role"] == "worker"]
        for thread in shared:
            if "handled" not in thread:
                raise AssertionError(f"a worker had nothing to do: {shared}")
        # Halves, and packets that have no second half.
        if sum(thread["handled"] for thread in shared) <= 3 * len(frames):
            raise AssertionError(f"packets were not split: {shared}")


def split_packets_come_out_with_one_hop_less_both_ways():
    split_with()


def one_flow_order(worker_cnt, handler):
    """Many small and large packets of one flow, all at once, must keep their order."""
    frames = [ether(ETH_P_IP, ip_packet(4, UDP, 18 + i % 7 * 200)[:-4] + struct.pack("!I", i))
              for i in range(600)]
    with Lab() as lab:
        lab.pin_neighbours()
        with lab.forward("--mode", "pipeline", "--workers", str(worker_cnt),
                         "--handler", handler) as forward:
            client, server = Wire(lab, "client0"), Wire(lab, "server0")
            with client, server:
                came = pass_through(client, server, frames, batch=200)
            numbers = [struct.unpack("!I", frame[-4:])[0] for frame in came]
            expect(numbers, list(range(600)), "numbers in the order that they came in")
            expect_no_drops(forward.finish())


def a_flow_keeps_its_order_with_four_workers():
    one_flow_order(4, "pass")


def a_flow_keeps_its_order_when_it_is_split():
    one_flow_order(4, "split")


main(pings_and_tcp_pass_one_worker,
     pings_and_tcp_pass_two_workers,
     pings_and_tcp_pass_four_workers_symmetric,
     split_packets_come_out_with_one_hop_less_both_ways,
     a_flow_keeps_its_order_with_four_workers,
     a_flow_keeps_its_order_when_it_is_split)
