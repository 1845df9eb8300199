/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* beside: programs of others, as libxdp's dispatcher calls them. */
#include <linux/bpf.h>

#include <bpf/bpf_helpers.h>
#include <xdp/xdp_helpers.h>

char LICENSE[] SEC("license") = "Dual BSD/GPL";

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, __u64);
} seen SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_XSKMAP);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, __u32);
} xsks SEC(".maps");

/* One that looks and lets pass. */
SEC("xdp.frags")
int beside(struct xdp_md *ctx)
{
	__u64 *cnt;
	__u32 key = 0;

	(void)ctx;
	cnt = bpf_map_lookup_elem(&seen, &key);
	if (cnt)
		__sync_fetch_and_add(cnt, 1);
	return XDP_PASS;
}

/* One with sockets, and a place of its own in the order. */
struct {
	__uint(priority, 33);
	__uint(XDP_PASS, 1);
} XDP_RUN_CONFIG(user);

SEC("xdp.frags")
int user(struct xdp_md *ctx)
{
	return (int)bpf_redirect_map(&xsks, ctx->rx_queue_index, XDP_PASS);
}
