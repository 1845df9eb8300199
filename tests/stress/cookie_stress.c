/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * lib/buf/cookie under threads: one thread marks packets of two frames, cuts
 * each in the middle of a frame, and hands the halves to two others, which
 * send, release or drop them at once; every cookie must come back once, say how
 * its frames came home, and be in time for its place in a small box to be used
 * again.
 *
 *      main [attach, split] ---- pipe ---> thread 0 [release, drop, send]
 *        ^        '------------- pipe ---> thread 1 [release, drop, send]
 *        '--- done list of the box <------------'
 *
 *      cookie_stress [COOKIES_1000]
 *
 * Ends with exit 0 and a line of totals, or with exit 1 and what was wrong.
 */
#include "base/log.h"
#include "buf/handover.h"
#include "sock/pipe.h"

#include <inttypes.h>
#include <pthread.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#ifdef __SANITIZE_THREAD__
#define COOKIES_1000 100
#else
#define COOKIES_1000 2000
#endif

enum {
	FRAME_LEN = 64,
	FRAME_CNT = 4096,
	BOX_CNT = 64,
	PIPE_CNT = 64,
	THREAD_CNT = 2,
	BURST = 8,
	TIME_LIMIT_S = 600,
};

struct ender {
	struct xmb_cache cache;
	struct xmb_pipe pipe;
	pthread_t thread;
	uint32_t who;
	/* Halves by how they ended; each has one part of the frame cut. */
	uint64_t part_cnt[XMB_HOME_SENT + 1], whole_cnt[XMB_HOME_SENT + 1];
};

static struct xmb_pool pool;
static struct xmb_cache cache;
static struct xmb_cookie_box box;
static struct ender enders[THREAD_CNT];
static _Atomic bool is_over;
static uint64_t cookie_cnt;

static void fail(const char *what, uint64_t at)
{
	fprintf(stderr, "FAIL: %s (%" PRIu64 ")\n", what, at);
	exit(1);
}

static void hear(void *arg, enum xmb_log_level level, const char *text)
{
	(void)arg;
	(void)level;
	fprintf(stderr, "%s\n", text);
}

/* As a socket does: post each chunk, and take it back. */
static void send_all(struct ender *e, struct xmb_multibuf *mb)
{
	struct xmb_multibuf_iter iter;
	uint64_t addrs[4];
	uint32_t n = 0;
	bool is_excl;

	for (struct xmb_chunk *c = xmb_multibuf_first(mb, &iter); c;
	     c = xmb_multibuf_next(&iter))
		addrs[n++] = xmb_handover_tx(&e->cache, e->who, c, &is_excl);
	mb->len = 0;
	xmb_multibuf_release(mb, &e->cache);
	for (uint32_t i = 0; i < n; i++)
		if (xmb_handover_complete(&e->cache, e->who, addrs[i]) < 0)
			fail("a completion was not known", addrs[i]);
}

static void end_one(struct ender *e, enum xmb_home how, struct xmb_multibuf *mb)
{
	e->part_cnt[how]++;
	e->whole_cnt[how] += mb->cnt - 1u;
	if (how == XMB_HOME_SENT)
		send_all(e, mb);
	else if (how == XMB_HOME_DROPPED)
		xmb_multibuf_drop(mb, &e->cache);
	else
		xmb_multibuf_release(mb, &e->cache);
}

static void *end_packets(void *arg)
{
	/* Three in turn: every other packet is cut at the same place. */
	static const enum xmb_home ends[] = {
		XMB_HOME_SENT, XMB_HOME_DROPPED, XMB_HOME_RELEASED,
	};
	struct ender *e = arg;
	uint64_t turn = e->who;

	for (;;) {
		struct xmb_multibuf mbs[BURST] = { 0 };
		bool was_over = atomic_load(&is_over);
		uint32_t n = xmb_socket_recv(&e->pipe.end[1].sock, mbs, BURST);

		if (n == 0 && was_over)
			return NULL;
		if (n == 0)
			sched_yield();
		for (uint32_t i = 0; i < n; i++)
			end_one(e, ends[++turn % 3], &mbs[i]);
	}
}

static uint64_t reaped_cnt, reaped_sum, mixed_cnt;
static uint64_t frames[XMB_HOME_SENT + 1];

static void reap(void)
{
	struct xmb_completion done[BURST];
	uint32_t n = xmb_cookie_reap(&box, done, BURST);

	for (uint32_t i = 0; i < n; i++) {
		if (done[i].sent_cnt + done[i].released_cnt +
			    done[i].dropped_cnt != 2)
			fail("a cookie is not of two frames", done[i].cookie);
		reaped_sum += done[i].cookie;
		frames[XMB_HOME_SENT] += done[i].sent_cnt;
		frames[XMB_HOME_RELEASED] += done[i].released_cnt;
		frames[XMB_HOME_DROPPED] += done[i].dropped_cnt;
		mixed_cnt += done[i].sent_cnt == 1;
	}
	reaped_cnt += n;
	if (n == 0)
		sched_yield();
}

/* Two frames of ten bytes, cut in the first or the second. */
static void make(struct xmb_multibuf halves[THREAD_CNT], uint64_t cookie)
{
	struct xmb_chunk chunks[2] = { 0 };

	while (xmb_chunk_alloc_bulk(&cache, chunks, 2))
		reap();
	for (int i = 0; i < 2; i++) {
		xmb_chunk_truncate(&chunks[i], 10);
		if (xmb_multibuf_push_back(&halves[0], &chunks[i], &cache))
			fail("no chain", cookie);
	}
	while (xmb_cookie_attach(&box, &halves[0], cookie))
		reap();
	if (xmb_multibuf_split(&halves[0], cookie % 2 ? 5 : 15, &halves[1],
			       &cache))
		fail("no split", cookie);
}

static void run(void)
{
	for (uint64_t c = 1; c <= cookie_cnt; c++) {
		struct xmb_multibuf halves[THREAD_CNT] = { 0 };

		make(halves, c);
		for (int i = 0; i < THREAD_CNT; i++)
			while (!xmb_socket_send(&enders[i].pipe.end[0].sock,
						&halves[i], 1))
				reap();
	}
	while (box.out_cnt)
		reap();
	atomic_store(&is_over, true);
}

/* How a frame that was cut came home depends on who was last. */
static void check_ends(enum xmb_home how)
{
	uint64_t whole = 0, part = 0;

	for (int i = 0; i < THREAD_CNT; i++) {
		whole += enders[i].whole_cnt[how];
		part += enders[i].part_cnt[how];
	}
	if (frames[how] < whole || frames[how] > whole + part)
		fail("frames came home another way", (uint64_t)how);
	/* What was never met was not tested. */
	if (whole == 0 || frames[how] == 2 * cookie_cnt)
		fail("some kind of end was never met", (uint64_t)how);
}

static void check(void)
{
	int64_t app_cnt = cache.app_cnt;

	if (reaped_cnt != cookie_cnt ||
	    reaped_sum != cookie_cnt * (cookie_cnt + 1) / 2)
		fail("not every cookie came back once", reaped_cnt);
	if (xmb_cookie_box_fini(&box))
		fail("the box has cookies out", box.out_cnt);
	for (int i = 0; i < THREAD_CNT; i++) {
		app_cnt += enders[i].cache.app_cnt;
		xmb_pipe_fini(&enders[i].pipe, &cache);
		xmb_cache_fini(&enders[i].cache);
	}
	if (app_cnt != 0)
		fail("the caches do not sum up", 0);
	xmb_cache_fini(&cache);
	if (xmb_pool_free_cnt(&pool) != FRAME_CNT ||
	    !xmb_pool_check(&pool, NULL, 0))
		fail("frames are missing", xmb_pool_free_cnt(&pool));
	for (int how = XMB_HOME_RELEASED; how <= XMB_HOME_SENT; how++)
		check_ends((enum xmb_home)how);
	if (mixed_cnt == 0)
		fail("no packet was sent in part", mixed_cnt);
}

int main(int argc, char **argv)
{
	static uint8_t base[FRAME_LEN * FRAME_CNT];
	struct xmb_pool_opts opts = {
		.base = base, .frame_len = FRAME_LEN, .frame_cnt = FRAME_CNT,
	};
	size_t side_len = xmb_pool_footprint(&opts);
	void *side = aligned_alloc(XMB_CACHE_LINE, side_len);

	cookie_cnt =
		1000 * (argc > 1 ? strtoull(argv[1], NULL, 10) : COOKIES_1000);
	if (cookie_cnt == 0 || !side)
		return 2;
	alarm(TIME_LIMIT_S);
	xmb_log_set(hear, NULL);
	memset(side, 0, side_len);
	if (xmb_pool_init(&pool, side, &opts) ||
	    xmb_cookie_box_init(&box, BOX_CNT))
		fail("no pool or no box", 0);
	xmb_cache_init(&cache, &pool, 1);
	for (uint32_t i = 0; i < THREAD_CNT; i++) {
		struct ender *e = &enders[i];

		e->who = i + 2;
		xmb_cache_init(&e->cache, &pool, e->who);
		if (xmb_pipe_init(&e->pipe, PIPE_CNT, &cache, &e->cache) ||
		    pthread_create(&e->thread, NULL, end_packets, e))
			fail("no thread", i);
	}
	run();
	for (int i = 0; i < THREAD_CNT; i++)
		pthread_join(enders[i].thread, NULL);
	check();
	printf("%" PRIu64 " cookies, %" PRIu64 " frames sent, %" PRIu64
	       " dropped, %" PRIu64 " packets sent in part\n", cookie_cnt,
	       frames[XMB_HOME_SENT], frames[XMB_HOME_DROPPED], mixed_cnt);
	xmb_pool_fini(&pool);
	free(side);
	return 0;
}
