/* SPDX-License-Identifier: BSD-2-Clause */
#ifndef XMBUF_ALLOC_WAITER_H
#define XMBUF_ALLOC_WAITER_H

#include "alloc/allocator.h"

#include <pthread.h>
#include <stdatomic.h>

/*
 * waiter: a multibuf that is not to be had yet; waiters: those who wait at one
 * source, first come, first served.
 *
 *      start() --memory is there and nobody waits--> READY, at once
 *         |
 *         '--> PENDING  [ w1 | w2 | w3 ]
 *                         ^ the first collects frames as they come home; with
 *                           min_len of them it gets what there is of
 *                           desired_len, is READY, and then woken
 *
 * The memory is in waiter->mb when the wake comes: nobody can take it away, and
 * nobody is woken for less.  Frames that are too few for the first are kept for
 * it, so that a large request gets on while small ones behind it wait; as only
 * the first holds any, no two can wait for what the other has.
 *
 * A frame that goes home to a thread's cache is seen by nobody else.  Threads
 * therefore call xmb_cache_yield() in every turn of their loop and before they
 * sleep (those of the engine do): two loads while nobody waits.  The on_wait
 * callback is for getting threads out of their sleep.
 *
 * wake is called under no lock, one at a time for each struct xmb_waiters, in
 * the order in which waiters became ready, by whichever thread's release (or
 * yield, cancel, ...) made it so, inside of that call.  A source that can grow
 * is made to in the same places, once for each waiter that gets to be the
 * first, as the memory that is free is too little for it.  A wake may start,
 * resize, cancel and take any waiter, its own too, and allocate and release
 * with the cache of the thread it runs in, but it must not block: others may be
 * waiting for it to return.  Usually it writes an eventfd (engine/waitloop.h).
 *
 * Who calls xmb_allocator_alloc() does not queue, and so may come first.
 *
 * Units      Bytes.
 * Ownership  The caller owns all structs.  From start() on a waiter is the
 *            queue's, but for its state, until cancel() or take() returns, or
 *            start() has failed; only then may it be freed or moved.
 * Threads    A waiter belongs to one thread at a time.  Everything else may be
 *            called from any; cancel() and take() wait for a wake of this
 *            waiter that is running in another thread, so do not hold a lock
 *            that the wake takes.  init() and fini() when no other thread uses
 *            the source.  A releasing thread never waits for the queue's lock.
 * Processes  Waiters are woken by releases in their own process.
 * Errors     Those of allocator.h, but never -ENOBUFS: then it waits.  A call
 *            that fails changes nothing.
 */

struct xmb_waiter;
struct xmb_waiter_call;
struct xmb_waiter_list;
struct xmb_waiters;

enum xmb_waiter_state {
	XMB_WAITER_IDLE,    /* {0}, or after cancel() or take() */
	XMB_WAITER_PENDING, /* in the queue */
	XMB_WAITER_READY,   /* mb is there */
};

struct xmb_waiter {
	struct xmb_alloc_request request;
	/* Once, when mb is there; NULL: poll. */
	void (*wake)(void *arg, struct xmb_waiter *waiter);
	void *arg;
	struct xmb_multibuf mb; /* may be used when READY */

	/* The queue's. */
	struct xmb_waiter_list *list;
	struct xmb_waiter *prev, *next;
	int64_t counted; /* frames that app_cnt of the queue's cache has */
	struct xmb_waiter_call *calls; /* that tell themselves: no wake */
	_Atomic uint32_t state;
};

struct xmb_waiter_list {
	struct xmb_waiter *first, *last;
};

struct xmb_waiters {
	struct xmb_pool_hook hook; /* first: leads from it to the rest */
	/* Somebody begins to wait; called under no lock.  May be NULL. */
	void (*on_wait)(void *arg);
	void *arg;

	/* Private. */
	pthread_mutex_t lock;
	pthread_cond_t is_woken;	/* waking has changed */
	struct xmb_allocator allocator; /* with the cache below */
	struct xmb_cache cache;		/* empty, but under the lock */
	struct xmb_waiter_list queue, ready;
	struct xmb_multibuf held;     /* bare chunks that the first collects */
	int64_t counted;	      /* of all that was granted, not taken */
	uint32_t ready_cnt;	      /* READY, and not taken */
	struct xmb_waiter *grown_for; /* growth was tried for the first */
	bool is_growing;	      /* somebody lets the source grow */
	struct xmb_waiter *waking;    /* its wake is running */
	pthread_t waker;	      /* in this thread */
	bool is_waking;		      /* somebody calls wakes */
	bool is_waiting;	      /* as the source was told */
	_Atomic bool has_news;	      /* memory came while the lock was taken */
	_Atomic uintptr_t holder;     /* a mark of the thread in the lock */
};

struct xmb_waiters_opts {
	uint32_t who; /* holder of granted frames; as of xmb_cache_init() */
	void (*on_wait)(void *arg);
	void *arg;
};

/*
 * Let waiters wait at the allocator's source: what is granted is vended as by
 * this allocator, whose cache is not used.
 * -EBUSY: somebody else has the hook of the source.
 */
XMB_API int xmb_waiters_init(struct xmb_waiters *waiters,
			     const struct xmb_allocator *allocator,
			     const struct xmb_waiters_opts *opts);

/*
 * End; the source may have other waiters.
 * -EBUSY: somebody waits, has a wake to come, or is READY and has neither taken
 * nor cancelled what he got.
 */
XMB_API int xmb_waiters_fini(struct xmb_waiters *waiters);

/*
 * Frames that are held for the first in the queue, or were granted and not
 * taken yet: the application has them, but no cache of a thread counts them.
 */
XMB_API int64_t xmb_waiters_app_cnt(struct xmb_waiters *waiters);

/*
 * Ask for what waiter->request says.  Returns 1 if it is there: then no wake
 * comes; 0 if the waiter waits.  The cache is the calling thread's (NULL: it
 * has none): from it first if nobody waits, else it is yielded.
 * -EINVAL, -EMSGSIZE: as xmb_allocator_alloc().  -EALREADY: it waits, or what
 * it got was not taken.  -ECANCELED: a wake that ran meanwhile has cancelled or
 * taken it.
 */
XMB_API int xmb_waiter_start(struct xmb_waiters *waiters,
			     struct xmb_waiter *waiter,
			     struct xmb_cache *cache);

/* How far it is; of a READY one mb may be used.  One load. */
static inline enum xmb_waiter_state
xmb_waiter_poll(const struct xmb_waiter *waiter)
{
	/* Pairs with the store of READY: what was granted is seen. */
	return (enum xmb_waiter_state)atomic_load_explicit(
		&((struct xmb_waiter *)waiter)->state, memory_order_acquire);
}

/*
 * Ask for something else, in the same place of the queue.  Returns 1 if that
 * is there: then no wake comes; 0 if it waits on.  Of one that is READY by now
 * nothing changes, and 1 is returned; its wake may come still.
 * -EINVAL, -EMSGSIZE, -ECANCELED: as start().  -ENOENT: it is idle.
 */
XMB_API int xmb_waiter_resize(struct xmb_waiters *waiters,
			      struct xmb_waiter *waiter,
			      const struct xmb_alloc_request *request);

/*
 * Take what was granted into the empty mb, and count its frames in app_cnt of
 * the cache of this thread; the wake, if it has not begun, is not called any
 * more.  The waiter is idle.
 * -EAGAIN: it is pending.  -ENOENT: it is idle.
 */
XMB_API int xmb_waiter_take(struct xmb_waiters *waiters,
			    struct xmb_waiter *waiter, struct xmb_multibuf *mb,
			    struct xmb_cache *cache);

/*
 * Leave the queue, or release what was granted; the wake is not called any
 * more.  The waiter is idle.
 * -ENOENT: it is idle.
 */
XMB_API int xmb_waiter_cancel(struct xmb_waiters *waiters,
			      struct xmb_waiter *waiter);

/*
 * Look whether there is memory: when some may have come that no release tells
 * of, as when the function that a heap takes its memory from works again.
 */
XMB_API void xmb_waiters_kick(struct xmb_waiters *waiters);

#endif /* XMBUF_ALLOC_WAITER_H */
