# SPDX-License-Identifier: BSD-2-Clause
"""Labs in which something stays on the devices: gates, and others' programs.

They need a bpffs that all processes of a test see and nobody else does, so
own_bpffs() gives this process a mount namespace of its own, once.
"""
import contextlib
import ctypes
import os
import pathlib
import socket
import struct
import time

from lab import STOP_S, WAIT_S, XMBUF, Lab, Skip, expect, libc

BPFFS = pathlib.Path("/sys/fs/bpf")
PINNED = BPFFS / "xmbuf"
CLONE_NEWNS = 0x20000
MS_REC_PRIVATE = 0x4000 | 0x40000
AF_PACKET_OUTGOING = 4
ETH_P_ALL = 3
IP_UDP = 17
PR_SET_NO_NEW_PRIVS, PR_SET_SECCOMP, SECCOMP_MODE_FILTER = 38, 22, 2
BPF_LINK_CREATE, EINVAL = 28, 22
SYS_BPF = {"x86_64": 321, "aarch64": 280, "riscv64": 280}


def checked(done, what):
    if done:
        raise Skip(f"{what}: {os.strerror(ctypes.get_errno())}")


def own_bpffs(again=False):
    """A bpffs in a mount namespace of this process's own; once is enough, but
    for a process that was forked to have another."""
    if os.environ.get("XMB_OWN_BPFFS") and not again:
        return
    checked(libc.unshare(CLONE_NEWNS), "a mount namespace")
    checked(libc.mount(b"none", b"/", None, MS_REC_PRIVATE, None), "private mounts")
    checked(libc.mount(b"bpf", bytes(BPFFS), b"bpf", 0, None), "a bpffs")
    os.environ["XMB_OWN_BPFFS"] = str(os.getpid())


class GateLab(Lab):
    """A lab whose devices may keep a program, and nothing pinned at its end."""

    def __init__(self, **options):
        own_bpffs()
        super().__init__(**options)
        self.keeps_program = False

    def __exit__(self, kind, *_):
        self.down()
        # The devices are gone, and their gates with the next look at them.
        for path in sorted(BPFFS.rglob("*"), reverse=True):
            if path.name in ("progs.debug", "maps.debug"):
                continue
            path.rmdir() if path.is_dir() else path.unlink()

    def settings(self):
        settings = super().settings()
        if self.before_is_known() and self.keeps_program:
            for dev, was in self.before.items():
                settings[dev]["program"] = was["program"]
        return settings

    def before_is_known(self):
        return hasattr(self, "before")

    def pinned(self):
        """How many gates there are."""
        return len(list(PINNED.iterdir())) if PINNED.exists() else 0

    def program(self, dev="left"):
        settings = super().settings()
        return settings[dev]["program"]["id"] if settings[dev]["program"] else None

    def detach(self, *devices, code=0, prefix=()):
        done = self.run("fwd", *prefix, XMBUF, "detach", *devices, check=False, timeout=STOP_S)
        expect(done.returncode, code, f"exit status of detach: {done.stdout}{done.stderr}")
        return done.stdout + done.stderr

    def switch_back(self):
        """What a process that is killed does not put back."""
        for dev in ("left", "right"):
            self.run("fwd", "ethtool", "-K", dev, "rxvlan", "on", "rx-vlan-stag-hw-parse", "on")


class Stack:
    """What of the client's UDP gets to the kernel's stack at left."""

    def __init__(self, lab, dev="left"):
        self.socket = lab.socket("fwd", socket.AF_PACKET, socket.SOCK_RAW,
                                 socket.htons(ETH_P_ALL))
        self.socket.bind((dev, ETH_P_ALL))
        self.socket.setblocking(False)
        self.ports = {}

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.socket.close()

    def read(self):
        """{port: datagrams} since the last time; a full queue loses some, not all."""
        ports = {}
        with contextlib.suppress(BlockingIOError):
            while True:
                frame, where = self.socket.recvfrom(2048)
                if where[2] == AF_PACKET_OUTGOING or len(frame) < 42 or \
                        frame[12:14] != b"\x08\x00" or frame[23] != IP_UDP:
                    continue
                port = struct.unpack_from(">H", frame, 36)[0]
                ports[port] = ports.get(port, 0) + 1
        return ports

    def expect_nothing(self, port, seconds=0):
        end = time.monotonic() + seconds
        while True:
            got = self.read().get(port, 0)
            expect(got, 0, "packets that got to the kernel")
            if time.monotonic() >= end:
                return
            time.sleep(0.005)

    def expect_some(self, port, seconds=WAIT_S):
        end = time.monotonic() + seconds
        while not self.read().get(port, 0):
            if time.monotonic() > end:
                raise AssertionError(f"no packet got to the kernel in {seconds} s")
            time.sleep(0.005)


def without_links():
    """For preexec_fn: from now on the kernel has no bpf_link to attach by."""
    number = SYS_BPF.get(os.uname().machine)
    if number is None:
        raise Skip(f"the number of bpf() on {os.uname().machine} is not known")
    load, equal, answer = 0x20, 0x15, 0x06
    code = [(load, 0, 0, 0), (equal, 0, 3, number), (load, 0, 0, 16),
            (equal, 0, 1, BPF_LINK_CREATE), (answer, 0, 0, 0x00050000 | EINVAL),
            (answer, 0, 0, 0x7fff0000)]
    text = b"".join(struct.pack("=HBBI", *line) for line in code)
    buffer = ctypes.create_string_buffer(text, len(text))
    program = ctypes.create_string_buffer(
        struct.pack("@HP", len(code), ctypes.addressof(buffer)))

    def install():
        if libc.prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) or \
                libc.prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, program, 0, 0):
            raise OSError(ctypes.get_errno(), "seccomp")
    install.kept = (buffer, program)
    return install
