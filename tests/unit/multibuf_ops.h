/* SPDX-License-Identifier: BSD-2-Clause */
#ifndef XMBUF_TESTS_MULTIBUF_OPS_H
#define XMBUF_TESTS_MULTIBUF_OPS_H

/*
 * multibuf_ops: calls that join, cut, edit and share packets, each with what it
 * does to the model.  A refusal is right only where something is short.
 */
#include "multibuf_model.h"

static inline void count(int rc)
{
	if (rc == 0)
		done_cnt++;
	else
		refused_cnt++;
}

static inline uint32_t frames_of(uint32_t c, uint32_t len)
{
	uint32_t frame_len = opts[cache_pool[c]].frame_len;

	return (len + frame_len - 1) / frame_len;
}

static inline uint32_t blocks_of(uint32_t cnt)
{
	return cnt > 3 ? (cnt - 1) / 3 : 0;
}

/* Blocks that an edit has to find free to put cnt chunks between others. */
static inline uint32_t blocks_to_put(uint32_t cnt)
{
	return cnt <= 2 ? 1 : 2;
}

static inline bool is_crowded(const struct piece *p)
{
	return pieces_in(p) == XMB_TRACKER_SLOTS;
}

/* An empty packet, or MB_CNT. */
static inline uint32_t pick_empty(void)
{
	uint32_t j = rnd(MB_CNT), i;

	for (i = 0; i < MB_CNT && mbs[j].cnt > 0; i++)
		j = (j + 1) % MB_CNT;
	return i < MB_CNT ? j : MB_CNT;
}

/* All of j, which is left empty, comes to k in i. */
static inline void model_join(uint32_t i, uint32_t k, uint32_t j)
{
	struct model *other = &models[j];

	model_insert(&models[i], k, other->p, other->cnt);
	other->cnt = other->len = other->user = 0;
}

static inline void do_join(uint32_t i, uint32_t j, uint32_t c)
{
	struct model *m = &models[i], *other = &models[j];
	uint32_t kind = rnd(3), total = m->cnt + other->cnt;
	int rc;

	rc = kind == 0	 ? xmb_multibuf_prepend(&mbs[i], &mbs[j], &caches[c])
	     : kind == 1 ? xmb_multibuf_append(&mbs[i], &mbs[j], &caches[c])
			 : xmb_multibuf_append_fragment(&mbs[i], &mbs[j],
							&caches[c]);
	count(rc);
	if (i == j) {
		MUST(rc == -EINVAL);
		return;
	}
	if (rc < 0) {
		MUST(kind == 2 && other->cnt == 0
			     ? rc == -ENODATA
			     : rc == -ENOBUFS && is_short(c, i, j, total, 0));
		return;
	}
	if (kind == 2) {
		MUST(other->cnt > 0);
		other->p[other->cnt - 1].flags |= XMB_CHUNK_END;
		if (m->cnt > 0)
			m->p[m->cnt - 1].flags |= XMB_CHUNK_END;
	}
	model_join(i, kind ? m->cnt : 0, j);
}

/*
 * Pieces k.. of mbs[i] are copies of old in fresh frames: meet those, and
 * return how many.
 */
static inline uint32_t model_copied(uint32_t i, uint32_t k, uint32_t c,
				    struct piece old)
{
	uint32_t frame_len = opts[cache_pool[c]].frame_len, n, from = k;

	copy_cnt++;
	copy_len += old.len;
	do {
		struct piece p = piece_of(xmb_multibuf_chunk(&mbs[i], k));

		n = old.len < frame_len ? old.len : frame_len;
		MUST(p.pool == cache_pool[c] && p.off == 0 && p.len == n);
		/* Verified later: by now it may have been given an end. */
		p.flags = old.len == n ? old.flags & XMB_CHUNK_END : 0;
		memcpy(truth[p.pool][p.region],
		       &truth[old.pool][old.region][old.off], n);
		model_insert(&models[i], k++, &p, 1);
		old.off += n;
		old.len -= n;
	} while (old.len > 0);
	return k - from;
}

/* The parts of a piece that is cut at off. */
static inline struct piece head_of(const struct piece *p, uint32_t off)
{
	struct piece head = *p;

	head.len = off;
	head.flags &= (uint8_t)~XMB_CHUNK_END;
	return head;
}

static inline struct piece rest_of(const struct piece *p, uint32_t off)
{
	struct piece rest = *p;

	rest.off += off;
	rest.len -= off;
	return rest;
}

/* Anywhere, and beyond; or inside the piece whose region is fullest. */
static inline uint32_t pick_cut(const struct model *m)
{
	uint32_t most = 0, at = rnd(m->len + 2), from = 0;

	if (rnd(2))
		return at;
	for (uint32_t k = 0; k < m->cnt; k++) {
		if (m->p[k].len > 1 && pieces_in(&m->p[k]) > most) {
			most = pieces_in(&m->p[k]);
			at = from + 1 + rnd(m->p[k].len - 1);
		}
		from += m->p[k].len;
	}
	return at;
}

/* What a split at `at` does, with is_copied from before; tail is empty. */
static inline void model_split(uint32_t i, uint32_t j, uint32_t at, uint32_t c,
			       bool is_copied)
{
	struct model *m = &models[i], *tail = &models[j];
	uint32_t off, k = model_seek(m, at, &off);
	struct piece head, rest;

	tail->user = m->user;
	model_insert(tail, 0, &m->p[k], m->cnt - k);
	model_remove(m, k, m->cnt - k);
	if (off == 0)
		return;
	head = head_of(tail->p, off);
	rest = rest_of(tail->p, off);
	model_remove(tail, 0, 1);
	if (!is_copied || head.len < rest.len)
		model_insert(tail, 0, &rest, 1);
	if (!is_copied || head.len >= rest.len)
		model_insert(m, m->cnt, &head, 1);
	if (is_copied && head.len < rest.len)
		model_copied(i, m->cnt, c, head);
	else if (is_copied)
		model_copied(j, 0, c, rest);
}

/* Whether a split at `at` has to copy, and whether it may then be refused. */
static inline bool split_copies(uint32_t i, uint32_t at, uint32_t c,
				bool *may_fail)
{
	struct model *m = &models[i];
	uint32_t off = 0, k, n, cnt;

	*may_fail = false;
	if (at > m->len)
		return false;
	k = model_seek(m, at, &off);
	if (off == 0 || !is_crowded(&m->p[k]))
		return false;
	n = xmb_min_u32(off, m->p[k].len - off);
	cnt = frames_of(c, n);
	*may_fail = frames_for(c) < cnt ||
		    is_short(c, i, i, m->cnt + cnt, blocks_of(cnt));
	return true;
}

static inline void do_split(uint32_t i, uint32_t j, uint32_t c)
{
	struct model *m = &models[i];
	uint32_t at = pick_cut(m);
	bool is_copied, may_fail;
	int rc;

	if (i == j || mbs[j].cnt > 0)
		return;
	is_copied = split_copies(i, at, c, &may_fail);
	rc = xmb_multibuf_split(&mbs[i], at, &mbs[j], &caches[c]);
	count(rc);
	if (rc < 0) {
		MUST(at > m->len ? rc == -ERANGE : may_fail && rc == -ENOBUFS);
		return;
	}
	MUST(at <= m->len);
	model_split(i, j, at, c, is_copied);
}

/* Cut piece k at off and put j's pieces between the parts. */
static inline void model_insert_inside(uint32_t i, uint32_t k, uint32_t off,
				       uint32_t j, uint32_t c, bool is_copied)
{
	struct model *m = &models[i];
	struct piece head = head_of(&m->p[k], off),
		     rest = rest_of(&m->p[k], off);
	bool is_head = is_copied && head.len < rest.len;
	uint32_t cnt = models[j].cnt;

	model_remove(m, k, 1);
	/* What keeps the handle first: copies must find only it. */
	model_insert(m, k, is_head ? &rest : &head, 1);
	if (is_head)
		k += model_copied(i, k, c, head);
	else
		k++;
	model_join(i, k, j);
	k += cnt;
	if (!is_copied)
		model_insert(m, k, &rest, 1);
	else if (!is_head)
		model_copied(i, k, c, rest);
}

/* Whether an insertion of cnt chunks in i may be refused. */
static inline bool insert_may_fail(uint32_t i, uint32_t j, uint32_t c,
				   uint32_t k, uint32_t off, uint32_t cnt,
				   bool is_copied)
{
	struct model *m = &models[i];
	uint32_t n = is_copied ? xmb_min_u32(off, m->p[k].len - off) : 0;
	uint32_t fresh = frames_of(c, n);

	return (is_copied && frames_for(c) < fresh) ||
	       is_short(c, i, j, m->cnt + cnt + fresh + 1,
			(is_copied ? 2 + blocks_of(fresh)
				   : blocks_to_put(cnt) - 1));
}

static inline void do_insert(uint32_t i, uint32_t j, uint32_t c)
{
	struct model *m = &models[i];
	uint32_t at = pick_cut(m), len = m->len, off = 0, k = 0;
	bool is_copied, may_fail;
	int rc;

	if (at <= len)
		k = model_seek(m, at, &off);
	if (at == 0)
		k = 0;
	if (at == len)
		k = m->cnt;
	if (at == 0 || models[j].cnt == 0)
		off = 0;
	is_copied = off > 0 && is_crowded(&m->p[k]);
	may_fail = insert_may_fail(i, j, c, k, off, models[j].cnt, is_copied);
	rc = xmb_multibuf_insert(&mbs[i], at, &mbs[j], &caches[c]);
	count(rc);
	if (rc < 0) {
		MUST(i == j	? rc == -EINVAL
		     : at > len ? rc == -ERANGE
				: rc == -ENOBUFS && may_fail);
		return;
	}
	MUST(i != j && at <= len);
	if (off > 0)
		model_insert_inside(i, k, off, j, c, is_copied);
	else
		model_join(i, k, j);
}

/* Discard what begins and ends in different pieces, or between them. */
static inline void model_discard_run(struct model *m, uint32_t at, uint32_t n)
{
	uint32_t off, off_end, k = model_seek(m, at, &off);
	uint32_t k_end = model_seek(m, at + n, &off_end), cut;

	if (off_end > 0) {
		m->p[k_end] = rest_of(&m->p[k_end], off_end);
		m->len -= off_end;
	}
	if (off > 0 || (k == 0 && k_end == m->cnt)) {
		cut = m->p[k].len - off;
		m->p[k].len = off;
		m->len -= cut;
		k++;
	}
	model_remove_end(m, k, k_end - k);
}

/* True if [at, at+n) has other bytes of one piece on both sides. */
static inline bool is_inside(const struct model *m, uint32_t at, uint32_t n)
{
	uint32_t off, off_end;

	return model_seek(m, at, &off) == model_seek(m, at + n, &off_end) &&
	       off > 0 && off_end > 0;
}

/* True if discard_segment() of this may be refused; *is_copied: if it copies.
 */
static inline bool segment_may_fail(uint32_t i, uint32_t c, uint32_t at,
				    uint32_t n, bool *is_copied)
{
	struct model *m = &models[i];
	uint32_t off, k = model_seek(m, at + n, &off);

	*is_copied = false;
	if (!is_inside(m, at, n))
		return false;
	*is_copied = is_crowded(&m->p[k]);
	return insert_may_fail(i, i, c, k, off, 0, *is_copied);
}

static inline void model_segment(uint32_t i, uint32_t c, uint32_t at,
				 uint32_t n, bool is_copied)
{
	struct model *m = &models[i];
	uint32_t off, k = model_seek(m, at, &off);
	struct piece head, rest;

	if (!is_inside(m, at, n)) {
		model_discard_run(m, at, n);
		return;
	}
	head = head_of(&m->p[k], off);
	rest = rest_of(&m->p[k], off + n);
	model_remove(m, k, 1);
	if (!is_copied) {
		model_insert(m, k, &rest, 1);
		model_insert(m, k, &head, 1);
	} else if (off + n < rest.len) {
		/* What is discarded was copied with what is before it. */
		model_insert(m, k, &rest, 1);
		model_copied(i, k, c, head);
		copy_len += n;
	} else {
		model_insert(m, k, &head, 1);
		model_copied(i, k + 1, c, rest);
	}
}

#endif /* XMBUF_TESTS_MULTIBUF_OPS_H */
