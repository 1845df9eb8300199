/* SPDX-License-Identifier: BSD-2-Clause */
#include "base/log.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

enum { TEXT_LEN = 1024 };

static xmb_log_fn *hook;
static void *hook_arg;

void xmb_log_set(xmb_log_fn *fn, void *arg)
{
	hook = fn;
	hook_arg = arg;
}

void xmb_log(enum xmb_log_level level, const char *fmt, ...)
{
	char text[TEXT_LEN];
	va_list ap;

	if (!hook)
		return;
	va_start(ap, fmt);
	vsnprintf(text, sizeof(text), fmt, ap);
	va_end(ap);
	hook(hook_arg, level, text);
}

void xmb_panic(const char *fmt, ...)
{
	char text[TEXT_LEN];
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(text, sizeof(text), fmt, ap);
	va_end(ap);
	if (hook)
		hook(hook_arg, XMB_LOG_ERROR, text);
	else
		dprintf(STDERR_FILENO, "xmbuf: %s\n", text);
	abort();
}
