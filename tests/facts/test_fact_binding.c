/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * What the kernel does when a socket is bound: modes, the queue that is let go
 * late, sockets that share memory, and a worker that was given its socket.
 *
 * Known of this subject, and not to be seen on veth with this kernel:
 *
 *      fact                                            where it shows
 *      zero copy is got where the driver has it        virtio_net, igb
 *      no XDP_USE_SG, 6.6                              Linux 6.1
 *      libxdp 1.3.1 cannot set tx_metadata_len         libxdp, not the kernel
 *      its default program is not frags-aware          libxdp (the kernel's
 *                                                      answer to it is below)
 */
#include "fact_lab.h"

#include <bpf/bpf.h>
#include <linux/capability.h>
#include <linux/if_link.h>
#include <stdatomic.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

enum { TRIES = 300, USER_BASE = 1 << 24 };

TestSuite(fact_binding, .init = fact_setup, .timeout = 300);

Test(fact_binding, a_program_without_frags_is_refused_natively_at_mtu_9000)
{
	int map_fd = fact_xskmap(1);

	fact_pair(9000, 1);
	cr_expect(eq(int,
		     fact_attach("fa", fact_program(map_fd, false),
				 XDP_FLAGS_DRV_MODE),
		     -ERANGE));
	cr_expect(eq(int,
		     fact_attach("fa", fact_program(map_fd, true),
				 XDP_FLAGS_DRV_MODE),
		     0));
}

Test(fact_binding, zero_copy_on_veth_is_eopnotsupp)
{
	struct fact_umem umem = fact_memory(16, 4096);
	struct fact_sock sock;

	fact_pair(1500, 1);
	sock = fact_open(&umem);
	cr_expect(eq(int, fact_bind(sock.fd, "fa", 0, XDP_ZEROCOPY),
		     -EOPNOTSUPP));
}

Test(fact_binding, a_failed_bind_leaves_the_fd_usable)
{
	struct fact_umem umem = fact_memory(16, 4096);
	struct fact_sock sock;
	int tap;

	fact_pair(1500, 1);
	tap = fact_tap("fb");
	sock = fact_open(&umem);
	cr_expect(eq(int, fact_bind(sock.fd, "fa", 0, XDP_ZEROCOPY),
		     -EOPNOTSUPP));
	cr_expect(eq(int, fact_bind(sock.fd, "fa", 7, XDP_COPY), -EINVAL));
	cr_assert(eq(int, fact_bind(sock.fd, "fa", 0, XDP_COPY), 0));
	fact_make(fact_at(&sock, 0), 100, 1);
	fact_post(&sock, 0, 100, 0);
	fact_kick_all(&sock);
	cr_expect(fact_tap_recv_made(tap, 100, 1));
}

Test(fact_binding, flags_of_0_fall_back_to_copy_and_xdp_options_tells)
{
	struct xdp_options options = { .flags = ~0u };
	struct fact_umem umem = fact_memory(16, 4096);
	socklen_t len = sizeof(options);
	struct fact_sock sock;

	fact_pair(1500, 1);
	sock = fact_open(&umem);
	cr_assert(eq(int, fact_bind(sock.fd, "fa", 0, 0), 0));
	cr_assert(eq(int,
		     getsockopt(sock.fd, SOL_XDP, XDP_OPTIONS, &options, &len),
		     0));
	cr_expect(eq(u32, options.flags & XDP_OPTIONS_ZEROCOPY, 0));
}

/* Milliseconds until the queue can be bound; -1: not in time. */
static int bind_late(int fd, int wait_ms, int *first)
{
	uint64_t start_ms = fact_now_ms();
	int err = fact_bind(fd, "fa", 0, XDP_COPY);

	*first = err;
	while (err == -EBUSY && fact_now_ms() < start_ms + (uint64_t)wait_ms) {
		usleep(1000);
		err = fact_bind(fd, "fa", 0, XDP_COPY);
	}
	return err ? -1 : (int)(fact_now_ms() - start_ms);
}

Test(fact_binding, a_queue_is_let_go_some_time_after_close)
{
	struct fact_umem umem = fact_memory(16, 4096);
	int first, busy_cnt = 0;

	fact_pair(1500, 1);
	/* Whoever is interrupted behind the close comes too late to see it. */
	for (int i = 0; i < 10 || (i < TRIES && busy_cnt == 0); i++) {
		struct fact_sock sock = fact_open(&umem);
		struct fact_sock next = fact_open(&umem);

		cr_assert(eq(int, bind_late(sock.fd, FACT_WAIT_MS, &first) >= 0,
			     1));
		fact_close(&sock);
		cr_assert(ge(int, bind_late(next.fd, FACT_WAIT_MS, &first), 0));
		busy_cnt += first == -EBUSY;
		fact_close(&next);
	}
	cr_expect(gt(int, busy_cnt, 0));
}

Test(fact_binding, a_ring_left_mapped_after_close_pins_the_queue)
{
	struct fact_umem umem = fact_memory(16, 4096);
	struct fact_sock sock, next;
	int first;

	fact_pair(1500, 1);
	sock = fact_plain("fa");
	next = fact_open(&umem);
	close(sock.fd);
	cr_expect(eq(int, bind_late(next.fd, 500, &first), -1));
	fact_unmap(&sock);
	cr_expect(ge(int, bind_late(next.fd, FACT_WAIT_MS, &first), 0));
}

/* Root's own count is everyone's: another user has none. */
static void become_another_user(void)
{
	cr_assert(eq(int, setreuid(USER_BASE + (uid_t)getpid(), 0), 0));
}

/* Pages locked: more than the limit of memory() below and less than twice. */
static void limit_memlock(rlim_t len)
{
	struct rlimit limit = { .rlim_cur = len, .rlim_max = len };

	cr_assert(eq(int, setrlimit(RLIMIT_MEMLOCK, &limit), 0));
	fact_drop_capability(CAP_IPC_LOCK);
}

Test(fact_binding, memory_above_the_memlock_limit_is_enobufs)
{
	struct fact_umem umem = fact_memory(64, 4096);
	int fd = fact_socket();

	become_another_user();
	limit_memlock(63 * 4096);
	cr_expect(eq(int, fact_register(fd, &umem), -ENOBUFS));
	umem.len -= 4096;
	cr_expect(eq(int, fact_register(fd, &umem), 0));
}

Test(fact_binding, locked_memory_is_given_back_some_time_after_close)
{
	struct fact_umem umem = fact_memory(64, 4096);
	int late_cnt = 0;

	fact_pair(1500, 1);
	become_another_user();
	limit_memlock(64 * 4096);
	for (int i = 0; i < 10 || (i < TRIES && late_cnt == 0); i++) {
		struct fact_sock sock = { .fd = fact_socket() };
		uint64_t end_ms = fact_now_ms() + FACT_WAIT_MS;
		int err = fact_register(sock.fd, &umem);

		late_cnt += err == -ENOBUFS;
		while (err == -ENOBUFS && fact_now_ms() < end_ms) {
			usleep(1000);
			err = fact_register(sock.fd, &umem);
		}
		cr_assert(eq(int, err, 0));
		fact_ring(sock.fd, &sock.fill, XDP_UMEM_FILL_RING, 16);
		fact_ring(sock.fd, &sock.comp, XDP_UMEM_COMPLETION_RING, 16);
		fact_ring(sock.fd, &sock.tx, XDP_TX_RING, 16);
		end_ms = fact_now_ms() + FACT_WAIT_MS;
		while ((err = fact_bind(sock.fd, "fa", 0, 0)) == -EBUSY &&
		       fact_now_ms() < end_ms)
			usleep(1000);
		cr_assert(eq(int, err, 0));
		fact_close(&sock);
	}
	cr_expect(gt(int, late_cnt, 0));
}

Test(fact_binding,
     sharing_on_another_queue_needs_fill_and_completion_of_its_own)
{
	struct fact_sock owner, bare, full;

	fact_pair(1500, 2);
	owner = fact_plain("fa");
	bare = fact_open_sharing(&owner, false);
	cr_expect(eq(
		int,
		fact_bind_sharing(bare.fd, "fa", 1, XDP_SHARED_UMEM, owner.fd),
		-EINVAL));
	full = fact_open_sharing(&owner, true);
	cr_expect(eq(
		int,
		fact_bind_sharing(full.fd, "fa", 1, XDP_SHARED_UMEM, owner.fd),
		0));
}

Test(fact_binding, sharing_on_another_device_needs_them_too)
{
	struct fact_sock owner, bare, full;

	fact_pair(1500, 1);
	fact_second_pair(1500);
	owner = fact_plain("fa");
	bare = fact_open_sharing(&owner, false);
	cr_expect(eq(
		int,
		fact_bind_sharing(bare.fd, "ga", 0, XDP_SHARED_UMEM, owner.fd),
		-EINVAL));
	full = fact_open_sharing(&owner, true);
	cr_expect(eq(
		int,
		fact_bind_sharing(full.fd, "ga", 0, XDP_SHARED_UMEM, owner.fd),
		0));
}

Test(fact_binding, sharing_on_the_same_queue_must_have_none)
{
	struct fact_sock owner, bare, full;

	fact_pair(1500, 1);
	owner = fact_plain("fa");
	full = fact_open_sharing(&owner, true);
	cr_expect(eq(
		int,
		fact_bind_sharing(full.fd, "fa", 0, XDP_SHARED_UMEM, owner.fd),
		-EINVAL));
	bare = fact_open_sharing(&owner, false);
	cr_expect(eq(
		int,
		fact_bind_sharing(bare.fd, "fa", 0, XDP_SHARED_UMEM, owner.fd),
		0));
}

Test(fact_binding, a_shared_bind_takes_no_other_flag)
{
	static const uint16_t flags[] = { XDP_COPY, XDP_ZEROCOPY,
					  XDP_USE_NEED_WAKEUP, XDP_USE_SG };
	struct fact_sock owner, sock;

	fact_pair(1500, 2);
	owner = fact_plain("fa");
	sock = fact_open_sharing(&owner, true);
	for (size_t i = 0; i < 4; i++)
		cr_expect(eq(int,
			     fact_bind_sharing(sock.fd, "fa", 1,
					       XDP_SHARED_UMEM | flags[i],
					       owner.fd),
			     -EINVAL),
			  "flag %u", flags[i]);
	cr_expect(eq(
		int,
		fact_bind_sharing(sock.fd, "fa", 1, XDP_SHARED_UMEM, owner.fd),
		0));
}

Test(fact_binding, a_shared_bind_inherits_several_buffers_a_packet)
{
	static uint8_t packet[FACT_PACKET_MAX];
	struct fact_sock owner, sock;
	size_t len;
	int tap;

	fact_pair(9000, 1);
	fact_second_pair(9000);
	tap = fact_tap("gb");
	owner = fact_several("fa", 4096);
	sock = fact_open_sharing(&owner, true);
	cr_assert(eq(
		int,
		fact_bind_sharing(sock.fd, "ga", 0, XDP_SHARED_UMEM, owner.fd),
		0));
	fact_steer("ga", &sock);
	fact_fill_chunks(&sock, 0, 16);
	fact_tap_send_made(tap, 9000, 1);
	cr_expect(eq(u32, fact_receive(&sock, packet, &len), 3));
	cr_expect(eq(sz, len, 9000));
	cr_expect(fact_is_made(packet, len, 1));
}

Test(fact_binding, completions_of_siblings_arrive_on_the_first_sockets_ring)
{
	struct fact_sock owner, sock;
	uint64_t addr = 0;

	fact_pair(1500, 1);
	owner = fact_plain("fa");
	sock = fact_open_sharing(&owner, false);
	cr_assert(eq(
		int,
		fact_bind_sharing(sock.fd, "fa", 0, XDP_SHARED_UMEM, owner.fd),
		0));
	fact_post(&sock, 5 * 4096, 100, 0);
	fact_kick_all(&sock);
	cr_assert(fact_completed(&owner, &addr, FACT_WAIT_MS));
	cr_expect(eq(u64, addr, 5 * 4096));
}

Test(fact_binding,
     what_came_on_one_device_is_sent_from_the_same_address_on_another)
{
	struct fact_sock in, out;
	struct xdp_desc desc;
	uint64_t addr = 0;
	int from, to;

	fact_pair(1500, 1);
	fact_second_pair(1500);
	from = fact_tap("fb");
	to = fact_tap("gb");
	in = fact_plain("fa");
	out = fact_open_sharing(&in, true);
	cr_assert(eq(int,
		     fact_bind_sharing(out.fd, "ga", 0, XDP_SHARED_UMEM, in.fd),
		     0));
	fact_steer("fa", &in);
	fact_fill_chunks(&in, 9, 1);
	fact_tap_send_made(from, 200, 3);
	cr_assert(fact_received(&in, &desc, FACT_WAIT_MS));
	fact_post(&out, desc.addr, desc.len, 0);
	fact_kick_all(&out);
	cr_expect(fact_tap_recv_made(to, 200, 3));
	cr_assert(fact_completed(&out, &addr, FACT_WAIT_MS));
	cr_expect(eq(u64, addr, desc.addr));
}

static void give_fds(int via, const int *fds, size_t cnt)
{
	uint8_t room[CMSG_SPACE(8 * sizeof(int))] = { 0 };
	struct iovec byte = { .iov_base = "x", .iov_len = 1 };
	struct msghdr msg = { .msg_iov = &byte,
			      .msg_iovlen = 1,
			      .msg_control = room,
			      .msg_controllen = CMSG_SPACE(cnt * sizeof(int)) };
	struct cmsghdr *head = CMSG_FIRSTHDR(&msg);

	head->cmsg_level = SOL_SOCKET;
	head->cmsg_type = SCM_RIGHTS;
	head->cmsg_len = CMSG_LEN(cnt * sizeof(int));
	memcpy(CMSG_DATA(head), fds, cnt * sizeof(int));
	cr_assert(eq(long, sendmsg(via, &msg, 0), 1));
}

static void take_fds(int via, int *fds, size_t cnt)
{
	uint8_t room[CMSG_SPACE(8 * sizeof(int))];
	char got;
	struct iovec byte = { .iov_base = &got, .iov_len = 1 };
	struct msghdr msg = { .msg_iov = &byte,
			      .msg_iovlen = 1,
			      .msg_control = room,
			      .msg_controllen = sizeof(room) };

	cr_assert(eq(long, recvmsg(via, &msg, 0), 1));
	memcpy(fds, CMSG_DATA(CMSG_FIRSTHDR(&msg)), cnt * sizeof(int));
}

/* The worker: no capability, and three descriptors from the socket pair. */
static void work(int via, const struct fact_sock *owner)
{
	struct fact_sock sock = { .umem = owner->umem };
	struct xdp_desc desc;
	int fds[3], owner_fd, map_fd;

	fact_drop_all();
	cr_assert(eq(int, socket(AF_XDP, SOCK_RAW, 0), -1));
	cr_assert(eq(int, errno, EPERM));
	take_fds(via, fds, 3);
	sock.fd = fds[0];
	owner_fd = fds[1];
	map_fd = fds[2];
	fact_ring(sock.fd, &sock.fill, XDP_UMEM_FILL_RING, 16);
	fact_ring(sock.fd, &sock.comp, XDP_UMEM_COMPLETION_RING, 16);
	fact_ring(sock.fd, &sock.rx, XDP_RX_RING, 16);
	fact_ring(sock.fd, &sock.tx, XDP_TX_RING, 16);
	cr_assert(eq(
		int,
		fact_bind_sharing(sock.fd, "ga", 0, XDP_SHARED_UMEM, owner_fd),
		0));
	fact_fill(&sock, 0);
	/* Whoever has the map can put itself in any slot. */
	fact_map_set(map_fd, 0, sock.fd);
	cr_assert(eq(long, write(via, "x", 1), 1));
	cr_assert(fact_received(&sock, &desc, FACT_WAIT_MS));
	cr_assert(fact_is_made(fact_at(&sock, desc.addr), 150, 4));
	fact_post(&sock, desc.addr, desc.len, 0);
	fact_kick_all(&sock);
	cr_assert(fact_completed(&sock, NULL, FACT_WAIT_MS));
}

Test(fact_binding, a_worker_without_capabilities_can_use_a_socket_it_was_given)
{
	int pair[2], fds[3], map_fd = fact_xskmap(1), status, tap;
	struct fact_sock owner;
	char ready;
	pid_t child;

	fact_pair(1500, 1);
	fact_second_pair(1500);
	tap = fact_tap("gb");
	owner = fact_plain("fa");
	cr_assert(eq(int,
		     fact_attach("ga", fact_program(map_fd, false),
				 XDP_FLAGS_DRV_MODE),
		     0));
	fds[0] = fact_socket();
	fds[1] = owner.fd;
	fds[2] = map_fd;
	cr_assert(eq(int, socketpair(AF_UNIX, SOCK_STREAM, 0, pair), 0));
	child = fork();
	if (child == 0) {
		close(fds[0]);
		close(map_fd);
		work(pair[1], &owner);
		_exit(0);
	}
	give_fds(pair[0], fds, 3);
	close(fds[0]);
	close(pair[1]);
	cr_assert(eq(long, read(pair[0], &ready, 1), 1));
	fact_tap_send_made(tap, 150, 4);
	cr_expect(fact_tap_recv_made(tap, 150, 4));
	cr_assert(eq(int, waitpid(child, &status, 0), child));
	cr_expect(eq(int, status, 0));
}
