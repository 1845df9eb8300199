/* SPDX-License-Identifier: BSD-2-Clause */
#include "pkt/parse.h"

#include "buf/edit.h"
#include "pkt/wire.h"

#include <linux/if_ether.h>
#include <netinet/in.h>

enum {
	TAG_LEN = 4,
	IPV4_LEN = 20,
	IPV4_OPT_MAX = 40,
	IPV6_LEN = 40,
	EXT_LEN = 8, /* the least of an extension header */
	EXT_LEN_MAX = 2048,
	TCP_LEN = 20,
	UDP_LEN = 8,

	IPV4_OPT_END = 0,
	IPV4_OPT_NOP = 1,
	IPV4_OPT_LSRR = 131,
	IPV4_OPT_SSRR = 137,
	IPV6_OPT_PAD1 = 0,
	IPV6_OPT_HOME = 201,

	PROTO_AH = IPPROTO_AH,
	PROTO_MOBILITY = 135,
	PROTO_HIP = 139,
	PROTO_SHIM6 = 140,
};

struct walk {
	const struct xmb_multibuf *mb;
	const uint8_t *head; /* the first chunk, where headers mostly are */
	size_t head_len;
	size_t end; /* of the frame, then of IP */
};

/* n bytes at off, in place or in tmp; NULL: not inside the end. */
static const uint8_t *peek(const struct walk *w, size_t off, size_t n,
			   void *tmp)
{
	if (XMB_UNLIKELY(off + n > w->end))
		return NULL;
	if (XMB_LIKELY(off + n <= w->head_len))
		return w->head + off;
	return xmb_multibuf_get(w->mb, off, n, tmp);
}

static bool is_tag(uint16_t ether_type)
{
	return ether_type == ETH_P_8021Q || ether_type == ETH_P_8021AD;
}

static int parse_ether(const struct walk *w, struct xmb_parse *p)
{
	uint8_t tmp[ETH_HLEN];
	const uint8_t *b = peek(w, 0, ETH_HLEN, tmp);

	if (!b)
		return -EPROTO;
	p->ether_type = xmb_be16_load(b + 12);
	p->l3_off = ETH_HLEN;
	while (is_tag(p->ether_type) && p->vlan_cnt < XMB_PARSE_VLAN_MAX) {
		b = peek(w, p->l3_off, TAG_LEN, tmp);
		if (!b)
			return -EPROTO;
		p->ether_type = xmb_be16_load(b + 2);
		p->l3_off += TAG_LEN;
		p->vlan_cnt++;
	}
	return 0;
}

static int parse_tcp(const struct walk *w, struct xmb_parse *p)
{
	uint8_t tmp[TCP_LEN];
	const uint8_t *b = peek(w, p->l4_off, TCP_LEN, tmp);
	uint32_t len;

	/* The rest of the header may come in the next fragment. */
	if (!b)
		return p->is_fragment ? 0 : -EPROTO;
	len = (uint32_t)(b[12] >> 4) * 4;
	if (len < TCP_LEN)
		return -EPROTO;
	if (len > p->l4_len)
		return p->is_fragment ? 0 : -EPROTO;
	p->l4_hdr_len = (uint8_t)len;
	return 0;
}

static int parse_udp(const struct walk *w, struct xmb_parse *p)
{
	uint8_t tmp[UDP_LEN];
	const uint8_t *b = peek(w, p->l4_off, UDP_LEN, tmp);
	uint32_t len;

	if (!b)
		return p->is_fragment ? 0 : -EPROTO;
	len = xmb_be16_load(b + 4);
	if (len < UDP_LEN || (len > p->l4_len && !p->is_fragment))
		return -EPROTO;
	p->l4_hdr_len = UDP_LEN;
	return 0;
}

static int parse_l4(const struct walk *w, struct xmb_parse *p)
{
	p->l4_len = (uint32_t)w->end - p->l4_off;
	if (p->is_fragment && !p->is_first_fragment)
		return 0;
	if (p->l4_proto == IPPROTO_TCP)
		return parse_tcp(w, p);
	if (p->l4_proto == IPPROTO_UDP)
		return parse_udp(w, p);
	return 0;
}

static int parse_ipv4_options(const struct walk *w, struct xmb_parse *p,
			      size_t len)
{
	uint8_t tmp[IPV4_OPT_MAX];
	const uint8_t *b = peek(w, p->l3_off + IPV4_LEN, len, tmp);
	size_t i = 0;

	if (!b)
		return -EPROTO;
	while (i < len && b[i] != IPV4_OPT_END) {
		if (b[i] == IPV4_OPT_NOP) {
			i++;
			continue;
		}
		if (len - i < 2 || b[i + 1] < 2 || b[i + 1] > len - i)
			return -EPROTO;
		if (b[i] == IPV4_OPT_LSRR || b[i] == IPV4_OPT_SSRR) {
			/* A pointer behind the option: all hops are done. */
			if (b[i + 1] < 3)
				return -EPROTO;
			if (b[i + 2] <= b[i + 1])
				p->is_rerouted = true;
		}
		i += b[i + 1];
	}
	return 0;
}

static int parse_ipv4(struct walk *w, struct xmb_parse *p)
{
	uint8_t tmp[IPV4_LEN];
	const uint8_t *b = peek(w, p->l3_off, IPV4_LEN, tmp);
	uint32_t hdr_len, len, frag;
	int err;

	if (!b || b[0] >> 4 != 4)
		return -EPROTO;
	hdr_len = (b[0] & 15u) * 4;
	len = xmb_be16_load(b + 2);
	if (hdr_len < IPV4_LEN || len < hdr_len || len > w->end - p->l3_off)
		return -EPROTO;
	w->end = p->l3_off + len;
	p->l4_off = p->l3_off + hdr_len;
	p->l4_proto = b[9];
	frag = xmb_be16_load(b + 6);
	p->is_fragment = frag & 0x3fff; /* more to follow, or an offset */
	p->is_first_fragment = p->is_fragment && !(frag & 0x1fff);
	if (XMB_UNLIKELY(hdr_len > IPV4_LEN)) {
		err = parse_ipv4_options(w, p, hdr_len - IPV4_LEN);
		if (err)
			return err;
	}
	return parse_l4(w, p);
}

static bool is_extension(uint8_t proto)
{
	switch (proto) {
	case IPPROTO_HOPOPTS:
	case IPPROTO_ROUTING:
	case IPPROTO_FRAGMENT:
	case IPPROTO_DSTOPTS:
	case PROTO_AH:
	case PROTO_MOBILITY:
	case PROTO_HIP:
	case PROTO_SHIM6:
		return true;
	default:
		return false;
	}
}

/* The second byte counts in a unit, and from a zero, of the header's own. */
static uint32_t extension_len(uint8_t proto, const uint8_t *b)
{
	if (proto == IPPROTO_FRAGMENT)
		return EXT_LEN;
	if (proto == PROTO_AH)
		return (b[1] + 2u) * 4;
	return (b[1] + 1u) * 8;
}

static int parse_dest_options(const struct walk *w, struct xmb_parse *p,
			      size_t len)
{
	uint8_t tmp[EXT_LEN_MAX];
	const uint8_t *b = peek(w, p->l4_off, len, tmp);
	size_t i = 2;

	if (!b)
		return -EPROTO;
	while (i < len) {
		if (b[i] == IPV6_OPT_PAD1) {
			i++;
			continue;
		}
		if (len - i < 2 || b[i + 1] > len - i - 2)
			return -EPROTO;
		if (b[i] == IPV6_OPT_HOME)
			p->is_rerouted = true;
		i += 2u + b[i + 1];
	}
	return 0;
}

/* Take in the extension header at l4_off, of type l4_proto, and pass it. */
static int parse_extension(const struct walk *w, struct xmb_parse *p)
{
	uint8_t tmp[EXT_LEN];
	const uint8_t *b = peek(w, p->l4_off, EXT_LEN, tmp);
	uint32_t len, frag;
	int err;

	if (!b)
		return -EPROTO;
	len = extension_len(p->l4_proto, b);
	if (len > w->end - p->l4_off)
		return -EPROTO;
	if (p->l4_proto == IPPROTO_FRAGMENT) {
		frag = xmb_be16_load(b + 2);
		p->is_fragment |= (frag & 0xfff9) != 0;
		p->is_first_fragment = p->is_fragment && !(frag & 0xfff8);
	} else if (p->l4_proto == IPPROTO_ROUTING) {
		p->is_rerouted |= b[3] > 0;
	} else if (p->l4_proto == IPPROTO_DSTOPTS) {
		err = parse_dest_options(w, p, len);
		if (err)
			return err;
	}
	p->l4_proto = b[0];
	p->l4_off += len;
	return 0;
}

static int parse_ipv6(struct walk *w, struct xmb_parse *p)
{
	uint8_t tmp[IPV6_LEN];
	const uint8_t *b = peek(w, p->l3_off, IPV6_LEN, tmp);
	uint32_t len, ext_cnt = 0;
	int err;

	if (!b || b[0] >> 4 != 6)
		return -EPROTO;
	len = IPV6_LEN + (uint32_t)xmb_be16_load(b + 4);
	if (len > w->end - p->l3_off)
		return -EPROTO;
	w->end = p->l3_off + len;
	p->l4_off = p->l3_off + IPV6_LEN;
	p->l4_proto = b[6];
	/* In a later fragment there is payload where a header would be. */
	while (is_extension(p->l4_proto) &&
	       (!p->is_fragment || p->is_first_fragment)) {
		if (ext_cnt++ == XMB_PARSE_EXT_MAX)
			return -EPROTO;
		err = parse_extension(w, p);
		if (err)
			return err;
	}
	return parse_l4(w, p);
}

int xmb_parse(const struct xmb_multibuf *mb, struct xmb_parse *out)
{
	struct walk w = { .mb = mb, .end = mb->len };
	struct xmb_parse p = { 0 };
	int err;

	if (XMB_LIKELY(mb->inline_cnt > 0) && mb->c[0].len > 0) {
		w.head = xmb_chunk_data(&mb->c[0]);
		w.head_len = mb->c[0].len;
	}
	err = parse_ether(&w, &p);
	if (!err && p.ether_type == ETH_P_IP)
		err = parse_ipv4(&w, &p);
	else if (!err && p.ether_type == ETH_P_IPV6)
		err = parse_ipv6(&w, &p);
	if (err)
		return err;
	*out = p;
	return 0;
}

int xmb_ether_swap_slow(struct xmb_multibuf *mb)
{
	uint8_t mac[12];

	if (!xmb_multibuf_is_writable_at(mb, 0, sizeof(mac)))
		return -EPERM;
	xmb_multibuf_copy_to(mb, 0, mac, sizeof(mac));
	xmb_multibuf_copy_from(mb, 6, mac, 6);
	xmb_multibuf_copy_from(mb, 0, mac + 6, 6);
	return 0;
}
