/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * What the kernel does with what is posted: which descriptors it refuses, what
 * a kick moves and answers, and when and as what an address comes back.
 *
 * Where kernels differ, what each does is told by its version:
 *
 *      a kick that ends early (EAGAIN, EBUSY)          until 6.17 the index
 *                                                      stands still
 *      the completion ring has no room                 until 6.17 0, no EAGAIN
 *      a chain that is too long, or with a bad         before 6.18 its
 *        fragment                                      addresses are lost, its
 *                                                      tail is a packet
 *      an odd address                                  before 6.18 comes back
 *                                                      as it was
 *
 * Known of this subject, and not to be seen on veth:
 *
 *      fact                                            where it shows
 *      17 page pieces a packet                         tests/vm/frames.c
 *      as many as xdp-zc-max-segs                      zero copy
 *      the TX ring's flag may be 0                     zero copy
 *
 * Metadata in front of what is sent is in test_fact_metadata.c.
 */
#include "fact_lab.h"

#include <linux/if_packet.h>
#include <poll.h>
#include <stdatomic.h>
#include <sys/socket.h>
#include <unistd.h>

/* Newer than glibc 2.36's headers; the value is kernel ABI. */
#ifndef PACKET_IGNORE_OUTGOING
#define PACKET_IGNORE_OUTGOING 23
#endif

TestSuite(fact_sending, .init = fact_setup, .timeout = 300);

static uint8_t packet[FACT_PACKET_MAX];
static int tap;

enum { CHAIN_MAX = 18, KICK_CNT = 32 };

static struct fact_sock plain(void)
{
	fact_pair(1500, 1);
	tap = fact_tap("fb");
	return fact_plain("fa");
}

static struct fact_sock several(void)
{
	fact_pair(1500, 1);
	tap = fact_tap("fb");
	return fact_several("fa", 4096);
}

/* Post a packet of cnt pieces of 64 bytes, a chunk each. */
static void post_pieces(struct fact_sock *sock, uint32_t cnt, uint32_t tag)
{
	struct xdp_desc descs[FACT_RING_CNT];

	fact_make(packet, cnt * 64, tag);
	for (uint32_t i = 0; i < cnt; i++) {
		descs[i] = (struct xdp_desc){
			.addr = i * 4096,
			.len = 64,
			.options = i + 1 < cnt ? XDP_PKT_CONTD : 0,
		};
		memcpy(fact_at(sock, descs[i].addr), packet + i * 64, 64);
	}
	fact_post_chain(sock, descs, cnt);
}

/* Exactly cnt completions come, of chunks 0 to cnt-1 in any order. */
static void expect_all_complete(struct fact_sock *sock, uint32_t cnt)
{
	uint64_t addr, seen = 0;

	for (uint32_t i = 0; i < cnt; i++) {
		cr_assert(fact_completed(sock, &addr, FACT_WAIT_MS), "%u", i);
		seen |= 1ull << addr / 4096;
	}
	cr_expect(eq(u64, seen, (1ull << cnt) - 1));
	cr_expect(not(fact_completed(sock, &addr, FACT_QUIET_MS)));
}

/*
 * Until Linux 6.17 the TX ring's index moves when the kernel has seen that
 * nothing is left, and not before: what waits is shown as it was.
 */
static void expect_waiting(const struct fact_sock *sock, uint32_t cnt,
			   uint32_t cnt_before)
{
	cr_expect(eq(u32, fact_waiting(sock),
		     fact_is_before(6, 17) ? cnt_before : cnt));
}

static void expect_nothing_sent(void)
{
	cr_expect(eq(sz,
		     fact_tap_recv(tap, packet, sizeof(packet), FACT_QUIET_MS),
		     0));
}

/* Copy mode kicks stop at an invalid descriptor: go on until all is seen. */
static void kick_often(struct fact_sock *sock)
{
	for (int i = 0; i < 8 && fact_waiting(sock); i++)
		fact_kick(sock);
	cr_assert(eq(u32, fact_waiting(sock), 0));
}

Test(fact_sending, a_descriptor_of_no_bytes_is_invalid)
{
	struct fact_sock sock = fact_is_before(6, 6) ? plain() : several();

	if (fact_is_before(6, 6)) {
		/* It goes as far as the driver, which drops it. */
		fact_post(&sock, 0, 0, 0);
		cr_expect(eq(int, fact_kick(&sock), -EBUSY));
		cr_expect(fact_completed(&sock, NULL, FACT_WAIT_MS));
		cr_expect(eq(u64, fact_stats(&sock).tx_invalid_descs, 0));
		expect_nothing_sent();
		return;
	}
	fact_post(&sock, 0, 0, 0);
	kick_often(&sock);
	cr_expect(eq(u64, fact_stats(&sock).tx_invalid_descs, 1));
	expect_nothing_sent();
	fact_make(fact_at(&sock, 4096), 100, 2);
	fact_post(&sock, 4096, 100, 0);
	kick_often(&sock);
	cr_expect(fact_tap_recv_made(tap, 100, 2));
}

Test(fact_sending, a_descriptor_of_no_bytes_spoils_its_packet_alone)
{
	struct fact_sock sock = several();
	const struct xdp_desc descs[] = {
		{ .addr = 0, .len = 64, .options = XDP_PKT_CONTD },
		{ .addr = 4096, .len = 0, .options = XDP_PKT_CONTD },
		{ .addr = 8192, .len = 64 },
		{ .addr = 12288, .len = 100 },
	};

	fact_make(fact_at(&sock, 8192), 64, 2);
	fact_make(fact_at(&sock, 12288), 100, 3);
	fact_post_chain(&sock, descs, 4);
	kick_often(&sock);
	if (fact_is_before(6, 18))
		cr_expect(fact_tap_recv_made(tap, 64, 2));
	cr_expect(fact_tap_recv_made(tap, 100, 3));
	expect_nothing_sent();
	cr_expect(ge(u64, fact_stats(&sock).tx_invalid_descs, 1));
}

/* CONFIG_MAX_SKB_FRAGS is 17 here as nearly everywhere; it may be up to 45. */
Test(fact_sending, a_chain_of_18_passes)
{
	struct fact_sock sock = several();

	post_pieces(&sock, CHAIN_MAX, 1);
	kick_often(&sock);
	cr_expect(fact_tap_recv_made(tap, CHAIN_MAX * 64, 1));
	expect_all_complete(&sock, CHAIN_MAX);
	cr_expect(eq(u64, fact_stats(&sock).tx_invalid_descs, 0));
}

/* Of a packet of cnt pieces the last came as one of its own, and no other. */
static void expect_tail_alone(struct fact_sock *sock, uint32_t cnt)
{
	uint64_t addr = 0;

	cr_expect(eq(sz,
		     fact_tap_recv(tap, packet, sizeof(packet), FACT_WAIT_MS),
		     64));
	expect_nothing_sent();
	cr_assert(fact_completed(sock, &addr, FACT_WAIT_MS));
	cr_expect(eq(u64, addr, (cnt - 1) * 4096ull));
	cr_expect(not(fact_completed(sock, &addr, FACT_QUIET_MS)));
}

Test(fact_sending, a_chain_one_too_long_is_dropped_and_every_address_returned)
{
	struct fact_sock sock = several();

	post_pieces(&sock, CHAIN_MAX + 1, 1);
	kick_often(&sock);
	if (fact_is_before(6, 18)) {
		expect_tail_alone(&sock, CHAIN_MAX + 1);
	} else {
		expect_nothing_sent();
		expect_all_complete(&sock, CHAIN_MAX + 1);
	}
	post_pieces(&sock, 2, 2);
	kick_often(&sock);
	cr_expect(fact_tap_recv_made(tap, 128, 2));
}

Test(fact_sending,
     a_chain_with_a_bad_fragment_is_dropped_and_every_address_returned)
{
	struct fact_sock sock = several();
	const struct xdp_desc descs[] = {
		{ .addr = 0, .len = 64, .options = XDP_PKT_CONTD },
		{ .addr = 4096, .len = 64, .options = XDP_PKT_CONTD },
		{ .addr = 8192, .len = 0, .options = XDP_PKT_CONTD },
		{ .addr = 12288, .len = 64 },
	};

	fact_post_chain(&sock, descs, 4);
	kick_often(&sock);
	if (fact_is_before(6, 18)) {
		expect_tail_alone(&sock, 4);
		return;
	}
	expect_nothing_sent();
	expect_all_complete(&sock, 4);
}

Test(fact_sending, a_completion_is_the_exact_address_that_was_posted)
{
	struct fact_sock sock = several();
	const struct xdp_desc descs[] = {
		{ .addr = 4096 + 100, .len = 64, .options = XDP_PKT_CONTD },
		{ .addr = 4096 + 1000, .len = 64 },
	};
	uint64_t first = 0, second = 0;

	fact_post_chain(&sock, descs, 2);
	kick_often(&sock);
	cr_assert(fact_completed(&sock, &first, FACT_WAIT_MS));
	cr_assert(fact_completed(&sock, &second, FACT_WAIT_MS));
	cr_expect(eq(u64, first, 4096 + 100));
	cr_expect(eq(u64, second, 4096 + 1000));
}

static uint64_t completion_of(struct fact_sock *sock, uint64_t addr,
			      uint32_t options)
{
	uint64_t got = 0;

	fact_post(sock, addr, 64, options);
	if (options)
		fact_post(sock, 8192 + 333, 64, 0);
	kick_often(sock);
	cr_assert(fact_completed(sock, &got, FACT_WAIT_MS));
	return got;
}

/*
 * The very address came back until Linux 6.18, which keeps the first of a
 * packet in a pointer whose lowest bit is a mark.
 */
Test(fact_sending, an_odd_address_comes_back_even_if_it_begins_the_packet)
{
	struct fact_sock sock = fact_is_before(6, 6) ? plain() : several();
	uint64_t addr = 0, odd = fact_is_before(6, 18);

	cr_expect(eq(u64, completion_of(&sock, 4096 + 100, 0), 4096 + 100));
	cr_expect(
		eq(u64, completion_of(&sock, 4096 + 101, 0), 4096 + 100 + odd));
	if (fact_is_before(6, 6))
		return;
	cr_expect(eq(u64, completion_of(&sock, 4096 + 103, XDP_PKT_CONTD),
		     4096 + 102 + odd));
	cr_assert(fact_completed(&sock, &addr, FACT_WAIT_MS));
	cr_expect(eq(u64, addr, 8192 + 333));
}

/*
 * What arrives at fb is sent on to ga, whose queue lets a packet go at once and
 * the next one after a minute, or when it is taken away: until then the
 * sender's frame is in use.
 */
static struct fact_sock slow(void)
{
	struct fact_sock sock = plain();

	fact_second_pair(1500);
	fact_sh("tc qdisc add dev ga root tbf rate 200bit burst 1600 "
		"limit 10000000");
	fact_classify("fb", false, 0, fact_ifindex("ga"));
	return sock;
}

Test(fact_sending, a_descriptor_that_the_kernel_took_is_not_completed_yet)
{
	struct fact_sock sock = slow();
	uint64_t addr = 0;

	for (uint64_t i = 0; i < 3; i++)
		fact_post(&sock, i * 4096, 1500, 0);
	fact_kick_all(&sock);
	cr_expect(eq(u32, fact_waiting(&sock), 0));
	cr_expect(fact_completed(&sock, &addr, FACT_WAIT_MS));
	cr_expect(not(fact_completed(&sock, &addr, 20)));
	fact_sh("tc qdisc del dev ga root");
	cr_expect(fact_completed(&sock, &addr, FACT_WAIT_MS));
	cr_expect(fact_completed(&sock, &addr, FACT_WAIT_MS));
}

Test(fact_sending, what_is_in_flight_is_bounded_by_the_send_buffer)
{
	struct fact_sock sock = slow();
	int least = 1;
	int err = 0;

	cr_assert(eq(int,
		     setsockopt(sock.fd, SOL_SOCKET, SO_SNDBUF, &least,
				sizeof(least)),
		     0));
	for (uint64_t i = 0; i < 40; i++)
		fact_post(&sock, i * 4096, 1500, 0);
	for (int i = 0; i < 4; i++)
		err = fact_kick(&sock);
	cr_expect(eq(int, err, -EAGAIN));
	cr_expect(gt(u32, fact_waiting(&sock), 30));
	least = 1 << 20;
	cr_assert(eq(int,
		     setsockopt(sock.fd, SOL_SOCKET, SO_SNDBUFFORCE, &least,
				sizeof(least)),
		     0));
	fact_kick_all(&sock);
	cr_expect(eq(u32, fact_waiting(&sock), 0));
}

Test(fact_sending, the_send_buffer_is_212992_bytes)
{
	int len = 0;
	socklen_t size = sizeof(len);

	cr_assert(eq(
		int,
		getsockopt(fact_socket(), SOL_SOCKET, SO_SNDBUF, &len, &size),
		0));
	cr_expect(eq(int, len, 212992));
}

static void post_many(struct fact_sock *sock, uint32_t cnt)
{
	for (uint64_t i = 0; i < cnt; i++) {
		fact_make(fact_at(sock, i * 4096), 64, (uint32_t)i);
		fact_post(sock, i * 4096, 64, 0);
	}
}

Test(fact_sending, nothing_is_sent_without_a_kick)
{
	struct fact_sock sock = plain();

	post_many(&sock, 5);
	expect_nothing_sent();
	cr_expect(eq(u32, fact_waiting(&sock), 5));
}

Test(fact_sending, a_kick_moves_32_and_says_eagain_if_more_wait)
{
	struct fact_sock sock = plain();

	post_many(&sock, KICK_CNT + 1);
	cr_expect(eq(int, fact_kick(&sock), -EAGAIN));
	expect_waiting(&sock, 1, KICK_CNT + 1);
	/* However late it is shown, they are gone. */
	for (uint32_t i = 0; i < KICK_CNT; i++)
		cr_assert(fact_tap_recv_made(tap, 64, i));
	expect_nothing_sent();
	cr_expect(eq(int, fact_kick(&sock), 0));
	cr_expect(eq(u32, fact_waiting(&sock), 0));
	post_many(&sock, KICK_CNT - 1);
	cr_expect(eq(int, fact_kick(&sock), 0));
}

Test(fact_sending, a_kick_moves_more_when_it_is_told_to)
{
	struct fact_sock sock = plain();
	uint32_t budget = FACT_RING_CNT;

	fact_needs_kernel(6, 17, "XDP_MAX_TX_SKB_BUDGET");
	cr_assert(eq(int,
		     setsockopt(sock.fd, SOL_XDP, XDP_MAX_TX_SKB_BUDGET,
				&budget, sizeof(budget)),
		     0));
	post_many(&sock, FACT_RING_CNT - 1);
	cr_expect(eq(int, fact_kick(&sock), 0));
	cr_expect(eq(u32, fact_waiting(&sock), 0));
}

Test(fact_sending, ebusy_is_one_packet_dropped_and_completed_and_the_rest_waits)
{
	struct fact_sock sock = plain();
	uint64_t addr;

	/* veth cannot read a MAC header out of 10 bytes, and says dropped. */
	post_many(&sock, 3);
	fact_post(&sock, 3 * 4096, 10, 0);
	fact_post(&sock, 4 * 4096, 64, 0);
	cr_expect(eq(int, fact_kick(&sock), -EBUSY));
	expect_waiting(&sock, 1, 5);
	for (uint64_t i = 0; i < 4; i++) {
		cr_assert(fact_completed(&sock, &addr, FACT_WAIT_MS));
		cr_expect(eq(u64, addr, i * 4096));
	}
	cr_expect(eq(int, fact_kick(&sock), 0));
	cr_expect(fact_completed(&sock, &addr, FACT_WAIT_MS));
	cr_expect(eq(u64, addr, 4 * 4096));
}

Test(fact_sending, enetdown_is_the_own_link_down)
{
	struct fact_sock sock = plain();

	fact_sh("ip link set fa down");
	post_many(&sock, 1);
	cr_expect(eq(int, fact_kick(&sock), -ENETDOWN));
	cr_expect(eq(u32, fact_waiting(&sock), 1));
}

Test(fact_sending, enxio_is_a_socket_that_is_not_bound)
{
	struct fact_umem umem = fact_memory(16, 4096);
	struct fact_sock sock = fact_open(&umem);

	post_many(&sock, 1);
	cr_expect(eq(int, fact_kick(&sock), -ENXIO));
}

Test(fact_sending, copy_mode_always_asks_for_a_tx_kick)
{
	struct fact_sock sock = plain();

	cr_expect(eq(u32, atomic_load(sock.tx.flags), XDP_RING_NEED_WAKEUP));
	post_many(&sock, 10);
	fact_kick_all(&sock);
	cr_expect(eq(u32, atomic_load(sock.tx.flags), XDP_RING_NEED_WAKEUP));
}

Test(fact_sending,
     a_queue_above_the_tx_queues_binds_and_says_0_and_sends_nothing)
{
	struct fact_umem umem = fact_memory(64, 4096);
	struct fact_sock sock;

	fact_sh("ip link add fa numrxqueues 4 numtxqueues 2 type veth "
		"peer name fb numrxqueues 2 numtxqueues 4");
	fact_sh("ip link set fa up && ip link set fb up");
	tap = fact_tap("fb");
	sock = fact_open(&umem);
	cr_assert(eq(int, fact_bind(sock.fd, "fa", 3, XDP_COPY), 0));
	post_many(&sock, 5);
	for (int i = 0; i < 5; i++)
		cr_expect(eq(int, fact_kick(&sock), 0));
	cr_expect(eq(u32, fact_waiting(&sock), 5));
	expect_nothing_sent();
}

Test(fact_sending, sending_stops_when_the_completion_ring_has_no_room)
{
	struct fact_umem umem = fact_memory(64, 4096);
	struct fact_sock sock = { .fd = fact_socket(), .umem = umem };
	uint64_t addr;

	fact_pair(1500, 1);
	cr_assert(eq(int, fact_register(sock.fd, &umem), 0));
	fact_ring(sock.fd, &sock.fill, XDP_UMEM_FILL_RING, 8);
	fact_ring(sock.fd, &sock.comp, XDP_UMEM_COMPLETION_RING, 8);
	fact_ring(sock.fd, &sock.tx, XDP_TX_RING, 32);
	cr_assert(eq(int, fact_bind(sock.fd, "fa", 0, XDP_COPY), 0));
	post_many(&sock, 20);
	for (int i = 0; i < 5; i++)
		cr_expect(eq(int, fact_kick(&sock),
			     fact_is_before(6, 17) ? 0 : -EAGAIN));
	expect_waiting(&sock, 20 - 8, 20);
	for (uint64_t i = 0; i < 8; i++) {
		cr_assert(fact_completed(&sock, &addr, FACT_WAIT_MS));
		cr_expect(eq(u64, addr, i * 4096));
	}
	cr_expect(not(fact_completed(&sock, &addr, FACT_QUIET_MS)));
	fact_kick(&sock);
	expect_waiting(&sock, 20 - 16, 20);
	for (uint64_t i = 8; i < 16; i++) {
		cr_assert(fact_completed(&sock, &addr, FACT_WAIT_MS));
		cr_expect(eq(u64, addr, i * 4096));
	}
}

Test(fact_sending, any_poll_sends_in_copy_mode)
{
	struct fact_sock sock = plain();
	struct pollfd pfd = { .fd = sock.fd, .events = POLLIN };

	post_many(&sock, 5);
	poll(&pfd, 1, 0);
	cr_expect(eq(u32, fact_waiting(&sock), 0));
	cr_expect(fact_tap_recv_made(tap, 64, 0));
}

Test(fact_sending, af_packet_sees_nothing_that_a_socket_sends)
{
	struct fact_sock sock = plain();
	int own = fact_tap("fa"), zero = 0;

	cr_assert(eq(int,
		     setsockopt(own, SOL_PACKET, PACKET_IGNORE_OUTGOING, &zero,
				sizeof(zero)),
		     0));
	post_many(&sock, 1);
	fact_kick_all(&sock);
	cr_expect(fact_tap_recv_made(tap, 64, 0));
	cr_expect(eq(sz,
		     fact_tap_recv(own, packet, sizeof(packet), FACT_QUIET_MS),
		     0));
}
