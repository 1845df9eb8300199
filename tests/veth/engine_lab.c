/* SPDX-License-Identifier: BSD-2-Clause */
#include "engine_lab.h"

#include "engine/engine_priv.h"

#include <linux/if_packet.h>
#include <pthread.h>
#include <sys/socket.h>
#include <unistd.h>

enum { COOKIE_MAX = 8192 };

struct engine_lab el;

void pass(void *arg, struct xmb_burst *burst)
{
	(void)arg;
	for (uint32_t i = 0; i < burst->cnt; i++)
		burst->to[i] = burst->port == LEFT ? RIGHT : LEFT;
}

/* Threads other than the test's may not assert: they are only counted. */
static void hear_report(void *arg, const struct xmb_engine_report *report)
{
	struct engine_lab *lab_of = arg;

	lab_of->final_cnt += report->is_final;
	lab_of->last = *report;
	atomic_fetch_add(&lab_of->tick_cnt, 1);
}

void engine_lab_setup(int queue_cnt, uint32_t mtu)
{
	lab_wire(queue_cnt, mtu);
	el.ltap = tap_open("ltap");
	el.rtap = tap_open("rtap");
	el.ports[LEFT].dev = "left";
	el.ports[RIGHT].dev = "right";
	el.opts = (struct xmb_engine_opts){
		.ports = el.ports,
		.port_cnt = 2,
		.handler = pass,
		.umem = { .frame_cnt = 8192 },
		.tick = hear_report,
		.tick_arg = &el,
		.tick_ns = 20000000,
	};
}

void engine_create(void)
{
	cr_assert(eq(int, xmb_engine_create(&el.engine, &el.opts), 0));
}

static void (*traffic_now)(void);

/* All data threads are there, and had nothing to do. */
static bool have_slept(void)
{
	const struct xmb_engine *engine = el.engine;

	for (uint32_t i = 0; i < engine->worker_cnt; i++)
		if (!xmb_counter_read(
			    &engine->workers[i].counters[XMB_WORKER_SLEEPS]))
			return false;
	return true;
}

static void *run_traffic(void *arg)
{
	(void)arg;
	/* And there is a report, unless these are rare. */
	await(have_slept() && (atomic_load(&el.tick_cnt) > 0 ||
			       el.opts.tick_ns > XMB_NS_PER_S));
	traffic_now();
	xmb_engine_stop(el.engine);
	return NULL;
}

static void check_last(void)
{
	const struct xmb_ledger *ledger = &el.last.ledger;

	cr_expect(eq(int, el.final_cnt, 1));
	cr_expect(el.last.is_final);
	cr_expect(el.last.is_balanced);
	cr_expect(eq(i64, ledger->missing, 0));
	cr_expect(eq(i64, ledger->fill + ledger->rx + ledger->tx + ledger->held,
		     0));
	cr_expect(eq(i64, ledger->free + ledger->app, ledger->frames));
	cr_expect(eq(ptr, (void *)said(XMB_LOG_ERROR, "ledger"), NULL));
}

int engine_run_with(void (*traffic)(void))
{
	pthread_t thread;
	int err;

	engine_create();
	traffic_now = traffic;
	el.final_cnt = 0;
	atomic_store(&el.tick_cnt, 0);
	atomic_store(&el.has_ended, false);
	cr_assert(eq(int, pthread_create(&thread, NULL, run_traffic, NULL), 0));
	err = xmb_engine_run(el.engine);
	atomic_store(&el.has_ended, true);
	pthread_join(thread, NULL);
	check_last();
	xmb_engine_destroy(el.engine);
	el.engine = NULL;
	return err;
}

void await_end(void)
{
	await(atomic_load(&el.has_ended));
}

uint64_t port_now(int port, enum xmb_xsk_counter which)
{
	const struct xmb_port *of = el.engine->ports[port];
	uint64_t n = 0;

	for (uint32_t i = 0; i < xmb_port_queue_cnt(of); i++)
		n += lab_counter(xmb_port_xsk(of, i), which);
	return n;
}

uint64_t worker_now(enum xmb_worker_counter which)
{
	uint64_t n = 0;

	for (uint32_t i = 0; i < el.engine->worker_cnt; i++)
		n += xmb_counter_read(&el.engine->workers[i].counters[which]);
	return n;
}

uint64_t matched_now(void)
{
	uint64_t values[XMB_PROG_COUNTER_CNT], n = 0;

	for (uint32_t p = 0; p < el.opts.port_cnt; p++) {
		xmb_port_prog_stats(el.engine->ports[p], values);
		n += values[XMB_PROG_MATCHED];
	}
	return n;
}

uint64_t port_counter(int port, enum xmb_xsk_counter which)
{
	return el.last.ports[port].xsk[which];
}

uint64_t worker_counter(enum xmb_worker_counter which)
{
	return el.last.workers[which];
}

uint64_t all_drops(void)
{
	uint64_t n = 0;

	for (uint32_t p = 0; p < el.last.port_cnt; p++)
		for (int i = 0; i < XMB_XSK_COUNTER_CNT; i++)
			if (xmb_xsk_counter_descs[i].kind == XMB_COUNTER_DROP)
				n += el.last.ports[p].xsk[i];
	for (int i = 0; i < XMB_WORKER_COUNTER_CNT; i++)
		if (xmb_worker_counter_descs[i].kind == XMB_COUNTER_DROP)
			n += el.last.workers[i];
	return n;
}

void expect_passes(size_t len, uint32_t tag)
{
	tap_send_made(el.ltap, len, tag);
	cr_expect(tap_recv_made(el.rtap, len, tag), "%zu bytes, %u", len, tag);
}

void expect_passes_back(size_t len, uint32_t tag)
{
	tap_send_made(el.rtap, len, tag);
	cr_expect(tap_recv_made(el.ltap, len, tag), "%zu bytes, %u", len, tag);
}

uint32_t tap_seen(int fd)
{
	struct tpacket_stats stats;
	socklen_t len = sizeof(stats);

	cr_expect(eq(int, getsockopt(fd, SOL_PACKET, PACKET_STATISTICS, &stats,
				     &len), 0));
	return stats.tp_packets;
}

uint32_t tap_sees(int fd, uint64_t cnt)
{
	uint32_t seen = 0;

	await((seen += tap_seen(fd)) >= cnt);
	return seen;
}

static struct xmb_cookie_box cookie_box;
static uint32_t given_cnt;

void cookies_open(void)
{
	given_cnt = 0;
	cr_assert(eq(int, xmb_cookie_box_init(&cookie_box, COOKIE_MAX), 0));
}

void cookie_give(const struct xmb_multibuf *mb, uint64_t cookie)
{
	/* Of a refusal the cookie is missed in the end. */
	xmb_cookie_attach(&cookie_box, mb, cookie);
	given_cnt++;
}

struct xmb_completion cookies_close(void)
{
	struct xmb_completion sum = { 0 }, one;

	while (xmb_cookie_reap(&cookie_box, &one, 1)) {
		sum.cookie++;
		sum.sent_cnt += one.sent_cnt;
		sum.released_cnt += one.released_cnt;
		sum.dropped_cnt += one.dropped_cnt;
	}
	cr_expect(eq(u64, sum.cookie, given_cnt));
	cr_expect(eq(int, xmb_cookie_box_fini(&cookie_box), 0));
	return sum;
}
