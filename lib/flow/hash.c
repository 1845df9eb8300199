/* SPDX-License-Identifier: BSD-2-Clause */
#include "flow/hash.h"

#include "pkt/parse.h"

#include <netinet/in.h>
#include <string.h>

enum { ETHER_LEN = 14, MAC_LEN = 6, IP6_LEN = 40, ADDR_MAX = 16 };

/* A flow's ends as 64-bit words, ready to be put in order. */
struct end {
	uint64_t addr[2];
	uint64_t port;
};

static uint64_t mix(uint64_t h, uint64_t v)
{
	/* The finalizer of splitmix64: every bit of v reaches every bit. */
	h = (h ^ v) * UINT64_C(0xbf58476d1ce4e5b9);
	h = (h ^ (h >> 32)) * UINT64_C(0x94d049bb133111eb);
	return h ^ (h >> 29);
}

static int compare(const struct end *a, const struct end *b)
{
	if (a->addr[0] != b->addr[0])
		return a->addr[0] < b->addr[0] ? -1 : 1;
	if (a->addr[1] != b->addr[1])
		return a->addr[1] < b->addr[1] ? -1 : 1;
	return a->port < b->port ? -1 : a->port > b->port;
}

static uint32_t hash_ends(const struct end *from, const struct end *to,
			  uint64_t kind, bool is_symmetric)
{
	uint64_t h = kind + 1;

	if (is_symmetric && compare(from, to) > 0) {
		const struct end *swap = from;

		from = to;
		to = swap;
	}
	h = mix(h, from->addr[0]);
	h = mix(h, from->addr[1] ^ to->addr[1] << 1);
	h = mix(h, to->addr[0]);
	h = mix(h, from->port << 32 | to->port);
	return (uint32_t)(h >> 32);
}

static void load_addr(struct end *end, const uint8_t *addr, size_t len)
{
	memcpy(end->addr, addr, len);
}

static uint32_t hash_ether(const struct xmb_multibuf *mb, uint64_t kind,
			   bool is_symmetric)
{
	struct end from = { 0 }, to = { 0 };
	uint8_t tmp[2 * MAC_LEN];
	const uint8_t *mac = xmb_multibuf_get(mb, 0, sizeof(tmp), tmp);

	load_addr(&to, mac, MAC_LEN);
	load_addr(&from, mac + MAC_LEN, MAC_LEN);
	return hash_ends(&from, &to, kind, is_symmetric);
}

static uint32_t hash_ip(const struct xmb_multibuf *mb,
			const struct xmb_parse *pkt, bool is_symmetric)
{
	const bool is_v6 = pkt->ether_type == 0x86dd;
	const size_t addr_len = is_v6 ? 16 : 4, addr_off = is_v6 ? 8 : 12;
	struct end from = { 0 }, to = { 0 };
	uint8_t tmp[2 * ADDR_MAX];
	const uint8_t *p;

	p = xmb_multibuf_get(mb, pkt->l3_off + addr_off, 2 * addr_len, tmp);
	load_addr(&from, p, addr_len);
	load_addr(&to, p + addr_len, addr_len);
	if (pkt->l4_hdr_len && !pkt->is_fragment) {
		p = xmb_multibuf_get(mb, pkt->l4_off, 4, tmp);
		from.port = (uint64_t)p[0] << 8 | p[1];
		to.port = (uint64_t)p[2] << 8 | p[3];
	}
	/* A later fragment of IPv6 does not know the last protocol. */
	return hash_ends(&from, &to,
			 is_v6 && pkt->is_fragment ? IPPROTO_FRAGMENT
						   : pkt->l4_proto,
			 is_symmetric);
}

uint32_t xmb_flow_hash(const struct xmb_multibuf *mb, bool is_symmetric,
		       uint32_t *hdr_len)
{
	struct xmb_parse pkt = { 0 };
	int err = xmb_parse(mb, &pkt);

	if (hdr_len)
		*hdr_len = xmb_min_u32(mb->len, ETHER_LEN);
	if (mb->len < ETHER_LEN)
		return 0;
	if (err || pkt.l4_off == 0) {
		if (hdr_len && !err)
			*hdr_len = pkt.l3_off;
		return hash_ether(mb, err ? 0 : pkt.ether_type, is_symmetric);
	}
	if (hdr_len)
		*hdr_len = pkt.l4_off + pkt.l4_hdr_len;
	return hash_ip(mb, &pkt, is_symmetric);
}
