/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
#ifndef XMBUF_BPF_SHARED_H
#define XMBUF_BPF_SHARED_H

#include <linux/types.h>

/*
 * shared: what the XDP programs and the library both see.
 *
 * Settings are written into a program's read-only data before it is loaded, so
 * that the verifier drops the branches they rule out.  lib/prog proves at
 * compile time that the numbers here are those of its public headers.
 *
 * Units      Ports and EtherTypes are in host byte order; counters are packets.
 * Threads    A counter record belongs to one CPU: the program is not preempted
 *            by itself there, so it adds without atomics; user space sums the
 *            records of all CPUs.
 */

enum xmb_steer_kind {
	XMB_STEER_ALL,	 /* every frame; nothing is read */
	XMB_STEER_TCP,	 /* IPv4 or IPv6 with protocol 6 */
	XMB_STEER_UDP,	 /* IPv4 or IPv6 with protocol 17 */
	XMB_STEER_PORT,	 /* TCP or UDP from or to port value */
	XMB_STEER_ETHER, /* EtherType value, of a tag or of what it carries */
};

struct xmb_steer_settings {
	__u32 kind;
	__u32 negate; /* 1: steer what does not match */
	__u32 value;
	__u32 is_gate; /* 1: what no socket takes is dropped, not passed */
};

/*
 * MATCHED + PASSED + NO_SOCKET + GATE_DROP is every frame seen; MALFORMED
 * counts some of them a second time.
 */
enum xmb_steer_counter {
	XMB_STEER_MATCHED,
	XMB_STEER_PASSED,
	XMB_STEER_NO_SOCKET,
	XMB_STEER_MALFORMED,
	XMB_STEER_GATE_DROP,
	XMB_STEER_COUNTER_CNT,
};

struct xmb_steer_counters {
	__u64 v[XMB_STEER_COUNTER_CNT];
};

enum {
	XMB_STEER_VLAN_MAX = 2,	    /* tags looked behind */
	XMB_STEER_IPV6_EXT_MAX = 8, /* extension headers looked behind */
};

#endif /* XMBUF_BPF_SHARED_H */
