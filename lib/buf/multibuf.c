/* SPDX-License-Identifier: BSD-2-Clause */
#include "buf/multibuf_priv.h"

#include <string.h>

void xmb_multibuf_settle(struct xmb_multibuf *mb, struct xmb_cache *cache)
{
	struct xmb_spill *block;
	uint32_t spill = mb->spill;

	if (mb->inline_cnt == 0 && mb->cnt > 0) {
		block = xmb_multibuf_block(mb, spill);
		xmb_chunk_copy_run(mb->c, block->c, block->cnt);
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
 * The rare join: blocks of two pools would come into one list.  The chunks of
 * all parts move to blocks of the cache's pool, and the first part has them.
 */
static int rebuild(struct xmb_multibuf *const *parts, uint32_t part_cnt,
		   bool is_spilt, struct xmb_cache *cache)
{
	struct xmb_multibuf made = { .user = parts[0]->user };
	struct xmb_spill *block = NULL;
	struct xmb_multibuf_iter iter;
	struct xmb_chunk *chunk;
	uint32_t cnt = 0;

	for (uint32_t i = 0; i < part_cnt; i++)
		cnt += parts[i]->cnt;
	if (cnt > XMB_MULTIBUF_INLINE) {
		made.spill_dom = cache->pool->domain.id;
		made.spill = xmb_multibuf_take_blocks(
			cache, xmb_multibuf_blocks_for(cnt));
		if (made.spill == XMB_SPILL_NONE)
			return -ENOBUFS;
	}
	for (uint32_t i = 0; i < part_cnt; i++) {
		struct xmb_multibuf *part = parts[i];

		made.len += part->len;
		for (chunk = xmb_multibuf_first(part, &iter); chunk;
		     chunk = xmb_multibuf_next(&iter))
			pack(&made, &block, chunk);
		if (i == 0 ? is_spilt : xmb_multibuf_is_spilt(part))
			xmb_multibuf_put_blocks(
				cache, xmb_domain_table[part->spill_dom],
				part->spill);
		*part = (struct xmb_multibuf){ 0 };
	}
	*parts[0] = made;
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
 * Other's inline chunks fill the room at mb's end; what is over goes to the
 * front of other's first block or, where that has no room, to the one new
 * block.
 */
int xmb_multibuf_join(struct xmb_multibuf *mb, struct xmb_spill *last,
		      struct xmb_multibuf *other, struct xmb_cache *cache)
{
	struct xmb_multibuf *parts[] = { mb, other };
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
		return rebuild(parts, 2, last, cache);
	if (is_short) {
		fresh = xmb_multibuf_take_blocks(cache, 1);
		if (fresh == XMB_SPILL_NONE)
			return -ENOBUFS;
		block = &cache->pool->domain.spills[fresh];
		block->next = spill;
		spill = fresh;
	}
	if (over > 0) {
		xmb_chunk_copy_run(&block->c[over], block->c, block->cnt);
		xmb_chunk_copy_run(block->c, &other->c[fit], over);
		block->cnt = (uint16_t)(block->cnt + over);
	}
	if (last) {
		xmb_chunk_copy_run(&last->c[at], other->c, fit);
		last->cnt = (uint16_t)(at + fit);
		last->next = spill;
	} else {
		xmb_chunk_copy_run(&mb->c[at], other->c, fit);
		mb->inline_cnt = (uint8_t)(at + fit);
		mb->spill = spill == XMB_SPILL_NONE ? 0 : spill;
		mb->spill_dom = dom;
	}
	mb->cnt = (uint16_t)(mb->cnt + other->cnt);
	mb->len += other->len;
	*other = (struct xmb_multibuf){ 0 };
	return 0;
}

/* XMB_SPILL_CACHE_MAX / 2 + what is left of a batch is no more than it holds.
 */
int xmb_multibuf_stock(struct xmb_cache *cache, uint32_t cnt)
{
	uint32_t spill;

	if (cache->spill_cnt >= cnt)
		return 0;
	spill = xmb_multibuf_take_blocks(cache, cnt);
	if (spill == XMB_SPILL_NONE)
		return -ENOBUFS;
	xmb_multibuf_put_blocks(cache, &cache->pool->domain, spill);
	return 0;
}

int xmb_multibuf_prepare(const struct xmb_multibuf *const *parts,
			 uint32_t part_cnt, const struct xmb_spill *last,
			 uint32_t extra, uint32_t need, struct xmb_cache *cache)
{
	bool is_foreign = false, is_spilt = false;
	uint32_t cnt = extra;

	for (uint32_t i = 0; i < part_cnt; i++) {
		cnt += parts[i]->cnt;
		if (!(i == 0 && last) && !xmb_multibuf_is_spilt(parts[i]))
			continue;
		is_spilt = true;
		if (parts[i]->spill_dom != cache->pool->domain.id)
			is_foreign = true;
	}
	if (cnt > XMB_MULTIBUF_CNT_MAX)
		return -ENOSPC;
	if (is_foreign)
		need = xmb_multibuf_blocks_for(cnt);
	else if (!is_spilt && cnt <= XMB_MULTIBUF_INLINE)
		need = 0;
	return xmb_multibuf_stock(cache, need) < 0 ? -ENOBUFS : is_foreign;
}

int xmb_multibuf_assemble(struct xmb_multibuf *const *parts, uint32_t part_cnt,
			  struct xmb_spill *last, uint32_t need,
			  struct xmb_cache *cache)
{
	int rc = xmb_multibuf_prepare((const struct xmb_multibuf *const *)parts,
				      part_cnt, last, 0, need, cache);

	if (rc < 0)
		return rc;
	if (rc > 0)
		return rebuild(parts, part_cnt,
			       last || xmb_multibuf_is_spilt(parts[0]), cache);
	/* From the back, so that no list is walked twice. */
	for (uint32_t i = part_cnt - 1; i-- > 0;) {
		struct xmb_spill *end =
			i == 0 && last ? last
				       : xmb_multibuf_last_block(parts[i]);

		rc = xmb_multibuf_join(parts[i], end, parts[i + 1], cache);
		XMB_ASSERT(rc == 0);
	}
	return 0;
}

int xmb_multibuf_append_rest(struct xmb_multibuf *mb,
			     struct xmb_multibuf *other,
			     struct xmb_cache *cache)
{
	int rc;

	if (mb == other)
		return -EINVAL;
	rc = xmb_multibuf_join(mb, xmb_multibuf_last_block(mb), other, cache);
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
	rc = xmb_multibuf_join(&front, xmb_multibuf_last_block(&front), mb,
			       cache);
	if (rc < 0)
		return rc;
	*mb = front;
	mb->user = user;
	*other = (struct xmb_multibuf){ 0 };
	xmb_multibuf_paranoid(mb);
	return 0;
}

int xmb_multibuf_push_back(struct xmb_multibuf *mb, struct xmb_chunk *chunk,
			   struct xmb_cache *cache)
{
	struct xmb_multibuf one = xmb_multibuf_of_chunk(chunk);
	int rc;

	XMB_ASSERT(xmb_chunk_is_live(chunk));
	rc = xmb_multibuf_append(mb, &one, cache);
	if (rc == 0)
		*chunk = (struct xmb_chunk){ 0 };
	return rc;
}

int xmb_multibuf_push_front(struct xmb_multibuf *mb, struct xmb_chunk *chunk,
			    struct xmb_cache *cache)
{
	struct xmb_multibuf one = xmb_multibuf_of_chunk(chunk);
	int rc;

	XMB_ASSERT(xmb_chunk_is_live(chunk));
	rc = xmb_multibuf_prepend(mb, &one, cache);
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
	xmb_chunk_copy_run(mb->c, &mb->c[1], mb->inline_cnt);
	xmb_chunk_clear_run(&mb->c[mb->inline_cnt], 1);
	xmb_multibuf_settle(mb, cache);
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
		xmb_chunk_clear_run(&mb->c[mb->inline_cnt], 1);
	}
	mb->len -= chunk->len;
	mb->cnt--;
	xmb_multibuf_settle(mb, cache);
	xmb_multibuf_paranoid(mb);
	return 0;
}
