/* SPDX-License-Identifier: BSD-2-Clause */
/* fact_lab: programs, classifiers, and what AF_PACKET sends and sees. */
#include "fact_lab.h"

#include <arpa/inet.h>
#include <bpf/bpf.h>
#include <bpf/libbpf.h>
#include <linux/bpf.h>
#include <linux/if_ether.h>
#include <linux/if_link.h>
#include <linux/if_packet.h>
#include <linux/pkt_cls.h>
#include <net/if.h>
#include <poll.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

/* Newer than glibc 2.36's headers; the value is kernel ABI. */
#ifndef PACKET_IGNORE_OUTGOING
#define PACKET_IGNORE_OUTGOING 23
#endif

#define INSN(c, dst, src, o, i)                                                \
	((struct bpf_insn){ .code = (c),                                       \
			    .dst_reg = (dst),                                  \
			    .src_reg = (src),                                  \
			    .off = (o),                                        \
			    .imm = (i) })
#define SET(reg, value)                                                        \
	INSN(BPF_ALU64 | BPF_MOV | BPF_K, BPF_REG_##reg, 0, 0, value)
#define CALL(helper) INSN(BPF_JMP | BPF_CALL, 0, 0, 0, BPF_FUNC_##helper)
#define EXIT INSN(BPF_JMP | BPF_EXIT, 0, 0, 0, 0)

int fact_xskmap(uint32_t cnt)
{
	int fd = bpf_map_create(BPF_MAP_TYPE_XSKMAP, "fact", 4, 4, cnt, NULL);

	cr_assert(ge(int, fd, 0), "%s", strerror(-fd));
	return fd;
}

static int load(enum bpf_prog_type type, uint32_t flags,
		const struct bpf_insn *insns, size_t cnt)
{
	static char words[65536];
	struct bpf_prog_load_opts opts = {
		.sz = sizeof(opts),
		.prog_flags = flags,
		.log_buf = words,
		.log_size = sizeof(words),
		.log_level = 1,
	};
	int fd = bpf_prog_load(type, "fact", "Dual BSD/GPL", insns, cnt, &opts);

	cr_assert(ge(int, fd, 0), "%s: %s", strerror(-fd), words);
	return fd;
}

int fact_program(int map_fd, bool has_frags)
{
	const struct bpf_insn insns[] = {
		INSN(BPF_LDX | BPF_MEM | BPF_W, BPF_REG_2, BPF_REG_1,
		     offsetof(struct xdp_md, rx_queue_index), 0),
		INSN(BPF_LD | BPF_DW | BPF_IMM, BPF_REG_1, BPF_PSEUDO_MAP_FD, 0,
		     map_fd),
		INSN(0, 0, 0, 0, 0),
		SET(3, XDP_PASS),
		CALL(redirect_map),
		EXIT,
	};

	return load(BPF_PROG_TYPE_XDP, has_frags ? BPF_F_XDP_HAS_FRAGS : 0,
		    insns, sizeof(insns) / sizeof(insns[0]));
}

int fact_verdict(int action)
{
	const struct bpf_insn insns[] = { SET(0, action), EXIT };

	return load(BPF_PROG_TYPE_XDP, BPF_F_XDP_HAS_FRAGS, insns, 2);
}

int fact_redirect(int ifindex)
{
	const struct bpf_insn insns[] = {
		SET(1, ifindex),
		SET(2, 0),
		CALL(redirect),
		EXIT,
	};

	return load(BPF_PROG_TYPE_XDP, 0, insns, 4);
}

int fact_attach(const char *dev, int prog_fd, uint32_t xdp_flags)
{
	return bpf_xdp_attach(fact_ifindex(dev), prog_fd, xdp_flags, NULL);
}

void fact_map_set(int map_fd, uint32_t queue, int xsk_fd)
{
	cr_assert(eq(int, bpf_map_update_elem(map_fd, &queue, &xsk_fd, 0), 0));
}

int fact_steer(const char *dev, const struct fact_sock *sock)
{
	int map_fd = fact_xskmap(1), prog_fd = fact_program(map_fd, true);

	fact_map_set(map_fd, 0, sock->fd);
	cr_assert(eq(int, fact_attach(dev, prog_fd, XDP_FLAGS_DRV_MODE), 0));
	close(prog_fd);
	return map_fd;
}

void fact_classify(const char *dev, bool is_egress, int tci, int ifindex)
{
	const struct bpf_insn tag[] = {
		SET(2, htons(ETH_P_8021Q)), SET(3, tci), CALL(skb_vlan_push),
		SET(0, TC_ACT_OK),	    EXIT,
	};
	const struct bpf_insn redirect[] = {
		SET(1, ifindex),
		SET(2, 0),
		CALL(redirect),
		EXIT,
	};
	struct bpf_tc_hook hook = {
		.sz = sizeof(hook),
		.ifindex = fact_ifindex(dev),
		.attach_point = is_egress ? BPF_TC_EGRESS : BPF_TC_INGRESS,
	};
	struct bpf_tc_opts opts = { .sz = sizeof(opts) };

	opts.prog_fd = tci ? load(BPF_PROG_TYPE_SCHED_CLS, 0, tag, 5)
			   : load(BPF_PROG_TYPE_SCHED_CLS, 0, redirect, 4);
	cr_assert(eq(int, bpf_tc_hook_create(&hook), 0));
	cr_assert(eq(int, bpf_tc_attach(&hook, &opts), 0));
	close(opts.prog_fd);
}

int fact_tap(const char *dev)
{
	struct sockaddr_ll addr = {
		.sll_family = AF_PACKET,
		.sll_protocol = htons(ETH_P_ALL),
		.sll_ifindex = fact_ifindex(dev),
	};
	int fd = socket(AF_PACKET, SOCK_RAW | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	int one = 1, room = 16 << 20;

	cr_assert(ge(int, fd, 0));
	cr_assert(eq(int,
		     setsockopt(fd, SOL_PACKET, PACKET_IGNORE_OUTGOING, &one,
				sizeof(one)),
		     0));
	cr_assert(eq(
		int,
		setsockopt(fd, SOL_SOCKET, SO_RCVBUFFORCE, &room, sizeof(room)),
		0));
	cr_assert(eq(
		int,
		setsockopt(fd, SOL_SOCKET, SO_SNDBUFFORCE, &room, sizeof(room)),
		0));
	cr_assert(eq(int, bind(fd, (struct sockaddr *)&addr, sizeof(addr)), 0));
	return fd;
}

void fact_tap_send(int fd, const void *packet, size_t len)
{
	uint64_t end_ms = fact_now_ms() + FACT_WAIT_MS;

	while (send(fd, packet, len, 0) < 0) {
		if (errno != ENOBUFS && errno != EAGAIN)
			cr_fatal("%zu bytes: %s", len, strerror(errno));
		cr_assert(lt(u64, fact_now_ms(), end_ms));
		usleep(100);
	}
}

size_t fact_tap_recv(int fd, void *packet, size_t max, int wait_ms)
{
	struct pollfd pfd = { .fd = fd, .events = POLLIN };
	ssize_t len;

	if (poll(&pfd, 1, wait_ms) <= 0)
		return 0;
	len = recv(fd, packet, max, MSG_TRUNC);
	return len < 0 ? 0 : (size_t)len;
}

void fact_make(uint8_t *packet, size_t len, uint32_t tag)
{
	static const uint8_t header[] = { 2, 0, 0, 0, 0, 2,    2,
					  0, 0, 0, 0, 1, 0x88, 0xb5 };

	for (size_t i = 0; i < len; i++)
		packet[i] = i < sizeof(header)
				    ? header[i]
				    : (uint8_t)(i * 7 + i / 251 + tag * 3);
}

void fact_tap_send_made(int fd, size_t len, uint32_t tag)
{
	static uint8_t packet[FACT_PACKET_MAX];

	fact_make(packet, len, tag);
	fact_tap_send(fd, packet, len);
}

bool fact_is_made(const uint8_t *packet, size_t len, uint32_t tag)
{
	static uint8_t want[FACT_PACKET_MAX];

	fact_make(want, len, tag);
	return !memcmp(packet, want, len);
}

bool fact_tap_recv_made(int fd, size_t len, uint32_t tag)
{
	static uint8_t got[FACT_PACKET_MAX];

	return fact_tap_recv(fd, got, sizeof(got), FACT_WAIT_MS) == len &&
	       fact_is_made(got, len, tag);
}
