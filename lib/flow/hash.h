/* SPDX-License-Identifier: BSD-2-Clause */
#ifndef XMBUF_FLOW_HASH_H
#define XMBUF_FLOW_HASH_H

#include "base/base.h"
#include "buf/multibuf.h"

/*
 * hash: a number that is the same for all packets of a flow.
 *
 *      TCP, UDP           addresses, protocol, ports
 *      other IP           addresses, protocol; so for every fragment, for the
 *                         later ones have no ports, and in IPv6 not all the
 *                         protocol's headers: there it is "fragment"
 *      not IP, malformed  MAC addresses and EtherType
 *
 * VLAN tags do not count.  A symmetric hash is the same for both directions.
 *
 * Units      32 bits, evenly spread: take the high or the low ones.
 * Threads    No state: any thread.
 * Errors     None: every frame has a hash; of fewer than 14 bytes it is 0.
 */

/* *hdr_len, unless NULL, is set to the length of the headers: L2 to L4. */
XMB_API uint32_t xmb_flow_hash(const struct xmb_multibuf *mb, bool is_symmetric,
			       uint32_t *hdr_len);

#endif /* XMBUF_FLOW_HASH_H */
