/* SPDX-License-Identifier: BSD-2-Clause */
#include "app.h"

#include "base/log.h"

#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>

static const struct {
	const char *name, *title;
	int (*run)(int argc, char **argv);
	const char *does;
} commands[] = {
	{ "forward", "xmbuf forward", cmd_forward,
	  "pass packets between two devices" },
	{ "detach", "xmbuf detach", cmd_detach,
	  "open the gates that forward left" },
};

enum { COMMAND_CNT = sizeof(commands) / sizeof(*commands) };

static void usage(FILE *out)
{
	fprintf(out, "Usage: xmbuf COMMAND [OPTION...]\n");
	for (int i = 0; i < COMMAND_CNT; i++)
		fprintf(out, "  %-10s %s\n", commands[i].name,
			commands[i].does);
	fprintf(out, "  %-10s print the version\n", "version");
	fprintf(out, "xmbuf COMMAND --help tells the options.\n");
}

static void say(void *arg, enum xmb_log_level level, const char *text)
{
	static const char *const marks[] = { "error: ", "warning: ", "", "" };

	(void)arg;
	if (level < XMB_LOG_DEBUG || getenv("XMBUF_DEBUG"))
		fprintf(stderr, "xmbuf: %s%s\n", marks[level], text);
}

/* Why the first of the output that was lost was not written; 0: none was. */
static int output_err;

void output_flush(void)
{
	int err = fflush(stdout) ? errno : ferror(stdout) ? EIO : 0;

	if (!output_err)
		output_err = err;
}

/* Output that was lost is a failure, whatever else went well. */
static int end(const char *title, int status)
{
	output_flush();
	if (!output_err)
		return status;
	fprintf(stderr,
		"%s: asked to write to standard output, the kernel answered: "
		"%s; some of the output is lost: has it a reader, and room?\n",
		title, strerror(output_err));
	return EXIT_FAILURE;
}

int main(int argc, char **argv)
{
	xmb_log_set(say, NULL);
	/* A reader that left must not keep devices from being put back. */
	signal(SIGPIPE, SIG_IGN);
	if (argc < 2) {
		usage(stderr);
		return EXIT_USAGE;
	}
	if (!strcmp(argv[1], "--help") || !strcmp(argv[1], "help")) {
		usage(stdout);
		return end("xmbuf", EXIT_SUCCESS);
	}
	if (!strcmp(argv[1], "--version") || !strcmp(argv[1], "version")) {
		printf("xmbuf %s\n", XMBUF_VERSION);
		return end("xmbuf", EXIT_SUCCESS);
	}
	for (int i = 0; i < COMMAND_CNT; i++) {
		if (strcmp(argv[1], commands[i].name))
			continue;
		/* What its messages begin with. */
		argv[1] = (char *)commands[i].title;
		return end(commands[i].title,
			   commands[i].run(argc - 1, argv + 1));
	}
	fprintf(stderr, "xmbuf: '%s' is no command\n", argv[1]);
	usage(stderr);
	return EXIT_USAGE;
}
