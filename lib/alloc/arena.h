/* SPDX-License-Identifier: BSD-2-Clause */
#ifndef XMBUF_ALLOC_ARENA_H
#define XMBUF_ALLOC_ARENA_H

#include "alloc/allocator.h"

/*
 * arena: a pool inside one piece of the caller's memory, side arrays and all:
 * nothing else is allocated, ever.
 *
 *      mem   |pad| words, trackers, spill blocks | pad | frame | frame | ...|
 *                  xmb_pool_footprint()                 as many as fit
 *
 * For programs that may not call malloc, and for memory that is special: a
 * mapping of hugepages, static memory, memory that a device can reach.
 *
 *      static uint8_t mem[1 << 20];
 *      xmb_arena_init(&arena, &(struct xmb_arena_opts){
 *              .mem = mem, .len = sizeof(mem), .frame_len = 2048 });
 *      xmb_allocator_alloc_len(&arena.allocator, 1500, &mb);
 *      xmb_multibuf_release(&mb, &arena.cache);
 *
 * Units      Bytes.  An arena is one of at most 255 domains in a process.
 * Ownership  The memory and the struct are the caller's, and stay where they
 *            are until fini().
 * Threads    arena.allocator and arena.cache: one at a time.  Another thread
 *            makes a cache of its own over arena.pool.
 * Errors     0 or a negative errno; a call that fails changes nothing.
 */

struct xmb_arena_opts {
	void *mem;
	size_t len;
	uint32_t frame_len; /* 0: 2048 */
	uint32_t spill_cnt; /* as in struct xmb_pool_opts */
};

struct xmb_arena {
	struct xmb_pool pool;
	struct xmb_cache cache;
	struct xmb_allocator allocator;
};

/*
 * Make as many frames as fit, one behind the other; the first is aligned to a
 * cache line, and so are all if frame_len is a multiple of one.
 * -EINVAL: frame_len is not 64..XMB_REGION_LEN_MAX.  -EMSGSIZE: len holds not
 * one frame and what belongs to it.  -ENOSPC: 255 domains exist.
 */
XMB_API int xmb_arena_init(struct xmb_arena *arena,
			   const struct xmb_arena_opts *opts);

/*
 * Give the memory back to the caller.
 * -EBUSY: a frame or a spill block is not home.
 */
XMB_API int xmb_arena_fini(struct xmb_arena *arena);

#endif /* XMBUF_ALLOC_ARENA_H */
