/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * lib/engine as a pipeline: a dispatcher, workers, and what a slow one of them
 * costs.
 */
#include "pipeline_lab.h"

#include "base/clock.h"

#include <stdatomic.h>

enum { ROUNDS = 40, BATCH = 96, FLOWS = 16, PIPE = 64, FLOOD = 2000 };

/* Naps of a millisecond; of a second each they would be more than WAIT_MS. */
enum { NAP_CNT = 2 * WAIT_MS / 1000 };

TestSuite(pipeline, .init = xsk_lab_setup, .timeout = 300);

static struct flow_log logs[2];
static uint32_t seqs[FLOW_MAX];

/* Many flows, mixed, of many lengths; each batch is waited for. */
static void many_flows(void)
{
	uint32_t sent = 0;

	for (uint32_t r = 0; r < ROUNDS; r++) {
		for (uint32_t i = 0; i < BATCH; i++, sent++) {
			uint32_t flow = (sent * 7 + r) % FLOWS;
			size_t len = 60 + sent * 13 % 1455;

			flow_send(el.ltap, len, flow, seqs[flow]);
			flow_send(el.rtap, len, flow, seqs[flow]++);
		}
		flow_recv(el.rtap, &logs[RIGHT], sent, WAIT_MS);
		flow_recv(el.ltap, &logs[LEFT], sent, WAIT_MS);
	}
	cr_expect(eq(u32, tap_seen(el.ltap), sent));
	cr_expect(eq(u32, tap_seen(el.rtap), sent));
}

static void forward_with(uint32_t worker_cnt)
{
	pipeline_setup(worker_cnt);
	cr_expect(eq(int, engine_run_with(many_flows), 0));
	cr_expect(eq(u32, el.last.thread_cnt, 1 + worker_cnt));
	for (int side = LEFT; side <= RIGHT; side++) {
		cr_expect(eq(u32, logs[side].total, ROUNDS * BATCH));
		cr_expect(eq(u32, logs[side].disorder, 0));
		cr_expect(eq(u32, logs[side].broken, 0));
	}
	expect_worker(XMB_WORKER_PIPED, 2 * ROUNDS * BATCH);
	expect_worker(XMB_WORKER_HANDLED, 2 * ROUNDS * BATCH);
	cr_expect(eq(u64, all_drops(), 0));
	expect_in_is_out_and_drops();
}

Test(pipeline, one_worker_forwards_all_unchanged_in_order)
{
	forward_with(1);
}

Test(pipeline, two_workers_forward_all_unchanged_each_flow_in_order)
{
	forward_with(2);
}

Test(pipeline, four_workers_forward_all_unchanged_each_flow_in_order)
{
	forward_with(4);
}

Test(pipeline, a_pipe_of_one_packet_forwards_too)
{
	pipeline_setup(2);
	el.opts.pipe_cnt = 1;
	el.opts.full = XMB_FULL_DROP_OLDEST; /* its backlog holds a batch */
	cr_expect(eq(int, engine_run_with(many_flows), 0));
	cr_expect(eq(u32, logs[LEFT].total + logs[RIGHT].total,
		     2 * ROUNDS * BATCH));
	cr_expect(eq(u32, logs[LEFT].disorder + logs[RIGHT].disorder, 0));
	cr_expect(eq(u64, all_drops(), 0));
}

static void compare_frames(void)
{
	const struct xmb_worker *w = &el.engine->workers[0];
	uint64_t in[64], out[64];

	for (uint32_t i = 0; i < 64; i++)
		flow_send(el.ltap, 200, 1, i);
	flow_recv(el.rtap, &logs[RIGHT], 64, WAIT_MS);
	cr_assert(eq(u32, logs[RIGHT].total, 64));
	last_rx(w->rx[0].xsk, in, 64);
	last_tx(w->tx[RIGHT], out, 64);
	for (int i = 0; i < 64; i++) {
		cr_expect(eq(u64, in[i], out[i]), "packet %d", i);
		for (int k = 0; k < i; k++)
			cr_expect(ne(u64, in[i], in[k]));
	}
}

Test(pipeline, a_packet_is_sent_from_the_frame_that_it_was_received_in)
{
	pipeline_setup(2);
	cr_expect(eq(int, engine_run_with(compare_frames), 0));
	cr_expect(eq(u64, el.last.ledger.copies, 0));
}

/* Which thread saw a flow, by the port that it came in by. */
static _Atomic uintptr_t seen_by[2][FLOW_MAX];
static _Atomic uint32_t strangers;

static void note_thread(void *arg, struct xmb_burst *burst)
{
	for (uint32_t i = 0; i < burst->cnt; i++) {
		uint32_t flow = mb_word(&burst->mbs[i], PAYLOAD_OFF);
		uintptr_t me = (uintptr_t)burst->cache, seen;

		if (flow >= FLOW_MAX)
			continue;
		seen = atomic_exchange(&seen_by[burst->port][flow], me);
		if (seen && seen != me)
			strangers++;
	}
	pass(arg, burst);
}

static void both_ends_of_flows(void)
{
	uint8_t packet[PACKET_MAX];
	uint32_t cnt = 0;

	for (uint32_t seq = 0; seq < 3; seq++) {
		for (uint32_t flow = 0; flow < FLOW_MAX; flow++) {
			flow_make(packet, 80, flow, seq);
			tap_send(el.ltap, packet, 80);
			flow_turn(packet);
			tap_send(el.rtap, packet, 80);
			cnt++;
		}
		flow_recv(el.rtap, &logs[RIGHT], cnt, WAIT_MS);
		flow_recv(el.ltap, &logs[LEFT], cnt, WAIT_MS);
	}
}

/* Flows whose directions went to different workers. */
static uint32_t run_both_ends(bool is_symmetric)
{
	uint32_t apart = 0;

	pipeline_setup(4);
	el.opts.handler = note_thread;
	el.opts.is_symmetric = is_symmetric;
	cr_expect(eq(int, engine_run_with(both_ends_of_flows), 0));
	cr_expect(eq(u32, strangers, 0));
	for (uint32_t f = 0; f < FLOW_MAX; f++) {
		cr_expect(ne(u64, seen_by[LEFT][f], 0));
		cr_expect(ne(u64, seen_by[RIGHT][f], 0));
		apart += seen_by[LEFT][f] != seen_by[RIGHT][f];
	}
	cr_expect(eq(u64, all_drops(), 0));
	return apart;
}

Test(pipeline, symmetric_both_directions_of_a_flow_go_to_one_worker)
{
	cr_expect(eq(u32, run_both_ends(true), 0));
}

Test(pipeline, otherwise_each_direction_is_a_flow_of_its_own)
{
	cr_expect(gt(u32, run_both_ends(false), FLOW_MAX / 4));
}

Test(pipeline, flows_are_spread_over_all_workers)
{
	uint32_t flows[4] = { 0 };

	run_both_ends(false);
	for (uint32_t f = 0; f < FLOW_MAX; f++)
		for (uint32_t i = 0, is_new = 1; is_new; i++) {
			cr_assert(lt(u32, i, FLOW_MAX));
			if (seen_by[LEFT][i] != seen_by[LEFT][f])
				continue;
			is_new = 0; /* i is the first flow of this worker */
			if (i == f)
				for (int k = 0; k < 4; k++)
					if (flows[k] == 0) {
						flows[k] = 1;
						break;
					}
		}
	for (int k = 0; k < 4; k++)
		cr_expect(eq(u32, flows[k], 1));
}

/* By rule: flow f to worker f, also beyond the number of workers. */
static uint32_t by_flow(void *arg, const struct xmb_multibuf *mb,
			uint32_t port)
{
	(void)arg;
	(void)port;
	return mb_word(mb, PAYLOAD_OFF);
}

/* The same, and each packet gets a cookie. */
static uint32_t mark_by_flow(void *arg, const struct xmb_multibuf *mb,
			     uint32_t port)
{
	cookie_give(mb, mb_word(mb, SEQ_OFF));
	return by_flow(arg, mb, port);
}

static void eight_flows(void)
{
	for (uint32_t f = 0; f < 8; f++)
		flow_send(el.ltap, 100, f, 0);
	flow_recv(el.rtap, &logs[RIGHT], 8, WAIT_MS);
}

Test(pipeline, a_rule_says_which_worker_gets_a_packet)
{
	pipeline_setup(4);
	el.opts.handler = note_thread;
	el.opts.steer = by_flow;
	cr_expect(eq(int, engine_run_with(eight_flows), 0));
	for (uint32_t f = 0; f < 8; f++)
		for (uint32_t g = 0; g < f; g++)
			cr_expect(eq(int, seen_by[LEFT][f] == seen_by[LEFT][g],
				     f % 4 == g % 4), "%u and %u", f, g);
}

static _Atomic bool is_held;
static enum xmb_worker_counter held_drops;

/* The worker of flow 0 does not return while it is held. */
static void hold_flow_0(void *arg, struct xmb_burst *burst)
{
	while (atomic_load(&is_held) &&
	       mb_word(&burst->mbs[0], PAYLOAD_OFF) % 2 == 0)
		usleep(1000);
	pass(arg, burst);
}

/* Flow 0 and 2 are of the worker that is held, flow 1 of the other. */
static void flood_a_held_worker(void)
{
	atomic_store(&is_held, true);
	for (uint32_t i = 0; i < FLOOD; i++) {
		flow_send(el.ltap, 100, 0, i);
		flow_send(el.ltap, 100, 1, i);
		if (i % 32 == 31)
			flow_recv(el.rtap, &logs[RIGHT], i + 1, WAIT_MS);
	}
	flow_recv(el.rtap, &logs[RIGHT], FLOOD, WAIT_MS);
	cr_expect(eq(u32, logs[RIGHT].got[0], 0));
	cr_expect(eq(u32, logs[RIGHT].got[1], FLOOD));
	atomic_store(&is_held, false);
	await(worker_now(XMB_WORKER_HANDLED) + worker_now(held_drops) ==
	      2 * FLOOD);
	flow_recv(el.rtap, &logs[RIGHT],
		  2 * FLOOD - (uint32_t)worker_now(held_drops), WAIT_MS);
}

static struct xmb_thread_report last_threads[8];
static xmb_engine_tick_fn *lab_tick;

static void note_threads(void *arg, const struct xmb_engine_report *report)
{
	memcpy(last_threads, report->threads,
	       report->thread_cnt * sizeof(*last_threads));
	lab_tick(arg, report);
}

static void hear_threads(void)
{
	lab_tick = el.opts.tick;
	el.opts.tick = note_threads;
}

static uint64_t run_held(enum xmb_full_policy full,
			 enum xmb_worker_counter name)
{
	struct xmb_completion ends;
	uint64_t drops;

	pipeline_setup(2);
	el.opts.handler = hold_flow_0;
	el.opts.steer = mark_by_flow;
	el.opts.pipe_cnt = PIPE;
	el.opts.full = full;
	hear_threads();
	held_drops = name;
	cookies_open();
	cr_expect(eq(int, engine_run_with(flood_a_held_worker), 0));
	ends = cookies_close();
	flow_recv(el.rtap, &logs[RIGHT], UINT32_MAX, 0); /* one too many */
	drops = worker_counter(name);
	/* Flow 0 is of the first worker, which is the second thread. */
	cr_expect(eq(u64, last_threads[1].counters[name], drops));
	cr_expect(gt(u64, drops, FLOOD - 2 * PIPE - LANE_BACKLOG - 64));
	cr_expect(eq(u64, all_drops(), drops));
	cr_expect(eq(u64, ends.dropped_cnt, drops));
	cr_expect(eq(u64, ends.sent_cnt, 2 * FLOOD - drops));
	cr_expect(eq(u64, logs[RIGHT].got[0], FLOOD - drops));
	cr_expect(eq(u32, logs[RIGHT].got[1], FLOOD));
	cr_expect(eq(u32, logs[RIGHT].disorder, 0));
	cr_expect(eq(u32, logs[RIGHT].broken, 0));
	expect_in_is_out_and_drops();
	return drops;
}

Test(pipeline, a_held_worker_costs_only_its_own_flows_their_newest)
{
	run_held(XMB_FULL_DROP_NEWEST, XMB_WORKER_FULL_NEWEST);
	cr_expect(lt(u32, logs[RIGHT].next[0], FLOOD));
}

Test(pipeline, a_held_worker_costs_only_its_own_flows_their_oldest)
{
	run_held(XMB_FULL_DROP_OLDEST, XMB_WORKER_FULL_OLDEST);
	/* The last one came, and so did those that were in the pipe. */
	cr_expect(eq(u32, logs[RIGHT].next[0], FLOOD));
	cr_expect(ge(u32, logs[RIGHT].got[0], PIPE + LANE_BACKLOG));
}

Test(pipeline, a_held_worker_stops_its_own_flows)
{
	run_held(XMB_FULL_STOP_FLOW, XMB_WORKER_FLOW_STOPPED);
	cr_expect(lt(u32, logs[RIGHT].next[0], FLOOD));
}

static void hold_and_go_on(void)
{
	uint32_t cnt = 2 * PIPE + 64;

	atomic_store(&is_held, true);
	for (uint32_t i = 0; i < cnt; i++)
		flow_send(el.ltap, 100, 0, i);
	await(worker_now(XMB_WORKER_PIPED) +
		      worker_now(XMB_WORKER_FLOW_STOPPED) ==
	      cnt);
	cnt -= (uint32_t)worker_now(XMB_WORKER_FLOW_STOPPED);
	atomic_store(&is_held, false);
	flow_recv(el.rtap, &logs[RIGHT], cnt, WAIT_MS);
	for (uint32_t i = 1000; i < 1010; i++)
		flow_send(el.ltap, 100, 0, i);
	flow_recv(el.rtap, &logs[RIGHT], cnt + 10, WAIT_MS);
}

Test(pipeline, a_stopped_flow_goes_on_when_its_worker_does)
{
	pipeline_setup(2);
	el.opts.handler = hold_flow_0;
	el.opts.steer = by_flow;
	el.opts.pipe_cnt = PIPE;
	el.opts.full = XMB_FULL_STOP_FLOW;
	cr_expect(eq(int, engine_run_with(hold_and_go_on), 0));
	flow_recv(el.rtap, &logs[RIGHT], UINT32_MAX, 0);
	cr_expect(gt(u64, worker_counter(XMB_WORKER_FLOW_STOPPED), 0));
	cr_expect(eq(u32, logs[RIGHT].next[0], 1010));
	cr_expect(eq(u64, logs[RIGHT].total,
		     2 * PIPE + 64 + 10 -
			     worker_counter(XMB_WORKER_FLOW_STOPPED)));
}

static _Atomic uint32_t handled_cnt;

static void hold_and_drop(void *arg, struct xmb_burst *burst)
{
	(void)arg;
	while (atomic_load(&is_held))
		usleep(1000);
	handled_cnt += burst->cnt;
}

/*
 * Nothing comes back that could wake the dispatcher, and nothing new comes.  It
 * looks after its backlog all the same: whoever slept as if idle, for a second,
 * would not sleep so often.  The worker is held, and does not sleep at all.
 */
static void backlog_alone(void)
{
	uint32_t cnt = PIPE + 200;
	uint64_t before;

	atomic_store(&is_held, true);
	for (uint32_t i = 0; i < cnt; i++)
		flow_send(el.ltap, 100, 0, i);
	await(port_now(LEFT, XMB_XSK_RX_PACKETS) == cnt);
	before = worker_now(XMB_WORKER_SLEEPS);
	await(worker_now(XMB_WORKER_SLEEPS) - before > NAP_CNT);
	cr_expect(gt(u64, worker_now(XMB_WORKER_SLEEPS) - before, NAP_CNT));
	atomic_store(&is_held, false);
	/* Here, for the end of the engine would hand it over too. */
	await(handled_cnt == cnt);
	cr_expect(eq(u32, handled_cnt, cnt));
}

Test(pipeline, a_backlog_is_handed_over_also_when_nothing_else_happens)
{
	pipeline_setup(1);
	el.opts.handler = hold_and_drop;
	/* A report wakes, too: there is none. */
	el.opts.tick_ns = 3600 * XMB_NS_PER_S;
	el.opts.pipe_cnt = PIPE;
	el.opts.full = XMB_FULL_DROP_OLDEST;
	cr_expect(eq(int, engine_run_with(backlog_alone), 0));
	expect_worker(XMB_WORKER_HANDLER_DROP, PIPE + 200);
}

static bool are_asleep(void)
{
	const struct xmb_engine *engine = el.engine;

	for (uint32_t i = 0; i < engine->worker_cnt; i++)
		if (!atomic_load(&engine->workers[i].is_asleep))
			return false;
	return true;
}

static uint64_t idle_ns; /* for so long there was nothing to do */

static void now_and_then(void)
{
	for (uint32_t i = 0; i < 10; i++) {
		uint64_t start_ns;

		await(are_asleep());
		start_ns = xmb_clock_ns();
		usleep(30000);
		await(are_asleep());
		idle_ns += xmb_clock_ns() - start_ns;
		flow_send(el.ltap, 100, i, 0);
		flow_recv(el.rtap, &logs[RIGHT], i + 1, WAIT_MS);
	}
}

Test(pipeline, idle_workers_sleep_and_are_woken_by_the_first_packet)
{
	uint64_t wakes = 0, all_ns = xmb_clock_ns();

	pipeline_setup(2);
	hear_threads();
	cr_expect(eq(int, engine_run_with(now_and_then), 0));
	all_ns = xmb_clock_ns() - all_ns;
	cr_expect(eq(u32, logs[RIGHT].total, 10));
	cr_expect(eq(str, (char *)last_threads[0].role, "io"));
	for (int t = 1; t <= 2; t++) {
		const uint64_t *counters = last_threads[t].counters;

		cr_expect(eq(str, (char *)last_threads[t].role, "worker"));
		cr_expect(gt(u64, counters[XMB_WORKER_SLEEPS], 0));
		/* Idle for 300 ms; what it did, it did in the rest. */
		cr_expect(le(u64, counters[XMB_WORKER_BUSY_NS],
			     all_ns - idle_ns));
		cr_expect(gt(u64, counters[XMB_WORKER_HANDLED], 0));
	}
	wakes = last_threads[0].counters[XMB_WORKER_WAKES];
	cr_expect(ge(u64, wakes, 8));
	cr_expect(le(u64, wakes, 10));
}

static void empty_all(void *arg, struct xmb_burst *burst)
{
	for (uint32_t i = 0; i < burst->cnt; i++)
		xmb_multibuf_truncate(&burst->mbs[i], 0, burst->cache);
	pass(arg, burst);
}

static void send_ten(void)
{
	for (uint32_t i = 0; i < 10; i++)
		flow_send(el.ltap, 100, i, i);
	await(worker_now(XMB_WORKER_HANDLED) == 10);
}

Test(pipeline, a_packet_that_was_emptied_is_a_drop_with_a_name)
{
	pipeline_setup(2);
	el.opts.handler = empty_all;
	cr_expect(eq(int, engine_run_with(send_ten), 0));
	expect_port(RIGHT, XMB_XSK_TX_EMPTY, 10);
	expect_in_is_out_and_drops();
}

static void by_seq(void *arg, struct xmb_burst *burst)
{
	(void)arg;
	for (uint32_t i = 0; i < burst->cnt; i++) {
		switch (mb_word(&burst->mbs[i], SEQ_OFF) % 5) {
		case 0:
			break;
		case 1:
			burst->to[i] = RIGHT;
			break;
		case 2:
			burst->to[i] = 200;
			break;
		case 3:
			xmb_multibuf_release(&burst->mbs[i], burst->cache);
			burst->to[i] = XMB_TO_KEEP;
			break;
		default:
			xmb_burst_send(burst, LEFT, &burst->mbs[i], 1);
			burst->to[i] = XMB_TO_KEEP;
		}
	}
}

Test(pipeline, each_verdict_of_a_worker_is_carried_out_and_counted)
{
	struct xmb_completion ends;

	pipeline_setup(2);
	el.opts.handler = by_seq;
	el.opts.steer = mark_by_flow;
	cookies_open();
	cr_expect(eq(int, engine_run_with(send_ten), 0));
	ends = cookies_close();
	cr_expect(eq(u32, ends.dropped_cnt, 4));
	cr_expect(eq(u32, ends.released_cnt, 2));
	cr_expect(eq(u32, ends.sent_cnt, 4));
	expect_worker(XMB_WORKER_HANDLED, 10);
	expect_worker(XMB_WORKER_HANDLER_DROP, 2);
	expect_worker(XMB_WORKER_NO_ROUTE, 2);
	expect_worker(XMB_WORKER_KEPT, 4);
	expect_worker(XMB_WORKER_FORWARDED, 4);
	expect_port(RIGHT, XMB_XSK_TX_PACKETS, 2);
	expect_port(LEFT, XMB_XSK_TX_PACKETS, 2);
}
