/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * lib/loop/loop when a call fails once.  The calls of the library to liburing
 * and for its descriptors are wrapped at link time; each of them, one after the
 * other, answers with each errno.  Whatever comes of it, what is refused is
 * said, the next try works, and no descriptor and no file is held in the end.
 */
#include "loop/loop.h"

#include "base/clock.h"
#include "base/log.h"

#include <criterion/criterion.h>
#include <criterion/new/assert.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <liburing.h>
#include <stdio.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/signalfd.h>
#include <sys/timerfd.h>
#include <unistd.h>

enum { MANY = 240, HALF = MANY / 2, CODE = 7, TICKS_MAX = 60000 };

TestSuite(loop_faults, .timeout = 300);

static const int errnos[] = { ENOMEM, ENOBUFS, EAGAIN, EINTR,
			      EBUSY,  EPERM,   EMFILE };

enum { ERRNO_CNT = sizeof(errnos) / sizeof(errnos[0]) };

/* The call that fails: the fault_at'th of those that are asked for. */
static enum wrapped {
	SUBMIT,
	WAIT,
	INIT,
	EVENTFD,
	TIMERFD,
	SETTIME,
	SIGNALFD,
	WRAPPED_CNT
} fault_of;
static int fault_at = -1, fault_err;
static int calls[WRAPPED_CNT];
static char said[1024];

static bool is_fault(enum wrapped which)
{
	return calls[which]++ == fault_at && which == fault_of;
}

int __real_io_uring_submit(struct io_uring *ring);
int __wrap_io_uring_submit(struct io_uring *ring);
int __real_io_uring_submit_and_wait(struct io_uring *ring, unsigned int n);
int __wrap_io_uring_submit_and_wait(struct io_uring *ring, unsigned int n);
int __real_io_uring_queue_init_params(unsigned int n, struct io_uring *ring,
				      struct io_uring_params *p);
int __wrap_io_uring_queue_init_params(unsigned int n, struct io_uring *ring,
				      struct io_uring_params *p);
int __real_eventfd(unsigned int n, int flags);
int __wrap_eventfd(unsigned int n, int flags);
int __real_timerfd_create(int clock, int flags);
int __wrap_timerfd_create(int clock, int flags);
int __real_timerfd_settime(int fd, int flags, const struct itimerspec *when,
			   struct itimerspec *old);
int __wrap_timerfd_settime(int fd, int flags, const struct itimerspec *when,
			   struct itimerspec *old);
int __real_signalfd(int fd, const sigset_t *set, int flags);
int __wrap_signalfd(int fd, const sigset_t *set, int flags);

int __wrap_io_uring_submit(struct io_uring *ring)
{
	return is_fault(SUBMIT) ? -fault_err : __real_io_uring_submit(ring);
}

int __wrap_io_uring_submit_and_wait(struct io_uring *ring, unsigned int n)
{
	return is_fault(WAIT) ? -fault_err
			      : __real_io_uring_submit_and_wait(ring, n);
}

int __wrap_io_uring_queue_init_params(unsigned int n, struct io_uring *ring,
				      struct io_uring_params *p)
{
	return is_fault(INIT) ? -fault_err
			      : __real_io_uring_queue_init_params(n, ring, p);
}

/* What fails in libc has its answer in errno. */
static int fail(void)
{
	errno = fault_err;
	return -1;
}

int __wrap_eventfd(unsigned int n, int flags)
{
	return is_fault(EVENTFD) ? fail() : __real_eventfd(n, flags);
}

int __wrap_timerfd_create(int clock, int flags)
{
	return is_fault(TIMERFD) ? fail() : __real_timerfd_create(clock, flags);
}

int __wrap_timerfd_settime(int fd, int flags, const struct itimerspec *when,
			   struct itimerspec *old)
{
	return is_fault(SETTIME) ? fail()
				 : __real_timerfd_settime(fd, flags, when, old);
}

int __wrap_signalfd(int fd, const sigset_t *set, int flags)
{
	return is_fault(SIGNALFD) ? fail() : __real_signalfd(fd, set, flags);
}

static void keep(void *arg, enum xmb_log_level level, const char *text)
{
	(void)arg;
	(void)level;
	snprintf(said, sizeof(said), "%s", text);
}

static int open_files(void)
{
	DIR *dir = opendir("/proc/self/fd");
	int cnt = 0;

	cr_assert(ne(ptr, dir, NULL));
	while (readdir(dir))
		cnt++;
	closedir(dir);
	return cnt;
}

/*
 * A call that was refused: it is the fault, it was said in words, and the
 * second try is not refused.
 */
#define TRY(call)                                                              \
	__extension__({                                                        \
		int rc_ = (call);                                              \
		if (rc_ < 0) {                                                 \
			expect_refused(rc_);                                   \
			rc_ = (call);                                          \
		}                                                              \
		cr_assert(ge(int, rc_, 0), "%s, the second time: %d", #call,   \
			  rc_);                                                \
		rc_;                                                           \
	})

static void expect_refused(int rc)
{
	cr_assert(eq(int, rc, -fault_err));
	cr_expect(ne(ptr, strstr(said, strerror(fault_err)), NULL),
		  "it said: %s", said);
	cr_expect(ne(ptr, strstr(said, "asked for"), NULL), "it said: %s",
		  said);
	cr_expect(ne(ptr, strstr(said, "; "), NULL), "it said: %s", said);
}

struct heard {
	struct xmb_loop *loop;
	int fd[MANY], id[MANY];
	int calls[MANY];
	int ticks, wakes, signals;
	int heard, want; /* of calls together, signals and wakes */
};

struct one {
	struct heard *heard;
	int idx;
};

static void on_fd(void *arg, int res)
{
	struct one *one = arg;
	eventfd_t n;

	(void)res;
	while (eventfd_read(one->heard->fd[one->idx], &n) == 0) {
		one->heard->calls[one->idx]++;
		one->heard->heard++;
	}
}

static void on_wake(void *arg, int res)
{
	((struct heard *)arg)->wakes += res;
	((struct heard *)arg)->heard += res;
}

static void on_signal(void *arg, int res)
{
	cr_expect(eq(int, res, SIGUSR1));
	((struct heard *)arg)->signals++;
	((struct heard *)arg)->heard++;
}

static void on_tick(void *arg, int res)
{
	struct heard *h = arg;

	h->ticks += res;
	if (h->heard >= h->want || h->ticks > TICKS_MAX)
		xmb_loop_stop(h->loop, CODE);
}

/*
 * Run for a tick, and until so much more is heard; a run that is refused is
 * said, and works when repeated.
 */
static void run_until(struct heard *h, int more)
{
	int rc;

	h->want += more;
	rc = xmb_loop_run(h->loop);
	if (rc != CODE) {
		cr_assert(eq(int, rc, -fault_err));
		cr_expect(ne(ptr, strstr(said, strerror(fault_err)), NULL),
			  "it said: %s", said);
		cr_expect(ne(ptr, strstr(said, "waiting for events"), NULL),
			  "it said: %s", said);
		rc = xmb_loop_run(h->loop);
	}
	cr_assert(eq(int, rc, CODE));
}

/* A slot that was removed is had again when the kernel has let it go. */
static void add_again(struct heard *h, struct one *one)
{
	int *id = &h->id[one->idx], tries = 0;

	while ((*id = xmb_loop_add_fd(h->loop, h->fd[one->idx], on_fd, one)) ==
		       -ENOSPC &&
	       tries++ < TICKS_MAX)
		run_until(h, 0);
	cr_assert(gt(int, *id, 0));
}

static void write_all(struct heard *h, int first, int end)
{
	for (int i = first; i < end; i++)
		eventfd_write(h->fd[i], 1);
}

/* More watches made and removed between two waits than the ring has entries. */
static void use(struct heard *h, struct one *each)
{
	sigset_t set;

	sigemptyset(&set);
	sigaddset(&set, SIGUSR1);
	TRY(xmb_loop_create(&h->loop));
	TRY(xmb_loop_add_wake(h->loop, on_wake, h));
	TRY(xmb_loop_add_signals(h->loop, &set, on_signal, h));
	TRY(xmb_loop_add_timer(h->loop, XMB_NS_PER_MS, on_tick, h));
	for (int i = 0; i < MANY; i++) {
		each[i] = (struct one){ h, i };
		h->id[i] = xmb_loop_add_fd(h->loop, h->fd[i], on_fd, &each[i]);
		cr_assert(gt(int, h->id[i], 0));
	}
	run_until(h, 0);
	write_all(h, 0, MANY);
	xmb_loop_wake(h->loop);
	raise(SIGUSR1);
	run_until(h, MANY + 2);
	for (int i = 0; i < HALF; i++)
		cr_assert(eq(int, xmb_loop_remove(h->loop, h->id[i]), 0));
	run_until(h, 0);
	for (int i = 0; i < HALF; i++)
		add_again(h, &each[i]);
	for (int i = HALF; i < MANY; i++)
		cr_assert(eq(int, xmb_loop_remove(h->loop, h->id[i]), 0));
	write_all(h, 0, MANY);
	run_until(h, HALF);
	xmb_loop_destroy(h->loop);
}

/* All of it with one fault; returns how many calls of the kind there were. */
static int story(enum wrapped which, int at, int err)
{
	static struct heard heard;
	static struct one each[MANY];
	int files = open_files(), wrong = 0;

	memset(&heard, 0, sizeof(heard));
	fault_at = -1; /* not the descriptors of the test */
	for (int i = 0; i < MANY; i++) {
		heard.fd[i] = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
		cr_assert(ge(int, heard.fd[i], 0));
	}
	memset(calls, 0, sizeof(calls));
	said[0] = '\0';
	fault_of = which;
	fault_at = at;
	fault_err = err;
	use(&heard, each);
	fault_at = -1;
	for (int i = 0; i < MANY; i++) {
		/* Written to twice; the second time half were not watched. */
		wrong += heard.calls[i] != (i < HALF ? 2 : 1);
		close(heard.fd[i]);
	}
	cr_expect(eq(int, wrong, 0), "fault %d of kind %d, errno %d", at, which,
		  err);
	cr_expect(eq(int, heard.wakes, 1));
	cr_expect(eq(int, heard.signals, 1));
	cr_expect(eq(int, open_files(), files));
	return calls[which];
}

static void fail_each(enum wrapped which)
{
	int cnt = story(which, -1, 0);

	xmb_log_set(keep, NULL);
	cr_assert(gt(int, cnt, 0), "nothing was called");
	for (int at = 0; at < cnt; at++)
		for (int i = 0; i < ERRNO_CNT; i++)
			story(which, at, errnos[i]);
}

Test(loop_faults, a_submit_that_fails_once_loses_no_watch)
{
	fail_each(SUBMIT);
}

Test(loop_faults, a_wait_that_fails_once_is_said_or_repeated_and_loses_nothing)
{
	fail_each(WAIT);
}

Test(loop_faults, a_ring_that_is_refused_is_said_and_had_the_next_time)
{
	fail_each(INIT);
}

Test(loop_faults, a_descriptor_that_is_refused_is_said_and_had_the_next_time)
{
	fail_each(EVENTFD);
	fail_each(TIMERFD);
	fail_each(SETTIME);
	fail_each(SIGNALFD);
}

/* Files that the kernel still held would keep the pipe's reading end open. */
Test(loop_faults, a_wait_that_fails_at_the_end_holds_no_file)
{
	struct heard heard = { .want = 0 };
	struct one one = { &heard, 0 };

	xmb_log_set(keep, NULL);
	signal(SIGPIPE, SIG_IGN);
	for (int i = 0; i < ERRNO_CNT; i++) {
		int ends[2];

		cr_assert(eq(int, pipe2(ends, O_CLOEXEC | O_NONBLOCK), 0));
		cr_assert(eq(int, xmb_loop_create(&heard.loop), 0));
		cr_assert(gt(int,
			     xmb_loop_add_timer(heard.loop, XMB_NS_PER_MS,
						on_tick, &heard),
			     0));
		cr_assert(gt(int,
			     xmb_loop_add_fd(heard.loop, ends[0], on_fd, &one),
			     0));
		cr_assert(eq(int, xmb_loop_run(heard.loop), CODE));
		calls[WAIT] = 0;
		fault_of = WAIT;
		fault_at = 0;
		fault_err = errnos[i];
		xmb_loop_destroy(heard.loop);
		fault_at = -1;
		cr_expect(gt(int, calls[WAIT], 1),
			  "destroy did not wait again");
		close(ends[0]);
		cr_expect(eq(int, (int)write(ends[1], "x", 1), -1));
		cr_expect(eq(int, errno, EPIPE), "errno of the destroy %d",
			  errnos[i]);
		close(ends[1]);
	}
}
