/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * lib/engine under traffic, for ThreadSanitizer: two queues and two data
 * threads, senders at both ends, a handler that cuts packets in two and now and
 * then keeps one, a report each 5 ms, and a stop from a thread of its own.
 *
 *      network namespace of this process
 *      +--------------------------------------------------------+
 *      |  ltap ---- left [ engine, 2 threads ] right ---- rtap  |
 *      |  sender                                        sender  |
 *      +--------------------------------------------------------+
 *
 *      engine_stress [MILLISECONDS]
 *
 * Ends with exit 0 and a line of totals, with exit 1 and what was wrong, or
 * with exit 77 and why it cannot run here.
 */
#include "base/clock.h"
#include "base/log.h"
#include "engine/engine.h"

#include <arpa/inet.h>
#include <errno.h>
#include <linux/if_ether.h>
#include <linux/if_packet.h>
#include <net/if.h>
#include <pthread.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

/* Newer than glibc 2.36's headers; the values are kernel ABI. */
#ifndef PACKET_IGNORE_OUTGOING
#define PACKET_IGNORE_OUTGOING 23
#endif

enum {
	QUEUE_CNT = 2,
	THREAD_MAX = 64,
	TIME_LIMIT_S = 600,
	FLOW_CNT = 64,
	KEEP_EACH = 7,
	MS_DEFAULT = 3000,
	WAIT_MS = 60000, /* for what must come */
};

enum { LEFT, RIGHT };

/* What one data thread keeps; found by the thread's cache. */
struct keeper {
	const struct xmb_cache *cache;
	struct xmb_multibuf mb;
	uint64_t seen_cnt;
};

struct sender {
	pthread_t thread;
	int fd;
	uint64_t sent;
};

static struct xmb_engine *engine;
static struct keeper keepers[THREAD_MAX];
static _Atomic uint32_t keeper_cnt;
static struct sender senders[2];
static _Atomic bool is_over;
static uint64_t run_ms = MS_DEFAULT;
static struct xmb_engine_report last;
static _Atomic uint32_t report_cnt;
static _Atomic uint64_t matched_cnt; /* by the programs, as reported */

static void fail(const char *what)
{
	fprintf(stderr, "FAIL: %s\n", what);
	exit(1);
}

static void skip(const char *why)
{
	printf("skipped: %s\n", why);
	exit(77);
}

static void hear(void *arg, enum xmb_log_level level, const char *text)
{
	(void)arg;
	if (level <= XMB_LOG_WARN)
		fprintf(stderr, "%s\n", text);
}

static void must(const char *command)
{
	if (system(command) != 0)
		fail(command);
}

static void make_pair(const char *dev, const char *tap)
{
	char command[256];

	snprintf(command, sizeof(command),
		 "ip link add %s numrxqueues %d numtxqueues %d type veth peer "
		 "name %s numrxqueues %d numtxqueues %d && ip link set %s up "
		 "&& ip link set %s up",
		 dev, QUEUE_CNT, QUEUE_CNT, tap, QUEUE_CNT, QUEUE_CNT, dev,
		 tap);
	must(command);
}

static void make_lab(void)
{
	int fd;

	if (geteuid() != 0)
		skip("AF_XDP and network namespaces need root");
	if (unshare(CLONE_NEWNET))
		skip("no network namespace of its own");
	fd = socket(AF_XDP, SOCK_RAW, 0);
	if (fd < 0)
		skip("this kernel has no AF_XDP");
	close(fd);
	if (system("ip link add vp type veth 2>/dev/null && ip link del vp"))
		skip("`ip link add type veth` does not work here");
	/* No neighbour discovery: every packet is counted. */
	must("echo 1 >/proc/sys/net/ipv6/conf/default/disable_ipv6");
	make_pair("left", "ltap");
	make_pair("right", "rtap");
}

static int tap_open(const char *dev)
{
	struct sockaddr_ll addr = {
		.sll_family = AF_PACKET,
		.sll_protocol = htons(ETH_P_ALL),
		.sll_ifindex = (int)if_nametoindex(dev),
	};
	int fd = socket(AF_PACKET, SOCK_RAW | SOCK_NONBLOCK, 0), one = 1;

	if (fd < 0 ||
	    setsockopt(fd, SOL_PACKET, PACKET_IGNORE_OUTGOING, &one,
		       sizeof(one)) ||
	    bind(fd, (struct sockaddr *)&addr, sizeof(addr)))
		fail("an AF_PACKET socket");
	return fd;
}

/* Packets that were handed to the socket, those that it had no room for too. */
static uint64_t tap_seen(int fd)
{
	struct tpacket_stats stats;
	socklen_t len = sizeof(stats);

	if (getsockopt(fd, SOL_PACKET, PACKET_STATISTICS, &stats, &len))
		fail("the statistics of an AF_PACKET socket");
	return stats.tp_packets;
}

/* UDP over IPv4 of many flows, so that both queues get some. */
static size_t make_packet(uint8_t *packet, uint32_t nr)
{
	static const uint8_t head[] = {
		2, 0, 0, 0, 0, 2, 2, 0, 0, 0, 0, 1, 0x08, 0x00,
		0x45, 0, 0, 0, 0, 0, 0, 0, 64, 17, 0, 0,
		10, 0, 0, 1, 10, 0, 0, 2, 0, 0, 0, 9, 0, 0, 0, 0,
	};
	size_t len = 60 + nr * 37 % 1400;

	memset(packet, (int)nr & 0xff, len);
	memcpy(packet, head, sizeof(head));
	packet[16] = (uint8_t)((len - 14) >> 8);
	packet[17] = (uint8_t)(len - 14);
	packet[35] = (uint8_t)(nr % FLOW_CNT);
	packet[38] = (uint8_t)((len - 34) >> 8);
	packet[39] = (uint8_t)(len - 34);
	return len;
}

static void *send_packets(void *arg)
{
	struct sender *sender = arg;
	uint8_t packet[1514];

	for (uint32_t nr = 0; !atomic_load(&is_over); nr++) {
		size_t len = make_packet(packet, nr);

		if (send(sender->fd, packet, len, 0) == (ssize_t)len)
			sender->sent++;
		/* Pauses, so that the data threads fall asleep and wake. */
		if (nr % 1024 == 0)
			usleep(1000);
	}
	return NULL;
}

static bool have_arrived(void)
{
	return atomic_load(&matched_cnt) >= senders[0].sent + senders[1].sent &&
	       atomic_load(&report_cnt) >= run_ms / 50;
}

static void *stop_later(void *arg)
{
	(void)arg;
	usleep((useconds_t)(run_ms * 1000));
	atomic_store(&is_over, true);
	for (int i = 0; i < 2; i++)
		pthread_join(senders[i].thread, NULL);
	/* What is on its way arrives before the programs are detached. */
	for (int i = 0; i < WAIT_MS && !have_arrived(); i++)
		usleep(1000);
	xmb_engine_stop(engine);
	return NULL;
}

static struct keeper *keeper_of(const struct xmb_cache *cache)
{
	uint32_t cnt = atomic_load(&keeper_cnt);

	for (uint32_t i = 0; i < cnt && i < THREAD_MAX; i++)
		if (keepers[i].cache == cache)
			return &keepers[i];
	return NULL;
}

/* Threads come one by one: who has no place yet takes the next. */
static struct keeper *keeper_for(const struct xmb_cache *cache)
{
	static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
	static _Thread_local struct keeper *mine;

	if (mine)
		return mine;
	pthread_mutex_lock(&lock);
	if (!keeper_of(cache)) {
		uint32_t i = atomic_load(&keeper_cnt);

		if (i == THREAD_MAX)
			fail("more data threads than were expected");
		keepers[i].cache = cache;
		atomic_store(&keeper_cnt, i + 1);
	}
	mine = keeper_of(cache);
	pthread_mutex_unlock(&lock);
	return mine;
}

static void cut_and_join(struct xmb_multibuf *mb, struct xmb_cache *cache)
{
	struct xmb_multibuf payload = { 0 };

	if (xmb_multibuf_split(mb, 14, &payload, cache) ||
	    xmb_multibuf_append(mb, &payload, cache))
		fail("a packet could not be cut and joined");
}

/* Each seventh packet waits until the next seventh comes. */
static void handle(void *arg, struct xmb_burst *burst)
{
	struct keeper *keeper = keeper_for(burst->cache);

	(void)arg;
	for (uint32_t i = 0; i < burst->cnt; i++) {
		struct xmb_multibuf *mb = &burst->mbs[i], was = keeper->mb;

		if (keeper->seen_cnt % 2)
			cut_and_join(mb, burst->cache);
		if (++keeper->seen_cnt % KEEP_EACH == 0) {
			keeper->mb = *mb;
			*mb = was;
		}
		burst->to[i] = burst->port == LEFT ? RIGHT : LEFT;
		if (xmb_multibuf_is_empty(mb))
			burst->to[i] = XMB_TO_KEEP;
	}
}

static void on_report(void *arg, const struct xmb_engine_report *report)
{
	uint64_t matched = 0;

	(void)arg;
	for (uint32_t p = 0; p < report->port_cnt; p++)
		matched += report->ports[p].prog[XMB_PROG_MATCHED];
	atomic_store(&matched_cnt, matched);
	atomic_fetch_add(&report_cnt, 1);
	last = *report;
}

static uint64_t drops(void)
{
	uint64_t n = 0;

	for (uint32_t p = 0; p < last.port_cnt; p++)
		for (int i = 0; i < XMB_XSK_COUNTER_CNT; i++)
			if (xmb_xsk_counter_descs[i].kind == XMB_COUNTER_DROP)
				n += last.ports[p].xsk[i];
	for (int i = 0; i < XMB_WORKER_COUNTER_CNT; i++)
		if (xmb_worker_counter_descs[i].kind == XMB_COUNTER_DROP)
			n += last.workers[i];
	return n;
}

static void check_end(int err)
{
	uint64_t sent = senders[0].sent + senders[1].sent;
	uint64_t seen = tap_seen(senders[0].fd) + tap_seen(senders[1].fd);
	uint32_t thread_cnt = atomic_load(&keeper_cnt), kept = 0;

	for (uint32_t i = 0; i < thread_cnt; i++)
		kept += !xmb_multibuf_is_empty(&keepers[i].mb);
	/* The last ones may come a moment later. */
	for (int i = 0; i < WAIT_MS && sent > seen + drops() + kept; i++) {
		usleep(1000);
		seen += tap_seen(senders[0].fd) + tap_seen(senders[1].fd);
	}
	printf("%lu packets sent, %lu forwarded, %lu dropped by name, %u kept; "
	       "%u threads, %u reports\n",
	       sent, seen, drops(), kept, thread_cnt, report_cnt);
	if (err)
		fail(strerror(-err));
	if (!last.is_final || !last.is_balanced || last.ledger.missing)
		fail("the ledger does not balance");
	if (sent != seen + drops() + kept)
		fail("packets are missing");
	if (last.ledger.app != kept)
		fail("the application has other frames than those it kept");
	if (last.ledger.copies)
		fail("payload was copied");
	if (thread_cnt != QUEUE_CNT || last.thread_cnt != QUEUE_CNT)
		fail("not every data thread had packets");
	if (report_cnt < run_ms / 50)
		fail("reports did not come");
	if (seen < 1000)
		fail("hardly anything was forwarded");
}

int main(int argc, char **argv)
{
	const struct xmb_port_opts ports[] = { { .dev = "left" },
					       { .dev = "right" } };
	const struct xmb_engine_opts opts = {
		.ports = ports,
		.port_cnt = 2,
		.handler = handle,
		.umem = { .frame_cnt = 8192 },
		.tick = on_report,
		.tick_ns = 5 * XMB_NS_PER_MS,
	};
	pthread_t stopper;
	int err;

	if (argc > 1)
		run_ms = strtoull(argv[1], NULL, 10);
	alarm(TIME_LIMIT_S);
	make_lab();
	xmb_log_set(hear, NULL);
	senders[0].fd = tap_open("ltap");
	senders[1].fd = tap_open("rtap");
	err = xmb_engine_create(&engine, &opts);
	if (err)
		fail("the engine was refused");
	for (int i = 0; i < 2; i++)
		if (pthread_create(&senders[i].thread, NULL, send_packets,
				   &senders[i]))
			fail("no thread to send");
	if (pthread_create(&stopper, NULL, stop_later, NULL))
		fail("no thread to stop");
	err = xmb_engine_run(engine);
	pthread_join(stopper, NULL);
	check_end(err);
	xmb_engine_destroy(engine);
	return 0;
}
