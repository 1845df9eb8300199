/* SPDX-License-Identifier: BSD-2-Clause */
#ifndef XMBUF_ENGINE_ENGINE_PRIV_H
#define XMBUF_ENGINE_ENGINE_PRIV_H

#include "engine/engine.h"
#include "engine/join_priv.h"
#include "engine/lane_priv.h"
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
};

enum { PART_CNT = XMB_PART_PAYLOAD + 1 };

/* What a thread does in one turn, and where its handler's packets go. */
struct worker_role {
	/* Returns how many packets were moved. */
	uint32_t (*turn)(struct xmb_worker *w, uint64_t now_ns);
	void (*send)(struct xmb_burst *burst, enum xmb_part part, uint32_t port,
		     struct xmb_multibuf *mbs, uint32_t cnt);
	/* Work is there that no descriptor tells of. */
	bool (*has_input)(const struct xmb_worker *w);
	/* Something is still on its way. */
	bool (*is_draining)(const struct xmb_worker *w);
};

extern const struct worker_role xmb_role_rtc, xmb_role_io, xmb_role_stage;

struct xmb_worker {
	struct xmb_engine *engine;
	const struct worker_role *role;
	uint32_t idx;
	pthread_t thread;
	bool is_started;
	int wake_fd; /* eventfd: look at command and report_asked */
	struct worker_rx rx[XMB_ENGINE_PORT_MAX * XMB_PORT_QUEUE_MAX];
	uint32_t rx_cnt;
	struct xmb_xsk *tx[XMB_ENGINE_PORT_MAX];
	uint64_t tx_retry_ns[XMB_ENGINE_PORT_MAX]; /* link down: not before */
	uint32_t link_ups[XMB_ENGINE_PORT_MAX]; /* when the wait began */
	bool is_reaping;    /* the last turn took back what was sent */
	struct lane *lanes; /* dispatcher: [stage][port][part] */
	bool has_backlog;   /* dispatcher: a pipe was full */
	struct join *join;  /* dispatcher of split packets */
	/* Stage: set before the pipes are read, cleared after they are
	 * written. */
	_Atomic uint32_t in_hand;
	_Atomic bool is_asleep;
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
	bool has_partial_csum[XMB_ENGINE_PORT_MAX];
	bool any_partial_csum;
	/* Times each link came back; a thread that waits for it looks here. */
	_Atomic uint32_t link_ups[XMB_ENGINE_PORT_MAX];
	struct xmb_worker *workers; /* those that own sockets first */
	uint32_t worker_cnt, io_cnt, stage_cnt;
	struct xmb_pipe *pipes; /* [io][stage][port][part] */
	uint32_t part_cnt;	/* 1, or PART_CNT when packets are split */
	struct xmb_loop *loop;
	struct xmb_nic_watch *watch;
	uint64_t start_ns;
	_Atomic bool is_stop_asked;
	uint32_t report_seq, reports_due;
	struct xmb_thread_report *thread_reports; /* worker_cnt */
};

static inline void xmb_worker_count(struct xmb_worker *w,
				    enum xmb_worker_counter which, uint64_t n)
{
	xmb_counter_add(&w->counters[which], n);
}

/* worker.c: the thread; and how to get it out of its sleep. */
void *xmb_worker_main(void *arg);
void xmb_worker_wake(const struct xmb_worker *w);
/* Wake it if it sleeps, after it was given work; true if it did. */
bool xmb_worker_rouse(struct xmb_worker *w);

/* burst.c: run the handler over a burst and do what it says. */
void xmb_burst_handle(struct xmb_burst *burst, bool has_partial_csum);

/* tx.c: the sending side of the sockets that a thread owns. */
struct tx_state {
	uint32_t waiting;  /* posted, on a link that is up */
	uint32_t parked;   /* posted, on a link that is down */
	uint32_t inflight; /* not back yet, on any */
	int nap_ms;	   /* how long a sleep may be */
};

void xmb_worker_send_port(struct xmb_worker *w, uint32_t port,
			  struct xmb_multibuf *mbs, uint32_t cnt);
uint32_t xmb_worker_reap(struct xmb_worker *w);
void xmb_worker_kick_all(struct xmb_worker *w, uint64_t now_ns);
struct tx_state xmb_worker_tx_state(const struct xmb_worker *w);
bool xmb_worker_has_rx(const struct xmb_worker *w);

/* frames.c: the umem that the ports' devices ask for. */
int xmb_engine_create_umem(struct xmb_engine *engine);

/* link.c: what the watch tells, and what is asked when it lost events. */
void xmb_engine_on_watch(void *arg, int res);
void xmb_engine_look_at_ports(struct xmb_engine *engine);

/* End if packets of some device would go around its sockets. */
void xmb_engine_check_programs(struct xmb_engine *engine);

/* pair.c: say what packets from one port to another will cost. */
void xmb_engine_warn_of_pairs(const struct xmb_engine *engine);

/* pipeline.c: what there is more of than with run to completion. */
int xmb_pipeline_init(struct xmb_engine *engine);
/* Release what is in pipes, lanes and joins, and count it. */
void xmb_pipeline_fini(struct xmb_engine *engine);

static inline struct xmb_pipe *xmb_engine_pipe(const struct xmb_engine *engine,
					       uint32_t io, uint32_t stage,
					       uint32_t port, uint32_t part)
{
	return &engine->pipes[((io * engine->stage_cnt + stage) *
				       engine->opts.port_cnt +
			       port) * engine->part_cnt +
			      part];
}

/* Fill in a report (report.c); the parts of running threads are as they
 * last said. */
void xmb_engine_report_make(struct xmb_engine *engine,
			    struct xmb_engine_report *report);

#endif /* XMBUF_ENGINE_ENGINE_PRIV_H */
