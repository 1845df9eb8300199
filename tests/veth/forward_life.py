#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-2-Clause
"""xmbuf forward while links, devices and the process itself come and go."""
import contextlib
import signal
import subprocess
import time

from lab import (COMMAND_S, PLACE, STOP_S, XMBUF, Lab, TooSlow, drops_of, expect, expect_words,
                 in_some_try, main, port, received_by, report, wait_for)
from load import Paced, Tcp, Udp, expect_ping, ping

FLAPS, DELETIONS, STARTS = 10, 10, 100
OUTAGE_S = 5
BUSY, OUTAGE_MIN = 1000, 20000
# Of a process that hangs; one that does not ends in a tenth of a second.
END_S = 30


def is_busy(json_object):
    return all(p["totals"]["rx_packets"] >= BUSY and p["sent"] >= BUSY
               for p in json_object["ports"])


@contextlib.contextmanager
def load(lab, forward=None):
    """UDP both ways and a TCP connection, which outlives what a test does; from
    when a forward is busy with it."""
    with Udp(lab, "client", pause=0.001, tolerant=True), \
            Udp(lab, "server", pause=0.001, tolerant=True), Tcp(lab) as tcp:
        time.sleep(0.2)
        if forward:
            forward.wait_until(is_busy, "load")
        yield tcp


def expect_busy(final):
    if not is_busy(final):
        raise AssertionError(f"there was no load: {final['ports']}")


def expect_busy_way(final, way_in, way_out):
    if port(final, way_in)["totals"]["rx_packets"] < 100 or port(final, way_out)["sent"] < 100:
        raise AssertionError(f"there was no load: {final['packets']}")


def ends_under_load_by(sig, *options):
    with Lab() as lab, lab.forward(*options) as forward, load(lab, forward):
        # Stopped for a moment, it has much in its rings when it is to end.
        forward.process.send_signal(signal.SIGSTOP)
        time.sleep(0.05)
        forward.process.send_signal(sig)
        forward.process.send_signal(signal.SIGCONT)
        final = forward.finish(sig=None)
        for name in drops_of(final):
            if "unread" in name or "unsent" in name:
                # It has 0.3 s for that, by the clock.
                raise TooSlow(f"it did not send all that it had: {drops_of(final)}")
        expect_words(forward.said(), sig.name)
        expect_busy(final)


def sigint_under_load_ends_with_exact_totals():
    for mode in ("native", "native", "generic", "generic"):
        in_some_try(lambda mode=mode: ends_under_load_by(signal.SIGINT, "--xdp", mode))


def sigterm_under_load_ends_with_exact_totals():
    for mode in ("native", "native", "generic", "generic"):
        in_some_try(lambda mode=mode: ends_under_load_by(signal.SIGTERM, "--xdp", mode))


def a_lost_terminal_and_quit_end_it_like_any_signal():
    for sig in (signal.SIGHUP, signal.SIGQUIT):
        in_some_try(lambda sig=sig: ends_under_load_by(sig))


def a_reader_that_left_ends_it_and_the_devices_are_put_back():
    with Lab() as lab:
        done = lab.run("fwd", "timeout", "200", "bash", "-c",
                       '"$0" forward left right --interval 0.1 | head -n 1; exit $PIPESTATUS',
                       XMBUF, check=False)
        expect_words(done.stdout, "left")
        expect_lost_report(done, "Broken pipe")
        lab.expect_untouched()


def expect_lost_report(done, why):
    expect(done.returncode, 1, f"exit status, having said {done.stderr}")
    expect_words(done.stderr, "standard output", why, "lost")


def a_last_report_that_cannot_be_written_is_a_failure_in_words():
    """Also where every report before it could be, and where none could."""
    with Lab() as lab:
        for options in ((), ("--json",)):
            for after in ("", "--interval 100"):
                done = lab.run("fwd", "timeout", "200", "bash", "-c",
                               f'"$@" {after} > /dev/full', "sh", XMBUF, "forward", "left",
                               "right", "--duration", "0.3", "--interval", "0.1", *options,
                               check=False)
                expect_lost_report(done, "No space left on device")
                lab.expect_untouched()
        # The reader leaves behind the first report, and the last is the second.
        process = lab.start("fwd", XMBUF, "forward", "left", "right", "--json", "--interval", "1",
                            stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        process.stdout.readline()
        process.stdout.close()
        process.send_signal(signal.SIGINT)
        said = process.stderr.read()
        expect_lost_report(subprocess.CompletedProcess(process.args, process.wait(STOP_S),
                                                       stderr=said), "Broken pipe")
        lab.expect_untouched()


def a_duration_under_load_ends_with_exact_totals():
    in_some_try(duration_under_load)


def duration_under_load():
    with Lab() as lab, lab.forward("--duration", "5") as forward, load(lab):
        final = forward.finish(sig=None)
        if not is_busy(final):
            raise TooSlow(f"5 s were too short to be busy: {final['ports']}")
        if not 5 <= final["time_s"] < 50:
            raise AssertionError(f"it ran {final['time_s']} s, not 5")


def links_that_flap_under_load_go_on_afterwards():
    with Lab() as lab, lab.forward() as forward:
        with load(lab, forward):
            for _ in range(FLAPS):
                for dev in PLACE:
                    lab.set(dev, "down")
                    time.sleep(0.05)
                    lab.set(dev, "up")
                    time.sleep(0.15)
        expect(forward.process.poll(), None, "exit status")
        lab.pin_neighbours()
        expect_first_ping(lab)
        expect_ping(lab, 50)
        with Tcp(lab) as tcp:
            wait_for(lambda: tcp.received > 10_000_000, "10 MB over TCP", COMMAND_S)
        final = forward.finish()
        expect_busy(final)
        report.note(f"drops {drops_of(final)}")
        expect_words(forward.said(), "left: the link is down", "right: the link is down",
                     "left: the link is up again", "right: the link is up again")


def expect_first_ping(lab):
    """A peer hears of a link a moment later, and until then drops."""
    wait_for(lambda: ping(lab, "-c", "1", "-W", "1")["received"], "a first ping")


def delete_under_load(dev):
    with Lab() as lab, lab.forward() as forward, load(lab, forward):
        subprocess.run(["ip", "-n", lab.ns(PLACE[dev]), "link", "delete", dev], check=True)
        start = time.monotonic()
        # A pair goes as one: the forwarder's end is what it lost.
        lost = {"client0": "left", "server0": "right"}.get(dev, dev)
        final = forward.finish(sig=None, code=1, seconds=END_S)
        took = time.monotonic() - start
        expect_words(forward.said(), f"{lost} was deleted")
        expect_busy(final)
        return took


def devices_deleted_under_load_end_it_in_words():
    took = [delete_under_load(list(PLACE)[i % len(PLACE)]) for i in range(DELETIONS)]
    report.note(f"ended within {max(took):.2f} s of the deletion")


def a_device_moved_away_ends_it_in_words():
    with Lab() as lab, lab.forward() as forward, load(lab, forward):
        lab.set("right", "netns", lab.ns("server"))
        forward.finish(sig=None, code=1, seconds=END_S)
        expect_words(forward.said(), "right", "moved to another namespace")
        shown = subprocess.run(["ip", "-n", lab.ns("server"), "link", "show", "right"], check=True,
                               capture_output=True, text=True).stdout
        if "xdp" in shown:
            raise AssertionError(f"a program was left: {shown}")


def an_mtu_that_changes_under_load_is_survived_and_used_at_the_next_start():
    with Lab() as lab, lab.forward() as forward:
        lab.pin_neighbours()
        with Udp(lab, "client", data_len=1400, pause=0.001, tolerant=True):
            for dev, mtu in (("right", 600), ("right", 1500), ("left", 600), ("left", 1500)):
                lab.set(dev, "mtu", mtu)
                time.sleep(0.1)
                if mtu == 600:
                    wait_for(lambda dev=dev: f"{dev}: the MTU is 600 now" in forward.said(),
                             "words of the MTU")
            forward.wait_until(lambda o: port(o, "left")["totals"]["rx_packets"] >= 100 and
                               port(o, "right")["sent"] >= 100, "load")
        for dev in PLACE:
            lab.set(dev, "mtu", 9000)
        expect_ping(lab, 20)
        # In full size they come in, and are too long for what was the way out.
        expect(ping(lab, "-c", "5", "-i", "0.1", "-W", "1", "-s", "8000")["received"], 0, "jumbos")
        wait_for(lambda: port(forward.interval(), "right")["drops"]["tx_too_long"] == 5,
                 "the name of what was too long")
        for dev in PLACE:
            lab.set(dev, "mtu", 1500)
        final = forward.finish()
        expect_busy_way(final, "left", "right")
        expect_words(forward.said(), "right: the MTU is 600 now and was 1500 at start",
                     "left: the MTU is 9000 now and was 1500 at start: start again")


def queues_that_a_device_wins_under_load_end_it_in_words():
    """Their packets would go around it; fewer than are bound the kernel refuses."""
    def channels(cnt):
        for where, dev in (("client", "client0"), ("fwd", "left"), ("fwd", "right"),
                           ("server", "server0")):
            # Natively a peer with more queues than the other end has is refused.
            lab.run(where, "ethtool", "-L", dev, "rx", cnt, "tx", cnt, check=False)

    for mode in ("native", "generic"):
        with Lab(queues=4) as lab:
            channels(2)
            with lab.forward("--xdp", mode) as forward, load(lab, forward):
                channels(4)
                final = forward.finish(sig=None, code=1, seconds=END_S)
                expect_busy_way(final, "left", "right")
                expect_words(forward.said(), "receive on 4 queues; on 2 it did at the start",
                             "ethtool -L")


def a_hundred_starts_in_a_row_all_get_their_queues():
    with Lab(queues=2) as lab:
        start = time.monotonic()
        for i in range(STARTS):
            done = lab.run("fwd", XMBUF, "forward", "left", "right", "--json", "--duration", "0.01",
                           check=False)
            if done.returncode:
                raise AssertionError(f"start {i + 1}: {done.stderr}")
        report.note(f"{STARTS} starts and stops in {time.monotonic() - start:.0f} s")
        lab.expect_untouched()


def starts_under_load_all_get_their_queues():
    with Lab(queues=2) as lab:
        lab.pin_neighbours()
        with Udp(lab, "client", pause=0.001):
            for _ in range(10):
                with lab.forward(interval=0.05) as forward:
                    forward.wait_until(received_by, "load")
                if forward.final["packets"]["in"] == 0:
                    raise AssertionError("there was no load")


def a_deaf_peer_costs_the_other_direction_nothing():
    """server0 takes nothing, but sends.

    Its kernel refuses what is longer than its MTU just as it refuses what
    comes while the device is down, one packet after the other.
    """
    with Lab() as lab:
        lab.set("server0", "mtu", 576)
        lab.pin_neighbours()
        before = lab.counters()
        with lab.forward() as forward:
            # A report is 0.1 s old at most; what it tells was taken.
            with Udp(lab, "client", data_len=1400, pause=0.0005) as deaf, \
                    Paced(lab, lambda: port(forward.objects[-1], "left")["sent"],
                          "server") as healthy:
                time.sleep(OUTAGE_S)
                forward.wait_until(
                    lambda o: drops_of(o).get("right tx_kernel_drop", 0) >= 10000 and
                    port(o, "left")["sent"] >= 1000, "10000 refusals")
            lab.await_counted(before, "client0", healthy.sent, ["rx_packets"])
            final = forward.finish()
        counted = lab.counted_since(before)
        drops = drops_of(final)
        report.note(f"sent {healthy.sent} beside {deaf.sent} to a deaf peer, drops {drops}")
        expect(counted["server0"]["rx_packets"], 0, "what the deaf peer took")
        if drops["right tx_kernel_drop"] < 10000:
            raise AssertionError(f"the peer was hardly deaf: {drops}")
        expect(counted["client0"]["rx_packets"], healthy.sent, "the other direction's datagrams")
        expect({name: n for name, n in drops.items()
                if name.startswith("right rx") or name.startswith("left tx")}, {},
               "the other direction's drops")


def outage(dev, drop_names):
    """All of one side is down: what is for it has a name, and then all flows."""
    with Lab() as lab:
        lab.pin_neighbours()
        with lab.forward(interval=0.02) as forward:
            expect_ping(lab)
            with Paced(lab, lambda: port(forward.objects[-1], "left")["totals"]["rx_packets"]):
                lab.set(dev, "down")
                time.sleep(0.1)
                before = forward.interval()
                wanted = OUTAGE_MIN + port(before, "left")["totals"]["rx_packets"]
                forward.wait_until(
                    lambda o: port(o, "left")["totals"]["rx_packets"] >= wanted, "an outage")
                after = forward.interval()
                lab.set(dev, "up")
            lab.pin_neighbours()
            expect_first_ping(lab)
            expect_ping(lab, 50)
            final = forward.finish()
    gone = {name: n - drops_of(before).get(name, 0) for name, n in drops_of(after).items()}
    gone = {name: n for name, n in gone.items() if n}
    came = port(after, "left")["totals"]["rx_packets"] - \
        port(before, "left")["totals"]["rx_packets"]
    report.note(f"{came} came while {dev} was down, dropped {gone}, then {drops_of(final)}")
    if came < OUTAGE_MIN:
        raise AssertionError(f"only {came} packets came while {dev} was down")
    # Receiving goes on at full rate: a dead way out takes no frame from it.
    expect([name for name in gone if name not in drop_names], [], f"drops while {dev} was down")
    if after["ledger"]["tx"] > after["ledger"]["frames"] // 4:
        raise AssertionError(f"a dead port holds frames: {after['ledger']}")


def a_peer_that_is_down_for_5_seconds_leaves_receiving_alone():
    outage("server0", ["right tx_kernel_drop"])


def a_link_that_is_down_for_5_seconds_leaves_receiving_alone():
    outage("right", ["right tx_kernel_drop", "right tx_full"])


if __name__ == "__main__":
    main(sigint_under_load_ends_with_exact_totals,
         sigterm_under_load_ends_with_exact_totals,
         a_lost_terminal_and_quit_end_it_like_any_signal,
         a_reader_that_left_ends_it_and_the_devices_are_put_back,
         a_last_report_that_cannot_be_written_is_a_failure_in_words,
         a_duration_under_load_ends_with_exact_totals,
         links_that_flap_under_load_go_on_afterwards,
         devices_deleted_under_load_end_it_in_words,
         a_device_moved_away_ends_it_in_words,
         an_mtu_that_changes_under_load_is_survived_and_used_at_the_next_start,
         queues_that_a_device_wins_under_load_end_it_in_words,
         a_hundred_starts_in_a_row_all_get_their_queues,
         starts_under_load_all_get_their_queues,
         a_deaf_peer_costs_the_other_direction_nothing,
         a_peer_that_is_down_for_5_seconds_leaves_receiving_alone,
         a_link_that_is_down_for_5_seconds_leaves_receiving_alone)
