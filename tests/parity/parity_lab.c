/* SPDX-License-Identifier: BSD-2-Clause */
#include "parity_lab.h"

#include <linux/if_link.h>
#include <stdio.h>
#include <sys/socket.h>
#include <unistd.h>

/* Newer than glibc 2.36's headers; the values are kernel ABI. */
#ifndef SO_PREFER_BUSY_POLL
#define SO_PREFER_BUSY_POLL 69
#endif
#ifndef SO_BUSY_POLL_BUDGET
#define SO_BUSY_POLL_BUDGET 70
#endif

enum { BUSY_US = 20 };

static void wire(uint32_t mtu)
{
	char command[LINE_LEN];

	snprintf(command, sizeof(command),
		 "ip link add sender mtu %u type veth peer name receiver mtu "
		 "%u && "
		 "ip link set sender up && ip link set receiver up",
		 mtu, mtu);
	must(command);
}

void parity_frames(uint32_t frame_len, uint32_t mtu)
{
	wire(mtu);
	lab_frames(frame_len, FRAME_CNT);
}

static bool is_busy(enum variant variant)
{
	return variant == NATIVE_BUSY || variant == GENERIC_BUSY;
}

void parity_busy(enum variant variant, int fd)
{
	int one = 1, time_us = BUSY_US, budget = BATCH;

	if (!is_busy(variant))
		return;
	cr_assert(eq(int,
		     setsockopt(fd, SOL_SOCKET, SO_PREFER_BUSY_POLL, &one,
				sizeof(one)),
		     0));
	cr_assert(eq(int,
		     setsockopt(fd, SOL_SOCKET, SO_BUSY_POLL, &time_us,
				sizeof(time_us)),
		     0));
	cr_assert(eq(int,
		     setsockopt(fd, SOL_SOCKET, SO_BUSY_POLL_BUDGET, &budget,
				sizeof(budget)),
		     0));
}

/*
 * veth has no NAPI of its own for a socket to poll unless GRO or a program
 * gives it one: what is seen is that it is set, and nothing lost by it.
 */
struct xmb_xsk *parity_open_with(enum variant variant, struct xmb_xsk_opts opts)
{
	struct xmb_xsk_busy busy;
	struct xmb_xsk *xsk;

	if (is_busy(variant)) {
		opts.busy_poll_us = BUSY_US;
		opts.busy_poll_budget = BATCH;
		opts.prefer_busy_poll = true;
	}
	xsk = lab_open(&opts);
	busy = xmb_xsk_busy(xsk);
	cr_assert(eq(u32, busy.us, opts.busy_poll_us));
	cr_assert(eq(int, busy.is_preferred, is_busy(variant)));
	return xsk;
}

struct xmb_xsk *parity_open(enum variant variant, const char *dev)
{
	return parity_open_with(variant, lab_opts(dev));
}

struct xmb_prog *parity_steer(enum variant variant, struct xmb_xsk *xsk)
{
	struct xmb_prog_opts opts = {
		.dev = xsk->dev,
		.ifindex = xsk->opts.ifindex,
		.mode = is_native(variant) ? XMB_PROG_NATIVE : XMB_PROG_GENERIC,
		.queue_cnt = xsk->opts.queue + 1,
	};
	struct xmb_prog *prog = NULL;

	cr_assert(eq(int, xmb_prog_attach(&prog, &opts), 0));
	cr_assert(eq(int, xmb_prog_mode(prog), opts.mode));
	cr_assert(eq(int, xmb_prog_steer(prog, xsk->opts.queue, xsk->fd), 0));
	lab.progs[lab.prog_cnt++] = prog;
	return prog;
}

struct parity parity_up(enum variant variant, uint32_t frame_len, uint32_t mtu)
{
	struct xmb_umem_opts opts = { .frame_len = frame_len,
				      .frame_cnt = FRAME_CNT };

	return parity_up_of(variant, &opts, mtu);
}

struct parity parity_up_of(enum variant variant,
			   const struct xmb_umem_opts *opts, uint32_t mtu)
{
	struct parity p = { .variant = variant };

	wire(mtu);
	lab_frames_of(opts);
	p.tx = parity_open(variant, "sender");
	p.rx = parity_open(variant, "receiver");
	p.prog = parity_steer(variant, p.rx);
	return p;
}

uint32_t parity_post(struct xmb_xsk *tx, uint32_t len, uint32_t first,
		     uint32_t cnt)
{
	struct xmb_multibuf mbs[BATCH];
	uint32_t sent;

	cr_assert(le(u32, cnt, BATCH));
	for (uint32_t i = 0; i < cnt; i++)
		mbs[i] = lab_packet(len, first + i);
	sent = xmb_xsk_send(tx, &lab.cache, mbs, cnt);
	for (uint32_t i = sent; i < cnt; i++)
		xmb_multibuf_release(&mbs[i], &lab.cache);
	return sent;
}

void parity_send(struct xmb_xsk *tx, uint32_t len, uint32_t first, uint32_t cnt)
{
	for (uint32_t i = 0; i < cnt; i += BATCH) {
		uint32_t n = xmb_min_u32(BATCH, cnt - i);

		cr_assert(eq(u32, parity_post(tx, len, first + i, n), n));
		lab_send(tx, NULL, 0);
	}
}

void parity_expect(struct xmb_xsk *rx, uint32_t len, uint32_t tag)
{
	struct xmb_multibuf mb = { 0 };

	cr_assert(eq(u32, lab_recv(rx, &mb, 1), 1), "packet %u", tag);
	cr_assert(lab_is_made(&mb, len, tag), "packet %u", tag);
	xmb_multibuf_release(&mb, &lab.cache);
}

void parity_expect_none(struct xmb_xsk *rx)
{
	usleep(QUIET_MS * 1000);
	cr_expect(not(xmb_xsk_has_rx(rx)));
}

void parity_pass(struct parity *p, uint32_t len, uint32_t cnt)
{
	uint32_t batch = len > 2000 ? 8 : BATCH;

	for (uint32_t i = 0; i < cnt; i += batch) {
		uint32_t n = xmb_min_u32(batch, cnt - i);

		parity_send(p->tx, len, i, n);
		for (uint32_t k = 0; k < n; k++)
			parity_expect(p->rx, len, i + k);
	}
	expect_counter(p->tx, XMB_XSK_TX_PACKETS, cnt);
	expect_counter(p->tx, XMB_XSK_TX_INVALID, 0);
	expect_counter(p->tx, XMB_XSK_TX_KERNEL_DROP, 0);
	expect_counter(p->tx, XMB_XSK_COMP_UNKNOWN, 0);
	expect_counter(p->rx, XMB_XSK_RX_PACKETS, cnt);
	expect_counter(p->rx, XMB_XSK_RX_DROPPED, 0);
	expect_counter(p->rx, XMB_XSK_RX_RING_FULL, 0);
	expect_counter(p->rx, XMB_XSK_RX_BAD_DESC, 0);
}

struct parity_bpf *parity_load(const char *program)
{
	struct parity_bpf *skel = parity_bpf__open();
	struct bpf_program *each;

	cr_assert(ne(ptr, skel, NULL));
	bpf_object__for_each_program(each, skel->obj) bpf_program__set_autoload(
		each, !strcmp(bpf_program__name(each), program));
	cr_assert(eq(int, parity_bpf__load(skel), 0));
	return skel;
}

void parity_attach(enum variant variant, struct parity_bpf *skel,
		   const char *program, const char *dev)
{
	struct bpf_program *prog =
		bpf_object__find_program_by_name(skel->obj, program);
	uint32_t flags =
		is_native(variant) ? XDP_FLAGS_DRV_MODE : XDP_FLAGS_SKB_MODE;

	cr_assert(ne(ptr, prog, NULL));
	cr_assert(eq(int, fact_attach(dev, bpf_program__fd(prog), flags), 0));
}

struct fact_sock parity_bare(enum variant variant, const char *dev,
			     struct fact_umem umem, uint16_t flags)
{
	struct fact_sock sock = fact_open(&umem);
	int err = -EBUSY;

	/* The queue of a socket that was closed is let go late. */
	for (int i = 0; i < WAIT_MS && err == -EBUSY; i++) {
		err = fact_bind(sock.fd, dev, 0,
				XDP_COPY | XDP_USE_NEED_WAKEUP | flags);
		usleep(err == -EBUSY ? 1000 : 0);
	}
	cr_assert(eq(int, err, 0));
	parity_busy(variant, sock.fd);
	return sock;
}

void parity_make(struct fact_sock *sock, uint64_t addr, uint32_t len,
		 uint32_t tag)
{
	packet_make(fact_at(sock, addr), len, tag);
}

void parity_expect_bare(struct fact_sock *sock, uint32_t len, uint32_t tag)
{
	static uint8_t got[FACT_PACKET_MAX], want[FACT_PACKET_MAX];
	size_t got_len;

	cr_assert(gt(u32, fact_receive(sock, got, &got_len), 0), "packet %u",
		  tag);
	packet_make(want, len, tag);
	cr_expect(eq(sz, got_len, len), "packet %u", tag);
	cr_expect(eq(int, memcmp(got, want, len), 0), "packet %u", tag);
}

struct mixed mixed_up(enum variant variant, struct fact_umem umem,
		      uint16_t flags)
{
	struct mixed m;

	parity_frames(4096, JUMBO_LEN);
	m.tx = parity_bare(variant, "sender", umem, flags);
	m.rx = parity_open(variant, "receiver");
	parity_steer(variant, m.rx);
	return m;
}

void mixed_kick(struct mixed *m)
{
	for (int i = 0; i < 64 && fact_waiting(&m->tx); i++)
		fact_kick(&m->tx);
	cr_assert(eq(u32, fact_waiting(&m->tx), 0));
}

void mixed_pieces(struct mixed *m, const struct piece *pieces, uint32_t cnt)
{
	uint32_t bad_cnt = 0;

	for (uint32_t i = 0; i < cnt; i++) {
		const struct piece *p = &pieces[i];
		uint64_t flat =
			(p->addr & ((1ull << 48) - 1)) + (p->addr >> 48);

		bad_cnt += !p->is_valid;
		if (p->is_valid)
			parity_make(&m->tx, flat, p->len, i);
		fact_post(&m->tx, p->addr, p->len, 0);
	}
	mixed_kick(m);
	for (uint32_t i = 0; i < cnt; i++)
		if (pieces[i].is_valid)
			parity_expect(m->rx, pieces[i].len, i);
	parity_expect_none(m->rx);
	cr_expect(eq(u64, fact_stats(&m->tx).tx_invalid_descs, bad_cnt));
}

void mixed_chain(struct mixed *m, const uint64_t *at, uint32_t cnt,
		 uint32_t piece_len, uint32_t tag)
{
	static uint8_t packet[FACT_PACKET_MAX];
	struct xdp_desc descs[FACT_RING_CNT];

	packet_make(packet, (size_t)cnt * piece_len, tag);
	for (uint32_t i = 0; i < cnt; i++) {
		descs[i] = (struct xdp_desc){
			.addr = at[i],
			.len = piece_len,
			.options = i + 1 < cnt ? XDP_PKT_CONTD : 0,
		};
		memcpy(fact_at(&m->tx, at[i]), packet + i * piece_len,
		       piece_len);
	}
	fact_post_chain(&m->tx, descs, cnt);
}

void mixed_spoiled(struct mixed *m, const struct xdp_desc (*bad)[3],
		   uint32_t cnt, const uint64_t *good_at)
{
	for (uint32_t i = 0; i < cnt; i++) {
		uint32_t n = 0;

		while (bad[i][n++].options & XDP_PKT_CONTD)
			;
		fact_post_chain(&m->tx, bad[i], n);
		mixed_chain(m, good_at, 3, 500, i);
		mixed_kick(m);
		parity_expect(m->rx, 1500, i);
		while (fact_completed(&m->tx, NULL, 0))
			;
	}
	parity_expect_none(m->rx);
	cr_expect(ge(u64, fact_stats(&m->tx).tx_invalid_descs, cnt));
}
