/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * lib/loop/loop: how it gets its ring, what it says when it gets none, and what
 * it does when the ring is too small for what happens.
 *
 * io_uring_queue_init_params() is interposed, so that a kernel which lacks or
 * forbids io_uring, or knows fewer flags, can be had here.
 */
#include "loop/loop.h"

#include "base/clock.h"
#include "base/log.h"

#include <criterion/criterion.h>
#include <criterion/new/assert.h>
#include <dlfcn.h>
#include <errno.h>
#include <liburing.h>
#include <stdio.h>
#include <string.h>
#include <sys/eventfd.h>

enum { MANY = 200 };

TestSuite(loop_ring, .timeout = 300);

static struct xmb_loop *loop;
static int refuse_all;	 /* errno for every ring asked for */
static int refuse_flags; /* errno for a ring with flags */
static int ring_cnt;
static char said[1024];

int io_uring_queue_init_params(unsigned int entries, struct io_uring *ring,
			       struct io_uring_params *p)
{
	static int (*real)(unsigned int, struct io_uring *,
			   struct io_uring_params *);

	ring_cnt++;
	if (refuse_all)
		return refuse_all;
	if (refuse_flags && p->flags)
		return refuse_flags;
	if (!real)
		*(void **)&real = dlsym(RTLD_NEXT, __func__);
	return real(entries, ring, p);
}

static void keep(void *arg, enum xmb_log_level level, const char *text)
{
	(void)arg;
	(void)level;
	snprintf(said, sizeof(said), "%s", text);
}

static void on_end(void *arg, int res)
{
	(void)arg;
	(void)res;
	xmb_loop_stop(loop, 1);
}

static void run_for_50_ms(void)
{
	int id = xmb_loop_add_timer(loop, 50 * XMB_NS_PER_MS, on_end, NULL);

	cr_assert(gt(int, id, 0));
	cr_assert(eq(int, xmb_loop_run(loop), 1));
	cr_assert(eq(int, xmb_loop_remove(loop, id), 0));
}

Test(loop_ring, refusal_says_what_to_do)
{
	xmb_log_set(keep, NULL);
	refuse_all = -EPERM;
	cr_expect(eq(int, xmb_loop_create(&loop), -EPERM));
	cr_expect(ne(ptr, strstr(said, "kernel.io_uring_disabled"), NULL));
	refuse_all = -ENOSYS;
	cr_expect(eq(int, xmb_loop_create(&loop), -ENOSYS));
	cr_expect(ne(ptr, strstr(said, "seccomp"), NULL));
	refuse_all = -ENOMEM;
	cr_expect(eq(int, xmb_loop_create(&loop), -ENOMEM));
	cr_expect(ne(ptr, strstr(said, "RLIMIT_MEMLOCK"), NULL));
	refuse_all = -EMFILE;
	cr_expect(eq(int, xmb_loop_create(&loop), -EMFILE));
	cr_expect(ne(ptr, strstr(said, "ulimit -n"), NULL));
	cr_expect(zero(ptr, loop), "a refused call changed the handle");
}

struct flood {
	int fd;
	int calls[MANY];
	bool flooded;
};

struct flooded {
	struct flood *flood;
	int idx;
};

static void on_flood(void *arg, int res)
{
	struct flooded *f = arg;

	(void)res;
	/* Ten edges for each of the watches, and nobody to take them. */
	for (int i = 0; i < 10 && !f->flood->flooded; i++)
		eventfd_write(f->flood->fd, 1);
	f->flood->flooded = true;
	f->flood->calls[f->idx]++;
}

static bool are_called(const struct flood *flood)
{
	for (int i = 0; i < MANY; i++)
		if (flood->calls[i] == 0)
			return false;
	return true;
}

/*
 * Without DEFER_TASKRUN the kernel posts completions while a callback runs.
 * When its ring is full it ends the polls; they have to be armed again.
 */
Test(loop_ring, old_kernel_gets_a_plain_ring_whose_overflow_ends_no_watch)
{
	struct flood flood = { .fd = eventfd(0, EFD_NONBLOCK) };
	struct flooded each[MANY];

	refuse_flags = -EINVAL;
	cr_assert(eq(int, xmb_loop_create(&loop), 0));
	cr_expect(eq(int, ring_cnt, 2));
	for (int i = 0; i < MANY; i++) {
		each[i] = (struct flooded){ &flood, i };
		xmb_loop_add_fd(loop, flood.fd, on_flood, &each[i]);
	}
	eventfd_write(flood.fd, 1);
	run_for_50_ms();

	memset(flood.calls, 0, sizeof(flood.calls));
	eventfd_write(flood.fd, 1);
	/* The timer may overtake some of them: there is no hurry. */
	for (int i = 0; i < 600 && !are_called(&flood); i++)
		run_for_50_ms();
	for (int i = 0; i < MANY; i++)
		cr_assert(ge(int, flood.calls[i], 1), "watch %d is dead", i);
	xmb_loop_destroy(loop);
}
