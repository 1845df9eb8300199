/* SPDX-License-Identifier: BSD-2-Clause */
#include "app.h"

#include "prog/gate.h"

#include <argp.h>
#include <errno.h>
#include <inttypes.h>
#include <net/if.h>
#include <string.h>

static int detach(const char *dev)
{
	unsigned int ifindex = if_nametoindex(dev);
	struct xmb_nic_info nic;
	uint64_t dropped;
	int err;

	if (!ifindex) {
		err = -errno;
		if (err == -ENODEV)
			fprintf(stderr,
				"xmbuf detach: %s: there is no such device\n",
				dev);
		else
			fprintf(stderr,
				"xmbuf detach: %s: asked for its number, the "
				"kernel answered: %s; its gate is as it was: "
				"try again\n",
				dev, strerror(-err));
		return err;
	}
	err = xmb_gate_remove(dev, (int)ifindex, &dropped);
	/* Who left a gate by being killed left this too; who runs did not. */
	if (err != -EBUSY && xmb_nic_query(dev, &nic) == 0)
		xmb_port_tell_off(&nic);
	if (err)
		return err;
	if (dropped == UINT64_MAX)
		printf("%s: gate opened; what it dropped cannot be told\n",
		       dev);
	else
		printf("%s: gate opened; it had dropped %" PRIu64 " packet%s\n",
		       dev, dropped, dropped == 1 ? "" : "s");
	return 0;
}

static error_t parse(int key, char *arg, struct argp_state *state)
{
	int *failures = state->input;

	switch (key) {
	case ARGP_KEY_ARG:
		/* All of them, also behind one that fails. */
		*failures += detach(arg) != 0;
		return 0;
	case ARGP_KEY_NO_ARGS:
		argp_error(state, "a device is needed");
		return 0;
	default:
		return ARGP_ERR_UNKNOWN;
	}
}

static const struct argp argp = {
	NULL,
	parse,
	"DEV...",
	"Open the gates that `xmbuf forward --on-exit drop` left on devices."
	"\vExit status: 0 all opened, 1 one was not or had none, 2 usage.",
	NULL,
	NULL,
	NULL
};

int cmd_detach(int argc, char **argv)
{
	int failures = 0;

	argp_err_exit_status = EXIT_USAGE;
	argp_parse(&argp, argc, argv, 0, NULL, &failures);
	return failures ? 1 : 0;
}
