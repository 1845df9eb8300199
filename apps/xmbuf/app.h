/* SPDX-License-Identifier: BSD-2-Clause */
#ifndef XMBUF_APP_H
#define XMBUF_APP_H

#include "engine/engine.h"

#include <stdio.h>

/*
 * app: what the files of the xmbuf program share.
 *
 *      main.c     subcommands, the log, and output that was lost
 *      forward.c  options of `xmbuf forward`, and its run
 *      options.c  those that say which program a device gets
 *      detach.c   `xmbuf detach`
 *      handler.c  what --handler names
 *      totals.c   one report as sums and differences
 *      text.c     a report for people: live table, lines, summary
 *      json.c     a report for machines
 */

enum { EXIT_USAGE = 2 };

enum { DEV_CNT = 2, XSKMAP_MAX = 2 };

/* Write standard output out; what fails makes the exit status 1 at the end. */
void output_flush(void);

int cmd_forward(int argc, char **argv);
int cmd_detach(int argc, char **argv);

/* What the command line says of programs, until the devices are known. */
struct program_options {
	enum xmb_prog_exit on_exit;
	enum xmb_prog_way way;
	char *file, *section, *map;
	char *xskmaps[XSKMAP_MAX]; /* DEV=PATH, as given */
	int xskmap_cnt;
};

struct argp_state;

/* Take FILE.o[:SECTION]; the text is kept and cut. */
void program_set_file(struct program_options *program, char *text);

/* Take DEV=PATH or DEV=fd:N. */
void program_add_xskmap(struct program_options *program,
			struct argp_state *state, char *text);

/* Tell each of the devices its program; ends with a usage error. */
void program_settle(struct program_options *program, struct argp_state *state,
		    struct xmb_port_opts *ports);

/* A decimal number in that range, or a usage error. */
uint32_t option_number(struct argp_state *state, const char *what,
		       const char *text, uint32_t min, uint32_t max);

struct handler {
	const char *name;
	xmb_handler_fn *fn;
	bool is_split; /* wants headers and payloads in a pipeline of two */
};

/* The handler of that name, NULL if there is none. */
const struct handler *handler_find(const char *name);

/* Names of all handlers, for messages. */
extern const char handler_names[];

/* What a report says of all ports together. */
struct totals {
	uint64_t in;	  /* handed to sockets by the XDP programs; by a user's
			   * own, which does not count: received, or dropped
			   * on the way in */
	uint64_t out;	  /* sent, and not dropped by the kernel on the way */
	uint64_t dropped; /* drops by name, all of them */
	int64_t kept;	  /* taken by the handler, less what it sent itself */
	int64_t unnamed;  /* in - out - dropped - kept: must be 0 at the end */
};

void totals_make(struct totals *totals, const struct xmb_engine_report *report);

/* Packets of a port that left, less what the kernel dropped. */
uint64_t port_sent(const struct xmb_port_report *port);

/* Calls fn for each counter of a kind that is not 0, over the whole report. */
typedef void counter_fn(void *arg, const char *where, const char *name,
			uint64_t value, const char *meaning);
void each_counter(const struct xmb_engine_report *report,
		  enum xmb_counter_kind kind, counter_fn *fn, void *arg);

/* A running report: knows the one before, for rates. */
struct view {
	FILE *out;
	bool is_live; /* a terminal: redraw in place */
	bool is_json;
	unsigned int lines; /* drawn last time */
	struct xmb_engine_report last;
};

void text_interval(struct view *view, const struct xmb_engine_report *report);
void text_final(struct view *view, const struct xmb_engine_report *report);
void json_report(struct view *view, const struct xmb_engine_report *report);

/* Packets a second between the last report and this one. */
double view_rate(const struct view *view,
		 const struct xmb_engine_report *report, uint64_t now,
		 uint64_t last);

/* By what the program was attached; "none": nothing was. */
const char *way_name(const struct xmb_port_report *port);

const char *bind_name(const struct xmb_port_report *port);

/* By what its interrupts were deferred; NULL: they were not. */
const char *defer_name(const struct xmb_port_report *port);

#endif /* XMBUF_APP_H */
