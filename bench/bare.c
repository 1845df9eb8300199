/* SPDX-License-Identifier: BSD-2-Clause */
#include "bench.h"

/* Generated: one string longer than ISO C promises to take, int as size_t. */
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Woverlength-strings"
#pragma GCC diagnostic ignored "-Wsign-conversion"
#include "bare.skel.h"
#pragma GCC diagnostic pop

#include <errno.h>
#include <liburing.h>
#include <net/if.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <xdp/xsk.h>

/*
 * bare: AF_XDP with nothing around it but libxdp: the least that can be done.
 * No frame is checked, owned or counted; addresses go round.  Its free list is
 * a stack and its fill rings hold --circulating frames, as xmbuf does it.
 * Packets of several frames (--chains) go round descriptor by descriptor, and
 * need a program of our own.
 */

#ifndef XDP_USE_SG
#define XDP_USE_SG (1 << 4)
#endif
#ifndef XDP_PKT_CONTD
#define XDP_PKT_CONTD (1 << 0)
#endif
#ifndef XDP_MAX_TX_SKB_BUDGET
#define XDP_MAX_TX_SKB_BUDGET 9
#endif

enum { FRAME_LEN = 2048, RING = 2048, BURST = 64, REFILL_MIN = 16 };

struct port {
	struct xsk_socket *xsk;
	struct xsk_ring_cons rx, comp;
	struct xsk_ring_prod tx, fill;
	uint32_t fill_cnt, tx_cnt; /* frames that the kernel has */
	bool is_inside;		   /* the next frame is not a packet's first */
	bool is_kicked;		   /* by a ring, which has not answered */
	struct io_uring uring;
	struct bare_bpf *prog;
};

static struct bench_opts opts;
static struct bench_meter meter;
static struct bench_watch watch;
static struct port ports[2];
static uint8_t *area;
static uint64_t *free_list; /* a ring, used as a stack or a queue */
static uint32_t head, tail, list_mask, batch, circulating, frame_len;
static uint64_t addr_mask; /* of a frame's address in a packet's */

static void put(uint64_t addr)
{
	free_list[tail++ & list_mask] = addr & addr_mask;
}

static uint64_t take(void)
{
	return free_list[(opts.is_fifo ? head++ : --tail) & list_mask];
}

static void refill(struct port *port)
{
	uint32_t idx, n = circulating - port->fill_cnt;

	if (n < REFILL_MIN || xsk_ring_prod__reserve(&port->fill, n, &idx) != n)
		return;
	for (uint32_t i = 0; i < n; i++)
		*xsk_ring_prod__fill_addr(&port->fill, idx + i) = take();
	xsk_ring_prod__submit(&port->fill, n);
	port->fill_cnt += n;
}

static void reap(struct port *port)
{
	uint32_t idx, n;

	if (opts.reaps_late && port->tx_cnt < RING / 2)
		return;
	n = xsk_ring_cons__peek(&port->comp, RING, &idx);
	for (uint32_t i = 0; i < n; i++)
		put(*xsk_ring_cons__comp_addr(&port->comp, idx + i));
	if (n == 0)
		return;
	xsk_ring_cons__release(&port->comp, n);
	port->tx_cnt -= n;
}

/*
 * A ring sends again by itself while the socket says EAGAIN.  One that the
 * kernel polls has its answer fetched before the next kick, not waited for.
 */
static void kick_uring(struct port *port)
{
	struct io_uring_cqe *cqe;

	if (port->is_kicked && io_uring_peek_cqe(&port->uring, &cqe))
		return;
	if (port->is_kicked)
		io_uring_cqe_seen(&port->uring, cqe);
	io_uring_prep_send(io_uring_get_sqe(&port->uring),
			   xsk_socket__fd(port->xsk), NULL, 0, 0);
	port->is_kicked = true;
	if (opts.kick == BENCH_KICK_SQPOLL) {
		io_uring_submit(&port->uring);
		return;
	}
	if (io_uring_submit_and_wait(&port->uring, 1) < 0 ||
	    io_uring_peek_cqe(&port->uring, &cqe))
		return;
	io_uring_cqe_seen(&port->uring, cqe);
	port->is_kicked = false;
}

static void kick(struct port *port)
{
	uint64_t start = xmb_clock_ticks();
	ssize_t done = -1;

	if (port->tx_cnt == 0 || !xsk_ring_prod__needs_wakeup(&port->tx))
		return;
	if (opts.kick >= BENCH_KICK_URING) {
		kick_uring(port);
		done = 0;
	}
	/* A call moves 32 frames and says EAGAIN when more wait. */
	for (uint32_t i = 0; done < 0 && i <= batch / 32; i++) {
		done = sendto(xsk_socket__fd(port->xsk), NULL, 0, MSG_DONTWAIT,
			      NULL, 0);
		if (done < 0 && errno != EAGAIN && errno != EBUSY)
			break;
	}
	meter.turn_kernel += xmb_clock_ticks() - start;
}

static uint8_t *data(uint64_t addr)
{
	/* Of unaligned frames the upper bits are where in it the packet is. */
	return area + xsk_umem__add_offset_to_addr(addr);
}

/* Fetch the packets of a batch that was received. */
static void prefetch(const struct port *port, uint32_t idx, uint32_t n)
{
	for (uint32_t i = 0; i < n; i++)
		for (uint32_t off = 0; off < opts.prefetch; off += 64)
			__builtin_prefetch(
				off +
				data(xsk_ring_cons__rx_desc(&port->rx, idx + i)
					     ->addr));
}

static uint32_t drop_turn(struct port *port)
{
	uint32_t idx, n;

	refill(port);
	n = xsk_ring_cons__peek(&port->rx, batch, &idx);
	prefetch(port, idx, n);
	for (uint32_t i = 0; i < n; i++)
		put(xsk_ring_cons__rx_desc(&port->rx, idx + i)->addr);
	if (n == 0)
		return 0;
	xsk_ring_cons__release(&port->rx, n);
	port->fill_cnt -= n;
	return n;
}

static uint32_t send_turn(struct port *port)
{
	static uint8_t header[FRAME_LEN];
	uint32_t idx, n = batch;

	if (header[0] == 0)
		bench_packet(header, opts.len);
	reap(port);
	if (port->tx_cnt + n > circulating ||
	    xsk_ring_prod__reserve(&port->tx, n, &idx) != n)
		n = 0;
	for (uint32_t i = 0; i < n; i++) {
		uint64_t addr = take();

		if (opts.is_staggered)
			addr += addr / frame_len % 8 * 64;
		memcpy(area + addr, header, BENCH_HEADER_LEN);
		*xsk_ring_prod__tx_desc(&port->tx, idx + i) =
			(struct xdp_desc){ .addr = addr, .len = opts.len };
	}
	if (n)
		xsk_ring_prod__submit(&port->tx, n);
	port->tx_cnt += n;
	kick(port);
	return n;
}

static uint32_t forward_turn(struct port *in, struct port *out)
{
	uint32_t from, to, n, packets = 0;

	reap(out);
	refill(in);
	n = xsk_ring_cons__peek(&in->rx, batch, &from);
	if (opts.kick == BENCH_KICK_LATE || opts.kick == BENCH_KICK_SQPOLL)
		kick(out);
	if (n == 0)
		return 0;
	prefetch(in, from, n);
	while (xsk_ring_prod__reserve(&out->tx, n, &to) != n) {
		kick(out);
		reap(out);
	}
	for (uint32_t i = 0; i < n; i++) {
		const struct xdp_desc *desc =
			xsk_ring_cons__rx_desc(&in->rx, from + i);

		if (!in->is_inside)
			bench_macswap(data(desc->addr));
		in->is_inside = desc->options & XDP_PKT_CONTD;
		packets += !in->is_inside;
		*xsk_ring_prod__tx_desc(&out->tx, to + i) = *desc;
		if (opts.kick == BENCH_KICK_EACH) {
			xsk_ring_prod__submit(&out->tx, 1);
			out->tx_cnt++;
			kick(out);
		}
	}
	xsk_ring_cons__release(&in->rx, n);
	in->fill_cnt -= n;
	if (opts.kick != BENCH_KICK_EACH) {
		xsk_ring_prod__submit(&out->tx, n);
		out->tx_cnt += n;
	}
	if (opts.kick != BENCH_KICK_LATE)
		kick(out);
	return packets;
}

/* libxdp's program takes no packets of several buffers. */
static void steer(struct port *port, const char *dev)
{
	struct bare_bpf *prog = bare_bpf__open_and_load();

	if (!prog)
		bench_die("loading the BPF program", errno);
	prog->links.bench_bare = bpf_program__attach_xdp(
		prog->progs.bench_bare, (int)if_nametoindex(dev));
	if (!prog->links.bench_bare)
		bench_die("attaching the BPF program", errno);
	if (xsk_socket__update_xskmap(port->xsk, bpf_map__fd(prog->maps.xsks)))
		bench_die("steering to the socket", errno);
	port->prog = prog;
}

static void open_uring(struct io_uring *uring)
{
	struct io_uring_params params = {
		.sq_thread_cpu = opts.sqpoll_cpu,
		.sq_thread_idle = 1000,
	};
	int err;

	if (opts.kick == BENCH_KICK_SQPOLL)
		params.flags = IORING_SETUP_SQPOLL | IORING_SETUP_SQ_AFF;
	err = io_uring_queue_init_params(8, uring, &params);
	if (err)
		bench_die("io_uring_queue_init", -err);
}

static void open_port(struct port *port, struct xsk_umem *umem, const char *dev)
{
	struct xsk_socket_config config = {
		.rx_size = RING,
		.tx_size = RING,
		.bind_flags = XDP_USE_NEED_WAKEUP,
	};
	int err;

	if (opts.has_chains) {
		config.bind_flags |= XDP_USE_SG;
		config.libxdp_flags = XSK_LIBXDP_FLAGS__INHIBIT_PROG_LOAD;
	}
	err = xsk_socket__create_shared(&port->xsk, dev, 0, umem, &port->rx,
					&port->tx, &port->fill, &port->comp,
					&config);
	if (err)
		bench_die(dev, -err);
	if (opts.tx_budget && setsockopt(xsk_socket__fd(port->xsk), SOL_XDP,
					 XDP_MAX_TX_SKB_BUDGET, &opts.tx_budget,
					 sizeof(opts.tx_budget)))
		bench_die("XDP_MAX_TX_SKB_BUDGET", errno);
	if (opts.kick >= BENCH_KICK_URING)
		open_uring(&port->uring);
	refill(port);
	if (opts.has_chains)
		steer(port, dev);
}

static uint8_t *map_frames(size_t len)
{
	uint8_t *mem;

	if (opts.pages != BENCH_HUGETLB) {
		mem = bench_map(len);
		if (opts.pages == BENCH_SMALL)
			madvise(mem, len, MADV_NOHUGEPAGE);
		return mem;
	}
	mem = mmap(NULL, xmb_align_up(len, 2 << 20), PROT_READ | PROT_WRITE,
		   MAP_PRIVATE | MAP_ANONYMOUS | MAP_HUGETLB, -1, 0);
	if (mem == MAP_FAILED)
		bench_die("mapping huge pages", errno);
	return mem;
}

static struct xsk_umem *map_umem(void)
{
	struct xsk_umem_config config = {
		.fill_size = RING,
		.comp_size = RING,
		.frame_size = frame_len,
		.frame_headroom = opts.headroom,
		.flags = opts.is_unaligned ? XDP_UMEM_UNALIGNED_CHUNK_FLAG : 0,
	};
	struct xsk_umem *umem;
	int err;

	while (list_mask + 1 < opts.frame_cnt)
		list_mask = 2 * list_mask + 1;
	area = map_frames((size_t)opts.frame_cnt * frame_len);
	free_list = bench_map((list_mask + 1) * sizeof(*free_list));
	for (uint32_t i = opts.frame_cnt; i-- > 0;) {
		bench_packet(area + (uint64_t)i * frame_len, frame_len);
		put((uint64_t)i * frame_len);
	}
	err = xsk_umem__create(&umem, area,
			       (uint64_t)opts.frame_cnt * frame_len,
			       &ports[0].fill, &ports[0].comp, &config);
	if (err)
		bench_die("xsk_umem__create", -err);
	return umem;
}

static uint32_t turn(void)
{
	switch (opts.mode) {
	case BENCH_RXDROP:
		return drop_turn(&ports[0]);
	case BENCH_TXONLY:
		return send_turn(&ports[0]);
	case BENCH_FORWARD:
		return forward_turn(&ports[0], &ports[1]) +
		       forward_turn(&ports[1], &ports[0]);
	}
	return 0;
}

int main(int argc, char **argv)
{
	struct xsk_umem *umem;
	struct bench_result result;

	bench_parse(argc, argv, &opts);
	circulating = opts.circulating ? opts.circulating : RING;
	batch = opts.batch ? opts.batch : BURST;
	frame_len = opts.frame_len ? opts.frame_len : FRAME_LEN;
	addr_mask = opts.is_unaligned ? XSK_UNALIGNED_BUF_ADDR_MASK
				      : ~(uint64_t)(frame_len - 1);
	umem = map_umem();
	open_port(&ports[0], umem, opts.dev);
	if (opts.mode == BENCH_FORWARD)
		open_port(&ports[1], umem, opts.out);
	watch.is_on = opts.is_watched;
	bench_arm(&opts);
	bench_say_ready();
	bench_meter_start(&meter);
	while (!bench_is_over()) {
		bench_turn_begin(&meter);
		bench_turn_end(&meter, turn());
		bench_watch_turn(&watch);
		bench_stall(&opts, &meter);
	}
	result = bench_meter_result(&meter);
	for (int i = 0; i < 2; i++) {
		bare_bpf__destroy(ports[i].prog);
		xsk_socket__delete(ports[i].xsk);
		if (ports[i].xsk && opts.kick >= BENCH_KICK_URING)
			io_uring_queue_exit(&ports[i].uring);
	}
	xsk_umem__delete(umem);
	bench_say_result(&result, &watch);
	return 0;
}
