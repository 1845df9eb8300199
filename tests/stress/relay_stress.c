/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * lib/buf/chunk: bytes that go back and forth between two threads by trims,
 * releases, claims, merges and shares, with nothing but the tracker to order
 * what the last owner wrote before what the next one reads and writes.  Turns
 * are told by a relaxed counter, which orders nothing; so a memory order that
 * is too weak, though this CPU may forgive it, shows as a data race to
 * ThreadSanitizer, and a step in the wrong place as bytes won too early.
 *
 *      0          16          32          48     56    64
 *      +----------+-----------+-----------+------+------+
 *      | left's   | the bytes | right's          | kept |
 *      +----------+-----------+-----------+------+------+
 *
 *      relay_stress [ROUNDS_1000]
 */
#include "base/log.h"
#include "buf/chunk.h"

#include "thread_lab.h"

#include <inttypes.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { FRAME_LEN = 64, FRAME_CNT = 4, PASSED = 16, TIME_LIMIT_S = 600 };

/* How left gives the bytes up. */
enum kind {
	TRIM,		/* by a trim */
	RELEASE,	/* by releasing the chunk that it cut off */
	MERGE_AND_TRIM, /* after it was in two pieces, and is one again */
	MOVE_AND_TRIM,	/* after a share took the original's place */
	SHARE_TRIMMED,	/* not: right reads a share, and trims that */
	SHARE_RELEASED, /* not: right reads a share, and releases that */
	KIND_CNT
};

static struct xmb_pool pool;
static struct xmb_chunk left, right;
static struct ring gifts;
static _Atomic uint64_t turn; /* even: left's, odd: right's */
static uint64_t round_cnt;
static uint64_t busy_cnt[2];

static void fail(const char *what, uint64_t round)
{
	fprintf(stderr, "FAIL: %s (round %" PRIu64 ")\n", what, round);
	exit(1);
}

static void hear(void *arg, enum xmb_log_level level, const char *text)
{
	(void)arg;
	(void)level;
	fprintf(stderr, "%s\n", text);
}

static void wait_turn(uint64_t wanted)
{
	for (uint32_t i = 1; atomic_load_explicit(&turn, memory_order_relaxed) <
			     wanted; i++) {
		if (i % 256 == 0)
			sched_yield();
	}
}

static void tell_turn(uint64_t now)
{
	atomic_store_explicit(&turn, now, memory_order_relaxed);
}

/*
 * To the chunk's end, so that the length is not known when this is compiled:
 * or the memset became stores that ThreadSanitizer does not see.
 */
static void fill(const struct xmb_chunk *chunk, uint32_t off, uint8_t tag)
{
	memset(xmb_chunk_data(chunk) + off, tag, chunk->len - off);
}

static void expect_tag(const struct xmb_chunk *chunk, uint32_t off,
		       uint8_t tag, uint64_t round)
{
	const uint8_t *data = xmb_chunk_data(chunk) + off;

	for (uint32_t i = 0; i < PASSED; i++) {
		if (data[i] != tag)
			fail("bytes came before what was written to them",
			     round);
	}
}

/* Until it works: a claim that fails at once may be the other's doing. */
static void claim(struct xmb_chunk *chunk, bool is_left, uint64_t round)
{
	for (uint32_t i = 1;; i++) {
		int ret = is_left ? xmb_chunk_claim_suffix(chunk, PASSED) :
				    xmb_chunk_claim_prefix(chunk, PASSED);

		if (ret == 0)
			return;
		if (ret != -EBUSY)
			fail("a claim's error is none of its own", round);
		busy_cnt[is_left]++;
		if (i % 256 == 0)
			sched_yield();
	}
}

static void stop_sharing(struct xmb_chunk *chunk, uint64_t round)
{
	for (uint32_t i = 1;; i++) {
		int ret = xmb_chunk_unshare(chunk);

		if (ret == 0)
			return;
		if (ret != -EBUSY)
			fail("an unshare's error is none of its own", round);
		if (i % 256 == 0)
			sched_yield();
	}
}

static void must(int ret, uint64_t round)
{
	if (ret)
		fail("a call that nobody contests was refused", round);
}

/* The last bytes of left are written, in the chunk that has them, and go. */
static void give_up(enum kind kind, uint8_t tag, uint64_t round,
		    struct xmb_cache *cache)
{
	struct xmb_chunk other = { 0 };

	if (kind == MOVE_AND_TRIM) {
		must(xmb_chunk_share(&left, &other), round);
		xmb_chunk_release(&left, cache);
		left = other;
		stop_sharing(&left, round);
		other = (struct xmb_chunk){ 0 };
	} else if (kind != TRIM) {
		must(xmb_chunk_take_suffix(&left, PASSED, &other), round);
	}
	if (kind == MERGE_AND_TRIM)
		must(xmb_chunk_merge(&left, &other), round);
	if (kind == RELEASE) {
		fill(&other, 0, tag);
		xmb_chunk_release(&other, cache);
	} else {
		fill(&left, PASSED, tag);
		must(xmb_chunk_truncate(&left, PASSED), round);
	}
}

/* Right reads along; left writes again as soon as it may. */
static void lend(uint8_t tag, uint64_t round)
{
	struct xmb_chunk clone = { 0 };

	fill(&left, PASSED, tag);
	must(xmb_chunk_share(&left, &clone), round);
	ring_put(&gifts, &clone);
	stop_sharing(&left, round);
	fill(&left, PASSED, 0);
}

static void *play_left(void *arg)
{
	struct xmb_cache cache;

	(void)arg;
	xmb_cache_init(&cache, &pool, 1);
	pin(0);
	for (uint64_t i = 0; i < round_cnt; i++) {
		enum kind kind = i % KIND_CNT;

		wait_turn(2 * i);
		if (kind >= SHARE_TRIMMED) {
			lend((uint8_t)i, i);
			wait_turn(2 * i + 1);
		} else {
			give_up(kind, (uint8_t)i, i, &cache);
			wait_turn(2 * i + 1);
			claim(&left, true, i);
			expect_tag(&left, PASSED, (uint8_t)~i, i);
		}
		tell_turn(2 * i + 2);
	}
	xmb_cache_fini(&cache);
	return NULL;
}

static void take(uint64_t round)
{
	claim(&right, false, round);
	expect_tag(&right, 0, (uint8_t)round, round);
	fill(&right, 0, (uint8_t)~round);
	must(xmb_chunk_discard_prefix(&right, PASSED), round);
}

static void read_along(enum kind kind, uint64_t round, struct xmb_cache *cache)
{
	struct xmb_chunk clone = ring_get(&gifts);

	expect_tag(&clone, PASSED, (uint8_t)round, round);
	if (kind == SHARE_TRIMMED)
		must(xmb_chunk_truncate(&clone, PASSED / 2), round);
	/* What is left of it is not what left waits for. */
	if (kind == SHARE_TRIMMED)
		must(xmb_chunk_truncate(&clone, 0), round);
	xmb_chunk_release(&clone, cache);
}

static void *play_right(void *arg)
{
	struct xmb_cache cache;

	(void)arg;
	xmb_cache_init(&cache, &pool, 2);
	pin(1);
	for (uint64_t i = 0; i < round_cnt; i++) {
		enum kind kind = i % KIND_CNT;

		wait_turn(2 * i);
		if (kind >= SHARE_TRIMMED)
			read_along(kind, i, &cache);
		else
			take(i);
		tell_turn(2 * i + 1);
	}
	xmb_cache_fini(&cache);
	return NULL;
}

static void run(void)
{
	struct xmb_chunk kept = { 0 };
	struct xmb_cache cache;
	pthread_t threads[2];

	xmb_cache_init(&cache, &pool, 0);
	if (xmb_chunk_alloc(&cache, &left) ||
	    xmb_chunk_split(&left, 2 * PASSED, &right) ||
	    xmb_chunk_split(&right, FRAME_LEN - 2 * PASSED - 8, &kept))
		fail("no frame to play with", 0);
	if (pthread_create(&threads[0], NULL, play_left, NULL) ||
	    pthread_create(&threads[1], NULL, play_right, NULL))
		fail("no thread", 0);
	pthread_join(threads[0], NULL);
	pthread_join(threads[1], NULL);
	if (!xmb_chunk_check(&left) || !xmb_chunk_check(&right) ||
	    left.len != 2 * PASSED)
		fail("the chunks are not what they were", 0);
	xmb_chunk_release(&left, &cache);
	xmb_chunk_release(&right, &cache);
	xmb_chunk_release(&kept, &cache);
	if (cache.app_cnt != 0)
		fail("the frame is not home", 0);
	xmb_cache_fini(&cache);
	if (xmb_pool_free_cnt(&pool) != FRAME_CNT ||
	    !xmb_pool_check(&pool, NULL, 0))
		fail("the pool does not check", 0);
	printf("relay: %" PRIu64 " rounds, busy %" PRIu64 " left %" PRIu64
	       " right\n", round_cnt, busy_cnt[1], busy_cnt[0]);
	/* Right must have waited for bytes that were not its own yet. */
	if (busy_cnt[0] == 0)
		fail("the two never met", 0);
}

int main(int argc, char **argv)
{
	static uint8_t base[FRAME_LEN * FRAME_CNT];
	struct xmb_pool_opts opts = {
		.base = base, .frame_len = FRAME_LEN, .frame_cnt = FRAME_CNT,
	};
	size_t side_len = xmb_pool_footprint(&opts);
	void *side = aligned_alloc(XMB_CACHE_LINE, side_len);

	round_cnt = 1000 * (argc > 1 ? strtoull(argv[1], NULL, 10) : 20);
	if (round_cnt == 0 || !side)
		return 2;
	alarm(TIME_LIMIT_S);
	xmb_log_set(hear, NULL);
	memset(side, 0, side_len);
	if (xmb_pool_init(&pool, side, &opts))
		fail("no pool", 0);
	run();
	xmb_pool_fini(&pool);
	free(side);
	return 0;
}
