/* SPDX-License-Identifier: BSD-2-Clause */
#include "xsk/xsk_priv.h"

#include "view/flat.h"

#include <errno.h>

enum { REAP_MAX = 256 };

/* What a packet needs to be sent. */
struct shape {
	uint32_t frag_cnt; /* chunks with bytes in them */
	bool is_foreign;   /* some chunk is not of the socket's umem */
};

/* Of the umem's pool, or of one of its pieces. */
static bool is_ours(const struct xmb_xsk *xsk, uint8_t dom)
{
	return dom == xsk->umem->pool.domain.id ||
	       xmb_umem_piece_of(xsk->umem, dom);
}

static struct shape shape_of(const struct xmb_xsk *xsk,
			     const struct xmb_multibuf *mb)
{
	struct xmb_multibuf_iter iter;
	struct shape shape = { 0 };

	for (const struct xmb_chunk *c = xmb_multibuf_first(mb, &iter); c;
	     c = xmb_multibuf_next(&iter)) {
		shape.frag_cnt += c->len > 0;
		shape.is_foreign |= c->len > 0 && !is_ours(xsk, c->dom);
	}
	return shape;
}

/* Replace mb by a copy of it in frames of the umem. */
static int copy_in(struct xmb_cache *cache, struct xmb_multibuf *mb)
{
	struct xmb_multibuf copy = { 0 };
	struct xmb_multibuf_iter iter;
	size_t off = 0;
	int err = xmb_multibuf_alloc(cache, mb->len, 0, &copy);

	if (err)
		return err;
	for (const struct xmb_chunk *c = xmb_multibuf_first(mb, &iter); c;
	     c = xmb_multibuf_next(&iter))
		off += xmb_multibuf_copy_from(&copy, off, xmb_chunk_data(c),
					      c->len);
	copy.user = mb->user;
	xmb_counter_add(&cache->copies, 1);
	xmb_counter_add(&cache->copied_bytes, mb->len);
	xmb_multibuf_release(mb, cache);
	*mb = copy;
	return 0;
}

static void post(struct xmb_xsk *xsk, struct xmb_cache *cache,
		 struct xmb_chunk *chunk, uint32_t idx, bool is_last)
{
	struct xdp_desc *desc = xsk_ring_prod__tx_desc(&xsk->tx, idx);
	bool is_excl;

	desc->len = chunk->len;
	desc->options = is_last ? 0 : XDP_PKT_CONTD;
	if (XMB_LIKELY(chunk->dom == xsk->umem->pool.domain.id))
		desc->addr = xmb_handover_tx(cache, xsk->who, chunk, &is_excl);
	else
		desc->addr = xmb_umem_piece_tx(
			xmb_umem_piece_of(xsk->umem, chunk->dom), xsk->who,
			chunk, &is_excl);
	if (XMB_LIKELY(is_excl))
		count_set(&xsk->tx_frame_cnt,
			  count_get(&xsk->tx_frame_cnt) + 1);
	else
		count_set(&xsk->tx_slot_cnt, count_get(&xsk->tx_slot_cnt) + 1);
}

/* Post a chain whose descriptors are reserved from idx on. */
static void post_chain(struct xmb_xsk *xsk, struct xmb_cache *cache,
		       struct xmb_multibuf *mb, uint32_t idx, uint32_t frag_cnt)
{
	struct xmb_multibuf_iter iter;
	uint32_t left = frag_cnt;

	for (struct xmb_chunk *c = xmb_multibuf_first(mb, &iter); c;
	     c = xmb_multibuf_next(&iter))
		if (c->len > 0)
			post(xsk, cache, c, idx++, --left == 0);
	/* What is left in mb are chunks of 0 bytes and spill blocks. */
	mb->len = 0;
	xmb_multibuf_release(mb, cache);
}

static bool has_room(struct xmb_xsk *xsk, uint32_t frag_cnt)
{
	uint32_t inflight = frames_in_tx(xsk) + slots_in_tx(xsk);

	/* A completion must find room in its ring: hence also ring_cnt. */
	return inflight + frag_cnt <= xsk->tx_cap &&
	       inflight + frag_cnt <= xsk->ring_cnt &&
	       xsk_prod_nb_free(&xsk->tx, frag_cnt) >= frag_cnt;
}

static void drop(struct xmb_xsk *xsk, struct xmb_cache *cache,
		 struct xmb_multibuf *mb, enum xmb_xsk_counter why)
{
	xsk_count(xsk, why, 1);
	xmb_multibuf_drop(mb, cache);
}

/*
 * Pack a chain that is too long into fewer frames.
 * -EMSGSIZE: full ones would be too many as well.
 */
static int gather(struct xmb_xsk *xsk, struct xmb_cache *cache,
		  struct xmb_multibuf *mb)
{
	uint32_t room = xsk->umem->pool.domain.region_len;
	int err;

	if ((mb->len + room - 1) / room > xsk->mode.frags_max)
		return -EMSGSIZE;
	err = xmb_flat_gather(mb, 0, cache);
	if (!err)
		xsk_count(xsk, XMB_XSK_TX_GATHERED, 1);
	return err;
}

enum verdict { POSTED, DROPPED, NO_ROOM };

/* Whether a copy of the packet, which fills its frames, would find no room. */
static bool copy_has_no_room(struct xmb_xsk *xsk, const struct xmb_multibuf *mb)
{
	uint32_t frame_len = xsk->umem->pool.domain.region_len;
	uint32_t cnt = (mb->len + frame_len - 1) / frame_len;

	return cnt <= xsk->mode.frags_max && !has_room(xsk, cnt);
}

/* Everything but the one whole frame of our own. */
static enum verdict send_slow(struct xmb_xsk *xsk, struct xmb_cache *cache,
			      struct xmb_multibuf *mb)
{
	struct shape shape = shape_of(xsk, mb);
	uint32_t idx;
	int err;

	if (mb->len == 0) {
		drop(xsk, cache, mb, XMB_XSK_TX_EMPTY);
		return DROPPED;
	}
	if (mb->len > xsk->packet_max) {
		drop(xsk, cache, mb, XMB_XSK_TX_TOO_LONG);
		return DROPPED;
	}
	if (shape.is_foreign && xsk->opts.forbid_copy) {
		drop(xsk, cache, mb, XMB_XSK_TX_FOREIGN);
		return DROPPED;
	}
	/* What has to wait waits as it is: no copy is made of it yet. */
	if ((shape.is_foreign || shape.frag_cnt > xsk->mode.frags_max) &&
	    copy_has_no_room(xsk, mb))
		return NO_ROOM;
	if (shape.is_foreign) {
		err = copy_in(cache, mb);
		if (err) {
			drop(xsk, cache, mb, XMB_XSK_TX_NO_FRAMES);
			return DROPPED;
		}
		shape = shape_of(xsk, mb);
	}
	if (shape.frag_cnt > xsk->mode.frags_max) {
		err = gather(xsk, cache, mb);
		if (err) {
			drop(xsk, cache, mb,
			     err == -ENOBUFS ? XMB_XSK_TX_NO_FRAMES
					     : XMB_XSK_TX_TOO_MANY_FRAGS);
			return DROPPED;
		}
		shape = shape_of(xsk, mb);
	}
	if (!has_room(xsk, shape.frag_cnt))
		return NO_ROOM;
	idx = xsk->tx.cached_prod;
	xsk->tx.cached_prod += shape.frag_cnt;
	xsk_count(xsk, XMB_XSK_TX_BYTES, mb->len);
	post_chain(xsk, cache, mb, idx, shape.frag_cnt);
	return POSTED;
}

int xmb_xsk_check(const struct xmb_xsk *xsk, const struct xmb_multibuf *mb)
{
	struct shape shape = shape_of(xsk, mb);

	if (mb->len == 0)
		return -ENODATA;
	if (mb->len > xsk->packet_max)
		return -EMSGSIZE;
	if (shape.is_foreign)
		return xsk->opts.forbid_copy ? -EXDEV : 1;
	return shape.frag_cnt > xsk->mode.frags_max ? -E2BIG : 0;
}

/* One chunk of our own that is a whole frame: nearly every packet. */
static bool is_plain(const struct xmb_multibuf *mb, uint8_t dom,
		     uint32_t packet_max)
{
	return mb->shape == XMB_MULTIBUF_SHAPE(1) && mb->c[0].dom == dom &&
	       xmb_chunk_is_excl(&mb->c[0]) && mb->len > 0 &&
	       mb->len <= packet_max;
}

/* Packets of one buffer that fit now, up to want. */
static uint32_t room_for(struct xmb_xsk *xsk, uint32_t want)
{
	uint32_t inflight = xmb_xsk_tx_inflight(xsk);
	uint32_t most = xmb_min_u32(xsk->tx_cap, xsk->ring_cnt);

	if (inflight >= most)
		return 0;
	want = xmb_min_u32(want, most - inflight);
	return xmb_min_u32(want, xsk_prod_nb_free(&xsk->tx, want));
}

/* Post plain packets from the front; returns how many. */
static uint32_t send_plain(struct xmb_xsk *xsk, struct xmb_cache *cache,
			   struct xmb_multibuf *mbs, uint32_t cnt)
{
	/* Copies, as in recv(). */
	const struct xmb_domain domain = xsk->umem->pool.domain;
	struct xsk_ring_prod tx = xsk->tx;
	const uint32_t who = xsk->who, packet_max = xsk->packet_max;
	uint32_t room = room_for(xsk, cnt), idx = tx.cached_prod, n;
	uint64_t bytes = 0;

	for (n = 0; n < room && is_plain(&mbs[n], domain.id, packet_max); n++) {
		struct xdp_desc *desc = xsk_ring_prod__tx_desc(&tx, idx + n);

		desc->len = mbs[n].len;
		desc->options = 0;
		desc->addr = xmb_handover_tx_excl(&domain, who, &mbs[n].c[0]);
		bytes += mbs[n].len;
		xmb_multibuf_forget(&mbs[n]);
	}
	if (n == 0)
		return 0;
	cache->app_cnt -= n;
	xsk->tx.cached_prod += n;
	count_set(&xsk->tx_frame_cnt, count_get(&xsk->tx_frame_cnt) + n);
	xsk_count(xsk, XMB_XSK_TX_BYTES, bytes);
	return n;
}

uint32_t xmb_xsk_send(struct xmb_xsk *xsk, struct xmb_cache *cache,
		      struct xmb_multibuf *mbs, uint32_t cnt)
{
	uint32_t posted = 0, i = 0;

	XMB_ASSERT(cache->pool == &xsk->umem->pool);
	while (i < cnt) {
		uint32_t n = send_plain(xsk, cache, mbs + i, cnt - i);
		enum verdict verdict;

		posted += n;
		i += n;
		if (i == cnt)
			break;
		verdict = send_slow(xsk, cache, &mbs[i]);
		if (verdict == NO_ROOM)
			break;
		posted += verdict == POSTED;
		i++;
	}
	if (posted) {
		xsk_show(xsk->tx.producer, xsk->tx.cached_prod);
		xsk_count(xsk, XMB_XSK_TX_PACKETS, posted);
	}
	return i;
}

void xmb_xsk_drop_full(struct xmb_xsk *xsk, struct xmb_cache *cache,
		       struct xmb_multibuf *mbs, uint32_t cnt)
{
	xsk_count(xsk, XMB_XSK_TX_FULL, cnt);
	xmb_multibuf_drop_bulk(mbs, cnt, cache);
}

/* An address in the pool, or in a piece. */
int xsk_complete_at(struct xmb_xsk *xsk, struct xmb_cache *cache, uint64_t addr)
{
	int got = xmb_handover_complete(cache, xsk->who, addr);

	if (XMB_UNLIKELY(got < 0 && xsk->umem->piece_cnt))
		got = xmb_umem_piece_complete(xsk->umem, cache, xsk->who, addr);
	return got;
}

/*
 * Copy mode keeps the first address of a packet in a pointer whose lowest bit
 * is a mark, so an odd one comes back as the even one before it (seen on
 * 6.18).  It is looked for where the address itself names nothing; a neighbour
 * of one byte that is in flight too is taken first, and its own completion
 * then finds this one.
 *
 * In unaligned mode we post plain addresses and get them back so; a kernel that
 * names base and offset means the same byte.
 */
static int complete_one(struct xmb_xsk *xsk, struct xmb_cache *cache,
			uint64_t addr)
{
	int got = xsk_complete_at(xsk, cache, addr);

	if (XMB_LIKELY(got >= 0))
		return got;
	if (addr != xsk_flat_addr(xsk, addr)) {
		addr = xsk_flat_addr(xsk, addr);
		got = xsk_complete_at(xsk, cache, addr);
	}
	if (got < 0 && !xsk->mode.is_zc && !(addr & 1))
		got = xsk_complete_at(xsk, cache, addr | 1);
	return got;
}

uint32_t xmb_xsk_reap(struct xmb_xsk *xsk, struct xmb_cache *cache)
{
	const struct xmb_domain domain = xsk->umem->pool.domain;
	const struct xsk_ring_cons comp = xsk->comp;
	const uint32_t who = xsk->who;
	const bool is_alone = xsk->sib_cnt == 0;
	uint32_t idx, frames = 0, slots = 0, others = 0, n;

	XMB_ASSERT(cache->pool == &xsk->umem->pool);
	/* A sibling's completions come by the ring of the first. */
	if (XMB_UNLIKELY(!xsk->comp.ring))
		return 0;
	n = xsk_ring_cons__peek(&xsk->comp, REAP_MAX, &idx);
	if (n == 0)
		return 0;
	for (uint32_t i = 0; i < n; i++) {
		uint64_t addr = *xsk_ring_cons__comp_addr(&comp, idx + i);
		int got;

		if (XMB_LIKELY(is_alone &&
			       xmb_handover_complete_plain(&domain, cache, who,
							   addr))) {
			frames++;
			continue;
		}
		got = is_alone ? complete_one(xsk, cache, addr)
			       : xsk_complete_shared(xsk, cache, addr);

		frames += got == COMPLETED_FRAME;
		slots += got == COMPLETED_SLOT;
		others += got == COMPLETED_SIBLING;
	}
	xsk_show(xsk->comp.consumer, xsk->comp.cached_cons);
	count_done(xsk, frames, slots);
	xsk_count(xsk, XMB_XSK_TX_COMPLETED, frames + slots);
	if (XMB_UNLIKELY(frames + slots + others < n))
		xsk_count(xsk, XMB_XSK_COMP_UNKNOWN,
			  n - frames - slots - others);
	return n;
}

uint32_t xmb_xsk_tx_waiting(const struct xmb_xsk *xsk)
{
	return xsk->tx.cached_prod -
	       __atomic_load_n(xsk->tx.consumer, __ATOMIC_ACQUIRE);
}

uint32_t xmb_xsk_tx_inflight(const struct xmb_xsk *xsk)
{
	return frames_in_tx(xsk) + slots_in_tx(xsk);
}
