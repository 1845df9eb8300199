/* SPDX-License-Identifier: BSD-2-Clause */
/* Calls that make multibufs: of the caller's memory, and of an allocator. */
#include "multibuf_model.h"

#include "buf/extbuf.h"

#include <string.h>

enum { BULK_MAX = 3, SEGMENTS_MAX = 12 };

/* Memory of the caller's; NULL: none, or it has come back. */
static struct span {
	uint8_t *mem;
	size_t len;
} spans[SPAN_CNT];

uint32_t spans_live(void)
{
	uint32_t cnt = 0;

	for (uint32_t i = 0; i < SPAN_CNT; i++)
		cnt += !!spans[i].mem;
	return cnt;
}

static void span_back(void *arg, void *mem, size_t len)
{
	struct span *span = arg;

	MUST(mem && mem == span->mem && len == span->len);
	free(mem);
	span->mem = NULL;
}

/* Mostly a few bytes, and now and then more than a region has. */
static size_t get_span_len(void)
{
	uint32_t regions = get();

	regions = regions % 16 ? 0 : regions / 16 % SPAN_REGIONS;
	return regions * (size_t)XMB_REGION_LEN_MAX + get();
}

int op_attach(uint32_t i, uint32_t j, struct xmb_cache *cache)
{
	size_t len = get_span_len();
	struct span *span = spans;
	uint8_t *mem;
	int rc;

	(void)j;
	while (span < &spans[SPAN_CNT] && span->mem)
		span++;
	if (mbs[i].cnt > 0 || span == &spans[SPAN_CNT])
		return 0;
	mem = malloc(len + 1);
	MUST(mem);
	memcpy(mem, new_bytes(len), len);
	rc = xmb_extbuf_attach(cache, mem, len, span_back, span, &mbs[i]);
	MUST((rc == -EINVAL) == (len == 0));
	if (rc < 0) {
		free(mem);
		return rc;
	}
	*span = (struct span){ mem, len };
	bytes_insert(&mb_bytes[i], 0, mem, len);
	return 0;
}

static size_t ceil_div(size_t n, size_t by)
{
	return n / by + (n % by > 0);
}

/* Where the request wants room, room there is, in chunks that are its own. */
static void check_room(const struct xmb_multibuf *mb,
		       const struct xmb_alloc_request *request)
{
	struct xmb_multibuf_iter iter;
	size_t len = 0, ends = 0, seg = request->segment_len;
	const struct xmb_chunk *c;

	for (c = xmb_multibuf_first(mb, &iter); c;
	     c = xmb_multibuf_next(&iter)) {
		MUST(xmb_chunk_is_excl(c) && c->len > 0);
		MUST(c->off >= request->headroom);
		MUST(xmb_domain_region_len(xmb_chunk_domain(c), c->region) -
			     c->off - c->len >=
		     request->tailroom);
		/* No chunk is of two segments. */
		MUST(seg == 0 || len / seg == (len + c->len - 1) / seg);
		len += c->len;
		MUST(!(c->flags & XMB_CHUNK_END) ==
		     (seg == 0 || (len % seg > 0 && len < mb->len)));
		ends += !!(c->flags & XMB_CHUNK_END);
	}
	MUST(seg == 0 || ends == ceil_div(mb->len, seg));
	if (request->is_contiguous && mb->len > 0)
		MUST(mb->cnt == (seg ? ends : 1));
}

/*
 * What a refusal says is so: of a pool, whose only cache is the vendor's, it is
 * known what there is.
 */
static void check_refusal(const struct xmb_alloc_request *request, uint32_t cnt,
			  int rc)
{
	size_t room, chunks, blocks, n = request->min_len;
	const struct xmb_pool *pool = vendor.cache->pool;

	MUST((rc == -EINVAL) ==
	     (request->desired_len > 0 && n > request->desired_len));
	if (rc == -EINVAL || vendor.ops->grow)
		return;
	if (request->headroom + request->tailroom >= vendor.region_len) {
		MUST(rc == -EMSGSIZE);
		return;
	}
	room = vendor.region_len - request->headroom - request->tailroom;
	if (request->segment_len)
		chunks = n / request->segment_len *
				 ceil_div(request->segment_len, room) +
			 ceil_div(n % request->segment_len, room);
	else
		chunks = ceil_div(n, room);
	blocks = chunks > XMB_MULTIBUF_INLINE
			 ? (chunks - 1) / XMB_MULTIBUF_INLINE
			 : 0;
	if (rc == -ENOBUFS)
		MUST(cnt * chunks > frames_free(vendor.cache) ||
		     cnt * blocks > blocks_free(vendor.cache));
	else if (!request->is_contiguous)
		MUST(cnt * chunks > pool->domain.region_cnt ||
		     cnt * blocks > pool->spill_cnt);
}

/* Keep the multibuf, whose bytes are whatever they are, if place i is free. */
static void keep(uint32_t i, struct xmb_multibuf *mb)
{
	if (mbs[i].cnt > 0) {
		xmb_multibuf_release(mb, vendor.cache);
		return;
	}
	mbs[i] = *mb;
	mb_bytes[i].user = mb->user;
	learn(i, 0, mb->len);
}

int op_vend(uint32_t i, uint32_t j, struct xmb_cache *cache)
{
	struct xmb_multibuf made[BULK_MAX] = { 0 };
	struct xmb_alloc_request request = { .min_len = get_upto(600) };
	uint32_t kind = get(), cnt = 1 + kind / 8 % BULK_MAX, had = slabs();
	size_t want;
	int rc;

	(void)cache;
	if (kind & 1)
		request.desired_len = get_upto(2000);
	if (kind & 2)
		request.segment_len = get();
	request.is_contiguous = kind & 4;
	request.headroom = get() % 96;
	request.tailroom = get() % 96;
	for (uint32_t k = 0; k < BULK_MAX; k++)
		made[k].user = next_byte + k;
	rc = cnt > 1 ? xmb_allocator_alloc_bulk(&vendor, &request, made, cnt)
		     : xmb_allocator_alloc(&vendor, &request, made);
	for (uint32_t k = 0; k < BULK_MAX; k++) {
		MUST(made[k].user == next_byte + k);
		MUST((rc == 0 && k < cnt) || made[k].cnt == 0);
	}
	if (rc < 0) {
		/* Of several, the first ones may have made it grow. */
		MUST(cnt > 1 || slabs() == had);
		check_refusal(&request, cnt, rc);
		return rc;
	}
	want = request.desired_len ? request.desired_len : request.min_len;
	for (uint32_t k = 0; k < cnt; k++) {
		MUST(made[k].len >= request.min_len && made[k].len <= want);
		MUST(xmb_multibuf_check(&made[k]));
		check_room(&made[k], &request);
	}
	for (uint32_t k = 0; k < cnt; k++)
		keep(k == 0 ? i : (j + k) % MB_CNT, &made[k]);
	write_new(i, 0, mbs[i].len);
	return 0;
}

/* The segment has the payload's bytes at `at`, and room in front of them. */
static void check_segment(struct xmb_multibuf *segment,
			  const struct bytes *payload, size_t at,
			  const struct xmb_segment_opts *opts)
{
	size_t len = min_size(opts->mtu, payload->len - at);

	MUST(segment->len == len && segment->user == payload->user);
	MUST(xmb_multibuf_claim_prefix(segment, opts->headroom) == 0);
	MUST(xmb_multibuf_check(segment));
	MUST(xmb_multibuf_copy_to(segment, opts->headroom, scratch, len) ==
	     len);
	MUST(memcmp(scratch, &payload->b[at], len) == 0);
}

int op_segment(uint32_t i, uint32_t j, struct xmb_cache *cache)
{
	struct xmb_multibuf segments[SEGMENTS_MAX] = { 0 };
	struct xmb_segment_opts opts = { .mtu = get(),
					 .headroom = get() % 160 };
	size_t cnt = opts.mtu ? ceil_div(mbs[i].len, opts.mtu) : 0;
	uint32_t had = slabs();
	int rc = xmb_allocator_segment(&vendor, &mbs[i], &opts, segments,
				       SEGMENTS_MAX);

	(void)cache;
	MUST((rc == -EINVAL) == (opts.mtu == 0));
	MUST(rc < 0 ? slabs() == had : (size_t)rc == cnt);
	if (rc <= 0)
		return rc;
	MUST(xmb_multibuf_is_empty(&mbs[i]) && mbs[i].user == 0);
	for (uint32_t k = 0; k < cnt; k++)
		check_segment(&segments[k], &mb_bytes[i], k * opts.mtu, &opts);
	mb_bytes[i].len = mb_bytes[i].user = 0;
	for (uint32_t k = 0; k < cnt; k++)
		keep(k == 0 ? i : (j + k) % MB_CNT, &segments[k]);
	return 0;
}
