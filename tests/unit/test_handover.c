/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * lib/buf/handover: frames go to the kernel and come back; a kernel that names
 * the wrong one gets -EPROTO, and nothing changes.
 */
#include "buf/handover.h"

#include "buf_lab.h"

enum { FRAME_LEN = 2048, FRAME_CNT = 64, WHO = 5, OTHER = 126 };

static struct lab lab;
static struct xmb_chunk a, b, c, d, e;
static bool is_excl;

static void setup(void)
{
	lab_open(&lab, FRAME_LEN, FRAME_CNT, 0);
	lab.cache.who = 9;
}

static void teardown(void)
{
	struct xmb_chunk *all[] = { &a, &b, &c, &d, &e };

	for (int i = 0; i < 5; i++)
		xmb_chunk_release(all[i], &lab.cache);
	cr_expect(eq(i64, lab.cache.app_cnt, 0));
	lab_close(&lab);
}

TestSuite(handover, .init = setup, .fini = teardown, .timeout = 300);

#define REFUSED(call)                                                          \
	do {                                                                   \
		lab_snap(&lab);                                                \
		cr_expect(eq(int, call, -EPROTO));                             \
		cr_expect(not(xmb_chunk_is_live(&e)));                         \
		cr_expect(lab_is_unchanged(&lab));                             \
	} while (0)

static uint64_t fill_one(uint32_t who)
{
	uint64_t addr = UINT64_MAX;

	cr_assert(eq(u32, xmb_handover_fill(&lab.cache, who, &addr, 1), 1));
	return addr;
}

static void empty_ring(uint32_t who, const uint64_t *addrs, uint32_t cnt)
{
	for (uint32_t i = 0; i < cnt; i++) {
		cr_assert(eq(int,
			     xmb_handover_rx(&lab.cache, who, addrs[i], 0, &e),
			     0));
		xmb_chunk_release(&e, &lab.cache);
	}
}

Test(handover, fill_takes_what_there_is_each_frame_once)
{
	uint64_t addrs[FRAME_CNT + 6];
	bool is_in[FRAME_CNT] = { false };

	cr_expect(eq(u32, xmb_handover_fill(&lab.cache, WHO, addrs, 0), 0));
	cr_assert(eq(u32, xmb_handover_fill(&lab.cache, WHO, addrs, 10), 10));
	cr_assert(eq(u32,
		     xmb_handover_fill(&lab.cache, WHO, addrs + 10, FRAME_CNT),
		     FRAME_CNT - 10));
	cr_expect(eq(u32, xmb_handover_fill(&lab.cache, WHO, addrs, 1), 0));
	for (int i = 0; i < FRAME_CNT; i++) {
		cr_assert(zero(u64, addrs[i] % FRAME_LEN));
		cr_assert(lt(u64, addrs[i] / FRAME_LEN, FRAME_CNT));
		cr_expect(not(is_in[addrs[i] / FRAME_LEN]));
		is_in[addrs[i] / FRAME_LEN] = true;
		cr_expect(eq(u32, xmb_frame_load(&lab.pool.domain, (uint32_t)i),
			     xmb_frame_word(XMB_FRAME_FILL, WHO, 0)));
	}
	cr_expect(eq(i64, lab.cache.app_cnt, 0));
	empty_ring(WHO, addrs, FRAME_CNT);
}

Test(handover, fill_uses_the_warm_frames_first)
{
	uint64_t addrs[3];
	uint32_t frame;

	xmb_chunk_alloc(&lab.cache, &a);
	frame = a.region;
	xmb_chunk_release(&a, &lab.cache);
	xmb_handover_fill(&lab.cache, WHO, addrs, 3);
	cr_expect(eq(u64, addrs[0], (uint64_t)frame * FRAME_LEN));
	empty_ring(WHO, addrs, 3);
}

Test(handover, fill_goes_beyond_the_size_of_a_cache)
{
	static uint64_t addrs[3000];
	struct lab big = { 0 };

	lab_open(&big, 64, 3000, 0);
	xmb_pool_set_reserve(&big.pool, 2000);
	cr_expect(
		eq(u32, xmb_handover_fill(&big.cache, WHO, addrs, 3000), 3000));
	cr_expect(eq(u32, big.cache.cnt, 0));
	cr_expect(eq(u32, xmb_handover_hold(&big.pool, WHO).fill_cnt, 3000));
	cr_expect(eq(u32, xmb_handover_unhold(&big.cache, WHO), 3000));
	lab_close(&big);
}

Test(handover, fill_leaves_nothing_of_the_reserve_in_the_cache)
{
	uint64_t addrs[5];

	xmb_pool_set_reserve(&lab.pool, FRAME_CNT);
	cr_assert(eq(u32, xmb_handover_fill(&lab.cache, WHO, addrs, 5), 5));
	cr_expect(zero(u32, lab.cache.cnt));
	cr_expect(eq(int, xmb_chunk_alloc(&lab.cache, &e), -ENOBUFS));
	empty_ring(WHO, addrs, 5);
}

Test(handover, unhold_frees_in_one_name_only)
{
	uint64_t addrs[8];

	xmb_handover_fill(&lab.cache, WHO, addrs, 3);
	xmb_handover_fill(&lab.cache, OTHER, addrs + 3, 5);
	cr_expect(eq(u32, xmb_handover_hold(&lab.pool, WHO).fill_cnt, 3));
	cr_expect(eq(u32, xmb_handover_hold(&lab.pool, OTHER).fill_cnt, 5));
	cr_expect(eq(u32, xmb_handover_unhold(&lab.cache, WHO), 3));
	for (int i = 3; i < 8; i++)
		cr_expect(eq(u32, lab_state(&lab, addrs[i] / FRAME_LEN),
			     XMB_FRAME_HELD));
	cr_expect(eq(u32, xmb_handover_unhold(&lab.cache, OTHER), 5));
}

Test(handover, rx_makes_an_exclusive_chunk_of_the_packet)
{
	uint64_t addr = fill_one(WHO);

	cr_assert(eq(int,
		     xmb_handover_rx(&lab.cache, WHO, addr + 256, 1500, &a),
		     0));
	cr_expect(xmb_chunk_check(&a));
	cr_expect(xmb_chunk_is_excl(&a));
	cr_expect(eq(ptr, xmb_chunk_data(&a), lab.base + addr + 256));
	cr_expect(eq(u32, a.len, 1500));
	cr_expect(eq(i64, lab.cache.app_cnt, 1));
	cr_expect(eq(u32, xmb_frame_load(&lab.pool.domain, a.region),
		     xmb_frame_word(XMB_FRAME_APP, 9, 0)));
	cr_expect(eq(int, xmb_chunk_claim_prefix(&a, 256), 0));
}

Test(handover, rx_refuses_what_the_kernel_may_not_return)
{
	uint64_t addr = fill_one(WHO), end = FRAME_LEN * FRAME_CNT;
	uint64_t free_addr = (addr + FRAME_LEN) % end;

	REFUSED(xmb_handover_rx(&lab.cache, WHO, end, 0, &e));
	REFUSED(xmb_handover_rx(&lab.cache, WHO, UINT64_MAX, 1, &e));
	REFUSED(xmb_handover_rx(&lab.cache, WHO,
				addr + (UINT64_C(1) << 32) * FRAME_LEN, 1, &e));
	REFUSED(xmb_handover_rx(&lab.cache, WHO, addr, FRAME_LEN + 1, &e));
	REFUSED(xmb_handover_rx(&lab.cache, WHO, addr + 1, FRAME_LEN, &e));
	REFUSED(xmb_handover_rx(&lab.cache, WHO, addr + 9, UINT32_MAX, &e));
	REFUSED(xmb_handover_rx(&lab.cache, OTHER, addr, 64, &e));
	REFUSED(xmb_handover_rx(&lab.cache, WHO, free_addr, 64, &e));
	cr_expect(zero(i64, lab.cache.app_cnt));
	cr_expect(eq(int, xmb_handover_rx(&lab.cache, WHO, addr, FRAME_LEN, &a),
		     0));
	/* The same descriptor again. */
	REFUSED(xmb_handover_rx(&lab.cache, WHO, addr, FRAME_LEN, &e));
}

Test(handover, a_frame_that_is_sent_comes_home_by_completion)
{
	uint64_t addr;

	xmb_chunk_alloc(&lab.cache, &a);
	xmb_chunk_slice(&a, 100, 200);
	b = a;
	addr = xmb_handover_tx(&lab.cache, WHO, &a, &is_excl);
	cr_expect(is_excl);
	cr_expect(not(xmb_chunk_is_live(&a)));
	cr_expect(eq(u64, addr, (uint64_t)b.region * FRAME_LEN + 100));
	cr_expect(eq(u32, xmb_frame_load(&lab.pool.domain, b.region),
		     xmb_frame_word(XMB_FRAME_TX, WHO, 0)));
	cr_expect(zero(i64, lab.cache.app_cnt));
	REFUSED(xmb_handover_complete(&lab.cache, OTHER, addr));
	REFUSED(xmb_handover_complete(&lab.cache, WHO, addr + FRAME_LEN));
	REFUSED(xmb_handover_complete(&lab.cache, WHO,
				      (uint64_t)FRAME_CNT * FRAME_LEN));
	REFUSED(xmb_handover_complete(&lab.cache, WHO, UINT64_MAX));
	REFUSED(xmb_handover_complete_slot(&lab.cache, WHO, UINT64_MAX));
	cr_expect(eq(int, xmb_handover_complete(&lab.cache, WHO, addr), 1));
	cr_expect(eq(u32, xmb_frame_load(&lab.pool.domain, b.region),
		     xmb_frame_word(XMB_FRAME_FREE, 9, 1)));
	REFUSED(xmb_handover_complete(&lab.cache, WHO, addr));
	b = (struct xmb_chunk){ 0 };
}

Test(handover, slots_are_completed_by_their_own_start)
{
	uint64_t addr_b, addr_c;
	uint32_t frame;

	xmb_chunk_alloc(&lab.cache, &a);
	frame = a.region;
	xmb_chunk_slice(&a, 100, 900);
	xmb_chunk_split(&a, 300, &b);
	xmb_chunk_split(&b, 300, &c);
	addr_b = xmb_handover_tx(&lab.cache, WHO, &b, &is_excl);
	cr_expect(not(is_excl));
	addr_c = xmb_handover_tx(&lab.cache, OTHER, &c, &is_excl);
	cr_expect(not(is_excl));
	cr_expect(eq(u64, addr_b, (uint64_t)frame * FRAME_LEN + 400));
	cr_expect(eq(u64, addr_c, (uint64_t)frame * FRAME_LEN + 700));
	cr_expect(eq(i64, lab.cache.app_cnt, 1));
	cr_expect(eq(u32, lab_state(&lab, frame), XMB_FRAME_APP));
	REFUSED(xmb_handover_complete(&lab.cache, WHO, addr_b - 1));
	REFUSED(xmb_handover_complete(&lab.cache, WHO, addr_b + 1));
	REFUSED(xmb_handover_complete(&lab.cache, WHO, addr_b - 300));
	REFUSED(xmb_handover_complete(&lab.cache, WHO, addr_c));
	REFUSED(xmb_handover_complete(&lab.cache, OTHER, addr_b));
	/* What the device reads is nobody's to claim. */
	cr_expect(eq(int, xmb_chunk_claim_suffix(&a, 1), -EBUSY));
	cr_expect(eq(int, xmb_handover_complete(&lab.cache, WHO, addr_b), 0));
	cr_expect(eq(int, xmb_chunk_claim_suffix(&a, 300), 0));
	cr_expect(eq(int, xmb_chunk_claim_suffix(&a, 1), -EBUSY));
	REFUSED(xmb_handover_complete(&lab.cache, WHO, addr_b));
	xmb_chunk_release(&a, &lab.cache);
	/* Alone in its frame now, but still a slot. */
	cr_expect(eq(u32, lab_state(&lab, frame), XMB_FRAME_APP));
	cr_expect(eq(i64, lab.cache.app_cnt, 1));
	cr_expect(eq(int, xmb_handover_complete(&lab.cache, OTHER, addr_c), 0));
	cr_expect(eq(u32, lab_state(&lab, frame), XMB_FRAME_FREE));
	cr_expect(zero(i64, lab.cache.app_cnt));
}

Test(handover, an_empty_chunk_with_the_same_start_is_not_completed)
{
	uint64_t addr;

	xmb_chunk_alloc(&lab.cache, &a);
	xmb_chunk_split(&a, 0, &b);
	addr = xmb_handover_tx(&lab.cache, WHO, &b, &is_excl);
	cr_expect(eq(int, xmb_handover_complete(&lab.cache, WHO, addr), 0));
	cr_expect(xmb_chunk_check(&a));
	REFUSED(xmb_handover_complete(&lab.cache, WHO, addr));
	cr_expect(eq(int, xmb_chunk_claim_suffix(&a, FRAME_LEN), 0));
}

Test(handover, of_two_with_the_same_start_the_shorter_is_completed)
{
	struct xmb_tracker *t;
	uint64_t addr;

	/* Made by hand, so that the ends are just these. */
	xmb_chunk_alloc(&lab.cache, &a);
	xmb_chunk_split(&a, 1000, &b);
	xmb_chunk_split(&b, 100, &c);
	t = &lab.pool.domain.trackers[a.region];
	addr = xmb_handover_tx(&lab.cache, WHO, &b, &is_excl);
	xmb_handover_tx(&lab.cache, WHO, &a, &is_excl);
	for (int shorter = 0; shorter < 2; shorter++) {
		atomic_store(&t->slot[shorter], 1000u << 16 | 1040u);
		atomic_store(&t->slot[!shorter], 1000u << 16 | 1050u);
		if (shorter == 1)
			break;
		cr_expect(eq(int, xmb_handover_complete(&lab.cache, WHO, addr),
			     0));
		cr_expect(eq(u32, atomic_load(&t->slot[0]), UINT32_MAX));
		cr_expect(
			eq(u32, atomic_load(&t->slot[1]), 1000u << 16 | 1050u));
		/* Again, the other way round. */
		atomic_store(&t->state, atomic_load(&t->state) | 133u);
	}
	cr_expect(eq(int, xmb_handover_complete(&lab.cache, WHO, addr), 0));
	cr_expect(eq(u32, atomic_load(&t->slot[1]), UINT32_MAX));
	cr_expect(eq(int, xmb_handover_complete(&lab.cache, WHO, addr), 0));
	REFUSED(xmb_handover_complete(&lab.cache, WHO, addr));
}

Test(handover, the_last_chunk_of_a_split_frame_is_sent_as_a_whole_frame)
{
	uint64_t addr;
	uint32_t frame;

	xmb_chunk_alloc(&lab.cache, &a);
	frame = a.region;
	xmb_chunk_split(&a, 100, &b);
	xmb_chunk_release(&a, &lab.cache);
	addr = xmb_handover_tx(&lab.cache, WHO, &b, &is_excl);
	cr_expect(is_excl);
	cr_expect(eq(u64, addr, (uint64_t)frame * FRAME_LEN + 100));
	cr_expect(eq(u32, lab_state(&lab, frame), XMB_FRAME_TX));
	cr_expect(zero(i64, lab.cache.app_cnt));
	cr_expect(eq(int, xmb_handover_complete(&lab.cache, WHO, addr), 1));
}

Test(handover, completion_may_go_through_another_cache)
{
	struct xmb_cache other;
	uint64_t addr;

	xmb_cache_init(&other, &lab.pool, 2);
	xmb_chunk_alloc(&lab.cache, &a);
	xmb_chunk_split(&a, 100, &b);
	addr = xmb_handover_tx(&lab.cache, WHO, &b, &is_excl);
	xmb_chunk_release(&a, &lab.cache);
	cr_expect(eq(int, xmb_handover_complete(&other, WHO, addr), 0));
	cr_expect(eq(i64, other.app_cnt, -1));
	lab.cache.app_cnt += other.app_cnt;
	cr_expect(eq(u32, other.cnt, 1));
	xmb_cache_fini(&other);
}

Test(handover, held_frames_stay_out_until_unhold)
{
	struct xmb_cache *caches[] = { &lab.cache };
	struct xmb_handover_held held;
	uint64_t addrs[10], others[2], addr;

	xmb_handover_fill(&lab.cache, WHO, addrs, 10);
	xmb_handover_fill(&lab.cache, OTHER, others, 2);
	xmb_handover_rx(&lab.cache, WHO, addrs[9], 100, &a);
	xmb_handover_rx(&lab.cache, WHO, addrs[8], 100, &b);
	xmb_handover_rx(&lab.cache, WHO, addrs[7], 100, &c);
	xmb_handover_tx(&lab.cache, WHO, &a, &is_excl);
	xmb_handover_tx(&lab.cache, OTHER, &b, &is_excl);
	xmb_chunk_split(&c, 20, &d);
	xmb_chunk_split(&d, 20, &a);
	xmb_handover_tx(&lab.cache, WHO, &d, &is_excl);
	xmb_handover_tx(&lab.cache, OTHER, &a, &is_excl);

	held = xmb_handover_hold(&lab.pool, WHO);
	cr_expect(eq(u32, held.fill_cnt, 7));
	cr_expect(eq(u32, held.tx_cnt, 1));
	cr_expect(eq(u32, held.slot_cnt, 1));
	for (int i = 0; i < 7; i++) {
		cr_expect(eq(u32, lab_state(&lab, addrs[i] / FRAME_LEN),
			     XMB_FRAME_HELD));
		REFUSED(xmb_handover_rx(&lab.cache, WHO, addrs[i], 1, &e));
		REFUSED(xmb_handover_complete(&lab.cache, WHO, addrs[i]));
	}
	cr_expect(eq(int, xmb_chunk_claim_suffix(&c, 1), -EBUSY));
	cr_expect(xmb_pool_check(&lab.pool, caches, 1));
	held = xmb_handover_hold(&lab.pool, WHO);
	cr_expect(eq(u32, held.fill_cnt + held.tx_cnt, 0));
	cr_expect(eq(u32, held.slot_cnt, 1));

	cr_expect(eq(u32, xmb_handover_unhold(&lab.cache, WHO), 9));
	cr_expect(eq(u32, xmb_handover_unhold(&lab.cache, WHO), 0));
	cr_expect(eq(int, xmb_chunk_claim_suffix(&c, 20), 0));
	cr_expect(eq(int, xmb_chunk_claim_suffix(&c, 1), -EBUSY));
	cr_expect(xmb_pool_check(&lab.pool, caches, 1));
	empty_ring(OTHER, others, 2);
	held = xmb_handover_hold(&lab.pool, OTHER);
	cr_expect(eq(u32, held.tx_cnt, 1));
	cr_expect(eq(u32, held.slot_cnt, 1));
	xmb_chunk_release(&c, &lab.cache);
	addr = addrs[7] / FRAME_LEN;
	cr_expect(eq(u32, lab_state(&lab, (uint32_t)addr), XMB_FRAME_APP));
	cr_expect(eq(u32, xmb_handover_unhold(&lab.cache, OTHER), 2));
	cr_expect(eq(u32, lab_state(&lab, (uint32_t)addr), XMB_FRAME_FREE));
}

static void send_nothing(void)
{
	xmb_chunk_truncate(&a, 0);
	xmb_handover_tx(&lab.cache, WHO, &a, &is_excl);
}

static void send_empty_handle(void)
{
	xmb_handover_tx(&lab.cache, WHO, &e, &is_excl);
}

static void send_foreign(void)
{
	a.dom++;
	xmb_handover_tx(&lab.cache, WHO, &a, &is_excl);
}

static void send_slot_for_nobody(void)
{
	xmb_chunk_split(&a, 9, &b);
	xmb_handover_tx(&lab.cache, XMB_WHO_MAX + 1, &a, &is_excl);
}

static void fill_for_nobody(void)
{
	uint64_t addr;

	xmb_handover_fill(&lab.cache, 0, &addr, 1);
}

static void hold_for_nobody(void)
{
	xmb_handover_hold(&lab.pool, 0);
}

static void unhold_for_nobody(void)
{
	xmb_handover_unhold(&lab.cache, XMB_WHO_MAX + 1);
}

static void fill_with_a_frame_in_use(void)
{
	uint64_t addr;

	lab.cache.frames[lab.cache.cnt++] = a.region;
	xmb_handover_fill(&lab.cache, WHO, &addr, 1);
}

Test(handover, misuse_aborts)
{
	xmb_chunk_alloc(&lab.cache, &a);
	lab_expect_death(send_nothing, "chunk->len > 0");
	lab_expect_death(send_empty_handle, "chunk->dom == domain->id");
	lab_expect_death(send_foreign, "chunk->dom == domain->id");
	lab_expect_death(send_slot_for_nobody, "who <= XMB_WHO_MAX");
	lab_expect_death(fill_for_nobody, "who >= 1");
	lab_expect_death(hold_for_nobody, "who >= 1");
	lab_expect_death(unhold_for_nobody, "who <= XMB_WHO_MAX");
	lab_expect_death(fill_with_a_frame_in_use, "fill: region");
}

Test(handover, tx_end_tells_what_a_socket_has_from_there_on)
{
	uint64_t addr;

	xmb_chunk_alloc(&lab.cache, &a);
	xmb_chunk_truncate(&a, 100);
	addr = xmb_handover_tx(&lab.cache, WHO, &a, &is_excl);
	cr_expect(eq(u32, xmb_handover_tx_end(&lab.pool.domain, WHO, addr),
		     FRAME_LEN));
	cr_expect(
		zero(u32, xmb_handover_tx_end(&lab.pool.domain, OTHER, addr)));
	cr_expect(zero(u32, xmb_handover_tx_end(&lab.pool.domain, WHO,
						addr + FRAME_LEN)));
	cr_expect(zero(u32,
		       xmb_handover_tx_end(&lab.pool.domain, WHO, UINT64_MAX)));
	/* When its socket has closed it is held, and is told of still. */
	cr_expect(eq(u32, xmb_handover_hold(&lab.pool, WHO).tx_cnt, 1));
	cr_expect(eq(u32, xmb_handover_tx_end(&lab.pool.domain, WHO, addr),
		     FRAME_LEN));
	cr_expect(eq(int,
		     xmb_handover_complete_held(&lab.cache, &lab.pool.domain,
						WHO, addr),
		     0));
	REFUSED(xmb_handover_complete_held(&lab.cache, &lab.pool.domain, WHO,
					   addr));
	REFUSED(xmb_handover_complete_held(&lab.cache, &lab.pool.domain, OTHER,
					   addr));
	REFUSED(xmb_handover_complete_held(&lab.cache, &lab.pool.domain, WHO,
					   UINT64_MAX));
	cr_expect(zero(u32, xmb_handover_tx_end(&lab.pool.domain, WHO, addr)));
}

Test(handover, unsend_frees_what_one_socket_has_in_tx_and_nothing_else)
{
	struct xmb_handover_held home;
	uint64_t fill = fill_one(WHO), other;

	xmb_chunk_alloc(&lab.cache, &a);
	xmb_chunk_alloc(&lab.cache, &b);
	xmb_chunk_alloc(&lab.cache, &c);
	xmb_chunk_truncate(&a, 10);
	xmb_chunk_truncate(&b, 10);
	xmb_handover_tx(&lab.cache, WHO, &a, &is_excl);
	other = xmb_handover_tx(&lab.cache, OTHER, &b, &is_excl);
	cr_assert(eq(int, xmb_chunk_share(&c, &d), 0));
	xmb_handover_tx(&lab.cache, WHO, &d, &is_excl);
	cr_expect(not(is_excl));
	home = xmb_handover_unsend_of(&lab.cache, &lab.pool.domain, WHO);
	cr_expect(eq(u32, home.tx_cnt, 1));
	cr_expect(eq(u32, home.slot_cnt, 1));
	cr_expect(eq(u32, home.fill_cnt, 0));
	home = xmb_handover_unsend_of(&lab.cache, &lab.pool.domain, WHO);
	cr_expect(zero(u32, home.tx_cnt + home.slot_cnt));
	cr_expect(eq(int, xmb_handover_complete(&lab.cache, OTHER, other), 1));
	empty_ring(WHO, &fill, 1);
}
