/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * steer: matched frames go to the AF_XDP socket of their queue, all others to
 * the kernel as if no program were there; both are counted.
 *
 *      frame --> match? --yes--> socket on this queue? --yes--> socket
 *                  |                     |
 *                  no                    no
 *                  +------> kernel <-----+  (a gate drops here)
 *
 * A gate is a program that outlives the process whose sockets it served: it
 * drops what has no socket, so that nothing gets around the one who looks.
 *
 * A question reads only as far into the frame as it needs.  Where a header that
 * it needs is cut short or contradicts itself the frame is malformed: it never
 * matches X and so always matches `not X`.  Headers at fixed places are read in
 * place and must lie in the first buffer, where every driver puts them; what a
 * frame's own lengths point at is fetched by a helper that finds it in later
 * buffers too.
 *
 * Fragments of IP: all pieces have the protocol, only the first has the ports.
 * The others never match `port N`, so they take the other way than the first.
 */
#include "shared.h"

#include <linux/bpf.h>
#include <linux/if_ether.h>
#include <linux/in.h>
#include <linux/ip.h>
#include <linux/ipv6.h>
#include <stdbool.h>

#include <bpf/bpf_endian.h>
#include <bpf/bpf_helpers.h>

char LICENSE[] SEC("license") = "Dual BSD/GPL";

const volatile struct xmb_steer_settings settings = {};

/* One entry a queue; user space sets the number before the load. */
struct {
	__uint(type, BPF_MAP_TYPE_XSKMAP);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, __u32);
} xskmap SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct xmb_steer_counters);
} counters SEC(".maps");

enum answer { NO, YES, MALFORMED };

/* The unread rest of the first buffer. */
struct cursor {
	void *pos;
	void *end;
};

/* Where the transport header is, counted from the first byte of the frame. */
struct transport {
	__u32 off;
	__u32 end; /* one past the last byte of the IP packet */
	__u8 proto;
	bool is_later; /* a fragment that is not the first: no header */
};

struct vlan_tag {
	__be16 tci;
	__be16 type; /* of what follows the tag */
};

/* Any of the extension headers of IPv6 that are stepped over. */
struct ext_header {
	__u8 next;
	__u8 len;      /* unit and origin depend on the header */
	__be16 offset; /* of a fragment: its place in units of 8, 3 flag bits */
};

enum {
	IPV4_OFFSET_MASK = 0x1fff,
	IPV6_OFFSET_MASK = 0xfff8,
};

static __always_inline void *take(struct cursor *c, __u32 len)
{
	void *pos = c->pos;

	if (pos + len > c->end)
		return NULL;
	c->pos = pos + len;
	return pos;
}

static __always_inline bool is_tag(__u16 type)
{
	return type == ETH_P_8021Q || type == ETH_P_8021AD;
}

/*
 * Step over the Ethernet header and its tags and leave the type of what they
 * carry.  The answer is the one to `ether N`: the type of any tag matches too.
 */
static __always_inline enum answer read_ether(struct cursor *c, __u16 *type)
{
	bool asked = settings.kind == XMB_STEER_ETHER;
	struct ethhdr *eth = take(c, sizeof(*eth));

	if (!eth)
		return MALFORMED;
	*type = bpf_ntohs(eth->h_proto);
#pragma unroll
	for (int i = 0; i < XMB_STEER_VLAN_MAX; i++) {
		struct vlan_tag *tag;

		if (asked && *type == settings.value)
			return YES;
		if (!is_tag(*type))
			return NO;
		tag = take(c, sizeof(*tag));
		if (!tag)
			return MALFORMED;
		*type = bpf_ntohs(tag->type);
	}
	return asked && *type == settings.value ? YES : NO;
}

static __always_inline enum answer read_ipv4(struct cursor *c, void *data,
					     struct transport *t)
{
	__u32 start = c->pos - data;
	struct iphdr *ip = take(c, sizeof(*ip));
	__u32 header_len;

	if (!ip)
		return MALFORMED;
	header_len = ip->ihl * 4;
	t->off = start + header_len;
	t->end = start + bpf_ntohs(ip->tot_len);
	t->proto = ip->protocol;
	t->is_later = ip->frag_off & bpf_htons(IPV4_OFFSET_MASK);
	if (ip->version != 4 || header_len < sizeof(*ip) || t->end < t->off)
		return MALFORMED;
	/* The options lie in the first buffer like the header itself. */
	if ((void *)ip + header_len > c->end)
		return MALFORMED;
	return YES;
}

static __always_inline bool is_ext(__u8 next)
{
	return next == IPPROTO_HOPOPTS || next == IPPROTO_ROUTING ||
	       next == IPPROTO_DSTOPTS || next == IPPROTO_FRAGMENT ||
	       next == IPPROTO_AH;
}

static __always_inline __u32 ext_len(__u8 type, const struct ext_header *ext)
{
	if (type == IPPROTO_FRAGMENT)
		return 8;
	if (type == IPPROTO_AH)
		return (ext->len + 2) * 4;
	return (ext->len + 1) * 8;
}

/*
 * Offsets stay numbers and bytes come by the helper: packet pointers of
 * variable offset would make the verifier walk every combination of headers.
 */
static __always_inline enum answer walk_ext(struct xdp_md *ctx,
					    struct transport *t)
{
	for (int i = 0; i < XMB_STEER_IPV6_EXT_MAX; i++) {
		struct ext_header ext;
		__u8 type = t->proto;

		if (!is_ext(type))
			return YES;
		if (bpf_xdp_load_bytes(ctx, t->off, &ext, sizeof(ext)))
			return MALFORMED;
		t->off += ext_len(type, &ext);
		t->proto = ext.next;
		if (t->off > t->end)
			return MALFORMED;
		/* What follows in a later piece is payload, not a header. */
		if (type == IPPROTO_FRAGMENT &&
		    ext.offset & bpf_htons(IPV6_OFFSET_MASK)) {
			t->is_later = true;
			return YES;
		}
	}
	return is_ext(t->proto) ? MALFORMED : YES;
}

static __always_inline enum answer read_ipv6(struct cursor *c, void *data,
					     struct transport *t)
{
	struct ipv6hdr *ip = take(c, sizeof(*ip));

	if (!ip || ip->version != 6)
		return MALFORMED;
	t->off = c->pos - data;
	t->end = t->off + bpf_ntohs(ip->payload_len);
	t->proto = ip->nexthdr;
	t->is_later = false;
	return YES;
}

static __always_inline enum answer is_port(struct xdp_md *ctx,
					   const struct transport *t)
{
	struct {
		__be16 source, dest;
	} port;

	if (t->proto != IPPROTO_TCP && t->proto != IPPROTO_UDP)
		return NO;
	if (t->is_later)
		return NO;
	/* Bytes behind the IP packet are padding of the frame, not ports. */
	if (t->off + sizeof(port) > t->end)
		return MALFORMED;
	if (bpf_xdp_load_bytes(ctx, t->off, &port, sizeof(port)))
		return MALFORMED;
	if (bpf_ntohs(port.source) == settings.value ||
	    bpf_ntohs(port.dest) == settings.value)
		return YES;
	return NO;
}

static __always_inline enum answer match(struct xdp_md *ctx)
{
	void *data = (void *)(long)ctx->data;
	struct cursor c = { data, (void *)(long)ctx->data_end };
	struct transport t = {};
	enum answer answer;
	__u16 type = 0;

	if (settings.kind == XMB_STEER_ALL)
		return YES;
	answer = read_ether(&c, &type);
	if (settings.kind == XMB_STEER_ETHER || answer == MALFORMED)
		return answer;

	if (type == ETH_P_IP)
		answer = read_ipv4(&c, data, &t);
	else if (type == ETH_P_IPV6)
		answer = read_ipv6(&c, data, &t);
	else
		return NO;
	if (answer == YES && type == ETH_P_IPV6)
		answer = walk_ext(ctx, &t);
	if (answer != YES)
		return answer;

	if (settings.kind == XMB_STEER_TCP)
		return t.proto == IPPROTO_TCP ? YES : NO;
	if (settings.kind == XMB_STEER_UDP)
		return t.proto == IPPROTO_UDP ? YES : NO;
	return is_port(ctx, &t);
}

SEC("xdp.frags")
int xmb_steer(struct xdp_md *ctx)
{
	enum answer answer = match(ctx);
	struct xmb_steer_counters *count;
	__u32 key = 0;
	__u32 miss = settings.is_gate ? XDP_DROP : XDP_PASS;
	long action;

	/* Key 0 always exists; the verifier wants to see it asked. */
	count = bpf_map_lookup_elem(&counters, &key);
	if (!count)
		return miss;
	if (answer == MALFORMED)
		count->v[XMB_STEER_MALFORMED]++;
	if ((answer == YES) == !!settings.negate) {
		count->v[XMB_STEER_PASSED]++;
		return XDP_PASS;
	}
	/* The low bits of the flags are the action when the slot is empty. */
	action = bpf_redirect_map(&xskmap, ctx->rx_queue_index, miss);
	if (action == XDP_REDIRECT)
		count->v[XMB_STEER_MATCHED]++;
	else if (settings.is_gate)
		count->v[XMB_STEER_GATE_DROP]++;
	else
		count->v[XMB_STEER_NO_SOCKET]++;
	return (int)action;
}
