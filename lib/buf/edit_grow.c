/* SPDX-License-Identifier: BSD-2-Clause */
#include "buf/edit_priv.h"
#include "buf/tracker_priv.h"

#include <string.h>

/*
 * Bytes of the region that a claim before, or behind, the chunk would get now.
 * A neighbour that is just trying a claim shows more than it has: then this is
 * less than could be had, and the neighbour is refused for its part.
 */
static uint32_t claimable(const struct xmb_chunk *chunk, bool is_front)
{
	uint32_t begin = 0, end = chunk->off + chunk->len;
	uint32_t limit =
		xmb_domain_region_len(xmb_chunk_domain(chunk), chunk->region);
	const struct xmb_tracker *t = xmb_chunk_tracker(chunk);
	uint32_t start, stop;
	uint64_t state;

	if (xmb_chunk_is_rdonly(chunk))
		return 0;
	state = atomic_load_explicit(&t->state, memory_order_relaxed);
	for (uint32_t k = 0; k < XMB_TRACKER_SLOTS; k++) {
		uint32_t word =
			atomic_load_explicit(&t->slot[k], memory_order_relaxed);

		if (xmb_chunk_is_excl(chunk) || k == chunk->slot ||
		    xmb_tracker_owner(state, k) == 0 || word == XMB_SLOT_EMPTY)
			continue;
		/* An empty one at the edge is in the way, inside it is not. */
		start = xmb_slot_start(word);
		stop = xmb_slot_end(word);
		if (start < chunk->off ||
		    (start == stop && start == chunk->off))
			begin = xmb_max_u32(begin, stop);
		if (stop > end || (start == stop && start == end))
			limit = xmb_min_u32(limit, start);
	}
	if (is_front)
		return begin < chunk->off ? chunk->off - begin : 0;
	return limit > end ? limit - end : 0;
}

/*
 * Fresh frames for n bytes beside mb.  In front they are filled from their
 * end: all but the first are full.
 */
static int alloc_beside(const struct xmb_multibuf *mb, size_t n, bool is_front,
			struct xmb_multibuf *fresh, struct xmb_cache *cache)
{
	size_t frame_len = cache->pool->domain.region_len, cnt;
	int rc;

	if (n == 0)
		return 0;
	cnt = (n - 1) / frame_len + 1;
	if (cnt > (size_t)XMB_MULTIBUF_CNT_MAX - mb->cnt)
		return -ENOSPC;
	rc = xmb_multibuf_alloc(cache, is_front ? cnt * frame_len : n, 0,
				fresh);
	if (rc == 0 && is_front)
		xmb_multibuf_discard_prefix(fresh, cnt * frame_len - n, cache);
	return rc;
}

/* What was claimed last is given up again. */
static void unclaim(struct xmb_multibuf *mb, uint32_t n, bool is_front)
{
	struct xmb_chunk *last;

	if (n == 0)
		return;
	if (is_front) {
		xmb_chunk_discard_prefix(&mb->c[0], n);
	} else {
		last = xmb_multibuf_last(mb);
		xmb_chunk_truncate(last, last->len - n);
	}
	mb->len -= n;
}

/* Put fresh in front, or behind, where it takes over the end of a fragment. */
static int attach(struct xmb_multibuf *mb, struct xmb_multibuf *fresh,
		  bool is_front, struct xmb_cache *cache)
{
	uint32_t cnt = mb->cnt;
	struct xmb_chunk *old;
	int rc;

	if (is_front)
		return xmb_multibuf_prepend(mb, fresh, cache);
	rc = xmb_multibuf_append(mb, fresh, cache);
	if (rc < 0 || cnt == 0)
		return rc;
	old = xmb_multibuf_chunk(mb, cnt - 1);
	if (xmb_chunk_is_end(old)) {
		old->flags &= (uint8_t)~XMB_CHUNK_END;
		xmb_multibuf_last(mb)->flags |= XMB_CHUNK_END;
	}
	return 0;
}

static int grow(struct xmb_multibuf *mb, size_t n, bool is_front,
		struct xmb_cache *cache)
{
	struct xmb_multibuf fresh = { 0 };
	uint32_t own = 0;
	int rc;

	if (mb->cnt > 0)
		own = claimable(is_front ? &mb->c[0] : xmb_multibuf_last(mb),
				is_front);
	if (own > n)
		own = (uint32_t)n;
	rc = alloc_beside(mb, n - own, is_front, &fresh, cache);
	if (rc < 0)
		return rc;
	rc = is_front ? xmb_multibuf_claim_prefix(mb, own)
		      : xmb_multibuf_claim_suffix(mb, own);
	if (rc < 0) {
		/* A neighbour came first: do without the region. */
		xmb_multibuf_release(&fresh, cache);
		own = 0;
		rc = alloc_beside(mb, n, is_front, &fresh, cache);
		if (rc < 0)
			return rc;
	}
	if (fresh.cnt > 0)
		rc = attach(mb, &fresh, is_front, cache);
	if (rc < 0) {
		unclaim(mb, own, is_front);
		xmb_multibuf_release(&fresh, cache);
	}
	xmb_multibuf_paranoid(mb);
	return rc;
}

int xmb_multibuf_grow_prefix(struct xmb_multibuf *mb, size_t n,
			     struct xmb_cache *cache)
{
	return grow(mb, n, true, cache);
}

int xmb_multibuf_grow_suffix(struct xmb_multibuf *mb, size_t n,
			     struct xmb_cache *cache)
{
	return grow(mb, n, false, cache);
}

/* Copy what is in the chunk from off on; the first frame's bytes begin aligned,
 * at an address that each frame has, as it is no shorter than align. */
static int copy_aligned(const struct xmb_chunk *chunk, uint32_t off,
			uint32_t align, struct xmb_multibuf *copy,
			struct xmb_cache *cache)
{
	uint32_t len = chunk->len - off, skip, here;
	struct xmb_chunk first = { 0 };
	int rc = xmb_chunk_alloc(cache, &first);

	if (rc < 0)
		return rc;
	skip = -(uint32_t)(uintptr_t)xmb_chunk_data(&first) & (align - 1);
	here = xmb_min_u32(first.len - skip, len);
	xmb_chunk_slice(&first, skip, skip + here);
	memcpy(xmb_chunk_data(&first), xmb_chunk_data(chunk) + off, here);
	rc = xmb_multibuf_copy_part(chunk, off + here, len - here, copy, cache);
	if (rc == 0)
		rc = xmb_multibuf_push_front(copy, &first, cache);
	if (rc < 0) {
		xmb_multibuf_release(copy, cache);
		xmb_chunk_release(&first, cache);
		return rc;
	}
	xmb_multibuf_last(copy)->flags |= chunk->flags & XMB_CHUNK_END;
	return 0;
}

int xmb_multibuf_align(struct xmb_multibuf *mb, size_t at, uint32_t align,
		       struct xmb_cache *cache)
{
	struct xmb_multibuf copy = { 0 }, none = { 0 };
	struct xmb_multibuf_index index;
	struct xmb_chunk *chunk, old = { 0 };
	uint32_t before, n;
	int rc;

	if (!xmb_is_pow2(align) || align > XMB_ALIGN_MAX)
		return -EINVAL;
	rc = xmb_multibuf_index_at(mb, at, &index);
	if (rc < 0 || at == mb->len ||
	    ((uintptr_t)xmb_multibuf_at(mb, index) & (align - 1)) == 0)
		return rc;
	if (align > cache->pool->domain.region_len)
		return -EMSGSIZE;
	chunk = xmb_multibuf_chunk(mb, index.chunk);
	n = chunk->len - index.byte;
	rc = copy_aligned(chunk, index.byte, align, &copy, cache);
	if (rc < 0)
		return rc;
	rc = xmb_multibuf_splice(
		mb, xmb_multibuf_seek_chunk(mb, index.chunk + 1, &before),
		&copy, &none, xmb_multibuf_blocks_to_put(copy.cnt), cache);
	if (rc < 0) {
		xmb_multibuf_release(&copy, cache);
		return rc;
	}
	chunk = xmb_multibuf_chunk(mb, index.chunk);
	xmb_chunk_keep_head(chunk, index.byte);
	mb->len -= n;
	if (index.byte == 0) {
		xmb_multibuf_take_chunk(mb, index.chunk, &old, cache);
		xmb_chunk_release(&old, cache);
	}
	xmb_multibuf_count_copy(cache, n);
	xmb_multibuf_paranoid(mb);
	return 0;
}

size_t xmb_multibuf_copy_from_and_truncate(struct xmb_multibuf *mb, size_t off,
					   const void *src, size_t n,
					   struct xmb_cache *cache)
{
	size_t done = xmb_multibuf_copy_from(mb, off, src, n);

	if (done == n)
		xmb_multibuf_truncate(mb, off + n, cache);
	return done;
}

int xmb_multibuf_reserve(const struct xmb_multibuf *mb, uint32_t n,
			 struct xmb_cache *cache)
{
	uint32_t need = n;

	/* A call may put a chunk into another that it cuts. */
	if (n > XMB_MULTIBUF_CNT_MAX || mb->cnt + 2 * n > XMB_MULTIBUF_CNT_MAX)
		return -ENOSPC;
	/* The first call moves all to blocks of the cache's pool. */
	if (n > 0 && xmb_multibuf_is_spilt(mb) &&
	    mb->spill_dom != cache->pool->domain.id)
		need += xmb_multibuf_blocks_for(mb->cnt + 2);
	if (need > XMB_MULTIBUF_RESERVE_MAX)
		return -EMSGSIZE;
	return xmb_multibuf_stock(cache, need);
}
