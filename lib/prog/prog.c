/* SPDX-License-Identifier: BSD-2-Clause */
#include "prog/prog.h"

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
#include <errno.h>
#include <linux/if_link.h>
#include <net/if.h>
#include <stdatomic.h>
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
		      (int)XMB_STEER_COUNTER_CNT == (int)XMB_PROG_COUNTER_CNT,
	      "the program would count under another name");

enum {
	/* A signal that keeps arriving interrupts the verifier (EAGAIN);
	 * libbpf itself tries five times at each load. */
	LOAD_TRY_MAX = 4,
};

struct xmb_prog {
	struct steer_bpf *skel;
	int link_fd;
	int id;
	int cpu_cnt; /* possible ones: each has a record of counters */
	enum xmb_prog_mode mode;
	uint32_t queue_cnt;
	char dev[32];
};

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

	if (!atomic_flag_test_and_set(&is_done))
		libbpf_set_print(print_to_log);
}

static int load_once(struct xmb_prog *prog, const struct xmb_prog_opts *opts)
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
	};
	err = bpf_map__set_max_entries(skel->maps.xskmap, opts->queue_cnt);
	if (!err)
		err = steer_bpf__load(skel);
	if (err) {
		steer_bpf__destroy(skel);
		return err;
	}
	prog->skel = skel;
	return 0;
}

static int load(struct xmb_prog *prog, const struct xmb_prog_opts *opts)
{
	struct bpf_prog_info info = { 0 };
	uint32_t len = sizeof(info);
	int err = -EAGAIN;

	for (int i = 0; i < LOAD_TRY_MAX && err == -EAGAIN; i++)
		err = load_once(prog, opts);
	if (!err)
		err = bpf_obj_get_info_by_fd(
			bpf_program__fd(prog->skel->progs.xmb_steer), &info,
			&len);
	if (err)
		return xmb_prog_tell_load(opts, err);
	prog->id = (int)info.id;
	return 0;
}

/* Say the mode out loud: with none the kernel picks one and does not tell. */
static int link_to(struct xmb_prog *prog, int ifindex, enum xmb_prog_mode mode)
{
	struct bpf_link_create_opts link = {
		.sz = sizeof(link),
		.flags = mode == XMB_PROG_NATIVE ? XDP_FLAGS_DRV_MODE
						 : XDP_FLAGS_SKB_MODE,
	};
	char name[IF_NAMESIZE];
	int fd = bpf_link_create(bpf_program__fd(prog->skel->progs.xmb_steer),
				 ifindex, BPF_XDP, &link);

	/* A link to no device is answered by EINVAL. */
	if (fd == -EINVAL && !if_indextoname((unsigned)ifindex, name))
		return -ENODEV;
	if (fd < 0)
		return fd;
	prog->link_fd = fd;
	prog->mode = mode;
	return 0;
}

/* Would generic mode get the same answer? */
static bool is_final(int err)
{
	return err == -EBUSY || err == -EEXIST || err == -EPERM ||
	       err == -EACCES || err == -ENODEV;
}

static int attach(struct xmb_prog *prog, const struct xmb_prog_opts *opts)
{
	bool is_auto = opts->mode == XMB_PROG_AUTO;
	enum xmb_prog_mode mode = is_auto ? XMB_PROG_NATIVE : opts->mode;
	int err = link_to(prog, opts->ifindex, mode);

	if (err && is_auto && !is_final(err)) {
		xmb_prog_tell_attach(opts, mode, err, XMB_LOG_WARN,
				     "; trying generic XDP, which is slower");
		mode = XMB_PROG_GENERIC;
		err = link_to(prog, opts->ifindex, mode);
	}
	if (!err)
		return 0;
	return xmb_prog_tell_attach(opts, mode, err, XMB_LOG_ERROR, "");
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
	if (!what)
		return 0;
	xmb_log(XMB_LOG_ERROR, "%s: XDP program not attached: %s", opts->dev,
		what);
	return -EINVAL;
}

static int count_cpus(struct xmb_prog *prog)
{
	int cnt = libbpf_num_possible_cpus();

	if (cnt <= 0) {
		xmb_log(XMB_LOG_ERROR,
			"%s: XDP program not attached: its counters need the "
			"number of CPUs, and /sys/devices/system/cpu/possible "
			"does not tell: mount /sys",
			prog->dev);
		return -EOPNOTSUPP;
	}
	prog->cpu_cnt = cnt;
	return 0;
}

static void say_attached(const struct xmb_prog *prog,
			 const struct xmb_match *match)
{
	char text[XMB_MATCH_TEXT_MAX];

	xmb_match_format(match, text, sizeof(text));
	xmb_log(XMB_LOG_INFO,
		"%s: XDP program %d attached in %s mode, match %s", prog->dev,
		prog->id, xmb_prog_mode_name(prog->mode), text);
}

int xmb_prog_attach(struct xmb_prog **out, const struct xmb_prog_opts *opts)
{
	struct xmb_prog *prog;
	int err;

	XMB_ASSERT(opts->dev);
	err = check(opts);
	if (err)
		return err;
	take_over_print();
	prog = calloc(1, sizeof(*prog));
	if (!prog)
		return -ENOMEM;
	prog->link_fd = -1;
	prog->queue_cnt = opts->queue_cnt;
	snprintf(prog->dev, sizeof(prog->dev), "%s", opts->dev);
	err = count_cpus(prog);
	if (!err)
		err = load(prog, opts);
	if (!err)
		err = attach(prog, opts);
	if (err) {
		xmb_prog_destroy(prog);
		return err;
	}
	say_attached(prog, &opts->match);
	*out = prog;
	return 0;
}

void xmb_prog_detach(struct xmb_prog *prog)
{
	if (prog->link_fd < 0)
		return;
	/* A child that was forked may hold the descriptor still. */
	bpf_link_detach(prog->link_fd);
	close(prog->link_fd);
	prog->link_fd = -1;
}

void xmb_prog_destroy(struct xmb_prog *prog)
{
	if (!prog)
		return;
	xmb_prog_detach(prog);
	steer_bpf__destroy(prog->skel);
	free(prog);
}

enum xmb_prog_mode xmb_prog_mode(const struct xmb_prog *prog)
{
	return prog->mode;
}

int xmb_prog_id(const struct xmb_prog *prog)
{
	return prog->id;
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

int xmb_prog_steer(struct xmb_prog *prog, uint32_t queue, int xsk_fd)
{
	int err = check_queue(prog, queue);

	if (err)
		return err;
	err = bpf_map_update_elem(bpf_map__fd(prog->skel->maps.xskmap), &queue,
				  &xsk_fd, BPF_ANY);
	if (err)
		xmb_log(XMB_LOG_ERROR,
			"%s: asked to steer queue %u to descriptor %d, the "
			"kernel answered %s: give an AF_XDP socket",
			prog->dev, queue, xsk_fd, strerror(-err));
	return err;
}

int xmb_prog_unsteer(struct xmb_prog *prog, uint32_t queue)
{
	int err = check_queue(prog, queue);

	if (err)
		return err;
	return bpf_map_delete_elem(bpf_map__fd(prog->skel->maps.xskmap),
				   &queue);
}

int xmb_prog_stats(const struct xmb_prog *prog,
		   uint64_t v[XMB_PROG_COUNTER_CNT])
{
	struct xmb_steer_counters *cpu;
	uint32_t key = 0;
	int err;

	cpu = calloc((size_t)prog->cpu_cnt, sizeof(*cpu));
	if (!cpu)
		return -ENOMEM;
	err = bpf_map_lookup_elem(bpf_map__fd(prog->skel->maps.counters), &key,
				  cpu);
	if (!err) {
		memset(v, 0, XMB_PROG_COUNTER_CNT * sizeof(*v));
		for (int i = 0; i < prog->cpu_cnt; i++)
			for (int c = 0; c < XMB_PROG_COUNTER_CNT; c++)
				v[c] += cpu[i].v[c];
	}
	free(cpu);
	return err;
}
