/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * lib/engine/lane: what a full pipe costs is what the policy says, and order
 * is kept whatever it is.
 */
#include "engine/lane_priv.h"

#include "sock_lab.h"

enum { PIPE_CNT = 8, RANDOM_STEPS = 100000, RANDOM_BUCKETS = 4 };

static struct xmb_pipe pipe_of;
static struct lane lane;
static uint32_t last_number;

static void setup(void)
{
	lab_open(&lab, FRAME_LEN, FRAME_CNT, 0);
	cr_assert(eq(int, xmb_pipe_init(&pipe_of, PIPE_CNT, &lab.cache,
					&lab.cache), 0));
	last_number = 0;
}

static void teardown(void)
{
	xmb_lane_flush(&lane);
	xmb_lane_fini(&lane, &lab.cache);
	xmb_pipe_fini(&pipe_of, &lab.cache);
	cr_expect(eq(i64, lab.cache.app_cnt, 0));
	lab_close(&lab);
}

TestSuite(lane, .init = setup, .fini = teardown, .timeout = 300);

static void start(enum xmb_full_policy policy)
{
	cr_assert(eq(int, xmb_lane_init(&lane, &pipe_of.end[0], policy), 0));
}

/* Push the next number; what is still ours is released. */
static enum lane_verdict push(uint32_t bucket)
{
	struct xmb_multibuf mb = packet_of(++last_number, PACKET_LEN);
	enum lane_verdict verdict =
		xmb_lane_push(&lane, &mb, bucket, &lab.cache);

	if (verdict == LANE_TAKEN || verdict == LANE_OLDEST)
		cr_expect(is_zero(&mb));
	else
		cr_expect(eq(u32, number_of(&mb), last_number));
	xmb_multibuf_release(&mb, &lab.cache);
	return verdict;
}

static void push_taken(uint32_t cnt)
{
	for (uint32_t i = 0; i < cnt; i++)
		cr_assert(eq(int, (int)push(0), LANE_TAKEN));
}

/* The worker receives the numbers from first on, cnt of them. */
static void expect_numbers(uint32_t first, uint32_t cnt)
{
	struct xmb_multibuf mb = { 0 };

	for (uint32_t i = 0; i < cnt; i++) {
		cr_assert(eq(u32, xmb_socket_recv(&pipe_of.end[1].sock, &mb, 1),
			     1), "number %u", first + i);
		cr_assert(eq(u32, number_of(&mb), first + i));
		xmb_multibuf_release(&mb, &lab.cache);
	}
}

static void expect_no_more(void)
{
	struct xmb_multibuf mb = { 0 };

	cr_expect(eq(u32, xmb_socket_recv(&pipe_of.end[1].sock, &mb, 1), 0));
}

Test(lane, what_was_pushed_is_seen_after_the_flush_and_not_before)
{
	start(XMB_FULL_DROP_NEWEST);
	push_taken(5);
	expect_no_more();
	cr_expect(eq(u32, xmb_lane_flush(&lane), 5));
	cr_expect(eq(u32, xmb_lane_flush(&lane), 0));
	expect_numbers(1, 5);
	expect_no_more();
}

Test(lane, room_counts_what_is_written_and_not_yet_shown)
{
	start(XMB_FULL_DROP_NEWEST);
	cr_expect(xmb_lane_has_room(&lane, PIPE_CNT));
	cr_expect(not(xmb_lane_has_room(&lane, PIPE_CNT + 1)));
	push_taken(3);
	cr_expect(xmb_lane_has_room(&lane, PIPE_CNT - 3));
	cr_expect(not(xmb_lane_has_room(&lane, PIPE_CNT - 2)));
	xmb_lane_flush(&lane);
	cr_expect(not(xmb_lane_has_room(&lane, PIPE_CNT - 2)));
	expect_numbers(1, 1);
	cr_expect(xmb_lane_has_room(&lane, PIPE_CNT - 2));
}

Test(lane, drop_newest_leaves_the_packet_to_the_caller_when_the_pipe_is_full)
{
	start(XMB_FULL_DROP_NEWEST);
	push_taken(PIPE_CNT);
	cr_expect(eq(int, (int)push(0), LANE_NEWEST));
	xmb_lane_flush(&lane);
	cr_expect(eq(int, (int)push(0), LANE_NEWEST));
	expect_numbers(1, 3);
	cr_expect(eq(int, (int)push(0), LANE_TAKEN));
	cr_expect(eq(u32, xmb_lane_flush(&lane), 1));
	expect_numbers(4, PIPE_CNT - 3);
	expect_numbers(PIPE_CNT + 3, 1);
	expect_no_more();
}

Test(lane, drop_oldest_keeps_the_last_ones_and_their_order)
{
	uint32_t free_cnt;

	start(XMB_FULL_DROP_OLDEST);
	push_taken(PIPE_CNT + LANE_BACKLOG);
	free_cnt = frames_free();
	cr_expect(eq(int, (int)push(0), LANE_OLDEST));
	cr_expect(eq(int, (int)push(0), LANE_OLDEST));
	cr_expect(eq(u32, frames_free(), free_cnt));
	cr_expect(eq(u32, xmb_lane_flush(&lane), PIPE_CNT));
	/* What is in the pipe is the worker's: the oldest before it went. */
	expect_numbers(1, PIPE_CNT);
	for (uint32_t n = PIPE_CNT + 3; n <= last_number; n += PIPE_CNT) {
		uint32_t cnt = xmb_min_u32(PIPE_CNT, last_number + 1 - n);

		cr_assert(eq(u32, xmb_lane_flush(&lane), cnt));
		expect_numbers(n, cnt);
	}
	cr_expect(eq(u32, lane.backlog_cnt, 0));
	expect_no_more();
}

Test(lane, a_new_packet_does_not_overtake_the_backlog)
{
	start(XMB_FULL_DROP_OLDEST);
	push_taken(PIPE_CNT + 4);
	xmb_lane_flush(&lane);
	expect_numbers(1, 2);
	push_taken(1);
	cr_expect(eq(u32, lane.backlog_cnt, 3));
	cr_expect(eq(u32, xmb_lane_flush(&lane), 2));
	expect_numbers(3, PIPE_CNT);
	cr_expect(eq(u32, xmb_lane_flush(&lane), 3));
	expect_numbers(PIPE_CNT + 3, 3);
}

Test(lane, a_stopped_flow_goes_on_when_half_the_pipe_is_free)
{
	start(XMB_FULL_STOP_FLOW);
	push_taken(PIPE_CNT);
	xmb_lane_flush(&lane);
	cr_expect(eq(int, (int)push(7), LANE_STOPPED));
	expect_numbers(1, PIPE_CNT / 2 - 1);
	/* There is room, but not for the flow that was stopped. */
	cr_expect(eq(int, (int)push(7), LANE_STOPPED));
	cr_expect(eq(int, (int)push(8), LANE_TAKEN));
	cr_expect(eq(int, (int)push(255), LANE_TAKEN));
	xmb_lane_flush(&lane);
	cr_expect(eq(int, (int)push(7), LANE_STOPPED));
	expect_numbers(PIPE_CNT / 2, 2);
	cr_expect(eq(int, (int)push(7), LANE_STOPPED));
	expect_numbers(PIPE_CNT / 2 + 2, 1);
	cr_expect(eq(int, (int)push(7), LANE_TAKEN));
}

Test(lane, every_bucket_is_stopped_by_itself)
{
	start(XMB_FULL_STOP_FLOW);
	push_taken(PIPE_CNT);
	xmb_lane_flush(&lane);
	for (uint32_t b = 0; b < LANE_BUCKETS; b += 2)
		cr_expect(eq(int, (int)push(b), LANE_STOPPED));
	for (uint32_t b = 0; b < LANE_BUCKETS; b++) {
		bool is_on = lane.stopped[b / 64] >> b % 64 & 1;

		cr_expect(eq(int, is_on, b % 2 == 0), "bucket %u", b);
	}
}

Test(lane, fini_releases_the_backlog_and_says_how_many)
{
	start(XMB_FULL_DROP_OLDEST);
	push_taken(PIPE_CNT + 20);
	xmb_lane_flush(&lane);
	cr_expect(eq(u32, xmb_lane_fini(&lane, &lab.cache), 20));
	cr_expect(eq(u32, frames_free(), FRAME_CNT - PIPE_CNT));
	cr_expect(eq(ptr, lane.backlog, NULL));
}

/* The model: numbers in the pipe, written and shown, and those that wait. */
struct model {
	uint32_t pipe[PIPE_CNT], shown, written;
	uint32_t wait[LANE_BACKLOG + 1], wait_cnt;
	bool is_stopped[RANDOM_BUCKETS];
};

static struct model model;

static uint32_t take_first(uint32_t *numbers, uint32_t *cnt)
{
	uint32_t first = numbers[0];

	memmove(numbers, numbers + 1, --*cnt * sizeof(*numbers));
	return first;
}

static void model_move_up(void)
{
	while (model.wait_cnt && model.written < PIPE_CNT) {
		uint32_t n = take_first(model.wait, &model.wait_cnt);

		model.pipe[model.written++] = n;
	}
}

static enum lane_verdict model_push(enum xmb_full_policy policy,
				    uint32_t number, uint32_t bucket)
{
	model_move_up();
	if (model.shown <= PIPE_CNT / 2)
		memset(model.is_stopped, 0, sizeof(model.is_stopped));
	if (model.is_stopped[bucket])
		return LANE_STOPPED;
	if (model.wait_cnt == 0 && model.written < PIPE_CNT) {
		model.pipe[model.written++] = number;
		return LANE_TAKEN;
	}
	if (policy == XMB_FULL_DROP_NEWEST)
		return LANE_NEWEST;
	if (policy == XMB_FULL_STOP_FLOW) {
		model.is_stopped[bucket] = true;
		return LANE_STOPPED;
	}
	model.wait[model.wait_cnt++] = number;
	if (model.wait_cnt <= LANE_BACKLOG)
		return LANE_TAKEN;
	take_first(model.wait, &model.wait_cnt);
	return LANE_OLDEST;
}

static void model_recv(void)
{
	if (model.shown == 0) {
		expect_no_more();
		return;
	}
	model.shown--;
	expect_numbers(take_first(model.pipe, &model.written), 1);
}

static void run_random(enum xmb_full_policy policy)
{
	uint32_t verdicts[LANE_STOPPED + 1] = { 0 };
	uint64_t seed = 11 + (uint64_t)policy;

	start(policy);
	for (int i = 0; i < RANDOM_STEPS; i++) {
		/* At times the worker is slow, at times fast. */
		uint32_t op = lab_rand(&seed) % (i / 2000 % 2 ? 8 : 18);
		uint32_t bucket = lab_rand(&seed) % RANDOM_BUCKETS;
		enum lane_verdict want, got;

		if (op < 4) {
			model_recv();
		} else if (op == 4) {
			model_move_up();
			cr_assert(eq(u32, xmb_lane_flush(&lane),
				     model.written - model.shown));
			model.shown = model.written;
		} else {
			want = model_push(policy, last_number + 1, bucket);
			got = push(bucket);
			cr_assert(eq(int, (int)got, (int)want), "step %d", i);
			verdicts[got]++;
		}
		cr_assert(eq(u32, lane.backlog_cnt, model.wait_cnt));
	}
	cr_expect(gt(u32, verdicts[LANE_TAKEN], 1000));
	cr_expect(gt(u32, verdicts[policy == XMB_FULL_DROP_NEWEST ?
					   LANE_NEWEST :
				   policy == XMB_FULL_DROP_OLDEST ?
					   LANE_OLDEST :
					   LANE_STOPPED], 1000));
}

Test(lane, drop_newest_does_as_a_plain_list_does_in_random_steps)
{
	run_random(XMB_FULL_DROP_NEWEST);
}

Test(lane, drop_oldest_does_as_a_plain_list_does_in_random_steps)
{
	run_random(XMB_FULL_DROP_OLDEST);
}

Test(lane, stop_flow_does_as_a_plain_list_does_in_random_steps)
{
	run_random(XMB_FULL_STOP_FLOW);
}
