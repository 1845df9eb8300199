/* SPDX-License-Identifier: BSD-2-Clause */
#ifndef XMBUF_UMEM_LEDGER_H
#define XMBUF_UMEM_LEDGER_H

#include "base/base.h"
#include "umem/umem.h"

/*
 * ledger: where every frame is.
 *
 *      free + fill + rx + app + chan + tx + held = frames, always
 *
 * It is kept twice.  The holders count what they have (the pool's stack, each
 * cache, each socket): that is what a report adds up, in O(holders).  The
 * frame words say it frame by frame: xmb_ledger_check() compares the two in
 * O(frames), so that neither a lost frame nor a wrong count goes unnoticed.
 * A split frame counts once: under tx while one of its chunks is in a TX ring,
 * else under app.  Frames of pieces (piece.h) count as the pool's do, by state;
 * those that nobody gets (umem.h) do not count at all.
 *
 * Units      Frames, but where the name says otherwise.
 * Threads    Exact while the holders are at rest; a report of running threads
 *            may be off by what moved while it was made.
 */

struct xmb_ledger {
	uint32_t frames;
	int64_t free, fill, rx, app, chan, tx, held;
	int64_t tx_slots; /* chunks of split frames that are in TX rings */
	uint64_t copies, copied_bytes; /* of payload, in user space */
	int64_t missing; /* frames minus the sum; set by sum() and check() */
};

/* Start a report with the pool's own free frames. */
XMB_API void xmb_ledger_init(struct xmb_ledger *ledger,
			     const struct xmb_umem *umem);

/* Add a cache: its free frames, its application frames, its copies. */
XMB_API void xmb_ledger_add_cache(struct xmb_ledger *ledger,
				  const struct xmb_cache *cache);

/* Add what one ledger has to another; frames and missing stay. */
XMB_API void xmb_ledger_add(struct xmb_ledger *ledger,
			    const struct xmb_ledger *part);

/* Set missing; returns it. */
XMB_API int64_t xmb_ledger_sum(struct xmb_ledger *ledger);

/*
 * True if nothing is missing and the frame words agree with the counts; else
 * the counts that do not are logged, with the first frames that nobody counted.
 * The holders must be at rest.
 */
XMB_API bool xmb_ledger_check(struct xmb_ledger *ledger,
			      const struct xmb_umem *umem);

#endif /* XMBUF_UMEM_LEDGER_H */
