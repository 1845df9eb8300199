/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * lib/buf under threads: frames that one takes and another gives back, and
 * chunks of the same region in different threads that trim, claim, split, send
 * and release at once.  Whoever owns a byte writes its tag to it by a plain
 * store and expects to find it there: a byte with two owners shows as a wrong
 * tag, and to ThreadSanitizer as a data race.
 *
 *      buf_stress [ROUNDS_1000 [THREADS [SEED]]]
 *
 * ROUNDS_1000 thousand frames travel, and are shared.  Ends with exit 0 and a
 * line of totals, or with exit 1 and what was wrong.
 */
#include "base/log.h"
#include "buf/chunk.h"
#include "buf/handover.h"

#include <inttypes.h>
#include <pthread.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum {
	FRAME_LEN = 64,
	FRAME_CNT = 4096,
	RING_LEN = 64,
	THREAD_MAX = 4,
	HELD_MAX = 4,
	OPS_PER_CHUNK = 12,
	TIME_LIMIT_S = 100,
};

/* A way for handles from one thread to another, one at each end. */
struct ring {
	_Atomic uint32_t head __attribute__((aligned(XMB_CACHE_LINE)));
	_Atomic uint32_t tail __attribute__((aligned(XMB_CACHE_LINE)));
	struct xmb_chunk chunks[RING_LEN];
};

struct worker {
	struct xmb_cache cache;
	struct ring ring;
	pthread_t thread;
	uint64_t seed;
	uint32_t id;
	uint64_t round_cnt;
	uint32_t meet_cnt;
	uint64_t claimed_cnt, busy_cnt, split_cnt, nospc_cnt, sent_cnt;
};

/* A chunk in a worker's hands, or in its TX ring. */
struct held {
	struct xmb_chunk chunk;
	uint64_t addr;
	uint8_t *data;
	uint32_t len;
	bool is_sent;
	uint8_t tag;
};

static struct xmb_pool pool;
static struct worker workers[THREAD_MAX];
static uint32_t worker_cnt;

static void fail(const char *what, uint32_t id)
{
	fprintf(stderr, "FAIL: %s (worker %u)\n", what, id);
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

static void ring_put(struct ring *ring, struct xmb_chunk *chunk)
{
	uint32_t head = atomic_load_explicit(&ring->head, memory_order_relaxed);

	while (head - atomic_load_explicit(&ring->tail, memory_order_acquire) ==
	       RING_LEN)
		sched_yield();
	ring->chunks[head % RING_LEN] = *chunk;
	*chunk = (struct xmb_chunk){ 0 };
	atomic_store_explicit(&ring->head, head + 1, memory_order_release);
}

static struct xmb_chunk ring_get(struct ring *ring)
{
	uint32_t tail = atomic_load_explicit(&ring->tail, memory_order_relaxed);
	struct xmb_chunk chunk;

	while (atomic_load_explicit(&ring->head, memory_order_acquire) == tail)
		sched_yield();
	chunk = ring->chunks[tail % RING_LEN];
	atomic_store_explicit(&ring->tail, tail + 1, memory_order_release);
	return chunk;
}

/* Part 1, in pairs: one worker allocates, and the next one only frees. */

static void alloc_any(struct worker *w, struct xmb_chunk *chunk)
{
	while (xmb_chunk_alloc(&w->cache, chunk))
		sched_yield();
}

static void *travel(void *arg)
{
	struct worker *w = arg;
	struct worker *next = &workers[(w->id + 1) % worker_cnt];

	for (uint64_t i = 0; i < w->round_cnt; i++) {
		struct xmb_chunk chunk = { 0 };
		uint8_t *data;

		if (w->id % 2 == 0) {
			alloc_any(w, &chunk);
			memset(xmb_chunk_data(&chunk), (int)i & 0xff, 8);
			ring_put(&next->ring, &chunk);
		}
		if (w->id % 2 == 1) {
			chunk = ring_get(&w->ring);
			data = xmb_chunk_data(&chunk);
			if (data[0] != (i & 0xff) || data[7] != (i & 0xff))
				fail("a frame was overwritten on its way",
				     w->id);
			data[0] = 0xff;
			data[7] = 0xff;
			xmb_chunk_release(&chunk, &w->cache);
		}
	}
	return NULL;
}

/* Part 2: chunks of one region in several threads. */

static void mark(struct held *h)
{
	h->data = xmb_chunk_data(&h->chunk);
	h->len = h->chunk.len;
	memset(h->data, h->tag, h->len);
}

static void expect_mark(const struct worker *w, const struct held *h)
{
	for (uint32_t i = 0; i < h->len; i++) {
		if (h->data[i] != h->tag)
			fail("a byte has two owners", w->id);
	}
	if (!h->is_sent && !xmb_chunk_check(&h->chunk))
		fail("a chunk's slot is not its own", w->id);
}

static void trim(struct worker *w, struct held *h)
{
	uint32_t n = rnd(&w->seed, h->chunk.len + 1);

	if (rnd(&w->seed, 2))
		xmb_chunk_discard_prefix(&h->chunk, n);
	else
		xmb_chunk_truncate(&h->chunk, n);
	h->data = xmb_chunk_data(&h->chunk);
	h->len = h->chunk.len;
}

static void claim(struct worker *w, struct held *h)
{
	uint32_t n = 1 + rnd(&w->seed, 8);
	int ret = rnd(&w->seed, 2) ? xmb_chunk_claim_prefix(&h->chunk, n) :
				     xmb_chunk_claim_suffix(&h->chunk, n);

	if (ret == 0)
		w->claimed_cnt++;
	else if (ret == -EBUSY)
		w->busy_cnt++;
	else if (ret != -ERANGE)
		fail("a claim's error is none of its own", w->id);
	if (ret == 0)
		mark(h);
}

static void split(struct worker *w, struct held *h, struct held *spare)
{
	int ret;

	ret = xmb_chunk_split(&h->chunk, rnd(&w->seed, h->chunk.len + 1),
			      &spare->chunk);
	if (ret == -ENOSPC) {
		w->nospc_cnt++;
		return;
	}
	if (ret)
		fail("a split's error is none of its own", w->id);
	w->split_cnt++;
	mark(h);
	mark(spare);
}

static void send(struct worker *w, struct held *h)
{
	bool is_excl;

	if (h->len == 0)
		return;
	h->addr = xmb_handover_tx(&w->cache, w->id + 1, &h->chunk, &is_excl);
	h->is_sent = true;
	w->sent_cnt++;
}

/*
 * Take the frame that went home last, likely the one just given back, and
 * write all of it: what others did to it must lie behind us.
 */
static void reuse(struct worker *w)
{
	struct xmb_chunk chunk = { 0 };

	if (xmb_chunk_alloc(&w->cache, &chunk))
		return;
	memset(xmb_chunk_data(&chunk), 0, chunk.len);
	xmb_chunk_release(&chunk, &w->cache);
}

static void end(struct worker *w, struct held *h)
{
	expect_mark(w, h);
	if (h->is_sent &&
	    xmb_handover_complete(&w->cache, w->id + 1, h->addr) < 0)
		fail("a completion was not known", w->id);
	if (!h->is_sent)
		xmb_chunk_release(&h->chunk, &w->cache);
	h->is_sent = false;
	h->len = 0;
	reuse(w);
}

static bool is_idle(const struct held *h)
{
	return !h->is_sent && !xmb_chunk_is_live(&h->chunk);
}

static void work_on(struct worker *w, struct held *held)
{
	struct held *h = &held[rnd(&w->seed, HELD_MAX)];
	struct held *spare = &held[rnd(&w->seed, HELD_MAX)];
	uint32_t op = rnd(&w->seed, 16);

	if (is_idle(h))
		return;
	expect_mark(w, h);
	if (h->is_sent) {
		if (op < 4)
			end(w, h);
	} else if (op < 3) {
		trim(w, h);
	} else if (op < 10) {
		claim(w, h);
	} else if (op < 13) {
		if (is_idle(spare))
			split(w, h, spare);
	} else if (op < 14) {
		send(w, h);
	} else if (op < 15) {
		end(w, h);
	}
}

static void *share(void *arg)
{
	struct worker *w = arg;
	struct held held[HELD_MAX] = { 0 };

	for (uint32_t i = 0; i < HELD_MAX; i++)
		held[i].tag = (uint8_t)(w->id << 4 | i | 0x80);
	for (uint64_t i = 0; i < w->round_cnt; i++) {
		held[0].chunk = ring_get(&w->ring);
		mark(&held[0]);
		for (uint32_t k = 0; k < OPS_PER_CHUNK; k++)
			work_on(w, held);
		for (uint32_t k = 0; k < HELD_MAX; k++)
			end(w, &held[k]);
	}
	return NULL;
}

/*
 * Cut frames in pieces, for each worker one.  All cuts come first: who has a
 * piece may fill the slots.
 */
static void deal(struct xmb_cache *cache, uint64_t round_cnt, uint64_t seed)
{
	for (uint64_t i = 0; i < round_cnt; i++) {
		struct xmb_chunk chunks[THREAD_MAX] = { 0 };

		while (xmb_chunk_alloc(cache, &chunks[0]))
			sched_yield();
		for (uint32_t k = 1; k < worker_cnt; k++) {
			uint32_t max = 2 * chunks[k - 1].len / worker_cnt;

			if (xmb_chunk_split(&chunks[k - 1],
					    rnd(&seed, max + 1), &chunks[k]))
				fail("a fresh frame is not split", k);
		}
		for (uint32_t k = 0; k < worker_cnt; k++)
			ring_put(&workers[k].ring, &chunks[k]);
	}
}

/*
 * Part 3: two at one edge, in step, so that what takes a few instructions
 * meets often:
 *
 *      even rounds     left wants ->|    gap    |<- right wants: one at most
 *      odd rounds      left [ cuts here | .... ]<- right wants: never
 *
 * A claim that does not show its wish before it looks fails the first, one
 * that does not see bytes move from slot to slot the second.
 */

static struct xmb_chunk duel_chunks[2];
static bool has_won[2];
static _Atomic uint32_t met_cnt;

/* Wait for the other, then a little, not the same each time. */
static void meet(struct worker *w)
{
	uint32_t wait = rnd(&w->seed, 1024);

	w->meet_cnt += 2;
	atomic_fetch_add(&met_cnt, 1);
	for (uint32_t i = 1; atomic_load(&met_cnt) < w->meet_cnt; i++) {
		if (i % 1024 == 0)
			sched_yield();
	}
	while (wait-- > 0)
		atomic_signal_fence(memory_order_seq_cst);
}

static bool push_edge(struct worker *w, struct xmb_chunk *chunk, uint32_t n)
{
	int ret = w->id == 0 ? xmb_chunk_claim_suffix(chunk, n) :
			       xmb_chunk_claim_prefix(chunk, n);

	w->claimed_cnt += ret == 0;
	w->busy_cnt += ret == -EBUSY;
	if (ret == 0)
		memset(xmb_chunk_data(chunk), (int)w->id, chunk->len);
	return ret == 0;
}

static void give_edge(struct worker *w, struct xmb_chunk *chunk, uint32_t n)
{
	if (w->id == 0)
		xmb_chunk_truncate(chunk, chunk->len - n);
	else
		xmb_chunk_discard_prefix(chunk, n);
}

static void duel_for_gap(struct worker *w, struct xmb_chunk *chunk)
{
	uint32_t n = w->id == 0 ? FRAME_LEN / 4 : FRAME_LEN / 8;

	meet(w);
	has_won[w->id] = push_edge(w, chunk, n);
	meet(w);
	if (has_won[0] && has_won[1])
		fail("both got the gap", w->id);
	meet(w);
	if (has_won[w->id])
		give_edge(w, chunk, n);
	has_won[w->id] = false;
}

static void duel_over_split(struct worker *w, struct xmb_chunk *chunk)
{
	struct xmb_chunk tail = { 0 };

	meet(w);
	if (w->id == 0 && !push_edge(w, chunk, FRAME_LEN / 4))
		fail("a claim that nobody contests was refused", w->id);
	meet(w);
	if (w->id == 1) {
		if (push_edge(w, chunk, FRAME_LEN / 8))
			fail("bytes were won in the middle of a split", w->id);
	} else {
		if (xmb_chunk_split(chunk, FRAME_LEN / 4, &tail))
			fail("no slot for the third chunk", w->id);
		w->split_cnt++;
	}
	meet(w);
	xmb_chunk_release(&tail, &w->cache);
}

/* On a CPU of its own where there are two, or they would only take turns. */
static void pin(uint32_t id)
{
	cpu_set_t all, one;
	int cpu = 0;

	if (sched_getaffinity(0, sizeof(all), &all))
		return;
	id %= (uint32_t)CPU_COUNT(&all);
	while (!CPU_ISSET(cpu, &all) || id-- > 0)
		cpu++;
	CPU_ZERO(&one);
	CPU_SET(cpu, &one);
	sched_setaffinity(0, sizeof(one), &one);
}

static void *duel(void *arg)
{
	struct worker *w = arg;
	struct xmb_chunk chunk = duel_chunks[w->id];

	pin(w->id);
	for (uint64_t i = 0; i < w->round_cnt; i++) {
		if (i % 2 == 0)
			duel_for_gap(w, &chunk);
		else
			duel_over_split(w, &chunk);
	}
	duel_chunks[w->id] = chunk;
	return NULL;
}

/* left has the first quarter, right the second half; between them is a gap. */
static void make_duel(struct xmb_cache *cache)
{
	struct xmb_chunk *left = &duel_chunks[0];

	if (xmb_chunk_alloc(cache, left) ||
	    xmb_chunk_split(left, FRAME_LEN / 2, &duel_chunks[1]))
		fail("no frame to duel on", 0);
	xmb_chunk_truncate(left, FRAME_LEN / 4);
}

/* Run fn in cnt threads; extra is the main thread's own cache. */
static void start(void *(*fn)(void *), uint32_t cnt, uint64_t round_cnt,
		  uint64_t seed)
{
	worker_cnt = cnt;
	for (uint32_t i = 0; i < cnt; i++) {
		struct worker *w = &workers[i];

		w->id = i;
		w->seed = seed * 1000 + i;
		w->round_cnt = round_cnt;
		xmb_cache_init(&w->cache, &pool, i);
	}
	for (uint32_t i = 0; i < cnt; i++) {
		if (pthread_create(&workers[i].thread, NULL, fn, &workers[i]))
			fail("no thread", i);
	}
}

/* All threads end, and every frame is home. */
static void finish(struct xmb_cache *extra)
{
	int64_t app_cnt = 0;

	for (uint32_t i = 0; i < worker_cnt; i++)
		pthread_join(workers[i].thread, NULL);
	xmb_chunk_release_bulk(duel_chunks, 2, extra);
	for (uint32_t i = 0; i < worker_cnt; i++) {
		app_cnt += workers[i].cache.app_cnt;
		xmb_cache_fini(&workers[i].cache);
	}
	if (app_cnt + extra->app_cnt != 0)
		fail("the caches do not sum up", 0);
	xmb_cache_fini(extra);
	if (xmb_pool_free_cnt(&pool) != FRAME_CNT)
		fail("frames are missing", 0);
	if (!xmb_pool_check(&pool, NULL, 0))
		fail("the pool does not check", 0);
}

static void report(const char *part, uint64_t rounds, uint32_t kinds)
{
	uint64_t sums[5] = { 0 };

	for (uint32_t i = 0; i < worker_cnt; i++) {
		struct worker *w = &workers[i];

		sums[0] += w->claimed_cnt;
		sums[1] += w->busy_cnt;
		sums[2] += w->split_cnt;
		sums[3] += w->sent_cnt;
		sums[4] += w->nospc_cnt;
		w->claimed_cnt = w->busy_cnt = w->split_cnt = 0;
		w->sent_cnt = w->nospc_cnt = 0;
	}
	printf("%s: %" PRIu64 " rounds, %u threads: claims %" PRIu64
	       ", busy %" PRIu64 ", splits %" PRIu64 ", sent %" PRIu64
	       ", full %" PRIu64 "\n", part, rounds, worker_cnt, sums[0],
	       sums[1], sums[2], sums[3], sums[4]);
	/* What was never met was not tested. */
	for (uint32_t i = 0; i < kinds; i++) {
		if (sums[i] == 0)
			fail("some kind of call was never met", i);
	}
}

static void run(uint64_t rounds, uint32_t thread_cnt, uint64_t seed)
{
	static struct xmb_cache extra;

	start(travel, thread_cnt & ~1u, rounds, seed);
	xmb_cache_init(&extra, &pool, 99);
	finish(&extra);
	report("travel", rounds, 0);

	start(share, thread_cnt, rounds, seed);
	xmb_cache_init(&extra, &pool, 99);
	deal(&extra, rounds, seed);
	finish(&extra);
	/* All five slots are seldom taken by two threads. */
	report("share", rounds, thread_cnt > 2 ? 5 : 4);

	xmb_cache_init(&extra, &pool, 99);
	make_duel(&extra);
	start(duel, 2, rounds, seed);
	finish(&extra);
	report("duel", rounds, 3);
}

int main(int argc, char **argv)
{
	static uint8_t base[FRAME_LEN * FRAME_CNT];
	struct xmb_pool_opts opts = {
		.base = base, .frame_len = FRAME_LEN, .frame_cnt = FRAME_CNT,
	};
	uint64_t rounds = 1000 * (argc > 1 ? strtoull(argv[1], NULL, 10) : 200);
	uint64_t thread_cnt = argc > 2 ? strtoull(argv[2], NULL, 10) : 3;
	uint64_t seed = argc > 3 ? strtoull(argv[3], NULL, 10) : 1;
	size_t side_len = xmb_pool_footprint(&opts);
	void *side = aligned_alloc(XMB_CACHE_LINE, side_len);

	if (rounds == 0 || thread_cnt < 2 || thread_cnt > THREAD_MAX || !side)
		return 2;
	alarm(TIME_LIMIT_S);
	xmb_log_set(hear, NULL);
	memset(side, 0, side_len);
	if (xmb_pool_init(&pool, side, &opts))
		fail("no pool", 0);
	run(rounds, (uint32_t)thread_cnt, seed);
	xmb_pool_fini(&pool);
	free(side);
	return 0;
}
