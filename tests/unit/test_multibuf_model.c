/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * lib/buf/multibuf against a model: all operations in random order on a few
 * packets, and after each the handles, the bytes, the frames and the blocks are
 * what the model says.  A refusal is right only where something is short.
 */
#include "multibuf_model.h"

static void count(int rc)
{
	if (rc == 0)
		done_cnt++;
	else
		refused_cnt++;
}

static void do_alloc(uint32_t i, uint32_t c)
{
	uint32_t frame_len = opts[cache_pool[c]].frame_len;
	uint32_t headroom = rnd(frame_len), room = frame_len - headroom;
	uint32_t len = rnd(9 * room), cnt = (len + room - 1) / room, left = len;
	uint32_t blocks = cnt > 3 ? (cnt - 1) / 3 : 0;
	bool is_too_much = frames_for(c) < cnt || blocks_for(c) < blocks;
	int rc;

	if (mbs[i].cnt > 0)
		return;
	models[i].user = mbs[i].user = step;
	rc = xmb_multibuf_alloc(&caches[c], len, headroom, &mbs[i]);
	count(rc);
	MUST(rc == (is_too_much ? -ENOBUFS : 0));
	if (rc < 0)
		return;
	MUST(mbs[i].cnt == cnt);
	for (uint32_t k = 0; k < cnt; k++) {
		struct piece p = piece_of(xmb_multibuf_chunk(&mbs[i], k));

		MUST(p.off == headroom && p.len == (left < room ? left : room));
		left -= p.len;
		model_insert(&models[i], k, &p, 1);
	}
	write_new(i, 0, len);
}

/* Put *chunk, which is piece p, to one end of mbs[i], or release it. */
static void push(uint32_t i, uint32_t c, struct xmb_chunk *chunk,
		 const struct piece *p, bool is_front)
{
	struct model *m = &models[i];
	int rc = is_front ?
			 xmb_multibuf_push_front(&mbs[i], chunk, &caches[c]) :
			 xmb_multibuf_push_back(&mbs[i], chunk, &caches[c]);

	count(rc);
	MUST(xmb_chunk_is_live(chunk) == (rc < 0));
	if (rc == 0) {
		model_insert(m, is_front ? 0 : m->cnt, p, 1);
		return;
	}
	MUST(rc == -ENOBUFS && is_short(c, i, i, m->cnt + 1, 0));
	verify(i);
	xmb_chunk_release(chunk, &caches[c]);
}

static void do_push(uint32_t i, uint32_t c)
{
	struct xmb_chunk chunk = { 0 };
	uint32_t from = rnd(opts[cache_pool[c]].frame_len), before;
	struct piece p;
	int rc = xmb_chunk_alloc(&caches[c], &chunk);
	bool is_front = rnd(2);

	MUST(rc == 0 || frames_for(c) == 0);
	if (rc < 0)
		return;
	MUST(xmb_chunk_slice(&chunk, from, from + rnd(chunk.len - from + 1)) ==
	     0);
	p = piece_of(&chunk);
	before = models[i].len;
	push(i, c, &chunk, &p, is_front);
	if (models[i].len != before)
		write_new(i, is_front ? 0 : before,
			  is_front ? p.len : models[i].len);
}

static void do_move(uint32_t i, uint32_t j, uint32_t c)
{
	struct model *m = &models[i];
	struct xmb_chunk chunk = { 0 };
	bool is_front = rnd(2);
	struct piece p;
	int rc = is_front ?
			 xmb_multibuf_pop_front(&mbs[i], &chunk, &caches[c]) :
			 xmb_multibuf_pop_back(&mbs[i], &chunk, &caches[c]);

	MUST(rc == (m->cnt ? 0 : -ENOENT));
	if (rc < 0)
		return;
	p = m->p[is_front ? 0 : m->cnt - 1];
	model_remove(m, is_front ? 0 : m->cnt - 1, 1);
	push(j, c, &chunk, &p, rnd(2));
}

static void do_join(uint32_t i, uint32_t j, uint32_t c)
{
	struct model *m = &models[i], *other = &models[j];
	bool is_front = rnd(2);
	int rc = is_front ? xmb_multibuf_prepend(&mbs[i], &mbs[j], &caches[c]) :
			    xmb_multibuf_append(&mbs[i], &mbs[j], &caches[c]);

	count(rc);
	if (i == j) {
		MUST(rc == -EINVAL);
		return;
	}
	if (rc < 0) {
		MUST(rc == -ENOBUFS);
		MUST(is_short(c, i, j, m->cnt + other->cnt, 0));
		return;
	}
	model_insert(m, is_front ? 0 : m->cnt, other->p, other->cnt);
	other->cnt = other->len = other->user = 0;
}

/* Pieces k.. of mbs[i] were copied into fresh frames: meet those. */
static void model_copied(uint32_t i, uint32_t k, uint32_t c, struct piece old)
{
	uint32_t frame_len = opts[cache_pool[c]].frame_len, n;

	copy_cnt++;
	copy_len += old.len;
	for (; old.len > 0; old.off += n, old.len -= n) {
		struct piece p = piece_of(xmb_multibuf_chunk(&mbs[i], k));

		n = old.len < frame_len ? old.len : frame_len;
		MUST(p.pool == cache_pool[c] && p.off == 0 && p.len == n);
		memcpy(truth[p.pool][p.region],
		       &truth[old.pool][old.region][old.off], n);
		model_insert(&models[i], k++, &p, 1);
	}
}

/* Anywhere, and beyond; or inside the piece whose region is fullest. */
static uint32_t pick_cut(const struct model *m)
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

static void do_split(uint32_t i, uint32_t j, uint32_t c)
{
	struct model *m = &models[i], *tail = &models[j];
	uint32_t at = pick_cut(m), off = 0, k = 0, n = 0, frame_cnt, blocks;
	bool is_copied = false, may_fail = false;
	struct piece head, rest;
	int rc;

	if (i == j || mbs[j].cnt > 0)
		return;
	if (at <= m->len) {
		k = model_seek(m, at, &off);
		is_copied = off && pieces_in(&m->p[k]) == XMB_TRACKER_SLOTS;
		n = is_copied ? xmb_min_u32(off, m->p[k].len - off) : 0;
		frame_cnt = (n + opts[cache_pool[c]].frame_len - 1) /
			    opts[cache_pool[c]].frame_len;
		blocks = frame_cnt > 3 ? (frame_cnt - 1) / 3 : 0;
		may_fail = is_copied &&
			   (frames_for(c) < frame_cnt ||
			    is_short(c, i, i, m->cnt + frame_cnt, blocks));
	}
	rc = xmb_multibuf_split(&mbs[i], at, &mbs[j], &caches[c]);
	count(rc);
	if (rc < 0) {
		MUST(at > m->len ? rc == -ERANGE : may_fail && rc == -ENOBUFS);
		return;
	}
	MUST(at <= m->len);
	tail->user = m->user;
	model_insert(tail, 0, &m->p[k], m->cnt - k);
	model_remove(m, k, m->cnt - k);
	if (off == 0)
		return;
	head = rest = tail->p[0];
	head.len = off;
	rest.off += off;
	rest.len -= off;
	model_remove(tail, 0, 1);
	if (!is_copied || n < rest.len)
		model_insert(tail, 0, &rest, 1);
	if (!is_copied || n == rest.len)
		model_insert(m, m->cnt, &head, 1);
	if (is_copied && n < rest.len)
		model_copied(i, m->cnt, c, head);
	else if (is_copied)
		model_copied(j, 0, c, rest);
}

static void do_trim(uint32_t i, uint32_t c)
{
	struct model *m = &models[i];
	uint32_t from = rnd(m->len + 2), to = rnd(m->len + 2), old = m->len;
	uint32_t kind = rnd(3);
	bool is_beyond;
	int rc;

	from = kind == 1 ? 0 : from;
	to = kind == 0 ? old : to;
	is_beyond = from > to || to > old;
	if (kind == 0)
		rc = xmb_multibuf_discard_prefix(&mbs[i], from, &caches[c]);
	else if (kind == 1)
		rc = xmb_multibuf_truncate(&mbs[i], to, &caches[c]);
	else
		rc = xmb_multibuf_slice(&mbs[i], from, to, &caches[c]);
	count(rc);
	MUST(rc == (is_beyond ? -ERANGE : 0));
	if (rc < 0)
		return;
	if (to < old)
		model_truncate(m, to);
	model_discard(m, from);
}

static void do_claim(uint32_t i)
{
	struct model *m = &models[i];
	bool is_front = rnd(2);
	struct piece *p = is_front ? m->p : &m->p[m->cnt - 1];
	uint32_t n = rnd(48), edge, region_len;
	int want = n ? -ERANGE : 0, rc;

	if (m->cnt > 0) {
		region_len = opts[p->pool].frame_len;
		edge = is_front ? p->off : p->off + p->len;
		if (n <= (is_front ? p->off : region_len - edge))
			want = claim_result(p, edge - (is_front ? n : 0),
					    edge + (is_front ? 0 : n), edge);
	}
	rc = is_front ? xmb_multibuf_claim_prefix(&mbs[i], n) :
			xmb_multibuf_claim_suffix(&mbs[i], n);
	count(rc);
	MUST(rc == want);
	if (rc < 0 || n == 0)
		return;
	p->off -= is_front ? n : 0;
	p->len += n;
	m->len += n;
	write_new(i, is_front ? 0 : m->len - n, is_front ? n : m->len);
}

static void do_get(uint32_t i)
{
	uint32_t len = models[i].len, off = rnd(len + 2), n = rnd(len + 2);
	uint8_t tmp[LEN_MAX], copy[LEN_MAX], *p;

	p = xmb_multibuf_get(&mbs[i], off, n, tmp);
	MUST(!p == (off > len || n > len - off));
	if (!p)
		return;
	MUST(xmb_multibuf_copy_to(&mbs[i], off, copy, n) == n);
	MUST(memcmp(p, copy, n) == 0);
	write_new(i, off, off + n);
}

static void do_step(void)
{
	uint32_t i = rnd(MB_CNT), j = rnd(MB_CNT), c = rnd(CACHE_CNT);
	uint32_t op = rnd(16);

	/* A split wants an empty tail. */
	for (uint32_t k = 0; op >= 7 && op <= 10 && k < MB_CNT; k++) {
		if (mbs[j].cnt > 0)
			j = (j + 1) % MB_CNT;
	}
	switch (op) {
	case 0:
	case 1:
		do_alloc(i, c);
		break;
	case 2:
	case 3:
		do_push(i, c);
		break;
	case 4:
	case 5:
		do_move(i, j, c);
		break;
	case 6:
		do_join(i, j, c);
		break;
	case 7:
	case 8:
		do_split(i, j, c);
		break;
	case 9:
	case 10:
		/* Crowds the regions: the halves stay in one packet. */
		do_split(i, j, c);
		do_join(i, j, rnd(CACHE_CNT));
		break;
	case 11:
		do_trim(i, c);
		break;
	case 12:
		do_claim(i);
		break;
	case 13:
		do_get(i);
		break;
	case 14:
		xmb_cache_fini(&caches[c]);
		break;
	default:
		if (rnd(2))
			break;
		xmb_multibuf_release(&mbs[i], &caches[c]);
		models[i].cnt = models[i].len = models[i].user = 0;
	}
	verify(i);
	verify(j);
}

static void run(void)
{
	struct xmb_cache *of_pool[POOL_CNT][2] = {
		{ &caches[0], &caches[1] }, { &caches[2] },
	};

	rng = seed;
	for (step = 1; step <= STEP_CNT; step++) {
		do_step();
		if (step % 64 == 0)
			verify_all();
	}
	xmb_multibuf_release_bulk(mbs, MB_CNT, &caches[seed % CACHE_CNT]);
	memset(models, 0, sizeof(models));
	verify_all();
	for (uint32_t i = 0; i < POOL_CNT; i++)
		MUST(xmb_pool_check(&pools[i], of_pool[i], 2 - i));
	MUST(blocks_used(0) + blocks_used(1) == 0);
}

Test(multibuf_model, random_calls_agree_with_the_model, .timeout = 60)
{
	for (uint32_t i = 0; i < POOL_CNT; i++) {
		struct xmb_pool_opts o = opts[i];

		o.base = frames[i];
		MUST(xmb_pool_footprint(&o) <= sizeof(side[i]));
		MUST(xmb_pool_init(&pools[i], side[i], &o) == 0);
	}
	for (uint32_t c = 0; c < CACHE_CNT; c++)
		xmb_cache_init(&caches[c], &pools[cache_pool[c]], c + 1);
	for (seed = 1; seed <= 3; seed++)
		run();
	/* The run is worth something only if it went everywhere. */
	cr_expect(gt(u32, done_cnt, STEP_CNT));
	cr_expect(gt(u32, refused_cnt, STEP_CNT / 20));
	cr_expect(gt(u64, copy_cnt, STEP_CNT / 50));
	cr_log_info("%u done, %u refused, %u copies", done_cnt, refused_cnt,
		    (unsigned int)copy_cnt);
}
