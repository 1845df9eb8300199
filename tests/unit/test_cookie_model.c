/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * lib/buf/cookie in random steps: packets are made, marked, cut, chained,
 * released, dropped, sent and completed.  The model looks where each marked
 * frame is by walking everything: a cookie is due when its last frame is
 * nowhere any more.
 */
#include "buf/cookie.h"

#include "sock_lab.h"

#include "buf/handover.h"

#include <errno.h>

enum {
	STEPS = 30000,
	BOX_CNT = 6,
	HELD_MAX = 12,
	SENT_MAX = 256,
	CHAIN_MAX = 20,
	WHO = 3,
};

/* What the model knows of a frame, and of a cookie. */
struct frame {
	uint64_t cookie; /* 0: none */
	bool is_out;
};

struct cookie {
	uint64_t cookie; /* 0: a free place */
	uint32_t left, cnt[XMB_HOME_SENT + 1];
};

static struct xmb_cookie_box box;
static struct xmb_multibuf held[HELD_MAX];
static uint64_t sent[SENT_MAX];
static uint32_t sent_cnt, done_cnt, full_cnt, mixed_cnt;
static struct frame frames[FRAME_CNT];
static struct cookie cookies[BOX_CNT];
static uint64_t last_cookie, seed;

static void setup(void)
{
	lab_open(&lab, FRAME_LEN, FRAME_CNT, 0);
	cr_assert(eq(int, xmb_cookie_box_init(&box, BOX_CNT), 0));
	seed = 5;
}

static void teardown(void)
{
	cr_expect(eq(int, xmb_cookie_box_fini(&box), 0));
	lab_close(&lab);
}

TestSuite(cookie_model, .init = setup, .fini = teardown, .timeout = 300);

static uint32_t rnd(uint32_t below)
{
	return lab_rand(&seed) % below;
}

static struct cookie *cookie_of(uint64_t cookie)
{
	for (int i = 0; i < BOX_CNT; i++)
		if (cookies[i].cookie == cookie)
			return &cookies[i];
	return NULL;
}

static void walk(void (*see)(uint32_t region))
{
	struct xmb_multibuf_iter iter;

	for (int i = 0; i < HELD_MAX; i++)
		for (const struct xmb_chunk *c =
			     xmb_multibuf_first(&held[i], &iter);
		     c; c = xmb_multibuf_next(&iter))
			see(c->region);
	for (uint32_t i = 0; i < sent_cnt; i++)
		see((uint32_t)(sent[i] / FRAME_LEN));
}

static void see_frame(uint32_t region)
{
	frames[region].is_out = true;
}

/* Frames that are nowhere any more are home, by what was just done. */
static void look(enum xmb_home how)
{
	for (uint32_t i = 0; i < FRAME_CNT; i++)
		frames[i].is_out = false;
	walk(see_frame);
	for (uint32_t i = 0; i < FRAME_CNT; i++) {
		struct cookie *cookie;

		if (frames[i].cookie == 0 || frames[i].is_out)
			continue;
		cookie = cookie_of(frames[i].cookie);
		frames[i].cookie = 0;
		cr_assert(cookie != NULL);
		cookie->left--;
		cookie->cnt[how]++;
	}
}

static void reap(void)
{
	struct xmb_completion done[BOX_CNT];
	uint32_t n = xmb_cookie_reap(&box, done, 1 + rnd(BOX_CNT)), due = 0;

	for (uint32_t i = 0; i < n; i++) {
		struct cookie *cookie = cookie_of(done[i].cookie);

		cr_assert(cookie != NULL && done[i].cookie != 0);
		cr_assert(eq(u32, cookie->left, 0));
		cr_assert(eq(u32, done[i].sent_cnt,
			     cookie->cnt[XMB_HOME_SENT]));
		cr_assert(eq(u32, done[i].released_cnt,
			     cookie->cnt[XMB_HOME_RELEASED]));
		cr_assert(eq(u32, done[i].dropped_cnt,
			     cookie->cnt[XMB_HOME_DROPPED]));
		mixed_cnt += done[i].sent_cnt && done[i].released_cnt &&
			     done[i].dropped_cnt;
		*cookie = (struct cookie){ 0 };
		done_cnt++;
	}
	if (n == 0)
		for (int i = 0; i < BOX_CNT; i++)
			due += cookies[i].cookie && cookies[i].left == 0;
	cr_assert(eq(u32, due, 0));
}

static struct xmb_multibuf *pick(bool is_empty)
{
	struct xmb_multibuf *mb = &held[rnd(HELD_MAX)];

	return (mb->cnt == 0) == is_empty ? mb : NULL;
}

static void step_make(struct xmb_multibuf *mb)
{
	uint32_t cnt = 1 + rnd(4);
	struct cookie *place = cookie_of(0);
	int err;

	for (uint32_t i = 0; i < cnt; i++) {
		struct xmb_multibuf more = packet_of(i, 8 + rnd(40));

		cr_assert(eq(int, xmb_multibuf_append(mb, &more, &lab.cache),
			     0));
	}
	err = xmb_cookie_attach(&box, mb, ++last_cookie);
	cr_assert(eq(int, err, place ? 0 : -ENOSPC));
	full_cnt += err != 0;
	if (err)
		return;
	*place = (struct cookie){ .cookie = last_cookie, .left = cnt };
	for (uint32_t i = 0; i < cnt; i++)
		frames[xmb_multibuf_chunk(mb, i)->region].cookie = last_cookie;
}

static void step_send(struct xmb_multibuf *mb)
{
	struct xmb_multibuf_iter iter;
	bool is_excl;

	if (sent_cnt + mb->cnt > SENT_MAX)
		return;
	for (struct xmb_chunk *c = xmb_multibuf_first(mb, &iter); c;
	     c = xmb_multibuf_next(&iter))
		if (c->len > 0)
			sent[sent_cnt++] = xmb_handover_tx(&lab.cache, WHO, c,
							   &is_excl);
	mb->len = 0;
	xmb_multibuf_release(mb, &lab.cache);
	look(XMB_HOME_RELEASED);
}

static void step_complete(void)
{
	uint32_t i;

	if (sent_cnt == 0)
		return;
	i = rnd(sent_cnt);
	cr_assert(ge(int, xmb_handover_complete(&lab.cache, WHO, sent[i]), 0));
	sent[i] = sent[--sent_cnt];
	look(XMB_HOME_SENT);
}

static void step_join_or_cut(void)
{
	struct xmb_multibuf *mb = pick(false), *to = &held[rnd(HELD_MAX)];

	if (!mb || mb == to)
		return;
	if (to->cnt == 0)
		cr_assert(eq(int, xmb_multibuf_split(mb, rnd(mb->len + 1), to,
						     &lab.cache), 0));
	else if (mb->cnt + to->cnt < CHAIN_MAX)
		cr_assert(eq(int, xmb_multibuf_append(mb, to, &lab.cache), 0));
	look(XMB_HOME_RELEASED);
}

static void step(void)
{
	struct xmb_multibuf *mb;

	switch (rnd(9)) {
	case 0:
	case 1:
		mb = pick(true);
		if (mb)
			step_make(mb);
		break;
	case 2:
	case 3:
		step_join_or_cut();
		break;
	case 4:
		mb = pick(false);
		if (mb)
			step_send(mb);
		break;
	case 5:
		mb = pick(false);
		if (mb)
			xmb_multibuf_release(mb, &lab.cache);
		look(XMB_HOME_RELEASED);
		break;
	case 6:
		mb = pick(false);
		if (mb)
			xmb_multibuf_drop(mb, &lab.cache);
		look(XMB_HOME_DROPPED);
		break;
	case 7:
		for (uint32_t i = rnd(8); i > 0; i--)
			step_complete();
		break;
	default:
		reap();
	}
}

Test(cookie_model, every_cookie_comes_back_once_when_its_frames_are_home)
{
	for (int i = 0; i < STEPS; i++)
		step();
	for (int i = 0; i < HELD_MAX; i++)
		xmb_multibuf_release(&held[i], &lab.cache);
	look(XMB_HOME_RELEASED);
	while (sent_cnt > 0)
		step_complete();
	while (box.out_cnt > 0)
		reap();
	for (int i = 0; i < BOX_CNT; i++)
		cr_expect(eq(u64, cookies[i].cookie, 0));
	cr_expect(gt(u32, done_cnt, STEPS / 100));
	cr_expect(gt(u32, full_cnt, 10));
	cr_expect(gt(u32, mixed_cnt, 10));
}
