/* SPDX-License-Identifier: BSD-2-Clause */
#ifndef XMBUF_ENGINE_ENGINE_H
#define XMBUF_ENGINE_ENGINE_H

#include "base/base.h"
#include "buf/multibuf.h"
#include "port/port.h"
#include "stats/counter.h"
#include "umem/ledger.h"

/*
 * engine: ports, threads and a handler: a packet processor.
 *
 *                 .---------------- thread 0 ----------------.
 *      port 0 q0 -+-> recv -> handler -> partial checksum ---+-> port 1 q0
 *      port 1 q0 -+-> recv -> handler -> partial checksum ---+-> port 0 q0
 *                 '------------------------------------------'
 *                 .---------------- thread 1 ----------------.
 *      port 0 q1 -+-> ...
 *
 * Run to completion: the thread that receives a burst gives it to the handler
 * and sends what the handler forwards.  There are as many threads as the port
 * with the fewest sending queues has such; thread t owns, for life, the queues
 * t, t + threads, ... of every port, with all their rings, and sends by queue t
 * of each.  So no kernel ring is ever shared, and a frame that was sent goes
 * back to the cache it came from.
 *
 * Pipeline: those threads are dispatchers, and hand what they receive to
 * workers, by flow, each over a pipe of its own; workers run the handler and
 * hand the packets back to be sent.
 *
 *      port 0 q0 -+->             .-> worker 0: handler -.               ,-> TX
 *      port 1 q0 -+-> dispatcher -+-> worker 1: handler -+-> dispatcher -+-> TX
 *                                 '-> worker 2: handler -'
 *
 * The order within a flow is kept.  A worker that is slow costs its own flows
 * packets, by the policy for full pipes, and the others nothing.  With is_split
 * the headers of a packet (L2 to L4) go to one worker and its payload to
 * another; the dispatcher joins what comes back and sends one chain, where it
 * lies.  A drop of either half drops the packet.
 *
 * Threads poll while there is work and sleep in the kernel when there is none.
 * The control side (signals, timer, link state) is one io_uring loop in the
 * thread that calls xmb_engine_run(); the data side never waits for it.
 *
 * A port that is slow or down cannot eat the pool: what each socket may have
 * waiting for packets, and what it may have in TX, is its share of the frames.
 *
 * Ownership  The handler borrows the burst for the call.  The engine owns
 *            everything else.
 * Threads    create, run and destroy on one thread.  The handler runs on all
 *            data threads at once; the tick on the control thread.
 * Errors     0 or negative errno, each with a logged sentence that says what
 *            was asked, what the kernel answered and what to do.
 * Kernel     As xsk.h, prog.h and loop.h.
 */

#define XMB_ENGINE_PORT_MAX 8u
#define XMB_ENGINE_BURST 64u
#define XMB_ENGINE_WORKER_MAX 64u

/* What becomes of a packet: the number of a port, or one of these. */
#define XMB_TO_DROP 255u /* what is in `to` before the handler runs */
/* The handler took the multibuf and left {0}.  A half of a split packet cannot
 * be kept: it is dropped. */
#define XMB_TO_KEEP 254u

struct xmb_worker;

enum xmb_engine_mode {
	XMB_ENGINE_RTC,
	XMB_ENGINE_PIPELINE,
};

/* What a dispatcher does with a packet for a worker whose pipe is full. */
enum xmb_full_policy {
	XMB_FULL_DROP_NEWEST, /* this packet; the only one with is_split */
	XMB_FULL_DROP_OLDEST, /* the one that waits longest before the pipe */
	/* All of its flow, until half the pipe is free; and the flows that
	 * share its group of the worker's 256. */
	XMB_FULL_STOP_FLOW,
};

enum xmb_part {
	XMB_PART_WHOLE,
	XMB_PART_HEADER, /* is_split: the headers, L2 to L4 */
	XMB_PART_PAYLOAD,
};

struct xmb_burst {
	struct xmb_multibuf *mbs;
	uint8_t *to; /* one verdict for each of mbs */
	uint32_t cnt;
	uint32_t port;		 /* the port that they came in by */
	struct xmb_cache *cache; /* for whatever allocates or frees */
	enum xmb_part part;	 /* of split packets */
	struct xmb_worker *worker;
	uint32_t io;	       /* the dispatcher; the engine's own */
	const uint32_t *marks; /* of halves; the engine's own */
};

/* Look at, change, and say what becomes of, each packet of a burst. */
typedef void xmb_handler_fn(void *arg, struct xmb_burst *burst);

/*
 * Send cnt multibufs of the handler's own, kept ones or new, by a port; all are
 * consumed: sent, or dropped by name.
 */
XMB_API void xmb_burst_send(struct xmb_burst *burst, uint32_t port,
			    struct xmb_multibuf *mbs, uint32_t cnt);

#define XMB_WORKER_COUNTERS(X)                                                 \
	X(HANDLED, handled, TOTAL, "packets given to the handler")             \
	X(FORWARDED, forwarded, TOTAL, "packets that the handler sent on")     \
	X(GIVEN, given, TOTAL,                                                 \
	  "packets that the handler sent by itself: kept ones, and its own")   \
	X(KEPT, kept, TOTAL, "packets that the handler took")                  \
	X(HANDLER_DROP, handler_drop, DROP,                                    \
	  "packets that the handler dropped")                                  \
	X(CSUM_SHARED, csum_shared, DROP,                                      \
	  "packets that were shared, hence read-only, before the checksum "    \
	  "that their sender had left to a device was finished: send on the "  \
	  "only one, or a copy")                                               \
	X(NO_ROUTE, no_route, DROP,                                            \
	  "packets that the handler sent to a port that does not exist")       \
	X(FULL_NEWEST, full_newest, DROP,                                      \
	  "packets for a worker whose pipe was full: it is too slow")          \
	X(FULL_OLDEST, full_oldest, DROP,                                      \
	  "packets that gave way to newer ones before a full pipe")            \
	X(FLOW_STOPPED, flow_stopped, DROP,                                    \
	  "packets of flows that were stopped before a full pipe")             \
	X(SPLIT_DROP, split_drop, DROP,                                        \
	  "split packets of which a half was "                                 \
	  "dropped")                                                           \
	X(SPLIT_FAILED, split_failed, DROP,                                    \
	  "packets that could not be split for want of frames")                \
	X(JOIN_FULL, join_full, DROP,                                          \
	  "packets that found too many split ones not yet joined")             \
	X(LEFT_IN_PIPE, left_in_pipe, DROP,                                    \
	  "packets that workers had not handed back when the engine ended")    \
	X(PIPED, piped, TOTAL, "packets, or halves, handed to workers")        \
	X(WAKES, wakes, EVENT, "times a sleeping worker was woken")            \
	X(HALF_DROPPED, half_dropped, EVENT, "halves that a handler dropped")  \
	X(STRAY_HALF, stray_half, FAULT, "halves that belong to no packet")    \
	X(CSUM_COMPLETED, csum_completed, EVENT,                               \
	  "packets whose sender had left the checksum to a device")            \
	X(SLEEPS, sleeps, EVENT, "times a thread slept for want of packets")   \
	X(TX_WAITS, tx_waits, EVENT,                                           \
	  "times a full TX ring had to be drained before it took a burst")     \
	X(BUSY_NS, busy_ns, EVENT,                                             \
	  "nanoseconds of turns that moved a packet, less those in the "       \
	  "kernel")                                                            \
	X(KERNEL_NS, kernel_ns, EVENT,                                         \
	  "nanoseconds of those turns in system calls")

#define XMB_WORKER_ENUM(up, low, kind, meaning) XMB_WORKER_##up,
enum xmb_worker_counter {
	XMB_WORKER_COUNTERS(XMB_WORKER_ENUM) XMB_WORKER_COUNTER_CNT
};

XMB_API extern const struct xmb_counter_desc
	xmb_worker_counter_descs[XMB_WORKER_COUNTER_CNT];

struct xmb_port_report {
	struct xmb_nic_info nic; /* as at start, but for running and up */
	enum xmb_prog_mode xdp;
	enum xmb_prog_way way;
	bool is_zc, is_sg; /* all sockets got zero copy, multi-buffer */
	struct xmb_port_busy busy;
	bool has_prog;	   /* prog counts; a program of the user's does not */
	uint32_t queue_cnt;
	uint32_t fill_level; /* frames that wait for packets, all sockets */
	uint64_t xsk[XMB_XSK_COUNTER_CNT];
	uint64_t prog[XMB_PROG_COUNTER_CNT];
};

/*
 * One data thread's own share of the counters.  What a full pipe cost is the
 * worker's that was too slow, not the dispatcher's.
 */
struct xmb_thread_report {
	const char *role; /* "rtc", "io" or "worker" */
	uint64_t counters[XMB_WORKER_COUNTER_CNT];
};

struct xmb_engine_report {
	uint64_t uptime_ns;
	bool is_final;
	bool is_balanced; /* final: counts and frame words agree, 0 missing */
	uint32_t port_cnt, thread_cnt;
	struct xmb_port_report ports[XMB_ENGINE_PORT_MAX];
	uint64_t workers[XMB_WORKER_COUNTER_CNT]; /* all threads together */
	const struct xmb_thread_report *threads;  /* thread_cnt; valid during
						   * the tick */
	struct xmb_ledger ledger;
};

/* Called each tick_ns, and once more at the end. */
typedef void xmb_engine_tick_fn(void *arg,
				const struct xmb_engine_report *report);

/* The worker for a packet that came in by port; taken modulo worker_cnt. */
typedef uint32_t xmb_steer_fn(void *arg, const struct xmb_multibuf *mb,
			      uint32_t port);

struct xmb_engine_opts {
	const struct xmb_port_opts *ports;
	uint32_t port_cnt; /* 1..XMB_ENGINE_PORT_MAX */
	xmb_handler_fn *handler;
	void *handler_arg;
	enum xmb_engine_mode mode;
	uint32_t worker_cnt; /* pipeline: threads that run the handler; 0: 1 */
	bool is_symmetric;   /* both directions of a flow to one worker */
	bool is_split;	     /* header and payload to two workers */
	enum xmb_full_policy full;
	/*
	 * Packets that a pipe holds, 2^n up to 65536; 0: 2048.  Less where one
	 * worker's pipes could hold more than a quarter of the frames.
	 */
	uint32_t pipe_cnt;
	xmb_steer_fn *steer; /* NULL: by flow hash */
	void *steer_arg;
	/*
	 * frame_len 0: 4096 if an MTU is > 3000, or a packet of it does not fit
	 * behind the headroom of 2048; dev_cnt 0: the ports'.
	 */
	struct xmb_umem_opts umem;
	const int *cpus; /* thread t runs on cpus[t % cpu_cnt]; NULL: any */
	uint32_t cpu_cnt;
	uint64_t duration_ns; /* 0: until a signal */
	xmb_engine_tick_fn *tick;
	void *tick_arg;
	uint64_t tick_ns; /* 0: 1 s */
};

struct xmb_engine;

/*
 * Open the ports and make the threads, which wait for run().  Blocks SIGINT
 * and SIGTERM in the calling thread.
 * -EINVAL: no handler, no port, a device named twice, too few frames for the
 * queues, no such CPU, too many workers, a pipe_cnt that is no power of two,
 * is_split without a pipeline of two workers or with another policy than
 * DROP_NEWEST.  -EOPNOTSUPP: is_split, and a port sends packets of one buffer
 * only.  And the errors of xmb_port_create() and
 * xmb_port_open().  Every device is then as it was.
 */
XMB_API int xmb_engine_create(struct xmb_engine **out,
			      const struct xmb_engine_opts *opts);

/* The frames of all ports, for pieces (piece.h); the engine's. */
XMB_API struct xmb_umem *xmb_engine_umem(struct xmb_engine *engine);

/*
 * Run until SIGINT, SIGTERM, the end of duration_ns, xmb_engine_stop(), or the
 * loss of a device; then stop receiving, send what was received, close the
 * ports and check the ledger.  Once only.
 * What the ports' on_exit asks for holds from here on.
 * 0: ended as asked.  -ENODEV: a device was deleted or moved away.
 * -ENOLINK: somebody took a program off its device.  -ECHRNG: a device got
 * queues that no socket has (xmb_port_check()).
 * The errors of xmb_port_commit(): it did not run.
 * -EUCLEAN: the ledger did not balance (the log says where).
 */
XMB_API int xmb_engine_run(struct xmb_engine *engine);

/* Have run() end; from any thread and from signal handlers. */
XMB_API void xmb_engine_stop(struct xmb_engine *engine);

XMB_API void xmb_engine_destroy(struct xmb_engine *engine);

#endif /* XMBUF_ENGINE_ENGINE_H */
