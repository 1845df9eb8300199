/* SPDX-License-Identifier: BSD-2-Clause */
#ifndef XMBUF_NIC_WATCH_H
#define XMBUF_NIC_WATCH_H

#include "base/base.h"

#include <net/if.h>

/*
 * watch: what becomes of the devices of a network namespace.
 *
 * poll() on an AF_XDP socket hides that its link went down or that its device
 * was deleted; rtnetlink tells.  A watch reports every device of the namespace
 * in which it was opened: the reader picks out the ifindex it cares for.
 *
 *      kernel --RTM_NEWLINK--> CHANGED  made, up, down, carrier, mtu, name
 *             --RTM_DELLINK--> GONE     deleted, or moved to another namespace
 *
 * Ownership  The event belongs to the watch and is valid during the callback.
 * Threads    One thread at a time per watch, which may sit in any namespace.
 * Errors     0 or a negative errno, with words in the log.
 * Kernel     6.1; no privilege.
 */

struct xmb_nic_watch;

enum xmb_nic_event_kind {
	XMB_NIC_CHANGED, /* is as the event says, perhaps as it was before */
	XMB_NIC_GONE,	 /* is no longer in this namespace */
};

struct xmb_nic_event {
	enum xmb_nic_event_kind kind;
	int ifindex;
	bool up;      /* as in struct xmb_nic_info; false when gone */
	bool running; /* likewise */
	uint32_t mtu;
	char name[IFNAMSIZ];
};

/* May not read from or close the watch that calls it. */
typedef void xmb_nic_watch_fn(void *arg, const struct xmb_nic_event *event);

/*
 * Watch the namespace that the calling thread is in, from now on: query after
 * opening, not before, and no change is missed.
 * -ENOMEM, or as socket() and bind() fail.
 */
XMB_API int xmb_nic_watch_open(struct xmb_nic_watch **watch);

/* Close the watch; NULL is allowed. */
XMB_API void xmb_nic_watch_close(struct xmb_nic_watch *watch);

/* The descriptor to wait on: POLLIN means that a read has something to do. */
XMB_API int xmb_nic_watch_fd(const struct xmb_nic_watch *watch);

/*
 * Hand every event that is there to fn, without blocking; 0: all were read.
 * -ENOBUFS: events were lost because they came faster than they were read.
 *	Those that were there have been handed over.  The kernel has been asked
 *	to list its devices, which come as XMB_NIC_CHANGED at the next reads;
 *	only a query tells whether a device that is not listed has gone.
 */
XMB_API int xmb_nic_watch_read(struct xmb_nic_watch *watch,
			       xmb_nic_watch_fn *fn, void *arg);

#endif /* XMBUF_NIC_WATCH_H */
