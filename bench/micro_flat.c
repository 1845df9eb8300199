/* SPDX-License-Identifier: BSD-2-Clause */
#include "micro.h"

#include <endian.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

/*
 * What somebody does who has no chain: each packet is one allocation with room
 * in front, and what changes its parts copies bytes.  Where nothing is left to
 * do (no chunks, no layers, all of it contiguous) there is no step.
 */

struct flat {
	uint8_t *mem;
	uint32_t off, len;
};

static struct flat in_flight[MICRO_IN_FLIGHT];
static uint32_t oldest;
static uint8_t bytes_held[MICRO_LONG], copy[MICRO_LONG];

static void init(void)
{
	memcpy(bytes_held, micro_data, MICRO_LONG);
	memcpy(copy, micro_data, MICRO_LONG);
}

static void must(bool is_done)
{
	if (!is_done)
		abort();
}

static struct flat packet(uint32_t len)
{
	struct flat p = { malloc(MICRO_HEADROOM + (size_t)len), MICRO_HEADROOM,
			  len };

	must(p.mem);
	return p;
}

static uint8_t *at(const struct flat *p, uint32_t off)
{
	return p->mem + p->off + off;
}

static void drop(struct flat *p)
{
	free(p->mem);
	*p = (struct flat){ 0 };
}

static void extend(struct flat *p, uint32_t n)
{
	uint8_t *mem = realloc(p->mem, (size_t)p->off + p->len + n);

	must(mem);
	p->mem = mem;
	p->len += n;
}

static void append(struct flat *p, struct flat *more)
{
	extend(p, more->len);
	memcpy(at(p, p->len - more->len), at(more, 0), more->len);
	drop(more);
}

static void alloc(uint32_t cnt)
{
	for (uint32_t i = 0; i < cnt; i++) {
		struct flat p = packet(MICRO_LEN);

		micro_use(p.mem);
		drop(&p);
	}
}

static void bulk(uint32_t cnt)
{
	struct flat p[MICRO_BULK];

	for (uint32_t i = 0; i < cnt; i++) {
		for (int k = 0; k < MICRO_BULK; k++)
			p[k] = packet(MICRO_FRAME_LEN);
		micro_use(p);
		for (int k = 0; k < MICRO_BULK; k++)
			drop(&p[k]);
	}
}

static void trim_packet(struct flat *p)
{
	must(p->len >= MICRO_TRIM);
	p->off += MICRO_TRIM;
	p->len -= MICRO_TRIM;
	micro_use(p);
	must(p->off >= MICRO_TRIM);
	p->off -= MICRO_TRIM;
	p->len += MICRO_TRIM;
	micro_use(p);
}

static void trim(uint32_t cnt)
{
	for (uint32_t i = 0; i < cnt; i++) {
		struct flat p = packet(MICRO_LEN);

		trim_packet(&p);
		drop(&p);
	}
}

static void fly(void)
{
	for (uint32_t i = 0; i < MICRO_IN_FLIGHT; i++)
		in_flight[i] = packet(MICRO_LEN);
}

static void land(void)
{
	for (uint32_t i = 0; i < MICRO_IN_FLIGHT; i++)
		drop(&in_flight[i]);
}

static struct flat exchange(struct flat p)
{
	struct flat old = in_flight[oldest];

	in_flight[oldest] = p;
	oldest = (oldest + 1) % MICRO_IN_FLIGHT;
	return old;
}

static void trim_fifo(uint32_t cnt)
{
	for (uint32_t i = 0; i < cnt; i++) {
		struct flat p = exchange(packet(MICRO_LEN));

		trim_packet(&p);
		drop(&p);
	}
}

static void chain(uint32_t cnt)
{
	for (uint32_t i = 0; i < cnt; i++) {
		struct flat p = packet(MICRO_LEN), more = packet(MICRO_LEN);

		append(&p, &more);
		micro_use(&p);
		drop(&p);
	}
}

static void chain_fifo(uint32_t cnt)
{
	for (uint32_t i = 0; i < cnt; i++) {
		struct flat p = exchange(packet(MICRO_LEN));
		struct flat more = exchange(packet(MICRO_LEN));

		append(&p, &more);
		micro_use(&p);
		drop(&p);
	}
}

static void make_one(uint32_t cnt, uint32_t parts, uint32_t len)
{
	for (uint32_t i = 0; i < cnt; i++) {
		struct flat p = packet(len);

		for (uint32_t k = 1; k < parts; k++) {
			struct flat more = packet(len);

			append(&p, &more);
		}
		micro_use(&p);
		drop(&p);
	}
}

static void chain4(uint32_t cnt)
{
	make_one(cnt, MICRO_PARTS, MICRO_PART_LEN);
}

static void gather(uint32_t cnt)
{
	make_one(cnt, MICRO_SMALL_PARTS, MICRO_LEN);
}

static void fifo(uint32_t cnt)
{
	for (uint32_t i = 0; i < cnt; i++) {
		struct flat p = exchange(packet(MICRO_LEN));

		drop(&p);
	}
}

static void keep(uint32_t cnt, uint32_t from, uint32_t to)
{
	for (uint32_t i = 0; i < cnt; i++) {
		struct flat p = packet(MICRO_LONG);

		must(to <= p.len);
		p.off += from;
		p.len = to - from;
		micro_use(&p);
		drop(&p);
	}
}

static void truncate_packet(uint32_t cnt)
{
	keep(cnt, 0, MICRO_PIECE);
}

static void slice(uint32_t cnt)
{
	keep(cnt, MICRO_MIDDLE, MICRO_MIDDLE + MICRO_PIECE);
}

/* There is no more room than bytes. */
static void claim_suffix(uint32_t cnt)
{
	for (uint32_t i = 0; i < cnt; i++) {
		struct flat p = packet(MICRO_LEN);

		extend(&p, MICRO_PIECE);
		micro_use(&p);
		drop(&p);
	}
}

static void grow_suffix(uint32_t cnt)
{
	for (uint32_t i = 0; i < cnt; i++) {
		struct flat p = packet(MICRO_FRAME_LEN);

		extend(&p, MICRO_TRIM);
		micro_use(&p);
		drop(&p);
	}
}

/* A packet of its own of the n bytes at off. */
static struct flat copy_of(const struct flat *p, uint32_t off, uint32_t n)
{
	struct flat made = packet(n);

	memcpy(at(&made, 0), at(p, off), n);
	return made;
}

static void split(uint32_t cnt)
{
	for (uint32_t i = 0; i < cnt; i++) {
		struct flat head = packet(MICRO_LONG);
		struct flat payload =
			copy_of(&head, MICRO_HEADER, MICRO_LONG - MICRO_HEADER);

		head.len = MICRO_HEADER;
		micro_use(&head);
		micro_use(&payload);
		drop(&head);
		drop(&payload);
	}
}

static void merge(uint32_t cnt)
{
	for (uint32_t i = 0; i < cnt; i++) {
		struct flat head = packet(MICRO_LONG);
		struct flat payload =
			copy_of(&head, MICRO_HEADER, MICRO_LONG - MICRO_HEADER);

		head.len = MICRO_HEADER;
		micro_use(&head);
		micro_use(&payload);
		append(&head, &payload);
		micro_use(&head);
		drop(&head);
	}
}

static void share(uint32_t cnt)
{
	for (uint32_t i = 0; i < cnt; i++) {
		struct flat p = packet(MICRO_LONG);
		struct flat clone = copy_of(&p, 0, MICRO_LONG);

		micro_use(&p);
		micro_use(&clone);
		drop(&p);
		drop(&clone);
	}
}

static void segment(uint32_t cnt)
{
	enum { SEGMENTS = (MICRO_PAYLOAD + MICRO_MTU - 1) / MICRO_MTU };
	struct flat segments[SEGMENTS];

	for (uint32_t i = 0; i < cnt; i++) {
		struct flat payload = packet(MICRO_PAYLOAD);

		for (uint32_t k = 0; k < SEGMENTS; k++) {
			uint32_t left = MICRO_PAYLOAD - k * MICRO_MTU;

			segments[k] =
				copy_of(&payload, k * MICRO_MTU,
					left < MICRO_MTU ? left : MICRO_MTU);
		}
		drop(&payload);
		micro_use(segments);
		for (uint32_t k = 0; k < SEGMENTS; k++)
			drop(&segments[k]);
	}
}

static void insert(uint32_t cnt)
{
	for (uint32_t i = 0; i < cnt; i++) {
		struct flat p = packet(MICRO_LONG);
		struct flat piece = packet(MICRO_PIECE);

		extend(&p, MICRO_PIECE);
		memmove(at(&p, MICRO_MIDDLE + MICRO_PIECE),
			at(&p, MICRO_MIDDLE), MICRO_LONG - MICRO_MIDDLE);
		memcpy(at(&p, MICRO_MIDDLE), at(&piece, 0), MICRO_PIECE);
		micro_use(&p);
		drop(&piece);
		drop(&p);
	}
}

static void close_gap(struct flat *p)
{
	memmove(at(p, MICRO_MIDDLE), at(p, MICRO_MIDDLE + MICRO_PIECE),
		p->len - MICRO_MIDDLE - MICRO_PIECE);
	p->len -= MICRO_PIECE;
}

static void take(uint32_t cnt)
{
	for (uint32_t i = 0; i < cnt; i++) {
		struct flat p = packet(MICRO_LONG);
		struct flat piece = copy_of(&p, MICRO_MIDDLE, MICRO_PIECE);

		close_gap(&p);
		micro_use(&p);
		micro_use(&piece);
		drop(&p);
		drop(&piece);
	}
}

static void discard_segment(uint32_t cnt)
{
	for (uint32_t i = 0; i < cnt; i++) {
		struct flat p = packet(MICRO_LONG);

		close_gap(&p);
		micro_use(&p);
		drop(&p);
	}
}

static void grow(uint32_t cnt)
{
	for (uint32_t i = 0; i < cnt; i++) {
		struct flat p = { malloc(MICRO_LEN), 0, MICRO_LEN };
		struct flat wide = packet(MICRO_TRIM + MICRO_LEN);

		must(p.mem);
		memcpy(at(&wide, MICRO_TRIM), at(&p, 0), p.len);
		micro_use(&wide);
		drop(&p);
		drop(&wide);
	}
}

/* All of it moves, to where the byte lies as is asked. */
static void align(uint32_t cnt)
{
	enum { OFF = MICRO_HEADROOM, AT = OFF + MICRO_MIDDLE };
	const uint32_t pad = (MICRO_ALIGN - AT % MICRO_ALIGN) % MICRO_ALIGN;
	const size_t len = OFF + pad + MICRO_LONG;

	for (uint32_t i = 0; i < cnt; i++) {
		struct flat p = packet(MICRO_LONG);
		struct flat made = { NULL, OFF + pad, MICRO_LONG };

		made.mem = aligned_alloc(MICRO_ALIGN,
					 len + MICRO_ALIGN - len % MICRO_ALIGN);
		must(made.mem);
		memcpy(at(&made, 0), at(&p, 0), MICRO_LONG);
		drop(&p);
		micro_use(&made);
		drop(&made);
	}
}

static void overwrite(uint32_t cnt)
{
	for (uint32_t i = 0; i < cnt; i++) {
		struct flat p = packet(MICRO_LONG);

		memcpy(at(&p, 0), micro_data, MICRO_MIDDLE);
		p.len = MICRO_MIDDLE;
		micro_use(&p);
		drop(&p);
	}
}

static void copy_to(uint32_t cnt)
{
	for (uint32_t i = 0; i < cnt; i++) {
		memcpy(copy, bytes_held, MICRO_LONG);
		micro_use(copy);
	}
}

static void copy_from(uint32_t cnt)
{
	for (uint32_t i = 0; i < cnt; i++) {
		memcpy(bytes_held, micro_data, MICRO_LONG);
		micro_use(bytes_held);
	}
}

static void equal(uint32_t cnt)
{
	for (uint32_t i = 0; i < cnt; i++) {
		must(memcmp(bytes_held, copy, MICRO_LONG) == 0);
		micro_use(bytes_held);
	}
}

static void find_byte(uint32_t cnt)
{
	for (uint32_t i = 0; i < cnt; i++) {
		must(memchr(bytes_held, MICRO_MARK, MICRO_LONG));
		micro_use(bytes_held);
	}
}

static void find(uint32_t cnt)
{
	const uint8_t *last = micro_data + MICRO_LONG - 4;

	for (uint32_t i = 0; i < cnt; i++) {
		must(memmem(bytes_held, MICRO_LONG, last, 4));
		micro_use(bytes_held);
	}
}

static void bytes(uint32_t cnt)
{
	uint32_t sum = 0;

	for (uint32_t i = 0; i < cnt; i++) {
		for (uint32_t k = 0; k < MICRO_LONG; k++) {
			sum += bytes_held[k];
			micro_keep(sum);
		}
	}
}

static void bytes_back(uint32_t cnt)
{
	uint32_t sum = 0;

	for (uint32_t i = 0; i < cnt; i++) {
		for (uint32_t k = MICRO_LONG; k-- > 0;) {
			sum += bytes_held[k];
			micro_keep(sum);
		}
	}
}

static void get_be32(uint32_t cnt)
{
	uint32_t raw;

	for (uint32_t i = 0; i < cnt; i++) {
		for (uint32_t k = 0; k < MICRO_WORDS; k++) {
			memcpy(&raw, bytes_held + k * 4, sizeof(raw));
			raw = be32toh(raw);
			micro_keep(raw);
		}
	}
}

static void get_be32_across(uint32_t cnt)
{
	uint32_t raw;

	for (uint32_t i = 0; i < cnt; i++) {
		for (uint32_t k = 0; k < MICRO_TORN; k++) {
			memcpy(&raw, bytes_held + 2 + k * 4, sizeof(raw));
			raw = be32toh(raw);
			micro_keep(raw);
		}
	}
}

static void put_be32(uint32_t cnt)
{
	for (uint32_t i = 0; i < cnt; i++) {
		for (uint32_t k = 0; k < MICRO_WORDS; k++) {
			uint32_t raw = htobe32(k);

			micro_keep(raw);
			memcpy(copy + k * 4, &raw, sizeof(raw));
		}
		micro_use(copy);
	}
	memcpy(copy, micro_data, MICRO_LONG);
}

static const struct micro_step steps[MICRO_ROW_CNT] = {
	[MICRO_alloc] = { .run = alloc },
	[MICRO_bulk] = { .run = bulk },
	[MICRO_allocator] = { .run = alloc },
	[MICRO_trim] = { .run = trim },
	[MICRO_trim_fifo] = { .run = trim_fifo, .begin = fly, .end = land },
	[MICRO_chain] = { .run = chain },
	[MICRO_chain_fifo] = { .run = chain_fifo, .begin = fly, .end = land },
	[MICRO_chain4] = { .run = chain4 },
	[MICRO_fifo] = { .run = fifo, .begin = fly, .end = land },
	[MICRO_truncate] = { .run = truncate_packet },
	[MICRO_slice] = { .run = slice },
	[MICRO_claim_suffix] = { .run = claim_suffix },
	[MICRO_split] = { .run = split },
	[MICRO_merge] = { .run = merge },
	[MICRO_share] = { .run = share },
	[MICRO_share4] = { .run = share },
	[MICRO_unshare] = { .run = share },
	[MICRO_insert] = { .run = insert },
	[MICRO_take] = { .run = take },
	[MICRO_discard_segment] = { .run = discard_segment },
	[MICRO_grow] = { .run = grow },
	[MICRO_grow_suffix] = { .run = grow_suffix },
	[MICRO_linearize] = { .run = chain4 },
	[MICRO_gather] = { .run = gather },
	[MICRO_align] = { .run = align },
	[MICRO_overwrite] = { .run = overwrite },
	[MICRO_segment] = { .run = segment },
	[MICRO_copy_to] = { .run = copy_to },
	[MICRO_copy_from] = { .run = copy_from },
	[MICRO_equal] = { .run = equal },
	[MICRO_compare] = { .run = equal },
	[MICRO_find_byte] = { .run = find_byte },
	[MICRO_find] = { .run = find },
	[MICRO_bytes] = { .run = bytes },
	[MICRO_bytes_back] = { .run = bytes_back },
	[MICRO_get_be32] = { .run = get_be32 },
	[MICRO_get_be32_across] = { .run = get_be32_across },
	[MICRO_put_be32] = { .run = put_be32 },
};

const struct micro_contender micro_flat = {
	.name = "malloc",
	.init = init,
	.tables = { steps },
};
