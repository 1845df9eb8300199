/* SPDX-License-Identifier: BSD-2-Clause */
#ifndef XMBUF_BUF_BULK_PRIV_H
#define XMBUF_BUF_BULK_PRIV_H

#include "buf/chunk.h"

/*
 * bulk: the release of many chunks.
 *
 *      begin   top, cnt <- cache
 *      release whole frames of the cache's pool: frames[top++]
 *      release anything else: end, the usual way, begin
 *      end     top, cnt -> cache
 *
 * One at a time, each release would wait for the store of the one before it to
 * the cache's counts.
 */

struct xmb_bulk {
	struct xmb_cache *cache;
	_Atomic uint32_t *words; /* of its pool's domain ... */
	uint32_t dom;		 /* ... and that one's id */
	uint32_t free;		 /* a FREE word of generation 0 */
	uint32_t top;		 /* what cache->cnt will be */
	uint32_t cnt;		 /* frames that left the application */
};

static inline struct xmb_bulk xmb_bulk_begin(struct xmb_cache *cache)
{
	return (struct xmb_bulk){
		.cache = cache,
		.words = cache->pool->domain.words,
		.dom = cache->pool->domain.id,
		.free = xmb_frame_word(XMB_FRAME_FREE, cache->who, 0),
		.top = cache->cnt,
	};
}

static inline void xmb_bulk_end(const struct xmb_bulk *bulk)
{
	bulk->cache->cnt = bulk->top;
	bulk->cache->app_cnt -= bulk->cnt;
}

/* True if the frame is the handle's, and nobody waits for it (cookie.h). */
static inline bool xmb_bulk_is_plain(const struct xmb_bulk *bulk,
				     uint32_t region, uint32_t gen)
{
	uint32_t word = atomic_load_explicit(&bulk->words[region],
					     memory_order_relaxed);

	return (word & ~0xff00u) == xmb_frame_word(XMB_FRAME_APP, 0, gen);
}

/* As xmb_chunk_release(). */
static inline void xmb_bulk_release(struct xmb_bulk *bulk,
				    struct xmb_chunk *chunk)
{
	uint32_t region = chunk->region, gen = chunk->slot;

	/* Of a stale copy the word differs too: the usual way says so. */
	if (XMB_UNLIKELY(chunk->dom != bulk->dom || !xmb_chunk_is_excl(chunk) ||
			 bulk->top == XMB_CACHE_MAX ||
			 !xmb_bulk_is_plain(bulk, region, gen))) {
		xmb_bulk_end(bulk);
		xmb_chunk_release(chunk, bulk->cache);
		*bulk = xmb_bulk_begin(bulk->cache);
		return;
	}
	atomic_store_explicit(&bulk->words[region],
			      bulk->free | (gen + 1) << 16,
			      memory_order_relaxed);
	bulk->cache->frames[bulk->top++] = region;
	bulk->cnt++;
	*chunk = (struct xmb_chunk){ 0 };
}

#endif /* XMBUF_BUF_BULK_PRIV_H */
