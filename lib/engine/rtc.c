/* SPDX-License-Identifier: BSD-2-Clause */
#include "engine/engine_priv.h"

/* Run to completion: the thread that receives a burst handles and sends it. */

static void rtc_send(struct xmb_burst *burst, enum xmb_part part, uint32_t port,
		     struct xmb_multibuf *mbs, uint32_t cnt)
{
	(void)part; /* only whole packets here */
	xmb_worker_send_port(burst->worker, port, mbs, cnt);
}

static uint32_t serve(struct xmb_worker *w, const struct worker_rx *rx,
		      uint64_t now_ns)
{
	struct xmb_multibuf mbs[XMB_ENGINE_BURST];
	uint8_t to[XMB_ENGINE_BURST];
	struct xmb_burst burst = {
		.mbs = mbs,
		.to = to,
		.port = rx->port,
		.cache = &w->cache,
		.worker = w,
	};

	xmb_xsk_refill(rx->xsk, &w->cache, now_ns);
	burst.cnt = xmb_xsk_recv(rx->xsk, &w->cache, mbs, XMB_ENGINE_BURST);
	if (burst.cnt)
		xmb_burst_handle(&burst, w->engine->has_partial_csum[rx->port]);
	return burst.cnt;
}

static uint32_t rtc_turn(struct xmb_worker *w, uint64_t now_ns)
{
	uint32_t n = 0, reaped = xmb_worker_reap(w);

	for (uint32_t i = 0; i < w->rx_cnt; i++)
		n += serve(w, &w->rx[i], now_ns);
	xmb_worker_kick_all(w, now_ns);
	w->is_reaping = reaped > 0;
	return n;
}

static bool rtc_has_input(const struct xmb_worker *w)
{
	(void)w;
	return false; /* its sockets wake it */
}

static bool rtc_is_draining(const struct xmb_worker *w)
{
	return xmb_worker_has_rx(w) || xmb_worker_tx_state(w).inflight;
}

const struct worker_role xmb_role_rtc = {
	.turn = rtc_turn,
	.send = rtc_send,
	.has_input = rtc_has_input,
	.is_draining = rtc_is_draining,
};
