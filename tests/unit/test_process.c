/* SPDX-License-Identifier: BSD-2-Clause */
/* lib/buf: pools that processes share, and chunks on their way between them. */
#include "buf/cookie.h"
#include "process_lab.h"

#include <errno.h>

/* Owner ids and joining. */

Test(process, an_owner_id_is_taken_before_there_is_a_domain)
{
	struct lab other = { 0 };

	cr_expect(eq(u32, XMB_OWNER_SELF, 1));
	cr_expect(eq(int, xmb_domain_set_owner(0), -EINVAL));
	cr_expect(eq(int, xmb_domain_set_owner(XMB_OWNER_MAX + 1), -EINVAL));
	cr_expect(eq(int, xmb_domain_set_owner(257), -EINVAL));
	cr_expect(eq(u32, XMB_OWNER_SELF, 1));
	cr_expect(eq(int, xmb_domain_set_owner(XMB_OWNER_MAX), 0));
	cr_expect(eq(u32, XMB_OWNER_SELF, XMB_OWNER_MAX));
	lab_open(&other, FRAME_LEN, 4, 0);
	cr_expect(eq(int, xmb_domain_set_owner(7), -EBUSY));
	cr_expect(eq(u32, XMB_OWNER_SELF, XMB_OWNER_MAX));
	lab_close(&other);
	cr_expect(eq(int, xmb_domain_set_owner(7), 0));
}

Test(process, slots_are_taken_in_the_name_of_the_process)
{
	struct xmb_chunk a = { 0 }, b = { 0 };

	cr_assert(eq(int, xmb_domain_set_owner(9), 0));
	open_two();
	cr_assert(eq(int, xmb_chunk_alloc(&lab.cache, &a), 0));
	cr_assert(eq(int, xmb_chunk_split(&a, 100, &b), 0));
	cr_expect(eq(u32, owner_of(&a), 9));
	cr_expect(eq(u32, owner_of(&b), 9));
	xmb_chunk_release(&a, &lab.cache);
	xmb_chunk_release(&b, &lab.cache);
	lab_close(&lab);
}

Test(process, join_finds_the_pool_at_another_address)
{
	struct xmb_pool_opts opts = { .frame_len = FRAME_LEN,
				      .frame_cnt = FRAME_CNT,
				      .spill_cnt = SPILL_CNT };
	struct xmb_pool joined = { 0 };

	open_two();
	opts.base = lab.base;
	cr_expect(eq(int, xmb_pool_join(&joined, lab.side, &opts), 0));
	cr_expect(eq(u32, xmb_pool_free_cnt(&joined), FRAME_CNT));
	cr_expect(ne(int, joined.domain.id, lab.pool.domain.id));
	cr_expect(xmb_pool_check(&joined, NULL, 0));
	xmb_pool_fini(&joined);
	close_two();
}

Test(process, join_refuses_another_shape)
{
	struct xmb_pool_opts good = { .frame_len = FRAME_LEN,
				      .frame_cnt = FRAME_CNT,
				      .spill_cnt = SPILL_CNT };
	struct xmb_pool_opts bad[3] = { good, good, good };
	struct xmb_pool joined = { 0 }, none = { 0 };

	open_two();
	bad[0].frame_len *= 2;
	bad[1].frame_cnt++;
	bad[2].spill_cnt = 0;
	lab_snap(&lab);
	for (int i = 0; i < 3; i++) {
		bad[i].base = lab.base;
		cr_expect(eq(int, xmb_pool_join(&joined, lab.side, &bad[i]),
			     -EINVAL));
	}
	cr_expect(zero(int, memcmp(&joined, &none, sizeof(none))));
	cr_expect(lab_is_unchanged(&lab));
	close_two();
}

Test(process, join_needs_a_place_in_the_table)
{
	struct xmb_pool_opts opts = { .frame_len = FRAME_LEN,
				      .frame_cnt = FRAME_CNT,
				      .spill_cnt = SPILL_CNT };
	static struct xmb_domain full[254];
	struct xmb_pool joined = { 0 };

	open_two();
	opts.base = lab.base;
	for (int i = 0; i < 254; i++)
		cr_assert(eq(int, xmb_domain_add(&full[i]), 0));
	cr_expect(eq(int, xmb_pool_join(&joined, lab.side, &opts), -ENOSPC));
	for (int i = 0; i < 254; i++)
		xmb_domain_remove(&full[i]);
	close_two();
}

/* Free things carry the name of the cache that has them. */

Test(process, cached_frames_are_in_the_name_of_their_cache)
{
	uint32_t first;

	open_two();
	cr_assert(eq(u32, xmb_cache_fetch(&theirs, 5, false), 5));
	first = theirs.frames[0];
	for (uint32_t i = 0; i < 5; i++)
		cr_expect(eq(u32, who_of(theirs.frames[i]), DEAD_WHO));
	xmb_cache_flush(&theirs);
	cr_expect(zero(u32, who_of(first)));
	cr_expect(eq(u32, who_of(theirs.frames[0]), DEAD_WHO));
	first = theirs.frames[0];
	xmb_cache_fini(&theirs);
	cr_expect(zero(u32, who_of(first)));
	close_two();
}

Test(process, a_frame_that_went_home_by_another_pool_is_of_nobody)
{
	static struct lab other;
	struct xmb_chunk chunk = { 0 };
	uint32_t frame;

	open_two();
	lab_open(&other, FRAME_LEN, 4, 0);
	other.cache.who = 5;
	cr_assert(eq(int, xmb_chunk_alloc(&lab.cache, &chunk), 0));
	frame = chunk.region;
	xmb_chunk_release(&chunk, &other.cache);
	cr_expect(eq(int, (int)lab_state(&lab, frame), XMB_FRAME_FREE));
	cr_expect(zero(u32, who_of(frame)));
	lab_close(&other);
	close_two();
}

Test(process, who_is_left_alone_in_a_frame_writes_its_name)
{
	struct xmb_chunk a = { 0 }, b = { 0 }, c = { 0 };
	struct xmb_handover_desc desc;

	open_two();
	cr_assert(eq(int, xmb_chunk_alloc(&lab.cache, &a), 0));
	cr_assert(eq(int, xmb_chunk_split(&a, 100, &b), 0));
	cr_assert(eq(int, xmb_handover_offer(&lab.cache, &b, &desc), 0));
	be(DEAD);
	cr_assert(eq(int, xmb_handover_adopt(&theirs, &desc, &b), 0));
	be(WE);
	xmb_chunk_release(&a, &lab.cache);
	be(DEAD);
	cr_expect(eq(u32, who_of(b.region), WE_WHO));
	cr_expect(eq(int, xmb_chunk_claim_prefix(&b, 100), 0));
	cr_expect(xmb_chunk_is_excl(&b));
	cr_expect(eq(u32, who_of(b.region), DEAD));
	cr_expect(eq(int, xmb_chunk_split(&b, 1, &c), 0));
	xmb_chunk_release(&b, &theirs);
	xmb_chunk_release(&c, &theirs);
	xmb_cache_fini(&theirs);
	close_two();
}

/* Offers. */

static void open_offer(struct xmb_chunk *chunk, struct xmb_chunk *rest,
		       uint32_t at)
{
	open_two();
	cr_assert(eq(int, xmb_chunk_alloc(&lab.cache, chunk), 0));
	memset(xmb_chunk_data(chunk), 0x5a, chunk->len);
	if (rest)
		cr_assert(eq(int, xmb_chunk_split(chunk, at, rest), 0));
}

static void end_offer(struct xmb_chunk *chunk, struct xmb_chunk *rest)
{
	xmb_chunk_release(chunk, &theirs);
	xmb_cache_fini(&theirs);
	be(WE);
	if (rest)
		xmb_chunk_release(rest, &lab.cache);
	cr_expect(zero(i64, lab.cache.app_cnt + theirs.app_cnt));
	close_two();
}

Test(process, a_whole_frame_changes_hands)
{
	struct xmb_chunk a = { 0 }, b = { 0 };
	struct xmb_handover_desc desc;

	open_offer(&a, NULL, 0);
	cr_assert(eq(int, xmb_chunk_slice(&a, 10, 50), 0));
	cr_assert(eq(int, xmb_handover_offer(&lab.cache, &a, &desc), 0));
	cr_expect(zero(int, a.dom));
	cr_expect(zero(i64, lab.cache.app_cnt));
	cr_expect(eq(u32, who_of(desc.region), WE));
	be(DEAD);
	cr_assert(eq(int, xmb_handover_adopt(&theirs, &desc, &b), 0));
	cr_expect(eq(i64, theirs.app_cnt, 1));
	cr_expect(eq(u32, who_of(desc.region), DEAD_WHO));
	cr_expect(eq(u32, b.off, 10));
	cr_expect(eq(u32, b.len, 40));
	cr_expect(eq(int, xmb_chunk_data(&b)[39], 0x5a));
	cr_expect(xmb_chunk_check(&b));
	end_offer(&b, NULL);
}

Test(process, a_piece_of_a_frame_changes_hands_with_its_flags)
{
	struct xmb_chunk a = { 0 }, b = { 0 }, c = { 0 };
	struct xmb_handover_desc desc;

	open_offer(&a, &b, 100);
	b.flags |= XMB_CHUNK_END;
	cr_assert(eq(int, xmb_handover_offer(&lab.cache, &b, &desc), 0));
	be(DEAD);
	cr_assert(eq(int, xmb_handover_adopt(&theirs, &desc, &c), 0));
	cr_expect(eq(u32, owner_of(&c), DEAD));
	cr_expect(eq(u32, owner_of(&a), WE));
	cr_expect(eq(int, c.flags, XMB_CHUNK_END));
	cr_expect(eq(u32, c.off, 100));
	cr_expect(eq(int, xmb_chunk_claim_prefix(&c, 1), -EBUSY));
	end_offer(&c, &a);
}

Test(process, the_sender_may_take_back_what_nobody_adopted)
{
	struct xmb_chunk a = { 0 }, b = { 0 };
	struct xmb_handover_desc desc[2];

	open_offer(&a, &b, 100);
	cr_assert(eq(int, xmb_handover_offer(&lab.cache, &a, &desc[0]), 0));
	cr_assert(eq(int, xmb_handover_offer(&lab.cache, &b, &desc[1]), 0));
	cr_expect(eq(int, xmb_handover_adopt(&lab.cache, &desc[0], &a), 0));
	cr_expect(eq(int, xmb_handover_adopt(&lab.cache, &desc[1], &b), 0));
	xmb_chunk_release(&b, &lab.cache);
	cr_assert(eq(int, xmb_chunk_claim_suffix(&a, 1), 0));
	cr_assert(eq(int, xmb_handover_offer(&lab.cache, &a, &desc[0]), 0));
	cr_expect(eq(int, xmb_handover_adopt(&lab.cache, &desc[0], &a), 0));
	cr_expect(eq(u32, who_of(a.region), WE_WHO));
	xmb_chunk_release(&a, &lab.cache);
	close_two();
}

Test(process, an_offer_is_adopted_once)
{
	struct xmb_chunk a = { 0 }, b = { 0 }, c = { 0 }, d = { 0 };
	struct xmb_handover_desc desc[2];

	open_offer(&a, NULL, 0);
	cr_assert(eq(int, xmb_chunk_alloc(&lab.cache, &b), 0));
	cr_assert(eq(int, xmb_chunk_split(&b, 10, &c), 0));
	cr_assert(eq(int, xmb_handover_offer(&lab.cache, &a, &desc[0]), 0));
	cr_assert(eq(int, xmb_handover_offer(&lab.cache, &b, &desc[1]), 0));
	be(DEAD);
	cr_assert(eq(int, xmb_handover_adopt(&theirs, &desc[0], &a), 0));
	cr_assert(eq(int, xmb_handover_adopt(&theirs, &desc[1], &b), 0));
	be(WE);
	lab_snap(&lab);
	cr_expect(
		eq(int, xmb_handover_adopt(&lab.cache, &desc[0], &d), -ENOENT));
	cr_expect(
		eq(int, xmb_handover_adopt(&lab.cache, &desc[1], &d), -ENOENT));
	cr_expect(zero(int, d.dom));
	cr_expect(lab_is_unchanged(&lab));
	be(DEAD);
	xmb_chunk_release(&a, &theirs);
	end_offer(&b, &c);
}

Test(process, the_highest_owner_id_may_offer_too)
{
	struct xmb_chunk a = { 0 }, b = { 0 };
	struct xmb_handover_desc desc;

	open_two();
	be(XMB_OWNER_MAX);
	cr_assert(eq(int, xmb_chunk_alloc(&lab.cache, &a), 0));
	cr_assert(eq(int, xmb_handover_offer(&lab.cache, &a, &desc), 0));
	be(DEAD);
	cr_expect(eq(int, xmb_handover_adopt(&theirs, &desc, &b), 0));
	end_offer(&b, NULL);
}

Test(process, an_empty_handle_cannot_be_offered)
{
	struct xmb_chunk none = { 0 };
	struct xmb_handover_desc desc = { 0 };

	open_two();
	cr_expect(
		eq(int, xmb_handover_offer(&lab.cache, &none, &desc), -EINVAL));
	cr_expect(zero(int, desc.owner));
	close_two();
}

Test(process, a_frame_with_a_cookie_cannot_be_offered)
{
	struct xmb_cookie_box box;
	struct xmb_multibuf mb = { 0 };
	struct xmb_chunk a = { 0 };
	struct xmb_completion done;
	struct xmb_handover_desc desc = { 0 };

	open_two();
	cr_assert(eq(int, xmb_cookie_box_init(&box, 1), 0));
	cr_assert(eq(int, xmb_chunk_alloc(&lab.cache, &a), 0));
	cr_assert(eq(int, xmb_multibuf_push_back(&mb, &a, &lab.cache), 0));
	cr_assert(eq(int, xmb_cookie_attach(&box, &mb, 77), 0));
	cr_assert(eq(int, xmb_multibuf_pop_front(&mb, &a, &lab.cache), 0));
	lab_snap(&lab);
	cr_expect(eq(int, xmb_handover_offer(&lab.cache, &a, &desc), -EBUSY));
	cr_expect(lab_is_unchanged(&lab));
	cr_expect(xmb_chunk_check(&a));
	xmb_chunk_release(&a, &lab.cache);
	cr_expect(eq(u32, xmb_cookie_reap(&box, &done, 1), 1));
	cr_expect(eq(int, xmb_cookie_box_fini(&box), 0));
	close_two();
}

static void refuse(struct xmb_handover_desc desc)
{
	struct xmb_chunk chunk = { 0 };

	cr_expect(eq(int, xmb_handover_adopt(&theirs, &desc, &chunk), -EPROTO));
	cr_expect(zero(int, chunk.dom));
}

/* Each field of two good descriptors is made bad in turn. */
Test(process, a_descriptor_that_lies_is_refused)
{
	struct xmb_chunk a = { 0 }, b = { 0 }, c = { 0 };
	struct xmb_handover_desc excl, slot, bad;

	open_offer(&a, &b, 100);
	cr_assert(eq(int, xmb_chunk_alloc(&lab.cache, &c), 0));
	cr_assert(eq(int, xmb_handover_offer(&lab.cache, &c, &excl), 0));
	cr_assert(eq(int, xmb_handover_offer(&lab.cache, &b, &slot), 0));
	be(DEAD);
	lab_snap(&lab);
	for (int i = 0; i < 2; i++) {
		const struct xmb_handover_desc good = i ? excl : slot;

		bad = good, bad.region = FRAME_CNT, refuse(bad);
		bad = good, bad.owner = 0, refuse(bad);
		bad = good, bad.owner = XMB_OWNER_SUP, refuse(bad);
		bad = good, bad.flags |= 0x80, refuse(bad);
		bad = good, bad.off = FRAME_LEN + 1, bad.len = 0, refuse(bad);
		bad = good, bad.len = FRAME_LEN - good.off + 1, refuse(bad);
		bad = good, bad.len = UINT32_MAX, refuse(bad);
	}
	bad = slot, bad.slot = XMB_TRACKER_SLOTS, refuse(bad);
	/* Who is alone in a region shares it with nobody. */
	bad = excl, bad.flags |= XMB_CHUNK_RDONLY, refuse(bad);
	bad = slot, bad.off++, bad.len--, refuse(bad);
	bad = slot, bad.len--, refuse(bad);
	cr_expect(lab_is_unchanged(&lab));
	/* The edges of what is right. */
	cr_expect(eq(int, xmb_handover_adopt(&theirs, &excl, &c), 0));
	cr_expect(eq(u32, c.len, FRAME_LEN));
	cr_expect(eq(int, xmb_handover_adopt(&theirs, &slot, &b), 0));
	xmb_chunk_release(&c, &theirs);
	end_offer(&b, &a);
}

Test(process, what_is_no_offer_of_the_sender_is_not_found)
{
	struct xmb_chunk a = { 0 }, b = { 0 }, c = { 0 }, d = { 0 };
	struct xmb_handover_desc excl, slot, bad;

	open_offer(&a, &b, 100);
	cr_assert(eq(int, xmb_chunk_alloc(&lab.cache, &c), 0));
	cr_assert(eq(int, xmb_handover_offer(&lab.cache, &c, &excl), 0));
	cr_assert(eq(int, xmb_handover_offer(&lab.cache, &b, &slot), 0));
	be(DEAD);
	lab_snap(&lab);
	bad = excl, bad.slot++;
	cr_expect(eq(int, xmb_handover_adopt(&theirs, &bad, &d), -ENOENT));
	bad = excl, bad.owner = 3;
	cr_expect(eq(int, xmb_handover_adopt(&theirs, &bad, &d), -ENOENT));
	/* A frame that is split has no exclusive chunk. */
	bad = excl, bad.region = slot.region;
	cr_expect(eq(int, xmb_handover_adopt(&theirs, &bad, &d), -ENOENT));
	bad.owner = WE_WHO;
	bad.slot = (uint16_t)xmb_frame_word_gen(
		xmb_frame_load(&lab.pool.domain, bad.region));
	cr_expect(eq(int, xmb_handover_adopt(&theirs, &bad, &d), -ENOENT));
	bad = slot, bad.owner = 3;
	cr_expect(eq(int, xmb_handover_adopt(&theirs, &bad, &d), -ENOENT));
	bad = slot, bad.slot = 4;
	cr_expect(eq(int, xmb_handover_adopt(&theirs, &bad, &d), -ENOENT));
	cr_expect(zero(int, d.dom));
	cr_expect(lab_is_unchanged(&lab));
	cr_expect(eq(int, xmb_handover_adopt(&theirs, &excl, &c), 0));
	cr_expect(eq(int, xmb_handover_adopt(&theirs, &slot, &b), 0));
	xmb_chunk_release(&c, &theirs);
	end_offer(&b, &a);
}

/* Misuse. */

static struct xmb_chunk stale;
static struct xmb_handover_desc stale_desc;

static void offer_stale(void)
{
	xmb_handover_offer(&lab.cache, &stale, &stale_desc);
}

static void adopt_into_stale(void)
{
	xmb_handover_adopt(&lab.cache, &stale_desc, &stale);
}

Test(process, a_stale_copy_cannot_be_offered)
{
	struct xmb_chunk a = { 0 }, b = { 0 };

	open_offer(&a, NULL, 0);
	stale = a;
	cr_assert(eq(int, xmb_chunk_split(&a, 10, &b), 0));
	lab_expect_death(offer_stale, "offer: region");
	stale = b;
	xmb_chunk_release(&b, &lab.cache);
	lab_expect_death(offer_stale, "offer: region");
	xmb_chunk_release(&a, &lab.cache);
	close_two();
}

Test(process, a_live_handle_cannot_be_adopted_into)
{
	struct xmb_chunk a = { 0 };

	open_offer(&stale, NULL, 0);
	cr_assert(eq(int, xmb_chunk_alloc(&lab.cache, &a), 0));
	cr_assert(eq(int, xmb_handover_offer(&lab.cache, &a, &stale_desc), 0));
	lab_expect_death(adopt_into_stale, "xmb_chunk_is_live");
	cr_assert(eq(int, xmb_handover_adopt(&lab.cache, &stale_desc, &a), 0));
	xmb_chunk_release(&a, &lab.cache);
	xmb_chunk_release(&stale, &lab.cache);
	close_two();
}
