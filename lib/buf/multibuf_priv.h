/* SPDX-License-Identifier: BSD-2-Clause */
#ifndef XMBUF_BUF_MULTIBUF_PRIV_H
#define XMBUF_BUF_MULTIBUF_PRIV_H

#include "buf/multibuf.h"

/*
 * multibuf_priv: what the two halves of multibuf share: its shape
 * (multibuf.c), and what it is made of: frames, blocks, bytes
 * (multibuf_data.c).
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
_Static_assert((uint64_t)XMB_MULTIBUF_CNT_MAX * XMB_REGION_LEN_MAX <=
		       UINT32_MAX,
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
	return cnt <= XMB_MULTIBUF_INLINE ? 0 :
					    (cnt - 1) / XMB_MULTIBUF_INLINE;
}

/*
 * Take a list of cnt empty blocks, all or none.  Returns its first, or
 * XMB_SPILL_NONE (also of cnt = 0).
 */
uint32_t xmb_multibuf_take_blocks(struct xmb_cache *cache, uint32_t cnt);

/* Give a list of the domain's blocks back, whatever they hold. */
void xmb_multibuf_put_blocks(struct xmb_cache *cache, struct xmb_domain *domain,
			     uint32_t spill);

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
