/* SPDX-License-Identifier: BSD-2-Clause */
#include "alloc/plan_priv.h"

/*
 * Cutting a payload into segments.  A cut cannot be taken back, so all that
 * the cuts may take is laid in first; what is not used goes home again.
 */

struct needs {
	uint32_t segment_cnt;
	uint64_t head_cnt;  /* empty chunks in front of segments */
	uint64_t spare_cnt; /* frames for what is copied */
	uint64_t block_cnt;
};

struct kit {
	struct xmb_allocator *allocator;
	const struct xmb_segment_opts *opts;
	struct xmb_multibuf heads, spares; /* bare chunks */
	uint32_t blocks;		   /* a list of spill blocks */
	struct xmb_chunk head;		   /* of which heads are cut */
	uint32_t head_len, heads_left;	   /* of one head, in that chunk */
	uint32_t copy_cnt;		   /* frames of one copy */
};

static uint64_t ceil_div(uint64_t n, uint64_t by)
{
	return n / by + (n % by > 0);
}

/* The bytes in front of what begins with this chunk are free for sure. */
static bool has_headroom(const struct xmb_chunk *chunk, uint32_t headroom)
{
	return headroom == 0 ||
	       (xmb_chunk_is_excl(chunk) && !xmb_chunk_is_rdonly(chunk) &&
		chunk->off >= headroom);
}

/*
 * Cuts of the chunk that find no slot in its region.  Of a region that was
 * split before, somebody else may be about to take the slots.
 */
static uint64_t copies_of(const struct xmb_chunk *chunk, uint64_t cut_cnt)
{
	if (!xmb_chunk_is_excl(chunk))
		return cut_cnt;
	return cut_cnt < XMB_TRACKER_SLOTS ? 0
					   : cut_cnt - XMB_TRACKER_SLOTS + 1;
}

/* Of a chunk that is cut by copy, the shorter part is what is copied. */
static uint32_t copy_len_max(const struct xmb_multibuf *payload, uint32_t mtu)
{
	struct xmb_multibuf_iter iter;
	uint32_t longest = 0;
	struct xmb_chunk *c;

	for (c = xmb_multibuf_first(payload, &iter); c;
	     c = xmb_multibuf_next(&iter))
		longest = xmb_max_u32(longest, c->len);
	return xmb_min_u32(mtu, longest / 2);
}

/*
 * A head pushed in front takes a block when the segment has three chunks, and
 * a copy takes those of its frames and one to be linked by; of several frames
 * it may lead to three chunks.
 */
static struct needs needs_of(const struct xmb_multibuf *payload,
			     const struct xmb_segment_opts *opts,
			     uint32_t copy_cnt)
{
	uint64_t at = 0, seen_segment = UINT64_MAX, copies;
	uint32_t mtu = opts->mtu, in_segment = 0;
	uint32_t copy_blocks =
		1 + xmb_alloc_blocks_for(copy_cnt) + (copy_cnt > 1);
	struct needs needs = { 0 };
	struct xmb_multibuf_iter iter;
	struct xmb_chunk *c;

	needs.segment_cnt = (uint32_t)ceil_div(payload->len, mtu);
	for (c = xmb_multibuf_first(payload, &iter); c;
	     c = xmb_multibuf_next(&iter)) {
		uint64_t cuts = c->len ? (at + c->len - 1) / mtu - at / mtu : 0;

		if (at < payload->len && at % mtu == 0 &&
		    at / mtu != seen_segment) {
			in_segment = 0;
			needs.head_cnt += !has_headroom(c, opts->headroom);
		}
		seen_segment = (at + c->len) / mtu;
		if (c->len && (at + c->len) % mtu == 0)
			seen_segment--;
		copies = copies_of(c, cuts);
		needs.head_cnt += opts->headroom ? cuts : 0;
		needs.spare_cnt += copies * copy_cnt;
		needs.block_cnt += copies * copy_blocks;
		needs.block_cnt += ++in_segment == XMB_MULTIBUF_INLINE;
		in_segment = cuts ? 1 : in_segment;
		at += c->len;
	}
	return needs;
}

static bool stash_blocks(struct kit *kit, uint64_t cnt)
{
	struct xmb_cache *cache = kit->allocator->cache;
	struct xmb_spill *spills = cache->pool->domain.spills;
	uint32_t block;

	while (cnt-- > 0) {
		block = xmb_cache_spill_get(cache);
		if (block == XMB_SPILL_NONE)
			return false;
		spills[block].next = kit->blocks;
		kit->blocks = block;
	}
	return true;
}

static void unstash_block(struct kit *kit)
{
	struct xmb_cache *cache = kit->allocator->cache;
	uint32_t block = kit->blocks;

	kit->blocks = cache->pool->domain.spills[block].next;
	xmb_cache_spill_put(cache, &cache->pool->domain, block);
}

static void kit_fini(struct kit *kit)
{
	struct xmb_cache *cache = kit->allocator->cache;

	while (kit->blocks != XMB_SPILL_NONE)
		unstash_block(kit);
	xmb_chunk_release(&kit->head, cache);
	xmb_multibuf_release(&kit->spares, cache);
	xmb_multibuf_release(&kit->heads, cache);
}

/* Heads keep to cache lines of their own, as far as there is room for it. */
static uint32_t head_len_of(uint32_t headroom, uint32_t region_len)
{
	uint32_t len = region_len / XMB_TRACKER_SLOTS / XMB_CACHE_LINE *
		       XMB_CACHE_LINE;

	return xmb_max_u32(xmb_max_u32(len, headroom), 1);
}

/*
 * Spares and blocks come from the cache's pool alone, and the two multibufs of
 * the kit take blocks, too.  A copy's frames and blocks have to fit into the
 * cache at once: see stock().
 */
static bool fits_ever(const struct kit *kit, const struct needs *needs,
		      uint64_t head_cnt)
{
	const struct xmb_allocator *allocator = kit->allocator;
	struct xmb_alloc_limits limits = allocator->ops->limits(allocator);
	struct xmb_alloc_limits own =
		xmb_alloc_pool_limits(allocator->cache->pool);

	if (head_cnt > UINT16_MAX || needs->spare_cnt > UINT16_MAX ||
	    head_cnt + needs->spare_cnt > limits.region_cnt ||
	    needs->spare_cnt > own.region_cnt)
		return false;
	if (needs->spare_cnt > 0 &&
	    (kit->copy_cnt > XMB_CACHE_MAX ||
	     xmb_alloc_blocks_for(kit->copy_cnt) + 1 > XMB_SPILL_CACHE_MAX))
		return false;
	return needs->block_cnt + xmb_alloc_blocks_for((uint32_t)head_cnt) +
		       xmb_alloc_blocks_for((uint32_t)needs->spare_cnt) <=
	       own.block_cnt;
}

static int kit_init(struct kit *kit, const struct needs *needs)
{
	struct xmb_allocator *allocator = kit->allocator;
	uint32_t per_frame = xmb_min_u32(XMB_TRACKER_SLOTS,
					 allocator->region_len / kit->head_len);
	uint64_t head_cnt =
		needs->head_cnt ? ceil_div(needs->head_cnt, per_frame) : 0;
	struct xmb_cache *cache = allocator->cache;
	uint32_t head_blocks;

	if (!fits_ever(kit, needs, head_cnt))
		return -EMSGSIZE;
	head_blocks = xmb_alloc_blocks_for((uint32_t)head_cnt);
	/* What may grow comes last, so that nothing grows for a refusal. */
	xmb_alloc_take(cache, &kit->spares, (uint32_t)needs->spare_cnt, cache);
	if (kit->spares.cnt == needs->spare_cnt &&
	    stash_blocks(kit, needs->block_cnt + head_blocks)) {
		for (uint32_t i = 0; i < head_blocks; i++)
			unstash_block(kit);
		xmb_alloc_take_up_to(allocator, &kit->heads, (uint32_t)head_cnt,
				     (uint32_t)head_cnt);
		if (kit->heads.cnt == head_cnt)
			return 0;
	}
	kit_fini(kit);
	return -ENOBUFS;
}

/*
 * Have in the cache what the next cut, or the next push, may take.  Nothing
 * comes between this and that: what is put into a cache that is short is not
 * put any further, and so told to nobody.
 */
static void stock(struct kit *kit)
{
	struct xmb_cache *cache = kit->allocator->cache;
	uint32_t block_cnt = xmb_alloc_blocks_for(kit->copy_cnt) + 1;

	while (cache->cnt < kit->copy_cnt && kit->spares.cnt > 0)
		xmb_alloc_drop(&kit->spares, 1, cache);
	while (cache->spill_cnt < block_cnt && kit->blocks != XMB_SPILL_NONE)
		unstash_block(kit);
}

/* An empty chunk with headroom bytes in front of it. */
static void next_head(struct kit *kit, struct xmb_chunk *head)
{
	uint32_t region_len = kit->allocator->region_len;
	struct xmb_chunk rest = { 0 };
	int ret = 0;

	if (kit->heads_left == 0) {
		xmb_multibuf_pop_front(&kit->heads, &kit->head,
				       kit->allocator->cache);
		kit->head.len = region_len;
		kit->heads_left = xmb_min_u32(XMB_TRACKER_SLOTS,
					      region_len / kit->head_len);
	}
	/* The last one takes what is left of the region. */
	if (--kit->heads_left > 0)
		ret = xmb_chunk_split(&kit->head, kit->head_len, &rest);
	XMB_ASSERT(ret == 0);
	xmb_chunk_move(head, &kit->head);
	xmb_chunk_move(&kit->head, &rest);
	xmb_chunk_slice(head, kit->opts->headroom, kit->opts->headroom);
}

static void push_head(struct kit *kit, struct xmb_multibuf *segment)
{
	struct xmb_chunk head = { 0 };
	int ret;

	next_head(kit, &head);
	stock(kit);
	ret = xmb_multibuf_push_front(segment, &head, kit->allocator->cache);
	XMB_ASSERT(ret == 0);
}

static void cut_all(struct kit *kit, struct xmb_multibuf *payload,
		    struct xmb_multibuf *segments, uint32_t cnt)
{
	struct xmb_cache *cache = kit->allocator->cache;
	struct xmb_multibuf rest;
	int ret;

	for (uint32_t i = 0; i < cnt; i++) {
		bool has_room =
			has_headroom(&payload->c[0], kit->opts->headroom);

		rest = (struct xmb_multibuf){ 0 };
		if (i + 1 < cnt) {
			stock(kit);
			ret = xmb_multibuf_split(payload, kit->opts->mtu, &rest,
						 cache);
			XMB_ASSERT(ret == 0);
		}
		segments[i] = *payload;
		*payload = rest;
		if (!has_room)
			push_head(kit, &segments[i]);
	}
}

int xmb_allocator_segment(struct xmb_allocator *allocator,
			  struct xmb_multibuf *payload,
			  const struct xmb_segment_opts *opts,
			  struct xmb_multibuf *segments, uint32_t max)
{
	struct kit kit = {
		.allocator = allocator,
		.opts = opts,
		.blocks = XMB_SPILL_NONE,
		.head_len = head_len_of(opts->headroom, allocator->region_len),
	};
	struct needs needs;
	int ret;

	if (opts->mtu == 0)
		return -EINVAL;
	if (opts->headroom > allocator->region_len)
		return -EMSGSIZE;
	if (payload->cnt > payload->inline_cnt &&
	    payload->spill_dom != allocator->cache->pool->domain.id)
		return -EXDEV;
	kit.copy_cnt =
		(uint32_t)ceil_div(copy_len_max(payload, opts->mtu),
				   allocator->cache->pool->domain.region_len);
	needs = needs_of(payload, opts, kit.copy_cnt);
	if (needs.segment_cnt > max)
		return -ENOSPC;
	for (uint32_t i = 0; i < needs.segment_cnt; i++)
		XMB_ASSERT(segments[i].cnt == 0);
	if (needs.segment_cnt == 0)
		return 0;
	ret = kit_init(&kit, &needs);
	if (ret < 0)
		return ret;
	cut_all(&kit, payload, segments, needs.segment_cnt);
	kit_fini(&kit);
	return (int)needs.segment_cnt;
}
