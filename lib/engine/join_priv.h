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
 * The mark is the packet's place and how often that was used before, so that a
 * packet that is out for long takes one place and no more.  The
 * halves of a flow go to the same two workers in order and come back in order.
 * A packet of headers alone waits for one half and could overtake: so packets
 * of the same lane, a worker and a port, are let out in the order that they
 * were opened in.  A half without chunks says that the other one is not to be
 * sent.
 *
 * Units      slot_cnt packets may be out at a time.
 * Threads    The dispatcher's alone.
 */

enum {
	JOIN_SLOT_MAX = 65536,
	JOIN_LANE_MAX = XMB_ENGINE_WORKER_MAX * XMB_ENGINE_PORT_MAX,
};

struct join_slot {
	struct xmb_multibuf header, payload;
	uint32_t mark;
	uint32_t behind; /* the place that follows: in its lane, or free */
	uint16_t lane;
	uint8_t due;  /* halves that are out */
	uint8_t port; /* where the header's worker sends it */
	bool is_dropped;
};

/* Places in the order that they were opened in. */
struct join_lane {
	uint32_t first, last, cnt;
};

struct join {
	struct join_slot *slots;
	uint32_t slot_cnt;
	uint32_t lane_max; /* packets out of one lane; init: no limit */
	uint32_t free;	   /* head of the free places */
	uint32_t out_cnt;  /* packets that have not been let out */
	struct join_lane lanes[JOIN_LANE_MAX];
};

/* Room for slot_cnt packets, at most JOIN_SLOT_MAX.  -ENOMEM. */
int xmb_join_init(struct join *join, uint32_t slot_cnt);

/*
 * Take a place for a packet in two halves, of a lane < JOIN_LANE_MAX.
 * -ENOSPC: none is free, or lane_max of the lane are out.
 */
int xmb_join_open(struct join *join, uint32_t lane, uint32_t *mark);

/* The packet of this mark has no payload: its header is all to wait for. */
void xmb_join_expect_one(struct join *join, uint32_t mark);

enum join_verdict {
	JOIN_WAITS,
	JOIN_DONE,  /* *mb is the whole packet, for *port */
	JOIN_DROP,  /* a half was dropped, and now all of it */
	JOIN_STRAY, /* no packet has this mark: released */
};

/*
 * A half is back, for port; it is consumed.  JOIN_WAITS, or JOIN_STRAY.  Then
 * ask xmb_join_next() until it says JOIN_WAITS.
 */
enum join_verdict xmb_join_add(struct join *join, enum xmb_part part,
			       struct xmb_multibuf *mb, uint8_t port,
			       uint32_t *lane, struct xmb_cache *cache);

/*
 * Let out the first packet of the lane if nothing of it is out: JOIN_DONE with
 * the empty mb and *port filled, or JOIN_DROP.
 */
enum join_verdict xmb_join_next(struct join *join, uint32_t lane,
				struct xmb_multibuf *mb, uint8_t *port,
				struct xmb_cache *cache);

/* Release what never became whole; returns how many packets. */
uint32_t xmb_join_fini(struct join *join, struct xmb_cache *cache);

#endif /* XMBUF_ENGINE_JOIN_PRIV_H */
