/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * lib/buf/edit: growing at the ends, aligning in the middle, writing and
 * cutting off, and blocks that were reserved.
 */
#include "buf/extbuf.h"
#include "edit_room.h"

TestSuite(edit_grow, .init = setup, .fini = teardown, .timeout = 300);

Test(edit_grow, grow_prefix_claims_first_and_fills_frames_from_their_end)
{
	for (uint32_t n = 0; n < 300; n += 3) {
		struct xmb_multibuf mb = { .user = 2 };
		uint32_t fresh = n > 20 ? (n - 20 + 63) / 64 : 0;

		cr_assert(eq(int, xmb_multibuf_alloc(&here.cache, 44, 20, &mb),
			     0));
		renumber(&mb, 0, n);
		cr_assert(eq(int, xmb_multibuf_grow_prefix(&mb, n,
							   &here.cache), 0));
		cr_expect(eq(u32, mb.len, 44 + n));
		cr_expect(eq(u32, mb.cnt, 1 + fresh));
		cr_expect(eq(u32, mb.user, 2));
		if (fresh > 0)
			cr_expect(eq(u32, mb.c[0].off + mb.c[0].len, 64));
		renumber(&mb, 0, 0);
		expect_bytes(&mb, 44 + n, 0);
		xmb_multibuf_release(&mb, &here.cache);
	}
}

Test(edit_grow, grow_suffix_claims_first_and_fills_frames_from_their_start)
{
	for (uint32_t n = 0; n < 300; n += 3) {
		struct xmb_multibuf mb = mb_of(&here, 1, 44, 0);
		uint32_t fresh = n > 20 ? (n - 20 + 63) / 64 : 0;

		cr_assert(eq(int, xmb_multibuf_grow_suffix(&mb, n,
							   &here.cache), 0));
		cr_expect(eq(u32, mb.len, 44 + n));
		cr_expect(eq(u32, mb.cnt, 1 + fresh));
		renumber(&mb, 44, 0);
		expect_bytes(&mb, 44 + n, 0);
		xmb_multibuf_release(&mb, &here.cache);
	}
}

Test(edit_grow, growing_stops_a_claim_at_the_neighbour)
{
	for (uint32_t gap = 0; gap < 10; gap++) {
		struct xmb_multibuf mb = mb_of(&here, 1, 60, 0), tail = { 0 };

		cr_assert(eq(int, xmb_multibuf_split(&mb, 30, &tail,
						     &here.cache), 0));
		xmb_multibuf_truncate(&mb, 30 - gap / 2, &here.cache);
		xmb_multibuf_discard_prefix(&tail, gap - gap / 2, &here.cache);
		cr_expect(eq(int, xmb_multibuf_grow_prefix(&tail, 20,
							   &here.cache), 0));
		cr_expect(eq(u32, tail.len, 50 - gap + gap / 2));
		cr_expect(eq(u32, tail.cnt, 2));
		cr_expect(eq(int, xmb_multibuf_grow_suffix(&mb, 1,
							   &here.cache), 0));
		cr_expect(eq(u32, mb.cnt, 2));
		cr_expect(xmb_multibuf_check(&mb) && xmb_multibuf_check(&tail));
		xmb_multibuf_release(&mb, &here.cache);
		xmb_multibuf_release(&tail, &here.cache);
	}
}

Test(edit_grow, an_empty_multibuf_grows_out_of_fresh_frames)
{
	struct xmb_multibuf mb = { 0 };

	cr_expect(eq(int, xmb_multibuf_grow_prefix(&mb, 0, &here.cache), 0));
	cr_expect(is_zero(&mb));
	cr_expect(eq(int, xmb_multibuf_grow_prefix(&mb, 70, &here.cache), 0));
	cr_expect(eq(u32, mb.cnt, 2));
	cr_expect(eq(u32, mb.len, 70));
	xmb_multibuf_release(&mb, &here.cache);
}

Test(edit_grow, a_read_only_chunk_is_not_claimed_beside)
{
	struct xmb_multibuf mb = mb_of(&here, 1, 30, 0), clone = { 0 };

	cr_assert(eq(int, xmb_multibuf_share(&mb, &clone, &here.cache), 0));
	cr_expect(eq(int, xmb_multibuf_grow_suffix(&mb, 1, &here.cache), 0));
	cr_expect(eq(u32, mb.cnt, 2));
	cr_expect(eq(int, xmb_multibuf_grow_prefix(&mb, 1, &here.cache), 0));
	cr_expect(eq(u32, mb.cnt, 3));
	xmb_multibuf_release(&mb, &here.cache);
	xmb_multibuf_release(&clone, &here.cache);
}

Test(edit_grow, growing_that_is_refused_changes_nothing)
{
	struct xmb_multibuf mb = mb_of(&here, 3, 44, 0);
	struct xmb_chunk taken[FRAME_CNT] = { 0 };
	uint32_t cnt = 0;

	hoard_blocks(&here, 0);
	EXPECT_REFUSED(&mb, NULL, xmb_multibuf_grow_prefix(&mb, 1,
							   &here.cache),
		       -ENOBUFS);
	EXPECT_REFUSED(&mb, NULL, xmb_multibuf_grow_suffix(&mb, 21,
							   &here.cache),
		       -ENOBUFS);
	give_blocks(&here);
	while (frames_free(&here) > 1)
		taken[cnt++] = chunk_of(&here, 1);
	EXPECT_REFUSED(&mb, NULL, xmb_multibuf_grow_prefix(&mb, 65,
							   &here.cache),
		       -ENOBUFS);
	EXPECT_REFUSED(&mb, NULL, xmb_multibuf_grow_suffix(&mb, 85,
							   &here.cache),
		       -ENOBUFS);
	EXPECT_REFUSED(&mb, NULL, xmb_multibuf_grow_suffix(&mb, SIZE_MAX,
							   &here.cache),
		       -ENOSPC);
	EXPECT_REFUSED(&mb, NULL, xmb_multibuf_grow_prefix(&mb, SIZE_MAX,
							   &here.cache),
		       -ENOSPC);
	EXPECT_REFUSED(&mb, NULL, xmb_multibuf_grow_prefix(&mb, UINT32_MAX,
							   &here.cache),
		       -ENOSPC);
	xmb_chunk_release_bulk(taken, cnt, &here.cache);
	xmb_multibuf_release(&mb, &here.cache);
}

static void check_align(struct room *room, uint32_t cnt, uint32_t at,
			uint32_t align)
{
	struct xmb_multibuf mb = mb_of(&here, cnt, 17, 0);
	struct xmb_multibuf_index index;
	uint32_t want = cnt;
	uint8_t *p;

	mb.user = 7;
	xmb_multibuf_index_at(&mb, at, &index);
	p = xmb_multibuf_at(&mb, index);
	want += p && (uintptr_t)p % align && index.byte > 0;
	cr_assert(eq(int, xmb_multibuf_align(&mb, at, align, &room->cache), 0));
	xmb_multibuf_index_at(&mb, at, &index);
	p = xmb_multibuf_at(&mb, index);
	cr_expect(zero(u64, (uintptr_t)p % align));
	cr_expect(eq(u32, mb.cnt, want));
	cr_expect(eq(u32, mb.user, 7));
	expect_bytes(&mb, 17 * cnt, 0);
	xmb_multibuf_release(&mb, &room->cache);
}

Test(edit_grow, align_moves_the_rest_of_a_chunk_to_an_aligned_address)
{
	for (uint32_t cnt = 1; cnt < 7; cnt++) {
		for (uint32_t at = 0; at <= 17 * cnt; at++) {
			for (uint32_t align = 1; align <= 64; align *= 2)
				check_align(&here, cnt, at, align);
			check_align(&there, cnt, at, 1024);
		}
	}
}

Test(edit_grow, align_takes_more_frames_where_one_is_too_short)
{
	struct xmb_multibuf mb = mb_of(&there, 1, 900, 0);

	cr_expect(eq(int, xmb_multibuf_align(&mb, 1, 64, &here.cache), 0));
	cr_expect(eq(u32, mb.cnt, 1 + (899 + 63) / 64));
	expect_bytes(&mb, 900, 0);
	cr_expect(eq(u64, xmb_counter_read(&here.cache.copied_bytes), 899));
	xmb_multibuf_release(&mb, &here.cache);
}

Test(edit_grow, align_is_refused_as_the_header_says)
{
	struct xmb_multibuf mb = mb_of(&here, 3, 17, 0);
	struct xmb_chunk taken[FRAME_CNT] = { 0 };
	uint32_t cnt = 0;

	EXPECT_REFUSED(&mb, NULL, xmb_multibuf_align(&mb, 1, 0, &here.cache),
		       -EINVAL);
	EXPECT_REFUSED(&mb, NULL, xmb_multibuf_align(&mb, 1, 3, &here.cache),
		       -EINVAL);
	EXPECT_REFUSED(&mb, NULL, xmb_multibuf_align(&mb, 1, 8192,
						     &here.cache), -EINVAL);
	EXPECT_REFUSED(&mb, NULL, xmb_multibuf_align(&mb, 52, 8, &here.cache),
		       -ERANGE);
	EXPECT_REFUSED(&mb, NULL, xmb_multibuf_align(&mb, SIZE_MAX, 8,
						     &here.cache), -ERANGE);
	EXPECT_REFUSED(&mb, NULL, xmb_multibuf_align(&mb, 1, 128, &here.cache),
		       -EMSGSIZE);
	hoard_blocks(&here, 0);
	EXPECT_REFUSED(&mb, NULL, xmb_multibuf_align(&mb, 1, 64, &here.cache),
		       -ENOBUFS);
	give_blocks(&here);
	while (frames_free(&here) > 0)
		taken[cnt++] = chunk_of(&here, 1);
	EXPECT_REFUSED(&mb, NULL, xmb_multibuf_align(&mb, 1, 64, &here.cache),
		       -ENOBUFS);
	xmb_chunk_release_bulk(taken, cnt, &here.cache);
	xmb_multibuf_release(&mb, &here.cache);
}

Test(edit_grow, copy_from_and_truncate_ends_behind_what_was_written)
{
	uint8_t src[64];

	for (uint32_t i = 0; i < 64; i++)
		src[i] = (uint8_t)i;
	for (uint32_t off = 0; off < 40; off++) {
		for (uint32_t n = 0; n < 40; n++) {
			struct xmb_multibuf mb = mb_of(&here, 5, 7, 0);
			size_t room = off < 35 ? 35 - off : 0;

			cr_assert(xmb_multibuf_copy_from_and_truncate(&mb, off,
					&src[off % 24], n, &here.cache) ==
				  (n < room ? n : room));
			cr_expect(eq(u32, mb.len, n <= room && off <= 35 ?
				     off + n : 35));
			cr_expect(xmb_multibuf_check(&mb));
			xmb_multibuf_release(&mb, &here.cache);
		}
	}
}

Test(edit_grow, copying_ends_before_a_read_only_chunk)
{
	struct xmb_multibuf mb = mb_of(&here, 2, 7, 0);
	struct xmb_multibuf shared = mb_of(&here, 1, 7, 14), clone = { 0 };
	uint8_t src[21] = { 0 };

	xmb_multibuf_share(&shared, &clone, &here.cache);
	xmb_multibuf_append(&mb, &shared, &here.cache);
	cr_expect(xmb_multibuf_copy_from(&mb, 10, src, 11) == 4);
	cr_expect(xmb_multibuf_copy_from(&mb, 14, src, 7) == 0);
	cr_expect(xmb_multibuf_copy_from_and_truncate(&mb, 0, src, 15,
						      &here.cache) == 14);
	cr_expect(eq(u32, mb.len, 21));
	expect_bytes(&clone, 7, 14);
	xmb_multibuf_release(&mb, &here.cache);
	xmb_multibuf_release(&clone, &here.cache);
}

/* The cache holds them, whatever the shared stack comes to. */
Test(edit_grow, what_was_reserved_cannot_be_refused)
{
	struct room roomy;

	room_init(&roomy, &(struct xmb_pool_opts){
		.frame_len = 64, .frame_cnt = 96, .spill_cnt = 80 });
	for (uint32_t n = 0; n <= XMB_MULTIBUF_RESERVE_MAX; n++) {
		struct xmb_multibuf mb = mb_of(&roomy, 5, 7, 0);

		cr_assert(eq(int, xmb_multibuf_reserve(&mb, n, &roomy.cache),
			     0));
		cr_assert(ge(u32, roomy.cache.spill_cnt, n));
		hoard_blocks(&roomy, n);
		for (uint32_t i = 0; i < n; i++) {
			struct xmb_chunk c = chunk_of(&roomy, 3);
			struct xmb_multibuf one = { 0 };

			xmb_multibuf_init(&one, &c);
			cr_expect(eq(int, xmb_multibuf_insert(&mb, 5 * i % 31,
					&one, &roomy.cache), 0));
			cr_expect(xmb_multibuf_check(&mb));
		}
		give_blocks(&roomy);
		xmb_multibuf_release(&mb, &roomy.cache);
	}
	room_fini(&roomy, 96, 80);
}

/* A part that has to be copied wants more than was reserved, and says so. */
Test(edit_grow, what_was_reserved_is_for_between_chunks_where_no_slot_is_left)
{
	struct xmb_chunk side[4], c;
	struct xmb_multibuf one = { 0 };
	struct xmb_multibuf mb = crowded_mb(&here, &here, 5, 2, 20, side);

	cr_assert(eq(int, xmb_multibuf_reserve(&mb, 1, &here.cache), 0));
	hoard_blocks(&here, 1);
	c = chunk_of(&here, 3);
	xmb_multibuf_init(&one, &c);
	EXPECT_REFUSED(&mb, &one, xmb_multibuf_insert(&mb, 50, &one,
						      &here.cache), -ENOBUFS);
	cr_expect(eq(int, xmb_multibuf_insert(&mb, 40, &one, &here.cache), 0));
	cr_expect(eq(u32, mb.len, 103));
	give_blocks(&here);
	xmb_multibuf_release(&mb, &here.cache);
	for (int i = 0; i < 4; i++)
		xmb_chunk_release(&side[i], &here.cache);
}

Test(edit_grow, reserve_is_refused_as_the_header_says)
{
	struct xmb_multibuf mb = mb_of(&here, 5, 7, 0);

	EXPECT_REFUSED(&mb, NULL, xmb_multibuf_reserve(&mb,
			XMB_MULTIBUF_RESERVE_MAX + 1, &here.cache), -EMSGSIZE);
	EXPECT_REFUSED(&mb, NULL, xmb_multibuf_reserve(&mb, 32766,
						       &here.cache), -ENOSPC);
	EXPECT_REFUSED(&mb, NULL, xmb_multibuf_reserve(&mb, UINT32_MAX,
						       &here.cache), -ENOSPC);
	EXPECT_REFUSED(&mb, NULL, xmb_multibuf_reserve(&mb, SPILL_CNT,
						       &here.cache), -ENOBUFS);
	/* Two more are for the five chunks that would move. */
	EXPECT_REFUSED(&mb, NULL, xmb_multibuf_reserve(&mb, BIG_SPILL_CNT - 1,
						       &there.cache), -ENOBUFS);
	cr_expect(eq(int, xmb_multibuf_reserve(&mb, BIG_SPILL_CNT - 2,
					       &there.cache), 0));
	xmb_multibuf_release(&mb, &here.cache);
}
