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
 *                    |                  +--> dropped, if it is a gate
 *                    |                  v
 *                    +----no match------+--> kernel, as without a program
 *
 * Attaching asks for native XDP (the driver runs the program before it makes an
 * skb) or generic XDP (the kernel runs it later, on any device, slower).  It
 * takes frames of several buffers, so native XDP works at MTU 9000 too.
 *
 *      way          others on the device   SIGKILL leaves
 *      link         none                   nothing
 *      dispatcher   libxdp's: in order     ours there, its sockets gone
 *      netlink      none, may take it off  the same
 *
 * A bpf_link comes first: nobody can replace or remove it by netlink, and it
 * goes with xmb_prog_detach() or with the process.  Where libxdp's dispatcher
 * is on the device, which xdp-loader and xdp-filter put there, the program
 * becomes one of those that it calls in order of their priority, ours with 20
 * as all AF_XDP programs of libxdp.  Netlink is last, where the kernel has no
 * bpf_link for XDP.  The log says which way was taken, and why.
 *
 * A gate (XMB_PROG_EXIT_DROP) is pinned to a file in /sys/fs/bpf/xmbuf and so
 * outlives the process, however that ends: the sockets go, and what matches is
 * dropped until another xmb_prog_attach() of the device has taken over, in one
 * step, or xmb_gate_remove() (gate.h).  Until xmb_prog_commit() nothing is
 * final: detaching before it leaves what was there before the attach.
 *
 *      on the device    attach          commit         detach, SIGKILL
 *      nothing          PASS: program   program        nothing
 *                       DROP: gate      gate           closed gate
 *      closed gate      is closed       PASS: program  nothing
 *                       is closed       DROP: gate     closed gate
 *
 * A program of the user's own takes the place of ours, or only an XSKMAP that
 * one has which is attached already (struct xmb_prog_source).
 *
 * Units      Counters are frames.
 * Ownership  xmb_prog_attach() allocates, xmb_prog_destroy() frees.  Sockets
 *            stay the caller's; closing one empties its slot.  What joins and
 *            leaves a dispatcher that calls n others leaves 3 n + 5 descriptors
 *            open (libxdp 1.3.1; more when others join or leave meanwhile, or
 *            leftovers are taken out), and the programs that they are of
 *            loaded, until the process ends; nothing in between adds to that.
 * Threads    Attach, commit, detach and destroy from one thread at a time and
 *            with no other call on the same program; the rest from any thread.
 * Errors     0 or a negative errno; a call that fails changes nothing and logs
 *            what was asked, what the kernel answered and what to do.
 * Kernel     Linux 5.18 (programs for several buffers); CAP_NET_ADMIN and
 *            CAP_BPF, or root; a dispatcher needs root and a bpffs on
 *            /sys/fs/bpf.  The first attach sends what libbpf and libxdp print,
 *            in the whole process, to the log as XMB_LOG_DEBUG.
 */

/* By what a program is on its device. */
enum xmb_prog_way {
	XMB_PROG_BY_ANY, /* as above; never what was got */
	XMB_PROG_BY_LINK,
	XMB_PROG_BY_DISPATCHER, /* one is put there, where none is */
	XMB_PROG_BY_NETLINK,
};

enum xmb_prog_mode {
	XMB_PROG_AUTO, /* native, else generic; never what was got */
	XMB_PROG_NATIVE,
	XMB_PROG_GENERIC,
};

/* What becomes of frames that match when the program's sockets are gone. */
enum xmb_prog_exit {
	XMB_PROG_EXIT_PASS, /* the kernel gets them: the program goes too */
	XMB_PROG_EXIT_DROP, /* nobody gets them: the program stays, a gate */
};

/*
 * Where frames are steered, if not by our program; {0}: by ours.  At most one
 * of file, xskmap and xskmap_fd; with any of them match has to be `all`,
 * on_exit XMB_PROG_EXIT_PASS, and nothing is counted.
 */
struct xmb_prog_source {
	const char *file;    /* a BPF object: its program is attached */
	const char *section; /* or function in it; NULL: the only one for XDP */
	const char *map;     /* the name of its XSKMAP; NULL: "xsks" */
	const char *xskmap;  /* an XSKMAP that is pinned: nothing is attached */
	int xskmap_fd;	     /* the same by descriptor; 0: none */
};

struct xmb_prog_opts {
	const char *dev; /* for messages */
	int ifindex;
	enum xmb_prog_mode mode; /* one that is named never falls back */
	enum xmb_prog_way way;	 /* the same */
	struct xmb_match match;
	uint32_t queue_cnt; /* RX queues that may be steered */
	enum xmb_prog_exit on_exit;
	struct xmb_prog_source source;
};

/*
 * MATCHED + PASSED + NO_SOCKET + GATE_DROP is every frame; MALFORMED is some of
 * them.
 */
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
	  "treated as no match and counted besides")                           \
	X(GATE_DROP, gate_drop, EVENT,                                         \
	  "frames that matched on a queue without a socket, dropped by the "   \
	  "gate: bind all queues, or send this traffic to those bound")

#define XMB_PROG_ENUM(up, low, kind, meaning) XMB_PROG_##up,
enum xmb_prog_counter { XMB_PROG_COUNTERS(XMB_PROG_ENUM) XMB_PROG_COUNTER_CNT };
#undef XMB_PROG_ENUM

XMB_API extern const struct xmb_counter_desc
	xmb_prog_counter_descs[XMB_PROG_COUNTER_CNT];

struct xmb_prog;

/* Give "auto", "native" or "generic"; NULL for any other value. */
XMB_API const char *xmb_prog_mode_name(enum xmb_prog_mode mode);

/* Give "auto", "link", "dispatcher" or "netlink"; NULL for any other value. */
XMB_API const char *xmb_prog_way_name(enum xmb_prog_way way);

/*
 * Load the program, attach it to the device and log mode and way that were got,
 * and why what is better was not; no queue is steered yet, so all traffic still
 * goes to the kernel, or nowhere where there is a gate.  A gate that is on the
 * device is taken over at xmb_prog_commit(), in the mode that it has.  With an
 * XSKMAP of the user's nothing is loaded or attached.
 * -EINVAL: mode, way or match is out of range, ifindex or queue_cnt is 0,
 * source names two things or goes with a match or a gate; a gate, or an XSKMAP
 * of the user's, goes with no such way; a map is no XSKMAP, or has fewer
 * entries than queue_cnt; an object has no such program or map.
 * -EBUSY: another program is attached, in either mode; another process of ours
 * has the device; a gate or a dispatcher that is there is in another mode than
 * the one that is named, or there is a dispatcher and a gate is asked for, or
 * one that calls ten programs, none of them left by a process of ours (for a
 * program of the user's: whoever left them).
 * -EPERM: a privilege is missing.
 * -ENODEV: there is no such device.
 * -ENOENT: no file, or nothing pinned, where source says.  -EBADF: xskmap_fd
 * is no BPF map.
 * -EOPNOTSUPP: the kernel cannot load the program, or the device as it is set
 * up cannot run it in this mode; or there is no bpf_link; or no dispatcher,
 * where the kernel lets no program replace a function of another's (a locked
 * down one too), and for the time of the attempt ours is there alone; or a gate
 * or a dispatcher was asked for where no bpffs is mounted.
 * -ENOMEM: no memory here or in the kernel.
 */
XMB_API int xmb_prog_attach(struct xmb_prog **out,
			    const struct xmb_prog_opts *opts);

/*
 * Make the attach final: the program runs, and what detach and the end of the
 * process lead to is what on_exit says.  A gate that was closed is replaced in
 * one step, and the log tells what it dropped.  A second call does nothing.
 * -ENOLINK, -ENODEV: of a gate that is taken over, as xmb_prog_check().
 * -ENOSPC, -ENOMEM, -EPERM: as the kernel answers to the pin or the update.
 */
XMB_API int xmb_prog_commit(struct xmb_prog *prog);

/*
 * 0 while the program runs on its device, wherever that was moved.
 * -ENOLINK: somebody took it off.  -ENODEV: the device is gone.  With an XSKMAP
 * of the user's always 0; and where the kernel cannot be asked, for want of
 * memory or a descriptor, until it can.
 */
XMB_API int xmb_prog_check(const struct xmb_prog *prog);

/*
 * Have no further frame come to the sockets.  Without a gate, take the program
 * off the device, so that all traffic goes to the kernel again; what it counted
 * can still be read.  A gate stays and drops what matches.  Before commit,
 * leave what was there before.  A second call does nothing.
 */
XMB_API void xmb_prog_detach(struct xmb_prog *prog);

/* Detach, and free; NULL is ignored. */
XMB_API void xmb_prog_destroy(struct xmb_prog *prog);

/*
 * Tell the mode that was got: native or generic; XMB_PROG_AUTO: with an XSKMAP
 * of the user's, no program was on the device.
 */
XMB_API enum xmb_prog_mode xmb_prog_mode(const struct xmb_prog *prog);

/* Tell the way that was taken; XMB_PROG_BY_ANY: with an XSKMAP of the user's.
 */
XMB_API enum xmb_prog_way xmb_prog_way(const struct xmb_prog *prog);

/*
 * Tell the kernel's id of the program, as `bpftool prog` shows it; 0: with an
 * XSKMAP of the user's, no program was on the device.
 */
XMB_API int xmb_prog_id(const struct xmb_prog *prog);

/* False for what is the user's own: xmb_prog_stats() then gives zeroes. */
XMB_API bool xmb_prog_has_counters(const struct xmb_prog *prog);

/*
 * Send what matches on queue to the AF_XDP socket, instead of the one before;
 * in an XSKMAP of the user's, which others may use too, instead of none.
 * The socket must be bound to this queue of this device: frames for any other
 * are dropped in the kernel without a counter.
 * -ERANGE: queue is not below queue_cnt.
 * -EEXIST: in an XSKMAP of the user's, another socket has the queue.
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
