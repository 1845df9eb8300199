/* SPDX-License-Identifier: BSD-2-Clause */
#include "view/flat.h"

#include "buf/extbuf.h"

#include "view_lab.h"

TestSuite(flat, .init = setup, .fini = teardown_or_abort);

static uint64_t copies(const struct room *room)
{
	return xmb_counter_read(&room->cache.copies);
}

static uint64_t copied(const struct room *room)
{
	return xmb_counter_read(&room->cache.copied_bytes);
}

/* As EXPECT_REFUSED, of a call that succeeds and had nothing to do. */
#define EXPECT_NOTHING(mb, call) EXPECT_REFUSED(mb, NULL, call, 0)

/* Empty the room of frames; give_frames() puts them back. */
static struct xmb_chunk taken[FRAME_CNT];
static uint32_t taken_cnt;

static void hoard_frames(struct room *room, uint32_t left)
{
	taken_cnt = frames_free(room) - left;
	cr_assert(eq(int, xmb_chunk_alloc_bulk(&room->cache, taken, taken_cnt),
		     0));
}

static void give_frames(struct room *room)
{
	xmb_chunk_release_bulk(taken, taken_cnt, &room->cache);
}

Test(flat, bytes_of_one_chunk_are_contiguous_and_no_others)
{
	static const uint32_t lens[] = { 0, 2, 0, 5, 1, 0, 6, 0 };
	struct xmb_multibuf mb = make(&here, 0, lens, 8);
	uint32_t owner[14], at = 0;

	for (uint32_t i = 0; i < 8; i++) {
		for (uint32_t b = 0; b < lens[i]; b++)
			owner[at++] = i;
	}
	for (size_t off = 0; off <= 14; off++) {
		for (size_t n = 0; n <= 14 - off; n++) {
			cr_assert(xmb_flat_is_contiguous(&mb, off, n) ==
				  (n == 0 || owner[off] == owner[off + n - 1]));
		}
	}
	cr_expect(not(xmb_flat_is_contiguous(&mb, 13, 2)));
	cr_expect(not(xmb_flat_is_contiguous(&mb, 14, 1)));
	cr_expect(not(xmb_flat_is_contiguous(&mb, 15, 0)));
	cr_expect(not(xmb_flat_is_contiguous(&mb, 1, SIZE_MAX)));
	cr_expect(not(xmb_flat_is_contiguous(&mb, SIZE_MAX, 0)));
	cr_expect(not(xmb_flat_is_contiguous(&mb, SIZE_MAX, SIZE_MAX)));
	xmb_multibuf_release(&mb, &here.cache);
	cr_expect(xmb_flat_is_contiguous(&mb, 0, 0));
	cr_expect(not(xmb_flat_is_contiguous(&mb, 0, 1)));
}

Test(flat, memory_that_goes_on_in_the_next_region_is_not_contiguous)
{
	enum { LEN = 2 * XMB_REGION_LEN_MAX };
	uint8_t *mem = malloc(LEN);
	struct xmb_multibuf mb = { 0 };

	cr_assert(eq(int,
		     xmb_extbuf_attach(&here.cache, mem, LEN, NULL, NULL, &mb),
		     0));
	cr_assert(byte_of(&mb, XMB_REGION_LEN_MAX) ==
		  byte_of(&mb, XMB_REGION_LEN_MAX - 1) + 1);
	cr_expect(xmb_flat_is_contiguous(&mb, 0, XMB_REGION_LEN_MAX));
	cr_expect(not(xmb_flat_is_contiguous(&mb, XMB_REGION_LEN_MAX - 1, 2)));
	xmb_multibuf_release(&mb, &here.cache);
	free(mem);
}

Test(flat, pullup_of_what_is_contiguous_does_nothing)
{
	struct xmb_multibuf mb = make(&here, 0, LENS(0, 14, 0, 40)),
			    none = { 0 };

	EXPECT_NOTHING(&mb, xmb_flat_pullup(&mb, 0, 0, &here.cache));
	EXPECT_NOTHING(&mb, xmb_flat_pullup(&mb, 14, UINT32_MAX, &here.cache));
	EXPECT_NOTHING(&none, xmb_flat_pullup(&none, 0, 0, &here.cache));
	xmb_multibuf_release(&mb, &here.cache);
}

Test(flat, pullup_fills_the_room_behind_the_first_chunk)
{
	struct xmb_multibuf mb = make(&here, 5, LENS(14, 0, 3, 20, 9));
	struct xmb_chunk first = mb.c[0];
	uint32_t frames = frames_free(&here);

	cr_expect(eq(int, xmb_flat_pullup(&mb, 20, 0, &here.cache), 0));
	expect_bytes(&mb, 46, 5);
	cr_expect(eq(u32, mb.c[0].region, first.region));
	cr_expect(eq(u32, mb.c[0].off, first.off));
	cr_expect(eq(u32, mb.c[0].len, 20));
	cr_expect(eq(u32, mb.cnt, 3));
	cr_expect(eq(u32, frames_free(&here), frames + 2));
	cr_expect(eq(u64, copies(&here), 1));
	cr_expect(eq(u64, copied(&here), 6));
	/* Up to the border of a chunk: that chunk goes as a whole. */
	cr_expect(eq(int, xmb_flat_pullup(&mb, 37, 0, &here.cache), 0));
	expect_bytes(&mb, 46, 5);
	cr_expect(eq(u32, mb.cnt, 2));
	cr_expect(eq(u64, copied(&here), 6 + 17));
	xmb_multibuf_release(&mb, &here.cache);
}

Test(flat, pullup_takes_a_fresh_frame_with_headroom_where_there_is_no_room)
{
	struct xmb_multibuf mb = make(&here, 5, LENS(0, 64, 0, 3, 20, 9));
	uint32_t there_free = frames_free(&there);

	cr_expect(eq(int, xmb_flat_pullup(&mb, 70, 100, &there.cache), 0));
	expect_bytes(&mb, 96, 5);
	cr_expect(eq(u32, mb.c[0].len, 70));
	cr_expect(eq(u32, mb.cnt, 3));
	cr_expect(eq(u32, frames_free(&there), there_free - 1));
	cr_expect(eq(u64, copies(&there), 1));
	cr_expect(eq(u64, copied(&there), 70));
	cr_expect(eq(int, xmb_multibuf_claim_prefix(&mb, 101), -ERANGE));
	cr_expect(eq(int, xmb_multibuf_claim_prefix(&mb, 100), 0));
	xmb_multibuf_release(&mb, &there.cache);
}

Test(flat, pullup_does_not_write_behind_a_read_only_chunk)
{
	struct xmb_multibuf mb = make(&here, 5, LENS(14, 20));
	struct xmb_chunk clone = share_of(&mb, 0);
	uint8_t *bytes = xmb_chunk_data(&clone);
	uint32_t region = clone.region;

	memset(bytes + 14, 0xee, 10);
	cr_expect(eq(int, xmb_flat_pullup(&mb, 20, 8, &here.cache), 0));
	expect_bytes(&mb, 34, 5);
	cr_expect(ne(u32, mb.c[0].region, region));
	cr_expect(not(xmb_chunk_is_rdonly(&mb.c[0])));
	cr_expect(eq(u64, copied(&here), 20));
	for (int i = 0; i < 24; i++)
		cr_expect(eq(u8, bytes[i], i < 14 ? (uint8_t)(5 + i) : 0xee));
	/* The packet's part of the share is gone: nobody else has it now. */
	cr_expect(eq(int, xmb_chunk_unshare(&clone), 0));
	xmb_chunk_release(&clone, &here.cache);
	xmb_multibuf_release(&mb, &here.cache);
}

Test(flat, pullup_copies_read_only_bytes_behind_the_first_chunk)
{
	struct xmb_multibuf mb = make(&here, 5, LENS(14, 20));
	struct xmb_chunk clone = share_of(&mb, 1);
	uint8_t *bytes = xmb_chunk_data(&clone);

	cr_expect(eq(int, xmb_flat_pullup(&mb, 20, 0, &here.cache), 0));
	expect_bytes(&mb, 34, 5);
	cr_expect(eq(u32, mb.c[0].len, 20));
	cr_expect(xmb_chunk_is_rdonly(&mb.c[1]));
	for (int i = 0; i < 20; i++)
		cr_expect(eq(u8, bytes[i], (uint8_t)(19 + i)));
	xmb_chunk_release(&clone, &here.cache);
	xmb_multibuf_release(&mb, &here.cache);
}

Test(flat, pullup_does_not_touch_a_neighbour)
{
	struct xmb_multibuf mb = make(&here, 5, LENS(30)), neighbour = { 0 };
	struct xmb_multibuf more = make(&here, 19, LENS(20));

	/* [0,14) stays, [14,20) is given up, [20,30) is the neighbour's. */
	cr_assert(eq(int, xmb_multibuf_split(&mb, 20, &neighbour, &here.cache),
		     0));
	cr_assert(eq(int, xmb_multibuf_truncate(&mb, 14, &here.cache), 0));
	cr_assert(eq(int, xmb_multibuf_append(&mb, &more, &here.cache), 0));
	cr_expect(eq(int, xmb_flat_pullup(&mb, 20, 0, &here.cache), 0));
	cr_expect(eq(u64, copied(&here), 6));
	cr_expect(eq(int, xmb_flat_pullup(&mb, 21, 0, &here.cache), 0));
	cr_expect(eq(u64, copied(&here), 6 + 21));
	expect_bytes(&neighbour, 10, 25);
	expect_bytes(&mb, 34, 5);
	xmb_multibuf_release(&neighbour, &here.cache);
	xmb_multibuf_release(&mb, &here.cache);
}

/* One chunk of 60 bytes, cut in three and put together again. */
static struct xmb_multibuf cut_and_joined(void)
{
	struct xmb_multibuf mb = make(&here, 5, LENS(60)), b = { 0 }, c = { 0 };

	cr_assert(eq(int, xmb_multibuf_split(&mb, 20, &b, &here.cache), 0));
	cr_assert(eq(int, xmb_multibuf_split(&b, 25, &c, &here.cache), 0));
	cr_assert(eq(int, xmb_multibuf_append(&mb, &b, &here.cache), 0));
	cr_assert(eq(int, xmb_multibuf_append(&mb, &c, &here.cache), 0));
	cr_assert(eq(u32, mb.cnt, 3));
	return mb;
}

Test(flat, what_a_split_parted_is_joined_without_a_copy)
{
	struct xmb_multibuf mb = cut_and_joined();

	hoard_frames(&here, 0);
	cr_expect(eq(int, xmb_flat_pullup(&mb, 21, 9, &here.cache), 0));
	cr_expect(eq(u32, mb.cnt, 2));
	cr_expect(eq(u32, mb.c[0].len, 45));
	expect_bytes(&mb, 60, 5);
	cr_expect(eq(int, xmb_flat_linearize(&mb, 9, &here.cache), 0));
	cr_expect(eq(u32, mb.cnt, 1));
	expect_bytes(&mb, 60, 5);
	cr_expect(eq(u64, copies(&here), 0));
	give_frames(&here);
	xmb_multibuf_release(&mb, &here.cache);
}

Test(flat, a_fragment_ends_behind_its_last_part_when_parts_are_merged)
{
	for (uint32_t n = 21; n <= 60; n += 39) {
		struct xmb_multibuf mb = cut_and_joined();
		struct xmb_multibuf more = make(&here, 65, LENS(3));
		struct xmb_multibuf first = { 0 };

		mb.c[1].flags |= XMB_CHUNK_END;
		cr_assert(eq(int, xmb_flat_pullup(&mb, n, 0, &here.cache), 0));
		cr_assert(eq(int, xmb_multibuf_append(&mb, &more, &here.cache),
			     0));
		expect_bytes(&mb, 63, 5);
		cr_assert(
			eq(int,
			   xmb_multibuf_take_fragment(&mb, &first, &here.cache),
			   0));
		cr_expect(eq(u32, first.len, n == 21 ? 45 : 63));
		cr_expect(eq(u64, copies(&here), 0));
		xmb_multibuf_release(&first, &here.cache);
		xmb_multibuf_release(&mb, &here.cache);
	}
}

Test(flat, parts_of_a_region_in_another_order_are_copied)
{
	struct xmb_multibuf mb = make(&here, 5, LENS(40)), tail = { 0 };
	uint8_t bytes[40];

	cr_assert(eq(int, xmb_multibuf_split(&mb, 20, &tail, &here.cache), 0));
	cr_assert(eq(int, xmb_multibuf_prepend(&mb, &tail, &here.cache), 0));
	cr_expect(eq(int, xmb_flat_linearize(&mb, 0, &here.cache), 0));
	cr_expect(eq(u32, mb.cnt, 1));
	cr_expect(xmb_multibuf_check(&mb));
	cr_expect(eq(sz, xmb_multibuf_copy_to(&mb, 0, bytes, 40), 40));
	for (int i = 0; i < 40; i++)
		cr_expect(eq(u8, bytes[i], (uint8_t)(5 + (i + 20) % 40)));
	cr_expect(eq(u64, copies(&here), 1));
	xmb_multibuf_release(&mb, &here.cache);
}

Test(flat, shared_parts_of_a_region_are_copied_and_not_merged)
{
	struct xmb_multibuf mb = cut_and_joined();
	struct xmb_chunk clone = share_of(&mb, 1);

	cr_expect(eq(int, xmb_flat_linearize(&mb, 0, &here.cache), 0));
	cr_expect(eq(u32, mb.cnt, 1));
	expect_bytes(&mb, 60, 5);
	cr_expect(eq(u64, copied(&here), 60));
	xmb_chunk_release(&clone, &here.cache);
	xmb_multibuf_release(&mb, &here.cache);
}

Test(flat, a_refused_pullup_changes_nothing)
{
	struct xmb_multibuf mb = make(&here, 0, LENS(0, 64, 3, 0, 20, 9));
	struct xmb_cache *cache = &here.cache;

	EXPECT_REFUSED(&mb, NULL, xmb_flat_pullup(&mb, 97, 0, cache), -ERANGE);
	EXPECT_REFUSED(&mb, NULL, xmb_flat_pullup(&mb, SIZE_MAX, 0, cache),
		       -ERANGE);
	EXPECT_REFUSED(&mb, NULL, xmb_flat_pullup(&mb, 65, 0, cache),
		       -EMSGSIZE);
	EXPECT_REFUSED(&mb, NULL, xmb_flat_linearize(&mb, 0, cache), -EMSGSIZE);
	cache = &there.cache;
	EXPECT_REFUSED(&mb, NULL, xmb_flat_pullup(&mb, 70, 955, cache),
		       -EMSGSIZE);
	EXPECT_REFUSED(&mb, NULL, xmb_flat_pullup(&mb, 70, UINT32_MAX, cache),
		       -EMSGSIZE);
	hoard_frames(&there, 0);
	EXPECT_REFUSED(&mb, NULL, xmb_flat_pullup(&mb, 70, 954, cache),
		       -ENOBUFS);
	EXPECT_REFUSED(&mb, NULL, xmb_flat_linearize(&mb, 0, cache), -ENOBUFS);
	give_frames(&there);
	cr_expect(eq(int, xmb_flat_pullup(&mb, 70, 954, cache), 0));
	expect_bytes(&mb, 96, 0);
	xmb_multibuf_release(&mb, &here.cache);
}

Test(flat, pullup_needs_no_block)
{
	struct xmb_multibuf mb =
		make(&here, 0, LENS(0, 64, 2, 2, 2, 2, 2, 2, 2, 2, 2, 2));

	hoard_blocks(&there, 0);
	cr_expect(eq(int, xmb_flat_pullup(&mb, 71, 0, &there.cache), 0));
	expect_bytes(&mb, 84, 0);
	cr_expect(eq(int, xmb_flat_linearize(&mb, 0, &there.cache), 0));
	expect_bytes(&mb, 84, 0);
	xmb_multibuf_release(&mb, &there.cache);
	give_blocks(&there);
	/* Nor one of the pool that its own are of. */
	mb = make(&here, 0, LENS(0, 60, 4, 2, 2, 2, 2, 2, 2, 2));
	hoard_blocks(&here, 0);
	cr_expect(eq(int, xmb_flat_pullup(&mb, 64, 0, &here.cache), 0));
	expect_bytes(&mb, 78, 0);
	cr_expect(eq(int, xmb_flat_linearize(&mb, 0, &there.cache), 0));
	expect_bytes(&mb, 78, 0);
	xmb_multibuf_release(&mb, &here.cache);
}

Test(flat, linearize_leaves_one_chunk)
{
	struct xmb_multibuf mb = make(&here, 5, LENS(0, 9, 0, 5, 1, 0, 30, 0));
	struct xmb_multibuf one = make(&here, 5, LENS(0, 0, 9, 0, 0, 0));
	struct xmb_multibuf none = make(&here, 5, LENS(0, 0, 0, 0, 0));
	struct xmb_multibuf empty = { 0 };

	mb.user = 77;
	cr_expect(eq(int, xmb_flat_linearize(&mb, 0, &here.cache), 0));
	expect_bytes(&mb, 45, 5);
	cr_expect(eq(u32, mb.cnt, 1));
	cr_expect(eq(u32, mb.user, 77));
	EXPECT_NOTHING(&mb, xmb_flat_linearize(&mb, 0, &here.cache));
	cr_expect(eq(u64, copied(&here), 36));
	cr_expect(eq(int, xmb_flat_linearize(&one, 0, &here.cache), 0));
	expect_bytes(&one, 9, 5);
	cr_expect(eq(u32, one.cnt, 1));
	cr_expect(eq(int, xmb_flat_linearize(&none, 0, &here.cache), 0));
	cr_expect(xmb_multibuf_check(&none));
	cr_expect(eq(u32, none.cnt, 1));
	cr_expect(zero(u8, none.c[0].flags & XMB_CHUNK_END));
	cr_expect(eq(int, xmb_flat_linearize(&empty, 0, &here.cache), 0));
	cr_expect(is_zero(&empty));
	cr_expect(eq(u64, copied(&here), 36));
	xmb_multibuf_release(&mb, &here.cache);
	xmb_multibuf_release(&one, &here.cache);
	xmb_multibuf_release(&none, &here.cache);
}

Test(flat, gather_packs_into_few_frames_with_headroom_in_front)
{
	struct xmb_multibuf mb = mb_of(&here, 20, 7, 5);
	uint32_t frames = frames_free(&here);

	mb.user = 77;
	cr_expect(eq(int, xmb_flat_gather(&mb, 10, &here.cache), 0));
	expect_bytes(&mb, 140, 5);
	cr_expect(eq(u32, mb.user, 77));
	cr_expect(eq(u32, mb.cnt, 3));
	cr_expect(eq(u32, mb.c[0].len, 54));
	cr_expect(eq(u32, mb.c[1].len, 64));
	cr_expect(eq(u32, mb.c[2].len, 22));
	cr_expect(eq(u32, frames_free(&here), frames + 17));
	cr_expect(eq(u64, copies(&here), 1));
	cr_expect(eq(u64, copied(&here), 140));
	/* As few as hold it: nothing more to do, whatever the headroom. */
	EXPECT_NOTHING(&mb, xmb_flat_gather(&mb, 10, &here.cache));
	EXPECT_NOTHING(&mb, xmb_flat_gather(&mb, 63, &here.cache));
	cr_expect(eq(int, xmb_multibuf_claim_prefix(&mb, 11), -ERANGE));
	cr_expect(eq(int, xmb_multibuf_claim_prefix(&mb, 10), 0));
	/* To a larger frame of another pool, though it is one chunk already. */
	cr_expect(eq(int, xmb_flat_gather(&mb, 0, &there.cache), 0));
	cr_expect(eq(u32, mb.cnt, 1));
	cr_expect(eq(u8, mb.c[0].dom, there.pool.domain.id));
	cr_expect(eq(u64, copied(&there), 150));
	xmb_multibuf_release(&mb, &there.cache);
}

Test(flat, gather_of_few_bytes_and_of_none)
{
	struct xmb_multibuf mb = make(&there, 5, LENS(0, 64));
	struct xmb_multibuf none = make(&here, 5, LENS(0, 0, 0, 0)),
			    empty = { 0 };

	cr_expect(eq(int, xmb_flat_gather(&mb, 0, &here.cache), 0));
	expect_bytes(&mb, 64, 5);
	cr_expect(eq(u32, mb.cnt, 1));
	cr_expect(eq(u8, mb.c[0].dom, here.pool.domain.id));
	EXPECT_NOTHING(&none, xmb_flat_gather(&none, 0, &here.cache));
	EXPECT_NOTHING(&empty, xmb_flat_gather(&empty, 0, &here.cache));
	xmb_multibuf_release(&mb, &here.cache);
	xmb_multibuf_release(&none, &here.cache);
}

Test(flat, gather_makes_a_writable_copy_of_shared_bytes)
{
	struct xmb_multibuf mb = make(&here, 5, LENS(30, 30));
	struct xmb_chunk clone = share_of(&mb, 1);

	cr_expect(eq(int, xmb_flat_gather(&mb, 0, &here.cache), 0));
	expect_bytes(&mb, 60, 5);
	cr_expect(xmb_multibuf_is_writable(&mb));
	cr_expect(eq(int, xmb_chunk_unshare(&clone), 0));
	xmb_chunk_release(&clone, &here.cache);
	xmb_multibuf_release(&mb, &here.cache);
}

Test(flat, a_refused_gather_changes_nothing)
{
	struct xmb_multibuf mb = mb_of(&here, 36, 7, 5); /* 252 bytes */
	struct xmb_cache *cache = &here.cache;

	EXPECT_REFUSED(&mb, NULL, xmb_flat_gather(&mb, 64, cache), -EMSGSIZE);
	EXPECT_REFUSED(&mb, NULL, xmb_flat_gather(&mb, UINT32_MAX, cache),
		       -EMSGSIZE);
	/* The first frame, the others and the block that they need. */
	for (uint32_t left = 0; left < 5; left++) {
		hoard_frames(&here, left);
		EXPECT_REFUSED(&mb, NULL, xmb_flat_gather(&mb, 5, cache),
			       -ENOBUFS);
		give_frames(&here);
	}
	hoard_blocks(&here, 0);
	EXPECT_REFUSED(&mb, NULL, xmb_flat_gather(&mb, 5, cache), -ENOBUFS);
	give_blocks(&here);
	/* Four frames are to be had, but not the block that joins them. */
	cr_assert(eq(int, xmb_multibuf_truncate(&mb, 200, cache), 0));
	hoard_blocks(&here, 0);
	EXPECT_REFUSED(&mb, NULL, xmb_flat_gather(&mb, 5, cache), -ENOBUFS);
	give_blocks(&here);
	cr_expect(eq(int, xmb_flat_gather(&mb, 5, cache), 0));
	expect_bytes(&mb, 200, 5);
	cr_expect(eq(u32, mb.cnt, 4));
	xmb_multibuf_release(&mb, &here.cache);
}

Test(flat, gather_refuses_more_frames_than_a_multibuf_has)
{
	enum { LEN = 65535 * FRAME_LEN };
	uint8_t *mem = malloc(LEN);
	struct xmb_multibuf mb = { 0 };
	struct room wide;

	room_init(&wide, &(struct xmb_pool_opts){ .frame_len = FRAME_LEN,
						  .frame_cnt = 8,
						  .spill_cnt = 64 });
	cr_assert(eq(int,
		     xmb_extbuf_attach(&wide.cache, mem, LEN, NULL, NULL, &mb),
		     0));
	cr_expect(eq(int, xmb_flat_gather(&mb, 1, &wide.cache), -EMSGSIZE));
	cr_expect(eq(int, xmb_flat_gather(&mb, 0, &wide.cache), -ENOBUFS));
	cr_expect(xmb_multibuf_check(&mb));
	cr_expect(eq(u32, mb.len, LEN));
	xmb_multibuf_release(&mb, &wide.cache);
	room_fini(&wide, 8, 64);
	free(mem);
}

/* Fragments of 10, 20 and 30 bytes, each of two chunks. */
static struct xmb_multibuf fragments(void)
{
	struct xmb_multibuf mb = make(&here, 5, LENS(4, 6));
	struct xmb_multibuf b = make(&here, 15, LENS(8, 12));
	struct xmb_multibuf c = make(&here, 35, LENS(15, 15));

	cr_assert(
		eq(int, xmb_multibuf_append_fragment(&mb, &b, &here.cache), 0));
	cr_assert(
		eq(int, xmb_multibuf_append_fragment(&mb, &c, &here.cache), 0));
	cr_assert(eq(u32, xmb_multibuf_fragment_cnt(&mb), 3));
	return mb;
}

/* The length of the first fragment, and the number of them. */
static void expect_fragments(struct xmb_multibuf *mb, uint32_t len,
			     uint32_t cnt)
{
	struct xmb_multibuf first = { 0 };

	cr_expect(eq(u32, xmb_multibuf_fragment_cnt(mb), cnt));
	cr_expect(eq(int, xmb_multibuf_take_fragment(mb, &first, &here.cache),
		     0));
	cr_expect(eq(u32, first.len, len));
	xmb_multibuf_release(&first, &here.cache);
	xmb_multibuf_release(mb, &here.cache);
}

Test(flat, a_fragment_ends_where_its_last_byte_ends_a_chunk)
{
	static const struct {
		uint32_t n, first_len, cnt;
	} rows[] = {
		{ 4, 10, 3 },  { 7, 10, 3 },  { 10, 10, 3 }, { 13, 30, 2 },
		{ 18, 30, 2 }, { 30, 30, 2 }, { 33, 60, 1 }, { 60, 60, 1 },
	};
	struct xmb_multibuf mb;

	for (size_t i = 0; i < sizeof(rows) / sizeof(*rows); i++) {
		mb = fragments();
		cr_assert(eq(int,
			     xmb_flat_pullup(&mb, rows[i].n, 0, &here.cache),
			     0));
		expect_bytes(&mb, 60, 5);
		expect_fragments(&mb, rows[i].first_len, rows[i].cnt);
	}
	mb = fragments();
	cr_assert(eq(int, xmb_flat_linearize(&mb, 0, &here.cache), 0));
	expect_fragments(&mb, 60, 1);
	mb = fragments();
	cr_assert(eq(int, xmb_flat_gather(&mb, 0, &here.cache), 0));
	expect_fragments(&mb, 60, 1);
}

typedef int flatten_fn(struct xmb_multibuf *mb, uint32_t headroom,
		       struct xmb_cache *cache);

/* The first fragment of [4][6][0] made flat and [8][12], by who ends one. */
static void expect_end(flatten_fn *flatten, uint32_t ends, uint32_t len)
{
	struct xmb_multibuf mb = make(&here, 5, LENS(4, 6, 0));
	struct xmb_multibuf next = make(&here, 15, LENS(8, 12));

	for (uint32_t i = 0; i < 3; i++) {
		if (ends >> i & 1)
			mb.c[i].flags |= XMB_CHUNK_END;
	}
	cr_assert(eq(int, flatten(&mb, 0, &there.cache), 0));
	cr_expect(eq(u32, mb.cnt, 1));
	cr_assert(eq(int, xmb_multibuf_append(&mb, &next, &here.cache), 0));
	expect_bytes(&mb, 30, 5);
	expect_fragments(&mb, len, len == 10 ? 2 : 1);
}

Test(flat, what_is_appended_behind_a_flat_fragment_is_another)
{
	/* A bit for each chunk: the boundary behind the first is inside. */
	for (uint32_t ends = 0; ends < 8; ends++) {
		expect_end(xmb_flat_linearize, ends, ends > 1 ? 10 : 30);
		expect_end(xmb_flat_gather, ends, ends > 1 ? 10 : 30);
	}
}
