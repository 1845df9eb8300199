/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * lib/alloc/heap: it grows by slabs when it has to and not before, up to its
 * limit; what a slab's memory is refused is refused whole; trim gives back
 * what is free, also while others release.
 */
#include "alloc/heap.h"
#include "alloc/waiter.h"

#include "buf_lab.h"

#include <pthread.h>

enum { FRAME_LEN = 128, FRAME_CNT = 32, SLAB_MAX = 4 };

static struct xmb_heap heap;
static struct xmb_cache cache;
static struct xmb_allocator allocator;
static int alloc_cnt, free_cnt;
static int fail_from; /* 0: never; 1: the next and all after */
static bool fails_once;
static size_t live_len;

static void *user_alloc(void *arg, size_t len)
{
	uint8_t *mem;

	cr_assert(eq(ptr, arg, &heap));
	if (fail_from > 0 && --fail_from == 0) {
		fail_from = fails_once ? 0 : 1;
		return NULL;
	}
	alloc_cnt++;
	live_len += len;
	mem = malloc(len + 1);
	cr_assert(not(zero(ptr, mem)));
	memset(mem, 0xee, len + 1);
	return mem + 1; /* no alignment was promised */
}

static void user_free(void *arg, void *mem, size_t len)
{
	cr_assert(eq(ptr, arg, &heap));
	free_cnt++;
	live_len -= len;
	free((uint8_t *)mem - 1);
}

static void setup(void)
{
	cr_assert(eq(int, xmb_heap_init(&heap, &(struct xmb_heap_opts){
		.frame_len = FRAME_LEN, .frame_cnt = FRAME_CNT,
		.slab_max = SLAB_MAX, .alloc = user_alloc,
		.free = user_free, .arg = &heap }), 0));
	xmb_cache_init(&cache, xmb_heap_pool(&heap), 3);
	xmb_allocator_init_heap(&allocator, &heap, &cache);
}

static void teardown(void)
{
	xmb_cache_fini(&cache);
	cr_expect(eq(int, xmb_heap_fini(&heap), 0));
	cr_expect(eq(int, alloc_cnt, free_cnt));
	cr_expect(eq(u64, live_len, 0));
}

TestSuite(allocator_heap, .init = setup, .fini = teardown, .timeout = 300);

static int get(struct xmb_multibuf *mb, uint32_t frames)
{
	return xmb_allocator_alloc_len(&allocator, (size_t)frames * FRAME_LEN,
				       mb);
}

Test(allocator_heap, it_grows_when_it_must_and_trim_gives_back)
{
	struct xmb_multibuf a = { 0 }, b = { 0 };

	cr_expect(eq(u32, xmb_heap_slab_cnt(&heap), 1));
	cr_assert(eq(int, get(&a, FRAME_CNT), 0));
	cr_expect(eq(u32, xmb_heap_slab_cnt(&heap), 1));
	cr_assert(eq(int, get(&b, FRAME_CNT + 1), 0));
	cr_expect(eq(u32, xmb_heap_slab_cnt(&heap), 3));
	cr_expect(xmb_multibuf_check(&b));
	memset(xmb_chunk_data(xmb_multibuf_chunk(&b, 32)), 1, FRAME_LEN);
	cr_expect(eq(u32, xmb_heap_trim(&heap), 0));
	xmb_multibuf_release(&b, &cache);
	cr_expect(eq(u32, xmb_heap_slab_cnt(&heap), 3));
	/* Free frames are used again before it grows. */
	cr_assert(eq(int, get(&b, 2 * FRAME_CNT), 0));
	cr_expect(eq(u32, xmb_heap_slab_cnt(&heap), 3));
	xmb_multibuf_release(&b, &cache);
	cr_expect(eq(u32, xmb_heap_trim(&heap), 2));
	cr_expect(eq(u32, xmb_heap_slab_cnt(&heap), 1));
	cr_expect(eq(int, free_cnt, 2));
	/* The first one stays. */
	xmb_multibuf_release(&a, &cache);
	cr_expect(eq(u32, xmb_heap_trim(&heap), 0));
}

Test(allocator_heap, its_limit_is_kept)
{
	struct xmb_multibuf a = { 0 }, b = { 0 };

	cr_expect(eq(int, get(&a, SLAB_MAX * FRAME_CNT + 1), -EMSGSIZE));
	cr_expect(eq(u32, xmb_heap_slab_cnt(&heap), 1));
	/* 32 blocks: 4 * 32 / 8 and 16. */
	cr_assert(eq(int, get(&a, 80), 0));
	cr_expect(eq(u32, xmb_heap_slab_cnt(&heap), 3));
	cr_expect(eq(int, get(&b, 49), -ENOBUFS));
	cr_expect(xmb_multibuf_is_empty(&b));
	cr_expect(eq(u32, xmb_heap_slab_cnt(&heap), 3));
	cr_expect(eq(int, xmb_allocator_alloc(&allocator,
		&(struct xmb_alloc_request){ .min_len = 1,
			.desired_len = 49 * FRAME_LEN }, &b), 0));
	/* What was desired was too much to grow for: there were 16. */
	cr_expect(eq(u32, b.len, 16 * FRAME_LEN));
	xmb_multibuf_release(&a, &cache);
	xmb_multibuf_release(&b, &cache);
}

Test(allocator_heap, every_refusal_of_memory_leaves_it_as_it_was)
{
	struct xmb_multibuf a = { 0 };

	/* Two slabs are needed: the first or the second is refused. */
	for (int at = 1; at <= 2; at++) {
		fail_from = at;
		cr_expect(eq(int, get(&a, 3 * FRAME_CNT), -ENOBUFS));
		cr_expect(xmb_multibuf_is_empty(&a));
		cr_expect(eq(u32, xmb_heap_slab_cnt(&heap), 1));
		cr_expect(eq(int, alloc_cnt - free_cnt, 1));
		cr_expect(eq(u32, cache.cnt + xmb_pool_free_cnt(
				     xmb_heap_pool(&heap)), FRAME_CNT));
	}
	fail_from = 0;
	cr_expect(eq(int, get(&a, 3 * FRAME_CNT), 0));
	xmb_multibuf_release(&a, &cache);
}

Test(allocator_heap, desired_grows_by_less_when_memory_is_short)
{
	struct xmb_multibuf a = { 0 };

	/* Of two slabs for all one is refused; the one for min_len is not. */
	fail_from = 2;
	fails_once = true;
	cr_expect(eq(int, xmb_allocator_alloc(&allocator,
		&(struct xmb_alloc_request){
			.min_len = 40 * FRAME_LEN,
			.desired_len = 80 * FRAME_LEN }, &a), 0));
	cr_expect(eq(u32, a.len, 2 * FRAME_CNT * FRAME_LEN));
	cr_expect(eq(u32, xmb_heap_slab_cnt(&heap), 2));
	xmb_multibuf_release(&a, &cache);
	cr_expect(eq(u32, xmb_heap_trim(&heap), 1));
	/* And if all memory is refused, what there is has to do. */
	fail_from = 1;
	fails_once = false;
	cr_expect(eq(int, xmb_allocator_alloc(&allocator,
		&(struct xmb_alloc_request){
			.min_len = FRAME_CNT * FRAME_LEN,
			.desired_len = 80 * FRAME_LEN }, &a), 0));
	cr_expect(eq(u32, a.len, FRAME_CNT * FRAME_LEN));
	fail_from = 0;
	xmb_multibuf_release(&a, &cache);
}

Test(allocator_heap, options_out_of_range_and_no_domain_are_refused)
{
	static struct xmb_domain domains[255];
	struct xmb_heap_opts good = { .frame_len = 64 }, bad;
	struct xmb_heap other;
	struct xmb_multibuf a = { 0 };
	uint32_t cnt = 0;

	bad = good, bad.frame_len = 63;
	cr_expect(eq(int, xmb_heap_init(&other, &bad), -EINVAL));
	bad = good, bad.frame_len = XMB_REGION_LEN_MAX + 1;
	cr_expect(eq(int, xmb_heap_init(&other, &bad), -EINVAL));
	bad = good, bad.slab_max = XMB_HEAP_SLAB_MAX + 1;
	cr_expect(eq(int, xmb_heap_init(&other, &bad), -EINVAL));
	bad = good, bad.frame_cnt = UINT32_MAX;
	cr_expect(eq(int, xmb_heap_init(&other, &bad), -EINVAL));
	bad = good, bad.alloc = user_alloc;
	cr_expect(eq(int, xmb_heap_init(&other, &bad), -EINVAL));
	bad.free = user_free, bad.arg = &heap, fail_from = 1;
	cr_expect(eq(int, xmb_heap_init(&other, &bad), -ENOMEM));
	fail_from = 0;
	while (xmb_domain_add(&domains[cnt]) == 0)
		cnt++;
	cr_expect(eq(int, xmb_heap_init(&other, &good), -ENOSPC));
	cr_expect(eq(int, get(&a, FRAME_CNT + 1), -ENOBUFS));
	cr_expect(eq(int, alloc_cnt - free_cnt, 1));
	while (cnt-- > 0)
		xmb_domain_remove(&domains[cnt]);
	cr_assert(eq(int, xmb_heap_init(&other, &good), 0));
	cr_expect(eq(int, xmb_heap_fini(&other), 0));
}

Test(allocator_heap, it_ends_only_when_everything_is_home)
{
	struct xmb_multibuf a = { 0 };

	cr_assert(eq(int, get(&a, 40), 0));
	xmb_cache_fini(&cache);
	cr_expect(eq(int, xmb_heap_fini(&heap), -EBUSY));
	cr_expect(eq(u32, xmb_heap_slab_cnt(&heap), 2));
	xmb_multibuf_release(&a, &cache);
}

Test(allocator_heap, frames_of_all_slabs_are_counted_out_and_in)
{
	struct xmb_multibuf mbs[3] = { 0 };
	struct xmb_alloc_request request = { .min_len = 30 * FRAME_LEN };

	cr_assert(eq(int, xmb_allocator_alloc_bulk(&allocator, &request, mbs,
						   3), 0));
	cr_expect(eq(u32, xmb_heap_slab_cnt(&heap), 3));
	for (int i = 0; i < 3; i++)
		cr_expect(xmb_multibuf_check(&mbs[i]));
	xmb_multibuf_release_bulk(mbs, 3, &cache);
	cr_expect(eq(u32, xmb_heap_trim(&heap), 2));
}

/* A waiter is served by what it makes grow, and by what another releases. */
Test(allocator_heap, waiters_wait_for_the_heap_too)
{
	struct xmb_waiters waiters;
	struct xmb_waiter w = { .request = { .min_len = 40 * FRAME_LEN } };
	struct xmb_multibuf a = { 0 }, got = { 0 };

	cr_assert(eq(int, xmb_waiters_init(&waiters, &allocator,
			&(struct xmb_waiters_opts){ .who = 9 }), 0));
	cr_assert(eq(int, xmb_waiter_start(&waiters, &w, NULL), 1));
	cr_expect(eq(u32, xmb_heap_slab_cnt(&heap), 2));
	cr_assert(eq(int, xmb_waiter_cancel(&waiters, &w), 0));
	cr_assert(eq(int, get(&a, 60), 0));
	fail_from = 1;
	cr_assert(eq(int, xmb_waiter_start(&waiters, &w, &cache), 0));
	xmb_waiters_kick(&waiters);
	cr_expect(eq(int, (int)xmb_waiter_poll(&w), XMB_WAITER_PENDING));
	/* Memory is to be had again: no release tells of that. */
	fail_from = 0;
	xmb_waiters_kick(&waiters);
	cr_expect(eq(int, (int)xmb_waiter_poll(&w), XMB_WAITER_READY));
	cr_assert(eq(int, xmb_waiter_take(&waiters, &w, &got, &cache), 0));
	fail_from = 1;
	w.request.min_len = 64 * FRAME_LEN;
	cr_assert(eq(int, xmb_waiter_start(&waiters, &w, &cache), 0));
	xmb_multibuf_release(&got, &cache);
	cr_expect(eq(int, (int)xmb_waiter_poll(&w), XMB_WAITER_PENDING));
	xmb_multibuf_release(&a, &cache);
	xmb_cache_yield(&cache);
	cr_expect(eq(int, (int)xmb_waiter_poll(&w), XMB_WAITER_READY));
	fail_from = 0;
	cr_assert(eq(int, xmb_waiter_cancel(&waiters, &w), 0));
	cr_expect(eq(int, xmb_waiters_fini(&waiters), 0));
}

/* Who grows for himself leaves the rest of the slab to those who wait. */
Test(allocator_heap, a_slab_that_another_call_grew_serves_who_waits)
{
	struct xmb_waiter w = { .request = { .min_len = 8 * FRAME_LEN } };
	struct xmb_multibuf a = { 0 }, b = { 0 };
	struct xmb_waiters waiters;

	cr_assert(eq(int, xmb_waiters_init(&waiters, &allocator,
			&(struct xmb_waiters_opts){ .who = 9 }), 0));
	cr_assert(eq(int, get(&a, FRAME_CNT), 0));
	fail_from = 1;
	cr_assert(eq(int, xmb_waiter_start(&waiters, &w, &cache), 0));
	fail_from = 0;
	cr_assert(eq(int, get(&b, 20), 0));
	cr_expect(eq(int, (int)xmb_waiter_poll(&w), XMB_WAITER_READY));
	cr_assert(eq(int, xmb_waiter_cancel(&waiters, &w), 0));
	cr_expect(eq(int, xmb_waiters_fini(&waiters), 0));
	xmb_multibuf_release(&a, &cache);
	xmb_multibuf_release(&b, &cache);
}

enum { RELEASER_CNT = 2, ROUND_CNT = 3000 };

static struct xmb_multibuf box[RELEASER_CNT];
static _Atomic int box_full[RELEASER_CNT];

static void *releaser(void *arg)
{
	int id = (int)(intptr_t)arg;
	struct xmb_cache own;

	for (;;) {
		int full = atomic_load_explicit(&box_full[id],
						memory_order_acquire);

		if (full < 0)
			break;
		if (full == 0)
			continue;
		/* What its cache kept, blocks above all, nobody else has. */
		xmb_cache_init(&own, xmb_heap_pool(&heap), (uint32_t)id + 10);
		xmb_multibuf_release(&box[id], &own);
		xmb_cache_fini(&own);
		atomic_store_explicit(&box_full[id], 0, memory_order_release);
	}
	return NULL;
}

Test(allocator_heap, trim_races_with_releases_and_loses_nothing)
{
	pthread_t threads[RELEASER_CNT];
	uint32_t trimmed = 0;

	for (intptr_t i = 0; i < RELEASER_CNT; i++)
		pthread_create(&threads[i], NULL, releaser, (void *)i);
	for (int round = 0; round < ROUND_CNT; round++) {
		int id = round % RELEASER_CNT;

		while (atomic_load_explicit(&box_full[id],
					    memory_order_acquire))
			trimmed += xmb_heap_trim(&heap);
		if (get(&box[id], 33 + (uint32_t)round % 16) == 0)
			atomic_store_explicit(&box_full[id], 1,
					      memory_order_release);
		trimmed += xmb_heap_trim(&heap);
	}
	for (int i = 0; i < RELEASER_CNT; i++) {
		while (atomic_load(&box_full[i]))
			;
		atomic_store(&box_full[i], -1);
		pthread_join(threads[i], NULL);
	}
	trimmed += xmb_heap_trim(&heap);
	cr_expect(gt(u32, trimmed, 10));
	cr_expect(eq(u32, xmb_heap_slab_cnt(&heap), 1));
}

/*
 * Ten segments of a payload in one region of another pool: five of the cuts are
 * copies, whose frames can only be of the first slab, which has none left.
 */
Test(allocator_heap, does_not_grow_for_segments_that_are_refused)
{
	struct xmb_segment_opts opts = { .mtu = 20, .headroom = 20 };
	struct xmb_multibuf payload = { 0 }, all = { 0 };
	struct xmb_multibuf segments[10] = { 0 };
	static struct lab lab;

	lab_open(&lab, 256, 1, 0);
	cr_assert(eq(int, xmb_multibuf_alloc(&lab.cache, 200, 0, &payload), 0));
	cr_assert(eq(int, get(&all, FRAME_CNT), 0));
	cr_expect(eq(int, xmb_allocator_segment(&allocator, &payload, &opts,
						segments, 10), -ENOBUFS));
	cr_expect(eq(u32, xmb_heap_slab_cnt(&heap), 1));
	cr_expect(eq(u32, payload.len, 200));
	xmb_multibuf_release(&all, &cache);
	cr_expect(eq(int, xmb_allocator_segment(&allocator, &payload, &opts,
						segments, 10), 10));
	for (int i = 0; i < 10; i++)
		xmb_multibuf_release(&segments[i], &lab.cache);
	lab_close(&lab);
}

Test(allocator_heap, does_not_grow_where_blocks_are_missing)
{
	struct xmb_pool *pool = xmb_heap_pool(&heap);
	uint32_t *blocks = calloc(pool->spill_cnt, sizeof(*blocks)), cnt = 0;
	struct xmb_multibuf mb = { 0 };

	cr_assert(ne(ptr, blocks, NULL));
	while ((blocks[cnt] = xmb_cache_spill_get(&cache)) != XMB_SPILL_NONE)
		if (++cnt == pool->spill_cnt)
			break;
	cr_expect(eq(int, get(&mb, FRAME_CNT + 1), -ENOBUFS));
	cr_expect(eq(u32, mb.cnt, 0));
	cr_expect(eq(u32, xmb_heap_slab_cnt(&heap), 1));
	while (cnt-- > 0)
		xmb_cache_spill_put(&cache, &pool->domain, blocks[cnt]);
	free(blocks);
	cr_expect(eq(int, get(&mb, FRAME_CNT + 1), 0));
	cr_expect(eq(u32, xmb_heap_slab_cnt(&heap), 2));
	xmb_multibuf_release(&mb, &cache);
}
