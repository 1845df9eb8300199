/* SPDX-License-Identifier: BSD-2-Clause */
#ifndef XMBUF_BUF_RECLAIM_H
#define XMBUF_BUF_RECLAIM_H

#include "buf/pool.h"

/*
 * reclaim: what a supervisor takes back when a process that shares a pool is
 * dead, wherever it stopped.
 *
 *      the dead process had        it is found by                 taken by
 *      ----------------------      ---------------------------    ---------
 *      chunks of split frames      owner id in the tracker        reclaim()
 *      whole frames                word APP, of one of its whos   reclaim()
 *      free frames in caches       word FREE, of one of its whos  reclaim()
 *      spill blocks                owner id in the link           reclaim()
 *      frames in its sockets       word or slot, of the socket    _socket()
 *      batches on their way        of nobody and on no stack      _lost()
 *        to or from a cache
 *
 * Neighbours go on meanwhile: a chunk beside a dead one is not touched, and
 * may claim its bytes as those of any chunk that was released.  Only _lost()
 * asks that nobody uses the pool.  A process that dies while it moves a batch
 * leaves at most XMB_CACHE_MAX frames for it, which can wait; reclaim() tells
 * no caller how many, for it cannot know.
 *
 * In which order:
 *
 *      1. The process is gone (pidfd, EOF) and nobody sends to it any more.
 *      2. Whoever has chunks on the way to it, not yet adopted, takes them
 *         back (xmb_handover_adopt() of the own descriptor), before 3: it may
 *         have adopted one and died before it freed the ring's entry, and a
 *         slot that 3 frees can be the sender's again, by a split, in the same
 *         bytes.  The entry would then name a chunk that is somebody else's.
 *      3. xmb_reclaim().  What the dead process sent is adopted or refused
 *         (-ENOENT) as ever, before or after.
 *      4. Its AF_XDP sockets are closed in every process that has them:
 *         xmb_reclaim_socket(), once for each.
 *      5. xmb_reclaim_lost(), when the pool is at rest.
 *      6. Its owner id and whos may be used again after 3 and 4, when every
 *         entry of the rings from it has been adopted or refused, and then
 *         freed.
 *
 * Units      _cnt counts.
 * Ownership  What comes back goes to the caller's cache.  Its app_cnt does not
 *            change: that of the dead process's caches is gone with them, so
 *            the sum over caches says no longer what the application has; the
 *            frame words do.  A completion cookie of the dead process is
 *            forgotten.
 * Threads    One supervisor at a time for a pool.
 * Errors     Negative errno; a call that fails changes nothing.
 */

struct xmb_reclaim_dead {
	uint32_t owner;	     /* its owner id */
	const uint8_t *whos; /* who of each of its caches */
	uint32_t who_cnt;
};

struct xmb_reclaim_cnt {
	uint32_t slot_cnt;   /* chunks of split frames */
	uint32_t frame_cnt;  /* whole frames: held, or in a socket */
	uint32_t cached_cnt; /* free frames */
	uint32_t spill_cnt;  /* spill blocks */
};

/*
 * Take back what dead had but for its sockets, and add it to cnt.  O(frames).
 * -EINVAL: the owner id is the caller's or is none, or one of the whos is the
 * cache's.
 */
XMB_API int xmb_reclaim(struct xmb_cache *cache,
			const struct xmb_reclaim_dead *dead,
			struct xmb_reclaim_cnt *cnt);

/*
 * Take back what the dead process's socket had with the kernel, which has let
 * it go, and add it to cnt.  O(frames).
 * -EINVAL: who is not 1..XMB_WHO_MAX.
 */
XMB_API int xmb_reclaim_socket(struct xmb_cache *cache, uint32_t who,
			       struct xmb_reclaim_cnt *cnt);

/*
 * Take back free frames and blocks of nobody that are on no stack, set right
 * how many the stacks have, and add what was found to cnt.  O(frames); nobody
 * may use the pool meanwhile.
 * -ENOMEM.  -EPROTO: a stack is damaged.
 */
XMB_API int xmb_reclaim_lost(struct xmb_cache *cache,
			     struct xmb_reclaim_cnt *cnt);

#endif /* XMBUF_BUF_RECLAIM_H */
