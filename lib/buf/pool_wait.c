/* SPDX-License-Identifier: BSD-2-Clause */
#include "buf/pool_priv.h"

#include <errno.h>

/* What a pool does for those who wait for its frames (lib/alloc/waiter.h). */

int xmb_pool_set_hook(struct xmb_pool *pool, struct xmb_pool_hook *hook)
{
	struct xmb_pool_hook *none = NULL;

	if (!hook) {
		atomic_store_explicit(&pool->hook, NULL, memory_order_release);
		return 0;
	}
	/* Release pairs with xmb_pool_call_hook(): it finds a hook complete. */
	if (!atomic_compare_exchange_strong_explicit(&pool->hook, &none, hook,
						     memory_order_release,
						     memory_order_relaxed))
		return -EBUSY;
	return 0;
}

void xmb_pool_call_hook(struct xmb_pool *pool)
{
	struct xmb_pool_hook *hook =
		atomic_load_explicit(&pool->hook, memory_order_acquire);

	/* None: who waits is in another process, and has to look himself. */
	if (hook)
		hook->fn(hook);
}

void xmb_pool_set_waiting(struct xmb_pool *pool, bool is_waiting)
{
	_Atomic uint32_t *waiting = &pool->shared->waiting;

	if (!is_waiting) {
		atomic_fetch_sub_explicit(waiting, 1, memory_order_relaxed);
		return;
	}
	atomic_fetch_add_explicit(waiting, 1, memory_order_seq_cst);
	/* Between this and the loads of a take: see xmb_pool_tell(). */
	atomic_thread_fence(memory_order_seq_cst);
}

uint32_t xmb_pool_reserve_cnt(const struct xmb_pool *pool)
{
	return atomic_load_explicit(&pool->shared->reserve,
				    memory_order_relaxed);
}

uint32_t xmb_pool_free_block_cnt(const struct xmb_pool *pool)
{
	return atomic_load_explicit(&pool->shared->spills.token_cnt,
				    memory_order_relaxed);
}

/*
 * Relaxed: what a turn misses, the next one sees.  A thread that goes to sleep
 * puts a full fence before its last call, and who waits one before he looks
 * for sleepers (xmb_worker_rouse() in the engine), so that one sees the other.
 */
void xmb_cache_yield(struct xmb_cache *cache)
{
	if (XMB_UNLIKELY(atomic_load_explicit(&cache->pool->shared->waiting,
					      memory_order_relaxed)) &&
	    (cache->cnt > 0 || cache->spill_cnt > 0))
		xmb_cache_fini(cache);
}
