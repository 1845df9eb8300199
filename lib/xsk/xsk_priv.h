/* SPDX-License-Identifier: BSD-2-Clause */
#ifndef XMBUF_XSK_XSK_PRIV_H
#define XMBUF_XSK_XSK_PRIV_H

#include "buf/handover.h"
#include "umem/piece.h"
#include "xsk/level_priv.h"
#include "xsk/xsk.h"

#include <linux/if_xdp.h>
#include <xdp/xsk.h>

/* Newer than Debian 12's headers; the values are kernel ABI. */
#ifndef XDP_USE_SG
#define XDP_USE_SG (1 << 4) /* bind flag, Linux 6.6 */
#endif
#ifndef XDP_PKT_CONTD
#define XDP_PKT_CONTD (1 << 0) /* descriptor option, Linux 6.6 */
#endif
#ifndef XDP_MAX_TX_SKB_BUDGET
#define XDP_MAX_TX_SKB_BUDGET 9 /* socket option, Linux 6.17 */
#endif

struct ring_map {
	void *addr;
	size_t len;
};

/* What one side of the socket touches stays off the other side's lines. */
struct xmb_xsk {
	struct xmb_umem *umem;
	int fd;
	uint32_t who;
	uint32_t ring_cnt;
	uint32_t packet_max; /* longest packet that may be sent */
	struct xmb_xsk_mode mode;
	struct xmb_xsk_opts opts;
	char dev[16];
	struct ring_map maps[4]; /* fill, completion, RX, TX */
	bool is_closed;
	struct xmb_handover_held held;

	/* The receiving thread's. */
	struct xsk_ring_cons rx __attribute__((aligned(XMB_CACHE_LINE)));
	struct xsk_ring_prod fill;
	_Atomic uint32_t fill_cnt; /* frames with the kernel, or in RX */
	struct xmb_level level;
	_Atomic uint32_t level_seen; /* level.level, for any thread */
	struct xmb_multibuf open; /* head of a chain that is not complete */
	bool open_is_broken;
	uint64_t starved_check_ns;
	uint64_t starved_seen;

	/* The sending thread's. */
	struct xsk_ring_prod tx __attribute__((aligned(XMB_CACHE_LINE)));
	struct xsk_ring_cons comp;
	_Atomic uint32_t tx_frame_cnt; /* whole frames in TX */
	_Atomic uint32_t tx_slot_cnt;  /* chunks of split frames in TX */
	uint32_t tx_cap;

	xmb_counter counters[XMB_XSK_COUNTER_CNT]
		__attribute__((aligned(XMB_CACHE_LINE)));
};

static inline void xsk_count(struct xmb_xsk *xsk, enum xmb_xsk_counter which,
			     uint64_t n)
{
	xmb_counter_add(&xsk->counters[which], n);
}

/* Counts with one writer that a report may read. */
static inline uint32_t count_get(const _Atomic uint32_t *v)
{
	return atomic_load_explicit(v, memory_order_relaxed);
}

static inline void count_set(_Atomic uint32_t *v, uint32_t n)
{
	atomic_store_explicit(v, n, memory_order_relaxed);
}

/*
 * In unaligned mode the kernel names where it was told to put a packet, and in
 * the upper 16 bits how far behind that the data begins.  No other address has
 * any of these bits: it is looked up as it is, and found to be none.
 */
static inline uint64_t xsk_flat_addr(const struct xmb_xsk *xsk, uint64_t addr)
{
	if (!xsk->umem->is_unaligned)
		return addr;
	return (addr & XSK_UNALIGNED_BUF_ADDR_MASK) +
	       (addr >> XSK_UNALIGNED_BUF_OFFSET_SHIFT);
}

#endif /* XMBUF_XSK_XSK_PRIV_H */
