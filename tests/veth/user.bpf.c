/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* user: programs as users of the library write them, with maps of theirs. */
#include <linux/bpf.h>

#include <bpf/bpf_helpers.h>

char LICENSE[] SEC("license") = "Dual BSD/GPL";

struct {
	__uint(type, BPF_MAP_TYPE_XSKMAP);
	__uint(max_entries, 2);
	__type(key, __u32);
	__type(value, __u32);
} xsks SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_XSKMAP);
	__uint(max_entries, 64);
	__type(key, __u32);
	__type(value, __u32);
} large SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 64);
	__type(key, __u32);
	__type(value, __u32);
} array SEC(".maps");

SEC("xdp.frags")
int user_xsks(struct xdp_md *ctx)
{
	return (int)bpf_redirect_map(&xsks, ctx->rx_queue_index, XDP_PASS);
}

SEC("xdp")
int user_large(struct xdp_md *ctx)
{
	return (int)bpf_redirect_map(&large, ctx->rx_queue_index, XDP_PASS);
}

SEC("socket")
int user_no_xdp(void *ctx)
{
	(void)ctx;
	return 0;
}
