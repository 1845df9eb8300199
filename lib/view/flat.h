/* SPDX-License-Identifier: BSD-2-Clause */
#ifndef XMBUF_VIEW_FLAT_H
#define XMBUF_VIEW_FLAT_H

#include "buf/edit.h"

/*
 * flat: bytes that have to lie side by side, for a parser that takes a pointer.
 *
 *      pullup(mb, 20)   [ 14 ][ 40 ][ 900 ]   ->   [ 20 ][ 34 ][ 900 ]
 *                                                    the first chunk, if it
 *                                                    has room, else fresh
 *
 * To look at a few bytes use xmb_multibuf_get(): it copies only when it has to
 * and changes nothing.  It is also what points to the bytes after a pullup.
 *
 * A boundary between fragments (edit.h) stays where the last byte of its
 * fragment stays the last of a chunk; inside what is made flat it is gone.
 *
 * Units      Bytes.
 * Ownership  As multibuf.h.
 * Threads    One at a time.
 * Errors     -ERANGE, -EMSGSIZE, -ENOBUFS; a call that fails changes nothing.
 */

/*
 * True if the n bytes at off are in one chunk (never over two regions, even if
 * their memory happens to be adjacent); of no bytes, and off <= len: true.
 */
XMB_API bool xmb_flat_is_contiguous(const struct xmb_multibuf *mb, size_t off,
				    size_t n);

/*
 * Make the first n bytes contiguous.  Nothing happens if they are.  Else those
 * behind the first chunk's are copied behind it, if that can be claimed there
 * (a read-only chunk cannot); else all n to a fresh frame of the cache's pool,
 * with headroom bytes to claim in front.  Chunks of no bytes before them are
 * released.  What is copied is counted.
 * -ERANGE: n > len.  -EMSGSIZE: n and headroom are more than a frame.
 * -ENOBUFS: no frame.
 */
XMB_API int xmb_flat_pullup(struct xmb_multibuf *mb, size_t n,
			    uint32_t headroom, struct xmb_cache *cache);

/*
 * Make all of it one chunk: pullup of its length, and then all chunks of no
 * bytes are released but the last one of a multibuf without bytes.
 * -EMSGSIZE, -ENOBUFS: as pullup().
 */
XMB_API int xmb_flat_linearize(struct xmb_multibuf *mb, uint32_t headroom,
			       struct xmb_cache *cache);

/*
 * Pack the bytes into as few frames of the cache's pool as hold them, with
 * headroom in front of the first: for a way out that takes fewer pieces.
 * Nothing happens if it has no more chunks than that, in frames of that pool,
 * or no bytes.  The copy is counted.
 * -EMSGSIZE: headroom leaves no room in a frame, or the bytes need more than
 * 65,535.  -ENOBUFS: no frames, no blocks.
 */
XMB_API int xmb_flat_gather(struct xmb_multibuf *mb, uint32_t headroom,
			    struct xmb_cache *cache);

#endif /* XMBUF_VIEW_FLAT_H */
