/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * lib/prog/prog: what matches reaches the socket of its queue and only that,
 * in native and in generic mode, and every frame is counted once.
 */
#include "base/clock.h"
#include "prog_lab.h"

#include <errno.h>
#include <linux/if_ether.h>
#include <linux/if_packet.h>
#include <linux/if_xdp.h>
#include <net/if.h>
#include <netinet/in.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <unistd.h>

TestSuite(prog_steer, .init = lab_setup, .timeout = 300);

/* The smallest socket that receives: RX and fill ring, copy mode. */
struct xsk {
	int fd;
	char *area;
	struct xdp_mmap_offsets off;
	char *rx;
	char *fill;
};

enum {
	RING_CNT = 64,
	FRAME_LEN = 4096,
	AREA_LEN = RING_CNT * FRAME_LEN,
	JUMBO_LEN = 9014,
};

static char *map_ring(int fd, uint64_t len, off_t where)
{
	char *map = mmap(NULL, len, PROT_READ | PROT_WRITE,
			 MAP_SHARED | MAP_POPULATE, fd, where);

	cr_assert(ne(ptr, map, MAP_FAILED));
	return map;
}

static uint64_t rx_map_len(const struct xsk *xsk)
{
	return xsk->off.rx.desc + RING_CNT * sizeof(struct xdp_desc);
}

static uint64_t fill_map_len(const struct xsk *xsk)
{
	return xsk->off.fr.desc + RING_CNT * sizeof(uint64_t);
}

static void give_frames(struct xsk *xsk)
{
	uint64_t *addr = (uint64_t *)(xsk->fill + xsk->off.fr.desc);

	for (int i = 0; i < RING_CNT; i++)
		addr[i] = (uint64_t)i * FRAME_LEN;
	__atomic_store_n((uint32_t *)(xsk->fill + xsk->off.fr.producer),
			 RING_CNT, __ATOMIC_RELEASE);
}

static void set(int fd, int name, const void *value, size_t len)
{
	cr_assert(eq(int, setsockopt(fd, SOL_XDP, name, value, (socklen_t)len),
		     0),
		  "option %d: %s", name, strerror(errno));
}

static void xsk_open(struct xsk *xsk)
{
	struct sockaddr_xdp addr = {
		.sxdp_family = AF_XDP,
		.sxdp_flags = XDP_COPY,
		.sxdp_ifindex = if_nametoindex("va"),
	};
	struct xdp_umem_reg reg = {
		.len = AREA_LEN,
		.chunk_size = FRAME_LEN,
	};
	socklen_t len = sizeof(xsk->off);
	int cnt = RING_CNT;

	xsk->fd = socket(AF_XDP, SOCK_RAW | SOCK_CLOEXEC, 0);
	cr_assert(ge(int, xsk->fd, 0), "%s", strerror(errno));
	xsk->area = mmap(NULL, reg.len, PROT_READ | PROT_WRITE,
			 MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	cr_assert(ne(ptr, xsk->area, MAP_FAILED));
	reg.addr = (uint64_t)(uintptr_t)xsk->area;
	set(xsk->fd, XDP_UMEM_REG, &reg, sizeof(reg));
	set(xsk->fd, XDP_UMEM_FILL_RING, &cnt, sizeof(cnt));
	set(xsk->fd, XDP_UMEM_COMPLETION_RING, &cnt, sizeof(cnt));
	set(xsk->fd, XDP_RX_RING, &cnt, sizeof(cnt));
	cr_assert(eq(
		int,
		getsockopt(xsk->fd, SOL_XDP, XDP_MMAP_OFFSETS, &xsk->off, &len),
		0));
	xsk->rx = map_ring(xsk->fd, rx_map_len(xsk), XDP_PGOFF_RX_RING);
	xsk->fill =
		map_ring(xsk->fd, fill_map_len(xsk), XDP_UMEM_PGOFF_FILL_RING);
	give_frames(xsk);
	cr_assert(eq(int, bind(xsk->fd, (void *)&addr, sizeof(addr)), 0), "%s",
		  strerror(errno));
}

/* A ring that stays mapped would keep the socket alive behind the close. */
static void xsk_close(struct xsk *xsk)
{
	munmap(xsk->rx, rx_map_len(xsk));
	munmap(xsk->fill, fill_map_len(xsk));
	close(xsk->fd);
	munmap(xsk->area, AREA_LEN);
}

static uint32_t xsk_received(const struct xsk *xsk)
{
	return __atomic_load_n((uint32_t *)(xsk->rx + xsk->off.rx.producer),
			       __ATOMIC_ACQUIRE);
}

/* Send cnt frames of IPv4 with this protocol out of vb. */
static void send_frames(uint8_t proto, int cnt, size_t len)
{
	static uint8_t frame[JUMBO_LEN] = {
		0x02, 0, 0, 0, 0, 1, 0x02, 0, 0, 0, 0, 2, 0x08, 0x00, 0x45,
	};
	struct sockaddr_ll to = {
		.sll_family = AF_PACKET,
		.sll_ifindex = (int)if_nametoindex("vb"),
		.sll_halen = ETH_ALEN,
	};
	int fd = socket(AF_PACKET, SOCK_RAW | SOCK_CLOEXEC, 0);

	cr_assert(ge(int, fd, 0));
	frame[16] = (uint8_t)((len - ETH_HLEN) >> 8);
	frame[17] = (uint8_t)(len - ETH_HLEN);
	frame[23] = proto;
	for (int i = 0; i < cnt; i++)
		cr_assert(eq(sz,
			     (size_t)sendto(fd, frame, len, 0, (void *)&to,
					    sizeof(to)),
			     len),
			  "%s", strerror(errno));
	close(fd);
}

/* Wait until all counters have these values; frames take their time. */
static void expect_counted(struct xmb_prog *prog, uint64_t matched,
			   uint64_t passed, uint64_t no_socket,
			   uint64_t malformed)
{
	const uint64_t want[XMB_PROG_COUNTER_CNT] = { matched, passed,
						      no_socket, malformed };
	uint64_t v[XMB_PROG_COUNTER_CNT];
	uint64_t deadline = xmb_clock_ns() + WAIT_MS * XMB_NS_PER_MS;

	do {
		cr_assert(eq(int, xmb_prog_stats(prog, v), 0));
		if (!memcmp(v, want, sizeof(want)))
			break;
		usleep(5 * 1000);
	} while (xmb_clock_ns() < deadline);
	for (int i = 0; i < XMB_PROG_COUNTER_CNT; i++)
		cr_expect(eq(u64, v[i], want[i]), "%s",
			  xmb_prog_counter_descs[i].name);
}

static void expect_steered(enum xmb_prog_mode mode)
{
	struct xmb_prog_opts opts;
	struct xmb_prog *prog;
	struct xsk xsk;

	make_pair(1, 1);
	opts = opts_for(mode);
	opts.match.kind = XMB_MATCH_UDP;
	cr_assert(eq(int, xmb_prog_attach(&prog, &opts), 0));
	xsk_open(&xsk);

	send_frames(IPPROTO_UDP, 3, 60);
	expect_counted(prog, 0, 0, 3, 0);
	cr_assert(eq(int, xmb_prog_steer(prog, 0, xsk.fd), 0));
	send_frames(IPPROTO_UDP, 5, 60);
	send_frames(IPPROTO_TCP, 7, 60);
	send_frames(IPPROTO_UDP, 1, 20); /* cut in the IP header */
	expect_counted(prog, 5, 8, 3, 1);
	cr_expect(eq(u32, xsk_received(&xsk), 5));

	/* Steering to the same socket again is no error, and unsteering ends
	 * it; then once more by closing the socket. */
	cr_expect(eq(int, xmb_prog_steer(prog, 0, xsk.fd), 0));
	cr_expect(eq(int, xmb_prog_unsteer(prog, 0), 0));
	cr_expect(eq(int, xmb_prog_unsteer(prog, 0), 0));
	send_frames(IPPROTO_UDP, 2, 60);
	expect_counted(prog, 5, 8, 5, 1);
	cr_assert(eq(int, xmb_prog_steer(prog, 0, xsk.fd), 0));
	xsk_close(&xsk);
	send_frames(IPPROTO_UDP, 2, 60);
	expect_counted(prog, 5, 8, 7, 1);
	xmb_prog_destroy(prog);
}

Test(prog_steer, native_steers_what_matches_and_counts_all)
{
	expect_steered(XMB_PROG_NATIVE);
}

Test(prog_steer, generic_steers_what_matches_and_counts_all)
{
	expect_steered(XMB_PROG_GENERIC);
}

Test(prog_steer, jumbo_frames_are_matched_in_native_mode)
{
	struct xmb_prog_opts opts;
	struct xmb_prog *prog;

	make_pair(1, 1);
	must("ip link set va mtu 9000 && ip link set vb mtu 9000");
	opts = opts_for(XMB_PROG_NATIVE);
	opts.match.kind = XMB_MATCH_UDP;
	cr_assert(eq(int, xmb_prog_attach(&prog, &opts), 0));
	send_frames(IPPROTO_UDP, 3, JUMBO_LEN);
	send_frames(IPPROTO_TCP, 2, JUMBO_LEN);
	expect_counted(prog, 0, 2, 3, 0);
	xmb_prog_destroy(prog);
}

Test(prog_steer, a_match_reaches_the_program_whole)
{
	static const struct {
		struct xmb_match match;
		uint64_t matched_cnt; /* of 1 UDP and 1 TCP, both from port 0 */
	} rows[] = {
		{ { XMB_MATCH_ALL, false, 0 }, 2 },
		{ { XMB_MATCH_ALL, true, 0 }, 0 },
		{ { XMB_MATCH_TCP, true, 0 }, 1 },
		{ { XMB_MATCH_PORT, true, 53 }, 2 },
		{ { XMB_MATCH_PORT, false, 53 }, 0 },
		{ { XMB_MATCH_ETHER, false, ETH_P_IP }, 2 },
		{ { XMB_MATCH_ETHER, false, ETH_P_ARP }, 0 },
	};

	make_pair(1, 1);
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		struct xmb_prog_opts opts = opts_for(XMB_PROG_AUTO);
		struct xmb_prog *prog;

		opts.match = rows[i].match;
		cr_assert(eq(int, xmb_prog_attach(&prog, &opts), 0));
		send_frames(IPPROTO_UDP, 1, 60);
		send_frames(IPPROTO_TCP, 1, 60);
		expect_counted(prog, 0, 2 - rows[i].matched_cnt,
			       rows[i].matched_cnt, 0);
		xmb_prog_destroy(prog);
	}
}

Test(prog_steer, steering_refuses_other_queues_and_other_descriptors)
{
	int pipe_fd[2], udp_fd = socket(AF_INET, SOCK_DGRAM, 0);
	struct xmb_prog *prog;

	make_pair(1, 1);
	prog = attach(XMB_PROG_NATIVE);
	cr_assert(eq(int, pipe(pipe_fd), 0));
	forget_said();
	cr_expect(eq(int, xmb_prog_steer(prog, 1, udp_fd), -ERANGE));
	cr_expect(eq(int, xmb_prog_unsteer(prog, UINT32_MAX), -ERANGE));
	cr_expect(eq(int, xmb_prog_steer(prog, 0, -1), -EBADF));
	cr_expect(eq(int, xmb_prog_steer(prog, 0, pipe_fd[0]), -ENOTSOCK));
	cr_expect(eq(int, xmb_prog_steer(prog, 0, udp_fd), -EOPNOTSUPP));
	cr_expect(eq(int, said_cnt(XMB_LOG_ERROR), 5));
	expect_said(XMB_LOG_ERROR, "give an AF_XDP socket");
	/* The slot is as it was: empty. */
	send_frames(IPPROTO_UDP, 1, 60);
	expect_counted(prog, 0, 0, 1, 0);
	xmb_prog_destroy(prog);
}

/* A slot takes any AF_XDP socket; the caller sees to the right queue. */
Test(prog_steer, every_queue_that_was_asked_for_has_a_slot)
{
	struct xmb_prog_opts opts;
	struct xmb_prog *prog;
	struct xsk xsk;

	make_pair(1, 1);
	opts = opts_for(XMB_PROG_NATIVE);
	opts.queue_cnt = 3;
	cr_assert(eq(int, xmb_prog_attach(&prog, &opts), 0));
	xsk_open(&xsk);
	for (uint32_t queue = 0; queue < 3; queue++)
		cr_expect(eq(int, xmb_prog_steer(prog, queue, xsk.fd), 0));
	cr_expect(eq(int, xmb_prog_steer(prog, 3, xsk.fd), -ERANGE));
	send_frames(IPPROTO_UDP, 2, 60);
	expect_counted(prog, 2, 0, 0, 0);
	xmb_prog_destroy(prog);
	xsk_close(&xsk);
}

Test(prog_steer, a_refused_socket_leaves_the_one_that_was_there)
{
	struct xmb_prog *prog;
	struct xsk xsk;

	make_pair(1, 1);
	prog = attach(XMB_PROG_NATIVE);
	xsk_open(&xsk);
	cr_assert(eq(int, xmb_prog_steer(prog, 0, xsk.fd), 0));
	cr_expect(eq(int, xmb_prog_steer(prog, 0, 0x7fff), -EBADF));
	send_frames(IPPROTO_UDP, 1, 60);
	expect_counted(prog, 1, 0, 0, 0);
	xmb_prog_destroy(prog);
	xsk_close(&xsk);
}
