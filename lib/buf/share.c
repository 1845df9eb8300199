/* SPDX-License-Identifier: BSD-2-Clause */
#include "buf/edit_priv.h"
#include "buf/tracker_priv.h"

static int share_rest(struct xmb_multibuf *mb, struct xmb_multibuf *clone,
		      struct xmb_cache *cache) __attribute__((noinline));

/* A multibuf that is made chunk by chunk, with blocks of the cache's pool. */
struct maker {
	struct xmb_multibuf mb;
	struct xmb_spill *last;
	struct xmb_cache *cache;
};

static int maker_add(struct maker *maker, const struct xmb_chunk *chunk)
{
	struct xmb_multibuf *mb = &maker->mb, one = { .cnt = 1 };
	int rc;

	one.inline_cnt = 1;
	one.len = chunk->len;
	one.c[0] = *chunk;
	rc = xmb_multibuf_join(mb, maker->last, &one, maker->cache);
	if (rc < 0 || !xmb_multibuf_is_spilt(mb))
		return rc;
	if (!maker->last)
		maker->last = xmb_multibuf_block(mb, mb->spill);
	else if (maker->last->next != XMB_SPILL_NONE)
		maker->last = xmb_multibuf_block(mb, maker->last->next);
	return 0;
}

/* The bytes of a chunk that cannot be shared; a frame even for none of them,
 * which may be the place where a fragment ends. */
static int maker_copy(struct maker *maker, const struct xmb_chunk *chunk)
{
	uint32_t off = 0, n;

	do {
		struct xmb_chunk fresh = { 0 };
		int rc = xmb_chunk_alloc(maker->cache, &fresh);

		if (rc < 0)
			return rc;
		n = xmb_min_u32(chunk->len - off, fresh.len);
		xmb_chunk_truncate(&fresh, n);
		if (n > 0)
			__builtin_memcpy(xmb_chunk_data(&fresh),
					 xmb_chunk_data(chunk) + off, n);
		off += n;
		if (off == chunk->len)
			fresh.flags |= chunk->flags & XMB_CHUNK_END;
		rc = maker_add(maker, &fresh);
		if (rc < 0) {
			xmb_chunk_release(&fresh, maker->cache);
			return rc;
		}
	} while (off < chunk->len);
	return 0;
}

/*
 * Share by a copy of the handle, so that the chunk itself is as it was if this
 * is undone.  For an exclusive one only the place is kept: sharing it changes
 * its handle, but cannot fail, and is left for the end.
 */
static int maker_share(struct maker *maker, const struct xmb_chunk *chunk)
{
	struct xmb_chunk handle = *chunk, clone = { 0 };
	int rc;

	if (!xmb_chunk_is_excl(chunk)) {
		rc = xmb_chunk_share(&handle, &clone);
		if (rc < 0)
			return maker_copy(maker, chunk);
	}
	rc = maker_add(maker, &clone);
	if (rc < 0)
		xmb_chunk_release(&clone, maker->cache);
	return rc;
}

/* Nothing can fail any more: share what is exclusive, mark the rest. */
static void finish_share(struct xmb_multibuf *mb, struct xmb_multibuf *clone,
			 struct xmb_cache *cache)
{
	struct xmb_multibuf_iter from, to;
	struct xmb_chunk *chunk = xmb_multibuf_first(mb, &from);
	struct xmb_chunk *twin = xmb_multibuf_first(clone, &to);
	uint32_t left;
	int rc;

	for (; chunk; chunk = xmb_multibuf_next(&from)) {
		if (xmb_chunk_is_excl(chunk)) {
			rc = xmb_chunk_share(chunk, twin);
			XMB_ASSERT(rc == 0);
		} else if (twin->dom == chunk->dom &&
			   twin->region == chunk->region) {
			chunk->flags |= XMB_CHUNK_RDONLY;
		} else {
			for (left = chunk->len - twin->len; left > 0;
			     left -= twin->len)
				twin = xmb_multibuf_next(&to);
			xmb_multibuf_count_copy(cache, chunk->len);
		}
		twin = xmb_multibuf_next(&to);
	}
}

static bool is_excl(const struct xmb_multibuf *mb)
{
	struct xmb_multibuf_iter iter;
	struct xmb_chunk *chunk = xmb_multibuf_first(mb, &iter);

	while (chunk && xmb_chunk_is_excl(chunk))
		chunk = xmb_multibuf_next(&iter);
	return !chunk;
}

/* Each chunk can be shared for sure, so that only blocks can be short, and
 * each clone is made where it stays. */
static int share_excl(struct xmb_multibuf *mb, struct xmb_multibuf *clone,
		      struct xmb_cache *cache)
{
	struct xmb_multibuf made = { .len = mb->len, .user = mb->user };
	struct xmb_spill *block = NULL;
	struct xmb_multibuf_iter iter;
	struct xmb_chunk *chunk, *twin;

	if (mb->cnt > XMB_MULTIBUF_INLINE) {
		made.spill = xmb_multibuf_take_blocks(
			cache, xmb_multibuf_blocks_for(mb->cnt));
		if (made.spill == XMB_SPILL_NONE)
			return -ENOBUFS;
		made.spill_dom = cache->pool->domain.id;
	}
	for (chunk = xmb_multibuf_first(mb, &iter); chunk;
	     chunk = xmb_multibuf_next(&iter)) {
		if (made.inline_cnt < XMB_MULTIBUF_INLINE) {
			twin = &made.c[made.inline_cnt++];
		} else {
			if (!block)
				block = xmb_multibuf_block(&made, made.spill);
			else if (block->cnt == XMB_MULTIBUF_INLINE)
				block = xmb_multibuf_block(&made, block->next);
			twin = &block->c[block->cnt++];
		}
		xmb_chunk_share_excl(xmb_chunk_domain_near(chunk, cache), chunk,
				     twin);
		made.cnt++;
	}
	*clone = made;
	xmb_multibuf_paranoid(mb);
	xmb_multibuf_paranoid(clone);
	return 0;
}

static int share_rest(struct xmb_multibuf *mb, struct xmb_multibuf *clone,
		      struct xmb_cache *cache)
{
	struct maker maker = { .cache = cache };
	struct xmb_multibuf_iter iter;
	struct xmb_chunk *chunk;
	int rc = 0;

	if (XMB_LIKELY(is_excl(mb)))
		return share_excl(mb, clone, cache);
	chunk = xmb_multibuf_first(mb, &iter);
	for (; chunk && rc == 0; chunk = xmb_multibuf_next(&iter))
		rc = maker_share(&maker, chunk);
	if (rc < 0) {
		xmb_multibuf_release(&maker.mb, cache);
		return rc;
	}
	maker.mb.len = mb->len;
	maker.mb.user = mb->user;
	finish_share(mb, &maker.mb, cache);
	*clone = maker.mb;
	xmb_multibuf_paranoid(mb);
	xmb_multibuf_paranoid(clone);
	return 0;
}

/* One exclusive chunk can be shared for sure: the clone is written first, so
 * that nothing has to be kept over the call. */
int xmb_multibuf_share(struct xmb_multibuf *mb, struct xmb_multibuf *clone,
		       struct xmb_cache *cache)
{
	XMB_ASSERT(clone->cnt == 0 && clone != mb &&
		   !xmb_chunk_is_live(&clone->c[0]));
	if (XMB_UNLIKELY(mb->shape != XMB_MULTIBUF_SHAPE(1) ||
			 !xmb_chunk_is_excl(&mb->c[0])))
		return share_rest(mb, clone, cache);
	clone->len = mb->len;
	clone->shape = XMB_MULTIBUF_SHAPE(1);
	clone->user = mb->user;
	xmb_chunk_share_excl(xmb_chunk_domain_near(&mb->c[0], cache), &mb->c[0],
			     &clone->c[0]);
	return 0;
}

/* Whether no other chunk is in the region of this one, which is not alone by
 * its flags. */
static bool is_only(const struct xmb_chunk *chunk)
{
	const struct xmb_tracker *t = xmb_chunk_tracker(chunk);
	uint64_t state = atomic_load_explicit(&t->state, memory_order_acquire);

	return xmb_tracker_is_only(state, chunk->slot);
}

/*
 * First ask of copies of the handles.  What was found stays true: nobody can
 * claim or share bytes that only this thread's chunk has.
 */
int xmb_multibuf_unshare(struct xmb_multibuf *mb)
{
	struct xmb_multibuf_iter iter;
	struct xmb_chunk *chunk;

	for (chunk = xmb_multibuf_first(mb, &iter); chunk;
	     chunk = xmb_multibuf_next(&iter)) {
		struct xmb_chunk handle = *chunk;
		int rc;

		if (!xmb_chunk_is_rdonly(chunk) || is_only(chunk))
			continue;
		rc = xmb_chunk_unshare(&handle);
		if (rc < 0)
			return rc;
		/* The others went just now, and the tracker is out of use. */
		if (xmb_chunk_is_excl(&handle))
			*chunk = handle;
	}
	for (chunk = xmb_multibuf_first(mb, &iter); chunk;
	     chunk = xmb_multibuf_next(&iter)) {
		if (xmb_chunk_is_rdonly(chunk) && !xmb_slot_try_excl(chunk))
			chunk->flags &= (uint8_t)~XMB_CHUNK_RDONLY;
	}
	xmb_multibuf_paranoid(mb);
	return 0;
}

bool xmb_multibuf_is_writable_at(const struct xmb_multibuf *mb, size_t off,
				 size_t n)
{
	struct xmb_multibuf_iter iter;
	const struct xmb_chunk *chunk = xmb_multibuf_first(mb, &iter);

	for (; chunk && n > 0; chunk = xmb_multibuf_next(&iter)) {
		if (off >= chunk->len) {
			off -= chunk->len;
			continue;
		}
		if (xmb_chunk_is_rdonly(chunk))
			return false;
		n -= n < chunk->len - off ? n : chunk->len - off;
		off = 0;
	}
	return true;
}

bool xmb_multibuf_is_writable(const struct xmb_multibuf *mb)
{
	struct xmb_multibuf_iter iter;
	struct xmb_chunk *chunk = xmb_multibuf_first(mb, &iter);

	while (chunk && !xmb_chunk_is_rdonly(chunk))
		chunk = xmb_multibuf_next(&iter);
	return !chunk;
}
