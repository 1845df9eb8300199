/* SPDX-License-Identifier: BSD-2-Clause */
#ifndef XMBUF_TESTS_VETH_PIPELINE_LAB_H
#define XMBUF_TESTS_VETH_PIPELINE_LAB_H

#include "engine/engine_priv.h"
#include "engine_lab.h"

#include <arpa/inet.h>
#include <linux/if_packet.h>
#include <stdlib.h>
#include <unistd.h>

/*
 * pipeline_lab: UDP packets of numbered flows, in order, for an engine with
 * workers.
 *
 *      | Ethernet 14 | IPv4 20 | UDP 8 | flow 4 | seq 4 | filler |
 */

enum {
	IP_OFF = 14,
	UDP_OFF = 34,
	PAYLOAD_OFF = 42,
	SEQ_OFF = PAYLOAD_OFF + 4,
	FLOW_LEN_MIN = PAYLOAD_OFF + 8,
	FLOW_MAX = 64,
	TTL = 64,
};

static inline uint16_t ip_sum(const uint8_t *header)
{
	uint32_t sum = 0;

	for (int i = 0; i < 20; i += 2)
		sum += (uint32_t)header[i] << 8 | header[i + 1];
	while (sum >> 16)
		sum = (sum & 0xffff) + (sum >> 16);
	return (uint16_t)~sum;
}

static inline void flow_make(uint8_t *packet, size_t len, uint32_t flow,
			     uint32_t seq)
{
	uint16_t ip_len = (uint16_t)(len - IP_OFF), sum;
	uint16_t udp_len = (uint16_t)(len - UDP_OFF);
	const uint8_t head[PAYLOAD_OFF] = {
		2, 0, 0, 0, 0, 2, 2, 0, 0, 0, 0, 1, 8, 0,
		0x45, 0, (uint8_t)(ip_len >> 8), (uint8_t)ip_len, 0, 0, 0x40, 0,
		TTL, 17, 0, 0, 10, 1, 0, (uint8_t)flow, 10, 2, 0, 1,
		(uint8_t)(4 + flow / 256), (uint8_t)flow, 0, 9,
		(uint8_t)(udp_len >> 8), (uint8_t)udp_len, 0, 0,
	};

	memcpy(packet, head, sizeof(head));
	sum = ip_sum(packet + IP_OFF);
	packet[IP_OFF + 10] = (uint8_t)(sum >> 8);
	packet[IP_OFF + 11] = (uint8_t)sum;
	memcpy(packet + PAYLOAD_OFF, &flow, sizeof(flow));
	memcpy(packet + SEQ_OFF, &seq, sizeof(seq));
	for (size_t i = FLOW_LEN_MIN; i < len; i++)
		packet[i] = (uint8_t)(i * 5 + seq + flow);
}

/* The same flow seen from the other end. */
static inline void flow_turn(uint8_t *packet)
{
	uint8_t tmp[6];

	memcpy(tmp, packet, 6);
	memcpy(packet, packet + 6, 6);
	memcpy(packet + 6, tmp, 6);
	memcpy(tmp, packet + 26, 4);
	memcpy(packet + 26, packet + 30, 4);
	memcpy(packet + 30, tmp, 4);
	memcpy(tmp, packet + 34, 2);
	memcpy(packet + 34, packet + 36, 2);
	memcpy(packet + 36, tmp, 2);
}

static inline void flow_send(int fd, size_t len, uint32_t flow, uint32_t seq)
{
	uint8_t packet[PACKET_MAX];

	flow_make(packet, len, flow, seq);
	tap_send(fd, packet, len);
}

static inline uint32_t word_at(const uint8_t *packet, size_t off)
{
	uint32_t word;

	memcpy(&word, packet + off, sizeof(word));
	return word;
}

static inline uint32_t mb_word(const struct xmb_multibuf *mb, size_t off)
{
	uint32_t word = UINT32_MAX;

	xmb_multibuf_copy_to(mb, off, &word, sizeof(word));
	return word;
}

/* What one tap got of each flow. */
struct flow_log {
	uint32_t next[FLOW_MAX]; /* the lowest seq that may come */
	uint32_t got[FLOW_MAX];
	uint32_t total, disorder, broken;
};

/* Count a packet; want_made: it must be what flow_make() makes. */
static inline void flow_note(struct flow_log *log, const uint8_t *packet,
			     size_t len, bool want_made)
{
	uint8_t made[PACKET_MAX];
	uint32_t flow = len >= FLOW_LEN_MIN ? word_at(packet, PAYLOAD_OFF) :
					      FLOW_MAX;
	uint32_t seq;

	if (flow >= FLOW_MAX) {
		log->broken++;
		return;
	}
	seq = word_at(packet, SEQ_OFF);
	flow_make(made, len, flow, seq);
	if (want_made && memcmp(made, packet, len) != 0)
		log->broken++;
	log->disorder += seq < log->next[flow];
	log->next[flow] = seq + 1;
	log->got[flow]++;
	log->total++;
}

/* Until cnt are there in all, or none came for wait_ms. */
static inline void flow_recv(int fd, struct flow_log *log, uint32_t cnt,
			     int wait_ms)
{
	uint8_t packet[PACKET_MAX];
	size_t len;

	while (log->total + log->broken < cnt &&
	       (len = tap_recv(fd, packet, sizeof(packet), wait_ms)) > 0)
		flow_note(log, packet, len, true);
}

/* Options of a pipeline of that many workers. */
static inline void pipeline_setup(uint32_t worker_cnt)
{
	engine_lab_setup(1, 1500);
	el.opts.mode = XMB_ENGINE_PIPELINE;
	el.opts.worker_cnt = worker_cnt;
}

/* Addresses of the last n descriptors of a ring, the oldest first. */
static inline void last_rx(const struct xmb_xsk *xsk, uint64_t *addrs,
			   uint32_t n)
{
	uint32_t end = xsk->rx.cached_cons;

	for (uint32_t i = 0; i < n; i++)
		addrs[i] = xsk_ring_cons__rx_desc(&xsk->rx, end - n + i)->addr;
}

static inline void last_tx(struct xmb_xsk *xsk, uint64_t *addrs, uint32_t n)
{
	uint32_t end = xsk->tx.cached_prod;

	for (uint32_t i = 0; i < n; i++)
		addrs[i] = xsk_ring_prod__tx_desc(&xsk->tx, end - n + i)->addr;
}

/* What was received is sent, or dropped by a name, exactly. */
static inline void expect_in_is_out_and_drops(void)
{
	static const enum xmb_xsk_counter before_tx[] = {
		XMB_XSK_TX_EMPTY, XMB_XSK_TX_TOO_LONG,
		XMB_XSK_TX_TOO_MANY_FRAGS, XMB_XSK_TX_NO_FRAMES,
		XMB_XSK_TX_FOREIGN, XMB_XSK_TX_FULL,
	};
	uint64_t in = 0, out = 0, drops = 0;

	for (int p = LEFT; p <= RIGHT; p++) {
		in += port_counter(p, XMB_XSK_RX_PACKETS);
		out += port_counter(p, XMB_XSK_TX_PACKETS);
		for (size_t i = 0; i < sizeof(before_tx) / sizeof(*before_tx);
		     i++)
			drops += port_counter(p, before_tx[i]);
	}
	for (int i = 0; i < XMB_WORKER_COUNTER_CNT; i++)
		if (xmb_worker_counter_descs[i].kind == XMB_COUNTER_DROP)
			drops += el.last.workers[i];
	cr_expect(eq(u64, in, out + drops), "out %lu, drops %lu", out, drops);
	expect_worker(XMB_WORKER_STRAY_HALF, 0);
	cr_expect(eq(u64, el.last.ledger.copies, 0));
}

#endif /* XMBUF_TESTS_VETH_PIPELINE_LAB_H */
