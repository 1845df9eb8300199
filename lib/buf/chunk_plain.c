/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * What takes no step in the tracker of its own: parts, writes, many at a time,
 * and the check.  The steps are all in chunk.c.
 */
#include "buf/chunk.h"

#include "buf/bulk_priv.h"
#include "buf/tracker_priv.h"

#include <string.h>

int xmb_chunk_take_prefix(struct xmb_chunk *chunk, size_t n,
			  struct xmb_chunk *head)
{
	struct xmb_chunk rest = { 0 };
	int ret;

	XMB_ASSERT(!xmb_chunk_is_live(head));
	ret = xmb_chunk_split(chunk, n, &rest);
	if (ret || !xmb_chunk_is_live(chunk))
		return ret;
	*head = *chunk;
	*chunk = rest;
	return 0;
}

int xmb_chunk_take_suffix(struct xmb_chunk *chunk, size_t n,
			  struct xmb_chunk *tail)
{
	/* What is beyond the chunk must stay beyond it. */
	size_t at = n > chunk->len ? SIZE_MAX : chunk->len - n;

	return xmb_chunk_split(chunk, at, tail);
}

int xmb_chunk_write(struct xmb_chunk *chunk, size_t off, const void *src,
		    size_t n)
{
	if (XMB_UNLIKELY(xmb_chunk_is_rdonly(chunk)))
		return xmb_slot_refuse(chunk, "write");
	if (off > chunk->len || n > chunk->len - off)
		return -ERANGE;
	if (n == 0)
		return 0;
	xmb_chunk_verify_any(chunk, "write");
	memmove(xmb_chunk_data(chunk) + off, src, n);
	return 0;
}

int xmb_chunk_slice(struct xmb_chunk *chunk, size_t from, size_t to)
{
	if (from > to || to > chunk->len)
		return -ERANGE;
	if (from == 0 && to == chunk->len)
		return 0;
	chunk->off += (uint32_t)from;
	chunk->len = (uint32_t)(to - from);
	if (!xmb_chunk_is_excl(chunk))
		xmb_chunk_narrow_slot(chunk);
	return 0;
}

/* Of frames that the cache has; its counts are in registers meanwhile. */
static void take_frames(struct xmb_cache *cache, struct xmb_chunk *chunks,
			uint32_t cnt)
{
	const struct xmb_domain *domain = &cache->pool->domain;
	_Atomic uint32_t *words = domain->words;
	uint32_t app = xmb_frame_word(XMB_FRAME_APP, cache->who, 0);
	uint32_t len = domain->region_len, dom = domain->id;
	uint32_t top = cache->cnt, region, gen;

	for (uint32_t i = 0; i < cnt; i++) {
		XMB_ASSERT(!xmb_chunk_is_live(&chunks[i]));
		region = cache->frames[--top];
		gen = xmb_frame_word_gen(atomic_load_explicit(
			&words[region], memory_order_relaxed));
		atomic_store_explicit(&words[region], app | gen << 16,
				      memory_order_relaxed);
		xmb_chunk_set(&chunks[i], 0, len, region, gen, dom,
			      XMB_CHUNK_EXCL);
	}
	cache->cnt = top;
	cache->app_cnt += cnt;
}

int xmb_chunk_alloc_bulk(struct xmb_cache *cache, struct xmb_chunk *chunks,
			 uint32_t cnt)
{
	if (cache->cnt < cnt)
		xmb_cache_fetch(cache, cnt, false);
	if (XMB_LIKELY(cache->cnt >= cnt)) {
		take_frames(cache, chunks, cnt);
		return 0;
	}
	/* More than a cache holds, or than there are. */
	for (uint32_t i = 0; i < cnt; i++) {
		if (XMB_LIKELY(xmb_chunk_alloc(cache, &chunks[i]) == 0))
			continue;
		/* Backwards, so that the cache's order is what it was. */
		while (i-- > 0)
			xmb_chunk_release(&chunks[i], cache);
		return -ENOBUFS;
	}
	return 0;
}

void xmb_chunk_release_bulk(struct xmb_chunk *chunks, uint32_t cnt,
			    struct xmb_cache *cache)
{
	struct xmb_bulk bulk = xmb_bulk_begin(cache);

	for (uint32_t i = 0; i < cnt; i++)
		xmb_bulk_release(&bulk, &chunks[i]);
	xmb_bulk_end(&bulk);
}

static bool slot_check(const struct xmb_chunk *chunk)
{
	const struct xmb_tracker *t = xmb_chunk_tracker(chunk);
	uint64_t state;

	if (chunk->slot >= XMB_TRACKER_SLOTS)
		return false;
	state = atomic_load_explicit(&t->state, memory_order_relaxed);
	return xmb_tracker_owner(state, chunk->slot) == XMB_OWNER_SELF &&
	       atomic_load_explicit(&t->slot[chunk->slot],
				    memory_order_relaxed) ==
		       xmb_chunk_word(chunk);
}

static bool excl_check(const struct xmb_chunk *chunk, uint32_t word)
{
	const struct xmb_tracker *t = xmb_chunk_tracker(chunk);
	uint64_t state;

	state = atomic_load_explicit(&t->state, memory_order_relaxed);
	return !(state & XMB_TRACKER_OWNERS) &&
	       xmb_frame_word_gen(word) == chunk->slot;
}

bool xmb_chunk_check(const struct xmb_chunk *chunk)
{
	const struct xmb_domain *domain = xmb_chunk_domain(chunk);
	uint32_t region_len, word;

	if (!xmb_chunk_is_live(chunk))
		return !(chunk->region | chunk->off | chunk->len | chunk->slot |
			 chunk->flags);
	if (!domain || chunk->region >= domain->region_cnt ||
	    (chunk->flags &
	     ~(XMB_CHUNK_EXCL | XMB_CHUNK_RDONLY | XMB_CHUNK_END)) ||
	    (xmb_chunk_is_excl(chunk) && xmb_chunk_is_rdonly(chunk)))
		return false;
	region_len = xmb_domain_region_len(domain, chunk->region);
	if (chunk->off > region_len || chunk->len > region_len - chunk->off)
		return false;
	word = xmb_frame_load(domain, chunk->region);
	if (xmb_frame_word_state(word) != XMB_FRAME_APP)
		return false;
	return xmb_chunk_is_excl(chunk) ? excl_check(chunk, word)
					: slot_check(chunk);
}
