/* SPDX-License-Identifier: BSD-2-Clause */
#ifndef XMBUF_TESTS_VETH_NIC_LAB_H
#define XMBUF_TESTS_VETH_NIC_LAB_H

#include "base/log.h"
#include "nic/nic.h"

#include <criterion/criterion.h>
#include <criterion/new/assert.h>
#include <errno.h>
#include <sched.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/*
 * nic_lab: a veth pair for the tests of lib/nic.
 *
 * Each test is a process in a network namespace of its own, which goes with it:
 *
 *      xv0 (4 rx, 2 tx queues) ---- xv1 (2 rx, 4 tx queues)
 */

static char said[1024];
static int xv0; /* ifindex */

static inline void keep(void *arg, enum xmb_log_level level, const char *text)
{
	(void)arg;
	(void)level;
	snprintf(said, sizeof(said), "%s", text);
}

static inline bool has_said(const char *text)
{
	return strstr(said, text) != NULL;
}

static inline void sh(const char *fmt, ...)
	__attribute__((format(printf, 1, 2)));

static inline void sh(const char *fmt, ...)
{
	char cmd[256];
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(cmd, sizeof(cmd), fmt, ap);
	va_end(ap);
	cr_assert(eq(int, system(cmd), 0), "%s", cmd);
}

static inline void lab_setup(void)
{
	if (unshare(CLONE_NEWNET))
		cr_skip("a network namespace needs root: %s", strerror(errno));
	xmb_log_set(keep, NULL);
	/* No packet passes but those that a test sends. */
	sh("echo 1 > /proc/sys/net/ipv6/conf/default/disable_ipv6");
	sh("ip link add xv0 address 02:00:00:00:00:01 numrxqueues 4 "
	   "numtxqueues 2 type veth peer name xv1 numrxqueues 2 "
	   "numtxqueues 4");
	xv0 = (int)if_nametoindex("xv0");
	cr_assert(gt(int, xv0, 0));
}

static inline struct xmb_nic_info query(const char *dev)
{
	struct xmb_nic_info info;

	cr_assert(eq(int, xmb_nic_query(dev, &info), 0), "%s", said);
	return info;
}

#endif /* XMBUF_TESTS_VETH_NIC_LAB_H */
