/* SPDX-License-Identifier: BSD-2-Clause */
#ifndef XMBUF_TESTS_INTEROP_LAB_H
#define XMBUF_TESTS_INTEROP_LAB_H

/*
 * interop_lab: multibufs of chunks that cut everything in awkward places, and
 * what is free, to see that a refused call took nothing.
 */
#include "buf/edit.h"

#include "../unit/buf_lab.h"

enum { LAB_FRAMES = 256, LAB_FRAME_LEN = 64 };

static struct lab lab;

static inline uint32_t frames_free(void)
{
	return lab.cache.cnt + xmb_pool_free_cnt(&lab.pool);
}

static inline void open_lab(void)
{
	lab_open(&lab, LAB_FRAME_LEN, LAB_FRAMES, 128);
}

static inline void close_lab(void)
{
	lab_close(&lab);
}

/* len bytes in chunks of 1, 2, ... at most 13 bytes, among them empty ones. */
static inline struct xmb_multibuf awkward(const void *data, uint32_t len)
{
	struct xmb_multibuf mb = { 0 };
	uint32_t left = len, want = 1;

	while (left > 0) {
		struct xmb_chunk chunk = { 0 };
		uint32_t n = xmb_min_u32(left, want);

		cr_assert(eq(int, xmb_chunk_alloc(&lab.cache, &chunk), 0));
		xmb_chunk_slice(&chunk, 3, 3 + n);
		cr_assert(eq(int,
			     xmb_multibuf_push_back(&mb, &chunk, &lab.cache),
			     0));
		left -= n;
		want = want % 13 + 1;
		if (want == 5) {
			cr_assert(eq(int, xmb_chunk_alloc(&lab.cache, &chunk),
				     0));
			xmb_chunk_truncate(&chunk, 0);
			xmb_multibuf_push_back(&mb, &chunk, &lab.cache);
		}
	}
	if (data)
		xmb_multibuf_copy_from(&mb, 0, data, len);
	return mb;
}

static inline bool holds(const struct xmb_multibuf *mb, const void *data,
			 uint32_t len)
{
	static uint8_t flat[1 << 16];

	return mb->len == len &&
	       xmb_multibuf_copy_to(mb, 0, flat, len) == len &&
	       memcmp(flat, data, len) == 0;
}

static inline void numbers(uint8_t *data, uint32_t len)
{
	for (uint32_t i = 0; i < len; i++)
		data[i] = (uint8_t)(i * 7 + i / 256);
}

#endif /* XMBUF_TESTS_INTEROP_LAB_H */
