/* SPDX-License-Identifier: BSD-2-Clause */
#include "buf/chunk.h"

#include "buf/tracker_priv.h"

/* Scans of one claim; each further one is due to a split meanwhile. */
enum { CLAIM_TRIES = 9 };

static _Noreturn void slot_panic(const struct xmb_chunk *chunk,
				 const char *doing)
{
	const struct xmb_tracker *t = xmb_chunk_tracker(chunk);
	uint64_t state = atomic_load(&t->state);
	uint32_t word = atomic_load(&t->slot[chunk->slot]);
	uint32_t frame = xmb_frame_load(xmb_chunk_domain(chunk), chunk->region);
	uint32_t owner = xmb_tracker_owner(state, chunk->slot);

	xmb_panic("%s: region %u of domain %u: the handle has bytes [%u, %u) in"
		  " slot %u, but that slot's owner is %u and its word is %#x,"
		  " in a region in state %s, of %u, in generation %u;"
		  " most likely %s",
		  doing, chunk->region, chunk->dom, chunk->off,
		  chunk->off + chunk->len, chunk->slot, owner, word,
		  xmb_frame_state_name(xmb_frame_word_state(frame)),
		  xmb_frame_word_who(frame), xmb_frame_word_gen(frame),
		  owner == 0	      ? "it was released twice" :
		  owner == XMB_OWNER_SELF ? "it is a stale copy" :
					"it was used after it was sent");
}

void xmb_slot_verify(const struct xmb_chunk *chunk, const char *doing)
{
	const struct xmb_tracker *t = xmb_chunk_tracker(chunk);
	uint64_t state;

	XMB_ASSERT(chunk->slot < XMB_TRACKER_SLOTS);
	state = atomic_load_explicit(&t->state, memory_order_relaxed);
	if (XMB_UNLIKELY(xmb_tracker_owner(state, chunk->slot) !=
				 XMB_OWNER_SELF ||
			 atomic_load_explicit(&t->slot[chunk->slot],
					      memory_order_relaxed) !=
				 xmb_chunk_word(chunk)))
		slot_panic(chunk, doing);
}

#ifdef XMB_PARANOID
static void paranoid(const struct xmb_chunk *chunk)
{
	XMB_ASSERT(xmb_chunk_check(chunk));
}
#else
static void paranoid(const struct xmb_chunk *chunk)
{
	(void)chunk;
}
#endif

bool xmb_slot_try_excl(struct xmb_chunk *chunk)
{
	const struct xmb_domain *domain = xmb_chunk_domain(chunk);
	struct xmb_tracker *t = &domain->trackers[chunk->region];
	uint64_t state;

	/* Pairs with the CAS of the others' release: their bytes are ours. */
	state = atomic_load_explicit(&t->state, memory_order_acquire);
	if (!xmb_tracker_is_only(state, chunk->slot))
		return false;
	/* The frame word says APP since the split; only its holder matters. */
	atomic_store_explicit(&t->slot[chunk->slot], XMB_SLOT_EMPTY,
			      memory_order_relaxed);
	atomic_store_explicit(&t->state, state & ~XMB_TRACKER_OWNERS,
			      memory_order_release);
	chunk->slot = (uint16_t)xmb_frame_word_gen(
		xmb_frame_load(domain, chunk->region));
	chunk->flags |= XMB_CHUNK_EXCL;
	return true;
}

/*
 * Leave slot k.  True if nobody is left in the region: then it is FREE, in
 * who's name, and the caller's to put back.
 */
static bool slot_leave(const struct xmb_domain *domain, uint32_t region,
		       uint32_t k, uint32_t owner, uint32_t who)
{
	struct xmb_tracker *t = &domain->trackers[region];
	uint32_t word, gen;
	uint64_t state;

	atomic_store_explicit(&t->slot[k], XMB_SLOT_EMPTY,
			      memory_order_release);
	state = atomic_load_explicit(&t->state, memory_order_acquire);
	while (!xmb_tracker_is_only(state, k)) {
		/* A failure means that somebody else got on: lock-free. */
		if (atomic_compare_exchange_weak_explicit(
			    &t->state, &state,
			    state - xmb_owner_bits(k, owner),
			    memory_order_acq_rel, memory_order_acquire))
			return false;
	}
	word = xmb_frame_load(domain, region);
	if (XMB_UNLIKELY(word & XMB_FRAME_COOKIE))
		xmb_cookie_frame_home(domain, region,
				      owner >= XMB_OWNER_TX(0));
	gen = xmb_frame_word_gen(word);
	xmb_frame_store(domain, region,
			xmb_frame_word(XMB_FRAME_FREE, who,
				       (gen + 1) & 0xffff));
	atomic_store_explicit(&t->state, state & ~XMB_TRACKER_OWNERS,
			      memory_order_release);
	return true;
}

void xmb_slot_release(struct xmb_cache *cache, struct xmb_domain *domain,
		      uint32_t region, uint32_t k, uint32_t owner)
{
	if (!slot_leave(domain, region, k, owner, cache->who))
		return;
	if (XMB_LIKELY(domain == &cache->pool->domain))
		cache->app_cnt--;
	xmb_cache_put(cache, domain, region);
}

void xmb_chunk_release_slot(struct xmb_chunk *chunk, struct xmb_cache *cache)
{
	xmb_slot_verify(chunk, "release");
	xmb_slot_release(cache, xmb_chunk_domain(chunk), chunk->region,
			 chunk->slot, XMB_OWNER_SELF);
	*chunk = (struct xmb_chunk){ 0 };
}

/*
 * Whether a neighbour's word stands in the way of the bytes [a, b).  edge is
 * the end of them at which the claimer is: an empty chunk there is between the
 * two, at the far end it is not.
 */
static bool word_blocks(uint32_t word, uint32_t a, uint32_t b, uint32_t edge)
{
	uint32_t start = xmb_slot_start(word), end = xmb_slot_end(word);

	if (a == b || word == XMB_SLOT_EMPTY)
		return false;
	if (start == end)
		return start == edge || (start > a && start < b);
	return start < b && end > a;
}

/* Whether chunk may not become [begin, end), as far as one scan can tell. */
static bool claim_is_blocked(struct xmb_tracker *t, uint64_t state,
			     const struct xmb_chunk *chunk, uint32_t begin,
			     uint32_t end)
{
	uint32_t old_end = chunk->off + chunk->len;

	for (uint32_t k = 0; k < XMB_TRACKER_SLOTS; k++) {
		uint32_t word;

		if (k == chunk->slot || xmb_tracker_owner(state, k) == 0)
			continue;
		word = atomic_load_explicit(&t->slot[k], memory_order_seq_cst);
		if (word_blocks(word, begin, chunk->off, chunk->off) ||
		    word_blocks(word, old_end, end, old_end))
			return true;
	}
	return false;
}

/*
 * Try to make the slot [begin, end).  Its word already shows that, so whoever
 * claims after our scan sees it; gen tells whether bytes moved under the scan.
 */
static bool claim_scan(struct xmb_tracker *t, const struct xmb_chunk *chunk,
		       uint32_t begin, uint32_t end)
{
	for (uint32_t i = 0; i < CLAIM_TRIES; i++) {
		uint64_t before, after;

		before = atomic_load_explicit(&t->state, memory_order_seq_cst);
		if (claim_is_blocked(t, before, chunk, begin, end))
			return false;
		after = atomic_load_explicit(&t->state, memory_order_seq_cst);
		if (!((before ^ after) & ~XMB_TRACKER_OWNERS))
			return true;
	}
	return false;
}

int xmb_chunk_claim_slot(struct xmb_chunk *chunk, uint32_t begin, uint32_t end)
{
	struct xmb_tracker *t = xmb_chunk_tracker(chunk);

	xmb_slot_verify(chunk, "claim");
	if (!xmb_slot_try_excl(chunk)) {
		atomic_exchange_explicit(&t->slot[chunk->slot],
					 xmb_slot_word(begin, end),
					 memory_order_seq_cst);
		if (!claim_scan(t, chunk, begin, end)) {
			atomic_store_explicit(&t->slot[chunk->slot],
					      xmb_chunk_word(chunk),
					      memory_order_release);
			return -EBUSY;
		}
	}
	chunk->off = begin;
	chunk->len = end - begin;
	paranoid(chunk);
	return 0;
}

void xmb_chunk_narrow_slot(struct xmb_chunk *chunk)
{
	struct xmb_tracker *t = xmb_chunk_tracker(chunk);
	uint32_t word = xmb_chunk_word(chunk), old;
	uint64_t state;

	XMB_ASSERT(chunk->slot < XMB_TRACKER_SLOTS);
	state = atomic_load_explicit(&t->state, memory_order_relaxed);
	old = atomic_load_explicit(&t->slot[chunk->slot],
				   memory_order_relaxed);
	if (XMB_UNLIKELY(xmb_tracker_owner(state, chunk->slot) !=
				 XMB_OWNER_SELF ||
			 xmb_slot_start(word) < xmb_slot_start(old) ||
			 xmb_slot_end(word) > xmb_slot_end(old)))
		slot_panic(chunk, "trim");
	/* Release: a claimer that sees this sees what we did to the bytes. */
	atomic_store_explicit(&t->slot[chunk->slot], word,
			      memory_order_release);
	paranoid(chunk);
}

/* The region's first split; nobody else can be looking at the tracker. */
static uint32_t split_excl(struct xmb_chunk *chunk, uint32_t mid)
{
	const struct xmb_domain *domain = xmb_chunk_domain(chunk);
	struct xmb_tracker *t = &domain->trackers[chunk->region];
	uint32_t frame = xmb_frame_load(domain, chunk->region);
	uint64_t state;

	state = atomic_load_explicit(&t->state, memory_order_relaxed);
	atomic_store_explicit(&t->slot[0], xmb_slot_word(chunk->off, mid),
			      memory_order_relaxed);
	atomic_store_explicit(&t->slot[1],
			      xmb_slot_word(mid, chunk->off + chunk->len),
			      memory_order_relaxed);
	/* From here on copies of the exclusive handle are stale. */
	xmb_frame_store(domain, chunk->region, frame + (1u << 16));
	atomic_store_explicit(&t->state,
			      (state & ~XMB_TRACKER_OWNERS) + XMB_TRACKER_GEN +
				      xmb_owner_bits(0, XMB_OWNER_SELF) +
				      xmb_owner_bits(1, XMB_OWNER_SELF),
			      memory_order_release);
	chunk->slot = 0;
	chunk->flags &= (uint8_t)~XMB_CHUNK_EXCL;
	return 1;
}

/* Take a slot that has no owner; XMB_TRACKER_SLOTS when there is none. */
static uint32_t slot_take(struct xmb_tracker *t)
{
	uint64_t state = atomic_load_explicit(&t->state, memory_order_acquire);
	uint32_t k = 0;

	while (k < XMB_TRACKER_SLOTS) {
		if (xmb_tracker_owner(state, k) != 0) {
			k++;
			continue;
		}
		if (atomic_compare_exchange_strong_explicit(
			    &t->state, &state,
			    state + xmb_owner_bits(k, XMB_OWNER_SELF),
			    memory_order_seq_cst, memory_order_acquire))
			break;
		k = 0;
	}
	return k;
}

static uint32_t split_slot(struct xmb_chunk *chunk, uint32_t mid)
{
	struct xmb_tracker *t = xmb_chunk_tracker(chunk);
	uint32_t k = slot_take(t);

	if (k == XMB_TRACKER_SLOTS)
		return k;
	/* Rule 3: show in the new slot, raise gen, give up in the old one. */
	atomic_store_explicit(&t->slot[k],
			      xmb_slot_word(mid, chunk->off + chunk->len),
			      memory_order_release);
	atomic_fetch_add_explicit(&t->state, XMB_TRACKER_GEN,
				  memory_order_seq_cst);
	atomic_store_explicit(&t->slot[chunk->slot],
			      xmb_slot_word(chunk->off, mid),
			      memory_order_release);
	return k;
}

int xmb_chunk_split(struct xmb_chunk *chunk, size_t at, struct xmb_chunk *tail)
{
	uint32_t mid, k;

	XMB_ASSERT(!xmb_chunk_is_live(tail));
	if (at > chunk->len)
		return -ERANGE;
	if (!xmb_chunk_is_live(chunk))
		return 0;
	mid = chunk->off + (uint32_t)at;
	if (xmb_chunk_is_excl(chunk))
		xmb_chunk_verify(chunk, xmb_chunk_domain(chunk), "split");
	else
		xmb_slot_verify(chunk, "split");
	if (xmb_chunk_is_excl(chunk) || xmb_slot_try_excl(chunk))
		k = split_excl(chunk, mid);
	else
		k = split_slot(chunk, mid);
	if (k == XMB_TRACKER_SLOTS)
		return -ENOSPC;
	*tail = (struct xmb_chunk){
		.region = chunk->region,
		.off = mid,
		.len = chunk->len - (uint32_t)at,
		.slot = (uint16_t)k,
		.dom = chunk->dom,
	};
	chunk->len = (uint32_t)at;
	paranoid(chunk);
	paranoid(tail);
	return 0;
}

int xmb_chunk_slice(struct xmb_chunk *chunk, size_t from, size_t to)
{
	if (from > to || to > chunk->len)
		return -ERANGE;
	if (from == 0 && to == chunk->len)
		return 0;
	chunk->off += (uint32_t)from;
	chunk->len = (uint32_t)(to - from);
	if (!xmb_chunk_is_excl(chunk))
		xmb_chunk_narrow_slot(chunk);
	return 0;
}

int xmb_chunk_alloc_bulk(struct xmb_cache *cache, struct xmb_chunk *chunks,
			 uint32_t cnt)
{
	if (cache->cnt < cnt)
		xmb_cache_fetch(cache, cnt, false);
	for (uint32_t i = 0; i < cnt; i++) {
		if (XMB_LIKELY(xmb_chunk_alloc(cache, &chunks[i]) == 0))
			continue;
		/* Backwards, so that the cache's order is what it was. */
		while (i-- > 0)
			xmb_chunk_release(&chunks[i], cache);
		return -ENOBUFS;
	}
	return 0;
}

void xmb_chunk_release_bulk(struct xmb_chunk *chunks, uint32_t cnt,
			    struct xmb_cache *cache)
{
	for (uint32_t i = 0; i < cnt; i++)
		xmb_chunk_release(&chunks[i], cache);
}

static bool slot_check(const struct xmb_chunk *chunk)
{
	const struct xmb_tracker *t = xmb_chunk_tracker(chunk);
	uint64_t state;

	if (chunk->slot >= XMB_TRACKER_SLOTS)
		return false;
	state = atomic_load_explicit(&t->state, memory_order_relaxed);
	return xmb_tracker_owner(state, chunk->slot) == XMB_OWNER_SELF &&
	       atomic_load_explicit(&t->slot[chunk->slot],
				    memory_order_relaxed) ==
		       xmb_chunk_word(chunk);
}

static bool excl_check(const struct xmb_chunk *chunk, uint32_t word)
{
	const struct xmb_tracker *t = xmb_chunk_tracker(chunk);
	uint64_t state;

	state = atomic_load_explicit(&t->state, memory_order_relaxed);
	return !(state & XMB_TRACKER_OWNERS) &&
	       xmb_frame_word_gen(word) == chunk->slot;
}

bool xmb_chunk_check(const struct xmb_chunk *chunk)
{
	const struct xmb_domain *domain = xmb_chunk_domain(chunk);
	uint32_t region_len, word;

	if (!xmb_chunk_is_live(chunk))
		return !(chunk->region | chunk->off | chunk->len |
			 chunk->slot | chunk->flags);
	if (!domain || chunk->region >= domain->region_cnt ||
	    (chunk->flags & ~XMB_CHUNK_EXCL))
		return false;
	region_len = xmb_domain_region_len(domain, chunk->region);
	if (chunk->off > region_len || chunk->len > region_len - chunk->off)
		return false;
	word = xmb_frame_load(domain, chunk->region);
	if (xmb_frame_word_state(word) != XMB_FRAME_APP)
		return false;
	return xmb_chunk_is_excl(chunk) ? excl_check(chunk, word) :
					  slot_check(chunk);
}
