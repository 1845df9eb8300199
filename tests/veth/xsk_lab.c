/* SPDX-License-Identifier: BSD-2-Clause */
#include "xsk_lab.h"

#include "base/clock.h"
#include "nic/nic.h"

#include <arpa/inet.h>
#include <fcntl.h>
#include <linux/if_ether.h>
#include <linux/if_packet.h>
#include <net/if.h>
#include <poll.h>
#include <stdio.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <unistd.h>

/* Newer than glibc 2.36's headers; the value is kernel ABI. */
#ifndef PACKET_IGNORE_OUTGOING
#define PACKET_IGNORE_OUTGOING 23
#endif

struct xsk_lab lab;

void xsk_lab_setup(void)
{
	int fd;

	lab_setup();
	fd = socket(AF_XDP, SOCK_RAW, 0);
	if (fd < 0)
		cr_skip_test("an AF_XDP socket: %s", strerror(errno));
	close(fd);
}

static void wire_one(const char *dev, const char *tap, int queue_cnt,
		     uint32_t mtu)
{
	char command[LINE_LEN];

	snprintf(command, sizeof(command),
		 "ip link add %s mtu %u numrxqueues %d numtxqueues %d type "
		 "veth peer name %s mtu %u numrxqueues %d numtxqueues %d && "
		 "ip link set %s up && ip link set %s up",
		 dev, mtu, queue_cnt, queue_cnt, tap, mtu, queue_cnt, queue_cnt,
		 dev, tap);
	must(command);
}

void lab_wire(int queue_cnt, uint32_t mtu)
{
	wire_one("left", "ltap", queue_cnt, mtu);
	wire_one("right", "rtap", queue_cnt, mtu);
}

void lab_frames(uint32_t frame_len, uint32_t frame_cnt)
{
	struct xmb_umem_opts opts = { .frame_len = frame_len,
				      .frame_cnt = frame_cnt };

	lab_frames_of(&opts);
}

void lab_frames_of(const struct xmb_umem_opts *opts)
{
	cr_assert(eq(int, xmb_umem_create(&lab.umem, opts), 0));
	xmb_cache_init(&lab.cache, &lab.umem->pool, 1);
}

struct lab_app app;

static void note_home(void *arg, uint32_t piece, uint32_t frame)
{
	(void)piece;
	(void)frame;
	cr_expect(eq(ptr, arg, &app));
	app.home_cnt++;
}

struct xmb_umem_piece_opts lab_app_piece(size_t len, bool is_pool,
					 unsigned int flags)
{
	struct xmb_umem_piece_opts piece = { .len = len, .is_pool = is_pool };

	app.fd = memfd_create("app", MFD_CLOEXEC | MFD_ALLOW_SEALING | flags);
	cr_assert(ge(int, app.fd, 0));
	cr_assert(eq(int, ftruncate(app.fd, (off_t)len), 0));
	cr_assert(eq(int, fcntl(app.fd, F_ADD_SEALS, F_SEAL_SHRINK), 0));
	app.mem = mmap(NULL, len, PROT_READ | PROT_WRITE, MAP_SHARED, app.fd,
		       0);
	cr_assert(ne(ptr, app.mem, MAP_FAILED));
	piece.fd = app.fd;
	if (!is_pool) {
		piece.home = note_home;
		piece.arg = &app;
	}
	return piece;
}

struct xmb_multibuf lab_take(size_t off, size_t len)
{
	struct xmb_multibuf mb = { 0 };

	cr_assert(
		eq(int,
		   xmb_umem_piece_take(lab.umem, 0, &lab.cache, off, len, &mb),
		   0));
	return mb;
}

void lab_plain(void)
{
	lab_wire(1, 1500);
	lab_frames(2048, 2048);
}

struct xmb_xsk_opts lab_opts(const char *dev)
{
	struct xmb_nic_info nic;

	cr_assert(eq(int, xmb_nic_query(dev, &nic), 0));
	return (struct xmb_xsk_opts){
		.dev = dev,
		.ifindex = nic.ifindex,
		.mtu = nic.mtu,
		.ring_cnt = 512,
		.fill_base = 256,
		.wait_ns = WAIT_MS * XMB_NS_PER_MS,
	};
}

struct xmb_xsk *lab_open(const struct xmb_xsk_opts *opts)
{
	struct xmb_xsk *xsk = NULL;

	cr_assert(lt(u32, lab.xsk_cnt, LAB_MAX));
	cr_assert(eq(int, xmb_xsk_open(&xsk, lab.umem, &lab.cache, opts), 0));
	lab.xsks[lab.xsk_cnt++] = xsk;
	return xsk;
}

struct xmb_xsk *lab_open_dev(const char *dev)
{
	struct xmb_xsk_opts opts = lab_opts(dev);

	return lab_open(&opts);
}

void lab_steer(struct xmb_xsk *xsk)
{
	struct xmb_prog_opts opts = {
		.dev = xsk->dev,
		.ifindex = xsk->opts.ifindex,
		.mode = XMB_PROG_NATIVE,
		.queue_cnt = xsk->opts.queue + 1,
	};
	struct xmb_prog *prog = NULL;

	cr_assert(lt(u32, lab.prog_cnt, LAB_MAX));
	cr_assert(eq(int, xmb_prog_attach(&prog, &opts), 0));
	cr_assert(eq(int, xmb_prog_steer(prog, xsk->opts.queue, xsk->fd), 0));
	lab.progs[lab.prog_cnt++] = prog;
}

/* The id that the next socket would get. */
static int next_id(void)
{
	int id = xmb_umem_id_get(lab.umem);

	cr_assert(gt(int, id, 0));
	xmb_umem_id_put(lab.umem, (uint32_t)id);
	return id;
}

void lab_expect_refused(const struct xmb_xsk_opts *opts, int err,
			const char *part)
{
	struct xmb_xsk *const before = (struct xmb_xsk *)64, *out = before;
	uint32_t free_cnt = lab_free_cnt();
	int id = next_id();

	forget_said();
	cr_expect(eq(int, xmb_xsk_open(&out, lab.umem, &lab.cache, opts), err),
		  "%s", part);
	cr_expect(eq(ptr, out, before));
	expect_said(XMB_LOG_ERROR, part);
	cr_expect(eq(u32, lab_free_cnt(), free_cnt));
	cr_expect(eq(int, next_id(), id));
	lab_ledger();
}

struct xmb_ledger lab_ledger(void)
{
	struct xmb_ledger ledger;

	xmb_ledger_init(&ledger, lab.umem);
	xmb_ledger_add_cache(&ledger, &lab.cache);
	for (uint32_t i = 0; i < lab.xsk_cnt; i++)
		xmb_xsk_ledger(lab.xsks[i], &ledger);
	cr_expect(xmb_ledger_check(&ledger, lab.umem), "%s",
		  said(XMB_LOG_ERROR, "ledger"));
	cr_expect(eq(i64, ledger.missing, 0));
	return ledger;
}

uint32_t lab_free_cnt(void)
{
	return xmb_pool_free_cnt(&lab.umem->pool) + lab.cache.cnt;
}

static void settle(struct xmb_xsk *xsk)
{
	uint64_t end_ns = xmb_clock_ns() + WAIT_MS * XMB_NS_PER_MS;
	int err;

	while ((err = xmb_xsk_settle(xsk, &lab.cache)) == -EAGAIN &&
	       xmb_clock_ns() < end_ns)
		usleep(1000);
	cr_expect(eq(int, err, 0));
}

void lab_close(struct xmb_xsk *xsk)
{
	xmb_xsk_close(xsk, &lab.cache);
	settle(xsk);
}

void lab_finish(void)
{
	struct xmb_cache *caches[] = { &lab.cache };

	for (uint32_t i = 0; i < lab.prog_cnt; i++)
		xmb_prog_destroy(lab.progs[i]);
	for (uint32_t i = 0; i < lab.xsk_cnt; i++)
		lab_close(lab.xsks[i]);
	cr_expect(eq(i64, lab_ledger().free, lab_ledger().frames));
	for (uint32_t i = 0; i < lab.xsk_cnt; i++)
		xmb_xsk_destroy(lab.xsks[i]);
	cr_expect(eq(int, next_id(), 1));
	cr_expect(xmb_pool_check(&lab.umem->pool, caches, 1));
	xmb_cache_fini(&lab.cache);
	xmb_umem_destroy(lab.umem);
	lab = (struct xsk_lab){ 0 };
}

uint64_t lab_counter(const struct xmb_xsk *xsk, enum xmb_xsk_counter which)
{
	uint64_t values[XMB_XSK_COUNTER_CNT];

	xmb_xsk_stats(xsk, values);
	return values[which];
}

int tap_open(const char *dev)
{
	struct sockaddr_ll addr = {
		.sll_family = AF_PACKET,
		.sll_protocol = htons(ETH_P_ALL),
		.sll_ifindex = (int)if_nametoindex(dev),
	};
	int fd = socket(AF_PACKET, SOCK_RAW | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	int one = 1, room = 64 << 20;

	cr_assert(ge(int, fd, 0));
	cr_assert(eq(int, setsockopt(fd, SOL_PACKET, PACKET_IGNORE_OUTGOING,
				     &one, sizeof(one)), 0));
	cr_assert(eq(int, setsockopt(fd, SOL_SOCKET, SO_RCVBUFFORCE, &room,
				     sizeof(room)), 0));
	cr_assert(eq(int, bind(fd, (struct sockaddr *)&addr, sizeof(addr)), 0));
	return fd;
}

void tap_send(int fd, const void *packet, size_t len)
{
	uint64_t end_ns = xmb_clock_ns() + WAIT_MS * XMB_NS_PER_MS;

	while (send(fd, packet, len, 0) < 0) {
		if (errno != ENOBUFS && errno != EAGAIN)
			cr_fatal("%zu bytes: %s", len, strerror(errno));
		cr_assert(lt(u64, xmb_clock_ns(), end_ns));
		usleep(100);
	}
}

size_t tap_recv(int fd, void *packet, size_t max, int wait_ms)
{
	struct pollfd pfd = { .fd = fd, .events = POLLIN };
	ssize_t len;

	if (poll(&pfd, 1, wait_ms) <= 0)
		return 0;
	len = recv(fd, packet, max, MSG_TRUNC);
	return len < 0 ? 0 : (size_t)len;
}

void packet_make(uint8_t *packet, size_t len, uint32_t tag)
{
	static const uint8_t header[TAG_OFF] = { 2, 0, 0, 0, 0, 2, 2, 0,
						 0, 0, 0, 1, 0x88, 0xb5 };

	for (size_t i = 0; i < len; i++)
		packet[i] = i < TAG_OFF ? header[i] :
					  (uint8_t)(i * 7 + i / 251 + tag);
	if (len >= TAG_OFF + sizeof(tag))
		memcpy(packet + TAG_OFF, &tag, sizeof(tag));
}

void tap_send_made(int fd, size_t len, uint32_t tag)
{
	uint8_t packet[PACKET_MAX];

	packet_make(packet, len, tag);
	tap_send(fd, packet, len);
}

bool tap_recv_made(int fd, size_t len, uint32_t tag)
{
	uint8_t got[PACKET_MAX], want[PACKET_MAX];

	packet_make(want, len, tag);
	return tap_recv(fd, got, sizeof(got), WAIT_MS) == len &&
	       !memcmp(got, want, len);
}

uint32_t lab_recv(struct xmb_xsk *xsk, struct xmb_multibuf *mbs, uint32_t cnt)
{
	uint64_t end_ns = xmb_clock_ns() + WAIT_MS * XMB_NS_PER_MS;
	uint32_t got = 0;

	while (got < cnt && xmb_clock_ns() < end_ns) {
		xmb_xsk_refill(xsk, &lab.cache, xmb_clock_ns());
		got += xmb_xsk_recv(xsk, &lab.cache, mbs + got, cnt - got);
	}
	return got;
}

void lab_send(struct xmb_xsk *xsk, struct xmb_multibuf *mbs, uint32_t cnt)
{
	uint64_t end_ns = xmb_clock_ns() + WAIT_MS * XMB_NS_PER_MS;
	uint32_t done = 0;

	while ((done < cnt || xmb_xsk_tx_inflight(xsk)) &&
	       xmb_clock_ns() < end_ns) {
		done += xmb_xsk_send(xsk, &lab.cache, mbs + done, cnt - done);
		xmb_xsk_kick(xsk);
		xmb_xsk_reap(xsk, &lab.cache);
	}
	cr_assert(eq(u32, done, cnt));
	cr_assert(eq(u32, xmb_xsk_tx_inflight(xsk), 0));
}

struct xmb_multibuf lab_packet(size_t len, uint32_t tag)
{
	uint8_t packet[PACKET_MAX];
	struct xmb_multibuf mb = { 0 };

	packet_make(packet, len, tag);
	cr_assert(eq(int, xmb_multibuf_alloc(&lab.cache, len, 64, &mb), 0));
	cr_assert(eq(sz, xmb_multibuf_copy_from(&mb, 0, packet, len), len));
	return mb;
}

bool lab_is_made(const struct xmb_multibuf *mb, size_t len, uint32_t tag)
{
	uint8_t got[PACKET_MAX], want[PACKET_MAX];

	packet_make(want, len, tag);
	return xmb_multibuf_len(mb) == len &&
	       xmb_multibuf_copy_to(mb, 0, got, len) == len &&
	       !memcmp(got, want, len);
}
