/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * What a kernel does with a chain that has a bad fragment, which lib/xsk never
 * posts: so it says why all of a chain is looked at before any of it is posted.
 */
#include "vm_lab.h"

#include "base/clock.h"

enum { LEN = 100 };

TestSuite(bad_chain, .init = vm_setup, .timeout = 60);

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

/* Count how often each of the addresses completes within half a second. */
static void count_back(struct xmb_xsk *xsk, const uint64_t *addrs, int *back,
		       int cnt)
{
	uint64_t end_ns = xmb_clock_ns() + 500 * XMB_NS_PER_MS;
	uint32_t idx;

	while (xmb_clock_ns() < end_ns) {
		uint64_t addr;

		xmb_xsk_kick(xsk);
		if (xsk_ring_cons__peek(&xsk->comp, 1, &idx) == 0)
			continue;
		addr = *xsk_ring_cons__comp_addr(&xsk->comp, idx);
		for (int i = 0; i < cnt; i++)
			back[i] += addr == addrs[i];
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
	count_back(left, addrs, back, 3);

	cr_expect(eq(int, back[0], !leaks));
	cr_expect(eq(int, back[1], !leaks));
	cr_expect(eq(int, back[2], 1));
	/* What follows the bad fragment, as a packet of its own. */
	cr_expect(eq(sz, tap_recv(tap, packet, sizeof(packet), 300),
		     leaks ? LEN : 0));
	xmb_multibuf_release_bulk(mbs, 2, &lab.cache);
	lab_finish();
}
