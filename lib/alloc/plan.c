/* SPDX-License-Identifier: BSD-2-Clause */
#include "alloc/plan_priv.h"

enum { CHUNK_CNT_MAX = UINT16_MAX }; /* of a multibuf */

static uint64_t ceil_div(uint64_t n, uint64_t by)
{
	return n / by + (n % by > 0);
}

/* Chunks that len bytes take; room > 0, and so is segment_len if there is. */
static uint64_t chunks_for(uint64_t len, uint32_t room, uint32_t segment_len)
{
	if (segment_len == 0)
		return ceil_div(len, room);
	return len / segment_len * ceil_div(segment_len, room) +
	       ceil_div(len % segment_len, room);
}

/* The most chunks that one multibuf of this source can have. */
static uint32_t chunk_cnt_max(const struct xmb_allocator *allocator)
{
	struct xmb_alloc_limits limits = allocator->ops->limits(allocator);
	uint64_t with_blocks = (uint64_t)XMB_MULTIBUF_INLINE *
			       (limits.block_cnt + UINT64_C(1));

	if (with_blocks > CHUNK_CNT_MAX)
		with_blocks = CHUNK_CNT_MAX;
	return xmb_min_u32((uint32_t)with_blocks, limits.region_cnt);
}

int xmb_alloc_plan_make(struct xmb_alloc_plan *plan,
			const struct xmb_allocator *allocator,
			const struct xmb_alloc_request *request)
{
	uint64_t len =
		request->desired_len ? request->desired_len : request->min_len;
	uint64_t taken = (uint64_t)request->headroom + request->tailroom;
	uint32_t cnt_max = chunk_cnt_max(allocator), segment_len;
	uint64_t min_cnt, want_cnt;

	if (request->min_len > len)
		return -EINVAL;
	*plan = (struct xmb_alloc_plan){ 0 };
	if (len == 0)
		return 0;
	if (taken >= allocator->region_len)
		return -EMSGSIZE;
	plan->room = allocator->region_len - (uint32_t)taken;
	plan->headroom = request->headroom;
	plan->segment_len = segment_len = request->segment_len;
	/* Of what is desired, one chunk holds no more than its room. */
	if (request->is_contiguous && len > plan->room &&
	    (segment_len == 0 || segment_len > plan->room))
		len = plan->room;
	if (request->min_len > len)
		return -EMSGSIZE;
	min_cnt = chunks_for(request->min_len, plan->room, segment_len);
	want_cnt = chunks_for(len, plan->room, segment_len);
	if (min_cnt > cnt_max)
		return -EMSGSIZE;
	if (want_cnt > cnt_max)
		want_cnt = cnt_max;
	plan->min_cnt = (uint32_t)min_cnt;
	plan->want_cnt = (uint32_t)want_cnt;
	plan->len = len;
	return 0;
}

/*
 * The chunks are exclusive and fresh, so their ranges are set as they are
 * made: by hand.  The marks of segments are the ends of fragments (edit.h).
 */
void xmb_alloc_plan_shape(const struct xmb_alloc_plan *plan,
			  struct xmb_multibuf *mb)
{
	uint64_t left = plan->len;
	uint64_t segment_len = plan->segment_len ? plan->segment_len : left;
	uint64_t segment_left = segment_len, n;
	struct xmb_multibuf_iter iter;
	uint32_t to_come = mb->cnt;
	struct xmb_chunk *chunk;

	mb->len = 0;
	for (chunk = xmb_multibuf_first(mb, &iter); chunk;
	     chunk = xmb_multibuf_next(&iter)) {
		n = left < plan->room ? left : plan->room;
		if (n > segment_left)
			n = segment_left;
		chunk->off = plan->headroom;
		chunk->len = (uint32_t)n;
		mb->len += (uint32_t)n;
		left -= n;
		segment_left -= n;
		to_come--;
		/* There may be fewer chunks than were wanted. */
		if (segment_left > 0 && to_come > 0)
			continue;
		if (plan->segment_len)
			chunk->flags |= XMB_CHUNK_END;
		segment_left = segment_len;
	}
}

void xmb_alloc_drop(struct xmb_multibuf *mb, uint32_t cnt,
		    struct xmb_cache *cache)
{
	struct xmb_chunk chunk = { 0 };

	while (cnt-- > 0) {
		xmb_multibuf_pop_front(mb, &chunk, cache);
		xmb_chunk_release(&chunk, cache);
	}
}

/* In front, because there a chunk more costs the same at any length. */
uint32_t xmb_alloc_take(struct xmb_cache *cache, struct xmb_multibuf *mb,
			uint32_t cnt, struct xmb_cache *blocks)
{
	struct xmb_chunk chunk = { 0 };
	uint32_t done;

	for (done = 0; done < cnt; done++) {
		if (xmb_chunk_alloc(cache, &chunk) < 0)
			break;
		chunk.len = 0;
		if (xmb_multibuf_push_front(mb, &chunk, blocks) < 0) {
			xmb_chunk_release(&chunk, cache);
			break;
		}
	}
	return done;
}

struct xmb_alloc_limits xmb_alloc_pool_limits(const struct xmb_pool *pool)
{
	uint32_t reserve = xmb_pool_reserve_cnt(pool);
	uint32_t cnt = pool->domain.region_cnt;

	return (struct xmb_alloc_limits){
		.region_cnt = cnt > reserve ? cnt - reserve : 0,
		.block_cnt = pool->spill_cnt,
	};
}
