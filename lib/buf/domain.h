/* SPDX-License-Identifier: BSD-2-Clause */
#ifndef XMBUF_BUF_DOMAIN_H
#define XMBUF_BUF_DOMAIN_H

#include "base/base.h"

#include <stdatomic.h>

/*
 * domain: memory cut into regions of equal length, and who has each region.
 *
 *      base    +----------+----------+----------+----------+
 *              | region 0 | region 1 | region 2 | ...      |  region_len each
 *              +----------+----------+----------+----------+
 *      words   [ state:8 | who:8 | gen:16 ]  one frame word a region
 *      trackers[ owners, gen | link | slot 0..4 ]  read only when split
 *
 * A domain is a pool's UMEM (region = frame, see pool.h) or a span of the
 * caller's memory (see extbuf.h).  A chunk names its domain by a number that
 * is private to the process: 1..255, 0 = none, so that a zeroed chunk is
 * empty.  The side arrays hold offsets only and may lie in shared memory.
 *
 * The frame word says where a region is.  Its generation rises at every
 * release and at every first split; an exclusive chunk carries the generation
 * under which it was made, so a stale copy of a handle is found even when the
 * region has a new owner.
 *
 * Units      Offsets and lengths in bytes from the start of a region.
 * Ownership  The table holds pointers to domains that pool or extbuf own.
 * Threads    Adding and removing domains takes a lock; looking one up does
 *            not.  A domain must outlive its chunks.
 */

enum xmb_frame_state {
	XMB_FRAME_FREE, /* in the pool or in a cache */
	XMB_FRAME_FILL, /* the kernel may write it: fill ring, RX ring */
	XMB_FRAME_APP,	/* chunks of it are held by the application */
	XMB_FRAME_CHAN, /* granted to another process */
	XMB_FRAME_TX,	/* the kernel may read it: TX ring to completion */
	XMB_FRAME_HELD, /* a closing queue had it; not safe to touch yet */
	XMB_FRAME_STATE_CNT
};

/* In the frame word's state byte: the frame carries a cookie (cookie.h). */
#define XMB_FRAME_COOKIE 0x80u

/* Chunks that can share a region at a time. */
#define XMB_TRACKER_SLOTS 5

/* Longest region: a slot's word holds start and end in 16 bits each. */
#define XMB_REGION_LEN_MAX 32768u

/*
 * Owner ids in a tracker: processes 1..XMB_OWNER_MAX, who takes back what a
 * dead one had, then sockets that transmit.
 */
#define XMB_OWNER_MAX 126u
#define XMB_OWNER_SUP 127u
#define XMB_OWNER_TX(who) (128u + (who))

/* This process's id; read where a region is split, not for whole frames. */
#define XMB_OWNER_SELF ((uint32_t)xmb_owner_self)
XMB_API extern uint8_t xmb_owner_self;

/* Highest id of a socket (`who` of FILL, TX and HELD). */
#define XMB_WHO_MAX 126u

struct xmb_tracker {
	_Atomic uint64_t state; /* gen:24 | owner[5]:8, 0 = nobody */
	_Atomic uint32_t link;	/* free: the next of the pool; else a cookie */
	_Atomic uint32_t slot[XMB_TRACKER_SLOTS]; /* start:16 | end:16 */
};

_Static_assert(sizeof(struct xmb_tracker) == 32, "shared layout");

struct xmb_cache;
struct xmb_domain;
struct xmb_spill;

/* Take back a region whose last chunk was released; its word is FREE. */
typedef void xmb_domain_release_fn(struct xmb_domain *domain, uint32_t region,
				   struct xmb_cache *cache);

struct xmb_domain {
	uint8_t *base;
	struct xmb_tracker *trackers;
	_Atomic uint32_t *words;
	struct xmb_spill *spills; /* NULL unless the domain is a pool's */
	uint32_t region_len;
	uint32_t region_cnt;
	uint32_t last_len; /* bytes of the last region, <= region_len */
	uint8_t id;	   /* its place in the table */
	uint64_t inverse;  /* 2^64 / region_len, rounded up; add() sets it */
	xmb_domain_release_fn *release;
};

XMB_API extern struct xmb_domain *xmb_domain_table[256];

/*
 * Be process id among those that share pools, before this process has any
 * domain; 1 if this is never called.  An id is used again only when all that
 * its dead process had was reclaimed (reclaim.h).
 * -EINVAL: id is not 1..XMB_OWNER_MAX.  -EBUSY: a domain exists.
 */
XMB_API int xmb_domain_set_owner(uint32_t id);

/*
 * Enter domain in the table and set its id.
 * -ENOSPC: 255 domains exist.
 */
XMB_API int xmb_domain_add(struct xmb_domain *domain);

/* Take domain out of the table; its id may be used again at once. */
XMB_API void xmb_domain_remove(struct xmb_domain *domain);

static inline uint32_t xmb_domain_region_len(const struct xmb_domain *domain,
					     uint32_t region)
{
	return region + 1 == domain->region_cnt ? domain->last_len
						: domain->region_len;
}

/*
 * Which region the byte addr of the area is in; past the last one for any addr
 * that is outside.  A product in place of a division, which a received packet
 * would wait for: exact below 2^64 / region_len, and larger than any region's
 * number from there on.
 */
static inline uint64_t xmb_domain_region_at(const struct xmb_domain *domain,
					    uint64_t addr)
{
#ifdef __SIZEOF_INT128__
	__extension__ typedef unsigned __int128 xmb_wide;

	return (uint64_t)((xmb_wide)addr * domain->inverse >> 64);
#else
	return addr / domain->region_len;
#endif
}

static inline uint8_t *xmb_domain_data(const struct xmb_domain *domain,
				       uint32_t region, uint32_t off)
{
	return domain->base + (uint64_t)region * domain->region_len + off;
}

static inline uint32_t xmb_frame_word(enum xmb_frame_state state, uint32_t who,
				      uint32_t gen)
{
	return (uint32_t)state | who << 8 | gen << 16;
}

static inline enum xmb_frame_state xmb_frame_word_state(uint32_t word)
{
	return (enum xmb_frame_state)(word & 0x7f);
}

static inline uint32_t xmb_frame_word_who(uint32_t word)
{
	return word >> 8 & 0xff;
}

static inline uint32_t xmb_frame_word_gen(uint32_t word)
{
	return word >> 16;
}

static inline uint32_t xmb_frame_load(const struct xmb_domain *domain,
				      uint32_t region)
{
	return atomic_load_explicit(&domain->words[region],
				    memory_order_relaxed);
}

/*
 * Only the holder of a region writes its word, and who hands it on publishes
 * it by a release of the ring or stack it goes through: relaxed is enough.
 */
static inline void xmb_frame_store(const struct xmb_domain *domain,
				   uint32_t region, uint32_t word)
{
	atomic_store_explicit(&domain->words[region], word,
			      memory_order_relaxed);
}

/* How a frame came home. */
enum xmb_home {
	XMB_HOME_RELEASED,
	XMB_HOME_DROPPED, /* xmb_multibuf_drop(), or its socket was closed */
	XMB_HOME_SENT,
};

/* A frame with a cookie came home: tell its box (cookie.h). */
XMB_API void xmb_cookie_frame_home(const struct xmb_domain *domain,
				   uint32_t region, enum xmb_home how);

/* "free", "fill", "app", "chan", "tx", "held" */
XMB_API const char *xmb_frame_state_name(enum xmb_frame_state state);

/*
 * Abort with the region's history: what the handle says, what the frame word
 * says, and which mistakes lead there.
 */
XMB_API _Noreturn void xmb_frame_panic(const struct xmb_domain *domain,
				       uint32_t region, uint32_t handle_gen,
				       const char *doing) __attribute__((cold));

#endif /* XMBUF_BUF_DOMAIN_H */
