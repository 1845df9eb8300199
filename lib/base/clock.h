/* SPDX-License-Identifier: BSD-2-Clause */
#ifndef XMBUF_BASE_CLOCK_H
#define XMBUF_BASE_CLOCK_H

#include "base/base.h"

#include <time.h>

/*
 * clock: nanoseconds of CLOCK_MONOTONIC (a vDSO call, ~25 ns, no syscall), and
 * ticks of the cheapest counter that the CPU has, for spans too short to spend
 * that on.  How long a tick is, is measured: compare both over a second.  And
 * the shortest wait.
 */

#define XMB_NS_PER_US UINT64_C(1000)
#define XMB_NS_PER_MS UINT64_C(1000000)
#define XMB_NS_PER_S UINT64_C(1000000000)

static inline uint64_t xmb_clock_ns(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (uint64_t)ts.tv_sec * XMB_NS_PER_S + (uint64_t)ts.tv_nsec;
}

static inline uint64_t xmb_clock_ticks(void)
{
#if defined(__x86_64__) || defined(__i386__)
	return __builtin_ia32_rdtsc();
#elif defined(__aarch64__)
	uint64_t v;

	__asm__ __volatile__("mrs %0, cntvct_el0" : "=r"(v));
	return v;
#else
	return xmb_clock_ns();
#endif
}

/* Wait for some ten nanoseconds, as who polls should in between. */
static inline void xmb_clock_relax(void)
{
#if defined(__x86_64__) || defined(__i386__)
	__builtin_ia32_pause();
#elif defined(__aarch64__)
	__asm__ __volatile__("isb" ::: "memory");
#endif
}

#endif /* XMBUF_BASE_CLOCK_H */
