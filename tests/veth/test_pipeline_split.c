/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * lib/engine with split packets: headers and payloads in two threads' hands at
 * once, and one packet again on the wire.
 */
#include "pipeline_lab.h"

#include "base/clock.h"
#include "pkt/parse.h"

#include <stdatomic.h>

enum { HOLD_MS = 100, CNT = 600, BATCH = 60, FLOWS = 12 };

TestSuite(pipeline_split, .init = xsk_lab_setup, .timeout = 300);

static struct flow_log logs[2];
static _Atomic uintptr_t header_of[FLOW_MAX], payload_of[FLOW_MAX];
static _Atomic uint32_t odd_halves;
static _Atomic bool is_held;

/* What the far end must see of flow_make(). */
static void rewrite(uint8_t *packet)
{
	uint8_t tmp[6];
	uint16_t sum;

	memcpy(tmp, packet, 6);
	memcpy(packet, packet + 6, 6);
	memcpy(packet + 6, tmp, 6);
	packet[IP_OFF + 8]--;
	packet[IP_OFF + 10] = packet[IP_OFF + 11] = 0;
	sum = ip_sum(packet + IP_OFF);
	packet[IP_OFF + 10] = (uint8_t)(sum >> 8);
	packet[IP_OFF + 11] = (uint8_t)sum;
}

static void take_header(const struct xmb_burst *burst, struct xmb_multibuf *mb)
{
	uint8_t header[PAYLOAD_OFF];

	if (mb->len != PAYLOAD_OFF) {
		odd_halves++;
		return;
	}
	xmb_multibuf_copy_to(mb, 0, header, sizeof(header));
	header_of[header[UDP_OFF + 1] % FLOW_MAX] = (uintptr_t)burst->cache;
	rewrite(header);
	xmb_multibuf_copy_from(mb, 0, header, sizeof(header));
}

static void take_payload(const struct xmb_burst *burst,
			 const struct xmb_multibuf *mb)
{
	uint32_t flow = mb_word(mb, 0);

	while (atomic_load(&is_held) && flow % 2 == 0)
		usleep(1000);
	if (flow >= FLOW_MAX)
		odd_halves++;
	else
		payload_of[flow] = (uintptr_t)burst->cache;
}

static void split_handler(void *arg, struct xmb_burst *burst)
{
	for (uint32_t i = 0; i < burst->cnt; i++) {
		if (burst->part == XMB_PART_HEADER)
			take_header(burst, &burst->mbs[i]);
		else if (burst->part == XMB_PART_PAYLOAD)
			take_payload(burst, &burst->mbs[i]);
		else
			odd_halves++;
	}
	pass(arg, burst);
}

static void split_setup(uint32_t worker_cnt)
{
	pipeline_setup(worker_cnt);
	el.opts.is_split = true;
	el.opts.handler = split_handler;
}

/* Receive rewritten packets until cnt are there. */
static void recv_rewritten(int fd, struct flow_log *log, uint32_t cnt,
			   int wait_ms)
{
	uint8_t packet[PACKET_MAX], made[PACKET_MAX];
	size_t len;

	while (log->total + log->broken < cnt &&
	       (len = tap_recv(fd, packet, sizeof(packet), wait_ms)) > 0) {
		flow_make(made, len, word_at(packet, PAYLOAD_OFF),
			  word_at(packet, SEQ_OFF));
		rewrite(made);
		if (memcmp(made, packet, len) != 0)
			log->broken++;
		else
			flow_note(log, packet, len, false);
	}
}

static void many_lengths(void)
{
	for (uint32_t i = 0; i < CNT; i++) {
		size_t len = 60 + i * 1455 / CNT;

		flow_send(el.ltap, len, i % FLOWS, i);
		flow_send(el.rtap, len, i % FLOWS, i);
		if (i % BATCH != BATCH - 1)
			continue;
		recv_rewritten(el.rtap, &logs[RIGHT], i + 1, WAIT_MS);
		recv_rewritten(el.ltap, &logs[LEFT], i + 1, WAIT_MS);
	}
}

static void expect_two_threads(void)
{
	for (int f = 0; f < FLOWS; f++) {
		cr_expect(ne(u64, header_of[f], 0));
		cr_expect(ne(u64, payload_of[f], 0));
		cr_expect(ne(u64, header_of[f], payload_of[f]), "flow %d", f);
	}
}

static void run_split(uint32_t worker_cnt)
{
	split_setup(worker_cnt);
	cr_expect(eq(int, engine_run_with(many_lengths), 0));
	for (int side = LEFT; side <= RIGHT; side++) {
		cr_expect(eq(u32, logs[side].total, CNT));
		cr_expect(eq(u32, logs[side].disorder, 0));
		cr_expect(eq(u32, logs[side].broken, 0));
	}
	expect_two_threads();
	cr_expect(eq(u32, odd_halves, 0));
	expect_worker(XMB_WORKER_PIPED, 4 * CNT);
	expect_worker(XMB_WORKER_HANDLED, 4 * CNT);
	cr_expect(eq(u64, all_drops(), 0));
	expect_in_is_out_and_drops();
	cr_expect(eq(i64, el.last.ledger.free, 8192));
}

Test(pipeline_split, headers_are_rewritten_and_payloads_kept_by_two_threads)
{
	run_split(2);
}

Test(pipeline_split, four_workers_share_headers_and_payloads)
{
	run_split(4);
}

static void compare_frames(void)
{
	const struct xmb_worker *w = &el.engine->workers[0];
	uint64_t in[32], out[64];

	for (uint32_t i = 0; i < 32; i++)
		flow_send(el.ltap, 200, 1, i);
	recv_rewritten(el.rtap, &logs[RIGHT], 32, WAIT_MS);
	cr_assert(eq(u32, logs[RIGHT].total, 32));
	last_rx(w->rx[0].xsk, in, 32);
	last_tx(w->tx[RIGHT], out, 64);
	for (int i = 0; i < 32; i++) {
		cr_expect(eq(u64, out[2 * i], in[i]), "header %d", i);
		cr_expect(eq(u64, out[2 * i + 1], in[i] + PAYLOAD_OFF),
			  "payload %d", i);
	}
}

Test(pipeline_split, both_halves_are_sent_from_the_frame_they_came_in)
{
	split_setup(2);
	cr_expect(eq(int, engine_run_with(compare_frames), 0));
	cr_expect(eq(u64, el.last.ledger.copies, 0));
	expect_port(RIGHT, XMB_XSK_TX_COMPLETED, 64);
}

static uint64_t first_ns, held_cnt;

static void hold_payloads(void)
{
	uint64_t start_ns = xmb_clock_ns();

	atomic_store(&is_held, true);
	for (uint32_t i = 0; i < 100; i++)
		flow_send(el.ltap, 300, 0, i);
	await(atomic_load(&header_of[0]));
	recv_rewritten(el.rtap, &logs[RIGHT], 1, HOLD_MS);
	/* Headers were handed out, and back, long ago. */
	held_cnt = logs[RIGHT].total;
	cr_expect(ne(u64, header_of[0], 0));
	cr_expect(eq(u64, payload_of[0], 0));
	atomic_store(&is_held, false);
	recv_rewritten(el.rtap, &logs[RIGHT], 1, WAIT_MS);
	first_ns = xmb_clock_ns() - start_ns;
	recv_rewritten(el.rtap, &logs[RIGHT], 100, WAIT_MS);
}

Test(pipeline_split, headers_wait_for_payloads_that_are_held_100_ms)
{
	split_setup(2);
	cr_expect(eq(int, engine_run_with(hold_payloads), 0));
	cr_expect(eq(u64, held_cnt, 0));
	cr_expect(ge(u64, first_ns, HOLD_MS * XMB_NS_PER_MS));
	cr_expect(eq(u32, logs[RIGHT].total, 100));
	cr_expect(eq(u32, logs[RIGHT].disorder + logs[RIGHT].broken, 0));
	cr_expect(eq(u64, all_drops(), 0));
	cr_expect(eq(i64, el.last.ledger.free, 8192));
}

/* Worker by flow: 0 and 1 for even flows, 2 and 3 for odd ones. */
static uint32_t in_pairs(void *arg, const struct xmb_multibuf *mb,
			 uint32_t port)
{
	(void)arg;
	(void)port;
	return mb_word(mb, PAYLOAD_OFF) % 2 * 2;
}

static void flood_beside_a_held_one(void)
{
	atomic_store(&is_held, true);
	for (uint32_t i = 0; i < CNT; i++) {
		flow_send(el.ltap, 100, 0, i);
		flow_send(el.ltap, 100, 1, i);
		if (i % 16 == 15)
			recv_rewritten(el.rtap, &logs[RIGHT], i + 1, WAIT_MS);
	}
	recv_rewritten(el.rtap, &logs[RIGHT], CNT, WAIT_MS);
	cr_expect(eq(u32, logs[RIGHT].got[1], CNT));
	cr_expect(eq(u32, logs[RIGHT].got[0], 0));
	await(worker_now(XMB_WORKER_PIPED) / 2 +
		      worker_now(XMB_WORKER_FULL_NEWEST) ==
	      2 * CNT);
	atomic_store(&is_held, false);
	recv_rewritten(el.rtap, &logs[RIGHT],
		       2 * CNT - (uint32_t)worker_now(XMB_WORKER_FULL_NEWEST),
		       WAIT_MS);
}

Test(pipeline_split, a_held_worker_costs_the_flows_of_others_nothing)
{
	split_setup(4);
	el.opts.steer = in_pairs;
	el.opts.pipe_cnt = 32;
	cr_expect(eq(int, engine_run_with(flood_beside_a_held_one), 0));
	recv_rewritten(el.rtap, &logs[RIGHT], UINT32_MAX, 0);
	cr_expect(eq(u32, logs[RIGHT].disorder + logs[RIGHT].broken, 0));
	cr_expect(gt(u32, worker_counter(XMB_WORKER_FULL_NEWEST), CNT / 2));
	cr_expect(eq(u64, all_drops(), worker_counter(XMB_WORKER_FULL_NEWEST)));
	cr_expect(eq(u64, logs[RIGHT].got[0], CNT - all_drops()));
	expect_in_is_out_and_drops();
}

/* A header of 42 bytes and nothing else, of the same flow. */
static void bare_behind_a_held_one(void)
{
	uint8_t packet[PACKET_MAX], got[PACKET_MAX];

	atomic_store(&is_held, true);
	flow_send(el.ltap, 300, 0, 0);
	flow_make(packet, FLOW_LEN_MIN, 0, 1);
	packet[IP_OFF + 3] = PAYLOAD_OFF - IP_OFF;
	packet[UDP_OFF + 5] = PAYLOAD_OFF - UDP_OFF;
	tap_send(el.ltap, packet, PAYLOAD_OFF);
	cr_expect(eq(sz, tap_recv(el.rtap, got, sizeof(got), HOLD_MS), 0));
	atomic_store(&is_held, false);
	cr_expect(eq(sz, tap_recv(el.rtap, got, sizeof(got), WAIT_MS), 300));
	cr_expect(eq(sz, tap_recv(el.rtap, got, sizeof(got), WAIT_MS),
		     PAYLOAD_OFF));
}

Test(pipeline_split, a_packet_of_headers_alone_does_not_overtake_its_flow)
{
	split_setup(2);
	cr_expect(eq(int, engine_run_with(bare_behind_a_held_one), 0));
	expect_port(RIGHT, XMB_XSK_TX_PACKETS, 2);
	cr_expect(eq(u64, all_drops(), 0));
}

/*
 * Drop the header of each packet whose flow (the low byte of its port)
 * is 1 of 4, the payload of 2 of 4, and both of 3 of 4.
 */
static void drop_halves(void *arg, struct xmb_burst *burst)
{
	pass(arg, burst);
	for (uint32_t i = 0; i < burst->cnt; i++) {
		struct xmb_multibuf *mb = &burst->mbs[i];
		uint32_t kind = (burst->part == XMB_PART_HEADER ?
					 mb_word(mb, UDP_OFF + 1) & 0xff :
					 mb_word(mb, 0)) % 4;

		if (kind == 3 || kind == (uint32_t)burst->part)
			burst->to[i] = kind == 3 ? 99 : XMB_TO_DROP;
	}
}

static void one_of_each(void)
{
	for (uint32_t i = 0; i < 40; i++)
		flow_send(el.ltap, 200, i, i);
	await(worker_now(XMB_WORKER_SPLIT_DROP) +
		      port_now(RIGHT, XMB_XSK_TX_PACKETS) ==
	      40);
	flow_recv(el.rtap, &logs[RIGHT],
		  (uint32_t)port_now(RIGHT, XMB_XSK_TX_PACKETS), WAIT_MS);
	flow_recv(el.rtap, &logs[RIGHT], UINT32_MAX, HOLD_MS);
}

static uint32_t mark_and_steer(void *arg, const struct xmb_multibuf *mb,
			       uint32_t port)
{
	(void)arg;
	(void)port;
	cookie_give(mb, mb_word(mb, PAYLOAD_OFF));
	return mb_word(mb, PAYLOAD_OFF);
}

Test(pipeline_split, a_drop_of_either_half_drops_the_packet_by_name)
{
	struct xmb_completion ends;

	split_setup(2);
	el.opts.handler = drop_halves;
	el.opts.steer = mark_and_steer;
	cookies_open();
	cr_expect(eq(int, engine_run_with(one_of_each), 0));
	ends = cookies_close();
	cr_expect(eq(u32, ends.dropped_cnt, 30));
	cr_expect(eq(u32, ends.sent_cnt, 10));
	cr_expect(eq(u32, logs[RIGHT].total, 10));
	cr_expect(eq(u32, logs[RIGHT].broken, 0));
	for (uint32_t f = 0; f < 40; f++)
		cr_expect(eq(u32, logs[RIGHT].got[f], f % 4 == 0));
	expect_worker(XMB_WORKER_SPLIT_DROP, 30);
	expect_worker(XMB_WORKER_HALF_DROPPED, 40);
	cr_expect(eq(u64, all_drops(), 30));
	cr_expect(eq(i64, el.last.ledger.free, 8192));
	expect_in_is_out_and_drops();
}

/* The handler takes headers away: their payloads must not be sent. */
static void keep_headers(void *arg, struct xmb_burst *burst)
{
	pass(arg, burst);
	for (uint32_t i = 0; i < burst->cnt; i++) {
		if (burst->part != XMB_PART_HEADER)
			continue;
		xmb_multibuf_release(&burst->mbs[i], burst->cache);
		burst->to[i] = XMB_TO_KEEP;
	}
}

Test(pipeline_split, a_half_that_is_kept_drops_the_packet)
{
	split_setup(2);
	el.opts.handler = keep_headers;
	cr_expect(eq(int, engine_run_with(one_of_each), 0));
	cr_expect(eq(u32, logs[RIGHT].total, 0));
	expect_worker(XMB_WORKER_SPLIT_DROP, 40);
	cr_expect(eq(i64, el.last.ledger.free, 8192));
}

static void jumbos(void)
{
	for (uint32_t i = 0; i < 80; i++)
		flow_send(el.ltap, 1000 + i * 100, i % FLOWS, i);
	recv_rewritten(el.rtap, &logs[RIGHT], 80, WAIT_MS);
}

Test(pipeline_split, jumbo_packets_are_split_and_joined_as_chains)
{
	engine_lab_setup(1, 9000);
	el.opts.mode = XMB_ENGINE_PIPELINE;
	el.opts.worker_cnt = 2;
	el.opts.is_split = true;
	el.opts.handler = split_handler;
	cr_expect(eq(int, engine_run_with(jumbos), 0));
	cr_expect(eq(u32, logs[RIGHT].total, 80));
	cr_expect(eq(u32, logs[RIGHT].broken + logs[RIGHT].disorder, 0));
	cr_expect(gt(u64, port_counter(LEFT, XMB_XSK_RX_CHAINS), 20));
	cr_expect(eq(u64, all_drops(), 0));
	cr_expect(eq(u64, el.last.ledger.copies, 0));
}

/* Make read-only what only looks: not for a steer function to do. */
static uint32_t share_and_steer(void *arg, const struct xmb_multibuf *mb,
				uint32_t port)
{
	struct xmb_chunk clone = { 0 };

	(void)arg;
	(void)port;
	cr_assert(eq(int,
		     xmb_chunk_share((struct xmb_chunk *)&mb->c[0], &clone),
		     0));
	xmb_chunk_release(&clone, &el.engine->workers[0].cache);
	return 0;
}

/* One whose sender left the sum to its device, and one that has none. */
static void unfinished_then_whole(void)
{
	uint8_t packet[PACKET_MAX];
	uint32_t sum = 0;

	flow_make(packet, 200, 0, 0);
	for (int i = 26; i < 34; i += 2)
		sum += (uint32_t)packet[i] << 8 | packet[i + 1];
	sum += 17 + 200 - UDP_OFF;
	sum = (sum & 0xffff) + (sum >> 16);
	packet[UDP_OFF + 6] = (uint8_t)(sum >> 8);
	packet[UDP_OFF + 7] = (uint8_t)sum;
	tap_send(el.ltap, packet, 200);
	flow_send(el.ltap, 200, 0, 1);
	flow_recv(el.rtap, &logs[RIGHT], 1, WAIT_MS);
	flow_recv(el.rtap, &logs[RIGHT], 2, 100);
}

Test(pipeline_split, a_checksum_that_cannot_be_completed_is_not_split)
{
	split_setup(2);
	el.opts.handler = pass;
	el.opts.steer = share_and_steer;
	cr_expect(eq(int, engine_run_with(unfinished_then_whole), 0));
	expect_worker(XMB_WORKER_CSUM_SHARED, 1);
	expect_worker(XMB_WORKER_CSUM_COMPLETED, 0);
	expect_port(RIGHT, XMB_XSK_TX_PACKETS, 1);
	cr_expect(eq(u32, logs[RIGHT].got[0], 1));
	cr_expect(eq(u64, all_drops(), 1));
	expect_in_is_out_and_drops();
}
