/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * lib/buf/cookie: a cookie comes back once, when the last frame of its packet
 * is home, and says how the frames came home.
 */
#include "buf/cookie.h"

#include "sock_lab.h"

#include "buf/extbuf.h"
#include "buf/handover.h"

#include <errno.h>
#include <pthread.h>

enum { BOX_CNT = 8, WHO = 5, BOXES = 255, MANY = 300 };

static struct xmb_cookie_box box;
static struct xmb_cache other; /* another thread's */

static void setup(void)
{
	lab_open(&lab, FRAME_LEN, FRAME_CNT, 0);
	xmb_cache_init(&other, &lab.pool, 1);
	cr_assert(eq(int, xmb_cookie_box_init(&box, BOX_CNT), 0));
}

static void teardown(void)
{
	cr_expect(eq(int, xmb_cookie_box_fini(&box), 0));
	cr_expect(eq(i64, lab.cache.app_cnt + other.app_cnt, 0));
	xmb_cache_fini(&other);
	lab_close(&lab);
}

TestSuite(cookie, .init = setup, .fini = teardown, .timeout = 300);

static struct xmb_multibuf chain_of(uint32_t cnt)
{
	struct xmb_multibuf mb = { 0 };

	for (uint32_t i = 0; i < cnt; i++) {
		struct xmb_multibuf more = packet_of(i, PACKET_LEN);

		cr_assert(eq(int, xmb_multibuf_append(&mb, &more, &lab.cache),
			     0));
	}
	return mb;
}

static struct xmb_multibuf marked(uint32_t cnt, uint64_t cookie)
{
	struct xmb_multibuf mb = chain_of(cnt);

	cr_assert(eq(int, xmb_cookie_attach(&box, &mb, cookie), 0));
	return mb;
}

static void expect_none(void)
{
	struct xmb_completion done = { .cookie = 4321 };

	cr_expect(eq(u32, xmb_cookie_reap(&box, &done, 1), 0));
	cr_expect(eq(u64, done.cookie, 4321));
}

static void expect_ends(uint64_t cookie, uint32_t sent, uint32_t released,
			uint32_t dropped)
{
	struct xmb_completion done = { 0 };

	cr_assert(eq(u32, xmb_cookie_reap(&box, &done, 1), 1));
	cr_expect(eq(u64, done.cookie, cookie));
	cr_expect(eq(u32, done.sent_cnt, sent));
	cr_expect(eq(u32, done.released_cnt, released));
	cr_expect(eq(u32, done.dropped_cnt, dropped));
}

static void expect_done(uint64_t cookie, uint32_t sent, uint32_t released)
{
	expect_ends(cookie, sent, released, 0);
}

/* Give all chunks to the kernel; returns how many addresses there are. */
static uint32_t give(struct xmb_multibuf *mb, uint64_t *addrs)
{
	struct xmb_multibuf_iter iter;
	uint32_t n = 0;
	bool is_excl;

	for (struct xmb_chunk *c = xmb_multibuf_first(mb, &iter); c;
	     c = xmb_multibuf_next(&iter))
		addrs[n++] = xmb_handover_tx(&lab.cache, WHO, c, &is_excl);
	mb->len = 0;
	xmb_multibuf_release(mb, &lab.cache);
	return n;
}

static void complete(struct xmb_cache *cache, uint64_t addr, int kind)
{
	cr_expect(eq(int, xmb_handover_complete(cache, WHO, addr), kind));
}

Test(cookie, comes_back_when_the_last_frame_is_released)
{
	struct xmb_multibuf mb = marked(3, 17);
	struct xmb_chunk chunk = { 0 };

	cr_expect(eq(u32, box.out_cnt, 1));
	for (int i = 0; i < 3; i++) {
		expect_none();
		xmb_multibuf_pop_front(&mb, &chunk, &lab.cache);
		xmb_chunk_release(&chunk, &lab.cache);
	}
	expect_done(17, 0, 3);
	expect_none();
	cr_expect(eq(u32, box.out_cnt, 0));
}

Test(cookie, comes_back_from_the_kernel_as_sent)
{
	struct xmb_multibuf mb = marked(2, UINT64_MAX);
	uint64_t addrs[2];

	cr_assert(eq(u32, give(&mb, addrs), 2));
	expect_none();
	complete(&lab.cache, addrs[1], 1);
	expect_none();
	complete(&other, addrs[0], 1);
	expect_done(UINT64_MAX, 2, 0);
}

Test(cookie, tells_frames_that_were_sent_from_those_released)
{
	struct xmb_multibuf mb = marked(5, 1), head = { 0 };
	uint64_t addrs[5];

	cr_assert(eq(int, xmb_multibuf_split(&mb, 2 * PACKET_LEN, &head,
					     &lab.cache), 0));
	xmb_multibuf_release(&mb, &other);
	expect_none();
	cr_assert(eq(u32, give(&head, addrs), 3));
	for (int i = 0; i < 3; i++) {
		expect_none();
		complete(&lab.cache, addrs[i], 1);
	}
	expect_done(1, 3, 2);
}

Test(cookie, tells_frames_that_were_dropped_from_those_sent_and_released)
{
	struct xmb_multibuf mb = marked(6, 2), head = { 0 }, tail = { 0 };
	uint64_t addrs[2];

	cr_assert(eq(int, xmb_multibuf_split(&mb, 2 * PACKET_LEN, &head,
					     &lab.cache), 0));
	cr_assert(eq(int, xmb_multibuf_split(&head, PACKET_LEN, &tail,
					     &lab.cache), 0));
	cr_assert(eq(u32, give(&mb, addrs), 2));
	xmb_multibuf_release(&head, &lab.cache);
	xmb_multibuf_drop(&tail, &lab.cache);
	cr_expect(is_zero(&tail));
	expect_none();
	complete(&lab.cache, addrs[0], 1);
	complete(&lab.cache, addrs[1], 1);
	expect_ends(2, 2, 1, 3);
}

Test(cookie, drops_of_one_chunk_of_many_and_of_bursts_are_told)
{
	struct xmb_multibuf mbs[3] = { marked(1, 1), marked(5, 2), { 0 } };
	struct xmb_multibuf mb = marked(1, 3);

	xmb_multibuf_drop_bulk(mbs, 3, &other);
	cr_expect(is_zero(&mbs[0]) && is_zero(&mbs[1]));
	xmb_multibuf_drop(&mb, &other);
	expect_ends(3, 0, 0, 1);
	expect_ends(2, 0, 0, 5);
	expect_ends(1, 0, 0, 1);
	/* The caches are as before. */
	mbs[0] = marked(2, 4);
	mbs[1] = marked(1, 5);
	xmb_multibuf_release(&mbs[0], &other);
	xmb_multibuf_release_bulk(mbs, 2, &other);
	expect_done(5, 0, 1);
	expect_done(4, 0, 2);
}

static struct xmb_multibuf kept; /* by somebody who is told of a release */

static void let_go(void *arg, void *mem, size_t len)
{
	(void)arg;
	(void)mem;
	(void)len;
	xmb_multibuf_release(&kept, &lab.cache);
}

Test(cookie, what_is_released_inside_of_a_drop_was_not_dropped)
{
	static uint8_t mem[100];
	struct xmb_multibuf mb = { 0 }, tail = marked(1, 12);

	kept = marked(1, 11);
	cr_assert(eq(int, xmb_extbuf_attach(&lab.cache, mem, sizeof(mem),
					    let_go, NULL, &mb), 0));
	cr_assert(eq(int, xmb_multibuf_append(&mb, &tail, &lab.cache), 0));
	xmb_multibuf_drop(&mb, &lab.cache);
	expect_ends(12, 0, 0, 1);
	expect_done(11, 0, 1);
}

static void wake(struct xmb_pool_hook *hook)
{
	(void)hook;
	xmb_multibuf_release(&kept, &lab.cache);
}

Test(cookie, what_a_hook_releases_inside_of_a_drop_was_not_dropped)
{
	struct xmb_pool_hook hook = { .fn = wake };
	struct xmb_multibuf mbs[2];

	kept = marked(1, 21);
	for (int i = 0; i < 2; i++)
		mbs[i] = marked(1, 22 + (uint64_t)i);
	cr_assert(eq(int, xmb_pool_set_hook(&lab.pool, &hook), 0));
	xmb_pool_set_waiting(&lab.pool, true);
	/* The first that comes home goes on to the shared stack. */
	xmb_cache_fetch(&lab.cache, XMB_CACHE_MAX, false);
	cr_assert(eq(u32, lab.cache.cnt, XMB_CACHE_MAX));
	xmb_multibuf_drop_bulk(mbs, 2, &lab.cache);
	cr_expect(is_zero(&kept));
	xmb_pool_set_waiting(&lab.pool, false);
	xmb_pool_set_hook(&lab.pool, NULL);
	expect_ends(23, 0, 0, 1);
	expect_done(21, 0, 1);
	expect_ends(22, 0, 0, 1);
}

Test(cookie, waits_for_the_last_chunk_of_a_split_frame)
{
	struct xmb_multibuf mb = marked(1, 5), tail = { 0 }, last = { 0 };

	cr_assert(eq(int, xmb_multibuf_split(&mb, 4, &tail, &lab.cache), 0));
	cr_assert(eq(int, xmb_multibuf_split(&tail, 3, &last, &lab.cache), 0));
	xmb_multibuf_release(&tail, &lab.cache);
	expect_none();
	xmb_multibuf_release(&mb, &other);
	expect_none();
	xmb_multibuf_release(&last, &lab.cache);
	expect_done(5, 0, 1);
}

Test(cookie, waits_for_the_last_slot_that_the_kernel_sends)
{
	struct xmb_multibuf mb = marked(1, 6), tail = { 0 };
	uint64_t addrs[2];

	cr_assert(eq(int, xmb_multibuf_split(&mb, 4, &tail, &lab.cache), 0));
	give(&mb, &addrs[0]);
	give(&tail, &addrs[1]);
	complete(&lab.cache, addrs[1], 0);
	expect_none();
	complete(&lab.cache, addrs[0], 0);
	expect_done(6, 1, 0);
}

Test(cookie, the_last_chunk_of_a_frame_says_how_it_came_home)
{
	struct xmb_multibuf mb = marked(1, 7), tail = { 0 };
	uint64_t addr;

	cr_assert(eq(int, xmb_multibuf_split(&mb, 4, &tail, &lab.cache), 0));
	give(&mb, &addr);
	complete(&lab.cache, addr, 0);
	xmb_multibuf_release(&tail, &lab.cache);
	expect_done(7, 0, 1);
	mb = marked(1, 8);
	cr_assert(eq(int, xmb_multibuf_split(&mb, 4, &tail, &lab.cache), 0));
	give(&mb, &addr);
	xmb_multibuf_drop(&tail, &lab.cache);
	complete(&lab.cache, addr, 0);
	expect_done(8, 1, 0);
	mb = marked(1, 9);
	cr_assert(eq(int, xmb_multibuf_split(&mb, 4, &tail, &lab.cache), 0));
	xmb_multibuf_release(&mb, &lab.cache);
	xmb_multibuf_drop(&tail, &lab.cache);
	expect_ends(9, 0, 0, 1);
	mb = marked(1, 10);
	cr_assert(eq(int, xmb_multibuf_split(&mb, 4, &tail, &lab.cache), 0));
	xmb_multibuf_drop(&mb, &lab.cache);
	xmb_multibuf_release(&tail, &lab.cache);
	expect_done(10, 0, 1);
}

Test(cookie, a_frame_that_is_whole_again_keeps_its_cookie)
{
	struct xmb_multibuf mb = marked(1, 9), tail = { 0 }, more = { 0 };
	uint64_t addr;

	cr_assert(eq(int, xmb_multibuf_split(&mb, 4, &tail, &lab.cache), 0));
	xmb_multibuf_release(&tail, &lab.cache);
	/* Splitting makes the one that is left exclusive first. */
	cr_assert(eq(int, xmb_multibuf_split(&mb, 2, &more, &lab.cache), 0));
	cr_assert(eq(int, xmb_multibuf_append(&mb, &more, &lab.cache), 0));
	expect_none();
	xmb_multibuf_pop_back(&mb, &more.c[0], &lab.cache);
	xmb_chunk_release(&more.c[0], &lab.cache);
	/* Sending does, too. */
	give(&mb, &addr);
	complete(&lab.cache, addr, 1);
	expect_done(9, 1, 0);
}

Test(cookie, chained_to_another_packet_each_keeps_its_own)
{
	struct xmb_multibuf a = marked(2, 1), b = marked(4, 2), c = chain_of(2);
	uint64_t addrs[8];

	cr_assert(eq(int, xmb_multibuf_append(&a, &c, &lab.cache), 0));
	cr_assert(eq(int, xmb_multibuf_append(&a, &b, &lab.cache), 0));
	cr_assert(eq(u32, give(&a, addrs), 8));
	for (int i = 0; i < 8; i++)
		complete(&lab.cache, addrs[i], 1);
	expect_done(2, 4, 0);
	expect_done(1, 2, 0);
}

Test(cookie, is_not_on_the_frame_when_that_is_used_again)
{
	struct xmb_multibuf mb = marked(1, 3);
	uint64_t addr;

	xmb_multibuf_release(&mb, &lab.cache);
	expect_done(3, 0, 1);
	mb = chain_of(1);
	xmb_multibuf_release(&mb, &lab.cache);
	expect_none();
	mb = marked(1, 4);
	give(&mb, &addr);
	complete(&lab.cache, addr, 1);
	expect_done(4, 1, 0);
	mb = chain_of(1);
	cr_expect(eq(int, xmb_cookie_attach(&box, &mb, 5), 0));
	xmb_multibuf_release(&mb, &lab.cache);
	expect_done(5, 0, 1);
}

static void *release_in_thread(void *arg)
{
	xmb_multibuf_release(arg, &other);
	return NULL;
}

Test(cookie, comes_back_from_another_thread)
{
	struct xmb_multibuf mb = marked(4, 44);
	pthread_t thread;

	cr_assert(eq(int, pthread_create(&thread, NULL, release_in_thread, &mb),
		     0));
	pthread_join(thread, NULL);
	expect_done(44, 0, 4);
}

Test(cookie, comes_back_when_what_a_closed_socket_held_is_let_go)
{
	struct xmb_multibuf mb = marked(1, 1), whole = marked(1, 2);
	struct xmb_multibuf tail = { 0 };
	struct xmb_completion done[3];
	uint64_t addrs[3];

	cr_assert(eq(int, xmb_multibuf_split(&mb, 4, &tail, &lab.cache), 0));
	give(&mb, &addrs[0]);
	give(&tail, &addrs[1]);
	give(&whole, &addrs[2]);
	cr_expect(eq(u32, xmb_handover_hold(&lab.pool, WHO).tx_cnt, 1));
	expect_none();
	cr_expect(eq(u32, xmb_handover_unhold(&lab.cache, WHO), 3));
	cr_expect(eq(u32, xmb_cookie_reap(&box, done, 3), 2));
	cr_expect(eq(u64, done[0].cookie + done[1].cookie, 3));
	/* Whether they went out is not known. */
	for (int i = 0; i < 2; i++) {
		cr_expect(eq(u32, done[i].dropped_cnt, 1));
		cr_expect(eq(u32, done[i].sent_cnt + done[i].released_cnt, 0));
	}
}

Test(cookie, reap_takes_as_many_as_there_is_room_for_and_keeps_the_rest)
{
	struct xmb_completion done[BOX_CNT];
	uint64_t sum = 0;

	for (uint64_t i = 1; i <= 5; i++) {
		struct xmb_multibuf mb = marked(1, i);

		xmb_multibuf_release(&mb, &lab.cache);
	}
	cr_expect(eq(u32, xmb_cookie_reap(&box, done, 0), 0));
	cr_expect(eq(u32, xmb_cookie_reap(&box, done, 2), 2));
	sum = done[0].cookie + done[1].cookie;
	cr_expect(eq(u32, box.out_cnt, 3));
	cr_expect(eq(u32, xmb_cookie_reap(&box, done, BOX_CNT), 3));
	sum += done[0].cookie + done[1].cookie + done[2].cookie;
	cr_expect(eq(u64, sum, 1 + 2 + 3 + 4 + 5));
}

#define REFUSED(mb, error)                                                   \
	do {                                                                 \
		struct xmb_cookie_box before = box;                          \
		struct xmb_multibuf mb_before = *(mb);                       \
		lab_snap(&lab);                                              \
		cr_expect(eq(int, xmb_cookie_attach(&box, mb, 99), error));  \
		cr_expect(lab_is_unchanged(&lab));                           \
		cr_expect(eq(int, memcmp(mb, &mb_before, sizeof(*mb)), 0));  \
		cr_expect(eq(u32, box.out_cnt, before.out_cnt));             \
		cr_expect(eq(u32, box.free, before.free));                   \
	} while (0)

Test(cookie, a_full_box_refuses_until_one_was_reaped)
{
	struct xmb_multibuf mbs[BOX_CNT], more = chain_of(1);

	for (uint64_t i = 0; i < BOX_CNT; i++)
		mbs[i] = marked(1, i);
	REFUSED(&more, -ENOSPC);
	xmb_multibuf_release(&mbs[3], &lab.cache);
	REFUSED(&more, -ENOSPC);
	expect_done(3, 0, 1);
	cr_expect(eq(int, xmb_cookie_attach(&box, &more, 50), 0));
	xmb_multibuf_release(&more, &lab.cache);
	expect_done(50, 0, 1);
	for (int i = 0; i < BOX_CNT; i++) {
		xmb_multibuf_release(&mbs[i], &lab.cache);
		if (i != 3)
			expect_done((uint64_t)i, 0, 1);
	}
}

Test(cookie, an_empty_multibuf_carries_none)
{
	struct xmb_multibuf mb = { 0 };

	REFUSED(&mb, -ENODATA);
}

Test(cookie, a_frame_shared_with_another_multibuf_carries_none)
{
	struct xmb_multibuf mb = chain_of(3), tail = { 0 };

	/* The cut is in the last chunk: two are fine, and get none either. */
	cr_assert(eq(int, xmb_multibuf_split(&mb, 2 * PACKET_LEN + 3, &tail,
					     &lab.cache), 0));
	REFUSED(&mb, -EBUSY);
	REFUSED(&tail, -EBUSY);
	xmb_multibuf_release(&mb, &lab.cache);
	xmb_multibuf_release(&tail, &lab.cache);
	expect_none();
}

Test(cookie, a_frame_carries_one_cookie_only)
{
	struct xmb_multibuf mb = marked(1, 1), more = chain_of(2);

	REFUSED(&mb, -EBUSY);
	cr_assert(eq(int, xmb_multibuf_append(&more, &mb, &lab.cache), 0));
	REFUSED(&more, -EBUSY);
	xmb_multibuf_release(&more, &lab.cache);
	expect_done(1, 0, 1);
}

Test(cookie, memory_of_the_callers_carries_none)
{
	static uint8_t mem[100];
	struct xmb_multibuf mb = chain_of(1), ext = { 0 };

	cr_assert(eq(int, xmb_extbuf_attach(&lab.cache, mem, sizeof(mem), NULL,
					    NULL, &ext), 0));
	REFUSED(&ext, -EXDEV);
	cr_assert(eq(int, xmb_multibuf_append(&mb, &ext, &lab.cache), 0));
	REFUSED(&mb, -EXDEV);
	xmb_multibuf_release(&mb, &lab.cache);
}

static struct xmb_multibuf stale;

static void attach_stale(void)
{
	xmb_cookie_attach(&box, &stale, 1);
}

Test(cookie, a_stale_copy_ends_the_process)
{
	struct xmb_multibuf mb = chain_of(1);

	stale = mb;
	xmb_multibuf_release(&mb, &lab.cache);
	lab_expect_death(attach_stale, "attach a cookie");
}

Test(cookie, a_box_of_no_size_or_too_much_is_refused)
{
	struct xmb_cookie_box none;

	memset(&none, 0x5a, sizeof(none));
	cr_expect(eq(int, xmb_cookie_box_init(&none, 0), -EINVAL));
	cr_expect(eq(int, xmb_cookie_box_init(&none, (1u << 24) + 1), -EINVAL));
	for (size_t i = 0; i < sizeof(none); i++)
		cr_assert(eq(u8, ((uint8_t *)&none)[i], 0x5a));
}

Test(cookie, a_box_with_cookies_out_does_not_end)
{
	struct xmb_multibuf mb = marked(1, 12);

	cr_expect(eq(int, xmb_cookie_box_fini(&box), -EBUSY));
	xmb_multibuf_release(&mb, &lab.cache);
	cr_expect(eq(int, xmb_cookie_box_fini(&box), -EBUSY));
	expect_done(12, 0, 1);
	cr_expect(eq(int, xmb_cookie_box_fini(&box), 0));
	cr_expect(eq(int, xmb_cookie_box_fini(&box), 0));
}

Test(cookie, there_are_255_boxes_and_each_gets_its_own_cookies)
{
	static struct xmb_cookie_box boxes[BOXES];
	struct xmb_multibuf mbs[BOXES];
	struct xmb_completion done[2];

	for (int i = 1; i < BOXES; i++) {
		cr_assert(eq(int, xmb_cookie_box_init(&boxes[i], 1), 0));
		mbs[i] = chain_of(1);
		cr_assert(eq(int, xmb_cookie_attach(&boxes[i], &mbs[i],
						    (uint64_t)i), 0));
	}
	cr_expect(eq(int, xmb_cookie_box_init(&boxes[0], 1), -ENOSPC));
	for (int i = 1; i < BOXES; i++)
		xmb_multibuf_release(&mbs[i], &lab.cache);
	for (int i = 1; i < BOXES; i++) {
		cr_expect(eq(u32, xmb_cookie_reap(&boxes[i], done, 2), 1));
		cr_expect(eq(u64, done[0].cookie, (uint64_t)i));
		cr_expect(eq(int, xmb_cookie_box_fini(&boxes[i]), 0));
	}
	expect_none();
	cr_expect(eq(int, xmb_cookie_box_init(&boxes[0], 1), 0));
	cr_expect(eq(int, xmb_cookie_box_fini(&boxes[0]), 0));
}

Test(cookie, a_place_in_the_box_is_used_again_and_again)
{
	for (uint64_t i = 0; i < MANY; i++) {
		struct xmb_multibuf mb = marked(1 + i % 4, i);
		uint64_t addrs[4];
		uint32_t n = 0;

		if (i % 2)
			n = give(&mb, addrs);
		for (uint32_t k = 0; k < n; k++)
			complete(&lab.cache, addrs[k], 1);
		xmb_multibuf_release(&mb, &lab.cache);
		if (i % 2)
			expect_done(i, 1 + (uint32_t)i % 4, 0);
		else
			expect_done(i, 0, 1 + (uint32_t)i % 4);
	}
}
