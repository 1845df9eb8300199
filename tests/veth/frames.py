# SPDX-License-Identifier: BSD-2-Clause
"""Frames made byte by byte, sent and received by AF_PACKET."""
import errno
import random
import socket
import struct

from lab import PLACE, WAIT_S, wait_for

ETH_P_ALL, ETH_P_IP, ETH_P_IPV6 = 0x0003, 0x0800, 0x86DD
ETH_P_8021Q, ETH_P_8021AD = 0x8100, 0x88A8
ETH_P_LOCAL = 0x88B5  # for experiments: no stack answers it
TCP, UDP = 6, 17
ETHER_LEN = 14

SOL_PACKET, PACKET_AUXDATA, PACKET_OUTGOING = 263, 8, 4
VLAN_VALID, TPID_VALID = 0x10, 0x40
SO_RCVBUFFORCE = 33

# Not server0's own, so that its stack answers nothing; AF_PACKET sees it all.
TO = bytes.fromhex("020000000099")
FROM = bytes.fromhex("020000000001")


def ether(kind, payload, tags=()):
    head = TO + FROM
    for tpid, tci in tags:
        head += struct.pack("!HH", tpid, tci)
    return head + struct.pack("!H", kind) + payload


def ones_sum(data):
    total = sum(struct.unpack(f"!{len(data) // 2}H", data[:len(data) & ~1]))
    if len(data) & 1:
        total += data[-1] << 8
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return total


def transport(proto, data_len, pseudo, is_partial):
    """A TCP or UDP header and zeroes; its checksum is right, or bare pseudo sum."""
    head_len = 20 if proto == TCP else 8
    total = head_len + data_len
    start = ones_sum(pseudo + struct.pack("!HH", proto, total))
    if proto == TCP:
        head, at = struct.pack("!HHIIBBHHH", 4002, 4003, 1, 1, 0x50, 0x10, 512, 0, 0), 16
    else:
        head, at = struct.pack("!HHHH", 4002, 4003, total, 0), 6
    checksum = start if is_partial else 0xFFFF ^ ones_sum(struct.pack("!H", start) + head)
    return head[:at] + struct.pack("!H", checksum) + head[at + 2:] + bytes(data_len)


def ip_packet(version, proto, data_len, is_partial=False):
    addresses = bytes([10, 99, 0, 1, 10, 99, 0, 2]) if version == 4 else \
        bytes.fromhex("fd000000000000000000000000000001fd000000000000000000000000000002")
    inner = transport(proto, data_len, addresses, is_partial)
    if version == 6:
        return struct.pack("!IHBB", 6 << 28, len(inner), proto, 64) + addresses + inner
    head = struct.pack("!BBHHHBBH", 0x45, 0, 20 + len(inner), 1, 0, 64, proto, 0) + addresses
    checksum = 0xFFFF ^ ones_sum(head)
    return head[:10] + struct.pack("!H", checksum) + head[12:] + inner


def noise(seed, byte_cnt):
    return random.Random(seed).randbytes(byte_cnt)


class Wire:
    """An AF_PACKET socket on a device: what it sends, and what comes in there."""

    def __init__(self, lab, dev):
        self.socket = lab.socket(PLACE[dev], socket.AF_PACKET, socket.SOCK_RAW,
                                 socket.htons(ETH_P_ALL))
        self.socket.bind((dev, ETH_P_ALL))
        self.socket.setsockopt(socket.SOL_SOCKET, SO_RCVBUFFORCE, 64 << 20)
        self.socket.setsockopt(SOL_PACKET, PACKET_AUXDATA, 1)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.socket.close()

    def send(self, frame):
        """Wait while the device has no room."""
        def is_sent():
            try:
                self.socket.send(frame)
            except OSError as error:
                if error.errno != errno.ENOBUFS:
                    raise
                return False
            return True
        wait_for(is_sent, "room to send")

    def receive_one(self, timeout):
        """One frame as it was on the wire: the kernel takes the outer tag out."""
        self.socket.settimeout(timeout)
        while True:
            frame, extra, _, address = self.socket.recvmsg(65536, 256)
            if address[2] == PACKET_OUTGOING:
                continue
            for level, kind, data in extra:
                if (level, kind) != (SOL_PACKET, PACKET_AUXDATA):
                    continue
                status, _, _, _, _, tci, tpid = struct.unpack("IIIHHHH", data[:20])
                if status & VLAN_VALID:
                    tpid = tpid if status & TPID_VALID else ETH_P_8021Q
                    frame = frame[:12] + struct.pack("!HH", tpid, tci) + frame[12:]
            return frame

    def receive(self, cnt, timeout=WAIT_S):
        frames = []
        while len(frames) < cnt:
            try:
                frames.append(self.receive_one(timeout))
            except TimeoutError:
                raise AssertionError(f"{len(frames)} of {cnt} frames came") from None
        return frames

    def rest(self, timeout=0.3):
        """What else comes until nothing does."""
        frames = []
        try:
            while True:
                frames.append(self.receive_one(timeout))
        except TimeoutError:
            return frames


def pass_through(sender, receiver, frames, batch=64):
    """Send all, a few at a time so that no queue is full; what came out."""
    came = []
    for i in range(0, len(frames), batch):
        part = frames[i:i + batch]
        for frame in part:
            sender.send(frame)
        came += receiver.receive(len(part))
    return came


def expect_equal(came, sent):
    for i, (got, wanted) in enumerate(zip(came, sent)):
        if got != wanted:
            at = next((n for n, (a, b) in enumerate(zip(got, wanted)) if a != b),
                      min(len(got), len(wanted)))
            raise AssertionError(f"frame {i}: {len(got)} of {len(wanted)} bytes, differs at "
                                 f"{at}: {got[:32].hex()} instead of {wanted[:32].hex()}")
    if len(came) != len(sent):
        raise AssertionError(f"{len(came)} frames of {len(sent)} came")
