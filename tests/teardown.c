/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Criterion 2.4.1 counts a check that fails in a suite's .fini and then forgets
 * it: the test has passed by then.  Ours look there for what is not given back,
 * so a program in which one failed ends with status 1.
 */
#include <criterion/criterion.h>
#include <criterion/hooks.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

static void fail(void)
{
	static const char words[] =
		"a check failed in a teardown: see Assertion Failed above\n";

	fflush(NULL);
	_exit(write(STDERR_FILENO, words, sizeof(words) - 1) < 0 ? 2 : 1);
}

ReportHook(POST_ALL)(struct criterion_global_stats *stats)
{
	/* After the report has been written. */
	if (stats->asserts_failed > 0 && stats->tests_failed == 0)
		atexit(fail);
}
