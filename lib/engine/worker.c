/* SPDX-License-Identifier: BSD-2-Clause */
#include "engine/engine_priv.h"

#include "base/clock.h"
#include "pkt/csum.h"

#include <errno.h>
#include <poll.h>
#include <sys/eventfd.h>
#include <unistd.h>

enum {
	TX_TRIES = 4, /* drains of a full TX ring before a drop */
	SPIN_MIN_NS = 20000,
	SPIN_MAX_NS = 200000,
	NAP_MS = 1,	/* sleep while something is in TX */
	IDLE_MS = 1000, /* sleep when nothing is */
	LINK_RETRY_NS = 10000000,
	DRAIN_NS = 300000000,
};

const struct xmb_counter_desc xmb_worker_counter_descs[] = {
	XMB_WORKER_COUNTERS(XMB_COUNTER_DESC)
};

static void count(struct xmb_worker *w, enum xmb_worker_counter which,
		  uint64_t n)
{
	xmb_counter_add(&w->counters[which], n);
}

/* Kick a port's TX ring, but a link that is down only now and then. */
static int kick(struct xmb_worker *w, uint32_t port, uint64_t now_ns)
{
	uint64_t before;
	int err;

	if (xmb_xsk_tx_waiting(w->tx[port]) == 0)
		return 0;
	if (now_ns < w->tx_retry_ns[port])
		return -ENETDOWN;
	before = xmb_clock_ticks();
	err = xmb_xsk_kick(w->tx[port]);
	w->kernel_ticks += xmb_clock_ticks() - before;
	w->tx_retry_ns[port] =
		err == -ENETDOWN || err == -ENXIO ? now_ns + LINK_RETRY_NS : 0;
	return err;
}

static void send_run(struct xmb_worker *w, uint32_t port,
		     struct xmb_multibuf *mbs, uint32_t cnt)
{
	struct xmb_xsk *xsk = w->tx[port];
	uint32_t done = xmb_xsk_send(xsk, &w->cache, mbs, cnt);

	for (int i = 0; done < cnt && i < TX_TRIES; i++) {
		int err = kick(w, port, xmb_clock_ns());

		count(w, XMB_WORKER_TX_WAITS, 1);
		xmb_xsk_reap(xsk, &w->cache);
		done += xmb_xsk_send(xsk, &w->cache, mbs + done, cnt - done);
		if (err == -ENETDOWN || err == -ENXIO)
			break;
	}
	if (done < cnt)
		xmb_xsk_drop_full(xsk, &w->cache, mbs + done, cnt - done);
}

void xmb_burst_send(struct xmb_burst *burst, uint32_t port,
		    struct xmb_multibuf *mbs, uint32_t cnt)
{
	struct xmb_worker *w = burst->worker;

	if (port >= w->engine->opts.port_cnt) {
		count(w, XMB_WORKER_NO_ROUTE, cnt);
		xmb_multibuf_release_bulk(mbs, cnt, &w->cache);
		return;
	}
	count(w, XMB_WORKER_FORWARDED, cnt);
	send_run(w, port, mbs, cnt);
}

static void complete_csums(struct xmb_worker *w, struct xmb_multibuf *mbs,
			   uint32_t cnt)
{
	uint64_t n = 0;

	for (uint32_t i = 0; i < cnt; i++)
		n += xmb_csum_complete(&mbs[i]) == 1;
	if (n)
		count(w, XMB_WORKER_CSUM_COMPLETED, n);
}

/* Do what the verdict says to a run of packets that have the same. */
static void dispatch_run(struct xmb_burst *burst, bool has_partial_csum,
			 uint8_t to, uint32_t first, uint32_t cnt)
{
	struct xmb_worker *w = burst->worker;
	struct xmb_multibuf *mbs = &burst->mbs[first];

	if (to == XMB_TO_DROP) {
		count(w, XMB_WORKER_HANDLER_DROP, cnt);
		xmb_multibuf_release_bulk(mbs, cnt, &w->cache);
	} else if (to == XMB_TO_KEEP) {
		for (uint32_t i = 0; i < cnt; i++)
			XMB_ASSERT(xmb_multibuf_is_empty(&mbs[i]));
		count(w, XMB_WORKER_KEPT, cnt);
	} else {
		if (has_partial_csum)
			complete_csums(w, mbs, cnt);
		xmb_burst_send(burst, to, mbs, cnt);
	}
}

static void dispatch(struct xmb_burst *burst, bool has_partial_csum)
{
	uint32_t first = 0;

	for (uint32_t i = 1; i <= burst->cnt; i++) {
		if (i < burst->cnt && burst->to[i] == burst->to[first])
			continue;
		dispatch_run(burst, has_partial_csum, burst->to[first], first,
			     i - first);
		first = i;
	}
}

/* Receive, handle and post one burst of a socket. */
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
	if (burst.cnt == 0)
		return 0;
	for (uint32_t i = 0; i < burst.cnt; i++)
		to[i] = XMB_TO_DROP;
	w->engine->opts.handler(w->engine->opts.handler_arg, &burst);
	count(w, XMB_WORKER_HANDLED, burst.cnt);
	dispatch(&burst, rx->has_partial_csum);
	return burst.cnt;
}

/* One turn over all sockets; returns what was received. */
static uint32_t turn(struct xmb_worker *w, uint64_t now_ns)
{
	const uint32_t port_cnt = w->engine->opts.port_cnt;
	uint64_t start = xmb_clock_ticks(), kernel = w->kernel_ticks;
	uint32_t n = 0, reaped = 0;

	for (uint32_t p = 0; p < port_cnt; p++)
		reaped += xmb_xsk_reap(w->tx[p], &w->cache);
	for (uint32_t i = 0; i < w->rx_cnt; i++)
		n += serve(w, &w->rx[i], now_ns);
	for (uint32_t p = 0; p < port_cnt; p++)
		kick(w, p, now_ns);
	kernel = w->kernel_ticks - kernel;
	if (n || reaped)
		w->busy_ticks += xmb_clock_ticks() - start - kernel;
	else
		w->kernel_ticks -= kernel;
	return n;
}

static void set_times(struct xmb_worker *w)
{
	double ticks = (double)(xmb_clock_ticks() - w->start_ticks);
	double ns_per_tick = (double)(xmb_clock_ns() - w->start_ns) / ticks;

	atomic_store_explicit(&w->counters[XMB_WORKER_BUSY_NS],
			      (uint64_t)((double)w->busy_ticks * ns_per_tick),
			      memory_order_relaxed);
	atomic_store_explicit(&w->counters[XMB_WORKER_KERNEL_NS],
			      (uint64_t)((double)w->kernel_ticks * ns_per_tick),
			      memory_order_relaxed);
}

struct tx_state {
	uint32_t waiting;  /* posted, on a link that is up */
	uint32_t parked;   /* posted, on a link that is down */
	uint32_t inflight; /* not back yet, on any */
};

static struct tx_state tx_state(const struct xmb_worker *w)
{
	struct tx_state state = { 0 };

	for (uint32_t p = 0; p < w->engine->opts.port_cnt; p++) {
		if (w->tx_retry_ns[p])
			state.parked += xmb_xsk_tx_waiting(w->tx[p]);
		else
			state.waiting += xmb_xsk_tx_waiting(w->tx[p]);
		state.inflight += xmb_xsk_tx_inflight(w->tx[p]);
	}
	return state;
}

/* What only waits for a link to come back is not worth more looks than that. */
static int nap_ms(const struct tx_state *tx)
{
	if (tx->inflight > tx->parked)
		return NAP_MS;
	return tx->parked ? LINK_RETRY_NS / 1000000 : IDLE_MS;
}

/*
 * Sleep until a packet comes or somebody wakes us.  In copy mode poll() sends
 * what is in the TX ring and hides its errors (KERNEL: xsk_poll, 6.18), so
 * while something waits there only the mailbox is watched, and shortly.
 */
static void doze(struct xmb_worker *w)
{
	struct pollfd fds[1 + XMB_ENGINE_PORT_MAX * XMB_PORT_QUEUE_MAX];
	struct tx_state tx = tx_state(w);
	uint64_t before_ns = xmb_clock_ns(), slept_ns, n;
	nfds_t cnt = 1;

	fds[0] = (struct pollfd){ .fd = w->wake_fd, .events = POLLIN };
	for (uint32_t i = 0; tx.waiting == 0 && i < w->rx_cnt; i++)
		fds[cnt++] = (struct pollfd){ .fd = xmb_xsk_fd(w->rx[i].xsk),
					      .events = POLLIN };
	for (uint32_t i = 0; i < w->rx_cnt; i++)
		xmb_xsk_refill_idle(w->rx[i].xsk, &w->cache);
	count(w, XMB_WORKER_SLEEPS, 1);
	poll(fds, cnt, nap_ms(&tx));
	if (fds[0].revents && read(w->wake_fd, &n, sizeof(n)) < 0)
		return;
	/* Sleeps that prove short cost more than polling on would have. */
	slept_ns = xmb_clock_ns() - before_ns;
	if (slept_ns < w->spin_ns)
		w->spin_ns = xmb_min_u32((uint32_t)w->spin_ns * 2, SPIN_MAX_NS);
	else if (slept_ns > XMB_NS_PER_MS)
		w->spin_ns = SPIN_MIN_NS;
}

static void answer(struct xmb_worker *w)
{
	uint32_t asked =
		atomic_load_explicit(&w->report_asked, memory_order_acquire);

	if (asked ==
	    atomic_load_explicit(&w->report_done, memory_order_relaxed))
		return;
	set_times(w);
	w->report = (struct xmb_ledger){ 0 };
	xmb_ledger_add_cache(&w->report, &w->cache);
	for (uint32_t i = 0; i < w->rx_cnt; i++)
		xmb_xsk_ledger(w->rx[i].xsk, &w->report);
	/* Pairs with the acquire in report.c. */
	atomic_store_explicit(&w->report_done, asked, memory_order_release);
	xmb_loop_wake(w->engine->loop);
}

/* True while something is on its way and the deadline has not come. */
static bool is_draining(const struct xmb_worker *w, uint64_t end_ns)
{
	bool has_rx = false;

	for (uint32_t i = 0; i < w->rx_cnt; i++)
		has_rx |= xmb_xsk_has_rx(w->rx[i].xsk);
	return (has_rx || tx_state(w).inflight) && xmb_clock_ns() < end_ns;
}

static void drain(struct xmb_worker *w)
{
	uint64_t end_ns = xmb_clock_ns() + DRAIN_NS;

	do {
		if (turn(w, xmb_clock_ns()) == 0)
			usleep(100);
	} while (is_draining(w, end_ns));
	set_times(w);
}

void *xmb_worker_main(void *arg)
{
	struct xmb_worker *w = arg;
	uint64_t now_ns = xmb_clock_ns(), idle_ns = now_ns;

	w->spin_ns = SPIN_MIN_NS;
	w->start_ns = now_ns;
	w->start_ticks = xmb_clock_ticks();
	while (atomic_load_explicit(&w->command, memory_order_acquire) ==
	       WORKER_RUN) {
		now_ns = xmb_clock_ns();
		if (turn(w, now_ns)) {
			idle_ns = now_ns;
		} else if (now_ns - idle_ns > w->spin_ns) {
			doze(w);
			idle_ns = xmb_clock_ns();
		}
		answer(w);
	}
	drain(w);
	return NULL;
}
