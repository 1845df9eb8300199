/* SPDX-License-Identifier: BSD-2-Clause */
#include "engine/engine_priv.h"

#include <errno.h>
#include <stdlib.h>

enum { PIPE_CNT = 2048 };

static uint32_t lanes_of_one(const struct xmb_engine *engine)
{
	return engine->stage_cnt * engine->opts.port_cnt * engine->part_cnt;
}

/* Frames of the longest packet that a port receives. */
static uint32_t frames_of_packet(const struct xmb_engine *engine)
{
	uint32_t mtu = 0;

	for (uint32_t p = 0; p < engine->opts.port_cnt; p++)
		mtu = xmb_max_u32(mtu, xmb_port_nic(engine->ports[p])->mtu);
	return 1 + mtu / engine->umem->pool.domain.region_len;
}

/* The full pipes of one stuck worker hold a quarter of all frames at most. */
static uint32_t pipe_len(const struct xmb_engine *engine)
{
	uint32_t cnt = xmb_or_u32(engine->opts.pipe_cnt, PIPE_CNT);
	uint32_t most = engine->umem->pool.domain.region_cnt / 4 /
			(engine->io_cnt * engine->opts.port_cnt *
			 frames_of_packet(engine));

	while (cnt > 1 && cnt > most)
		cnt /= 2;
	return cnt;
}

/*
 * A packet that is out for long holds back no more than a pipe does, and a
 * burst in hand.
 */
static int init_join(struct xmb_worker *w, uint32_t slot_cnt, uint32_t lane_max)
{
	int err;

	w->join = calloc(1, sizeof(*w->join));
	if (!w->join)
		return -ENOMEM;
	err = xmb_join_init(w->join, slot_cnt);
	w->join->lane_max = lane_max;
	return err;
}

static int init_dispatcher(struct xmb_engine *engine, struct xmb_worker *w)
{
	uint32_t pipe_cnt = pipe_len(engine);
	uint32_t cnt = lanes_of_one(engine);
	int err = 0;

	w->lanes = calloc(cnt, sizeof(*w->lanes));
	if (!w->lanes)
		return -ENOMEM;
	if (engine->opts.is_split)
		err = init_join(w, cnt * pipe_cnt, pipe_cnt + XMB_ENGINE_BURST);
	for (uint32_t i = 0; i < cnt && !err; i++) {
		struct xmb_pipe *pipe = &engine->pipes[w->idx * cnt + i];
		struct xmb_worker *stage =
			&engine->workers[engine->io_cnt +
					 i / (engine->opts.port_cnt *
					      engine->part_cnt)];

		err = xmb_pipe_init(pipe, pipe_cnt, &w->cache, &stage->cache);
		if (!err)
			err = xmb_lane_init(&w->lanes[i], &pipe->end[0],
					    engine->opts.full);
		/* A half without chunks says that the other is to go too, and
		 * a packet of no bytes is for the socket to count. */
		pipe->end[0].wants_empty = true;
	}
	return err;
}

int xmb_pipeline_init(struct xmb_engine *engine)
{
	int err = 0;

	engine->pipes = calloc((size_t)engine->io_cnt * lanes_of_one(engine),
			       sizeof(*engine->pipes));
	if (!engine->pipes)
		return -ENOMEM;
	for (uint32_t t = 0; t < engine->io_cnt && !err; t++)
		err = init_dispatcher(engine, &engine->workers[t]);
	return err;
}

static void empty_pipe(struct xmb_worker *w, struct xmb_pipe *pipe,
		       uint32_t part)
{
	uint32_t cnt = xmb_pipe_waiting(&pipe->end[0]) +
		       xmb_pipe_waiting(&pipe->end[1]);

	/* Halves are counted with the packet that waits for them. */
	if (part == XMB_PART_WHOLE)
		xmb_worker_count(w, XMB_WORKER_LEFT_IN_PIPE, cnt);
	xmb_pipe_fini(pipe, &w->cache);
}

static void fini_dispatcher(struct xmb_engine *engine, struct xmb_worker *w)
{
	uint32_t cnt = lanes_of_one(engine), left = 0;

	for (uint32_t i = 0; i < cnt && w->lanes; i++) {
		left += xmb_lane_fini(&w->lanes[i], &w->cache);
		if (engine->pipes[w->idx * cnt + i].memory)
			empty_pipe(w, &engine->pipes[w->idx * cnt + i],
				   i % engine->part_cnt);
	}
	if (w->join && w->join->slots)
		left += xmb_join_fini(w->join, &w->cache);
	xmb_worker_count(w, XMB_WORKER_LEFT_IN_PIPE, left);
	free(w->lanes);
	free(w->join);
	w->lanes = NULL;
	w->join = NULL;
}

void xmb_pipeline_fini(struct xmb_engine *engine)
{
	if (!engine->pipes)
		return;
	for (uint32_t t = 0; t < engine->io_cnt; t++)
		fini_dispatcher(engine, &engine->workers[t]);
	free(engine->pipes);
	engine->pipes = NULL;
}
