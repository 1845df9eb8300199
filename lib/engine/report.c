/* SPDX-License-Identifier: BSD-2-Clause */
#include "engine/engine_priv.h"

#include "base/clock.h"

static void add_all(uint64_t *sum, const uint64_t *v, int cnt)
{
	for (int i = 0; i < cnt; i++)
		sum[i] += v[i];
}

static void report_port(const struct xmb_engine *engine, uint32_t p,
			struct xmb_port_report *r)
{
	const struct xmb_port *port = engine->ports[p];

	*r = (struct xmb_port_report){
		.nic = *xmb_port_nic(port),
		.xdp = xmb_port_xdp_mode(port),
		.way = xmb_port_xdp_way(port),
		.is_zc = true,
		.is_sg = true,
		.queue_cnt = xmb_port_queue_cnt(port),
	};
	r->busy = xmb_port_busy(port);
	r->nic.up = engine->is_up[p];
	r->nic.running = engine->is_running[p];
	xmb_port_prog_stats(port, r->prog);
	r->has_prog = xmb_port_has_prog_stats(port);
	for (uint32_t i = 0; i < r->queue_cnt; i++) {
		const struct xmb_xsk *xsk = xmb_port_xsk(port, i);
		uint64_t values[XMB_XSK_COUNTER_CNT];

		xmb_xsk_stats(xsk, values);
		add_all(r->xsk, values, XMB_XSK_COUNTER_CNT);
		r->is_zc &= xmb_xsk_mode(xsk).is_zc;
		r->is_sg &= xmb_xsk_mode(xsk).is_sg;
		r->fill_level += xmb_xsk_fill_level(xsk);
	}
}

static void report_workers(const struct xmb_engine *engine,
			   struct xmb_engine_report *report)
{
	for (uint32_t t = 0; t < engine->worker_cnt; t++) {
		const struct xmb_worker *w = &engine->workers[t];
		struct xmb_thread_report *r = &engine->thread_reports[t];

		r->role = w->role == &xmb_role_rtc  ? "rtc"
			  : w->role == &xmb_role_io ? "io"
						    : "worker";
		for (int i = 0; i < XMB_WORKER_COUNTER_CNT; i++)
			r->counters[i] = xmb_counter_read(&w->counters[i]);
		add_all(report->workers, r->counters, XMB_WORKER_COUNTER_CNT);
		xmb_ledger_add(&report->ledger, &w->report);
	}
}

void xmb_engine_report_make(struct xmb_engine *engine,
			    struct xmb_engine_report *report)
{
	*report = (struct xmb_engine_report){
		.uptime_ns = xmb_clock_ns() - engine->start_ns,
		.port_cnt = engine->opts.port_cnt,
		.thread_cnt = engine->worker_cnt,
		.threads = engine->thread_reports,
	};
	for (uint32_t p = 0; p < report->port_cnt; p++)
		report_port(engine, p, &report->ports[p]);
	xmb_ledger_init(&report->ledger, engine->umem);
	report_workers(engine, report);
	xmb_ledger_sum(&report->ledger);
}
