/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Cases of the kernel's AF_XDP selftest that need at one end what the library
 * refuses or avoids: invalid descriptors, a ring that overflows.  That end is a
 * bare socket; the other is the library's.
 */
#include "parity_lab.h"

#include <unistd.h>

PARITY_SUITES;

enum { CHAIN_MAX = 18 };

/* The name of a case, too. */
#undef XDP_SHARED_UMEM

static void aligned_invalid(enum variant variant, uint32_t chunk_len)
{
	struct mixed m = mixed_up(variant, fact_memory(256, chunk_len), 0);
	const uint64_t end = m.tx.umem.len;
	const struct piece pieces[] = {
		{ 0, PACKET_LEN, true },
		{ 0, 0, false },
		{ chunk_len, 0, false },
		{ end, PACKET_LEN, false },
		{ end - PACKET_LEN / 2, PACKET_LEN, false },
		{ end - PACKET_LEN, PACKET_LEN, true },
		/* Over the border of a page, and of 2048 bytes. */
		{ 3 * 4096 - PACKET_LEN / 2, PACKET_LEN, false },
		{ 3 * 4096 + 2048 - PACKET_LEN / 2, PACKET_LEN,
		  chunk_len == 4096 },
		/* The sum of the two begins anew at 0. */
		{ UINT64_MAX - 1, PACKET_LEN, false },
		{ UINT64_MAX - PACKET_LEN + 1, PACKET_LEN, false },
		{ 8192, UINT32_MAX, false },
		{ 1ull << 48 | 8192, PACKET_LEN, false },
		/* What follows is not hurt. */
		{ 16384, PACKET_LEN, true },
	};

	mixed_pieces(&m, pieces, sizeof(pieces) / sizeof(pieces[0]));
	lab_finish();
}

PARITY(ALIGNED_INV_DESC)
{
	aligned_invalid(variant, 4096);
}

PARITY(ALIGNED_INV_DESC_2K_FRAME_SIZE)
{
	aligned_invalid(variant, 2048);
}

/* A piece that is invalid spoils the whole packet and none but that. */
PARITY(ALIGNED_INV_DESC_MULTI_BUFF)
{
	struct mixed m = mixed_up(variant, fact_memory(256, 4096), XDP_USE_SG);
	const uint64_t end = m.tx.umem.len;
	const struct xdp_desc bad[][3] = {
		{ { 0, 0, XDP_PKT_CONTD }, { 0, 64, 0 } },
		{ { 0, 64, XDP_PKT_CONTD }, { 4096, 0, 0 } },
		{ { 0, 64, XDP_PKT_CONTD },
		  { end, 64, XDP_PKT_CONTD },
		  { 4096, 64, 0 } },
		{ { 0, 64, XDP_PKT_CONTD },
		  { 8192 - 32, 64, XDP_PKT_CONTD },
		  { 4096, 64, 0 } },
		{ { 0, 64, XDP_PKT_CONTD },
		  { 4096, 64, XDP_PKT_CONTD },
		  { end - 32, 64, 0 } },
		{ { 0, 64, XDP_PKT_CONTD }, { 4096, UINT32_MAX, 0 } },
		/* Options that no kernel knows. */
		{ { 0, 64, 1 << 15 } },
	};

	static const uint64_t good_at[] = { 8 * 4096, 9 * 4096, 10 * 4096 };

	mixed_spoiled(&m, bad, sizeof(bad) / sizeof(bad[0]), good_at);
	lab_finish();
}

PARITY(TOO_MANY_FRAGS)
{
	struct mixed m = mixed_up(variant, fact_memory(256, 4096), XDP_USE_SG);
	struct xmb_multibuf mbs[1] = { { 0 } };
	uint64_t at[3 * (CHAIN_MAX + 1)];

	for (uint64_t i = 0; i < sizeof(at) / sizeof(at[0]); i++)
		at[i] = i * 4096;
	mixed_chain(&m, at, CHAIN_MAX, 64, 1);
	mixed_chain(&m, at + CHAIN_MAX + 1, CHAIN_MAX + 1, 64, 2);
	mixed_chain(&m, at + 2 * (CHAIN_MAX + 1), 1, 64, 3);
	mixed_kick(&m);
	parity_expect(m.rx, CHAIN_MAX * 64, 1);
	parity_expect(m.rx, 64, 3);
	parity_expect_none(m.rx);
	/* Every address came back, of the packet that was dropped too. */
	for (uint32_t i = 0; i < 2 * CHAIN_MAX + 2; i++)
		cr_expect(fact_completed(&m.tx, NULL, WAIT_MS), "%u", i);
	cr_expect(not(fact_completed(&m.tx, NULL, QUIET_MS)));
	cr_expect(eq(u32, xmb_xsk_recv(m.rx, &lab.cache, mbs, 1), 0));
	lab_finish();
}

/* A bare receiver, and the library sends. */
struct mixed_rx {
	struct xmb_xsk *tx;
	struct fact_sock rx;
	struct parity_bpf *skel;
};

static struct mixed_rx mixed_rx_up(enum variant variant, struct fact_umem umem,
				   const char *program, uint32_t mtu)
{
	struct mixed_rx m;

	parity_frames(4096, mtu);
	m.tx = parity_open(variant, "sender");
	m.rx = parity_bare(variant, "receiver", umem, 0);
	m.skel = parity_load(program);
	fact_map_set(bpf_map__fd(m.skel->maps.xskmap), 0, m.rx.fd);
	parity_attach(variant, m.skel, program, "receiver");
	return m;
}

/* Steering is what `adjust_tail` does of 0 bytes. */
#define STEER "adjust_tail"

PARITY(UMEM_HEADROOM)
{
	const struct xmb_umem_opts opts = { .frame_len = 4096,
					    .frame_cnt = FRAME_CNT,
					    .headroom = 128 };
	struct parity p = parity_up_of(variant, &opts, 1500);
	struct xmb_multibuf mb = { 0 };

	parity_pass(&p, PACKET_LEN, PACKET_CNT);
	parity_send(p.tx, PACKET_LEN, 0, 1);
	cr_assert(eq(u32, lab_recv(p.rx, &mb, 1), 1));
	cr_expect(eq(u32, mb.c[0].off, 256 + 128));
	xmb_multibuf_release(&mb, &lab.cache);
	lab_finish();
}

/*
 * Every other packet is longer than what the headroom leaves of a chunk, as
 * little as this kernel lets it: older ones took more headroom.
 */
PARITY(STAT_RX_DROPPED)
{
	const uint32_t room = 448;
	struct fact_umem umem = fact_memory(64, 4096);
	struct mixed_rx m;

	umem.headroom = 4096 - 256 - room;
	m = mixed_rx_up(variant, umem, STEER, 1500);
	fact_fill_chunks(&m.rx, 0, 60);
	for (uint32_t i = 0; i < 60; i++)
		parity_send(m.tx, i % 2 ? room + 1 : room, i, 1);
	for (uint32_t i = 0; i < 60; i += 2)
		parity_expect_bare(&m.rx, room, i);
	await(fact_stats(&m.rx).rx_dropped == 30);
	cr_expect(not(fact_received(&m.rx, NULL, QUIET_MS)));
	cr_expect(eq(u64, fact_stats(&m.rx).rx_dropped, 30));
	lab_finish();
}

PARITY(STAT_TX_INVALID)
{
	struct mixed m = mixed_up(variant, fact_memory(256, 4096), 0);

	for (uint32_t i = 0; i < 32; i++) {
		parity_make(&m.tx, i * 4096, PACKET_LEN, i);
		fact_post(&m.tx, i * 4096, i % 2 ? 0 : PACKET_LEN, 0);
	}
	mixed_kick(&m);
	for (uint32_t i = 0; i < 32; i += 2)
		parity_expect(m.rx, PACKET_LEN, i);
	parity_expect_none(m.rx);
	cr_expect(eq(u64, fact_stats(&m.tx).tx_invalid_descs, 16));
	lab_finish();
}

/* An RX ring that is smaller than the fill ring; the library's never is. */
PARITY(STAT_RX_FULL)
{
	struct fact_umem umem = fact_memory(64, 4096);
	struct fact_sock rx = { .umem = umem };
	struct parity_bpf *skel;
	struct xmb_xsk *tx;

	parity_frames(4096, 1500);
	tx = parity_open(variant, "sender");
	rx.fd = fact_socket();
	cr_assert(eq(int, fact_register(rx.fd, &umem), 0));
	fact_ring(rx.fd, &rx.fill, XDP_UMEM_FILL_RING, 64);
	fact_ring(rx.fd, &rx.comp, XDP_UMEM_COMPLETION_RING, 64);
	fact_ring(rx.fd, &rx.rx, XDP_RX_RING, 16);
	cr_assert(eq(int, fact_bind(rx.fd, "receiver", 0, XDP_COPY), 0));
	parity_busy(variant, rx.fd);
	skel = parity_load(STEER);
	fact_map_set(bpf_map__fd(skel->maps.xskmap), 0, rx.fd);
	parity_attach(variant, skel, STEER, "receiver");
	fact_fill_chunks(&rx, 0, 60);
	parity_send(tx, PACKET_LEN, 0, 40);
	await(fact_stats(&rx).rx_ring_full == 40 - 16);
	cr_expect(eq(u64, fact_stats(&rx).rx_ring_full, 40 - 16));
	for (uint32_t i = 0; i < 16; i++)
		parity_expect_bare(&rx, PACKET_LEN, i);
	cr_expect(not(fact_received(&rx, NULL, QUIET_MS)));
	lab_finish();
}

/* Two sockets on one queue take turns; the first feeds both. */
PARITY(XDP_SHARED_UMEM)
{
	struct xmb_xsk *tx, *rx[2];
	struct xmb_xsk_opts opts;
	struct parity_bpf *skel;

	parity_frames(4096, 1500);
	tx = parity_open(variant, "sender");
	opts = lab_opts("receiver");
	opts.share_cnt = 1;
	rx[0] = parity_open_with(variant, opts);
	opts.share_cnt = 0;
	opts.share = rx[0];
	rx[1] = parity_open_with(variant, opts);
	skel = parity_load("two_sockets");
	for (uint32_t i = 0; i < 2; i++)
		fact_map_set(bpf_map__fd(skel->maps.xskmap), i,
			     xmb_xsk_fd(rx[i]));
	parity_attach(variant, skel, "two_sockets", "receiver");
	for (uint32_t i = 0; i < PACKET_CNT; i += BATCH) {
		parity_send(tx, PACKET_LEN, i, BATCH);
		for (uint32_t k = 0; k < BATCH; k++)
			parity_expect(rx[k % 2], PACKET_LEN, i + k);
	}
	for (uint32_t i = 0; i < 2; i++) {
		parity_expect_none(rx[i]);
		expect_counter(rx[i], XMB_XSK_RX_PACKETS, PACKET_CNT / 2);
	}
	expect_counter(rx[0], XMB_XSK_RX_DROPPED, 0);
	cr_expect(eq(int, xmb_xsk_close(rx[1], &lab.cache), 0));
	lab_finish();
}
