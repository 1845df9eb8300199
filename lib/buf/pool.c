/* SPDX-License-Identifier: BSD-2-Clause */
#include "buf/pool.h"

#include "base/log.h"
#include "buf/pool_priv.h"
#include "buf/tracker_priv.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

enum {
	FRAMES_PER_SPILL = 8,
	SPILL_CNT_MIN = 16,
	SPILL_BATCH = XMB_SPILL_CACHE_MAX / 2,
};

#define CNT_MAX (1u << 31) /* of frames, or spill blocks */

/* Where the parts of the side memory begin. */
struct layout {
	size_t words_off, trackers_off, spills_off, links_off, len;
	uint32_t spill_cnt;
};

static struct layout layout_of(const struct xmb_pool_opts *opts)
{
	struct layout at = { .spill_cnt = opts->spill_cnt };
	size_t off = sizeof(struct xmb_pool_shared);

	if (at.spill_cnt == 0)
		at.spill_cnt = xmb_max_u32(opts->frame_cnt / FRAMES_PER_SPILL,
					   SPILL_CNT_MIN);
	at.words_off = off;
	off += opts->frame_cnt * sizeof(uint32_t);
	at.trackers_off = off = xmb_align_up(off, XMB_CACHE_LINE);
	off += opts->frame_cnt * sizeof(struct xmb_tracker);
	at.spills_off = off = xmb_align_up(off, XMB_CACHE_LINE);
	off += at.spill_cnt * sizeof(struct xmb_spill);
	at.links_off = off;
	off += at.spill_cnt * sizeof(uint32_t);
	at.len = xmb_align_up(off, XMB_CACHE_LINE);
	return at;
}

static uint64_t next_top(uint64_t top, uint32_t idx)
{
	return ((top >> 32) + 1) << 32 | idx;
}

/* The indexes 0..cnt-1 become the stack's, 0 on top. */
static void stack_init(const struct xmb_stack *stack)
{
	uint32_t cnt = stack->idx_cnt;

	for (uint32_t i = 0; i < cnt; i++)
		atomic_init(xmb_stack_link(stack, i),
			    i + 1 < cnt ? i + 1 : XMB_STACK_END);
	atomic_init(&stack->head->top, 0);
	atomic_init(&stack->head->token_cnt, cnt);
}

/*
 * Put idx[0..cnt) on top, the last one uppermost.  Links are stored by release
 * for the sake of a pop that runs into one of them while its own top is gone:
 * it then sees a new top, too.
 */
static void stack_push(const struct xmb_stack *stack, const uint32_t *idx,
		       uint32_t cnt)
{
	struct xmb_stack_head *head = stack->head;
	uint64_t top;

	for (uint32_t i = cnt; i-- > 1;)
		atomic_store_explicit(xmb_stack_link(stack, idx[i]), idx[i - 1],
				      memory_order_release);
	top = atomic_load_explicit(&head->top, memory_order_relaxed);
	do {
		atomic_store_explicit(xmb_stack_link(stack, idx[0]),
				      (uint32_t)top, memory_order_release);
		/* Release pairs with the acquire of top in stack_pop(). */
	} while (!atomic_compare_exchange_weak_explicit(
		&head->top, &top, next_top(top, idx[cnt - 1]),
		memory_order_release, memory_order_relaxed));
	/*
	 * Pairs with take_tokens(): who has a token finds the element.  What
	 * more than a release it is, xmb_pool_tell() needs.
	 */
	atomic_fetch_add_explicit(&head->token_cnt, cnt, memory_order_seq_cst);
}

/* Take up to want tokens, but leave floor of them. */
static uint32_t take_tokens(const struct xmb_stack *stack, uint32_t want,
			    uint32_t floor)
{
	struct xmb_stack_head *head = stack->head;
	uint32_t have, cnt;

	have = atomic_load_explicit(&head->token_cnt, memory_order_relaxed);
	do {
		cnt = have > floor ? xmb_min_u32(have - floor, want) : 0;
		if (cnt == 0)
			return 0;
	} while (!atomic_compare_exchange_weak_explicit(
		&head->token_cnt, &have, have - cnt, memory_order_acquire,
		memory_order_relaxed));
	return cnt;
}

/*
 * Read the cnt uppermost indexes into idx, the uppermost last; false if links
 * changed under the walk, which then may have met anything.
 */
static bool stack_walk(const struct xmb_stack *stack, uint64_t top,
		       uint32_t *idx, uint32_t cnt, uint32_t *rest)
{
	uint32_t at = (uint32_t)top;

	while (cnt-- > 0) {
		if (at >= stack->idx_cnt)
			return false;
		idx[cnt] = at;
		at = atomic_load_explicit(xmb_stack_link(stack, at),
					  memory_order_acquire);
	}
	*rest = at;
	return true;
}

/* Take cnt elements, for which the caller has tokens. */
static void stack_pop(const struct xmb_stack *stack, uint32_t *idx,
		      uint32_t cnt)
{
	struct xmb_stack_head *head = stack->head;
	uint64_t top = atomic_load_explicit(&head->top, memory_order_acquire);

	for (;;) {
		uint64_t seen = top;
		uint32_t rest;

		if (!stack_walk(stack, top, idx, cnt, &rest)) {
			top = atomic_load_explicit(&head->top,
						   memory_order_acquire);
			/* Tokens promise elements: only a race excuses this. */
			XMB_ASSERT(top != seen);
			continue;
		}
		if (atomic_compare_exchange_weak_explicit(
			    &head->top, &top, next_top(top, rest),
			    memory_order_acq_rel, memory_order_acquire))
			return;
	}
}

static uint32_t stack_take(const struct xmb_stack *stack, uint32_t *idx,
			   uint32_t want, uint32_t floor)
{
	uint32_t cnt = take_tokens(stack, want, floor);

	if (cnt)
		stack_pop(stack, idx, cnt);
	return cnt;
}

/* A frame of this pool was released through another pool's cache. */
static void pool_release(struct xmb_domain *domain, uint32_t region,
			 struct xmb_cache *cache)
{
	struct xmb_pool *pool = (struct xmb_pool *)domain;
	struct xmb_stack stack = xmb_stack_frames(pool);

	xmb_pool_name(pool, &region, 1, 0);
	stack_push(&stack, &region, 1);
	atomic_fetch_add_explicit(&pool->shared->foreign_cnt, 1,
				  memory_order_relaxed);
	xmb_pool_tell(pool, cache);
}

size_t xmb_pool_footprint(const struct xmb_pool_opts *opts)
{
	return layout_of(opts).len;
}

static void side_init(struct xmb_pool *pool)
{
	struct xmb_stack frames = xmb_stack_frames(pool);
	struct xmb_stack spills = xmb_stack_spills(pool);

	for (uint32_t i = 0; i < pool->domain.region_cnt; i++) {
		atomic_init(&pool->domain.words[i],
			    xmb_frame_word(XMB_FRAME_FREE, 0, 0));
		xmb_tracker_init(&pool->domain.trackers[i]);
	}
	stack_init(&frames);
	stack_init(&spills);
	atomic_init(&pool->shared->reserve, 0);
	for (uint32_t i = 0; i < 2; i++)
		atomic_init(&pool->shared->waiting[i], 0);
	for (uint32_t i = 0; i <= XMB_OWNER_MAX; i++)
		atomic_init(&pool->shared->waiting_cnt[i], 0);
	atomic_init(&pool->shared->foreign_cnt, 0);
	pool->shared->frame_len = pool->domain.region_len;
	pool->shared->frame_cnt = pool->domain.region_cnt;
	pool->shared->spill_cnt = pool->spill_cnt;
}

/* Make the process's own view of a pool whose side memory is there. */
static int pool_open(struct xmb_pool *pool, void *side,
		     const struct xmb_pool_opts *opts)
{
	struct layout at = layout_of(opts);
	int ret;

	XMB_ASSERT(side && (uintptr_t)side % XMB_CACHE_LINE == 0);
	XMB_ASSERT(opts->base);
	*pool = (struct xmb_pool){
		.domain = {
			.base = opts->base,
			.words = (void *)((uint8_t *)side + at.words_off),
			.trackers = (void *)((uint8_t *)side + at.trackers_off),
			.spills = (void *)((uint8_t *)side + at.spills_off),
			.region_len = opts->frame_len,
			.region_cnt = opts->frame_cnt,
			.last_len = opts->frame_len,
			.release = pool_release,
		},
		.shared = side,
		.spill_cnt = at.spill_cnt,
	};
	ret = xmb_domain_add(&pool->domain);
	if (ret)
		*pool = (struct xmb_pool){ 0 };
	return ret;
}

int xmb_pool_init(struct xmb_pool *pool, void *side,
		  const struct xmb_pool_opts *opts)
{
	int ret;

	if (opts->frame_len < 64 || opts->frame_len > XMB_REGION_LEN_MAX ||
	    opts->frame_cnt < 1 || opts->frame_cnt > CNT_MAX ||
	    opts->spill_cnt > CNT_MAX)
		return -EINVAL;
	ret = pool_open(pool, side, opts);
	if (ret == 0)
		side_init(pool);
	return ret;
}

int xmb_pool_join(struct xmb_pool *pool, void *side,
		  const struct xmb_pool_opts *opts)
{
	const struct xmb_pool_shared *shared = side;

	if (opts->frame_len != shared->frame_len ||
	    opts->frame_cnt != shared->frame_cnt ||
	    layout_of(opts).spill_cnt != shared->spill_cnt)
		return -EINVAL;
	return pool_open(pool, side, opts);
}

void xmb_pool_fini(struct xmb_pool *pool)
{
	xmb_domain_remove(&pool->domain);
	*pool = (struct xmb_pool){ 0 };
}

void xmb_pool_set_reserve(struct xmb_pool *pool, uint32_t cnt)
{
	atomic_store_explicit(&pool->shared->reserve, cnt,
			      memory_order_seq_cst);
	xmb_pool_tell(pool, NULL); /* there may be more to have now */
}

uint32_t xmb_pool_free_cnt(const struct xmb_pool *pool)
{
	/* Acquire: who sees a frame here sees what was done before its push. */
	return atomic_load_explicit(&pool->shared->frames.token_cnt,
				    memory_order_acquire);
}

int64_t xmb_pool_foreign_cnt(const struct xmb_pool *pool)
{
	return atomic_load_explicit(&pool->shared->foreign_cnt,
				    memory_order_relaxed);
}

void xmb_cache_init(struct xmb_cache *cache, struct xmb_pool *pool,
		    uint32_t who)
{
	XMB_ASSERT(who <= 0xff);
	memset(cache, 0, sizeof(*cache));
	cache->pool = pool;
	cache->who = who;
}

void xmb_cache_fini(struct xmb_cache *cache)
{
	struct xmb_stack frames = xmb_stack_frames(cache->pool);
	struct xmb_stack spills = xmb_stack_spills(cache->pool);

	if (cache->cnt) {
		xmb_pool_name(cache->pool, cache->frames, cache->cnt, 0);
		stack_push(&frames, cache->frames, cache->cnt);
	}
	if (cache->spill_cnt)
		stack_push(&spills, cache->spills, cache->spill_cnt);
	cache->cnt = 0;
	cache->spill_cnt = 0;
	xmb_pool_tell(cache->pool, cache);
}

uint32_t xmb_cache_fetch(struct xmb_cache *cache, uint32_t want, bool is_fill)
{
	struct xmb_stack stack = xmb_stack_frames(cache->pool);
	uint32_t fetched[XMB_CACHE_MAX], cnt, floor;

	want = xmb_min_u32(want, XMB_CACHE_MAX);
	if (cache->cnt >= want)
		return cache->cnt;
	floor = is_fill ? 0 :
			  atomic_load_explicit(&cache->pool->shared->reserve,
					       memory_order_relaxed);
	cnt = stack_take(&stack, fetched, want - cache->cnt, floor);
	xmb_pool_name(cache->pool, fetched, cnt, cache->who);
	/* What the cache had is warmer than what comes: it stays on top. */
	memmove(&cache->frames[cnt], cache->frames,
		cache->cnt * sizeof(*cache->frames));
	memcpy(cache->frames, fetched, cnt * sizeof(*fetched));
	cache->cnt += cnt;
	return cache->cnt;
}

void xmb_cache_flush(struct xmb_cache *cache)
{
	struct xmb_stack stack = xmb_stack_frames(cache->pool);
	uint32_t cnt = xmb_min_u32(XMB_CACHE_BATCH, (cache->cnt + 1) / 2);

	if (cnt == 0)
		return;
	xmb_pool_name(cache->pool, cache->frames, cnt, 0);
	stack_push(&stack, cache->frames, cnt);
	cache->cnt -= cnt;
	memmove(cache->frames, &cache->frames[cnt],
		cache->cnt * sizeof(*cache->frames));
	xmb_pool_tell(cache->pool, cache);
}

/* Fill an empty cache of spill blocks, and name who has them. */
static void spill_fetch(struct xmb_cache *cache)
{
	struct xmb_stack stack = xmb_stack_spills(cache->pool);

	cache->spill_cnt = stack_take(&stack, cache->spills, SPILL_BATCH, 0);
	/* Release: a pop that lost its race and reads this sees a new top. */
	for (uint32_t i = 0; i < cache->spill_cnt; i++)
		atomic_store_explicit(xmb_stack_link(&stack, cache->spills[i]),
				      XMB_SPILL_TAKEN | XMB_OWNER_SELF,
				      memory_order_release);
}

uint32_t xmb_cache_spill_get(struct xmb_cache *cache)
{
	if (cache->spill_cnt == 0)
		spill_fetch(cache);
	if (cache->spill_cnt == 0)
		return XMB_SPILL_NONE;
	return cache->spills[--cache->spill_cnt];
}

void xmb_cache_spill_put(struct xmb_cache *cache, struct xmb_domain *domain,
			 uint32_t spill)
{
	struct xmb_pool *pool = (struct xmb_pool *)domain;
	struct xmb_stack stack = xmb_stack_spills(pool);

	XMB_ASSERT(domain->spills && spill < pool->spill_cnt);
	if (pool != cache->pool) {
		stack_push(&stack, &spill, 1);
		xmb_pool_tell(pool, cache);
		return;
	}
	if (cache->spill_cnt < XMB_SPILL_CACHE_MAX) {
		cache->spills[cache->spill_cnt++] = spill;
		return;
	}
	stack_push(&stack, cache->spills, SPILL_BATCH);
	cache->spill_cnt -= SPILL_BATCH;
	memmove(cache->spills, &cache->spills[SPILL_BATCH],
		cache->spill_cnt * sizeof(*cache->spills));
	cache->spills[cache->spill_cnt++] = spill;
	xmb_pool_tell(pool, cache);
}

static uint8_t *check_set(uint32_t idx_cnt)
{
	uint8_t *set = calloc(1, idx_cnt / 8 + 1);

	if (!set)
		xmb_log(XMB_LOG_ERROR, "pool check: no memory for the set of"
			" %u indexes", idx_cnt);
	return set;
}

/* Mark idx in the set of those met; false, and said why, if it may not be. */
static bool check_mark(uint8_t *set, uint32_t idx, uint32_t idx_cnt,
		       const char *what, const char *where)
{
	if (idx >= idx_cnt) {
		xmb_log(XMB_LOG_ERROR, "pool check: %s %u in %s: there are %u",
			what, idx, where, idx_cnt);
		return false;
	}
	if (set[idx / 8] & 1u << idx % 8) {
		xmb_log(XMB_LOG_ERROR, "pool check: %s %u is free twice, once"
			" in %s", what, idx, where);
		return false;
	}
	set[idx / 8] = (uint8_t)(set[idx / 8] | 1u << idx % 8);
	return true;
}

static bool check_stack(const struct xmb_stack *stack, uint8_t *set,
			const char *what)
{
	uint32_t idx = (uint32_t)atomic_load(&stack->head->top);
	uint32_t token_cnt = atomic_load(&stack->head->token_cnt), cnt = 0;

	/* Marking bounds the walk even if the list has a loop. */
	for (; idx != XMB_STACK_END; cnt++) {
		if (!check_mark(set, idx, stack->idx_cnt, what,
				"the shared stack"))
			return false;
		idx = atomic_load(xmb_stack_link(stack, idx));
	}
	if (cnt != token_cnt) {
		xmb_log(XMB_LOG_ERROR, "pool check: the shared stack has %u"
			" %ss, but says %u", cnt, what, token_cnt);
		return false;
	}
	return true;
}

static bool check_spills(const struct xmb_pool *pool,
			 struct xmb_cache *const *caches, uint32_t cache_cnt)
{
	struct xmb_stack stack = xmb_stack_spills(pool);
	uint8_t *set = check_set(pool->spill_cnt);
	bool ok = set && check_stack(&stack, set, "spill block");

	for (uint32_t i = 0; ok && i < cache_cnt; i++) {
		for (uint32_t k = 0; ok && k < caches[i]->spill_cnt; k++)
			ok = check_mark(set, caches[i]->spills[k],
					pool->spill_cnt, "spill block",
					"a cache");
	}
	free(set);
	return ok;
}

/* A free frame's tracker must be at rest, or its next split goes wrong. */
static bool tracker_is_at_rest(const struct xmb_tracker *t)
{
	if (atomic_load(&t->state) & XMB_TRACKER_OWNERS)
		return false;
	for (uint32_t k = 0; k < XMB_TRACKER_SLOTS; k++) {
		if (atomic_load(&t->slot[k]) != XMB_SLOT_EMPTY)
			return false;
	}
	return true;
}

static bool check_words(const struct xmb_pool *pool, const uint8_t *set)
{
	const struct xmb_domain *domain = &pool->domain;

	for (uint32_t i = 0; i < domain->region_cnt; i++) {
		uint32_t word = xmb_frame_load(domain, i);
		enum xmb_frame_state state = xmb_frame_word_state(word);
		bool is_free = set[i / 8] & 1u << i % 8;

		if (is_free != (state == XMB_FRAME_FREE)) {
			xmb_log(XMB_LOG_ERROR, "pool check: frame %u is %s the"
				" free ones, but its state is %s", i,
				is_free ? "among" : "missing from",
				xmb_frame_state_name(state));
			return false;
		}
		if (is_free && !tracker_is_at_rest(&domain->trackers[i])) {
			xmb_log(XMB_LOG_ERROR, "pool check: frame %u is free,"
				" but its tracker has owners", i);
			return false;
		}
	}
	return true;
}

bool xmb_pool_check(const struct xmb_pool *pool,
		    struct xmb_cache *const *caches, uint32_t cache_cnt)
{
	struct xmb_stack stack = xmb_stack_frames(pool);
	uint32_t frame_cnt = pool->domain.region_cnt;
	uint8_t *set = check_set(frame_cnt);
	bool ok = set && check_stack(&stack, set, "frame");

	for (uint32_t i = 0; ok && i < cache_cnt; i++) {
		for (uint32_t k = 0; ok && k < caches[i]->cnt; k++)
			ok = check_mark(set, caches[i]->frames[k], frame_cnt,
					"frame", "a cache");
	}
	ok = ok && check_words(pool, set) &&
	     check_spills(pool, caches, cache_cnt);
	free(set);
	return ok;
}
