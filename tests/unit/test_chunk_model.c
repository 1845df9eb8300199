/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * lib/buf/chunk and handover: random calls on frames, and on memory of the
 * caller's, against the model of chunk_model.h.  XMB_STEPS=N makes it N calls
 * in all, instead of some 1.5 million.
 */
#include "chunk_model.h"

static void do_alloc(struct handle *h)
{
	int want = free_frames() ? 0 : -ENOBUFS;

	cr_assert(eq(int, xmb_chunk_alloc(&m.lab.cache, &h->chunk), want));
	if (want)
		return;
	cr_assert(zero(u32, sharers(h->chunk.region)));
	cr_assert(zero(u32, m.fill_who[h->chunk.region]));
	appear(h, h->chunk.region, 0, m.frame_len);
	m.done[ALLOCATED]++;
}

static void on_free(void *arg, void *mem, size_t len)
{
	cr_assert(eq(ptr, mem, m.span));
	cr_assert(eq(sz, len, m.span_len));
	++*(int *)arg;
}

/* The span is cut anew, once all that was of it is gone. */
static void do_attach(void)
{
	struct xmb_multibuf mb = { 0 };

	for (uint32_t i = 0; i < m.frame_cnt; i++) {
		if (sharers(i))
			return;
	}
	cr_assert(eq(int, m.freed_cnt, m.attached_cnt));
	m.attached_cnt++;
	cr_assert(eq(int, xmb_extbuf_attach(&m.lab.cache, m.span, m.span_len,
					    on_free, &m.freed_cnt, &mb), 0));
	for (uint32_t i = 0; i < m.frame_cnt; i++) {
		struct handle *h = &m.handles[i];

		cr_assert(eq(int, xmb_multibuf_pop_front(&mb, &h->chunk,
							 &m.lab.cache), 0));
		appear(h, i, 0, frame_len(i));
	}
	m.done[ALLOCATED]++;
}

static void do_fill_or_rx(struct handle *h)
{
	uint32_t frame = rnd(FRAME_CNT), off = rnd(m.frame_len);
	uint32_t len = rnd_len(m.frame_len - off), who = whos[rnd(RING_CNT)];
	uint64_t addr = (uint64_t)frame * m.frame_len + off;
	int want = m.fill_who[frame] == who && len <= m.frame_len - off ?
			   0 : -EPROTO;
	uint32_t got;

	if (rnd(2)) {
		got = xmb_handover_fill(&m.lab.cache, who, &addr, 1);
		cr_assert(eq(u32, got, free_frames() > 0));
		if (got)
			m.fill_who[addr / m.frame_len] = who;
		m.done[FILLED] += got;
		return;
	}
	cr_assert(eq(int, xmb_handover_rx(&m.lab.cache, who, addr, len,
					  &h->chunk), want));
	if (want)
		return;
	m.fill_who[frame] = 0;
	appear(h, frame, off, len);
	m.done[RECEIVED]++;
}

static void do_trim(struct handle *h)
{
	uint32_t n = rnd_len(h->len), from = rnd_len(h->len);
	uint32_t want_len, want_off;
	int ret, want;

	switch (rnd(3)) {
	case 0:
		want = n > h->len ? -ERANGE : 0;
		want_off = h->off + n;
		want_len = h->len - n;
		ret = xmb_chunk_discard_prefix(&h->chunk, n);
		break;
	case 1:
		want = n > h->len ? -ERANGE : 0;
		want_off = h->off;
		want_len = n;
		ret = xmb_chunk_truncate(&h->chunk, n);
		break;
	default:
		want = from > n || n > h->len ? -ERANGE : 0;
		want_off = h->off + from;
		want_len = n - from;
		ret = xmb_chunk_slice(&h->chunk, from, n);
	}
	cr_assert(eq(int, ret, want));
	if (ret == 0)
		move(h, want_off, want_len);
	m.done[TRIMMED] += ret == 0;
}

static void do_claim(struct handle *h)
{
	uint32_t end = h->off + h->len, behind = frame_len(h->frame) - end;
	bool is_prefix = rnd(2);
	uint32_t n = rnd(3) ? rnd(4) : rnd_len(is_prefix ? h->off : behind);
	uint32_t a = is_prefix ? h->off - n : end;
	int ret, want;

	if (h->is_rdonly)
		want = n ? -EPERM : 0;
	else if (n > (is_prefix ? h->off : behind))
		want = -ERANGE;
	else
		want = expect_claim(h, a, a + n, is_prefix ? h->off : end);
	ret = is_prefix ? xmb_chunk_claim_prefix(&h->chunk, n) :
			  xmb_chunk_claim_suffix(&h->chunk, n);
	cr_assert(eq(int, ret, want));
	if (ret == 0)
		move(h, is_prefix ? a : h->off, h->len + n);
	m.done[CLAIMED] += ret == 0 && n > 0;
	m.done[CLAIM_BUSY] += ret == -EBUSY;
	m.done[NOT_PERMITTED] += ret == -EPERM;
}

/* Split, or take either end; `at` is where the cut is. */
static void do_split(struct handle *h, struct handle *spare)
{
	uint32_t n = rnd_len(h->len), off = h->off, len = h->len, at = n;
	bool is_end = h->is_end;
	int want = h->is_rdonly ? -EPERM :
		   n > len ? -ERANGE :
		   sharers(h->frame) == XMB_TRACKER_SLOTS ? -ENOSPC : 0;
	uint32_t how = rnd(3);
	int ret;

	if (how == 0) {
		ret = xmb_chunk_split(&h->chunk, n, &spare->chunk);
	} else if (how == 1) {
		at = len - n;
		ret = xmb_chunk_take_suffix(&h->chunk, n, &spare->chunk);
	} else {
		ret = xmb_chunk_take_prefix(&h->chunk, n, &spare->chunk);
	}
	cr_assert(eq(int, ret, want));
	m.done[SPLIT] += want == 0;
	m.done[SPLIT_FULL] += want == -ENOSPC;
	m.done[NOT_PERMITTED] += want == -EPERM;
	if (want)
		return;
	if (how == 2) {
		move(h, off + at, len - at);
		appear(spare, h->frame, off, at);
	} else {
		move(h, off, at);
		appear(spare, h->frame, off + at, len - at);
		h->is_end = false;
		spare->is_end = is_end;
	}
}

/* Mostly with the one that fits, if there is one. */
static void do_merge(struct handle *h, struct handle *next)
{
	bool is_fit = rnd(4);
	int want = 0;

	for (int i = 0; i < HANDLE_CNT && is_fit; i++) {
		struct handle *o = &m.handles[i];

		if (o != h && o->place == APP && o->frame == h->frame &&
		    o->off == h->off + h->len)
			next = o;
	}
	if (h == next || next->place != APP)
		want = -EINVAL;
	else if (h->is_rdonly || next->is_rdonly)
		want = -EPERM;
	else if (h->frame != next->frame)
		want = -EXDEV;
	else if (h->off + h->len != next->off)
		want = -ERANGE;
	cr_assert(eq(int, xmb_chunk_merge(&h->chunk, &next->chunk), want));
	m.done[MERGED] += want == 0;
	m.done[NOT_MERGED] += want != 0;
	if (want)
		return;
	h->is_end = next->is_end;
	h->len += next->len;
	own(next, next->off, next->len, false);
	own(h, h->off, h->len, true);
	next->len = 0;
	drop(next);
	cr_assert(eq(int, xmb_chunk_is_excl(&h->chunk),
		     sharers(h->frame) == 1));
}

static void do_share(struct handle *h, struct handle *spare)
{
	int want = sharers(h->frame) == XMB_TRACKER_SLOTS ? -ENOSPC : 0;

	cr_assert(eq(int, xmb_chunk_share(&h->chunk, &spare->chunk), want));
	m.done[SHARED] += want == 0;
	m.done[SHARE_FULL] += want == -ENOSPC;
	if (want)
		return;
	h->is_rdonly = true;
	appear(spare, h->frame, h->off, h->len);
	spare->is_rdonly = true;
	spare->is_end = h->is_end;
}

static void do_unshare(struct handle *h)
{
	bool was_rdonly = h->is_rdonly;
	int want = was_rdonly && is_read_along(h) ? -EBUSY : 0;

	cr_assert(eq(int, xmb_chunk_unshare(&h->chunk), want));
	m.done[UNSHARED] += want == 0 && was_rdonly;
	m.done[UNSHARE_BUSY] += want == -EBUSY;
	if (want)
		return;
	h->is_rdonly = false;
	if (was_rdonly)
		cr_assert(eq(int, xmb_chunk_is_excl(&h->chunk),
			     sharers(h->frame) == 1));
}

static void do_write(struct handle *h)
{
	uint32_t off = rnd_len(h->len), n = rnd(3) ? rnd(17) : rnd_len(h->len);
	uint8_t bytes[32];
	int want;

	n = xmb_min_u32(n, sizeof(bytes));
	want = h->is_rdonly ? -EPERM :
	       off > h->len || n > h->len - off ? -ERANGE : 0;
	memset(bytes, (int)rnd(256), sizeof(bytes));
	cr_assert(eq(int, xmb_chunk_write(&h->chunk, off, bytes, n), want));
	m.done[WRITTEN] += want == 0 && n > 0;
	m.done[NOT_PERMITTED] += want == -EPERM;
	if (want == 0)
		memcpy(&m.bytes[h->frame][h->off + off], bytes, n);
}

/* The mark that a multibuf sets and clears, and the rest must keep. */
static void do_mark(struct handle *h)
{
	h->is_end = !h->is_end;
	h->chunk.flags ^= XMB_CHUNK_END;
}

static void do_tx(struct handle *h)
{
	uint64_t addr = (uint64_t)h->frame * m.frame_len + h->off;
	bool is_alone = sharers(h->frame) == 1, is_excl = !is_alone;

	if (h->len == 0)
		return;
	h->who = whos[rnd(RING_CNT)];
	cr_assert(eq(u64, xmb_handover_tx(&m.lab.cache, h->who, &h->chunk,
					  &is_excl), addr));
	cr_assert(eq(int, is_excl, is_alone));
	cr_assert(not(xmb_chunk_is_live(&h->chunk)));
	h->place = is_alone ? TX_FRAME : TX_SLOT;
	m.done[is_alone ? SENT_FRAME : SENT_SLOT]++;
}

static void do_complete(const struct handle *hint)
{
	bool is_true = hint->place >= TX_FRAME && rnd(4);
	uint32_t frame = is_true ? hint->frame : rnd(FRAME_CNT);
	uint32_t off = is_true ? hint->off : rnd(m.frame_len);
	uint32_t who = is_true ? hint->who : whos[rnd(RING_CNT)];
	struct handle *h = expect_complete(frame, off, who);
	int want = !h ? -EPROTO : h->place == TX_FRAME;

	cr_assert(eq(int, xmb_handover_complete(
				  &m.lab.cache, who,
				  (uint64_t)frame * m.frame_len + off), want));
	m.done[COMPLETED] += h != NULL;
	m.done[NOT_COMPLETED] += h == NULL;
	if (h)
		drop(h);
}

static void do_release(struct handle *h)
{
	xmb_chunk_release(&h->chunk, &m.lab.cache);
	drop(h);
	/* Twice of the same variable is harmless. */
	xmb_chunk_release(&h->chunk, &m.lab.cache);
}

/* A queue closes: what it had comes back through HELD. */
static void do_close(uint32_t who)
{
	struct xmb_handover_held held, want = { 0 };
	uint32_t cnt;

	for (int i = 0; i < HANDLE_CNT; i++) {
		const struct handle *h = &m.handles[i];

		want.tx_cnt += h->place == TX_FRAME && h->who == who;
		want.slot_cnt += h->place == TX_SLOT && h->who == who;
	}
	for (int i = 0; i < FRAME_CNT; i++)
		want.fill_cnt += m.fill_who[i] == who;
	held = xmb_handover_hold(&m.lab.pool, who);
	cr_assert(zero(int, memcmp(&held, &want, sizeof(held))));
	cnt = xmb_handover_unhold(&m.lab.cache, who);
	cr_assert(eq(u32, cnt, held.fill_cnt + held.tx_cnt + held.slot_cnt));
	for (int i = 0; i < HANDLE_CNT; i++) {
		if (m.handles[i].place >= TX_FRAME && m.handles[i].who == who)
			drop(&m.handles[i]);
	}
	for (int i = 0; i < FRAME_CNT; i++) {
		if (m.fill_who[i] == who)
			m.fill_who[i] = 0;
	}
	m.done[CLOSED] += cnt > 0;
}

static void check_handle(const struct handle *h)
{
	cr_assert(xmb_chunk_check(&h->chunk));
	cr_assert(eq(int, xmb_chunk_is_live(&h->chunk), h->place == APP));
	if (h->place == NOWHERE)
		return;
	cr_assert(zero(int, memcmp(frame_base(h->frame) + h->off,
				   &m.bytes[h->frame][h->off], h->len)));
	if (h->place != APP)
		return;
	cr_assert(eq(u32, h->chunk.region, h->frame));
	cr_assert(eq(u32, h->chunk.off, h->off));
	cr_assert(eq(u32, h->chunk.len, h->len));
	cr_assert(eq(int, xmb_chunk_is_rdonly(&h->chunk), h->is_rdonly));
	cr_assert(eq(int, !!(h->chunk.flags & XMB_CHUNK_END), h->is_end));
}

static void check_all(void)
{
	struct xmb_cache *caches[] = { &m.lab.cache };
	int64_t app_cnt = 0;

	for (uint32_t i = 0; i < m.frame_cnt && !m.span; i++)
		app_cnt += sharers(i) > 0;
	for (int i = 0; i < HANDLE_CNT; i++) {
		app_cnt -= m.handles[i].place == TX_FRAME;
		check_handle(&m.handles[i]);
	}
	cr_assert(eq(i64, m.lab.cache.app_cnt, app_cnt));
	cr_assert(eq(u32, m.lab.cache.cnt + xmb_pool_free_cnt(&m.lab.pool),
		     m.span ? m.lab.pool.domain.region_cnt : free_frames()));
	cr_assert(xmb_pool_check(&m.lab.pool, caches, 1));
}

static void step_chunk(struct handle *h, struct handle *spare, uint32_t op)
{
	bool is_idle = spare->place == NOWHERE;

	if (op < 6)
		do_trim(h);
	else if (op < 16)
		do_claim(h);
	else if (op < 22 && is_idle)
		do_split(h, spare);
	else if (op < 25)
		do_merge(h, spare);
	else if (op < 27 && is_idle)
		do_share(h, spare);
	else if (op < 31)
		do_unshare(h);
	else if (op < 34)
		do_write(h);
	else if (op < 35)
		do_mark(h);
	else if (op < 37 && !m.span)
		do_tx(h);
	else if (op < 38 && !m.span)
		do_complete(spare);
	else if (op < 40)
		do_release(h);
}

static void step(void)
{
	struct handle *h = &m.handles[rnd(HANDLE_CNT)];
	struct handle *spare = &m.handles[rnd(HANDLE_CNT)];
	uint32_t op = rnd(40);

	if (h->place == APP)
		step_chunk(h, spare, op);
	else if (m.span)
		do_attach();
	else if (h->place == NOWHERE)
		op % 4 ? do_fill_or_rx(h) : do_alloc(h);
	else if (op == 0)
		do_close(h->who);
	else if (op < 20)
		do_complete(h);
}

/* Calls of a run that is by default `steps` of all runs' STEPS_SUM. */
static uint64_t lengthen(uint64_t steps)
{
	const char *text = getenv("XMB_STEPS");
	uint64_t sum = text ? strtoull(text, NULL, 10) : STEPS_SUM;

	cr_assert(gt(u64, sum, 0));
	return (steps * sum + STEPS_SUM - 1) / STEPS_SUM;
}

static void run(uint64_t steps, uint64_t seed)
{
	m.seed = seed;
	steps = lengthen(steps);
	for (uint64_t i = 0; i < steps; i++) {
		step();
		if (i % 8 == 0)
			check_all();
	}
	check_all();
	for (int i = 0; i < HANDLE_CNT; i++)
		xmb_chunk_release(&m.handles[i].chunk, &m.lab.cache);
	for (int i = 0; i < RING_CNT; i++) {
		xmb_handover_hold(&m.lab.pool, whos[i]);
		xmb_handover_unhold(&m.lab.cache, whos[i]);
	}
	cr_expect(zero(i64, m.lab.cache.app_cnt));
	cr_expect(eq(int, m.freed_cnt, m.attached_cnt));
	lab_close(&m.lab);
	/* Every kind of call was met, often. */
	for (int i = 0; i < DONE_CNT; i++) {
		bool is_met = m.done[i] > steps / 20000;

		cr_expect(is_met || (m.span && is_of_frames(i)),
			  "kind %d: %u of %ju", i, m.done[i],
			  (uintmax_t)steps);
	}
}

static void run_frames(uint32_t frame_len, uint64_t steps, uint64_t seed)
{
	m.frame_cnt = FRAME_CNT;
	m.frame_len = m.last_len = frame_len;
	lab_open(&m.lab, frame_len, FRAME_CNT, 0);
	run(steps, seed);
}

/* The caller's memory: up to FRAME_CNT regions, the last one short. */
static void run_span(uint32_t len, uint64_t steps, uint64_t seed)
{
	static uint8_t span[FRAME_CNT * FRAME_LEN_MAX];

	m.span = span;
	m.span_len = len;
	m.frame_len = FRAME_LEN_MAX;
	m.frame_cnt = (len + FRAME_LEN_MAX - 1) / FRAME_LEN_MAX;
	m.last_len = len - (m.frame_cnt - 1) * FRAME_LEN_MAX;
	lab_open(&m.lab, 64, 4, 8);
	run(steps, seed);
}

/* meson's timeout is the one that counts. */
TestSuite(chunk_model, .timeout = 3600);

Test(chunk_model, random_calls_on_frames_of_64_bytes)
{
	run_frames(64, 1000000, 1);
}

Test(chunk_model, random_calls_on_frames_of_65_bytes)
{
	run_frames(65, 200000, 2);
}

Test(chunk_model, random_calls_on_frames_of_2048_bytes)
{
	run_frames(2048, 100000, 3);
}

Test(chunk_model, random_calls_on_frames_of_4096_bytes)
{
	run_frames(4096, 60000, 4);
}

Test(chunk_model, random_calls_on_frames_of_32768_bytes)
{
	run_frames(32768, 12000, 5);
}

Test(chunk_model, random_calls_on_a_span_of_64_bytes)
{
	run_span(64, 100000, 6);
}

Test(chunk_model, random_calls_on_a_span_of_4096_bytes)
{
	run_span(4096, 28000, 7);
}

Test(chunk_model, random_calls_on_a_span_of_65537_bytes)
{
	run_span(65537, 12000, 8);
}
