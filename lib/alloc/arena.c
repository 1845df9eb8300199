/* SPDX-License-Identifier: BSD-2-Clause */
#include "alloc/arena.h"

#include <string.h>

enum { FRAME_LEN = 2048 };

/* Bytes that a pool of these options takes from a cache line on. */
static uint64_t pool_len(const struct xmb_pool_opts *opts)
{
	return xmb_pool_footprint(opts) +
	       (uint64_t)opts->frame_cnt * opts->frame_len;
}

/*
 * The largest count of frames that fits.  It is searched for: the side arrays
 * grow with it by steps.
 */
static uint32_t frames_that_fit(struct xmb_pool_opts opts, size_t len)
{
	uint64_t low = 0, high = len / opts.frame_len, mid;

	if (high > UINT32_C(1) << 31)
		high = UINT32_C(1) << 31;
	while (low < high) {
		mid = low + (high - low + 1) / 2;
		opts.frame_cnt = (uint32_t)mid;
		if (pool_len(&opts) <= len)
			low = mid;
		else
			high = mid - 1;
	}
	return (uint32_t)low;
}

int xmb_arena_init(struct xmb_arena *arena, const struct xmb_arena_opts *opts)
{
	uintptr_t start = (uintptr_t)opts->mem;
	size_t pad = xmb_align_up(start, XMB_CACHE_LINE) - start, side_len;
	struct xmb_pool_opts pool = {
		.frame_len = xmb_or_u32(opts->frame_len, FRAME_LEN),
		.spill_cnt = opts->spill_cnt,
	};
	uint8_t *side = (uint8_t *)opts->mem + pad;
	int ret;

	XMB_ASSERT(opts->mem);
	if (pool.frame_len < 64 || pool.frame_len > XMB_REGION_LEN_MAX)
		return -EINVAL;
	if (opts->len < pad)
		return -EMSGSIZE;
	pool.frame_cnt = frames_that_fit(pool, opts->len - pad);
	if (pool.frame_cnt == 0)
		return -EMSGSIZE;
	side_len = xmb_pool_footprint(&pool);
	pool.base = side + side_len;
	memset(side, 0, side_len);
	ret = xmb_pool_init(&arena->pool, side, &pool);
	if (ret < 0)
		return ret;
	xmb_cache_init(&arena->cache, &arena->pool, 1);
	xmb_allocator_init_pool(&arena->allocator, &arena->cache);
	return 0;
}

int xmb_arena_fini(struct xmb_arena *arena)
{
	struct xmb_cache *cache = &arena->cache;

	xmb_cache_fini(cache);
	if (xmb_pool_free_cnt(&arena->pool) != arena->pool.domain.region_cnt ||
	    xmb_pool_free_block_cnt(&arena->pool) != arena->pool.spill_cnt)
		return -EBUSY;
	xmb_pool_fini(&arena->pool);
	return 0;
}
