/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * lib/buf/multibuf: every operation keeps the bytes in their order, a failed
 * call changes nothing, and blocks and frames all come home.  Here: making,
 * pushing, popping, joining; test_multibuf_cut.c has the rest, and random calls
 * against a model are in test_multibuf_model.c.
 */
#include "multibuf_room.h"

#include <signal.h>

TestSuite(multibuf, .init = setup, .fini = teardown, .timeout = 300);

Test(multibuf, alloc_leaves_headroom_in_front_of_each_chunk)
{
	static const struct { uint32_t len, headroom, cnt, last_len; } t[] = {
		{ 1, 0, 1, 1 },	      { 64, 0, 1, 64 },	 { 65, 0, 2, 1 },
		{ 44, 20, 1, 44 },    { 132, 20, 3, 44 }, { 133, 20, 4, 1 },
		{ 640, 0, 10, 64 },   { 5, 63, 5, 1 },
	};

	for (size_t i = 0; i < sizeof(t) / sizeof(t[0]); i++) {
		struct xmb_multibuf mb = { .user = 5 };
		struct xmb_multibuf_iter iter;
		struct xmb_chunk *c;
		uint32_t cnt = 0;

		cr_assert(eq(int, xmb_multibuf_alloc(&here.cache, t[i].len,
						     t[i].headroom, &mb), 0));
		cr_expect(xmb_multibuf_check(&mb));
		cr_expect(eq(u32, mb.len, t[i].len));
		cr_expect(eq(u32, xmb_multibuf_chunk_cnt(&mb), t[i].cnt));
		cr_expect(eq(u32, mb.user, 5));
		for (c = xmb_multibuf_first(&mb, &iter); c;
		     c = xmb_multibuf_next(&iter)) {
			cr_expect(eq(u32, c->off, t[i].headroom));
			cr_expect(eq(u32, c->len, ++cnt == t[i].cnt ?
					t[i].last_len :
					FRAME_LEN - t[i].headroom));
		}
		cr_expect(eq(u32, cnt, t[i].cnt));
		xmb_multibuf_release(&mb, &here.cache);
		cr_expect(is_zero(&mb));
	}
}

Test(multibuf, alloc_of_nothing_takes_nothing)
{
	struct xmb_multibuf mb = { 0 };

	cr_expect(eq(int, xmb_multibuf_alloc(&here.cache, 0, 0, &mb), 0));
	cr_expect(xmb_multibuf_is_empty(&mb));
	cr_expect(eq(u32, frames_free(&here), FRAME_CNT));
}

Test(multibuf, alloc_that_can_never_fit_is_refused)
{
	struct xmb_multibuf mb = { .user = 1 };

	EXPECT_REFUSED(&mb, NULL, xmb_multibuf_alloc(&here.cache, 1, FRAME_LEN,
						     &mb), -EMSGSIZE);
	EXPECT_REFUSED(&mb, NULL, xmb_multibuf_alloc(&here.cache, 1, UINT32_MAX,
						     &mb), -EMSGSIZE);
	EXPECT_REFUSED(&mb, NULL, xmb_multibuf_alloc(&here.cache,
				65535 * FRAME_LEN + 1, 0, &mb), -EMSGSIZE);
	EXPECT_REFUSED(&mb, NULL, xmb_multibuf_alloc(&here.cache, SIZE_MAX, 0,
						     &mb), -EMSGSIZE);
	/* The longest that could fit is short of frames only. */
	EXPECT_REFUSED(&mb, NULL, xmb_multibuf_alloc(&here.cache,
				65535 * FRAME_LEN, 0, &mb), -ENOBUFS);
}

/* The frame that is missing is wanted for the inline part, or for a block. */
Test(multibuf, alloc_is_all_or_nothing_when_frames_run_out)
{
	for (uint32_t left = 0; left < 8; left++) {
		struct xmb_chunk taken[FRAME_CNT] = { 0 };
		struct xmb_multibuf mb = { .user = 1 };

		cr_assert(eq(int, xmb_chunk_alloc_bulk(&here.cache, taken,
						       FRAME_CNT - left), 0));
		for (uint32_t cnt = left + 1; cnt < left + 6; cnt++)
			EXPECT_REFUSED(&mb, NULL,
				       xmb_multibuf_alloc(&here.cache,
							  cnt * FRAME_LEN, 0,
							  &mb), -ENOBUFS);
		cr_expect(eq(int, xmb_multibuf_alloc(&here.cache,
						     left * FRAME_LEN, 0, &mb),
			     0));
		cr_expect(eq(u32, mb.cnt, left));
		xmb_multibuf_release(&mb, &here.cache);
		xmb_chunk_release_bulk(taken, FRAME_CNT - left, &here.cache);
	}
}

Test(multibuf, alloc_is_all_or_nothing_when_blocks_run_out)
{
	struct xmb_multibuf mb = { 0 };

	hoard_blocks(&here, 1);
	EXPECT_REFUSED(&mb, NULL, xmb_multibuf_alloc(&here.cache,
				7 * FRAME_LEN, 0, &mb), -ENOBUFS);
	cr_expect(eq(int, xmb_multibuf_alloc(&here.cache, 6 * FRAME_LEN, 0,
					     &mb), 0));
	xmb_multibuf_release(&mb, &here.cache);
	give_blocks(&here);
}

Test(multibuf, alloc_into_a_live_one_aborts, .signal = SIGABRT)
{
	struct xmb_multibuf mb = mb_of(&here, 1, 8, 0);

	xmb_multibuf_alloc(&here.cache, 5 * FRAME_LEN, 0, &mb);
}

Test(multibuf, init_takes_the_chunk)
{
	struct xmb_chunk chunk = chunk_of(&here, 9);
	struct xmb_multibuf mb = { 0 };

	xmb_multibuf_init(&mb, &chunk);
	cr_expect(not(xmb_chunk_is_live(&chunk)));
	cr_expect(eq(u32, mb.len, 9));
	cr_expect(xmb_multibuf_check(&mb));
	xmb_multibuf_release(&mb, &here.cache);
}

Test(multibuf, chunks_come_off_in_the_order_they_were_put)
{
	enum { CNT = 20 };
	uint32_t order[2 * CNT];
	struct xmb_multibuf mb = { .user = 3 };
	struct xmb_chunk c = { 0 };

	for (uint32_t i = 0; i < CNT; i++) {
		c = chunk_of(&here, i);
		order[CNT + i] = c.region;
		cr_assert(eq(int, xmb_multibuf_push_back(&mb, &c, &here.cache),
			     0));
		cr_assert(not(xmb_chunk_is_live(&c)));
		c = chunk_of(&here, i);
		order[CNT - 1 - i] = c.region;
		cr_assert(eq(int, xmb_multibuf_push_front(&mb, &c, &here.cache),
			     0));
		cr_assert(not(xmb_chunk_is_live(&c)));
		cr_assert(xmb_multibuf_check(&mb));
	}
	cr_expect(eq(u32, mb.len, CNT * (CNT - 1)));
	for (uint32_t i = 0; i < 2 * CNT; i++)
		cr_expect(eq(u32, xmb_multibuf_chunk(&mb, i)->region,
			     order[i]));
	for (uint32_t i = 0; i < CNT; i++) {
		cr_assert(eq(int, xmb_multibuf_pop_front(&mb, &c, &here.cache),
			     0));
		cr_expect(eq(u32, c.region, order[i]));
		xmb_chunk_release(&c, &here.cache);
		cr_assert(eq(int, xmb_multibuf_pop_back(&mb, &c, &here.cache),
			     0));
		cr_expect(eq(u32, c.region, order[2 * CNT - 1 - i]));
		xmb_chunk_release(&c, &here.cache);
		cr_assert(xmb_multibuf_check(&mb));
	}
	cr_expect(eq(u32, mb.user, 3));
	mb.user = 0;
	cr_expect(is_zero(&mb));
	cr_expect(eq(int, xmb_multibuf_pop_front(&mb, &c, &here.cache),
		     -ENOENT));
	cr_expect(eq(int, xmb_multibuf_pop_back(&mb, &c, &here.cache),
		     -ENOENT));
	cr_expect(is_zero(&mb));
}

Test(multibuf, pushing_fills_the_blocks)
{
	struct xmb_multibuf front = { 0 }, back = { 0 };

	for (uint32_t i = 1; i <= 12; i++) {
		struct xmb_chunk c = chunk_of(&here, 1);

		xmb_multibuf_push_front(&front, &c, &here.cache);
		c = chunk_of(&here, 1);
		xmb_multibuf_push_back(&back, &c, &here.cache);
		/* One block more than needed at the most, and both ends. */
		cr_expect(ge(u32, blocks_free(&here),
			     SPILL_CNT - 2 * ((i + 2) / 3)));
	}
	xmb_multibuf_release(&front, &here.cache);
	xmb_multibuf_release(&back, &here.cache);
}

Test(multibuf, push_without_a_block_is_refused)
{
	struct xmb_multibuf mb = mb_of(&here, 3, 8, 0);
	struct xmb_chunk c = chunk_of(&here, 8), old = c;

	hoard_blocks(&here, 0);
	EXPECT_REFUSED(&mb, NULL, xmb_multibuf_push_back(&mb, &c, &here.cache),
		       -ENOBUFS);
	EXPECT_REFUSED(&mb, NULL, xmb_multibuf_push_front(&mb, &c, &here.cache),
		       -ENOBUFS);
	cr_expect(memcmp(&c, &old, sizeof(c)) == 0);
	give_blocks(&here);
	cr_expect(eq(int, xmb_multibuf_push_front(&mb, &c, &here.cache), 0));
	xmb_multibuf_release(&mb, &here.cache);
}

Test(multibuf, push_of_an_empty_handle_aborts, .signal = SIGABRT)
{
	struct xmb_multibuf mb = { 0 };
	struct xmb_chunk none = { 0 };

	xmb_multibuf_push_back(&mb, &none, &here.cache);
}

Test(multibuf, push_front_of_an_empty_handle_aborts, .signal = SIGABRT)
{
	struct xmb_multibuf mb = { 0 };
	struct xmb_chunk none = { 0 };

	xmb_multibuf_push_front(&mb, &none, &here.cache);
}

Test(multibuf, pop_front_into_a_live_handle_aborts, .signal = SIGABRT)
{
	struct xmb_multibuf mb = mb_of(&here, 2, 8, 0);
	struct xmb_chunk c = chunk_of(&here, 8);

	xmb_multibuf_pop_front(&mb, &c, &here.cache);
}

Test(multibuf, pop_back_into_a_live_handle_aborts, .signal = SIGABRT)
{
	struct xmb_multibuf mb = mb_of(&here, 2, 8, 0);
	struct xmb_chunk c = chunk_of(&here, 8);

	xmb_multibuf_pop_back(&mb, &c, &here.cache);
}

Test(multibuf, a_stale_copy_released_again_aborts, .signal = SIGABRT)
{
	struct xmb_multibuf mb = mb_of(&here, 5, 8, 0), copy = mb;

	xmb_multibuf_release(&mb, &here.cache);
	xmb_multibuf_release(&copy, &here.cache);
}

Test(multibuf, chunk_beyond_the_last_aborts, .signal = SIGABRT)
{
	struct xmb_multibuf mb = mb_of(&here, 5, 8, 0);

	xmb_multibuf_chunk(&mb, 5);
}

/* Blocks that other's inline chunks ask for behind a packed mb of cnt. */
static uint32_t blocks_asked(uint32_t cnt, uint32_t other_cnt)
{
	uint32_t room = cnt ? (3 - cnt % 3) % 3 : 3;
	uint32_t moved = other_cnt < 3 ? other_cnt : 3;

	return moved > room;
}

Test(multibuf, joining_keeps_order_and_takes_one_block_at_most)
{
	for (uint32_t i = 0; i < 144; i++) {
		uint32_t a_cnt = i % 12, b_cnt = i / 12, free_cnt;
		struct xmb_multibuf a, b;

		a = mb_of(&here, a_cnt, 5, 0);
		b = mb_of(&here, b_cnt, 5, (uint8_t)(5 * a_cnt));
		a.user = 1;
		b.user = 2;
		free_cnt = blocks_free(&here);
		if (i % 2) {
			cr_assert(eq(int, xmb_multibuf_append(&a, &b,
							      &here.cache),
				     0));
			cr_expect(is_zero(&b));
			cr_expect(eq(u32, a.user, 1));
		} else {
			cr_assert(eq(int, xmb_multibuf_prepend(&b, &a,
							       &here.cache),
				     0));
			cr_expect(is_zero(&a));
			cr_expect(eq(u32, b.user, 2));
			a = b;
		}
		expect_bytes(&a, 5 * (a_cnt + b_cnt), 0);
		cr_expect(eq(u32, a.cnt, a_cnt + b_cnt));
		cr_expect(ge(u32, blocks_free(&here) +
					  blocks_asked(a_cnt, b_cnt),
			     free_cnt), "%u + %u", a_cnt, b_cnt);
		xmb_multibuf_release(&a, &here.cache);
	}
}

Test(multibuf, joining_needs_no_block_where_there_is_room)
{
	for (uint32_t a_cnt = 0; a_cnt < 9; a_cnt++) {
		for (uint32_t b_cnt = 0; b_cnt < 9; b_cnt++) {
			struct xmb_multibuf a = mb_of(&here, a_cnt, 5, 0);
			struct xmb_multibuf b = mb_of(&here, b_cnt, 5,
						      (uint8_t)(5 * a_cnt));

			hoard_blocks(&here, 0);
			if (!blocks_asked(a_cnt, b_cnt))
				cr_expect(eq(int, xmb_multibuf_append(&a, &b,
						&here.cache), 0));
			else if (b_cnt <= 3)
				EXPECT_REFUSED(&a, &b, xmb_multibuf_append(&a,
						&b, &here.cache), -ENOBUFS);
			give_blocks(&here);
			xmb_multibuf_append(&a, &b, &here.cache);
			expect_bytes(&a, 5 * (a_cnt + b_cnt), 0);
			xmb_multibuf_release(&a, &here.cache);
		}
	}
}

Test(multibuf, a_multibuf_is_not_joined_with_itself)
{
	struct xmb_multibuf mb = mb_of(&here, 4, 8, 0);

	EXPECT_REFUSED(&mb, NULL, xmb_multibuf_append(&mb, &mb, &here.cache),
		       -EINVAL);
	EXPECT_REFUSED(&mb, NULL, xmb_multibuf_prepend(&mb, &mb, &here.cache),
		       -EINVAL);
	xmb_multibuf_release(&mb, &here.cache);
}

Test(multibuf, blocks_of_two_pools_become_blocks_of_the_cache)
{
	struct xmb_multibuf a = mb_of(&here, 7, 5, 0);
	struct xmb_multibuf b = mb_of(&there, 8, 5, 35);

	/* 15 chunks are 4 blocks in there, which has 2; here has 14. */
	EXPECT_REFUSED(&a, &b, xmb_multibuf_append(&a, &b, &there.cache),
		       -ENOBUFS);
	EXPECT_REFUSED(&a, &b, xmb_multibuf_prepend(&b, &a, &there.cache),
		       -ENOBUFS);
	cr_assert(eq(int, xmb_multibuf_append(&a, &b, &here.cache), 0));
	expect_bytes(&a, 75, 0);
	cr_expect(eq(u32, blocks_free(&there), BIG_SPILL_CNT));
	cr_expect(eq(u32, blocks_free(&here), SPILL_CNT - 4));
	/* Now they are here's, and a cache of there can move them over. */
	b = mb_of(&there, 0, 0, 0);
	cr_assert(eq(int, xmb_multibuf_append(&b, &a, &there.cache), 0));
	cr_expect(eq(u32, blocks_free(&here), SPILL_CNT - 4));
	xmb_multibuf_release(&b, &there.cache);
}

Test(multibuf, a_push_that_needs_a_block_of_another_pool_moves_all)
{
	struct xmb_multibuf mb = mb_of(&here, 6, 5, 0);
	struct xmb_chunk c = chunk_of(&there, 5);
	uint8_t bytes[5] = { 30, 31, 32, 33, 34 };

	memcpy(xmb_chunk_data(&c), bytes, 5);
	hoard_blocks(&there, 1);
	EXPECT_REFUSED(&mb, NULL, xmb_multibuf_push_back(&mb, &c,
							 &there.cache),
		       -ENOBUFS);
	while (hoard_cnt > 0)
		xmb_cache_spill_put(&there.cache, &there.pool.domain,
				    hoard[--hoard_cnt]);
	cr_assert(eq(int, xmb_multibuf_push_back(&mb, &c, &there.cache), 0));
	expect_bytes(&mb, 35, 0);
	cr_expect(eq(u32, blocks_free(&here), SPILL_CNT));
	cr_expect(eq(u32, blocks_free(&there), BIG_SPILL_CNT - 2));
	xmb_multibuf_release(&mb, &here.cache);
}

Test(multibuf, more_than_65535_chunks_are_refused)
{
	struct xmb_multibuf mb = { 0 }, other = { 0 }, old;
	struct xmb_chunk c;
	struct room crowd;

	room_init(&crowd, &(struct xmb_pool_opts){
		.frame_len = 64, .frame_cnt = 65600, .spill_cnt = 22000 });
	cr_assert(eq(int, xmb_multibuf_alloc(&crowd.cache, 65535, 63, &mb), 0));
	cr_assert(eq(u32, mb.cnt, 65535));
	old = mb;
	c = chunk_of(&crowd, 5);
	cr_expect(eq(int, xmb_multibuf_push_back(&mb, &c, &crowd.cache),
		     -ENOSPC));
	cr_expect(eq(int, xmb_multibuf_push_front(&mb, &c, &crowd.cache),
		     -ENOSPC));
	cr_expect(xmb_chunk_is_live(&c) && xmb_chunk_check(&c));
	xmb_multibuf_init(&other, &c);
	cr_expect(eq(int, xmb_multibuf_append(&mb, &other, &crowd.cache),
		     -ENOSPC));
	cr_expect(eq(int, xmb_multibuf_append(&other, &mb, &crowd.cache),
		     -ENOSPC));
	cr_expect(eq(int, xmb_multibuf_prepend(&mb, &other, &crowd.cache),
		     -ENOSPC));
	cr_expect(memcmp(&mb, &old, sizeof(mb)) == 0);
	cr_expect(xmb_multibuf_check(&mb) && xmb_multibuf_check(&other));
	cr_expect(eq(u32, frames_free(&crowd), 64));
	xmb_multibuf_release(&mb, &crowd.cache);
	xmb_multibuf_release(&other, &crowd.cache);
	room_fini(&crowd, 65600, 22000);
}
