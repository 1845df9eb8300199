/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * lib/xsk, several sockets on one queue of a card in zero copy: the first's
 * rings feed them all, and bring home what any of them sent.
 */
#include "vm_lab.h"

#include "base/clock.h"

#include <pthread.h>
#include <sys/socket.h>
#include <unistd.h>

enum { ALL = 3, EACH = 300, ROUNDS = 3, RX_CNT = 1024 };

static struct xmb_xsk *socks[ALL];
static int tap;

static void set_up(void)
{
	struct xmb_xsk_opts opts = { .share_cnt = ALL - 1 };

	vm_setup();
	socks[0] = vm_open("left", &opts);
	opts = vm_opts("left");
	opts.share = socks[0];
	for (int i = 1; i < ALL; i++)
		socks[i] = lab_open(&opts);
	tap = tap_open("ltap");
}

TestSuite(share, .init = set_up, .timeout = 300);

static void steer(const struct xmb_xsk *xsk)
{
	cr_assert(eq(int, xmb_prog_steer(lab.progs[0], 0, xmb_xsk_fd(xsk)), 0));
}

/* The first cannot close before the others. */
static void finish(void)
{
	steer(socks[0]);
	for (int i = 1; i < ALL; i++)
		cr_expect(eq(int, xmb_xsk_close(socks[i], &lab.cache), 0));
	lab_finish();
}

Test(share, all_of_them_have_zero_copy)
{
	for (int i = 0; i < ALL; i++)
		cr_expect(xmb_xsk_mode(socks[i]).is_zc, "%d", i);
	finish();
}

static void post(struct xmb_xsk *xsk, uint32_t cnt, uint32_t tag)
{
	for (uint32_t i = 0; i < cnt; i++) {
		struct xmb_multibuf mb = lab_packet(100, tag + i);

		cr_assert(eq(u32, xmb_xsk_send(xsk, &lab.cache, &mb, 1), 1));
	}
}

static uint32_t inflight(void)
{
	uint32_t cnt = 0;

	for (int i = 0; i < ALL; i++)
		cnt += xmb_xsk_tx_inflight(socks[i]);
	return cnt;
}

static void send_all(void)
{
	uint64_t end_ns = xmb_clock_ns() + WAIT_MS * XMB_NS_PER_MS;

	while (inflight() && xmb_clock_ns() < end_ns) {
		for (int i = 0; i < ALL; i++)
			xmb_xsk_kick(socks[i]);
		xmb_xsk_reap(socks[0], &lab.cache);
	}
	cr_assert(eq(u32, inflight(), 0));
}

/* Each once; in bursts these cards swap neighbours, of one sender too. */
static void expect_all_arrive(void)
{
	bool seen[ALL * EACH] = { false };

	for (uint32_t i = 0; i < ALL * EACH; i++) {
		uint8_t got[PACKET_MAX], want[100];
		uint32_t tag;

		cr_assert(eq(sz, tap_recv(tap, got, sizeof(got), WAIT_MS),
			     sizeof(want)));
		memcpy(&tag, got + TAG_OFF, sizeof(tag));
		cr_assert(lt(u32, tag, ALL * EACH));
		cr_assert(not(seen[tag]), "%u twice", tag);
		seen[tag] = true;
		packet_make(want, sizeof(want), tag);
		cr_assert(eq(int, memcmp(got, want, sizeof(want)), 0));
	}
}

Test(share, what_each_sends_comes_home_by_the_first)
{
	for (int round = 0; round < ROUNDS; round++) {
		for (uint32_t i = 0; i < ALL; i++)
			post(socks[i], EACH, i * EACH);
		cr_expect(eq(i64, lab_ledger().tx, ALL * EACH));
		send_all();
		expect_all_arrive();
	}
	for (int i = 0; i < ALL; i++) {
		expect_counter(socks[i], XMB_XSK_TX_COMPLETED, ROUNDS * EACH);
		expect_counter(socks[i], XMB_XSK_COMP_UNKNOWN, 0);
	}
	finish();
}

/* Receive cnt by xsk, which the first feeds. */
static void receive(struct xmb_xsk *xsk, uint32_t cnt)
{
	for (uint32_t i = 0; i < cnt; i++) {
		uint64_t end_ns = xmb_clock_ns() + WAIT_MS * XMB_NS_PER_MS;
		struct xmb_multibuf mb = { 0 };
		uint32_t got = 0;

		tap_send_made(tap, 100, i);
		while (got == 0 && xmb_clock_ns() < end_ns) {
			xmb_xsk_refill(socks[0], &lab.cache, xmb_clock_ns());
			got = xmb_xsk_recv(xsk, &lab.cache, &mb, 1);
		}
		cr_assert(eq(u32, got, 1), "%u", i);
		cr_assert(lab_is_made(&mb, 100, i));
		xmb_multibuf_release(&mb, &lab.cache);
	}
}

Test(share, the_xskmap_says_who_receives_and_the_first_feeds_them_all)
{
	/* Each more than the fill ring, and back to the first. */
	for (int i = 0; i <= ALL; i++) {
		steer(socks[i % ALL]);
		receive(socks[i % ALL], RX_CNT);
	}
	expect_counter(socks[0], XMB_XSK_RX_PACKETS, 2 * RX_CNT);
	expect_counter(socks[1], XMB_XSK_RX_PACKETS, RX_CNT);
	expect_counter(socks[2], XMB_XSK_RX_PACKETS, RX_CNT);
	lab_ledger();
	finish();
}

static atomic_bool is_over;

static void *flood(void *arg)
{
	uint8_t packet[60];

	(void)arg;
	packet_make(packet, sizeof(packet), 1);
	while (!atomic_load(&is_over))
		if (send(tap, packet, sizeof(packet), 0) < 0)
			usleep(1000);
	return NULL;
}

/* Receive by one of them and send by all, for a while. */
static void carry(struct xmb_xsk *by, uint64_t ns)
{
	uint64_t end_ns = xmb_clock_ns() + ns;
	struct xmb_multibuf mbs[VM_BURST];

	for (uint32_t n = 0; xmb_clock_ns() < end_ns; n++) {
		struct xmb_xsk *out = socks[n % ALL];
		uint32_t got, done;

		if (out->is_closed)
			continue;
		xmb_xsk_reap(socks[0], &lab.cache);
		xmb_xsk_refill(socks[0], &lab.cache, xmb_clock_ns());
		got = xmb_xsk_recv(by, &lab.cache, mbs, VM_BURST);
		done = xmb_xsk_send(out, &lab.cache, mbs, got);
		xmb_xsk_drop_full(out, &lab.cache, mbs + done, got - done);
		xmb_xsk_kick(out);
	}
}

/* Until it has both received and sent; a card may take its time. */
static void carry_until_seen(struct xmb_xsk *xsk)
{
	uint64_t end_ns = xmb_clock_ns() + WAIT_MS * XMB_NS_PER_MS;

	do {
		carry(xsk, 200 * XMB_NS_PER_MS);
	} while ((lab_counter(xsk, XMB_XSK_RX_PACKETS) == 0 ||
		  lab_counter(xsk, XMB_XSK_TX_PACKETS) == 0) &&
		 xmb_clock_ns() < end_ns);
	cr_expect(gt(u64, lab_counter(xsk, XMB_XSK_RX_PACKETS), 0));
	cr_expect(gt(u64, lab_counter(xsk, XMB_XSK_TX_PACKETS), 0));
}

/* Of what was in TX, what the card had not taken when they closed. */
static int64_t untaken(void)
{
	int64_t cnt = 0;

	for (int i = 1; i < ALL; i++)
		cnt += (int64_t)lab_counter(socks[i], XMB_XSK_TX_UNSENT);
	return cnt;
}

/*
 * What closed siblings had in TX comes home by the first, but for what was not
 * taken from their rings: that is held until the queue goes.
 */
static void carry_until_home(void)
{
	uint64_t end_ns = xmb_clock_ns() + WAIT_MS * XMB_NS_PER_MS;

	do {
		struct xmb_multibuf mb = lab_packet(60, 1);

		/* A card may look at what it sent only when it sends again. */
		if (xmb_xsk_send(socks[0], &lab.cache, &mb, 1) == 0)
			xmb_xsk_drop_full(socks[0], &lab.cache, &mb, 1);
		xmb_xsk_kick(socks[0]);
		carry(socks[0], 50 * XMB_NS_PER_MS);
	} while (lab_ledger().held > untaken() && xmb_clock_ns() < end_ns);
	cr_expect(le(i64, lab_ledger().held, untaken()));
}

Test(share, one_that_closes_under_load_takes_no_frame_with_it)
{
	pthread_t thread;

	cr_assert(eq(int, pthread_create(&thread, NULL, flood, NULL), 0));
	for (int i = 1; i < ALL; i++) {
		steer(socks[i]);
		carry_until_seen(socks[i]);
		steer(socks[0]);
		cr_expect(eq(int, xmb_xsk_close(socks[i], &lab.cache), 0));
		lab_ledger();
		carry(socks[0], 200 * XMB_NS_PER_MS);
	}
	atomic_store(&is_over, true);
	pthread_join(thread, NULL);
	carry_until_home();
	expect_counter(socks[0], XMB_XSK_COMP_UNKNOWN, 0);
	finish();
}
