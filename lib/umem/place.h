/* SPDX-License-Identifier: BSD-2-Clause */
#ifndef XMBUF_UMEM_PLACE_H
#define XMBUF_UMEM_PLACE_H

#include "base/base.h"

/*
 * place: on which NUMA node packet memory should lie.
 *
 *      one node with memory             anywhere: there is no choice
 *      no device says its node          anywhere
 *      all devices near one node        on that node
 *      devices near different nodes     spread over those nodes, page by page
 *
 * A device on a node without memory counts for the nearest node that has some.
 * Between different nodes every packet that is forwarded crosses once wherever
 * its frame lies: spread pages load both memories alike.
 *
 * The policy is a pure function of what it is given; reading the machine and
 * telling the kernel are calls of their own.
 *
 * Units      Nodes are numbers as the kernel gives them, 0..63; -1: unknown.
 * Ownership  Nothing is kept.
 * Threads    Any.
 * Errors     0 or negative errno.
 * Kernel     mbind (2.6.7); /sys/devices/system/node, the same in every network
 *            namespace.
 */

#define XMB_NODE_MAX 64

struct xmb_topology {
	uint64_t nodes; /* bit set: the node has memory */
	uint8_t distance[XMB_NODE_MAX][XMB_NODE_MAX]; /* 0: not known */
};

enum xmb_place_kind {
	XMB_PLACE_ANY,	  /* as the kernel likes */
	XMB_PLACE_NODE,	  /* on one node, elsewhere when that is full */
	XMB_PLACE_SPREAD, /* over nodes, page by page */
};

struct xmb_place {
	enum xmb_place_kind kind;
	uint64_t nodes;	 /* bits; 0: ANY */
	const char *why; /* a constant */
};

/* Decide for devices of which dev_nodes tells the nodes; pure. */
XMB_API struct xmb_place xmb_umem_place(const struct xmb_topology *topology,
					const int *dev_nodes, uint32_t dev_cnt);

/*
 * Read the nodes of this machine; root: where they are described, NULL:
 * /sys/devices/system/node.
 * -ENOENT: the kernel describes none.  -EINVAL: it describes them in a way that
 * is not understood, or a node above 63.
 */
XMB_API int xmb_topology_read(struct xmb_topology *topology, const char *root);

/*
 * Have the pages of [area, area + len), none of them touched yet, lie there.
 * -EINVAL: a node that is none.  -ENOSYS: a kernel without NUMA.  -EPERM: the
 * calls are forbidden (containers do so).
 */
XMB_API int xmb_umem_place_apply(void *area, size_t len,
				 const struct xmb_place *place);

#endif /* XMBUF_UMEM_PLACE_H */
