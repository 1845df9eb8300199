/* SPDX-License-Identifier: BSD-2-Clause */
#ifndef XMBUF_TESTS_CHUNK_MODEL_H
#define XMBUF_TESTS_CHUNK_MODEL_H

/*
 * A model of chunks with no cleverness in it: who has each byte of each frame
 * is written down byte by byte, and so is what was written last; what a call
 * must answer is read off that.  A frame is one of the pool, or a region of
 * the caller's memory (span).
 */

#include "buf/chunk.h"
#include "buf/extbuf.h"
#include "buf/handover.h"

#include "buf_lab.h"

enum {
	FRAME_CNT = 3,
	FRAME_LEN_MAX = 32768,
	HANDLE_CNT = 14,
	RING_CNT = 2,
	STEPS_SUM = 1512000, /* calls of all runs, unless XMB_STEPS says */
};

/* Where the bytes that a handle names are. */
enum place { NOWHERE, APP, TX_FRAME, TX_SLOT };

struct handle {
	struct xmb_chunk chunk;
	enum place place;
	uint32_t frame, off, len, who;
	bool is_rdonly, is_end;
};

/* Kinds of call and answer that a run must have met. */
enum done {
	ALLOCATED,
	TRIMMED,
	CLAIMED,
	CLAIM_BUSY,
	SPLIT,
	SPLIT_FULL,
	MERGED,
	NOT_MERGED,
	SHARED,
	SHARE_FULL,
	UNSHARED,
	UNSHARE_BUSY,
	WRITTEN,
	NOT_PERMITTED,
	FILLED, /* from here on: of frames only */
	RECEIVED,
	SENT_SLOT,
	SENT_FRAME,
	COMPLETED,
	NOT_COMPLETED,
	CLOSED,
	DONE_CNT
};

struct model {
	struct lab lab;
	uint32_t frame_cnt, frame_len, last_len;
	uint64_t seed;
	struct handle handles[HANDLE_CNT];
	uint16_t owners[FRAME_CNT][FRAME_LEN_MAX]; /* a bit for each handle */
	uint8_t bytes[FRAME_CNT][FRAME_LEN_MAX];
	uint32_t fill_who[FRAME_CNT]; /* 0: not in a fill ring */
	uint32_t done[DONE_CNT];
	uint8_t *span; /* NULL: frames of the pool */
	size_t span_len;
	int attached_cnt, freed_cnt;
};

static struct model m;
static const uint32_t whos[RING_CNT] = { 1, XMB_WHO_MAX };

static inline bool is_of_frames(int kind)
{
	return kind >= FILLED;
}

static inline uint32_t rnd(uint32_t below)
{
	return lab_rand(&m.seed) % below;
}

/* Lengths near the ends are the interesting ones. */
static inline uint32_t rnd_len(uint32_t max)
{
	switch (rnd(6)) {
	case 0:
		return 0;
	case 1:
		return max;
	case 2:
		return max + 1;
	case 3:
		return rnd(xmb_min_u32(max, 4) + 1);
	default:
		return rnd(max + 1);
	}
}

static inline uint32_t frame_len(uint32_t frame)
{
	return frame + 1 == m.frame_cnt ? m.last_len : m.frame_len;
}

static inline uint8_t *frame_base(uint32_t frame)
{
	return (m.span ? m.span : m.lab.base) + (size_t)frame * m.frame_len;
}

static inline uint16_t bit_of(const struct handle *h)
{
	return (uint16_t)(1u << (h - m.handles));
}

static inline void own(struct handle *h, uint32_t off, uint32_t len,
		       bool is_owner)
{
	uint16_t *owners = m.owners[h->frame] + off, me = bit_of(h);

	for (uint32_t i = 0; i < len; i++)
		owners[i] = (uint16_t)(is_owner ? owners[i] | me
						: owners[i] & ~me);
}

/* Whether a byte of [a, b) is somebody's but h's. */
static inline bool is_taken(const struct handle *h, uint32_t a, uint32_t b)
{
	uint16_t any = 0;

	for (uint32_t i = a; i < b; i++)
		any |= m.owners[h->frame][i];
	return any & ~bit_of(h);
}

static inline bool is_read_along(const struct handle *h)
{
	return is_taken(h, h->off, h->off + h->len);
}

/* The handle's bytes are now [off, off+len). */
static inline void move(struct handle *h, uint32_t off, uint32_t len)
{
	own(h, h->off, h->len, false);
	h->off = off;
	h->len = len;
	own(h, off, len, true);
	cr_assert(h->is_rdonly || !is_read_along(h));
}

static inline void drop(struct handle *h)
{
	own(h, h->off, h->len, false);
	h->place = NOWHERE;
	h->is_rdonly = false;
	h->is_end = false;
	cr_assert(not(xmb_chunk_is_live(&h->chunk)));
}

static inline void appear(struct handle *h, uint32_t frame, uint32_t off,
			  uint32_t len)
{
	h->place = APP;
	h->frame = frame;
	h->off = off;
	h->len = len;
	own(h, off, len, true);
}

static inline uint32_t sharers(uint32_t frame)
{
	uint32_t cnt = 0;

	for (int i = 0; i < HANDLE_CNT; i++)
		cnt += m.handles[i].place != NOWHERE &&
		       m.handles[i].frame == frame;
	return cnt;
}

static inline uint32_t free_frames(void)
{
	uint32_t cnt = 0;

	for (uint32_t i = 0; i < m.frame_cnt; i++)
		cnt += sharers(i) == 0 && m.fill_who[i] == 0;
	return cnt;
}

/* What a claim of [a, b), next to h at the byte edge, must return. */
static inline int expect_claim(const struct handle *h, uint32_t a, uint32_t b,
			       uint32_t edge)
{
	if (is_taken(h, a, b))
		return -EBUSY;
	for (int i = 0; i < HANDLE_CNT && a < b; i++) {
		const struct handle *o = &m.handles[i];

		if (o != h && o->place != NOWHERE && o->frame == h->frame &&
		    o->len == 0 &&
		    (o->off == edge || (o->off > a && o->off < b)))
			return -EBUSY;
	}
	return 0;
}

/*
 * The handle, if any, that a completion of this address brings back: of
 * several slots that begin there the shortest.
 */
static inline struct handle *expect_complete(uint32_t frame, uint32_t off,
					     uint32_t who)
{
	struct handle *found = NULL;

	for (int i = 0; i < HANDLE_CNT; i++) {
		struct handle *h = &m.handles[i];

		if (h->frame != frame || h->who != who)
			continue;
		if (h->place == TX_FRAME)
			return h;
		if (h->place == TX_SLOT && h->off == off &&
		    (!found || h->len < found->len))
			found = h;
	}
	return found;
}

#endif /* XMBUF_TESTS_CHUNK_MODEL_H */
