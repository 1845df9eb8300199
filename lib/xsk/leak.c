/* SPDX-License-Identifier: BSD-2-Clause */
#include "xsk/xsk_priv.h"

#include <errno.h>

/* What is posted, taken and completed, by the indexes of all rings. */
struct flow {
	uint32_t posted, taken, completed, inflight;
};

static void add(struct flow *flow, const struct xmb_xsk *xsk)
{
	if (xsk->is_closed)
		return;
	flow->posted += __atomic_load_n(xsk->tx.producer, __ATOMIC_ACQUIRE);
	flow->taken += __atomic_load_n(xsk->tx.consumer, __ATOMIC_ACQUIRE);
	flow->inflight += xmb_xsk_tx_inflight(xsk);
}

static struct flow flow_of(const struct xmb_xsk *xsk)
{
	struct flow flow = { .posted = xsk->taken_by_gone,
			     .taken = xsk->taken_by_gone };

	add(&flow, xsk);
	for (uint32_t i = 0; i < xsk->sib_cnt; i++)
		add(&flow, xsk->sibs[i]);
	flow.completed = __atomic_load_n(xsk->comp.producer, __ATOMIC_ACQUIRE);
	return flow;
}

static int give_back(struct xmb_xsk *xsk, struct xmb_cache *cache)
{
	struct xmb_handover_held home;

	if (xsk->is_closed || xmb_xsk_tx_inflight(xsk) == 0)
		return 0;
	home = xmb_umem_unsend(xsk->umem, cache, xsk->who);
	count_done(xsk, home.tx_cnt, home.slot_cnt);
	xsk_count(xsk, XMB_XSK_TX_LEAKED, home.tx_cnt + home.slot_cnt);
	return (int)(home.tx_cnt + home.slot_cnt);
}

int xmb_xsk_reconcile(struct xmb_xsk *xsk, struct xmb_cache *cache,
		      uint64_t now_ns, uint64_t quiet_ns)
{
	struct flow flow;
	bool has_moved;
	int cnt;

	XMB_ASSERT(xsk->first == xsk && !xsk->is_closed);
	for (uint32_t i = 0, n = 1; i < xsk->comp_cnt && n > 0; i += n)
		n = xmb_xsk_reap(xsk, cache);
	flow = flow_of(xsk);
	if (flow.inflight == 0)
		return 0;
	has_moved = flow.posted != xsk->leak_posted ||
		    flow.completed != xsk->leak_completed ||
		    flow.taken != flow.posted;
	if (has_moved || xsk->leak_since_ns == 0) {
		xsk->leak_posted = flow.posted;
		xsk->leak_completed = flow.completed;
		xsk->leak_since_ns = now_ns;
	}
	if (flow.taken != flow.posted || now_ns - xsk->leak_since_ns < quiet_ns)
		return -EAGAIN;
	/* A device may still read what was not completed by count. */
	if (xsk->mode.is_zc && (int32_t)(flow.completed - flow.taken) < 0)
		return -EBUSY;
	cnt = give_back(xsk, cache);
	for (uint32_t i = 0; i < xsk->sib_cnt; i++)
		cnt += give_back(xsk->sibs[i], cache);
	xsk->leak_since_ns = 0;
	return cnt;
}
