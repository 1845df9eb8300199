/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * The programs that the cases of the kernel's AF_XDP selftest need besides
 * plain steering; each sends what it lets through to the socket of the queue,
 * and `two_sockets` to one socket after the other.
 */
#include <linux/bpf.h>

#include <bpf/bpf_helpers.h>

char LICENSE[] SEC("license") = "Dual BSD/GPL";

struct {
	__uint(type, BPF_MAP_TYPE_XSKMAP);
	__uint(max_entries, 2);
	__type(key, __u32);
	__type(value, __u32);
} xskmap SEC(".maps");

/* Frames seen; all come in on one queue, and so on one CPU at a time. */
__u32 frame_cnt = 0;

/* Set before the frames come: bytes to add to the end. */
__s32 adjust_len = 0;

/* How often that was refused, and with what the last time. */
__u32 refused_cnt = 0;
__s32 refused_err = 0;

SEC("xdp.frags")
int drop_half(struct xdp_md *ctx)
{
	(void)ctx;
	if (frame_cnt++ % 2)
		return XDP_DROP;
	return (int)bpf_redirect_map(&xskmap, 0, XDP_DROP);
}

SEC("xdp.frags")
int two_sockets(struct xdp_md *ctx)
{
	(void)ctx;
	return (int)bpf_redirect_map(&xskmap, frame_cnt++ % 2, XDP_DROP);
}

/* The frame's number goes in front of it. */
SEC("xdp.frags")
int metadata(struct xdp_md *ctx)
{
	__u32 *number;

	if (bpf_xdp_adjust_meta(ctx, -(int)sizeof(*number)))
		return XDP_DROP;
	number = (void *)(long)ctx->data_meta;
	if ((void *)(number + 1) > (void *)(long)ctx->data)
		return XDP_DROP;
	*number = frame_cnt++;
	return (int)bpf_redirect_map(&xskmap, 0, XDP_DROP);
}

SEC("xdp.frags")
int adjust_tail(struct xdp_md *ctx)
{
	long err = bpf_xdp_adjust_tail(ctx, adjust_len);

	if (err) {
		refused_err = (__s32)err;
		refused_cnt++;
		return XDP_DROP;
	}
	return (int)bpf_redirect_map(&xskmap, 0, XDP_DROP);
}
