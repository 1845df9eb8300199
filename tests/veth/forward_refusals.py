#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-2-Clause
"""What xmbuf forward refuses: in words that say what to do, changing nothing."""
import contextlib
import ctypes
import mmap
import os
import pathlib
import shutil
import tempfile

from lab import AF_XDP, XMBUF, Lab, Skip, expect, expect_words, libc, main
from load import expect_ping

SOL_XDP = 283
XDP_TX_RING, XDP_UMEM_REG, XDP_UMEM_FILL_RING, XDP_UMEM_COMPLETION_RING = 3, 4, 5, 6
XDP_COPY = 2
PAGE = 4096


def refuse(lab, words, *options, **more):
    """It is refused, says these words, and the devices are as they were."""
    said = lab.refused(*options, **more)
    expect_words(said, *words)
    lab.expect_untouched()
    return said


def an_unknown_device_is_named():
    with Lab() as lab:
        for devices in (("left", "rihgt"), ("rihgt", "left")):
            refuse(lab, ["rihgt", "there is none of this name"], devices=devices)
        refuse(lab, ["there is none of this name"], devices=("left", "d" * 40))
        refuse(lab, ["there is none of this name"], devices=("left", ""))


def the_same_device_twice_is_refused():
    with Lab() as lab:
        refuse(lab, ["left", "twice"], devices=("left", "left"))


def a_device_that_is_down_is_named_with_the_remedy():
    with Lab() as lab:
        lab.set("right", "down")
        refuse(lab, ["right", "down", "ip link set right up"])
        lab.set("right", "up")
        with lab.forward():
            expect_ping(lab)


def too_few_frames_are_refused_with_the_number_needed():
    with Lab() as lab:
        said = refuse(lab, ["100 frames are too few", "at least", "--frames"], "--frames", "100")
        needed = int(said.split("at least")[1].split()[0])
        refuse(lab, ["too few", f"at least {needed}"], "--frames", str(needed - 1))
        with lab.forward("--frames", str(needed)):
            expect_ping(lab)
        refuse(lab, ["too few"], "--frames", "1")


def more_frames_than_the_machine_has_memory_for_are_refused():
    """Before the kernel pins page after page and kills somebody for want of more."""
    memory = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    if memory > 1 << 36:
        raise Skip("all the frames that can be asked for (64 GiB) fit this machine")
    with Lab() as lab:
        refuse(lab, ["16777216 frames of 4096 bytes", "ask for fewer frames"],
               "--frames", str(1 << 24), "--frame-size", "4096")


def frames_across_pages_are_refused_in_zero_copy():
    """More of them than the hugepages that this machine may have hold."""
    lines = pathlib.Path("/proc/meminfo").read_text(encoding="ascii").splitlines()
    kib = {name: int(rest.split()[0]) for name, rest in (line.split(":") for line in lines)}
    huge_len = kib.get("HugePages_Total", 0) * kib.get("Hugepagesize", 0) * 1024
    with Lab() as lab:
        refuse(lab, ["pages", "vm.nr_hugepages", "2048 or 4096"], "--frame-size", "3000",
               "--bind", "zc", "--frames", str(16384 + huge_len // 3000))


def more_queues_than_the_device_has_are_refused():
    with Lab(queues=2) as lab:
        refuse(lab, ["left", "queue 2", "receives on 2"], "--queues", "3")
        refuse(lab, ["left", "queue 7", "receives on 2"], "--queues", "0,7")
        refuse(lab, ["queue 1", "twice"], "--queues", "1,1")
        with lab.forward("--queues", "2"):
            expect_ping(lab)


def a_cpu_that_is_not_there_is_refused():
    with Lab() as lab:
        refuse(lab, ["CPU 4000"], "--cpus", "4000")


def zero_copy_is_refused_where_the_driver_has_none():
    with Lab() as lab:
        refuse(lab, ["left", "zero copy", "use auto or copy"], "--bind", "zc")
        with lab.forward("--bind", "auto") as forward:
            expect_ping(lab)
        for p in forward.final["ports"]:
            expect(p["bind"], "copy", f"mode of {p['dev']}")


def a_second_forward_is_told_who_has_the_device():
    with Lab() as lab, lab.forward() as forward:
        during = lab.settings()
        said = lab.refused()
        expect_words(said, "left", "is attached", "xmb_steer", "stop what attached it")
        for dev, settings in lab.settings().items():
            expect(settings, during[dev], f"settings of {dev} after the second was refused")
        expect(forward.process.poll(), None, "exit status of the first")
        expect_ping(lab)


@contextlib.contextmanager
def bound_queue(lab, dev, queue):
    """An AF_XDP socket of somebody else on a queue, with no program."""
    def set_option(option, value):
        if libc.setsockopt(fd, SOL_XDP, option, value, len(value)):
            raise OSError(ctypes.get_errno(), f"AF_XDP option {option}")

    sock = lab.socket("fwd", AF_XDP, 3)
    fd = sock.fileno()
    area = mmap.mmap(-1, PAGE)
    start = ctypes.addressof(ctypes.c_char.from_buffer(area))
    index = int(lab.run("fwd", "ip", "-o", "link", "show", dev).stdout.split(":")[0])
    one = (1).to_bytes(4, "little")
    try:
        set_option(XDP_UMEM_REG, start.to_bytes(8, "little") + PAGE.to_bytes(8, "little") +
                   PAGE.to_bytes(4, "little") + bytes(4))
        for ring in (XDP_UMEM_FILL_RING, XDP_UMEM_COMPLETION_RING, XDP_TX_RING):
            set_option(ring, one)
        address = AF_XDP.to_bytes(2, "little") + XDP_COPY.to_bytes(2, "little") + \
            index.to_bytes(4, "little") + queue.to_bytes(4, "little") + bytes(4)
        if libc.bind(fd, address, len(address)):
            raise OSError(ctypes.get_errno(), "AF_XDP bind")
        yield
    finally:
        sock.close()


def a_queue_that_another_socket_has_is_refused_after_a_wait():
    with Lab(queues=2) as lab:
        with bound_queue(lab, "right", 1):
            refuse(lab, ["right queue 1", "another AF_XDP socket", "choose another queue"])
            with lab.forward("--queues", "0-0"):
                pass
        # The kernel lets go of a closed socket's queue late; open waits for it.
        with lab.forward():
            expect_ping(lab)


def a_start_that_fails_leaves_no_interrupts_deferred():
    with Lab() as lab:
        lab.run("fwd", "ethtool", "-K", "left", "gro", "on")  # NAPIs that stay
        with bound_queue(lab, "right", 0):
            said = refuse(lab, ["right queue 0", "another AF_XDP socket"], "--busy-poll", "20")
        if "before Linux 6.13" in said:
            raise Skip("NAPIs cannot be set before Linux 6.13")
        expect_words(said, "left: busy polling: interrupts of 1 NAPIs deferred")
        with lab.forward() as forward:
            expect("as for busy polling" in forward.said(), False, "interrupts found deferred")


def jumbo_frames_need_no_larger_frame():
    with Lab(mtu=9000) as lab:
        for size in ("2048", "3001", "4032", "4096"):
            with lab.forward("--frame-size", size):
                expect_ping(lab, 20, "-s", "8972", "-M", "do")


def a_smaller_mtu_on_the_way_out_is_told_and_drops_by_name():
    with Lab(mtu=9000) as lab:
        lab.set("right", "mtu", 1500)
        lab.set("server0", "mtu", 1500)
        lab.before = lab.settings()
        with lab.forward() as forward:
            lab.run("client", "ping", "-c", "5", "-i", "0.1", "-W", "1", "-s", "8000", "10.99.0.2",
                    check=False)
            expect_ping(lab)
            final = forward.finish()
        expect_words(forward.said(), "left has MTU 9000", "right has 1500", "set both alike")
        expect(final["ports"][1]["drops"]["tx_too_long"], 5, "packets too long for right")


def without_privilege_the_words_name_it():
    with Lab() as lab, tempfile.TemporaryDirectory() as place:
        # Somewhere that a user without privilege may read.
        os.chmod(place, 0o755)
        app = shutil.copy(XMBUF, place)
        built = pathlib.Path(XMBUF).resolve().parents[2]
        for path in filter(pathlib.Path.is_file, built.glob("libxmbuf.so*")):
            shutil.copy(path, place)
        as_nobody = ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups", "--",
                     "env", f"LD_LIBRARY_PATH={place}"]
        refuse(lab, ["left", "not permitted", "CAP_NET_RAW", "root"], prefix=as_nobody, app=app)
        # CAP_SYS_ADMIN stands in for the two that came after it.
        for capability, lacking in (("CAP_NET_RAW", "-net_raw"), ("CAP_BPF", "-bpf,-sys_admin"),
                                    ("CAP_NET_ADMIN", "-net_admin,-sys_admin")):
            without = ["setpriv", f"--bounding-set={lacking}", "--"]
            refuse(lab, ["left", "not permitted", capability, "root"], prefix=without)


def too_little_locked_memory_is_refused_in_words():
    prefix = ["prlimit", "--memlock=1048576", "setpriv",
              "--bounding-set=-ipc_lock,-sys_resource", "--"]
    with Lab() as lab:
        refuse(lab, ["RLIMIT_MEMLOCK is 1024 KiB", "32768 KiB", "ulimit -l", "CAP_IPC_LOCK",
                     "fewer frames"], prefix=prefix)
        with lab.forward():
            expect_ping(lab)


BAD_VALUES = {
    "--handler": ["", "swap"],
    "--mode": ["", "RTC", "pipe"],
    "--workers": ["", "0", "-1", "65", "two"],
    "--full": ["", "none", "Newest"],
    "--match": ["", "icmp", "port", "port 0x", "port 65536", "ether 70000", "not", "not not tcp"],
    "--queues": ["0", "-1", "65", "a", "", "1,", ",", ",0", "0,,1", "3-1", "0,a", "1-", "1.5"],
    "--xdp": ["", "offload", "Native"],
    "--bind": ["", "zero-copy"],
    "--napi-defer-hard-irqs": ["", "0", "-1", "1000001", "two"],
    "--gro-flush-timeout": ["", "0", "-1", "1000001", "1ms"],
    "--irq-suspend-timeout": ["", "0", "-1", "10001", "1s"],
    "--frame-size": ["0", "2047", "4097", "-2048", "2k", "99999999999999999999"],
    "--fill": ["", "0", "2049", "-1", "Full"],
    "--frames": ["0", "-1", "1e3", "16777217", "many"],
    "--cpus": ["", "a", "-1", "2-1", "1-"],
    "--duration": ["0", "-1", "s", "nan", "inf", "1e7", "1s"],
    "--interval": ["0", "-1", "s", "nan", "0.001"],
}


def every_bad_value_of_an_option_is_usage():
    with Lab() as lab:
        wrong = []
        for option, values in BAD_VALUES.items():
            for value in values:
                done = lab.run("fwd", XMBUF, "forward", "left", "right", "--duration", "0.01",
                               f"{option}={value}", check=False)
                if done.returncode != 2 or option not in done.stderr:
                    wrong.append(f"{option}={value}: {done.returncode}: {done.stderr.strip()}")
        lab.expect_untouched()
        if wrong:
            raise AssertionError("\n".join(wrong))


def what_goes_with_a_pipeline_only_is_usage_without_one():
    with Lab() as lab:
        for option in (("--workers", "2"), ("--full", "oldest"), ("--symmetric",)):
            for mode in ((), ("--mode", "rtc")):
                refuse(lab, [f"{option[0]} goes with --mode pipeline"], *option, *mode, code=2)
        refuse(lab, ["--handler split needs --mode pipeline"], "--handler", "split",
               "--mode", "rtc", code=2)
        refuse(lab, ["split packets need a pipeline of 2"], "--handler", "split",
               "--workers", "1")
        refuse(lab, ["--full", "newest"], "--handler", "split", "--full", "oldest")


def what_goes_with_busy_polling_only_is_usage_without_it():
    with Lab() as lab:
        for option in ("--napi-defer-hard-irqs", "--gro-flush-timeout", "--irq-suspend-timeout"):
            refuse(lab, [f"{option} goes with --busy-poll"], option, "2", code=2)


def a_wrong_number_of_devices_is_usage():
    with Lab() as lab:
        refuse(lab, ["two devices"], devices=("left",), code=2)
        refuse(lab, ["two devices"], devices=(), code=2)
        refuse(lab, ["more than two devices", "lo"], devices=("left", "right", "lo"), code=2)
        refuse(lab, ["--no-such"], "--no-such", code=2)


if __name__ == "__main__":
    main(an_unknown_device_is_named,
         the_same_device_twice_is_refused,
         a_device_that_is_down_is_named_with_the_remedy,
         too_few_frames_are_refused_with_the_number_needed,
         more_frames_than_the_machine_has_memory_for_are_refused,
         frames_across_pages_are_refused_in_zero_copy,
         more_queues_than_the_device_has_are_refused,
         a_cpu_that_is_not_there_is_refused,
         zero_copy_is_refused_where_the_driver_has_none,
         a_second_forward_is_told_who_has_the_device,
         a_queue_that_another_socket_has_is_refused_after_a_wait,
         a_start_that_fails_leaves_no_interrupts_deferred,
         jumbo_frames_need_no_larger_frame,
         a_smaller_mtu_on_the_way_out_is_told_and_drops_by_name,
         without_privilege_the_words_name_it,
         too_little_locked_memory_is_refused_in_words,
         every_bad_value_of_an_option_is_usage,
         what_goes_with_a_pipeline_only_is_usage_without_one,
         what_goes_with_busy_polling_only_is_usage_without_it,
         a_wrong_number_of_devices_is_usage)
