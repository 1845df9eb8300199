/* SPDX-License-Identifier: BSD-2-Clause */
#include "view/span.h"

#include "view_lab.h"

#include <liburing.h>
#include <stdio.h>
#include <unistd.h>

TestSuite(span, .init = setup, .fini = teardown_or_abort);

enum {
	IOV_CNT = 16,
};

static const size_t bad_ranges[][2] = {
	{ 0, 18 },
	{ 17, 1 },
	{ 18, 0 },
	{ 1, SIZE_MAX },
	{ SIZE_MAX, 0 },
	{ SIZE_MAX, SIZE_MAX },
	{ (size_t)1 << 32, 0 },
	{ 0, ((size_t)1 << 32) + 1 },
};

enum {
	BAD_CNT = sizeof(bad_ranges) / sizeof(*bad_ranges),
};

static struct xmb_multibuf packet(uint8_t first)
{
	return make(&here, first, LENS(0, 2, 0, 5, 1, 0, 0, 6, 3, 0));
}

Test(span, walks_any_range_without_empty_spans)
{
	struct xmb_multibuf mb = packet(0);
	struct xmb_span_iter iter;
	struct xmb_span span;

	for (size_t off = 0; off <= 17; off++) {
		for (size_t n = 0; n <= 17 - off; n++) {
			size_t at = off;

			cr_assert(eq(int,
				     xmb_span_iter_init(&iter, &mb, off, n),
				     0));
			while (xmb_span_next(&iter, &span)) {
				cr_assert(gt(u32, span.len, 0));
				cr_assert(span.data == byte_of(&mb, at));
				cr_assert(span.data + span.len - 1 ==
					  byte_of(&mb, at + span.len - 1));
				at += span.len;
			}
			cr_assert(eq(sz, at, off + n));
			cr_assert(not(xmb_span_next(&iter, &span)));
		}
	}
	xmb_multibuf_release(&mb, &here.cache);
}

Test(span, says_what_is_read_only)
{
	struct xmb_multibuf mb = packet(0);
	struct xmb_chunk clone = share_of(&mb, 3);
	struct xmb_span_iter iter;
	struct xmb_span span;
	uint32_t rdonly = 0;

	cr_assert(eq(int, xmb_span_iter_init(&iter, &mb, 0, 17), 0));
	for (uint32_t i = 0; xmb_span_next(&iter, &span); i++)
		rdonly |= (uint32_t)span.is_rdonly << i;
	cr_expect(eq(u32, rdonly, 1 << 1));
	xmb_chunk_release(&clone, &here.cache);
	xmb_multibuf_release(&mb, &here.cache);
}

Test(span, a_range_beyond_the_data_is_refused)
{
	struct xmb_multibuf mb = packet(0);
	struct xmb_span_iter iter, iter_was;
	struct xmb_byte_iter bytes, bytes_was;
	struct iovec iov[IOV_CNT], iov_was[IOV_CNT];
	size_t done = 77;

	memset(&iter, 0x55, sizeof(iter));
	memset(&bytes, 0x55, sizeof(bytes));
	memset(&iov, 0x55, sizeof(iov));
	memcpy(&iter_was, &iter, sizeof(iter));
	memcpy(&bytes_was, &bytes, sizeof(bytes));
	memcpy(&iov_was, &iov, sizeof(iov));
	for (int i = 0; i < BAD_CNT; i++) {
		size_t off = bad_ranges[i][0], n = bad_ranges[i][1];

		cr_expect(eq(int, xmb_span_iter_init(&iter, &mb, off, n),
			     -ERANGE));
		cr_expect(eq(int,
			     xmb_span_iovec(&mb, off, n, iov, IOV_CNT, &done),
			     -ERANGE));
		if (off > 17)
			cr_expect(eq(int, xmb_byte_iter_init(&bytes, &mb, off),
				     -ERANGE));
		cr_expect(not(xmb_span_equal(&mb, off, "", n)));
	}
	cr_expect(memcmp(&iter, &iter_was, sizeof(iter)) == 0);
	cr_expect(memcmp(&bytes, &bytes_was, sizeof(bytes)) == 0);
	cr_expect(memcmp(&iov, &iov_was, sizeof(iov)) == 0);
	cr_expect(eq(sz, done, 77));
	xmb_multibuf_release(&mb, &here.cache);
}

Test(span, iovecs_go_on_where_there_were_too_few)
{
	struct xmb_multibuf mb = packet(0), empty = { 0 };
	struct iovec iov[IOV_CNT];
	size_t off, done;
	int cnt;

	cr_expect(eq(u32, xmb_span_cnt(&mb), 5));
	cr_expect(eq(u32, xmb_span_cnt(&empty), 0));
	cr_expect(eq(int, xmb_span_iovec(&mb, 0, 17, iov, IOV_CNT, &done), 5));
	cr_expect(eq(sz, done, 17));
	cr_expect(eq(int, xmb_span_iovec(&mb, 0, 17, iov, 0, &done), 0));
	cr_expect(eq(sz, done, 0));
	cr_expect(eq(int, xmb_span_iovec(&empty, 0, 0, iov, 1, &done), 0));
	cr_expect(eq(sz, done, 0));
	for (uint32_t max = 1; max < 5; max++) {
		for (off = 1; off < 16; off += done) {
			cnt = xmb_span_iovec(&mb, off, 16 - off, iov, max,
					     &done);
			cr_assert(gt(int, cnt, 0));
			cr_assert(le(u32, (uint32_t)cnt, max));
			cr_assert(gt(sz, done, 0));
			for (size_t i = 0, at = off; i < (size_t)cnt; i++) {
				cr_assert(iov[i].iov_base == byte_of(&mb, at));
				at += iov[i].iov_len;
				cr_assert(le(sz, at, off + done));
			}
		}
		cr_assert(eq(sz, off, 16));
	}
	xmb_multibuf_release(&mb, &here.cache);
}

/* 1000 bytes in chunks of both pools, in this room's cache. */
static struct xmb_multibuf thousand(uint8_t first)
{
	struct xmb_multibuf mb = packet(first);
	struct xmb_multibuf more =
		make(&there, (uint8_t)(first + 17), LENS(1, 0, 700));
	struct xmb_multibuf rest = make(&here, (uint8_t)(first + 718),
					LENS(60, 60, 60, 0, 60, 42));

	cr_assert(eq(int, xmb_multibuf_append(&mb, &more, &here.cache), 0));
	cr_assert(eq(int, xmb_multibuf_append(&mb, &rest, &here.cache), 0));
	return mb;
}

static int iovecs_of(const struct xmb_multibuf *mb, struct iovec *iov)
{
	size_t done = 0;
	int cnt = xmb_span_iovec(mb, 0, mb->len, iov, IOV_CNT, &done);

	cr_assert(eq(sz, done, mb->len));
	return cnt;
}

static struct xmb_multibuf zeroed_thousand(void)
{
	struct xmb_multibuf mb = thousand(0);
	struct xmb_writer writer;

	xmb_writer_init(&writer, &mb);
	xmb_writer_fill(&writer, 0, 1000);
	return mb;
}

Test(span, a_pipe_takes_and_gives_a_packet_by_iovecs)
{
	struct xmb_multibuf from = thousand(3), to = zeroed_thousand();
	struct iovec iov[IOV_CNT];
	int fds[2], cnt;

	cr_assert(eq(int, pipe(fds), 0));
	cnt = iovecs_of(&from, iov);
	cr_expect(eq(long, writev(fds[1], iov, cnt), 1000));
	cnt = iovecs_of(&to, iov);
	cr_expect(eq(long, readv(fds[0], iov, cnt), 1000));
	expect_bytes(&to, 1000, 3);
	expect_bytes(&from, 1000, 3);
	cr_expect(eq(int, xmb_span_compare(&from, &to), 0));
	close(fds[0]);
	close(fds[1]);
	xmb_multibuf_release(&from, &here.cache);
	xmb_multibuf_release(&to, &here.cache);
}

Test(span, a_file_is_read_in_parts_wherever_a_read_was_short)
{
	struct xmb_multibuf from = thousand(9), to = zeroed_thousand();
	struct iovec iov[IOV_CNT];
	size_t off = 0, done;
	FILE *file = tmpfile();
	uint8_t bytes[1001];
	ssize_t n;
	int cnt;

	cr_assert(not(zero(ptr, file)));
	cnt = iovecs_of(&from, iov);
	cr_expect(eq(long, writev(fileno(file), iov, cnt), 1000));
	cr_expect(eq(long, pread(fileno(file), bytes, 1001, 0), 1000));
	for (int i = 0; i < 1000; i++)
		cr_assert(eq(u8, bytes[i], (uint8_t)(9 + i)));
	/* 37 bytes of each read count: the next begins behind them. */
	while (off < 1000) {
		cnt = xmb_span_iovec(&to, off, 1000 - off, iov, 2, &done);
		n = preadv(fileno(file), iov, cnt, (off_t)off);
		cr_assert(eq(long, n, (long)done));
		off += done < 37 ? done : 37;
	}
	expect_bytes(&to, 1000, 9);
	fclose(file);
	xmb_multibuf_release(&from, &here.cache);
	xmb_multibuf_release(&to, &here.cache);
}

static int ring_wait(struct io_uring *ring)
{
	struct io_uring_cqe *cqe;
	int res;

	cr_assert(eq(int, io_uring_submit_and_wait(ring, 1), 1));
	cr_assert(eq(int, io_uring_wait_cqe(ring, &cqe), 0));
	res = cqe->res;
	io_uring_cqe_seen(ring, cqe);
	return res;
}

Test(span, io_uring_takes_the_iovecs)
{
	struct xmb_multibuf from = thousand(5), to = zeroed_thousand();
	struct iovec iov[IOV_CNT];
	FILE *file = tmpfile();
	struct io_uring ring;
	unsigned int cnt;
	int rc;

	cr_assert(not(zero(ptr, file)));
	rc = io_uring_queue_init(2, &ring, 0);
	if (rc < 0) {
		xmb_multibuf_release(&from, &here.cache);
		xmb_multibuf_release(&to, &here.cache);
		cr_skip_test("no io_uring here: %s", strerror(-rc));
	}
	cnt = (unsigned int)iovecs_of(&from, iov);
	io_uring_prep_writev(io_uring_get_sqe(&ring), fileno(file), iov, cnt,
			     0);
	cr_expect(eq(int, ring_wait(&ring), 1000));
	cnt = (unsigned int)iovecs_of(&to, iov);
	io_uring_prep_readv(io_uring_get_sqe(&ring), fileno(file), iov, cnt, 0);
	cr_expect(eq(int, ring_wait(&ring), 1000));
	expect_bytes(&to, 1000, 5);
	io_uring_queue_exit(&ring);
	fclose(file);
	xmb_multibuf_release(&from, &here.cache);
	xmb_multibuf_release(&to, &here.cache);
}

Test(span, bytes_are_walked_both_ways_and_end_at_both_ends)
{
	struct xmb_multibuf mb = packet(0);
	struct xmb_byte_iter iter;
	int at;

	cr_assert(eq(int, xmb_byte_iter_init(&iter, &mb, 0), 0));
	cr_expect(eq(int, xmb_byte_prev(&iter), -1));
	for (at = 0; at < 17; at++)
		cr_expect(eq(int, xmb_byte_next(&iter), at));
	cr_expect(eq(int, xmb_byte_next(&iter), -1));
	cr_expect(eq(sz, xmb_byte_tell(&iter), 17));
	for (at = 17; at > 0; at--)
		cr_expect(eq(int, xmb_byte_prev(&iter), at - 1));
	cr_expect(eq(int, xmb_byte_prev(&iter), -1));
	cr_expect(eq(sz, xmb_byte_tell(&iter), 0));
	/* To and fro over each byte, from each place. */
	for (at = 0; at <= 17; at++) {
		cr_assert(
			eq(int, xmb_byte_iter_init(&iter, &mb, (size_t)at), 0));
		cr_expect(eq(int, xmb_byte_prev(&iter), at - 1));
		cr_expect(eq(int, xmb_byte_next(&iter), at > 0 ? at - 1 : 0));
		if (at > 0)
			cr_expect(eq(int, xmb_byte_next(&iter),
				     at < 17 ? at : -1));
	}
	xmb_multibuf_release(&mb, &here.cache);
	cr_assert(eq(int, xmb_byte_iter_init(&iter, &mb, 0), 0));
	cr_expect(eq(int, xmb_byte_next(&iter), -1));
	cr_expect(eq(int, xmb_byte_prev(&iter), -1));
}

static int sign(int v)
{
	return (v > 0) - (v < 0);
}

Test(span, compares_bytes_and_not_how_they_are_cut)
{
	struct xmb_multibuf a = packet(0), empty = { 0 };
	struct xmb_multibuf b = make(&there, 0, LENS(1, 0, 3, 13));
	struct xmb_multibuf none = make(&here, 0, LENS(0, 0));

	cr_expect(eq(int, xmb_span_compare(&a, &b), 0));
	cr_expect(eq(int, xmb_span_compare(&a, &a), 0));
	cr_expect(eq(int, xmb_span_compare(&empty, &none), 0));
	cr_expect(gt(int, xmb_span_compare(&a, &none), 0));
	cr_expect(lt(int, xmb_span_compare(&empty, &a), 0));
	for (size_t i = 0; i < 17; i++) {
		/* The difference counts that comes first, as a uint8_t. */
		uint8_t was = *byte_of(&b, i);

		*byte_of(&b, i) = 0xff;
		cr_expect(lt(int, xmb_span_compare(&a, &b), 0));
		cr_expect(gt(int, xmb_span_compare(&b, &a), 0));
		*byte_of(&b, i) = was;
	}
	for (size_t len = 17; len-- > 0;) {
		xmb_multibuf_truncate(&b, len, &there.cache);
		cr_expect(eq(int, sign(xmb_span_compare(&a, &b)), 1));
		cr_expect(eq(int, sign(xmb_span_compare(&b, &a)), -1));
	}
	xmb_multibuf_release(&a, &here.cache);
	xmb_multibuf_release(&b, &there.cache);
	xmb_multibuf_release(&none, &here.cache);
}

Test(span, equal_sees_every_byte_and_no_other)
{
	struct xmb_multibuf mb = packet(0);
	uint8_t data[18];

	for (size_t i = 0; i < sizeof(data); i++)
		data[i] = (uint8_t)i;
	for (size_t off = 0; off <= 17; off++) {
		for (size_t n = 0; n <= 17 - off; n++) {
			cr_assert(xmb_span_equal(&mb, off, data + off, n));
			for (size_t i = 0; i < 17; i++) {
				data[i] ^= 0x80;
				cr_assert(xmb_span_equal(&mb, off, data + off,
							 n) ==
					  (i < off || i >= off + n));
				data[i] ^= 0x80;
			}
		}
	}
	cr_expect(not(xmb_span_equal(&mb, 0, data, 18)));
	xmb_multibuf_release(&mb, &here.cache);
}

/* The first place from off on, by trying each. */
static int64_t find_plainly(const uint8_t *flat, size_t len, size_t off,
			    const uint8_t *what, size_t n)
{
	for (; off + n <= len; off++) {
		if (memcmp(flat + off, what, n) == 0)
			return (int64_t)off;
	}
	return -ENOENT;
}

Test(span, finds_the_first_run_in_one_chunk_or_over_several)
{
	struct xmb_multibuf mb = packet(0);
	uint8_t flat[17], what[6];

	/* Of two values, so that there are many near misses. */
	for (uint32_t seed = 0; seed < 200; seed++) {
		for (size_t i = 0; i < 17; i++)
			flat[i] = "ab"[(seed * 2654435761u >> i) & 1];
		xmb_multibuf_copy_from(&mb, 0, flat, sizeof(flat));
		for (size_t off = 0; off <= 18; off++) {
			for (size_t n = 0; n <= 6; n++) {
				for (size_t i = 0; i < n; i++)
					what[i] = "ab"[(seed ^ off) >> i & 1];
				cr_assert(eq(
					i64, xmb_span_find(&mb, off, what, n),
					find_plainly(flat, 17, off, what, n)));
			}
			cr_assert(eq(i64, xmb_span_find_byte(&mb, off, 'b'),
				     find_plainly(flat, 17, off,
						  (const uint8_t *)"b", 1)));
		}
	}
	cr_expect(eq(i64, xmb_span_find_byte(&mb, 0, 'c'), -ENOENT));
	cr_expect(eq(i64, xmb_span_find(&mb, 17, "", 0), 17));
	cr_expect(eq(i64, xmb_span_find(&mb, SIZE_MAX, "", 0), -ENOENT));
	cr_expect(eq(i64, xmb_span_find_byte(&mb, SIZE_MAX, 'a'), -ENOENT));
	cr_expect(eq(i64, xmb_span_find(&mb, 1, flat, SIZE_MAX), -ENOENT));
	xmb_multibuf_release(&mb, &here.cache);
}
