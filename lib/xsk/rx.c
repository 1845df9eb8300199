/* SPDX-License-Identifier: BSD-2-Clause */
#include "xsk/xsk_priv.h"

#include "base/clock.h"

#include <sys/socket.h>

enum {
	REFILL_MIN = 16,	    /* fewer are not worth a ring update */
	STARVED_CHECK_NS = 1000000, /* how often the kernel is asked */
};

/* Add a buffer to the chain that is being received. */
static void chain_add(struct xmb_xsk *xsk, struct xmb_cache *cache,
		      struct xmb_chunk *chunk)
{
	if (!xsk->open_is_broken &&
	    xmb_multibuf_push_back(&xsk->open, chunk, cache) == 0)
		return;
	if (!xsk->open_is_broken)
		xsk_count(xsk, XMB_XSK_RX_NO_SPILL, 1);
	xsk->open_is_broken = true;
	xmb_chunk_release(chunk, cache);
}

static void chain_break(struct xmb_xsk *xsk)
{
	xsk_count(xsk, XMB_XSK_RX_BAD_DESC, 1);
	if (!xsk->open_is_broken)
		xsk_count(xsk, XMB_XSK_RX_BROKEN, 1);
	xsk->open_is_broken = true;
}

/* The last buffer is in: true if the packet is whole and moved to mb. */
static bool chain_end(struct xmb_xsk *xsk, struct xmb_cache *cache,
		      struct xmb_multibuf *mb)
{
	bool is_whole = !xsk->open_is_broken;

	xsk->open_is_broken = false;
	if (!is_whole) {
		xmb_multibuf_release(&xsk->open, cache);
		return false;
	}
	*mb = xsk->open;
	xsk->open = (struct xmb_multibuf){ 0 };
	return true;
}

/* A descriptor that is part of a chain, or that names no frame of ours. */
static bool recv_slow(struct xmb_xsk *xsk, struct xmb_cache *cache,
		      const struct xdp_desc *desc, int err,
		      struct xmb_chunk *chunk, struct xmb_multibuf *mb)
{
	if (err)
		chain_break(xsk);
	else
		chain_add(xsk, cache, chunk);
	if (desc->options & XDP_PKT_CONTD)
		return false;
	if (!chain_end(xsk, cache, mb))
		return false;
	if (mb->cnt > 1)
		xsk_count(xsk, XMB_XSK_RX_CHAINS, 1);
	return true;
}

static bool is_in_chain(const struct xmb_xsk *xsk)
{
	return xsk->open_is_broken || !xmb_multibuf_is_empty(&xsk->open);
}

/*
 * How many buffers wait.  The kernel writes its index from another CPU, maybe a
 * far one, so it is read once a turn: what it said is what the level goes by.
 */
static uint32_t look(struct xmb_xsk *xsk)
{
	xsk->rx.cached_prod =
		__atomic_load_n(xsk->rx.producer, __ATOMIC_ACQUIRE);
	xsk->rx_depth = xmb_min_u32(xsk->rx.cached_prod - xsk->rx.cached_cons,
				    xsk->rx.size);
	xsk->has_looked = true;
	return xsk->rx_depth;
}

/*
 * The ring of the next burst is on its way while this one is handled.  Not its
 * packets: who does not read them would take their lines from the CPU that is
 * to write them again, which halves what a receiver on a far CPU gets.
 */
static void prefetch_descs(const struct xmb_xsk *xsk, uint32_t cnt)
{
	const uint32_t each = XMB_CACHE_LINE / sizeof(struct xdp_desc);

	for (uint32_t i = 0; i < cnt; i += each)
		__builtin_prefetch(xsk_ring_cons__rx_desc(
			&xsk->rx, xsk->rx.cached_cons + i));
}

uint32_t xmb_xsk_recv(struct xmb_xsk *xsk, struct xmb_cache *cache,
		      struct xmb_multibuf *mbs, uint32_t cnt)
{
	/* Copies, for the compiler knows that nothing in the loop is them. */
	const struct xmb_domain domain = xsk->umem->pool.domain;
	const struct xsk_ring_cons rx = xsk->rx;
	const uint32_t who = xsk->first->who, app = cache->who;
	uint32_t idx, got = 0, taken = 0, n;
	bool is_open = is_in_chain(xsk);
	uint64_t bytes = 0;

	XMB_ASSERT(cache->pool == &xsk->umem->pool);
	if (XMB_UNLIKELY(!xsk->rx.ring))
		return 0;
	n = xmb_min_u32(cnt, look(xsk));
	if (n == 0)
		return 0;
	idx = xsk->rx.cached_cons;
	xsk->rx.cached_cons += n;
	for (uint32_t i = 0; i < n; i++) {
		/* The kernel may write the ring: read each word once. */
		struct xdp_desc desc = *xsk_ring_cons__rx_desc(&rx, idx + i);
		struct xmb_multibuf *mb = &mbs[got];
		int err;

		*mb = (struct xmb_multibuf){ 0 };
		if (XMB_UNLIKELY(desc.addr >> XSK_UNALIGNED_BUF_OFFSET_SHIFT))
			desc.addr = xsk_flat_addr(xsk, desc.addr);
		err = xmb_handover_rx_excl(&domain, app, who, desc.addr,
					   desc.len, &mb->c[0]);
		taken += err == 0;
		if (XMB_LIKELY(!err && !desc.options && !is_open)) {
			mb->len = desc.len;
			mb->shape = XMB_MULTIBUF_SHAPE(1);
		} else {
			struct xmb_chunk chunk = mb->c[0];
			bool is_whole;

			mb->c[0] = (struct xmb_chunk){ 0 };
			is_whole =
				recv_slow(xsk, cache, &desc, err, &chunk, mb);
			is_open = is_in_chain(xsk);
			if (!is_whole)
				continue;
		}
		bytes += mb->len;
		got++;
	}
	xsk_show(xsk->rx.consumer, xsk->rx.cached_cons);
	prefetch_descs(xsk, xmb_min_u32(xsk->rx_depth - n, cnt));
	cache->app_cnt += taken;
	fill_cnt_set(xsk, count_get(&xsk->fill_cnt) - taken);
	xsk_count(xsk, XMB_XSK_RX_PACKETS, got);
	xsk_count(xsk, XMB_XSK_RX_BYTES, bytes);
	return got;
}

bool xmb_xsk_has_rx(const struct xmb_xsk *xsk)
{
	return xsk->rx.ring &&
	       __atomic_load_n(xsk->rx.producer, __ATOMIC_ACQUIRE) !=
		       xsk->rx.cached_cons;
}

/* Has the kernel dropped for want of frames since the last look? */
static bool is_starved(struct xmb_xsk *xsk, uint64_t now_ns)
{
	struct xdp_statistics stats;
	socklen_t len = sizeof(stats);
	uint64_t seen;

	if (now_ns < xsk->starved_check_ns)
		return false;
	xsk->starved_check_ns = now_ns + STARVED_CHECK_NS;
	if (getsockopt(xsk->fd, SOL_XDP, XDP_STATISTICS, &stats, &len))
		return false;
	seen = stats.rx_dropped + stats.rx_fill_ring_empty_descs;
	if (seen == xsk->starved_seen)
		return false;
	xsk->starved_seen = seen;
	return true;
}

static void adapt(struct xmb_xsk *xsk, uint64_t now_ns)
{
	/* Who refills without receiving has seen nothing since. */
	uint32_t own = xsk->has_looked ? xsk->rx_depth : rx_unread(xsk);
	uint32_t depth = own + xsk_sibs_unread(xsk);
	bool raised = xmb_level_poll(&xsk->level, depth);

	xsk->has_looked = false;
	/* Asking costs a system call: only while frames are all used up. */
	if (depth + REFILL_MIN >= xsk->level.level / 2 &&
	    is_starved(xsk, now_ns))
		raised |= xmb_level_starved(&xsk->level);
	if (raised)
		xsk_count(xsk, XMB_XSK_FILL_RAISED, 1);
	xmb_level_tick(&xsk->level, now_ns);
	count_set(&xsk->level_seen, xsk->level.level);
}

/* Write up to want frames to the ring, as far as it runs without a wrap. */
static uint32_t fill_run(struct xmb_xsk *xsk, struct xmb_cache *cache,
			 uint32_t want)
{
	uint32_t at = xsk->fill.cached_prod & xsk->fill.mask;
	uint32_t n = xmb_min_u32(want, xsk->fill.size - at);

	n = xmb_handover_fill(
		cache, xsk->who,
		(uint64_t *)xsk_ring_prod__fill_addr(&xsk->fill, at), n);
	xsk->fill.cached_prod += n;
	return n;
}

/*
 * Give the kernel up to want frames more than the have that it has: these may
 * all be in the fill ring still, and no more are, so that its index, which is
 * on a line that the kernel writes, need not be read.
 */
static void fill(struct xmb_xsk *xsk, struct xmb_cache *cache, uint32_t have,
		 uint32_t want)
{
	uint32_t n;

	want = xmb_min_u32(want, xsk->fill.size - have);
	n = fill_run(xsk, cache, want);
	if (n && n < want) /* the ring wrapped, or the pool is empty */
		n += fill_run(xsk, cache, want - n);
	if (n == 0)
		return;
	xsk_show(xsk->fill.producer, xsk->fill.cached_prod);
	fill_cnt_set(xsk, count_get(&xsk->fill_cnt) + n);
}

void xmb_xsk_refill(struct xmb_xsk *xsk, struct xmb_cache *cache,
		    uint64_t now_ns)
{
	uint32_t have = xsk_family_fill(xsk);

	if (XMB_UNLIKELY(!xsk->fill.ring || !xsk->rx.ring)) {
		xsk_rx_wake(xsk);
		return;
	}
	adapt(xsk, now_ns);
	if (have + REFILL_MIN <= xsk->level.level ||
	    have < xmb_min_u32(REFILL_MIN, xsk->level.level))
		fill(xsk, cache, have, xsk->level.level - have);
	xsk_rx_wake(xsk);
}

void xmb_xsk_refill_idle(struct xmb_xsk *xsk, struct xmb_cache *cache)
{
	uint32_t have = xsk_family_fill(xsk);

	if (have < xsk->level.max)
		fill(xsk, cache, have, xsk->level.max - have);
	xsk_rx_wake(xsk);
}

uint32_t xmb_xsk_fill_level(const struct xmb_xsk *xsk)
{
	return count_get(&xsk->level_seen);
}
