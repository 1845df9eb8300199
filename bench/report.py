# SPDX-License-Identifier: BSD-2-Clause
"""What scripts/bench says of what it measured: a table, JSON, or Markdown."""
import statistics
import textwrap
from typing import NamedTuple

FOREIGN_MAX = 0.04   # of the window: more user time of others spoils a round


class Row(NamedTuple):
    """What was measured turn about: {contender: [sample, ...]}; None: it cannot."""
    name: str
    unit: str
    what: str
    samples: dict
    remark: str = ""
    ours: str = "xmbuf"
    paused: dict = {}     # the same, of rounds that count apart (pauses.py)


def median(samples, key="value"):
    values = [s[key] for s in samples if key in s]
    return statistics.median(values) if values else None


def hop_ns(row):
    """Of a cache line there and back: the median of the row's rounds, if they know."""
    known = [h for each in row.samples.values() for s in each or [] for h in s.get("hops", ())]
    return statistics.median_low(known) if known else None


def spread(*lists):
    """The widest (max - min) / median of the lists."""
    widths = [(max(v) - min(v)) / statistics.median(v)
              for v in lists if v and statistics.median(v)]
    return round(max(widths), 4) if widths else 0


def ratio(unit, ours, peer):
    """Above 1 we are better; None: beside nothing there is none."""
    if unit == "lost/million":
        pair = (1e6 - ours, 1e6 - peer)
    else:
        pair = (ours, peer) if unit in ("Mpps", "Gbit/s") else (peer, ours)
    return round(pair[0] / pair[1], 4) if pair[1] else None


def disturbed(rounds):
    """Rounds that stayed spoilt however often they were repeated, and were kept."""
    return sum(s.get("foreign", 0) > FOREIGN_MAX for s in rounds)


def paused_of(row, peer):
    """For JSON: how many of our rounds and the peer's were paused, what they lost."""
    found = {}
    for key, name in (("paused", row.ours), ("peer_paused", peer)):
        rounds = row.paused.get(name, [])
        found |= {key: len(rounds)}
        if rounds:
            found |= {f"{key}_median": round(median(rounds), 4)}
    return found if row.paused else {}


def paused_text(row):
    """What each lost in rounds that were paused, of who had such."""
    each = [f"{n} {len(s)} ({min(x['value'] for x in s):.0f}, {median(s):.0f}, "
            f"{max(x['value'] for x in s):.0f})" for n, s in row.paused.items() if s]
    return (f"Apart, rounds in which the program was kept off its CPU for longer than a "
            f"full ring lasts (least, median and most lost): {', '.join(each)}."
            if each else "")


def peers_of(unit, samples, ours):
    """All but us; of the bare loops the best one alone."""
    bare = [n for n in samples if n.startswith("bare") and samples[n]]
    if bare:
        best = min if unit == "lost/million" else max
        chosen = best(bare, key=lambda n: median(samples[n]))
    return [n for n in samples if samples[n] and n != ours and not n.startswith("xmbuf")
            and (n not in bare or n == chosen)]


def objects(bench, row):
    """One for each peer, and one more for the busy time if both are known.

    Where no peer has such a step: one, of nobody.
    """
    samples = row.samples
    if not samples[row.ours]:
        return
    distance = hop_ns(row)
    hop = {} if distance is None else {"hop_ns": distance}
    for peer in peers_of(row.unit, samples, row.ours):
        for key, name, of in (("value", row.name, row.unit),
                              ("busy_ns", f"{row.name} busy", "ns/packet"),
                              ("turn_ns", f"{row.name} busy+kernel", "ns/packet")):
            ours, theirs = median(samples[row.ours], key), median(samples[peer], key)
            if ours is None or theirs is None:
                continue
            lists = [[s[key] for s in samples[n] if key in s] for n in (row.ours, peer)]
            spoilt = disturbed(samples[row.ours]) + disturbed(samples[peer])
            yield {"bench": bench, "row": name, "unit": of, "ours": round(ours, 4),
                   "peer": peer, "peer_value": round(theirs, 4),
                   "ratio": ratio(of, ours, theirs),
                   "rounds": min(map(len, lists)), "spread": spread(*lists), **hop,
                   **({"disturbed": spoilt} if spoilt else {}),
                   **(paused_of(row, peer) if key == "value" else {}),
                   **({"remark": row.remark} if row.remark and key == "value" else {})}
    if len(samples) == 1:
        values = [s["value"] for s in samples[row.ours]]
        yield {"bench": bench, "row": row.name, "unit": row.unit,
               "ours": round(median(samples[row.ours]), 4), "peer": None,
               "peer_value": None, "ratio": None, "rounds": len(values),
               "spread": spread(values), **hop}


def print_table(bench, row):
    samples = row.samples
    print(f"\n{bench} {row.name} ({row.unit}){row.what and ': '}{row.what}")
    print(f"  {'':15}{'min':>9}{'median':>9}{'max':>9}{'busy ns':>9}{'kernel':>8}"
          f"{'sum':>8}{'ours/it':>9}  rounds")
    for name, rounds in samples.items():
        if rounds is None:
            print(f"  {name:15}{'-':>9}{'-':>9}{'-':>9}")
            continue
        if not rounds:
            print(f"  {name:15} no round succeeded"
                  + (", all were paused" if row.paused.get(name) else ""))
            continue
        values = [s["value"] for s in rounds]
        digits = 0 if row.unit == "lost/million" else 2
        cells = [f"{v:9.{digits}f}" for v in (min(values), median(rounds), max(values))]
        for key, width in (("busy_ns", 9), ("kernel_ns", 8), ("turn_ns", 8)):
            v = median(rounds, key)
            cells.append(f"{v:{width}.1f}" if v is not None else "-".rjust(width))
        ours = samples[row.ours] and name != row.ours and not name.startswith("xmbuf")
        beside = ratio(row.unit, median(samples[row.ours]), median(rounds)) if ours else None
        cells.append(" " * 9 if beside is None else f"{beside:9.2f}")
        note = f" ({disturbed(rounds)} disturbed)" if disturbed(rounds) else ""
        print(f"  {name:15}{''.join(cells)}  {len(rounds)}{note}", flush=True)
    remark, distance = row.remark, hop_ns(row)
    if distance is not None:
        remark = f"{remark} A line takes {distance} ns there and back.".strip()
    remark = f"{remark} {paused_text(row)}".strip()
    if remark:
        print(textwrap.fill(remark, 92, initial_indent="  ", subsequent_indent="  "))
    busy = [median(samples.get(n, []), "busy_ns") for n in ("xmbuf", "rtc")]
    if None not in busy:
        print(f"  the hop to a worker and back: {busy[0] - busy[1]:.1f} busy ns a packet")


def number(value):
    digits = 0 if value >= 100 or value == 0 else 1 if value >= 1 else 2
    return f"{value:.{digits}f}"


def markdown(bench, rows):
    """One table of a bench; a cell is the median and, in brackets, ours / its."""
    rows = [row for row in rows if row.samples[row.ours]]
    names = []
    for row in rows:
        names += [n for n in row.samples if n not in names]
    print(f"\n`scripts/bench {bench}`: medians; in brackets ours / its, which is better "
          f"{'above' if any(r.unit == 'Mpps' for r in rows) else 'below'} 1.\n")
    has_hop = any(hop_ns(row) is not None for row in rows)
    columns = ["step", "unit", *names, "spread", *(["hop ns"] if has_hop else [])]
    print(f"| {' | '.join(columns)} |")
    print("|---" * len(columns) + "|")
    for row in rows:
        ours = median(row.samples[row.ours])
        cells = []
        for name in names:
            value = median(row.samples.get(name) or [])
            is_bare = name == row.ours or not value or row.unit == "lost/million"
            cells.append("-" if value is None else number(value) if is_bare
                         else f"{number(value)} ({ours / value:.2f})")
        widths = [[s["value"] for s in rounds or []] for rounds in row.samples.values()]
        spread_cell = "-" if row.unit == "lost/million" else f"{100 * spread(*widths):.0f} %"
        cells.append(spread_cell)
        if has_hop:
            distance = hop_ns(row)
            cells.append("-" if distance is None else str(distance))
        print(f"| {row.what or row.name} | {row.unit} | {' | '.join(cells)} |")
    for row in rows:
        remark = f"{row.remark} {paused_text(row)}".strip()
        if remark:
            print(f"\n{row.what or row.name}, {row.unit}: {remark}")
