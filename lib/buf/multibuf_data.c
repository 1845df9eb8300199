/* SPDX-License-Identifier: BSD-2-Clause */
#include "buf/bulk_priv.h"
#include "buf/multibuf_priv.h"

#include <string.h>

void xmb_multibuf_put_blocks(struct xmb_cache *cache, struct xmb_domain *domain,
			     uint32_t spill)
{
	uint32_t next;

	for (; spill != XMB_SPILL_NONE; spill = next) {
		next = domain->spills[spill].next;
		xmb_cache_spill_put(cache, domain, spill);
	}
}

uint32_t xmb_multibuf_take_blocks(struct xmb_cache *cache, uint32_t cnt)
{
	struct xmb_domain *domain = &cache->pool->domain;
	uint32_t first = XMB_SPILL_NONE, spill;

	while (cnt-- > 0) {
		spill = xmb_cache_spill_get(cache);
		if (spill == XMB_SPILL_NONE) {
			xmb_multibuf_put_blocks(cache, domain, first);
			return XMB_SPILL_NONE;
		}
		domain->spills[spill] = (struct xmb_spill){ .next = first };
		first = spill;
	}
	return first;
}

static int alloc_spilt(struct xmb_cache *cache, struct xmb_multibuf *mb,
		       uint32_t cnt)
{
	struct xmb_domain *domain = &cache->pool->domain;
	struct xmb_multibuf made = { .spill_dom = domain->id };
	uint32_t block_cnt = xmb_multibuf_blocks_for(cnt), spill, want;
	struct xmb_spill *block;

	made.spill = xmb_multibuf_take_blocks(cache, block_cnt);
	if (made.spill == XMB_SPILL_NONE)
		return -ENOBUFS;
	if (xmb_chunk_alloc_bulk(cache, made.c, XMB_MULTIBUF_INLINE) < 0)
		goto no_frames;
	made.cnt = made.inline_cnt = XMB_MULTIBUF_INLINE;
	for (spill = made.spill; made.cnt < cnt; spill = block->next) {
		block = &domain->spills[spill];
		want = xmb_min_u32(cnt - made.cnt, XMB_MULTIBUF_INLINE);
		if (xmb_chunk_alloc_bulk(cache, block->c, want) < 0)
			goto no_frames;
		block->cnt = (uint16_t)want;
		made.cnt = (uint16_t)(made.cnt + want);
	}
	*mb = made;
	return 0;

no_frames:
	/* The blocks without chunks are beyond what release would walk. */
	xmb_chunk_release_bulk(made.c, made.inline_cnt, cache);
	for (spill = made.spill; spill != XMB_SPILL_NONE; spill = block->next) {
		block = &domain->spills[spill];
		xmb_chunk_release_bulk(block->c, block->cnt, cache);
	}
	xmb_multibuf_put_blocks(cache, domain, made.spill);
	return -ENOBUFS;
}

int xmb_multibuf_alloc_rest(struct xmb_cache *cache, size_t len,
			    uint32_t headroom, struct xmb_multibuf *mb)
{
	uint32_t region_len = cache->pool->domain.region_len, user = mb->user;
	struct xmb_multibuf_iter iter;
	struct xmb_chunk *chunk;
	size_t cnt, left = len;
	int rc;

	XMB_ASSERT(mb->cnt == 0);
	if (len == 0)
		return 0;
	if (headroom >= region_len)
		return -EMSGSIZE;
	cnt = (len - 1) / (region_len - headroom) + 1;
	if (cnt > XMB_MULTIBUF_CNT_MAX)
		return -EMSGSIZE;
	if (cnt > XMB_MULTIBUF_INLINE) {
		rc = alloc_spilt(cache, mb, (uint32_t)cnt);
	} else {
		rc = xmb_chunk_alloc_bulk(cache, mb->c, (uint32_t)cnt);
		if (rc == 0)
			mb->cnt = mb->inline_cnt = (uint8_t)cnt;
	}
	if (rc < 0)
		return rc;
	mb->len = (uint32_t)len;
	mb->user = user;
	for (chunk = xmb_multibuf_first(mb, &iter); chunk;
	     chunk = xmb_multibuf_next(&iter)) {
		chunk->off = headroom;
		chunk->len = xmb_min_u32(region_len - headroom, (uint32_t)left);
		left -= chunk->len;
	}
	xmb_multibuf_paranoid(mb);
	return 0;
}

void xmb_multibuf_release_rest(struct xmb_multibuf *mb, struct xmb_cache *cache)
{
	struct xmb_domain *domain;
	uint32_t left = (uint32_t)mb->cnt - mb->inline_cnt;
	uint32_t spill = mb->spill, next;
	struct xmb_spill *block;

	for (uint32_t i = 0; i < mb->inline_cnt; i++)
		xmb_chunk_release(&mb->c[i], cache);
	domain = xmb_domain_table[mb->spill_dom];
	for (; left > 0; spill = next) {
		block = &domain->spills[spill];
		next = block->next;
		left -= block->cnt;
		xmb_chunk_release_bulk(block->c, block->cnt, cache);
		xmb_cache_spill_put(cache, domain, spill);
	}
	*mb = (struct xmb_multibuf){ 0 };
}

void xmb_multibuf_release_bulk(struct xmb_multibuf *mbs, uint32_t cnt,
			       struct xmb_cache *cache)
{
	struct xmb_bulk bulk = xmb_bulk_begin(cache);

	for (uint32_t i = 0; i < cnt; i++) {
		if (XMB_LIKELY(mbs[i].shape == XMB_MULTIBUF_SHAPE(1))) {
			xmb_bulk_release(&bulk, &mbs[i].c[0]);
			xmb_multibuf_forget(&mbs[i]);
			continue;
		}
		xmb_bulk_end(&bulk);
		xmb_multibuf_release_rest(&mbs[i], cache);
		bulk = xmb_bulk_begin(cache);
	}
	xmb_bulk_end(&bulk);
}

struct xmb_chunk *xmb_multibuf_chunk(const struct xmb_multibuf *mb,
				     uint32_t idx)
{
	const struct xmb_spill *block;
	uint32_t spill = mb->spill;

	XMB_ASSERT(idx < mb->cnt);
	if (idx < mb->inline_cnt)
		return (struct xmb_chunk *)&mb->c[idx];
	idx -= mb->inline_cnt;
	for (;;) {
		block = xmb_multibuf_block(mb, spill);
		if (idx < block->cnt)
			return (struct xmb_chunk *)&block->c[idx];
		idx -= block->cnt;
		spill = block->next;
	}
}

int xmb_multibuf_claim_rest(struct xmb_multibuf *mb, size_t n)
{
	int rc;

	if (mb->cnt == 0)
		return n == 0 ? 0 : -ERANGE;
	rc = xmb_chunk_claim_prefix(&mb->c[0], n);
	if (rc < 0)
		return rc;
	mb->len += (uint32_t)n;
	xmb_multibuf_paranoid(mb);
	return 0;
}

int xmb_multibuf_claim_suffix(struct xmb_multibuf *mb, size_t n)
{
	struct xmb_spill *last;
	struct xmb_chunk *chunk;
	int rc;

	if (mb->cnt == 0)
		return n == 0 ? 0 : -ERANGE;
	last = xmb_multibuf_last_block(mb);
	chunk = last ? &last->c[last->cnt - 1] : &mb->c[mb->inline_cnt - 1];
	rc = xmb_chunk_claim_suffix(chunk, n);
	if (rc < 0)
		return rc;
	mb->len += (uint32_t)n;
	xmb_multibuf_paranoid(mb);
	return 0;
}

/*
 * The chunk that byte *off of the packet lies in, *off then counts from its
 * start; NULL at the end of the data.  Chunks of no bytes are passed over.
 */
static struct xmb_chunk *seek(const struct xmb_multibuf *mb, size_t *off,
			      struct xmb_multibuf_iter *iter)
{
	struct xmb_chunk *chunk = xmb_multibuf_first(mb, iter);

	while (chunk && *off >= chunk->len) {
		*off -= chunk->len;
		chunk = xmb_multibuf_next(iter);
	}
	return chunk;
}

void *xmb_multibuf_get(const struct xmb_multibuf *mb, size_t off, size_t n,
		       void *tmp)
{
	struct xmb_multibuf_iter iter;
	struct xmb_chunk *chunk;
	size_t in_off = off;

	if (off > mb->len || n > mb->len - off)
		return NULL;
	chunk = seek(mb, &in_off, &iter);
	if (chunk && n <= chunk->len - in_off)
		return xmb_chunk_data(chunk) + in_off;
	xmb_multibuf_copy_to(mb, off, tmp, n);
	return tmp;
}

size_t xmb_multibuf_copy_to(const struct xmb_multibuf *mb, size_t off,
			    void *dst, size_t n)
{
	struct xmb_multibuf_iter iter;
	struct xmb_chunk *chunk = seek(mb, &off, &iter);
	uint8_t *to = dst;
	size_t done = 0, len;

	for (; chunk && done < n; chunk = xmb_multibuf_next(&iter)) {
		len = chunk->len - off;
		if (len > n - done)
			len = n - done;
		if (len)
			memcpy(to + done, xmb_chunk_data(chunk) + off, len);
		done += len;
		off = 0;
	}
	return done;
}

size_t xmb_multibuf_copy_from(struct xmb_multibuf *mb, size_t off,
			      const void *src, size_t n)
{
	struct xmb_multibuf_iter iter;
	struct xmb_chunk *chunk = seek(mb, &off, &iter);
	const uint8_t *from = src;
	size_t done = 0, len;

	for (; chunk && done < n; chunk = xmb_multibuf_next(&iter)) {
		len = chunk->len - off;
		if (len > n - done)
			len = n - done;
		if (len && xmb_chunk_is_rdonly(chunk))
			break;
		if (len)
			memcpy(xmb_chunk_data(chunk) + off, from + done, len);
		done += len;
		off = 0;
	}
	return done;
}

int xmb_multibuf_copy_part(const struct xmb_chunk *chunk, uint32_t from,
			   uint32_t n, struct xmb_multibuf *part,
			   struct xmb_cache *cache)
{
	int rc = xmb_multibuf_alloc(cache, n, 0, part);

	if (rc < 0 || n == 0)
		return rc;
	xmb_multibuf_copy_from(part, 0, xmb_chunk_data(chunk) + from, n);
	if (from + n == chunk->len)
		xmb_multibuf_last(part)->flags |= chunk->flags & XMB_CHUNK_END;
	return 0;
}

bool xmb_multibuf_has_end(const struct xmb_multibuf *mb)
{
	struct xmb_multibuf_iter iter;
	struct xmb_chunk *chunk = xmb_multibuf_first(mb, &iter);

	while (chunk && !xmb_chunk_is_end(chunk))
		chunk = xmb_multibuf_next(&iter);
	return chunk;
}

/* Add the lengths of cnt chunks; false if one is empty-handed or unsound. */
static bool check_chunks(const struct xmb_chunk *chunks, uint32_t cnt,
			 uint64_t *len)
{
	for (uint32_t i = 0; i < cnt; i++) {
		if (!xmb_chunk_is_live(&chunks[i]) ||
		    !xmb_chunk_check(&chunks[i]))
			return false;
		*len += chunks[i].len;
	}
	return true;
}

bool xmb_multibuf_check(const struct xmb_multibuf *mb)
{
	const struct xmb_domain *domain = xmb_domain_table[mb->spill_dom];
	const struct xmb_spill *block;
	uint32_t left, spill = mb->spill, spill_cnt;
	uint64_t len = 0;

	if (mb->inline_cnt > XMB_MULTIBUF_INLINE || mb->inline_cnt > mb->cnt ||
	    (mb->cnt > 0 && mb->inline_cnt == 0) ||
	    !check_chunks(mb->c, mb->inline_cnt, &len))
		return false;
	left = mb->cnt - mb->inline_cnt;
	if (left == 0)
		return len == mb->len;
	if (!domain || !domain->spills)
		return false;
	spill_cnt = ((const struct xmb_pool *)domain)->spill_cnt;
	/*
	 * Each block takes from left, so the walk ends even if the list has a
	 * loop; and a list that ends where the chunks end has none.
	 */
	while (left > 0) {
		if (spill >= spill_cnt)
			return false;
		block = &domain->spills[spill];
		if (block->cnt == 0 || block->cnt > XMB_MULTIBUF_INLINE ||
		    block->cnt > left ||
		    !check_chunks(block->c, block->cnt, &len))
			return false;
		left -= block->cnt;
		spill = block->next;
	}
	return spill == XMB_SPILL_NONE && len == mb->len;
}
