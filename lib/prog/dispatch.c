/* SPDX-License-Identifier: BSD-2-Clause */
#include "prog/prog_priv.h"

#include <bpf/bpf.h>
#include <bpf/libbpf.h>
#include <errno.h>
#include <linux/bpf.h>
#include <net/if.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <xdp/libxdp.h>

/* Where libxdp's protocol has it: the programs of dispatcher ID on a device. */
#define BPFFS "/sys/fs/bpf"
#define PIN "%s/xdp/dispatch-%d-%u/prog%d-prog"

enum {
	/* Of AF_XDP programs in libxdp; filters have 10, all others 50. */
	PRIORITY = 20,
	PROG_MAX = 10, /* in a dispatcher */
	LOOK_MAX = 8,
	LOOK_STEP_US = 1000, /* and twice as long each time */
	SAID_MAX = 200,
	ORDER_MAX = 400,
	PIN_MAX = 4096,
};

struct xmb_dispatch {
	struct xdp_program *program;
	atomic_uint seen_id; /* the dispatcher in which it was seen last */
};

static const char ours[] = "xmb_steer";

/* libxdp's last words, of this thread: errno alone does not tell much. */
static _Thread_local char said[SAID_MAX];

static int hear(enum libxdp_print_level level, const char *fmt, va_list ap)
{
	char line[SAID_MAX];
	int len = vsnprintf(line, sizeof(line), fmt, ap);

	line[strcspn(line, "\n")] = '\0';
	xmb_log(XMB_LOG_DEBUG, "%s", line);
	/* What it does next is no reason. */
	if (level != LIBXDP_DEBUG && !strstr(line, "Falling back"))
		memcpy(said, line, sizeof(said));
	return len;
}

void xmb_dispatch_print_to_log(void)
{
	libxdp_set_print(hear);
}

static enum xdp_attach_mode how(enum xmb_prog_mode mode)
{
	return mode == XMB_PROG_NATIVE ? XDP_MODE_NATIVE : XDP_MODE_SKB;
}

/* The program on the device, 0: none; libxdp's calls leave files open. */
static int look_there(int ifindex, enum xmb_prog_mode *mode, uint32_t *id)
{
	struct bpf_xdp_query_opts xdp = { .sz = sizeof(xdp) };
	int err = bpf_xdp_query(ifindex, 0, &xdp);

	if (err)
		return err;
	*mode = xdp.drv_prog_id ? XMB_PROG_NATIVE : XMB_PROG_GENERIC;
	*id = xdp.drv_prog_id ? xdp.drv_prog_id : xdp.skb_prog_id;
	return 0;
}

static uint32_t id_there(int ifindex, enum xmb_prog_mode *mode)
{
	uint32_t id;

	return look_there(ifindex, mode, &id) ? 0 : id;
}

bool xmb_dispatch_is_on(int ifindex)
{
	enum xmb_prog_mode mode;
	uint32_t id = id_there(ifindex, &mode);

	return id && xmb_prog_is_dispatcher(id);
}

/* Where the program is pinned that dispatcher id calls as its i-th. */
static void find_pin(int ifindex, uint32_t id, int i, char path[PIN_MAX])
{
	const char *fs = secure_getenv(XDP_BPFFS_ENVVAR);

	snprintf(path, PIN_MAX, PIN, fs ? fs : BPFFS, ifindex, id, i);
}

static bool is_full(int ifindex, uint32_t id)
{
	char path[PIN_MAX];

	find_pin(ifindex, id, PROG_MAX - 1, path);
	return access(path, F_OK) == 0;
}

static int attach_in(struct xmb_prog *prog, enum xmb_prog_mode mode)
{
	struct xdp_program_opts opts = {
		.sz = sizeof(opts),
		.obj = prog->object,
		.prog_name = bpf_program__name(prog->program),
	};
	const char *section = bpf_program__section_name(prog->program);
	struct xdp_program *program;
	int err;

	said[0] = '\0';
	program = xdp_program__create(&opts);
	err = (int)libxdp_get_error(program);
	if (err)
		return err;
	/* libxdp 1.3 does not see it by itself, and without it a dispatcher
	 * takes no packet of several buffers. */
	if (strstr(section, ".frags"))
		xdp_program__set_xdp_frags_support(program, true);
	if (prog->skel)
		xdp_program__set_run_prio(program, PRIORITY);
	err = xdp_program__attach(program, prog->ifindex, how(mode), 0);
	/* Where no dispatcher can be loaded it attaches one program alone. */
	if (!err && bpf_program__type(prog->program) != BPF_PROG_TYPE_EXT) {
		xmb_prog_take_off(prog->ifindex, mode,
				  bpf_program__fd(prog->program));
		err = XMB_DISPATCH_ALONE;
	}
	if (err) {
		xdp_program__close(program);
		return err;
	}
	prog->dispatch->program = program;
	prog->mode = mode;
	prog->way = XMB_PROG_BY_DISPATCHER;
	return 0;
}

/*
 * All that the dispatcher calls, NULL: it cannot be told.  Who joins or leaves
 * at this moment makes the look fail, or has it find one program alone.
 */
static struct xdp_multiprog *look_at_all(const struct xmb_prog *prog)
{
	said[0] = '\0';
	for (int i = 0; i < LOOK_MAX; i++) {
		struct xdp_multiprog *mp =
			xdp_multiprog__get_from_ifindex(prog->ifindex);

		if (mp && !libxdp_get_error(mp)) {
			if (!xdp_multiprog__is_legacy(mp))
				return mp;
			xdp_multiprog__close(mp);
		}
		usleep(LOOK_STEP_US << i);
	}
	return NULL;
}

static void take_out(const struct xmb_prog *prog, enum xmb_prog_mode mode,
		     struct xdp_program *p)
{
	unsigned id = xdp_program__id(p);
	int err = xdp_program__detach(p, prog->ifindex, how(mode), 0);

	if (err)
		xmb_log(XMB_LOG_WARN,
			"%s: program %u, which a process that was killed left "
			"in libxdp's dispatcher, stays in it (%s; %s): "
			"`xdp-loader unload %s --id %u`",
			prog->dev, id, strerror(-err), said, prog->dev, id);
	else
		xmb_log(XMB_LOG_INFO,
			"%s: program %u, which a process that was killed left "
			"in libxdp's dispatcher, was taken out",
			prog->dev, id);
}

/*
 * Whoever holds the lock of the device knows that nobody else's process is
 * behind another program of ours.  True if there was one; mp may be NULL.
 */
static bool take_out_leftovers(const struct xmb_prog *prog,
			       enum xmb_prog_mode mode,
			       struct xdp_multiprog *mp)
{
	struct xdp_program *p = NULL;
	bool was_any = false;

	if (!prog->skel)
		return false;
	if (!mp)
		xmb_log(XMB_LOG_WARN,
			"%s: what libxdp's dispatcher calls cannot be seen "
			"(%s): what processes that were killed left in it "
			"stays: `xdp-loader status %s`",
			prog->dev, said, prog->dev);
	while (mp && (p = xdp_multiprog__next_prog(p, mp)))
		if ((int)xdp_program__id(p) != prog->id &&
		    !strcmp(xdp_program__name(p), ours)) {
			take_out(prog, mode, p);
			was_any = true;
		}
	return was_any;
}

static void say_order(const struct xmb_prog *prog, struct xdp_multiprog *mp,
		      bool was_there)
{
	struct xdp_program *p = NULL;
	char order[ORDER_MAX] = "";
	size_t len = 0;

	while (mp && len < sizeof(order) &&
	       (p = xdp_multiprog__next_prog(p, mp)))
		len += (size_t)snprintf(order + len, sizeof(order) - len,
					"%s%s (%u)", len ? ", " : "",
					xdp_program__name(p),
					xdp_program__run_prio(p));
	xmb_log(XMB_LOG_INFO,
		"%s: libxdp's dispatcher %s, and calls by priority: %s; "
		"program %d stays in it, without sockets, when this process is "
		"killed: until %s`xdp-loader unload %s --id %d`",
		prog->dev, was_there ? "is on the device" : "was asked for",
		mp ? order : "what cannot be seen", prog->id,
		prog->skel ? "the next start, or " : "", prog->dev, prog->id);
}

/* One that has no room may have it for those who come after the dead. */
static bool make_room(const struct xmb_prog *prog, enum xmb_prog_mode mode)
{
	struct xdp_multiprog *mp = look_at_all(prog);
	enum xmb_prog_mode now;

	take_out_leftovers(prog, mode, mp);
	xdp_multiprog__close(mp);
	return !is_full(prog->ifindex, id_there(prog->ifindex, &now));
}

/* By one look, where that is enough: each leaves descriptors open. */
static void look_around(const struct xmb_prog *prog, bool was_there)
{
	struct xdp_multiprog *mp = look_at_all(prog);

	if (take_out_leftovers(prog, prog->mode, mp)) {
		xdp_multiprog__close(mp);
		mp = look_at_all(prog);
	}
	say_order(prog, mp, was_there);
	xdp_multiprog__close(mp);
}

/* Where dispatcher id was, 0: none. */
static int join(struct xmb_prog *prog, const struct xmb_prog_opts *opts,
		enum xmb_prog_mode there, uint32_t id)
{
	bool may_fall = !there && opts->mode == XMB_PROG_AUTO;
	bool may_retry = true;
	enum xmb_prog_mode now, mode = may_fall ? XMB_PROG_NATIVE
				       : there	? there
						: opts->mode;
	int err;

	while ((err = attach_in(prog, mode))) {
		/* Somebody joined or left meanwhile: not a lasting answer. */
		if (err == -EBUSY && may_retry &&
		    id_there(prog->ifindex, &now) != id) {
			may_retry = false;
		} else if (may_fall && err != XMB_DISPATCH_ALONE &&
			   !xmb_prog_is_final(err)) {
			xmb_dispatch_tell(
				opts, mode, err, said,
				"; trying generic XDP, which is slower");
			mode = XMB_PROG_GENERIC;
			may_fall = false;
		} else {
			return xmb_dispatch_tell(opts, mode, err, said, NULL);
		}
		/* What was loaded for one dispatcher does not fit another. */
		xmb_prog_unload(prog);
		err = xmb_prog_open(prog, opts);
		if (err)
			return err;
	}
	return 0;
}

int xmb_dispatch_join(struct xmb_prog *prog, const struct xmb_prog_opts *opts)
{
	enum xmb_prog_mode now, there = XMB_PROG_AUTO;
	uint32_t id = id_there(prog->ifindex, &there);
	int err;

	if (id && !xmb_prog_is_dispatcher(id))
		return xmb_prog_tell_attach(opts, there, -EBUSY, XMB_LOG_ERROR,
					    "");
	if (!id)
		there = XMB_PROG_AUTO;
	if (there && opts->mode && opts->mode != there)
		return xmb_dispatch_tell_mode(opts, there);
	prog->dispatch = calloc(1, sizeof(*prog->dispatch));
	if (!prog->dispatch)
		return -ENOMEM;
	if (there && is_full(prog->ifindex, id)) {
		if (!make_room(prog, there))
			return xmb_dispatch_tell_full(opts, PROG_MAX);
		id = id_there(prog->ifindex, &now);
	}
	err = join(prog, opts, there, id);
	if (err)
		return err;
	err = xmb_prog_fill(prog);
	if (err)
		return xmb_prog_tell_load(opts, err);
	look_around(prog, there);
	return 0;
}

/* Is ours pinned as one of those that dispatcher id calls? */
static int is_called_by(const struct xmb_prog *prog, uint32_t id)
{
	char path[PIN_MAX];

	for (int i = 0; i < PROG_MAX; i++) {
		struct bpf_prog_info info = { 0 };
		uint32_t len = sizeof(info);
		int fd, err;

		find_pin(prog->ifindex, id, i, path);
		fd = bpf_obj_get(path);
		if (fd == -ENOENT)
			return 0;
		err = fd < 0 ? fd : bpf_obj_get_info_by_fd(fd, &info, &len);
		if (fd >= 0)
			close(fd);
		if (err)
			return err;
		if ((int)info.id == prog->id)
			return 1;
	}
	return 0;
}

bool xmb_dispatch_has(const struct xmb_prog *prog)
{
	atomic_uint *seen = &prog->dispatch->seen_id;
	enum xmb_prog_mode mode;
	uint32_t last = 0;

	/* Who joins or leaves puts a new one there, then removes the old. */
	for (int i = 0; i < LOOK_MAX; i++) {
		uint32_t id;
		int is_in, err = look_there(prog->ifindex, &mode, &id);

		if (err)
			return err != -ENODEV;
		if (!id || id == last)
			return false;
		if (id == atomic_load_explicit(seen, memory_order_relaxed))
			return true;
		is_in = is_called_by(prog, id);
		if (is_in > 0)
			atomic_store_explicit(seen, id, memory_order_relaxed);
		/* What cannot be told now is asked again the next time. */
		if (is_in)
			return true;
		last = id;
	}
	return true;
}

/*
 * libxdp answers ENOENT to every look that fails, also when somebody joins or
 * leaves at this moment.
 */
static int get_out(const struct xmb_prog *prog)
{
	struct xmb_dispatch *dispatch = prog->dispatch;
	int err = 0;

	said[0] = '\0';
	atomic_store_explicit(&dispatch->seen_id, 0, memory_order_relaxed);
	for (int i = 0; i < LOOK_MAX; i++) {
		err = xdp_program__detach(dispatch->program, prog->ifindex,
					  how(prog->mode), 0);
		if (err != -ENOENT || !xmb_dispatch_has(prog))
			break;
		usleep(LOOK_STEP_US << i);
	}
	return err;
}

void xmb_dispatch_leave(struct xmb_prog *prog)
{
	struct xdp_program *program = prog->dispatch->program;
	char name[IF_NAMESIZE];
	int err = program ? get_out(prog) : 0;

	if (err && (err != -ENOENT || xmb_dispatch_has(prog)))
		xmb_log(XMB_LOG_WARN,
			"%s: program %d stays in libxdp's dispatcher (%s; %s): "
			"`xdp-loader unload %s --id %d`",
			prog->dev, prog->id, strerror(-err), said, prog->dev,
			prog->id);
	/* Somebody took it out, or its device is gone. */
	else if (err && !if_indextoname((unsigned)prog->ifindex, name))
		xmb_log(XMB_LOG_INFO,
			"%s: the device is gone: what libxdp has pinned for it "
			"goes by `xdp-loader clean`",
			prog->dev);
	xdp_program__close(program);
	free(prog->dispatch);
	prog->dispatch = NULL;
}
