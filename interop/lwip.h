/* SPDX-License-Identifier: BSD-2-Clause */
#ifndef XMBUF_INTEROP_LWIP_H
#define XMBUF_INTEROP_LWIP_H

#include "buf/multibuf.h"

#include <lwip/pbuf.h>

/*
 * lwip: multibufs as pbufs of lwIP 2.1 and back, without a copy.
 *
 *      receive  multibuf [ chunk ][ chunk ]  ->  pbuf -> pbuf   (PBUF_REF)
 *               whoever frees a pbuf releases its chunk
 *      send     pbuf (header, lwIP's own) -> pbuf (ours)
 *               -> multibuf [ lwIP's memory, held ][ share of our chunk ]
 *
 * A pbuf that this made is recognised on its way back: its chunk is shared, so
 * that it is sent in place while lwIP keeps it for a retransmission.  Memory of
 * lwIP's own is held by a reference to its pbuf, and is foreign to an AF_XDP
 * socket: sending copies it into a frame (a header, as a rule), and counts.
 *
 * Units      Bytes; a pbuf chain holds at most 65,535.
 * Ownership  The context and its nodes are the caller's and outlive the pbufs.
 * Threads    All of a context, and every release of what to_multibuf() made, in
 *            the thread that runs lwIP, or under its core lock: lwIP's counts
 *            of references are not atomic in every port.
 * Errors     Negative errno; a call that fails changes nothing.
 * Kernel     Needs lwIP with LWIP_SUPPORT_CUSTOM_PBUF.
 */

struct xmb_lwip;

/* A pbuf with the chunk that it points at. */
struct xmb_lwip_node {
	struct pbuf_custom pbuf;
	struct xmb_chunk chunk;
	struct xmb_lwip *lwip;
	struct xmb_lwip_node *next; /* while it is free */
};

struct xmb_lwip {
	struct xmb_cache *cache;
	struct xmb_lwip_node *free;
	uint32_t node_cnt, free_cnt;
};

/* Use cnt nodes: as many pbufs can be out at a time. */
XMB_API void xmb_lwip_init(struct xmb_lwip *lwip, struct xmb_cache *cache,
			   struct xmb_lwip_node *nodes, uint32_t cnt);

/*
 * Make a chain of pbufs of the chunks of mb, which is left {0}; chunks of no
 * bytes are released.  pbuf_free() releases the others.
 * -EMSGSIZE: more than 65,535 bytes.  -ENODATA: no bytes.  -EPERM: a chunk is
 * read-only, and lwIP writes into its pbufs.  -ENOBUFS: too few nodes are free.
 */
XMB_API int xmb_lwip_to_pbuf(struct xmb_lwip *lwip, struct xmb_multibuf *mb,
			     struct pbuf **pbuf);

/*
 * Make the empty mb of the bytes of the chain; the caller keeps its reference
 * (as a netif's linkoutput has to).
 * -ENODATA: no bytes.  -ENOBUFS, -ENOMEM, and -ENOSPC: more than 255 domains,
 * of which each pbuf of lwIP's own takes one.
 */
XMB_API int xmb_lwip_to_multibuf(struct xmb_lwip *lwip, struct pbuf *pbuf,
				 struct xmb_multibuf *mb);

#endif /* XMBUF_INTEROP_LWIP_H */
