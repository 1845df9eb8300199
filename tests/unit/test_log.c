/* SPDX-License-Identifier: BSD-2-Clause */
/* lib/base/log: the one voice of the library, and its last words. */
#include "base/log.h"

#include "buf_lab.h"

#include <stdio.h>

static struct {
	int cnt;
	enum xmb_log_level level;
	void *arg;
	char text[4096];
} heard;

static void hear(void *arg, enum xmb_log_level level, const char *text)
{
	heard.cnt++;
	heard.level = level;
	heard.arg = arg;
	strncpy(heard.text, text, sizeof(heard.text) - 1);
}

static void say_aloud(void *arg, enum xmb_log_level level, const char *text)
{
	dprintf(STDERR_FILENO, "%s%d %s", (const char *)arg, (int)level, text);
}

Test(log, hook_gets_level_text_and_its_own_argument)
{
	xmb_log_set(hear, &heard);
	xmb_log(XMB_LOG_WARN, "queue %d of %s", 3, "veth0");
	cr_expect(eq(int, heard.cnt, 1));
	cr_expect(eq(int, (int)heard.level, XMB_LOG_WARN));
	cr_expect(eq(ptr, heard.arg, &heard));
	cr_expect(eq(str, heard.text, "queue 3 of veth0"));
}

Test(log, without_a_hook_nothing_is_said)
{
	xmb_log(XMB_LOG_ERROR, "to nobody");
	xmb_log_set(hear, NULL);
	xmb_log_set(NULL, NULL);
	xmb_log(XMB_LOG_ERROR, "to nobody again");
	cr_expect(eq(int, heard.cnt, 0));
}

Test(log, long_lines_are_cut_at_1023_bytes)
{
	char line[3000];

	memset(line, 'x', sizeof(line) - 1);
	line[sizeof(line) - 1] = '\0';
	xmb_log_set(hear, NULL);
	xmb_log(XMB_LOG_INFO, "%s", line);
	cr_expect(eq(sz, strlen(heard.text), 1023));
	line[1023] = '\0';
	cr_expect(eq(str, heard.text, line));
	xmb_log(XMB_LOG_INFO, "%s", line);
	cr_expect(eq(sz, strlen(heard.text), 1023));
}

static void panic(void)
{
	xmb_panic("frame %d is gone", 17);
}

static void panic_with_hook(void)
{
	xmb_log_set(say_aloud, "hooked ");
	panic();
}

static void break_an_assertion(void)
{
	int two = 2;

	XMB_ASSERT(two == 2);
	XMB_ASSERT(two + two == 5);
}

Test(log, panic_says_why_on_stderr_and_aborts)
{
	lab_expect_death(panic, "xmbuf: frame 17 is gone\n");
}

Test(log, panic_prefers_the_hook)
{
	lab_expect_death(panic_with_hook, "hooked 0 frame 17 is gone");
}

Test(log, assertion_names_place_and_condition)
{
	lab_expect_death(break_an_assertion,
			 "break_an_assertion: must hold: two + two == 5");
}

Test(log, panic_ends_the_process, .signal = SIGABRT)
{
	panic();
}
