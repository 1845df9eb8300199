/* SPDX-License-Identifier: BSD-2-Clause */
#include "umem/umem.h"

#include "base/log.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

enum { HUGE_LEN = 2 << 20, FRAME_CNT_MAX = 1 << 24 };

/*
 * A size that only we may change is what keeps whoever maps this memfd too
 * from giving us SIGBUS by truncating it.
 */
static int open_sealed(size_t len, unsigned int flags)
{
	int err, fd = memfd_create("xmbuf-umem",
				   MFD_CLOEXEC | MFD_ALLOW_SEALING | flags);

	if (fd < 0)
		return -errno;
	if (ftruncate(fd, (off_t)len) ||
	    fcntl(fd, F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW)) {
		err = -errno;
		close(fd);
		return err;
	}
	return fd;
}

static int map_memfd(struct xmb_umem *umem, size_t len, unsigned int flags)
{
	int fd = open_sealed(len, flags);
	void *area;

	if (fd < 0)
		return fd;
	area = mmap(NULL, len, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	if (area == MAP_FAILED) {
		int err = -errno;

		close(fd);
		return err;
	}
	umem->area = area;
	umem->area_len = len;
	umem->memfd = fd;
	return 0;
}

static int map_area(struct xmb_umem *umem, size_t len)
{
	int err = map_memfd(umem, xmb_align_up(len, HUGE_LEN), MFD_HUGETLB);

	if (!err) {
		umem->is_huge = true;
		return 0;
	}
	err = map_memfd(umem, xmb_align_up(len, HUGE_LEN), 0);
	if (!err)
		madvise(umem->area, umem->area_len, MADV_HUGEPAGE);
	return err;
}

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

static int map_all(struct xmb_umem *umem, const struct xmb_pool_opts *opts)
{
	size_t len = (size_t)opts->frame_len * opts->frame_cnt;
	int err = exceeds_machine(len) ? -ENOMEM : map_area(umem, len);

	if (err) {
		xmb_log(XMB_LOG_ERROR,
			"cannot map %zu MiB for %u frames of %u bytes: %s: "
			"ask for fewer frames or free memory",
			len >> 20, opts->frame_cnt, opts->frame_len,
			strerror(-err));
		return err;
	}
	umem->side_len = xmb_align_up(xmb_pool_footprint(opts), 4096);
	umem->side = mmap(NULL, umem->side_len, PROT_READ | PROT_WRITE,
			  MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	if (umem->side == MAP_FAILED) {
		umem->side = NULL;
		xmb_log(XMB_LOG_ERROR,
			"cannot map %zu KiB for the accounts of %u frames: %s: "
			"ask for fewer frames or free memory",
			umem->side_len >> 10, opts->frame_cnt, strerror(errno));
		return -ENOMEM;
	}
	return 0;
}

static void unmap_all(struct xmb_umem *umem)
{
	if (umem->side)
		munmap(umem->side, umem->side_len);
	if (umem->area) {
		munmap(umem->area, umem->area_len);
		close(umem->memfd);
	}
}

int xmb_umem_create(struct xmb_umem **out, const struct xmb_umem_opts *opts)
{
	struct xmb_pool_opts pool = {
		.frame_len = xmb_or_u32(opts->frame_len, XMB_UMEM_FRAME_LEN),
		.frame_cnt = xmb_or_u32(opts->frame_cnt, XMB_UMEM_FRAME_CNT),
		.spill_cnt = opts->spill_cnt,
	};
	struct xmb_umem *umem;
	int err;

	if ((pool.frame_len != 2048 && pool.frame_len != 4096) ||
	    pool.frame_cnt > FRAME_CNT_MAX) {
		xmb_log(XMB_LOG_ERROR,
			"%u frames of %u bytes: a frame has 2048 or 4096 bytes "
			"and there are at most %u",
			pool.frame_cnt, pool.frame_len, FRAME_CNT_MAX);
		return -EINVAL;
	}
	umem = calloc(1, sizeof(*umem));
	if (!umem)
		return -ENOMEM;
	err = map_all(umem, &pool);
	if (!err) {
		pool.base = umem->area;
		err = xmb_pool_init(&umem->pool, umem->side, &pool);
	}
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
