/* SPDX-License-Identifier: BSD-2-Clause */
#include "micro.h"

#include <arpa/inet.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include <lwip/pbuf.h>

/*
 * lwIP cannot cut a pbuf in two that are freed apart, and has no views: a
 * share is one reference more to the same pbuf.
 */

enum { IP_HEADER = 20, PORTS = 8 };

static struct pbuf *in_flight[MICRO_IN_FLIGHT];
static struct pbuf *held, *whole, *torn;
static uint32_t oldest;

static void init(void)
{
	pbuf_init();
}

static void must(bool is_done)
{
	if (!is_done)
		abort();
}

/* As a driver takes one to receive into. */
static struct pbuf *packet(uint16_t len)
{
	struct pbuf *p = pbuf_alloc(PBUF_RAW, len, PBUF_POOL);

	must(p);
	return p;
}

static struct pbuf *packet_of(uint32_t cnt, uint16_t len)
{
	struct pbuf *p = packet(len);

	for (uint32_t i = 1; i < cnt; i++)
		pbuf_cat(p, packet(len));
	return p;
}

static void alloc(uint32_t cnt)
{
	for (uint32_t i = 0; i < cnt; i++) {
		struct pbuf *p = packet(MICRO_LEN);

		micro_use(p);
		pbuf_free(p);
	}
}

/* As a sender does, with room for headers. */
static void alloc_ram(uint32_t cnt)
{
	for (uint32_t i = 0; i < cnt; i++) {
		struct pbuf *p =
			pbuf_alloc(PBUF_TRANSPORT, MICRO_LEN, PBUF_RAM);

		micro_use(p);
		pbuf_free(p);
	}
}

static void trim_packet(struct pbuf *p)
{
	must(pbuf_remove_header(p, MICRO_TRIM) == 0);
	micro_use(p);
	must(pbuf_add_header(p, MICRO_TRIM) == 0);
	micro_use(p);
}

static void trim(uint32_t cnt)
{
	for (uint32_t i = 0; i < cnt; i++) {
		struct pbuf *p = packet(MICRO_LEN);

		trim_packet(p);
		pbuf_free(p);
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
		pbuf_free(in_flight[i]);
}

static struct pbuf *exchange(struct pbuf *p)
{
	struct pbuf *old = in_flight[oldest];

	in_flight[oldest] = p;
	oldest = (oldest + 1) % MICRO_IN_FLIGHT;
	return old;
}

static void trim_fifo(uint32_t cnt)
{
	for (uint32_t i = 0; i < cnt; i++) {
		struct pbuf *p = exchange(packet(MICRO_LEN));

		trim_packet(p);
		pbuf_free(p);
	}
}

static void chain(uint32_t cnt)
{
	for (uint32_t i = 0; i < cnt; i++) {
		struct pbuf *p = packet_of(2, MICRO_LEN);

		micro_use(p);
		pbuf_free(p);
	}
}

static void chain_fifo(uint32_t cnt)
{
	for (uint32_t i = 0; i < cnt; i++) {
		struct pbuf *p = exchange(packet(MICRO_LEN));

		pbuf_cat(p, exchange(packet(MICRO_LEN)));
		micro_use(p);
		pbuf_free(p);
	}
}

static void chain4(uint32_t cnt)
{
	for (uint32_t i = 0; i < cnt; i++) {
		struct pbuf *p = packet_of(MICRO_PARTS, MICRO_PART_LEN);

		micro_use(p);
		pbuf_free(p);
	}
}

static void fifo(uint32_t cnt)
{
	for (uint32_t i = 0; i < cnt; i++)
		pbuf_free(exchange(packet(MICRO_LEN)));
}

static void truncate_packet(uint32_t cnt)
{
	for (uint32_t i = 0; i < cnt; i++) {
		struct pbuf *p = packet(MICRO_LONG);

		pbuf_realloc(p, MICRO_PIECE);
		micro_use(p);
		pbuf_free(p);
	}
}

static void slice(uint32_t cnt)
{
	for (uint32_t i = 0; i < cnt; i++) {
		struct pbuf *p = packet(MICRO_LONG);

		pbuf_realloc(p, MICRO_MIDDLE + MICRO_PIECE);
		p = pbuf_free_header(p, MICRO_MIDDLE);
		micro_use(p);
		pbuf_free(p);
	}
}

static void share_packet(struct pbuf *p)
{
	pbuf_ref(p);
	micro_use(p);
	pbuf_free(p);
	pbuf_free(p);
}

static void share(uint32_t cnt)
{
	for (uint32_t i = 0; i < cnt; i++)
		share_packet(packet(MICRO_LONG));
}

static void share4(uint32_t cnt)
{
	for (uint32_t i = 0; i < cnt; i++)
		share_packet(packet_of(MICRO_PARTS, MICRO_PART_LEN));
}

static void was_freed(struct pbuf *p)
{
	micro_use(p->payload);
}

static void extbuf(uint32_t cnt)
{
	static uint8_t mem[MICRO_FRAME_LEN];
	struct pbuf_custom custom = { .custom_free_function = was_freed };

	for (uint32_t i = 0; i < cnt; i++) {
		struct pbuf *p =
			pbuf_alloced_custom(PBUF_RAW, sizeof(mem), PBUF_REF,
					    &custom, mem, sizeof(mem));

		must(p);
		micro_use(p);
		pbuf_free(p);
	}
}

static void grow(uint32_t cnt)
{
	for (uint32_t i = 0; i < cnt; i++) {
		struct pbuf *p = packet(MICRO_LEN);
		struct pbuf *header =
			pbuf_alloc(PBUF_RAW, MICRO_TRIM, PBUF_RAM);

		must(header);
		pbuf_cat(header, p);
		micro_use(header);
		pbuf_free(header);
	}
}

static void grow_suffix(uint32_t cnt)
{
	for (uint32_t i = 0; i < cnt; i++) {
		struct pbuf *p = packet(MICRO_LONG);

		pbuf_cat(p, packet(MICRO_TRIM));
		micro_use(p);
		pbuf_free(p);
	}
}

/* A boundary is a pbuf of which the train has a reference of its own. */
static void fragments(uint32_t cnt)
{
	for (uint32_t i = 0; i < cnt; i++) {
		struct pbuf *a = packet(MICRO_LEN), *b = packet(MICRO_LEN);

		pbuf_chain(a, b);
		micro_use(a);
		must(pbuf_dechain(a) == b);
		micro_use(a);
		pbuf_free(a);
		pbuf_free(b);
	}
}

static void make_one(uint32_t cnt, uint32_t parts, uint16_t len)
{
	for (uint32_t i = 0; i < cnt; i++) {
		struct pbuf *p = packet_of(parts, len);

		p = pbuf_coalesce(p, PBUF_RAW);
		must(!p->next);
		micro_use(p);
		pbuf_free(p);
	}
}

static void linearize(uint32_t cnt)
{
	make_one(cnt, MICRO_PARTS, MICRO_PART_LEN);
}

static void gather(uint32_t cnt)
{
	make_one(cnt, MICRO_SMALL_PARTS, MICRO_LEN);
}

static void overwrite(uint32_t cnt)
{
	for (uint32_t i = 0; i < cnt; i++) {
		struct pbuf *p = packet_of(MICRO_PARTS, MICRO_PART_LEN);

		must(pbuf_take(p, micro_data, MICRO_MIDDLE) == ERR_OK);
		pbuf_realloc(p, MICRO_MIDDLE);
		micro_use(p);
		pbuf_free(p);
	}
}

static void hold(void)
{
	held = packet_of(MICRO_PARTS, MICRO_PART_LEN);
	must(pbuf_take(held, micro_data, MICRO_LONG) == ERR_OK);
	whole = pbuf_alloc(PBUF_RAW, MICRO_LONG, PBUF_RAM);
	must(whole);
	torn = packet(2);
	for (uint32_t i = 1; i < MICRO_TORN; i++)
		pbuf_cat(torn, packet(sizeof(uint32_t)));
	pbuf_cat(torn, packet(2));
}

static void let_go(void)
{
	pbuf_free(held);
	pbuf_free(whole);
	pbuf_free(torn);
}

static void push_pop(uint32_t cnt)
{
	struct pbuf *p = packet(MICRO_LEN);

	for (uint32_t i = 0; i < cnt; i++) {
		pbuf_chain(p, held);
		micro_use(p);
		must(pbuf_dechain(p) == held);
		micro_use(p);
	}
	pbuf_free(p);
}

static void layers(uint32_t cnt)
{
	uint8_t tmp[PORTS];

	for (uint32_t i = 0; i < cnt; i++) {
		must(pbuf_remove_header(held, MICRO_TRIM) == 0);
		must(pbuf_remove_header(held, IP_HEADER) == 0);
		micro_use(pbuf_get_contiguous(held, tmp, sizeof(tmp),
					      sizeof(tmp), 0));
		must(pbuf_add_header(held, IP_HEADER) == 0);
		must(pbuf_add_header(held, MICRO_TRIM) == 0);
	}
}

static void index_at(uint32_t cnt)
{
	uint16_t off = MICRO_BORDER + 200, in_off;

	for (uint32_t i = 0; i < cnt; i++) {
		micro_keep(off);
		micro_use(pbuf_skip(held, off, &in_off));
		micro_use(&in_off);
	}
}

static void get(uint32_t cnt, uint16_t off)
{
	uint8_t tmp[MICRO_ACROSS];

	for (uint32_t i = 0; i < cnt; i++) {
		micro_keep(off);
		micro_use(pbuf_get_contiguous(held, tmp, sizeof(tmp),
					      sizeof(tmp), off));
	}
}

static void get_inside(uint32_t cnt)
{
	get(cnt, MICRO_PIECE);
}

static void get_across(uint32_t cnt)
{
	get(cnt, MICRO_BORDER - MICRO_ACROSS / 2);
}

static void copy_to(uint32_t cnt)
{
	static uint8_t flat[MICRO_LONG];

	for (uint32_t i = 0; i < cnt; i++) {
		must(pbuf_copy_partial(held, flat, MICRO_LONG, 0) ==
		     MICRO_LONG);
		micro_use(flat);
	}
}

static void copy_from(uint32_t cnt)
{
	for (uint32_t i = 0; i < cnt; i++) {
		must(pbuf_take(held, micro_data, MICRO_LONG) == ERR_OK);
		micro_use(held);
	}
}

static void equal(uint32_t cnt)
{
	for (uint32_t i = 0; i < cnt; i++) {
		must(pbuf_memcmp(held, 0, micro_data, MICRO_LONG) == 0);
		micro_use(held);
	}
}

static void find_last(uint32_t cnt, uint16_t n)
{
	const uint8_t *last = micro_data + MICRO_LONG - n;

	for (uint32_t i = 0; i < cnt; i++) {
		must(pbuf_memfind(held, last, n, 0) == MICRO_LONG - n);
		micro_use(held);
	}
}

static void find_byte(uint32_t cnt)
{
	find_last(cnt, 1);
}

static void find(uint32_t cnt)
{
	find_last(cnt, 4);
}

static void bytes(uint32_t cnt)
{
	uint32_t sum = 0;

	for (uint32_t i = 0; i < cnt; i++) {
		for (uint16_t k = 0; k < MICRO_LONG; k++) {
			sum += pbuf_get_at(held, k);
			micro_keep(sum);
		}
	}
}

static void bytes_back(uint32_t cnt)
{
	uint32_t sum = 0;

	for (uint32_t i = 0; i < cnt; i++) {
		for (uint16_t k = MICRO_LONG; k-- > 0;) {
			sum += pbuf_get_at(held, k);
			micro_keep(sum);
		}
	}
}

static void read_words(const struct pbuf *p, uint32_t cnt, uint32_t words)
{
	uint32_t raw;

	for (uint32_t i = 0; i < cnt; i++) {
		for (uint32_t k = 0; k < words; k++) {
			must(pbuf_copy_partial(p, &raw, sizeof(raw),
					       (uint16_t)(k * 4)) == 4);
			raw = ntohl(raw);
			micro_keep(raw);
		}
	}
}

static void get_be32(uint32_t cnt)
{
	read_words(whole, cnt, MICRO_WORDS);
}

static void get_be32_across(uint32_t cnt)
{
	read_words(torn, cnt, MICRO_TORN);
}

static void put_be32(uint32_t cnt)
{
	for (uint32_t i = 0; i < cnt; i++) {
		for (uint32_t k = 0; k < MICRO_WORDS; k++) {
			uint32_t raw = htonl(k);

			must(pbuf_take_at(whole, &raw, sizeof(raw),
					  (uint16_t)(k * 4)) == ERR_OK);
		}
		micro_use(whole);
	}
}

#define HELD(fn)                                                               \
	{                                                                      \
		.run = fn, .begin = hold, .end = let_go                        \
	}

static const struct micro_step steps[MICRO_ROW_CNT] = {
	[MICRO_alloc] = { .run = alloc },
	[MICRO_allocator] = { .run = alloc_ram },
	[MICRO_trim] = { .run = trim },
	[MICRO_trim_fifo] = { .run = trim_fifo, .begin = fly, .end = land },
	[MICRO_chain] = { .run = chain },
	[MICRO_chain_fifo] = { .run = chain_fifo, .begin = fly, .end = land },
	[MICRO_chain4] = { .run = chain4 },
	[MICRO_fifo] = { .run = fifo, .begin = fly, .end = land },
	[MICRO_truncate] = { .run = truncate_packet },
	[MICRO_slice] = { .run = slice },
	[MICRO_share] = { .run = share },
	[MICRO_share4] = { .run = share4 },
	[MICRO_extbuf] = { .run = extbuf },
	[MICRO_grow] = { .run = grow },
	[MICRO_grow_suffix] = { .run = grow_suffix },
	[MICRO_push_pop] = HELD(push_pop),
	[MICRO_fragments] = { .run = fragments },
	[MICRO_layers] = HELD(layers),
	[MICRO_linearize] = { .run = linearize },
	[MICRO_gather] = { .run = gather },
	[MICRO_overwrite] = { .run = overwrite },
	[MICRO_index_at] = HELD(index_at),
	[MICRO_get_inside] = HELD(get_inside),
	[MICRO_get_across] = HELD(get_across),
	[MICRO_copy_to] = HELD(copy_to),
	[MICRO_copy_from] = HELD(copy_from),
	[MICRO_equal] = HELD(equal),
	[MICRO_find_byte] = HELD(find_byte),
	[MICRO_find] = HELD(find),
	[MICRO_bytes] = HELD(bytes),
	[MICRO_bytes_back] = HELD(bytes_back),
	[MICRO_get_be32] = HELD(get_be32),
	[MICRO_get_be32_across] = HELD(get_be32_across),
	[MICRO_put_be32] = HELD(put_be32),
};

const struct micro_contender micro_lwip = {
	.name = "pbuf",
	.init = init,
	.tables = { steps },
};
