/* SPDX-License-Identifier: BSD-2-Clause */
#include "multibuf_model.h"

#include <string.h>

enum { BLOCKS_MAX = 32 };

static const uint32_t frame_lens[POOL_CNT] = { 64, 256 };

static struct xmb_pool pools[POOL_CNT];
static struct xmb_cache caches[POOL_CNT];
static uint8_t memory[POOL_CNT][FRAMES * 256] __attribute__((aligned(64)));
static uint8_t side[POOL_CNT][16384] __attribute__((aligned(64)));

static struct xmb_heap heap;
static struct xmb_cache heap_cache;
static bool heap_is_open, heap_is_dry;

struct xmb_allocator vendor;

struct xmb_multibuf mbs[MB_CNT];
struct xmb_chunk loose[LOOSE_CNT];
struct bytes mb_bytes[MB_CNT], loose_bytes[LOOSE_CNT];
uint8_t scratch[LEN_MAX * XMB_TRACKER_SLOTS];
uint8_t next_byte;

static const uint8_t *input;
static size_t input_len;

void input_begin(const uint8_t *data, size_t len)
{
	input = data;
	input_len = len;
	next_byte = 0;
}

bool input_is_left(void)
{
	return input_len > 0;
}

uint32_t get(void)
{
	if (input_len == 0)
		return 0;
	input_len--;
	return *input++;
}

size_t get_upto(uint32_t max)
{
	uint32_t v = get() | get() << 8;

	if (v == 0xffff)
		return SIZE_MAX;
	if (v == 0xfffe)
		return (size_t)UINT32_MAX + 1;
	return v % (max + 2);
}

struct xmb_cache *get_cache(void)
{
	uint32_t which = get();

	if (which >= 192 && heap_is_open)
		return &heap_cache;
	return &caches[which % POOL_CNT];
}

static void *heap_alloc(void *arg, size_t len)
{
	(void)arg;
	return heap_is_dry ? NULL : malloc(len);
}

static void heap_free(void *arg, void *mem, size_t len)
{
	(void)arg;
	(void)len;
	free(mem);
}

static void use_heap(bool is_dry)
{
	struct xmb_heap_opts opts = {
		.frame_len = HEAP_FRAME_LEN,
		.frame_cnt = HEAP_FRAMES,
		.slab_max = HEAP_SLABS,
		.alloc = heap_alloc,
		.free = heap_free,
	};

	heap_is_dry = false;
	if (!heap_is_open) {
		MUST(xmb_heap_init(&heap, &opts) == 0);
		xmb_cache_init(&heap_cache, xmb_heap_pool(&heap), POOL_CNT + 1);
		heap_is_open = true;
	}
	heap_is_dry = is_dry;
	xmb_allocator_init_heap(&vendor, &heap, &heap_cache);
}

int op_vendor(uint32_t i, uint32_t j, struct xmb_cache *cache)
{
	uint32_t kind = get() % 4;

	(void)i;
	(void)j;
	if (kind == 0)
		xmb_allocator_init_pool(&vendor, cache);
	else
		use_heap(kind == 1);
	if (kind == 2)
		xmb_heap_trim(&heap);
	return 0;
}

uint32_t frames_free(const struct xmb_cache *cache)
{
	return cache->cnt + xmb_pool_free_cnt(cache->pool);
}

uint32_t blocks_free(struct xmb_cache *cache)
{
	uint32_t got[BLOCKS_MAX], cnt = 0, i;

	while (cnt < BLOCKS_MAX &&
	       (got[cnt] = xmb_cache_spill_get(cache)) != XMB_SPILL_NONE)
		cnt++;
	for (i = cnt; i > 0; i--)
		xmb_cache_spill_put(cache, &cache->pool->domain, got[i - 1]);
	return cnt;
}

/* Exclusive or not is told by the region; it may be found out at any time. */
static struct handle handle_of(const struct xmb_chunk *c)
{
	return (struct handle){
		.off = c->off,
		.len = c->len,
		.region = c->region,
		.dom = c->dom,
		.flags = (uint8_t)(c->flags & ~XMB_CHUNK_EXCL),
	};
}

static void take_stock(struct state *s, uint32_t i, struct xmb_cache *cache)
{
	s->frames[i] = frames_free(cache);
	s->blocks[i] = blocks_free(cache);
	s->copies += xmb_counter_read(&cache->copies);
}

uint32_t slabs(void)
{
	return heap_is_open ? xmb_heap_slab_cnt(&heap) : 0;
}

void take_state(struct state *s)
{
	struct xmb_multibuf_iter iter;
	struct xmb_chunk *c;
	uint32_t k = 0;

	memset(s, 0, sizeof(*s));
	for (uint32_t i = 0; i < POOL_CNT; i++)
		take_stock(s, i, &caches[i]);
	if (heap_is_open)
		take_stock(s, POOL_CNT, &heap_cache);
	s->spans = spans_live();
	for (uint32_t i = 0; i < MB_CNT; i++) {
		s->cnt[i] = mbs[i].cnt;
		s->len[i] = mbs[i].len;
		s->user[i] = mbs[i].user;
		for (c = xmb_multibuf_first(&mbs[i], &iter); c;
		     c = xmb_multibuf_next(&iter)) {
			MUST(k < CHUNKS_MAX);
			s->c[k++] = handle_of(c);
		}
	}
	for (uint32_t i = 0; i < LOOSE_CNT; i++)
		s->c[k++] = handle_of(&loose[i]);
}

void verify(void)
{
	for (uint32_t i = 0; i < MB_CNT; i++) {
		MUST(xmb_multibuf_check(&mbs[i]));
		MUST(mbs[i].len == mb_bytes[i].len);
		MUST(mbs[i].user == mb_bytes[i].user);
		MUST(xmb_multibuf_copy_to(&mbs[i], 0, scratch,
					  sizeof(scratch)) == mbs[i].len);
		MUST(memcmp(scratch, mb_bytes[i].b, mbs[i].len) == 0);
	}
	for (uint32_t i = 0; i < LOOSE_CNT; i++) {
		MUST(xmb_chunk_check(&loose[i]));
		MUST(loose[i].len == loose_bytes[i].len);
		if (loose[i].len > 0)
			MUST(memcmp(xmb_chunk_data(&loose[i]), loose_bytes[i].b,
				    loose[i].len) == 0);
	}
}

void bytes_insert(struct bytes *dst, size_t off, const uint8_t *src, size_t n)
{
	MUST(dst->len + n <= sizeof(dst->b));
	memmove(&dst->b[off + n], &dst->b[off], dst->len - off);
	memcpy(&dst->b[off], src, n);
	dst->len += (uint32_t)n;
}

void bytes_remove(struct bytes *dst, size_t off, size_t n)
{
	memmove(&dst->b[off], &dst->b[off + n], dst->len - off - n);
	dst->len -= (uint32_t)n;
}

void learn(uint32_t i, size_t off, size_t n)
{
	MUST(xmb_multibuf_copy_to(&mbs[i], off, scratch, n) == n);
	bytes_insert(&mb_bytes[i], off, scratch, n);
}

void moved(uint32_t i, uint32_t j, size_t off, size_t n)
{
	mb_bytes[j].user = mb_bytes[i].user;
	mb_bytes[j].len = 0;
	bytes_insert(&mb_bytes[j], 0, &mb_bytes[i].b[off], n);
	bytes_remove(&mb_bytes[i], off, n);
}

const uint8_t *new_bytes(size_t n)
{
	for (size_t k = 0; k < n; k++)
		scratch[k] = next_byte++;
	return scratch;
}

void write_new(uint32_t i, size_t off, size_t n)
{
	size_t want = writable_len(&mbs[i], off, n);

	new_bytes(n);
	MUST(xmb_multibuf_copy_from(&mbs[i], off, scratch, n) == want);
	memcpy(&mb_bytes[i].b[off], scratch, want);
}

size_t writable_len(const struct xmb_multibuf *mb, size_t off, size_t n)
{
	struct xmb_multibuf_iter iter;
	struct xmb_chunk *c;
	size_t at = 0;

	for (c = xmb_multibuf_first(mb, &iter); c && at < off + n;
	     c = xmb_multibuf_next(&iter)) {
		if (c->len > 0 && at + c->len > off && xmb_chunk_is_rdonly(c))
			return at > off ? at - off : 0;
		at += c->len;
	}
	return n;
}

void model_begin(void)
{
	for (uint32_t i = 0; i < POOL_CNT; i++) {
		struct xmb_pool_opts opts = {
			.base = memory[i],
			.frame_len = frame_lens[i],
			.frame_cnt = FRAMES / (i + 1),
			.spill_cnt = BLOCKS,
		};

		MUST(xmb_pool_footprint(&opts) <= sizeof(side[i]));
		memset(side[i], 0, sizeof(side[i]));
		MUST(xmb_pool_init(&pools[i], side[i], &opts) == 0);
		xmb_cache_init(&caches[i], &pools[i], i + 1);
	}
	xmb_allocator_init_pool(&vendor, &caches[0]);
}

static void heap_end(void)
{
	xmb_cache_fini(&heap_cache);
	MUST(xmb_heap_fini(&heap) == 0);
	heap_is_open = false;
}

void model_end(void)
{
	for (uint32_t i = 0; i < MB_CNT; i++) {
		xmb_multibuf_release(&mbs[i], &caches[i % POOL_CNT]);
		mb_bytes[i].len = mb_bytes[i].user = 0;
	}
	for (uint32_t i = 0; i < LOOSE_CNT; i++) {
		xmb_chunk_release(&loose[i], &caches[0]);
		loose_bytes[i].len = 0;
	}
	for (uint32_t i = 0; i < POOL_CNT; i++) {
		struct xmb_cache *cache = &caches[i];

		MUST(xmb_pool_check(&pools[i], &cache, 1));
		MUST(frames_free(cache) == FRAMES / (i + 1));
		MUST(blocks_free(cache) == BLOCKS);
	}
	if (heap_is_open)
		heap_end();
	for (uint32_t i = 0; i < POOL_CNT; i++) {
		xmb_cache_fini(&caches[i]);
		xmb_pool_fini(&pools[i]);
	}
	MUST(spans_live() == 0);
}
