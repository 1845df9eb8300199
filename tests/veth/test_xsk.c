/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * lib/xsk, the life of a socket: what opening refuses and says, what it got,
 * and where the frames are from close to settle.
 */
#include "xsk_lab.h"

#include "base/clock.h"

#include <linux/capability.h>
#include <pthread.h>
#include <signal.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

TestSuite(xsk, .init = xsk_lab_setup, .timeout = 300);

#define MS XMB_NS_PER_MS

enum { BUSY_MIN = 10 };

/* Options that do not wait for a queue. */
static struct xmb_xsk_opts hasty(const char *dev)
{
	struct xmb_xsk_opts opts = lab_opts(dev);

	opts.wait_ns = 1;
	return opts;
}

static void drop_capability(int cap)
{
	struct __user_cap_header_struct head = {
		.version = _LINUX_CAPABILITY_VERSION_3,
	};
	struct __user_cap_data_struct data[2];

	cr_assert(eq(long, syscall(SYS_capget, &head, data), 0));
	data[cap / 32].effective &= ~(1u << cap % 32);
	cr_assert(eq(long, syscall(SYS_capset, &head, data), 0));
}

Test(xsk, opens_with_its_fill_ring_filled_and_says_what_it_got)
{
	struct xmb_xsk_mode mode;
	struct xmb_xsk *xsk;

	lab_plain();
	xsk = lab_open_dev("left");
	mode = xmb_xsk_mode(xsk);
	cr_expect(not(mode.is_zc));
	cr_expect(mode.is_sg);
	cr_expect(eq(u32, mode.frags_max, 17));
	cr_expect(ge(int, xmb_xsk_fd(xsk), 0));
	cr_expect(eq(u32, xmb_xsk_queue(xsk), 0));
	cr_expect(eq(u32, xmb_xsk_fill_level(xsk), 256));
	cr_expect(eq(i64, lab_ledger().fill, 256));
	cr_expect(eq(i64, lab_ledger().free, 2048 - 256));
	cr_expect(eq(u32, xmb_xsk_tx_waiting(xsk), 0));
	cr_expect(eq(u32, xmb_xsk_tx_inflight(xsk), 0));
	lab_finish();
}

Test(xsk, copy_mode_that_was_asked_for_is_what_it_gets)
{
	struct xmb_xsk_opts opts;

	lab_plain();
	opts = lab_opts("left");
	opts.bind = XMB_XSK_COPY;
	cr_expect(not(xmb_xsk_mode(lab_open(&opts)).is_zc));
	lab_finish();
}

Test(xsk, zero_copy_that_is_not_to_be_had_is_refused)
{
	struct xmb_xsk_opts opts;

	lab_plain();
	opts = hasty("left");
	opts.bind = XMB_XSK_ZC;
	lab_expect_refused(&opts, -EOPNOTSUPP,
			   "no zero copy: use auto or copy");
	lab_open_dev("left");
	lab_finish();
}

Test(xsk, a_ring_of_no_power_of_two_is_refused)
{
	struct xmb_xsk_opts opts;

	lab_plain();
	opts = hasty("left");
	opts.ring_cnt = 500;
	lab_expect_refused(&opts, -EINVAL, "500 entries: must be a power");
	lab_finish();
}

Test(xsk, a_queue_that_the_device_has_not_is_refused)
{
	struct xmb_xsk_opts opts;

	lab_plain();
	opts = hasty("left");
	opts.queue = 1;
	lab_expect_refused(&opts, -EINVAL, "has the device this queue?");
	expect_said(XMB_LOG_ERROR, "left queue 1: bind");
	lab_finish();
}

Test(xsk, a_device_that_is_gone_is_refused)
{
	struct xmb_xsk_opts opts;

	lab_plain();
	opts = hasty("left");
	must("ip link del left");
	lab_expect_refused(&opts, -ENODEV, "the device is gone");
	lab_finish();
}

Test(xsk, too_few_free_frames_to_fill_are_refused)
{
	struct xmb_xsk_opts opts;

	lab_wire(1, 1500);
	lab_frames(2048, 200);
	opts = hasty("left");
	lab_expect_refused(&opts, -ENOBUFS,
			   "256 frames are needed to receive, but only 200");
	lab_finish();
}

Test(xsk, without_cap_net_raw_it_is_refused_with_what_to_do)
{
	struct xmb_xsk_opts opts;

	lab_plain();
	opts = hasty("left");
	drop_capability(CAP_NET_RAW);
	lab_expect_refused(&opts, -EPERM, "needs CAP_NET_RAW");
	lab_finish();
}

Test(xsk, more_memory_than_may_be_locked_is_refused_with_what_to_do)
{
	struct rlimit limit = { .rlim_cur = 64 << 10, .rlim_max = 64 << 10 };
	struct xmb_xsk_opts opts;

	lab_plain();
	opts = hasty("left");
	cr_assert(eq(int, setrlimit(RLIMIT_MEMLOCK, &limit), 0));
	drop_capability(CAP_IPC_LOCK);
	lab_expect_refused(&opts, -ENOBUFS, "RLIMIT_MEMLOCK is 64 KiB");
	expect_said(XMB_LOG_ERROR, "locks the frames, 4096 KiB, once");
	expect_said(XMB_LOG_ERROR, "CAP_IPC_LOCK");
	lab_finish();
}

Test(xsk, no_descriptor_left_is_refused)
{
	struct rlimit limit = { 0 };
	struct xmb_xsk_opts opts;
	int fd;

	lab_plain();
	opts = hasty("left");
	fd = dup(0);
	close(fd);
	limit.rlim_cur = limit.rlim_max = (rlim_t)fd;
	cr_assert(eq(int, setrlimit(RLIMIT_NOFILE, &limit), 0));
	lab_expect_refused(&opts, -EMFILE, "open an AF_XDP socket");
	lab_finish();
}

Test(xsk, all_ids_in_use_are_refused)
{
	struct xmb_xsk_opts opts;
	struct xmb_xsk *xsk = NULL;
	uint32_t free_cnt;

	lab_plain();
	opts = hasty("left");
	free_cnt = lab_free_cnt();
	while (xmb_umem_id_get(lab.umem) > 0)
		;
	cr_expect(eq(int, xmb_xsk_open(&xsk, lab.umem, &lab.cache, &opts),
		     -ENOSPC));
	cr_expect(eq(ptr, xsk, NULL));
	cr_expect(eq(u32, lab_free_cnt(), free_cnt));
	for (uint32_t who = 1; who <= XMB_WHO_MAX; who++)
		xmb_umem_id_put(lab.umem, who);
	lab_finish();
}

Test(xsk, a_bound_queue_is_refused_after_the_time_to_wait)
{
	struct xmb_xsk_opts opts;
	uint64_t before_ns, waited_ns;

	lab_plain();
	lab_open_dev("left");
	opts = lab_opts("left");
	opts.wait_ns = 200 * MS;
	before_ns = xmb_clock_ns();
	lab_expect_refused(&opts, -EBUSY, "another AF_XDP socket has this");
	waited_ns = xmb_clock_ns() - before_ns;
	cr_expect(ge(u64, waited_ns, 200 * MS));
	/* Not for as long as it would wait without being told. */
	cr_expect(lt(u64, waited_ns, 60 * 1000 * MS));
	lab_finish();
}

/* Another program's socket: memory, frames and cache of its own. */
struct stranger {
	struct xmb_umem *umem;
	struct xmb_cache cache;
	struct xmb_xsk *xsk;
};

static void stranger_open(struct stranger *other, const char *dev)
{
	struct xmb_umem_opts opts = { .frame_cnt = 1024 };
	struct xmb_xsk_opts xsk_opts = lab_opts(dev);

	cr_assert(eq(int, xmb_umem_create(&other->umem, &opts), 0));
	xmb_cache_init(&other->cache, &other->umem->pool, 1);
	cr_assert(eq(int, xmb_xsk_open(&other->xsk, other->umem, &other->cache,
				       &xsk_opts), 0));
}

static void stranger_free(struct stranger *other)
{
	xmb_xsk_destroy(other->xsk);
	xmb_cache_fini(&other->cache);
	xmb_umem_destroy(other->umem);
}

/* bind() is wrapped (--wrap), to see somebody wait for a queue. */
static _Atomic uint32_t busy_cnt;
static _Atomic uint64_t first_busy_ns;

int __real_bind(int fd, const struct sockaddr *addr, socklen_t len);
int __wrap_bind(int fd, const struct sockaddr *addr, socklen_t len);

int __wrap_bind(int fd, const struct sockaddr *addr, socklen_t len)
{
	int rc = __real_bind(fd, addr, len), err = errno;

	if (rc && err == EBUSY && busy_cnt++ == 0)
		first_busy_ns = xmb_clock_ns();
	errno = err;
	return rc;
}

static uint64_t let_go_ns;

static void *close_later(void *arg)
{
	struct stranger *other = arg;

	await(busy_cnt >= BUSY_MIN);
	let_go_ns = xmb_clock_ns();
	xmb_xsk_close(other->xsk, &other->cache);
	return NULL;
}

Test(xsk, a_queue_that_is_let_go_in_time_is_waited_for)
{
	static struct stranger other;
	pthread_t thread;
	struct xmb_xsk *xsk;

	lab_plain();
	stranger_open(&other, "left");
	cr_assert(eq(int, pthread_create(&thread, NULL, close_later, &other),
		     0));
	xsk = lab_open_dev("left");
	pthread_join(thread, NULL);
	cr_expect(ge(u32, busy_cnt, BUSY_MIN));
	cr_expect(ge(u64, xmb_xsk_mode(xsk).busy_ms,
		     (let_go_ns - first_busy_ns) / MS));
	/* The queue is ours now: theirs cannot see it let go. */
	cr_expect(eq(int, xmb_xsk_settle(other.xsk, &other.cache), -EAGAIN));
	lab_finish();
	await(xmb_xsk_settle(other.xsk, &other.cache) == 0);
	cr_expect(eq(int, xmb_xsk_settle(other.xsk, &other.cache), 0));
	stranger_free(&other);
}

Test(xsk, a_hundred_times_open_and_closed_without_ebusy)
{
	struct xmb_xsk_opts opts;

	lab_plain();
	opts = lab_opts("left");
	for (int i = 0; i < 100; i++) {
		lab_close(lab_open(&opts));
		xmb_xsk_destroy(lab.xsks[--lab.xsk_cnt]);
		cr_assert(eq(u32, lab_free_cnt(), 2048));
	}
	lab_finish();
}

Test(xsk, frames_of_a_closed_socket_are_held_until_it_settles)
{
	struct xmb_multibuf mbs[5];
	struct xmb_ledger ledger;
	struct xmb_xsk *xsk;

	lab_plain();
	xsk = lab_open_dev("left");
	for (uint32_t i = 0; i < 5; i++)
		mbs[i] = lab_packet(100, i);
	cr_assert(eq(u32, xmb_xsk_send(xsk, &lab.cache, mbs, 5), 5));
	xmb_xsk_close(xsk, &lab.cache);
	ledger = lab_ledger();
	cr_expect(eq(i64, ledger.held, 256 + 5));
	cr_expect(eq(i64, ledger.fill, 0));
	cr_expect(eq(i64, ledger.tx, 0));
	cr_expect(eq(i64, ledger.free, 2048 - 256 - 5));
	expect_counter(xsk, XMB_XSK_TX_UNSENT, 5);
	xmb_xsk_close(xsk, &lab.cache); /* twice is once */
	cr_expect(eq(i64, lab_ledger().held, 256 + 5));
	lab_close(xsk);
	cr_expect(eq(i64, lab_ledger().free, 2048));
	cr_expect(eq(int, xmb_xsk_settle(xsk, &lab.cache), 0));
	lab_finish();
}

Test(xsk, both_parts_of_a_split_frame_in_tx_come_home_when_it_settles)
{
	struct xmb_multibuf mb, rest = { 0 };
	struct xmb_xsk *xsk;

	lab_plain();
	xsk = lab_open_dev("left");
	mb = lab_packet(900, 9);
	cr_assert(eq(int, xmb_multibuf_split(&mb, 14, &rest, &lab.cache), 0));
	cr_assert(eq(int, xmb_multibuf_append(&mb, &rest, &lab.cache), 0));
	cr_assert(eq(u32, xmb_xsk_send(xsk, &lab.cache, &mb, 1), 1));
	xmb_xsk_close(xsk, &lab.cache);
	cr_expect(eq(i64, lab_ledger().tx_slots, 2));
	cr_expect(eq(i64, lab_ledger().tx, 1));
	lab_close(xsk);
	cr_expect(eq(i64, lab_ledger().tx_slots, 0));
	cr_expect(eq(i64, lab_ledger().free, 2048));
	lab_finish();
}

Test(xsk, settling_says_eagain_while_the_queue_is_still_bound)
{
	static struct stranger other;
	struct xmb_xsk *xsk;

	lab_plain();
	xsk = lab_open_dev("left");
	xmb_xsk_close(xsk, &lab.cache);
	stranger_open(&other, "left"); /* waits until ours was let go */
	cr_expect(eq(int, xmb_xsk_settle(xsk, &lab.cache), -EAGAIN));
	cr_expect(eq(i64, lab_ledger().held, 256));
	xmb_xsk_close(other.xsk, &other.cache);
	lab_close(xsk);
	cr_expect(eq(i64, lab_ledger().held, 0));
	stranger_free(&other);
	lab_finish();
}

Test(xsk, settles_on_a_link_that_is_down)
{
	struct xmb_xsk *xsk;

	lab_plain();
	xsk = lab_open_dev("left");
	must("ip link set left down");
	lab_close(xsk);
	cr_expect(eq(i64, lab_ledger().free, 2048));
	lab_finish();
}

Test(xsk, packets_that_were_never_read_are_a_drop_with_a_name)
{
	struct xmb_xsk *xsk;
	int tap;

	lab_plain();
	tap = tap_open("ltap");
	xsk = lab_open_dev("left");
	lab_steer(xsk);
	for (uint32_t i = 0; i < 7; i++)
		tap_send_made(tap, 100, i);
	for (int i = 0; i < WAIT_MS && lab_ledger().rx < 7; i++)
		usleep(1000);
	cr_expect(eq(i64, lab_ledger().rx, 7));
	xmb_prog_detach(lab.progs[0]);
	xmb_xsk_close(xsk, &lab.cache);
	expect_counter(xsk, XMB_XSK_RX_UNREAD, 7);
	expect_counter(xsk, XMB_XSK_RX_PACKETS, 0);
	cr_expect(eq(i64, lab_ledger().held, 256));
	lab_finish();
}

Test(xsk, counters_of_the_kernel_outlive_the_socket)
{
	struct xmb_xsk_opts opts;
	struct xmb_xsk *xsk;
	uint64_t dropped;
	int tap;

	lab_plain();
	tap = tap_open("ltap");
	opts = lab_opts("left");
	opts.fill_base = opts.fill_max = 16;
	xsk = lab_open(&opts);
	lab_steer(xsk);
	for (uint32_t i = 0; i < 50; i++)
		tap_send_made(tap, 100, i);
	for (int i = 0; i < WAIT_MS; i++) {
		if (lab_counter(xsk, XMB_XSK_RX_DROPPED) == 50 - 16)
			break;
		usleep(1000);
	}
	dropped = lab_counter(xsk, XMB_XSK_RX_DROPPED);
	cr_expect(eq(u64, dropped, 50 - 16));
	lab_close(xsk);
	expect_counter(xsk, XMB_XSK_RX_DROPPED, dropped);
	lab_finish();
}

Test(xsk, a_device_that_is_deleted_gives_all_frames_back)
{
	struct xmb_multibuf mbs[20];
	struct xmb_xsk *xsk;
	int err;

	lab_plain();
	xsk = lab_open_dev("left");
	lab_steer(xsk);
	for (uint32_t i = 0; i < 20; i++)
		mbs[i] = lab_packet(100, i);
	cr_assert(eq(u32, xmb_xsk_send(xsk, &lab.cache, mbs, 10), 10));
	cr_expect(eq(int, xmb_xsk_kick(xsk), 0));
	must("ip link del left");
	cr_assert(eq(u32, xmb_xsk_send(xsk, &lab.cache, mbs + 10, 10), 10));
	err = xmb_xsk_kick(xsk);
	cr_expect(err == -ENXIO || err == -ENETDOWN, "%d", err);
	cr_expect(eq(int, xmb_xsk_kick(xsk), -ENXIO));
	lab_ledger();
	lab_close(xsk);
	expect_counter(xsk, XMB_XSK_TX_UNSENT, 10);
	cr_expect(eq(i64, lab_ledger().free, 2048));
	lab_finish();
}

Test(xsk, a_link_that_is_down_is_said_by_the_kick_and_sends_when_it_is_back)
{
	struct xmb_multibuf mb;
	struct xmb_xsk *xsk;
	int tap;

	lab_plain();
	xsk = lab_open_dev("right");
	must("ip link set right down");
	mb = lab_packet(100, 1);
	cr_assert(eq(u32, xmb_xsk_send(xsk, &lab.cache, &mb, 1), 1));
	cr_expect(eq(int, xmb_xsk_kick(xsk), -ENETDOWN));
	expect_counter(xsk, XMB_XSK_TX_LINK_DOWN, 1);
	cr_expect(eq(u32, xmb_xsk_tx_waiting(xsk), 1));
	must("ip link set right up");
	tap = tap_open("rtap");
	lab_send(xsk, NULL, 0);
	cr_expect(tap_recv_made(tap, 100, 1));
	lab_finish();
}

Test(xsk, two_queues_of_a_device_are_two_sockets)
{
	struct xmb_xsk_opts opts;
	struct xmb_xsk *first, *second;

	lab_wire(2, 1500);
	lab_frames(2048, 2048);
	opts = lab_opts("left");
	first = lab_open(&opts);
	opts.queue = 1;
	second = lab_open(&opts);
	cr_expect(eq(u32, xmb_xsk_queue(first), 0));
	cr_expect(eq(u32, xmb_xsk_queue(second), 1));
	cr_expect(ne(int, xmb_xsk_fd(first), xmb_xsk_fd(second)));
	cr_expect(eq(i64, lab_ledger().fill, 512));
	lab_close(first);
	cr_expect(eq(i64, lab_ledger().fill, 256));
	lab_finish();
}

Test(xsk, zero_copy_that_would_cut_packets_in_two_is_not_asked_for)
{
	struct xmb_xsk_opts opts;

	lab_plain();
	opts = hasty("left");
	opts.zc_unit = 1024;
	opts.bind = XMB_XSK_ZC;
	lab_expect_refused(&opts, -EOPNOTSUPP,
			   "fills 1024 bytes of a frame of 2048");
	opts.bind = XMB_XSK_AUTO;
	cr_expect(not(xmb_xsk_mode(lab_open(&opts)).is_zc));
	expect_said(XMB_LOG_WARN, "taking copy mode");

	/* Neither who did not ask for it nor whom it does not touch is told. */
	forget_said();
	opts = lab_opts("right");
	opts.zc_unit = 1024;
	opts.bind = XMB_XSK_COPY;
	lab_close(lab_open(&opts));
	opts.bind = XMB_XSK_AUTO;
	opts.mtu = 1000;
	lab_open(&opts);
	cr_expect(eq(int, said_cnt(XMB_LOG_WARN), 0));
	lab_finish();
}

Test(xsk, without_need_wakeup_packets_come_and_go)
{
	struct xmb_multibuf mb = { 0 };
	struct xmb_xsk_opts opts;
	struct xmb_xsk *left;
	int tap;

	lab_plain();
	opts = lab_opts("left");
	opts.no_need_wakeup = true;
	left = lab_open(&opts);
	lab_steer(left);
	tap = tap_open("ltap");
	tap_send_made(tap, 100, 1);
	cr_assert(eq(u32, lab_recv(left, &mb, 1), 1));
	cr_expect(lab_is_made(&mb, 100, 1));
	lab_send(left, &mb, 1);
	cr_expect(tap_recv_made(tap, 100, 1));
	lab_finish();
}

Test(xsk, settling_an_open_socket_aborts, .signal = SIGABRT)
{
	lab_plain();
	xmb_xsk_settle(lab_open_dev("left"), &lab.cache);
}
