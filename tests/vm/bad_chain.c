/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * What a kernel does with a chain that has a bad fragment, which lib/xsk never
 * posts: so it says why all of a chain is looked at before any of it is posted,
 * and that what a kernel loses so is found and given back.
 */
#include "vm_lab.h"

#include "base/clock.h"

#include <unistd.h>

enum { LEN = 100, CHUNK_CNT = 3, TURNS = 10 };

#define QUIET_NS (2 * XMB_NS_PER_S)

TestSuite(bad_chain, .init = vm_setup, .timeout = 300);

static void post_raw(struct xmb_xsk *xsk, uint64_t addr, uint32_t options)
{
	struct xdp_desc *desc =
		xsk_ring_prod__tx_desc(&xsk->tx, xsk->tx.cached_prod++);

	*desc = (struct xdp_desc){ .addr = addr,
				   .len = LEN,
				   .options = options };
}

static uint64_t addr_of(const struct xmb_multibuf *mb)
{
	return (uint64_t)((uint8_t *)xmb_chunk_data(&mb->c[0]) -
			  lab.umem->area);
}

/*
 * Count how often each of the addresses completes: until so many came, and half
 * a second for more of them.
 */
static void count_back(struct xmb_xsk *xsk, const uint64_t *addrs, int *back,
		       int cnt, int want)
{
	uint64_t start_ns = xmb_clock_ns();
	uint32_t idx;

	for (;;) {
		uint64_t addr, ns = xmb_clock_ns() - start_ns;

		if (ns > (want > 0 ? WAIT_MS : 500) * XMB_NS_PER_MS)
			return;

		xmb_xsk_kick(xsk);
		if (xsk_ring_cons__peek(&xsk->comp, 1, &idx) == 0)
			continue;
		addr = *xsk_ring_cons__comp_addr(&xsk->comp, idx);
		for (int i = 0; i < cnt; i++)
			back[i] += addr == addrs[i];
		want--;
		xsk_ring_cons__release(&xsk->comp, 1);
	}
}

Test(bad_chain, linux_6_12_leaks_its_good_part_and_7_gives_all_back)
{
	struct xmb_xsk_opts copy = { .bind = XMB_XSK_COPY };
	struct xmb_xsk *left = vm_open("left", &copy);
	uint64_t addrs[3] = { 0, UINT64_C(1) << 40, 0 };
	int back[3] = { 0 }, tap = tap_open("ltap");
	struct xmb_multibuf mbs[2];
	uint8_t packet[PACKET_MAX];
	bool leaks = vm_is("6.12");

	cr_assert(xmb_xsk_mode(left).is_sg);
	for (uint32_t i = 0; i < 2; i++)
		mbs[i] = lab_packet(LEN, i);
	addrs[0] = addr_of(&mbs[0]);
	addrs[2] = addr_of(&mbs[1]);
	post_raw(left, addrs[0], XDP_PKT_CONTD);
	post_raw(left, addrs[1], XDP_PKT_CONTD);
	post_raw(left, addrs[2], 0);
	xsk_ring_prod__submit(&left->tx, 3);
	count_back(left, addrs, back, 3, leaks ? 1 : 3);

	cr_expect(eq(int, back[0], !leaks));
	cr_expect(eq(int, back[1], !leaks));
	cr_expect(eq(int, back[2], 1));
	/* What follows the bad fragment, as a packet of its own. */
	cr_expect(eq(sz, tap_recv(tap, packet, sizeof(packet), 300),
		     leaks ? LEN : 0));
	xmb_multibuf_release_bulk(mbs, 2, &lab.cache);
	lab_finish();
}

/* A packet in three frames. */
static struct xmb_multibuf three(uint32_t tag)
{
	struct xmb_multibuf mb = lab_packet(LEN, tag);

	for (int i = 1; i < CHUNK_CNT; i++) {
		struct xmb_multibuf more = lab_packet(LEN, tag + (uint32_t)i);

		cr_assert(eq(int, xmb_multibuf_append(&mb, &more, &lab.cache),
			     0));
	}
	cr_assert(eq(u32, mb.cnt, CHUNK_CNT));
	return mb;
}

/*
 * Post a good chain, and make its middle bad before the kernel looks: the
 * length is not what the ledger goes by.
 */
static void post_spoilt(struct xmb_xsk *xsk, uint32_t tag)
{
	uint32_t at = *xsk->tx.producer;
	struct xmb_multibuf mb = three(tag);

	cr_assert(eq(u32, xmb_xsk_send(xsk, &lab.cache, &mb, 1), 1));
	xsk_ring_prod__tx_desc(&xsk->tx, at + 1)->len = 0;
	for (int i = 0; i < 100 && xmb_xsk_tx_waiting(xsk); i++)
		xmb_xsk_kick(xsk);
	cr_assert(eq(u32, xmb_xsk_tx_waiting(xsk), 0));
}

/* Ask as a program does that has nothing to send; how many came back. */
static int reconcile(struct xmb_xsk *xsk)
{
	uint64_t end_ns = xmb_clock_ns() + WAIT_MS * XMB_NS_PER_MS;
	int got;

	do {
		got = xmb_xsk_reconcile(xsk, &lab.cache, xmb_clock_ns(),
					QUIET_NS);
		usleep(10000);
	} while (got == -EAGAIN && xmb_clock_ns() < end_ns);
	return got;
}

static void expect_sends(struct xmb_xsk *xsk, int tap)
{
	uint8_t packet[PACKET_MAX];

	while (tap_recv(tap, packet, sizeof(packet), 300))
		;
	for (uint32_t tag = 0; tag < 4 * VM_BURST; tag += VM_BURST)
		vm_expect_tx(xsk, tap, LEN, tag, VM_BURST);
}

Test(bad_chain, what_linux_6_12_leaks_is_found_and_comes_home)
{
	struct xmb_xsk_opts copy = { .bind = XMB_XSK_COPY };
	struct xmb_xsk *left = vm_open("left", &copy);
	uint32_t leak_cnt = vm_is("6.12") ? CHUNK_CNT - 1 : 0;
	uint32_t free_cnt = lab_free_cnt();
	int tap = tap_open("ltap");

	for (uint32_t turn = 0; turn < TURNS; turn++)
		post_spoilt(left, turn);
	cr_expect(eq(int, reconcile(left), (int)(TURNS * leak_cnt)));
	expect_counter(left, XMB_XSK_TX_LEAKED, TURNS * leak_cnt);
	expect_counter(left, XMB_XSK_TX_COMPLETED,
		       TURNS * (CHUNK_CNT - leak_cnt));
	expect_counter(left, XMB_XSK_COMP_UNKNOWN, 0);
	cr_expect(eq(u32, xmb_xsk_tx_inflight(left), 0));
	cr_expect(eq(i64, lab_ledger().tx, 0));
	cr_expect(eq(u32, lab_free_cnt(), free_cnt));
	cr_expect(eq(int, reconcile(left), 0));
	/* Those frames go out again, whole. */
	expect_sends(left, tap);
	expect_counter(left, XMB_XSK_COMP_UNKNOWN, 0);
	lab_finish();
}

/* Nor is anything lost of what nobody asked for before the close. */
Test(bad_chain, what_was_leaked_comes_home_when_the_socket_closes)
{
	struct xmb_xsk_opts copy = { .bind = XMB_XSK_COPY };
	struct xmb_xsk *left = vm_open("left", &copy);

	for (uint32_t turn = 0; turn < TURNS; turn++)
		post_spoilt(left, turn);
	await((xmb_xsk_reap(left, &lab.cache), lab_ledger().tx) <=
	      (vm_is("6.12") ? 2 * TURNS : 0));
	cr_expect(eq(i64, lab_ledger().tx, vm_is("6.12") ? 2 * TURNS : 0));
	expect_counter(left, XMB_XSK_TX_LEAKED, 0);
	lab_close(left);
	cr_expect(eq(i64, lab_ledger().free, VM_FRAMES));
	lab_finish();
}
