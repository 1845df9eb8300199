/* SPDX-License-Identifier: BSD-2-Clause */
#include "app.h"

#include "base/clock.h"

#include <argp.h>
#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { LIST_MAX = 64 };

enum {
	OPT_HANDLER = 256,
	OPT_MODE,
	OPT_WORKERS,
	OPT_FULL,
	OPT_SYMMETRIC,
	OPT_MATCH,
	OPT_QUEUES,
	OPT_XDP,
	OPT_ATTACH,
	OPT_BIND,
	OPT_FILL,
	OPT_BUSY_POLL,
	OPT_DEFER,
	OPT_FLUSH,
	OPT_SUSPEND,
	OPT_FRAME_SIZE,
	OPT_FRAMES,
	OPT_CPUS,
	OPT_DURATION,
	OPT_INTERVAL,
	OPT_JSON,
	OPT_NO_PROMISC,
	OPT_ON_EXIT,
	OPT_PROGRAM,
	OPT_PROGRAM_MAP,
	OPT_XSKMAP,
};

static const struct argp_option options[] = {
	{ "handler", OPT_HANDLER, "NAME", 0,
	  "What becomes of a packet: pass (out of the other device), macswap "
	  "(the same with its addresses swapped), drop, split (headers, a hop "
	  "less, and payload by two workers of a pipeline) [pass]",
	  0 },
	{ "mode", OPT_MODE, "rtc|pipeline", 0,
	  "Run to completion, or a dispatcher and workers [rtc]", 0 },
	{ "workers", OPT_WORKERS, "N", 0,
	  "Threads that run the handler in a pipeline [1; split: 2]", 0 },
	{ "full", OPT_FULL, "newest|oldest|flow", 0,
	  "What a full pipe to a worker costs: the packet, the one that waits "
	  "longest, or all of its flow until half the pipe is free [newest]",
	  0 },
	{ "symmetric", OPT_SYMMETRIC, NULL, 0,
	  "Both directions of a flow go to the same worker", 0 },
	{ "match", OPT_MATCH, "RULE", 0,
	  "Which packets to take; the kernel gets the rest: all, tcp, udp, "
	  "'port N', 'ether N', or 'not ' and one of these [all]",
	  0 },
	{ "queues", OPT_QUEUES, "auto|N|LIST", 0,
	  "Queues to receive on: all, the first N, or a list as 0,2 or 4-7 "
	  "(of one: 3-3) [auto]",
	  0 },
	{ "xdp", OPT_XDP, "native|generic|auto", 0,
	  "Where the XDP program runs [auto: native, else generic]", 0 },
	{ "attach", OPT_ATTACH, "auto|link|dispatcher|netlink", 0,
	  "By what it is on its device: a bpf_link, alone; libxdp's "
	  "dispatcher, "
	  "beside other programs; netlink [auto: the dispatcher that is there, "
	  "else a link, else netlink]",
	  0 },
	{ "bind", OPT_BIND, "zc|copy|auto", 0,
	  "How packets reach the frames [auto: zero copy, else copy]", 0 },
	{ "fill", OPT_FILL, "auto|full|N", 0,
	  "Frames that wait for packets, of each queue: as few as the traffic "
	  "needs, all that there can be, for rare long pauses of a CPU, or N "
	  "at least [auto]",
	  0 },
	{ "busy-poll", OPT_BUSY_POLL, "US[,BUDGET]", 0,
	  "Poll the devices for US microseconds a call instead of waiting for "
	  "interrupts, BUDGET packets at a time [off; 64]",
	  0 },
	{ "napi-defer-hard-irqs", OPT_DEFER, "N", 0,
	  "With --busy-poll: how many polls may find nothing before a device "
	  "interrupts again [2]",
	  0 },
	{ "gro-flush-timeout", OPT_FLUSH, "US", 0,
	  "With --busy-poll: the timer that polls instead of an interrupt "
	  "[200]",
	  0 },
	{ "irq-suspend-timeout", OPT_SUSPEND, "MS", 0,
	  "With --busy-poll: how long epoll_wait() may keep interrupts off; "
	  "forward waits by poll(), which does not [off]",
	  0 },
	{ "frame-size", OPT_FRAME_SIZE, "BYTES", 0,
	  "2048 to 4096; all but these two in unaligned mode [2048; 4096 if an "
	  "MTU is above 3000 or zero copy needs it]",
	  0 },
	{ "frames", OPT_FRAMES, "N", 0, "Frames of packet memory [16384]", 0 },
	{ "cpus", OPT_CPUS, "LIST", 0, "CPUs of the data threads, as 2,3", 0 },
	{ "duration", OPT_DURATION, "SECONDS", 0,
	  "End by itself; fractions are taken", 0 },
	{ "interval", OPT_INTERVAL, "SECONDS", 0, "Between reports [1]", 0 },
	{ "json", OPT_JSON, NULL, 0,
	  "One JSON object an interval and a last one of type final", 0 },
	{ "on-exit", OPT_ON_EXIT, "pass|drop", 0,
	  "What becomes of packets that match when this has ended, in whatever "
	  "way: the kernel gets them, or they are dropped until the next start "
	  "or `xmbuf detach` [pass]",
	  0 },
	{ "program", OPT_PROGRAM, "FILE[:SECTION]", 0,
	  "Attach an XDP program of your own (FILE.o)", 0 },
	{ "program-map", OPT_PROGRAM_MAP, "NAME", 0, "The XSKMAP in it [xsks]",
	  0 },
	{ "xskmap", OPT_XSKMAP, "DEV=PATH", 0,
	  "Attach nothing to DEV: an XDP program is there that redirects to "
	  "the XSKMAP pinned at PATH, or open as fd:N; for each device",
	  0 },
	{ "no-promisc", OPT_NO_PROMISC, NULL, 0, "Leave promiscuous mode alone",
	  0 },
	{ 0 },
};

struct config {
	struct xmb_engine_opts engine;
	struct xmb_port_opts ports[DEV_CNT];
	struct program_options program;
	uint32_t dev_cnt;
	uint32_t queues[LIST_MAX], cpu_list[LIST_MAX];
	int cpus[LIST_MAX];
	const char *pipeline_only; /* an option that was given for one */
	const char *busy_only;	   /* an option that goes with busy polling */
	bool has_mode;
	bool is_json;
};

uint32_t option_number(struct argp_state *state, const char *what,
		       const char *text, uint32_t min, uint32_t max)
{
	char *end;
	unsigned long v;

	errno = 0;
	v = strtoul(text, &end, 10);
	if (end == text || *end || errno || *text == '-' || v < min || v > max)
		argp_error(state, "%s: '%s' is not a number from %u to %u",
			   what, text, min, max);
	return (uint32_t)v;
}

static uint64_t seconds(struct argp_state *state, const char *what,
			const char *text)
{
	char *end;
	double v = strtod(text, &end);

	if (end == text || *end || !(v >= 0.01) || v > 1e6)
		argp_error(state,
			   "%s: '%s' is not a number of seconds "
			   "(0.01 to 1000000)",
			   what, text);
	return (uint64_t)(v * 1e9);
}

/* "0,2,4-7" */
static uint32_t list(struct argp_state *state, const char *what,
		     const char *text, uint32_t *out)
{
	char *copy = strdup(text), *rest = copy;
	uint32_t cnt = 0;

	for (char *part = strsep(&rest, ","); part; part = strsep(&rest, ",")) {
		char *dash = strchr(part, '-');
		uint32_t first, last;

		if (dash)
			*dash = 0;
		first = option_number(state, what, part, 0, 4095);
		last = dash ? option_number(state, what, dash + 1, first, 4095)
			    : first;
		for (uint32_t v = first; v <= last; v++) {
			if (cnt == LIST_MAX)
				argp_error(state, "%s: more than %d are named",
					   what, LIST_MAX);
			out[cnt++] = v;
		}
	}
	free(copy);
	return cnt;
}

static void set_queues(struct config *config, struct argp_state *state,
		       const char *text)
{
	const uint32_t *queues = NULL;
	uint32_t cnt = 0;

	if (strpbrk(text, ",-")) {
		cnt = list(state, "--queues", text, config->queues);
		queues = config->queues;
	} else if (strcmp(text, "auto")) {
		cnt = option_number(state, "--queues", text, 1, LIST_MAX);
	}
	for (int i = 0; i < DEV_CNT; i++) {
		config->ports[i].queues = queues;
		config->ports[i].queue_cnt = cnt;
	}
}

/* The place of text among names; an error if it is none of them. */
static int choice(struct argp_state *state, const char *what, const char *text,
		  const char *const *names, int cnt)
{
	for (int i = 0; i < cnt; i++)
		if (!strcmp(text, names[i]))
			return i;
	argp_error(state, "%s: '%s' is none of %s, %s%s%s%s%s", what, text,
		   names[0], names[1], cnt > 2 ? ", " : "",
		   cnt > 2 ? names[2] : "", cnt > 3 ? ", " : "",
		   cnt > 3 ? names[3] : "");
	return 0;
}

static void set_handler(struct config *config, struct argp_state *state,
			const char *name)
{
	const struct handler *handler = handler_find(name);

	if (!handler)
		argp_error(state, "--handler: '%s' is none of %s", name,
			   handler_names);
	config->engine.handler = handler->fn;
	config->engine.is_split = handler->is_split;
}

/* A handler that wants halves wants a pipeline of two workers. */
static void settle_mode(struct config *config, struct argp_state *state)
{
	struct xmb_engine_opts *engine = &config->engine;

	if (engine->is_split && !config->has_mode)
		engine->mode = XMB_ENGINE_PIPELINE;
	if (engine->is_split && engine->worker_cnt == 0)
		engine->worker_cnt = 2;
	if (engine->mode == XMB_ENGINE_PIPELINE)
		return;
	if (engine->is_split)
		argp_error(state, "--handler split needs --mode pipeline");
	if (config->pipeline_only)
		argp_error(state, "%s goes with --mode pipeline",
			   config->pipeline_only);
}

static void set_modes(struct config *config, struct argp_state *state, int key,
		      const char *text)
{
	static const char *const xdp[] = { "auto", "native", "generic" };
	static const char *const bind[] = { "auto", "copy", "zc" };

	for (int i = 0; i < DEV_CNT; i++) {
		struct xmb_port_opts *port = &config->ports[i];

		if (key == OPT_XDP)
			port->xdp = (enum xmb_prog_mode)choice(state, "--xdp",
							       text, xdp, 3);
		else
			port->bind = (enum xmb_xsk_bind)choice(state, "--bind",
							       text, bind, 3);
	}
}

static void set_fill(struct config *config, struct argp_state *state,
		     const char *text)
{
	uint32_t cnt = XMB_XSK_RING_CNT;

	if (!strcmp(text, "auto"))
		cnt = 0;
	else if (strcmp(text, "full") != 0)
		cnt = option_number(state, "--fill, if not auto or full", text,
				    1, XMB_XSK_RING_CNT);
	for (int i = 0; i < DEV_CNT; i++)
		config->ports[i].fill_base = cnt;
}

static void set_busy(struct config *config, struct argp_state *state,
		     char *text)
{
	char *comma = strchr(text, ',');
	uint32_t us, budget = XMB_ENGINE_BURST;

	if (comma) {
		*comma = 0;
		budget = option_number(state, "--busy-poll's budget", comma + 1,
				       1, 65535);
	}
	us = option_number(state, "--busy-poll", text, 1, 1000000);
	for (int i = 0; i < DEV_CNT; i++) {
		config->ports[i].busy_poll_us = us;
		config->ports[i].busy_poll_budget = budget;
	}
}

/* When a device interrupts although it is polled. */
static void set_defer(struct config *config, struct argp_state *state, int key,
		      const char *text)
{
	const char *what = key == OPT_DEFER   ? "--napi-defer-hard-irqs"
			   : key == OPT_FLUSH ? "--gro-flush-timeout"
					      : "--irq-suspend-timeout";
	uint32_t max = key == OPT_SUSPEND ? 10000 : 1000000;
	uint32_t value = option_number(state, what, text, 1, max);

	config->busy_only = what;
	for (int i = 0; i < DEV_CNT; i++) {
		struct xmb_port_opts *port = &config->ports[i];

		if (key == OPT_DEFER)
			port->napi_defer_hard_irqs = value;
		else if (key == OPT_FLUSH)
			port->gro_flush_timeout_us = value;
		else
			port->irq_suspend_timeout_ms = value;
	}
}

static void set_match(struct config *config, struct argp_state *state,
		      const char *text)
{
	struct xmb_match match;

	if (xmb_match_parse(&match, text))
		argp_error(state, "--match: '%s' is no rule", text);
	for (int i = 0; i < DEV_CNT; i++)
		config->ports[i].match = match;
}

static void set_cpus(struct config *config, struct argp_state *state,
		     const char *text)
{
	uint32_t cnt = list(state, "--cpus", text, config->cpu_list);

	for (uint32_t i = 0; i < cnt; i++)
		config->cpus[i] = (int)config->cpu_list[i];
	config->engine.cpus = config->cpus;
	config->engine.cpu_cnt = cnt;
}

static void add_dev(struct config *config, struct argp_state *state,
		    const char *dev)
{
	if (config->dev_cnt == DEV_CNT)
		argp_error(state, "more than two devices: '%s'", dev);
	config->ports[config->dev_cnt++].dev = dev;
}

static const char *const exits[] = { "pass", "drop" };
static const char *const ways[] = { "auto", "link", "dispatcher", "netlink" };
static const char *const modes[] = { "rtc", "pipeline" };
static const char *const fulls[] = { "newest", "oldest", "flow" };

static error_t parse_program(struct program_options *program, int key,
			     char *arg, struct argp_state *state)
{
	switch (key) {
	case OPT_ATTACH:
		program->way = (enum xmb_prog_way)choice(state, "--attach", arg,
							 ways, 4);
		return 0;
	case OPT_ON_EXIT:
		program->on_exit = (enum xmb_prog_exit)choice(
			state, "--on-exit", arg, exits, 2);
		return 0;
	case OPT_PROGRAM:
		program_set_file(program, arg);
		return 0;
	case OPT_PROGRAM_MAP:
		program->map = arg;
		return 0;
	case OPT_XSKMAP:
		program_add_xskmap(program, state, arg);
		return 0;
	default:
		return ARGP_ERR_UNKNOWN;
	}
}

/* What is done by threads, and how. */
static error_t parse_work(struct config *config, int key, char *arg,
			  struct argp_state *state)
{
	switch (key) {
	case OPT_HANDLER:
		set_handler(config, state, arg);
		return 0;
	case OPT_MODE:
		config->engine.mode = (enum xmb_engine_mode)choice(
			state, "--mode", arg, modes, 2);
		config->has_mode = true;
		return 0;
	case OPT_WORKERS:
		config->engine.worker_cnt = option_number(
			state, "--workers", arg, 1, XMB_ENGINE_WORKER_MAX);
		config->pipeline_only = "--workers";
		return 0;
	case OPT_FULL:
		config->engine.full = (enum xmb_full_policy)choice(
			state, "--full", arg, fulls, 3);
		config->pipeline_only = "--full";
		return 0;
	case OPT_SYMMETRIC:
		config->engine.is_symmetric = true;
		config->pipeline_only = "--symmetric";
		return 0;
	case OPT_CPUS:
		set_cpus(config, state, arg);
		return 0;
	case OPT_FILL:
		set_fill(config, state, arg);
		return 0;
	default:
		return parse_program(&config->program, key, arg, state);
	}
}

static error_t parse(int key, char *arg, struct argp_state *state)
{
	struct config *config = state->input;

	switch (key) {
	case OPT_MATCH:
		set_match(config, state, arg);
		return 0;
	case OPT_QUEUES:
		set_queues(config, state, arg);
		return 0;
	case OPT_XDP:
	case OPT_BIND:
		set_modes(config, state, key, arg);
		return 0;
	case OPT_BUSY_POLL:
		set_busy(config, state, arg);
		return 0;
	case OPT_DEFER:
	case OPT_FLUSH:
	case OPT_SUSPEND:
		set_defer(config, state, key, arg);
		return 0;
	case OPT_FRAME_SIZE:
		config->engine.umem.frame_len =
			option_number(state, "--frame-size", arg, 2048, 4096);
		return 0;
	case OPT_FRAMES:
		config->engine.umem.frame_cnt =
			option_number(state, "--frames", arg, 1, 1 << 24);
		return 0;
	case OPT_DURATION:
		config->engine.duration_ns = seconds(state, "--duration", arg);
		return 0;
	case OPT_INTERVAL:
		config->engine.tick_ns = seconds(state, "--interval", arg);
		return 0;
	case OPT_JSON:
		config->is_json = true;
		return 0;
	case OPT_NO_PROMISC:
		for (int i = 0; i < DEV_CNT; i++)
			config->ports[i].no_promisc = true;
		return 0;
	case ARGP_KEY_ARG:
		add_dev(config, state, arg);
		return 0;
	case ARGP_KEY_END:
		if (config->dev_cnt < DEV_CNT)
			argp_error(state, "two devices are needed");
		if (config->busy_only && !config->ports[0].busy_poll_us)
			argp_error(state, "%s goes with --busy-poll",
				   config->busy_only);
		settle_mode(config, state);
		program_settle(&config->program, state, config->ports);
		return 0;
	default:
		return parse_work(config, key, arg, state);
	}
}

static const struct argp argp = {
	options,
	parse,
	"DEV_A DEV_B",
	"Forward packets between two devices, both ways, over AF_XDP."
	"\vEnds at SIGINT or SIGTERM, after --duration, or when a device is "
	"lost; then it sends what was received, puts the devices back as they "
	"were and prints totals.  Exit status: 0 as asked, 1 failure (a lost "
	"device, a ledger that does not balance, a report that could not be "
	"written), 2 usage.",
	NULL,
	NULL,
	NULL
};

static void on_tick(void *arg, const struct xmb_engine_report *report)
{
	struct view *view = arg;

	if (view->is_json)
		json_report(view, report);
	else if (report->is_final)
		text_final(view, report);
	else
		text_interval(view, report);
	/* Nobody reads on: end as if asked to. */
	if (ferror(view->out) && !report->is_final)
		kill(getpid(), SIGTERM);
}

static int run(struct config *config)
{
	struct view *view = calloc(1, sizeof(*view));
	struct xmb_engine *engine;
	int err;

	if (!view)
		return -ENOMEM;
	view->out = stdout;
	view->is_json = config->is_json;
	view->is_live = !config->is_json && isatty(STDOUT_FILENO);
	config->engine.tick = on_tick;
	config->engine.tick_arg = view;
	err = xmb_engine_create(&engine, &config->engine);
	if (!err) {
		err = xmb_engine_run(engine);
		xmb_engine_destroy(engine);
	}
	free(view);
	return err;
}

int cmd_forward(int argc, char **argv)
{
	struct config config = {
		.engine = { .handler = handler_find("pass")->fn,
			    .port_cnt = DEV_CNT },
	};
	int err;

	argp_err_exit_status = EXIT_USAGE;
	argp_parse(&argp, argc, argv, 0, NULL, &config);
	config.engine.ports = config.ports;
	err = run(&config);
	if (err)
		fprintf(stderr, "xmbuf forward: failed: %s\n", strerror(-err));
	return err ? EXIT_FAILURE : EXIT_SUCCESS;
}
