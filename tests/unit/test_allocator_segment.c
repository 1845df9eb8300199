/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * lib/alloc/segment: a payload cut to an MTU keeps its bytes where they are,
 * every segment takes a header in front, and a refusal leaves the payload as it
 * was.
 */
#include "alloc/allocator.h"
#include "buf/extbuf.h"

#include "buf_lab.h"

enum { FRAME_LEN = 512, FRAME_CNT = 256, SPILL_CNT = 128, SEGMENT_MAX = 512 };

static struct lab lab;
static struct xmb_allocator allocator;
static struct xmb_multibuf segments[SEGMENT_MAX];
static struct xmb_chunk hoard[FRAME_CNT];
static uint32_t hoard_cnt;

static void setup(void)
{
	lab_open(&lab, FRAME_LEN, FRAME_CNT, SPILL_CNT);
	xmb_allocator_init_pool(&allocator, &lab.cache);
}

static void teardown(void)
{
	lab_close(&lab);
}

TestSuite(allocator_segment, .init = setup, .fini = teardown, .timeout = 300);

static uint8_t byte_at(size_t off)
{
	return (uint8_t)(off * 31 + off / 256);
}

static void push(struct xmb_multibuf *mb, uint32_t off, uint32_t len)
{
	struct xmb_chunk c = { 0 };

	cr_assert(eq(int, xmb_chunk_alloc(&lab.cache, &c), 0));
	xmb_chunk_slice(&c, off, off + len);
	cr_assert(eq(int, xmb_multibuf_push_back(mb, &c, &lab.cache), 0));
}

static void fill(struct xmb_multibuf *mb)
{
	for (uint32_t i = 0; i < mb->len; i++) {
		uint8_t byte = byte_at(i);

		xmb_multibuf_copy_from(mb, i, &byte, 1);
	}
}

static uint32_t frames_free(void)
{
	return lab.cache.cnt + xmb_pool_free_cnt(&lab.pool);
}

/* The bytes of all segments in a row, behind skip bytes of each. */
static void expect_bytes(uint32_t cnt, uint32_t mtu, uint32_t len,
			 uint32_t skip)
{
	uint32_t at = 0;

	for (uint32_t i = 0; i < cnt; i++) {
		uint32_t n = xmb_min_u32(mtu, len - at);

		cr_assert(xmb_multibuf_check(&segments[i]));
		cr_assert(eq(u32, segments[i].len, n + skip));
		for (uint32_t k = 0; k < n; k++) {
			uint8_t byte = 0;

			xmb_multibuf_copy_to(&segments[i], skip + k, &byte, 1);
			cr_assert(eq(u8, byte, byte_at(at + k)));
		}
		at += n;
	}
	cr_expect(eq(u32, at, len));
}

/* Write a header in front of each by claim; nobody's bytes change. */
static void expect_headers(uint32_t cnt, uint32_t mtu, uint32_t len,
			   uint32_t headroom)
{
	uint8_t header[FRAME_LEN], seen[FRAME_LEN];

	for (uint32_t i = 0; i < cnt; i++) {
		memset(header, (int)(0x80 + i), headroom);
		cr_assert(eq(int, xmb_multibuf_claim_prefix(&segments[i],
							    headroom), 0));
		xmb_multibuf_copy_from(&segments[i], 0, header, headroom);
	}
	expect_bytes(cnt, mtu, len, headroom);
	for (uint32_t i = 0; i < cnt; i++) {
		memset(header, (int)(0x80 + i), headroom);
		xmb_multibuf_copy_to(&segments[i], 0, seen, headroom);
		cr_assert(zero(int, memcmp(header, seen, headroom)));
	}
}

static int cut(struct xmb_multibuf *mb, uint32_t mtu, uint32_t headroom)
{
	return xmb_allocator_segment(&allocator, mb,
				     &(struct xmb_segment_opts){
					     .mtu = mtu,
					     .headroom = headroom },
				     segments, SEGMENT_MAX);
}

Test(allocator_segment, the_bytes_stay_where_they_are)
{
	struct xmb_multibuf mb = { 0 };
	uint8_t *data[2];

	push(&mb, 64, 400);
	push(&mb, 0, 400);
	fill(&mb);
	data[0] = xmb_chunk_data(&mb.c[0]);
	data[1] = xmb_chunk_data(&mb.c[1]);
	cr_assert(eq(int, cut(&mb, 160, 42), 5));
	cr_expect(xmb_multibuf_is_empty(&mb));
	expect_bytes(5, 160, 800, 0);
	/* The first has room in front of it, so it needs no chunk for that. */
	cr_expect(eq(u32, segments[0].cnt, 1));
	cr_expect(eq(ptr, xmb_chunk_data(&segments[0].c[0]), data[0]));
	cr_expect(eq(u32, segments[1].cnt, 2));
	cr_expect(eq(ptr, xmb_chunk_data(&segments[1].c[1]), data[0] + 160));
	cr_expect(eq(u32, segments[2].cnt, 3));
	cr_expect(eq(ptr, xmb_chunk_data(&segments[2].c[2]), data[1]));
	cr_expect(eq(u64, xmb_counter_read(&lab.cache.copies), 0));
	/* Four heads share one frame. */
	cr_expect(eq(u32, frames_free(), FRAME_CNT - 3));
	expect_headers(5, 160, 800, 42);
	xmb_multibuf_release_bulk(segments, 5, &lab.cache);
}

Test(allocator_segment, a_segment_that_begins_a_frame_with_room_needs_no_other)
{
	struct xmb_multibuf mb = { 0 };

	for (int i = 0; i < 4; i++)
		push(&mb, 100, 200);
	fill(&mb);
	cr_assert(eq(int, cut(&mb, 200, 100), 4));
	cr_expect(eq(u32, frames_free(), FRAME_CNT - 4));
	expect_headers(4, 200, 800, 100);
	xmb_multibuf_release_bulk(segments, 4, &lab.cache);
}

Test(allocator_segment, the_sixth_piece_of_a_frame_is_copied_and_counted)
{
	struct xmb_multibuf mb = { 0 };

	push(&mb, 0, 500);
	fill(&mb);
	cr_assert(eq(int, cut(&mb, 50, 16), 10));
	cr_expect(eq(u64, xmb_counter_read(&lab.cache.copies), 5));
	expect_headers(10, 50, 500, 16);
	xmb_multibuf_release_bulk(segments, 10, &lab.cache);
}

Test(allocator_segment, limits_and_options_out_of_range_are_refused)
{
	struct xmb_multibuf mb = { 0 }, before;
	struct xmb_segment_opts opts = { .mtu = 100 };
	struct lab other = { 0 };
	struct xmb_allocator foreign;

	cr_expect(eq(int, cut(&mb, 10, 10), 0));
	for (int i = 0; i < 5; i++)
		push(&mb, 0, 100);
	fill(&mb);
	before = mb;
	lab_snap(&lab);
	cr_expect(eq(int, cut(&mb, 0, 10), -EINVAL));
	cr_expect(eq(int, cut(&mb, 10, FRAME_LEN + 1), -EMSGSIZE));
	cr_expect(eq(int, xmb_allocator_segment(&allocator, &mb, &opts,
						segments, 4), -ENOSPC));
	lab_open(&other, 256, 16, 0);
	xmb_allocator_init_pool(&foreign, &other.cache);
	cr_expect(eq(int, xmb_allocator_segment(&foreign, &mb, &opts,
						segments, 5), -EXDEV));
	lab_close(&other);
	/* More frames than there are, for heads. */
	xmb_pool_set_reserve(&lab.pool, FRAME_CNT - 9);
	cr_expect(eq(int, cut(&mb, 1, FRAME_LEN), -EMSGSIZE));
	xmb_pool_set_reserve(&lab.pool, 0);
	cr_expect(lab_is_unchanged(&lab));
	cr_expect(zero(int, memcmp(&mb, &before, sizeof(mb))));
	/* As long as a frame, and no room at all. */
	cr_assert(eq(int, cut(&mb, 250, FRAME_LEN), 2));
	expect_headers(2, 250, 500, FRAME_LEN);
	xmb_multibuf_release_bulk(segments, 2, &lab.cache);
	for (int i = 0; i < 5; i++)
		push(&mb, 0, 100);
	fill(&mb);
	cr_assert(eq(int, xmb_allocator_segment(&allocator, &mb, &opts,
						segments, 5), 5));
	expect_bytes(5, 100, 500, 0);
	cr_expect(eq(u32, frames_free(), FRAME_CNT - 5));
	xmb_multibuf_release_bulk(segments, 5, &lab.cache);
}

/* Everything that a refused call may not touch, handle by handle. */
static void expect_same(struct xmb_multibuf *mb, const struct xmb_chunk *chunks,
			uint32_t cnt, uint32_t len)
{
	cr_assert(xmb_multibuf_check(mb));
	cr_assert(eq(u32, mb->cnt, cnt));
	cr_assert(eq(u32, mb->len, len));
	for (uint32_t i = 0; i < cnt; i++)
		cr_assert(zero(int, memcmp(xmb_multibuf_chunk(mb, i),
					   &chunks[i], sizeof(*chunks))));
}

static uint32_t blocks_free(void)
{
	return lab.cache.spill_cnt + xmb_pool_free_block_cnt(&lab.pool);
}

static void hoard_all_but(uint32_t left)
{
	while (frames_free() > left)
		cr_assert(eq(int, xmb_chunk_alloc(&lab.cache,
						  &hoard[hoard_cnt++]), 0));
}

static void unhoard(void)
{
	xmb_chunk_release_bulk(hoard, hoard_cnt, &lab.cache);
	hoard_cnt = 0;
}

static uint32_t blocks[SPILL_CNT], block_cnt;

/*
 * Cut with 0, 1, 2, ... frames or blocks free, until it goes: till then nothing
 * changes.  Returns how many it took.
 */
static uint32_t sweep(bool is_blocks, uint32_t chunk_len, uint32_t mtu)
{
	struct xmb_chunk chunks[24];
	struct xmb_multibuf mb = { 0 };
	uint32_t left, len;
	int ret = -ENOBUFS;

	for (uint32_t i = 0; i < 24; i++)
		push(&mb, i * 4, chunk_len);
	fill(&mb);
	len = mb.len;
	for (uint32_t i = 0; i < 24; i++)
		chunks[i] = *xmb_multibuf_chunk(&mb, i);
	while (is_blocks && (blocks[block_cnt] = xmb_cache_spill_get(
				     &lab.cache)) != XMB_SPILL_NONE)
		block_cnt++;
	for (left = 0; left < FRAME_CNT; left++) {
		if (!is_blocks)
			hoard_all_but(left);
		ret = cut(&mb, mtu, 24);
		if (ret >= 0)
			break;
		cr_assert(eq(int, ret, -ENOBUFS));
		expect_same(&mb, chunks, 24, len);
		if (is_blocks && block_cnt > 0)
			xmb_cache_spill_put(&lab.cache, &lab.pool.domain,
					    blocks[--block_cnt]);
		if (!is_blocks) {
			cr_assert(eq(u32, frames_free(), left));
			unhoard();
		}
	}
	cr_assert(eq(u32, (uint32_t)ret, (len - 1) / mtu + 1));
	expect_headers((uint32_t)ret, mtu, len, 24);
	xmb_multibuf_release_bulk(segments, (uint32_t)ret, &lab.cache);
	while (block_cnt > 0)
		xmb_cache_spill_put(&lab.cache, &lab.pool.domain,
				    blocks[--block_cnt]);
	unhoard();
	return left;
}

Test(allocator_segment, with_a_frame_too_few_nothing_changes)
{
	/* 24 chunks in 4 pieces, of which 18 have room: 78 heads, 5 a frame. */
	cr_expect(eq(u32, sweep(false, 160, 40), 16));
	/* In 7 pieces: 150 heads, and two pieces of each are copied. */
	cr_expect(eq(u32, sweep(false, 280, 40), 30 + 24 * 2));
}

Test(allocator_segment, with_a_block_too_few_nothing_changes)
{
	/* Segments of a whole chunk and the halves of two: a head is fourth. */
	cr_expect(ge(u32, sweep(true, 100, 210), 10));
}

Test(allocator_segment, random_payloads_come_apart_and_go_home)
{
	uint64_t seed = 11;
	uint32_t blocks = blocks_free(), refused = 0, cut_cnt = 0;

	for (int round = 0; round < 2000; round++) {
		uint32_t chunk_cnt = lab_rand(&seed) % 12, len;
		uint32_t mtu = 1 + lab_rand(&seed) % 700;
		uint32_t headroom = lab_rand(&seed) % 120;
		struct xmb_multibuf mb = { 0 };
		int ret;

		for (uint32_t i = 0; i < chunk_cnt; i++) {
			uint32_t off = lab_rand(&seed) % FRAME_LEN;
			uint32_t n = lab_rand(&seed) % (FRAME_LEN - off);

			push(&mb, off, lab_rand(&seed) % 5 ? n : 0);
			/* Sometimes of a region that is split already. */
			if (mb.cnt > 1 && lab_rand(&seed) % 4 == 0) {
				struct xmb_multibuf tail = { 0 };

				cr_assert(eq(int, xmb_multibuf_split(
					&mb, lab_rand(&seed) % (mb.len + 1),
					&tail, &lab.cache), 0));
				cr_assert(eq(int, xmb_multibuf_append(
					&mb, &tail, &lab.cache), 0));
			}
		}
		fill(&mb);
		len = mb.len;
		ret = cut(&mb, mtu, headroom);
		if (ret < 0 && len > 0) {
			cr_assert(ret == -ENOBUFS || ret == -ENOSPC ||
				  ret == -EMSGSIZE);
			cr_assert(xmb_multibuf_check(&mb));
			cr_assert(eq(u32, mb.len, len));
			refused++;
		} else if (len > 0) {
			cr_assert(eq(u32, (uint32_t)ret, (len - 1) / mtu + 1));
			expect_headers((uint32_t)ret, mtu, len, headroom);
			xmb_multibuf_release_bulk(segments, (uint32_t)ret,
						  &lab.cache);
			cut_cnt++;
		}
		xmb_multibuf_release(&mb, &lab.cache);
		cr_assert(eq(u32, frames_free(), FRAME_CNT));
		cr_assert(eq(u32, blocks_free(), blocks));
	}
	cr_expect(gt(u32, cut_cnt, 1000));
	cr_expect(gt(u32, refused, 0));
}

/* A payload in the caller's memory, in a pool of small frames. */
static uint8_t outside[128 << 10];

static int cut_outside(struct lab *small, uint32_t len, uint32_t mtu,
		       uint32_t headroom)
{
	struct xmb_multibuf mb = { 0 };
	struct xmb_allocator own;
	int ret;

	xmb_allocator_init_pool(&own, &small->cache);
	cr_assert(eq(int, xmb_extbuf_attach(&small->cache, outside, len, NULL,
					    NULL, &mb), 0));
	for (uint32_t i = 0; i < len; i++)
		outside[i] = byte_at(i);
	lab_snap(small);
	ret = xmb_allocator_segment(&own, &mb,
				    &(struct xmb_segment_opts){
					    .mtu = mtu, .headroom = headroom },
				    segments, SEGMENT_MAX);
	if (ret < 0) {
		cr_expect(lab_is_unchanged(small));
		cr_expect(eq(u32, mb.len, len));
		cr_expect(eq(u32, mb.cnt, 1));
		xmb_multibuf_release(&mb, &small->cache);
	} else {
		expect_bytes((uint32_t)ret, mtu, len, 0);
		xmb_multibuf_release_bulk(segments, (uint32_t)ret,
					  &small->cache);
	}
	return ret;
}

Test(allocator_segment, frames_of_a_cache_line_are_cut_without_headroom)
{
	struct lab small = { 0 };

	lab_open(&small, 64, 64, 64);
	cr_expect(eq(int, cut_outside(&small, 1000, 300, 0), 4));
	cr_expect(eq(int, cut_outside(&small, 1000, 300, 1), 4));
	lab_close(&small);
}

Test(allocator_segment, copies_that_never_fit_are_refused_for_ever)
{
	struct lab small = { 0 };

	/* 33 pieces, 28 of them copies of a frame each. */
	lab_open(&small, 1024, 27, 200);
	cr_expect(eq(int, cut_outside(&small, 32768, 1000, 0), -EMSGSIZE));
	lab_close(&small);
	lab_open(&small, 1024, 28, 200);
	cr_expect(eq(int, cut_outside(&small, 32768, 1000, 0), 33));
	lab_close(&small);
	/* A block each, and nine by which the kit holds the frames. */
	lab_open(&small, 1024, 28, 28 + 8);
	cr_expect(eq(int, cut_outside(&small, 32768, 1000, 0), -EMSGSIZE));
	lab_close(&small);
	lab_open(&small, 1024, 28, 28 + 9);
	cr_expect(eq(int, cut_outside(&small, 32768, 1000, 0), 33));
	lab_close(&small);
}

/* Somebody else has the rest of the region: any cut may have to be a copy. */
static int cut_shared(struct lab *small, uint32_t len, uint32_t mtu)
{
	struct xmb_multibuf mb = { 0 }, rest = { 0 };
	struct xmb_allocator own;
	int ret;

	xmb_allocator_init_pool(&own, &small->cache);
	cr_assert(eq(int, xmb_extbuf_attach(&small->cache, outside,
					    XMB_REGION_LEN_MAX, NULL, NULL,
					    &mb), 0));
	cr_assert(eq(int, xmb_multibuf_split(&mb, len, &rest, &small->cache),
		     0));
	lab_snap(small);
	ret = xmb_allocator_segment(&own, &mb,
				    &(struct xmb_segment_opts){ .mtu = mtu },
				    segments, SEGMENT_MAX);
	if (ret < 0) {
		cr_expect(lab_is_unchanged(small));
		cr_expect(eq(u32, mb.len, len));
	} else {
		xmb_multibuf_release_bulk(segments, (uint32_t)ret,
					  &small->cache);
	}
	xmb_multibuf_release(&mb, &small->cache);
	xmb_multibuf_release(&rest, &small->cache);
	return ret;
}

Test(allocator_segment, a_copy_that_no_cache_holds_is_refused)
{
	struct lab small = { 0 };

	lab_open(&small, 64, 2048, 2048);
	/* 192 frames and 64 blocks for a copy, and one frame more. */
	cr_expect(eq(int, cut_shared(&small, 32000, 192 * 64), 3));
	cr_expect(eq(int, cut_shared(&small, 32000, 192 * 64 + 1), -EMSGSIZE));
	/* The shorter part is copied. */
	cr_expect(eq(int, cut_shared(&small, 384 * 64, 20000), 2));
	cr_expect(eq(int, cut_shared(&small, 384 * 64 + 2, 20000), -EMSGSIZE));
	lab_close(&small);
}
