/* SPDX-License-Identifier: BSD-2-Clause */
#include "base/clock.h"

#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>

/*
 * hop CPU CPU: how far two CPUs are from each other, in nanoseconds that a
 * cache line takes there and back.  A host that moves virtual CPUs between its
 * cores changes this while nobody looks, and with it what every packet costs
 * that goes from one to the other.
 */

enum { TRIPS = 400, BATCHES = 15 };

static _Alignas(128) _Atomic uint32_t ball;
static int cpus[2];

static void pin(int cpu)
{
	cpu_set_t set;

	CPU_ZERO(&set);
	CPU_SET((size_t)cpu, &set);
	if (sched_setaffinity(0, sizeof(set), &set)) {
		perror("hop: sched_setaffinity");
		exit(1);
	}
}

static void *send_back(void *arg)
{
	pin(cpus[1]);
	for (uint32_t i = 0; i < TRIPS * BATCHES; i++) {
		while (atomic_load(&ball) != 2 * i + 1)
			;
		atomic_store(&ball, 2 * i + 2);
	}
	return arg;
}

static int is_less(const void *a, const void *b)
{
	const uint64_t *x = a, *y = b;

	return (*x > *y) - (*x < *y);
}

int main(int argc, char **argv)
{
	uint64_t ns[BATCHES];
	uint32_t i = 0;
	pthread_t other;

	if (argc != 3)
		return 2;
	cpus[0] = atoi(argv[1]);
	cpus[1] = atoi(argv[2]);
	pin(cpus[0]);
	if (pthread_create(&other, NULL, send_back, NULL))
		return 1;
	for (int batch = 0; batch < BATCHES; batch++) {
		uint64_t start = xmb_clock_ns();

		for (int trip = 0; trip < TRIPS; trip++, i++) {
			atomic_store(&ball, 2 * i + 1);
			while (atomic_load(&ball) != 2 * i + 2)
				;
		}
		ns[batch] = (xmb_clock_ns() - start) / TRIPS;
	}
	pthread_join(other, NULL);
	qsort(ns, BATCHES, sizeof(*ns), is_less);
	printf("%llu\n", (unsigned long long)ns[BATCHES / 2]);
	return 0;
}
