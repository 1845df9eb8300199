/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * lib/pkt/parse: every kind of packet is understood the same however it is cut
 * into chunks; a packet that lies about a length is refused and nothing beyond
 * it is read.
 */
#include "pkt_samples.h"

#include "pkt/wire.h"

enum { FUZZ_CNT = 200000 };

/* Without padding, so that memcmp() compares members. */
_Static_assert(sizeof(struct xmb_parse) == 20, "no holes");

TestSuite(parse, .init = pkt_setup, .fini = pkt_teardown, .timeout = 300);

static bool is_same(const struct xmb_parse *a, const struct xmb_parse *b)
{
	return !memcmp(a, b, sizeof(*a));
}

/* Parse and release; the answer of a refusal must be no answer at all. */
static int parse(struct xmb_multibuf *mb, struct xmb_parse *out)
{
	struct xmb_parse mark;
	int err;

	memset(&mark, 0xa5, sizeof(mark));
	*out = mark;
	err = xmb_parse(mb, out);
	cr_assert(err == 0 || err == -EPROTO);
	cr_assert(err == 0 || is_same(out, &mark));
	xmb_multibuf_release(mb, &cache);
	return err;
}

Test(parse, every_sample_is_understood)
{
	uint8_t pkt[PKT_MAX];
	struct xmb_multibuf mb;
	struct xmb_parse got;

	for (int i = 0; i < SAMPLE_CNT; i++) {
		mb = make_whole(pkt, unhex(samples[i].hex, pkt));
		cr_expect(eq(int, parse(&mb, &got), 0), "%s", samples[i].name);
		cr_expect(is_same(&got, &samples[i].parse), "%s",
			  samples[i].name);
	}
}

Test(parse, nothing_is_made_of_a_packet_cut_short)
{
	uint8_t pkt[PKT_MAX];
	struct xmb_multibuf mb;
	struct xmb_parse got;

	for (int i = 0; i < SAMPLE_CNT; i++) {
		const struct sample *s = &samples[i];
		size_t full = unhex(s->hex, pkt), need = sample_need(s);

		for (size_t len = 0; len <= full; len++) {
			int want = len < need ? -EPROTO : 0;

			is_left = len & 1;
			mb = make_whole(pkt, len);
			cr_assert(eq(int, parse(&mb, &got), want), "%s at %zu",
				  s->name, len);
			cr_assert(want || is_same(&got, &s->parse),
				  "%s at %zu", s->name, len);
			if (len == 0)
				continue;
			mb = make_dust(pkt, len);
			cr_assert(eq(int, parse(&mb, &got), want),
				  "%s at %zu in single bytes", s->name, len);
		}
	}
}

Test(parse, an_empty_multibuf_is_refused)
{
	struct xmb_multibuf mb = { 0 };
	struct xmb_parse got;

	cr_expect(eq(int, parse(&mb, &got), -EPROTO));
}

Test(parse, cuts_anywhere_make_no_difference)
{
	uint8_t pkt[PKT_MAX];
	struct xmb_multibuf mb;
	struct xmb_parse got;

	for (int i = 0; i < SAMPLE_CNT; i++) {
		const struct sample *s = &samples[i];
		size_t len = unhex(s->hex, pkt), cuts[2];

		for (cuts[0] = 0; cuts[0] <= len; cuts[0]++) {
			cuts[1] = cuts[0] + rng((uint32_t)(len - cuts[0]) + 1);
			mb = make_cut(pkt, len, cuts, 1);
			cr_assert(eq(int, parse(&mb, &got), 0));
			cr_assert(is_same(&got, &s->parse), "%s cut at %zu",
				  s->name, cuts[0]);
			mb = make_cut(pkt, len, cuts, 2);
			cr_assert(eq(int, parse(&mb, &got), 0));
			cr_assert(is_same(&got, &s->parse),
				  "%s cut at %zu and %zu", s->name, cuts[0],
				  cuts[1]);
		}
		mb = make_dust(pkt, len);
		cr_assert(eq(int, parse(&mb, &got), 0));
		cr_assert(is_same(&got, &s->parse), "%s in single bytes",
			  s->name);
	}
}

Test(parse, frames_of_a_pool_are_understood)
{
	const struct sample *s = sample_of("ipv6_four_extensions");
	struct xmb_multibuf mb = { 0 };
	struct xmb_parse got;
	uint8_t pkt[PKT_MAX];
	size_t len = unhex(s->hex, pkt);

	cr_assert(zero(int, xmb_multibuf_alloc(&cache, len, 41, &mb)));
	cr_assert(gt(u32, xmb_multibuf_chunk_cnt(&mb), 3));
	cr_assert(eq(sz, xmb_multibuf_copy_from(&mb, 0, pkt, len), len));
	cr_expect(zero(int, parse(&mb, &got)));
	cr_expect(is_same(&got, &s->parse));
}

/* A sample with some bytes replaced, and what comes of it. */
struct patch {
	const char *name;
	size_t off;
	const char *hex, *why;
};

static int parse_patched(const struct patch *p, struct xmb_parse *out)
{
	struct xmb_multibuf mb;
	struct xmb_parse dust;
	uint8_t pkt[PKT_MAX];
	size_t len = unhex(sample_of(p->name)->hex, pkt);
	int err;

	cr_assert(le(sz, p->off + unhex(p->hex, pkt + p->off), len));
	mb = make_whole(pkt, len);
	err = parse(&mb, out);
	mb = make_dust(pkt, len);
	cr_assert(eq(int, parse(&mb, &dust), err));
	cr_assert(is_same(&dust, out));
	return err;
}

Test(parse, what_breaks_the_rules_is_refused)
{
	static const struct patch patches[] = {
		{ "ipv4_udp_odd", 14, "55", "version 5 in IPv4" },
		{ "ipv4_udp_odd", 14, "44", "header of 16 bytes" },
		{ "ipv4_udp_odd", 14, "40", "header of 0 bytes" },
		{ "ipv4_icmp", 14, "44", "header of 16 bytes" },
		{ "ipv4_icmp", 16, "0013", "total length below header's" },
		{ "ipv4_udp_odd", 14, "48", "header beyond the total length" },
		{ "ipv4_udp_odd", 16, "0000", "total length 0" },
		{ "ipv4_udp_odd", 16, "0013", "total length below header's" },
		{ "ipv4_udp_odd", 16, "0020", "total length beyond frame" },
		{ "ipv4_udp_odd", 16, "ffff", "total length far beyond" },
		{ "ipv4_udp_odd", 16, "001b", "7 bytes of UDP" },
		{ "ipv4_udp_odd", 16, "001e", "UDP cut by one byte" },
		{ "ipv4_udp_odd", 38, "0007", "UDP length below header's" },
		{ "ipv4_udp_odd", 38, "0000", "UDP length 0" },
		{ "ipv4_udp_odd", 38, "000c", "UDP length beyond IP" },
		{ "ipv4_udp_padded", 38, "000c", "UDP length in the padding" },
		{ "ipv4_tcp", 16, "0027", "19 bytes of TCP" },
		{ "ipv4_tcp", 46, "40", "TCP header of 16 bytes" },
		{ "ipv4_tcp", 46, "00", "TCP header of 0 bytes" },
		{ "ipv4_tcp", 46, "70", "TCP header beyond IP" },
		{ "ipv4_first_fragment", 38, "0007", "UDP length below 8" },
		{ "ipv4_options_udp", 35, "00", "option of 0 bytes" },
		{ "ipv4_options_udp", 35, "01", "option of 1 byte" },
		{ "ipv4_options_udp", 35, "09", "option beyond the header" },
		{ "ipv4_options_udp", 38, "01010194", "option of no length" },
		{ "ipv4_route_to_go", 36, "02", "route without pointer" },
		{ "ipv6_udp", 14, "40", "version 4 in IPv6" },
		{ "ipv6_udp", 18, "000e", "payload beyond the frame" },
		{ "ipv6_udp", 18, "ffff", "payload far beyond the frame" },
		{ "ipv6_udp", 18, "0000", "a jumbogram, or nothing" },
		{ "ipv6_udp", 18, "000c", "UDP length beyond IP" },
		{ "ipv6_udp", 20, "06", "13 bytes of TCP" },
		{ "ipv6_udp", 20, "00", "extension beyond the end" },
		{ "ipv6_udp", 20, "33", "AH beyond the end" },
		{ "ipv6_four_extensions", 55, "ff", "extension far beyond" },
		{ "ipv6_four_extensions", 65, "05", "option beyond header" },
		{ "ipv6_four_extensions", 65, "0300000005", "no length" },
		{ "ipv6_first_fragment", 20, "3c", "option beyond header" },
		{ "ipv6_nothing", 20, "00", "extension of no bytes" },
	};
	struct xmb_parse got;

	for (size_t i = 0; i < sizeof(patches) / sizeof(*patches); i++)
		cr_expect(eq(int, parse_patched(&patches[i], &got), -EPROTO),
			  "%s: %s", patches[i].name, patches[i].why);
}

Test(parse, what_just_keeps_the_rules_is_taken)
{
	static const struct {
		struct patch patch;
		uint32_t l4_off, l4_len, l4_hdr_len;
		bool is_rerouted;
	} cases[] = {
		{ { "ipv4_udp_odd", 38, "0008", "UDP shorter than IP" },
		  34, 11, 8, false },
		{ { "ipv4_udp_padded", 16, "0020", "IP longer by padding" },
		  34, 12, 8, false },
		{ { "ipv4_icmp", 16, "0014", "no payload" },
		  34, 0, 0, false },
		{ { "ipv4_tcp", 46, "60", "TCP with 4 bytes of options" },
		  34, 27, 24, false },
		{ { "ipv4_options_udp", 35, "08", "one option of 8 bytes" },
		  42, 11, 8, false },
		{ { "ipv4_options_udp", 34, "0094", "nonsense behind the end" },
		  42, 11, 8, false },
		{ { "ipv4_options_udp", 38, "01019402", "short, at the end" },
		  42, 11, 8, false },
		{ { "ipv4_options_udp", 34, "89030401", "strict route, done" },
		  42, 11, 8, false },
		{ { "ipv4_options_udp", 34, "89030300", "strict route to go" },
		  42, 11, 8, true },
		{ { "ipv4_first_fragment", 38, "ffff", "of a big datagram" },
		  34, 16, 8, false },
		{ { "ipv6_esp", 20, "3b", "nothing follows" },
		  54, 20, 0, false },
		{ { "ipv6_esp", 18, "0008", "extension to the very end" },
		  62, 0, 0, false },
		{ { "ipv6_four_extensions", 66, "05ff", "noise in an option" },
		  118, 23, 20, false },
		{ { "ipv6_four_extensions", 73, "01", "route to go" },
		  118, 23, 20, true },
		{ { "ipv6_four_extensions", 64, "c9", "Home Address option" },
		  118, 23, 20, true },
	};
	struct xmb_parse got;

	for (size_t i = 0; i < sizeof(cases) / sizeof(*cases); i++) {
		const char *what = cases[i].patch.why;

		cr_expect(zero(int, parse_patched(&cases[i].patch, &got)),
			  "%s", what);
		cr_expect(eq(u32, got.l4_off, cases[i].l4_off), "%s", what);
		cr_expect(eq(u32, got.l4_len, cases[i].l4_len), "%s", what);
		cr_expect(eq(u32, got.l4_hdr_len, cases[i].l4_hdr_len), "%s",
			  what);
		cr_expect(eq(int, got.is_rerouted, cases[i].is_rerouted), "%s",
			  what);
	}
}

/* IPv6 with cnt extension headers of a kind, each of 8 bytes, then UDP. */
static size_t make_extended(uint8_t *pkt, uint8_t proto, uint32_t cnt)
{
	uint8_t base[PKT_MAX];
	size_t len = unhex(sample_of("ipv6_udp")->hex, base);
	size_t off = 54 + 8 * (size_t)cnt;

	memcpy(pkt, base, 54);
	memset(pkt + 54, 0, off - 54);
	for (uint32_t i = 0; i < cnt; i++) {
		pkt[i == 0 ? 20 : 54 + 8 * (i - 1)] = proto;
		pkt[54 + 8 * i] = 17;
	}
	memcpy(pkt + off, base + 54, len - 54);
	xmb_be16_store(pkt + 18, (uint16_t)(off - 54 + len - 54));
	return off + len - 54;
}

Test(parse, extension_headers_are_walked_to_the_limit_only)
{
	static const uint8_t protos[] = { 0, 43, 44, 51, 60, 135, 139, 140 };
	struct xmb_multibuf mb;
	struct xmb_parse got;
	uint8_t pkt[PKT_MAX];
	size_t len;

	for (size_t i = 0; i < sizeof(protos); i++) {
		len = make_extended(pkt, protos[i], XMB_PARSE_EXT_MAX);
		mb = make_whole(pkt, len);
		cr_expect(zero(int, parse(&mb, &got)), "proto %d", protos[i]);
		cr_expect(eq(u32, got.l4_off, 54 + 8 * XMB_PARSE_EXT_MAX));
		cr_expect(eq(u8, got.l4_proto, 17));
		cr_expect(eq(u8, got.l4_hdr_len, 8));

		len = make_extended(pkt, protos[i], XMB_PARSE_EXT_MAX + 1);
		mb = make_whole(pkt, len);
		cr_expect(eq(int, parse(&mb, &got), -EPROTO), "proto %d",
			  protos[i]);
	}
}

Test(parse, a_fragment_stays_one_behind_an_atomic_fragment_header)
{
	struct xmb_multibuf mb;
	struct xmb_parse got;
	uint8_t pkt[PKT_MAX];
	size_t len = make_extended(pkt, 44, 2);

	pkt[54 + 3] = 1; /* the outer one: more to follow */
	mb = make_whole(pkt, len);
	cr_expect(zero(int, parse(&mb, &got)));
	cr_expect(got.is_fragment && got.is_first_fragment);
	pkt[54 + 8 + 3] = 8; /* the inner one: not the first */
	mb = make_whole(pkt, len);
	cr_expect(zero(int, parse(&mb, &got)));
	cr_expect(got.is_fragment && !got.is_first_fragment);
	cr_expect(eq(u8, got.l4_hdr_len, 0));
}

Test(parse, the_longest_extension_header_is_passed)
{
	struct xmb_multibuf mb;
	struct xmb_parse got;
	uint8_t pkt[PKT_MAX], udp[] = { 0, 1, 0, 2, 0, 8, 0, 0 };
	size_t cut = 700;

	unhex(sample_of("ipv6_udp")->hex, pkt);
	memset(pkt + 54, 0, 2048);
	pkt[20] = 60;
	pkt[54] = 17;
	pkt[55] = 255;
	pkt[54 + 2046] = 201; /* an empty Home Address, at the very end */
	memcpy(pkt + 54 + 2048, udp, sizeof(udp));
	xmb_be16_store(pkt + 18, 2048 + sizeof(udp));
	mb = make_cut(pkt, 54 + 2048 + sizeof(udp), &cut, 1);
	cr_expect(zero(int, parse(&mb, &got)));
	cr_expect(eq(u32, got.l4_off, 54 + 2048));
	cr_expect(got.is_rerouted);
}

Test(parse, random_damage_reads_nothing_beyond_and_cuts_do_not_matter)
{
	uint8_t pkt[PKT_MAX];
	struct xmb_parse whole, cut;
	struct xmb_multibuf mb;
	uint32_t ok_cnt = 0;

	for (uint32_t i = 0; i < FUZZ_CNT; i++) {
		size_t len = unhex(samples[rng(SAMPLE_CNT)].hex, pkt);
		int err;

		for (uint32_t n = rng(5); n > 0; n--)
			pkt[rng((uint32_t)len)] = (uint8_t)rng(256);
		if (rng(8) == 0)
			len = rng((uint32_t)len + 1);
		is_left = rng(2);
		mb = make_whole(pkt, len);
		err = parse(&mb, &whole);
		mb = make_random(pkt, len);
		cr_assert(eq(int, parse(&mb, &cut), err), "packet %u", i);
		cr_assert(is_same(&whole, &cut), "packet %u", i);
		if (err)
			continue;
		ok_cnt++;
		cr_assert(le(sz, whole.l3_off, len));
		cr_assert(le(sz, whole.l4_off + whole.l4_len, len));
		cr_assert(le(u32, whole.l4_hdr_len, whole.l4_len));
		cr_assert(le(u32, whole.vlan_cnt, XMB_PARSE_VLAN_MAX));
		cr_assert(whole.is_fragment || !whole.is_first_fragment);
	}
	/* Both ways were really gone. */
	cr_expect(ok_cnt > FUZZ_CNT / 10 && ok_cnt < FUZZ_CNT * 9 / 10,
		  "%u of %u were taken", ok_cnt, FUZZ_CNT);
}

Test(parse, ether_swap_exchanges_the_addresses_and_nothing_else)
{
	uint8_t pkt[PKT_MAX], want[PKT_MAX];
	size_t len = unhex(sample_of("ipv4_tcp")->hex, pkt);
	struct xmb_multibuf mb;

	memcpy(want, pkt, len);
	memcpy(want, pkt + 6, 6);
	memcpy(want + 6, pkt, 6);
	cr_assert(ne(int, memcmp(want, pkt, 12), 0));
	for (size_t cut = 0; cut <= len; cut++) {
		mb = make_cut(pkt, len, &cut, 1);
		cr_expect(zero(int, xmb_ether_swap(&mb)));
		cr_expect(holds(&mb, want, len), "cut at %zu", cut);
		xmb_multibuf_release(&mb, &cache);
	}
	mb = make_dust(pkt, len);
	cr_expect(zero(int, xmb_ether_swap(&mb)));
	cr_expect(holds(&mb, want, len));
	xmb_multibuf_release(&mb, &cache);
	mb = make_whole(pkt, 14);
	cr_expect(zero(int, xmb_ether_swap(&mb)));
	cr_expect(holds(&mb, want, 14));
	xmb_multibuf_release(&mb, &cache);
}

Test(parse, ether_swap_leaves_what_is_no_frame_alone)
{
	uint8_t pkt[PKT_MAX];
	struct xmb_multibuf mb = { 0 };

	unhex(sample_of("ipv4_tcp")->hex, pkt);
	cr_expect(eq(int, xmb_ether_swap(&mb), -EPROTO));
	for (size_t len = 1; len < 14; len++) {
		mb = make_whole(pkt, len);
		cr_expect(eq(int, xmb_ether_swap(&mb), -EPROTO));
		cr_expect(holds(&mb, pkt, len));
		xmb_multibuf_release(&mb, &cache);
	}
}

/* Either half: the addresses in one chunk, and cut anywhere. */
Test(parse, ether_swap_leaves_what_is_read_only_alone)
{
	struct xmb_chunk clone = { 0 };
	uint8_t pkt[PKT_MAX];
	struct xmb_multibuf mb;

	unhex(sample_of("ipv4_tcp")->hex, pkt);
	for (size_t cut = 0; cut < 14; cut++) {
		mb = make_cut(pkt, 40, &cut, 1);
		cr_assert(zero(int, xmb_chunk_share(&mb.c[mb.cnt - 1],
						    &clone)));
		cr_expect(eq(int, xmb_ether_swap(&mb), cut < 12 ? -EPERM : 0),
			  "cut at %zu", cut);
		if (cut < 12)
			cr_expect(holds(&mb, pkt, 40), "cut at %zu", cut);
		xmb_chunk_release(&clone, &cache);
		xmb_multibuf_release(&mb, &cache);
	}
}

Test(parse, wire_numbers_are_big_endian_at_any_address)
{
	uint8_t b[8] = { 0xff, 0x01, 0x02, 0x03, 0x84 };

	cr_expect(eq(u16, xmb_be16_load(b + 1), 0x0102));
	cr_expect(eq(u32, xmb_be32_load(b + 1), 0x01020384));
	xmb_be16_store(b + 5, 0xfe01);
	cr_expect(eq(u8, b[5], 0xfe));
	cr_expect(eq(u8, b[6], 0x01));
	xmb_be32_store(b + 3, 0xa1b2c3d4);
	cr_expect(eq(u32, xmb_be32_load(b + 3), 0xa1b2c3d4));
	cr_expect(eq(u8, b[3], 0xa1));
	cr_expect(eq(u8, b[7], 0));
}
