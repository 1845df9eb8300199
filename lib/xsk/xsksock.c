/* SPDX-License-Identifier: BSD-2-Clause */
#include "xsk/xsksock.h"

#include "xsk/xsk_priv.h"

#include "base/clock.h"

static struct xmb_xsk *xsk_of(struct xmb_socket *sock)
{
	return ((struct xmb_xsk_socket *)sock)->xsk; /* sock is its first */
}

static uint32_t xsksock_recv(struct xmb_socket *sock, struct xmb_multibuf *mbs,
			     uint32_t cnt)
{
	struct xmb_xsk *xsk = xsk_of(sock);
	uint32_t n, left = xsk->rx.size; /* whatever the kernel's index says */

	xmb_xsk_reap(xsk, sock->cache);
	xmb_xsk_refill(xsk, sock->cache, xmb_clock_ns());
	/* It counts buffers: what it took may have been parts of a chain. */
	do {
		n = xmb_xsk_recv(xsk, sock->cache, mbs, cnt);
		left -= xmb_min_u32(left, cnt);
	} while (n == 0 && cnt > 0 && left > 0 && xmb_xsk_has_rx(xsk));
	return n;
}

static uint32_t xsksock_send(struct xmb_socket *sock, struct xmb_multibuf *mbs,
			     uint32_t cnt)
{
	struct xmb_xsk *xsk = xsk_of(sock);
	uint32_t done = xmb_xsk_send(xsk, sock->cache, mbs, cnt);

	if (done < cnt && xmb_xsk_reap(xsk, sock->cache))
		done += xmb_xsk_send(xsk, sock->cache, mbs + done, cnt - done);
	return done;
}

static int xsksock_flush(struct xmb_socket *sock)
{
	struct xmb_xsk *xsk = xsk_of(sock);
	int err = xmb_xsk_kick(xsk);

	xmb_xsk_reap(xsk, sock->cache);
	return err;
}

static uint32_t xsksock_exchange(struct xmb_socket *sock,
				 struct xmb_multibuf *empty, uint32_t empty_cnt,
				 struct xmb_multibuf *mbs, uint32_t cnt)
{
	xmb_multibuf_release_bulk(empty, empty_cnt, sock->cache);
	return xsksock_recv(sock, mbs, cnt);
}

static const struct xmb_socket_ops xsksock_ops = {
	.recv = xsksock_recv,
	.send = xsksock_send,
	.flush = xsksock_flush,
	.exchange = xsksock_exchange,
};

void xmb_xsk_socket_init(struct xmb_xsk_socket *xsksock, struct xmb_xsk *xsk,
			 struct xmb_cache *cache,
			 struct xmb_cookie_box *cookies)
{
	*xsksock = (struct xmb_xsk_socket){
		.sock = { .ops = &xsksock_ops,
			  .cache = cache,
			  .cookies = cookies },
		.xsk = xsk,
	};
}
