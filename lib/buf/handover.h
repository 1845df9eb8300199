/* SPDX-License-Identifier: BSD-2-Clause */
#ifndef XMBUF_BUF_HANDOVER_H
#define XMBUF_BUF_HANDOVER_H

#include "buf/chunk.h"

/*
 * handover: frames that change hands between the application and a kernel
 * that is not trusted to name the right one, or between processes.
 *
 *      pool --fill()--> FILL --rx()--> APP --tx()--> TX --complete()--> pool
 *                         \____ hold() ___ HELD ___ hold() ___/
 *                                            \__unhold()__ pool
 *
 * Every step compares the frame word with what the step expects.  What our
 * own caller did wrong aborts; what the kernel returned wrong is -EPROTO, to
 * be counted and ignored.
 *
 * Between processes that share a pool a chunk travels as a descriptor in a ring
 * (ring/ring.h); its bytes stay where they are:
 *
 *      sender                      ring                     receiver
 *      offer(chunk) -> {0}   [ d | d | d ]   adopt(d): compare and exchange
 *      still the owner            v          of the owner, sender -> receiver
 *                        a supervisor may have
 *                        reclaimed it: -ENOENT
 *
 * Until it is adopted the chunk is in its sender's name, so that a death on
 * either side loses nothing: who is alive adopts, or the supervisor reclaims.
 * The receiver therefore peeks, adopts, and then gives the item back: of one
 * that it popped first, and then died, nobody would know.
 *
 * Units      addr counts bytes from the start of the domain; `who` is the
 *            socket's id, 1..XMB_WHO_MAX.
 * Threads    The thread that owns the ring in question, with its own cache;
 *            hold() and unhold() when no thread uses the socket any more.
 */

/*
 * Take up to cnt free frames, the reserve included, for who's fill ring and
 * write their addresses (start of frame).  Returns how many.
 */
XMB_API uint32_t xmb_handover_fill(struct xmb_cache *cache, uint32_t who,
				   uint64_t *addrs, uint32_t cnt);

/*
 * What rx(), below, does, for one of a burst: domain may be a copy of the
 * pool's, so that it stays in registers, app is the cache's id, and of the
 * chunks that were made the caller adds the number to the cache's app_cnt.
 */
static inline int xmb_handover_rx_excl(const struct xmb_domain *domain,
				       uint32_t app, uint32_t who,
				       uint64_t addr, uint32_t len,
				       struct xmb_chunk *chunk)
{
	uint64_t region = xmb_domain_region_at(domain, addr);
	uint32_t off = (uint32_t)(addr - region * domain->region_len);
	uint32_t word;

	if (XMB_UNLIKELY(region >= domain->region_cnt ||
			 len > domain->region_len - off))
		return -EPROTO;
	word = xmb_frame_load(domain, (uint32_t)region);
	if (XMB_UNLIKELY((word & 0xffff) !=
			 xmb_frame_word(XMB_FRAME_FILL, who, 0)))
		return -EPROTO;
	xmb_frame_store(
		domain, (uint32_t)region,
		xmb_frame_word(XMB_FRAME_APP, app, xmb_frame_word_gen(word)));
	xmb_chunk_make_excl(chunk, domain, (uint32_t)region, off, len,
			    xmb_frame_word_gen(word));
	return 0;
}

/*
 * Make the exclusive chunk [addr, addr+len) of a frame that the kernel gives
 * back filled.
 * -EPROTO: addr is outside the domain, the range leaves its frame, or the
 * frame was not in who's hands to fill.
 */
static inline int xmb_handover_rx(struct xmb_cache *cache, uint32_t who,
				  uint64_t addr, uint32_t len,
				  struct xmb_chunk *chunk)
{
	int err = xmb_handover_rx_excl(&cache->pool->domain, cache->who, who,
				       addr, len, chunk);

	cache->app_cnt += !err;
	return err;
}

/* The slow halves, for chunks of a split region. */
XMB_API uint64_t xmb_handover_tx_slot(struct xmb_cache *cache, uint32_t who,
				      struct xmb_chunk *chunk, bool *is_excl);
XMB_API int xmb_handover_complete_slot(struct xmb_cache *cache, uint32_t who,
				       uint64_t addr);

/*
 * What tx(), below, does, for one of a burst: an exclusive chunk, of which
 * domain may be a copy, and the caller takes the number off the app_cnt.
 */
static inline uint64_t xmb_handover_tx_excl(const struct xmb_domain *domain,
					    uint32_t who,
					    struct xmb_chunk *chunk)
{
	uint32_t region = chunk->region;
	uint64_t addr = (uint64_t)region * domain->region_len + chunk->off;

	xmb_chunk_verify(chunk, domain, "send");
	xmb_frame_store(
		domain, region,
		xmb_frame_word(XMB_FRAME_TX, who, chunk->slot) |
			(xmb_frame_load(domain, region) & XMB_FRAME_COOKIE));
	*chunk = (struct xmb_chunk){ 0 };
	return addr;
}

/*
 * Give the chunk to who's TX ring and empty the handle; returns the address to
 * post.  The chunk must be of the cache's pool and not of 0 bytes; a stale
 * copy aborts.  *is_excl tells which count of the socket it adds to: whole
 * frames, or slots of split ones.
 */
static inline uint64_t xmb_handover_tx(struct xmb_cache *cache, uint32_t who,
				       struct xmb_chunk *chunk, bool *is_excl)
{
	const struct xmb_domain *domain = &cache->pool->domain;

	XMB_ASSERT(chunk->dom == domain->id && chunk->len > 0);
	if (XMB_UNLIKELY(!xmb_chunk_is_excl(chunk)))
		return xmb_handover_tx_slot(cache, who, chunk, is_excl);
	cache->app_cnt--;
	*is_excl = true;
	return xmb_handover_tx_excl(domain, who, chunk);
}

/*
 * What complete(), below, does to a whole frame without a cookie, for one of a
 * burst: domain may be a copy of the pool's.  False: addr names no such frame,
 * and nothing was done.
 */
static inline bool xmb_handover_complete_plain(const struct xmb_domain *domain,
					       struct xmb_cache *cache,
					       uint32_t who, uint64_t addr)
{
	uint64_t region = xmb_domain_region_at(domain, addr);
	uint32_t word;

	if (XMB_UNLIKELY(region >= domain->region_cnt))
		return false;
	word = xmb_frame_load(domain, (uint32_t)region);
	if (XMB_UNLIKELY((word & 0xffff) !=
			 xmb_frame_word(XMB_FRAME_TX, who, 0)))
		return false;
	/* As xmb_cache_put(): a hook may have filled the cache again. */
	while (XMB_UNLIKELY(cache->cnt == XMB_CACHE_MAX))
		xmb_cache_flush(cache);
	xmb_frame_store(
		domain, (uint32_t)region,
		xmb_frame_word(XMB_FRAME_FREE, cache->who,
			       (xmb_frame_word_gen(word) + 1) & 0xffff));
	cache->frames[cache->cnt++] = (uint32_t)region;
	return true;
}

/*
 * Take back what the kernel has sent.  Returns 1 for a whole frame, 0 for a
 * slot of a split one.
 * -EPROTO: addr names nothing that who has in flight.
 */
static inline int xmb_handover_complete(struct xmb_cache *cache, uint32_t who,
					uint64_t addr)
{
	if (XMB_LIKELY(xmb_handover_complete_plain(&cache->pool->domain, cache,
						   who, addr)))
		return 1;
	return xmb_handover_complete_slot(cache, who, addr);
}

/*
 * Where what who has in flight, or held, from addr on ends: bytes from the
 * start of its frame, so that of several sockets whose completions come by one
 * ring the owner can be told: of the same start, whoever ends first, as of
 * several slots.  0: who has nothing there.  The domain may be no pool's.
 */
XMB_API uint32_t xmb_handover_tx_end(const struct xmb_domain *domain,
				     uint32_t who, uint64_t addr);

/*
 * Take back a frame of a closed socket whose completion comes by the ring of
 * another.  The domain may be no pool's.
 * -EPROTO: addr names no whole frame that is held in who's name.
 */
XMB_API int xmb_handover_complete_held(struct xmb_cache *cache,
				       struct xmb_domain *domain, uint32_t who,
				       uint64_t addr);

struct xmb_handover_held {
	uint32_t fill_cnt; /* frames that were FILL */
	uint32_t tx_cnt;   /* frames that were TX */
	uint32_t slot_cnt; /* slots of split frames that were in TX */
};

/*
 * Mark whole frames that who's closed socket had with the kernel HELD; slots
 * in TX keep their TX owner until unhold().  O(frames).
 */
XMB_API struct xmb_handover_held xmb_handover_hold(struct xmb_pool *pool,
						   uint32_t who);

/*
 * Free everything that is held in who's name: the kernel has let the queue go.
 * Returns how many frames and slots.  O(frames).
 */
XMB_API uint32_t xmb_handover_unhold(struct xmb_cache *cache, uint32_t who);

/*
 * The same for frames of a domain that is no pool's but lies in memory that the
 * kernel knows too (umem/piece.h): they are sent and completed, never filled,
 * and go home by the domain's release().  Addresses count from the start of
 * the domain; tx_of() asks for a chunk of it.
 */
XMB_API uint64_t xmb_handover_tx_of(const struct xmb_domain *domain,
				    uint32_t who, struct xmb_chunk *chunk,
				    bool *is_excl);
XMB_API int xmb_handover_complete_of(struct xmb_cache *cache,
				     struct xmb_domain *domain, uint32_t who,
				     uint64_t addr);
XMB_API struct xmb_handover_held
xmb_handover_hold_of(const struct xmb_domain *domain, uint32_t who);

/* Returns what was freed; fill_cnt counts with tx_cnt. */
XMB_API struct xmb_handover_held
xmb_handover_unhold_of(struct xmb_cache *cache, struct xmb_domain *domain,
		       uint32_t who);

/*
 * Free everything that who has in TX, frames and slots, and say how many: the
 * kernel is done with them and has not said so.  O(frames).
 */
XMB_API struct xmb_handover_held
xmb_handover_unsend_of(struct xmb_cache *cache, struct xmb_domain *domain,
		       uint32_t who);

/* A chunk on its way to another process. */
struct xmb_handover_desc {
	uint32_t off;
	uint32_t len;
	uint32_t region;
	uint16_t slot;
	uint8_t owner; /* the sender's id */
	uint8_t flags; /* enum xmb_chunk_flag */
};

_Static_assert(sizeof(struct xmb_handover_desc) == 16, "shared layout");

/*
 * Describe the chunk for another process and empty the handle; the ring that
 * the descriptor goes through must publish it by a release.  The chunk must be
 * of the cache's pool; a stale copy aborts.
 * -EINVAL: the chunk is {0}.  -EBUSY: its frame has a cookie, whose box no
 * other process can reach.
 */
XMB_API int xmb_handover_offer(struct xmb_cache *cache, struct xmb_chunk *chunk,
			       struct xmb_handover_desc *desc);

/*
 * Make the empty handle chunk the owner of what desc describes.  Also takes
 * back what the caller's process offered and nobody has adopted.
 * -EPROTO: desc is no range of the pool, not what its slot holds, or of flags
 * that no chunk has together.
 * -ENOENT: it is not the sender's any more: reclaimed, or adopted.  Both are to
 * be counted, and desc dropped.
 */
XMB_API int xmb_handover_adopt(struct xmb_cache *cache,
			       const struct xmb_handover_desc *desc,
			       struct xmb_chunk *chunk);

#endif /* XMBUF_BUF_HANDOVER_H */
