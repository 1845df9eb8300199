/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * lib/prog/prog: the mode that is got is the one the kernel shows, nobody else
 * takes the program off, and it goes with the detach or with the process.
 */
#include "prog_lab.h"

#include <bpf/bpf.h>
#include <errno.h>
#include <linux/if_link.h>
#include <signal.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

TestSuite(prog, .init = lab_setup, .timeout = 300);

/* Freed programs go a moment later, after a grace period. */
static bool is_prog_gone(int id)
{
	for (int i = 0; i < WAIT_MS / 10; i++) {
		int fd = bpf_prog_get_fd_by_id((uint32_t)id);

		if (fd == -ENOENT)
			return true;
		if (fd >= 0)
			close(fd);
		usleep(10 * 1000);
	}
	return false;
}

Test(prog, native_is_got_and_told_and_gone_after_detach)
{
	struct bpf_xdp_query_opts xdp;
	struct xmb_prog *prog;
	int id;

	make_pair(1, 1);
	prog = attach(XMB_PROG_NATIVE);
	id = xmb_prog_id(prog);
	xdp = attached();
	cr_expect(eq(u8, xdp.attach_mode, XDP_ATTACHED_DRV));
	cr_expect(eq(u32, xdp.drv_prog_id, (uint32_t)id));
	cr_expect(eq(int, xmb_prog_mode(prog), XMB_PROG_NATIVE));
	expect_said(XMB_LOG_INFO, "native mode, match all");

	xmb_prog_destroy(prog);
	cr_expect(eq(u8, attached().attach_mode, XDP_ATTACHED_NONE));
	cr_expect(is_prog_gone(id));
	xmb_prog_destroy(NULL);
}

Test(prog, generic_is_got_when_it_is_asked_for)
{
	struct xmb_prog *prog;

	make_pair(1, 1);
	prog = attach(XMB_PROG_GENERIC);
	cr_expect(eq(u8, attached().attach_mode, XDP_ATTACHED_SKB));
	cr_expect(eq(int, xmb_prog_mode(prog), XMB_PROG_GENERIC));
	expect_said(XMB_LOG_INFO, "generic mode");
	xmb_prog_destroy(prog);
	cr_expect(eq(u8, attached().attach_mode, XDP_ATTACHED_NONE));
}

Test(prog, auto_takes_native_where_it_works)
{
	struct xmb_prog *prog;

	make_pair(2, 2);
	prog = attach(XMB_PROG_AUTO);
	cr_expect(eq(u8, attached().attach_mode, XDP_ATTACHED_DRV));
	cr_expect(eq(int, xmb_prog_mode(prog), XMB_PROG_NATIVE));
	cr_expect(eq(int, said_cnt(XMB_LOG_WARN), 0));
	xmb_prog_destroy(prog);
}

Test(prog, auto_falls_back_and_says_why_when_the_peer_has_more_tx_queues)
{
	struct xmb_prog *prog;

	make_pair(1, 4);
	prog = attach(XMB_PROG_AUTO);
	cr_expect(eq(u8, attached().attach_mode, XDP_ATTACHED_SKB));
	cr_expect(eq(int, xmb_prog_mode(prog), XMB_PROG_GENERIC));
	cr_expect(eq(int, said_cnt(XMB_LOG_WARN), 1));
	expect_said(XMB_LOG_WARN, "fewer RX queues than its veth peer");
	expect_said(XMB_LOG_WARN, "trying generic");
	xmb_prog_destroy(prog);
}

Test(prog, forced_native_never_falls_back)
{
	struct xmb_prog_opts opts;

	make_pair(1, 4);
	opts = opts_for(XMB_PROG_NATIVE);
	expect_refused(&opts, -EOPNOTSUPP, "fewer RX queues than its veth");
	cr_expect(eq(int, said_cnt(XMB_LOG_WARN), 0));
}

Test(prog, native_works_at_mtu_9000)
{
	struct xmb_prog *prog;

	make_pair(1, 1);
	must("ip link set va mtu 9000 && ip link set vb mtu 9000");
	prog = attach(XMB_PROG_NATIVE);
	cr_expect(eq(u8, attached().attach_mode, XDP_ATTACHED_DRV));
	xmb_prog_destroy(prog);
}

Test(prog, a_hundred_times_on_and_off_without_ebusy)
{
	make_pair(1, 1);
	for (int i = 0; i < 100; i++)
		xmb_prog_destroy(attach(XMB_PROG_NATIVE));
}

Test(prog, nobody_else_can_take_the_program_off)
{
	struct xmb_prog *prog;

	make_pair(1, 1);
	prog = attach(XMB_PROG_NATIVE);
	cr_expect(ne(int, run("ip link set dev va xdp off"), 0));
	cr_expect(eq(u32, attached().prog_id, (uint32_t)xmb_prog_id(prog)));
	xmb_prog_destroy(prog);
}

Test(prog, the_program_goes_with_its_process)
{
	int status;
	pid_t pid;

	make_pair(1, 1);
	pid = fork();
	if (pid == 0) {
		struct xmb_prog_opts opts = opts_for(XMB_PROG_NATIVE);
		struct xmb_prog *prog;

		_exit(xmb_prog_attach(&prog, &opts) || !attached().prog_id);
	}
	cr_assert(eq(int, waitpid(pid, &status, 0), pid));
	cr_expect(eq(int, status, 0));
	cr_expect(eq(u8, attached().attach_mode, XDP_ATTACHED_NONE));
}

Test(prog, a_child_that_holds_the_descriptors_does_not_keep_the_program)
{
	struct xmb_prog *prog;
	pid_t pid;

	make_pair(1, 1);
	prog = attach(XMB_PROG_NATIVE);
	pid = fork();
	if (pid == 0) {
		pause();
		_exit(0);
	}
	xmb_prog_destroy(prog);
	cr_expect(eq(u8, attached().attach_mode, XDP_ATTACHED_NONE));
	kill(pid, SIGKILL);
	waitpid(pid, NULL, 0);
}

Test(prog, a_device_that_went_away_takes_nothing_along)
{
	uint64_t v[XMB_PROG_COUNTER_CNT];
	struct xmb_prog *prog;

	make_pair(1, 1);
	prog = attach(XMB_PROG_NATIVE);
	must("ip link del va");
	cr_expect(eq(int, xmb_prog_stats(prog, v), 0));
	cr_expect(eq(int, xmb_prog_unsteer(prog, 0), 0));
	xmb_prog_destroy(prog);
}

Test(prog, modes_have_names_and_others_have_none)
{
	cr_expect(eq(str, (char *)xmb_prog_mode_name(XMB_PROG_AUTO), "auto"));
	cr_expect(
		eq(str, (char *)xmb_prog_mode_name(XMB_PROG_NATIVE), "native"));
	cr_expect(eq(str, (char *)xmb_prog_mode_name(XMB_PROG_GENERIC),
		     "generic"));
	cr_expect(eq(ptr, (void *)xmb_prog_mode_name((enum xmb_prog_mode)3),
		     NULL));
	cr_expect(eq(ptr, (void *)xmb_prog_mode_name((enum xmb_prog_mode) - 1),
		     NULL));
}

Test(prog, every_counter_has_a_name_and_a_sentence)
{
	for (int i = 0; i < XMB_PROG_COUNTER_CNT; i++) {
		cr_expect(gt(sz, strlen(xmb_prog_counter_descs[i].name), 0));
		cr_expect(
			gt(sz, strlen(xmb_prog_counter_descs[i].meaning), 10));
	}
	cr_expect(eq(str,
		     (char *)xmb_prog_counter_descs[XMB_PROG_NO_SOCKET].name,
		     "no_socket"));
}
