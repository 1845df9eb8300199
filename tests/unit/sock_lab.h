/* SPDX-License-Identifier: BSD-2-Clause */
#ifndef XMBUF_TESTS_SOCK_LAB_H
#define XMBUF_TESTS_SOCK_LAB_H

/*
 * sock_lab: a pool of small frames and packets with a number, for whatever
 * hands multibufs on.
 */
#include "buf/multibuf.h"

#include "buf_lab.h"

enum { FRAME_LEN = 64, FRAME_CNT = 1024, PACKET_LEN = 10 };

static struct lab lab;

static inline uint32_t frames_free(void)
{
	return lab.cache.cnt + xmb_pool_free_cnt(&lab.pool);
}

/* One chunk of len bytes that say its number; so does its mark. */
static inline struct xmb_multibuf packet_of(uint32_t number, uint32_t len)
{
	struct xmb_multibuf mb = { 0 };
	struct xmb_chunk chunk = { 0 };

	cr_assert(eq(int, xmb_chunk_alloc(&lab.cache, &chunk), 0));
	cr_assert(eq(int, xmb_chunk_truncate(&chunk, len), 0));
	if (len >= sizeof(number))
		memcpy(xmb_chunk_data(&chunk), &number, sizeof(number));
	xmb_multibuf_init(&mb, &chunk);
	mb.user = number;
	return mb;
}

/* The number in the bytes: it is there as long as the frame is the same. */
static inline uint32_t number_of(const struct xmb_multibuf *mb)
{
	uint32_t number = UINT32_MAX;

	xmb_multibuf_copy_to(mb, 0, &number, sizeof(number));
	return number;
}

static inline bool is_zero(const struct xmb_multibuf *mb)
{
	static const struct xmb_multibuf zero;

	return memcmp(mb, &zero, sizeof(zero)) == 0;
}

#endif /* XMBUF_TESTS_SOCK_LAB_H */
