/* SPDX-License-Identifier: BSD-2-Clause */
#ifndef XMBUF_BUF_POOL_H
#define XMBUF_BUF_POOL_H

#include "base/base.h"
#include "buf/domain.h"
#include "stats/counter.h"

/*
 * pool: the free frames of one UMEM; cache: one thread's own stock of them.
 *
 *      thread 1 [ cache |||||   ]--.   batches of XMB_CACHE_BATCH
 *      thread 2 [ cache ||      ]--+--> [ shared stack, lock-free, LIFO ]
 *      thread 3 [ cache ||||||| ]--'
 *
 * Whatever may allocate or free takes a `struct xmb_cache *`: there is no
 * global and no thread-local registry.  Both the cache and the shared stack are
 * last in, first out, so that the frames in circulation stay in the CPU's
 * cache.  A thread that only frees sends its surplus to the shared stack, one
 * that only allocates takes from it: neither starves.
 *
 * The last `reserve` frames of the shared stack go to fill rings only, so that
 * an application that allocates without end cannot stop reception.
 *
 * The pool also holds spill blocks: the further links of multibufs of more
 * than three chunks.
 *
 * Units      _cnt counts frames; the side memory is in bytes.
 * Ownership  The caller provides frame memory and side memory, zeroed, which
 *            must outlive the pool.  `who` names the holder in the ledger.
 * Threads    A cache belongs to one thread at a time; a pool to all.
 * Processes  Each makes its own struct xmb_pool over the shared memory, one by
 *            init(), the others by join(), after xmb_domain_set_owner().  A
 *            cache's who is not 0, and neither another process's owner id nor
 *            the who of its caches: that is how the frames of a dead process
 *            are found (reclaim.h).
 * Errors     0 or negative errno; a refused call changes nothing.
 */

#define XMB_CACHE_MAX 512u
#define XMB_CACHE_BATCH 128u
#define XMB_SPILL_CACHE_MAX 64u
#define XMB_SPILL_NONE UINT32_MAX

struct xmb_pool_opts {
	void *base;	    /* frame_cnt * frame_len bytes */
	uint32_t frame_len; /* 64..XMB_REGION_LEN_MAX */
	uint32_t frame_cnt; /* 1..2^31 */
	uint32_t spill_cnt; /* 0: one for each 8 frames, at least 16 */
};

struct xmb_pool_shared; /* stack heads, in the side memory (pool_priv.h) */

/*
 * Who wants to know that frames or blocks came back while he waits for some.
 * fn is called in the thread that put them on a shared stack, behind that and
 * under no lock, inside of whatever call released them.
 */
struct xmb_pool_hook {
	void (*fn)(struct xmb_pool_hook *hook);
};

struct xmb_pool {
	struct xmb_domain domain;
	struct xmb_pool_shared *shared;
	uint32_t spill_cnt;
	struct xmb_pool_hook *_Atomic hook; /* of this process */
};

struct xmb_cache {
	struct xmb_pool *pool;
	uint32_t cnt;	    /* frames[0..cnt) are free */
	uint32_t spill_cnt; /* spills[0..spill_cnt) are free */
	uint32_t who;	    /* holder of its FREE and APP frames, not 0 */
	enum xmb_home home; /* how what is released now comes home */
	int64_t app_cnt;    /* frames that became APP here minus left APP */
	xmb_counter copies; /* times payload was copied in user space */
	xmb_counter copied_bytes;
	uint32_t frames[XMB_CACHE_MAX];
	uint32_t spills[XMB_SPILL_CACHE_MAX];
} __attribute__((aligned(XMB_CACHE_LINE)));

/* Bytes of side memory that a pool of these options takes. */
XMB_API size_t xmb_pool_footprint(const struct xmb_pool_opts *opts);

/*
 * Make a pool over opts->base with its side arrays in side (zeroed, aligned
 * to a cache line); all frames are free.
 * -EINVAL: a length or count out of range.  -ENOSPC: 255 domains exist.
 */
XMB_API int xmb_pool_init(struct xmb_pool *pool, void *side,
			  const struct xmb_pool_opts *opts);

/*
 * Use the pool that another process has made: opts as there, but base and side
 * wherever this process has mapped them.
 * -EINVAL: side is of a pool of other lengths or counts.  -ENOSPC: 255 domains
 * exist.
 */
XMB_API int xmb_pool_join(struct xmb_pool *pool, void *side,
			  const struct xmb_pool_opts *opts);

/*
 * Take the pool's domain out of this process's table.  Its caches must be
 * finished.
 */
XMB_API void xmb_pool_fini(struct xmb_pool *pool);

/* Keep the last cnt frames of the shared stack for fill rings. */
XMB_API void xmb_pool_set_reserve(struct xmb_pool *pool, uint32_t cnt);

/* What the reserve is now. */
XMB_API uint32_t xmb_pool_reserve_cnt(const struct xmb_pool *pool);

/* Frames in the shared stack now; those in caches are not among them. */
XMB_API uint32_t xmb_pool_free_cnt(const struct xmb_pool *pool);

/* Spill blocks in the shared stack now. */
XMB_API uint32_t xmb_pool_free_block_cnt(const struct xmb_pool *pool);

/*
 * Frames of this pool that were released through another pool's cache: no
 * cache of this pool counted them out, so that the application has the sum of
 * app_cnt of the pool's caches minus this.
 */
XMB_API int64_t xmb_pool_foreign_cnt(const struct xmb_pool *pool);

/*
 * Walk the shared stack and the given caches: true if every free frame is
 * there exactly once with the word FREE.  O(frames); nobody may use the pool
 * meanwhile.  What is wrong is logged with the frame's number.
 */
XMB_API bool xmb_pool_check(const struct xmb_pool *pool,
			    struct xmb_cache *const *caches,
			    uint32_t cache_cnt);

XMB_API void xmb_cache_init(struct xmb_cache *cache, struct xmb_pool *pool,
			    uint32_t who);

/* Give everything in the cache back to the pool. */
XMB_API void xmb_cache_fini(struct xmb_cache *cache);

/*
 * Move frames from the shared stack so that the cache holds want, as far as
 * there are any; is_fill may take the reserve too.  Returns cache->cnt.
 */
XMB_API uint32_t xmb_cache_fetch(struct xmb_cache *cache, uint32_t want,
				 bool is_fill);

/* Give the older part of a full cache to the shared stack. */
XMB_API void xmb_cache_flush(struct xmb_cache *cache);

/*
 * Put a region that is FREE back where it belongs: to this cache when it is
 * of the cache's pool, else to its own domain.
 */
static inline void xmb_cache_put(struct xmb_cache *cache,
				 struct xmb_domain *domain, uint32_t region)
{
	if (XMB_UNLIKELY(domain != &cache->pool->domain)) {
		domain->release(domain, region, cache);
		return;
	}
	/* Until there is room: a hook may have filled the cache again. */
	while (XMB_UNLIKELY(cache->cnt == XMB_CACHE_MAX))
		xmb_cache_flush(cache);
	cache->frames[cache->cnt++] = region;
}

/* A spill block's index, or XMB_SPILL_NONE. */
XMB_API uint32_t xmb_cache_spill_get(struct xmb_cache *cache);

/* Give back a spill block of the domain's pool. */
XMB_API void xmb_cache_spill_put(struct xmb_cache *cache,
				 struct xmb_domain *domain, uint32_t spill);

/*
 * Let hook, which must live until the next call, know what comes back while
 * somebody waits; NULL: nobody, once no other thread uses the pool.
 * -EBUSY: the pool has one.
 */
XMB_API int xmb_pool_set_hook(struct xmb_pool *pool,
			      struct xmb_pool_hook *hook);

/*
 * Say that somebody waits, or that nobody does any more.  Who says so and
 * looks at the shared stack afterwards misses nothing: what comes later is
 * told to the hook.  Each process has its own say, which xmb_reclaim() ends.
 */
XMB_API void xmb_pool_set_waiting(struct xmb_pool *pool, bool is_waiting);

/*
 * Give everything in the cache to those who wait; two loads when nobody does.
 * A thread that holds a cache calls this in each turn of its loop, and once
 * more when it is about to sleep: frames in caches are seen by nobody else.
 */
XMB_API void xmb_cache_yield(struct xmb_cache *cache);

#endif /* XMBUF_BUF_POOL_H */
