/* SPDX-License-Identifier: BSD-2-Clause */
#include "engine/engine_priv.h"

#include "flow/hash.h"
#include "pkt/csum.h"

#include <errno.h>

/*
 * The thread of a pipeline that owns sockets: it hands what it receives to
 * workers by flow, and sends what they hand back.  It waits for none of them.
 */

/* Lanes to one worker, [port][part]; those to the next one follow. */
static uint32_t lanes_of_stage(const struct xmb_engine *engine)
{
	return engine->opts.port_cnt * engine->part_cnt;
}

static uint32_t lanes_of_all(const struct xmb_engine *engine)
{
	return engine->stage_cnt * lanes_of_stage(engine);
}

static struct lane *lane_at(const struct xmb_worker *w, uint32_t stage,
			    uint32_t port, uint32_t part)
{
	return &w->lanes[stage * lanes_of_stage(w->engine) +
			 port * w->engine->part_cnt + part];
}

static void drop(struct xmb_worker *w, struct xmb_multibuf *mb,
		 enum xmb_worker_counter why)
{
	xmb_worker_count(w, why, 1);
	xmb_multibuf_drop(mb, &w->cache);
}

static void push_whole(struct xmb_worker *w, struct xmb_multibuf *mb,
		       uint32_t port, uint32_t stage, uint32_t bucket)
{
	struct lane *lane = lane_at(w, stage, port, XMB_PART_WHOLE);
	enum lane_verdict verdict = xmb_lane_push(lane, mb, bucket, &w->cache);

	if (XMB_LIKELY(verdict == LANE_TAKEN))
		return;
	lane->lost++;
	if (verdict != LANE_OLDEST)
		xmb_multibuf_drop(mb, &w->cache);
}

/*
 * Header and payload to two workers, both or none: room is looked for first,
 * so that no half goes without the other.
 */
static void push_split(struct xmb_worker *w, struct xmb_multibuf *mb,
		       uint32_t port, uint32_t stage, uint32_t hdr_len)
{
	uint32_t other = (stage + 1) % w->engine->stage_cnt, mark;
	struct lane *head = lane_at(w, stage, port, XMB_PART_HEADER);
	struct lane *body = lane_at(w, other, port, XMB_PART_PAYLOAD);
	struct xmb_multibuf payload = { 0 };
	int rc = 0;

	if (!xmb_lane_has_room(head, 1) || !xmb_lane_has_room(body, 1)) {
		(xmb_lane_has_room(head, 1) ? body : head)->lost++;
		xmb_multibuf_drop(mb, &w->cache);
		return;
	}
	if (w->engine->has_partial_csum[port] &&
	    !xmb_csum_count_complete(mb, 1))
		rc = xmb_csum_complete(mb);
	if (rc == -EPERM) {
		drop(w, mb, XMB_WORKER_CSUM_SHARED);
		return;
	}
	if (rc == 1)
		xmb_worker_count(w, XMB_WORKER_CSUM_COMPLETED, 1);
	if (xmb_multibuf_split(mb, hdr_len, &payload, &w->cache)) {
		drop(w, mb, XMB_WORKER_SPLIT_FAILED);
		return;
	}
	if (xmb_join_open(w->join, stage * w->engine->opts.port_cnt + port,
			  &mark)) {
		xmb_multibuf_drop(&payload, &w->cache);
		drop(w, mb, XMB_WORKER_JOIN_FULL);
		return;
	}
	mb->user = mark;
	payload.user = mark;
	/* A packet of headers alone has nothing for the second worker. */
	if (payload.len == 0)
		xmb_join_expect_one(w->join, mark);
	xmb_lane_push(head, mb, 0, &w->cache);
	if (payload.len)
		xmb_lane_push(body, &payload, 0, &w->cache);
	else
		xmb_multibuf_release(&payload, &w->cache);
}

static void prefetch_headers(const struct xmb_multibuf *mbs, uint32_t cnt)
{
	for (uint32_t i = 0; i < cnt; i++)
		__builtin_prefetch(xmb_chunk_data(&mbs[i].c[0]));
}

static uint32_t receive(struct xmb_worker *w, const struct worker_rx *rx,
			uint64_t now_ns)
{
	const struct xmb_engine_opts *opts = &w->engine->opts;
	const uint32_t stage_cnt = w->engine->stage_cnt;
	struct xmb_multibuf mbs[XMB_ENGINE_BURST];
	uint32_t n;

	xmb_xsk_refill(rx->xsk, &w->cache, now_ns);
	n = xmb_xsk_recv(rx->xsk, &w->cache, mbs, XMB_ENGINE_BURST);
	prefetch_headers(mbs, n);
	for (uint32_t i = 0; i < n; i++) {
		uint32_t hdr_len, stage;
		uint32_t hash =
			xmb_flow_hash(&mbs[i], opts->is_symmetric, &hdr_len);

		if (opts->steer)
			stage = opts->steer(opts->steer_arg, &mbs[i],
					    rx->port) %
				stage_cnt;
		else
			stage = (uint32_t)((uint64_t)hash * stage_cnt >> 32);
		if (opts->is_split)
			push_split(w, &mbs[i], rx->port, stage, hdr_len);
		else
			push_whole(w, &mbs[i], rx->port, stage,
				   hash % LANE_BUCKETS);
	}
	return n;
}

/*
 * What was lost before a worker's full pipes, counted with that worker, to
 * which other dispatchers may add meanwhile.
 */
static void count_lost(struct xmb_worker *stage, enum xmb_full_policy full,
		       uint32_t lost)
{
	static const enum xmb_worker_counter names[] = {
		[XMB_FULL_DROP_NEWEST] = XMB_WORKER_FULL_NEWEST,
		[XMB_FULL_DROP_OLDEST] = XMB_WORKER_FULL_OLDEST,
		[XMB_FULL_STOP_FLOW] = XMB_WORKER_FLOW_STOPPED,
	};

	if (lost)
		atomic_fetch_add_explicit(&stage->counters[names[full]], lost,
					  memory_order_relaxed);
}

/* Show each worker its packets of this turn, and wake it once. */
static void flush(struct xmb_worker *w)
{
	const struct xmb_engine *engine = w->engine;
	struct lane *lane = w->lanes;

	w->has_backlog = false;
	for (uint32_t s = 0; s < engine->stage_cnt; s++) {
		struct xmb_worker *stage = &engine->workers[engine->io_cnt + s];
		struct lane *end = lane + lanes_of_stage(engine);
		uint32_t n = 0, lost = 0;

		for (; lane < end; lane++) {
			n += xmb_lane_flush(lane);
			lost += lane->lost;
			lane->lost = 0;
			w->has_backlog |= lane->backlog_cnt > 0;
		}
		count_lost(stage, engine->opts.full, lost);
		if (n == 0)
			continue;
		xmb_worker_count(w, XMB_WORKER_PIPED, n);
		if (xmb_worker_rouse(stage))
			xmb_worker_count(w, XMB_WORKER_WAKES, 1);
	}
}

/* Send, or drop, what is first in its lane and has nothing out any more. */
static void send_joined(struct xmb_worker *w, uint32_t lane)
{
	for (;;) {
		struct xmb_multibuf mb = { 0 };
		uint8_t to;

		switch (xmb_join_next(w->join, lane, &mb, &to, &w->cache)) {
		case JOIN_DONE:
			xmb_worker_send_port(w, to, &mb, 1);
			break;
		case JOIN_DROP:
			xmb_worker_count(w, XMB_WORKER_SPLIT_DROP, 1);
			break;
		default:
			return;
		}
	}
}

static void join_halves(struct xmb_worker *w, struct xmb_multibuf *mbs,
			uint32_t cnt, uint32_t port, uint32_t part)
{
	for (uint32_t i = 0; i < cnt; i++) {
		uint32_t lane;

		if (xmb_join_add(w->join, (enum xmb_part)part, &mbs[i],
				 (uint8_t)port, &lane, &w->cache) == JOIN_STRAY)
			xmb_worker_count(w, XMB_WORKER_STRAY_HALF, 1);
		else
			send_joined(w, lane);
	}
}

/* Send what the workers handed back. */
static uint32_t collect(struct xmb_worker *w)
{
	const struct xmb_engine *engine = w->engine;
	uint32_t cnt = lanes_of_all(engine), total = 0;
	struct xmb_multibuf mbs[XMB_ENGINE_BURST];

	for (uint32_t i = 0; i < cnt; i++) {
		uint32_t n = xmb_socket_recv(&w->lanes[i].end->sock, mbs,
					     XMB_ENGINE_BURST);
		uint32_t port, part;

		if (n == 0)
			continue;
		port = i / engine->part_cnt % engine->opts.port_cnt;
		part = i % engine->part_cnt;
		if (part == XMB_PART_WHOLE)
			xmb_worker_send_port(w, port, mbs, n);
		else
			join_halves(w, mbs, n, port, part);
		total += n;
	}
	return total;
}

static uint32_t io_turn(struct xmb_worker *w, uint64_t now_ns)
{
	uint32_t n = 0;

	w->is_reaping = xmb_worker_reap(w) > 0;
	for (uint32_t i = 0; i < w->rx_cnt; i++)
		n += receive(w, &w->rx[i], now_ns);
	flush(w);
	n += collect(w);
	xmb_worker_kick_all(w, now_ns);
	return n;
}

static bool io_has_input(const struct xmb_worker *w)
{
	uint32_t cnt = lanes_of_all(w->engine);

	for (uint32_t i = 0; i < cnt; i++)
		if (xmb_pipe_waiting(w->lanes[i].end))
			return true;
	return false;
}

/* Whether a worker has, or may have, something of ours (see stage_turn()). */
static bool is_out(const struct xmb_worker *w)
{
	const struct xmb_engine *engine = w->engine;
	uint32_t cnt = lanes_of_all(engine);

	for (uint32_t i = 0; i < cnt; i++)
		if (w->lanes[i].backlog_cnt || xmb_pipe_unread(w->lanes[i].end))
			return true;
	for (uint32_t s = 0; s < engine->stage_cnt; s++)
		if (atomic_load_explicit(
			    &engine->workers[engine->io_cnt + s].in_hand,
			    memory_order_acquire))
			return true;
	return false;
}

static bool io_is_draining(const struct xmb_worker *w)
{
	/* In this order: what a worker had in hand is in a pipe afterwards. */
	return xmb_worker_has_rx(w) || is_out(w) || io_has_input(w) ||
	       (w->join && w->join->out_cnt) || xmb_worker_tx_state(w).inflight;
}

const struct worker_role xmb_role_io = {
	.turn = io_turn,
	.send = NULL,
	.has_input = io_has_input,
	.is_draining = io_is_draining,
};
