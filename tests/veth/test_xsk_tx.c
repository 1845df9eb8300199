/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * lib/xsk, sending: packets go out from the frame they lie in, whole or not at
 * all, and what cannot be sent is dropped by name.
 */
#include "xsk_lab.h"

#include "base/clock.h"
#include "buf/extbuf.h"

#include <unistd.h>

/* No more than WINDOW are on their way at once: the fill ring has 256. */
enum { BURST = 64, WINDOW = 128, FORWARD_CNT = 10000, FRAG_LEN = 40 };

TestSuite(xsk_tx, .init = xsk_lab_setup, .timeout = 300);

static struct xmb_xsk *left, *right;
static int ltap, rtap;

/* Forwarding from left to right, with taps at both ends. */
static void set_up(uint32_t mtu, uint32_t frame_len)
{
	lab_wire(1, mtu);
	lab_frames(frame_len, 2048);
	ltap = tap_open("ltap");
	rtap = tap_open("rtap");
	left = lab_open_dev("left");
	right = lab_open_dev("right");
	lab_steer(left);
}

/* Which frame a packet of this tag was received in. */
static uint32_t frame_of[FORWARD_CNT];
static uint32_t seen_in_tx[FORWARD_CNT];

static uint32_t tag_at(const uint8_t *packet)
{
	uint32_t tag;

	memcpy(&tag, packet + TAG_OFF, sizeof(tag));
	return tag;
}

static void note_frames(const struct xmb_multibuf *mbs, uint32_t cnt)
{
	for (uint32_t i = 0; i < cnt; i++) {
		uint32_t tag = tag_at(xmb_chunk_data(&mbs[i].c[0]));

		cr_assert(lt(u32, tag, FORWARD_CNT));
		frame_of[tag] = mbs[i].c[0].region;
	}
}

/* What the kernel will find in the TX ring, behind its descriptors. */
static void compare_ring(const struct xmb_xsk *xsk, uint32_t from)
{
	for (uint32_t i = from; i != *xsk->tx.producer; i++) {
		const struct xdp_desc *desc =
			xsk_ring_prod__tx_desc((struct xsk_ring_prod *)&xsk->tx,
					       i);
		uint32_t tag = tag_at(lab.umem->area + desc->addr);

		cr_assert(lt(u32, tag, FORWARD_CNT));
		cr_assert(eq(u64, desc->addr / 2048, frame_of[tag]));
		seen_in_tx[tag]++;
	}
}

static uint32_t forward_burst(void)
{
	struct xmb_multibuf mbs[BURST];
	uint32_t from = *right->tx.producer, cnt;

	xmb_xsk_refill(left, &lab.cache, xmb_clock_ns());
	cnt = xmb_xsk_recv(left, &lab.cache, mbs, BURST);
	note_frames(mbs, cnt);
	cr_assert(eq(u32, xmb_xsk_send(right, &lab.cache, mbs, cnt), cnt));
	compare_ring(right, from);
	xmb_xsk_kick(right);
	xmb_xsk_reap(right, &lab.cache);
	return cnt;
}

Test(xsk_tx, ten_thousand_packets_are_sent_from_the_frame_they_came_in)
{
	uint32_t sent = 0, passed = 0;

	set_up(1500, 2048);
	while (sent < FORWARD_CNT) {
		for (int i = 0; i < BURST / 2 && sent < FORWARD_CNT; i++)
			tap_send_made(ltap, 60 + sent % 1400, sent), sent++;
		await((passed += forward_burst()) + WINDOW > sent);
	}
	await((passed += forward_burst()) == FORWARD_CNT);
	for (uint32_t got = 0; got < FORWARD_CNT; got++) {
		cr_assert(tap_recv_made(rtap, 60 + got % 1400, got), "%u", got);
	}
	for (uint32_t tag = 0; tag < FORWARD_CNT; tag++)
		cr_assert(eq(u32, seen_in_tx[tag], 1), "%u", tag);
	expect_counter(left, XMB_XSK_RX_PACKETS, FORWARD_CNT);
	expect_counter(right, XMB_XSK_TX_PACKETS, FORWARD_CNT);
	cr_expect(eq(u64, lab_ledger().copies, 0));
	lab_finish();
}

static struct {
	int cnt;
	void *mem;
	size_t len;
} freed;

static void note_free(void *arg, void *mem, size_t len)
{
	cr_expect(eq(ptr, arg, &freed));
	freed.cnt++;
	freed.mem = mem;
	freed.len = len;
}

Test(xsk_tx, one_packet_in_the_callers_memory_is_one_copy)
{
	static uint8_t mem[1000];
	struct xmb_multibuf mb = { 0 };

	set_up(1500, 2048);
	packet_make(mem, sizeof(mem), 7);
	cr_assert(eq(int, xmb_extbuf_attach(&lab.cache, mem, sizeof(mem),
					    note_free, &freed, &mb), 0));
	cr_expect(eq(u32, xmb_xsk_send(right, &lab.cache, &mb, 1), 1));
	cr_expect(xmb_multibuf_is_empty(&mb));
	cr_expect(eq(int, freed.cnt, 1));
	cr_expect(eq(ptr, freed.mem, mem));
	cr_expect(eq(sz, freed.len, sizeof(mem)));
	memset(mem, 0, sizeof(mem));
	cr_expect(eq(u64, xmb_counter_read(&lab.cache.copies), 1));
	cr_expect(eq(u64, xmb_counter_read(&lab.cache.copied_bytes), 1000));
	lab_send(right, NULL, 0);
	cr_expect(tap_recv_made(rtap, sizeof(mem), 7));
	cr_expect(eq(u64, lab_ledger().copies, 1));
	cr_expect(eq(int, freed.cnt, 1));
	lab_finish();
}

Test(xsk_tx, callers_memory_behind_a_header_of_ours_is_one_copy_too)
{
	static uint8_t mem[1200];
	struct xmb_multibuf mb = { 0 }, rest = { 0 };

	set_up(1500, 2048);
	packet_make(mem, sizeof(mem), 8);
	mb = lab_packet(60, 8);
	cr_assert(eq(int, xmb_extbuf_attach(&lab.cache, mem, sizeof(mem), NULL,
					    NULL, &rest), 0));
	cr_assert(eq(int, xmb_multibuf_discard_prefix(&rest, 60, &lab.cache),
		     0));
	cr_assert(eq(int, xmb_multibuf_append(&mb, &rest, &lab.cache), 0));
	lab_send(right, &mb, 1);
	cr_expect(eq(u64, lab_ledger().copies, 1));
	cr_expect(tap_recv_made(rtap, sizeof(mem), 8));
	lab_finish();
}

Test(xsk_tx, callers_memory_without_a_free_frame_is_a_drop_with_a_name)
{
	static uint8_t mem[1000];
	static struct xmb_chunk all[2048];
	struct xmb_multibuf mb = { 0 };
	uint32_t cnt = 0;

	set_up(1500, 2048);
	packet_make(mem, sizeof(mem), 7);
	while (xmb_chunk_alloc(&lab.cache, &all[cnt]) == 0)
		cnt++;
	cr_assert(eq(int, xmb_extbuf_attach(&lab.cache, mem, sizeof(mem),
					    note_free, &freed, &mb), 0));
	cr_expect(eq(u32, xmb_xsk_send(right, &lab.cache, &mb, 1), 1));
	expect_counter(right, XMB_XSK_TX_NO_FRAMES, 1);
	expect_counter(right, XMB_XSK_TX_PACKETS, 0);
	cr_expect(eq(int, freed.cnt, 1));
	cr_expect(eq(u64, lab_ledger().copies, 0));
	xmb_chunk_release_bulk(all, cnt, &lab.cache);
	lab_finish();
}

Test(xsk_tx, every_length_from_14_to_1514_passes_byte_by_byte)
{
	set_up(1500, 2048);
	for (uint32_t len = 14; len <= 1514; len++) {
		struct xmb_multibuf mb;

		tap_send_made(ltap, len, len);
		cr_assert(eq(u32, lab_recv(left, &mb, 1), 1), "%u", len);
		cr_assert(lab_is_made(&mb, len, len), "%u", len);
		lab_send(right, &mb, 1);
		cr_assert(tap_recv_made(rtap, len, len), "%u", len);
	}
	cr_expect(eq(u64, lab_ledger().copies, 0));
	lab_finish();
}

static void pass_jumbos(uint32_t frame_len)
{
	const uint32_t room = frame_len - 256;
	uint32_t chains = 0;

	set_up(9000, frame_len);
	for (uint32_t len = 1000; len <= 9014; len += len % room > 2 ? 67 : 1) {
		struct xmb_multibuf mb;

		tap_send_made(ltap, len, len);
		cr_assert(eq(u32, lab_recv(left, &mb, 1), 1), "%u", len);
		cr_assert(lab_is_made(&mb, len, len), "%u", len);
		cr_assert(eq(u32, xmb_multibuf_chunk_cnt(&mb),
			     (len + room - 1) / room));
		chains += len > room;
		lab_send(right, &mb, 1);
		cr_assert(tap_recv_made(rtap, len, len), "%u", len);
	}
	cr_expect(gt(u32, chains, 50));
	expect_counter(left, XMB_XSK_RX_CHAINS, chains);
	cr_expect(eq(u64, lab_ledger().copies, 0));
	lab_finish();
}

Test(xsk_tx, jumbo_packets_pass_as_chains_of_2048)
{
	pass_jumbos(2048);
}

Test(xsk_tx, jumbo_packets_pass_as_chains_of_4096)
{
	pass_jumbos(4096);
}

/* A packet of cnt chunks, each of a frame of its own. */
static struct xmb_multibuf chain_of(uint32_t cnt, uint32_t tag)
{
	uint8_t packet[FRAG_LEN * 64];
	struct xmb_multibuf mb = { 0 };

	packet_make(packet, cnt * FRAG_LEN, tag);
	for (uint32_t i = 0; i < cnt; i++) {
		struct xmb_chunk chunk = { 0 };

		cr_assert(eq(int, xmb_chunk_alloc(&lab.cache, &chunk), 0));
		xmb_chunk_truncate(&chunk, FRAG_LEN);
		memcpy(xmb_chunk_data(&chunk), packet + i * FRAG_LEN, FRAG_LEN);
		cr_assert(eq(int, xmb_multibuf_push_back(&mb, &chunk,
							 &lab.cache), 0));
	}
	return mb;
}

Test(xsk_tx, a_chain_as_long_as_the_mode_says_passes_and_one_longer_is_gathered)
{
	uint32_t max, before;
	struct xmb_multibuf mbs[3];

	set_up(1500, 2048);
	max = xmb_xsk_mode(right).frags_max;
	cr_assert(ge(u32, max, 17));
	before = lab_free_cnt();
	mbs[0] = chain_of(max, 1);
	mbs[1] = chain_of(max + 1, 2);
	mbs[2] = chain_of(1, 3);
	lab_send(right, mbs, 3);
	cr_expect(tap_recv_made(rtap, max * FRAG_LEN, 1));
	cr_expect(tap_recv_made(rtap, (max + 1) * FRAG_LEN, 2));
	cr_expect(tap_recv_made(rtap, FRAG_LEN, 3));
	expect_counter(right, XMB_XSK_TX_GATHERED, 1);
	expect_counter(right, XMB_XSK_TX_TOO_MANY_FRAGS, 0);
	expect_counter(right, XMB_XSK_TX_PACKETS, 3);
	expect_counter(right, XMB_XSK_TX_BYTES, (2 * max + 2) * FRAG_LEN);
	expect_counter(right, XMB_XSK_TX_COMPLETED, max + 2);
	cr_expect(eq(u64, lab_ledger().copies, 1));
	expect_counter(right, XMB_XSK_TX_INVALID, 0);
	cr_expect(eq(u32, lab_free_cnt(), before));
	lab_finish();
}

Test(xsk_tx, a_packet_above_the_mtu_is_dropped_but_tags_have_room)
{
	struct xmb_multibuf mbs[4];

	set_up(1500, 2048);
	mbs[0] = lab_packet(1514 + 4, 1);
	mbs[1] = lab_packet(1514 + 9, 2);
	mbs[2] = lab_packet(9000, 3);
	mbs[3] = lab_packet(64, 4);
	lab_send(right, mbs, 4);
	cr_expect(tap_recv_made(rtap, 1514 + 4, 1));
	cr_expect(tap_recv_made(rtap, 64, 4));
	expect_counter(right, XMB_XSK_TX_TOO_LONG, 2);
	expect_counter(right, XMB_XSK_TX_PACKETS, 2);
	cr_expect(eq(i64, lab_ledger().app, 0));
	/* veth has room for one tag: the second is the kernel's drop. */
	mbs[0] = lab_packet(1514 + 8, 5);
	lab_send(right, mbs, 1);
	expect_counter(right, XMB_XSK_TX_TOO_LONG, 2);
	expect_counter(right, XMB_XSK_TX_PACKETS, 3);
	expect_counter(right, XMB_XSK_TX_KERNEL_DROP, 1);
	lab_finish();
}

Test(xsk_tx, a_packet_of_no_bytes_is_dropped)
{
	struct xmb_multibuf mbs[2] = { 0 };

	set_up(1500, 2048);
	mbs[0] = lab_packet(100, 1);
	cr_assert(eq(int, xmb_multibuf_truncate(&mbs[0], 0, &lab.cache), 0));
	cr_expect(eq(u32, xmb_xsk_send(right, &lab.cache, mbs, 2), 2));
	expect_counter(right, XMB_XSK_TX_EMPTY, 2);
	expect_counter(right, XMB_XSK_TX_PACKETS, 0);
	cr_expect(eq(u32, xmb_xsk_tx_waiting(right), 0));
	cr_expect(eq(i64, lab_ledger().app, 0));
	lab_finish();
}

/* Put a chunk of no bytes, which still has its frame, behind mb. */
static void add_nothing(struct xmb_multibuf *mb)
{
	struct xmb_chunk chunk = { 0 };

	cr_assert(eq(int, xmb_chunk_alloc(&lab.cache, &chunk), 0));
	xmb_chunk_truncate(&chunk, 0);
	cr_assert(eq(int, xmb_multibuf_push_back(mb, &chunk, &lab.cache), 0));
}

Test(xsk_tx, chunks_of_no_bytes_are_stripped_wherever_they_stand)
{
	struct xmb_multibuf mb = { 0 }, part;

	set_up(1500, 2048);
	add_nothing(&mb);
	add_nothing(&mb);
	part = chain_of(2, 5);
	cr_assert(eq(int, xmb_multibuf_append(&mb, &part, &lab.cache), 0));
	add_nothing(&mb);
	cr_assert(eq(u32, xmb_multibuf_chunk_cnt(&mb), 5));
	cr_expect(eq(u32, xmb_xsk_send(right, &lab.cache, &mb, 1), 1));
	cr_expect(xmb_multibuf_is_empty(&mb));
	cr_expect(eq(u32, xmb_xsk_tx_waiting(right), 2));
	cr_expect(eq(i64, lab_ledger().tx, 2));
	cr_expect(eq(i64, lab_ledger().app, 0));
	lab_send(right, NULL, 0);
	cr_expect(tap_recv_made(rtap, 2 * FRAG_LEN, 5));
	expect_counter(right, XMB_XSK_TX_INVALID, 0);
	lab_finish();
}

Test(xsk_tx, header_and_payload_of_one_frame_go_out_as_two_descriptors)
{
	struct xmb_multibuf mb, rest = { 0 };
	struct xmb_ledger ledger;
	uint32_t free_cnt, from;
	const struct xdp_desc *desc;

	set_up(1500, 2048);
	free_cnt = lab_free_cnt();
	mb = lab_packet(900, 9);
	cr_assert(eq(int, xmb_multibuf_split(&mb, 14, &rest, &lab.cache), 0));
	cr_assert(eq(int, xmb_multibuf_append(&mb, &rest, &lab.cache), 0));
	cr_expect(eq(u32, mb.c[0].region, mb.c[1].region));
	ledger = lab_ledger();
	cr_expect(eq(i64, ledger.app, 1));

	from = *right->tx.producer;
	cr_expect(eq(u32, xmb_xsk_send(right, &lab.cache, &mb, 1), 1));
	desc = xsk_ring_prod__tx_desc(&right->tx, from);
	cr_expect(eq(u64, desc[1].addr, desc[0].addr + 14));
	cr_expect(eq(u32, desc[0].len, 14));
	cr_expect(eq(u32, desc[1].len, 886));
	cr_expect(eq(u32, desc[0].options, XDP_PKT_CONTD));
	cr_expect(eq(u32, desc[1].options, 0));
	cr_expect(eq(u32, xmb_xsk_tx_inflight(right), 2));
	ledger = lab_ledger();
	cr_expect(eq(i64, ledger.tx, 1));
	cr_expect(eq(i64, ledger.tx_slots, 2));
	cr_expect(eq(i64, ledger.app, 0));
	cr_expect(eq(i64, ledger.missing, 0));

	lab_send(right, NULL, 0);
	cr_expect(tap_recv_made(rtap, 900, 9));
	expect_counter(right, XMB_XSK_TX_COMPLETED, 2);
	expect_counter(right, XMB_XSK_COMP_UNKNOWN, 0);
	cr_expect(eq(u32, lab_free_cnt(), free_cnt));
	cr_expect(eq(u64, lab_ledger().copies, 0));
	lab_finish();
}

Test(xsk_tx, one_part_of_a_frame_is_sent_while_the_other_is_kept)
{
	struct xmb_multibuf mb, rest = { 0 };

	set_up(1500, 2048);
	mb = lab_packet(900, 9);
	cr_assert(eq(int, xmb_multibuf_split(&mb, 100, &rest, &lab.cache), 0));
	lab_send(right, &mb, 1);
	cr_expect(eq(i64, lab_ledger().app, 1));
	cr_expect(eq(i64, lab_ledger().tx, 0));
	/* The bytes in front are nobody's again. */
	cr_expect(eq(int, xmb_multibuf_claim_prefix(&rest, 100), 0));
	cr_expect(lab_is_made(&rest, 900, 9));
	lab_send(right, &rest, 1);
	cr_expect(ge(sz, tap_recv(rtap, (uint8_t[100]){ 0 }, 100, WAIT_MS),
		     100));
	cr_expect(tap_recv_made(rtap, 900, 9));
	lab_finish();
}

Test(xsk_tx, packets_shorter_than_a_header_do_not_stop_those_behind_them)
{
	set_up(1500, 2048);
	for (uint32_t len = 1; len < 14; len++) {
		struct xmb_multibuf mbs[2] = { lab_packet(len, 1),
					       lab_packet(64, len) };

		lab_send(right, mbs, 2);
		cr_assert(tap_recv_made(rtap, 64, len), "%u", len);
	}
	cr_expect(eq(i64, lab_ledger().free + lab_ledger().fill, 2048));
	lab_finish();
}
