# SPDX-License-Identifier: BSD-2-Clause
"""Debian packages unpacked into a cache: kernels, and the emulator they run in.

Nothing is installed and none of the machine's own lists is touched: apt works
on a sources.list, lists and a status of its own, below the cache, and asks the
mirror that the machine's apt is set up with.  What is there once is used for
ever, without a network, until it is asked for anew.

    CACHE/emulator/VERSION/        QEMU, its firmware, every library it needs
                                   (the C library too), busybox
    CACHE/SUITE-FLAVOUR/VERSION/   a kernel's packages
"""
import contextlib
import fcntl
import os
import pathlib
import platform
import re
import shutil
import subprocess
import tempfile

# QEMU 7.2 of Debian 12 itself has no igb, and its guests come to harm.
EMULATOR_SUITE, BACKPORTS = "bookworm", "bookworm-backports"
EMULATOR_PACKAGES = ["qemu-system-x86", "busybox-static"]
RELEASE = re.compile(r"^'(.*)/dists/([^/']+)/(?:In)?Release'")
KERNEL_PACKAGE = re.compile(r"linux-(?:image|binary|modules)-\d\S*$")
APT_LIMIT_S = 900


class Unavailable(Exception):
    """What is missing is not to be had here; the reason."""


def cache_dir():
    base = os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache")
    return pathlib.Path(base) / "xmbuf" / "vm"


def run(*command, cwd=None):
    try:
        done = subprocess.run(command, cwd=cwd, text=True, capture_output=True,
                              timeout=APT_LIMIT_S, stdin=subprocess.DEVNULL,
                              env={**os.environ, "LC_ALL": "C"}, check=False)
    except FileNotFoundError:
        raise Unavailable(f"there is no {command[0]} here") from None
    except subprocess.TimeoutExpired:
        raise Unavailable(f"{command[0]} took more than {APT_LIMIT_S} s") from None
    if done.returncode:
        words = [line for line in (done.stderr + done.stdout).splitlines()
                 if line.startswith(("E:", "W: Failed"))]
        raise Unavailable(f"{command[0]}: {(words or [f'status {done.returncode}'])[0]}")
    return done.stdout


def mirror():
    """Where this machine's apt finds its own release."""
    codename = platform.freedesktop_os_release().get("VERSION_CODENAME")
    for line in run("apt-get", "update", "--print-uris").splitlines():
        match = RELEASE.match(line)
        if match and match.group(2) == codename:
            return match.group(1)
    raise Unavailable(f"apt's configuration names no archive of {codename}")


class Apt:
    """apt on lists of its own, which go with it."""

    def __init__(self, top, suites):
        top = pathlib.Path(top)
        self.archives = top / "archives"
        for name in ("lists/partial", "archives/partial", "out"):
            (top / name).mkdir(parents=True)
        self.out = top / "out"
        url = mirror()
        (top / "sources.list").write_text("".join(
            f"deb {url} {suite} main\n" for suite in suites))
        (top / "status").touch()
        options = {
            "Dir::Etc::sourcelist": top / "sources.list",
            "Dir::Etc::sourceparts": "/dev/null",
            "Dir::Etc::preferences": "/dev/null",
            "Dir::Etc::preferencesparts": "/dev/null",
            "Dir::State::lists": top / "lists",
            "Dir::State::status": top / "status",
            "Dir::State::extended_states": top / "extended",
            "Dir::Cache": top,
            "Dir::Cache::archives": self.archives,
            "Acquire::Languages": "none",
            "Acquire::Retries": "3",
            "APT::Sandbox::User": "root",
            "APT::Update::Error-Mode": "any",
            "Debug::NoLocking": "1",
        }
        self.options = [word for name, value in options.items()
                        for word in ("-o", f"{name}={value}")]
        self.get("update")

    def get(self, *arguments):
        return run("apt-get", *self.options, "-q", "-y", *arguments, cwd=self.out)

    def show(self, package, field):
        text = run("apt-cache", *self.options, "show", "--no-all-versions", package)
        for line in text.splitlines():
            if line.startswith(field + ": "):
                return line.partition(": ")[2]
        return ""

    def depends(self, package):
        return [part.split()[0] for part in
                re.split(r"[,|]", self.show(package, "Depends")) if part.strip()]


def kernel_packages(apt, flavour):
    """The newest kernel of the flavour: the packages that hold it."""
    meta = "linux-image-" + ("cloud-" if flavour == "cloud" else "") + "amd64"
    image = next(filter(KERNEL_PACKAGE.match, apt.depends(meta)), None)
    if not image:
        raise Unavailable(f"{meta} names no kernel")
    names = [image, *filter(KERNEL_PACKAGE.match, apt.depends(image))]
    return apt.show(image, "Version"), names


def get_kernel(suite, flavour):
    def get(apt):
        version, names = kernel_packages(apt, flavour)
        apt.get("download", *names)
        return version, apt.out
    return get, [suite]


def get_emulator():
    def get(apt):
        # On an empty status this is all that they need, libc6 included.
        apt.get("install", "--download-only", "--no-install-recommends",
                "-t", BACKPORTS, *EMULATOR_PACKAGES)
        files = list(apt.archives.glob("qemu-system-x86_*.deb"))
        return files[0].name.split("_")[1].replace("%3a", "."), apt.archives
    return get, [EMULATOR_SUITE, BACKPORTS]


@contextlib.contextmanager
def locked(top):
    top.mkdir(parents=True, exist_ok=True)
    with open(top / "lock", "w", encoding="ascii") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def newest(directory):
    found = [path for path in directory.glob("*") if not path.name.startswith(".")]
    return max(found, key=lambda path: path.stat().st_mtime, default=None)


def unpack(directory, get, suites):
    """Download, unpack beside the final place, and move there when complete."""
    with tempfile.TemporaryDirectory(dir=directory, prefix=".new") as top:
        apt = Apt(pathlib.Path(top) / "apt", suites)
        version, debs = get(apt)
        root = pathlib.Path(top) / "root"
        root.mkdir()
        for deb in sorted(debs.glob("*.deb")):
            run("dpkg-deb", "--extract", str(deb), str(root))
        final = directory / version.replace(":", ".")
        shutil.rmtree(final, ignore_errors=True)
        root.rename(final)
    for old in directory.glob("*"):
        if old != final:
            shutil.rmtree(old, ignore_errors=True)
    os.utime(final)
    return final


def have(name, get, suites, is_anew):
    directory = cache_dir() / name
    with locked(cache_dir()):
        directory.mkdir(exist_ok=True)
        found = newest(directory)
        if found and not is_anew:
            return found
        return unpack(directory, get, suites)


def kernel(suite, flavour, is_anew=False):
    """The directory a kernel's packages are unpacked in."""
    return have(f"{suite}-{flavour}", *get_kernel(suite, flavour), is_anew)


def emulator(is_anew=False):
    """The directory QEMU and all that it needs are unpacked in."""
    return have("emulator", *get_emulator(), is_anew)
