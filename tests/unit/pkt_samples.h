/* SPDX-License-Identifier: BSD-2-Clause */
#ifndef XMBUF_TESTS_PKT_SAMPLES_H
#define XMBUF_TESTS_PKT_SAMPLES_H

#include "buf/extbuf.h"
#include "pkt/parse.h"

#include <criterion/criterion.h>
#include <criterion/new/assert.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

/*
 * pkt_samples: packets made by hand, and chains of them in guarded memory.
 *
 *      guard [ page 0 ........ piece 0] guard [piece 2 ...... page 2] guard
 *            \________ a slot _______/ or left \______ a slot _____/
 *
 * Each piece of a packet is a span of its own that touches an unmapped page:
 * one byte read beyond it, to the right or, when is_left, to the left, ends
 * the test in every build.  The checksums of the samples were verified with
 * Wireshark.
 */

struct sample {
	const char *name, *hex;
	struct xmb_parse parse;
};

static const struct sample samples[] = {
	{ "arp",
	  "0200000000020200000000010806"
	  "00010800060400010200000000010a0000010000000000000a000002",
	  { .ether_type = 0x0806, .l3_off = 14 } },
	{ "llc",
	  "0200000000020200000000010026"
	  "42420300000000000000000000000000000000000000000000000000"
	  "00000000000000000000",
	  { .ether_type = 0x0026, .l3_off = 14 } },
	{ "ipv4_icmp",
	  "0200000000020200000000010800"
	  "4500002012344000400114a70a0000010a0000020800192d00010001"
	  "70696e67",
	  { .ether_type = 0x0800, .l3_off = 14, .l4_off = 34, .l4_len = 12,
	    .l4_proto = 1 } },
	{ "ipv4_udp_odd",
	  "0200000000020200000000010800"
	  "4500001f12344000401114980a0000010a00000212340035000b150a"
	  "616263",
	  { .ether_type = 0x0800, .l3_off = 14, .l4_off = 34, .l4_len = 11,
	    .l4_proto = 17, .l4_hdr_len = 8 } },
	{ "ipv4_udp_padded",
	  "0200000000020200000000010800"
	  "4500001f12344000401114980a0000010a00000212340035000b150a"
	  "616263deadbeefdeadbeefdeadbeefdead99",
	  { .ether_type = 0x0800, .l3_off = 14, .l4_off = 34, .l4_len = 11,
	    .l4_proto = 17, .l4_hdr_len = 8 } },
	{ "ipv4_udp_no_checksum",
	  "0200000000020200000000010800"
	  "4500001f12344000401114980a0000010a00000212340035000b0000"
	  "616263",
	  { .ether_type = 0x0800, .l3_off = 14, .l4_off = 34, .l4_len = 11,
	    .l4_proto = 17, .l4_hdr_len = 8 } },
	{ "ipv4_udp_shorter_than_ip",
	  "0200000000020200000000010800"
	  "4500002212344000401114950a0000010a00000212340035000b150a"
	  "616263646566",
	  { .ether_type = 0x0800, .l3_off = 14, .l4_off = 34, .l4_len = 14,
	    .l4_proto = 17, .l4_hdr_len = 8 } },
	{ "ipv4_tcp",
	  "0200000000020200000000010800"
	  "4500002f12344000400614930a0000010a0000029c40005001020304"
	  "050607085018faf01fbb0000474554202f0d0a",
	  { .ether_type = 0x0800, .l3_off = 14, .l4_off = 34, .l4_len = 27,
	    .l4_proto = 6, .l4_hdr_len = 20 } },
	{ "ipv4_tcp_options",
	  "0200000000020200000000010800"
	  "4500004012344000400614820a0000010a0000029c40005001020304"
	  "050607088018faf079fc00000101080a000000640000006568656c6c"
	  "6f2c20776f726c64",
	  { .ether_type = 0x0800, .l3_off = 14, .l4_off = 34, .l4_len = 44,
	    .l4_proto = 6, .l4_hdr_len = 32 } },
	{ "ipv4_options_udp",
	  "0200000000020200000000010800"
	  "470000271234400040117d8b0a0000010a0000029404000001000000"
	  "12340035000b150a616263",
	  { .ether_type = 0x0800, .l3_off = 14, .l4_off = 42, .l4_len = 11,
	    .l4_proto = 17, .l4_hdr_len = 8 } },
	{ "ipv4_route_to_go",
	  "0200000000020200000000010800"
	  "4700002712344000401100000a0000010a000002018307040a000009"
	  "12340035000b1503616263",
	  { .ether_type = 0x0800, .l3_off = 14, .l4_off = 42, .l4_len = 11,
	    .l4_proto = 17, .l4_hdr_len = 8, .is_rerouted = true } },
	{ "ipv4_route_done",
	  "0200000000020200000000010800"
	  "47000027123440004011fffb0a0000010a000002018307080a000009"
	  "12340035000b150a616263",
	  { .ether_type = 0x0800, .l3_off = 14, .l4_off = 42, .l4_len = 11,
	    .l4_proto = 17, .l4_hdr_len = 8 } },
	{ "ipv4_sctp",
	  "0200000000020200000000010800"
	  "4500002412344000408414200a0000010a0000020bb80bb900000001"
	  "0000000000000000",
	  { .ether_type = 0x0800, .l3_off = 14, .l4_off = 34, .l4_len = 16,
	    .l4_proto = 132 } },
	{ "ipv4_first_fragment",
	  "0200000000020200000000010800"
	  "4500002412342000401134930a0000010a000002123400350018aa1b"
	  "3031323334353637",
	  { .ether_type = 0x0800, .l3_off = 14, .l4_off = 34, .l4_len = 16,
	    .l4_proto = 17, .l4_hdr_len = 8, .is_fragment = true,
	    .is_first_fragment = true } },
	{ "ipv4_later_fragment",
	  "0200000000020200000000010800"
	  "4500001c12340002401154990a0000010a0000023839616263646566",
	  { .ether_type = 0x0800, .l3_off = 14, .l4_off = 34, .l4_len = 8,
	    .l4_proto = 17, .is_fragment = true } },
	{ "ipv4_tiny_first_fragment",
	  "0200000000020200000000010800"
	  "4500001c12342000400634a60a0000010a0000029c40005001020304",
	  { .ether_type = 0x0800, .l3_off = 14, .l4_off = 34, .l4_len = 8,
	    .l4_proto = 6, .is_fragment = true, .is_first_fragment = true } },
	{ "vlan_ipv4_tcp",
	  "020000000002020000000001810000640800"
	  "4500002f12344000400614930a0000010a0000029c40005001020304"
	  "050607085018faf01fbb0000474554202f0d0a",
	  { .ether_type = 0x0800, .l3_off = 18, .l4_off = 38, .l4_len = 27,
	    .l4_proto = 6, .l4_hdr_len = 20, .vlan_cnt = 1 } },
	{ "qinq_ipv4_udp",
	  "02000000000202000000000188a800c8810000640800"
	  "4500001f12344000401114980a0000010a00000212340035000b150a"
	  "616263",
	  { .ether_type = 0x0800, .l3_off = 22, .l4_off = 42, .l4_len = 11,
	    .l4_proto = 17, .l4_hdr_len = 8, .vlan_cnt = 2 } },
	{ "three_tags",
	  "02000000000202000000000188a800c8810000648100"
	  "000108004500001f12344000401114980a0000010a00000212340035"
	  "000b150a616263",
	  { .ether_type = 0x8100, .l3_off = 22, .vlan_cnt = 2 } },
	{ "ipv6_udp",
	  "02000000000202000000000186dd"
	  "60000000000d114020010db800000000000000000000000120010db8"
	  "00000000000000000000000212340035000d682f6162636465",
	  { .ether_type = 0x86dd, .l3_off = 14, .l4_off = 54, .l4_len = 13,
	    .l4_proto = 17, .l4_hdr_len = 8 } },
	{ "ipv6_tcp_padded",
	  "02000000000202000000000186dd"
	  "600000000015064020010db800000000000000000000000120010db8"
	  "0000000000000000000000029c40005001020304050607085018faf0"
	  "34c1000078ffffff",
	  { .ether_type = 0x86dd, .l3_off = 14, .l4_off = 54, .l4_len = 21,
	    .l4_proto = 6, .l4_hdr_len = 20 } },
	{ "qinq_ipv6_tcp",
	  "020000000002020000000001810000078100000886dd"
	  "600000000017064020010db800000000000000000000000120010db8"
	  "0000000000000000000000029c40005001020304050607085018faf0"
	  "23560000686921",
	  { .ether_type = 0x86dd, .l3_off = 22, .l4_off = 62, .l4_len = 23,
	    .l4_proto = 6, .l4_hdr_len = 20, .vlan_cnt = 2 } },
	{ "ipv6_four_extensions",
	  "02000000000202000000000186dd"
	  "600000000057004020010db800000000000000000000000120010db8"
	  "0000000000000000000000023c000502000001002b00010400000000"
	  "330200000000000020010db800000000000000000000000206040000"
	  "000000010000000100112233445566778899aabb9c40005001020304"
	  "050607085018faf0ba45000078797a",
	  { .ether_type = 0x86dd, .l3_off = 14, .l4_off = 118, .l4_len = 23,
	    .l4_proto = 6, .l4_hdr_len = 20 } },
	{ "ipv6_route_to_go",
	  "02000000000202000000000186dd"
	  "60000000002f2b4020010db800000000000000000000000120010db8"
	  "000000000000000000000002060200010000000020010db800000000"
	  "00000000000000029c40005001020304050607085018faf0ba450000"
	  "78797a",
	  { .ether_type = 0x86dd, .l3_off = 14, .l4_off = 78, .l4_len = 23,
	    .l4_proto = 6, .l4_hdr_len = 20, .is_rerouted = true } },
	{ "ipv6_home_address",
	  "02000000000202000000000186dd"
	  "60000000002f3c4020010db800000000000000000000000120010db8"
	  "000000000000000000000002060201020000c91020010db800000000"
	  "00000000000000019c40005001020304050607085018faf0ba450000"
	  "78797a",
	  { .ether_type = 0x86dd, .l3_off = 14, .l4_off = 78, .l4_len = 23,
	    .l4_proto = 6, .l4_hdr_len = 20, .is_rerouted = true } },
	{ "ipv6_mobility_hip_shim6",
	  "02000000000202000000000186dd"
	  "600000000020874020010db800000000000000000000000120010db8"
	  "0000000000000000000000028b000000000000008c00000000000000"
	  "11000000000000001234003500089200",
	  { .ether_type = 0x86dd, .l3_off = 14, .l4_off = 78, .l4_len = 8,
	    .l4_proto = 17, .l4_hdr_len = 8 } },
	{ "ipv6_atomic_fragment",
	  "02000000000202000000000186dd"
	  "6000000000152c4020010db800000000000000000000000120010db8"
	  "00000000000000000000000211000000abcdef0112340035000d682f"
	  "6162636465",
	  { .ether_type = 0x86dd, .l3_off = 14, .l4_off = 62, .l4_len = 13,
	    .l4_proto = 17, .l4_hdr_len = 8 } },
	{ "ipv6_first_fragment",
	  "02000000000202000000000186dd"
	  "6000000000182c4020010db800000000000000000000000120010db8"
	  "00000000000000000000000211000001abcdef0112340035001862a9"
	  "3031323334353637",
	  { .ether_type = 0x86dd, .l3_off = 14, .l4_off = 62, .l4_len = 16,
	    .l4_proto = 17, .l4_hdr_len = 8, .is_fragment = true,
	    .is_first_fragment = true } },
	{ "ipv6_later_fragment",
	  "02000000000202000000000186dd"
	  "6000000000102c4020010db800000000000000000000000120010db8"
	  "0000000000000000000000023c000010abcdef013839616263646566",
	  { .ether_type = 0x86dd, .l3_off = 14, .l4_off = 62, .l4_len = 8,
	    .l4_proto = 60, .is_fragment = true } },
	{ "ipv6_esp",
	  "02000000000202000000000186dd"
	  "600000000014004020010db800000000000000000000000120010db8"
	  "00000000000000000000000232000502000001000000000100000001"
	  "aabbccdd",
	  { .ether_type = 0x86dd, .l3_off = 14, .l4_off = 62, .l4_len = 12,
	    .l4_proto = 50 } },
	{ "ipv6_nothing",
	  "02000000000202000000000186dd"
	  "6000000000003b4020010db800000000000000000000000120010db8"
	  "000000000000000000000002",
	  { .ether_type = 0x86dd, .l3_off = 14, .l4_off = 54, .l4_len = 0,
	    .l4_proto = 59 } },
	{ "ipv6_icmp",
	  "02000000000202000000000186dd"
	  "6000000000083a4020010db800000000000000000000000120010db8"
	  "0000000000000000000000028000244600010001",
	  { .ether_type = 0x86dd, .l3_off = 14, .l4_off = 54, .l4_len = 8,
	    .l4_proto = 58 } },
};

enum {
	SAMPLE_CNT = sizeof(samples) / sizeof(*samples),
	SLOT_CNT = 254, /* each is a domain, and the pool is one too */
	PKT_MAX = 4096, /* at most a page */
	FRAME_LEN = 64,
	FRAME_CNT = 256,
};

static struct xmb_pool pool;
static struct xmb_cache cache;
static uint8_t *arena;
static size_t page_len;
static bool is_left;
static uint32_t slot_cnt;
static uint64_t rng_state;

static void pkt_setup(void)
{
	struct xmb_pool_opts opts = {
		.frame_len = FRAME_LEN, .frame_cnt = FRAME_CNT,
		.spill_cnt = FRAME_CNT,
	};
	size_t side_len = xmb_align_up(xmb_pool_footprint(&opts), 64);
	void *side = aligned_alloc(64, side_len);

	memset(side, 0, side_len);
	opts.base = aligned_alloc(64, FRAME_LEN * FRAME_CNT);
	cr_assert(eq(int, xmb_pool_init(&pool, side, &opts), 0));
	xmb_cache_init(&cache, &pool, 1);

	page_len = (size_t)sysconf(_SC_PAGESIZE);
	cr_assert(ge(sz, page_len, PKT_MAX));
	arena = mmap(NULL, (2 * SLOT_CNT + 1) * page_len, PROT_NONE,
		     MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	cr_assert(arena != MAP_FAILED);
	for (size_t i = 0; i < SLOT_CNT; i++)
		cr_assert(zero(int, mprotect(arena + (2 * i + 1) * page_len,
					     page_len,
					     PROT_READ | PROT_WRITE)));
	rng_state = 1; /* fixed, so a failure repeats */
}

/* Every chain was released: nothing the tests did lost a frame. */
static void pkt_teardown(void)
{
	cr_expect(eq(i64, cache.app_cnt, 0));
	xmb_cache_fini(&cache);
	cr_expect(eq(u32, xmb_pool_free_cnt(&pool), FRAME_CNT));
	munmap(arena, (2 * SLOT_CNT + 1) * page_len);
	free(pool.domain.base);
	free(pool.shared); /* the side memory begins with it */
	xmb_pool_fini(&pool);
}

/* splitmix64 */
static inline uint32_t rng(uint32_t below)
{
	uint64_t z = rng_state += 0x9e3779b97f4a7c15;

	z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9;
	z = (z ^ z >> 27) * 0x94d049bb133111eb;
	return (uint32_t)((z ^ z >> 31) >> 32) % below;
}

/* Put a chunk with these bytes, or of none, at the end. */
static void push_piece(struct xmb_multibuf *mb, const uint8_t *data, size_t len)
{
	struct xmb_chunk chunk = { 0 };
	struct xmb_multibuf piece = { 0 };
	uint8_t *mem;

	if (len == 0) {
		cr_assert(zero(int, xmb_chunk_alloc(&cache, &chunk)));
		cr_assert(zero(int, xmb_chunk_truncate(&chunk, 0)));
		cr_assert(zero(int, xmb_multibuf_push_back(mb, &chunk,
							   &cache)));
		return;
	}
	cr_assert(lt(u32, slot_cnt, SLOT_CNT));
	mem = arena + (2 * slot_cnt++ + 1) * page_len;
	if (!is_left)
		mem += page_len - len;
	memcpy(mem, data, len);
	cr_assert(zero(int, xmb_extbuf_attach(&cache, mem, len, NULL, NULL,
					      &piece)));
	cr_assert(zero(int, xmb_multibuf_append(mb, &piece, &cache)));
}

/* The bytes as a chain that is cut at these places, in rising order. */
static inline struct xmb_multibuf make_cut(const uint8_t *data, size_t len,
					   const size_t *cuts, size_t cut_cnt)
{
	struct xmb_multibuf mb = { 0 };
	size_t from = 0;

	slot_cnt = 0;
	for (size_t i = 0; i < cut_cnt; i++) {
		push_piece(&mb, data + from, cuts[i] - from);
		from = cuts[i];
	}
	push_piece(&mb, data + from, len - from);
	return mb;
}

static inline struct xmb_multibuf make_whole(const uint8_t *data, size_t len)
{
	return make_cut(data, len, NULL, 0);
}

/* Every byte in a chunk of its own. */
static inline struct xmb_multibuf make_dust(const uint8_t *data, size_t len)
{
	size_t cuts[SLOT_CNT];

	cr_assert(len > 0 && len <= SLOT_CNT);
	for (size_t i = 0; i + 1 < len; i++)
		cuts[i] = i + 1;
	return make_cut(data, len, cuts, len - 1);
}

/* Cut in up to 8, some of them empty, many in the headers. */
static inline struct xmb_multibuf make_random(const uint8_t *data, size_t len)
{
	size_t cuts[7], cnt = rng(8), range = len;

	is_left = rng(2);
	if (rng(2) && range > 100)
		range = 100;
	for (size_t i = 0; i < cnt; i++) {
		size_t cut = rng((uint32_t)range + 1), k = i;

		for (; k > 0 && cuts[k - 1] > cut; k--)
			cuts[k] = cuts[k - 1];
		cuts[k] = cut;
	}
	return make_cut(data, len, cuts, cnt);
}

/* The bytes of a string of hex digits; returns how many. */
static inline size_t unhex(const char *hex, uint8_t *out)
{
	size_t len = strlen(hex) / 2;
	unsigned int byte;

	for (size_t i = 0; i < len; i++) {
		cr_assert(eq(int, sscanf(hex + 2 * i, "%2x", &byte), 1));
		out[i] = (uint8_t)byte;
	}
	return len;
}

static inline const struct sample *sample_of(const char *name)
{
	for (int i = 0; i < SAMPLE_CNT; i++)
		if (!strcmp(samples[i].name, name))
			return &samples[i];
	cr_fatal("no sample %s", name);
}

/* The bytes that the headers ask for; of fewer, nothing is to be made. */
static inline size_t sample_need(const struct sample *s)
{
	return s->parse.l4_off ? s->parse.l4_off + s->parse.l4_len :
				 s->parse.l3_off;
}

/* True if the chain holds exactly these bytes. */
static inline bool holds(const struct xmb_multibuf *mb, const uint8_t *data,
			 size_t len)
{
	static uint8_t got[PKT_MAX];

	return mb->len == len && xmb_multibuf_check(mb) &&
	       xmb_multibuf_copy_to(mb, 0, got, len) == len &&
	       !memcmp(got, data, len);
}

#endif /* XMBUF_TESTS_PKT_SAMPLES_H */
