/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * lib/engine/join: the halves of split packets find each other, and packets of
 * a lane are let out in the order that they came in.
 */
#include "engine/join_priv.h"

#include "sock_lab.h"

#include <errno.h>

enum {
	PLACE_CNT = 16,
	HDR = XMB_PART_HEADER,
	PAY = XMB_PART_PAYLOAD,
	RANDOM_STEPS = 200000,
	RANDOM_LANES = 3,
};

static struct join join;

static void setup(void)
{
	lab_open(&lab, FRAME_LEN, FRAME_CNT, 0);
	cr_assert(eq(int, xmb_join_init(&join, PLACE_CNT), 0));
}

static void teardown(void)
{
	if (join.slots)
		xmb_join_fini(&join, &lab.cache);
	cr_expect(eq(i64, lab.cache.app_cnt, 0));
	lab_close(&lab);
}

TestSuite(join, .init = setup, .fini = teardown, .timeout = 300);

static uint32_t open_one(uint32_t lane)
{
	uint32_t mark = 0;

	cr_assert(eq(int, xmb_join_open(&join, lane, &mark), 0));
	return mark;
}

/* A half of that number, of the packet with this mark, comes back. */
static enum join_verdict bring(int part, uint32_t mark, uint32_t number,
			       uint8_t port)
{
	struct xmb_multibuf mb = packet_of(number, PACKET_LEN);
	uint32_t lane = UINT32_MAX;
	enum join_verdict verdict;

	mb.user = mark;
	verdict = xmb_join_add(&join, (enum xmb_part)part, &mb, port, &lane,
			       &lab.cache);
	cr_expect(is_zero(&mb));
	return verdict;
}

static enum join_verdict bring_tombstone(int part, uint32_t mark)
{
	struct xmb_multibuf mb = { .user = mark };
	uint32_t lane;

	return xmb_join_add(&join, (enum xmb_part)part, &mb, 0, &lane,
			    &lab.cache);
}

static void expect_nothing(uint32_t lane)
{
	struct xmb_multibuf mb = { 0 };
	uint8_t port = 77;

	cr_expect(eq(int, (int)xmb_join_next(&join, lane, &mb, &port,
					     &lab.cache), JOIN_WAITS));
	cr_expect(is_zero(&mb));
	cr_expect(eq(u8, port, 77));
}

static void expect_drop(uint32_t lane)
{
	struct xmb_multibuf mb = { 0 };
	uint8_t port;

	cr_expect(eq(int, (int)xmb_join_next(&join, lane, &mb, &port,
					     &lab.cache), JOIN_DROP));
	cr_expect(is_zero(&mb));
}

/* The next of the lane is this header and, unless it is 0, this payload. */
static void expect_packet(uint32_t lane, uint32_t header, uint32_t payload,
			  uint8_t to)
{
	struct xmb_multibuf mb = { 0 };
	uint32_t number = 0;
	uint8_t port = 77;

	cr_assert(eq(int, (int)xmb_join_next(&join, lane, &mb, &port,
					     &lab.cache), JOIN_DONE));
	cr_expect(xmb_multibuf_check(&mb));
	cr_expect(eq(u8, port, to));
	cr_expect(eq(u32, mb.len, payload ? 2 * PACKET_LEN : PACKET_LEN));
	cr_expect(eq(u32, number_of(&mb), header));
	if (payload) {
		xmb_multibuf_copy_to(&mb, PACKET_LEN, &number, sizeof(number));
		cr_expect(eq(u32, number, payload));
	}
	xmb_multibuf_release(&mb, &lab.cache);
}

Test(join, header_first_or_payload_first_makes_the_same_packet)
{
	uint32_t mark = open_one(0);

	expect_nothing(0);
	cr_expect(eq(int, (int)bring(HDR, mark, 1, 5), JOIN_WAITS));
	expect_nothing(0);
	cr_expect(eq(int, (int)bring(PAY, mark, 2, 9), JOIN_WAITS));
	expect_packet(0, 1, 2, 5);
	expect_nothing(0);

	mark = open_one(0);
	bring(PAY, mark, 4, 9);
	expect_nothing(0);
	bring(HDR, mark, 3, 6);
	expect_packet(0, 3, 4, 6);
	cr_expect(eq(u32, join.out_cnt, 0));
}

Test(join, a_dropped_half_releases_the_other_whichever_comes_first)
{
	for (int first = HDR; first <= PAY; first++) {
		int second = HDR + PAY - first;
		uint32_t mark = open_one(0);

		cr_expect(eq(int, (int)bring_tombstone(first, mark),
			     JOIN_WAITS));
		expect_nothing(0);
		bring(second, mark, 1, 0);
		expect_drop(0);
		cr_expect(eq(u32, frames_free(), FRAME_CNT));

		mark = open_one(0);
		bring(first, mark, 1, 0);
		bring_tombstone(second, mark);
		expect_drop(0);
		cr_expect(eq(u32, frames_free(), FRAME_CNT));

		mark = open_one(0);
		bring_tombstone(first, mark);
		bring_tombstone(second, mark);
		expect_drop(0);
		expect_nothing(0);
	}
	cr_expect(eq(u32, join.out_cnt, 0));
}

Test(join, a_packet_of_headers_alone_waits_for_one_half)
{
	uint32_t mark = open_one(0);

	xmb_join_expect_one(&join, mark);
	expect_nothing(0);
	bring(HDR, mark, 8, 3);
	expect_packet(0, 8, 0, 3);
	mark = open_one(0);
	xmb_join_expect_one(&join, mark);
	bring_tombstone(HDR, mark);
	expect_drop(0);
}

Test(join, a_packet_of_headers_alone_does_not_overtake)
{
	uint32_t whole = open_one(4), alone = open_one(4), last = open_one(4);

	xmb_join_expect_one(&join, alone);
	bring(HDR, whole, 1, 0);
	bring(HDR, alone, 2, 0);
	bring(HDR, last, 3, 0);
	expect_nothing(4);
	bring(PAY, whole, 11, 0);
	expect_packet(4, 1, 11, 0);
	expect_packet(4, 2, 0, 0);
	expect_nothing(4);
	bring(PAY, last, 13, 0);
	expect_packet(4, 3, 13, 0);
}

Test(join, a_lane_does_not_wait_for_another)
{
	uint32_t slow = open_one(0), fast = open_one(JOIN_LANE_MAX - 1);

	bring(HDR, slow, 1, 0);
	bring(HDR, fast, 2, 0);
	bring(PAY, fast, 3, 0);
	expect_nothing(0);
	expect_packet(JOIN_LANE_MAX - 1, 2, 3, 0);
	bring(PAY, slow, 4, 0);
	expect_packet(0, 1, 4, 0);
}

Test(join, one_that_is_out_for_long_takes_one_place_only)
{
	uint32_t slow = open_one(0);

	for (uint32_t i = 1; i < 100 * PLACE_CNT; i++) {
		uint32_t mark = open_one(1);

		bring(HDR, mark, i, 0);
		bring(PAY, mark, i, 0);
		expect_packet(1, i, i, 0);
	}
	bring(HDR, slow, 1, 0);
	bring(PAY, slow, 2, 0);
	expect_packet(0, 1, 2, 0);
}

Test(join, no_place_is_refused_until_one_is_free)
{
	uint32_t marks[PLACE_CNT], more = 123;

	for (uint32_t i = 0; i < PLACE_CNT; i++)
		marks[i] = open_one(0);
	for (uint32_t i = 0; i < PLACE_CNT; i++)
		for (uint32_t k = 0; k < i; k++)
			cr_expect(ne(u32, marks[i], marks[k]));
	cr_expect(eq(int, xmb_join_open(&join, 0, &more), -ENOSPC));
	cr_expect(eq(u32, more, 123));
	cr_expect(eq(u32, join.out_cnt, PLACE_CNT));
	bring(HDR, marks[0], 1, 0);
	cr_expect(eq(int, xmb_join_open(&join, 0, &more), -ENOSPC));
	bring(PAY, marks[0], 2, 0);
	/* Complete, but not yet let out: its place is taken. */
	cr_expect(eq(int, xmb_join_open(&join, 0, &more), -ENOSPC));
	expect_packet(0, 1, 2, 0);
	cr_expect(eq(int, xmb_join_open(&join, 0, &more), 0));
	cr_expect(ne(u32, more, marks[0]));
}

Test(join, strays_are_released_and_change_nothing)
{
	uint32_t mark = open_one(0), old;

	cr_expect(eq(int, (int)bring(HDR, mark + 1, 1, 0), JOIN_STRAY));
	cr_expect(eq(int, (int)bring(PAY, 60000, 1, 0), JOIN_STRAY));
	cr_expect(eq(int, (int)bring(PAY, UINT32_MAX, 1, 0), JOIN_STRAY));
	cr_expect(eq(int, (int)bring(PAY, 0, 1, 0), JOIN_STRAY));
	cr_expect(eq(u32, frames_free(), FRAME_CNT));
	bring(HDR, mark, 1, 0);
	cr_expect(eq(int, (int)bring(HDR, mark, 9, 0), JOIN_STRAY));
	expect_nothing(0);
	bring(PAY, mark, 2, 0);
	cr_expect(eq(int, (int)bring(PAY, mark, 9, 0), JOIN_STRAY));
	expect_packet(0, 1, 2, 0);
	/* The same place again, with another mark. */
	old = mark;
	mark = open_one(0);
	cr_expect(eq(int, (int)bring(HDR, old, 9, 0), JOIN_STRAY));
	cr_expect(eq(u32, frames_free(), FRAME_CNT));
	bring(HDR, mark, 3, 0);
	bring(PAY, mark, 4, 0);
	expect_packet(0, 3, 4, 0);
}

Test(join, two_halves_that_want_a_spill_block_and_get_none_are_a_drop)
{
	uint32_t mark = open_one(0), lane, spills[FRAME_CNT], cnt = 0, spill;

	for (int part = HDR; part <= PAY; part++) {
		struct xmb_multibuf mb = packet_of(1, PACKET_LEN);

		for (int i = 0; i < 2; i++) {
			struct xmb_multibuf more = packet_of(2, PACKET_LEN);

			cr_assert(eq(int, xmb_multibuf_append(&mb, &more,
							      &lab.cache), 0));
		}
		mb.user = mark;
		xmb_join_add(&join, (enum xmb_part)part, &mb, 0, &lane,
			     &lab.cache);
	}
	while ((spill = xmb_cache_spill_get(&lab.cache)) != XMB_SPILL_NONE)
		spills[cnt++] = spill;
	expect_drop(0);
	cr_expect(eq(u32, frames_free(), FRAME_CNT));
	while (cnt > 0)
		xmb_cache_spill_put(&lab.cache, &lab.pool.domain,
				    spills[--cnt]);
}

Test(join, fini_releases_what_never_became_whole_and_says_how_many)
{
	uint32_t marks[5];

	for (int i = 0; i < 5; i++)
		marks[i] = open_one((uint32_t)i % 2);
	bring(HDR, marks[0], 1, 0);
	bring(PAY, marks[1], 1, 0);
	bring_tombstone(HDR, marks[2]);
	bring(HDR, marks[3], 1, 0);
	bring(PAY, marks[3], 1, 0);
	cr_expect(eq(u32, xmb_join_fini(&join, &lab.cache), 5));
	cr_expect(eq(u32, frames_free(), FRAME_CNT));
	cr_expect(eq(ptr, join.slots, NULL));
}

/* The model: a list of what is open, in order, with what is back of it. */
struct open_packet {
	uint32_t mark, lane, due;
	bool is_back[PAY + 1], is_dropped;
	uint32_t number[PAY + 1];
	uint8_t port;
};

static struct open_packet model[PLACE_CNT];
static uint32_t model_cnt, last_number;

static void step_open(uint64_t *seed)
{
	struct open_packet *p = &model[model_cnt];
	uint32_t lane = lab_rand(seed) % RANDOM_LANES, mark;
	int err = xmb_join_open(&join, lane, &mark);

	cr_assert(eq(int, err, model_cnt == PLACE_CNT ? -ENOSPC : 0));
	if (err)
		return;
	*p = (struct open_packet){ .mark = mark, .lane = lane, .due = 2 };
	model_cnt++;
	if (lab_rand(seed) % 4 == 0) {
		xmb_join_expect_one(&join, mark);
		p->is_back[PAY] = true;
		p->due = 1;
	}
}

static void step_bring(uint64_t *seed)
{
	struct open_packet *p;
	int part = HDR + (int)(lab_rand(seed) % 2);

	if (model_cnt == 0)
		return;
	p = &model[lab_rand(seed) % model_cnt];
	if (p->is_back[part])
		return;
	p->is_back[part] = true;
	p->due--;
	if (lab_rand(seed) % 8 == 0) {
		p->is_dropped = true;
		bring_tombstone(part, p->mark);
		return;
	}
	p->number[part] = ++last_number;
	if (part == HDR)
		p->port = (uint8_t)lab_rand(seed);
	bring(part, p->mark, last_number, part == HDR ? p->port : 99);
}

static void step_next(uint64_t *seed)
{
	uint32_t lane = lab_rand(seed) % RANDOM_LANES, i = 0;
	struct open_packet p;

	while (i < model_cnt && model[i].lane != lane)
		i++;
	if (i == model_cnt || model[i].due) {
		expect_nothing(lane);
		return;
	}
	p = model[i];
	memmove(&model[i], &model[i + 1],
		(--model_cnt - i) * sizeof(*model));
	if (p.is_dropped)
		expect_drop(lane);
	else
		expect_packet(lane, p.number[HDR], p.number[PAY], p.port);
}

Test(join, does_as_a_plain_list_does_in_random_steps)
{
	uint64_t seed = 7;

	for (int i = 0; i < RANDOM_STEPS; i++) {
		switch (lab_rand(&seed) % 5) {
		case 0:
			step_open(&seed);
			break;
		case 1:
		case 2:
			step_bring(&seed);
			break;
		default:
			step_next(&seed);
		}
		cr_assert(eq(u32, join.out_cnt, model_cnt));
	}
	cr_expect(gt(u32, last_number, RANDOM_STEPS / 20));
}

Test(join, a_lane_has_no_more_out_than_its_limit_and_others_go_on)
{
	uint32_t mark = 0;

	join.lane_max = 2;
	open_one(0);
	open_one(0);
	cr_expect(eq(int, xmb_join_open(&join, 0, &mark), -ENOSPC));
	cr_expect(eq(u32, join.out_cnt, 2));
	open_one(1);
}
