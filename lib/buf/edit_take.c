/* SPDX-License-Identifier: BSD-2-Clause */
#include "buf/edit_priv.h"

/* Chunks between two spots, as copies of handles and a part of the list. */
struct run {
	struct xmb_multibuf body; /* of the first place, and whole blocks */
	struct xmb_multibuf end;  /* of the last place, if some stay there */
	struct xmb_spill *last;	  /* block of body; NULL: none */
	uint32_t next;		  /* what follows it in the list */
	uint32_t cnt;
	uint32_t end_cnt; /* of end, also when end is given away */
};

static uint32_t *spot_link(struct xmb_multibuf *mb,
			   const struct xmb_multibuf_spot *spot)
{
	return spot->block ? &spot->block->next : &mb->spill;
}

static void put_loose(struct xmb_multibuf *mb, const struct xmb_chunk *chunks,
		      uint32_t cnt)
{
	xmb_chunk_copy_run(mb->c, chunks, cnt);
	mb->inline_cnt = (uint8_t)cnt;
	mb->cnt = (uint16_t)cnt;
}

/* What lies between a and b; mb is as it was, and has the same blocks. */
static struct run find_run(struct xmb_multibuf *mb,
			   const struct xmb_multibuf_spot *a,
			   const struct xmb_multibuf_spot *b)
{
	struct xmb_chunk *first = &xmb_multibuf_spot_chunks(mb, a)[a->idx];
	struct run run = { .cnt = b->before_cnt + b->idx - a->before_cnt -
				  a->idx };

	if (a->block == b->block) {
		put_loose(&run.body, first, run.cnt);
		return run;
	}
	put_loose(&run.body, first, xmb_multibuf_spot_cnt(mb, a) - a->idx);
	run.body.spill_dom = mb->spill_dom;
	run.body.spill = run.next = *spot_link(mb, a);
	for (;;) {
		struct xmb_spill *block = xmb_multibuf_block(mb, run.next);

		if (block == b->block && b->idx < block->cnt) {
			put_loose(&run.end, block->c, b->idx);
			run.end_cnt = b->idx;
			break;
		}
		run.last = block;
		run.body.cnt = (uint16_t)(run.body.cnt + block->cnt);
		run.next = block->next;
		if (block == b->block)
			break;
	}
	if (!run.last)
		run.body.spill = run.body.spill_dom = 0;
	return run;
}

/* Take the run out of mb, whose bytes are counted elsewhere.  Cannot fail. */
static void unlink_run(struct xmb_multibuf *mb,
		       const struct xmb_multibuf_spot *a,
		       const struct xmb_multibuf_spot *b, const struct run *run,
		       struct xmb_cache *cache)
{
	struct xmb_chunk *to = &xmb_multibuf_spot_chunks(mb, a)[a->idx];
	uint32_t old_cnt = xmb_multibuf_spot_cnt(mb, a), cnt = a->idx;

	if (a->block == b->block) {
		xmb_chunk_copy_run(to, to + run->cnt, old_cnt - b->idx);
		cnt += old_cnt - b->idx;
	} else {
		*spot_link(mb, a) = run->next;
		if (run->end_cnt > 0) {
			b->block->cnt = (uint16_t)(b->block->cnt - b->idx);
			xmb_chunk_copy_run(b->block->c, &b->block->c[b->idx],
					   b->block->cnt);
		}
	}
	if (a->block) {
		a->block->cnt = (uint16_t)cnt;
	} else {
		xmb_chunk_clear_run(&mb->c[cnt], old_cnt - cnt);
		mb->inline_cnt = (uint8_t)cnt;
	}
	mb->cnt = (uint16_t)(mb->cnt - run->cnt);
	xmb_multibuf_settle(mb, cache);
}

/* What goes away from a on ends a fragment, so what stays of it does. */
static void hand_end(struct xmb_multibuf *mb, const struct xmb_multibuf_spot *a)
{
	if (a->idx > 0)
		xmb_multibuf_spot_chunks(mb, a)[a->idx - 1].flags |=
			XMB_CHUNK_END;
}

static bool run_has_end(const struct run *run)
{
	return xmb_multibuf_has_end(&run->body) ||
	       xmb_multibuf_has_end(&run->end);
}

int xmb_multibuf_take_chunk(struct xmb_multibuf *mb, uint32_t idx,
			    struct xmb_chunk *chunk, struct xmb_cache *cache)
{
	struct xmb_multibuf_spot a, b;
	struct run run;
	uint32_t len;

	XMB_ASSERT(!xmb_chunk_is_live(chunk));
	if (idx >= mb->cnt)
		return -ENOENT;
	a = xmb_multibuf_seek_chunk(mb, idx, &len);
	b = xmb_multibuf_seek_chunk(mb, idx + 1, &len);
	run = find_run(mb, &a, &b);
	*chunk = *(run.end.cnt ? &run.end.c[0]
			       : xmb_multibuf_chunk(&run.body, 0));
	if (xmb_chunk_is_end(chunk))
		hand_end(mb, &a);
	unlink_run(mb, &a, &b, &run, cache);
	mb->len -= chunk->len;
	if (run.last)
		xmb_cache_spill_put(cache, xmb_domain_table[run.body.spill_dom],
				    run.body.spill);
	xmb_multibuf_paranoid(mb);
	return 0;
}

static bool is_same_chunk(const struct xmb_multibuf_spot *a,
			  const struct xmb_multibuf_spot *b)
{
	return a->off > 0 && b->off > 0 && a->block == b->block &&
	       a->idx == b->idx;
}

int xmb_multibuf_discard_segment(struct xmb_multibuf *mb, size_t off, size_t n,
				 struct xmb_cache *cache)
{
	struct xmb_multibuf none = { 0 };
	struct xmb_multibuf_spot a, b;
	struct xmb_chunk *chunk;
	struct run run;
	bool has_end;
	int rc;

	if (off > mb->len || n > mb->len - off)
		return -ERANGE;
	if (n == 0)
		return 0;
	a = xmb_multibuf_seek(mb, off);
	b = xmb_multibuf_seek(mb, off + n);
	if (is_same_chunk(&a, &b)) {
		rc = xmb_multibuf_insert_inside(mb, b, &none, cache);
		if (rc < 0)
			return rc;
		a = xmb_multibuf_seek(mb, off);
		b = xmb_multibuf_seek(mb, off + n);
	}
	if (b.off > 0) {
		chunk = &xmb_multibuf_spot_chunks(mb, &b)[b.idx];
		xmb_chunk_keep_tail(chunk, chunk->len - b.off);
	}
	/* One chunk stays: the first, if it would be none. */
	if (a.off > 0 || (a.idx == 0 && b.before_cnt + b.idx == mb->cnt)) {
		chunk = &xmb_multibuf_spot_chunks(mb, &a)[a.idx++];
		xmb_chunk_truncate(chunk, a.off);
	}
	run = find_run(mb, &a, &b);
	has_end = run_has_end(&run);
	if (has_end)
		hand_end(mb, &a);
	unlink_run(mb, &a, &b, &run, cache);
	mb->len -= (uint32_t)n;
	xmb_multibuf_release(&run.body, cache);
	xmb_multibuf_release(&run.end, cache);
	xmb_multibuf_paranoid(mb);
	return 0;
}

/* The bytes of one chunk that a run takes of it. */
struct piece {
	struct xmb_chunk *chunk;
	uint32_t at;   /* where the chunk is parted */
	uint32_t keep; /* bytes that it keeps */
	bool is_tail;  /* what is behind is taken, or what is before */
	bool is_copied;
	struct xmb_multibuf part; /* what is taken */
};

static struct piece piece_of(struct xmb_multibuf *mb,
			     const struct xmb_multibuf_spot *spot, bool is_tail)
{
	struct piece piece = { .at = spot->off, .is_tail = is_tail };

	if (spot->off == 0)
		return piece;
	piece.chunk = &xmb_multibuf_spot_chunks(mb, spot)[spot->idx];
	piece.keep = is_tail ? spot->off : piece.chunk->len - spot->off;
	return piece;
}

static int piece_take(struct piece *piece, struct xmb_cache *cache)
{
	struct xmb_chunk *chunk = piece->chunk, part = { 0 };
	int rc;

	if (!chunk)
		return 0;
	rc = piece->is_tail ? xmb_chunk_cut_tail(chunk, piece->at, &part)
			    : xmb_chunk_cut_head(chunk, piece->at, &part);
	if (rc == 0) {
		piece->part = xmb_multibuf_of_chunk(&part);
		return 0;
	}
	piece->is_copied = true;
	return xmb_multibuf_copy_part(chunk, piece->is_tail ? piece->at : 0,
				      chunk->len - piece->keep, &piece->part,
				      cache);
}

static void piece_undo(struct piece *piece, struct xmb_cache *cache)
{
	if (piece->part.cnt == 0)
		return;
	if (piece->is_copied)
		xmb_multibuf_release(&piece->part, cache);
	else if (piece->is_tail)
		xmb_chunk_join_tail(piece->chunk, &piece->part.c[0], cache);
	else
		xmb_chunk_join_head(piece->chunk, &piece->part.c[0], cache);
}

static void piece_finish(struct piece *piece, uint32_t part_len,
			 struct xmb_cache *cache)
{
	if (!piece->chunk)
		return;
	if (piece->is_tail)
		xmb_chunk_keep_head(piece->chunk, piece->keep);
	else
		xmb_chunk_keep_tail(piece->chunk, piece->keep);
	if (piece->is_copied)
		xmb_multibuf_count_copy(cache, part_len);
}

/* The two of a run, or none of them. */
static int pieces_take(struct piece *head, struct piece *tail,
		       struct xmb_cache *cache)
{
	struct piece *first = head, *then = tail;
	int rc;

	/* An exclusive chunk can always be parted, and is left alone if the
	 * other cannot. */
	if (head->chunk && xmb_chunk_is_excl(head->chunk)) {
		first = tail;
		then = head;
	}
	rc = piece_take(first, cache);
	if (rc < 0)
		return rc;
	rc = piece_take(then, cache);
	if (rc < 0)
		piece_undo(first, cache);
	return rc;
}

/* Take what is from a to b, which are not in the same chunk. */
static int take_run(struct xmb_multibuf *mb, struct xmb_multibuf_spot a,
		    struct xmb_multibuf_spot b, uint32_t n,
		    struct xmb_multibuf *out, struct xmb_cache *cache)
{
	struct piece head = piece_of(mb, &a, true);
	struct piece tail = piece_of(mb, &b, false);
	struct xmb_multibuf *parts[4] = { &head.part, NULL, NULL, &tail.part };
	uint32_t lens[2];
	struct run run;
	int rc;

	a.idx += a.off > 0;
	run = find_run(mb, &a, &b);
	parts[1] = &run.body;
	parts[2] = &run.end;
	rc = xmb_multibuf_prepare(
		(const struct xmb_multibuf *const *)&parts[1], 2, NULL,
		(a.off > 0 ? 1u : 0) + (b.off > 0 ? 1u : 0), 3, cache);
	if (rc < 0)
		return rc;
	rc = pieces_take(&head, &tail, cache);
	if (rc < 0)
		return rc;
	lens[0] = head.part.len;
	lens[1] = tail.part.len;
	if (run.last)
		run.last->next = XMB_SPILL_NONE;
	rc = xmb_multibuf_assemble(parts, 4, NULL, 3, cache);
	if (rc < 0) {
		if (run.last)
			run.last->next = run.next;
		piece_undo(&tail, cache);
		piece_undo(&head, cache);
		return rc;
	}
	piece_finish(&head, lens[0], cache);
	piece_finish(&tail, lens[1], cache);
	*out = head.part;
	out->len = n;
	out->user = mb->user;
	xmb_multibuf_settle(out, cache);
	if (xmb_multibuf_has_end(out))
		hand_end(mb, &a);
	unlink_run(mb, &a, &b, &run, cache);
	mb->len -= n;
	return 0;
}

/* Take bytes out of a chunk whose region has too few slots for three parts. */
static int take_copied(struct xmb_multibuf *mb, size_t off, uint32_t n,
		       const struct xmb_multibuf_spot *a,
		       struct xmb_multibuf *out, struct xmb_cache *cache)
{
	struct xmb_chunk *chunk = &xmb_multibuf_spot_chunks(mb, a)[a->idx];
	struct xmb_multibuf copy = { 0 };
	int rc;

	rc = xmb_multibuf_copy_part(chunk, a->off, n, &copy, cache);
	if (rc < 0)
		return rc;
	rc = xmb_multibuf_discard_segment(mb, off, n, cache);
	if (rc < 0) {
		xmb_multibuf_release(&copy, cache);
		return rc;
	}
	xmb_multibuf_count_copy(cache, n);
	*out = copy;
	return 0;
}

/* Take n bytes that have others of the same chunk on both sides. */
static int take_inside(struct xmb_multibuf *mb, size_t off, uint32_t n,
		       struct xmb_multibuf_spot a, struct xmb_multibuf *out,
		       struct xmb_cache *cache)
{
	const struct xmb_multibuf *parts[] = { mb };
	struct xmb_chunk *chunk = &xmb_multibuf_spot_chunks(mb, &a)[a.idx];
	uint32_t k = a.before_cnt + a.idx;
	struct xmb_chunk taken = { 0 }, tail = { 0 };
	struct xmb_multibuf rest, none = { 0 };
	int rc;

	rc = xmb_multibuf_prepare(parts, 1, NULL, 1, 1, cache);
	if (rc < 0)
		return rc;
	if (xmb_chunk_cut_tail(chunk, a.off, &taken) < 0)
		return take_copied(mb, off, n, &a, out, cache);
	if (xmb_chunk_cut_tail(&taken, n, &tail) < 0) {
		xmb_chunk_join_tail(chunk, &taken, cache);
		return take_copied(mb, off, n, &a, out, cache);
	}
	rest = xmb_multibuf_of_chunk(&tail);
	a.idx++;
	rc = xmb_multibuf_splice(mb, a, &rest, &none, 1, cache);
	if (rc < 0) {
		xmb_chunk_join_tail(&taken, &tail, cache);
		xmb_chunk_join_tail(chunk, &taken, cache);
		return rc;
	}
	xmb_chunk_keep_head(xmb_multibuf_chunk(mb, k), a.off);
	xmb_chunk_keep_head(&taken, n);
	mb->len -= n + tail.len;
	xmb_multibuf_init(out, &taken);
	return 0;
}

int xmb_multibuf_take(struct xmb_multibuf *mb, size_t off, size_t n,
		      struct xmb_multibuf *out, struct xmb_cache *cache)
{
	struct xmb_multibuf_spot a, b;
	struct xmb_multibuf rest = { 0 };
	int rc;

	XMB_ASSERT(out->cnt == 0 && out != mb);
	if (off > mb->len || n > mb->len - off)
		return -ERANGE;
	if (n == 0)
		return 0;
	a = xmb_multibuf_seek(mb, off);
	b = xmb_multibuf_seek(mb, off + n);
	if (off == 0) {
		rc = xmb_multibuf_split(mb, n, &rest, cache);
		if (rc == 0) {
			*out = *mb;
			*mb = rest;
		}
	} else if (b.before_cnt + b.idx == mb->cnt) {
		rc = xmb_multibuf_split(mb, off, out, cache);
		if (rc == 0 && xmb_multibuf_has_end(out))
			xmb_multibuf_last(mb)->flags |= XMB_CHUNK_END;
	} else if (is_same_chunk(&a, &b)) {
		rc = take_inside(mb, off, (uint32_t)n, a, out, cache);
	} else {
		rc = take_run(mb, a, b, (uint32_t)n, out, cache);
	}
	if (rc < 0)
		return rc;
	out->user = mb->user;
	xmb_multibuf_paranoid(mb);
	xmb_multibuf_paranoid(out);
	return 0;
}
