/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Cases of the kernel's AF_XDP selftest, by their names there: traffic, poll,
 * statistics and the life of sockets.
 *
 * Those of unaligned mode are in test_parity_unaligned.c.  The selftest's
 * hugepage, minimal and maximal ring size cases ask for devices with zero copy.
 */
#include "parity_lab.h"

#include <poll.h>
#include <stdatomic.h>
#include <unistd.h>

PARITY_SUITES;

PARITY(SEND_RECEIVE)
{
	struct parity p = parity_up(variant, 4096, 1500);

	parity_pass(&p, PACKET_LEN, PACKET_CNT);
	lab_finish();
}

PARITY(SEND_RECEIVE_2K_FRAME)
{
	struct parity p = parity_up(variant, 2048, 1500);

	parity_pass(&p, PACKET_LEN, PACKET_CNT);
	lab_finish();
}

PARITY(SEND_RECEIVE_SINGLE_PKT)
{
	struct parity p = parity_up(variant, 4096, 1500);

	parity_pass(&p, PACKET_LEN, 1);
	lab_finish();
}

PARITY(SEND_RECEIVE_9K_PACKETS)
{
	struct parity p = parity_up(variant, 4096, JUMBO_LEN);

	parity_pass(&p, JUMBO_LEN, 1024);
	expect_counter(p.rx, XMB_XSK_RX_CHAINS, 1024);
	lab_finish();
}

static int poll_for(struct xmb_xsk *xsk, short events, int wait_ms)
{
	struct pollfd pfd = { .fd = xmb_xsk_fd(xsk), .events = events };
	int cnt = poll(&pfd, 1, wait_ms);

	cr_assert(ge(int, cnt, 0));
	return pfd.revents;
}

PARITY(POLL_RX)
{
	struct parity p = parity_up(variant, 4096, 1500);

	for (uint32_t i = 0; i < PACKET_CNT / 4; i++) {
		parity_send(p.tx, PACKET_LEN, i, 1);
		cr_assert(eq(int, poll_for(p.rx, POLLIN, WAIT_MS), POLLIN));
		parity_expect(p.rx, PACKET_LEN, i);
	}
	cr_expect(eq(int, poll_for(p.rx, POLLIN, 0), 0));
	lab_finish();
}

/* In copy mode waiting for room is what sends: there is no kick. */
PARITY(POLL_TX)
{
	struct parity p = parity_up(variant, 4096, 1500);

	for (uint32_t i = 0; i < PACKET_CNT / 4; i++) {
		cr_assert(eq(u32, parity_post(p.tx, PACKET_LEN, i, 1), 1));
		cr_assert(eq(int, poll_for(p.tx, POLLOUT, WAIT_MS), POLLOUT));
		parity_expect(p.rx, PACKET_LEN, i);
		xmb_xsk_reap(p.tx, &lab.cache);
	}
	cr_expect(eq(u32, xmb_xsk_tx_inflight(p.tx), 0));
	expect_counter(p.tx, XMB_XSK_TX_KICKS, 0);
	lab_finish();
}

/* Nothing is sent: a reader that waits comes back with nothing. */
PARITY(POLL_RXQ_FULL)
{
	struct parity p = parity_up(variant, 4096, 1500);

	cr_expect(eq(int, poll_for(p.rx, POLLIN, QUIET_MS), 0));
	cr_expect(not(xmb_xsk_has_rx(p.rx)));
	lab_finish();
}

/*
 * A TX ring that stays full, for the queue is one that the device only receives
 * on: a writer that waits for room comes back without.
 */
PARITY(POLL_TXQ_FULL)
{
	const uint32_t ring_cnt = 512;
	struct xmb_xsk_opts opts;
	struct parity p = { 0 };

	must("ip link add sender numrxqueues 2 numtxqueues 1 type veth peer "
	     "name receiver && ip link set sender up && "
	     "ip link set receiver up");
	lab_frames(4096, FRAME_CNT);
	p.rx = parity_open(variant, "receiver");
	parity_steer(variant, p.rx);
	opts = lab_opts("sender");
	opts.queue = 1;
	p.tx = parity_open_with(variant, opts);
	cr_expect(eq(int, poll_for(p.tx, POLLOUT, WAIT_MS), POLLOUT));
	for (uint32_t i = 0; i < ring_cnt; i += BATCH)
		cr_assert(eq(u32, parity_post(p.tx, PACKET_LEN, i, BATCH),
			     BATCH));
	cr_expect(eq(u32, parity_post(p.tx, PACKET_LEN, 0, 1), 0));
	cr_expect(eq(int, poll_for(p.tx, POLLOUT, QUIET_MS), 0));
	cr_expect(eq(int, xmb_xsk_kick(p.tx), -EAGAIN));
	cr_expect(eq(u32, xmb_xsk_tx_waiting(p.tx), ring_cnt));
	parity_expect_none(p.rx);
	lab_close(p.tx);
	expect_counter(p.tx, XMB_XSK_TX_UNSENT, ring_cnt);
	lab_finish();
}

/* Frames of both ends, at once. */
PARITY(BIDIRECTIONAL)
{
	struct parity p = parity_up(variant, 4096, 1500);

	parity_steer(variant, p.tx);
	for (uint32_t i = 0; i < PACKET_CNT; i += BATCH) {
		cr_assert(eq(u32, parity_post(p.tx, PACKET_LEN, i, BATCH),
			     BATCH));
		cr_assert(eq(u32, parity_post(p.rx, 128, i, BATCH), BATCH));
		lab_send(p.tx, NULL, 0);
		lab_send(p.rx, NULL, 0);
		for (uint32_t k = 0; k < BATCH; k++) {
			parity_expect(p.rx, PACKET_LEN, i + k);
			parity_expect(p.tx, 128, i + k);
		}
	}
	lab_finish();
}

/* A fill ring of 16 under a burst of 64. */
PARITY(STAT_FILL_EMPTY)
{
	struct parity p = { 0 };
	struct xmb_xsk_opts opts;

	parity_frames(4096, 1500);
	opts = lab_opts("receiver");
	opts.fill_base = opts.fill_max = 16;
	p.tx = parity_open(variant, "sender");
	p.rx = parity_open_with(variant, opts);
	parity_steer(variant, p.rx);
	parity_send(p.tx, PACKET_LEN, 0, BATCH);
	await(lab_counter(p.rx, XMB_XSK_RX_DROPPED) == BATCH - 16);
	cr_expect(gt(u64, lab_counter(p.rx, XMB_XSK_RX_FILL_EMPTY), 0));
	expect_counter(p.rx, XMB_XSK_RX_DROPPED, BATCH - 16);
	expect_counter(p.rx, XMB_XSK_RX_RING_FULL, 0);
	for (uint32_t i = 0; i < 16; i++)
		parity_expect(p.rx, PACKET_LEN, i);
	lab_finish();
}

PARITY(TEARDOWN)
{
	parity_frames(4096, 1500);
	for (int i = 0; i < 10; i++) {
		struct parity p = { .variant = variant };

		p.tx = parity_open(variant, "sender");
		p.rx = parity_open(variant, "receiver");
		parity_steer(variant, p.rx);
		parity_pass(&p, PACKET_LEN, 128);
		xmb_prog_destroy(lab.progs[--lab.prog_cnt]);
		lab_close(p.rx);
		lab_close(p.tx);
		cr_assert(eq(u32, lab_free_cnt(), FRAME_CNT));
		while (lab.xsk_cnt)
			xmb_xsk_destroy(lab.xsks[--lab.xsk_cnt]);
	}
	lab_finish();
}

/* The program of the first socket is gone when that of the second comes. */
PARITY(XDP_PROG_CLEANUP)
{
	struct bpf_xdp_query_opts on_device = { .sz = sizeof(on_device) };
	struct parity p = parity_up(variant, 4096, 1500);

	parity_pass(&p, PACKET_LEN, 256);
	xmb_prog_detach(p.prog);
	cr_assert(eq(int, bpf_xdp_query(p.rx->opts.ifindex, 0, &on_device), 0));
	cr_expect(eq(u32, on_device.prog_id, 0));
	parity_send(p.tx, PACKET_LEN, 0, 8);
	parity_expect_none(p.rx);
	lab_close(p.rx);
	p.rx = parity_open(variant, "receiver");
	p.prog = parity_steer(variant, p.rx);
	parity_send(p.tx, PACKET_LEN, 7, 8);
	for (uint32_t i = 0; i < 8; i++)
		parity_expect(p.rx, PACKET_LEN, 7 + i);
	lab_finish();
}

PARITY(TX_QUEUE_CONSUMER)
{
	const uint32_t budget = 32;
	struct parity p = parity_up(variant, 4096, 1500);
	struct fact_sock bare;

	/* The library asks for the ring's worth: one kick takes all. */
	cr_assert(eq(u32, parity_post(p.tx, PACKET_LEN, 0, budget + 1),
		     budget + 1));
	cr_expect(eq(u32, xmb_xsk_tx_waiting(p.tx), budget + 1));
	cr_expect(eq(int, xmb_xsk_kick(p.tx), 0));
	cr_expect(eq(u32, xmb_xsk_tx_waiting(p.tx), 0));
	cr_expect(eq(u32, *p.tx->tx.consumer, budget + 1));
	for (uint32_t i = 0; i < budget + 1; i++)
		parity_expect(p.rx, PACKET_LEN, i);
	lab_close(p.tx);

	/* A socket that did not ask sees the consumer stop at the budget. */
	bare = parity_bare(variant, "sender", fact_memory(64, 4096), 0);
	for (uint32_t i = 0; i < budget + 1; i++) {
		parity_make(&bare, i * 4096, PACKET_LEN, i);
		fact_post(&bare, i * 4096, PACKET_LEN, 0);
	}
	cr_expect(eq(int, fact_kick(&bare), -EAGAIN));
	cr_expect(eq(u32, atomic_load(bare.tx.consumer), budget));
	cr_expect(eq(int, fact_kick(&bare), 0));
	cr_expect(eq(u32, atomic_load(bare.tx.consumer), budget + 1));
	for (uint32_t i = 0; i < budget + 1; i++)
		parity_expect(p.rx, PACKET_LEN, i);
	lab_finish();
}
