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

PARITY_SUITES;

enum { BARE_CNT = 256 };

static struct parity unaligned_up(enum variant variant, uint32_t frame_len,
				  uint32_t mtu)
{
	const struct xmb_umem_opts opts = { .frame_len = frame_len,
					    .frame_cnt = FRAME_CNT,
					    .is_unaligned = true };
	struct parity p = parity_up_of(variant, &opts, mtu);

	cr_assert(lab.umem->is_unaligned);
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

/* The memory of a bare sender. */
static struct fact_umem memory(uint32_t chunk_len)
{
	struct fact_umem umem = fact_memory(BARE_CNT, chunk_len);

	umem.flags = XDP_UMEM_UNALIGNED_CHUNK_FLAG;
	return umem;
}

static void invalid(enum variant variant, uint32_t chunk_len)
{
	struct mixed m = mixed_up(variant, memory(chunk_len), 0);
	const uint64_t end = m.tx.umem.len;
	const struct piece pieces[] = {
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

	mixed_pieces(&m, pieces, sizeof(pieces) / sizeof(pieces[0]));
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

/* A piece that is invalid spoils the whole packet and none but that. */
PARITY(UNALIGNED_INV_DESC_MULTI_BUFF)
{
	struct mixed m = mixed_up(variant, memory(4096), XDP_USE_SG);
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

	/* At odd places. */
	static const uint64_t good_at[] = { 32 * 4096 + 7, 36 * 4096 - 100,
					    40 * 4096 + 333 };

	mixed_spoiled(&m, bad, sizeof(bad) / sizeof(bad[0]), good_at);
	lab_finish();
}
