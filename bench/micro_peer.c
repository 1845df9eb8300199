/* SPDX-License-Identifier: BSD-2-Clause */
#include "micro.h"

#include <rte_eal.h>
#include <rte_mbuf.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

static struct rte_mempool *pool, *views;
static struct rte_mbuf *in_flight[MICRO_IN_FLIGHT];
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

static struct rte_mbuf *packet(uint16_t len)
{
	struct rte_mbuf *m = rte_pktmbuf_alloc(pool);

	if (!m || !rte_pktmbuf_append(m, len))
		abort();
	return m;
}

void micro_peer_init(void)
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
	for (uint32_t i = 0; i < MICRO_IN_FLIGHT; i++)
		in_flight[i] = packet(MICRO_LEN);
}

void micro_peer_alloc(uint32_t cnt)
{
	for (uint32_t i = 0; i < cnt; i++) {
		struct rte_mbuf *m = rte_pktmbuf_alloc(pool);

		micro_use(m);
		rte_pktmbuf_free(m);
	}
}

void micro_peer_bulk(uint32_t cnt)
{
	struct rte_mbuf *m[MICRO_BULK];

	for (uint32_t i = 0; i < cnt; i += MICRO_BULK) {
		if (rte_pktmbuf_alloc_bulk(pool, m, MICRO_BULK))
			abort();
		micro_use(m);
		rte_pktmbuf_free_bulk(m, MICRO_BULK);
	}
}

static void trim(struct rte_mbuf *m)
{
	rte_pktmbuf_adj(m, MICRO_TRIM);
	micro_use(m);
	rte_pktmbuf_prepend(m, MICRO_TRIM);
	micro_use(m);
}

void micro_peer_trim(uint32_t cnt)
{
	for (uint32_t i = 0; i < cnt; i++) {
		struct rte_mbuf *m = packet(MICRO_LEN);

		trim(m);
		rte_pktmbuf_free(m);
	}
}

/* Put a packet in flight and take the one that is longest there. */
static struct rte_mbuf *exchange(struct rte_mbuf *m)
{
	struct rte_mbuf *old = in_flight[oldest];

	in_flight[oldest] = m;
	oldest = (oldest + 1) % MICRO_IN_FLIGHT;
	return old;
}

void micro_peer_trim_fifo(uint32_t cnt)
{
	for (uint32_t i = 0; i < cnt; i++) {
		struct rte_mbuf *m = exchange(packet(MICRO_LEN));

		trim(m);
		rte_pktmbuf_free(m);
	}
}

void micro_peer_chain(uint32_t cnt)
{
	for (uint32_t i = 0; i < cnt; i++) {
		struct rte_mbuf *m = packet(MICRO_LEN);

		if (rte_pktmbuf_chain(m, packet(MICRO_LEN)))
			abort();
		micro_use(m);
		rte_pktmbuf_free(m);
	}
}

void micro_peer_fifo(uint32_t cnt)
{
	for (uint32_t i = 0; i < cnt; i++)
		rte_pktmbuf_free(exchange(packet(MICRO_LEN)));
}

/* The cheapest way: the mbuf keeps the header, a clone views the payload. */
void micro_peer_split(uint32_t cnt)
{
	for (uint32_t i = 0; i < cnt; i++) {
		struct rte_mbuf *head = packet(MICRO_SPLIT_LEN);
		struct rte_mbuf *payload = rte_pktmbuf_clone(head, views);

		if (!payload)
			abort();
		rte_pktmbuf_adj(payload, MICRO_SPLIT_AT);
		rte_pktmbuf_trim(head, MICRO_SPLIT_LEN - MICRO_SPLIT_AT);
		micro_use(head);
		micro_use(payload);
		rte_pktmbuf_free(head);
		rte_pktmbuf_free(payload);
	}
}
