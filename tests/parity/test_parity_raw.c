/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Cases of the kernel's AF_XDP selftest that need at one end what the library
 * refuses, avoids or has not got: invalid descriptors, a ring that overflows,
 * headroom, two sockets on one queue.  That end is a bare socket; the other is
 * the library's.
 */
#include "parity_lab.h"

#include <unistd.h>

PARITY_SUITES;

enum { CHAIN_MAX = 18, BIND_SHARED = XDP_SHARED_UMEM };

/* The name of a case, too. */
#undef XDP_SHARED_UMEM

/* A bare sender, and the library at the other end. */
struct mixed {
	struct fact_sock tx;
	struct xmb_xsk *rx;
};

static struct mixed mixed_up(enum variant variant, uint32_t chunk_len,
			     uint16_t flags)
{
	struct mixed m;

	parity_frames(4096, JUMBO_LEN);
	m.tx = parity_bare(variant, "sender", fact_memory(256, chunk_len),
			   flags);
	m.rx = parity_open(variant, "receiver");
	parity_steer(variant, m.rx);
	return m;
}

/* Bare kicks stop at what is invalid: go on until all was looked at. */
static void kick_all(struct fact_sock *tx)
{
	for (int i = 0; i < 64 && fact_waiting(tx); i++)
		fact_kick(tx);
	cr_assert(eq(u32, fact_waiting(tx), 0));
}

struct piece {
	uint64_t addr;
	uint32_t len;
	bool is_valid;
};

/* Post all; the valid ones must arrive, in order, and the others be counted. */
static void expect_pieces(struct mixed *m, const struct piece *pieces,
			  uint32_t cnt)
{
	uint32_t bad_cnt = 0;

	for (uint32_t i = 0; i < cnt; i++) {
		bad_cnt += !pieces[i].is_valid;
		if (pieces[i].is_valid)
			parity_make(&m->tx, pieces[i].addr, pieces[i].len, i);
		fact_post(&m->tx, pieces[i].addr, pieces[i].len, 0);
	}
	kick_all(&m->tx);
	for (uint32_t i = 0; i < cnt; i++)
		if (pieces[i].is_valid)
			parity_expect(m->rx, pieces[i].len, i);
	parity_expect_none(m->rx);
	cr_expect(eq(u64, fact_stats(&m->tx).tx_invalid_descs, bad_cnt));
}

static void aligned_invalid(enum variant variant, uint32_t chunk_len)
{
	struct mixed m = mixed_up(variant, chunk_len, 0);
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

	expect_pieces(&m, pieces, sizeof(pieces) / sizeof(pieces[0]));
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

/* Post a packet of pieces, each in a chunk of its own. */
static void post_chain(struct fact_sock *tx, uint32_t chunk, uint32_t cnt,
		       uint32_t piece_len, uint32_t tag)
{
	static uint8_t packet[FACT_PACKET_MAX];
	struct xdp_desc descs[FACT_RING_CNT];

	packet_make(packet, (size_t)cnt * piece_len, tag);
	for (uint32_t i = 0; i < cnt; i++) {
		descs[i] = (struct xdp_desc){
			.addr = (uint64_t)(chunk + i) * tx->umem.chunk_len,
			.len = piece_len,
			.options = i + 1 < cnt ? XDP_PKT_CONTD : 0,
		};
		memcpy(fact_at(tx, descs[i].addr), packet + i * piece_len,
		       piece_len);
	}
	fact_post_chain(tx, descs, cnt);
}

/* A piece that is invalid spoils the whole packet and none but that. */
PARITY(ALIGNED_INV_DESC_MULTI_BUFF)
{
	struct mixed m = mixed_up(variant, 4096, XDP_USE_SG);
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

	for (uint32_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		uint32_t cnt = 0;

		while (bad[i][cnt++].options & XDP_PKT_CONTD)
			;
		fact_post_chain(&m.tx, bad[i], cnt);
		post_chain(&m.tx, 8, 3, 500, i);
		kick_all(&m.tx);
		parity_expect(m.rx, 1500, i);
		while (fact_completed(&m.tx, NULL, 0))
			;
	}
	parity_expect_none(m.rx);
	cr_expect(ge(u64, fact_stats(&m.tx).tx_invalid_descs,
		     sizeof(bad) / sizeof(bad[0])));
	lab_finish();
}

PARITY(TOO_MANY_FRAGS)
{
	struct mixed m = mixed_up(variant, 4096, XDP_USE_SG);
	struct xmb_multibuf mbs[1] = { { 0 } };

	post_chain(&m.tx, 0, CHAIN_MAX, 64, 1);
	post_chain(&m.tx, 32, CHAIN_MAX + 1, 64, 2);
	post_chain(&m.tx, 64, 1, 64, 3);
	kick_all(&m.tx);
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
	struct fact_umem umem = fact_memory(128, 4096);
	struct xdp_desc desc;
	struct mixed_rx m;

	umem.headroom = 128;
	m = mixed_rx_up(variant, umem, STEER, 1500);
	for (uint32_t i = 0; i < 128; i++) {
		uint8_t want[PACKET_LEN];

		fact_fill_chunks(&m.rx, i, 1);
		parity_send(m.tx, PACKET_LEN, i, 1);
		cr_assert(fact_received(&m.rx, &desc, WAIT_MS));
		cr_expect(eq(u64, desc.addr, i * 4096 + 256 + 128));
		packet_make(want, PACKET_LEN, i);
		cr_expect(
			eq(int,
			   memcmp(fact_at(&m.rx, desc.addr), want, PACKET_LEN),
			   0));
	}
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
	cr_expect(not(fact_received(&m.rx, NULL, QUIET_MS)));
	cr_expect(eq(u64, fact_stats(&m.rx).rx_dropped, 30));
	lab_finish();
}

PARITY(STAT_TX_INVALID)
{
	struct mixed m = mixed_up(variant, 4096, 0);

	for (uint32_t i = 0; i < 32; i++) {
		parity_make(&m.tx, i * 4096, PACKET_LEN, i);
		fact_post(&m.tx, i * 4096, i % 2 ? 0 : PACKET_LEN, 0);
	}
	kick_all(&m.tx);
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
	usleep(QUIET_MS * 1000);
	cr_expect(eq(u64, fact_stats(&rx).rx_ring_full, 40 - 16));
	for (uint32_t i = 0; i < 16; i++)
		parity_expect_bare(&rx, PACKET_LEN, i);
	cr_expect(not(fact_received(&rx, NULL, QUIET_MS)));
	lab_finish();
}

/* Two sockets of one memory on one queue take turns. */
PARITY(XDP_SHARED_UMEM)
{
	struct mixed_rx m = mixed_rx_up(variant, fact_memory(64, 4096),
					"two_sockets", 1500);
	struct fact_sock second = fact_open_sharing(&m.rx, false);

	cr_assert(eq(int,
		     fact_bind_sharing(second.fd, "receiver", 0, BIND_SHARED,
				       m.rx.fd),
		     0));
	fact_map_set(bpf_map__fd(m.skel->maps.xskmap), 1, second.fd);
	fact_fill_chunks(&m.rx, 0, 60);
	parity_send(m.tx, PACKET_LEN, 0, 60);
	for (uint32_t i = 0; i < 60; i++)
		parity_expect_bare(i % 2 ? &second : &m.rx, PACKET_LEN, i);
	cr_expect(not(fact_received(&m.rx, NULL, QUIET_MS)));
	cr_expect(not(fact_received(&second, NULL, 0)));
	lab_finish();
}
