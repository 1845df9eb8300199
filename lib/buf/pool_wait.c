/* SPDX-License-Identifier: BSD-2-Clause */
#include "buf/pool_priv.h"

#include <errno.h>
#include <pthread.h>

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

void xmb_pool_call_hook(struct xmb_pool *pool, struct xmb_cache *cache)
{
	struct xmb_pool_hook *hook =
		atomic_load_explicit(&pool->hook, memory_order_acquire);
	enum xmb_home home = cache ? cache->home : XMB_HOME_RELEASED;

	/* None: who waits is in another process, and has to look himself. */
	if (!hook)
		return;
	/* What it releases is nothing of the drop that it is called in. */
	if (cache)
		cache->home = XMB_HOME_RELEASED;
	hook->fn(hook);
	if (cache)
		cache->home = home;
}

/*
 * A process's count and bit change together in it; the bit alone is what others
 * look at, and what a death leaves is one bit of that process, whatever the
 * count was.
 */
static pthread_mutex_t waiting_lock = PTHREAD_MUTEX_INITIALIZER;

void xmb_pool_set_waiting(struct xmb_pool *pool, bool is_waiting)
{
	uint32_t owner = XMB_OWNER_SELF;
	_Atomic uint16_t *cnt = &pool->shared->waiting_cnt[owner];
	_Atomic uint64_t *bits = &pool->shared->waiting[owner / 64];
	uint64_t bit = UINT64_C(1) << owner % 64;
	uint32_t n;

	pthread_mutex_lock(&waiting_lock);
	n = atomic_load_explicit(cnt, memory_order_relaxed);
	n += is_waiting ? 1 : UINT32_MAX;
	XMB_ASSERT(n <= UINT16_MAX);
	atomic_store_explicit(cnt, (uint16_t)n, memory_order_relaxed);
	if (n == 0)
		atomic_fetch_and_explicit(bits, ~bit, memory_order_relaxed);
	else
		atomic_fetch_or_explicit(bits, bit, memory_order_seq_cst);
	pthread_mutex_unlock(&waiting_lock);
	/* Between this and the loads of a take: see xmb_pool_tell(). */
	if (is_waiting)
		atomic_thread_fence(memory_order_seq_cst);
}

void xmb_pool_forget_waiting(struct xmb_pool *pool, uint32_t owner)
{
	atomic_store_explicit(&pool->shared->waiting_cnt[owner], 0,
			      memory_order_relaxed);
	atomic_fetch_and_explicit(&pool->shared->waiting[owner / 64],
				  ~(UINT64_C(1) << owner % 64),
				  memory_order_relaxed);
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
	if (XMB_UNLIKELY(
		    xmb_pool_is_waiting(cache->pool, memory_order_relaxed)) &&
	    (cache->cnt > 0 || cache->spill_cnt > 0))
		xmb_cache_fini(cache);
}
