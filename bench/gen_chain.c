/* SPDX-License-Identifier: BSD-2-Clause */
#include "gen.h"

#include <errno.h>
#include <linux/if_xdp.h>
#include <string.h>
#include <sys/socket.h>
#include <xdp/xsk.h>

/*
 * gen_chain: packets longer than a page, which live frames cannot be: AF_XDP
 * by libxdp alone, a few packets written once and sent round and round.  Each
 * is as few descriptors as hold it, in frames side by side:
 *
 *      slot 0                slot 1
 *      | part | part | part | part | part | part | ...    FRAME_LEN each
 */

enum { FRAME_LEN = 4096, RING = 512, SLOTS = 8, BURST = 8 };

#ifndef XDP_USE_SG
#define XDP_USE_SG (1 << 4)
#endif
#ifndef XDP_PKT_CONTD
#define XDP_PKT_CONTD (1 << 0)
#endif

static struct {
	struct xsk_socket *xsk;
	struct xsk_ring_prod tx, fill;
	struct xsk_ring_cons comp;
	uint32_t len, part_cnt;
	uint32_t slots[SLOTS], slot_cnt; /* those that are free, a stack */
	uint64_t gap_ns, next_ns;
	uint64_t done, refused;
} sender;

static void open_socket(const char *dev)
{
	size_t slot_len = (size_t)sender.part_cnt * FRAME_LEN;
	struct xsk_umem_config umem_config = {
		.fill_size = RING,
		.comp_size = RING,
		.frame_size = FRAME_LEN,
	};
	struct xsk_socket_config config = {
		.tx_size = RING,
		.libxdp_flags = XSK_LIBXDP_FLAGS__INHIBIT_PROG_LOAD,
		.bind_flags = XDP_USE_NEED_WAKEUP | XDP_USE_SG,
	};
	uint8_t *area = bench_map(SLOTS * slot_len);
	struct xsk_umem *umem;
	int err;

	for (uint32_t i = 0; i < SLOTS; i++) {
		bench_packet(area + i * slot_len, sender.len);
		sender.slots[sender.slot_cnt++] = i;
	}
	err = xsk_umem__create(&umem, area, SLOTS * slot_len, &sender.fill,
			       &sender.comp, &umem_config);
	if (!err)
		err = xsk_socket__create(&sender.xsk, dev, 0, umem, NULL,
					 &sender.tx, &config);
	if (err)
		bench_die(dev, -err);
}

static void reap(void)
{
	uint32_t idx, n = xsk_ring_cons__peek(&sender.comp, RING, &idx);

	for (uint32_t i = 0; i < n; i++) {
		uint64_t addr =
			*xsk_ring_cons__comp_addr(&sender.comp, idx + i);
		uint32_t frame = (uint32_t)(addr / FRAME_LEN);

		/* All parts of a packet come back together. */
		if (frame % sender.part_cnt + 1 < sender.part_cnt)
			continue;
		sender.slots[sender.slot_cnt++] = frame / sender.part_cnt;
		sender.done++;
	}
	if (n)
		xsk_ring_cons__release(&sender.comp, n);
}

static void kick(void)
{
	if (sendto(xsk_socket__fd(sender.xsk), NULL, 0, MSG_DONTWAIT, NULL,
		   0) == 0 ||
	    errno == EAGAIN)
		return;
	if (errno != EBUSY)
		bench_die("sendto", errno);
	/* The queue behind the device was full: completed, but not sent. */
	sender.refused++;
}

/* How many packets it is time for. */
static uint32_t due(void)
{
	uint64_t now_ns, late;

	if (sender.gap_ns == 0)
		return BURST;
	now_ns = xmb_clock_ns();
	if (now_ns < sender.next_ns)
		return 0;
	if (now_ns - sender.next_ns > GEN_LATE_NS)
		sender.next_ns = now_ns;
	late = (now_ns - sender.next_ns) / sender.gap_ns;
	return late < BURST ? (uint32_t)late + 1 : BURST;
}

static void post(uint32_t n)
{
	uint32_t idx, slot_len = sender.part_cnt * FRAME_LEN;

	if (n > sender.slot_cnt)
		n = sender.slot_cnt;
	if (n == 0 ||
	    !xsk_ring_prod__reserve(&sender.tx, n * sender.part_cnt, &idx))
		return;
	for (uint32_t i = 0; i < n; i++) {
		uint32_t slot = sender.slots[--sender.slot_cnt];

		for (uint32_t off = 0; off < sender.len; off += FRAME_LEN) {
			bool is_last = sender.len - off <= FRAME_LEN;

			*xsk_ring_prod__tx_desc(&sender.tx, idx++) =
				(struct xdp_desc){
					(uint64_t)slot * slot_len + off,
					is_last ? sender.len - off : FRAME_LEN,
					is_last ? 0 : XDP_PKT_CONTD,
				};
		}
	}
	xsk_ring_prod__submit(&sender.tx, n * sender.part_cnt);
	sender.next_ns += n * sender.gap_ns;
}

void gen_chains_open(const char *dev, uint32_t len, double rate)
{
	sender.len = len;
	sender.part_cnt = (len + FRAME_LEN - 1) / FRAME_LEN;
	sender.gap_ns = rate > 0 ? (uint64_t)(1e9 / rate) : 0;
	open_socket(dev);
}

uint64_t gen_chains_run(struct bench_watch *watch)
{
	uint64_t end_ns;

	while (!bench_is_over()) {
		reap();
		post(due());
		if (sender.slot_cnt < SLOTS)
			kick();
		bench_watch_turn(watch);
	}
	end_ns = xmb_clock_ns() + 100 * XMB_NS_PER_MS;
	while (sender.slot_cnt < SLOTS && xmb_clock_ns() < end_ns) {
		kick();
		reap();
	}
	return sender.done - sender.refused;
}
