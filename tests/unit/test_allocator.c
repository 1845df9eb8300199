/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * lib/alloc/allocator, arena: requests get what they ask for, in the shape they
 * ask for, or an error that says whether it makes sense to ask again; a
 * refusal changes nothing.
 */
#include "alloc/allocator.h"
#include "alloc/arena.h"
#include "buf/edit.h"

#include "buf_lab.h"

enum { FRAME_LEN = 256, FRAME_CNT = 64, SPILL_CNT = 16 };

static struct lab lab;
static struct xmb_allocator allocator;

static void setup(void)
{
	lab_open(&lab, FRAME_LEN, FRAME_CNT, SPILL_CNT);
	xmb_allocator_init_pool(&allocator, &lab.cache);
}

static void teardown(void)
{
	lab_close(&lab);
}

TestSuite(allocator, .init = setup, .fini = teardown, .timeout = 300);

static uint32_t frames_free(void)
{
	return lab.cache.cnt + xmb_pool_free_cnt(&lab.pool);
}

static uint32_t blocks_free(void)
{
	return lab.cache.spill_cnt + xmb_pool_free_block_cnt(&lab.pool);
}

/* The call fails so, mb stays as it was, and nothing is missing. */
static void expect_refused(const struct xmb_alloc_request *request, int error)
{
	struct xmb_multibuf mb = { .user = 7 }, before = mb;
	uint32_t frames = frames_free(), blocks = blocks_free();
	int64_t app_cnt = lab.cache.app_cnt;

	cr_expect(eq(int, xmb_allocator_alloc(&allocator, request, &mb),
		     error));
	cr_expect(zero(int, memcmp(&mb, &before, sizeof(mb))));
	cr_expect(eq(u32, frames_free(), frames));
	cr_expect(eq(u32, blocks_free(), blocks));
	cr_expect(eq(i64, lab.cache.app_cnt, app_cnt));
	cr_expect(xmb_pool_check(&lab.pool,
				 (struct xmb_cache *[]){ &lab.cache }, 1));
}

static struct xmb_multibuf get(const struct xmb_alloc_request *request)
{
	struct xmb_multibuf mb = { .user = 7 };

	cr_assert(eq(int, xmb_allocator_alloc(&allocator, request, &mb), 0));
	cr_expect(eq(u32, mb.user, 7));
	return mb;
}

static struct xmb_chunk hoard[FRAME_CNT];
static uint32_t hoard_cnt;

/* Take frames until left are free; give() puts them back. */
static void hog(uint32_t left)
{
	while (frames_free() > left)
		cr_assert(eq(int, xmb_chunk_alloc(&lab.cache,
						  &hoard[hoard_cnt++]), 0));
}

static void give(void)
{
	xmb_chunk_release_bulk(hoard, hoard_cnt, &lab.cache);
	hoard_cnt = 0;
}

Test(allocator, chunk_multibuf_and_block_have_the_sizes_promised)
{
	struct xmb_pool_opts opts = { .frame_len = 4096 };

	cr_expect(eq(u64, sizeof(struct xmb_chunk), 16));
	cr_expect(eq(u64, sizeof(struct xmb_multibuf), 64));
	cr_expect(eq(u64, sizeof(struct xmb_spill), 64));
	for (opts.frame_cnt = 1024; opts.frame_cnt <= 1 << 24;
	     opts.frame_cnt *= 2)
		cr_expect(le(u64, xmb_pool_footprint(&opts) * 1000,
			     UINT64_C(4096) * opts.frame_cnt * 11));
}

Test(allocator, zero_bytes_are_an_empty_multibuf_and_take_nothing)
{
	struct xmb_multibuf mb;

	hog(0);
	mb = get(&(struct xmb_alloc_request){ 0 });
	cr_expect(xmb_multibuf_is_empty(&mb));
	/* Whatever room is asked for around no bytes. */
	mb = get(&(struct xmb_alloc_request){ .headroom = 9999,
					      .is_contiguous = true });
	cr_expect(xmb_multibuf_is_empty(&mb));
	cr_expect(eq(int, xmb_allocator_alloc_len(&allocator, 0, &mb), 0));
	cr_expect(eq(i64, lab.cache.app_cnt, FRAME_CNT));
	give();
}

Test(allocator, every_length_is_met_by_the_fewest_chunks)
{
	struct xmb_multibuf mb = { 0 };

	for (size_t len = 1; len < 12 * FRAME_LEN; len += 7) {
		cr_assert(eq(int, xmb_allocator_alloc_len(&allocator, len,
							  &mb), 0));
		cr_expect(eq(u64, xmb_multibuf_len(&mb), len));
		cr_expect(eq(u64, xmb_multibuf_chunk_cnt(&mb),
			     (len + FRAME_LEN - 1) / FRAME_LEN));
		cr_assert(xmb_multibuf_check(&mb));
		xmb_multibuf_release(&mb, &lab.cache);
	}
}

Test(allocator, each_chunk_has_its_headroom_and_tailroom)
{
	struct xmb_multibuf mb = get(&(struct xmb_alloc_request){
		.min_len = 1000, .headroom = 64, .tailroom = 32 });
	struct xmb_multibuf_iter iter;
	struct xmb_chunk *c;

	cr_expect(eq(u32, mb.cnt, 7)); /* of 160 each */
	for (c = xmb_multibuf_first(&mb, &iter); c;
	     c = xmb_multibuf_next(&iter)) {
		struct xmb_chunk chunk = *c;

		cr_expect(eq(int, xmb_chunk_claim_prefix(&chunk, 65), -ERANGE));
		cr_expect(eq(int, xmb_chunk_claim_prefix(&chunk, 64), 0));
		cr_expect(eq(int, xmb_chunk_claim_suffix(&chunk, 32), 0));
	}
	xmb_multibuf_release(&mb, &lab.cache);
}

Test(allocator, min_above_desired_is_refused)
{
	expect_refused(&(struct xmb_alloc_request){ .min_len = 2,
						    .desired_len = 1 },
		       -EINVAL);
}

Test(allocator, what_can_never_be_is_told_from_what_is_not_now)
{
	struct xmb_multibuf all;

	/* With everything free, and with one frame left. */
	for (int round = 0; round < 2; round++) {
		expect_refused(&(struct xmb_alloc_request){
			.min_len = 1, .headroom = FRAME_LEN }, -EMSGSIZE);
		expect_refused(&(struct xmb_alloc_request){
			.min_len = 1, .headroom = UINT32_MAX,
			.tailroom = UINT32_MAX }, -EMSGSIZE);
		expect_refused(&(struct xmb_alloc_request){
			.min_len = FRAME_LEN + 1, .is_contiguous = true },
			-EMSGSIZE);
		expect_refused(&(struct xmb_alloc_request){
			.min_len = FRAME_LEN, .tailroom = 1,
			.is_contiguous = true }, -EMSGSIZE);
		expect_refused(&(struct xmb_alloc_request){
			.min_len = 600, .segment_len = FRAME_LEN + 1,
			.is_contiguous = true }, -EMSGSIZE);
		/* 16 blocks and three inline: 51 chunks. */
		expect_refused(&(struct xmb_alloc_request){
			.min_len = 51 * FRAME_LEN + 1 }, -EMSGSIZE);
		expect_refused(&(struct xmb_alloc_request){
			.min_len = SIZE_MAX, .desired_len = SIZE_MAX },
			-EMSGSIZE);
		if (round == 0)
			hog(1);
		expect_refused(&(struct xmb_alloc_request){
			.min_len = round ? FRAME_LEN + 1 : 0 },
			round ? -ENOBUFS : 0);
	}
	give();
	all = get(&(struct xmb_alloc_request){ .min_len = 51 * FRAME_LEN });
	xmb_multibuf_release(&all, &lab.cache);
}

Test(allocator, the_reserve_of_fill_rings_is_not_to_be_had)
{
	struct xmb_multibuf all;

	xmb_pool_set_reserve(&lab.pool, FRAME_CNT - 3);
	cr_expect(eq(u32, xmb_pool_reserve_cnt(&lab.pool), FRAME_CNT - 3));
	expect_refused(&(struct xmb_alloc_request){
		.min_len = 3 * FRAME_LEN + 1 }, -EMSGSIZE);
	all = get(&(struct xmb_alloc_request){ .min_len = 3 * FRAME_LEN });
	expect_refused(&(struct xmb_alloc_request){ .min_len = 1 }, -ENOBUFS);
	xmb_multibuf_release(&all, &lab.cache);
	xmb_pool_set_reserve(&lab.pool, FRAME_CNT + 9);
	expect_refused(&(struct xmb_alloc_request){ .min_len = 1 }, -EMSGSIZE);
}

Test(allocator, as_much_of_desired_as_there_is_but_not_less_than_min)
{
	struct xmb_alloc_request request = { .min_len = 2 * FRAME_LEN,
					     .desired_len = 5 * FRAME_LEN };
	struct xmb_multibuf mb;

	for (uint32_t left = 0; left < 8; left++) {
		hog(left);
		if (left < 2) {
			expect_refused(&request, -ENOBUFS);
		} else {
			mb = get(&request);
			cr_expect(eq(u32, mb.len,
				     xmb_min_u32(left, 5) * FRAME_LEN));
			xmb_multibuf_release(&mb, &lab.cache);
		}
		give();
	}
	/* A desire without end is met as far as a multibuf goes. */
	request.desired_len = SIZE_MAX;
	mb = get(&request);
	cr_expect(eq(u32, mb.cnt, 51));
	xmb_multibuf_release(&mb, &lab.cache);
	hog(0);
	mb = get(&(struct xmb_alloc_request){ .desired_len = 100 });
	cr_expect(xmb_multibuf_is_empty(&mb));
	give();
}

Test(allocator, contiguous_is_one_chunk_as_long_as_may_be)
{
	struct xmb_multibuf mb = get(&(struct xmb_alloc_request){
		.min_len = 10, .desired_len = 1000, .headroom = 56,
		.is_contiguous = true });

	cr_expect(eq(u32, mb.cnt, 1));
	cr_expect(eq(u32, mb.len, FRAME_LEN - 56));
	xmb_multibuf_release(&mb, &lab.cache);
}

Test(allocator, too_few_blocks_are_a_refusal_that_changes_nothing)
{
	uint32_t blocks[SPILL_CNT], cnt = 0;
	struct xmb_multibuf mb;

	while (cnt < SPILL_CNT - 2)
		blocks[cnt++] = xmb_cache_spill_get(&lab.cache);
	expect_refused(&(struct xmb_alloc_request){
		.min_len = 10 * FRAME_LEN }, -ENOBUFS);
	mb = get(&(struct xmb_alloc_request){ .min_len = 9 * FRAME_LEN,
		.desired_len = 20 * FRAME_LEN });
	cr_expect(eq(u32, mb.cnt, 9));
	xmb_multibuf_release(&mb, &lab.cache);
	while (cnt > 0)
		xmb_cache_spill_put(&lab.cache, &lab.pool.domain,
				    blocks[--cnt]);
}

Test(allocator, bulk_is_all_or_none_and_min_goes_before_desired)
{
	struct xmb_alloc_request request = { .min_len = 2 * FRAME_LEN,
					     .desired_len = 4 * FRAME_LEN };
	struct xmb_multibuf mbs[5] = { 0 };

	hog(9);
	cr_expect(eq(int, xmb_allocator_alloc_bulk(&allocator, &request, mbs,
						   5), -ENOBUFS));
	for (int i = 0; i < 5; i++)
		cr_expect(xmb_multibuf_is_empty(&mbs[i]));
	cr_expect(eq(u32, frames_free(), 9));
	cr_assert(eq(int, xmb_allocator_alloc_bulk(&allocator, &request, mbs,
						   4), 0));
	cr_expect(eq(u32, mbs[0].len, 3 * FRAME_LEN));
	for (int i = 1; i < 4; i++)
		cr_expect(eq(u32, mbs[i].len, 2 * FRAME_LEN));
	xmb_multibuf_release_bulk(mbs, 4, &lab.cache);
	give();
	/* 22 times three frames are never free. */
	cr_expect(eq(int, xmb_allocator_alloc_bulk(
				  &allocator, &(struct xmb_alloc_request){
					  .min_len = 3 * FRAME_LEN },
				  mbs, 22), -EMSGSIZE));
	cr_expect(eq(int, xmb_allocator_alloc_bulk(
				  &allocator, &(struct xmb_alloc_request){
					  .min_len = 2, .desired_len = 1 },
				  mbs, 2), -EINVAL));
	cr_expect(eq(int, xmb_allocator_alloc_bulk(&allocator, &request, mbs,
						   0), 0));
}

Test(allocator, segments_have_chunks_and_headroom_of_their_own)
{
	static const uint32_t lens[] = { 100, 300, 100, 100, 1, 99 };
	struct xmb_alloc_request request = { .headroom = 20 };

	for (uint32_t i = 0; i < 6; i++) {
		uint32_t len = lens[i] * 3 + lens[i] / 2, left = len;
		struct xmb_multibuf mb, part = { 0 };

		request.min_len = len;
		request.segment_len = lens[i];
		mb = get(&request);
		cr_expect(eq(u32, mb.len, len));
		while (left > 0) {
			uint32_t n = xmb_min_u32(left, lens[i]), cnt;

			cnt = (n + FRAME_LEN - 21) / (FRAME_LEN - 20);
			cr_assert(eq(int, xmb_multibuf_take_fragment(
						  &mb, &part, &lab.cache), 0));
			cr_expect(eq(u32, part.len, n));
			cr_expect(eq(u32, part.cnt, cnt));
			cr_expect(eq(int, xmb_multibuf_claim_prefix(&part, 20),
				     0));
			xmb_multibuf_release(&part, &lab.cache);
			left -= n;
		}
		cr_expect(xmb_multibuf_is_empty(&mb));
	}
}

/* 600 bytes are three chunks: of the second segment there is a third. */
Test(allocator, a_segment_that_is_not_all_to_be_had_is_a_fragment_too)
{
	static const uint32_t lens[] = { 600, FRAME_LEN, 1 };
	struct xmb_alloc_request request = {
		.min_len = 1, .desired_len = 1200, .segment_len = 600,
	};
	struct xmb_multibuf mb, part = { 0 };

	cr_assert(eq(int, xmb_multibuf_alloc(&lab.cache, 1, 0, &part), 0));
	hog(4);
	mb = get(&request);
	cr_expect(eq(u32, mb.len, 600 + FRAME_LEN));
	cr_expect(eq(int, xmb_multibuf_append(&mb, &part, &lab.cache), 0));
	for (uint32_t i = 0; i < 3; i++) {
		cr_expect(eq(int, xmb_multibuf_take_fragment(&mb, &part,
							     &lab.cache), 0));
		cr_expect(eq(u32, part.len, lens[i]));
		xmb_multibuf_release(&part, &lab.cache);
	}
	cr_expect(xmb_multibuf_is_empty(&mb));
	give();
}

Test(allocator, an_arena_lives_inside_its_memory_alone)
{
	enum { LEN = 100000, PAD = 64 };
	static uint8_t mem[PAD + LEN + PAD];
	struct xmb_multibuf mb = { 0 };
	struct xmb_arena arena;
	uint32_t frame_cnt;

	for (uint32_t shift = 0; shift < 70; shift += 23) {
		memset(mem, 0xa5, sizeof(mem));
		cr_assert(eq(int, xmb_arena_init(&arena,
			&(struct xmb_arena_opts){
				.mem = mem + PAD + shift, .len = LEN - shift,
				.frame_len = 512 }), 0));
		frame_cnt = arena.pool.domain.region_cnt;
		cr_expect(gt(u32, frame_cnt, 170));
		while (xmb_pool_free_cnt(&arena.pool) + arena.cache.cnt > 0) {
			struct xmb_chunk c = { 0 };

			cr_assert(eq(int, xmb_chunk_alloc(&arena.cache, &c),
				     0));
			memset(xmb_chunk_data(&c), 0x11, c.len);
			if (mb.cnt == 60)
				xmb_chunk_release(&c, &arena.cache);
			else
				cr_assert(eq(int, xmb_multibuf_push_front(
						&mb, &c, &arena.cache), 0));
			if (mb.cnt == 60)
				break;
		}
		for (uint32_t i = 0; i < PAD + shift; i++)
			cr_assert(eq(u8, mem[i], 0xa5));
		for (uint32_t i = PAD + LEN; i < sizeof(mem); i++)
			cr_assert(eq(u8, mem[i], 0xa5));
		cr_expect(eq(int, xmb_arena_fini(&arena), -EBUSY));
		xmb_multibuf_release(&mb, &arena.cache);
		cr_expect(eq(int, xmb_allocator_alloc_len(&arena.allocator,
							  1000, &mb), 0));
		xmb_multibuf_release(&mb, &arena.cache);
		cr_expect(eq(int, xmb_arena_fini(&arena), 0));
	}
}

Test(allocator, an_arena_uses_its_memory_up)
{
	static uint8_t mem[1 << 16] __attribute__((aligned(64)));
	struct xmb_arena arena;

	for (size_t len = 2000; len < sizeof(mem); len += 1733) {
		struct xmb_pool_opts opts = { .frame_len = 128 };

		cr_assert(eq(int, xmb_arena_init(&arena,
			&(struct xmb_arena_opts){ .mem = mem, .len = len,
						  .frame_len = 128 }), 0));
		opts.frame_cnt = arena.pool.domain.region_cnt;
		cr_expect(le(u64, xmb_pool_footprint(&opts) +
				     opts.frame_cnt * 128, len));
		opts.frame_cnt++;
		cr_expect(gt(u64, xmb_pool_footprint(&opts) +
				     opts.frame_cnt * 128, len));
		cr_expect(eq(int, xmb_arena_fini(&arena), 0));
	}
}

Test(allocator, an_arena_is_refused_what_makes_no_pool)
{
	static struct xmb_domain domains[255];
	static uint8_t mem[8192];
	struct xmb_arena_opts opts = { .mem = mem, .len = sizeof(mem) };
	struct xmb_arena arena;
	uint32_t cnt = 0;

	opts.frame_len = 63;
	cr_expect(eq(int, xmb_arena_init(&arena, &opts), -EINVAL));
	opts.frame_len = XMB_REGION_LEN_MAX + 1;
	cr_expect(eq(int, xmb_arena_init(&arena, &opts), -EINVAL));
	opts.frame_len = 8192;
	cr_expect(eq(int, xmb_arena_init(&arena, &opts), -EMSGSIZE));
	opts.frame_len = 64;
	opts.len = 100;
	cr_expect(eq(int, xmb_arena_init(&arena, &opts), -EMSGSIZE));
	opts.len = 0;
	cr_expect(eq(int, xmb_arena_init(&arena, &opts), -EMSGSIZE));
	opts.len = sizeof(mem);
	while (xmb_domain_add(&domains[cnt]) == 0)
		cnt++;
	cr_expect(eq(int, xmb_arena_init(&arena, &opts), -ENOSPC));
	while (cnt-- > 0)
		xmb_domain_remove(&domains[cnt]);
	cr_expect(eq(int, xmb_arena_init(&arena, &opts), 0));
	cr_expect(eq(int, xmb_arena_fini(&arena), 0));
}
