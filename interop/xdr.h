/* SPDX-License-Identifier: BSD-2-Clause */
#ifndef XMBUF_INTEROP_XDR_H
#define XMBUF_INTEROP_XDR_H

#include "buf/edit.h"

/*
 * xdr: External Data Representation (RFC 4506) encoded and decoded in place,
 * with opaque payload as chunks of the packet instead of copies.
 *
 *      put_u32 put_string  put_payload(file)   put_u32
 *      +-----------------+--------------------+---------+
 *      | frame a         | the payload's own  | frame a |
 *      |  ... len        | chunks, untouched  | pad ... |
 *      +-----------------+--------------------+---------+
 *
 * The encoder fills one frame; where a payload comes between, the frame is
 * split and goes on behind it.
 *
 * Units      Bytes.  Each item takes a multiple of 4, padded with zeros.
 * Ownership  The encoder owns what it has built until finish() gives it away.
 *            The decoder borrows its multibuf; get_payload() takes bytes out.
 * Threads    One at a time.
 * Errors     -ENOBUFS: no frame or block now.  -ENODATA: the data ends before
 *            the item.  -EPROTO: not a value of that type.  -EMSGSIZE: longer
 *            than the caller allows.  -ENOSPC: more than 65,535 chunks.  A
 *            call that fails changes nothing.
 * Source     RFC 4506, sections 4.1 to 4.11.
 */

struct xmb_xdr_encoder {
	struct xmb_cache *cache;
	struct xmb_multibuf mb; /* what is complete */
	struct xmb_chunk room;	/* the frame that is being filled */
	uint32_t used;		/* bytes of room that are written */
	uint32_t headroom;	/* before the first item */
};

struct xmb_xdr_decoder {
	struct xmb_multibuf *mb;
	uint32_t off; /* of the next item */
};

/*
 * Begin an encoding with headroom bytes to claim in front of it, less than a
 * frame is long.
 */
XMB_API void xmb_xdr_encoder_init(struct xmb_xdr_encoder *encoder,
				  struct xmb_cache *cache, uint32_t headroom);

/*
 * Move the encoding into the empty mb; the encoder begins anew.
 * -ENOBUFS: no block.  -ENOSPC: 65,535 chunks.
 */
XMB_API int xmb_xdr_encoder_finish(struct xmb_xdr_encoder *encoder,
				   struct xmb_multibuf *mb);

/* Release everything. */
XMB_API void xmb_xdr_encoder_abort(struct xmb_xdr_encoder *encoder);

/* Bytes encoded so far. */
static inline size_t xmb_xdr_encoder_len(const struct xmb_xdr_encoder *encoder)
{
	return (size_t)encoder->mb.len + encoder->used;
}

XMB_API int xmb_xdr_put_u32(struct xmb_xdr_encoder *encoder, uint32_t value);
XMB_API int xmb_xdr_put_i32(struct xmb_xdr_encoder *encoder, int32_t value);
XMB_API int xmb_xdr_put_bool(struct xmb_xdr_encoder *encoder, bool value);
XMB_API int xmb_xdr_put_u64(struct xmb_xdr_encoder *encoder, uint64_t value);
XMB_API int xmb_xdr_put_i64(struct xmb_xdr_encoder *encoder, int64_t value);
XMB_API int xmb_xdr_put_float(struct xmb_xdr_encoder *encoder, float value);
XMB_API int xmb_xdr_put_double(struct xmb_xdr_encoder *encoder, double value);

/*
 * n bytes of fixed length (opaque[n]), copied.
 * -EMSGSIZE: n is above 2^32-9, or needs more than 65,535 frames.
 */
XMB_API int xmb_xdr_put_fixed(struct xmb_xdr_encoder *encoder, const void *data,
			      size_t n);

/* n bytes with their length before them (opaque<>), copied.  As put_fixed(). */
XMB_API int xmb_xdr_put_opaque(struct xmb_xdr_encoder *encoder,
			       const void *data, size_t n);

/* A string<>, copied, without its final 0. */
XMB_API int xmb_xdr_put_string(struct xmb_xdr_encoder *encoder,
			       const char *string);

/* opaque<> that is the payload itself, not a copy; payload is left {0}. */
XMB_API int xmb_xdr_put_payload(struct xmb_xdr_encoder *encoder,
				struct xmb_multibuf *payload);

/* Decode mb from off on. */
static inline void xmb_xdr_decoder_init(struct xmb_xdr_decoder *decoder,
					struct xmb_multibuf *mb, uint32_t off)
{
	*decoder = (struct xmb_xdr_decoder){ .mb = mb, .off = off };
}

XMB_API int xmb_xdr_get_u32(struct xmb_xdr_decoder *decoder, uint32_t *value);
XMB_API int xmb_xdr_get_i32(struct xmb_xdr_decoder *decoder, int32_t *value);
XMB_API int xmb_xdr_get_bool(struct xmb_xdr_decoder *decoder, bool *value);
XMB_API int xmb_xdr_get_u64(struct xmb_xdr_decoder *decoder, uint64_t *value);
XMB_API int xmb_xdr_get_i64(struct xmb_xdr_decoder *decoder, int64_t *value);
XMB_API int xmb_xdr_get_float(struct xmb_xdr_decoder *decoder, float *value);
XMB_API int xmb_xdr_get_double(struct xmb_xdr_decoder *decoder, double *value);

/* Copy n bytes of fixed length out. */
XMB_API int xmb_xdr_get_fixed(struct xmb_xdr_decoder *decoder, void *data,
			      size_t n);

/*
 * Copy an opaque<max> out; returns its length.
 * -EMSGSIZE: it is longer than max, at most 2^31-1.
 */
XMB_API int xmb_xdr_get_opaque(struct xmb_xdr_decoder *decoder, void *data,
			       size_t max);

/*
 * Copy a string<max-1> out, with a 0 behind it; returns its length.
 * -EMSGSIZE: it is longer.  -EPROTO: it has a 0 in it.
 */
XMB_API int xmb_xdr_get_string(struct xmb_xdr_decoder *decoder, char *string,
			       size_t max);

/*
 * Take an opaque<max> out of the packet, as it lies there, into the empty
 * payload; its length word and its padding stay in the packet, and are passed.
 * -EMSGSIZE: it is longer than max.  And as xmb_multibuf_take().
 */
XMB_API int xmb_xdr_get_payload(struct xmb_xdr_decoder *decoder, size_t max,
				struct xmb_multibuf *payload,
				struct xmb_cache *cache);

#endif /* XMBUF_INTEROP_XDR_H */
