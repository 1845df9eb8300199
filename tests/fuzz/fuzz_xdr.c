/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * libFuzzer on the XDR decoder, which reads what a stranger sent.  The input is
 * how long chunks are and which items are asked for, and the data.  A getter
 * that refuses must not move, one that succeeds moves by whole units and never
 * beyond the end; in the end all frames and blocks are home.
 */
#include "must.h"

#include "interop/xdr.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { FRAME_LEN = 64, FRAMES = 640, BLOCKS = 640, HEAD_LEN = 16 };

static struct xmb_pool pool;
static struct xmb_cache cache;
static uint8_t memory[FRAMES * FRAME_LEN] __attribute__((aligned(64)));
static uint8_t side[1 << 17] __attribute__((aligned(64)));

static void start(void)
{
	struct xmb_pool_opts opts = { .base = memory,
				      .frame_len = FRAME_LEN,
				      .frame_cnt = FRAMES,
				      .spill_cnt = BLOCKS };

	MUST(xmb_pool_footprint(&opts) <= sizeof(side));
	memset(side, 0, sizeof(side));
	MUST(xmb_pool_init(&pool, side, &opts) == 0);
	xmb_cache_init(&cache, &pool, 1);
}

/* Chunks of 0 to 7 bytes, as lens says, again and again; empty every other one
 * at most, so that frames suffice. */
static void cut(struct xmb_multibuf *mb, const uint8_t *lens,
		const uint8_t *data, uint32_t len)
{
	for (uint32_t i = 0; len > 0; i++) {
		uint32_t n = xmb_min_u32(lens[i % HEAD_LEN] & 7, len);
		struct xmb_chunk chunk = { 0 };

		n = i % 2 == 0 && n == 0 ? 1 : n;
		MUST(xmb_chunk_alloc(&cache, &chunk) == 0);
		MUST(xmb_chunk_truncate(&chunk, n) == 0);
		memcpy(xmb_chunk_data(&chunk), data, n);
		MUST(xmb_multibuf_push_back(mb, &chunk, &cache) == 0);
		data += n;
		len -= n;
	}
}

/* What was taken is gone from the packet, and both are whole. */
static void verify_taken(const struct xmb_multibuf *payload,
			 const struct xmb_multibuf *mb, uint32_t before)
{
	MUST(xmb_multibuf_check(payload) && xmb_multibuf_check(mb));
	MUST(mb->len + payload->len == before);
}

static int get(struct xmb_xdr_decoder *d, uint32_t which, size_t max)
{
	uint8_t *bytes = malloc(max + 1);
	struct xmb_multibuf payload = { 0 };
	uint32_t before = d->mb->len, u32;
	double real;
	uint64_t u64;
	float f;
	int rc;
	bool b;

	MUST(bytes);
	switch (which) {
	case 0:
		rc = xmb_xdr_get_u32(d, &u32);
		break;
	case 1:
		rc = xmb_xdr_get_bool(d, &b);
		break;
	case 2:
		rc = xmb_xdr_get_u64(d, &u64);
		break;
	case 3:
		rc = xmb_xdr_get_float(d, &f);
		break;
	case 4:
		rc = xmb_xdr_get_double(d, &real);
		break;
	case 5:
		rc = xmb_xdr_get_fixed(d, bytes, max);
		break;
	case 6:
		rc = xmb_xdr_get_opaque(d, bytes, max);
		MUST(rc < 0 || (size_t)rc <= max);
		break;
	case 7:
		rc = xmb_xdr_get_string(d, (char *)bytes, max);
		MUST(rc < 0 || strlen((char *)bytes) == (size_t)rc);
		break;
	default:
		rc = xmb_xdr_get_payload(d, max, &payload, &cache);
		verify_taken(&payload, d->mb, before);
		xmb_multibuf_release(&payload, &cache);
	}
	free(bytes);
	return rc;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
	struct xmb_multibuf mb = { 0 };
	struct xmb_xdr_decoder d;

	if (len < HEAD_LEN || len > HEAD_LEN + 256)
		return 0;
	start();
	cut(&mb, data, data + HEAD_LEN, (uint32_t)len - HEAD_LEN);
	xmb_xdr_decoder_init(&d, &mb, data[0] >> 6);
	for (uint32_t i = 0; i < 64; i++) {
		uint32_t off = d.off, before = mb.len,
			 ask = data[i % HEAD_LEN] >> 3;
		int rc = get(&d, (ask + i) % 9, ask * 4u);

		MUST(rc >= 0 || (d.off == off && mb.len == before));
		/* A payload was taken out between its length and padding. */
		MUST((d.off - off + before - mb.len) % 4 == 0);
		MUST(d.off == off || d.off <= mb.len);
	}
	xmb_multibuf_release(&mb, &cache);
	MUST(cache.cnt + xmb_pool_free_cnt(&pool) == FRAMES);
	xmb_cache_fini(&cache);
	xmb_pool_fini(&pool);
	return 0;
}
