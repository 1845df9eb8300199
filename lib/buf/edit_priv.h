/* SPDX-License-Identifier: BSD-2-Clause */
#ifndef XMBUF_BUF_EDIT_PRIV_H
#define XMBUF_BUF_EDIT_PRIV_H

#include "buf/edit.h"
#include "buf/multibuf_priv.h"

/*
 * edit_priv: what putting in (edit.c, edit_grow.c) and taking out
 * (edit_take.c) share.  Both first have everything that can be short, blocks,
 * frames, slots, and change the multibuf then.
 */

/* The place before the chunk at idx <= cnt, and the bytes before it. */
struct xmb_multibuf_spot xmb_multibuf_seek_chunk(const struct xmb_multibuf *mb,
						 uint32_t idx, uint32_t *len);

/*
 * Put x and y at spot, which is between chunks and not before the first; the
 * joins may take need blocks.  All or nothing, as xmb_multibuf_assemble().
 */
int xmb_multibuf_splice(struct xmb_multibuf *mb, struct xmb_multibuf_spot spot,
			struct xmb_multibuf *x, struct xmb_multibuf *y,
			uint32_t need, struct xmb_cache *cache);

/* Insert inside the chunk at spot; an empty other only cuts it. */
int xmb_multibuf_insert_inside(struct xmb_multibuf *mb,
			       struct xmb_multibuf_spot spot,
			       struct xmb_multibuf *other,
			       struct xmb_cache *cache);

/* Blocks that putting the chunks of other between others may take. */
static inline uint32_t xmb_multibuf_blocks_to_put(uint32_t chunk_cnt)
{
	return chunk_cnt <= 2 ? 1 : 2;
}

#endif /* XMBUF_BUF_EDIT_PRIV_H */
