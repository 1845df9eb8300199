/* SPDX-License-Identifier: BSD-2-Clause */
#ifndef XMBUF_UMEM_UMEM_H
#define XMBUF_UMEM_UMEM_H

#include "base/base.h"
#include "buf/pool.h"

/*
 * umem: the memory that packets live in: frames in one sealed memfd, mapped
 * once, with a pool over them.
 *
 *      memfd   | frame 0 | frame 1 | ... | frame n-1 |   frame_len each
 *      side    | frame words | trackers | spill blocks |
 *
 * All sockets of a program use the same umem, so that a frame received on one
 * device is sent on another where it lies.
 *
 * Units      frame_len bytes, frame_cnt frames.
 * Ownership  The umem owns memory and pool; sockets and caches must be closed
 *            before it is destroyed.
 * Threads    Create and destroy on one thread; ids from any.
 * Errors     0 or negative errno; refusals are logged with what to do.
 * Kernel     memfd_create (3.17).  2 MiB hugepages are taken when the whole
 *            area fits into free ones; else the kernel is advised to use
 *            transparent ones.  Pages are pinned by the sockets.
 */

#define XMB_UMEM_FRAME_LEN 2048u
#define XMB_UMEM_FRAME_CNT 16384u

struct xmb_umem_opts {
	uint32_t frame_len; /* 2048 or 4096; 0: XMB_UMEM_FRAME_LEN */
	uint32_t frame_cnt; /* 0: XMB_UMEM_FRAME_CNT */
	uint32_t spill_cnt; /* 0: see pool.h */
};

struct xmb_umem {
	struct xmb_pool pool;
	uint8_t *area;
	size_t area_len;
	void *side;
	size_t side_len;
	int memfd;
	bool is_huge;		 /* explicit hugepages */
	_Atomic uint64_t ids[2]; /* bit set: socket id in use */
};

/*
 * Map the frames and make them all free.
 * -EINVAL: frame_len is neither 2048 nor 4096, or frame_cnt is above 2^24.
 * -ENOMEM: no memory, or more than this machine has.  -ENOSPC: 255 domains
 * exist.
 */
XMB_API int xmb_umem_create(struct xmb_umem **out,
			    const struct xmb_umem_opts *opts);

XMB_API void xmb_umem_destroy(struct xmb_umem *umem);

/* Take a socket id, 1..XMB_WHO_MAX.  -ENOSPC: all are in use. */
XMB_API int xmb_umem_id_get(struct xmb_umem *umem);

/* Give a socket id back: nothing is in the hands of that socket any more. */
XMB_API void xmb_umem_id_put(struct xmb_umem *umem, uint32_t who);

#endif /* XMBUF_UMEM_UMEM_H */
