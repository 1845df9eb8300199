/* SPDX-License-Identifier: BSD-2-Clause */
#ifndef XMBUF_BUF_COOKIE_H
#define XMBUF_BUF_COOKIE_H

#include "buf/multibuf.h"

/*
 * cookie: how a sender learns that all of a packet came home, and how.
 *
 *      box, the sender's     frames of the multibuf, wherever they go
 *      +-----------------+   +---------+  sent, completed --.
 *      | entry: 2 frames |<--| frame a |                    |  the last one
 *      | entry: free     |<--| frame b |  dropped, released-+--> done list,
 *      +-----------------+   +---------+                         reap()
 *
 * attach() marks each frame of a multibuf; whatever becomes of it (split,
 * chained to others, handed to another thread, sent, dropped), the frame that
 * comes home last puts the entry on the done list of its box.  A frame without
 * a cookie pays one test of a bit that is loaded anyway.
 *
 * Sent are frames whose completion came; dropped are those of which xmbuf gave
 * up the packet (xmb_multibuf_drop()): a socket, pipe or engine that counts it
 * as a drop, by name, or a socket that was closed before the completion came.
 * All others are released: whoever had them needed them no more.
 *
 * Units      A box has room for a fixed number of cookies at a time.
 * Ownership  The caller owns the box; it must outlive its cookies.
 * Threads    attach() and reap() are one thread's, the box's; frames come home
 *            in any.
 * Errors     Negative errno; a call that fails changes nothing.
 */

struct xmb_completion {
	uint64_t cookie;
	/* Of a frame in several chunks the one that came home last decides. */
	uint32_t sent_cnt;     /* frames that came home from the kernel */
	uint32_t released_cnt; /* frames that somebody released */
	uint32_t dropped_cnt;  /* frames of packets that xmbuf gave up */
};

struct xmb_cookie_entry {
	uint64_t cookie;
	_Atomic uint32_t left; /* frames that are out */
	_Atomic uint32_t sent_cnt, dropped_cnt;
	uint32_t frame_cnt;
	uint32_t next; /* in the free list, or in the done list */
};

struct xmb_cookie_box {
	struct xmb_cookie_entry *entries;
	uint32_t entry_cnt;
	uint32_t id;	       /* in the table of boxes; 1..255 */
	uint32_t free;	       /* head of the free list; the owner's */
	uint32_t reaped;       /* taken off the done list, not yet returned */
	_Atomic uint32_t done; /* head of the done list; anybody's */
	uint32_t out_cnt;      /* cookies not yet returned */
};

/*
 * Make room for entry_cnt cookies, 1 to 2^24.
 * -EINVAL: entry_cnt.  -ENOMEM.  -ENOSPC: 255 boxes exist.
 */
XMB_API int xmb_cookie_box_init(struct xmb_cookie_box *box, uint32_t entry_cnt);

/* -EBUSY: cookies are out; nothing happens. */
XMB_API int xmb_cookie_box_fini(struct xmb_cookie_box *box);

/*
 * Mark the frames of mb with a cookie of the caller's.
 * -ENOSPC: the box is full: reap.  -EBUSY: a frame is shared with chunks of
 * another multibuf (split off before), or has a cookie.  -EXDEV: a chunk is
 * not of a pool.  -ENODATA: mb is empty.
 */
XMB_API int xmb_cookie_attach(struct xmb_cookie_box *box,
			      const struct xmb_multibuf *mb, uint64_t cookie);

/* Take up to cnt cookies whose last frame came home; returns how many. */
XMB_API uint32_t xmb_cookie_reap(struct xmb_cookie_box *box,
				 struct xmb_completion *done, uint32_t cnt);

#endif /* XMBUF_BUF_COOKIE_H */
