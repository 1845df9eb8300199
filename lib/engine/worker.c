/* SPDX-License-Identifier: BSD-2-Clause */
#include "engine/engine_priv.h"

#include "base/clock.h"

#include <poll.h>
#include <sys/eventfd.h>
#include <unistd.h>

/* A data thread: turns while there is work, sleep when there is none. */

enum {
	SPIN_MIN_NS = 20000,
	SPIN_MAX_NS = 200000,
	DRAIN_NS = 300000000,
	RELAX_CNT = 8, /* 240 ns on Zen 5 */
};

const struct xmb_counter_desc xmb_worker_counter_descs[] = {
	XMB_WORKER_COUNTERS(XMB_COUNTER_DESC)
};

/* One turn, and the time that it took if it moved a packet. */
static uint32_t timed_turn(struct xmb_worker *w, uint64_t now_ns)
{
	uint64_t start = xmb_clock_ticks(), kernel = w->kernel_ticks;
	uint32_t n;

	w->is_reaping = false;
	n = w->role->turn(w, now_ns);
	kernel = w->kernel_ticks - kernel;
	if (n || w->is_reaping)
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

/*
 * Whoever gives a thread work looks at this afterwards, and the thread looks
 * for work after it has said that it sleeps: with a full fence between on both
 * sides, one of the two sees the other.
 */
bool xmb_worker_rouse(struct xmb_worker *w)
{
	atomic_thread_fence(memory_order_seq_cst);
	if (!atomic_load_explicit(&w->is_asleep, memory_order_relaxed) ||
	    !atomic_exchange_explicit(&w->is_asleep, false,
				      memory_order_relaxed))
		return false;
	xmb_worker_wake(w);
	return true;
}

void xmb_worker_wake(const struct xmb_worker *w)
{
	uint64_t one = 1;

	/* Full (EAGAIN) means that it is awake already. */
	if (write(w->wake_fd, &one, sizeof(one)) < 0)
		return;
}

static void refill_idle(struct xmb_worker *w)
{
	for (uint32_t i = 0; i < w->rx_cnt; i++)
		xmb_xsk_refill_idle(w->rx[i].xsk, &w->cache);
}

/*
 * Sleep until a packet comes or somebody wakes us.  In copy mode poll() sends
 * what is in the TX ring and hides its errors (xsk_poll in Linux 6.18), so
 * while something waits there only the mailbox is watched, and shortly.
 */
static void doze(struct xmb_worker *w)
{
	struct pollfd fds[1 + XMB_ENGINE_PORT_MAX * XMB_PORT_QUEUE_MAX];
	struct tx_state tx = xmb_worker_tx_state(w);
	uint64_t before_ns = xmb_clock_ns(), slept_ns, n;
	nfds_t cnt = 1;

	fds[0] = (struct pollfd){ .fd = w->wake_fd, .events = POLLIN };
	for (uint32_t i = 0; tx.waiting == 0 && i < w->rx_cnt; i++) {
		/* Parked on a link that is down: a nap looks after it. */
		if (xmb_xsk_tx_waiting(w->rx[i].xsk))
			continue;
		fds[cnt++] = (struct pollfd){ .fd = xmb_xsk_fd(w->rx[i].xsk),
					      .events = POLLIN };
	}
	refill_idle(w);
	atomic_store_explicit(&w->is_asleep, true, memory_order_relaxed);
	atomic_thread_fence(memory_order_seq_cst);
	/* Who begins to wait for frames rouses us, or is seen here. */
	xmb_cache_yield(&w->cache);
	if (!w->role->has_input(w)) {
		xmb_worker_count(w, XMB_WORKER_SLEEPS, 1);
		poll(fds, cnt, tx.nap_ms);
		if (fds[0].revents && read(w->wake_fd, &n, sizeof(n)) < 0)
			n = 0; /* taken already */
	}
	atomic_store_explicit(&w->is_asleep, false, memory_order_relaxed);
	/* Sleeps that prove short cost more than polling on would have. */
	slept_ns = xmb_clock_ns() - before_ns;
	if (slept_ns < w->spin_ns)
		w->spin_ns = xmb_min_u32((uint32_t)w->spin_ns * 2, SPIN_MAX_NS);
	else if (slept_ns > XMB_NS_PER_MS)
		w->spin_ns = SPIN_MIN_NS;
}

/*
 * Nothing came: each look takes the line of the ring's index from the CPU that
 * is to write it, so the next one is not at once.
 */
static void let_be(void)
{
	for (int i = 0; i < RELAX_CNT; i++)
		xmb_clock_relax();
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

static void drain(struct xmb_worker *w)
{
	uint64_t end_ns = xmb_clock_ns() + DRAIN_NS;

	do {
		if (timed_turn(w, xmb_clock_ns()) == 0)
			usleep(100);
		xmb_cache_yield(&w->cache);
	} while (w->role->is_draining(w) && xmb_clock_ns() < end_ns);
	set_times(w);
}

void *xmb_worker_main(void *arg)
{
	struct xmb_worker *w = arg;
	uint64_t now_ns = xmb_clock_ns(), idle_ns = now_ns;

	w->spin_ns = SPIN_MIN_NS;
	w->start_ns = now_ns;
	w->start_ticks = xmb_clock_ticks();
	refill_idle(w);
	while (atomic_load_explicit(&w->command, memory_order_acquire) ==
	       WORKER_RUN) {
		now_ns = xmb_clock_ns();
		if (timed_turn(w, now_ns)) {
			idle_ns = now_ns;
		} else if (now_ns - idle_ns > w->spin_ns) {
			doze(w);
			idle_ns = xmb_clock_ns();
		} else {
			let_be();
		}
		xmb_cache_yield(&w->cache);
		answer(w);
	}
	drain(w);
	return NULL;
}
