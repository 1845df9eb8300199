/* SPDX-License-Identifier: BSD-2-Clause */
#ifndef XMBUF_TESTS_VIEW_MODEL_H
#define XMBUF_TESTS_VIEW_MODEL_H

/*
 * view_model: a packet is an array of bytes and its length, nothing else.  The
 * multibufs beside them are of random chunks: empty ones, parts of split
 * regions, shared ones, of two pools and of the caller's memory, and mostly
 * more than are inline.
 */
#include "buf/edit.h"
#include "buf/extbuf.h"

#include "view_lab.h"

enum {
	STEP_CNT = 100000,
	MB_CNT = 4,
	LEN_MAX = 1024,
	CLONE_CNT = 6,
	CHUNK_MAX = 1024,
};

struct flat {
	uint32_t len;
	uint8_t bytes[LEN_MAX];
};

/* Where each byte of a multibuf is. */
struct map {
	const struct xmb_chunk *owner[LEN_MAX];
	uint8_t *at[LEN_MAX];
};

static struct xmb_multibuf mbs[MB_CNT];
static struct flat flats[MB_CNT];
static struct xmb_chunk clones[CLONE_CNT];
static uint8_t clone_bytes[CLONE_CNT][LEN_MAX];
static uint32_t seed, rng, step, ext_cnt;

#define MUST(cond)                                                             \
	do {                                                                   \
		if (!(cond))                                                   \
			cr_fatal("line %d, seed %u, step %u: %s", __LINE__,    \
				 seed, step, #cond);                           \
	} while (0)

static inline uint32_t rnd(uint32_t below)
{
	rng ^= rng << 13;
	rng ^= rng >> 17;
	rng ^= rng << 5;
	return (uint32_t)((uint64_t)rng * below >> 32);
}

static inline struct xmb_cache *any_cache(void)
{
	return rnd(3) > 0 ? &here.cache : &there.cache;
}

static inline void ext_free(void *arg, void *mem, size_t len)
{
	(void)arg;
	(void)len;
	ext_cnt--;
	free(mem);
}

static inline struct map map_of(uint32_t i)
{
	struct xmb_multibuf_iter iter;
	struct map map = { 0 };
	uint32_t at = 0;

	for (struct xmb_chunk *c = xmb_multibuf_first(&mbs[i], &iter); c;
	     c = xmb_multibuf_next(&iter)) {
		for (uint32_t b = 0; b < c->len; b++, at++) {
			map.owner[at] = c;
			map.at[at] = xmb_chunk_data(c) + b;
		}
	}
	return map;
}

/* How many of the n bytes at off come before the first read-only one. */
static inline uint32_t writable_cnt(const struct map *map, uint32_t off,
				    uint32_t n)
{
	uint32_t cnt = 0;

	while (cnt < n && !xmb_chunk_is_rdonly(map->owner[off + cnt]))
		cnt++;
	return cnt;
}

static inline void verify(uint32_t i)
{
	struct xmb_multibuf_iter iter;
	uint32_t at = 0;

	MUST(xmb_multibuf_check(&mbs[i]));
	MUST(mbs[i].len == flats[i].len);
	for (struct xmb_chunk *c = xmb_multibuf_first(&mbs[i], &iter); c;
	     c = xmb_multibuf_next(&iter)) {
		MUST(memcmp(xmb_chunk_data(c), flats[i].bytes + at, c->len) ==
		     0);
		at += c->len;
	}
	for (uint32_t k = 0; k < CLONE_CNT; k++)
		MUST(!xmb_chunk_is_live(&clones[k]) ||
		     memcmp(xmb_chunk_data(&clones[k]), clone_bytes[k],
			    clones[k].len) == 0);
}

/* The bytes as they are now are the model's. */
static inline void learn(uint32_t i)
{
	flats[i].len = mbs[i].len;
	MUST(flats[i].len <= LEN_MAX);
	xmb_multibuf_copy_to(&mbs[i], 0, flats[i].bytes, LEN_MAX);
}

/* Take n bytes out of, or put n bytes into, the model. */
static inline void flat_cut(struct flat *flat, uint32_t off, uint32_t n)
{
	memmove(flat->bytes + off, flat->bytes + off + n, flat->len - off - n);
	flat->len -= n;
}

static inline void flat_put(struct flat *flat, uint32_t off,
			    const struct flat *other)
{
	memmove(flat->bytes + off + other->len, flat->bytes + off,
		flat->len - off);
	memcpy(flat->bytes + off, other->bytes, other->len);
	flat->len += other->len;
}

static inline void drop(uint32_t i)
{
	xmb_multibuf_release(&mbs[i], any_cache());
	flats[i].len = 0;
}

/* A piece of caller's memory, or of a frame; of a frame maybe no bytes. */
static inline struct xmb_multibuf any_piece(struct xmb_cache *cache)
{
	uint32_t len = 1 + rnd(150), from, frame_len;
	struct xmb_multibuf mb = { 0 };
	struct xmb_chunk chunk = { 0 };
	void *mem;

	if (rnd(5) == 0) {
		mem = malloc(len);
		MUST(xmb_extbuf_attach(cache, mem, len, ext_free, NULL, &mb) ==
		     0);
		ext_cnt++;
	} else if (xmb_chunk_alloc(cache, &chunk) == 0) {
		frame_len = cache->pool->domain.region_len;
		from = rnd(frame_len);
		len = rnd(4) ? rnd(xmb_min_u32(frame_len - from, 60)) : 0;
		MUST(xmb_chunk_slice(&chunk, from, from + len) == 0);
		xmb_multibuf_init(&mb, &chunk);
	}
	return mb;
}

/* Few values, so that a search has something to find and to miss. */
static inline void scribble(struct xmb_multibuf *mb)
{
	struct xmb_multibuf_iter iter;

	for (struct xmb_chunk *c = xmb_multibuf_first(mb, &iter); c;
	     c = xmb_multibuf_next(&iter)) {
		for (uint32_t b = 0; b < c->len; b++)
			xmb_chunk_data(c)[b] = (uint8_t)rnd(3);
	}
}

static inline void do_build(uint32_t i)
{
	struct xmb_cache *cache;

	drop(i);
	for (uint32_t cnt = rnd(9); cnt > 0; cnt--) {
		struct xmb_multibuf piece = any_piece(cache = any_cache());

		if (mbs[i].len + piece.len > LEN_MAX ||
		    xmb_multibuf_append(&mbs[i], &piece, any_cache()) < 0)
			xmb_multibuf_release(&piece, cache);
	}
	scribble(&mbs[i]);
	learn(i);
}

/* Crowds the regions: the parts of a chunk stay in one packet. */
static inline void do_crowd(uint32_t i)
{
	uint32_t at = rnd(flats[i].len + 1);
	struct xmb_multibuf tail = { 0 };

	if (xmb_multibuf_split(&mbs[i], at, &tail, any_cache()) < 0)
		return;
	if (xmb_multibuf_append(&mbs[i], &tail, any_cache()) < 0) {
		flats[i].len = at;
		xmb_multibuf_release(&tail, any_cache());
	}
}

static inline void do_share(uint32_t i)
{
	uint32_t k = rnd(CLONE_CNT);
	struct xmb_chunk *c;
	int rc;

	xmb_chunk_release(&clones[k], any_cache());
	if (mbs[i].cnt == 0)
		return;
	c = xmb_multibuf_chunk(&mbs[i], rnd(mbs[i].cnt));
	if (rnd(2)) {
		rc = xmb_chunk_unshare(c);
		MUST(rc == 0 || rc == -EBUSY);
		MUST((rc == 0) == !xmb_chunk_is_rdonly(c));
		return;
	}
	rc = xmb_chunk_share(c, &clones[k]);
	MUST(rc == 0 || rc == -ENOSPC);
	if (rc == 0)
		memcpy(clone_bytes[k], xmb_chunk_data(c), c->len);
}

static inline void do_claim(uint32_t i)
{
	uint32_t n = rnd(9), len = flats[i].len;
	bool is_front = rnd(2);
	int rc;

	if (len + n > LEN_MAX)
		return;
	rc = is_front ? xmb_multibuf_claim_prefix(&mbs[i], n)
		      : xmb_multibuf_claim_suffix(&mbs[i], n);
	if (rc < 0) {
		MUST(rc == -ERANGE || rc == -EBUSY || rc == -EPERM);
		return;
	}
	/* What was there stays; what is new is whatever lay there. */
	MUST(mbs[i].len == len + n);
	for (uint32_t b = 0; b < len; b++)
		MUST(*(uint8_t *)xmb_multibuf_get(&mbs[i], b + is_front * n, 1,
						  NULL) == flats[i].bytes[b]);
	learn(i);
}

#endif /* XMBUF_TESTS_VIEW_MODEL_H */
