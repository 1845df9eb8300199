/* SPDX-License-Identifier: BSD-2-Clause */
#include "../../bpf/shared.h"
#include "prog/prog_priv.h"

/* Generated: one string longer than ISO C promises to take, int as size_t. */
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Woverlength-strings"
#pragma GCC diagnostic ignored "-Wsign-conversion"
#include "steer.skel.h"
#pragma GCC diagnostic pop

#include <assert.h>
#include <bpf/bpf.h>
#include <bpf/libbpf.h>
#include <errno.h>
#include <fcntl.h>
#include <net/if.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static_assert((int)XMB_STEER_ALL == (int)XMB_MATCH_ALL &&
		      (int)XMB_STEER_TCP == (int)XMB_MATCH_TCP &&
		      (int)XMB_STEER_UDP == (int)XMB_MATCH_UDP &&
		      (int)XMB_STEER_PORT == (int)XMB_MATCH_PORT &&
		      (int)XMB_STEER_ETHER == (int)XMB_MATCH_ETHER,
	      "the program would read a match as another");
static_assert((int)XMB_STEER_MATCHED == (int)XMB_PROG_MATCHED &&
		      (int)XMB_STEER_PASSED == (int)XMB_PROG_PASSED &&
		      (int)XMB_STEER_NO_SOCKET == (int)XMB_PROG_NO_SOCKET &&
		      (int)XMB_STEER_MALFORMED == (int)XMB_PROG_MALFORMED &&
		      (int)XMB_STEER_GATE_DROP == (int)XMB_PROG_GATE_DROP &&
		      (int)XMB_STEER_COUNTER_CNT == (int)XMB_PROG_COUNTER_CNT,
	      "the program would count under another name");

enum {
	/* A signal that keeps arriving interrupts the verifier (EAGAIN);
	 * libbpf itself tries five times at each load. */
	LOAD_TRY_MAX = 4,
};

static const char default_map[] = "xsks";

static int open_ours(struct xmb_prog *prog, const struct xmb_prog_opts *opts)
{
	struct steer_bpf *skel;
	int err;

	errno = 0;
	skel = steer_bpf__open();
	if (!skel)
		return errno ? -errno : -ENOMEM;
	skel->rodata->settings = (struct xmb_steer_settings){
		.kind = opts->match.kind,
		.negate = opts->match.negate,
		.value = opts->match.value,
		.is_gate = opts->on_exit == XMB_PROG_EXIT_DROP,
	};
	err = bpf_map__set_max_entries(skel->maps.xskmap, opts->queue_cnt);
	if (err) {
		steer_bpf__destroy(skel);
		return err;
	}
	prog->skel = skel;
	prog->object = skel->obj;
	prog->program = skel->progs.xmb_steer;
	prog->map = skel->maps.xskmap;
	return 0;
}

/* Is it an XSKMAP with a slot for each queue? */
static int check_map(const struct xmb_prog_opts *opts, const char *name,
		     const struct bpf_map_info *info)
{
	if (info->type != BPF_MAP_TYPE_XSKMAP) {
		xmb_log(XMB_LOG_ERROR,
			"%s: %s is a BPF map of type %u (%s), and not an "
			"XSKMAP, which is %u",
			opts->dev, name, info->type, info->name,
			BPF_MAP_TYPE_XSKMAP);
		return -EINVAL;
	}
	if (info->max_entries < opts->queue_cnt) {
		xmb_log(XMB_LOG_ERROR,
			"%s: %s has %u entries, and queue %u is asked for: "
			"make it larger, or receive on fewer queues",
			opts->dev, name, info->max_entries,
			opts->queue_cnt - 1);
		return -EINVAL;
	}
	return 0;
}

static int check_map_fd(const struct xmb_prog_opts *opts, const char *name,
			int fd)
{
	struct bpf_map_info info = { 0 };
	uint32_t len = sizeof(info);
	int err = bpf_obj_get_info_by_fd(fd, &info, &len);

	if (err) {
		xmb_log(XMB_LOG_ERROR, "%s: %s is no BPF map: %s", opts->dev,
			name, strerror(-err));
		return -EBADF;
	}
	return check_map(opts, name, &info);
}

static bool is_named(const struct bpf_program *program, const char *section)
{
	if (bpf_program__type(program) != BPF_PROG_TYPE_XDP)
		return false;
	return !section ||
	       !strcmp(bpf_program__section_name(program), section) ||
	       !strcmp(bpf_program__name(program), section);
}

/* The one XDP program that is meant; the others are not even loaded. */
static struct bpf_program *choose_program(struct bpf_object *object,
					  const struct xmb_prog_opts *opts)
{
	const char *section = opts->source.section;
	struct bpf_program *program, *found = NULL;

	bpf_object__for_each_program(program, object)
	{
		bpf_program__set_autoload(program, false);
		if (!is_named(program, section))
			continue;
		if (found) {
			xmb_log(XMB_LOG_ERROR,
				"%s: %s has more than one XDP program%s%s (%s "
				"and %s): name one",
				opts->dev, opts->source.file,
				section ? " called " : "",
				section ? section : "",
				bpf_program__name(found),
				bpf_program__name(program));
			return NULL;
		}
		found = program;
	}
	if (!found)
		xmb_log(XMB_LOG_ERROR, "%s: %s has no XDP program%s%s",
			opts->dev, opts->source.file, section ? " called " : "",
			section ? section : "");
	else
		bpf_program__set_autoload(found, true);
	return found;
}

static int choose(struct xmb_prog *prog, struct bpf_object *object,
		  const struct xmb_prog_opts *opts)
{
	const char *name = opts->source.map ? opts->source.map : default_map;
	struct bpf_map_info info = { 0 };

	prog->program = choose_program(object, opts);
	if (!prog->program)
		return -EINVAL;
	prog->map = bpf_object__find_map_by_name(object, name);
	if (!prog->map) {
		xmb_log(XMB_LOG_ERROR,
			"%s: %s has no map called %s: name the XSKMAP by which "
			"it redirects",
			opts->dev, opts->source.file, name);
		return -EINVAL;
	}
	info.type = bpf_map__type(prog->map);
	info.max_entries = bpf_map__max_entries(prog->map);
	snprintf(info.name, sizeof(info.name), "%s", name);
	return check_map(opts, name, &info);
}

static int open_file(struct xmb_prog *prog, const struct xmb_prog_opts *opts)
{
	const char *file = opts->source.file;
	struct bpf_object *object;
	int err;

	/* libbpf's own answers do not tell a file from what is in it. */
	if (access(file, R_OK)) {
		err = -errno;
		xmb_log(XMB_LOG_ERROR, "%s: program %s: %s", opts->dev, file,
			strerror(-err));
		return err == -EACCES ? -EPERM : -ENOENT;
	}
	object = bpf_object__open_file(file, NULL);
	if (!object) {
		err = -errno;
		xmb_log(XMB_LOG_ERROR,
			"%s: %s is no BPF object that libbpf reads (%s): "
			"compile it by `clang -g -O2 -target bpf -c`",
			opts->dev, file, strerror(-err));
		return err == -ENOMEM ? err : -EINVAL;
	}
	err = choose(prog, object, opts);
	if (err) {
		bpf_object__close(object);
		return err;
	}
	prog->object = object;
	return 0;
}

/* What somebody else has put on the device, and will put frames in the map. */
static int look_at_program(struct xmb_prog *prog,
			   const struct xmb_prog_opts *opts)
{
	struct bpf_xdp_query_opts xdp = { .sz = sizeof(xdp) };
	char name[IF_NAMESIZE];

	/* libbpf finds no program on a device that is not there, and no error.
	 */
	if (!if_indextoname((unsigned)opts->ifindex, name) ||
	    bpf_xdp_query(opts->ifindex, 0, &xdp)) {
		xmb_log(XMB_LOG_ERROR, "%s: there is no such device",
			opts->dev);
		return -ENODEV;
	}
	prog->id = (int)(xdp.drv_prog_id ? xdp.drv_prog_id : xdp.skb_prog_id);
	prog->mode = xdp.drv_prog_id   ? XMB_PROG_NATIVE
		     : xdp.skb_prog_id ? XMB_PROG_GENERIC
				       : XMB_PROG_AUTO;
	if (prog->mode == XMB_PROG_AUTO) {
		xmb_log(XMB_LOG_WARN,
			"%s: no XDP program is attached: nothing will come "
			"until one is that redirects to this XSKMAP",
			opts->dev);
		return 0;
	}
	if (opts->mode == XMB_PROG_AUTO || opts->mode == prog->mode)
		return 0;
	xmb_log(XMB_LOG_ERROR,
		"%s: %s XDP was asked for, and program %d is attached in %s "
		"mode: attach it again, or ask for what it has",
		opts->dev, xmb_prog_mode_name(opts->mode), prog->id,
		xmb_prog_mode_name(prog->mode));
	return -EBUSY;
}

static int take_map(struct xmb_prog *prog, const struct xmb_prog_opts *opts)
{
	const char *path = opts->source.xskmap;
	int fd = path ? bpf_obj_get(path)
		      : fcntl(opts->source.xskmap_fd, F_DUPFD_CLOEXEC, 3);
	int err;

	if (fd < 0) {
		err = path ? fd : -EBADF;
		xmb_log(XMB_LOG_ERROR,
			"%s: asked for the XSKMAP %s, the kernel answered %s%s",
			opts->dev, path ? path : "that was passed",
			strerror(-err),
			path ? ": name a map that is pinned in a bpffs" : "");
		if (err == -EACCES || err == -EPERM)
			return -EPERM;
		return err == -EBADF || err == -ENOMEM ? err : -ENOENT;
	}
	prog->map_fd = fd;
	prog->owns_map_fd = true;
	err = check_map_fd(opts, path ? path : "the XSKMAP that was passed",
			   fd);
	if (!err)
		err = look_at_program(prog, opts);
	if (err)
		return err;
	prog->is_steered = calloc(opts->queue_cnt, sizeof(bool));
	return prog->is_steered ? 0 : -ENOMEM;
}

int xmb_prog_open(struct xmb_prog *prog, const struct xmb_prog_opts *opts)
{
	int err;

	if (opts->source.file)
		return open_file(prog, opts);
	err = open_ours(prog, opts);
	return err ? xmb_prog_tell_load(opts, err) : 0;
}

int xmb_prog_fill(struct xmb_prog *prog)
{
	struct bpf_prog_info info = { 0 };
	uint32_t len = sizeof(info);
	int err;

	prog->prog_fd = bpf_program__fd(prog->program);
	prog->map_fd = bpf_map__fd(prog->map);
	if (prog->skel)
		prog->counters_fd = bpf_map__fd(prog->skel->maps.counters);
	err = bpf_obj_get_info_by_fd(prog->prog_fd, &info, &len);
	prog->id = (int)info.id;
	return err;
}

int xmb_prog_load(struct xmb_prog *prog, const struct xmb_prog_opts *opts)
{
	int err = -EAGAIN;

	if (opts->source.xskmap || opts->source.xskmap_fd)
		return take_map(prog, opts);
	for (int i = 0; i < LOAD_TRY_MAX && err == -EAGAIN; i++) {
		xmb_prog_unload(prog);
		err = xmb_prog_open(prog, opts);
		if (err)
			return err;
		err = bpf_object__load(prog->object);
	}
	if (!err)
		err = xmb_prog_fill(prog);
	return err ? xmb_prog_tell_load(opts, err) : 0;
}

void xmb_prog_unload(struct xmb_prog *prog)
{
	if (prog->owns_map_fd)
		close(prog->map_fd);
	free(prog->is_steered);
	if (prog->skel)
		steer_bpf__destroy(prog->skel);
	else
		bpf_object__close(prog->object);
	prog->skel = NULL;
	prog->object = NULL;
}
