/* SPDX-License-Identifier: BSD-2-Clause */
#include "micro_xmbuf.h"

#include "buf/edit.h"
#include "view/span.h"
#include "view/stream.h"

enum { OTHER_PARTS = 3, IOV_MAX_HERE = 8 };

/* The same bytes in four chunks, in three and in one; and torn words. */
static struct xmb_multibuf held, other, whole, torn;
static uint8_t flat[MICRO_LONG];

static void fill(struct xmb_multibuf *mb, uint32_t parts)
{
	packet_of(mb, parts, MICRO_LONG / parts);
	if (xmb_multibuf_copy_from(mb, 0, micro_data, MICRO_LONG) != MICRO_LONG)
		bench_die("filling a packet", 0);
}

static void hold(void)
{
	struct xmb_multibuf last = { 0 };

	fill(&held, MICRO_PARTS);
	fill(&other, OTHER_PARTS);
	fill(&whole, 1);
	packet_of(&torn, MICRO_TORN, sizeof(uint32_t));
	must(xmb_multibuf_discard_prefix(&torn, 2, &micro_cache));
	packet(&last, 2);
	append(&torn, &last);
}

static void let_go(void)
{
	drop(&held);
	drop(&other);
	drop(&whole);
	drop(&torn);
}

static void index_at(uint32_t cnt)
{
	struct xmb_multibuf_index index;
	size_t off = MICRO_BORDER + 200;

	for (uint32_t i = 0; i < cnt; i++) {
		micro_keep(off);
		must(xmb_multibuf_index_at(&held, off, &index));
		micro_use(&index);
	}
}

static void seek_skip(uint32_t cnt)
{
	struct xmb_reader reader;
	size_t n = 1300;

	xmb_reader_init(&reader, &held);
	for (uint32_t i = 0; i < cnt; i++) {
		micro_keep(n);
		must(xmb_reader_seek(&reader, MICRO_ACROSS));
		if (xmb_reader_skip(&reader, n) != n)
			bench_die("xmb_reader_skip", 0);
		micro_use(&reader);
	}
}

static void get(uint32_t cnt, size_t off)
{
	uint8_t tmp[MICRO_ACROSS];

	for (uint32_t i = 0; i < cnt; i++) {
		micro_keep(off);
		micro_use(xmb_multibuf_get(&held, off, sizeof(tmp), tmp));
	}
}

static void get_inside(uint32_t cnt)
{
	get(cnt, MICRO_PIECE);
}

static void get_across(uint32_t cnt)
{
	get(cnt, MICRO_BORDER - MICRO_ACROSS / 2);
}

static void copy_to(uint32_t cnt)
{
	for (uint32_t i = 0; i < cnt; i++) {
		xmb_multibuf_copy_to(&held, 0, flat, MICRO_LONG);
		micro_use(flat);
	}
}

static void copy_from(uint32_t cnt)
{
	for (uint32_t i = 0; i < cnt; i++) {
		xmb_multibuf_copy_from(&held, 0, micro_data, MICRO_LONG);
		micro_use(&held);
	}
}

static void equal(uint32_t cnt)
{
	for (uint32_t i = 0; i < cnt; i++) {
		if (!xmb_span_equal(&held, 0, micro_data, MICRO_LONG))
			bench_die("xmb_span_equal", 0);
		micro_use(&held);
	}
}

static void compare(uint32_t cnt)
{
	for (uint32_t i = 0; i < cnt; i++) {
		if (xmb_span_compare(&held, &other) != 0)
			bench_die("xmb_span_compare", 0);
		micro_use(&held);
	}
}

static void find_byte(uint32_t cnt)
{
	for (uint32_t i = 0; i < cnt; i++) {
		if (xmb_span_find_byte(&held, 0, MICRO_MARK) != MICRO_LONG - 1)
			bench_die("xmb_span_find_byte", 0);
		micro_use(&held);
	}
}

static void find(uint32_t cnt)
{
	const uint8_t *last = micro_data + MICRO_LONG - 4;

	for (uint32_t i = 0; i < cnt; i++) {
		if (xmb_span_find(&held, 0, last, 4) != MICRO_LONG - 4)
			bench_die("xmb_span_find", 0);
		micro_use(&held);
	}
}

static void bytes(uint32_t cnt)
{
	struct xmb_byte_iter iter;
	uint32_t sum = 0;
	int byte;

	for (uint32_t i = 0; i < cnt; i++) {
		must(xmb_byte_iter_init(&iter, &held, 0));
		while ((byte = xmb_byte_next(&iter)) >= 0) {
			sum += (uint32_t)byte;
			micro_keep(sum);
		}
	}
}

static void bytes_back(uint32_t cnt)
{
	struct xmb_byte_iter iter;
	uint32_t sum = 0;
	int byte;

	for (uint32_t i = 0; i < cnt; i++) {
		must(xmb_byte_iter_init(&iter, &held, held.len));
		while ((byte = xmb_byte_prev(&iter)) >= 0) {
			sum += (uint32_t)byte;
			micro_keep(sum);
		}
	}
}

static void read_words(const struct xmb_multibuf *mb, uint32_t cnt,
		       uint32_t words)
{
	struct xmb_reader reader;
	uint32_t word = 0;

	for (uint32_t i = 0; i < cnt; i++) {
		xmb_reader_init(&reader, mb);
		for (uint32_t k = 0; k < words; k++) {
			must(xmb_reader_get_be32(&reader, &word));
			micro_keep(word);
		}
	}
}

static void get_be32(uint32_t cnt)
{
	read_words(&whole, cnt, MICRO_WORDS);
}

static void get_be32_across(uint32_t cnt)
{
	read_words(&torn, cnt, MICRO_TORN);
}

static void put_be32(uint32_t cnt)
{
	struct xmb_writer writer;

	for (uint32_t i = 0; i < cnt; i++) {
		xmb_writer_init(&writer, &whole);
		for (uint32_t k = 0; k < MICRO_WORDS; k++)
			must(xmb_writer_put_be32(&writer, k));
		micro_use(&whole);
	}
}

static void iovec(uint32_t cnt)
{
	struct iovec iov[IOV_MAX_HERE];
	size_t done;

	for (uint32_t i = 0; i < cnt; i++) {
		must(xmb_span_iovec(&held, 0, held.len, iov, IOV_MAX_HERE,
				    &done));
		micro_use(iov);
	}
}

#define HELD(fn)                                                               \
	{                                                                      \
		.run = fn, .begin = hold, .end = let_go                        \
	}

const struct micro_step micro_xmbuf_bytes[MICRO_ROW_CNT] = {
	[MICRO_index_at] = HELD(index_at),
	[MICRO_seek_skip] = HELD(seek_skip),
	[MICRO_get_inside] = HELD(get_inside),
	[MICRO_get_across] = HELD(get_across),
	[MICRO_copy_to] = HELD(copy_to),
	[MICRO_copy_from] = HELD(copy_from),
	[MICRO_equal] = HELD(equal),
	[MICRO_compare] = HELD(compare),
	[MICRO_find_byte] = HELD(find_byte),
	[MICRO_find] = HELD(find),
	[MICRO_bytes] = HELD(bytes),
	[MICRO_bytes_back] = HELD(bytes_back),
	[MICRO_get_be32] = HELD(get_be32),
	[MICRO_get_be32_across] = HELD(get_be32_across),
	[MICRO_put_be32] = HELD(put_be32),
	[MICRO_iovec] = HELD(iovec),
};
