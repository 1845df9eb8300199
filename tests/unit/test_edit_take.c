/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * lib/buf/edit: taking bytes out of a packet, and releasing them there.
 */
#include "edit_room.h"

#include <signal.h>

TestSuite(edit_take, .init = setup, .fini = teardown, .timeout = 300);

/* The bytes [off, off+n) of mb are first, first + 1, ... */
static void expect_run(const struct xmb_multibuf *mb, uint32_t off, uint32_t n,
		       uint32_t first)
{
	uint8_t byte;

	for (uint32_t i = 0; i < n; i++) {
		cr_assert(xmb_multibuf_copy_to(mb, off + i, &byte, 1) == 1);
		cr_assert(eq(u8, byte, (uint8_t)(first + i)));
	}
}

static void check_take(struct room *room, uint32_t cnt, uint32_t off,
		       uint32_t n)
{
	struct xmb_multibuf mb = mb_of(&here, cnt, 4, 0), out = { 0 };

	mb.user = 3;
	cr_assert(eq(int, xmb_multibuf_take(&mb, off, n, &out, &room->cache),
		     0));
	cr_assert(xmb_multibuf_check(&mb) && xmb_multibuf_check(&out));
	cr_expect(eq(u32, mb.len, 4 * cnt - n));
	cr_expect(eq(u32, out.len, n));
	cr_expect(eq(u32, out.user, n ? 3 : 0));
	expect_run(&mb, 0, off, 0);
	expect_run(&mb, off, mb.len - off, off + n);
	expect_run(&out, 0, n, off);
	/* And back again. */
	cr_assert(eq(int, xmb_multibuf_insert(&mb, off, &out, &room->cache),
		     0));
	expect_bytes(&mb, 4 * cnt, 0);
	xmb_multibuf_release(&mb, &room->cache);
}

Test(edit_take, take_moves_any_run_and_insert_puts_it_back)
{
	for (uint32_t cnt = 1; cnt < 12; cnt++) {
		for (uint32_t off = 0; off <= 4 * cnt; off++) {
			for (uint32_t n = 0; off + n <= 4 * cnt; n++)
				check_take(&here, cnt, off, n);
		}
	}
	cr_expect(zero(u64, xmb_counter_read(&here.cache.copies)));
}

Test(edit_take, take_with_a_foreign_cache_needs_blocks_of_its_pool)
{
	for (uint32_t off = 0; off <= 28; off++) {
		for (uint32_t n = 0; off + n <= 28; n++)
			check_take(&there, 7, off, n);
	}
}

Test(edit_take, take_beyond_the_end_is_refused)
{
	struct xmb_multibuf mb = mb_of(&here, 5, 7, 0), out = { .user = 8 };

	EXPECT_REFUSED(&mb, &out, xmb_multibuf_take(&mb, 36, 0, &out,
						    &here.cache), -ERANGE);
	EXPECT_REFUSED(&mb, &out, xmb_multibuf_take(&mb, 3, 33, &out,
						    &here.cache), -ERANGE);
	EXPECT_REFUSED(&mb, &out, xmb_multibuf_take(&mb, 3, SIZE_MAX, &out,
						    &here.cache), -ERANGE);
	EXPECT_REFUSED(&mb, &out, xmb_multibuf_take(&mb, SIZE_MAX, 3, &out,
						    &here.cache), -ERANGE);
	EXPECT_REFUSED(&mb, NULL, xmb_multibuf_discard_segment(&mb, 36, 0,
						    &here.cache), -ERANGE);
	EXPECT_REFUSED(&mb, NULL, xmb_multibuf_discard_segment(&mb, 3, 33,
						    &here.cache), -ERANGE);
	EXPECT_REFUSED(&mb, NULL, xmb_multibuf_discard_segment(&mb, 1,
						    SIZE_MAX, &here.cache),
		       -ERANGE);
	xmb_multibuf_release(&mb, &here.cache);
}

Test(edit_take, take_into_a_live_one_aborts, .signal = SIGABRT)
{
	struct xmb_multibuf mb = mb_of(&here, 2, 7, 0);
	struct xmb_multibuf out = mb_of(&here, 1, 7, 0);

	xmb_multibuf_take(&mb, 3, 5, &out, &here.cache);
}

/* Inside one chunk a block is for what is behind; a long run wants three. */
Test(edit_take, take_without_blocks_changes_nothing)
{
	for (uint32_t off = 1; off < 30; off++) {
		struct xmb_multibuf mb = mb_of(&here, 10, 7, 0), out = { 0 };

		for (uint32_t left = 0; left < 3; left++) {
			hoard_blocks(&here, left);
			EXPECT_REFUSED(&mb, &out, xmb_multibuf_take(&mb, off,
					30, &out, &here.cache), -ENOBUFS);
			if (left == 0 && off % 7 && off % 7 < 5) {
				EXPECT_REFUSED(&mb, &out, xmb_multibuf_take(&mb,
						off, 2, &out, &here.cache),
					       -ENOBUFS);
				EXPECT_REFUSED(&mb, NULL,
					xmb_multibuf_discard_segment(&mb, off,
						2, &here.cache), -ENOBUFS);
			}
			give_blocks(&here);
		}
		/* All of them come to the other pool. */
		hoard_blocks(&there, 0);
		EXPECT_REFUSED(&mb, &out, xmb_multibuf_take(&mb, off, 30, &out,
				&there.cache), -ENOBUFS);
		give_blocks(&there);
		xmb_multibuf_release(&mb, &here.cache);
	}
}

/* left slots are free: two parts of one chunk want two. */
static void check_take_crowded(uint32_t left, uint32_t off, uint32_t n)
{
	struct xmb_multibuf mb = { 0 }, out = { 0 };
	struct xmb_chunk side[4], c = crowded_chunk(&here, 20, side, left);

	cr_assert(eq(int, xmb_multibuf_push_back(&mb, &c, &here.cache), 0));
	c = chunk_of(&here, 20);
	cr_assert(eq(int, xmb_multibuf_push_back(&mb, &c, &here.cache), 0));
	c = chunk_of(&here, 20);
	cr_assert(eq(int, xmb_multibuf_push_front(&mb, &c, &here.cache), 0));
	renumber(&mb, 0, 0);
	cr_assert(eq(int, xmb_multibuf_take(&mb, 20 + off, n, &out,
					    &here.cache), 0));
	expect_bytes(&out, n, (uint8_t)(20 + off));
	expect_run(&mb, 0, 20 + off, 0);
	expect_run(&mb, 20 + off, 40 - off - n, 20 + off + n);
	cr_expect(xmb_multibuf_check(&mb));
	xmb_chunk_release_bulk(side, 4, &here.cache);
	xmb_multibuf_release(&mb, &here.cache);
	xmb_multibuf_release(&out, &here.cache);
}

Test(edit_take, what_is_taken_is_copied_where_no_slot_is_left)
{
	static const uint64_t copies[] = { 2, 1, 0 };

	for (uint32_t left = 0; left < 3; left++) {
		uint64_t old = xmb_counter_read(&here.cache.copies);

		check_take_crowded(left, 5, 6);
		cr_expect(eq(u64, xmb_counter_read(&here.cache.copies),
			     old + copies[left]));
	}
}

Test(edit_take, take_short_of_frames_for_copies_changes_nothing)
{
	struct xmb_chunk side[4], taken[FRAME_CNT] = { 0 };

	for (uint32_t idx = 1; idx < 6; idx++) {
		struct xmb_multibuf out = { 0 }, mb;
		uint32_t cnt = 0;

		mb = crowded_mb(&here, &here, 7, idx, 20, side);
		while (frames_free(&here) > 0)
			taken[cnt++] = chunk_of(&here, 1);
		EXPECT_REFUSED(&mb, &out, xmb_multibuf_take(&mb, 20 * idx + 3,
				5, &out, &here.cache), -ENOBUFS);
		EXPECT_REFUSED(&mb, &out, xmb_multibuf_take(&mb, 20 * idx + 3,
				25, &out, &here.cache), -ENOBUFS);
		EXPECT_REFUSED(&mb, &out, xmb_multibuf_take(&mb, 20 * idx - 3,
				9, &out, &here.cache), -ENOBUFS);
		EXPECT_REFUSED(&mb, NULL, xmb_multibuf_discard_segment(&mb,
				20 * idx + 3, 9, &here.cache), -ENOBUFS);
		xmb_chunk_release_bulk(taken, cnt, &here.cache);
		xmb_chunk_release_bulk(side, 4, &here.cache);
		xmb_multibuf_release(&mb, &here.cache);
	}
}

Test(edit_take, discard_segment_releases_frames_and_blocks)
{
	for (uint32_t cnt = 1; cnt < 12; cnt++) {
		for (uint32_t off = 0; off <= 4 * cnt; off++) {
			for (uint32_t n = 0; off + n <= 4 * cnt; n++) {
				struct xmb_multibuf mb = mb_of(&here, cnt, 4,
							       0);
				bool in = off % 4 && (off + n) % 4 &&
					  off / 4 == (off + n) / 4 && n;

				mb.user = 6;
				hoard_blocks(&here, in && cnt > 2);
				cr_assert(eq(int, xmb_multibuf_discard_segment(
					&mb, off, n, &here.cache), 0));
				give_blocks(&here);
				cr_expect(xmb_multibuf_check(&mb));
				cr_expect(eq(u32, mb.len, 4 * cnt - n));
				cr_expect(eq(u32, mb.user, 6));
				cr_expect(ge(u32, mb.cnt, 1));
				expect_run(&mb, 0, off, 0);
				expect_run(&mb, off, mb.len - off, off + n);
				xmb_multibuf_release(&mb, &here.cache);
			}
		}
	}
}

/* Of all bytes: the first chunk stays, and its room can be had back. */
Test(edit_take, discard_segment_of_all_leaves_the_first_chunk)
{
	for (uint32_t cnt = 1; cnt < 9; cnt++) {
		struct xmb_multibuf mb = mb_of(&here, cnt, 4, 0);

		cr_expect(eq(int, xmb_multibuf_discard_segment(&mb, 0, 4 * cnt,
				&here.cache), 0));
		cr_expect(eq(u32, mb.cnt, 1));
		cr_expect(eq(u32, mb.len, 0));
		cr_expect(eq(int, xmb_multibuf_claim_suffix(&mb, 4), 0));
		expect_bytes(&mb, 4, 0);
		xmb_multibuf_release(&mb, &here.cache);
	}
}

Test(edit_take, chunks_of_no_bytes_go_with_what_is_behind_them)
{
	static const uint32_t lens[] = { 2, 0, 2, 0, 2 };
	struct xmb_multibuf mb = mb_of_lens(lens, 5), out = { 0 };

	cr_expect(eq(int, xmb_multibuf_take(&mb, 2, 2, &out, &here.cache), 0));
	cr_expect(eq(u32, out.cnt, 2));
	cr_expect(eq(u32, mb.cnt, 3));
	xmb_multibuf_release(&out, &here.cache);
	xmb_multibuf_release(&mb, &here.cache);
	mb = mb_of_lens(lens, 5);
	cr_expect(eq(int, xmb_multibuf_discard_segment(&mb, 2, 2, &here.cache),
		     0));
	cr_expect(eq(u32, mb.cnt, 3));
	xmb_multibuf_release(&mb, &here.cache);
}
