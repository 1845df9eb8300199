/* SPDX-License-Identifier: BSD-2-Clause */
#include "interop/iovec.h"

#include "buf/edit.h"
#include "buf/extbuf.h"

#include <stdlib.h>

/* Pieces a call hands to the kernel; IOV_MAX is 1024 on Linux. */
enum { PIECES_MAX = 64 };

/* n, or as many bytes as there are at off; off may be beyond them. */
static size_t clip(const struct xmb_multibuf *mb, size_t off, size_t n)
{
	return off <= mb->len && n > mb->len - off ? mb->len - off : n;
}

ssize_t xmb_iovec_writev(int fd, const struct xmb_multibuf *mb, size_t off,
			 size_t n)
{
	struct iovec iov[PIECES_MAX];
	ssize_t done;
	size_t len;
	int cnt;

	cnt = xmb_span_iovec(mb, off, clip(mb, off, n), iov, PIECES_MAX, &len);
	if (cnt <= 0)
		return cnt;
	done = writev(fd, iov, cnt);
	return done < 0 ? -errno : done;
}

ssize_t xmb_iovec_readv(int fd, struct xmb_multibuf *mb, size_t off, size_t n)
{
	struct iovec iov[PIECES_MAX];
	ssize_t done;
	size_t len;
	int cnt;

	cnt = xmb_span_iovec(mb, off, clip(mb, off, n), iov, PIECES_MAX, &len);
	if (cnt <= 0)
		return cnt;
	if (!xmb_multibuf_is_writable_at(mb, off, len))
		return -EPERM;
	done = readv(fd, iov, cnt);
	return done < 0 ? -errno : done;
}

/*
 * What one attach() has in common, until the last piece is gone.  A piece is
 * armed when all of them stand: until then they are the caller's.
 */
struct attached {
	_Atomic uint32_t left;
	bool is_armed;
	xmb_extbuf_free_fn *free_fn;
	void *arg;
};

static void piece_free(void *arg, void *mem, size_t len)
{
	struct attached *all = arg;

	if (all->is_armed && all->free_fn)
		all->free_fn(all->arg, mem, len);
	if (atomic_fetch_sub_explicit(&all->left, 1, memory_order_acq_rel) == 1)
		free(all);
}

static int attach_piece(struct xmb_cache *cache, const struct iovec *piece,
			struct attached *all, struct xmb_multibuf *mb)
{
	struct xmb_multibuf one = { 0 };
	int rc;

	rc = xmb_extbuf_attach(cache, piece->iov_base, piece->iov_len,
			       piece_free, all, &one);
	if (rc < 0)
		return rc;
	atomic_fetch_add_explicit(&all->left, 1, memory_order_relaxed);
	rc = xmb_multibuf_append(mb, &one, cache);
	if (rc < 0)
		xmb_multibuf_release(&one, cache);
	return rc;
}

int xmb_iovec_attach(struct xmb_cache *cache, const struct iovec *iov,
		     uint32_t cnt, xmb_extbuf_free_fn *free_fn, void *arg,
		     struct xmb_multibuf *mb)
{
	struct xmb_multibuf made = { .user = mb->user };
	struct attached *all = malloc(sizeof(*all));
	int rc = 0;

	XMB_ASSERT(xmb_multibuf_is_empty(mb));
	if (!all)
		return -ENOMEM;
	/* One more than there are pieces: for this function. */
	*all = (struct attached){ .left = 1, .free_fn = free_fn, .arg = arg };
	for (uint32_t i = 0; i < cnt && rc == 0; i++) {
		if (iov[i].iov_len > 0)
			rc = attach_piece(cache, &iov[i], all, &made);
	}
	if (rc < 0) {
		xmb_multibuf_release(&made, cache);
	} else {
		all->is_armed = true;
		*mb = made;
	}
	if (atomic_fetch_sub_explicit(&all->left, 1, memory_order_acq_rel) == 1)
		free(all);
	return rc;
}
