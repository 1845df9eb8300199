#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-2-Clause
"""Every system call of xmbuf forward and of share_piece fails once, with each
error; see fault_injection.py, which has a sample of it."""
import os

from fault_injection import ERRORS, fail_in_traffic, fail_sites, needs_share_piece
from lab import Skip, main

# Of how many parts of the matrix this run is one, and which: for a short look.
PARTS, PART = (int(os.environ.get(name, default))
               for name, default in (("XMB_FAULT_PARTS", "1"), ("XMB_FAULT_PART", "0")))


def part(pairs):
    return pairs[PART::PARTS]


def every_call_that_fails_ends_it_in_words_or_is_made_again():
    fail_sites("rtc", part)


def every_call_that_fails_ends_a_pipeline_in_words_or_is_made_again():
    fail_sites("pipeline", part)


def every_call_that_fails_leaves_a_gate_that_can_be_opened_or_none():
    fail_sites("gate", part)


def every_call_of_a_successor_that_fails_leaves_the_gate_closed_or_says_otherwise():
    fail_sites("successor", part)


def every_call_of_detach_that_fails_leaves_the_gate_closed_or_says_otherwise():
    fail_sites("detach", part)


def every_call_that_only_options_make_fails_in_words_or_is_made_again():
    fail_sites("options", part)


def every_call_that_only_a_users_program_makes_fails_in_words_or_is_made_again():
    if not os.environ.get("XMB_USER_ONE_OBJECT"):
        raise Skip("XMB_USER_ONE_OBJECT names no program to load")
    fail_sites("program", part)


def every_call_that_only_netlink_makes_fails_in_words_or_is_made_again():
    fail_sites("netlink", part)


def every_call_for_pieces_or_a_shared_queue_fails_in_words_or_is_made_again():
    needs_share_piece()
    fail_sites("share", part)


def every_call_that_moves_packets_fails_and_each_packet_has_a_name():
    fail_in_traffic([(call, error) for call in ("sendto", "poll", "getsockopt", "read", "write")
                     for error in ERRORS])


if __name__ == "__main__":
    main(every_call_that_fails_ends_it_in_words_or_is_made_again,
         every_call_that_fails_ends_a_pipeline_in_words_or_is_made_again,
         every_call_that_fails_leaves_a_gate_that_can_be_opened_or_none,
         every_call_of_a_successor_that_fails_leaves_the_gate_closed_or_says_otherwise,
         every_call_of_detach_that_fails_leaves_the_gate_closed_or_says_otherwise,
         every_call_that_only_options_make_fails_in_words_or_is_made_again,
         every_call_that_only_a_users_program_makes_fails_in_words_or_is_made_again,
         every_call_that_only_netlink_makes_fails_in_words_or_is_made_again,
         every_call_for_pieces_or_a_shared_queue_fails_in_words_or_is_made_again,
         every_call_that_moves_packets_fails_and_each_packet_has_a_name)
