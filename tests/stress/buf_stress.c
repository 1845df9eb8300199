/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * lib/buf under threads: frames that one takes and another gives back, and
 * chunks of the same region in different threads that trim, claim, split,
 * merge, share, send and release at once.  Whoever owns a byte alone writes
 * its tag to it by a plain store and expects to find it there, who shares it
 * only reads it: a byte with two owners shows as a wrong tag, and to
 * ThreadSanitizer as a data race.
 *
 *      buf_stress [ROUNDS_1000 [THREADS [SEED]]]
 *
 * ROUNDS_1000 thousand frames travel, and are shared.  Ends with exit 0 and a
 * line of totals, or with exit 1 and what was wrong.
 */
#include "base/log.h"
#include "buf/chunk.h"
#include "buf/handover.h"

#include "thread_lab.h"

#include <inttypes.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum {
	FRAME_LEN = 64,
	FRAME_CNT = 4096,
	THREAD_MAX = 4,
	HELD_MAX = 5,
	OPS_PER_CHUNK = 16,
	TIME_LIMIT_S = 600,
};

/* What is counted of a part; what was never met was not tested. */
enum kind { CLAIMED, BUSY, SPLIT, SENT, MERGED, SHARED, UNSHARED, READ_ALONG,
	    GIVEN, FULL, KIND_CNT };

struct worker {
	struct xmb_cache cache;
	struct ring ring;  /* work, from the thread before or from main */
	struct ring gifts; /* shares, from the worker before */
	pthread_t thread;
	uint64_t seed;
	uint32_t id;
	uint64_t round_cnt;
	uint32_t meet_cnt;
	uint64_t cnt[KIND_CNT];
	uint8_t sum; /* of what was read, so that it is read */
};

/* A chunk in a worker's hands, or in its TX ring. */
struct held {
	struct xmb_chunk chunk;
	uint64_t addr;
	uint8_t *data;
	uint32_t len;
	bool is_sent;
	uint8_t tag;	 /* what its bytes must be */
	uint8_t own_tag; /* what they become when it may write them */
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
	h->tag = h->own_tag;
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

/* What the last owner wrote is read before the new one writes. */
static void inherit(struct worker *w, struct held *h)
{
	const uint8_t *data = xmb_chunk_data(&h->chunk);

	for (uint32_t i = 0; i < h->chunk.len; i++)
		w->sum ^= data[i];
	mark(h);
}

static void claim(struct worker *w, struct held *h)
{
	uint32_t n = 1 + rnd(&w->seed, 8);
	int ret = rnd(&w->seed, 2) ? xmb_chunk_claim_prefix(&h->chunk, n) :
				     xmb_chunk_claim_suffix(&h->chunk, n);

	w->cnt[CLAIMED] += ret == 0;
	w->cnt[BUSY] += ret == -EBUSY;
	if (ret == 0)
		inherit(w, h);
	else if (ret != -EBUSY && ret != -ERANGE &&
		 (ret != -EPERM || !xmb_chunk_is_rdonly(&h->chunk)))
		fail("a claim's error is none of its own", w->id);
}

static void split(struct worker *w, struct held *h, struct held *spare)
{
	int ret;

	if (xmb_chunk_is_rdonly(&h->chunk))
		return;
	ret = xmb_chunk_split(&h->chunk, rnd(&w->seed, h->chunk.len + 1),
			      &spare->chunk);
	w->cnt[FULL] += ret == -ENOSPC;
	if (ret == -ENOSPC)
		return;
	if (ret)
		fail("a split's error is none of its own", w->id);
	w->cnt[SPLIT]++;
	mark(h);
	mark(spare);
}

static void merge(struct worker *w, struct held *h, struct held *next)
{
	if (next->is_sent || xmb_chunk_merge(&h->chunk, &next->chunk))
		return;
	next->len = 0;
	w->cnt[MERGED]++;
	mark(h);
}

/* Keep the share, or give it to the next worker. */
static void share_one(struct worker *w, struct held *h, struct held *spare)
{
	struct ring *gifts = &workers[(w->id + 1) % worker_cnt].gifts;
	struct xmb_chunk clone = { 0 };
	int ret = xmb_chunk_share(&h->chunk, &clone);

	w->cnt[FULL] += ret == -ENOSPC;
	if (ret == -ENOSPC)
		return;
	if (ret)
		fail("a share's error is none of its own", w->id);
	w->cnt[SHARED]++;
	if (rnd(&w->seed, 4) && ring_try_put(gifts, &clone)) {
		w->cnt[GIVEN]++;
		return;
	}
	spare->chunk = clone;
	spare->data = xmb_chunk_data(&clone);
	spare->len = clone.len;
	spare->tag = h->tag;
}

/* The giver's tag is in it, and stays as long as it is shared. */
static void take_gift(struct worker *w, struct held *h)
{
	if (!ring_try_get(&w->gifts, &h->chunk))
		return;
	if (!xmb_chunk_is_rdonly(&h->chunk))
		fail("a share came writable", w->id);
	h->data = xmb_chunk_data(&h->chunk);
	h->len = h->chunk.len;
	h->tag = h->len ? h->data[0] : 0;
}

static void stop_sharing(struct worker *w, struct held *h)
{
	bool was_rdonly = xmb_chunk_is_rdonly(&h->chunk);
	int ret = xmb_chunk_unshare(&h->chunk);

	if (ret && (ret != -EBUSY || !was_rdonly))
		fail("an unshare's error is none of its own", w->id);
	w->cnt[READ_ALONG] += ret == -EBUSY;
	w->cnt[UNSHARED] += ret == 0 && was_rdonly;
	if (ret == 0)
		inherit(w, h);
}

static void send(struct worker *w, struct held *h)
{
	bool is_excl;

	if (h->len == 0)
		return;
	h->addr = xmb_handover_tx(&w->cache, w->id + 1, &h->chunk, &is_excl);
	h->is_sent = true;
	w->cnt[SENT]++;
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
	uint32_t op = rnd(&w->seed, 24);

	if (is_idle(h)) {
		if (op < 4)
			take_gift(w, h);
		return;
	}
	expect_mark(w, h);
	if (h->is_sent) {
		if (op < 6)
			end(w, h);
	} else if (op < 4) {
		trim(w, h);
	} else if (op < 10) {
		claim(w, h);
	} else if (op < 13) {
		is_idle(spare) ? split(w, h, spare) : merge(w, h, spare);
	} else if (op < 15) {
		merge(w, h, spare);
	} else if (op < 17) {
		if (is_idle(spare))
			share_one(w, h, spare);
	} else if (op < 21) {
		stop_sharing(w, h);
	} else if (op < 22) {
		send(w, h);
	} else if (op < 23) {
		end(w, h);
	}
}

static void *share(void *arg)
{
	struct worker *w = arg;
	struct held held[HELD_MAX] = { 0 };

	for (uint32_t i = 0; i < HELD_MAX; i++)
		held[i].own_tag = (uint8_t)(w->id << 4 | i | 0x80);
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

	w->cnt[CLAIMED] += ret == 0;
	w->cnt[BUSY] += ret == -EBUSY;
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
		w->cnt[SPLIT]++;
	}
	meet(w);
	xmb_chunk_release(&tail, &w->cache);
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
		struct xmb_chunk gift = { 0 };

		/* What came after the next worker had ended. */
		while (ring_try_get(&workers[i].gifts, &gift))
			xmb_chunk_release(&gift, extra);
	}
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
	static const char *const names[KIND_CNT] = {
		"claims", "busy", "splits", "sent", "merges", "shares",
		"unshares", "read along", "given", "full",
	};

	printf("%s: %" PRIu64 " rounds, %u threads:", part, rounds, worker_cnt);
	for (uint32_t kind = 0; kind < KIND_CNT; kind++) {
		uint64_t sum = 0;

		for (uint32_t i = 0; i < worker_cnt; i++) {
			sum += workers[i].cnt[kind];
			workers[i].cnt[kind] = 0;
		}
		if (sum)
			printf(" %s %" PRIu64, names[kind], sum);
		if (sum == 0 && kind < kinds)
			fail("some kind of call was never met", kind);
	}
	printf("\n");
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
	report("share", rounds, KIND_CNT);

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
	uint64_t rounds = 1000 * (argc > 1 ? strtoull(argv[1], NULL, 10) : 120);
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
