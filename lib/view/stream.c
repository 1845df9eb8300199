/* SPDX-License-Identifier: BSD-2-Clause */
#include "view/stream.h"

static size_t min_size(size_t a, size_t b)
{
	return a < b ? a : b;
}

/* Go to the start of the chunk, which begins at begin in the packet. */
static void set_run(struct xmb_stream *s, const struct xmb_chunk *chunk,
		    uint32_t begin)
{
	uint32_t len = xmb_min_u32(chunk->len, s->end - begin);

	s->first = s->at = xmb_chunk_data(chunk);
	s->stop = s->first + len;
	s->off = begin + len;
	s->is_rdonly = xmb_chunk_is_rdonly(chunk);
}

/* Go to the byte at off of the packet from its front; off < end. */
static void rewind_to(struct xmb_stream *s, uint32_t off)
{
	struct xmb_chunk *chunk = xmb_multibuf_first(s->mb, &s->iter);
	uint32_t begin = 0;

	while (chunk->len <= off - begin) {
		begin += chunk->len;
		chunk = xmb_multibuf_next(&s->iter);
	}
	set_run(s, chunk, begin);
	s->at += off - begin;
}

/* Where a run ends, go on to the next one, if there is one. */
static void next_run(struct xmb_stream *s)
{
	struct xmb_chunk *chunk;

	if (s->at != s->stop || s->off == s->end)
		return;
	do
		chunk = xmb_multibuf_next(&s->iter);
	while (chunk->len == 0);
	set_run(s, chunk, s->off);
}

static int init_range(struct xmb_stream *s, const struct xmb_multibuf *mb,
		      size_t off, size_t n)
{
	if (off > mb->len || n > mb->len - off)
		return -ERANGE;
	*s = (struct xmb_stream){
		.mb = mb,
		.off = (uint32_t)(off + n),
		.start = (uint32_t)off,
		.end = (uint32_t)(off + n),
	};
	if (n > 0)
		rewind_to(s, s->start);
	return 0;
}

/* Pass up to max bytes of one run; 0 only at the end, or of max = 0. */
static size_t pass(struct xmb_stream *s, size_t max)
{
	size_t n;

	next_run(s);
	n = min_size(max, xmb_stream_run_len(s));
	/* A range of no bytes has no run, and NULL no offset, not even 0. */
	if (n > 0)
		s->at += n;
	return n;
}

static size_t skip(struct xmb_stream *s, size_t n)
{
	size_t done = 0, part;

	while ((part = pass(s, n - done)) > 0)
		done += part;
	return done;
}

static int seek(struct xmb_stream *s, size_t off)
{
	size_t place = xmb_stream_tell(s), back;

	if (off > s->end - s->start)
		return -ERANGE;
	if (off >= place) {
		skip(s, off - place);
		return 0;
	}
	back = place - off;
	if (back <= (size_t)(s->at - s->first))
		s->at -= back;
	else
		rewind_to(s, s->start + (uint32_t)off);
	return 0;
}

void xmb_reader_init(struct xmb_reader *reader, const struct xmb_multibuf *mb)
{
	init_range(&reader->s, mb, 0, mb->len);
}

int xmb_reader_init_range(struct xmb_reader *reader,
			  const struct xmb_multibuf *mb, size_t off, size_t n)
{
	return init_range(&reader->s, mb, off, n);
}

size_t xmb_reader_read(struct xmb_reader *reader, void *dst, size_t n)
{
	uint8_t *to = dst;
	size_t done = 0, part;

	while ((part = pass(&reader->s, n - done)) > 0) {
		memcpy(to + done, reader->s.at - part, part);
		done += part;
	}
	return done;
}

int xmb_reader_read_border(struct xmb_reader *reader, void *dst, size_t n)
{
	if (n > xmb_stream_remaining(&reader->s))
		return -ENODATA;
	xmb_reader_read(reader, dst, n);
	return 0;
}

size_t xmb_reader_peek(const struct xmb_reader *reader, void *dst, size_t n)
{
	struct xmb_reader copy = *reader;

	return xmb_reader_read(&copy, dst, n);
}

const uint8_t *xmb_reader_run(struct xmb_reader *reader, size_t max,
			      size_t *len)
{
	*len = pass(&reader->s, max);
	return *len > 0 ? reader->s.at - *len : NULL;
}

size_t xmb_reader_skip(struct xmb_reader *reader, size_t n)
{
	return skip(&reader->s, n);
}

int xmb_reader_seek(struct xmb_reader *reader, size_t off)
{
	return seek(&reader->s, off);
}

const void *xmb_reader_get_border(struct xmb_reader *reader, size_t n,
				  void *tmp)
{
	struct xmb_stream *s = &reader->s;

	if (n > xmb_stream_remaining(s))
		return NULL;
	if (n == 0)
		return tmp;
	/* The place may be between two runs, and the next be long enough. */
	next_run(s);
	if (n <= xmb_stream_run_len(s)) {
		s->at += n;
		return s->at - n;
	}
	xmb_reader_read(reader, tmp, n);
	return tmp;
}

void xmb_writer_init(struct xmb_writer *writer, struct xmb_multibuf *mb)
{
	init_range(&writer->s, mb, 0, mb->len);
}

int xmb_writer_init_range(struct xmb_writer *writer, struct xmb_multibuf *mb,
			  size_t off, size_t n)
{
	return init_range(&writer->s, mb, off, n);
}

/* As pass(), but not into a read-only chunk: then 0, and the place stays. */
static size_t pass_writable(struct xmb_stream *s, size_t max)
{
	next_run(s);
	return s->is_rdonly ? 0 : pass(s, max);
}

size_t xmb_writer_write(struct xmb_writer *writer, const void *src, size_t n)
{
	const uint8_t *from = src;
	size_t done = 0, part;

	while ((part = pass_writable(&writer->s, n - done)) > 0) {
		memcpy(writer->s.at - part, from + done, part);
		done += part;
	}
	return done;
}

int xmb_writer_write_border(struct xmb_writer *writer, const void *src,
			    size_t n)
{
	struct xmb_stream probe = writer->s;
	size_t done = 0, part;

	if (n > xmb_stream_remaining(&writer->s))
		return -ENOSPC;
	while ((part = pass_writable(&probe, n - done)) > 0)
		done += part;
	if (done < n)
		return -EPERM;
	xmb_writer_write(writer, src, n);
	return 0;
}

size_t xmb_writer_fill(struct xmb_writer *writer, uint8_t byte, size_t n)
{
	size_t done = 0, part;

	while ((part = pass_writable(&writer->s, n - done)) > 0) {
		memset(writer->s.at - part, byte, part);
		done += part;
	}
	return done;
}

size_t xmb_writer_skip(struct xmb_writer *writer, size_t n)
{
	return skip(&writer->s, n);
}

int xmb_writer_seek(struct xmb_writer *writer, size_t off)
{
	return seek(&writer->s, off);
}
