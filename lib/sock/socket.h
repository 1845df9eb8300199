/* SPDX-License-Identifier: BSD-2-Clause */
#ifndef XMBUF_SOCK_SOCKET_H
#define XMBUF_SOCK_SOCKET_H

#include "base/base.h"
#include "buf/cookie.h"
#include "buf/multibuf.h"

/*
 * socket: whatever sends and receives bursts of multibufs.
 *
 *      an AF_XDP socket (xsk/xsksock.h), an end of a pipe to another thread
 *      (sock/pipe.h): a handler does not know where its packets come from.
 *
 * Ownership  send() and exchange() consume from the front what they count;
 *            recv() fills empty multibufs.
 * Threads    One at a time for each socket, with the socket's cache.
 * Errors     Bursts say how many were done; flush() is 0 or negative errno.
 */

struct xmb_socket;

struct xmb_socket_ops {
	uint32_t (*recv)(struct xmb_socket *sock, struct xmb_multibuf *mbs,
			 uint32_t cnt);
	uint32_t (*send)(struct xmb_socket *sock, struct xmb_multibuf *mbs,
			 uint32_t cnt);
	int (*flush)(struct xmb_socket *sock);
	uint32_t (*exchange)(struct xmb_socket *sock,
			     struct xmb_multibuf *empty, uint32_t empty_cnt,
			     struct xmb_multibuf *mbs, uint32_t cnt);
};

struct xmb_socket {
	const struct xmb_socket_ops *ops;
	struct xmb_cache *cache;	/* the allocator of this socket */
	struct xmb_cookie_box *cookies; /* NULL: none asked for */
};

/*
 * Receive up to cnt packets into the empty mbs; returns how many.  0 of more
 * than 0: there was none.
 */
static inline uint32_t xmb_socket_recv(struct xmb_socket *sock,
				       struct xmb_multibuf *mbs, uint32_t cnt)
{
	return sock->ops->recv(sock, mbs, cnt);
}

/* Hand over packets from the front of mbs; returns how many were consumed. */
static inline uint32_t xmb_socket_send(struct xmb_socket *sock,
				       struct xmb_multibuf *mbs, uint32_t cnt)
{
	return sock->ops->send(sock, mbs, cnt);
}

/*
 * Make the other side see, and work on, what was sent.
 * -EAGAIN: some waits.  -ENETDOWN, -ENXIO: see xmb_xsk_kick().
 */
static inline int xmb_socket_flush(struct xmb_socket *sock)
{
	return sock->ops->flush(sock);
}

/*
 * Take cookies whose last frame came home, of multibufs that were given one in
 * the box of this socket; returns how many.
 */
static inline uint32_t xmb_socket_reap(struct xmb_socket *sock,
				       struct xmb_completion *done,
				       uint32_t cnt)
{
	return sock->cookies ? xmb_cookie_reap(sock->cookies, done, cnt) : 0;
}

/*
 * Receive up to cnt packets, handing in multibufs whose bytes nobody needs:
 * their frames refill what is taken, without the pool, so that a closed loop
 * runs on an empty one.  All of the empty_cnt are consumed.
 */
static inline uint32_t
xmb_socket_exchange(struct xmb_socket *sock, struct xmb_multibuf *empty,
		    uint32_t empty_cnt, struct xmb_multibuf *mbs, uint32_t cnt)
{
	return sock->ops->exchange(sock, empty, empty_cnt, mbs, cnt);
}

#endif /* XMBUF_SOCK_SOCKET_H */
