/* SPDX-License-Identifier: BSD-2-Clause */
#ifndef XMBUF_TESTS_FUZZ_MUST_H
#define XMBUF_TESTS_FUZZ_MUST_H

#include <stdio.h>
#include <stdlib.h>

/* What does not hold ends the fuzzer, with its words. */
#define MUST(cond)                                                             \
	do {                                                                   \
		if (!(cond)) {                                                 \
			fprintf(stderr, "%s:%d: %s\n", __FILE__, __LINE__,     \
				#cond);                                        \
			abort();                                               \
		}                                                              \
	} while (0)

#endif /* XMBUF_TESTS_FUZZ_MUST_H */
