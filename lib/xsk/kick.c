/* SPDX-License-Identifier: BSD-2-Clause */
#include "xsk/xsk_priv.h"

#include <errno.h>
#include <linux/sock_diag.h>
#include <sys/socket.h>

/*
 * When the kernel is asked to look at a ring.  All of it is here:
 *
 *      TX    something is posted, and the TX ring wants a wakeup (in copy mode
 *            always), or the socket was bound without need_wakeup, or busy
 *            polling drives the device
 *      fill  the fill ring wants a wakeup: a driver in zero copy ran dry; or
 *            busy polling drives the device and nothing waits in the RX ring
 *
 *      0, and nothing moved      it will not now: later (tx_again)
 *      EAGAIN, ENOBUFS           it moved its budget (32, or what
 *                                XDP_MAX_TX_SKB_BUDGET got), or the send buffer
 *                                is full: again while it gets ahead.  Before
 *                                6.17 the ring's index does not show what was
 *                                moved until all is: then as often as budgets
 *                                are in what waits, and no more when neither
 *                                what came back nor the send memory in use has
 *                                changed: the device has no room
 *      EBUSY                     one packet was dropped, and completed: again
 *      EINTR                     again
 *      ENETDOWN, ENXIO           to the caller; what is posted stays posted
 *      anything else             later
 */

enum { KICK_MAX = 4096 };

static int rx_kick(struct xmb_xsk *xsk)
{
	if (xsk->opts.kick)
		return xsk->opts.kick(xsk->opts.kick_arg, xsk->fd, false);
	if (recvfrom(xsk->fd, NULL, 0, MSG_DONTWAIT, NULL, NULL) < 0)
		return -errno;
	return 0;
}

/*
 * A driver may run dry, and ask to be told, after the last fill was looked at:
 * so this is looked at in each turn, whether something was filled or not.  In
 * copy mode nobody asks (xsk_set_rx_need_wakeup() is called by drivers alone),
 * and the flag is on a line that the kernel writes for each burst.
 */
void xsk_rx_wake(struct xmb_xsk *xsk)
{
	bool is_wanted;

	if (XMB_LIKELY(!xsk->mode.is_zc && !xsk->is_busy))
		return;
	if (XMB_UNLIKELY(!xsk->rx.ring))
		return;
	is_wanted = xsk->fill.ring && xsk_ring_prod__needs_wakeup(&xsk->fill);
	if (xsk->is_busy && !xmb_xsk_has_rx(xsk))
		is_wanted = true;
	if (XMB_LIKELY(!is_wanted))
		return;
	xsk_count(xsk, XMB_XSK_RX_KICKS, 1);
	rx_kick(xsk);
}

static int tx_kick(struct xmb_xsk *xsk)
{
	if (xsk->opts.kick)
		return xsk->opts.kick(xsk->opts.kick_arg, xsk->fd, true);
	if (sendto(xsk->fd, NULL, 0, MSG_DONTWAIT, NULL, 0) < 0)
		return -errno;
	return 0;
}

static bool wants_tx_kick(const struct xmb_xsk *xsk)
{
	return xsk->opts.no_need_wakeup || xsk->is_busy ||
	       xsk_ring_prod__needs_wakeup(&xsk->tx);
}

/* Kicks that may have got ahead although the index stands still. */
static uint32_t unseen_max(const struct xmb_xsk *xsk, uint32_t waiting)
{
	return xsk->shows_late && !xsk->mode.is_zc
		       ? waiting / xsk->mode.tx_budget
		       : 0;
}

/* Where what a kick took is, if the index does not show it. */
struct taken {
	uint32_t back; /* in the completion ring, ever */
	uint32_t held; /* bytes that the device has of the socket's */
};

static uint32_t send_memory(const struct xmb_xsk *xsk)
{
	uint32_t mem[SK_MEMINFO_VARS] = { 0 };
	socklen_t len = sizeof(mem);

	/* Where it cannot be told, what came back decides alone. */
	if (getsockopt(xsk->fd, SOL_SOCKET, SO_MEMINFO, mem, &len))
		return 0;
	return mem[SK_MEMINFO_WMEM_ALLOC];
}

/* Has anything moved since the last look?  At the first one it is not known. */
static bool has_moved(const struct xmb_xsk *xsk, struct taken *last)
{
	struct taken now = {
		.back = __atomic_load_n(xsk->first->comp.producer,
					__ATOMIC_ACQUIRE),
		.held = send_memory(xsk),
	};
	bool has = now.back != last->back || now.held != last->held;

	*last = now;
	return has;
}

int xmb_xsk_kick(struct xmb_xsk *xsk)
{
	struct taken last = { .held = UINT32_MAX };
	uint32_t waiting = xmb_xsk_tx_waiting(xsk), left;
	uint32_t unseen = unseen_max(xsk, waiting);
	int err = 0;

	for (int i = 0; i < KICK_MAX && waiting; i++) {
		if (!wants_tx_kick(xsk))
			return 0;
		err = tx_kick(xsk);
		xsk_count(xsk, XMB_XSK_TX_KICKS, 1);
		left = xmb_xsk_tx_waiting(xsk);
		if (err == -EBUSY)
			xsk_count(xsk, XMB_XSK_TX_KERNEL_DROP, 1);
		else if (err == -EINTR)
			continue;
		else if (err && err != -EAGAIN && err != -ENOBUFS)
			break;
		else if (left >= waiting &&
			 (err == 0 || unseen-- == 0 || !has_moved(xsk, &last)))
			break;
		waiting = left;
	}
	if (err == -ENETDOWN)
		xsk_count(xsk, XMB_XSK_TX_LINK_DOWN, 1);
	else if (XMB_UNLIKELY(xsk->watches_tx))
		xsk_busy_watch_tx(xsk);
	if (err == -ENETDOWN || err == -ENXIO)
		return err;
	if (waiting == 0)
		return 0;
	xsk_count(xsk, XMB_XSK_TX_AGAIN, 1);
	return -EAGAIN;
}
