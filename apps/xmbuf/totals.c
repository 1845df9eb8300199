/* SPDX-License-Identifier: BSD-2-Clause */
#include "app.h"

static void each_of(const struct xmb_counter_desc *descs, int cnt,
		    const uint64_t *values, enum xmb_counter_kind kind,
		    const char *where, counter_fn *fn, void *arg)
{
	for (int i = 0; i < cnt; i++)
		if (descs[i].kind == kind && values[i])
			fn(arg, where, descs[i].name, values[i],
			   descs[i].meaning);
}

void each_counter(const struct xmb_engine_report *report,
		  enum xmb_counter_kind kind, counter_fn *fn, void *arg)
{
	for (uint32_t p = 0; p < report->port_cnt; p++) {
		const struct xmb_port_report *port = &report->ports[p];

		each_of(xmb_xsk_counter_descs, XMB_XSK_COUNTER_CNT, port->xsk,
			kind, port->nic.name, fn, arg);
		each_of(xmb_prog_counter_descs, XMB_PROG_COUNTER_CNT,
			port->prog, kind, port->nic.name, fn, arg);
	}
	each_of(xmb_worker_counter_descs, XMB_WORKER_COUNTER_CNT,
		report->workers, kind, "handler", fn, arg);
}

uint64_t port_sent(const struct xmb_port_report *port)
{
	return port->xsk[XMB_XSK_TX_PACKETS] -
	       port->xsk[XMB_XSK_TX_KERNEL_DROP] - port->xsk[XMB_XSK_TX_UNSENT];
}

/* What came to the sockets of a port: counted by our program, if it is ours. */
static uint64_t port_in(const struct xmb_port_report *port)
{
	static const enum xmb_xsk_counter lost[] = {
		XMB_XSK_RX_NO_SPILL, XMB_XSK_RX_BROKEN,	   XMB_XSK_RX_UNREAD,
		XMB_XSK_RX_DROPPED,  XMB_XSK_RX_RING_FULL,
	};
	uint64_t in = port->xsk[XMB_XSK_RX_PACKETS];

	if (port->has_prog)
		return port->prog[XMB_PROG_MATCHED];
	for (size_t i = 0; i < sizeof(lost) / sizeof(*lost); i++)
		in += port->xsk[lost[i]];
	return in;
}

static void add_value(void *arg, const char *where, const char *name,
		      uint64_t value, const char *meaning)
{
	(void)where;
	(void)name;
	(void)meaning;
	*(uint64_t *)arg += value;
}

void totals_make(struct totals *totals, const struct xmb_engine_report *report)
{
	*totals = (struct totals){ 0 };
	for (uint32_t p = 0; p < report->port_cnt; p++) {
		totals->in += port_in(&report->ports[p]);
		totals->out += port_sent(&report->ports[p]);
	}
	each_counter(report, XMB_COUNTER_DROP, add_value, &totals->dropped);
	totals->kept = (int64_t)(report->workers[XMB_WORKER_KEPT] -
				 report->workers[XMB_WORKER_GIVEN]);
	totals->unnamed =
		(int64_t)(totals->in - totals->out - totals->dropped) -
		totals->kept;
}

double view_rate(const struct view *view,
		 const struct xmb_engine_report *report, uint64_t now,
		 uint64_t last)
{
	uint64_t ns = report->uptime_ns - view->last.uptime_ns;

	return ns ? (double)(now - last) * 1e9 / (double)ns : 0;
}

const char *bind_name(const struct xmb_port_report *port)
{
	return port->is_zc ? "zero-copy" : "copy";
}

const char *defer_name(const struct xmb_port_report *port)
{
	static const char *const names[] = {
		[XMB_PORT_DEFER_NETLINK] = "netlink",
		[XMB_PORT_DEFER_SYSFS] = "sysfs",
	};

	return names[port->busy.defer];
}

const char *way_name(const struct xmb_port_report *port)
{
	return port->way == XMB_PROG_BY_ANY ? "none"
					    : xmb_prog_way_name(port->way);
}
