/* SPDX-License-Identifier: BSD-2-Clause */
#ifndef XMBUF_BENCH_PAUSE_H
#define XMBUF_BENCH_PAUSE_H

#include "base/clock.h"

#include <stdbool.h>
#include <stdint.h>

/*
 * pause: when a program was kept off its CPU, and for how long.
 *
 *      turn  turn          turn  turn
 *      --+-----+-------------+-----+---> time
 *              |<--- gap --->|
 *                |<- off ->|        a pause: the shorter of the two
 *
 * off is what passed and is no CPU time of the process, of any thread: somebody
 * else ran there, or interrupts, or the host did not run the CPU at all, which
 * a kernel that is told of stolen time takes out of its processes' time.  What
 * the program did itself, or a thread beside it, is no pause.  A gap in which
 * it slept is told apart, for part of it was its own choice.
 *
 * Units      Nanoseconds of the monotonic clock.
 * Threads    One, that which turns.
 */

enum {
	BENCH_PAUSE_MIN_NS = 50000, /* shorter ones are not told */
	BENCH_PAUSE_CNT = 512,
};

struct bench_pause {
	uint64_t end_ns, len_ns;
	bool has_slept; /* in it, or within a millisecond before */
};

struct bench_watch {
	bool is_on;
	uint64_t turn_ns;	  /* of the last turn */
	uint64_t look_ns, cpu_ns; /* at the last look at the CPU time */
	uint64_t sleep_cnt;
	uint32_t cnt;
	struct bench_pause pauses[BENCH_PAUSE_CNT];
};

/* Look at the clocks, and note a pause before now_ns if there was one. */
void bench_watch_look(struct bench_watch *watch, uint64_t now_ns);

/* Once each turn of the loop; costs a look at the clock where it is on. */
static inline void bench_watch_turn(struct bench_watch *watch)
{
	/* CPU time is looked at this often, for others take some of it too. */
	const uint64_t each_ns = XMB_NS_PER_MS;
	uint64_t now_ns;

	if (!watch->is_on)
		return;
	now_ns = xmb_clock_ns();
	if (now_ns - watch->turn_ns > BENCH_PAUSE_MIN_NS ||
	    now_ns - watch->look_ns > each_ns) {
		bench_watch_look(watch, now_ns);
		now_ns = xmb_clock_ns();
	}
	watch->turn_ns = now_ns;
}

/* [[end in seconds, length in microseconds, has slept], ...] on stdout. */
void bench_watch_say(const struct bench_watch *watch);

#endif /* XMBUF_BENCH_PAUSE_H */
