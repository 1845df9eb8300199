/* SPDX-License-Identifier: BSD-2-Clause */
#ifndef XMBUF_ENGINE_LANE_PRIV_H
#define XMBUF_ENGINE_LANE_PRIV_H

#include "engine/engine.h"
#include "sock/pipe.h"

/*
 * lane: a dispatcher's way to one worker for one port: the near end of a pipe,
 * and what is done when that is full.
 *
 *      push() -> [ backlog, DROP_OLDEST only ] -> written, unseen -> pipe
 *                                                    '-- flush() shows --^
 *
 * Packets of a burst are written into the ring one by one and shown at once, so
 * that the worker's cache line moves, and the worker is woken, once a burst.
 *
 * Threads    The dispatcher's alone.
 */

enum { LANE_BUCKETS = 256, LANE_BACKLOG = 256 };

enum lane_verdict {
	LANE_TAKEN,
	LANE_NEWEST,  /* no room: the packet is still the caller's */
	LANE_OLDEST,  /* taken, and an older one released for it */
	LANE_STOPPED, /* its flow is stopped: still the caller's */
};

struct lane {
	struct xmb_pipe_end *end;
	enum xmb_full_policy policy;
	uint32_t pending; /* written, not yet shown */
	uint32_t lost;	  /* before the full pipe, not yet counted */
	struct xmb_multibuf *backlog; /* LANE_BACKLOG; NULL: other policy */
	uint32_t backlog_first, backlog_cnt;
	uint64_t stopped[LANE_BUCKETS / 64];
	bool has_stopped;
};

/* -ENOMEM: no memory for the backlog. */
int xmb_lane_init(struct lane *lane, struct xmb_pipe_end *end,
		  enum xmb_full_policy policy);

/* Release what is left in the backlog; returns how many packets. */
uint32_t xmb_lane_fini(struct lane *lane, struct xmb_cache *cache);

/* Whether n packets more fit the pipe now. */
bool xmb_lane_has_room(struct lane *lane, uint32_t n);

/* Hand over a packet of the flow bucket. */
enum lane_verdict xmb_lane_push(struct lane *lane, struct xmb_multibuf *mb,
				uint32_t bucket, struct xmb_cache *cache);

/* Show the worker what was written; returns how many packets. */
uint32_t xmb_lane_flush(struct lane *lane);

#endif /* XMBUF_ENGINE_LANE_PRIV_H */
