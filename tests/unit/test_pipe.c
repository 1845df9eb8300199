/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * lib/sock/pipe: what one end sends the other receives, in order and where it
 * lies; frames that nobody needs go back, so that a loop runs on no pool.
 */
#include "sock/pipe.h"

#include "sock_lab.h"

#include <errno.h>
#include <sys/resource.h>

enum { PIPE_CNT = 32, RANDOM_STEPS = 100000, LOOPS = 100000, LOOP_CNT = 40 };

static struct xmb_cache other; /* of end 1 */
static struct xmb_pipe pipe_of;
static struct xmb_socket *left, *right;

static void setup(void)
{
	lab_open(&lab, FRAME_LEN, FRAME_CNT, 0);
	xmb_cache_init(&other, &lab.pool, 1);
	cr_assert(eq(int, xmb_pipe_init(&pipe_of, PIPE_CNT, &lab.cache, &other),
		     0));
	left = &pipe_of.end[0].sock;
	right = &pipe_of.end[1].sock;
}

static void teardown(void)
{
	xmb_pipe_fini(&pipe_of, &lab.cache);
	cr_expect(eq(i64, lab.cache.app_cnt + other.app_cnt, 0));
	xmb_cache_fini(&other);
	lab_close(&lab);
}

TestSuite(pipe, .init = setup, .fini = teardown, .timeout = 300);

static uint32_t send_numbers(struct xmb_socket *sock, uint32_t first,
			     uint32_t cnt)
{
	struct xmb_multibuf mbs[2 * PIPE_CNT] = { 0 };
	uint32_t sent;

	for (uint32_t i = 0; i < cnt; i++)
		mbs[i] = packet_of(first + i, PACKET_LEN);
	sent = xmb_socket_send(sock, mbs, cnt);
	for (uint32_t i = 0; i < cnt; i++) {
		if (i < sent)
			cr_assert(is_zero(&mbs[i]));
		else
			cr_assert(eq(u32, number_of(&mbs[i]), first + i));
	}
	xmb_multibuf_release_bulk(mbs, cnt, &lab.cache);
	return sent;
}

static void expect_numbers(struct xmb_socket *sock, uint32_t first,
			   uint32_t cnt)
{
	struct xmb_multibuf mbs[2 * PIPE_CNT] = { 0 };

	cr_assert(eq(u32, xmb_socket_recv(sock, mbs, 2 * PIPE_CNT), cnt));
	for (uint32_t i = 0; i < cnt; i++) {
		cr_assert(xmb_multibuf_check(&mbs[i]));
		cr_expect(eq(u32, number_of(&mbs[i]), first + i));
		cr_expect(eq(u32, mbs[i].user, first + i));
		cr_expect(eq(u32, mbs[i].len, PACKET_LEN));
	}
	for (uint32_t i = cnt; i < 2 * PIPE_CNT; i++)
		cr_expect(is_zero(&mbs[i]));
	xmb_multibuf_release_bulk(mbs, cnt, sock->cache);
}

Test(pipe, what_one_end_sends_the_other_receives_in_order)
{
	cr_expect(eq(u32, send_numbers(left, 1, 10), 10));
	cr_expect(eq(u32, send_numbers(right, 100, 20), 20));
	cr_expect(eq(int, xmb_socket_flush(left), 0));
	cr_expect(eq(int, xmb_socket_flush(right), 0));
	expect_numbers(right, 1, 10);
	expect_numbers(left, 100, 20);
	expect_numbers(right, 0, 0);
	expect_numbers(left, 0, 0);
}

Test(pipe, a_packet_stays_where_it_lies_with_all_its_chunks)
{
	struct xmb_multibuf mb = { 0 }, got = { 0 };
	uint32_t regions[7];
	struct xmb_multibuf_iter iter;
	uint32_t i = 0;

	for (i = 0; i < 7; i++) {
		struct xmb_multibuf more = packet_of(i, PACKET_LEN);

		regions[i] = more.c[0].region;
		cr_assert(eq(int, xmb_multibuf_append(&mb, &more, &lab.cache),
			     0));
	}
	cr_expect(eq(u32, xmb_socket_send(left, &mb, 1), 1));
	cr_expect(eq(u32, xmb_socket_recv(right, &got, 1), 1));
	cr_expect(xmb_multibuf_check(&got));
	cr_expect(eq(u32, got.len, 7 * PACKET_LEN));
	i = 0;
	for (const struct xmb_chunk *c = xmb_multibuf_first(&got, &iter); c;
	     c = xmb_multibuf_next(&iter))
		cr_expect(eq(u32, c->region, regions[i++]));
	cr_expect(eq(u32, i, 7));
	cr_expect(eq(u64, xmb_counter_read(&lab.cache.copies), 0));
	xmb_multibuf_release(&got, &other);
}

Test(pipe, a_full_pipe_takes_what_fits_and_leaves_the_rest)
{
	cr_expect(eq(u32, send_numbers(left, 1, 2 * PIPE_CNT), PIPE_CNT));
	cr_expect(eq(u32, send_numbers(left, 99, 1), 0));
	/* The other direction has its own room. */
	cr_expect(eq(u32, send_numbers(right, 1, 1), 1));
	expect_numbers(right, 1, PIPE_CNT);
	cr_expect(eq(u32, send_numbers(left, 50, 5), 5));
	expect_numbers(right, 50, 5);
}

Test(pipe, waiting_unread_and_room_are_counted)
{
	send_numbers(left, 1, 5);
	cr_expect(eq(u32, xmb_pipe_waiting(&pipe_of.end[1]), 5));
	cr_expect(eq(u32, xmb_pipe_unread(&pipe_of.end[0]), 5));
	cr_expect(eq(u32, xmb_pipe_waiting(&pipe_of.end[0]), 0));
	cr_expect(eq(u32, xmb_pipe_unread(&pipe_of.end[1]), 0));
	cr_expect(eq(u32, xmb_pipe_room(&pipe_of.end[0], 100), PIPE_CNT - 5));
	cr_expect(eq(u32, xmb_pipe_room(&pipe_of.end[0], 3), 3));
	expect_numbers(right, 1, 5);
	cr_expect(eq(u32, xmb_pipe_unread(&pipe_of.end[0]), 0));
	cr_expect(eq(u32, xmb_pipe_room(&pipe_of.end[0], 100), PIPE_CNT));
}

/* 1, empty, empty with a frame, 2, empty with a frame */
static void send_with_empties(void)
{
	struct xmb_multibuf mbs[5] = { 0 };

	mbs[0] = packet_of(1, PACKET_LEN);
	mbs[2] = packet_of(0, 0);
	mbs[3] = packet_of(2, PACKET_LEN);
	mbs[4] = packet_of(0, 0);
	mbs[1].user = 71;
	mbs[2].user = 72;
	cr_assert(eq(u32, xmb_socket_send(left, mbs, 5), 5));
}

Test(pipe, multibufs_of_no_bytes_are_not_shown_and_their_frames_are_ours)
{
	uint32_t had;

	send_with_empties();
	had = other.cnt;
	expect_numbers(right, 1, 2);
	cr_expect(eq(u32, other.cnt, had + 4));
	cr_expect(eq(i64, other.app_cnt, -4));
}

Test(pipe, a_packet_behind_more_empty_ones_than_asked_for_is_received)
{
	struct xmb_multibuf mbs[11] = { 0 }, got[4] = { 0 };

	for (uint32_t i = 0; i < 9; i++)
		mbs[i] = packet_of(0, 0);
	mbs[9] = packet_of(1, PACKET_LEN);
	mbs[10] = packet_of(2, PACKET_LEN);
	cr_assert(eq(u32, xmb_socket_send(left, mbs, 11), 11));
	cr_expect(eq(u32, xmb_socket_recv(right, got, 0), 0));
	cr_expect(eq(u32, xmb_pipe_waiting(&pipe_of.end[1]), 11));
	cr_expect(eq(u32, xmb_socket_recv(right, got, 2), 1));
	cr_expect(eq(u32, number_of(&got[0]), 1));
	cr_expect(is_zero(&got[1]));
	xmb_multibuf_release(&got[0], &other);
	expect_numbers(right, 2, 1);
	/* Of empty ones alone none is left. */
	for (uint32_t i = 0; i < 9; i++)
		mbs[i] = packet_of(0, 0);
	cr_assert(eq(u32, xmb_socket_send(left, mbs, 9), 9));
	cr_expect(eq(u32, xmb_socket_recv(right, got, 4), 0));
	cr_expect(eq(u32, xmb_pipe_waiting(&pipe_of.end[1]), 0));
	for (int i = 0; i < 4; i++)
		cr_expect(is_zero(&got[i]));
}

Test(pipe, multibufs_of_no_bytes_are_shown_to_whom_wants_them)
{
	static const uint32_t users[] = { 1, 71, 72, 2, 0 };
	struct xmb_multibuf mbs[8] = { 0 };

	pipe_of.end[1].wants_empty = true;
	send_with_empties();
	cr_expect(eq(u32, xmb_socket_recv(right, mbs, 8), 5));
	for (int i = 0; i < 5; i++)
		cr_expect(eq(u32, mbs[i].user, users[i]));
	cr_expect(eq(u32, mbs[1].cnt, 0));
	cr_expect(eq(u32, mbs[2].cnt, 1));
	xmb_multibuf_release_bulk(mbs, 5, &other);
}

Test(pipe, reap_gives_the_cookies_of_the_box_and_without_a_box_none)
{
	struct xmb_cookie_box box;
	struct xmb_completion done;
	struct xmb_multibuf mb = packet_of(1, PACKET_LEN);

	cr_assert(eq(int, xmb_cookie_box_init(&box, 4), 0));
	cr_assert(eq(int, xmb_cookie_attach(&box, &mb, 1234), 0));
	cr_expect(eq(u32, xmb_socket_reap(left, &done, 1), 0));
	left->cookies = &box;
	xmb_socket_send(left, &mb, 1);
	cr_expect(eq(u32, xmb_socket_reap(left, &done, 1), 0));
	expect_numbers(right, 1, 1);
	cr_expect(eq(u32, xmb_socket_reap(left, &done, 1), 1));
	cr_expect(eq(u64, done.cookie, 1234));
	cr_expect(eq(u32, done.released_cnt, 1));
	cr_expect(eq(int, xmb_cookie_box_fini(&box), 0));
}

Test(pipe, exchange_gives_frames_to_the_other_side_and_receives)
{
	struct xmb_multibuf empty[3] = { 0 }, got[8] = { 0 };
	uint32_t had;

	send_numbers(right, 5, 4);
	for (uint32_t i = 0; i < 3; i++)
		empty[i] = packet_of(i, PACKET_LEN);
	cr_expect(eq(u32, xmb_socket_exchange(left, empty, 3, got, 8), 4));
	for (uint32_t i = 0; i < 3; i++)
		cr_expect(is_zero(&empty[i]));
	for (uint32_t i = 0; i < 4; i++)
		cr_expect(eq(u32, number_of(&got[i]), 5 + i));
	xmb_multibuf_release_bulk(got, 4, &lab.cache);
	had = other.cnt;
	expect_numbers(right, 0, 0);
	cr_expect(eq(u32, other.cnt, had + 3));
}

Test(pipe, exchange_with_a_full_pipe_brings_the_frames_home_itself)
{
	struct xmb_multibuf empty[3] = { 0 }, got[1] = { 0 };
	uint32_t had;

	send_numbers(left, 1, PIPE_CNT - 1);
	for (uint32_t i = 0; i < 3; i++)
		empty[i] = packet_of(i, PACKET_LEN);
	had = lab.cache.cnt;
	cr_expect(eq(u32, xmb_socket_exchange(left, empty, 3, got, 1), 0));
	for (uint32_t i = 0; i < 3; i++)
		cr_expect(is_zero(&empty[i]));
	cr_expect(eq(u32, lab.cache.cnt, had + 2));
}

/* Take every frame out of the pool, and of both caches. */
static uint32_t drain_pool(struct xmb_chunk *chunks)
{
	uint32_t cnt = 0;

	xmb_cache_fini(&other);
	while (xmb_chunk_alloc(&lab.cache, &chunks[cnt]) == 0)
		cnt++;
	cr_assert(eq(u32, frames_free(), 0));
	return cnt;
}

Test(pipe, a_closed_loop_runs_on_an_empty_pool)
{
	static struct xmb_chunk hoard[FRAME_CNT + 1];
	struct xmb_multibuf used[LOOP_CNT] = { 0 };
	uint32_t used_cnt = 0, hoard_cnt, got = 0;
	uint64_t total = 0;

	hoard_cnt = drain_pool(hoard);
	cr_assert(eq(u32, hoard_cnt, FRAME_CNT));
	/* The loop has these frames and no others. */
	xmb_chunk_release_bulk(hoard, LOOP_CNT, &other);
	for (uint32_t i = 0; i < LOOPS; i++) {
		struct xmb_multibuf out[PIPE_CNT] = { 0 }, none[1] = { 0 };
		uint32_t n = 1 + i % (LOOP_CNT / 2);

		/* Right sends n new packets... */
		for (uint32_t k = 0; k < n; k++) {
			struct xmb_chunk chunk = { 0 };

			cr_assert(eq(int, xmb_chunk_alloc(&other, &chunk), 0),
				  "loop %u", i);
			xmb_multibuf_init(&out[k], &chunk);
		}
		cr_assert(eq(u32, xmb_socket_send(right, out, n), n));
		/* ...left takes them for the ones that it had, and... */
		got = xmb_socket_exchange(left, used, used_cnt, out, PIPE_CNT);
		cr_assert(eq(u32, got, n));
		memcpy(used, out, sizeof(*used) * got);
		used_cnt = got;
		total += got;
		/* ...right gets the frames of those. */
		cr_assert(eq(u32, xmb_socket_recv(right, none, 1), 0));
		cr_assert(eq(u32, xmb_pool_free_cnt(&lab.pool), 0));
		cr_assert(eq(u32, lab.cache.cnt, 0));
	}
	cr_expect(gt(u64, total, LOOPS));
	xmb_multibuf_release_bulk(used, used_cnt, &lab.cache);
	xmb_chunk_release_bulk(hoard, hoard_cnt, &lab.cache);
}

Test(pipe, fini_releases_what_is_under_way_in_both_directions)
{
	send_numbers(left, 1, 7);
	send_numbers(right, 1, 5);
	xmb_pipe_fini(&pipe_of, &lab.cache);
	cr_expect(eq(u32, frames_free() + other.cnt, FRAME_CNT));
	cr_expect(eq(ptr, pipe_of.memory, NULL));
	xmb_pipe_fini(&pipe_of, &lab.cache);
}

Test(pipe, fini_drops_packets_but_not_frames_that_were_handed_back)
{
	struct xmb_multibuf mbs[2] = { packet_of(1, PACKET_LEN),
				       packet_of(2, 0) };
	struct xmb_completion done[2];
	struct xmb_cookie_box box;

	cr_assert(eq(int, xmb_cookie_box_init(&box, 4), 0));
	for (uint64_t i = 0; i < 2; i++)
		cr_assert(eq(int, xmb_cookie_attach(&box, &mbs[i], i), 0));
	cr_expect(eq(u32, xmb_socket_send(left, mbs, 2), 2));
	xmb_pipe_fini(&pipe_of, &lab.cache);
	/* The last that was done is the first to be told. */
	cr_assert(eq(u32, xmb_cookie_reap(&box, done, 2), 2));
	cr_expect(eq(u64, done[0].cookie, 1));
	cr_expect(eq(u32, done[0].released_cnt, 1));
	cr_expect(eq(u32, done[0].dropped_cnt, 0));
	cr_expect(eq(u32, done[1].released_cnt, 0));
	cr_expect(eq(u32, done[1].dropped_cnt, 1));
	cr_expect(eq(int, xmb_cookie_box_fini(&box), 0));
}

/* Sanitizers need more address space than this leaves. */
#if !defined(__SANITIZE_ADDRESS__) && !defined(__SANITIZE_THREAD__)
Test(pipe, without_memory_there_is_no_pipe)
{
	struct rlimit limit = { .rlim_cur = 1u << 30, .rlim_max = 1u << 30 };
	struct xmb_pipe none;

	memset(&none, 0x5a, sizeof(none));
	cr_assert(eq(int, setrlimit(RLIMIT_AS, &limit), 0));
	cr_expect(eq(int, xmb_pipe_init(&none, 1u << 25, &lab.cache, &other),
		     -ENOMEM));
	for (size_t i = 0; i < sizeof(none); i++)
		cr_assert(eq(u8, ((uint8_t *)&none)[i], 0x5a));
}
#endif

/* The model: for each direction a list of numbers, 0 for no bytes. */
struct model {
	uint32_t numbers[PIPE_CNT], cnt;
};

static void step_send(struct model *m, struct xmb_socket *sock, uint64_t *seed,
		      uint32_t *last)
{
	struct xmb_multibuf mbs[2 * PIPE_CNT] = { 0 };
	uint32_t cnt = lab_rand(seed) % (PIPE_CNT + 5), sent;

	for (uint32_t i = 0; i < cnt; i++) {
		bool is_empty = lab_rand(seed) % 4 == 0;
		uint32_t number = is_empty ? 0 : ++*last;

		mbs[i] = packet_of(number, is_empty ? 0 : PACKET_LEN);
		if (m->cnt < PIPE_CNT)
			m->numbers[m->cnt++] = number;
	}
	sent = xmb_socket_send(sock, mbs, cnt);
	for (uint32_t i = 0; i < cnt; i++)
		cr_assert(eq(int, is_zero(&mbs[i]), i < sent));
	xmb_multibuf_release_bulk(mbs, cnt, &lab.cache);
}

/*
 * An end takes what it knows of: of none, it looks for more.  Bursts without a
 * packet are followed by others.
 */
static void step_recv(struct model *m, struct xmb_socket *sock, uint64_t *seed)
{
	struct xmb_pipe_end *end = (struct xmb_pipe_end *)sock;
	struct xmb_multibuf mbs[PIPE_CNT] = { 0 };
	uint32_t cnt = lab_rand(seed) % (PIPE_CNT + 1);
	uint32_t n = xmb_socket_recv(sock, mbs, cnt), got = 0;
	uint32_t taken = m->cnt - xmb_pipe_waiting(end), first = 0;

	while (first < m->cnt && m->numbers[first] == 0)
		first++;
	cr_assert(le(u32, taken, first + cnt));
	cr_assert(n > 0 || cnt == 0 || taken == m->cnt);
	for (uint32_t i = 0; i < taken; i++) {
		if (m->numbers[i] == 0)
			continue;
		cr_assert(lt(u32, got, n));
		cr_assert(eq(u32, number_of(&mbs[got]), m->numbers[i]));
		got++;
	}
	cr_assert(eq(u32, got, n));
	for (uint32_t i = n; i < PIPE_CNT; i++)
		cr_assert(is_zero(&mbs[i]));
	memmove(m->numbers, m->numbers + taken,
		(m->cnt -= taken) * sizeof(*m->numbers));
	xmb_multibuf_release_bulk(mbs, n, sock->cache);
}

Test(pipe, does_as_two_plain_lists_do_in_random_steps)
{
	struct model models[2] = { 0 };
	uint32_t last = 0;
	uint64_t seed = 3;

	for (int i = 0; i < RANDOM_STEPS; i++) {
		uint32_t way = lab_rand(&seed) % 2;

		if (lab_rand(&seed) % 2)
			step_send(&models[way], &pipe_of.end[way].sock, &seed,
				  &last);
		else
			step_recv(&models[way], &pipe_of.end[1 - way].sock,
				  &seed);
		cr_assert(eq(u32, xmb_pipe_unread(&pipe_of.end[way]),
			     models[way].cnt));
	}
}
