/* SPDX-License-Identifier: BSD-2-Clause */
#ifndef XMBUF_TESTS_MULTIBUF_ROOM_H
#define XMBUF_TESTS_MULTIBUF_ROOM_H

/*
 * multibuf_room: two pools with a cache each, packets that count up, and the
 * comparison of everything that a refused call may not touch.
 */
#include "buf/multibuf.h"

#include <criterion/criterion.h>
#include <criterion/new/assert.h>
#include <stdlib.h>
#include <string.h>

enum {
	FRAME_LEN = 64,
	FRAME_CNT = 96,
	SPILL_CNT = 16,
	BIG_LEN = 1024, /* frames of the other pool */
	BIG_CNT = 16,
	BIG_SPILL_CNT = 4,
	BYTES_MAX = 8192,
};

struct room {
	struct xmb_pool pool;
	struct xmb_cache cache;
	void *base, *side;
};

static struct room here, there;
static uint32_t hoard[FRAME_CNT], hoard_cnt;

static inline void room_init(struct room *room,
			     const struct xmb_pool_opts *opts)
{
	struct xmb_pool_opts o = *opts;
	size_t side_len = xmb_align_up(xmb_pool_footprint(&o), 64);

	o.base = room->base = aligned_alloc(
		64, xmb_align_up((size_t)o.frame_len * o.frame_cnt, 64));
	room->side = aligned_alloc(64, side_len);
	cr_assert(room->base && room->side);
	memset(room->side, 0, side_len);
	cr_assert(eq(int, xmb_pool_init(&room->pool, room->side, &o), 0));
	xmb_cache_init(&room->cache, &room->pool, 7);
}

static inline uint32_t frames_free(const struct room *room)
{
	return room->cache.cnt + xmb_pool_free_cnt(&room->pool);
}

/* Take blocks until left are free; give() puts them back. */
static inline void hoard_blocks(struct room *room, uint32_t left)
{
	uint32_t spill;

	hoard_cnt = 0;
	while ((spill = xmb_cache_spill_get(&room->cache)) != XMB_SPILL_NONE)
		hoard[hoard_cnt++] = spill;
	cr_assert(left <= hoard_cnt);
	while (left-- > 0)
		xmb_cache_spill_put(&room->cache, &room->pool.domain,
				    hoard[--hoard_cnt]);
}

static inline void give_blocks(struct room *room)
{
	while (hoard_cnt > 0)
		xmb_cache_spill_put(&room->cache, &room->pool.domain,
				    hoard[--hoard_cnt]);
}

static inline uint32_t blocks_free(struct room *room)
{
	uint32_t *got = malloc((room->pool.spill_cnt + 1) * sizeof(*got));
	uint32_t cnt = 0, i;

	cr_assert(got != NULL);
	while ((got[cnt] = xmb_cache_spill_get(&room->cache)) != XMB_SPILL_NONE)
		cnt++;
	for (i = cnt; i > 0; i--)
		xmb_cache_spill_put(&room->cache, &room->pool.domain,
				    got[i - 1]);
	free(got);
	return cnt;
}

static inline void setup(void)
{
	room_init(&here, &(struct xmb_pool_opts){ .frame_len = FRAME_LEN,
						  .frame_cnt = FRAME_CNT,
						  .spill_cnt = SPILL_CNT });
	room_init(&there,
		  &(struct xmb_pool_opts){ .frame_len = BIG_LEN,
					   .frame_cnt = BIG_CNT,
					   .spill_cnt = BIG_SPILL_CNT });
}

static inline void room_fini(struct room *room, uint32_t frame_cnt,
			     uint32_t spill_cnt)
{
	struct xmb_cache *cache = &room->cache;

	cr_expect(eq(u32, frames_free(room), frame_cnt));
	cr_expect(eq(u32, blocks_free(room), spill_cnt));
	cr_expect(xmb_pool_check(&room->pool, &cache, 1));
	xmb_cache_fini(cache);
	xmb_pool_fini(&room->pool);
	free(room->base);
	free(room->side);
}

/* Every test releases what it took: whatever is not home is a leak. */
static inline void teardown(void)
{
	give_blocks(&here);
	room_fini(&here, FRAME_CNT, SPILL_CNT);
	room_fini(&there, BIG_CNT, BIG_SPILL_CNT);
}

/* What a refused call may not touch. */
struct state {
	struct xmb_multibuf mb[2];
	struct xmb_chunk c[2][FRAME_CNT];
	uint8_t bytes[2][BYTES_MAX];
	uint32_t frames[2], blocks[2];
	uint64_t copies;
};

static inline struct state take_state(const struct xmb_multibuf *mb,
				      const struct xmb_multibuf *other)
{
	const struct xmb_multibuf *mbs[2] = { mb, other };
	struct state s;

	memset(&s, 0, sizeof(s));
	for (int i = 0; i < 2; i++) {
		if (!mbs[i])
			continue;
		cr_assert(xmb_multibuf_check(mbs[i]));
		cr_assert(le(u32, mbs[i]->cnt, FRAME_CNT));
		memcpy(&s.mb[i], mbs[i], sizeof(s.mb[i]));
		for (uint32_t k = 0; k < mbs[i]->cnt; k++)
			s.c[i][k] = *xmb_multibuf_chunk(mbs[i], k);
		xmb_multibuf_copy_to(mbs[i], 0, s.bytes[i], BYTES_MAX);
	}
	s.frames[0] = frames_free(&here);
	s.frames[1] = frames_free(&there);
	s.blocks[0] = blocks_free(&here);
	s.blocks[1] = blocks_free(&there);
	s.copies = xmb_counter_read(&here.cache.copies) +
		   xmb_counter_read(&there.cache.copies);
	return s;
}

#define EXPECT_REFUSED(mb, other, call, error)                                 \
	do {                                                                   \
		struct state before = take_state(mb, other), after;            \
		cr_expect(eq(int, call, error));                               \
		after = take_state(mb, other);                                 \
		cr_expect(memcmp(&before, &after, sizeof(before)) == 0,        \
			  "line %d: a refused call changed something",         \
			  __LINE__);                                           \
	} while (0)

static inline struct xmb_chunk chunk_of(struct room *room, uint32_t len)
{
	struct xmb_chunk chunk = { 0 };

	cr_assert(eq(int, xmb_chunk_alloc(&room->cache, &chunk), 0));
	cr_assert(eq(int, xmb_chunk_truncate(&chunk, len), 0));
	return chunk;
}

/* cnt chunks of len bytes; byte i of the packet is first + i. */
static inline struct xmb_multibuf mb_of(struct room *room, uint32_t cnt,
					uint32_t len, uint8_t first)
{
	struct xmb_multibuf mb = { 0 };
	uint8_t byte;

	for (uint32_t i = 0; i < cnt; i++) {
		struct xmb_chunk chunk = chunk_of(room, len);

		cr_assert(eq(int,
			     xmb_multibuf_push_back(&mb, &chunk, &room->cache),
			     0));
	}
	for (uint32_t i = 0; i < mb.len; i++) {
		byte = (uint8_t)(first + i);
		cr_assert(xmb_multibuf_copy_from(&mb, i, &byte, 1) == 1);
	}
	return mb;
}

/* len bytes that count up from first, and nothing unsound. */
static inline void expect_bytes(const struct xmb_multibuf *mb, uint32_t len,
				uint8_t first)
{
	uint8_t bytes[BYTES_MAX] = { 0 };

	cr_expect(xmb_multibuf_check(mb));
	cr_expect(eq(u32, xmb_multibuf_len(mb), len));
	cr_expect(xmb_multibuf_copy_to(mb, 0, bytes, BYTES_MAX) == len);
	for (uint32_t i = 0; i < len; i++)
		cr_assert(eq(u8, bytes[i], (uint8_t)(first + i)), "byte %u", i);
	for (uint32_t i = mb->inline_cnt; i < XMB_MULTIBUF_INLINE; i++)
		cr_expect(not(xmb_chunk_is_live(&mb->c[i])));
}

static inline bool is_zero(const struct xmb_multibuf *mb)
{
	static const struct xmb_multibuf zero;

	return memcmp(mb, &zero, sizeof(zero)) == 0;
}

#endif /* XMBUF_TESTS_MULTIBUF_ROOM_H */
