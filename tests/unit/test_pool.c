/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * lib/buf/pool: no frame is lost or free twice, whatever caches it
 * goes through; the last in is the first out; the reserve is for fill rings.
 */
#include "base/log.h"
#include "buf/chunk.h"
#include "buf/handover.h"
#include "buf/multibuf.h"

#include "buf_lab.h"

enum { FRAME_LEN = 64, FRAME_CNT = 2048, SPILL_CNT = 100 };

static struct lab lab;
static char said[1024];

static void hear(void *arg, enum xmb_log_level level, const char *text)
{
	(void)arg;
	(void)level;
	strncpy(said, text, sizeof(said) - 1);
}

static void setup(void)
{
	lab_open(&lab, FRAME_LEN, FRAME_CNT, SPILL_CNT);
	xmb_log_set(hear, NULL);
}

static void teardown(void)
{
	lab_close(&lab);
}

TestSuite(pool, .init = setup, .fini = teardown, .timeout = 300);

static void alloc_some(struct xmb_cache *cache, struct xmb_chunk *chunks,
		       uint32_t cnt)
{
	memset(chunks, 0, cnt * sizeof(*chunks));
	for (uint32_t i = 0; i < cnt; i++)
		cr_assert(eq(int, xmb_chunk_alloc(cache, &chunks[i]), 0));
}

Test(pool, side_memory_stays_below_1_1_percent_of_4096_byte_frames)
{
	struct xmb_pool_opts opts = { .frame_len = 4096 };

	for (opts.frame_cnt = 1024; opts.frame_cnt <= 1 << 20;
	     opts.frame_cnt *= 2)
		cr_expect(le(u64, xmb_pool_footprint(&opts) * 1000,
			     UINT64_C(4096) * opts.frame_cnt * 11));
	opts.frame_cnt = UINT32_C(1) << 31;
	cr_expect(gt(u64, xmb_pool_footprint(&opts), UINT64_C(1) << 36));
}

Test(pool, init_stays_inside_its_footprint_down_to_one_frame)
{
	for (uint32_t frame_cnt = 1; frame_cnt < 40; frame_cnt++) {
		struct xmb_pool_opts opts = {
			.base = lab.base,
			.frame_len = FRAME_LEN,
			.frame_cnt = frame_cnt,
			.spill_cnt = frame_cnt / 3,
		};
		size_t len = xmb_pool_footprint(&opts);
		uint8_t *side = lab_alloc(len + XMB_CACHE_LINE);
		uint32_t spill_cnt = opts.spill_cnt ? opts.spill_cnt : 16;
		struct xmb_pool pool;
		struct xmb_cache cache;

		memset(side + len, 0xa5, XMB_CACHE_LINE);
		cr_assert(eq(int, xmb_pool_init(&pool, side, &opts), 0));
		cr_expect(eq(u32, pool.spill_cnt, spill_cnt));
		xmb_cache_init(&cache, &pool, 0);
		cr_expect(eq(u32, xmb_cache_fetch(&cache, 100, false),
			     frame_cnt));
		for (uint32_t i = 0; i < spill_cnt; i++) {
			uint32_t spill = xmb_cache_spill_get(&cache);

			cr_assert(lt(u32, spill, spill_cnt));
			memset(&pool.domain.spills[spill], 0xff,
			       sizeof(struct xmb_spill));
		}
		cr_expect(eq(u32, xmb_cache_spill_get(&cache),
			     XMB_SPILL_NONE));
		xmb_cache_fini(&cache);
		cr_expect(xmb_pool_check(&pool, NULL, 0));
		for (int i = 0; i < XMB_CACHE_LINE; i++)
			cr_assert(eq(u8, side[len + i], 0xa5));
		xmb_pool_fini(&pool);
		free(side);
	}
}

Test(pool, init_refuses_lengths_and_counts_out_of_range)
{
	const struct xmb_pool_opts good = {
		.base = lab.base, .frame_len = FRAME_LEN, .frame_cnt = 16,
	};
	struct xmb_pool_opts bad[] = { good, good, good, good, good };
	uint8_t *side = lab_alloc(1 << 16);
	struct xmb_pool pool = { .spill_cnt = 77 };

	bad[0].frame_len = 63;
	bad[1].frame_len = XMB_REGION_LEN_MAX + 1;
	bad[2].frame_cnt = 0;
	bad[3].frame_cnt = (UINT32_C(1) << 31) + 1;
	bad[4].spill_cnt = (UINT32_C(1) << 31) + 1;
	for (int i = 0; i < 5; i++) {
		cr_expect(eq(int, xmb_pool_init(&pool, side, &bad[i]),
			     -EINVAL), "case %d", i);
		cr_expect(eq(u32, pool.spill_cnt, 77));
	}
	for (int i = 0; i < 1 << 16; i++)
		cr_assert(zero(u8, side[i]));
	cr_assert(eq(int, xmb_pool_init(&pool, side, &good), 0));
	xmb_pool_fini(&pool);
	free(side);
}

Test(pool, a_256th_domain_is_refused_and_an_id_is_free_again)
{
	static struct xmb_domain domains[255];
	struct xmb_pool_opts opts = {
		.base = lab.base, .frame_len = FRAME_LEN, .frame_cnt = 16,
	};
	uint8_t *side = lab_alloc(1 << 16), id;
	struct xmb_pool pool;

	for (int i = 0; i < 254; i++)
		cr_assert(eq(int, xmb_domain_add(&domains[i]), 0));
	cr_expect(eq(int, xmb_domain_add(&domains[254]), -ENOSPC));
	cr_expect(eq(int, xmb_pool_init(&pool, side, &opts), -ENOSPC));
	cr_expect(zero(ptr, xmb_domain_table[0]));
	for (int i = 0; i < 1 << 16; i++)
		cr_assert(zero(u8, side[i]));
	for (int i = 0; i < 254; i++)
		cr_assert(eq(ptr, xmb_domain_table[domains[i].id],
			     &domains[i]));
	id = domains[100].id;
	xmb_domain_remove(&domains[100]);
	cr_expect(zero(ptr, xmb_domain_table[id]));
	cr_expect(eq(int, xmb_domain_add(&domains[254]), 0));
	cr_expect(eq(u8, domains[254].id, id));
	domains[100].id = 0;
	free(side);
	for (int i = 0; i < 255; i++) {
		if (domains[i].id)
			xmb_domain_remove(&domains[i]);
	}
}

Test(pool, last_released_is_first_allocated)
{
	struct xmb_chunk chunks[300];
	uint32_t order[300];

	alloc_some(&lab.cache, chunks, 300);
	for (int i = 0; i < 300; i++) {
		order[i] = chunks[i].region;
		xmb_chunk_release(&chunks[i], &lab.cache);
	}
	alloc_some(&lab.cache, chunks, 300);
	for (int i = 0; i < 300; i++)
		cr_expect(eq(u32, chunks[i].region, order[299 - i]));
	xmb_chunk_release_bulk(chunks, 300, &lab.cache);
	cr_expect(eq(i64, lab.cache.app_cnt, 0));
}

Test(pool, order_survives_the_shared_stack)
{
	uint32_t order[XMB_CACHE_MAX];

	cr_assert(eq(u32, xmb_cache_fetch(&lab.cache, 200, false), 200));
	memcpy(order, lab.cache.frames, sizeof(order));
	xmb_cache_fini(&lab.cache);
	cr_expect(eq(u32, lab.cache.cnt, 0));
	cr_assert(eq(u32, xmb_cache_fetch(&lab.cache, 200, false), 200));
	cr_expect(zero(int, memcmp(order, lab.cache.frames, 200 * 4)));
}

Test(pool, fetched_frames_go_below_the_warm_ones)
{
	uint32_t warm[20];

	xmb_cache_fetch(&lab.cache, 20, false);
	memcpy(warm, lab.cache.frames, sizeof(warm));
	cr_expect(eq(u32, xmb_cache_fetch(&lab.cache, 50, false), 50));
	cr_expect(zero(int, memcmp(warm, &lab.cache.frames[30],
				   sizeof(warm))));
	cr_expect(xmb_pool_check(&lab.pool,
				 (struct xmb_cache *[]){ &lab.cache }, 1));
}

Test(pool, fetch_is_bounded_by_the_cache_and_by_what_is_free)
{
	struct xmb_cache other;

	cr_expect(eq(u32, xmb_cache_fetch(&lab.cache, 5000, false),
		     XMB_CACHE_MAX));
	cr_expect(eq(u32, xmb_pool_free_cnt(&lab.pool),
		     FRAME_CNT - XMB_CACHE_MAX));
	cr_expect(eq(u32, xmb_cache_fetch(&lab.cache, 10, false),
		     XMB_CACHE_MAX));
	cr_expect(eq(u32, xmb_pool_free_cnt(&lab.pool),
		     FRAME_CNT - XMB_CACHE_MAX));
	xmb_pool_set_reserve(&lab.pool, FRAME_CNT - XMB_CACHE_MAX - 3);
	xmb_cache_init(&other, &lab.pool, 1);
	cr_expect(eq(u32, xmb_cache_fetch(&other, 100, false), 3));
	cr_expect(eq(u32, xmb_cache_fetch(&other, 100, false), 3));
	cr_expect(eq(u32, xmb_cache_fetch(&other, 100, true), 100));
	xmb_cache_fini(&other);
}

Test(pool, reserve_is_left_to_fill_rings)
{
	static struct xmb_chunk chunks[FRAME_CNT];
	static uint64_t addrs[FRAME_CNT];
	struct xmb_chunk none = { 0 };
	struct xmb_cache rx;

	xmb_pool_set_reserve(&lab.pool, 100);
	alloc_some(&lab.cache, chunks, FRAME_CNT - 100);
	cr_expect(eq(int, xmb_chunk_alloc(&lab.cache, &none), -ENOBUFS));
	cr_expect(zero(u8, none.dom));
	cr_expect(eq(u32, xmb_pool_free_cnt(&lab.pool), 100));
	xmb_cache_init(&rx, &lab.pool, 1);
	cr_expect(eq(u32, xmb_handover_fill(&rx, 1, addrs, FRAME_CNT), 100));
	cr_expect(eq(u32, xmb_handover_fill(&rx, 1, addrs + 100, 1), 0));
	cr_expect(eq(u32, xmb_pool_free_cnt(&lab.pool), 0));
	for (int i = 0; i < 100; i++) {
		cr_assert(eq(int, xmb_handover_rx(&rx, 1, addrs[i], 1, &none),
			     0));
		xmb_chunk_release(&none, &rx);
	}
	xmb_chunk_release_bulk(chunks, FRAME_CNT - 100, &lab.cache);
	xmb_cache_fini(&rx);
}

Test(pool, flush_gives_the_oldest_and_keeps_the_order_of_the_rest)
{
	uint32_t order[XMB_CACHE_MAX];
	struct xmb_cache other;

	xmb_cache_fetch(&lab.cache, XMB_CACHE_MAX, false);
	memcpy(order, lab.cache.frames, sizeof(order));
	xmb_cache_flush(&lab.cache);
	cr_expect(eq(u32, lab.cache.cnt, XMB_CACHE_MAX - XMB_CACHE_BATCH));
	cr_expect(zero(int, memcmp(lab.cache.frames, order + XMB_CACHE_BATCH,
				   lab.cache.cnt * 4)));
	xmb_cache_init(&other, &lab.pool, 1);
	xmb_cache_fetch(&other, XMB_CACHE_BATCH, false);
	cr_expect(zero(int, memcmp(other.frames, order, XMB_CACHE_BATCH * 4)));
	xmb_cache_fini(&other);
	/* Down by halves, to nothing: a flush always gets on. */
	for (uint32_t cnt = 128; cnt > 0; cnt /= 2) {
		while (lab.cache.cnt > cnt)
			xmb_cache_flush(&lab.cache);
		cr_expect(eq(u32, lab.cache.cnt, cnt));
	}
	xmb_cache_flush(&lab.cache);
	xmb_cache_flush(&lab.cache);
	xmb_cache_flush(&lab.cache);
	cr_expect(eq(u32, lab.cache.cnt, 0));
}

Test(pool, one_that_only_frees_feeds_one_that_only_allocates)
{
	struct xmb_chunk chunk = { 0 };
	struct xmb_cache sink;

	xmb_cache_init(&sink, &lab.pool, 1);
	for (int i = 0; i < 20 * FRAME_CNT; i++) {
		cr_assert(eq(int, xmb_chunk_alloc(&lab.cache, &chunk), 0));
		xmb_chunk_release(&chunk, &sink);
	}
	cr_expect(eq(i64, lab.cache.app_cnt, 20 * FRAME_CNT));
	cr_expect(eq(i64, sink.app_cnt, -20 * FRAME_CNT));
	xmb_cache_fini(&sink);
}

Test(pool, frames_released_through_another_pools_cache_come_home)
{
	struct xmb_chunk chunks[10], tail = { 0 };
	struct lab other = { 0 };
	uint32_t before;

	lab_open(&other, 128, 64, 0);
	alloc_some(&lab.cache, chunks, 10);
	before = xmb_pool_free_cnt(&lab.pool);
	cr_assert(eq(int, xmb_chunk_split(&chunks[9], 5, &tail), 0));
	xmb_chunk_release_bulk(chunks, 10, &other.cache);
	cr_expect(eq(i64, xmb_pool_foreign_cnt(&lab.pool), 9));
	xmb_chunk_release(&tail, &other.cache);
	cr_expect(eq(i64, xmb_pool_foreign_cnt(&lab.pool), 10));
	cr_expect(eq(i64, xmb_pool_foreign_cnt(&other.pool), 0));
	cr_expect(eq(u32, xmb_pool_free_cnt(&lab.pool), before + 10));
	cr_expect(eq(i64, lab.cache.app_cnt, 10));
	cr_expect(eq(i64, other.cache.app_cnt, 0));
	cr_expect(eq(u32, other.cache.cnt, 0));
	cr_expect(xmb_pool_check(&lab.pool,
				 (struct xmb_cache *[]){ &lab.cache }, 1));
	lab_close(&other);
}

Test(pool, random_traffic_over_several_caches_conserves_frames)
{
	enum { CACHE_CNT = 3, STEP_CNT = 100000 };
	static struct xmb_cache caches[CACHE_CNT];
	static struct xmb_chunk held[FRAME_CNT];
	struct xmb_cache *all[CACHE_CNT];
	uint32_t held_cnt = 0;
	uint64_t seed = 7;

	for (uint32_t i = 0; i < CACHE_CNT; i++) {
		xmb_cache_init(&caches[i], &lab.pool, i);
		all[i] = &caches[i];
	}
	for (int step = 0; step < STEP_CNT; step++) {
		struct xmb_cache *cache = all[lab_rand(&seed) % CACHE_CNT];
		uint32_t n = lab_rand(&seed) % 40, in_caches = 0;
		int64_t app_cnt = 0;

		/* Phases of growth and of shrinking reach both ends. */
		if ((step >> 11 & 1) == (lab_rand(&seed) % 8 == 0)) {
			uint32_t fit = xmb_min_u32(n, FRAME_CNT - held_cnt);

			if (xmb_chunk_alloc_bulk(cache, &held[held_cnt],
						 fit) == 0)
				held_cnt += fit;
		} else {
			n = xmb_min_u32(n, held_cnt);
			held_cnt -= n;
			xmb_chunk_release_bulk(&held[held_cnt], n, cache);
		}
		for (int i = 0; i < CACHE_CNT; i++) {
			in_caches += caches[i].cnt;
			app_cnt += caches[i].app_cnt;
		}
		cr_assert(eq(i64, app_cnt, held_cnt));
		cr_assert(eq(u32, in_caches + held_cnt +
				     xmb_pool_free_cnt(&lab.pool), FRAME_CNT));
		if (step % 1000 == 0)
			cr_assert(xmb_pool_check(&lab.pool, all, CACHE_CNT));
	}
	xmb_chunk_release_bulk(held, held_cnt, &caches[0]);
	for (int i = 0; i < CACHE_CNT; i++)
		xmb_cache_fini(&caches[i]);
}

Test(pool, spill_blocks_are_handed_out_once_and_come_back)
{
	static bool is_out[SPILL_CNT];
	uint32_t spills[SPILL_CNT];
	struct lab other = { 0 };

	lab_open(&other, 128, 64, 0);
	for (int round = 0; round < 3; round++) {
		memset(is_out, 0, sizeof(is_out));
		for (int i = 0; i < SPILL_CNT; i++) {
			spills[i] = xmb_cache_spill_get(&lab.cache);
			cr_assert(lt(u32, spills[i], SPILL_CNT));
			cr_assert(not(is_out[spills[i]]));
			is_out[spills[i]] = true;
		}
		cr_expect(eq(u32, xmb_cache_spill_get(&lab.cache),
			     XMB_SPILL_NONE));
		/* Through the own cache, and through a stranger's. */
		for (int i = 0; i < SPILL_CNT; i++)
			xmb_cache_spill_put(round & 1 ? &other.cache :
							&lab.cache,
					    &lab.pool.domain, spills[i]);
		cr_expect(eq(u32, other.cache.spill_cnt, 0));
		cr_expect(xmb_pool_check(
			&lab.pool, (struct xmb_cache *[]){ &lab.cache }, 1));
	}
	lab_close(&other);
}

static void put_no_spill(void)
{
	xmb_cache_spill_put(&lab.cache, &lab.pool.domain, SPILL_CNT);
}

Test(pool, a_block_that_does_not_exist_aborts)
{
	lab_expect_death(put_no_spill, "xmb_cache_spill_put: must hold");
}

static bool check(void)
{
	return xmb_pool_check(&lab.pool, (struct xmb_cache *[]){ &lab.cache },
			      1);
}

Test(pool, check_sees_what_is_wrong_and_says_which_frame)
{
	struct xmb_cache *cache = &lab.cache;
	uint32_t frame, word;

	xmb_cache_fetch(cache, 20, false);
	cr_expect(check());
	frame = cache->frames[3];

	cache->frames[3] = cache->frames[4];
	cr_expect(not(check()));
	cr_expect(not(zero(ptr, strstr(said, "is free twice"))));

	cache->frames[3] = FRAME_CNT;
	cr_expect(not(check()));
	cr_expect(not(zero(ptr, strstr(said, "frame 2048 in a cache"))));

	cache->frames[3] = cache->frames[--cache->cnt];
	cr_expect(not(check()));
	cr_expect(not(zero(ptr, strstr(said, "missing from the free"))));
	cache->frames[cache->cnt++] = cache->frames[3];
	cache->frames[3] = frame;
	cr_expect(check());

	word = xmb_frame_load(&lab.pool.domain, frame);
	xmb_frame_store(&lab.pool.domain, frame,
			xmb_frame_word(XMB_FRAME_TX, 9, 0));
	cr_expect(not(check()));
	cr_expect(not(zero(ptr, strstr(said, "its state is tx"))));
	xmb_frame_store(&lab.pool.domain, frame, word);
	cr_expect(check());

	atomic_store(&lab.pool.domain.trackers[frame].slot[4], 0);
	cr_expect(not(check()));
	cr_expect(not(zero(ptr, strstr(said, "its tracker has owners"))));
	atomic_store(&lab.pool.domain.trackers[frame].slot[4], UINT32_MAX);
	atomic_store(&lab.pool.domain.trackers[frame].state, 1);
	cr_expect(not(check()));
	atomic_store(&lab.pool.domain.trackers[frame].state, 0);
	cr_expect(check());
}

Test(pool, check_sees_a_damaged_stack)
{
	struct xmb_tracker *trackers = lab.pool.domain.trackers;

	/* A loop, and a list that ends early. */
	atomic_store(&trackers[5].link, 2);
	cr_expect(not(check()));
	cr_expect(not(zero(ptr, strstr(said, "frame 2 is free twice"))));
	atomic_store(&trackers[5].link, UINT32_MAX);
	cr_expect(not(check()));
	cr_expect(not(zero(ptr, strstr(said, "has 6 frames, but says 2048"))));
	atomic_store(&trackers[5].link, 6);
	cr_expect(check());
}

Test(pool, check_sees_a_block_that_is_free_twice)
{
	uint32_t spill = xmb_cache_spill_get(&lab.cache);

	lab.cache.spills[lab.cache.spill_cnt++] = spill;
	lab.cache.spills[lab.cache.spill_cnt++] = spill;
	cr_expect(not(check()));
	cr_expect(not(zero(ptr, strstr(said, "spill block"))));
	lab.cache.spill_cnt--;
	cr_expect(check());
}
