/* SPDX-License-Identifier: BSD-2-Clause */
#ifndef XMBUF_VIEW_STREAM_H
#define XMBUF_VIEW_STREAM_H

#include "buf/multibuf.h"

#include <endian.h>
#include <string.h>

/*
 * stream: read and write a multibuf as one run of bytes, with a place.
 *
 *      [ chunk ][ chunk    ][ chunk ]
 *      0     start     ^place     end         start <= place <= end
 *                      read, get, write, put go on from here
 *
 * A value that crosses chunks is put together; nobody else has to know where
 * chunks end.  Inside one chunk a typed get or put is one comparison and one
 * load or store.  A writer writes over what is there: it does not make the
 * multibuf longer (allocate, write, truncate to tell()).
 *
 * Units      Bytes; typed values are big-endian ("be"), as on the wire, or
 *            little-endian ("le").
 * Ownership  Nothing changes hands.  A stream is a value: a copy of it is a
 *            second place in the same bytes.  While one is in use, the chunks
 *            of the multibuf stay as they are (bytes may be written).
 * Threads    One at a time.
 * Errors     read(), write(), fill() and skip() return how many bytes; all
 *            others that fail (-ENODATA of a reader, -ENOSPC and -EPERM of a
 *            writer, -ERANGE) neither move nor read nor write anything.
 */

/* The run: the bytes of one chunk, as far as they are before the end. */
struct xmb_stream {
	const struct xmb_multibuf *mb;
	struct xmb_multibuf_iter iter; /* the chunks behind the run */
	uint8_t *first, *at, *stop;    /* of the run; at: the place */
	uint32_t off;		       /* of stop in the packet */
	uint32_t start, end; /* of the range the stream is limited to */
	bool is_rdonly;	     /* the run is of a read-only chunk */
};

struct xmb_reader {
	struct xmb_stream s;
};

struct xmb_writer {
	struct xmb_stream s;
};

/* Bytes from the place to the end of its run: 0 also between two runs. */
static inline size_t xmb_stream_run_len(const struct xmb_stream *s)
{
	return (size_t)(s->stop - s->at);
}

static inline size_t xmb_stream_tell(const struct xmb_stream *s)
{
	return s->off - s->start - xmb_stream_run_len(s);
}

static inline size_t xmb_stream_remaining(const struct xmb_stream *s)
{
	return s->end - s->off + xmb_stream_run_len(s);
}

/* The slow halves: over the border of a chunk, and refusals. */
XMB_API int xmb_reader_read_border(struct xmb_reader *reader, void *dst,
				   size_t n);
XMB_API const void *xmb_reader_get_border(struct xmb_reader *reader, size_t n,
					  void *tmp);
XMB_API int xmb_writer_write_border(struct xmb_writer *writer, const void *src,
				    size_t n);

/* Read all of mb from its start. */
XMB_API void xmb_reader_init(struct xmb_reader *reader,
			     const struct xmb_multibuf *mb);

/*
 * Read the n bytes at off only; seek() and tell() count from off.
 * -ERANGE: off + n > len.
 */
XMB_API int xmb_reader_init_range(struct xmb_reader *reader,
				  const struct xmb_multibuf *mb, size_t off,
				  size_t n);

/* Copy up to n bytes out and pass them; returns how many. */
XMB_API size_t xmb_reader_read(struct xmb_reader *reader, void *dst, size_t n);

/*
 * Copy n bytes out and pass them, all or none.
 * -ENODATA: fewer are left.
 */
static inline int xmb_reader_read_all(struct xmb_reader *reader, void *dst,
				      size_t n)
{
	struct xmb_stream *s = &reader->s;

	if (XMB_UNLIKELY(n == 0 || n > xmb_stream_run_len(s)))
		return xmb_reader_read_border(reader, dst, n);
	memcpy(dst, s->at, n);
	s->at += n;
	return 0;
}

/* As read(), but the place stays. */
XMB_API size_t xmb_reader_peek(const struct xmb_reader *reader, void *dst,
			       size_t n);

/*
 * Pass up to max bytes that lie side by side, and point to them; *len says how
 * many: what is left of the chunk, or max.  NULL: the end, or max = 0, and
 * *len is 0.
 */
XMB_API const uint8_t *xmb_reader_run(struct xmb_reader *reader, size_t max,
				      size_t *len);

/* Pass up to n bytes; returns how many. */
XMB_API size_t xmb_reader_skip(struct xmb_reader *reader, size_t n);

/*
 * Go to off, counted from the range's start.  Inside the chunk, and forward,
 * that takes no search from the front.
 * -ERANGE: beyond the range's end.
 */
XMB_API int xmb_reader_seek(struct xmb_reader *reader, size_t off);

/* The place, counted from the range's start. */
static inline size_t xmb_reader_tell(const struct xmb_reader *reader)
{
	return xmb_stream_tell(&reader->s);
}

/* Bytes from the place to the range's end. */
static inline size_t xmb_reader_remaining(const struct xmb_reader *reader)
{
	return xmb_stream_remaining(&reader->s);
}

/*
 * The next n bytes, passed: in place when they are in one chunk, else copied
 * to tmp; of 0 bytes tmp.  NULL: fewer are left; the place stays.
 */
static inline const void *xmb_reader_get(struct xmb_reader *reader, size_t n,
					 void *tmp)
{
	struct xmb_stream *s = &reader->s;

	if (XMB_UNLIKELY(n == 0 || n > xmb_stream_run_len(s)))
		return xmb_reader_get_border(reader, n, tmp);
	s->at += n;
	return s->at - n;
}

/*
 * Read a number and pass it.
 * -ENODATA: the end comes first.
 */
static inline int xmb_reader_get_u8(struct xmb_reader *reader, uint8_t *value)
{
	return xmb_reader_read_all(reader, value, sizeof(*value));
}

static inline int xmb_reader_get_be16(struct xmb_reader *reader,
				      uint16_t *value)
{
	uint16_t raw;
	int rc = xmb_reader_read_all(reader, &raw, sizeof(raw));

	if (rc == 0)
		*value = be16toh(raw);
	return rc;
}

static inline int xmb_reader_get_be24(struct xmb_reader *reader,
				      uint32_t *value)
{
	uint8_t raw[3];
	int rc = xmb_reader_read_all(reader, raw, sizeof(raw));

	if (rc == 0)
		*value =
			(uint32_t)raw[0] << 16 | (uint32_t)raw[1] << 8 | raw[2];
	return rc;
}

static inline int xmb_reader_get_be32(struct xmb_reader *reader,
				      uint32_t *value)
{
	uint32_t raw;
	int rc = xmb_reader_read_all(reader, &raw, sizeof(raw));

	if (rc == 0)
		*value = be32toh(raw);
	return rc;
}

static inline int xmb_reader_get_be64(struct xmb_reader *reader,
				      uint64_t *value)
{
	uint64_t raw;
	int rc = xmb_reader_read_all(reader, &raw, sizeof(raw));

	if (rc == 0)
		*value = be64toh(raw);
	return rc;
}

static inline int xmb_reader_get_le16(struct xmb_reader *reader,
				      uint16_t *value)
{
	uint16_t raw;
	int rc = xmb_reader_read_all(reader, &raw, sizeof(raw));

	if (rc == 0)
		*value = le16toh(raw);
	return rc;
}

static inline int xmb_reader_get_le32(struct xmb_reader *reader,
				      uint32_t *value)
{
	uint32_t raw;
	int rc = xmb_reader_read_all(reader, &raw, sizeof(raw));

	if (rc == 0)
		*value = le32toh(raw);
	return rc;
}

static inline int xmb_reader_get_le64(struct xmb_reader *reader,
				      uint64_t *value)
{
	uint64_t raw;
	int rc = xmb_reader_read_all(reader, &raw, sizeof(raw));

	if (rc == 0)
		*value = le64toh(raw);
	return rc;
}

/* Write over all of mb from its start. */
XMB_API void xmb_writer_init(struct xmb_writer *writer,
			     struct xmb_multibuf *mb);

/* As xmb_reader_init_range(). */
XMB_API int xmb_writer_init_range(struct xmb_writer *writer,
				  struct xmb_multibuf *mb, size_t off,
				  size_t n);

/*
 * Write up to n bytes and pass them; returns how many: fewer than n at the end,
 * or before a read-only chunk.
 */
XMB_API size_t xmb_writer_write(struct xmb_writer *writer, const void *src,
				size_t n);

/*
 * Write n bytes and pass them, all or none.
 * -ENOSPC: the end comes first.  -EPERM: one of them is in a read-only chunk.
 */
static inline int xmb_writer_write_all(struct xmb_writer *writer,
				       const void *src, size_t n)
{
	struct xmb_stream *s = &writer->s;

	if (XMB_UNLIKELY(n == 0 || n > xmb_stream_run_len(s) || s->is_rdonly))
		return xmb_writer_write_border(writer, src, n);
	memcpy(s->at, src, n);
	s->at += n;
	return 0;
}

/* As write(), of n bytes of this value. */
XMB_API size_t xmb_writer_fill(struct xmb_writer *writer, uint8_t byte,
			       size_t n);

/* Pass up to n bytes as they are; returns how many. */
XMB_API size_t xmb_writer_skip(struct xmb_writer *writer, size_t n);

/* As xmb_reader_seek(). */
XMB_API int xmb_writer_seek(struct xmb_writer *writer, size_t off);

/* The place, counted from the range's start. */
static inline size_t xmb_writer_tell(const struct xmb_writer *writer)
{
	return xmb_stream_tell(&writer->s);
}

/* Bytes from the place to the range's end. */
static inline size_t xmb_writer_remaining(const struct xmb_writer *writer)
{
	return xmb_stream_remaining(&writer->s);
}

/*
 * Write a number over what is there and pass it.
 * -ENOSPC, -EPERM: as write_all().
 */
static inline int xmb_writer_put_u8(struct xmb_writer *writer, uint8_t value)
{
	return xmb_writer_write_all(writer, &value, sizeof(value));
}

static inline int xmb_writer_put_be16(struct xmb_writer *writer, uint16_t value)
{
	uint16_t raw = htobe16(value);

	return xmb_writer_write_all(writer, &raw, sizeof(raw));
}

/* The lower 24 bits of value; the others are not looked at. */
static inline int xmb_writer_put_be24(struct xmb_writer *writer, uint32_t value)
{
	uint8_t raw[3] = { (uint8_t)(value >> 16), (uint8_t)(value >> 8),
			   (uint8_t)value };

	return xmb_writer_write_all(writer, raw, sizeof(raw));
}

static inline int xmb_writer_put_be32(struct xmb_writer *writer, uint32_t value)
{
	uint32_t raw = htobe32(value);

	return xmb_writer_write_all(writer, &raw, sizeof(raw));
}

static inline int xmb_writer_put_be64(struct xmb_writer *writer, uint64_t value)
{
	uint64_t raw = htobe64(value);

	return xmb_writer_write_all(writer, &raw, sizeof(raw));
}

static inline int xmb_writer_put_le16(struct xmb_writer *writer, uint16_t value)
{
	uint16_t raw = htole16(value);

	return xmb_writer_write_all(writer, &raw, sizeof(raw));
}

static inline int xmb_writer_put_le32(struct xmb_writer *writer, uint32_t value)
{
	uint32_t raw = htole32(value);

	return xmb_writer_write_all(writer, &raw, sizeof(raw));
}

static inline int xmb_writer_put_le64(struct xmb_writer *writer, uint64_t value)
{
	uint64_t raw = htole64(value);

	return xmb_writer_write_all(writer, &raw, sizeof(raw));
}

#endif /* XMBUF_VIEW_STREAM_H */
