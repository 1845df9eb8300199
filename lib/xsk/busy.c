/* SPDX-License-Identifier: BSD-2-Clause */
#include "xsk/xsk_priv.h"

#include "base/clock.h"
#include "base/log.h"

#include <errno.h>
#include <string.h>
#include <sys/socket.h>

#define UNSENT_NS (20 * XMB_NS_PER_MS)

static int set_one(const struct xmb_xsk *xsk, int name, uint32_t value,
		   const char *what)
{
	int err;

	if (!setsockopt(xsk->fd, SOL_SOCKET, name, &value, sizeof(value)))
		return 0;
	err = -errno;
	xmb_log(XMB_LOG_WARN, "%s queue %u: %s %u: %s: %s", xsk->dev,
		xsk->opts.queue, what, value, strerror(-err),
		err == -EPERM	      ? "needs CAP_NET_ADMIN: not set"
		: err == -ENOPROTOOPT ? "needs Linux 5.11: not set"
				      : "not set");
	return err;
}

static uint32_t get_one(const struct xmb_xsk *xsk, int name)
{
	uint32_t value = 0;
	socklen_t len = sizeof(value);

	if (getsockopt(xsk->fd, SOL_SOCKET, name, &value, &len))
		return 0;
	return value;
}

/* Only slower without: what is refused is said, and the socket goes on. */
void xsk_busy_set(struct xmb_xsk *xsk)
{
	const struct xmb_xsk_opts *opts = &xsk->opts;

	if (opts->busy_poll_us == 0)
		return;
	if (set_one(xsk, XMB_SO_BUSY_POLL, opts->busy_poll_us,
		    "busy polling, microseconds"))
		return;
	if (opts->busy_poll_budget &&
	    !set_one(xsk, XMB_SO_BUSY_POLL_BUDGET, opts->busy_poll_budget,
		     "busy polling's budget"))
		xsk->busy_budget = opts->busy_poll_budget;
	if (opts->prefer_busy_poll)
		xsk->watches_tx = set_one(xsk, XMB_SO_PREFER_BUSY_POLL, 1,
					  "prefer busy polling") == 0 &&
				  xsk->mode.is_zc;
	xsk->is_busy = true;
}

/*
 * Preferred, the kernel leaves sending in zero copy to the NAPI that is polled
 * (xsk_no_wakeup() in Linux 5.11), which is the one that receives: where the
 * driver sends by another (virtio_net, igb with few queues) nothing ever goes.
 */
void xsk_busy_watch_tx(struct xmb_xsk *xsk)
{
	uint64_t now_ns;

	if (__atomic_load_n(xsk->tx.consumer, __ATOMIC_RELAXED) != 0) {
		xsk->watches_tx = false; /* it does send */
		return;
	}
	if (xmb_xsk_tx_waiting(xsk) == 0)
		return;
	now_ns = xmb_clock_ns();
	if (xsk->unsent_ns == 0)
		xsk->unsent_ns = now_ns;
	if (now_ns - xsk->unsent_ns < UNSENT_NS)
		return;
	xsk->watches_tx = false;
	xmb_log(XMB_LOG_WARN,
		"%s queue %u: nothing is sent while busy polling is preferred "
		"(the driver sends by another NAPI than it receives by): going "
		"on without the preference",
		xsk->dev, xsk->opts.queue);
	set_one(xsk, XMB_SO_PREFER_BUSY_POLL, 0, "prefer busy polling");
}

struct xmb_xsk_busy xmb_xsk_busy(const struct xmb_xsk *xsk)
{
	if (xsk->is_closed)
		return xsk->busy_kept;
	return (struct xmb_xsk_busy){
		.us = get_one(xsk, XMB_SO_BUSY_POLL),
		.budget = xsk->busy_budget,
		.is_preferred = get_one(xsk, XMB_SO_PREFER_BUSY_POLL),
		.napi_id = get_one(xsk, XMB_SO_INCOMING_NAPI_ID),
	};
}
