/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * lib/buf/chunk and handover: random calls against a model with no cleverness
 * in it: who owns each byte of each frame is written down byte by byte, and
 * what every call must answer is read off that.
 */
#include "buf/chunk.h"
#include "buf/handover.h"

#include "buf_lab.h"

enum {
	FRAME_CNT = 3,
	FRAME_LEN_MAX = 32768,
	HANDLE_CNT = 14,
	RING_CNT = 2,
	NOBODY = 0,
};

/* Where the bytes that a handle names are. */
enum place { NOWHERE, APP, TX_FRAME, TX_SLOT };

struct handle {
	struct xmb_chunk chunk;
	enum place place;
	uint32_t frame, off, len, who;
};

struct model {
	struct lab lab;
	uint32_t frame_len;
	uint64_t seed;
	struct handle handles[HANDLE_CNT];
	/* Each byte's handle + 1, or NOBODY. */
	uint8_t owner[FRAME_CNT][FRAME_LEN_MAX];
	uint32_t fill_who[FRAME_CNT]; /* 0: not in a fill ring */
	uint32_t done[16];	      /* calls by kind and success */
};

static struct model m;
static const uint32_t whos[RING_CNT] = { 1, XMB_WHO_MAX };

static uint32_t rnd(uint32_t below)
{
	return lab_rand(&m.seed) % below;
}

/* Lengths near the ends are the interesting ones. */
static uint32_t rnd_len(uint32_t max)
{
	switch (rnd(6)) {
	case 0:
		return 0;
	case 1:
		return max;
	case 2:
		return max + 1;
	case 3:
		return rnd(xmb_min_u32(max, 4) + 1);
	default:
		return rnd(max + 1);
	}
}

static void own(struct handle *h, uint32_t off, uint32_t len, bool is_owner)
{
	uint8_t *owner = m.owner[h->frame];
	uint8_t me = (uint8_t)(h - m.handles + 1);

	for (uint32_t i = off; i < off + len; i++) {
		cr_assert(eq(u8, owner[i], is_owner ? NOBODY : me));
		owner[i] = is_owner ? me : NOBODY;
	}
}

/* The handle's bytes are now [off, off+len). */
static void move(struct handle *h, uint32_t off, uint32_t len)
{
	own(h, h->off, h->len, false);
	h->off = off;
	h->len = len;
	own(h, off, len, true);
}

static void drop(struct handle *h)
{
	own(h, h->off, h->len, false);
	h->place = NOWHERE;
	cr_assert(not(xmb_chunk_is_live(&h->chunk)));
}

static void appear(struct handle *h, uint32_t frame, uint32_t off, uint32_t len)
{
	h->place = APP;
	h->frame = frame;
	h->off = off;
	h->len = len;
	own(h, off, len, true);
}

static uint32_t sharers(uint32_t frame)
{
	uint32_t cnt = 0;

	for (int i = 0; i < HANDLE_CNT; i++)
		cnt += m.handles[i].place != NOWHERE &&
		       m.handles[i].frame == frame;
	return cnt;
}

static uint32_t free_frames(void)
{
	uint32_t cnt = 0;

	for (uint32_t i = 0; i < FRAME_CNT; i++)
		cnt += sharers(i) == 0 && m.fill_who[i] == 0;
	return cnt;
}

/* What a claim of [a, b), next to h at the byte edge, must return. */
static int expect_claim(const struct handle *h, uint32_t a, uint32_t b,
			uint32_t edge)
{
	for (uint32_t i = a; i < b; i++) {
		if (m.owner[h->frame][i] != NOBODY)
			return -EBUSY;
	}
	for (int i = 0; i < HANDLE_CNT && a < b; i++) {
		const struct handle *o = &m.handles[i];

		if (o != h && o->place != NOWHERE && o->frame == h->frame &&
		    o->len == 0 &&
		    (o->off == edge || (o->off > a && o->off < b)))
			return -EBUSY;
	}
	return 0;
}

static void do_alloc(struct handle *h)
{
	int want = free_frames() ? 0 : -ENOBUFS;

	cr_assert(eq(int, xmb_chunk_alloc(&m.lab.cache, &h->chunk), want));
	if (want)
		return;
	cr_assert(zero(u32, sharers(h->chunk.region)));
	cr_assert(zero(u32, m.fill_who[h->chunk.region]));
	appear(h, h->chunk.region, 0, m.frame_len);
	m.done[0]++;
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
		m.done[1] += got;
		return;
	}
	cr_assert(eq(int, xmb_handover_rx(&m.lab.cache, who, addr, len,
					  &h->chunk), want));
	if (want)
		return;
	m.fill_who[frame] = 0;
	appear(h, frame, off, len);
	m.done[2]++;
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
	m.done[3] += ret == 0;
}

static void do_claim(struct handle *h)
{
	uint32_t end = h->off + h->len, behind = m.frame_len - end;
	bool is_prefix = rnd(2);
	uint32_t n = rnd(3) ? rnd(4) : rnd_len(is_prefix ? h->off : behind);
	int ret, want;

	if (is_prefix) {
		want = n > h->off ? -ERANGE :
				    expect_claim(h, h->off - n, h->off, h->off);
		ret = xmb_chunk_claim_prefix(&h->chunk, n);
	} else {
		want = n > behind ? -ERANGE :
				    expect_claim(h, end, end + n, end);
		ret = xmb_chunk_claim_suffix(&h->chunk, n);
	}
	cr_assert(eq(int, ret, want));
	if (ret == 0)
		move(h, is_prefix ? h->off - n : h->off, h->len + n);
	m.done[4] += ret == 0 && n > 0;
	m.done[5] += ret == -EBUSY;
}

static void do_split(struct handle *h, struct handle *spare)
{
	uint32_t at = rnd_len(h->len), off = h->off, len = h->len;
	int want = at > len ? -ERANGE :
		   sharers(h->frame) == XMB_TRACKER_SLOTS ? -ENOSPC : 0;

	cr_assert(eq(int, xmb_chunk_split(&h->chunk, at, &spare->chunk), want));
	m.done[6] += want == 0;
	m.done[7] += want == -ENOSPC;
	if (want)
		return;
	move(h, off, at);
	appear(spare, h->frame, off + at, len - at);
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
	m.done[8 + is_alone]++;
}

/* The handle, if any, that a completion of this address brings back. */
static struct handle *expect_complete(uint32_t frame, uint32_t off,
				      uint32_t who)
{
	for (int i = 0; i < HANDLE_CNT; i++) {
		struct handle *h = &m.handles[i];

		if (h->frame != frame || h->who != who)
			continue;
		if (h->place == TX_FRAME ||
		    (h->place == TX_SLOT && h->off == off))
			return h;
	}
	return NULL;
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
	m.done[10] += h != NULL;
	m.done[11] += h == NULL;
	if (h)
		drop(h);
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
	m.done[12] += cnt > 0;
}

static void check_all(void)
{
	struct xmb_cache *caches[] = { &m.lab.cache };
	int64_t app_cnt = 0;

	for (uint32_t i = 0; i < FRAME_CNT; i++)
		app_cnt += sharers(i) > 0;
	for (int i = 0; i < HANDLE_CNT; i++) {
		const struct handle *h = &m.handles[i];

		app_cnt -= h->place == TX_FRAME;
		cr_assert(xmb_chunk_check(&h->chunk));
		cr_assert(eq(int, xmb_chunk_is_live(&h->chunk),
			     h->place == APP));
		if (h->place != APP)
			continue;
		cr_assert(eq(u32, h->chunk.region, h->frame));
		cr_assert(eq(u32, h->chunk.off, h->off));
		cr_assert(eq(u32, h->chunk.len, h->len));
	}
	cr_assert(eq(i64, m.lab.cache.app_cnt, app_cnt));
	cr_assert(eq(u32, m.lab.cache.cnt + xmb_pool_free_cnt(&m.lab.pool),
		     free_frames()));
	cr_assert(xmb_pool_check(&m.lab.pool, caches, 1));
}

static void step(void)
{
	struct handle *h = &m.handles[rnd(HANDLE_CNT)];
	struct handle *spare = &m.handles[rnd(HANDLE_CNT)];
	uint32_t op = rnd(32);

	if (h->place == NOWHERE) {
		op % 4 ? do_fill_or_rx(h) : do_alloc(h);
	} else if (h->place >= TX_FRAME) {
		if (op == 0)
			do_close(h->who);
		else if (op < 16)
			do_complete(h);
	} else if (op < 6) {
		do_trim(h);
	} else if (op < 18) {
		do_claim(h);
	} else if (op < 24) {
		if (spare->place == NOWHERE)
			do_split(h, spare);
	} else if (op < 27) {
		do_tx(h);
	} else if (op < 29) {
		do_complete(spare);
	} else {
		xmb_chunk_release(&h->chunk, &m.lab.cache);
		drop(h);
	}
}

static void run(uint32_t frame_len, int steps, uint64_t seed)
{
	m.frame_len = frame_len;
	m.seed = seed;
	lab_open(&m.lab, frame_len, FRAME_CNT, 0);
	for (int i = 0; i < steps; i++) {
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
	lab_close(&m.lab);
	/* Every kind of call was met, often. */
	for (int i = 0; i <= 12; i++)
		cr_expect(gt(u32, m.done[i], (uint32_t)steps / 6000),
			  "kind %d", i);
}

TestSuite(chunk_model, .timeout = 60);

Test(chunk_model, random_calls_on_frames_of_64_bytes)
{
	run(64, 1000000, 1);
}

Test(chunk_model, random_calls_on_frames_of_65_bytes)
{
	run(65, 200000, 2);
}

Test(chunk_model, random_calls_on_frames_of_2048_bytes)
{
	run(2048, 100000, 3);
}

Test(chunk_model, random_calls_on_frames_of_4096_bytes)
{
	run(4096, 60000, 4);
}

Test(chunk_model, random_calls_on_frames_of_32768_bytes)
{
	run(32768, 12000, 5);
}
