/* SPDX-License-Identifier: BSD-2-Clause */
#ifndef XMBUF_SOCK_PIPE_H
#define XMBUF_SOCK_PIPE_H

#include "ring/ring.h"
#include "sock/socket.h"

/*
 * pipe: two sockets back to back, for two threads of a process.
 *
 *      thread 1 [ end 0 ] ===== ring of multibufs ====> [ end 1 ] thread 2
 *               [       ] <==== ring of multibufs ===== [       ]
 *
 * A multibuf moves by value, in 64 bytes; its frames stay where they are.  A
 * multibuf of no bytes carries no packet: its frames, if it has any, go to the
 * receiver's cache (this is how exchange() gives frames back), and recv() does
 * not show it, but see wants_empty: it reads on until it has a packet, or there
 * is nothing more.
 *
 * Sleeping and waking is the caller's: a pipe has no fd.  flush() does nothing.
 *
 * Units      cnt counts multibufs, a power of two.
 * Ownership  init() allocates the rings, fini() releases what is still in them
 *            into the given cache: packets are dropped.
 * Threads    Each end belongs to one thread at a time.
 * Errors     -ENOMEM.
 */

struct xmb_pipe_end {
	struct xmb_socket sock;
	struct xmb_ring in, out;
	/* recv() shows multibufs of no bytes too: a mark that travels. */
	bool wants_empty;
};

struct xmb_pipe {
	struct xmb_pipe_end end[2];
	void *memory;
};

/* -ENOMEM: no memory for the rings. */
XMB_API int xmb_pipe_init(struct xmb_pipe *pipe, uint32_t cnt,
			  struct xmb_cache *cache0, struct xmb_cache *cache1);

XMB_API void xmb_pipe_fini(struct xmb_pipe *pipe, struct xmb_cache *cache);

/* Multibufs that wait to be received at this end. */
static inline uint32_t xmb_pipe_waiting(const struct xmb_pipe_end *end)
{
	return xmb_ring_cnt(&end->in);
}

/* Multibufs that the other end has not received yet. */
static inline uint32_t xmb_pipe_unread(const struct xmb_pipe_end *end)
{
	return xmb_ring_cnt(&end->out);
}

/* Room for that many more, up to want. */
static inline uint32_t xmb_pipe_room(struct xmb_pipe_end *end, uint32_t want)
{
	uint32_t idx;

	return xmb_ring_reserve(&end->out, want, &idx);
}

#endif /* XMBUF_SOCK_PIPE_H */
