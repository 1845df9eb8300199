/* SPDX-License-Identifier: BSD-2-Clause */
#include "interop/xdr.h"

#include <string.h>

enum { UNIT = 4 };

/* Items are shorter than 4 GiB, padding included. */
#define ITEM_MAX (UINT32_MAX - 2 * UNIT)

static const uint8_t zeros[UNIT];

static uint32_t pad_of(size_t n)
{
	return (uint32_t)(-n & (UNIT - 1));
}

void xmb_xdr_encoder_init(struct xmb_xdr_encoder *encoder,
			  struct xmb_cache *cache, uint32_t headroom)
{
	XMB_ASSERT(headroom <= cache->pool->domain.region_len - 2 * UNIT);
	*encoder = (struct xmb_xdr_encoder){ .cache = cache,
					     .headroom = headroom };
}

void xmb_xdr_encoder_abort(struct xmb_xdr_encoder *encoder)
{
	xmb_chunk_release(&encoder->room, encoder->cache);
	xmb_multibuf_release(&encoder->mb, encoder->cache);
	encoder->used = 0;
}

static bool has_room(const struct xmb_xdr_encoder *encoder, size_t n)
{
	return xmb_chunk_is_live(&encoder->room) &&
	       n <= encoder->room.len - encoder->used;
}

/* What of room is written joins mb; room is given up.  It is trimmed last, so
 * that a refused push changes nothing. */
static int settle(struct xmb_xdr_encoder *encoder)
{
	uint32_t len = (uint32_t)xmb_xdr_encoder_len(encoder);
	int rc;

	if (!xmb_chunk_is_live(&encoder->room))
		return 0;
	if (encoder->used == 0) {
		xmb_chunk_release(&encoder->room, encoder->cache);
		return 0;
	}
	rc = xmb_multibuf_push_back(&encoder->mb, &encoder->room,
				    encoder->cache);
	if (rc < 0)
		return rc;
	encoder->used = 0;
	return xmb_multibuf_truncate(&encoder->mb, len, encoder->cache);
}

/* Undo settle() of a room of room_len bytes, of which some were written: those
 * behind are nobody's yet. */
static void unsettle(struct xmb_xdr_encoder *encoder, uint32_t room_len)
{
	struct xmb_chunk *room = &encoder->room;

	xmb_multibuf_pop_back(&encoder->mb, room, encoder->cache);
	encoder->used = room->len;
	xmb_chunk_claim_suffix(room, room_len - room->len);
}

/*
 * What of room is written, and made but for its last frame, join mb; the last
 * frame becomes the room, with what is behind its data.
 */
static int join_made(struct xmb_xdr_encoder *encoder, struct xmb_multibuf *made)
{
	struct xmb_chunk unused = { 0 }, last = { 0 };
	uint32_t room_len = encoder->room.len, region_len, written;
	bool is_settled = encoder->used > 0;
	int rc = is_settled ? settle(encoder) : 0;

	if (rc < 0)
		return rc;
	xmb_multibuf_pop_back(made, &last, encoder->cache);
	rc = xmb_multibuf_append(&encoder->mb, made, encoder->cache);
	if (rc < 0) {
		if (is_settled)
			unsettle(encoder, room_len);
		xmb_chunk_release(&last, encoder->cache);
		return rc;
	}
	unused = encoder->room;
	xmb_chunk_release(&unused, encoder->cache);
	written = last.len;
	region_len = encoder->cache->pool->domain.region_len;
	xmb_chunk_claim_suffix(&last, region_len - last.off - last.len);
	encoder->room = last;
	encoder->used = written;
	return 0;
}

/* A frame to go on with; only the first has headroom. */
static int fresh_room(const struct xmb_xdr_encoder *encoder,
		      struct xmb_chunk *room)
{
	int rc = xmb_chunk_alloc(encoder->cache, room);

	if (rc == 0 && xmb_xdr_encoder_len(encoder) == 0)
		xmb_chunk_discard_prefix(room, encoder->headroom);
	return rc;
}

/* Room for n bytes side by side; n is at most a few units. */
static int ensure(struct xmb_xdr_encoder *encoder, uint32_t n)
{
	struct xmb_chunk room = { 0 };
	int rc;

	if (has_room(encoder, n))
		return 0;
	rc = fresh_room(encoder, &room);
	if (rc < 0)
		return rc;
	rc = settle(encoder);
	if (rc < 0) {
		xmb_chunk_release(&room, encoder->cache);
		return rc;
	}
	encoder->room = room;
	return 0;
}

/* There is room. */
static void put_raw(struct xmb_xdr_encoder *encoder, const void *data, size_t n)
{
	if (n > 0)
		memcpy(xmb_chunk_data(&encoder->room) + encoder->used, data, n);
	encoder->used += (uint32_t)n;
}

static void put_word(struct xmb_xdr_encoder *encoder, uint32_t value)
{
	uint32_t be = __builtin_bswap32(value);

	put_raw(encoder, &be, sizeof(be));
}

int xmb_xdr_encoder_finish(struct xmb_xdr_encoder *encoder,
			   struct xmb_multibuf *mb)
{
	uint32_t user = mb->user;
	int rc;

	XMB_ASSERT(xmb_multibuf_is_empty(mb));
	rc = settle(encoder);
	if (rc < 0)
		return rc;
	*mb = encoder->mb;
	mb->user = user;
	encoder->mb = (struct xmb_multibuf){ 0 };
	return 0;
}

int xmb_xdr_put_u32(struct xmb_xdr_encoder *encoder, uint32_t value)
{
	int rc = ensure(encoder, UNIT);

	if (rc == 0)
		put_word(encoder, value);
	return rc;
}

int xmb_xdr_put_i32(struct xmb_xdr_encoder *encoder, int32_t value)
{
	return xmb_xdr_put_u32(encoder, (uint32_t)value);
}

int xmb_xdr_put_bool(struct xmb_xdr_encoder *encoder, bool value)
{
	return xmb_xdr_put_u32(encoder, value);
}

int xmb_xdr_put_u64(struct xmb_xdr_encoder *encoder, uint64_t value)
{
	int rc = ensure(encoder, 2 * UNIT);

	if (rc < 0)
		return rc;
	put_word(encoder, (uint32_t)(value >> 32));
	put_word(encoder, (uint32_t)value);
	return 0;
}

int xmb_xdr_put_i64(struct xmb_xdr_encoder *encoder, int64_t value)
{
	return xmb_xdr_put_u64(encoder, (uint64_t)value);
}

int xmb_xdr_put_float(struct xmb_xdr_encoder *encoder, float value)
{
	uint32_t bits;

	memcpy(&bits, &value, sizeof(bits));
	return xmb_xdr_put_u32(encoder, bits);
}

int xmb_xdr_put_double(struct xmb_xdr_encoder *encoder, double value)
{
	uint64_t bits;

	memcpy(&bits, &value, sizeof(bits));
	return xmb_xdr_put_u64(encoder, bits);
}

/*
 * The word `len` (unless NULL), then data, then its padding: in room if it
 * fits there, else in frames of its own, of which the last is gone on with.
 */
static int put_copy(struct xmb_xdr_encoder *encoder, const uint32_t *len,
		    const void *data, size_t n)
{
	size_t all = (len ? UNIT : 0) + n + pad_of(n), off = 0;
	uint32_t headroom = 0;
	struct xmb_multibuf made = { 0 };
	uint32_t be;
	int rc;

	if (n > ITEM_MAX)
		return -EMSGSIZE;
	if (all <= 4 * UNIT) {
		rc = ensure(encoder, (uint32_t)all);
		if (rc < 0)
			return rc;
	}
	if (has_room(encoder, all)) {
		if (len)
			put_word(encoder, *len);
		put_raw(encoder, data, n);
		put_raw(encoder, zeros, pad_of(n));
		return 0;
	}
	if (xmb_xdr_encoder_len(encoder) == 0)
		headroom = encoder->headroom;
	/* Room for the headroom in all but simple: it is a discarded prefix. */
	rc = xmb_multibuf_alloc(encoder->cache, all + headroom, 0, &made);
	if (rc < 0)
		return rc;
	xmb_multibuf_discard_prefix(&made, headroom, encoder->cache);
	if (len) {
		be = __builtin_bswap32(*len);
		off += xmb_multibuf_copy_from(&made, off, &be, UNIT);
	}
	off += xmb_multibuf_copy_from(&made, off, data, n);
	xmb_multibuf_copy_from(&made, off, zeros, pad_of(n));
	rc = join_made(encoder, &made);
	if (rc < 0)
		xmb_multibuf_release(&made, encoder->cache);
	return rc;
}

int xmb_xdr_put_fixed(struct xmb_xdr_encoder *encoder, const void *data,
		      size_t n)
{
	return n == 0 ? 0 : put_copy(encoder, NULL, data, n);
}

int xmb_xdr_put_opaque(struct xmb_xdr_encoder *encoder, const void *data,
		       size_t n)
{
	uint32_t len = (uint32_t)n;

	return put_copy(encoder, &len, data, n);
}

int xmb_xdr_put_string(struct xmb_xdr_encoder *encoder, const char *string)
{
	return xmb_xdr_put_opaque(encoder, string, strlen(string));
}

/*
 * Part room at `at`: the rest goes on behind a payload.  Without a slot, or
 * without space for the padding, the rest is a fresh frame.
 */
static int part_room(struct xmb_xdr_encoder *encoder, uint32_t at, uint32_t pad,
		     struct xmb_chunk *rest)
{
	uint32_t left = encoder->room.len - at;
	int rc = -ENOSPC;

	if (left >= pad && left > 0)
		rc = xmb_chunk_split(&encoder->room, at, rest);
	if (rc != -ENOSPC)
		return rc;
	rc = xmb_chunk_alloc(encoder->cache, rest);
	if (rc == 0)
		xmb_chunk_truncate(&encoder->room, at);
	return rc;
}

/* Undo part_room(); what was truncated was never of use. */
static void join_room(struct xmb_xdr_encoder *encoder, struct xmb_chunk *rest)
{
	if (xmb_chunk_merge(&encoder->room, rest) < 0)
		xmb_chunk_release(rest, encoder->cache);
}

/* The chunk of room, and payload behind it, join mb. */
static int append_payload(struct xmb_xdr_encoder *encoder,
			  struct xmb_multibuf *payload)
{
	int rc;

	rc = xmb_multibuf_push_front(payload, &encoder->room, encoder->cache);
	if (rc < 0)
		return rc;
	rc = xmb_multibuf_append(&encoder->mb, payload, encoder->cache);
	if (rc < 0)
		xmb_multibuf_pop_front(payload, &encoder->room, encoder->cache);
	return rc;
}

int xmb_xdr_put_payload(struct xmb_xdr_encoder *encoder,
			struct xmb_multibuf *payload)
{
	uint32_t n = payload->len, pad = pad_of(n), at;
	struct xmb_chunk rest = { 0 };
	int rc;

	if (n > ITEM_MAX)
		return -EMSGSIZE;
	rc = ensure(encoder, UNIT);
	if (rc < 0)
		return rc;
	at = encoder->used + UNIT;
	rc = part_room(encoder, at, pad, &rest);
	if (rc < 0)
		return rc;
	put_word(encoder, n);
	rc = append_payload(encoder, payload);
	if (rc < 0) {
		encoder->used -= UNIT;
		join_room(encoder, &rest);
		return rc;
	}
	encoder->room = rest;
	encoder->used = 0;
	put_raw(encoder, zeros, pad);
	return 0;
}

/* The n bytes at off of the next item, counted from its start; NULL: too few.
 */
static const void *peek(const struct xmb_xdr_decoder *decoder, size_t off,
			size_t n, void *tmp)
{
	return xmb_multibuf_get(decoder->mb, decoder->off + off, n, tmp);
}

static int peek_u32(const struct xmb_xdr_decoder *decoder, size_t off,
		    uint32_t *value)
{
	uint32_t tmp;
	const void *data = peek(decoder, off, UNIT, &tmp);

	if (!data)
		return -ENODATA;
	memcpy(&tmp, data, UNIT);
	*value = __builtin_bswap32(tmp);
	return 0;
}

int xmb_xdr_get_u32(struct xmb_xdr_decoder *decoder, uint32_t *value)
{
	int rc = peek_u32(decoder, 0, value);

	if (rc == 0)
		decoder->off += UNIT;
	return rc;
}

int xmb_xdr_get_i32(struct xmb_xdr_decoder *decoder, int32_t *value)
{
	uint32_t word;
	int rc = xmb_xdr_get_u32(decoder, &word);

	if (rc == 0)
		*value = (int32_t)word;
	return rc;
}

int xmb_xdr_get_bool(struct xmb_xdr_decoder *decoder, bool *value)
{
	uint32_t word;
	int rc = peek_u32(decoder, 0, &word);

	if (rc < 0)
		return rc;
	if (word > 1)
		return -EPROTO;
	*value = word;
	decoder->off += UNIT;
	return 0;
}

int xmb_xdr_get_u64(struct xmb_xdr_decoder *decoder, uint64_t *value)
{
	uint32_t high = 0, low;
	int rc = peek_u32(decoder, UNIT, &low);

	if (rc < 0)
		return rc;
	xmb_xdr_get_u32(decoder, &high);
	*value = (uint64_t)high << 32 | low;
	decoder->off += UNIT;
	return 0;
}

int xmb_xdr_get_i64(struct xmb_xdr_decoder *decoder, int64_t *value)
{
	uint64_t word;
	int rc = xmb_xdr_get_u64(decoder, &word);

	if (rc == 0)
		*value = (int64_t)word;
	return rc;
}

int xmb_xdr_get_float(struct xmb_xdr_decoder *decoder, float *value)
{
	uint32_t bits;
	int rc = xmb_xdr_get_u32(decoder, &bits);

	if (rc == 0)
		memcpy(value, &bits, sizeof(bits));
	return rc;
}

int xmb_xdr_get_double(struct xmb_xdr_decoder *decoder, double *value)
{
	uint64_t bits;
	int rc = xmb_xdr_get_u64(decoder, &bits);

	if (rc == 0)
		memcpy(value, &bits, sizeof(bits));
	return rc;
}

/* Bytes of the packet behind off of the next item. */
static size_t left(const struct xmb_xdr_decoder *decoder, size_t off)
{
	size_t at = decoder->off + off;

	return at <= decoder->mb->len ? decoder->mb->len - at : 0;
}

int xmb_xdr_get_fixed(struct xmb_xdr_decoder *decoder, void *data, size_t n)
{
	if (n > ITEM_MAX || left(decoder, 0) < n + pad_of(n))
		return -ENODATA;
	xmb_multibuf_copy_to(decoder->mb, decoder->off, data, n);
	decoder->off += (uint32_t)n + pad_of(n);
	return 0;
}

/* The length of the opaque that comes next, which is all there. */
static int peek_opaque(const struct xmb_xdr_decoder *decoder, size_t max,
		       uint32_t *n)
{
	int rc = peek_u32(decoder, 0, n);

	if (rc < 0)
		return rc;
	if (*n > max || *n > INT32_MAX)
		return -EMSGSIZE;
	return left(decoder, UNIT) < (size_t)*n + pad_of(*n) ? -ENODATA : 0;
}

int xmb_xdr_get_opaque(struct xmb_xdr_decoder *decoder, void *data, size_t max)
{
	uint32_t n;
	int rc = peek_opaque(decoder, max, &n);

	if (rc < 0)
		return rc;
	xmb_multibuf_copy_to(decoder->mb, decoder->off + UNIT, data, n);
	decoder->off += UNIT + n + pad_of(n);
	return (int)n;
}

int xmb_xdr_get_string(struct xmb_xdr_decoder *decoder, char *string,
		       size_t max)
{
	struct xmb_xdr_decoder before = *decoder;
	int n;

	if (max == 0)
		return -EMSGSIZE;
	n = xmb_xdr_get_opaque(decoder, string, max - 1);
	if (n < 0)
		return n;
	string[n] = 0;
	if (memchr(string, 0, (size_t)n)) {
		*decoder = before;
		return -EPROTO;
	}
	return n;
}

int xmb_xdr_get_payload(struct xmb_xdr_decoder *decoder, size_t max,
			struct xmb_multibuf *payload, struct xmb_cache *cache)
{
	uint32_t n;
	int rc = peek_opaque(decoder, max, &n);

	if (rc < 0)
		return rc;
	rc = xmb_multibuf_take(decoder->mb, decoder->off + UNIT, n, payload,
			       cache);
	if (rc == 0)
		decoder->off += UNIT + pad_of(n);
	return rc;
}
