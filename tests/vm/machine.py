# SPDX-License-Identifier: BSD-2-Clause
"""An emulated machine: an initramfs with programs, and QEMU that boots it."""
import lzma
import os
import pathlib
import re
import shlex
import stat
import subprocess
import time

LIB = "usr/lib/x86_64-linux-gnu"
LOADER = "/lib64/ld-linux-x86-64.so.2"
END = re.compile(r"^xmbuf-vm: end (\d+)", re.M)
APPLETS = ["sh", "mount", "insmod", "ip", "cat", "echo", "mkdir", "poweroff",
           "sleep", "grep", "ln", "uname", "mke2fs", "nsenter", "test"]
UP = "xmbuf-vm: up"
BOOT_LIMIT_S, BOOTS_MAX = 180, 3
MODULE_SUFFIXES = (".ko", ".ko.xz")


class Archive:
    """A cpio archive, "newc", as the kernel unpacks it at boot."""

    def __init__(self):
        self.parts, self.names = [], set()

    def add(self, name, mode, data=b"", device=(0, 0)):
        if name in self.names:
            return
        parent = os.path.dirname(name)
        if parent:
            self.add(parent, stat.S_IFDIR | 0o755)
        self.names.add(name)
        self.append(name, mode, data, device)

    def append(self, name, mode, data, device):
        text = name.encode() + b"\0"
        fields = (len(self.names), mode, 0, 0, 1, 0, len(data), 0, 0, *device,
                  len(text), 0)
        head = b"070701" + b"".join(b"%08x" % field for field in fields) + text
        self.parts += [head, bytes(-len(head) % 4), data, bytes(-len(data) % 4)]

    def file(self, name, path):
        self.add(name, stat.S_IFREG | 0o755, pathlib.Path(path).read_bytes())

    def write(self, path):
        self.append("TRAILER!!!", 0, b"", (0, 0))
        path.write_bytes(b"".join(self.parts))


def libraries(program):
    """The files that the loader takes for a program."""
    text = subprocess.run(["ldd", program], check=True, text=True,
                          capture_output=True).stdout
    found = re.findall(r"(?:=> )?(/\S+) \(0x", text)
    return [path for path in found if os.path.basename(path) != os.path.basename(LOADER)]


class Modules:
    """The modules of an unpacked kernel, with what each of them needs first."""

    def __init__(self, root):
        self.files = {}
        for path in root.glob("**/kernel/**/*.ko*"):
            if path.name.endswith(MODULE_SUFFIXES):
                name = path.name.split(".ko")[0].replace("-", "_")
                self.files[name] = path

    def read(self, name):
        data = self.files[name].read_bytes()
        return lzma.decompress(data) if self.files[name].suffix == ".xz" else data

    def ordered(self, wanted):
        """{name: bytes} of those wanted that are not built in, each after its own."""
        done = {}

        def visit(name):
            if name in done or name not in self.files:
                return
            data = self.read(name)
            needs = re.search(rb"\0depends=([^\0]*)\0", b"\0" + data)
            for need in (needs.group(1).decode().split(",") if needs else []):
                visit(need.replace("-", "_"))
            done[name] = data

        for name in wanted:
            visit(name)
        return done


def add_programs(archive, programs):
    """Each with its libraries, before the applets that they are instead of."""
    for program in map(pathlib.Path, programs):
        where = "tests" if program.name.startswith(("vm_", "test_")) else "bin"
        archive.file(f"{where}/{program.name}", program)
        for library in libraries(program):
            archive.file("lib/" + os.path.basename(library), library)


def initramfs(path, row, kernel, emulator, programs, init):
    """Write what the guest has: busybox, modules, programs with their libraries."""
    archive = Archive()
    archive.add("dev/console", stat.S_IFCHR | 0o600, device=(5, 1))
    for name in ("proc", "sys", "tmp", "run", "root"):
        archive.add(name, stat.S_IFDIR | 0o755)
    archive.file("init", init)
    archive.file("bin/busybox", emulator / "bin/busybox")
    add_programs(archive, programs)
    for applet in APPLETS:
        archive.add(f"bin/{applet}", stat.S_IFLNK | 0o777, b"busybox")
    modules = Modules(kernel).ordered(row.modules)
    for name, data in modules.items():
        archive.add(f"modules/{name}.ko", stat.S_IFREG | 0o644, data)
    archive.add("modules/order", stat.S_IFREG | 0o644,
                "".join(f"{name}\n" for name in modules).encode())
    archive.file(LOADER[1:], os.path.realpath(LOADER))
    # libxdp looks for it there, and no loader tells.
    archive.file(f"{LIB}/bpf/xdp-dispatcher.o", f"/{LIB}/bpf/xdp-dispatcher.o")
    archive.write(path)


def cards(row):
    """Two wires, each with a card under test and one that the tests drive."""
    words = []
    for number, (wire, driver) in enumerate(
            [(0, row.driver), (0, "virtio"), (1, row.driver), (1, "virtio")]):
        words += ["-netdev", f"hubport,id=net{number},hubid={wire}"]
        where = f"netdev=net{number},mac=52:54:00:00:00:{number:02x}"
        if driver == "virtio":
            # Without iommu_platform the driver has no zero copy.
            words += ["-device", f"virtio-net-pci,{where},disable-legacy=on,"
                      "iommu_platform=on,romfile="]
        else:
            words += ["-device", f"pcie-root-port,id=port{number},chassis={number}",
                      "-device", f"{driver},{where},bus=port{number},romfile="]
    return words


def image(kernel):
    for pattern in ("boot/vmlinuz-*", "usr/lib/modules/*/vmlinuz"):
        for path in kernel.glob(pattern):
            return path
    raise FileNotFoundError(f"{kernel}: no kernel image in these packages")


def command(row, kernel, emulator, place):
    """QEMU by the loader and the libraries of its own packages."""
    loader = next(emulator.glob("usr/lib/x86_64-linux-gnu/ld-linux-x86-64.so.2"),
                  emulator / "lib/x86_64-linux-gnu/ld-linux-x86-64.so.2")
    paths = ":".join(str(emulator / part) for part in
                     (LIB, "lib/x86_64-linux-gnu", LIB + "/pulseaudio"))
    return ["setpriv", "--pdeathsig", "KILL",
            str(loader), "--library-path", paths,
            str(emulator / "usr/bin/qemu-system-x86_64"),
            "-L", str(emulator / "usr/share/qemu"),
            "-L", str(emulator / "usr/share/seabios"),
            "-accel", "tcg,thread=multi", "-cpu", "Nehalem", "-M", "q35",
            "-smp", "2", "-m", "512", "-no-reboot", "-nodefaults",
            "-no-user-config", "-display", "none",
            "-serial", f"file:{place / 'console'}",
            "-serial", f"file:{place / 'tap'}",
            "-kernel", str(image(kernel)), "-initrd", str(place / "initramfs"),
            "-append", "console=ttyS0 loglevel=5 panic=-1 net.ifnames=0 "
            "mitigations=off nokaslr ipv6.disable=1 "
            f"xmbuf.tests={','.join(row.tests)} xmbuf.suite={row.name}",
            *cards(row)]


class Run:
    """What came of it: the console's text, the TAP's, the end's status or None."""

    def __init__(self, place, ended):
        self.console = read(place / "console")
        self.tap = read(place / "tap")
        match = END.search(self.console)
        self.status = int(match.group(1)) if match else None
        self.ended = ended


def read(path):
    return path.read_text(errors="replace").replace("\r", "") if path.exists() else ""


def ended_within(process, seconds):
    try:
        process.wait(timeout=seconds)
    except subprocess.TimeoutExpired:
        return False
    return True


def came_up(process, console):
    """Has the machine begun with its tests before it was time to?"""
    end = time.monotonic() + BOOT_LIMIT_S
    while time.monotonic() < end and UP not in read(console):
        if ended_within(process, 0.2):
            break
    return UP in read(console)


def run_once(words, place, limit_s):
    """(did it come up, how it ended); nothing is left of it."""
    for name in ("console", "tap"):
        (place / name).unlink(missing_ok=True)
    with open(place / "qemu", "w", encoding="utf-8") as output, \
            subprocess.Popen(words, stdin=subprocess.DEVNULL, stdout=output,
                             stderr=subprocess.STDOUT) as process:
        try:
            if not came_up(process, place / "console"):
                return False, f"not up within {BOOT_LIMIT_S} s"
            if not ended_within(process, limit_s):
                return True, f"not within {limit_s} s"
            return True, f"status {process.returncode}"
        finally:
            process.kill()


def boot(row, kernel, emulator, place, limit_s, show=None):
    """
    Run the machine to its end, or to its limit.

    On a loaded machine the emulated clocks now and then get a kernel to hang
    before the first process: that tells nothing of what is tested, so a machine
    that did not come up is started again.
    """
    words = command(row, kernel, emulator, place)
    if show:
        print("+", shlex.join(words), file=show)
    for _ in range(BOOTS_MAX):
        is_up, ended = run_once(words, place, limit_s)
        if is_up:
            break
    words = read(place / "qemu").strip()
    return Run(place, ended + (f": {words}" if words else ""))
