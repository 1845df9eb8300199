/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * lib/buf/chunk: mistakes of a caller.  Each must end the process, and say
 * what became of the frame; a stale copy is found even when the frame has a
 * new owner.
 */
#include "buf/chunk.h"
#include "buf/handover.h"

#include "buf_lab.h"

enum { FRAME_LEN = 2048, FRAME_CNT = 64, WHO = 5 };

static struct lab lab;
static struct xmb_chunk a, b, c, f, stale;

static void setup(void)
{
	lab_open(&lab, FRAME_LEN, FRAME_CNT, 0);
	cr_assert(eq(int, xmb_chunk_alloc(&lab.cache, &a), 0));
}

static void teardown(void)
{
	xmb_chunk_release(&a, &lab.cache);
	xmb_chunk_release(&b, &lab.cache);
	xmb_chunk_release(&c, &lab.cache);
	lab_close(&lab);
}

TestSuite(chunk_misuse, .init = setup, .fini = teardown, .timeout = 300);

static bool is_range(const struct xmb_chunk *chunk, uint32_t off, uint32_t len)
{
	return xmb_chunk_is_live(chunk) && chunk->off == off &&
	       chunk->len == len && xmb_chunk_check(chunk);
}

static void split(struct xmb_chunk *chunk, size_t at, struct xmb_chunk *tail)
{
	cr_assert(eq(int, xmb_chunk_split(chunk, at, tail), 0));
}

static void release_stale(void)
{
	xmb_chunk_release(&stale, &lab.cache);
}

static void release_slice_of_stale(void)
{
	xmb_chunk_slice(&stale, 1, 2);
	xmb_chunk_release(&stale, &lab.cache);
}

static void claim_prefix_of_stale(void)
{
	xmb_chunk_claim_prefix(&stale, 1);
}

static void claim_suffix_of_stale(void)
{
	xmb_chunk_claim_suffix(&stale, 1);
}

static void split_stale(void)
{
	xmb_chunk_split(&stale, 1, &f);
}

static void send_stale(void)
{
	bool is_excl;

	xmb_handover_tx(&lab.cache, WHO, &stale, &is_excl);
}

static void discard_of_stale(void)
{
	xmb_chunk_discard_prefix(&stale, 1);
}

static void truncate_stale(void)
{
	xmb_chunk_truncate(&stale, 1);
}

/* All that must notice that the handle is not the current one. */
static void expect_stale(const char *text)
{
	lab_expect_death(release_stale, text);
	lab_expect_death(release_slice_of_stale, text);
	lab_expect_death(claim_prefix_of_stale, text);
	lab_expect_death(claim_suffix_of_stale, text);
	lab_expect_death(split_stale, text);
	lab_expect_death(send_stale, text);
}

Test(chunk_misuse, double_release_aborts, .signal = SIGABRT)
{
	stale = a;
	xmb_chunk_release(&a, &lab.cache);
	xmb_chunk_release(&stale, &lab.cache);
}

Test(chunk_misuse, double_release_after_the_frame_has_a_new_owner_aborts,
     .signal = SIGABRT)
{
	stale = a;
	xmb_chunk_release(&a, &lab.cache);
	xmb_chunk_alloc(&lab.cache, &b);
	cr_assert(eq(u32, b.region, stale.region));
	xmb_chunk_release(&stale, &lab.cache);
}

Test(chunk_misuse, a_stale_copy_is_noticed_after_release)
{
	xmb_chunk_slice(&a, 100, 900);
	stale = a;
	xmb_chunk_release(&a, &lab.cache);
	expect_stale("is in state free, of 0, in generation 1; most likely it "
		     "was released twice");
	xmb_chunk_alloc(&lab.cache, &b);
	cr_assert(eq(u32, b.region, stale.region));
	expect_stale("is in state app, of 0, in generation 1; most likely it "
		     "is a stale copy");
}

Test(chunk_misuse, a_stale_copy_is_noticed_after_a_split)
{
	xmb_chunk_slice(&a, 100, 900);
	stale = a;
	split(&a, 400, &b);
	expect_stale("most likely it is a stale copy");
	xmb_chunk_release(&b, &lab.cache);
	expect_stale("most likely it is a stale copy");
	cr_assert(eq(int, xmb_chunk_claim_suffix(&a, 400), 0));
	cr_assert(xmb_chunk_is_excl(&a));
	cr_assert(is_range(&a, stale.off, stale.len));
	expect_stale("most likely it is a stale copy");
}

Test(chunk_misuse, a_stale_copy_is_noticed_after_it_was_sent)
{
	bool is_excl = false;

	xmb_chunk_slice(&a, 100, 900);
	stale = a;
	xmb_handover_tx(&lab.cache, WHO, &a, &is_excl);
	cr_expect(is_excl);
	expect_stale("is in state tx, of 5, in generation 0; most likely it "
		     "was used after it was sent");
	xmb_handover_hold(&lab.pool, WHO);
	expect_stale("is in state held, of 5");
	cr_expect(eq(u32, xmb_handover_unhold(&lab.cache, WHO), 1));
	expect_stale("most likely it was released twice");
}

Test(chunk_misuse, a_stale_slot_is_noticed)
{
	bool is_excl = true;

	xmb_chunk_slice(&a, 100, 900);
	split(&a, 400, &b);
	split(&b, 100, &c);
	stale = b;
	xmb_chunk_release(&b, &lab.cache);
	expect_stale("that slot's owner is 0");
	lab_expect_death(discard_of_stale, "trim: region");
	lab_expect_death(truncate_stale, "trim: region");
	split(&a, 100, &b);
	cr_assert(eq(u16, b.slot, stale.slot));
	expect_stale("most likely it is a stale copy");
	stale = b;
	xmb_handover_tx(&lab.cache, WHO, &b, &is_excl);
	cr_expect(not(is_excl));
	cr_expect(not(xmb_chunk_check(&stale)));
	expect_stale("that slot's owner is 133");
	lab_expect_death(discard_of_stale, "it was used after it was sent");
	xmb_handover_unhold(&lab.cache, WHO);
	stale = a;
	stale.slot = XMB_TRACKER_SLOTS;
	expect_stale("chunk->slot < XMB_TRACKER_SLOTS");
	stale = a;
	xmb_chunk_release(&a, &lab.cache);
	xmb_chunk_claim_prefix(&c, 1);
	cr_assert(xmb_chunk_is_excl(&c));
	expect_stale("that slot's owner is 0");
}

static void trim_wider(void)
{
	stale.off--;
	xmb_chunk_truncate(&stale, stale.len - 1);
}

static void trim_longer(void)
{
	stale.len += 9;
	xmb_chunk_discard_prefix(&stale, 5);
}

static void split_into_live(void)
{
	xmb_chunk_split(&a, 1, &b);
}

static void split_into_itself(void)
{
	xmb_chunk_split(&a, 1, &a);
}

static void alloc_into_live(void)
{
	xmb_chunk_alloc(&lab.cache, &a);
}

static void bulk_alloc_into_live(void)
{
	struct xmb_chunk two[2] = { { 0 }, a };

	xmb_chunk_alloc_bulk(&lab.cache, two, 2);
}

Test(chunk_misuse, a_live_destination_aborts)
{
	xmb_chunk_alloc(&lab.cache, &b);
	lab_expect_death(split_into_live, "must hold: !xmb_chunk_is_live");
	lab_expect_death(split_into_itself, "must hold: !xmb_chunk_is_live");
	lab_expect_death(alloc_into_live, "must hold: !xmb_chunk_is_live");
	lab_expect_death(bulk_alloc_into_live, "must hold: !xmb_chunk_is");
}

Test(chunk_misuse, split_into_a_live_tail_aborts, .signal = SIGABRT)
{
	xmb_chunk_alloc(&lab.cache, &b);
	xmb_chunk_split(&a, 1, &b);
}

Test(chunk_misuse, alloc_into_a_live_chunk_aborts, .signal = SIGABRT)
{
	xmb_chunk_alloc(&lab.cache, &a);
}

Test(chunk_misuse, sending_a_stale_copy_aborts, .signal = SIGABRT)
{
	stale = a;
	xmb_chunk_release(&a, &lab.cache);
	send_stale();
}

Test(chunk_misuse, a_trim_outside_the_slots_word_aborts)
{
	split(&a, 400, &b);
	split(&b, 400, &c);
	stale = b;
	lab_expect_death(trim_wider, "trim: region");
	lab_expect_death(trim_longer, "trim: region");
}
