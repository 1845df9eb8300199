/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * lib/buf/chunk: shares of the same bytes are read-only, each is a slot of its
 * own, and a byte is free again when the last of them gave it up.
 */
#include "buf/chunk.h"
#include "buf/cookie.h"
#include "buf/handover.h"
#include "buf/multibuf.h"

#include "buf_lab.h"

enum { FRAME_LEN = 2048, FRAME_CNT = 8, WHO = 5, OTHER = 6 };

static struct lab lab;
static struct xmb_chunk a, b, c, d, e, f, stale;

static void setup(void)
{
	lab_open(&lab, FRAME_LEN, FRAME_CNT, 0);
	cr_assert(eq(int, xmb_chunk_alloc(&lab.cache, &a), 0));
	memset(xmb_chunk_data(&a), '.', FRAME_LEN);
	cr_assert(eq(int, xmb_chunk_slice(&a, 100, 900), 0));
}

static void teardown(void)
{
	struct xmb_chunk *all[] = { &a, &b, &c, &d, &e, &f };

	for (int i = 0; i < 6; i++) {
		cr_expect(xmb_chunk_check(all[i]), "chunk %d", i);
		xmb_chunk_release(all[i], &lab.cache);
	}
	cr_expect(zero(i64, lab.cache.app_cnt));
	lab_close(&lab);
}

TestSuite(chunk_share, .init = setup, .fini = teardown, .timeout = 300);

static bool is_range(const struct xmb_chunk *chunk, uint32_t off, uint32_t len)
{
	return xmb_chunk_is_live(chunk) && chunk->off == off &&
	       chunk->len == len && xmb_chunk_check(chunk);
}

static bool has_end(const struct xmb_chunk *chunk)
{
	return chunk->flags & XMB_CHUNK_END;
}

static void share(struct xmb_chunk *chunk, struct xmb_chunk *clone)
{
	uint32_t off = chunk->off, len = chunk->len;

	cr_assert(eq(int, xmb_chunk_share(chunk, clone), 0));
	cr_expect(is_range(chunk, off, len));
	cr_expect(is_range(clone, off, len));
	cr_expect(xmb_chunk_is_rdonly(chunk));
	cr_expect(xmb_chunk_is_rdonly(clone));
	cr_expect(not(xmb_chunk_is_excl(chunk)));
	cr_expect(not(xmb_chunk_is_excl(clone)));
	cr_expect(ne(u16, chunk->slot, clone->slot));
}

static void stop_sharing(struct xmb_chunk *chunk)
{
	cr_expect(eq(int, xmb_chunk_unshare(chunk), 0));
	cr_expect(not(xmb_chunk_is_rdonly(chunk)));
	cr_expect(xmb_chunk_check(chunk));
}

/* That call is refused; handles, side memory and payload stay. */
#define REFUSED(err, call)                                              \
	do {                                                            \
		struct xmb_chunk was_[] = { a, b, c, d, e, f };         \
		struct xmb_chunk is_[6];                                \
		uint8_t bytes_[FRAME_LEN];                              \
									\
		lab_snap(&lab);                                         \
		memcpy(bytes_, lab.base, FRAME_LEN);                    \
		cr_expect(eq(int, call, err));                          \
		memcpy(is_, (struct xmb_chunk[]){ a, b, c, d, e, f },   \
		       sizeof(is_));                                    \
		cr_expect(zero(int, memcmp(was_, is_, sizeof(was_))));  \
		cr_expect(lab_is_unchanged(&lab));                      \
		cr_expect(zero(int, memcmp(bytes_, lab.base, FRAME_LEN))); \
	} while (0)

Test(chunk_share, an_exclusive_one_becomes_two_slots_of_the_same_bytes)
{
	const struct xmb_tracker *t;
	uint32_t gen = a.slot;

	share(&a, &b);
	cr_expect(eq(u32, a.region, b.region));
	cr_expect(eq(ptr, xmb_chunk_data(&a), xmb_chunk_data(&b)));
	t = &lab.pool.domain.trackers[a.region];
	cr_expect(eq(u32, t->slot[0], t->slot[1]));
	/* As at a first split: copies of the exclusive handle are stale. */
	cr_expect(eq(u32, xmb_frame_load(&lab.pool.domain, a.region),
		     xmb_frame_word(XMB_FRAME_APP, 0, gen + 1)));
	cr_expect(eq(i64, lab.cache.app_cnt, 1));
}

static void refuse_all(struct xmb_chunk *chunk, struct xmb_chunk *neighbour)
{
	const size_t ns[] = { 1, chunk->len, UINT32_MAX, SIZE_MAX };

	for (size_t i = 0; i < 4; i++) {
		size_t n = ns[i];

		REFUSED(-EPERM, xmb_chunk_claim_prefix(chunk, n));
		REFUSED(-EPERM, xmb_chunk_claim_suffix(chunk, n));
		REFUSED(-EPERM, xmb_chunk_split(chunk, n, &f));
		REFUSED(-EPERM, xmb_chunk_take_prefix(chunk, n, &f));
		REFUSED(-EPERM, xmb_chunk_take_suffix(chunk, n, &f));
		REFUSED(-EPERM, xmb_chunk_write(chunk, 0, "x", n));
		REFUSED(-EPERM, xmb_chunk_write(chunk, n, "x", 1));
	}
	REFUSED(0, xmb_chunk_claim_prefix(chunk, 0));
	REFUSED(0, xmb_chunk_claim_suffix(chunk, 0));
	REFUSED(-EPERM, xmb_chunk_split(chunk, 0, &f));
	REFUSED(-EPERM, xmb_chunk_take_prefix(chunk, 0, &f));
	REFUSED(-EPERM, xmb_chunk_take_suffix(chunk, 0, &f));
	REFUSED(-EPERM, xmb_chunk_write(chunk, 0, "", 0));
	REFUSED(-EPERM, xmb_chunk_merge(chunk, neighbour));
	REFUSED(-EPERM, xmb_chunk_merge(neighbour, chunk));
	REFUSED(-ERANGE, xmb_chunk_discard_prefix(chunk, chunk->len + 1u));
	REFUSED(-ERANGE, xmb_chunk_truncate(chunk, chunk->len + 1u));
	REFUSED(-ERANGE, xmb_chunk_slice(chunk, 0, chunk->len + 1u));
}

Test(chunk_share, a_read_only_one_is_not_grown_cut_joined_or_written)
{
	cr_assert(eq(int, xmb_chunk_split(&a, 400, &c), 0));
	share(&a, &b);
	refuse_all(&a, &c);
	refuse_all(&b, &c);
	/* Even when nobody is left who could mind, until it says so. */
	xmb_chunk_release(&a, &lab.cache);
	xmb_chunk_release(&c, &lab.cache);
	REFUSED(-EINVAL, xmb_chunk_merge(&b, &c));
	REFUSED(-EPERM, xmb_chunk_claim_prefix(&b, 1));
	REFUSED(-EPERM, xmb_chunk_write(&b, 0, "x", 1));
	REFUSED(-EPERM, xmb_chunk_split(&b, 1, &f));
	stop_sharing(&b);
	cr_expect(eq(int, xmb_chunk_claim_prefix(&b, 1), 0));
}

Test(chunk_share, shares_are_trimmed_each_for_itself)
{
	share(&a, &b);
	share(&b, &c);
	cr_expect(eq(int, xmb_chunk_discard_prefix(&a, 10), 0));
	cr_expect(eq(int, xmb_chunk_truncate(&b, 10), 0));
	cr_expect(eq(int, xmb_chunk_slice(&c, 5, 15), 0));
	cr_expect(is_range(&a, 110, 790));
	cr_expect(is_range(&b, 100, 10));
	cr_expect(is_range(&c, 105, 10));
	cr_expect(xmb_chunk_is_rdonly(&a));
	cr_expect(xmb_chunk_is_rdonly(&b));
	cr_expect(xmb_chunk_is_rdonly(&c));
}

Test(chunk_share, there_is_a_slot_for_five)
{
	share(&a, &b);
	share(&a, &c);
	share(&c, &d);
	share(&b, &e);
	REFUSED(-ENOSPC, xmb_chunk_share(&a, &f));
	REFUSED(-ENOSPC, xmb_chunk_share(&e, &f));
	xmb_chunk_release(&c, &lab.cache);
	share(&e, &f);
}

Test(chunk_share, a_full_region_leaves_the_original_writable)
{
	cr_assert(eq(int, xmb_chunk_split(&a, 400, &b), 0));
	cr_assert(eq(int, xmb_chunk_split(&b, 100, &c), 0));
	cr_assert(eq(int, xmb_chunk_split(&c, 100, &d), 0));
	cr_assert(eq(int, xmb_chunk_split(&d, 100, &e), 0));
	REFUSED(-ENOSPC, xmb_chunk_share(&a, &f));
	cr_expect(eq(int, xmb_chunk_write(&a, 0, "x", 1), 0));
}

Test(chunk_share, of_no_chunk_there_is_no_share)
{
	REFUSED(-EINVAL, xmb_chunk_share(&b, &c));
	REFUSED(0, xmb_chunk_unshare(&b));
}

Test(chunk_share, unshare_waits_until_nobody_reads_along)
{
	share(&a, &b);
	share(&a, &c);
	REFUSED(-EBUSY, xmb_chunk_unshare(&a));
	REFUSED(-EBUSY, xmb_chunk_unshare(&b));
	xmb_chunk_release(&c, &lab.cache);
	REFUSED(-EBUSY, xmb_chunk_unshare(&a));
	/* One byte of overlap is one too many. */
	cr_assert(eq(int, xmb_chunk_truncate(&a, 401), 0));
	cr_assert(eq(int, xmb_chunk_discard_prefix(&b, 400), 0));
	REFUSED(-EBUSY, xmb_chunk_unshare(&a));
	REFUSED(-EBUSY, xmb_chunk_unshare(&b));
	cr_assert(eq(int, xmb_chunk_discard_prefix(&b, 1), 0));
	stop_sharing(&a);
	cr_expect(not(xmb_chunk_is_excl(&a)));
	cr_expect(xmb_chunk_is_rdonly(&b));
	stop_sharing(&b);
	cr_expect(eq(int, xmb_chunk_write(&a, 0, "x", 1), 0));
	cr_expect(eq(int, xmb_chunk_merge(&a, &b), 0));
	cr_expect(is_range(&a, 100, 800));
	REFUSED(0, xmb_chunk_unshare(&a));
}

Test(chunk_share, the_only_one_left_becomes_exclusive)
{
	share(&a, &b);
	stale = b;
	xmb_chunk_release(&a, &lab.cache);
	b.flags |= XMB_CHUNK_END;
	stop_sharing(&b);
	cr_expect(xmb_chunk_is_excl(&b));
	cr_expect(has_end(&b));
	cr_expect(is_range(&b, 100, 800));
	cr_expect(eq(int, xmb_chunk_claim_prefix(&b, 100), 0));
	cr_expect(not(xmb_chunk_check(&stale)));
}

Test(chunk_share, one_of_no_bytes_shares_none)
{
	share(&a, &b);
	cr_assert(eq(int, xmb_chunk_slice(&b, 300, 300), 0));
	stop_sharing(&a);
	stop_sharing(&b);
	cr_expect(eq(int, xmb_chunk_write(&a, 299, "xx", 2), 0));
	/* In the midst of a it is shut in until a goes. */
	REFUSED(-EBUSY, xmb_chunk_claim_prefix(&b, 1));
	REFUSED(-EBUSY, xmb_chunk_claim_suffix(&b, 1));
	share(&b, &c);
	cr_expect(eq(int, xmb_chunk_unshare(&c), 0));
	cr_expect(eq(int, xmb_chunk_unshare(&b), 0));
	xmb_chunk_release(&a, &lab.cache);
	xmb_chunk_release(&c, &lab.cache);
	cr_expect(eq(int, xmb_chunk_claim_prefix(&b, 400), 0));
}

Test(chunk_share, a_neighbour_claims_a_byte_when_the_last_share_gave_it_up)
{
	cr_assert(eq(int, xmb_chunk_split(&a, 400, &b), 0));
	share(&a, &c);
	REFUSED(-EBUSY, xmb_chunk_claim_prefix(&b, 1));
	cr_assert(eq(int, xmb_chunk_truncate(&a, 300), 0));
	REFUSED(-EBUSY, xmb_chunk_claim_prefix(&b, 1));
	cr_assert(eq(int, xmb_chunk_truncate(&c, 350), 0));
	REFUSED(-EBUSY, xmb_chunk_claim_prefix(&b, 51));
	cr_expect(eq(int, xmb_chunk_claim_prefix(&b, 50), 0));
	xmb_chunk_release(&c, &lab.cache);
	REFUSED(-EBUSY, xmb_chunk_claim_prefix(&b, 51));
	stop_sharing(&a);
	cr_expect(eq(int, xmb_chunk_claim_prefix(&b, 50), 0));
	REFUSED(-EBUSY, xmb_chunk_claim_prefix(&b, 1));
}

Test(chunk_share, the_end_of_a_fragment_is_shared_too)
{
	a.flags |= XMB_CHUNK_END;
	share(&a, &b);
	cr_expect(has_end(&a));
	cr_expect(has_end(&b));
	share(&b, &c);
	cr_expect(has_end(&c));
	xmb_chunk_release(&c, &lab.cache);
	xmb_chunk_truncate(&a, 100);
	xmb_chunk_discard_prefix(&b, 100);
	stop_sharing(&b);
	cr_expect(has_end(&b));
}

Test(chunk_share, exclusive_and_read_only_never_meet)
{
	stale = a;
	stale.flags |= XMB_CHUNK_RDONLY;
	cr_expect(not(xmb_chunk_check(&stale)));
	share(&a, &b);
	stale = a;
	stale.flags |= XMB_CHUNK_END;
	cr_expect(xmb_chunk_check(&stale));
	stale.flags |= XMB_CHUNK_EXCL;
	cr_expect(not(xmb_chunk_check(&stale)));
	stale = a;
	stale.flags |= 8;
	cr_expect(not(xmb_chunk_check(&stale)));
}

static void release_stale(void)
{
	xmb_chunk_release(&stale, &lab.cache);
}

static void split_stale(void)
{
	xmb_chunk_split(&stale, 1, &f);
}

static void claim_stale(void)
{
	xmb_chunk_claim_prefix(&stale, 1);
}

static void share_stale(void)
{
	xmb_chunk_share(&stale, &f);
}

static void write_stale(void)
{
	xmb_chunk_write(&stale, 0, "x", 1);
}

static void merge_stale(void)
{
	xmb_chunk_merge(&stale, &a);
}

static void send_stale(void)
{
	bool is_excl;

	xmb_handover_tx(&lab.cache, WHO, &stale, &is_excl);
}

static void unshare_stale(void)
{
	xmb_chunk_unshare(&stale);
}

static void expect_stale(const char *text)
{
	lab_expect_death(release_stale, text);
	lab_expect_death(split_stale, text);
	lab_expect_death(claim_stale, text);
	lab_expect_death(share_stale, text);
	lab_expect_death(write_stale, text);
	lab_expect_death(send_stale, text);
}

Test(chunk_share, a_stale_copy_is_noticed)
{
	stale = a;
	share(&a, &b);
	expect_stale("most likely it is a stale copy");
	stale = b;
	xmb_chunk_release(&b, &lab.cache);
	expect_stale("most likely it was released twice");
	lab_expect_death(unshare_stale, "unshare: region 0 of domain 1");
	lab_expect_death(merge_stale, "merge: region 0 of domain 1");
	stale = a;
	stop_sharing(&a);
	expect_stale("in a region in state app");
	lab_expect_death(unshare_stale, "unshare: region 0 of domain 1");
	share(&a, &b);
	stale = b;
	xmb_chunk_discard_prefix(&b, 1);
	expect_stale("most likely it is a stale copy");
	lab_expect_death(unshare_stale, "most likely it is a stale copy");
}

Test(chunk_share, releasing_a_stale_share_aborts, .signal = SIGABRT)
{
	share(&a, &b);
	stale = b;
	xmb_chunk_release(&b, &lab.cache);
	xmb_chunk_release(&b, &lab.cache);
	xmb_chunk_release(&stale, &lab.cache);
}

Test(chunk_share, sharing_into_a_live_chunk_aborts, .signal = SIGABRT)
{
	cr_assert(eq(int, xmb_chunk_alloc(&lab.cache, &b), 0));
	xmb_chunk_share(&a, &b);
}

Test(chunk_share, sharing_into_itself_aborts, .signal = SIGABRT)
{
	xmb_chunk_share(&a, &a);
}

Test(chunk_share, the_frame_comes_home_with_the_last_share_whatever_the_order)
{
	const int turns[6][3] = { { 0, 1, 2 }, { 0, 2, 1 }, { 1, 0, 2 },
				  { 1, 2, 0 }, { 2, 0, 1 }, { 2, 1, 0 } };

	for (int order = 0; order < 6; order++) {
		struct xmb_chunk three[3] = { 0 };
		uint32_t frame, before = lab.cache.cnt;

		cr_assert(eq(int, xmb_chunk_alloc(&lab.cache, &three[0]), 0));
		frame = three[0].region;
		share(&three[0], &three[1]);
		share(&three[0], &three[2]);
		for (int i = 0; i < 3; i++) {
			cr_expect(eq(u32, lab_state(&lab, frame),
				     XMB_FRAME_APP));
			xmb_chunk_release(&three[turns[order][i]], &lab.cache);
		}
		cr_expect(eq(u32, lab_state(&lab, frame), XMB_FRAME_FREE));
		cr_expect(eq(u32, lab.cache.cnt, before));
	}
}

/* Two of the same start in one ring: the kernel names no more than that. */
Test(chunk_share, of_two_that_are_sent_the_shorter_is_completed_first)
{
	bool is_excl = true;
	uint64_t addr;

	for (int order = 0; order < 2; order++) {
		struct xmb_chunk *first = order ? &b : &a;
		struct xmb_chunk *second = order ? &a : &b;

		share(&a, &b);
		share(&a, &c);
		xmb_chunk_truncate(&b, 300);
		addr = xmb_handover_tx(&lab.cache, WHO, first, &is_excl);
		cr_expect(not(is_excl));
		cr_expect(eq(u64, xmb_handover_tx(&lab.cache, WHO, second,
						  &is_excl), addr));
		cr_expect(not(is_excl));
		xmb_chunk_discard_prefix(&c, 290);
		cr_expect(eq(int, xmb_chunk_unshare(&c), -EBUSY));
		cr_expect(eq(int, xmb_handover_complete(&lab.cache, OTHER,
							addr), -EPROTO));
		cr_expect(eq(int, xmb_handover_complete(&lab.cache, WHO, addr),
			     0));
		/* The device may read the longer one yet. */
		cr_expect(eq(int, xmb_chunk_unshare(&c), -EBUSY));
		xmb_chunk_discard_prefix(&c, 20);
		cr_expect(eq(int, xmb_chunk_unshare(&c), -EBUSY));
		cr_expect(eq(int, xmb_handover_complete(&lab.cache, WHO, addr),
			     0));
		cr_expect(eq(int, xmb_handover_complete(&lab.cache, WHO, addr),
			     -EPROTO));
		stop_sharing(&c);
		cr_expect(xmb_chunk_is_excl(&c));
		cr_assert(eq(int, xmb_chunk_claim_prefix(&c, 310), 0));
		a = c;
		c = (struct xmb_chunk){ 0 };
	}
}

Test(chunk_share, two_rings_send_the_same_bytes_each_for_itself)
{
	bool is_excl;
	uint64_t addr;
	uint32_t frame = a.region;

	share(&a, &b);
	addr = xmb_handover_tx(&lab.cache, WHO, &a, &is_excl);
	cr_expect(eq(u64, xmb_handover_tx(&lab.cache, OTHER, &b, &is_excl),
		     addr));
	cr_expect(eq(int, xmb_handover_complete(&lab.cache, OTHER, addr), 0));
	cr_expect(eq(int, xmb_handover_complete(&lab.cache, OTHER, addr),
		     -EPROTO));
	cr_expect(eq(u32, lab_state(&lab, frame), XMB_FRAME_APP));
	cr_expect(eq(int, xmb_handover_complete(&lab.cache, WHO, addr), 0));
	cr_expect(eq(u32, lab_state(&lab, frame), XMB_FRAME_FREE));
}

Test(chunk_share, the_last_share_is_sent_as_a_whole_frame)
{
	bool is_excl = false;
	uint64_t addr;
	uint32_t frame = a.region;

	share(&a, &b);
	xmb_chunk_release(&a, &lab.cache);
	cr_expect(xmb_chunk_is_rdonly(&b));
	addr = xmb_handover_tx(&lab.cache, WHO, &b, &is_excl);
	cr_expect(is_excl);
	cr_expect(eq(u32, lab_state(&lab, frame), XMB_FRAME_TX));
	cr_expect(eq(int, xmb_handover_complete(&lab.cache, WHO, addr), 1));
}

Test(chunk_share, what_a_closed_ring_had_keeps_the_bytes_until_unhold)
{
	bool is_excl;

	share(&a, &b);
	xmb_handover_tx(&lab.cache, WHO, &b, &is_excl);
	cr_expect(eq(u32, xmb_handover_hold(&lab.pool, WHO).slot_cnt, 1));
	REFUSED(-EBUSY, xmb_chunk_unshare(&a));
	cr_expect(eq(u32, xmb_handover_unhold(&lab.cache, WHO), 1));
	stop_sharing(&a);
	cr_expect(xmb_chunk_is_excl(&a));
}

/* The cookie goes with the frame, which is home when its last share is. */
Test(chunk_share, a_cookie_comes_back_once_and_says_how_the_last_share_went)
{
	struct xmb_cookie_box box;
	struct xmb_completion done[2];
	bool is_excl;

	cr_assert(eq(int, xmb_cookie_box_init(&box, 4), 0));
	for (uint32_t is_sent = 0; is_sent < 2; is_sent++) {
		struct xmb_multibuf mb = { 0 };
		uint64_t addr;

		xmb_multibuf_init(&mb, &a);
		cr_assert(eq(int, xmb_cookie_attach(&box, &mb, 77), 0));
		cr_assert(eq(int, xmb_multibuf_pop_front(&mb, &a, &lab.cache),
			     0));
		share(&a, &b);
		xmb_multibuf_init(&mb, &b);
		cr_expect(eq(int, xmb_cookie_attach(&box, &mb, 78), -EBUSY));
		cr_assert(eq(int, xmb_multibuf_pop_front(&mb, &b, &lab.cache),
			     0));
		addr = xmb_handover_tx(&lab.cache, WHO, &b, &is_excl);
		if (is_sent)
			xmb_chunk_release(&a, &lab.cache);
		else
			xmb_handover_complete(&lab.cache, WHO, addr);
		cr_expect(zero(u32, xmb_cookie_reap(&box, done, 2)));
		if (is_sent)
			xmb_handover_complete(&lab.cache, WHO, addr);
		xmb_chunk_release(&a, &lab.cache);
		cr_assert(eq(u32, xmb_cookie_reap(&box, done, 2), 1));
		cr_expect(eq(u64, done[0].cookie, 77));
		cr_expect(eq(u32, done[0].sent_cnt, is_sent));
		cr_expect(eq(u32, done[0].released_cnt, !is_sent));
		cr_assert(eq(int, xmb_chunk_alloc(&lab.cache, &a), 0));
	}
	cr_expect(eq(int, xmb_cookie_box_fini(&box), 0));
}
