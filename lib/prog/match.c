/* SPDX-License-Identifier: BSD-2-Clause */
#include "prog/match.h"

#include "base/log.h"

#include <ctype.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>

static const char blanks[] = " \t";

static const struct kind {
	const char *name;
	const char *format; /* of the value; NULL: the kind has none */
	uint16_t min;
	uint16_t max;
} kinds[] = {
	[XMB_MATCH_ALL] = { "all", NULL, 0, 0 },
	[XMB_MATCH_TCP] = { "tcp", NULL, 0, 0 },
	[XMB_MATCH_UDP] = { "udp", NULL, 0, 0 },
	[XMB_MATCH_PORT] = { "port", "%u", 1, UINT16_MAX },
	[XMB_MATCH_ETHER] = { "ether", "0x%04x", 0x600, UINT16_MAX },
};

enum { KIND_CNT = sizeof(kinds) / sizeof(kinds[0]), TEXT_SHOWN = 60 };

/* Take the next word off *text if it is this one. */
static bool take_word(const char **text, const char *word)
{
	const char *start = *text + strspn(*text, blanks);
	size_t len = strcspn(start, blanks);

	if (len != strlen(word) || memcmp(start, word, len))
		return false;
	*text = start + len;
	return true;
}

/* -1: no digit of the base. */
static int digit_of(char c, unsigned base)
{
	static const char digits[] = "0123456789abcdef";
	const char *at = c ? strchr(digits, tolower((unsigned char)c)) : NULL;

	return at && at - digits < (ptrdiff_t)base ? (int)(at - digits) : -1;
}

/* Take a number off *text; 0, which no kind allows, if there is none. */
static uint16_t take_value(const char **text)
{
	const char *at = *text + strspn(*text, blanks);
	unsigned base = 10, value = 0;
	int digit;

	/* strtoul() would take a sign and set errno. */
	if (at[0] == '0' && tolower((unsigned char)at[1]) == 'x') {
		base = 16;
		at += 2;
	}
	for (; (digit = digit_of(*at, base)) >= 0; at++) {
		value = value * base + (unsigned)digit;
		if (value > UINT16_MAX)
			return 0;
	}
	*text = at;
	return (uint16_t)value;
}

static int refuse(const char *text)
{
	xmb_log(XMB_LOG_ERROR,
		"match \"%.*s\" is not understood: say all, tcp, udp, "
		"port N (1 to 65535) or ether N (0x600 to 0xffff), "
		"or one of these behind \"not \"",
		TEXT_SHOWN, text);
	return -EINVAL;
}

int xmb_match_parse(struct xmb_match *match, const char *text)
{
	const char *rest = text;
	struct xmb_match got = { .negate = take_word(&rest, "not") };
	int i = 0;

	while (i < KIND_CNT && !take_word(&rest, kinds[i].name))
		i++;
	if (i == KIND_CNT)
		return refuse(text);
	got.kind = (enum xmb_match_kind)i;
	if (kinds[i].format) {
		got.value = take_value(&rest);
		if (got.value < kinds[i].min)
			return refuse(text);
	}
	if (rest[strspn(rest, blanks)])
		return refuse(text);
	*match = got;
	return 0;
}

static bool is_valid(const struct xmb_match *match)
{
	return (unsigned)match->kind < KIND_CNT &&
	       match->value >= kinds[match->kind].min &&
	       match->value <= kinds[match->kind].max;
}

int xmb_match_format(const struct xmb_match *match, char *buf, size_t len)
{
	char text[XMB_MATCH_TEXT_MAX], value[8] = "";
	const struct kind *kind;
	int cnt;

	if (!is_valid(match))
		return -EINVAL;
	kind = &kinds[match->kind];
	if (kind->format)
		snprintf(value, sizeof(value), kind->format, match->value);
	cnt = snprintf(text, sizeof(text), "%s%s%s%s",
		       match->negate ? "not " : "", kind->name,
		       kind->format ? " " : "", value);
	if ((size_t)cnt >= len)
		return -EMSGSIZE;
	memcpy(buf, text, (size_t)cnt + 1);
	return cnt;
}
