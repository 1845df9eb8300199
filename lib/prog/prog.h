/* SPDX-License-Identifier: BSD-2-Clause */
#ifndef XMBUF_PROG_PROG_H
#define XMBUF_PROG_PROG_H

#include "base/base.h"
#include "prog/match.h"
#include "stats/counter.h"

/*
 * prog: the XDP program of one device, which steers what matches to AF_XDP.
 *
 *      device --> program --match--> socket that is steered to for the queue
 *                    |                  | none
 *                    +----no match------+--> kernel, as without a program
 *
 * Attaching asks for native XDP (the driver runs the program before it makes an
 * skb) or generic XDP (the kernel runs it later, on any device, slower).  It is
 * held by a bpf_link: nobody else can replace or remove it, and it goes with
 * xmb_prog_detach() or with the process.  It takes frames of several buffers,
 * so native XDP works at MTU 9000 too.
 *
 * Units      Counters are frames.
 * Ownership  xmb_prog_attach() allocates, xmb_prog_destroy() frees.  Sockets
 *            stay the caller's; closing one empties its slot.
 * Threads    Attach, detach and destroy from one thread at a time and with no
 * other call on the same program; the rest from any thread. Errors     0 or a
 * negative errno; a call that fails changes nothing and logs what was asked,
 * what the kernel answered and what to do. Kernel     Linux 5.18 (programs for
 * several buffers); CAP_NET_ADMIN and CAP_BPF, or root.  The first attach sends
 * what libbpf prints, in the whole process, to the log as XMB_LOG_DEBUG.
 */

enum xmb_prog_mode {
	XMB_PROG_AUTO, /* native, else generic; never what was got */
	XMB_PROG_NATIVE,
	XMB_PROG_GENERIC,
};

struct xmb_prog_opts {
	const char *dev; /* for messages */
	int ifindex;
	enum xmb_prog_mode mode; /* one that is named never falls back */
	struct xmb_match match;
	uint32_t queue_cnt; /* RX queues that may be steered */
};

/* MATCHED + PASSED + NO_SOCKET is every frame; MALFORMED is some of them. */
#define XMB_PROG_COUNTERS(X)                                                   \
	X(MATCHED, matched, TOTAL,                                             \
	  "frames handed to the socket of their queue")                        \
	X(PASSED, passed, TOTAL,                                               \
	  "frames that did not match, left to the kernel")                     \
	X(NO_SOCKET, no_socket, EVENT,                                         \
	  "frames that matched on a queue without a socket, left to the "      \
	  "kernel: bind all queues, or send this traffic to those bound")      \
	X(MALFORMED, malformed, EVENT,                                         \
	  "frames cut short or contradictory before the match was answered, "  \
	  "treated as no match and counted besides")

#define XMB_PROG_ENUM(up, low, kind, meaning) XMB_PROG_##up,
enum xmb_prog_counter { XMB_PROG_COUNTERS(XMB_PROG_ENUM) XMB_PROG_COUNTER_CNT };
#undef XMB_PROG_ENUM

XMB_API extern const struct xmb_counter_desc
	xmb_prog_counter_descs[XMB_PROG_COUNTER_CNT];

struct xmb_prog;

/* Give "auto", "native" or "generic"; NULL for any other value. */
XMB_API const char *xmb_prog_mode_name(enum xmb_prog_mode mode);

/*
 * Load the program, attach it to the device and log the mode that was got; with
 * XMB_PROG_AUTO also why it is not native.  No queue is steered yet, so all
 * traffic still goes to the kernel.
 * -EINVAL: mode or match is out of range, or ifindex or queue_cnt is 0.
 * -EBUSY: another program is attached, in either mode.
 * -EPERM: a privilege is missing.
 * -ENODEV: there is no such device.
 * -EOPNOTSUPP: the kernel cannot load the program, or the device as it is set
 * up cannot run it in this mode.
 * -ENOMEM: no memory here or in the kernel.
 */
XMB_API int xmb_prog_attach(struct xmb_prog **out,
			    const struct xmb_prog_opts *opts);

/*
 * Take the program off the device, so that all traffic goes to the kernel
 * again; what it counted can still be read.  A second call does nothing.
 */
XMB_API void xmb_prog_detach(struct xmb_prog *prog);

/* Detach, and free; NULL is ignored. */
XMB_API void xmb_prog_destroy(struct xmb_prog *prog);

/* Tell the mode that was got: native or generic. */
XMB_API enum xmb_prog_mode xmb_prog_mode(const struct xmb_prog *prog);

/* Tell the kernel's id of the program, as `bpftool prog` shows it. */
XMB_API int xmb_prog_id(const struct xmb_prog *prog);

/*
 * Send what matches on queue to the AF_XDP socket, instead of the one before.
 * The socket must be bound to this queue of this device: frames for any other
 * are dropped in the kernel without a counter.
 * -ERANGE: queue is not below queue_cnt.
 * -EBADF, -ENOTSOCK, -EOPNOTSUPP: xsk_fd is no descriptor, no socket, no AF_XDP
 * socket.
 */
XMB_API int xmb_prog_steer(struct xmb_prog *prog, uint32_t queue, int xsk_fd);

/*
 * Leave what matches on queue to the kernel again; a frame that is already on
 * its way may still reach the socket.
 * -ERANGE: queue is not below queue_cnt.
 */
XMB_API int xmb_prog_unsteer(struct xmb_prog *prog, uint32_t queue);

/*
 * Read what was counted since the attach, summed over all CPUs.
 * -ENOMEM: no memory for the sums.
 */
XMB_API int xmb_prog_stats(const struct xmb_prog *prog,
			   uint64_t v[XMB_PROG_COUNTER_CNT]);

#endif /* XMBUF_PROG_PROG_H */
