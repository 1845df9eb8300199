/* SPDX-License-Identifier: BSD-2-Clause */
#ifndef XMBUF_BUF_POOL_PRIV_H
#define XMBUF_BUF_POOL_PRIV_H

#include "buf/multibuf.h"
#include "buf/pool.h"

/*
 * pool_priv: the two shared stacks of a pool, and in whose name is what is not
 * on them.
 *
 *      free frame    on the stack   word FREE, of nobody (who 0)
 *                    in a cache     word FREE, of the cache's who
 *      spill block   on the stack   link: the next one's index
 *                    elsewhere      link: XMB_SPILL_TAKEN | owner id
 *
 * So what a dead process had is found without its caches.  A batch changes
 * name on its way between stack and cache: what a death leaves in between is
 * of nobody and on no stack, and found by a walk (reclaim.h).
 *
 * Threads    Any.
 */

#define XMB_STACK_END UINT32_MAX
#define XMB_SPILL_TAKEN 0x80000000u /* no index is as high */

/*
 * A lock-free stack of indexes.  top is tag:32 | index:32; the tag rises with
 * every change, so that a top which is met again is not taken for the same.
 * Tokens say how many may be popped: a taker first takes tokens and then finds
 * as many elements, for a giver links its elements before it adds tokens.
 */
struct xmb_stack_head {
	_Atomic uint64_t top;
	_Atomic uint32_t token_cnt;
} __attribute__((aligned(XMB_CACHE_LINE)));

struct xmb_pool_shared {
	struct xmb_stack_head frames;
	struct xmb_stack_head spills;
	_Atomic int64_t foreign_cnt;
	_Atomic uint32_t reserve;
	/* Owner ids for which somebody waits for frames or blocks, a bit each
	 */
	_Atomic uint64_t waiting[2];
	uint32_t frame_len; /* these three are written once, by init */
	uint32_t frame_cnt;
	uint32_t spill_cnt;
	/* How many wait; the owner's alone, or of who takes back what it had */
	_Atomic uint16_t waiting_cnt[XMB_OWNER_MAX + 1];
} __attribute__((aligned(XMB_CACHE_LINE)));

/* A process's view of a stack: its head and where the links are. */
struct xmb_stack {
	struct xmb_stack_head *head;
	uint8_t *links;
	size_t stride;
	uint32_t idx_cnt;
};

static inline struct xmb_stack xmb_stack_frames(const struct xmb_pool *pool)
{
	return (struct xmb_stack){
		.head = &pool->shared->frames,
		.links = (uint8_t *)&pool->domain.trackers->link,
		.stride = sizeof(struct xmb_tracker),
		.idx_cnt = pool->domain.region_cnt,
	};
}

/*
 * The free blocks' links are not in the blocks: a pop that has lost its race
 * may still read the link of a block that is a multibuf's again.
 */
static inline struct xmb_stack xmb_stack_spills(const struct xmb_pool *pool)
{
	return (struct xmb_stack){
		.head = &pool->shared->spills,
		.links = (uint8_t *)(pool->domain.spills + pool->spill_cnt),
		.stride = sizeof(uint32_t),
		.idx_cnt = pool->spill_cnt,
	};
}

static inline _Atomic uint32_t *xmb_stack_link(const struct xmb_stack *stack,
					       uint32_t idx)
{
	return (_Atomic uint32_t *)(void *)(stack->links + idx * stack->stride);
}

/*
 * Name the holder of free frames.  Whoever does so holds them: plain stores
 * would do, were it not for the walks of others.
 */
static inline void xmb_pool_name(const struct xmb_pool *pool,
				 const uint32_t *frames, uint32_t cnt,
				 uint32_t who)
{
	for (uint32_t i = 0; i < cnt; i++) {
		uint32_t word = xmb_frame_load(&pool->domain, frames[i]);

		xmb_frame_store(&pool->domain, frames[i],
				xmb_frame_word(XMB_FRAME_FREE, who,
					       xmb_frame_word_gen(word)));
	}
}

/* Nobody of a dead process waits. */
void xmb_pool_forget_waiting(struct xmb_pool *pool, uint32_t owner);

/* In the order of a load that has to see what is before a full fence, or not */
static inline bool xmb_pool_is_waiting(const struct xmb_pool *pool,
				       memory_order order)
{
	_Atomic uint64_t *waiting = pool->shared->waiting;

	return atomic_load_explicit(&waiting[0], order) |
	       atomic_load_explicit(&waiting[1], order);
}

/* The slow half: call the hook, in a release by that cache, or by NULL. */
void xmb_pool_call_hook(struct xmb_pool *pool, struct xmb_cache *cache);

/*
 * Frames or blocks have just been put on a shared stack.  The add of their
 * tokens and these loads are sequentially consistent, which pairs with the
 * fence of xmb_pool_set_waiting(): either this sees that somebody waits, or he,
 * who looks at the stack after his fence, sees the tokens.
 */
static inline void xmb_pool_tell(struct xmb_pool *pool, struct xmb_cache *cache)
{
	if (XMB_UNLIKELY(xmb_pool_is_waiting(pool, memory_order_seq_cst)))
		xmb_pool_call_hook(pool, cache);
}

#endif /* XMBUF_BUF_POOL_PRIV_H */
