/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * lib/xsk, frames that a kernel never completes, against a kernel that the
 * test plays: given back after silence, and not before.
 */
#include "xsk_lab.h"

#include "base/clock.h"

enum { QUIET = 1000, CNT = 6 };

TestSuite(xsk_leak, .init = xsk_lab_setup, .timeout = 300);

static struct xmb_xsk *right, *sib;

static int no_kick(void *arg, int fd, bool is_tx)
{
	(void)arg;
	(void)fd;
	(void)is_tx;
	return 0;
}

static void post(struct xmb_xsk *xsk, uint32_t cnt)
{
	for (uint32_t i = 0; i < cnt; i++) {
		struct xmb_multibuf mb = lab_packet(100, i);

		cr_assert(eq(u32, xmb_xsk_send(xsk, &lab.cache, &mb, 1), 1));
	}
}

static void take(struct xmb_xsk *xsk, uint32_t cnt)
{
	__atomic_store_n(xsk->tx.consumer, *xsk->tx.consumer + cnt,
			 __ATOMIC_RELEASE);
}

static uint64_t posted(const struct xmb_xsk *xsk, uint32_t i)
{
	return ((const struct xdp_desc *)xsk->tx.ring)[i & xsk->tx.mask].addr;
}

static void complete(uint64_t addr)
{
	uint64_t *ring = right->comp.ring;
	uint32_t at = *right->comp.producer;

	ring[at & right->comp.mask] = addr;
	__atomic_store_n(right->comp.producer, at + 1, __ATOMIC_RELEASE);
}

static void set_up(void)
{
	struct xmb_xsk_opts opts;

	lab_plain();
	opts = lab_opts("right");
	opts.kick = no_kick;
	opts.share_cnt = 1;
	right = lab_open(&opts);
	opts.share = right;
	sib = lab_open(&opts);
	post(right, CNT);
}

static int reconcile(uint64_t now)
{
	return xmb_xsk_reconcile(right, &lab.cache, now, QUIET);
}

static void finish(void)
{
	xmb_xsk_close(sib, &lab.cache);
	lab_finish();
}

Test(xsk_leak, what_is_never_completed_comes_home_after_silence)
{
	uint32_t free_cnt;

	set_up();
	free_cnt = lab_free_cnt();
	take(right, CNT);
	complete(posted(right, 0));
	complete(posted(right, 3));
	cr_expect(eq(int, reconcile(5000), -EAGAIN));
	cr_expect(eq(u32, xmb_xsk_tx_inflight(right), CNT - 2));
	cr_expect(eq(int, reconcile(5000 + QUIET - 1), -EAGAIN));
	cr_expect(eq(i64, lab_ledger().tx, CNT - 2));
	expect_counter(right, XMB_XSK_TX_LEAKED, 0);
	cr_expect(eq(int, reconcile(5000 + QUIET), CNT - 2));
	expect_counter(right, XMB_XSK_TX_LEAKED, CNT - 2);
	expect_counter(right, XMB_XSK_TX_COMPLETED, 2);
	cr_expect(eq(u32, xmb_xsk_tx_inflight(right), 0));
	cr_expect(eq(i64, lab_ledger().tx, 0));
	cr_expect(eq(u32, lab_free_cnt(), free_cnt + CNT));
	cr_expect(eq(int, reconcile(9000), 0));
	/* A completion that comes after all. */
	complete(posted(right, 1));
	cr_expect(eq(u32, xmb_xsk_reap(right, &lab.cache), 1));
	expect_counter(right, XMB_XSK_COMP_UNKNOWN, 1);
	finish();
}

Test(xsk_leak, what_the_kernel_has_not_taken_is_never_given_back)
{
	set_up();
	take(right, CNT - 1);
	for (uint64_t now = 1; now < 100 * QUIET; now += QUIET)
		cr_expect(eq(int, reconcile(now), -EAGAIN));
	cr_expect(eq(i64, lab_ledger().tx, CNT));
	expect_counter(right, XMB_XSK_TX_LEAKED, 0);
	finish();
}

Test(xsk_leak, each_sign_of_life_begins_the_silence_anew)
{
	set_up();
	take(right, CNT);
	cr_expect(eq(int, reconcile(1000), -EAGAIN));
	complete(posted(right, 0));
	cr_expect(eq(int, reconcile(1000 + QUIET), -EAGAIN));
	post(right, 1);
	take(right, 1);
	cr_expect(eq(int, reconcile(1000 + 2 * QUIET), -EAGAIN));
	complete(UINT64_MAX); /* even one of nothing */
	cr_expect(eq(int, reconcile(1000 + 3 * QUIET), -EAGAIN));
	cr_expect(eq(int, reconcile(1000 + 4 * QUIET), CNT));
	finish();
}

Test(xsk_leak, a_device_that_owes_completions_by_count_may_still_read)
{
	set_up();
	right->mode.is_zc = true;
	take(right, CNT);
	complete(posted(right, 0));
	cr_expect(eq(int, reconcile(1000), -EAGAIN));
	cr_expect(eq(int, reconcile(1000 + QUIET), -EBUSY));
	cr_expect(eq(i64, lab_ledger().tx, CNT - 1));
	/* One completed twice, so that none is owed: another was lost. */
	for (uint32_t i = 0; i < CNT - 2; i++)
		complete(posted(right, i));
	complete(posted(right, 0));
	cr_expect(eq(int, reconcile(5000), -EAGAIN));
	cr_expect(eq(int, reconcile(5000 + QUIET), 2));
	expect_counter(right, XMB_XSK_COMP_UNKNOWN, 2);
	expect_counter(right, XMB_XSK_TX_LEAKED, 2);
	finish();
}

Test(xsk_leak, parts_of_split_frames_and_siblings_are_given_back_too)
{
	struct xmb_multibuf mb, rest = { 0 };

	set_up();
	mb = lab_packet(900, 9);
	cr_assert(eq(int, xmb_multibuf_split(&mb, 14, &rest, &lab.cache), 0));
	cr_assert(eq(u32, xmb_xsk_send(sib, &lab.cache, &mb, 1), 1));
	post(sib, 2);
	take(right, CNT);
	take(sib, 2);
	cr_expect(eq(int, reconcile(1000), -EAGAIN));
	cr_expect(eq(int, reconcile(1000 + QUIET), -EAGAIN));
	take(sib, 1);
	cr_expect(eq(int, reconcile(1000 + 2 * QUIET), CNT + 3));
	expect_counter(right, XMB_XSK_TX_LEAKED, CNT);
	expect_counter(sib, XMB_XSK_TX_LEAKED, 3);
	cr_expect(eq(i64, lab_ledger().tx_slots, 0));
	cr_expect(eq(i64, lab_ledger().app, 1));
	xmb_multibuf_release(&rest, &lab.cache);
	finish();
}

Test(xsk_leak, nothing_in_flight_is_nothing_to_do)
{
	set_up();
	take(right, CNT);
	for (uint32_t i = 0; i < CNT; i++)
		complete(posted(right, i));
	cr_expect(eq(int, reconcile(1000), 0));
	cr_expect(eq(int, reconcile(1000 + QUIET), 0));
	expect_counter(right, XMB_XSK_TX_LEAKED, 0);
	finish();
}
