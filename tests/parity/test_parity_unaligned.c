/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Cases of the kernel's AF_XDP selftest, by their names there, in unaligned
 * mode.  Its frames have 4096 bytes there too, but may begin at any byte.
 *
 * SEND_RECEIVE_UNALIGNED is run with odd frames as well, which the selftest
 * has for invalid descriptors only.  Descriptors that are invalid are posted by
 * a bare socket.
 */
#include "parity_lab.h"

#include <unistd.h>

PARITY_SUITES;

enum { BARE_CNT = 256 };

static struct parity unaligned_up(enum variant variant, uint32_t frame_len,
				  uint32_t mtu)
{
	struct xmb_umem_opts opts = { .frame_len = frame_len,
				      .frame_cnt = FRAME_CNT,
				      .is_unaligned = true };
	struct parity p = { .variant = variant };

	parity_wire(mtu);
	lab_frames_of(&opts);
	cr_assert(lab.umem->is_unaligned);
	p.tx = parity_open(variant, "sender");
	p.rx = parity_open(variant, "receiver");
	p.prog = parity_steer(variant, p.rx);
	return p;
}

static void send_receive(enum variant variant, uint32_t frame_len)
{
	struct parity p = unaligned_up(variant, frame_len, 1500);

	parity_pass(&p, PACKET_LEN, PACKET_CNT);
	lab_finish();
}

PARITY(SEND_RECEIVE_UNALIGNED)
{
	send_receive(variant, 4096);
}

PARITY(SEND_RECEIVE_UNALIGNED_4001_FRAME_SIZE)
{
	send_receive(variant, 4001);
}

PARITY(SEND_RECEIVE_UNALIGNED_4032_FRAME_SIZE)
{
	send_receive(variant, 4032);
}

PARITY(SEND_RECEIVE_UNALIGNED_9K_PACKETS)
{
	struct parity p = unaligned_up(variant, 4096, JUMBO_LEN);

	parity_pass(&p, JUMBO_LEN, 1024);
	expect_counter(p.rx, XMB_XSK_RX_CHAINS, 1024);
	lab_finish();
}

PARITY(SEND_RECEIVE_UNALIGNED_9K_PACKETS_4001_FRAME_SIZE)
{
	struct parity p = unaligned_up(variant, 4001, JUMBO_LEN);

	parity_pass(&p, JUMBO_LEN, 1024);
	expect_counter(p.rx, XMB_XSK_RX_CHAINS, 1024);
	lab_finish();
}

/* A bare sender in unaligned mode, and the library at the other end. */
struct mixed {
	struct fact_sock tx;
	struct xmb_xsk *rx;
};

static struct mixed mixed_up(enum variant variant, uint32_t chunk_len,
			     uint16_t flags)
{
	struct fact_umem umem = fact_memory(BARE_CNT, chunk_len);
	struct mixed m;

	umem.flags = XDP_UMEM_UNALIGNED_CHUNK_FLAG;
	parity_frames(4096, JUMBO_LEN);
	m.tx = parity_bare(variant, "sender", umem, flags);
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

static void invalid(enum variant variant, uint32_t chunk_len)
{
	struct mixed m = mixed_up(variant, chunk_len, 0);
	const uint64_t end = m.tx.umem.len;
	const struct {
		uint64_t addr;
		uint32_t len;
		bool is_valid;
	} pieces[] = {
		{ 0, PACKET_LEN, true },
		{ 0, 0, false },
		{ chunk_len, 0, false },
		{ end, PACKET_LEN, false },
		{ end - PACKET_LEN / 2, PACKET_LEN, false },
		{ end - PACKET_LEN, PACKET_LEN, true },
		/* Over the border of a page, of a chunk, at an odd byte. */
		{ 3 * 4096 - PACKET_LEN / 2, PACKET_LEN, true },
		{ 5 * (uint64_t)chunk_len - PACKET_LEN / 2, PACKET_LEN, true },
		{ 7 * 4096 + 333, PACKET_LEN, true },
		/* Base and offset; and the same beyond the end. */
		{ 9 * 4096 | 100ull << 48, PACKET_LEN, true },
		{ (end - 4096) | 4090ull << 48, PACKET_LEN, false },
		{ UINT64_MAX - 1, PACKET_LEN, false },
		{ UINT64_MAX - PACKET_LEN + 1, PACKET_LEN, false },
		{ 8192, chunk_len + 1, false },
		{ 8192, UINT32_MAX, false },
		/* What follows is not hurt. */
		{ 16384, PACKET_LEN, true },
	};
	const uint32_t cnt = sizeof(pieces) / sizeof(pieces[0]);
	uint32_t bad_cnt = 0;

	for (uint32_t i = 0; i < cnt; i++) {
		uint64_t flat = (pieces[i].addr & ((1ull << 48) - 1)) +
				(pieces[i].addr >> 48);

		bad_cnt += !pieces[i].is_valid;
		if (pieces[i].is_valid)
			parity_make(&m.tx, flat, pieces[i].len, i);
		fact_post(&m.tx, pieces[i].addr, pieces[i].len, 0);
	}
	kick_all(&m.tx);
	for (uint32_t i = 0; i < cnt; i++)
		if (pieces[i].is_valid)
			parity_expect(m.rx, pieces[i].len, i);
	parity_expect_none(m.rx);
	cr_expect(eq(u64, fact_stats(&m.tx).tx_invalid_descs, bad_cnt));
	lab_finish();
}

PARITY(UNALIGNED_INV_DESC)
{
	invalid(variant, 4096);
}

PARITY(UNALIGNED_INV_DESC_4001_FRAME_SIZE)
{
	invalid(variant, 4001);
}

/* A good packet of three pieces, at odd places. */
static void post_good(struct fact_sock *tx, uint32_t tag)
{
	static const uint64_t at[] = { 32 * 4096 + 7, 36 * 4096 - 100,
				       40 * 4096 + 333 };
	uint8_t packet[1500];
	struct xdp_desc descs[3];

	packet_make(packet, sizeof(packet), tag);
	for (uint32_t i = 0; i < 3; i++) {
		descs[i] = (struct xdp_desc){
			.addr = at[i],
			.len = 500,
			.options = i < 2 ? XDP_PKT_CONTD : 0,
		};
		memcpy(fact_at(tx, at[i]), packet + 500 * i, 500);
	}
	fact_post_chain(tx, descs, 3);
}

/* A piece that is invalid spoils the whole packet and none but that. */
PARITY(UNALIGNED_INV_DESC_MULTI_BUFF)
{
	struct mixed m = mixed_up(variant, 4096, XDP_USE_SG);
	const uint64_t end = m.tx.umem.len;
	const struct xdp_desc bad[][3] = {
		{ { 0, 0, XDP_PKT_CONTD }, { 0, 64, 0 } },
		{ { 7, 64, XDP_PKT_CONTD }, { 4096, 0, 0 } },
		{ { 0, 64, XDP_PKT_CONTD },
		  { end, 64, XDP_PKT_CONTD },
		  { 4096, 64, 0 } },
		{ { 0, 64, XDP_PKT_CONTD },
		  { 4096, 64, XDP_PKT_CONTD },
		  { end - 32, 64, 0 } },
		{ { 0, 64, XDP_PKT_CONTD }, { 4096, 4097, 0 } },
		{ { 0, 64, XDP_PKT_CONTD }, { 4096, UINT32_MAX, 0 } },
		/* Options that no kernel knows. */
		{ { 0, 64, 1 << 15 } },
	};

	for (uint32_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		uint32_t cnt = 0;

		while (bad[i][cnt++].options & XDP_PKT_CONTD)
			;
		fact_post_chain(&m.tx, bad[i], cnt);
		post_good(&m.tx, i);
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
