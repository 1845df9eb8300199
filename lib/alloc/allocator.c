/* SPDX-License-Identifier: BSD-2-Clause */
#include "alloc/plan_priv.h"

/* Regions that are not there yet, but that the source could have. */
static void grow(struct xmb_allocator *allocator, uint32_t cnt)
{
	if (allocator->ops->grow)
		allocator->ops->grow(allocator, cnt);
}

/* Returns by how much app_cnt has risen: nobody is called back meanwhile. */
static int64_t take(struct xmb_allocator *allocator, struct xmb_multibuf *mb,
		    uint32_t cnt)
{
	int64_t before = allocator->cache->app_cnt;

	allocator->ops->take(allocator, mb, cnt);
	return allocator->cache->app_cnt - before;
}

/* Whether there are blocks for mb with cnt chunks: of these no source grows. */
static bool has_blocks(const struct xmb_allocator *allocator,
		       const struct xmb_multibuf *mb, uint32_t cnt)
{
	const struct xmb_cache *cache = allocator->cache;

	return cnt <= mb->cnt ||
	       xmb_alloc_blocks_for(cnt) - xmb_alloc_blocks_for(mb->cnt) <=
		       cache->spill_cnt + xmb_pool_free_block_cnt(cache->pool);
}

/*
 * Bring mb up to want_cnt chunks, or at least to min_cnt.  It grows by all
 * that is missing, or by what is missing to the least, or not at all: who is
 * refused then has made nothing grow, unless others took what it did.
 */
int64_t xmb_alloc_take_up_to(struct xmb_allocator *allocator,
			     struct xmb_multibuf *mb, uint32_t min_cnt,
			     uint32_t want_cnt)
{
	const struct xmb_allocator_ops *ops = allocator->ops;
	int64_t counted = 0;

	if (mb->cnt < want_cnt)
		counted = take(allocator, mb, want_cnt - mb->cnt);
	if (mb->cnt == want_cnt || !ops->grow ||
	    !has_blocks(allocator, mb, min_cnt))
		return counted;
	if (ops->grow(allocator, want_cnt - mb->cnt) < 0 && mb->cnt < min_cnt)
		grow(allocator, min_cnt - mb->cnt);
	return counted + take(allocator, mb, want_cnt - mb->cnt);
}

int xmb_allocator_alloc(struct xmb_allocator *allocator,
			const struct xmb_alloc_request *request,
			struct xmb_multibuf *mb)
{
	return xmb_allocator_alloc_bulk(allocator, request, mb, 1);
}

int xmb_allocator_alloc_len(struct xmb_allocator *allocator, size_t len,
			    struct xmb_multibuf *mb)
{
	struct xmb_alloc_request request = { .min_len = len };

	return xmb_allocator_alloc_bulk(allocator, &request, mb, 1);
}

/* Whether cnt multibufs of the plan could be had if everything were free. */
static bool fits_ever(const struct xmb_allocator *allocator,
		      const struct xmb_alloc_plan *plan, uint32_t cnt)
{
	struct xmb_alloc_limits limits = allocator->ops->limits(allocator);

	return (uint64_t)cnt * plan->min_cnt <= limits.region_cnt &&
	       (uint64_t)cnt * xmb_alloc_blocks_for(plan->min_cnt) <=
		       limits.block_cnt;
}

/* Give back what a refused call took, last taken first. */
static void undo(struct xmb_allocator *allocator, struct xmb_multibuf *mbs,
		 uint32_t cnt)
{
	while (cnt-- > 0)
		xmb_alloc_drop(&mbs[cnt], mbs[cnt].cnt, allocator->cache);
}

int xmb_allocator_alloc_bulk(struct xmb_allocator *allocator,
			     const struct xmb_alloc_request *request,
			     struct xmb_multibuf *mbs, uint32_t cnt)
{
	struct xmb_alloc_plan plan;
	int ret = xmb_alloc_plan_make(&plan, allocator, request);

	if (ret < 0)
		return ret;
	if (!fits_ever(allocator, &plan, cnt))
		return -EMSGSIZE;
	for (uint32_t i = 0; i < cnt; i++) {
		XMB_ASSERT(mbs[i].cnt == 0);
		/* Alone it may take all at once; more of them the least. */
		xmb_alloc_take_up_to(allocator, &mbs[i], plan.min_cnt,
				     cnt == 1 ? plan.want_cnt : plan.min_cnt);
		if (mbs[i].cnt >= plan.min_cnt)
			continue;
		undo(allocator, mbs, i + 1);
		return -ENOBUFS;
	}
	for (uint32_t i = 0; i < cnt; i++) {
		if (cnt > 1)
			xmb_alloc_take_up_to(allocator, &mbs[i], plan.min_cnt,
					     plan.want_cnt);
		xmb_alloc_plan_shape(&plan, &mbs[i]);
	}
	return 0;
}

static uint32_t pool_take(struct xmb_allocator *allocator,
			  struct xmb_multibuf *mb, uint32_t cnt)
{
	struct xmb_cache *cache = allocator->cache;

	xmb_cache_fetch(cache, cnt, false);
	return xmb_alloc_take(cache, mb, cnt, cache);
}

static struct xmb_alloc_limits
pool_limits(const struct xmb_allocator *allocator)
{
	return xmb_alloc_pool_limits(allocator->source);
}

static int pool_set_hook(struct xmb_allocator *allocator,
			 struct xmb_pool_hook *hook)
{
	return xmb_pool_set_hook(allocator->source, hook);
}

static void pool_set_waiting(struct xmb_allocator *allocator, bool is_waiting)
{
	xmb_pool_set_waiting(allocator->source, is_waiting);
}

void xmb_allocator_init_pool(struct xmb_allocator *allocator,
			     struct xmb_cache *cache)
{
	static const struct xmb_allocator_ops ops = {
		.take = pool_take,
		.limits = pool_limits,
		.set_hook = pool_set_hook,
		.set_waiting = pool_set_waiting,
	};

	*allocator = (struct xmb_allocator){
		.ops = &ops,
		.cache = cache,
		.source = cache->pool,
		.region_len = cache->pool->domain.region_len,
	};
}
