#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-2-Clause
"""Frame for frame through xmbuf forward: tagged, jumbo, cut short, swapped."""
from frames import (ETH_P_8021AD, ETH_P_8021Q, ETH_P_IP, ETH_P_IPV6, ETH_P_LOCAL, ETHER_LEN, TCP,
                    UDP, Wire, ether, expect_equal, ip_packet, noise, pass_through)
from lab import Lab, drops_of, expect, main, port, report, sent_by

SEED, BATCH = 20, 64
Q_TAG, AD_TAG = (ETH_P_8021Q, 0x6123), (ETH_P_8021AD, 0xA456)
# A tag that is cut off is nothing a receiving kernel shows to anybody.
TAGGED_MIN = ETHER_LEN + 6


def wires(lab):
    return Wire(lab, "client0"), Wire(lab, "server0")


def tagged_frames(len_max, step=1):
    """Each length from 60 on, the tags counted, with and without tags."""
    for frame_len in range(60, len_max + 1, step):
        for tags in ((Q_TAG,), (AD_TAG, Q_TAG), (Q_TAG, Q_TAG), ()):
            head = ether(ETH_P_LOCAL, b"", tags)
            yield head + noise(f"{SEED} {frame_len} {len(tags)}", frame_len - len(head))


def frames_pass(lab, frames, *options):
    lab.pin_neighbours()
    with lab.forward(*options) as forward:
        client, server = wires(lab)
        with client, server:
            expect_equal(pass_through(client, server, frames), frames)
            expect_equal(pass_through(server, client, frames[::-7]), frames[::-7])
            expect((client.rest(), server.rest()), ([], []), "frames that nobody sent")
        final = forward.finish()
    expect(drops_of(final), {}, "drops")
    expect(port(final, "left")["program"]["matched"], len(frames), "frames taken from left")
    return final


def tagged_frames_of_60_to_1514_bytes_come_out_byte_equal():
    frames = list(tagged_frames(1514))
    # One tag may come on top of the longest frame without one.
    frames.append(ether(ETH_P_LOCAL, noise(SEED, 1500), (Q_TAG,)))
    with Lab() as lab:
        frames_pass(lab, frames)


def tagged_frames_come_out_byte_equal_in_generic_mode():
    with Lab() as lab:
        final = frames_pass(lab, list(tagged_frames(1514, 31)), "--xdp", "generic")
        for p in final["ports"]:
            expect(p["xdp"], "generic", f"mode of {p['dev']}")


def tagged_jumbo_frames_come_out_byte_equal_in_chains():
    for frame_size in (2048, 4001, 4032, 4096):
        with Lab(mtu=9000) as lab:
            final = frames_pass(lab, list(tagged_frames(9014, 97)), "--frame-size", frame_size)
            if port(final, "left")["totals"]["rx_chains"] == 0:
                raise AssertionError("there were no chains")


def macswap_swaps_the_addresses_and_leaves_the_rest():
    frames = list(tagged_frames(1514, 13))
    with Lab() as lab, lab.forward("--handler", "macswap") as forward:
        client, server = wires(lab)
        with client, server:
            came = pass_through(client, server, frames)
        expect_equal(came, [f[6:12] + f[:6] + f[12:] for f in frames])
        expect(drops_of(forward.finish()), {}, "drops")


def drop_drops_all_of_it_by_name():
    frames = list(tagged_frames(1514, 31))
    with Lab() as lab, lab.forward("--handler", "drop") as forward:
        client, server = wires(lab)
        with client, server:
            for frame in frames:
                client.send(frame)
            forward.wait_until(lambda o: o["handler"]["handler_drop"] >= len(frames),
                               "all frames")
            expect(server.rest(), [], "frames that came out")
        final = forward.finish()
        expect(final["handler"]["handler_drop"], len(frames), "frames dropped by the handler")
        expect(final["packets"]["out"], 0, "packets out")


def other_traffic_is_left_to_the_kernel():
    frames = list(tagged_frames(1514, 31))
    with Lab() as lab, lab.forward("--match", f"not ether {ETH_P_LOCAL}") as forward:
        client, server = wires(lab)
        with client, server:
            for frame in frames:
                client.send(frame)
            forward.wait_until(lambda o: port(o, "left")["program"]["passed"] >= len(frames),
                               "all frames")
            expect(server.rest(), [], "frames that came out")
        program = port(forward.finish(), "left")["program"]
        expect((program["matched"], program["passed"]), (0, len(frames)), "matched and passed")


def broken_frames():
    """Packets cut short, whole, and padded: each length from 14 to 128 bytes."""
    kinds = []
    for version, kind in ((4, ETH_P_IP), (6, ETH_P_IPV6)):
        for proto in (TCP, UDP):
            for is_partial in (False, True):
                for tags in ((), (Q_TAG,), (AD_TAG, Q_TAG)):
                    kinds.append(ether(kind, ip_packet(version, proto, 30, is_partial), tags))
            kinds.append(ether(kind, noise(f"{SEED} {kind}", 114)))
    kinds.append(noise(SEED, 128))
    for frame_len in range(ETHER_LEN, 129):
        for i, whole in enumerate(kinds):
            padding = noise(f"{SEED} {i}", max(0, frame_len - len(whole)))
            frame = bytearray(whole[:frame_len] + padding)
            yield bytes(frame)
            # One byte of the headers is wrong: a version, a length, an offset.
            at = 12 + noise(f"{SEED} {frame_len} {i}", 1)[0] % 48
            if at < frame_len:
                frame[at] ^= noise(f"{SEED} {i} {frame_len}", 1)[0] | 1
                yield bytes(frame)


def is_shown(frame):
    """A kernel that receives it shows it to AF_PACKET."""
    kind = int.from_bytes(frame[12:14], "big")
    return kind not in (ETH_P_8021Q, ETH_P_8021AD) or len(frame) >= TAGGED_MIN


def is_through(json_object, cnt):
    """So many were seen, and what is not for the kernel was sent on."""
    program = port(json_object, "left")["program"]
    return program["matched"] + program["passed"] >= cnt and \
        sent_by(json_object) >= program["matched"]


def broken_frames_pass(match):
    frames = list(broken_frames())
    with Lab(offloads="csum") as lab:
        lab.pin_neighbours()
        before = lab.counters()
        with lab.forward("--match", match, interval=0.02) as forward:
            client, server = wires(lab)
            with client, server:
                for i in range(0, len(frames), BATCH):
                    for frame in frames[i:i + BATCH]:
                        client.send(frame)
                    cnt = min(i + BATCH, len(frames))
                    forward.wait_until(lambda o, cnt=cnt: is_through(o, cnt), f"{cnt} frames")
                final = forward.finish()
                lab.await_counted(before, "server0", final["packets"]["out"], ["rx_packets"])
                came = server.rest()
        counted = lab.counted_since(before)
        program = port(final, "left")["program"]
        expect(program["matched"] + program["passed"], len(frames), "frames seen")
        expect(drops_of(final), {}, "drops")
        expect(counted["server0"]["rx_packets"], program["matched"], "frames that arrived")
        report.note(f"{match}: {program}, {final['handler']['csum_completed']} completed")
    return frames, came, final


def broken_frames_of_every_length_to_128_all_come_out():
    frames, came, final = broken_frames_pass("all")
    shown = [frame for frame in frames if is_shown(frame)]
    expect(len(came), len(shown), "frames that came out")
    changed = sum(got != sent for got, sent in zip(came, shown))
    expect(changed, final["handler"]["csum_completed"], "frames changed, of those counted")
    if changed == 0:
        raise AssertionError("no checksum was completed")
    for got, sent in zip(came, shown):
        differ = [n for n, (a, b) in enumerate(zip(got, sent)) if a != b]
        if len(got) != len(sent) or differ and differ[-1] - differ[0] > 1:
            raise AssertionError(f"{got.hex()} of {sent.hex()}")


def ipv4_header(frame):
    """The IPv4 header behind up to two tags, as far as it is there, or None."""
    at = 12
    while at < 20 and frame[at:at + 2] in (b"\x81\x00", b"\x88\xa8"):
        at += 4
    return frame[at + 2:] if frame[at:at + 2] == b"\x08\x00" else None


def is_ipv4_of(proto, frame):
    """What --match tcp and udp mean, said once more for IPv4."""
    head = ipv4_header(frame)
    if not head or len(head) < 20:
        return False
    head_len, total_len = 4 * (head[0] & 15), int.from_bytes(head[2:4], "big")
    return head[0] >> 4 == 4 and 20 <= head_len <= min(len(head), total_len) and head[9] == proto


def expect_only(proto, match):
    frames, came, final = broken_frames_pass(match)
    program = port(final, "left")["program"]
    for name in ("matched", "passed", "malformed"):
        if program[name] < 100:
            raise AssertionError(f"{name} is only {program[name]}")
    # Their checksums may have been completed: compare what is before them.
    expect([len(frame) for frame in came if ipv4_header(frame)],
           [len(frame) for frame in frames if is_ipv4_of(proto, frame)],
           f"lengths of the IPv4 frames of {match}")
    for frame in came:
        if ipv4_header(frame) and not is_ipv4_of(proto, frame):
            raise AssertionError(f"{frame.hex()} is not {match}")


def broken_frames_are_counted_as_tcp_or_left_to_the_kernel():
    expect_only(TCP, "tcp")


def broken_frames_are_counted_as_udp_or_left_to_the_kernel():
    expect_only(UDP, "udp")


def broken_frames_are_counted_by_port_or_left_to_the_kernel():
    broken_frames_pass("port 4003")
    broken_frames_pass("not port 4003")


def less_than_a_header_is_refused_by_the_senders_kernel():
    """So no frame below 14 bytes ever comes to a device."""
    with Lab() as lab, lab.forward() as forward:
        client, server = wires(lab)
        with client, server:
            for frame_len in range(ETHER_LEN):
                try:
                    client.send(bytes(frame_len))
                except OSError:
                    continue
                raise AssertionError(f"a frame of {frame_len} bytes was sent")
            expect(server.rest(), [], "frames that came out")
        expect(forward.finish()["packets"]["in"], 0, "packets in")


if __name__ == "__main__":
    main(tagged_frames_of_60_to_1514_bytes_come_out_byte_equal,
         tagged_frames_come_out_byte_equal_in_generic_mode,
         tagged_jumbo_frames_come_out_byte_equal_in_chains,
         macswap_swaps_the_addresses_and_leaves_the_rest,
         drop_drops_all_of_it_by_name,
         other_traffic_is_left_to_the_kernel,
         broken_frames_of_every_length_to_128_all_come_out,
         broken_frames_are_counted_as_tcp_or_left_to_the_kernel,
         broken_frames_are_counted_as_udp_or_left_to_the_kernel,
         broken_frames_are_counted_by_port_or_left_to_the_kernel,
         less_than_a_header_is_refused_by_the_senders_kernel)
