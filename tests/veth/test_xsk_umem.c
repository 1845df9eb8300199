/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * lib/xsk over frames of any size, and what a limit on locked memory says.
 */
#include "xsk_lab.h"

#include "base/clock.h"

#include <linux/capability.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <unistd.h>

enum { ODD_MAX = 64, USER_BASE = 1 << 24 };

TestSuite(xsk_umem, .init = xsk_lab_setup, .timeout = 300);

static struct xmb_xsk *left, *right;
static int ltap, rtap;

static void open_both(void)
{
	ltap = tap_open("ltap");
	rtap = tap_open("rtap");
	left = lab_open_dev("left");
	right = lab_open_dev("right");
	lab_steer(left);
}

static void set_up(uint32_t mtu, uint32_t frame_len)
{
	lab_wire(1, mtu);
	lab_frames(frame_len, 2048);
	open_both();
}

/* Packets of len come in cnt frames, headroom before each, and go out again. */
static void pass_with_headroom(uint32_t frame_len, uint32_t headroom,
			       size_t len, uint32_t cnt)
{
	struct xmb_umem_opts opts = { .frame_len = frame_len,
				      .frame_cnt = 2048,
				      .headroom = headroom };
	struct xmb_multibuf mb = { 0 };

	lab_wire(1, len > 1514 ? 9000 : 1500);
	lab_frames_of(&opts);
	open_both();
	for (uint32_t i = 0; i < 3000; i++) {
		tap_send_made(ltap, len, i);
		cr_assert(eq(u32, lab_recv(left, &mb, 1), 1));
		cr_assert(lab_is_made(&mb, len, i));
		cr_assert(eq(u32, xmb_multibuf_chunk_cnt(&mb), cnt));
		/* All of it is free, and no byte more. */
		cr_assert(eq(
			int, xmb_multibuf_claim_prefix(&mb, 256 + headroom),
			0));
		cr_assert(eq(int, xmb_multibuf_claim_prefix(&mb, 1), -ERANGE));
		cr_assert(eq(
			int,
			xmb_multibuf_discard_prefix(&mb, 256 + headroom,
						    &lab.cache),
			0));
		lab_send(right, &mb, 1);
		cr_assert(tap_recv_made(rtap, len, i));
	}
	expect_counter(left, XMB_XSK_RX_DROPPED, 0);
	expect_counter(left, XMB_XSK_RX_BAD_DESC, 0);
	cr_expect(eq(u64, lab_ledger().copies, 0));
	lab_finish();
}

Test(xsk_umem, headroom_stays_free_in_front_of_what_comes)
{
	pass_with_headroom(2048, 200, 1514, 1);
}

Test(xsk_umem, headroom_that_leaves_less_than_a_packet_makes_chains)
{
	pass_with_headroom(2048, 512, 1514, 2);
}

Test(xsk_umem, headroom_is_in_each_frame_of_a_jumbo)
{
	pass_with_headroom(4096, 1000, 9000, 4);
}

Test(xsk_umem, headroom_is_there_in_unaligned_mode_too)
{
	pass_with_headroom(3008, 333, 1514, 1);
}

/* The region that an address is in; it must begin the data of a packet. */
static uint32_t region_of(uint64_t addr)
{
	return (uint32_t)(addr / lab.umem->pool.domain.region_len);
}

/* What the kernel wrote into the RX ring for the packets that wait there. */
static void expect_split_addrs(const struct xmb_xsk *xsk)
{
	const uint32_t frame_len = lab.umem->pool.domain.region_len;
	uint32_t end = __atomic_load_n(xsk->rx.producer, __ATOMIC_ACQUIRE);

	for (uint32_t i = xsk->rx.cached_cons; i != end; i++) {
		uint64_t addr = xsk_ring_cons__rx_desc(
					(struct xsk_ring_cons *)&xsk->rx, i)
					->addr;

		cr_assert(eq(u64, addr >> 48, 256));
		cr_assert(eq(u64, (addr & ((1ull << 48) - 1)) % frame_len, 0));
	}
}

/*
 * In by left, out by right: byte for byte, from the very frames it came in,
 * without a copy.
 */
static void pass(size_t len, uint32_t tag)
{
	struct xmb_multibuf mb = { 0 };
	struct xmb_multibuf_iter iter;
	uint32_t from = *right->tx.producer, i = 0, regions[16];

	tap_send_made(ltap, len, tag);
	cr_assert(eq(u32, lab_recv(left, &mb, 1), 1), "%zu", len);
	cr_assert(lab_is_made(&mb, len, tag), "%zu", len);
	for (const struct xmb_chunk *c = xmb_multibuf_first(&mb, &iter); c;
	     c = xmb_multibuf_next(&iter))
		regions[i++ & 15] = c->region;
	cr_assert(eq(u32, xmb_xsk_send(right, &lab.cache, &mb, 1), 1));
	cr_assert(eq(u32, *right->tx.producer - from, i));
	for (uint32_t k = 0; k < i; k++)
		cr_assert(eq(
			u32,
			region_of(xsk_ring_prod__tx_desc(&right->tx, from + k)
					  ->addr),
			regions[k]));
	lab_send(right, NULL, 0);
	cr_assert(tap_recv_made(rtap, len, tag), "%zu", len);
}

static void pass_sizes(uint32_t frame_len)
{
	set_up(1500, frame_len);
	cr_assert(lab.umem->is_unaligned);
	/* More packets than frames: each frame, at each of its places. */
	for (uint32_t i = 0; i < 3 * 2048; i++)
		pass(14 + i % 1501, i);
	for (uint32_t i = 0; i < 32; i++)
		tap_send_made(ltap, 100, i);
	await(*left->rx.producer - left->rx.cached_cons == 32);
	cr_expect(xmb_xsk_has_rx(left));
	expect_split_addrs(left);
	expect_counter(left, XMB_XSK_RX_BAD_DESC, 0);
	expect_counter(left, XMB_XSK_RX_INVALID, 0);
	expect_counter(right, XMB_XSK_TX_INVALID, 0);
	expect_counter(right, XMB_XSK_COMP_UNKNOWN, 0);
	cr_expect(eq(u64, lab_ledger().copies, 0));
	lab_finish();
}

Test(xsk_umem, frames_of_4032_bytes_go_out_from_where_they_came_in)
{
	pass_sizes(4032);
}

Test(xsk_umem, frames_of_4001_bytes_go_out_from_where_they_came_in)
{
	pass_sizes(4001);
}

Test(xsk_umem, frames_of_2049_bytes_go_out_from_where_they_came_in)
{
	pass_sizes(2049);
}

Test(xsk_umem, unaligned_frames_of_4096_bytes_go_out_from_where_they_came_in)
{
	struct xmb_umem_opts opts = { .frame_len = 4096,
				      .frame_cnt = 2048,
				      .is_unaligned = true };

	lab_wire(1, 1500);
	lab_frames_of(&opts);
	open_both();
	for (uint32_t i = 0; i < 3000; i++)
		pass(14 + i % 1501, i);
	cr_expect(eq(u64, lab_ledger().copies, 0));
	lab_finish();
}

static void pass_jumbos(uint32_t frame_len)
{
	set_up(9000, frame_len);
	for (uint32_t i = 0; i < 1024; i++)
		pass(9014 - i % 3000, i);
	cr_expect(gt(u64, lab_counter(left, XMB_XSK_RX_CHAINS), 0));
	expect_counter(right, XMB_XSK_COMP_UNKNOWN, 0);
	cr_expect(eq(u64, lab_ledger().copies, 0));
	lab_finish();
}

Test(xsk_umem, jumbos_in_frames_of_4032_bytes_are_three_of_them)
{
	pass_jumbos(4032);
}

Test(xsk_umem, jumbos_in_frames_of_2501_bytes_pass_too)
{
	pass_jumbos(2501);
}

Test(xsk_umem, parts_at_odd_bytes_of_odd_frames_come_home)
{
	set_up(1500, 4001);
	for (uint32_t i = 0; i < 512; i++) {
		struct xmb_multibuf head = lab_packet(200, i), rest = { 0 };
		uint8_t want[200], got[PACKET_MAX];
		uint32_t at = 15 + i % ODD_MAX;

		packet_make(want, sizeof(want), i);
		cr_assert(eq(int,
			     xmb_multibuf_split(&head, at, &rest, &lab.cache),
			     0));
		lab_send(right, &rest, 1);
		cr_assert(eq(sz, tap_recv(rtap, got, sizeof(got), WAIT_MS),
			     200 - at));
		cr_assert(eq(int, memcmp(got, want + at, 200 - at), 0));
		xmb_multibuf_release(&head, &lab.cache);
	}
	expect_counter(right, XMB_XSK_COMP_UNKNOWN, 0);
	lab_finish();
}

/* As a kernel that does not flatten what we post would return it. */
Test(xsk_umem, a_completion_of_base_and_offset_is_the_same_byte)
{
	struct xmb_multibuf mb;
	struct xdp_desc *desc;
	uint64_t addr, base;

	set_up(1500, 4032);
	for (uint32_t i = 0; i < 100; i++) {
		mb = lab_packet(100, i);
		cr_assert(eq(u32, xmb_xsk_send(right, &lab.cache, &mb, 1), 1));
		desc = xsk_ring_prod__tx_desc(&right->tx,
					      right->tx.cached_prod - 1);
		addr = desc->addr;
		base = addr / 4032 * 4032;
		cr_assert(eq(u64, addr - base, 64));
		desc->addr = base | (addr - base) << 48;
		lab_send(right, NULL, 0);
		cr_assert(tap_recv_made(rtap, 100, i));
	}
	expect_counter(right, XMB_XSK_COMP_UNKNOWN, 0);
	lab_finish();
}

/* In aligned mode the upper bits mean nothing: such a word names no frame. */
Test(xsk_umem, an_offset_in_an_aligned_descriptor_is_ignored_and_counted)
{
	struct xmb_multibuf mb = { 0 };
	struct xdp_desc *desc;
	uint64_t addr;

	set_up(1500, 2048);
	tap_send_made(ltap, 100, 1);
	await(xmb_xsk_has_rx(left));
	desc = (struct xdp_desc *)xsk_ring_cons__rx_desc(&left->rx,
							 left->rx.cached_cons);
	addr = desc->addr;
	desc->addr = addr / 2048 * 2048 | 256ull << 48;
	cr_expect(eq(u32, xmb_xsk_recv(left, &lab.cache, &mb, 1), 0));
	expect_counter(left, XMB_XSK_RX_BAD_DESC, 1);
	/* The frame is still the kernel's, as far as we know. */
	cr_expect(eq(i64, lab_ledger().missing, 0));
	lab_finish();
}

Test(xsk_umem, zero_copy_of_frames_across_pages_is_refused_with_what_to_do)
{
	struct xmb_xsk_opts opts;

	lab_wire(1, 1500);
	lab_frames(4032, 1024);
	if (lab.umem->is_huge)
		cr_skip_test("hugepages are set up here");
	opts = lab_opts("left");
	opts.bind = XMB_XSK_ZC;
	lab_expect_refused(&opts, -EOPNOTSUPP,
			   "frames of 4032 bytes lie across pages");
	expect_said(XMB_LOG_ERROR, "vm.nr_hugepages");
	/* An auto bind on a device that has zero copy says what it gives up. */
	opts.bind = XMB_XSK_AUTO;
	opts.zc_segs_max = 8;
	cr_expect(not(xmb_xsk_mode(lab_open(&opts)).is_zc));
	expect_said(XMB_LOG_WARN, "taking copy mode");
	lab_finish();
}

static void drop_ipc_lock(void)
{
	struct __user_cap_header_struct head = {
		.version = _LINUX_CAPABILITY_VERSION_3,
	};
	struct __user_cap_data_struct data[2];

	cr_assert(eq(long, syscall(SYS_capget, &head, data), 0));
	data[0].effective &= ~(1u << CAP_IPC_LOCK);
	cr_assert(eq(long, syscall(SYS_capset, &head, data), 0));
}

/* What root has locked counts in all its processes: another user has none. */
static void become_another_user(void)
{
	cr_assert(eq(int, setreuid(USER_BASE + (uid_t)getpid(), 0), 0));
}

static void limit_memlock(rlim_t soft, rlim_t hard)
{
	struct rlimit limit = { .rlim_cur = soft, .rlim_max = hard };

	become_another_user();
	cr_assert(eq(int, setrlimit(RLIMIT_MEMLOCK, &limit), 0));
	drop_ipc_lock();
}

Test(xsk_umem, more_than_may_be_locked_at_all_is_refused_at_once)
{
	struct xmb_xsk_opts opts;
	uint64_t start_ns;

	lab_wire(1, 1500);
	lab_frames(4032, 1024);
	opts = lab_opts("left");
	opts.wait_ns = 600 * XMB_NS_PER_S;
	limit_memlock(1 << 20, 5 << 20);
	start_ns = xmb_clock_ns();
	lab_expect_refused(&opts, -ENOBUFS, "RLIMIT_MEMLOCK is 1024 KiB");
	cr_expect(lt(u64, xmb_clock_ns() - start_ns, 60 * XMB_NS_PER_S));
	expect_said(XMB_LOG_ERROR, "raise it to 4032 KiB a socket");
	expect_said(XMB_LOG_ERROR, "the hard limit allows it");
	expect_said(XMB_LOG_ERROR, "CAP_IPC_LOCK");
	lab_finish();
}

Test(xsk_umem, a_hard_limit_that_is_too_low_says_where_to_raise_it)
{
	struct xmb_xsk_opts opts;

	lab_wire(1, 1500);
	lab_frames(2048, 1024);
	opts = lab_opts("left");
	limit_memlock(1 << 20, 1 << 20);
	lab_expect_refused(&opts, -ENOBUFS, "the hard limit too");
	expect_said(XMB_LOG_ERROR, "LimitMEMLOCK=");
	expect_said(XMB_LOG_ERROR, "limits.conf");
	lab_finish();
}

/* The memory of each socket counts anew: two fit, the third is refused. */
Test(xsk_umem, the_limit_is_for_all_sockets_together)
{
	struct xmb_xsk_opts opts;

	lab_wire(4, 1500);
	lab_frames(2048, 1024);
	limit_memlock(5 << 20, 5 << 20);
	opts = lab_opts("left");
	lab_open(&opts);
	opts.queue = 1;
	lab_open(&opts);
	opts.queue = 2;
	opts.wait_ns = 50 * XMB_NS_PER_MS;
	lab_expect_refused(&opts, -ENOBUFS, "all of them");
	lab_finish();
}
