/* SPDX-License-Identifier: BSD-2-Clause */
#include "xsk/xsk_priv.h"

#include "base/clock.h"
#include "base/log.h"

#include <errno.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

enum {
	TX_BUDGET = 32,	    /* descriptors that a kick moves, of old */
	FILL_FRAGS_MAX = 6, /* 9000 bytes in frames of 2 KiB */
};

#define BUSY_WAIT_NS (2 * XMB_NS_PER_S)

const struct xmb_counter_desc xmb_xsk_counter_descs[XMB_XSK_COUNTER_CNT] = {
	XMB_XSK_COUNTERS(XMB_COUNTER_DESC)
};

int xsk_refuse(const struct xmb_xsk *xsk, int err, const char *doing,
	       const char *advice)
{
	xmb_log(XMB_LOG_ERROR, "%s queue %u: %s: %s: %s", xsk->dev,
		xsk->opts.queue, doing, strerror(-err), advice);
	return err;
}

static int open_socket(struct xmb_xsk *xsk)
{
	int err;

	xsk->fd = socket(AF_XDP, SOCK_RAW | SOCK_CLOEXEC, 0);
	if (xsk->fd >= 0)
		return 0;
	err = -errno;
	if (err == -EPERM)
		return xsk_refuse(xsk, err, "open an AF_XDP socket",
				  "needs CAP_NET_RAW: run as root or grant it");
	if (err == -EAFNOSUPPORT)
		return xsk_refuse(xsk, -EOPNOTSUPP, "open an AF_XDP socket",
				  "this kernel has no CONFIG_XDP_SOCKETS");
	return xsk_refuse(xsk, err, "open an AF_XDP socket",
			  "raise the limit of open files if it is that");
}

/*
 * The kernel counts by user: what this user's other sockets and programs have
 * locked is in the limit too, and is not to be seen.
 */
static int refuse_memory(const struct xmb_xsk *xsk, int err)
{
	const size_t need_kib = (xsk->umem->reg_len + 1023) >> 10;
	struct rlimit limit = { 0 };
	char advice[512];
	bool is_soft;

	getrlimit(RLIMIT_MEMLOCK, &limit);
	is_soft = limit.rlim_max == RLIM_INFINITY ||
		  limit.rlim_max >= xsk->umem->reg_len;
	is_soft = is_soft && limit.rlim_cur != limit.rlim_max;
	snprintf(advice, sizeof(advice),
		 "each queue's socket locks the frames, %zu KiB, once more, "
		 "and RLIMIT_MEMLOCK is %llu KiB for all of them, and all "
		 "programs of this user, together: raise it to %zu KiB a "
		 "socket (%s), grant CAP_IPC_LOCK, or ask for fewer frames or "
		 "queues",
		 need_kib, (unsigned long long)limit.rlim_cur >> 10, need_kib,
		 is_soft ? "ulimit -l, the hard limit allows it"
			 : "the hard limit too: LimitMEMLOCK= of the service, "
			   "memlock in limits.conf, or ulimit -l as root");
	return xsk_refuse(xsk, err, "register the frames", advice);
}

/* More than may be locked even if nobody else locks a page: why wait? */
static bool is_beyond_limit(uint64_t len)
{
	struct rlimit limit;

	return getrlimit(RLIMIT_MEMLOCK, &limit) == 0 &&
	       limit.rlim_cur != RLIM_INFINITY && len > limit.rlim_cur;
}

/*
 * The locked pages of a socket that was just closed are given back late, as
 * its queue is: wait for both alike.
 */
static int register_umem(struct xmb_xsk *xsk, uint64_t deadline_ns)
{
	struct xdp_umem_reg reg = {
		.addr = (uintptr_t)xsk->umem->area,
		.len = xsk->umem->reg_len,
		.chunk_size = xsk->umem->pool.domain.region_len,
		.headroom = xsk->umem->headroom - XMB_UMEM_KERNEL_ROOM,
		.flags = xsk->umem->is_unaligned ? XDP_UMEM_UNALIGNED_CHUNK_FLAG
						 : 0,
	};

	while (setsockopt(xsk->fd, SOL_XDP, XDP_UMEM_REG, &reg, sizeof(reg))) {
		int err = -errno;

		if (err == -EINTR)
			continue;
		if (err == -EFAULT || err == -ENOMEM)
			return xsk_refuse(
				xsk, err, "register the frames",
				"not all of their pages are to be had: "
				"free memory; or was a piece's file "
				"shortened?");
		if (err != -ENOBUFS)
			return xsk_refuse(xsk, err, "register the frames",
					  "the kernel refused the area");
		if (is_beyond_limit(reg.len) || xmb_clock_ns() >= deadline_ns)
			return refuse_memory(xsk, err);
		usleep(XSK_RETRY_US);
	}
	return 0;
}

enum { FILL, COMP, RX, TX };

/* Entries of a ring; 0: the socket has none. */
static uint32_t ring_len(const struct xmb_xsk *xsk, int which)
{
	bool is_first = xsk->first == xsk;

	switch (which) {
	case FILL: /* a kernel that is given none does not bind */
		return !is_first ? 0 : xsk->opts.tx_only ? 1 : xsk->ring_cnt;
	case COMP:
		return is_first ? xsk->comp_cnt : 0;
	case RX:
		return xsk->opts.tx_only ? 0 : xsk->ring_cnt;
	default:
		return xsk->ring_cnt;
	}
}

static int size_rings(struct xmb_xsk *xsk)
{
	static const int which[] = { XDP_UMEM_FILL_RING,
				     XDP_UMEM_COMPLETION_RING, XDP_RX_RING,
				     XDP_TX_RING };

	for (int i = FILL; i <= TX; i++) {
		uint32_t cnt = ring_len(xsk, i);

		if (cnt &&
		    setsockopt(xsk->fd, SOL_XDP, which[i], &cnt, sizeof(cnt)))
			return xsk_refuse(xsk, -errno, "size the rings",
					  "ask for smaller ones");
	}
	return 0;
}

/* False if the kernel refused; true for a ring that is not to be. */
static bool map_ring(struct xmb_xsk *xsk, int which, uint64_t pgoff,
		     uint64_t desc, size_t entry_len)
{
	struct ring_map *map = &xsk->maps[which];
	void *addr;

	if (ring_len(xsk, which) == 0)
		return true;
	map->len = desc + ring_len(xsk, which) * entry_len;
	addr = mmap(NULL, map->len, PROT_READ | PROT_WRITE,
		    MAP_SHARED | MAP_POPULATE, xsk->fd, (off_t)pgoff);
	map->addr = addr == MAP_FAILED ? NULL : addr;
	return map->addr != NULL;
}

static void *at(void *base, uint64_t off)
{
	return (uint8_t *)base + off;
}

#define SET_RING(r, base, o, cnt)                                              \
	do {                                                                   \
		if (!(cnt))                                                    \
			break;                                                 \
		(r)->mask = (cnt)-1;                                           \
		(r)->size = (cnt);                                             \
		(r)->producer = at(base, (o).producer);                        \
		(r)->consumer = at(base, (o).consumer);                        \
		(r)->flags = at(base, (o).flags);                              \
		(r)->ring = at(base, (o).desc);                                \
		(r)->cached_prod = *(r)->producer;                             \
		(r)->cached_cons = *(r)->consumer;                             \
	} while (0)

static int map_rings(struct xmb_xsk *xsk)
{
	struct xdp_mmap_offsets off;
	socklen_t len = sizeof(off);

	if (getsockopt(xsk->fd, SOL_XDP, XDP_MMAP_OFFSETS, &off, &len))
		return xsk_refuse(
			xsk, -errno, "ask for the rings' layout",
			"Linux 5.4 is needed; try again if it is that");
	if (len != sizeof(off))
		return xsk_refuse(
			xsk, -EOPNOTSUPP, "ask for the rings' layout",
			"this kernel has no need_wakeup: 5.4 is needed");
	if (!map_ring(xsk, FILL, XDP_UMEM_PGOFF_FILL_RING, off.fr.desc,
		      sizeof(uint64_t)) ||
	    !map_ring(xsk, COMP, XDP_UMEM_PGOFF_COMPLETION_RING, off.cr.desc,
		      sizeof(uint64_t)) ||
	    !map_ring(xsk, RX, XDP_PGOFF_RX_RING, off.rx.desc,
		      sizeof(struct xdp_desc)) ||
	    !map_ring(xsk, TX, XDP_PGOFF_TX_RING, off.tx.desc,
		      sizeof(struct xdp_desc)))
		return xsk_refuse(xsk, -errno, "map the rings",
				  "free some memory");
	SET_RING(&xsk->fill, xsk->maps[FILL].addr, off.fr, ring_len(xsk, FILL));
	SET_RING(&xsk->comp, xsk->maps[COMP].addr, off.cr, ring_len(xsk, COMP));
	SET_RING(&xsk->rx, xsk->maps[RX].addr, off.rx, ring_len(xsk, RX));
	SET_RING(&xsk->tx, xsk->maps[TX].addr, off.tx, ring_len(xsk, TX));
	/* libxdp's producers keep the consumer a ring's length ahead. */
	xsk->fill.cached_cons += ring_len(xsk, FILL);
	xsk->tx.cached_cons += ring_len(xsk, TX);
	return 0;
}

/*
 * What may be in flight in copy mode is bounded by the socket's send buffer
 * too, and a kick moves 32 descriptors: raise both to the ring's worth.  A
 * kernel that refuses is only slower.
 */
static void raise_budgets(struct xmb_xsk *xsk)
{
	uint64_t frame_len =
		xmb_max_u32(xsk->umem->pool.domain.region_len, 4096);
	uint64_t want = xsk->ring_cnt * frame_len;
	int sndbuf = want < INT_MAX / 2 ? (int)want : INT_MAX / 2;
	uint32_t budget = xsk->ring_cnt;
	socklen_t len = sizeof(sndbuf);

	if (setsockopt(xsk->fd, SOL_SOCKET, SO_SNDBUFFORCE, &sndbuf,
		       sizeof(sndbuf)))
		setsockopt(xsk->fd, SOL_SOCKET, SO_SNDBUF, &sndbuf,
			   sizeof(sndbuf));
	if (!getsockopt(xsk->fd, SOL_SOCKET, SO_SNDBUF, &sndbuf, &len))
		xsk->mode.sndbuf = (uint32_t)sndbuf;
	xsk->mode.tx_budget = TX_BUDGET;
	if (!setsockopt(xsk->fd, SOL_XDP, XDP_MAX_TX_SKB_BUDGET, &budget,
			sizeof(budget)))
		xsk->mode.tx_budget = budget;
	else
		xsk->shows_late = true; /* until 6.17, as the option */
}

static uint32_t comp_cnt(const struct xmb_xsk *xsk)
{
	uint32_t cnt = xsk->ring_cnt;

	while (cnt < xsk->ring_cnt * (1 + xsk->opts.share_cnt))
		cnt *= 2;
	return cnt;
}

static uint32_t fill_max(const struct xmb_xsk *xsk)
{
	return xmb_min_u32(xmb_or_u32(xsk->opts.fill_max, xsk->ring_cnt),
			   xsk->ring_cnt);
}

/*
 * A pause costs packets, so the level is of packets as long as they may be; of
 * those that are longer than nearly all devices send, fewer.
 */
static uint32_t fill_base(const struct xmb_xsk *xsk)
{
	uint32_t room = xsk_data_room(xsk);
	uint32_t frag_cnt = (xsk->packet_max + room - 1) / room;

	frag_cnt = xmb_min_u32(frag_cnt, FILL_FRAGS_MAX);
	return xmb_or_u32(xsk->opts.fill_base, XMB_XSK_FILL_BASE * frag_cnt);
}

static int prefill(struct xmb_xsk *xsk, struct xmb_cache *cache)
{
	uint32_t need = xmb_or_u32(xsk->opts.fill_base, XMB_XSK_FILL_BASE);

	xmb_level_init(&xsk->level, fill_base(xsk), fill_max(xsk));
	need = xmb_min_u32(need, xsk->level.base);
	xmb_xsk_refill(xsk, cache, xmb_clock_ns());
	if (count_get(&xsk->fill_cnt) >= need)
		return 0;
	xmb_log(XMB_LOG_ERROR,
		"%s queue %u: %u frames are needed to receive, but only %u "
		"were free: ask for more frames",
		xsk->dev, xsk->opts.queue, need, count_get(&xsk->fill_cnt));
	return -ENOBUFS;
}

static int set_up(struct xmb_xsk *xsk, struct xmb_cache *cache)
{
	uint64_t deadline_ns =
		xmb_clock_ns() + xmb_or_u64(xsk->opts.wait_ns, BUSY_WAIT_NS);
	int err = xsk_share_check(xsk);

	if (!err)
		err = open_socket(xsk);
	if (!err && xsk->first == xsk)
		err = register_umem(xsk, deadline_ns);
	if (!err)
		err = size_rings(xsk);
	if (!err)
		err = map_rings(xsk);
	if (!err && xsk->first == xsk && !xsk->opts.tx_only)
		err = prefill(xsk, cache);
	if (!err)
		err = xsk_bind(xsk, deadline_ns);
	if (err)
		return err;
	raise_budgets(xsk);
	xsk_busy_set(xsk);
	xsk_share_join(xsk);
	if (!xsk->level.max)
		return 0;
	/* The driver's own ring is not ours to see: keep all of ours full. */
	if (xsk->mode.is_zc)
		xmb_level_init(&xsk->level, fill_max(xsk), fill_max(xsk));
	count_set(&xsk->level_seen, xsk->level.level);
	return 0;
}

/*
 * Take back what a socket that did not come to be has.  One that was bound may
 * have left frames with its device, which is waited for.
 */
static void give_up(struct xmb_xsk *xsk, struct xmb_cache *cache)
{
	uint64_t end_ns =
		xmb_clock_ns() + xmb_or_u64(xsk->opts.wait_ns, BUSY_WAIT_NS);

	xmb_xsk_close(xsk, cache);
	if (!xsk->is_bound) {
		xmb_umem_unhold(xsk->umem, cache, xsk->who);
		xsk->held = (struct xmb_handover_held){ 0 };
	}
	while (xmb_xsk_settle(xsk, cache) && xmb_clock_ns() < end_ns)
		usleep(XSK_RETRY_US);
	xmb_xsk_destroy(xsk);
}

int xmb_xsk_open(struct xmb_xsk **out, struct xmb_umem *umem,
		 struct xmb_cache *cache, const struct xmb_xsk_opts *opts)
{
	struct xmb_xsk *xsk;
	int err, who;

	if (opts->share_cnt > XMB_XSK_SHARE_MAX) {
		xmb_log(XMB_LOG_ERROR,
			"%s: %u more sockets on one queue: at most %u are "
			"possible",
			opts->dev, opts->share_cnt, XMB_XSK_SHARE_MAX);
		return -EINVAL;
	}
	if (opts->ring_cnt && !xmb_is_pow2(opts->ring_cnt)) {
		xmb_log(XMB_LOG_ERROR,
			"%s: a ring of %u entries: must be a "
			"power of two",
			opts->dev, opts->ring_cnt);
		return -EINVAL;
	}
	who = xmb_umem_id_get(umem);
	if (who < 0)
		return who;
	xsk = aligned_alloc(XMB_CACHE_LINE, sizeof(*xsk));
	if (!xsk) {
		xmb_umem_id_put(umem, (uint32_t)who);
		return -ENOMEM;
	}
	memset(xsk, 0, sizeof(*xsk));
	xsk->umem = umem;
	xsk->fd = -1;
	xsk->who = (uint32_t)who;
	xsk->opts = *opts;
	xsk->ring_cnt = xmb_or_u32(opts->ring_cnt, XMB_XSK_RING_CNT);
	xsk->tx_cap = xmb_or_u32(opts->tx_cap, xsk->ring_cnt);
	xsk->first = opts->share ? opts->share->first : xsk;
	xsk->comp_cnt = comp_cnt(xsk);
	xsk->packet_max = opts->mtu + XMB_XSK_L2_LEN;
	snprintf(xsk->dev, sizeof(xsk->dev), "%s", opts->dev);
	xsk->opts.dev = xsk->dev;

	err = set_up(xsk, cache);
	if (err) {
		give_up(xsk, cache);
		return err;
	}
	*out = xsk;
	return 0;
}

int xmb_xsk_fd(const struct xmb_xsk *xsk)
{
	return xsk->fd;
}

uint32_t xmb_xsk_queue(const struct xmb_xsk *xsk)
{
	return xsk->opts.queue;
}

struct xmb_xsk_mode xmb_xsk_mode(const struct xmb_xsk *xsk)
{
	return xsk->mode;
}
