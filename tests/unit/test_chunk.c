/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * lib/buf/chunk: chunks own their bytes alone, whoever shares the region, and
 * a refused call changes nothing.
 */
#include "buf/chunk.h"

#include "buf_lab.h"

enum { FRAME_LEN = 2048, FRAME_CNT = 64 };

static struct lab lab;
static struct xmb_chunk a, b, c, d, e, f, stale;

static void setup(void)
{
	lab_open(&lab, FRAME_LEN, FRAME_CNT, 0);
	cr_assert(eq(int, xmb_chunk_alloc(&lab.cache, &a), 0));
}

static void teardown(void)
{
	struct xmb_chunk *all[] = { &a, &b, &c, &d, &e, &f };

	for (int i = 0; i < 6; i++) {
		cr_expect(xmb_chunk_check(all[i]), "chunk %d", i);
		xmb_chunk_release(all[i], &lab.cache);
		cr_expect(xmb_chunk_check(all[i]), "chunk %d", i);
	}
	cr_expect(eq(i64, lab.cache.app_cnt, 0));
	lab_close(&lab);
}

TestSuite(chunk, .init = setup, .fini = teardown, .timeout = 300);

static bool is_range(const struct xmb_chunk *chunk, uint32_t off, uint32_t len)
{
	return xmb_chunk_is_live(chunk) && chunk->off == off &&
	       chunk->len == len && xmb_chunk_check(chunk);
}

static void split(struct xmb_chunk *chunk, size_t at, struct xmb_chunk *tail)
{
	cr_assert(eq(int, xmb_chunk_split(chunk, at, tail), 0));
	cr_expect(xmb_chunk_check(chunk));
	cr_expect(xmb_chunk_check(tail));
}

/* That call is refused with err; handle and side memory stay as they are. */
#define REFUSED(chunk, err, call)                                        \
	do {                                                             \
		struct xmb_chunk was_ = (chunk);                         \
									 \
		lab_snap(&lab);                                          \
		cr_expect(eq(int, call, err));                           \
		cr_expect(zero(int, memcmp(&was_, &(chunk), sizeof(was_)))); \
		cr_expect(lab_is_unchanged(&lab));                       \
	} while (0)

Test(chunk, a_fresh_one_owns_its_whole_frame_alone)
{
	cr_expect(is_range(&a, 0, FRAME_LEN));
	cr_expect(xmb_chunk_is_excl(&a));
	cr_expect(eq(ptr, xmb_chunk_data(&a),
		     lab.base + (size_t)a.region * FRAME_LEN));
	cr_expect(eq(u32, lab_state(&lab, a.region), XMB_FRAME_APP));
	cr_expect(eq(i64, lab.cache.app_cnt, 1));
}

Test(chunk, alloc_fails_when_all_frames_are_taken)
{
	struct xmb_chunk rest[FRAME_CNT] = { 0 };

	cr_assert(eq(int, xmb_chunk_alloc_bulk(&lab.cache, rest,
					       FRAME_CNT - 1), 0));
	for (int i = 0; i < FRAME_CNT - 1; i++)
		cr_expect(is_range(&rest[i], 0, FRAME_LEN));
	REFUSED(b, -ENOBUFS, xmb_chunk_alloc(&lab.cache, &b));
	xmb_chunk_release_bulk(rest, FRAME_CNT - 1, &lab.cache);
	for (int i = 0; i < FRAME_CNT; i++)
		cr_expect(not(xmb_chunk_is_live(&rest[i])));
	cr_expect(eq(int, xmb_chunk_alloc(&lab.cache, &b), 0));
}

Test(chunk, bulk_alloc_takes_all_or_none)
{
	struct xmb_chunk many[FRAME_CNT] = { 0 };
	struct xmb_cache *caches[] = { &lab.cache };

	cr_expect(eq(int, xmb_chunk_alloc_bulk(&lab.cache, many, FRAME_CNT),
		     -ENOBUFS));
	for (int i = 0; i < FRAME_CNT; i++)
		cr_expect(not(xmb_chunk_is_live(&many[i])));
	cr_expect(eq(i64, lab.cache.app_cnt, 1));
	cr_expect(eq(u32, lab.cache.cnt + xmb_pool_free_cnt(&lab.pool),
		     FRAME_CNT - 1));
	cr_expect(xmb_pool_check(&lab.pool, caches, 1));
	cr_expect(eq(int, xmb_chunk_alloc_bulk(&lab.cache, many, 0), 0));
}

Test(chunk, bulk_alloc_is_not_bound_by_the_cache)
{
	static struct xmb_chunk many[3000];
	struct lab big = { 0 };

	lab_open(&big, 64, 3000, 0);
	cr_assert(eq(int, xmb_chunk_alloc_bulk(&big.cache, many, 3000), 0));
	xmb_chunk_release(&many[2999], &big.cache);
	xmb_chunk_release_bulk(many, 1, &big.cache);
	cr_expect(eq(int, xmb_chunk_alloc_bulk(&big.cache, many, 1), 0));
	xmb_chunk_release_bulk(many, 3000, &big.cache);
	lab_close(&big);
}

Test(chunk, trims_and_claims_alone_are_arithmetic)
{
	lab_snap(&lab);
	cr_expect(eq(int, xmb_chunk_discard_prefix(&a, 100), 0));
	cr_expect(eq(int, xmb_chunk_truncate(&a, 1000), 0));
	cr_expect(is_range(&a, 100, 1000));
	cr_expect(eq(int, xmb_chunk_claim_prefix(&a, 30), 0));
	cr_expect(eq(int, xmb_chunk_claim_suffix(&a, 48), 0));
	cr_expect(is_range(&a, 70, 1078));
	cr_expect(eq(int, xmb_chunk_slice(&a, 10, 1070), 0));
	cr_expect(is_range(&a, 80, 1060));
	cr_expect(eq(int, xmb_chunk_claim_prefix(&a, 80), 0));
	cr_expect(eq(int, xmb_chunk_claim_suffix(&a, FRAME_LEN - 1140), 0));
	cr_expect(is_range(&a, 0, FRAME_LEN));
	cr_expect(lab_is_unchanged(&lab));
}

static void refuse_ranges(struct xmb_chunk *chunk, uint32_t before,
			  uint32_t behind)
{
	size_t len = chunk->len, max = SIZE_MAX;

	REFUSED(*chunk, -ERANGE, xmb_chunk_discard_prefix(chunk, len + 1));
	REFUSED(*chunk, -ERANGE, xmb_chunk_discard_prefix(chunk, max));
	REFUSED(*chunk, -ERANGE, xmb_chunk_truncate(chunk, len + 1));
	REFUSED(*chunk, -ERANGE, xmb_chunk_truncate(chunk, max));
	REFUSED(*chunk, -ERANGE, xmb_chunk_slice(chunk, 2, 1));
	REFUSED(*chunk, -ERANGE, xmb_chunk_slice(chunk, 0, len + 1));
	REFUSED(*chunk, -ERANGE, xmb_chunk_slice(chunk, max, max));
	REFUSED(*chunk, -ERANGE, xmb_chunk_split(chunk, len + 1, &f));
	REFUSED(*chunk, -ERANGE, xmb_chunk_claim_prefix(chunk, before + 1));
	REFUSED(*chunk, -ERANGE, xmb_chunk_claim_prefix(chunk, max));
	REFUSED(*chunk, -ERANGE, xmb_chunk_claim_suffix(chunk, behind + 1));
	REFUSED(*chunk, -ERANGE, xmb_chunk_claim_suffix(chunk, max));
	/* What asks for nothing is granted, and does nothing either. */
	REFUSED(*chunk, 0, xmb_chunk_discard_prefix(chunk, 0));
	REFUSED(*chunk, 0, xmb_chunk_truncate(chunk, len));
	REFUSED(*chunk, 0, xmb_chunk_slice(chunk, 0, len));
	REFUSED(*chunk, 0, xmb_chunk_claim_prefix(chunk, 0));
	REFUSED(*chunk, 0, xmb_chunk_claim_suffix(chunk, 0));
	cr_expect(not(xmb_chunk_is_live(&f)));
}

Test(chunk, ranges_are_refused_and_nothing_changes)
{
	cr_assert(eq(int, xmb_chunk_slice(&a, 100, 900), 0));
	refuse_ranges(&a, 100, FRAME_LEN - 900);
	split(&a, 300, &b);
	refuse_ranges(&a, 100, FRAME_LEN - 400);
	refuse_ranges(&b, 400, FRAME_LEN - 900);
}

Test(chunk, an_empty_handle_has_no_bytes_and_asks_for_none)
{
	refuse_ranges(&b, 0, 0);
	REFUSED(b, 0, xmb_chunk_split(&b, 0, &c));
	cr_expect(not(xmb_chunk_is_live(&c)));
	xmb_chunk_release(&b, &lab.cache);
	cr_expect(xmb_chunk_check(&b));
}

Test(chunk, split_cuts_in_two_that_share_the_frame)
{
	uint32_t gen = xmb_frame_word_gen(
		xmb_frame_load(&lab.pool.domain, a.region));

	xmb_chunk_slice(&a, 10, 1010);
	split(&a, 400, &b);
	cr_expect(is_range(&a, 10, 400));
	cr_expect(is_range(&b, 410, 600));
	cr_expect(eq(u32, a.region, b.region));
	cr_expect(not(xmb_chunk_is_excl(&a)));
	cr_expect(not(xmb_chunk_is_excl(&b)));
	cr_expect(eq(u32, xmb_frame_load(&lab.pool.domain, a.region),
		     xmb_frame_word(XMB_FRAME_APP, lab.cache.who, gen + 1)));
	cr_expect(eq(i64, lab.cache.app_cnt, 1));
}

Test(chunk, a_sixth_part_is_refused_until_one_is_released)
{
	split(&a, 100, &b);
	split(&b, 100, &c);
	split(&c, 100, &d);
	split(&b, 50, &e);
	REFUSED(a, -ENOSPC, xmb_chunk_split(&a, 50, &f));
	REFUSED(d, -ENOSPC, xmb_chunk_split(&d, 0, &f));
	cr_expect(not(xmb_chunk_is_live(&f)));
	xmb_chunk_release(&c, &lab.cache);
	split(&d, 1000, &f);
	cr_expect(is_range(&d, 300, 1000));
	cr_expect(is_range(&f, 1300, FRAME_LEN - 1300));
}

Test(chunk, claim_stops_at_the_neighbour_until_it_gives_bytes_up)
{
	split(&a, 1000, &b);
	REFUSED(b, -EBUSY, xmb_chunk_claim_prefix(&b, 1));
	REFUSED(a, -EBUSY, xmb_chunk_claim_suffix(&a, 1));
	cr_assert(eq(int, xmb_chunk_truncate(&a, 990), 0));
	REFUSED(b, -EBUSY, xmb_chunk_claim_prefix(&b, 11));
	cr_expect(eq(int, xmb_chunk_claim_prefix(&b, 10), 0));
	cr_expect(is_range(&b, 990, FRAME_LEN - 990));
	cr_assert(eq(int, xmb_chunk_discard_prefix(&b, 20), 0));
	REFUSED(a, -EBUSY, xmb_chunk_claim_suffix(&a, 21));
	cr_expect(eq(int, xmb_chunk_claim_suffix(&a, 20), 0));
	cr_expect(is_range(&a, 0, 1010));
	cr_assert(eq(int, xmb_chunk_slice(&b, 5, 6), 0));
	cr_expect(eq(int, xmb_chunk_claim_suffix(&b, 100), 0));
	cr_expect(is_range(&b, 1015, 101));
}

Test(chunk, claim_does_not_jump_over_a_neighbour)
{
	split(&a, 1000, &b);
	split(&b, 10, &c);
	REFUSED(c, -EBUSY, xmb_chunk_claim_prefix(&c, 1010));
	REFUSED(a, -EBUSY, xmb_chunk_claim_suffix(&a, 11));
	xmb_chunk_truncate(&b, 0);
	/* Even where the one in between is of no bytes. */
	xmb_chunk_truncate(&a, 990);
	REFUSED(c, -EBUSY, xmb_chunk_claim_prefix(&c, 11));
	REFUSED(a, -EBUSY, xmb_chunk_claim_suffix(&a, 11));
	xmb_chunk_release(&b, &lab.cache);
	cr_expect(eq(int, xmb_chunk_claim_prefix(&c, 20), 0));
}

Test(chunk, an_empty_one_at_the_edge_keeps_its_place)
{
	xmb_chunk_slice(&a, 100, 200);
	split(&a, 0, &b);
	cr_expect(is_range(&a, 100, 0));
	cr_expect(is_range(&b, 100, 100));
	/* a stands before b: it blocks what is on its side only. */
	REFUSED(b, -EBUSY, xmb_chunk_claim_prefix(&b, 1));
	cr_expect(eq(int, xmb_chunk_claim_suffix(&b, 10), 0));
	REFUSED(a, -EBUSY, xmb_chunk_claim_suffix(&a, 1));
	cr_expect(eq(int, xmb_chunk_claim_prefix(&a, 10), 0));
	cr_expect(is_range(&a, 90, 10));
	split(&b, 110, &c);
	cr_expect(is_range(&c, 210, 0));
	REFUSED(b, -EBUSY, xmb_chunk_claim_suffix(&b, 1));
	cr_expect(eq(int, xmb_chunk_claim_suffix(&c, 5), 0));
	cr_expect(eq(int, xmb_chunk_discard_prefix(&c, 5), 0));
	/* At the far end of what is claimed it is in nobody's way. */
	cr_expect(eq(int, xmb_chunk_claim_suffix(&b, 5), 0));
	cr_expect(is_range(&b, 100, 115));
}

Test(chunk, two_empty_ones_at_a_place_block_each_other)
{
	xmb_chunk_slice(&a, 100, 100);
	split(&a, 0, &b);
	REFUSED(a, -EBUSY, xmb_chunk_claim_suffix(&a, 1));
	REFUSED(a, -EBUSY, xmb_chunk_claim_prefix(&a, 1));
	REFUSED(b, -EBUSY, xmb_chunk_claim_suffix(&b, 1));
	REFUSED(b, -EBUSY, xmb_chunk_claim_prefix(&b, 1));
	xmb_chunk_release(&a, &lab.cache);
	cr_expect(eq(int, xmb_chunk_claim_prefix(&b, 100), 0));
}

Test(chunk, an_empty_one_keeps_the_frame)
{
	xmb_chunk_truncate(&a, 0);
	cr_expect(eq(u32, lab_state(&lab, a.region), XMB_FRAME_APP));
	split(&a, 0, &b);
	xmb_chunk_release(&a, &lab.cache);
	cr_expect(eq(u32, lab_state(&lab, b.region), XMB_FRAME_APP));
	cr_expect(eq(i64, lab.cache.app_cnt, 1));
}

Test(chunk, the_last_release_sends_the_frame_home_whatever_the_order)
{
	for (int order = 0; order < 6; order++) {
		struct xmb_chunk *turn[6][3] = {
			{ &b, &c, &d }, { &b, &d, &c }, { &c, &b, &d },
			{ &c, &d, &b }, { &d, &b, &c }, { &d, &c, &b },
		};
		uint32_t frame, gen, before = lab.cache.cnt;

		cr_assert(eq(int, xmb_chunk_alloc(&lab.cache, &b), 0));
		frame = b.region;
		gen = b.slot;
		split(&b, 7, &c);
		split(&c, 7, &d);
		for (int i = 0; i < 3; i++) {
			cr_expect(eq(u32, lab_state(&lab, frame),
				     XMB_FRAME_APP));
			xmb_chunk_release(turn[order][i], &lab.cache);
			cr_expect(zero(int, memcmp(turn[order][i], &stale,
						   sizeof(stale))));
		}
		/* One generation by the split, one by the release. */
		cr_expect(eq(u32, xmb_frame_load(&lab.pool.domain, frame),
			     xmb_frame_word(XMB_FRAME_FREE, 0, gen + 2)));
		cr_expect(eq(u32, lab.cache.cnt, before));
		cr_expect(eq(u32, lab.cache.frames[before - 1], frame));
		cr_expect(eq(i64, lab.cache.app_cnt, 1));
	}
}

Test(chunk, the_one_left_over_becomes_exclusive_when_it_needs_to)
{
	split(&a, 500, &b);
	split(&b, 500, &c);
	xmb_chunk_release(&a, &lab.cache);
	xmb_chunk_release(&c, &lab.cache);
	cr_expect(not(xmb_chunk_is_excl(&b)));
	cr_expect(eq(int, xmb_chunk_claim_prefix(&b, 500), 0));
	cr_expect(xmb_chunk_is_excl(&b));
	cr_expect(is_range(&b, 0, 1000));
	cr_expect(eq(int, xmb_chunk_claim_suffix(&b, FRAME_LEN - 1000), 0));
	split(&b, 1, &c);
	xmb_chunk_release(&b, &lab.cache);
	split(&c, 1, &d);
	cr_expect(is_range(&c, 1, 1));
	cr_expect(is_range(&d, 2, FRAME_LEN - 2));
	/* Slots 0 and 1 again: the tracker began anew. */
	cr_expect(eq(u16, c.slot, 0));
	cr_expect(eq(u16, d.slot, 1));
}

Test(chunk, generations_wrap)
{
	uint32_t frame = a.region;

	for (int i = 0; i < 70000; i++) {
		split(&a, 9, &b);
		xmb_chunk_release(&a, &lab.cache);
		xmb_chunk_release(&b, &lab.cache);
		cr_assert(eq(int, xmb_chunk_alloc(&lab.cache, &a), 0));
		cr_assert(eq(u32, a.region, frame));
	}
}

Test(chunk, check_compares_handle_word_and_slot)
{
	struct xmb_chunk bad[12];
	struct xmb_chunk none = { .len = 1 };

	cr_expect(not(xmb_chunk_check(&none)));
	for (int round = 0; round < 2; round++) {
		for (int i = 0; i < 12; i++)
			bad[i] = a;
		bad[0].region = FRAME_CNT;
		bad[1].region++;
		bad[2].off = FRAME_LEN + 1;
		bad[3].off++;
		bad[4].len++;
		bad[5].len = UINT32_MAX;
		bad[6].slot ^= 2;
		bad[7].slot = 7;
		bad[8].dom++;
		bad[9].flags |= 8;
		bad[10].flags ^= XMB_CHUNK_EXCL;
		bad[11].off = UINT32_MAX;
		for (int i = 0; i < 12; i++)
			cr_expect(not(xmb_chunk_check(&bad[i])),
				  "round %d case %d", round, i);
		if (round == 0)
			split(&a, 100, &b);
	}
	a.off++;
	cr_expect(not(xmb_chunk_check(&a)));
	a.off--;
	/* What stands behind the last word may look like one. */
	stale = (struct xmb_chunk){
		.region = FRAME_CNT, .dom = a.dom, .flags = XMB_CHUNK_EXCL,
	};
	lab_snap(&lab);
	atomic_store(&lab.pool.domain.words[FRAME_CNT],
		     xmb_frame_word(XMB_FRAME_APP, 0, 0));
	cr_expect(not(xmb_chunk_check(&stale)));
	memcpy(lab.side, lab.snap, lab.side_len);
	stale = b;
	xmb_chunk_release(&b, &lab.cache);
	cr_expect(not(xmb_chunk_check(&stale)));
	/* The one that is left, should it think itself exclusive. */
	stale = a;
	stale.flags = XMB_CHUNK_EXCL;
	stale.slot = 1;
	cr_expect(not(xmb_chunk_check(&stale)));
	stale = a;
	xmb_chunk_release(&a, &lab.cache);
	cr_expect(not(xmb_chunk_check(&stale)));
}
