# SPDX-License-Identifier: BSD-2-Clause
"""What scripts/bench was run on, and how."""
import json
import os
import pathlib
import platform
import re
import subprocess
import time


def text_of(path, default="unknown"):
    try:
        return pathlib.Path(path).read_text().strip()
    except OSError:
        return default


def output_of(*command):
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    return done.stdout.strip()


def flags_of(build):
    """How that build was set up, by what Meson says of it."""
    told = json.loads(text_of(build / "meson-info/intro-buildoptions.json", "[]"))
    options = {each["name"]: each["value"] for each in told}
    return " ".join(f"{name}={options[name]}" for name in (
        "buildtype", "optimization", "b_ndebug", "b_lto", "b_sanitize", "c_args", "paranoid")
        if options.get(name) not in (None, [], "none")) + ", assertions on"


def environment(root, build, arguments):
    cpu = re.search(r"model name\s*: (.*)", text_of("/proc/cpuinfo"))
    holes = pathlib.Path("/sys/devices/system/cpu/vulnerabilities")
    mitigations = {f.name: text_of(f) for f in sorted(holes.glob("*"))
                   if text_of(f) != "Not affected"}
    return {
        "date": time.strftime("%Y-%m-%d %H:%M:%S %z"),
        "command": " ".join(["scripts/bench", *arguments]),
        "xmbuf": output_of("git", "-C", str(root), "describe", "--always", "--dirty"),
        "cpu": cpu.group(1) if cpu else platform.machine(),
        "cpus": os.cpu_count(),
        "kernel": platform.release(),
        "mitigations": mitigations,
        "governor": text_of("/sys/devices/system/cpu/cpu0/cpufreq/scaling_governor",
                            "none (the host's)"),
        "thp": text_of("/sys/kernel/mm/transparent_hugepage/enabled"),
        "thp_shmem": text_of("/sys/kernel/mm/transparent_hugepage/shmem_enabled"),
        "hugepages": int(text_of("/proc/sys/vm/nr_hugepages", "0")),
        "versions": {name: output_of("pkg-config", "--modversion", name)
                     for name in ("libbpf", "libxdp", "libdpdk", "lwip", "ck")},
        "compiler": output_of("cc", "--version").splitlines()[0],
        "flags": flags_of(build),
        "load": text_of("/proc/loadavg"),
    }
