/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * What happens to sockets and programs when their device changes or goes, and
 * who may take a program away.
 *
 * That rtnetlink tells of a device's end is what tests/veth/test_watch.c stands
 * on.
 */
#include "fact_lab.h"

#include <bpf/bpf.h>
#include <bpf/libbpf.h>
#include <linux/bpf.h>
#include <linux/if_link.h>
#include <poll.h>
#include <sched.h>
#include <sys/mount.h>
#include <sys/socket.h>
#include <unistd.h>

TestSuite(fact_life, .init = fact_setup, .timeout = 300);

static uint8_t packet[FACT_PACKET_MAX];
static int tap;

static struct fact_sock steered(void)
{
	struct fact_sock sock;

	fact_pair(1500, 1);
	tap = fact_tap("fb");
	sock = fact_plain("fa");
	fact_steer("fa", &sock);
	fact_fill_chunks(&sock, 0, 32);
	return sock;
}

/* What poll() tells besides that there is room to send. */
static int events_of(const struct fact_sock *sock)
{
	struct pollfd pfd = { .fd = sock->fd, .events = POLLIN | POLLOUT };

	cr_assert(ge(int, poll(&pfd, 1, 20), 0));
	return pfd.revents & ~POLLOUT;
}

static int so_error(const struct fact_sock *sock)
{
	socklen_t len = sizeof(int);
	int err = -1;

	cr_assert(eq(int,
		     getsockopt(sock->fd, SOL_SOCKET, SO_ERROR, &err, &len),
		     0));
	return err;
}

static int send_one(struct fact_sock *sock, uint32_t tag)
{
	fact_make(fact_at(sock, 100 * 4096), 100, tag);
	fact_post(sock, 100 * 4096, 100, 0);
	return fact_kick(sock);
}

Test(fact_life, poll_tells_nothing_of_a_link_that_is_down)
{
	struct fact_sock sock = steered();

	fact_sh("ip link set fa down");
	cr_expect(eq(int, events_of(&sock), 0));
	cr_expect(eq(int, so_error(&sock), 0));
	cr_expect(eq(int, send_one(&sock, 1), -ENETDOWN));
	cr_expect(eq(int, events_of(&sock), 0));
	cr_expect(eq(int, so_error(&sock), 0));
}

Test(fact_life, a_link_that_is_up_again_sends_and_receives_as_before)
{
	struct fact_sock sock = steered();
	uint64_t end_ms = fact_now_ms() + FACT_WAIT_MS;
	bool is_back = false;

	fact_sh("ip link set fa down");
	cr_expect(eq(int, send_one(&sock, 1), -ENETDOWN));
	fact_sh("ip link set fa up");
	fact_kick_all(&sock);
	cr_expect(fact_tap_recv_made(tap, 100, 1));
	/* The peer hears of the link a moment later; until then it drops. */
	while (!is_back && fact_now_ms() < end_ms) {
		fact_tap_send_made(tap, 200, 2);
		is_back = fact_received(&sock, NULL, 20);
	}
	cr_expect(is_back);
}

Test(fact_life, a_deleted_device_shows_in_so_error_once_and_never_in_poll)
{
	struct fact_sock sock = steered();

	fact_sh("ip link del fa");
	cr_expect(eq(int, events_of(&sock), 0));
	cr_expect(eq(int, so_error(&sock), ENETDOWN));
	cr_expect(eq(int, so_error(&sock), 0));
	cr_expect(eq(int, send_one(&sock, 1), -ENXIO));
	cr_expect(eq(int, events_of(&sock), 0));
}

Test(fact_life, the_socket_of_a_deleted_device_binds_to_no_other)
{
	struct fact_sock sock = steered();

	fact_second_pair(1500);
	fact_sh("ip link del fa");
	cr_expect(ne(int, fact_bind(sock.fd, "ga", 0, XDP_COPY), 0));
	cr_expect(eq(int, send_one(&sock, 1), -ENXIO));
}

static uint32_t attached(void)
{
	uint32_t id = 0;

	cr_assert(eq(int, bpf_xdp_query_id(fact_ifindex("fa"), 0, &id), 0));
	return id;
}

Test(fact_life, a_stranger_takes_off_a_program_attached_by_netlink)
{
	fact_pair(1500, 1);
	cr_assert(eq(
		int,
		fact_attach("fa", fact_verdict(XDP_PASS), XDP_FLAGS_DRV_MODE),
		0));
	cr_expect(ne(u32, attached(), 0));
	fact_sh("ip link set dev fa xdp off");
	cr_expect(eq(u32, attached(), 0));
}

static int link_to(const char *dev, int prog_fd)
{
	struct bpf_link_create_opts opts = {
		.sz = sizeof(opts),
		.flags = XDP_FLAGS_DRV_MODE,
	};

	return bpf_link_create(prog_fd, fact_ifindex(dev), BPF_XDP, &opts);
}

Test(fact_life, a_program_held_by_a_link_resists_with_ebusy)
{
	uint32_t id;
	int link_fd;

	fact_pair(1500, 1);
	link_fd = link_to("fa", fact_verdict(XDP_PASS));
	cr_assert(ge(int, link_fd, 0));
	id = attached();
	cr_expect(eq(int, fact_attach("fa", -1, XDP_FLAGS_DRV_MODE), -EBUSY));
	cr_expect(eq(
		int,
		fact_attach("fa", fact_verdict(XDP_DROP), XDP_FLAGS_DRV_MODE),
		-EBUSY));
	cr_expect(eq(int, link_to("fa", fact_verdict(XDP_DROP)), -EBUSY));
	cr_expect(eq(u32, attached(), id));
}

Test(fact_life, a_link_update_replaces_the_program_without_a_gap)
{
	int pass_fd = fact_verdict(XDP_TX), drop_fd = fact_verdict(XDP_DROP);
	int link_fd, own;

	fact_pair(1500, 1);
	tap = fact_tap("fb");
	own = fact_tap("fa");
	link_fd = link_to("fa", pass_fd);
	cr_assert(ge(int, link_fd, 0));
	/* Neither program lets one through to the kernel: a gap would. */
	for (uint32_t i = 0; i < 200; i++) {
		fact_tap_send_made(tap, 100, i);
		cr_assert(eq(int,
			     bpf_link_update(link_fd, i % 2 ? pass_fd : drop_fd,
					     NULL),
			     0));
		fact_tap_send_made(tap, 100, i);
	}
	cr_expect(eq(sz,
		     fact_tap_recv(own, packet, sizeof(packet), FACT_QUIET_MS),
		     0));
}

Test(fact_life, a_link_goes_with_its_last_descriptor)
{
	int link_fd, second_fd;

	fact_pair(1500, 1);
	link_fd = link_to("fa", fact_verdict(XDP_PASS));
	second_fd = dup(link_fd);
	close(link_fd);
	cr_expect(ne(u32, attached(), 0));
	close(second_fd);
	for (int i = 0; i < FACT_WAIT_MS && attached(); i++)
		usleep(1000);
	cr_expect(eq(u32, attached(), 0));
}

Test(fact_life, fewer_channels_than_a_bound_queue_are_refused)
{
	struct fact_umem umem = fact_memory(16, 4096);
	struct fact_sock sock;

	fact_pair(1500, 4);
	sock = fact_open(&umem);
	cr_assert(eq(int, fact_bind(sock.fd, "fa", 2, XDP_COPY), 0));
	cr_expect(ne(int, fact_try("ethtool -L fa rx 2 tx 2"), 0));
	cr_expect(eq(int, fact_try("ethtool -L fa rx 3 tx 3"), 0));
}

Test(fact_life, entries_of_the_xskmap_outlive_the_attachment)
{
	int map_fd, prog_fd;
	struct fact_sock sock;

	fact_pair(1500, 1);
	tap = fact_tap("fb");
	sock = fact_plain("fa");
	fact_fill_chunks(&sock, 0, 32);
	map_fd = fact_xskmap(1);
	prog_fd = fact_program(map_fd, true);
	fact_map_set(map_fd, 0, sock.fd);
	for (uint32_t i = 0; i < 3; i++) {
		cr_assert(eq(int,
			     fact_attach("fa", prog_fd, XDP_FLAGS_DRV_MODE),
			     0));
		fact_tap_send_made(tap, 100, i);
		cr_expect(fact_received(&sock, NULL, FACT_WAIT_MS));
		cr_assert(
			eq(int, fact_attach("fa", -1, XDP_FLAGS_DRV_MODE), 0));
	}
}

Test(fact_life, closing_a_socket_clears_its_slot)
{
	struct fact_sock sock = steered();
	int own = fact_tap("fa");

	fact_tap_send_made(tap, 100, 1);
	cr_expect(fact_received(&sock, NULL, FACT_WAIT_MS));
	fact_close(&sock);
	/* An empty slot's frames go where the program says: to the kernel. */
	fact_tap_send_made(tap, 100, 2);
	cr_expect(fact_tap_recv_made(own, 100, 2));
}

/* In a mount namespace of its own, where nothing is left behind. */
Test(fact_life, ip_netns_exec_hides_sys_fs_bpf_and_nsenter_does_not)
{
	cr_assert(eq(int, unshare(CLONE_NEWNS), 0));
	cr_assert(eq(int, mount("none", "/", NULL, MS_REC | MS_PRIVATE, NULL),
		     0));
	cr_assert(eq(int, mount("none", "/run", "tmpfs", 0, NULL), 0));
	cr_assert(eq(int, mount("none", "/sys/fs/bpf", "bpf", 0, NULL), 0));
	fact_sh("mkdir /sys/fs/bpf/seen");
	fact_sh("ip netns add fact%d", getpid());
	cr_expect(ne(int,
		     fact_try("ip netns exec fact%d test -d "
			      "/sys/fs/bpf/seen",
			      getpid()),
		     0));
	cr_expect(eq(int,
		     fact_try("nsenter --net=/run/netns/fact%d test -d "
			      "/sys/fs/bpf/seen",
			      getpid()),
		     0));
	fact_sh("ip netns del fact%d", getpid());
}
