/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * lib/ring: what goes in comes out once and in order, for every item length
 * and wherever the indexes wrap.
 */
#include "ring/ring.h"

#include <criterion/criterion.h>
#include <criterion/new/assert.h>
#include <stdlib.h>

enum { LEN_MAX = 80, CNT_MAX = 64, RANDOM_STEPS = 60000 };

static uint8_t memory[sizeof(struct xmb_ring_shared) + LEN_MAX * CNT_MAX +
		      XMB_CACHE_LINE]
	__attribute__((aligned(XMB_CACHE_LINE)));
static struct xmb_ring producer, consumer;

TestSuite(ring, .timeout = 300);

static uint32_t rnd(uint64_t *seed, uint32_t below)
{
	*seed = *seed * UINT64_C(6364136223846793005) +
		UINT64_C(1442695040888963407);
	return (uint32_t)(*seed >> 33) % below;
}

/* A ring that looks as if start items had gone through it. */
static void make(uint32_t cnt, uint32_t item_len, uint32_t start)
{
	struct xmb_ring_shared *shared = (struct xmb_ring_shared *)memory;

	cr_assert(le(sz, xmb_ring_footprint(cnt, item_len), sizeof(memory)));
	memset(memory, 0xee, sizeof(memory));
	xmb_ring_init(memory, cnt, item_len);
	xmb_ring_join(&producer, memory);
	xmb_ring_join(&consumer, memory);
	atomic_store(&shared->tail, start);
	atomic_store(&shared->head, start);
	producer.mine = producer.theirs = start;
	consumer.mine = consumer.theirs = start;
}

/* What is behind the ring's own memory is as make() left it. */
static void expect_nothing_beyond(uint32_t cnt, uint32_t item_len)
{
	for (size_t i = xmb_ring_footprint(cnt, item_len); i < sizeof(memory);
	     i++)
		cr_assert(eq(u8, memory[i], 0xee), "byte %zu", i);
}

static void write_item(uint8_t *item, uint32_t len, uint32_t number)
{
	for (uint32_t i = 0; i < len; i++)
		item[i] = (uint8_t)(number * 31 + i * 7 + (number >> 8));
}

static bool is_item(const uint8_t *item, uint32_t len, uint32_t number)
{
	uint8_t want[LEN_MAX];

	write_item(want, len, number);
	return memcmp(item, want, len) == 0;
}

Test(ring, footprint_is_the_indexes_and_the_items_in_whole_cache_lines)
{
	size_t head = sizeof(struct xmb_ring_shared);

	cr_expect(eq(sz, head % XMB_CACHE_LINE, 0));
	cr_expect(eq(sz, xmb_ring_footprint(1, 1), head + 64));
	cr_expect(eq(sz, xmb_ring_footprint(64, 1), head + 64));
	cr_expect(eq(sz, xmb_ring_footprint(128, 1), head + 128));
	cr_expect(eq(sz, xmb_ring_footprint(512, 64), head + 512 * 64));
	/* Each side writes a line that the other does not. */
	cr_expect(ge(sz, offsetof(struct xmb_ring_shared, head) -
				 offsetof(struct xmb_ring_shared, tail),
		     XMB_CACHE_LINE));
}

Test(ring, a_new_ring_is_empty_and_takes_cnt_items)
{
	uint32_t items[9] = { 1, 2, 3, 4, 5, 6, 7, 8, 9 }, got[9] = { 0 };
	uint32_t idx;

	make(8, sizeof(*items), 0);
	cr_expect(eq(u32, xmb_ring_cnt(&producer), 0));
	cr_expect(eq(u32, xmb_ring_peek(&consumer, 1, &idx), 0));
	cr_expect(eq(u32, xmb_ring_pop(&consumer, got, 9), 0));
	cr_expect(eq(u32, got[0], 0));
	cr_expect(eq(u32, xmb_ring_push(&producer, items, 9), 8));
	cr_expect(eq(u32, xmb_ring_cnt(&consumer), 8));
	cr_expect(eq(u32, xmb_ring_push(&producer, items, 1), 0));
	cr_expect(eq(u32, xmb_ring_reserve(&producer, 1, &idx), 0));
	cr_expect(eq(u32, xmb_ring_pop(&consumer, got, 9), 8));
	cr_expect(eq(int, memcmp(items, got, 8 * sizeof(*items)), 0));
	cr_expect(eq(u32, got[8], 0));
	cr_expect(eq(u32, xmb_ring_cnt(&consumer), 0));
}

Test(ring, a_ring_of_one_item_works)
{
	uint32_t in, out;

	make(1, sizeof(in), UINT32_MAX);
	for (in = 0; in < 5; in++) {
		uint32_t more = 99;

		cr_expect(eq(u32, xmb_ring_push(&producer, &in, 1), 1));
		cr_expect(eq(u32, xmb_ring_push(&producer, &more, 1), 0));
		cr_expect(eq(u32, xmb_ring_pop(&consumer, &out, 1), 1));
		cr_expect(eq(u32, out, in));
	}
}

Test(ring, nothing_is_asked_and_nothing_is_given)
{
	uint32_t item = 1, idx;

	make(4, sizeof(item), 0);
	cr_expect(eq(u32, xmb_ring_push(&producer, &item, 0), 0));
	cr_expect(eq(u32, xmb_ring_reserve(&producer, 0, &idx), 0));
	xmb_ring_push(&producer, &item, 1);
	cr_expect(eq(u32, xmb_ring_pop(&consumer, &item, 0), 0));
	cr_expect(eq(u32, xmb_ring_cnt(&consumer), 1));
}

Test(ring, what_is_reserved_is_not_seen_before_the_commit)
{
	uint32_t idx;

	make(8, 4, 6);
	cr_expect(eq(u32, xmb_ring_reserve(&producer, 5, &idx), 5));
	cr_expect(eq(u32, idx, 6));
	cr_expect(eq(u32, xmb_ring_peek(&consumer, 8, &idx), 0));
	xmb_ring_commit(&producer, 3);
	cr_expect(eq(u32, xmb_ring_peek(&consumer, 8, &idx), 3));
	cr_expect(eq(u32, idx, 6));
	cr_expect(eq(u32, xmb_ring_reserve(&producer, 9, &idx), 5));
	cr_expect(eq(u32, idx, 9));
}

Test(ring, what_is_peeked_at_is_not_overwritten_before_the_release)
{
	uint32_t items[4] = { 1, 2, 3, 4 }, idx;

	make(4, sizeof(*items), 0);
	xmb_ring_push(&producer, items, 4);
	cr_expect(eq(u32, xmb_ring_peek(&consumer, 3, &idx), 3));
	cr_expect(eq(u32, xmb_ring_reserve(&producer, 1, &idx), 0));
	xmb_ring_release(&consumer, 2);
	cr_expect(eq(u32, xmb_ring_reserve(&producer, 4, &idx), 2));
	cr_expect(eq(u32, *(uint32_t *)xmb_ring_item(&consumer, consumer.mine),
		     3));
}

Test(ring, reserve_asks_the_other_side_when_its_own_knowledge_is_too_little)
{
	uint32_t items[8] = { 0 }, idx;

	make(8, sizeof(*items), 0);
	xmb_ring_push(&producer, items, 6);
	xmb_ring_pop(&consumer, items, 6);
	/* It knows of two free ones, and eight are. */
	cr_expect(eq(u32, xmb_ring_reserve(&producer, 2, &idx), 2));
	cr_expect(eq(u32, producer.theirs, 0));
	cr_expect(eq(u32, xmb_ring_reserve(&producer, 3, &idx), 3));
	cr_expect(eq(u32, producer.theirs, 6));
}

Test(ring, the_same_memory_may_be_mapped_elsewhere)
{
	uint32_t in[3] = { 7, 8, 9 }, out[3];
	size_t len = xmb_ring_footprint(4, 4);
	uint8_t *moved = aligned_alloc(XMB_CACHE_LINE, len);
	struct xmb_ring there;

	cr_assert(moved != NULL);
	make(4, 4, 0);
	xmb_ring_push(&producer, in, 3);
	memcpy(moved, memory, len);
	xmb_ring_join(&there, moved);
	cr_expect(eq(u32, xmb_ring_pop(&there, out, 3), 3));
	cr_expect(eq(int, memcmp(in, out, sizeof(in)), 0));
	free(moved);
}

/* Fill it and empty it, item by item, beginning shortly before index 2^32. */
static void fill_and_empty(uint32_t cnt, uint32_t item_len, uint32_t start)
{
	uint8_t item[LEN_MAX + 1];

	make(cnt, item_len, start);
	for (uint32_t round = 0; round < 3; round++) {
		for (uint32_t i = 0; i < cnt; i++) {
			write_item(item, item_len, round * cnt + i);
			cr_assert(eq(u32, xmb_ring_push(&producer, item, 1),
				     1));
		}
		cr_assert(eq(u32, xmb_ring_push(&producer, item, 1), 0));
		cr_assert(eq(u32, xmb_ring_cnt(&producer), cnt));
		for (uint32_t i = 0; i < cnt; i++) {
			item[item_len] = 0xab;
			cr_assert(eq(u32, xmb_ring_pop(&consumer, item, 1),
				     1));
			cr_assert(is_item(item, item_len, round * cnt + i));
			cr_assert(eq(u8, item[item_len], 0xab));
		}
		cr_assert(eq(u32, xmb_ring_pop(&consumer, item, 1), 0));
	}
	expect_nothing_beyond(cnt, item_len);
}

Test(ring, is_filled_and_emptied_with_items_of_1_to_80_bytes)
{
	for (uint32_t len = 1; len <= LEN_MAX; len++)
		for (uint32_t cnt = 1; cnt <= CNT_MAX; cnt *= 4)
			fill_and_empty(cnt, len, 0);
}

Test(ring, is_filled_and_emptied_wherever_the_indexes_pass_2_to_the_32)
{
	for (uint32_t before = 0; before <= 20; before++)
		for (uint32_t cnt = 1; cnt <= 16; cnt *= 2)
			fill_and_empty(cnt, 12, 0u - before);
}

/* The model: a count of what went in, and of what came out. */
static void run_random(uint32_t cnt, uint32_t item_len, uint32_t start,
		       uint64_t seed, uint32_t steps)
{
	static uint8_t items[2 * CNT_MAX * LEN_MAX];
	uint32_t in = 0, out = 0, full = 0, empty = 0, idx;

	make(cnt, item_len, start);
	for (uint32_t s = 0; s < steps; s++) {
		uint32_t want = rnd(&seed, cnt + cnt / 2 + 2);
		uint32_t op = rnd(&seed, 4), n;

		if (op < 2) {
			n = xmb_min_u32(want, cnt - (in - out));
			full += n < want;
		} else {
			n = xmb_min_u32(want, in - out);
			empty += n < want;
		}
		switch (op) {
		case 0:
			for (uint32_t i = 0; i < want; i++)
				write_item(items + i * item_len, item_len,
					   in + i);
			cr_assert(eq(u32, xmb_ring_push(&producer, items,
							want), n));
			in += n;
			break;
		case 1:
			cr_assert(eq(u32, xmb_ring_reserve(&producer, want,
							   &idx), n));
			for (uint32_t i = 0; i < n; i++)
				write_item(xmb_ring_item(&producer, idx + i),
					   item_len, in + i);
			xmb_ring_commit(&producer, n);
			in += n;
			break;
		case 2:
			/* As much as was seen before is enough for a pop. */
			n = xmb_ring_pop(&consumer, items, want);
			cr_assert(le(u32, n, xmb_min_u32(want, in - out)));
			cr_assert(n > 0 || want == 0 || in == out);
			for (uint32_t i = 0; i < n; i++)
				cr_assert(is_item(items + i * item_len,
						  item_len, out + i));
			out += n;
			break;
		case 3:
			n = xmb_ring_peek(&consumer, want, &idx);
			cr_assert(le(u32, n, xmb_min_u32(want, in - out)));
			cr_assert(n > 0 || want == 0 || in == out);
			for (uint32_t i = 0; i < n; i++)
				cr_assert(is_item(xmb_ring_item(&consumer,
								idx + i),
						  item_len, out + i));
			xmb_ring_release(&consumer, n);
			out += n;
			break;
		}
		cr_assert(eq(u32, xmb_ring_cnt(&producer), in - out));
		cr_assert(eq(u32, xmb_ring_cnt(&consumer), in - out));
	}
	expect_nothing_beyond(cnt, item_len);
	cr_expect(gt(u32, full, 0));
	cr_expect(gt(u32, empty, 0));
}

Test(ring, does_as_two_counters_do_in_random_steps)
{
	run_random(16, 4, 0, 1, RANDOM_STEPS);
	run_random(64, 64, 0u - 5000, 2, RANDOM_STEPS);
	run_random(2, 1, 0u - 100, 3, RANDOM_STEPS);
	for (uint32_t len = 1; len <= LEN_MAX; len++)
		run_random(8, len, 0u - 500, len, RANDOM_STEPS / 40);
}
