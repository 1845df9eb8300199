/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The memory orders of lib/buf/chunk, for ThreadSanitizer: chunk.c is built in
 * here with a hook before each atomic access.  For every call of one thread and
 * every one of its steps, another thread does a call of its own just then.
 * They take turns by relaxed accesses, which order nothing: what one does to
 * its bytes before it gives them up is before what the other does to them by
 * the orders in chunk.c or not at all, and then a data race is reported.
 *
 *      0        L        gap        R         48   56    64
 *      +--------+--------+----------+---------+----+-----+
 *        this thread's     that one's               C: keeps the region shared
 *
 * Without ThreadSanitizer it checks that no byte has two owners, and that also
 * where the other call is made in two parts: up to some step of its own, and
 * the rest when the first call is over.
 */
#include <stdatomic.h>

static void step(void);

#define memory_order_relaxed (step(), __ATOMIC_RELAXED)
#define memory_order_acquire (step(), __ATOMIC_ACQUIRE)
#define memory_order_release (step(), __ATOMIC_RELEASE)
#define memory_order_acq_rel (step(), __ATOMIC_ACQ_REL)
#define memory_order_seq_cst (step(), __ATOMIC_SEQ_CST)

#include "buf/chunk.c"

#include <pthread.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { FRAME_LEN = 64, STEP_MAX = 200, SPIN_MAX = 200, TIME_LIMIT_S = 600 };
enum { L, LT, R, RT, S, C, HANDLE_CNT };
enum act {
	CLAIM_PRE,
	CLAIM_SUF,
	SPLIT,
	KEEP,
	SKIP,
	MERGE,
	SHARE,
	UNSHARE,
	DROP
};
#ifdef __SANITIZE_THREAD__
enum { IN_PARTS = false }; /* orders show in whole calls, and time is dear */
#else
enum { IN_PARTS = true };
#endif

enum turn { OURS, THEIRS, OVER };

struct call {
	enum act act;
	int a, b; /* handles */
	uint32_t n;
};

static const struct call left[] = {
	{ CLAIM_SUF, L, 0, 8 },	 { CLAIM_SUF, LT, 0, 8 }, { SPLIT, L, LT, 8 },
	{ KEEP, L, 0, 8 },	 { KEEP, LT, 0, 0 },	  { SKIP, LT, 0, 8 },
	{ MERGE, L, LT, 0 },	 { SHARE, L, LT, 0 },	  { UNSHARE, L, 0, 0 },
	{ UNSHARE, LT, 0, 0 },	 { DROP, L, 0, 0 },	  { DROP, LT, 0, 0 },
	{ CLAIM_PRE, LT, 0, 8 }, { SPLIT, LT, L, 8 },	  { MERGE, LT, L, 0 },
};

static const struct call right[] = {
	{ CLAIM_PRE, R, 0, 8 }, { CLAIM_PRE, R, 0, 16 }, { SPLIT, R, RT, 8 },
	{ SKIP, R, 0, 8 },	{ KEEP, R, 0, 4 },	 { MERGE, R, RT, 0 },
	{ SHARE, R, RT, 0 },	{ KEEP, S, 0, 2 },	 { KEEP, S, 0, 0 },
	{ SKIP, S, 0, 30 },	{ UNSHARE, S, 0, 0 },	 { DROP, R, 0, 0 },
	{ DROP, S, 0, 0 },	{ CLAIM_PRE, RT, 0, 4 },
};

enum { LEFT_CNT = sizeof(left) / sizeof(*left) };
enum { RIGHT_CNT = sizeof(right) / sizeof(*right) };

static struct xmb_pool pool;
static struct xmb_cache caches[2]; /* of this thread, of that one */
static struct xmb_chunk h[HANDLE_CNT];
static bool is_left[HANDLE_CNT] = { [L] = true, [LT] = true };
static uint8_t sink;

static int turn, ready, done; /* by builtins: they must not step */
static bool is_paused;	      /* the other call is to be gone on with */
static const struct call *their_call;
static bool they_are_left;
static __thread int countdown = -1;
static __thread int me = OURS;
static int their_countdown;

static void pass(int to)
{
	__atomic_store_n(&turn, to, __ATOMIC_RELAXED);
}

/* Returns OVER when that is what comes. */
static int wait_for(int what)
{
	for (uint32_t i = 1;; i++) {
		int now = __atomic_load_n(&turn, __ATOMIC_RELAXED);

		if (now == what || now == OVER)
			return now;
		if (i % SPIN_MAX == 0)
			sched_yield();
	}
}

static void step(void)
{
	if (countdown < 0 || countdown-- > 0)
		return;
	if (me == THEIRS)
		__atomic_store_n(&is_paused, true, __ATOMIC_RELAXED);
	pass(me == OURS ? THEIRS : OURS);
	wait_for(me);
}

/*
 * Write what may be written, read what may be read, of one side; by words where
 * that is possible, for ThreadSanitizer remembers few accesses to one.
 */
static void touch_chunk(const struct xmb_chunk *chunk)
{
	uint8_t *data = xmb_chunk_data(chunk);
	uint32_t word = sizeof(uint64_t), k = 0, len;

	for (; k < chunk->len; k += len) {
		bool is_word =
			(chunk->off + k) % word == 0 && chunk->len - k >= word;
		uint64_t seen = 0;

		len = is_word ? word : 1;
		if (!xmb_chunk_is_rdonly(chunk))
			memcpy(data + k, &(uint64_t){ chunk->off }, len);
		else
			memcpy(&seen, data + k, len);
		__atomic_fetch_add(&sink, (uint8_t)seen, __ATOMIC_RELAXED);
	}
}

static void touch(bool of_left)
{
	for (int i = 0; i < HANDLE_CNT; i++) {
		if (is_left[i] == of_left && xmb_chunk_is_live(&h[i]))
			touch_chunk(&h[i]);
	}
}

/* A frame that came home is all of its next owner's. */
static void drop(struct xmb_chunk *chunk, struct xmb_cache *cache)
{
	struct xmb_chunk next = { 0 };

	xmb_chunk_release(chunk, cache);
	if (cache->cnt == 0)
		return;
	xmb_chunk_alloc(cache, &next);
	memset(xmb_chunk_data(&next), 0, FRAME_LEN);
	xmb_chunk_release(&next, cache);
}

static void make(const struct call *call, struct xmb_cache *cache)
{
	struct xmb_chunk *a = &h[call->a], *b = &h[call->b];

	if (!xmb_chunk_is_live(a))
		return;
	switch (call->act) {
	case CLAIM_PRE:
		xmb_chunk_claim_prefix(a, call->n);
		break;
	case CLAIM_SUF:
		xmb_chunk_claim_suffix(a, call->n);
		break;
	case SPLIT:
		if (!xmb_chunk_is_live(b))
			xmb_chunk_split(a, call->n, b);
		break;
	case KEEP:
		xmb_chunk_truncate(a, call->n);
		break;
	case SKIP:
		xmb_chunk_discard_prefix(a, call->n);
		break;
	case MERGE:
		xmb_chunk_merge(a, b);
		break;
	case SHARE:
		if (!xmb_chunk_is_live(b))
			xmb_chunk_share(a, b);
		break;
	case UNSHARE:
		xmb_chunk_unshare(a);
		break;
	case DROP:
		drop(a, cache);
		break;
	}
}

static void *that_thread(void *arg)
{
	(void)arg;
	me = THEIRS;
	while (wait_for(THEIRS) == THEIRS) {
		/* All that was set up, but nothing since. */
		__atomic_load_n(&ready, __ATOMIC_ACQUIRE);
		touch(they_are_left);
		countdown = their_countdown;
		make(their_call, &caches[1]);
		countdown = -1;
		touch(they_are_left);
		__atomic_store_n(&done, 1, __ATOMIC_RELEASE);
		pass(OURS);
	}
	return NULL;
}

/*
 * Bits: a chunk at the far end, a tail on the left, a share, a gap; the left's
 * first is gone, so that a piece of its tail gets a lower slot than the tail.
 */
static void set_up(uint32_t scene)
{
	struct xmb_chunk *last = scene & 2 ? &h[LT] : &h[L];

	xmb_chunk_alloc(&caches[0], &h[L]);
	xmb_chunk_split(&h[L], FRAME_LEN / 2, &h[R]);
	xmb_chunk_split(&h[R], 16, &h[C]);
	xmb_chunk_discard_prefix(&h[C], 8);
	if (!(scene & 1))
		xmb_chunk_release(&h[C], &caches[0]);
	if (scene & 2)
		xmb_chunk_split(&h[L], 16, &h[LT]);
	if (scene & 4)
		xmb_chunk_share(last, &h[S]);
	if (scene & 8)
		xmb_chunk_truncate(last, last->len - 8);
	if (scene & 16)
		xmb_chunk_release(&h[L], &caches[0]);
}

/* One meeting; how far each of them goes before the other takes over. */
struct meeting {
	uint32_t scene;
	const struct call *ours, *theirs;
	bool we_are_left;
	int at, back_at;
};

static bool overlap(const struct xmb_chunk *a, const struct xmb_chunk *b)
{
	if (a->flags & b->flags & XMB_CHUNK_RDONLY)
		return false;
	return a->len > 0 && b->len > 0 && a->off < b->off + b->len &&
	       b->off < a->off + a->len;
}

static void check(const struct meeting *m)
{
	for (int i = 0; i < HANDLE_CNT; i++) {
		bool is_bad = !xmb_chunk_check(&h[i]);

		for (int k = 0; k < i; k++)
			is_bad |= overlap(&h[i], &h[k]);
		if (!is_bad)
			continue;
		fprintf(stderr,
			"FAIL: scene %u, call %d of %d, then at step %d"
			" call %d of %d, up to step %d: chunk %d\n",
			m->scene, m->ours->act, m->ours->a, m->at,
			m->theirs->act, m->theirs->a, m->back_at, i);
		exit(1);
	}
}

/* Bit 0: our call has a step of that number.  Bit 1: theirs has. */
static int try(const struct meeting *m)
{
	int met;

	set_up(m->scene);
	their_call = m->theirs;
	they_are_left = !m->we_are_left;
	their_countdown = m->back_at;
	is_paused = false;
	__atomic_store_n(&ready, 1, __ATOMIC_RELEASE);
	touch(m->we_are_left);
	countdown = m->at;
	make(m->ours, &caches[0]);
	met = countdown < 0;
	countdown = -1;
	touch(m->we_are_left);
	if (met && __atomic_load_n(&is_paused, __ATOMIC_RELAXED)) {
		met |= 2;
		pass(THEIRS);
		wait_for(OURS);
	}
	__atomic_load_n(&done, __ATOMIC_ACQUIRE);
	check(m);
	xmb_chunk_release_bulk(h, HANDLE_CNT, &caches[0]);
	xmb_cache_fini(&caches[1]);
	return met;
}

/* Every step of ours, with their call whole and then in two parts. */
static uint32_t meet(struct meeting *m, bool in_parts)
{
	uint32_t cnt = 0;

	for (m->at = 0; m->at < STEP_MAX; m->at++) {
		m->back_at = -1;
		if (!try(m))
			break;
		cnt++;
		for (m->back_at = 0; in_parts && try(m) & 2; m->back_at++)
			cnt++;
	}
	return cnt;
}

static uint32_t meet_all(const struct call *ours, uint32_t our_cnt,
			 const struct call *theirs, uint32_t their_cnt)
{
	uint32_t cnt = 0;

	for (uint32_t scene = 0; scene < 32; scene++) {
		if (scene > 16 && (scene & 3) != 3)
			continue;
		for (uint32_t i = 0; i < our_cnt * their_cnt; i++) {
			struct meeting m = {
				.scene = scene,
				.ours = &ours[i / their_cnt],
				.theirs = &theirs[i % their_cnt],
				.we_are_left = ours == left,
			};

			cnt += meet(&m, IN_PARTS && scene & 1);
		}
	}
	return cnt;
}

int main(void)
{
	static uint8_t base[FRAME_LEN] __attribute__((aligned(8)));
	struct xmb_pool_opts opts = {
		.base = base,
		.frame_len = FRAME_LEN,
		.frame_cnt = 1,
	};
	size_t side_len = xmb_pool_footprint(&opts);
	void *side = aligned_alloc(XMB_CACHE_LINE, side_len);
	pthread_t thread;
	uint32_t cnt;

	alarm(TIME_LIMIT_S);
	memset(side, 0, side_len);
	if (xmb_pool_init(&pool, side, &opts))
		return 1;
	xmb_cache_init(&caches[0], &pool, 1);
	xmb_cache_init(&caches[1], &pool, 2);
	if (pthread_create(&thread, NULL, that_thread, NULL))
		return 1;
	cnt = meet_all(left, LEFT_CNT, right, RIGHT_CNT) +
	      meet_all(right, RIGHT_CNT, left, LEFT_CNT);
	pass(OVER);
	pthread_join(thread, NULL);
	xmb_cache_fini(&caches[0]);
	if (!xmb_pool_check(&pool, NULL, 0) || cnt < 10000)
		return 1;
	xmb_pool_fini(&pool);
	free(side);
	printf("%u meetings\n", cnt);
	return 0;
}
