/* SPDX-License-Identifier: BSD-2-Clause */
#include "buf/chunk.h"

#include "buf/tracker_priv.h"

/* Scans of one call; each further one is due to a neighbour's split, merge or
 * share meanwhile. */
enum { SCAN_TRIES = 9 };

/* Not inline: who does without them saves no registers for what they call. */
static void region_home(struct xmb_cache *cache, struct xmb_domain *domain,
			uint32_t region, enum xmb_home how, uint64_t state)
	__attribute__((noinline));
static int split_rest(struct xmb_chunk *chunk, size_t at,
		      struct xmb_chunk *tail) __attribute__((noinline));
static int share_rest(struct xmb_chunk *chunk, struct xmb_chunk *clone)
	__attribute__((noinline));

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

static inline void slot_verify(const struct xmb_tracker *t,
			       const struct xmb_chunk *chunk,
			       const char *doing)
{
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

void xmb_slot_verify(const struct xmb_chunk *chunk, const char *doing)
{
	slot_verify(xmb_chunk_tracker(chunk), chunk, doing);
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
	uint32_t frame;

	/* Pairs with the CAS of the others' release: their bytes are ours. */
	state = atomic_load_explicit(&t->state, memory_order_acquire);
	if (!xmb_tracker_is_only(state, chunk->slot))
		return false;
	/* The holder may be of a process that has left: it is we, before state
	 * says that the word counts again. */
	frame = xmb_frame_load(domain, chunk->region);
	xmb_frame_store(domain, chunk->region,
			(frame & ~0xff00u) | XMB_OWNER_SELF << 8);
	atomic_store_explicit(&t->slot[chunk->slot], XMB_SLOT_EMPTY,
			      memory_order_relaxed);
	atomic_store_explicit(&t->state, state & ~XMB_TRACKER_OWNERS,
			      memory_order_release);
	chunk->slot = (uint16_t)xmb_frame_word_gen(frame);
	/* Nobody is left who could read along. */
	chunk->flags =
		(uint8_t)((chunk->flags & ~XMB_CHUNK_RDONLY) | XMB_CHUNK_EXCL);
	return true;
}

/* Leave slot k.  True if nobody is left in the region: *state says so. */
static inline bool slot_leave(struct xmb_tracker *t, uint32_t k,
			      uint64_t *state)
{
	uint64_t others;

	atomic_store_explicit(&t->slot[k], XMB_SLOT_EMPTY,
			      memory_order_release);
	*state = atomic_load_explicit(&t->state, memory_order_acquire);
	for (;;) {
		others = *state & ~xmb_owner_bits(k, 0xff);
		if (!(others & XMB_TRACKER_OWNERS))
			return true;
		/* A failure means that somebody else got on: lock-free. */
		if (atomic_compare_exchange_weak_explicit(
			    &t->state, state, others, memory_order_acq_rel,
			    memory_order_acquire))
			return false;
	}
}

/* The last one left: the region is FREE, in the cache's name. */
static void region_home(struct xmb_cache *cache, struct xmb_domain *domain,
			uint32_t region, enum xmb_home how, uint64_t state)
{
	uint32_t word = xmb_frame_load(domain, region), gen;

	if (XMB_UNLIKELY(word & XMB_FRAME_COOKIE))
		xmb_cookie_frame_home(domain, region, how);
	gen = xmb_frame_word_gen(word);
	xmb_frame_store(domain, region,
			xmb_frame_word(XMB_FRAME_FREE, cache->who,
				       (gen + 1) & 0xffff));
	atomic_store_explicit(&domain->trackers[region].state,
			      state & ~XMB_TRACKER_OWNERS,
			      memory_order_release);
	if (XMB_LIKELY(domain == &cache->pool->domain))
		cache->app_cnt--;
	xmb_cache_put(cache, domain, region);
}

void xmb_slot_release(struct xmb_cache *cache, struct xmb_domain *domain,
		      uint32_t region, uint32_t k, enum xmb_home how)
{
	uint64_t state;

	if (slot_leave(&domain->trackers[region], k, &state))
		region_home(cache, domain, region, how, state);
}

void xmb_chunk_release_slot(struct xmb_chunk *chunk, struct xmb_cache *cache)
{
	struct xmb_domain *domain = xmb_chunk_domain_near(chunk, cache);
	uint32_t region = chunk->region;
	struct xmb_tracker *t = &domain->trackers[region];
	uint64_t state;
	bool is_last;

	slot_verify(t, chunk, "release");
	is_last = slot_leave(t, chunk->slot, &state);
	*chunk = (struct xmb_chunk){ 0 };
	if (is_last)
		region_home(cache, domain, region, cache->home, state);
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
	for (uint32_t i = 0; i < SCAN_TRIES; i++) {
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
	if (XMB_UNLIKELY(xmb_chunk_is_rdonly(chunk)))
		return -EPERM;
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

/*
 * Make two slots of an exclusive chunk, 0 with word and 1 with other; nobody
 * else can be looking at the tracker.  The handles are the caller's to write.
 */
static inline void enter_tracker(const struct xmb_domain *domain,
				 const struct xmb_chunk *chunk, uint32_t word,
				 uint32_t other)
{
	struct xmb_tracker *t = &domain->trackers[chunk->region];
	uint32_t frame = xmb_frame_load(domain, chunk->region);
	uint64_t state;

	state = atomic_load_explicit(&t->state, memory_order_relaxed);
	atomic_store_explicit(&t->slot[0], word, memory_order_relaxed);
	atomic_store_explicit(&t->slot[1], other, memory_order_relaxed);
	/* From here on copies of the exclusive handle are stale. */
	xmb_frame_store(domain, chunk->region, frame + (1u << 16));
	atomic_store_explicit(&t->state,
			      (state & ~XMB_TRACKER_OWNERS) + XMB_TRACKER_GEN +
				      xmb_owner_bits(0, XMB_OWNER_SELF) +
				      xmb_owner_bits(1, XMB_OWNER_SELF),
			      memory_order_release);
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

/* Let word show in a slot of its own; raising gen tells those who scan. */
static uint32_t slot_show(struct xmb_tracker *t, uint32_t word)
{
	uint32_t k = slot_take(t);

	if (k == XMB_TRACKER_SLOTS)
		return k;
	atomic_store_explicit(&t->slot[k], word, memory_order_release);
	atomic_fetch_add_explicit(&t->state, XMB_TRACKER_GEN,
				  memory_order_seq_cst);
	return k;
}

static uint32_t split_slot(struct xmb_chunk *chunk, uint32_t mid)
{
	struct xmb_tracker *t = xmb_chunk_tracker(chunk);
	uint32_t k = slot_show(t, xmb_slot_word(mid, chunk->off + chunk->len));

	if (k == XMB_TRACKER_SLOTS)
		return k;
	/* Rule 3: now that the tail shows them, give the bytes up here. */
	atomic_store_explicit(&t->slot[chunk->slot],
			      xmb_slot_word(chunk->off, mid),
			      memory_order_release);
	return k;
}

/* Write both handles of what was cut, whole (chunk.h): slot is chunk's. */
static inline void split_handles(struct xmb_chunk *chunk, uint32_t at,
				 struct xmb_chunk *tail, uint32_t slot,
				 uint32_t tail_slot)
{
	uint32_t off = chunk->off, len = chunk->len, region = chunk->region;
	uint32_t dom = chunk->dom;
	uint32_t flags = chunk->flags & ~(uint32_t)XMB_CHUNK_EXCL;

	xmb_chunk_set(tail, off + at, len - at, region, tail_slot, dom, flags);
	xmb_chunk_set(chunk, off, at, region, slot, dom,
		      flags & ~(uint32_t)XMB_CHUNK_END);
	paranoid(chunk);
	paranoid(tail);
}

static inline void split_excl(const struct xmb_domain *domain,
			      struct xmb_chunk *chunk, uint32_t at,
			      struct xmb_chunk *tail)
{
	uint32_t mid = chunk->off + at;

	xmb_chunk_verify(chunk, domain, "split");
	enter_tracker(domain, chunk, xmb_slot_word(chunk->off, mid),
		      xmb_slot_word(mid, chunk->off + chunk->len));
	split_handles(chunk, at, tail, 0, 1);
}

void xmb_chunk_split_excl(const struct xmb_domain *domain,
			  struct xmb_chunk *chunk, uint32_t at,
			  struct xmb_chunk *tail)
{
	split_excl(domain, chunk, at, tail);
}

/* Of a chunk that has neighbours, or none: the slow half, and refusals. */
static int split_rest(struct xmb_chunk *chunk, size_t at,
		      struct xmb_chunk *tail)
{
	uint32_t k;

	if (XMB_UNLIKELY(xmb_chunk_is_rdonly(chunk)))
		return xmb_slot_refuse(chunk, "split");
	if (at > chunk->len)
		return -ERANGE;
	if (!xmb_chunk_is_live(chunk))
		return 0;
	xmb_slot_verify(chunk, "split");
	if (xmb_slot_try_excl(chunk)) {
		split_excl(xmb_chunk_domain(chunk), chunk, (uint32_t)at, tail);
		return 0;
	}
	k = split_slot(chunk, chunk->off + (uint32_t)at);
	if (k == XMB_TRACKER_SLOTS)
		return -ENOSPC;
	split_handles(chunk, (uint32_t)at, tail, chunk->slot, k);
	return 0;
}

int xmb_chunk_split(struct xmb_chunk *chunk, size_t at, struct xmb_chunk *tail)
{
	XMB_ASSERT(!xmb_chunk_is_live(tail));
	if (XMB_UNLIKELY(!xmb_chunk_is_excl(chunk) || at > chunk->len))
		return split_rest(chunk, at, tail);
	split_excl(xmb_chunk_domain(chunk), chunk, (uint32_t)at, tail);
	return 0;
}

/* Two live handles of one region are two slots, or one of them is stale. */
static void verify_pair(const struct xmb_chunk *chunk,
			const struct xmb_chunk *next, const char *doing)
{
	xmb_chunk_verify_any(chunk, doing);
	xmb_chunk_verify_any(next, doing);
	if (xmb_chunk_is_excl(next))
		xmb_frame_panic(xmb_chunk_domain(next), next->region,
				next->slot, doing);
	if (chunk->slot == next->slot)
		slot_panic(next, doing);
}

int xmb_chunk_merge(struct xmb_chunk *chunk, struct xmb_chunk *next)
{
	struct xmb_tracker *t;

	if (chunk == next || !xmb_chunk_is_live(chunk) ||
	    !xmb_chunk_is_live(next))
		return -EINVAL;
	if (xmb_chunk_is_rdonly(chunk))
		return xmb_slot_refuse(chunk, "merge");
	if (xmb_chunk_is_rdonly(next))
		return xmb_slot_refuse(next, "merge");
	if (chunk->dom != next->dom || chunk->region != next->region)
		return -EXDEV;
	if (next->off != chunk->off + chunk->len)
		return -ERANGE;
	verify_pair(chunk, next, "merge");
	t = xmb_chunk_tracker(chunk);
	chunk->len += next->len;
	/* Rule 3, and gen in between: who read the narrow word of chunk before
	 * and the empty one of next after would find the bytes to be free. */
	atomic_store_explicit(&t->slot[chunk->slot], xmb_chunk_word(chunk),
			      memory_order_release);
	atomic_fetch_add_explicit(&t->state, XMB_TRACKER_GEN,
				  memory_order_seq_cst);
	atomic_store_explicit(&t->slot[next->slot], XMB_SLOT_EMPTY,
			      memory_order_release);
	/* Never the last of the region: chunk is there. */
	atomic_fetch_sub_explicit(&t->state,
				  xmb_owner_bits(next->slot, XMB_OWNER_SELF),
				  memory_order_acq_rel);
	chunk->flags = (uint8_t)((chunk->flags & ~XMB_CHUNK_END) |
				 (next->flags & XMB_CHUNK_END));
	*next = (struct xmb_chunk){ 0 };
	xmb_slot_try_excl(chunk);
	paranoid(chunk);
	return 0;
}

/* Write the handles of two that have the same bytes. */
static inline void share_handles(struct xmb_chunk *chunk,
				 struct xmb_chunk *clone, uint32_t slot,
				 uint32_t clone_slot)
{
	uint32_t off = chunk->off, len = chunk->len, region = chunk->region;
	uint32_t dom = chunk->dom, flags = chunk->flags;

	flags = (flags & ~(uint32_t)XMB_CHUNK_EXCL) | XMB_CHUNK_RDONLY;
	xmb_chunk_set(clone, off, len, region, clone_slot, dom, flags);
	xmb_chunk_set(chunk, off, len, region, slot, dom, flags);
	paranoid(chunk);
	paranoid(clone);
}

static int share_rest(struct xmb_chunk *chunk, struct xmb_chunk *clone)
{
	uint32_t k;

	if (!xmb_chunk_is_live(chunk))
		return -EINVAL;
	xmb_slot_verify(chunk, "share");
	k = slot_show(xmb_chunk_tracker(chunk), xmb_chunk_word(chunk));
	if (k == XMB_TRACKER_SLOTS)
		return -ENOSPC;
	share_handles(chunk, clone, chunk->slot, k);
	return 0;
}

void xmb_chunk_share_excl(const struct xmb_domain *domain,
			  struct xmb_chunk *chunk, struct xmb_chunk *clone)
{
	uint32_t word = xmb_chunk_word(chunk);

	xmb_chunk_verify(chunk, domain, "share");
	enter_tracker(domain, chunk, word, word);
	share_handles(chunk, clone, 0, 1);
}

int xmb_chunk_share(struct xmb_chunk *chunk, struct xmb_chunk *clone)
{
	XMB_ASSERT(!xmb_chunk_is_live(clone));
	if (XMB_UNLIKELY(!xmb_chunk_is_excl(chunk)))
		return share_rest(chunk, clone);
	xmb_chunk_share_excl(xmb_chunk_domain(chunk), chunk, clone);
	return 0;
}

/* Whether a neighbour's word shows a byte of [a, b); an empty one does not. */
static bool word_has(uint32_t word, uint32_t a, uint32_t b)
{
	uint32_t start = xmb_slot_start(word), end = xmb_slot_end(word);

	return start < end && start < b && end > a;
}

static bool is_read_along(struct xmb_tracker *t, uint64_t state,
			  const struct xmb_chunk *chunk)
{
	if (chunk->len == 0)
		return false;
	for (uint32_t k = 0; k < XMB_TRACKER_SLOTS; k++) {
		uint32_t word;

		if (k == chunk->slot || xmb_tracker_owner(state, k) == 0)
			continue;
		word = atomic_load_explicit(&t->slot[k], memory_order_seq_cst);
		if (word_has(word, chunk->off, chunk->off + chunk->len))
			return true;
	}
	return false;
}

int xmb_chunk_unshare(struct xmb_chunk *chunk)
{
	struct xmb_tracker *t;

	if (!xmb_chunk_is_rdonly(chunk))
		return 0;
	xmb_slot_verify(chunk, "unshare");
	if (xmb_slot_try_excl(chunk))
		return 0;
	t = xmb_chunk_tracker(chunk);
	/* The word need not grow before the scan, as a claim's: it has shown
	 * these bytes all along, and so nobody has won them since. */
	for (uint32_t i = 0; i < SCAN_TRIES; i++) {
		uint64_t before, after;

		before = atomic_load_explicit(&t->state, memory_order_seq_cst);
		if (is_read_along(t, before, chunk))
			return -EBUSY;
		after = atomic_load_explicit(&t->state, memory_order_seq_cst);
		if ((before ^ after) & ~XMB_TRACKER_OWNERS)
			continue;
		chunk->flags &= (uint8_t)~XMB_CHUNK_RDONLY;
		return 0;
	}
	return -EBUSY;
}
