/* SPDX-License-Identifier: BSD-2-Clause */
#include "view/flat.h"

#include "view/stream.h"

static void count_copy(struct xmb_cache *cache, size_t n)
{
	xmb_counter_add(&cache->copies, 1);
	xmb_counter_add(&cache->copied_bytes, n);
}

static bool is_end(const struct xmb_chunk *chunk)
{
	return chunk->flags & XMB_CHUNK_END;
}

static void set_end(struct xmb_chunk *chunk, bool end)
{
	unsigned int others = chunk->flags & ~(unsigned int)XMB_CHUNK_END;

	chunk->flags = (uint8_t)(others | (end ? XMB_CHUNK_END : 0));
}

bool xmb_flat_is_contiguous(const struct xmb_multibuf *mb, size_t off, size_t n)
{
	struct xmb_multibuf_iter iter;
	const struct xmb_chunk *chunk = xmb_multibuf_first(mb, &iter);

	if (off > mb->len || n > mb->len - off)
		return false;
	if (n == 0)
		return true;
	for (; off >= chunk->len; chunk = xmb_multibuf_next(&iter))
		off -= chunk->len;
	return n <= chunk->len - off;
}

/* The chunks of no bytes before the first byte; all of them, if there is none.
 */
static uint32_t leading_cnt(const struct xmb_multibuf *mb)
{
	struct xmb_multibuf_iter iter;
	const struct xmb_chunk *chunk = xmb_multibuf_first(mb, &iter);
	uint32_t cnt = 0;

	for (; chunk && chunk->len == 0; chunk = xmb_multibuf_next(&iter))
		cnt++;
	return cnt;
}

static void release_chunk(struct xmb_multibuf *mb, uint32_t idx,
			  struct xmb_cache *cache)
{
	struct xmb_chunk chunk = { 0 };

	xmb_multibuf_take_chunk(mb, idx, &chunk, cache);
	xmb_chunk_release(&chunk, cache);
}

/*
 * Release n bytes from the start of the chunk at idx on.  True if they end
 * where a fragment ends.
 */
static bool discard_from(struct xmb_multibuf *mb, uint32_t idx, size_t n,
			 struct xmb_cache *cache)
{
	struct xmb_chunk *chunk;
	bool end = false;

	while (n > 0) {
		chunk = xmb_multibuf_chunk(mb, idx);
		if (n < chunk->len) {
			xmb_chunk_discard_prefix(chunk, n);
			mb->len -= (uint32_t)n;
			return false;
		}
		n -= chunk->len;
		end = is_end(chunk);
		release_chunk(mb, idx, cache);
	}
	return end;
}

/*
 * How many chunks from the one at idx on are parts of one region that follow
 * one another there, and have the n bytes: they merge without a copy.  0: they
 * do not.
 */
static uint32_t mergeable_cnt(const struct xmb_multibuf *mb, uint32_t idx,
			      size_t n)
{
	const struct xmb_chunk *chunk = xmb_multibuf_chunk(mb, idx);
	uint32_t end = chunk->off, cnt = 0;
	uint32_t region = chunk->region;
	uint8_t dom = chunk->dom;

	for (;; chunk = xmb_multibuf_chunk(mb, idx + cnt)) {
		if (chunk->dom != dom || chunk->region != region ||
		    chunk->off != end || xmb_chunk_is_rdonly(chunk))
			return 0;
		end += chunk->len;
		cnt++;
		if (n <= chunk->len)
			return cnt;
		n -= chunk->len;
	}
}

/* Merging keeps the boundary of the last one, if it ends a fragment. */
static void merge(struct xmb_multibuf *mb, uint32_t idx, uint32_t cnt,
		  struct xmb_cache *cache)
{
	struct xmb_chunk next = { 0 };
	uint32_t len;
	int rc;

	while (--cnt > 0) {
		xmb_multibuf_take_chunk(mb, idx + 1, &next, cache);
		len = next.len;
		rc = xmb_chunk_merge(xmb_multibuf_chunk(mb, idx), &next);
		XMB_ASSERT(rc == 0);
		mb->len += len;
	}
}

/* Copy what is behind the first chunk to the room behind it. */
static int fill_up(struct xmb_multibuf *mb, struct xmb_chunk *first, size_t n,
		   struct xmb_cache *cache)
{
	uint32_t len = first->len, more = (uint32_t)n - len;
	int rc = xmb_chunk_claim_suffix(first, more);

	if (rc < 0)
		return rc;
	mb->len += more;
	xmb_multibuf_copy_to(mb, n, xmb_chunk_data(first) + len, more);
	count_copy(cache, more);
	return 0;
}

/* Put a fresh frame with the first n bytes in the place of the first chunk. */
static int replace(struct xmb_multibuf *mb, struct xmb_chunk *first, size_t n,
		   uint32_t headroom, struct xmb_cache *cache)
{
	uint32_t region_len = cache->pool->domain.region_len;
	struct xmb_chunk fresh = { 0 }, old = *first;
	int rc;

	if (headroom > region_len || n > region_len - headroom)
		return -EMSGSIZE;
	rc = xmb_chunk_alloc(cache, &fresh);
	if (rc < 0)
		return rc;
	xmb_chunk_slice(&fresh, headroom, headroom + n);
	xmb_multibuf_copy_to(mb, 0, xmb_chunk_data(&fresh), n);
	count_copy(cache, n);
	*first = fresh;
	mb->len += (uint32_t)n - old.len;
	xmb_chunk_release(&old, cache);
	return 0;
}

/*
 * The first chunk gets its bytes in place, and only what has them twice then
 * is taken out: no block is needed, and nothing can fail behind the frame.
 */
int xmb_flat_pullup(struct xmb_multibuf *mb, size_t n, uint32_t headroom,
		    struct xmb_cache *cache)
{
	uint32_t idx, cnt, len;
	struct xmb_chunk *first;
	bool end;
	int rc = 0;

	if (n > mb->len)
		return -ERANGE;
	if (xmb_flat_is_contiguous(mb, 0, n))
		return 0;
	idx = leading_cnt(mb);
	cnt = mergeable_cnt(mb, idx, n);
	if (cnt > 0) {
		merge(mb, idx, cnt, cache);
	} else {
		first = xmb_multibuf_chunk(mb, idx);
		len = first->len;
		if (fill_up(mb, first, n, cache) < 0)
			rc = replace(mb, first, n, headroom, cache);
		if (rc < 0)
			return rc;
		end = discard_from(mb, idx + 1, n - len, cache);
		set_end(xmb_multibuf_chunk(mb, idx), end);
	}
	while (idx-- > 0)
		release_chunk(mb, 0, cache);
	return 0;
}

/* Does a fragment end behind the last byte, be it in a chunk of no bytes? */
static bool ends_fragment(const struct xmb_multibuf *mb)
{
	struct xmb_multibuf_iter iter;
	const struct xmb_chunk *chunk;
	bool end = false;

	for (chunk = xmb_multibuf_first(mb, &iter); chunk;
	     chunk = xmb_multibuf_next(&iter))
		end = is_end(chunk) || (end && chunk->len == 0);
	return end;
}

int xmb_flat_linearize(struct xmb_multibuf *mb, uint32_t headroom,
		       struct xmb_cache *cache)
{
	struct xmb_multibuf rest = { 0 };
	uint32_t idx;
	bool end;
	int rc = xmb_flat_pullup(mb, mb->len, headroom, cache);

	if (rc < 0 || mb->cnt <= 1)
		return rc;
	end = ends_fragment(mb);
	idx = mb->len > 0 ? leading_cnt(mb) : 0;
	xmb_multibuf_split_at_chunk(mb, idx + 1, &rest, cache);
	xmb_multibuf_release(&rest, cache);
	while (idx-- > 0)
		release_chunk(mb, 0, cache);
	set_end(&mb->c[0], end);
	return 0;
}

/* The frames that hold the bytes; more than a multibuf has: too many. */
static size_t frames_for(const struct xmb_multibuf *mb, uint32_t headroom,
			 uint32_t region_len)
{
	uint32_t room = region_len - headroom;

	if (mb->len <= room)
		return 1;
	return 1 + ((size_t)mb->len - room - 1) / region_len + 1;
}

static bool is_of_pool(const struct xmb_multibuf *mb,
		       const struct xmb_pool *pool)
{
	struct xmb_multibuf_iter iter;
	const struct xmb_chunk *chunk = xmb_multibuf_first(mb, &iter);

	while (chunk && chunk->dom == pool->domain.id)
		chunk = xmb_multibuf_next(&iter);
	return !chunk;
}

static int alloc_packed(struct xmb_cache *cache, size_t len, uint32_t headroom,
			struct xmb_multibuf *made)
{
	size_t room = cache->pool->domain.region_len - headroom;
	struct xmb_multibuf rest = { 0 };
	int rc;

	rc = xmb_multibuf_alloc(cache, len < room ? len : room, headroom, made);
	if (rc < 0 || len <= room)
		return rc;
	rc = xmb_multibuf_alloc(cache, len - room, 0, &rest);
	if (rc == 0)
		rc = xmb_multibuf_append(made, &rest, cache);
	if (rc < 0) {
		xmb_multibuf_release(&rest, cache);
		xmb_multibuf_release(made, cache);
	}
	return rc;
}

int xmb_flat_gather(struct xmb_multibuf *mb, uint32_t headroom,
		    struct xmb_cache *cache)
{
	uint32_t region_len = cache->pool->domain.region_len;
	struct xmb_multibuf made = { 0 };
	struct xmb_multibuf_iter iter;
	struct xmb_chunk *chunk;
	struct xmb_reader reader;
	size_t cnt;
	int rc;

	if (headroom >= region_len)
		return -EMSGSIZE;
	cnt = frames_for(mb, headroom, region_len);
	if (mb->len == 0 || (mb->cnt <= cnt && is_of_pool(mb, cache->pool)))
		return 0;
	if (cnt > UINT16_MAX)
		return -EMSGSIZE;
	rc = alloc_packed(cache, mb->len, headroom, &made);
	if (rc < 0)
		return rc;
	xmb_reader_init(&reader, mb);
	for (chunk = xmb_multibuf_first(&made, &iter); chunk;
	     chunk = xmb_multibuf_next(&iter))
		xmb_reader_read(&reader, xmb_chunk_data(chunk), chunk->len);
	count_copy(cache, mb->len);
	set_end(xmb_multibuf_chunk(&made, made.cnt - 1u), ends_fragment(mb));
	made.user = mb->user;
	xmb_multibuf_release(mb, cache);
	*mb = made;
	return 0;
}
