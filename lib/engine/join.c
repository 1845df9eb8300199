/* SPDX-License-Identifier: BSD-2-Clause */
#include "engine/join_priv.h"

#include <errno.h>

int xmb_join_open(struct join *join, uint32_t *mark)
{
	struct join_slot *slot = &join->slots[join->next % JOIN_WINDOW];

	if (slot->due)
		return -ENOSPC;
	*slot = (struct join_slot){ .mark = join->next, .due = 2 };
	*mark = join->next++;
	join->out_cnt++;
	return 0;
}

void xmb_join_expect_one(struct join *join, uint32_t mark)
{
	join->slots[mark % JOIN_WINDOW].due = 1;
}

static enum join_verdict close_slot(struct join *join, struct join_slot *slot,
				    struct xmb_multibuf *mb, uint8_t *port,
				    struct xmb_cache *cache)
{
	join->out_cnt--;
	/* A chain of two needs no spill block; a longer one may lack it. */
	if (!slot->is_dropped &&
	    xmb_multibuf_append(&slot->header, &slot->payload, cache) == 0) {
		*mb = slot->header;
		*port = slot->port;
		slot->header = (struct xmb_multibuf){ 0 };
		return JOIN_DONE;
	}
	xmb_multibuf_release(&slot->header, cache);
	xmb_multibuf_release(&slot->payload, cache);
	return JOIN_DROP;
}

enum join_verdict xmb_join_add(struct join *join, enum xmb_part part,
			       struct xmb_multibuf *mb, uint8_t *port,
			       struct xmb_cache *cache)
{
	struct join_slot *slot = &join->slots[mb->user % JOIN_WINDOW];
	struct xmb_multibuf *half;

	half = part == XMB_PART_HEADER ? &slot->header : &slot->payload;
	if (slot->due == 0 || slot->mark != mb->user || half->cnt) {
		xmb_multibuf_release(mb, cache);
		return JOIN_STRAY;
	}
	if (mb->cnt == 0)
		slot->is_dropped = true;
	if (part == XMB_PART_HEADER)
		slot->port = *port;
	*half = *mb;
	*mb = (struct xmb_multibuf){ 0 };
	if (--slot->due)
		return JOIN_WAITS;
	return close_slot(join, slot, mb, port, cache);
}

uint32_t xmb_join_fini(struct join *join, struct xmb_cache *cache)
{
	uint32_t cnt = join->out_cnt;

	for (uint32_t i = 0; i < JOIN_WINDOW; i++) {
		xmb_multibuf_release(&join->slots[i].header, cache);
		xmb_multibuf_release(&join->slots[i].payload, cache);
		join->slots[i].due = 0;
	}
	join->out_cnt = 0;
	return cnt;
}
