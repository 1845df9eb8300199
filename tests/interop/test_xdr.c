/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * interop/xdr beside libtirpc's: what one encodes the other decodes, and the
 * bytes are the same.
 */
#include "interop/xdr.h"

#include "interop_lab.h"

#include <rpc/rpc.h>

TestSuite(xdr, .init = open_lab, .fini = close_lab);

enum { FLAT_MAX = 32768 };

static char flat[FLAT_MAX];
static uint8_t data[9000];

/* A random record, by both; which items it has is told by the seed. */
enum item {
	U32,
	I32,
	BOOL,
	U64,
	I64,
	FLOAT,
	DOUBLE,
	FIXED,
	OPAQUE,
	STRING,
	PAYLOAD,
	ITEM_CNT
};

static uint32_t rng;

static uint32_t rnd(uint32_t below)
{
	rng = rng * 1664525 + 1013904223;
	return (uint32_t)((uint64_t)rng * below >> 32);
}

static void put_ours(struct xmb_xdr_encoder *e, enum item item, uint32_t n)
{
	struct xmb_multibuf payload;
	char string[512];
	int rc = 0;

	switch (item) {
	case U32:
		rc = xmb_xdr_put_u32(e, n * 77777u);
		break;
	case I32:
		rc = xmb_xdr_put_i32(e, -(int32_t)n);
		break;
	case BOOL:
		rc = xmb_xdr_put_bool(e, n & 1);
		break;
	case U64:
		rc = xmb_xdr_put_u64(e, (uint64_t)n << 33 | 5);
		break;
	case I64:
		rc = xmb_xdr_put_i64(e, -((int64_t)n << 33));
		break;
	case FLOAT:
		rc = xmb_xdr_put_float(e, (float)n / 3);
		break;
	case DOUBLE:
		rc = xmb_xdr_put_double(e, -(double)n / 7);
		break;
	case FIXED:
		rc = xmb_xdr_put_fixed(e, data, n);
		break;
	case OPAQUE:
		rc = xmb_xdr_put_opaque(e, data, n);
		break;
	case STRING:
		memset(string, 'a', n);
		string[n] = 0;
		rc = xmb_xdr_put_string(e, string);
		break;
	default:
		payload = awkward(data, n);
		rc = xmb_xdr_put_payload(e, &payload);
		cr_expect(xmb_multibuf_is_empty(&payload));
	}
	cr_assert(eq(int, rc, 0));
}

static void put_theirs(XDR *x, enum item item, uint32_t n)
{
	char text[512], *string = text, *bytes = (char *)data;
	uint32_t u32 = n * 77777u;
	int32_t i32 = -(int32_t)n;
	uint64_t u64 = (uint64_t)n << 33 | 5;
	int64_t i64 = -((int64_t)n << 33);
	float f = (float)n / 3;
	double d = -(double)n / 7;
	bool_t b = n & 1, ok;

	switch (item) {
	case U32:
		ok = xdr_uint32_t(x, &u32);
		break;
	case I32:
		ok = xdr_int32_t(x, &i32);
		break;
	case BOOL:
		ok = xdr_bool(x, &b);
		break;
	case U64:
		ok = xdr_uint64_t(x, &u64);
		break;
	case I64:
		ok = xdr_int64_t(x, &i64);
		break;
	case FLOAT:
		ok = xdr_float(x, &f);
		break;
	case DOUBLE:
		ok = xdr_double(x, &d);
		break;
	case FIXED:
		ok = xdr_opaque(x, bytes, n);
		break;
	case STRING:
		memset(text, 'a', n);
		text[n] = 0;
		ok = xdr_string(x, &string, 512);
		break;
	default:
		ok = xdr_bytes(x, &bytes, &n, FLAT_MAX);
	}
	cr_assert(ok);
}

static uint32_t theirs(uint32_t seed)
{
	XDR x;

	memset(flat, 0xee, sizeof(flat));
	xdrmem_create(&x, flat, sizeof(flat), XDR_ENCODE);
	rng = seed;
	for (uint32_t i = rnd(40); i-- > 0;) {
		enum item item = rnd(ITEM_CNT);

		put_theirs(&x, item, rnd(300));
	}
	return xdr_getpos(&x);
}

static struct xmb_multibuf ours(uint32_t seed, uint32_t headroom)
{
	struct xmb_multibuf mb = { .user = 3 };
	struct xmb_xdr_encoder e;

	xmb_xdr_encoder_init(&e, &lab.cache, headroom);
	rng = seed;
	for (uint32_t i = rnd(40); i-- > 0;) {
		enum item item = rnd(ITEM_CNT);

		put_ours(&e, item, rnd(300));
	}
	cr_assert(eq(int, xmb_xdr_encoder_finish(&e, &mb), 0));
	cr_assert(xmb_multibuf_check(&mb));
	return mb;
}

Test(xdr, five_hundred_records_are_byte_for_byte_those_of_libtirpc)
{
	lab_close(&lab);
	lab_open(&lab, LAB_FRAME_LEN, 4096, 2048);
	numbers(data, sizeof(data));
	for (uint32_t seed = 1; seed <= 500; seed++) {
		uint32_t len = theirs(seed), headroom = seed % 57;
		struct xmb_multibuf mb = ours(seed, headroom);

		cr_assert(holds(&mb, flat, len), "seed %u", seed);
		cr_expect(eq(u32, mb.user, 3));
		if (len > 0)
			cr_assert(eq(int,
				     xmb_multibuf_claim_prefix(&mb, headroom),
				     0));
		xmb_multibuf_release(&mb, &lab.cache);
	}
	cr_expect(eq(u64, xmb_counter_read(&lab.cache.copies), 0));
}

static void get_ours(struct xmb_xdr_decoder *d, enum item item, uint32_t n)
{
	struct xmb_multibuf payload = { 0 };
	static uint8_t bytes[512];
	static char string[512];
	uint32_t u32;
	uint64_t u64;
	int64_t i64;
	int32_t i32;
	double dbl;
	float f;
	bool b;

	switch (item) {
	case U32:
		cr_assert(eq(int, xmb_xdr_get_u32(d, &u32), 0));
		cr_assert(eq(u32, u32, n * 77777u));
		break;
	case I32:
		cr_assert(eq(int, xmb_xdr_get_i32(d, &i32), 0));
		cr_assert(eq(i32, i32, -(int32_t)n));
		break;
	case BOOL:
		cr_assert(eq(int, xmb_xdr_get_bool(d, &b), 0));
		cr_assert(eq(int, b, n & 1));
		break;
	case U64:
		cr_assert(eq(int, xmb_xdr_get_u64(d, &u64), 0));
		cr_assert(eq(u64, u64, (uint64_t)n << 33 | 5));
		break;
	case I64:
		cr_assert(eq(int, xmb_xdr_get_i64(d, &i64), 0));
		cr_assert(eq(i64, i64, -((int64_t)n << 33)));
		break;
	case FLOAT:
		cr_assert(eq(int, xmb_xdr_get_float(d, &f), 0));
		cr_assert(eq(flt, f, (float)n / 3));
		break;
	case DOUBLE:
		cr_assert(eq(int, xmb_xdr_get_double(d, &dbl), 0));
		cr_assert(eq(dbl, dbl, -(double)n / 7));
		break;
	case FIXED:
		cr_assert(eq(int, xmb_xdr_get_fixed(d, bytes, n), 0));
		cr_assert(eq(int, memcmp(bytes, data, n), 0));
		break;
	case OPAQUE:
		cr_assert(eq(int, xmb_xdr_get_opaque(d, bytes, 300), (int)n));
		cr_assert(eq(int, memcmp(bytes, data, n), 0));
		break;
	case STRING:
		cr_assert(eq(int, xmb_xdr_get_string(d, string, 512), (int)n));
		cr_assert(eq(sz, strlen(string), n));
		break;
	default:
		cr_assert(eq(int,
			     xmb_xdr_get_payload(d, 300, &payload, &lab.cache),
			     0));
		cr_assert(holds(&payload, data, n));
		xmb_multibuf_release(&payload, &lab.cache);
	}
}

Test(xdr, what_libtirpc_encoded_is_decoded_from_awkward_chunks)
{
	lab_close(&lab);
	lab_open(&lab, LAB_FRAME_LEN, 4096, 2048);
	numbers(data, sizeof(data));
	for (uint32_t seed = 1; seed <= 300; seed++) {
		uint32_t len = theirs(seed);
		struct xmb_multibuf mb = awkward(flat, len);
		struct xmb_xdr_decoder d;

		xmb_xdr_decoder_init(&d, &mb, 0);
		rng = seed;
		for (uint32_t i = rnd(40); i-- > 0;) {
			enum item item = rnd(ITEM_CNT);

			get_ours(&d, item, rnd(300));
		}
		cr_expect(eq(u32, d.off, mb.len));
		xmb_multibuf_release(&mb, &lab.cache);
	}
}

Test(xdr, a_payload_is_sent_where_it_lies_and_taken_where_it_came)
{
	struct xmb_multibuf payload, mb = { 0 }, out = { 0 };
	struct xmb_xdr_encoder e;
	struct xmb_xdr_decoder d;
	const uint8_t *where;

	numbers(data, 50);
	payload = awkward(data, 0);
	cr_assert(eq(int, xmb_multibuf_alloc(&lab.cache, 50, 0, &payload), 0));
	xmb_multibuf_copy_from(&payload, 0, data, 50);
	where = xmb_chunk_data(&payload.c[0]);
	xmb_xdr_encoder_init(&e, &lab.cache, 0);
	cr_assert(eq(int, xmb_xdr_put_u32(&e, 1), 0));
	cr_assert(eq(int, xmb_xdr_put_payload(&e, &payload), 0));
	cr_assert(eq(int, xmb_xdr_put_u32(&e, 2), 0));
	cr_expect(eq(sz, xmb_xdr_encoder_len(&e), 64));
	cr_assert(eq(int, xmb_xdr_encoder_finish(&e, &mb), 0));
	/* Head, payload, and the rest of the head's own frame. */
	cr_expect(eq(u32, xmb_multibuf_chunk_cnt(&mb), 3));
	cr_expect(eq(ptr, xmb_chunk_data(&mb.c[1]), (uint8_t *)where));
	cr_expect(eq(u32, mb.c[0].region, mb.c[2].region));
	xmb_xdr_decoder_init(&d, &mb, 4);
	cr_assert(eq(int, xmb_xdr_get_payload(&d, 50, &out, &lab.cache), 0));
	cr_expect(eq(ptr, xmb_chunk_data(&out.c[0]), (uint8_t *)where));
	cr_expect(eq(u64, xmb_counter_read(&lab.cache.copies), 0));
	xmb_multibuf_release(&out, &lab.cache);
	xmb_multibuf_release(&mb, &lab.cache);
}

Test(xdr, a_decoder_refuses_what_is_too_long_too_short_or_no_value)
{
	static const uint8_t item[] = { 0, 0, 0, 2, 'a', 0, 0, 0 };
	struct xmb_multibuf mb = awkward(item, sizeof(item)), out = { 0 };
	struct xmb_xdr_decoder d;
	uint64_t u64;
	uint32_t u32;
	char text[8];
	bool b;

	xmb_xdr_decoder_init(&d, &mb, 0);
	cr_expect(eq(int, xmb_xdr_get_bool(&d, &b), -EPROTO));
	cr_expect(eq(int, xmb_xdr_get_opaque(&d, text, 1), -EMSGSIZE));
	cr_expect(eq(int, xmb_xdr_get_string(&d, text, 2), -EMSGSIZE));
	cr_expect(eq(int, xmb_xdr_get_string(&d, text, 0), -EMSGSIZE));
	cr_expect(eq(int, xmb_xdr_get_string(&d, text, 8), -EPROTO));
	cr_expect(eq(int, xmb_xdr_get_payload(&d, 1, &out, &lab.cache),
		     -EMSGSIZE));
	cr_expect(eq(int, xmb_xdr_get_fixed(&d, text, 9), -ENODATA));
	cr_expect(eq(int, xmb_xdr_get_fixed(&d, text, SIZE_MAX), -ENODATA));
	cr_expect(eq(u32, d.off, 0));
	cr_expect(holds(&mb, item, sizeof(item)));
	cr_assert(eq(int, xmb_xdr_get_u32(&d, &u32), 0));
	cr_expect(eq(int, xmb_xdr_get_u64(&d, &u64), -ENODATA));
	cr_expect(eq(int, xmb_xdr_get_opaque(&d, text, 8), -EMSGSIZE));
	cr_expect(eq(u32, d.off, 4));
	/* Its length is there, its bytes are not. */
	xmb_xdr_decoder_init(&d, &mb, 0);
	xmb_multibuf_truncate(&mb, 7, &lab.cache);
	cr_expect(eq(int, xmb_xdr_get_opaque(&d, text, 8), -ENODATA));
	cr_expect(eq(int, xmb_xdr_get_payload(&d, 8, &out, &lab.cache),
		     -ENODATA));
	xmb_xdr_decoder_init(&d, &mb, 5);
	cr_expect(eq(int, xmb_xdr_get_u32(&d, &u32), -ENODATA));
	xmb_multibuf_release(&mb, &lab.cache);
}

/* More frames than a cache can have blocks reserved for. */
Test(xdr, an_item_of_a_hundred_thousand_bytes_is_copied_into_frames)
{
	static uint8_t big[100000], back[100000];
	struct xmb_multibuf mb = { 0 };
	struct xmb_xdr_encoder e;
	struct xmb_xdr_decoder d;
	uint32_t word;

	lab_close(&lab);
	lab_open(&lab, 2048, 64, 32);
	numbers(big, sizeof(big));
	xmb_xdr_encoder_init(&e, &lab.cache, 20);
	cr_assert(eq(int, xmb_xdr_put_u32(&e, 7), 0));
	cr_assert(eq(int, xmb_xdr_put_opaque(&e, big, sizeof(big)), 0));
	cr_assert(eq(int, xmb_xdr_put_u32(&e, 8), 0));
	cr_assert(eq(int, xmb_xdr_encoder_finish(&e, &mb), 0));
	cr_assert(xmb_multibuf_check(&mb));
	cr_expect(eq(u32, mb.len, sizeof(big) + 12));
	xmb_xdr_decoder_init(&d, &mb, 4);
	cr_expect(eq(int, xmb_xdr_get_opaque(&d, back, sizeof(back)),
		     sizeof(back)));
	cr_expect(eq(int, memcmp(big, back, sizeof(back)), 0));
	cr_assert(eq(int, xmb_xdr_get_u32(&d, &word), 0));
	cr_expect(eq(u32, word, 8));
	xmb_multibuf_release(&mb, &lab.cache);
}

/* At first there are none for the new frames, then none for the join. */
Test(xdr, an_item_that_finds_no_block_to_join_by_changes_nothing)
{
	uint32_t ids[128], used, frames, cnt = 0, refused = 0;
	struct xmb_multibuf mb = { 0 };
	struct xmb_xdr_encoder e;

	numbers(data, 800);
	xmb_xdr_encoder_init(&e, &lab.cache, 0);
	cr_assert(eq(int, xmb_xdr_put_fixed(&e, data, 200), 0));
	while (cnt < 128 &&
	       (ids[cnt] = xmb_cache_spill_get(&lab.cache)) != XMB_SPILL_NONE)
		cnt++;
	used = e.used;
	frames = frames_free();
	while (xmb_xdr_put_fixed(&e, data + 200, 600) == -ENOBUFS) {
		refused++;
		cr_expect(eq(u32, e.used, used));
		cr_expect(eq(u32, e.room.len, LAB_FRAME_LEN));
		cr_expect(eq(sz, xmb_xdr_encoder_len(&e), 200));
		cr_expect(eq(u32, frames_free(), frames));
		cr_assert(gt(u32, cnt, 0));
		xmb_cache_spill_put(&lab.cache, &lab.pool.domain, ids[--cnt]);
	}
	cr_expect(ge(u32, refused, 3));
	while (cnt > 0)
		xmb_cache_spill_put(&lab.cache, &lab.pool.domain, ids[--cnt]);
	cr_assert(eq(int, xmb_xdr_encoder_finish(&e, &mb), 0));
	cr_expect(holds(&mb, data, 800));
	xmb_multibuf_release(&mb, &lab.cache);
}

Test(xdr, an_encoder_without_memory_refuses_and_goes_on_when_there_is_some)
{
	struct xmb_multibuf hog = { 0 }, mb = { 0 }, payload;
	struct xmb_xdr_encoder e;
	uint32_t free_cnt, len;

	numbers(data, 200);
	memset(flat, 0, sizeof(flat));
	xmb_xdr_encoder_init(&e, &lab.cache, 8);
	cr_assert(eq(int, xmb_xdr_put_fixed(&e, data, 48), 0));
	payload = awkward(data, 10);
	cr_assert(
		eq(int,
		   xmb_multibuf_alloc(&lab.cache, frames_free() * 64, 0, &hog),
		   0));
	free_cnt = frames_free();
	len = (uint32_t)xmb_xdr_encoder_len(&e);
	/* 8 bytes are left in the frame. */
	cr_expect(eq(int, xmb_xdr_put_fixed(&e, data, 12), -ENOBUFS));
	cr_expect(eq(int, xmb_xdr_put_opaque(&e, data, 200), -ENOBUFS));
	cr_assert(eq(int, xmb_xdr_put_u32(&e, 0), 0));
	cr_expect(eq(int, xmb_xdr_put_u64(&e, 5), -ENOBUFS));
	/* No space behind the length for the padding: it takes a frame. */
	cr_expect(eq(int, xmb_xdr_put_payload(&e, &payload), -ENOBUFS));
	cr_expect(holds(&payload, data, 10));
	cr_expect(eq(sz, xmb_xdr_encoder_len(&e), len + 4));
	cr_expect(eq(u32, frames_free(), free_cnt));
	xmb_multibuf_release(&hog, &lab.cache);
	cr_assert(eq(int, xmb_xdr_put_payload(&e, &payload), 0));
	cr_assert(eq(int, xmb_xdr_encoder_finish(&e, &mb), 0));
	memcpy(flat, data, 48);
	flat[55] = 10;
	memcpy(flat + 56, data, 10);
	cr_expect(holds(&mb, flat, 68));
	xmb_multibuf_release(&mb, &lab.cache);
	cr_expect(eq(int, xmb_xdr_put_fixed(&e, data, SIZE_MAX), -EMSGSIZE));
	cr_assert(eq(int, xmb_xdr_put_u32(&e, 0), 0));
	xmb_xdr_encoder_abort(&e);
}
