#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-2-Clause
"""xmbuf forward when there is nothing to forward: asleep, and soon awake."""
import pathlib
import time

from lab import TRIES, Lab, TooSlow, expect, in_some_try, main, port, report
from load import Udp, expect_ping, ping

IDLE_S = 10
CPU_SHARE_MAX = 0.02
FIRST_PACKET_MS_MAX = 100


def cpu_ns(process):
    """What all threads have run so far, to the nanosecond."""
    tasks = pathlib.Path(f"/proc/{process.pid}/task").iterdir()
    return sum(int((task / "schedstat").read_text().split()[0]) for task in tasks)


def idle_share(forward, seconds=IDLE_S):
    """In some spell; time that a CPU was taken away counts as the process's."""
    def spell():
        before, start = cpu_ns(forward.process), time.monotonic()
        time.sleep(seconds)
        share = (cpu_ns(forward.process) - before) / 1e9 / (time.monotonic() - start)
        if share >= CPU_SHARE_MAX:
            raise TooSlow(f"idle, it took {100 * share:.1f} % of one CPU")
        return share

    return in_some_try(spell)


def expect_idle(lab, forward, what):
    share = idle_share(forward)
    expect(forward.process.poll(), None, "exit status")
    rtts = []
    while len(rtts) < 3 or min(rtts) >= FIRST_PACKET_MS_MAX and len(rtts) < 3 * TRIES:
        # Long enough for every thread to be asleep again.
        time.sleep(1)
        got = ping(lab, "-c", "1", "-W", "30")
        expect(got["received"], 1, "the first ping after idle")
        rtts.append(got["rtt_ms"])
    report.note(f"{what}: {100 * share:.2f} % of one CPU over {IDLE_S} s; the first packet after "
                f"idle and its answer took {', '.join(f'{rtt:.2f}' for rtt in rtts)} ms")
    if min(rtts) >= FIRST_PACKET_MS_MAX:
        raise AssertionError(f"the first packets after idle took {rtts} ms")


def idle_costs_less_than_2_percent_of_a_cpu_and_wakes_for_a_packet():
    with Lab() as lab:
        lab.pin_neighbours()
        with lab.forward(interval=1) as forward:
            expect_idle(lab, forward, "one queue")


def idle_after_load_on_four_queues_costs_no_more():
    with Lab(queues=4) as lab:
        lab.pin_neighbours()
        with lab.forward(interval=1) as forward:
            with Udp(lab, "client"), Udp(lab, "server"):
                time.sleep(1)
            expect_idle(lab, forward, "four queues after load")


def idle_with_a_link_down_costs_no_more():
    """What waits in the TX ring of a link that is down keeps nobody awake."""
    with Lab() as lab:
        lab.pin_neighbours()
        with lab.forward(interval=1) as forward:
            def waits(json_object):
                sent = port(json_object, "right")["totals"]
                return sent["tx_packets"] > sent["tx_completed"]

            with Udp(lab, "client", pause=0.001):
                lab.set("right", "down")
                time.sleep(1)
                forward.wait_until(waits, "packets that wait for the link")
            if not waits(forward.interval()):
                raise AssertionError("nothing waits")
            share = idle_share(forward)
            lab.set("right", "up")
            lab.pin_neighbours()
            expect_ping(lab)
    report.note(f"a link down: {100 * share:.2f} % of one CPU over {IDLE_S} s")


if __name__ == "__main__":
    main(idle_costs_less_than_2_percent_of_a_cpu_and_wakes_for_a_packet,
         idle_after_load_on_four_queues_costs_no_more,
         idle_with_a_link_down_costs_no_more)
