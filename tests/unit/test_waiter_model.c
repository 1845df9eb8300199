/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * lib/alloc/waiter against a model with no cleverness in it: a number of free
 * frames, an array of those who wait, and a rule of five lines.
 */
#include "alloc/waiter.h"

#include "buf_lab.h"

enum {
	FRAME_LEN = 64,
	FRAME_CNT = 48,
	SPILL_CNT = 256,
	WAITER_CNT = 12,
	MB_CNT = 16,
	STEP_CNT = 60000,
};

static struct lab lab;
static struct xmb_allocator allocator;
static struct xmb_waiters waiters;
static struct xmb_waiter w[WAITER_CNT];
static struct xmb_multibuf mbs[MB_CNT];
static uint32_t woken[2 * WAITER_CNT], woken_cnt;
static uint64_t seed = 5;

/* The model: everything in frames. */
struct want {
	uint32_t min, want;
};

static struct want wants[WAITER_CNT];
static uint32_t free_cnt = FRAME_CNT, held_cnt;
static uint32_t queue[WAITER_CNT], queue_cnt;
static uint32_t got[WAITER_CNT]; /* frames of a READY one */
static enum xmb_waiter_state states[WAITER_CNT];
static uint32_t expect_woken[2 * WAITER_CNT], expect_cnt;

static void model_serve(uint32_t quiet)
{
	while (queue_cnt > 0) {
		uint32_t i = queue[0], n;

		free_cnt += held_cnt;
		n = xmb_min_u32(wants[i].want, free_cnt);
		free_cnt -= n;
		held_cnt = n;
		if (n < wants[i].min)
			return;
		got[i] = n;
		held_cnt = 0;
		states[i] = XMB_WAITER_READY;
		memmove(queue, queue + 1, --queue_cnt * sizeof(*queue));
		if (i != quiet)
			expect_woken[expect_cnt++] = i;
	}
	free_cnt += held_cnt;
	held_cnt = 0;
}

static void model_leave(uint32_t i)
{
	for (uint32_t k = 0; k < queue_cnt; k++) {
		if (queue[k] != i)
			continue;
		queue_cnt--;
		memmove(&queue[k], &queue[k + 1],
			(queue_cnt - k) * sizeof(*queue));
		return;
	}
}

static uint32_t rnd(uint32_t below)
{
	return lab_rand(&seed) % below;
}

static void on_wake(void *arg, struct xmb_waiter *waiter)
{
	(void)arg;
	woken[woken_cnt++] = (uint32_t)(waiter - w);
}

/* Some are refused for good: the model says which. */
static struct xmb_alloc_request draw(struct want *want)
{
	static const uint32_t maxs[] = { 2, 6, 20, FRAME_CNT + 1 };
	bool is_contiguous = rnd(8) == 0;
	struct xmb_alloc_request request = {
		.is_contiguous = is_contiguous,
		.headroom = rnd(4) ? 0 : 16,
	};
	uint32_t room = FRAME_LEN - request.headroom;

	want->min = is_contiguous ? rnd(2) : rnd(maxs[rnd(4)] + 1);
	want->want = want->min + (rnd(2) ? 0 : rnd(10));
	request.min_len = want->min * room;
	request.desired_len = want->want * room;
	if (is_contiguous)
		want->want = xmb_min_u32(want->want, 1);
	want->want = xmb_min_u32(want->want, FRAME_CNT);
	return request;
}

static void step_start(uint32_t i)
{
	struct want want;
	int ret, expected;

	if (states[i] != XMB_WAITER_IDLE) {
		cr_assert(eq(int, xmb_waiter_start(&waiters, &w[i], &lab.cache),
			     -EALREADY));
		return;
	}
	w[i].request = draw(&want);
	ret = xmb_waiter_start(&waiters, &w[i], &lab.cache);
	if (want.min > FRAME_CNT) {
		cr_assert(eq(int, ret, -EMSGSIZE));
		return;
	}
	wants[i] = want;
	if (want.want == 0) {
		states[i] = XMB_WAITER_READY;
		got[i] = 0;
		expected = 1;
	} else {
		states[i] = XMB_WAITER_PENDING;
		queue[queue_cnt++] = i;
		model_serve(i);
		expected = states[i] == XMB_WAITER_READY;
	}
	cr_assert(eq(int, ret, expected));
}

static void step_resize(uint32_t i)
{
	struct want want;
	struct xmb_alloc_request request = draw(&want);
	int ret = xmb_waiter_resize(&waiters, &w[i], &request);

	if (want.min > FRAME_CNT) {
		cr_assert(eq(int, ret, -EMSGSIZE));
	} else if (states[i] == XMB_WAITER_PENDING) {
		wants[i] = want;
		model_serve(i);
		cr_assert(eq(int, ret, states[i] == XMB_WAITER_READY));
	} else {
		cr_assert(eq(int, ret,
			     states[i] == XMB_WAITER_IDLE ? -ENOENT : 1));
	}
}

static void step_cancel(uint32_t i)
{
	int ret = xmb_waiter_cancel(&waiters, &w[i]);

	cr_assert(eq(int, ret, states[i] == XMB_WAITER_IDLE ? -ENOENT : 0));
	if (states[i] == XMB_WAITER_READY)
		free_cnt += got[i];
	model_leave(i);
	states[i] = XMB_WAITER_IDLE;
	model_serve(UINT32_MAX);
}

static void step_take(uint32_t i)
{
	struct xmb_multibuf *mb = &mbs[rnd(MB_CNT)];
	int ret;

	if (!xmb_multibuf_is_empty(mb))
		return;
	ret = xmb_waiter_take(&waiters, &w[i], mb, &lab.cache);
	if (states[i] != XMB_WAITER_READY) {
		cr_assert(eq(int, ret,
			     states[i] == XMB_WAITER_IDLE ? -ENOENT : -EAGAIN));
		return;
	}
	cr_assert(eq(int, ret, 0));
	cr_assert(eq(u32, mb->cnt, got[i]));
	cr_assert(xmb_multibuf_check(mb));
	states[i] = XMB_WAITER_IDLE;
}

static void step_release(void)
{
	struct xmb_multibuf *mb = &mbs[rnd(MB_CNT)];

	free_cnt += mb->cnt;
	xmb_multibuf_release(mb, &lab.cache);
	xmb_cache_yield(&lab.cache);
	model_serve(UINT32_MAX);
}

/* Who does not queue. */
static void step_alloc(void)
{
	struct xmb_multibuf *mb = &mbs[rnd(MB_CNT)];
	uint32_t cnt = 1 + rnd(6);
	int ret;

	if (!xmb_multibuf_is_empty(mb))
		return;
	ret = xmb_allocator_alloc_len(&allocator, (size_t)cnt * FRAME_LEN, mb);
	cr_assert(eq(int, ret, cnt <= free_cnt ? 0 : -ENOBUFS));
	if (ret == 0)
		free_cnt -= cnt;
	xmb_cache_yield(&lab.cache);
}

static void compare(int step)
{
	uint32_t pending = 0;

	cr_assert(eq(u32, woken_cnt, expect_cnt), "step %d", step);
	for (uint32_t i = 0; i < woken_cnt; i++)
		cr_assert(eq(u32, woken[i], expect_woken[i]), "step %d", step);
	woken_cnt = expect_cnt = 0;
	for (uint32_t i = 0; i < WAITER_CNT; i++) {
		cr_assert(eq(int, (int)xmb_waiter_poll(&w[i]), (int)states[i]),
			  "step %d waiter %u", step, i);
		pending += states[i] == XMB_WAITER_PENDING;
		if (states[i] == XMB_WAITER_READY)
			cr_assert(eq(u32, w[i].mb.cnt, got[i]));
	}
	cr_assert(eq(u32, pending, queue_cnt));
	cr_assert(
		eq(u32, lab.cache.cnt + xmb_pool_free_cnt(&lab.pool), free_cnt),
		"step %d", step);
}

/* XMB_STEPS: so many steps. */
Test(waiter_model, a_random_run_agrees_with_it, .timeout = 1800)
{
	const char *steps = getenv("XMB_STEPS");
	int step_cnt = steps ? atoi(steps) : STEP_CNT;
	struct xmb_cache *cache = &lab.cache;

	lab_open(&lab, FRAME_LEN, FRAME_CNT, SPILL_CNT);
	xmb_allocator_init_pool(&allocator, cache);
	cr_assert(eq(int,
		     xmb_waiters_init(&waiters, &allocator,
				      &(struct xmb_waiters_opts){ .who = 9 }),
		     0));
	for (uint32_t i = 0; i < WAITER_CNT; i++)
		w[i].wake = on_wake;
	for (int step = 0; step < step_cnt; step++) {
		uint32_t i = rnd(WAITER_CNT), op = rnd(16);

		if (op < 5)
			step_start(i);
		else if (op < 7)
			step_resize(i);
		else if (op < 8)
			step_cancel(i);
		else if (op < 11)
			step_take(i);
		else if (op < 14)
			step_release();
		else
			step_alloc();
		compare(step);
		if (step % 500 == 0)
			cr_assert(xmb_pool_check(&lab.pool, &cache, 1));
	}
	for (uint32_t i = 0; i < WAITER_CNT; i++)
		xmb_waiter_cancel(&waiters, &w[i]);
	for (uint32_t i = 0; i < MB_CNT; i++)
		xmb_multibuf_release(&mbs[i], cache);
	cr_expect(eq(i64, xmb_waiters_app_cnt(&waiters) + cache->app_cnt, 0));
	cr_expect(eq(int, xmb_waiters_fini(&waiters), 0));
	lab_close(&lab);
}
