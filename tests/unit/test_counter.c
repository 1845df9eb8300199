/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * lib/stats/counter: one writer, many readers, and a sentence for every
 * counter that the library has.
 */
#include "engine/engine.h"
#include "prog/prog.h"
#include "stats/counter.h"
#include "xsk/xsk.h"

#include <criterion/criterion.h>
#include <criterion/new/assert.h>
#include <pthread.h>
#include <string.h>

enum { ADD_CNT = 2000000 };

#define SHOP_COUNTERS(X)                                       \
	X(SOLD, sold, TOTAL, "loaves that were sold")          \
	X(BURNT, burnt, DROP, "loaves that stayed in too long") \
	X(RANG, rang, EVENT, "times the door bell rang")       \
	X(MOULD, mould, FAULT, "the supplier's flour was bad")

#define SHOP_ENUM(up, low, kind, meaning) SHOP_##up,
enum shop_counter { SHOP_COUNTERS(SHOP_ENUM) SHOP_COUNTER_CNT };

static const struct xmb_counter_desc shop[] = {
	SHOP_COUNTERS(XMB_COUNTER_DESC)
};

TestSuite(counter, .timeout = 300);

Test(counter, table_gives_each_index_its_name_kind_and_sentence)
{
	cr_expect(eq(int, SHOP_COUNTER_CNT, 4));
	cr_expect(eq(sz, sizeof(shop) / sizeof(*shop), SHOP_COUNTER_CNT));
	cr_expect(eq(str, (char *)shop[SHOP_SOLD].name, "sold"));
	cr_expect(eq(str, (char *)shop[SHOP_MOULD].name, "mould"));
	cr_expect(eq(int, shop[SHOP_SOLD].kind, XMB_COUNTER_TOTAL));
	cr_expect(eq(int, shop[SHOP_BURNT].kind, XMB_COUNTER_DROP));
	cr_expect(eq(int, shop[SHOP_RANG].kind, XMB_COUNTER_EVENT));
	cr_expect(eq(int, shop[SHOP_MOULD].kind, XMB_COUNTER_FAULT));
	cr_expect(eq(str, (char *)shop[SHOP_BURNT].meaning,
		     "loaves that stayed in too long"));
}

Test(counter, adds_beyond_32_bits_and_nothing_to_its_neighbours)
{
	xmb_counter counters[3] = { 0 };

	xmb_counter_add(&counters[1], UINT32_MAX);
	xmb_counter_add(&counters[1], 2);
	xmb_counter_add(&counters[1], 0);
	cr_expect(eq(u64, xmb_counter_read(&counters[1]),
		     UINT64_C(0x100000001)));
	cr_expect(eq(u64, xmb_counter_read(&counters[0]), 0));
	cr_expect(eq(u64, xmb_counter_read(&counters[2]), 0));
}

static void *add_many(void *arg)
{
	/* Both halves change at each step: a torn read would show. */
	for (int i = 0; i < ADD_CNT; i++)
		xmb_counter_add(arg, UINT64_C(0x100000001));
	return NULL;
}

Test(counter, reader_sees_whole_values_that_only_grow)
{
	const uint64_t end = ADD_CNT * UINT64_C(0x100000001);
	xmb_counter counter = 0;
	uint64_t before = 0, now = 0;
	pthread_t writer;

	cr_assert(eq(int, pthread_create(&writer, NULL, add_many, &counter),
		     0));
	while (now < end) {
		now = xmb_counter_read(&counter);
		cr_assert(eq(u64, now >> 32, now & UINT32_MAX));
		cr_assert(ge(u64, now, before));
		before = now;
	}
	pthread_join(writer, NULL);
	cr_expect(eq(u64, xmb_counter_read(&counter), end));
}

static void expect_told(const char *room, const struct xmb_counter_desc *descs,
			int cnt)
{
	for (int i = 0; i < cnt; i++) {
		cr_expect(gt(sz, strlen(descs[i].name), 0), "%s %d", room, i);
		cr_expect(eq(sz, strspn(descs[i].name, "abcdefghijklmnopqrstuvw"
						       "xyz_"),
			     strlen(descs[i].name)),
			  "%s", descs[i].name);
		cr_expect(gt(sz, strlen(descs[i].meaning), 10), "%s %s", room,
			  descs[i].name);
		for (int k = 0; k < i; k++)
			cr_expect(ne(str, (char *)descs[k].name,
				     (char *)descs[i].name));
	}
}

Test(counter, every_counter_of_the_library_has_a_name_of_its_own_and_a_sentence)
{
	expect_told("xsk", xmb_xsk_counter_descs, XMB_XSK_COUNTER_CNT);
	expect_told("prog", xmb_prog_counter_descs, XMB_PROG_COUNTER_CNT);
	expect_told("worker", xmb_worker_counter_descs,
		    XMB_WORKER_COUNTER_CNT);
	cr_expect(eq(str,
		     (char *)xmb_xsk_counter_descs[XMB_XSK_COMP_UNKNOWN].name,
		     "comp_unknown"));
	cr_expect(eq(int, xmb_xsk_counter_descs[XMB_XSK_TX_FULL].kind,
		     XMB_COUNTER_DROP));
}

/* Of what went wrong a name is not enough: why, or what to do about it. */
static void expect_advice(const char *room,
			  const struct xmb_counter_desc *descs, int cnt)
{
	for (int i = 0; i < cnt; i++)
		if (descs[i].kind == XMB_COUNTER_DROP ||
		    descs[i].kind == XMB_COUNTER_FAULT)
			cr_expect(ne(ptr, strstr(descs[i].meaning, ": "), NULL),
				  "%s %s: %s", room, descs[i].name,
				  descs[i].meaning);
}

Test(counter, every_drop_and_fault_of_a_socket_says_why_or_what_to_do)
{
	expect_advice("xsk", xmb_xsk_counter_descs, XMB_XSK_COUNTER_CNT);
}
