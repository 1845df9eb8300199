/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * lib/ring and lib/sock under threads: items that one thread writes and another
 * reads by plain accesses, so that ThreadSanitizer sees whether the indexes
 * publish them; then frames from a pool of 4096 that one thread allocates and
 * another gives back, for as long as one of them could starve.
 *
 *      ring_stress [ITEMS_1000]
 *
 * ITEMS_1000 thousand of each.  Ends with exit 0 and a line for each part, or
 * with exit 1 and what was wrong.
 */
#include "base/clock.h"
#include "base/log.h"
#include "sock/pipe.h"

#include <inttypes.h>
#include <pthread.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#ifdef __SANITIZE_THREAD__
#define ITEMS_1000 500
#else
#define ITEMS_1000 10000
#endif

enum {
	RING_CNT = 1024,
	BURST = 32,
	WORD_MAX = 8, /* of an item of 64 bytes */
	FRAME_LEN = 64,
	FRAME_CNT = 4096,
	PIPE_CNT = 512,
	TIME_LIMIT_S = 600,
};

static uint64_t item_cnt;

static void fail(const char *what, uint64_t at)
{
	fprintf(stderr, "FAIL: %s (at %" PRIu64 ")\n", what, at);
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

static void report(const char *part, uint64_t start_ns)
{
	uint64_t ns = xmb_clock_ns() - start_ns;

	printf("%s: %" PRIu64 " in %" PRIu64 " ms\n", part, item_cnt,
	       ns / XMB_NS_PER_MS);
	fflush(stdout);
}

/* Part 1: numbers in order, a burst at a time. */

static void *ring_memory;
static uint32_t word_cnt; /* of an item */

static void *produce(void *arg)
{
	struct xmb_ring ring;
	uint64_t seed = 1;

	(void)arg;
	xmb_ring_join(&ring, ring_memory);
	for (uint64_t sent = 0; sent < item_cnt;) {
		uint64_t left = item_cnt - sent;
		uint32_t idx, n, want = 1 + rnd(&seed, BURST);

		n = xmb_ring_reserve(&ring, left < want ? 1 : want, &idx);
		if (n == 0) {
			sched_yield();
			continue;
		}
		for (uint32_t i = 0; i < n; i++, sent++) {
			uint64_t *item = xmb_ring_item(&ring, idx + i);

			for (uint32_t w = 0; w < word_cnt; w++)
				item[w] = sent * 3 + w;
		}
		xmb_ring_commit(&ring, n);
	}
	return NULL;
}

static void check_item(const uint64_t *item, uint64_t number)
{
	for (uint32_t w = 0; w < word_cnt; w++)
		if (item[w] != number * 3 + w)
			fail("an item is not the next one", number);
}

static void consume(void)
{
	uint64_t items[BURST * WORD_MAX], got = 0, seed = 2;
	struct xmb_ring ring;

	xmb_ring_join(&ring, ring_memory);
	while (got < item_cnt) {
		uint32_t n = xmb_ring_pop(&ring, items, 1 + rnd(&seed, BURST));

		if (n == 0)
			sched_yield();
		for (uint32_t i = 0; i < n; i++)
			check_item(items + i * word_cnt, got++);
	}
	if (xmb_ring_cnt(&ring) != 0)
		fail("more came out than was sent", got);
}

static void run_items(const char *part, uint32_t words)
{
	uint64_t start_ns = xmb_clock_ns();
	uint32_t len = words * (uint32_t)sizeof(uint64_t);
	pthread_t thread;

	word_cnt = words;
	ring_memory = aligned_alloc(XMB_CACHE_LINE,
				    xmb_ring_footprint(RING_CNT, len));
	if (!ring_memory)
		fail("no memory", 0);
	xmb_ring_init(ring_memory, RING_CNT, len);
	if (pthread_create(&thread, NULL, produce, NULL))
		fail("no thread", 0);
	consume();
	pthread_join(thread, NULL);
	free(ring_memory);
	report(part, start_ns);
}

/*
 * Part 2: one side allocates and sends, the other releases; with both at once
 * each thread does both.  A side that waits for a frame for ever starves, and
 * the alarm ends it.
 */

struct side {
	struct xmb_cache cache;
	struct xmb_pipe_end *end;
	uint64_t to_send, to_get;
	uint64_t empty_cnt; /* times that the pool had no frame */
	uint64_t seed;
};

static struct xmb_pool pool;

static uint64_t send_some(struct side *s, uint64_t number)
{
	struct xmb_multibuf mbs[BURST] = { 0 };
	uint32_t want = 1 + rnd(&s->seed, BURST), made = 0, sent = 0;

	while (made < want && number + made < s->to_send) {
		struct xmb_chunk chunk = { 0 };
		uint64_t value = number + made;

		if (xmb_chunk_alloc(&s->cache, &chunk)) {
			s->empty_cnt++;
			break;
		}
		memcpy(xmb_chunk_data(&chunk), &value, sizeof(value));
		xmb_multibuf_init(&mbs[made++], &chunk);
	}
	sent = xmb_socket_send(&s->end->sock, mbs, made);
	/* What found no room goes home, and is made again. */
	xmb_multibuf_release_bulk(mbs + sent, made - sent, &s->cache);
	return sent;
}

static uint32_t get_some(struct side *s, uint64_t number)
{
	struct xmb_multibuf mbs[BURST] = { 0 };
	uint32_t n = xmb_socket_recv(&s->end->sock, mbs,
				     1 + rnd(&s->seed, BURST));

	for (uint32_t i = 0; i < n; i++) {
		uint64_t value;

		memcpy(&value, xmb_chunk_data(&mbs[i].c[0]), sizeof(value));
		if (value != number + i)
			fail("a frame is not the next one", number + i);
		memset(xmb_chunk_data(&mbs[i].c[0]), 0xff, sizeof(value));
	}
	xmb_multibuf_release_bulk(mbs, n, &s->cache);
	return n;
}

static void *run_side(void *arg)
{
	struct side *s = arg;
	uint64_t sent = 0, got = 0;

	while (sent < s->to_send || got < s->to_get) {
		uint64_t before = sent + got;

		if (sent < s->to_send)
			sent += send_some(s, sent);
		if (got < s->to_get)
			got += get_some(s, got);
		if (sent + got == before)
			sched_yield();
	}
	return NULL;
}

static void run_frames(const char *part, uint64_t there, uint64_t back)
{
	static struct side sides[2];
	uint64_t start_ns = xmb_clock_ns();
	struct xmb_pipe pipe;
	pthread_t thread;

	for (uint32_t i = 0; i < 2; i++) {
		xmb_cache_init(&sides[i].cache, &pool, i + 1);
		sides[i].to_send = i ? back : there;
		sides[i].to_get = i ? there : back;
		sides[i].seed = i + 3;
	}
	if (xmb_pipe_init(&pipe, PIPE_CNT, &sides[0].cache, &sides[1].cache))
		fail("no pipe", 0);
	for (uint32_t i = 0; i < 2; i++)
		sides[i].end = &pipe.end[i];
	if (pthread_create(&thread, NULL, run_side, &sides[1]))
		fail("no thread", 0);
	run_side(&sides[0]);
	pthread_join(thread, NULL);
	xmb_pipe_fini(&pipe, &sides[0].cache);
	if (sides[0].cache.app_cnt + sides[1].cache.app_cnt != 0)
		fail("the caches do not sum up", 0);
	for (uint32_t i = 0; i < 2; i++)
		xmb_cache_fini(&sides[i].cache);
	if (xmb_pool_free_cnt(&pool) != FRAME_CNT ||
	    !xmb_pool_check(&pool, NULL, 0))
		fail("frames are missing", xmb_pool_free_cnt(&pool));
	report(part, start_ns);
}

int main(int argc, char **argv)
{
	static uint8_t base[FRAME_LEN * FRAME_CNT];
	struct xmb_pool_opts opts = {
		.base = base, .frame_len = FRAME_LEN, .frame_cnt = FRAME_CNT,
	};
	size_t side_len = xmb_pool_footprint(&opts);
	void *side = aligned_alloc(XMB_CACHE_LINE, side_len);

	item_cnt = 1000 * (argc > 1 ? strtoull(argv[1], NULL, 10) : ITEMS_1000);
	if (item_cnt == 0 || !side)
		return 2;
	alarm(TIME_LIMIT_S);
	xmb_log_set(hear, NULL);
	memset(side, 0, side_len);
	if (xmb_pool_init(&pool, side, &opts))
		fail("no pool", 0);
	run_items("items of 8 bytes", 1);
	run_items("items of 64 bytes", WORD_MAX);
	run_frames("frames one way", item_cnt, 0);
	run_frames("frames the other way", 0, item_cnt);
	run_frames("frames both ways", item_cnt / 2, item_cnt / 2);
	xmb_pool_fini(&pool);
	free(side);
	return 0;
}
