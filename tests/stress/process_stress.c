/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Two workers on one pool, in two processes that have it at different
 * addresses, or in two threads.  Each does at random what can be done with
 * chunks of the same few frames, and hands them to the other.
 *
 *      process_stress [processes|threads|both [OPS_1000 [SEED]]]
 *
 * Whoever may write a byte writes its tag there and expects to find it again,
 * whoever reads it what its writer left: a byte with two owners shows as a
 * wrong tag, and to ThreadSanitizer (threads) as a data race.  Each makes
 * OPS_1000 thousand calls.  Exit 0 with a line of totals, or 1 and why.
 */
#include "buf/chunk.h"
#include "buf/handover.h"
#include "ring/ring.h"

#include <errno.h>
#include <inttypes.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

enum {
	FRAME_LEN = 64,
	FRAME_CNT = 24,
	RING_LEN = 16,
	HELD_MAX = 10,
	CACHED_MAX = 4, /* or one would sit on frames that the other needs */
	STEP_CNT = 64,	/* calls between looks at how far the other is */
	TIME_LIMIT_S = 600, /* and 1 for each OPS_PER_S calls */
	OPS_PER_S = 40000,
};

enum kind {
	ALLOC,
	CLAIMED,
	CLAIM_BUSY,
	SPLIT,
	SPLIT_FULL,
	MERGED,
	SHARED,
	SHARE_FULL,
	UNSHARED,
	UNSHARE_BUSY,
	TRIMMED,
	RELEASED,
	OFFERED,
	ADOPTED,
	REFUSED, /* of a read-only chunk */
	KIND_CNT,
};

static const char *const kind_names[KIND_CNT] = {
	"alloc", "claim",   "claim busy", "split",   "split full",
	"merge", "share",   "share full", "unshare", "unshare busy",
	"trim",	 "release", "offer",	  "adopt",   "refused",
};

/* What the workers have in common, before pool and rings. */
struct control {
	_Atomic uint32_t is_ready;
	_Atomic uint32_t done_cnt; /* workers that offer no more */
	_Atomic uint64_t left[2];  /* calls that each has to make */
	int64_t app_cnt[2];
	uint64_t cnt[2][KIND_CNT];
};

struct item {
	struct xmb_handover_desc desc;
	uint32_t tag;
};

/* Where the parts of the shared memory begin. */
struct layout {
	size_t base, side, rings[2], len;
};

struct held {
	struct xmb_chunk chunk;
	uint8_t tag; /* what its bytes hold */
};

struct worker {
	struct control *control;
	struct xmb_cache cache;
	struct xmb_ring to, from;
	uint64_t seed;
	uint64_t *cnt;
	uint64_t op_cnt; /* calls to make */
	uint32_t id;
	struct held held[HELD_MAX];
};

static struct xmb_pool_opts opts = {
	.frame_len = FRAME_LEN,
	.frame_cnt = FRAME_CNT,
};

static void fail(const char *what, uint32_t id)
{
	fprintf(stderr, "FAIL: %s (worker %u)\n", what, id);
	exit(1);
}

static uint32_t rnd(struct worker *w, uint32_t below)
{
	w->seed = w->seed * UINT64_C(6364136223846793005) +
		  UINT64_C(1442695040888963407);
	return (uint32_t)(w->seed >> 33) % below;
}

static void count(struct worker *w, enum kind kind)
{
	w->cnt[kind]++;
	w->op_cnt -= w->op_cnt > 0;
}

/* Run beside the other: who is ahead of it waits. */
static void keep_pace(struct worker *w)
{
	struct control *c = w->control;

	atomic_store(&c->left[w->id], w->op_cnt);
	while (atomic_load(&c->left[!w->id]) > w->op_cnt + 4 * STEP_CNT)
		sched_yield();
}

/* Each worker has tags of its own. */
static void mark(struct worker *w, struct held *h)
{
	h->tag = (uint8_t)(w->id << 7 | rnd(w, 128));
	memset(xmb_chunk_data(&h->chunk), h->tag, h->chunk.len);
}

static void verify(struct worker *w, const struct held *h)
{
	const uint8_t *data = xmb_chunk_data(&h->chunk);

	for (uint32_t i = 0; i < h->chunk.len; i++) {
		if (data[i] != h->tag)
			fail("a byte has two owners", w->id);
	}
	if (!xmb_chunk_check(&h->chunk))
		fail("a chunk's slot is not its own", w->id);
}

static struct held *find_idle(struct worker *w)
{
	uint32_t at = rnd(w, HELD_MAX);

	for (uint32_t i = 0; i < HELD_MAX; i++) {
		struct held *h = &w->held[(at + i) % HELD_MAX];

		if (!xmb_chunk_is_live(&h->chunk))
			return h;
	}
	return NULL;
}

/* A chunk of ours that begins where h ends. */
static struct held *find_next(struct worker *w, const struct held *h)
{
	const struct xmb_chunk *c = &h->chunk;

	for (struct held *n = w->held; n < w->held + HELD_MAX; n++) {
		if (n != h && xmb_chunk_is_live(&n->chunk) &&
		    n->chunk.region == c->region &&
		    n->chunk.off == c->off + c->len)
			return n;
	}
	return NULL;
}

static void do_alloc(struct worker *w, struct held *h)
{
	xmb_cache_fetch(&w->cache, 1, false);
	if (w->cache.cnt == 0 || xmb_chunk_alloc(&w->cache, &h->chunk))
		return;
	mark(w, h);
	count(w, ALLOC);
}

static void do_adopt(struct worker *w, struct held *h)
{
	const struct item *item;
	uint32_t idx;

	if (xmb_ring_peek(&w->from, 1, &idx) == 0)
		return;
	item = xmb_ring_item(&w->from, idx);
	if (xmb_handover_adopt(&w->cache, &item->desc, &h->chunk))
		fail("what was offered is not to be had", w->id);
	h->tag = (uint8_t)item->tag;
	xmb_ring_release(&w->from, 1);
	verify(w, h);
	if (!xmb_chunk_is_rdonly(&h->chunk))
		mark(w, h);
	count(w, ADOPTED);
}

static void do_offer(struct worker *w, struct held *h)
{
	struct item *item;
	uint32_t idx;

	if (xmb_ring_reserve(&w->to, 1, &idx) == 0)
		return;
	item = xmb_ring_item(&w->to, idx);
	if (xmb_handover_offer(&w->cache, &h->chunk, &item->desc))
		fail("an offer was refused", w->id);
	item->tag = h->tag;
	xmb_ring_commit(&w->to, 1);
	count(w, OFFERED);
}

static void allow(const struct worker *w, int ret, int allowed)
{
	if (ret && ret != allowed)
		fail("an error is none of the call's own", w->id);
}

/* Of a read-only chunk all that writes must be refused. */
static bool is_refused(struct worker *w, bool is_rdonly, int ret)
{
	if (is_rdonly != (ret == -EPERM))
		fail("read-only is not what the call says", w->id);
	if (is_rdonly)
		count(w, REFUSED);
	return is_rdonly;
}

static void do_claim(struct worker *w, struct held *h)
{
	bool is_rdonly = xmb_chunk_is_rdonly(&h->chunk);
	uint32_t n = 1 + rnd(w, 8);
	int ret = rnd(w, 2) ? xmb_chunk_claim_prefix(&h->chunk, n)
			    : xmb_chunk_claim_suffix(&h->chunk, n);

	if (ret == -ERANGE || is_refused(w, is_rdonly, ret))
		return;
	allow(w, ret, -EBUSY);
	if (ret == 0)
		mark(w, h);
	count(w, ret ? CLAIM_BUSY : CLAIMED);
}

static void do_split(struct worker *w, struct held *h)
{
	bool is_rdonly = xmb_chunk_is_rdonly(&h->chunk);
	struct held *tail = find_idle(w);
	int ret;

	if (!tail)
		return;
	ret = xmb_chunk_split(&h->chunk, rnd(w, h->chunk.len + 1),
			      &tail->chunk);
	if (is_refused(w, is_rdonly, ret))
		return;
	allow(w, ret, -ENOSPC);
	if (ret == 0) {
		mark(w, h);
		mark(w, tail);
	}
	count(w, ret ? SPLIT_FULL : SPLIT);
}

static void do_merge(struct worker *w, struct held *h)
{
	struct held *next = find_next(w, h);
	bool is_rdonly;
	int ret;

	if (!next)
		return;
	is_rdonly = (h->chunk.flags | next->chunk.flags) & XMB_CHUNK_RDONLY;
	verify(w, next);
	ret = xmb_chunk_merge(&h->chunk, &next->chunk);
	if (is_refused(w, is_rdonly, ret))
		return;
	if (ret)
		fail("neighbours did not merge", w->id);
	mark(w, h);
	count(w, MERGED);
}

static void do_share(struct worker *w, struct held *h)
{
	struct held *clone = find_idle(w);
	int ret;

	if (!clone)
		return;
	ret = xmb_chunk_share(&h->chunk, &clone->chunk);
	allow(w, ret, -ENOSPC);
	clone->tag = h->tag;
	count(w, ret ? SHARE_FULL : SHARED);
}

static void do_unshare(struct worker *w, struct held *h)
{
	int ret;

	if (!xmb_chunk_is_rdonly(&h->chunk))
		return;
	ret = xmb_chunk_unshare(&h->chunk);
	allow(w, ret, -EBUSY);
	if (ret == 0)
		mark(w, h);
	count(w, ret ? UNSHARE_BUSY : UNSHARED);
}

static void do_trim(struct worker *w, struct held *h)
{
	uint32_t n = rnd(w, h->chunk.len + 1);

	if (rnd(w, 2))
		xmb_chunk_discard_prefix(&h->chunk, n);
	else
		xmb_chunk_truncate(&h->chunk, n);
	count(w, TRIMMED);
}

static void do_release(struct worker *w, struct held *h)
{
	xmb_chunk_release(&h->chunk, &w->cache);
	if (w->cache.cnt > CACHED_MAX)
		xmb_cache_flush(&w->cache);
	count(w, RELEASED);
}

struct chance {
	uint32_t of_64;
	void (*fn)(struct worker *w, struct held *h);
};

static const struct chance writable[] = {
	{ 20, do_claim }, { 10, do_split }, { 9, do_merge },   { 3, do_share },
	{ 5, do_trim },	  { 11, do_offer }, { 6, do_release },
};

static const struct chance read_only[] = {
	{ 1, do_claim },  { 1, do_split },    { 2, do_merge },
	{ 1, do_share },  { 4, do_trim },     { 25, do_unshare },
	{ 10, do_offer }, { 20, do_release },
};

static void do_any(struct worker *w, struct held *h)
{
	const struct chance *c =
		xmb_chunk_is_rdonly(&h->chunk) ? read_only : writable;
	uint32_t at = rnd(w, 64);

	while (at >= c->of_64)
		at -= c++->of_64;
	c->fn(w, h);
}

static void step(struct worker *w)
{
	struct held *h = &w->held[rnd(w, HELD_MAX)];

	if (!xmb_chunk_is_live(&h->chunk)) {
		if (rnd(w, 8))
			do_adopt(w, h);
		else
			do_alloc(w, h);
		return;
	}
	verify(w, h);
	do_any(w, h);
}

/* Take what is still coming, and give all back. */
static void wind_up(struct worker *w)
{
	bool is_last = false;

	atomic_fetch_add(&w->control->done_cnt, 1);
	while (!is_last || xmb_ring_cnt(&w->from) > 0) {
		is_last = atomic_load(&w->control->done_cnt) == 2;
		for (uint32_t i = 0; i < HELD_MAX; i++) {
			struct held *h = &w->held[i];

			if (xmb_chunk_is_live(&h->chunk))
				verify(w, h);
			xmb_chunk_release(&h->chunk, &w->cache);
			do_adopt(w, h);
			xmb_chunk_release(&h->chunk, &w->cache);
		}
		xmb_cache_fini(&w->cache);
		sched_yield();
	}
	w->control->app_cnt[w->id] = w->cache.app_cnt;
}

static void *work(void *arg)
{
	struct worker *w = arg;

	while (w->op_cnt > 0) {
		for (uint32_t i = 0; i < STEP_CNT; i++)
			step(w);
		keep_pace(w);
	}
	wind_up(w);
	return NULL;
}

static struct layout plan(void)
{
	size_t ring_len = xmb_ring_footprint(RING_LEN, sizeof(struct item));
	struct layout at = {
		.base = xmb_align_up(sizeof(struct control), 4096),
	};

	at.side = at.base + xmb_align_up(FRAME_LEN * FRAME_CNT, 4096);
	at.rings[0] = at.side + xmb_align_up(xmb_pool_footprint(&opts), 4096);
	at.rings[1] = at.rings[0] + xmb_align_up(ring_len, 4096);
	at.len = at.rings[1] + xmb_align_up(ring_len, 4096);
	return at;
}

static uint8_t *map(int fd, size_t len)
{
	void *mem = mmap(NULL, len, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);

	if (mem == MAP_FAILED)
		fail("no memory", 0);
	return mem;
}

static struct xmb_pool pool;
static struct worker workers[2];

static void worker_init(uint32_t id, uint8_t *mem, uint64_t op_cnt,
			uint64_t seed)
{
	struct worker *w = &workers[id];
	struct layout at = plan();

	w->op_cnt = op_cnt;
	w->control = (struct control *)mem;
	w->id = id;
	w->seed = seed * 2 + id;
	w->cnt = w->control->cnt[id];
	xmb_cache_init(&w->cache, &pool, 10 + id);
	xmb_ring_join(&w->to, mem + at.rings[id]);
	xmb_ring_join(&w->from, mem + at.rings[!id]);
}

/* Both begin at once: each has as many calls to make. */
static void make(uint8_t *mem, uint64_t op_cnt)
{
	struct control *c = (struct control *)mem;
	struct layout at = plan();

	opts.base = mem + at.base;
	if (xmb_pool_init(&pool, mem + at.side, &opts))
		fail("no pool", 0);
	for (int i = 0; i < 2; i++)
		xmb_ring_init(mem + at.rings[i], RING_LEN, sizeof(struct item));
	atomic_store(&c->left[0], op_cnt);
	atomic_store(&c->left[1], op_cnt);
	atomic_store(&c->is_ready, 1);
}

/* The second process: forked before there was a pool, it maps and joins. */
static _Noreturn void be_second(int fd, uint8_t *old, uint64_t op_cnt,
				uint64_t seed)
{
	struct layout at = plan();
	uint8_t *mem = map(fd, at.len);

	prctl(PR_SET_PDEATHSIG, SIGKILL);
	if (mem == old)
		fail("the address is the same", 1);
	munmap(old, at.len);
	if (xmb_domain_set_owner(2))
		fail("no owner id", 1);
	while (!atomic_load(&((struct control *)mem)->is_ready))
		sched_yield();
	opts.base = mem + at.base;
	if (xmb_pool_join(&pool, mem + at.side, &opts))
		fail("did not join", 1);
	worker_init(1, mem, op_cnt, seed);
	work(&workers[1]);
	xmb_pool_fini(&pool);
	exit(0);
}

/* The first one would wait for ever for a second one that failed. */
static void on_child(int sig)
{
	siginfo_t info = { 0 };
	int was = errno;

	if (sig && !waitid(P_ALL, 0, &info, WEXITED | WNOHANG | WNOWAIT) &&
	    info.si_pid && info.si_status)
		_exit(1);
	errno = was;
}

static void run_processes(int fd, uint8_t *mem, uint64_t op_cnt, uint64_t seed)
{
	pid_t pid, status;

	signal(SIGCHLD, on_child);
	pid = fork();
	if (pid < 0)
		fail("no process", 1);
	if (pid == 0)
		be_second(fd, mem, op_cnt, seed);
	make(mem, op_cnt);
	worker_init(0, mem, op_cnt, seed);
	work(&workers[0]);
	if (waitpid(pid, &status, 0) != pid || status != 0)
		fail("the second process failed", 1);
}

static void run_threads(uint8_t *mem, uint64_t op_cnt, uint64_t seed)
{
	pthread_t threads[2];

	make(mem, op_cnt);
	for (uint32_t i = 0; i < 2; i++)
		worker_init(i, mem, op_cnt, seed);
	for (uint32_t i = 0; i < 2; i++) {
		if (pthread_create(&threads[i], NULL, work, &workers[i]))
			fail("no thread", i);
	}
	for (uint32_t i = 0; i < 2; i++)
		pthread_join(threads[i], NULL);
}

static void report(const struct control *control, const char *mode)
{
	uint64_t total = 0;

	if (control->app_cnt[0] + control->app_cnt[1] != 0)
		fail("the caches do not sum up", 0);
	if (xmb_pool_free_cnt(&pool) != FRAME_CNT)
		fail("frames are missing", 0);
	if (!xmb_pool_check(&pool, NULL, 0))
		fail("the pool does not check", 0);
	printf("%s:", mode);
	for (int i = 0; i < KIND_CNT; i++) {
		uint64_t cnt = control->cnt[0][i] + control->cnt[1][i];

		printf(" %s %" PRIu64 ",", kind_names[i], cnt);
		total += cnt;
		/* What was never met was not tested. */
		if (cnt == 0)
			fail(kind_names[i], 99);
	}
	printf(" all %" PRIu64 "\n", total);
}

static void run(bool is_threads, uint64_t op_cnt, uint64_t seed)
{
	int fd = memfd_create("process_stress", MFD_CLOEXEC);
	size_t len = plan().len;
	uint8_t *mem;

	if (fd < 0 || ftruncate(fd, (off_t)len))
		fail("no memory", 0);
	mem = map(fd, len);
	memset(workers, 0, sizeof(workers));
	if (is_threads)
		run_threads(mem, op_cnt, seed);
	else
		run_processes(fd, mem, op_cnt, seed);
	report((struct control *)mem, is_threads ? "threads" : "processes");
	xmb_pool_fini(&pool);
	munmap(mem, len);
	close(fd);
}

int main(int argc, char **argv)
{
	const char *mode = argc > 1 ? argv[1] : "both";
	uint64_t ops_1000 = argc > 2 ? strtoull(argv[2], NULL, 10) : 1000;
	uint64_t seed = argc > 3 ? strtoull(argv[3], NULL, 10) : 1;

	if (ops_1000 == 0)
		return 2;
	alarm((uint32_t)(TIME_LIMIT_S + ops_1000 * 1000 / OPS_PER_S));
	if (strcmp(mode, "threads") != 0)
		run(false, ops_1000 * 1000, seed);
	if (strcmp(mode, "processes"))
		run(true, ops_1000 * 1000, seed);
	return 0;
}
