/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * lib/prog: a way of attaching that is named is the one that is got, or it is
 * refused and nothing is attached.  What a dispatcher of libxdp does where one
 * can be loaded is shown in tests/vm.
 */
#include "prog_lab.h"

#include <bpf/bpf.h>
#include <errno.h>
#include <linux/bpf.h>
#include <linux/if_link.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

static void way_setup(void)
{
	lab_setup();
	mount_bpffs();
	make_pair(1, 1);
}

TestSuite(prog_way, .init = way_setup, .timeout = 300);

static struct xmb_prog_opts by(enum xmb_prog_way way)
{
	struct xmb_prog_opts opts = opts_for(XMB_PROG_AUTO);

	opts.way = way;
	return opts;
}

static void expect_got(enum xmb_prog_way asked, enum xmb_prog_way got,
		       const char *words)
{
	struct xmb_prog_opts opts = by(asked);
	struct xmb_prog *prog;

	forget_said();
	cr_assert(eq(int, xmb_prog_attach(&prog, &opts), 0));
	cr_expect(eq(int, xmb_prog_way(prog), got));
	cr_expect(eq(u8, attached().attach_mode, XDP_ATTACHED_DRV));
	expect_said(XMB_LOG_INFO, words);
	cr_expect(eq(int, said_cnt(XMB_LOG_WARN), 0));
	cr_expect(eq(int, xmb_prog_commit(prog), 0));
	cr_expect(eq(int, xmb_prog_check(prog), 0));
	/* A link is not taken off by netlink. */
	run("ip link set dev va xdpdrv off");
	cr_expect(eq(int, xmb_prog_check(prog),
		     got == XMB_PROG_BY_LINK ? 0 : -ENOLINK));
	xmb_prog_destroy(prog);
	cr_expect(eq(u8, attached().attach_mode, XDP_ATTACHED_NONE));
	cr_expect(eq(int, entry_cnt("/sys/fs/bpf/xmbuf"), 0));
}

Test(prog_way, what_is_named_is_what_is_got)
{
	expect_got(XMB_PROG_BY_ANY, XMB_PROG_BY_LINK, "match all, by bpf_link");
	expect_got(XMB_PROG_BY_LINK, XMB_PROG_BY_LINK,
		   "match all, by bpf_link");
	expect_got(XMB_PROG_BY_NETLINK, XMB_PROG_BY_NETLINK,
		   "match all, by netlink");
}

Test(prog_way, each_has_a_name)
{
	static const char *const names[] = { "auto", "link", "dispatcher",
					     "netlink" };

	for (int way = 0; way < 4; way++)
		cr_expect(eq(str,
			     (char *)xmb_prog_way_name((enum xmb_prog_way)way),
			     (char *)names[way]));
	cr_expect(
		eq(ptr, (void *)xmb_prog_way_name((enum xmb_prog_way)4), NULL));
	cr_expect(eq(ptr, (void *)xmb_prog_way_name((enum xmb_prog_way) - 1),
		     NULL));
}

Test(prog_way, a_link_that_is_named_does_not_become_netlink)
{
	struct xmb_prog_opts opts = by(XMB_PROG_BY_LINK);

	answer_bpf(BPF_LINK_CREATE, EINVAL, 0);
	expect_refused(&opts, -EOPNOTSUPP, "ask for netlink");
	cr_expect(eq(int, said_cnt(XMB_LOG_WARN), 0));
}

Test(prog_way, a_dispatcher_is_there_or_refused_and_never_one_program_alone)
{
	struct xmb_prog_opts opts = by(XMB_PROG_BY_DISPATCHER);
	struct bpf_prog_info info = { 0 };
	uint32_t len = sizeof(info);
	struct xmb_prog *prog;
	int fd;

	if (xmb_prog_attach(&prog, &opts)) {
		expect_said(XMB_LOG_ERROR, "asked for libxdp's dispatcher, "
					   "libxdp cannot load it (libxdp: "
					   "Compatibility check");
		/* Once more, now that libxdp knows it. */
		expect_refused(&opts, -EOPNOTSUPP, "(--attach link)");
		opts.mode = XMB_PROG_GENERIC;
		expect_refused(&opts, -EOPNOTSUPP, "(--attach link)");
	} else {
		fd = bpf_prog_get_fd_by_id(attached().prog_id);
		cr_assert(eq(int, bpf_obj_get_info_by_fd(fd, &info, &len), 0));
		close(fd);
		cr_expect(eq(str, info.name, "xdp_dispatcher"));
		xmb_prog_destroy(prog);
	}
	cr_expect(eq(u8, attached().attach_mode, XDP_ATTACHED_NONE));
	cr_expect(eq(int, entry_cnt("/sys/fs/bpf/xmbuf"), 0));
	cr_expect(eq(int, entry_cnt("/sys/fs/bpf/xdp"), 0));
}

Test(prog_way, a_dispatcher_that_libxdp_is_told_to_skip_is_refused)
{
	struct xmb_prog_opts opts = by(XMB_PROG_BY_DISPATCHER);

	setenv("LIBXDP_SKIP_DISPATCHER", "1", 1);
	expect_refused(&opts, -EOPNOTSUPP, "libxdp cannot load it");
}

Test(prog_way, a_dispatcher_does_not_replace_what_is_there)
{
	struct xmb_prog_opts opts = by(XMB_PROG_BY_DISPATCHER);
	struct xmb_prog *prog;

	attach_by_netlink("stranger", XDP_FLAGS_DRV_MODE);
	expect_refused(&opts, -EBUSY, "(stranger)");
	must("ip link set dev va xdpdrv off");
	prog = attach(XMB_PROG_AUTO);
	expect_refused(&opts, -EBUSY, "bpftool link detach id");
	xmb_prog_destroy(prog);
}

Test(prog_way, a_dispatcher_needs_a_bpffs_and_says_so)
{
	struct xmb_prog_opts opts = by(XMB_PROG_BY_DISPATCHER);

	must("umount /sys/fs/bpf");
	expect_refused(&opts, -EOPNOTSUPP, "`mount -t bpf bpf /sys/fs/bpf`");
}

/* A filter cannot be taken off again, so each row has a process. */
static void expect_refused_when(unsigned command, unsigned answer, int err,
				const char *part)
{
	pid_t pid = fork();
	int status;

	if (pid == 0) {
		struct xmb_prog_opts opts = by(XMB_PROG_BY_DISPATCHER);
		struct xmb_prog *out = NULL;
		int got;

		forget_said();
		answer_bpf(command, answer, 0);
		got = xmb_prog_attach(&out, &opts);
		_exit(got != err			    ? 1
		      : out				    ? 2
		      : said_cnt(XMB_LOG_ERROR) != 1	    ? 3
		      : !said(XMB_LOG_ERROR, part)	    ? 4
		      : attached().prog_id		    ? 5
		      : entry_cnt("/sys/fs/bpf/xmbuf") != 0 ? 6
							    : 0);
	}
	cr_assert(eq(int, waitpid(pid, &status, 0), pid));
	cr_expect(eq(int, status, 0), "answer %s: step %d",
		  strerror((int)answer), WEXITSTATUS(status));
}

Test(prog_way, each_answer_to_a_dispatcher_is_put_into_words)
{
	expect_refused_when(BPF_PROG_LOAD, ENOMEM, -ENOMEM, "no memory");
	expect_refused_when(BPF_PROG_LOAD, EINVAL, -EOPNOTSUPP,
			    "in libxdp's dispatcher");
	expect_refused_when(BPF_PROG_LOAD, EPERM, -EPERM, "CAP_NET_ADMIN");
	expect_refused_when(BPF_MAP_CREATE, EMFILE, -EOPNOTSUPP,
			    "in libxdp's dispatcher");
	expect_refused_when(BPF_OBJ_GET_INFO_BY_FD, ENOMEM, -ENOMEM, "memory");
}

Test(prog_way, what_contradicts_it_is_refused)
{
	struct xmb_prog_opts opts = by((enum xmb_prog_way)4);

	expect_refused(&opts, -EINVAL, "none of auto, link, dispatcher");
	opts = by(XMB_PROG_BY_DISPATCHER);
	opts.on_exit = XMB_PROG_EXIT_DROP;
	expect_refused(&opts, -EINVAL, "held by a pinned bpf_link");
	opts.way = XMB_PROG_BY_NETLINK;
	expect_refused(&opts, -EINVAL, "held by a pinned bpf_link");
	opts = by(XMB_PROG_BY_LINK);
	opts.source.xskmap = "/sys/fs/bpf/none";
	expect_refused(&opts, -EINVAL, "nothing is attached, in whatever way");
}
