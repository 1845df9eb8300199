/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * lib/prog/refusal: every answer of the kernel becomes the error that is
 * documented and one sentence with advice that works, and the device is left
 * alone.  Answers that this machine does not give are made by a seccomp filter
 * in front of bpf().
 */
#include "prog_lab.h"

#include <bpf/bpf.h>
#include <errno.h>
#include <linux/bpf.h>
#include <linux/capability.h>
#include <linux/if_link.h>
#include <net/if.h>
#include <sched.h>
#include <stdio.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

TestSuite(prog_refusal, .init = lab_setup, .timeout = 300);

/* Run what the last refusal advises: the text in `...`. */
static void take_advice(void)
{
	char command[LINE_LEN];
	const char *text = said(XMB_LOG_ERROR, "`");
	const char *begin, *end;

	cr_assert(ne(ptr, (void *)text, NULL));
	begin = strchr(text, '`') + 1;
	end = strchr(begin, '`');
	cr_assert(ne(ptr, (void *)end, NULL));
	snprintf(command, sizeof(command), "PATH=$PATH:/usr/sbin:/sbin %.*s",
		 (int)(end - begin), begin);
	must(command);
}

Test(prog_refusal, a_second_program_is_busy_until_the_advice_is_taken)
{
	struct xmb_prog_opts opts, generic, any;
	struct xmb_prog *first, *second, *other;

	make_pair(1, 1);
	/* Older than ours, so it is the first that a careless search finds. */
	opts = opts_for(XMB_PROG_NATIVE);
	opts.dev = "vb";
	opts.ifindex = (int)if_nametoindex("vb");
	cr_assert(eq(int, xmb_prog_attach(&other, &opts), 0));
	opts = opts_for(XMB_PROG_NATIVE);
	generic = opts_for(XMB_PROG_GENERIC);
	any = opts_for(XMB_PROG_AUTO);
	first = attach(XMB_PROG_NATIVE);
	expect_refused(&generic, -EBUSY, "in native mode already");
	expect_refused(&any, -EBUSY, "in native mode already");
	cr_expect(eq(int, said_cnt(XMB_LOG_WARN), 0));
	expect_refused(&opts, -EBUSY, "(xmb_steer) is attached");
	expect_said(XMB_LOG_ERROR, "bpftool link detach id");
	if (run("PATH=$PATH:/usr/sbin:/sbin bpftool version >/dev/null"))
		cr_skip_test("there is no bpftool to take the advice with");
	take_advice();
	second = attach(XMB_PROG_NATIVE);
	xmb_prog_destroy(first);
	cr_expect(eq(u32, attached().prog_id, (uint32_t)xmb_prog_id(second)));
	xmb_prog_destroy(second);
	xmb_prog_destroy(other);
}

Test(prog_refusal, a_strangers_program_is_named_and_the_advice_removes_it)
{
	static const struct {
		uint32_t flags;
		const char *mode;
	} rows[] = { { XDP_FLAGS_DRV_MODE, "in native mode" },
		     { XDP_FLAGS_SKB_MODE, "in generic mode" } };

	make_pair(1, 1);
	for (int i = 0; i < 2; i++) {
		struct xmb_prog_opts any = opts_for(XMB_PROG_AUTO);

		attach_by_netlink("stranger", rows[i].flags);
		expect_refused(&any, -EBUSY, "(stranger)");
		cr_expect(eq(int, said_cnt(XMB_LOG_WARN), 0));
		expect_said(XMB_LOG_ERROR, rows[i].mode);
		take_advice();
		cr_expect(eq(u8, attached().attach_mode, XDP_ATTACHED_NONE));
		xmb_prog_destroy(attach(XMB_PROG_AUTO));
	}
}

Test(prog_refusal, a_dispatcher_of_libxdp_is_told_from_other_programs)
{
	struct xmb_prog_opts any;
	struct xmb_prog *prog;

	mount_bpffs();
	make_pair(1, 1);
	any = opts_for(XMB_PROG_AUTO);
	/* It has its name only, so libxdp cannot have ours join it. */
	attach_by_netlink("xdp_dispatcher", XDP_FLAGS_DRV_MODE);
	cr_expect(eq(int, xmb_prog_attach(&prog, &any), -EBUSY));
	expect_said(XMB_LOG_ERROR, "asked to join libxdp's dispatcher");
	expect_said(XMB_LOG_ERROR, "`xdp-loader unload va --all`");
	any.way = XMB_PROG_BY_LINK;
	expect_refused(&any, -EBUSY, "libxdp's dispatcher");
	expect_said(XMB_LOG_ERROR, "`xdp-loader unload va --all`");
}

Test(prog_refusal, a_device_that_is_not_there_is_refused_in_every_mode)
{
	make_pair(1, 1);
	for (int mode = XMB_PROG_AUTO; mode <= XMB_PROG_GENERIC; mode++) {
		struct xmb_prog_opts opts = opts_for(mode);

		opts.ifindex = 123456;
		expect_refused(&opts, -ENODEV, "no such device");
		cr_expect(eq(int, said_cnt(XMB_LOG_WARN), 0));
	}
}

Test(prog_refusal, options_out_of_range_are_refused)
{
	struct xmb_prog_opts opts;

	make_pair(1, 1);
	opts = opts_for(XMB_PROG_AUTO);
	opts.ifindex = 0;
	expect_refused(&opts, -EINVAL, "device index");
	opts = opts_for(XMB_PROG_AUTO);
	opts.queue_cnt = 0;
	expect_refused(&opts, -EINVAL, "no queue");
	opts = opts_for((enum xmb_prog_mode)3);
	expect_refused(&opts, -EINVAL, "none of auto, native");
	opts = opts_for(XMB_PROG_AUTO);
	opts.match.kind = XMB_MATCH_PORT; /* of port 0 */
	expect_refused(&opts, -EINVAL, "xmb_match_parse");
}

Test(prog_refusal, without_privilege_it_says_which_are_missing)
{
	struct __user_cap_header_struct head = { _LINUX_CAPABILITY_VERSION_3,
						 0 };
	struct __user_cap_data_struct none[2] = { 0 };
	struct xmb_prog_opts opts;

	make_pair(1, 1);
	opts = opts_for(XMB_PROG_AUTO);
	cr_assert(eq(int, (int)syscall(SYS_capset, &head, none), 0));
	expect_refused(&opts, -EPERM, "CAP_NET_ADMIN, CAP_BPF");
}

/* A filter cannot be taken off again, so each row has a process. */
static void expect_refused_when(unsigned command, unsigned answer,
				enum xmb_prog_mode mode, int err,
				const char *part)
{
	pid_t pid = fork();
	int status;

	if (pid == 0) {
		struct xmb_prog_opts opts = opts_for(mode);
		struct xmb_prog *out = NULL;
		int got;

		forget_said();
		answer_bpf(command, answer, LINK_PROBE_LEN);
		got = xmb_prog_attach(&out, &opts);
		_exit(got != err				    ? 1
		      : out					    ? 2
		      : said_cnt(XMB_LOG_ERROR) != 1		    ? 3
		      : !said(XMB_LOG_ERROR, part)		    ? 4
		      : !said(XMB_LOG_ERROR, strerror((int)answer)) ? 5
		      : attached().prog_id			    ? 6
								    : 0);
	}
	cr_assert(eq(int, waitpid(pid, &status, 0), pid));
	cr_expect(eq(int, status, 0), "answer %s, mode %d: step %d",
		  strerror((int)answer), mode, WEXITSTATUS(status));
}

Test(prog_refusal, each_answer_to_an_attach_is_put_into_words)
{
	const enum xmb_prog_mode native = XMB_PROG_NATIVE,
				 generic = XMB_PROG_GENERIC;
	const unsigned create = BPF_LINK_CREATE;

	make_pair(1, 1);
	expect_refused_when(create, EOPNOTSUPP, native, -EOPNOTSUPP,
			    "driver has no native XDP");
	expect_refused_when(create, ENOSPC, native, -EOPNOTSUPP, "ethtool -L");
	expect_refused_when(create, ERANGE, native, -EOPNOTSUPP, "MTU");
	expect_refused_when(create, ENOTCONN, native, -EOPNOTSUPP, "gone");
	expect_refused_when(create, EINVAL, native, -EOPNOTSUPP, "lower the");
	expect_refused_when(create, ENOMEM, native, -ENOMEM, "rings");
	expect_refused_when(create, EIO, native, -EOPNOTSUPP, "dmesg");
	expect_refused_when(create, EPERM, native, -EPERM, "CAP_NET_ADMIN");
	expect_refused_when(create, EACCES, native, -EPERM, "CAP_NET_ADMIN");
	expect_refused_when(create, EBUSY, native, -EBUSY, "try again");
	expect_refused_when(create, EEXIST, native, -EBUSY, "on top of it");
	expect_refused_when(create, EOPNOTSUPP, generic, -EOPNOTSUPP,
			    "no XDP at all");
	expect_refused_when(create, ENOMEM, generic, -ENOMEM, "memory");
	expect_refused_when(create, EIO, generic, -EOPNOTSUPP, "dmesg");
	expect_refused_when(create, EIO, XMB_PROG_AUTO, -EOPNOTSUPP,
			    "asked for generic XDP");
	expect_refused_when(create, EACCES, XMB_PROG_AUTO, -EPERM,
			    "asked for native XDP");
	expect_refused_when(create, EBUSY, XMB_PROG_AUTO, -EBUSY,
			    "asked for native XDP");
}

Test(prog_refusal, each_answer_to_a_load_is_put_into_words)
{
	make_pair(1, 1);
	expect_refused_when(BPF_PROG_LOAD, EPERM, XMB_PROG_AUTO, -EPERM,
			    "CAP_BPF");
	expect_refused_when(BPF_PROG_LOAD, ENOMEM, XMB_PROG_AUTO, -ENOMEM,
			    "memory");
	expect_refused_when(BPF_PROG_LOAD, EAGAIN, XMB_PROG_AUTO, -EOPNOTSUPP,
			    "try again");
	expect_refused_when(BPF_PROG_LOAD, EINVAL, XMB_PROG_AUTO, -EOPNOTSUPP,
			    "5.18");
	expect_refused_when(BPF_MAP_CREATE, EINVAL, XMB_PROG_AUTO, -EOPNOTSUPP,
			    "CONFIG_XDP_SOCKETS");
}

Test(prog_refusal, what_libbpf_prints_goes_to_the_debug_log)
{
	struct xmb_prog_opts opts;
	struct xmb_prog *prog;

	make_pair(1, 1);
	opts = opts_for(XMB_PROG_AUTO);
	answer_bpf(BPF_PROG_LOAD, EINVAL, 0);
	cr_expect(eq(int, xmb_prog_attach(&prog, &opts), -EOPNOTSUPP));
	expect_said(XMB_LOG_DEBUG, "libbpf: ");
}

Test(prog_refusal, without_sys_the_cpus_cannot_be_counted_and_it_says_so)
{
	struct xmb_prog_opts opts;

	make_pair(1, 1);
	if (unshare(CLONE_NEWNS) ||
	    mount("none", "/", NULL, MS_REC | MS_PRIVATE, NULL) ||
	    mount("none", "/sys/devices/system/cpu", "tmpfs", 0, NULL))
		cr_skip_test("hiding /sys: %s", strerror(errno));
	opts = opts_for(XMB_PROG_AUTO);
	expect_refused(&opts, -EOPNOTSUPP, "mount /sys");
}
