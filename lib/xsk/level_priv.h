/* SPDX-License-Identifier: BSD-2-Clause */
#ifndef XMBUF_XSK_LEVEL_PRIV_H
#define XMBUF_XSK_LEVEL_PRIV_H

#include "base/base.h"

/*
 * level: how many frames should wait for packets.
 *
 * A fill ring is a FIFO: every frame in it goes through the CPU's cache in
 * turn, so a level above need costs speed; a level below rate times the
 * longest pause of the program costs packets.  The rule:
 *
 *      base <= level <= max
 *      twice, when a poll finds more than half of the level received, and
 *      twice that depth where it is more still, as after a sleep, unless no
 *      poll of late found the RX ring nearly drained (then the program is the
 *      bottleneck, and a longer queue only gets cold)
 *      each millisecond half-way down to twice the second-largest depth that
 *      the last 8 milliseconds saw
 *      to max when packets were lost for want of frames, unless no poll of
 *      late found less than half of the level received; and there it stays, for
 * a second at first and twice as long at each loss that follows before the same
 * time has passed in calm: what paused the program this long will do so again
 *
 * Units      Frames.
 * Threads    One, the fill ring's.
 */

enum {
	XMB_LEVEL_SLOTS = 8,
	XMB_LEVEL_HOLD = 1024, /* milliseconds */
	XMB_LEVEL_HOLD_MAX = 65536,
};

struct xmb_level {
	uint32_t level, base, max;
	uint32_t depth_max[XMB_LEVEL_SLOTS]; /* a millisecond each, a ring */
	uint32_t slot;
	uint32_t hold;	   /* milliseconds without a descent, yet to come */
	uint32_t hold_len; /* of the last such time; 0: long ago */
	uint32_t calm;	   /* milliseconds since it ended */
	uint32_t full_cnt; /* milliseconds in a row that found no half */
	bool is_drained;   /* a poll of this or the last slot found it so */
	bool was_drained;
	bool is_half, was_half; /* the same of half of the level */
	uint64_t slot_end_ns;
};

/* base is clamped to max. */
void xmb_level_init(struct xmb_level *level, uint32_t base, uint32_t max);

/* A poll found depth frames received.  True if the level was raised. */
bool xmb_level_poll(struct xmb_level *level, uint32_t depth);

/*
 * Packets were lost for want of frames: raise the level to max and hold it
 * there.  True if it was raised.
 */
bool xmb_level_starved(struct xmb_level *level);

/* Let time pass. */
void xmb_level_tick(struct xmb_level *level, uint64_t now_ns);

#endif /* XMBUF_XSK_LEVEL_PRIV_H */
