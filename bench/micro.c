/* SPDX-License-Identifier: BSD-2-Clause */
#include "micro.h"

#include "bench.h"

#include "base/clock.h"

#include <errno.h>
#include <malloc.h>
#include <sched.h>
#include <stdlib.h>
#include <string.h>

/*
 * bench_micro [ROUNDS [US [ROW...]]]: one JSON line a row, with what a step
 * took in each round: {"row", "what", "unit", "samples": {NAME: [...], ...}}.
 * How often a step is done in a round is found in a round before the first, so
 * that each sample takes some US microseconds.
 */

enum { ROUNDS_MAX = 64, CPU = 1, TRY = 256, RUN_MAX = 1 << 22 };

static const struct micro_contender *const contenders[] = {
	&micro_xmbuf,
	&micro_dpdk,
	&micro_lwip,
	&micro_flat,
};

enum { CONTENDERS = sizeof(contenders) / sizeof(*contenders) };

static const struct {
	const char *name, *unit, *what;
	uint32_t each;
} rows[] = {
#define ROW(id, each_, unit_, what_)                                           \
	{ .name = #id, .unit = unit_, .what = what_, .each = each_ },
	MICRO_ROWS(ROW)
#undef ROW
};

uint8_t micro_data[MICRO_LONG];

static struct {
	uint32_t cnt; /* 0: not known yet */
	double samples[ROUNDS_MAX];
} results[MICRO_ROW_CNT][CONTENDERS];

static void init(void)
{
	cpu_set_t set;

	for (uint32_t i = 0; i < MICRO_LONG; i++)
		micro_data[i] = (uint8_t)(i % 101);
	micro_data[MICRO_LONG - 1] = MICRO_MARK;
	/* What malloc() has once, it keeps, as the pools do. */
	mallopt(M_TRIM_THRESHOLD, 1 << 30);
	mallopt(M_MMAP_THRESHOLD, 1 << 30);
	for (int c = 0; c < CONTENDERS; c++)
		contenders[c]->init();
	CPU_ZERO(&set);
	CPU_SET(CPU, &set);
	if (sched_setaffinity(0, sizeof(set), &set))
		bench_die("sched_setaffinity", errno);
}

/* NULL: the contender has no such step. */
static const struct micro_step *step_of(int row, int c)
{
	for (int t = 0; t < MICRO_TABLES; t++) {
		const struct micro_step *table = contenders[c]->tables[t];

		if (table && table[row].run)
			return &table[row];
	}
	return NULL;
}

static uint64_t time_of(const struct micro_step *step, uint32_t cnt)
{
	uint64_t start_ns = xmb_clock_ns();

	step->run(cnt);
	return xmb_clock_ns() - start_ns;
}

/* How many steps take that long; they warm caches and predictors, too. */
static uint32_t find_cnt(const struct micro_step *step, uint64_t want_ns)
{
	uint64_t cnt = TRY, took_ns = time_of(step, TRY);

	while (took_ns < want_ns / 2 && cnt < RUN_MAX) {
		cnt *= 2;
		took_ns = time_of(step, (uint32_t)cnt);
	}
	return (uint32_t)(cnt * want_ns / (took_ns + 1)) + 1;
}

static void measure(int row, int c, int round, uint64_t want_ns)
{
	const struct micro_step *step = step_of(row, c);
	uint32_t *cnt = &results[row][c].cnt;

	if (!step)
		return;
	if (step->begin)
		step->begin();
	if (round < 0)
		*cnt = find_cnt(step, want_ns);
	else
		results[row][c].samples[round] =
			(double)time_of(step, *cnt) / *cnt / rows[row].each;
	if (step->end)
		step->end();
}

static bool is_asked(int row, int argc, char **argv)
{
	for (int i = 3; i < argc; i++)
		if (!strcmp(argv[i], rows[row].name))
			return true;
	return argc <= 3;
}

static void print_row(int row, int rounds)
{
	const char *sep = "";

	printf("{\"row\": \"%s\", \"what\": \"%s\", \"unit\": \"%s\", "
	       "\"samples\": {",
	       rows[row].name, rows[row].what, rows[row].unit);
	for (int c = 0; c < CONTENDERS; c++) {
		if (!step_of(row, c))
			continue;
		printf("%s\"%s\": [", sep, contenders[c]->name);
		for (int i = 0; i < rounds; i++)
			printf("%s%.3f", i ? ", " : "",
			       results[row][c].samples[i]);
		printf("]");
		sep = ", ";
	}
	printf("}}\n");
}

int main(int argc, char **argv)
{
	int rounds = argc > 1 ? atoi(argv[1]) : 9;
	int us = argc > 2 ? atoi(argv[2]) : 5000;

	if (rounds < 1 || rounds > ROUNDS_MAX || us < 1)
		bench_die("usage: bench_micro [ROUNDS [US [ROW...]]]", 0);
	init();
	for (int round = -1; round < rounds; round++) {
		for (int row = 0; row < MICRO_ROW_CNT; row++) {
			/* Each is first in its turn. */
			for (int i = 0;
			     is_asked(row, argc, argv) && i < CONTENDERS; i++)
				measure(row, (round + 1 + i) % CONTENDERS,
					round, (uint64_t)us * 1000);
		}
	}
	for (int row = 0; row < MICRO_ROW_CNT; row++)
		if (is_asked(row, argc, argv))
			print_row(row, rounds);
	return 0;
}
