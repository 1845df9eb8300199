/* SPDX-License-Identifier: BSD-2-Clause */
#include "interop/nanopb.h"

static bool stream_write(pb_ostream_t *stream, const pb_byte_t *buf,
			 size_t count)
{
	return xmb_writer_write(stream->state, buf, count) == count;
}

static bool stream_read(pb_istream_t *stream, pb_byte_t *buf, size_t count)
{
	return xmb_reader_read(stream->state, buf, count) == count;
}

pb_ostream_t xmb_nanopb_ostream(struct xmb_writer *writer)
{
	return (pb_ostream_t){
		.callback = stream_write,
		.state = writer,
		.max_size = xmb_writer_remaining(writer),
	};
}

pb_istream_t xmb_nanopb_istream(struct xmb_reader *reader)
{
	return (pb_istream_t){
		.callback = stream_read,
		.state = reader,
		.bytes_left = xmb_reader_remaining(reader),
	};
}

int xmb_nanopb_encode(struct xmb_cache *cache, const pb_msgdesc_t *fields,
		      const void *message, uint32_t headroom,
		      struct xmb_multibuf *mb)
{
	struct xmb_writer writer;
	pb_ostream_t stream;
	size_t len;
	int rc;

	if (!pb_get_encoded_size(&len, fields, message))
		return -EINVAL;
	rc = xmb_multibuf_alloc(cache, len, headroom, mb);
	if (rc < 0)
		return rc;
	xmb_writer_init(&writer, mb);
	stream = xmb_nanopb_ostream(&writer);
	/* A callback may say one thing when asked for the size, another now. */
	if (!pb_encode(&stream, fields, message) ||
	    stream.bytes_written != len) {
		uint32_t user = mb->user;

		xmb_multibuf_release(mb, cache);
		mb->user = user;
		return -EINVAL;
	}
	return 0;
}

int xmb_nanopb_decode(const struct xmb_multibuf *mb, size_t off, size_t n,
		      const pb_msgdesc_t *fields, void *message)
{
	struct xmb_reader reader;
	pb_istream_t stream;
	int rc;

	rc = xmb_reader_init_range(&reader, mb, off, n);
	if (rc < 0)
		return rc;
	stream = xmb_nanopb_istream(&reader);
	return pb_decode(&stream, fields, message) ? 0 : -EPROTO;
}

int xmb_nanopb_send(struct xmb_socket *sock, const pb_msgdesc_t *fields,
		    const void *message, uint32_t headroom)
{
	struct xmb_multibuf mb = { 0 };
	int rc;

	rc = xmb_nanopb_encode(sock->cache, fields, message, headroom, &mb);
	if (rc < 0)
		return rc;
	if (xmb_multibuf_is_empty(&mb))
		return -ENODATA;
	if (xmb_socket_send(sock, &mb, 1) == 1)
		return 0;
	xmb_multibuf_release(&mb, sock->cache);
	return -EAGAIN;
}
