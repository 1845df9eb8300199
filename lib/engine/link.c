/* SPDX-License-Identifier: BSD-2-Clause */
#include "engine/engine_priv.h"

#include "base/log.h"

#include <errno.h>

/* What becomes of the devices while the engine runs. */

static void port_gone(struct xmb_engine *engine, const char *dev)
{
	xmb_log(XMB_LOG_ERROR,
		"%s was deleted or moved to another namespace: ending", dev);
	xmb_loop_stop(engine->loop, -ENODEV);
}

/*
 * By netlink the kernel tells when somebody takes a program off, of a link not.
 * A device that goes loses its program too, before or after the first look.
 */
void xmb_engine_check_programs(struct xmb_engine *engine)
{
	for (uint32_t p = 0; p < engine->opts.port_cnt; p++) {
		const struct xmb_nic_info *nic = xmb_port_nic(engine->ports[p]);
		int err = 0;

		if (!xmb_nic_is_gone(nic->ifindex))
			err = xmb_port_check(engine->ports[p]);
		if (err == -ENODEV)
			port_gone(engine, nic->name);
		else if (err)
			xmb_loop_stop(engine->loop, err);
	}
}

static void port_link(struct xmb_engine *engine, uint32_t p, bool up,
		      bool running)
{
	const char *dev = xmb_port_nic(engine->ports[p])->name;

	if (running != engine->is_running[p])
		xmb_log(XMB_LOG_WARN,
			running ? "%s: the link is up again"
			: up	? "%s: the link has no carrier: what "
				  "is sent there is dropped until it "
				  "comes back"
				: "%s: the link is down: what is sent "
				  "there waits or is dropped until it "
				  "comes back",
			dev);
	/* What waited for it goes at once, and not at the next look. */
	if (running && !engine->is_running[p]) {
		atomic_fetch_add(&engine->link_ups[p], 1);
		for (uint32_t t = 0; t < engine->io_cnt; t++)
			xmb_worker_wake(&engine->workers[t]);
	}
	engine->is_up[p] = up;
	engine->is_running[p] = running;
}

static void on_nic(void *arg, const struct xmb_nic_event *event)
{
	struct xmb_engine *engine = arg;

	for (uint32_t p = 0; p < engine->opts.port_cnt; p++) {
		const struct xmb_nic_info *nic = xmb_port_nic(engine->ports[p]);

		if (nic->ifindex != event->ifindex)
			continue;
		if (event->kind == XMB_NIC_GONE)
			port_gone(engine, nic->name);
		else
			port_link(engine, p, event->up, event->running);
		if (event->kind == XMB_NIC_CHANGED && event->mtu != nic->mtu)
			xmb_log(XMB_LOG_WARN,
				"%s: the MTU is %u now and was %u at start: "
				"start again to use it",
				nic->name, event->mtu, nic->mtu);
	}
}

/* Events were lost, or none could be seen yet: ask for the state itself. */
void xmb_engine_look_at_ports(struct xmb_engine *engine)
{
	for (uint32_t p = 0; p < engine->opts.port_cnt; p++) {
		const struct xmb_nic_info *nic = xmb_port_nic(engine->ports[p]);
		struct xmb_nic_info now;
		char name[IF_NAMESIZE]; /* it may have been renamed */

		if (xmb_nic_is_gone(nic->ifindex))
			port_gone(engine, nic->name);
		else if (if_indextoname((unsigned int)nic->ifindex, name) &&
			 xmb_nic_query(name, &now) == 0)
			port_link(engine, p, now.up, now.running);
	}
}

void xmb_engine_on_watch(void *arg, int res)
{
	struct xmb_engine *engine = arg;

	if (res < 0 || xmb_nic_watch_read(engine->watch, on_nic, engine))
		xmb_engine_look_at_ports(engine);
	xmb_engine_check_programs(engine);
}
