/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * What the kernel was seen to do (tests/facts) and its selftest has no case
 * for, by the library.
 */
#include "parity_lab.h"

PARITY_SUITES;

/* A part that begins at an odd byte completes as if a byte earlier. */
PARITY(ODD_ADDRESS)
{
	struct parity p = parity_up(variant, 4096, 1500);

	for (uint32_t i = 0; i < 64; i++) {
		struct xmb_multibuf head = lab_packet(200, i), rest = { 0 };
		struct xmb_multibuf got = { 0 };
		uint8_t is[200], want[200];

		cr_assert(eq(int,
			     xmb_multibuf_split(&head, 15 + 2 * i, &rest,
						&lab.cache),
			     0));
		lab_send(p.tx, &rest, 1);
		cr_assert(eq(u32, lab_recv(p.rx, &got, 1), 1));
		cr_assert(eq(u32, xmb_multibuf_len(&got), 200 - 15 - 2 * i));
		xmb_multibuf_copy_to(&got, 0, is, 185 - 2 * i);
		packet_make(want, 200, i);
		cr_expect(
			eq(int, memcmp(is, want + 15 + 2 * i, 185 - 2 * i), 0));
		/* The part that was kept is whole, and ours. */
		xmb_multibuf_copy_to(&head, 0, is, 15 + 2 * i);
		cr_expect(eq(int, memcmp(is, want, 15 + 2 * i), 0));
		xmb_multibuf_release(&got, &lab.cache);
		xmb_multibuf_release(&head, &lab.cache);
	}
	expect_counter(p.tx, XMB_XSK_COMP_UNKNOWN, 0);
	lab_finish();
}

/* Neighbours in one frame, a byte apart, come home each for itself. */
PARITY(ODD_ADDRESS_BESIDE_AN_EVEN_ONE)
{
	struct parity p = parity_up(variant, 4096, 1500);

	for (uint32_t i = 0; i < 64; i++) {
		struct xmb_multibuf mbs[3] = { lab_packet(200, i) };
		struct xmb_multibuf got[3] = { { 0 } };

		cr_assert(eq(
			int,
			xmb_multibuf_split(&mbs[0], 100, &mbs[1], &lab.cache),
			0));
		cr_assert(
			eq(int,
			   xmb_multibuf_split(&mbs[1], 1, &mbs[2], &lab.cache),
			   0));
		/* One byte is no packet for a device: it goes in a chain. */
		cr_assert(eq(int,
			     xmb_multibuf_append(&mbs[0], &mbs[1], &lab.cache),
			     0));
		lab_send(p.tx, &mbs[2], 1);
		lab_send(p.tx, &mbs[0], 1);
		cr_assert(eq(u32, lab_recv(p.rx, got, 2), 2));
		xmb_multibuf_release_bulk(got, 2, &lab.cache);
	}
	expect_counter(p.tx, XMB_XSK_COMP_UNKNOWN, 0);
	lab_finish();
}
