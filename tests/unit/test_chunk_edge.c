/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * lib/buf/chunk at the edges of its numbers: lengths that do not fit 32 bits
 * are refused and do not wrap, and memory of the caller's is cut at every
 * power of two and one byte beside it.
 */
#include "buf/chunk.h"
#include "buf/extbuf.h"

#include "buf_lab.h"

enum { FRAME_LEN = 2048, FRAME_CNT = 8, SPILL_CNT = 128, REGION_LEN = 32768 };

#define MIB (1024u * 1024u)

static struct lab lab;
static struct xmb_chunk none, out;

static void setup(void)
{
	lab_open(&lab, FRAME_LEN, FRAME_CNT, SPILL_CNT);
}

static void teardown(void)
{
	cr_expect(zero(i64, lab.cache.app_cnt));
	lab_close(&lab);
}

TestSuite(chunk_edge, .init = setup, .fini = teardown, .timeout = 300);

/* A call with one size, as all of them are called here. */
typedef int size_fn(struct xmb_chunk *chunk, size_t n);

static int slice_to(struct xmb_chunk *chunk, size_t n)
{
	return xmb_chunk_slice(chunk, 0, n);
}

static int slice_from(struct xmb_chunk *chunk, size_t n)
{
	return xmb_chunk_slice(chunk, n, n);
}

static int slice_down(struct xmb_chunk *chunk, size_t n)
{
	return xmb_chunk_slice(chunk, n, 1);
}

static int split(struct xmb_chunk *chunk, size_t n)
{
	return xmb_chunk_split(chunk, n, &out);
}

static int take_prefix(struct xmb_chunk *chunk, size_t n)
{
	return xmb_chunk_take_prefix(chunk, n, &out);
}

static int take_suffix(struct xmb_chunk *chunk, size_t n)
{
	return xmb_chunk_take_suffix(chunk, n, &out);
}

static int write_long(struct xmb_chunk *chunk, size_t n)
{
	return xmb_chunk_write(chunk, 0, "", n);
}

static int write_far(struct xmb_chunk *chunk, size_t n)
{
	return xmb_chunk_write(chunk, n, "x", 1);
}

/* Offset and length that add up to 0, or to little, should they wrap. */
static int write_around(struct xmb_chunk *chunk, size_t n)
{
	return xmb_chunk_write(chunk, n, "", 0 - n + 1);
}

static const struct {
	const char *name;
	size_fn *call;
} calls[] = {
	{ "discard_prefix", xmb_chunk_discard_prefix },
	{ "truncate", xmb_chunk_truncate },
	{ "slice to", slice_to },
	{ "slice from", slice_from },
	{ "slice down", slice_down },
	{ "split", split },
	{ "take_prefix", take_prefix },
	{ "take_suffix", take_suffix },
	{ "claim_prefix", xmb_chunk_claim_prefix },
	{ "claim_suffix", xmb_chunk_claim_suffix },
	{ "write long", write_long },
	{ "write far", write_far },
	{ "write around", write_around },
};

static void refuse_sizes(struct xmb_chunk *chunk)
{
	const size_t len = chunk->len, off = chunk->off;
	const size_t sizes[] = {
		(size_t)UINT32_MAX - 1,
		UINT32_MAX,
		(size_t)UINT32_MAX + 1,
		/* Cut to 32 bits these would be in the chunk, or beside it. */
		(size_t)UINT32_MAX + 1 + len / 2,
		(size_t)UINT32_MAX + 1 + len,
		(size_t)UINT32_MAX + 1 - len,
		(size_t)UINT32_MAX + 1 - off,
		(size_t)INT64_MAX,
		SIZE_MAX - len,
		SIZE_MAX - len + 1,
		SIZE_MAX - len + 2,
		SIZE_MAX - off,
		SIZE_MAX - off + 1,
		SIZE_MAX - 1,
		SIZE_MAX,
	};

	for (size_t i = 0; i < sizeof(calls) / sizeof(*calls); i++) {
		for (size_t k = 0; k < sizeof(sizes) / sizeof(*sizes); k++) {
			struct xmb_chunk was = *chunk;
			int ret;

			/* Of no bytes this is a small size, not a large. */
			if (sizes[k] < FRAME_LEN)
				continue;
			lab_snap(&lab);
			ret = calls[i].call(chunk, sizes[k]);
			cr_expect(eq(int, ret, -ERANGE), "%s %#zx",
				  calls[i].name, sizes[k]);
			cr_assert(zero(int, memcmp(&was, chunk, sizeof(was))),
				  "%s %#zx", calls[i].name, sizes[k]);
			cr_assert(lab_is_unchanged(&lab), "%s %#zx",
				  calls[i].name, sizes[k]);
			cr_assert(not(xmb_chunk_is_live(&out)));
		}
	}
}

Test(chunk_edge, no_size_beyond_32_bits_is_taken_or_wraps)
{
	struct xmb_chunk a = { 0 }, b = { 0 };

	refuse_sizes(&none);
	cr_assert(eq(int, xmb_chunk_alloc(&lab.cache, &a), 0));
	refuse_sizes(&a);
	cr_assert(eq(int, xmb_chunk_slice(&a, 100, 900), 0));
	refuse_sizes(&a);
	cr_assert(eq(int, xmb_chunk_split(&a, 300, &b), 0));
	refuse_sizes(&a);
	refuse_sizes(&b);
	xmb_chunk_truncate(&b, 0);
	refuse_sizes(&b);
	xmb_chunk_release(&a, &lab.cache);
	xmb_chunk_release(&b, &lab.cache);
}

/* Trims of a read-only chunk; the rest is -EPERM at any size (chunk_share). */
Test(chunk_edge, trims_of_a_share_do_not_wrap)
{
	const size_t sizes[] = { UINT32_MAX, (size_t)UINT32_MAX + 1,
				 (size_t)UINT32_MAX + 9, SIZE_MAX - 8,
				 SIZE_MAX };
	struct xmb_chunk a = { 0 }, b = { 0 };

	cr_assert(eq(int, xmb_chunk_alloc(&lab.cache, &a), 0));
	cr_assert(eq(int, xmb_chunk_slice(&a, 100, 109), 0));
	cr_assert(eq(int, xmb_chunk_share(&a, &b), 0));
	for (size_t i = 0; i < sizeof(sizes) / sizeof(*sizes); i++) {
		for (int k = 0; k < 5; k++) {
			lab_snap(&lab);
			cr_expect(eq(int, calls[k].call(&a, sizes[i]),
				     -ERANGE), "%s %#zx", calls[k].name,
				  sizes[i]);
			cr_assert(lab_is_unchanged(&lab));
			cr_assert(eq(u32, a.len, 9));
		}
	}
	xmb_chunk_release(&a, &lab.cache);
	xmb_chunk_release(&b, &lab.cache);
}

static int freed_cnt;

static void on_free(void *arg, void *mem, size_t len)
{
	(void)arg;
	(void)mem;
	(void)len;
	freed_cnt++;
}

static uint8_t pattern(size_t i)
{
	return (uint8_t)(i * 2654435761u >> 7);
}

static void expect_pattern(const struct xmb_multibuf *mb, size_t from)
{
	struct xmb_multibuf_iter iter;

	for (const struct xmb_chunk *c = xmb_multibuf_first(mb, &iter); c;
	     c = xmb_multibuf_next(&iter)) {
		const uint8_t *data = xmb_chunk_data(c);

		for (uint32_t i = 0; i < c->len; i++, from++) {
			if (data[i] != pattern(from))
				cr_assert(eq(u8, data[i], pattern(from)),
					  "byte %zu", from);
		}
	}
}

/* Join what of mb are neighbours in one region. */
static void rejoin(struct xmb_multibuf *mb)
{
	struct xmb_multibuf made = { 0 };
	struct xmb_chunk last = { 0 }, next = { 0 };

	while (xmb_multibuf_pop_front(mb, &next, &lab.cache) == 0) {
		int ret = xmb_chunk_merge(&last, &next);

		cr_assert(ret == 0 || ret == -EXDEV || ret == -EINVAL,
			  "merge: %d", ret);
		if (ret == 0)
			continue;
		if (ret == -EXDEV)
			cr_assert(eq(int, xmb_multibuf_push_back(
						  &made, &last, &lab.cache),
				     0));
		last = next;
		next = (struct xmb_chunk){ 0 };
	}
	cr_assert(eq(int, xmb_multibuf_push_back(&made, &last, &lab.cache),
		     0));
	*mb = made;
}

static void cut_and_join(struct xmb_multibuf *mb, size_t at)
{
	struct xmb_multibuf tail = { 0 };
	size_t len = mb->len;
	uint32_t cnt = mb->cnt;
	bool is_border = at % REGION_LEN == 0 || at == len;

	if (at > len) {
		cr_expect(eq(int, xmb_multibuf_split(mb, at, &tail,
						     &lab.cache), -ERANGE));
		return;
	}
	cr_assert(eq(int, xmb_multibuf_split(mb, at, &tail, &lab.cache), 0));
	cr_expect(eq(sz, mb->len, at));
	cr_expect(eq(sz, tail.len, len - at));
	cr_expect(eq(u32, mb->cnt + tail.cnt, cnt + !is_border));
	expect_pattern(mb, 0);
	expect_pattern(&tail, at);
	cr_assert(eq(int, xmb_multibuf_append(mb, &tail, &lab.cache), 0));
	cr_expect(eq(sz, mb->len, len));
	rejoin(mb);
	cr_expect(eq(u32, mb->cnt, cnt));
	cr_assert(xmb_multibuf_check(mb));
}

static void check_span(size_t len)
{
	struct xmb_multibuf mb = { 0 };
	struct xmb_multibuf_iter iter;
	uint8_t *mem = malloc(len);

	cr_assert(not(zero(ptr, mem)));
	freed_cnt = 0;
	for (size_t i = 0; i < len; i++)
		mem[i] = pattern(i);
	cr_assert(eq(int, xmb_extbuf_attach(&lab.cache, mem, len, on_free,
					    NULL, &mb), 0));
	for (size_t at = 1; at < 2 * len; at *= 2) {
		cut_and_join(&mb, at - 1);
		cut_and_join(&mb, at);
		cut_and_join(&mb, at + 1);
	}
	cut_and_join(&mb, len - 1);
	cut_and_join(&mb, len);
	cut_and_join(&mb, len + 1);
	expect_pattern(&mb, 0);
	/* All is as it was: whole regions, each with one owner. */
	for (const struct xmb_chunk *c = xmb_multibuf_first(&mb, &iter); c;
	     c = xmb_multibuf_next(&iter)) {
		cr_expect(xmb_chunk_is_excl(c));
		cr_expect(zero(u32, c->off));
	}
	cr_expect(zero(int, freed_cnt));
	xmb_multibuf_release(&mb, &lab.cache);
	cr_expect(eq(int, freed_cnt, 1));
	free(mem);
}

Test(chunk_edge, a_span_of_65535_bytes_is_cut_anywhere_and_joined)
{
	check_span(65535);
}

Test(chunk_edge, a_span_of_65536_bytes_is_cut_anywhere_and_joined)
{
	check_span(65536);
}

Test(chunk_edge, a_span_of_65537_bytes_is_cut_anywhere_and_joined)
{
	check_span(65537);
}

Test(chunk_edge, a_span_of_3_mib_is_cut_anywhere_and_joined)
{
	check_span(3 * MIB);
}

/* Shares of the caller's memory keep it, too, until the last is released. */
Test(chunk_edge, shares_of_a_span_keep_it)
{
	static uint8_t mem[REGION_LEN];
	struct xmb_multibuf mb = { 0 };
	struct xmb_chunk a = { 0 }, b = { 0 };

	freed_cnt = 0;
	cr_assert(eq(int, xmb_extbuf_attach(&lab.cache, mem, sizeof(mem),
					    on_free, NULL, &mb), 0));
	cr_assert(eq(int, xmb_multibuf_pop_front(&mb, &a, &lab.cache), 0));
	cr_assert(eq(int, xmb_chunk_share(&a, &b), 0));
	xmb_chunk_release(&a, &lab.cache);
	cr_expect(zero(int, freed_cnt));
	cr_assert(eq(int, xmb_chunk_unshare(&b), 0));
	cr_expect(xmb_chunk_is_excl(&b));
	xmb_chunk_release(&b, &lab.cache);
	cr_expect(eq(int, freed_cnt, 1));
}
