/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * lib/xsk, a burst of twice the ring after a second of silence, in lock step:
 * so many packets come before the program wakes, then so many for each of its
 * turns, and time is what the test says.  With a level that follows the traffic
 * no more are lost than with a fill ring that is always full.
 */
#include "xsk_lab.h"

#include "base/clock.h"

#include <unistd.h>

enum {
	RING = 512,
	BURST = 2 * RING,
	BASE = 64,
	TURN = 64,	 /* packets that a turn takes at most */
	PACKET_NS = 250, /* 4 million a second */
	QUIET_TURNS = 40,
};

TestSuite(xsk_burst, .init = xsk_lab_setup, .timeout = 300);

static struct xmb_xsk *left;
static int ltap;
static uint64_t now_ns, sent_cnt;

static uint64_t lost_cnt(void)
{
	return lab_counter(left, XMB_XSK_RX_DROPPED) +
	       lab_counter(left, XMB_XSK_RX_RING_FULL);
}

/* Send them and see where each has gone: into the RX ring, or lost. */
static void packets_come(uint32_t cnt)
{
	uint64_t end_ns = xmb_clock_ns() + WAIT_MS * XMB_NS_PER_MS;

	now_ns += (uint64_t)cnt * PACKET_NS;
	while (cnt-- > 0) {
		tap_send_made(ltap, 60, 0);
		sent_cnt++;
		/* The device itself holds 256 of them at most. */
		while (cnt % TURN == 0 &&
		       *left->rx.producer + lost_cnt() < sent_cnt)
			cr_assert(lt(u64, xmb_clock_ns(), end_ns));
	}
}

/* As a worker's turn that drops all: receive, refill. */
static void turn(void)
{
	struct xmb_multibuf mbs[TURN] = { 0 };
	uint32_t cnt = xmb_xsk_recv(left, &lab.cache, mbs, TURN);

	xmb_multibuf_release_bulk(mbs, cnt, &lab.cache);
	xmb_xsk_refill(left, &lab.cache, now_ns);
}

/* Single packets, until the level is at its lowest; then a second of sleep. */
static void calm_down_and_sleep(void)
{
	for (int i = 0; i < QUIET_TURNS; i++) {
		packets_come(1);
		turn();
		turn();
		now_ns += XMB_NS_PER_MS;
	}
	xmb_xsk_refill_idle(left, &lab.cache);
	now_ns += XMB_NS_PER_S;
}

static uint64_t lost_of_burst(uint32_t fill_base, uint32_t asleep,
			      uint32_t a_turn)
{
	struct xmb_xsk_opts opts = lab_opts("left");
	uint64_t lost;

	lab_frames(2048, 4 * RING);
	opts.ring_cnt = RING;
	opts.fill_base = fill_base;
	left = lab_open(&opts);
	lab_steer(left);
	sent_cnt = 0;
	calm_down_and_sleep();
	cr_expect(eq(u64, lost_cnt(), 0));
	cr_expect(eq(u32, xmb_xsk_fill_level(left), fill_base));
	cr_expect(eq(i64, lab_ledger().fill, RING));

	packets_come(asleep);
	for (uint32_t cnt = asleep; cnt < BURST; cnt += a_turn) {
		turn();
		packets_come(xmb_min_u32(a_turn, BURST - cnt));
	}
	lost = lost_cnt();
	lab_finish();
	return lost;
}

/* n came before the program woke, then m for each of its turns. */
static void expect_no_more_lost(uint32_t n, uint32_t m)
{
	uint64_t full = lost_of_burst(RING, n, m);

	cr_expect(le(u64, lost_of_burst(BASE, n, m), full), "%u, then %u", n,
		  m);
	cr_expect(le(u64, full, RING));
	/* Who keeps up loses only what came before. */
	if (m <= TURN)
		cr_expect(eq(u64, full, n > RING ? n - RING : 0));
}

Test(xsk_burst, after_a_silence_loses_no_more_than_with_a_full_fill_ring)
{
	static const uint32_t came[] = { 0,   64,   200,      300,
					 440, RING, RING + 1, BURST };

	lab_wire(1, 1500);
	ltap = tap_open("ltap");
	for (size_t i = 0; i < sizeof(came) / sizeof(*came); i++)
		for (uint32_t m = TURN / 4; m <= RING; m *= 2)
			expect_no_more_lost(came[i], m);
	close(ltap);
}
