/* SPDX-License-Identifier: BSD-2-Clause */
#ifndef XMBUF_TESTS_EDIT_ROOM_H
#define XMBUF_TESTS_EDIT_ROOM_H

/*
 * edit_room: packets of odd shapes for the edits, and what an insertion must
 * leave.
 */
#include "buf/edit.h"
#include "multibuf_room.h"

/* Chunks of these lengths; bytes count up from 0. */
static inline struct xmb_multibuf mb_of_lens(const uint32_t *lens, uint32_t cnt)
{
	struct xmb_multibuf mb = { 0 };
	uint8_t byte;

	for (uint32_t i = 0; i < cnt; i++) {
		struct xmb_chunk c = chunk_of(&here, lens[i]);

		cr_assert(eq(int, xmb_multibuf_push_back(&mb, &c, &here.cache),
			     0));
	}
	for (uint32_t i = 0; i < mb.len; i++) {
		byte = (uint8_t)i;
		cr_assert(xmb_multibuf_copy_from(&mb, i, &byte, 1) == 1);
	}
	return mb;
}

/* A chunk of len bytes in a region that has left slots free. */
static inline struct xmb_chunk crowded_chunk(struct room *room, uint32_t len,
					     struct xmb_chunk *side,
					     uint32_t left)
{
	struct xmb_chunk c = chunk_of(room, len + 4);

	for (uint32_t i = 4 - left; i-- > 0;) {
		side[i] = (struct xmb_chunk){ 0 };
		cr_assert(eq(int, xmb_chunk_split(&c, len + i, &side[i]), 0));
	}
	for (uint32_t i = 4 - left; i < 4; i++)
		side[i] = (struct xmb_chunk){ 0 };
	cr_assert(eq(int, xmb_chunk_truncate(&c, len), 0));
	return c;
}

/*
 * A packet of cnt chunks of 20 bytes; the one at idx is of len bytes, in a
 * region of at that has no slot left.  Bytes count up from 0.
 */
static inline struct xmb_multibuf crowded_mb(struct room *room, struct room *at,
					     uint32_t cnt, uint32_t idx,
					     uint32_t len,
					     struct xmb_chunk side[4])
{
	struct xmb_multibuf mb = { .user = 9 };
	uint8_t byte;

	for (uint32_t i = 0; i < cnt; i++) {
		struct xmb_chunk c = i == idx ? crowded_chunk(at, len, side, 0)
					      : chunk_of(room, 20);

		cr_assert(eq(int, xmb_multibuf_push_back(&mb, &c, &room->cache),
			     0));
	}
	for (uint32_t i = 0; i < mb.len; i++) {
		byte = (uint8_t)i;
		cr_assert(xmb_multibuf_copy_from(&mb, i, &byte, 1) == 1);
	}
	return mb;
}

/* Bytes from at on count from n more, as if n had been put before them. */
static inline void renumber(struct xmb_multibuf *mb, uint32_t at, uint32_t n)
{
	uint8_t byte;

	for (uint32_t i = at; i < mb->len; i++) {
		byte = (uint8_t)(i + n);
		cr_assert(xmb_multibuf_copy_from(mb, i, &byte, 1) == 1);
	}
}

/* Put other chunks of 3 bytes at byte `at` of cnt chunks of 4. */
static inline void check_insert(struct room *room, uint32_t cnt, uint32_t at,
				uint32_t other)
{
	struct xmb_multibuf mb = mb_of(&here, cnt, 4, 0);
	struct xmb_multibuf x = mb_of(&here, other, 3, (uint8_t)at);
	uint32_t inside = at % 4 != 0 && other > 0;

	mb.user = 3;
	renumber(&mb, at, 3 * other);
	cr_assert(eq(int, xmb_multibuf_insert(&mb, at, &x, &room->cache), 0));
	expect_bytes(&mb, 4 * cnt + 3 * other, 0);
	cr_expect(eq(u32, mb.cnt, cnt + other + inside));
	cr_expect(eq(u32, mb.user, 3));
	cr_expect(is_zero(&x));
	xmb_multibuf_release(&mb, &room->cache);
}

#endif /* XMBUF_TESTS_EDIT_ROOM_H */
