/* SPDX-License-Identifier: BSD-2-Clause */
#ifndef XMBUF_UMEM_PIECE_H
#define XMBUF_UMEM_PIECE_H

#include "base/base.h"
#include "buf/handover.h"
#include "buf/multibuf.h"
#include "umem/umem.h"

/*
 * piece: frames in the application's own memory that the kernel knows.
 *
 *      | frame 0 | frame 1 | frame 2 | frame 3 |   frame_len each
 *         free      ##########  free      free     taken: a multibuf
 *                                                  of two chunks
 *
 *      take() --> multibuf --send--> TX --complete--> free, home()
 *                    \____________release___________/
 *
 * What lies in a frame is never touched by take(): the application writes or
 * reads a file into the bytes first, or finds them there already, and takes the
 * multibuf of just these bytes to send it.  A socket of the same umem sends
 * it where it lies, with headers from the pool in front if there are some; a
 * socket of another umem copies it.  A piece's frames are never received into.
 *
 * Each piece is a domain of its own: its chunks can be split, shared, trimmed
 * and joined as any.  They carry no completion cookie (cookie.h): home() tells.
 *
 * Units      Bytes count from the start of the piece; frames from 0.
 * Ownership  Who takes bytes owns their frames, whole, until the last chunk of
 *            each is released or sent.  While frames are out nobody else may
 *            write their bytes, by whatever mapping.
 * Threads    Any: what is free is one bit a frame.
 * Processes  A piece belongs to the process that made the umem.
 * Errors     Negative errno; a call that fails changes nothing.
 */

struct xmb_piece {
	struct xmb_domain domain; /* id 0: the frames are the pool's */
	struct xmb_umem *umem;
	uint64_t addr; /* of its first byte, as the kernel counts */
	size_t len;
	size_t page_len;
	_Atomic uint64_t *free_map;   /* bit set: free */
	_Atomic uint32_t free_cnt;    /* bits set */
	_Atomic uint32_t kernel_cnt;  /* whole frames in TX, or held */
	_Atomic uint32_t search_from; /* where alloc() looks first, a word */
	uint32_t kept_cnt;	      /* frames that nobody gets */
	xmb_umem_home_fn *home;
	void *arg;
};

/* Frames of the piece; 0: there is no such piece, or its frames are the
 * pool's. */
XMB_API uint32_t xmb_umem_piece_frame_cnt(const struct xmb_umem *umem,
					  uint32_t piece);

/* Frames of it that are free now. */
XMB_API uint32_t xmb_umem_piece_free_cnt(const struct xmb_umem *umem,
					 uint32_t piece);

/* The piece's first byte, in the umem's mapping. */
XMB_API uint8_t *xmb_umem_piece_data(const struct xmb_umem *umem,
				     uint32_t piece);

/*
 * Make the empty mb own the bytes [off, off + len) of the piece, in a chunk for
 * each frame that they touch.
 * -EINVAL: no such piece, or its frames are the pool's; len is 0, the range is
 * beyond the last whole frame, or touches more than 65,535.  -EBUSY: one of the
 * frames is taken, or is one that nobody gets (umem.h).  -ENOBUFS: no spill
 * block.
 */
XMB_API int xmb_umem_piece_take(struct xmb_umem *umem, uint32_t piece,
				struct xmb_cache *cache, size_t off, size_t len,
				struct xmb_multibuf *mb);

/*
 * Make the empty mb own any free frame of the piece: its first len bytes.
 * -EINVAL: no such piece, or its frames are the pool's; len is 0 or more than a
 * frame.  -ENOBUFS: none is free.
 */
XMB_API int xmb_umem_piece_alloc(struct xmb_umem *umem, uint32_t piece,
				 struct xmb_cache *cache, uint32_t len,
				 struct xmb_multibuf *mb);

/* The piece of this umem that domain dom is; NULL: it is none. */
XMB_API struct xmb_piece *xmb_umem_piece_of(const struct xmb_umem *umem,
					    uint8_t dom);

/*
 * As xmb_handover_tx() and xmb_handover_complete() for chunks of pieces;
 * addresses are the kernel's.
 */
XMB_API uint64_t xmb_umem_piece_tx(struct xmb_piece *piece, uint32_t who,
				   struct xmb_chunk *chunk, bool *is_excl);
XMB_API int xmb_umem_piece_complete(struct xmb_umem *umem,
				    struct xmb_cache *cache, uint32_t who,
				    uint64_t addr);

/*
 * xmb_handover_tx_end() and _complete_held() of the pool or the piece in which
 * addr, the kernel's, is.
 */
XMB_API uint32_t xmb_umem_tx_end(const struct xmb_umem *umem, uint32_t who,
				 uint64_t addr);
XMB_API int xmb_umem_complete_held(struct xmb_umem *umem,
				   struct xmb_cache *cache, uint32_t who,
				   uint64_t addr);

/*
 * xmb_handover_unsend_of(), _hold() and _unhold() of the pool and of all
 * pieces.
 */
XMB_API struct xmb_handover_held
xmb_umem_unsend(struct xmb_umem *umem, struct xmb_cache *cache, uint32_t who);
XMB_API struct xmb_handover_held xmb_umem_hold(struct xmb_umem *umem,
					       uint32_t who);
XMB_API uint32_t xmb_umem_unhold(struct xmb_umem *umem, struct xmb_cache *cache,
				 uint32_t who);

#endif /* XMBUF_UMEM_PIECE_H */
