/* SPDX-License-Identifier: BSD-2-Clause */
#include "xsk/level_priv.h"

#include "base/clock.h"

#include <string.h>

void xmb_level_init(struct xmb_level *level, uint32_t base, uint32_t max)
{
	base = xmb_min_u32(base, max);
	*level = (struct xmb_level){
		.level = base,
		.base = base,
		.max = max,
		.is_drained = true,
		.is_half = true,
	};
}

static bool raise_level(struct xmb_level *level, uint32_t depth)
{
	if (level->level == level->max)
		return false;
	level->level = xmb_min_u32(2 * xmb_max_u32(level->level, depth),
				   level->max);
	return true;
}

bool xmb_level_poll(struct xmb_level *level, uint32_t depth)
{
	uint32_t *slot_max = &level->depth_max[level->slot];

	*slot_max = xmb_max_u32(*slot_max, depth);
	if (depth <= level->level / 8)
		level->is_drained = true;
	if (depth <= level->level / 2)
		level->is_half = true;
	if (depth <= level->level / 2 ||
	    !(level->is_drained || level->was_drained))
		return false;
	return raise_level(level, depth);
}

bool xmb_level_starved(struct xmb_level *level)
{
	if (!level->is_half && !level->was_half)
		return false;
	level->hold_len = level->hold_len ? xmb_min_u32(2 * level->hold_len,
							XMB_LEVEL_HOLD_MAX)
					  : XMB_LEVEL_HOLD;
	level->hold = level->hold_len;
	level->calm = 0;
	if (level->level == level->max)
		return false;
	level->level = level->max;
	return true;
}

static uint32_t second_largest(const uint32_t *v)
{
	uint32_t first = 0, second = 0;

	for (int i = 0; i < XMB_LEVEL_SLOTS; i++) {
		if (v[i] >= first) {
			second = first;
			first = v[i];
		} else if (v[i] > second) {
			second = v[i];
		}
	}
	return second;
}

void xmb_level_tick(struct xmb_level *level, uint64_t now_ns)
{
	uint32_t need;

	if (now_ns < level->slot_end_ns)
		return;
	level->slot_end_ns = now_ns + XMB_NS_PER_MS;
	need = xmb_max_u32(2 * second_largest(level->depth_max), level->base);
	level->full_cnt = level->is_half ? 0 : level->full_cnt + 1;
	if (level->full_cnt >= XMB_LEVEL_SLOTS) {
		need = level->base;
		level->hold = 0;
	}
	if (level->hold > 0)
		level->hold--;
	else if (need < level->level)
		level->level -= (level->level - need + 1) / 2;
	if (level->hold == 0 && ++level->calm > level->hold_len)
		level->hold_len = 0;
	level->slot = (level->slot + 1) % XMB_LEVEL_SLOTS;
	level->depth_max[level->slot] = 0;
	level->was_drained = level->is_drained;
	level->is_drained = false;
	level->was_half = level->is_half;
	level->is_half = false;
}
