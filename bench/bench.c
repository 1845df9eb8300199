/* SPDX-License-Identifier: BSD-2-Clause */
#include "bench.h"

#include "base/clock.h"

#include <argp.h>
#include <arpa/inet.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/time.h>

enum { LEN_MIN = 60, LEN_MAX = 2048, HUGE_LEN = 2 << 20 };

enum {
	OPT_MODE = 256,
	OPT_DEV,
	OPT_OUT,
	OPT_LEN,
	OPT_FRAMES,
	OPT_FRAME_LEN,
	OPT_CIRCULATING,
	OPT_WORKERS,
	OPT_STALL,
	OPT_EACH,
	OPT_SECONDS,
	OPT_FIFO,
	OPT_CHAINS,
	OPT_BATCH,
	OPT_TX_BUDGET,
	OPT_KICK,
	OPT_SQPOLL,
	OPT_REAP_LATE,
	OPT_PREFETCH,
	OPT_PAGES,
	OPT_UNALIGNED,
	OPT_STAGGERED,
	OPT_HEADROOM,
	OPT_WATCH,
};

static const struct argp_option options[] = {
	{ "mode", OPT_MODE, "rxdrop|txonly|forward", 0, "What to do", 0 },
	{ "dev", OPT_DEV, "DEV", 0, "The device", 0 },
	{ "out", OPT_OUT, "DEV", 0, "The other device to forward with", 0 },
	{ "len", OPT_LEN, "BYTES", 0, "Of a sent frame [64]", 0 },
	{ "frames", OPT_FRAMES, "N", 0, "Frames of memory [65536]", 0 },
	{ "frame-len", OPT_FRAME_LEN, "BYTES", 0,
	  "Of a frame of memory [the program's own]", 0 },
	{ "circulating", OPT_CIRCULATING, "N", 0,
	  "Frames that the kernel has at a time [the program's own]", 0 },
	{ "workers", OPT_WORKERS, "N", 0,
	  "Forward by a pipeline [run to completion]", 0 },
	{ "stall", OPT_STALL, "US", 0, "Pause while receiving", 0 },
	{ "each", OPT_EACH, "US", 0, "How often to pause [2000]", 0 },
	{ "seconds", OPT_SECONDS, "S", 0, "End by itself [60]", 0 },
	{ "chains", OPT_CHAINS, NULL, 0,
	  "Take packets of several frames [where the program must be told]",
	  0 },
	{ "fifo", OPT_FIFO, NULL, 0, "Use the longest free frame first", 0 },
	{ "batch", OPT_BATCH, "N", 0, "Packets a turn, at most [64]", 0 },
	{ "tx-budget", OPT_TX_BUDGET, "N", 0, "Packets a kick [32]", 0 },
	{ "kick", OPT_KICK, "batch|late|each|uring", 0,
	  "When and how to kick; late: when the next batch was received "
	  "[batch]",
	  0 },
	{ "reap-late", OPT_REAP_LATE, NULL, 0,
	  "Take completions when half the ring waits", 0 },
	{ "prefetch", OPT_PREFETCH, "BYTES", 0,
	  "Of each packet, when it was received [0]", 0 },
	{ "sqpoll", OPT_SQPOLL, "CPU", 0,
	  "Have a thread there kick that polls an io_uring", 0 },
	{ "pages", OPT_PAGES, "thp|small|hugetlb", 0, "Of the frames [thp]",
	  0 },
	{ "unaligned", OPT_UNALIGNED, NULL, 0, "Frames of any length", 0 },
	{ "staggered", OPT_STAGGERED, NULL, 0,
	  "Sent packets begin in one of 8 cache lines of a frame", 0 },
	{ "headroom", OPT_HEADROOM, "BYTES", 0,
	  "Before a received packet, beside the kernel's 256 [0]", 0 },
	{ "watch", OPT_WATCH, NULL, 0,
	  "Tell when one thread that receives was kept off its CPU", 0 },
	{ 0 },
};

static _Atomic bool is_over;

static uint32_t number(struct argp_state *state, const char *text, uint32_t min,
		       uint32_t max)
{
	char *end;
	unsigned long v = strtoul(text, &end, 10);

	if (end == text || *end || *text == '-' || v < min || v > max)
		argp_error(state, "'%s' is not a number from %u to %u", text,
			   min, max);
	return (uint32_t)v;
}

static int name(struct argp_state *state, const char *text,
		const char *const *names)
{
	for (int i = 0; names[i]; i++)
		if (!strcmp(text, names[i]))
			return i;
	argp_error(state, "'%s' is no choice", text);
	return 0;
}

/* What a loop may do in one way or another. */
static error_t parse_choice(int key, char *arg, struct argp_state *state)
{
	static const char *const kicks[] = { "batch", "late", "each", "uring",
					     NULL };
	static const char *const pages[] = { "thp", "small", "hugetlb", NULL };
	struct bench_opts *opts = state->input;

	switch (key) {
	case OPT_FIFO:
		opts->is_fifo = true;
		return 0;
	case OPT_CHAINS:
		opts->has_chains = true;
		return 0;
	case OPT_BATCH:
		opts->batch = number(state, arg, 1, 256);
		return 0;
	case OPT_TX_BUDGET:
		opts->tx_budget = number(state, arg, 32, 2048);
		return 0;
	case OPT_KICK:
		opts->kick = (enum bench_kick)name(state, arg, kicks);
		return 0;
	case OPT_REAP_LATE:
		opts->reaps_late = true;
		return 0;
	case OPT_PREFETCH:
		opts->prefetch = number(state, arg, 64, LEN_MAX);
		return 0;
	case OPT_SQPOLL:
		opts->kick = BENCH_KICK_SQPOLL;
		opts->sqpoll_cpu = number(state, arg, 0, 1023);
		return 0;
	case OPT_PAGES:
		opts->pages = (enum bench_pages)name(state, arg, pages);
		return 0;
	case OPT_UNALIGNED:
		opts->is_unaligned = true;
		return 0;
	case OPT_STAGGERED:
		opts->is_staggered = true;
		return 0;
	case OPT_HEADROOM:
		opts->headroom = number(state, arg, 0, 512);
		return 0;
	default:
		return ARGP_ERR_UNKNOWN;
	}
}

static void check(struct argp_state *state, const struct bench_opts *opts)
{
	if (!opts->dev || (opts->mode == BENCH_FORWARD && !opts->out))
		argp_error(state, "--dev, and to forward --out, must be given");
	if (opts->is_watched && opts->worker_cnt)
		argp_error(state, "--watch is for one thread alone");
}

static error_t parse(int key, char *arg, struct argp_state *state)
{
	static const char *const modes[] = { "rxdrop", "txonly", "forward",
					     NULL };
	struct bench_opts *opts = state->input;

	switch (key) {
	case OPT_MODE:
		opts->mode = (enum bench_mode)name(state, arg, modes);
		return 0;
	case OPT_DEV:
		opts->dev = arg;
		return 0;
	case OPT_OUT:
		opts->out = arg;
		return 0;
	case OPT_LEN:
		opts->len = number(state, arg, LEN_MIN, LEN_MAX);
		return 0;
	case OPT_FRAMES:
		opts->frame_cnt = number(state, arg, 64, 1 << 20);
		return 0;
	case OPT_FRAME_LEN:
		opts->frame_len = number(state, arg, 2048, 4096);
		return 0;
	case OPT_CIRCULATING:
		opts->circulating = number(state, arg, 16, 2048);
		return 0;
	case OPT_WORKERS:
		opts->worker_cnt = number(state, arg, 1, 64);
		return 0;
	case OPT_STALL:
		opts->stall_ns = number(state, arg, 1, 1000000) * XMB_NS_PER_US;
		return 0;
	case OPT_EACH:
		opts->stall_each_ns =
			number(state, arg, 1, 1000000) * XMB_NS_PER_US;
		return 0;
	case OPT_SECONDS:
		opts->seconds = number(state, arg, 1, 600);
		return 0;
	case OPT_WATCH:
		opts->is_watched = true;
		return 0;
	case ARGP_KEY_END:
		check(state, opts);
		return 0;
	default:
		return parse_choice(key, arg, state);
	}
}

void bench_parse(int argc, char **argv, struct bench_opts *opts)
{
	static const struct argp argp = {
		.options = options,
		.parser = parse,
		.doc = "One contender of scripts/bench, which see.",
	};

	*opts = (struct bench_opts){
		.len = 64,
		.frame_cnt = 65536,
		.stall_each_ns = 2 * XMB_NS_PER_MS,
		.seconds = 60,
	};
	argp_err_exit_status = 2;
	argp_parse(&argp, argc, argv, 0, NULL, opts);
}

static void on_signal(int signo)
{
	(void)signo;
	atomic_store_explicit(&is_over, true, memory_order_relaxed);
}

void bench_arm(const struct bench_opts *opts)
{
	struct sigaction action = { .sa_handler = on_signal };
	struct itimerval timer = { .it_value.tv_sec = (time_t)opts->seconds };

	sigaction(SIGINT, &action, NULL);
	sigaction(SIGTERM, &action, NULL);
	sigaction(SIGALRM, &action, NULL);
	setitimer(ITIMER_REAL, &timer, NULL);
}

bool bench_is_over(void)
{
	return atomic_load_explicit(&is_over, memory_order_relaxed);
}

void bench_meter_start(struct bench_meter *meter)
{
	*meter = (struct bench_meter){
		.start_ns = xmb_clock_ns(),
		.start_ticks = xmb_clock_ticks(),
	};
}

struct bench_result bench_meter_result(const struct bench_meter *meter)
{
	uint64_t ticks = xmb_clock_ticks() - meter->start_ticks;
	uint64_t ns = xmb_clock_ns() - meter->start_ns;
	double tick_ns = (double)ns / (double)ticks;

	return (struct bench_result){
		.packets = meter->packets,
		.seconds = (double)ns / 1e9,
		.busy_ns = (int64_t)((double)meter->busy * tick_ns),
		.kernel_ns = (int64_t)((double)meter->kernel * tick_ns),
	};
}

void bench_stall(const struct bench_opts *opts, struct bench_meter *meter)
{
	uint64_t now_ns;

	if (opts->stall_ns == 0)
		return;
	now_ns = xmb_clock_ns();
	if (now_ns < meter->next_stall_ns)
		return;
	meter->next_stall_ns = now_ns + opts->stall_each_ns;
	while (xmb_clock_ns() < now_ns + opts->stall_ns)
		;
}

void bench_say_ready(void)
{
	puts("{\"ready\": true}");
	fflush(stdout);
}

void bench_say_result(const struct bench_result *result,
		      const struct bench_watch *watch)
{
	printf("{\"packets\": %llu, \"seconds\": %.6f, \"busy_ns\": %lld, "
	       "\"kernel_ns\": %lld, \"pauses\": ",
	       (unsigned long long)result->packets, result->seconds,
	       (long long)result->busy_ns, (long long)result->kernel_ns);
	bench_watch_say(watch);
	puts("}");
	fflush(stdout);
}

static void put16(uint8_t *at, uint32_t v)
{
	at[0] = (uint8_t)(v >> 8);
	at[1] = (uint8_t)v;
}

void bench_packet(uint8_t *packet, uint32_t len)
{
	/* Addresses nobody has: what passes by mistake is dropped early. */
	static const char head[] =
		"\x02\xb0\0\0\0\2"		 /* to */
		"\x02\xb0\0\0\0\1"		 /* from */
		"\x08\0"			 /* IPv4 */
		"\x45\0\0\0\0\0\0\0\x40\x11\0\0" /* TTL 64, UDP */
		"\xc6\x12\0\1" /* 198.18.0.1, kept for benchmarks */
		"\xc6\x13\0\1"
		"\x12\x34\0\x09\0\0\0"; /* to port 9, no checksum */
	uint32_t sum = 0;

	_Static_assert(sizeof(head) == BENCH_HEADER_LEN, "the last 0 counts");
	memset(packet, 0x5a, len);
	memcpy(packet, head, sizeof(head));
	put16(packet + 16, len - 14);
	put16(packet + 38, len - 34);
	for (int i = 14; i < 34; i += 2)
		sum += (uint32_t)packet[i] << 8 | packet[i + 1];
	sum = (sum & 0xffff) + (sum >> 16);
	put16(packet + 24, ~((sum & 0xffff) + (sum >> 16)));
}

void *bench_map(size_t len)
{
	size_t rounded = xmb_align_up(len, HUGE_LEN) + HUGE_LEN;
	uint8_t *area = mmap(NULL, rounded, PROT_READ | PROT_WRITE,
			     MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	if (area == MAP_FAILED)
		bench_die("mmap", 12);
	area = (uint8_t *)xmb_align_up((uintptr_t)area, HUGE_LEN);
	/* Without huge pages it works as well, only slower. */
	madvise(area, rounded - HUGE_LEN, MADV_HUGEPAGE);
	return area;
}

void bench_die(const char *what, int err)
{
	fprintf(stderr, "%s: %s\n", what, err ? strerror(err) : "failed");
	exit(1);
}
