/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Death at any step: the sources that take steps in shared memory are built in
 * here with a hook before each atomic access.  For every call and every one of
 * its steps a child process makes that call and kills itself just there.  The
 * parent, who holds the chunks beside the child's, then reclaims.
 *
 *      0        16   20        40   48       64
 *      +--------+----+---------+----+---------+
 *      | before |    | child's |    |  after  |     one frame
 *      +--------+----+---------+----+---------+
 *
 * The parent's bytes and slots must be as they were, all between them free,
 * and every frame home exactly once; with the same pool it goes on.
 *
 *      process_kill [-v]       every step with the place where it is
 */
#include <stdatomic.h>

static void step(const char *function, int line);

#define HOOKED(order) (step(__func__, __LINE__), order)
#define memory_order_relaxed HOOKED(__ATOMIC_RELAXED)
#define memory_order_acquire HOOKED(__ATOMIC_ACQUIRE)
#define memory_order_release HOOKED(__ATOMIC_RELEASE)
#define memory_order_acq_rel HOOKED(__ATOMIC_ACQ_REL)
#define memory_order_seq_cst HOOKED(__ATOMIC_SEQ_CST)

#include "buf/chunk.c"
#include "buf/handover.c"
#include "buf/pool.c"
#include "ring/ring.h"

#include "base/log.h"
#include "buf/reclaim.h"

#include <signal.h>
#include <stdio.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

enum {
	FRAME_LEN = 64,
	FRAME_CNT = 24,
	SPILL_CNT_ALL = 80,
	RING_LEN = 8,
	RESERVED = 2, /* for fill rings only */
	STEP_MAX = 400,
	TIME_LIMIT_S = 600,
	CHILD = 2, /* owner id */
	PARENT_WHO = 10,
	CHILD_WHO = 20,
	CHILD_SOCKET = 50,
	PATTERN = 0x5a,
};

static struct xmb_pool pool;
static struct xmb_cache cache; /* the parent's */

/* A ring and a handle for each end, of which each process has its own copy. */
struct way {
	void *memory;
	struct xmb_ring in, out;
};

static struct way to_child, to_parent;
static struct xmb_chunk before, after;
static int countdown = -1; /* steps that the child still takes */
static bool is_verbose;
static const char *what = "nothing";

/* The child's: its cache and what it holds. */
static struct xmb_cache mine;
static struct xmb_chunk piece, tail, whole;

static void step(const char *function, int line)
{
	if (countdown < 0 || countdown-- > 0)
		return;
	if (is_verbose)
		dprintf(STDOUT_FILENO, "%s: dies in %s, line %d\n", what,
			function, line);
	kill(getpid(), SIGKILL);
}

static void fail(const char *why)
{
	fprintf(stderr, "FAIL: %s: %s\n", what, why);
	exit(1);
}

static void expect(bool is_true, const char *why)
{
	if (!is_true)
		fail(why);
}

static void hear(void *arg, enum xmb_log_level level, const char *text)
{
	(void)arg;
	(void)level;
	fprintf(stderr, "%s\n", text);
}

static void offer(struct xmb_cache *from, struct way *way,
		  struct xmb_chunk *chunk)
{
	struct xmb_handover_desc desc;

	if (xmb_handover_offer(from, chunk, &desc) == 0)
		xmb_ring_push(&way->in, &desc, 1);
}

/* -EAGAIN: nothing was on its way. */
static int adopt(struct xmb_cache *to, struct way *way, struct xmb_chunk *chunk)
{
	uint32_t idx;
	int ret;

	if (xmb_ring_peek(&way->out, 1, &idx) == 0)
		return -EAGAIN;
	ret = xmb_handover_adopt(to, xmb_ring_item(&way->out, idx), chunk);
	xmb_ring_release(&way->out, 1);
	return ret;
}

static void way_init(struct way *way)
{
	xmb_ring_init(way->memory, RING_LEN, sizeof(struct xmb_handover_desc));
	xmb_ring_join(&way->in, way->memory);
	xmb_ring_join(&way->out, way->memory);
}

/* Be the reader in place of one that is dead. */
static void take_over(struct way *way)
{
	xmb_ring_join(&way->out, way->memory);
	way->out.mine = way->out.theirs = atomic_load(&way->out.shared->head);
}

/* What the child did before the call in which it dies. */

static void nothing(void)
{
}

static void split_before(void)
{
	xmb_chunk_split(&piece, 8, &tail);
}

static void share_before(void)
{
	xmb_chunk_share(&piece, &tail);
}

static void split_whole_before(void)
{
	xmb_chunk_split(&whole, 30, &tail);
}

static void fill_cache_before(void)
{
	xmb_cache_fetch(&mine, FRAME_CNT, false);
}

static void empty_cache_before(void)
{
	xmb_cache_fini(&mine);
}

static void send_before(void)
{
	bool is_excl;

	xmb_handover_tx(&mine, CHILD_SOCKET, &piece, &is_excl);
}

/* A batch more than a cache of spill blocks holds. */
static void many_spills_before(void)
{
	for (uint32_t i = 0; i < XMB_SPILL_CACHE_MAX; i += SPILL_BATCH) {
		struct xmb_stack stack = xmb_stack_spills(&pool);

		stack_take(&stack, mine.spills + i, SPILL_BATCH, 0);
		for (uint32_t k = i; k < i + SPILL_BATCH; k++)
			*xmb_stack_link(&stack, mine.spills[k]) =
				XMB_SPILL_TAKEN | CHILD;
	}
	mine.spill_cnt = XMB_SPILL_CACHE_MAX - 1;
	mine.spills[mine.spill_cnt++] = mine.spills[XMB_SPILL_CACHE_MAX - 1];
}

/* The calls. */

static void claim_prefix(void)
{
	xmb_chunk_claim_prefix(&piece, 4);
}
static void claim_suffix(void)
{
	xmb_chunk_claim_suffix(&piece, 8);
}
static void claim_too_much(void)
{
	xmb_chunk_claim_prefix(&piece, 5);
}
static void discard(void)
{
	xmb_chunk_discard_prefix(&piece, 3);
}
static void truncate_it(void)
{
	xmb_chunk_truncate(&piece, 3);
}
static void split(void)
{
	xmb_chunk_split(&piece, 8, &tail);
}
static void split_whole(void)
{
	xmb_chunk_split(&whole, 8, &tail);
}
static void merge(void)
{
	xmb_chunk_merge(&piece, &tail);
}
static void merge_whole(void)
{
	xmb_chunk_merge(&whole, &tail);
}
static void share(void)
{
	xmb_chunk_share(&piece, &tail);
}
static void share_whole(void)
{
	xmb_chunk_share(&whole, &tail);
}
static void unshare(void)
{
	xmb_chunk_unshare(&piece);
}
static void release(void)
{
	xmb_chunk_release(&piece, &mine);
}
static void release_whole(void)
{
	xmb_chunk_release(&whole, &mine);
}
static void fini(void)
{
	xmb_cache_fini(&mine);
}
static void flush(void)
{
	xmb_cache_flush(&mine);
}
static void give_piece(void)
{
	offer(&mine, &to_parent, &piece);
}
static void give_whole(void)
{
	offer(&mine, &to_parent, &whole);
}
static void take_one(void)
{
	adopt(&mine, &to_child, &tail);
}
static void spill_get(void)
{
	xmb_cache_spill_get(&mine);
}

static void take_both(void)
{
	adopt(&mine, &to_child, &tail);
	memset(&tail, 0, sizeof(tail));
	adopt(&mine, &to_child, &tail);
}

static void alloc(void)
{
	struct xmb_chunk chunk = { 0 };

	xmb_chunk_alloc(&mine, &chunk);
}

static void send_piece(void)
{
	bool is_excl;

	xmb_handover_tx(&mine, CHILD_SOCKET, &piece, &is_excl);
}

static void send_whole(void)
{
	bool is_excl;

	xmb_handover_tx(&mine, CHILD_SOCKET, &whole, &is_excl);
}

static void complete(void)
{
	xmb_handover_complete(&mine, CHILD_SOCKET, 0 * FRAME_LEN + 20);
}

static void fill(void)
{
	uint64_t addrs[4];

	xmb_handover_fill(&mine, CHILD_SOCKET, addrs, 4);
}

static void spill_put_to_full(void)
{
	struct xmb_stack stack = xmb_stack_spills(&pool);
	uint32_t spill;

	stack_take(&stack, &spill, 1, 0);
	xmb_cache_spill_put(&mine, &pool.domain, spill);
}

static const struct call {
	const char *name;
	void (*before)(void);
	void (*fn)(void);
} calls[] = {
	{ "claim prefix", nothing, claim_prefix },
	{ "claim suffix", nothing, claim_suffix },
	{ "claim, refused", nothing, claim_too_much },
	{ "discard", nothing, discard },
	{ "truncate", nothing, truncate_it },
	{ "split", nothing, split },
	{ "split of a whole frame", nothing, split_whole },
	{ "merge", split_before, merge },
	{ "merge to a whole frame", split_whole_before, merge_whole },
	{ "share", nothing, share },
	{ "share of a whole frame", nothing, share_whole },
	{ "unshare, refused", share_before, unshare },
	{ "release", nothing, release },
	{ "release of one of two", split_before, release },
	{ "release of a share", share_before, release },
	{ "release of a whole frame", nothing, release_whole },
	{ "release of half a frame", split_whole_before, release_whole },
	{ "alloc", nothing, alloc },
	{ "alloc from an empty cache", empty_cache_before, alloc },
	{ "flush of a cache", fill_cache_before, flush },
	{ "end of a cache", nothing, fini },
	{ "hand-over of a piece", nothing, give_piece },
	{ "hand-over of a frame", nothing, give_whole },
	{ "adoption of a piece", nothing, take_one },
	{ "adoption of a frame", nothing, take_both },
	{ "send", nothing, send_piece },
	{ "send of a whole frame", nothing, send_whole },
	{ "completion", send_before, complete },
	{ "fill", fill_cache_before, fill },
	{ "fill from the reserve", nothing, fill },
	{ "spill block taken", nothing, spill_get },
	{ "spill blocks flushed", many_spills_before, spill_put_to_full },
};

/* The child takes what it is given, and dies; returns if it does not. */
static void be_child(const struct call *call, int at)
{
	xmb_owner_self = CHILD;
	xmb_cache_init(&mine, &pool, CHILD_WHO);
	before = after = (struct xmb_chunk){ 0 };
	if (adopt(&mine, &to_child, &piece) || xmb_chunk_alloc(&mine, &whole))
		fail("the child has nothing to work with");
	memset(xmb_chunk_data(&piece), 0xee, piece.len);
	call->before();
	countdown = at;
	call->fn();
	_exit(0);
}

/* Frame 0 in three; more for the child on its way. */
static void set_up(bool has_neighbours)
{
	struct xmb_chunk first = { 0 }, second = { 0 };

	way_init(&to_child);
	way_init(&to_parent);
	expect(xmb_chunk_alloc(&cache, &before) == 0 &&
		       xmb_chunk_split(&before, 16, &first) == 0 &&
		       xmb_chunk_split(&first, 32, &after) == 0,
	       "no frame to set up");
	xmb_chunk_slice(&first, 4, 24);
	memset(xmb_chunk_data(&before), PATTERN, before.len);
	memset(xmb_chunk_data(&after), PATTERN, after.len);
	offer(&cache, &to_child, &first);
	/* For the calls that adopt: a piece and a whole frame. */
	expect(xmb_chunk_alloc(&cache, &second) == 0 &&
		       xmb_chunk_split(&second, 16, &first) == 0,
	       "no second frame");
	xmb_chunk_release(&first, &cache);
	offer(&cache, &to_child, &second);
	expect(xmb_chunk_alloc(&cache, &second) == 0, "no third frame");
	offer(&cache, &to_child, &second);
	xmb_cache_fini(&cache);
	if (has_neighbours)
		return;
	xmb_chunk_release(&before, &cache);
	xmb_chunk_release(&after, &cache);
}

static void expect_untouched(const struct xmb_chunk *chunk)
{
	if (!xmb_chunk_is_live(chunk))
		return;
	for (uint32_t i = 0; i < chunk->len; i++)
		expect(xmb_chunk_data(chunk)[i] == PATTERN,
		       "a neighbour's byte was written");
	expect(xmb_chunk_check(chunk), "a neighbour's slot was written");
}

/* Take back what the child has not adopted; consume what it sent. */
static void drain(bool is_reclaimed)
{
	struct xmb_chunk chunk = { 0 };
	int ret;

	take_over(&to_child);
	while ((ret = adopt(&cache, &to_child, &chunk)) != -EAGAIN) {
		expect(ret == 0 || ret == -ENOENT, "my own offer is refused");
		xmb_chunk_release(&chunk, &cache);
	}
	while ((ret = adopt(&cache, &to_parent, &chunk)) != -EAGAIN) {
		expect(ret == (is_reclaimed ? -ENOENT : 0),
		       "what the child sent is not as it should be");
		xmb_chunk_release(&chunk, &cache);
	}
}

static void reclaim(bool is_drained_first)
{
	const struct xmb_reclaim_dead dead = {
		.owner = CHILD,
		.whos = (const uint8_t[]){ CHILD_WHO },
		.who_cnt = 1,
	};
	struct xmb_reclaim_cnt cnt = { 0 };

	if (is_drained_first)
		drain(false);
	expect(xmb_reclaim(&cache, &dead, &cnt) == 0 &&
		       xmb_reclaim_socket(&cache, CHILD_SOCKET, &cnt) == 0,
	       "reclaim failed");
	expect(cnt.slot_cnt + cnt.frame_cnt > 0, "nothing was reclaimed");
	expect_untouched(&before);
	expect_untouched(&after);
	if (!is_drained_first)
		drain(true);
	expect(xmb_reclaim_lost(&cache, &cnt) == 0, "the stacks are damaged");
}

/* All between the neighbours is free, and all frames are home but theirs. */
static void go_on(void)
{
	struct xmb_chunk all[FRAME_CNT] = { 0 };
	struct xmb_cache *caches[] = { &cache };

	if (xmb_chunk_is_live(&before)) {
		expect(xmb_chunk_claim_suffix(&before, 32) == 0 &&
			       xmb_chunk_claim_suffix(&before, 1) == -EBUSY,
		       "the dead one's bytes are not free");
		xmb_chunk_release(&before, &cache);
		expect_untouched(&after);
		xmb_chunk_release(&after, &cache);
	}
	expect(xmb_pool_check(&pool, caches, 1), "the pool does not check");
	xmb_pool_set_reserve(&pool, 0);
	expect(xmb_chunk_alloc_bulk(&cache, all, FRAME_CNT) == 0,
	       "frames are missing");
	for (uint32_t i = 0; i < FRAME_CNT; i++) {
		expect(xmb_chunk_check(&all[i]), "a frame is not whole");
		memset(xmb_chunk_data(&all[i]), 0, FRAME_LEN);
	}
	xmb_chunk_release_bulk(all, FRAME_CNT, &cache);
	xmb_cache_fini(&cache);
	xmb_pool_set_reserve(&pool, RESERVED);
	expect(xmb_pool_check(&pool, NULL, 0), "the pool does not check");
}

/* Returns whether the child met its death at that step. */
static bool try(const struct call *call, int at, bool has_neighbours,
		bool is_drained_first)
{
	int status;
	pid_t pid;

	set_up(has_neighbours);
	fflush(NULL);
	pid = fork();
	if (pid == 0)
		be_child(call, at);
	expect(pid > 0 && waitpid(pid, &status, 0) == pid, "no child");
	expect(status == 0 ||
		       (WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL),
	       "the child failed");
	/* A child that came to its end dies as well, with all it has. */
	reclaim(is_drained_first);
	go_on();
	return status != 0;
}

static uint32_t try_all(const struct call *call)
{
	uint32_t cnt = 0;

	what = call->name;
	for (uint32_t i = 0; i < 4; i++) {
		int at = 0;

		while (at < STEP_MAX && try(call, at, i & 1, i & 2))
			at++;
		expect(at > 0 && at < STEP_MAX, "steps are not as expected");
		cnt += (uint32_t)at;
	}
	return cnt;
}

static uint8_t *map(size_t len)
{
	void *mem = mmap(NULL, len, PROT_READ | PROT_WRITE,
			 MAP_SHARED | MAP_ANONYMOUS, -1, 0);

	expect(mem != MAP_FAILED, "no memory");
	return mem;
}

int main(int argc, char **argv)
{
	struct xmb_pool_opts opts = {
		.frame_len = FRAME_LEN,
		.frame_cnt = FRAME_CNT,
		.spill_cnt = SPILL_CNT_ALL,
	};
	uint32_t cnt = 0;
	size_t ring_len;

	is_verbose = argc > 1 && strcmp(argv[1], "-v") == 0;
	alarm(TIME_LIMIT_S);
	xmb_log_set(hear, NULL);
	opts.base = map(FRAME_LEN * FRAME_CNT);
	expect(xmb_pool_init(&pool, map(xmb_pool_footprint(&opts)), &opts) == 0,
	       "no pool");
	xmb_pool_set_reserve(&pool, RESERVED);
	xmb_cache_init(&cache, &pool, PARENT_WHO);
	ring_len =
		xmb_ring_footprint(RING_LEN, sizeof(struct xmb_handover_desc));
	to_child.memory = map(ring_len);
	to_parent.memory = map(ring_len);
	for (uint32_t i = 0; i < sizeof(calls) / sizeof(*calls); i++)
		cnt += try_all(&calls[i]);
	xmb_pool_fini(&pool);
	printf("%u deaths in %zu calls: all came home\n", cnt,
	       sizeof(calls) / sizeof(*calls));
	return 0;
}
