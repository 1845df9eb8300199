/* SPDX-License-Identifier: BSD-2-Clause */
#include "xsk/xsk_priv.h"

#include "base/log.h"

#include <errno.h>
#include <stdio.h>
#include <sys/socket.h>

int xsk_share_check(const struct xmb_xsk *xsk)
{
	const struct xmb_xsk *first = xsk->first;
	const char *doing = "share another socket's queue";
	char advice[160];

	if (first == xsk)
		return 0;
	if (first->is_closed)
		return xsk_refuse(xsk, -EINVAL, doing, "that one is closed");
	if (first->umem != xsk->umem ||
	    first->opts.ifindex != xsk->opts.ifindex ||
	    first->opts.queue != xsk->opts.queue)
		return xsk_refuse(xsk, -EINVAL, doing,
				  "that one has another device, queue or umem; "
				  "open this one without share");
	if (first->opts.tx_only && !xsk->opts.tx_only)
		return xsk_refuse(xsk, -EINVAL, doing,
				  "that one is tx_only and fills nothing: open "
				  "a socket that receives first");
	if (first->sib_cnt < XMB_XSK_SHARE_MAX &&
	    first->promised + xsk->ring_cnt <= first->comp_cnt)
		return 0;
	snprintf(advice, sizeof(advice),
		 "its completion ring of %u entries has room for %u more, and "
		 "at most %u can share it: open the first with share_cnt",
		 first->comp_cnt, first->comp_cnt - first->promised,
		 XMB_XSK_SHARE_MAX);
	return xsk_refuse(xsk, -ENOSPC, doing, advice);
}

int xsk_share_bind(struct xmb_xsk *xsk)
{
	struct sockaddr_xdp addr = {
		.sxdp_family = AF_XDP,
		.sxdp_flags = XDP_SHARED_UMEM,
		.sxdp_ifindex = (uint32_t)xsk->opts.ifindex,
		.sxdp_queue_id = xsk->opts.queue,
		.sxdp_shared_umem_fd = (uint32_t)xsk->first->fd,
	};

	while (bind(xsk->fd, (struct sockaddr *)&addr, sizeof(addr)))
		if (errno != EINTR)
			return -errno;
	xsk->mode.is_sg = xsk->first->mode.is_sg;
	return 0;
}

void xsk_share_join(struct xmb_xsk *xsk)
{
	struct xmb_xsk *first = xsk->first;

	first->promised += xsk->ring_cnt;
	if (first != xsk)
		first->sibs[first->sib_cnt++] = xsk;
}

/*
 * Frames in a sibling's RX ring are of the first's fill ring: while that lives
 * they are taken back here.
 */
static void drain_rx(struct xmb_xsk *xsk, struct xmb_cache *cache)
{
	uint32_t n = rx_unread(xsk), at = xsk->rx.cached_cons, taken = 0;
	uint64_t packets = 0;

	for (uint32_t i = 0; i < n; i++) {
		const struct xdp_desc desc =
			*xsk_ring_cons__rx_desc(&xsk->rx, at + i);
		struct xmb_chunk chunk = { 0 };

		packets += !(desc.options & XDP_PKT_CONTD);
		if (xmb_handover_rx(cache, xsk->first->who,
				    xsk_flat_addr(xsk, desc.addr), desc.len,
				    &chunk))
			continue;
		xmb_chunk_release(&chunk, cache);
		taken++;
	}
	if (n == 0)
		return;
	xsk->rx.cached_cons += n;
	xsk_show(xsk->rx.consumer, xsk->rx.cached_cons);
	fill_cnt_set(xsk, count_get(&xsk->fill_cnt) - taken);
	xsk_count(xsk, XMB_XSK_RX_UNREAD, packets);
}

void xsk_share_close(struct xmb_xsk *xsk, struct xmb_cache *cache)
{
	struct xmb_xsk *first = xsk->first;

	if (first == xsk || !xsk->tx.ring)
		return;
	drain_rx(xsk, cache);
	fill_cnt_set(first,
		     count_get(&first->fill_cnt) + count_get(&xsk->fill_cnt));
	first->taken_by_gone +=
		__atomic_load_n(xsk->tx.consumer, __ATOMIC_ACQUIRE);
}

void xsk_share_leave(struct xmb_xsk *xsk)
{
	struct xmb_xsk *first = xsk->first;
	uint32_t n = 0;

	for (uint32_t i = 0; i < xsk->sib_cnt; i++)
		xsk->sibs[i]->first = xsk->sibs[i];
	xsk->sib_cnt = 0;
	if (first == xsk)
		return;
	for (uint32_t i = 0; i < first->sib_cnt; i++)
		if (first->sibs[i] != xsk)
			first->sibs[n++] = first->sibs[i];
	/* What came home by its ring leaves room there for another. */
	if (n < first->sib_cnt && xsk->held.tx_cnt + xsk->held.slot_cnt == 0)
		first->promised -= xsk->ring_cnt;
	first->sib_cnt = n;
	xsk->first = xsk;
}

uint32_t xsk_family_fill(const struct xmb_xsk *xsk)
{
	uint32_t cnt = count_get(&xsk->fill_cnt);

	for (uint32_t i = 0; i < xsk->sib_cnt; i++)
		cnt += atomic_load_explicit(&xsk->sibs[i]->fill_cnt,
					    memory_order_acquire);
	return cnt;
}

uint32_t xsk_sibs_unread(const struct xmb_xsk *xsk)
{
	uint32_t cnt = 0;

	for (uint32_t i = 0; i < xsk->sib_cnt; i++)
		cnt += rx_unread(xsk->sibs[i]);
	return cnt;
}

/* Whose completion it is: of the same start, whoever's end is smallest. */
static struct xmb_xsk *owner_of(struct xmb_xsk *xsk, uint64_t addr)
{
	uint32_t best = xmb_umem_tx_end(xsk->umem, xsk->who, addr);
	struct xmb_xsk *owner = best ? xsk : NULL;

	for (uint32_t i = 0; i < xsk->sib_cnt; i++) {
		uint32_t end =
			xmb_umem_tx_end(xsk->umem, xsk->sibs[i]->who, addr);

		if (end == 0 || (owner && end >= best))
			continue;
		best = end;
		owner = xsk->sibs[i];
	}
	return owner;
}

/* A closed sibling's frames are held, its slots still its own in TX. */
static int complete_closed(struct xmb_xsk *xsk, struct xmb_cache *cache,
			   uint64_t addr)
{
	if (xmb_umem_complete_held(xsk->umem, cache, xsk->who, addr) == 0)
		xsk->held.tx_cnt--;
	else if (xsk_complete_at(xsk, cache, addr) == 0)
		xsk->held.slot_cnt--;
	else
		return -EPROTO;
	xsk_count(xsk, XMB_XSK_TX_COMPLETED, 1);
	return COMPLETED_SIBLING;
}

int xsk_complete_shared(struct xmb_xsk *xsk, struct xmb_cache *cache,
			uint64_t addr)
{
	struct xmb_xsk *owner = owner_of(xsk, addr);
	int got;

	if (!owner && addr != xsk_flat_addr(xsk, addr)) {
		addr = xsk_flat_addr(xsk, addr);
		owner = owner_of(xsk, addr);
	}
	if (!owner && !xsk->mode.is_zc && !(addr & 1)) {
		addr |= 1;
		owner = owner_of(xsk, addr);
	}
	if (!owner)
		return -EPROTO;
	if (owner->is_closed)
		return complete_closed(owner, cache, addr);
	got = xsk_complete_at(owner, cache, addr);
	if (got < 0 || owner == xsk)
		return got;
	count_done(owner, got == COMPLETED_FRAME, got == COMPLETED_SLOT);
	xsk_count(owner, XMB_XSK_TX_COMPLETED, 1);
	return COMPLETED_SIBLING;
}
