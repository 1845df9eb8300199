/* SPDX-License-Identifier: BSD-2-Clause */
#include "engine/engine_priv.h"

#include "base/clock.h"

#include <errno.h>

/* What a thread that owns sockets does with their sending side. */

enum {
	TX_TRIES = 4,	/* drains of a full TX ring before a drop */
	NAP_MS = 1,	/* sleep while something is in TX */
	IDLE_MS = 1000, /* sleep when nothing is */
	LINK_RETRY_NS = 10000000,
};

/* Kick a port's TX ring, but a link that is down only now and then. */
static int kick(struct xmb_worker *w, uint32_t port, uint64_t now_ns)
{
	uint64_t before;
	uint32_t ups;
	int err;

	if (xmb_xsk_tx_waiting(w->tx[port]) == 0)
		return 0;
	ups = atomic_load_explicit(&w->engine->link_ups[port],
				   memory_order_relaxed);
	if (now_ns < w->tx_retry_ns[port] && ups == w->link_ups[port])
		return -ENETDOWN;
	w->link_ups[port] = ups;
	before = xmb_clock_ticks();
	err = xmb_xsk_kick(w->tx[port]);
	w->kernel_ticks += xmb_clock_ticks() - before;
	w->tx_retry_ns[port] =
		err == -ENETDOWN || err == -ENXIO ? now_ns + LINK_RETRY_NS : 0;
	return err;
}

void xmb_worker_send_port(struct xmb_worker *w, uint32_t port,
			  struct xmb_multibuf *mbs, uint32_t cnt)
{
	struct xmb_xsk *xsk = w->tx[port];
	uint32_t done = xmb_xsk_send(xsk, &w->cache, mbs, cnt);

	for (int i = 0; done < cnt && i < TX_TRIES; i++) {
		int err = kick(w, port, xmb_clock_ns());

		xmb_worker_count(w, XMB_WORKER_TX_WAITS, 1);
		xmb_xsk_reap(xsk, &w->cache);
		done += xmb_xsk_send(xsk, &w->cache, mbs + done, cnt - done);
		if (err == -ENETDOWN || err == -ENXIO)
			break;
	}
	if (done < cnt)
		xmb_xsk_drop_full(xsk, &w->cache, mbs + done, cnt - done);
}

uint32_t xmb_worker_reap(struct xmb_worker *w)
{
	uint32_t n = 0;

	for (uint32_t p = 0; p < w->engine->opts.port_cnt; p++)
		n += xmb_xsk_reap(w->tx[p], &w->cache);
	return n;
}

void xmb_worker_kick_all(struct xmb_worker *w, uint64_t now_ns)
{
	for (uint32_t p = 0; p < w->engine->opts.port_cnt; p++)
		kick(w, p, now_ns);
}

struct tx_state xmb_worker_tx_state(const struct xmb_worker *w)
{
	struct tx_state state = { .nap_ms = IDLE_MS };

	if (w->rx_cnt == 0)
		return state; /* owns no sockets */
	for (uint32_t p = 0; p < w->engine->opts.port_cnt; p++) {
		if (w->tx_retry_ns[p])
			state.parked += xmb_xsk_tx_waiting(w->tx[p]);
		else
			state.waiting += xmb_xsk_tx_waiting(w->tx[p]);
		state.inflight += xmb_xsk_tx_inflight(w->tx[p]);
	}
	/* What only waits for a link to come back is not worth more looks. */
	if (state.inflight > state.parked || w->has_backlog)
		state.nap_ms = NAP_MS;
	else if (state.parked)
		state.nap_ms = LINK_RETRY_NS / 1000000;
	return state;
}

bool xmb_worker_has_rx(const struct xmb_worker *w)
{
	for (uint32_t i = 0; i < w->rx_cnt; i++)
		if (xmb_xsk_has_rx(w->rx[i].xsk))
			return true;
	return false;
}
