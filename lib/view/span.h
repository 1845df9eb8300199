/* SPDX-License-Identifier: BSD-2-Clause */
#ifndef XMBUF_VIEW_SPAN_H
#define XMBUF_VIEW_SPAN_H

#include "buf/multibuf.h"
#include "view/stream.h"

#include <sys/uio.h>

/*
 * span: a multibuf seen as runs of bytes: for loops, for readv(2), writev(2)
 * and io_uring, and for searching.
 *
 *      chunks   [ 14 B ][ 0 B ][ 1000 B ][ 486 B ]
 *      spans    [ 14 B ]       [ 1000 B ][ 486 B ]      never of no bytes
 *
 * A span is of one chunk: two that happen to lie side by side stay two.
 *
 * Units      Bytes; off counts from the start of the packet.
 * Ownership  Nothing changes hands; a span is valid until the multibuf is
 *            changed or given away.  One of a read-only chunk must not be
 *            written: before a readv(2) into iovecs, ask
 *            xmb_multibuf_is_writable().
 * Threads    One at a time.
 * Errors     Counts that are short, -ERANGE, -ENOENT; a call that fails
 *            changes nothing.
 */

struct xmb_span {
	uint8_t *data;
	uint32_t len;
	bool is_rdonly;
};

/* Walks the spans of [off, off+n) in order. */
struct xmb_span_iter {
	struct xmb_multibuf_iter chunks;
	struct xmb_chunk *chunk;
	uint32_t off;  /* into chunk */
	uint32_t left; /* bytes still to come */
};

/* Walks single bytes, either way. */
struct xmb_byte_iter {
	struct xmb_reader reader;
};

/*
 * Start at off, for n bytes.
 * -ERANGE: off + n > len.
 */
XMB_API int xmb_span_iter_init(struct xmb_span_iter *iter,
			       const struct xmb_multibuf *mb, size_t off,
			       size_t n);

/* The next span; false at the end, and *span stays as it is. */
XMB_API bool xmb_span_next(struct xmb_span_iter *iter, struct xmb_span *span);

/*
 * Describe [off, off+n) in up to max iovecs; returns how many, and in *done how
 * many bytes they hold: less than n when max was too few.  Go on at off +
 * *done, also after a short readv(2) or writev(2).
 * -ERANGE: off + n > len.
 */
XMB_API int xmb_span_iovec(const struct xmb_multibuf *mb, size_t off, size_t n,
			   struct iovec *iov, uint32_t max, size_t *done);

/* Spans in the multibuf: how many iovecs all of it takes. */
XMB_API uint32_t xmb_span_cnt(const struct xmb_multibuf *mb);

/*
 * Stand before the byte at off; off = len: behind the last one.
 * -ERANGE: off > len.
 */
XMB_API int xmb_byte_iter_init(struct xmb_byte_iter *iter,
			       const struct xmb_multibuf *mb, size_t off);

/* The slow halves: over the border of a chunk, and the two ends. */
XMB_API int xmb_byte_next_border(struct xmb_byte_iter *iter);
XMB_API int xmb_byte_prev_border(struct xmb_byte_iter *iter);

/* The byte behind the place, which is then passed; -1 at the end. */
static inline int xmb_byte_next(struct xmb_byte_iter *iter)
{
	struct xmb_stream *s = &iter->reader.s;

	if (XMB_UNLIKELY(s->at == s->stop))
		return xmb_byte_next_border(iter);
	return *s->at++;
}

/*
 * The byte before the place, which is then passed; -1 at the start.  Going back
 * over the border of a chunk looks the one before it up from the front.
 */
static inline int xmb_byte_prev(struct xmb_byte_iter *iter)
{
	struct xmb_stream *s = &iter->reader.s;

	if (XMB_UNLIKELY(s->at == s->first))
		return xmb_byte_prev_border(iter);
	return *--s->at;
}

/* Where the iterator stands: the offset of the byte that next() returns. */
static inline size_t xmb_byte_tell(const struct xmb_byte_iter *iter)
{
	return xmb_reader_tell(&iter->reader);
}

/*
 * Compare the bytes as memcmp(3), then by length: below 0, 0 or above 0.  How
 * they are cut into chunks does not matter.
 */
XMB_API int xmb_span_compare(const struct xmb_multibuf *a,
			     const struct xmb_multibuf *b);

/* True if the n bytes at off are those at data; false also beyond the end. */
XMB_API bool xmb_span_equal(const struct xmb_multibuf *mb, size_t off,
			    const void *data, size_t n);

/*
 * Where the first byte of that value is, from off on.
 * -ENOENT: nowhere, also when off > len.
 */
XMB_API int64_t xmb_span_find_byte(const struct xmb_multibuf *mb, size_t off,
				   uint8_t byte);

/*
 * Where the first run of these n bytes begins, from off on; it may cross
 * chunks.  n = 0 is found at off.
 * -ENOENT: nowhere, also when off > len.
 */
XMB_API int64_t xmb_span_find(const struct xmb_multibuf *mb, size_t off,
			      const void *data, size_t n);

#endif /* XMBUF_VIEW_SPAN_H */
