/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * lib/alloc/waiter at a heap: who gets to be the first has the heap grow, a
 * waiter may end inside of the calls that it is in, and nothing that is had is
 * left behind at the end.
 */
#include "alloc/heap.h"
#include "alloc/waiter.h"

#include "buf_lab.h"

enum { FRAME_LEN = 128, FRAME_CNT = 2, SLAB_MAX = 4 };

static struct xmb_heap heap;
static struct xmb_cache cache;
static struct xmb_allocator allocator;
static struct xmb_waiters waiters;
static struct xmb_chunk hoard[FRAME_CNT * SLAB_MAX];
static uint32_t hoard_cnt, woken_cnt, alloc_cnt;
static bool is_refusing, is_releasing;

static void *user_alloc(void *arg, size_t len)
{
	(void)arg;
	alloc_cnt++;
	/* With the cache of the thread that the heap grows in. */
	if (is_releasing)
		xmb_chunk_release(&hoard[--hoard_cnt], &cache);
	return is_refusing ? NULL : malloc(len);
}

static void user_free(void *arg, void *mem, size_t len)
{
	(void)arg;
	(void)len;
	free(mem);
}

static void wake(void *arg, struct xmb_waiter *waiter)
{
	(void)arg;
	cr_expect(eq(int, (int)xmb_waiter_poll(waiter), XMB_WAITER_READY));
	woken_cnt++;
}

/* All frames of the first slab are had. */
static void setup(void)
{
	cr_assert(eq(int, xmb_heap_init(&heap, &(struct xmb_heap_opts){
		.frame_len = FRAME_LEN, .frame_cnt = FRAME_CNT,
		.slab_max = SLAB_MAX, .alloc = user_alloc,
		.free = user_free }), 0));
	xmb_cache_init(&cache, xmb_heap_pool(&heap), 3);
	xmb_allocator_init_heap(&allocator, &heap, &cache);
	cr_assert(eq(int, xmb_waiters_init(&waiters, &allocator,
			&(struct xmb_waiters_opts){ .who = 9 }), 0));
	for (; hoard_cnt < FRAME_CNT; hoard_cnt++)
		cr_assert(eq(int, xmb_chunk_alloc(&cache, &hoard[hoard_cnt]),
			     0));
}

static void give(uint32_t cnt)
{
	while (cnt-- > 0 && hoard_cnt > 0)
		xmb_chunk_release(&hoard[--hoard_cnt], &cache);
	xmb_cache_yield(&cache);
}

static void teardown(void)
{
	give(FRAME_CNT);
	cr_expect(eq(i64, xmb_waiters_app_cnt(&waiters), 0));
	cr_expect(eq(int, xmb_waiters_fini(&waiters), 0));
	xmb_cache_fini(&cache);
	cr_expect(eq(int, xmb_heap_fini(&heap), 0));
}

TestSuite(waiter_end, .init = setup, .fini = teardown, .timeout = 300);

static int start(struct xmb_waiter *waiter, uint32_t frames)
{
	waiter->request.min_len = (size_t)frames * FRAME_LEN;
	waiter->wake = wake;
	return xmb_waiter_start(&waiters, waiter, &cache);
}

static uint32_t state(const struct xmb_waiter *waiter)
{
	return xmb_waiter_poll(waiter);
}

static void cancel(struct xmb_waiter *waiter)
{
	cr_expect(eq(int, xmb_waiter_cancel(&waiters, waiter), 0));
}

Test(waiter_end, the_heap_grows_for_who_is_first_when_the_first_cancels)
{
	struct xmb_waiter a = { 0 }, b = { 0 };

	/* Three slabs are to be had yet, four are asked for. */
	cr_expect(eq(int, start(&a, 8), 0));
	cr_expect(eq(int, start(&b, 1), 0));
	cr_expect(eq(u32, xmb_heap_slab_cnt(&heap), 1));
	cancel(&a);
	cr_expect(eq(u32, state(&b), XMB_WAITER_READY));
	cr_expect(eq(u32, woken_cnt, 1));
	cr_expect(eq(u32, xmb_heap_slab_cnt(&heap), 2));
	cancel(&b);
}

Test(waiter_end, the_heap_grows_for_who_is_first_when_the_first_is_served)
{
	struct xmb_waiter a = { 0 }, b = { 0 }, c = { 0 };

	is_refusing = true;
	cr_expect(eq(int, start(&a, 1), 0));
	cr_expect(eq(int, start(&b, 3), 0));
	cr_expect(eq(int, start(&c, 3), 0));
	is_refusing = false;
	give(1);
	cr_expect(eq(u32, state(&a), XMB_WAITER_READY));
	cr_expect(eq(u32, state(&b), XMB_WAITER_READY));
	/* One of the four of two slabs is left, and one slab to be had. */
	cr_expect(eq(u32, state(&c), XMB_WAITER_READY));
	cr_expect(eq(u32, woken_cnt, 3));
	cr_expect(eq(u32, xmb_heap_slab_cnt(&heap), 4));
	cancel(&a);
	cancel(&b);
	cancel(&c);
}

Test(waiter_end, a_heap_that_is_refused_is_asked_once_for_each_first)
{
	struct xmb_waiter a = { 0 };
	uint32_t before;

	is_refusing = true;
	cr_expect(eq(int, start(&a, 3), 0));
	before = alloc_cnt;
	give(1);
	cr_expect(eq(u32, alloc_cnt, before));
	xmb_waiters_kick(&waiters);
	cr_expect(eq(u32, alloc_cnt, before + 1));
	cr_expect(eq(int, xmb_waiter_resize(&waiters, &a, &a.request), 0));
	cr_expect(eq(u32, alloc_cnt, before + 2));
	cancel(&a);
}

static void wake_and_free(void *arg, struct xmb_waiter *waiter)
{
	struct xmb_waiter **victim = arg;

	(void)waiter;
	cancel(*victim);
	free(*victim);
	*victim = NULL;
}

Test(waiter_end, a_wake_may_end_and_free_one_that_is_starting)
{
	struct xmb_waiter *a = calloc(1, sizeof(*a)), b = { 0 };

	is_refusing = true;
	cr_expect(eq(int, start(&b, 1), 0));
	b.wake = wake_and_free;
	b.arg = &a;
	xmb_chunk_release(&hoard[--hoard_cnt], &cache);
	/* The cache is yielded, and so b is served. */
	cr_expect(eq(int, start(a, 3), -ECANCELED));
	cr_expect(zero(ptr, a));
	cr_expect(eq(u32, state(&b), XMB_WAITER_READY));
	cancel(&b);
}

Test(waiter_end, a_wake_may_end_and_free_one_that_is_resized)
{
	struct xmb_alloc_request small = { .min_len = FRAME_LEN };
	struct xmb_waiter *a = calloc(1, sizeof(*a)), b = { 0 };

	is_refusing = true;
	cr_expect(eq(int, start(a, 8), 0));
	cr_expect(eq(int, start(&b, 1), 0));
	b.wake = wake_and_free;
	b.arg = &a;
	give(2);
	cr_expect(eq(int, xmb_waiter_resize(&waiters, a, &small),
		     -ECANCELED));
	cr_expect(zero(ptr, a));
	cr_expect(eq(u32, state(&b), XMB_WAITER_READY));
	cancel(&b);
}

Test(waiter_end, what_is_released_while_it_grows_is_counted_where_it_was)
{
	struct xmb_waiter a = { 0 };

	is_releasing = true;
	cr_expect(eq(int, start(&a, 2), 1));
	is_releasing = false;
	/* One of the frames is the one that came home meanwhile. */
	cr_expect(eq(i64, xmb_waiters_app_cnt(&waiters), 1));
	cr_expect(eq(i64, cache.app_cnt, FRAME_CNT - 1));
	cancel(&a);
}

Test(waiter_end, who_has_not_taken_what_it_got_keeps_the_queue)
{
	struct xmb_waiter a = { 0 }, none = { 0 };
	struct xmb_multibuf mb = { 0 };

	cr_expect(eq(int, start(&a, 1), 1));
	cr_expect(eq(int, start(&none, 0), 1));
	cr_expect(eq(int, xmb_waiters_fini(&waiters), -EBUSY));
	cancel(&none);
	cr_expect(eq(int, xmb_waiters_fini(&waiters), -EBUSY));
	cr_expect(eq(int, xmb_waiter_take(&waiters, &a, &mb, &cache), 0));
	xmb_multibuf_release(&mb, &cache);
	cr_expect(eq(int, xmb_waiters_fini(&waiters), 0));
	cr_assert(eq(int, xmb_waiters_init(&waiters, &allocator,
			&(struct xmb_waiters_opts){ .who = 9 }), 0));
	/* Those that waited for it, too. */
	is_refusing = true;
	cr_expect(eq(int, start(&a, 1), 1));
	cancel(&a);
	give(1);
	cr_expect(eq(int, start(&a, 4), 0));
	cancel(&a);
}
