/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * lib/buf/edit, shares: a clone has the same bytes, nobody writes them, and
 * what is refused leaves every handle as it was.
 */
#include "buf/extbuf.h"
#include "edit_room.h"

#include <signal.h>

TestSuite(share, .init = setup, .fini = teardown, .timeout = 300);

Test(share, a_clone_has_the_bytes_and_both_are_read_only)
{
	for (uint32_t cnt = 0; cnt < 12; cnt++) {
		struct xmb_multibuf mb = mb_of(&here, cnt, 7, 0), clone = { 0 };
		uint8_t byte = 99;

		mb.user = 5;
		cr_assert(eq(int, xmb_multibuf_share(&mb, &clone, &here.cache),
			     0));
		expect_bytes(&mb, 7 * cnt, 0);
		expect_bytes(&clone, 7 * cnt, 0);
		cr_expect(eq(u32, clone.user, 5));
		cr_expect(xmb_multibuf_is_writable(&mb) == (cnt == 0));
		cr_expect(xmb_multibuf_is_writable(&clone) == (cnt == 0));
		cr_expect(xmb_multibuf_copy_from(&clone, 0, &byte, 1) == 0);
		if (cnt > 0) {
			EXPECT_REFUSED(&mb, &clone,
				       xmb_multibuf_unshare(&mb), -EBUSY);
			EXPECT_REFUSED(&mb, &clone, xmb_multibuf_claim_prefix(
					&mb, 1), -EPERM);
			EXPECT_REFUSED(&mb, &clone, xmb_multibuf_claim_suffix(
					&mb, 1), -EPERM);
		}
		xmb_multibuf_release(&clone, &here.cache);
		cr_expect(eq(int, xmb_multibuf_unshare(&mb), 0));
		cr_expect(xmb_multibuf_is_writable(&mb));
		cr_expect(xmb_multibuf_copy_from(&mb, 0, &byte, 1) ==
			  (cnt > 0));
		cr_expect(xmb_multibuf_check(&mb));
		xmb_multibuf_release(&mb, &here.cache);
	}
	cr_expect(zero(u64, xmb_counter_read(&here.cache.copies)));
}

Test(share, five_are_the_most_and_the_sixth_is_a_copy)
{
	struct xmb_multibuf mbs[6] = { mb_of(&here, 5, 7, 0) };

	for (uint32_t i = 1; i < 6; i++) {
		cr_assert(eq(int, xmb_multibuf_share(&mbs[0], &mbs[i],
						     &here.cache), 0));
		expect_bytes(&mbs[i], 35, 0);
		cr_expect(xmb_multibuf_is_writable(&mbs[i]) == (i == 5));
	}
	cr_expect(eq(u64, xmb_counter_read(&here.cache.copies), 5));
	cr_expect(eq(u64, xmb_counter_read(&here.cache.copied_bytes), 35));
	xmb_multibuf_release_bulk(mbs, 6, &here.cache);
}

Test(share, a_share_can_be_cut_and_trimmed_and_shared_again)
{
	for (uint32_t at = 0; at <= 21; at++) {
		struct xmb_multibuf mb = mb_of(&here, 3, 7, 0), clone = { 0 };
		struct xmb_multibuf tail = { 0 }, again = { 0 };

		xmb_multibuf_share(&mb, &clone, &here.cache);
		cr_assert(eq(int, xmb_multibuf_split(&clone, at, &tail,
						     &here.cache), 0));
		expect_bytes(&clone, at, 0);
		expect_bytes(&tail, 21 - at, (uint8_t)at);
		cr_expect(xmb_multibuf_is_writable(&clone) == (at == 0));
		cr_expect(xmb_multibuf_is_writable(&tail) == (at == 21));
		cr_assert(eq(int, xmb_multibuf_share(&tail, &again,
						     &here.cache), 0));
		cr_assert(eq(int, xmb_multibuf_append(&clone, &again,
						      &here.cache), 0));
		expect_bytes(&clone, 21, 0);
		expect_bytes(&mb, 21, 0);
		xmb_multibuf_release(&tail, &here.cache);
		xmb_multibuf_release(&clone, &here.cache);
		xmb_multibuf_release(&mb, &here.cache);
	}
	cr_expect(zero(u64, xmb_counter_read(&here.cache.copies)));
}

/* Edits of a share: other bytes between, bytes away, never a byte changed. */
Test(share, a_share_can_be_edited_and_the_other_keeps_its_bytes)
{
	for (uint32_t at = 0; at <= 21; at++) {
		struct xmb_multibuf mb = mb_of(&here, 3, 7, 0), clone = { 0 };
		struct xmb_multibuf x = mb_of(&here, 1, 7, (uint8_t)at);
		struct xmb_multibuf out = { 0 };

		xmb_multibuf_share(&mb, &clone, &here.cache);
		cr_assert(eq(int, xmb_multibuf_insert(&clone, at, &x,
						      &here.cache), 0));
		cr_assert(eq(int, xmb_multibuf_take(&clone, at, 7, &out,
						    &here.cache), 0));
		expect_bytes(&clone, 21, 0);
		expect_bytes(&out, 7, (uint8_t)at);
		xmb_multibuf_release(&out, &here.cache);
		cr_assert(eq(int, xmb_multibuf_take(&clone, at / 2,
						    21 - at / 2 - at / 3, &out,
						    &here.cache), 0));
		expect_bytes(&out, 21 - at / 2 - at / 3, (uint8_t)(at / 2));
		cr_assert(eq(int, xmb_multibuf_discard_segment(&mb, 2, 3,
							       &here.cache),
			     0));
		cr_expect(eq(u32, mb.len, 18));
		xmb_multibuf_release(&mb, &here.cache);
		xmb_multibuf_release(&out, &here.cache);
		xmb_multibuf_release(&clone, &here.cache);
	}
}

/* The chunk at the end cannot be shared and not be copied. */
Test(share, what_is_refused_leaves_every_handle_as_it_was)
{
	struct xmb_chunk taken[FRAME_CNT] = { 0 }, side[4], few[4];
	struct xmb_multibuf mb = mb_of(&here, 4, 7, 0), clone = { .user = 8 };
	struct xmb_chunk c = crowded_chunk(&here, 20, few, 2);
	uint32_t cnt = 0;

	xmb_multibuf_push_back(&mb, &c, &here.cache);
	c = crowded_chunk(&here, 20, side, 0);
	xmb_multibuf_push_back(&mb, &c, &here.cache);
	hoard_blocks(&here, 0);
	EXPECT_REFUSED(&mb, &clone, xmb_multibuf_share(&mb, &clone,
						       &here.cache), -ENOBUFS);
	give_blocks(&here);
	while (frames_free(&here) > 0)
		taken[cnt++] = chunk_of(&here, 1);
	EXPECT_REFUSED(&mb, &clone, xmb_multibuf_share(&mb, &clone,
						       &here.cache), -ENOBUFS);
	xmb_chunk_release_bulk(taken, cnt, &here.cache);
	cr_assert(eq(int, xmb_multibuf_share(&mb, &clone, &here.cache), 0));
	cr_expect(eq(u64, xmb_counter_read(&here.cache.copies), 1));
	/* The crowded one stays writable, and so is its copy. */
	cr_expect(not(xmb_chunk_is_rdonly(xmb_multibuf_chunk(&mb, 5))));
	cr_expect(not(xmb_chunk_is_rdonly(xmb_multibuf_chunk(&clone, 5))));
	cr_expect(xmb_chunk_is_rdonly(xmb_multibuf_chunk(&mb, 4)));
	xmb_multibuf_release(&mb, &here.cache);
	xmb_multibuf_release(&clone, &here.cache);
	xmb_chunk_release_bulk(side, 4, &here.cache);
	xmb_chunk_release_bulk(few, 4, &here.cache);
}

Test(share, unshare_is_for_all_or_for_none)
{
	struct xmb_multibuf mb = mb_of(&here, 5, 7, 0), clone = { 0 };

	xmb_multibuf_share(&mb, &clone, &here.cache);
	xmb_multibuf_truncate(&clone, 34, &here.cache);
	xmb_multibuf_discard_prefix(&clone, 28, &here.cache);
	EXPECT_REFUSED(&mb, &clone, xmb_multibuf_unshare(&mb), -EBUSY);
	xmb_multibuf_truncate(&clone, 0, &here.cache);
	/* A share of no bytes is nobody's reader. */
	cr_expect(eq(int, xmb_multibuf_unshare(&mb), 0));
	cr_expect(xmb_multibuf_is_writable(&mb));
	cr_expect(xmb_multibuf_check(&mb));
	xmb_multibuf_release(&mb, &here.cache);
	xmb_multibuf_release(&clone, &here.cache);
}

Test(share, two_shares_in_one_multibuf_are_in_each_others_way)
{
	struct xmb_multibuf mb = mb_of(&here, 2, 7, 0), clone = { 0 };

	xmb_multibuf_share(&mb, &clone, &here.cache);
	xmb_multibuf_append(&mb, &clone, &here.cache);
	EXPECT_REFUSED(&mb, NULL, xmb_multibuf_unshare(&mb), -EBUSY);
	xmb_multibuf_release(&mb, &here.cache);
}

static void count_free(void *arg, void *mem, size_t len)
{
	(void)mem;
	(void)len;
	++*(uint32_t *)arg;
}

Test(share, memory_of_the_callers_comes_back_after_the_last_share)
{
	static uint8_t mem[70000];
	struct xmb_multibuf mb = { 0 }, clone = { 0 }, out = { 0 };
	uint32_t freed = 0;

	cr_assert(eq(int, xmb_extbuf_attach(&here.cache, mem, sizeof(mem),
					    count_free, &freed, &mb), 0));
	cr_assert(eq(int, xmb_multibuf_share(&mb, &clone, &here.cache), 0));
	cr_assert(eq(int, xmb_multibuf_take(&clone, 32000, 2000, &out,
					    &here.cache), 0));
	xmb_multibuf_release(&mb, &here.cache);
	xmb_multibuf_release(&clone, &here.cache);
	cr_expect(zero(u32, freed));
	cr_expect(eq(u32, out.len, 2000));
	cr_expect(eq(int, xmb_multibuf_unshare(&out), 0));
	xmb_multibuf_release(&out, &here.cache);
	cr_expect(eq(u32, freed, 1));
}

/* 64-byte frames for a chunk of 32 KiB: more chunks than a multibuf has. */
Test(share, copies_into_short_frames_make_many_chunks)
{
	static uint8_t mem[32768];
	struct xmb_multibuf mbs[6] = { 0 };
	struct room crowd;

	room_init(&crowd, &(struct xmb_pool_opts){
		.frame_len = 64, .frame_cnt = 600, .spill_cnt = 300 });
	cr_assert(eq(int, xmb_extbuf_attach(&crowd.cache, mem, sizeof(mem),
					    NULL, NULL, &mbs[0]), 0));
	for (uint32_t i = 1; i < 6; i++)
		cr_assert(eq(int, xmb_multibuf_share(&mbs[0], &mbs[i],
						     &crowd.cache), 0));
	cr_expect(eq(u32, mbs[5].cnt, 512));
	cr_expect(eq(u32, mbs[5].len, 32768));
	cr_expect(xmb_multibuf_check(&mbs[5]));
	xmb_multibuf_release_bulk(mbs, 6, &crowd.cache);
	room_fini(&crowd, 600, 300);
}

Test(share, share_into_a_live_one_aborts, .signal = SIGABRT)
{
	struct xmb_multibuf mb = mb_of(&here, 2, 7, 0);
	struct xmb_multibuf clone = mb_of(&here, 1, 7, 0);

	xmb_multibuf_share(&mb, &clone, &here.cache);
}

Test(share, writable_at_asks_for_the_bytes_and_not_for_their_neighbours)
{
	struct xmb_multibuf mb = mb_of(&here, 5, 7, 0);
	struct xmb_chunk clone = { 0 };

	cr_assert(eq(int, xmb_chunk_share(xmb_multibuf_chunk(&mb, 3), &clone),
		     0));
	for (uint32_t off = 0; off <= 35; off++)
		for (uint32_t n = 0; n <= 35 - off; n++)
			cr_expect(eq(int,
				     xmb_multibuf_is_writable_at(&mb, off, n),
				     n == 0 || off + n <= 21 || off >= 28),
				  "%u bytes at %u", n, off);
	xmb_chunk_release(&clone, &here.cache);
	xmb_multibuf_release(&mb, &here.cache);
}
