/* SPDX-License-Identifier: BSD-2-Clause */
#include "bench.h"

#include "base/clock.h"
#include "ring/ring.h"

#include <ck_ring.h>
#include <errno.h>
#include <pthread.h>
#include <rte_ring.h>
#include <sched.h>
#include <stdlib.h>

/*
 * bench_ring [ROUNDS [ITEMS]]: pointers from a thread on CPU 0 to one on CPU 1
 * in bursts of 32; one JSON line with the nanoseconds an item of each round.
 * What arrives is added up, so that a ring that loses or doubles cannot win.
 */

enum { RING_CNT = 1024, BURST = 32, ROUNDS_MAX = 64 };

static struct xmb_ring producer, consumer;
static struct rte_ring *rte;
static ck_ring_t ck;
static ck_ring_buffer_t *ck_buffer;

static uint32_t xmb_put(void **items, uint32_t cnt)
{
	return xmb_ring_push(&producer, items, cnt);
}

static uint32_t xmb_get(void **items, uint32_t cnt)
{
	return xmb_ring_pop(&consumer, items, cnt);
}

/* Written and read where they lie. */
static uint32_t place_put(void **items, uint32_t cnt)
{
	uint32_t idx, n = xmb_ring_reserve(&producer, cnt, &idx);

	for (uint32_t i = 0; i < n; i++)
		*(void **)xmb_ring_item(&producer, idx + i) = items[i];
	if (n)
		xmb_ring_commit(&producer, n);
	return n;
}

static uint32_t place_get(void **items, uint32_t cnt)
{
	uint32_t idx, n = xmb_ring_peek(&consumer, cnt, &idx);

	for (uint32_t i = 0; i < n; i++)
		items[i] = *(void **)xmb_ring_item(&consumer, idx + i);
	if (n)
		xmb_ring_release(&consumer, n);
	return n;
}

static uint32_t rte_put(void **items, uint32_t cnt)
{
	return rte_ring_sp_enqueue_burst(rte, items, cnt, NULL);
}

static uint32_t rte_get(void **items, uint32_t cnt)
{
	return rte_ring_sc_dequeue_burst(rte, items, cnt, NULL);
}

/* ck has no bursts. */
static uint32_t ck_put(void **items, uint32_t cnt)
{
	uint32_t i = 0;

	while (i < cnt && ck_ring_enqueue_spsc(&ck, ck_buffer, items[i]))
		i++;
	return i;
}

static uint32_t ck_get(void **items, uint32_t cnt)
{
	uint32_t i = 0;

	while (i < cnt && ck_ring_dequeue_spsc(&ck, ck_buffer, &items[i]))
		i++;
	return i;
}

struct contender {
	const char *name;
	uint32_t (*put)(void **items, uint32_t cnt);
	uint32_t (*get)(void **items, uint32_t cnt);
};

static const struct contender contenders[] = {
	{ "xmbuf", xmb_put, xmb_get },
	{ "xmbuf-in-place", place_put, place_get },
	{ "rte_ring", rte_put, rte_get },
	{ "ck_ring", ck_put, ck_get },
};

enum { CONTENDER_CNT = sizeof(contenders) / sizeof(*contenders) };

static void pin(size_t cpu)
{
	cpu_set_t set;

	CPU_ZERO(&set);
	CPU_SET(cpu, &set);
	if (sched_setaffinity(0, sizeof(set), &set))
		bench_die("sched_setaffinity", errno);
}

static void relax(void)
{
#if defined(__x86_64__)
	__builtin_ia32_pause();
#endif
}

struct run {
	const struct contender *contender;
	uint64_t items;
	_Atomic bool is_started;
};

static inline __attribute__((always_inline)) void
produce(struct run *run, uint32_t (*put)(void **items, uint32_t cnt))
{
	void *items[BURST];

	atomic_store(&run->is_started, true);
	for (uint64_t next = 0; next < run->items; next += BURST) {
		uint32_t done = 0;

		for (uint32_t i = 0; i < BURST; i++)
			items[i] = (void *)(uintptr_t)(next + i);
		while (done < BURST) {
			uint32_t n = put(items + done, BURST - done);

			done += n;
			if (n == 0)
				relax();
		}
	}
}

static inline __attribute__((always_inline)) uint64_t
consume(uint64_t cnt, uint32_t (*get)(void **items, uint32_t cnt))
{
	void *items[BURST];
	uint64_t sum = 0;

	while (cnt) {
		uint32_t n = get(items, BURST);

		for (uint32_t i = 0; i < n; i++)
			sum += (uintptr_t)items[i];
		cnt -= n;
		if (n == 0)
			relax();
	}
	return sum;
}

/* Called by constants, so that every contender is inlined like the others. */
static void *producer_main(void *arg)
{
	struct run *run = arg;

	pin(0);
	switch (run->contender - contenders) {
	case 0:
		produce(run, xmb_put);
		break;
	case 1:
		produce(run, place_put);
		break;
	case 2:
		produce(run, rte_put);
		break;
	default:
		produce(run, ck_put);
	}
	return NULL;
}

static uint64_t consume_all(const struct run *run)
{
	switch (run->contender - contenders) {
	case 0:
		return consume(run->items, xmb_get);
	case 1:
		return consume(run->items, place_get);
	case 2:
		return consume(run->items, rte_get);
	default:
		return consume(run->items, ck_get);
	}
}

static double time_of(const struct contender *contender, uint64_t items)
{
	struct run run = { .contender = contender, .items = items };
	uint64_t start_ns, sum;
	pthread_t thread;
	int err = pthread_create(&thread, NULL, producer_main, &run);

	if (err)
		bench_die("pthread_create", err);
	while (!atomic_load(&run.is_started))
		relax();
	start_ns = xmb_clock_ns();
	sum = consume_all(&run);
	start_ns = xmb_clock_ns() - start_ns;
	pthread_join(thread, NULL);
	if (sum != items * (items - 1) / 2)
		bench_die("a ring lost or doubled an item", 0);
	return (double)start_ns / (double)items;
}

static void init(void)
{
	void *memory = bench_map(xmb_ring_footprint(RING_CNT, sizeof(void *)));

	xmb_ring_init(memory, RING_CNT, sizeof(void *));
	xmb_ring_join(&producer, memory);
	xmb_ring_join(&consumer, memory);
	rte = bench_map((size_t)rte_ring_get_memsize(RING_CNT));
	if (rte_ring_init(rte, "bench", RING_CNT,
			  RING_F_SP_ENQ | RING_F_SC_DEQ))
		bench_die("rte_ring_init", 0);
	ck_buffer = bench_map(RING_CNT * sizeof(*ck_buffer));
	ck_ring_init(&ck, RING_CNT);
}

int main(int argc, char **argv)
{
	static double samples[CONTENDER_CNT][ROUNDS_MAX];
	int rounds = argc > 1 ? atoi(argv[1]) : 9;
	uint64_t items = argc > 2 ? (uint64_t)atoll(argv[2]) : 16 << 20;

	if (rounds < 1 || rounds > ROUNDS_MAX || items < BURST)
		bench_die("usage: bench_ring [ROUNDS [ITEMS]]", 0);
	items -= items % BURST;
	init();
	pin(1);
	for (int round = -1; round < rounds; round++)
		for (int c = 0; c < CONTENDER_CNT; c++)
			samples[c][round < 0 ? 0 : round] =
				time_of(&contenders[c], items);
	printf("{\"row\": \"burst32\", \"what\": \"a pointer to the other CPU, "
	       "bursts of 32\", \"unit\": \"ns/item\", \"samples\": {");
	for (int c = 0; c < CONTENDER_CNT; c++) {
		printf("%s\"%s\": [", c ? ", " : "", contenders[c].name);
		for (int i = 0; i < rounds; i++)
			printf("%s%.3f", i ? ", " : "", samples[c][i]);
		printf("]");
	}
	printf("}}\n");
	return 0;
}
