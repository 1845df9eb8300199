/* SPDX-License-Identifier: BSD-2-Clause */
#include "buf/extbuf.h"

#include "buf/tracker_priv.h"

#include <stdlib.h>

/* A span, in one block of memory with its side arrays. */
struct extbuf {
	struct xmb_domain domain;
	_Atomic uint32_t live_cnt; /* regions that chunks still hold */
	xmb_extbuf_free_fn *free_fn;
	void *arg;
	void *mem;
	size_t len;
};

/* cnt regions less; with the last one the span goes back to its owner. */
static void extbuf_put(struct extbuf *ext, uint32_t cnt)
{
	xmb_extbuf_free_fn *free_fn = ext->free_fn;
	void *arg = ext->arg, *mem = ext->mem;
	size_t len = ext->len;

	/* Acquire and release: the last one sees what all others did. */
	if (atomic_fetch_sub_explicit(&ext->live_cnt, cnt,
				      memory_order_acq_rel) != cnt)
		return;
	xmb_domain_remove(&ext->domain);
	free(ext);
	if (free_fn)
		free_fn(arg, mem, len);
}

static void extbuf_release(struct xmb_domain *domain, uint32_t region,
			   struct xmb_cache *cache)
{
	enum xmb_home home = cache->home;

	(void)region;
	/* What free_fn releases is nothing of a drop that it is called in. */
	cache->home = XMB_HOME_RELEASED;
	extbuf_put((struct extbuf *)domain, 1);
	cache->home = home;
}

/* All regions are held by the application from the start. */
static struct extbuf *extbuf_create(void *mem, size_t len, uint32_t cnt)
{
	size_t trackers_off = xmb_align_up(sizeof(struct extbuf),
					   XMB_CACHE_LINE);
	size_t words_off = trackers_off + cnt * sizeof(struct xmb_tracker);
	size_t block_len = xmb_align_up(words_off + cnt * sizeof(uint32_t),
					XMB_CACHE_LINE);
	struct extbuf *ext = aligned_alloc(XMB_CACHE_LINE, block_len);
	uint8_t *block = (uint8_t *)ext;

	if (!ext)
		return NULL;
	*ext = (struct extbuf){
		.domain = {
			.base = mem,
			.trackers = (void *)(block + trackers_off),
			.words = (void *)(block + words_off),
			.region_len = XMB_REGION_LEN_MAX,
			.region_cnt = cnt,
			.last_len = (uint32_t)(len - (size_t)(cnt - 1) *
						     XMB_REGION_LEN_MAX),
			.release = extbuf_release,
		},
		.live_cnt = cnt,
		.mem = mem,
		.len = len,
	};
	for (uint32_t i = 0; i < cnt; i++) {
		xmb_tracker_init(&ext->domain.trackers[i]);
		atomic_init(&ext->domain.words[i],
			    xmb_frame_word(XMB_FRAME_APP, 0, 0));
	}
	return ext;
}

static struct xmb_chunk extbuf_chunk(const struct extbuf *ext, uint32_t region)
{
	return (struct xmb_chunk){
		.region = region,
		.len = xmb_domain_region_len(&ext->domain, region),
		.dom = ext->domain.id,
		.flags = XMB_CHUNK_EXCL,
	};
}

int xmb_extbuf_attach(struct xmb_cache *cache, void *mem, size_t len,
		      xmb_extbuf_free_fn *free_fn, void *arg,
		      struct xmb_multibuf *mb)
{
	struct xmb_multibuf made = { .user = mb->user };
	uint32_t cnt;
	struct extbuf *ext;
	int ret;

	XMB_ASSERT(mem && xmb_multibuf_is_empty(mb));
	if (len == 0)
		return -EINVAL;
	if (len > (size_t)UINT16_MAX * XMB_REGION_LEN_MAX)
		return -ERANGE;
	cnt = (uint32_t)((len + XMB_REGION_LEN_MAX - 1) / XMB_REGION_LEN_MAX);
	ext = extbuf_create(mem, len, cnt);
	if (!ext)
		return -ENOMEM;
	ret = xmb_domain_add(&ext->domain);
	if (ret) {
		free(ext);
		return ret;
	}
	/* From the back: a push in front takes the same time at any length. */
	for (uint32_t i = cnt; i-- > 0;) {
		struct xmb_chunk chunk = extbuf_chunk(ext, i);

		ret = xmb_multibuf_push_front(&made, &chunk, cache);
		if (ret == 0)
			continue;
		/* There is no callback yet, so that mem stays the caller's. */
		xmb_multibuf_release(&made, cache);
		extbuf_put(ext, i + 1);
		return ret;
	}
	ext->free_fn = free_fn;
	ext->arg = arg;
	*mb = made;
	return 0;
}
