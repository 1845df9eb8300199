/* SPDX-License-Identifier: BSD-2-Clause */
#include "gen.h"

#include "base/clock.h"

/* Generated: one string longer than ISO C promises to take, int as size_t. */
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Woverlength-strings"
#pragma GCC diagnostic ignored "-Wsign-conversion"
#include "gen.skel.h"
#pragma GCC diagnostic pop

#include <argp.h>
#include <bpf/bpf.h>
#include <errno.h>
#include <net/if.h>
#include <sched.h>
#include <stdlib.h>

/*
 * gen: frames out of a veth as fast as the kernel makes them, or at a rate.
 *
 *      gen DEV [--len N] [--rate PER_SECOND] [--cpu N] [--batch N]
 *
 * Prints {"ready": true} and, after SIGTERM, {"sent": N, "seconds": S, "run":
 * R, "pauses": [[END, US, ...], ...]}: what was given to the device, not what
 * arrived, and, at a rate, how many frames went out in a row when it was late,
 * and when this CPU did something else (bench.h).  The receiving side's softirq
 * runs on this CPU too, inside the same system call. Up to 2048 bytes the
 * kernel makes the frames; longer ones are sent by AF_XDP (gen_chain.c), where
 * what the device refused is not among the sent ones.
 */

/* A call costs 15-22 ms besides, so it must be long; a signal ends it. */
enum { REPEAT = 64 << 20, LIVE_LEN_MAX = 2048 };

struct config {
	const char *dev;
	uint32_t len, batch;
	double rate;
	int cpu;
};

enum { OPT_LEN = 256, OPT_RATE, OPT_CPU, OPT_BATCH };

static const struct argp_option gen_options[] = {
	{ "len", OPT_LEN, "BYTES", 0, "Of a frame, 60-9000 [64]", 0 },
	{ "rate", OPT_RATE, "N", 0, "Frames a second [as many as go]", 0 },
	{ "cpu", OPT_CPU, "N", 0, "Run there [0]", 0 },
	{ "batch", OPT_BATCH, "N", 0, "Frames a flush, up to 2048 bytes [64]",
	  0 },
	{ 0 },
};

static error_t gen_parse(int key, char *arg, struct argp_state *state)
{
	struct config *config = state->input;

	switch (key) {
	case OPT_LEN:
		config->len = (uint32_t)atoi(arg);
		return 0;
	case OPT_RATE:
		config->rate = atof(arg);
		return 0;
	case OPT_CPU:
		config->cpu = atoi(arg);
		return 0;
	case OPT_BATCH:
		config->batch = (uint32_t)atoi(arg);
		return 0;
	case ARGP_KEY_ARG:
		config->dev = arg;
		return 0;
	case ARGP_KEY_END:
		if (!config->dev || config->len < 60 ||
		    config->len > GEN_LEN_MAX || config->rate < 0)
			argp_error(state, "a device and a length of 60-9000");
		return 0;
	default:
		return ARGP_ERR_UNKNOWN;
	}
}

static struct bench_watch watch = { .is_on = true };

static void pin(int cpu)
{
	cpu_set_t set;

	CPU_ZERO(&set);
	CPU_SET((size_t)cpu, &set);
	if (sched_setaffinity(0, sizeof(set), &set))
		bench_die("sched_setaffinity", errno);
}

static struct gen_bpf *load(const struct config *config)
{
	struct gen_bpf *gen = gen_bpf__open();
	uint32_t ifindex = if_nametoindex(config->dev);

	if (ifindex == 0)
		bench_die(config->dev, errno);
	if (!gen)
		bench_die("opening the BPF program", errno);
	gen->rodata->ifindex = ifindex;
	if (config->rate > 0)
		gen->rodata->gap_ps = (uint64_t)(1e12 / config->rate);
	if (gen_bpf__load(gen))
		bench_die("loading the BPF program", errno);
	return gen;
}

/* Frames that the kernel makes; how many it gave to the device. */
static uint64_t run_live(struct gen_bpf *gen, const struct config *config)
{
	uint8_t packet[LIVE_LEN_MAX];
	struct xdp_md ctx = { .data_end = config->len };

	bench_packet(packet, config->len);
	while (!bench_is_over()) {
		LIBBPF_OPTS(bpf_test_run_opts, run, .data_in = packet,
			    .data_size_in = config->len, .ctx_in = &ctx,
			    .ctx_size_in = sizeof(ctx), .repeat = REPEAT,
			    .flags = BPF_F_TEST_XDP_LIVE_FRAMES,
			    .batch_size = config->batch);
		int err = bpf_prog_test_run_opts(
			bpf_program__fd(gen->progs.bench_gen), &run);

		if (err && err != -EINTR)
			bench_die("BPF_PROG_TEST_RUN with live frames", -err);
	}
	return gen->bss->sent;
}

static void say_pauses(const struct gen_bpf *gen)
{
	if (!gen) {
		bench_watch_say(&watch);
		puts("}");
		return;
	}
	putchar('[');
	for (uint32_t i = 0; i < gen->bss->pause_cnt; i++)
		printf("%s[%.6f, %.1f]", i ? ", " : "",
		       (double)gen->bss->pause_end_ns[i] / 1e9,
		       (double)gen->bss->pause_len_ns[i] / 1e3);
	puts("]}");
}

int main(int argc, char **argv)
{
	static const struct argp argp = { gen_options, gen_parse, "DEV", NULL,
					  NULL,	       NULL,	  NULL };
	struct config config = { .len = 64, .batch = 64 };
	struct bench_opts forever = { .seconds = 120 };
	struct gen_bpf *gen = NULL;
	uint64_t start_ns, sent;

	argp_parse(&argp, argc, argv, 0, NULL, &config);
	pin(config.cpu);
	if (config.len <= LIVE_LEN_MAX)
		gen = load(&config);
	else
		gen_chains_open(config.dev, config.len, config.rate);
	bench_arm(&forever);
	bench_say_ready();
	start_ns = xmb_clock_ns();
	sent = gen ? run_live(gen, &config) : gen_chains_run(&watch);
	printf("{\"sent\": %llu, \"seconds\": %.6f, \"run\": %llu, "
	       "\"pauses\": ",
	       (unsigned long long)sent,
	       (double)(xmb_clock_ns() - start_ns) / 1e9,
	       gen ? (unsigned long long)gen->bss->run_max : 0);
	say_pauses(gen);
	gen_bpf__destroy(gen);
	return 0;
}
