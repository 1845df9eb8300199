/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * lib/alloc/waiter in threads: some wait, resize, give up and sleep until they
 * are woken, others take and release as fast as they can.  A wake that is lost
 * is a thread that sleeps for ever: the alarm ends the program then.
 *
 * There later releases may make good what an earlier one lost, so then they
 * duel: one begins to wait for two frames, two release one each, at the same
 * time.  When all three calls are over it must be READY.
 *
 *      waiter_stress [thousands of rounds [seed]]
 */
#include "alloc/heap.h"
#include "alloc/waiter.h"
#include "base/log.h"

#include <inttypes.h>
#include <pthread.h>
#include <sched.h>
#include <semaphore.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum {
	FRAME_LEN = 64,
	FRAME_CNT = 96,
	SPILL_CNT = 160,
	WAIT_CNT = 3,	 /* threads that wait */
	RELEASE_CNT = 2, /* threads that do not */
	HELD_MAX = 24,
	TIME_LIMIT_S = 600,
};

struct worker {
	struct xmb_cache cache;
	struct xmb_waiter waiter;
	sem_t is_woken;
	pthread_t thread;
	uint64_t seed, rounds;
	uint32_t id;
	uint64_t at_once, slept, cancelled, late, resized;
};

static struct xmb_pool pool;
static struct xmb_allocator allocator;
static struct xmb_waiters waiters;
static struct worker workers[WAIT_CNT + RELEASE_CNT];
static _Atomic uint32_t waiting_threads = WAIT_CNT;
static pthread_barrier_t barrier;
static uint64_t wake_cnt; /* one at a time: TSan would see if not */

static void fail(const char *what, uint32_t id)
{
	fprintf(stderr, "FAIL: %s (thread %u)\n", what, id);
	exit(1);
}

static void hear(void *arg, enum xmb_log_level level, const char *text)
{
	(void)arg;
	(void)level;
	fprintf(stderr, "%s\n", text);
}

static uint32_t rnd(uint64_t *seed, uint32_t below)
{
	*seed = *seed * UINT64_C(6364136223846793005) +
		UINT64_C(1442695040888963407);
	return (uint32_t)(*seed >> 33) % below;
}

/* Every byte: what the last holder did to it must lie behind us. */
static void write_all(struct xmb_multibuf *mb, uint8_t byte)
{
	struct xmb_multibuf_iter iter;
	struct xmb_chunk *c;

	for (c = xmb_multibuf_first(mb, &iter); c; c = xmb_multibuf_next(&iter))
		memset(xmb_chunk_data(c), byte, c->len);
}

static void on_wake(void *arg, struct xmb_waiter *waiter)
{
	struct worker *t = arg;

	if (xmb_waiter_poll(waiter) != XMB_WAITER_READY ||
	    waiter->mb.len < waiter->request.min_len)
		fail("woken for less", t->id);
	wake_cnt++;
	sem_post(&t->is_woken);
}

static struct xmb_alloc_request draw(struct worker *t)
{
	uint32_t frames = 1 + rnd(&t->seed, rnd(&t->seed, 8) ? 8 : FRAME_CNT);

	return (struct xmb_alloc_request){
		.min_len = (size_t)frames * FRAME_LEN,
		.desired_len = (size_t)(frames + rnd(&t->seed, 8)) * FRAME_LEN,
	};
}

/* Until it is there; false if we gave up before. */
static bool await(struct worker *t)
{
	struct xmb_alloc_request request;
	int ret = 0;

	if (rnd(&t->seed, 4) == 0) {
		request = draw(t);
		ret = xmb_waiter_resize(&waiters, &t->waiter, &request);
		if (ret < 0)
			fail("no other size", t->id);
		t->resized++;
	}
	if (ret == 0 && rnd(&t->seed, 8) == 0) {
		if (xmb_waiter_cancel(&waiters, &t->waiter))
			fail("who waits cannot cancel", t->id);
		/* It may have been woken just before. */
		t->late += sem_trywait(&t->is_woken) == 0;
		t->cancelled++;
		return false;
	}
	if (xmb_waiter_poll(&t->waiter) == XMB_WAITER_READY)
		return true;
	sem_wait(&t->is_woken);
	t->slept++;
	return true;
}

static void *wait_thread(void *arg)
{
	struct worker *t = arg;

	t->waiter.wake = on_wake;
	t->waiter.arg = t;
	pthread_barrier_wait(&barrier);
	for (uint64_t i = 0; i < t->rounds; i++) {
		struct xmb_multibuf mb = { 0 };
		int ret;

		t->waiter.request = draw(t);
		ret = xmb_waiter_start(&waiters, &t->waiter, &t->cache);
		if (ret < 0)
			fail("a good request is refused", t->id);
		t->at_once += ret == 1;
		if (ret == 0 && !await(t))
			continue;
		if (xmb_waiter_take(&waiters, &t->waiter, &mb, &t->cache))
			fail("woken, and nothing is there", t->id);
		/* Polling may have been quicker than the wake. */
		while (sem_trywait(&t->is_woken) == 0)
			;
		write_all(&mb, (uint8_t)t->id);
		/* Long enough for others to come while it is gone. */
		for (uint32_t k = rnd(&t->seed, 4); k > 0; k--)
			sched_yield();
		xmb_multibuf_release(&mb, &t->cache);
		xmb_cache_yield(&t->cache);
	}
	xmb_cache_fini(&t->cache);
	atomic_fetch_sub(&waiting_threads, 1);
	return NULL;
}

static void *release_thread(void *arg)
{
	struct xmb_chunk held[HELD_MAX] = { 0 };
	struct worker *t = arg;

	pthread_barrier_wait(&barrier);
	while (atomic_load(&waiting_threads) > 0) {
		struct xmb_chunk *c = &held[rnd(&t->seed, HELD_MAX)];

		if (xmb_chunk_is_live(c)) {
			xmb_chunk_release(c, &t->cache);
		} else if (xmb_chunk_alloc(&t->cache, c) == 0) {
			memset(xmb_chunk_data(c), (int)t->id, c->len);
		} else {
			/* What it holds others may be waiting for. */
			xmb_chunk_release_bulk(held, HELD_MAX, &t->cache);
			xmb_cache_yield(&t->cache);
			sched_yield();
		}
		if (rnd(&t->seed, 16) == 0) {
			xmb_cache_yield(&t->cache);
			t->at_once++;
		}
	}
	xmb_chunk_release_bulk(held, HELD_MAX, &t->cache);
	xmb_cache_fini(&t->cache);
	return NULL;
}

static struct xmb_chunk duel_chunks[2], hoard[FRAME_CNT];
static _Atomic uint32_t met_cnt;

/* Wait for the two others, then a little, not the same each time. */
static void meet(struct worker *t, uint32_t *meet_cnt)
{
	uint32_t wait = rnd(&t->seed, 512);

	*meet_cnt += 3;
	atomic_fetch_add(&met_cnt, 1);
	for (uint32_t i = 1; atomic_load(&met_cnt) < *meet_cnt; i++) {
		if (i % 256 == 0)
			sched_yield();
	}
	while (wait-- > 0)
		atomic_signal_fence(memory_order_seq_cst);
}

/* The release goes to the shared stack at once, as of a cache that is full. */
static void duel_release(struct worker *t)
{
	xmb_chunk_release(&duel_chunks[t->id - 2], &t->cache);
	xmb_cache_fini(&t->cache);
}

static void duel_take(struct worker *t)
{
	struct xmb_multibuf mb = { 0 };

	if (xmb_waiter_poll(&t->waiter) != XMB_WAITER_READY)
		fail("a release was lost", t->id);
	if (xmb_waiter_take(&waiters, &t->waiter, &mb, &t->cache) ||
	    xmb_multibuf_pop_front(&mb, &duel_chunks[0], &t->cache) ||
	    xmb_multibuf_pop_front(&mb, &duel_chunks[1], &t->cache))
		fail("no two frames", t->id);
}

static void *duel(void *arg)
{
	struct worker *t = arg;
	uint32_t meet_cnt = 0;

	t->waiter = (struct xmb_waiter){ .arg = t, .wake = on_wake };
	t->waiter.request.min_len = 2 * FRAME_LEN;
	for (uint64_t i = 0; i < t->rounds; i++) {
		meet(t, &meet_cnt);
		if (t->id != 1)
			duel_release(t);
		else if (xmb_waiter_start(&waiters, &t->waiter, NULL) < 0)
			fail("a good request is refused", t->id);
		meet(t, &meet_cnt);
		if (t->id == 1)
			duel_take(t);
	}
	xmb_cache_fini(&t->cache);
	return NULL;
}

static void run_duel(uint64_t rounds, struct xmb_cache *cache)
{
	uint64_t wakes = wake_cnt;
	int64_t app_cnt = 0;

	if (xmb_chunk_alloc_bulk(cache, hoard, FRAME_CNT - 2) ||
	    xmb_chunk_alloc_bulk(cache, duel_chunks, 2))
		fail("frames are missing", 0);
	for (uint32_t i = 0; i < 3; i++) {
		workers[i].rounds = rounds;
		xmb_cache_init(&workers[i].cache, &pool, i + 1);
		if (pthread_create(&workers[i].thread, NULL, duel, &workers[i]))
			fail("no thread", i);
	}
	for (uint32_t i = 0; i < 3; i++) {
		pthread_join(workers[i].thread, NULL);
		app_cnt += workers[i].cache.app_cnt;
	}
	if (app_cnt != 0)
		fail("the caches of the duel do not sum up", 0);
	xmb_chunk_release_bulk(duel_chunks, 2, cache);
	xmb_chunk_release_bulk(hoard, FRAME_CNT - 2, cache);
	xmb_cache_fini(cache);
	printf("%" PRIu64 " duels: woken %" PRIu64 "\n", rounds,
	       wake_cnt - wakes);
	if (wake_cnt == wakes || wake_cnt - wakes > rounds)
		fail("nobody was woken, or twice", 0);
}

static void run(uint64_t rounds, uint64_t seed)
{
	uint64_t at_once = 0, slept = 0, cancelled = 0, resized = 0, late = 0;
	int64_t app_cnt = 0;

	pthread_barrier_init(&barrier, NULL, WAIT_CNT + RELEASE_CNT);
	for (uint32_t i = 0; i < WAIT_CNT + RELEASE_CNT; i++) {
		struct worker *t = &workers[i];

		t->id = i + 1;
		t->seed = seed * 1000 + i;
		t->rounds = rounds;
		xmb_cache_init(&t->cache, &pool, t->id);
		sem_init(&t->is_woken, 0, 0);
	}
	for (uint32_t i = 0; i < WAIT_CNT + RELEASE_CNT; i++) {
		if (pthread_create(&workers[i].thread, NULL,
				   i < WAIT_CNT ? wait_thread : release_thread,
				   &workers[i]))
			fail("no thread", i);
	}
	for (uint32_t i = 0; i < WAIT_CNT + RELEASE_CNT; i++) {
		struct worker *t = &workers[i];

		pthread_join(t->thread, NULL);
		app_cnt += t->cache.app_cnt;
		slept += t->slept;
		cancelled += t->cancelled;
		resized += t->resized;
		late += t->late;
		at_once += i < WAIT_CNT ? t->at_once : 0;
	}
	if (xmb_waiters_app_cnt(&waiters) + app_cnt != 0)
		fail("the caches do not sum up", 0);
	if (xmb_pool_free_cnt(&pool) != FRAME_CNT ||
	    xmb_pool_free_block_cnt(&pool) != SPILL_CNT)
		fail("frames or blocks are missing", 0);
	if (!xmb_pool_check(&pool, NULL, 0))
		fail("the pool does not check", 0);
	printf("%" PRIu64 " rounds: at once %" PRIu64 ", slept %" PRIu64
	       ", wakes %" PRIu64 ", cancelled %" PRIu64 " (%" PRIu64
	       " late), resized %" PRIu64 "\n", rounds * WAIT_CNT, at_once,
	       slept, wake_cnt, cancelled, late, resized);
	/* What was never met was not tested. */
	if (!at_once || !slept || !cancelled || !resized)
		fail("some kind of call was never met", 0);
}

/* Slabs of a heap go while others are still in the release of a last frame. */

static struct xmb_heap heap;
static struct xmb_multibuf boxes[2];
static _Atomic int box_states[2]; /* 0 empty, 1 full, -1 the end */

static void *release_boxes(void *arg)
{
	uint32_t id = (uint32_t)(uintptr_t)arg;
	struct xmb_cache cache;
	int state = 0;

	xmb_cache_init(&cache, xmb_heap_pool(&heap), id + 1);
	while (state >= 0) {
		state = atomic_load_explicit(&box_states[id],
					     memory_order_acquire);
		if (state <= 0) {
			sched_yield();
			continue;
		}
		xmb_multibuf_release(&boxes[id], &cache);
		atomic_store_explicit(&box_states[id], 0, memory_order_release);
	}
	xmb_cache_fini(&cache);
	return NULL;
}

static void run_heap(uint64_t rounds)
{
	struct xmb_heap_opts opts = { .frame_len = 64, .frame_cnt = 4 };
	struct xmb_allocator vendor;
	struct xmb_cache cache;
	pthread_t threads[2];
	uint64_t trimmed = 0;

	if (xmb_heap_init(&heap, &opts))
		fail("no heap", 0);
	xmb_cache_init(&cache, xmb_heap_pool(&heap), 9);
	xmb_allocator_init_heap(&vendor, &heap, &cache);
	for (uintptr_t i = 0; i < 2; i++)
		pthread_create(&threads[i], NULL, release_boxes, (void *)i);
	for (uint64_t i = 0; i < rounds; i++) {
		/* While it is full, trim() alone keeps us apart. */
		while (atomic_load_explicit(&box_states[i % 2],
					    memory_order_acquire) != 0)
			trimmed += xmb_heap_trim(&heap);
		if (xmb_allocator_alloc_len(&vendor, 64 * (5 + i % 9),
					    &boxes[i % 2]) == 0)
			atomic_store_explicit(&box_states[i % 2], 1,
					      memory_order_release);
	}
	for (uint32_t i = 0; i < 2; i++) {
		while (atomic_load(&box_states[i]) != 0)
			trimmed += xmb_heap_trim(&heap);
		atomic_store(&box_states[i], -1);
		pthread_join(threads[i], NULL);
	}
	xmb_cache_fini(&cache);
	printf("%" PRIu64 " rounds of the heap: slabs trimmed %" PRIu64 "\n",
	       rounds, trimmed);
	if (trimmed == 0 || xmb_heap_fini(&heap))
		fail("the heap keeps what it should not", 0);
}

int main(int argc, char **argv)
{
	static uint8_t base[FRAME_LEN * FRAME_CNT];
	struct xmb_pool_opts opts = {
		.base = base, .frame_len = FRAME_LEN, .frame_cnt = FRAME_CNT,
		.spill_cnt = SPILL_CNT,
	};
	uint64_t rounds = 1000 * (argc > 1 ? strtoull(argv[1], NULL, 10) : 8);
	uint64_t seed = argc > 2 ? strtoull(argv[2], NULL, 10) : 1;
	size_t side_len = xmb_pool_footprint(&opts);
	void *side = aligned_alloc(XMB_CACHE_LINE, side_len);
	static struct xmb_cache cache;

	if (rounds == 0 || !side)
		return 2;
	alarm(TIME_LIMIT_S);
	xmb_log_set(hear, NULL);
	memset(side, 0, side_len);
	if (xmb_pool_init(&pool, side, &opts))
		fail("no pool", 0);
	xmb_cache_init(&cache, &pool, 1);
	xmb_allocator_init_pool(&allocator, &cache);
	if (xmb_waiters_init(&waiters, &allocator,
			     &(struct xmb_waiters_opts){ .who = 99 }))
		fail("no queue", 0);
	run(rounds, seed);
	run_duel(4 * rounds, &cache);
	run_heap(rounds);
	if (xmb_waiters_fini(&waiters))
		fail("somebody still waits", 0);
	xmb_pool_fini(&pool);
	free(side);
	return 0;
}
