/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * lib/xsk, chains that are longer than may be sent: gathered into full frames
 * where those are few enough, byte by byte what came in.
 */
#include "xsk_lab.h"

#include "base/clock.h"

#include <stdlib.h>

enum { JUMBO = 9014, HUGE_MTU = 65535, HUGE_MAX = HUGE_MTU + 14 };

TestSuite(xsk_gather, .init = xsk_lab_setup, .timeout = 300);

static struct xmb_xsk *left, *right;
static int ltap, rtap;

/* From left to right, where a packet may have frags_max buffers. */
static void set_up(uint32_t mtu, uint32_t frame_len, uint32_t frags_max)
{
	struct xmb_xsk_opts opts;

	lab_wire(1, mtu);
	lab_frames(frame_len, 2048);
	ltap = tap_open("ltap");
	rtap = tap_open("rtap");
	left = lab_open_dev("left");
	opts = lab_opts("right");
	opts.frags_max = frags_max;
	right = lab_open(&opts);
	lab_steer(left);
}

/* Packets that are longer than those of the lab. */
static uint8_t sent[HUGE_MAX], came[HUGE_MAX];

static struct xmb_multibuf receive(size_t len, uint32_t tag)
{
	struct xmb_multibuf mb = { 0 };

	packet_make(sent, len, tag);
	tap_send(ltap, sent, len);
	cr_assert(eq(u32, lab_recv(left, &mb, 1), 1), "%zu", len);
	cr_assert(eq(u32, mb.len, len));
	return mb;
}

static void expect_came(size_t len)
{
	cr_assert(eq(sz, tap_recv(rtap, came, sizeof(came), WAIT_MS), len));
	cr_expect(not(memcmp(came, sent, len)), "%zu", len);
}

Test(xsk_gather, a_limit_that_is_asked_for_is_what_it_has_but_never_more)
{
	set_up(1500, 2048, 5);
	cr_expect(eq(u32, xmb_xsk_mode(right).frags_max, 5));
	cr_expect(eq(u32, xmb_xsk_mode(left).frags_max, 17));
	lab_finish();
	must("ip link del left && ip link del right");
	set_up(1500, 2048, 1000);
	cr_expect(eq(u32, xmb_xsk_mode(right).frags_max, 17));
	lab_finish();
}

Test(xsk_gather, a_chain_of_six_leaves_in_five_full_frames)
{
	struct xmb_multibuf mb;
	uint32_t from;

	set_up(9000, 2048, 5);
	mb = receive(JUMBO, 7);
	mb.user = 99;
	cr_assert(eq(u32, xmb_multibuf_chunk_cnt(&mb), 6));
	from = *right->tx.producer;
	cr_expect(eq(u32, xmb_xsk_send(right, &lab.cache, &mb, 1), 1));
	cr_expect(eq(u32, *right->tx.producer - from, 5));
	lab_send(right, NULL, 0);
	expect_came(JUMBO);
	/* One of five is sent as it is. */
	mb = receive(5 * 1792, 8);
	cr_assert(eq(u32, xmb_multibuf_chunk_cnt(&mb), 5));
	lab_send(right, &mb, 1);
	expect_came(5 * 1792);
	expect_counter(right, XMB_XSK_TX_GATHERED, 1);
	expect_counter(right, XMB_XSK_TX_PACKETS, 2);
	expect_counter(right, XMB_XSK_TX_BYTES, JUMBO + 5 * 1792);
	expect_counter(right, XMB_XSK_TX_TOO_MANY_FRAGS, 0);
	cr_expect(eq(u64, lab_ledger().copies, 1));
	cr_expect(eq(u64, lab_ledger().copied_bytes, JUMBO));
	lab_finish();
}

Test(xsk_gather, what_full_frames_do_not_hold_either_is_dropped_uncopied)
{
	struct xmb_multibuf mb;

	set_up(9000, 2048, 4);
	mb = receive(JUMBO, 7);
	cr_expect(eq(u32, xmb_xsk_send(right, &lab.cache, &mb, 1), 1));
	cr_expect(xmb_multibuf_is_empty(&mb));
	expect_counter(right, XMB_XSK_TX_TOO_MANY_FRAGS, 1);
	expect_counter(right, XMB_XSK_TX_GATHERED, 0);
	expect_counter(right, XMB_XSK_TX_PACKETS, 0);
	cr_expect(eq(u64, lab_ledger().copies, 0));
	cr_expect(eq(i64, lab_ledger().app, 0));
	/* As many bytes as four frames have, to the last one. */
	mb = receive(4 * 2048, 8);
	lab_send(right, &mb, 1);
	expect_came(4 * 2048);
	mb = receive(4 * 2048 + 1, 9);
	lab_send(right, &mb, 1);
	expect_counter(right, XMB_XSK_TX_TOO_MANY_FRAGS, 2);
	expect_counter(right, XMB_XSK_TX_GATHERED, 1);
	lab_finish();
}

Test(xsk_gather, without_a_free_frame_it_is_a_drop_with_a_name)
{
	static struct xmb_chunk all[2048];
	struct xmb_multibuf mb;
	uint32_t cnt = 0;

	set_up(9000, 2048, 5);
	mb = receive(JUMBO, 7);
	while (xmb_chunk_alloc(&lab.cache, &all[cnt]) == 0)
		cnt++;
	cr_expect(eq(u32, xmb_xsk_send(right, &lab.cache, &mb, 1), 1));
	expect_counter(right, XMB_XSK_TX_NO_FRAMES, 1);
	expect_counter(right, XMB_XSK_TX_GATHERED, 0);
	cr_expect(eq(u64, lab_ledger().copies, 0));
	xmb_chunk_release_bulk(all, cnt, &lab.cache);
	lab_finish();
}

/* Forward one packet of len; how many were gathered. */
static void pass_huge(size_t len, uint32_t bufs, uint64_t gathered)
{
	struct xmb_multibuf mb = receive(len, (uint32_t)len);

	cr_expect(eq(u32, xmb_multibuf_chunk_cnt(&mb), bufs));
	lab_send(right, &mb, 1);
	expect_came(len);
	expect_counter(right, XMB_XSK_TX_GATHERED, gathered);
	expect_counter(right, XMB_XSK_TX_INVALID, 0);
	expect_counter(right, XMB_XSK_TX_KERNEL_DROP, 0);
}

Test(xsk_gather, the_longest_packet_of_veth_leaves_in_17_frames_of_4096)
{
	set_up(HUGE_MTU, 4096, 0);
	pass_huge(17 * 3840, 17, 0);
	pass_huge(17 * 3840 + 1, 18, 1);
	pass_huge(HUGE_MAX, 18, 2);
	lab_finish();
}

Test(xsk_gather, frames_of_2048_take_it_to_34816_bytes_and_no_further)
{
	struct xmb_multibuf mb;

	set_up(HUGE_MTU, 2048, 0);
	pass_huge(17 * 1792, 17, 0);
	pass_huge(17 * 1792 + 1, 18, 1);
	pass_huge(17 * 2048, 20, 2);
	for (uint32_t i = 0; i < 2; i++) {
		mb = receive(i ? 60000 : 17 * 2048 + 1, i);
		lab_send(right, &mb, 1);
		expect_counter(right, XMB_XSK_TX_TOO_MANY_FRAGS, i + 1);
	}
	expect_counter(right, XMB_XSK_TX_PACKETS, 3);
	expect_counter(right, XMB_XSK_TX_GATHERED, 2);
	lab_finish();
}
