/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * lib/xsk/level: the rule of level.h step by step, then random polls against a
 * model that keeps every depth and every time it ever saw.
 */
#include "xsk/level_priv.h"

#include "base/clock.h"

#include <criterion/criterion.h>
#include <criterion/new/assert.h>

enum { BASE = 64, MAX = 1024, STEP_CNT = 200000 };

#define MS XMB_NS_PER_MS

static struct xmb_level level;
static uint64_t now_ns;

static void setup(void)
{
	xmb_level_init(&level, BASE, MAX);
	now_ns = 1000 * MS;
	xmb_level_tick(&level, now_ns);
	xmb_level_poll(&level, 0);
}

TestSuite(level, .init = setup, .timeout = 300);

/* The next millisecond, in which no poll found anything. */
static void pass_ms(void)
{
	now_ns += MS;
	xmb_level_tick(&level, now_ns);
	xmb_level_poll(&level, 0);
}

/* Raise it from BASE to MAX. */
static void climb(void)
{
	while (level.level < MAX)
		cr_assert(xmb_level_poll(&level, level.level));
}

Test(level, begins_at_base_and_base_is_clamped_to_max)
{
	cr_expect(eq(u32, level.level, BASE));
	xmb_level_init(&level, 512, 100);
	cr_expect(eq(u32, level.level, 100));
	cr_expect(eq(u32, level.base, 100));
	cr_expect(not(xmb_level_poll(&level, 100)));
	cr_expect(eq(u32, level.level, 100));
}

Test(level, doubles_when_a_poll_finds_more_than_half_of_it)
{
	cr_expect(not(xmb_level_poll(&level, BASE / 2)));
	cr_expect(eq(u32, level.level, BASE));
	cr_expect(xmb_level_poll(&level, BASE / 2 + 1));
	cr_expect(eq(u32, level.level, 2 * BASE));
	cr_expect(not(xmb_level_poll(&level, BASE)));
	cr_expect(xmb_level_poll(&level, BASE + 1));
	cr_expect(eq(u32, level.level, 4 * BASE));
}

Test(level, is_twice_the_depth_when_a_poll_finds_more_than_the_level)
{
	cr_expect(not(xmb_level_poll(&level, 0)));
	cr_expect(xmb_level_poll(&level, BASE + 1));
	cr_expect(eq(u32, level.level, 2 * BASE + 2));
	cr_expect(xmb_level_poll(&level, MAX / 2 + 1));
	cr_expect(eq(u32, level.level, MAX));
}

Test(level, never_exceeds_max)
{
	xmb_level_init(&level, 300, 1000);
	cr_expect(xmb_level_poll(&level, 300));
	cr_expect(eq(u32, level.level, 600));
	cr_expect(xmb_level_poll(&level, 600));
	cr_expect(eq(u32, level.level, 1000));
	cr_expect(not(xmb_level_poll(&level, 1000)));
	cr_expect(not(xmb_level_starved(&level)));
	cr_expect(eq(u32, level.level, 1000));
}

Test(level, never_rises_when_no_poll_of_late_found_the_ring_drained)
{
	/* This and the last slot must both be without such a poll. */
	for (int i = 0; i < 2; i++) {
		now_ns += MS;
		xmb_level_tick(&level, now_ns);
		cr_expect(not(xmb_level_poll(&level, BASE / 8 + 1)));
	}
	cr_expect(not(xmb_level_poll(&level, BASE)));
	cr_expect(eq(u32, level.level, BASE));
	/* An eighth of the level is nearly drained, and enough. */
	cr_expect(not(xmb_level_poll(&level, BASE / 8)));
	cr_expect(xmb_level_poll(&level, BASE));
}

Test(level, a_poll_of_the_last_millisecond_that_drained_still_counts)
{
	now_ns += MS;
	xmb_level_tick(&level, now_ns);
	cr_expect(xmb_level_poll(&level, BASE));
	now_ns += MS;
	xmb_level_tick(&level, now_ns);
	cr_expect(not(xmb_level_poll(&level, 2 * BASE)));
}

Test(level, goes_to_max_when_packets_were_lost)
{
	cr_expect(xmb_level_starved(&level));
	cr_expect(eq(u32, level.level, MAX));
	cr_expect(not(xmb_level_starved(&level)));
	cr_expect(eq(u32, level.level, MAX));
}

Test(level, a_loss_counts_when_a_poll_of_late_found_less_than_half)
{
	for (int i = 0; i < 3; i++) {
		now_ns += MS;
		xmb_level_tick(&level, now_ns);
		xmb_level_poll(&level, level.level);
	}
	cr_expect(not(xmb_level_starved(&level)));
	xmb_level_poll(&level, level.level / 2);
	now_ns += MS;
	xmb_level_tick(&level, now_ns);
	cr_expect(xmb_level_starved(&level));
}

/* Milliseconds until the level falls for the first time. */
static int ms_held(void)
{
	int ms = 0;

	while (level.level == MAX) {
		pass_ms();
		ms++;
	}
	return ms;
}

Test(level, a_loss_soon_after_the_last_one_holds_it_twice_as_long)
{
	xmb_level_starved(&level);
	cr_expect(eq(int, ms_held(), XMB_LEVEL_HOLD + 1));
	xmb_level_starved(&level);
	cr_expect(eq(int, ms_held(), 2 * XMB_LEVEL_HOLD + 1));
	for (int i = 0; i < 2 * XMB_LEVEL_HOLD - 2; i++)
		pass_ms();
	xmb_level_starved(&level);
	cr_expect(eq(int, ms_held(), 4 * XMB_LEVEL_HOLD + 1));
	for (int i = 0; i < 4 * XMB_LEVEL_HOLD - 1; i++)
		pass_ms();
	xmb_level_starved(&level);
	cr_expect(eq(int, ms_held(), XMB_LEVEL_HOLD + 1));
}

Test(level, sinks_to_base_while_the_program_is_the_bottleneck)
{
	climb();
	xmb_level_starved(&level);
	for (int i = 0; i < 40; i++) {
		now_ns += MS;
		xmb_level_tick(&level, now_ns);
		xmb_level_poll(&level, level.level);
		cr_expect(i < XMB_LEVEL_SLOTS || level.level < MAX, "ms %d", i);
	}
	cr_expect(eq(u32, level.level, BASE));
}

Test(level, losses_that_do_not_end_hold_it_no_longer_than_the_limit)
{
	for (int i = 0; i < 20; i++)
		xmb_level_starved(&level);
	cr_expect(eq(int, ms_held(), XMB_LEVEL_HOLD_MAX + 1));
}

Test(level, after_packets_were_lost_it_does_not_fall_for_a_while)
{
	climb();
	xmb_level_starved(&level);
	for (int i = 0; i < XMB_LEVEL_HOLD; i++) {
		pass_ms();
		cr_expect(eq(u32, level.level, MAX), "ms %d", i);
	}
	pass_ms();
	cr_expect(eq(u32, level.level, MAX - (MAX - BASE) / 2));
}

Test(level, a_loss_while_the_program_is_the_bottleneck_holds_nothing)
{
	climb();
	for (int i = 0; i < 2; i++) {
		now_ns += MS;
		xmb_level_tick(&level, now_ns);
		xmb_level_poll(&level, MAX);
	}
	cr_expect(not(xmb_level_starved(&level)));
	for (int i = 0; i < 20; i++)
		pass_ms();
	cr_expect(eq(u32, level.level, BASE));
}

Test(level, without_traffic_it_halves_its_way_down_to_base)
{
	uint32_t want = MAX;

	climb();
	/* The depths that raised it are one slot's: of the second-largest,
	 * which decides, nothing is left at once. */
	for (int i = 0; i < 20; i++) {
		pass_ms();
		want -= (want - BASE + 1) / 2;
		cr_expect(eq(u32, level.level, want), "ms %d", i);
	}
	cr_expect(eq(u32, level.level, BASE));
}

Test(level, goes_no_lower_than_twice_the_second_largest_depth_of_8_slots)
{
	climb();
	for (int i = 0; i < 40; i++) {
		now_ns += MS;
		xmb_level_tick(&level, now_ns);
		/* The one of 400 is an outlier; with a second it is not. */
		xmb_level_poll(&level, i % 8 ? 90 : 400);
	}
	cr_expect(eq(u32, level.level, 180));
	pass_ms();
	climb();
	for (int i = 0; i < 40; i++) {
		now_ns += MS;
		xmb_level_tick(&level, now_ns);
		xmb_level_poll(&level, i % 4 ? 90 : 400);
	}
	cr_expect(eq(u32, level.level, 800));
}

Test(level, time_within_a_slot_changes_nothing)
{
	climb();
	now_ns += MS;
	xmb_level_tick(&level, now_ns);
	for (int i = 0; i < 10; i++) {
		struct xmb_level before = level;

		xmb_level_tick(&level, now_ns + MS - 1);
		cr_expect(eq(u32, level.level, before.level));
		cr_expect(eq(u32, level.slot, before.slot));
	}
	xmb_level_tick(&level, now_ns + MS);
	cr_expect(lt(u32, level.level, MAX));
}

/* All depths with the number of the slot in which they were found. */
static struct {
	uint32_t slot, level;
	uint32_t loss_slot, hold_len; /* the last loss, and what it held */
	uint32_t hold_end;	      /* the slot that may fall again */
	uint32_t full_cnt;	      /* slots in a row without such a poll */
	uint32_t half_slot; /* the last with a poll of half or less, plus 1 */
	uint32_t depths[STEP_CNT], slots[STEP_CNT], depth_cnt;
	uint32_t drained_slot; /* the last with a poll that drained, plus 1 */
	uint64_t slot_end_ns;
} model;

static bool model_raise(uint32_t depth)
{
	uint32_t want = depth > model.level ? depth * 2 : model.level * 2;

	if (model.drained_slot < model.slot || model.level == MAX)
		return false;
	model.level = want > MAX ? MAX : want;
	return true;
}

static bool model_starved(void)
{
	bool is_soon = model.slot < model.loss_slot + 2 * model.hold_len;
	bool is_raised = model.level < MAX;

	if (model.half_slot < model.slot)
		return false;
	model.hold_len = is_soon ? 2 * model.hold_len : XMB_LEVEL_HOLD;
	if (model.hold_len > XMB_LEVEL_HOLD_MAX)
		model.hold_len = XMB_LEVEL_HOLD_MAX;
	model.loss_slot = model.slot;
	model.hold_end = model.slot + model.hold_len;
	model.level = MAX;
	return is_raised;
}

static bool model_poll(uint32_t depth)
{
	model.depths[model.depth_cnt] = depth;
	model.slots[model.depth_cnt++] = model.slot;
	if (depth <= model.level / 8)
		model.drained_slot = model.slot + 1;
	if (depth <= model.level / 2)
		model.half_slot = model.slot + 1;
	return depth > model.level / 2 && model_raise(depth);
}

/* The largest depth found in a slot; 0 before the first. */
static uint32_t model_depth(uint32_t slot)
{
	uint32_t max = 0;

	for (uint32_t i = model.depth_cnt; i-- > 0;) {
		if (model.slots[i] + XMB_LEVEL_SLOTS < model.slot)
			break;
		if (model.slots[i] == slot && model.depths[i] > max)
			max = model.depths[i];
	}
	return max;
}

static void model_tick(uint64_t at_ns)
{
	uint32_t first = 0, second = 0, need;

	if (at_ns < model.slot_end_ns)
		return;
	model.slot_end_ns = at_ns + MS;
	for (uint32_t k = 0; k < XMB_LEVEL_SLOTS && k <= model.slot; k++) {
		uint32_t depth = model_depth(model.slot - k);

		if (depth > first) {
			second = first;
			first = depth;
		} else if (depth > second) {
			second = depth;
		}
	}
	need = second * 2 > BASE ? second * 2 : BASE;
	model.full_cnt = model.half_slot > model.slot ? 0 : model.full_cnt + 1;
	if (model.full_cnt >= XMB_LEVEL_SLOTS) {
		need = BASE;
		model.hold_end = 0;
	}
	if (model.slot >= model.hold_end && need < model.level)
		model.level = need + (model.level - need) / 2;
	model.slot++;
}

Test(level, random_steps_agree_with_a_model_that_forgets_nothing)
{
	uint32_t seed = 20251, raised = 0, fell = 0;

	xmb_level_init(&level, BASE, MAX);
	model.level = BASE;
	model.drained_slot = model.half_slot = 1; /* as a new level is */
	now_ns = 0;
	for (int i = 0; i < STEP_CNT; i++) {
		/* The load changes each 512 steps. */
		uint32_t load = MAX >> (i / 512 * 5 % 8);
		uint32_t depth = (seed >> 8 & 0xffff) % (load + 1);
		uint32_t before = level.level;
		bool is;

		seed = seed * 1664525 + 1013904223;
		/* Losses late, or holding is all that would be seen. */
		if (seed >> 20 == 0 && i > STEP_CNT * 3 / 4) {
			is = xmb_level_starved(&level);
			cr_assert(eq(int, is, model_starved()), "step %d", i);
		} else {
			/* More than the level: as after a sleep. */
			if (depth > level.level && seed >> 26)
				depth = level.level;
			is = xmb_level_poll(&level, depth);
			cr_assert(eq(int, is, model_poll(depth)), "step %d", i);
		}
		cr_assert(eq(int, is, level.level > before), "step %d", i);
		raised += is;
		before = level.level;
		now_ns += (seed & 0xff) * (seed >> 28 == 5 ? 16000 : 500);
		xmb_level_tick(&level, now_ns);
		model_tick(now_ns);
		fell += level.level < before;
		cr_assert(eq(u32, level.level, model.level), "step %d", i);
	}
	cr_expect(gt(u32, raised, 500));
	cr_expect(gt(u32, fell, 500));
}
