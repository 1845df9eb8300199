/* SPDX-License-Identifier: BSD-2-Clause */
#ifndef XMBUF_TESTS_UMEM_LAB_H
#define XMBUF_TESTS_UMEM_LAB_H

/* What the tests of lib/umem share: an ear for the log, and descriptors. */

#include "base/log.h"
#include "umem/ledger.h"
#include "umem/umem.h"

#include <criterion/criterion.h>
#include <criterion/new/assert.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

static char said[8192];

static inline void hear(void *arg, enum xmb_log_level level, const char *text)
{
	size_t len = strlen(said);

	(void)arg;
	if (level == XMB_LOG_ERROR)
		snprintf(said + len, sizeof(said) - len, "%s\n", text);
}

static inline void listen_to_errors(void)
{
	said[0] = '\0';
	xmb_log_set(hear, NULL);
}

#define expect_said(part)                                                      \
	cr_expect(ne(ptr, strstr(said, part), NULL), "'%s' is not in '%s'",    \
		  part, said)

/* Grows with every descriptor that is left behind. */
static inline int lowest_free_fd(void)
{
	int fd = dup(STDERR_FILENO);

	cr_assert(ge(int, fd, 0));
	close(fd);
	return fd;
}

static inline struct xmb_umem *make_umem(uint32_t frame_len, uint32_t frame_cnt)
{
	struct xmb_umem_opts opts = { .frame_len = frame_len,
				      .frame_cnt = frame_cnt };
	struct xmb_umem *umem = NULL;

	cr_assert(eq(int, xmb_umem_create(&umem, &opts), 0));
	return umem;
}

#endif /* XMBUF_TESTS_UMEM_LAB_H */
