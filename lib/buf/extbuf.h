/* SPDX-License-Identifier: BSD-2-Clause */
#ifndef XMBUF_BUF_EXTBUF_H
#define XMBUF_BUF_EXTBUF_H

#include "buf/multibuf.h"

/*
 * extbuf: memory of the caller's as a multibuf.
 *
 *      mem  +----------- 32 KiB -----------+-- 32 KiB --+- rest -+
 *           | region 0                     | region 1   | ...    |
 *           +------------------------------+------------+--------+
 *             chunk of mb                    chunk        chunk
 *
 * The span is cut into regions of at most 32 KiB that share one callback,
 * called once, with the whole span, after the last chunk of it was released.
 * A chunk of it is foreign to an AF_XDP socket: sending copies it into frames,
 * and counts that.
 *
 * Units      Bytes.
 * Ownership  mem is the library's from success until the callback.
 * Threads    As chunk.h; the callback runs in the thread that releases last.
 * Errors     -EINVAL, -ERANGE, -ENOMEM, -ENOSPC, -ENOBUFS: nothing changed, mem
 *            stays the caller's and the callback is not called.
 */

typedef void xmb_extbuf_free_fn(void *arg, void *mem, size_t len);

/*
 * Make the empty mb own the len bytes at mem; free_fn (NULL: nothing) gets
 * them back.
 * -EINVAL: len is 0.  -ERANGE: len is above 65,535 times 32 KiB.  -ENOMEM.
 * -ENOSPC: 255 domains exist.  -ENOBUFS: no spill block.
 */
XMB_API int xmb_extbuf_attach(struct xmb_cache *cache, void *mem, size_t len,
			      xmb_extbuf_free_fn *free_fn, void *arg,
			      struct xmb_multibuf *mb);

#endif /* XMBUF_BUF_EXTBUF_H */
