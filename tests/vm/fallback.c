/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * lib/xsk on kernels whose drivers have no zero copy, and on 6.1, which has no
 * packets of several buffers either: what is got instead, and what is said.
 */
#include "vm_lab.h"

enum { MANY = 1024, KICK_CNT = 200 };

TestSuite(fallback, .init = vm_setup, .timeout = 300);

Test(fallback, an_auto_bind_gives_copy_mode_and_says_so)
{
	struct xmb_xsk *left = vm_open("left", NULL);
	int tap = tap_open("ltap");

	cr_expect(not(xmb_xsk_mode(left).is_zc));
	cr_expect(eq(int, xmb_xsk_mode(left).is_sg, !vm_is("6.1")));
	vm_exchange(left, tap, 60, MANY);
	vm_exchange(left, tap, 1514, MANY);
	for (uint32_t tag = 0; tag < MANY; tag += VM_BURST)
		vm_expect_tx(left, tap, 1514, tag, VM_BURST);
	lab_finish();
}

/* These kernels move 32 at a call, and show it late. */
Test(fallback, one_kick_sends_a_whole_ring)
{
	struct xmb_xsk_opts copy = { .bind = XMB_XSK_COPY };
	struct xmb_xsk *left = vm_open("left", &copy);
	struct xmb_multibuf mbs[KICK_CNT];
	int tap = tap_open("ltap");

	for (uint32_t i = 0; i < KICK_CNT; i++)
		mbs[i] = lab_packet(300, i);
	cr_assert(eq(u32, xmb_xsk_send(left, &lab.cache, mbs, KICK_CNT),
		     KICK_CNT));
	cr_expect(eq(int, xmb_xsk_kick(left), 0));
	cr_expect(eq(u32, xmb_xsk_tx_waiting(left), 0));
	expect_counter(left, XMB_XSK_TX_KICKS, KICK_CNT / 32 + 1);
	expect_counter(left, XMB_XSK_TX_AGAIN, 0);
	for (uint32_t i = 0; i < KICK_CNT; i++)
		cr_assert(tap_recv_made(tap, 300, i), "%u", i);
	lab_send(left, NULL, 0);
	lab_finish();
}

Test(fallback, zero_copy_that_is_asked_for_by_name_is_refused)
{
	struct xmb_xsk_opts opts = vm_opts("left");

	opts.bind = XMB_XSK_ZC;
	vm_expect_refused(&opts, -EOPNOTSUPP, "the driver has no zero copy");
	lab_finish();
}

Test(fallback, a_frame_goes_from_card_to_card_where_it_lies)
{
	struct xmb_xsk *left = vm_open("left", NULL);
	struct xmb_xsk *right = vm_open("right", NULL);
	int ltap = tap_open("ltap"), rtap = tap_open("rtap");

	vm_forward(left, ltap, right, rtap, 300, MANY);
	vm_forward(right, rtap, left, ltap, 1514, MANY);
	lab_finish();
}

Test(fallback, jumbo_packets_are_chains_or_refused_in_words, .init = NULL)
{
	struct xmb_xsk_opts opts;
	struct xmb_xsk *left;
	int tap;

	vm_setup_with(4096, 9000);
	opts = vm_opts("left");
	if (vm_is("6.1")) {
		vm_expect_refused(&opts, -EOPNOTSUPP,
				  "no multi-buffer (Linux 6.6)");
		lab_finish();
		return;
	}
	left = vm_open("left", NULL);
	tap = tap_open("ltap");
	vm_exchange(left, tap, 9014, VM_BURST);
	/* Few at once: the tap's card has room for 256 pieces. */
	for (uint32_t tag = 0; tag < VM_BURST; tag += 16)
		vm_expect_tx(left, tap, 9014, tag, 16);
	expect_counter(left, XMB_XSK_RX_CHAINS, VM_BURST);
	lab_finish();
}
