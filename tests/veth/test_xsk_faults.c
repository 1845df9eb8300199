/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * lib/xsk, calls that kernels have not been seen to refuse, and are: getsockopt
 * is wrapped (--wrap), so that one option of AF_XDP can be failed.
 */
#include "xsk_lab.h"

#include <sys/socket.h>

TestSuite(xsk_faults, .init = xsk_lab_setup, .timeout = 300);

static int failing_option, failing_err, fail_cnt;

int __real_getsockopt(int fd, int level, int name, void *value, socklen_t *len);
int __wrap_getsockopt(int fd, int level, int name, void *value, socklen_t *len);

int __wrap_getsockopt(int fd, int level, int name, void *value, socklen_t *len)
{
	if (level != SOL_XDP || name != failing_option)
		return __real_getsockopt(fd, level, name, value, len);
	fail_cnt++;
	errno = failing_err;
	return -1;
}

static void fail(int option, int err)
{
	failing_option = option;
	failing_err = err;
	fail_cnt = 0;
}

/* Copy and zero copy differ in what is safe, so it is not to be guessed. */
Test(xsk_faults, not_to_know_whether_it_is_zero_copy_is_an_error)
{
	struct xmb_xsk_opts opts;

	lab_plain();
	opts = lab_opts("left");
	fail(XDP_OPTIONS, ENOBUFS);
	lab_expect_refused(&opts, -ENOBUFS,
			   "ask whether it is zero copy: No buffer space");
	cr_expect(eq(int, fail_cnt, 1));
	/* The queue is free again, too. */
	fail(0, 0);
	lab_open(&opts);
	lab_finish();
}

Test(xsk_faults, a_second_socket_that_is_refused_leaves_the_first_whole)
{
	struct xmb_xsk_opts opts;
	struct xmb_xsk *first, *second;

	lab_plain();
	opts = lab_opts("left");
	opts.share_cnt = 1;
	first = lab_open(&opts);
	opts.share = first;
	fail(XDP_OPTIONS, ENOMEM);
	lab_expect_refused(&opts, -ENOMEM, "Cannot allocate memory");
	fail(0, 0);
	/* The one place that there is for another was not taken. */
	second = lab_open(&opts);
	cr_expect(eq(int, xmb_xsk_close(second, &lab.cache), 0));
	lab_finish();
}

Test(xsk_faults, rings_of_an_unknown_layout_are_an_error)
{
	struct xmb_xsk_opts opts;

	lab_plain();
	opts = lab_opts("left");
	fail(XDP_MMAP_OFFSETS, EAGAIN);
	lab_expect_refused(&opts, -EAGAIN, "ask for the rings' layout");
	fail(0, 0);
	lab_open(&opts);
	lab_finish();
}
