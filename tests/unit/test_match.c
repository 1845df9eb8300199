/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * lib/prog/match: every text that is promised is read, every other is refused
 * with a sentence, and what is written is read back as the same match.
 */
#include "base/log.h"
#include "prog/match.h"

#include <criterion/criterion.h>
#include <criterion/new/assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

static char said[1024];
static int said_cnt;

static void listen_to(void *arg, enum xmb_log_level level, const char *text)
{
	(void)arg;
	cr_expect(eq(int, level, XMB_LOG_ERROR));
	strncpy(said, text, sizeof(said) - 1);
	said_cnt++;
}

static void setup(void)
{
	xmb_log_set(listen_to, NULL);
}

TestSuite(match, .init = setup, .timeout = 300);

static bool is_same(struct xmb_match a, struct xmb_match b)
{
	return a.kind == b.kind && a.negate == b.negate && a.value == b.value;
}

Test(match, zero_is_all)
{
	struct xmb_match m = { XMB_MATCH_TCP, true, 9 };

	cr_assert(eq(int, xmb_match_parse(&m, "all"), 0));
	cr_expect(is_same(m, (struct xmb_match){ 0 }));
}

Test(match, every_promised_text_is_read)
{
	static const struct {
		const char *text;
		struct xmb_match want;
	} rows[] = {
		{ "all", { XMB_MATCH_ALL, false, 0 } },
		{ "tcp", { XMB_MATCH_TCP, false, 0 } },
		{ "udp", { XMB_MATCH_UDP, false, 0 } },
		{ "port 53", { XMB_MATCH_PORT, false, 53 } },
		{ "port 1", { XMB_MATCH_PORT, false, 1 } },
		{ "port 65535", { XMB_MATCH_PORT, false, 65535 } },
		{ "port 0x35", { XMB_MATCH_PORT, false, 53 } },
		{ "port 010", { XMB_MATCH_PORT, false, 10 } },
		{ "ether 0x0806", { XMB_MATCH_ETHER, false, 0x0806 } },
		{ "ether 0X88A8", { XMB_MATCH_ETHER, false, 0x88a8 } },
		{ "ether 2054", { XMB_MATCH_ETHER, false, 0x0806 } },
		{ "ether 0x600", { XMB_MATCH_ETHER, false, 0x600 } },
		{ "ether 0xffff", { XMB_MATCH_ETHER, false, 0xffff } },
		{ "not all", { XMB_MATCH_ALL, true, 0 } },
		{ "not tcp", { XMB_MATCH_TCP, true, 0 } },
		{ "not port 22", { XMB_MATCH_PORT, true, 22 } },
		{ " \tnot  ether\t 2048 ", { XMB_MATCH_ETHER, true, 2048 } },
	};

	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		struct xmb_match m = { XMB_MATCH_TCP, true, 9 };

		cr_expect(eq(int, xmb_match_parse(&m, rows[i].text), 0), "%s",
			  rows[i].text);
		cr_expect(is_same(m, rows[i].want), "%s", rows[i].text);
	}
	cr_expect(eq(int, said_cnt, 0));
}

Test(match, anything_else_is_refused_with_a_sentence_and_changes_nothing)
{
	static const char *const texts[] = {
		"",	      " ",
		"not",	      "not not tcp",
		"al",	      "alll",
		"ALL",	      "all tcp",
		"tcp udp",    "tcp 53",
		"nottcp",     "tcp not",
		"tcp,udp",    "icmp",
		"port",	      "port ",
		"port x",     "port 0",
		"port 0x0",   "port 0x",
		"port -1",    "port +1",
		"port 65536", "port 18446744073709551669",
		"port 53x",   "port 53 54",
		"port53",     "port 5 3",
		"port\n53",   "ether",
		"ether arp",  "ether 0x5ff",
		"ether 1535", "ether 0x10000",
		"ether 0xg",
	};
	const struct xmb_match before = { XMB_MATCH_PORT, true, 9 };

	for (size_t i = 0; i < sizeof(texts) / sizeof(texts[0]); i++) {
		struct xmb_match m = before;

		said_cnt = 0;
		cr_expect(eq(int, xmb_match_parse(&m, texts[i]), -EINVAL),
			  "'%s'", texts[i]);
		cr_expect(is_same(m, before), "'%s'", texts[i]);
		cr_expect(eq(int, said_cnt, 1), "'%s'", texts[i]);
		cr_expect(ne(ptr, strstr(said, "port N"), NULL));
		cr_expect(ne(ptr, strstr(said, texts[i]), NULL));
	}
}

Test(match, what_is_written_is_read_back)
{
	static const struct {
		struct xmb_match match;
		const char *text;
	} rows[] = {
		{ { XMB_MATCH_ALL, false, 0 }, "all" },
		{ { XMB_MATCH_TCP, true, 0 }, "not tcp" },
		{ { XMB_MATCH_UDP, false, 0 }, "udp" },
		{ { XMB_MATCH_PORT, false, 53 }, "port 53" },
		{ { XMB_MATCH_PORT, true, 65535 }, "not port 65535" },
		{ { XMB_MATCH_ETHER, false, 0x806 }, "ether 0x0806" },
		{ { XMB_MATCH_ETHER, true, 0xffff }, "not ether 0xffff" },
	};

	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		char buf[XMB_MATCH_TEXT_MAX];
		struct xmb_match m = { 0 };

		cr_expect(eq(int,
			     xmb_match_format(&rows[i].match, buf, sizeof(buf)),
			     (int)strlen(rows[i].text)));
		cr_expect(eq(str, buf, (char *)rows[i].text));
		cr_assert(eq(int, xmb_match_parse(&m, buf), 0));
		cr_expect(is_same(m, rows[i].match), "%s", buf);
	}
}

Test(match, format_refuses_a_short_buffer_and_a_wrong_match)
{
	const struct xmb_match port = { XMB_MATCH_PORT, false, 53 };
	const struct xmb_match wrong[] = {
		{ (enum xmb_match_kind)5, false, 0 },
		{ (enum xmb_match_kind) - 1, false, 0 },
		{ XMB_MATCH_ALL, false, 1 },
		{ XMB_MATCH_PORT, false, 0 },
		{ XMB_MATCH_ETHER, false, 0x5ff },
	};
	char buf[XMB_MATCH_TEXT_MAX] = "before";

	cr_expect(eq(int, xmb_match_format(&port, buf, 7), -EMSGSIZE));
	cr_expect(eq(int, xmb_match_format(&port, NULL, 0), -EMSGSIZE));
	for (size_t i = 0; i < sizeof(wrong) / sizeof(wrong[0]); i++)
		cr_expect(eq(int, xmb_match_format(&wrong[i], buf, sizeof(buf)),
			     -EINVAL));
	cr_expect(eq(str, buf, "before"));
	cr_expect(eq(int, xmb_match_format(&port, buf, 8), 7));
}
