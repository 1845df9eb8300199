/* SPDX-License-Identifier: BSD-2-Clause */
#ifndef XMBUF_PROG_MATCH_H
#define XMBUF_PROG_MATCH_H

#include "base/base.h"

/*
 * match: which frames of a device go to AF_XDP, as a value and as text.
 *
 *      text               matches
 *      all                every frame (ARP and the like too)
 *      tcp, udp           IPv4 and IPv6 with that protocol, all fragments
 *      port 53            TCP or UDP from or to that port
 *      ether 0x0806       that EtherType: of a tag, or of what the tags carry
 *      not X              every frame that X does not match
 *
 * The XDP program looks behind two VLAN tags (802.1Q or 802.1ad), the options
 * of IPv4 and eight extension headers of IPv6; with `ether` a tag that the
 * device strips is not seen.  It reads as far as the question needs.  A frame
 * that is cut short or contradicts itself before that point matches no X, hence
 * every `not X`.  Of a fragmented datagram only the first piece has ports: the
 * later pieces do not match `port N` and so take the other way.
 *
 * Units      Ports and EtherTypes are in host byte order.
 * Ownership  A value; {0} is `all`.
 * Threads    No state: any thread.
 * Errors     0, or a negative errno with its sentence in the log.
 */

enum xmb_match_kind {
	XMB_MATCH_ALL,
	XMB_MATCH_TCP,
	XMB_MATCH_UDP,
	XMB_MATCH_PORT,	 /* value: 1 to 65535 */
	XMB_MATCH_ETHER, /* value: 0x600 to 0xffff, below it is a length */
};

struct xmb_match {
	enum xmb_match_kind kind;
	bool negate;
	uint16_t value;
};

/* Holds every text that xmb_match_format() writes, with its final 0. */
#define XMB_MATCH_TEXT_MAX 24

/*
 * Read text as in the table above; a number is decimal, or hexadecimal behind
 * 0x, and blanks may surround every word.
 * -EINVAL: text is none of these, or its number is out of range.
 */
XMB_API int xmb_match_parse(struct xmb_match *match, const char *text);

/*
 * Write match to buf as text that xmb_match_parse() takes, and return its
 * length without the final 0.
 * -EINVAL: match is none that xmb_match_parse() gives.
 * -EMSGSIZE: len is too small; XMB_MATCH_TEXT_MAX never is.
 */
XMB_API int xmb_match_format(const struct xmb_match *match, char *buf,
			     size_t len);

#endif /* XMBUF_PROG_MATCH_H */
