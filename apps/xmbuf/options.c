/* SPDX-License-Identifier: BSD-2-Clause */
#include "app.h"

#include <argp.h>
#include <stdlib.h>
#include <string.h>

static const char passed[] = "fd:";

void program_set_file(struct program_options *program, char *text)
{
	/* A section has slashes and a path may have colons. */
	char *end = strstr(text, ".o:");

	program->file = text;
	program->section = NULL;
	if (!end)
		return;
	end[2] = 0;
	program->section = end + 3;
}

void program_add_xskmap(struct program_options *program,
			struct argp_state *state, char *text)
{
	if (program->xskmap_cnt == XSKMAP_MAX)
		argp_error(state, "--xskmap: more than one for each device");
	if (!strchr(text, '='))
		argp_error(state, "--xskmap: '%s' is not DEV=PATH", text);
	program->xskmaps[program->xskmap_cnt++] = text;
}

/* The device whose name ends where the text's "=" is. */
static struct xmb_port_opts *find_port(const char *text,
				       struct xmb_port_opts *ports)
{
	size_t len = strcspn(text, "=");

	for (int i = 0; i < DEV_CNT; i++)
		if (strlen(ports[i].dev) == len &&
		    !memcmp(ports[i].dev, text, len))
			return &ports[i];
	return NULL;
}

static void settle_xskmap(const char *text, struct argp_state *state,
			  struct xmb_port_opts *ports)
{
	struct xmb_port_opts *port = find_port(text, ports);
	struct xmb_prog_source *source;
	const char *path = strchr(text, '=') + 1;

	if (!port) {
		argp_error(state,
			   "--xskmap: '%s' begins with no device that "
			   "is forwarded",
			   text);
		return;
	}
	source = &port->program;
	if (source->xskmap || source->xskmap_fd)
		argp_error(state, "--xskmap: %s has two", port->dev);
	*source = (struct xmb_prog_source){ 0 };
	/* That is for the device that something is attached to. */
	port->way = XMB_PROG_BY_ANY;
	if (!strncmp(path, passed, strlen(passed)))
		source->xskmap_fd = (int)option_number(
			state, "--xskmap", path + strlen(passed), 3, 1 << 20);
	else
		source->xskmap = path;
}

void program_settle(struct program_options *program, struct argp_state *state,
		    struct xmb_port_opts *ports)
{
	if (program->map && !program->file)
		argp_error(state, "--program-map goes with --program");
	for (int i = 0; i < DEV_CNT; i++) {
		ports[i].on_exit = program->on_exit;
		ports[i].way = program->way;
		ports[i].program = (struct xmb_prog_source){
			.file = program->file,
			.section = program->section,
			.map = program->map,
		};
	}
	for (int i = 0; i < program->xskmap_cnt; i++)
		settle_xskmap(program->xskmaps[i], state, ports);
}
