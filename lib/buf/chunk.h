/* SPDX-License-Identifier: BSD-2-Clause */
#ifndef XMBUF_BUF_CHUNK_H
#define XMBUF_BUF_CHUNK_H

#include "base/base.h"
#include "buf/domain.h"
#include "buf/pool.h"

#include <errno.h>

/*
 * chunk: a 16-byte handle that owns the bytes [off, off+len) of a region,
 * alone.
 *
 *      0         off           off+len                    region's length
 *      +----------+------------+-------------------+----------+
 *      | nobody's |  chunk a   |     nobody's      | chunk b  |
 *      +----------+------------+-------------------+----------+
 *        <---- claim_prefix(a)   claim_suffix(a) ----->X a neighbour stops it
 *
 * A chunk that is alone in its region carries XMB_CHUNK_EXCL; trimming and
 * claiming are then arithmetic on the handle.  Once a region is split, up to
 * XMB_TRACKER_SLOTS chunks share it, in any threads, by a lock-free protocol
 * that is exact to the byte: bytes that a chunk discarded or released may be
 * claimed by a neighbour, first come; bytes that are owned never.
 *
 * Units      Bytes.  Lengths are uint32_t, a region is at most 32 KiB.
 * Ownership  A handle is a value, but there is one live copy of it: functions
 *            that give a chunk away leave {0} behind, functions that produce
 *            one abort if the destination is live.  A stale copy is found at
 *            release, split, merge, claim, share, write and hand-over: the
 *            process aborts with the frame's history.
 * Threads    One thread at a time per handle; chunks of one region may be in
 *            different threads.
 * Errors     -ERANGE beyond the chunk or the region, -EBUSY a neighbour has
 *            the bytes, -ENOSPC no slot, -ENOBUFS pool empty, -EPERM the chunk
 *            is shared, -EXDEV of another region.  Of several -EPERM is told
 *            first.  A call that fails changes nothing.
 *
 * share() makes a second chunk of the same bytes.  From then on both are read
 * only: they can be trimmed, shared again, released and sent, but not claimed,
 * split, merged or written, until unshare() finds that nobody else has any of
 * the bytes.  A share is one more slot, so it needs no counter.
 *
 *      a, RDONLY      [ off ............... off+len )
 *      its share           [ off' .... off'+len' )     after a trim
 *      <- claimed by a neighbour: never, while either still has the byte ->
 */

enum xmb_chunk_flag {
	XMB_CHUNK_EXCL = 1,   /* alone in its region; slot holds gen */
	XMB_CHUNK_RDONLY = 2, /* shared: others may read the same bytes */
	XMB_CHUNK_END = 4,    /* last of a fragment (multibuf.h), no more */
};

struct xmb_chunk {
	uint32_t off;
	uint32_t len;
	uint32_t region;
	uint16_t slot; /* generation when EXCL, else slot of the tracker */
	uint8_t dom;   /* 0: no chunk */
	uint8_t flags; /* enum xmb_chunk_flag */
};

_Static_assert(sizeof(struct xmb_chunk) == 16, "four to a cache line");

/*
 * A handle is written and moved in two words.  The CPU forwards a store to a
 * load that lies within it in 5 cycles, but a load that needs several stores
 * waits some 15 for the cache: handles written by members are slow to copy,
 * and so is a copy that the compiler makes one vector of.
 */
static inline void xmb_chunk_set(struct xmb_chunk *chunk, uint32_t off,
				 uint32_t len, uint32_t region, uint32_t slot,
				 uint32_t dom, uint32_t flags)
{
#if __BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__
	uint32_t tag = (slot & 0xffff) | dom << 16 | flags << 24;
	uint64_t word[2] = { off | (uint64_t)len << 32,
			     region | (uint64_t)tag << 32 };

	__asm__("" : "+r"(word[0]), "+r"(word[1]));
	__builtin_memcpy(chunk, word, sizeof(word));
#else
	*chunk = (struct xmb_chunk){
		.off = off,
		.len = len,
		.region = region,
		.slot = (uint16_t)slot,
		.dom = (uint8_t)dom,
		.flags = (uint8_t)flags,
	};
#endif
}

static inline void xmb_chunk_make_excl(struct xmb_chunk *chunk,
				       const struct xmb_domain *domain,
				       uint32_t region, uint32_t off,
				       uint32_t len, uint32_t gen)
{
	xmb_chunk_set(chunk, off, len, region, gen, domain->id, XMB_CHUNK_EXCL);
}

/* Write off and len, which are a word of their own. */
static inline void xmb_chunk_set_range(struct xmb_chunk *chunk, uint32_t off,
				       uint32_t len)
{
#if __BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__
	uint64_t word = off | (uint64_t)len << 32;

	__asm__("" : "+r"(word));
	__builtin_memcpy(chunk, &word, sizeof(word));
#else
	chunk->off = off;
	chunk->len = len;
#endif
}

static inline void xmb_chunk_move(struct xmb_chunk *to,
				  const struct xmb_chunk *from)
{
	uint64_t word[2];

	__builtin_memcpy(word, from, sizeof(word));
	__asm__("" : "+r"(word[0]), "+r"(word[1]));
	__builtin_memcpy(to, word, sizeof(word));
}

static inline struct xmb_domain *xmb_chunk_domain(const struct xmb_chunk *chunk)
{
	return xmb_domain_table[chunk->dom];
}

/*
 * The same, guessed to be the cache's: then no load has to wait for what the
 * handle says, only the branch that checks the guess.
 */
static inline struct xmb_domain *
xmb_chunk_domain_near(const struct xmb_chunk *chunk,
		      const struct xmb_cache *cache)
{
	struct xmb_domain *domain = &cache->pool->domain;

	if (XMB_LIKELY(chunk->dom == domain->id))
		return domain;
	return xmb_chunk_domain(chunk);
}

static inline bool xmb_chunk_is_live(const struct xmb_chunk *chunk)
{
	return chunk->dom != 0;
}

static inline bool xmb_chunk_is_excl(const struct xmb_chunk *chunk)
{
	return chunk->flags & XMB_CHUNK_EXCL;
}

static inline bool xmb_chunk_is_rdonly(const struct xmb_chunk *chunk)
{
	return chunk->flags & XMB_CHUNK_RDONLY;
}

/*
 * The first owned byte; valid until the chunk is given away.  Of a read-only
 * chunk the bytes must not be written.
 */
static inline uint8_t *xmb_chunk_data(const struct xmb_chunk *chunk)
{
	return xmb_domain_data(xmb_chunk_domain(chunk), chunk->region,
			       chunk->off);
}

/* Abort unless an exclusive chunk is the region's one current handle. */
static inline void xmb_chunk_verify(const struct xmb_chunk *chunk,
				    const struct xmb_domain *domain,
				    const char *doing)
{
	uint32_t word = xmb_frame_load(domain, chunk->region);

	if (XMB_UNLIKELY((word & 0xffff007fu) !=
			 xmb_frame_word(XMB_FRAME_APP, 0, chunk->slot)))
		xmb_frame_panic(domain, chunk->region, chunk->slot, doing);
}

/* The slow halves, for chunks of a split region. */
XMB_API void xmb_chunk_release_slot(struct xmb_chunk *chunk,
				    struct xmb_cache *cache);
XMB_API int xmb_chunk_claim_slot(struct xmb_chunk *chunk, uint32_t begin,
				 uint32_t end);
XMB_API void xmb_chunk_narrow_slot(struct xmb_chunk *chunk);

/*
 * Take a free frame; the chunk owns all of it.
 * -ENOBUFS: the pool is empty now, but for the reserve of the fill rings.
 */
static inline int xmb_chunk_alloc_part(struct xmb_cache *cache, uint32_t off,
				       uint32_t len, struct xmb_chunk *chunk)
{
	struct xmb_domain *domain = &cache->pool->domain;
	uint32_t region, gen;

	if (XMB_UNLIKELY(cache->cnt == 0) &&
	    xmb_cache_fetch(cache, XMB_CACHE_BATCH, false) == 0)
		return -ENOBUFS;
	region = cache->frames[--cache->cnt];
	gen = xmb_frame_word_gen(xmb_frame_load(domain, region));
	xmb_frame_store(domain, region,
			xmb_frame_word(XMB_FRAME_APP, cache->who, gen));
	cache->app_cnt++;
	xmb_chunk_make_excl(chunk, domain, region, off, len, gen);
	return 0;
}

static inline int xmb_chunk_alloc(struct xmb_cache *cache,
				  struct xmb_chunk *chunk)
{
	XMB_ASSERT(!xmb_chunk_is_live(chunk));
	return xmb_chunk_alloc_part(cache, 0, cache->pool->domain.region_len,
				    chunk);
}

/*
 * Take cnt free frames at once, all or none.
 * -ENOBUFS: fewer are free.
 */
XMB_API int xmb_chunk_alloc_bulk(struct xmb_cache *cache,
				 struct xmb_chunk *chunks, uint32_t cnt);

/*
 * Give the bytes up and empty the handle; the last chunk of a region sends it
 * home.  Of an empty handle: nothing happens.  Of a stale copy: abort.
 */
static inline void xmb_chunk_release(struct xmb_chunk *chunk,
				     struct xmb_cache *cache)
{
	struct xmb_domain *domain = xmb_chunk_domain_near(chunk, cache);

	if (XMB_UNLIKELY(!xmb_chunk_is_excl(chunk))) {
		if (xmb_chunk_is_live(chunk))
			xmb_chunk_release_slot(chunk, cache);
		return;
	}
	xmb_chunk_verify(chunk, domain, "release");
	if (XMB_UNLIKELY(xmb_frame_load(domain, chunk->region) &
			 XMB_FRAME_COOKIE))
		xmb_cookie_frame_home(domain, chunk->region, cache->home);
	xmb_frame_store(domain, chunk->region,
			xmb_frame_word(XMB_FRAME_FREE, cache->who,
				       (chunk->slot + 1u) & 0xffff));
	if (XMB_LIKELY(domain == &cache->pool->domain))
		cache->app_cnt--;
	xmb_cache_put(cache, domain, chunk->region);
	*chunk = (struct xmb_chunk){ 0 };
}

/* Release cnt chunks. */
XMB_API void xmb_chunk_release_bulk(struct xmb_chunk *chunks, uint32_t cnt,
				    struct xmb_cache *cache);

/*
 * Give up the first n bytes.
 * -ERANGE: n > len.
 */
static inline int xmb_chunk_discard_prefix(struct xmb_chunk *chunk, size_t n)
{
	if (n > chunk->len)
		return -ERANGE;
	xmb_chunk_set_range(chunk, chunk->off + (uint32_t)n,
			    chunk->len - (uint32_t)n);
	if (XMB_UNLIKELY(!xmb_chunk_is_excl(chunk)) && n)
		xmb_chunk_narrow_slot(chunk);
	return 0;
}

/*
 * Keep the first len bytes.
 * -ERANGE: len is more than there is.
 */
static inline int xmb_chunk_truncate(struct xmb_chunk *chunk, size_t len)
{
	if (len > chunk->len)
		return -ERANGE;
	if (len == chunk->len)
		return 0;
	xmb_chunk_set_range(chunk, chunk->off, (uint32_t)len);
	if (XMB_UNLIKELY(!xmb_chunk_is_excl(chunk)))
		xmb_chunk_narrow_slot(chunk);
	return 0;
}

/*
 * Keep the bytes [from, to), counted from the chunk's first.
 * -ERANGE: from > to, or to is beyond the end.
 */
XMB_API int xmb_chunk_slice(struct xmb_chunk *chunk, size_t from, size_t to);

/*
 * Cut in two: chunk keeps the first at bytes, the empty handle tail gets the
 * rest, and with the last byte XMB_CHUNK_END.  Either may be of no bytes: it
 * keeps its place and the region.
 * -ERANGE: at > len.  -ENOSPC: the region has XMB_TRACKER_SLOTS chunks.
 * -EPERM: read-only.
 */
XMB_API int xmb_chunk_split(struct xmb_chunk *chunk, size_t at,
			    struct xmb_chunk *tail);

/* As split(), but chunk keeps the rest and the empty head gets the first n. */
XMB_API int xmb_chunk_take_prefix(struct xmb_chunk *chunk, size_t n,
				  struct xmb_chunk *head);

/* As split(): the empty tail gets the last n bytes. */
XMB_API int xmb_chunk_take_suffix(struct xmb_chunk *chunk, size_t n,
				  struct xmb_chunk *tail);

/*
 * Join what a split parted: chunk gets the bytes of next, which is left {0}.
 *
 *      [ chunk )[ next )   ->   [ chunk        )
 *
 * An empty chunk (of no bytes, but live) takes part like any other.
 * -EXDEV: of another region.  -ERANGE: next does not begin where chunk ends.
 * -EPERM: one of them is read-only.  -EINVAL: next is chunk, or one is {0}.
 * XMB_CHUNK_END of next stays, that of chunk goes.
 */
XMB_API int xmb_chunk_merge(struct xmb_chunk *chunk, struct xmb_chunk *next);

/*
 * Make the empty clone a second chunk of the same bytes; both are read-only
 * from now on.  It has XMB_CHUNK_END if chunk has.
 * -ENOSPC: the region has XMB_TRACKER_SLOTS chunks.  -EINVAL: chunk is {0}.
 */
XMB_API int xmb_chunk_share(struct xmb_chunk *chunk, struct xmb_chunk *clone);

/*
 * Make a read-only chunk writable again, exclusive if it is the only one left
 * in its region.  Of a writable one: nothing happens.
 * -EBUSY: somebody else has one of its bytes, or tries to claim it just now.
 */
XMB_API int xmb_chunk_unshare(struct xmb_chunk *chunk);

/*
 * Write n bytes at off, counted from the chunk's first; src may be in it.
 * -ERANGE: beyond the chunk.  -EPERM: read-only, even if n = 0.
 */
XMB_API int xmb_chunk_write(struct xmb_chunk *chunk, size_t off,
			    const void *src, size_t n);

/*
 * Own n bytes more in front, for a header to be put there.  n = 0 succeeds.
 * -ERANGE: the region begins before that.  -EBUSY: a live neighbour has some
 * of the bytes, or an empty one stands at the edge.  -EPERM: read-only.
 */
static inline int xmb_chunk_claim_prefix(struct xmb_chunk *chunk, size_t n)
{
	if (XMB_UNLIKELY(n > chunk->off))
		return xmb_chunk_is_rdonly(chunk) ? -EPERM : -ERANGE;
	if (XMB_UNLIKELY(!xmb_chunk_is_excl(chunk)))
		return n == 0 ? 0
			      : xmb_chunk_claim_slot(chunk,
						     chunk->off - (uint32_t)n,
						     chunk->off + chunk->len);
	xmb_chunk_verify(chunk, xmb_chunk_domain(chunk), "claim");
	xmb_chunk_set_range(chunk, chunk->off - (uint32_t)n,
			    chunk->len + (uint32_t)n);
	return 0;
}

/* The same behind the chunk. */
static inline int xmb_chunk_claim_suffix(struct xmb_chunk *chunk, size_t n)
{
	const struct xmb_domain *domain = xmb_chunk_domain(chunk);

	if (XMB_UNLIKELY(!xmb_chunk_is_live(chunk)))
		return n == 0 ? 0 : -ERANGE;
	if (XMB_UNLIKELY(n > xmb_domain_region_len(domain, chunk->region) -
				     chunk->off - chunk->len))
		return xmb_chunk_is_rdonly(chunk) ? -EPERM : -ERANGE;
	if (XMB_UNLIKELY(!xmb_chunk_is_excl(chunk)))
		return n == 0 ? 0
			      : xmb_chunk_claim_slot(chunk, chunk->off,
						     chunk->off + chunk->len +
							     (uint32_t)n);
	xmb_chunk_verify(chunk, domain, "claim");
	xmb_chunk_set_range(chunk, chunk->off, chunk->len + (uint32_t)n);
	return 0;
}

/*
 * True if the handle is {0}, or its range lies in its region and agrees with
 * the frame word, or with the tracker's slot.  O(1).
 */
XMB_API bool xmb_chunk_check(const struct xmb_chunk *chunk);

#endif /* XMBUF_BUF_CHUNK_H */
