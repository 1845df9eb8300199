/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * lib/engine, a burst after a silence: whoever slept finds as many frames as
 * there can be, although in traffic only as many wait as it needs.  The burst
 * is twice the RX ring, made in the kernel by live frames of BPF_PROG_TEST_RUN.
 */
#include "engine_lab.h"

#include <bpf/bpf.h>
#include <linux/bpf.h>
#include <net/if.h>
#include <unistd.h>

enum {
	ROUNDS = 5,
	BURST = 2 * XMB_XSK_RING_CNT,
	SILENCE_US = 1100000,
	FRAME_CNT = 16384,
	LEN = 64,
	BATCH = 64,
};

TestSuite(burst, .init = xsk_lab_setup, .timeout = 300);

static _Atomic int64_t fill_now;
static _Atomic uint64_t drops_now, came_now;
static int generator_fd;

/* What came of the rounds of one run. */
static struct {
	uint64_t drops_max, drops_sum, came;
	int64_t fill_min;
} seen;

static void hear(void *arg, const struct xmb_engine_report *report)
{
	const uint64_t *left = report->ports[LEFT].xsk;

	(void)arg;
	el.final_cnt += report->is_final;
	el.last = *report;
	atomic_store(&fill_now, report->ledger.fill);
	atomic_store(&drops_now,
		     left[XMB_XSK_RX_DROPPED] + left[XMB_XSK_RX_RING_FULL]);
	atomic_store(&came_now, left[XMB_XSK_RX_PACKETS]);
	atomic_fetch_add(&el.tick_cnt, 1);
}

static void drop_all(void *arg, struct xmb_burst *burst)
{
	(void)arg;
	(void)burst; /* dropped is what is not said otherwise */
}

/* return bpf_redirect(ifindex of ltap, 0) */
static int load_generator(void)
{
	const struct bpf_insn insns[] = {
		{ .code = BPF_ALU64 | BPF_MOV | BPF_K,
		  .dst_reg = BPF_REG_1,
		  .imm = (int)if_nametoindex("ltap") },
		{ .code = BPF_ALU64 | BPF_MOV | BPF_K, .dst_reg = BPF_REG_2 },
		{ .code = BPF_JMP | BPF_CALL, .imm = BPF_FUNC_redirect },
		{ .code = BPF_JMP | BPF_EXIT },
	};

	return bpf_prog_load(BPF_PROG_TYPE_XDP, "burst", "Dual BSD/GPL", insns,
			     sizeof(insns) / sizeof(insns[0]), NULL);
}

static void send_burst(void)
{
	uint8_t packet[LEN] = {
		2, 0, 0, 0, 0, 1, 2, 0, 0, 0, 0, 2, 0x88, 0xb5
	};
	struct xdp_md ctx = { .data_end = LEN };
	LIBBPF_OPTS(bpf_test_run_opts, run, .data_in = packet,
		    .data_size_in = LEN, .ctx_in = &ctx,
		    .ctx_size_in = sizeof(ctx), .repeat = BURST,
		    .flags = BPF_F_TEST_XDP_LIVE_FRAMES, .batch_size = BATCH);

	cr_expect(eq(int, bpf_prog_test_run_opts(generator_fd, &run), 0));
}

static bool all_told(int rounds)
{
	return atomic_load(&came_now) + atomic_load(&drops_now) ==
	       (uint64_t)rounds * BURST;
}

static void send_bursts(void)
{
	seen.fill_min = INT64_MAX;
	for (int i = 0; i < ROUNDS; i++) {
		uint64_t before = atomic_load(&drops_now), drops;

		usleep(SILENCE_US);
		if (atomic_load(&fill_now) < seen.fill_min)
			seen.fill_min = atomic_load(&fill_now);
		send_burst();
		/* A report tells of both, or none of this burst. */
		await(all_told(i + 1));
		drops = atomic_load(&drops_now) - before;
		if (drops > seen.drops_max)
			seen.drops_max = drops;
	}
	seen.drops_sum = atomic_load(&drops_now);
	seen.came = atomic_load(&came_now);
}

/*
 * However late the engine wakes, half of the burst finds frames and room: what
 * it loses beyond is decided by the scheduler here, and in lock step by
 * test_xsk_burst.c.
 */
Test(burst, after_a_silence_finds_the_rings_as_full_of_frames_as_can_be)
{
	engine_lab_setup(1, 1500);
	el.opts.handler = drop_all;
	el.opts.umem.frame_cnt = FRAME_CNT;
	el.opts.tick = hear;
	generator_fd = load_generator();
	cr_assert(ge(int, generator_fd, 0));

	cr_expect(eq(int, engine_run_with(send_bursts), 0));
	cr_expect(eq(i64, seen.fill_min, 2 * XMB_XSK_RING_CNT));
	cr_expect(le(u64, seen.drops_max, BURST - XMB_XSK_RING_CNT));
	cr_expect(eq(u64, seen.came + seen.drops_sum, ROUNDS * BURST));
	cr_expect(eq(i64, el.last.ledger.free, FRAME_CNT));
	close(generator_fd);
}
