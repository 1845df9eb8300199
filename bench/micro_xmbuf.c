/* SPDX-License-Identifier: BSD-2-Clause */
#include "micro_xmbuf.h"

#include "alloc/waiter.h"
#include "buf/edit.h"
#include "buf/extbuf.h"

struct xmb_cache micro_cache;
struct xmb_allocator micro_allocator;

static struct xmb_pool pool;
static struct xmb_waiters waiters;
static struct xmb_multibuf in_flight[MICRO_IN_FLIGHT];
static struct xmb_chunk chunks_in_flight[MICRO_IN_FLIGHT];
static uint32_t oldest;

static void init(void)
{
	struct xmb_pool_opts opts = {
		.frame_len = MICRO_FRAME_LEN,
		.frame_cnt = MICRO_FRAMES,
	};

	opts.base = bench_map((size_t)MICRO_FRAMES * MICRO_FRAME_LEN);
	must(xmb_pool_init(&pool, bench_map(xmb_pool_footprint(&opts)), &opts));
	xmb_cache_init(&micro_cache, &pool, 1);
	xmb_allocator_init_pool(&micro_allocator, &micro_cache);
}

static void alloc(uint32_t cnt)
{
	for (uint32_t i = 0; i < cnt; i++) {
		struct xmb_multibuf mb = { 0 };

		packet(&mb, MICRO_LEN);
		micro_use(&mb);
		drop(&mb);
		micro_use(&mb);
	}
}

static void bulk(uint32_t cnt)
{
	struct xmb_chunk chunks[MICRO_BULK] = { 0 };
	struct xmb_multibuf mbs[MICRO_BULK];

	for (uint32_t i = 0; i < cnt; i++) {
		must(xmb_chunk_alloc_bulk(&micro_cache, chunks, MICRO_BULK));
		for (int k = 0; k < MICRO_BULK; k++)
			xmb_multibuf_init(&mbs[k], &chunks[k]);
		micro_use(mbs);
		xmb_multibuf_release_bulk(mbs, MICRO_BULK, &micro_cache);
	}
}

static void from_allocator(uint32_t cnt)
{
	struct xmb_alloc_request request = {
		.min_len = MICRO_LEN,
		.headroom = MICRO_HEADROOM,
	};

	for (uint32_t i = 0; i < cnt; i++) {
		struct xmb_multibuf mb = { 0 };

		must(xmb_allocator_alloc(&micro_allocator, &request, &mb));
		micro_use(&mb);
		drop(&mb);
	}
}

static void trim_packet(struct xmb_multibuf *mb)
{
	must(xmb_multibuf_discard_prefix(mb, MICRO_TRIM, &micro_cache));
	micro_use(mb);
	must(xmb_multibuf_claim_prefix(mb, MICRO_TRIM));
	micro_use(mb);
}

static void trim(uint32_t cnt)
{
	for (uint32_t i = 0; i < cnt; i++) {
		struct xmb_multibuf mb = { 0 };

		packet(&mb, MICRO_LEN);
		trim_packet(&mb);
		drop(&mb);
	}
}

static void fly(void)
{
	for (uint32_t i = 0; i < MICRO_IN_FLIGHT; i++)
		packet(&in_flight[i], MICRO_LEN);
}

static void land(void)
{
	for (uint32_t i = 0; i < MICRO_IN_FLIGHT; i++)
		drop(&in_flight[i]);
}

/* Take the packet that is longest in flight, and put another there. */
static void exchange(struct xmb_multibuf *old)
{
	*old = in_flight[oldest];
	in_flight[oldest] = (struct xmb_multibuf){ 0 };
	packet(&in_flight[oldest], MICRO_LEN);
	oldest = (oldest + 1) % MICRO_IN_FLIGHT;
}

static void trim_fifo(uint32_t cnt)
{
	for (uint32_t i = 0; i < cnt; i++) {
		struct xmb_multibuf mb;

		exchange(&mb);
		trim_packet(&mb);
		drop(&mb);
	}
}

static void chain(uint32_t cnt)
{
	for (uint32_t i = 0; i < cnt; i++) {
		struct xmb_multibuf mb = { 0 }, more = { 0 };

		packet(&mb, MICRO_LEN);
		packet(&more, MICRO_LEN);
		append(&mb, &more);
		micro_use(&mb);
		drop(&mb);
	}
}

static void chain_fifo(uint32_t cnt)
{
	for (uint32_t i = 0; i < cnt; i++) {
		struct xmb_multibuf mb, more;

		exchange(&mb);
		exchange(&more);
		append(&mb, &more);
		micro_use(&mb);
		drop(&mb);
	}
}

static void chain4(uint32_t cnt)
{
	for (uint32_t i = 0; i < cnt; i++) {
		struct xmb_multibuf mb = { 0 };

		packet_of(&mb, MICRO_PARTS, MICRO_PART_LEN);
		micro_use(&mb);
		drop(&mb);
	}
}

static void fifo(uint32_t cnt)
{
	for (uint32_t i = 0; i < cnt; i++) {
		struct xmb_multibuf mb;

		exchange(&mb);
		drop(&mb);
	}
}

static void truncate_packet(uint32_t cnt)
{
	for (uint32_t i = 0; i < cnt; i++) {
		struct xmb_multibuf mb = { 0 };

		packet(&mb, MICRO_LONG);
		must(xmb_multibuf_truncate(&mb, MICRO_PIECE, &micro_cache));
		micro_use(&mb);
		drop(&mb);
	}
}

static void slice(uint32_t cnt)
{
	for (uint32_t i = 0; i < cnt; i++) {
		struct xmb_multibuf mb = { 0 };

		packet(&mb, MICRO_LONG);
		must(xmb_multibuf_slice(&mb, MICRO_MIDDLE,
					MICRO_MIDDLE + MICRO_PIECE,
					&micro_cache));
		micro_use(&mb);
		drop(&mb);
	}
}

static void claim_suffix(uint32_t cnt)
{
	for (uint32_t i = 0; i < cnt; i++) {
		struct xmb_multibuf mb = { 0 };

		packet(&mb, MICRO_LEN);
		must(xmb_multibuf_claim_suffix(&mb, MICRO_PIECE));
		micro_use(&mb);
		drop(&mb);
	}
}

static void queue_up(void)
{
	struct xmb_waiters_opts opts = { .who = 1 };

	must(xmb_waiters_init(&waiters, &micro_allocator, &opts));
}

static void disband(void)
{
	must(xmb_waiters_fini(&waiters));
}

static void waiter(uint32_t cnt)
{
	struct xmb_waiter w = {
		.request = { .min_len = MICRO_LEN, .headroom = MICRO_HEADROOM },
	};

	for (uint32_t i = 0; i < cnt; i++) {
		struct xmb_multibuf mb = { 0 };

		if (xmb_waiter_start(&waiters, &w, &micro_cache) != 1)
			bench_die("xmb_waiter_start", 0);
		must(xmb_waiter_take(&waiters, &w, &mb, &micro_cache));
		micro_use(&mb);
		drop(&mb);
	}
}

static void split(uint32_t cnt)
{
	for (uint32_t i = 0; i < cnt; i++) {
		struct xmb_multibuf head = { 0 }, payload = { 0 };

		packet(&head, MICRO_LONG);
		must(xmb_multibuf_split(&head, MICRO_HEADER, &payload,
					&micro_cache));
		micro_use(&head);
		micro_use(&payload);
		drop(&head);
		drop(&payload);
	}
}

/* An append leaves two chunks, so it is the chunks that are merged. */
static void merge(uint32_t cnt)
{
	for (uint32_t i = 0; i < cnt; i++) {
		struct xmb_multibuf head = { 0 }, payload = { 0 };
		struct xmb_chunk a = { 0 }, b = { 0 };

		packet(&head, MICRO_LONG);
		must(xmb_multibuf_split(&head, MICRO_HEADER, &payload,
					&micro_cache));
		micro_use(&head);
		micro_use(&payload);
		must(xmb_multibuf_pop_front(&head, &a, &micro_cache));
		must(xmb_multibuf_pop_front(&payload, &b, &micro_cache));
		must(xmb_chunk_merge(&a, &b));
		xmb_multibuf_init(&head, &a);
		micro_use(&head);
		drop(&head);
	}
}

static void share(uint32_t cnt)
{
	for (uint32_t i = 0; i < cnt; i++) {
		struct xmb_multibuf mb = { 0 }, clone = { 0 };

		packet(&mb, MICRO_LONG);
		must(xmb_multibuf_share(&mb, &clone, &micro_cache));
		micro_use(&mb);
		micro_use(&clone);
		drop(&mb);
		drop(&clone);
	}
}

static void share4(uint32_t cnt)
{
	for (uint32_t i = 0; i < cnt; i++) {
		struct xmb_multibuf mb = { 0 }, clone = { 0 };

		packet_of(&mb, MICRO_PARTS, MICRO_PART_LEN);
		must(xmb_multibuf_share(&mb, &clone, &micro_cache));
		micro_use(&mb);
		micro_use(&clone);
		drop(&mb);
		drop(&clone);
	}
}

static void unshare_packet(uint32_t cnt)
{
	for (uint32_t i = 0; i < cnt; i++) {
		struct xmb_multibuf mb = { 0 }, clone = { 0 };

		packet(&mb, MICRO_LONG);
		must(xmb_multibuf_share(&mb, &clone, &micro_cache));
		micro_use(&clone);
		drop(&clone);
		must(xmb_multibuf_unshare(&mb));
		micro_use(&mb);
		drop(&mb);
	}
}

static void was_freed(void *arg, void *mem, size_t len)
{
	(void)arg;
	(void)len;
	micro_use(mem);
}

static void extbuf(uint32_t cnt)
{
	static uint8_t mem[MICRO_FRAME_LEN];

	for (uint32_t i = 0; i < cnt; i++) {
		struct xmb_multibuf mb = { 0 };

		must(xmb_extbuf_attach(&micro_cache, mem, sizeof(mem),
				       was_freed, NULL, &mb));
		micro_use(&mb);
		drop(&mb);
	}
}

static void chunk_alloc(uint32_t cnt)
{
	for (uint32_t i = 0; i < cnt; i++) {
		struct xmb_chunk c = { 0 };

		must(xmb_chunk_alloc(&micro_cache, &c));
		micro_use(&c);
		xmb_chunk_release(&c, &micro_cache);
	}
}

static void chunk_bulk(uint32_t cnt)
{
	struct xmb_chunk chunks[MICRO_BULK] = { 0 };

	for (uint32_t i = 0; i < cnt; i++) {
		must(xmb_chunk_alloc_bulk(&micro_cache, chunks, MICRO_BULK));
		micro_use(chunks);
		xmb_chunk_release_bulk(chunks, MICRO_BULK, &micro_cache);
	}
}

static void trim_chunk(struct xmb_chunk *c)
{
	must(xmb_chunk_discard_prefix(c, MICRO_TRIM));
	micro_use(c);
	must(xmb_chunk_claim_prefix(c, MICRO_TRIM));
	micro_use(c);
}

static void chunk_trim(uint32_t cnt)
{
	for (uint32_t i = 0; i < cnt; i++) {
		struct xmb_chunk c = { 0 };

		must(xmb_chunk_alloc(&micro_cache, &c));
		trim_chunk(&c);
		xmb_chunk_release(&c, &micro_cache);
	}
}

static void fly_chunks(void)
{
	for (uint32_t i = 0; i < MICRO_IN_FLIGHT; i++)
		must(xmb_chunk_alloc(&micro_cache, &chunks_in_flight[i]));
}

static void land_chunks(void)
{
	for (uint32_t i = 0; i < MICRO_IN_FLIGHT; i++)
		xmb_chunk_release(&chunks_in_flight[i], &micro_cache);
}

static void exchange_chunk(struct xmb_chunk *old)
{
	xmb_chunk_move(old, &chunks_in_flight[oldest]);
	chunks_in_flight[oldest] = (struct xmb_chunk){ 0 };
	must(xmb_chunk_alloc(&micro_cache, &chunks_in_flight[oldest]));
	oldest = (oldest + 1) % MICRO_IN_FLIGHT;
}

static void chunk_trim_fifo(uint32_t cnt)
{
	for (uint32_t i = 0; i < cnt; i++) {
		struct xmb_chunk c;

		exchange_chunk(&c);
		trim_chunk(&c);
		xmb_chunk_release(&c, &micro_cache);
	}
}

static void chunk_fifo(uint32_t cnt)
{
	for (uint32_t i = 0; i < cnt; i++) {
		struct xmb_chunk c;

		exchange_chunk(&c);
		xmb_chunk_release(&c, &micro_cache);
	}
}

static void chunk_split(uint32_t cnt)
{
	for (uint32_t i = 0; i < cnt; i++) {
		struct xmb_chunk head = { 0 }, tail = { 0 };

		must(xmb_chunk_alloc(&micro_cache, &head));
		must(xmb_chunk_split(&head, MICRO_HEADER, &tail));
		micro_use(&tail);
		xmb_chunk_release(&head, &micro_cache);
		xmb_chunk_release(&tail, &micro_cache);
	}
}

static void chunk_take_prefix(uint32_t cnt)
{
	for (uint32_t i = 0; i < cnt; i++) {
		struct xmb_chunk c = { 0 }, head = { 0 };

		must(xmb_chunk_alloc(&micro_cache, &c));
		must(xmb_chunk_take_prefix(&c, MICRO_HEADER, &head));
		micro_use(&head);
		xmb_chunk_release(&c, &micro_cache);
		xmb_chunk_release(&head, &micro_cache);
	}
}

static void chunk_take_suffix(uint32_t cnt)
{
	for (uint32_t i = 0; i < cnt; i++) {
		struct xmb_chunk c = { 0 }, tail = { 0 };

		must(xmb_chunk_alloc(&micro_cache, &c));
		must(xmb_chunk_take_suffix(&c, MICRO_HEADER, &tail));
		micro_use(&tail);
		xmb_chunk_release(&c, &micro_cache);
		xmb_chunk_release(&tail, &micro_cache);
	}
}

static void chunk_share(uint32_t cnt)
{
	for (uint32_t i = 0; i < cnt; i++) {
		struct xmb_chunk c = { 0 }, clone = { 0 };

		must(xmb_chunk_alloc(&micro_cache, &c));
		must(xmb_chunk_share(&c, &clone));
		micro_use(&clone);
		xmb_chunk_release(&c, &micro_cache);
		xmb_chunk_release(&clone, &micro_cache);
	}
}

static const struct micro_step packets[MICRO_ROW_CNT] = {
	[MICRO_alloc] = { .run = alloc },
	[MICRO_bulk] = { .run = bulk },
	[MICRO_allocator] = { .run = from_allocator },
	[MICRO_trim] = { .run = trim },
	[MICRO_trim_fifo] = { .run = trim_fifo, .begin = fly, .end = land },
	[MICRO_chain] = { .run = chain },
	[MICRO_chain_fifo] = { .run = chain_fifo, .begin = fly, .end = land },
	[MICRO_chain4] = { .run = chain4 },
	[MICRO_fifo] = { .run = fifo, .begin = fly, .end = land },
	[MICRO_truncate] = { .run = truncate_packet },
	[MICRO_slice] = { .run = slice },
	[MICRO_claim_suffix] = { .run = claim_suffix },
	[MICRO_waiter] = { .run = waiter, .begin = queue_up, .end = disband },
	[MICRO_split] = { .run = split },
	[MICRO_merge] = { .run = merge },
	[MICRO_share] = { .run = share },
	[MICRO_share4] = { .run = share4 },
	[MICRO_unshare] = { .run = unshare_packet },
	[MICRO_extbuf] = { .run = extbuf },
	[MICRO_chunk_alloc] = { .run = chunk_alloc },
	[MICRO_chunk_bulk] = { .run = chunk_bulk },
	[MICRO_chunk_trim] = { .run = chunk_trim },
	[MICRO_chunk_trim_fifo] = { .run = chunk_trim_fifo,
				    .begin = fly_chunks,
				    .end = land_chunks },
	[MICRO_chunk_fifo] = { .run = chunk_fifo,
			       .begin = fly_chunks,
			       .end = land_chunks },
	[MICRO_chunk_split] = { .run = chunk_split },
	[MICRO_chunk_take_prefix] = { .run = chunk_take_prefix },
	[MICRO_chunk_take_suffix] = { .run = chunk_take_suffix },
	[MICRO_chunk_share] = { .run = chunk_share },
};

const struct micro_contender micro_xmbuf = {
	.name = "xmbuf",
	.init = init,
	.tables = { packets, micro_xmbuf_edits, micro_xmbuf_bytes },
};
