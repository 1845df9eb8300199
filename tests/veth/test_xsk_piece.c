/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * lib/xsk over the application's own memory, and over several umems.
 */
#include "xsk_lab.h"

#include <fcntl.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

enum { PIECE_LEN = 1024 * 4096 };

TestSuite(xsk_piece, .init = xsk_lab_setup, .timeout = 300);

static struct xmb_xsk *left, *right;
static int ltap, rtap;

static void open_both(void)
{
	ltap = tap_open("ltap");
	rtap = tap_open("rtap");
	left = lab_open_dev("left");
	right = lab_open_dev("right");
	lab_steer(left);
}

static void set_up(uint32_t mtu, uint32_t frame_len)
{
	lab_wire(1, mtu);
	lab_frames(frame_len, 2048);
	open_both();
}

/* A umem with a piece of the application's behind its frames. */
static void set_up_piece(uint32_t mtu, uint32_t frame_len, bool is_pool)
{
	struct xmb_umem_piece_opts piece = lab_app_piece(PIECE_LEN, is_pool, 0);
	struct xmb_umem_opts opts = { .frame_len = frame_len,
				      .frame_cnt = is_pool ? 0 : 2048,
				      .pieces = &piece,
				      .piece_cnt = 1 };

	lab_wire(1, mtu);
	lab_frames_of(&opts);
	open_both();
}

static void send_from_piece(uint32_t frame_len)
{
	set_up_piece(1500, frame_len, false);
	for (uint32_t i = 0; i < 2000; i++) {
		size_t off = (size_t)i * 509 % (PIECE_LEN - 3 * frame_len);
		size_t len = 14 + i % 1500;
		uint32_t frames = (uint32_t)((off + len - 1) / frame_len -
					     off / frame_len + 1);
		struct xmb_multibuf mb;

		packet_make(app.mem + off, len, i);
		mb = lab_take(off, len);
		app.home_cnt = 0;
		cr_assert(eq(int, xmb_xsk_check(right, &mb), 0));
		lab_send(right, &mb, 1);
		cr_assert(tap_recv_made(rtap, len, i), "%u", i);
		cr_assert(eq(u32, app.home_cnt, frames));
	}
	cr_expect(eq(u64, lab_ledger().copies, 0));
	expect_counter(right, XMB_XSK_COMP_UNKNOWN, 0);
	expect_counter(right, XMB_XSK_TX_INVALID, 0);
	lab_finish();
}

Test(xsk_piece, the_applications_own_memory_goes_out_without_a_copy)
{
	send_from_piece(2048);
}

Test(xsk_piece, so_it_does_in_frames_of_any_size)
{
	send_from_piece(4001);
}

Test(xsk_piece, a_file_goes_out_behind_a_header_of_ours_without_a_copy)
{
	char path[] = "/tmp/xmbuf-umem-XXXXXX";
	uint8_t packet[1400];
	int file = mkstemp(path);

	unlink(path);
	packet_make(packet, sizeof(packet), 5);
	cr_assert(eq(i64, pwrite(file, packet + 40, 1360, 0), 1360));
	set_up_piece(1500, 2048, false);
	for (uint32_t i = 0; i < 100; i++) {
		struct xmb_multibuf mb = lab_packet(40, 5), body = { 0 };

		cr_assert(eq(int,
			     xmb_umem_piece_alloc(lab.umem, 0, &lab.cache, 1360,
						  &body),
			     0));
		cr_assert(eq(i64,
			     pread(file, xmb_chunk_data(&body.c[0]), 1360, 0),
			     1360));
		cr_assert(eq(int, xmb_multibuf_append(&mb, &body, &lab.cache),
			     0));
		lab_send(right, &mb, 1);
		cr_assert(tap_recv_made(rtap, sizeof(packet), 5));
	}
	cr_expect(eq(u64, lab_ledger().copies, 0));
	cr_expect(eq(u32, app.home_cnt, 100));
	close(file);
	lab_finish();
}

static struct xmb_xsk *sib; /* shares the queue of right */

/* Leave no kick to the kernel: the test plays it. */
static int no_kick(void *arg, int fd, bool is_tx)
{
	(void)arg;
	(void)fd;
	(void)is_tx;
	return 0;
}

static void set_up_shared(bool is_faked)
{
	struct xmb_xsk_opts opts;

	set_up_piece(1500, 2048, false);
	lab_close(right);
	opts = lab_opts("right");
	opts.share_cnt = 1;
	opts.kick = is_faked ? no_kick : NULL;
	right = lab_open(&opts);
	opts.share = right;
	sib = lab_open(&opts);
}

static void finish_shared(void)
{
	cr_expect(eq(int, xmb_xsk_close(sib, &lab.cache), 0));
	lab_finish();
}

static void send_shared(struct xmb_xsk *xsk, struct xmb_multibuf *mb)
{
	cr_assert(eq(u32, xmb_xsk_send(xsk, &lab.cache, mb, 1), 1));
	cr_assert(eq(int, xmb_xsk_kick(xsk), 0));
	for (int i = 0; i < WAIT_MS && xmb_xsk_tx_inflight(xsk); i++)
		if (xmb_xsk_reap(right, &lab.cache) == 0)
			usleep(1000);
	cr_assert(eq(u32, xmb_xsk_tx_inflight(xsk), 0));
}

/* From anywhere in the piece, every third behind a header of the pool's. */
Test(xsk_piece, sockets_that_share_a_queue_send_the_applications_memory)
{
	set_up_shared(false);
	for (uint32_t i = 0; i < 600; i++) {
		size_t off = (size_t)i * 1021 % (PIECE_LEN - 2 * 2048);
		size_t len = 100 + i, header_len = i % 3 == 0 ? 40 : 0;
		struct xmb_multibuf mb = { 0 }, body;

		packet_make(app.mem + off, len, i);
		body = lab_take(off + header_len, len - header_len);
		if (header_len)
			mb = lab_packet(header_len, i);
		cr_assert(eq(int, xmb_multibuf_append(&mb, &body, &lab.cache),
			     0));
		send_shared(i % 2 ? sib : right, &mb);
		cr_assert(tap_recv_made(rtap, len, i), "%u", i);
		cr_assert(eq(u32, xmb_umem_piece_free_cnt(lab.umem, 0),
			     PIECE_LEN / 2048));
	}
	expect_counter(right, XMB_XSK_TX_PACKETS, 300);
	expect_counter(sib, XMB_XSK_TX_PACKETS, 300);
	expect_counter(right, XMB_XSK_COMP_UNKNOWN, 0);
	cr_expect(eq(u64, lab_ledger().copies, 0));
	finish_shared();
}

static uint64_t posted(const struct xmb_xsk *xsk, uint32_t i)
{
	return ((const struct xdp_desc *)xsk->tx.ring)[i & xsk->tx.mask].addr;
}

/* As a kernel that has sent what is there. */
static void complete(uint64_t addr)
{
	uint64_t *ring = right->comp.ring;
	uint32_t at = *right->comp.producer;

	ring[at & right->comp.mask] = addr;
	__atomic_store_n(right->comp.producer, at + 1, __ATOMIC_RELEASE);
}

Test(xsk_piece, a_closed_siblings_pieces_come_home_by_the_first)
{
	struct xmb_multibuf mbs[3], rest = { 0 };
	uint64_t addrs[3];

	set_up_shared(true);
	for (uint32_t i = 0; i < 3; i++)
		mbs[i] = lab_take(2048 * i, 200);
	cr_assert(eq(int, xmb_multibuf_split(&mbs[2], 100, &rest, &lab.cache),
		     0));
	cr_assert(eq(u32, xmb_xsk_send(sib, &lab.cache, mbs, 3), 3));
	for (uint32_t i = 0; i < 3; i++)
		addrs[i] = posted(sib, i);
	__atomic_store_n(sib->tx.consumer, *sib->tx.producer, __ATOMIC_RELEASE);
	complete(addrs[1]);
	cr_expect(eq(u32, xmb_xsk_reap(right, &lab.cache), 1));
	cr_expect(eq(u32, app.home_cnt, 1));
	cr_expect(eq(int, xmb_xsk_close(sib, &lab.cache), 0));
	cr_expect(eq(i64, lab_ledger().held, 1));
	cr_expect(eq(i64, lab_ledger().tx_slots, 1));
	cr_expect(eq(int, xmb_xsk_settle(sib, &lab.cache), -EAGAIN));
	for (uint32_t i = 0; i < 3; i++)
		complete(addrs[i]); /* the second of them once more */
	cr_expect(eq(u32, xmb_xsk_reap(right, &lab.cache), 3));
	expect_counter(right, XMB_XSK_COMP_UNKNOWN, 1);
	expect_counter(sib, XMB_XSK_TX_COMPLETED, 3);
	cr_expect(eq(u32, app.home_cnt, 2));
	cr_expect(eq(i64, lab_ledger().held, 0));
	cr_expect(eq(i64, lab_ledger().tx_slots, 0));
	cr_expect(eq(int, xmb_xsk_settle(sib, &lab.cache), 0));
	xmb_multibuf_release(&rest, &lab.cache);
	cr_expect(eq(u32, app.home_cnt, 3));
	finish_shared();
}

Test(xsk_piece, parts_of_one_frame_of_a_piece_come_home_one_by_one)
{
	struct xmb_multibuf mbs[3] = { { 0 } };

	set_up_piece(1500, 2048, false);
	for (uint32_t k = 0; k < 3; k++)
		packet_make(app.mem + 2048 + 101 * k, 101, k);
	mbs[0] = lab_take(2048, 303);
	cr_assert(eq(int, xmb_multibuf_split(&mbs[0], 101, &mbs[1], &lab.cache),
		     0));
	cr_assert(eq(int, xmb_multibuf_split(&mbs[1], 101, &mbs[2], &lab.cache),
		     0));
	lab_send(right, &mbs[1], 1);
	cr_expect(tap_recv_made(rtap, 101, 1));
	cr_expect(eq(u32, app.home_cnt, 0));
	lab_ledger();
	cr_assert(eq(u32, xmb_xsk_send(right, &lab.cache, &mbs[0], 1), 1));
	cr_expect(eq(i64, lab_ledger().tx_slots, 1));
	lab_send(right, NULL, 0);
	cr_expect(tap_recv_made(rtap, 101, 0));
	lab_send(right, &mbs[2], 1);
	cr_expect(tap_recv_made(rtap, 101, 2));
	cr_expect(eq(u32, app.home_cnt, 1));
	expect_counter(right, XMB_XSK_COMP_UNKNOWN, 0);
	lab_finish();
}

Test(xsk_piece, what_a_closing_socket_had_of_a_piece_is_held_until_it_settles)
{
	struct xmb_multibuf mb[3], rest = { 0 };
	struct xmb_ledger ledger;

	set_up_piece(1500, 2048, false);
	for (uint32_t i = 0; i < 3; i++) {
		packet_make(app.mem + 2048 * i, 200, i);
		mb[i] = lab_take(2048 * i, 200);
	}
	cr_assert(
		eq(int, xmb_multibuf_split(&mb[2], 100, &rest, &lab.cache), 0));
	cr_assert(eq(u32, xmb_xsk_send(right, &lab.cache, mb, 3), 3));
	ledger = lab_ledger();
	cr_expect(eq(i64, ledger.tx, 2 + 1));
	xmb_xsk_close(right, &lab.cache);
	ledger = lab_ledger();
	cr_expect(ge(i64, ledger.held, 2));
	cr_expect(eq(u32, app.home_cnt, 0));
	cr_expect(eq(u32, xmb_umem_piece_free_cnt(lab.umem, 0),
		     PIECE_LEN / 2048 - 3));
	xmb_multibuf_release(&rest, &lab.cache);
	lab_close(right);
	cr_expect(eq(u32, app.home_cnt, 3));
	expect_counter(right, XMB_XSK_TX_UNSENT, 3);
	lab_finish();
}

Test(xsk_piece, packets_are_received_into_the_applications_memory)
{
	set_up_piece(1500, 4032, true);
	cr_assert(eq(u32, lab.umem->pool.domain.region_cnt, PIECE_LEN / 4032));
	/* Fewer frames than two fill rings and a cache of the defaults. */
	for (uint32_t i = 0; i < 300; i++) {
		struct xmb_multibuf mb = { 0 };
		uint8_t want[300];

		tap_send_made(ltap, 300, i);
		cr_assert(eq(u32, lab_recv(left, &mb, 1), 1));
		packet_make(want, 300, i);
		cr_assert(eq(int,
			     memcmp(app.mem + (size_t)mb.c[0].region * 4032 +
					    mb.c[0].off,
				    want, 300),
			     0));
		lab_send(right, &mb, 1);
		cr_assert(tap_recv_made(rtap, 300, i));
	}
	cr_expect(eq(u64, lab_ledger().copies, 0));
	lab_finish();
}

Test(xsk_piece, a_piece_whose_file_was_shortened_is_refused_with_words)
{
	struct xmb_umem_piece_opts piece = { .len = PIECE_LEN,
					     .is_unsealed = true };
	struct xmb_umem_opts opts = { .frame_cnt = 1024,
				      .pieces = &piece,
				      .piece_cnt = 1 };
	struct xmb_xsk_opts xsk;

	piece.fd = memfd_create("app", MFD_CLOEXEC);
	cr_assert(eq(int, ftruncate(piece.fd, PIECE_LEN), 0));
	lab_wire(1, 1500);
	lab_frames_of(&opts);
	cr_assert(eq(int, ftruncate(piece.fd, 4096), 0));
	xsk = lab_opts("left");
	lab_expect_refused(&xsk, -ENOMEM, "was a piece's file shortened?");
	close(piece.fd);
	lab_finish();
}

/* A packet in a umem of its own, which no socket of the lab knows. */
static struct xmb_umem *other;
static struct xmb_cache other_cache;

static struct xmb_multibuf other_packet(size_t len, uint32_t tag)
{
	struct xmb_multibuf mb = { 0 };
	uint8_t packet[PACKET_MAX];

	packet_make(packet, len, tag);
	cr_assert(eq(int, xmb_multibuf_alloc(&other_cache, len, 0, &mb), 0));
	xmb_multibuf_copy_from(&mb, 0, packet, len);
	return mb;
}

static void set_up_other(uint32_t frame_len)
{
	struct xmb_umem_opts opts = { .frame_len = frame_len,
				      .frame_cnt = 256 };

	cr_assert(eq(int, xmb_umem_create(&other, &opts), 0));
	xmb_cache_init(&other_cache, &other->pool, 1);
}

static void expect_other_whole(void)
{
	struct xmb_ledger ledger;

	xmb_ledger_init(&ledger, other);
	xmb_ledger_add_cache(&ledger, &other_cache);
	cr_expect(xmb_ledger_check(&ledger, other));
	cr_expect(eq(i64, ledger.free, 256));
	xmb_cache_fini(&other_cache);
	xmb_umem_destroy(other);
}

Test(xsk_piece, a_packet_of_another_umem_is_copied_and_counted)
{
	struct xmb_multibuf mb;

	set_up(1500, 2048);
	set_up_other(4001);
	for (uint32_t i = 0; i < 100; i++) {
		mb = other_packet(1000, i);
		cr_expect(eq(int, xmb_xsk_check(right, &mb), 1));
		lab_send(right, &mb, 1);
		cr_assert(tap_recv_made(rtap, 1000, i));
	}
	cr_expect(eq(u64, lab_ledger().copies, 100));
	cr_expect(eq(u64, lab_ledger().copied_bytes, 100 * 1000));
	lab_finish();
	expect_other_whole();
}

Test(xsk_piece, a_foreign_packet_without_room_waits_and_is_not_copied)
{
	struct xmb_xsk_opts opts;
	struct xmb_multibuf mb;

	lab_wire(1, 1500);
	lab_frames(2048, 2048);
	set_up_other(2048);
	rtap = tap_open("rtap");
	opts = lab_opts("right");
	opts.tx_cap = 1;
	right = lab_open(&opts);
	mb = lab_packet(500, 1);
	cr_expect(eq(u32, xmb_xsk_send(right, &lab.cache, &mb, 1), 1));
	mb = other_packet(600, 2);
	cr_expect(eq(u32, xmb_xsk_send(right, &lab.cache, &mb, 1), 0));
	cr_expect(eq(int, xmb_xsk_check(right, &mb), 1));
	cr_expect(eq(u64, lab_ledger().copies, 0));
	xmb_xsk_kick(right);
	cr_expect(tap_recv_made(rtap, 500, 1));
	lab_send(right, &mb, 1);
	cr_expect(tap_recv_made(rtap, 600, 2));
	cr_expect(eq(u64, lab_ledger().copies, 1));
	lab_finish();
	expect_other_whole();
}

Test(xsk_piece, a_socket_that_forbids_copies_drops_foreign_packets_by_name)
{
	struct xmb_xsk_opts opts;
	struct xmb_multibuf mb, head;

	lab_wire(1, 1500);
	lab_frames(2048, 2048);
	set_up_other(2048);
	rtap = tap_open("rtap");
	opts = lab_opts("right");
	opts.forbid_copy = true;
	right = lab_open(&opts);
	mb = other_packet(1000, 1);
	cr_expect(eq(int, xmb_xsk_check(right, &mb), -EXDEV));
	cr_expect(eq(u32, xmb_xsk_send(right, &lab.cache, &mb, 1), 1));
	cr_expect(xmb_multibuf_is_empty(&mb));
	expect_counter(right, XMB_XSK_TX_FOREIGN, 1);
	/* Behind a header of ours it is no less foreign. */
	head = lab_packet(40, 2);
	mb = other_packet(100, 2);
	cr_assert(eq(int, xmb_multibuf_append(&head, &mb, &lab.cache), 0));
	cr_expect(eq(int, xmb_xsk_check(right, &head), -EXDEV));
	cr_expect(eq(u32, xmb_xsk_send(right, &lab.cache, &head, 1), 1));
	expect_counter(right, XMB_XSK_TX_FOREIGN, 2);
	expect_counter(right, XMB_XSK_TX_PACKETS, 0);
	mb = lab_packet(500, 3);
	cr_expect(eq(int, xmb_xsk_check(right, &mb), 0));
	lab_send(right, &mb, 1);
	cr_expect(tap_recv_made(rtap, 500, 3));
	cr_expect(eq(u64, lab_ledger().copies, 0));
	lab_finish();
	expect_other_whole();
}

Test(xsk_piece, a_piece_of_another_umem_is_foreign_too)
{
	struct xmb_umem_piece_opts piece = { .len = PIECE_LEN,
					     .is_unsealed = true };
	struct xmb_umem_opts opts = { .frame_cnt = 256,
				      .pieces = &piece,
				      .piece_cnt = 1 };
	struct xmb_multibuf mb = { 0 };

	set_up(1500, 2048);
	piece.fd = memfd_create("app", MFD_CLOEXEC);
	cr_assert(eq(int, ftruncate(piece.fd, PIECE_LEN), 0));
	cr_assert(eq(int, xmb_umem_create(&other, &opts), 0));
	close(piece.fd);
	packet_make(xmb_umem_piece_data(other, 0) + 100, 500, 9);
	cr_assert(eq(int,
		     xmb_umem_piece_take(other, 0, &lab.cache, 100, 500, &mb),
		     0));
	cr_expect(eq(int, xmb_xsk_check(right, &mb), 1));
	lab_send(right, &mb, 1);
	cr_expect(tap_recv_made(rtap, 500, 9));
	cr_expect(eq(u64, lab_ledger().copies, 1));
	cr_expect(eq(u32, xmb_umem_piece_free_cnt(other, 0), PIECE_LEN / 2048));
	lab_finish();
	xmb_umem_destroy(other);
}

Test(xsk_piece, check_says_what_send_would_make_of_a_packet)
{
	struct xmb_multibuf mb = { 0 };

	set_up(1500, 2048);
	cr_expect(eq(int, xmb_xsk_check(right, &mb), -ENODATA));
	mb = lab_packet(1523, 1);
	cr_expect(eq(int, xmb_xsk_check(right, &mb), -EMSGSIZE));
	xmb_multibuf_release(&mb, &lab.cache);
	mb = lab_packet(40, 1);
	for (int i = 0; i < 17; i++) {
		struct xmb_multibuf more = lab_packet(40, 1);

		cr_expect(eq(int, xmb_xsk_check(right, &mb), 0));
		cr_assert(eq(int, xmb_multibuf_append(&mb, &more, &lab.cache),
			     0));
	}
	cr_expect(eq(int, xmb_xsk_check(right, &mb), -E2BIG));
	cr_expect(eq(u32, xmb_multibuf_len(&mb), 18 * 40));
	xmb_multibuf_release(&mb, &lab.cache);
	lab_finish();
}
