/* SPDX-License-Identifier: BSD-2-Clause */
#include "sock/pipe.h"

#include <errno.h>
#include <stdlib.h>

static struct xmb_pipe_end *end_of(struct xmb_socket *sock)
{
	return (struct xmb_pipe_end *)sock; /* its first member */
}

/* Move what is shown to the front, and release the rest; returns how many. */
static uint32_t keep_packets(const struct xmb_pipe_end *end,
			     struct xmb_multibuf *mbs, uint32_t cnt)
{
	uint32_t kept = 0;

	for (uint32_t i = 0; i < cnt; i++) {
		if (XMB_LIKELY(mbs[i].len > 0) || end->wants_empty) {
			if (kept != i) {
				mbs[kept] = mbs[i];
				mbs[i] = (struct xmb_multibuf){ 0 };
			}
			kept++;
		} else {
			xmb_multibuf_release(&mbs[i], end->sock.cache);
		}
	}
	return kept;
}

static uint32_t pipe_recv(struct xmb_socket *sock, struct xmb_multibuf *mbs,
			  uint32_t cnt)
{
	struct xmb_pipe_end *end = end_of(sock);
	uint32_t n, kept, left = end->in.mask + 1; /* not what is to come */

	/* 0 is for who has read all: packets may wait behind empty ones. */
	do {
		n = xmb_ring_pop(&end->in, mbs, cnt);
		kept = keep_packets(end, mbs, n);
		left -= xmb_min_u32(left, n);
	} while (XMB_UNLIKELY(kept == 0) && n > 0 && left > 0);
	return kept;
}

static uint32_t pipe_send(struct xmb_socket *sock, struct xmb_multibuf *mbs,
			  uint32_t cnt)
{
	uint32_t n = xmb_ring_push(&end_of(sock)->out, mbs, cnt);

	for (uint32_t i = 0; i < n; i++)
		mbs[i] = (struct xmb_multibuf){ 0 };
	return n;
}

static int pipe_flush(struct xmb_socket *sock)
{
	(void)sock;
	return 0;
}

static uint32_t pipe_exchange(struct xmb_socket *sock,
			      struct xmb_multibuf *empty, uint32_t empty_cnt,
			      struct xmb_multibuf *mbs, uint32_t cnt)
{
	uint32_t sent;

	for (uint32_t i = 0; i < empty_cnt; i++)
		xmb_multibuf_truncate(&empty[i], 0, sock->cache);
	sent = pipe_send(sock, empty, empty_cnt);
	/* No room: the frames go home by this side's cache instead. */
	xmb_multibuf_release_bulk(empty + sent, empty_cnt - sent, sock->cache);
	return pipe_recv(sock, mbs, cnt);
}

static const struct xmb_socket_ops pipe_ops = {
	.recv = pipe_recv,
	.send = pipe_send,
	.flush = pipe_flush,
	.exchange = pipe_exchange,
};

int xmb_pipe_init(struct xmb_pipe *pipe, uint32_t cnt, struct xmb_cache *cache0,
		  struct xmb_cache *cache1)
{
	size_t len = xmb_ring_footprint(cnt, sizeof(struct xmb_multibuf));
	uint8_t *memory = aligned_alloc(XMB_CACHE_LINE, 2 * len);

	if (!memory)
		return -ENOMEM;
	*pipe = (struct xmb_pipe){ .memory = memory };
	for (int i = 0; i < 2; i++) {
		struct xmb_pipe_end *end = &pipe->end[i];

		xmb_ring_init(memory + (size_t)i * len, cnt,
			      sizeof(struct xmb_multibuf));
		end->sock.ops = &pipe_ops;
		end->sock.cache = i ? cache1 : cache0;
	}
	for (int i = 0; i < 2; i++) {
		xmb_ring_join(&pipe->end[i].out, memory + (size_t)i * len);
		xmb_ring_join(&pipe->end[1 - i].in, memory + (size_t)i * len);
	}
	return 0;
}

/* A packet that nobody received was lost; frames on their way home are not. */
static void fini_one(struct xmb_multibuf *mb, struct xmb_cache *cache)
{
	if (mb->len > 0)
		xmb_multibuf_drop(mb, cache);
	else
		xmb_multibuf_release(mb, cache);
}

void xmb_pipe_fini(struct xmb_pipe *pipe, struct xmb_cache *cache)
{
	struct xmb_multibuf mb;

	if (!pipe->memory)
		return;
	for (int i = 0; i < 2; i++)
		while (xmb_ring_pop(&pipe->end[i].in, &mb, 1))
			fini_one(&mb, cache);
	free(pipe->memory);
	*pipe = (struct xmb_pipe){ 0 };
}
