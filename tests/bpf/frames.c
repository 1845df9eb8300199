/* SPDX-License-Identifier: BSD-2-Clause */
#include "frames.h"

#include <criterion/criterion.h>
#include <criterion/new/assert.h>

struct frame f;

void put8(unsigned v)
{
	cr_assert(lt(u32, f.len, FRAME_MAX));
	f.byte[f.len++] = (uint8_t)v;
}

void put16(unsigned v)
{
	put8(v >> 8);
	put8(v & 0xff);
}

void put_fill(unsigned cnt)
{
	while (cnt--)
		put8(0xa5);
}

void ether(unsigned type)
{
	f.len = 0;
	put_fill(12);
	put16(type);
}

void tag(unsigned type)
{
	put16(7); /* the VLAN */
	put16(type);
}

void ipv4(unsigned options_len, unsigned proto, unsigned frag,
	  unsigned payload_len)
{
	put8(0x40 | (20 + options_len) / 4);
	put8(0);
	put16(20 + options_len + payload_len);
	put16(1);
	put16(frag);
	put8(64);
	put8(proto);
	put_fill(10 + options_len);
}

void ipv6(unsigned next, unsigned payload_len)
{
	put8(0x60);
	put_fill(3);
	put16(payload_len);
	put8(next);
	put_fill(33);
}

void ext(unsigned type, unsigned next, unsigned len)
{
	put8(next);
	put8(type == AH ? len / 4 - 2 : len / 8 - 1);
	put_fill(len - 2);
}

void ext_frag(unsigned next, unsigned offset, bool more)
{
	put8(next);
	put8(0);
	put16(offset << 3 | more);
	put_fill(4);
}

void ports(unsigned source, unsigned dest)
{
	put16(source);
	put16(dest);
	put_fill(16);
}

void make_arp(void)
{
	ether(ARP);
	put_fill(46);
}

void make_tcp4(void)
{
	ether(IP4);
	ipv4(0, TCP, 0, PORTS_LEN);
	ports(40000, 53);
}

void make_udp4(void)
{
	ether(IP4);
	ipv4(0, UDP, 0x4000, PORTS_LEN); /* do not fragment: not a fragment */
	ports(53, 40000);
}

void make_icmp4(void)
{
	ether(IP4);
	ipv4(0, ICMP, 0, PORTS_LEN);
	ports(53, 53);
}

void make_sctp4(void)
{
	ether(IP4);
	ipv4(0, SCTP, 0, PORTS_LEN);
	ports(53, 53);
}

void make_tcp6(void)
{
	ether(IP6);
	ipv6(TCP, PORTS_LEN);
	ports(53, 40000);
}

void make_udp6(void)
{
	ether(IP6);
	ipv6(UDP, PORTS_LEN);
	ports(40000, 53);
}

void make_vlan(void)
{
	ether(CTAG);
	tag(IP4);
	ipv4(0, UDP, 0, PORTS_LEN);
	ports(40000, 53);
}

void make_qinq(void)
{
	ether(STAG);
	tag(CTAG);
	tag(IP6);
	ipv6(TCP, PORTS_LEN);
	ports(40000, 53);
}

void make_triple(void)
{
	ether(STAG);
	tag(CTAG);
	tag(CTAG);
	tag(IP4);
	ipv4(0, UDP, 0, PORTS_LEN);
	ports(40000, 53);
}

void make_options4(void)
{
	ether(IP4);
	ipv4(40, UDP, 0, PORTS_LEN);
	ports(40000, 53);
}

void make_first4(void)
{
	ether(IP4);
	ipv4(0, UDP, 0x2000, PORTS_LEN); /* more to come, offset 0 */
	ports(40000, 53);
}

void make_later4(void)
{
	ether(IP4);
	ipv4(0, UDP, 185, PORTS_LEN);
	ports(53, 53);
}

void make_ext6(void)
{
	ether(IP6);
	ipv6(HOP, 16 + 24 + 8 + 8 + 24 + PORTS_LEN);
	ext(HOP, ROUTE, 16);
	ext(ROUTE, FRAG, 24);
	ext_frag(DEST, 0, true);
	ext(DEST, AH, 8);
	ext(AH, UDP, 24);
	ports(40000, 53);
}

void make_first6(void)
{
	ether(IP6);
	ipv6(FRAG, 8 + PORTS_LEN);
	ext_frag(TCP, 0, true);
	ports(40000, 53);
}

void make_later6(void)
{
	ether(IP6);
	ipv6(FRAG, 8 + PORTS_LEN);
	ext_frag(UDP, 181, false);
	ports(53, 53);
}

/* In a later piece of what began with options come bytes, not options. */
void make_later6_options(void)
{
	ether(IP6);
	ipv6(FRAG, 8 + PORTS_LEN);
	ext_frag(DEST, 181, false);
	put8(UDP);
	put8(0);
	put_fill(18);
}

void make_esp6(void)
{
	ether(IP6);
	ipv6(ESP, PORTS_LEN);
	ports(53, 53);
}

/* The test run gives one page to a buffer: the ports are in the second. */
void make_long6(void)
{
	ether(IP6);
	ipv6(HOP, 3 * 2048 + PORTS_LEN);
	ext(HOP, ROUTE, 2048);
	ext(ROUTE, DEST, 2048);
	ext(DEST, UDP, 2048);
	ports(40000, 53);
}
