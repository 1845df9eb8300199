/* SPDX-License-Identifier: BSD-2-Clause */
#include "engine/engine_priv.h"

#include "base/log.h"

/*
 * A packet comes in as many buffers as its bytes need, and may go out in only
 * so many: a longer chain is copied into full frames, or dropped.
 */

enum { LARGE_LEN = 4096 };

static uint32_t bufs_for(uint32_t len, uint32_t room)
{
	return (len + room - 1) / room;
}

/* len: the longest packet that comes in and may leave. */
static void warn_of(const struct xmb_engine *engine, uint32_t from, uint32_t to,
		    uint32_t len)
{
	uint32_t frame_len = engine->umem->pool.domain.region_len;
	uint32_t max =
		xmb_xsk_mode(xmb_port_xsk(engine->ports[to], 0)).frags_max;
	uint32_t cnt = bufs_for(len, frame_len - engine->umem->headroom);
	bool is_lost = bufs_for(len, frame_len) > max;

	if (cnt <= max)
		return;
	xmb_log(XMB_LOG_WARN,
		"%s to %s: packets of %u bytes come in %u frames of %u, and "
		"leave in at most %u: they are %s (%s)%s",
		xmb_port_nic(engine->ports[from])->name,
		xmb_port_nic(engine->ports[to])->name, len, cnt, frame_len, max,
		is_lost ? "dropped" : "copied into fuller frames",
		is_lost ? "tx_too_many_frags" : "tx_gathered",
		bufs_for(len, LARGE_LEN - engine->umem->headroom) <= max &&
				frame_len < LARGE_LEN
			? ": --frame-size 4096 avoids it"
			: ": a smaller MTU avoids it");
}

void xmb_engine_warn_of_pairs(const struct xmb_engine *engine)
{
	for (uint32_t a = 0; a < engine->opts.port_cnt; a++)
		for (uint32_t b = 0; b < engine->opts.port_cnt; b++) {
			uint32_t mtu = xmb_min_u32(
				xmb_port_nic(engine->ports[a])->mtu,
				xmb_port_nic(engine->ports[b])->mtu);

			if (a != b)
				warn_of(engine, a, b, mtu + XMB_XSK_L2_LEN);
		}
}
