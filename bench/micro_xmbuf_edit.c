/* SPDX-License-Identifier: BSD-2-Clause */
#include "micro_xmbuf.h"

#include "buf/edit.h"
#include "view/flat.h"
#include "view/layer.h"

enum {
	SEGMENTS = 3,
	RESERVE = 8,
	IP_HEADER = 20,
	PORTS = 8,
	PULLUP = 54,
	BEHIND = 200
};

static struct xmb_multibuf held;

static void hold(void)
{
	packet_of(&held, MICRO_PARTS, MICRO_PART_LEN);
}

static void let_go(void)
{
	drop(&held);
}

static void insert(uint32_t cnt)
{
	for (uint32_t i = 0; i < cnt; i++) {
		struct xmb_multibuf mb = { 0 }, piece = { 0 };

		packet(&mb, MICRO_LONG);
		packet(&piece, MICRO_PIECE);
		must(xmb_multibuf_insert(&mb, MICRO_MIDDLE, &piece,
					 &micro_cache));
		micro_use(&mb);
		drop(&mb);
	}
}

static void take(uint32_t cnt)
{
	for (uint32_t i = 0; i < cnt; i++) {
		struct xmb_multibuf mb = { 0 }, piece = { 0 };

		packet(&mb, MICRO_LONG);
		must(xmb_multibuf_take(&mb, MICRO_MIDDLE, MICRO_PIECE, &piece,
				       &micro_cache));
		micro_use(&mb);
		micro_use(&piece);
		drop(&mb);
		drop(&piece);
	}
}

static void discard_segment(uint32_t cnt)
{
	for (uint32_t i = 0; i < cnt; i++) {
		struct xmb_multibuf mb = { 0 };

		packet(&mb, MICRO_LONG);
		must(xmb_multibuf_discard_segment(&mb, MICRO_MIDDLE,
						  MICRO_PIECE, &micro_cache));
		micro_use(&mb);
		drop(&mb);
	}
}

static void grow(uint32_t cnt)
{
	for (uint32_t i = 0; i < cnt; i++) {
		struct xmb_multibuf mb = { 0 };

		must(xmb_multibuf_alloc(&micro_cache, MICRO_LEN, 0, &mb));
		must(xmb_multibuf_grow_prefix(&mb, MICRO_TRIM, &micro_cache));
		micro_use(&mb);
		drop(&mb);
	}
}

/* The packet fills its frame. */
static void grow_suffix(uint32_t cnt)
{
	for (uint32_t i = 0; i < cnt; i++) {
		struct xmb_multibuf mb = { 0 };

		must(xmb_multibuf_alloc(&micro_cache, MICRO_FRAME_LEN, 0, &mb));
		must(xmb_multibuf_grow_suffix(&mb, MICRO_TRIM, &micro_cache));
		micro_use(&mb);
		drop(&mb);
	}
}

static void push_pop(uint32_t cnt)
{
	struct xmb_chunk c = { 0 };

	must(xmb_chunk_alloc(&micro_cache, &c));
	for (uint32_t i = 0; i < cnt; i++) {
		must(xmb_multibuf_push_front(&held, &c, &micro_cache));
		micro_use(&held);
		must(xmb_multibuf_pop_front(&held, &c, &micro_cache));
		micro_use(&held);
	}
	xmb_chunk_release(&c, &micro_cache);
}

static void insert_chunk(uint32_t cnt)
{
	struct xmb_chunk c = { 0 };

	must(xmb_chunk_alloc(&micro_cache, &c));
	for (uint32_t i = 0; i < cnt; i++) {
		must(xmb_multibuf_insert_chunk(&held, MICRO_PARTS / 2, &c,
					       &micro_cache));
		micro_use(&held);
		must(xmb_multibuf_take_chunk(&held, MICRO_PARTS / 2, &c,
					     &micro_cache));
		micro_use(&held);
	}
	xmb_chunk_release(&c, &micro_cache);
}

static void reserve(uint32_t cnt)
{
	for (uint32_t i = 0; i < cnt; i++) {
		must(xmb_multibuf_reserve(&held, RESERVE, &micro_cache));
		micro_use(&micro_cache);
	}
}

static void fragments(uint32_t cnt)
{
	for (uint32_t i = 0; i < cnt; i++) {
		struct xmb_multibuf train = { 0 }, a = { 0 }, b = { 0 };

		packet(&a, MICRO_LEN);
		packet(&b, MICRO_LEN);
		must(xmb_multibuf_append_fragment(&train, &a, &micro_cache));
		must(xmb_multibuf_append_fragment(&train, &b, &micro_cache));
		micro_use(&train);
		must(xmb_multibuf_take_fragment(&train, &a, &micro_cache));
		must(xmb_multibuf_take_fragment(&train, &b, &micro_cache));
		micro_use(&a);
		micro_use(&b);
		drop(&a);
		drop(&b);
	}
}

static void layers(uint32_t cnt)
{
	uint8_t tmp[PORTS];
	struct xmb_layers l;

	xmb_layers_init(&l, &held);
	for (uint32_t i = 0; i < cnt; i++) {
		must(xmb_layers_push(&l, MICRO_TRIM,
				     xmb_layers_len(&l) - MICRO_TRIM));
		must(xmb_layers_push(&l, IP_HEADER,
				     xmb_layers_len(&l) - IP_HEADER));
		micro_use(xmb_layers_get(&l, 0, sizeof(tmp), tmp));
		must(xmb_layers_pop(&l));
		must(xmb_layers_pop(&l));
	}
}

static void pullup(uint32_t cnt)
{
	for (uint32_t i = 0; i < cnt; i++) {
		struct xmb_multibuf mb = { 0 }, more = { 0 };

		packet(&mb, MICRO_TRIM);
		packet(&more, BEHIND);
		append(&mb, &more);
		must(xmb_flat_pullup(&mb, PULLUP, 0, &micro_cache));
		micro_use(&mb);
		drop(&mb);
	}
}

static void linearize(uint32_t cnt)
{
	for (uint32_t i = 0; i < cnt; i++) {
		struct xmb_multibuf mb = { 0 };

		packet_of(&mb, MICRO_PARTS, MICRO_PART_LEN);
		must(xmb_flat_linearize(&mb, 0, &micro_cache));
		micro_use(&mb);
		drop(&mb);
	}
}

static void gather(uint32_t cnt)
{
	for (uint32_t i = 0; i < cnt; i++) {
		struct xmb_multibuf mb = { 0 };

		packet_of(&mb, MICRO_SMALL_PARTS, MICRO_LEN);
		must(xmb_flat_gather(&mb, MICRO_HEADROOM, &micro_cache));
		micro_use(&mb);
		drop(&mb);
	}
}

static void align(uint32_t cnt)
{
	for (uint32_t i = 0; i < cnt; i++) {
		struct xmb_multibuf mb = { 0 };

		packet(&mb, MICRO_LONG);
		must(xmb_multibuf_align(&mb, MICRO_MIDDLE, MICRO_ALIGN,
					&micro_cache));
		micro_use(&mb);
		drop(&mb);
	}
}

static void overwrite(uint32_t cnt)
{
	for (uint32_t i = 0; i < cnt; i++) {
		struct xmb_multibuf mb = { 0 };

		packet_of(&mb, MICRO_PARTS, MICRO_PART_LEN);
		if (xmb_multibuf_copy_from_and_truncate(
			    &mb, 0, micro_data, MICRO_MIDDLE, &micro_cache) !=
		    MICRO_MIDDLE)
			bench_die("xmb_multibuf_copy_from_and_truncate", 0);
		micro_use(&mb);
		drop(&mb);
	}
}

static void segment(uint32_t cnt)
{
	struct xmb_segment_opts opts = {
		.mtu = MICRO_MTU,
		.headroom = MICRO_HEADER,
	};

	for (uint32_t i = 0; i < cnt; i++) {
		struct xmb_multibuf payload = { 0 }, segments[SEGMENTS] = { 0 };

		packet(&payload, MICRO_PAYLOAD);
		if (xmb_allocator_segment(&micro_allocator, &payload, &opts,
					  segments, SEGMENTS) != SEGMENTS)
			bench_die("xmb_allocator_segment", 0);
		micro_use(segments);
		xmb_multibuf_release_bulk(segments, SEGMENTS, &micro_cache);
	}
}

#define HELD(fn)                                                               \
	{                                                                      \
		.run = fn, .begin = hold, .end = let_go                        \
	}

const struct micro_step micro_xmbuf_edits[MICRO_ROW_CNT] = {
	[MICRO_insert] = { .run = insert },
	[MICRO_take] = { .run = take },
	[MICRO_discard_segment] = { .run = discard_segment },
	[MICRO_grow] = { .run = grow },
	[MICRO_grow_suffix] = { .run = grow_suffix },
	[MICRO_push_pop] = HELD(push_pop),
	[MICRO_insert_chunk] = HELD(insert_chunk),
	[MICRO_reserve] = HELD(reserve),
	[MICRO_fragments] = { .run = fragments },
	[MICRO_layers] = HELD(layers),
	[MICRO_pullup] = { .run = pullup },
	[MICRO_linearize] = { .run = linearize },
	[MICRO_gather] = { .run = gather },
	[MICRO_align] = { .run = align },
	[MICRO_overwrite] = { .run = overwrite },
	[MICRO_segment] = { .run = segment },
};
