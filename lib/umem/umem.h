/* SPDX-License-Identifier: BSD-2-Clause */
#ifndef XMBUF_UMEM_UMEM_H
#define XMBUF_UMEM_UMEM_H

#include "base/base.h"
#include "buf/pool.h"

/*
 * umem: the memory that packets live in: frames that all sockets know, mapped
 * once, with a pool over them.
 *
 *      area    | frame 0 | frame 1 | ... | frame n-1 |   frame_len each
 *      side    | frame words | trackers | spill blocks |
 *
 * All sockets of a program use the same umem, so that a frame received on one
 * device is sent on another where it lies.  A program may have several; a
 * packet in frames of another umem is copied when it is sent (xsk.h).
 *
 * The area is one sealed memfd of the umem's own, and behind it, in the same
 * range of addresses, the pieces: memory that the application has already, as
 * file descriptors.  A piece is either more frames for the pool or, by default,
 * kept apart: its frames are given out on request only (piece.h), and so what
 * the application wrote or read into them goes on the wire without a copy.
 *
 *      area    | own memfd: the pool's | piece 0 | piece 1 |
 *                                        a memfd   /dev/shm
 *
 * A frame of 2048 or 4096 bytes never crosses a page.  Frames of any other
 * length in between lie in unaligned mode, one behind the other: 4032 bytes
 * spread over the CPU's cache as 4096 do not.  Such a frame may cross a page.
 * In copy mode that is no matter.  A device in zero copy needs the two pages
 * side by side in physical memory: with hugepages (all of the area in them)
 * they are, but for the frames that cross from one hugepage to the next, which
 * nobody gets (kept_cnt); without, sockets take copy mode.
 *
 * Units      frame_len bytes, frame_cnt frames, len and off bytes.
 * Ownership  The umem owns its mapping and the pool; sockets and caches must be
 *            closed before it is destroyed.  File descriptors of pieces stay
 *            the caller's, and may be closed.
 * Threads    Create and destroy on one thread; ids from any.
 * Errors     0 or negative errno; refusals are logged with what to do.
 * Kernel     memfd_create (3.17).  2 MiB hugepages are taken when the own part
 *            fits into free ones; else the kernel is advised to use
 *            transparent ones.  Pages are pinned by the sockets.  Unaligned
 *            frames 5.4.
 */

#define XMB_UMEM_FRAME_LEN 2048u
#define XMB_UMEM_FRAME_LEN_MIN 2048u
#define XMB_UMEM_FRAME_LEN_MAX 4096u
#define XMB_UMEM_FRAME_CNT 16384u
#define XMB_UMEM_PIECE_MAX 64u
#define XMB_UMEM_KERNEL_ROOM 256u /* the kernel's own headroom in a frame */
#define XMB_UMEM_DATA_MIN 512u	  /* what headroom leaves at least */

/*
 * A frame of a piece came home, sent or released, and is free again.  Called in
 * the thread that gave it back, inside of that call: take frames and write into
 * them, but send nothing from here.
 */
typedef void xmb_umem_home_fn(void *arg, uint32_t piece, uint32_t frame);

struct xmb_umem_piece_opts {
	int fd;	      /* memfd, tmpfs or hugetlbfs, open for reading and
		       * writing */
	uint64_t off; /* in whole pages, of the file system's */
	size_t len;   /* the same */
	bool is_pool; /* frames for the pool; these pieces come first */
	/*
	 * The file may be shortened by others, who then end this process with
	 * SIGBUS: known and accepted.
	 */
	bool is_unsealed;
	xmb_umem_home_fn *home; /* NULL: nobody asks; not with is_pool */
	void *arg;
};

struct xmb_umem_opts {
	uint32_t frame_len; /* 2048 to 4096; 0: XMB_UMEM_FRAME_LEN */
	/* Of its own; 0: XMB_UMEM_FRAME_CNT, or none if a piece is_pool. */
	uint32_t frame_cnt;
	uint32_t spill_cnt; /* 0: see pool.h */
	bool is_unaligned;  /* also frames of 2048 or 4096 bytes */
	/*
	 * Bytes that stay free in front of what is received in a frame, for
	 * headers to come (claim_prefix()), besides the kernel's 256.
	 */
	uint32_t headroom;
	const struct xmb_umem_piece_opts *pieces;
	uint32_t piece_cnt; /* at most XMB_UMEM_PIECE_MAX */
	/* NUMA nodes of the devices, -1 for unknown: where the own part is. */
	const int *dev_nodes;
	uint32_t dev_cnt;
};

struct xmb_piece; /* piece.h */

struct xmb_umem {
	struct xmb_pool pool;
	uint8_t *area;
	size_t area_len; /* mapped */
	size_t reg_len;	 /* what sockets register and lock, <= area_len */
	void *side;
	size_t side_len;
	int memfd;	   /* of the own part, -1: there is none */
	uint32_t headroom; /* in front of received data, the kernel's too */
	bool is_huge;	   /* the own part is in explicit hugepages */
	bool is_unaligned; /* frames may lie across pages */
	bool is_contig;	   /* but none that is in use is cut by one */
	uint32_t kept_cnt; /* frames of the pool that nobody gets */
	struct xmb_piece *pieces;
	uint32_t piece_cnt;
	_Atomic uint64_t ids[2]; /* bit set: socket id in use */
};

/*
 * Map the frames and make them all free.
 * -EINVAL: frame_len is not 2048 to 4096; headroom leaves less of it than
 * XMB_UMEM_DATA_MIN; more than 2^24 frames or XMB_UMEM_PIECE_MAX pieces; a
 * piece is not in whole pages, beyond the end of its file, shorter than a
 * frame, the same bytes as another, or in an order that cannot be mapped.
 * -EBADF: a piece's fd is none.  -EACCES: it is not open for reading and
 * writing.  -EOPNOTSUPP: it is no memory (a file on a disk cannot back frames).
 * -EPERM: it is sealed against writing, or not sealed against becoming shorter.
 * -ENOMEM: no memory, or more than this machine has.  -ENOSPC: 255 domains
 * exist.  -EMFILE, -ENFILE: no descriptor for the frames.  Else what the kernel
 * answered when it was asked about a piece's file.
 */
XMB_API int xmb_umem_create(struct xmb_umem **out,
			    const struct xmb_umem_opts *opts);

/* How many frames the pool of such a umem has. */
XMB_API uint32_t xmb_umem_pool_cnt(const struct xmb_umem_opts *opts);

XMB_API void xmb_umem_destroy(struct xmb_umem *umem);

/* Take a socket id, 1..XMB_WHO_MAX.  -ENOSPC: all are in use. */
XMB_API int xmb_umem_id_get(struct xmb_umem *umem);

/* Give a socket id back: nothing is in the hands of that socket any more. */
XMB_API void xmb_umem_id_put(struct xmb_umem *umem, uint32_t who);

#endif /* XMBUF_UMEM_UMEM_H */
