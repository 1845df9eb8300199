/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * lib/xsk, receiving: chains over several reads, a pool that runs dry, the fill
 * level, and a kernel that writes nonsense into the RX ring.
 */
#include "xsk_lab.h"

#include "base/clock.h"

#include <unistd.h>

enum { MANY = 512 };

TestSuite(xsk_rx, .init = xsk_lab_setup, .timeout = 300);

static struct xmb_xsk *left;
static int ltap;

static void set_up(uint32_t mtu, const struct xmb_xsk_opts *change)
{
	struct xmb_xsk_opts opts;

	lab_wire(1, mtu);
	lab_frames(2048, 2048);
	ltap = tap_open("ltap");
	opts = lab_opts("left");
	if (change) {
		opts.ring_cnt = change->ring_cnt;
		opts.fill_base = change->fill_base;
		opts.fill_max = change->fill_max;
		opts.kick = change->kick;
		opts.kick_arg = change->kick_arg;
	}
	left = lab_open(&opts);
	lab_steer(left);
}

/* The next packet must be there and be this one. */
static void expect_packet(size_t len, uint32_t tag)
{
	struct xmb_multibuf mb = { 0 };

	cr_assert(eq(u32, lab_recv(left, &mb, 1), 1), "tag %u", tag);
	cr_expect(lab_is_made(&mb, len, tag), "tag %u", tag);
	xmb_multibuf_release(&mb, &lab.cache);
}

static void wait_for_rx(uint32_t buffer_cnt)
{
	uint64_t end_ns = xmb_clock_ns() + WAIT_MS * XMB_NS_PER_MS;

	while (*left->rx.producer - *left->rx.consumer < buffer_cnt)
		cr_assert(lt(u64, xmb_clock_ns(), end_ns));
}

Test(xsk_rx, packets_and_bytes_are_counted)
{
	set_up(1500, NULL);
	cr_expect(not(xmb_xsk_has_rx(left)));
	tap_send_made(ltap, 60, 1);
	tap_send_made(ltap, 1000, 2);
	wait_for_rx(2);
	cr_expect(xmb_xsk_has_rx(left));
	cr_expect(eq(i64, lab_ledger().rx, 2));
	expect_packet(60, 1);
	expect_packet(1000, 2);
	cr_expect(not(xmb_xsk_has_rx(left)));
	cr_expect(eq(i64, lab_ledger().rx, 0));
	expect_counter(left, XMB_XSK_RX_PACKETS, 2);
	expect_counter(left, XMB_XSK_RX_BYTES, 1060);
	expect_counter(left, XMB_XSK_RX_CHAINS, 0);
	lab_finish();
}

Test(xsk_rx, a_received_packet_can_be_given_a_header_in_place)
{
	struct xmb_multibuf mb = { 0 };

	set_up(1500, NULL);
	tap_send_made(ltap, 300, 1);
	cr_assert(eq(u32, lab_recv(left, &mb, 1), 1));
	cr_expect(eq(int, xmb_multibuf_claim_prefix(&mb, 256), 0));
	cr_expect(eq(int, xmb_multibuf_claim_prefix(&mb, 1), -ERANGE));
	cr_expect(eq(u32, xmb_multibuf_chunk_cnt(&mb), 1));
	xmb_multibuf_release(&mb, &lab.cache);
	lab_finish();
}

Test(xsk_rx, a_chain_that_spans_reads_of_the_ring_arrives_whole)
{
	struct xmb_multibuf mbs[2] = { 0 };

	set_up(9000, NULL);
	tap_send_made(ltap, 9014, 3); /* six buffers */
	tap_send_made(ltap, 60, 4);
	wait_for_rx(7);
	for (int i = 0; i < 5; i++) {
		cr_expect(eq(u32, xmb_xsk_recv(left, &lab.cache, mbs, 1), 0));
		cr_expect(eq(i64, lab_ledger().app, i + 1));
	}
	cr_expect(eq(u32, xmb_xsk_recv(left, &lab.cache, mbs, 2), 2));
	cr_expect(lab_is_made(&mbs[0], 9014, 3));
	cr_expect(lab_is_made(&mbs[1], 60, 4));
	expect_counter(left, XMB_XSK_RX_CHAINS, 1);
	expect_counter(left, XMB_XSK_RX_PACKETS, 2);
	expect_counter(left, XMB_XSK_RX_BYTES, 9074);
	xmb_multibuf_release_bulk(mbs, 2, &lab.cache);
	lab_finish();
}

Test(xsk_rx, half_a_chain_goes_home_when_the_socket_closes)
{
	struct xmb_multibuf mb = { 0 };

	set_up(9000, NULL);
	tap_send_made(ltap, 9014, 3);
	wait_for_rx(6);
	cr_expect(eq(u32, xmb_xsk_recv(left, &lab.cache, &mb, 1), 0));
	lab_finish();
}

static uint32_t hoard[4096];

/* Take spill blocks until none is left; returns how many. */
static uint32_t hoard_spills(void)
{
	uint32_t cnt = 0, spill;

	while ((spill = xmb_cache_spill_get(&lab.cache)) != XMB_SPILL_NONE)
		hoard[cnt++] = spill;
	return cnt;
}

Test(xsk_rx, a_chain_without_a_spill_block_is_a_drop_with_a_name)
{
	struct xmb_multibuf mb = { 0 };
	uint32_t cnt;

	set_up(9000, NULL);
	cnt = hoard_spills();
	tap_send_made(ltap, 9014, 1);
	wait_for_rx(6);
	cr_expect(eq(u32, xmb_xsk_recv(left, &lab.cache, &mb, 6), 0));
	expect_counter(left, XMB_XSK_RX_NO_SPILL, 1);
	expect_counter(left, XMB_XSK_RX_PACKETS, 0);
	cr_expect(eq(i64, lab_ledger().app, 0));
	/* Three buffers need no block. */
	tap_send_made(ltap, 3 * 1792, 2);
	expect_packet(3 * 1792, 2);
	while (cnt)
		xmb_cache_spill_put(&lab.cache, &lab.umem->pool.domain,
				    hoard[--cnt]);
	tap_send_made(ltap, 9014, 3);
	expect_packet(9014, 3);
	lab_finish();
}

/* Allocate everything that is free; returns how many frames. */
static uint32_t take_all(struct xmb_chunk *chunks)
{
	uint32_t cnt = 0;

	while (xmb_chunk_alloc(&lab.cache, &chunks[cnt]) == 0)
		cnt++;
	return cnt;
}

Test(xsk_rx, reception_resumes_after_the_pool_ran_empty)
{
	const struct xmb_xsk_opts opts = { .ring_cnt = 64, .fill_base = 64 };
	static struct xmb_chunk all[2048];
	struct xmb_multibuf mbs[128] = { 0 };
	uint32_t cnt, got = 0;

	set_up(1500, &opts);
	cnt = take_all(all);
	for (uint32_t i = 0; i < 64 + 20; i++) {
		tap_send_made(ltap, 100, i);
		usleep(100);
		got += xmb_xsk_recv(left, &lab.cache, mbs + got, 64);
		xmb_xsk_refill(left, &lab.cache, xmb_clock_ns());
	}
	await((got += xmb_xsk_recv(left, &lab.cache, mbs + got, 64)) == 64);
	await(lab_counter(left, XMB_XSK_RX_DROPPED) == 20);
	cr_expect(eq(u32, got, 64));
	expect_counter(left, XMB_XSK_RX_DROPPED, 20);
	cr_expect(gt(u64, lab_counter(left, XMB_XSK_RX_FILL_EMPTY), 0));
	cr_expect(eq(i64, lab_ledger().fill, 0));

	xmb_chunk_release_bulk(all, cnt, &lab.cache);
	xmb_multibuf_release_bulk(mbs, got, &lab.cache);
	xmb_xsk_refill(left, &lab.cache, xmb_clock_ns());
	cr_expect(eq(i64, lab_ledger().fill, 64));
	for (uint32_t i = 0; i < 200; i++) {
		tap_send_made(ltap, 100, 1000 + i);
		expect_packet(100, 1000 + i);
	}
	expect_counter(left, XMB_XSK_RX_DROPPED, 20);
	lab_finish();
}

Test(xsk_rx, the_reserve_is_for_fill_rings_alone)
{
	static struct xmb_chunk all[2048];
	uint32_t cnt;

	set_up(1500, NULL);
	xmb_pool_set_reserve(&lab.umem->pool, 300);
	cnt = take_all(all);
	cr_expect(ge(u32, lab_free_cnt(), 300));
	for (uint32_t i = 0; i < 1000; i++) {
		tap_send_made(ltap, 100, i);
		expect_packet(100, i);
	}
	xmb_chunk_release_bulk(all, cnt, &lab.cache);
	lab_finish();
}

Test(xsk_rx, the_fill_level_begins_at_base_and_idle_fills_to_max)
{
	const struct xmb_xsk_opts opts = { .ring_cnt = 512,
					   .fill_base = 32,
					   .fill_max = 200 };

	set_up(1500, &opts);
	cr_expect(eq(u32, xmb_xsk_fill_level(left), 32));
	cr_expect(eq(i64, lab_ledger().fill, 32));
	xmb_xsk_refill(left, &lab.cache, xmb_clock_ns());
	cr_expect(eq(i64, lab_ledger().fill, 32));
	xmb_xsk_refill_idle(left, &lab.cache);
	cr_expect(ge(i64, lab_ledger().fill, 200 - 16));
	cr_expect(le(i64, lab_ledger().fill, 200));
	cr_expect(eq(u32, xmb_xsk_fill_level(left), 32));
	lab_finish();
}

Test(xsk_rx, the_fill_level_follows_packets_that_pile_up_to_its_max)
{
	const struct xmb_xsk_opts opts = { .ring_cnt = 512,
					   .fill_base = 32,
					   .fill_max = 128 };
	struct xmb_multibuf mbs[MANY];
	uint32_t tag = 0;

	set_up(1500, &opts);
	for (int round = 0; round < 8; round++) {
		uint32_t cnt = xmb_xsk_fill_level(left);

		for (uint32_t i = 0; i < cnt; i++)
			tap_send_made(ltap, 100, tag++);
		wait_for_rx(cnt);
		xmb_xsk_refill(left, &lab.cache, xmb_clock_ns());
		cr_assert(eq(u32, lab_recv(left, mbs, cnt), cnt));
		xmb_multibuf_release_bulk(mbs, cnt, &lab.cache);
		/* An empty ring says that the program keeps up. */
		cr_assert(eq(u32, xmb_xsk_recv(left, &lab.cache, mbs, 1), 0));
		xmb_xsk_refill(left, &lab.cache, xmb_clock_ns());
	}
	cr_expect(ge(u64, lab_counter(left, XMB_XSK_FILL_RAISED), 2));
	cr_expect(le(u32, xmb_xsk_fill_level(left), 128));
	expect_counter(left, XMB_XSK_RX_DROPPED, 0);
	expect_counter(left, XMB_XSK_RX_PACKETS, tag);
	lab_finish();
}

static struct {
	int fd, rx_cnt, tx_cnt;
} kicked;

static int note_kick(void *arg, int fd, bool is_tx)
{
	cr_expect(eq(ptr, arg, &kicked));
	kicked.fd = fd;
	*(is_tx ? &kicked.tx_cnt : &kicked.rx_cnt) += 1;
	return 0;
}

Test(xsk_rx, a_fill_ring_that_asks_for_it_is_kicked_until_it_does_not)
{
	const struct xmb_xsk_opts opts = { .ring_cnt = 64,
					   .fill_base = 64,
					   .kick = note_kick,
					   .kick_arg = &kicked };
	struct xmb_multibuf mbs[32];

	set_up(1500, &opts);
	cr_expect(eq(int, kicked.rx_cnt, 0));
	for (uint32_t i = 0; i < 32; i++)
		tap_send_made(ltap, 100, i);
	wait_for_rx(32);
	cr_assert(eq(u32, xmb_xsk_recv(left, &lab.cache, mbs, 32), 32));
	/* In copy mode nobody asks, and nobody looks. */
	*left->fill.flags = XDP_RING_NEED_WAKEUP;
	xmb_xsk_refill(left, &lab.cache, xmb_clock_ns());
	cr_expect(eq(int, kicked.rx_cnt, 0));
	/* As a driver in zero copy that ran dry. */
	left->mode.is_zc = true;
	*left->fill.flags = XDP_RING_NEED_WAKEUP;
	xmb_xsk_refill(left, &lab.cache, xmb_clock_ns());
	cr_expect(eq(int, kicked.rx_cnt, 1));
	cr_expect(eq(int, kicked.tx_cnt, 0));
	cr_expect(eq(int, kicked.fd, xmb_xsk_fd(left)));
	expect_counter(left, XMB_XSK_RX_KICKS, 1);
	/* It may have asked after the last fill: as long as it asks. */
	xmb_xsk_refill(left, &lab.cache, xmb_clock_ns());
	cr_expect(eq(int, kicked.rx_cnt, 2));
	*left->fill.flags = 0;
	xmb_xsk_refill(left, &lab.cache, xmb_clock_ns());
	cr_expect(eq(int, kicked.rx_cnt, 2));
	xmb_multibuf_release_bulk(mbs, 32, &lab.cache);
	lab_finish();
}

/* From here on the test is the kernel: nobody else writes the rings. */

static void forge_rx(uint64_t addr, uint32_t len, uint32_t options)
{
	uint32_t at = *left->rx.producer;
	struct xdp_desc *ring = left->rx.ring;

	ring[at & left->rx.mask] = (struct xdp_desc){ .addr = addr,
						      .len = len,
						      .options = options };
	__atomic_store_n(left->rx.producer, at + 1, __ATOMIC_RELEASE);
}

/* The address of the next frame in the fill ring. */
static uint64_t filled(void)
{
	const uint64_t *ring = left->fill.ring;

	return ring[*left->fill.consumer & left->fill.mask];
}

/* The same, and it is the kernel's. */
static uint64_t take_filled(void)
{
	uint64_t addr = filled();

	cr_assert(ne(u32, *left->fill.consumer, *left->fill.producer));
	__atomic_store_n(left->fill.consumer, *left->fill.consumer + 1,
			 __ATOMIC_RELEASE);
	return addr;
}

static void forge_setup(void)
{
	lab_plain();
	left = lab_open_dev("left");
}

/* Forge one descriptor: it is counted, and nothing else changes. */
static void expect_ignored(uint64_t addr, uint32_t len)
{
	uint64_t bad = lab_counter(left, XMB_XSK_RX_BAD_DESC);
	uint64_t broken = lab_counter(left, XMB_XSK_RX_BROKEN);
	uint32_t free_cnt = lab_free_cnt();
	struct xmb_multibuf mb = { 0 };
	struct xmb_ledger ledger;

	forge_rx(addr, len, 0);
	cr_expect(eq(u32, xmb_xsk_recv(left, &lab.cache, &mb, 1), 0), "%lx",
		  addr);
	cr_expect(xmb_multibuf_is_empty(&mb));
	expect_counter(left, XMB_XSK_RX_BAD_DESC, bad + 1);
	expect_counter(left, XMB_XSK_RX_BROKEN, broken + 1);
	cr_expect(eq(u32, lab_free_cnt(), free_cnt));
	ledger = lab_ledger();
	cr_expect(eq(i64, ledger.app, 0));
	cr_expect(eq(i64, ledger.fill + ledger.rx, 256));
}

Test(xsk_rx, addresses_outside_of_the_frames_are_counted_and_ignored)
{
	const uint64_t end = 2048 * 2048;

	forge_setup();
	expect_ignored(end, 60);
	expect_ignored(end + 256, 0);
	expect_ignored(UINT64_MAX, 60);
	expect_ignored(UINT64_MAX - 2047, 1);
	expect_ignored(UINT64_C(1) << 48 | filled(), 60);
	expect_ignored(UINT64_C(1) << 63, 60);
	lab_finish();
}

Test(xsk_rx, lengths_that_leave_the_frame_are_counted_and_ignored)
{
	forge_setup();
	expect_ignored(filled() + 256, 2048 - 256 + 1);
	expect_ignored(filled() + 2047, 2);
	expect_ignored(filled() + 256, UINT32_MAX);
	expect_ignored(filled(), UINT32_MAX - 2047);
	expect_ignored(filled() + 1, 2048);
	lab_finish();
}

Test(xsk_rx, frames_that_this_socket_has_not_filled_are_counted_and_ignored)
{
	struct xmb_xsk *right;
	uint32_t free_frame;
	struct xmb_chunk chunk = { 0 };

	forge_setup();
	cr_assert(eq(int, xmb_chunk_alloc(&lab.cache, &chunk), 0));
	free_frame = chunk.region;
	xmb_chunk_release(&chunk, &lab.cache);
	expect_ignored((uint64_t)free_frame * 2048 + 256, 60);

	/* Another socket's; its frames are still its own afterwards. */
	right = lab_open_dev("right");
	forge_rx(*(uint64_t *)right->fill.ring + 256, 60, 0);
	cr_expect(eq(u32, xmb_xsk_recv(left, &lab.cache,
				       &(struct xmb_multibuf){ 0 }, 1), 0));
	expect_counter(left, XMB_XSK_RX_BAD_DESC, 2);
	cr_expect(eq(i64, lab_ledger().fill, 512));
	lab_finish();
}

Test(xsk_rx, a_frame_that_is_delivered_twice_is_received_once)
{
	struct xmb_multibuf mbs[3] = { 0 };
	uint64_t addr;

	forge_setup();
	addr = filled() + 256;
	for (int i = 0; i < 3; i++)
		forge_rx(addr, 60 + (uint32_t)i, 0);
	cr_expect(eq(u32, xmb_xsk_recv(left, &lab.cache, mbs, 3), 1));
	cr_expect(eq(u32, mbs[0].len, 60));
	expect_counter(left, XMB_XSK_RX_BAD_DESC, 2);
	lab_ledger();
	xmb_multibuf_release(&mbs[0], &lab.cache);
	/* Nor when it is free again. */
	expect_counter(left, XMB_XSK_RX_PACKETS, 1);
	forge_rx(addr, 60, 0);
	cr_expect(eq(u32, xmb_xsk_recv(left, &lab.cache, mbs, 1), 0));
	expect_counter(left, XMB_XSK_RX_BAD_DESC, 3);
	lab_finish();
}

Test(xsk_rx, a_bad_buffer_spoils_its_chain_and_none_but_that)
{
	forge_setup();
	for (int bad = 0; bad < 4; bad++) {
		struct xmb_multibuf mbs[8] = { 0 };

		forge_rx(take_filled() + 256, 100, 0);
		for (int i = 0; i < 4; i++)
			forge_rx(i == bad ? UINT64_MAX - 4096 :
					    take_filled() + 256,
				 50, i < 3 ? XDP_PKT_CONTD : 0);
		forge_rx(take_filled() + 256, 200, 0);
		/* In two reads, so that the break must be remembered. */
		cr_expect(eq(u32, xmb_xsk_recv(left, &lab.cache, mbs, 3), 1));
		cr_expect(eq(u32, mbs[0].len, 100));
		cr_expect(eq(u32, xmb_xsk_recv(left, &lab.cache, mbs + 1, 3),
			     1));
		cr_expect(eq(u32, mbs[1].len, 200));
		expect_counter(left, XMB_XSK_RX_BAD_DESC, bad + 1);
		expect_counter(left, XMB_XSK_RX_BROKEN, bad + 1);
		expect_counter(left, XMB_XSK_RX_CHAINS, 0);
		xmb_multibuf_release_bulk(mbs, 2, &lab.cache);
		cr_expect(eq(i64, lab_ledger().app, 0));
	}
	lab_finish();
}

Test(xsk_rx, a_chain_of_several_bad_buffers_is_one_packet_lost)
{
	struct xmb_multibuf mb = { 0 };

	forge_setup();
	for (int i = 0; i < 3; i++)
		forge_rx(UINT64_MAX - 4096, 50, XDP_PKT_CONTD);
	forge_rx(take_filled() + 256, 50, XDP_PKT_CONTD);
	forge_rx(UINT64_MAX - 4096, 50, 0);
	cr_expect(eq(u32, xmb_xsk_recv(left, &lab.cache, &mb, 8), 0));
	expect_counter(left, XMB_XSK_RX_BAD_DESC, 4);
	expect_counter(left, XMB_XSK_RX_BROKEN, 1);
	cr_expect(eq(i64, lab_ledger().app, 0));
	lab_finish();
}

Test(xsk_rx, random_descriptors_lose_no_frame)
{
	struct xmb_multibuf mbs[64] = { 0 };
	uint64_t seed = 20260, got = 0;

	forge_setup();
	for (int i = 0; i < 20000; i++) {
		uint32_t len, n;
		bool is_good, has_more;

		seed = seed * UINT64_C(6364136223846793005) + 1442695040888963;
		is_good = seed >> 33 & 3 &&
			  *left->fill.consumer != *left->fill.producer;
		has_more = seed >> 60 < 4;
		len = seed >> 44 & (i % 100 ? 1023 : 4095);
		forge_rx(is_good ? take_filled() + 256 : seed >> 20, len,
			 has_more ? XDP_PKT_CONTD : 0);
		if (seed >> 59 & 1)
			continue;
		n = xmb_xsk_recv(left, &lab.cache, mbs, 64);
		for (uint32_t k = 0; k < n; k++)
			cr_assert(xmb_multibuf_check(&mbs[k]));
		xmb_multibuf_release_bulk(mbs, n, &lab.cache);
		xmb_xsk_refill(left, &lab.cache, xmb_clock_ns());
		got += n;
	}
	cr_expect(gt(u64, got, 5000));
	cr_expect(gt(u64, lab_counter(left, XMB_XSK_RX_BAD_DESC), 1000));
	lab_ledger();
	lab_finish();
}
