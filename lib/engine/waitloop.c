/* SPDX-License-Identifier: BSD-2-Clause */
#include "engine/waitloop.h"

#include "base/log.h"
#include "engine/engine_priv.h"

#include <errno.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

static void unlist(struct xmb_waitloop *wl, struct xmb_waitloop_waiter *waiter)
{
	if (!waiter->is_listed)
		return;
	if (waiter->prev)
		waiter->prev->next = waiter->next;
	else
		wl->first = waiter->next;
	if (waiter->next)
		waiter->next->prev = waiter->prev;
	else
		wl->last = waiter->prev;
	waiter->is_listed = false;
}

static void list(struct xmb_waitloop *wl, struct xmb_waitloop_waiter *waiter)
{
	waiter->prev = wl->last;
	waiter->next = NULL;
	if (wl->last)
		wl->last->next = waiter;
	else
		wl->first = waiter;
	wl->last = waiter;
	waiter->is_listed = true;
}

/* In any thread. */
static void on_wake(void *arg, struct xmb_waiter *waiter)
{
	const struct xmb_waitloop *wl = arg;
	uint64_t one = 1;

	(void)waiter;
	/* Full (EAGAIN) means that the loop will look anyway. */
	if (write(wl->fd, &one, sizeof(one)) < 0)
		return;
}

static void on_readable(void *arg, int res);

/* Without a watch no fn would be called any more. */
static void watch_again(struct xmb_waitloop *wl, int res)
{
	int id = xmb_loop_add_fd(wl->loop, wl->fd, on_readable, wl);

	wl->id = id > 0 ? id : 0;
	if (id < 0)
		xmb_log(XMB_LOG_ERROR,
			"watching for memory that comes home, the kernel"
			" answered: %s, and again: %s; close the waitloop and"
			" open it anew when there are fewer watches",
			strerror(-res), strerror(-id));
}

/*
 * The queue grants in order, so those that are ready are the first ones, but
 * for those that were taken or cancelled behind our back: they are idle.
 */
static void on_readable(void *arg, int res)
{
	struct xmb_waitloop *wl = arg;
	struct xmb_waitloop_waiter *waiter;
	enum xmb_waiter_state state;
	uint64_t n;

	if (res < 0)
		watch_again(wl, res);
	while (read(wl->fd, &n, sizeof(n)) > 0)
		;
	while ((waiter = wl->first) &&
	       (state = xmb_waiter_poll(&waiter->waiter)) !=
		       XMB_WAITER_PENDING) {
		unlist(wl, waiter);
		if (state == XMB_WAITER_READY)
			waiter->fn(waiter->arg, waiter);
	}
}

int xmb_waitloop_open(struct xmb_waitloop *wl, struct xmb_loop *loop,
		      struct xmb_waiters *waiters)
{
	int fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK), id;

	if (fd < 0)
		return -errno;
	id = xmb_loop_add_fd(loop, fd, on_readable, wl);
	if (id < 0) {
		close(fd);
		return id;
	}
	*wl = (struct xmb_waitloop){
		.loop = loop,
		.waiters = waiters,
		.fd = fd,
		.id = id,
	};
	return 0;
}

void xmb_waitloop_close(struct xmb_waitloop *wl)
{
	while (wl->first)
		xmb_waitloop_cancel(wl, wl->first);
	xmb_loop_remove(wl->loop, wl->id);
	close(wl->fd);
}

int xmb_waitloop_start(struct xmb_waitloop *wl,
		       struct xmb_waitloop_waiter *waiter,
		       struct xmb_cache *cache)
{
	int ret;

	if (waiter->is_listed) {
		if (xmb_waiter_poll(&waiter->waiter) != XMB_WAITER_IDLE)
			return -EALREADY;
		unlist(wl, waiter);
	}
	waiter->waiter.wake = on_wake;
	waiter->waiter.arg = wl;
	ret = xmb_waiter_start(wl->waiters, &waiter->waiter, cache);
	if (ret == 0)
		list(wl, waiter);
	return ret;
}

int xmb_waitloop_resize(struct xmb_waitloop *wl,
			struct xmb_waitloop_waiter *waiter,
			const struct xmb_alloc_request *request)
{
	int ret = xmb_waiter_resize(wl->waiters, &waiter->waiter, request);

	if (ret == 1)
		unlist(wl, waiter);
	return ret;
}

int xmb_waitloop_cancel(struct xmb_waitloop *wl,
			struct xmb_waitloop_waiter *waiter)
{
	unlist(wl, waiter);
	return xmb_waiter_cancel(wl->waiters, &waiter->waiter);
}

void xmb_engine_on_wait(void *arg)
{
	struct xmb_engine *engine = arg;

	for (uint32_t t = 0; t < engine->worker_cnt; t++)
		xmb_worker_rouse(&engine->workers[t]);
}
