/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * lib/buf/pool, step by step: pool.c is built in here with a hook before each
 * of its atomic accesses, as chunk.c is in test_chunk_steps.c.  At every step
 * of a call another cache does whole calls of its own.
 */
#include <stdatomic.h>

static void step(void);

/* Each access names its order, and so calls step() on its way. */
#define memory_order_relaxed (step(), __ATOMIC_RELAXED)
#define memory_order_acquire (step(), __ATOMIC_ACQUIRE)
#define memory_order_release (step(), __ATOMIC_RELEASE)
#define memory_order_acq_rel (step(), __ATOMIC_ACQ_REL)
#define memory_order_seq_cst (step(), __ATOMIC_SEQ_CST)

#include "buf/pool.c"

#include "buf_lab.h"

enum { FRAME_CNT = 8, STEP_MAX = 100 };

static struct lab lab;
static struct xmb_cache other;
static int countdown = -1;
static void (*inject)(void);

static void step(void)
{
	if (countdown < 0 || countdown-- > 0)
		return;
	inject();
}

/* Leaves the top as it was, but not what is below it. */
static void take_three_and_put_the_first(void)
{
	uint32_t first;

	xmb_cache_fetch(&other, other.cnt + 3, false);
	if (other.cnt == 0)
		return;
	first = other.frames[--other.cnt];
	pool_release(&lab.pool.domain, first, &other);
}

static void take_all(void)
{
	xmb_cache_fetch(&other, XMB_CACHE_MAX, false);
}

static void put_all(void)
{
	xmb_cache_fini(&other);
}

static void fetch_one(void)
{
	xmb_cache_fetch(&lab.cache, lab.cache.cnt + 1, false);
}

static void fetch_four(void)
{
	xmb_cache_fetch(&lab.cache, lab.cache.cnt + 4, false);
}

static void flush(void)
{
	xmb_cache_flush(&lab.cache);
}

static void finish(void)
{
	xmb_cache_fini(&lab.cache);
}

/* Returns whether ours has a step of that number. */
static bool try(void (*ours)(void), void (*theirs)(void), int at)
{
	struct xmb_cache *caches[] = { &lab.cache, &other };
	bool is_met;

	lab_open(&lab, 64, FRAME_CNT, 0);
	xmb_cache_init(&other, &lab.pool, 1);
	xmb_cache_fetch(&lab.cache, 2, false);
	inject = theirs;
	countdown = at;
	ours();
	is_met = countdown < 0;
	countdown = -1;
	cr_assert(eq(u32, lab.cache.cnt + other.cnt +
			     xmb_pool_free_cnt(&lab.pool), FRAME_CNT));
	cr_assert(xmb_pool_check(&lab.pool, caches, 2), "at step %d", at);
	xmb_cache_fini(&other);
	lab_close(&lab);
	return is_met;
}

Test(pool_steps, frames_are_conserved_wherever_another_cache_cuts_in)
{
	void (*const ours[])(void) = { fetch_one, fetch_four, flush, finish };
	void (*const theirs[])(void) = { take_three_and_put_the_first,
					 take_all, put_all };

	for (int i = 0; i < 4; i++) {
		for (int k = 0; k < 3; k++) {
			int at = 0;

			while (at < STEP_MAX && try(ours[i], theirs[k], at))
				at++;
			cr_expect(gt(int, at, 3));
			cr_expect(lt(int, at, STEP_MAX));
		}
	}
}
