/* SPDX-License-Identifier: BSD-2-Clause */
#include "buf/handover.h"

#include "buf/tracker_priv.h"

static void assert_who(uint32_t who)
{
	XMB_ASSERT(who >= 1 && who <= XMB_WHO_MAX);
}

uint32_t xmb_handover_fill(struct xmb_cache *cache, uint32_t who,
			   uint64_t *addrs, uint32_t cnt)
{
	const struct xmb_domain *domain = &cache->pool->domain;
	uint32_t i, region, word;

	assert_who(who);
	for (i = 0; i < cnt; i++) {
		if (cache->cnt == 0 &&
		    xmb_cache_fetch(cache, cnt - i, true) == 0)
			break;
		region = cache->frames[--cache->cnt];
		word = xmb_frame_load(domain, region);
		if (XMB_UNLIKELY(xmb_frame_word_state(word) != XMB_FRAME_FREE))
			xmb_frame_panic(domain, region,
					xmb_frame_word_gen(word), "fill");
		xmb_frame_store(domain, region,
				xmb_frame_word(XMB_FRAME_FILL, who,
					       xmb_frame_word_gen(word)));
		addrs[i] = (uint64_t)region * domain->region_len;
	}
	return i;
}

/* Let who's TX ring be the owner of a slot. */
static void slot_to_tx(const struct xmb_domain *domain, uint32_t who,
		       struct xmb_chunk *chunk)
{
	struct xmb_tracker *t = &domain->trackers[chunk->region];

	/* The difference fits the owner's byte: no carry into the next. */
	atomic_fetch_add_explicit(
		&t->state,
		xmb_owner_bits(chunk->slot, XMB_OWNER_TX(who) - XMB_OWNER_SELF),
		memory_order_acq_rel);
	*chunk = (struct xmb_chunk){ 0 };
}

uint64_t xmb_handover_tx_slot(struct xmb_cache *cache, uint32_t who,
			      struct xmb_chunk *chunk, bool *is_excl)
{
	const struct xmb_domain *domain = &cache->pool->domain;
	uint64_t addr =
		(uint64_t)chunk->region * domain->region_len + chunk->off;

	assert_who(who);
	xmb_slot_verify(chunk, "send");
	if (xmb_slot_try_excl(chunk))
		return xmb_handover_tx(cache, who, chunk, is_excl);
	slot_to_tx(domain, who, chunk);
	*is_excl = false;
	return addr;
}

uint64_t xmb_handover_tx_of(const struct xmb_domain *domain, uint32_t who,
			    struct xmb_chunk *chunk, bool *is_excl)
{
	uint64_t addr =
		(uint64_t)chunk->region * domain->region_len + chunk->off;

	assert_who(who);
	XMB_ASSERT(chunk->dom == domain->id && chunk->len > 0);
	*is_excl = xmb_chunk_is_excl(chunk);
	if (!*is_excl) {
		xmb_slot_verify(chunk, "send");
		*is_excl = xmb_slot_try_excl(chunk);
	}
	if (!*is_excl) {
		slot_to_tx(domain, who, chunk);
		return addr;
	}
	xmb_chunk_verify(chunk, domain, "send");
	xmb_frame_store(domain, chunk->region,
			xmb_frame_word(XMB_FRAME_TX, who, chunk->slot));
	*chunk = (struct xmb_chunk){ 0 };
	return addr;
}

/*
 * The slot that who sends from off on.  The owner must match: a neighbour's
 * claim that is about to fail may show the same start for a moment, and so may
 * an empty chunk.  Of several, shares of the same bytes, the one with the
 * smallest end is taken: whichever the kernel meant, what it still reads stays
 * somebody's.
 */
static uint32_t find_tx_slot(const struct xmb_tracker *t, uint32_t who,
			     uint32_t off)
{
	uint64_t state = atomic_load_explicit(&t->state, memory_order_acquire);
	uint32_t found = XMB_TRACKER_SLOTS, found_end = UINT32_MAX;

	for (uint32_t k = 0; k < XMB_TRACKER_SLOTS; k++) {
		uint32_t word;

		if (xmb_tracker_owner(state, k) != XMB_OWNER_TX(who))
			continue;
		word = atomic_load_explicit(&t->slot[k], memory_order_relaxed);
		if (xmb_slot_start(word) != off ||
		    xmb_slot_end(word) >= found_end)
			continue;
		found = k;
		found_end = xmb_slot_end(word);
	}
	return found;
}

static int complete_slot_of(struct xmb_cache *cache, struct xmb_domain *domain,
			    uint32_t who, uint64_t addr)
{
	uint32_t region = (uint32_t)xmb_domain_region_at(domain, addr);
	uint32_t off = (uint32_t)(addr - (uint64_t)region * domain->region_len);
	uint32_t k = find_tx_slot(&domain->trackers[region], who, off);

	if (k == XMB_TRACKER_SLOTS)
		return -EPROTO;
	xmb_slot_release(cache, domain, region, k, XMB_HOME_SENT);
	return 0;
}

int xmb_handover_complete_slot(struct xmb_cache *cache, uint32_t who,
			       uint64_t addr)
{
	struct xmb_domain *domain = &cache->pool->domain;
	uint64_t region = xmb_domain_region_at(domain, addr);
	uint32_t word;

	if (region >= domain->region_cnt)
		return -EPROTO;
	word = xmb_frame_load(domain, (uint32_t)region);
	if ((word & 0xffff) ==
	    (xmb_frame_word(XMB_FRAME_TX, who, 0) | XMB_FRAME_COOKIE)) {
		xmb_cookie_frame_home(domain, (uint32_t)region, XMB_HOME_SENT);
		xmb_frame_store(domain, (uint32_t)region,
				word & ~XMB_FRAME_COOKIE);
		return xmb_handover_complete(cache, who, addr);
	}
	return complete_slot_of(cache, domain, who, addr);
}

/* The frame was in the kernel's hands and goes home. */
static void go_home(struct xmb_cache *cache, struct xmb_domain *domain,
		    uint32_t region, enum xmb_home how)
{
	uint32_t word = xmb_frame_load(domain, region);

	if (word & XMB_FRAME_COOKIE)
		xmb_cookie_frame_home(domain, region, how);
	xmb_frame_store(
		domain, region,
		xmb_frame_word(XMB_FRAME_FREE, cache->who,
			       (xmb_frame_word_gen(word) + 1) & 0xffff));
	xmb_cache_put(cache, domain, region);
}

int xmb_handover_complete_of(struct xmb_cache *cache, struct xmb_domain *domain,
			     uint32_t who, uint64_t addr)
{
	uint64_t region = xmb_domain_region_at(domain, addr);
	uint32_t word;

	if (region >= domain->region_cnt)
		return -EPROTO;
	word = xmb_frame_load(domain, (uint32_t)region);
	if ((word & 0xffff) != xmb_frame_word(XMB_FRAME_TX, who, 0))
		return complete_slot_of(cache, domain, who, addr);
	go_home(cache, domain, (uint32_t)region, XMB_HOME_SENT);
	return 1;
}

/* The word without its generation and cookie. */
static bool is_in(uint32_t word, enum xmb_frame_state state, uint32_t who)
{
	return (word & 0xffff & ~(uint32_t)XMB_FRAME_COOKIE) ==
	       xmb_frame_word(state, who, 0);
}

uint32_t xmb_handover_tx_end(const struct xmb_domain *domain, uint32_t who,
			     uint64_t addr)
{
	uint64_t region = xmb_domain_region_at(domain, addr);
	const struct xmb_tracker *t;
	uint32_t k, word;

	if (region >= domain->region_cnt)
		return 0;
	word = xmb_frame_load(domain, (uint32_t)region);
	if (is_in(word, XMB_FRAME_TX, who) || is_in(word, XMB_FRAME_HELD, who))
		return domain->region_len;
	t = &domain->trackers[region];
	k = find_tx_slot(t, who,
			 (uint32_t)(addr - region * domain->region_len));
	if (k == XMB_TRACKER_SLOTS)
		return 0;
	return xmb_slot_end(
		atomic_load_explicit(&t->slot[k], memory_order_relaxed));
}

int xmb_handover_complete_held(struct xmb_cache *cache,
			       struct xmb_domain *domain, uint32_t who,
			       uint64_t addr)
{
	uint64_t region = xmb_domain_region_at(domain, addr);

	if (region >= domain->region_cnt ||
	    !is_in(xmb_frame_load(domain, (uint32_t)region), XMB_FRAME_HELD,
		   who))
		return -EPROTO;
	go_home(cache, domain, (uint32_t)region, XMB_HOME_SENT);
	return 0;
}

static bool is_tx_slot(const struct xmb_domain *domain, uint32_t region,
		       uint32_t k, uint32_t who)
{
	uint64_t state = atomic_load_explicit(&domain->trackers[region].state,
					      memory_order_acquire);

	return xmb_tracker_owner(state, k) == XMB_OWNER_TX(who);
}

/* Free the frames of who's in that state, and its slots in TX. */
static struct xmb_handover_held take_back(struct xmb_cache *cache,
					  struct xmb_domain *domain,
					  enum xmb_frame_state state,
					  uint32_t who)
{
	struct xmb_handover_held home = { 0 };

	assert_who(who);
	for (uint32_t i = 0; i < domain->region_cnt; i++) {
		uint32_t word = xmb_frame_load(domain, i);

		if (is_in(word, state, who)) {
			go_home(cache, domain, i, XMB_HOME_DROPPED);
			home.tx_cnt++;
		}
		if (xmb_frame_word_state(word) != XMB_FRAME_APP)
			continue;
		for (uint32_t k = 0; k < XMB_TRACKER_SLOTS; k++) {
			if (!is_tx_slot(domain, i, k, who))
				continue;
			xmb_slot_release(cache, domain, i, k, XMB_HOME_DROPPED);
			home.slot_cnt++;
		}
	}
	return home;
}

struct xmb_handover_held xmb_handover_unsend_of(struct xmb_cache *cache,
						struct xmb_domain *domain,
						uint32_t who)
{
	return take_back(cache, domain, XMB_FRAME_TX, who);
}

struct xmb_handover_held xmb_handover_hold(struct xmb_pool *pool, uint32_t who)
{
	return xmb_handover_hold_of(&pool->domain, who);
}

struct xmb_handover_held xmb_handover_hold_of(const struct xmb_domain *domain,
					      uint32_t who)
{
	struct xmb_handover_held held = { 0 };

	assert_who(who);
	for (uint32_t i = 0; i < domain->region_cnt; i++) {
		uint32_t word = xmb_frame_load(domain, i);
		enum xmb_frame_state state = xmb_frame_word_state(word);

		if (state == XMB_FRAME_APP) {
			for (uint32_t k = 0; k < XMB_TRACKER_SLOTS; k++)
				held.slot_cnt += is_tx_slot(domain, i, k, who);
			continue;
		}
		if (xmb_frame_word_who(word) != who ||
		    (state != XMB_FRAME_FILL && state != XMB_FRAME_TX))
			continue;
		xmb_frame_store(domain, i,
				xmb_frame_word(XMB_FRAME_HELD, who,
					       xmb_frame_word_gen(word)) |
					(word & XMB_FRAME_COOKIE));
		if (state == XMB_FRAME_FILL)
			held.fill_cnt++;
		else
			held.tx_cnt++;
	}
	return held;
}

uint32_t xmb_handover_unhold(struct xmb_cache *cache, uint32_t who)
{
	struct xmb_handover_held freed =
		xmb_handover_unhold_of(cache, &cache->pool->domain, who);

	return freed.tx_cnt + freed.slot_cnt;
}

struct xmb_handover_held xmb_handover_unhold_of(struct xmb_cache *cache,
						struct xmb_domain *domain,
						uint32_t who)
{
	return take_back(cache, domain, XMB_FRAME_HELD, who);
}

int xmb_handover_offer(struct xmb_cache *cache, struct xmb_chunk *chunk,
		       struct xmb_handover_desc *desc)
{
	const struct xmb_domain *domain = &cache->pool->domain;
	uint32_t word;

	if (!xmb_chunk_is_live(chunk))
		return -EINVAL;
	XMB_ASSERT(chunk->dom == domain->id);
	if (!xmb_chunk_is_excl(chunk))
		xmb_slot_verify(chunk, "offer");
	else
		xmb_chunk_verify(chunk, domain, "offer");
	word = xmb_frame_load(domain, chunk->region);
	if (word & XMB_FRAME_COOKIE)
		return -EBUSY;
	if (xmb_chunk_is_excl(chunk)) {
		/* Of the process, not of a thread: adopt() compares it. */
		xmb_frame_store(domain, chunk->region,
				xmb_frame_word(XMB_FRAME_APP, XMB_OWNER_SELF,
					       chunk->slot));
		cache->app_cnt--;
	}
	*desc = (struct xmb_handover_desc){
		.off = chunk->off,
		.len = chunk->len,
		.region = chunk->region,
		.slot = chunk->slot,
		.owner = xmb_owner_self,
		.flags = chunk->flags,
	};
	*chunk = (struct xmb_chunk){ 0 };
	return 0;
}

static bool desc_is_sound(const struct xmb_domain *domain,
			  const struct xmb_handover_desc *desc)
{
	uint32_t flags = XMB_CHUNK_EXCL | XMB_CHUNK_RDONLY | XMB_CHUNK_END;

	return desc->region < domain->region_cnt && desc->owner >= 1 &&
	       desc->owner <= XMB_OWNER_MAX && !(desc->flags & ~flags) &&
	       desc->off <= domain->region_len &&
	       desc->len <= domain->region_len - desc->off &&
	       (desc->flags & XMB_CHUNK_EXCL ? !(desc->flags & XMB_CHUNK_RDONLY)
					     : desc->slot < XMB_TRACKER_SLOTS);
}

/*
 * The exchange of the name decides between us and a supervisor, and acquires
 * what a sender wrote that was not read through a ring, as when we are one.
 */
static int adopt_excl(const struct xmb_domain *domain,
		      const struct xmb_handover_desc *desc, uint32_t who)
{
	struct xmb_tracker *t = &domain->trackers[desc->region];
	uint32_t word = xmb_frame_word(XMB_FRAME_APP, desc->owner, desc->slot);
	uint64_t state = atomic_load_explicit(&t->state, memory_order_acquire);

	if (state & XMB_TRACKER_OWNERS)
		return -ENOENT;
	return atomic_compare_exchange_strong_explicit(
		       &domain->words[desc->region], &word,
		       xmb_frame_word(XMB_FRAME_APP, who, desc->slot),
		       memory_order_acq_rel, memory_order_relaxed)
		       ? 0
		       : -ENOENT;
}

/*
 * The slot's word is another: because somebody else has the slot by now, who
 * became its owner first?
 */
static bool slot_has_moved(const struct xmb_tracker *t,
			   const struct xmb_handover_desc *desc)
{
	uint64_t state = atomic_load_explicit(&t->state, memory_order_relaxed);

	return xmb_tracker_owner(state, desc->slot) != desc->owner;
}

static int adopt_slot(const struct xmb_domain *domain,
		      const struct xmb_handover_desc *desc)
{
	struct xmb_tracker *t = &domain->trackers[desc->region];
	uint64_t state = atomic_load_explicit(&t->state, memory_order_acquire);
	uint32_t word;

	while (xmb_tracker_owner(state, desc->slot) == desc->owner) {
		uint64_t mine = state -
				xmb_owner_bits(desc->slot, desc->owner) +
				xmb_owner_bits(desc->slot, XMB_OWNER_SELF);

		/* The sender has stopped writing it, we do not write it yet. */
		word = atomic_load_explicit(&t->slot[desc->slot],
					    memory_order_acquire);
		if (word != xmb_slot_word(desc->off, desc->off + desc->len))
			return slot_has_moved(t, desc) ? -ENOENT : -EPROTO;
		if (atomic_compare_exchange_weak_explicit(
			    &t->state, &state, mine, memory_order_acq_rel,
			    memory_order_acquire))
			return 0;
	}
	return -ENOENT;
}

int xmb_handover_adopt(struct xmb_cache *cache,
		       const struct xmb_handover_desc *desc,
		       struct xmb_chunk *chunk)
{
	const struct xmb_domain *domain = &cache->pool->domain;
	bool is_excl = desc->flags & XMB_CHUNK_EXCL;
	int ret;

	XMB_ASSERT(!xmb_chunk_is_live(chunk));
	if (!desc_is_sound(domain, desc))
		return -EPROTO;
	ret = is_excl ? adopt_excl(domain, desc, cache->who)
		      : adopt_slot(domain, desc);
	if (ret)
		return ret;
	cache->app_cnt += is_excl;
	*chunk = (struct xmb_chunk){
		.off = desc->off,
		.len = desc->len,
		.region = desc->region,
		.slot = desc->slot,
		.dom = domain->id,
		.flags = desc->flags,
	};
	return 0;
}
