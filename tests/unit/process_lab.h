/* SPDX-License-Identifier: BSD-2-Clause */
#ifndef XMBUF_TESTS_PROCESS_LAB_H
#define XMBUF_TESTS_PROCESS_LAB_H

/*
 * Two processes in one: the test is the one whose owner id it says, with the
 * cache that goes with it.
 */

#include "buf/chunk.h"
#include "buf/handover.h"
#include "buf/multibuf.h"
#include "buf/reclaim.h"
#include "buf/tracker_priv.h"

#include "buf_lab.h"

enum {
	WE = 1,
	DEAD = 2,
	WE_WHO = 10,
	DEAD_WHO = 20,
	DEAD_WHO_2 = 21,
	FRAME_LEN = 256,
	FRAME_CNT = 300,
	SPILL_CNT = 16,
};

static struct lab lab;
static struct xmb_cache theirs;

static inline void be(uint8_t owner)
{
	xmb_owner_self = owner;
}

static inline void open_two(void)
{
	lab_open(&lab, FRAME_LEN, FRAME_CNT, SPILL_CNT);
	lab.cache.who = WE_WHO;
	xmb_cache_init(&theirs, &lab.pool, DEAD_WHO);
}

/* Their cache is not given back: it was in their memory. */
static inline void close_two(void)
{
	be(WE);
	lab_close(&lab);
}

static inline uint32_t who_of(uint32_t frame)
{
	return xmb_frame_word_who(xmb_frame_load(&lab.pool.domain, frame));
}

static inline uint32_t owner_of(const struct xmb_chunk *chunk)
{
	return xmb_tracker_owner(xmb_chunk_tracker(chunk)->state, chunk->slot);
}

#endif /* XMBUF_TESTS_PROCESS_LAB_H */
