/* SPDX-License-Identifier: BSD-2-Clause */
#include "port/port_priv.h"

#include "base/clock.h"
#include "base/log.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

/*
 * What the kernel's documentation of busy polling names: two empty turns, then
 * a timer instead of the interrupt, so that a program that stops polling loses
 * a fraction of a millisecond and no packet.
 */
enum { DEFER_TURNS = 2, FLUSH_US = 200, NS_PER_US = 1000, WHOSE_LEN = 32 };

/* Written there it is set for all NAPIs of the device, at once. */
#define UNDO                                                                   \
	"`echo 0 | tee /sys/class/net/%s/napi_defer_hard_irqs "                \
	"/sys/class/net/%s/gro_flush_timeout` (with the /sys of its network "  \
	"namespace)"

static struct xmb_nic_napi wanted(const struct xmb_port_opts *opts)
{
	return (struct xmb_nic_napi){
		.defer_hard_irqs =
			xmb_or_u32(opts->napi_defer_hard_irqs, DEFER_TURNS),
		.gro_flush_ns =
			xmb_or_u32(opts->gro_flush_timeout_us, FLUSH_US) *
			(uint64_t)NS_PER_US,
		.irq_suspend_ns = opts->irq_suspend_timeout_ms * XMB_NS_PER_MS,
	};
}

static bool is_like(const struct xmb_nic_napi *a, const struct xmb_nic_napi *b)
{
	return a->defer_hard_irqs == b->defer_hard_irqs &&
	       a->gro_flush_ns == b->gro_flush_ns &&
	       a->irq_suspend_ns == b->irq_suspend_ns;
}

static void say_refused(const struct xmb_nic_info *nic, int err)
{
	xmb_log(XMB_LOG_WARN,
		"%s: interrupts are not deferred (%s): busy polling competes "
		"with them%s",
		nic->name, strerror(-err),
		err == -EOPNOTSUPP
			? ": before Linux 6.13 set napi_defer_hard_irqs and "
			  "gro_flush_timeout in /sys/class/net by hand (with "
			  "the /sys of its network namespace)"
			: "");
}

static void say_unread(const struct xmb_nic_info *nic, int err)
{
	xmb_log(XMB_LOG_WARN,
		"%s: interrupts were deferred, but it cannot be read back for "
		"how long (%s): it is reported as 0",
		nic->name, strerror(-err));
}

/* Whose interrupts: sysfs does not tell how many there are. */
static const char *whose(char text[WHOSE_LEN], uint32_t cnt, bool is_sysfs)
{
	if (is_sysfs)
		return "all its NAPIs";
	snprintf(text, WHOSE_LEN, "%u NAPIs", cnt);
	return text;
}

static void say_set(const struct port_busy *busy,
		    const struct xmb_nic_info *nic,
		    const struct xmb_nic_napi *want)
{
	bool is_sysfs = busy->way == XMB_PORT_DEFER_SYSFS;
	char text[WHOSE_LEN];

	xmb_log(XMB_LOG_INFO,
		"%s: busy polling: interrupts of %s deferred (by %s) for %u "
		"turns, timer after %u us; put back at exit; not by SIGKILL: "
		"then " UNDO,
		nic->name, whose(text, busy->cnt, is_sysfs),
		is_sysfs ? "sysfs" : "netlink", want->defer_hard_irqs,
		(uint32_t)(want->gro_flush_ns / NS_PER_US), nic->name,
		nic->name);
	if (want->irq_suspend_ns && is_sysfs)
		xmb_log(XMB_LOG_WARN,
			"%s: interrupts cannot be suspended: it takes Linux "
			"6.13; deferred they are",
			nic->name);
	else if (want->irq_suspend_ns)
		xmb_log(XMB_LOG_INFO,
			"%s: suspension of interrupts for %u ms is set; our "
			"threads wait by poll(), for which the kernel suspends "
			"nothing: only epoll_wait() that polls busily gains",
			nic->name,
			(uint32_t)(want->irq_suspend_ns / XMB_NS_PER_MS));
}

/* What the kernel has of it; a NAPI may have gone meanwhile. */
static void read_back(struct port_busy *busy, const struct xmb_nic_info *nic,
		      const struct xmb_nic_napi *want)
{
	struct xmb_nic_napi now[PORT_NAPI_MAX];
	int cnt = xmb_nic_napi_list(nic->ifindex, now, PORT_NAPI_MAX);

	busy->way = XMB_PORT_DEFER_NETLINK;
	if (cnt < 0)
		say_unread(nic, cnt);
	if (cnt > 0)
		busy->got = now[0];
	for (int i = 0; i < cnt && i < PORT_NAPI_MAX; i++) {
		if (!is_like(&now[i], want))
			continue;
		if (busy->got_cnt++ == 0)
			busy->got = now[i];
	}
}

static int by_netlink(struct port_busy *busy, const struct xmb_nic_info *nic,
		      const struct xmb_nic_napi *want)
{
	int cnt = xmb_nic_napi_list(nic->ifindex, busy->was, PORT_NAPI_MAX);
	int err = 0;

	if (cnt < 0)
		return cnt;
	if (cnt == 0)
		xmb_log(XMB_LOG_WARN,
			"%s: busy polling was asked for, but the device has no "
			"NAPI to poll: it has no effect",
			nic->name);
	for (int i = 0; !err && i < cnt && i < PORT_NAPI_MAX; i++) {
		struct xmb_nic_napi napi = *want;

		napi.id = busy->was[i].id;
		err = xmb_nic_napi_set(&napi);
		busy->cnt += !err;
	}
	if (busy->cnt)
		read_back(busy, nic, want);
	return err;
}

int port_busy_by_sysfs(struct port_busy *busy, const struct xmb_nic_info *nic,
		       const struct xmb_nic_napi *want)
{
	struct port_sysfs *sysfs = &busy->sysfs;
	int err = port_sysfs_open(sysfs, nic, true);

	if (err)
		return err == -ENODEV ? -EOPNOTSUPP : err;
	err = port_sysfs_get(sysfs, &busy->was[0]);
	if (!err) {
		err = port_sysfs_set(sysfs, want);
		if (err)
			port_sysfs_set(sysfs, &busy->was[0]);
	}
	if (err) {
		port_sysfs_close(sysfs);
		return err;
	}
	busy->is_set = true;
	busy->way = XMB_PORT_DEFER_SYSFS;
	err = port_sysfs_get(sysfs, &busy->got);
	if (err)
		say_unread(nic, err);
	return 0;
}

void port_busy_set(struct port_busy *busy, const struct xmb_nic_info *nic,
		   const struct xmb_port_opts *opts)
{
	struct xmb_nic_napi want = wanted(opts);
	int err;

	*busy = (struct port_busy){ .is_set = true };
	err = by_netlink(busy, nic, &want);
	if (err == -EOPNOTSUPP)
		err = port_busy_by_sysfs(busy, nic, &want);
	if (err)
		say_refused(nic, err);
	else if (busy->way != XMB_PORT_DEFER_NONE)
		say_set(busy, nic, &want);
}

/* True where sysfs has it as we set it by default. */
static bool is_left_in_sysfs(const struct xmb_nic_info *nic,
			     const struct xmb_nic_napi *ours)
{
	struct xmb_nic_napi now;
	struct port_sysfs sysfs;
	int err;

	if (port_sysfs_open(&sysfs, nic, false))
		return false;
	err = port_sysfs_get(&sysfs, &now);
	port_sysfs_close(&sysfs);
	return !err && is_like(&now, ours);
}

void port_busy_tell(const struct xmb_nic_info *nic)
{
	struct xmb_nic_napi ours = wanted(&(struct xmb_port_opts){ 0 });
	struct xmb_nic_napi napis[PORT_NAPI_MAX];
	int cnt = xmb_nic_napi_list(nic->ifindex, napis, PORT_NAPI_MAX);
	bool is_sysfs = cnt == -EOPNOTSUPP && is_left_in_sysfs(nic, &ours);
	char text[WHOSE_LEN];
	uint32_t left = 0;

	for (int i = 0; i < cnt && i < PORT_NAPI_MAX; i++) {
		/* Alone it keeps nobody from anything, and `echo` leaves it. */
		napis[i].irq_suspend_ns = 0;
		left += is_like(&napis[i], &ours);
	}
	if (left || is_sysfs)
		xmb_log(XMB_LOG_INFO,
			"%s: interrupts of %s are deferred, as for busy "
			"polling, and stay so; if a process that was killed "
			"left them so: " UNDO,
			nic->name, whose(text, left, is_sysfs), nic->name,
			nic->name);
}

static void sysfs_put_back(struct port_busy *busy, const char *dev)
{
	int err = port_sysfs_set(&busy->sysfs, &busy->was[0]);

	port_sysfs_close(&busy->sysfs);
	if (err && err != -ENODEV)
		xmb_log(XMB_LOG_WARN,
			"%s: interrupts of all its NAPIs stay deferred: "
			"%s: " UNDO,
			dev, strerror(-err), dev, dev);
}

void port_busy_put_back(struct port_busy *busy, const char *dev)
{
	if (busy->is_set && busy->way == XMB_PORT_DEFER_SYSFS)
		sysfs_put_back(busy, dev);
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
