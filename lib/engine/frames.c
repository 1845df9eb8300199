/* SPDX-License-Identifier: BSD-2-Clause */
#include "engine/engine_priv.h"

enum {
	JUMBO_MTU = 3000,
	SMALL_ROOM = 2048 - XMB_UMEM_KERNEL_ROOM, /* for data, in 2048 bytes */
};

/*
 * A jumbo packet in frames of 2 KiB is a chain of six; in frames of 4 KiB the
 * three that a multibuf has inline.  A driver that fills frames by the KiB in
 * zero copy takes no packet of 1500 bytes into one of 2 KiB, and neither does
 * one with much headroom.
 */
static bool wants_large(const struct xmb_nic_info *nic, uint32_t headroom)
{
	uint32_t room = SMALL_ROOM - xmb_min_u32(headroom, SMALL_ROOM);

	room -= room % nic->zc_unit;
	return nic->mtu > JUMBO_MTU ||
	       (room < SMALL_ROOM && nic->mtu + XMB_XSK_L2_LEN > room);
}

static void choose_frame_len(struct xmb_engine *engine)
{
	uint32_t *frame_len = &engine->opts.umem.frame_len;

	for (uint32_t p = 0; p < engine->opts.port_cnt && !*frame_len; p++)
		if (wants_large(xmb_port_nic(engine->ports[p]),
				engine->opts.umem.headroom))
			*frame_len = 4096;
}

int xmb_engine_create_umem(struct xmb_engine *engine)
{
	struct xmb_umem_opts opts;
	int nodes[XMB_ENGINE_PORT_MAX];

	choose_frame_len(engine);
	opts = engine->opts.umem;
	for (uint32_t p = 0; p < engine->opts.port_cnt; p++)
		nodes[p] = xmb_port_nic(engine->ports[p])->numa_node;
	if (opts.dev_cnt == 0) {
		opts.dev_nodes = nodes;
		opts.dev_cnt = engine->opts.port_cnt;
	}
	return xmb_umem_create(&engine->umem, &opts);
}

struct xmb_umem *xmb_engine_umem(struct xmb_engine *engine)
{
	return engine->umem;
}
