/* SPDX-License-Identifier: BSD-2-Clause */
#ifndef XMBUF_BENCH_GEN_H
#define XMBUF_BENCH_GEN_H

#include "bench.h"

enum {
	GEN_LEN_MAX = 9000,
	GEN_LATE_NS =
		100000, /* what was missed longer ago is not made up for */
};

/*
 * Get ready to send packets of len bytes, GEN_LEN_MAX at most, out of dev, rate
 * of them a second, or as many as go where it is 0.  Ends the process when that
 * cannot be done.
 */
void gen_chains_open(const char *dev, uint32_t len, double rate);

/* Send until bench_is_over(); how many the device took. */
uint64_t gen_chains_run(struct bench_watch *watch);

#endif /* XMBUF_BENCH_GEN_H */
