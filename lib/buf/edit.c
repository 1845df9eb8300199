/* SPDX-License-Identifier: BSD-2-Clause */
#include "buf/edit_priv.h"

int xmb_multibuf_index_at(const struct xmb_multibuf *mb, size_t off,
			  struct xmb_multibuf_index *index)
{
	struct xmb_multibuf_iter iter;
	struct xmb_chunk *chunk;
	uint32_t k = 0;

	if (off > mb->len)
		return -ERANGE;
	if (off == mb->len) {
		*index = (struct xmb_multibuf_index){ .chunk = mb->cnt };
		return 0;
	}
	chunk = xmb_multibuf_first(mb, &iter);
	for (; off >= chunk->len; k++) {
		off -= chunk->len;
		chunk = xmb_multibuf_next(&iter);
	}
	*index = (struct xmb_multibuf_index){ k, (uint32_t)off };
	return 0;
}

uint8_t *xmb_multibuf_at(const struct xmb_multibuf *mb,
			 struct xmb_multibuf_index index)
{
	const struct xmb_chunk *chunk;

	if (index.chunk >= mb->cnt)
		return NULL;
	chunk = xmb_multibuf_chunk(mb, index.chunk);
	if (index.byte >= chunk->len)
		return NULL;
	return xmb_chunk_data(chunk) + index.byte;
}

struct xmb_multibuf_spot xmb_multibuf_seek_chunk(const struct xmb_multibuf *mb,
						 uint32_t idx, uint32_t *len)
{
	struct xmb_multibuf_spot spot = { 0 };
	const struct xmb_chunk *c = mb->c;
	uint32_t spill = mb->spill;

	*len = 0;
	for (uint32_t cnt = mb->inline_cnt;; cnt = spot.block->cnt) {
		uint32_t here = xmb_min_u32(cnt, idx - spot.before_cnt);

		for (spot.idx = 0; spot.idx < here; spot.idx++)
			*len += c[spot.idx].len;
		if (spot.before_cnt + here == idx)
			return spot;
		spot.before_cnt += cnt;
		spot.block = xmb_multibuf_block(mb, spill);
		spill = spot.block->next;
		c = spot.block->c;
	}
}

int xmb_multibuf_split_at_chunk(struct xmb_multibuf *mb, uint32_t idx,
				struct xmb_multibuf *tail,
				struct xmb_cache *cache)
{
	struct xmb_multibuf_spot spot;
	uint32_t len;

	XMB_ASSERT(tail->cnt == 0 && tail != mb);
	if (idx > mb->cnt)
		return -ERANGE;
	spot = xmb_multibuf_seek_chunk(mb, idx, &len);
	xmb_multibuf_cut(mb, &spot, len, tail);
	xmb_multibuf_settle(tail, cache);
	xmb_multibuf_paranoid(mb);
	xmb_multibuf_paranoid(tail);
	return 0;
}

/* The cut leaves at most two chunks to be moved, which is why one block is
 * enough for x and y of two chunks together. */
int xmb_multibuf_splice(struct xmb_multibuf *mb, struct xmb_multibuf_spot spot,
			struct xmb_multibuf *x, struct xmb_multibuf *y,
			uint32_t need, struct xmb_cache *cache)
{
	struct xmb_multibuf old = *mb, rest;
	struct xmb_multibuf *parts[] = { mb, x, y, &rest };
	struct xmb_spill *block = spot.block, old_block;
	int rc;

	if (block)
		old_block = *block;
	xmb_multibuf_cut(mb, &spot, 0, &rest);
	rc = xmb_multibuf_assemble(parts, 4, block, need, cache);
	if (rc < 0) {
		*mb = old;
		if (block)
			*block = old_block;
	}
	return rc;
}

int xmb_multibuf_insert_chunk(struct xmb_multibuf *mb, uint32_t idx,
			      struct xmb_chunk *chunk, struct xmb_cache *cache)
{
	struct xmb_multibuf one = xmb_multibuf_of_chunk(chunk), none = { 0 };
	uint32_t len;
	int rc;

	XMB_ASSERT(xmb_chunk_is_live(chunk));
	if (idx > mb->cnt)
		return -ERANGE;
	if (idx == 0)
		return xmb_multibuf_push_front(mb, chunk, cache);
	if (idx == mb->cnt)
		return xmb_multibuf_push_back(mb, chunk, cache);
	rc = xmb_multibuf_splice(mb, xmb_multibuf_seek_chunk(mb, idx, &len),
				 &one, &none, 1, cache);
	if (rc == 0)
		*chunk = (struct xmb_chunk){ 0 };
	xmb_multibuf_paranoid(mb);
	return rc;
}

/*
 * Insert where the region has no slot for the cut: the shorter part of the
 * chunk at spot is copied.  The chunk is trimmed last, as in split().
 */
static int insert_copying(struct xmb_multibuf *mb,
			  struct xmb_multibuf_spot spot,
			  struct xmb_multibuf *other, struct xmb_cache *cache)
{
	struct xmb_chunk *chunk =
		&xmb_multibuf_spot_chunks(mb, &spot)[spot.idx];
	uint32_t behind = chunk->len - spot.off;
	uint32_t k = spot.before_cnt + spot.idx;
	bool is_head = spot.off < behind;
	uint32_t n = is_head ? spot.off : behind;
	struct xmb_multibuf fresh = { 0 };
	int rc;

	rc = xmb_multibuf_copy_part(chunk, is_head ? 0 : spot.off, n, &fresh,
				    cache);
	if (rc < 0)
		return rc;
	if (is_head) {
		k += fresh.cnt + other->cnt;
		rc = xmb_multibuf_splice(mb, spot, &fresh, other, 3, cache);
	} else {
		spot.idx++;
		rc = xmb_multibuf_splice(mb, spot, other, &fresh, 3, cache);
	}
	if (rc < 0) {
		xmb_multibuf_release(&fresh, cache);
		return rc;
	}
	chunk = xmb_multibuf_chunk(mb, k);
	if (is_head)
		xmb_chunk_keep_tail(chunk, behind);
	else
		xmb_chunk_keep_head(chunk, spot.off);
	mb->len -= n;
	xmb_multibuf_count_copy(cache, n);
	return 0;
}

int xmb_multibuf_insert_inside(struct xmb_multibuf *mb,
			       struct xmb_multibuf_spot spot,
			       struct xmb_multibuf *other,
			       struct xmb_cache *cache)
{
	const struct xmb_multibuf *parts[] = { mb, other };
	struct xmb_chunk *chunk =
		&xmb_multibuf_spot_chunks(mb, &spot)[spot.idx];
	uint32_t k = spot.before_cnt + spot.idx,
		 need = xmb_multibuf_blocks_to_put(other->cnt);
	bool is_rdonly = xmb_chunk_is_rdonly(chunk);
	struct xmb_chunk tail = { 0 };
	struct xmb_multibuf part;
	int rc;

	/* Before the chunk is touched: a merge would undo the cut, but leave
	 * the region in another generation. */
	rc = xmb_multibuf_prepare(parts, 2, NULL, 1, need, cache);
	if (rc < 0)
		return rc;
	if (xmb_chunk_cut_tail(chunk, spot.off, &tail) < 0)
		return insert_copying(mb, spot, other, cache);
	part = xmb_multibuf_of_chunk(&tail);
	spot.idx++;
	rc = xmb_multibuf_splice(mb, spot, other, &part, need, cache);
	if (rc < 0) {
		xmb_chunk_join_tail(chunk, &tail, cache);
		return rc;
	}
	if (is_rdonly)
		xmb_chunk_keep_head(xmb_multibuf_chunk(mb, k), spot.off);
	mb->len -= tail.len;
	return 0;
}

int xmb_multibuf_insert(struct xmb_multibuf *mb, size_t at,
			struct xmb_multibuf *other, struct xmb_cache *cache)
{
	struct xmb_multibuf_spot spot;
	struct xmb_multibuf none = { 0 };
	int rc;

	if (mb == other)
		return -EINVAL;
	if (at > mb->len)
		return -ERANGE;
	if (at == mb->len || other->cnt == 0)
		return xmb_multibuf_append(mb, other, cache);
	if (at == 0)
		return xmb_multibuf_prepend(mb, other, cache);
	spot = xmb_multibuf_seek(mb, at);
	if (spot.off > 0)
		rc = xmb_multibuf_insert_inside(mb, spot, other, cache);
	else
		rc = xmb_multibuf_splice(mb, spot, other, &none,
					 xmb_multibuf_blocks_to_put(other->cnt),
					 cache);
	xmb_multibuf_paranoid(mb);
	return rc;
}
