/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * lib/xsk/xsksock: an AF_XDP socket behind the interface that every socket has.
 */
#include "xsk_lab.h"

#include "base/clock.h"
#include "xsk/xsksock.h"

#include <stdlib.h>
#include <unistd.h>

enum { ROUNDS = 400, BATCH = 16, LEN = 200, LOOP_FRAMES = 48, BOX_CNT = 64 };

TestSuite(xsksock, .init = xsk_lab_setup, .timeout = 300);

static struct xmb_xsk_socket xs;
static struct xmb_socket *sock;
static struct xmb_cookie_box box;
static int tap;

static void make(const struct xmb_xsk_opts *opts)
{
	struct xmb_xsk *xsk = lab_open(opts);

	lab_steer(xsk);
	cr_assert(eq(int, xmb_cookie_box_init(&box, BOX_CNT), 0));
	xmb_xsk_socket_init(&xs, xsk, &lab.cache, &box);
	sock = &xs.sock;
	tap = tap_open("ltap");
}

static void finish(void)
{
	close(tap);
	cr_expect(eq(int, xmb_cookie_box_fini(&box), 0));
	lab_finish();
}

/* Receive cnt, handing in the used ones; what is there then. */
static uint32_t get(struct xmb_multibuf *used, uint32_t used_cnt,
		    struct xmb_multibuf *mbs, uint32_t cnt)
{
	uint64_t end_ns = xmb_clock_ns() + WAIT_MS * XMB_NS_PER_MS;
	uint32_t got = xmb_socket_exchange(sock, used, used_cnt, mbs, cnt);

	while (got < cnt && xmb_clock_ns() < end_ns)
		got += xmb_socket_recv(sock, mbs + got, cnt - got);
	return got;
}

/* Flush until that many cookies are back. */
static uint32_t get_cookies(struct xmb_completion *done, uint32_t cnt)
{
	uint64_t end_ns = xmb_clock_ns() + WAIT_MS * XMB_NS_PER_MS;
	uint32_t got = 0;

	while (got < cnt && xmb_clock_ns() < end_ns) {
		int err = xmb_socket_flush(sock);

		cr_assert(err == 0 || err == -EAGAIN);
		got += xmb_socket_reap(sock, done + got, cnt - got);
	}
	return got;
}

Test(xsksock, what_is_received_is_sent_back_and_its_cookie_returned)
{
	struct xmb_xsk_opts opts;
	struct xmb_completion done[BATCH + 1];
	struct xmb_multibuf mbs[BATCH] = { 0 };
	uint64_t sum = 0;

	lab_plain();
	opts = lab_opts("left");
	make(&opts);
	for (uint32_t i = 0; i < BATCH; i++)
		tap_send_made(tap, LEN, i);
	cr_assert(eq(u32, get(NULL, 0, mbs, BATCH), BATCH));
	for (uint32_t i = 0; i < BATCH; i++) {
		cr_expect(lab_is_made(&mbs[i], LEN, i));
		cr_assert(eq(int, xmb_cookie_attach(&box, &mbs[i], 100 + i),
			     0));
	}
	cr_expect(eq(u32, xmb_socket_send(sock, mbs, BATCH), BATCH));
	for (uint32_t i = 0; i < BATCH; i++)
		cr_expect(xmb_multibuf_is_empty(&mbs[i]));
	/* Nothing was sent yet: the kernel was not asked. */
	cr_expect(eq(u32, xmb_socket_reap(sock, done, BATCH), 0));
	cr_assert(eq(u32, get_cookies(done, BATCH), BATCH));
	for (uint32_t i = 0; i < BATCH; i++) {
		cr_expect(eq(u32, done[i].sent_cnt, 1));
		cr_expect(eq(u32, done[i].released_cnt, 0));
		sum += done[i].cookie;
	}
	cr_expect(eq(u64, sum, 100 * BATCH + BATCH * (BATCH - 1) / 2));
	for (uint32_t i = 0; i < BATCH; i++)
		cr_expect(tap_recv_made(tap, LEN, i));
	finish();
}

Test(xsksock, a_cookie_says_which_frames_were_sent_released_and_dropped)
{
	struct xmb_xsk_opts opts;
	struct xmb_completion done;
	struct xmb_multibuf mb, more, tail = { 0 };

	lab_plain();
	opts = lab_opts("left");
	make(&opts);
	mb = lab_packet(LEN, 1);
	more = lab_packet(LEN, 2);
	cr_assert(eq(int, xmb_multibuf_append(&mb, &more, &lab.cache), 0));
	cr_assert(eq(int, xmb_cookie_attach(&box, &mb, 77), 0));
	cr_assert(eq(int, xmb_multibuf_split(&mb, LEN, &tail, &lab.cache), 0));
	xmb_multibuf_release(&tail, &lab.cache);
	cr_expect(eq(u32, xmb_socket_send(sock, &mb, 1), 1));
	cr_assert(eq(u32, get_cookies(&done, 1), 1));
	cr_expect(eq(u64, done.cookie, 77));
	cr_expect(eq(u32, done.sent_cnt, 1));
	cr_expect(eq(u32, done.released_cnt, 1));
	cr_expect(tap_recv_made(tap, LEN, 1));
	/* A packet that cannot be sent is dropped, and its cookie says so. */
	mb = lab_packet(1600, 3);
	cr_assert(eq(int, xmb_cookie_attach(&box, &mb, 78), 0));
	cr_expect(eq(u32, xmb_socket_send(sock, &mb, 1), 1));
	cr_expect(eq(u32, xmb_socket_reap(sock, &done, 1), 1));
	cr_expect(eq(u64, done.cookie, 78));
	cr_expect(eq(u32, done.sent_cnt, 0));
	cr_expect(eq(u32, done.released_cnt, 0));
	cr_expect(eq(u32, done.dropped_cnt, 1));
	expect_counter(xs.xsk, XMB_XSK_TX_TOO_LONG, 1);
	/* So does that of one which was left when nobody waited any more. */
	mb = lab_packet(LEN, 4);
	cr_assert(eq(int, xmb_cookie_attach(&box, &mb, 79), 0));
	xmb_xsk_drop_full(xs.xsk, &lab.cache, &mb, 1);
	cr_expect(eq(u32, xmb_socket_reap(sock, &done, 1), 1));
	cr_expect(eq(u64, done.cookie, 79));
	cr_expect(eq(u32, done.dropped_cnt, 1));
	finish();
}

Test(xsksock, a_chain_of_more_buffers_than_asked_for_is_received)
{
	struct xmb_multibuf mb = { 0 };
	struct xmb_xsk_opts opts;

	lab_wire(1, 9000);
	lab_frames(2048, 2048);
	opts = lab_opts("left");
	make(&opts);
	tap_send_made(tap, 9014, 3); /* six buffers */
	tap_send_made(tap, 60, 4);
	for (int i = 0; i < WAIT_MS && *xs.xsk->rx.producer < 7; i++)
		usleep(1000);
	cr_expect(eq(u32, xmb_socket_recv(sock, &mb, 0), 0));
	cr_assert(eq(u32, xmb_socket_recv(sock, &mb, 1), 1));
	cr_expect(lab_is_made(&mb, 9014, 3));
	xmb_multibuf_release(&mb, &lab.cache);
	cr_assert(eq(u32, xmb_socket_recv(sock, &mb, 1), 1));
	cr_expect(lab_is_made(&mb, 60, 4));
	xmb_multibuf_release(&mb, &lab.cache);
	cr_expect(eq(u32, xmb_socket_recv(sock, &mb, 1), 0));
	finish();
}

Test(xsksock, a_full_ring_takes_the_rest_after_a_flush)
{
	struct xmb_xsk_opts opts;
	struct xmb_multibuf mbs[64];
	uint32_t done;

	lab_plain();
	opts = lab_opts("left");
	opts.tx_cap = 32;
	make(&opts);
	for (uint32_t i = 0; i < 64; i++)
		mbs[i] = lab_packet(LEN, i);
	cr_expect(eq(u32, xmb_socket_send(sock, mbs, 64), 32));
	for (uint32_t i = 32; i < 64; i++)
		cr_expect(lab_is_made(&mbs[i], LEN, i));
	cr_expect(eq(int, xmb_socket_flush(sock), 0));
	for (done = 0; done < 32; xmb_socket_flush(sock))
		done += xmb_socket_send(sock, mbs + 32 + done, 32 - done);
	for (uint32_t i = 0; i < 64; i++)
		cr_expect(tap_recv_made(tap, LEN, i));
	for (int i = 0; i < WAIT_MS && xmb_xsk_tx_inflight(xs.xsk); i++) {
		xmb_socket_flush(sock);
		usleep(1000);
	}
	cr_expect(eq(u32, xmb_xsk_tx_inflight(xs.xsk), 0));
	finish();
}

Test(xsksock, flush_says_that_the_link_is_down)
{
	struct xmb_xsk_opts opts;
	struct xmb_multibuf mb;

	lab_plain();
	opts = lab_opts("left");
	make(&opts);
	must("ip link set left down");
	mb = lab_packet(LEN, 1);
	cr_expect(eq(u32, xmb_socket_send(sock, &mb, 1), 1));
	cr_expect(eq(int, xmb_socket_flush(sock), -ENETDOWN));
	must("ip link set left up");
	cr_expect(eq(int, xmb_socket_flush(sock), 0));
	cr_expect(tap_recv_made(tap, LEN, 1));
	for (int i = 0; i < WAIT_MS && xmb_xsk_tx_inflight(xs.xsk); i++) {
		xmb_socket_flush(sock);
		usleep(1000);
	}
	finish();
}

/* All free frames, so that the pool and the cache have none. */
static struct xmb_chunk *hoard_all(uint32_t *cnt)
{
	uint32_t max = lab.umem->pool.domain.region_cnt;
	struct xmb_chunk *hoard = calloc(max, sizeof(*hoard));

	xmb_pool_set_reserve(&lab.umem->pool, 0);
	for (*cnt = 0; xmb_chunk_alloc(&lab.cache, &hoard[*cnt]) == 0;)
		++*cnt;
	cr_assert(eq(u32, lab_free_cnt(), 0));
	return hoard;
}

Test(xsksock, a_closed_loop_of_echoes_runs_on_an_empty_pool)
{
	struct xmb_xsk_opts opts;
	struct xmb_chunk *hoard;
	struct xmb_completion done[BATCH];
	uint32_t hoard_cnt;

	lab_plain();
	opts = lab_opts("left");
	opts.fill_base = opts.fill_max = LOOP_FRAMES;
	make(&opts);
	hoard = hoard_all(&hoard_cnt);
	for (uint32_t r = 0; r < ROUNDS; r++) {
		struct xmb_multibuf mbs[BATCH] = { 0 };

		for (uint32_t i = 0; i < BATCH; i++)
			tap_send_made(tap, LEN, r * BATCH + i);
		cr_assert(eq(u32, get(NULL, 0, mbs, BATCH), BATCH),
			  "round %u", r);
		for (uint32_t i = 0; i < BATCH; i++)
			cr_assert(eq(int, xmb_cookie_attach(&box, &mbs[i], i),
				     0));
		cr_assert(eq(u32, xmb_socket_send(sock, mbs, BATCH), BATCH));
		cr_assert(eq(u32, get_cookies(done, BATCH), BATCH));
		for (uint32_t i = 0; i < BATCH; i++)
			cr_assert(tap_recv_made(tap, LEN, r * BATCH + i));
		cr_assert(eq(u32, xmb_pool_free_cnt(&lab.umem->pool), 0));
	}
	expect_counter(xs.xsk, XMB_XSK_RX_PACKETS, ROUNDS * BATCH);
	expect_counter(xs.xsk, XMB_XSK_RX_DROPPED, 0);
	xmb_chunk_release_bulk(hoard, hoard_cnt, &lab.cache);
	free(hoard);
	finish();
}

Test(xsksock, a_closed_loop_of_exchanges_runs_on_an_empty_pool)
{
	struct xmb_multibuf used[BATCH] = { 0 }, mbs[BATCH] = { 0 };
	struct xmb_xsk_opts opts;
	struct xmb_chunk *hoard;
	uint32_t hoard_cnt, used_cnt = 0;

	lab_plain();
	opts = lab_opts("left");
	opts.fill_base = opts.fill_max = LOOP_FRAMES;
	make(&opts);
	hoard = hoard_all(&hoard_cnt);
	/* Many times as many packets as there are frames. */
	for (uint32_t r = 0; r < ROUNDS; r++) {
		for (uint32_t i = 0; i < BATCH; i++)
			tap_send_made(tap, LEN, r * BATCH + i);
		cr_assert(eq(u32, get(used, used_cnt, mbs, BATCH), BATCH),
			  "round %u", r);
		for (uint32_t i = 0; i < used_cnt; i++)
			cr_assert(xmb_multibuf_is_empty(&used[i]));
		for (uint32_t i = 0; i < BATCH; i++) {
			cr_assert(lab_is_made(&mbs[i], LEN, r * BATCH + i));
			used[i] = mbs[i];
			mbs[i] = (struct xmb_multibuf){ 0 };
		}
		used_cnt = BATCH;
		cr_assert(eq(u32, xmb_pool_free_cnt(&lab.umem->pool), 0));
	}
	expect_counter(xs.xsk, XMB_XSK_RX_DROPPED, 0);
	xmb_multibuf_release_bulk(used, used_cnt, &lab.cache);
	xmb_chunk_release_bulk(hoard, hoard_cnt, &lab.cache);
	free(hoard);
	finish();
}
