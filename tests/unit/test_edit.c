/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * lib/buf/edit: places in a packet, and putting chunks into its middle; taking
 * out is in test_edit_take.c, growing in test_edit_grow.c.  Random calls
 * against a model are in test_multibuf_model.c.
 */
#include "edit_room.h"

#include <signal.h>

TestSuite(edit, .init = setup, .fini = teardown, .timeout = 300);

Test(edit, index_at_passes_over_chunks_of_no_bytes)
{
	static const uint32_t lens[] = { 0, 3, 0, 0, 2, 0 };
	static const struct xmb_multibuf_index want[] = {
		{ 1, 0 }, { 1, 1 }, { 1, 2 }, { 4, 0 }, { 4, 1 }, { 6, 0 },
	};
	struct xmb_multibuf mb = mb_of_lens(lens, 6);
	struct xmb_multibuf_index index;

	for (uint32_t off = 0; off <= 5; off++) {
		cr_assert(eq(int, xmb_multibuf_index_at(&mb, off, &index), 0));
		cr_expect(eq(u32, index.chunk, want[off].chunk));
		cr_expect(eq(u32, index.byte, want[off].byte));
		if (off < 5)
			cr_expect(eq(u8, *xmb_multibuf_at(&mb, index),
				     (uint8_t)off));
	}
	cr_expect(zero(ptr, xmb_multibuf_at(&mb, index)));
	index = (struct xmb_multibuf_index){ 1, 3 };
	cr_expect(zero(ptr, xmb_multibuf_at(&mb, index)));
	index = (struct xmb_multibuf_index){ 0, 0 };
	cr_expect(zero(ptr, xmb_multibuf_at(&mb, index)));
	cr_expect(eq(int, xmb_multibuf_index_at(&mb, 6, &index), -ERANGE));
	cr_expect(eq(int, xmb_multibuf_index_at(&mb, SIZE_MAX, &index),
		     -ERANGE));
	xmb_multibuf_release(&mb, &here.cache);
}

Test(edit, split_at_chunk_moves_handles_and_cannot_fail)
{
	for (uint32_t cnt = 0; cnt < 12; cnt++) {
		for (uint32_t k = 0; k <= cnt; k++) {
			struct xmb_multibuf mb = mb_of(&here, cnt, 7, 0);
			struct xmb_multibuf tail = { 0 };

			mb.user = 4;
			hoard_blocks(&here, 0);
			cr_assert(eq(int, xmb_multibuf_split_at_chunk(&mb, k,
					&tail, &here.cache), 0));
			give_blocks(&here);
			expect_bytes(&mb, 7 * k, 0);
			expect_bytes(&tail, 7 * (cnt - k), (uint8_t)(7 * k));
			cr_expect(eq(u32, mb.cnt, k));
			cr_expect(eq(u32, tail.user, 4));
			xmb_multibuf_release(&tail, &here.cache);
			EXPECT_REFUSED(&mb, &tail, xmb_multibuf_split_at_chunk(
				&mb, k + 1, &tail, &here.cache), -ERANGE);
			xmb_multibuf_release(&mb, &here.cache);
		}
	}
}

Test(edit, split_at_chunk_into_a_live_tail_aborts, .signal = SIGABRT)
{
	struct xmb_multibuf mb = mb_of(&here, 2, 7, 0);
	struct xmb_multibuf tail = mb_of(&here, 1, 7, 0);

	xmb_multibuf_split_at_chunk(&mb, 1, &tail, &here.cache);
}

Test(edit, insert_chunk_puts_it_before_the_one_at_idx)
{
	for (uint32_t cnt = 0; cnt < 12; cnt++) {
		for (uint32_t k = 0; k <= cnt; k++) {
			struct xmb_multibuf mb = mb_of(&here, cnt, 7, 0);
			struct xmb_chunk c = chunk_of(&here, 5);
			uint32_t region = c.region;

			memset(xmb_chunk_data(&c), 0xee, 5);
			EXPECT_REFUSED(&mb, NULL, xmb_multibuf_insert_chunk(
				&mb, cnt + 1, &c, &here.cache), -ERANGE);
			cr_assert(eq(int, xmb_multibuf_insert_chunk(&mb, k, &c,
					&here.cache), 0));
			cr_expect(not(xmb_chunk_is_live(&c)));
			cr_expect(eq(u32, xmb_multibuf_chunk(&mb, k)->region,
				     region));
			cr_assert(eq(int, xmb_multibuf_take_chunk(&mb, k, &c,
					&here.cache), 0));
			cr_expect(eq(u32, c.region, region));
			cr_expect(eq(u32, c.len, 5));
			expect_bytes(&mb, 7 * cnt, 0);
			xmb_chunk_release(&c, &here.cache);
			EXPECT_REFUSED(&mb, NULL, xmb_multibuf_take_chunk(
				&mb, cnt, &c, &here.cache), -ENOENT);
			xmb_multibuf_release(&mb, &here.cache);
		}
	}
}

Test(edit, insert_chunk_needs_one_block_at_the_most)
{
	for (uint32_t cnt = 3; cnt < 12; cnt++) {
		for (uint32_t k = 0; k <= cnt; k++) {
			struct xmb_multibuf mb = mb_of(&here, cnt, 7, 0);
			struct xmb_chunk c = chunk_of(&here, 5);

			hoard_blocks(&here, 0);
			if (k > 0 && k < cnt)
				EXPECT_REFUSED(&mb, NULL,
					xmb_multibuf_insert_chunk(&mb, k, &c,
						&here.cache), -ENOBUFS);
			give_blocks(&here);
			hoard_blocks(&here, 1);
			cr_expect(eq(int, xmb_multibuf_insert_chunk(&mb, k, &c,
					&here.cache), 0));
			give_blocks(&here);
			cr_expect(xmb_multibuf_check(&mb));
			xmb_multibuf_release(&mb, &here.cache);
		}
	}
}

Test(edit, insert_chunk_of_an_empty_handle_aborts, .signal = SIGABRT)
{
	struct xmb_multibuf mb = mb_of(&here, 2, 7, 0);
	struct xmb_chunk none = { 0 };

	xmb_multibuf_insert_chunk(&mb, 1, &none, &here.cache);
}

Test(edit, take_chunk_into_a_live_handle_aborts, .signal = SIGABRT)
{
	struct xmb_multibuf mb = mb_of(&here, 2, 7, 0);
	struct xmb_chunk c = chunk_of(&here, 5);

	xmb_multibuf_take_chunk(&mb, 1, &c, &here.cache);
}

Test(edit, insert_at_any_byte_keeps_the_others_in_order)
{
	for (uint32_t cnt = 1; cnt < 9; cnt++) {
		for (uint32_t at = 0; at <= 4 * cnt; at++) {
			for (uint32_t other = 0; other < 8; other++)
				check_insert(&here, cnt, at, other);
		}
	}
	cr_expect(zero(u64, xmb_counter_read(&here.cache.copies)));
}

/* The cache is of another pool than all blocks. */
Test(edit, insert_with_a_foreign_cache_moves_all_blocks_to_its_pool)
{
	for (uint32_t at = 0; at <= 20; at++) {
		for (uint32_t other = 1; other < 6; other++)
			check_insert(&there, 5, at, other);
	}
}

Test(edit, insert_is_refused_for_self_and_beyond_the_end)
{
	struct xmb_multibuf mb = mb_of(&here, 5, 7, 0);
	struct xmb_multibuf x = mb_of(&here, 5, 7, 9);

	EXPECT_REFUSED(&mb, NULL, xmb_multibuf_insert(&mb, 3, &mb, &here.cache),
		       -EINVAL);
	EXPECT_REFUSED(&mb, &x, xmb_multibuf_insert(&mb, 36, &x, &here.cache),
		       -ERANGE);
	EXPECT_REFUSED(&mb, &x, xmb_multibuf_insert(&mb, SIZE_MAX, &x,
						    &here.cache), -ERANGE);
	xmb_multibuf_release(&mb, &here.cache);
	xmb_multibuf_release(&x, &here.cache);
}

Test(edit, insert_without_blocks_changes_nothing_at_any_place)
{
	for (uint32_t at = 1; at < 35; at++) {
		struct xmb_multibuf mb = mb_of(&here, 5, 7, 0);
		struct xmb_multibuf x = mb_of(&here, 5, 7, 9);

		for (uint32_t left = 0; left < 2; left++) {
			hoard_blocks(&here, left);
			EXPECT_REFUSED(&mb, &x, xmb_multibuf_insert(&mb, at,
					&x, &here.cache), -ENOBUFS);
			give_blocks(&here);
		}
		/* To move eleven chunks takes three of the other pool's. */
		for (uint32_t left = 0; left < 3; left++) {
			hoard_blocks(&there, left);
			EXPECT_REFUSED(&mb, &x, xmb_multibuf_insert(&mb, at,
					&x, &there.cache), -ENOBUFS);
			give_blocks(&there);
		}
		xmb_multibuf_release(&mb, &here.cache);
		xmb_multibuf_release(&x, &here.cache);
	}
}

Test(edit, insert_copies_the_shorter_part_where_no_slot_is_left)
{
	struct xmb_chunk side[4];

	for (uint32_t idx = 0; idx < 6; idx++) {
		for (uint32_t at = 1; at < 20; at++) {
			struct xmb_multibuf mb, x;
			uint64_t bytes;

			mb = crowded_mb(&here, &here, 6, idx, 20, side);
			x = mb_of(&here, 2, 7, (uint8_t)(20 * idx + at));
			bytes = xmb_counter_read(&here.cache.copied_bytes);
			renumber(&mb, 20 * idx + at, 14);
			cr_assert(eq(int, xmb_multibuf_insert(&mb,
					20 * idx + at, &x, &here.cache), 0));
			expect_bytes(&mb, 134, 0);
			cr_expect(eq(u32, mb.user, 9));
			cr_expect(is_zero(&x));
			cr_expect(eq(u64, xmb_counter_read(
					&here.cache.copied_bytes), bytes +
					(at < 10 ? at : 20 - at)));
			xmb_chunk_release_bulk(side, 4, &here.cache);
			xmb_multibuf_release(&mb, &here.cache);
		}
	}
}

Test(edit, insert_short_of_frames_for_the_copy_changes_nothing)
{
	struct xmb_chunk side[4], taken[FRAME_CNT] = { 0 };

	for (uint32_t idx = 0; idx < 6; idx++) {
		struct xmb_multibuf mb, x;
		uint32_t cnt = 0;

		mb = crowded_mb(&here, &here, 6, idx, 20, side);
		x = mb_of(&here, 2, 7, 0);
		while (frames_free(&here) > 0)
			taken[cnt++] = chunk_of(&here, 1);
		for (uint32_t at = 1; at < 20; at++)
			EXPECT_REFUSED(&mb, &x, xmb_multibuf_insert(&mb,
					20 * idx + at, &x, &here.cache),
				       -ENOBUFS);
		xmb_chunk_release_bulk(taken, cnt, &here.cache);
		for (uint32_t left = 0; left < 3; left++) {
			hoard_blocks(&here, left);
			EXPECT_REFUSED(&mb, &x, xmb_multibuf_insert(&mb,
					20 * idx + 7, &x, &here.cache),
				       -ENOBUFS);
			give_blocks(&here);
		}
		xmb_chunk_release_bulk(side, 4, &here.cache);
		xmb_multibuf_release(&mb, &here.cache);
		xmb_multibuf_release(&x, &here.cache);
	}
}

Test(edit, insert_beyond_65535_chunks_is_refused)
{
	struct xmb_multibuf mb = { 0 }, x = { 0 }, old;
	struct xmb_chunk c;
	struct room crowd;

	room_init(&crowd, &(struct xmb_pool_opts){
		.frame_len = 64, .frame_cnt = 65600, .spill_cnt = 22000 });
	cr_assert(eq(int, xmb_multibuf_alloc(&crowd.cache, 2 * 65534, 62, &mb),
		     0));
	c = chunk_of(&crowd, 5);
	old = mb;
	xmb_multibuf_init(&x, &c);
	/* Inside a chunk it would be two chunks more. */
	cr_expect(eq(int, xmb_multibuf_insert(&mb, 3, &x, &crowd.cache),
		     -ENOSPC));
	cr_expect(eq(int, xmb_multibuf_insert(&mb, 4, &x, &crowd.cache), 0));
	c = chunk_of(&crowd, 5);
	cr_expect(eq(int, xmb_multibuf_insert_chunk(&mb, 7, &c, &crowd.cache),
		     -ENOSPC));
	cr_expect(eq(int, xmb_multibuf_discard_segment(&mb, 5, 1,
						       &crowd.cache), -ENOSPC));
	cr_expect(eq(u32, mb.len, old.len + 5));
	cr_expect(xmb_multibuf_check(&mb));
	xmb_chunk_release(&c, &crowd.cache);
	xmb_multibuf_release(&mb, &crowd.cache);
	room_fini(&crowd, 65600, 22000);
}
