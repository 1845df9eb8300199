/* SPDX-License-Identifier: BSD-2-Clause */
#include "app.h"

#include "buf/edit.h"
#include "pkt/parse.h"
#include "pkt/wire.h"

#include <linux/if_ether.h>
#include <string.h>

enum { HEADER_MAX = 128 }; /* as much of the headers as is looked at */

/* Out of the other port of the two. */
static void handle_pass(void *arg, struct xmb_burst *burst)
{
	(void)arg;
	memset(burst->to, (int)(burst->port ^ 1), burst->cnt);
}

/* The same with source and destination address swapped; runts, and packets that
 * are read-only, are dropped. */
static void handle_macswap(void *arg, struct xmb_burst *burst)
{
	(void)arg;
	for (uint32_t i = 0; i < burst->cnt; i++)
		if (xmb_ether_swap(&burst->mbs[i]) == 0)
			burst->to[i] = (uint8_t)(burst->port ^ 1);
}

static void handle_drop(void *arg, struct xmb_burst *burst)
{
	(void)arg;
	(void)burst; /* the verdict is to drop unless one says otherwise */
}

/*
 * One hop less for the packet whose headers are at p.  The TTL is the high
 * byte of a word of the header checksum, which so grows by 0x0100; a sum of
 * all ones is written as 0, as if it were made anew (RFC 1624).  False: it may
 * go no further.
 */
static bool take_hop(uint8_t *p, uint32_t len)
{
	uint32_t off = 12, type, sum;

	for (int tags = 0; tags < 2 && off + 4 < len; tags++) {
		type = xmb_be16_load(p + off);
		if (type != ETH_P_8021Q && type != ETH_P_8021AD)
			break;
		off += 4;
	}
	type = off + 2 <= len ? xmb_be16_load(p + off) : 0;
	p += off + 2;
	len -= xmb_min_u32(len, off + 2);
	if (type == ETH_P_IPV6 && len >= 40)
		return p[7] > 1 && p[7]-- > 0;
	if (type != ETH_P_IP || len < 20)
		return true;
	if (p[8] <= 1)
		return false;
	p[8]--;
	sum = (uint32_t)xmb_be16_load(p + 10) + 0x0100;
	xmb_be16_store(p + 10, (uint16_t)(sum + (sum >= 0xffff)));
	return true;
}

/* Headers are rewritten by one worker, payloads looked at by another. */
static void handle_split(void *arg, struct xmb_burst *burst)
{
	(void)arg;
	for (uint32_t i = 0; i < burst->cnt; i++) {
		struct xmb_multibuf *mb = &burst->mbs[i];
		uint8_t tmp[HEADER_MAX], *p;
		uint32_t len = xmb_min_u32(mb->len, HEADER_MAX);

		if (burst->part == XMB_PART_HEADER) {
			if (!xmb_multibuf_is_writable_at(mb, 0, len) ||
			    xmb_ether_swap(mb))
				continue;
			p = xmb_multibuf_get(mb, 0, len, tmp);
			if (!take_hop(p, len))
				continue;
			if (p == tmp) /* the headers are in several chunks */
				xmb_multibuf_copy_from(mb, 0, tmp, len);
		}
		burst->to[i] = (uint8_t)(burst->port ^ 1);
	}
}

static const struct handler handlers[] = {
	{ "pass", handle_pass, false },
	{ "macswap", handle_macswap, false },
	{ "drop", handle_drop, false },
	{ "split", handle_split, true },
};

const char handler_names[] = "pass, macswap, drop, split";

const struct handler *handler_find(const char *name)
{
	for (size_t i = 0; i < sizeof(handlers) / sizeof(*handlers); i++)
		if (!strcmp(handlers[i].name, name))
			return &handlers[i];
	return NULL;
}
