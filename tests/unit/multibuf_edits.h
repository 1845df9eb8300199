/* SPDX-License-Identifier: BSD-2-Clause */
#ifndef XMBUF_TESTS_MULTIBUF_EDITS_H
#define XMBUF_TESTS_MULTIBUF_EDITS_H

/*
 * multibuf_edits: the rest of the calls against the model: taking out, growing,
 * aligning, sharing, fragments, single chunks, memory of the caller's.
 */
#include "multibuf_ops.h"

static inline void do_discard(uint32_t i, uint32_t c)
{
	struct model *m = &models[i];
	uint32_t at = pick_cut(m), n = rnd(m->len + 2);
	bool is_beyond = at > m->len || n > m->len - at;
	bool is_copied = false, may_fail = false;
	int rc;

	if (!is_beyond && n > 0)
		may_fail = segment_may_fail(i, c, at, n, &is_copied);
	rc = xmb_multibuf_discard_segment(&mbs[i], at, n, &caches[c]);
	count(rc);
	if (rc < 0) {
		MUST(is_beyond ? rc == -ERANGE : rc == -ENOBUFS && may_fail);
		return;
	}
	MUST(!is_beyond);
	if (n > 0)
		model_segment(i, c, at, n, is_copied);
}

/* Take from inside of one piece. */
static inline void take_inside(uint32_t i, uint32_t j, uint32_t c, uint32_t at,
			       uint32_t n)
{
	struct model *m = &models[i];
	uint32_t off, k = model_seek(m, at, &off), fresh = frames_of(c, n);
	struct piece taken = rest_of(&m->p[k], off), rest;
	bool is_copied = pieces_in(&taken) + 2 > XMB_TRACKER_SLOTS, of_rest;
	bool may_fail = segment_may_fail(i, c, at, n, &of_rest) ||
			is_short(c, i, i, m->cnt + 1, 0);
	int rc;

	rest = rest_of(&taken, n);
	taken.len = n;
	if (rest.len > 0)
		taken.flags &= (uint8_t)~XMB_CHUNK_END;
	if (is_copied)
		may_fail |= frames_for(c) < fresh + frames_of(c, off + n) ||
			    is_short(c, i, i, m->cnt + 1, 5 + blocks_of(fresh));
	rc = xmb_multibuf_take(&mbs[i], at, n, &mbs[j], &caches[c]);
	count(rc);
	if (rc < 0) {
		MUST(rc == -ENOBUFS && may_fail);
		return;
	}
	models[j].user = m->user;
	if (is_copied) {
		model_copied(j, 0, c, taken);
		model_segment(i, c, at, n, of_rest);
		return;
	}
	m->p[k] = head_of(&m->p[k], off);
	m->len -= n + rest.len;
	model_insert(m, k + 1, &rest, 1);
	model_insert(&models[j], 0, &taken, 1);
}

/* Take what begins and ends in different pieces. */
static inline void take_run(uint32_t i, uint32_t j, uint32_t c, uint32_t at,
			    uint32_t n)
{
	struct model *m = &models[i], *out = &models[j];
	uint32_t off, end, k = model_seek(m, at, &off);
	uint32_t k_end = model_seek(m, at + n, &end), fresh = 0;
	struct piece first = m->p[k], last = { 0 };
	bool copies[2] = { off && is_crowded(&first), false }, may_fail;
	int rc;

	if (end > 0) {
		last = m->p[k_end];
		copies[1] = pieces_in(&last) + (off && !copies[0] &&
						first.pool == last.pool &&
						first.region == last.region) >=
			    XMB_TRACKER_SLOTS;
	}
	fresh += copies[0] ? frames_of(c, first.len - off) : 0;
	fresh += copies[1] ? frames_of(c, end) : 0;
	may_fail =
		frames_for(c) < fresh ||
		is_short(c, i, i, m->cnt + fresh + 2, 2 + 2 * blocks_of(fresh));
	rc = xmb_multibuf_take(&mbs[i], at, n, &mbs[j], &caches[c]);
	count(rc);
	if (rc < 0) {
		MUST(rc == -ENOBUFS && may_fail);
		return;
	}
	out->user = m->user;
	if (end > 0) {
		m->p[k_end] = rest_of(&last, end);
		last = head_of(&last, end);
		m->len -= end;
		if (!copies[1])
			model_insert(out, 0, &last, 1);
	}
	if (off > 0) {
		m->p[k] = head_of(&first, off);
		first = rest_of(&first, off);
		m->len -= first.len;
		k++;
	}
	model_insert(out, 0, &m->p[k], k_end - k);
	model_remove_end(m, k, k_end - k);
	if (off > 0) {
		m->p[k - 1].flags |= first.flags & XMB_CHUNK_END;
		if (copies[0])
			model_copied(j, 0, c, first);
		else
			model_insert(out, 0, &first, 1);
	}
	if (end > 0 && copies[1])
		model_copied(j, out->cnt, c, last);
}

static inline void do_take(uint32_t i, uint32_t c)
{
	struct model *m = &models[i];
	uint32_t at = rnd(4) ? pick_cut(m) : 0, n = rnd(m->len + 2), off;
	uint32_t j = pick_empty();
	bool is_beyond = at > m->len || n > m->len - at;
	bool is_copied = false, may_fail = false;
	int rc;

	if (j == MB_CNT || i == j)
		return;
	if (!is_beyond && n > 0 && at > 0 &&
	    model_seek(m, at + n, &off) < m->cnt) {
		if (is_inside(m, at, n))
			take_inside(i, j, c, at, n);
		else
			take_run(i, j, c, at, n);
		return;
	}
	off = at > 0 ? at : n;
	is_copied = !is_beyond && n > 0 && split_copies(i, off, c, &may_fail);
	rc = xmb_multibuf_take(&mbs[i], at, n, &mbs[j], &caches[c]);
	count(rc);
	if (rc < 0) {
		MUST(is_beyond ? rc == -ERANGE
			       : is_copied && rc == -ENOBUFS && may_fail);
		return;
	}
	MUST(!is_beyond);
	if (n == 0)
		return;
	if (at == 0) {
		/* The tail of the split stays. */
		models[j] = *m;
		m->cnt = m->len = 0;
		model_split(j, i, off, c, is_copied);
		return;
	}
	model_split(i, j, off, c, is_copied);
	for (uint32_t k = 0; k < models[j].cnt; k++)
		m->p[m->cnt - 1].flags |= models[j].p[k].flags & XMB_CHUNK_END;
}

/* What a claim at one end could get; 0 where another chunk is in the way. */
static inline uint32_t claimable(const struct model *m, uint32_t n,
				 bool is_front)
{
	const struct piece *p;
	uint32_t edge;

	if (m->cnt == 0)
		return 0;
	p = is_front ? m->p : &m->p[m->cnt - 1];
	edge = is_front ? p->off : p->off + p->len;
	if (p->flags & XMB_CHUNK_RDONLY)
		return 0;
	n = xmb_min_u32(n, is_front ? edge : region_len(p->pool) - edge);
	while (n > 0 && claim_result(p, edge - (is_front ? n : 0),
				     edge + (is_front ? 0 : n), edge) < 0)
		n--;
	return n;
}

static inline void do_grow(uint32_t i, uint32_t c)
{
	struct model *m = &models[i];
	uint32_t frame_len = opts[cache_pool[c]].frame_len, old = m->len;
	uint32_t n = rnd(3) ? rnd(48) : rnd(5 * frame_len), cnt, own, left;
	bool is_front = rnd(2);
	struct piece *p, fresh;
	int rc;

	own = claimable(m, n, is_front);
	cnt = frames_of(c, n - own);
	rc = is_front ? xmb_multibuf_grow_prefix(&mbs[i], n, &caches[c])
		      : xmb_multibuf_grow_suffix(&mbs[i], n, &caches[c]);
	count(rc);
	if (rc < 0) {
		MUST(rc == -ENOBUFS &&
		     (frames_for(c) < cnt ||
		      is_short(c, i, i, m->cnt + cnt, blocks_of(cnt))));
		return;
	}
	if (own > 0) {
		p = is_front ? m->p : &m->p[m->cnt - 1];
		p->off -= is_front ? own : 0;
		p->len += own;
		m->len += own;
	}
	left = n - own;
	for (uint32_t k = 0; k < cnt; k++) {
		uint32_t at = is_front ? k : m->cnt;

		fresh = piece_of(xmb_multibuf_chunk(&mbs[i], at));
		MUST(fresh.len == (is_front && k == 0
					   ? n - own - (cnt - 1) * frame_len
					   : xmb_min_u32(left, frame_len)));
		MUST(fresh.off == (is_front ? frame_len - fresh.len : 0));
		left -= fresh.len;
		if (!is_front && at > 0)
			m->p[at - 1].flags &= (uint8_t)~XMB_CHUNK_END;
		model_insert(m, at, &fresh, 1);
	}
	MUST(m->len == old + n);
	write_new(i, is_front ? 0 : old, is_front ? n : m->len);
}

static inline void do_align(uint32_t i, uint32_t c)
{
	struct model *m = &models[i];
	uint32_t frame_len = opts[cache_pool[c]].frame_len, at = pick_cut(m);
	uint32_t align = 1u << rnd(13), k = 0, off = at, n = 0, cnt = 0, rest;
	bool is_done = true;
	struct piece old = { 0 };
	int rc;

	while (k < m->cnt && off >= m->p[k].len)
		off -= m->p[k++].len;
	if (k < m->cnt) {
		old = rest_of(&m->p[k], off);
		n = old.len;
		is_done = ((uintptr_t)piece_addr(&old) & (align - 1)) == 0;
		cnt = frames_of(c, n) + 1;
	}
	rc = xmb_multibuf_align(&mbs[i], at, align, &caches[c]);
	count(rc);
	if (at > m->len || rc < 0) {
		MUST(rc == (at > m->len		? -ERANGE
			    : align > frame_len ? -EMSGSIZE
						: -ENOBUFS));
		MUST(rc != -ENOBUFS || frames_for(c) < cnt ||
		     is_short(c, i, i, m->cnt + cnt, 2 + blocks_of(cnt)));
		return;
	}
	if (is_done)
		return;
	MUST(align <= frame_len);
	m->p[k] = head_of(&m->p[k], off);
	m->len -= n;
	if (off == 0)
		model_remove(m, k, 1);
	else
		k++;
	for (rest = n; rest > 0; k++) {
		struct piece p = piece_of(xmb_multibuf_chunk(&mbs[i], k));

		MUST(p.len > 0 && p.len <= rest);
		MUST(rest < n ? p.off == 0
			      : ((uintptr_t)piece_addr(&p) & (align - 1)) == 0);
		memcpy(&truth[p.pool][p.region][p.off],
		       &truth[old.pool][old.region][old.off + n - rest], p.len);
		model_insert(m, k, &p, 1);
		rest -= p.len;
		MUST(p.flags == (rest ? 0 : old.flags & XMB_CHUNK_END));
	}
	copy_cnt++;
	copy_len += n;
}

/* Exact: what can be shared and what has to be copied is known beforehand. */
static inline void do_share(uint32_t i, uint32_t c)
{
	static bool is_copied[PIECE_MAX];
	struct model *m = &models[i];
	uint32_t j = pick_empty(), frame_cnt = 0, cnt = 0, total = 0, made;
	int rc;

	/* No more copies of bytes than the arrays have room for. */
	for (uint32_t k = 0; k < MB_CNT; k++)
		total += models[k].cnt;
	if (j == MB_CNT || i == j || total > PIECE_MAX / 2)
		return;
	for (uint32_t k = 0; k < m->cnt; k++) {
		uint32_t slots = pieces_in(&m->p[k]);

		for (uint32_t b = 0; b < k; b++)
			slots += !is_copied[b] &&
				 m->p[b].pool == m->p[k].pool &&
				 m->p[b].region == m->p[k].region;
		is_copied[k] = slots >= XMB_TRACKER_SLOTS;
		made = is_copied[k] ? frames_of(c, m->p[k].len) : 1;
		made = made ? made : 1;
		frame_cnt += is_copied[k] ? made : 0;
		cnt += made;
	}
	rc = xmb_multibuf_share(&mbs[i], &mbs[j], &caches[c]);
	count(rc);
	if (rc < 0) {
		MUST(rc == -ENOBUFS && (frames_for(c) < frame_cnt ||
					blocks_for(c) < blocks_of(cnt)));
		return;
	}
	models[j].user = m->user;
	for (uint32_t k = 0; k < m->cnt; k++) {
		struct piece *p = &m->p[k];

		if (is_copied[k]) {
			model_copied(j, models[j].cnt, c, *p);
			continue;
		}
		p->flags |= XMB_CHUNK_RDONLY;
		model_insert(&models[j], models[j].cnt, p, 1);
	}
}

static inline bool is_read_along(const struct piece *p)
{
	for (uint32_t i = 0; i < MB_CNT; i++) {
		for (uint32_t k = 0; k < models[i].cnt; k++) {
			const struct piece *q = &models[i].p[k];

			if (q != p && q->pool == p->pool && q->len && p->len &&
			    q->region == p->region &&
			    q->off < p->off + p->len &&
			    p->off < q->off + q->len)
				return true;
		}
	}
	return false;
}

static inline void do_unshare(uint32_t i)
{
	struct model *m = &models[i];
	bool is_busy = false, is_writable = true;
	int rc;

	for (uint32_t k = 0; k < m->cnt; k++) {
		if (!(m->p[k].flags & XMB_CHUNK_RDONLY))
			continue;
		is_writable = false;
		is_busy |= is_read_along(&m->p[k]);
	}
	MUST(xmb_multibuf_is_writable(&mbs[i]) == is_writable);
	rc = xmb_multibuf_unshare(&mbs[i]);
	count(rc);
	MUST(rc == (is_busy ? -EBUSY : 0));
	for (uint32_t k = 0; k < m->cnt && rc == 0; k++)
		m->p[k].flags &= (uint8_t)~XMB_CHUNK_RDONLY;
}

/* Take a fragment, or cut anywhere between chunks. */
static inline void do_fragment(uint32_t i, uint32_t c)
{
	struct model *m = &models[i];
	uint32_t j = pick_empty(), k = rnd(m->cnt + 2), cnt = 0;
	bool is_fragment = rnd(2);
	struct model *head, *tail;
	int rc;

	for (uint32_t b = 0; b < m->cnt; b++)
		cnt += m->p[b].flags & XMB_CHUNK_END || b + 1 == m->cnt;
	MUST(xmb_multibuf_fragment_cnt(&mbs[i]) == cnt);
	if (j == MB_CNT || i == j)
		return;
	rc = is_fragment
		     ? xmb_multibuf_take_fragment(&mbs[i], &mbs[j], &caches[c])
		     : xmb_multibuf_split_at_chunk(&mbs[i], k, &mbs[j],
						   &caches[c]);
	count(rc);
	if (rc < 0) {
		MUST(is_fragment ? rc == -ENOENT && m->cnt == 0
				 : rc == -ERANGE && k > m->cnt);
		return;
	}
	MUST(is_fragment ? m->cnt > 0 : k <= m->cnt);
	for (k = is_fragment ? 0 : k; is_fragment && k++ < m->cnt;) {
		if (m->p[k - 1].flags & XMB_CHUNK_END)
			break;
	}
	k = is_fragment ? xmb_min_u32(k, m->cnt) : k;
	if (is_fragment)
		m->p[k - 1].flags &= (uint8_t)~XMB_CHUNK_END;
	head = &models[j];
	tail = m;
	head->user = m->user;
	model_insert(head, 0, is_fragment ? m->p : &m->p[k],
		     is_fragment ? k : m->cnt - k);
	model_remove(tail, is_fragment ? 0 : k, head->cnt);
}

/* Move a chunk from anywhere in i to anywhere in j. */
static inline void do_chunk(uint32_t i, uint32_t j, uint32_t c)
{
	struct model *m = &models[i];
	uint32_t k = rnd(m->cnt + 1), to = rnd(models[j].cnt + 2);
	struct xmb_chunk chunk = { 0 };
	struct piece p;
	int rc = xmb_multibuf_take_chunk(&mbs[i], k, &chunk, &caches[c]);

	count(rc);
	MUST(rc == (k < m->cnt ? 0 : -ENOENT));
	if (rc < 0)
		return;
	p = m->p[k];
	model_remove_end(m, k, 1);
	verify(i);
	rc = xmb_multibuf_insert_chunk(&mbs[j], to, &chunk, &caches[c]);
	count(rc);
	MUST(xmb_chunk_is_live(&chunk) == (rc < 0));
	if (rc == 0) {
		model_insert(&models[j], to, &p, 1);
		return;
	}
	MUST(to > models[j].cnt
		     ? rc == -ERANGE
		     : rc == -ENOBUFS &&
			       is_short(c, j, j, models[j].cnt + 1, 0));
	verify(j);
	xmb_chunk_release(&chunk, &caches[c]);
}

/* After a reserve its chunks cannot be refused. */
static inline void do_reserve(uint32_t i, uint32_t c)
{
	struct model *m = &models[i];
	uint32_t n = rnd(4), left = mbs[i].cnt - mbs[i].inline_cnt, need = n, k;
	int rc;

	if (n && left && mbs[i].spill_dom != pools[cache_pool[c]].domain.id)
		need += blocks_of(m->cnt + 2);
	rc = xmb_multibuf_reserve(&mbs[i], n, &caches[c]);
	count(rc);
	MUST(rc == (need > XMB_MULTIBUF_RESERVE_MAX ? -EMSGSIZE
		    : blocks_for(c) < need	    ? -ENOBUFS
						    : 0));
	for (; n > 0 && rc == 0; n--) {
		struct xmb_chunk chunk = { 0 };
		struct piece p;

		if (xmb_chunk_alloc(&caches[c], &chunk) < 0)
			return;
		p = piece_of(&chunk);
		memcpy(truth[p.pool][p.region], piece_addr(&p), p.len);
		k = rnd(m->cnt + 1);
		MUST(xmb_multibuf_insert_chunk(&mbs[i], k, &chunk,
					       &caches[c]) == 0);
		model_insert(m, k, &p, 1);
	}
}

static inline void do_write(uint32_t i, uint32_t c)
{
	struct model *m = &models[i];
	uint32_t from = rnd(m->len + 1), to = from + rnd(m->len - from + 1);

	if (write_with(i, from, to, &caches[c]) == to - from && m->len > to)
		model_truncate(m, to);
}

static inline void span_gone(void *arg, void *mem, size_t len)
{
	uint32_t area = (uint32_t)((uint8_t *)arg - span_dom);

	MUST(mem == frames[area] && len == span_len && span_dom[area]);
	span_dom[area] = 0;
}

/* Memory of the caller's, if one of the spans is not in use. */
static inline void do_attach(uint32_t i, uint32_t c)
{
	uint32_t area = POOL_CNT;
	struct piece p;
	int rc;

	while (area < AREA_CNT && span_dom[area])
		area++;
	if (area == AREA_CNT || mbs[i].cnt > 0)
		return;
	rc = xmb_extbuf_attach(&caches[c], frames[area], span_len, span_gone,
			       &span_dom[area], &mbs[i]);
	MUST(rc == 0);
	span_dom[area] = mbs[i].c[0].dom;
	models[i].user = mbs[i].user;
	p = piece_of(&mbs[i].c[0]);
	MUST(p.off == 0 && p.len == span_len);
	model_insert(&models[i], 0, &p, 1);
	write_new(i, 0, span_len);
}

#endif /* XMBUF_TESTS_MULTIBUF_EDITS_H */
