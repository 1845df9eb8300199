/* SPDX-License-Identifier: BSD-2-Clause */
#include "view/layer.h"

#include "buf_lab.h"
#include "view_lab.h"

TestSuite(layer, .init = setup, .fini = teardown_or_abort);

enum {
	ETH = 14,
	IP = 20,
	UDP = 8,
	PAYLOAD = 30,
	TRAILER = 4,
	LEN = ETH + IP + UDP + PAYLOAD + TRAILER,
};

/* The frame of the header's drawing, cut where no header ends. */
static struct xmb_multibuf frame(void)
{
	return make(&here, 0, LENS(10, 0, 30, 7, 0, 25, 4));
}

/* Push ip, udp and payload. */
static void push_three(struct xmb_layers *layers)
{
	cr_assert(eq(int, xmb_layers_push(layers, ETH, IP + UDP + PAYLOAD), 0));
	cr_assert(eq(int, xmb_layers_push(layers, IP, UDP + PAYLOAD), 0));
	cr_assert(eq(int, xmb_layers_push(layers, UDP, PAYLOAD), 0));
}

/* The top view is len bytes at off of the multibuf. */
static void expect_view(const struct xmb_layers *layers, size_t off, size_t len)
{
	uint8_t bytes[BYTES_MAX], want[BYTES_MAX];

	cr_expect(eq(sz, xmb_layers_off(layers), off));
	cr_expect(eq(sz, xmb_layers_len(layers), len));
	cr_expect(eq(sz, xmb_layers_copy_to(layers, 0, bytes, SIZE_MAX), len));
	xmb_multibuf_copy_to(layers->mb, off, want, len);
	cr_expect(memcmp(bytes, want, len) == 0);
}

Test(layer, pop_shows_what_was_seen_before_the_push)
{
	struct xmb_multibuf mb = frame();
	struct xmb_layers layers;

	xmb_layers_init(&layers, &mb);
	expect_view(&layers, 0, LEN);
	push_three(&layers);
	expect_view(&layers, ETH + IP + UDP, PAYLOAD);
	cr_expect(eq(int, xmb_layers_pop(&layers), 0));
	expect_view(&layers, ETH + IP, UDP + PAYLOAD);
	cr_expect(eq(int, xmb_layers_pop(&layers), 0));
	expect_view(&layers, ETH, IP + UDP + PAYLOAD);
	cr_expect(eq(int, xmb_layers_pop(&layers), 0));
	expect_view(&layers, 0, LEN);
	cr_expect(eq(int, xmb_layers_pop(&layers), -ENOENT));
	expect_view(&layers, 0, LEN);
	expect_bytes(&mb, LEN, 0);
	xmb_multibuf_release(&mb, &here.cache);
}

Test(layer, a_view_is_inside_the_one_below_and_there_are_eight)
{
	struct xmb_multibuf mb = frame();
	struct xmb_layers layers, was;

	xmb_layers_init(&layers, &mb);
	cr_assert(eq(int, xmb_layers_push(&layers, 4, 20), 0));
	memcpy(&was, &layers, sizeof(was));
	cr_expect(eq(int, xmb_layers_push(&layers, 0, 21), -ERANGE));
	cr_expect(eq(int, xmb_layers_push(&layers, 20, 1), -ERANGE));
	cr_expect(eq(int, xmb_layers_push(&layers, 21, 0), -ERANGE));
	cr_expect(eq(int, xmb_layers_push(&layers, 1, SIZE_MAX), -ERANGE));
	cr_expect(eq(int, xmb_layers_push(&layers, SIZE_MAX, 1), -ERANGE));
	cr_expect(eq(int, xmb_layers_push(&layers, SIZE_MAX, 21), -ERANGE));
	cr_expect(
		eq(int, xmb_layers_push(&layers, (size_t)1 << 32, 0), -ERANGE));
	cr_expect(memcmp(&was, &layers, sizeof(was)) == 0);
	for (uint32_t i = 1; i < XMB_LAYER_MAX; i++)
		cr_expect(eq(int, xmb_layers_push(&layers, 1, 20 - 2 * i), 0));
	expect_view(&layers, 4 + 7, 6);
	memcpy(&was, &layers, sizeof(was));
	cr_expect(eq(int, xmb_layers_push(&layers, 0, 0), -ENOSPC));
	cr_expect(memcmp(&was, &layers, sizeof(was)) == 0);
	for (uint32_t i = 0; i < XMB_LAYER_MAX; i++)
		cr_expect(eq(int, xmb_layers_pop(&layers), 0));
	expect_view(&layers, 0, LEN);
	xmb_multibuf_release(&mb, &here.cache);
}

Test(layer, bytes_are_read_and_written_in_the_top_view_only)
{
	struct xmb_multibuf mb = frame();
	uint8_t bytes[LEN], tmp[LEN];
	struct xmb_layers layers;

	xmb_layers_init(&layers, &mb);
	push_three(&layers);
	cr_expect(xmb_layers_get(&layers, 0, 5, tmp) == byte_of(&mb, 42));
	cr_expect(xmb_layers_get(&layers, 0, 30, tmp) == tmp);
	cr_expect(eq(u8, tmp[29], 71));
	cr_expect(xmb_layers_get(&layers, 30, 0, tmp) != NULL);
	cr_expect(zero(ptr, xmb_layers_get(&layers, 0, 31, tmp)));
	cr_expect(zero(ptr, xmb_layers_get(&layers, 31, 0, tmp)));
	cr_expect(zero(ptr, xmb_layers_get(&layers, 1, SIZE_MAX, tmp)));
	cr_expect(zero(ptr, xmb_layers_get(&layers, SIZE_MAX, 1, tmp)));
	cr_expect(eq(sz, xmb_layers_copy_to(&layers, 28, bytes, 5), 2));
	cr_expect(bytes[0] == 70 && bytes[1] == 71);
	cr_expect(eq(sz, xmb_layers_copy_to(&layers, 30, bytes, 5), 0));
	cr_expect(eq(sz, xmb_layers_copy_to(&layers, SIZE_MAX, bytes, 5), 0));
	memset(bytes, 0xee, sizeof(bytes));
	cr_expect(eq(sz, xmb_layers_copy_from(&layers, 30, bytes, 5), 0));
	cr_expect(eq(sz, xmb_layers_copy_from(&layers, SIZE_MAX, bytes, 5), 0));
	expect_bytes(&mb, LEN, 0);
	cr_expect(
		eq(sz, xmb_layers_copy_from(&layers, 27, bytes, SIZE_MAX), 3));
	for (int i = 0; i < LEN; i++)
		cr_expect(
			eq(u8, *byte_of(&mb, i), i >= 69 && i < 72 ? 0xee : i));
	xmb_multibuf_release(&mb, &here.cache);
}

Test(layer, streams_are_of_the_top_view)
{
	struct xmb_multibuf mb = frame();
	struct xmb_layers layers;
	struct xmb_reader reader;
	struct xmb_writer writer;
	uint16_t value = 0;

	xmb_layers_init(&layers, &mb);
	push_three(&layers);
	xmb_layers_reader(&layers, &reader);
	cr_expect(eq(sz, xmb_reader_remaining(&reader), PAYLOAD));
	cr_expect(eq(int, xmb_reader_get_be16(&reader, &value), 0));
	cr_expect(eq(u16, value, 42 << 8 | 43));
	xmb_layers_writer(&layers, &writer);
	cr_expect(eq(sz, xmb_writer_fill(&writer, 0xee, SIZE_MAX), PAYLOAD));
	for (int i = 0; i < LEN; i++)
		cr_expect(
			eq(u8, *byte_of(&mb, i), i >= 42 && i < 72 ? 0xee : i));
	xmb_multibuf_release(&mb, &here.cache);
}

/* The views below the top one, from the top: how long each is. */
static void expect_below(struct xmb_layers *layers, size_t udp, size_t ip,
			 size_t all)
{
	cr_assert(eq(int, xmb_layers_pop(layers), 0));
	expect_view(layers, ETH + IP, udp);
	cr_assert(eq(int, xmb_layers_pop(layers), 0));
	expect_view(layers, ETH, ip);
	cr_assert(eq(int, xmb_layers_pop(layers), 0));
	expect_view(layers, 0, all);
}

/* Outside the payload every byte is as it was. */
static void expect_outside(const struct xmb_multibuf *mb)
{
	cr_expect(xmb_multibuf_check(mb));
	for (uint32_t i = 0; i < ETH + IP + UDP; i++)
		cr_expect(eq(u8, *byte_of(mb, i), (uint8_t)i));
	for (uint32_t i = 0; i < TRAILER; i++)
		cr_expect(eq(u8, *byte_of(mb, mb->len - TRAILER + i),
			     (uint8_t)(LEN - TRAILER + i)));
}

Test(layer, what_is_inserted_lengthens_every_view)
{
	for (size_t at = 0; at <= PAYLOAD; at++) {
		struct xmb_multibuf mb = frame();
		struct xmb_multibuf more = make(&here, 200, LENS(3, 0, 2));
		struct xmb_layers layers;
		uint8_t bytes[PAYLOAD + 5];

		xmb_layers_init(&layers, &mb);
		push_three(&layers);
		cr_assert(eq(int,
			     xmb_layers_insert(&layers, at, &more, &here.cache),
			     0));
		cr_expect(is_zero(&more));
		expect_view(&layers, ETH + IP + UDP, PAYLOAD + 5);
		xmb_layers_copy_to(&layers, 0, bytes, sizeof(bytes));
		for (size_t i = 0; i < sizeof(bytes); i++)
			cr_assert(eq(u8, bytes[i],
				     i < at	  ? 42 + i
				     : i < at + 5 ? 200 + i - at
						  : 42 + i - 5));
		expect_outside(&mb);
		expect_below(&layers, UDP + PAYLOAD + 5, IP + UDP + PAYLOAD + 5,
			     LEN + 5);
		xmb_multibuf_release(&mb, &here.cache);
	}
}

Test(layer, what_is_taken_or_discarded_shortens_every_view)
{
	for (size_t n = 0; n <= PAYLOAD; n++) {
		struct xmb_multibuf mb[3] = { frame(), frame(), frame() };
		struct xmb_multibuf out = { 0 };
		size_t off = (PAYLOAD - n) / 2, left = PAYLOAD - n;
		struct xmb_layers layers[3];

		for (int i = 0; i < 3; i++) {
			xmb_layers_init(&layers[i], &mb[i]);
			push_three(&layers[i]);
		}
		cr_assert(eq(
			int,
			xmb_layers_take(&layers[0], off, n, &out, &here.cache),
			0));
		expect_bytes(&out, (uint32_t)n, (uint8_t)(42 + off));
		cr_assert(eq(int,
			     xmb_layers_discard_segment(&layers[1], off, n,
							&here.cache),
			     0));
		cr_assert(eq(int,
			     xmb_layers_truncate(&layers[2], left, &here.cache),
			     0));
		for (int i = 0; i < 3; i++) {
			uint8_t bytes[PAYLOAD];

			expect_view(&layers[i], ETH + IP + UDP, left);
			xmb_layers_copy_to(&layers[i], 0, bytes, left);
			for (size_t b = 0; b < left; b++)
				cr_assert(eq(
					u8, bytes[b],
					42 + b + (i < 2 && b >= off ? n : 0)));
			expect_outside(&mb[i]);
			expect_below(&layers[i], UDP + left, IP + UDP + left,
				     LEN - n);
			xmb_multibuf_release(&mb[i], &here.cache);
		}
		xmb_multibuf_release(&out, &here.cache);
	}
}

Test(layer, a_refused_edit_changes_nothing)
{
	static const size_t bad[][2] = {
		{ 0, 31 },
		{ 30, 1 },
		{ 31, 0 },
		{ 1, SIZE_MAX },
		{ SIZE_MAX, 1 },
		{ SIZE_MAX, 0 },
		{ SIZE_MAX, SIZE_MAX },
	};
	struct xmb_multibuf mb = frame();
	struct xmb_multibuf more = make(&here, 0, LENS(3, 2, 1, 1, 1, 1));
	struct xmb_multibuf out = { 0 };
	struct xmb_cache *cache = &here.cache;
	struct xmb_layers layers, was;

	xmb_layers_init(&layers, &mb);
	push_three(&layers);
	memcpy(&was, &layers, sizeof(was));
	for (size_t i = 0; i < sizeof(bad) / sizeof(*bad); i++) {
		size_t off = bad[i][0], n = bad[i][1];

		EXPECT_REFUSED(&mb, &out,
			       xmb_layers_take(&layers, off, n, &out, cache),
			       -ERANGE);
		EXPECT_REFUSED(
			&mb, NULL,
			xmb_layers_discard_segment(&layers, off, n, cache),
			-ERANGE);
	}
	EXPECT_REFUSED(&mb, NULL, xmb_layers_truncate(&layers, 31, cache),
		       -ERANGE);
	EXPECT_REFUSED(&mb, NULL, xmb_layers_truncate(&layers, SIZE_MAX, cache),
		       -ERANGE);
	EXPECT_REFUSED(&mb, &more, xmb_layers_insert(&layers, 31, &more, cache),
		       -ERANGE);
	EXPECT_REFUSED(&mb, &more,
		       xmb_layers_insert(&layers, SIZE_MAX, &more, cache),
		       -ERANGE);
	EXPECT_REFUSED(&mb, NULL, xmb_layers_insert(&layers, 0, &mb, cache),
		       -EINVAL);
	hoard_blocks(&here, 0);
	EXPECT_REFUSED(&mb, &more, xmb_layers_insert(&layers, 10, &more, cache),
		       -ENOBUFS);
	give_blocks(&here);
	cr_expect(memcmp(&was, &layers, sizeof(was)) == 0);
	xmb_multibuf_release(&mb, cache);
	xmb_multibuf_release(&more, cache);
}

Test(layer, nothing_is_written_to_a_read_only_chunk)
{
	struct xmb_multibuf mb = frame();
	struct xmb_chunk clone = share_of(&mb, 5);
	struct xmb_layers layers;
	uint8_t bytes[PAYLOAD] = { 0 };

	xmb_layers_init(&layers, &mb);
	push_three(&layers);
	cr_expect(eq(sz, xmb_layers_copy_from(&layers, 5, bytes, 20), 0));
	expect_bytes(&mb, LEN, 0);
	cr_expect(eq(sz, xmb_layers_copy_from(&layers, 0, bytes, 20), 5));
	xmb_chunk_release(&clone, &here.cache);
	xmb_multibuf_release(&mb, &here.cache);
}

static struct xmb_layers too_short;

static void ask_too_short(void)
{
	xmb_layers_len(&too_short);
}

Test(layer, a_multibuf_that_was_cut_behind_its_views_aborts)
{
	struct xmb_multibuf mb = frame();

	xmb_layers_init(&too_short, &mb);
	push_three(&too_short);
	cr_assert(eq(int,
		     xmb_multibuf_truncate(&mb, LEN - PAYLOAD - 1, &here.cache),
		     0));
	lab_expect_death(ask_too_short, "outside <= layers->mb->len");
	xmb_multibuf_release(&mb, &here.cache);
}
