/* SPDX-License-Identifier: BSD-2-Clause */
#ifndef XMBUF_PKT_PARSE_H
#define XMBUF_PKT_PARSE_H

#include "base/base.h"
#include "buf/multibuf.h"

#include <errno.h>
#include <string.h>

/*
 * parse: where the headers of an Ethernet frame are.
 *
 *      +----------+-------+----+---------+-----+---------+---------+-----+
 *      | Ethernet | 0-2   | IP | options | TCP | options | payload | pad |
 *      |          | VLAN  |    | or ext. | UDP |         |         |     |
 *      +----------+-------+----+---------+-----+---------+---------+-----+
 *      0                  l3_off         l4_off          |         |
 *                                        <- l4_hdr_len -->         |
 *                                        <-------- l4_len --------->
 *
 * What is not understood is no error: of a frame that is not IP, ether_type
 * and l3_off are told and the rest is 0.  Tags are 802.1Q and 802.1ad, in any
 * order; a third one is an ether_type like any other.  A length is believed
 * after it was compared with the one around it: L4 in IP, IP in the frame.
 * Checksums are not looked at (see csum.h), nor what a tunnel carries.
 *
 * In IPv6, hop-by-hop, destination, routing, fragment, AH, mobility, HIP and
 * shim6 headers are walked, XMB_PARSE_EXT_MAX at most; l4_proto is the first
 * other one (ESP and "no next header" among them).  A fragment header with
 * offset 0 and nothing to follow (RFC 6946) makes no fragment.  Jumbograms are
 * refused, for their payload length is 0.
 *
 * Units      Bytes; offsets count from the frame's first byte.
 * Ownership  The multibuf stays the caller's.
 * Threads    One at a time for each multibuf.
 * Errors     With nothing changed.  -EPROTO: the sender broke the rules, or the
 *            frame was cut.  No byte outside the multibuf is read, whatever the
 *            frame says, and headers may straddle chunks anywhere.
 */

#define XMB_PARSE_VLAN_MAX 2u
/* RFC 8200 has a use for eight in one packet. */
#define XMB_PARSE_EXT_MAX 8u

struct xmb_parse {
	uint32_t l3_off;
	uint32_t l4_off;     /* behind the IP headers; 0: not IP */
	uint32_t l4_len;     /* by the IP header: without the frame's padding */
	uint16_t ether_type; /* behind the tags; below 0x600 an LLC length */
	uint8_t l4_proto;    /* IPPROTO_*; of a later fragment: what it is of */
	uint8_t l4_hdr_len;  /* TCP or UDP header, all here; 0: none such */
	uint8_t vlan_cnt;
	bool is_fragment;
	bool is_first_fragment; /* a fragment, and the one L4 begins in */
	/*
	 * IPv4 source route or IPv6 routing header with hops to go, or Home
	 * Address option: the IP header's addresses are not those that the L4
	 * checksum was made with.
	 */
	bool is_rerouted;
};

/*
 * Fill *out.
 * -EPROTO: the frame ends inside Ethernet, a tag, or an IP header; the IP
 * version is not that of the ether_type; a header length is below its minimum;
 * IP is longer than the frame; IPv6 has more extension headers than
 * XMB_PARSE_EXT_MAX, or they, or options, run beyond their end; TCP or UDP, not
 * in a fragment, has less than its header or a length beyond IP's.
 */
XMB_API int xmb_parse(const struct xmb_multibuf *mb, struct xmb_parse *out);

/* The slow half, for addresses that straddle chunks or are read-only. */
XMB_API int xmb_ether_swap_slow(struct xmb_multibuf *mb);

/*
 * Exchange the source and destination MAC addresses.
 * -EPROTO: shorter than an Ethernet header (14 bytes).  -EPERM: a chunk that
 * has some of their bytes is read-only.
 */
static inline int xmb_ether_swap(struct xmb_multibuf *mb)
{
	uint8_t mac[6], *data;

	if (XMB_UNLIKELY(mb->len < 14))
		return -EPROTO;
	if (XMB_UNLIKELY(mb->inline_cnt == 0 || mb->c[0].len < 12 ||
			 xmb_chunk_is_rdonly(&mb->c[0])))
		return xmb_ether_swap_slow(mb);
	data = xmb_chunk_data(&mb->c[0]);
	memcpy(mac, data, 6);
	memcpy(data, data + 6, 6);
	memcpy(data + 6, mac, 6);
	return 0;
}

#endif /* XMBUF_PKT_PARSE_H */
