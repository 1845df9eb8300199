/* SPDX-License-Identifier: BSD-2-Clause */
#include "alloc/heap.h"

#include "alloc/plan_priv.h"

#include <stdlib.h>
#include <string.h>

enum {
	FRAME_LEN = 2048,
	FRAME_CNT = 256,
	FRAME_CNT_MAX = 1 << 20,
	SLAB_CNT = 16,
	FRAMES_PER_BLOCK = 8,
	OTHERS_BLOCK_CNT = 1, /* in slabs whose blocks nobody uses */
};

/* At the start of its memory; the side arrays and the frames follow. */
struct xmb_heap_slab {
	struct xmb_pool pool;	/* first, so that its domain is the slab's */
	struct xmb_cache cache; /* of the heap; under its lock */
	xmb_domain_release_fn *release;
	struct xmb_heap *heap;
	void *mem;
	size_t len;
};

static void *default_alloc(void *arg, size_t len)
{
	(void)arg;
	return malloc(len);
}

static void default_free(void *arg, void *mem, size_t len)
{
	(void)arg;
	(void)len;
	free(mem);
}

/*
 * Who puts a chunk home is counted from before its frame can be seen to be
 * free until he has left the slab: see slab_is_idle().
 */
static void slab_release(struct xmb_domain *domain, uint32_t region,
			 struct xmb_cache *cache)
{
	struct xmb_heap_slab *slab = (struct xmb_heap_slab *)domain;
	struct xmb_heap *heap = slab->heap;

	atomic_fetch_add_explicit(&heap->releasing, 1, memory_order_relaxed);
	slab->release(domain, region, cache);
	/* Pairs with slab_is_idle(). */
	atomic_fetch_sub_explicit(&heap->releasing, 1, memory_order_release);
}

/*
 * All its frames are free, and nobody is in slab_release(): whose frame was
 * seen on the stack had been counted before, so that 0 means that he has
 * left.  What comes later is of other slabs: this one has no chunk out.
 */
static bool slab_is_idle(const struct xmb_heap_slab *slab)
{
	const struct xmb_pool *pool = &slab->pool;

	if (xmb_pool_free_cnt(pool) + slab->cache.cnt !=
	    pool->domain.region_cnt)
		return false;
	return atomic_load_explicit(&slab->heap->releasing,
				    memory_order_acquire) == 0;
}

static struct xmb_pool_opts pool_opts(const struct xmb_heap_opts *opts,
				      bool is_first)
{
	uint64_t frame_cnt = (uint64_t)opts->frame_cnt * opts->slab_max;

	return (struct xmb_pool_opts){
		.frame_len = opts->frame_len,
		.frame_cnt = opts->frame_cnt,
		.spill_cnt =
			is_first ? (uint32_t)(frame_cnt / FRAMES_PER_BLOCK) + 16
				 : OTHERS_BLOCK_CNT,
	};
}

/* Make a slab; the errors are those of xmb_heap_init(). */
static int slab_create(struct xmb_heap *heap, bool is_first,
		       struct xmb_heap_slab **made)
{
	struct xmb_pool_opts opts = pool_opts(&heap->opts, is_first);
	size_t head_len =
		xmb_align_up(sizeof(struct xmb_heap_slab), XMB_CACHE_LINE);
	size_t side_len = xmb_pool_footprint(&opts);
	size_t len = XMB_CACHE_LINE + head_len + side_len +
		     (size_t)opts.frame_cnt * opts.frame_len;
	uint8_t *mem = heap->opts.alloc(heap->opts.arg, len), *start;
	struct xmb_heap_slab *slab;
	int ret;

	if (!mem)
		return -ENOMEM;
	start = mem +
		(xmb_align_up((uintptr_t)mem, XMB_CACHE_LINE) - (uintptr_t)mem);
	memset(start, 0, head_len + side_len);
	slab = (void *)start;
	opts.base = start + head_len + side_len;
	ret = xmb_pool_init(&slab->pool, start + head_len, &opts);
	if (ret < 0) {
		heap->opts.free(heap->opts.arg, mem, len);
		return ret;
	}
	slab->release = slab->pool.domain.release;
	slab->pool.domain.release = slab_release;
	slab->heap = heap;
	slab->mem = mem;
	slab->len = len;
	xmb_cache_init(&slab->cache, &slab->pool, 1);
	*made = slab;
	return 0;
}

static void slab_destroy(struct xmb_heap *heap, struct xmb_heap_slab *slab)
{
	xmb_cache_fini(&slab->cache);
	xmb_pool_fini(&slab->pool);
	heap->opts.free(heap->opts.arg, slab->mem, slab->len);
}

int xmb_heap_init(struct xmb_heap *heap, const struct xmb_heap_opts *opts)
{
	struct xmb_heap made = { .opts = *opts };
	struct xmb_heap_opts *o = &made.opts;
	struct xmb_heap_slab *slab;
	int ret;

	o->frame_len = xmb_or_u32(o->frame_len, FRAME_LEN);
	o->frame_cnt = xmb_or_u32(o->frame_cnt, FRAME_CNT);
	o->slab_max = xmb_or_u32(o->slab_max, SLAB_CNT);
	if (o->frame_len < 64 || o->frame_len > XMB_REGION_LEN_MAX ||
	    o->frame_cnt > FRAME_CNT_MAX || o->slab_max > XMB_HEAP_SLAB_MAX ||
	    !o->alloc != !o->free)
		return -EINVAL;
	if (!o->alloc) {
		o->alloc = default_alloc;
		o->free = default_free;
	}
	ret = slab_create(&made, true, &slab);
	if (ret < 0)
		return ret;
	*heap = made;
	pthread_mutex_init(&heap->lock, NULL);
	slab->heap = heap;
	heap->slabs[0] = slab;
	heap->slab_cnt = 1;
	return 0;
}

int xmb_heap_fini(struct xmb_heap *heap)
{
	const struct xmb_pool *first = &heap->slabs[0]->pool;

	/* The first may miss the blocks that its own cache has: none. */
	if (xmb_pool_free_block_cnt(first) != first->spill_cnt)
		return -EBUSY;
	for (uint32_t i = 0; i < heap->slab_cnt; i++) {
		if (!slab_is_idle(heap->slabs[i]))
			return -EBUSY;
	}
	for (uint32_t i = 0; i < heap->slab_cnt; i++)
		slab_destroy(heap, heap->slabs[i]);
	pthread_mutex_destroy(&heap->lock);
	*heap = (struct xmb_heap){ 0 };
	return 0;
}

struct xmb_pool *xmb_heap_pool(struct xmb_heap *heap)
{
	return &heap->slabs[0]->pool;
}

uint32_t xmb_heap_slab_cnt(struct xmb_heap *heap)
{
	uint32_t cnt;

	pthread_mutex_lock(&heap->lock);
	cnt = heap->slab_cnt;
	pthread_mutex_unlock(&heap->lock);
	return cnt;
}

/* Under the lock: the next slab that can go, taken out; NULL: none. */
static struct xmb_heap_slab *slab_detach(struct xmb_heap *heap)
{
	struct xmb_heap_slab *slab;

	for (uint32_t i = 1; i < heap->slab_cnt; i++) {
		slab = heap->slabs[i];
		if (!slab_is_idle(slab))
			continue;
		heap->slabs[i] = heap->slabs[--heap->slab_cnt];
		return slab;
	}
	return NULL;
}

uint32_t xmb_heap_trim(struct xmb_heap *heap)
{
	struct xmb_heap_slab *slab;
	uint32_t cnt = 0;

	for (;;) {
		pthread_mutex_lock(&heap->lock);
		slab = slab_detach(heap);
		pthread_mutex_unlock(&heap->lock);
		if (!slab)
			return cnt;
		slab_destroy(heap, slab);
		cnt++;
	}
}

/*
 * From the thread's own cache first, then slab by slab.  A slab's cache is
 * given no more than is taken out again, and what it is left with, for want of
 * a block, stays in it: frames that are pushed back under the lock would be
 * told to the hook under the lock.
 */
static uint32_t heap_take(struct xmb_allocator *allocator,
			  struct xmb_multibuf *mb, uint32_t cnt)
{
	struct xmb_heap *heap = allocator->source;
	struct xmb_cache *own = allocator->cache;
	uint32_t done, got;

	xmb_cache_fetch(own, cnt, false);
	done = xmb_alloc_take(own, mb, xmb_min_u32(cnt, own->cnt), own);
	pthread_mutex_lock(&heap->lock);
	for (uint32_t i = 0; done < cnt && i < heap->slab_cnt;) {
		struct xmb_cache *cache = &heap->slabs[i]->cache;
		uint32_t want = xmb_min_u32(cnt - done, XMB_CACHE_MAX);

		want = xmb_min_u32(want, xmb_cache_fetch(cache, want, false));
		got = xmb_alloc_take(cache, mb, want, own);
		done += got;
		if (got < want)
			break; /* no block */
		if (want == 0)
			i++;
	}
	pthread_mutex_unlock(&heap->lock);
	return done;
}

/* Promise up to cnt places for slabs, or none if there are not as many. */
static bool promise(struct xmb_heap *heap, uint32_t cnt)
{
	bool ok;

	pthread_mutex_lock(&heap->lock);
	ok = cnt <= heap->opts.slab_max - heap->slab_cnt - heap->growing_cnt;
	if (ok)
		heap->growing_cnt += cnt;
	pthread_mutex_unlock(&heap->lock);
	return ok;
}

/*
 * Let everybody have the new slabs, to which the promised places go; those who
 * wait first.
 */
static void publish(struct xmb_heap *heap, struct xmb_heap_slab **slabs,
		    uint32_t cnt, uint32_t promised_cnt)
{
	struct xmb_pool_hook *hook;

	pthread_mutex_lock(&heap->lock);
	for (uint32_t i = 0; i < cnt; i++) {
		struct xmb_pool *pool = &slabs[i]->pool;

		if (heap->hook)
			xmb_pool_set_hook(pool, heap->hook);
		for (uint32_t k = 0; k < heap->waiting_cnt; k++)
			xmb_pool_set_waiting(pool, true);
		heap->slabs[heap->slab_cnt++] = slabs[i];
	}
	heap->growing_cnt -= promised_cnt;
	hook = heap->waiting_cnt > 0 ? heap->hook : NULL;
	pthread_mutex_unlock(&heap->lock);
	if (hook && cnt > 0)
		hook->fn(hook);
}

/* All the slabs that it takes, or none. */
static int heap_grow(struct xmb_allocator *allocator, uint32_t cnt)
{
	struct xmb_heap *heap = allocator->source;
	struct xmb_heap_slab *slabs[XMB_HEAP_SLAB_MAX];
	uint32_t slab_cnt =
		cnt / heap->opts.frame_cnt + (cnt % heap->opts.frame_cnt > 0);
	uint32_t made;

	if (!promise(heap, slab_cnt))
		return -ENOBUFS;
	for (made = 0; made < slab_cnt; made++) {
		if (slab_create(heap, false, &slabs[made]) < 0)
			break;
	}
	if (made == slab_cnt) {
		publish(heap, slabs, slab_cnt, slab_cnt);
		return 0;
	}
	publish(heap, NULL, 0, slab_cnt);
	while (made-- > 0)
		slab_destroy(heap, slabs[made]);
	return -ENOBUFS;
}

static struct xmb_alloc_limits
heap_limits(const struct xmb_allocator *allocator)
{
	const struct xmb_heap *heap = allocator->source;
	const struct xmb_pool *first = allocator->cache->pool;

	return (struct xmb_alloc_limits){
		.region_cnt = heap->opts.frame_cnt * heap->opts.slab_max,
		.block_cnt = first->spill_cnt,
	};
}

static int heap_set_hook(struct xmb_allocator *allocator,
			 struct xmb_pool_hook *hook)
{
	struct xmb_heap *heap = allocator->source;
	int ret = 0;

	pthread_mutex_lock(&heap->lock);
	if (hook && heap->hook)
		ret = -EBUSY;
	for (uint32_t i = 0; ret == 0 && i < heap->slab_cnt; i++)
		xmb_pool_set_hook(&heap->slabs[i]->pool, hook);
	if (ret == 0)
		heap->hook = hook;
	pthread_mutex_unlock(&heap->lock);
	return ret;
}

static void heap_set_waiting(struct xmb_allocator *allocator, bool is_waiting)
{
	struct xmb_heap *heap = allocator->source;

	pthread_mutex_lock(&heap->lock);
	heap->waiting_cnt += is_waiting ? 1 : UINT32_MAX;
	for (uint32_t i = 0; i < heap->slab_cnt; i++)
		xmb_pool_set_waiting(&heap->slabs[i]->pool, is_waiting);
	pthread_mutex_unlock(&heap->lock);
}

void xmb_allocator_init_heap(struct xmb_allocator *allocator,
			     struct xmb_heap *heap, struct xmb_cache *cache)
{
	static const struct xmb_allocator_ops ops = {
		.take = heap_take,
		.grow = heap_grow,
		.limits = heap_limits,
		.set_hook = heap_set_hook,
		.set_waiting = heap_set_waiting,
	};

	XMB_ASSERT(cache->pool == &heap->slabs[0]->pool);
	*allocator = (struct xmb_allocator){
		.ops = &ops,
		.cache = cache,
		.source = heap,
		.region_len = heap->opts.frame_len,
	};
}
