/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * lib/alloc/waiter: first come, first served; woken once, when all of it is
 * there, under no lock; the first collects, and nobody else holds anything.
 */
#include "alloc/waiter.h"

#include "buf_lab.h"

#include <pthread.h>

enum { FRAME_LEN = 128, FRAME_CNT = 64, SPILL_CNT = 100, WAITER_MAX = 8 };

static struct lab lab;
static struct xmb_allocator allocator;
static struct xmb_waiters waiters;
static struct xmb_waiter w[WAITER_MAX];
static uint32_t woken[64], woken_cnt, on_wait_cnt;
static struct xmb_chunk hoard[FRAME_CNT];
static uint32_t hoard_cnt;

static void on_wait(void *arg)
{
	cr_expect(eq(ptr, arg, &lab));
	/* Under no lock: calls of the queue's own go on. */
	xmb_waiters_kick(&waiters);
	on_wait_cnt++;
}

static void on_wake(void *arg, struct xmb_waiter *waiter)
{
	cr_assert(eq(ptr, arg, waiter));
	cr_assert(eq(int, (int)xmb_waiter_poll(waiter), XMB_WAITER_READY));
	cr_assert(ge(u64, waiter->mb.len, waiter->request.min_len));
	cr_assert(xmb_multibuf_check(&waiter->mb));
	/* Under no lock. */
	xmb_waiters_kick(&waiters);
	cr_assert(lt(u32, woken_cnt, 64));
	woken[woken_cnt++] = (uint32_t)(waiter - w);
}

static void setup(void)
{
	lab_open(&lab, FRAME_LEN, FRAME_CNT, SPILL_CNT);
	xmb_allocator_init_pool(&allocator, &lab.cache);
	cr_assert(eq(int, xmb_waiters_init(&waiters, &allocator,
			&(struct xmb_waiters_opts){
				.who = 9, .on_wait = on_wait,
				.arg = &lab }), 0));
	for (uint32_t i = 0; i < WAITER_MAX; i++) {
		w[i].wake = on_wake;
		w[i].arg = &w[i];
	}
}

static void give(uint32_t cnt)
{
	while (cnt-- > 0 && hoard_cnt > 0)
		xmb_chunk_release(&hoard[--hoard_cnt], &lab.cache);
	/* The end of the thread's turn. */
	xmb_cache_yield(&lab.cache);
}

static void teardown(void)
{
	for (uint32_t i = 0; i < WAITER_MAX; i++)
		xmb_waiter_cancel(&waiters, &w[i]);
	give(FRAME_CNT);
	cr_expect(eq(i64, xmb_waiters_app_cnt(&waiters), 0));
	cr_expect(eq(int, xmb_waiters_fini(&waiters), 0));
	cr_expect(eq(i64, lab.cache.app_cnt, 0));
	lab_close(&lab);
}

TestSuite(waiter, .init = setup, .fini = teardown, .timeout = 300);

/* Take frames until left are free. */
static void hog(uint32_t left)
{
	while (lab.cache.cnt + xmb_pool_free_cnt(&lab.pool) > left)
		cr_assert(eq(int, xmb_chunk_alloc(&lab.cache,
						  &hoard[hoard_cnt++]), 0));
}

static int start(uint32_t i, uint32_t min_frames, uint32_t desired_frames)
{
	w[i].request = (struct xmb_alloc_request){
		.min_len = (size_t)min_frames * FRAME_LEN,
		.desired_len = (size_t)desired_frames * FRAME_LEN,
	};
	return xmb_waiter_start(&waiters, &w[i], &lab.cache);
}

static uint32_t state(uint32_t i)
{
	return xmb_waiter_poll(&w[i]);
}

static void expect_woken(uint32_t cnt, const uint32_t *order)
{
	cr_assert(eq(u32, woken_cnt, cnt));
	for (uint32_t i = 0; i < cnt; i++)
		cr_expect(eq(u32, woken[i], order[i]));
}

Test(waiter, what_is_there_is_had_at_once_and_wakes_nobody)
{
	struct xmb_multibuf mb = { 0 };

	cr_expect(eq(int, start(0, 5, 0), 1));
	cr_expect(eq(u32, state(0), XMB_WAITER_READY));
	cr_expect(eq(u32, w[0].mb.len, 5 * FRAME_LEN));
	cr_expect(eq(u32, woken_cnt, 0));
	cr_expect(eq(u32, on_wait_cnt, 0));
	cr_expect(eq(i64, xmb_waiters_app_cnt(&waiters), 5));
	cr_assert(eq(int, xmb_waiter_take(&waiters, &w[0], &mb, &lab.cache),
		     0));
	cr_expect(eq(i64, xmb_waiters_app_cnt(&waiters), 0));
	cr_expect(eq(i64, lab.cache.app_cnt, 5));
	cr_expect(eq(u32, state(0), XMB_WAITER_IDLE));
	xmb_multibuf_release(&mb, &lab.cache);
}

Test(waiter, no_bytes_are_there_even_when_others_wait)
{
	hog(0);
	cr_expect(eq(int, start(0, 1, 0), 0));
	cr_expect(eq(int, start(1, 0, 0), 1));
	cr_expect(xmb_multibuf_is_empty(&w[1].mb));
}

Test(waiter, it_is_woken_once_with_the_memory_in_hand)
{
	hog(3);
	cr_expect(eq(int, start(0, 5, 0), 0));
	cr_expect(eq(u32, on_wait_cnt, 1));
	give(1);
	cr_expect(eq(u32, woken_cnt, 0), "woken for less");
	cr_expect(eq(u32, state(0), XMB_WAITER_PENDING));
	give(1);
	expect_woken(1, (uint32_t[]){ 0 });
	cr_expect(eq(u32, w[0].mb.len, 5 * FRAME_LEN));
	give(10);
	expect_woken(1, (uint32_t[]){ 0 });
}

Test(waiter, first_come_is_first_served_and_the_large_one_does_not_starve)
{
	hog(0);
	for (uint32_t i = 0; i < 6; i++)
		cr_expect(eq(int, start(i, i == 0 ? 30 : 1, 0), 0));
	cr_expect(eq(u32, on_wait_cnt, 1));
	give(29);
	cr_expect(eq(u32, woken_cnt, 0));
	/* What it has collected nobody else gets. */
	cr_expect(eq(u32, xmb_pool_free_cnt(&lab.pool), 0));
	give(4);
	expect_woken(4, (uint32_t[]){ 0, 1, 2, 3 });
	give(2);
	expect_woken(6, (uint32_t[]){ 0, 1, 2, 3, 4, 5 });
}

Test(waiter, who_comes_later_waits_though_there_is_enough_for_him)
{
	hog(2);
	cr_expect(eq(int, start(0, 3, 0), 0));
	cr_expect(eq(int, start(1, 1, 0), 0));
	cr_assert(eq(int, xmb_waiter_cancel(&waiters, &w[0]), 0));
	expect_woken(1, (uint32_t[]){ 1 });
}

Test(waiter, desired_is_filled_as_far_as_there_is)
{
	hog(0);
	cr_expect(eq(int, start(0, 2, 10), 0));
	cr_expect(eq(int, start(1, 0, 10), 0));
	cr_expect(eq(int, start(2, 0, 3), 0));
	give(5);
	expect_woken(3, (uint32_t[]){ 0, 1, 2 });
	cr_expect(eq(u32, w[0].mb.len, 5 * FRAME_LEN));
	cr_expect(xmb_multibuf_is_empty(&w[1].mb));
}

Test(waiter, contiguity_and_room_are_kept)
{
	hog(0);
	w[0].request = (struct xmb_alloc_request){
		.min_len = 60, .desired_len = 4000, .headroom = 40,
		.is_contiguous = true };
	cr_expect(eq(int, xmb_waiter_start(&waiters, &w[0], &lab.cache), 0));
	w[1].request = (struct xmb_alloc_request){
		.min_len = 200, .headroom = 28, .segment_len = 50 };
	cr_expect(eq(int, xmb_waiter_start(&waiters, &w[1], &lab.cache), 0));
	give(9);
	cr_assert(eq(u32, woken_cnt, 2));
	cr_expect(eq(u32, w[0].mb.cnt, 1));
	cr_expect(eq(u32, w[0].mb.len, FRAME_LEN - 40));
	cr_expect(eq(int, xmb_multibuf_claim_prefix(&w[0].mb, 40), 0));
	cr_expect(eq(u32, w[1].mb.cnt, 4));
	cr_expect(eq(u32, w[1].mb.len, 200));
}

Test(waiter, requests_that_can_never_be_are_refused_and_nothing_changes)
{
	struct xmb_alloc_request before;

	hog(0);
	cr_expect(eq(int, start(0, FRAME_CNT + 1, 0), -EMSGSIZE));
	cr_expect(eq(int, start(0, 3, 2), -EINVAL));
	cr_expect(eq(u32, state(0), XMB_WAITER_IDLE));
	cr_expect(eq(int, start(0, 3, 0), 0));
	before = w[0].request;
	cr_expect(eq(int, xmb_waiter_start(&waiters, &w[0], &lab.cache),
		     -EALREADY));
	cr_expect(eq(int, xmb_waiter_resize(&waiters, &w[0],
		&(struct xmb_alloc_request){ .min_len = 1 << 20 }),
		-EMSGSIZE));
	cr_expect(eq(int, xmb_waiter_resize(&waiters, &w[0],
		&(struct xmb_alloc_request){ .min_len = 2,
			.desired_len = 1 }), -EINVAL));
	cr_expect(zero(int, memcmp(&before, &w[0].request, sizeof(before))));
	give(3);
	expect_woken(1, (uint32_t[]){ 0 });
	cr_expect(eq(int, xmb_waiter_start(&waiters, &w[0], &lab.cache),
		     -EALREADY));
}

Test(waiter, calls_on_who_does_not_wait_say_so)
{
	struct xmb_multibuf mb = { 0 };

	cr_expect(eq(int, xmb_waiter_cancel(&waiters, &w[0]), -ENOENT));
	cr_expect(eq(int, xmb_waiter_take(&waiters, &w[0], &mb, &lab.cache),
		     -ENOENT));
	cr_expect(eq(int, xmb_waiter_resize(&waiters, &w[0], &w[0].request),
		     -ENOENT));
	hog(0);
	cr_expect(eq(int, start(0, 1, 0), 0));
	cr_expect(eq(int, xmb_waiter_take(&waiters, &w[0], &mb, &lab.cache),
		     -EAGAIN));
	cr_expect(eq(int, xmb_waiters_fini(&waiters), -EBUSY));
	give(1);
	/* Late: it has what it wanted. */
	cr_expect(eq(int, xmb_waiter_resize(&waiters, &w[0], &w[0].request),
		     1));
	cr_expect(eq(int, xmb_waiters_init(&(struct xmb_waiters){ 0 },
					   &allocator,
					   &(struct xmb_waiters_opts){
						   .who = 1 }), -EBUSY));
}

Test(waiter, a_new_size_keeps_the_place)
{
	struct xmb_alloc_request large = { .min_len = 20 * FRAME_LEN };
	struct xmb_alloc_request small = { .min_len = 2 * FRAME_LEN };

	hog(0);
	cr_expect(eq(int, start(0, 10, 0), 0));
	cr_expect(eq(int, start(1, 10, 0), 0));
	cr_expect(eq(int, start(2, 10, 0), 0));
	give(9);
	cr_expect(eq(int, xmb_waiter_resize(&waiters, &w[0], &large), 0));
	cr_expect(eq(int, xmb_waiter_resize(&waiters, &w[1], &small), 0));
	give(3);
	cr_expect(eq(u32, woken_cnt, 0));
	/* Twelve are held: two are enough, the rest goes on to the others. */
	cr_expect(eq(int, xmb_waiter_resize(&waiters, &w[0], &small), 1));
	cr_expect(eq(u32, state(0), XMB_WAITER_READY));
	cr_expect(eq(u32, w[0].mb.cnt, 2));
	expect_woken(1, (uint32_t[]){ 1 });
	give(2);
	expect_woken(2, (uint32_t[]){ 1, 2 });
}

Test(waiter, a_smaller_size_gives_back_what_is_too_much)
{
	hog(0);
	cr_expect(eq(int, start(0, 10, 0), 0));
	give(9);
	cr_expect(eq(i64, xmb_waiters_app_cnt(&waiters), 9));
	cr_assert(eq(int, xmb_waiter_cancel(&waiters, &w[0]), 0));
	cr_expect(eq(i64, xmb_waiters_app_cnt(&waiters), 0));
	cr_expect(eq(u32, xmb_pool_free_cnt(&lab.pool), 9));
}

Test(waiter, who_cancels_is_not_woken_and_its_frames_go_on)
{
	hog(0);
	for (uint32_t i = 0; i < 4; i++)
		cr_expect(eq(int, start(i, 4, 0), 0));
	give(3);
	cr_assert(eq(int, xmb_waiter_cancel(&waiters, &w[1]), 0));
	cr_assert(eq(int, xmb_waiter_cancel(&waiters, &w[0]), 0));
	give(1);
	expect_woken(1, (uint32_t[]){ 2 });
	/* What it had goes to the next when it gives up a READY one. */
	cr_assert(eq(int, xmb_waiter_cancel(&waiters, &w[2]), 0));
	expect_woken(2, (uint32_t[]){ 2, 3 });
}

Test(waiter, frames_in_the_threads_own_cache_count)
{
	/* All are in the cache, and the shared stack is empty. */
	hog(0);
	while (hoard_cnt > 0)
		xmb_chunk_release(&hoard[--hoard_cnt], &lab.cache);
	cr_expect(eq(u32, xmb_pool_free_cnt(&lab.pool), 0));
	cr_expect(eq(int, start(0, FRAME_CNT, 0), 1));
}

Test(waiter, frames_in_another_cache_come_when_that_thread_yields)
{
	struct xmb_cache other;

	xmb_cache_init(&other, &lab.pool, 2);
	xmb_cache_fetch(&other, FRAME_CNT, false);
	cr_expect(eq(int, start(0, 3, 0), 0));
	cr_expect(eq(u32, woken_cnt, 0));
	xmb_cache_yield(&other);
	expect_woken(1, (uint32_t[]){ 0 });
	cr_expect(eq(u32, other.cnt, 0));
	/* Nobody waits: a cache keeps what it has. */
	xmb_cache_fetch(&other, 10, false);
	xmb_cache_yield(&other);
	cr_expect(eq(u32, other.cnt, 10));
	xmb_cache_fini(&other);
}

Test(waiter, every_way_home_wakes)
{
	struct lab stranger = { 0 };
	struct xmb_cache other;

	hog(0);
	/* A cache that ends. */
	xmb_cache_init(&other, &lab.pool, 2);
	cr_expect(eq(int, start(0, 1, 0), 0));
	xmb_chunk_release(&hoard[--hoard_cnt], &other);
	cr_expect(eq(u32, woken_cnt, 0));
	xmb_cache_fini(&other);
	lab.cache.app_cnt += other.app_cnt;
	cr_expect(eq(u32, woken_cnt, 1));
	/* A cache of another pool. */
	lab_open(&stranger, 64, 4, 0);
	cr_expect(eq(int, start(1, 1, 0), 0));
	xmb_chunk_release(&hoard[--hoard_cnt], &stranger.cache);
	lab.cache.app_cnt--;
	cr_expect(eq(u32, woken_cnt, 2));
	lab_close(&stranger);
	/* A flush by hand. */
	cr_expect(eq(int, start(2, 1, 0), 0));
	xmb_chunk_release(&hoard[--hoard_cnt], &lab.cache);
	xmb_cache_flush(&lab.cache);
	expect_woken(3, (uint32_t[]){ 0, 1, 2 });
}

Test(waiter, a_smaller_reserve_wakes)
{
	xmb_pool_set_reserve(&lab.pool, 10);
	hog(10);
	cr_expect(eq(int, start(0, 5, 0), 0));
	xmb_pool_set_reserve(&lab.pool, 6);
	cr_expect(eq(u32, woken_cnt, 0));
	xmb_pool_set_reserve(&lab.pool, 5);
	expect_woken(1, (uint32_t[]){ 0 });
	xmb_pool_set_reserve(&lab.pool, 0);
}

Test(waiter, one_that_waits_for_blocks_is_woken_by_blocks)
{
	uint32_t blocks[SPILL_CNT], cnt = 0, spill;

	while ((spill = xmb_cache_spill_get(&lab.cache)) != XMB_SPILL_NONE)
		blocks[cnt++] = spill;
	cr_expect(eq(int, start(0, 9, 0), 0));
	cr_expect(eq(i64, xmb_waiters_app_cnt(&waiters), 3));
	/* The frames that it has no block for are free for others. */
	cr_expect(eq(u32, xmb_pool_free_cnt(&lab.pool), FRAME_CNT - 3));
	for (int i = 0; i < 2; i++) {
		cr_expect(eq(u32, woken_cnt, 0));
		xmb_cache_spill_put(&lab.cache, &lab.pool.domain,
				    blocks[--cnt]);
		xmb_cache_yield(&lab.cache);
	}
	expect_woken(1, (uint32_t[]){ 0 });
	while (cnt > 0)
		xmb_cache_spill_put(&lab.cache, &lab.pool.domain,
				    blocks[--cnt]);
}

/* The thread's own cache of blocks is full: it goes on to the shared stack. */
Test(waiter, blocks_that_a_cache_has_no_room_for_wake)
{
	uint32_t blocks[SPILL_CNT], cnt = 0, spill;

	while ((spill = xmb_cache_spill_get(&lab.cache)) != XMB_SPILL_NONE)
		blocks[cnt++] = spill;
	cr_expect(eq(int, start(0, 9, 0), 0));
	while (cnt > SPILL_CNT - XMB_SPILL_CACHE_MAX)
		xmb_cache_spill_put(&lab.cache, &lab.pool.domain,
				    blocks[--cnt]);
	cr_expect(eq(u32, woken_cnt, 0));
	xmb_cache_spill_put(&lab.cache, &lab.pool.domain, blocks[--cnt]);
	expect_woken(1, (uint32_t[]){ 0 });
	while (cnt > 0)
		xmb_cache_spill_put(&lab.cache, &lab.pool.domain,
				    blocks[--cnt]);
}

Test(waiter, what_was_granted_is_counted_by_who_has_it)
{
	struct xmb_multibuf mb = { 0 };

	cr_expect(eq(int, start(0, 5, 0), 1));
	cr_expect(eq(int, start(1, 7, 0), 1));
	cr_expect(eq(i64, xmb_waiters_app_cnt(&waiters), 12));
	cr_assert(eq(int, xmb_waiter_cancel(&waiters, &w[0]), 0));
	cr_expect(eq(i64, xmb_waiters_app_cnt(&waiters), 7));
	hog(0);
	cr_expect(eq(int, start(2, 2, 0), 0));
	give(2);
	cr_assert(eq(int, xmb_waiter_take(&waiters, &w[2], &mb, &lab.cache),
		     0));
	cr_expect(eq(i64, xmb_waiters_app_cnt(&waiters), 7));
	cr_expect(eq(i64, lab.cache.app_cnt, FRAME_CNT - 7));
	xmb_multibuf_release(&mb, &lab.cache);
}

Test(waiter, without_a_wake_it_is_polled)
{
	hog(0);
	w[0].wake = NULL;
	cr_expect(eq(int, start(0, 2, 0), 0));
	give(1);
	cr_expect(eq(u32, state(0), XMB_WAITER_PENDING));
	give(1);
	cr_expect(eq(u32, state(0), XMB_WAITER_READY));
	cr_expect(eq(u32, woken_cnt, 0));
}

/* Wakes that do things: each gives its memory back, which wakes the next. */
static uint32_t depth, depth_max;

static void wake_and_release(void *arg, struct xmb_waiter *waiter)
{
	struct xmb_multibuf mb = { 0 };

	(void)arg;
	depth_max = xmb_max_u32(depth_max, ++depth);
	woken[woken_cnt++] = (uint32_t)(waiter - w);
	cr_assert(eq(int, xmb_waiter_take(&waiters, waiter, &mb, &lab.cache),
		     0));
	xmb_multibuf_release(&mb, &lab.cache);
	xmb_cache_yield(&lab.cache);
	if (woken_cnt < 40)
		cr_assert(ge(int, xmb_waiter_start(&waiters, waiter,
						   &lab.cache), 0));
	depth--;
}

Test(waiter, wakes_may_release_and_wait_again_without_end)
{
	hog(0);
	for (uint32_t i = 0; i < WAITER_MAX; i++) {
		w[i].wake = wake_and_release;
		cr_expect(eq(int, start(i, 2, 0), 0));
	}
	give(2);
	for (uint32_t i = 0; i < 40; i++)
		cr_expect(eq(u32, woken[i], i % WAITER_MAX));
	cr_expect(ge(u32, woken_cnt, 40));
	cr_expect(eq(u32, depth_max, 1), "a chain of wakes is a loop");
}

static void wake_and_cancel(void *arg, struct xmb_waiter *waiter)
{
	(void)arg;
	woken[woken_cnt++] = (uint32_t)(waiter - w);
	/* One that is READY, its wake to come; one that waits; himself. */
	cr_expect(eq(u32, state(1), XMB_WAITER_READY));
	cr_expect(eq(int, xmb_waiter_cancel(&waiters, &w[1]), 0));
	cr_expect(eq(int, xmb_waiter_cancel(&waiters, &w[2]), 0));
	cr_expect(eq(int, xmb_waiter_cancel(&waiters, &w[0]), 0));
	memset(waiter, 0xff, sizeof(*waiter)); /* as good as freed */
}

Test(waiter, a_wake_may_cancel_others_and_end_its_own_waiter)
{
	hog(0);
	w[0].wake = wake_and_cancel;
	for (uint32_t i = 0; i < 4; i++)
		cr_expect(eq(int, start(i, i == 2 ? 9 : 3, 0), 0));
	give(7);
	expect_woken(2, (uint32_t[]){ 0, 3 });
	w[0] = (struct xmb_waiter){ 0 };
}

/* In the middle of a release: the cache that is full is the waker's own. */
static void wake_and_fill(void *arg, struct xmb_waiter *waiter)
{
	struct xmb_cache *cache = arg;
	struct xmb_multibuf mb = { 0 };

	cr_assert(eq(int, xmb_waiter_take(&waiters, waiter, &mb, cache), 0));
	xmb_multibuf_release(&mb, cache);
	while (cache->cnt < XMB_CACHE_MAX) {
		if (xmb_cache_fetch(cache, cache->cnt + 1, false) == cache->cnt
		    && xmb_pool_free_cnt(cache->pool) == 0)
			break;
	}
	cr_expect(eq(u32, cache->cnt, XMB_CACHE_MAX));
	woken_cnt++;
}

Test(waiter, a_release_into_a_full_cache_may_wake_who_fills_it_again)
{
	enum { CNT = XMB_CACHE_MAX + XMB_CACHE_BATCH };
	static struct xmb_chunk chunks[CNT];
	struct xmb_allocator own;
	struct lab big = { 0 };
	struct xmb_waiter one = { .wake = wake_and_fill, .arg = &big.cache,
				  .request = { .min_len = 1 } };

	lab_open(&big, 64, CNT, 0);
	xmb_allocator_init_pool(&own, &big.cache);
	/* wake_and_fill() knows one queue. */
	cr_assert(eq(int, xmb_waiters_fini(&waiters), 0));
	cr_assert(eq(int, xmb_waiters_init(&waiters, &own,
			&(struct xmb_waiters_opts){ .who = 9 }), 0));
	cr_assert(eq(int, xmb_chunk_alloc_bulk(&big.cache, chunks, CNT), 0));
	cr_assert(eq(int, xmb_waiter_start(&waiters, &one, NULL), 0));
	xmb_chunk_release_bulk(chunks, CNT, &big.cache);
	cr_expect(eq(u32, woken_cnt, 1));
	cr_expect(eq(i64, big.cache.app_cnt, 0));
	cr_assert(eq(int, xmb_waiters_fini(&waiters), 0));
	lab_close(&big);
	cr_assert(eq(int, xmb_waiters_init(&waiters, &allocator,
			&(struct xmb_waiters_opts){ .who = 9 }), 0));
}

/* cancel() in one thread while the wake runs in another. */
static _Atomic int wake_step;

static void slow_wake(void *arg, struct xmb_waiter *waiter)
{
	(void)arg;
	(void)waiter;
	atomic_store(&wake_step, 1);
	usleep(50000);
	atomic_store(&wake_step, 2);
}

static void *cancel_slow(void *arg)
{
	while (atomic_load(&wake_step) == 0)
		;
	xmb_waiter_cancel(&waiters, arg);
	cr_expect(eq(int, atomic_load(&wake_step), 2));
	return NULL;
}

Test(waiter, cancel_returns_when_the_wake_does_not_run_any_more)
{
	pthread_t thread;

	hog(0);
	w[0].wake = slow_wake;
	cr_expect(eq(int, start(0, 1, 0), 0));
	pthread_create(&thread, NULL, cancel_slow, &w[0]);
	give(1);
	pthread_join(thread, NULL);
	cr_expect(eq(u32, state(0), XMB_WAITER_IDLE));
}

Test(waiter, exhaustion_and_recovery_over_and_over)
{
	for (int round = 0; round < 200; round++) {
		hog(0);
		for (uint32_t i = 0; i < WAITER_MAX; i++)
			cr_assert(eq(int, start(i, 1 + i, 0), 0));
		woken_cnt = 0;
		give(FRAME_CNT);
		cr_assert(eq(u32, woken_cnt, WAITER_MAX));
		for (uint32_t i = 0; i < WAITER_MAX; i++)
			cr_assert(eq(int, xmb_waiter_cancel(&waiters, &w[i]),
				     0));
	}
}
