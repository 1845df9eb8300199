/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * What xmbuf forward never does, for fault_injection.py to fail its calls: two
 * pieces of the application's memory, and sockets that share a queue.
 *
 *      client0 ============ left
 *         |               /      \
 *        far          first      sibling, polls busily
 *         |  piece 0    |           |  piece 1
 *         +--packet---->| fill ---->|
 *         |<------------------------+--packet
 *
 *      share_piece left client0
 *
 * The devices, two ends of a pair, are there, in this network namespace.  The
 * calls that count come after signal(SIGPIPE).  Exit status 0: all was done;
 * 1: a call was refused, what the library said is on stderr; 2: something was
 * lost, left or not what it should be.
 */
#include "base/clock.h"
#include "base/log.h"
#include "prog/prog.h"
#include "umem/ledger.h"
#include "umem/piece.h"
#include "xsk/xsk.h"

#include <fcntl.h>
#include <net/if.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

enum { PIECE_CNT = 2, PIECE_LEN = 64 * 4096, PACKET_LEN = 300, WAIT_S = 30 };
enum { FAR, FIRST, SIBLING, XSK_CNT };

static const char *devs[XSK_CNT];
static int ifindexes[XSK_CNT];
static struct xmb_umem_piece_opts pieces[PIECE_CNT];
static struct xmb_prog *prog;
static struct xmb_umem *umem;
static struct xmb_cache cache;
static struct xmb_xsk *xsks[XSK_CNT];
static uint32_t home_cnt;
static bool is_wrong;

static void say(void *arg, enum xmb_log_level level, const char *text)
{
	(void)arg;
	if (level != XMB_LOG_DEBUG)
		fprintf(stderr, "%s\n", text);
}

static int wrong(const char *what)
{
	fprintf(stderr, "wrong: %s\n", what);
	is_wrong = true;
	return -1;
}

static void note_home(void *arg, uint32_t piece, uint32_t frame)
{
	(void)arg;
	(void)piece;
	(void)frame;
	home_cnt++;
}

/* What the application has before it comes to the library. */
static int prepare(char **names)
{
	devs[FIRST] = devs[SIBLING] = names[0];
	devs[FAR] = names[1];
	for (int i = 0; i < XSK_CNT; i++)
		ifindexes[i] = (int)if_nametoindex(devs[i]);
	for (int i = 0; i < PIECE_CNT; i++) {
		int fd = memfd_create("piece", MFD_CLOEXEC | MFD_ALLOW_SEALING);

		if (fd < 0 || ftruncate(fd, PIECE_LEN) ||
		    fcntl(fd, F_ADD_SEALS, F_SEAL_SHRINK))
			return wrong("no sealed memfd");
		pieces[i] = (struct xmb_umem_piece_opts){ .fd = fd,
							  .len = PIECE_LEN,
							  .home = note_home };
	}
	return xmb_prog_attach(
		&prog, &(struct xmb_prog_opts){ .dev = devs[FIRST],
						.ifindex = ifindexes[FIRST],
						.queue_cnt = 1 });
}

/* The same bytes would have two owners: refused, whatever call fails. */
static int refuse_twice(void)
{
	struct xmb_umem_piece_opts twice[] = { pieces[0], pieces[0] };
	struct xmb_umem_opts opts = { .frame_cnt = 1024,
				      .pieces = twice,
				      .piece_cnt = 2 };
	struct xmb_umem *none = NULL;

	if (xmb_umem_create(&none, &opts))
		return 0;
	xmb_umem_destroy(none);
	return wrong("a piece was taken twice");
}

static int open_all(void)
{
	struct xmb_umem_opts opts = { .frame_cnt = 1024,
				      .pieces = pieces,
				      .piece_cnt = PIECE_CNT };
	int err = xmb_umem_create(&umem, &opts);

	if (err)
		return err;
	xmb_cache_init(&cache, &umem->pool, 1);
	for (int i = 0; i < XSK_CNT && !err; i++) {
		struct xmb_xsk_opts xsk = {
			.dev = devs[i],
			.ifindex = ifindexes[i],
			.mtu = 1500,
			.ring_cnt = 256,
			.fill_base = 128,
			.tx_only = i == FAR,
			.share_cnt = i == FIRST,
			.share = i == SIBLING ? xsks[FIRST] : NULL,
			.busy_poll_us = i == SIBLING ? 20 : 0,
			.busy_poll_budget = 16,
			.prefer_busy_poll = true,
			.wait_ns = WAIT_S * XMB_NS_PER_S,
		};

		err = xmb_xsk_open(&xsks[i], umem, &cache, &xsk);
	}
	if (!err)
		err = xmb_prog_steer(prog, 0, xmb_xsk_fd(xsks[SIBLING]));
	return err ? err : xmb_prog_commit(prog);
}

/* From across two frames of a piece; it is back at the end of this. */
static int send_from(struct xmb_xsk *xsk, struct xmb_xsk *reaper,
		     uint32_t piece)
{
	const uint32_t off = 2048 - PACKET_LEN / 2;
	uint64_t end_ns = xmb_clock_ns() + WAIT_S * XMB_NS_PER_S;
	uint8_t *packet = xmb_umem_piece_data(umem, piece) + off;
	struct xmb_multibuf mb = { 0 };
	uint32_t was = home_cnt;

	memset(packet, 0x40 + (int)piece, PACKET_LEN);
	packet[12] = 0x88;
	packet[13] = 0xb5;
	if (xmb_umem_piece_take(umem, piece, &cache, off, PACKET_LEN, &mb))
		return wrong("the piece has no such frames");
	if (xmb_xsk_send(xsk, &cache, &mb, 1) != 1) {
		xmb_multibuf_release(&mb, &cache);
		return wrong("the packet was not sent");
	}
	while (xmb_xsk_tx_inflight(xsk) && xmb_clock_ns() < end_ns) {
		xmb_xsk_kick(xsk);
		if (xmb_xsk_reap(reaper, &cache) == 0)
			usleep(1000);
	}
	return home_cnt == was + 2 ? 0 : wrong("a piece's frames are away");
}

static int receive(struct xmb_xsk *xsk)
{
	uint64_t end_ns = xmb_clock_ns() + WAIT_S * XMB_NS_PER_S;
	uint8_t byte = 0;

	while (xmb_clock_ns() < end_ns && byte != 0x40) {
		struct xmb_multibuf mb = { 0 };

		xmb_xsk_refill(xsks[FIRST], &cache, xmb_clock_ns());
		xmb_xsk_refill(xsk, &cache, xmb_clock_ns());
		if (xmb_xsk_recv(xsk, &cache, &mb, 1) == 0) {
			usleep(1000);
			continue;
		}
		if (xmb_multibuf_len(&mb) == PACKET_LEN)
			xmb_multibuf_copy_to(&mb, PACKET_LEN - 1, &byte, 1);
		xmb_multibuf_release(&mb, &cache);
	}
	return byte == 0x40 ? 0 : wrong("no packet came");
}

static int traffic(void)
{
	/* It finds nothing, and polls. */
	xmb_xsk_refill(xsks[SIBLING], &cache, xmb_clock_ns());
	if (send_from(xsks[FAR], xsks[FAR], 0) || receive(xsks[SIBLING]))
		return -1;
	return send_from(xsks[SIBLING], xsks[FIRST], 1);
}

static void close_all(void)
{
	uint64_t end_ns = xmb_clock_ns() + WAIT_S * XMB_NS_PER_S;
	struct xmb_ledger ledger;

	xmb_prog_destroy(prog);
	for (int i = 0; i < PIECE_CNT; i++)
		close(pieces[i].fd);
	if (!umem)
		return;
	for (int i = XSK_CNT - 1; i >= 0; i--) {
		if (xsks[i] && xmb_xsk_close(xsks[i], &cache))
			wrong("a socket does not close");
		while (xsks[i] && xmb_xsk_settle(xsks[i], &cache) &&
		       xmb_clock_ns() < end_ns)
			usleep(20000);
	}
	xmb_ledger_init(&ledger, umem);
	xmb_ledger_add_cache(&ledger, &cache);
	for (int i = 0; i < XSK_CNT; i++)
		if (xsks[i])
			xmb_xsk_ledger(xsks[i], &ledger);
	if (!xmb_ledger_check(&ledger, umem) || ledger.free != ledger.frames ||
	    ledger.copies)
		wrong("the ledger is not whole");
	for (int i = XSK_CNT - 1; i >= 0; i--)
		xmb_xsk_destroy(xsks[i]);
	xmb_cache_fini(&cache);
	xmb_umem_destroy(umem);
	umem = NULL;
	memset(xsks, 0, sizeof(xsks));
}

/* All of it, from nothing to nothing. */
static int attempt(char **names)
{
	int err = prepare(names);

	signal(SIGPIPE, SIG_IGN);
	if (!err)
		err = refuse_twice();
	if (!err)
		err = open_all();
	if (!err)
		err = traffic();
	close_all();
	return err;
}

int main(int argc, char **argv)
{
	int err, lowest = dup(0), last;

	close(lowest);
	xmb_log_set(say, NULL);
	err = argc == 3 ? attempt(argv + 1) : wrong("not two devices");
	if (err && !is_wrong && attempt(argv + 1))
		wrong("so is the next try");
	last = dup(0);
	if (last != lowest)
		wrong("a descriptor is open still");
	return is_wrong ? 2 : err ? 1 : 0;
}
