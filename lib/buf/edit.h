/* SPDX-License-Identifier: BSD-2-Clause */
#ifndef XMBUF_BUF_EDIT_H
#define XMBUF_BUF_EDIT_H

#include "buf/multibuf.h"

/*
 * edit: changes in the middle of a multibuf, shares of one, and fragments.
 *
 *      insert(mb, at, other)        [ a  a ][ b ]  +  [ x ]
 *                                        ^at
 *                                -> [ a ][ x ][ a ][ b ]
 *      discard_segment(mb, off, n)  [ a  a ][ b  b ]
 *                                      |<--n-->|
 *                                -> [ a ][ b ]
 *
 * Bytes stay where they are: only handles move, and a cut inside a chunk is a
 * split of it (copied, and counted, only where its region has no slot left).
 *
 * A fragment is a run of chunks whose last carries XMB_CHUNK_END: append
 * packets to a multibuf, hand it on as one, and take them off again as they
 * were.
 *
 *      append_fragment()  twice     [ a ][ a|END ][ b|END ]
 *      discard_segment(), truncate(), take(), take_chunk() of the second chunk
 *                                   [ a|END ][ b|END ]
 *
 * The mark goes with its chunk, and of a chunk that is cut with the last part.
 * Where a marked chunk leaves the middle or is trimmed away, what stays of its
 * fragment before it gets a mark too: bytes of two fragments never become one.
 * A fragment of which no chunk stays is gone.  split() and the pops only tear
 * a fragment: to put the parts together again restores it.
 *
 * Blocks     What is put between chunks may split their spill blocks.  One
 *            block has to be free for up to two chunks, two for more; three
 *            for take(), and where a part is copied; none while there are
 *            three chunks in all.  They have to be free even if they are not
 *            used then, and are of the cache's pool: where another pool's are
 *            already in use, all chunks move to blocks of the cache's.
 * Units      Bytes; idx counts chunks.
 * Ownership  As multibuf.h: what is given is left {0}, what is produced must be
 *            empty before.
 * Threads    One at a time.
 * Errors     As multibuf.h; a call that fails changes nothing.
 */

/* What align() and reserve() go up to. */
#define XMB_ALIGN_MAX 4096u
#define XMB_MULTIBUF_RESERVE_MAX (XMB_SPILL_CACHE_MAX / 2)

/* Byte `byte` of the chunk at `chunk`. */
struct xmb_multibuf_index {
	uint32_t chunk;
	uint32_t byte;
};

/*
 * Where the byte at off lies: in the chunk that has it, so that chunks of no
 * bytes are passed over; off = len is the place behind the last chunk, {cnt,
 * 0}.
 * -ERANGE: off > len.
 */
XMB_API int xmb_multibuf_index_at(const struct xmb_multibuf *mb, size_t off,
				  struct xmb_multibuf_index *index);

/*
 * The byte at index; NULL when there is no such chunk or byte.  Of a read-only
 * chunk it must not be written.
 */
XMB_API uint8_t *xmb_multibuf_at(const struct xmb_multibuf *mb,
				 struct xmb_multibuf_index index);

/*
 * Put the live chunk before the one at idx; idx = cnt: behind all.
 * -ERANGE: idx > cnt.  -ENOBUFS: no spill block.  -ENOSPC: 65,535 chunks.
 */
XMB_API int xmb_multibuf_insert_chunk(struct xmb_multibuf *mb, uint32_t idx,
				      struct xmb_chunk *chunk,
				      struct xmb_cache *cache);

/*
 * Take the chunk at idx out.  Cannot fail otherwise.
 * -ENOENT: idx >= cnt.
 */
XMB_API int xmb_multibuf_take_chunk(struct xmb_multibuf *mb, uint32_t idx,
				    struct xmb_chunk *chunk,
				    struct xmb_cache *cache);

/*
 * Cut in two between chunks: mb keeps the first idx.  Cannot fail otherwise.
 * -ERANGE: idx > cnt.
 */
XMB_API int xmb_multibuf_split_at_chunk(struct xmb_multibuf *mb, uint32_t idx,
					struct xmb_multibuf *tail,
					struct xmb_cache *cache);

/*
 * Put all chunks of other before the byte at `at`, and before chunks of no
 * bytes there; at = len: behind all.  Where the region of a chunk that is cut
 * has no slot left, the shorter part of the chunk is copied.
 * -EINVAL: other is mb.  -ERANGE: at > len.  -ENOBUFS: no block, or no frame
 * for the copy.  -ENOSPC: more than 65,535 chunks.
 */
XMB_API int xmb_multibuf_insert(struct xmb_multibuf *mb, size_t at,
				struct xmb_multibuf *other,
				struct xmb_cache *cache);

/*
 * Move the n bytes at off into the empty out, with chunks of no bytes at off
 * and between them; such at off + n stay.  Out gets the mark `user` of mb; of
 * n = 0 nothing happens.  From the start, or up to the end, this is a split.
 * Else, where the region of a chunk that is cut has no slot left, what is
 * taken of that chunk is copied.
 * -ERANGE: off + n > len.  -ENOBUFS: no block, or no frame for the copy.
 * -ENOSPC: more than 65,535 chunks.
 */
XMB_API int xmb_multibuf_take(struct xmb_multibuf *mb, size_t off, size_t n,
			      struct xmb_multibuf *out,
			      struct xmb_cache *cache);

/*
 * Release the n bytes at off, and the chunks that take() would move.  The first
 * chunk stays, even of no bytes, if no other would.
 * -ERANGE: off + n > len.  Only when the bytes have others of one chunk on both
 * sides, which is cut then, -ENOBUFS and -ENOSPC as insert().
 */
XMB_API int xmb_multibuf_discard_segment(struct xmb_multibuf *mb, size_t off,
					 size_t n, struct xmb_cache *cache);

/*
 * Own n bytes more in front: by a claim as far as the first chunk's region
 * has them free, the rest in fresh frames, filled from their end, so that the
 * next header can be claimed before it.  What the bytes are is not defined.
 * -ENOBUFS: no frame, no block.  -ENOSPC: 65,535 chunks.
 */
XMB_API int xmb_multibuf_grow_prefix(struct xmb_multibuf *mb, size_t n,
				     struct xmb_cache *cache);

/*
 * The same behind the last chunk, and in its fragment; fresh frames are filled
 * from their start.
 */
XMB_API int xmb_multibuf_grow_suffix(struct xmb_multibuf *mb, size_t n,
				     struct xmb_cache *cache);

/*
 * Let the byte at `at` lie at an address that is a multiple of align (a power
 * of two up to XMB_ALIGN_MAX), and those behind it in its chunk side by side
 * with it: they are copied into a fresh frame (and more, if it is too short),
 * and counted.  Other chunks stay.  Aligned already, or at = len: nothing
 * happens.
 * -EINVAL: align.  -ERANGE: at > len.  -EMSGSIZE: align is more than a frame of
 * the cache's pool.  -ENOBUFS: no frame, no block.  -ENOSPC: 65,535 chunks.
 */
XMB_API int xmb_multibuf_align(struct xmb_multibuf *mb, size_t at,
			       uint32_t align, struct xmb_cache *cache);

/*
 * Write up to n bytes at off, and truncate behind the last one written.
 * Returns how many: fewer than n at the end of the data, or at a read-only
 * chunk; then nothing is truncated.
 */
XMB_API size_t xmb_multibuf_copy_from_and_truncate(struct xmb_multibuf *mb,
						   size_t off, const void *src,
						   size_t n,
						   struct xmb_cache *cache);

/*
 * Stock the cache so that the next n calls that put a chunk, or a multibuf of
 * one chunk, into mb cannot fail for want of a spill block, if the cache's
 * blocks are used for nothing else meanwhile.  Between chunks they can be put
 * anywhere; inside one, while its region has a slot left for the cut: else a
 * part is copied, which takes frames and more blocks (see Blocks).
 * -ENOSPC: mb could come to have more than 65,535 chunks.  -EMSGSIZE: n, and
 * the blocks to which mb may have to move, are more than
 * XMB_MULTIBUF_RESERVE_MAX.  -ENOBUFS: the pool has too few blocks.
 */
XMB_API int xmb_multibuf_reserve(const struct xmb_multibuf *mb, uint32_t n,
				 struct xmb_cache *cache);

/*
 * Make the empty clone a multibuf of the same bytes; both are read-only from
 * now on (chunk.h).  A chunk whose region has no slot left is copied instead,
 * and counted: it stays as it was, and the copy is writable.  The mark `user`
 * is copied, and so are the ends of fragments.
 * -ENOBUFS: no block, or no frame for a copy.  -ENOSPC: by copies into shorter
 * frames clone would have more than 65,535 chunks.
 */
XMB_API int xmb_multibuf_share(struct xmb_multibuf *mb,
			       struct xmb_multibuf *clone,
			       struct xmb_cache *cache);

/*
 * Make all of mb writable again.
 * -EBUSY: another chunk, be it of mb itself, has one of its bytes; then nothing
 * has changed, but that chunks before that one whose last sharer left during
 * this call may be exclusive, and so writable, already.
 */
XMB_API int xmb_multibuf_unshare(struct xmb_multibuf *mb);

/* True if no chunk is read-only. */
XMB_API bool xmb_multibuf_is_writable(const struct xmb_multibuf *mb);

/* True if no chunk that has one of the n bytes at off is read-only. */
XMB_API bool xmb_multibuf_is_writable_at(const struct xmb_multibuf *mb,
					 size_t off, size_t n);

/*
 * Append other as a fragment of its own, or more if it has boundaries; what mb
 * has behind its last boundary becomes one.
 * As xmb_multibuf_append(); -ENODATA: other has no chunk.
 */
XMB_API int xmb_multibuf_append_fragment(struct xmb_multibuf *mb,
					 struct xmb_multibuf *other,
					 struct xmb_cache *cache);

/*
 * Take the first fragment off into the empty out, without its boundary; where
 * mb has none it is all of mb.  The mark `user` stays, and is copied.
 * -ENOENT: mb is empty.
 */
XMB_API int xmb_multibuf_take_fragment(struct xmb_multibuf *mb,
				       struct xmb_multibuf *out,
				       struct xmb_cache *cache);

/* Fragments in mb; what is behind the last boundary counts as one. */
XMB_API uint32_t xmb_multibuf_fragment_cnt(const struct xmb_multibuf *mb);

#endif /* XMBUF_BUF_EDIT_H */
