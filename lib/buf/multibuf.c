/* SPDX-License-Identifier: BSD-2-Clause */
#include "buf/multibuf_priv.h"

#include <string.h>

static void copy_chunks(struct xmb_chunk *dst, const struct xmb_chunk *src,
			uint32_t cnt)
{
	memmove(dst, src, cnt * sizeof(*dst));
}

/* Inline places that hold nothing are kept {0}: no second copy of a handle. */
static void clear_chunks(struct xmb_chunk *chunks, uint32_t cnt)
{
	memset(chunks, 0, cnt * sizeof(*chunks));
}

/* After chunks went from the front: restore that one is inline. */
static void settle(struct xmb_multibuf *mb, struct xmb_cache *cache)
{
	struct xmb_spill *block;
	uint32_t spill = mb->spill;

	if (mb->inline_cnt == 0 && mb->cnt > 0) {
		block = xmb_multibuf_block(mb, spill);
		copy_chunks(mb->c, block->c, block->cnt);
		mb->inline_cnt = (uint8_t)block->cnt;
		mb->spill = block->next;
		xmb_cache_spill_put(cache, xmb_domain_table[mb->spill_dom],
				    spill);
	}
	if (!xmb_multibuf_is_spilt(mb)) {
		mb->spill = 0;
		mb->spill_dom = 0;
	}
}

/* Put the chunk behind those in the packed list that *block is the end of. */
static void pack(struct xmb_multibuf *mb, struct xmb_spill **block,
		 const struct xmb_chunk *chunk)
{
	if (mb->inline_cnt < XMB_MULTIBUF_INLINE) {
		mb->c[mb->inline_cnt++] = *chunk;
	} else {
		if (!*block)
			*block = xmb_multibuf_block(mb, mb->spill);
		else if ((*block)->cnt == XMB_MULTIBUF_INLINE)
			*block = xmb_multibuf_block(mb, (*block)->next);
		(*block)->c[(*block)->cnt++] = *chunk;
	}
	mb->cnt++;
}

/*
 * The rare join: blocks of two pools would come into one list.  All chunks
 * move to blocks of the cache's pool.  There are four chunks at least: fewer
 * would have had room without a second pool's block.
 */
static int join_by_chunks(struct xmb_multibuf *mb, bool is_spilt,
			  struct xmb_multibuf *other, struct xmb_cache *cache)
{
	uint32_t block_cnt =
		xmb_multibuf_blocks_for((uint32_t)mb->cnt + other->cnt);
	struct xmb_multibuf made = {
		.len = mb->len + other->len,
		.spill_dom = cache->pool->domain.id,
		.user = mb->user,
	};
	struct xmb_spill *block = NULL;
	struct xmb_multibuf_iter iter;
	struct xmb_chunk *chunk;

	made.spill = xmb_multibuf_take_blocks(cache, block_cnt);
	if (made.spill == XMB_SPILL_NONE)
		return -ENOBUFS;
	for (chunk = xmb_multibuf_first(mb, &iter); chunk;
	     chunk = xmb_multibuf_next(&iter))
		pack(&made, &block, chunk);
	for (chunk = xmb_multibuf_first(other, &iter); chunk;
	     chunk = xmb_multibuf_next(&iter))
		pack(&made, &block, chunk);
	if (is_spilt)
		xmb_multibuf_put_blocks(cache, xmb_domain_table[mb->spill_dom],
					mb->spill);
	if (xmb_multibuf_is_spilt(other))
		xmb_multibuf_put_blocks(cache,
					xmb_domain_table[other->spill_dom],
					other->spill);
	*mb = made;
	*other = (struct xmb_multibuf){ 0 };
	return 0;
}

/*
 * The domain in which the list of a join can live: that of all the blocks in
 * it; 0 when they differ and it has to be built anew.
 */
static uint8_t join_dom(uint8_t mb_dom, uint8_t other_dom, uint8_t fresh_dom)
{
	uint8_t dom = mb_dom ? mb_dom : other_dom ? other_dom : fresh_dom;

	if ((other_dom && other_dom != dom) || (fresh_dom && fresh_dom != dom))
		return 0;
	return dom;
}

/*
 * Link other's chunks behind mb's, whose last block is last (NULL: none; it
 * may be without chunks here).  Other's inline chunks fill the room at mb's
 * end; what is over goes to the front of other's first block or, where that
 * has no room, to the one new block.
 */
static int join(struct xmb_multibuf *mb, struct xmb_spill *last,
		struct xmb_multibuf *other, struct xmb_cache *cache)
{
	bool is_spilt = xmb_multibuf_is_spilt(other), is_short;
	uint32_t spill = is_spilt ? other->spill : XMB_SPILL_NONE;
	uint32_t at = last ? last->cnt : mb->inline_cnt, fit, over, fresh;
	struct xmb_spill *block = NULL;
	uint8_t dom;

	if ((uint32_t)mb->cnt + other->cnt > XMB_MULTIBUF_CNT_MAX)
		return -ENOSPC;
	if (is_spilt)
		block = xmb_multibuf_block(other, spill);
	fit = xmb_min_u32(XMB_MULTIBUF_INLINE - at, other->inline_cnt);
	over = other->inline_cnt - fit;
	is_short =
		over > 0 && (!block || block->cnt + over > XMB_MULTIBUF_INLINE);
	dom = join_dom(last ? mb->spill_dom : 0,
		       is_spilt ? other->spill_dom : 0,
		       is_short ? cache->pool->domain.id : 0);
	if (dom == 0 && (last || is_spilt))
		return join_by_chunks(mb, last, other, cache);
	if (is_short) {
		fresh = xmb_multibuf_take_blocks(cache, 1);
		if (fresh == XMB_SPILL_NONE)
			return -ENOBUFS;
		block = &cache->pool->domain.spills[fresh];
		block->next = spill;
		spill = fresh;
	}
	if (over > 0) {
		copy_chunks(&block->c[over], block->c, block->cnt);
		copy_chunks(block->c, &other->c[fit], over);
		block->cnt = (uint16_t)(block->cnt + over);
	}
	if (last) {
		copy_chunks(&last->c[at], other->c, fit);
		last->cnt = (uint16_t)(at + fit);
		last->next = spill;
	} else {
		copy_chunks(&mb->c[at], other->c, fit);
		mb->inline_cnt = (uint8_t)(at + fit);
		mb->spill = spill == XMB_SPILL_NONE ? 0 : spill;
		mb->spill_dom = dom;
	}
	mb->cnt = (uint16_t)(mb->cnt + other->cnt);
	mb->len += other->len;
	*other = (struct xmb_multibuf){ 0 };
	return 0;
}

int xmb_multibuf_append_rest(struct xmb_multibuf *mb,
			     struct xmb_multibuf *other,
			     struct xmb_cache *cache)
{
	int rc;

	if (mb == other)
		return -EINVAL;
	rc = join(mb, xmb_multibuf_last_block(mb), other, cache);
	xmb_multibuf_paranoid(mb);
	return rc;
}

int xmb_multibuf_prepend(struct xmb_multibuf *mb, struct xmb_multibuf *other,
			 struct xmb_cache *cache)
{
	struct xmb_multibuf front = *other;
	uint32_t user = mb->user;
	int rc;

	if (mb == other)
		return -EINVAL;
	rc = join(&front, xmb_multibuf_last_block(&front), mb, cache);
	if (rc < 0)
		return rc;
	*mb = front;
	mb->user = user;
	*other = (struct xmb_multibuf){ 0 };
	xmb_multibuf_paranoid(mb);
	return 0;
}

/* A multibuf with a second copy of the handle: one of them has to go. */
static struct xmb_multibuf of_chunk(const struct xmb_chunk *chunk)
{
	XMB_ASSERT(xmb_chunk_is_live(chunk));
	return (struct xmb_multibuf){
		.len = chunk->len,
		.cnt = 1,
		.inline_cnt = 1,
		.c[0] = *chunk,
	};
}

int xmb_multibuf_push_back(struct xmb_multibuf *mb, struct xmb_chunk *chunk,
			   struct xmb_cache *cache)
{
	struct xmb_multibuf one = of_chunk(chunk);
	int rc = xmb_multibuf_append(mb, &one, cache);

	if (rc == 0)
		*chunk = (struct xmb_chunk){ 0 };
	return rc;
}

int xmb_multibuf_push_front(struct xmb_multibuf *mb, struct xmb_chunk *chunk,
			    struct xmb_cache *cache)
{
	struct xmb_multibuf one = of_chunk(chunk);
	int rc = xmb_multibuf_prepend(mb, &one, cache);

	if (rc == 0)
		*chunk = (struct xmb_chunk){ 0 };
	return rc;
}

int xmb_multibuf_pop_front(struct xmb_multibuf *mb, struct xmb_chunk *chunk,
			   struct xmb_cache *cache)
{
	XMB_ASSERT(!xmb_chunk_is_live(chunk));
	if (mb->cnt == 0)
		return -ENOENT;
	*chunk = mb->c[0];
	mb->len -= chunk->len;
	mb->cnt--;
	mb->inline_cnt--;
	copy_chunks(mb->c, &mb->c[1], mb->inline_cnt);
	clear_chunks(&mb->c[mb->inline_cnt], 1);
	settle(mb, cache);
	xmb_multibuf_paranoid(mb);
	return 0;
}

/* Take the last chunk out of the list of blocks, and its block if empty. */
static void pop_spilt(struct xmb_multibuf *mb, struct xmb_chunk *chunk,
		      struct xmb_cache *cache)
{
	uint32_t *link = &mb->spill;
	struct xmb_spill *block = xmb_multibuf_block(mb, *link);

	while (block->next != XMB_SPILL_NONE) {
		link = &block->next;
		block = xmb_multibuf_block(mb, *link);
	}
	*chunk = block->c[--block->cnt];
	if (block->cnt == 0) {
		xmb_cache_spill_put(cache, xmb_domain_table[mb->spill_dom],
				    *link);
		*link = XMB_SPILL_NONE;
	}
}

int xmb_multibuf_pop_back(struct xmb_multibuf *mb, struct xmb_chunk *chunk,
			  struct xmb_cache *cache)
{
	XMB_ASSERT(!xmb_chunk_is_live(chunk));
	if (mb->cnt == 0)
		return -ENOENT;
	if (xmb_multibuf_is_spilt(mb)) {
		pop_spilt(mb, chunk, cache);
	} else {
		mb->inline_cnt--;
		*chunk = mb->c[mb->inline_cnt];
		clear_chunks(&mb->c[mb->inline_cnt], 1);
	}
	mb->len -= chunk->len;
	mb->cnt--;
	settle(mb, cache);
	xmb_multibuf_paranoid(mb);
	return 0;
}

/*
 * A place between chunks, or inside one.  It stays in the block of the chunk
 * before it, so idx may be the count of that block.
 */
struct spot {
	struct xmb_spill *block; /* NULL: inline */
	uint32_t idx;		 /* of the chunk, in the block or inline */
	uint32_t before_cnt;	 /* chunks before the block */
	uint32_t off;		 /* bytes into the chunk; 0: before it */
};

/* Chunks of no bytes at the place are behind it.  at <= len. */
static struct spot seek(const struct xmb_multibuf *mb, size_t at)
{
	const struct xmb_chunk *c = mb->c;
	uint32_t cnt = mb->inline_cnt, spill = mb->spill;
	struct spot spot = { 0 };

	while (at > 0) {
		if (spot.idx == cnt) {
			spot.before_cnt += cnt;
			spot.idx = 0;
			spot.block = xmb_multibuf_block(mb, spill);
			spill = spot.block->next;
			cnt = spot.block->cnt;
			c = spot.block->c;
		}
		if (c[spot.idx].len > at) {
			spot.off = (uint32_t)at;
			break;
		}
		at -= c[spot.idx++].len;
	}
	return spot;
}

static struct xmb_chunk *spot_chunks(struct xmb_multibuf *mb,
				     const struct spot *spot)
{
	return spot->block ? spot->block->c : mb->c;
}

/*
 * Move the chunks from spot on to tail; mb keeps len bytes.  At most three are
 * moved one by one, and they fit inline; the blocks behind follow in one piece.
 * Tail may be left without an inline chunk, and the block of spot without any;
 * the handles in that block stay, so that the cut can be undone.
 */
static void cut(struct xmb_multibuf *mb, const struct spot *spot, uint32_t len,
		struct xmb_multibuf *tail)
{
	struct xmb_chunk *c = spot_chunks(mb, spot);
	uint32_t cnt = spot->before_cnt + spot->idx;
	uint32_t in_cnt = spot->block ? spot->block->cnt : mb->inline_cnt;

	*tail = (struct xmb_multibuf){
		.len = mb->len - len,
		.cnt = (uint16_t)(mb->cnt - cnt),
		.inline_cnt = (uint8_t)(in_cnt - spot->idx),
		.user = mb->user,
	};
	copy_chunks(tail->c, &c[spot->idx], tail->inline_cnt);
	if (xmb_multibuf_is_spilt(tail)) {
		tail->spill = spot->block ? spot->block->next : mb->spill;
		tail->spill_dom = mb->spill_dom;
	}
	mb->len = len;
	mb->cnt = (uint16_t)cnt;
	if (spot->block) {
		spot->block->cnt = (uint16_t)spot->idx;
		spot->block->next = XMB_SPILL_NONE;
	} else {
		clear_chunks(&c[spot->idx], in_cnt - spot->idx);
		mb->inline_cnt = (uint8_t)spot->idx;
		mb->spill = 0;
		mb->spill_dom = 0;
	}
}

/*
 * Cut inside a chunk whose region has no slot left: the shorter part moves to
 * fresh frames, the longer one keeps the handle.  The chunk is trimmed last,
 * when nothing can fail any more: a trimmed byte may be gone to a neighbour.
 */
static int split_by_copy(struct xmb_multibuf *mb, struct spot spot, uint32_t at,
			 struct xmb_multibuf *tail, struct xmb_cache *cache)
{
	struct xmb_chunk *chunk = &spot_chunks(mb, &spot)[spot.idx];
	uint32_t behind = chunk->len - spot.off;
	bool is_head = spot.off < behind;
	uint32_t n = is_head ? spot.off : behind;
	struct xmb_multibuf fresh = { 0 }, rest, old = *mb;
	struct xmb_spill *block = spot.block, old_block;
	int rc;

	rc = xmb_multibuf_alloc(cache, n, 0, &fresh);
	if (rc < 0)
		return rc;
	xmb_multibuf_copy_from(
		&fresh, 0, xmb_chunk_data(chunk) + (is_head ? 0 : spot.off), n);
	if (block)
		old_block = *block;
	if (is_head) {
		cut(mb, &spot, at - spot.off, &rest);
		rc = join(mb, block, &fresh, cache);
	} else {
		spot.idx++;
		cut(mb, &spot, at + behind, &rest);
		rc = join(&fresh, xmb_multibuf_last_block(&fresh), &rest,
			  cache);
	}
	if (rc < 0) {
		*mb = old;
		if (block)
			*block = old_block;
		xmb_multibuf_release(&fresh, cache);
		return rc;
	}
	if (is_head) {
		xmb_chunk_discard_prefix(&rest.c[0], n);
		rest.len -= n;
		*tail = rest;
	} else {
		xmb_chunk_truncate(chunk, spot.off);
		mb->len -= n;
		*tail = fresh;
		tail->user = mb->user;
	}
	xmb_counter_add(&cache->copies, 1);
	xmb_counter_add(&cache->copied_bytes, n);
	return 0;
}

/*
 * Only the copy can be short of anything: a part made by splitting a chunk
 * takes the place of that chunk among the three that become inline.
 */
int xmb_multibuf_split(struct xmb_multibuf *mb, size_t at,
		       struct xmb_multibuf *tail, struct xmb_cache *cache)
{
	uint32_t user = tail->user;
	struct xmb_chunk part = { 0 };
	struct spot spot;
	int rc;

	XMB_ASSERT(tail->cnt == 0 && tail != mb);
	if (at > mb->len)
		return -ERANGE;
	if (XMB_LIKELY(mb->shape == XMB_MULTIBUF_SHAPE(1) && at > 0 &&
		       at < mb->len)) {
		*tail = (struct xmb_multibuf){ .user = mb->user };
		if (XMB_LIKELY(xmb_chunk_split(&mb->c[0], at, &tail->c[0]) ==
			       0)) {
			tail->len = mb->len - (uint32_t)at;
			tail->shape = XMB_MULTIBUF_SHAPE(1);
			mb->len = (uint32_t)at;
			return 0;
		}
		tail->user = user;
	}
	spot = seek(mb, at);
	if (spot.off > 0) {
		rc = xmb_chunk_split(&spot_chunks(mb, &spot)[spot.idx],
				     spot.off, &part);
		if (rc == -ENOSPC)
			rc = split_by_copy(mb, spot, (uint32_t)at, tail, cache);
		if (rc < 0)
			return rc;
	}
	if (spot.off == 0 || xmb_chunk_is_live(&part)) {
		spot.idx += spot.off > 0;
		cut(mb, &spot, (uint32_t)at, tail);
	}
	if (xmb_chunk_is_live(&part)) {
		copy_chunks(&tail->c[1], tail->c, tail->inline_cnt);
		tail->c[0] = part;
		tail->inline_cnt++;
		tail->cnt++;
	}
	settle(tail, cache);
	xmb_multibuf_paranoid(mb);
	xmb_multibuf_paranoid(tail);
	return 0;
}

int xmb_multibuf_discard_rest(struct xmb_multibuf *mb, size_t n,
			      struct xmb_cache *cache)
{
	struct xmb_chunk chunk = { 0 };

	if (n > mb->len)
		return -ERANGE;
	while (n > 0 && n >= mb->c[0].len && mb->cnt > 1) {
		n -= mb->c[0].len;
		xmb_multibuf_pop_front(mb, &chunk, cache);
		xmb_chunk_release(&chunk, cache);
	}
	if (n > 0) {
		xmb_chunk_discard_prefix(&mb->c[0], n);
		mb->len -= (uint32_t)n;
	}
	xmb_multibuf_paranoid(mb);
	return 0;
}

int xmb_multibuf_truncate(struct xmb_multibuf *mb, size_t len,
			  struct xmb_cache *cache)
{
	struct xmb_multibuf rest;
	struct spot spot;

	if (len > mb->len)
		return -ERANGE;
	if (len == mb->len)
		return 0;
	spot = seek(mb, len);
	if (spot.off > 0 || len == 0) {
		xmb_chunk_truncate(&spot_chunks(mb, &spot)[spot.idx], spot.off);
		spot.idx++;
	}
	cut(mb, &spot, (uint32_t)len, &rest);
	xmb_multibuf_release(&rest, cache);
	xmb_multibuf_paranoid(mb);
	return 0;
}

int xmb_multibuf_slice(struct xmb_multibuf *mb, size_t from, size_t to,
		       struct xmb_cache *cache)
{
	if (from > to || to > mb->len)
		return -ERANGE;
	xmb_multibuf_truncate(mb, to, cache);
	xmb_multibuf_discard_prefix(mb, from, cache);
	return 0;
}
