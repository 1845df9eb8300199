/* SPDX-License-Identifier: BSD-2-Clause */
#include "buf/reclaim.h"

#include "base/log.h"
#include "buf/handover.h"
#include "buf/pool_priv.h"
#include "buf/tracker_priv.h"

#include <errno.h>
#include <stdlib.h>

/* Bits of 256 ids. */
struct id_set {
	uint64_t bits[4];
};

static void id_add(struct id_set *set, uint32_t id)
{
	set->bits[id / 64] |= UINT64_C(1) << id % 64;
}

static bool id_has(const struct id_set *set, uint32_t id)
{
	return set->bits[id / 64] >> id % 64 & 1;
}

/*
 * Its box is in the memory of a process that is gone.  No other process has a
 * chunk of the frame: xmb_handover_offer() refuses that.
 */
static void forget_cookie(const struct xmb_domain *domain, uint32_t region)
{
	uint32_t word = xmb_frame_load(domain, region);

	if (word & XMB_FRAME_COOKIE)
		xmb_frame_store(domain, region, word & ~XMB_FRAME_COOKIE);
}

/* Become the owner of slot k if the dead process is. */
static bool slot_seize(struct xmb_tracker *t, uint32_t k, uint32_t owner)
{
	uint64_t state = atomic_load_explicit(&t->state, memory_order_acquire);

	while (xmb_tracker_owner(state, k) == owner) {
		uint64_t seized = state - xmb_owner_bits(k, owner) +
				  xmb_owner_bits(k, XMB_OWNER_SUP);

		if (atomic_compare_exchange_weak_explicit(
			    &t->state, &state, seized, memory_order_acq_rel,
			    memory_order_acquire))
			return true;
	}
	return false;
}

/*
 * What another has counted out goes home through a cache of its own, whose
 * app_cnt is forgotten: a wake that runs meanwhile may use the caller's.
 */
static void pass_on(struct xmb_cache *own, struct xmb_cache *cache)
{
	while (own->cnt > 0)
		xmb_cache_put(cache, &own->pool->domain,
			      own->frames[--own->cnt]);
}

/*
 * Slots first: the last to leave a region takes the frame out of the shared
 * mode, and only then its word says who has it.
 */
static uint32_t reclaim_slots(struct xmb_cache *cache, uint32_t region,
			      uint32_t owner)
{
	struct xmb_domain *domain = &cache->pool->domain;
	struct xmb_tracker *t = &domain->trackers[region];
	uint32_t cnt = 0;

	for (uint32_t k = 0; k < XMB_TRACKER_SLOTS; k++) {
		if (!slot_seize(t, k, owner))
			continue;
		forget_cookie(domain, region);
		xmb_slot_release(cache, domain, region, k, XMB_HOME_RELEASED);
		cnt++;
	}
	return cnt;
}

/* A first split that was not finished has left words behind. */
static void tracker_reset(struct xmb_tracker *t)
{
	for (uint32_t k = 0; k < XMB_TRACKER_SLOTS; k++)
		atomic_store_explicit(&t->slot[k], XMB_SLOT_EMPTY,
				      memory_order_relaxed);
}

/*
 * A whole frame in one of the dead process's names.  The exchange decides
 * against somebody who is just now adopting it.
 */
static bool reclaim_frame(struct xmb_cache *cache, uint32_t region,
			  const struct id_set *whos, bool *was_free)
{
	struct xmb_domain *domain = &cache->pool->domain;
	struct xmb_tracker *t = &domain->trackers[region];
	uint64_t state = atomic_load_explicit(&t->state, memory_order_acquire);
	enum xmb_frame_state frame_state;
	uint32_t word, home;

	if (state & XMB_TRACKER_OWNERS)
		return false;
	/* After state: while there are owners, the word's who is stale. */
	word = xmb_frame_load(domain, region);
	frame_state = xmb_frame_word_state(word);
	if ((frame_state != XMB_FRAME_APP && frame_state != XMB_FRAME_FREE) ||
	    !id_has(whos, xmb_frame_word_who(word)))
		return false;
	home = xmb_frame_word(XMB_FRAME_FREE, cache->who,
			      (xmb_frame_word_gen(word) + 1) & 0xffff);
	if (!atomic_compare_exchange_strong_explicit(
		    &domain->words[region], &word, home, memory_order_acq_rel,
		    memory_order_relaxed))
		return false;
	tracker_reset(t);
	xmb_cache_put(cache, domain, region);
	*was_free = frame_state == XMB_FRAME_FREE;
	return true;
}

static uint32_t reclaim_spills(struct xmb_cache *cache, uint32_t owner)
{
	struct xmb_pool *pool = cache->pool;
	struct xmb_stack stack = xmb_stack_spills(pool);
	uint32_t cnt = 0;

	for (uint32_t i = 0; i < pool->spill_cnt; i++) {
		_Atomic uint32_t *link = xmb_stack_link(&stack, i);

		if (atomic_load_explicit(link, memory_order_relaxed) !=
		    (XMB_SPILL_TAKEN | owner))
			continue;
		atomic_store_explicit(link, XMB_SPILL_TAKEN | XMB_OWNER_SELF,
				      memory_order_release);
		xmb_cache_spill_put(cache, &pool->domain, i);
		cnt++;
	}
	return cnt;
}

/* All names of a dead process; false if one of them is none, or ours. */
static bool names_of(const struct xmb_reclaim_dead *dead,
		     const struct xmb_cache *cache, struct id_set *whos)
{
	if (dead->owner < 1 || dead->owner > XMB_OWNER_MAX ||
	    dead->owner == XMB_OWNER_SELF)
		return false;
	id_add(whos, dead->owner);
	for (uint32_t i = 0; i < dead->who_cnt; i++) {
		if (dead->whos[i] == 0)
			return false;
		id_add(whos, dead->whos[i]);
	}
	return !id_has(whos, cache->who) && !id_has(whos, XMB_OWNER_SELF);
}

int xmb_reclaim(struct xmb_cache *cache, const struct xmb_reclaim_dead *dead,
		struct xmb_reclaim_cnt *cnt)
{
	struct xmb_domain *domain = &cache->pool->domain;
	struct id_set whos = { 0 };
	struct xmb_cache own;
	bool was_free;

	if (!names_of(dead, cache, &whos))
		return -EINVAL;
	xmb_pool_forget_waiting(cache->pool, dead->owner);
	xmb_cache_init(&own, cache->pool, cache->who);
	for (uint32_t i = 0; i < domain->region_cnt; i++) {
		cnt->slot_cnt += reclaim_slots(&own, i, dead->owner);
		pass_on(&own, cache);
		if (!reclaim_frame(cache, i, &whos, &was_free))
			continue;
		if (was_free)
			cnt->cached_cnt++;
		else
			cnt->frame_cnt++;
	}
	cnt->spill_cnt += reclaim_spills(cache, dead->owner);
	return 0;
}

static bool has_tx_slot(const struct xmb_tracker *t, uint32_t who)
{
	uint64_t state = atomic_load_explicit(&t->state, memory_order_acquire);
	bool has = false;

	for (uint32_t k = 0; k < XMB_TRACKER_SLOTS; k++)
		has |= xmb_tracker_owner(state, k) == XMB_OWNER_TX(who);
	return has;
}

int xmb_reclaim_socket(struct xmb_cache *cache, uint32_t who,
		       struct xmb_reclaim_cnt *cnt)
{
	struct xmb_domain *domain = &cache->pool->domain;
	struct xmb_handover_held held;
	struct xmb_cache own;

	if (who < 1 || who > XMB_WHO_MAX)
		return -EINVAL;
	for (uint32_t i = 0; i < domain->region_cnt; i++) {
		uint32_t word = xmb_frame_load(domain, i);

		if (xmb_frame_word_state(word) == XMB_FRAME_APP
			    ? has_tx_slot(&domain->trackers[i], who)
			    : xmb_frame_word_who(word) == who)
			forget_cookie(domain, i);
	}
	held = xmb_handover_hold(cache->pool, who);
	cnt->slot_cnt += held.slot_cnt;
	xmb_cache_init(&own, cache->pool, cache->who);
	cnt->frame_cnt += xmb_handover_unhold(&own, who) - held.slot_cnt;
	pass_on(&own, cache);
	return 0;
}

/* What is on a stack, one bit each. */
struct walk {
	uint8_t *met;
	uint32_t cnt;
};

static bool was_met(const struct walk *walk, uint32_t idx)
{
	return walk->met[idx / 8] & 1u << idx % 8;
}

static void mark_met(struct walk *walk, uint32_t idx)
{
	walk->met[idx / 8] = (uint8_t)(walk->met[idx / 8] | 1u << idx % 8);
}

/* The caller frees walk->met, whatever comes of it. */
static int walk_stack(const struct xmb_stack *stack, struct walk *walk,
		      const char *what)
{
	uint32_t idx = (uint32_t)atomic_load_explicit(&stack->head->top,
						      memory_order_acquire);

	walk->met = calloc(1, stack->idx_cnt / 8 + 1);
	if (!walk->met)
		return -ENOMEM;
	for (; idx != XMB_STACK_END; walk->cnt++) {
		if (idx >= stack->idx_cnt || was_met(walk, idx)) {
			xmb_log(XMB_LOG_ERROR,
				"reclaim: %s %u is on the shared stack where"
				" it cannot be, so that what is missing from it"
				" is not known; make the pool anew",
				what, idx);
			return -EPROTO;
		}
		mark_met(walk, idx);
		idx = atomic_load_explicit(xmb_stack_link(stack, idx),
					   memory_order_acquire);
	}
	return 0;
}

/*
 * Frames that went astray between a stack and a cache.  All are looked up
 * before the first is put back: a full cache then gives older ones to the
 * stack, which are of nobody from there on, and not lost.
 */
static void take_lost_frames(struct xmb_cache *cache, struct walk *walk,
			     struct xmb_reclaim_cnt *cnt)
{
	struct xmb_domain *domain = &cache->pool->domain;

	for (uint32_t i = 0; i < domain->region_cnt; i++) {
		if ((xmb_frame_load(domain, i) & 0xffff) != XMB_FRAME_FREE)
			mark_met(walk, i);
	}
	for (uint32_t i = 0; i < domain->region_cnt; i++) {
		if (was_met(walk, i))
			continue;
		xmb_pool_name(cache->pool, &i, 1, cache->who);
		xmb_cache_put(cache, domain, i);
		cnt->cached_cnt++;
	}
}

static void take_lost_spills(struct xmb_cache *cache, struct walk *walk,
			     struct xmb_reclaim_cnt *cnt)
{
	struct xmb_pool *pool = cache->pool;
	struct xmb_stack stack = xmb_stack_spills(pool);

	for (uint32_t i = 0; i < pool->spill_cnt; i++) {
		uint32_t link = atomic_load_explicit(xmb_stack_link(&stack, i),
						     memory_order_relaxed);

		if (link != XMB_STACK_END && link & XMB_SPILL_TAKEN)
			mark_met(walk, i);
	}
	for (uint32_t i = 0; i < pool->spill_cnt; i++) {
		if (was_met(walk, i))
			continue;
		atomic_store_explicit(xmb_stack_link(&stack, i),
				      XMB_SPILL_TAKEN | XMB_OWNER_SELF,
				      memory_order_release);
		xmb_cache_spill_put(cache, &pool->domain, i);
		cnt->spill_cnt++;
	}
}

int xmb_reclaim_lost(struct xmb_cache *cache, struct xmb_reclaim_cnt *cnt)
{
	struct xmb_stack frames = xmb_stack_frames(cache->pool);
	struct xmb_stack spills = xmb_stack_spills(cache->pool);
	struct walk frame_walk = { 0 }, spill_walk = { 0 };
	int ret = walk_stack(&frames, &frame_walk, "frame");

	if (ret == 0)
		ret = walk_stack(&spills, &spill_walk, "spill block");
	if (ret == 0) {
		/* Who died between tokens and elements took or gave one only */
		atomic_store_explicit(&frames.head->token_cnt, frame_walk.cnt,
				      memory_order_release);
		atomic_store_explicit(&spills.head->token_cnt, spill_walk.cnt,
				      memory_order_release);
		take_lost_frames(cache, &frame_walk, cnt);
		take_lost_spills(cache, &spill_walk, cnt);
	}
	free(frame_walk.met);
	free(spill_walk.met);
	return ret;
}
