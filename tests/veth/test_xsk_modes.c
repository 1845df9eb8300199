/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * lib/xsk, sockets that only send, what a kick may move, and busy polling: what
 * was asked, and what the kernel says that it has.
 */
#include "xsk_lab.h"

#include "base/clock.h"
#include "nic/nic.h"

#include <linux/capability.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/utsname.h>
#include <unistd.h>

enum { CNT = 200 };

TestSuite(xsk_modes, .init = xsk_lab_setup, .timeout = 300);

static bool kernel_is(int major, int minor)
{
	struct utsname name;
	int is_major = 0, is_minor = 0;

	cr_assert(eq(int, uname(&name), 0));
	cr_assert(eq(int, sscanf(name.release, "%d.%d", &is_major, &is_minor),
		     2));
	return is_major > major || (is_major == major && is_minor >= minor);
}

static void send_and_see(struct xmb_xsk *xsk, int tap, uint32_t cnt)
{
	struct xmb_multibuf mbs[CNT];

	for (uint32_t i = 0; i < cnt; i++)
		mbs[i] = lab_packet(100, i);
	lab_send(xsk, mbs, cnt);
	for (uint32_t i = 0; i < cnt; i++)
		cr_assert(tap_recv_made(tap, 100, i), "%u", i);
}

Test(xsk_modes, a_socket_that_only_sends_takes_no_frame_and_is_fed_by_reaping)
{
	struct xmb_multibuf mb = { 0 };
	struct xmb_xsk_opts opts;
	struct xmb_xsk *xsk;
	int rtap;

	/* Fewer than a fill ring wants. */
	lab_wire(1, 1500);
	lab_frames(2048, 64);
	rtap = tap_open("rtap");
	opts = lab_opts("right");
	opts.tx_only = true;
	xsk = lab_open(&opts);
	cr_expect(eq(i64, lab_ledger().free, 64));
	for (int i = 0; i < 20; i++)
		send_and_see(xsk, rtap, 60);
	cr_expect(eq(u32, xmb_xsk_recv(xsk, &lab.cache, &mb, 1), 0));
	cr_expect(not(xmb_xsk_has_rx(xsk)));
	xmb_xsk_refill(xsk, &lab.cache, xmb_clock_ns());
	xmb_xsk_refill_idle(xsk, &lab.cache);
	cr_expect(eq(u32, xmb_xsk_fill_level(xsk), 0));
	expect_counter(xsk, XMB_XSK_RX_KICKS, 0);
	expect_counter(xsk, XMB_XSK_TX_COMPLETED, 20 * 60);
	cr_expect(eq(i64, lab_ledger().free, 64));
	lab_finish();
}

Test(xsk_modes, the_send_buffer_is_raised_to_the_rings_worth)
{
	struct xmb_xsk_mode mode;

	lab_plain();
	mode = xmb_xsk_mode(lab_open_dev("right"));
	cr_expect(ge(u32, mode.sndbuf, 512 * 4096));
	lab_finish();
}

Test(xsk_modes, a_kick_moves_what_the_kernel_lets_it)
{
	struct xmb_multibuf mbs[CNT];
	struct xmb_xsk *xsk;
	uint32_t budget;

	lab_plain();
	xsk = lab_open_dev("right");
	budget = xmb_xsk_mode(xsk).tx_budget;
	cr_expect(eq(u32, budget, kernel_is(6, 17) ? 512 : 32));
	for (uint32_t i = 0; i < CNT; i++)
		mbs[i] = lab_packet(100, i);
	cr_assert(eq(u32, xmb_xsk_send(xsk, &lab.cache, mbs, CNT), CNT));
	cr_expect(eq(int, xmb_xsk_kick(xsk), 0));
	expect_counter(xsk, XMB_XSK_TX_KICKS, (CNT + budget - 1) / budget);
	lab_finish();
}

Test(xsk_modes, a_ring_below_the_kernels_budget_keeps_that)
{
	struct xmb_xsk_opts opts;

	lab_plain();
	opts = lab_opts("right");
	opts.ring_cnt = 16;
	opts.fill_base = 16;
	cr_expect(eq(u32, xmb_xsk_mode(lab_open(&opts)).tx_budget, 32));
	lab_finish();
}

Test(xsk_modes, the_completion_ring_has_room_for_all_that_share_it)
{
	struct xmb_xsk_opts opts;
	struct xmb_xsk *xsk;

	lab_plain();
	opts = lab_opts("right");
	opts.share_cnt = 2;
	xsk = lab_open(&opts);
	cr_expect(eq(u32, xsk->comp.size, 2048));
	cr_expect(eq(u32, xsk->tx.size, 512));
	lab_finish();
}

static struct xmb_xsk_opts busy_opts(const char *dev)
{
	struct xmb_xsk_opts opts = lab_opts(dev);

	opts.busy_poll_us = 50;
	opts.busy_poll_budget = 128;
	opts.prefer_busy_poll = true;
	return opts;
}

Test(xsk_modes, without_busy_polling_none_is_set)
{
	struct xmb_xsk_busy busy;

	lab_plain();
	busy = xmb_xsk_busy(lab_open_dev("left"));
	cr_expect(eq(u32, busy.us, 0));
	cr_expect(not(busy.is_preferred));
	lab_finish();
}

Test(xsk_modes, busy_polling_is_set_and_read_back_and_packets_pass)
{
	struct xmb_multibuf mb = { 0 };
	struct xmb_xsk_opts opts;
	struct xmb_xsk_busy busy;
	struct xmb_xsk *xsk;
	uint64_t kicks;
	int ltap;

	lab_plain();
	ltap = tap_open("ltap");
	opts = busy_opts("left");
	xsk = lab_open(&opts);
	lab_steer(xsk);
	busy = xmb_xsk_busy(xsk);
	cr_expect(eq(u32, busy.us, 50));
	cr_expect(eq(u32, busy.budget, 128));
	cr_expect(busy.is_preferred);
	kicks = lab_counter(xsk, XMB_XSK_RX_KICKS);
	xmb_xsk_refill(xsk, &lab.cache, xmb_clock_ns());
	expect_counter(xsk, XMB_XSK_RX_KICKS, kicks + 1);
	for (uint32_t i = 0; i < CNT; i++) {
		tap_send_made(ltap, 100, i);
		cr_assert(eq(u32, lab_recv(xsk, &mb, 1), 1));
		cr_assert(lab_is_made(&mb, 100, i));
		xmb_multibuf_release(&mb, &lab.cache);
	}
	busy = xmb_xsk_busy(xsk);
	lab_close(xsk);
	/* Of a closed one: as it was. */
	cr_expect(eq(u32, xmb_xsk_busy(xsk).us, 50));
	cr_expect(eq(u32, xmb_xsk_busy(xsk).napi_id, busy.napi_id));
	lab_finish();
}

Test(xsk_modes, a_busy_socket_is_kicked_whatever_its_ring_says)
{
	struct xmb_multibuf mb;
	struct xmb_xsk_opts opts;
	struct xmb_xsk *xsk;

	lab_plain();
	opts = busy_opts("right");
	xsk = lab_open(&opts);
	mb = lab_packet(100, 1);
	cr_assert(eq(u32, xmb_xsk_send(xsk, &lab.cache, &mb, 1), 1));
	*xsk->tx.flags = 0;
	cr_expect(eq(int, xmb_xsk_kick(xsk), 0));
	expect_counter(xsk, XMB_XSK_TX_KICKS, 1);
	cr_expect(eq(u32, xmb_xsk_tx_waiting(xsk), 0));
	lab_finish();
}

Test(xsk_modes, busy_polling_that_is_refused_is_said_and_the_socket_goes_on)
{
	struct __user_cap_header_struct head = {
		.version = _LINUX_CAPABILITY_VERSION_3,
	};
	struct __user_cap_data_struct data[2];
	struct xmb_xsk_opts opts;
	struct xmb_xsk *xsk;
	int rtap;

	lab_plain();
	rtap = tap_open("rtap");
	cr_assert(eq(long, syscall(SYS_capget, &head, data), 0));
	data[0].effective &= ~(1u << CAP_NET_ADMIN);
	cr_assert(eq(long, syscall(SYS_capset, &head, data), 0));
	opts = busy_opts("right");
	opts.wait_ns = 1;
	forget_said();
	xsk = lab_open(&opts);
	expect_said(XMB_LOG_WARN, "needs CAP_NET_ADMIN: not set");
	cr_expect(not(xmb_xsk_busy(xsk).is_preferred));
	cr_expect(eq(u32, xmb_xsk_busy(xsk).budget, 0));
	send_and_see(xsk, rtap, CNT);
	lab_finish();
}
