/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * lib/port, busy polling: interrupts are deferred as asked, reported as the
 * kernel has them, put back as they were found; by netlink, or by sysfs.
 */
#include "port_lab.h"

#include "base/clock.h"
#include "port/port_priv.h"

#include <sched.h>
#include <stdio.h>
#include <sys/mount.h>

TestSuite(port_busy, .init = port_lab_setup, .timeout = 300);

static void needs_netlink(void)
{
	if (xmb_nic_napi_list((int)if_nametoindex("left"), NULL, 0) ==
	    -EOPNOTSUPP)
		cr_skip_test("NAPIs cannot be set before Linux 6.13");
}

static uint32_t deferred_cnt(void)
{
	struct xmb_nic_napi napis[8];
	int cnt = xmb_nic_napi_list((int)if_nametoindex("left"), napis, 8);
	uint32_t deferred = 0;

	for (int i = 0; i < cnt; i++)
		deferred += napis[i].defer_hard_irqs == 2 &&
			    napis[i].gro_flush_ns == 200000;
	return deferred;
}

static void expect_like(const struct xmb_nic_napi *a,
			const struct xmb_nic_napi *b)
{
	cr_expect(eq(u32, a->defer_hard_irqs, b->defer_hard_irqs));
	cr_expect(eq(u64, a->gro_flush_ns, b->gro_flush_ns));
	cr_expect(eq(u64, a->irq_suspend_ns, b->irq_suspend_ns));
}

/* All of left's NAPIs. */
static void list_napis(struct xmb_nic_napi napis[4])
{
	cr_assert(eq(int,
		     xmb_nic_napi_list((int)if_nametoindex("left"), napis, 4),
		     4));
}

Test(port_busy, busy_polling_defers_interrupts_until_it_closes)
{
	struct xmb_port_opts opts = { .dev = "left",
				      .busy_poll_us = 30,
				      .busy_poll_budget = 16 };
	struct xmb_port_busy busy;
	struct xmb_port *port;

	/* With GRO its NAPIs outlive the XDP program. */
	must("ethtool -K left gro on");
	needs_netlink();
	cr_expect(eq(u32, deferred_cnt(), 0));
	port = open_port(&opts);
	cr_expect(eq(u32, deferred_cnt(), 4));
	busy = xmb_port_busy(port);
	cr_expect(eq(u32, busy.xsk.us, 30));
	cr_expect(eq(u32, busy.xsk.budget, 16));
	cr_expect(busy.xsk.is_preferred);
	cr_expect(eq(u32, busy.napi_cnt, 4));
	expect_like(&busy.napi, &(struct xmb_nic_napi){ 0, 2, 200000, 0 });
	expect_said(XMB_LOG_INFO, "interrupts of 4 NAPIs deferred");
	close_port(port);
	cr_expect(eq(u32, deferred_cnt(), 0));
}

Test(port_busy, interrupts_are_deferred_as_asked_and_put_back_as_found)
{
	const struct xmb_nic_napi want = { 0, 5, 300000, 20 * XMB_NS_PER_MS };
	struct xmb_port_opts opts = { .dev = "left",
				      .busy_poll_us = 30,
				      .napi_defer_hard_irqs = 5,
				      .gro_flush_timeout_us = 300,
				      .irq_suspend_timeout_ms = 20 };
	struct xmb_nic_napi was[4], now[4];
	struct xmb_port_busy busy;
	struct xmb_port *port;

	must("ethtool -K left gro on");
	needs_netlink();
	list_napis(was);
	was[1] = (struct xmb_nic_napi){ was[1].id, 7, 70000, XMB_NS_PER_MS };
	cr_assert(eq(int, xmb_nic_napi_set(&was[1]), 0));
	port = open_port(&opts);
	list_napis(now);
	for (int i = 0; i < 4; i++)
		expect_like(&now[i], &want);
	busy = xmb_port_busy(port);
	cr_expect(eq(int, busy.defer, XMB_PORT_DEFER_NETLINK));
	cr_expect(eq(u32, busy.napi_cnt, 4));
	cr_expect(eq(u32, busy.napi.id, now[0].id));
	expect_like(&busy.napi, &want);
	expect_said(XMB_LOG_INFO, "5 turns, timer after 300 us; put back");
	expect_said(XMB_LOG_INFO, "for 20 ms is set; our threads wait by "
				  "poll(), for which the kernel suspends "
				  "nothing");
	close_port(port);
	list_napis(now);
	for (int i = 0; i < 4; i++)
		expect_like(&now[i], &was[i]);
}

Test(port_busy, turns_that_the_kernel_does_not_take_are_said_and_none_is_set)
{
	struct xmb_port_opts opts = { .dev = "left",
				      .busy_poll_us = 30,
				      .napi_defer_hard_irqs = 1u << 31 };
	struct xmb_nic_napi was[4], now[4];
	struct xmb_port *port;

	must("ethtool -K left gro on");
	needs_netlink();
	list_napis(was);
	port = open_port(&opts);
	expect_said(XMB_LOG_WARN, "interrupts are not deferred (Numerical");
	cr_expect(eq(int, xmb_port_busy(port).defer, XMB_PORT_DEFER_NONE));
	list_napis(now);
	for (int i = 0; i < 4; i++)
		expect_like(&now[i], &was[i]);
	close_port(port);
}

/* A /sys of this network namespace, and what left has there. */
static void own_sysfs(void)
{
	cr_assert(eq(int, unshare(CLONE_NEWNS), 0));
	cr_assert(eq(int, mount("none", "/", NULL, MS_REC | MS_PRIVATE, NULL),
		     0));
	cr_assert(eq(int, mount("none", "/sys", "sysfs", 0, NULL), 0));
	must("echo 3 >/sys/class/net/left/napi_defer_hard_irqs && "
	     "echo 5000 >/sys/class/net/left/gro_flush_timeout");
}

static void expect_in_sysfs(const char *dev, uint32_t turns, uint32_t ns)
{
	char command[LINE_LEN];

	snprintf(command, sizeof(command),
		 "cd /sys/class/net/%s && test \"$(cat napi_defer_hard_irqs "
		 "gro_flush_timeout)\" = \"$(printf '%u\\n%u')\"",
		 dev, turns, ns);
	must(command);
}

Test(port_busy, where_netlink_does_not_sysfs_defers_all_of_a_device)
{
	const struct xmb_nic_napi want = { 0, 5, 300000, 0 };
	struct xmb_nic_info nic = left_now();
	struct port_busy busy = { 0 };
	int fd;

	own_sysfs();
	fd = dup(0);
	cr_assert(eq(int, close(fd), 0));
	cr_assert(eq(int, port_busy_by_sysfs(&busy, &nic, &want), 0));
	cr_expect(eq(int, busy.way, XMB_PORT_DEFER_SYSFS));
	expect_like(&busy.got, &want);
	expect_in_sysfs("left", 5, 300000);
	/* Another name is no other device. */
	must("ip link set left down && ip link set left name other");
	port_busy_put_back(&busy, "left");
	expect_in_sysfs("other", 3, 5000);
	cr_expect(eq(int, dup(0), fd));
	cr_expect(eq(int, said_cnt(XMB_LOG_WARN), 0));
}

Test(port_busy, sysfs_that_is_not_of_the_device_or_refuses_is_left_as_it_was)
{
	struct xmb_nic_napi want = { 0, 5, 300000, 0 };
	struct xmb_nic_info nic = left_now();
	struct port_busy busy = { 0 };
	int fd = dup(0);

	cr_assert(eq(int, close(fd), 0));
	cr_expect(eq(int, port_busy_by_sysfs(&busy, &nic, &want), -EOPNOTSUPP),
		  "the /sys of another namespace");
	own_sysfs();
	nic.ifindex++;
	cr_expect(eq(int, port_busy_by_sysfs(&busy, &nic, &want), -EOPNOTSUPP));
	nic = left_now();
	nic.mac[5] ^= 1;
	cr_expect(eq(int, port_busy_by_sysfs(&busy, &nic, &want), -EOPNOTSUPP));
	nic = left_now();
	want.gro_flush_ns = UINT64_MAX;
	want.defer_hard_irqs = UINT32_MAX;
	cr_expect(lt(int, port_busy_by_sysfs(&busy, &nic, &want), 0));
	expect_in_sysfs("left", 3, 5000);
	cr_expect(not(busy.is_set));
	cr_expect(eq(int, dup(0), fd));
}

/* As a process that was killed leaves them. */
static void leave_deferred(void)
{
	struct xmb_port_opts opts = { .dev = "left", .busy_poll_us = 30 };
	struct xmb_nic_napi napis[8];
	struct xmb_port *port = open_port(&opts);
	int cnt = xmb_nic_napi_list((int)if_nametoindex("left"), napis, 8);

	cr_assert(eq(int, cnt, 4));
	expect_said(XMB_LOG_INFO, "put back at exit; not by SIGKILL: then "
				  "`echo 0 | tee ");
	close_port(port);
	for (int i = 0; i < cnt; i++)
		cr_assert(eq(int, xmb_nic_napi_set(&napis[i]), 0));
	forget_said();
}

Test(port_busy, interrupts_that_are_found_deferred_are_told_of_and_left_alone)
{
	struct xmb_port_opts opts = { .dev = "left" };
	struct xmb_nic_napi napi;

	must("ethtool -K left gro on");
	needs_netlink();
	leave_deferred();
	for (uint32_t us = 0; us <= 30; us += 30) {
		opts.busy_poll_us = us;
		close_port(open_port(&opts));
		expect_said(XMB_LOG_INFO,
			    "interrupts of 4 NAPIs are deferred, as for busy "
			    "polling, and stay so; if a process that was "
			    "killed left them so: `echo 0 | tee "
			    "/sys/class/net/left/napi_defer_hard_irqs "
			    "/sys/class/net/left/gro_flush_timeout`");
		cr_expect(eq(u32, deferred_cnt(), 4));
		forget_said();
	}
	/* Of what somebody else wanted so nothing is said. */
	cr_assert(eq(int,
		     xmb_nic_napi_list((int)if_nametoindex("left"), &napi, 1),
		     4));
	napi.gro_flush_ns++;
	cr_assert(eq(int, xmb_nic_napi_set(&napi), 0));
	close_port(open_port(&(struct xmb_port_opts){ .dev = "left" }));
	expect_said(XMB_LOG_INFO, "interrupts of 3 NAPIs are deferred");
	lab_finish();
}

Test(port_busy, without_busy_polling_interrupts_are_left_alone)
{
	struct xmb_port_opts opts = { .dev = "left" };
	struct xmb_port *port;

	must("ethtool -K left gro on");
	port = open_port(&opts);
	cr_expect(eq(u32, deferred_cnt(), 0));
	cr_expect(eq(u32, xmb_port_busy(port).xsk.us, 0));
	cr_expect(eq(u32, xmb_port_busy(port).napi_cnt, 0));
	cr_expect(eq(ptr, (void *)said(XMB_LOG_INFO, "deferred"), NULL));
	close_port(port);
}

Test(port_busy, a_device_without_a_napi_has_nothing_to_poll_and_says_so)
{
	struct xmb_port_opts opts = { .dev = "left",
				      .xdp = XMB_PROG_GENERIC,
				      .busy_poll_us = 30 };
	struct xmb_port *port;

	must("ethtool -K left gro off");
	port = open_port(&opts);
	expect_said(XMB_LOG_WARN, "no NAPI to poll: it has no effect");
	cr_expect(eq(u32, xmb_port_busy(port).known_cnt, 0));
	close_port(port);
}
