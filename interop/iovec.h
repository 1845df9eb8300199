/* SPDX-License-Identifier: BSD-2-Clause */
#ifndef XMBUF_INTEROP_IOVEC_H
#define XMBUF_INTEROP_IOVEC_H

#include "view/span.h"

#include <sys/types.h>

/*
 * iovec: a multibuf into and out of a file descriptor, without a copy in user
 * space: the kernel reads and writes the chunks where they are.
 *
 * Units      Bytes; off counts from the start of the packet.
 * Ownership  The multibuf stays the caller's; attach() takes the memory over.
 * Threads    One at a time for each multibuf.
 * Errors     Negative errno of the system call; -ERANGE: off is beyond the
 *            data; -EPERM: reading into a read-only chunk.
 */

/*
 * Write what is at off and behind it, up to n bytes, by writev(2).  Returns how
 * many bytes were written, which may be fewer, as of writev, or as the data
 * ends; 0 if off is its end.
 */
XMB_API ssize_t xmb_iovec_writev(int fd, const struct xmb_multibuf *mb,
				 size_t off, size_t n);

/*
 * Fill the bytes at off and behind it, up to n and to the end of the data, by
 * readv(2); 0: end of the file, or nothing to fill.
 */
XMB_API ssize_t xmb_iovec_readv(int fd, struct xmb_multibuf *mb, size_t off,
				size_t n);

/*
 * Make the empty mb of the cnt pieces of the caller's memory, in order; those
 * of no bytes are left out.  free_fn (NULL: nothing) is called once for each
 * other piece, when its last chunk was released.
 * As xmb_extbuf_attach(): every piece counts as a domain of the 255.
 */
XMB_API int xmb_iovec_attach(struct xmb_cache *cache, const struct iovec *iov,
			     uint32_t cnt,
			     void (*free_fn)(void *arg, void *mem, size_t len),
			     void *arg, struct xmb_multibuf *mb);

#endif /* XMBUF_INTEROP_IOVEC_H */
