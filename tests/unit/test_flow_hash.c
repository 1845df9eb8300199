/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * lib/flow/hash: packets of a flow have the same number, flows are spread, and
 * the headers are as long as hdr_len says.
 */
#include "pkt_samples.h"

#include "flow/hash.h"
#include "pkt/wire.h"

enum { FLOWS = 10000, FUZZ_CNT = 100000, UDP_LEN = 80 };

TestSuite(flow_hash, .init = pkt_setup, .fini = pkt_teardown, .timeout = 300);

static uint32_t hash_of(const uint8_t *pkt, size_t len, bool is_symmetric,
			uint32_t *hdr_len)
{
	struct xmb_multibuf mb = { 0 };
	uint32_t hash;

	if (len > 0)
		mb = make_whole(pkt, len);
	hash = xmb_flow_hash(&mb, is_symmetric, hdr_len);
	xmb_multibuf_release(&mb, &cache);
	return hash;
}

static uint32_t hash_of_sample(const char *name)
{
	uint8_t pkt[PKT_MAX];
	size_t len = unhex(sample_of(name)->hex, pkt);

	return hash_of(pkt, len, false, NULL);
}

/* A UDP packet of IPv4, or of IPv6 with these 32 bits at the addresses' end. */
static size_t udp_make(uint8_t *pkt, bool is_v6, uint32_t from, uint32_t to,
		       uint16_t sport, uint16_t dport)
{
	uint8_t *ip = pkt + 14, *udp;

	memset(pkt, 0, UDP_LEN);
	memcpy(pkt, (uint8_t[]){ 2, 0, 0, 0, 0, 2, 2, 0, 0, 0, 0, 1 }, 12);
	xmb_be16_store(pkt + 12, is_v6 ? 0x86dd : 0x0800);
	if (is_v6) {
		ip[0] = 0x60;
		ip[5] = 10;
		ip[6] = 17;
		ip[7] = 64;
		ip[8] = ip[24] = 0xfd;
		xmb_be16_store(ip + 20, (uint16_t)(from >> 16));
		xmb_be16_store(ip + 22, (uint16_t)from);
		xmb_be16_store(ip + 36, (uint16_t)(to >> 16));
		xmb_be16_store(ip + 38, (uint16_t)to);
		udp = ip + 40;
	} else {
		ip[0] = 0x45;
		ip[3] = 30;
		ip[8] = 64;
		ip[9] = 17;
		xmb_be16_store(ip + 12, (uint16_t)(from >> 16));
		xmb_be16_store(ip + 14, (uint16_t)from);
		xmb_be16_store(ip + 16, (uint16_t)(to >> 16));
		xmb_be16_store(ip + 18, (uint16_t)to);
		udp = ip + 20;
	}
	xmb_be16_store(udp, sport);
	xmb_be16_store(udp + 2, dport);
	udp[5] = 10;
	return (size_t)(udp - pkt) + 10;
}

static uint32_t udp_hash(bool is_v6, uint32_t from, uint32_t to, uint16_t sport,
			 uint16_t dport, bool is_symmetric)
{
	uint8_t pkt[UDP_LEN];
	size_t len = udp_make(pkt, is_v6, from, to, sport, dport);

	return hash_of(pkt, len, is_symmetric, NULL);
}

Test(flow_hash, every_sample_is_the_same_however_it_is_cut)
{
	uint8_t pkt[PKT_MAX];

	for (int i = 0; i < SAMPLE_CNT; i++) {
		size_t len = unhex(samples[i].hex, pkt);
		uint32_t hdr_len, want_len;

		for (int sym = 0; sym < 2; sym++) {
			uint32_t want = hash_of(pkt, len, sym, &want_len);
			struct xmb_multibuf mb = make_dust(pkt, len);

			cr_expect(eq(u32, xmb_flow_hash(&mb, sym, &hdr_len),
				     want), "%s", samples[i].name);
			cr_expect(eq(u32, hdr_len, want_len));
			xmb_multibuf_release(&mb, &cache);
			for (int k = 0; k < 20; k++) {
				mb = make_random(pkt, len);
				cr_expect(eq(u32, xmb_flow_hash(&mb, sym, NULL),
					     want), "%s", samples[i].name);
				xmb_multibuf_release(&mb, &cache);
			}
		}
	}
}

Test(flow_hash, hdr_len_is_all_headers_from_l2_to_l4)
{
	uint8_t pkt[PKT_MAX];

	for (int i = 0; i < SAMPLE_CNT; i++) {
		const struct xmb_parse *p = &samples[i].parse;
		size_t len = unhex(samples[i].hex, pkt);
		uint32_t hdr_len = 0, want = p->l3_off;

		if (p->l4_off)
			want = p->l4_off + p->l4_hdr_len;
		hash_of(pkt, len, false, &hdr_len);
		cr_expect(eq(u32, hdr_len, want), "%s", samples[i].name);
	}
}

Test(flow_hash, hdr_len_never_lies_beyond_a_packet_cut_short)
{
	uint8_t pkt[PKT_MAX];

	for (int i = 0; i < SAMPLE_CNT; i++) {
		const struct sample *s = &samples[i];
		size_t full = unhex(s->hex, pkt), need = sample_need(s);

		for (size_t len = 0; len <= full; len++) {
			uint32_t hdr_len = 12345, hash;

			is_left = len & 1;
			hash = hash_of(pkt, len, false, &hdr_len);
			cr_assert(le(u32, hdr_len, len));
			if (len < 14)
				cr_assert(eq(u32, hash, 0));
			if (len < need)
				cr_assert(eq(u32, hdr_len,
					     xmb_min_u32((uint32_t)len, 14)),
					  "%s at %zu", s->name, len);
		}
	}
}

Test(flow_hash, a_malformed_packet_is_hashed_by_its_mac_addresses)
{
	uint8_t a[UDP_LEN], b[UDP_LEN];
	size_t len = udp_make(a, false, 1, 2, 3, 4);

	udp_make(b, false, 9, 8, 7, 6);
	a[14] = b[14] = 0x75; /* no such version */
	cr_expect(eq(u32, hash_of(a, len, false, NULL),
		     hash_of(b, len, false, NULL)));
	b[11] = 99;
	cr_expect(ne(u32, hash_of(a, len, false, NULL),
		     hash_of(b, len, false, NULL)));
}

Test(flow_hash, what_is_not_of_the_flow_does_not_count)
{
	uint8_t pkt[UDP_LEN];

	for (int v6 = 0; v6 < 2; v6++) {
		uint32_t want = udp_hash(v6, 1, 2, 3, 4, false);
		size_t len = udp_make(pkt, v6, 1, 2, 3, 4);

		pkt[0] = pkt[7] = 0x22;		   /* MAC addresses */
		pkt[v6 ? 14 + 7 : 14 + 8] = 3;	   /* TTL */
		pkt[len - 1] = 0xee;		   /* payload */
		pkt[len - 3] = 0x77;		   /* checksum */
		if (!v6)
			pkt[14 + 5] = 0x55;	   /* identification */
		cr_expect(eq(u32, hash_of(pkt, len, false, NULL), want));
		/* Nor does the padding of a frame. */
		cr_expect(eq(u32, hash_of(pkt, len + 6, false, NULL), want));
	}
}

Test(flow_hash, each_part_of_a_flow_counts)
{
	for (int v6 = 0; v6 < 2; v6++) {
		uint32_t hash = udp_hash(v6, 1, 2, 3, 4, false);
		uint32_t sym = udp_hash(v6, 1, 2, 3, 4, true);

		cr_expect(ne(u32, udp_hash(v6, 9, 2, 3, 4, false), hash));
		cr_expect(ne(u32, udp_hash(v6, 1, 9, 3, 4, false), hash));
		cr_expect(ne(u32, udp_hash(v6, 1, 2, 9, 4, false), hash));
		cr_expect(ne(u32, udp_hash(v6, 1, 2, 3, 9, false), hash));
		cr_expect(ne(u32, udp_hash(v6, 9, 2, 3, 4, true), sym));
		cr_expect(ne(u32, udp_hash(v6, 1, 2, 3, 9, true), sym));
		/* Exchanged ports alone make another flow. */
		cr_expect(ne(u32, udp_hash(v6, 1, 2, 4, 3, true), sym));
	}
	cr_expect(ne(u32, hash_of_sample("ipv4_udp_odd"),
		     hash_of_sample("ipv4_icmp")));
	cr_expect(ne(u32, hash_of_sample("ipv4_sctp"),
		     hash_of_sample("ipv4_icmp")));
}

Test(flow_hash, both_directions_are_one_when_symmetric_and_two_when_not)
{
	uint64_t seed = 1;
	uint32_t same = 0;

	for (int i = 0; i < 2000; i++) {
		uint32_t a, b;
		uint16_t p, q;

		seed = seed * UINT64_C(6364136223846793005) + 1;
		a = (uint32_t)(seed >> 40);
		b = i % 5 ? (uint32_t)(seed >> 20) : a;
		p = (uint16_t)(seed >> 33);
		q = i % 3 ? (uint16_t)(seed >> 13) : p;
		cr_assert(eq(u32, udp_hash(i % 2, a, b, p, q, true),
			     udp_hash(i % 2, b, a, q, p, true)));
		if (a != b || p != q)
			same += udp_hash(i % 2, a, b, p, q, false) ==
				udp_hash(i % 2, b, a, q, p, false);
	}
	cr_expect(le(u32, same, 2));
}

Test(flow_hash, what_is_not_ip_is_hashed_by_mac_addresses_both_ways)
{
	uint8_t arp[PKT_MAX], back[PKT_MAX];
	size_t len = unhex(sample_of("arp")->hex, arp);
	uint32_t hash = hash_of(arp, len, false, NULL);

	memcpy(back, arp, len);
	memcpy(back, arp + 6, 6);
	memcpy(back + 6, arp, 6);
	cr_expect(eq(u32, hash_of(arp, len, true, NULL),
		     hash_of(back, len, true, NULL)));
	cr_expect(ne(u32, hash, hash_of(back, len, false, NULL)));
	arp[40] ^= 0xff; /* its payload does not count */
	cr_expect(eq(u32, hash_of(arp, len, false, NULL), hash));
	arp[5] ^= 1;
	cr_expect(ne(u32, hash_of(arp, len, false, NULL), hash));
	arp[5] ^= 1;
	arp[13] ^= 1; /* the EtherType does */
	cr_expect(ne(u32, hash_of(arp, len, false, NULL), hash));
}

Test(flow_hash, vlan_tags_do_not_count)
{
	cr_expect(eq(u32, hash_of_sample("vlan_ipv4_tcp"),
		     hash_of_sample("ipv4_tcp")));
	cr_expect(eq(u32, hash_of_sample("qinq_ipv4_udp"),
		     hash_of_sample("ipv4_udp_odd")));
	cr_expect(eq(u32, hash_of_sample("qinq_ipv6_tcp"),
		     hash_of_sample("ipv6_tcp_padded")));
}

Test(flow_hash, ip_options_and_extension_headers_do_not_count)
{
	cr_expect(eq(u32, hash_of_sample("ipv4_options_udp"),
		     hash_of_sample("ipv4_udp_odd")));
	cr_expect(eq(u32, hash_of_sample("ipv4_tcp_options"),
		     hash_of_sample("ipv4_tcp")));
	cr_expect(eq(u32, hash_of_sample("ipv6_four_extensions"),
		     hash_of_sample("ipv6_tcp_padded")));
	cr_expect(eq(u32, hash_of_sample("ipv6_atomic_fragment"),
		     hash_of_sample("ipv6_udp")));
}

Test(flow_hash, all_fragments_of_a_packet_are_alike)
{
	cr_expect(eq(u32, hash_of_sample("ipv4_first_fragment"),
		     hash_of_sample("ipv4_later_fragment")));
	/* Of IPv6 the later ones do not know what is behind the extensions. */
	cr_expect(eq(u32, hash_of_sample("ipv6_first_fragment"),
		     hash_of_sample("ipv6_later_fragment")));
	cr_expect(ne(u32, hash_of_sample("ipv4_tiny_first_fragment"), 0));
}

/* How many of the flows each of cnt workers gets, as the dispatcher says. */
static void spread(uint32_t cnt, bool is_v6, bool is_symmetric, uint32_t bits)
{
	uint32_t got[8] = { 0 }, buckets[256] = { 0 };
	uint32_t even = FLOWS / cnt;

	for (uint32_t f = 0; f < FLOWS; f++) {
		/* Neighbours in addresses, in ports, or in both. */
		uint32_t host = bits & 1 ? f / (bits & 2 ? 100 : 1) : 7;
		uint32_t port = bits & 2 ? f % (bits & 1 ? 100 : FLOWS) : 7;
		uint32_t hash = udp_hash(is_v6, 0x0a000000 + host, 0x0a640001,
					 (uint16_t)(1024 + port), 53,
					 is_symmetric);

		got[(uint64_t)hash * cnt >> 32]++;
		buckets[hash % 256]++;
	}
	for (uint32_t w = 0; w < cnt; w++) {
		cr_expect(gt(u32, got[w], even - even / 8), "%u of %u", w, cnt);
		cr_expect(lt(u32, got[w], even + even / 8), "%u of %u", w, cnt);
	}
	for (uint32_t b = 0; b < 256; b++) {
		cr_expect(gt(u32, buckets[b], 10));
		cr_expect(lt(u32, buckets[b], 80));
	}
}

Test(flow_hash, ten_thousand_flows_are_spread_over_2_to_8_workers)
{
	for (uint32_t cnt = 2; cnt <= 8; cnt++)
		for (uint32_t bits = 1; bits <= 3; bits++)
			for (int k = 0; k < 4; k++)
				spread(cnt, k & 1, k & 2, bits);
}

Test(flow_hash, reads_nothing_beyond_a_packet_of_random_bytes)
{
	uint8_t pkt[PKT_MAX];

	for (int i = 0; i < FUZZ_CNT; i++) {
		size_t len = unhex(samples[rng(SAMPLE_CNT)].hex, pkt), cut;
		struct xmb_multibuf mb;
		uint32_t hdr_len, hash;

		for (uint32_t k = rng(4); k > 0; k--)
			pkt[rng((uint32_t)len)] ^= (uint8_t)rng(256);
		cut = 1 + rng((uint32_t)len);
		mb = make_random(pkt, cut);
		hash = xmb_flow_hash(&mb, i % 2, &hdr_len);
		cr_assert(le(u32, hdr_len, cut));
		cr_assert(cut >= 14 || hash == 0);
		xmb_multibuf_release(&mb, &cache);
	}
}
