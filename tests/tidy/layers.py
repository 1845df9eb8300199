# SPDX-License-Identifier: BSD-2-Clause
"""lib/LAYERS holds: which room includes which, and which library belongs where.

A line of lib/LAYERS reads `room: room room ...  # what it is`, lowest room
first.  A room uses itself and the rooms on its line, each of which stands above
it, so the arrows cannot make a circle.
"""
import re

from tap import Report, arguments

INCLUDE = re.compile(r'^[ \t]*#[ \t]*include[ \t]*(["<])([^">]+)[">]', re.M)

# Each external library is used in the rooms named for it, and nowhere else.
LIBRARIES = {
    "bpf/": {"prog"},
    "xdp/": {"prog", "xsk"},
    "liburing": {"loop"},
    "libmnl/": {"nic"},
    "jansson": set(),
}

# What a room shares with the programs of bpf/.
SHARED = "../../bpf/shared.h"
SHARED_WITH = {"prog"}


def read_layers(path):
    """{room: rooms it may use} in the order of the file, and its faults."""
    rooms, faults = {}, []
    for number, line in enumerate(path.read_text().splitlines(), 1):
        line = line.split("#")[0].strip()
        if not line:
            continue
        room, _, uses = line.partition(":")
        for use in uses.split():
            if use not in rooms:
                faults.append(f"LAYERS:{number}: {room} uses {use}, which does"
                              " not stand above it")
        if room in rooms:
            faults.append(f"LAYERS:{number}: {room} stands there twice")
        rooms[room] = {room, *uses.split()}
    return rooms, faults


def main():
    root, _ = arguments()
    lib = root / "lib"
    rooms, order = read_layers(lib / "LAYERS")
    unlisted = [f"lib/{path.name} is not in LAYERS"
                for path in sorted(lib.iterdir())
                if path.name != "LAYERS" and path.name not in rooms]
    arrows, unknown, foreign, wide = [], [], [], []
    for path in sorted(lib.glob("*/*.[ch]")):
        room = path.parent.name
        text = path.read_text()
        public = path.suffix == ".h" and not path.stem.endswith("_priv")
        for match in INCLUDE.finditer(text):
            number = text.count("\n", 0, match.start()) + 1
            quote, name = match.groups()
            where = f"{path.relative_to(root)}:{number}"
            target = name.split("/")[0]
            if name == SHARED and room in SHARED_WITH:
                continue
            if quote == '"' and "/" in name:
                if target not in rooms.get(room, ()):
                    arrows.append(f"{where}: {room} must not use {name}")
            elif quote == '"' and not name.endswith(".skel.h") and \
                    not (root / "bpf" / name).exists():
                unknown.append(f"{where}: \"{name}\" is not written from lib/")
            if quote == '"' and public and name.endswith("_priv.h"):
                wide.append(f"{where}: a public header includes {name}")
            for prefix, homes in LIBRARIES.items():
                if quote == "<" and name.startswith(prefix):
                    if room not in homes:
                        foreign.append(f"{where}: {room} must not use <{name}>")
                    elif public:
                        wide.append(f"{where}: a public header needs <{name}>")

    report = Report()
    report.check("the arrows in LAYERS all point up", order)
    report.check("lib holds the rooms of LAYERS and nothing else", unlisted)
    report.check("a room uses only rooms that LAYERS gives it", arrows)
    report.check("own includes are written from lib", unknown)
    report.check("a library is used in the room named for it only", foreign)
    report.check("public headers need no private one and no library", wide)
    return report.finish()


raise SystemExit(main())
