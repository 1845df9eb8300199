/* SPDX-License-Identifier: BSD-2-Clause */
#include "engine/lane_priv.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

int xmb_lane_init(struct lane *lane, struct xmb_pipe_end *end,
		  enum xmb_full_policy policy)
{
	*lane = (struct lane){ .end = end, .policy = policy };
	if (policy != XMB_FULL_DROP_OLDEST)
		return 0;
	lane->backlog = calloc(LANE_BACKLOG, sizeof(*lane->backlog));
	return lane->backlog ? 0 : -ENOMEM;
}

uint32_t xmb_lane_fini(struct lane *lane, struct xmb_cache *cache)
{
	uint32_t cnt = lane->backlog_cnt;

	for (uint32_t i = 0; i < cnt; i++)
		xmb_multibuf_drop(&lane->backlog[(lane->backlog_first + i) %
						 LANE_BACKLOG],
				  cache);
	free(lane->backlog);
	*lane = (struct lane){ 0 };
	return cnt;
}

bool xmb_lane_has_room(struct lane *lane, uint32_t n)
{
	return xmb_pipe_room(lane->end, lane->pending + n) >= lane->pending + n;
}

static void write_item(struct lane *lane, struct xmb_multibuf *mb)
{
	struct xmb_ring *out = &lane->end->out;

	*(struct xmb_multibuf *)xmb_ring_item(out, out->mine + lane->pending) =
		*mb;
	lane->pending++;
	*mb = (struct xmb_multibuf){ 0 };
}

/* Order: what waits goes first. */
static void write_backlog(struct lane *lane)
{
	while (lane->backlog_cnt && xmb_lane_has_room(lane, 1)) {
		write_item(lane, &lane->backlog[lane->backlog_first]);
		lane->backlog_first = (lane->backlog_first + 1) % LANE_BACKLOG;
		lane->backlog_cnt--;
	}
}

static enum lane_verdict push_backlog(struct lane *lane,
				      struct xmb_multibuf *mb,
				      struct xmb_cache *cache)
{
	bool is_full = lane->backlog_cnt == LANE_BACKLOG;
	uint32_t last;

	if (is_full) {
		xmb_multibuf_drop(&lane->backlog[lane->backlog_first], cache);
		lane->backlog_first = (lane->backlog_first + 1) % LANE_BACKLOG;
		lane->backlog_cnt--;
	}
	last = (lane->backlog_first + lane->backlog_cnt++) % LANE_BACKLOG;
	lane->backlog[last] = *mb;
	*mb = (struct xmb_multibuf){ 0 };
	return is_full ? LANE_OLDEST : LANE_TAKEN;
}

/* Stopped flows go on when half of the pipe is free again. */
static bool is_stopped(struct lane *lane, uint32_t bucket)
{
	uint32_t cnt = lane->end->out.mask + 1;

	if (!lane->has_stopped)
		return false;
	if (xmb_pipe_unread(lane->end) <= cnt / 2) {
		memset(lane->stopped, 0, sizeof(lane->stopped));
		lane->has_stopped = false;
		return false;
	}
	return lane->stopped[bucket / 64] >> bucket % 64 & 1;
}

enum lane_verdict xmb_lane_push(struct lane *lane, struct xmb_multibuf *mb,
				uint32_t bucket, struct xmb_cache *cache)
{
	if (XMB_UNLIKELY(lane->backlog_cnt))
		write_backlog(lane);
	if (XMB_UNLIKELY(is_stopped(lane, bucket)))
		return LANE_STOPPED;
	if (XMB_LIKELY(lane->backlog_cnt == 0 && xmb_lane_has_room(lane, 1))) {
		write_item(lane, mb);
		return LANE_TAKEN;
	}
	switch (lane->policy) {
	case XMB_FULL_DROP_OLDEST:
		return push_backlog(lane, mb, cache);
	case XMB_FULL_STOP_FLOW:
		lane->stopped[bucket / 64] |= UINT64_C(1) << bucket % 64;
		lane->has_stopped = true;
		return LANE_STOPPED;
	default:
		return LANE_NEWEST;
	}
}

uint32_t xmb_lane_flush(struct lane *lane)
{
	uint32_t n;

	if (lane->backlog_cnt)
		write_backlog(lane);
	n = lane->pending;
	if (n)
		xmb_ring_commit(&lane->end->out, n);
	lane->pending = 0;
	return n;
}
