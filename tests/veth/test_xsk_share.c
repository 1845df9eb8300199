/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * lib/xsk, several sockets on one queue: the first's rings feed them all and
 * bring home what any of them sent, also after it has closed.
 */
#include "xsk_lab.h"

#include "base/clock.h"
#include "buf/edit.h"

#include <pthread.h>
#include <unistd.h>

enum { EACH = 100, RX_CNT = 3000, THREAD_CNT = 20000, SHARE_S = 200 };

TestSuite(xsk_share, .init = xsk_lab_setup, .timeout = 300);

static struct xmb_xsk *first, *sibs[2];

static struct xmb_xsk_opts sharing(const char *dev)
{
	struct xmb_xsk_opts opts = lab_opts(dev);

	opts.share = first;
	return opts;
}

/* Leave no kick to the kernel: the test plays it. */
static int no_kick(void *arg, int fd, bool is_tx)
{
	(void)arg;
	(void)fd;
	(void)is_tx;
	return 0;
}

static void set_up(const char *dev, bool is_faked)
{
	struct xmb_xsk_opts opts;

	lab_plain();
	opts = lab_opts(dev);
	opts.share_cnt = 2;
	opts.kick = is_faked ? no_kick : NULL;
	first = lab_open(&opts);
	for (int i = 0; i < 2; i++) {
		opts = sharing(dev);
		opts.kick = is_faked ? no_kick : NULL;
		sibs[i] = lab_open(&opts);
	}
}

/* The first cannot close before the others. */
static void finish(void)
{
	for (int i = 0; i < 2; i++)
		cr_expect(eq(int, xmb_xsk_close(sibs[i], &lab.cache), 0));
	lab_finish();
}

static void post(struct xmb_xsk *xsk, uint32_t cnt, uint32_t tag)
{
	for (uint32_t i = 0; i < cnt; i++) {
		struct xmb_multibuf mb = lab_packet(100, tag + i);

		cr_assert(eq(u32, xmb_xsk_send(xsk, &lab.cache, &mb, 1), 1));
	}
}

static void reap_all(void)
{
	uint64_t end_ns = xmb_clock_ns() + WAIT_MS * XMB_NS_PER_MS;

	while ((xmb_xsk_tx_inflight(first) || xmb_xsk_tx_inflight(sibs[0]) ||
		xmb_xsk_tx_inflight(sibs[1])) &&
	       xmb_clock_ns() < end_ns)
		xmb_xsk_reap(first, &lab.cache);
}

Test(xsk_share, what_each_sends_comes_home_by_the_first)
{
	struct xmb_xsk *all[3];
	int rtap;

	set_up("right", false);
	rtap = tap_open("rtap");
	all[0] = sibs[1];
	all[1] = first;
	all[2] = sibs[0];
	for (uint32_t i = 0; i < 3; i++)
		post(all[i], EACH, i * EACH);
	cr_expect(eq(i64, lab_ledger().tx, 3 * EACH));
	for (uint32_t i = 0; i < 3; i++)
		cr_expect(eq(int, xmb_xsk_kick(all[i]), 0));
	/* Siblings have no ring of their own to reap. */
	cr_expect(eq(u32, xmb_xsk_reap(sibs[0], &lab.cache), 0));
	reap_all();
	for (uint32_t i = 0; i < 3; i++) {
		cr_expect(eq(u32, xmb_xsk_tx_inflight(all[i]), 0));
		expect_counter(all[i], XMB_XSK_TX_COMPLETED, EACH);
		expect_counter(all[i], XMB_XSK_COMP_UNKNOWN, 0);
	}
	for (uint32_t i = 0; i < 3 * EACH; i++)
		cr_assert(tap_recv_made(rtap, 100, i), "%u", i);
	cr_expect(eq(i64, lab_ledger().tx, 0));
	finish();
}

/* Receive cnt by xsk, which the first feeds. */
static void receive(struct xmb_xsk *xsk, int tap, uint32_t cnt)
{
	for (uint32_t i = 0; i < cnt; i++) {
		uint64_t end_ns = xmb_clock_ns() + WAIT_MS * XMB_NS_PER_MS;
		struct xmb_multibuf mb = { 0 };
		uint32_t got = 0;

		tap_send_made(tap, 100, i);
		while (got == 0 && xmb_clock_ns() < end_ns) {
			xmb_xsk_refill(first, &lab.cache, xmb_clock_ns());
			got = xmb_xsk_recv(xsk, &lab.cache, &mb, 1);
		}
		cr_assert(eq(u32, got, 1), "%u", i);
		cr_assert(lab_is_made(&mb, 100, i));
		xmb_multibuf_release(&mb, &lab.cache);
	}
}

Test(xsk_share, the_xskmap_says_who_receives_and_the_first_feeds_them_all)
{
	struct xmb_ledger ledger;
	int ltap;

	set_up("left", false);
	ltap = tap_open("ltap");
	lab_steer(first);
	receive(first, ltap, 10);
	/* Many times the fill ring: it is refilled for others too. */
	for (int i = 0; i < 2; i++) {
		cr_assert(
			eq(int,
			   xmb_prog_steer(lab.progs[0], 0, xmb_xsk_fd(sibs[i])),
			   0));
		receive(sibs[i], ltap, RX_CNT);
		expect_counter(sibs[i], XMB_XSK_RX_PACKETS, RX_CNT);
	}
	expect_counter(first, XMB_XSK_RX_PACKETS, 10);
	expect_counter(first, XMB_XSK_RX_FILL_EMPTY, 0);
	/* One that waits unread in a sibling's ring is in the ledger. */
	tap_send_made(ltap, 100, 1);
	await(xmb_xsk_has_rx(sibs[1]));
	ledger = lab_ledger();
	cr_expect(eq(i64, ledger.rx, 1));
	cr_expect(ge(i64, ledger.fill, 200));
	cr_assert(
		eq(int, xmb_prog_steer(lab.progs[0], 0, xmb_xsk_fd(first)), 0));
	cr_expect(eq(int, xmb_xsk_close(sibs[1], &lab.cache), 0));
	expect_counter(sibs[1], XMB_XSK_RX_UNREAD, 1);
	expect_counter(sibs[1], XMB_XSK_RX_PACKETS, RX_CNT);
	cr_expect(eq(i64, lab_ledger().rx, 0));
	receive(first, ltap, RX_CNT);
	finish();
}

Test(xsk_share, the_first_closes_last)
{
	set_up("right", false);
	forget_said();
	cr_expect(eq(int, xmb_xsk_close(first, &lab.cache), -EBUSY));
	expect_said(XMB_LOG_ERROR, "close those first");
	/* Nothing happened. */
	post(first, 3, 0);
	cr_expect(eq(int, xmb_xsk_kick(first), 0));
	reap_all();
	expect_counter(first, XMB_XSK_TX_COMPLETED, 3);
	cr_expect(eq(int, xmb_xsk_close(sibs[0], &lab.cache), 0));
	cr_expect(eq(int, xmb_xsk_close(first, &lab.cache), -EBUSY));
	cr_expect(eq(int, xmb_xsk_close(sibs[1], &lab.cache), 0));
	cr_expect(eq(int, xmb_xsk_close(first, &lab.cache), 0));
	lab_finish();
}

/* As a kernel that took all of the TX ring. */
static void take_all(struct xmb_xsk *xsk)
{
	__atomic_store_n(xsk->tx.consumer, *xsk->tx.producer, __ATOMIC_RELEASE);
}

static void complete(uint64_t addr)
{
	uint64_t *ring = first->comp.ring;
	uint32_t at = *first->comp.producer;

	ring[at & first->comp.mask] = addr;
	__atomic_store_n(first->comp.producer, at + 1, __ATOMIC_RELEASE);
}

static uint64_t posted(const struct xmb_xsk *xsk, uint32_t i)
{
	return ((const struct xdp_desc *)xsk->tx.ring)[i & xsk->tx.mask].addr;
}

Test(xsk_share, completions_find_their_owner_and_others_are_ignored)
{
	set_up("right", true);
	post(first, 2, 0);
	post(sibs[0], 2, 0);
	post(sibs[1], 2, 0);
	take_all(first);
	take_all(sibs[0]);
	take_all(sibs[1]);
	complete(posted(sibs[1], 1));
	complete(posted(sibs[1], 1)); /* twice */
	complete(UINT64_MAX);
	complete(posted(first, 0));
	complete(posted(sibs[0], 0));
	cr_expect(eq(u32, xmb_xsk_reap(first, &lab.cache), 5));
	expect_counter(first, XMB_XSK_COMP_UNKNOWN, 2);
	cr_expect(eq(u32, xmb_xsk_tx_inflight(first), 1));
	cr_expect(eq(u32, xmb_xsk_tx_inflight(sibs[0]), 1));
	cr_expect(eq(u32, xmb_xsk_tx_inflight(sibs[1]), 1));
	cr_expect(eq(i64, lab_ledger().tx, 3));
	finish();
}

/* The same bytes by two sockets, of which one sends fewer of them. */
Test(xsk_share, of_shares_that_start_alike_the_shorter_is_taken_as_completed)
{
	struct xmb_multibuf whole, part = { 0 };

	set_up("right", true);
	whole = lab_packet(900, 1);
	cr_assert(eq(int, xmb_multibuf_share(&whole, &part, &lab.cache), 0));
	cr_assert(eq(int, xmb_multibuf_truncate(&part, 100, &lab.cache), 0));
	cr_assert(eq(u32, xmb_xsk_send(first, &lab.cache, &whole, 1), 1));
	cr_assert(eq(u32, xmb_xsk_send(sibs[0], &lab.cache, &part, 1), 1));
	cr_assert(eq(u64, posted(first, 0), posted(sibs[0], 0)));
	take_all(first);
	take_all(sibs[0]);
	complete(posted(first, 0));
	cr_expect(eq(u32, xmb_xsk_reap(first, &lab.cache), 1));
	cr_expect(eq(u32, xmb_xsk_tx_inflight(sibs[0]), 0));
	cr_expect(eq(u32, xmb_xsk_tx_inflight(first), 1));
	complete(posted(first, 0));
	cr_expect(eq(u32, xmb_xsk_reap(first, &lab.cache), 1));
	cr_expect(eq(u32, xmb_xsk_tx_inflight(first), 0));
	expect_counter(first, XMB_XSK_COMP_UNKNOWN, 0);
	cr_expect(eq(i64, lab_ledger().app, 0));
	finish();
}

Test(xsk_share, what_a_closed_sibling_sent_comes_home_by_the_first_still)
{
	struct xmb_multibuf mb, rest = { 0 };
	uint64_t addrs[4];

	set_up("right", true);
	post(sibs[0], 3, 0);
	mb = lab_packet(100, 9);
	cr_assert(eq(int, xmb_multibuf_split(&mb, 14, &rest, &lab.cache), 0));
	cr_assert(eq(u32, xmb_xsk_send(sibs[0], &lab.cache, &mb, 1), 1));
	for (uint32_t i = 0; i < 4; i++)
		addrs[i] = posted(sibs[0], i);
	take_all(sibs[0]);
	cr_expect(eq(int, xmb_xsk_close(sibs[0], &lab.cache), 0));
	cr_expect(eq(i64, lab_ledger().held, 3));
	cr_expect(eq(i64, lab_ledger().tx_slots, 1));
	cr_expect(eq(int, xmb_xsk_settle(sibs[0], &lab.cache), -EAGAIN));
	for (uint32_t i = 0; i < 4; i++) {
		complete(addrs[i]);
		complete(addrs[i]);
	}
	cr_expect(eq(u32, xmb_xsk_reap(first, &lab.cache), 8));
	expect_counter(first, XMB_XSK_COMP_UNKNOWN, 4);
	expect_counter(sibs[0], XMB_XSK_TX_COMPLETED, 4);
	cr_expect(eq(i64, lab_ledger().held, 0));
	cr_expect(eq(i64, lab_ledger().tx_slots, 0));
	cr_expect(eq(int, xmb_xsk_settle(sibs[0], &lab.cache), 0));
	xmb_multibuf_release(&rest, &lab.cache);
	finish();
}

Test(xsk_share, a_sibling_that_is_gone_leaves_its_place_to_another)
{
	struct xmb_xsk_opts opts;
	struct xmb_xsk *next;

	set_up("right", false);
	post(sibs[1], 5, 0);
	cr_expect(eq(int, xmb_xsk_kick(sibs[1]), 0));
	reap_all();
	cr_expect(eq(int, xmb_xsk_close(sibs[1], &lab.cache), 0));
	cr_expect(eq(int, xmb_xsk_settle(sibs[1], &lab.cache), 0));
	xmb_xsk_destroy(sibs[1]);
	lab.xsk_cnt--;
	opts = sharing("right");
	next = lab_open(&opts);
	post(next, 5, 0);
	cr_expect(eq(int, xmb_xsk_kick(next), 0));
	sibs[1] = next;
	reap_all();
	expect_counter(next, XMB_XSK_TX_COMPLETED, 5);
	finish();
}

Test(xsk_share, what_cannot_share_is_refused)
{
	struct xmb_xsk_opts opts;

	lab_wire(2, 1500);
	lab_frames(2048, 2048);
	opts = lab_opts("right");
	opts.share_cnt = XMB_XSK_SHARE_MAX + 1;
	lab_expect_refused(&opts, -EINVAL, "at most 15 are possible");
	first = lab_open_dev("right");
	opts = sharing("right");
	lab_expect_refused(&opts, -ENOSPC, "open the first with share_cnt");
	opts.queue = 1;
	lab_expect_refused(&opts, -EINVAL, "another device, queue or umem");
	opts = sharing("left");
	lab_expect_refused(&opts, -EINVAL, "another device, queue or umem");
	opts = sharing("right");
	lab_close(first);
	lab_expect_refused(&opts, -EINVAL, "that one is closed");
	opts = lab_opts("left");
	opts.tx_only = true;
	opts.share_cnt = 1;
	first = lab_open(&opts);
	opts = sharing("left");
	lab_expect_refused(&opts, -EINVAL, "tx_only and fills nothing");
	lab_finish();
}

static void *send_many(void *arg)
{
	struct xmb_cache *cache = arg;
	uint64_t end_ns = xmb_clock_ns() + SHARE_S * XMB_NS_PER_S;

	for (uint32_t i = 0; i < THREAD_CNT && xmb_clock_ns() < end_ns;) {
		struct xmb_multibuf mb = { 0 };

		if (xmb_multibuf_alloc(cache, 60, 0, &mb))
			continue;
		if (xmb_xsk_send(sibs[0], cache, &mb, 1) == 1)
			i++;
		else
			xmb_multibuf_release(&mb, cache);
		if (i % 32 == 0 || i == THREAD_CNT)
			xmb_xsk_kick(sibs[0]);
	}
	return NULL;
}

Test(xsk_share, one_thread_sends_while_that_of_the_first_reaps)
{
	uint64_t end_ns;
	struct xmb_cache cache;
	pthread_t thread;

	set_up("right", false);
	end_ns = xmb_clock_ns() + SHARE_S * XMB_NS_PER_S;
	xmb_cache_init(&cache, &lab.umem->pool, 2);
	cr_assert(eq(int, pthread_create(&thread, NULL, send_many, &cache), 0));
	while (lab_counter(sibs[0], XMB_XSK_TX_COMPLETED) < THREAD_CNT &&
	       xmb_clock_ns() < end_ns)
		xmb_xsk_reap(first, &lab.cache);
	pthread_join(thread, NULL);
	expect_counter(sibs[0], XMB_XSK_TX_PACKETS, THREAD_CNT);
	expect_counter(sibs[0], XMB_XSK_TX_COMPLETED, THREAD_CNT);
	expect_counter(first, XMB_XSK_COMP_UNKNOWN, 0);
	cr_expect(eq(u32, xmb_xsk_tx_inflight(sibs[0]), 0));
	xmb_cache_fini(&cache);
	finish();
}
