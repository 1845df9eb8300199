/* SPDX-License-Identifier: BSD-2-Clause */
#include "umem/umem.h"

#include "base/log.h"
#include "umem/area_priv.h"
#include "umem/place.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

enum { FRAME_CNT_MAX = 1 << 24 };

/*
 * Mapping promises nothing: the kernel would take page after page when a
 * socket registers them, and kill some process when there are no more.
 */
static bool exceeds_machine(size_t len)
{
	long page_cnt = sysconf(_SC_PHYS_PAGES);

	return page_cnt > 0 &&
	       len / (size_t)sysconf(_SC_PAGESIZE) >= (size_t)page_cnt;
}

static int map_side(struct xmb_umem *umem, const struct xmb_pool_opts *pool)
{
	umem->side_len = xmb_align_up(xmb_pool_footprint(pool), 4096);
	umem->side = mmap(NULL, umem->side_len, PROT_READ | PROT_WRITE,
			  MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	if (umem->side == MAP_FAILED) {
		umem->side = NULL;
		xmb_log(XMB_LOG_ERROR,
			"cannot map %zu KiB for the accounts of %u frames: %s: "
			"ask for fewer frames or free memory",
			umem->side_len >> 10, pool->frame_cnt, strerror(errno));
		return -ENOMEM;
	}
	return 0;
}

static int map_all(struct xmb_umem *umem, const struct xmb_umem_opts *opts,
		   const struct xmb_pool_opts *pool, uint32_t own_cnt)
{
	size_t len = (size_t)pool->frame_len * own_cnt;
	int err = -ENOMEM;

	if (!exceeds_machine(len))
		err = xmb_area_map(umem, opts, xmb_align_up(len, XMB_HUGE_LEN));
	/* Which piece lies in the wrong place was said. */
	if (err && err != -EINVAL)
		xmb_log(XMB_LOG_ERROR,
			"cannot map %zu MiB for %u frames of %u bytes: %s: %s",
			len >> 20, own_cnt, pool->frame_len, strerror(-err),
			err == -EMFILE || err == -ENFILE
				? "the frames are a file: raise the limit of "
				  "open files (ulimit -n)"
				: "ask for fewer frames or free memory");
	return err;
}

static const char *kind_name(enum xmb_place_kind kind)
{
	return kind == XMB_PLACE_NODE	  ? "on one node"
	       : kind == XMB_PLACE_SPREAD ? "spread over nodes"
					  : "anywhere";
}

/* Where its own pages lie; whose memory a piece is has placed it. */
static void place_own(struct xmb_umem *umem, const struct xmb_umem_opts *opts,
		      size_t len)
{
	struct xmb_topology topology;
	struct xmb_place place;
	int err = 0;

	if (len == 0 || opts->dev_cnt == 0 ||
	    xmb_topology_read(&topology, NULL))
		return;
	place = xmb_umem_place(&topology, opts->dev_nodes, opts->dev_cnt);
	err = xmb_umem_place_apply(umem->area, len, &place);
	if (err)
		xmb_log(XMB_LOG_WARN,
			"packet memory was to lie %s (nodes %#llx: %s), but "
			"the kernel answered: %s; it lies anywhere",
			kind_name(place.kind), (unsigned long long)place.nodes,
			place.why, strerror(-err));
	else
		xmb_log(place.kind == XMB_PLACE_ANY ? XMB_LOG_DEBUG
						    : XMB_LOG_INFO,
			"packet memory lies %s (nodes %#llx): %s",
			kind_name(place.kind), (unsigned long long)place.nodes,
			place.why);
}

static void unmap_all(struct xmb_umem *umem)
{
	for (uint32_t i = 0; i < umem->piece_cnt; i++)
		xmb_piece_fini(&umem->pieces[i]);
	if (umem->side)
		munmap(umem->side, umem->side_len);
	xmb_area_unmap(umem);
	free(umem->pieces);
}

/* All of the area in hugepages: no frame but the cut ones lies across pages. */
static bool is_contig(const struct xmb_umem *umem)
{
	if (umem->memfd >= 0 && !umem->is_huge)
		return false;
	for (uint32_t i = 0; i < umem->piece_cnt; i++)
		if (umem->pieces[i].page_len < XMB_HUGE_LEN)
			return false;
	return true;
}

/* Take the frames that lie across two hugepages out of the pool. */
static int keep_cut_frames(struct xmb_umem *umem)
{
	const struct xmb_domain *domain = &umem->pool.domain;
	uint32_t *good = malloc(sizeof(*good) * domain->region_cnt), cnt = 0;
	struct xmb_cache cache;

	if (!good)
		return -ENOMEM;
	xmb_cache_init(&cache, &umem->pool, 1);
	while (xmb_cache_fetch(&cache, XMB_CACHE_MAX, true)) {
		while (cache.cnt) {
			uint32_t i = cache.frames[--cache.cnt];
			uint64_t addr = (uint64_t)i * domain->region_len;

			if (!xmb_area_is_cut(addr, domain->region_len)) {
				good[cnt++] = i;
				continue;
			}
			xmb_frame_store(domain, i,
					xmb_frame_word(XMB_FRAME_HELD, 0, 0));
			umem->kept_cnt++;
		}
	}
	while (cnt)
		xmb_cache_put(&cache, &umem->pool.domain, good[--cnt]);
	xmb_cache_fini(&cache);
	free(good);
	return 0;
}

static int make_domains(struct xmb_umem *umem, const struct xmb_umem_opts *opts,
			const struct xmb_pool_opts *pool)
{
	int err = map_side(umem, pool);

	if (!err)
		err = xmb_pool_init(&umem->pool, umem->side, pool);
	if (err)
		return err;
	umem->is_contig = is_contig(umem);
	if (umem->is_unaligned && umem->is_contig)
		err = keep_cut_frames(umem);
	for (uint32_t i = 0; i < umem->piece_cnt && !err; i++)
		if (!opts->pieces[i].is_pool)
			err = xmb_piece_init(&umem->pieces[i], pool->frame_len);
	if (err)
		xmb_pool_fini(&umem->pool);
	return err;
}

static uint32_t own_cnt_of(const struct xmb_umem_opts *opts)
{
	bool has_own = opts->frame_cnt || opts->piece_cnt == 0 ||
		       !opts->pieces[0].is_pool;

	return has_own ? xmb_or_u32(opts->frame_cnt, XMB_UMEM_FRAME_CNT) : 0;
}

/* The own part is mapped in units that hugepages fit. */
static size_t own_len_of(const struct xmb_umem_opts *opts)
{
	return xmb_align_up(
		(size_t)xmb_or_u32(opts->frame_len, XMB_UMEM_FRAME_LEN) *
			own_cnt_of(opts),
		XMB_HUGE_LEN);
}

uint32_t xmb_umem_pool_cnt(const struct xmb_umem_opts *opts)
{
	size_t own_len = own_len_of(opts), len = own_len;

	for (uint32_t i = 0; i < opts->piece_cnt; i++)
		len += opts->pieces[i].is_pool ? opts->pieces[i].len : 0;
	if (len == own_len)
		return own_cnt_of(opts);
	/* Frames go on where the own part ends, its last page included. */
	return (uint32_t)(len /
			  xmb_or_u32(opts->frame_len, XMB_UMEM_FRAME_LEN));
}

static int set_up(struct xmb_umem *umem, const struct xmb_umem_opts *opts,
		  struct xmb_pool_opts *pool)
{
	int err = xmb_area_check_pieces(umem, opts, pool->frame_len);

	if (!err)
		err = map_all(umem, opts, pool, own_cnt_of(opts));
	if (err)
		return err;
	umem->reg_len = opts->piece_cnt
				? umem->area_len
				: (size_t)pool->frame_len * pool->frame_cnt;
	place_own(umem, opts, own_len_of(opts));
	pool->base = umem->area;
	return make_domains(umem, opts, pool);
}

static int check_opts(const struct xmb_umem_opts *opts,
		      const struct xmb_pool_opts *pool, uint32_t own_cnt)
{
	uint64_t cnt = own_cnt;

	if (pool->frame_len < XMB_UMEM_FRAME_LEN_MIN ||
	    pool->frame_len > XMB_UMEM_FRAME_LEN_MAX) {
		xmb_log(XMB_LOG_ERROR,
			"frames of %u bytes: the kernel takes %u to %u, of "
			"which 2048 and 4096 lie aligned",
			pool->frame_len, XMB_UMEM_FRAME_LEN_MIN,
			XMB_UMEM_FRAME_LEN_MAX);
		return -EINVAL;
	}
	if (opts->headroom > pool->frame_len - XMB_UMEM_KERNEL_ROOM -
				     XMB_UMEM_DATA_MIN) {
		xmb_log(XMB_LOG_ERROR,
			"headroom of %u bytes in frames of %u: with the "
			"kernel's %u it leaves less than %u for data: ask for "
			"less, or larger frames",
			opts->headroom, pool->frame_len, XMB_UMEM_KERNEL_ROOM,
			XMB_UMEM_DATA_MIN);
		return -EINVAL;
	}
	if (opts->piece_cnt > XMB_UMEM_PIECE_MAX) {
		xmb_log(XMB_LOG_ERROR, "%u pieces: there are at most %u",
			opts->piece_cnt, XMB_UMEM_PIECE_MAX);
		return -EINVAL;
	}
	for (uint32_t i = 0; i < opts->piece_cnt; i++)
		cnt += opts->pieces[i].len / pool->frame_len;
	if (cnt > FRAME_CNT_MAX) {
		xmb_log(XMB_LOG_ERROR, "%llu frames: there are at most %u",
			(unsigned long long)cnt, FRAME_CNT_MAX);
		return -EINVAL;
	}
	return 0;
}

int xmb_umem_create(struct xmb_umem **out, const struct xmb_umem_opts *opts)
{
	struct xmb_pool_opts pool = {
		.frame_len = xmb_or_u32(opts->frame_len, XMB_UMEM_FRAME_LEN),
		.spill_cnt = opts->spill_cnt,
	};
	struct xmb_umem *umem;
	int err = check_opts(opts, &pool, own_cnt_of(opts));

	if (err)
		return err;
	pool.frame_cnt = xmb_umem_pool_cnt(opts);
	umem = calloc(1, sizeof(*umem));
	if (!umem)
		return -ENOMEM;
	umem->memfd = -1;
	umem->headroom = XMB_UMEM_KERNEL_ROOM + opts->headroom;
	umem->is_unaligned = opts->is_unaligned || !xmb_is_pow2(pool.frame_len);
	umem->pieces = calloc(opts->piece_cnt + 1, sizeof(*umem->pieces));
	if (umem->pieces)
		umem->piece_cnt = opts->piece_cnt;
	err = umem->pieces ? set_up(umem, opts, &pool) : -ENOMEM;
	if (err) {
		unmap_all(umem);
		free(umem);
		return err;
	}
	*out = umem;
	return 0;
}

void xmb_umem_destroy(struct xmb_umem *umem)
{
	if (!umem)
		return;
	xmb_pool_fini(&umem->pool);
	unmap_all(umem);
	free(umem);
}

int xmb_umem_id_get(struct xmb_umem *umem)
{
	for (uint32_t who = 1; who <= XMB_WHO_MAX; who++) {
		uint64_t bit = UINT64_C(1) << (who & 63);

		if (!(atomic_fetch_or(&umem->ids[who >> 6], bit) & bit))
			return (int)who;
	}
	xmb_log(XMB_LOG_ERROR, "all %u sockets that a umem can have are open",
		XMB_WHO_MAX);
	return -ENOSPC;
}

void xmb_umem_id_put(struct xmb_umem *umem, uint32_t who)
{
	XMB_ASSERT(who >= 1 && who <= XMB_WHO_MAX);
	atomic_fetch_and(&umem->ids[who >> 6], ~(UINT64_C(1) << (who & 63)));
}
