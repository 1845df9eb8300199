/* SPDX-License-Identifier: BSD-2-Clause */
#include "micro.h"

#include <endian.h>
#include <rte_eal.h>
#include <rte_mbuf.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

/*
 * Two parts of one mbuf that are freed apart are the mbuf and a clone of it,
 * which is adjusted: the cheapest way that there is.
 */

static struct rte_mempool *pool, *views;
static struct rte_mbuf *in_flight[MICRO_IN_FLIGHT];
static struct rte_mbuf *held, *whole, *torn;
static uint32_t oldest;

/* DPDK without reserved huge pages: have it on transparent ones, as we are. */
static int advise(const struct rte_memseg_list *list,
		  const struct rte_memseg *seg, size_t len, void *arg)
{
	(void)list;
	(void)arg;
	madvise(seg->addr, len, MADV_HUGEPAGE);
	return 0;
}

static void must(bool is_done)
{
	if (!is_done)
		abort();
}

static struct rte_mbuf *packet(uint16_t len)
{
	struct rte_mbuf *m = rte_pktmbuf_alloc(pool);

	must(m && rte_pktmbuf_append(m, len));
	return m;
}

static struct rte_mbuf *packet_of(uint32_t cnt, uint16_t len)
{
	struct rte_mbuf *m = packet(len);

	for (uint32_t i = 1; i < cnt; i++)
		must(rte_pktmbuf_chain(m, packet(len)) == 0);
	return m;
}

static void init(void)
{
	char *argv[] = { strdup("bench_micro"),	 strdup("--no-huge"),
			 strdup("-m"),		 strdup("512"),
			 strdup("--no-pci"),	 strdup("--no-telemetry"),
			 strdup("--no-shconf"),	 strdup("--lcores=0@1"),
			 strdup("--log-level=3") };

	if (rte_eal_init(sizeof(argv) / sizeof(*argv), argv) < 0)
		exit(1);
	rte_memseg_contig_walk(advise, NULL);
	pool = rte_pktmbuf_pool_create("frames", MICRO_FRAMES - 1, 512, 0,
				       RTE_PKTMBUF_HEADROOM + MICRO_FRAME_LEN,
				       0);
	views = rte_pktmbuf_pool_create("views", 8191, 512, 0, 0, 0);
	if (!pool || !views) {
		fprintf(stderr, "DPDK cannot make its pools\n");
		exit(1);
	}
}

static void alloc(uint32_t cnt)
{
	for (uint32_t i = 0; i < cnt; i++) {
		struct rte_mbuf *m = packet(MICRO_LEN);

		micro_use(m);
		rte_pktmbuf_free(m);
	}
}

/* As a chunk has, it has no length. */
static void alloc_bare(uint32_t cnt)
{
	for (uint32_t i = 0; i < cnt; i++) {
		struct rte_mbuf *m = rte_pktmbuf_alloc(pool);

		micro_use(m);
		rte_pktmbuf_free(m);
	}
}

static void bulk(uint32_t cnt)
{
	struct rte_mbuf *m[MICRO_BULK];

	for (uint32_t i = 0; i < cnt; i++) {
		must(rte_pktmbuf_alloc_bulk(pool, m, MICRO_BULK) == 0);
		micro_use(m);
		rte_pktmbuf_free_bulk(m, MICRO_BULK);
	}
}

static void trim_packet(struct rte_mbuf *m)
{
	rte_pktmbuf_adj(m, MICRO_TRIM);
	micro_use(m);
	rte_pktmbuf_prepend(m, MICRO_TRIM);
	micro_use(m);
}

static void trim(uint32_t cnt)
{
	for (uint32_t i = 0; i < cnt; i++) {
		struct rte_mbuf *m = packet(MICRO_LEN);

		trim_packet(m);
		rte_pktmbuf_free(m);
	}
}

static void fly(void)
{
	for (uint32_t i = 0; i < MICRO_IN_FLIGHT; i++)
		in_flight[i] = packet(MICRO_LEN);
}

static void land(void)
{
	for (uint32_t i = 0; i < MICRO_IN_FLIGHT; i++)
		rte_pktmbuf_free(in_flight[i]);
}

/* Put a packet in flight and take the one that is longest there. */
static struct rte_mbuf *exchange(struct rte_mbuf *m)
{
	struct rte_mbuf *old = in_flight[oldest];

	in_flight[oldest] = m;
	oldest = (oldest + 1) % MICRO_IN_FLIGHT;
	return old;
}

static void trim_fifo(uint32_t cnt)
{
	for (uint32_t i = 0; i < cnt; i++) {
		struct rte_mbuf *m = exchange(packet(MICRO_LEN));

		trim_packet(m);
		rte_pktmbuf_free(m);
	}
}

static void chain(uint32_t cnt)
{
	for (uint32_t i = 0; i < cnt; i++) {
		struct rte_mbuf *m = packet_of(2, MICRO_LEN);

		micro_use(m);
		rte_pktmbuf_free(m);
	}
}

static void chain_fifo(uint32_t cnt)
{
	for (uint32_t i = 0; i < cnt; i++) {
		struct rte_mbuf *m = exchange(packet(MICRO_LEN));
		struct rte_mbuf *more = exchange(packet(MICRO_LEN));

		must(rte_pktmbuf_chain(m, more) == 0);
		micro_use(m);
		rte_pktmbuf_free(m);
	}
}

static void chain4(uint32_t cnt)
{
	for (uint32_t i = 0; i < cnt; i++) {
		struct rte_mbuf *m = packet_of(MICRO_PARTS, MICRO_PART_LEN);

		micro_use(m);
		rte_pktmbuf_free(m);
	}
}

static void fifo(uint32_t cnt)
{
	for (uint32_t i = 0; i < cnt; i++)
		rte_pktmbuf_free(exchange(packet(MICRO_LEN)));
}

static void truncate_packet(uint32_t cnt)
{
	for (uint32_t i = 0; i < cnt; i++) {
		struct rte_mbuf *m = packet(MICRO_LONG);

		must(rte_pktmbuf_trim(m, MICRO_LONG - MICRO_PIECE) == 0);
		micro_use(m);
		rte_pktmbuf_free(m);
	}
}

static void slice(uint32_t cnt)
{
	for (uint32_t i = 0; i < cnt; i++) {
		struct rte_mbuf *m = packet(MICRO_LONG);

		must(rte_pktmbuf_trim(m, MICRO_LONG - MICRO_MIDDLE -
						 MICRO_PIECE) == 0);
		must(rte_pktmbuf_adj(m, MICRO_MIDDLE));
		micro_use(m);
		rte_pktmbuf_free(m);
	}
}

static void claim_suffix(uint32_t cnt)
{
	for (uint32_t i = 0; i < cnt; i++) {
		struct rte_mbuf *m = packet(MICRO_LEN);

		must(rte_pktmbuf_append(m, MICRO_PIECE));
		micro_use(m);
		rte_pktmbuf_free(m);
	}
}

/* What is behind at, as an mbuf of its own; m keeps what is before. */
static struct rte_mbuf *cut(struct rte_mbuf *m, uint16_t at)
{
	struct rte_mbuf *tail = rte_pktmbuf_clone(m, views);

	must(tail && rte_pktmbuf_adj(tail, at));
	must(rte_pktmbuf_trim(m, (uint16_t)(m->pkt_len - at)) == 0);
	return tail;
}

static void split(uint32_t cnt)
{
	for (uint32_t i = 0; i < cnt; i++) {
		struct rte_mbuf *head = packet(MICRO_LONG);
		struct rte_mbuf *payload = cut(head, MICRO_HEADER);

		micro_use(head);
		micro_use(payload);
		rte_pktmbuf_free(head);
		rte_pktmbuf_free(payload);
	}
}

static void take_prefix(uint32_t cnt)
{
	for (uint32_t i = 0; i < cnt; i++) {
		struct rte_mbuf *m = packet(MICRO_LONG);
		struct rte_mbuf *head = rte_pktmbuf_clone(m, views);

		must(head && rte_pktmbuf_adj(m, MICRO_HEADER));
		must(rte_pktmbuf_trim(head, MICRO_LONG - MICRO_HEADER) == 0);
		micro_use(head);
		rte_pktmbuf_free(m);
		rte_pktmbuf_free(head);
	}
}

static void take_suffix(uint32_t cnt)
{
	for (uint32_t i = 0; i < cnt; i++) {
		struct rte_mbuf *m = packet(MICRO_LONG);
		struct rte_mbuf *tail = cut(m, MICRO_LONG - MICRO_HEADER);

		micro_use(tail);
		rte_pktmbuf_free(m);
		rte_pktmbuf_free(tail);
	}
}

static void merge(uint32_t cnt)
{
	for (uint32_t i = 0; i < cnt; i++) {
		struct rte_mbuf *m = packet(MICRO_LONG);
		struct rte_mbuf *payload = cut(m, MICRO_HEADER);
		uint16_t len = (uint16_t)payload->pkt_len;

		micro_use(m);
		micro_use(payload);
		rte_pktmbuf_free(payload);
		must(rte_pktmbuf_append(m, len));
		micro_use(m);
		rte_pktmbuf_free(m);
	}
}

static void share_packet(struct rte_mbuf *m)
{
	struct rte_mbuf *clone = rte_pktmbuf_clone(m, views);

	must(clone);
	micro_use(m);
	micro_use(clone);
	rte_pktmbuf_free(m);
	rte_pktmbuf_free(clone);
}

static void share(uint32_t cnt)
{
	for (uint32_t i = 0; i < cnt; i++)
		share_packet(packet(MICRO_LONG));
}

static void share4(uint32_t cnt)
{
	for (uint32_t i = 0; i < cnt; i++)
		share_packet(packet_of(MICRO_PARTS, MICRO_PART_LEN));
}

/* Writable is what nobody else has a reference to. */
static void unshare_packet(uint32_t cnt)
{
	for (uint32_t i = 0; i < cnt; i++) {
		struct rte_mbuf *m = packet(MICRO_LONG);
		struct rte_mbuf *clone = rte_pktmbuf_clone(m, views);

		must(clone);
		micro_use(clone);
		rte_pktmbuf_free(clone);
		must(rte_mbuf_refcnt_read(m) == 1);
		micro_use(m);
		rte_pktmbuf_free(m);
	}
}

static void was_freed(void *mem, void *arg)
{
	(void)arg;
	micro_use(mem);
}

static void extbuf(uint32_t cnt)
{
	static uint8_t mem[MICRO_FRAME_LEN]
		__attribute__((aligned(RTE_CACHE_LINE_SIZE)));

	for (uint32_t i = 0; i < cnt; i++) {
		struct rte_mbuf *m = rte_pktmbuf_alloc(views);
		struct rte_mbuf_ext_shared_info *shared;
		uint16_t len = sizeof(mem);

		must(m);
		shared = rte_pktmbuf_ext_shinfo_init_helper(mem, &len,
							    was_freed, NULL);
		rte_pktmbuf_attach_extbuf(m, mem, RTE_BAD_IOVA, len, shared);
		micro_use(m);
		rte_pktmbuf_free(m);
	}
}

static void insert(uint32_t cnt)
{
	for (uint32_t i = 0; i < cnt; i++) {
		struct rte_mbuf *m = packet(MICRO_LONG);
		struct rte_mbuf *piece = packet(MICRO_PIECE);
		struct rte_mbuf *tail = cut(m, MICRO_MIDDLE);

		must(rte_pktmbuf_chain(m, piece) == 0);
		must(rte_pktmbuf_chain(m, tail) == 0);
		micro_use(m);
		rte_pktmbuf_free(m);
	}
}

static void take(uint32_t cnt)
{
	for (uint32_t i = 0; i < cnt; i++) {
		struct rte_mbuf *m = packet(MICRO_LONG);
		struct rte_mbuf *piece = cut(m, MICRO_MIDDLE);

		must(rte_pktmbuf_chain(m, cut(piece, MICRO_PIECE)) == 0);
		micro_use(m);
		micro_use(piece);
		rte_pktmbuf_free(m);
		rte_pktmbuf_free(piece);
	}
}

static void discard_segment(uint32_t cnt)
{
	for (uint32_t i = 0; i < cnt; i++) {
		struct rte_mbuf *m = packet(MICRO_LONG);
		struct rte_mbuf *tail = cut(m, MICRO_MIDDLE);

		must(rte_pktmbuf_adj(tail, MICRO_PIECE));
		must(rte_pktmbuf_chain(m, tail) == 0);
		micro_use(m);
		rte_pktmbuf_free(m);
	}
}

static void grow(uint32_t cnt)
{
	for (uint32_t i = 0; i < cnt; i++) {
		struct rte_mbuf *m = packet(MICRO_TRIM);

		must(rte_pktmbuf_chain(m, packet(MICRO_LEN)) == 0);
		micro_use(m);
		rte_pktmbuf_free(m);
	}
}

static void grow_suffix(uint32_t cnt)
{
	for (uint32_t i = 0; i < cnt; i++) {
		struct rte_mbuf *m = packet(MICRO_FRAME_LEN);

		must(rte_pktmbuf_chain(m, packet(MICRO_TRIM)) == 0);
		micro_use(m);
		rte_pktmbuf_free(m);
	}
}

static void make_one(uint32_t cnt, uint32_t parts, uint16_t len)
{
	for (uint32_t i = 0; i < cnt; i++) {
		struct rte_mbuf *m = packet_of(parts, len);

		must(rte_pktmbuf_linearize(m) == 0);
		micro_use(m);
		rte_pktmbuf_free(m);
	}
}

static void linearize(uint32_t cnt)
{
	make_one(cnt, MICRO_PARTS, MICRO_PART_LEN);
}

static void gather(uint32_t cnt)
{
	make_one(cnt, MICRO_SMALL_PARTS, MICRO_LEN);
}

static void hold(void)
{
	uint32_t off = 0;

	held = packet_of(MICRO_PARTS, MICRO_PART_LEN);
	for (struct rte_mbuf *m = held; m; m = m->next) {
		memcpy(rte_pktmbuf_mtod(m, void *), micro_data + off,
		       m->data_len);
		off += m->data_len;
	}
	whole = packet(MICRO_LONG);
	torn = packet_of(MICRO_TORN, sizeof(uint32_t));
	must(rte_pktmbuf_adj(torn, 2));
	must(rte_pktmbuf_chain(torn, packet(2)) == 0);
}

static void let_go(void)
{
	rte_pktmbuf_free(held);
	rte_pktmbuf_free(whole);
	rte_pktmbuf_free(torn);
}

static void layers(uint32_t cnt)
{
	enum { IP_HEADER = 20, PORTS = 8 };
	uint8_t tmp[PORTS];

	for (uint32_t i = 0; i < cnt; i++) {
		must(rte_pktmbuf_adj(held, MICRO_TRIM));
		must(rte_pktmbuf_adj(held, IP_HEADER));
		micro_use(rte_pktmbuf_read(held, 0, sizeof(tmp), tmp));
		must(rte_pktmbuf_prepend(held, IP_HEADER));
		must(rte_pktmbuf_prepend(held, MICRO_TRIM));
	}
}

static void get(uint32_t cnt, uint32_t off)
{
	uint8_t tmp[MICRO_ACROSS];

	for (uint32_t i = 0; i < cnt; i++) {
		micro_keep(off);
		micro_use(rte_pktmbuf_read(held, off, sizeof(tmp), tmp));
	}
}

static void get_inside(uint32_t cnt)
{
	get(cnt, MICRO_PIECE);
}

static void get_across(uint32_t cnt)
{
	get(cnt, MICRO_BORDER - MICRO_ACROSS / 2);
}

static void copy_to(uint32_t cnt)
{
	static uint8_t flat[MICRO_LONG];

	for (uint32_t i = 0; i < cnt; i++) {
		must(rte_pktmbuf_read(held, 0, MICRO_LONG, flat) == flat);
		micro_use(flat);
	}
}

static void read_words(const struct rte_mbuf *m, uint32_t cnt, uint32_t words)
{
	uint32_t raw, tmp;

	for (uint32_t i = 0; i < cnt; i++) {
		for (uint32_t k = 0; k < words; k++) {
			const void *at = rte_pktmbuf_read(m, k * 4, 4, &tmp);

			must(at);
			memcpy(&raw, at, sizeof(raw));
			raw = be32toh(raw);
			micro_keep(raw);
		}
	}
}

static void get_be32(uint32_t cnt)
{
	read_words(whole, cnt, MICRO_WORDS);
}

static void get_be32_across(uint32_t cnt)
{
	read_words(torn, cnt, MICRO_TORN);
}

#define HELD(fn)                                                               \
	{                                                                      \
		.run = fn, .begin = hold, .end = let_go                        \
	}

static const struct micro_step steps[MICRO_ROW_CNT] = {
	[MICRO_alloc] = { .run = alloc },
	[MICRO_bulk] = { .run = bulk },
	[MICRO_allocator] = { .run = alloc },
	[MICRO_trim] = { .run = trim },
	[MICRO_trim_fifo] = { .run = trim_fifo, .begin = fly, .end = land },
	[MICRO_chain] = { .run = chain },
	[MICRO_chain_fifo] = { .run = chain_fifo, .begin = fly, .end = land },
	[MICRO_chain4] = { .run = chain4 },
	[MICRO_fifo] = { .run = fifo, .begin = fly, .end = land },
	[MICRO_truncate] = { .run = truncate_packet },
	[MICRO_slice] = { .run = slice },
	[MICRO_claim_suffix] = { .run = claim_suffix },
	[MICRO_split] = { .run = split },
	[MICRO_merge] = { .run = merge },
	[MICRO_share] = { .run = share },
	[MICRO_share4] = { .run = share4 },
	[MICRO_unshare] = { .run = unshare_packet },
	[MICRO_extbuf] = { .run = extbuf },
	[MICRO_chunk_alloc] = { .run = alloc_bare },
	[MICRO_chunk_bulk] = { .run = bulk },
	[MICRO_chunk_trim] = { .run = trim },
	[MICRO_chunk_trim_fifo] = { .run = trim_fifo,
				    .begin = fly,
				    .end = land },
	[MICRO_chunk_fifo] = { .run = fifo, .begin = fly, .end = land },
	[MICRO_chunk_split] = { .run = split },
	[MICRO_chunk_take_prefix] = { .run = take_prefix },
	[MICRO_chunk_take_suffix] = { .run = take_suffix },
	[MICRO_chunk_share] = { .run = share },
	[MICRO_insert] = { .run = insert },
	[MICRO_take] = { .run = take },
	[MICRO_discard_segment] = { .run = discard_segment },
	[MICRO_grow] = { .run = grow },
	[MICRO_grow_suffix] = { .run = grow_suffix },
	[MICRO_layers] = HELD(layers),
	[MICRO_linearize] = { .run = linearize },
	[MICRO_gather] = { .run = gather },
	[MICRO_get_inside] = HELD(get_inside),
	[MICRO_get_across] = HELD(get_across),
	[MICRO_copy_to] = HELD(copy_to),
	[MICRO_get_be32] = HELD(get_be32),
	[MICRO_get_be32_across] = HELD(get_be32_across),
};

const struct micro_contender micro_dpdk = {
	.name = "rte_mbuf",
	.init = init,
	.tables = { steps },
};
