/* SPDX-License-Identifier: BSD-2-Clause */
#include "app.h"

#include <jansson.h>

static json_t *number(uint64_t v)
{
	return json_integer((json_int_t)v);
}

/* The counters of one kind, zeroes too: a reader need not guess a name. */
static json_t *counters(const struct xmb_counter_desc *descs, int cnt,
			const uint64_t *values, enum xmb_counter_kind kind)
{
	json_t *object = json_object();

	for (int i = 0; i < cnt; i++)
		if (descs[i].kind == kind)
			json_object_set_new(object, descs[i].name,
					    number(values[i]));
	return object;
}

static json_t *xsk_counters(const struct xmb_port_report *port,
			    enum xmb_counter_kind kind)
{
	return counters(xmb_xsk_counter_descs, XMB_XSK_COUNTER_CNT, port->xsk,
			kind);
}

static json_t *program(const struct xmb_port_report *port)
{
	json_t *object = counters(xmb_prog_counter_descs, XMB_PROG_COUNTER_CNT,
				  port->prog, XMB_COUNTER_TOTAL);
	json_t *events = counters(xmb_prog_counter_descs, XMB_PROG_COUNTER_CNT,
				  port->prog, XMB_COUNTER_EVENT);

	json_object_update_new(object, events);
	return object;
}

static json_t *rates(const struct view *view,
		     const struct xmb_engine_report *report, uint32_t p)
{
	const struct xmb_port_report *now = &report->ports[p];
	const struct xmb_port_report *was = &view->last.ports[p];

	return json_pack(
		"{s:f,s:f,s:f,s:f}", "rx_pps",
		view_rate(view, report, now->xsk[XMB_XSK_RX_PACKETS],
			  was->xsk[XMB_XSK_RX_PACKETS]),
		"rx_bps",
		8 * view_rate(view, report, now->xsk[XMB_XSK_RX_BYTES],
			      was->xsk[XMB_XSK_RX_BYTES]),
		"tx_pps",
		view_rate(view, report, port_sent(now), port_sent(was)),
		"tx_bps",
		8 * view_rate(view, report, now->xsk[XMB_XSK_TX_BYTES],
			      was->xsk[XMB_XSK_TX_BYTES]));
}

/* null: it was not asked for, or refused. */
static json_t *busy_object(const struct xmb_port_report *port)
{
	const struct xmb_port_busy *busy = &port->busy;

	if (busy->xsk.us == 0)
		return json_null();
	return json_pack(
		"{s:i,s:i,s:b,s:i,s:i,s:s?,s:o,s:I,s:I,s:I}", "us",
		(int)busy->xsk.us, "budget", (int)busy->xsk.budget, "preferred",
		busy->xsk.is_preferred, "napi_id", (int)busy->xsk.napi_id,
		"queues_polled", (int)busy->known_cnt, "deferred_by",
		defer_name(port), "napis_deferred",
		busy->defer == XMB_PORT_DEFER_SYSFS
			? json_null()
			: json_integer(busy->napi_cnt),
		"napi_defer_hard_irqs", (json_int_t)busy->napi.defer_hard_irqs,
		"gro_flush_timeout_ns", (json_int_t)busy->napi.gro_flush_ns,
		"irq_suspend_timeout_ns",
		(json_int_t)busy->napi.irq_suspend_ns);
}

static json_t *port_object(const struct view *view,
			   const struct xmb_engine_report *report, uint32_t p)
{
	const struct xmb_port_report *port = &report->ports[p];

	return json_pack(
		"{s:s,s:s,s:s,s:s,s:b,s:o,s:b,s:i,s:i,s:i,s:o,s:I,s:o,s:o,s:o,"
		"s:o,"
		"s:o}",
		"dev", port->nic.name, "xdp", xmb_prog_mode_name(port->xdp),
		"attach", way_name(port), "bind", bind_name(port),
		"multi_buffer", port->is_sg, "busy_poll", busy_object(port),
		"link", port->nic.running, "mtu", (int)port->nic.mtu, "queues",
		(int)port->queue_cnt, "fill_level", (int)port->fill_level,
		"rates", rates(view, report, p), "sent",
		(json_int_t)port_sent(port), "totals",
		xsk_counters(port, XMB_COUNTER_TOTAL), "drops",
		xsk_counters(port, XMB_COUNTER_DROP), "events",
		xsk_counters(port, XMB_COUNTER_EVENT), "faults",
		xsk_counters(port, XMB_COUNTER_FAULT), "program",
		program(port));
}

static json_t *ledger_object(const struct xmb_ledger *l)
{
	return json_pack("{s:i,s:I,s:I,s:I,s:I,s:I,s:I,s:I,s:I}", "frames",
			 (int)l->frames, "free", (json_int_t)l->free, "fill",
			 (json_int_t)l->fill, "rx", (json_int_t)l->rx, "app",
			 (json_int_t)l->app, "chan", (json_int_t)l->chan, "tx",
			 (json_int_t)l->tx, "held", (json_int_t)l->held,
			 "missing", (json_int_t)l->missing);
}

static json_t *workers_object(const struct xmb_engine_report *report)
{
	json_t *object = json_object();

	for (int i = 0; i < XMB_WORKER_COUNTER_CNT; i++)
		json_object_set_new(object, xmb_worker_counter_descs[i].name,
				    number(report->workers[i]));
	return object;
}

/* Each thread's own counters, but for those that are 0. */
static json_t *threads_array(const struct xmb_engine_report *report)
{
	json_t *array = json_array();

	for (uint32_t t = 0; t < report->thread_cnt; t++) {
		const struct xmb_thread_report *thread = &report->threads[t];
		json_t *object = json_pack("{s:s}", "role", thread->role);

		for (int i = 0; i < XMB_WORKER_COUNTER_CNT; i++)
			if (thread->counters[i])
				json_object_set_new(
					object,
					xmb_worker_counter_descs[i].name,
					number(thread->counters[i]));
		json_array_append_new(array, object);
	}
	return array;
}

static void add_totals(json_t *root, const struct xmb_engine_report *report)
{
	struct totals totals;

	totals_make(&totals, report);
	json_object_set_new(root, "packets",
			    json_pack("{s:I,s:I,s:I,s:I}", "in",
				      (json_int_t)totals.in, "out",
				      (json_int_t)totals.out, "dropped",
				      (json_int_t)totals.dropped, "unnamed",
				      (json_int_t)totals.unnamed));
}

void json_report(struct view *view, const struct xmb_engine_report *report)
{
	json_t *ports = json_array(), *root;

	for (uint32_t p = 0; p < report->port_cnt; p++)
		json_array_append_new(ports, port_object(view, report, p));
	root = json_pack("{s:s,s:f,s:i,s:o,s:o,s:o,s:I,s:I}", "type",
			 report->is_final ? "final" : "interval", "time_s",
			 (double)report->uptime_ns / 1e9, "threads",
			 (int)report->thread_cnt, "ports", ports, "handler",
			 workers_object(report), "ledger",
			 ledger_object(&report->ledger), "copies",
			 (json_int_t)report->ledger.copies, "copied_bytes",
			 (json_int_t)report->ledger.copied_bytes);
	json_object_set_new(root, "handler_drops",
			    counters(xmb_worker_counter_descs,
				     XMB_WORKER_COUNTER_CNT, report->workers,
				     XMB_COUNTER_DROP));
	json_object_set_new(root, "per_thread", threads_array(report));
	if (report->is_final) {
		add_totals(root, report);
		json_object_set_new(root, "balanced",
				    json_boolean(report->is_balanced));
	}
	json_dumpf(root, view->out, JSON_COMPACT | JSON_PRESERVE_ORDER);
	fputc('\n', view->out);
	output_flush();
	json_decref(root);
	view->last = *report;
}
