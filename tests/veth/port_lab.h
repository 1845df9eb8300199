/* SPDX-License-Identifier: BSD-2-Clause */
#ifndef XMBUF_TESTS_VETH_PORT_LAB_H
#define XMBUF_TESTS_VETH_PORT_LAB_H

#include "xsk_lab.h"

#include "nic/nic.h"
#include "port/port.h"

#include <net/if.h>
#include <unistd.h>

/*
 * port_lab: one device for the tests of lib/port, and 4096 frames:
 *
 *      left (4 rx, 2 tx queues) ---- ltap (2 rx, 4 tx queues)
 *
 * A port that is closed by close_port() has given back all of them.
 */

static inline void port_lab_setup(void)
{
	xsk_lab_setup();
	/* left receives on 4 queues and sends on 2. */
	must("ip link add left numrxqueues 4 numtxqueues 2 type veth peer "
	     "name ltap numrxqueues 2 numtxqueues 4 && "
	     "ip link set left up && ip link set ltap up && "
	     "ethtool -K left rx-vlan-hw-parse on");
	lab_frames(2048, 4096);
}

static struct xmb_cache *caches[XMB_PORT_QUEUE_MAX];

static inline struct xmb_nic_info left_now(void)
{
	struct xmb_nic_info info;

	cr_assert(eq(int, xmb_nic_query("left", &info), 0));
	return info;
}

static inline struct xmb_port *create(const struct xmb_port_opts *opts)
{
	struct xmb_port *port = NULL;

	cr_assert(eq(int, xmb_port_create(&port, opts), 0));
	for (uint32_t i = 0; i < XMB_PORT_QUEUE_MAX; i++)
		caches[i] = &lab.cache;
	return port;
}

static const struct xmb_port_share share = { .fill_max = 256, .tx_cap = 256 };

static inline struct xmb_port *open_port(const struct xmb_port_opts *opts)
{
	struct xmb_port *port = create(opts);

	cr_assert(eq(int, xmb_port_open(port, lab.umem, caches, share), 0));
	return port;
}

static inline void settle(struct xmb_port *port)
{
	int err = -EAGAIN;

	for (int i = 0; i < WAIT_MS && err == -EAGAIN; i++) {
		err = xmb_port_settle(port, &lab.cache);
		if (err)
			usleep(1000);
	}
	cr_expect(eq(int, err, 0));
}

static inline void close_port(struct xmb_port *port)
{
	xmb_port_detach(port);
	xmb_port_close(port, caches);
	settle(port);
	xmb_port_destroy(port);
	cr_expect(eq(u32, lab_free_cnt(), 4096));
}

#endif /* XMBUF_TESTS_VETH_PORT_LAB_H */
