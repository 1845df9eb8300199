/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * What the kernel does with what arrives: where it writes, how a long packet is
 * cut, what it counts of what it drops, and what others see of it.
 *
 * Known of this subject, and not to be seen on veth with this kernel:
 *
 *      fact                                            where it shows
 *      the fill ring's flag asks for a receive kick    zero copy
 *      one buffer a packet only                        Linux before 6.6
 *      a chain may span two reads of the ring          what the reader asks
 *                                                      for decides it
 *
 * What a driver tells beside the data (checksums, tags) is in
 * test_fact_offload.c.
 */
#include "fact_lab.h"

#include <linux/bpf.h>
#include <linux/if_link.h>
#include <stdatomic.h>
#include <unistd.h>

TestSuite(fact_receiving, .init = fact_setup, .timeout = 300);

static uint8_t packet[FACT_PACKET_MAX];

enum {
	RX_OFFSET = 256,
	UNALIGNED_AT = 48,
	TAIL_LEN = 320, /* struct skb_shared_info */
};

/*
 * Before Linux 6.6 veth gives on what fills one page of its own, headroom and
 * tail included, and a socket gets no more than that.
 */
static uint32_t longest_by_veth(void)
{
	return fact_is_before(6, 6) ? 4096 - RX_OFFSET - TAIL_LEN : UINT32_MAX;
}

/* A socket on fa that gets everything, with this memory and these flags. */
static struct fact_sock receiver(const struct fact_umem *umem, uint32_t mtu,
				 uint16_t flags, int *tap)
{
	struct fact_sock sock;

	fact_pair(mtu, 1);
	*tap = fact_tap("fb");
	sock = fact_open(umem);
	cr_assert(eq(int, fact_bind(sock.fd, "fa", 0, XDP_COPY | flags), 0));
	fact_steer("fa", &sock);
	return sock;
}

static void expect_offset(uint32_t headroom)
{
	struct fact_umem umem = fact_memory(16, 4096);
	struct fact_sock sock;
	struct xdp_desc desc;
	int tap;

	umem.headroom = headroom;
	sock = receiver(&umem, 1500, 0, &tap);
	/* Any address in the chunk is the chunk. */
	fact_fill(&sock, 3 * 4096 + 77);
	fact_tap_send_made(tap, 100, 1);
	cr_assert(fact_received(&sock, &desc, FACT_WAIT_MS));
	cr_expect(eq(u64, desc.addr, 3 * 4096 + RX_OFFSET + headroom));
	cr_expect(eq(u32, desc.len, 100));
	cr_expect(eq(u32, desc.options, 0));
	cr_expect(fact_is_made(fact_at(&sock, desc.addr), 100, 1));
}

Test(fact_receiving, data_starts_at_the_chunk_plus_256)
{
	expect_offset(0);
}

Test(fact_receiving, data_starts_at_the_chunk_plus_256_plus_headroom)
{
	expect_offset(192);
}

Test(fact_receiving,
     the_longest_single_buffer_is_the_chunk_less_256_and_headroom)
{
	const uint32_t headroom = 128;
	uint32_t longest = 4096 - RX_OFFSET - headroom;
	struct fact_umem umem = fact_memory(16, 4096);
	struct fact_sock sock;
	struct xdp_desc desc;
	int tap;

	if (longest > longest_by_veth())
		longest = longest_by_veth();
	umem.headroom = headroom;
	sock = receiver(&umem, 9000, 0, &tap);
	fact_fill_chunks(&sock, 0, 8);
	fact_tap_send_made(tap, longest + 1, 1);
	fact_tap_send_made(tap, longest, 2);
	cr_assert(fact_received(&sock, &desc, FACT_WAIT_MS));
	cr_expect(eq(u32, desc.len, longest));
	cr_expect(fact_is_made(fact_at(&sock, desc.addr), longest, 2));
}

/*
 * It was written down that a completion gives such an address back flattened
 * (base plus offset).  In copy mode this kernel gives back the word that was
 * posted, whichever of the two it was.
 */
Test(fact_receiving, unaligned_mode_completes_base_and_offset_as_posted)
{
	const uint64_t base = 5 * 4096 + 332;
	struct fact_umem umem = fact_memory(16, 4096);
	struct fact_sock sock;
	struct xdp_desc desc;
	uint64_t addr = 0;
	int tap;

	umem.flags = XDP_UMEM_UNALIGNED_CHUNK_FLAG;
	umem.chunk_len = 3000;
	sock = receiver(&umem, 1500, 0, &tap);
	fact_fill(&sock, base);
	fact_tap_send_made(tap, 100, 1);
	cr_assert(fact_received(&sock, &desc, FACT_WAIT_MS));
	cr_expect(
		eq(u64, desc.addr, base | (uint64_t)RX_OFFSET << UNALIGNED_AT));
	cr_expect(fact_is_made(fact_at(&sock, base + RX_OFFSET), 100, 1));
	fact_post(&sock, desc.addr, desc.len, 0);
	fact_post(&sock, base + RX_OFFSET, desc.len, 0);
	fact_kick_all(&sock);
	cr_expect(fact_tap_recv_made(tap, 100, 1));
	cr_expect(fact_tap_recv_made(tap, 100, 1));
	cr_assert(fact_completed(&sock, &addr, FACT_WAIT_MS));
	cr_expect(eq(u64, addr, desc.addr));
	cr_assert(fact_completed(&sock, &addr, FACT_WAIT_MS));
	cr_expect(eq(u64, addr, base + RX_OFFSET));
}

/* A packet of len comes in cnt chunks of chunk_len. */
static void expect_chain(uint32_t mtu, uint32_t chunk_len, uint32_t len,
			 uint32_t cnt)
{
	struct fact_sock sock;
	size_t got;
	int tap;

	fact_pair(mtu, 1);
	tap = fact_tap("fb");
	sock = fact_several("fa", chunk_len);
	fact_steer("fa", &sock);
	fact_fill_chunks(&sock, 0, 60);
	fact_tap_send_made(tap, len, 1);
	cr_expect(eq(u32, fact_receive(&sock, packet, &got), cnt));
	cr_expect(eq(sz, got, len));
	cr_expect(fact_is_made(packet, len, 1));
	cr_expect(eq(u64, fact_stats(&sock).rx_dropped, 0));
}

Test(fact_receiving, nine_thousand_bytes_are_3_buffers_of_4096)
{
	expect_chain(9000, 4096, 9000, 3);
}

Test(fact_receiving, nine_thousand_bytes_are_6_buffers_of_2048)
{
	expect_chain(9000, 2048, 9000, 6);
}

Test(fact_receiving, forty_thousand_bytes_are_a_chain_of_23)
{
	expect_chain(65000, 2048, 40000, 23);
}

Test(fact_receiving, sixty_thousand_bytes_are_a_chain_of_34)
{
	expect_chain(65000, 2048, 60000, 34);
}

Test(fact_receiving, a_chain_without_frames_for_all_of_it_is_dropped_whole)
{
	struct fact_sock sock;
	size_t len;
	int tap;

	fact_pair(9000, 1);
	tap = fact_tap("fb");
	sock = fact_several("fa", 4096);
	fact_steer("fa", &sock);
	fact_fill_chunks(&sock, 0, 2);
	fact_tap_send_made(tap, 9000, 1);
	fact_tap_send_made(tap, 100, 2);
	cr_expect(eq(u32, fact_receive(&sock, packet, &len), 1));
	cr_expect(fact_is_made(packet, 100, 2));
	cr_expect(ge(u64, fact_stats(&sock).rx_dropped, 1));
}

Test(fact_receiving, a_chunk_is_taken_from_the_fill_ring_twice)
{
	struct fact_sock sock;
	struct xdp_desc first, second;
	int tap;

	fact_pair(1500, 1);
	tap = fact_tap("fb");
	sock = fact_plain("fa");
	fact_steer("fa", &sock);
	fact_fill(&sock, 4096);
	fact_fill(&sock, 4096);
	fact_tap_send_made(tap, 100, 1);
	fact_tap_send_made(tap, 100, 2);
	cr_assert(fact_received(&sock, &first, FACT_WAIT_MS));
	cr_assert(fact_received(&sock, &second, FACT_WAIT_MS));
	cr_expect(eq(u64, first.addr, second.addr));
	cr_expect(fact_is_made(fact_at(&sock, first.addr), 100, 2));
	cr_expect(eq(u64, fact_stats(&sock).rx_invalid_descs, 0));
}

Test(fact_receiving, addresses_out_of_range_are_eaten_and_not_counted)
{
	struct xdp_statistics stats;
	struct fact_sock sock;
	struct xdp_desc desc;
	int tap;

	fact_pair(1500, 1);
	tap = fact_tap("fb");
	sock = fact_plain("fa");
	fact_steer("fa", &sock);
	fact_fill(&sock, sock.umem.len);
	fact_fill(&sock, UINT64_MAX);
	fact_fill(&sock, 2 * 4096);
	fact_tap_send_made(tap, 100, 1);
	cr_assert(fact_received(&sock, &desc, FACT_WAIT_MS));
	cr_expect(eq(u64, desc.addr, 2 * 4096 + RX_OFFSET));
	cr_expect(eq(u32, atomic_load(sock.fill.consumer), 3));
	stats = fact_stats(&sock);
	cr_expect(eq(u64, stats.rx_invalid_descs, 0));
	cr_expect(eq(u64, stats.rx_dropped, 0));
}

Test(fact_receiving, an_empty_fill_ring_raises_rx_dropped_and_fill_empty)
{
	struct xdp_statistics stats;
	struct fact_sock sock;
	int tap;

	fact_pair(1500, 1);
	tap = fact_tap("fb");
	sock = fact_plain("fa");
	fact_steer("fa", &sock);
	for (uint32_t i = 0; i < 5; i++)
		fact_tap_send_made(tap, 100, i);
	fact_await(fact_stats(&sock).rx_dropped == 5);
	cr_expect(not(fact_received(&sock, NULL, FACT_QUIET_MS)));
	stats = fact_stats(&sock);
	cr_expect(eq(u64, stats.rx_dropped, 5));
	cr_expect(ge(u64, stats.rx_fill_ring_empty_descs, 1));
	cr_expect(eq(u64, stats.rx_ring_full, 0));
}

Test(fact_receiving,
     what_does_not_fit_a_receiver_of_one_buffer_is_rx_dropped_only)
{
	struct xdp_statistics stats;
	struct fact_sock sock;
	int tap;

	fact_pair(9000, 1);
	tap = fact_tap("fb");
	sock = fact_plain("fa");
	fact_steer("fa", &sock);
	fact_fill_chunks(&sock, 0, 8);
	fact_tap_send_made(tap, 9000, 1);
	fact_await(fact_is_before(6, 6) || fact_stats(&sock).rx_dropped == 1);
	cr_expect(not(fact_received(&sock, NULL, FACT_QUIET_MS)));
	stats = fact_stats(&sock);
	/* One of several pages nobody counts who does not know of them. */
	cr_expect(eq(u64, stats.rx_dropped, fact_is_before(6, 6) ? 0 : 1));
	cr_expect(eq(u64, stats.rx_invalid_descs, 0));
	cr_expect(eq(u64, stats.rx_ring_full, 0));
	cr_expect(eq(u64, stats.rx_fill_ring_empty_descs, 0));
}

Test(fact_receiving,
     a_socket_of_another_queue_gets_nothing_and_nobody_counts_it)
{
	struct xdp_statistics stats;
	int tap, map_fd = fact_xskmap(2);
	struct fact_umem umem = fact_memory(16, 4096);
	struct fact_sock sock;

	/* All that fb sends comes in on queue 0. */
	fact_sh("ip link add fa numrxqueues 2 numtxqueues 1 type veth "
		"peer name fb numrxqueues 1 numtxqueues 1");
	fact_sh("ip link set fa up && ip link set fb up");
	tap = fact_tap("fb");
	sock = fact_open(&umem);
	cr_assert(eq(int, fact_bind(sock.fd, "fa", 1, XDP_COPY), 0));
	fact_map_set(map_fd, 0, sock.fd);
	fact_map_set(map_fd, 1, sock.fd);
	cr_assert(eq(int,
		     fact_attach("fa", fact_program(map_fd, true),
				 XDP_FLAGS_DRV_MODE),
		     0));
	fact_fill_chunks(&sock, 0, 8);
	fact_tap_send_made(tap, 100, 1);
	cr_expect(not(fact_received(&sock, NULL, FACT_QUIET_MS)));
	stats = fact_stats(&sock);
	cr_expect(eq(u64, stats.rx_dropped, 0));
	cr_expect(eq(u64, stats.rx_invalid_descs, 0));
	cr_expect(eq(u64, stats.rx_ring_full, 0));
	cr_expect(eq(u64, stats.rx_fill_ring_empty_descs, 0));
	/* Nor did the frame go to the kernel, or use up a chunk. */
	cr_expect(eq(u32, atomic_load(sock.fill.consumer), 0));
}

Test(fact_receiving, native_is_refused_if_the_peer_has_more_tx_queues)
{
	int prog_fd = fact_verdict(XDP_PASS);

	fact_sh("ip link add fa numrxqueues 2 numtxqueues 2 type veth "
		"peer name fb numrxqueues 4 numtxqueues 4");
	fact_sh("ip link set fa up && ip link set fb up");
	cr_expect(ne(int, fact_attach("fa", prog_fd, XDP_FLAGS_DRV_MODE), 0));
	cr_expect(eq(int, fact_attach("fb", prog_fd, XDP_FLAGS_DRV_MODE), 0));
	cr_expect(eq(int, fact_attach("fa", prog_fd, XDP_FLAGS_SKB_MODE), 0));
}

/* What is sent back by XDP_TX on fa arrives on fb or not. */
static void expect_xdp_tx(bool peer_has_program)
{
	size_t len;
	int tap;

	fact_pair(1500, 1);
	tap = fact_tap("fb");
	cr_assert(
		eq(int,
		   fact_attach("fa", fact_verdict(XDP_TX), XDP_FLAGS_DRV_MODE),
		   0));
	if (peer_has_program)
		cr_assert(eq(int,
			     fact_attach("fb", fact_verdict(XDP_PASS),
					 XDP_FLAGS_DRV_MODE),
			     0));
	fact_tap_send_made(tap, 200, 1);
	len = fact_tap_recv(tap, packet, sizeof(packet),
			    peer_has_program ? FACT_WAIT_MS : FACT_QUIET_MS);
	cr_expect(eq(sz, len, peer_has_program ? 200 : 0));
}

Test(fact_receiving, xdp_tx_into_a_peer_without_a_program_is_lost)
{
	expect_xdp_tx(false);
}

Test(fact_receiving, xdp_tx_into_a_peer_with_a_program_arrives)
{
	expect_xdp_tx(true);
}

/* What comes in on ga is redirected out of fa and arrives on fb or not. */
static void expect_redirect(bool peer_has_program)
{
	size_t len;
	int tap, from;

	fact_pair(1500, 1);
	fact_second_pair(1500);
	tap = fact_tap("fb");
	from = fact_tap("gb");
	cr_assert(eq(int,
		     fact_attach("ga", fact_redirect(fact_ifindex("fa")),
				 XDP_FLAGS_DRV_MODE),
		     0));
	if (peer_has_program)
		cr_assert(eq(int,
			     fact_attach("fb", fact_verdict(XDP_PASS),
					 XDP_FLAGS_DRV_MODE),
			     0));
	fact_tap_send_made(from, 200, 1);
	len = fact_tap_recv(tap, packet, sizeof(packet),
			    peer_has_program ? FACT_WAIT_MS : FACT_QUIET_MS);
	cr_expect(eq(sz, len, peer_has_program ? 200 : 0));
}

Test(fact_receiving, a_redirect_into_a_peer_without_a_program_is_lost)
{
	expect_redirect(false);
}

Test(fact_receiving, a_redirect_into_a_peer_with_a_program_arrives)
{
	expect_redirect(true);
}

Test(fact_receiving, af_packet_sees_nothing_that_a_socket_receives)
{
	struct fact_sock sock;
	int tap, own;

	fact_pair(1500, 1);
	tap = fact_tap("fb");
	own = fact_tap("fa");
	sock = fact_plain("fa");
	fact_tap_send_made(tap, 100, 1);
	cr_expect(fact_tap_recv_made(own, 100, 1));
	fact_steer("fa", &sock);
	fact_fill_chunks(&sock, 0, 8);
	fact_tap_send_made(tap, 100, 2);
	cr_expect(fact_received(&sock, NULL, FACT_WAIT_MS));
	cr_expect(eq(sz,
		     fact_tap_recv(own, packet, sizeof(packet), FACT_QUIET_MS),
		     0));
}
