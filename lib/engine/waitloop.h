/* SPDX-License-Identifier: BSD-2-Clause */
#ifndef XMBUF_ENGINE_WAITLOOP_H
#define XMBUF_ENGINE_WAITLOOP_H

#include "alloc/waiter.h"
#include "loop/loop.h"

/*
 * waitloop: waiters (alloc/waiter.h) whose wake is a call in a loop.
 *
 *      any thread                              the loop's thread
 *      release --> wake --write--> eventfd --> fn(arg, waiter): take() it
 *
 * Memory that comes home in a data thread is told to the thread that waits for
 * it, in the order in which it was asked for, and no callback of the user's
 * runs in a data thread.
 *
 * Ownership  The caller owns all structs.  A waiter may be freed when fn was
 *            called and has taken or cancelled it, or after xmb_waitloop_
 *            cancel().
 * Threads    The loop's.
 * Errors     0 or a negative errno; a call that fails changes nothing.
 */

struct xmb_waitloop_waiter {
	struct xmb_waiter waiter; /* request; mb when fn is called */
	/* Once, when the memory is there.  May start and cancel any. */
	void (*fn)(void *arg, struct xmb_waitloop_waiter *waiter);
	void *arg;

	/* The waitloop's. */
	struct xmb_waitloop_waiter *prev, *next;
	bool is_listed;
};

struct xmb_waitloop {
	struct xmb_loop *loop;
	struct xmb_waiters *waiters;
	int fd; /* eventfd */
	int id; /* of its watch */
	struct xmb_waitloop_waiter *first, *last;
};

/*
 * Let the loop tell of waiters at these.  As xmb_loop_add_fd(), and as the
 * kernel refuses an eventfd: -EMFILE, -ENFILE, -ENOMEM.
 */
XMB_API int xmb_waitloop_open(struct xmb_waitloop *waitloop,
			      struct xmb_loop *loop,
			      struct xmb_waiters *waiters);

/* Cancel all that wait, and leave the loop. */
XMB_API void xmb_waitloop_close(struct xmb_waitloop *waitloop);

/* As xmb_waiter_start(): 1 if the memory is there, and fn is not called. */
XMB_API int xmb_waitloop_start(struct xmb_waitloop *waitloop,
			       struct xmb_waitloop_waiter *waiter,
			       struct xmb_cache *cache);

/*
 * As xmb_waiter_resize(): 1 if the memory is there, and fn is not called any
 * more.  Resizing the waiter itself is not for one that waits here.
 */
XMB_API int xmb_waitloop_resize(struct xmb_waitloop *waitloop,
				struct xmb_waitloop_waiter *waiter,
				const struct xmb_alloc_request *request);

/* As xmb_waiter_cancel(); fn is not called any more. */
XMB_API int xmb_waitloop_cancel(struct xmb_waitloop *waitloop,
				struct xmb_waitloop_waiter *waiter);

struct xmb_engine;

/*
 * Get the engine's threads out of their sleep, so that they yield what their
 * caches hold: what on_wait of waiters at the engine's pool is to call, with
 * the engine, from when it was created until it is destroyed.
 */
XMB_API void xmb_engine_on_wait(void *engine);

#endif /* XMBUF_ENGINE_WAITLOOP_H */
