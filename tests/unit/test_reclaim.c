/* SPDX-License-Identifier: BSD-2-Clause */
/* lib/buf/reclaim: what a dead process had comes home, and nothing else. */
#include "buf/cookie.h"
#include "buf/pool_priv.h"
#include "process_lab.h"

#include <errno.h>
#include <sys/resource.h>

static const uint8_t whos[] = { DEAD_WHO, DEAD_WHO_2 };
static const struct xmb_reclaim_dead dead = { DEAD, whos, 2 };

static struct xmb_reclaim_cnt reclaim(void)
{
	struct xmb_reclaim_cnt cnt = { 0 };

	be(WE);
	cr_assert(eq(int, xmb_reclaim(&lab.cache, &dead, &cnt), 0));
	return cnt;
}

static void expect_cnt(struct xmb_reclaim_cnt cnt, uint32_t slots,
		       uint32_t frames, uint32_t cached, uint32_t spills)
{
	cr_expect(eq(u32, cnt.slot_cnt, slots));
	cr_expect(eq(u32, cnt.frame_cnt, frames));
	cr_expect(eq(u32, cnt.cached_cnt, cached));
	cr_expect(eq(u32, cnt.spill_cnt, spills));
}

static void die_alloc(struct xmb_chunk *chunk)
{
	be(DEAD);
	cr_assert(eq(int, xmb_chunk_alloc(&theirs, chunk), 0));
}

/* A frame that we and they have a half of each. */
static void share_frame(struct xmb_chunk *ours, struct xmb_chunk *their)
{
	struct xmb_handover_desc desc;

	be(WE);
	cr_assert(eq(int, xmb_chunk_alloc(&lab.cache, ours), 0));
	cr_assert(eq(int, xmb_chunk_split(ours, FRAME_LEN / 2, their), 0));
	cr_assert(eq(int, xmb_handover_offer(&lab.cache, their, &desc), 0));
	be(DEAD);
	cr_assert(eq(int, xmb_handover_adopt(&theirs, &desc, their), 0));
}

Test(reclaim, of_a_process_that_had_nothing_is_nothing)
{
	open_two();
	lab_snap(&lab);
	expect_cnt(reclaim(), 0, 0, 0, 0);
	cr_expect(lab_is_unchanged(&lab));
	close_two();
}

Test(reclaim, takes_whole_frames_and_cached_ones)
{
	static struct xmb_cache second;
	struct xmb_chunk a = { 0 }, b = { 0 }, mine = { 0 };

	open_two();
	cr_assert(eq(int, xmb_chunk_alloc(&lab.cache, &mine), 0));
	xmb_cache_init(&second, &lab.pool, DEAD_WHO_2);
	cr_assert(eq(u32, xmb_cache_fetch(&second, 3, false), 3));
	cr_assert(eq(u32, xmb_cache_fetch(&theirs, 4, false), 4));
	die_alloc(&a);
	cr_assert(eq(int, xmb_chunk_alloc(&second, &b), 0));
	expect_cnt(reclaim(), 0, 2, 5, 0);
	cr_expect(xmb_chunk_check(&mine));
	cr_expect(eq(i64, lab.cache.app_cnt, 1));
	expect_cnt(reclaim(), 0, 0, 0, 0);
	xmb_chunk_release(&mine, &lab.cache);
	close_two();
}

Test(reclaim, leaves_a_cache_full_of_frames_and_the_rest_to_the_stack)
{
	be(WE);
	lab_open(&lab, FRAME_LEN, 3 * XMB_CACHE_MAX, SPILL_CNT);
	lab.cache.who = WE_WHO;
	xmb_cache_init(&theirs, &lab.pool, DEAD_WHO);
	for (int i = 0; i < 3; i++) {
		xmb_cache_fetch(&theirs, XMB_CACHE_MAX, false);
		theirs.cnt = 0;
	}
	expect_cnt(reclaim(), 0, 0, 3 * XMB_CACHE_MAX, 0);
	close_two();
}

Test(reclaim, takes_chunks_beside_ours_and_we_may_claim_their_bytes)
{
	struct xmb_chunk ours = { 0 }, their = { 0 };

	open_two();
	share_frame(&ours, &their);
	memset(xmb_chunk_data(&ours), 0x11, ours.len);
	be(WE);
	cr_expect(eq(int, xmb_chunk_claim_suffix(&ours, 1), -EBUSY));
	expect_cnt(reclaim(), 1, 0, theirs.cnt, 0);
	cr_expect(xmb_chunk_check(&ours));
	cr_expect(eq(u32, ours.len, FRAME_LEN / 2));
	cr_expect(eq(int, xmb_chunk_data(&ours)[ours.len - 1], 0x11));
	cr_expect(eq(int, xmb_chunk_claim_suffix(&ours, FRAME_LEN / 2), 0));
	cr_expect(xmb_chunk_is_excl(&ours));
	cr_expect(eq(u32, who_of(ours.region), WE));
	expect_cnt(reclaim(), 0, 0, 0, 0);
	xmb_chunk_release(&ours, &lab.cache);
	close_two();
}

Test(reclaim, ends_the_waiting_of_the_dead_and_no_other)
{
	open_two();
	be(DEAD);
	xmb_pool_set_waiting(&lab.pool, true);
	xmb_pool_set_waiting(&lab.pool, true);
	be(WE);
	xmb_pool_set_waiting(&lab.pool, true);
	expect_cnt(reclaim(), 0, 0, 0, 0);
	xmb_cache_fetch(&lab.cache, 5, false);
	xmb_cache_yield(&lab.cache);
	cr_expect(zero(u32, lab.cache.cnt), "we wait");
	xmb_pool_set_waiting(&lab.pool, false);
	xmb_cache_fetch(&lab.cache, 5, false);
	xmb_cache_yield(&lab.cache);
	cr_expect(eq(u32, lab.cache.cnt, 5), "nobody waits");
	/* The next of that name begins at none. */
	be(DEAD);
	xmb_pool_set_waiting(&lab.pool, true);
	xmb_pool_set_waiting(&lab.pool, false);
	be(WE);
	xmb_cache_yield(&lab.cache);
	cr_expect(eq(u32, lab.cache.cnt, 5));
	close_two();
}

static struct xmb_chunk had_by_wake;

/* As a wake does that is due when frames come home. */
static void take_one(struct xmb_pool_hook *hook)
{
	(void)hook;
	if (!xmb_chunk_is_live(&had_by_wake))
		cr_assert(eq(int, xmb_chunk_alloc(&lab.cache, &had_by_wake),
			     0));
}

Test(reclaim, counts_what_a_wake_takes_meanwhile)
{
	enum { CNT = XMB_CACHE_MAX + 10 };
	struct xmb_pool_hook hook = { .fn = take_one };
	static struct xmb_chunk c[CNT][2];

	be(WE);
	lab_open(&lab, FRAME_LEN, CNT, SPILL_CNT);
	lab.cache.who = WE_WHO;
	xmb_cache_init(&theirs, &lab.pool, DEAD_WHO);
	for (int i = 0; i < CNT; i++) {
		die_alloc(&c[i][0]);
		cr_assert(eq(int, xmb_chunk_split(&c[i][0], 10, &c[i][1]), 0));
	}
	be(WE);
	cr_assert(eq(int, xmb_pool_set_hook(&lab.pool, &hook), 0));
	xmb_pool_set_waiting(&lab.pool, true);
	expect_cnt(reclaim(), 2 * CNT, 0, 0, 0);
	cr_assert(xmb_chunk_is_live(&had_by_wake));
	cr_expect(eq(i64, lab.cache.app_cnt, 1));
	xmb_pool_set_waiting(&lab.pool, false);
	xmb_pool_set_hook(&lab.pool, NULL);
	xmb_chunk_release(&had_by_wake, &lab.cache);
	close_two();
}

Test(reclaim, of_all_chunks_of_a_frame_sends_it_home_once)
{
	struct xmb_chunk c[XMB_TRACKER_SLOTS] = { 0 };

	open_two();
	die_alloc(&c[0]);
	for (uint32_t i = 1; i < XMB_TRACKER_SLOTS; i++)
		cr_assert(eq(int, xmb_chunk_split(&c[i - 1], 10, &c[i]), 0));
	expect_cnt(reclaim(), XMB_TRACKER_SLOTS, 0, theirs.cnt, 0);
	cr_expect(zero(i64, lab.cache.app_cnt));
	close_two();
}

/* The word of a split frame still says who had it whole. */
Test(reclaim, does_not_take_a_frame_by_its_stale_name)
{
	struct xmb_chunk ours = { 0 }, their = { 0 };
	struct xmb_handover_desc desc;

	open_two();
	die_alloc(&their);
	cr_assert(eq(int, xmb_chunk_split(&their, 10, &ours), 0));
	cr_assert(eq(int, xmb_handover_offer(&theirs, &ours, &desc), 0));
	be(WE);
	cr_assert(eq(int, xmb_handover_adopt(&lab.cache, &desc, &ours), 0));
	be(DEAD);
	xmb_chunk_release(&their, &theirs);
	cr_expect(eq(u32, who_of(ours.region), DEAD_WHO));
	expect_cnt(reclaim(), 0, 0, theirs.cnt, 0);
	be(WE);
	cr_expect(xmb_chunk_check(&ours));
	cr_expect(eq(int, xmb_chunk_claim_prefix(&ours, 10), 0));
	expect_cnt(reclaim(), 0, 0, 0, 0);
	cr_expect(xmb_chunk_check(&ours));
	xmb_chunk_release(&ours, &lab.cache);
	close_two();
}

Test(reclaim, takes_offers_that_nobody_adopted_and_those_are_then_gone)
{
	struct xmb_chunk a = { 0 }, b = { 0 }, c = { 0 }, mine = { 0 };
	struct xmb_handover_desc desc[2];

	open_two();
	die_alloc(&a);
	cr_assert(eq(int, xmb_handover_offer(&theirs, &a, &desc[0]), 0));
	share_frame(&mine, &b);
	cr_assert(eq(int, xmb_handover_offer(&theirs, &b, &desc[1]), 0));
	expect_cnt(reclaim(), 1, 1, theirs.cnt, 0);
	for (int i = 0; i < 2; i++)
		cr_expect(eq(int, xmb_handover_adopt(&lab.cache, &desc[i], &c),
			     -ENOENT));
	cr_expect(zero(int, c.dom));
	xmb_chunk_release(&mine, &lab.cache);
	close_two();
}

Test(reclaim, takes_spill_blocks_in_use_and_in_caches)
{
	struct xmb_multibuf mb = { 0 };

	open_two();
	be(DEAD);
	for (int i = 0; i < 10; i++) {
		struct xmb_chunk chunk = { 0 };

		cr_assert(eq(int, xmb_chunk_alloc(&theirs, &chunk), 0));
		cr_assert(eq(int, xmb_multibuf_push_back(&mb, &chunk, &theirs),
			     0));
	}
	cr_expect(ne(u32, mb.spill, XMB_SPILL_NONE));
	expect_cnt(reclaim(), 0, 10, theirs.cnt, SPILL_CNT);
	expect_cnt(reclaim(), 0, 0, 0, 0);
	close_two();
}

Test(reclaim, forgets_the_cookies_of_the_dead)
{
	static struct xmb_cookie_box box;
	struct xmb_chunk a = { 0 }, tail = { 0 };
	struct xmb_multibuf mb[2] = { 0 };

	open_two();
	cr_assert(eq(int, xmb_cookie_box_init(&box, 2), 0));
	for (int i = 0; i < 2; i++) {
		die_alloc(&a);
		cr_assert(eq(int, xmb_multibuf_push_back(&mb[i], &a, &theirs),
			     0));
		cr_assert(eq(int, xmb_cookie_attach(&box, &mb[i], 1), 0));
	}
	cr_assert(eq(int, xmb_multibuf_pop_front(&mb[0], &a, &theirs), 0));
	cr_assert(eq(int, xmb_chunk_split(&a, 10, &tail), 0));
	/* No box has the id that the frames name: whoever looks crashes. */
	box.out_cnt = 0;
	cr_assert(eq(int, xmb_cookie_box_fini(&box), 0));
	expect_cnt(reclaim(), 2, 1, theirs.cnt, 0);
	close_two();
}

/* What a death inside a call leaves, made by hand. */

Test(reclaim, finds_a_first_split_before_it_shows)
{
	struct xmb_chunk a = { 0 };
	struct xmb_tracker *t;
	uint32_t word;

	open_two();
	die_alloc(&a);
	t = xmb_chunk_tracker(&a);
	t->slot[0] = xmb_slot_word(0, 10);
	t->slot[1] = xmb_slot_word(10, FRAME_LEN);
	word = xmb_frame_load(&lab.pool.domain, a.region);
	xmb_frame_store(&lab.pool.domain, a.region, word + (1u << 16));
	expect_cnt(reclaim(), 0, 1, theirs.cnt, 0);
	close_two();
}

Test(reclaim, finds_a_last_release_between_word_and_state)
{
	struct xmb_chunk a = { 0 }, b = { 0 };
	struct xmb_tracker *t;
	uint32_t word;

	open_two();
	die_alloc(&a);
	cr_assert(eq(int, xmb_chunk_split(&a, 10, &b), 0));
	t = xmb_chunk_tracker(&a);
	xmb_chunk_release(&b, &theirs);
	t->slot[a.slot] = XMB_SLOT_EMPTY;
	word = xmb_frame_load(&lab.pool.domain, a.region);
	xmb_frame_store(&lab.pool.domain, a.region,
			xmb_frame_word(XMB_FRAME_FREE, DEAD_WHO,
				       xmb_frame_word_gen(word) + 1));
	expect_cnt(reclaim(), 1, 0, theirs.cnt, 0);
	close_two();
}

Test(reclaim, finds_a_batch_on_its_way_only_when_asked_for_the_lost)
{
	struct xmb_reclaim_cnt cnt = { 0 };

	open_two();
	/* Popped, but not yet named. */
	xmb_cache_fetch(&theirs, 7, false);
	xmb_pool_name(&lab.pool, theirs.frames, 4, 0);
	expect_cnt(reclaim(), 0, 0, 3, 0);
	cr_expect(eq(int, xmb_reclaim_lost(&lab.cache, &cnt), 0));
	expect_cnt(cnt, 0, 0, 4, 0);
	cr_expect(eq(int, xmb_reclaim_lost(&lab.cache, &cnt), 0));
	expect_cnt(cnt, 0, 0, 4, 0);
	close_two();
}

Test(reclaim, sets_tokens_right_that_were_taken_without_elements)
{
	struct xmb_reclaim_cnt cnt = { 0 };

	open_two();
	atomic_fetch_sub(&lab.pool.shared->frames.token_cnt, 9);
	atomic_fetch_sub(&lab.pool.shared->spills.token_cnt, 2);
	cr_expect(eq(u32, xmb_pool_free_cnt(&lab.pool), FRAME_CNT - 9));
	cr_expect(eq(int, xmb_reclaim_lost(&lab.cache, &cnt), 0));
	expect_cnt(cnt, 0, 0, 0, 0);
	cr_expect(eq(u32, xmb_pool_free_cnt(&lab.pool), FRAME_CNT));
	close_two();
}

Test(reclaim, finds_lost_spill_blocks_but_not_those_in_use)
{
	struct xmb_stack stack;
	struct xmb_reclaim_cnt cnt = { 0 };
	uint32_t lost, used;

	open_two();
	stack = xmb_stack_spills(&lab.pool);
	used = xmb_cache_spill_get(&lab.cache);
	lost = lab.cache.spills[--lab.cache.spill_cnt];
	atomic_store(xmb_stack_link(&stack, lost), 3);
	cr_expect(eq(int, xmb_reclaim_lost(&lab.cache, &cnt), 0));
	expect_cnt(cnt, 0, 0, 0, 1);
	/* The bottom one's link is the end, not a name. */
	lost = lab.cache.spills[--lab.cache.spill_cnt];
	atomic_store(xmb_stack_link(&stack, lost), XMB_STACK_END);
	cr_expect(eq(int, xmb_reclaim_lost(&lab.cache, &cnt), 0));
	expect_cnt(cnt, 0, 0, 0, 2);
	xmb_cache_spill_put(&lab.cache, &lab.pool.domain, used);
	close_two();
}

/* Ours go to the stack under the lost ones' weight, and are not lost. */
Test(reclaim, of_the_lost_does_not_take_what_its_own_cache_gave_back)
{
	struct xmb_stack stack;
	struct xmb_reclaim_cnt cnt = { 0 };
	static uint32_t ours[XMB_CACHE_MAX];

	lab_open(&lab, FRAME_LEN, 2 * XMB_CACHE_MAX, 3 * XMB_SPILL_CACHE_MAX);
	lab.cache.who = WE_WHO;
	xmb_cache_init(&theirs, &lab.pool, DEAD_WHO);
	xmb_cache_fetch(&theirs, 8, false);
	xmb_pool_name(&lab.pool, theirs.frames, 8, 0);
	xmb_cache_fetch(&lab.cache, XMB_CACHE_MAX, false);
	cr_assert(eq(u32, lab.cache.cnt, XMB_CACHE_MAX));
	stack = xmb_stack_spills(&lab.pool);
	be(DEAD);
	for (int i = 0; i < 8; i++)
		atomic_store(
			xmb_stack_link(&stack, xmb_cache_spill_get(&theirs)),
			0);
	be(WE);
	for (int i = 0; i < (int)XMB_SPILL_CACHE_MAX; i++)
		ours[i] = xmb_cache_spill_get(&lab.cache);
	for (int i = 0; i < (int)XMB_SPILL_CACHE_MAX; i++)
		xmb_cache_spill_put(&lab.cache, &lab.pool.domain, ours[i]);
	cr_expect(eq(int, xmb_reclaim_lost(&lab.cache, &cnt), 0));
	expect_cnt(cnt, 0, 0, 8, 8);
	expect_cnt(reclaim(), 0, 0, 0, theirs.spill_cnt);
	close_two();
}

Test(reclaim, of_the_lost_refuses_a_damaged_stack)
{
	struct xmb_reclaim_cnt cnt = { 0 };
	_Atomic uint32_t *link;
	struct xmb_stack stack;
	uint32_t was;

	open_two();
	for (int i = 0; i < 2; i++) {
		stack = i ? xmb_stack_frames(&lab.pool)
			  : xmb_stack_spills(&lab.pool);
		link = xmb_stack_link(&stack, 5);
		was = *link;
		atomic_store(link, 2); /* a loop */
		lab_snap(&lab);
		cr_expect(eq(int, xmb_reclaim_lost(&lab.cache, &cnt), -EPROTO));
		cr_expect(lab_is_unchanged(&lab));
		atomic_store(link, stack.idx_cnt);
		cr_expect(eq(int, xmb_reclaim_lost(&lab.cache, &cnt), -EPROTO));
		atomic_store(link, was);
	}
	expect_cnt(cnt, 0, 0, 0, 0);
	close_two();
}

#if !defined(__SANITIZE_ADDRESS__) && !defined(__SANITIZE_THREAD__)
Test(reclaim, of_the_lost_needs_memory)
{
	struct rlimit was, none;
	struct xmb_reclaim_cnt cnt = { 0 };
	void *hoard[4096];
	uint32_t n = 0;
	int ret;

	open_two();
	lab_snap(&lab);
	cr_assert(zero(int, getrlimit(RLIMIT_AS, &was)));
	none = was;
	none.rlim_cur = 0;
	cr_assert(zero(int, setrlimit(RLIMIT_AS, &none)));
	/* What the heap still has of small pieces goes first. */
	for (size_t len = 1 << 16; len >= 16; len /= 2) {
		while (n < 4096 && (hoard[n] = malloc(len)))
			n++;
	}
	ret = xmb_reclaim_lost(&lab.cache, &cnt);
	while (n > 0)
		free(hoard[--n]);
	cr_assert(zero(int, setrlimit(RLIMIT_AS, &was)));
	cr_expect(eq(int, ret, -ENOMEM));
	cr_expect(lab_is_unchanged(&lab));
	close_two();
}
#endif

/* Sockets. */

Test(reclaim, takes_what_a_socket_had)
{
	struct xmb_chunk a = { 0 }, ours = { 0 }, their = { 0 };
	struct xmb_reclaim_cnt cnt = { 0 };
	uint64_t addrs[6];
	bool is_excl;

	open_two();
	be(DEAD);
	cr_assert(eq(u32, xmb_handover_fill(&theirs, 50, addrs, 6), 6));
	die_alloc(&a);
	xmb_handover_tx(&theirs, 50, &a, &is_excl);
	share_frame(&ours, &their);
	xmb_handover_tx(&theirs, 50, &their, &is_excl);
	/* Another socket's, which lives. */
	be(WE);
	cr_assert(eq(u32, xmb_handover_fill(&lab.cache, 51, addrs, 1), 1));

	expect_cnt(reclaim(), 0, 0, theirs.cnt, 0);
	cr_expect(eq(int, xmb_reclaim_socket(&lab.cache, 50, &cnt), 0));
	expect_cnt(cnt, 1, 7, 0, 0);
	cr_expect(eq(i64, lab.cache.app_cnt, 1));
	cr_expect(eq(int, xmb_chunk_claim_suffix(&ours, FRAME_LEN / 2), 0));
	cr_expect(eq(int, xmb_reclaim_socket(&lab.cache, 51, &cnt), 0));
	expect_cnt(cnt, 1, 8, 0, 0);
	xmb_chunk_release(&ours, &lab.cache);
	close_two();
}

Test(reclaim, of_a_socket_forgets_cookies)
{
	static struct xmb_cookie_box box;
	struct xmb_reclaim_cnt cnt = { 0 };
	struct xmb_chunk a = { 0 }, tail = { 0 };
	bool is_excl;

	open_two();
	cr_assert(eq(int, xmb_cookie_box_init(&box, 2), 0));
	for (int i = 0; i < 2; i++) {
		struct xmb_multibuf mb = { 0 };

		die_alloc(&a);
		cr_assert(eq(int, xmb_multibuf_push_back(&mb, &a, &theirs), 0));
		cr_assert(eq(int, xmb_cookie_attach(&box, &mb, 1), 0));
		cr_assert(eq(int, xmb_multibuf_pop_front(&mb, &a, &theirs), 0));
		if (i == 0) {
			cr_assert(eq(int, xmb_chunk_split(&a, 10, &tail), 0));
			xmb_handover_tx(&theirs, 50, &tail, &is_excl);
		}
		xmb_handover_tx(&theirs, 50, &a, &is_excl);
	}
	box.out_cnt = 0;
	cr_assert(eq(int, xmb_cookie_box_fini(&box), 0));
	expect_cnt(reclaim(), 0, 0, theirs.cnt, 0);
	cr_expect(eq(int, xmb_reclaim_socket(&lab.cache, 50, &cnt), 0));
	expect_cnt(cnt, 2, 1, 0, 0);
	close_two();
}

Test(reclaim, of_a_socket_refuses_what_is_none)
{
	struct xmb_reclaim_cnt cnt = { 0 };

	open_two();
	lab_snap(&lab);
	cr_expect(eq(int, xmb_reclaim_socket(&lab.cache, 0, &cnt), -EINVAL));
	cr_expect(eq(int, xmb_reclaim_socket(&lab.cache, XMB_WHO_MAX + 1, &cnt),
		     -EINVAL));
	cr_expect(eq(int, xmb_reclaim_socket(&lab.cache, 1, &cnt), 0));
	cr_expect(eq(int, xmb_reclaim_socket(&lab.cache, XMB_WHO_MAX, &cnt),
		     0));
	expect_cnt(cnt, 0, 0, 0, 0);
	cr_expect(lab_is_unchanged(&lab));
	close_two();
}

Test(reclaim, takes_of_the_first_and_of_the_last_owner_id)
{
	static const uint32_t ids[] = { 1, XMB_OWNER_MAX };
	struct xmb_reclaim_cnt cnt = { 0 };
	struct xmb_chunk a[2] = { 0 };

	open_two();
	for (int i = 0; i < 2; i++) {
		struct xmb_reclaim_dead last = { ids[i], whos, 2 };

		be((uint8_t)ids[i]);
		cr_assert(eq(int, xmb_chunk_alloc(&theirs, &a[0]), 0));
		cr_assert(eq(int, xmb_chunk_split(&a[0], 10, &a[1]), 0));
		be(DEAD);
		cr_expect(eq(int, xmb_reclaim(&lab.cache, &last, &cnt), 0));
		cr_expect(eq(u32, cnt.slot_cnt, 2 * (uint32_t)(i + 1)));
		theirs.cnt = 0;
		memset(a, 0, sizeof(a));
	}
	close_two();
}

Test(reclaim, refuses_our_own_names_and_none)
{
	static const uint8_t ours[] = { DEAD_WHO, WE_WHO };
	static const uint8_t self[] = { DEAD_WHO, WE };
	static const uint8_t none[] = { DEAD_WHO, 0 };
	const struct xmb_reclaim_dead bad[] = {
		{ 0, whos, 2 },	   { XMB_OWNER_SUP, whos, 2 },
		{ WE, whos, 2 },   { WE_WHO, whos, 2 },
		{ DEAD, ours, 2 }, { DEAD, self, 2 },
		{ DEAD, none, 2 }, { 256 + DEAD, whos, 2 },
	};
	struct xmb_reclaim_cnt cnt = { 0 };
	struct xmb_chunk mine = { 0 }, a = { 0 };

	open_two();
	cr_assert(eq(int, xmb_chunk_alloc(&lab.cache, &mine), 0));
	die_alloc(&a);
	be(WE);
	lab_snap(&lab);
	for (uint32_t i = 0; i < sizeof(bad) / sizeof(*bad); i++)
		cr_expect(eq(int, xmb_reclaim(&lab.cache, &bad[i], &cnt),
			     -EINVAL));
	expect_cnt(cnt, 0, 0, 0, 0);
	cr_expect(lab_is_unchanged(&lab));
	reclaim();
	xmb_chunk_release(&mine, &lab.cache);
	close_two();
}
