/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * lib/engine, its traffic: what becomes of a packet is what the handler said,
 * every packet is counted once, and no port takes frames from another.
 */
#include "engine_lab.h"

#include "base/clock.h"
#include "buf/edit.h"
#include "engine/engine_priv.h"

#include <arpa/inet.h>
#include <net/if.h>
#include <netinet/in.h>
#include <pthread.h>
#include <sys/socket.h>
#include <unistd.h>

enum {
	KEEP_MAX = 10,
	FLOOD_MS = 1000,
	FLOOD_MIN = 1000,
	VERDICT_CNT = 400,
	DOWN_CNT = 10000,
	DRAIN_CNT = 10 * XMB_ENGINE_BURST,
	DRAIN_TRIES = 5,
};

TestSuite(engine_traffic, .init = xsk_lab_setup, .timeout = 300);

static uint32_t tag_of(const struct xmb_multibuf *mb)
{
	uint32_t tag = 0;

	xmb_multibuf_copy_to(mb, TAG_OFF, &tag, sizeof(tag));
	return tag;
}

/* By tag: drop, forward, a port that is not there, keep (to release). */
static void four_verdicts(void *arg, struct xmb_burst *burst)
{
	(void)arg;
	for (uint32_t i = 0; i < burst->cnt; i++) {
		cookie_give(&burst->mbs[i], i);
		switch (tag_of(&burst->mbs[i]) % 4) {
		case 0:
			break; /* what is there before the handler runs */
		case 1:
			burst->to[i] = RIGHT;
			break;
		case 2:
			burst->to[i] = 200;
			break;
		case 3:
			xmb_multibuf_release(&burst->mbs[i], burst->cache);
			burst->to[i] = XMB_TO_KEEP;
		}
	}
}

static void send_all_verdicts(void)
{
	for (uint32_t i = 0; i < VERDICT_CNT; i++)
		tap_send_made(el.ltap, 100, i);
	for (uint32_t i = 1; i < VERDICT_CNT; i += 4)
		cr_expect(tap_recv_made(el.rtap, 100, i), "%u", i);
	await(worker_now(XMB_WORKER_HANDLED) == VERDICT_CNT);
}

Test(engine_traffic, each_verdict_is_carried_out_and_counted)
{
	struct xmb_completion ends;

	engine_lab_setup(1, 1500);
	el.opts.handler = four_verdicts;
	cookies_open();
	cr_expect(eq(int, engine_run_with(send_all_verdicts), 0));
	ends = cookies_close();
	cr_expect(eq(u32, ends.dropped_cnt, VERDICT_CNT / 2));
	cr_expect(eq(u32, ends.sent_cnt, VERDICT_CNT / 4));
	cr_expect(eq(u32, ends.released_cnt, VERDICT_CNT / 4));
	expect_worker(XMB_WORKER_HANDLED, VERDICT_CNT);
	expect_worker(XMB_WORKER_HANDLER_DROP, VERDICT_CNT / 4);
	expect_worker(XMB_WORKER_FORWARDED, VERDICT_CNT / 4);
	expect_worker(XMB_WORKER_NO_ROUTE, VERDICT_CNT / 4);
	expect_worker(XMB_WORKER_KEPT, VERDICT_CNT / 4);
	expect_port(RIGHT, XMB_XSK_TX_PACKETS, VERDICT_CNT / 4);
	cr_expect(eq(u32, tap_sees(el.rtap, VERDICT_CNT / 4), VERDICT_CNT / 4));
	cr_expect(eq(i64, el.last.ledger.free, 8192));
}

static struct xmb_multibuf kept[KEEP_MAX];
static uint32_t kept_cnt;

/* Keep nine; the tenth sends them all, last first. */
static void keep_then_send(void *arg, struct xmb_burst *burst)
{
	(void)arg;
	for (uint32_t i = 0; i < burst->cnt; i++) {
		kept[KEEP_MAX - ++kept_cnt] = burst->mbs[i];
		burst->mbs[i] = (struct xmb_multibuf){ 0 };
		burst->to[i] = XMB_TO_KEEP;
		if (kept_cnt < KEEP_MAX)
			continue;
		xmb_burst_send(burst, RIGHT, kept, KEEP_MAX);
		kept_cnt = 0;
	}
}

static void send_tens(void)
{
	for (uint32_t i = 0; i < 50; i++)
		tap_send_made(el.ltap, 100 + i, i);
	for (uint32_t ten = 0; ten < 5; ten++)
		for (uint32_t i = 10; i-- > 0;)
			cr_expect(tap_recv_made(el.rtap, 100 + 10 * ten + i,
						10 * ten + i));
}

Test(engine_traffic, kept_packets_can_be_sent_by_a_later_call)
{
	engine_lab_setup(1, 1500);
	el.opts.handler = keep_then_send;
	cr_expect(eq(int, engine_run_with(send_tens), 0));
	expect_worker(XMB_WORKER_KEPT, 50);
	expect_worker(XMB_WORKER_FORWARDED, 50);
	for (int i = 0; i < KEEP_MAX; i++)
		cr_expect(xmb_multibuf_is_empty(&kept[i]));
	cr_expect(eq(i64, el.last.ledger.app, 0));
	cr_expect(eq(u64, el.last.ledger.copies, 0));
}

static void send_three(void)
{
	for (uint32_t i = 0; i < 3; i++)
		tap_send_made(el.ltap, 100, i);
	await(worker_now(XMB_WORKER_HANDLED) == 3);
}

Test(engine_traffic, packets_kept_to_the_end_are_the_applications)
{
	engine_lab_setup(1, 1500);
	el.opts.handler = keep_then_send;
	cr_expect(eq(int, engine_run_with(send_three), 0));
	expect_worker(XMB_WORKER_KEPT, 3);
	cr_expect(eq(i64, el.last.ledger.app, 3));
	cr_expect(eq(i64, el.last.ledger.free, 8192 - 3));
}

static void send_kept_nowhere(void *arg, struct xmb_burst *burst)
{
	(void)arg;
	for (uint32_t i = 0; i < burst->cnt; i++) {
		xmb_burst_send(burst, 2, &burst->mbs[i], 1);
		burst->to[i] = XMB_TO_KEEP;
	}
}

Test(engine_traffic, burst_send_to_no_port_is_a_drop_with_a_name)
{
	engine_lab_setup(1, 1500);
	el.opts.handler = send_kept_nowhere;
	cr_expect(eq(int, engine_run_with(send_three), 0));
	expect_worker(XMB_WORKER_NO_ROUTE, 3);
	expect_worker(XMB_WORKER_FORWARDED, 0);
	cr_expect(eq(i64, el.last.ledger.free, 8192));
}

/* Cut each packet behind its header and put it together again. */
static void cut_and_join(void *arg, struct xmb_burst *burst)
{
	for (uint32_t i = 0; i < burst->cnt; i++) {
		struct xmb_multibuf *mb = &burst->mbs[i], payload = { 0 };

		if (xmb_multibuf_split(mb, 14, &payload, burst->cache) ||
		    xmb_multibuf_append(mb, &payload, burst->cache))
			xmb_multibuf_release(&payload, burst->cache);
	}
	pass(arg, burst);
}

static void many_lengths(void)
{
	for (uint32_t len = 15; len <= 1514; len += 3)
		expect_passes(len, len);
}

Test(engine_traffic, packets_cut_in_two_and_joined_again_are_the_same)
{
	engine_lab_setup(1, 1500);
	el.opts.handler = cut_and_join;
	cr_expect(eq(int, engine_run_with(many_lengths), 0));
	expect_port(RIGHT, XMB_XSK_TX_PACKETS, 500);
	expect_port(RIGHT, XMB_XSK_TX_COMPLETED, 1000);
	cr_expect(eq(u64, all_drops(), 0));
	cr_expect(eq(u64, el.last.ledger.copies, 0));
}

static void many_jumbos(void)
{
	for (uint32_t len = 1000; len <= 9014; len += 97) {
		expect_passes(len, len);
		expect_passes_back(len, len + 1);
	}
}

Test(engine_traffic, jumbo_packets_cut_in_two_and_joined_are_the_same)
{
	engine_lab_setup(1, 9000);
	el.opts.handler = cut_and_join;
	cr_expect(eq(int, engine_run_with(many_jumbos), 0));
	cr_expect(gt(u64, port_counter(LEFT, XMB_XSK_RX_CHAINS), 50));
	cr_expect(eq(u64, all_drops(), 0));
	cr_expect(eq(u64, el.last.ledger.copies, 0));
}

static uint64_t flood_sent[2];
static uint64_t flood_refused;

/* As fast as it goes, without waiting where the device has no room. */
static void flood_from(int fd, uint64_t *sent, size_t len)
{
	uint64_t start_ns = xmb_clock_ns();
	uint8_t packet[PACKET_MAX];

	packet_make(packet, len, 1);
	while (xmb_clock_ns() < start_ns + FLOOD_MS * XMB_NS_PER_MS ||
	       (*sent <= FLOOD_MIN &&
		xmb_clock_ns() < start_ns + WAIT_MS * XMB_NS_PER_MS)) {
		if (send(fd, packet, len, 0) == (ssize_t)len)
			++*sent;
		else
			flood_refused++;
	}
}

static void flood_both_ways(void)
{
	flood_from(el.ltap, &flood_sent[LEFT], 60);
	flood_from(el.rtap, &flood_sent[RIGHT], 1514);
	await(matched_now() == flood_sent[LEFT] + flood_sent[RIGHT]);
}

Test(engine_traffic, at_full_rate_sent_is_received_plus_drops_by_name)
{
	uint64_t seen = 0, sent;

	engine_lab_setup(1, 1500);
	cr_expect(eq(int, engine_run_with(flood_both_ways), 0));
	sent = flood_sent[LEFT] + flood_sent[RIGHT];
	await((seen += tap_seen(el.ltap) + (uint64_t)tap_seen(el.rtap)) >=
	      sent - all_drops());
	cr_expect(gt(u64, flood_sent[LEFT], FLOOD_MIN));
	cr_expect(gt(u64, flood_sent[RIGHT], FLOOD_MIN));
	cr_expect(eq(u64, sent, seen + all_drops()), "seen %lu, drops %lu",
		  seen, all_drops());
	cr_expect(eq(u64, worker_counter(XMB_WORKER_HANDLED),
		     port_counter(LEFT, XMB_XSK_RX_PACKETS) +
			     port_counter(RIGHT, XMB_XSK_RX_PACKETS)));
}

/* Odd tags go out of the right, even ones back to where they came from. */
static void right_or_back(void *arg, struct xmb_burst *burst)
{
	(void)arg;
	for (uint32_t i = 0; i < burst->cnt; i++)
		burst->to[i] = tag_of(&burst->mbs[i]) % 2 ? RIGHT : LEFT;
}

static bool all_came_back(void)
{
	return port_now(RIGHT, XMB_XSK_TX_COMPLETED) ==
	       port_now(RIGHT, XMB_XSK_TX_PACKETS);
}

static void right_is_down(void)
{
	cr_expect(eq(int, run("ip link set right down"), 0));
	for (uint32_t i = 0; i < 2 * DOWN_CNT; i += 2) {
		tap_send_made(el.ltap, 100, i + 1);
		tap_send_made(el.ltap, 100, i);
		cr_expect(tap_recv_made(el.ltap, 100, i), "%u", i);
	}
	cr_expect(eq(int, run("ip link set right up"), 0));
	await(all_came_back());
	tap_send_made(el.ltap, 100, 99999);
	await(worker_now(XMB_WORKER_HANDLED) == 2 * DOWN_CNT + 1);
	await(all_came_back());
}

Test(engine_traffic, a_port_that_is_down_takes_only_its_share_of_frames)
{
	uint64_t full, through;

	engine_lab_setup(1, 1500);
	el.opts.handler = right_or_back;
	el.opts.umem.frame_cnt = 2048;
	cr_expect(eq(int, engine_run_with(right_is_down), 0));
	full = port_counter(RIGHT, XMB_XSK_TX_FULL);
	through = port_counter(RIGHT, XMB_XSK_TX_PACKETS);
	cr_expect(gt(u64, full, 5000));
	/* What waited there was sent when it came back. */
	cr_expect(gt(u64, through, 64));
	cr_expect(eq(u64, full + through, DOWN_CNT + 1));
	through -= port_counter(RIGHT, XMB_XSK_TX_KERNEL_DROP);
	cr_expect(eq(u64, tap_sees(el.rtap, through), through));
	expect_port(LEFT, XMB_XSK_TX_PACKETS, DOWN_CNT);
	expect_port(LEFT, XMB_XSK_RX_DROPPED, 0);
	expect_port(RIGHT, XMB_XSK_TX_UNSENT, 0);
}

static void send_long(void)
{
	tap_send_made(el.ltap, 1514, 1);
	expect_passes(1400, 2);
}

Test(engine_traffic, a_packet_above_the_mtu_of_the_way_out_is_a_named_drop)
{
	engine_lab_setup(1, 1500);
	must("ip link set right mtu 1400 && ip link set rtap mtu 1400");
	cr_expect(eq(int, engine_run_with(send_long), 0));
	expect_port(RIGHT, XMB_XSK_TX_TOO_LONG, 1);
	expect_port(RIGHT, XMB_XSK_TX_PACKETS, 1);
	cr_expect(eq(u64, all_drops(), 1));
}

static void some_packets(void)
{
	for (uint32_t i = 0; i < 20; i++) {
		expect_passes(100, i);
		expect_passes_back(100, i);
	}
}

Test(engine_traffic, devices_of_unequal_queue_counts_share_one_thread)
{
	engine_lab_setup(1, 1500);
	must("ip link del left && ip link add left numrxqueues 4 numtxqueues 4 "
	     "type veth peer name ltap numrxqueues 4 numtxqueues 4 && "
	     "ip link set left up && ip link set ltap up");
	close(el.ltap);
	el.ltap = tap_open("ltap");
	cr_expect(eq(int, engine_run_with(some_packets), 0));
	cr_expect(eq(u32, el.last.thread_cnt, 1));
	cr_expect(eq(u32, el.last.ports[LEFT].queue_cnt, 4));
	cr_expect(eq(u32, el.last.ports[RIGHT].queue_cnt, 1));
	cr_expect(eq(u64, all_drops(), 0));
}

/* One's complement sum of big-endian words. */
static uint32_t sum16(const uint8_t *data, size_t len, uint32_t sum)
{
	for (size_t i = 0; i < len; i++)
		sum += i % 2 ? data[i] : (uint32_t)data[i] << 8;
	while (sum >> 16)
		sum = (sum & 0xffff) + (sum >> 16);
	return sum;
}

/* A datagram of the kernel's own UDP, whose checksum is left to the device. */
static size_t pass_datagram(uint8_t *packet, int wait_ms)
{
	struct sockaddr_in to = { .sin_family = AF_INET,
				  .sin_port = htons(9) };
	int fd = socket(AF_INET, SOCK_DGRAM, 0);

	inet_pton(AF_INET, "10.9.0.2", &to.sin_addr);
	cr_expect(eq(i64, sendto(fd, "what a sum this makes", 21, 0,
				 (struct sockaddr *)&to, sizeof(to)), 21));
	close(fd);
	return tap_recv(el.rtap, packet, PACKET_MAX, wait_ms);
}

static void send_datagram(void)
{
	uint8_t packet[PACKET_MAX];

	cr_expect(eq(sz, pass_datagram(packet, WAIT_MS), 14 + 20 + 8 + 21));
	/* Pseudo-header: addresses, protocol and length; then all of UDP. */
	cr_expect(eq(u32, sum16(packet + 34, 29,
				sum16(packet + 26, 8, 17 + 29)), 0xffff));
}

static void set_up_datagrams(void)
{
	engine_lab_setup(1, 1500);
	must("ip addr add 10.9.0.1/24 dev ltap && ip neigh add 10.9.0.2 lladdr "
	     "02:00:00:00:00:02 dev ltap && ethtool -K ltap tx on >/dev/null");
}

Test(engine_traffic, checksums_that_the_sender_left_to_a_device_are_completed)
{
	set_up_datagrams();
	cr_expect(eq(int, engine_run_with(send_datagram), 0));
	expect_worker(XMB_WORKER_CSUM_COMPLETED, 1);
	expect_port(RIGHT, XMB_XSK_TX_PACKETS, 1);
}

/* Send on what was shared, and therefore is read-only. */
static void share_and_pass(void *arg, struct xmb_burst *burst)
{
	struct xmb_multibuf clone = { 0 };

	for (uint32_t i = 0; i < burst->cnt; i++) {
		cr_assert(eq(int,
			     xmb_multibuf_share(&burst->mbs[i], &clone,
						burst->cache),
			     0));
		xmb_multibuf_release(&clone, burst->cache);
	}
	pass(arg, burst);
}

static void send_datagram_in_vain(void)
{
	uint8_t packet[PACKET_MAX];

	/* One with nothing to complete passes, before it and behind it. */
	expect_passes(100, 1);
	cr_expect(eq(sz, pass_datagram(packet, 200), 0));
	expect_passes(100, 2);
}

Test(engine_traffic, a_checksum_that_cannot_be_completed_is_not_sent_wrong)
{
	set_up_datagrams();
	el.opts.handler = share_and_pass;
	cr_expect(eq(int, engine_run_with(send_datagram_in_vain), 0));
	expect_worker(XMB_WORKER_CSUM_COMPLETED, 0);
	expect_worker(XMB_WORKER_CSUM_SHARED, 1);
	expect_worker(XMB_WORKER_HANDLER_DROP, 0);
	expect_worker(XMB_WORKER_FORWARDED, 2);
	expect_port(RIGHT, XMB_XSK_TX_PACKETS, 2);
	cr_expect(eq(u64, all_drops(), 1));
}

/* Keep three such packets, then send them at once. */
static void share_and_collect(void *arg, struct xmb_burst *burst)
{
	static struct xmb_multibuf kept[3];
	static uint32_t kept_cnt;

	share_and_pass(arg, burst);
	for (uint32_t i = 0; i < burst->cnt; i++) {
		cr_assert(lt(u32, kept_cnt, 3));
		kept[kept_cnt++] = burst->mbs[i];
		burst->mbs[i] = (struct xmb_multibuf){ 0 };
		burst->to[i] = XMB_TO_KEEP;
	}
	if (kept_cnt == 3)
		xmb_burst_send(burst, RIGHT, kept, 3);
	for (uint32_t i = 0; kept_cnt == 3 && i < 3; i++)
		cr_expect(xmb_multibuf_is_empty(&kept[i]));
}

static void send_round_a_datagram(void)
{
	uint8_t packet[PACKET_MAX];

	tap_send_made(el.ltap, 100, 1);
	cr_expect(eq(sz, pass_datagram(packet, 100), 0));
	tap_send_made(el.ltap, 200, 2);
	cr_expect(tap_recv_made(el.rtap, 100, 1));
	cr_expect(tap_recv_made(el.rtap, 200, 2));
}

Test(engine_traffic, of_a_burst_only_what_cannot_be_completed_is_dropped)
{
	set_up_datagrams();
	el.opts.handler = share_and_collect;
	cr_expect(eq(int, engine_run_with(send_round_a_datagram), 0));
	expect_worker(XMB_WORKER_KEPT, 3);
	expect_worker(XMB_WORKER_GIVEN, 3);
	expect_worker(XMB_WORKER_CSUM_SHARED, 1);
	expect_worker(XMB_WORKER_HANDLER_DROP, 0);
	expect_worker(XMB_WORKER_FORWARDED, 2);
	expect_port(RIGHT, XMB_XSK_TX_PACKETS, 2);
}

/* The thread that receives takes no more until it is told to drain. */
static void hold_until_the_end(void)
{
	const struct xmb_worker *w = &el.engine->workers[0];

	while (atomic_load(&w->command) == WORKER_RUN)
		usleep(1000);
}

static void hold_and_pass(void *arg, struct xmb_burst *burst)
{
	hold_until_the_end();
	pass(arg, burst);
}

static uint32_t hold_and_steer(void *arg, const struct xmb_multibuf *mb,
			       uint32_t port)
{
	(void)arg;
	(void)mb;
	hold_until_the_end();
	return port;
}

static void send_more_than_bursts(void)
{
	for (uint32_t i = 0; i < DRAIN_CNT; i++)
		tap_send_made(el.ltap, 100, i);
	await(matched_now() == DRAIN_CNT);
}

/* It has 0.3 s for that, by the clock: of a busy machine, the best try. */
static void expect_drained(void)
{
	uint64_t left = 1;

	for (int i = 0; i < DRAIN_TRIES && left; i++) {
		cr_expect(eq(int, engine_run_with(send_more_than_bursts), 0));
		left = port_counter(LEFT, XMB_XSK_RX_UNREAD) +
		       port_counter(RIGHT, XMB_XSK_TX_UNSENT) +
		       worker_counter(XMB_WORKER_LEFT_IN_PIPE);
	}
	cr_expect(eq(u64, left, 0));
	expect_port(LEFT, XMB_XSK_RX_PACKETS, DRAIN_CNT);
	expect_port(RIGHT, XMB_XSK_TX_PACKETS, DRAIN_CNT);
}

Test(engine_traffic, what_waits_to_be_received_at_the_end_is_sent)
{
	engine_lab_setup(1, 1500);
	el.opts.handler = hold_and_pass;
	expect_drained();
}

Test(engine_traffic, so_is_what_waits_for_a_dispatcher)
{
	engine_lab_setup(1, 1500);
	el.opts.mode = XMB_ENGINE_PIPELINE;
	el.opts.worker_cnt = 1;
	el.opts.steer = hold_and_steer;
	expect_drained();
}
