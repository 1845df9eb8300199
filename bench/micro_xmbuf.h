/* SPDX-License-Identifier: BSD-2-Clause */
#ifndef XMBUF_BENCH_MICRO_XMBUF_H
#define XMBUF_BENCH_MICRO_XMBUF_H

#include "bench.h"
#include "micro.h"

#include "alloc/allocator.h"
#include "buf/multibuf.h"

/* micro_xmbuf: what our steps share. */

extern struct xmb_cache micro_cache;
extern struct xmb_allocator micro_allocator;

/* The steps of the other files. */
extern const struct micro_step micro_xmbuf_edits[MICRO_ROW_CNT];
extern const struct micro_step micro_xmbuf_bytes[MICRO_ROW_CNT];

static inline void must(int err)
{
	if (XMB_UNLIKELY(err < 0))
		bench_die("a step of xmbuf", -err);
}

static inline void packet(struct xmb_multibuf *mb, size_t len)
{
	must(xmb_multibuf_alloc(&micro_cache, len, MICRO_HEADROOM, mb));
}

static inline void drop(struct xmb_multibuf *mb)
{
	xmb_multibuf_release(mb, &micro_cache);
}

static inline void append(struct xmb_multibuf *mb, struct xmb_multibuf *other)
{
	must(xmb_multibuf_append(mb, other, &micro_cache));
}

/* A packet of cnt chunks of len bytes each. */
static inline void packet_of(struct xmb_multibuf *mb, uint32_t cnt, size_t len)
{
	packet(mb, len);
	for (uint32_t i = 1; i < cnt; i++) {
		struct xmb_multibuf more = { 0 };

		packet(&more, len);
		append(mb, &more);
	}
}

#endif /* XMBUF_BENCH_MICRO_XMBUF_H */
