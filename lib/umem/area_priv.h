/* SPDX-License-Identifier: BSD-2-Clause */
#ifndef XMBUF_UMEM_AREA_PRIV_H
#define XMBUF_UMEM_AREA_PRIV_H

#include "umem/piece.h"
#include "umem/umem.h"

/*
 * area_priv: how the range of addresses that sockets register comes about.
 *
 * Everything is first mapped where the kernel likes and then moved to its
 * place, so that a mapping that fails leaves no hole in the range into which
 * another thread's would fall.
 *
 * Threads    As umem.h.
 */

#define XMB_HUGE_LEN ((size_t)2 << 20)
#define XMB_PAGE_LEN ((size_t)4096)

/*
 * Look at the pieces and set what of umem->pieces is known before they are
 * mapped.  Every error of a piece in umem.h.
 */
int xmb_area_check_pieces(struct xmb_umem *umem,
			  const struct xmb_umem_opts *opts, uint32_t frame_len);

/*
 * Map own_len bytes of the umem's own and the pieces side by side; sets area,
 * memfd, is_huge and the pieces' addr.
 */
int xmb_area_map(struct xmb_umem *umem, const struct xmb_umem_opts *opts,
		 size_t own_len);

void xmb_area_unmap(struct xmb_umem *umem);

/* Make the domain of a mapped piece that is not the pool's. */
int xmb_piece_init(struct xmb_piece *piece, uint32_t frame_len);
void xmb_piece_fini(struct xmb_piece *piece);

/* True if the region lies across two hugepages. */
static inline bool xmb_area_is_cut(uint64_t addr, uint32_t len)
{
	return addr / XMB_HUGE_LEN != (addr + len - 1) / XMB_HUGE_LEN;
}

#endif /* XMBUF_UMEM_AREA_PRIV_H */
