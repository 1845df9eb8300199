/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * lib/umem/ledger: counts and frame words are compared, so that a lost frame
 * and a wrong count are both noticed and named.
 */
#include "umem_lab.h"

#include "buf/handover.h"
#include "buf/multibuf.h"

enum { FRAME_CNT = 600, WHO = 5 };

static struct xmb_umem *umem;
static struct xmb_cache cache;

static void setup(void)
{
	listen_to_errors();
	umem = make_umem(2048, FRAME_CNT);
	xmb_cache_init(&cache, &umem->pool, 9);
}

static void teardown(void)
{
	xmb_cache_fini(&cache);
	xmb_umem_destroy(umem);
}

TestSuite(ledger, .init = setup, .fini = teardown, .timeout = 300);

static struct xmb_ledger ledger_of_cache(void)
{
	struct xmb_ledger ledger;

	xmb_ledger_init(&ledger, umem);
	xmb_ledger_add_cache(&ledger, &cache);
	return ledger;
}

static bool is_whole(void)
{
	struct xmb_ledger ledger = ledger_of_cache();

	said[0] = '\0';
	return xmb_ledger_check(&ledger, umem);
}

static struct xmb_chunk take(void)
{
	struct xmb_chunk chunk = { 0 };

	cr_assert(eq(int, xmb_chunk_alloc(&cache, &chunk), 0));
	return chunk;
}

Test(ledger, a_new_umem_has_all_frames_free)
{
	struct xmb_ledger ledger = ledger_of_cache();

	cr_expect(eq(u32, ledger.frames, FRAME_CNT));
	cr_expect(eq(i64, ledger.free, FRAME_CNT));
	cr_expect(eq(i64, xmb_ledger_sum(&ledger), 0));
	cr_expect(xmb_ledger_check(&ledger, umem));
	cr_expect(eq(str, said, ""));
}

Test(ledger, sum_says_what_is_missing)
{
	struct xmb_ledger ledger = { .frames = 100,
				     .free = 1,
				     .fill = 2,
				     .rx = 4,
				     .app = 8,
				     .chan = 16,
				     .tx = 32,
				     .held = 37,
				     .tx_slots = 1000 };

	cr_expect(eq(i64, xmb_ledger_sum(&ledger), 0));
	cr_expect(eq(i64, ledger.missing, 0));
	ledger.fill--;
	cr_expect(eq(i64, xmb_ledger_sum(&ledger), 1));
	cr_expect(eq(i64, ledger.missing, 1));
	ledger.held += 4;
	cr_expect(eq(i64, xmb_ledger_sum(&ledger), -3));
}

Test(ledger, parts_add_up_field_by_field_but_frames_and_missing_stay)
{
	struct xmb_ledger sum = { .frames = 7, .missing = 3 };
	struct xmb_ledger part = { 1000, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11 };

	xmb_ledger_add(&sum, &part);
	xmb_ledger_add(&sum, &part);
	cr_expect(eq(u32, sum.frames, 7));
	cr_expect(eq(i64, sum.missing, 3));
	cr_expect(eq(i64, sum.free, 2));
	cr_expect(eq(i64, sum.fill, 4));
	cr_expect(eq(i64, sum.rx, 6));
	cr_expect(eq(i64, sum.app, 8));
	cr_expect(eq(i64, sum.chan, 10));
	cr_expect(eq(i64, sum.tx, 12));
	cr_expect(eq(i64, sum.held, 14));
	cr_expect(eq(i64, sum.tx_slots, 16));
	cr_expect(eq(u64, sum.copies, 18));
	cr_expect(eq(u64, sum.copied_bytes, 20));
}

Test(ledger, a_cache_reports_free_frames_application_frames_and_copies)
{
	struct xmb_chunk one = take(), two = take();
	struct xmb_ledger ledger;

	xmb_counter_add(&cache.copies, 3);
	xmb_counter_add(&cache.copied_bytes, 300);
	ledger = ledger_of_cache();
	cr_expect(eq(i64, ledger.app, 2));
	cr_expect(eq(i64, ledger.free, FRAME_CNT - 2));
	cr_expect(eq(u64, ledger.copies, 3));
	cr_expect(eq(u64, ledger.copied_bytes, 300));
	cr_expect(xmb_ledger_check(&ledger, umem));
	xmb_chunk_release(&one, &cache);
	xmb_chunk_release(&two, &cache);
	cr_expect(is_whole());
}

Test(ledger, two_caches_make_one_sum_wherever_a_frame_is_freed)
{
	struct xmb_cache other;
	struct xmb_ledger ledger;
	struct xmb_chunk chunk = take();

	xmb_cache_init(&other, &umem->pool, 2);
	xmb_chunk_release(&chunk, &other);
	ledger = ledger_of_cache();
	xmb_ledger_add_cache(&ledger, &other);
	cr_expect(eq(i64, ledger.app, 0));
	cr_expect(xmb_ledger_check(&ledger, umem));
	xmb_cache_fini(&other);
}

Test(ledger, a_frame_freed_through_another_umems_cache_is_not_missed)
{
	struct xmb_umem *other = make_umem(2048, 16);
	struct xmb_chunk chunk = take();
	struct xmb_cache theirs;
	struct xmb_ledger ledger;

	xmb_cache_init(&theirs, &other->pool, 2);
	xmb_chunk_release(&chunk, &theirs);
	cr_expect(is_whole(), "%s", said);
	xmb_ledger_init(&ledger, other);
	xmb_ledger_add_cache(&ledger, &theirs);
	cr_expect(xmb_ledger_check(&ledger, other), "%s", said);
	xmb_cache_fini(&theirs);
	xmb_umem_destroy(other);
}

Test(ledger, a_frame_that_nobody_counts_is_missing_and_named)
{
	struct xmb_chunk chunk = take();
	struct xmb_ledger ledger = ledger_of_cache();
	char name[32];

	ledger.app--;
	cr_expect(not(xmb_ledger_check(&ledger, umem)));
	cr_expect(eq(i64, ledger.missing, 1));
	expect_said("0 app frames counted, but 1 frames say so");
	snprintf(name, sizeof(name), "frame %u is app", chunk.region);
	expect_said(name);
	xmb_chunk_release(&chunk, &cache);
}

Test(ledger, a_wrong_word_is_noticed_though_the_counts_add_up)
{
	uint32_t word = xmb_frame_load(&umem->pool.domain, 77);

	cr_expect(is_whole());
	for (uint32_t state = XMB_FRAME_FILL; state < XMB_FRAME_STATE_CNT;
	     state++) {
		struct xmb_ledger ledger = ledger_of_cache();
		char name[32];

		xmb_frame_store(&umem->pool.domain, 77,
				xmb_frame_word(state, WHO, 0));
		said[0] = '\0';
		cr_expect(not(xmb_ledger_check(&ledger, umem)), "%u", state);
		cr_expect(eq(i64, ledger.missing, 0));
		expect_said("600 free frames counted, but 599 frames say so");
		snprintf(name, sizeof(name), "frame 77 is %s of 5",
			 xmb_frame_state_name(state));
		expect_said(name);
	}
	xmb_frame_store(&umem->pool.domain, 77, 0xdead0042);
	cr_expect(not(is_whole()));
	expect_said("frame 77 has the impossible word dead0042");
	xmb_frame_store(&umem->pool.domain, 77, word);
	cr_expect(is_whole());
}

Test(ledger, every_wrong_count_is_noticed)
{
	for (int i = 0; i < 8; i++) {
		struct xmb_ledger ledger = ledger_of_cache();
		int64_t *counts[] = { &ledger.free, &ledger.fill, &ledger.rx,
				      &ledger.app,  &ledger.chan, &ledger.tx,
				      &ledger.held, &ledger.tx_slots };

		++*counts[i];
		cr_expect(not(xmb_ledger_check(&ledger, umem)), "%d", i);
		ledger = ledger_of_cache();
		--*counts[i];
		cr_expect(not(xmb_ledger_check(&ledger, umem)), "%d", i);
	}
}

static void mark_all(uint32_t word)
{
	for (uint32_t i = 0; i < FRAME_CNT; i++)
		xmb_frame_store(&umem->pool.domain, i, word);
}

Test(ledger, names_a_few_frames_and_not_thousands)
{
	static const uint32_t words[] = { XMB_FRAME_CHAN, 0x42 };

	for (int i = 0; i < 2; i++) {
		int cnt = 0;

		mark_all(words[i]);
		cr_expect(not(is_whole()));
		for (const char *at = said; (at = strchr(at, '\n')); at++)
			cnt++;
		cr_expect(lt(int, cnt, 10));
	}
	mark_all(xmb_frame_word(XMB_FRAME_FREE, 0, 0));
	cr_expect(is_whole());
}

Test(ledger, a_split_frame_counts_once_under_app_until_a_part_is_in_tx)
{
	struct xmb_chunk head = take(), tail = { 0 };
	struct xmb_ledger ledger;
	uint64_t addr_head = 0, addr_tail = 0;
	bool is_excl;

	cr_assert(eq(int, xmb_chunk_split(&head, 14, &tail), 0));
	ledger = ledger_of_cache();
	cr_expect(xmb_ledger_check(&ledger, umem));
	cr_expect(eq(i64, ledger.app, 1));
	cr_expect(eq(i64, ledger.tx, 0));

	for (int slots = 1; slots <= 2; slots++) {
		if (slots == 1)
			addr_head = xmb_handover_tx(&cache, WHO, &head,
						    &is_excl);
		else
			addr_tail = xmb_handover_tx(&cache, WHO, &tail,
						    &is_excl);
		cr_expect(not(is_excl));
		ledger = ledger_of_cache();
		ledger.tx_slots = slots;
		cr_expect(xmb_ledger_check(&ledger, umem), "%s", said);
		cr_expect(eq(i64, ledger.app, 0));
		cr_expect(eq(i64, ledger.tx, 1));
		cr_expect(eq(i64, ledger.free, FRAME_CNT - 1));
		cr_expect(eq(i64, ledger.missing, 0));
	}
	cr_expect(eq(u64, addr_tail, addr_head + 14));
	cr_expect(eq(int, xmb_handover_complete(&cache, WHO, addr_tail), 0));
	cr_expect(eq(int, xmb_handover_complete(&cache, WHO, addr_head), 0));
	cr_expect(is_whole(), "%s", said);
}

Test(ledger, fill_tx_and_held_frames_are_where_their_words_say)
{
	struct xmb_chunk chunk = take();
	struct xmb_ledger ledger;
	uint64_t addrs[10];
	bool is_excl;

	cr_assert(eq(u32, xmb_handover_fill(&cache, WHO, addrs, 10), 10));
	xmb_handover_tx(&cache, WHO, &chunk, &is_excl);
	cr_expect(is_excl);
	ledger = ledger_of_cache();
	ledger.fill = 7;
	ledger.rx = 3;
	ledger.tx = 1;
	cr_expect(xmb_ledger_check(&ledger, umem), "%s", said);
	xmb_handover_hold(&umem->pool, WHO);
	ledger = ledger_of_cache();
	ledger.held = 11;
	cr_expect(xmb_ledger_check(&ledger, umem), "%s", said);
	cr_expect(eq(u32, xmb_handover_unhold(&cache, WHO), 11));
	cr_expect(is_whole());
}
