/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * lib/xsk on drivers that have zero copy: the mode that was got, both ways,
 * frames that go from card to card where they lie, the kick that receiving
 * needs, and what links and closings do to frames that a card has.
 */
#include "vm_lab.h"

#include "base/clock.h"
#include "nic/nic.h"

#include <pthread.h>
#include <sys/socket.h>
#include <unistd.h>

enum { MANY = 1024, NAPI_MAX = 8, BUSY_TURNS = 20 };

TestSuite(zero_copy, .init = vm_setup, .timeout = 300);

Test(zero_copy, an_auto_bind_gives_it_and_says_so)
{
	struct xmb_xsk_mode mode = xmb_xsk_mode(vm_open("left", NULL));

	cr_expect(mode.is_zc);
	/* Neither card sends chains in zero copy. */
	cr_expect(not(mode.is_sg));
	cr_expect(eq(u32, mode.frags_max, 1));
	cr_expect(eq(u32, vm_opts("left").zc_segs_max, 1));
	lab_finish();
}

Test(zero_copy, the_mode_that_is_named_is_the_mode_that_is_got)
{
	struct xmb_xsk_opts zc = { .bind = XMB_XSK_ZC };
	struct xmb_xsk_opts copy = { .bind = XMB_XSK_COPY };

	cr_expect(xmb_xsk_mode(vm_open("left", &zc)).is_zc);
	cr_expect(not(xmb_xsk_mode(vm_open("right", &copy)).is_zc));
	lab_finish();
}

Test(zero_copy, packets_are_received)
{
	struct xmb_xsk *left = vm_open("left", NULL);
	int tap = tap_open("ltap");

	vm_exchange(left, tap, 60, MANY);
	vm_exchange(left, tap, 1514, MANY);
	expect_counter(left, XMB_XSK_RX_PACKETS, 2 * MANY);
	expect_counter(left, XMB_XSK_RX_DROPPED, 0);
	expect_counter(left, XMB_XSK_RX_BAD_DESC, 0);
	lab_finish();
}

Test(zero_copy, packets_are_sent)
{
	struct xmb_xsk *left = vm_open("left", NULL);
	int tap = tap_open("ltap");

	for (uint32_t tag = 0; tag < MANY; tag += VM_BURST) {
		vm_expect_tx(left, tap, 60, tag, VM_BURST);
		vm_expect_tx(left, tap, 1514, tag, VM_BURST);
	}
	expect_counter(left, XMB_XSK_TX_COMPLETED, 2 * MANY);
	expect_counter(left, XMB_XSK_COMP_UNKNOWN, 0);
	lab_finish();
}

Test(zero_copy, a_frame_goes_from_card_to_card_where_it_lies)
{
	struct xmb_xsk *left = vm_open("left", NULL);
	struct xmb_xsk *right = vm_open("right", NULL);
	int ltap = tap_open("ltap"), rtap = tap_open("rtap");

	cr_assert(xmb_xsk_mode(left).is_zc && xmb_xsk_mode(right).is_zc);
	vm_forward(left, ltap, right, rtap, 300, MANY);
	vm_forward(right, rtap, left, ltap, 1514, MANY);
	lab_finish();
}

/* Why zc_unit is there. */
Test(zero_copy, igb_cuts_a_packet_in_frames_of_2048_in_two, .init = NULL)
{
	struct xmb_xsk_opts opts = { .bind = XMB_XSK_ZC, .zc_unit = 1 };
	struct xmb_multibuf mbs[2] = { 0 };
	bool cuts = vm_is("igb");
	uint32_t cnt = cuts ? 2 : 1;
	struct xmb_xsk *left;

	vm_setup_with(2048, 1500);
	left = vm_open("left", &opts);
	tap_send_made(tap_open("ltap"), 1514, 1);
	cr_assert(eq(u32, lab_recv(left, mbs, cnt), cnt));
	cr_expect(eq(u32, mbs[0].len, cuts ? 1024 : 1514));
	cr_expect(eq(u32, mbs[1].len, cuts ? 1514 - 1024 : 0));
	xmb_multibuf_release_bulk(mbs, cnt, &lab.cache);
	lab_finish();
}

/* A program that did not ask for zero copy by name gets whole packets. */
Test(zero_copy, frames_in_which_a_driver_cuts_packets_are_not_used,
     .init = NULL)
{
	bool cuts = vm_is("igb");
	struct xmb_xsk_opts opts;
	struct xmb_xsk *left;

	vm_setup_with(2048, 1500);
	left = vm_open("left", NULL);
	cr_expect(eq(int, xmb_xsk_mode(left).is_zc, !cuts));
	cr_expect(eq(int, vm_said("cuts longer packets in two"), cuts));
	vm_exchange(left, tap_open("ltap"), 1514, MANY);
	opts = vm_opts("right");
	opts.bind = XMB_XSK_ZC;
	if (cuts)
		vm_expect_refused(&opts, -EOPNOTSUPP, "needs larger frames");
	lab_finish();
}

Test(zero_copy, without_need_wakeup_packets_come_and_go)
{
	struct xmb_xsk_opts opts = { .no_need_wakeup = true };
	struct xmb_xsk *left = vm_open("left", &opts);
	uint64_t end_ns = xmb_clock_ns() + WAIT_MS * XMB_NS_PER_MS;
	struct xmb_multibuf mbs[VM_BURST];
	int tap = tap_open("ltap");
	uint32_t cnt = 0;

	cr_expect(xmb_xsk_mode(left).is_zc);
	/* igb loses some of them in this mode. */
	while (cnt < MANY && xmb_clock_ns() < end_ns) {
		uint32_t got;

		tap_send_made(tap, 300, 1);
		xmb_xsk_refill(left, &lab.cache, xmb_clock_ns());
		got = xmb_xsk_recv(left, &lab.cache, mbs, VM_BURST);
		for (uint32_t i = 0; i < got; i++)
			cr_assert(lab_is_made(&mbs[i], 300, 1));
		lab_send(left, mbs, got);
		cnt += got;
	}
	cr_expect(ge(u32, cnt, MANY));
	expect_counter(left, XMB_XSK_RX_KICKS, 0);
	cr_expect(tap_recv_made(tap, 300, 1));
	lab_finish();
}

/* A kick of the receiving side that can be left out. */
static bool is_rx_mute;

static int kick_unless_mute(void *arg, int fd, bool is_tx)
{
	(void)arg;
	if (is_tx)
		return sendto(fd, NULL, 0, MSG_DONTWAIT, NULL, 0) < 0 ? -errno
								      : 0;
	if (!is_rx_mute)
		recvfrom(fd, NULL, 0, MSG_DONTWAIT, NULL, NULL);
	return 0;
}

/* Send unless the card that should receive holds the sender up. */
static void push(int tap)
{
	uint8_t packet[60];

	packet_make(packet, sizeof(packet), 1);
	if (send(tap, packet, sizeof(packet), 0) < 0)
		usleep(1000);
}

/* Receive without giving frames back until the kernel asks for some. */
static uint32_t run_dry(struct xmb_xsk *xsk, int tap, struct xmb_multibuf *mbs)
{
	uint64_t end_ns = xmb_clock_ns() + WAIT_MS * XMB_NS_PER_MS;
	uint32_t got = 0, idle = 0;

	while (idle < 20 && got < VM_FRAMES && xmb_clock_ns() < end_ns) {
		uint32_t before = got;

		for (uint32_t i = 0; i < VM_BURST; i++)
			push(tap);
		usleep(1000);
		xmb_xsk_refill(xsk, &lab.cache, xmb_clock_ns());
		got += xmb_xsk_recv(xsk, &lab.cache, mbs + got,
				    VM_FRAMES - got);
		idle = got == before ? idle + 1 : 0;
	}
	return got;
}

/* As packets come and go: has one arrived within 300 ms? */
static bool is_receiving(struct xmb_xsk *xsk, int tap)
{
	uint64_t end_ns = xmb_clock_ns() + 300 * XMB_NS_PER_MS;
	struct xmb_multibuf mbs[VM_BURST];
	uint32_t got = 0;

	while (got == 0 && xmb_clock_ns() < end_ns) {
		push(tap);
		xmb_xsk_refill(xsk, &lab.cache, xmb_clock_ns());
		got = xmb_xsk_recv(xsk, &lab.cache, mbs, VM_BURST);
		xmb_multibuf_release_bulk(mbs, got, &lab.cache);
	}
	return got > 0;
}

Test(zero_copy, receiving_resumes_after_the_pool_ran_dry)
{
	static struct xmb_multibuf mbs[VM_FRAMES];
	struct xmb_xsk_opts opts = { .kick = kick_unless_mute };
	struct xmb_xsk *left = vm_open("left", &opts);
	int tap = tap_open("ltap");
	uint32_t got = run_dry(left, tap, mbs);

	cr_expect(eq(u32, got, VM_FRAMES));
	cr_expect(eq(u32, lab_free_cnt(), 0));
	xmb_multibuf_release_bulk(mbs, got, &lab.cache);
	cr_expect(is_receiving(left, tap));
	cr_expect(gt(u64, lab_counter(left, XMB_XSK_RX_KICKS), 0));
	lab_finish();
}

Test(zero_copy, without_the_kick_receiving_stalls)
{
	static struct xmb_multibuf mbs[VM_FRAMES];
	struct xmb_xsk_opts opts = { .kick = kick_unless_mute };
	struct xmb_xsk *left = vm_open("left", &opts);
	int tap = tap_open("ltap");
	uint32_t got;

	is_rx_mute = true;
	got = run_dry(left, tap, mbs);
	xmb_multibuf_release_bulk(mbs, got, &lab.cache);
	cr_expect(not(is_receiving(left, tap)));
	is_rx_mute = false;
	cr_expect(is_receiving(left, tap));
	lab_finish();
}

/* The one of a device's NAPIs that a socket is of. */
static struct xmb_nic_napi napi_of(const struct xmb_xsk *xsk)
{
	const uint32_t id = xmb_xsk_busy(xsk).napi_id;
	struct xmb_nic_napi list[NAPI_MAX], none = { 0 };
	int cnt = xmb_nic_napi_list(xsk->opts.ifindex, list, NAPI_MAX);

	for (int i = 0; i < cnt && i < NAPI_MAX; i++)
		if (list[i].id == id)
			return list[i];
	cr_expect(false, "no NAPI %u among %d", id, cnt);
	return none;
}

/* Poll until nothing comes any more. */
static void drain(struct xmb_xsk *xsk)
{
	struct xmb_multibuf mbs[VM_BURST];

	for (uint32_t idle = 0; idle < 100; idle++) {
		uint32_t got;

		xmb_xsk_refill(xsk, &lab.cache, xmb_clock_ns());
		got = xmb_xsk_recv(xsk, &lab.cache, mbs, VM_BURST);
		xmb_multibuf_release_bulk(mbs, got, &lab.cache);
		idle = got ? 0 : idle;
	}
}

/*
 * With interrupts deferred for seconds it is our calls that bring packets, and
 * without these a third of a second passes in which nothing comes.
 */
Test(zero_copy, busy_polling_does_what_interrupts_are_kept_from)
{
	struct xmb_xsk_opts opts = { .kick = kick_unless_mute,
				     .busy_poll_us = 100,
				     .busy_poll_budget = VM_BURST,
				     .prefer_busy_poll = true };
	struct xmb_xsk *left = vm_open("left", &opts);
	struct xmb_nic_napi was, napi, now;
	int tap = tap_open("ltap");
	/* The emulated igb interrupts although that is deferred. */
	bool is_silent = !vm_is("virtio");

	vm_exchange(left, tap, 300, VM_BURST);
	was = napi = napi_of(left);
	napi.defer_hard_irqs = 1000;
	napi.gro_flush_ns = 2 * XMB_NS_PER_S;
	napi.irq_suspend_ns = 20 * XMB_NS_PER_MS;
	cr_expect(eq(int, xmb_nic_napi_set(&napi), 0));
	now = napi_of(left);
	cr_expect(eq(u32, now.defer_hard_irqs, napi.defer_hard_irqs));
	cr_expect(eq(u64, now.gro_flush_ns, napi.gro_flush_ns));
	cr_expect(eq(u64, now.irq_suspend_ns, napi.irq_suspend_ns));
	/* A poll that left work is followed by the kernel's own: try again. */
	for (int turn = 0; turn < BUSY_TURNS && !is_silent; turn++) {
		is_rx_mute = false;
		cr_expect(is_receiving(left, tap), "turn %d", turn);
		drain(left);
		is_rx_mute = true;
		is_silent = !is_receiving(left, tap);
	}
	cr_expect(is_silent);
	/* The card outlives the test. */
	cr_expect(eq(int, xmb_nic_napi_set(&was), 0));
	lab_finish();
}

Test(zero_copy, more_than_the_ring_is_sent_in_turns)
{
	static struct xmb_multibuf mbs[4 * VM_RING];
	struct xmb_xsk *left = vm_open("left", NULL);

	for (uint32_t i = 0; i < 4 * VM_RING; i++)
		mbs[i] = lab_packet(60, i);
	lab_send(left, mbs, 4 * VM_RING);
	expect_counter(left, XMB_XSK_TX_PACKETS, 4 * VM_RING);
	expect_counter(left, XMB_XSK_TX_COMPLETED, 4 * VM_RING);
	expect_counter(left, XMB_XSK_COMP_UNKNOWN, 0);
	lab_finish();
}

Test(zero_copy, a_link_that_flaps_takes_no_frame_with_it)
{
	struct xmb_multibuf mbs[VM_BURST];
	struct xmb_xsk *left = vm_open("left", NULL);
	int tap = tap_open("ltap");

	for (int flap = 0; flap < 3; flap++) {
		uint32_t done;

		for (uint32_t i = 0; i < VM_BURST; i++) {
			mbs[i] = lab_packet(60, i);
			tap_send_made(tap, 60, i);
		}
		done = xmb_xsk_send(left, &lab.cache, mbs, VM_BURST);
		cr_expect(eq(u32, done, VM_BURST));
		xmb_xsk_kick(left);
		must("ip link set left down");
		cr_expect(eq(int, xmb_xsk_kick(left),
			     xmb_xsk_tx_waiting(left) ? -ENETDOWN : 0));
		lab_ledger();
		must("ip link set left up");
		vm_wait_link("left");
		cr_expect(is_receiving(left, tap), "flap %d", flap);
		lab_send(left, NULL, 0);
	}
	lab_finish();
}

static atomic_bool is_over;

static void *flood(void *arg)
{
	int tap = *(int *)arg;

	while (!atomic_load(&is_over))
		push(tap);
	return NULL;
}

/* Send and receive at once, for a while. */
static void carry(struct xmb_xsk *xsk, uint64_t ns)
{
	uint64_t end_ns = xmb_clock_ns() + ns;
	struct xmb_multibuf mbs[VM_BURST];

	while (xmb_clock_ns() < end_ns) {
		uint32_t got, done;

		xmb_xsk_reap(xsk, &lab.cache);
		xmb_xsk_refill(xsk, &lab.cache, xmb_clock_ns());
		got = xmb_xsk_recv(xsk, &lab.cache, mbs, VM_BURST);
		done = xmb_xsk_send(xsk, &lab.cache, mbs, got);
		xmb_xsk_drop_full(xsk, &lab.cache, mbs + done, got - done);
		xmb_xsk_kick(xsk);
	}
}

Test(zero_copy, a_socket_that_closes_under_load_loses_no_frame)
{
	int tap = tap_open("ltap");
	pthread_t thread;

	cr_assert(eq(int, pthread_create(&thread, NULL, flood, &tap), 0));
	for (int turn = 0; turn < 3; turn++) {
		struct xmb_xsk *left = vm_open("left", NULL);

		carry(left, 300 * XMB_NS_PER_MS);
		cr_expect(gt(u64, lab_counter(left, XMB_XSK_RX_PACKETS), 0));
		cr_expect(gt(u64, lab_counter(left, XMB_XSK_TX_PACKETS), 0));
		/* The socket first, while packets come and go. */
		lab_close(left);
		xmb_prog_destroy(lab.progs[--lab.prog_cnt]);
		cr_expect(eq(i64, lab_ledger().free, VM_FRAMES));
	}
	atomic_store(&is_over, true);
	pthread_join(thread, NULL);
	lab_finish();
}

Test(zero_copy, a_queue_is_had_again_at_once)
{
	int tap = tap_open("ltap");

	for (int turn = 0; turn < 3; turn++) {
		struct xmb_xsk *left = vm_open("left", NULL);

		cr_expect(xmb_xsk_mode(left).is_zc);
		cr_expect(is_receiving(left, tap));
		xmb_xsk_close(left, &lab.cache);
		xmb_prog_destroy(lab.progs[--lab.prog_cnt]);
	}
	lab_finish();
}
