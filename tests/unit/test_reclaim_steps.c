/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * lib/buf/reclaim, step by step: reclaim.c is built in here with a hook before
 * each of its atomic accesses, as chunk.c is in test_chunk_steps.c.  At every
 * step of a supervisor's walk somebody adopts what the dead process had sent,
 * or a neighbour of the dead one releases: each chunk must have one taker.
 */
#include <stdatomic.h>

static void step(void);

/* Each access names its order, and so calls step() on its way. */
#define memory_order_relaxed (step(), __ATOMIC_RELAXED)
#define memory_order_acquire (step(), __ATOMIC_ACQUIRE)
#define memory_order_release (step(), __ATOMIC_RELEASE)
#define memory_order_acq_rel (step(), __ATOMIC_ACQ_REL)
#define memory_order_seq_cst (step(), __ATOMIC_SEQ_CST)

#include "buf/reclaim.c"

#include "process_lab.h"

enum { STEP_MAX = 3000 };

static int countdown = -1;
static void (*inject)(void);
static struct xmb_cache neighbour;
static struct xmb_handover_desc desc[2];
static struct xmb_chunk got[2], ours;
static int adopted[2];

static void step(void)
{
	if (countdown < 0 || countdown-- > 0)
		return;
	inject();
}

static void adopt_both(void)
{
	for (int i = 0; i < 2; i++)
		adopted[i] = xmb_handover_adopt(&neighbour, &desc[i], &got[i]);
}

static void adopt_and_release(void)
{
	adopt_both();
	for (int i = 0; i < 2; i++)
		xmb_chunk_release(&got[i], &neighbour);
}

static void release_ours(void)
{
	xmb_chunk_release(&ours, &neighbour);
}

/* A dead process's offers of a whole frame, and of a part of one of ours. */
static void die(void)
{
	struct xmb_chunk whole = { 0 }, part = { 0 };

	be(WE);
	/* One each: a cache takes all that there are, if it may. */
	xmb_cache_fetch(&neighbour, 1, false);
	cr_assert(eq(int, xmb_chunk_alloc(&neighbour, &ours), 0));
	cr_assert(eq(int, xmb_chunk_split(&ours, FRAME_LEN / 2, &part), 0));
	cr_assert(eq(int, xmb_handover_offer(&neighbour, &part, &desc[1]), 0));
	be(DEAD);
	cr_assert(eq(int, xmb_handover_adopt(&theirs, &desc[1], &part), 0));
	cr_assert(eq(int, xmb_handover_offer(&theirs, &part, &desc[1]), 0));
	xmb_cache_fetch(&theirs, 1, false);
	cr_assert(eq(int, xmb_chunk_alloc(&theirs, &whole), 0));
	cr_assert(eq(int, xmb_handover_offer(&theirs, &whole, &desc[0]), 0));
	be(WE);
}

/* Returns whether the walk has a step of that number. */
static bool try(void (*theirs_does)(void), int at)
{
	static const uint8_t whos[] = { DEAD_WHO };
	static const struct xmb_reclaim_dead dead = { DEAD, whos, 1 };
	struct xmb_cache *caches[] = { &lab.cache, &neighbour };
	struct xmb_reclaim_cnt cnt = { 0 };
	bool is_met;

	lab_open(&lab, FRAME_LEN, 3, 1);
	lab.cache.who = WE_WHO;
	xmb_cache_init(&theirs, &lab.pool, DEAD_WHO);
	xmb_cache_init(&neighbour, &lab.pool, WE_WHO + 1);
	die();
	adopted[0] = adopted[1] = -ENOENT;
	inject = theirs_does;
	countdown = at;
	cr_assert(eq(int, xmb_reclaim(&lab.cache, &dead, &cnt), 0));
	is_met = countdown < 0;
	countdown = -1;
	/* Each offer has gone to one of the two. */
	cr_expect(eq(u32, cnt.frame_cnt, adopted[0] != 0), "at step %d", at);
	cr_expect(eq(u32, cnt.slot_cnt, adopted[1] != 0), "at step %d", at);
	for (int i = 0; i < 2; i++) {
		cr_expect(xmb_chunk_check(&got[i]), "at step %d", at);
		xmb_chunk_release(&got[i], &neighbour);
	}
	cr_expect(xmb_chunk_check(&ours), "at step %d", at);
	xmb_chunk_release(&ours, &neighbour);
	cr_assert(xmb_pool_check(&lab.pool, caches, 2), "at step %d", at);
	xmb_cache_fini(&neighbour);
	close_two();
	return is_met;
}

Test(reclaim_steps, what_is_adopted_meanwhile_has_one_taker)
{
	void (*const all[])(void) = { adopt_both, adopt_and_release,
				      release_ours };

	for (int i = 0; i < 3; i++) {
		int at = 0;

		while (at < STEP_MAX && try(all[i], at))
			at++;
		cr_expect(gt(int, at, 5));
		cr_expect(lt(int, at, STEP_MAX));
	}
}
