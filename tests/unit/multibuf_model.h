/* SPDX-License-Identifier: BSD-2-Clause */
#ifndef XMBUF_TESTS_MULTIBUF_MODEL_H
#define XMBUF_TESTS_MULTIBUF_MODEL_H

/*
 * multibuf_model: packets without cleverness.  A packet is an array of
 * (region, off, len), a region's expected bytes are an array, who owns a byte
 * is found by looking at every piece of every packet.  Two pools, three caches,
 * two spans of the caller's memory, and never enough frames or blocks.
 */
#include "buf/edit.h"
#include "buf/extbuf.h"

#include <criterion/criterion.h>
#include <criterion/new/assert.h>
#include <string.h>

enum {
	STEP_CNT = 200000, /* of the quick run */
	MB_CNT = 8,
	PIECE_MAX = 768,
	POOL_CNT = 2,
	AREA_CNT = POOL_CNT + 2, /* pools, then spans of the caller's */
	CACHE_CNT = 3,
	FRAME_CNT_MAX = 40,
	FRAME_LEN_MAX = 4096,
	AREA_LEN_MAX = 24576,
	LEN_MAX = 5 * AREA_LEN_MAX, /* each byte up to five times, by shares */
	MARKS = XMB_CHUNK_RDONLY | XMB_CHUNK_END,
};

/* What a run is over: the pools, and how long the caller's spans are. */
struct setting {
	struct xmb_pool_opts opts[POOL_CNT];
	uint32_t span_len;
};

static const struct setting settings[] = {
	{ { { .frame_len = 64, .frame_cnt = 40, .spill_cnt = 12 },
	    { .frame_len = 512, .frame_cnt = 8, .spill_cnt = 5 } },
	  1000 },
	{ { { .frame_len = 2048, .frame_cnt = 12, .spill_cnt = 9 },
	    { .frame_len = 4096, .frame_cnt = 6, .spill_cnt = 5 } },
	  4000 },
};
static const struct xmb_pool_opts *opts; /* of this run */
static uint32_t span_len;
static const uint32_t cache_pool[CACHE_CNT] = { 0, 0, 1 };

struct piece {
	uint32_t pool, region, off, len;
	uint8_t flags; /* MARKS */
};

struct model {
	uint32_t cnt, len, user;
	struct piece p[PIECE_MAX];
};

static struct xmb_pool pools[POOL_CNT];
static struct xmb_cache caches[CACHE_CNT];
static uint8_t frames[AREA_CNT][AREA_LEN_MAX] __attribute__((aligned(64)));
static uint8_t side[POOL_CNT][16384] __attribute__((aligned(64)));
static struct xmb_multibuf mbs[MB_CNT];

static struct model models[MB_CNT];
static uint8_t truth[AREA_CNT][FRAME_CNT_MAX][FRAME_LEN_MAX];
static uint8_t span_dom[AREA_CNT]; /* 0: the span is not in use */
static uint64_t copy_cnt, copy_len;
static uint32_t seed, rng, step, op; /* op: of do_step() */
static uint64_t done_cnt, refused_cnt;

static inline uint32_t rnd(uint32_t below)
{
	rng ^= rng << 13;
	rng ^= rng >> 17;
	rng ^= rng << 5;
	return (uint32_t)((uint64_t)rng * below >> 32);
}

#define MUST(cond)                                                             \
	do {                                                                   \
		if (!(cond))                                                   \
			cr_fatal("seed %u, step %u, op %u, %s:%d: %s", seed,   \
				 step, op, __FILE__, __LINE__, #cond);         \
	} while (0)

static inline uint32_t pool_of_dom(uint32_t dom)
{
	uint32_t area = POOL_CNT;

	if (dom == pools[0].domain.id || dom == pools[1].domain.id)
		return dom == pools[1].domain.id;
	while (span_dom[area] != dom)
		MUST(++area < AREA_CNT);
	return area;
}

static inline uint32_t region_len(uint32_t pool)
{
	return pool < POOL_CNT ? opts[pool].frame_len : span_len;
}

static inline uint8_t *piece_addr(const struct piece *p)
{
	return &frames[p->pool][p->region * region_len(p->pool) + p->off];
}

static inline uint32_t pieces_in(const struct piece *p)
{
	uint32_t cnt = 0;

	for (uint32_t i = 0; i < MB_CNT; i++) {
		for (uint32_t k = 0; k < models[i].cnt; k++)
			cnt += models[i].p[k].pool == p->pool &&
			       models[i].p[k].region == p->region;
	}
	return cnt;
}

/* What a claim of [begin, end) next to p must return; edge is p's end there. */
static inline int claim_result(const struct piece *p, uint32_t begin,
			       uint32_t end, uint32_t edge)
{
	for (uint32_t i = 0; i < MB_CNT; i++) {
		for (uint32_t k = 0; k < models[i].cnt; k++) {
			const struct piece *q = &models[i].p[k];

			if (q == p || q->pool != p->pool ||
			    q->region != p->region || begin == end)
				continue;
			if (q->len == 0
				    ? q->off == edge ||
					      (q->off > begin && q->off < end)
				    : q->off < end && q->off + q->len > begin)
				return -EBUSY;
		}
	}
	return 0;
}

static inline uint32_t frames_for(uint32_t c)
{
	return caches[c].cnt + xmb_pool_free_cnt(caches[c].pool);
}

static inline uint32_t blocks_used(uint32_t pool)
{
	const struct xmb_domain *domain = &pools[pool].domain;
	uint32_t used = 0, left, spill;

	for (uint32_t i = 0; i < MB_CNT; i++) {
		left = mbs[i].cnt - mbs[i].inline_cnt;
		if (left == 0 || mbs[i].spill_dom != domain->id)
			continue;
		for (spill = mbs[i].spill; left > 0; used++) {
			left -= domain->spills[spill].cnt;
			spill = domain->spills[spill].next;
		}
	}
	return used;
}

/* Blocks that cache c can have: what is neither used nor in another cache. */
static inline uint32_t blocks_for(uint32_t c)
{
	uint32_t pool = cache_pool[c];
	uint32_t cnt = opts[pool].spill_cnt - blocks_used(pool);

	for (uint32_t i = 0; i < CACHE_CNT; i++) {
		if (i != c && cache_pool[i] == pool)
			cnt -= caches[i].spill_cnt;
	}
	return cnt;
}

/*
 * Whether cache c, taken blocks less, has too few to join i and j: one may be
 * needed, and all anew where blocks of two pools meet.
 */
static inline bool is_short(uint32_t c, uint32_t i, uint32_t j, uint32_t total,
			    uint32_t taken)
{
	uint32_t dom = pools[cache_pool[c]].domain.id, have = blocks_for(c);
	bool is_mixed =
		(mbs[i].cnt > mbs[i].inline_cnt && mbs[i].spill_dom != dom) ||
		(mbs[j].cnt > mbs[j].inline_cnt && mbs[j].spill_dom != dom);

	return have < taken + 1 || (is_mixed && have < taken + (total - 1) / 3);
}

static inline void verify(uint32_t i)
{
	static uint8_t bytes[LEN_MAX];
	const struct model *m = &models[i];
	struct xmb_multibuf_iter iter;
	struct xmb_chunk *c;
	uint32_t k = 0, len = 0;

	MUST(xmb_multibuf_check(&mbs[i]));
	MUST(mbs[i].cnt == m->cnt);
	MUST(mbs[i].len == m->len);
	MUST(mbs[i].user == m->user);
	MUST(xmb_multibuf_copy_to(&mbs[i], 0, bytes, LEN_MAX) == m->len);
	for (c = xmb_multibuf_first(&mbs[i], &iter); c;
	     c = xmb_multibuf_next(&iter), k++) {
		const struct piece *p = &m->p[k];

		MUST(pool_of_dom(c->dom) == p->pool);
		MUST(c->region == p->region);
		MUST(c->off == p->off && c->len == p->len);
		MUST((c->flags & MARKS) == p->flags);
		MUST(memcmp(bytes + len, &truth[p->pool][p->region][p->off],
			    p->len) == 0);
		len += p->len;
	}
	MUST(k == m->cnt);
	MUST(mbs[i].cnt > mbs[i].inline_cnt ||
	     (mbs[i].spill == 0 && mbs[i].spill_dom == 0));
	for (k = mbs[i].inline_cnt; k < XMB_MULTIBUF_INLINE; k++)
		MUST(!xmb_chunk_is_live(&mbs[i].c[k]));
}

static inline void verify_all(void)
{
	for (uint32_t i = 0; i < MB_CNT; i++)
		verify(i);
	for (uint32_t pool = 0; pool < POOL_CNT; pool++) {
		uint32_t used = 0, free_cnt = xmb_pool_free_cnt(&pools[pool]);

		for (uint32_t r = 0; r < opts[pool].frame_cnt; r++)
			used += pieces_in(&(struct piece){ .pool = pool,
							   .region = r }) > 0;
		for (uint32_t c = 0; c < CACHE_CNT; c++) {
			if (cache_pool[c] == pool)
				free_cnt += caches[c].cnt;
		}
		MUST(used + free_cnt == opts[pool].frame_cnt);
		used = blocks_used(pool) +
		       xmb_pool_free_block_cnt(&pools[pool]);
		for (uint32_t c = 0; c < CACHE_CNT; c++)
			used += cache_pool[c] == pool ? caches[c].spill_cnt : 0;
		MUST(used == opts[pool].spill_cnt);
	}
	MUST(copy_cnt == xmb_counter_read(&caches[0].copies) +
				 xmb_counter_read(&caches[1].copies) +
				 xmb_counter_read(&caches[2].copies));
	MUST(copy_len == xmb_counter_read(&caches[0].copied_bytes) +
				 xmb_counter_read(&caches[1].copied_bytes) +
				 xmb_counter_read(&caches[2].copied_bytes));
}

/* Put cnt pieces of src into m at k; len follows. */
static inline void model_insert(struct model *m, uint32_t k,
				const struct piece *src, uint32_t cnt)
{
	MUST(m->cnt + cnt <= PIECE_MAX);
	memmove(&m->p[k + cnt], &m->p[k], (m->cnt - k) * sizeof(*m->p));
	memcpy(&m->p[k], src, cnt * sizeof(*m->p));
	m->cnt += cnt;
	while (cnt-- > 0)
		m->len += m->p[k++].len;
}

static inline void model_remove(struct model *m, uint32_t k, uint32_t cnt)
{
	for (uint32_t i = 0; i < cnt; i++)
		m->len -= m->p[k + i].len;
	m->cnt -= cnt;
	memmove(&m->p[k], &m->p[k + cnt], (m->cnt - k) * sizeof(*m->p));
}

/* The piece of a chunk that was just made; nobody may be in its region. */
static inline struct piece piece_of(const struct xmb_chunk *c)
{
	struct piece p = { pool_of_dom(c->dom), c->region, c->off, c->len,
			   c->flags & MARKS };

	MUST(pieces_in(&p) == 0);
	return p;
}

/*
 * Write what was never written before to [from, to) of mbs[i], with the call
 * that truncates or the one that does not; returns how much could be written.
 */
static inline uint32_t write_with(uint32_t i, uint32_t from, uint32_t to,
				  struct xmb_cache *cache)
{
	const struct model *m = &models[i];
	static uint8_t bytes[LEN_MAX];
	uint32_t at = 0, done = 0, n;

	for (uint32_t b = from; b < to; b++)
		bytes[b - from] = (uint8_t)rnd(256);
	for (uint32_t k = 0; k < m->cnt && at < to; at += m->p[k++].len) {
		const struct piece *p = &m->p[k];
		uint32_t begin = at < from ? from - at : 0;

		n = xmb_min_u32(p->len, to - at);
		if (begin >= n)
			continue;
		if (p->flags & XMB_CHUNK_RDONLY)
			break;
		memcpy(&truth[p->pool][p->region][p->off + begin], &bytes[done],
		       n - begin);
		done += n - begin;
	}
	n = to - from;
	MUST(done == (cache ? xmb_multibuf_copy_from_and_truncate(
				      &mbs[i], from, bytes, n, cache)
			    : xmb_multibuf_copy_from(&mbs[i], from, bytes, n)));
	return done;
}

static inline void write_new(uint32_t i, uint32_t from, uint32_t to)
{
	write_with(i, from, to, NULL);
}

/* The number of pieces wholly before at, and how far it is into the next. */
static inline uint32_t model_seek(const struct model *m, uint32_t at,
				  uint32_t *off)
{
	uint32_t k = 0;

	while (at > 0 && m->p[k].len <= at)
		at -= m->p[k++].len;
	*off = at;
	return k;
}

static inline void model_discard(struct model *m, uint32_t n)
{
	while (n > 0 && m->cnt > 1 && m->p[0].len <= n) {
		n -= m->p[0].len;
		model_remove(m, 0, 1);
	}
	if (n > 0) {
		m->p[0].off += n;
		m->p[0].len -= n;
		m->len -= n;
	}
}

/* Pieces k.. go; what stays of a fragment before them is one. */
static inline void model_remove_end(struct model *m, uint32_t k, uint32_t cnt)
{
	uint8_t flags = 0;

	for (uint32_t i = k; i < k + cnt; i++)
		flags |= m->p[i].flags & XMB_CHUNK_END;
	model_remove(m, k, cnt);
	if (k > 0)
		m->p[k - 1].flags |= flags;
}

static inline void model_truncate(struct model *m, uint32_t len)
{
	while (m->cnt > 1 && m->len > len &&
	       m->len - m->p[m->cnt - 1].len >= len)
		model_remove_end(m, m->cnt - 1, 1);
	m->p[m->cnt - 1].len -= m->len - len;
	m->len = len;
	while (m->cnt > 1 && m->p[m->cnt - 1].len == 0)
		model_remove_end(m, m->cnt - 1, 1);
}

#endif /* XMBUF_TESTS_MULTIBUF_MODEL_H */
