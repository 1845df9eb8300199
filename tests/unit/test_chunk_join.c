/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * lib/buf/chunk: parts taken off either end, written, and put together again;
 * where the mark of a fragment's end goes meanwhile.
 */
#include "buf/chunk.h"

#include "buf_lab.h"

enum { FRAME_LEN = 2048, FRAME_CNT = 8 };

static struct lab lab;
static struct xmb_chunk a, b, c, d, e, f, other, stale;

static void setup(void)
{
	lab_open(&lab, FRAME_LEN, FRAME_CNT, 0);
	cr_assert(eq(int, xmb_chunk_alloc(&lab.cache, &a), 0));
	cr_assert(eq(int, xmb_chunk_alloc(&lab.cache, &other), 0));
}

static void teardown(void)
{
	struct xmb_chunk *all[] = { &a, &b, &c, &d, &e, &f, &other };

	for (int i = 0; i < 7; i++) {
		cr_expect(xmb_chunk_check(all[i]), "chunk %d", i);
		xmb_chunk_release(all[i], &lab.cache);
	}
	cr_expect(zero(i64, lab.cache.app_cnt));
	lab_close(&lab);
}

TestSuite(chunk_join, .init = setup, .fini = teardown, .timeout = 300);

static bool is_range(const struct xmb_chunk *chunk, uint32_t off, uint32_t len)
{
	return xmb_chunk_is_live(chunk) && chunk->off == off &&
	       chunk->len == len && xmb_chunk_check(chunk);
}

static bool has_end(const struct xmb_chunk *chunk)
{
	return chunk->flags & XMB_CHUNK_END;
}

static void split(struct xmb_chunk *chunk, size_t at, struct xmb_chunk *tail)
{
	cr_assert(eq(int, xmb_chunk_split(chunk, at, tail), 0));
}

/* That call is refused; handles, side memory and payload stay. */
#define REFUSED(err, call)                                             \
	do {                                                           \
		struct xmb_chunk was_[] = { a, b, c, d, e, f, other }; \
		struct xmb_chunk is_[7];                               \
								       \
		lab_snap(&lab);                                        \
		cr_expect(eq(int, call, err));                         \
		memcpy(is_, (struct xmb_chunk[]){ a, b, c, d, e, f,    \
						  other }, sizeof(is_)); \
		cr_expect(zero(int, memcmp(was_, is_, sizeof(was_)))); \
		cr_expect(lab_is_unchanged(&lab));                     \
	} while (0)

Test(chunk_join, take_prefix_leaves_the_rest_in_the_handle)
{
	xmb_chunk_slice(&a, 100, 900);
	cr_expect(eq(int, xmb_chunk_take_prefix(&a, 300, &b), 0));
	cr_expect(is_range(&b, 100, 300));
	cr_expect(is_range(&a, 400, 500));
	/* The same in a region that is split already. */
	cr_expect(eq(int, xmb_chunk_take_prefix(&a, 500, &c), 0));
	cr_expect(is_range(&c, 400, 500));
	cr_expect(is_range(&a, 900, 0));
	cr_expect(eq(int, xmb_chunk_take_prefix(&b, 0, &d), 0));
	cr_expect(is_range(&d, 100, 0));
	cr_expect(is_range(&b, 100, 300));
}

Test(chunk_join, take_suffix_leaves_the_first_bytes_in_the_handle)
{
	xmb_chunk_slice(&a, 100, 900);
	cr_expect(eq(int, xmb_chunk_take_suffix(&a, 300, &b), 0));
	cr_expect(is_range(&a, 100, 500));
	cr_expect(is_range(&b, 600, 300));
	cr_expect(eq(int, xmb_chunk_take_suffix(&a, 500, &c), 0));
	cr_expect(is_range(&a, 100, 0));
	cr_expect(is_range(&c, 100, 500));
	cr_expect(eq(int, xmb_chunk_take_suffix(&c, 0, &d), 0));
	cr_expect(is_range(&d, 600, 0));
}

Test(chunk_join, what_is_not_there_cannot_be_taken)
{
	xmb_chunk_slice(&a, 100, 900);
	for (int round = 0; round < 2; round++) {
		size_t len = a.len;

		REFUSED(-ERANGE, xmb_chunk_take_prefix(&a, len + 1, &f));
		REFUSED(-ERANGE, xmb_chunk_take_suffix(&a, len + 1, &f));
		REFUSED(-ERANGE, xmb_chunk_take_prefix(&f, 1, &e));
		REFUSED(-ERANGE, xmb_chunk_take_suffix(&f, 1, &e));
		REFUSED(0, xmb_chunk_take_prefix(&f, 0, &e));
		REFUSED(0, xmb_chunk_take_suffix(&f, 0, &e));
		if (round == 0)
			split(&a, 400, &b);
	}
	split(&b, 1, &c);
	split(&c, 1, &d);
	split(&d, 1, &e);
	REFUSED(-ENOSPC, xmb_chunk_take_prefix(&a, 9, &f));
	REFUSED(-ENOSPC, xmb_chunk_take_suffix(&a, 9, &f));
}

Test(chunk_join, merge_undoes_a_split)
{
	xmb_chunk_slice(&a, 100, 900);
	split(&a, 300, &b);
	cr_expect(eq(int, xmb_chunk_merge(&a, &b), 0));
	cr_expect(is_range(&a, 100, 800));
	cr_expect(zero(int, memcmp(&b, &stale, sizeof(b))));
	/* Nobody else is left, so that trims are arithmetic again. */
	cr_expect(xmb_chunk_is_excl(&a));
	cr_expect(eq(int, xmb_chunk_claim_suffix(&a, FRAME_LEN - 900), 0));
	cr_expect(eq(i64, lab.cache.app_cnt, 2));
}

Test(chunk_join, merge_gives_the_slot_back_and_keeps_out_of_the_neighbours)
{
	split(&a, 400, &b);
	split(&b, 400, &c);
	split(&c, 400, &d);
	split(&d, 400, &e);
	REFUSED(-ENOSPC, xmb_chunk_split(&a, 1, &f));
	cr_expect(eq(int, xmb_chunk_merge(&b, &c), 0));
	cr_expect(is_range(&b, 400, 800));
	cr_expect(not(xmb_chunk_is_excl(&b)));
	REFUSED(-EBUSY, xmb_chunk_claim_suffix(&b, 1));
	REFUSED(-EBUSY, xmb_chunk_claim_suffix(&a, 1));
	REFUSED(-EBUSY, xmb_chunk_claim_prefix(&d, 1));
	split(&a, 1, &c);
	REFUSED(-ENOSPC, xmb_chunk_split(&b, 1, &f));
	cr_expect(eq(int, xmb_chunk_merge(&a, &c), 0));
	cr_expect(eq(int, xmb_chunk_merge(&a, &b), 0));
	cr_expect(eq(int, xmb_chunk_merge(&d, &e), 0));
	cr_expect(eq(int, xmb_chunk_merge(&a, &d), 0));
	cr_expect(is_range(&a, 0, FRAME_LEN));
	cr_expect(xmb_chunk_is_excl(&a));
}

Test(chunk_join, merge_takes_empty_chunks_like_any_other)
{
	xmb_chunk_slice(&a, 100, 900);
	split(&a, 0, &b);
	split(&b, 800, &c);
	cr_expect(eq(int, xmb_chunk_merge(&a, &b), 0));
	cr_expect(is_range(&a, 100, 800));
	cr_expect(eq(int, xmb_chunk_merge(&a, &c), 0));
	cr_expect(is_range(&a, 100, 800));
	xmb_chunk_truncate(&a, 0);
	split(&a, 0, &b);
	cr_expect(eq(int, xmb_chunk_merge(&b, &a), 0));
	cr_expect(is_range(&b, 100, 0));
	cr_expect(xmb_chunk_is_excl(&b));
}

Test(chunk_join, only_neighbours_in_their_order_are_merged)
{
	split(&a, 400, &b);
	split(&b, 400, &c);
	REFUSED(-EINVAL, xmb_chunk_merge(&a, &a));
	REFUSED(-EINVAL, xmb_chunk_merge(&a, &f));
	REFUSED(-EINVAL, xmb_chunk_merge(&f, &a));
	REFUSED(-EINVAL, xmb_chunk_merge(&f, &f));
	REFUSED(-EXDEV, xmb_chunk_merge(&a, &other));
	REFUSED(-EXDEV, xmb_chunk_merge(&other, &a));
	REFUSED(-ERANGE, xmb_chunk_merge(&a, &c));
	REFUSED(-ERANGE, xmb_chunk_merge(&b, &a));
	cr_assert(eq(int, xmb_chunk_truncate(&a, 399), 0));
	REFUSED(-ERANGE, xmb_chunk_merge(&a, &b));
	/* Another domain's region of the same number. */
	other.region = a.region;
	other.dom++;
	REFUSED(-EXDEV, xmb_chunk_merge(&a, &other));
	other.region = a.region + 1;
	other.dom--;
	cr_expect(xmb_chunk_check(&other));
}

Test(chunk_join, bytes_of_a_released_middle_go_to_whoever_asks_first)
{
	split(&a, 400, &b);
	split(&b, 400, &c);
	xmb_chunk_release(&b, &lab.cache);
	cr_expect(eq(int, xmb_chunk_claim_prefix(&c, 150), 0));
	REFUSED(-EBUSY, xmb_chunk_claim_suffix(&a, 251));
	cr_expect(eq(int, xmb_chunk_claim_suffix(&a, 250), 0));
	cr_expect(eq(int, xmb_chunk_merge(&a, &c), 0));
	cr_expect(is_range(&a, 0, FRAME_LEN));
}

Test(chunk_join, the_end_of_a_fragment_stays_with_its_last_byte)
{
	a.flags |= XMB_CHUNK_END;
	cr_expect(xmb_chunk_check(&a));
	split(&a, 400, &b);
	cr_expect(not(has_end(&a)));
	cr_expect(has_end(&b));
	split(&b, 400, &c);
	cr_expect(not(has_end(&b)));
	cr_expect(has_end(&c));
	cr_expect(eq(int, xmb_chunk_take_prefix(&c, 10, &d), 0));
	cr_expect(not(has_end(&d)));
	cr_expect(has_end(&c));
	cr_expect(eq(int, xmb_chunk_take_suffix(&c, 10, &e), 0));
	cr_expect(not(has_end(&c)));
	cr_expect(has_end(&e));
	/* The boundary between two fragments that are joined is gone. */
	b.flags |= XMB_CHUNK_END;
	cr_expect(eq(int, xmb_chunk_merge(&b, &d), 0));
	cr_expect(not(has_end(&b)));
	cr_expect(eq(int, xmb_chunk_merge(&c, &e), 0));
	cr_expect(has_end(&c));
	cr_expect(eq(int, xmb_chunk_merge(&b, &c), 0));
	cr_expect(has_end(&b));
}

Test(chunk_join, the_end_of_a_fragment_outlives_trims_claims_and_neighbours)
{
	split(&a, 400, &b);
	b.flags |= XMB_CHUNK_END;
	cr_expect(eq(int, xmb_chunk_slice(&b, 10, 20), 0));
	cr_expect(eq(int, xmb_chunk_claim_suffix(&b, 10), 0));
	cr_expect(has_end(&b));
	xmb_chunk_release(&a, &lab.cache);
	cr_expect(eq(int, xmb_chunk_claim_prefix(&b, 10), 0));
	cr_expect(xmb_chunk_is_excl(&b));
	cr_expect(has_end(&b));
	cr_expect(xmb_chunk_check(&b));
	cr_expect(eq(int, xmb_chunk_claim_prefix(&b, 10), 0));
	cr_expect(has_end(&b));
	split(&b, 0, &a);
	cr_expect(not(has_end(&b)));
	cr_expect(has_end(&a));
}

Test(chunk_join, write_puts_bytes_where_they_belong_and_nowhere_else)
{
	uint8_t want[FRAME_LEN];

	cr_assert(eq(int, xmb_chunk_claim_suffix(&a, 0), 0));
	memset(xmb_chunk_data(&a), '.', FRAME_LEN);
	memset(want, '.', FRAME_LEN);
	xmb_chunk_slice(&a, 100, 900);
	for (int round = 0; round < 2; round++) {
		uint32_t len = a.len;

		cr_expect(eq(int, xmb_chunk_write(&a, 0, "first", 5), 0));
		cr_expect(eq(int, xmb_chunk_write(&a, len - 4, "last", 4), 0));
		memcpy(want + 100, "first", 5);
		memcpy(want + 100 + len - 4, "last", 4);
		REFUSED(-ERANGE, xmb_chunk_write(&a, len - 4, "lasts", 5));
		REFUSED(-ERANGE, xmb_chunk_write(&a, len, "x", 1));
		REFUSED(-ERANGE, xmb_chunk_write(&a, len + 1, "", 0));
		REFUSED(0, xmb_chunk_write(&a, len, NULL, 0));
		REFUSED(0, xmb_chunk_write(&f, 0, NULL, 0));
		REFUSED(-ERANGE, xmb_chunk_write(&f, 0, "x", 1));
		cr_expect(zero(int, memcmp(lab.base +
					   (size_t)a.region * FRAME_LEN,
					   want, FRAME_LEN)));
		if (round == 0)
			split(&a, 400, &b);
	}
	cr_expect(eq(int, xmb_chunk_write(&a, 1, xmb_chunk_data(&a), 4), 0));
	cr_expect(zero(int, memcmp(xmb_chunk_data(&a), "ffirs", 5)));
}

static void write_stale(void)
{
	xmb_chunk_write(&stale, 0, "x", 1);
}

static void merge_stale_first(void)
{
	xmb_chunk_merge(&stale, &b);
}

static void merge_stale_last(void)
{
	xmb_chunk_merge(&a, &stale);
}

Test(chunk_join, a_stale_copy_is_noticed_by_write_and_merge)
{
	stale = a;
	split(&a, 400, &b);
	lab_expect_death(write_stale, "write: region 0 of domain 1");
	stale = a;
	cr_assert(eq(int, xmb_chunk_merge(&a, &b), 0));
	lab_expect_death(write_stale, "it was released twice");
	split(&a, 400, &b);
	split(&b, 400, &c);
	stale = a;
	cr_assert(eq(int, xmb_chunk_take_prefix(&a, 100, &d), 0));
	stale.len = 400;
	lab_expect_death(merge_stale_first, "merge: region 0 of domain 1");
	stale = b;
	cr_assert(eq(int, xmb_chunk_merge(&b, &c), 0));
	lab_expect_death(merge_stale_last, "merge: region 0 of domain 1");
}

/* Copies of one handle that were trimmed until they look like neighbours. */
Test(chunk_join, two_copies_of_a_chunk_are_not_merged)
{
	stale = a;
	xmb_chunk_truncate(&stale, 0);
	b = a;
	a = (struct xmb_chunk){ 0 };
	lab_expect_death(merge_stale_first, "merge: region 0 of domain 1");
	a = b;
	b = (struct xmb_chunk){ 0 };
	xmb_chunk_truncate(&a, 0);
	split(&a, 0, &c);
	stale = a;
	lab_expect_death(merge_stale_last, "it is a stale copy");
}

static void take_prefix_into_live(void)
{
	xmb_chunk_take_prefix(&a, 1, &other);
}

static void take_suffix_into_live(void)
{
	xmb_chunk_take_suffix(&a, 1, &other);
}

static void take_prefix_into_itself(void)
{
	xmb_chunk_take_prefix(&a, 1, &a);
}

Test(chunk_join, a_live_destination_aborts)
{
	lab_expect_death(take_prefix_into_live, "must hold: !xmb_chunk_is");
	lab_expect_death(take_suffix_into_live, "must hold: !xmb_chunk_is");
	lab_expect_death(take_prefix_into_itself, "must hold: !xmb_chunk_is");
}

Test(chunk_join, take_prefix_into_a_live_chunk_aborts, .signal = SIGABRT)
{
	xmb_chunk_take_prefix(&a, 1, &other);
}

Test(chunk_join, take_suffix_into_a_live_chunk_aborts, .signal = SIGABRT)
{
	xmb_chunk_take_suffix(&a, 1, &other);
}

Test(chunk_join, many_splits_and_merges_leave_no_trace)
{
	for (uint32_t i = 0; i < 200000; i++) {
		split(&a, i % FRAME_LEN, &b);
		split(&b, b.len / 2, &c);
		cr_assert(eq(int, xmb_chunk_merge(&a, &b), 0));
		cr_assert(eq(int, xmb_chunk_merge(&a, &c), 0));
		cr_assert(is_range(&a, 0, FRAME_LEN));
		cr_assert(xmb_chunk_is_excl(&a));
	}
}
