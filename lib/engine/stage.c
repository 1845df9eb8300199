/* SPDX-License-Identifier: BSD-2-Clause */
#include "engine/engine_priv.h"

#include <sched.h>

/*
 * The thread of a pipeline that runs the handler.  It has an end of a pipe for
 * each dispatcher, port and half: what comes in there was received on the port,
 * what goes out there is sent by it.
 */

static struct xmb_pipe_end *end_at(const struct xmb_worker *w, uint32_t io,
				   uint32_t port, uint32_t part)
{
	return &xmb_engine_pipe(w->engine, io, w->idx - w->engine->io_cnt, port,
				part)
			->end[1];
}

static void stage_send(struct xmb_burst *burst, enum xmb_part part,
		       uint32_t port, struct xmb_multibuf *mbs, uint32_t cnt)
{
	struct xmb_worker *w = burst->worker;
	struct xmb_pipe_end *end = end_at(w, burst->io, port, part);
	uint32_t done = 0;

	for (;;) {
		done += xmb_socket_send(&end->sock, mbs + done, cnt - done);
		xmb_worker_rouse(&w->engine->workers[burst->io]);
		if (done == cnt)
			return;
		/* The dispatcher waits for nobody, so it will make room, but
		 * not once it has ended. */
		if (atomic_load_explicit(&w->command, memory_order_relaxed) !=
		    WORKER_RUN)
			break;
		sched_yield();
	}
	if (part == XMB_PART_WHOLE)
		xmb_worker_count(w, XMB_WORKER_LEFT_IN_PIPE, cnt - done);
	xmb_multibuf_drop_bulk(mbs + done, cnt - done, &w->cache);
}

static uint32_t serve_end(struct xmb_worker *w, uint32_t io, uint32_t port,
			  uint32_t part)
{
	struct xmb_multibuf mbs[XMB_ENGINE_BURST];
	uint8_t to[XMB_ENGINE_BURST];
	struct xmb_burst burst = {
		.mbs = mbs,
		.to = to,
		.port = port,
		.part = (enum xmb_part)part,
		.cache = &w->cache,
		.worker = w,
		.io = io,
	};
	struct xmb_pipe_end *end = end_at(w, io, port, part);

	burst.cnt = xmb_socket_recv(&end->sock, mbs, XMB_ENGINE_BURST);
	if (burst.cnt)
		xmb_burst_handle(&burst,
				 part == XMB_PART_WHOLE &&
					 w->engine->has_partial_csum[port]);
	return burst.cnt;
}

static uint32_t stage_turn(struct xmb_worker *w, uint64_t now_ns)
{
	const struct xmb_engine *engine = w->engine;
	uint32_t n = 0;

	(void)now_ns;
	/* Before the pipes are read: a dispatcher that sees them empty and
	 * this 0 knows that nothing is in our hands (io.c). */
	atomic_store_explicit(&w->in_hand, 1, memory_order_seq_cst);
	for (uint32_t io = 0; io < engine->io_cnt; io++)
		for (uint32_t p = 0; p < engine->opts.port_cnt; p++)
			for (uint32_t k = 0; k < engine->part_cnt; k++)
				n += serve_end(w, io, p, k);
	atomic_store_explicit(&w->in_hand, 0, memory_order_release);
	return n;
}

static bool stage_has_input(const struct xmb_worker *w)
{
	const struct xmb_engine *engine = w->engine;

	for (uint32_t io = 0; io < engine->io_cnt; io++)
		for (uint32_t p = 0; p < engine->opts.port_cnt; p++)
			for (uint32_t k = 0; k < engine->part_cnt; k++)
				if (xmb_pipe_waiting(end_at(w, io, p, k)))
					return true;
	return false;
}

static bool stage_is_draining(const struct xmb_worker *w)
{
	(void)w;
	return false; /* the dispatchers ended after all was back */
}

const struct worker_role xmb_role_stage = {
	.turn = stage_turn,
	.send = stage_send,
	.has_input = stage_has_input,
	.is_draining = stage_is_draining,
};
