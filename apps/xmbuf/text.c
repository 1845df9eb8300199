/* SPDX-License-Identifier: BSD-2-Clause */
#include "app.h"

#include <inttypes.h>
#include <stdarg.h>

/* Print a line; on a terminal over the one that stood there. */
static void line(struct view *view, const char *fmt, ...)
	__attribute__((format(printf, 2, 3)));

static void line(struct view *view, const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	vfprintf(view->out, fmt, ap);
	va_end(ap);
	fprintf(view->out, view->is_live ? "\033[K\n" : "\n");
	view->lines++;
}

static void begin(struct view *view)
{
	if (view->is_live && view->lines)
		fprintf(view->out, "\033[%uA", view->lines);
	/* A row that is too wide is cut: wrapped, it could not be redrawn. */
	if (view->is_live)
		fputs("\033[?7l", view->out);
	view->lines = 0;
}

static void port_row(struct view *view, const struct xmb_engine_report *report,
		     uint32_t p)
{
	const struct xmb_port_report *port = &report->ports[p];
	const struct xmb_port_report *last = &view->last.ports[p];
	const uint64_t *now = port->xsk, *was = last->xsk;
	uint64_t drops = 0, was_drops = 0;

	for (int i = 0; i < XMB_XSK_COUNTER_CNT; i++) {
		if (xmb_xsk_counter_descs[i].kind != XMB_COUNTER_DROP)
			continue;
		drops += now[i];
		was_drops += was[i];
	}
	line(view,
	     "%7.1fs %-15s %-4s rx %10.0f p/s %8.1f Mb/s  tx %10.0f p/s "
	     "%8.1f Mb/s  drops %8.0f /s  fill %u",
	     (double)report->uptime_ns / 1e9, port->nic.name,
	     port->nic.running ? "up" : "DOWN",
	     view_rate(view, report, now[XMB_XSK_RX_PACKETS],
		       was[XMB_XSK_RX_PACKETS]),
	     view_rate(view, report, now[XMB_XSK_RX_BYTES],
		       was[XMB_XSK_RX_BYTES]) *
		     8 / 1e6,
	     view_rate(view, report, port_sent(port), port_sent(last)),
	     view_rate(view, report, now[XMB_XSK_TX_BYTES],
		       was[XMB_XSK_TX_BYTES]) *
		     8 / 1e6,
	     view_rate(view, report, drops, was_drops), port->fill_level);
}

static void ledger_row(struct view *view, const struct xmb_ledger *l)
{
	line(view,
	     "         frames %u = free %" PRId64 " + fill %" PRId64
	     " + rx %" PRId64 " + app %" PRId64 " + chan %" PRId64
	     " + tx %" PRId64 " + held %" PRId64 "; copies %" PRIu64,
	     l->frames, l->free, l->fill, l->rx, l->app, l->chan, l->tx,
	     l->held, l->copies);
}

void text_interval(struct view *view, const struct xmb_engine_report *report)
{
	begin(view);
	for (uint32_t p = 0; p < report->port_cnt; p++)
		port_row(view, report, p);
	if (view->is_live)
		ledger_row(view, &report->ledger);
	if (view->is_live)
		fputs("\033[?7h", view->out);
	output_flush();
	view->last = *report;
}

static void counter_row(void *arg, const char *where, const char *name,
			uint64_t value, const char *meaning)
{
	line(arg, "  %-15s %-18s %12" PRIu64 "  %s", where, name, value,
	     meaning);
}

static void section(struct view *view, const struct xmb_engine_report *report,
		    enum xmb_counter_kind kind, const char *title)
{
	line(view, "%s", title);
	each_counter(report, kind, counter_row, view);
}

/* As it was read back; sysfs does not say of how many NAPIs. */
static void defer_row(struct view *view, const struct xmb_port_report *port)
{
	const struct xmb_nic_napi *napi = &port->busy.napi;
	char whose[32] = "all", suspended[32] = "off";

	if (port->busy.defer == XMB_PORT_DEFER_NONE) {
		line(view, "  %-15s interrupts not deferred", port->nic.name);
		return;
	}
	if (port->busy.defer == XMB_PORT_DEFER_NETLINK)
		snprintf(whose, sizeof(whose), "%u", port->busy.napi_cnt);
	if (napi->irq_suspend_ns)
		snprintf(suspended, sizeof(suspended), "%g ms",
			 (double)napi->irq_suspend_ns / 1e6);
	line(view,
	     "  %-15s interrupts of %s NAPIs deferred by %s: %u turns, timer "
	     "after %g us, suspension by epoll_wait() %s",
	     port->nic.name, whose, defer_name(port), napi->defer_hard_irqs,
	     (double)napi->gro_flush_ns / 1e3, suspended);
}

static void busy_row(struct view *view, const struct xmb_port_report *port)
{
	const struct xmb_port_busy *busy = &port->busy;

	if (busy->xsk.us == 0)
		return;
	line(view,
	     "  %-15s busy polling %u us, budget %u, %s; %u of %u queues have "
	     "a NAPI to poll%s",
	     port->nic.name, busy->xsk.us, busy->xsk.budget,
	     busy->xsk.is_preferred ? "preferred" : "not preferred",
	     busy->known_cnt, port->queue_cnt,
	     busy->known_cnt ? "" : ": no effect");
	defer_row(view, port);
}

static void thread_rows(struct view *view,
			const struct xmb_engine_report *report)
{
	for (uint32_t t = 0; t < report->thread_cnt; t++) {
		const uint64_t *v = report->threads[t].counters;

		line(view,
		     "  thread %-2u %-6s handled %" PRIu64 ", piped %" PRIu64
		     ", busy %.1f ms, in the kernel %.1f ms, sleeps %" PRIu64
		     ", dropped before its full pipe %" PRIu64,
		     t, report->threads[t].role, v[XMB_WORKER_HANDLED],
		     v[XMB_WORKER_PIPED], (double)v[XMB_WORKER_BUSY_NS] / 1e6,
		     (double)v[XMB_WORKER_KERNEL_NS] / 1e6,
		     v[XMB_WORKER_SLEEPS],
		     v[XMB_WORKER_FULL_NEWEST] + v[XMB_WORKER_FULL_OLDEST] +
			     v[XMB_WORKER_FLOW_STOPPED]);
	}
}

void text_final(struct view *view, const struct xmb_engine_report *report)
{
	struct totals totals;

	view->is_live = false;
	totals_make(&totals, report);
	line(view, "--- %.1f s, %u thread%s", (double)report->uptime_ns / 1e9,
	     report->thread_cnt, report->thread_cnt == 1 ? "" : "s");
	for (uint32_t p = 0; p < report->port_cnt; p++) {
		const struct xmb_port_report *port = &report->ports[p];

		line(view,
		     "  %-15s XDP %s (%s), %s, multi-buffer %s, %u queue%s",
		     port->nic.name, xmb_prog_mode_name(port->xdp),
		     way_name(port), bind_name(port),
		     port->is_sg ? "yes" : "no", port->queue_cnt,
		     port->queue_cnt == 1 ? "" : "s");
		busy_row(view, port);
	}
	thread_rows(view, report);
	section(view, report, XMB_COUNTER_TOTAL, "totals:");
	section(view, report, XMB_COUNTER_DROP, "drops:");
	section(view, report, XMB_COUNTER_EVENT, "events:");
	section(view, report, XMB_COUNTER_FAULT, "faults:");
	line(view,
	     "packets: in %" PRIu64 " = out %" PRIu64 " + dropped %" PRIu64
	     " + kept %" PRId64 "; without a name: %" PRId64,
	     totals.in, totals.out, totals.dropped, totals.kept,
	     totals.unnamed);
	ledger_row(view, &report->ledger);
	line(view,
	     "ledger: %s, %" PRId64 " frames missing; payload copied in user "
	     "space: %" PRIu64 " packets, %" PRIu64 " bytes",
	     report->is_balanced ? "balanced" : "NOT BALANCED",
	     report->ledger.missing, report->ledger.copies,
	     report->ledger.copied_bytes);
	output_flush();
}
