/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * lib/loop/loop: every kind of watch calls back with what its header says,
 * callbacks may remove whom they like, and a loop that has gone leaves neither
 * a blocked signal nor a file held by the kernel.
 */
#include "loop/loop.h"

#include "base/clock.h"

#include <criterion/criterion.h>
#include <criterion/new/assert.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <poll.h>
#include <pthread.h>
#include <sys/eventfd.h>
#include <unistd.h>

static struct xmb_loop *loop;

static void setup(void)
{
	cr_assert(eq(int, xmb_loop_create(&loop), 0));
}

static void teardown(void)
{
	xmb_loop_destroy(loop);
}

TestSuite(loop, .init = setup, .fini = teardown, .timeout = 300);

/* What a callback saw, and what it is to do. */
struct probe {
	int calls;
	int res;	/* of the last call */
	int sum;	/* of all */
	int stop_after; /* calls; 0: never stop */
	int fd;		/* read until empty, unless 0 */
	int remove[2];	/* ids, 0: none */
	int removed[2]; /* what removing them returned */
};

static void on_probe(void *arg, int res)
{
	struct probe *p = arg;
	char byte[64];

	p->calls++;
	p->res = res;
	p->sum += res;
	while (p->fd && read(p->fd, byte, sizeof(byte)) > 0)
		;
	for (int i = 0; i < 2; i++)
		if (p->remove[i])
			p->removed[i] = xmb_loop_remove(loop, p->remove[i]);
	if (p->calls == p->stop_after)
		xmb_loop_stop(loop, p->calls);
}

static void make_pipe(int fd[2])
{
	cr_assert(eq(int, pipe2(fd, O_NONBLOCK | O_CLOEXEC), 0));
}

static void put(int fd)
{
	cr_assert(eq(int, (int)write(fd, "12345678", 8), 8));
}

/* Run for so long, whatever is watched. */
static void run_for_ms(uint64_t ms)
{
	struct probe end = { .stop_after = 1 };
	int id = xmb_loop_add_timer(loop, ms * XMB_NS_PER_MS, on_probe, &end);

	cr_assert(gt(int, id, 0));
	cr_assert(eq(int, xmb_loop_run(loop), 1));
	cr_assert(eq(int, xmb_loop_remove(loop, id), 0));
}

Test(loop, fd_is_reported_each_time_data_arrives)
{
	int fd[2];
	struct probe p = { .stop_after = 1 };

	make_pipe(fd);
	p.fd = fd[0];
	cr_assert(gt(int, xmb_loop_add_fd(loop, fd[0], on_probe, &p), 0));
	for (int i = 1; i <= 10; i++) {
		p.stop_after = i;
		put(fd[1]);
		cr_assert(eq(int, xmb_loop_run(loop), i));
		cr_assert(eq(int, p.res &POLLIN, POLLIN));
	}
	run_for_ms(20);
	cr_expect(eq(int, p.calls, 10), "called without data");
}

Test(loop, hangup_of_the_peer_is_reported)
{
	int fd[2];
	struct probe p = { .stop_after = 1 };

	make_pipe(fd);
	xmb_loop_add_fd(loop, fd[0], on_probe, &p);
	close(fd[1]);
	cr_expect(eq(int, xmb_loop_run(loop), 1));
	cr_expect(eq(int, p.res &POLLHUP, POLLHUP));
}

Test(loop, fd_that_is_not_open_is_refused)
{
	struct probe p = { 0 };

	cr_expect(eq(int, xmb_loop_add_fd(loop, -1, on_probe, &p), -EBADF));
	cr_expect(eq(int, xmb_loop_add_fd(loop, 999, on_probe, &p), -EBADF));
	cr_expect(eq(int, xmb_loop_run(loop), -ENOENT), "was added after all");
}

Test(loop, watch_that_the_kernel_ends_is_reported_once_and_its_id_is_stale)
{
	int fd[2], id;
	struct probe p = { .stop_after = 1 };

	make_pipe(fd);
	id = xmb_loop_add_fd(loop, fd[0], on_probe, &p);
	close(fd[0]); /* misuse: before the kernel was told of it */
	cr_expect(eq(int, xmb_loop_run(loop), 1));
	cr_expect(eq(int, p.res, -EBADF));
	cr_expect(eq(int, xmb_loop_remove(loop, id), -ENOENT));
	cr_expect(eq(int, xmb_loop_run(loop), -ENOENT));
}

Test(loop, callback_may_remove_itself)
{
	int fd[2];
	struct probe p = { 0 };

	make_pipe(fd);
	p.remove[0] = xmb_loop_add_fd(loop, fd[0], on_probe, &p);
	p.remove[1] = p.remove[0];
	put(fd[1]);
	cr_expect(eq(int, xmb_loop_run(loop), -ENOENT));
	cr_expect(eq(int, p.calls, 1));
	cr_expect(eq(int, p.removed[0], 0));
	cr_expect(eq(int, p.removed[1], -ENOENT), "removed twice");
	put(fd[1]);
	run_for_ms(20);
	cr_expect(eq(int, p.calls, 1));
}

Test(loop, callback_may_remove_another_that_is_ready_too)
{
	int fd[2];
	struct probe a = { 0 }, b = { 0 };

	/* Both are ready in one round; whoever comes first ends the other. */
	make_pipe(fd);
	put(fd[1]);
	a.remove[0] = xmb_loop_add_fd(loop, fd[0], on_probe, &b);
	b.remove[0] = xmb_loop_add_fd(loop, fd[0], on_probe, &a);
	run_for_ms(20);
	cr_expect(eq(int, a.calls + b.calls, 1));
}

struct replacer {
	struct probe first, second;
	int id, new_id, writer;
};

/* The slot of the watch that is removed must not go to the new one yet. */
static void on_replace(void *arg, int res)
{
	struct replacer *r = arg;

	on_probe(&r->first, res);
	cr_assert(eq(int, xmb_loop_remove(loop, r->id), 0));
	r->new_id = xmb_loop_add_fd(loop, r->first.fd, on_probe, &r->second);
	put(r->writer);
}

Test(loop, callback_may_replace_itself)
{
	int fd[2];
	struct replacer r = { .second.stop_after = 1 };

	make_pipe(fd);
	r.first.fd = fd[0];
	r.writer = fd[1];
	r.id = xmb_loop_add_fd(loop, fd[0], on_replace, &r);
	put(fd[1]);
	cr_expect(eq(int, xmb_loop_run(loop), 1));
	cr_expect(eq(int, r.first.calls, 1));
	cr_expect(ne(int, r.new_id, r.id));
	cr_expect(eq(int, xmb_loop_remove(loop, r.id), -ENOENT), "stale id");
	cr_expect(eq(int, xmb_loop_remove(loop, r.new_id), 0));
}

Test(loop, ids_that_never_were_are_refused)
{
	int ids[] = { 0, -1, 1, 255, 256, INT_MAX, INT_MIN };

	for (size_t i = 0; i < sizeof(ids) / sizeof(ids[0]); i++)
		cr_expect(eq(int, xmb_loop_remove(loop, ids[i]), -ENOENT));
}

Test(loop, watches_are_limited_and_their_slots_come_back)
{
	int ids[XMB_LOOP_WATCH_MAX];
	int fd = eventfd(0, EFD_NONBLOCK);
	struct probe p = { 0 };

	for (int round = 0; round < 3; round++) {
		for (int i = 0; i < XMB_LOOP_WATCH_MAX; i++) {
			ids[i] = xmb_loop_add_fd(loop, fd, on_probe, &p);
			cr_assert(gt(int, ids[i], 0));
		}
		cr_expect(eq(int, xmb_loop_add_fd(loop, fd, on_probe, &p),
			     -ENOSPC));
		cr_expect(eq(int, xmb_loop_add_timer(loop, 1, on_probe, &p),
			     -ENOSPC));
		for (int i = 0; i < XMB_LOOP_WATCH_MAX; i++)
			cr_assert(eq(int, xmb_loop_remove(loop, ids[i]), 0));
		cr_assert(eq(int, xmb_loop_run(loop), -ENOENT));
	}
	eventfd_write(fd, 1);
	run_for_ms(10);
	cr_expect(eq(int, p.calls, 0));
	close(fd);
}

/*
 * Of all intervals, not a millisecond is lost between two: what is lost is not
 * made good.  Who comes late to the clock looks again, one call later.
 */
Test(loop, timer_keeps_its_pace)
{
	struct probe p = { .stop_after = 20 };
	uint64_t start = xmb_clock_ns(), ms;

	cr_assert(gt(int,
		     xmb_loop_add_timer(loop, 5 * XMB_NS_PER_MS, on_probe, &p),
		     0));
	do {
		cr_expect(eq(int, xmb_loop_run(loop), p.stop_after));
		ms = (xmb_clock_ns() - start) / XMB_NS_PER_MS;
		cr_expect(ge(u64, ms, (uint64_t)p.sum * 5));
	} while (ms >= (uint64_t)p.sum * 5 + 5 && p.stop_after++ < 2000);
	cr_expect(lt(u64, ms, (uint64_t)p.sum * 5 + 5));
}

Test(loop, timer_counts_what_a_late_loop_missed)
{
	struct probe p = { .stop_after = 1 };

	xmb_loop_add_timer(loop, 5 * XMB_NS_PER_MS, on_probe, &p);
	usleep(52000);
	cr_expect(eq(int, xmb_loop_run(loop), 1));
	cr_expect(ge(int, p.res, 10));
}

Test(loop, timer_that_is_removed_is_silent)
{
	struct probe p = { 0 };
	int id = xmb_loop_add_timer(loop, XMB_NS_PER_MS, on_probe, &p);

	usleep(3000);
	cr_expect(eq(int, xmb_loop_remove(loop, id), 0));
	run_for_ms(20);
	cr_expect(eq(int, p.calls, 0));
}

Test(loop, timer_without_an_interval_is_refused)
{
	struct probe p = { 0 };

	cr_expect(eq(int, xmb_loop_add_timer(loop, 0, on_probe, &p), -EINVAL));
}

static sigset_t two_signals(void)
{
	sigset_t set;

	sigemptyset(&set);
	sigaddset(&set, SIGUSR1);
	sigaddset(&set, SIGUSR2);
	return set;
}

static bool is_blocked(int signo)
{
	sigset_t now;

	pthread_sigmask(SIG_BLOCK, NULL, &now);
	return sigismember(&now, signo) == 1;
}

Test(loop, signals_become_calls)
{
	sigset_t set = two_signals();
	struct probe p = { .stop_after = 2 };

	cr_assert(gt(int, xmb_loop_add_signals(loop, &set, on_probe, &p), 0));
	kill(getpid(), SIGUSR1);
	kill(getpid(), SIGUSR2);
	cr_expect(eq(int, xmb_loop_run(loop), 2));
	cr_expect(eq(int, p.sum, SIGUSR1 + SIGUSR2));

	p = (struct probe){ .stop_after = 1 };
	kill(getpid(), SIGUSR2);
	cr_expect(eq(int, xmb_loop_run(loop), 1));
	cr_expect(eq(int, p.res, SIGUSR2));
}

Test(loop, signal_that_comes_while_waiting_becomes_a_call)
{
	sigset_t set = two_signals();
	struct probe p = { .stop_after = 1 };

	cr_assert(gt(int, xmb_loop_add_signals(loop, &set, on_probe, &p), 0));
	if (fork() == 0) {
		usleep(50000);
		kill(getppid(), SIGUSR1);
		_exit(0);
	}
	cr_expect(eq(int, xmb_loop_run(loop), 1));
	cr_expect(eq(int, p.res, SIGUSR1));
}

Test(loop, destroy_puts_the_mask_back_and_swallows_the_second_signal)
{
	sigset_t set = two_signals();
	struct probe p = { .stop_after = 1 };

	xmb_loop_add_signals(loop, &set, on_probe, &p);
	cr_expect(is_blocked(SIGUSR1));
	kill(getpid(), SIGUSR1);
	cr_expect(eq(int, xmb_loop_run(loop), 1));
	kill(getpid(), SIGUSR1); /* would end this process if let through */
	xmb_loop_destroy(loop);
	cr_expect(not(is_blocked(SIGUSR1)));
	setup();
}

Test(loop, signals_keep_a_mask_that_was_there)
{
	sigset_t set = two_signals(), usr1;
	struct probe p = { .stop_after = 1 };
	int id;

	sigemptyset(&usr1);
	sigaddset(&usr1, SIGUSR1);
	pthread_sigmask(SIG_BLOCK, &usr1, NULL);
	id = xmb_loop_add_signals(loop, &set, on_probe, &p);
	cr_expect(eq(int, xmb_loop_remove(loop, id), 0));
	cr_expect(is_blocked(SIGUSR1));
	cr_expect(not(is_blocked(SIGUSR2)));
}

Test(loop, second_watch_for_signals_or_wakes_is_refused)
{
	sigset_t set = two_signals(), more;
	struct probe p = { 0 };
	int id = xmb_loop_add_signals(loop, &set, on_probe, &p);

	sigemptyset(&more);
	sigaddset(&more, SIGHUP);
	cr_expect(eq(int, xmb_loop_add_signals(loop, &more, on_probe, &p),
		     -EBUSY));
	cr_expect(not(is_blocked(SIGHUP)), "a refused call changed the mask");
	cr_expect(eq(int, xmb_loop_remove(loop, id), 0));
	cr_expect(gt(int, xmb_loop_add_signals(loop, &more, on_probe, &p), 0));

	id = xmb_loop_add_wake(loop, on_probe, &p);
	cr_expect(gt(int, id, 0));
	cr_expect(eq(int, xmb_loop_add_wake(loop, on_probe, &p), -EBUSY));
	cr_expect(eq(int, xmb_loop_remove(loop, id), 0));
	cr_expect(gt(int, xmb_loop_add_wake(loop, on_probe, &p), 0));
}

static void *wake_often(void *arg)
{
	for (int i = 0; i < 1000; i++)
		xmb_loop_wake(arg);
	return NULL;
}

static void on_wake(void *arg, int res)
{
	int *sum = arg;

	*sum += res;
	if (*sum >= 4000)
		xmb_loop_stop(loop, *sum);
}

Test(loop, wakes_of_several_threads_are_all_counted)
{
	pthread_t threads[4];
	int sum = 0;

	cr_assert(gt(int, xmb_loop_add_wake(loop, on_wake, &sum), 0));
	for (int i = 0; i < 4; i++)
		pthread_create(&threads[i], NULL, wake_often, loop);
	cr_expect(eq(int, xmb_loop_run(loop), 4000));
	for (int i = 0; i < 4; i++)
		pthread_join(threads[i], NULL);
}

Test(loop, wake_before_its_watch_is_not_lost)
{
	struct probe p = { .stop_after = 1 };

	xmb_loop_wake(loop);
	xmb_loop_wake(loop);
	xmb_loop_add_wake(loop, on_probe, &p);
	cr_expect(eq(int, xmb_loop_run(loop), 1));
	cr_expect(eq(int, p.res, 2));
}

static void wake_handler(int signo)
{
	(void)signo;
	xmb_loop_wake(loop);
}

Test(loop, handler_of_a_signal_may_wake_a_waiting_loop)
{
	struct probe p = { .stop_after = 1 };

	signal(SIGUSR1, wake_handler);
	xmb_loop_add_wake(loop, on_probe, &p);
	if (fork() == 0) {
		usleep(50000);
		kill(getppid(), SIGUSR1);
		_exit(0);
	}
	cr_expect(eq(int, xmb_loop_run(loop), 1));
}

Test(loop, stop_before_run_counts_and_the_loop_runs_again)
{
	struct probe p = { .stop_after = 1 };

	xmb_loop_add_wake(loop, on_probe, &p);
	xmb_loop_stop(loop, -EPIPE);
	cr_expect(eq(int, xmb_loop_run(loop), -EPIPE));
	cr_expect(eq(int, p.calls, 0));
	xmb_loop_wake(loop);
	cr_expect(eq(int, xmb_loop_run(loop), 1));
}

Test(loop, what_was_ready_at_a_stop_is_called_by_the_next_run)
{
	struct probe a = { .stop_after = 1 }, b = { .stop_after = 1 };
	int fa = eventfd(1, EFD_NONBLOCK), fb = eventfd(1, EFD_NONBLOCK);

	xmb_loop_add_fd(loop, fa, on_probe, &a);
	xmb_loop_add_fd(loop, fb, on_probe, &b);
	cr_expect(eq(int, xmb_loop_run(loop), 1));
	cr_expect(eq(int, a.calls + b.calls, 1));
	cr_expect(eq(int, xmb_loop_run(loop), 1));
	cr_expect(eq(int, a.calls, 1));
	cr_expect(eq(int, b.calls, 1));
}

Test(loop, run_of_a_loop_that_watches_nothing_returns)
{
	cr_expect(eq(int, xmb_loop_run(loop), -ENOENT));
}

static void *run_loop(void *arg)
{
	return (void *)(intptr_t)xmb_loop_run(arg);
}

Test(loop, thread_that_did_not_create_the_loop_may_not_run_it)
{
	struct probe p = { 0 };
	pthread_t thread;
	void *code;

	xmb_loop_add_wake(loop, on_probe, &p);
	pthread_create(&thread, NULL, run_loop, loop);
	pthread_join(thread, &code);
	cr_expect(eq(int, (int)(intptr_t)code, -EEXIST));
}

static void on_nested(void *arg, int res)
{
	(void)arg;
	(void)res;
	xmb_loop_run(loop);
}

Test(loop, callback_that_runs_the_loop_aborts, .signal = SIGABRT)
{
	xmb_loop_wake(loop);
	xmb_loop_add_wake(loop, on_nested, NULL);
	xmb_loop_run(loop);
}

/* Is the reading end of this pipe, closed by us, still held by the kernel? */
static bool is_held(int writer)
{
	signal(SIGPIPE, SIG_IGN);
	return write(writer, "1", 1) == 1;
}

Test(loop, destroy_makes_the_kernel_let_the_files_go)
{
	int fd[2];
	struct probe p = { 0 };

	make_pipe(fd);
	xmb_loop_add_fd(loop, fd[0], on_probe, &p);
	run_for_ms(1); /* the kernel has the poll now */
	xmb_loop_destroy(loop);
	close(fd[0]);
	cr_expect(not(is_held(fd[1])));
	setup();
}

Test(loop, removed_file_is_let_go_when_the_loop_goes_on)
{
	int fd[2], id;
	struct probe p = { 0 };

	make_pipe(fd);
	id = xmb_loop_add_fd(loop, fd[0], on_probe, &p);
	run_for_ms(1);
	cr_assert(eq(int, xmb_loop_remove(loop, id), 0));
	close(fd[0]);
	run_for_ms(1);
	cr_expect(not(is_held(fd[1])));
}

Test(loop, destroy_of_nothing_is_allowed)
{
	xmb_loop_destroy(NULL);
}
