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
#ifndef XMB_SO_NUMBERS
#define XMB_SO_NUMBERS
enum {
	XMB_SO_BUSY_POLL = 46,
	XMB_SO_INCOMING_NAPI_ID = 56,
	XMB_SO_PREFER_BUSY_POLL = 69, /* Linux 5.11, both */
	XMB_SO_BUSY_POLL_BUDGET = 70,
};
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
	bool is_bound;		 /* the kernel may have taken frames */
	bool is_closed;
	bool is_busy;	 /* the device's NAPI is driven by our calls */
	bool shows_late; /* what a kick took shows when the ring is drained */
	uint32_t busy_budget; /* as set: no kernel tells (seen to 6.18) */
	struct xmb_xsk_busy busy_kept; /* as it was when the socket closed */
	struct xmb_handover_held held;

	/*
	 * Several sockets on one queue: whose fill and completion ring this
	 * one uses (its own: itself), and who uses this one's, closed ones too.
	 */
	struct xmb_xsk *first;
	struct xmb_xsk *sibs[XMB_XSK_SHARE_MAX];
	uint32_t sib_cnt;
	uint32_t comp_cnt;	/* entries of the completion ring */
	uint32_t promised;	/* of those, for TX rings that are open */
	uint32_t taken_by_gone; /* TX entries that closed siblings had taken */

	/* What reconcile() saw last. */
	uint32_t leak_posted, leak_completed;
	uint64_t leak_since_ns;

	/* The receiving thread's. */
	struct xsk_ring_cons rx __attribute__((aligned(XMB_CACHE_LINE)));
	struct xsk_ring_prod fill;
	/*
	 * Frames with the kernel, or in RX; where siblings take frames out too,
	 * the sum of all, modulo 2^32 (see family_fill()).
	 */
	_Atomic uint32_t fill_cnt;
	uint32_t rx_depth; /* buffers that the last recv() found ... */
	bool has_looked;   /* ... since the last refill() */
	struct xmb_level level;
	_Atomic uint32_t level_seen; /* level.level, for any thread */
	struct xmb_multibuf open;    /* head of a chain that is not complete */
	bool open_is_broken;
	uint64_t starved_check_ns;
	uint64_t starved_seen;

	/* The sending thread's. */
	struct xsk_ring_prod tx __attribute__((aligned(XMB_CACHE_LINE)));
	struct xsk_ring_cons comp;
	_Atomic uint32_t tx_frame_cnt; /* whole frames ever posted, mod 2^32 */
	_Atomic uint32_t tx_slot_cnt;  /* chunks of split frames, likewise */
	uint32_t tx_cap;
	bool watches_tx;    /* nothing was sent yet, maybe nothing ever will */
	uint64_t unsent_ns; /* since when something waits; 0: nothing did */

	/* The reaping thread's: of the two above, how many came back. */
	_Atomic uint32_t frame_done;
	_Atomic uint32_t slot_done;

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
 * Who fills goes by this count, of siblings too: what was read from the RX ring
 * came before it, so that the kernel has read what is overwritten then.
 */
static inline void fill_cnt_set(struct xmb_xsk *xsk, uint32_t n)
{
	atomic_store_explicit(&xsk->fill_cnt, n, memory_order_release);
}

/* For what is received, in a frame. */
static inline uint32_t xsk_data_room(const struct xmb_xsk *xsk)
{
	return xsk->umem->pool.domain.region_len - xsk->umem->headroom;
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

/*
 * Show the kernel what was written to a ring, or that what was read may be
 * written again.  The index is ours: it is not loaded back from its line, which
 * the kernel reads.
 */
static inline void xsk_show(uint32_t *index, uint32_t value)
{
	__atomic_store_n(index, value, __ATOMIC_RELEASE);
}

/* What is in TX; acquires what the reaping thread did before it said so. */
static inline uint32_t frames_in_tx(const struct xmb_xsk *xsk)
{
	return count_get(&xsk->tx_frame_cnt) -
	       atomic_load_explicit(&xsk->frame_done, memory_order_acquire);
}

static inline uint32_t slots_in_tx(const struct xmb_xsk *xsk)
{
	return count_get(&xsk->tx_slot_cnt) -
	       atomic_load_explicit(&xsk->slot_done, memory_order_acquire);
}

static inline void count_done(struct xmb_xsk *xsk, uint32_t frames,
			      uint32_t slots)
{
	atomic_store_explicit(&xsk->frame_done,
			      count_get(&xsk->frame_done) + frames,
			      memory_order_release);
	atomic_store_explicit(&xsk->slot_done,
			      count_get(&xsk->slot_done) + slots,
			      memory_order_release);
}

/* Packets' frames in a socket's RX ring, whoever's thread asks. */
static inline uint32_t rx_unread(const struct xmb_xsk *xsk)
{
	if (xsk->is_closed || !xsk->rx.ring)
		return 0;
	/* Whatever the indexes say, a ring holds no more. */
	return xmb_min_u32(
		__atomic_load_n(xsk->rx.producer, __ATOMIC_ACQUIRE) -
			__atomic_load_n(xsk->rx.consumer, __ATOMIC_RELAXED),
		xsk->rx.size);
}

/* open.c */
enum { XSK_RETRY_US = 2000 }; /* while another has the queue still */

int xsk_refuse(const struct xmb_xsk *xsk, int err, const char *doing,
	       const char *advice);

/* bind.c: bind the queue and learn the mode, until deadline_ns while busy. */
int xsk_bind(struct xmb_xsk *xsk, uint64_t deadline_ns);

/* share.c: sockets that share fill and completion ring with another. */
int xsk_share_check(const struct xmb_xsk *xsk);
int xsk_share_bind(struct xmb_xsk *xsk);
void xsk_share_join(struct xmb_xsk *xsk);
void xsk_share_close(struct xmb_xsk *xsk, struct xmb_cache *cache);
void xsk_share_leave(struct xmb_xsk *xsk);
uint32_t xsk_family_fill(const struct xmb_xsk *xsk);
uint32_t xsk_sibs_unread(const struct xmb_xsk *xsk);

/* What a completion was of. */
enum completed { COMPLETED_SLOT, COMPLETED_FRAME, COMPLETED_SIBLING };
int xsk_complete_shared(struct xmb_xsk *xsk, struct xmb_cache *cache,
			uint64_t addr);

/* tx.c */
int xsk_complete_at(struct xmb_xsk *xsk, struct xmb_cache *cache,
		    uint64_t addr);

/* kick.c */
void xsk_rx_wake(struct xmb_xsk *xsk);

/* busy.c */
void xsk_busy_watch_tx(struct xmb_xsk *xsk);
void xsk_busy_set(struct xmb_xsk *xsk);

#endif /* XMBUF_XSK_XSK_PRIV_H */
