/* SPDX-License-Identifier: BSD-2-Clause */
#ifndef XMBUF_PORT_PORT_H
#define XMBUF_PORT_PORT_H

#include "base/base.h"
#include "nic/nic.h"
#include "prog/match.h"
#include "prog/prog.h"
#include "umem/umem.h"
#include "xsk/xsk.h"

/*
 * port: one device as one thing: its settings, its XDP program, a socket on
 * each of its queues.
 *
 *      create()  ask what the device has; change nothing
 *      open()    settings -> program -> sockets -> steer; all or nothing
 *      commit()  final: until now, closing leaves what was there before
 *      detach()  program off: no further packet arrives, sockets go on sending
 *      close()   sockets closed, settings put back
 *      settle()  frames that the kernel had are free again
 *
 * What would falsify traffic is dealt with at open, and said: VLAN stripping
 * is switched off (a stripped tag is lost to XDP), promiscuous mode on (a
 * forwarder takes frames for others), GRO, LRO and segmentation are reported
 * where they reach us (generic XDP), and partial checksums are expected where
 * the driver hands them on (xmb_port_has_partial_csum).  Interrupts are
 * deferred where busy polling was asked for: by netlink, before Linux 6.13 in
 * /sys/class/net, where that is mounted for the device's network namespace.
 *
 * Sockets are numbered 0..queue_cnt-1, those that can send first: a queue
 * that the device has only for receiving sends nothing, silently.
 *
 * Ownership  The port owns program, sockets and settings.
 * Threads    Control calls on one thread.  Sockets as in xsk.h.
 * Errors     0 or negative errno, each with a logged sentence.
 * Kernel     CAP_NET_ADMIN, CAP_NET_RAW and CAP_BPF.
 */

#define XMB_PORT_QUEUE_MAX 64u

struct xmb_port_opts {
	const char *dev;
	enum xmb_prog_mode xdp;
	enum xmb_prog_way way;
	enum xmb_xsk_bind bind;
	struct xmb_match match;	    /* what goes to the sockets; zero: all */
	enum xmb_prog_exit on_exit; /* what becomes of it afterwards */
	struct xmb_prog_source program; /* not ours, but the user's */
	const uint32_t *queues;		/* which; NULL: the first queue_cnt */
	uint32_t queue_cnt;		/* 0: all that the device has */
	bool no_promisc;
	uint32_t ring_cnt, fill_base; /* see xsk.h */
	uint32_t frags_max;	      /* see xsk.h */
	/*
	 * Busy polling, preferred over interrupts, which are deferred on the
	 * device until close() (see xsk.h); 0: none.
	 */
	uint32_t busy_poll_us, busy_poll_budget;
	/*
	 * How, with busy polling: turns that may find nothing (0: 2), then a
	 * timer (0: 200 us); and how long epoll_wait() of who polls busily may
	 * keep interrupts off (0: it may not), see xmb_nic_napi.
	 */
	uint32_t napi_defer_hard_irqs;
	uint32_t gro_flush_timeout_us;
	uint32_t irq_suspend_timeout_ms;
};

struct xmb_port;

/*
 * -ENODEV: no such device.  -EINVAL: more queues than the device has, a queue
 * that it has not, one named twice, or no queue that can send.  -ENETDOWN: the
 * link is not up.
 */
XMB_API int xmb_port_create(struct xmb_port **out,
			    const struct xmb_port_opts *opts);

XMB_API const struct xmb_nic_info *xmb_port_nic(const struct xmb_port *port);
XMB_API uint32_t xmb_port_queue_cnt(const struct xmb_port *port);

/* Sockets 0..n-1 can send. */
XMB_API uint32_t xmb_port_tx_cnt(const struct xmb_port *port);

/* How many frames each socket may have with the kernel; 0: its ring's worth. */
struct xmb_port_share {
	uint32_t fill_max, tx_cap;
};

/*
 * Say of what a port switches off and finds off already how it is switched on,
 * and of interrupts that it finds deferred as busy polling does it by default
 * how that ends: a process that was killed puts nothing back, and leaves no
 * note of it.  Of other turns and times nothing is said: they may be anybody's.
 */
XMB_API void xmb_port_tell_off(const struct xmb_nic_info *nic);

/*
 * Open everything; socket i is filled from caches[i].  The errors of
 * xmb_prog_attach() and xmb_xsk_open(); the device is then as it was.
 */
XMB_API int xmb_port_open(struct xmb_port *port, struct xmb_umem *umem,
			  struct xmb_cache *const *caches,
			  struct xmb_port_share share);

/*
 * Make the program final, and take over from a gate that was closed: packets
 * come that it kept away.  The errors of xmb_prog_commit().
 */
XMB_API int xmb_port_commit(struct xmb_port *port);

/*
 * Look whether packets still come as they did.  The errors of
 * xmb_prog_check().  -ECHRNG: all queues of the device were the port's, and it
 * receives on more now (fewer the kernel refuses while sockets are bound): what
 * comes on the others no socket sees.
 */
XMB_API int xmb_port_check(const struct xmb_port *port);

XMB_API struct xmb_xsk *xmb_port_xsk(const struct xmb_port *port, uint32_t i);
XMB_API enum xmb_prog_mode xmb_port_xdp_mode(const struct xmb_port *port);
XMB_API enum xmb_prog_way xmb_port_xdp_way(const struct xmb_port *port);

/* By what interrupts were deferred. */
enum xmb_port_defer {
	XMB_PORT_DEFER_NONE,
	XMB_PORT_DEFER_NETLINK, /* NAPI by NAPI, Linux 6.13 */
	XMB_PORT_DEFER_SYSFS,	/* all of the device, no suspension */
};

/* What busy polling got. */
struct xmb_port_busy {
	struct xmb_xsk_busy xsk; /* of a socket; the first NAPI id there is */
	uint32_t known_cnt;	 /* sockets that have a NAPI id */
	enum xmb_port_defer defer;
	uint32_t napi_cnt; /* NAPIs that have what was asked; sysfs: 0 */
	/*
	 * As the kernel told it when it had been set: of the first of them,
	 * or of the device by sysfs (id 0).
	 */
	struct xmb_nic_napi napi;
};

XMB_API struct xmb_port_busy xmb_port_busy(const struct xmb_port *port);

/* True if packets may come with a checksum that the sender left partial. */
XMB_API bool xmb_port_has_partial_csum(const struct xmb_port *port);

/* The program's counters, to the last packet after detach() too. */
XMB_API void xmb_port_prog_stats(const struct xmb_port *port,
				 uint64_t values[XMB_PROG_COUNTER_CNT]);

/* False where the program is the user's: its counters are 0. */
XMB_API bool xmb_port_has_prog_stats(const struct xmb_port *port);

XMB_API void xmb_port_detach(struct xmb_port *port);

/* Socket i gives its finished frames to caches[i]. */
XMB_API void xmb_port_close(struct xmb_port *port,
			    struct xmb_cache *const *caches);

/* -EAGAIN: the kernel still has a queue. */
XMB_API int xmb_port_settle(struct xmb_port *port, struct xmb_cache *cache);

XMB_API void xmb_port_destroy(struct xmb_port *port);

#endif /* XMBUF_PORT_PORT_H */
