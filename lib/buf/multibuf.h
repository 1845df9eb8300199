/* SPDX-License-Identifier: BSD-2-Clause */
#ifndef XMBUF_BUF_MULTIBUF_H
#define XMBUF_BUF_MULTIBUF_H

#include "base/base.h"
#include "buf/chunk.h"
#include "buf/pool.h"

/*
 * multibuf: a packet, as a sequence of chunks with its length kept.
 *
 *      struct xmb_multibuf (64 B)            spill blocks (64 B, of the pool)
 *      +-----+-----+------+----+----+----+   +------+----+----+----+
 *      | len | cnt |spill-+-> | c0 | c1 | c2 |-->| next-+->..| c3 | c4 | c5 |
 *      +-----+-----+------+----+----+----+   +------+----+----+----+
 *
 * Three chunks are inline; each further three take a block, or fewer: blocks
 * that are joined or cut stay as full as they are.  Cutting moves handles only,
 * so a split between two chunks cannot fail.  A zeroed multibuf is empty.
 * Chunks of no bytes may stand anywhere; sending strips them.
 *
 * Blocks go home to the pool that they are of; a cache of another pool may be
 * passed anywhere.  Where blocks of two pools would come into one multibuf,
 * all its chunks move to blocks of the cache's pool: the one join that walks.
 *
 * Units      Bytes; idx counts chunks.  A multibuf has at most 65,535 chunks,
 *            and so less than 2 GiB.
 * Ownership  A value with one live copy.  What is given away ({chunk},
 *            {other}) is left {0}; what is produced must be empty before, or
 *            the process aborts (init() overwrites).  The mark `user` stays
 *            with the multibuf that is changed; a split copies it, release
 *            clears it.
 * Threads    One at a time; hand it on as a whole.
 * Errors     -ERANGE beyond the data, -ENOBUFS no spill block or frame,
 *            -ENOSPC 65,535 chunks; and those of chunk.h.  A call that fails
 *            changes nothing.
 */

#define XMB_MULTIBUF_INLINE 3u

struct xmb_multibuf {
	uint32_t len;
	union {
		struct {
			uint16_t cnt;	    /* chunks, inline and spilt */
			uint8_t inline_cnt; /* chunks in c[] */
			uint8_t spill_dom;  /* domain of the spill blocks */
		};
		uint32_t shape; /* the three at once */
	};
	uint32_t spill; /* first block; valid if cnt > inline_cnt */
	uint32_t user;	/* the caller's mark; travels along */
	struct xmb_chunk c[XMB_MULTIBUF_INLINE];
};

_Static_assert(sizeof(struct xmb_multibuf) == 64, "one cache line");

struct xmb_spill {
	uint32_t next; /* XMB_SPILL_NONE ends */
	uint16_t cnt;  /* chunks in c[]; 1..3 in a multibuf */
	uint16_t pad[5];
	struct xmb_chunk c[XMB_MULTIBUF_INLINE];
};

_Static_assert(sizeof(struct xmb_spill) == 64, "one cache line");

/*
 * The shape of cnt chunks that are all inline, in one word: a store of parts
 * that is soon read as a whole costs the CPU some 15 cycles.
 */
#if __BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__
#define XMB_MULTIBUF_SHAPE(cnt) ((uint32_t)(cnt) | (uint32_t)(cnt) << 16)
#else
#define XMB_MULTIBUF_SHAPE(cnt) ((uint32_t)(cnt) << 16 | (uint32_t)(cnt) << 8)
#endif

/* Walks the chunks in order; the multibuf must not change meanwhile. */
struct xmb_multibuf_iter {
	const struct xmb_multibuf *mb;
	struct xmb_chunk *c;
	uint32_t idx, left, spill;
};

static inline uint32_t xmb_multibuf_len(const struct xmb_multibuf *mb)
{
	return mb->len;
}

static inline uint32_t xmb_multibuf_chunk_cnt(const struct xmb_multibuf *mb)
{
	return mb->cnt;
}

static inline bool xmb_multibuf_is_empty(const struct xmb_multibuf *mb)
{
	return mb->cnt == 0;
}

/* The first chunk, NULL when empty; *iter is set up for next(). */
static inline struct xmb_chunk *
xmb_multibuf_first(const struct xmb_multibuf *mb,
		   struct xmb_multibuf_iter *iter);
static inline struct xmb_chunk *
xmb_multibuf_next(struct xmb_multibuf_iter *iter);

/* The chunk at idx; idx < cnt. */
XMB_API struct xmb_chunk *xmb_multibuf_chunk(const struct xmb_multibuf *mb,
					     uint32_t idx);

/*
 * Make the empty mb of len bytes from the cache's pool, with headroom bytes
 * to claim in front of each chunk.  0 bytes: mb stays empty.
 * -ENOBUFS: too few frames or blocks now.  -EMSGSIZE: headroom leaves no room
 * in a frame, or len needs more chunks than a multibuf has.
 */
static inline int xmb_multibuf_alloc(struct xmb_cache *cache, size_t len,
				     uint32_t headroom,
				     struct xmb_multibuf *mb);

/* Make the empty mb of one chunk, which is left {0}.  Cannot fail. */
static inline void xmb_multibuf_init(struct xmb_multibuf *mb,
				     struct xmb_chunk *chunk)
{
	*mb = (struct xmb_multibuf){
		.len = chunk->len,
		.shape = XMB_MULTIBUF_SHAPE(1),
		.c[0] = *chunk,
	};
	*chunk = (struct xmb_chunk){ 0 };
}

/*
 * Put the live chunk at the end, or in front; in front takes the same time for
 * any length, at the end the blocks are walked.
 * -ENOBUFS: no spill block.  -ENOSPC: 65,535 chunks.
 */
XMB_API int xmb_multibuf_push_back(struct xmb_multibuf *mb,
				   struct xmb_chunk *chunk,
				   struct xmb_cache *cache);
XMB_API int xmb_multibuf_push_front(struct xmb_multibuf *mb,
				    struct xmb_chunk *chunk,
				    struct xmb_cache *cache);

/* Take the first, or the last, chunk off.  -ENOENT: mb is empty. */
XMB_API int xmb_multibuf_pop_front(struct xmb_multibuf *mb,
				   struct xmb_chunk *chunk,
				   struct xmb_cache *cache);
XMB_API int xmb_multibuf_pop_back(struct xmb_multibuf *mb,
				  struct xmb_chunk *chunk,
				  struct xmb_cache *cache);

/*
 * Put all chunks of other behind, or before, those of mb; other is left {0}.
 * -EINVAL: other is mb.  -ENOBUFS: no spill block.  -ENOSPC: more than 65,535
 * chunks.
 */
static inline int xmb_multibuf_append(struct xmb_multibuf *mb,
				      struct xmb_multibuf *other,
				      struct xmb_cache *cache);
XMB_API int xmb_multibuf_prepend(struct xmb_multibuf *mb,
				 struct xmb_multibuf *other,
				 struct xmb_cache *cache);

/*
 * Cut in two: mb keeps the first at bytes, the empty tail gets the rest.  A
 * cut between chunks moves handles, makes no empty chunk and cannot fail; a
 * cut inside one splits it, which takes no block.  Where its region has no
 * slot left, the shorter part of that chunk is copied into fresh frames of the
 * cache's pool, without headroom, and cache->copies says so.  A read-only
 * chunk is cut by sharing and trimming: both parts stay read-only, but for one
 * that is copied.  Chunks of no bytes at the cut go to tail.
 * -ERANGE: at > len.  For the copy alone -ENOBUFS: no frame or no block, and
 * -ENOSPC: its frames make more than 65,535 chunks.
 */
XMB_API int xmb_multibuf_split(struct xmb_multibuf *mb, size_t at,
			       struct xmb_multibuf *tail,
			       struct xmb_cache *cache);

/*
 * Release the first n bytes and the chunks that they use up, but for the last
 * chunk of all: it stays even of no bytes, so that its room can be claimed.
 * -ERANGE: n > len.
 */
static inline int xmb_multibuf_discard_prefix(struct xmb_multibuf *mb, size_t n,
					      struct xmb_cache *cache);

/*
 * Keep the first len bytes and release the chunks behind the last of them; the
 * first chunk stays even of no bytes.  Of all bytes nothing changes.
 * -ERANGE: len is more than there is.
 */
XMB_API int xmb_multibuf_truncate(struct xmb_multibuf *mb, size_t len,
				  struct xmb_cache *cache);

/*
 * Truncate to `to`, then discard a prefix of `from`: one chunk stays at least.
 * -ERANGE: from > to, or to > len.
 */
XMB_API int xmb_multibuf_slice(struct xmb_multibuf *mb, size_t from, size_t to,
			       struct xmb_cache *cache);

/*
 * Own n bytes more before the first chunk, or behind the last.
 * -ERANGE, -EBUSY, -EPERM: as xmb_chunk_claim_prefix(); also -ERANGE when mb is
 * empty and n > 0.
 */
static inline int xmb_multibuf_claim_prefix(struct xmb_multibuf *mb, size_t n);
XMB_API int xmb_multibuf_claim_suffix(struct xmb_multibuf *mb, size_t n);

/*
 * A pointer to the n bytes at off: into the packet when they lie in one chunk,
 * else to tmp, into which they are copied (reading only; not counted as a copy
 * of payload).  0 bytes at the end: tmp.  NULL: off + n > len.  What it points
 * at may be written only if it is not tmp and its chunk is not read-only, see
 * xmb_multibuf_is_writable_at().
 */
XMB_API void *xmb_multibuf_get(const struct xmb_multibuf *mb, size_t off,
			       size_t n, void *tmp);

/*
 * Copy out of, or into, the packet at off; returns how many bytes, <= n.
 * Copying into it ends before a read-only chunk.
 */
XMB_API size_t xmb_multibuf_copy_to(const struct xmb_multibuf *mb, size_t off,
				    void *dst, size_t n);
XMB_API size_t xmb_multibuf_copy_from(struct xmb_multibuf *mb, size_t off,
				      const void *src, size_t n);

/* The slow half of release, for other than one chunk. */
XMB_API void xmb_multibuf_release_rest(struct xmb_multibuf *mb,
				       struct xmb_cache *cache);

/* Leave {0} of a multibuf whose only chunk was given away: nothing else of it
 * is in use, so nothing else has to be written. */
static inline void xmb_multibuf_forget(struct xmb_multibuf *mb)
{
	mb->len = 0;
	mb->shape = 0;
	mb->spill = 0;
	mb->user = 0;
}

/* Release everything; mb is left {0}. */
static inline void xmb_multibuf_release(struct xmb_multibuf *mb,
					struct xmb_cache *cache)
{
	if (XMB_LIKELY(mb->shape == XMB_MULTIBUF_SHAPE(1))) {
		xmb_chunk_release(&mb->c[0], cache);
		xmb_multibuf_forget(mb);
	} else {
		xmb_multibuf_release_rest(mb, cache);
	}
}

/* Release cnt multibufs. */
XMB_API void xmb_multibuf_release_bulk(struct xmb_multibuf *mbs, uint32_t cnt,
				       struct xmb_cache *cache);

/*
 * Release a packet that should have gone on, and does not: who waits for its
 * cookie hears that it was dropped (cookie.h).
 */
static inline void xmb_multibuf_drop(struct xmb_multibuf *mb,
				     struct xmb_cache *cache)
{
	cache->home = XMB_HOME_DROPPED;
	xmb_multibuf_release(mb, cache);
	cache->home = XMB_HOME_RELEASED;
}

/* Drop cnt multibufs. */
static inline void xmb_multibuf_drop_bulk(struct xmb_multibuf *mbs,
					  uint32_t cnt, struct xmb_cache *cache)
{
	cache->home = XMB_HOME_DROPPED;
	xmb_multibuf_release_bulk(mbs, cnt, cache);
	cache->home = XMB_HOME_RELEASED;
}

/*
 * True if counts, lengths and blocks agree, no block is met twice, and every
 * chunk is live and checks.  O(chunks): for tests and -Dparanoid.
 */
XMB_API bool xmb_multibuf_check(const struct xmb_multibuf *mb);

static inline struct xmb_chunk *
xmb_multibuf_next(struct xmb_multibuf_iter *iter)
{
	struct xmb_spill *block;

	if (iter->left == 0)
		return NULL;
	iter->left--;
	if (XMB_LIKELY(iter->idx > 0)) {
		iter->idx--;
		return iter->c++;
	}
	block = &xmb_domain_table[iter->mb->spill_dom]->spills[iter->spill];
	iter->spill = block->next;
	iter->idx = block->cnt - 1u;
	iter->c = &block->c[1];
	return &block->c[0];
}

static inline struct xmb_chunk *
xmb_multibuf_first(const struct xmb_multibuf *mb,
		   struct xmb_multibuf_iter *iter)
{
	*iter = (struct xmb_multibuf_iter){
		.mb = mb,
		.c = (struct xmb_chunk *)mb->c,
		.idx = mb->inline_cnt,
		.left = mb->cnt,
		.spill = mb->spill,
	};
	return xmb_multibuf_next(iter);
}

/* The slow halves: several chunks, split regions, refusals. */
XMB_API int xmb_multibuf_discard_rest(struct xmb_multibuf *mb, size_t n,
				      struct xmb_cache *cache);
XMB_API int xmb_multibuf_claim_rest(struct xmb_multibuf *mb, size_t n);
XMB_API int xmb_multibuf_append_rest(struct xmb_multibuf *mb,
				     struct xmb_multibuf *other,
				     struct xmb_cache *cache);

XMB_API int xmb_multibuf_alloc_rest(struct xmb_cache *cache, size_t len,
				    uint32_t headroom, struct xmb_multibuf *mb);

/*
 * In one frame: made where it stays, for copies of fresh parts are slow, and
 * nothing written that an empty multibuf is already.
 */
static inline int xmb_multibuf_alloc(struct xmb_cache *cache, size_t len,
				     uint32_t headroom, struct xmb_multibuf *mb)
{
	uint32_t region_len = cache->pool->domain.region_len;

	if (XMB_UNLIKELY(mb->cnt != 0 || len == 0 || cache->cnt == 0 ||
			 headroom > region_len || len > region_len - headroom))
		return xmb_multibuf_alloc_rest(cache, len, headroom, mb);
	xmb_chunk_alloc_part(cache, headroom, (uint32_t)len, &mb->c[0]);
	mb->len = (uint32_t)len;
	mb->shape = XMB_MULTIBUF_SHAPE(1);
	return 0;
}

static inline int xmb_multibuf_discard_prefix(struct xmb_multibuf *mb, size_t n,
					      struct xmb_cache *cache)
{
	if (XMB_UNLIKELY(n >= mb->c[0].len || !xmb_chunk_is_excl(&mb->c[0])))
		return xmb_multibuf_discard_rest(mb, n, cache);
	xmb_chunk_set_range(&mb->c[0], mb->c[0].off + (uint32_t)n,
			    mb->c[0].len - (uint32_t)n);
	mb->len -= (uint32_t)n;
	return 0;
}

static inline int xmb_multibuf_claim_prefix(struct xmb_multibuf *mb, size_t n)
{
	struct xmb_chunk *c = &mb->c[0];

	if (XMB_UNLIKELY(!xmb_chunk_is_excl(c) || n > c->off))
		return xmb_multibuf_claim_rest(mb, n);
	xmb_chunk_verify(c, xmb_chunk_domain(c), "claim");
	xmb_chunk_set_range(c, c->off - (uint32_t)n, c->len + (uint32_t)n);
	mb->len += (uint32_t)n;
	return 0;
}

/* One chunk behind one or two: nothing is linked, nothing can fail. */
static inline int xmb_multibuf_append(struct xmb_multibuf *mb,
				      struct xmb_multibuf *other,
				      struct xmb_cache *cache)
{
	if (XMB_UNLIKELY(mb == other || other->shape != XMB_MULTIBUF_SHAPE(1) ||
			 (mb->shape != XMB_MULTIBUF_SHAPE(1) &&
			  mb->shape != XMB_MULTIBUF_SHAPE(2))))
		return xmb_multibuf_append_rest(mb, other, cache);
	xmb_chunk_move(&mb->c[mb->inline_cnt], &other->c[0]);
	mb->shape += XMB_MULTIBUF_SHAPE(1);
	mb->len += other->len;
	*other = (struct xmb_multibuf){ 0 };
	return 0;
}

#endif /* XMBUF_BUF_MULTIBUF_H */
