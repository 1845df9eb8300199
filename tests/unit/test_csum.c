/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * lib/pkt/csum: the sum over a chain is that of its bytes, however it is cut;
 * a partial checksum becomes the right one, and anything else stays as it is.
 * The model adds byte after byte.
 */
#include "pkt_samples.h"

#include "pkt/csum.h"
#include "pkt/wire.h"

#include <signal.h>

enum { FUZZ_CNT = 200000, MADE_CNT = 20000 };

TestSuite(csum, .init = pkt_setup, .fini = pkt_teardown, .timeout = 300);

/* The model of xmb_csum_add(). */
static uint32_t ref_add(const uint8_t *b, size_t len, uint32_t sum)
{
	sum = (sum & 0xffff) + (sum >> 16);
	sum = (sum & 0xffff) + (sum >> 16);
	for (size_t i = 0; i < len; i++) {
		sum += i & 1 ? b[i] : (uint32_t)b[i] << 8;
		sum = (sum & 0xffff) + (sum >> 16);
	}
	return sum;
}

/* A packet whose layout is known because it was made here. */
struct made {
	uint8_t b[PKT_MAX];
	size_t len, l3_off, l4_off, l4_len, csum_off;
	bool is_v6, is_tcp;
};

/* The bare sum of the pseudo-header. */
static uint32_t ref_pseudo(const struct made *m)
{
	const uint8_t *l3 = m->b + m->l3_off;
	uint32_t sum = (uint32_t)m->l4_len + (m->is_tcp ? 6 : 17);

	return m->is_v6 ? ref_add(l3 + 8, 32, sum) : ref_add(l3 + 12, 8, sum);
}

/* Leave the checksum to others, as a sender with offload does. */
static void set_partial(struct made *m)
{
	xmb_be16_store(m->b + m->csum_off, (uint16_t)ref_pseudo(m));
}

/* Set the checksum, 0xffff for 0. */
static void set_right(struct made *m)
{
	uint32_t sum;

	xmb_be16_store(m->b + m->csum_off, 0);
	sum = ref_add(m->b + m->l4_off, m->l4_len, ref_pseudo(m));
	sum = ~sum & 0xffff;
	xmb_be16_store(m->b + m->csum_off, (uint16_t)(sum ? sum : 0xffff));
}

/* What a receiver computes: 0xffff is a checksum that is right. */
static uint32_t verify(const struct made *m)
{
	return ref_add(m->b + m->l4_off, m->l4_len, ref_pseudo(m));
}

static void append(struct made *m, uint8_t byte, size_t cnt)
{
	memset(m->b + m->len, byte, cnt);
	m->len += cnt;
}

static void append_random(struct made *m, size_t cnt)
{
	for (size_t i = 0; i < cnt; i++)
		m->b[m->len++] = (uint8_t)rng(256);
}

static void make_ipv4(struct made *m)
{
	size_t opt_len = rng(2) ? 4 * rng(11) : 0;
	uint8_t *l3 = m->b + m->len;

	append_random(m, 20);
	append(m, 1, opt_len);
	l3[0] = (uint8_t)(0x45 + opt_len / 4);
	xmb_be16_store(l3 + 2, (uint16_t)(20 + opt_len + m->l4_len));
	xmb_be16_store(l3 + 6, rng(2) ? 0x4000 : 0);
	l3[9] = m->is_tcp ? 6 : 17;
}

static void make_ipv6(struct made *m)
{
	size_t ext_len = rng(2) ? 8 + 8 * rng(4) : 0;
	uint8_t *l3 = m->b + m->len;

	append_random(m, 40);
	append(m, 0, ext_len);
	l3[0] = 0x60;
	xmb_be16_store(l3 + 4, (uint16_t)(ext_len + m->l4_len));
	l3[6] = m->is_tcp ? 6 : 17;
	if (ext_len) {
		l3[40] = l3[6];
		l3[41] = (uint8_t)(ext_len / 8 - 1);
		l3[6] = 60;
	}
}

/* A random packet with payload_len bytes in TCP or UDP; checksum not set. */
static void make_packet(struct made *m, size_t payload_len)
{
	size_t hdr_len;
	uint8_t *l4;

	*m = (struct made){ .is_v6 = rng(2), .is_tcp = rng(2) };
	hdr_len = m->is_tcp ? 20 + 4 * rng(11) : 8;
	m->l4_len = hdr_len + payload_len;
	append_random(m, 12);
	for (uint32_t n = rng(3); n > 0; n--) {
		append_random(m, 4);
		xmb_be16_store(m->b + m->len - 4, rng(2) ? 0x8100 : 0x88a8);
	}
	m->len += 2;
	xmb_be16_store(m->b + m->len - 2, m->is_v6 ? 0x86dd : 0x0800);
	m->l3_off = m->len;
	if (m->is_v6)
		make_ipv6(m);
	else
		make_ipv4(m);
	m->l4_off = m->len;
	append_random(m, m->l4_len);
	l4 = m->b + m->l4_off;
	if (m->is_tcp)
		l4[12] = (uint8_t)(hdr_len / 4 << 4);
	else
		xmb_be16_store(l4 + 4, (uint16_t)m->l4_len);
	m->csum_off = m->l4_off + (m->is_tcp ? 16 : 6);
	append_random(m, rng(3) ? 0 : rng(20));
}

/* The sample, whose checksum is right, as if it was made here. */
static void take_sample(struct made *m, const struct sample *s)
{
	*m = (struct made){
		.l3_off = s->parse.l3_off,
		.l4_off = s->parse.l4_off,
		.l4_len = s->parse.l4_len,
		.is_v6 = s->parse.ether_type == 0x86dd,
		.is_tcp = s->parse.l4_proto == 6,
	};
	m->len = unhex(s->hex, m->b);
	m->csum_off = m->l4_off + (m->is_tcp ? 16 : 6);
	if (!m->is_tcp)
		m->l4_len = xmb_be16_load(m->b + m->l4_off + 4);
}

/* complete() of the chain gives ret and these bytes; releases it. */
static void expect_complete(struct xmb_multibuf *mb, int ret,
			    const struct made *want, const char *what)
{
	bool is_left = xmb_csum_count_complete(mb, 1) == 1;

	/* The quick look may send a packet to the long one in vain. */
	cr_assert(not(is_left && (ret == 1 || ret == -EPERM)), "%s", what);
	cr_assert(eq(int, xmb_csum_complete(mb), ret), "%s", what);
	cr_assert(holds(mb, want->b, want->len), "%s", what);
	xmb_multibuf_release(mb, &cache);
}

static bool is_finishable(const struct sample *s)
{
	return s->parse.l4_hdr_len && !s->parse.is_fragment &&
	       !s->parse.is_rerouted && strcmp(s->name, "ipv4_udp_no_checksum");
}

Test(csum, the_example_of_rfc_1071_sums_up)
{
	static const uint8_t b[] = { 0x00, 0x01, 0xf2, 0x03,
				     0xf4, 0xf5, 0xf6, 0xf7 };
	struct xmb_multibuf mb = make_whole(b, sizeof(b));

	cr_expect(eq(u32, xmb_csum_add(&mb, 0, 8, 0), 0xddf2));
	cr_expect(eq(u32, xmb_csum_add(&mb, 0, 3, 0), 0xf201));
	cr_expect(eq(u32, xmb_csum_add(&mb, 1, 2, 0), 0x01f2));
	cr_expect(eq(u32, xmb_csum_add(&mb, 0, 8, 0x220e), 0x0001));
	cr_expect(eq(u32, xmb_csum_add(&mb, 8, 0, 0x12345), 0x2346));
	cr_expect(eq(u32, xmb_csum_add(&mb, 4, 0, 0xffffffff), 0xffff));
	cr_expect(eq(u32, xmb_csum_add(&mb, 0, 1, 0), 0));
	xmb_multibuf_release(&mb, &cache);
}

Test(csum, an_empty_multibuf_adds_nothing)
{
	struct xmb_multibuf mb = { 0 };

	cr_expect(eq(u32, xmb_csum_add(&mb, 0, 0, 7), 7));
}

Test(csum, a_sum_beyond_the_end_aborts, .signal = SIGABRT)
{
	struct xmb_multibuf mb = make_whole((const uint8_t *)"abcd", 4);

	xmb_csum_add(&mb, 2, 3, 0);
}

Test(csum, a_sum_from_beyond_the_end_aborts, .signal = SIGABRT)
{
	struct xmb_multibuf mb = make_whole((const uint8_t *)"abcd", 4);

	xmb_csum_add(&mb, 5, SIZE_MAX, 0);
}

Test(csum, carries_are_never_lost)
{
	static uint8_t ones[PKT_MAX];
	struct xmb_multibuf mb;

	memset(ones, 0xff, sizeof(ones));
	for (size_t len = 1; len < 200; len++) {
		mb = make_whole(ones, len);
		cr_expect(eq(u32, xmb_csum_add(&mb, 0, len, 0xffffffff),
			     ref_add(ones, len, 0xffffffff)));
		cr_expect(eq(u32, xmb_csum_add(&mb, 0, len, 1),
			     ref_add(ones, len, 1)));
		xmb_multibuf_release(&mb, &cache);
	}
}

Test(csum, random_chains_sum_as_their_bytes)
{
	static uint8_t b[PKT_MAX];
	struct xmb_multibuf mb;

	for (uint32_t i = 0; i < sizeof(b); i++)
		b[i] = (uint8_t)rng(256);
	for (uint32_t i = 0; i < FUZZ_CNT; i++) {
		uint32_t len = rng(i % 16 ? 128 : 2000), off = rng(len + 1);
		uint32_t n = rng(len - off + 1), sum = rng(UINT32_MAX);
		const uint8_t *from = b + rng(sizeof(b) - 2000);
		uint32_t want = ref_add(from + off, n, sum), half = n / 4 * 2;

		b[rng(sizeof(b))] = rng(4) ? (uint8_t)rng(256) : 0xff;
		want = ref_add(from + off, n, sum);
		mb = make_random(from, len);
		cr_assert(eq(u32, xmb_csum_add(&mb, off, n, sum), want),
			  "chain %u", i);
		sum = xmb_csum_add(&mb, off, half, sum);
		sum = xmb_csum_add(&mb, off + half, n - half, sum);
		cr_assert(eq(u32, sum, want), "chain %u in two steps", i);
		xmb_multibuf_release(&mb, &cache);
	}
}

Test(csum, frames_of_a_pool_sum_as_their_bytes)
{
	struct xmb_multibuf mb = { 0 };
	uint8_t b[1501];

	for (size_t i = 0; i < sizeof(b); i++)
		b[i] = (uint8_t)rng(256);
	/* Chunks of 51 bytes: every other one begins in mid-word. */
	cr_assert(zero(int, xmb_multibuf_alloc(&cache, sizeof(b), 13, &mb)));
	cr_assert(eq(u32, xmb_multibuf_chunk_cnt(&mb), 30));
	xmb_multibuf_copy_from(&mb, 0, b, sizeof(b));
	for (size_t off = 0; off <= sizeof(b); off++)
		cr_assert(eq(u32, xmb_csum_add(&mb, off, sizeof(b) - off, 0),
			     ref_add(b + off, sizeof(b) - off, 0)));
	xmb_multibuf_release(&mb, &cache);
}

Test(csum, samples_get_their_known_checksum_back)
{
	struct made m, want;
	struct xmb_multibuf mb;
	int cnt = 0;

	for (int i = 0; i < SAMPLE_CNT; i++) {
		if (!is_finishable(&samples[i]))
			continue;
		take_sample(&want, &samples[i]);
		cr_assert(eq(u32, verify(&want), 0xffff));
		m = want;
		set_partial(&m);
		cr_assert(ne(int, memcmp(m.b, want.b, m.len), 0));
		for (size_t cut = 0; cut <= m.len; cut++) {
			mb = make_cut(m.b, m.len, &cut, 1);
			expect_complete(&mb, 1, &want, samples[i].name);
		}
		mb = make_dust(m.b, m.len);
		expect_complete(&mb, 1, &want, samples[i].name);
		cnt++;
	}
	cr_expect(ge(int, cnt, 15));
}

/* The field, of two bytes, in one chunk or in two of which one is shared. */
Test(csum, a_partial_checksum_in_a_shared_packet_is_refused)
{
	struct xmb_multibuf mb;
	struct made m, want;
	int cnt = 0;

	for (int i = 0; i < SAMPLE_CNT; i++) {
		if (!is_finishable(&samples[i]))
			continue;
		take_sample(&want, &samples[i]);
		m = want;
		set_partial(&m);
		for (size_t cut = 0; cut <= m.len; cut++) {
			struct xmb_chunk clone = { 0 }, *last;

			mb = make_cut(m.b, m.len, &cut, 1);
			last = xmb_multibuf_chunk(&mb, mb.cnt - 1u);
			cr_assert(zero(int, xmb_chunk_share(last, &clone)));
			if (cut < m.csum_off + 2)
				expect_complete(&mb, -EPERM, &m,
						samples[i].name);
			else
				expect_complete(&mb, 1, &want, samples[i].name);
			xmb_chunk_release(&clone, &cache);
			cnt++;
		}
	}
	cr_expect(ge(int, cnt, 15));
}

Test(csum, samples_with_a_finished_checksum_stay_as_they_are)
{
	struct xmb_multibuf mb;
	struct made m;

	for (int i = 0; i < SAMPLE_CNT; i++) {
		take_sample(&m, &samples[i]);
		mb = make_random(m.b, m.len);
		expect_complete(&mb, 0, &m, samples[i].name);
	}
}

Test(csum, the_quick_look_stops_at_the_first_packet_that_may_be_partial)
{
	struct xmb_multibuf mbs[8] = { 0 };
	struct made m;

	for (uint32_t i = 0; i < 8; i++) {
		take_sample(&m, sample_of(i % 2 ? "ipv4_udp_odd" : "ipv4_tcp"));
		if (i == 2 || i == 5)
			set_partial(&m);
		cr_assert(eq(
			int,
			xmb_multibuf_alloc(&cache, (uint32_t)m.len, 0, &mbs[i]),
			0));
		xmb_multibuf_copy_from(&mbs[i], 0, m.b, m.len);
	}
	cr_expect(eq(u32, xmb_csum_count_complete(mbs, 8), 2));
	cr_expect(eq(u32, xmb_csum_count_complete(mbs, 1), 1));
	cr_expect(eq(u32, xmb_csum_count_complete(mbs, 0), 0));
	cr_expect(eq(u32, xmb_csum_count_complete(mbs + 2, 6), 0));
	cr_expect(eq(u32, xmb_csum_count_complete(mbs + 3, 5), 2));
	cr_expect(eq(u32, xmb_csum_count_complete(mbs + 5, 3), 0));
	cr_expect(eq(u32, xmb_csum_count_complete(mbs + 6, 2), 2));
	xmb_multibuf_release_bulk(mbs, 8, &cache);
}

/* Those of which the field is none, or not one that can be finished. */
Test(csum, fragments_and_routed_packets_stay_as_they_are)
{
	struct xmb_multibuf mb;
	struct made m;
	int cnt = 0;

	for (int i = 0; i < SAMPLE_CNT; i++) {
		const struct xmb_parse *p = &samples[i].parse;

		if (!p->is_fragment && !p->is_rerouted)
			continue;
		take_sample(&m, &samples[i]);
		if (m.csum_off + 2 > m.len)
			continue;
		m.l4_len = p->l4_len;
		if (!m.is_tcp && !p->is_fragment)
			m.l4_len = xmb_be16_load(m.b + m.l4_off + 4);
		set_partial(&m);
		mb = make_whole(m.b, m.len);
		expect_complete(&mb, 0, &m, samples[i].name);
		/* The first fragment's UDP length is the datagram's. */
		if (p->is_first_fragment && !m.is_tcp) {
			m.l4_len = xmb_be16_load(m.b + m.l4_off + 4);
			set_partial(&m);
			mb = make_whole(m.b, m.len);
			expect_complete(&mb, 0, &m, samples[i].name);
		}
		cnt++;
	}
	cr_expect(ge(int, cnt, 6));
}

Test(csum, what_is_malformed_is_refused_and_stays_as_it_is)
{
	struct xmb_multibuf mb;
	struct made m;

	for (int i = 0; i < SAMPLE_CNT; i++) {
		take_sample(&m, &samples[i]);
		if (is_finishable(&samples[i]))
			set_partial(&m);
		for (m.len = 0; m.len < sample_need(&samples[i]); m.len++) {
			mb = make_random(m.b, m.len);
			expect_complete(&mb, -EPROTO, &m, samples[i].name);
		}
	}
}

Test(csum, udp_without_checksum_stays_without)
{
	struct xmb_multibuf mb;
	struct made m;

	take_sample(&m, sample_of("ipv4_udp_no_checksum"));
	cr_assert(zero(u16, xmb_be16_load(m.b + m.csum_off)));
	mb = make_whole(m.b, m.len);
	expect_complete(&mb, 0, &m, "IPv4");
	take_sample(&m, sample_of("ipv6_udp"));
	xmb_be16_store(m.b + m.csum_off, 0);
	mb = make_whole(m.b, m.len);
	expect_complete(&mb, 0, &m, "IPv6, where it is forbidden");
}

Test(csum, a_field_off_by_one_is_not_partial)
{
	struct xmb_multibuf mb;
	struct made m;

	for (int step = -1; step <= 1; step += 2) {
		take_sample(&m, sample_of("ipv4_tcp"));
		xmb_be16_store(m.b + m.csum_off,
			       (uint16_t)(ref_pseudo(&m) + (uint32_t)step));
		mb = make_whole(m.b, m.len);
		expect_complete(&mb, 0, &m, "off by one");
	}
}

Test(csum, random_partial_packets_come_out_right_and_stay_so)
{
	static struct made m, want;
	struct xmb_multibuf mb;
	uint32_t again_cnt = 0;

	for (uint32_t i = 0; i < MADE_CNT; i++) {
		make_packet(&m, rng(i % 8 ? 64 : 2500));
		set_partial(&m);
		want = m;
		set_right(&want);
		cr_assert(eq(u32, verify(&want), 0xffff));
		mb = make_random(m.b, m.len);
		cr_assert(eq(int, xmb_csum_complete(&mb), 1), "packet %u", i);
		cr_assert(holds(&mb, want.b, want.len), "packet %u", i);
		again_cnt += xmb_csum_complete(&mb) == 1;
		cr_assert(holds(&mb, want.b, want.len), "packet %u again", i);
		xmb_multibuf_release(&mb, &cache);
	}
	/* 1 in 65,535 by chance. */
	cr_expect(le(u32, again_cnt, 5));
}

/* Set the last word of the payload so that all L4 words sum up to sum. */
static void steer_sum(struct made *m, uint32_t sum)
{
	uint8_t *word = m->b + m->l4_off + m->l4_len - 2;
	uint32_t rest;

	xmb_be16_store(word, 0);
	rest = ref_add(m->b + m->l4_off, m->l4_len, 0);
	sum = ref_add(NULL, 0, sum + (~rest & 0xffff));
	xmb_be16_store(word, (uint16_t)sum);
}

Test(csum, a_checksum_of_zero_is_written_as_ones)
{
	static struct made m, want;
	struct xmb_multibuf mb;

	for (uint32_t i = 0; i < 1000; i++) {
		make_packet(&m, 2 + 2 * rng(50));
		set_partial(&m);
		steer_sum(&m, 0xffff);
		want = m;
		xmb_be16_store(want.b + want.csum_off, 0xffff);
		cr_assert(eq(u32, verify(&want), 0xffff));
		mb = make_random(m.b, m.len);
		expect_complete(&mb, 1, &want, "zero");
	}
}

Test(csum, a_finished_checksum_that_equals_the_pseudo_sum_is_not_falsified)
{
	static struct made m;
	struct xmb_multibuf mb;

	for (uint32_t i = 0; i < 1000; i++) {
		make_packet(&m, 2 + 2 * rng(50));
		if (i % 2) { /* a pseudo sum that is the other form of zero */
			uint8_t *word = m.b + m.l3_off + (m.is_v6 ? 38 : 18);

			xmb_be16_store(word, 0);
			xmb_be16_store(word, (uint16_t)~ref_pseudo(&m));
			cr_assert(eq(u32, ref_pseudo(&m), 0xffff));
		}
		set_partial(&m);
		steer_sum(&m, ~ref_pseudo(&m) & 0xffff);
		cr_assert(eq(u32, verify(&m), 0xffff));
		mb = make_random(m.b, m.len);
		expect_complete(&mb, 1, &m, "equal");
	}
}
