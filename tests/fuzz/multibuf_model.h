/* SPDX-License-Identifier: BSD-2-Clause */
#ifndef XMBUF_FUZZ_MULTIBUF_MODEL_H
#define XMBUF_FUZZ_MULTIBUF_MODEL_H

#include "must.h"

#include "alloc/heap.h"
#include "buf/edit.h"

#include <stdio.h>
#include <stdlib.h>

/*
 * multibuf_model: what fuzz_multibuf's calls work on: multibufs and loose
 * chunks, of two pools, of a heap and of memory of the caller's, and beside
 * each an array with the bytes that it must have.
 *
 * Units      Bytes.
 * Threads    One.
 */

enum {
	POOL_CNT = 2,
	MB_CNT = 6,
	LOOSE_CNT = 4,
	FRAMES = 24, /* of the first pool; the other has half as many */
	BLOCKS = 8,
	HEAP_FRAME_LEN = 128,
	HEAP_FRAMES = 8, /* of a slab */
	HEAP_SLABS = 3,
	SPAN_CNT = 3, /* of the caller's memory, at one time */
	SPAN_REGIONS = 5,
	REGIONS = FRAMES + FRAMES / 2 + HEAP_FRAMES * HEAP_SLABS +
		  SPAN_CNT * SPAN_REGIONS,
	CHUNKS_MAX = REGIONS * XMB_TRACKER_SLOTS,
	LEN_MAX = FRAMES * 64 + FRAMES / 2 * 256 +
		  HEAP_SLABS * HEAP_FRAMES * HEAP_FRAME_LEN +
		  SPAN_CNT * SPAN_REGIONS * (int)XMB_REGION_LEN_MAX,
};

struct bytes {
	uint32_t len, user;
	/* A share has all of its bytes a second time, up to four times. */
	uint8_t b[LEN_MAX * XMB_TRACKER_SLOTS];
};

/* What a refused call may not change. */
struct handle {
	uint32_t off, len, region;
	uint8_t dom, flags;
};

struct state {
	uint32_t frames[POOL_CNT + 1], blocks[POOL_CNT + 1];
	uint32_t spans;
	uint32_t cnt[MB_CNT], len[MB_CNT], user[MB_CNT];
	struct handle c[CHUNKS_MAX + LOOSE_CNT];
	uint64_t copies;
};

extern struct xmb_allocator vendor; /* of a pool, or of the heap */
extern struct xmb_multibuf mbs[MB_CNT];
extern struct xmb_chunk loose[LOOSE_CNT];
extern struct bytes mb_bytes[MB_CNT], loose_bytes[LOOSE_CNT];
extern uint8_t scratch[LEN_MAX * XMB_TRACKER_SLOTS];
extern uint8_t next_byte; /* none of the last 255 that were written */

static inline size_t min_size(size_t a, size_t b)
{
	return a < b ? a : b;
}

/* The input, read to its end and zeros behind it. */
void input_begin(const uint8_t *data, size_t len);
bool input_is_left(void);
uint32_t get(void);

/* A number up to and with max, and now and then one beyond it. */
size_t get_upto(uint32_t max);

/* One of the pools' caches, or the heap's if there is one. */
struct xmb_cache *get_cache(void);

/* Pools with all frames free, no heap yet; and the end, with all home. */
void model_begin(void);
void model_end(void);

/* Free frames and blocks, in the cache and on its pool's stack. */
uint32_t frames_free(const struct xmb_cache *cache);
uint32_t blocks_free(struct xmb_cache *cache);

/* Slabs of the heap; 0: there is none. */
uint32_t slabs(void);

void take_state(struct state *s);

/* Each multibuf and loose chunk is whole and has its bytes. */
void verify(void);

/* Put n bytes into dst at off, or take n out. */
void bytes_insert(struct bytes *dst, size_t off, const uint8_t *src, size_t n);
void bytes_remove(struct bytes *dst, size_t off, size_t n);

/* The bytes from off on, and n of them, moved from i to the empty j. */
void moved(uint32_t i, uint32_t j, size_t off, size_t n);

/* Bytes that a call gave to mb are whatever they are: learn them. */
void learn(uint32_t i, size_t off, size_t n);

/* n bytes that were not there before. */
const uint8_t *new_bytes(size_t n);

/* Write what was not there before, as far as the packet may be written. */
void write_new(uint32_t i, size_t off, size_t n);

/* How many of the n bytes at off come before the first read-only one. */
size_t writable_len(const struct xmb_multibuf *mb, size_t off, size_t n);

/*
 * A call on multibuf i, and j, with the cache: negative if it was refused and
 * so must have changed nothing.
 */
typedef int op_fn(uint32_t i, uint32_t j, struct xmb_cache *cache);

/* multibuf_model.c: who vends from now on. */
op_fn op_vendor;
/* multibuf_views.c */
op_fn op_flat, op_layers, op_read, op_overwrite;
/* multibuf_vend.c */
op_fn op_attach, op_vend, op_segment;

/* Spans of the caller's memory that are the library's now. */
uint32_t spans_live(void);

#endif /* XMBUF_FUZZ_MULTIBUF_MODEL_H */
