/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * lib/prog/load and attach: a program of the user's own, an XSKMAP that is
 * there, and netlink where the kernel has no bpf_link; with what is refused.
 */
#include "prog_lab.h"

#include <bpf/bpf.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/bpf.h>
#include <linux/if_link.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

static const char *user, *user_one;

static void source_setup(void)
{
	lab_setup();
	make_pair(1, 1);
	user = getenv("XMB_USER_OBJECT");
	user_one = getenv("XMB_USER_ONE_OBJECT");
	if (!user || !user_one)
		cr_skip_test("XMB_USER_OBJECT names no program to load");
}

TestSuite(prog_source, .init = source_setup, .timeout = 300);

static struct xmb_prog_opts from(const char *file, const char *section,
				 const char *map)
{
	struct xmb_prog_opts opts = opts_for(XMB_PROG_AUTO);

	opts.source.file = file;
	opts.source.section = section;
	opts.source.map = map;
	return opts;
}

static int xsk_open(void)
{
	int fd = socket(AF_XDP, SOCK_RAW | SOCK_CLOEXEC, 0);

	cr_assert(ge(int, fd, 0));
	return fd;
}

static int make_map(enum bpf_map_type type, uint32_t cnt)
{
	int fd = bpf_map_create(type, "theirs", 4, 4, cnt, NULL);

	cr_assert(ge(int, fd, 0));
	return fd;
}

static void expect_attached(const struct xmb_prog_opts *opts, const char *name)
{
	struct bpf_prog_info info = { 0 };
	uint64_t v[XMB_PROG_COUNTER_CNT];
	uint32_t len = sizeof(info);
	struct xmb_prog *prog;
	int xsk = xsk_open(), fd;

	cr_assert(eq(int, xmb_prog_attach(&prog, opts), 0));
	cr_expect(eq(int, xmb_prog_commit(prog), 0));
	fd = bpf_prog_get_fd_by_id(attached().prog_id);
	cr_assert(eq(int, bpf_obj_get_info_by_fd(fd, &info, &len), 0));
	close(fd);
	cr_expect(eq(str, info.name, (char *)name));
	cr_expect(eq(u32, info.id, (uint32_t)xmb_prog_id(prog)));
	cr_expect(eq(int, xmb_prog_steer(prog, 0, xsk), 0));
	cr_expect(eq(int, xmb_prog_steer(prog, 0, xsk), 0));
	cr_expect(eq(int, xmb_prog_has_counters(prog), false));
	cr_expect(eq(int, xmb_prog_stats(prog, v), 0));
	for (int i = 0; i < XMB_PROG_COUNTER_CNT; i++)
		cr_expect(eq(u64, v[i], 0));
	/* In generic mode iproute2 says nothing when it was refused. */
	run("ip link set dev va xdp off; ip link set dev va xdpgeneric off");
	cr_expect(eq(u32, attached().prog_id, info.id));
	xmb_prog_destroy(prog);
	cr_expect(eq(u8, attached().attach_mode, XDP_ATTACHED_NONE));
	close(xsk);
}

Test(prog_source, a_users_program_is_attached_like_ours)
{
	struct xmb_prog_opts one = from(user_one, NULL, NULL),
			     by_section = from(user, "xdp.frags", NULL),
			     by_name = from(user, "user_xsks", "xsks"),
			     other = from(user, "xdp", "large");

	expect_attached(&one, "user_one");
	expect_attached(&by_section, "user_xsks");
	expect_attached(&by_name, "user_xsks");
	expect_attached(&other, "user_large");
	one.mode = XMB_PROG_GENERIC;
	expect_attached(&one, "user_one");
}

Test(prog_source, a_users_program_that_does_not_fit_is_refused_in_words)
{
	struct xmb_prog_opts opts = from(user, NULL, NULL);

	expect_refused(&opts, -EINVAL, "more than one XDP program");
	opts = from(user, "xdp/none", NULL);
	expect_refused(&opts, -EINVAL, "has no XDP program called xdp/none");
	opts = from(user, "socket", NULL);
	expect_refused(&opts, -EINVAL, "has no XDP program called socket");
	opts = from(user_one, NULL, "none");
	expect_refused(&opts, -EINVAL, "has no map called none");
	opts = from(user, "user_large", "array");
	expect_refused(&opts, -EINVAL, "is a BPF map of type 2 (array)");
	opts = from(user, "user_xsks", "xsks");
	opts.queue_cnt = 3;
	expect_refused(&opts, -EINVAL, "xsks has 2 entries, and queue 2");
	opts = from("/proc/self/none.o", NULL, NULL);
	expect_refused(&opts, -ENOENT, "/proc/self/none.o: No such file");
	opts = from("/proc/self/exe", NULL, NULL);
	expect_refused(&opts, -EINVAL, "is no BPF object");
}

Test(prog_source, what_goes_with_our_own_program_only_is_refused)
{
	struct xmb_prog_opts opts = from(user_one, NULL, NULL);

	opts.match.kind = XMB_MATCH_TCP;
	expect_refused(&opts, -EINVAL, "a match is for our own program");
	opts = from(user_one, NULL, NULL);
	opts.match.negate = true;
	expect_refused(&opts, -EINVAL, "a match is for our own program");
	opts = from(user_one, NULL, NULL);
	opts.on_exit = XMB_PROG_EXIT_DROP;
	expect_refused(&opts, -EINVAL, "is our own program");
	opts = from(user_one, NULL, NULL);
	opts.source.xskmap = "/sys/fs/bpf/any";
	expect_refused(&opts, -EINVAL, "a program and an XSKMAP");
	opts = from(NULL, NULL, NULL);
	opts.source.xskmap = "/sys/fs/bpf/any";
	opts.source.xskmap_fd = 3;
	expect_refused(&opts, -EINVAL, "or two XSKMAPs");
}

/* Their program, as `bpftool net attach` puts it there. */
static struct bpf_object *attach_theirs(int *map_fd)
{
	struct bpf_object *object = bpf_object__open_file(user_one, NULL);
	struct bpf_program *program;

	cr_assert(ne(ptr, object, NULL));
	cr_assert(eq(int, bpf_object__load(object), 0));
	program = bpf_object__find_program_by_name(object, "user_one");
	*map_fd = bpf_object__find_map_fd_by_name(object, "xsks");
	cr_assert(eq(int,
		     bpf_xdp_attach(opts_for(XMB_PROG_AUTO).ifindex,
				    bpf_program__fd(program),
				    XDP_FLAGS_DRV_MODE, NULL),
		     0));
	return object;
}

Test(prog_source, an_xskmap_is_used_and_nothing_is_attached)
{
	struct xmb_prog_opts opts = opts_for(XMB_PROG_AUTO);
	int mine = xsk_open(), other = xsk_open(), map_fd;
	struct bpf_object *object = attach_theirs(&map_fd);
	struct xmb_prog *first, *second;
	uint32_t prog_id = attached().prog_id;

	mount_bpffs();
	cr_assert(eq(int, bpf_obj_pin(map_fd, "/sys/fs/bpf/theirs"), 0));
	opts.queue_cnt = 2;
	opts.source.xskmap_fd = map_fd;
	cr_assert(eq(int, xmb_prog_attach(&first, &opts), 0));
	opts.source.xskmap_fd = 0;
	opts.source.xskmap = "/sys/fs/bpf/theirs";
	cr_assert(eq(int, xmb_prog_attach(&second, &opts), 0));
	cr_expect(eq(int, xmb_prog_mode(first), XMB_PROG_NATIVE));
	cr_expect(eq(int, xmb_prog_id(first), (int)prog_id));
	cr_expect(eq(int, xmb_prog_commit(first), 0));
	cr_expect(eq(int, xmb_prog_check(first), 0));
	expect_said(XMB_LOG_INFO, "no XDP program attached: steering by");

	/* Two that share a map do not take each other's slots. */
	cr_expect(eq(int, xmb_prog_steer(first, 0, mine), 0));
	cr_expect(eq(int, xmb_prog_steer(first, 0, mine), 0));
	cr_expect(eq(int, xmb_prog_steer(second, 0, other), -EEXIST));
	expect_said(XMB_LOG_ERROR, "another socket has its slot");
	cr_expect(eq(int, xmb_prog_steer(second, 1, other), 0));
	cr_expect(eq(int, xmb_prog_steer(second, 2, other), -ERANGE));
	xmb_prog_destroy(first);
	cr_expect(eq(int, xmb_prog_steer(second, 0, other), 0));
	xmb_prog_destroy(second);

	cr_expect(eq(u32, attached().prog_id, prog_id));
	/* The caller's descriptor is the caller's still. */
	cr_expect(ge(int, fcntl(map_fd, F_GETFD), 0));
	bpf_object__close(object);
	close(mine);
	close(other);
}

Test(prog_source, an_xskmap_of_no_program_works_and_warns)
{
	struct xmb_prog_opts opts = opts_for(XMB_PROG_AUTO);
	struct xmb_prog *prog;

	opts.source.xskmap_fd = make_map(BPF_MAP_TYPE_XSKMAP, 1);
	cr_assert(eq(int, xmb_prog_attach(&prog, &opts), 0));
	expect_said(XMB_LOG_WARN, "no XDP program is attached");
	cr_expect(eq(int, xmb_prog_mode(prog), XMB_PROG_AUTO));
	cr_expect(eq(int, xmb_prog_id(prog), 0));
	xmb_prog_destroy(prog);
	close(opts.source.xskmap_fd);
}

Test(prog_source, a_map_that_does_not_fit_is_refused_in_words)
{
	struct xmb_prog_opts opts = opts_for(XMB_PROG_AUTO);
	int map_fd, pipe_fd[2];
	struct bpf_object *object = attach_theirs(&map_fd);

	mount_bpffs();
	cr_assert(eq(int, pipe(pipe_fd), 0));
	opts.source.xskmap_fd = make_map(BPF_MAP_TYPE_ARRAY, 64);
	expect_refused(&opts, -EINVAL, "of type 2 (theirs), and not an XSKMAP");
	opts.source.xskmap_fd = make_map(BPF_MAP_TYPE_XSKMAP, 4);
	opts.queue_cnt = 5;
	expect_refused(&opts, -EINVAL, "has 4 entries, and queue 4");
	opts.source.xskmap_fd = pipe_fd[0];
	expect_refused(&opts, -EBADF, "is no BPF map");
	opts.source.xskmap_fd = 1 << 19;
	expect_refused(&opts, -EBADF, "that was passed");
	opts.source.xskmap_fd = 0;
	opts.source.xskmap = "/sys/fs/bpf/none";
	expect_refused(&opts, -ENOENT, "name a map that is pinned");
	opts.source.xskmap = "/proc/self/exe";
	expect_refused(&opts, -EPERM, "/proc/self/exe");
	opts.source.xskmap = NULL;
	opts.source.xskmap_fd = map_fd;
	opts.mode = XMB_PROG_GENERIC;
	expect_refused(&opts, -EBUSY, "is attached in native mode");
	opts.mode = XMB_PROG_AUTO;
	opts.ifindex = 123456;
	expect_refused(&opts, -ENODEV, "no such device");
	bpf_object__close(object);
}

/* A kernel without bpf_link for XDP answers EINVAL to whatever is asked. */
static struct xmb_prog *attach_without_links(enum xmb_prog_mode mode)
{
	answer_bpf(BPF_LINK_CREATE, EINVAL, 0);
	return attach(mode);
}

Test(prog_source, netlink_is_last_and_the_log_says_why)
{
	struct xmb_prog *prog = attach_without_links(XMB_PROG_AUTO);

	cr_expect(eq(u8, attached().attach_mode, XDP_ATTACHED_DRV));
	cr_expect(eq(u32, attached().drv_prog_id, (uint32_t)xmb_prog_id(prog)));
	cr_expect(eq(int, said_cnt(XMB_LOG_WARN), 1));
	expect_said(XMB_LOG_WARN, "asked for a bpf_link, the kernel answered "
				  "Invalid argument");
	expect_said(XMB_LOG_INFO, "native mode, match all, by netlink");
	cr_expect(eq(int, xmb_prog_commit(prog), 0));
	cr_expect(eq(int, xmb_prog_check(prog), 0));
	xmb_prog_destroy(prog);
	cr_expect(eq(u8, attached().attach_mode, XDP_ATTACHED_NONE));
}

Test(prog_source, netlink_falls_back_to_generic_too)
{
	struct xmb_prog *prog;

	must("ip link del va");
	make_pair(1, 4);
	prog = attach_without_links(XMB_PROG_AUTO);
	cr_expect(eq(u8, attached().attach_mode, XDP_ATTACHED_SKB));
	cr_expect(eq(int, xmb_prog_check(prog), 0));
	expect_said(XMB_LOG_WARN, "fewer RX queues than its veth peer");
	xmb_prog_destroy(prog);
	cr_expect(eq(u8, attached().attach_mode, XDP_ATTACHED_NONE));
}

Test(prog_source, a_program_attached_by_netlink_does_not_replace_a_strangers)
{
	struct xmb_prog_opts opts = opts_for(XMB_PROG_AUTO);

	attach_by_netlink("stranger", XDP_FLAGS_DRV_MODE);
	answer_bpf(BPF_LINK_CREATE, EINVAL, 0);
	expect_refused(&opts, -EBUSY, "(stranger)");
}

Test(prog_source, a_stranger_can_take_off_what_netlink_attached_and_is_noticed)
{
	struct xmb_prog *prog = attach_without_links(XMB_PROG_AUTO);
	uint32_t stranger;

	must("ip link set dev va xdp off");
	forget_said();
	cr_expect(eq(int, xmb_prog_check(prog), -ENOLINK));
	expect_said(XMB_LOG_ERROR, "somebody took XDP program");
	/* What is there now is somebody else's, and stays. */
	attach_by_netlink("stranger", XDP_FLAGS_DRV_MODE);
	stranger = attached().prog_id;
	cr_expect(eq(int, xmb_prog_check(prog), -ENOLINK));
	xmb_prog_destroy(prog);
	cr_expect(eq(u32, attached().prog_id, stranger));
}

/* Without a descriptor to ask by, nothing is seen, and nothing is said. */
Test(prog_source, a_query_that_fails_takes_nothing_for_gone)
{
	struct xmb_prog *prog = attach_without_links(XMB_PROG_AUTO);
	struct rlimit few, usual;

	cr_assert(eq(int, getrlimit(RLIMIT_NOFILE, &usual), 0));
	few = (struct rlimit){ .rlim_max = usual.rlim_max };
	forget_said();
	cr_assert(eq(int, setrlimit(RLIMIT_NOFILE, &few), 0));
	cr_expect(eq(int, xmb_prog_check(prog), 0));
	cr_assert(eq(int, setrlimit(RLIMIT_NOFILE, &usual), 0));
	cr_expect(eq(int, said_cnt(XMB_LOG_ERROR), 0));
	cr_expect(eq(int, xmb_prog_check(prog), 0));
	/* Asked again, it is noticed. */
	must("ip link set dev va xdp off");
	cr_expect(eq(int, xmb_prog_check(prog), -ENOLINK));
	xmb_prog_destroy(prog);
}

Test(prog_source, what_netlink_cannot_take_off_is_said_with_the_command)
{
	struct xmb_prog *prog = attach_without_links(XMB_PROG_AUTO);
	uint32_t id = (uint32_t)xmb_prog_id(prog);
	struct rlimit few, usual;

	cr_assert(eq(int, getrlimit(RLIMIT_NOFILE, &usual), 0));
	few = (struct rlimit){ .rlim_max = usual.rlim_max };
	cr_assert(eq(int, setrlimit(RLIMIT_NOFILE, &few), 0));
	xmb_prog_detach(prog);
	cr_assert(eq(int, setrlimit(RLIMIT_NOFILE, &usual), 0));
	expect_said(XMB_LOG_ERROR, "Too many open files: it is there still: "
				   "`ip link set dev ");
	cr_expect(eq(u32, attached().prog_id, id));
	must("ip link set dev va xdp off");
	xmb_prog_destroy(prog);
}

Test(prog_source, a_gate_is_refused_where_there_is_no_bpf_link)
{
	struct xmb_prog_opts opts = opts_for(XMB_PROG_AUTO);

	mount_bpffs();
	opts.on_exit = XMB_PROG_EXIT_DROP;
	answer_bpf(BPF_LINK_CREATE, EINVAL, 0);
	expect_refused(&opts, -EOPNOTSUPP, "a gate is a bpf_link");
	cr_expect(eq(int, entry_cnt("/sys/fs/bpf/xmbuf"), 0));
}
