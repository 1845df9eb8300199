/* SPDX-License-Identifier: BSD-2-Clause */
#include "bench.h"
#include "micro.h"

#include "base/clock.h"
#include "buf/multibuf.h"

#include <errno.h>
#include <sched.h>
#include <stdlib.h>
#include <string.h>

/*
 * bench_micro [ROUNDS [STEPS]]: one JSON line a row, with the nanoseconds of
 * each round: {"row", "unit", "samples": {"xmbuf": [...], "rte_mbuf": [...]}}
 */

enum { ROUNDS_MAX = 64, CPU = 1 };

static struct xmb_pool pool;
static struct xmb_cache cache;
static struct xmb_multibuf in_flight[MICRO_IN_FLIGHT];
static uint32_t oldest;

static void must(int err)
{
	if (err)
		bench_die("a step of xmbuf", -err);
}

static void packet(struct xmb_multibuf *mb, size_t len)
{
	must(xmb_multibuf_alloc(&cache, len, MICRO_HEADROOM, mb));
}

static void ours_alloc(uint32_t cnt)
{
	for (uint32_t i = 0; i < cnt; i++) {
		struct xmb_multibuf mb = { 0 };

		packet(&mb, MICRO_LEN);
		micro_use(&mb);
		xmb_multibuf_release(&mb, &cache);
		micro_use(&mb);
	}
}

static void ours_bulk(uint32_t cnt)
{
	struct xmb_chunk chunks[MICRO_BULK] = { 0 };
	struct xmb_multibuf mbs[MICRO_BULK];

	for (uint32_t i = 0; i < cnt; i += MICRO_BULK) {
		must(xmb_chunk_alloc_bulk(&cache, chunks, MICRO_BULK));
		for (int k = 0; k < MICRO_BULK; k++)
			xmb_multibuf_init(&mbs[k], &chunks[k]);
		micro_use(mbs);
		xmb_multibuf_release_bulk(mbs, MICRO_BULK, &cache);
	}
}

static void trim(struct xmb_multibuf *mb)
{
	must(xmb_multibuf_discard_prefix(mb, MICRO_TRIM, &cache));
	micro_use(mb);
	must(xmb_multibuf_claim_prefix(mb, MICRO_TRIM));
	micro_use(mb);
}

static void ours_trim(uint32_t cnt)
{
	for (uint32_t i = 0; i < cnt; i++) {
		struct xmb_multibuf mb = { 0 };

		packet(&mb, MICRO_LEN);
		trim(&mb);
		xmb_multibuf_release(&mb, &cache);
	}
}

/* Take the packet that is longest in flight, and put another there. */
static void exchange(struct xmb_multibuf *old)
{
	*old = in_flight[oldest];
	in_flight[oldest] = (struct xmb_multibuf){ 0 };
	packet(&in_flight[oldest], MICRO_LEN);
	oldest = (oldest + 1) % MICRO_IN_FLIGHT;
}

static void ours_trim_fifo(uint32_t cnt)
{
	for (uint32_t i = 0; i < cnt; i++) {
		struct xmb_multibuf mb;

		exchange(&mb);
		trim(&mb);
		xmb_multibuf_release(&mb, &cache);
	}
}

static void ours_chain(uint32_t cnt)
{
	for (uint32_t i = 0; i < cnt; i++) {
		struct xmb_multibuf mb = { 0 }, more = { 0 };

		packet(&mb, MICRO_LEN);
		packet(&more, MICRO_LEN);
		must(xmb_multibuf_append(&mb, &more, &cache));
		micro_use(&mb);
		xmb_multibuf_release(&mb, &cache);
	}
}

static void ours_fifo(uint32_t cnt)
{
	for (uint32_t i = 0; i < cnt; i++) {
		struct xmb_multibuf mb;

		exchange(&mb);
		xmb_multibuf_release(&mb, &cache);
	}
}

static void ours_split(uint32_t cnt)
{
	for (uint32_t i = 0; i < cnt; i++) {
		struct xmb_multibuf head = { 0 }, payload = { 0 };

		packet(&head, MICRO_SPLIT_LEN);
		must(xmb_multibuf_split(&head, MICRO_SPLIT_AT, &payload,
					&cache));
		micro_use(&head);
		micro_use(&payload);
		xmb_multibuf_release(&head, &cache);
		xmb_multibuf_release(&payload, &cache);
	}
}

static struct xmb_chunk chunks_in_flight[MICRO_IN_FLIGHT];

static void ours_chunk_alloc(uint32_t cnt)
{
	for (uint32_t i = 0; i < cnt; i++) {
		struct xmb_chunk c = { 0 };

		must(xmb_chunk_alloc(&cache, &c));
		micro_use(&c);
		xmb_chunk_release(&c, &cache);
	}
}

static void ours_chunk_bulk(uint32_t cnt)
{
	struct xmb_chunk chunks[MICRO_BULK] = { 0 };

	for (uint32_t i = 0; i < cnt; i += MICRO_BULK) {
		must(xmb_chunk_alloc_bulk(&cache, chunks, MICRO_BULK));
		micro_use(chunks);
		xmb_chunk_release_bulk(chunks, MICRO_BULK, &cache);
	}
}

static void trim_chunk(struct xmb_chunk *c)
{
	must(xmb_chunk_discard_prefix(c, MICRO_TRIM));
	micro_use(c);
	must(xmb_chunk_claim_prefix(c, MICRO_TRIM));
	micro_use(c);
}

static void ours_chunk_trim(uint32_t cnt)
{
	for (uint32_t i = 0; i < cnt; i++) {
		struct xmb_chunk c = { 0 };

		must(xmb_chunk_alloc(&cache, &c));
		trim_chunk(&c);
		xmb_chunk_release(&c, &cache);
	}
}

static void exchange_chunk(struct xmb_chunk *old)
{
	xmb_chunk_move(old, &chunks_in_flight[oldest]);
	chunks_in_flight[oldest] = (struct xmb_chunk){ 0 };
	must(xmb_chunk_alloc(&cache, &chunks_in_flight[oldest]));
	oldest = (oldest + 1) % MICRO_IN_FLIGHT;
}

/* The packets in flight make room for as many chunks, and come back. */
static void swap_in_flight(bool to_chunks)
{
	for (uint32_t i = 0; i < MICRO_IN_FLIGHT; i++) {
		if (to_chunks) {
			xmb_multibuf_release(&in_flight[i], &cache);
			must(xmb_chunk_alloc(&cache, &chunks_in_flight[i]));
		} else {
			xmb_chunk_release(&chunks_in_flight[i], &cache);
			packet(&in_flight[i], MICRO_LEN);
		}
	}
}

static void ours_chunk_trim_fifo(uint32_t cnt)
{
	for (uint32_t i = 0; i < cnt; i++) {
		struct xmb_chunk c;

		exchange_chunk(&c);
		trim_chunk(&c);
		xmb_chunk_release(&c, &cache);
	}
}

static void ours_chunk_fifo(uint32_t cnt)
{
	for (uint32_t i = 0; i < cnt; i++) {
		struct xmb_chunk c;

		exchange_chunk(&c);
		xmb_chunk_release(&c, &cache);
	}
}

static void ours_chunk_split(uint32_t cnt)
{
	for (uint32_t i = 0; i < cnt; i++) {
		struct xmb_chunk head = { 0 }, tail = { 0 };

		must(xmb_chunk_alloc(&cache, &head));
		must(xmb_chunk_split(&head, MICRO_SPLIT_AT, &tail));
		micro_use(&tail);
		xmb_chunk_release(&head, &cache);
		xmb_chunk_release(&tail, &cache);
	}
}

struct row {
	const char *name, *what;
	void (*ours)(uint32_t cnt);
	void (*peer)(uint32_t cnt);
};

static const struct row rows[] = {
#define MICRO_ROW(name, peer, what)                                            \
	{ #name, what, ours_##name, micro_peer_##peer },
	MICRO_ROWS(MICRO_ROW)
#undef MICRO_ROW
};

enum { ROW_CNT = sizeof(rows) / sizeof(*rows) };

static void init(void)
{
	struct xmb_pool_opts opts = {
		.frame_len = MICRO_FRAME_LEN,
		.frame_cnt = MICRO_FRAMES,
	};
	cpu_set_t set;

	micro_peer_init();
	CPU_ZERO(&set);
	CPU_SET(CPU, &set);
	if (sched_setaffinity(0, sizeof(set), &set))
		bench_die("sched_setaffinity", errno);
	opts.base = bench_map((size_t)MICRO_FRAMES * MICRO_FRAME_LEN);
	must(xmb_pool_init(&pool, bench_map(xmb_pool_footprint(&opts)), &opts));
	xmb_cache_init(&cache, &pool, 1);
	for (uint32_t i = 0; i < MICRO_IN_FLIGHT; i++)
		packet(&in_flight[i], MICRO_LEN);
}

static double time_of(void (*step)(uint32_t cnt), uint32_t cnt)
{
	uint64_t start_ns = xmb_clock_ns();

	step(cnt);
	return (double)(xmb_clock_ns() - start_ns) / cnt;
}

static void print_samples(const char *who, const double *samples, int cnt)
{
	printf("\"%s\": [", who);
	for (int i = 0; i < cnt; i++)
		printf("%s%.3f", i ? ", " : "", samples[i]);
	printf("]");
}

int main(int argc, char **argv)
{
	static double ours[ROW_CNT][ROUNDS_MAX], peer[ROW_CNT][ROUNDS_MAX];
	int rounds = argc > 1 ? atoi(argv[1]) : 9;
	uint32_t steps = argc > 2 ? (uint32_t)atoi(argv[2]) : 1 << 20;

	if (rounds < 1 || rounds > ROUNDS_MAX || steps < MICRO_BULK)
		bench_die("usage: bench_micro [ROUNDS [STEPS]]", 0);
	init();
	/* Round -1 warms caches and predictors and is not kept. */
	for (int round = -1; round < rounds; round++) {
		for (int r = 0; r < ROW_CNT; r++) {
			bool is_fifo = rows[r].ours == ours_chunk_fifo ||
				       rows[r].ours == ours_chunk_trim_fifo;

			if (is_fifo)
				swap_in_flight(true);
			ours[r][round < 0 ? 0 : round] =
				time_of(rows[r].ours, steps);
			if (is_fifo)
				swap_in_flight(false);
			peer[r][round < 0 ? 0 : round] =
				time_of(rows[r].peer, steps);
		}
	}
	for (int r = 0; r < ROW_CNT; r++) {
		printf("{\"row\": \"%s\", \"what\": \"%s\", \"unit\": "
		       "\"ns/packet\", \"samples\": {",
		       rows[r].name, rows[r].what);
		print_samples("xmbuf", ours[r], rounds);
		printf(", ");
		print_samples("rte_mbuf", peer[r], rounds);
		printf("}}\n");
	}
	return 0;
}
