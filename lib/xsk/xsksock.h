/* SPDX-License-Identifier: BSD-2-Clause */
#ifndef XMBUF_XSK_XSKSOCK_H
#define XMBUF_XSK_XSKSOCK_H

#include "sock/socket.h"
#include "xsk/xsk.h"

/*
 * xsksock: an AF_XDP socket as an xmb_socket.
 *
 *      recv()      reap, refill from the cache, receive
 *      send()      post; when the TX ring is full, reap and post again
 *      flush()     kick, reap
 *      exchange()  empties -> cache -> fill ring, then as recv()
 *
 * A closed loop runs on an empty pool: the frames that exchange() is handed go
 * to this cache, and refill() takes from the cache first, so that they wait for
 * packets before it looks for some.  It leaves them in the cache only while 16
 * frames or more, or as many as the fill level asks for, wait already.
 *
 * Cookies come back as sent when the completion of their last frame was taken
 * off the ring, which recv(), flush() and exchange() do: flush until reap()
 * has them.
 *
 * Ownership  The xsk, the cache and the box stay the caller's.
 * Threads    One: that of the xsk's four rings and of the cache.
 * Errors     As xmb_xsk_send() and xmb_xsk_kick().
 * Kernel     As xsk.h.
 */

struct xmb_xsk_socket {
	struct xmb_socket sock;
	struct xmb_xsk *xsk;
};

/* Make a socket of an open xsk; cookies: NULL if none are used. */
XMB_API void xmb_xsk_socket_init(struct xmb_xsk_socket *xsksock,
				 struct xmb_xsk *xsk, struct xmb_cache *cache,
				 struct xmb_cookie_box *cookies);

#endif /* XMBUF_XSK_XSKSOCK_H */
