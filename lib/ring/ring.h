/* SPDX-License-Identifier: BSD-2-Clause */
#ifndef XMBUF_RING_RING_H
#define XMBUF_RING_RING_H

#include "base/base.h"

#include <stdatomic.h>
#include <string.h>

/*
 * ring: a queue from one thread to another, over the caller's memory.
 *
 *      memory  [ tail | head | item 0 | item 1 | ... | item cnt-1 ]
 *                ^ own cache lines
 *      producer: reserve() n items, write them, commit(n)   moves tail
 *      consumer: peek() n items, read them, release(n)      moves head
 *
 * One side writes tail, the other head, and each keeps the last value that it
 * read of the other's, so that a burst costs one line to and fro and not one
 * an item.  A ring has one producer and one consumer for life: each has a
 * handle of its own, in its own memory.  Offsets only: the memory may be mapped
 * at different addresses.
 *
 * Units      _cnt counts items; item_len is in bytes.
 * Ownership  The caller owns memory and handles; whose the items are is the
 *            caller's business.
 * Threads    A handle belongs to one thread at a time.
 * Errors     None: a full ring takes 0 items, an empty one gives 0.
 */

struct xmb_ring_shared {
	_Atomic uint32_t tail __attribute__((aligned(XMB_CACHE_LINE)));
	_Atomic uint32_t head __attribute__((aligned(XMB_CACHE_LINE)));
	uint32_t cnt; /* written once, by init */
	uint32_t item_len;
} __attribute__((aligned(XMB_CACHE_LINE)));

/* One side's handle. */
struct xmb_ring {
	struct xmb_ring_shared *shared;
	uint8_t *items;
	uint32_t mask;
	uint32_t item_len;
	uint32_t mine;	 /* my index; the other side sees it when published */
	uint32_t theirs; /* the other's index, as last read */
};

/* Bytes of memory for cnt items, a power of two; aligned to a cache line. */
static inline size_t xmb_ring_footprint(uint32_t cnt, uint32_t item_len)
{
	return sizeof(struct xmb_ring_shared) +
	       xmb_align_up((size_t)cnt * item_len, XMB_CACHE_LINE);
}

/* A handle on a ring that init() has made; one for each side. */
static inline void xmb_ring_join(struct xmb_ring *ring, void *memory)
{
	struct xmb_ring_shared *shared = memory;

	*ring = (struct xmb_ring){
		.shared = shared,
		.items = (uint8_t *)memory + sizeof(*shared),
		.mask = shared->cnt - 1,
		.item_len = shared->item_len,
	};
}

/* Make an empty ring of cnt items, a power of two, in memory. */
static inline void xmb_ring_init(void *memory, uint32_t cnt, uint32_t item_len)
{
	struct xmb_ring_shared *shared = memory;

	XMB_ASSERT(xmb_is_pow2(cnt) && cnt <= 1u << 31 && item_len > 0);
	memset(shared, 0, sizeof(*shared));
	shared->cnt = cnt;
	shared->item_len = item_len;
}

/* The item at an index that reserve() or peek() gave, or behind it. */
static inline void *xmb_ring_item(const struct xmb_ring *ring, uint32_t idx)
{
	return ring->items + (size_t)(idx & ring->mask) * ring->item_len;
}

/*
 * Producer: up to want free items, from *idx on; 0 when the ring is full.
 * Acquire pairs with release(): what the consumer read may be overwritten.
 */
static inline uint32_t xmb_ring_reserve(struct xmb_ring *ring, uint32_t want,
					uint32_t *idx)
{
	uint32_t room = ring->mask + 1 - (ring->mine - ring->theirs);

	if (room < want) {
		ring->theirs = atomic_load_explicit(&ring->shared->head,
						    memory_order_acquire);
		room = ring->mask + 1 - (ring->mine - ring->theirs);
	}
	*idx = ring->mine;
	return xmb_min_u32(room, want);
}

/* Producer: publish n items, written since reserve(). */
static inline void xmb_ring_commit(struct xmb_ring *ring, uint32_t n)
{
	ring->mine += n;
	/* Pairs with the acquire in peek(). */
	atomic_store_explicit(&ring->shared->tail, ring->mine,
			      memory_order_release);
}

/* Consumer: up to want items, from *idx on; 0 when the ring is empty. */
static inline uint32_t xmb_ring_peek(struct xmb_ring *ring, uint32_t want,
				     uint32_t *idx)
{
	uint32_t have = ring->theirs - ring->mine;

	if (have == 0) {
		ring->theirs = atomic_load_explicit(&ring->shared->tail,
						    memory_order_acquire);
		have = ring->theirs - ring->mine;
	}
	*idx = ring->mine;
	return xmb_min_u32(have, want);
}

/* Consumer: give n items back, read since peek(). */
static inline void xmb_ring_release(struct xmb_ring *ring, uint32_t n)
{
	ring->mine += n;
	/* Pairs with the acquire in reserve(). */
	atomic_store_explicit(&ring->shared->head, ring->mine,
			      memory_order_release);
}

/* Producer: copy up to n items in; returns how many. */
static inline uint32_t xmb_ring_push(struct xmb_ring *ring, const void *items,
				     uint32_t n)
{
	uint32_t idx, first;

	n = xmb_ring_reserve(ring, n, &idx);
	if (n == 0)
		return 0;
	first = xmb_min_u32(n, ring->mask + 1 - (idx & ring->mask));
	memcpy(xmb_ring_item(ring, idx), items, (size_t)first * ring->item_len);
	memcpy(ring->items, (const uint8_t *)items + first * ring->item_len,
	       (size_t)(n - first) * ring->item_len);
	xmb_ring_commit(ring, n);
	return n;
}

/* Consumer: copy up to n items out; returns how many. */
static inline uint32_t xmb_ring_pop(struct xmb_ring *ring, void *items,
				    uint32_t n)
{
	uint32_t idx, first;

	n = xmb_ring_peek(ring, n, &idx);
	if (n == 0)
		return 0;
	first = xmb_min_u32(n, ring->mask + 1 - (idx & ring->mask));
	memcpy(items, xmb_ring_item(ring, idx), (size_t)first * ring->item_len);
	memcpy((uint8_t *)items + first * ring->item_len, ring->items,
	       (size_t)(n - first) * ring->item_len);
	xmb_ring_release(ring, n);
	return n;
}

/* Items in the ring, as either side sees it now. */
static inline uint32_t xmb_ring_cnt(const struct xmb_ring *ring)
{
	return atomic_load_explicit(&ring->shared->tail, memory_order_acquire) -
	       atomic_load_explicit(&ring->shared->head, memory_order_acquire);
}

#endif /* XMBUF_RING_RING_H */
