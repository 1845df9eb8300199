/* SPDX-License-Identifier: BSD-2-Clause */
#ifndef XMBUF_BASE_LOG_H
#define XMBUF_BASE_LOG_H

#include "base/base.h"

/*
 * log: the one way by which the library speaks.
 *
 * The library never prints.  What it has to say (a refusal with what was
 * asked, what the kernel answered and what to do; a setting it changed; a mode
 * it fell back to) goes as one line without a newline to the hook.
 *
 * Ownership  The text belongs to the library and is valid during the call.
 * Threads    Set the hook before other threads run; it is called from any.
 */

enum xmb_log_level {
	XMB_LOG_ERROR, /* a call is about to fail, or misuse ends the process */
	XMB_LOG_WARN,  /* works, but not as somebody would expect */
	XMB_LOG_INFO,  /* a mode got, a setting changed or put back */
	XMB_LOG_DEBUG,
};

typedef void xmb_log_fn(void *arg, enum xmb_log_level level, const char *text);

/* Send what the library says to fn(arg, ...); NULL: nowhere (the default). */
XMB_API void xmb_log_set(xmb_log_fn *fn, void *arg);

/* Say one line; longer than 1023 bytes it is cut. */
XMB_API void xmb_log(enum xmb_log_level level, const char *fmt, ...)
	__attribute__((format(printf, 2, 3)));

#endif /* XMBUF_BASE_LOG_H */
