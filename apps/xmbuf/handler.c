/* SPDX-License-Identifier: BSD-2-Clause */
#include "app.h"

#include "pkt/parse.h"

#include <string.h>

/* Out of the other port of the two. */
static void handle_pass(void *arg, struct xmb_burst *burst)
{
	(void)arg;
	memset(burst->to, (int)(burst->port ^ 1), burst->cnt);
}

/* The same with source and destination address swapped; runts are dropped. */
static void handle_macswap(void *arg, struct xmb_burst *burst)
{
	(void)arg;
	for (uint32_t i = 0; i < burst->cnt; i++)
		if (xmb_ether_swap(&burst->mbs[i]) == 0)
			burst->to[i] = (uint8_t)(burst->port ^ 1);
}

static void handle_drop(void *arg, struct xmb_burst *burst)
{
	(void)arg;
	(void)burst; /* the verdict is to drop unless one says otherwise */
}

static const struct {
	const char *name;
	xmb_handler_fn *fn;
} handlers[] = {
	{ "pass", handle_pass },
	{ "macswap", handle_macswap },
	{ "drop", handle_drop },
};

const char handler_names[] = "pass, macswap, drop";

xmb_handler_fn *handler_find(const char *name)
{
	for (size_t i = 0; i < sizeof(handlers) / sizeof(*handlers); i++)
		if (!strcmp(handlers[i].name, name))
			return handlers[i].fn;
	return NULL;
}
