/* SPDX-License-Identifier: BSD-2-Clause */
#ifndef XMBUF_ALLOC_HEAP_H
#define XMBUF_ALLOC_HEAP_H

#include "alloc/allocator.h"

#include <pthread.h>

/*
 * heap: an allocator that grows by slabs, each a pool, up to a limit.
 *
 *      heap --+-- slab 0 [ side | frames ]   there from init() to fini()
 *             +-- slab 1 [ side | frames ]   taken when the others are empty,
 *             +-- slab 2 [ side | frames ]   given back by trim() when free
 *
 * The memory of a slab comes from the caller's functions, or malloc() and
 * free().  A multibuf may have chunks of several slabs; its spill blocks are of
 * slab 0, which therefore has enough for all.  A chunk is released with any
 * cache and goes home to its slab.
 *
 * Nothing is allocated for the time being: only the call that grows allocates,
 * and only trim() and fini() give back.
 *
 * Units      Bytes.  Each slab is one of at most 255 domains in a process,
 *            pools and caller's memory (extbuf.h) among them.
 * Ownership  The caller owns the struct; it stays where it is until fini().
 * Threads    Any: the heap has a lock, which is not held while a function of
 *            the caller's runs.  An allocator over it is a thread's own, and
 *            so is the cache it takes (over xmb_heap_pool()).
 * Errors     0 or a negative errno; a call that fails changes nothing.
 */

#define XMB_HEAP_SLAB_MAX 128u

struct xmb_heap_opts {
	uint32_t frame_len; /* 0: 2048 */
	uint32_t frame_cnt; /* of a slab; 0: 256 */
	uint32_t slab_max;  /* 0: 16; at most XMB_HEAP_SLAB_MAX */
	/* Both or none.  alloc may return NULL; no alignment is asked for. */
	void *(*alloc)(void *arg, size_t len);
	void (*free)(void *arg, void *mem, size_t len);
	void *arg;
};

struct xmb_heap_slab;

struct xmb_heap {
	struct xmb_heap_opts opts;
	pthread_mutex_t lock; /* of what follows */
	struct xmb_heap_slab *slabs[XMB_HEAP_SLAB_MAX];
	uint32_t slab_cnt;    /* slabs[0..slab_cnt) are there */
	uint32_t growing_cnt; /* places that are promised to who allocates */
	uint32_t waiting_cnt;
	struct xmb_pool_hook *hook;
	_Atomic uint32_t releasing; /* calls that put a chunk home */
};

/*
 * Make the heap and its first slab.
 * -EINVAL: a length or count out of range.  -ENOMEM: alloc refused.  -ENOSPC:
 * 255 domains exist.
 */
XMB_API int xmb_heap_init(struct xmb_heap *heap,
			  const struct xmb_heap_opts *opts);

/*
 * Give all slabs back.  Caches must be finished.
 * -EBUSY: a frame or a spill block is not home.
 */
XMB_API int xmb_heap_fini(struct xmb_heap *heap);

/* The first slab's pool: what a thread makes its cache over. */
XMB_API struct xmb_pool *xmb_heap_pool(struct xmb_heap *heap);

/* Vend from the heap; the cache is of xmb_heap_pool(). */
XMB_API void xmb_allocator_init_heap(struct xmb_allocator *allocator,
				     struct xmb_heap *heap,
				     struct xmb_cache *cache);

/*
 * Give back slabs that are all free, but the first; returns how many.  One
 * that somebody is just releasing a chunk into is left for the next time.
 */
XMB_API uint32_t xmb_heap_trim(struct xmb_heap *heap);

/* Slabs that there are. */
XMB_API uint32_t xmb_heap_slab_cnt(struct xmb_heap *heap);

#endif /* XMBUF_ALLOC_HEAP_H */
