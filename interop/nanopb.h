/* SPDX-License-Identifier: BSD-2-Clause */
#ifndef XMBUF_INTEROP_NANOPB_H
#define XMBUF_INTEROP_NANOPB_H

#include "sock/socket.h"
#include "view/stream.h"

#include <pb_decode.h>
#include <pb_encode.h>

/*
 * nanopb: protocol buffers into and out of multibufs, by nanopb 0.4.
 *
 *      struct msg --pb_encode()--> [ chunk ][ chunk ][ chunk ] --> socket
 *      socket --> [ chunk ][ chunk ] --pb_decode()--> struct msg
 *
 * Nothing is put together in between: nanopb writes to and reads from the
 * chunks, whatever their sizes.
 *
 * Ownership  A stream borrows the reader or writer, which borrows its multibuf.
 * Threads    One at a time.
 * Errors     nanopb's functions return false and say why in the stream's
 *            errmsg; ours return 0 or negative errno.
 */

/* A stream of nanopb's that goes on where the writer, or reader, is. */
XMB_API pb_ostream_t xmb_nanopb_ostream(struct xmb_writer *writer);
XMB_API pb_istream_t xmb_nanopb_istream(struct xmb_reader *reader);

/*
 * Encode message into the empty mb, of exactly its length, with headroom bytes
 * to claim in front of each chunk.
 * -EINVAL: nanopb cannot encode it (a callback failed, a field is too long).
 * And as xmb_multibuf_alloc().
 */
XMB_API int xmb_nanopb_encode(struct xmb_cache *cache,
			      const pb_msgdesc_t *fields, const void *message,
			      uint32_t headroom, struct xmb_multibuf *mb);

/*
 * Decode the n bytes at off into message; strings and submessages that nanopb
 * allocated are the caller's to pb_release(), also after a failure.
 * -ERANGE: off + n > len.  -EPROTO: no such message.
 */
XMB_API int xmb_nanopb_decode(const struct xmb_multibuf *mb, size_t off,
			      size_t n, const pb_msgdesc_t *fields,
			      void *message);

/*
 * Encode message and hand it to the socket; flush() is the caller's.
 * As xmb_nanopb_encode(); -ENODATA: it is of no bytes, which is no packet;
 * -EAGAIN: the socket took nothing now.
 */
XMB_API int xmb_nanopb_send(struct xmb_socket *sock, const pb_msgdesc_t *fields,
			    const void *message, uint32_t headroom);

#endif /* XMBUF_INTEROP_NANOPB_H */
