/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * lib/xsk, the TX side against a kernel that the test plays: what each answer
 * of a kick leads to, how much may be in flight, and completions of nothing.
 */
#include "xsk_lab.h"

#include "base/clock.h"

#include <sys/socket.h>
#include <unistd.h>

enum { RING_CNT = 64, STEP_MAX = 16, ALWAYS = 1000000, KICK_LIMIT = 4096 };

TestSuite(xsk_kick, .init = xsk_lab_setup, .timeout = 300);

static struct xmb_xsk *right;

/* How the kernel answers: cnt times err, each time having taken `takes`. */
struct step {
	int cnt, err;
	uint32_t takes;
};

static struct {
	struct step steps[STEP_MAX];
	uint32_t completes[STEP_MAX]; /* and having sent so many */
	uint32_t at;
	int kick_cnt;
	uint32_t completed_cnt;
} kernel;

static void take(uint32_t cnt)
{
	uint32_t waiting = *right->tx.producer - *right->tx.consumer;

	__atomic_store_n(right->tx.consumer,
			 *right->tx.consumer + (cnt < waiting ? cnt : waiting),
			 __ATOMIC_RELEASE);
}

/* What the kernel has taken, it completes. */
static void complete(uint64_t addr)
{
	uint64_t *ring = right->comp.ring;
	uint32_t at = *right->comp.producer;

	ring[at & right->comp.mask] = addr;
	__atomic_store_n(right->comp.producer, at + 1, __ATOMIC_RELEASE);
}

static uint64_t posted(uint32_t i)
{
	const struct xdp_desc *ring = right->tx.ring;

	return ring[i & right->tx.mask].addr;
}

static int answer(void *arg, int fd, bool is_tx)
{
	struct step *step = &kernel.steps[kernel.at];
	uint32_t completes = kernel.completes[kernel.at];

	cr_expect(eq(ptr, arg, &kernel));
	cr_expect(eq(int, fd, xmb_xsk_fd(right)));
	cr_expect(is_tx);
	kernel.kick_cnt++;
	cr_assert(gt(int, step->cnt, 0), "one kick too many");
	if (--step->cnt == 0)
		kernel.at++;
	take(step->takes);
	for (uint32_t i = 0; i < completes; i++)
		complete(posted(kernel.completed_cnt++));
	return step->err;
}

static void set_up_with(uint32_t tx_cap)
{
	struct xmb_xsk_opts opts;

	lab_plain();
	opts = lab_opts("right");
	opts.ring_cnt = RING_CNT;
	opts.fill_base = 16;
	opts.tx_cap = tx_cap;
	opts.kick = answer;
	opts.kick_arg = &kernel;
	right = lab_open(&opts);
}

/* Post cnt packets of one frame each; returns how many were taken. */
static uint32_t post(uint32_t cnt)
{
	struct xmb_multibuf mbs[2 * RING_CNT] = { 0 };
	uint32_t done;

	for (uint32_t i = 0; i < cnt; i++)
		mbs[i] = lab_packet(100, i);
	done = xmb_xsk_send(right, &lab.cache, mbs, cnt);
	for (uint32_t i = 0; i < cnt; i++)
		cr_expect(eq(int, xmb_multibuf_is_empty(&mbs[i]), i < done));
	/* The rest was left as it was. */
	for (uint32_t i = done; i < cnt; i++)
		cr_expect(lab_is_made(&mbs[i], 100, i));
	xmb_multibuf_release_bulk(mbs + done, cnt - done, &lab.cache);
	return done;
}

/* Kick with 10 packets waiting and these answers. */
static int kick_with(const struct step *steps, uint32_t step_cnt)
{
	set_up_with(0);
	memcpy(kernel.steps, steps, step_cnt * sizeof(*steps));
	cr_assert(eq(u32, post(10), 10));
	cr_assert(eq(u32, xmb_xsk_tx_waiting(right), 10));
	return xmb_xsk_kick(right);
}

#define KICK(...)                                                              \
	kick_with((struct step[]){ __VA_ARGS__ },                              \
		  sizeof((struct step[]){ __VA_ARGS__ }) / sizeof(struct step))

static void expect_after(int kick_cnt, uint32_t waiting)
{
	cr_expect(eq(int, kernel.kick_cnt, kick_cnt));
	cr_expect(eq(u32, xmb_xsk_tx_waiting(right), waiting));
	expect_counter(right, XMB_XSK_TX_KICKS, (uint64_t)kick_cnt);
	lab_ledger();
}

Test(xsk_kick, nothing_to_send_is_no_system_call)
{
	set_up_with(0);
	cr_expect(eq(int, xmb_xsk_kick(right), 0));
	expect_after(0, 0);
	lab_finish();
}

Test(xsk_kick, one_call_that_takes_all_is_enough)
{
	cr_expect(eq(int, KICK({ 1, 0, 10 }), 0));
	expect_after(1, 0);
	expect_counter(right, XMB_XSK_TX_AGAIN, 0);
	lab_finish();
}

Test(xsk_kick, a_ring_that_asks_for_no_wakeup_is_not_kicked)
{
	set_up_with(0);
	cr_assert(eq(u32, post(3), 3));
	*right->tx.flags = 0;
	cr_expect(eq(int, xmb_xsk_kick(right), 0));
	expect_after(0, 3);
	lab_finish();
}

Test(xsk_kick, a_socket_without_need_wakeup_is_kicked_whatever_the_ring_says)
{
	set_up_with(0);
	right->opts.no_need_wakeup = true;
	kernel.steps[0] = (struct step){ 1, 0, 10 };
	cr_assert(eq(u32, post(3), 3));
	*right->tx.flags = 0;
	cr_expect(eq(int, xmb_xsk_kick(right), 0));
	expect_after(1, 0);
	lab_finish();
}

Test(xsk_kick, eagain_with_progress_is_asked_again_until_all_is_taken)
{
	cr_expect(eq(int, KICK({ 4, -EAGAIN, 2 }, { 1, 0, 2 }), 0));
	expect_after(5, 0);
	expect_counter(right, XMB_XSK_TX_AGAIN, 0);
	lab_finish();
}

Test(xsk_kick, eagain_without_progress_is_not_asked_twice)
{
	cr_expect(eq(int, KICK({ 1, -EAGAIN, 0 }), -EAGAIN));
	expect_after(1, 10);
	expect_counter(right, XMB_XSK_TX_AGAIN, 1);
	lab_finish();
}

/* As Linux 6.1 and 6.12 do it; seen in tests/facts. */
Test(xsk_kick, a_kernel_that_shows_late_what_it_took_is_asked_budget_by_budget)
{
	set_up_with(0);
	right->shows_late = true;
	right->mode.tx_budget = 4;
	kernel.steps[0] = (struct step){ 7, -EAGAIN, 0 };
	kernel.completes[0] = 2;
	kernel.steps[1] = (struct step){ 1, 0, 30 };
	cr_assert(eq(u32, post(30), 30));
	cr_expect(eq(int, xmb_xsk_kick(right), 0));
	expect_after(8, 0);
	lab_finish();
}

Test(xsk_kick, no_more_often_than_budgets_are_in_what_waits)
{
	set_up_with(0);
	right->shows_late = true;
	right->mode.tx_budget = 4;
	kernel.steps[0] = (struct step){ 3, -EAGAIN, 0 };
	kernel.completes[0] = 3;
	cr_assert(eq(u32, post(10), 10));
	cr_expect(eq(int, xmb_xsk_kick(right), -EAGAIN));
	expect_after(3, 10);
	expect_counter(right, XMB_XSK_TX_AGAIN, 1);
	lab_finish();
}

/* As a device is that answers NETDEV_TX_BUSY. */
Test(xsk_kick, such_a_kernel_that_takes_nothing_is_not_asked_a_third_time)
{
	set_up_with(0);
	right->shows_late = true;
	right->mode.tx_budget = 1;
	kernel.steps[0] = (struct step){ 2, -EAGAIN, 0 };
	kernel.steps[1] = (struct step){ 3, -EAGAIN, 0 };
	kernel.completes[1] = 1;
	kernel.steps[2] = (struct step){ 1, -EAGAIN, 0 };
	kernel.steps[3] = (struct step){ 1, 0, 0 };
	cr_assert(eq(u32, post(RING_CNT), RING_CNT));
	cr_expect(eq(int, xmb_xsk_kick(right), -EAGAIN));
	expect_after(2, RING_CNT);
	expect_counter(right, XMB_XSK_TX_AGAIN, 1);
	/* The next turn it has room for three, and no more. */
	cr_expect(eq(int, xmb_xsk_kick(right), -EAGAIN));
	expect_after(6, RING_CNT);
	/* Nor where it says that all is well. */
	cr_expect(eq(int, xmb_xsk_kick(right), -EAGAIN));
	expect_after(7, RING_CNT);
	lab_finish();
}

/* A real kick, of which the index shows what it took when it took all. */
static int kick_and_show_late(void *arg, int fd, bool is_tx)
{
	uint32_t before = *right->tx.consumer;

	(void)arg;
	cr_expect(is_tx);
	kernel.kick_cnt++;
	if (sendto(fd, NULL, 0, MSG_DONTWAIT, NULL, 0) == 0)
		return 0;
	__atomic_store_n(right->tx.consumer, before, __ATOMIC_RELEASE);
	return -errno;
}

/* The queue below a macvlan lets one go now and then: nothing completes. */
Test(xsk_kick, what_a_device_has_taken_is_seen_though_nothing_comes_back)
{
	const int budget = 32;
	struct xmb_xsk_opts opts;

	lab_plain();
	must("ip link add top link right type macvlan mode private && "
	     "ip link set top up && tc qdisc add dev right root tbf "
	     "rate 8kbit burst 1600 limit 10000000");
	opts = lab_opts("top");
	opts.bind = XMB_XSK_COPY;
	opts.kick = kick_and_show_late;
	right = lab_open(&opts);
	/* Until 6.17 it is so, and shows late too. */
	cr_assert(right->shows_late ||
		  !setsockopt(right->fd, SOL_XDP, XDP_MAX_TX_SKB_BUDGET,
			      &budget, sizeof(budget)));
	right->shows_late = true;
	right->mode.tx_budget = (uint32_t)budget;
	for (uint32_t i = 0; i < 2; i++)
		cr_assert(eq(u32, post(2 * RING_CNT), 2 * RING_CNT));
	cr_expect(eq(int, xmb_xsk_kick(right), 0));
	cr_expect(ge(int, kernel.kick_cnt, 8));
	cr_expect(eq(u32, xmb_xsk_tx_waiting(right), 0));
	/* The burst of the queue is all that was sent. */
	cr_expect(lt(u32, xmb_xsk_reap(right, &lab.cache), 32));
	must("tc qdisc del dev right root");
	lab_finish();
}

Test(xsk_kick, what_came_back_is_not_unsent_although_the_index_shows_it_late)
{
	set_up_with(0);
	cr_assert(eq(u32, post(5), 5));
	for (uint32_t i = 0; i < 4; i++)
		complete(posted(i));
	xmb_xsk_close(right, &lab.cache);
	expect_counter(right, XMB_XSK_TX_UNSENT, 1);
	expect_counter(right, XMB_XSK_TX_COMPLETED, 4);
	lab_finish();
}

Test(xsk_kick, enobufs_is_as_eagain)
{
	cr_expect(
		eq(int, KICK({ 1, -ENOBUFS, 4 }, { 1, -ENOBUFS, 0 }), -EAGAIN));
	expect_after(2, 6);
	lab_finish();
}

Test(xsk_kick, success_without_progress_ends_it_too)
{
	cr_expect(eq(int, KICK({ 1, 0, 3 }, { 1, 0, 0 }), -EAGAIN));
	expect_after(2, 7);
	lab_finish();
}

Test(xsk_kick, ebusy_is_one_packet_dropped_and_the_rest_goes_on)
{
	cr_expect(eq(int,
		     KICK({ 3, -EBUSY, 1 }, { 1, 0, 5 }, { 1, -EBUSY, 1 },
			  { 1, 0, 1 }),
		     0));
	expect_after(6, 0);
	expect_counter(right, XMB_XSK_TX_KERNEL_DROP, 4);
	lab_finish();
}

Test(xsk_kick, ebusy_for_the_last_packet_is_no_failure)
{
	cr_expect(eq(int, KICK({ 1, -EBUSY, 10 }), 0));
	expect_after(1, 0);
	expect_counter(right, XMB_XSK_TX_KERNEL_DROP, 1);
	lab_finish();
}

Test(xsk_kick, enetdown_is_reported_and_leaves_the_rest_waiting)
{
	cr_expect(eq(int, KICK({ 1, 0, 2 }, { 1, -ENETDOWN, 0 }), -ENETDOWN));
	expect_after(2, 8);
	expect_counter(right, XMB_XSK_TX_LINK_DOWN, 1);
	expect_counter(right, XMB_XSK_TX_AGAIN, 0);
	lab_finish();
}

Test(xsk_kick, enxio_is_reported)
{
	cr_expect(eq(int, KICK({ 1, -ENXIO, 0 }), -ENXIO));
	expect_after(1, 10);
	expect_counter(right, XMB_XSK_TX_LINK_DOWN, 0);
	lab_finish();
}

Test(xsk_kick, an_interrupted_call_is_made_again)
{
	cr_expect(eq(int, KICK({ 3, -EINTR, 0 }, { 1, 0, 10 }), 0));
	expect_after(4, 0);
	lab_finish();
}

Test(xsk_kick, any_other_error_ends_it_at_once)
{
	cr_expect(eq(int, KICK({ 1, -EINVAL, 0 }), -EAGAIN));
	expect_after(1, 10);
	lab_finish();
}

Test(xsk_kick, a_kernel_that_never_gets_ahead_is_not_asked_for_ever)
{
	static const int errs[] = { -EINTR, -EBUSY };

	for (int i = 0; i < 2; i++) {
		kernel.at = 0;
		kernel.kick_cnt = 0;
		if (i == 0)
			cr_expect(
				eq(int, KICK({ ALWAYS, -EINTR, 0 }), -EAGAIN));
		kernel.steps[0] = (struct step){ ALWAYS, errs[i], 0 };
		if (i > 0)
			cr_expect(eq(int, xmb_xsk_kick(right), -EAGAIN));
		cr_expect(le(int, kernel.kick_cnt, KICK_LIMIT));
		cr_expect(eq(u32, xmb_xsk_tx_waiting(right), 10));
	}
	lab_finish();
}

Test(xsk_kick, packets_that_were_never_taken_are_unsent_when_it_closes)
{
	struct xmb_multibuf mb, rest = { 0 };

	set_up_with(0);
	cr_assert(eq(u32, post(5), 5));
	mb = lab_packet(100, 9);
	cr_assert(eq(int, xmb_multibuf_split(&mb, 14, &rest, &lab.cache), 0));
	cr_assert(eq(int, xmb_multibuf_append(&mb, &rest, &lab.cache), 0));
	cr_assert(eq(u32, xmb_xsk_send(right, &lab.cache, &mb, 1), 1));
	take(2);
	xmb_xsk_close(right, &lab.cache);
	/* A chain is one packet, and two were taken. */
	expect_counter(right, XMB_XSK_TX_UNSENT, 4);
	cr_expect(eq(i64, lab_ledger().tx_slots, 2));
	lab_finish();
}

/* As if packets had come in each frame of the fill ring. */
static void receive_all(void)
{
	struct xmb_multibuf mbs[RING_CNT];
	uint32_t cnt = *right->fill.producer - *right->fill.consumer, got;
	const uint64_t *fill = right->fill.ring;
	struct xdp_desc *rx = right->rx.ring;

	for (uint32_t i = 0; i < cnt; i++)
		rx[i] = (struct xdp_desc){ .addr = fill[i], .len = 60 };
	__atomic_store_n(right->rx.producer, cnt, __ATOMIC_RELEASE);
	got = xmb_xsk_recv(right, &lab.cache, mbs, cnt);
	cr_assert(eq(u32, got, cnt));
	xmb_multibuf_release_bulk(mbs, got, &lab.cache);
}

Test(xsk_kick, a_socket_that_holds_nothing_but_slots_settles_them_too)
{
	struct xmb_multibuf mb, rest = { 0 };

	set_up_with(0);
	receive_all();
	mb = lab_packet(100, 9);
	cr_assert(eq(int, xmb_multibuf_split(&mb, 14, &rest, &lab.cache), 0));
	cr_assert(eq(u32, xmb_xsk_send(right, &lab.cache, &mb, 1), 1));
	xmb_multibuf_release(&rest, &lab.cache);
	xmb_xsk_close(right, &lab.cache);
	cr_expect(eq(i64, lab_ledger().held, 0));
	cr_expect(eq(i64, lab_ledger().tx_slots, 1));
	lab_finish();
}

Test(xsk_kick, no_more_than_the_cap_is_in_flight)
{
	set_up_with(8);
	cr_expect(eq(u32, post(20), 8));
	cr_expect(eq(u32, xmb_xsk_tx_inflight(right), 8));
	cr_expect(eq(i64, lab_ledger().tx, 8));
	cr_expect(eq(u32, post(1), 0));
	expect_counter(right, XMB_XSK_TX_FULL, 0);
	/* Taken is not completed. */
	take(8);
	cr_expect(eq(u32, xmb_xsk_tx_waiting(right), 0));
	cr_expect(eq(u32, post(1), 0));
	for (uint32_t i = 0; i < 3; i++)
		complete(posted(i));
	cr_expect(eq(u32, xmb_xsk_reap(right, &lab.cache), 3));
	cr_expect(eq(u32, post(20), 3));
	cr_expect(eq(u32, xmb_xsk_tx_inflight(right), 8));
	lab_finish();
}

Test(xsk_kick, no_more_than_the_ring_holds_is_in_flight)
{
	set_up_with(1000);
	cr_expect(eq(u32, post(RING_CNT + 10), RING_CNT));
	/* The TX ring has room again, the completion ring has none. */
	take(RING_CNT);
	cr_expect(eq(u32, post(1), 0));
	for (uint32_t i = 0; i < RING_CNT; i++)
		complete(posted(i));
	cr_expect(eq(u32, xmb_xsk_reap(right, &lab.cache), RING_CNT));
	cr_expect(eq(u32, post(RING_CNT), RING_CNT));
	lab_finish();
}

Test(xsk_kick, a_chain_is_posted_whole_or_not_at_all)
{
	struct xmb_multibuf mb = { 0 };
	uint32_t at;

	set_up_with(8);
	cr_assert(eq(u32, post(6), 6));
	for (int i = 0; i < 3; i++) {
		struct xmb_multibuf part = lab_packet(50, 1);

		cr_assert(eq(int, xmb_multibuf_append(&mb, &part, &lab.cache),
			     0));
	}
	at = *right->tx.producer;
	cr_expect(eq(u32, xmb_xsk_send(right, &lab.cache, &mb, 1), 0));
	cr_expect(eq(u32, xmb_multibuf_chunk_cnt(&mb), 3));
	cr_expect(eq(u32, xmb_multibuf_len(&mb), 150));
	cr_expect(eq(u32, *right->tx.producer, at));
	take(6);
	complete(posted(0));
	cr_expect(eq(u32, xmb_xsk_reap(right, &lab.cache), 1));
	cr_expect(eq(u32, xmb_xsk_send(right, &lab.cache, &mb, 1), 1));
	cr_expect(eq(u32, xmb_xsk_tx_waiting(right), 3));
	cr_expect(eq(u32, xmb_xsk_tx_inflight(right), 8));
	lab_finish();
}

Test(xsk_kick, what_did_not_fit_can_be_dropped_by_name)
{
	struct xmb_multibuf mbs[20];
	uint32_t done;

	set_up_with(8);
	for (uint32_t i = 0; i < 20; i++)
		mbs[i] = lab_packet(100, i);
	done = xmb_xsk_send(right, &lab.cache, mbs, 20);
	cr_expect(eq(i64, lab_ledger().app, 12));
	xmb_xsk_drop_full(right, &lab.cache, mbs + done, 20 - done);
	expect_counter(right, XMB_XSK_TX_FULL, 12);
	expect_counter(right, XMB_XSK_TX_PACKETS, 8);
	cr_expect(eq(i64, lab_ledger().app, 0));
	lab_finish();
}

/* Complete addr: it is counted as unknown, and nothing else changes. */
static void expect_unknown(uint64_t addr)
{
	uint64_t unknown = lab_counter(right, XMB_XSK_COMP_UNKNOWN);
	uint64_t completed = lab_counter(right, XMB_XSK_TX_COMPLETED);
	uint32_t inflight = xmb_xsk_tx_inflight(right);
	uint32_t free_cnt = lab_free_cnt();

	complete(addr);
	cr_expect(eq(u32, xmb_xsk_reap(right, &lab.cache), 1));
	expect_counter(right, XMB_XSK_COMP_UNKNOWN, unknown + 1);
	expect_counter(right, XMB_XSK_TX_COMPLETED, completed);
	cr_expect(eq(u32, xmb_xsk_tx_inflight(right), inflight));
	cr_expect(eq(u32, lab_free_cnt(), free_cnt));
	lab_ledger();
}

Test(xsk_kick, completions_of_nothing_are_counted_and_ignored)
{
	struct xmb_chunk chunk = { 0 };

	set_up_with(0);
	cr_assert(eq(u32, post(2), 2));
	expect_unknown(UINT64_MAX);
	expect_unknown(UINT64_C(2048) * 2048);
	expect_unknown(UINT64_C(1) << 48 | posted(0));
	/* A frame in the fill ring, one of the application, a free one. */
	expect_unknown(*(uint64_t *)right->fill.ring);
	cr_assert(eq(int, xmb_chunk_alloc(&lab.cache, &chunk), 0));
	expect_unknown((uint64_t)chunk.region * 2048);
	cr_expect(xmb_chunk_check(&chunk));
	expect_unknown((uint64_t)chunk.region * 2048 + 100);
	complete((uint64_t)chunk.region * 2048);
	xmb_chunk_release(&chunk, &lab.cache);
	expect_counter(right, XMB_XSK_COMP_UNKNOWN, 6);
	cr_expect(eq(u32, xmb_xsk_reap(right, &lab.cache), 1));
	expect_counter(right, XMB_XSK_COMP_UNKNOWN, 7);
	lab_finish();
}

Test(xsk_kick, a_second_completion_of_a_frame_is_counted_and_ignored)
{
	set_up_with(0);
	cr_assert(eq(u32, post(3), 3));
	take(3);
	for (uint32_t i = 0; i < 3; i++) {
		complete(posted(i));
		cr_expect(eq(u32, xmb_xsk_reap(right, &lab.cache), 1));
		expect_unknown(posted(i));
	}
	expect_counter(right, XMB_XSK_TX_COMPLETED, 3);
	cr_expect(eq(u32, xmb_xsk_tx_inflight(right), 0));
	lab_finish();
}

Test(xsk_kick, slots_of_a_split_frame_complete_one_by_one_and_once)
{
	struct xmb_multibuf mb, rest = { 0 };
	uint64_t addr;

	set_up_with(0);
	mb = lab_packet(900, 9);
	cr_assert(eq(int, xmb_multibuf_split(&mb, 14, &rest, &lab.cache), 0));
	cr_assert(eq(int, xmb_multibuf_append(&mb, &rest, &lab.cache), 0));
	cr_assert(eq(u32, xmb_xsk_send(right, &lab.cache, &mb, 1), 1));
	addr = posted(0);
	take(2);
	expect_unknown(addr + 1);
	expect_unknown(addr + 13);
	expect_unknown(addr + 15);
	complete(addr + 14);
	cr_expect(eq(u32, xmb_xsk_reap(right, &lab.cache), 1));
	cr_expect(eq(u32, xmb_xsk_tx_inflight(right), 1));
	cr_expect(eq(i64, lab_ledger().tx, 1));
	expect_unknown(addr + 14);
	complete(addr);
	cr_expect(eq(u32, xmb_xsk_reap(right, &lab.cache), 1));
	cr_expect(eq(u32, xmb_xsk_tx_inflight(right), 0));
	expect_unknown(addr);
	expect_counter(right, XMB_XSK_TX_COMPLETED, 2);
	cr_expect(eq(i64, lab_ledger().app, 0));
	lab_finish();
}
