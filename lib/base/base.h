/* SPDX-License-Identifier: BSD-2-Clause */
#ifndef XMBUF_BASE_BASE_H
#define XMBUF_BASE_BASE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/*
 * base: what every room needs and libc does not give.
 *
 * Units      Names end in what they count: _len bytes, _cnt elements, _idx an
 *            index, _off a byte offset, _ns nanoseconds.
 * Threads    Everything here may be called from any thread.
 * Errors     0 or a negative errno everywhere in xmbuf; errno is never set by
 *            us.  Misuse by the caller (a stale handle, a live output handle)
 *            ends in xmb_panic(); the outside world never does.
 */

#define XMB_API __attribute__((visibility("default")))
#define XMB_CACHE_LINE 64

#define XMB_LIKELY(x) __builtin_expect(!!(x), 1)
#define XMB_UNLIKELY(x) __builtin_expect(!!(x), 0)

/* Say why through the log hook (stderr when there is none) and abort(). */
XMB_API _Noreturn void xmb_panic(const char *fmt, ...)
	__attribute__((format(printf, 1, 2), cold));

/* An O(1) check of our caller, on in every build. */
#define XMB_ASSERT(cond)                                                       \
	do {                                                                   \
		if (XMB_UNLIKELY(!(cond)))                                     \
			xmb_panic("%s:%d: %s: must hold: %s", __FILE__,        \
				  __LINE__, __func__, #cond);                  \
	} while (0)

static inline uint32_t xmb_min_u32(uint32_t a, uint32_t b)
{
	return a < b ? a : b;
}

static inline uint32_t xmb_max_u32(uint32_t a, uint32_t b)
{
	return a > b ? a : b;
}

/* An option's value, or its default when it was left zero. */
static inline uint64_t xmb_or_u64(uint64_t v, uint64_t or_v)
{
	return v ? v : or_v;
}

static inline uint32_t xmb_or_u32(uint32_t v, uint32_t or_v)
{
	return v ? v : or_v;
}

static inline bool xmb_is_pow2(uint64_t n)
{
	return n && !(n & (n - 1));
}

/* The smallest multiple of align, a power of two, that is >= n. */
static inline size_t xmb_align_up(size_t n, size_t align)
{
	return (n + align - 1) & ~(align - 1);
}

/* The largest power of two that is <= n; n > 0. */
static inline uint32_t xmb_pow2_floor(uint32_t n)
{
	return 1u << (31 - __builtin_clz(n));
}

#endif /* XMBUF_BASE_BASE_H */
