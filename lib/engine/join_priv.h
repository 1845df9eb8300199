/* SPDX-License-Identifier: BSD-2-Clause */
#ifndef XMBUF_ENGINE_JOIN_PRIV_H
#define XMBUF_ENGINE_JOIN_PRIV_H

#include "engine/engine.h"

/*
 * join: header and payload of split packets, until both are back.
 *
 *      open()  -> mark --> header  --> worker a --.
 *                     '--> payload --> worker b --+--> add() x2 -> one packet
 *
 * The mark is the packet's number; its low bits are its place in a window.  The
 * halves of a flow go to the same two workers in order and come back in order,
 * so packets of a flow are completed in order.  A half without chunks says that
 * the other one is not to be sent.
 *
 * Units      JOIN_WINDOW packets may be out at a time.
 * Threads    The dispatcher's alone.
 */

enum { JOIN_WINDOW = 1024 };

struct join_slot {
	struct xmb_multibuf header, payload;
	uint32_t mark;
	uint8_t due;  /* halves that are out; 0: the place is free */
	uint8_t port; /* where the header's worker sends it */
	bool is_dropped;
};

struct join {
	struct join_slot slots[JOIN_WINDOW];
	uint32_t next;
	uint32_t out_cnt; /* packets with halves out */
};

/* Take a place for a packet in two halves.  -ENOSPC: the window is full. */
int xmb_join_open(struct join *join, uint32_t *mark);

/* The packet of this mark has no payload: its header is all to wait for. */
void xmb_join_expect_one(struct join *join, uint32_t mark);

enum join_verdict {
	JOIN_WAITS,
	JOIN_DONE,  /* *mb is the whole packet, for *port */
	JOIN_DROP,  /* a half was dropped, and now all of it */
	JOIN_STRAY, /* no packet has this mark: released */
};

/*
 * A half is back, for port; it is consumed, and *mb is the packet when it was
 * the second one.
 */
enum join_verdict xmb_join_add(struct join *join, enum xmb_part part,
			       struct xmb_multibuf *mb, uint8_t *port,
			       struct xmb_cache *cache);

/* Release what never became whole; returns how many packets. */
uint32_t xmb_join_fini(struct join *join, struct xmb_cache *cache);

#endif /* XMBUF_ENGINE_JOIN_PRIV_H */
