/* SPDX-License-Identifier: BSD-2-Clause */
#ifndef XMBUF_STATS_COUNTER_H
#define XMBUF_STATS_COUNTER_H

#include "base/base.h"

#include <stdatomic.h>

/*
 * counter: named 64-bit counters, each with its kind and its sentence.
 *
 * A room lists its counters once, as a macro table
 *
 *      #define XMB_FOO_COUNTERS(X)                                  \
 *              X(RX_PACKETS, rx_packets, TOTAL, "packets received") \
 *              X(RX_RUNT, rx_runt, DROP, "shorter than a header: ...")
 *
 * from which the room makes its index by an X of its own, and XMB_COUNTER_DESC
 * the description, so that no counter exists without a sentence and whoever
 * prints "drops by name" finds them all.
 *
 * Units      Events, packets or bytes, as the sentence says.
 * Threads    One thread writes a counter, any thread reads it.  Adding is a
 *            relaxed load and store: no locked instruction, never torn.
 */

enum xmb_counter_kind {
	XMB_COUNTER_TOTAL, /* what went well */
	XMB_COUNTER_DROP,  /* a packet that ended here, by reason */
	XMB_COUNTER_EVENT, /* worth knowing, no packet lost by it */
	XMB_COUNTER_FAULT, /* kernel, device or peer broke a rule */
};

struct xmb_counter_desc {
	const char *name;
	enum xmb_counter_kind kind;
	const char *meaning; /* one sentence; what to do, where that helps */
};

typedef _Atomic uint64_t xmb_counter;

#define XMB_COUNTER_DESC(up, low, kind, meaning)                               \
	{ #low, XMB_COUNTER_##kind, meaning },

static inline void xmb_counter_add(xmb_counter *counter, uint64_t n)
{
	uint64_t v = atomic_load_explicit(counter, memory_order_relaxed);

	atomic_store_explicit(counter, v + n, memory_order_relaxed);
}

static inline uint64_t xmb_counter_read(const xmb_counter *counter)
{
	return atomic_load_explicit((xmb_counter *)counter,
				    memory_order_relaxed);
}

#endif /* XMBUF_STATS_COUNTER_H */
