/* SPDX-License-Identifier: BSD-2-Clause */
#ifndef XMBUF_PROG_PROG_PRIV_H
#define XMBUF_PROG_PROG_PRIV_H

#include "base/log.h"
#include "prog/prog.h"

/*
 * Why the kernel refused, in words.  Each function logs one sentence and gives
 * the error that xmb_prog_attach() documents for it.
 */

/* The kernel answered err, a negative errno, to loading the program. */
int xmb_prog_tell_load(const struct xmb_prog_opts *opts, int err);

/*
 * The kernel answered err to attaching in mode; then says what follows, such as
 * the mode that is tried instead.
 */
int xmb_prog_tell_attach(const struct xmb_prog_opts *opts,
			 enum xmb_prog_mode mode, int err,
			 enum xmb_log_level level, const char *then);

#endif /* XMBUF_PROG_PROG_PRIV_H */
