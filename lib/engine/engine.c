/* SPDX-License-Identifier: BSD-2-Clause */
#include "engine/engine_priv.h"

#include "base/clock.h"
#include "base/log.h"

#include <errno.h>
#include <sched.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

enum {
	SETTLE_STEP_US = 5000,
	TX_CAP_MIN = 64,
	PIPE_CNT_MAX = 65536,
};

#define SETTLE_NS (2 * XMB_NS_PER_S)

/* How the frames are divided; every share together is what there is. */
struct plan {
	uint32_t io_cnt, stage_cnt, socket_cnt, need_cnt;
	struct xmb_port_share share;
};

static int make_plan(const struct xmb_engine *engine, struct plan *plan)
{
	const struct xmb_engine_opts *opts = &engine->opts;
	uint32_t frames = xmb_umem_pool_cnt(&opts->umem);
	uint32_t fill_base = XMB_XSK_FILL_BASE, senders, spare, threads;

	*plan = (struct plan){ .io_cnt = XMB_PORT_QUEUE_MAX };
	if (opts->mode == XMB_ENGINE_PIPELINE)
		plan->stage_cnt = xmb_or_u32(opts->worker_cnt, 1);
	for (uint32_t p = 0; p < opts->port_cnt; p++) {
		const struct xmb_port *port = engine->ports[p];

		plan->io_cnt = xmb_min_u32(plan->io_cnt, xmb_port_tx_cnt(port));
		plan->socket_cnt += xmb_port_queue_cnt(port);
		fill_base = xmb_max_u32(fill_base, opts->ports[p].fill_base);
	}
	if (plan->socket_cnt > XMB_WHO_MAX) {
		xmb_log(XMB_LOG_ERROR,
			"%u queues on all devices together: at most %u: choose "
			"fewer (--queues)",
			plan->socket_cnt, XMB_WHO_MAX);
		return -EINVAL;
	}
	senders = plan->io_cnt * opts->port_cnt;
	threads = plan->io_cnt + plan->stage_cnt;
	plan->need_cnt = threads * XMB_CACHE_MAX +
			 2 * xmb_max_u32(plan->socket_cnt * fill_base,
					 senders * TX_CAP_MIN);
	if (frames < plan->need_cnt) {
		xmb_log(XMB_LOG_ERROR,
			"%u frames are too few for %u queues and %u threads: "
			"at least %u are needed (--frames)",
			frames, plan->socket_cnt, threads, plan->need_cnt);
		return -EINVAL;
	}
	spare = (frames - threads * XMB_CACHE_MAX) / 2;
	plan->share.fill_max = spare / plan->socket_cnt;
	plan->share.tx_cap = spare / senders;
	plan->share.tx_cap = xmb_min_u32(plan->share.tx_cap, XMB_XSK_RING_CNT);
	return 0;
}

static int create_ports(struct xmb_engine *engine)
{
	const struct xmb_engine_opts *opts = &engine->opts;

	for (uint32_t p = 0; p < opts->port_cnt; p++) {
		int err = xmb_port_create(&engine->ports[p], &opts->ports[p]);

		if (err)
			return err;
		for (uint32_t q = 0; q < p; q++) {
			if (xmb_port_nic(engine->ports[q])->ifindex !=
			    xmb_port_nic(engine->ports[p])->ifindex)
				continue;
			xmb_log(XMB_LOG_ERROR, "%s is named twice",
				opts->ports[p].dev);
			return -EINVAL;
		}
		engine->is_up[p] = xmb_port_nic(engine->ports[p])->up;
		engine->is_running[p] = xmb_port_nic(engine->ports[p])->running;
	}
	return 0;
}

/* A packet that was split is sent as two buffers. */
static int check_split(const struct xmb_engine *engine)
{
	for (uint32_t p = 0; engine->opts.is_split && p < engine->opts.port_cnt;
	     p++) {
		if (xmb_xsk_mode(xmb_port_xsk(engine->ports[p], 0)).is_sg)
			continue;
		xmb_log(XMB_LOG_ERROR,
			"%s sends packets of one buffer only, and split ones "
			"have two: that takes Linux 6.6, and --bind copy where "
			"zero copy has no multi-buffer",
			xmb_port_nic(engine->ports[p])->name);
		return -EOPNOTSUPP;
	}
	return 0;
}

static void warn_of_mtu(const struct xmb_engine *engine)
{
	const struct xmb_nic_info *small = xmb_port_nic(engine->ports[0]);

	for (uint32_t p = 1; p < engine->opts.port_cnt; p++)
		if (xmb_port_nic(engine->ports[p])->mtu < small->mtu)
			small = xmb_port_nic(engine->ports[p]);
	for (uint32_t p = 0; p < engine->opts.port_cnt; p++) {
		const struct xmb_nic_info *nic = xmb_port_nic(engine->ports[p]);

		if (nic->mtu > small->mtu)
			xmb_log(XMB_LOG_WARN,
				"%s has MTU %u, but %s has %u: longer packets "
				"are dropped on the way out (tx_too_long): set "
				"both alike",
				nic->name, nic->mtu, small->name, small->mtu);
	}
}

/* Worker t owns socket t, t + n, ... of each port, and sends by socket t. */
static void assign(struct xmb_engine *engine)
{
	for (uint32_t p = 0; p < engine->opts.port_cnt; p++) {
		const struct xmb_port *port = engine->ports[p];

		for (uint32_t i = 0; i < xmb_port_queue_cnt(port); i++) {
			struct xmb_worker *w =
				&engine->workers[i % engine->io_cnt];

			w->rx[w->rx_cnt++] = (struct worker_rx){
				.xsk = xmb_port_xsk(port, i),
				.port = p,
			};
		}
		engine->has_partial_csum[p] = xmb_port_has_partial_csum(port);
		engine->any_partial_csum |= engine->has_partial_csum[p];
		for (uint32_t t = 0; t < engine->io_cnt; t++)
			engine->workers[t].tx[p] = xmb_port_xsk(port, t);
	}
}

/* Which cache each socket of a port belongs to. */
static void caches_of(const struct xmb_engine *engine, uint32_t port,
		      struct xmb_cache **caches)
{
	for (uint32_t i = 0; i < xmb_port_queue_cnt(engine->ports[port]); i++)
		caches[i] = &engine->workers[i % engine->io_cnt].cache;
}

static int open_ports(struct xmb_engine *engine, const struct plan *plan)
{
	for (uint32_t p = 0; p < engine->opts.port_cnt; p++) {
		struct xmb_cache *caches[XMB_PORT_QUEUE_MAX];
		int err;

		caches_of(engine, p, caches);
		err = xmb_port_open(engine->ports[p], engine->umem, caches,
				    plan->share);
		if (err)
			return err;
	}
	return 0;
}

static int make_workers(struct xmb_engine *engine, const struct plan *plan)
{
	uint32_t cnt = plan->io_cnt + plan->stage_cnt;
	size_t len = cnt * sizeof(*engine->workers);

	engine->workers = aligned_alloc(XMB_CACHE_LINE,
					xmb_align_up(len, XMB_CACHE_LINE));
	engine->thread_reports = calloc(cnt, sizeof(*engine->thread_reports));
	if (!engine->workers || !engine->thread_reports)
		return -ENOMEM;
	memset(engine->workers, 0, len);
	engine->worker_cnt = cnt;
	engine->io_cnt = plan->io_cnt;
	engine->stage_cnt = plan->stage_cnt;
	engine->part_cnt = engine->opts.is_split ? PART_CNT : 1;
	for (uint32_t t = 0; t < cnt; t++) {
		struct xmb_worker *w = &engine->workers[t];

		w->engine = engine;
		w->idx = t;
		w->role = t >= plan->io_cnt	? &xmb_role_stage
			  : plan->stage_cnt > 0 ? &xmb_role_io
						: &xmb_role_rtc;
		w->wake_fd = -1;
		xmb_cache_init(&w->cache, &engine->umem->pool, t + 1);
	}
	for (uint32_t t = 0; t < cnt; t++) {
		int fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);

		if (fd < 0) {
			int err = -errno;

			xmb_log(XMB_LOG_ERROR,
				"cannot open an eventfd for data thread %u: "
				"%s: close some files or raise the limit "
				"(`ulimit -n`)",
				t, strerror(-err));
			return err;
		}
		engine->workers[t].wake_fd = fd;
	}
	return 0;
}

static void ask_reports(struct xmb_engine *engine)
{
	engine->report_seq++;
	for (uint32_t t = 0; t < engine->worker_cnt; t++) {
		struct xmb_worker *w = &engine->workers[t];

		atomic_store_explicit(&w->report_asked, engine->report_seq,
				      memory_order_release);
		xmb_worker_wake(w);
	}
	engine->reports_due = engine->worker_cnt;
}

static void on_tick(void *arg, int res)
{
	(void)res;
	xmb_engine_check_programs(arg);
	ask_reports(arg);
}

static void on_duration(void *arg, int res)
{
	struct xmb_engine *engine = arg;

	(void)res;
	xmb_loop_stop(engine->loop, 0);
}

static void on_signal(void *arg, int res)
{
	struct xmb_engine *engine = arg;

	xmb_log(XMB_LOG_INFO, "SIG%s: sending what was received, then ending",
		sigabbrev_np(res));
	xmb_loop_stop(engine->loop, 0);
}

/* A data thread has answered, or somebody asks for the end. */
static void on_wake(void *arg, int res)
{
	struct xmb_engine *engine = arg;
	struct xmb_engine_report report;

	(void)res;
	if (atomic_load(&engine->is_stop_asked)) {
		xmb_loop_stop(engine->loop, 0);
		return;
	}
	if (!engine->reports_due)
		return;
	for (uint32_t t = 0; t < engine->worker_cnt; t++)
		if (atomic_load_explicit(&engine->workers[t].report_done,
					 memory_order_acquire) !=
		    engine->report_seq)
			return;
	engine->reports_due = 0;
	xmb_engine_report_make(engine, &report);
	if (engine->opts.tick)
		engine->opts.tick(engine->opts.tick_arg, &report);
}

static int make_loop(struct xmb_engine *engine)
{
	struct sigaction hup;
	sigset_t set;
	int err = xmb_loop_create(&engine->loop);

	if (err)
		return err;
	sigemptyset(&set);
	sigaddset(&set, SIGINT);
	sigaddset(&set, SIGTERM);
	sigaddset(&set, SIGQUIT);
	/* Not where nohup ignores it: blocked, it would come all the same. */
	if (!sigaction(SIGHUP, NULL, &hup) && hup.sa_handler != SIG_IGN)
		sigaddset(&set, SIGHUP);
	err = xmb_loop_add_signals(engine->loop, &set, on_signal, engine);
	if (err >= 0)
		err = xmb_loop_add_wake(engine->loop, on_wake, engine);
	if (err >= 0)
		err = xmb_nic_watch_open(&engine->watch);
	if (err >= 0)
		err = xmb_loop_add_fd(engine->loop,
				      xmb_nic_watch_fd(engine->watch),
				      xmb_engine_on_watch, engine);
	return err < 0 ? err : 0;
}

static int check_opts(const struct xmb_engine_opts *opts)
{
	long cpu_cnt = sysconf(_SC_NPROCESSORS_CONF);

	if (opts->is_split &&
	    (opts->mode != XMB_ENGINE_PIPELINE || opts->worker_cnt < 2)) {
		xmb_log(XMB_LOG_ERROR,
			"split packets need a pipeline of 2 or more workers");
		return -EINVAL;
	}
	if (opts->is_split && opts->full != XMB_FULL_DROP_NEWEST) {
		xmb_log(XMB_LOG_ERROR,
			"a full pipe drops split packets as they come, both "
			"halves: use the policy newest (--full)");
		return -EINVAL;
	}
	if (opts->worker_cnt > XMB_ENGINE_WORKER_MAX ||
	    opts->pipe_cnt > PIPE_CNT_MAX ||
	    (opts->pipe_cnt && !xmb_is_pow2(opts->pipe_cnt))) {
		xmb_log(XMB_LOG_ERROR,
			"%u workers, pipes of %u packets: at most %u workers, "
			"and a power of two up to 65536",
			opts->worker_cnt, opts->pipe_cnt,
			XMB_ENGINE_WORKER_MAX);
		return -EINVAL;
	}
	if (!opts->handler || opts->port_cnt == 0 ||
	    opts->port_cnt > XMB_ENGINE_PORT_MAX) {
		xmb_log(XMB_LOG_ERROR,
			"an engine needs a handler and 1 to %u ports",
			XMB_ENGINE_PORT_MAX);
		return -EINVAL;
	}
	for (uint32_t i = 0; i < opts->cpu_cnt; i++) {
		if (opts->cpus[i] >= 0 && opts->cpus[i] < cpu_cnt)
			continue;
		xmb_log(XMB_LOG_ERROR,
			"CPU %d was asked for, this machine has 0..%ld",
			opts->cpus[i], cpu_cnt - 1);
		return -EINVAL;
	}
	return 0;
}

static int set_up(struct xmb_engine *engine)
{
	struct plan plan;
	int err = create_ports(engine);

	if (!err)
		err = make_plan(engine, &plan);
	if (!err)
		err = xmb_engine_create_umem(engine);
	if (!err)
		err = make_workers(engine, &plan);
	if (!err && plan.stage_cnt)
		err = xmb_pipeline_init(engine);
	if (!err)
		err = make_loop(engine);
	if (err)
		return err;
	xmb_pool_set_reserve(&engine->umem->pool,
			     plan.socket_cnt * XMB_XSK_FILL_BASE);
	err = open_ports(engine, &plan);
	if (err)
		return err;
	err = check_split(engine);
	if (err)
		return err;
	warn_of_mtu(engine);
	xmb_engine_warn_of_pairs(engine);
	assign(engine);
	/* What happened to a device since it was asked is not in the watch. */
	xmb_engine_look_at_ports(engine);
	return 0;
}

int xmb_engine_create(struct xmb_engine **out,
		      const struct xmb_engine_opts *opts)
{
	struct xmb_engine *engine;
	int err = check_opts(opts);

	if (err)
		return err;
	engine = calloc(1, sizeof(*engine));
	if (!engine)
		return -ENOMEM;
	engine->opts = *opts;
	engine->start_ns = xmb_clock_ns();
	err = set_up(engine);
	if (err) {
		xmb_engine_destroy(engine);
		return err;
	}
	*out = engine;
	return 0;
}

static int start_worker(struct xmb_engine *engine, struct xmb_worker *w)
{
	pthread_attr_t attr;
	int err = -pthread_attr_init(&attr);

	if (err)
		return err;
	if (engine->opts.cpu_cnt) {
		cpu_set_t set;

		CPU_ZERO(&set);
		CPU_SET((size_t)engine->opts
				.cpus[w->idx % engine->opts.cpu_cnt],
			&set);
		err = -pthread_attr_setaffinity_np(&attr, sizeof(set), &set);
	}
	if (!err)
		err = -pthread_create(&w->thread, &attr, xmb_worker_main, w);
	pthread_attr_destroy(&attr);
	w->is_started = err == 0;
	if (err)
		xmb_log(XMB_LOG_ERROR,
			"cannot start data thread %u: %s: free some memory, or "
			"raise the limit of threads (`ulimit -u`)",
			w->idx, strerror(-err));
	return err;
}

static void stop_range(struct xmb_engine *engine, uint32_t first, uint32_t end)
{
	for (uint32_t t = first; t < end; t++) {
		struct xmb_worker *w = &engine->workers[t];

		atomic_store_explicit(&w->command, WORKER_DRAIN,
				      memory_order_release);
		if (w->is_started)
			xmb_worker_wake(w);
	}
	for (uint32_t t = first; t < end; t++) {
		struct xmb_worker *w = &engine->workers[t];

		if (w->is_started)
			pthread_join(w->thread, NULL);
		w->is_started = false;
	}
}

/* Workers go on until the dispatchers have everything back. */
static void stop_workers(struct xmb_engine *engine)
{
	stop_range(engine, 0, engine->io_cnt);
	stop_range(engine, engine->io_cnt, engine->worker_cnt);
	xmb_pipeline_fini(engine);
}

static void close_ports(struct xmb_engine *engine)
{
	uint64_t end_ns = xmb_clock_ns() + SETTLE_NS;
	bool is_waiting = engine->worker_cnt > 0;

	for (uint32_t p = 0; p < engine->opts.port_cnt && is_waiting; p++) {
		struct xmb_cache *caches[XMB_PORT_QUEUE_MAX];

		caches_of(engine, p, caches);
		xmb_port_detach(engine->ports[p]);
		xmb_port_close(engine->ports[p], caches);
	}
	while (is_waiting && xmb_clock_ns() < end_ns) {
		is_waiting = false;
		for (uint32_t p = 0; p < engine->opts.port_cnt; p++)
			if (xmb_port_settle(engine->ports[p],
					    &engine->workers[0].cache))
				is_waiting = true;
		if (is_waiting)
			usleep(SETTLE_STEP_US);
	}
}

/* The last report: nothing moves any more, so it must be exact. */
static int finish(struct xmb_engine *engine)
{
	struct xmb_engine_report report;

	for (uint32_t t = 0; t < engine->worker_cnt; t++) {
		struct xmb_worker *w = &engine->workers[t];

		w->report = (struct xmb_ledger){ 0 };
		xmb_ledger_add_cache(&w->report, &w->cache);
		for (uint32_t i = 0; i < w->rx_cnt; i++)
			xmb_xsk_ledger(w->rx[i].xsk, &w->report);
	}
	xmb_engine_report_make(engine, &report);
	report.is_final = true;
	report.is_balanced = xmb_ledger_check(&report.ledger, engine->umem);
	if (engine->opts.tick)
		engine->opts.tick(engine->opts.tick_arg, &report);
	return report.is_balanced ? 0 : -EUCLEAN;
}

/* Threads are there, so that a gate's successor takes its packets at once. */
static int commit_ports(struct xmb_engine *engine)
{
	int err = 0;

	for (uint32_t p = 0; p < engine->opts.port_cnt && !err; p++)
		err = xmb_port_commit(engine->ports[p]);
	return err;
}

int xmb_engine_run(struct xmb_engine *engine)
{
	int code = 0, err = 0;

	for (uint32_t t = 0; t < engine->worker_cnt && !err; t++)
		err = start_worker(engine, &engine->workers[t]);
	if (!err)
		err = commit_ports(engine);
	if (!err)
		err = xmb_loop_add_timer(
			engine->loop,
			xmb_or_u64(engine->opts.tick_ns, XMB_NS_PER_S), on_tick,
			engine);
	if (err >= 0 && engine->opts.duration_ns)
		err = xmb_loop_add_timer(engine->loop, engine->opts.duration_ns,
					 on_duration, engine);
	engine->start_ns = xmb_clock_ns();
	if (err >= 0)
		code = xmb_loop_run(engine->loop);
	/* First no more packets in, then out with those that are here. */
	for (uint32_t p = 0; p < engine->opts.port_cnt; p++)
		xmb_port_detach(engine->ports[p]);
	stop_workers(engine);
	close_ports(engine);
	if (err >= 0)
		err = finish(engine);
	return code ? code : err;
}

void xmb_engine_stop(struct xmb_engine *engine)
{
	atomic_store(&engine->is_stop_asked, true);
	xmb_loop_wake(engine->loop);
}

void xmb_engine_destroy(struct xmb_engine *engine)
{
	if (!engine)
		return;
	xmb_pipeline_fini(engine);
	close_ports(engine);
	for (uint32_t p = 0; p < XMB_ENGINE_PORT_MAX; p++)
		xmb_port_destroy(engine->ports[p]);
	for (uint32_t t = 0; t < engine->worker_cnt; t++) {
		xmb_cache_fini(&engine->workers[t].cache);
		if (engine->workers[t].wake_fd >= 0)
			close(engine->workers[t].wake_fd);
	}
	free(engine->workers);
	free(engine->thread_reports);
	xmb_loop_destroy(engine->loop);
	xmb_nic_watch_close(engine->watch);
	xmb_umem_destroy(engine->umem);
	free(engine);
}
