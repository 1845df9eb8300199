/* SPDX-License-Identifier: BSD-2-Clause */
#ifndef XMBUF_BENCH_BENCH_H
#define XMBUF_BENCH_BENCH_H

#include "base/base.h"
#include "base/clock.h"
#include "pause.h"

#include <stdatomic.h>
#include <stdio.h>

/*
 * bench: what the programs that are measured beside each other have in common,
 * so that they differ in nothing but what is measured.
 *
 *      program --mode rxdrop|txonly|forward --dev D [--out D2] ...
 *      stdout  {"ready": true}
 *              {"packets": N, "seconds": S, "busy_ns": B, "kernel_ns": K,
 *               "pauses": [[END, US], ...]}
 *
 * A program says that it is ready when its sockets are open, works until
 * SIGTERM or --seconds, and prints its one line of result.  Rates are not
 * taken from that line: scripts/bench counts at the devices.
 *
 * Units      busy_ns: time of the loop turns that moved a packet, refill and
 *            completions included, system calls not: those are kernel_ns.
 *            -1: the program cannot tell.
 *            pauses: with --watch, when the program was kept off its CPU, in
 *            seconds of the monotonic clock, and for how long (pause.h).
 * Threads    One.
 */

enum bench_mode { BENCH_RXDROP, BENCH_TXONLY, BENCH_FORWARD };

/* When the kernel is told of packets to send, and by what call. */
enum bench_kick {
	BENCH_KICK_BATCH,
	BENCH_KICK_LATE, /* when the next batch was received */
	BENCH_KICK_EACH,
	BENCH_KICK_URING,
	BENCH_KICK_SQPOLL,
};

enum bench_pages { BENCH_THP, BENCH_SMALL, BENCH_HUGETLB };

struct bench_opts {
	enum bench_mode mode;
	const char *dev;
	const char *out; /* forward: the other device */
	uint32_t len;	 /* txonly: bytes of a frame */
	uint32_t frame_cnt;
	uint32_t frame_len;   /* of memory; 0: own */
	uint32_t circulating; /* frames that the kernel has at a time; 0: own */
	uint32_t worker_cnt;  /* forward: a pipeline of so many; 0: none */
	uint64_t stall_ns;    /* rxdrop: pause this long ... */
	uint64_t stall_each_ns; /* ... once in this time */
	double seconds;
	bool is_fifo; /* the free list is a queue, not a stack */
	bool has_chains;
	uint32_t batch;	    /* packets a turn, at most; 0: own */
	uint32_t tx_budget; /* packets a kick; 0: the kernel's own, 32 */
	bool reaps_late;
	bool is_watched; /* tell when the program was kept off its CPU */
	enum bench_kick kick;
	uint32_t sqpoll_cpu; /* of the thread that kicks, if one does */
	enum bench_pages pages;
	bool is_unaligned, is_staggered;
	uint32_t headroom;
	uint32_t prefetch; /* bytes of each packet, when it was received */
};

struct bench_result {
	uint64_t packets;
	double seconds;
	int64_t busy_ns, kernel_ns;
};

/*
 * Two clocks side by side: the ticks of a turn, and of its system calls, are
 * made nanoseconds at the end by what a tick was over the whole run.
 */
struct bench_meter {
	uint64_t start_ns, start_ticks;
	uint64_t turn_ticks, turn_kernel; /* of the turn that runs */
	uint64_t busy, kernel, packets;
	uint64_t next_stall_ns;
};

void bench_meter_start(struct bench_meter *meter);
struct bench_result bench_meter_result(const struct bench_meter *meter);

static inline void bench_turn_begin(struct bench_meter *meter)
{
	meter->turn_ticks = xmb_clock_ticks();
	meter->turn_kernel = 0;
}

static inline void bench_turn_end(struct bench_meter *meter, uint64_t packets)
{
	if (packets == 0)
		return;
	meter->packets += packets;
	meter->busy += xmb_clock_ticks() - meter->turn_ticks;
	meter->busy -= meter->turn_kernel;
	meter->kernel += meter->turn_kernel;
}

/* Read the command line; ends the process at misuse. */
void bench_parse(int argc, char **argv, struct bench_opts *opts);

/* Have SIGINT, SIGTERM and the end of --seconds set what is_over() tells. */
void bench_arm(const struct bench_opts *opts);
bool bench_is_over(void);

/* Pause where --stall asks for one; between turns. */
void bench_stall(const struct bench_opts *opts, struct bench_meter *meter);

void bench_say_ready(void);
void bench_say_result(const struct bench_result *result,
		      const struct bench_watch *watch);

enum { BENCH_HEADER_LEN = 42 };

/* A UDP packet to nobody, len bytes with its MAC header, 60..9000. */
void bench_packet(uint8_t *packet, uint32_t len);

static inline void bench_macswap(uint8_t *packet)
{
	uint8_t mac[6];

	__builtin_memcpy(mac, packet, 6);
	__builtin_memcpy(packet, packet + 6, 6);
	__builtin_memcpy(packet + 6, mac, 6);
}

/* Anonymous memory on huge pages where the kernel has them; ends if none. */
void *bench_map(size_t len);

/* End the process: what failed, and why (a positive errno, or 0). */
_Noreturn void bench_die(const char *what, int err);

#endif /* XMBUF_BENCH_BENCH_H */
