/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * lib/buf/extbuf: a caller's memory as chunks; the callback runs once, when
 * nobody holds a byte of it any more, and not at all when attaching fails.
 */
#include "buf/extbuf.h"

#include "buf_lab.h"

#include <sys/resource.h>

enum { REGION_LEN = XMB_REGION_LEN_MAX, MIB = 1 << 20 };

static struct lab lab;
static struct xmb_multibuf mb;
static struct {
	int cnt;
	void *arg, *mem;
	size_t len;
} freed;

static void on_free(void *arg, void *mem, size_t len)
{
	freed.cnt++;
	freed.arg = arg;
	freed.mem = mem;
	freed.len = len;
}

static void free_it(void *arg, void *mem, size_t len)
{
	on_free(arg, mem, len);
	free(mem);
}

static int domain_cnt(void)
{
	int cnt = 0;

	for (int i = 0; i < 256; i++)
		cnt += xmb_domain_table[i] != NULL;
	return cnt;
}

static void setup(void)
{
	lab_open(&lab, 2048, 64, 100);
}

static void teardown(void)
{
	xmb_multibuf_release(&mb, &lab.cache);
	cr_expect(eq(int, domain_cnt(), 1));
	lab_close(&lab);
}

TestSuite(extbuf, .init = setup, .fini = teardown, .timeout = 300);

static void check_length(size_t len)
{
	struct xmb_multibuf_iter iter;
	uint8_t *mem = malloc(len), *at = mem;
	struct xmb_chunk *chunk;
	int cnt = freed.cnt;

	mb.user = 4711;
	cr_assert(eq(int, xmb_extbuf_attach(&lab.cache, mem, len, free_it,
					    &freed, &mb), 0));
	cr_expect(eq(sz, xmb_multibuf_len(&mb), len));
	cr_expect(eq(u32, mb.user, 4711));
	cr_expect(xmb_multibuf_check(&mb));
	cr_expect(eq(u32, xmb_multibuf_chunk_cnt(&mb),
		     (len + REGION_LEN - 1) / REGION_LEN));
	for (chunk = xmb_multibuf_first(&mb, &iter); chunk;
	     chunk = xmb_multibuf_next(&iter)) {
		cr_assert(eq(ptr, xmb_chunk_data(chunk), at));
		cr_expect(eq(int, xmb_chunk_claim_suffix(chunk, 1), -ERANGE));
		memset(at, 0x5a, chunk->len);
		at += chunk->len;
	}
	cr_expect(eq(ptr, at, mem + len));
	cr_expect(eq(int, freed.cnt, cnt));
	xmb_multibuf_release(&mb, &lab.cache);
	cr_expect(eq(int, freed.cnt, cnt + 1));
	cr_expect(eq(ptr, freed.arg, &freed));
	cr_expect(eq(ptr, freed.mem, mem));
	cr_expect(eq(sz, freed.len, len));
	cr_expect(eq(int, domain_cnt(), 1));
	cr_expect(zero(i64, lab.cache.app_cnt));
}

Test(extbuf, any_length_is_a_row_of_chunks_and_is_freed_once)
{
	const size_t lens[] = { 1, REGION_LEN - 1, REGION_LEN, REGION_LEN + 1,
				65535, 65536, 65537, 3 * MIB, 3 * MIB + 1 };

	for (size_t i = 0; i < sizeof(lens) / sizeof(*lens); i++)
		check_length(lens[i]);
}

Test(extbuf, the_last_chunk_frees_in_whatever_order_they_go)
{
	static uint8_t mem[5 * REGION_LEN];
	struct xmb_chunk chunks[5] = { 0 }, tail = { 0 };

	for (int first = 0; first < 5; first++) {
		freed.cnt = 0;
		cr_assert(eq(int, xmb_extbuf_attach(&lab.cache, mem,
						    sizeof(mem), on_free,
						    NULL, &mb), 0));
		for (int i = 0; i < 5; i++)
			xmb_multibuf_pop_front(&mb, &chunks[i], &lab.cache);
		cr_assert(eq(int, xmb_chunk_split(&chunks[2], 100, &tail), 0));
		for (int i = 0; i < 5; i++) {
			cr_expect(zero(int, freed.cnt));
			xmb_chunk_release(&chunks[(first + i * 2) % 5],
					  &lab.cache);
		}
		cr_expect(zero(int, freed.cnt));
		cr_expect(eq(int, xmb_chunk_claim_prefix(&tail, 100), 0));
		xmb_chunk_release(&tail, &lab.cache);
		cr_expect(eq(int, freed.cnt, 1));
		cr_expect(eq(int, domain_cnt(), 1));
	}
}

Test(extbuf, no_callback_is_fine)
{
	static uint8_t mem[100];

	cr_assert(eq(int, xmb_extbuf_attach(&lab.cache, mem, sizeof(mem), NULL,
					    NULL, &mb), 0));
	cr_expect(eq(ptr, xmb_chunk_data(&mb.c[0]), mem));
}

Test(extbuf, the_callback_may_attach_again)
{
	static uint8_t mem[100];

	for (int i = 0; i < 1000; i++) {
		cr_assert(eq(int, xmb_extbuf_attach(&lab.cache, mem, 1 + i % 99,
						    on_free, NULL, &mb), 0));
		xmb_multibuf_release(&mb, &lab.cache);
	}
	cr_expect(eq(int, freed.cnt, 1000));
}

/* The refused call left no trace. */
static void expect_nothing(int domains)
{
	struct xmb_multibuf none = { .user = 7 };

	cr_expect(zero(int, memcmp(&mb, &none, sizeof(mb))));
	cr_expect(zero(int, freed.cnt));
	cr_expect(eq(int, domain_cnt(), domains));
}

Test(extbuf, lengths_out_of_range_are_refused)
{
	const size_t too_long = (size_t)65535 * REGION_LEN + 1;
	static uint8_t mem[1];

	mb.user = 7;
	cr_expect(eq(int, xmb_extbuf_attach(&lab.cache, mem, 0, on_free, NULL,
					    &mb), -EINVAL));
	expect_nothing(1);
	cr_expect(eq(int, xmb_extbuf_attach(&lab.cache, mem, too_long, on_free,
					    NULL, &mb), -ERANGE));
	expect_nothing(1);
	cr_expect(eq(int, xmb_extbuf_attach(&lab.cache, mem, SIZE_MAX, on_free,
					    NULL, &mb), -ERANGE));
	expect_nothing(1);
	cr_expect(eq(int, xmb_extbuf_attach(&lab.cache, mem,
					    ((size_t)1 << 32) + 1, on_free,
					    NULL, &mb), -ERANGE));
	expect_nothing(1);
}

Test(extbuf, the_longest_span_is_taken)
{
	const size_t len = (size_t)65535 * REGION_LEN;
	struct lab big = { 0 };

	/* Its bytes are not touched, so that any address will do. */
	lab_open(&big, 64, 16, 22000);
	cr_assert(eq(int, xmb_extbuf_attach(&big.cache, big.base, len, on_free,
					    NULL, &mb), 0));
	cr_expect(eq(u32, xmb_multibuf_chunk_cnt(&mb), 65535));
	cr_expect(eq(sz, xmb_multibuf_len(&mb), len));
	xmb_multibuf_release(&mb, &big.cache);
	cr_expect(eq(int, freed.cnt, 1));
	lab_close(&big);
}

Test(extbuf, without_a_domain_it_is_refused)
{
	static struct xmb_domain domains[254];
	static uint8_t mem[100];

	mb.user = 7;
	for (int i = 0; i < 254; i++)
		cr_assert(eq(int, xmb_domain_add(&domains[i]), 0));
	cr_expect(eq(int, xmb_extbuf_attach(&lab.cache, mem, sizeof(mem),
					    on_free, NULL, &mb), -ENOSPC));
	expect_nothing(255);
	for (int i = 0; i < 254; i++)
		xmb_domain_remove(&domains[i]);
}

Test(extbuf, without_a_spill_block_it_is_refused)
{
	static uint8_t mem[3 * MIB];
	struct xmb_cache *caches[] = { &lab.cache };
	uint32_t spills[100], cnt = 0;

	/* 96 chunks take 31 blocks; every number of blocks below that. */
	mb.user = 7;
	while (cnt < 100)
		spills[cnt++] = xmb_cache_spill_get(&lab.cache);
	while (cnt > 100 - 31) {
		cr_expect(eq(int, xmb_extbuf_attach(&lab.cache, mem,
						    sizeof(mem), on_free, NULL,
						    &mb), -ENOBUFS));
		expect_nothing(1);
		cr_expect(xmb_pool_check(&lab.pool, caches, 1));
		xmb_cache_spill_put(&lab.cache, &lab.pool.domain,
				    spills[--cnt]);
	}
	cr_expect(eq(int, xmb_extbuf_attach(&lab.cache, mem, sizeof(mem),
					    on_free, NULL, &mb), 0));
	xmb_multibuf_release(&mb, &lab.cache);
	cr_expect(eq(int, freed.cnt, 1));
	while (cnt > 0)
		xmb_cache_spill_put(&lab.cache, &lab.pool.domain,
				    spills[--cnt]);
}

Test(extbuf, without_memory_it_is_refused)
{
	struct rlimit now, low;
	int ret;

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
	cr_skip("a sanitizer's allocator does not live with RLIMIT_AS");
#endif
	mb.user = 7;
	cr_assert(eq(int, getrlimit(RLIMIT_AS, &now), 0));
	low = now;
	low.rlim_cur = 1 * MIB;
	cr_assert(eq(int, setrlimit(RLIMIT_AS, &low), 0));
	/* 65,535 regions take 2.4 MB of side arrays. */
	ret = xmb_extbuf_attach(&lab.cache, lab.base,
				(size_t)65535 * REGION_LEN, on_free, NULL,
				&mb);
	cr_assert(eq(int, setrlimit(RLIMIT_AS, &now), 0));
	cr_expect(eq(int, ret, -ENOMEM));
	expect_nothing(1);
}

static void attach_to_full(void)
{
	static uint8_t mem[100];

	for (int i = 0; i < 2; i++)
		xmb_extbuf_attach(&lab.cache, mem, sizeof(mem), NULL, NULL,
				  &mb);
}

static void attach_null(void)
{
	xmb_extbuf_attach(&lab.cache, NULL, 100, NULL, NULL, &mb);
}

Test(extbuf, misuse_aborts)
{
	lab_expect_death(attach_to_full, "xmb_multibuf_is_empty(mb)");
	lab_expect_death(attach_null, "mem &&");
}
