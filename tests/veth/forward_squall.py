#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-2-Clause
"""A short one of forward_storm.py."""
from forward_storm import deletions, flaps, moves
from lab import main

FLAPS, DELETIONS, MOVES = 20, 4, 8


def links_that_flap_end_nothing():
    flaps(FLAPS, 0)
    flaps(FLAPS, 1)


def deleted_devices_end_it_in_words():
    deletions(DELETIONS)


def moves_to_another_namespace_end_it_in_words():
    moves(MOVES)


if __name__ == "__main__":
    main(links_that_flap_end_nothing,
         deleted_devices_end_it_in_words,
         moves_to_another_namespace_end_it_in_words)
