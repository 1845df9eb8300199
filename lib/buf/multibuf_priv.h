/* SPDX-License-Identifier: BSD-2-Clause */
#ifndef XMBUF_BUF_MULTIBUF_PRIV_H
#define XMBUF_BUF_MULTIBUF_PRIV_H

#include "buf/multibuf.h"

/*
 * multibuf_priv: what the parts of multibuf share: its shape (multibuf.c),
 * where it is cut (multibuf_cut.c), what it is made of: frames, blocks, bytes
 * (multibuf_data.c), and edit.h's (edit*.c, share.c, fragment.c).
 *
 * The rules of the shape, which xmb_multibuf_check() tells:
 *   - chunks in order are c[0..inline_cnt), then each block's c[0..cnt);
 *   - a multibuf with chunks has one inline, even if the blocks hold more;
 *   - every block holds 1..3 chunks, the last one's next is XMB_SPILL_NONE;
 *   - all blocks are of the one domain spill_dom;
 *   - without blocks spill and spill_dom are 0, and so are unused places of
 *     c[], so that equal multibufs are equal as bytes.
 */

#define XMB_MULTIBUF_CNT_MAX UINT16_MAX

/* Hence no sum of lengths below is checked for overflow. */
_Static_assert((uint64_t)XMB_MULTIBUF_CNT_MAX *XMB_REGION_LEN_MAX <= UINT32_MAX,
	       "the length of a multibuf with all its chunks fits len");

static inline bool xmb_multibuf_is_spilt(const struct xmb_multibuf *mb)
{
	return mb->cnt > mb->inline_cnt;
}

/* The block that spill, or a next of the same list, names. */
static inline struct xmb_spill *
xmb_multibuf_block(const struct xmb_multibuf *mb, uint32_t spill)
{
	return &xmb_domain_table[mb->spill_dom]->spills[spill];
}

/* The last block, NULL when all chunks are inline. */
static inline struct xmb_spill *
xmb_multibuf_last_block(const struct xmb_multibuf *mb)
{
	struct xmb_spill *block;

	if (!xmb_multibuf_is_spilt(mb))
		return NULL;
	block = xmb_multibuf_block(mb, mb->spill);
	while (block->next != XMB_SPILL_NONE)
		block = xmb_multibuf_block(mb, block->next);
	return block;
}

/* Blocks that cnt chunks take beside the inline ones, when packed. */
static inline uint32_t xmb_multibuf_blocks_for(uint32_t cnt)
{
	return cnt <= XMB_MULTIBUF_INLINE ? 0 : (cnt - 1) / XMB_MULTIBUF_INLINE;
}

/*
 * Take a list of cnt empty blocks, all or none.  Returns its first, or
 * XMB_SPILL_NONE (also of cnt = 0).
 */
uint32_t xmb_multibuf_take_blocks(struct xmb_cache *cache, uint32_t cnt);

/* Give a list of the domain's blocks back, whatever they hold. */
void xmb_multibuf_put_blocks(struct xmb_cache *cache, struct xmb_domain *domain,
			     uint32_t spill);

static inline void xmb_chunk_copy_run(struct xmb_chunk *dst,
				      const struct xmb_chunk *src, uint32_t cnt)
{
	__builtin_memmove(dst, src, cnt * sizeof(*dst));
}

/* Inline places that hold nothing are kept {0}: no second copy of a handle. */
static inline void xmb_chunk_clear_run(struct xmb_chunk *chunks, uint32_t cnt)
{
	__builtin_memset(chunks, 0, cnt * sizeof(*chunks));
}

/* A multibuf of the chunk, whose handle is copied: one of them has to go. */
static inline struct xmb_multibuf
xmb_multibuf_of_chunk(const struct xmb_chunk *chunk)
{
	return (struct xmb_multibuf){
		.len = chunk->len,
		.cnt = 1,
		.inline_cnt = 1,
		.c[0] = *chunk,
	};
}

/* After chunks went from the front: restore that one is inline. */
void xmb_multibuf_settle(struct xmb_multibuf *mb, struct xmb_cache *cache);

/*
 * A place between chunks, or inside one.  It stays in the block of the chunk
 * before it, so idx may be the count of that block.
 */
struct xmb_multibuf_spot {
	struct xmb_spill *block; /* NULL: inline */
	uint32_t idx;		 /* of the chunk, in the block or inline */
	uint32_t before_cnt;	 /* chunks before the block */
	uint32_t off;		 /* bytes into the chunk; 0: before it */
};

/* Where byte at is; chunks of no bytes there are behind it.  at <= len. */
struct xmb_multibuf_spot xmb_multibuf_seek(const struct xmb_multibuf *mb,
					   size_t at);

/* The chunks of the spot's block, or the inline ones, and how many. */
static inline struct xmb_chunk *
xmb_multibuf_spot_chunks(struct xmb_multibuf *mb,
			 const struct xmb_multibuf_spot *spot)
{
	return spot->block ? spot->block->c : mb->c;
}

static inline uint32_t
xmb_multibuf_spot_cnt(const struct xmb_multibuf *mb,
		      const struct xmb_multibuf_spot *spot)
{
	return spot->block ? spot->block->cnt : mb->inline_cnt;
}

/*
 * Move the chunks from spot on to tail, with their blocks; mb keeps len bytes.
 * Tail may be left without an inline chunk (settle() it), and the block of spot
 * without any; the handles in that block stay, so that mb and the block as they
 * were undo the cut.
 */
void xmb_multibuf_cut(struct xmb_multibuf *mb,
		      const struct xmb_multibuf_spot *spot, uint32_t len,
		      struct xmb_multibuf *tail);

/*
 * Link other's chunks behind mb's, whose last block is last (NULL: none; it
 * may be without chunks here), with one further block at the most.
 */
int xmb_multibuf_join(struct xmb_multibuf *mb, struct xmb_spill *last,
		      struct xmb_multibuf *other, struct xmb_cache *cache);

/*
 * Join the parts in the first, all or none; last is the last block of the
 * first, NULL: look for it.  Need is how many blocks the joins may take; they
 * have to be there even if they are not used.
 */
int xmb_multibuf_assemble(struct xmb_multibuf *const *parts, uint32_t part_cnt,
			  struct xmb_spill *last, uint32_t need,
			  struct xmb_cache *cache);

/*
 * Refuse what assemble() would refuse of these parts and of extra chunks more,
 * and stock the cache, so that it will not.  Positive: all chunks will move to
 * blocks of the cache's pool.
 */
int xmb_multibuf_prepare(const struct xmb_multibuf *const *parts,
			 uint32_t part_cnt, const struct xmb_spill *last,
			 uint32_t extra, uint32_t need,
			 struct xmb_cache *cache);

/* Blocks that a cache can be made to hold for sure. */
#define XMB_STOCK_MAX (XMB_SPILL_CACHE_MAX / 2)

/* Have cnt blocks in the cache. */
int xmb_multibuf_stock(struct xmb_cache *cache, uint32_t cnt);

/*
 * Make part of the n bytes of the chunk at from, in fresh frames.  The caller
 * counts the copy when nothing can fail any more.
 */
int xmb_multibuf_copy_part(const struct xmb_chunk *chunk, uint32_t from,
			   uint32_t n, struct xmb_multibuf *part,
			   struct xmb_cache *cache);

static inline void xmb_multibuf_count_copy(struct xmb_cache *cache, uint32_t n)
{
	xmb_counter_add(&cache->copies, 1);
	xmb_counter_add(&cache->copied_bytes, n);
}

/*
 * Cut a chunk in two: tail gets what is behind at, or head the first at bytes.
 * A read-only chunk is shared, and is itself left too long for as long as this
 * may have to be undone: trim it with the functions below, which do nothing to
 * one that was split.
 */
int xmb_chunk_cut_tail(struct xmb_chunk *chunk, uint32_t at,
		       struct xmb_chunk *tail);
int xmb_chunk_cut_head(struct xmb_chunk *chunk, uint32_t at,
		       struct xmb_chunk *head);

/* Undo that. */
void xmb_chunk_join_tail(struct xmb_chunk *chunk, struct xmb_chunk *tail,
			 struct xmb_cache *cache);
void xmb_chunk_join_head(struct xmb_chunk *chunk, struct xmb_chunk *head,
			 struct xmb_cache *cache);

/* Keep the first len bytes, that are not the last of a fragment; or the last
 * len. */
static inline void xmb_chunk_keep_head(struct xmb_chunk *chunk, uint32_t len)
{
	xmb_chunk_truncate(chunk, len);
	chunk->flags &= (uint8_t)~XMB_CHUNK_END;
}

static inline void xmb_chunk_keep_tail(struct xmb_chunk *chunk, uint32_t len)
{
	xmb_chunk_discard_prefix(chunk, chunk->len - len);
}

static inline bool xmb_chunk_is_end(const struct xmb_chunk *chunk)
{
	return chunk->flags & XMB_CHUNK_END;
}

/* The last chunk; mb has one. */
static inline struct xmb_chunk *xmb_multibuf_last(struct xmb_multibuf *mb)
{
	struct xmb_spill *last = xmb_multibuf_last_block(mb);

	return last ? &last->c[last->cnt - 1] : &mb->c[mb->inline_cnt - 1];
}

/* True if a fragment ends in mb. */
bool xmb_multibuf_has_end(const struct xmb_multibuf *mb);

/*
 * With -Dparanoid every operation that changes a multibuf ends in this.  One
 * that is built to tens of thousands of chunks is looked at now and then, or
 * building it would take minutes.
 */
static inline void xmb_multibuf_paranoid(const struct xmb_multibuf *mb)
{
#ifdef XMB_PARANOID
	if (mb->cnt <= 1024 || mb->cnt % 1024 == 0)
		XMB_ASSERT(xmb_multibuf_check(mb));
#else
	(void)mb;
#endif
}

#endif /* XMBUF_BUF_MULTIBUF_PRIV_H */
