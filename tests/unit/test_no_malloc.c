/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * No call on a packet's path asks for memory or gives any back: each operation
 * of the table runs between "armed" and "disarmed", and the linker has put the
 * functions below in the place of malloc() and its kin (--wrap).  What is
 * exported by the headers that are named at the end has to be in the table.
 */
#include "alloc/allocator.h"
#include "alloc/arena.h"
#include "alloc/waiter.h"
#include "buf/cookie.h"
#include "buf/edit.h"
#include "buf/extbuf.h"
#include "buf/handover.h"
#include "flow/hash.h"
#include "pkt/csum.h"
#include "pkt/parse.h"
#include "sock/pipe.h"
#include "view/flat.h"
#include "view/layer.h"
#include "view/span.h"
#include "view/stream.h"

#include "buf_lab.h"

#include <ctype.h>
#include <stdio.h>
#include <sys/mman.h>

static _Thread_local bool is_armed;
static uint32_t call_cnt;
static const char *called;

static void count(const char *name)
{
	if (!is_armed)
		return;
	call_cnt++;
	called = name;
}

/* void *__wrap_malloc(size_t) calls void *__real_malloc(size_t), and so on. */
#define WRAP(ret, name, params, args)                                          \
	ret __real_##name params;                                              \
	ret __wrap_##name params;                                              \
	ret __wrap_##name params                                               \
	{                                                                      \
		count(#name);                                                  \
		return __real_##name args;                                     \
	}

WRAP(void *, malloc, (size_t n), (n))
WRAP(void *, calloc, (size_t n, size_t len), (n, len))
WRAP(void *, realloc, (void *p, size_t n), (p, n))
WRAP(void *, aligned_alloc, (size_t align, size_t n), (align, n))
WRAP(int, posix_memalign, (void **p, size_t align, size_t n), (p, align, n))
WRAP(void *, mmap, (void *p, size_t n, int prot, int flags, int fd, off_t off),
     (p, n, prot, flags, fd, off))
WRAP(int, munmap, (void *p, size_t n), (p, n))

void __real_free(void *p);
void __wrap_free(void *p);
void __wrap_free(void *p)
{
	count("free");
	__real_free(p);
}

enum { FRAME_LEN = 256, FRAME_CNT = 2048, SPILL_CNT = 512, ROUND_CNT = 20 };

static struct lab lab;
static struct xmb_cache *cache = &lab.cache;
static struct xmb_allocator allocator;
static struct xmb_waiters waiters;
static struct xmb_cookie_box box;
static struct xmb_pipe pipe_ends;
static uint8_t bytes[8192];
static struct xmb_chunk many[FRAME_CNT];

static void must(bool ok)
{
	if (!ok)
		abort();
}

#define OK(call) must((call) >= 0)

/* Of cnt chunks of 100 bytes, with room around them. */
static struct xmb_multibuf make(uint32_t cnt)
{
	struct xmb_multibuf mb = { 0 };
	struct xmb_chunk c = { 0 };

	while (cnt-- > 0) {
		OK(xmb_chunk_alloc(cache, &c));
		OK(xmb_chunk_slice(&c, 64, 164));
		OK(xmb_multibuf_push_back(&mb, &c, cache));
	}
	return mb;
}

static void chunks(void)
{
	struct xmb_chunk a = { 0 }, b = { 0 }, c = { 0 };

	OK(xmb_chunk_alloc(cache, &a));
	OK(xmb_chunk_write(&a, 3, bytes, 50));
	OK(xmb_chunk_slice(&a, 10, 200));
	OK(xmb_chunk_discard_prefix(&a, 10));
	OK(xmb_chunk_truncate(&a, 150));
	OK(xmb_chunk_split(&a, 60, &b));
	OK(xmb_chunk_claim_prefix(&a, 5));
	must(xmb_chunk_claim_prefix(&b, 5) == -EBUSY);
	OK(xmb_chunk_claim_suffix(&b, 5));
	OK(xmb_chunk_take_prefix(&b, 7, &c));
	OK(xmb_chunk_merge(&a, &c));
	OK(xmb_chunk_take_suffix(&a, 7, &c));
	must(xmb_chunk_check(&a));
	OK(xmb_chunk_merge(&c, &b));
	OK(xmb_chunk_share(&a, &b));
	must(xmb_chunk_unshare(&a) == -EBUSY);
	xmb_chunk_release(&b, cache);
	OK(xmb_chunk_unshare(&a));
	xmb_chunk_release(&a, cache);
	xmb_chunk_release(&c, cache);
}

/* More than a cache holds: to the shared stack and from it. */
static void chunks_in_bulk(void)
{
	for (uint32_t i = 0; i < FRAME_CNT; i += 32)
		OK(xmb_chunk_alloc_bulk(cache, &many[i], 32));
	must(xmb_chunk_alloc_bulk(cache, &(struct xmb_chunk){ 0 }, 1) ==
	     -ENOBUFS);
	xmb_chunk_release_bulk(many, FRAME_CNT, cache);
	xmb_cache_flush(cache);
	xmb_cache_yield(cache);
}

static void multibufs(void)
{
	struct xmb_multibuf mb = { 0 }, tail = { 0 };
	struct xmb_chunk c = { 0 };

	OK(xmb_multibuf_alloc(cache, 100, 50, &mb));
	xmb_multibuf_release(&mb, cache);
	OK(xmb_multibuf_alloc(cache, 40 * FRAME_LEN, 50, &mb));
	xmb_multibuf_release(&mb, cache);
	mb = make(20);
	OK(xmb_multibuf_pop_front(&mb, &c, cache));
	OK(xmb_multibuf_push_front(&mb, &c, cache));
	OK(xmb_multibuf_pop_back(&mb, &c, cache));
	OK(xmb_multibuf_push_back(&mb, &c, cache));
	/* Between chunks, inside of one, and where that is a copy. */
	OK(xmb_multibuf_split(&mb, 300, &tail, cache));
	OK(xmb_multibuf_append(&mb, &tail, cache));
	for (uint32_t at = 10; at < 80; at += 10) {
		OK(xmb_multibuf_split(&mb, at, &tail, cache));
		OK(xmb_multibuf_append(&mb, &tail, cache));
	}
	OK(xmb_multibuf_split(&mb, 777, &tail, cache));
	OK(xmb_multibuf_prepend(&mb, &tail, cache));
	OK(xmb_multibuf_claim_prefix(&mb, 0));
	OK(xmb_multibuf_claim_suffix(&mb, 0));
	OK(xmb_multibuf_discard_prefix(&mb, 150, cache));
	OK(xmb_multibuf_truncate(&mb, 1500, cache));
	OK(xmb_multibuf_slice(&mb, 100, 1300, cache));
	must(xmb_multibuf_get(&mb, 50, 300, bytes) != NULL);
	must(xmb_multibuf_copy_to(&mb, 50, bytes, 1000) == 1000);
	must(xmb_multibuf_copy_from(&mb, 50, bytes, 1000) == 1000);
	must(xmb_multibuf_chunk(&mb, 3) != NULL);
	must(xmb_multibuf_check(&mb));
	xmb_multibuf_release_bulk(&mb, 1, cache);
}

static void edits(void)
{
	struct xmb_multibuf mb = make(12), other = make(5);
	struct xmb_multibuf_index at;
	struct xmb_chunk c = { 0 };

	OK(xmb_multibuf_index_at(&mb, 450, &at));
	must(xmb_multibuf_at(&mb, at) != NULL);
	OK(xmb_multibuf_reserve(&mb, 8, cache));
	OK(xmb_multibuf_take_chunk(&mb, 4, &c, cache));
	OK(xmb_multibuf_insert_chunk(&mb, 7, &c, cache));
	OK(xmb_multibuf_insert(&mb, 333, &other, cache));
	OK(xmb_multibuf_take(&mb, 250, 400, &other, cache));
	OK(xmb_multibuf_insert(&mb, 10, &other, cache));
	OK(xmb_multibuf_split_at_chunk(&mb, 5, &other, cache));
	OK(xmb_multibuf_append(&mb, &other, cache));
	OK(xmb_multibuf_discard_segment(&mb, 120, 500, cache));
	OK(xmb_multibuf_grow_prefix(&mb, 700, cache));
	OK(xmb_multibuf_grow_suffix(&mb, 700, cache));
	OK(xmb_multibuf_align(&mb, 501, 64, cache));
	must(xmb_multibuf_copy_from_and_truncate(&mb, 5, bytes, 1000, cache) ==
	     1000);
	xmb_multibuf_release(&mb, cache);
}

static void shares(void)
{
	struct xmb_multibuf mb = make(9), clone = { 0 }, tail = { 0 };

	for (int i = 0; i < 7; i++) {
		OK(xmb_multibuf_share(&mb, &clone, cache));
		if (i == 0) {
			must(!xmb_multibuf_is_writable(&clone));
			must(!xmb_multibuf_is_writable_at(&clone, 0, 1));
		}
		OK(xmb_multibuf_split(&clone, 150, &tail, cache));
		xmb_multibuf_release(&clone, cache);
		xmb_multibuf_release(&tail, cache);
	}
	OK(xmb_multibuf_unshare(&mb));
	xmb_multibuf_release(&mb, cache);
}

static void fragments(void)
{
	struct xmb_multibuf mb = { 0 }, part;

	for (int i = 0; i < 9; i++) {
		part = make(2);
		OK(xmb_multibuf_append_fragment(&mb, &part, cache));
	}
	must(xmb_multibuf_fragment_cnt(&mb) == 9);
	for (int i = 0; i < 9; i++) {
		OK(xmb_multibuf_take_fragment(&mb, &part, cache));
		xmb_multibuf_release(&part, cache);
	}
}

static void spans(void)
{
	struct xmb_multibuf mb = make(10);
	struct xmb_span_iter iter;
	struct xmb_byte_iter byte;
	struct xmb_span span;
	struct iovec iov[16];
	size_t done;

	OK(xmb_span_iter_init(&iter, &mb, 50, 700));
	while (xmb_span_next(&iter, &span))
		;
	OK(xmb_span_iovec(&mb, 0, 1000, iov, 16, &done));
	must(xmb_span_cnt(&mb) == 10);
	OK(xmb_byte_iter_init(&byte, &mb, 0));
	while (xmb_byte_next(&byte) >= 0)
		;
	while (xmb_byte_prev(&byte) >= 0)
		;
	must(xmb_span_compare(&mb, &mb) == 0);
	xmb_multibuf_copy_from(&mb, 0, bytes, 1000);
	must(xmb_span_equal(&mb, 0, bytes, 1000));
	must(xmb_span_find_byte(&mb, 0, 0x77) < 0);
	must(xmb_span_find(&mb, 95, "\x77\x77", 2) < 0);
	xmb_multibuf_release(&mb, cache);
}

static void streams(void)
{
	struct xmb_multibuf mb = make(10);
	struct xmb_reader reader;
	struct xmb_writer writer;
	uint64_t value;
	size_t len;

	xmb_writer_init(&writer, &mb);
	OK(xmb_writer_init_range(&writer, &mb, 10, 900));
	while (xmb_writer_put_be64(&writer, 1234567) == 0)
		;
	OK(xmb_writer_seek(&writer, 90));
	must(xmb_writer_write(&writer, bytes, 300) == 300);
	must(xmb_writer_fill(&writer, 1, 30) == 30);
	must(xmb_writer_skip(&writer, 100) == 100);
	xmb_reader_init(&reader, &mb);
	OK(xmb_reader_init_range(&reader, &mb, 10, 900));
	while (xmb_reader_get_be64(&reader, &value) == 0)
		;
	OK(xmb_reader_seek(&reader, 85));
	must(xmb_reader_peek(&reader, bytes, 50) == 50);
	must(xmb_reader_read(&reader, bytes, 50) == 50);
	must(xmb_reader_skip(&reader, 50) == 50);
	must(xmb_reader_get(&reader, 120, bytes) != NULL);
	must(xmb_reader_run(&reader, 10, &len) != NULL);
	xmb_multibuf_release(&mb, cache);
}

static void flats(void)
{
	struct xmb_multibuf mb = make(10);

	must(!xmb_flat_is_contiguous(&mb, 90, 20));
	OK(xmb_flat_pullup(&mb, 130, 20, cache));
	OK(xmb_flat_pullup(&mb, 220, 20, cache));
	OK(xmb_flat_gather(&mb, 20, cache));
	OK(xmb_multibuf_truncate(&mb, 200, cache));
	OK(xmb_flat_linearize(&mb, 20, cache));
	xmb_multibuf_release(&mb, cache);
}

static void layers(void)
{
	struct xmb_multibuf mb = make(10), part = { 0 };
	struct xmb_layers views;
	struct xmb_reader reader;
	struct xmb_writer writer;

	xmb_layers_init(&views, &mb);
	OK(xmb_layers_push(&views, 50, 900));
	must(xmb_layers_len(&views) == 900);
	must(xmb_layers_off(&views) == 50);
	must(xmb_layers_get(&views, 40, 30, bytes) != NULL);
	xmb_layers_copy_to(&views, 10, bytes, 300);
	xmb_layers_copy_from(&views, 10, bytes, 300);
	OK(xmb_layers_take(&views, 100, 200, &part, cache));
	OK(xmb_layers_insert(&views, 300, &part, cache));
	OK(xmb_layers_discard_segment(&views, 100, 100, cache));
	OK(xmb_layers_truncate(&views, 500, cache));
	xmb_layers_reader(&views, &reader);
	xmb_layers_writer(&views, &writer);
	OK(xmb_layers_pop(&views));
	xmb_multibuf_release(&mb, cache);
}

static void allocations(void)
{
	struct xmb_alloc_request request = {
		.min_len = 500, .desired_len = 2000, .headroom = 64,
		.tailroom = 16, .segment_len = 300,
	};
	struct xmb_segment_opts opts = { .mtu = 30, .headroom = 40 };
	static struct xmb_multibuf mbs[100];
	struct xmb_multibuf mb = { 0 };
	int cnt;

	OK(xmb_allocator_alloc(&allocator, &request, &mb));
	xmb_multibuf_release(&mb, cache);
	OK(xmb_allocator_alloc_len(&allocator, 9999, &mb));
	xmb_multibuf_release(&mb, cache);
	OK(xmb_allocator_alloc_bulk(&allocator, &request, mbs, 20));
	xmb_multibuf_release_bulk(mbs, 20, cache);
	mb = make(10);
	cnt = xmb_allocator_segment(&allocator, &mb, &opts, mbs, 100);
	must(cnt == 34);
	xmb_multibuf_release_bulk(mbs, (uint32_t)cnt, cache);
	xmb_allocator_init_pool(&allocator, cache);
}

static void waits(void)
{
	struct xmb_waiter waiter = { .request = { .min_len = 1000 } };
	struct xmb_multibuf mb = { 0 };

	OK(xmb_chunk_alloc_bulk(cache, many, FRAME_CNT));
	must(xmb_waiter_start(&waiters, &waiter, cache) == 0);
	must(xmb_waiter_resize(&waiters, &waiter, &waiter.request) == 0);
	xmb_waiters_kick(&waiters);
	xmb_chunk_release_bulk(many, FRAME_CNT, cache);
	xmb_cache_yield(cache);
	OK(xmb_waiter_take(&waiters, &waiter, &mb, cache));
	must(xmb_waiters_app_cnt(&waiters) == 0);
	xmb_multibuf_release(&mb, cache);
	must(xmb_waiter_start(&waiters, &waiter, cache) == 1);
	OK(xmb_waiter_cancel(&waiters, &waiter));
}

static void arenas(void)
{
	static uint8_t mem[100000];
	struct xmb_multibuf mb = { 0 };
	static struct xmb_arena arena;

	OK(xmb_arena_init(&arena, &(struct xmb_arena_opts){
		.mem = mem, .len = sizeof(mem) }));
	OK(xmb_allocator_alloc_len(&arena.allocator, 30000, &mb));
	xmb_multibuf_release(&mb, &arena.cache);
	OK(xmb_arena_fini(&arena));
}

/* To the kernel and back, whole and in pieces, with a cookie. */
static void handovers(void)
{
	struct xmb_completion done[4];
	struct xmb_multibuf mb = make(3), tail = { 0 };
	struct xmb_chunk c = { 0 };
	uint64_t addrs[64], addr;
	bool is_excl;

	OK(xmb_cookie_attach(&box, &mb, 7));
	OK(xmb_multibuf_split(&mb, 150, &tail, cache));
	while (xmb_multibuf_pop_front(&mb, &c, cache) == 0) {
		addr = xmb_handover_tx(cache, 3, &c, &is_excl);
		OK(xmb_handover_complete(cache, 3, addr));
	}
	xmb_multibuf_release(&tail, cache);
	must(xmb_cookie_reap(&box, done, 4) == 1);
	must(xmb_handover_fill(cache, 3, addrs, 64) == 64);
	for (int i = 0; i < 64; i++) {
		OK(xmb_handover_rx(cache, 3, addrs[i], 60, &c));
		xmb_chunk_release(&c, cache);
	}
}

static void pipes(void)
{
	struct xmb_multibuf mbs[8], got[8] = { 0 };

	for (int i = 0; i < 8; i++)
		mbs[i] = make(5);
	must(xmb_socket_send(&pipe_ends.end[0].sock, mbs, 8) == 8);
	must(xmb_socket_recv(&pipe_ends.end[1].sock, got, 8) == 8);
	xmb_multibuf_release_bulk(got, 8, cache);
}

static void headers(void)
{
	struct xmb_multibuf mb = make(10);
	struct xmb_parse parse;

	xmb_multibuf_copy_from(&mb, 0, bytes, 1000);
	xmb_parse(&mb, &parse);
	xmb_csum_add(&mb, 3, 700, 0);
	xmb_multibuf_release(&mb, cache);
}

static const struct {
	const char *name;
	void (*run)(void);
} table[] = {
	{ "chunks", chunks },	      { "chunks in bulk", chunks_in_bulk },
	{ "multibufs", multibufs },   { "edits", edits },
	{ "shares", shares },	      { "fragments", fragments },
	{ "spans", spans },	      { "streams", streams },
	{ "flats", flats },	      { "layers", layers },
	{ "allocator", allocations }, { "waiters", waits },
	{ "arena", arenas },	      { "handovers", handovers },
	{ "pipes", pipes },	      { "headers", headers },
};

static void setup(void)
{
	lab_open(&lab, FRAME_LEN, FRAME_CNT, SPILL_CNT);
	xmb_allocator_init_pool(&allocator, cache);
	OK(xmb_waiters_init(&waiters, &allocator,
			    &(struct xmb_waiters_opts){ .who = 9 }));
	OK(xmb_cookie_box_init(&box, 16));
	OK(xmb_pipe_init(&pipe_ends, 16, cache, cache));
}

static void teardown(void)
{
	xmb_pipe_fini(&pipe_ends, cache);
	OK(xmb_cookie_box_fini(&box));
	OK(xmb_waiters_fini(&waiters));
	lab_close(&lab);
}

TestSuite(no_malloc, .init = setup, .fini = teardown, .timeout = 300);

Test(no_malloc, no_operation_of_the_table_asks_for_memory)
{
	for (size_t i = 0; i < sizeof(table) / sizeof(*table); i++) {
		call_cnt = 0;
		for (int round = 0; round < ROUND_CNT; round++) {
			is_armed = true;
			table[i].run();
			is_armed = false;
		}
		cr_expect(eq(u32, call_cnt, 0), "%s: %s", table[i].name,
			  called);
		cr_expect(eq(u32, cache->cnt + xmb_pool_free_cnt(&lab.pool),
			     FRAME_CNT), "%s", table[i].name);
	}
}

/* The counters count: what is known to allocate is seen. */
Test(no_malloc, an_operation_that_does_is_seen)
{
	struct xmb_multibuf mb = { 0 };

	is_armed = true;
	OK(xmb_extbuf_attach(cache, bytes, sizeof(bytes), NULL, NULL, &mb));
	is_armed = false;
	cr_expect(eq(u32, call_cnt, 1));
	cr_expect(eq(str, (char *)called, "aligned_alloc"));
	is_armed = true;
	xmb_multibuf_release(&mb, cache);
	is_armed = false;
	cr_expect(eq(u32, call_cnt, 2));
	cr_expect(eq(str, (char *)called, "free"));
}

static char *read_all(const char *root, const char *path)
{
	char name[512], *text = calloc(1, 1 << 18);
	FILE *file;

	snprintf(name, sizeof(name), "%s/%s", root, path);
	file = fopen(name, "r");
	cr_assert(file && text, "%s", name);
	must(fread(text, 1, (1 << 18) - 1, file) > 0);
	fclose(file);
	return text;
}

static bool has_suffix(const char *name, const char *suffix)
{
	size_t len = strlen(name), n = strlen(suffix);

	return len > n && strcmp(name + len - n, suffix) == 0;
}

/* The slow half of an inline function is called by that one. */
static bool is_half(const char *name)
{
	return has_suffix(name, "_rest(") || has_suffix(name, "_slot(") ||
	       has_suffix(name, "_border(") || has_suffix(name, "_init(") ||
	       has_suffix(name, "_fini(");
}

/* The name that ends before the parenthesis, with that. */
static void call_of(const char *paren, char *call, size_t len)
{
	const char *name = paren;
	size_t n;

	while (isalnum((unsigned char)name[-1]) || name[-1] == '_')
		name--;
	n = (size_t)(paren - name) + 1;
	cr_assert(lt(u64, n, len));
	memcpy(call, name, n);
	call[n] = '\0';
}

Test(no_malloc, everything_that_the_headers_export_is_in_the_table)
{
	static const char *const headers_of[] = {
		"lib/buf/chunk.h",	 "lib/buf/multibuf.h",
		"lib/buf/edit.h",	 "lib/view/span.h",
		"lib/view/stream.h",	 "lib/view/flat.h",
		"lib/view/layer.h",	 "lib/alloc/allocator.h",
		"lib/alloc/waiter.h",
	};
	const char *root = getenv("XMBUF_ROOT");
	uint32_t found = 0;
	char *own, call[100];

	if (!root)
		cr_skip("XMBUF_ROOT does not say where the headers are");
	own = read_all(root, "tests/unit/test_no_malloc.c");
	for (size_t i = 0; i < sizeof(headers_of) / sizeof(*headers_of); i++) {
		char *text = read_all(root, headers_of[i]), *at = text;

		while ((at = strstr(at, "\nXMB_API ")) != NULL) {
			at = strchr(at, '(');
			cr_assert(at != NULL);
			call_of(at, call, sizeof(call));
			found++;
			if (!is_half(call))
				cr_expect(not(zero(ptr, strstr(own, call))),
					  "%s) of %s is not in the table",
					  call, headers_of[i]);
		}
		free(text);
	}
	cr_expect(gt(u32, found, 80));
	free(own);
}
