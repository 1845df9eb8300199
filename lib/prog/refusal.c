/* SPDX-License-Identifier: BSD-2-Clause */
#include "prog/prog_priv.h"

#include <bpf/bpf.h>
#include <bpf/libbpf.h>
#include <errno.h>
#include <linux/if_link.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

enum {
	LINK_MAX_CNT = 4096, /* links looked at to find a program's owner */
	OWNER_TEXT_MAX = 256,
};

/* The name of libxdp's program. */
static const char dispatcher[] = "xdp_dispatcher";

static const char privilege[] =
	"run as root, or with CAP_NET_ADMIN, CAP_BPF and CAP_NET_RAW";

/* Without err there is one for every other answer at the end. */
static const struct reason {
	int err;
	const char *words;
} native_reasons[] = {
	{ EOPNOTSUPP, "its driver has no native XDP, or none in its present "
		      "settings (LRO, receive checksum of a guest): ask for "
		      "generic XDP" },
	{ ENOSPC, "it has fewer RX queues than its veth peer has TX queues, or "
		  "the driver has no queue left: make them equal with "
		  "`ethtool -L`" },
	{ ERANGE, "the MTU of it or of its veth peer is too large for native "
		  "XDP: lower it" },
	{ ENOTCONN, "its veth peer is gone" },
	{ EINVAL, "its driver takes no native XDP with the present MTU, rings "
		  "and offloads: lower the MTU or ask for generic XDP" },
	{ ENOMEM, "there is no memory, or there are too few rings for native "
		  "XDP: lower the number of queues with `ethtool -L`" },
	{ 0, "the kernel's log (dmesg) may say more; generic XDP may work" },
}, generic_reasons[] = {
	{ EOPNOTSUPP, "this kind of device runs no XDP at all" },
	{ ENOMEM, "there is no memory" },
	{ 0, "the kernel's log (dmesg) may say more" },
}, load_reasons[] = {
	{ ENOMEM, "there is no memory" },
	{ EAGAIN, "the verifier was interrupted each time: try again" },
	{ EINTR, "a signal interrupted it: try again" },
	{ EBUSY, "try again" },
	{ EMFILE, "close some files or raise the limit (`ulimit -n`)" },
	{ ENFILE, "close some files: the whole system has too many" },
	{ 0, "XDP for frames of several buffers needs Linux 5.18 with "
	     "CONFIG_BPF_SYSCALL and CONFIG_XDP_SOCKETS; the debug log has "
	     "the verifier's words" },
};

static const char *words_of(const struct reason *reason, int err)
{
	while (reason->err && reason->err != -err)
		reason++;
	return reason->words;
}

/* The id of the bpf_link that holds program prog_id; 0: none was found. */
static uint32_t find_link(uint32_t prog_id)
{
	uint32_t id = 0;

	for (int i = 0; i < LINK_MAX_CNT; i++) {
		struct bpf_link_info info = { 0 };
		uint32_t len = sizeof(info);
		int fd, err;

		if (bpf_link_get_next_id(id, &id))
			return 0;
		fd = bpf_link_get_fd_by_id(id);
		if (fd < 0)
			continue;
		err = bpf_obj_get_info_by_fd(fd, &info, &len);
		close(fd);
		if (!err && info.type == BPF_LINK_TYPE_XDP &&
		    info.prog_id == prog_id)
			return id;
	}
	return 0;
}

static void name_prog(uint32_t prog_id, char name[BPF_OBJ_NAME_LEN])
{
	struct bpf_prog_info info = { 0 };
	uint32_t len = sizeof(info);
	int fd = bpf_prog_get_fd_by_id(prog_id);

	snprintf(name, BPF_OBJ_NAME_LEN, "?");
	if (fd < 0)
		return;
	if (!bpf_obj_get_info_by_fd(fd, &info, &len) && info.name[0])
		snprintf(name, BPF_OBJ_NAME_LEN, "%s", info.name);
	close(fd);
}

bool xmb_prog_is_dispatcher(uint32_t prog_id)
{
	char name[BPF_OBJ_NAME_LEN];

	name_prog(prog_id, name);
	return !strcmp(name, dispatcher);
}

/* Say which program is in the way and how to be rid of it. */
static void describe_owner(const struct xmb_prog_opts *opts, char *text)
{
	struct bpf_xdp_query_opts xdp = { .sz = sizeof(xdp) };
	char name[BPF_OBJ_NAME_LEN], how[64];
	uint32_t id, link_id;
	bool is_generic;

	if (bpf_xdp_query(opts->ifindex, 0, &xdp) ||
	    xdp.attach_mode == XDP_ATTACHED_NONE) {
		snprintf(text, OWNER_TEXT_MAX,
			 "another XDP program came and went, or a device on "
			 "top of it has one: try again, or look at `ip link`");
		return;
	}
	is_generic = !xdp.drv_prog_id && xdp.skb_prog_id;
	id = xdp.drv_prog_id ? xdp.drv_prog_id : xdp.skb_prog_id;
	if (!id)
		id = xdp.prog_id;
	name_prog(id, name);
	if (!strcmp(name, dispatcher)) {
		snprintf(text, OWNER_TEXT_MAX,
			 "libxdp's dispatcher (program %u) is attached: join "
			 "it (as root, and not with a gate), or "
			 "`xdp-loader unload %s --all`",
			 id, opts->dev);
		return;
	}
	link_id = find_link(id);
	if (link_id)
		snprintf(how, sizeof(how), "bpftool link detach id %u",
			 link_id);
	else
		snprintf(how, sizeof(how), "ip link set dev %s %s off",
			 opts->dev, is_generic ? "xdpgeneric" : "xdp");
	snprintf(text, OWNER_TEXT_MAX,
		 "program %u (%s) is attached in %s mode already: stop what "
		 "attached it, or `%s`",
		 id, name, is_generic ? "generic" : "native", how);
}

int xmb_prog_tell_attach(const struct xmb_prog_opts *opts,
			 enum xmb_prog_mode mode, int err,
			 enum xmb_log_level level, const char *then)
{
	char owner[OWNER_TEXT_MAX];
	const char *words = owner;
	int answer = -EOPNOTSUPP;

	if (err == -EBUSY || err == -EEXIST) {
		describe_owner(opts, owner);
		answer = -EBUSY;
	} else if (err == -EPERM || err == -EACCES) {
		words = privilege;
		answer = -EPERM;
	} else if (err == -ENODEV) {
		words = "there is no such device (any more)";
		answer = err;
	} else {
		words = words_of(mode == XMB_PROG_NATIVE ? native_reasons
							 : generic_reasons,
				 err);
		if (err == -ENOMEM)
			answer = err;
	}
	xmb_log(level, "%s: asked for %s XDP, the kernel answered %s: %s%s",
		opts->dev, xmb_prog_mode_name(mode), strerror(-err), words,
		then);
	return answer;
}

int xmb_dispatch_tell_mode(const struct xmb_prog_opts *opts,
			   enum xmb_prog_mode there)
{
	xmb_log(XMB_LOG_ERROR,
		"%s: %s XDP was asked for, and libxdp's dispatcher is there in "
		"%s mode: ask for that, or `xdp-loader unload %s --all`",
		opts->dev, xmb_prog_mode_name(opts->mode),
		xmb_prog_mode_name(there), opts->dev);
	return -EBUSY;
}

int xmb_dispatch_tell_full(const struct xmb_prog_opts *opts, int cnt)
{
	xmb_log(XMB_LOG_ERROR,
		"%s: asked to join libxdp's dispatcher, which calls %d "
		"programs, as many as it can: take one out: `xdp-loader status "
		"%s`, `xdp-loader unload %s --id N`",
		opts->dev, cnt, opts->dev, opts->dev);
	return -EBUSY;
}

int xmb_dispatch_tell(const struct xmb_prog_opts *opts, enum xmb_prog_mode mode,
		      int err, const char *words, const char *then)
{
	char text[OWNER_TEXT_MAX];

	if (!words[0])
		words = "it does not say why";
	if (err == XMB_DISPATCH_ALONE) {
		xmb_log(XMB_LOG_ERROR,
			"%s: asked for libxdp's dispatcher, libxdp cannot load "
			"it (%s): the kernel lets no program replace a "
			"function of another's (it has no BPF trampolines or "
			"is locked down), or this is not root; a bpf_link "
			"(--attach link) takes the device for one program",
			opts->dev, words);
		return -EOPNOTSUPP;
	}
	/* It tried to attach the program alone, in the place of it. */
	if (err == -EBUSY && xmb_dispatch_is_on(opts->ifindex)) {
		xmb_log(XMB_LOG_ERROR,
			"%s: asked to join libxdp's dispatcher, which is "
			"there, and it cannot be changed (%s): "
			"`xdp-loader unload %s --all`",
			opts->dev, words, opts->dev);
		return -EBUSY;
	}
	snprintf(text, sizeof(text), " (in libxdp's dispatcher; %s)%s", words,
		 then ? then : "");
	return xmb_prog_tell_attach(opts, mode, err,
				    then ? XMB_LOG_WARN : XMB_LOG_ERROR, text);
}

int xmb_prog_tell_load(const struct xmb_prog_opts *opts, int err)
{
	bool is_privilege = err == -EPERM;

	xmb_log(XMB_LOG_ERROR,
		"%s: asked to load the XDP program, the kernel answered %s: %s",
		opts->dev, strerror(-err),
		is_privilege ? privilege : words_of(load_reasons, err));
	if (is_privilege || err == -ENOMEM)
		return err;
	return -EOPNOTSUPP;
}

int xmb_gate_tell(const char *dev, const char *what, const char *path, int err)
{
	bool is_privilege = err == -EPERM || err == -EACCES;

	xmb_log(XMB_LOG_ERROR, "%s: %s, %s: the kernel answered %s%s%s", dev,
		what, path, strerror(-err), is_privilege ? ": " : "",
		is_privilege ? privilege : "");
	return is_privilege ? -EPERM : err;
}
