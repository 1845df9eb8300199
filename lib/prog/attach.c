/* SPDX-License-Identifier: BSD-2-Clause */
#include "prog/prog_priv.h"

#include <bpf/bpf.h>
#include <bpf/libbpf.h>
#include <errno.h>
#include <linux/bpf.h>
#include <linux/if_link.h>
#include <net/if.h>
#include <stddef.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

enum { TAKE_OFF_TRIES = 3, TAKE_OFF_STEP_US = 1000 };

static uint32_t flags_of(enum xmb_prog_mode mode)
{
	return mode == XMB_PROG_NATIVE ? XDP_FLAGS_DRV_MODE
				       : XDP_FLAGS_SKB_MODE;
}

/*
 * Asks for a link of no program, in the oldest form of the command: a kernel
 * that has links looks for the program before all else.
 */
static bool has_links(void)
{
	union bpf_attr attr;

	memset(&attr, 0, sizeof(attr));
	attr.link_create.prog_fd = (uint32_t)-1;
	attr.link_create.attach_type = BPF_XDP;
	return syscall(SYS_bpf, BPF_LINK_CREATE, &attr,
		       offsetof(union bpf_attr, link_create.flags) +
			       sizeof(attr.link_create.flags)) >= 0 ||
	       errno == EBADF;
}

static int by_link(struct xmb_prog *prog, enum xmb_prog_mode mode)
{
	struct bpf_link_create_opts link = {
		.sz = sizeof(link),
		.flags = flags_of(mode),
	};
	int fd = bpf_link_create(prog->prog_fd, prog->ifindex, BPF_XDP, &link);

	if (fd < 0)
		return fd;
	prog->link_fd = fd;
	return 0;
}

static int by_netlink(struct xmb_prog *prog, enum xmb_prog_mode mode)
{
	int err = bpf_xdp_attach(prog->ifindex, prog->prog_fd,
				 flags_of(mode) | XDP_FLAGS_UPDATE_IF_NOEXIST,
				 NULL);
	enum xmb_prog_mode got;

	/* The answer may have been lost behind what was done. */
	if (err && !xmb_prog_mode_of(prog->ifindex, (uint32_t)prog->id, &got) &&
	    got == mode)
		err = 0;
	prog->is_netlink = !err;
	return err;
}

void xmb_prog_take_off(int ifindex, enum xmb_prog_mode mode, int prog_fd)
{
	struct bpf_xdp_attach_opts ours = {
		.sz = sizeof(ours),
		.old_prog_fd = prog_fd,
	};
	char name[IF_NAMESIZE] = "DEV";
	int err = 0;

	/* Nobody else would do it later: what may pass is waited for. */
	for (int i = 0; i < TAKE_OFF_TRIES; i++) {
		if (i > 0)
			usleep(TAKE_OFF_STEP_US);
		err = bpf_xdp_detach(ifindex, flags_of(mode), &ours);
		/* EEXIST: another's program is there, or none. */
		if (!err || err == -EEXIST || err == -ENODEV)
			return;
	}
	if_indextoname((unsigned)ifindex, name);
	xmb_log(XMB_LOG_ERROR,
		"device #%d: asked to take our XDP program off, the kernel "
		"answered %s: it is there still: `ip link set dev %s xdp off`",
		ifindex, strerror(-err), name);
}

/* Say the mode out loud: with none the kernel picks one and does not tell. */
static int put_on(struct xmb_prog *prog, enum xmb_prog_mode mode,
		  bool is_netlink)
{
	char name[IF_NAMESIZE];
	int err = is_netlink ? by_netlink(prog, mode) : by_link(prog, mode);

	/* A link to no device is answered by EINVAL. */
	if (err == -EINVAL && !if_indextoname((unsigned)prog->ifindex, name))
		return -ENODEV;
	if (err)
		return err;
	prog->mode = mode;
	prog->way = is_netlink ? XMB_PROG_BY_NETLINK : XMB_PROG_BY_LINK;
	return 0;
}

bool xmb_prog_is_final(int err)
{
	return err == -EBUSY || err == -EEXIST || err == -EPERM ||
	       err == -EACCES || err == -ENODEV;
}

/* 0: go on by netlink. */
static int give_up_links(const struct xmb_prog_opts *opts, int err)
{
	if (opts->on_exit == XMB_PROG_EXIT_DROP) {
		xmb_log(XMB_LOG_ERROR,
			"%s: a gate is a bpf_link that is pinned, and the "
			"kernel answered %s: XDP has no bpf_link here (Linux "
			"5.9 has, where nothing forbids it)",
			opts->dev, strerror(-err));
		return -EOPNOTSUPP;
	}
	if (opts->way == XMB_PROG_BY_LINK) {
		xmb_log(XMB_LOG_ERROR,
			"%s: asked for a bpf_link, the kernel answered %s and "
			"has none for XDP (Linux 5.9 has, where nothing "
			"forbids it): ask for netlink",
			opts->dev, strerror(-err));
		return -EOPNOTSUPP;
	}
	xmb_log(XMB_LOG_WARN,
		"%s: asked for a bpf_link, the kernel answered %s and has none "
		"for XDP (Linux 5.9 has, where nothing forbids it); trying "
		"netlink: the program can be taken off by others, and stays "
		"when this process is killed: `ip link set dev %s xdp off`",
		opts->dev, strerror(-err), opts->dev);
	return 0;
}

int xmb_prog_put_on(struct xmb_prog *prog, const struct xmb_prog_opts *opts)
{
	bool is_auto = opts->mode == XMB_PROG_AUTO;
	enum xmb_prog_mode mode = is_auto ? XMB_PROG_NATIVE : opts->mode;
	bool is_netlink = opts->way == XMB_PROG_BY_NETLINK;
	int err = put_on(prog, mode, is_netlink);

	if (err && !is_netlink && !xmb_prog_is_final(err) && !has_links()) {
		err = give_up_links(opts, err);
		if (err)
			return err;
		is_netlink = true;
		err = put_on(prog, mode, true);
	}
	if (err && is_auto && !xmb_prog_is_final(err)) {
		xmb_prog_tell_attach(opts, mode, err, XMB_LOG_WARN,
				     "; trying generic XDP, which is slower");
		mode = XMB_PROG_GENERIC;
		err = put_on(prog, mode, is_netlink);
	}
	if (!err)
		return 0;
	return xmb_prog_tell_attach(opts, mode, err, XMB_LOG_ERROR, "");
}

int xmb_prog_mode_of(int ifindex, uint32_t prog_id, enum xmb_prog_mode *mode)
{
	struct bpf_xdp_query_opts xdp = { .sz = sizeof(xdp) };
	int err = bpf_xdp_query(ifindex, 0, &xdp);

	if (err)
		return err;
	if (prog_id && xdp.drv_prog_id == prog_id)
		*mode = XMB_PROG_NATIVE;
	else if (prog_id && xdp.skb_prog_id == prog_id)
		*mode = XMB_PROG_GENERIC;
	else
		*mode = XMB_PROG_AUTO;
	return 0;
}
