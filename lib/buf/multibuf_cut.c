/* SPDX-License-Identifier: BSD-2-Clause */
#include "buf/multibuf_priv.h"
#include "buf/tracker_priv.h"

#include <string.h>

static int split_rest(struct xmb_multibuf *mb, size_t at,
		      struct xmb_multibuf *tail, struct xmb_cache *cache)
	__attribute__((noinline));

struct xmb_multibuf_spot xmb_multibuf_seek(const struct xmb_multibuf *mb,
					   size_t at)
{
	const struct xmb_chunk *c = mb->c;
	uint32_t cnt = mb->inline_cnt, spill = mb->spill;
	struct xmb_multibuf_spot spot = { 0 };

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

/* At most three are moved one by one, and they fit inline. */
void xmb_multibuf_cut(struct xmb_multibuf *mb,
		      const struct xmb_multibuf_spot *spot, uint32_t len,
		      struct xmb_multibuf *tail)
{
	struct xmb_chunk *c = xmb_multibuf_spot_chunks(mb, spot);
	uint32_t cnt = spot->before_cnt + spot->idx;
	uint32_t in_cnt = spot->block ? spot->block->cnt : mb->inline_cnt;

	*tail = (struct xmb_multibuf){
		.len = mb->len - len,
		.cnt = (uint16_t)(mb->cnt - cnt),
		.inline_cnt = (uint8_t)(in_cnt - spot->idx),
		.user = mb->user,
	};
	xmb_chunk_copy_run(tail->c, &c[spot->idx], tail->inline_cnt);
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
		xmb_chunk_clear_run(&c[spot->idx], in_cnt - spot->idx);
		mb->inline_cnt = (uint8_t)spot->idx;
		mb->spill = 0;
		mb->spill_dom = 0;
	}
}

int xmb_chunk_cut_tail(struct xmb_chunk *chunk, uint32_t at,
		       struct xmb_chunk *tail)
{
	int rc;

	if (!xmb_chunk_is_rdonly(chunk))
		return xmb_chunk_split(chunk, at, tail);
	rc = xmb_chunk_share(chunk, tail);
	if (rc == 0)
		xmb_chunk_discard_prefix(tail, at);
	return rc;
}

int xmb_chunk_cut_head(struct xmb_chunk *chunk, uint32_t at,
		       struct xmb_chunk *head)
{
	int rc;

	if (!xmb_chunk_is_rdonly(chunk))
		return xmb_chunk_take_prefix(chunk, at, head);
	rc = xmb_chunk_share(chunk, head);
	if (rc == 0)
		xmb_chunk_keep_head(head, at);
	return rc;
}

void xmb_chunk_join_tail(struct xmb_chunk *chunk, struct xmb_chunk *tail,
			 struct xmb_cache *cache)
{
	int rc;

	if (xmb_chunk_is_rdonly(tail)) {
		xmb_chunk_release(tail, cache);
		return;
	}
	rc = xmb_chunk_merge(chunk, tail);
	XMB_ASSERT(rc == 0);
}

void xmb_chunk_join_head(struct xmb_chunk *chunk, struct xmb_chunk *head,
			 struct xmb_cache *cache)
{
	int rc;

	if (xmb_chunk_is_rdonly(head)) {
		xmb_chunk_release(head, cache);
		return;
	}
	rc = xmb_chunk_merge(head, chunk);
	XMB_ASSERT(rc == 0);
	*chunk = *head;
	*head = (struct xmb_chunk){ 0 };
}

/*
 * Cut inside a chunk whose region has no slot left: the shorter part moves to
 * fresh frames, the longer one keeps the handle.  The chunk is trimmed last,
 * when nothing can fail any more: a trimmed byte may be gone to a neighbour.
 */
static int split_by_copy(struct xmb_multibuf *mb, struct xmb_multibuf_spot spot,
			 uint32_t at, struct xmb_multibuf *tail,
			 struct xmb_cache *cache)
{
	struct xmb_chunk *chunk =
		&xmb_multibuf_spot_chunks(mb, &spot)[spot.idx];
	uint32_t behind = chunk->len - spot.off;
	bool is_head = spot.off < behind;
	uint32_t n = is_head ? spot.off : behind;
	struct xmb_multibuf fresh = { 0 }, rest, old = *mb;
	struct xmb_spill *block = spot.block, old_block;
	int rc;

	rc = xmb_multibuf_copy_part(chunk, is_head ? 0 : spot.off, n, &fresh,
				    cache);
	if (rc < 0)
		return rc;
	if (block)
		old_block = *block;
	if (is_head) {
		xmb_multibuf_cut(mb, &spot, at - spot.off, &rest);
		rc = xmb_multibuf_join(mb, block, &fresh, cache);
	} else {
		spot.idx++;
		xmb_multibuf_cut(mb, &spot, at + behind, &rest);
		rc = xmb_multibuf_join(&fresh, xmb_multibuf_last_block(&fresh),
				       &rest, cache);
	}
	if (rc < 0) {
		*mb = old;
		if (block)
			*block = old_block;
		xmb_multibuf_release(&fresh, cache);
		return rc;
	}
	if (is_head) {
		xmb_chunk_keep_tail(&rest.c[0], behind);
		rest.len -= n;
		*tail = rest;
	} else {
		xmb_chunk_keep_head(chunk, spot.off);
		mb->len -= n;
		*tail = fresh;
		tail->user = mb->user;
	}
	xmb_multibuf_count_copy(cache, n);
	return 0;
}

/*
 * Only the copy can be short of anything: a part made by splitting a chunk
 * takes the place of that chunk among the three that become inline.
 */
static int split_rest(struct xmb_multibuf *mb, size_t at,
		      struct xmb_multibuf *tail, struct xmb_cache *cache)
{
	struct xmb_chunk part = { 0 }, *chunk;
	struct xmb_multibuf_spot spot;
	int rc;

	if (at > mb->len)
		return -ERANGE;
	spot = xmb_multibuf_seek(mb, at);
	if (spot.off > 0) {
		chunk = &xmb_multibuf_spot_chunks(mb, &spot)[spot.idx];
		rc = xmb_chunk_cut_tail(chunk, spot.off, &part);
		if (rc == 0)
			xmb_chunk_keep_head(chunk, spot.off);
		else
			rc = split_by_copy(mb, spot, (uint32_t)at, tail, cache);
		if (rc < 0)
			return rc;
	}
	if (spot.off == 0 || xmb_chunk_is_live(&part)) {
		spot.idx += spot.off > 0;
		xmb_multibuf_cut(mb, &spot, (uint32_t)at, tail);
	}
	if (xmb_chunk_is_live(&part)) {
		xmb_chunk_copy_run(&tail->c[1], tail->c, tail->inline_cnt);
		tail->c[0] = part;
		tail->inline_cnt++;
		tail->cnt++;
	}
	xmb_multibuf_settle(tail, cache);
	xmb_multibuf_paranoid(mb);
	xmb_multibuf_paranoid(tail);
	return 0;
}

/* One exclusive chunk can be cut for sure: the packets are written first, so
 * that nothing has to be kept over the call. */
int xmb_multibuf_split(struct xmb_multibuf *mb, size_t at,
		       struct xmb_multibuf *tail, struct xmb_cache *cache)
{
	uint32_t len = mb->len;

	XMB_ASSERT(tail->cnt == 0 && tail != mb &&
		   !xmb_chunk_is_live(&tail->c[0]));
	if (XMB_UNLIKELY(mb->shape != XMB_MULTIBUF_SHAPE(1) || at == 0 ||
			 at >= len || !xmb_chunk_is_excl(&mb->c[0])))
		return split_rest(mb, at, tail, cache);
	tail->len = len - (uint32_t)at;
	tail->shape = XMB_MULTIBUF_SHAPE(1);
	tail->user = mb->user;
	mb->len = (uint32_t)at;
	xmb_chunk_split_excl(xmb_chunk_domain_near(&mb->c[0], cache), &mb->c[0],
			     (uint32_t)at, &tail->c[0]);
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
	struct xmb_multibuf_spot spot;

	if (len > mb->len)
		return -ERANGE;
	if (len == mb->len)
		return 0;
	spot = xmb_multibuf_seek(mb, len);
	if (spot.off > 0 || len == 0) {
		xmb_chunk_truncate(
			&xmb_multibuf_spot_chunks(mb, &spot)[spot.idx],
			spot.off);
		spot.idx++;
	}
	xmb_multibuf_cut(mb, &spot, (uint32_t)len, &rest);
	if (xmb_multibuf_has_end(&rest))
		xmb_multibuf_spot_chunks(mb, &spot)[spot.idx - 1].flags |=
			XMB_CHUNK_END;
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
