/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * lib/umem and lib/xsk in zero copy: frames of any size in unaligned mode, and
 * the application's own memory, both ways and from card to card.
 */
#include "vm_lab.h"

#include <sys/mman.h>
#include <unistd.h>

enum {
	MANY = 1024,
	HELD_MAX = 2048,
	HUGE_CNT = 16,
	HUGE_LEN = 2 << 20,
	FRAME_LEN = 4096,
	PAGE_LEN = 4096,
	FRAG_LEN = 64,
};

TestSuite(frames, .init = NULL, .timeout = 300);

static struct xmb_xsk *left, *right;
static int ltap, rtap;

static void open_both(void)
{
	left = vm_open("left", NULL);
	right = vm_open("right", NULL);
	ltap = tap_open("ltap");
	rtap = tap_open("rtap");
}

static void expect_clean(void)
{
	struct xmb_xsk *all[] = { left, right };

	for (int i = 0; i < 2; i++) {
		expect_counter(all[i], XMB_XSK_COMP_UNKNOWN, 0);
		expect_counter(all[i], XMB_XSK_TX_INVALID, 0);
		expect_counter(all[i], XMB_XSK_RX_INVALID, 0);
		expect_counter(all[i], XMB_XSK_RX_BAD_DESC, 0);
	}
	cr_expect(eq(u64, lab_ledger().copies, 0));
}

/* What the card wrote into the RX ring: a frame, and how far behind it. */
static void expect_split_addr(void)
{
	const uint32_t frame_len = lab.umem->pool.domain.region_len;
	uint64_t addr;

	tap_send_made(ltap, 100, 1);
	for (int i = 0; i < WAIT_MS && !xmb_xsk_has_rx(left); i++)
		usleep(1000);
	cr_assert(xmb_xsk_has_rx(left));
	addr = xsk_ring_cons__rx_desc(&left->rx, left->rx.cached_cons)->addr;
	cr_expect(eq(u64, addr >> 48, 256));
	cr_expect(eq(u64, (addr & ((1ull << 48) - 1)) % frame_len, 0));
	vm_expect_rx(left, 100, 1, 1);
}

/* In by left into half of all frames, kept, and out by right of each. */
static void pass_many_frames(size_t len)
{
	static struct xmb_multibuf mbs[HELD_MAX];

	for (uint32_t tag = 0; tag < HELD_MAX; tag += VM_BURST) {
		uint32_t got;

		for (uint32_t i = 0; i < VM_BURST; i++)
			tap_send_made(ltap, len, tag + i);
		got = lab_recv(left, mbs + tag, VM_BURST);
		cr_assert(eq(u32, got, VM_BURST));
	}
	for (uint32_t tag = 0; tag < HELD_MAX; tag++)
		cr_assert(lab_is_made(&mbs[tag], len, tag), "%u", tag);
	for (uint32_t tag = 0; tag < HELD_MAX; tag += VM_BURST) {
		lab_send(right, mbs + tag, VM_BURST);
		for (uint32_t i = 0; i < VM_BURST; i++)
			cr_assert(tap_recv_made(rtap, len, tag + i));
	}
}

static void pass_all_ways(const struct xmb_umem_opts *opts)
{
	vm_setup_of(opts, 1500);
	open_both();
	cr_assert(lab.umem->is_unaligned);
	cr_assert(xmb_xsk_mode(left).is_zc && xmb_xsk_mode(right).is_zc);
	vm_exchange(left, ltap, 60, MANY);
	vm_exchange(right, rtap, 1514, MANY);
	for (uint32_t tag = 0; tag < MANY; tag += VM_BURST)
		vm_expect_tx(left, ltap, 1514, tag, VM_BURST);
	vm_forward(left, ltap, right, rtap, 300, MANY);
	vm_forward(right, rtap, left, ltap, 1514, MANY);
	pass_many_frames(1514);
	expect_split_addr();
	expect_clean();
}

static void pass_in_hugepages(uint32_t frame_len)
{
	struct xmb_umem_opts opts = { .frame_len = frame_len,
				      .frame_cnt = VM_FRAMES };

	vm_hugepages(HUGE_CNT);
	pass_all_ways(&opts);
	cr_expect(lab.umem->is_huge);
	/* Those that two hugepages cut are nobody's, the ledger knows. */
	cr_expect(gt(u32, lab.umem->kept_cnt, 0));
	lab_finish();
	vm_hugepages(0);
}

Test(frames, of_4032_bytes_in_hugepages_go_where_they_lie)
{
	pass_in_hugepages(4032);
}

Test(frames, of_2501_bytes_in_hugepages_go_where_they_lie)
{
	pass_in_hugepages(2501);
}

Test(frames, that_do_not_cross_pages_need_no_hugepages)
{
	struct xmb_umem_opts opts = { .frame_len = FRAME_LEN,
				      .frame_cnt = VM_FRAMES,
				      .is_unaligned = true };

	vm_hugepages(0);
	pass_all_ways(&opts);
	cr_expect(not(lab.umem->is_huge));
	cr_expect(eq(u32, lab.umem->kept_cnt, 0));
	lab_finish();
}

Test(frames, across_pages_without_hugepages_take_copy_mode_and_say_so)
{
	struct xmb_xsk_opts opts;

	vm_hugepages(0);
	vm_setup_with(4032, 1500);
	left = vm_open("left", NULL);
	ltap = tap_open("ltap");
	cr_expect(not(xmb_xsk_mode(left).is_zc));
	cr_expect(vm_said("only in hugepages"));
	vm_exchange(left, ltap, 1514, MANY);
	for (uint32_t tag = 0; tag < MANY; tag += VM_BURST)
		vm_expect_tx(left, ltap, 1514, tag, VM_BURST);
	opts = vm_opts("right");
	opts.bind = XMB_XSK_ZC;
	vm_expect_refused(&opts, -EOPNOTSUPP, "vm.nr_hugepages");
	lab_finish();
}

/* Where in a frame a page ends, or 0: not in the midst of it. */
static uint32_t page_end(const struct xmb_chunk *chunk)
{
	const uint32_t frame_len = lab.umem->pool.domain.region_len;
	uint32_t at = PAGE_LEN - chunk->region * frame_len % PAGE_LEN;

	return at >= FRAG_LEN && at + FRAG_LEN <= frame_len ? at : 0;
}

/* packet_make(), in cnt buffers of which each lies across two pages. */
static struct xmb_multibuf chain_across_pages(uint32_t cnt, uint32_t tag)
{
	struct xmb_multibuf mb = { 0 }, rest = { 0 };
	uint8_t packet[FRAG_LEN * 32];

	packet_make(packet, cnt * FRAG_LEN, tag);
	for (uint32_t i = 0; i < cnt;) {
		struct xmb_chunk chunk = { 0 };
		uint32_t at;

		cr_assert(eq(int, xmb_chunk_alloc(&lab.cache, &chunk), 0));
		at = page_end(&chunk);
		if (at) {
			xmb_chunk_discard_prefix(&chunk, at - FRAG_LEN / 2);
			xmb_chunk_truncate(&chunk, FRAG_LEN);
			memcpy(xmb_chunk_data(&chunk), packet + i++ * FRAG_LEN,
			       FRAG_LEN);
		}
		cr_assert(eq(int,
			     xmb_multibuf_push_back(at ? &mb : &rest, &chunk,
						    &lab.cache),
			     0));
	}
	xmb_multibuf_release(&rest, &lab.cache);
	return mb;
}

/*
 * virtio_net gives the pages themselves to the card, 17 of them at most: eight
 * frames across two each, and a ninth is what nobody gets.  Others copy.
 */
Test(frames, across_pages_count_twice_in_a_chain_in_copy_mode)
{
	const struct xmb_xsk_opts copy = { .bind = XMB_XSK_COPY };
	struct xmb_multibuf mbs[2];

	vm_hugepages(0);
	vm_setup_with(4032, 1500);
	right = vm_open("right", &copy);
	rtap = tap_open("rtap");
	cr_expect(eq(u32, xmb_xsk_mode(right).frags_max, 8));
	mbs[0] = chain_across_pages(8, 1);
	mbs[1] = chain_across_pages(9, 2);
	lab_send(right, mbs, 2);
	cr_expect(tap_recv_made(rtap, 8 * FRAG_LEN, 1));
	cr_expect(tap_recv_made(rtap, 9 * FRAG_LEN, 2));
	expect_counter(right, XMB_XSK_TX_GATHERED, 1);
	expect_counter(right, XMB_XSK_TX_INVALID, 0);
	/* As if they counted once. */
	right->mode.frags_max = 17;
	mbs[0] = chain_across_pages(9, 3);
	mbs[1] = chain_across_pages(1, 4);
	lab_send(right, mbs, 2);
	if (!vm_is("virtio"))
		cr_expect(tap_recv_made(rtap, 9 * FRAG_LEN, 3));
	cr_expect(tap_recv_made(rtap, FRAG_LEN, 4));
	expect_counter(right, XMB_XSK_TX_GATHERED, 1);
	expect_counter(right, XMB_XSK_TX_INVALID, vm_is("virtio") ? 9 : 0);
	lab_finish();
}

static void set_up_piece(uint32_t frame_len, bool is_pool, bool is_huge)
{
	struct xmb_umem_piece_opts piece;
	struct xmb_umem_opts opts = { .frame_len = frame_len,
				      .frame_cnt = is_pool ? 0 : VM_FRAMES,
				      .pieces = &piece,
				      .piece_cnt = 1 };

	vm_hugepages(is_huge ? HUGE_CNT : 0);
	piece = lab_app_piece(2 * HUGE_LEN, is_pool, is_huge ? MFD_HUGETLB : 0);
	vm_setup_of(&opts, 1500);
	close(piece.fd);
	open_both();
	cr_assert(xmb_xsk_mode(left).is_zc && xmb_xsk_mode(right).is_zc);
}

static struct xmb_multibuf take(size_t off, size_t len, uint32_t tag)
{
	packet_make(app.mem + off, len, tag);
	return lab_take(off, len);
}

/* Packets anywhere in frames go out from there, at once and one by one. */
static void send_from_piece(uint32_t frame_len)
{
	const uint8_t *piece = xmb_umem_piece_data(lab.umem, 0);

	for (uint32_t i = 0; i < MANY; i++) {
		size_t len = 60 + i % 1455;
		size_t frame = i * 7 % xmb_umem_piece_frame_cnt(lab.umem, 0);
		size_t off = frame * frame_len + i * 13 % (frame_len - len);
		struct xmb_multibuf mb;
		uint32_t at = *right->tx.producer;

		if (xmb_umem_piece_take(lab.umem, 0, &lab.cache, off, len, &mb))
			continue; /* one that is cut */
		xmb_multibuf_release(&mb, &lab.cache);
		app.home_cnt = 0;
		mb = take(off, len, i);
		cr_assert(eq(int, xmb_xsk_check(right, &mb), 0));
		lab_send(right, &mb, 1);
		cr_expect(
			eq(ptr,
			   lab.umem->area +
				   xsk_ring_prod__tx_desc(&right->tx, at)->addr,
			   (void *)(piece + off)));
		cr_assert(tap_recv_made(rtap, len, i), "%u", i);
		cr_assert(eq(u32, app.home_cnt, 1));
	}
	cr_expect(gt(u64, lab_counter(right, XMB_XSK_TX_PACKETS), MANY / 2));
	expect_clean();
}

Test(frames, of_the_applications_own_memory_are_sent_where_they_lie)
{
	set_up_piece(FRAME_LEN, false, false);
	send_from_piece(FRAME_LEN);
	expect_counter(right, XMB_XSK_TX_PACKETS, MANY);
	lab_finish();
}

Test(frames, of_4032_bytes_in_the_applications_hugepages_are_sent_likewise)
{
	set_up_piece(4032, false, true);
	send_from_piece(4032);
	lab_finish();
	vm_hugepages(0);
}

/* A card that sends one buffer a packet: gathered, counted, and whole. */
Test(frames, bytes_across_two_of_the_applications_frames_are_gathered)
{
	struct xmb_multibuf mb;

	set_up_piece(FRAME_LEN, false, false);
	for (uint32_t i = 0; i < VM_BURST; i++) {
		mb = take((i + 1) * 2 * FRAME_LEN - 700, 1400, i);
		cr_expect(eq(u32, mb.cnt, 2));
		lab_send(right, &mb, 1);
		cr_assert(tap_recv_made(rtap, 1400, i));
	}
	expect_counter(right, XMB_XSK_TX_GATHERED, VM_BURST);
	cr_expect(eq(u32, app.home_cnt, 2 * VM_BURST));
	cr_expect(eq(u32, xmb_umem_piece_free_cnt(lab.umem, 0),
		     xmb_umem_piece_frame_cnt(lab.umem, 0)));
	lab_finish();
}

Test(frames, of_the_pool_in_the_applications_memory_are_received_into)
{
	set_up_piece(FRAME_LEN, true, false);
	for (uint32_t i = 0; i < MANY; i++) {
		struct xmb_multibuf mb = { 0 };
		uint8_t want[300];

		tap_send_made(ltap, sizeof(want), i);
		cr_assert(eq(u32, lab_recv(left, &mb, 1), 1));
		packet_make(want, sizeof(want), i);
		cr_assert(
			eq(int,
			   memcmp(app.mem + (size_t)mb.c[0].region * FRAME_LEN +
					  mb.c[0].off,
				  want, sizeof(want)),
			   0));
		lab_send(right, &mb, 1);
		cr_assert(tap_recv_made(rtap, sizeof(want), i));
	}
	expect_clean();
	lab_finish();
}

Test(frames, of_the_application_come_home_from_a_socket_that_closes)
{
	struct xmb_multibuf mbs[VM_BURST];
	uint32_t done;

	set_up_piece(FRAME_LEN, false, false);
	for (uint32_t turn = 0; turn < 2; turn++) {
		app.home_cnt = 0;
		for (uint32_t i = 0; i < VM_BURST; i++)
			mbs[i] = take((size_t)i * FRAME_LEN, 1514, i);
		/* The second time the card has no link, and keeps them. */
		if (turn == 1)
			must("ip link set right down");
		done = xmb_xsk_send(right, &lab.cache, mbs, VM_BURST);
		cr_assert(eq(u32, done, VM_BURST));
		xmb_xsk_kick(right);
		lab_close(right);
		cr_expect(eq(u32, app.home_cnt, VM_BURST));
		cr_expect(eq(u32, xmb_umem_piece_free_cnt(lab.umem, 0),
			     xmb_umem_piece_frame_cnt(lab.umem, 0)));
		if (turn == 0) {
			xmb_prog_destroy(lab.progs[--lab.prog_cnt]);
			right = vm_open("right", NULL);
		}
	}
	expect_counter(right, XMB_XSK_TX_UNSENT, VM_BURST);
	lab_finish();
}
