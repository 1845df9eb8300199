/* SPDX-License-Identifier: BSD-2-Clause */
#ifndef XMBUF_TESTS_BPF_FRAMES_H
#define XMBUF_TESTS_BPF_FRAMES_H

#include <stdbool.h>
#include <stdint.h>

/*
 * frames: byte arrays of well-formed frames, written header by header into the
 * one frame f, most significant byte first.  Fields that no program may look at
 * are filled with 0xa5.
 */

enum { FRAME_MAX = 9014 };

enum { IP4 = 0x0800, ARP = 0x0806, IP6 = 0x86dd, CTAG = 0x8100, STAG = 0x88a8 };
enum { HOP = 0, ROUTE = 43, FRAG = 44, AH = 51, DEST = 60, ESP = 50 };
enum { TCP = 6, UDP = 17, SCTP = 132, ICMP = 1 };
enum { PORTS_LEN = 20 }; /* what ports() writes */

extern struct frame {
	uint8_t byte[FRAME_MAX];
	uint32_t len;
} f;

void put8(unsigned v);
void put16(unsigned v);
void put_fill(unsigned cnt);

/* Start anew: addresses and this type. */
void ether(unsigned type);

/* Of the VLAN; type is what follows. */
void tag(unsigned type);

/* frag is the whole field: flags and offset. */
void ipv4(unsigned options_len, unsigned proto, unsigned frag,
	  unsigned payload_len);
void ipv6(unsigned next, unsigned payload_len);

/* An extension header of len bytes; AH and all others count differently. */
void ext(unsigned type, unsigned next, unsigned len);
void ext_frag(unsigned next, unsigned offset, bool more);
void ports(unsigned source, unsigned dest);

/* One whole frame each; where there are ports they are 53 and 40000. */
void make_arp(void);
void make_tcp4(void);
void make_udp4(void);
void make_icmp4(void);
void make_sctp4(void);
void make_tcp6(void);
void make_udp6(void);
void make_vlan(void);
void make_qinq(void);
void make_triple(void);
void make_options4(void);
void make_first4(void);
void make_later4(void);
void make_ext6(void);
void make_first6(void);
void make_later6(void);
void make_later6_options(void);
void make_esp6(void);
void make_long6(void);

#endif /* XMBUF_TESTS_BPF_FRAMES_H */
