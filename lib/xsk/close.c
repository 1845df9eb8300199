/* SPDX-License-Identifier: BSD-2-Clause */
#include "xsk/xsk_priv.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <unistd.h>

void xmb_xsk_stats(const struct xmb_xsk *xsk,
		   uint64_t values[XMB_XSK_COUNTER_CNT])
{
	struct xdp_statistics kernel = { 0 };
	socklen_t len = sizeof(kernel);

	for (int i = 0; i < XMB_XSK_COUNTER_CNT; i++)
		values[i] = xmb_counter_read(&xsk->counters[i]);
	if (xsk->is_closed ||
	    getsockopt(xsk->fd, SOL_XDP, XDP_STATISTICS, &kernel, &len))
		return;
	values[XMB_XSK_RX_DROPPED] = kernel.rx_dropped;
	values[XMB_XSK_RX_INVALID] = kernel.rx_invalid_descs;
	values[XMB_XSK_TX_INVALID] = kernel.tx_invalid_descs;
	values[XMB_XSK_RX_RING_FULL] = kernel.rx_ring_full;
	values[XMB_XSK_RX_FILL_EMPTY] = kernel.rx_fill_ring_empty_descs;
	values[XMB_XSK_TX_RING_EMPTY] = kernel.tx_ring_empty_descs;
}

void xmb_xsk_ledger(const struct xmb_xsk *xsk, struct xmb_ledger *ledger)
{
	if (!xsk->is_closed) {
		uint32_t have = xsk_family_fill(xsk), rx = rx_unread(xsk);

		/* Whatever the index says, no more came than was given. */
		if (xsk->first == xsk && xsk->sib_cnt == 0)
			rx = xmb_min_u32(rx, have);
		if (xsk->first == xsk)
			ledger->fill +=
				(int64_t)have - rx - xsk_sibs_unread(xsk);
		ledger->rx += rx;
		ledger->tx += frames_in_tx(xsk);
		ledger->tx_slots += slots_in_tx(xsk);
		return;
	}
	ledger->held += (int64_t)xsk->held.fill_cnt + xsk->held.tx_cnt;
	ledger->tx_slots += xsk->held.slot_cnt;
}

/*
 * Packets that nobody will read or send any more are drops with a name.  No
 * index, however wrong, makes them more than a ring holds, nor one that shows
 * late what was taken (kick.c) more than is in flight.
 */
static void count_left(struct xmb_xsk *xsk)
{
	uint32_t tx = xmb_min_u32(
		xmb_xsk_tx_waiting(xsk),
		xmb_min_u32(xsk->ring_cnt, xmb_xsk_tx_inflight(xsk)));
	uint32_t cons = xsk->tx.cached_prod - tx, rx = rx_unread(xsk);
	uint64_t unsent = 0, unread = 0;

	for (uint32_t i = 0; i < tx; i++)
		unsent +=
			!(xsk_ring_prod__tx_desc(&xsk->tx, cons + i)->options &
			  XDP_PKT_CONTD);
	for (uint32_t i = 0; i < rx; i++)
		unread += !(xsk_ring_cons__rx_desc(&xsk->rx,
						   xsk->rx.cached_cons + i)
				    ->options &
			    XDP_PKT_CONTD);
	xsk_count(xsk, XMB_XSK_TX_UNSENT, unsent);
	xsk_count(xsk, XMB_XSK_RX_UNREAD, unread);
}

static void keep_kernel_stats(struct xmb_xsk *xsk)
{
	uint64_t values[XMB_XSK_COUNTER_CNT];

	xmb_xsk_stats(xsk, values);
	for (int i = 0; i < XMB_XSK_COUNTER_CNT; i++)
		atomic_store_explicit(&xsk->counters[i], values[i],
				      memory_order_relaxed);
}

static int refuse_close(const struct xmb_xsk *xsk)
{
	for (uint32_t i = 0; i < xsk->sib_cnt; i++)
		if (!xsk->sibs[i]->is_closed)
			return xsk_refuse(xsk, -EBUSY, "close",
					  "sockets that share its rings are "
					  "open: close those first");
	return 0;
}

int xmb_xsk_close(struct xmb_xsk *xsk, struct xmb_cache *cache)
{
	bool has_rings = xsk->tx.ring != NULL;

	if (xsk->is_closed)
		return 0;
	if (refuse_close(xsk))
		return -EBUSY;
	for (uint32_t i = 0, n = has_rings; i < xsk->comp_cnt && n > 0; i += n)
		n = xmb_xsk_reap(xsk, cache);
	xmb_multibuf_release(&xsk->open, cache);
	xsk_share_close(xsk, cache);
	if (has_rings)
		count_left(xsk);
	if (xsk->fd >= 0) {
		keep_kernel_stats(xsk);
		xsk->busy_kept = xmb_xsk_busy(xsk);
	}
	xsk->is_closed = true;
	/* A mapped ring would pin the queue beyond the close. */
	for (int i = 0; i < 4; i++)
		if (xsk->maps[i].addr)
			munmap(xsk->maps[i].addr, xsk->maps[i].len);
	if (xsk->fd >= 0)
		close(xsk->fd);
	xsk->fd = -1;
	xsk->held = xmb_umem_hold(xsk->umem, xsk->who);
	count_set(&xsk->fill_cnt, 0);
	count_done(xsk, frames_in_tx(xsk), slots_in_tx(xsk));
	return 0;
}

/*
 * Bind a socket of one page, in copy mode so that no driver is touched.
 * Binding needs all four: umem, fill, completion, and a ring.
 */
static int probe_bind(const struct xmb_xsk *xsk, int fd, void *page)
{
	struct xdp_umem_reg reg = { .addr = (uintptr_t)page,
				    .len = 4096,
				    .chunk_size = 4096 };
	struct sockaddr_xdp addr = {
		.sxdp_family = AF_XDP,
		.sxdp_flags = XDP_COPY,
		.sxdp_ifindex = (uint32_t)xsk->opts.ifindex,
		.sxdp_queue_id = xsk->opts.queue,
	};
	int one = 1;

	if (setsockopt(fd, SOL_XDP, XDP_UMEM_REG, &reg, sizeof(reg)) ||
	    setsockopt(fd, SOL_XDP, XDP_UMEM_FILL_RING, &one, sizeof(one)) ||
	    setsockopt(fd, SOL_XDP, XDP_UMEM_COMPLETION_RING, &one,
		       sizeof(one)) ||
	    setsockopt(fd, SOL_XDP, XDP_TX_RING, &one, sizeof(one)) ||
	    bind(fd, (struct sockaddr *)&addr, sizeof(addr)))
		return -errno;
	return 0;
}

/* 0: the queue is free or its device is gone.  -EAGAIN: not yet, or unknown. */
static int probe_queue(const struct xmb_xsk *xsk)
{
	void *page = mmap(NULL, 4096, PROT_READ | PROT_WRITE,
			  MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	int fd = socket(AF_XDP, SOCK_RAW | SOCK_CLOEXEC, 0);
	int err = -EAGAIN;

	if (fd >= 0 && page != MAP_FAILED)
		err = probe_bind(xsk, fd, page);
	if (fd >= 0)
		close(fd);
	if (page != MAP_FAILED)
		munmap(page, 4096);
	/* EINVAL: the device has this queue no more. */
	return err == 0 || err == -ENODEV || err == -EINVAL ? 0 : -EAGAIN;
}

int xmb_xsk_settle(struct xmb_xsk *xsk, struct xmb_cache *cache)
{
	const struct xmb_handover_held *held = &xsk->held;

	XMB_ASSERT(xsk->is_closed);
	if (held->fill_cnt + held->tx_cnt + held->slot_cnt == 0)
		return 0;
	if (probe_queue(xsk))
		return -EAGAIN;
	xmb_umem_unhold(xsk->umem, cache, xsk->who);
	xsk->held = (struct xmb_handover_held){ 0 };
	return 0;
}

void xmb_xsk_destroy(struct xmb_xsk *xsk)
{
	if (!xsk)
		return;
	XMB_ASSERT(xsk->is_closed);
	xsk_share_leave(xsk);
	if (xsk->held.fill_cnt + xsk->held.tx_cnt + xsk->held.slot_cnt == 0)
		xmb_umem_id_put(xsk->umem, xsk->who);
	free(xsk);
}
