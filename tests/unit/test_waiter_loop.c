/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * lib/engine/waitloop: what threads release is told in the loop's thread, in
 * the order in which it was asked for; and the engine's threads are got out of
 * their sleep.
 */
#include "engine/waitloop.h"

#include "base/clock.h"
#include "base/log.h"
#include "engine/engine_priv.h"

#include "buf_lab.h"

#include <pthread.h>
#include <sys/eventfd.h>

enum { FRAME_LEN = 64, FRAME_CNT = 128, WAITER_CNT = 40 };

static struct lab lab;
static struct xmb_allocator allocator;
static struct xmb_waiters waiters;
static struct xmb_loop *loop;
static struct xmb_waitloop wl;
static struct xmb_waitloop_waiter w[WAITER_CNT];
static struct xmb_chunk chunks[FRAME_CNT];
static uint32_t told_cnt, stop_after = UINT32_MAX;
static pthread_t loop_thread;

/* Each is told in its turn, in this thread, and gives its memory back. */
static void on_told(void *arg, struct xmb_waitloop_waiter *waiter)
{
	struct xmb_multibuf mb = { 0 };

	cr_assert(eq(ptr, arg, &lab));
	cr_assert(pthread_equal(loop_thread, pthread_self()));
	cr_assert(eq(ptr, waiter, &w[told_cnt % WAITER_CNT]));
	cr_assert(eq(int, xmb_waiter_take(&waiters, &waiter->waiter, &mb,
					  &lab.cache), 0));
	cr_assert(eq(u32, mb.len, waiter->waiter.request.min_len));
	xmb_multibuf_release(&mb, &lab.cache);
	xmb_cache_yield(&lab.cache);
	if (++told_cnt == stop_after)
		xmb_loop_stop(loop, 7);
}

static void setup(void)
{
	lab_open(&lab, FRAME_LEN, FRAME_CNT, 0);
	xmb_allocator_init_pool(&allocator, &lab.cache);
	cr_assert(eq(int, xmb_waiters_init(&waiters, &allocator,
			&(struct xmb_waiters_opts){ .who = 9 }), 0));
	cr_assert(eq(int, xmb_loop_create(&loop), 0));
	cr_assert(eq(int, xmb_waitloop_open(&wl, loop, &waiters), 0));
	loop_thread = pthread_self();
	for (uint32_t i = 0; i < WAITER_CNT; i++) {
		w[i].fn = on_told;
		w[i].arg = &lab;
		w[i].waiter.request.min_len = (1 + i % 3) * FRAME_LEN;
	}
}

static void teardown(void)
{
	xmb_waitloop_close(&wl);
	xmb_loop_destroy(loop);
	cr_expect(eq(int, xmb_waiters_fini(&waiters), 0));
	lab_close(&lab);
}

/* What the kernel calls when it ends the watch; an errno for the next one. */
static xmb_loop_fn *watch_fn;
static int refuse_with;

int __real_xmb_loop_add_fd(struct xmb_loop *of, int fd, xmb_loop_fn *fn,
			   void *arg);
int __wrap_xmb_loop_add_fd(struct xmb_loop *of, int fd, xmb_loop_fn *fn,
			   void *arg);

int __wrap_xmb_loop_add_fd(struct xmb_loop *of, int fd, xmb_loop_fn *fn,
			   void *arg)
{
	watch_fn = fn;
	if (refuse_with < 0)
		return refuse_with;
	return __real_xmb_loop_add_fd(of, fd, fn, arg);
}

TestSuite(waiter_loop, .init = setup, .fini = teardown, .timeout = 300);

static void *release_slowly(void *arg)
{
	struct xmb_cache own;

	xmb_cache_init(&own, &lab.pool, 2);
	for (uint32_t i = 0; i < FRAME_CNT; i++) {
		xmb_chunk_release(&chunks[i], &own);
		xmb_cache_yield(&own);
		if (i % 16 == 0)
			usleep(1000);
	}
	xmb_cache_fini(&own);
	return arg;
}

static void stop(void *arg, int res)
{
	(void)arg;
	(void)res;
	xmb_loop_stop(loop, 3);
}

static void start_all(void)
{
	cr_assert(eq(int, xmb_chunk_alloc_bulk(&lab.cache, chunks, FRAME_CNT),
		     0));
	for (uint32_t i = 0; i < WAITER_CNT; i++)
		cr_assert(eq(int, xmb_waitloop_start(&wl, &w[i], &lab.cache),
			     0));
}

Test(waiter_loop, what_a_thread_releases_is_told_in_the_loops_thread)
{
	pthread_t thread;

	start_all();
	cr_expect(eq(int, xmb_waitloop_start(&wl, &w[3], &lab.cache),
		     -EALREADY));
	stop_after = WAITER_CNT;
	pthread_create(&thread, NULL, release_slowly, NULL);
	cr_expect(eq(int, xmb_loop_run(loop), 7));
	pthread_join(thread, NULL);
	cr_expect(eq(u32, told_cnt, WAITER_CNT));
	lab.cache.app_cnt = 0;
	/* There is enough: nobody has to be told. */
	cr_expect(eq(int, xmb_waitloop_start(&wl, &w[0], &lab.cache), 1));
	cr_expect(eq(int, xmb_waitloop_cancel(&wl, &w[0]), 0));
	w[0].waiter.request.min_len = SIZE_MAX;
	cr_expect(eq(int, xmb_waitloop_start(&wl, &w[0], &lab.cache),
		     -EMSGSIZE));
}

Test(waiter_loop, who_cancels_is_not_told_even_when_it_is_there)
{
	int id;

	start_all();
	for (uint32_t i = 0; i < WAITER_CNT / 2; i++)
		cr_expect(eq(int, xmb_waitloop_cancel(&wl, &w[i]), 0));
	xmb_chunk_release_bulk(chunks, FRAME_CNT, &lab.cache);
	xmb_cache_yield(&lab.cache);
	/* READY, and the descriptor is readable, but the loop did not run. */
	for (uint32_t i = WAITER_CNT / 2; i < WAITER_CNT; i++)
		cr_expect(eq(int, xmb_waitloop_cancel(&wl, &w[i]), 0));
	cr_expect(eq(int, xmb_waitloop_cancel(&wl, &w[5]), -ENOENT));
	id = xmb_loop_add_timer(loop, 20 * XMB_NS_PER_MS, stop, NULL);
	cr_expect(eq(int, xmb_loop_run(loop), 3));
	cr_expect(eq(u32, told_cnt, 0));
	xmb_loop_remove(loop, id);
}

Test(waiter_loop, closing_cancels_who_waits)
{
	start_all();
	xmb_waitloop_close(&wl);
	for (uint32_t i = 0; i < WAITER_CNT; i++)
		cr_expect(eq(int, (int)xmb_waiter_poll(&w[i].waiter),
			     XMB_WAITER_IDLE));
	xmb_chunk_release_bulk(chunks, FRAME_CNT, &lab.cache);
	cr_assert(eq(int, xmb_waitloop_open(&wl, loop, &waiters), 0));
}

static void run_shortly(void)
{
	int id = xmb_loop_add_timer(loop, 20 * XMB_NS_PER_MS, stop, NULL);

	cr_expect(eq(int, xmb_loop_run(loop), 3));
	xmb_loop_remove(loop, id);
}

static void count(void *arg, struct xmb_waitloop_waiter *waiter)
{
	(void)arg;
	cr_expect(eq(int, (int)xmb_waiter_poll(&waiter->waiter),
		     XMB_WAITER_READY));
	told_cnt++;
}

/* Two that wait, the first for more than is free, all frames in chunks. */
static void start_two(void)
{
	for (uint32_t i = 0; i < 2; i++)
		w[i].fn = count;
	w[0].waiter.request.min_len = 8 * FRAME_LEN;
	cr_assert(eq(int, xmb_chunk_alloc_bulk(&lab.cache, chunks, FRAME_CNT),
		     0));
	for (uint32_t i = 0; i < 2; i++)
		cr_assert(eq(int, xmb_waitloop_start(&wl, &w[i], &lab.cache),
			     0));
	xmb_chunk_release(&chunks[0], &lab.cache);
	xmb_cache_yield(&lab.cache);
}

static void give_the_rest(void)
{
	for (uint32_t i = 1; i < FRAME_CNT; i++)
		xmb_chunk_release(&chunks[i], &lab.cache);
	xmb_cache_yield(&lab.cache);
}

Test(waiter_loop, who_takes_after_a_resize_does_not_stop_the_others)
{
	struct xmb_alloc_request one = { .min_len = FRAME_LEN };
	struct xmb_multibuf mb = { 0 };

	start_two();
	cr_expect(eq(int, xmb_waitloop_resize(&wl, &w[1], &one), 0));
	cr_expect(eq(int, xmb_waitloop_resize(&wl, &w[0], &one), 1));
	cr_expect(eq(int, xmb_waitloop_start(&wl, &w[0], &lab.cache),
		     -EALREADY));
	cr_assert(eq(int, xmb_waiter_take(&waiters, &w[0].waiter, &mb,
					  &lab.cache), 0));
	cr_expect(eq(int, xmb_waitloop_resize(&wl, &w[0], &one), -ENOENT));
	xmb_multibuf_release(&mb, &lab.cache);
	give_the_rest();
	run_shortly();
	cr_expect(eq(u32, told_cnt, 1));
	cr_expect(eq(int, xmb_waitloop_cancel(&wl, &w[1]), 0));
}

Test(waiter_loop, one_that_was_ended_behind_its_back_does_not_stop_the_others)
{
	struct xmb_alloc_request one = { .min_len = FRAME_LEN };
	struct xmb_multibuf mb = { 0 };

	start_two();
	/* Of the waiter inside, of which the waitloop does not know. */
	cr_expect(eq(int, xmb_waiter_resize(&waiters, &w[0].waiter, &one), 1));
	cr_assert(eq(int, xmb_waiter_take(&waiters, &w[0].waiter, &mb,
					  &lab.cache), 0));
	xmb_multibuf_release(&mb, &lab.cache);
	give_the_rest();
	run_shortly();
	cr_expect(eq(u32, told_cnt, 1));
	cr_expect(eq(int, xmb_waitloop_cancel(&wl, &w[1]), 0));
}

Test(waiter_loop, one_that_was_ended_behind_its_back_may_start_again)
{
	start_two();
	cr_expect(eq(int, xmb_waiter_cancel(&waiters, &w[0].waiter), 0));
	cr_expect(eq(int, xmb_waitloop_start(&wl, &w[0], &lab.cache), 0));
	give_the_rest();
	run_shortly();
	cr_expect(eq(u32, told_cnt, 2));
	for (uint32_t i = 0; i < 2; i++)
		cr_expect(eq(int, xmb_waitloop_cancel(&wl, &w[i]), 0));
}

Test(waiter_loop, a_watch_that_the_kernel_ended_is_made_anew)
{
	start_two();
	xmb_loop_remove(loop, wl.id);
	watch_fn(&wl, -ENOMEM);
	give_the_rest();
	run_shortly();
	cr_expect(eq(u32, told_cnt, 2));
	for (uint32_t i = 0; i < 2; i++)
		cr_expect(eq(int, xmb_waitloop_cancel(&wl, &w[i]), 0));
}

static uint32_t error_cnt;

static void on_log(void *arg, enum xmb_log_level level, const char *msg)
{
	(void)arg;
	error_cnt += level == XMB_LOG_ERROR && strstr(msg, "open it anew");
}

Test(waiter_loop, a_watch_that_cannot_be_made_anew_is_said)
{
	xmb_loop_remove(loop, wl.id);
	xmb_log_set(on_log, NULL);
	refuse_with = -ENOSPC;
	watch_fn(&wl, -ENOMEM);
	xmb_log_set(NULL, NULL);
	cr_expect(eq(u32, error_cnt, 1));
	/* As it says. */
	refuse_with = 0;
	xmb_waitloop_close(&wl);
	cr_assert(eq(int, xmb_waitloop_open(&wl, loop, &waiters), 0));
}

Test(waiter_loop, threads_of_the_engine_are_roused_when_somebody_waits)
{
	static struct xmb_worker workers[3];
	struct xmb_engine engine = { .workers = workers, .worker_cnt = 3 };
	uint64_t n;

	for (int i = 0; i < 3; i++) {
		workers[i].wake_fd = eventfd(0, EFD_NONBLOCK);
		atomic_store(&workers[i].is_asleep, i != 1);
	}
	xmb_engine_on_wait(&engine);
	for (int i = 0; i < 3; i++) {
		bool is_woken = read(workers[i].wake_fd, &n, sizeof(n)) > 0;

		cr_expect(eq(int, is_woken, i != 1));
		cr_expect(not(atomic_load(&workers[i].is_asleep)));
		close(workers[i].wake_fd);
	}
}
