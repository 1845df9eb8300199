/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * lib/buf/handover, reclaim: the arrays of the side memory lie end to end, and
 * nothing behind the last word, slot or link is taken for one more.
 *
 *      words 0..63 | trackers 0..63 | blocks 0..14 | links 0..14 | 4 bytes
 *                  ^ "word 64"      ^ "tracker 64"               ^ "link 15"
 *
 *      tracker k: state, with the generation as "owner 5", link, slots 0..4
 */
#include "buf/handover.h"
#include "buf/pool_priv.h"
#include "buf/reclaim.h"
#include "buf/tracker_priv.h"

#include "buf_lab.h"

#include <errno.h>

enum {
	FRAME_LEN = 2048,
	FRAME_CNT = 64,
	SPILL_CNT = 15,
	WE = 1,
	WE_WHO = 9,
	WHO = 5,       /* a socket */
	DEAD = 77,     /* a process */
	DEAD_WHO = 78, /* and its cache */
	END = FRAME_LEN * FRAME_CNT,
};

static const uint8_t whos[] = { DEAD_WHO };
static const struct xmb_reclaim_dead dead = { DEAD, whos, 1 };

static struct lab lab;
static struct xmb_domain *domain;

static void setup(void)
{
	lab_open(&lab, FRAME_LEN, FRAME_CNT, SPILL_CNT);
	lab.cache.who = WE_WHO;
	domain = &lab.pool.domain;
	cr_assert(eq(ptr, (void *)&domain->words[FRAME_CNT],
		     (void *)domain->trackers));
	cr_assert(eq(ptr, (void *)&domain->trackers[FRAME_CNT],
		     (void *)domain->spills));
}

static void teardown(void)
{
	lab_close(&lab);
}

TestSuite(side_memory, .init = setup, .fini = teardown, .timeout = 300);

static uint32_t count(struct xmb_handover_held held)
{
	return held.fill_cnt + held.tx_cnt + held.slot_cnt;
}

/* A supervisor finds nothing at all, and neither does the socket's owner. */
static void expect_nothing(void)
{
	struct xmb_reclaim_cnt cnt = { 0 };

	lab_snap(&lab);
	cr_expect(zero(u32,
		       count(xmb_handover_unsend_of(&lab.cache, domain, WHO))));
	cr_expect(zero(u32, xmb_handover_unhold(&lab.cache, WHO)));
	cr_expect(zero(u32, count(xmb_handover_hold(&lab.pool, WHO))));
	cr_expect(eq(int, xmb_reclaim(&lab.cache, &dead, &cnt), 0));
	cr_expect(eq(int, xmb_reclaim_socket(&lab.cache, WHO, &cnt), 0));
	cr_expect(zero(u32, cnt.slot_cnt + cnt.frame_cnt + cnt.cached_cnt +
				    cnt.spill_cnt));
	cr_expect(lab_is_unchanged(&lab));
}

Test(side_memory, behind_the_last_word_there_is_no_frame)
{
	const uint32_t words[] = {
		xmb_frame_word(XMB_FRAME_TX, WHO, 0),
		xmb_frame_word(XMB_FRAME_HELD, WHO, 0),
		xmb_frame_word(XMB_FRAME_FILL, WHO, 0),
		xmb_frame_word(XMB_FRAME_TX, WHO, 0) | XMB_FRAME_COOKIE,
		xmb_frame_word(XMB_FRAME_APP, DEAD_WHO, 0),
		xmb_frame_word(XMB_FRAME_FREE, DEAD_WHO, 0),
	};

	for (uint32_t i = 0; i < sizeof(words) / sizeof(*words); i++) {
		atomic_store(&domain->trackers[0].state, words[i]);
		expect_nothing();
		cr_expect(eq(
			int,
			xmb_handover_complete_of(&lab.cache, domain, WHO, END),
			-EPROTO));
		cr_expect(eq(int,
			     xmb_handover_complete_held(&lab.cache, domain, WHO,
							END),
			     -EPROTO));
		cr_expect(eq(int, xmb_handover_complete(&lab.cache, WHO, END),
			     -EPROTO));
		cr_expect(zero(u32, xmb_handover_tx_end(domain, WHO, END)));
		cr_expect(lab_is_unchanged(&lab));
	}
	atomic_store(&domain->trackers[0].state, 0);
}

Test(side_memory, behind_the_last_tracker_there_is_no_slot)
{
	struct xmb_tracker *t = &domain->trackers[FRAME_CNT];

	atomic_store(&t->state, xmb_owner_bits(0, XMB_OWNER_TX(WHO)) |
					xmb_owner_bits(1, DEAD));
	atomic_store(&t->slot[0], xmb_slot_word(0, 10));
	expect_nothing();
	cr_expect(
		eq(int, xmb_handover_complete(&lab.cache, WHO, END), -EPROTO));
	cr_expect(eq(int,
		     xmb_handover_complete_of(&lab.cache, domain, WHO, END),
		     -EPROTO));
	cr_expect(zero(u32, xmb_handover_tx_end(domain, WHO, END)));
	cr_expect(lab_is_unchanged(&lab));
}

Test(side_memory, a_generation_is_no_owner)
{
	static const uint32_t owners[] = { XMB_OWNER_TX(WHO), DEAD };
	struct xmb_chunk a = { 0 }, b = { 0 };
	struct xmb_tracker *t;
	uint64_t was;
	uint32_t word;

	cr_assert(eq(int, xmb_chunk_alloc(&lab.cache, &a), 0));
	cr_assert(eq(int, xmb_chunk_split(&a, 10, &b), 0));
	t = xmb_chunk_tracker(&a);
	was = atomic_load(&t->state);
	word = xmb_frame_load(domain, a.region);
	/* Of a socket's frames a supervisor forgets the cookies. */
	xmb_frame_store(domain, a.region, word | XMB_FRAME_COOKIE);
	for (int i = 0; i < 2; i++) {
		atomic_store(&t->state, (was & XMB_TRACKER_OWNERS) |
						owners[i] * XMB_TRACKER_GEN);
		expect_nothing();
	}
	atomic_store(&t->state, was);
	xmb_frame_store(domain, a.region, word);
	xmb_chunk_release(&a, &lab.cache);
	xmb_chunk_release(&b, &lab.cache);
}

/* The state of the next region is where the word of slot 5 would be. */
Test(side_memory, behind_the_last_slot_there_is_none_to_adopt)
{
	const struct xmb_handover_desc desc = {
		.len = 10,
		.slot = XMB_TRACKER_SLOTS,
		.owner = WE,
	};
	struct xmb_chunk chunk = { 0 };

	atomic_store(&domain->trackers[0].state, WE * XMB_TRACKER_GEN);
	atomic_store(&domain->trackers[1].state, xmb_slot_word(0, 10));
	lab_snap(&lab);
	cr_expect(eq(int, xmb_handover_adopt(&lab.cache, &desc, &chunk),
		     -EPROTO));
	cr_expect(not(xmb_chunk_is_live(&chunk)));
	cr_expect(lab_is_unchanged(&lab));
	atomic_store(&domain->trackers[0].state, 0);
	atomic_store(&domain->trackers[1].state, 0);
}

Test(side_memory, behind_the_last_link_there_is_no_block)
{
	struct xmb_stack stack = xmb_stack_spills(&lab.pool);
	_Atomic uint32_t *behind = xmb_stack_link(&stack, SPILL_CNT);

	cr_assert(lt(u64, (uint64_t)((uint8_t *)behind - lab.side),
		     lab.side_len));
	atomic_store(behind, XMB_SPILL_TAKEN | DEAD);
	expect_nothing();
}

/* The walk is at its end there, as if the stack were whole. */
Test(side_memory, a_stack_that_leads_behind_its_links_is_damaged)
{
	struct xmb_reclaim_cnt cnt = { 0 };
	struct xmb_stack stacks[] = { xmb_stack_frames(&lab.pool),
				      xmb_stack_spills(&lab.pool) };

	for (int i = 0; i < 2; i++) {
		struct xmb_stack *stack = &stacks[i];
		_Atomic uint32_t *link = xmb_stack_link(stack, 5);
		_Atomic uint32_t *behind =
			xmb_stack_link(stack, stack->idx_cnt);
		uint32_t was = atomic_load(link);

		atomic_store(behind, XMB_STACK_END);
		atomic_store(link, stack->idx_cnt);
		cr_expect(eq(int, xmb_reclaim_lost(&lab.cache, &cnt), -EPROTO));
		cr_expect(not(xmb_pool_check(&lab.pool, NULL, 0)));
		atomic_store(link, was);
	}
	cr_expect(zero(u32, cnt.cached_cnt + cnt.spill_cnt));
}
