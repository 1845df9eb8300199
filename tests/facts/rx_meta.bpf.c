/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* Asks the driver what it knows of a frame besides its bytes. */
#include <linux/bpf.h>

#include <bpf/bpf_helpers.h>

char LICENSE[] SEC("license") = "Dual BSD/GPL";

enum xdp_rss_hash_type;

extern int bpf_xdp_metadata_rx_timestamp(const struct xdp_md *ctx,
					 __u64 *timestamp) __ksym;
extern int bpf_xdp_metadata_rx_hash(const struct xdp_md *ctx, __u32 *hash,
				    enum xdp_rss_hash_type *type) __ksym;
extern int bpf_xdp_metadata_rx_vlan_tag(const struct xdp_md *ctx, __be16 *proto,
					__u16 *tci) __ksym;

struct {
	int hash_err, stamp_err, tag_err;
	__u32 hash, type;
	__u64 stamp;
	__u16 proto, tci;
	__u32 frame_cnt;
} seen = {};

SEC("xdp")
int rx_meta(struct xdp_md *ctx)
{
	__u32 hash = 0, type = 0;
	__u64 stamp = 0;
	__u16 proto = 0, tci = 0;

	seen.hash_err = bpf_xdp_metadata_rx_hash(ctx, &hash, (void *)&type);
	seen.stamp_err = bpf_xdp_metadata_rx_timestamp(ctx, &stamp);
	seen.tag_err = bpf_xdp_metadata_rx_vlan_tag(ctx, &proto, &tci);
	seen.hash = hash;
	seen.type = type;
	seen.stamp = stamp;
	seen.proto = proto;
	seen.tci = tci;
	seen.frame_cnt++;
	return XDP_DROP;
}
