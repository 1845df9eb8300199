/* SPDX-License-Identifier: BSD-2-Clause */
/* lib/buf/pool_wait: who waits for frames is told, and nobody else. */
#include "buf_lab.h"

#include <errno.h>

static struct lab lab;
static uint32_t calls;

static void count_call(struct xmb_pool_hook *hook)
{
	(void)hook;
	calls++;
}

static struct xmb_pool_hook hook = { .fn = count_call };

static void setup(void)
{
	lab_open(&lab, 64, 8, 8);
	cr_assert(eq(int, xmb_pool_set_hook(&lab.pool, &hook), 0));
	calls = 0;
}

static void teardown(void)
{
	xmb_pool_set_hook(&lab.pool, NULL);
	lab_close(&lab);
}

TestSuite(pool_wait, .init = setup, .fini = teardown, .timeout = 300);

Test(pool_wait, a_second_hook_is_refused_and_the_first_stays)
{
	struct xmb_pool_hook other = { .fn = NULL };

	cr_expect(eq(int, xmb_pool_set_hook(&lab.pool, &other), -EBUSY));
	xmb_pool_set_waiting(&lab.pool, true);
	xmb_cache_fetch(&lab.cache, 1, false);
	xmb_cache_fini(&lab.cache);
	cr_expect(eq(u32, calls, 1));
	xmb_pool_set_waiting(&lab.pool, false);
	xmb_pool_set_hook(&lab.pool, NULL);
	cr_expect(eq(int, xmb_pool_set_hook(&lab.pool, &hook), 0));
}

Test(pool_wait, a_yield_gives_what_the_cache_has_while_somebody_waits)
{
	uint32_t block;

	xmb_cache_fetch(&lab.cache, 2, false);
	xmb_cache_yield(&lab.cache);
	cr_expect(eq(u32, lab.cache.cnt, 2), "nobody waits");
	xmb_pool_set_waiting(&lab.pool, true);
	xmb_cache_yield(&lab.cache);
	cr_expect(zero(u32, lab.cache.cnt));
	cr_expect(eq(u32, calls, 1));
	/* Blocks alone are something to give, too. */
	block = xmb_cache_spill_get(&lab.cache);
	xmb_cache_spill_put(&lab.cache, &lab.pool.domain, block);
	xmb_cache_yield(&lab.cache);
	cr_expect(zero(u32, lab.cache.spill_cnt));
	cr_expect(eq(u32, calls, 2));
	xmb_pool_set_waiting(&lab.pool, false);
}

Test(pool_wait, a_yield_of_an_empty_cache_tells_nobody)
{
	xmb_pool_set_waiting(&lab.pool, true);
	xmb_cache_yield(&lab.cache);
	cr_expect(zero(u32, calls));
	xmb_pool_set_waiting(&lab.pool, false);
}

static void wait_for_one_more(void)
{
	xmb_pool_set_waiting(&lab.pool, true);
}

Test(pool_wait, as_many_may_wait_as_the_count_holds_and_no_more)
{
	for (uint32_t i = 0; i < UINT16_MAX; i++)
		xmb_pool_set_waiting(&lab.pool, true);
	lab_expect_death(wait_for_one_more, "n <= UINT16_MAX");
	for (uint32_t i = 0; i < UINT16_MAX; i++) {
		xmb_cache_fetch(&lab.cache, 1, false);
		xmb_cache_yield(&lab.cache);
		cr_assert(zero(u32, lab.cache.cnt), "%u have ended", i);
		xmb_pool_set_waiting(&lab.pool, false);
	}
	xmb_cache_fetch(&lab.cache, 1, false);
	xmb_cache_yield(&lab.cache);
	cr_expect(eq(u32, lab.cache.cnt, 1), "nobody waits");
}

static void end_what_did_not_begin(void)
{
	xmb_pool_set_waiting(&lab.pool, false);
}

Test(pool_wait, an_end_without_a_beginning_aborts)
{
	lab_expect_death(end_what_did_not_begin, "n <= UINT16_MAX");
}
