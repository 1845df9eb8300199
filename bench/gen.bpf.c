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
__u64 run, run_max; /* frames in a row of which none was too early */

/* When this CPU did something else, and for how long. */
enum { PAUSE_MIN_NS = 20000, PAUSE_CNT = 4096 };
__u64 last_ns;
__u32 pause_cnt;
__u64 pause_end_ns[PAUSE_CNT], pause_len_ns[PAUSE_CNT];

static void look(__u64 now_ns)
{
	__u32 i = pause_cnt;

	if (last_ns && now_ns - last_ns > PAUSE_MIN_NS && i < PAUSE_CNT) {
		pause_end_ns[i] = now_ns;
		pause_len_ns[i] = now_ns - last_ns;
		pause_cnt = i + 1;
	}
	last_ns = now_ns;
}

/*
 * What was missed longer ago is not made up for: who receives is promised a
 * rate, and not a burst for each time that this CPU did something else.
 */
enum { LATE_PS = 20000000 };

SEC("xdp")
int bench_gen(struct xdp_md *ctx)
{
	(void)ctx;
	if (gap_ps) {
		__u64 now_ns = bpf_ktime_get_ns(), now_ps = now_ns * 1000;

		look(now_ns);
		if (now_ps < next_ps) {
			run = 0;
			return XDP_DROP;
		}
		if (now_ps - next_ps > LATE_PS)
			next_ps = now_ps;
		next_ps += gap_ps;
		if (++run > run_max)
			run_max = run;
	}
	sent++;
	return bpf_redirect(ifindex, 0);
}
