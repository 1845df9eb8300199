/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * lib/buf/multibuf against a model: all operations in random order on a few
 * packets, and after each the handles, the bytes, the frames and the blocks are
 * what the model says.  A refusal is right only where something is short.
 */
#include "multibuf_edits.h"

#include <stdlib.h>
#include <time.h>

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
	int rc = is_front ? xmb_multibuf_push_front(&mbs[i], chunk, &caches[c])
			  : xmb_multibuf_push_back(&mbs[i], chunk, &caches[c]);

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
	int rc = is_front ? xmb_multibuf_pop_front(&mbs[i], &chunk, &caches[c])
			  : xmb_multibuf_pop_back(&mbs[i], &chunk, &caches[c]);

	MUST(rc == (m->cnt ? 0 : -ENOENT));
	if (rc < 0)
		return;
	p = m->p[is_front ? 0 : m->cnt - 1];
	model_remove(m, is_front ? 0 : m->cnt - 1, 1);
	push(j, c, &chunk, &p, rnd(2));
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
	struct piece *p = is_front || !m->cnt ? m->p : &m->p[m->cnt - 1];
	uint32_t n = rnd(48), edge;
	int want = n ? -ERANGE : 0, rc;

	if (m->cnt > 0) {
		edge = is_front ? p->off : p->off + p->len;
		if (n > 0 && p->flags & XMB_CHUNK_RDONLY)
			want = -EPERM;
		else if (n <= (is_front ? p->off : region_len(p->pool) - edge))
			want = claim_result(p, edge - (is_front ? n : 0),
					    edge + (is_front ? 0 : n), edge);
	}
	rc = is_front ? xmb_multibuf_claim_prefix(&mbs[i], n)
		      : xmb_multibuf_claim_suffix(&mbs[i], n);
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
	static uint8_t tmp[LEN_MAX], copy[LEN_MAX];
	struct xmb_multibuf_index index;
	uint8_t *p;

	p = xmb_multibuf_get(&mbs[i], off, n, tmp);
	MUST(!p == (off > len || n > len - off));
	if (!p)
		return;
	MUST(xmb_multibuf_copy_to(&mbs[i], off, copy, n) == n);
	MUST(memcmp(p, copy, n) == 0);
	MUST(xmb_multibuf_index_at(&mbs[i], off, &index) == 0);
	MUST(off == len ? index.chunk == mbs[i].cnt && index.byte == 0
			: n == 0 || *xmb_multibuf_at(&mbs[i], index) == *copy);
	write_new(i, off, off + n);
}

/* The calls of edit.h. */
static void do_edit(uint32_t i, uint32_t j, uint32_t c)
{
	switch (op) {
	case 15:
	case 16:
		do_insert(i, j, c);
		break;
	case 17:
	case 18:
		do_take(i, c);
		break;
	case 19:
		do_discard(i, c);
		break;
	case 20:
		do_grow(i, c);
		break;
	case 21:
		do_align(i, c);
		break;
	case 22:
		do_share(i, c);
		break;
	case 23:
		do_unshare(i);
		break;
	case 24:
		do_fragment(i, c);
		break;
	case 25:
		do_reserve(i, c);
		break;
	case 26:
		if (rnd(2))
			do_write(i, c);
		else
			do_attach(i, c);
		break;
	default:
		xmb_multibuf_release(&mbs[i], &caches[c]);
		models[i].cnt = models[i].len = models[i].user = 0;
	}
}

static void do_step(void)
{
	uint32_t i = rnd(MB_CNT), j = rnd(MB_CNT), c = rnd(CACHE_CNT);

	op = rnd(28);
	/* A split wants an empty tail. */
	if (op >= 7 && op <= 10 && pick_empty() < MB_CNT)
		j = pick_empty();
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
		do_move(i, j, c);
		break;
	case 5:
		do_chunk(i, j, c);
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
		do_edit(i, j, c);
	}
	verify(i);
	verify(j);
}

static void run(uint32_t step_cnt)
{
	struct xmb_cache *of_pool[POOL_CNT][2] = {
		{ &caches[0], &caches[1] },
		{ &caches[2] },
	};

	rng = seed;
	for (step = 1; step <= step_cnt; step++) {
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
	for (uint32_t i = POOL_CNT; i < AREA_CNT; i++)
		MUST(span_dom[i] == 0);
}

/* Pools of this setting, runs with several seeds, and the pools' end. */
static void run_setting(const struct setting *setting, uint32_t step_cnt)
{
	opts = setting->opts;
	span_len = setting->span_len;
	memset(side, 0, sizeof(side));
	for (uint32_t i = 0; i < POOL_CNT; i++) {
		struct xmb_pool_opts o = opts[i];

		o.base = frames[i];
		MUST(o.frame_cnt * o.frame_len <= AREA_LEN_MAX);
		MUST(xmb_pool_footprint(&o) <= sizeof(side[i]));
		MUST(xmb_pool_init(&pools[i], side[i], &o) == 0);
	}
	for (uint32_t c = 0; c < CACHE_CNT; c++)
		xmb_cache_init(&caches[c], &pools[cache_pool[c]], c + 1);
	copy_cnt = copy_len = 0;
	for (uint32_t i = 0; i < 2; i++, seed++)
		run(step_cnt);
	for (uint32_t c = 0; c < CACHE_CNT; c++)
		xmb_cache_fini(&caches[c]);
	xmb_pool_fini(&pools[0]);
	xmb_pool_fini(&pools[1]);
}

/* XMB_STEPS: so many calls in all, with seeds that differ from run to run. */
Test(multibuf_model, random_calls_agree_with_the_model, .timeout = 1800)
{
	const char *steps = getenv("XMB_STEPS");
	uint32_t run_cnt = 2 * sizeof(settings) / sizeof(settings[0]);
	uint32_t step_cnt =
		steps ? (uint32_t)strtoul(steps, NULL, 10) / run_cnt : STEP_CNT;

	seed = 1;
	if (steps) {
		seed = (uint32_t)time(NULL) | 1;
		cr_log_info("seed %u", seed);
	}
	for (size_t i = 0; i < sizeof(settings) / sizeof(settings[0]); i++) {
		run_setting(&settings[i], step_cnt);
		cr_expect(gt(u64, copy_cnt, step_cnt / 100));
	}
	/* The run is worth something only if it went everywhere. */
	cr_expect(gt(u64, done_cnt, step_cnt));
	cr_expect(gt(u64, refused_cnt, step_cnt / 20));
	cr_log_info("%llu done, %llu refused", (unsigned long long)done_cnt,
		    (unsigned long long)refused_cnt);
}
