/* SPDX-License-Identifier: BSD-2-Clause */
#include "bench.h"

#include "base/clock.h"

#include <errno.h>
#include <linux/if_packet.h>
#include <net/ethernet.h>
#include <net/if.h>
#include <arpa/inet.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <unistd.h>

/*
 * afpacket: the kernel's packet sockets at their best: received in a
 * TPACKET_V3 ring that is polled, sent by sendmmsg from where the bytes lie,
 * past the queueing discipline.
 */

enum { BLOCK_LEN = 1 << 20, BLOCK_CNT = 64, BURST = 64, RETIRE_MS = 1 };

struct port {
	int fd;
	uint8_t *ring;
	uint32_t block;
};

static struct bench_opts opts;
static struct bench_meter meter;
static struct bench_watch watch;
static struct port ports[2];

static struct tpacket_block_desc *block_of(const struct port *port)
{
	return (void *)(port->ring + (size_t)port->block * BLOCK_LEN);
}

static void set(int fd, int level, int name, int value, const char *what)
{
	if (setsockopt(fd, level, name, &value, sizeof(value)))
		bench_die(what, errno);
}

static void map_ring(struct port *port)
{
	struct tpacket_req3 req = {
		.tp_block_size = BLOCK_LEN,
		.tp_block_nr = BLOCK_CNT,
		.tp_frame_size = 2048,
		.tp_frame_nr = BLOCK_LEN / 2048 * BLOCK_CNT,
		.tp_retire_blk_tov = RETIRE_MS,
	};

	set(port->fd, SOL_PACKET, PACKET_VERSION, TPACKET_V3, "PACKET_VERSION");
	if (setsockopt(port->fd, SOL_PACKET, PACKET_RX_RING, &req, sizeof(req)))
		bench_die("PACKET_RX_RING", errno);
	port->ring = mmap(NULL, (size_t)BLOCK_LEN * BLOCK_CNT,
			  PROT_READ | PROT_WRITE, MAP_SHARED, port->fd, 0);
	if (port->ring == MAP_FAILED)
		bench_die("mmap of the ring", errno);
}

static void open_port(struct port *port, const char *dev)
{
	struct sockaddr_ll addr = {
		.sll_family = AF_PACKET,
		.sll_protocol = htons(ETH_P_ALL),
		.sll_ifindex = (int)if_nametoindex(dev),
	};

	port->fd = socket(AF_PACKET, SOCK_RAW, 0);
	if (port->fd < 0)
		bench_die("socket", errno);
	set(port->fd, SOL_PACKET, PACKET_QDISC_BYPASS, 1, "QDISC_BYPASS");
	set(port->fd, SOL_PACKET, PACKET_IGNORE_OUTGOING, 1, "IGNORE_OUTGOING");
	set(port->fd, SOL_SOCKET, SO_SNDBUFFORCE, 1 << 24, "SO_SNDBUF");
	if (opts.mode == BENCH_TXONLY)
		addr.sll_protocol = 0;
	else
		map_ring(port);
	if (bind(port->fd, (struct sockaddr *)&addr, sizeof(addr)))
		bench_die(dev, errno);
}

static void send_all(const struct port *port, struct mmsghdr *msgs,
		     uint32_t cnt)
{
	uint64_t start = xmb_clock_ticks();

	for (uint32_t done = 0; done < cnt;) {
		int n = sendmmsg(port->fd, msgs + done, cnt - done,
				 MSG_DONTWAIT);

		/* Refused by the device: that packet is lost. */
		done += n > 0 ? (uint32_t)n : 1;
	}
	meter.turn_kernel += xmb_clock_ticks() - start;
}

struct batch {
	struct mmsghdr msgs[BURST];
	struct iovec iov[BURST];
	uint32_t cnt;
};

static void batch_add(struct batch *batch, uint8_t *data, uint32_t len)
{
	batch->iov[batch->cnt] = (struct iovec){ data, len };
	batch->msgs[batch->cnt] = (struct mmsghdr){
		.msg_hdr = { .msg_iov = &batch->iov[batch->cnt],
			     .msg_iovlen = 1 },
	};
	batch->cnt++;
}

/* Walk the block that the kernel has filled; out: where its packets go. */
static uint32_t receive_turn(struct port *in, const struct port *out)
{
	static struct batch batch;
	struct tpacket_block_desc *block = block_of(in);
	const struct tpacket_hdr_v1 *h = &block->hdr.bh1;
	struct tpacket3_hdr *packet;
	uint32_t n;

	if (!(__atomic_load_n(&h->block_status, __ATOMIC_ACQUIRE) &
	      TP_STATUS_USER))
		return 0;
	n = h->num_pkts;
	packet = (void *)((uint8_t *)block + h->offset_to_first_pkt);
	for (uint32_t i = 0; i < n; i++) {
		uint8_t *data = (uint8_t *)packet + packet->tp_mac;

		if (out) {
			bench_macswap(data);
			batch_add(&batch, data, packet->tp_snaplen);
			if (batch.cnt == BURST || i + 1 == n) {
				send_all(out, batch.msgs, batch.cnt);
				batch.cnt = 0;
			}
		}
		packet = (void *)((uint8_t *)packet + packet->tp_next_offset);
	}
	__atomic_store_n(&block->hdr.bh1.block_status, TP_STATUS_KERNEL,
			 __ATOMIC_RELEASE);
	in->block = (in->block + 1) % BLOCK_CNT;
	return n;
}

static uint32_t send_turn(const struct port *port)
{
	static uint8_t packets[BURST][2048];
	static struct batch batch;

	if (batch.cnt == 0)
		for (int i = 0; i < BURST; i++) {
			bench_packet(packets[i], opts.len);
			batch_add(&batch, packets[i], opts.len);
		}
	send_all(port, batch.msgs, batch.cnt);
	return batch.cnt;
}

static uint32_t turn(void)
{
	switch (opts.mode) {
	case BENCH_RXDROP:
		return receive_turn(&ports[0], NULL);
	case BENCH_TXONLY:
		return send_turn(&ports[0]);
	case BENCH_FORWARD:
		return receive_turn(&ports[0], &ports[1]) +
		       receive_turn(&ports[1], &ports[0]);
	}
	return 0;
}

int main(int argc, char **argv)
{
	struct bench_result result;

	bench_parse(argc, argv, &opts);
	open_port(&ports[0], opts.dev);
	if (opts.mode == BENCH_FORWARD)
		open_port(&ports[1], opts.out);
	watch.is_on = opts.is_watched;
	bench_arm(&opts);
	bench_say_ready();
	bench_meter_start(&meter);
	while (!bench_is_over()) {
		bench_turn_begin(&meter);
		bench_turn_end(&meter, turn());
		bench_watch_turn(&watch);
	}
	result = bench_meter_result(&meter);
	bench_say_result(&result, &watch);
	return 0;
}
