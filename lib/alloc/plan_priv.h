/* SPDX-License-Identifier: BSD-2-Clause */
#ifndef XMBUF_ALLOC_PLAN_PRIV_H
#define XMBUF_ALLOC_PLAN_PRIV_H

#include "alloc/allocator.h"

/*
 * plan: what a request means in chunks of a source's regions.  Chunks are all
 * alike until a plan gives them bytes, so that who waits can collect them.
 *
 * Errors     As allocator.h.
 */

struct xmb_alloc_plan {
	uint32_t min_cnt;  /* chunks that hold min_len */
	uint32_t want_cnt; /* chunks that hold what could be had of desired */
	uint32_t room;	   /* bytes in a chunk */
	uint32_t headroom;
	uint32_t segment_len; /* 0: none */
	uint64_t len;	      /* what to fill want_cnt chunks with */
};

/* Make the plan of a request.  -EMSGSIZE, -EINVAL. */
int xmb_alloc_plan_make(struct xmb_alloc_plan *plan,
			const struct xmb_allocator *allocator,
			const struct xmb_alloc_request *request);

/* Give the bare chunks of mb, at most want_cnt, their bytes. */
void xmb_alloc_plan_shape(const struct xmb_alloc_plan *plan,
			  struct xmb_multibuf *mb);

/* Release the first cnt chunks; the mark `user` of mb stays. */
void xmb_alloc_drop(struct xmb_multibuf *mb, uint32_t cnt,
		    struct xmb_cache *cache);

/*
 * Put up to cnt bare chunks of the cache's pool, with blocks of the other's, in
 * front of mb; returns how many.
 */
uint32_t xmb_alloc_take(struct xmb_cache *cache, struct xmb_multibuf *mb,
			uint32_t cnt, struct xmb_cache *blocks);

/*
 * Bring mb up to want_cnt bare chunks, or to as many as there are; a source
 * that can grow does, by what is missing to one of the two counts, or not at
 * all.  Returns what app_cnt of the allocator's cache has counted of them, but
 * not what wakes did that ran meanwhile.
 */
int64_t xmb_alloc_take_up_to(struct xmb_allocator *allocator,
			     struct xmb_multibuf *mb, uint32_t min_cnt,
			     uint32_t want_cnt);

/* What a pool has: its frames less the reserve, its blocks. */
struct xmb_alloc_limits xmb_alloc_pool_limits(const struct xmb_pool *pool);

/* Blocks that a multibuf of cnt chunks takes, packed as take() does it. */
static inline uint32_t xmb_alloc_blocks_for(uint32_t cnt)
{
	return cnt <= XMB_MULTIBUF_INLINE ? 0 : (cnt - 1) / XMB_MULTIBUF_INLINE;
}

#endif /* XMBUF_ALLOC_PLAN_PRIV_H */
