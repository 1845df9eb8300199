/* SPDX-License-Identifier: BSD-2-Clause */
#include "engine/join_priv.h"

#include <errno.h>
#include <stdlib.h>

enum { MARK_SHIFT = 16 }; /* mark: times used:16 | place:16 */

#define NONE UINT32_MAX

int xmb_join_init(struct join *join, uint32_t slot_cnt)
{
	slot_cnt = xmb_min_u32(slot_cnt, JOIN_SLOT_MAX);
	*join = (struct join){
		.slots = calloc(slot_cnt, sizeof(*join->slots)),
		.slot_cnt = slot_cnt,
		.lane_max = slot_cnt,
	};
	if (!join->slots)
		return -ENOMEM;
	for (uint32_t i = 0; i < slot_cnt; i++) {
		join->slots[i].mark = i;
		join->slots[i].behind = i + 1 < slot_cnt ? i + 1 : NONE;
	}
	return 0;
}

static struct join_slot *slot_of(struct join *join, uint32_t mark)
{
	uint32_t idx = mark & ((1u << MARK_SHIFT) - 1);

	return &join->slots[idx < join->slot_cnt ? idx : 0];
}

int xmb_join_open(struct join *join, uint32_t lane, uint32_t *mark)
{
	struct join_lane *l = &join->lanes[lane];
	uint32_t idx = join->free;
	struct join_slot *slot;

	if (idx == NONE || l->cnt >= join->lane_max)
		return -ENOSPC;
	slot = &join->slots[idx];
	join->free = slot->behind;
	*slot = (struct join_slot){
		.mark = slot->mark + (1u << MARK_SHIFT),
		.lane = (uint16_t)lane,
		.due = 2,
	};
	if (l->cnt++)
		join->slots[l->last].behind = idx;
	else
		l->first = idx;
	l->last = idx;
	*mark = slot->mark;
	join->out_cnt++;
	return 0;
}

void xmb_join_expect_one(struct join *join, uint32_t mark)
{
	slot_of(join, mark)->due = 1;
}

enum join_verdict xmb_join_add(struct join *join, enum xmb_part part,
			       struct xmb_multibuf *mb, uint8_t port,
			       uint32_t *lane, struct xmb_cache *cache)
{
	struct join_slot *slot = slot_of(join, mb->user);
	struct xmb_multibuf *half;

	half = part == XMB_PART_HEADER ? &slot->header : &slot->payload;
	if (slot->due == 0 || slot->mark != mb->user || half->cnt) {
		xmb_multibuf_drop(mb, cache);
		return JOIN_STRAY;
	}
	if (mb->cnt == 0)
		slot->is_dropped = true;
	if (part == XMB_PART_HEADER)
		slot->port = port;
	*half = *mb;
	*mb = (struct xmb_multibuf){ 0 };
	slot->due--;
	*lane = slot->lane;
	return JOIN_WAITS;
}

enum join_verdict xmb_join_next(struct join *join, uint32_t lane,
				struct xmb_multibuf *mb, uint8_t *port,
				struct xmb_cache *cache)
{
	struct join_lane *l = &join->lanes[lane];
	struct join_slot *slot = &join->slots[l->first];
	uint32_t idx = l->first;

	if (l->cnt == 0 || slot->due)
		return JOIN_WAITS;
	l->first = slot->behind;
	l->cnt--;
	slot->behind = join->free;
	join->free = idx;
	join->out_cnt--;
	/* A chain of two needs no spill block; a longer one may lack it. */
	if (!slot->is_dropped &&
	    xmb_multibuf_append(&slot->header, &slot->payload, cache) == 0) {
		*mb = slot->header;
		*port = slot->port;
		slot->header = (struct xmb_multibuf){ 0 };
		return JOIN_DONE;
	}
	xmb_multibuf_drop(&slot->header, cache);
	xmb_multibuf_drop(&slot->payload, cache);
	return JOIN_DROP;
}

uint32_t xmb_join_fini(struct join *join, struct xmb_cache *cache)
{
	uint32_t cnt = join->out_cnt;

	for (uint32_t i = 0; i < join->slot_cnt; i++) {
		xmb_multibuf_drop(&join->slots[i].header, cache);
		xmb_multibuf_drop(&join->slots[i].payload, cache);
	}
	free(join->slots);
	*join = (struct join){ 0 };
	return cnt;
}
