/* SPDX-License-Identifier: BSD-2-Clause */
#include "prog/prog.h"

#include "../../bpf/shared.h"
#include "prog/prog_priv.h"

#include <bpf/bpf.h>
#include <bpf/libbpf.h>
#include <errno.h>
#include <inttypes.h>
#include <net/if.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

const struct xmb_counter_desc xmb_prog_counter_descs[XMB_PROG_COUNTER_CNT] = {
	XMB_PROG_COUNTERS(XMB_COUNTER_DESC)
};

const char *xmb_prog_mode_name(enum xmb_prog_mode mode)
{
	static const char *const names[] = {
		[XMB_PROG_AUTO] = "auto",
		[XMB_PROG_NATIVE] = "native",
		[XMB_PROG_GENERIC] = "generic",
	};

	return (unsigned)mode <= XMB_PROG_GENERIC ? names[mode] : NULL;
}

const char *xmb_prog_way_name(enum xmb_prog_way way)
{
	static const char *const names[] = {
		[XMB_PROG_BY_ANY] = "auto",
		[XMB_PROG_BY_LINK] = "link",
		[XMB_PROG_BY_DISPATCHER] = "dispatcher",
		[XMB_PROG_BY_NETLINK] = "netlink",
	};

	return (unsigned)way <= XMB_PROG_BY_NETLINK ? names[way] : NULL;
}

/* libbpf prints several lines at once; the hook gets them one by one. */
static int print_to_log(enum libbpf_print_level level, const char *fmt,
			va_list ap)
{
	char *text, *line, *rest;
	int len = vasprintf(&text, fmt, ap);

	(void)level;
	if (len < 0)
		return 0;
	for (line = strtok_r(text, "\n", &rest); line;
	     line = strtok_r(NULL, "\n", &rest))
		xmb_log(XMB_LOG_DEBUG, "%s", line);
	free(text);
	return len;
}

/* Once, so that an application can set its own afterwards. */
static void take_over_print(void)
{
	static atomic_flag is_done = ATOMIC_FLAG_INIT;

	if (atomic_flag_test_and_set(&is_done))
		return;
	libbpf_set_print(print_to_log);
	xmb_dispatch_print_to_log();
}

static bool has_map(const struct xmb_prog_opts *opts)
{
	return opts->source.xskmap || opts->source.xskmap_fd;
}

/* What is wrong with it in words; NULL: nothing. */
static const char *fault_of_source(const struct xmb_prog_opts *opts)
{
	const struct xmb_prog_source *source = &opts->source;
	int cnt = !!source->file + !!source->xskmap + !!source->xskmap_fd;

	if (cnt > 1)
		return "its source is a program and an XSKMAP, or two XSKMAPs";
	if (cnt && (opts->match.kind != XMB_MATCH_ALL || opts->match.negate))
		return "a match is for our own program, not for the user's";
	if (cnt && opts->on_exit == XMB_PROG_EXIT_DROP)
		return "what drops when its process has ended is our own "
		       "program, not the user's";
	if (has_map(opts) && opts->way != XMB_PROG_BY_ANY)
		return "with an XSKMAP of the user's nothing is attached, in "
		       "whatever way";
	return NULL;
}

static const char *fault_of_way(const struct xmb_prog_opts *opts)
{
	if (!xmb_prog_way_name(opts->way))
		return "the way is none of auto, link, dispatcher and netlink";
	if (opts->on_exit == XMB_PROG_EXIT_DROP &&
	    (opts->way == XMB_PROG_BY_DISPATCHER ||
	     opts->way == XMB_PROG_BY_NETLINK))
		return "what drops when its process has ended is held by a "
		       "pinned bpf_link, and neither in libxdp's dispatcher "
		       "nor by netlink";
	return NULL;
}

static int check(const struct xmb_prog_opts *opts)
{
	char text[XMB_MATCH_TEXT_MAX];
	const char *what = NULL;

	if (opts->ifindex <= 0)
		what = "no device index was given";
	else if (opts->queue_cnt == 0)
		what = "it has no queue to steer";
	else if (!xmb_prog_mode_name(opts->mode))
		what = "the mode is none of auto, native and generic";
	else if (xmb_match_format(&opts->match, text, sizeof(text)) < 0)
		what = "the match is none that xmb_match_parse() gives";
	else
		what = fault_of_way(opts);
	if (!what)
		what = fault_of_source(opts);
	if (!what)
		return 0;
	xmb_log(XMB_LOG_ERROR, "%s: XDP program not attached: %s", opts->dev,
		what);
	return -EINVAL;
}

static int check_cpus(const struct xmb_prog_opts *opts)
{
	int cnt = libbpf_num_possible_cpus();

	if (cnt > 0)
		return 0;
	xmb_log(XMB_LOG_ERROR,
		"%s: XDP program not attached: its counters need the "
		"number of CPUs, and /sys/devices/system/cpu/possible "
		"does not tell (%s): mount /sys if it is that",
		opts->dev, strerror(-cnt));
	return -EOPNOTSUPP;
}

static void say_attached(const struct xmb_prog *prog)
{
	static const char *const ways[] = {
		[XMB_PROG_BY_LINK] = "bpf_link",
		[XMB_PROG_BY_DISPATCHER] = "libxdp's dispatcher",
		[XMB_PROG_BY_NETLINK] = "netlink",
	};
	char text[XMB_MATCH_TEXT_MAX];

	xmb_match_format(&prog->match, text, sizeof(text));
	if (prog->owns_map_fd)
		xmb_log(XMB_LOG_INFO,
			"%s: no XDP program attached: steering by the XSKMAP "
			"of program %d in %s mode",
			prog->dev, prog->id, xmb_prog_mode_name(prog->mode));
	else if (prog->is_taking_over)
		xmb_log(XMB_LOG_INFO,
			"%s: XDP program %d, match %s, is about to take the "
			"place of the gate in %s mode, by its bpf_link",
			prog->dev, prog->id, text,
			xmb_prog_mode_name(prog->mode));
	else
		xmb_log(XMB_LOG_INFO,
			"%s: XDP program %d attached in %s mode, match %s, by "
			"%s",
			prog->dev, prog->id, xmb_prog_mode_name(prog->mode),
			prog->skel ? text : "all that it takes",
			ways[prog->way]);
	if (prog->gate.is_ours)
		xmb_log(XMB_LOG_INFO,
			"%s: what matches and has no socket is dropped from "
			"now on, also when this process has ended: `xmbuf "
			"detach %s` opens the gate (%s)",
			prog->dev, prog->dev, prog->gate.path);
}

/* The gate's link is ours until commit says otherwise. */
static int take_gate(struct xmb_prog *prog, const struct xmb_prog_opts *opts)
{
	int err = xmb_prog_mode_of(prog->ifindex, prog->gate.prog_id,
				   &prog->mode);

	if (err) {
		err = xmb_gate_tell(prog->dev, "the mode of its gate",
				    prog->gate.path, err);
		xmb_gate_close(&prog->gate);
		return err;
	}
	if (opts->way != XMB_PROG_BY_ANY && opts->way != XMB_PROG_BY_LINK) {
		xmb_log(XMB_LOG_ERROR,
			"%s: its gate, a bpf_link, has the device: open it "
			"first: `xmbuf detach %s`",
			prog->dev, prog->dev);
		xmb_gate_close(&prog->gate);
		return -EBUSY;
	}
	if (opts->mode != XMB_PROG_AUTO && opts->mode != prog->mode) {
		xmb_log(XMB_LOG_ERROR,
			"%s: %s XDP was asked for, and its gate is in %s mode: "
			"ask for that, or open the gate first: `xmbuf detach "
			"%s`",
			prog->dev, xmb_prog_mode_name(opts->mode),
			xmb_prog_mode_name(prog->mode), prog->dev);
		xmb_gate_close(&prog->gate);
		return -EBUSY;
	}
	prog->link_fd = prog->gate.link_fd;
	prog->gate.link_fd = -1;
	prog->way = XMB_PROG_BY_LINK;
	prog->is_taking_over = true;
	return 0;
}

static int make_gate(struct xmb_prog *prog)
{
	int err = xmb_gate_pin_counters(&prog->gate, prog->dev,
					prog->counters_fd, (uint32_t)prog->id);

	if (!err)
		err = xmb_gate_pin_link(&prog->gate, prog->dev, prog->link_fd);
	return err;
}

/* A dispatcher that is there is joined: no link gets past it. */
static bool is_joining(const struct xmb_prog_opts *opts)
{
	if (opts->way == XMB_PROG_BY_ANY)
		return !has_map(opts) && xmb_dispatch_is_on(opts->ifindex);
	return opts->way == XMB_PROG_BY_DISPATCHER;
}

static int tell_no_gate(const struct xmb_prog_opts *opts)
{
	xmb_log(XMB_LOG_ERROR,
		"%s: a gate is a bpf_link that is pinned, and libxdp's "
		"dispatcher has the device: `xdp-loader unload %s --all`, or "
		"ask for no gate and join it",
		opts->dev, opts->dev);
	return -EBUSY;
}

static int attach(struct xmb_prog *prog, const struct xmb_prog_opts *opts)
{
	bool is_gate = opts->on_exit == XMB_PROG_EXIT_DROP;
	bool joins = is_joining(opts);
	int err;

	if (joins && is_gate)
		return tell_no_gate(opts);
	err = joins ? xmb_prog_open(prog, opts) : xmb_prog_load(prog, opts);
	if (err || prog->owns_map_fd)
		return err;
	/* In a dispatcher the lock is what is wanted. */
	err = xmb_gate_open(&prog->gate, prog->dev, prog->ifindex,
			    is_gate || joins ? XMB_GATE_MAKE : XMB_GATE_LOOK);
	if (err)
		return err;
	if (prog->gate.link_fd >= 0)
		return take_gate(prog, opts);
	if (joins)
		return xmb_dispatch_join(prog, opts);
	err = xmb_prog_put_on(prog, opts);
	if (!err && is_gate)
		err = make_gate(prog);
	return err;
}

int xmb_prog_attach(struct xmb_prog **out, const struct xmb_prog_opts *opts)
{
	struct xmb_prog *prog;
	int err;

	XMB_ASSERT(opts->dev);
	take_over_print();
	err = check(opts);
	if (!err)
		err = check_cpus(opts);
	if (err)
		return err;
	prog = malloc(sizeof(*prog));
	if (!prog)
		return -ENOMEM;
	*prog = (struct xmb_prog){
		.prog_fd = -1,
		.map_fd = -1,
		.counters_fd = -1,
		.link_fd = -1,
		.gate = { .dir_fd = -1, .link_fd = -1 },
		.ifindex = opts->ifindex,
		.on_exit = opts->on_exit,
		.match = opts->match,
		.queue_cnt = opts->queue_cnt,
	};
	snprintf(prog->dev, sizeof(prog->dev), "%s", opts->dev);
	err = attach(prog, opts);
	if (err) {
		xmb_prog_destroy(prog);
		return err;
	}
	say_attached(prog);
	*out = prog;
	return 0;
}

static void say_taken_over(const struct xmb_prog *prog, uint64_t dropped)
{
	char text[32] = "an unknown number of";

	if (dropped != UINT64_MAX)
		snprintf(text, sizeof(text), "%" PRIu64, dropped);
	xmb_log(XMB_LOG_INFO,
		"%s: the gate was taken over in one step; it had dropped %s "
		"packets; %s",
		prog->dev, text,
		prog->on_exit == XMB_PROG_EXIT_DROP
			? "it stays closed when this process has ended"
			: "it is open when this process has ended");
}

/* At each step there is one link on the device, and it is pinned or ours. */
static int take_over(struct xmb_prog *prog)
{
	bool is_gate = prog->on_exit == XMB_PROG_EXIT_DROP;
	uint32_t id = (uint32_t)prog->id;
	int counters_fd, err = 0;

	if (is_gate)
		err = xmb_gate_pin_counters(&prog->gate, prog->dev,
					    prog->counters_fd, id);
	if (err)
		return err;
	err = bpf_link_update(prog->link_fd, prog->prog_fd, NULL);
	if (err) {
		xmb_gate_unpin_counters(&prog->gate, id);
		xmb_log(XMB_LOG_ERROR,
			"%s: asked to take over the gate, the kernel answered "
			"%s%s",
			prog->dev, strerror(-err),
			err == -ENOLINK ? ": somebody took it off meanwhile"
					: "");
		return err;
	}
	counters_fd = xmb_gate_counters_fd(&prog->gate, prog->gate.prog_id);
	say_taken_over(prog, xmb_gate_count(counters_fd));
	prog->is_taking_over = false;
	if (is_gate)
		xmb_gate_unpin_counters(&prog->gate, prog->gate.prog_id);
	else
		xmb_gate_clear(&prog->gate);
	return 0;
}

int xmb_prog_commit(struct xmb_prog *prog)
{
	int err = prog->is_taking_over ? xmb_prog_check(prog) : 0;

	if (!err && prog->is_taking_over)
		err = take_over(prog);
	if (err == -EACCES)
		err = -EPERM;
	prog->is_committed |= !err;
	return err;
}

/* A query that fails has seen nothing amiss: the next look asks again. */
static bool is_on(const struct xmb_prog *prog)
{
	enum xmb_prog_mode mode;
	int err;

	if (prog->dispatch)
		return xmb_dispatch_has(prog);
	if (prog->link_fd >= 0)
		return xmb_link_ifindex(prog->link_fd, NULL) != 0;
	if (!prog->is_netlink)
		return true;
	err = xmb_prog_mode_of(prog->ifindex, (uint32_t)prog->id, &mode);
	return err ? err != -ENODEV : mode == prog->mode;
}

int xmb_prog_check(const struct xmb_prog *prog)
{
	char name[IF_NAMESIZE];

	if (is_on(prog))
		return 0;
	if (!if_indextoname((unsigned)prog->ifindex, name)) {
		xmb_log(XMB_LOG_ERROR, "%s: the device is gone", prog->dev);
		return -ENODEV;
	}
	xmb_log(XMB_LOG_ERROR,
		"%s: somebody took XDP program %d off the device: no more "
		"packets come: see what did, and start again",
		prog->dev, prog->id);
	return -ENOLINK;
}

/* Empty the slots that we filled; a socket that is closed empties its own. */
static void unsteer_all(struct xmb_prog *prog)
{
	for (uint32_t queue = 0; queue < prog->queue_cnt; queue++)
		if (!prog->is_steered || prog->is_steered[queue])
			xmb_prog_unsteer(prog, queue);
}

static void take_off(struct xmb_prog *prog)
{
	if (prog->dispatch)
		xmb_dispatch_leave(prog);
	if (prog->is_netlink)
		xmb_prog_take_off(prog->ifindex, prog->mode, prog->prog_fd);
	prog->is_netlink = false;
	if (prog->link_fd < 0)
		return;
	/* A child that was forked may hold the descriptor still. */
	bpf_link_detach(prog->link_fd);
}

static void leave_closed(struct xmb_prog *prog)
{
	unsteer_all(prog);
	xmb_log(XMB_LOG_INFO,
		"%s: the gate stays closed: what matches is dropped until the "
		"next start, or `xmbuf detach %s` (%s)",
		prog->dev, prog->dev, prog->gate.path);
	xmb_gate_close(&prog->gate);
}

void xmb_prog_detach(struct xmb_prog *prog)
{
	bool stays = prog->gate.dir_fd >= 0 && prog->is_committed &&
		     !prog->dispatch &&
		     xmb_link_ifindex(prog->link_fd, NULL) != 0;

	if (prog->is_taking_over) {
		xmb_gate_close(&prog->gate);
	} else if (stays) {
		leave_closed(prog);
	} else {
		if (prog->is_steered)
			unsteer_all(prog);
		take_off(prog);
		xmb_gate_clear(&prog->gate);
	}
	if (prog->link_fd >= 0)
		close(prog->link_fd);
	prog->link_fd = -1;
	prog->is_taking_over = false;
}

void xmb_prog_destroy(struct xmb_prog *prog)
{
	if (!prog)
		return;
	xmb_prog_detach(prog);
	xmb_prog_unload(prog);
	free(prog);
}

enum xmb_prog_mode xmb_prog_mode(const struct xmb_prog *prog)
{
	return prog->mode;
}

enum xmb_prog_way xmb_prog_way(const struct xmb_prog *prog)
{
	return prog->way;
}

int xmb_prog_id(const struct xmb_prog *prog)
{
	return prog->id;
}

bool xmb_prog_has_counters(const struct xmb_prog *prog)
{
	return prog->counters_fd >= 0;
}

static int check_queue(const struct xmb_prog *prog, uint32_t queue)
{
	if (queue < prog->queue_cnt)
		return 0;
	xmb_log(XMB_LOG_ERROR,
		"%s: asked to steer queue %u, the program was attached for %u "
		"(0 to %u): attach it for more",
		prog->dev, queue, prog->queue_cnt, prog->queue_cnt - 1);
	return -ERANGE;
}

static int fill_slot(struct xmb_prog *prog, uint32_t queue, int xsk_fd)
{
	bool is_shared = prog->is_steered && !prog->is_steered[queue];
	int err;

	err = bpf_map_update_elem(prog->map_fd, &queue, &xsk_fd,
				  is_shared ? BPF_NOEXIST : BPF_ANY);
	if (err)
		xmb_log(XMB_LOG_ERROR,
			"%s: asked to steer queue %u to descriptor %d, the "
			"kernel answered %s: %s",
			prog->dev, queue, xsk_fd, strerror(-err),
			err == -EEXIST ? "another socket has its slot in the "
					 "XSKMAP: end the process that it is of"
				       : "give an AF_XDP socket");
	else if (is_shared)
		prog->is_steered[queue] = true;
	return err;
}

int xmb_prog_steer(struct xmb_prog *prog, uint32_t queue, int xsk_fd)
{
	int err = check_queue(prog, queue);

	return err ? err : fill_slot(prog, queue, xsk_fd);
}

int xmb_prog_unsteer(struct xmb_prog *prog, uint32_t queue)
{
	int err = check_queue(prog, queue);

	if (err)
		return err;
	if (prog->is_steered)
		prog->is_steered[queue] = false;
	return bpf_map_delete_elem(prog->map_fd, &queue);
}

int xmb_prog_sum(int map_fd, uint64_t v[XMB_PROG_COUNTER_CNT])
{
	int cpu_cnt = libbpf_num_possible_cpus();
	struct bpf_map_info info = { 0 };
	uint32_t key = 0, len = sizeof(info);
	struct xmb_steer_counters *cpu;
	int err = bpf_obj_get_info_by_fd(map_fd, &info, &len);

	if (!err && (cpu_cnt <= 0 || info.value_size != sizeof(*cpu) ||
		     info.type != BPF_MAP_TYPE_PERCPU_ARRAY))
		err = -EINVAL;
	if (err)
		return err;
	cpu = calloc((size_t)cpu_cnt, sizeof(*cpu));
	if (!cpu)
		return -ENOMEM;
	err = bpf_map_lookup_elem(map_fd, &key, cpu);
	if (!err) {
		memset(v, 0, XMB_PROG_COUNTER_CNT * sizeof(*v));
		for (int i = 0; i < cpu_cnt; i++)
			for (int c = 0; c < XMB_PROG_COUNTER_CNT; c++)
				v[c] += cpu[i].v[c];
	}
	free(cpu);
	return err;
}

int xmb_prog_stats(const struct xmb_prog *prog,
		   uint64_t v[XMB_PROG_COUNTER_CNT])
{
	if (prog->counters_fd >= 0)
		return xmb_prog_sum(prog->counters_fd, v);
	memset(v, 0, XMB_PROG_COUNTER_CNT * sizeof(*v));
	return 0;
}
