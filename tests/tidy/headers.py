# SPDX-License-Identifier: BSD-2-Clause
"""A user's view of the installed library: its headers, flags and files.

Everything is compiled against a staged install with nothing but what pkg-config
says, so a header that leans on the source tree or on its neighbours is found.
"""
import os
import pathlib
import re
import shlex
import subprocess
import tempfile

from tap import Report, arguments

WARNINGS = ["-Wall", "-Wextra", "-Wpedantic", "-Wshadow", "-Wconversion",
            "-Wstrict-prototypes", "-Wundef", "-Werror"]
PROGRAM = r"""
#include <stdio.h>
#include <xmbuf.h>

static void show(void *arg, enum xmb_log_level level, const char *text)
{
	(void)arg;
	(void)level;
	puts(text);
}

int main(void)
{
	xmb_log_set(show, NULL);
	xmb_log(XMB_LOG_INFO, "hello from %s", "xmbuf");
	return 0;
}
"""


def run(command, **options):
    """The faults of a command: none, or its own words."""
    done = subprocess.run(command, stdout=subprocess.PIPE,
                          stderr=subprocess.STDOUT, text=True, timeout=50,
                          **options)
    if done.returncode == 0:
        return []
    return [shlex.join(map(str, command)), f"status {done.returncode}",
            *done.stdout.splitlines()]


def stage(build, dest):
    """Install into dest; its faults and the prefix there."""
    faults = run(["meson", "install", "-C", build, "--no-rebuild", "--quiet",
                  "--destdir", dest])
    found = sorted(dest.glob("**/xmbuf.pc"))
    if not faults and len(found) != 1:
        faults = [f"the install has {len(found)} files xmbuf.pc"]
    # Each says the prefix that it will have: here it is below dest.
    for path in dest.glob("**/xmbuf*.pc"):
        path.write_text(re.sub(r"(?m)^prefix=", f"prefix={dest}",
                               path.read_text()))
    return faults, found[0] if found else None


def flags(pc, *wanted, package="xmbuf"):
    """What pkg-config says of a package beside pc."""
    out = subprocess.run(["pkg-config", *wanted, package],
                         env=dict(os.environ, PKG_CONFIG_PATH=str(pc.parent)),
                         check=True, capture_output=True, text=True)
    return shlex.split(out.stdout)


def compile_alone(cc, cflags, header, spelled):
    """Twice, so that a missing include guard shows too."""
    line = f"#include {spelled}\n"
    command = [*cc, "-std=gnu11", *WARNINGS, *cflags, "-fsyntax-only", "-xc",
               "-"]
    return run(command, input=line + line) and [
        f"{header}:", *run(command, input=line + line)]


def build_and_run(cc, pc, dest, static):
    source = dest / "user.c"
    binary = dest / ("user-static" if static else "user")
    source.write_text(PROGRAM)
    libs = flags(pc, "--libs", *(["--static"] if static else []))
    if static:
        libs = [f"-l:lib{lib[2:]}.a" if lib == "-lxmbuf" else lib
                for lib in libs]
    faults = run([*cc, *WARNINGS, source, "-o", binary,
                  *flags(pc, "--cflags"), *libs])
    if faults:
        return faults
    paths = os.pathsep.join(str(path.parent)
                            for path in dest.glob("**/libxmbuf.so"))
    done = subprocess.run([binary], capture_output=True, text=True, timeout=20,
                          env=dict(os.environ, LD_LIBRARY_PATH=paths))
    if done.returncode or done.stdout != "hello from xmbuf\n":
        return [f"{binary.name}: status {done.returncode}, said"
                f" {done.stdout!r} {done.stderr!r}"]
    return []


def main():
    root, build = arguments()
    cc = shlex.split(os.environ.get("CC", "cc"))
    report = Report()
    with tempfile.TemporaryDirectory(prefix="xmbuf-stage-") as name:
        dest = pathlib.Path(name)
        faults, pc = stage(build, dest)
        report.check("the library installs, with a pkg-config file", faults)
        if not pc:
            return report.finish()
        include = next(dest.glob("**/xmbuf.h")).parent
        cflags = flags(pc, "--cflags")
        installed = {str(path.relative_to(include / "xmbuf"))
                     for path in include.glob("xmbuf/*/*.h")}
        adaptors = {path for path in installed if path.startswith("interop/")}
        installed -= adaptors
        public = {str(path.relative_to(root / "lib"))
                  for path in root.glob("lib/*/*.h")
                  if not path.stem.endswith("_priv")}
        report.check("the public headers, and only they, are installed",
                     [f"{path}: not installed" for path in
                      sorted(public - installed)] +
                     [f"{path}: not a public header of lib" for path in
                      sorted(installed - public)])
        alone = []
        for path in sorted(installed):
            alone += compile_alone(cc, cflags, path, f"<xmbuf/{path}>")
        report.check("each public header compiles alone", alone)
        report.check("so does each adaptor's, with its own flags",
                     adapted(cc, pc, adaptors))
        report.check("the umbrella header compiles alone",
                     compile_alone(cc, cflags, "xmbuf.h", "<xmbuf.h>"))
        report.check("the umbrella header has all of them", umbrella(
            cc, cflags, include, installed))
        report.check("a program builds and runs with the shared library",
                     build_and_run(cc, pc, dest, False))
        report.check("a program builds and runs with the static library",
                     build_and_run(cc, pc, dest, True))
    return report.finish()


def adapted(cc, pc, adaptors):
    if not adaptors:
        yield "no adaptor is installed"
    for path in sorted(adaptors):
        cflags = flags(pc, "--cflags",
                       package=f"xmbuf-{pathlib.Path(path).stem}")
        yield from compile_alone(cc, cflags, path, f"<xmbuf/{path}>")


def umbrella(cc, cflags, include, installed):
    done = subprocess.run([*cc, *cflags, "-M", str(include / "xmbuf.h")],
                          capture_output=True, text=True, timeout=20)
    for path in sorted(installed):
        if f"/xmbuf/{path}" not in done.stdout:
            yield f"xmbuf.h does not include {path}"


raise SystemExit(main())
