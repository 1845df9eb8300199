/* SPDX-License-Identifier: BSD-2-Clause */
#include "pause.h"

#include <stdio.h>
#include <sys/resource.h>
#include <time.h>

static uint64_t cpu_time_ns(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &ts);
	return (uint64_t)ts.tv_sec * XMB_NS_PER_S + (uint64_t)ts.tv_nsec;
}

void bench_watch_look(struct bench_watch *watch, uint64_t now_ns)
{
	uint64_t cpu_ns = cpu_time_ns();
	uint64_t gap_ns = now_ns - watch->turn_ns;
	uint64_t passed_ns = now_ns - watch->look_ns;
	uint64_t ran_ns = cpu_ns - watch->cpu_ns;
	uint64_t off_ns = passed_ns > ran_ns ? passed_ns - ran_ns : 0;
	uint64_t len_ns = off_ns < gap_ns ? off_ns : gap_ns;
	struct rusage usage;
	bool has_slept;

	getrusage(RUSAGE_THREAD, &usage);
	has_slept = (uint64_t)usage.ru_nvcsw != watch->sleep_cnt;
	watch->sleep_cnt = (uint64_t)usage.ru_nvcsw;
	watch->look_ns = now_ns;
	watch->cpu_ns = cpu_ns;
	/* The first look has nothing to compare with. */
	if (watch->turn_ns == 0 || len_ns < BENCH_PAUSE_MIN_NS ||
	    watch->cnt == BENCH_PAUSE_CNT)
		return;
	watch->pauses[watch->cnt++] =
		(struct bench_pause){ now_ns, len_ns, has_slept };
}

void bench_watch_say(const struct bench_watch *watch)
{
	putchar('[');
	for (uint32_t i = 0; i < watch->cnt; i++)
		printf("%s[%.6f, %.1f, %s]", i ? ", " : "",
		       (double)watch->pauses[i].end_ns / 1e9,
		       (double)watch->pauses[i].len_ns / 1e3,
		       watch->pauses[i].has_slept ? "true" : "false");
	putchar(']');
}
