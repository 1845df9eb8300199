/* SPDX-License-Identifier: BSD-2-Clause */
#include "pkt/csum.h"

#include "buf/edit.h"
#include "pkt/parse.h"
#include "pkt/wire.h"

#include <byteswap.h>
#include <linux/if_ether.h>
#include <netinet/in.h>

enum {
	IPV4_ADDR_OFF = 12, /* source, then destination */
	IPV4_ADDR_LEN = 8,
	IPV6_ADDR_OFF = 8,
	IPV6_ADDR_LEN = 32,
	TCP_CSUM_OFF = 16,
	UDP_LEN_OFF = 4,
	UDP_CSUM_OFF = 6,
};

static inline uint64_t add_carry(uint64_t sum, uint64_t word)
{
	bool carry = __builtin_add_overflow(sum, word, &sum);

	return sum + carry;
}

static uint16_t fold(uint64_t sum)
{
	sum = (sum & 0xffffffff) + (sum >> 32);
	sum = (sum & 0xffffffff) + (sum >> 32);
	sum = (sum & 0xffff) + (sum >> 16);
	sum = (sum & 0xffff) + (sum >> 16);
	return (uint16_t)sum;
}

/*
 * The sum of n bytes as the words they are in memory.  65,536 is 1 modulo
 * 65,535, so that 64-bit words added with their carry fold to the same.  Two
 * sums that do not wait for each other keep both adders busy.
 */
static uint16_t sum_span(const uint8_t *data, size_t n)
{
	uint64_t even = 0, odd = 0, word[4];

	for (; n >= sizeof(word); n -= sizeof(word), data += sizeof(word)) {
		memcpy(word, data, sizeof(word));
		even = add_carry(even, word[0]);
		odd = add_carry(odd, word[1]);
		even = add_carry(even, word[2]);
		odd = add_carry(odd, word[3]);
	}
	for (; n >= sizeof(*word); n -= sizeof(*word), data += sizeof(*word)) {
		memcpy(word, data, sizeof(*word));
		even = add_carry(even, word[0]);
	}
	if (n > 0) {
		word[0] = 0;
		memcpy(word, data, n);
		odd = add_carry(odd, word[0]);
	}
	return fold(add_carry(even, odd));
}

uint32_t xmb_csum_add(const struct xmb_multibuf *mb, size_t off, size_t len,
		      uint32_t sum)
{
	struct xmb_multibuf_iter iter;
	uint64_t total = sum;
	bool is_odd = false;
	uint16_t part;
	size_t n;

	XMB_ASSERT(off <= mb->len && len <= mb->len - off);
	for (const struct xmb_chunk *c = xmb_multibuf_first(mb, &iter); len > 0;
	     c = xmb_multibuf_next(&iter)) {
		if (off >= c->len) {
			off -= c->len;
			continue;
		}
		n = c->len - off < len ? c->len - off : len;
		part = be16toh(sum_span(xmb_chunk_data(c) + off, n));
		/* Behind an odd number of bytes high and low are exchanged. */
		total += is_odd ? bswap_16(part) : part;
		is_odd ^= n & 1;
		len -= n;
		off = 0;
	}
	return fold(total);
}

static uint16_t load_be16(const struct xmb_multibuf *mb, size_t off)
{
	uint8_t tmp[2];

	return xmb_be16_load(xmb_multibuf_get(mb, off, sizeof(tmp), tmp));
}

static uint32_t pseudo_sum(const struct xmb_multibuf *mb,
			   const struct xmb_parse *p, uint32_t l4_len)
{
	uint32_t sum = p->l4_proto + l4_len;

	if (p->ether_type == ETH_P_IP)
		return xmb_csum_add(mb, p->l3_off + IPV4_ADDR_OFF,
				    IPV4_ADDR_LEN, sum);
	return xmb_csum_add(mb, p->l3_off + IPV6_ADDR_OFF, IPV6_ADDR_LEN, sum);
}

static uint16_t load16(const uint8_t *at)
{
	uint16_t v;

	memcpy(&v, at, sizeof(v));
	return v;
}

/* Whether x is a multiple of 65,535: its inverse modulo 2^64 divides it. */
static bool is_zero_sum(uint64_t x)
{
	const uint64_t ones = UINT64_C(0x0001000100010001);

	return x * -ones <= ones;
}

/*
 * What nearly all packets are: headers in one chunk, no tag, IPv4 without
 * options, TCP or UDP, and in the checksum's place not P.  Whether they are
 * whole, fragments or malformed does not matter then: nothing of them would be
 * finished.  False: xmb_csum_complete() has to look.
 */
static inline bool is_plainly_complete(const struct xmb_multibuf *mb)
{
	const uint8_t *ip, *l4;
	uint16_t l4_len, field;
	uint32_t addr[2];

	if (XMB_UNLIKELY(mb->inline_cnt == 0 || mb->c[0].len < 14 + 20 + 8))
		return false;
	ip = xmb_chunk_data(&mb->c[0]) + 14;
	l4 = ip + 20;
	if (load16(ip - 2) != htobe16(ETH_P_IP) || ip[0] != 0x45)
		return false;
	memcpy(addr, ip + IPV4_ADDR_OFF, sizeof(addr));
	if (ip[9] == IPPROTO_UDP) {
		l4_len = load16(l4 + UDP_LEN_OFF);
		field = load16(l4 + UDP_CSUM_OFF);
	} else if (ip[9] == IPPROTO_TCP &&
		   mb->c[0].len >= 14 + 20 + TCP_CSUM_OFF + 2) {
		l4_len = htobe16((uint16_t)(be16toh(load16(ip + 2)) - 20));
		field = load16(l4 + TCP_CSUM_OFF);
	} else {
		return false;
	}
	return !is_zero_sum((uint64_t)addr[0] + addr[1] + htobe16(ip[9]) +
			    l4_len + (0xffff - (uint32_t)field));
}

uint32_t xmb_csum_count_complete(const struct xmb_multibuf *mbs, uint32_t cnt)
{
	uint32_t n = 0;

	while (n < cnt && is_plainly_complete(&mbs[n]))
		n++;
	return n;
}

int xmb_csum_complete(struct xmb_multibuf *mb)
{
	uint32_t field_off, l4_len, sum;
	struct xmb_parse p;
	uint8_t field[2];
	int err = xmb_parse(mb, &p);

	if (err)
		return err;
	if (p.l4_hdr_len == 0 || p.is_fragment || p.is_rerouted)
		return 0;
	if (p.l4_proto == IPPROTO_TCP) {
		field_off = p.l4_off + TCP_CSUM_OFF;
		l4_len = p.l4_len;
	} else {
		field_off = p.l4_off + UDP_CSUM_OFF;
		l4_len = load_be16(mb, p.l4_off + UDP_LEN_OFF);
	}
	/* "No checksum", 0, is left alone here too: no P is 0. */
	if (load_be16(mb, field_off) != pseudo_sum(mb, &p, l4_len))
		return 0;
	if (!xmb_multibuf_is_writable_at(mb, field_off, sizeof(field)))
		return -EPERM;
	sum = ~xmb_csum_add(mb, p.l4_off, l4_len, 0) & 0xffff;
	xmb_be16_store(field, (uint16_t)(sum > 0 ? sum : 0xffff));
	xmb_multibuf_copy_from(mb, field_off, field, sizeof(field));
	return 1;
}
