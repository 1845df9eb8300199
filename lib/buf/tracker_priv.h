/* SPDX-License-Identifier: BSD-2-Clause */
#ifndef XMBUF_BUF_TRACKER_PRIV_H
#define XMBUF_BUF_TRACKER_PRIV_H

#include "buf/chunk.h"
#include "buf/domain.h"

/*
 * tracker: the words by which chunks of a split region keep out of each
 * other's bytes.
 *
 *      state   63      40 39   32 31   24 23   16 15    8 7     0
 *              [  gen:24 | own[4] | own[3] | own[2] | own[1] | own[0] ]
 *      slot[k] [ start:16 | end:16 ], or EMPTY
 *
 * Owner and liveness are one word, so that taking part in a region and leaving
 * it are one CAS each.  What keeps bytes apart are the slot words, in which
 * three rules hold at every step:
 *
 *   1. slot[k] is written by the owner of slot k alone, and is EMPTY whenever
 *      own[k] is 0.
 *   2. The bytes that a chunk really owns are inside its slot's word; the word
 *      may be wider while a claim is being tried or a split is under way.
 *   3. Bytes pass from slot to slot only as: the destination's word shows
 *      them, gen rises, the source's word gives them up.  A scan that sees one
 *      gen before and after has therefore missed no owner.
 *
 * Shares of the same bytes are slots whose words overlap.  None of them may
 * grow or be written through, so the rules need no exception: a byte that
 * several words show is free for a claim when none shows it any more, and a
 * chunk whose bytes no other word shows may be written again.  A share's slot
 * is filled as a split's is, word and then gen, or a scan would miss it when
 * the original goes meanwhile.  Of two that stop sharing at once none wins:
 * each sees the other.
 *
 * A claim shows its wish first and looks at the others then, as everybody
 * does: of two that want the same byte at least one sees the other.  Both may
 * fail, never both win.  This takes sequential consistency of the exchange and
 * of the loads that follow it.
 *
 * Threads    Any; each slot has one owner at a time.
 */

#define XMB_SLOT_EMPTY UINT32_MAX
#define XMB_TRACKER_GEN (UINT64_C(1) << 40)
#define XMB_TRACKER_OWNERS (XMB_TRACKER_GEN - 1)

static inline uint32_t xmb_slot_word(uint32_t start, uint32_t end)
{
	return start << 16 | end;
}

static inline uint32_t xmb_slot_start(uint32_t word)
{
	return word >> 16;
}

static inline uint32_t xmb_slot_end(uint32_t word)
{
	return word & 0xffff;
}

/* The word of the bytes that the handle says it owns. */
static inline uint32_t xmb_chunk_word(const struct xmb_chunk *chunk)
{
	return xmb_slot_word(chunk->off, chunk->off + chunk->len);
}

static inline uint64_t xmb_owner_bits(uint32_t k, uint32_t owner)
{
	return (uint64_t)owner << 8 * k;
}

static inline uint32_t xmb_tracker_owner(uint64_t state, uint32_t k)
{
	return state >> 8 * k & 0xff;
}

/* No slot but k has an owner. */
static inline bool xmb_tracker_is_only(uint64_t state, uint32_t k)
{
	return !(state & XMB_TRACKER_OWNERS & ~xmb_owner_bits(k, 0xff));
}

/* A region as a tracker must be while nobody shares it. */
static inline void xmb_tracker_init(struct xmb_tracker *tracker)
{
	atomic_init(&tracker->state, 0);
	atomic_init(&tracker->link, 0);
	for (uint32_t k = 0; k < XMB_TRACKER_SLOTS; k++)
		atomic_init(&tracker->slot[k], XMB_SLOT_EMPTY);
}

static inline struct xmb_tracker *xmb_chunk_tracker(const struct xmb_chunk *c)
{
	return &xmb_chunk_domain(c)->trackers[c->region];
}

/*
 * Abort unless the chunk is its slot's one current handle.  Reading the own
 * word relaxed is exact: nobody else writes it.
 */
void xmb_slot_verify(const struct xmb_chunk *chunk, const char *doing);

/* The same of any live chunk. */
static inline void xmb_chunk_verify_any(const struct xmb_chunk *chunk,
					const char *doing)
{
	if (xmb_chunk_is_excl(chunk))
		xmb_chunk_verify(chunk, xmb_chunk_domain(chunk), doing);
	else
		xmb_slot_verify(chunk, doing);
}

/* What a read-only chunk gets for asking for more: -EPERM, if it is current. */
static inline int xmb_slot_refuse(const struct xmb_chunk *chunk,
				  const char *doing)
{
	xmb_slot_verify(chunk, doing);
	return -EPERM;
}

/*
 * Split at a byte that it has, or share, an exclusive chunk of that domain into
 * a handle that is {0}.
 */
void xmb_chunk_split_excl(const struct xmb_domain *domain,
			  struct xmb_chunk *chunk, uint32_t at,
			  struct xmb_chunk *tail);
void xmb_chunk_share_excl(const struct xmb_domain *domain,
			  struct xmb_chunk *chunk, struct xmb_chunk *clone);

/*
 * If no other chunk is left in the region, make this one exclusive, and
 * writable; returns whether it is.
 */
bool xmb_slot_try_excl(struct xmb_chunk *chunk);

/* Release slot k as its owner; the last one sends the region home. */
void xmb_slot_release(struct xmb_cache *cache, struct xmb_domain *domain,
		      uint32_t region, uint32_t k, enum xmb_home how);

#endif /* XMBUF_BUF_TRACKER_PRIV_H */
