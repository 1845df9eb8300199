/* SPDX-License-Identifier: BSD-2-Clause */
#include "view/stream.h"

#include "view_lab.h"

TestSuite(stream, .init = setup, .fini = teardown_or_abort);

/* What the typed putters below write, in this order. */
static const uint8_t wire[] = {
	0xa1, 0xb1, 0xb2, 0xc1, 0xc2, 0xc3, 0xd1, 0xd2, 0xd3, 0xd4, 0xe1,
	0xe2, 0xe3, 0xe4, 0xe5, 0xe6, 0xe7, 0xe8, 0xf2, 0xf1, 0x14, 0x13,
	0x12, 0x11, 0x28, 0x27, 0x26, 0x25, 0x24, 0x23, 0x22, 0x21,
};

static void put_all(struct xmb_writer *w)
{
	cr_expect(eq(int, xmb_writer_put_u8(w, 0xa1), 0));
	cr_expect(eq(int, xmb_writer_put_be16(w, 0xb1b2), 0));
	cr_expect(eq(int, xmb_writer_put_be24(w, 0xffc1c2c3), 0));
	cr_expect(eq(int, xmb_writer_put_be32(w, 0xd1d2d3d4), 0));
	cr_expect(eq(int, xmb_writer_put_be64(w, 0xe1e2e3e4e5e6e7e8), 0));
	cr_expect(eq(int, xmb_writer_put_le16(w, 0xf1f2), 0));
	cr_expect(eq(int, xmb_writer_put_le32(w, 0x11121314), 0));
	cr_expect(eq(int, xmb_writer_put_le64(w, 0x2122232425262728), 0));
}

static void get_all(struct xmb_reader *r)
{
	uint8_t u8 = 0;
	uint16_t be16 = 0, le16 = 0;
	uint32_t be24 = 0, be32 = 0, le32 = 0;
	uint64_t be64 = 0, le64 = 0;

	cr_expect(eq(int, xmb_reader_get_u8(r, &u8), 0));
	cr_expect(eq(int, xmb_reader_get_be16(r, &be16), 0));
	cr_expect(eq(int, xmb_reader_get_be24(r, &be24), 0));
	cr_expect(eq(int, xmb_reader_get_be32(r, &be32), 0));
	cr_expect(eq(int, xmb_reader_get_be64(r, &be64), 0));
	cr_expect(eq(int, xmb_reader_get_le16(r, &le16), 0));
	cr_expect(eq(int, xmb_reader_get_le32(r, &le32), 0));
	cr_expect(eq(int, xmb_reader_get_le64(r, &le64), 0));
	cr_expect(eq(u8, u8, 0xa1));
	cr_expect(eq(u16, be16, 0xb1b2));
	cr_expect(eq(u32, be24, 0xc1c2c3));
	cr_expect(eq(u32, be32, 0xd1d2d3d4));
	cr_expect(eq(u64, be64, 0xe1e2e3e4e5e6e7e8));
	cr_expect(eq(u16, le16, 0xf1f2));
	cr_expect(eq(u32, le32, 0x11121314));
	cr_expect(eq(u64, le64, 0x2122232425262728));
}

Test(stream, numbers_come_back_wherever_chunks_end)
{
	uint8_t flat[sizeof(wire)];
	struct xmb_writer writer;
	struct xmb_reader reader;

	for (uint32_t cut = 0; cut <= sizeof(wire); cut++) {
		struct xmb_multibuf mb =
			make(&here, 0, LENS(cut, 0, 1, 2, 0, 3, 0, 40 - cut));

		xmb_writer_init(&writer, &mb);
		put_all(&writer);
		cr_expect(eq(sz, xmb_writer_tell(&writer), sizeof(wire)));
		xmb_multibuf_copy_to(&mb, 0, flat, sizeof(flat));
		cr_expect(memcmp(flat, wire, sizeof(wire)) == 0, "cut %u", cut);
		xmb_reader_init(&reader, &mb);
		get_all(&reader);
		cr_expect(eq(sz, xmb_reader_tell(&reader), sizeof(wire)));
		/* What is behind was not touched. */
		for (uint32_t i = sizeof(wire); i < mb.len; i++)
			cr_expect(eq(u8, *byte_of(&mb, i), (uint8_t)i));
		xmb_multibuf_release(&mb, &here.cache);
	}
}

Test(stream, a_number_beyond_the_end_is_not_read_and_nothing_moves)
{
	struct xmb_multibuf mb = make(&here, 1, LENS(1, 0, 1, 5));
	struct xmb_reader r;
	uint64_t u64 = 5;
	uint32_t u32 = 6;
	uint16_t u16 = 7;
	uint8_t u8 = 8;

	xmb_reader_init(&r, &mb);
	cr_expect(eq(int, xmb_reader_get_be64(&r, &u64), -ENODATA));
	cr_expect(eq(int, xmb_reader_get_le64(&r, &u64), -ENODATA));
	cr_expect(eq(sz, xmb_reader_tell(&r), 0));
	cr_expect(eq(int, xmb_reader_seek(&r, 5), 0));
	cr_expect(eq(int, xmb_reader_get_be24(&r, &u32), -ENODATA));
	cr_expect(eq(int, xmb_reader_get_be32(&r, &u32), -ENODATA));
	cr_expect(eq(int, xmb_reader_get_le32(&r, &u32), -ENODATA));
	cr_expect(
		eq(int, xmb_reader_read_border(&r, &u64, SIZE_MAX), -ENODATA));
	cr_expect(eq(ptr, (void *)xmb_reader_get(&r, 3, &u64), NULL));
	cr_expect(eq(ptr, (void *)xmb_reader_get(&r, SIZE_MAX, &u64), NULL));
	cr_expect(eq(sz, xmb_reader_tell(&r), 5));
	cr_expect(eq(int, xmb_reader_get_u8(&r, &u8), 0));
	cr_expect(eq(u8, u8, 6));
	cr_expect(eq(int, xmb_reader_get_be16(&r, &u16), -ENODATA));
	cr_expect(eq(int, xmb_reader_get_le16(&r, &u16), -ENODATA));
	cr_expect(eq(sz, xmb_reader_remaining(&r), 1));
	cr_expect(eq(int, xmb_reader_get_u8(&r, &u8), 0));
	cr_expect(eq(u8, u8, 7));
	cr_expect(eq(int, xmb_reader_get_u8(&r, &u8), -ENODATA));
	cr_expect(eq(int, xmb_reader_read_all(&r, NULL, 0), 0));
	cr_expect(u64 == 5 && u32 == 6 && u16 == 7 && u8 == 7);
	xmb_multibuf_release(&mb, &here.cache);
}

Test(stream, a_number_beyond_the_end_is_not_written_and_nothing_moves)
{
	struct xmb_multibuf mb = make(&here, 1, LENS(1, 0, 1, 5));
	struct xmb_writer w;

	xmb_writer_init(&w, &mb);
	cr_expect(eq(int, xmb_writer_put_be64(&w, 0), -ENOSPC));
	cr_expect(eq(int, xmb_writer_put_le64(&w, 0), -ENOSPC));
	cr_expect(eq(sz, xmb_writer_tell(&w), 0));
	cr_expect(eq(int, xmb_writer_seek(&w, 5), 0));
	cr_expect(eq(int, xmb_writer_put_be24(&w, 0), -ENOSPC));
	cr_expect(eq(int, xmb_writer_put_be32(&w, 0), -ENOSPC));
	cr_expect(eq(int, xmb_writer_put_le32(&w, 0), -ENOSPC));
	cr_expect(eq(int, xmb_writer_write_border(&w, "", SIZE_MAX), -ENOSPC));
	cr_expect(eq(int, xmb_writer_seek(&w, 6), 0));
	cr_expect(eq(int, xmb_writer_put_be16(&w, 0), -ENOSPC));
	cr_expect(eq(int, xmb_writer_put_le16(&w, 0), -ENOSPC));
	cr_expect(eq(sz, xmb_writer_remaining(&w), 1));
	expect_bytes(&mb, 7, 1);
	cr_expect(eq(int, xmb_writer_put_u8(&w, 7), 0));
	cr_expect(eq(int, xmb_writer_put_u8(&w, 0), -ENOSPC));
	cr_expect(eq(int, xmb_writer_write_all(&w, NULL, 0), 0));
	expect_bytes(&mb, 7, 1);
	xmb_multibuf_release(&mb, &here.cache);
}

Test(stream, nothing_is_written_to_a_read_only_chunk)
{
	struct xmb_multibuf mb = make(&here, 1, LENS(4, 3, 0, 5));
	struct xmb_chunk clone = share_of(&mb, 1);
	struct xmb_writer w;

	xmb_writer_init(&w, &mb);
	cr_expect(eq(int, xmb_writer_put_be64(&w, 0), -EPERM));
	cr_expect(eq(int, xmb_writer_seek(&w, 3), 0));
	cr_expect(eq(int, xmb_writer_put_be16(&w, 0), -EPERM));
	cr_expect(eq(int, xmb_writer_put_u8(&w, 4), 0));
	cr_expect(eq(int, xmb_writer_put_u8(&w, 0), -EPERM));
	cr_expect(eq(int, xmb_writer_put_be16(&w, 0), -EPERM));
	cr_expect(eq(int, xmb_writer_write_all(&w, NULL, 0), 0));
	cr_expect(eq(sz, xmb_writer_write(&w, "abc", 3), 0));
	cr_expect(eq(sz, xmb_writer_fill(&w, 0, SIZE_MAX), 0));
	cr_expect(eq(sz, xmb_writer_tell(&w), 4));
	/* Inside it, and from it over the border. */
	cr_expect(eq(sz, xmb_writer_skip(&w, 1), 1));
	cr_expect(eq(int, xmb_writer_put_u8(&w, 0), -EPERM));
	cr_expect(eq(int, xmb_writer_put_be32(&w, 0), -EPERM));
	/* The end comes first, even behind a read-only chunk. */
	cr_expect(eq(int, xmb_writer_put_be64(&w, 0), -ENOSPC));
	cr_expect(eq(sz, xmb_writer_tell(&w), 5));
	expect_bytes(&mb, 12, 1);
	/* What is before it and behind it is written. */
	cr_expect(eq(int, xmb_writer_seek(&w, 0), 0));
	cr_expect(eq(sz, xmb_writer_write(&w, "0123456789", 10), 4));
	cr_expect(eq(sz, xmb_writer_skip(&w, 3), 3));
	cr_expect(eq(sz, xmb_writer_fill(&w, 'x', SIZE_MAX), 5));
	cr_expect(eq(sz, xmb_writer_remaining(&w), 0));
	cr_expect(memcmp(byte_of(&mb, 0), "0123", 4) == 0);
	cr_expect(memcmp(byte_of(&mb, 4), "\5\6\7", 3) == 0);
	cr_expect(memcmp(byte_of(&mb, 7), "xxxxx", 5) == 0);
	xmb_chunk_release(&clone, &here.cache);
	xmb_multibuf_release(&mb, &here.cache);
}

Test(stream, read_write_and_skip_say_how_many_bytes)
{
	struct xmb_multibuf mb = make(&here, 0, LENS(0, 3, 0, 4, 60, 9, 0));
	uint8_t bytes[100], want[100];
	struct xmb_reader r;
	struct xmb_writer w;
	size_t at, n;

	for (size_t i = 0; i < sizeof(want); i++)
		want[i] = (uint8_t)(7 * i);
	for (size_t step = 1; step < 80; step++) {
		xmb_writer_init(&w, &mb);
		for (at = 0; at < 76; at += n) {
			n = xmb_writer_write(&w, want + at, step);
			cr_assert(eq(sz, n, step < 76 - at ? step : 76 - at));
			cr_assert(eq(sz, xmb_writer_tell(&w), at + n));
		}
		xmb_reader_init(&r, &mb);
		memset(bytes, 0xee, sizeof(bytes));
		for (at = 0; at < 76; at += n) {
			cr_assert(eq(sz, xmb_reader_peek(&r, bytes + at, step),
				     step < 76 - at ? step : 76 - at));
			cr_assert(eq(sz, xmb_reader_tell(&r), at));
			n = xmb_reader_read(&r, bytes + at, step);
			cr_assert(eq(sz, n, step < 76 - at ? step : 76 - at));
			cr_assert(
				eq(sz, xmb_reader_remaining(&r), 76 - at - n));
		}
		cr_expect(memcmp(bytes, want, 76) == 0 && bytes[76] == 0xee);
		cr_expect(eq(sz, xmb_reader_read(&r, bytes, step), 0));
		cr_expect(eq(sz, xmb_writer_write(&w, want, step), 0));
	}
	xmb_reader_init(&r, &mb);
	cr_expect(eq(sz, xmb_reader_skip(&r, 5), 5));
	cr_expect(eq(sz, xmb_reader_skip(&r, SIZE_MAX), 71));
	cr_expect(eq(sz, xmb_reader_skip(&r, 1), 0));
	xmb_multibuf_release(&mb, &here.cache);
}

Test(stream, seek_goes_from_anywhere_to_anywhere_and_not_beyond)
{
	struct xmb_multibuf mb = make(&here, 0, LENS(2, 0, 5, 1, 0, 0, 6, 3));
	struct xmb_reader r;
	struct xmb_writer w;
	uint8_t byte;

	xmb_reader_init(&r, &mb);
	xmb_writer_init(&w, &mb);
	for (size_t from = 0; from <= 17; from++) {
		for (size_t to = 0; to <= 17; to++) {
			cr_assert(eq(int, xmb_reader_seek(&r, from), 0));
			cr_assert(eq(int, xmb_reader_seek(&r, to), 0));
			cr_assert(eq(sz, xmb_reader_tell(&r), to));
			cr_assert(eq(int, xmb_reader_get_u8(&r, &byte),
				     to < 17 ? 0 : -ENODATA));
			if (to < 17)
				cr_assert(eq(u8, byte, (uint8_t)to));
			cr_assert(eq(int, xmb_writer_seek(&w, from), 0));
			cr_assert(eq(int, xmb_writer_seek(&w, to), 0));
			cr_assert(eq(int, xmb_writer_put_u8(&w, (uint8_t)to),
				     to < 17 ? 0 : -ENOSPC));
		}
	}
	cr_assert(eq(int, xmb_reader_seek(&r, 4), 0));
	cr_expect(eq(int, xmb_reader_seek(&r, 18), -ERANGE));
	cr_expect(eq(int, xmb_reader_seek(&r, SIZE_MAX), -ERANGE));
	cr_expect(eq(sz, xmb_reader_tell(&r), 4));
	cr_assert(eq(int, xmb_writer_seek(&w, 4), 0));
	cr_expect(eq(int, xmb_writer_seek(&w, 18), -ERANGE));
	cr_expect(eq(int, xmb_writer_seek(&w, SIZE_MAX), -ERANGE));
	cr_expect(eq(sz, xmb_writer_tell(&w), 4));
	expect_bytes(&mb, 17, 0);
	xmb_multibuf_release(&mb, &here.cache);
}

Test(stream, a_range_ends_the_stream_on_both_sides)
{
	struct xmb_multibuf mb = make(&here, 0, LENS(2, 0, 5, 1, 0, 0, 6, 3));
	struct xmb_reader r;
	struct xmb_writer w;
	uint8_t bytes[20];

	for (size_t off = 0; off <= 17; off++) {
		for (size_t n = 0; n <= 17 - off; n++) {
			cr_assert(eq(int,
				     xmb_reader_init_range(&r, &mb, off, n),
				     0));
			cr_assert(eq(sz, xmb_reader_remaining(&r), n));
			cr_assert(eq(sz, xmb_reader_read(&r, bytes, 20), n));
			for (size_t i = 0; i < n; i++)
				cr_assert(eq(u8, bytes[i], (uint8_t)(off + i)));
			cr_assert(eq(int, xmb_reader_seek(&r, n + 1), -ERANGE));
			cr_assert(eq(int, xmb_reader_seek(&r, 0), 0));
			cr_assert(eq(sz, xmb_reader_skip(&r, 20), n));
			cr_assert(eq(int,
				     xmb_writer_init_range(&w, &mb, off, n),
				     0));
			cr_assert(eq(sz, xmb_writer_fill(&w, 0xff, 20), n));
			cr_assert(eq(sz, xmb_writer_remaining(&w), 0));
			cr_assert(eq(int, xmb_writer_seek(&w, 0), 0));
			cr_assert(eq(sz, xmb_writer_write(&w, bytes, 20), n));
			expect_bytes(&mb, 17, 0);
		}
	}
	xmb_multibuf_release(&mb, &here.cache);
}

Test(stream, a_range_beyond_the_data_is_refused)
{
	static const size_t bad[][2] = {
		{ 0, 8 },
		{ 7, 1 },
		{ 8, 0 },
		{ 1, SIZE_MAX },
		{ SIZE_MAX, 0 },
		{ SIZE_MAX, SIZE_MAX },
		{ SIZE_MAX, 8 },
		{ (size_t)1 << 32, 0 },
		{ 0, (size_t)1 << 32 },
	};
	struct xmb_multibuf mb = make(&here, 0, LENS(3, 4));
	struct xmb_reader r, r_was;
	struct xmb_writer w, w_was;

	memset(&r, 0x55, sizeof(r));
	memset(&w, 0x55, sizeof(w));
	memcpy(&r_was, &r, sizeof(r));
	memcpy(&w_was, &w, sizeof(w));
	for (size_t i = 0; i < sizeof(bad) / sizeof(*bad); i++) {
		cr_expect(
			eq(int,
			   xmb_reader_init_range(&r, &mb, bad[i][0], bad[i][1]),
			   -ERANGE));
		cr_expect(
			eq(int,
			   xmb_writer_init_range(&w, &mb, bad[i][0], bad[i][1]),
			   -ERANGE));
	}
	cr_expect(memcmp(&r, &r_was, sizeof(r)) == 0);
	cr_expect(memcmp(&w, &w_was, sizeof(w)) == 0);
	xmb_multibuf_release(&mb, &here.cache);
}

Test(stream, get_points_into_a_chunk_and_copies_over_a_border)
{
	struct xmb_multibuf mb = make(&here, 0, LENS(4, 0, 6));
	struct xmb_reader r;
	uint8_t tmp[8];

	xmb_reader_init(&r, &mb);
	cr_expect(xmb_reader_get(&r, 0, tmp) == tmp);
	cr_expect(xmb_reader_get(&r, 4, tmp) == byte_of(&mb, 0));
	/* At the border: in place in the chunk behind it. */
	cr_expect(xmb_reader_get(&r, 6, tmp) == byte_of(&mb, 4));
	cr_expect(xmb_reader_get(&r, 0, tmp) == tmp);
	cr_expect(zero(ptr, (void *)xmb_reader_get(&r, 1, tmp)));
	cr_assert(eq(int, xmb_reader_seek(&r, 3), 0));
	cr_expect(xmb_reader_get(&r, 4, tmp) == tmp);
	cr_expect(memcmp(tmp, "\3\4\5\6", 4) == 0);
	cr_expect(eq(sz, xmb_reader_tell(&r), 7));
	xmb_multibuf_release(&mb, &here.cache);
}

Test(stream, runs_are_what_lies_side_by_side)
{
	struct xmb_multibuf mb = make(&here, 0, LENS(0, 4, 0, 6, 1, 0));
	struct xmb_reader r;
	size_t len = 9;

	xmb_reader_init(&r, &mb);
	cr_expect(zero(ptr, (void *)xmb_reader_run(&r, 0, &len)));
	cr_expect(eq(sz, len, 0));
	cr_expect(xmb_reader_run(&r, SIZE_MAX, &len) == byte_of(&mb, 0));
	cr_expect(eq(sz, len, 4));
	cr_expect(xmb_reader_run(&r, 5, &len) == byte_of(&mb, 4));
	cr_expect(eq(sz, len, 5));
	cr_expect(xmb_reader_run(&r, 5, &len) == byte_of(&mb, 9));
	cr_expect(eq(sz, len, 1));
	cr_expect(xmb_reader_run(&r, 5, &len) == byte_of(&mb, 10));
	cr_expect(eq(sz, len, 1));
	cr_expect(zero(ptr, (void *)xmb_reader_run(&r, 5, &len)));
	cr_expect(eq(sz, len, 0));
	xmb_multibuf_release(&mb, &here.cache);
}

Test(stream, of_no_bytes_there_is_nothing_to_read_or_write)
{
	struct xmb_multibuf mbs[2] = { { 0 }, make(&here, 0, LENS(0, 0)) };
	struct xmb_reader r;
	struct xmb_writer w;
	uint8_t byte = 1;

	for (int i = 0; i < 2; i++) {
		xmb_reader_init(&r, &mbs[i]);
		cr_expect(eq(sz, xmb_reader_remaining(&r), 0));
		cr_expect(eq(sz, xmb_reader_tell(&r), 0));
		cr_expect(eq(sz, xmb_reader_read(&r, &byte, 1), 0));
		cr_expect(eq(int, xmb_reader_get_u8(&r, &byte), -ENODATA));
		cr_expect(eq(int, xmb_reader_seek(&r, 0), 0));
		cr_expect(eq(int, xmb_reader_seek(&r, 1), -ERANGE));
		cr_expect(xmb_reader_get(&r, 0, &byte) == &byte);
		xmb_writer_init(&w, &mbs[i]);
		cr_expect(eq(sz, xmb_writer_write(&w, &byte, 1), 0));
		cr_expect(eq(int, xmb_writer_put_u8(&w, 0), -ENOSPC));
		cr_expect(eq(sz, xmb_writer_fill(&w, 0, 1), 0));
	}
	cr_expect(eq(u8, byte, 1));
	xmb_multibuf_release(&mbs[1], &here.cache);
}

Test(stream, a_copy_of_a_stream_is_a_second_place)
{
	struct xmb_multibuf mb = make(&here, 0, LENS(5, 5, 5, 5, 5, 5));
	struct xmb_writer w, mark;
	struct xmb_reader r;
	uint16_t value;

	xmb_writer_init(&w, &mb);
	xmb_writer_skip(&w, 4);
	mark = w;
	cr_assert(eq(int, xmb_writer_put_be16(&w, 0), 0));
	cr_expect(eq(sz, xmb_writer_fill(&w, 0xaa, 20), 20));
	cr_assert(eq(int, xmb_writer_put_be16(&mark, 20), 0));
	xmb_reader_init(&r, &mb);
	xmb_reader_skip(&r, 4);
	cr_assert(eq(int, xmb_reader_get_be16(&r, &value), 0));
	cr_expect(eq(u16, value, 20));
	cr_expect(eq(sz, xmb_writer_tell(&mark), 6));
	cr_expect(eq(sz, xmb_writer_tell(&w), 26));
	xmb_multibuf_release(&mb, &here.cache);
}
