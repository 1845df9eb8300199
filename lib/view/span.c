/* SPDX-License-Identifier: BSD-2-Clause */
#include "view/span.h"

int xmb_span_iter_init(struct xmb_span_iter *iter,
		       const struct xmb_multibuf *mb, size_t off, size_t n)
{
	if (off > mb->len || n > mb->len - off)
		return -ERANGE;
	iter->chunk = xmb_multibuf_first(mb, &iter->chunks);
	while (iter->chunk && off >= iter->chunk->len) {
		off -= iter->chunk->len;
		iter->chunk = xmb_multibuf_next(&iter->chunks);
	}
	iter->off = (uint32_t)off;
	iter->left = (uint32_t)n;
	return 0;
}

bool xmb_span_next(struct xmb_span_iter *iter, struct xmb_span *span)
{
	const struct xmb_chunk *chunk = iter->chunk;

	if (iter->left == 0)
		return false;
	while (chunk->len == 0)
		chunk = xmb_multibuf_next(&iter->chunks);
	span->data = xmb_chunk_data(chunk) + iter->off;
	span->len = xmb_min_u32(chunk->len - iter->off, iter->left);
	span->is_rdonly = xmb_chunk_is_rdonly(chunk);
	iter->left -= span->len;
	iter->chunk = xmb_multibuf_next(&iter->chunks);
	iter->off = 0;
	return true;
}

int xmb_span_iovec(const struct xmb_multibuf *mb, size_t off, size_t n,
		   struct iovec *iov, uint32_t max, size_t *done)
{
	struct xmb_span_iter iter;
	struct xmb_span span;
	uint32_t cnt = 0;
	int rc = xmb_span_iter_init(&iter, mb, off, n);

	if (rc < 0)
		return rc;
	while (cnt < max && xmb_span_next(&iter, &span))
		iov[cnt++] = (struct iovec){
			.iov_base = span.data,
			.iov_len = span.len,
		};
	*done = n - iter.left;
	return (int)cnt;
}

uint32_t xmb_span_cnt(const struct xmb_multibuf *mb)
{
	struct xmb_multibuf_iter iter;
	const struct xmb_chunk *chunk;
	uint32_t cnt = 0;

	for (chunk = xmb_multibuf_first(mb, &iter); chunk;
	     chunk = xmb_multibuf_next(&iter))
		cnt += chunk->len > 0;
	return cnt;
}

int xmb_byte_iter_init(struct xmb_byte_iter *iter,
		       const struct xmb_multibuf *mb, size_t off)
{
	if (off > mb->len)
		return -ERANGE;
	xmb_reader_init(&iter->reader, mb);
	return xmb_reader_seek(&iter->reader, off);
}

int xmb_byte_next_border(struct xmb_byte_iter *iter)
{
	uint8_t byte;

	return xmb_reader_get_u8(&iter->reader, &byte) == 0 ? byte : -1;
}

int xmb_byte_prev_border(struct xmb_byte_iter *iter)
{
	size_t off = xmb_reader_tell(&iter->reader);

	if (off == 0)
		return -1;
	xmb_reader_seek(&iter->reader, off - 1);
	return *iter->reader.s.at;
}

int xmb_span_compare(const struct xmb_multibuf *a, const struct xmb_multibuf *b)
{
	const uint8_t *a_at = NULL, *b_at = NULL;
	size_t a_len = 0, b_len = 0, n;
	struct xmb_reader a_reader, b_reader;
	int rc;

	xmb_reader_init(&a_reader, a);
	xmb_reader_init(&b_reader, b);
	for (;;) {
		if (a_len == 0)
			a_at = xmb_reader_run(&a_reader, SIZE_MAX, &a_len);
		if (b_len == 0)
			b_at = xmb_reader_run(&b_reader, SIZE_MAX, &b_len);
		if (a_len == 0 || b_len == 0)
			return (a_len > 0) - (b_len > 0);
		n = a_len < b_len ? a_len : b_len;
		rc = memcmp(a_at, b_at, n);
		if (rc != 0)
			return rc;
		a_at += n;
		b_at += n;
		a_len -= n;
		b_len -= n;
	}
}

/* True if what the reader has next begins with these n bytes. */
static bool begins_with(struct xmb_reader *reader, const uint8_t *data,
			size_t n)
{
	const uint8_t *at;
	size_t len;

	while (n > 0) {
		at = xmb_reader_run(reader, n, &len);
		if (len == 0 || memcmp(at, data, len) != 0)
			return false;
		data += len;
		n -= len;
	}
	return true;
}

bool xmb_span_equal(const struct xmb_multibuf *mb, size_t off, const void *data,
		    size_t n)
{
	struct xmb_reader reader;

	if (xmb_reader_init_range(&reader, mb, off, n) < 0)
		return false;
	return begins_with(&reader, data, n);
}

int64_t xmb_span_find_byte(const struct xmb_multibuf *mb, size_t off,
			   uint8_t byte)
{
	return xmb_span_find(mb, off, &byte, sizeof(byte));
}

/*
 * Inside a run memmem(3) searches; of the bytes at its end, from which the n
 * would cross the border, each is tried.
 */
int64_t xmb_span_find(const struct xmb_multibuf *mb, size_t off,
		      const void *data, size_t n)
{
	struct xmb_reader reader, from;
	const uint8_t *at, *hit;
	size_t len;

	if (off > mb->len || n > mb->len - off)
		return -ENOENT;
	if (n == 0)
		return (int64_t)off;
	xmb_reader_init(&reader, mb);
	xmb_reader_seek(&reader, off);
	for (;;) {
		from = reader;
		at = xmb_reader_run(&reader, SIZE_MAX, &len);
		if (!at)
			return -ENOENT;
		hit = memmem(at, len, data, n);
		if (hit)
			return (int64_t)(xmb_reader_tell(&from) +
					 (size_t)(hit - at));
		if (len >= n)
			xmb_reader_skip(&from, len - n + 1);
		for (; xmb_reader_tell(&from) < xmb_reader_tell(&reader);
		     xmb_reader_skip(&from, 1)) {
			struct xmb_reader probe = from;

			if (begins_with(&probe, data, n))
				return (int64_t)xmb_reader_tell(&from);
		}
	}
}
