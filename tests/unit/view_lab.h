/* SPDX-License-Identifier: BSD-2-Clause */
#ifndef XMBUF_TESTS_VIEW_LAB_H
#define XMBUF_TESTS_VIEW_LAB_H

/* Packets of chunks of given lengths, empty and read-only ones among them. */

#include "multibuf_room.h"

/* The arguments lens and cnt of make(), from a list. */
#define LENS(...)                                                              \
	(const uint32_t[]){ __VA_ARGS__ },                                     \
		sizeof((const uint32_t[]){ __VA_ARGS__ }) / sizeof(uint32_t)

/* Chunks of these lengths in frames of their own; byte i is first + i. */
static inline struct xmb_multibuf make(struct room *room, uint8_t first,
				       const uint32_t *lens, uint32_t cnt)
{
	struct xmb_multibuf mb = { 0 };
	struct xmb_chunk chunk;

	for (uint32_t i = 0; i < cnt; i++) {
		chunk = chunk_of(room, lens[i]);
		for (uint32_t b = 0; b < lens[i]; b++)
			xmb_chunk_data(&chunk)[b] =
				(uint8_t)(first + mb.len + b);
		cr_assert(eq(int,
			     xmb_multibuf_push_back(&mb, &chunk, &room->cache),
			     0));
	}
	return mb;
}

/* Make the chunk at idx read-only by a share, which the caller releases. */
static inline struct xmb_chunk share_of(struct xmb_multibuf *mb, uint32_t idx)
{
	struct xmb_chunk clone = { 0 };

	cr_assert(eq(int, xmb_chunk_share(xmb_multibuf_chunk(mb, idx), &clone),
		     0));
	return clone;
}

static inline bool is_all_home(struct room *room, uint32_t frame_cnt,
			       uint32_t spill_cnt)
{
	return frames_free(room) == frame_cnt && blocks_free(room) == spill_cnt;
}

/*
 * As teardown(), of which Criterion shows what it expects but does not count
 * it: what is not home ends the program with a failure.
 */
static inline void teardown_or_abort(void)
{
	give_blocks(&here);
	if (!is_all_home(&here, FRAME_CNT, SPILL_CNT) ||
	    !is_all_home(&there, BIG_CNT, BIG_SPILL_CNT))
		abort();
	teardown();
}

/* The byte at off, in place. */
static inline uint8_t *byte_of(const struct xmb_multibuf *mb, size_t off)
{
	return xmb_multibuf_get(mb, off, 1, NULL);
}

#endif /* XMBUF_TESTS_VIEW_LAB_H */
