/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * lib/engine as a pipeline, its ends: options that are refused, and a stop
 * while packets and halves are in everybody's hands.
 */
#include "pipeline_lab.h"

#include "base/clock.h"

#include <pthread.h>
#include <stdatomic.h>
#include <sys/socket.h>

enum { FLOOD_MS = 400, SENT_MIN = 1000, PASSED_MIN = 100 };

TestSuite(pipeline_life, .init = xsk_lab_setup, .timeout = 300);

static void expect_no_engine(const char *part)
{
	struct xmb_engine *out = (struct xmb_engine *)64;

	forget_said();
	cr_expect(eq(int, xmb_engine_create(&out, &el.opts), -EINVAL), "%s",
		  part);
	cr_expect(eq(ptr, out, (struct xmb_engine *)64));
	expect_said(XMB_LOG_ERROR, part);
}

Test(pipeline_life, split_packets_with_fewer_than_two_workers_are_refused)
{
	pipeline_setup(1);
	el.opts.is_split = true;
	expect_no_engine("split packets need a pipeline of 2");
	el.opts.worker_cnt = 0;
	expect_no_engine("split packets need a pipeline of 2");
	el.opts.worker_cnt = 2;
	el.opts.mode = XMB_ENGINE_RTC;
	expect_no_engine("split packets need a pipeline of 2");
	el.opts.mode = XMB_ENGINE_PIPELINE;
	engine_create();
	xmb_engine_destroy(el.engine);
}

Test(pipeline_life, split_packets_with_another_policy_than_newest_are_refused)
{
	pipeline_setup(2);
	el.opts.is_split = true;
	el.opts.full = XMB_FULL_DROP_OLDEST;
	expect_no_engine("use the policy newest");
	el.opts.full = XMB_FULL_STOP_FLOW;
	expect_no_engine("use the policy newest");
}

Test(pipeline_life, more_than_64_workers_are_refused)
{
	pipeline_setup(XMB_ENGINE_WORKER_MAX + 1);
	expect_no_engine("at most 64 workers");
}

Test(pipeline_life, a_pipe_of_no_power_of_two_is_refused)
{
	pipeline_setup(2);
	for (uint32_t cnt = 3; cnt < 1000; cnt = 2 * cnt + 1) {
		el.opts.pipe_cnt = cnt;
		expect_no_engine("a power of two");
	}
	el.opts.pipe_cnt = 4;
	engine_create();
	xmb_engine_destroy(el.engine);
}

Test(pipeline_life, too_few_frames_for_the_workers_are_refused)
{
	pipeline_setup(16);
	expect_no_engine("frames are too few");
	el.opts.umem.frame_cnt = 16384;
	engine_create();
	xmb_engine_destroy(el.engine);
}

Test(pipeline_life, an_engine_that_never_ran_gives_all_back)
{
	pipeline_setup(4);
	el.opts.is_split = true;
	engine_create();
	xmb_engine_destroy(el.engine);
	engine_create();
	xmb_engine_destroy(el.engine);
}

static _Atomic bool is_over;
static _Atomic uint64_t sent_cnt;
static bool (*is_flooded)(void); /* it was enough */

static void *flood(void *arg)
{
	uint8_t packet[PACKET_MAX];
	int fd = *(int *)arg;

	for (uint32_t i = 0; !atomic_load(&is_over); i++) {
		flow_make(packet, 60 + i % 400, i % 32, i);
		if (send(fd, packet, 60 + i % 400, 0) > 0)
			sent_cnt++;
	}
	return NULL;
}

/* The engine is stopped while both ends go on sending. */
static void stop_in_full_flood(void)
{
	int fds[] = { el.ltap, el.rtap };
	pthread_t threads[2];

	for (int i = 0; i < 2; i++)
		pthread_create(&threads[i], NULL, flood, &fds[i]);
	usleep(FLOOD_MS * 1000);
	await(is_flooded());
	xmb_engine_stop(el.engine);
	usleep(FLOOD_MS * 1000);
	atomic_store(&is_over, true);
	for (int i = 0; i < 2; i++)
		pthread_join(threads[i], NULL);
}

/* Now and then a worker takes its time; some halves and packets it drops. */
static void now_and_then_slow(void *arg, struct xmb_burst *burst)
{
	static _Atomic uint32_t turn;

	if (turn++ % 64 == 0)
		usleep(2000);
	pass(arg, burst);
	for (uint32_t i = 0; i < burst->cnt; i++)
		if (turn % 7 == i % 7)
			burst->to[i] = XMB_TO_DROP;
}

static bool has_passed(void)
{
	return atomic_load(&sent_cnt) > SENT_MIN &&
	       port_now(LEFT, XMB_XSK_TX_PACKETS) > PASSED_MIN;
}

static void run_flood(bool is_split, enum xmb_full_policy full)
{
	pipeline_setup(3);
	el.opts.is_split = is_split;
	el.opts.full = full;
	el.opts.pipe_cnt = 128;
	el.opts.handler = now_and_then_slow;
	is_flooded = has_passed;
	cr_expect(eq(int, engine_run_with(stop_in_full_flood), 0));
	cr_expect(gt(u64, sent_cnt, SENT_MIN));
	cr_expect(gt(u64, port_counter(LEFT, XMB_XSK_TX_PACKETS), PASSED_MIN));
	cr_expect(eq(i64, el.last.ledger.free, 8192));
	expect_in_is_out_and_drops();
}

Test(pipeline_life, a_stop_under_load_loses_nothing_without_a_name)
{
	run_flood(false, XMB_FULL_DROP_NEWEST);
}

Test(pipeline_life, a_stop_under_load_empties_the_backlog_too)
{
	run_flood(false, XMB_FULL_DROP_OLDEST);
}

Test(pipeline_life, a_stop_under_load_with_stopped_flows_is_exact)
{
	run_flood(false, XMB_FULL_STOP_FLOW);
}

Test(pipeline_life, a_stop_under_load_finds_all_halves)
{
	run_flood(true, XMB_FULL_DROP_NEWEST);
}

static _Atomic bool was_held;

/* One worker sleeps until the dispatchers have ended without it. */
static void sleep_once(void *arg, struct xmb_burst *burst)
{
	pass(arg, burst);
	if (burst->part == XMB_PART_HEADER || atomic_exchange(&was_held, true))
		return;
	while (atomic_load(&burst->worker->command) == WORKER_RUN)
		usleep(1000);
}

static bool has_come_since(void)
{
	return atomic_load(&was_held) &&
	       port_now(LEFT, XMB_XSK_RX_PACKETS) > SENT_MIN;
}

static void run_hung(bool is_split)
{
	pipeline_setup(2);
	el.opts.is_split = is_split;
	el.opts.full = is_split ? XMB_FULL_DROP_NEWEST : XMB_FULL_DROP_OLDEST;
	el.opts.pipe_cnt = 32;
	el.opts.handler = sleep_once;
	is_flooded = has_come_since;
	cr_expect(eq(int, engine_run_with(stop_in_full_flood), 0));
	cr_expect(gt(u64, worker_counter(XMB_WORKER_LEFT_IN_PIPE), 0));
	cr_expect(eq(i64, el.last.ledger.free, 8192));
	expect_in_is_out_and_drops();
}

Test(pipeline_life, what_a_hung_worker_has_at_the_end_is_counted)
{
	run_hung(false);
}

Test(pipeline_life, halves_that_a_hung_worker_has_at_the_end_are_counted)
{
	run_hung(true);
}
