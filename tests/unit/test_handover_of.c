/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * lib/buf/handover, of a domain that is no pool's: chunks of the caller's
 * memory are sent and completed, and go home to the caller; and what tx_end()
 * tells of slots.
 */
#include "buf/extbuf.h"
#include "buf/handover.h"

#include "buf_lab.h"

#include <errno.h>

enum { FRAME_LEN = 2048, MEM_LEN = 4096, WHO = 5, OTHER = 126 };

static struct lab lab;
static struct xmb_chunk a, b;
static struct xmb_domain *domain;
static uint8_t mem[MEM_LEN];
static uint32_t freed;
static bool is_excl;

static void count_free(void *arg, void *span, size_t len)
{
	(void)arg;
	cr_expect(eq(ptr, span, mem));
	cr_expect(eq(sz, len, MEM_LEN));
	freed++;
}

/* All of the caller's memory becomes a. */
static void attach(void)
{
	struct xmb_multibuf mb = { 0 };

	freed = 0;
	cr_assert(eq(int,
		     xmb_extbuf_attach(&lab.cache, mem, MEM_LEN, count_free,
				       NULL, &mb),
		     0));
	cr_assert(eq(int, xmb_multibuf_pop_front(&mb, &a, &lab.cache), 0));
	domain = xmb_domain_table[a.dom];
}

static void setup(void)
{
	lab_open(&lab, FRAME_LEN, 4, 0);
	attach();
}

static void teardown(void)
{
	xmb_chunk_release(&a, &lab.cache);
	xmb_chunk_release(&b, &lab.cache);
	cr_expect(eq(u32, freed, 1));
	lab_close(&lab);
}

TestSuite(handover_of, .init = setup, .fini = teardown, .timeout = 300);

static int complete(uint32_t who, uint64_t addr)
{
	return xmb_handover_complete_of(&lab.cache, domain, who, addr);
}

Test(handover_of, a_whole_region_comes_home_by_its_completion_alone)
{
	uint64_t addr;

	cr_assert(eq(int, xmb_chunk_slice(&a, 100, 200), 0));
	cr_expect(eq(int, complete(WHO, 100), -EPROTO), "it is not sent");
	addr = xmb_handover_tx_of(domain, WHO, &a, &is_excl);
	cr_expect(is_excl);
	cr_expect(eq(u64, addr, 100));
	cr_expect(not(xmb_chunk_is_live(&a)));
	cr_expect(eq(int, complete(OTHER, addr), -EPROTO));
	cr_expect(zero(u32, freed));
	cr_expect(eq(int, complete(WHO, addr), 1));
	cr_expect(eq(u32, freed, 1));
}

Test(handover_of, a_part_of_a_region_leaves_the_rest_where_it_is)
{
	uint64_t addr;

	cr_assert(eq(int, xmb_chunk_split(&a, 1000, &b), 0));
	addr = xmb_handover_tx_of(domain, WHO, &b, &is_excl);
	cr_expect(not(is_excl));
	cr_expect(eq(u64, addr, 1000));
	cr_expect(eq(int, xmb_chunk_claim_suffix(&a, 1), -EBUSY));
	cr_expect(eq(int, complete(OTHER, addr), -EPROTO));
	cr_expect(eq(int, complete(WHO, addr - 1), -EPROTO));
	cr_expect(eq(int, complete(WHO, addr), 0));
	cr_expect(eq(int, xmb_chunk_claim_suffix(&a, 1), 0));
	cr_expect(zero(u32, freed));
}

Test(handover_of, the_last_part_of_a_region_is_sent_as_a_whole_one)
{
	uint64_t addr;

	cr_assert(eq(int, xmb_chunk_split(&a, 1000, &b), 0));
	xmb_chunk_release(&a, &lab.cache);
	addr = xmb_handover_tx_of(domain, WHO, &b, &is_excl);
	cr_expect(is_excl);
	cr_expect(eq(int, complete(WHO, addr), 1));
}

static void send_nothing(void)
{
	xmb_chunk_truncate(&a, 0);
	xmb_handover_tx_of(domain, WHO, &a, &is_excl);
}

static void send_foreign(void)
{
	xmb_handover_tx_of(&lab.pool.domain, WHO, &a, &is_excl);
}

static void offer_foreign(void)
{
	struct xmb_handover_desc desc;

	xmb_handover_offer(&lab.cache, &a, &desc);
}

Test(handover_of, misuse_aborts)
{
	lab_expect_death(send_nothing, "chunk->len > 0");
	lab_expect_death(send_foreign, "chunk->dom == domain->id");
	lab_expect_death(offer_foreign, "chunk->dom == domain->id");
}

/* The region behind has owners too, where that one's sixth slot would be. */
Test(handover_of, tx_end_tells_where_a_slot_ends_and_of_none_nothing)
{
	struct xmb_chunk c[4] = { 0 }, tail[2] = { 0 }, *low = &c[0];
	const struct xmb_domain *pool = &lab.pool.domain;
	uint64_t addr;

	for (int i = 0; i < 4; i++) {
		cr_assert(eq(int, xmb_chunk_alloc(&lab.cache, &c[i]), 0));
		if (c[i].region == 1)
			cr_assert(eq(int, xmb_chunk_share(&c[i], &b), 0));
		if (c[i].region == 0)
			low = &c[i];
	}
	cr_assert(eq(int, xmb_chunk_split(low, 100, &tail[0]), 0));
	cr_assert(eq(int, xmb_chunk_split(&tail[0], 50, &tail[1]), 0));
	cr_expect(zero(u32, xmb_handover_tx_end(pool, WHO, 100)));
	addr = xmb_handover_tx(&lab.cache, WHO, &tail[0], &is_excl);
	cr_expect(eq(u64, addr, 100));
	cr_expect(eq(u32, xmb_handover_tx_end(pool, WHO, addr), 150));
	cr_expect(zero(u32, xmb_handover_tx_end(pool, WHO, addr + 1)));
	cr_expect(zero(u32, xmb_handover_tx_end(pool, OTHER, addr)));
	cr_expect(eq(int, xmb_handover_complete(&lab.cache, WHO, addr), 0));
	xmb_chunk_release(&tail[1], &lab.cache);
	xmb_chunk_release_bulk(c, 4, &lab.cache);
}
