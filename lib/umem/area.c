/* SPDX-License-Identifier: BSD-2-Clause */
#include "umem/area_priv.h"

#include "base/log.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <linux/magic.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/vfs.h>
#include <unistd.h>

#ifndef F_SEAL_FUTURE_WRITE
#define F_SEAL_FUTURE_WRITE 0x0010 /* Linux 5.1 */
#endif

static int refuse(uint32_t i, int err, const char *why)
{
	xmb_log(XMB_LOG_ERROR, "piece %u: %s", i, why);
	return err;
}

/* What the kernel did not answer is not known: nothing may be guessed. */
static int refuse_unknown(uint32_t i, const char *asked)
{
	int err = -errno;

	xmb_log(XMB_LOG_ERROR, "piece %u: ask the kernel %s: %s: try again", i,
		asked, strerror(-err));
	return err;
}

/* What kind of memory is behind it? */
static int check_kind(uint32_t i, struct xmb_piece *piece, int fd)
{
	int flags = fcntl(fd, F_GETFL);
	struct statfs fs;

	if (flags < 0 && errno == EBADF)
		return refuse(i, -EBADF, "its fd is not open");
	if (flags < 0)
		return refuse_unknown(i, "how its file is open");
	if (fstatfs(fd, &fs))
		return refuse_unknown(i, "what memory its file is");
	if ((flags & O_ACCMODE) != O_RDWR)
		return refuse(i, -EACCES,
			      "the kernel writes to frames: open its file for "
			      "reading and writing");
	/* Their fields differ in width and sign between machines. */
	if ((uint32_t)fs.f_type == TMPFS_MAGIC)
		piece->page_len = XMB_PAGE_LEN;
	else if ((uint32_t)fs.f_type == HUGETLBFS_MAGIC)
		piece->page_len = (size_t)fs.f_bsize;
	else
		return refuse(
			i, -EOPNOTSUPP,
			"the kernel takes memory only as frames, no file "
			"on a disk: hand in a memfd or a file in /dev/shm "
			"and read the file into it");
	return 0;
}

/* Can others end us by SIGBUS, and may we write? */
static int check_seals(uint32_t i, const struct xmb_umem_piece_opts *opts)
{
	int seals = fcntl(opts->fd, F_GET_SEALS);

	if (seals < 0 && errno != EINVAL)
		return refuse_unknown(i, "how it is sealed");
	if (seals < 0) /* a file that can have none */
		seals = 0;
	if (seals & (F_SEAL_WRITE | F_SEAL_FUTURE_WRITE))
		return refuse(i, -EPERM,
			      "it is sealed against writing: hand it in before "
			      "you seal that");
	if (!(seals & F_SEAL_SHRINK) && !opts->is_unsealed)
		return refuse(i, -EPERM,
			      "who else has it could shorten it, which ends "
			      "this process: seal the memfd (F_ADD_SEALS, "
			      "F_SEAL_SHRINK), or say is_unsealed");
	return 0;
}

static int check_size(uint32_t i, const struct xmb_umem_piece_opts *opts,
		      const struct xmb_piece *piece, uint32_t frame_len)
{
	struct stat st;

	if (opts->off % piece->page_len || opts->len % piece->page_len) {
		xmb_log(XMB_LOG_ERROR,
			"piece %u: %zu bytes at %" PRIu64 ": both must be "
			"whole pages of %zu bytes",
			i, opts->len, opts->off, piece->page_len);
		return -EINVAL;
	}
	if (opts->len < frame_len)
		return refuse(i, -EINVAL, "it has no room for one frame");
	if (fstat(opts->fd, &st))
		return refuse_unknown(i, "how long its file is");
	if (opts->off > (uint64_t)st.st_size ||
	    opts->len > (uint64_t)st.st_size - opts->off) {
		xmb_log(XMB_LOG_ERROR,
			"piece %u: %zu bytes at %" PRIu64 " end behind its "
			"file, which has %" PRIu64 ": make that longer first "
			"(ftruncate)",
			i, opts->len, opts->off, (uint64_t)st.st_size);
		return -EINVAL;
	}
	return 0;
}

/* The same bytes in two frames would have two owners. */
static int check_overlap(uint32_t i, const struct xmb_umem_piece_opts *all)
{
	struct stat mine, other;

	for (uint32_t k = 0; k < i; k++) {
		if (all[i].off >= all[k].off + all[k].len ||
		    all[k].off >= all[i].off + all[i].len)
			continue;
		if (fstat(all[i].fd, &mine) || fstat(all[k].fd, &other))
			return refuse_unknown(
				i, "whether its file is another piece's too");
		if (mine.st_dev != other.st_dev || mine.st_ino != other.st_ino)
			continue;
		xmb_log(XMB_LOG_ERROR,
			"piece %u: has bytes that piece %u has too: each byte "
			"can be in one frame only",
			i, k);
		return -EINVAL;
	}
	return 0;
}

int xmb_area_check_pieces(struct xmb_umem *umem,
			  const struct xmb_umem_opts *opts, uint32_t frame_len)
{
	for (uint32_t i = 0; i < opts->piece_cnt; i++) {
		const struct xmb_umem_piece_opts *o = &opts->pieces[i];
		struct xmb_piece *piece = &umem->pieces[i];
		int err = check_kind(i, piece, o->fd);

		if (!err)
			err = check_size(i, o, piece, frame_len);
		if (!err)
			err = check_seals(i, o);
		if (!err)
			err = check_overlap(i, opts->pieces);
		if (!err && o->is_pool && i > 0 && !o[-1].is_pool)
			err = refuse(i, -EINVAL,
				     "pieces for the pool come first");
		if (!err && o->is_pool && o->home)
			err = refuse(i, -EINVAL,
				     "of frames of the pool nobody is told "
				     "that they came home");
		if (err)
			return err;
		piece->umem = umem;
		piece->len = o->len;
		piece->home = o->home;
		piece->arg = o->arg;
	}
	return 0;
}

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

static int map_fd(int fd, uint64_t off, size_t len, void **mem)
{
	void *at = mmap(NULL, len, PROT_READ | PROT_WRITE, MAP_SHARED, fd,
			(off_t)off);

	if (at == MAP_FAILED)
		return -errno;
	*mem = at;
	return 0;
}

static int map_memfd(struct xmb_umem *umem, size_t len, unsigned int flags,
		     void **mem)
{
	int err, fd = open_sealed(len, flags);

	if (fd < 0)
		return fd;
	err = map_fd(fd, 0, len, mem);
	if (err)
		close(fd);
	else
		umem->memfd = fd;
	return err;
}

/* Hugepages if they are to be had for all of it. */
static int map_own(struct xmb_umem *umem, size_t len, void **mem)
{
	int err = map_memfd(umem, len, MFD_HUGETLB, mem);

	if (!err) {
		umem->is_huge = true;
		return 0;
	}
	err = map_memfd(umem, len, 0, mem);
	if (!err)
		madvise(*mem, len, MADV_HUGEPAGE);
	return err;
}

/* Addresses for all of it, at a multiple of a hugepage. */
static int reserve(struct xmb_umem *umem, size_t len)
{
	uint8_t *area =
		mmap(NULL, len + XMB_HUGE_LEN, PROT_NONE,
		     MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	size_t before;

	if (area == MAP_FAILED)
		return -errno;
	before = xmb_align_up((uintptr_t)area, XMB_HUGE_LEN) - (uintptr_t)area;
	if (before)
		munmap(area, before);
	if (before < XMB_HUGE_LEN)
		munmap(area + before + len, XMB_HUGE_LEN - before);
	umem->area = area + before;
	umem->area_len = len;
	return 0;
}

/* Move a mapping to its place in the range. */
static int settle(struct xmb_umem *umem, size_t addr, void *mem, size_t len)
{
	if (mremap(mem, len, len, MREMAP_MAYMOVE | MREMAP_FIXED,
		   umem->area + addr) == MAP_FAILED) {
		int err = -errno;

		munmap(mem, len);
		return err;
	}
	return 0;
}

static int map_pieces(struct xmb_umem *umem, const struct xmb_umem_opts *opts)
{
	for (uint32_t i = 0; i < opts->piece_cnt; i++) {
		const struct xmb_piece *piece = &umem->pieces[i];
		void *mem = NULL;
		int err = map_fd(opts->pieces[i].fd, opts->pieces[i].off,
				 piece->len, &mem);

		if (!err)
			err = settle(umem, piece->addr, mem, piece->len);
		if (err) {
			xmb_log(XMB_LOG_ERROR, "piece %u: map %zu bytes: %s", i,
				piece->len, strerror(-err));
			return err;
		}
	}
	return 0;
}

/* Where each piece goes; the end of the last, or -EINVAL. */
static int64_t place_pieces(struct xmb_umem *umem, size_t own_len)
{
	size_t at = own_len;

	for (uint32_t i = 0; i < umem->piece_cnt; i++) {
		struct xmb_piece *piece = &umem->pieces[i];

		if (at % xmb_min_u32((uint32_t)piece->page_len, XMB_HUGE_LEN))
			return refuse(i, -EINVAL,
				      "it is of hugepages and lies between "
				      "them and smaller ones: hand it in "
				      "before those");
		piece->addr = at;
		at += piece->len;
	}
	return (int64_t)at;
}

int xmb_area_map(struct xmb_umem *umem, const struct xmb_umem_opts *opts,
		 size_t own_len)
{
	int64_t len = place_pieces(umem, own_len);
	void *own = NULL;
	int err;

	if (len < 0)
		return (int)len;
	err = own_len ? map_own(umem, own_len, &own) : 0;
	if (err)
		return err;
	err = reserve(umem, (size_t)len);
	if (err && own)
		munmap(own, own_len);
	if (!err && own)
		err = settle(umem, 0, own, own_len);
	if (!err)
		err = map_pieces(umem, opts);
	if (err)
		xmb_area_unmap(umem);
	return err;
}

void xmb_area_unmap(struct xmb_umem *umem)
{
	if (umem->area)
		munmap(umem->area, umem->area_len);
	if (umem->memfd >= 0)
		close(umem->memfd);
	umem->area = NULL;
	umem->memfd = -1;
}
