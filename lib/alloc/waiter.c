/* SPDX-License-Identifier: BSD-2-Clause */
#include "alloc/waiter.h"

#include "alloc/plan_priv.h"

/*
 * Why no wake is lost.  Who releases puts frames on the shared stack and looks
 * for the source's word `waiting` then; who waits raises that word and looks
 * at the stack then, with a full fence between on both sides (xmb_pool_tell(),
 * xmb_pool_set_waiting()): one sees the other.  Who releases and sees that
 * somebody waits sets has_news and tries the lock.  If he gets it he serves
 * the queue himself.  If not, somebody is in the lock, who looks at has_news
 * after he has left it: between "set, try" and "leave, look" there are full
 * fences again.  So nobody who releases ever waits for the lock.
 *
 * What is under the lock may release, too: into the cache in struct
 * xmb_waiters, and from there to the stack.  The hook then finds its own
 * thread in the lock, and has nothing to tell it: everything that releases
 * under the lock serves the queue before it leaves.
 */

static _Thread_local char thread_mark;

/*
 * A call that tells itself what comes of the waiter: wakes run inside of it,
 * which may end the waiter, and its memory may be another's when they are done.
 * Known by the waiter as long as there is one.
 */
struct xmb_waiter_call {
	struct xmb_waiter_call *next;
	bool is_ready;
	bool is_gone;
};

static void hold(struct xmb_waiters *w)
{
	atomic_store_explicit(&w->holder, (uintptr_t)&thread_mark,
			      memory_order_relaxed);
}

static void enter(struct xmb_waiters *w)
{
	pthread_mutex_lock(&w->lock);
	hold(w);
}

static bool try_enter(struct xmb_waiters *w)
{
	if (pthread_mutex_trylock(&w->lock) != 0)
		return false;
	hold(w);
	return true;
}

static void step_out(struct xmb_waiters *w)
{
	atomic_store_explicit(&w->holder, 0, memory_order_relaxed);
	pthread_mutex_unlock(&w->lock);
}

static void list_append(struct xmb_waiter_list *list, struct xmb_waiter *waiter)
{
	waiter->list = list;
	waiter->prev = list->last;
	waiter->next = NULL;
	if (list->last)
		list->last->next = waiter;
	else
		list->first = waiter;
	list->last = waiter;
}

/* Take the waiter out of the list that it is in, if it is in one. */
static void list_remove(struct xmb_waiter *waiter)
{
	struct xmb_waiter_list *list = waiter->list;

	if (!list)
		return;
	if (waiter->prev)
		waiter->prev->next = waiter->next;
	else
		list->first = waiter->next;
	if (waiter->next)
		waiter->next->prev = waiter->prev;
	else
		list->last = waiter->prev;
	waiter->list = NULL;
}

static void call_begin(struct xmb_waiter *waiter, struct xmb_waiter_call *call)
{
	*call = (struct xmb_waiter_call){ .next = waiter->calls };
	waiter->calls = call;
}

/* What the call returns; looks at the waiter only while it is the queue's. */
static int call_end(struct xmb_waiter *waiter, struct xmb_waiter_call *call)
{
	struct xmb_waiter_call **at;

	if (call->is_gone)
		return -ECANCELED;
	for (at = &waiter->calls; *at != call; at = &(*at)->next)
		;
	*at = call->next;
	return call->is_ready;
}

/* The waiter gets idle: out of the queue, and out of all calls. */
static void detach(struct xmb_waiters *w, struct xmb_waiter *waiter)
{
	list_remove(waiter);
	if (w->grown_for == waiter)
		w->grown_for = NULL;
	while (waiter->calls) {
		waiter->calls->is_gone = true;
		waiter->calls = waiter->calls->next;
	}
}

static void set_state(struct xmb_waiter *waiter, enum xmb_waiter_state state)
{
	/* Release pairs with xmb_waiter_poll(). */
	atomic_store_explicit(&waiter->state, state, memory_order_release);
}

/* Collect for the first in the queue; true if it has enough and is READY. */
static bool grant_first(struct xmb_waiters *w)
{
	struct xmb_waiter *waiter = w->queue.first;
	struct xmb_multibuf *held = &w->held;
	struct xmb_alloc_plan plan;
	uint32_t user = waiter->mb.user;

	/* It was found good at start(), but the pool's reserve may rise. */
	if (xmb_alloc_plan_make(&plan, &w->allocator, &waiter->request) < 0)
		return false;
	if (held->cnt > plan.want_cnt)
		xmb_alloc_drop(held, held->cnt - plan.want_cnt, &w->cache);
	if (held->cnt < plan.want_cnt)
		w->allocator.ops->take(&w->allocator, held,
				       plan.want_cnt - held->cnt);
	if (held->cnt < plan.min_cnt)
		return false;
	xmb_alloc_plan_shape(&plan, held);
	waiter->mb = *held;
	waiter->mb.user = user;
	*held = (struct xmb_multibuf){ 0 };
	waiter->counted = w->cache.app_cnt - w->counted;
	w->counted = w->cache.app_cnt;
	list_remove(waiter);
	if (w->grown_for == waiter)
		w->grown_for = NULL;
	if (waiter->wake && !waiter->calls)
		list_append(&w->ready, waiter);
	for (struct xmb_waiter_call *c = waiter->calls; c; c = c->next)
		c->is_ready = true;
	w->ready_cnt++;
	set_state(waiter, XMB_WAITER_READY);
	return true;
}

static void set_waiting(struct xmb_waiters *w, bool is_waiting)
{
	w->is_waiting = is_waiting;
	w->allocator.ops->set_waiting(&w->allocator, is_waiting);
}

/* Give those in the queue what there is, and back what they do not need. */
static void serve(struct xmb_waiters *w)
{
	/* Pairs with on_release(): its frames are on the stack. */
	atomic_exchange_explicit(&w->has_news, false, memory_order_acq_rel);
	while (w->queue.first && grant_first(w))
		;
	if (!w->queue.first) {
		if (w->is_waiting)
			set_waiting(w, false);
		xmb_alloc_drop(&w->held, w->held.cnt, &w->cache);
	}
	xmb_cache_fini(&w->cache);
}

/*
 * Call the wakes that are due, outside of the lock.  Whoever comes while
 * somebody does that, a wake that releases too, leaves his to him: so wakes
 * come in order, one at a time, and a chain of them needs no stack.
 */
static void deliver(struct xmb_waiters *w)
{
	struct xmb_waiter *waiter;

	if (w->is_waking)
		return;
	w->is_waking = true;
	w->waker = pthread_self();
	while ((waiter = w->ready.first)) {
		list_remove(waiter);
		w->waking = waiter;
		step_out(w);
		waiter->wake(waiter->arg, waiter);
		enter(w);
		/* From here on the waiter may be gone. */
		w->waking = NULL;
		pthread_cond_broadcast(&w->is_woken);
		if (atomic_load_explicit(&w->has_news, memory_order_relaxed))
			serve(w);
	}
	w->is_waking = false;
}

/*
 * Regions that the source is to grow by: what the first waits for, once for
 * each that gets to be the first.  One thread at a time does it, and looks
 * again, so that a wake that comes of it does not make it grow inside of that.
 */
static uint32_t growth_due(const struct xmb_waiters *w)
{
	struct xmb_alloc_plan plan;

	if (w->is_growing || !w->queue.first ||
	    w->grown_for == w->queue.first || !w->allocator.ops->grow ||
	    xmb_alloc_plan_make(&plan, &w->allocator,
				&w->queue.first->request) < 0 ||
	    plan.min_cnt <= w->held.cnt)
		return 0;
	return plan.min_cnt - w->held.cnt;
}

/* Do all that is due, and not to be done under the lock: wakes, and growth. */
static void settle(struct xmb_waiters *w)
{
	uint32_t cnt;

	deliver(w);
	while ((cnt = growth_due(w)) > 0) {
		w->is_growing = true;
		w->grown_for = w->queue.first;
		step_out(w);
		w->allocator.ops->grow(&w->allocator, cnt);
		enter(w);
		w->is_growing = false;
		serve(w);
		deliver(w);
	}
}

static void leave(struct xmb_waiters *w)
{
	do {
		settle(w);
		step_out(w);
		/* Between leaving and looking: see the top. */
		atomic_thread_fence(memory_order_seq_cst);
		if (!atomic_load_explicit(&w->has_news, memory_order_relaxed) ||
		    !try_enter(w))
			return;
		serve(w);
	} while (true);
}

/* The hook: frames or blocks are on a shared stack, and somebody waits. */
static void on_release(struct xmb_pool_hook *hook)
{
	struct xmb_waiters *w = (struct xmb_waiters *)hook;

	if (atomic_load_explicit(&w->holder, memory_order_relaxed) ==
	    (uintptr_t)&thread_mark)
		return;
	atomic_store_explicit(&w->has_news, true, memory_order_release);
	/* Between setting and trying: see the top. */
	atomic_thread_fence(memory_order_seq_cst);
	if (!try_enter(w))
		return;
	serve(w);
	leave(w);
}

int xmb_waiters_init(struct xmb_waiters *w,
		     const struct xmb_allocator *allocator,
		     const struct xmb_waiters_opts *opts)
{
	struct xmb_allocator source = *allocator;
	int ret;

	*w = (struct xmb_waiters){
		.hook = { .fn = on_release },
		.on_wait = opts->on_wait,
		.arg = opts->arg,
		.allocator = *allocator,
	};
	pthread_mutex_init(&w->lock, NULL);
	pthread_cond_init(&w->is_woken, NULL);
	xmb_cache_init(&w->cache, allocator->cache->pool, opts->who);
	w->allocator.cache = &w->cache;
	ret = source.ops->set_hook(&source, &w->hook);
	if (ret < 0) {
		pthread_cond_destroy(&w->is_woken);
		pthread_mutex_destroy(&w->lock);
	}
	return ret;
}

int xmb_waiters_fini(struct xmb_waiters *w)
{
	bool is_busy;

	enter(w);
	is_busy = w->queue.first || w->ready_cnt > 0 || w->is_waking ||
		  w->is_growing;
	step_out(w);
	if (is_busy)
		return -EBUSY;
	w->allocator.ops->set_hook(&w->allocator, NULL);
	pthread_cond_destroy(&w->is_woken);
	pthread_mutex_destroy(&w->lock);
	return 0;
}

int64_t xmb_waiters_app_cnt(struct xmb_waiters *w)
{
	int64_t cnt;

	enter(w);
	cnt = w->cache.app_cnt;
	leave(w);
	return cnt;
}

/* Wait until no other thread is in this waiter's wake. */
static void await_wake(struct xmb_waiters *w, const struct xmb_waiter *waiter)
{
	while (w->waking == waiter &&
	       !pthread_equal(w->waker, pthread_self())) {
		atomic_store_explicit(&w->holder, 0, memory_order_relaxed);
		pthread_cond_wait(&w->is_woken, &w->lock);
		hold(w);
	}
}

/*
 * Serve in a call that returns whether the waiter is READY now: then no wake of
 * it is due, even if it is another thread that makes it so.
 */
static int serve_quietly(struct xmb_waiters *w, struct xmb_waiter *waiter)
{
	struct xmb_waiter_call call;

	call_begin(waiter, &call);
	serve(w);
	settle(w);
	return call_end(waiter, &call);
}

/*
 * Nobody waits: it may be had like anything else.  It is counted as granted,
 * so that to take and to cancel need not know.
 */
static bool try_at_once(struct xmb_waiters *w, struct xmb_waiter *waiter,
			const struct xmb_alloc_plan *plan,
			struct xmb_cache *cache)
{
	struct xmb_allocator own = w->allocator;
	struct xmb_multibuf mb = { 0 };
	int64_t counted;

	own.cache = cache;
	counted =
		xmb_alloc_take_up_to(&own, &mb, plan->min_cnt, plan->want_cnt);
	if (mb.cnt < plan->min_cnt) {
		xmb_alloc_drop(&mb, mb.cnt, cache);
		return false;
	}
	xmb_alloc_plan_shape(plan, &mb);
	enter(w);
	mb.user = waiter->mb.user;
	waiter->mb = mb;
	waiter->counted = counted;
	cache->app_cnt -= counted;
	w->cache.app_cnt += counted;
	w->counted += counted;
	w->ready_cnt++;
	set_state(waiter, XMB_WAITER_READY);
	leave(w);
	return true;
}

int xmb_waiter_start(struct xmb_waiters *w, struct xmb_waiter *waiter,
		     struct xmb_cache *cache)
{
	bool is_first;
	struct xmb_alloc_plan plan;
	int ret;

	ret = xmb_alloc_plan_make(&plan, &w->allocator, &waiter->request);
	if (ret < 0)
		return ret;
	enter(w);
	await_wake(w, waiter);
	if (xmb_waiter_poll(waiter) != XMB_WAITER_IDLE) {
		leave(w);
		return -EALREADY;
	}
	XMB_ASSERT(waiter->mb.cnt == 0);
	is_first = !w->queue.first;
	if (plan.want_cnt == 0) {
		w->ready_cnt++;
		set_state(waiter, XMB_WAITER_READY);
		leave(w);
		return 1;
	}
	if (is_first && cache) {
		leave(w);
		if (try_at_once(w, waiter, &plan, cache))
			return 1;
		enter(w);
	}
	set_state(waiter, XMB_WAITER_PENDING);
	list_append(&w->queue, waiter);
	is_first = !w->is_waiting;
	if (is_first)
		set_waiting(w, true);
	if (cache)
		xmb_cache_yield(cache);
	ret = serve_quietly(w, waiter);
	leave(w);
	if (is_first && ret == 0 && w->on_wait)
		w->on_wait(w->arg);
	return ret;
}

int xmb_waiter_resize(struct xmb_waiters *w, struct xmb_waiter *waiter,
		      const struct xmb_alloc_request *request)
{
	struct xmb_alloc_plan plan;
	int ret = xmb_alloc_plan_make(&plan, &w->allocator, request);

	if (ret < 0)
		return ret;
	enter(w);
	switch (xmb_waiter_poll(waiter)) {
	case XMB_WAITER_IDLE:
		ret = -ENOENT;
		break;
	case XMB_WAITER_READY:
		ret = 1;
		break;
	case XMB_WAITER_PENDING:
		waiter->request = *request;
		if (w->grown_for == waiter)
			w->grown_for = NULL;
		ret = serve_quietly(w, waiter);
		break;
	}
	leave(w);
	return ret;
}

int xmb_waiter_take(struct xmb_waiters *w, struct xmb_waiter *waiter,
		    struct xmb_multibuf *mb, struct xmb_cache *cache)
{
	enum xmb_waiter_state state;

	XMB_ASSERT(mb->cnt == 0);
	enter(w);
	await_wake(w, waiter);
	state = xmb_waiter_poll(waiter);
	if (state == XMB_WAITER_READY) {
		detach(w, waiter);
		w->ready_cnt--;
		*mb = waiter->mb;
		waiter->mb = (struct xmb_multibuf){ 0 };
		cache->app_cnt += waiter->counted;
		w->cache.app_cnt -= waiter->counted;
		w->counted -= waiter->counted;
		waiter->counted = 0;
		set_state(waiter, XMB_WAITER_IDLE);
	}
	leave(w);
	if (state == XMB_WAITER_PENDING)
		return -EAGAIN;
	return state == XMB_WAITER_READY ? 0 : -ENOENT;
}

/*
 * Release what somebody had in his hands: there may be chunks among it that
 * call back, so that it is done outside of the lock.
 */
static void release_granted(struct xmb_waiters *w, struct xmb_multibuf *mb)
{
	struct xmb_cache cache;

	xmb_cache_init(&cache, w->cache.pool, w->cache.who);
	xmb_multibuf_release(mb, &cache);
	xmb_cache_fini(&cache);
	enter(w);
	w->cache.app_cnt += cache.app_cnt;
	w->counted += cache.app_cnt;
	leave(w);
}

int xmb_waiter_cancel(struct xmb_waiters *w, struct xmb_waiter *waiter)
{
	struct xmb_multibuf granted = { 0 };
	enum xmb_waiter_state state;

	enter(w);
	await_wake(w, waiter);
	state = xmb_waiter_poll(waiter);
	if (state != XMB_WAITER_IDLE) {
		detach(w, waiter);
		w->ready_cnt -= state == XMB_WAITER_READY;
		granted = waiter->mb;
		waiter->mb = (struct xmb_multibuf){ .user = granted.user };
		waiter->counted = 0;
		set_state(waiter, XMB_WAITER_IDLE);
		serve(w);
	}
	leave(w);
	if (granted.cnt > 0)
		release_granted(w, &granted);
	return state == XMB_WAITER_IDLE ? -ENOENT : 0;
}

void xmb_waiters_kick(struct xmb_waiters *w)
{
	enter(w);
	w->grown_for = NULL;
	serve(w);
	leave(w);
}
