/* SPDX-License-Identifier: BSD-2-Clause */
#ifndef XMBUF_TESTS_THREAD_LAB_H
#define XMBUF_TESTS_THREAD_LAB_H

/* What threads need that hand chunks to each other. */

#include "buf/chunk.h"

#include <sched.h>

enum { RING_LEN = 64 };

/* A way for handles from one thread to another, one at each end. */
struct ring {
	_Atomic uint32_t head __attribute__((aligned(XMB_CACHE_LINE)));
	_Atomic uint32_t tail __attribute__((aligned(XMB_CACHE_LINE)));
	struct xmb_chunk chunks[RING_LEN];
};

/* False, and the chunk stays the caller's, when the ring is full. */
static inline bool ring_try_put(struct ring *ring, struct xmb_chunk *chunk)
{
	uint32_t head = atomic_load_explicit(&ring->head, memory_order_relaxed);

	if (head - atomic_load_explicit(&ring->tail, memory_order_acquire) ==
	    RING_LEN)
		return false;
	ring->chunks[head % RING_LEN] = *chunk;
	*chunk = (struct xmb_chunk){ 0 };
	atomic_store_explicit(&ring->head, head + 1, memory_order_release);
	return true;
}

static inline bool ring_try_get(struct ring *ring, struct xmb_chunk *chunk)
{
	uint32_t tail = atomic_load_explicit(&ring->tail, memory_order_relaxed);

	if (atomic_load_explicit(&ring->head, memory_order_acquire) == tail)
		return false;
	*chunk = ring->chunks[tail % RING_LEN];
	atomic_store_explicit(&ring->tail, tail + 1, memory_order_release);
	return true;
}

static inline void ring_put(struct ring *ring, struct xmb_chunk *chunk)
{
	while (!ring_try_put(ring, chunk))
		sched_yield();
}

static inline struct xmb_chunk ring_get(struct ring *ring)
{
	struct xmb_chunk chunk = { 0 };

	while (!ring_try_get(ring, &chunk))
		sched_yield();
	return chunk;
}

static inline uint32_t rnd(uint64_t *seed, uint32_t below)
{
	*seed = *seed * UINT64_C(6364136223846793005) +
		UINT64_C(1442695040888963407);
	return (uint32_t)(*seed >> 33) % below;
}

/* On a CPU of its own where there are two, or they would only take turns. */
static inline void pin(uint32_t id)
{
	cpu_set_t all, one;
	int cpu = 0;

	if (sched_getaffinity(0, sizeof(all), &all))
		return;
	id %= (uint32_t)CPU_COUNT(&all);
	while (!CPU_ISSET(cpu, &all) || id-- > 0)
		cpu++;
	CPU_ZERO(&one);
	CPU_SET(cpu, &one);
	sched_setaffinity(0, sizeof(one), &one);
}

#endif /* XMBUF_TESTS_THREAD_LAB_H */
