/* SPDX-License-Identifier: BSD-2-Clause */
#include "bench.h"

#include "base/log.h"
#include "engine/engine.h"
#include "pkt/parse.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/*
 * ours: xmbuf by its public API.  Receiving and forwarding are an engine with
 * a handler at its default settings; sending is a port's socket driven by hand,
 * as a packet generator would.
 */

enum { BURST = 64 };

static struct bench_opts opts;
static struct bench_meter meter;
static struct bench_watch watch;

static void on_log(void *arg, enum xmb_log_level level, const char *text)
{
	(void)arg;
	if (level <= XMB_LOG_WARN)
		fprintf(stderr, "%s\n", text);
}

static void handle_drop(void *arg, struct xmb_burst *burst)
{
	(void)arg;
	(void)burst; /* the verdict is drop before the handler is asked */
	bench_stall(&opts, &meter);
	bench_watch_turn(&watch);
}

static void handle_macswap(void *arg, struct xmb_burst *burst)
{
	(void)arg;
	for (uint32_t i = 0; i < burst->cnt; i++) {
		if (xmb_ether_swap(&burst->mbs[i]))
			continue;
		burst->to[i] = (uint8_t)(1 - burst->port);
	}
	bench_watch_turn(&watch);
}

/* -1 when this engine does not count it. */
static int64_t worker_counter(const struct xmb_engine_report *report,
			      const char *name)
{
	for (int i = 0; i < XMB_WORKER_COUNTER_CNT; i++)
		if (!strcmp(xmb_worker_counter_descs[i].name, name))
			return (int64_t)report->workers[i];
	return -1;
}

static void on_tick(void *arg, const struct xmb_engine_report *report)
{
	struct bench_result *result = arg;

	*result = (struct bench_result){
		.packets = report->workers[XMB_WORKER_HANDLED],
		.seconds = (double)report->uptime_ns / 1e9,
		.busy_ns = worker_counter(report, "busy_ns"),
		.kernel_ns = worker_counter(report, "kernel_ns"),
	};
}

static void run_engine(struct bench_result *result)
{
	struct xmb_port_opts ports[] = {
		{ .dev = opts.dev },
		{ .dev = opts.out },
	};
	bool is_forward = opts.mode == BENCH_FORWARD;
	struct xmb_engine_opts engine_opts = {
		.ports = ports,
		.port_cnt = is_forward ? 2 : 1,
		.handler = is_forward ? handle_macswap : handle_drop,
		.mode = opts.worker_cnt ? XMB_ENGINE_PIPELINE : XMB_ENGINE_RTC,
		.worker_cnt = opts.worker_cnt,
		.umem.frame_cnt = opts.frame_cnt,
		.umem.frame_len = opts.frame_len,
		.duration_ns = (uint64_t)(opts.seconds * 1e9),
		.tick = on_tick,
		.tick_arg = result,
	};
	struct xmb_engine *engine;
	int err;

	ports[0].fill_base = ports[1].fill_base = opts.circulating;
	err = xmb_engine_create(&engine, &engine_opts);
	if (err)
		bench_die("xmb_engine_create", -err);
	bench_say_ready();
	err = xmb_engine_run(engine);
	if (err)
		bench_die("xmb_engine_run", -err);
	xmb_engine_destroy(engine);
}

/* What a packet generator writes: a header, into a frame of its own. */
static uint32_t make_burst(struct xmb_cache *cache, struct xmb_multibuf *mbs)
{
	static uint8_t header[2048];
	struct xmb_chunk chunks[BURST] = { 0 };

	if (header[0] == 0)
		bench_packet(header, opts.len);
	if (xmb_chunk_alloc_bulk(cache, chunks, BURST))
		return 0;
	for (uint32_t i = 0; i < BURST; i++) {
		memcpy(xmb_chunk_data(&chunks[i]), header, BENCH_HEADER_LEN);
		xmb_chunk_truncate(&chunks[i], opts.len);
		xmb_multibuf_init(&mbs[i], &chunks[i]);
	}
	return BURST;
}

static uint32_t send_turn(struct xmb_xsk *xsk, struct xmb_cache *cache)
{
	static struct xmb_multibuf mbs[BURST];
	static uint32_t have, done;
	uint32_t sent;
	uint64_t start;

	xmb_xsk_reap(xsk, cache);
	if (done == have) {
		have = make_burst(cache, mbs);
		done = 0;
	}
	sent = xmb_xsk_send(xsk, cache, mbs + done, have - done);
	done += sent;
	start = xmb_clock_ticks();
	xmb_xsk_kick(xsk);
	meter.turn_kernel += xmb_clock_ticks() - start;
	return sent;
}

/* Payload that was written once, as in every other contender. */
static void write_frames(struct xmb_umem *umem)
{
	for (uint32_t i = 0; i < umem->pool.domain.region_cnt; i++)
		bench_packet(xmb_domain_data(&umem->pool.domain, i, 0), 2048);
}

static void run_sender(struct bench_result *result)
{
	struct xmb_umem_opts umem_opts = { .frame_cnt = opts.frame_cnt };
	struct xmb_port_opts port_opts = { .dev = opts.dev };
	struct xmb_port_share share = { .tx_cap = opts.circulating };
	struct xmb_cache *cache = aligned_alloc(XMB_CACHE_LINE, sizeof(*cache));
	struct xmb_umem *umem;
	struct xmb_port *port;
	int err = cache ? xmb_umem_create(&umem, &umem_opts) : -ENOMEM;

	if (err)
		bench_die("xmb_umem_create", -err);
	write_frames(umem);
	xmb_cache_init(cache, &umem->pool, 1);
	err = xmb_port_create(&port, &port_opts);
	if (!err)
		err = xmb_port_open(port, umem, &cache, share);
	if (err)
		bench_die("xmb_port_open", -err);
	bench_arm(&opts);
	bench_say_ready();
	bench_meter_start(&meter);
	while (!bench_is_over()) {
		bench_turn_begin(&meter);
		bench_turn_end(&meter, send_turn(xmb_port_xsk(port, 0), cache));
	}
	*result = bench_meter_result(&meter);
	xmb_port_detach(port);
	xmb_port_close(port, &cache);
	for (int i = 0; i < 100 && xmb_port_settle(port, cache); i++)
		usleep(5000);
	xmb_port_destroy(port);
	xmb_cache_fini(cache);
	xmb_umem_destroy(umem);
	free(cache);
}

int main(int argc, char **argv)
{
	struct bench_result result = { 0 };

	bench_parse(argc, argv, &opts);
	xmb_log_set(on_log, NULL);
	watch.is_on = opts.is_watched;
	if (opts.mode == BENCH_TXONLY)
		run_sender(&result);
	else
		run_engine(&result);
	bench_say_result(&result, &watch);
	return 0;
}
