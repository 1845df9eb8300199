/* SPDX-License-Identifier: BSD-2-Clause */
#ifndef XMBUF_ALLOC_ALLOCATOR_H
#define XMBUF_ALLOC_ALLOCATOR_H

#include "base/base.h"
#include "buf/multibuf.h"

/*
 * allocator: what vends multibufs, wherever the memory comes from.
 *
 *      pool of a UMEM -----.
 *      caller's buffer ----+--> struct xmb_allocator --> multibufs
 *      heap of slabs ------'         (and waiters, see waiter.h)
 *
 * A request says how much, and where room has to be left in each chunk:
 *
 *      region   [ headroom |   up to what is left   | tailroom ]
 *                          ^ data                   ^ claim_suffix
 *                          claim_prefix
 *
 * With segment_len the bytes come as segments of that length (the last one may
 * be shorter), each of chunks of its own with its own headroom, and each a
 * fragment (edit.h): xmb_multibuf_take_fragment() takes them off one by one.
 *
 *      segment_len 100, of 250:   [hh|100][hh|100][hh|50]
 *
 * segment() does the same to a payload that is there already, without a copy:
 *
 *      payload  [ a  a  a  a ][ b  b  b ]      mtu 2, header room in front
 *      ->       [hh|][a a]  [hh|][a a]  [hh|][b b]  [hh|][b]
 *
 * An allocator is a thread's handle, of a few words: its source, and the
 * thread's cache.  Two allocators of one source are two of these.
 *
 * Units      Bytes.  A region is a frame of the source, a chunk lies in one.
 * Ownership  The caller owns the struct and the source; multibufs go home by
 *            xmb_multibuf_release() with any cache, as always.
 * Threads    One at a time for each allocator, with its cache.
 * Errors     -ENOBUFS: not now; when somebody releases, it may work.
 *            -EMSGSIZE: never, even with everything free: the headroom leaves
 *            no room, what must be contiguous is longer than a region, or the
 *            source has too few regions or spill blocks (those that the pool
 *            reserves for fill rings are not to be had).  -EINVAL: min_len is
 *            above desired_len.  0 bytes are always to be had: the multibuf is
 *            left empty and nothing is taken.  A call that fails changes
 *            nothing.
 */

struct xmb_alloc_request {
	size_t min_len;	      /* at least this */
	size_t desired_len;   /* as much of this as is free; 0: min_len */
	uint32_t headroom;    /* in front of each chunk */
	uint32_t tailroom;    /* behind each chunk */
	uint32_t segment_len; /* 0: all is one */
	bool is_contiguous;   /* one chunk: all, or each segment */
};

/* What a source has when everything is free. */
struct xmb_alloc_limits {
	uint32_t region_cnt;
	uint32_t block_cnt; /* spill blocks */
};

struct xmb_pool_hook;
struct xmb_allocator;

/*
 * What a source can do.  Nothing here calls anybody back but grow(), which
 * may call the user's functions for memory.
 */
struct xmb_allocator_ops {
	/*
	 * Put up to cnt exclusive chunks, of no bytes and at the start of
	 * their regions, in front of mb; returns how many.
	 */
	uint32_t (*take)(struct xmb_allocator *allocator,
			 struct xmb_multibuf *mb, uint32_t cnt);
	/* Have cnt regions more: 0, or -ENOBUFS.  NULL: it never grows. */
	int (*grow)(struct xmb_allocator *allocator, uint32_t cnt);
	struct xmb_alloc_limits (*limits)(
		const struct xmb_allocator *allocator);
	/* As xmb_pool_set_hook() and xmb_pool_set_waiting(). */
	int (*set_hook)(struct xmb_allocator *allocator,
			struct xmb_pool_hook *hook);
	void (*set_waiting)(struct xmb_allocator *allocator, bool is_waiting);
};

struct xmb_allocator {
	const struct xmb_allocator_ops *ops;
	struct xmb_cache *cache; /* of source, or of its first slab */
	void *source;
	uint32_t region_len;
};

/* Vend from the cache's pool. */
XMB_API void xmb_allocator_init_pool(struct xmb_allocator *allocator,
				     struct xmb_cache *cache);

/*
 * Fill the empty mb as the request says; xmb_multibuf_len() tells how much of
 * desired_len there was.
 * -ENOBUFS, -EMSGSIZE, -EINVAL: see above.
 */
XMB_API int xmb_allocator_alloc(struct xmb_allocator *allocator,
				const struct xmb_alloc_request *request,
				struct xmb_multibuf *mb);

/* As alloc() of len bytes, no room asked for. */
XMB_API int xmb_allocator_alloc_len(struct xmb_allocator *allocator, size_t len,
				    struct xmb_multibuf *mb);

/*
 * Fill cnt empty multibufs, each as the request says, all or none: each gets
 * its min_len before any gets more, then the first ones do.
 * -ENOBUFS (a heap may have grown for the first ones: xmb_heap_trim()),
 * -EMSGSIZE (of all together), -EINVAL.
 */
XMB_API int xmb_allocator_alloc_bulk(struct xmb_allocator *allocator,
				     const struct xmb_alloc_request *request,
				     struct xmb_multibuf *mbs, uint32_t cnt);

/* How a payload is cut. */
struct xmb_segment_opts {
	uint32_t mtu;	   /* bytes of payload in each segment */
	uint32_t headroom; /* bytes to be claimed in front of each */
};

/*
 * Cut the payload, which is left {0}, into the empty multibufs segments[0..),
 * max at most, and return how many; of an empty payload 0, and it stays.  In
 * front of each xmb_multibuf_claim_prefix() has headroom bytes: in the
 * payload's own region where the segment begins at its first byte and that has
 * them free, else in an empty chunk that shares a fresh frame with up to four
 * others of its kind.  No byte is copied, but for the sixth piece and later
 * ones of one region (see xmb_multibuf_split()), counted there.
 * -EINVAL: mtu is 0.  -EMSGSIZE: headroom is more than a region, or there is
 * too little memory ever, or a piece to be copied takes more frames or blocks
 * than a cache holds.  -ENOSPC: it takes more than max.  -EXDEV: payload has
 * spill blocks of a pool other than the allocator's.  -ENOBUFS (a heap may have
 * grown, if others took what was freed for it meanwhile).
 */
XMB_API int xmb_allocator_segment(struct xmb_allocator *allocator,
				  struct xmb_multibuf *payload,
				  const struct xmb_segment_opts *opts,
				  struct xmb_multibuf *segments, uint32_t max);

#endif /* XMBUF_ALLOC_ALLOCATOR_H */
