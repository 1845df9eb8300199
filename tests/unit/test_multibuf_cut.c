/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * lib/buf/multibuf: splitting, trimming and claiming keep every byte that is
 * not given up, copies happen only where the region has no slot left, and
 * bytes are read and written across chunks.
 */
#include "multibuf_room.h"

#include <signal.h>

TestSuite(multibuf_cut, .init = setup, .fini = teardown, .timeout = 300);

static uint64_t copies(void)
{
	return xmb_counter_read(&here.cache.copies);
}

/* A chunk of len bytes in a region that has no slot left; the rest in side. */
static struct xmb_chunk crowded_chunk(struct room *room, uint32_t len,
				      struct xmb_chunk side[4])
{
	struct xmb_chunk c = chunk_of(room, len + 4);

	for (int i = 3; i >= 0; i--) {
		side[i] = (struct xmb_chunk){ 0 };
		cr_assert(eq(int, xmb_chunk_split(&c, len + (uint32_t)i,
						  &side[i]), 0));
	}
	return c;
}

/*
 * A packet of cnt chunks of 20 bytes, with blocks of room; the one at idx is
 * of len bytes, in a crowded region of at.
 */
static struct xmb_multibuf crowded_mb(struct room *room, struct room *at,
				      uint32_t cnt, uint32_t idx, uint32_t len,
				      struct xmb_chunk side[4])
{
	struct xmb_multibuf mb = { .user = 9 };
	uint8_t byte;

	for (uint32_t i = 0; i < cnt; i++) {
		struct xmb_chunk c = i == idx ? crowded_chunk(at, len, side) :
						chunk_of(room, 20);

		cr_assert(eq(int, xmb_multibuf_push_back(&mb, &c, &room->cache),
			     0));
	}
	for (uint32_t i = 0; i < mb.len; i++) {
		byte = (uint8_t)i;
		cr_assert(xmb_multibuf_copy_from(&mb, i, &byte, 1) == 1);
	}
	return mb;
}

static void expect_no_empty_chunk(const struct xmb_multibuf *mb)
{
	struct xmb_multibuf_iter iter;
	struct xmb_chunk *c;

	for (c = xmb_multibuf_first(mb, &iter); c;
	     c = xmb_multibuf_next(&iter))
		cr_expect(gt(u32, c->len, 0));
}

Test(multibuf_cut, split_between_chunks_takes_nothing_and_leaves_none_empty)
{
	for (uint32_t cnt = 0; cnt < 12; cnt++) {
		for (uint32_t k = 0; k <= cnt; k++) {
			struct xmb_multibuf mb = mb_of(&here, cnt, 7, 0);
			struct xmb_multibuf tail = { 0 };

			mb.user = 4;
			hoard_blocks(&here, 0);
			cr_assert(eq(int, xmb_multibuf_split(&mb, 7 * k, &tail,
							     &here.cache), 0));
			give_blocks(&here);
			expect_bytes(&mb, 7 * k, 0);
			expect_bytes(&tail, 7 * (cnt - k), (uint8_t)(7 * k));
			cr_expect(eq(u32, mb.cnt, k));
			cr_expect(eq(u32, tail.cnt, cnt - k));
			expect_no_empty_chunk(&mb);
			expect_no_empty_chunk(&tail);
			cr_expect(eq(u32, mb.user, 4));
			cr_expect(eq(u32, tail.user, 4));
			xmb_multibuf_release(&mb, &here.cache);
			xmb_multibuf_release(&tail, &here.cache);
		}
	}
}

Test(multibuf_cut, split_inside_a_chunk_takes_no_block_and_copies_nothing)
{
	for (uint32_t cnt = 1; cnt < 12; cnt++) {
		for (uint32_t at = 0; at <= 7 * cnt; at++) {
			struct xmb_multibuf mb = mb_of(&here, cnt, 7, 0);
			struct xmb_multibuf tail = { 0 };

			hoard_blocks(&here, 0);
			cr_assert(eq(int, xmb_multibuf_split(&mb, at, &tail,
							     &here.cache), 0));
			give_blocks(&here);
			expect_bytes(&mb, at, 0);
			expect_bytes(&tail, 7 * cnt - at, (uint8_t)at);
			xmb_multibuf_release(&mb, &here.cache);
			xmb_multibuf_release(&tail, &here.cache);
		}
	}
	cr_expect(eq(u64, copies(), 0));
}

Test(multibuf_cut, empty_chunks_at_the_cut_go_to_the_tail)
{
	static const uint32_t lens[] = { 0, 6, 0, 0, 6, 0 };
	static const struct { uint32_t at, cnt; } t[] = {
		{ 0, 0 }, { 3, 2 }, { 6, 2 }, { 9, 5 }, { 12, 5 },
	};

	for (size_t i = 0; i < sizeof(t) / sizeof(t[0]); i++) {
		struct xmb_multibuf mb = { 0 }, tail = { 0 };

		for (uint32_t k = 0; k < 6; k++) {
			struct xmb_chunk c = chunk_of(&here, lens[k]);

			xmb_multibuf_push_back(&mb, &c, &here.cache);
		}
		cr_assert(eq(int, xmb_multibuf_split(&mb, t[i].at, &tail,
						     &here.cache), 0));
		cr_expect(eq(u32, mb.cnt, t[i].cnt), "at %u", t[i].at);
		cr_expect(eq(u32, mb.len, t[i].at));
		cr_expect(xmb_multibuf_check(&mb) && xmb_multibuf_check(&tail));
		xmb_multibuf_release(&mb, &here.cache);
		xmb_multibuf_release(&tail, &here.cache);
	}
}

Test(multibuf_cut, split_beyond_the_end_is_refused)
{
	struct xmb_multibuf mb = mb_of(&here, 4, 7, 0), tail = { .user = 8 };

	EXPECT_REFUSED(&mb, &tail, xmb_multibuf_split(&mb, 29, &tail,
						      &here.cache), -ERANGE);
	EXPECT_REFUSED(&mb, &tail, xmb_multibuf_split(&mb, SIZE_MAX, &tail,
						      &here.cache), -ERANGE);
	xmb_multibuf_release(&mb, &here.cache);
}

Test(multibuf_cut, split_into_a_live_tail_aborts, .signal = SIGABRT)
{
	struct xmb_multibuf mb = mb_of(&here, 2, 7, 0);
	struct xmb_multibuf tail = mb_of(&here, 1, 7, 0);

	xmb_multibuf_split(&mb, 3, &tail, &here.cache);
}

Test(multibuf_cut, split_of_an_empty_one_into_itself_aborts, .signal = SIGABRT)
{
	struct xmb_multibuf mb = { 0 };

	xmb_multibuf_split(&mb, 0, &mb, &here.cache);
}

Test(multibuf_cut, the_shorter_part_is_copied_where_no_slot_is_left)
{
	struct xmb_chunk side[4];

	for (uint32_t idx = 0; idx < 8; idx++) {
		for (uint32_t at = 1; at < 20; at++) {
			struct xmb_multibuf tail = { 0 }, mb;
			uint64_t n = at < 10 ? at : 20 - at, bytes;
			uint32_t region;

			mb = crowded_mb(&here, &here, 8, idx, 20, side);
			region = xmb_multibuf_chunk(&mb, idx)->region;
			bytes = xmb_counter_read(&here.cache.copied_bytes);
			cr_assert(eq(int, xmb_multibuf_split(&mb, 20 * idx + at,
					&tail, &here.cache), 0));
			expect_bytes(&mb, 20 * idx + at, 0);
			expect_bytes(&tail, 160 - 20 * idx - at,
				     (uint8_t)(20 * idx + at));
			cr_expect(eq(u32, tail.user, 9));
			cr_expect(eq(u64, xmb_counter_read(
				     &here.cache.copied_bytes), bytes + n));
			cr_expect(eq(u32, region, at < 10 ? tail.c[0].region :
				     xmb_multibuf_chunk(&mb, idx)->region));
			xmb_chunk_release_bulk(side, 4, &here.cache);
			xmb_multibuf_release(&mb, &here.cache);
			xmb_multibuf_release(&tail, &here.cache);
		}
	}
	cr_expect(eq(u64, copies(), 8 * 19));
}

Test(multibuf_cut, a_copied_part_longer_than_a_frame_takes_several)
{
	static const uint32_t at[] = { 1, 200, 449, 450, 451, 500, 700, 899 };
	struct xmb_chunk side[4];

	for (uint32_t idx = 0; idx < 6; idx++) {
		for (size_t i = 0; i < sizeof(at) / sizeof(at[0]); i++) {
			struct xmb_multibuf tail = { 0 }, mb;
			uint32_t cut = 20 * idx + at[i];

			mb = crowded_mb(&here, &there, 6, idx, 900, side);
			cr_assert(eq(int, xmb_multibuf_split(&mb, cut, &tail,
							     &here.cache), 0));
			expect_bytes(&mb, cut, 0);
			expect_bytes(&tail, 1000 - cut, (uint8_t)cut);
			xmb_chunk_release_bulk(side, 4, &here.cache);
			xmb_multibuf_release(&mb, &here.cache);
			xmb_multibuf_release(&tail, &here.cache);
		}
	}
	cr_expect(eq(u64, copies(), 6 * sizeof(at) / sizeof(at[0])));
}

/* A split that copies, with left blocks free: done, or refused in full. */
static bool try_copy(struct xmb_multibuf *mb, struct xmb_multibuf *tail,
		     uint32_t at, uint32_t left)
{
	bool is_done;

	hoard_blocks(&here, left);
	if (left == 0) {
		EXPECT_REFUSED(mb, tail, xmb_multibuf_split(mb, at, tail,
							    &here.cache),
			       -ENOBUFS);
		is_done = false;
	} else {
		struct state before = take_state(mb, tail), after;
		int rc = xmb_multibuf_split(mb, at, tail, &here.cache);

		is_done = rc == 0;
		after = take_state(mb, tail);
		cr_expect(is_done || rc == -ENOBUFS);
		cr_expect(is_done ==
			  !!memcmp(&before, &after, sizeof(before)));
	}
	give_blocks(&here);
	return is_done;
}

static void check_short_copy(struct room *room, uint32_t idx, uint32_t at)
{
	struct xmb_chunk side[4], taken[FRAME_CNT] = { 0 };
	struct xmb_multibuf tail = { 0 }, mb;
	uint32_t cnt = 0, left = 0, cut = 20 * idx + at;

	mb = crowded_mb(room, &there, 8, idx, 900, side);
	while (frames_free(&here) > 3)
		taken[cnt++] = chunk_of(&here, 1);
	EXPECT_REFUSED(&mb, &tail, xmb_multibuf_split(&mb, cut, &tail,
						      &here.cache), -ENOBUFS);
	xmb_chunk_release_bulk(taken, cnt, &here.cache);
	while (!try_copy(&mb, &tail, cut, left))
		cr_assert(lt(u32, ++left, SPILL_CNT / 2));
	expect_bytes(&mb, cut, 0);
	expect_bytes(&tail, 1040 - cut, (uint8_t)cut);
	xmb_chunk_release_bulk(side, 4, &here.cache);
	xmb_multibuf_release(&mb, &here.cache);
	xmb_multibuf_release(&tail, &here.cache);
}

/* The copied 200 bytes are four frames of 64, and those take a block. */
Test(multibuf_cut, a_copy_short_of_frames_or_blocks_is_refused)
{
	for (uint32_t idx = 0; idx < 8; idx++) {
		check_short_copy(&here, idx, 200);
		check_short_copy(&here, idx, 700);
		check_short_copy(&there, idx, 200);
		check_short_copy(&there, idx, 700);
	}
}

Test(multibuf_cut, discard_keeps_the_last_chunk_and_frees_the_others)
{
	for (uint32_t n = 0; n <= 70; n++) {
		struct xmb_multibuf mb = mb_of(&here, 10, 7, 0);
		uint32_t cnt = n == 70 ? 1 : 10 - n / 7;

		mb.user = 6;
		hoard_blocks(&here, 0);
		cr_assert(eq(int, xmb_multibuf_discard_prefix(&mb, n,
							      &here.cache),
			     0));
		give_blocks(&here);
		expect_bytes(&mb, 70 - n, (uint8_t)n);
		cr_expect(eq(u32, mb.cnt, cnt));
		cr_expect(eq(u32, mb.user, 6));
		cr_expect(eq(u32, frames_free(&here), FRAME_CNT - cnt));
		/* What is left of the first chunk can be had back. */
		cr_expect(eq(int, xmb_multibuf_claim_prefix(&mb,
				n == 70 ? 7 : n % 7), 0));
		expect_bytes(&mb, 7 * cnt, (uint8_t)(70 - 7 * cnt));
		EXPECT_REFUSED(&mb, NULL, xmb_multibuf_discard_prefix(&mb,
				7 * cnt + 1, &here.cache), -ERANGE);
		xmb_multibuf_release(&mb, &here.cache);
	}
}

Test(multibuf_cut, truncate_keeps_the_first_chunk_and_frees_the_others)
{
	for (uint32_t len = 0; len <= 70; len++) {
		struct xmb_multibuf mb = mb_of(&here, 10, 7, 0);
		uint32_t cnt = len == 0 ? 1 : (len + 6) / 7;

		mb.user = 6;
		hoard_blocks(&here, 0);
		cr_assert(eq(int, xmb_multibuf_truncate(&mb, len, &here.cache),
			     0));
		give_blocks(&here);
		expect_bytes(&mb, len, 0);
		cr_expect(eq(u32, mb.cnt, cnt));
		cr_expect(eq(u32, mb.user, 6));
		cr_expect(eq(u32, frames_free(&here), FRAME_CNT - cnt));
		cr_expect(eq(int, xmb_multibuf_claim_suffix(&mb,
				7 * cnt - len), 0));
		expect_bytes(&mb, 7 * cnt, 0);
		EXPECT_REFUSED(&mb, NULL, xmb_multibuf_truncate(&mb,
				7 * cnt + 1, &here.cache), -ERANGE);
		xmb_multibuf_release(&mb, &here.cache);
	}
}

Test(multibuf_cut, trimming_treats_empty_chunks_as_the_header_says)
{
	static const uint32_t lens[] = { 0, 6, 0, 6, 0 };
	static const struct { uint32_t from, to, cnt; } t[] = {
		{ 0, 12, 5 }, { 1, 12, 4 }, { 6, 12, 3 }, { 12, 12, 1 },
		{ 0, 11, 4 }, { 0, 6, 2 },  { 0, 0, 1 },  { 6, 6, 1 },
	};

	for (size_t i = 0; i < sizeof(t) / sizeof(t[0]); i++) {
		struct xmb_multibuf mb = { 0 };

		for (uint32_t k = 0; k < 5; k++) {
			struct xmb_chunk c = chunk_of(&here, lens[k]);

			xmb_multibuf_push_back(&mb, &c, &here.cache);
		}
		cr_assert(eq(int, xmb_multibuf_slice(&mb, t[i].from, t[i].to,
						     &here.cache), 0));
		cr_expect(eq(u32, mb.cnt, t[i].cnt), "row %zu", i);
		cr_expect(eq(u32, mb.len, t[i].to - t[i].from));
		cr_expect(xmb_multibuf_check(&mb));
		xmb_multibuf_release(&mb, &here.cache);
	}
}

Test(multibuf_cut, slice_keeps_the_bytes_between)
{
	for (uint32_t from = 0; from <= 35; from += 5) {
		for (uint32_t to = from; to <= 35; to += 3) {
			struct xmb_multibuf mb = mb_of(&here, 5, 7, 0);

			cr_assert(eq(int, xmb_multibuf_slice(&mb, from, to,
							     &here.cache), 0));
			expect_bytes(&mb, to - from, (uint8_t)from);
			EXPECT_REFUSED(&mb, NULL, xmb_multibuf_slice(&mb, 0,
					to - from + 1, &here.cache), -ERANGE);
			EXPECT_REFUSED(&mb, NULL, xmb_multibuf_slice(&mb, 1, 0,
					&here.cache), -ERANGE);
			xmb_multibuf_release(&mb, &here.cache);
		}
	}
}

Test(multibuf_cut, claims_end_at_the_region_and_at_the_neighbour)
{
	for (uint32_t cnt = 1; cnt < 8; cnt++) {
		struct xmb_multibuf mb = { 0 }, tail = { 0 };

		cr_assert(eq(int, xmb_multibuf_alloc(&here.cache, 44 * cnt, 20,
						     &mb), 0));
		EXPECT_REFUSED(&mb, NULL, xmb_multibuf_claim_prefix(&mb, 21),
			       -ERANGE);
		EXPECT_REFUSED(&mb, NULL, xmb_multibuf_claim_prefix(&mb,
					SIZE_MAX), -ERANGE);
		EXPECT_REFUSED(&mb, NULL, xmb_multibuf_claim_suffix(&mb, 1),
			       -ERANGE);
		EXPECT_REFUSED(&mb, NULL, xmb_multibuf_claim_suffix(&mb,
					SIZE_MAX), -ERANGE);
		cr_expect(eq(int, xmb_multibuf_claim_prefix(&mb, 20), 0));
		cr_expect(eq(u32, mb.len, 44 * cnt + 20));
		cr_expect(eq(int, xmb_multibuf_split(&mb, mb.len - 10, &tail,
						     &here.cache), 0));
		EXPECT_REFUSED(&mb, &tail, xmb_multibuf_claim_suffix(&mb, 1),
			       -EBUSY);
		EXPECT_REFUSED(&mb, &tail, xmb_multibuf_claim_prefix(&tail, 1),
			       -EBUSY);
		xmb_multibuf_release(&tail, &here.cache);
		cr_expect(eq(int, xmb_multibuf_claim_suffix(&mb, 10), 0));
		cr_expect(eq(u32, mb.len, 44 * cnt + 20));
		cr_expect(xmb_multibuf_check(&mb));
		xmb_multibuf_release(&mb, &here.cache);
	}
}

Test(multibuf_cut, an_empty_multibuf_claims_nothing_only)
{
	struct xmb_multibuf mb = { .user = 1 };

	cr_expect(eq(int, xmb_multibuf_claim_prefix(&mb, 0), 0));
	cr_expect(eq(int, xmb_multibuf_claim_suffix(&mb, 0), 0));
	EXPECT_REFUSED(&mb, NULL, xmb_multibuf_claim_prefix(&mb, 1), -ERANGE);
	EXPECT_REFUSED(&mb, NULL, xmb_multibuf_claim_suffix(&mb, 1), -ERANGE);
}

Test(multibuf_cut, get_points_inside_where_the_bytes_are_in_one_chunk)
{
	struct xmb_multibuf mb = mb_of(&here, 5, 7, 0);
	uint8_t tmp[40];

	for (uint32_t off = 0; off <= 35; off++) {
		for (uint32_t n = 1; off + n <= 35; n++) {
			bool is_inside = off / 7 == (off + n - 1) / 7;
			uint8_t *p = xmb_multibuf_get(&mb, off, n, tmp), *data;

			data = xmb_chunk_data(xmb_multibuf_chunk(&mb, off / 7));
			cr_assert(p == (is_inside ? data + off % 7 : tmp));
			for (uint32_t i = 0; i < n; i++)
				cr_assert(eq(u8, p[i], (uint8_t)(off + i)));
		}
		cr_expect(zero(ptr, xmb_multibuf_get(&mb, off, 36 - off, tmp)));
	}
	cr_expect(xmb_multibuf_get(&mb, 35, 0, tmp) == tmp);
	cr_expect(zero(ptr, xmb_multibuf_get(&mb, 36, 0, tmp)));
	cr_expect(zero(ptr, xmb_multibuf_get(&mb, 1, SIZE_MAX, tmp)));
	cr_expect(eq(u64, copies(), 0));
	xmb_multibuf_release(&mb, &here.cache);
}

Test(multibuf_cut, copying_ends_with_the_packet_and_says_so)
{
	struct xmb_multibuf mb = mb_of(&here, 5, 7, 0);
	uint8_t bytes[64], back[64];

	for (uint32_t off = 0; off < 40; off++) {
		for (uint32_t n = 0; n < 40; n++) {
			uint32_t want = off >= 35 ? 0 :
					n < 35 - off ? n : 35 - off;

			memset(bytes, 0xee, sizeof(bytes));
			cr_assert(xmb_multibuf_copy_to(&mb, off, bytes, n) ==
				  want);
			for (uint32_t i = 0; i < sizeof(bytes); i++)
				cr_assert(eq(u8, bytes[i], i < want ?
					     (uint8_t)(off + i) : 0xee));
			memset(bytes, 0xdd, sizeof(bytes));
			cr_assert(xmb_multibuf_copy_from(&mb, off, bytes, n) ==
				  want);
			xmb_multibuf_copy_to(&mb, 0, back, sizeof(back));
			for (uint32_t i = 0; i < 35; i++) {
				cr_assert(eq(u8, back[i],
					     i >= off && i < off + want ?
					     0xdd : (uint8_t)i));
				back[i] = (uint8_t)i;
			}
			xmb_multibuf_copy_from(&mb, 0, back, 35);
		}
	}
	xmb_multibuf_release(&mb, &here.cache);
}

Test(multibuf_cut, release_bulk_releases_all_and_empties_them)
{
	struct xmb_multibuf mbs[5] = { 0 };

	for (uint32_t i = 0; i < 5; i++) {
		mbs[i] = mb_of(&here, 2 * i, 7, 0);
		mbs[i].user = i;
	}
	xmb_multibuf_release_bulk(mbs, 5, &here.cache);
	for (uint32_t i = 0; i < 5; i++)
		cr_expect(is_zero(&mbs[i]));
	cr_expect(eq(u32, frames_free(&here), FRAME_CNT));
}

/* Each of them is one damage to a sound multibuf of 3 + 3 + 2 chunks. */
Test(multibuf_cut, check_sees_each_kind_of_damage)
{
	struct xmb_multibuf mb = mb_of(&here, 8, 7, 0);
	struct xmb_spill *spills = here.pool.domain.spills;
	struct xmb_spill *one = &spills[mb.spill], *two = &spills[one->next];
	uint32_t next;

#define EXPECT_SEEN(what, damage)                                          \
	do {                                                               \
		__typeof__(what) old = what;                               \
		cr_assert(xmb_multibuf_check(&mb));                        \
		what = damage;                                             \
		cr_expect(not(xmb_multibuf_check(&mb)), #what " " #damage); \
		what = old;                                                \
	} while (0)

	EXPECT_SEEN(mb.len, 55);
	EXPECT_SEEN(mb.cnt, 7);
	EXPECT_SEEN(mb.cnt, 9);
	EXPECT_SEEN(mb.inline_cnt, 0);
	EXPECT_SEEN(mb.inline_cnt, 2);
	EXPECT_SEEN(mb.inline_cnt, 4);
	EXPECT_SEEN(mb.spill_dom, 0);
	EXPECT_SEEN(mb.spill_dom, 200);
	EXPECT_SEEN(mb.spill, SPILL_CNT);
	EXPECT_SEEN(mb.spill, XMB_SPILL_NONE);
	EXPECT_SEEN(one->cnt, 0);
	EXPECT_SEEN(one->cnt, 4);
	EXPECT_SEEN(one->cnt, 2);
	EXPECT_SEEN(one->next, XMB_SPILL_NONE);
	EXPECT_SEEN(two->cnt, 3);
	EXPECT_SEEN(one->next, mb.spill);
	EXPECT_SEEN(two->next, mb.spill);
	EXPECT_SEEN(mb.c[1].dom, 0);
	EXPECT_SEEN(mb.c[1].len, 65);
	EXPECT_SEEN(two->c[1].slot, 999);
	EXPECT_SEEN(two->c[1].len, 6);
	/* A block of nothing that is its own next: the walk has to end. */
	one->cnt = 0;
	next = one->next;
	one->next = mb.spill;
	cr_expect(not(xmb_multibuf_check(&mb)));
	one->cnt = 3;
	one->next = next;
#undef EXPECT_SEEN
	xmb_multibuf_release(&mb, &here.cache);
}

/*
 * The most chunks that there can be.  The big pool's cache makes the copy, and
 * one pool more holds the others: 65,534 of a byte and a crowded one.
 */
Test(multibuf_cut, a_copy_that_makes_too_many_chunks_is_refused)
{
	struct xmb_multibuf mb = { 0 }, tail = { 0 }, old;
	struct xmb_chunk side[4], c;
	struct room crowd;

	room_init(&crowd, &(struct xmb_pool_opts){
		.frame_len = 64, .frame_cnt = 65600, .spill_cnt = 22000 });
	cr_assert(eq(int, xmb_multibuf_alloc(&crowd.cache, 65534, 63, &mb), 0));
	c = crowded_chunk(&there, 900, side);
	cr_assert(eq(int, xmb_multibuf_push_back(&mb, &c, &crowd.cache), 0));
	old = mb;
	cr_expect(eq(int, xmb_multibuf_split(&mb, 65534 + 200, &tail,
					     &crowd.cache), -ENOSPC));
	cr_expect(memcmp(&mb, &old, sizeof(mb)) == 0);
	cr_expect(xmb_multibuf_check(&mb));
	cr_expect(is_zero(&tail));
	cr_expect(eq(u32, frames_free(&crowd), 65600 - 65534));
	/* The tail of the same cut has room for its four. */
	cr_expect(eq(int, xmb_multibuf_split(&mb, 65534 + 700, &tail,
					     &crowd.cache), 0));
	cr_expect(eq(u32, mb.cnt, 65535));
	cr_expect(eq(u32, tail.cnt, 4));
	xmb_multibuf_release(&mb, &crowd.cache);
	xmb_multibuf_release(&tail, &crowd.cache);
	xmb_chunk_release_bulk(side, 4, &there.cache);
	room_fini(&crowd, 65600, 22000);
}
