/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>

/*
 * The generator: run by BPF_PROG_TEST_RUN with live frames, it sends each out
 * of a veth by XDP_REDIRECT, which needs native XDP or GRO at the other end.
 * Below full speed it gives those frames back that would come too early.
 */

char LICENSE[] SEC("license") = "Dual BSD/GPL";

const volatile __u32 ifindex;
const volatile __u64 gap_ps; /* between two frames; 0: full speed */

/* One CPU runs this, so plain additions count right. */
__u64 sent;
__u64 next_ps;

enum { LATE_PS = 100000000 }; /* 100 us: what was missed is not made up for */

SEC("xdp")
int bench_gen(struct xdp_md *ctx)
{
	(void)ctx;
	if (gap_ps) {
		__u64 now_ps = bpf_ktime_get_ns() * 1000;

		if (now_ps < next_ps)
			return XDP_DROP;
		if (now_ps - next_ps > LATE_PS)
			next_ps = now_ps;
		next_ps += gap_ps;
	}
	sent++;
	return bpf_redirect(ifindex, 0);
}
