/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * libFuzzer on what reads packets: parse, checksum and flow hash.  The input is
 * where a frame is cut into chunks, and the frame.  It lies in one chunk and in
 * those; both must be understood alike.  What the parser tells must lie within
 * the frame, sums must be those of a loop over bytes, and a partial checksum
 * that was completed must come out as one that is right, with no other byte
 * changed.
 */
#include "must.h"

#include "flow/hash.h"
#include "pkt/csum.h"
#include "pkt/parse.h"

#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum {
	FLAT_LEN = 1024, /* the whole frame lies in one */
	PIECE_LEN = 256,
	FRAMES = 64,
	BLOCKS = 32,
	CUT_MAX = 15,
	HEAD_LEN = 1 + CUT_MAX, /* of the input, before the frame */
	TCP_CSUM_OFF = 16,
	UDP_CSUM_OFF = 6,
};

enum { MAKE_PARTIAL = 0x80 }; /* first byte of the input; the rest: cuts */

static struct xmb_pool pools[2];
static struct xmb_cache caches[2];
static uint8_t flat_memory[2 * FLAT_LEN] __attribute__((aligned(64)));
static uint8_t piece_memory[FRAMES * PIECE_LEN] __attribute__((aligned(64)));
static uint8_t side[2][16384] __attribute__((aligned(64)));
static uint8_t before[FLAT_LEN], after[FLAT_LEN];

static void start(void)
{
	struct xmb_pool_opts opts[2] = {
		{ .base = flat_memory, .frame_len = FLAT_LEN, .frame_cnt = 2 },
		{ .base = piece_memory,
		  .frame_len = PIECE_LEN,
		  .frame_cnt = FRAMES,
		  .spill_cnt = BLOCKS },
	};

	for (uint32_t i = 0; i < 2; i++) {
		MUST(xmb_pool_footprint(&opts[i]) <= sizeof(side[i]));
		memset(side[i], 0, sizeof(side[i]));
		MUST(xmb_pool_init(&pools[i], side[i], &opts[i]) == 0);
		xmb_cache_init(&caches[i], &pools[i], i + 1);
	}
}

/* A chunk of those bytes, off bytes into its frame. */
static void add(struct xmb_multibuf *mb, const uint8_t *data, uint32_t len,
		uint32_t off)
{
	struct xmb_chunk chunk = { 0 };

	MUST(xmb_chunk_alloc(&caches[1], &chunk) == 0);
	MUST(xmb_chunk_discard_prefix(&chunk, off) == 0);
	MUST(xmb_chunk_truncate(&chunk, len) == 0);
	memcpy(xmb_chunk_data(&chunk), data, len);
	MUST(xmb_multibuf_push_back(mb, &chunk, &caches[1]) == 0);
}

/* Cut where the input says; chunks of 0 bytes are among them. */
static void cut(struct xmb_multibuf *mb, const uint8_t *cuts, uint32_t cut_cnt,
		const uint8_t *data, uint32_t len)
{
	for (uint32_t i = 0; i < cut_cnt; i++) {
		uint32_t n = xmb_min_u32(cuts[i] % 48u, len);

		add(mb, data, n, cuts[i] / 48u);
		data += n;
		len -= n;
	}
	while (len > 0) {
		uint32_t n = xmb_min_u32(PIECE_LEN, len);

		add(mb, data, n, 0);
		data += n;
		len -= n;
	}
}

static uint32_t naive_sum(const uint8_t *data, size_t len, uint32_t sum)
{
	for (size_t i = 0; i < len; i++)
		sum += i % 2 ? data[i] : (uint32_t)data[i] << 8;
	while (sum >> 16)
		sum = (sum & 0xffff) + (sum >> 16);
	return sum;
}

static uint32_t pseudo_sum(const uint8_t *data, const struct xmb_parse *p)
{
	uint32_t sum = p->l4_len + p->l4_proto;

	if (p->ether_type == 0x0800)
		return naive_sum(data + p->l3_off + 12, 8, sum);
	return naive_sum(data + p->l3_off + 8, 32, sum);
}

static uint32_t csum_off(const struct xmb_parse *p)
{
	return p->l4_off +
	       (p->l4_proto == IPPROTO_TCP ? TCP_CSUM_OFF : UDP_CSUM_OFF);
}

/* Where a sender that offloads leaves the sum of the pseudo-header. */
static bool has_csum(const struct xmb_parse *p)
{
	return p->l4_hdr_len > 0 && !p->is_fragment && !p->is_rerouted;
}

static void verify_bounds(const struct xmb_parse *p, uint32_t len)
{
	MUST(p->vlan_cnt <= XMB_PARSE_VLAN_MAX);
	MUST(p->l3_off == 14 + 4u * p->vlan_cnt && p->l3_off <= len);
	MUST(p->l4_off == 0 || p->l4_off >= p->l3_off + 20);
	MUST(p->l4_off <= len && p->l4_len <= len - p->l4_off);
	MUST(p->l4_hdr_len <= p->l4_len);
	MUST(p->l4_off > 0 || (p->l4_len == 0 && p->l4_hdr_len == 0));
	MUST(p->is_fragment || !p->is_first_fragment);
	if (p->l4_hdr_len > 0)
		MUST(p->l4_proto == IPPROTO_TCP	  ? p->l4_hdr_len >= 20
		     : p->l4_proto == IPPROTO_UDP ? p->l4_hdr_len == 8
						  : false);
}

static bool is_same(const struct xmb_parse *a, const struct xmb_parse *b)
{
	return a->l3_off == b->l3_off && a->l4_off == b->l4_off &&
	       a->l4_len == b->l4_len && a->ether_type == b->ether_type &&
	       a->l4_proto == b->l4_proto && a->l4_hdr_len == b->l4_hdr_len &&
	       a->vlan_cnt == b->vlan_cnt && a->is_fragment == b->is_fragment &&
	       a->is_first_fragment == b->is_first_fragment &&
	       a->is_rerouted == b->is_rerouted;
}

static void read_back(const struct xmb_multibuf *mb, uint8_t *bytes)
{
	MUST(xmb_multibuf_check(mb));
	MUST(xmb_multibuf_copy_to(mb, 0, bytes, FLAT_LEN) == mb->len);
}

/* What became of before[] is in after[]. */
static void verify_completed(int rc, const struct xmb_parse *p, uint32_t len)
{
	uint32_t field;

	if (rc != 1) {
		MUST(memcmp(before, after, len) == 0);
		return;
	}
	MUST(has_csum(p));
	field = csum_off(p);
	MUST(memcmp(before, after, field) == 0);
	MUST(memcmp(before + field + 2, after + field + 2, len - field - 2) ==
	     0);
	MUST(after[field] || after[field + 1]);
	MUST(naive_sum(after + p->l4_off, p->l4_len, pseudo_sum(after, p)) ==
	     0xffff);
}

static void verify_sums(const struct xmb_multibuf *mb, const uint8_t *cuts,
			const uint8_t *data, uint32_t len)
{
	uint32_t off = len ? cuts[0] * 5u % (len + 1) : 0;
	uint32_t n = len - off ? cuts[1] * 7u % (len - off + 1) : 0;
	uint32_t sum = cuts[2] * 257u;

	MUST(xmb_csum_add(mb, off, n, sum) == naive_sum(data + off, n, sum));
}

static void verify_hash(const struct xmb_multibuf *a,
			const struct xmb_multibuf *b)
{
	for (int k = 0; k < 2; k++) {
		uint32_t a_len = 0, b_len = 0;

		MUST(xmb_flow_hash(a, k, &a_len) ==
		     xmb_flow_hash(b, k, &b_len));
		MUST(a_len == b_len && a_len <= a->len);
	}
}

static void verify_swap(struct xmb_multibuf *mb, uint32_t len)
{
	read_back(mb, before);
	MUST((xmb_ether_swap(mb) == 0) == (len >= 14));
	read_back(mb, after);
	if (len >= 14) {
		MUST(memcmp(before, after + 6, 6) == 0);
		MUST(memcmp(before + 6, after, 6) == 0);
		MUST(memcmp(before + 12, after + 12, len - 12) == 0);
		MUST(xmb_ether_swap(mb) == 0);
	}
}

static void check(struct xmb_multibuf *flat, struct xmb_multibuf *mb,
		  const uint8_t *cuts, bool make_partial)
{
	struct xmb_parse a, b, untouched;
	uint32_t len = flat->len;
	bool is_sure;
	int rc;

	memset(&a, 0xa5, sizeof(a));
	b = untouched = a;
	rc = xmb_parse(flat, &a);
	MUST(rc == 0 || rc == -EPROTO);
	MUST(xmb_parse(mb, &b) == rc);
	if (rc) {
		MUST(memcmp(&a, &untouched, sizeof(a)) == 0);
		MUST(memcmp(&b, &untouched, sizeof(b)) == 0);
	} else {
		verify_bounds(&a, len);
		MUST(is_same(&a, &b));
	}
	verify_hash(flat, mb);
	read_back(flat, before);
	if (!rc && make_partial && has_csum(&a)) {
		uint32_t sum = pseudo_sum(before, &a);

		before[csum_off(&a)] = (uint8_t)(sum >> 8);
		before[csum_off(&a) + 1] = (uint8_t)sum;
		xmb_multibuf_copy_from(flat, 0, before, len);
		xmb_multibuf_copy_from(mb, 0, before, len);
	}
	verify_sums(mb, cuts, before, len);
	is_sure = xmb_csum_count_complete(flat, 1) ||
		  xmb_csum_count_complete(mb, 1);
	rc = xmb_csum_complete(flat);
	MUST(xmb_csum_complete(mb) == rc);
	MUST(!is_sure || rc == 0 || rc == -EPROTO);
	read_back(flat, after);
	verify_completed(rc, &a, len);
	read_back(mb, after);
	verify_completed(rc, &a, len);
	verify_swap(flat, len);
	verify_swap(mb, len);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
	struct xmb_multibuf flat = { 0 }, mb = { 0 };
	const uint8_t *frame = data + HEAD_LEN;
	uint32_t frame_len;

	if (len < HEAD_LEN || len > HEAD_LEN + FLAT_LEN)
		return 0;
	frame_len = (uint32_t)(len - HEAD_LEN);
	start();
	if (frame_len > 0) {
		MUST(xmb_multibuf_alloc(&caches[0], frame_len, 0, &flat) == 0);
		xmb_multibuf_copy_from(&flat, 0, frame, frame_len);
	}
	cut(&mb, data + 1, data[0] % (CUT_MAX + 1), frame, frame_len);
	check(&flat, &mb, data + 1, data[0] & MAKE_PARTIAL);
	xmb_multibuf_release(&flat, &caches[0]);
	xmb_multibuf_release(&mb, &caches[1]);
	for (uint32_t i = 0; i < 2; i++) {
		xmb_cache_fini(&caches[i]);
		xmb_pool_fini(&pools[i]);
	}
	return 0;
}
