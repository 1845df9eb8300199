/* SPDX-License-Identifier: BSD-2-Clause */
#ifndef XMBUF_PKT_WIRE_H
#define XMBUF_PKT_WIRE_H

#include "base/base.h"

#include <endian.h>
#include <string.h>

/*
 * wire: numbers in network byte order at any address.
 *
 * Units      Values are in the host's order; p needs no alignment.
 * Threads    Pure functions.
 */

static inline uint16_t xmb_be16_load(const void *p)
{
	uint16_t v;

	memcpy(&v, p, sizeof(v));
	return be16toh(v);
}

static inline uint32_t xmb_be32_load(const void *p)
{
	uint32_t v;

	memcpy(&v, p, sizeof(v));
	return be32toh(v);
}

static inline void xmb_be16_store(void *p, uint16_t v)
{
	v = htobe16(v);
	memcpy(p, &v, sizeof(v));
}

static inline void xmb_be32_store(void *p, uint32_t v)
{
	v = htobe32(v);
	memcpy(p, &v, sizeof(v));
}

#endif /* XMBUF_PKT_WIRE_H */
