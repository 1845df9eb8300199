/* SPDX-License-Identifier: BSD-2-Clause */
#ifndef XMBUF_ENGINE_ENGINE_PRIV_H
#define XMBUF_ENGINE_ENGINE_PRIV_H

#include "engine/engine.h"
#include "loop/loop.h"
#include "nic/watch.h"

#include <pthread.h>

enum worker_command {
	WORKER_RUN,
	WORKER_DRAIN, /* send what is there, then end */
};

struct worker_rx {
	struct xmb_xsk *xsk;
	uint32_t port;
	bool has_partial_csum;
};

struct xmb_worker {
	struct xmb_engine *engine;
	uint32_t idx;
	pthread_t thread;
	bool is_started;
	int wake_fd; /* eventfd: look at command and report_asked */
	struct worker_rx rx[XMB_ENGINE_PORT_MAX * XMB_PORT_QUEUE_MAX];
	uint32_t rx_cnt;
	struct xmb_xsk *tx[XMB_ENGINE_PORT_MAX];
	uint64_t tx_retry_ns[XMB_ENGINE_PORT_MAX]; /* link down: not before */
	uint64_t spin_ns; /* how long to poll for nothing before a sleep */
	struct xmb_cache cache;
	xmb_counter counters[XMB_WORKER_COUNTER_CNT];

	/* Time, in ticks; made into nanoseconds when somebody asks. */
	uint64_t start_ticks, start_ns;
	uint64_t busy_ticks, kernel_ticks;

	/* The mailbox: control asks, the thread answers between bursts. */
	_Atomic uint32_t command;
	_Atomic uint32_t report_asked, report_done;
	struct xmb_ledger report; /* written before report_done */
};

struct xmb_engine {
	struct xmb_engine_opts opts;
	struct xmb_umem *umem;
	struct xmb_port *ports[XMB_ENGINE_PORT_MAX];
	bool is_up[XMB_ENGINE_PORT_MAX], is_running[XMB_ENGINE_PORT_MAX];
	struct xmb_worker *workers; /* an array */
	uint32_t worker_cnt;
	struct xmb_loop *loop;
	struct xmb_nic_watch *watch;
	uint64_t start_ns;
	_Atomic bool is_stop_asked;
	uint32_t report_seq, reports_due;
	struct xmb_ledger drained; /* what closed sockets and caches had */
};

/* The data thread (worker.c). */
void *xmb_worker_main(void *arg);

/* Fill in a report (report.c); the parts of running threads are as they
 * last said. */
void xmb_engine_report_make(struct xmb_engine *engine,
			    struct xmb_engine_report *report);

#endif /* XMBUF_ENGINE_ENGINE_PRIV_H */
