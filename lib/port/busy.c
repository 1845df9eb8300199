/* SPDX-License-Identifier: BSD-2-Clause */
#include "port/port_priv.h"

#include "base/log.h"

#include <errno.h>
#include <string.h>

/*
 * What the kernel's documentation of busy polling names: two empty turns, then
 * a timer instead of the interrupt, so that a program that stops polling loses
 * a fraction of a millisecond and no packet.
 */
enum { DEFER_TURNS = 2, FLUSH_NS = 200000 };

/* Written there it is set for all NAPIs of the device, at once. */
#define UNDO                                                                   \
	"`echo 0 | tee /sys/class/net/%s/napi_defer_hard_irqs "                \
	"/sys/class/net/%s/gro_flush_timeout` (with the /sys of its network "  \
	"namespace)"

static void say_refused(const struct xmb_nic_info *nic, int err)
{
	xmb_log(XMB_LOG_WARN,
		"%s: interrupts are not deferred (%s): busy polling competes "
		"with them%s",
		nic->name, strerror(-err),
		err == -EOPNOTSUPP
			? ": before Linux 6.13 set napi_defer_hard_irqs and "
			  "gro_flush_timeout in /sys/class/net by hand"
			: "");
}

void port_busy_set(struct port_busy *busy, const struct xmb_nic_info *nic)
{
	int cnt = xmb_nic_napi_list(nic->ifindex, busy->was, PORT_NAPI_MAX);

	busy->cnt = 0;
	busy->is_set = true;
	if (cnt < 0) {
		say_refused(nic, cnt);
		return;
	}
	if (cnt == 0)
		xmb_log(XMB_LOG_WARN,
			"%s: busy polling was asked for, but the device has no "
			"NAPI to poll: it has no effect",
			nic->name);
	for (; (int)busy->cnt < cnt && busy->cnt < PORT_NAPI_MAX; busy->cnt++) {
		struct xmb_nic_napi napi = busy->was[busy->cnt];
		int err;

		napi.defer_hard_irqs = DEFER_TURNS;
		napi.gro_flush_ns = FLUSH_NS;
		err = xmb_nic_napi_set(&napi);
		if (err) {
			say_refused(nic, err);
			return;
		}
	}
	if (cnt)
		xmb_log(XMB_LOG_INFO,
			"%s: busy polling: interrupts of %u NAPIs deferred for "
			"%d turns, timer after %d us; put back at exit; not by "
			"SIGKILL: then " UNDO,
			nic->name, busy->cnt, DEFER_TURNS, FLUSH_NS / 1000,
			nic->name, nic->name);
}

void port_busy_tell(const struct xmb_nic_info *nic)
{
	struct xmb_nic_napi napis[PORT_NAPI_MAX];
	int cnt = xmb_nic_napi_list(nic->ifindex, napis, PORT_NAPI_MAX);
	uint32_t left = 0;

	for (int i = 0; i < cnt && i < PORT_NAPI_MAX; i++)
		left += napis[i].defer_hard_irqs == DEFER_TURNS &&
			napis[i].gro_flush_ns == FLUSH_NS;
	if (left)
		xmb_log(XMB_LOG_INFO,
			"%s: interrupts of %u NAPIs are deferred, as for busy "
			"polling, and stay so; if a process that was killed "
			"left them so: " UNDO,
			nic->name, left, nic->name, nic->name);
}

void port_busy_put_back(struct port_busy *busy, const char *dev)
{
	for (uint32_t i = 0; i < busy->cnt && busy->is_set; i++) {
		int err = xmb_nic_napi_set(&busy->was[i]);

		/* Gone with the XDP program, or with the device. */
		if (err && err != -ENOENT && err != -ENODEV)
			xmb_log(XMB_LOG_WARN,
				"%s: interrupts of NAPI %u stay deferred: %s",
				dev, busy->was[i].id, strerror(-err));
	}
	busy->is_set = false;
}
