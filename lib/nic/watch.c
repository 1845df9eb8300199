/* SPDX-License-Identifier: BSD-2-Clause */
#include "nic/watch.h"

#include "base/log.h"
#include "nic/nic_priv.h"

#include <errno.h>
#include <linux/rtnetlink.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

/*
 * Datagrams taken in one read.  Beyond it the rest counts as lost, so that
 * somebody who flaps a thousand links cannot hold the caller for ever.
 */
enum { READ_MAX = 4096 };

struct xmb_nic_watch {
	struct xmb_nl nl;
};

static int open_links(struct xmb_nl *nl)
{
	int group = RTNLGRP_LINK, err;

	err = xmb_nl_open(nl, NETLINK_ROUTE, SOCK_NONBLOCK);
	if (err)
		return err;
	if (mnl_socket_setsockopt(nl->sock, NETLINK_ADD_MEMBERSHIP, &group,
				  sizeof(group)) < 0) {
		err = -errno;
		xmb_nl_close(nl);
	}
	return err;
}

int xmb_nic_watch_open(struct xmb_nic_watch **watch)
{
	struct xmb_nic_watch *w = malloc(sizeof(*w));
	int err = w ? open_links(&w->nl) : -ENOMEM;

	if (err) {
		xmb_log(XMB_LOG_ERROR,
			"asked rtnetlink for link events, got: %s; %s",
			strerror(-err), xmb_nic_advice(err));
		free(w);
		return err;
	}
	*watch = w;
	return 0;
}

void xmb_nic_watch_close(struct xmb_nic_watch *watch)
{
	if (!watch)
		return;
	xmb_nl_close(&watch->nl);
	free(watch);
}

int xmb_nic_watch_fd(const struct xmb_nic_watch *watch)
{
	return mnl_socket_get_fd(watch->nl.sock);
}

static void report(const struct nlmsghdr *nlh, xmb_nic_watch_fn *fn, void *arg)
{
	struct xmb_nic_event event = { 0 };
	struct xmb_link link;

	/* Also skips the end of a list and the error of one cut short. */
	if (xmb_link_parse(nlh, &link))
		return;
	event.kind =
		nlh->nlmsg_type == RTM_DELLINK ? XMB_NIC_GONE : XMB_NIC_CHANGED;
	event.ifindex = link.ifindex;
	event.up = event.kind == XMB_NIC_CHANGED && link.up;
	event.running = event.kind == XMB_NIC_CHANGED && link.running;
	event.mtu = link.mtu;
	if (link.name)
		snprintf(event.name, sizeof(event.name), "%s", link.name);
	fn(arg, &event);
}

/* The list arrives as new data: whoever waits on the descriptor is woken. */
static void ask_for_list(struct xmb_nl *nl)
{
	struct nlmsghdr *nlh = xmb_nl_request(nl, RTM_GETLINK);

	nlh->nlmsg_flags = NLM_F_REQUEST | NLM_F_DUMP;
	mnl_nlmsg_put_extra_header(nlh, sizeof(struct ifinfomsg));
	/* -EBUSY: a list is under way already, which serves as well. */
	if (mnl_socket_sendto(nl->sock, nlh, nlh->nlmsg_len) < 0)
		xmb_log(XMB_LOG_WARN,
			"link events were lost and rtnetlink will not list "
			"the links: %s",
			strerror(errno));
}

int xmb_nic_watch_read(struct xmb_nic_watch *watch, xmb_nic_watch_fn *fn,
		       void *arg)
{
	struct xmb_nl *nl = &watch->nl;
	bool is_empty = false;
	int err = 0;

	for (int i = 0; i < READ_MAX; i++) {
		ssize_t n = mnl_socket_recvfrom(nl->sock, nl->buf, XMB_NL_LEN);
		const struct nlmsghdr *nlh = (struct nlmsghdr *)nl->buf;
		int len = (int)n;

		if (n < 0 && (errno == ENOBUFS || errno == ENOSPC)) {
			err = -ENOBUFS;
			continue;
		}
		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0) {
			is_empty = true;
			err = errno == EAGAIN ? err : -errno;
			break;
		}
		for (; mnl_nlmsg_ok(nlh, len); nlh = mnl_nlmsg_next(nlh, &len))
			report(nlh, fn, arg);
	}
	if (!is_empty)
		err = -ENOBUFS;
	if (err == -ENOBUFS)
		ask_for_list(nl);
	return err;
}
