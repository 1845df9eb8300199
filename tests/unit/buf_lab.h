/* SPDX-License-Identifier: BSD-2-Clause */
#ifndef XMBUF_TESTS_BUF_LAB_H
#define XMBUF_TESTS_BUF_LAB_H

/* What the tests of lib/buf share: a pool on the heap, and deaths foretold. */

#include "base/log.h"
#include "buf/pool.h"

#include <criterion/criterion.h>
#include <criterion/new/assert.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

struct lab {
	uint8_t *base;
	uint8_t *side;
	uint8_t *snap; /* copy of the side memory, see lab_snap() */
	size_t side_len;
	struct xmb_pool pool;
	struct xmb_cache cache;
};

static inline void *lab_alloc(size_t len)
{
	void *mem = aligned_alloc(XMB_CACHE_LINE,
				  xmb_align_up(len, XMB_CACHE_LINE));

	cr_assert(not(zero(ptr, mem)));
	memset(mem, 0, len);
	return mem;
}

static inline void lab_open(struct lab *lab, uint32_t frame_len,
			    uint32_t frame_cnt, uint32_t spill_cnt)
{
	struct xmb_pool_opts opts = {
		.frame_len = frame_len,
		.frame_cnt = frame_cnt,
		.spill_cnt = spill_cnt,
	};

	lab->base = opts.base = lab_alloc((size_t)frame_len * frame_cnt);
	lab->side_len = xmb_pool_footprint(&opts);
	lab->side = lab_alloc(lab->side_len);
	lab->snap = lab_alloc(lab->side_len);
	cr_assert(eq(int, xmb_pool_init(&lab->pool, lab->side, &opts), 0));
	xmb_cache_init(&lab->cache, &lab->pool, 0);
}

/* Everything must have come home. */
static inline void lab_close(struct lab *lab)
{
	xmb_cache_fini(&lab->cache);
	cr_expect(eq(u32, xmb_pool_free_cnt(&lab->pool),
		     lab->pool.domain.region_cnt));
	cr_expect(xmb_pool_check(&lab->pool, NULL, 0));
	xmb_pool_fini(&lab->pool);
	free(lab->base);
	free(lab->side);
	free(lab->snap);
}

/* Remember all words, trackers and stacks; then: are they as they were? */
static inline void lab_snap(struct lab *lab)
{
	memcpy(lab->snap, lab->side, lab->side_len);
}

static inline bool lab_is_unchanged(const struct lab *lab)
{
	return memcmp(lab->snap, lab->side, lab->side_len) == 0;
}

static inline uint32_t lab_state(const struct lab *lab, uint32_t frame)
{
	return xmb_frame_word_state(xmb_frame_load(&lab->pool.domain, frame));
}

/*
 * Run fn in a child: it must abort, and say text on stderr.  The child has the
 * parent's memory, so that fn can use what the test prepared.
 */
static inline void lab_expect_death(void (*fn)(void), const char *text)
{
	char said[2048] = { 0 };
	size_t len = 0;
	ssize_t n = 1;
	int fds[2], status = 0;
	bool is_aborted, is_said;
	pid_t pid;

	cr_assert(eq(int, pipe(fds), 0));
	pid = fork();
	cr_assert(ge(int, pid, 0));
	if (pid == 0) {
		dup2(fds[1], STDERR_FILENO);
		close(fds[0]);
		close(fds[1]);
		signal(SIGABRT, SIG_DFL);
		xmb_log_set(NULL, NULL);
		fn();
		_exit(0);
	}
	close(fds[1]);
	while (n > 0 && len < sizeof(said) - 1) {
		n = read(fds[0], said + len, sizeof(said) - 1 - len);
		len += n > 0 ? (size_t)n : 0;
	}
	close(fds[0]);
	cr_assert(eq(int, waitpid(pid, &status, 0), pid));
	is_aborted = WIFSIGNALED(status) && WTERMSIG(status) == SIGABRT;
	cr_expect(is_aborted, "no abort, status %#x: %s",
		  (unsigned int)status, said);
	is_said = strstr(said, text) != NULL;
	cr_expect(is_said, "said: %s", said);
}

/* A small generator, seeded, so that a failure repeats. */
static inline uint32_t lab_rand(uint64_t *seed)
{
	*seed = *seed * UINT64_C(6364136223846793005) +
		UINT64_C(1442695040888963407);
	return (uint32_t)(*seed >> 33);
}

#endif /* XMBUF_TESTS_BUF_LAB_H */
