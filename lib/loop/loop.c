/* SPDX-License-Identifier: BSD-2-Clause */
#include "loop/loop.h"

#include "base/clock.h"
#include "base/log.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <liburing.h>
#include <poll.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/signalfd.h>
#include <sys/timerfd.h>
#include <unistd.h>

enum {
	ID_IDX_BITS = 8, /* an id is a generation above a slot's index */
	ID_GEN_MAX = INT_MAX >> ID_IDX_BITS,
	RING_ENTRIES = XMB_LOOP_WATCH_MAX,
	SIGINFO_CNT = 16,     /* signals read at a time */
	DESTROY_ROUNDS = 1024 /* completions awaited before giving up */
};

/* The completion of a cancel carries this: no watch has the id 0. */
enum { CANCEL_ID = 0 };

_Static_assert(XMB_LOOP_WATCH_MAX == 1 << ID_IDX_BITS, "every slot has an id");

enum kind { KIND_FD, KIND_TIMER, KIND_SIGNALS, KIND_WAKE };

/*
 * A slot is free, live, or dying: removed, but the kernel still owes the last
 * completion of its poll, and until then its index is not given out again.
 */
enum state { STATE_FREE, STATE_LIVE, STATE_DYING };

struct watch {
	enum state state;
	enum kind kind;
	int gen;
	int fd;
	bool armed;	 /* the kernel has a poll of it */
	bool cancelling; /* and has been asked to end that */
	xmb_loop_fn *fn;
	void *arg;
};

struct xmb_loop {
	struct io_uring ring;
	int wake_fd;
	int code;
	bool stopped;
	bool running;
	bool unsettled; /* a request found no room in the submission ring */
	uint32_t live_cnt;
	uint32_t armed_cnt;
	struct watch *current; /* whose callback runs, not to be freed yet */
	sigset_t old_mask;
	struct watch watches[XMB_LOOP_WATCH_MAX];
};

static int id_of(const struct xmb_loop *loop, const struct watch *w)
{
	return w->gen << ID_IDX_BITS | (int)(w - loop->watches);
}

static struct watch *watch_of(struct xmb_loop *loop, int id)
{
	struct watch *w = &loop->watches[id & (XMB_LOOP_WATCH_MAX - 1)];

	return id > 0 && w->state != STATE_FREE && id_of(loop, w) == id ? w
									: NULL;
}

static const char *why_no_ring(int err)
{
	switch (err) {
	case -ENOSYS:
		return "this kernel or the container's seccomp profile has "
		       "none; allow io_uring_setup, io_uring_enter and "
		       "io_uring_register there";
	case -EPERM:
		return "see `sysctl kernel.io_uring_disabled`: 0 allows it, 1 "
		       "allows it to CAP_SYS_ADMIN and kernel.io_uring_group; "
		       "a container's seccomp profile may forbid it too";
	case -ENOMEM:
		return "no memory is left, or RLIMIT_MEMLOCK is too small";
	}
	return "are there too many open files (`ulimit -n`)?";
}

static int open_ring(struct io_uring *ring)
{
	struct io_uring_params p = {
		.flags =
			IORING_SETUP_SINGLE_ISSUER | IORING_SETUP_DEFER_TASKRUN,
	};
	int err = io_uring_queue_init_params(RING_ENTRIES, ring, &p);

	if (err == -EINVAL) { /* older than Linux 6.1 */
		p = (struct io_uring_params){ 0 };
		err = io_uring_queue_init_params(RING_ENTRIES, ring, &p);
	}
	if (err)
		xmb_log(XMB_LOG_ERROR,
			"asked for an io_uring, the kernel answered: %s; %s",
			strerror(-err), why_no_ring(err));
	return err;
}

/* A descriptor that could not be had; errno says why. */
static int refuse_fd(const char *what)
{
	const char *advice = "a sandbox (a container's seccomp profile) may "
			     "forbid it";
	int err = -errno;

	if (err == -EMFILE || err == -ENFILE)
		advice = "close some files or raise the limit (`ulimit -n`)";
	else if (err == -ENOMEM || err == -ENOBUFS)
		advice = "free some memory";
	xmb_log(XMB_LOG_ERROR, "asked for %s, the kernel answered: %s; %s",
		what, strerror(-err), advice);
	return err;
}

int xmb_loop_create(struct xmb_loop **loop)
{
	struct xmb_loop *l = calloc(1, sizeof(*l));
	int err;

	if (!l)
		return -ENOMEM;
	l->wake_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	if (l->wake_fd < 0) {
		err = refuse_fd("an eventfd");
		goto free_loop;
	}
	err = open_ring(&l->ring);
	if (err)
		goto close_wake;
	*loop = l;
	return 0;

close_wake:
	close(l->wake_fd);
free_loop:
	free(l);
	return err;
}

/* Room for one request, if need be by handing the others to the kernel. */
static struct io_uring_sqe *get_sqe(struct xmb_loop *loop)
{
	struct io_uring_sqe *sqe = io_uring_get_sqe(&loop->ring);

	if (sqe)
		return sqe;
	io_uring_submit(&loop->ring);
	return io_uring_get_sqe(&loop->ring);
}

/*
 * Ask the kernel for what the state of the watch calls for.  Where the
 * submission ring stays full (the kernel takes nothing while completions
 * overflow) the loop asks again before it waits.
 */
static void settle(struct xmb_loop *loop, struct watch *w)
{
	bool arm = w->state == STATE_LIVE && !w->armed;
	bool cancel = w->state == STATE_DYING && w->armed && !w->cancelling;
	struct io_uring_sqe *sqe;

	if (!arm && !cancel)
		return;
	sqe = get_sqe(loop);
	if (!sqe) {
		loop->unsettled = true;
		return;
	}
	if (arm) {
		io_uring_prep_poll_multishot(sqe, w->fd, POLLIN);
		io_uring_sqe_set_data64(sqe, (uint32_t)id_of(loop, w));
		w->armed = true;
		loop->armed_cnt++;
	} else {
		/* POLL_REMOVE would refuse while an event is on its way. */
		io_uring_prep_cancel64(sqe, (uint32_t)id_of(loop, w), 0);
		io_uring_sqe_set_data64(sqe, CANCEL_ID);
		w->cancelling = true;
	}
}

static void settle_all(struct xmb_loop *loop)
{
	if (!loop->unsettled)
		return;
	loop->unsettled = false;
	for (int i = 0; i < XMB_LOOP_WATCH_MAX; i++)
		settle(loop, &loop->watches[i]);
}

static int add(struct xmb_loop *loop, enum kind kind, int fd, xmb_loop_fn *fn,
	       void *arg)
{
	struct watch *w = loop->watches;
	struct watch *end = w + XMB_LOOP_WATCH_MAX;

	XMB_ASSERT(fn);
	while (w < end && w->state != STATE_FREE)
		w++;
	if (w == end)
		return -ENOSPC;
	*w = (struct watch){
		.state = STATE_LIVE,
		.kind = kind,
		.gen = w->gen % ID_GEN_MAX + 1,
		.fd = fd,
		.fn = fn,
		.arg = arg,
	};
	loop->live_cnt++;
	settle(loop, w);
	return id_of(loop, w);
}

/* Add a descriptor of our own making; without a slot it is closed again. */
static int add_own(struct xmb_loop *loop, enum kind kind, int fd,
		   xmb_loop_fn *fn, void *arg)
{
	int id = add(loop, kind, fd, fn, arg);

	if (id < 0)
		close(fd);
	return id;
}

static bool has_kind(const struct xmb_loop *loop, enum kind kind)
{
	for (int i = 0; i < XMB_LOOP_WATCH_MAX; i++)
		if (loop->watches[i].state == STATE_LIVE &&
		    loop->watches[i].kind == kind)
			return true;
	return false;
}

int xmb_loop_add_fd(struct xmb_loop *loop, int fd, xmb_loop_fn *fn, void *arg)
{
	if (fcntl(fd, F_GETFD) < 0)
		return refuse_fd("a watch of a descriptor");
	return add(loop, KIND_FD, fd, fn, arg);
}

int xmb_loop_add_timer(struct xmb_loop *loop, uint64_t interval_ns,
		       xmb_loop_fn *fn, void *arg)
{
	struct timespec ts = {
		.tv_sec = (time_t)(interval_ns / XMB_NS_PER_S),
		.tv_nsec = (long)(interval_ns % XMB_NS_PER_S),
	};
	struct itimerspec when = { .it_interval = ts, .it_value = ts };
	int err, fd;

	if (!interval_ns)
		return -EINVAL;
	fd = timerfd_create(CLOCK_MONOTONIC, TFD_CLOEXEC | TFD_NONBLOCK);
	if (fd < 0)
		return refuse_fd("a timerfd");
	if (timerfd_settime(fd, 0, &when, NULL)) {
		err = refuse_fd("a timer's interval");
		close(fd);
		return err;
	}
	return add_own(loop, KIND_TIMER, fd, fn, arg);
}

int xmb_loop_add_signals(struct xmb_loop *loop, const sigset_t *set,
			 xmb_loop_fn *fn, void *arg)
{
	int fd, id;

	if (has_kind(loop, KIND_SIGNALS))
		return -EBUSY;
	fd = signalfd(-1, set, SFD_CLOEXEC | SFD_NONBLOCK);
	if (fd < 0)
		return refuse_fd("a signalfd");
	id = add_own(loop, KIND_SIGNALS, fd, fn, arg);
	if (id > 0)
		pthread_sigmask(SIG_BLOCK, set, &loop->old_mask);
	return id;
}

int xmb_loop_add_wake(struct xmb_loop *loop, xmb_loop_fn *fn, void *arg)
{
	if (has_kind(loop, KIND_WAKE))
		return -EBUSY;
	return add(loop, KIND_WAKE, loop->wake_fd, fn, arg);
}

void xmb_loop_wake(struct xmb_loop *loop)
{
	uint64_t one = 1;
	int saved = errno;
	/* It fails only at 2^64 - 2 wakes, when one more tells nothing new. */
	ssize_t n = write(loop->wake_fd, &one, sizeof(one));

	(void)n;
	errno = saved;
}

static void restore_signals(struct xmb_loop *loop, int fd)
{
	struct signalfd_siginfo info[SIGINFO_CNT];

	/* A signal that waits for its turn must not strike when unblocked. */
	while (read(fd, info, sizeof(info)) > 0)
		;
	pthread_sigmask(SIG_SETMASK, &loop->old_mask, NULL);
}

static void free_watch(struct watch *w)
{
	if (w->kind == KIND_TIMER || w->kind == KIND_SIGNALS)
		close(w->fd);
	w->state = STATE_FREE;
}

static void remove_watch(struct xmb_loop *loop, struct watch *w)
{
	if (w->kind == KIND_SIGNALS)
		restore_signals(loop, w->fd);
	w->state = STATE_DYING;
	loop->live_cnt--;
	settle(loop, w);
	if (!w->armed && w != loop->current)
		free_watch(w);
}

int xmb_loop_remove(struct xmb_loop *loop, int id)
{
	struct watch *w = watch_of(loop, id);

	if (!w || w->state != STATE_LIVE)
		return -ENOENT;
	remove_watch(loop, w);
	return 0;
}

/*
 * A read that fails is made once more: a timer of which an expiry is not read
 * never fires again, and nothing else tells of it.
 */
static ssize_t read_again(int fd, void *buf, size_t len)
{
	ssize_t n = read(fd, buf, len);

	return n < 0 ? read(fd, buf, len) : n;
}

/* Timers and wakes: one call, with how often it happened. */
static void call_with_count(struct watch *w)
{
	uint64_t cnt;

	/* Nothing to read: an earlier round has taken it already. */
	if (read_again(w->fd, &cnt, sizeof(cnt)) == sizeof(cnt))
		w->fn(w->arg, cnt > INT_MAX ? INT_MAX : (int)cnt);
}

static void call_with_signals(struct watch *w)
{
	struct signalfd_siginfo info[SIGINFO_CNT];
	ssize_t len;

	/* A callback that removes the watch ends the round. */
	while (w->state == STATE_LIVE &&
	       (len = read_again(w->fd, info, sizeof(info))) > 0) {
		size_t cnt = (size_t)len / sizeof(info[0]);

		for (size_t i = 0; i < cnt && w->state == STATE_LIVE; i++)
			w->fn(w->arg, (int)info[i].ssi_signo);
	}
}

static void call(struct xmb_loop *loop, struct watch *w, int res)
{
	loop->current = w;
	if (res < 0) {
		remove_watch(loop, w);
		w->fn(w->arg, res);
	} else if (w->kind == KIND_FD) {
		w->fn(w->arg, res);
	} else if (w->kind == KIND_SIGNALS) {
		call_with_signals(w);
	} else {
		call_with_count(w);
	}
	loop->current = NULL;
}

static void complete(struct xmb_loop *loop, const struct io_uring_cqe *cqe)
{
	struct watch *w = watch_of(loop, (int)cqe->user_data);

	if (!w) /* a cancel is done */
		return;
	if (!(cqe->flags & IORING_CQE_F_MORE)) {
		w->armed = false;
		w->cancelling = false;
		loop->armed_cnt--;
	}
	if (w->state == STATE_LIVE)
		call(loop, w, cqe->res);
	if (w->state == STATE_DYING && !w->armed)
		free_watch(w);
	else
		settle(loop, w);
}

/* Call back what has completed, until there is no more or it is stopped. */
static void complete_ready(struct xmb_loop *loop)
{
	struct io_uring_cqe *cqe;

	while (!loop->stopped && !io_uring_peek_cqe(&loop->ring, &cqe)) {
		struct io_uring_cqe copy = *cqe;

		/* Given back first: a callback may need the room. */
		io_uring_cqe_seen(&loop->ring, cqe);
		complete(loop, &copy);
	}
}

/* Errors that waiting again mends once completions have been taken. */
static bool is_passing(int err)
{
	return err == -EINTR || err == -EAGAIN || err == -EBUSY;
}

static int refuse_wait(int err)
{
	xmb_log(XMB_LOG_ERROR,
		"waiting for events (io_uring_enter), the kernel answered: %s; "
		"%s",
		strerror(-err),
		err == -EEXIST ? "another thread made this loop"
			       : "nothing is lost: run it again, with more "
				 "memory free if it is that");
	return err;
}

/* Live watches, or dying ones of which the kernel has yet to let go. */
static bool is_watching(const struct xmb_loop *loop)
{
	return loop->live_cnt || loop->armed_cnt;
}

static int run(struct xmb_loop *loop)
{
	while (!loop->stopped) {
		int err;

		if (!is_watching(loop))
			return -ENOENT;
		complete_ready(loop);
		if (loop->stopped || !is_watching(loop))
			continue;
		settle_all(loop);
		err = io_uring_submit_and_wait(&loop->ring, 1);
		if (err < 0 && !is_passing(err))
			return refuse_wait(err);
	}
	loop->stopped = false;
	return loop->code;
}

int xmb_loop_run(struct xmb_loop *loop)
{
	int code;

	XMB_ASSERT(!loop->running);
	loop->running = true;
	code = run(loop);
	loop->running = false;
	return code;
}

void xmb_loop_stop(struct xmb_loop *loop, int code)
{
	loop->stopped = true;
	loop->code = code;
}

void xmb_loop_destroy(struct xmb_loop *loop)
{
	if (!loop)
		return;
	XMB_ASSERT(!loop->running);
	for (int i = 0; i < XMB_LOOP_WATCH_MAX; i++)
		if (loop->watches[i].state == STATE_LIVE)
			remove_watch(loop, &loop->watches[i]);

	/*
	 * The kernel takes a ring down some time after it is closed, and holds
	 * the watched files until then; polls that have ended hold nothing.
	 */
	loop->stopped = false;
	for (int i = 0; loop->armed_cnt && i < DESTROY_ROUNDS; i++) {
		settle_all(loop);
		if (io_uring_submit_and_wait(&loop->ring, 1) == -EEXIST)
			break; /* the wrong thread: left to the kernel */
		complete_ready(loop);
	}
	io_uring_queue_exit(&loop->ring);
	close(loop->wake_fd);
	free(loop);
}
