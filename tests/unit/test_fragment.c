/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * lib/buf/edit, fragments: packets that were appended come off as they were,
 * and no edit makes one of two.
 */
#include "edit_room.h"

#include <signal.h>

TestSuite(fragment, .init = setup, .fini = teardown, .timeout = 300);

/* Fragments of these numbers of chunks of 4 bytes; bytes count up. */
static struct xmb_multibuf mb_of_fragments(const uint32_t *cnts, uint32_t cnt)
{
	struct xmb_multibuf mb = { 0 };

	for (uint32_t i = 0; i < cnt; i++) {
		struct xmb_multibuf x = mb_of(&here, cnts[i], 4,
					      (uint8_t)mb.len);

		cr_assert(eq(int, xmb_multibuf_append_fragment(&mb, &x,
							       &here.cache),
			     0));
	}
	cr_assert(eq(u32, xmb_multibuf_fragment_cnt(&mb), cnt));
	return mb;
}

/* A digit for each chunk: 1 where a fragment ends. */
static void expect_ends(const struct xmb_multibuf *mb, const char *want)
{
	char ends[64] = { 0 };

	for (uint32_t k = 0; k < mb->cnt; k++)
		ends[k] = xmb_multibuf_chunk(mb, k)->flags & XMB_CHUNK_END ?
				  '1' : '0';
	cr_expect(eq(str, ends, (char *)want));
	cr_expect(xmb_multibuf_check(mb));
}

Test(fragment, what_was_appended_is_taken_off_as_it_was)
{
	static const uint32_t cnts[] = { 1, 3, 2, 5, 1, 4 };
	struct xmb_multibuf mb = mb_of_fragments(cnts, 6), out = { 0 };
	uint32_t first = 0;

	expect_ends(&mb, "1001010000110001");
	mb.user = 5;
	for (uint32_t i = 0; i < 6; i++) {
		cr_assert(eq(int, xmb_multibuf_take_fragment(&mb, &out,
							     &here.cache), 0));
		cr_expect(eq(u32, out.cnt, cnts[i]));
		cr_expect(eq(u32, out.user, 5));
		expect_bytes(&out, 4 * cnts[i], (uint8_t)first);
		cr_expect(eq(u32, xmb_multibuf_fragment_cnt(&out), 1));
		cr_expect(not(out.c[0].flags & XMB_CHUNK_END));
		cr_expect(eq(u32, xmb_multibuf_fragment_cnt(&mb), 5 - i));
		first += 4 * cnts[i];
		xmb_multibuf_release(&out, &here.cache);
	}
	EXPECT_REFUSED(&mb, &out, xmb_multibuf_take_fragment(&mb, &out,
							     &here.cache),
		       -ENOENT);
}

Test(fragment, without_a_boundary_all_is_one)
{
	struct xmb_multibuf mb = mb_of(&here, 5, 7, 0), out = { 0 };

	cr_expect(eq(u32, xmb_multibuf_fragment_cnt(&mb), 1));
	cr_expect(eq(u32, xmb_multibuf_fragment_cnt(&out), 0));
	cr_expect(eq(int, xmb_multibuf_take_fragment(&mb, &out, &here.cache),
		     0));
	cr_expect(is_zero(&mb));
	expect_bytes(&out, 35, 0);
	xmb_multibuf_release(&out, &here.cache);
}

Test(fragment, append_is_refused_as_the_header_says)
{
	struct xmb_multibuf mb = mb_of(&here, 3, 7, 0), none = { 0 };
	struct xmb_multibuf x = mb_of(&here, 2, 7, 0);

	EXPECT_REFUSED(&mb, NULL, xmb_multibuf_append_fragment(&mb, &mb,
			&here.cache), -EINVAL);
	EXPECT_REFUSED(&mb, &none, xmb_multibuf_append_fragment(&mb, &none,
			&here.cache), -ENODATA);
	hoard_blocks(&here, 0);
	EXPECT_REFUSED(&mb, &x, xmb_multibuf_append_fragment(&mb, &x,
			&here.cache), -ENOBUFS);
	give_blocks(&here);
	expect_ends(&mb, "000");
	expect_ends(&x, "00");
	xmb_multibuf_release(&mb, &here.cache);
	xmb_multibuf_release(&x, &here.cache);
}

Test(fragment, take_into_a_live_one_aborts, .signal = SIGABRT)
{
	struct xmb_multibuf mb = mb_of(&here, 2, 7, 0);
	struct xmb_multibuf out = mb_of(&here, 1, 7, 0);

	xmb_multibuf_take_fragment(&mb, &out, &here.cache);
}

/* [0 4 8|][12 16|][20 24|] */
static const uint32_t three[] = { 3, 2, 2 };

Test(fragment, discarding_leaves_an_end_to_what_stays)
{
	static const struct { uint32_t off, n; const char *ends; } t[] = {
		{ 0, 4, "010101" },  { 0, 5, "010101" },   { 0, 12, "0101" },
		{ 4, 8, "10101" },   { 6, 6, "010101" },   { 5, 6, "0010101" },
		{ 4, 12, "1101" },   { 4, 10, "10101" },   { 6, 16, "0101" },
		{ 12, 8, "00101" },  { 13, 2, "00100101" }, { 8, 20, "01" },
		{ 0, 28, "1" },	     { 1, 27, "1" },
	};

	for (size_t i = 0; i < sizeof(t) / sizeof(t[0]); i++) {
		struct xmb_multibuf mb = mb_of_fragments(three, 3);

		cr_assert(eq(int, xmb_multibuf_discard_segment(&mb, t[i].off,
				t[i].n, &here.cache), 0));
		expect_ends(&mb, t[i].ends);
		xmb_multibuf_release(&mb, &here.cache);
	}
}

Test(fragment, taking_and_truncating_leave_an_end_to_what_stays)
{
	static const struct { uint32_t off, n; const char *mb, *out; } t[] = {
		{ 0, 12, "0101", "001" },   { 4, 8, "10101", "01" },
		{ 5, 14, "01101", "0100" }, { 4, 24, "1", "010101" },
		{ 5, 2, "00010101", "0" },   { 14, 10, "00111", "010" },
	};

	for (size_t i = 0; i < sizeof(t) / sizeof(t[0]); i++) {
		struct xmb_multibuf mb = mb_of_fragments(three, 3);
		struct xmb_multibuf out = { 0 };

		cr_assert(eq(int, xmb_multibuf_take(&mb, t[i].off, t[i].n,
						    &out, &here.cache), 0));
		expect_ends(&mb, t[i].mb);
		expect_ends(&out, t[i].out);
		xmb_multibuf_release(&mb, &here.cache);
		xmb_multibuf_release(&out, &here.cache);
	}
	for (uint32_t len = 0; len <= 28; len++) {
		struct xmb_multibuf mb = mb_of_fragments(three, 3);

		cr_assert(eq(int, xmb_multibuf_truncate(&mb, len, &here.cache),
			     0));
		cr_expect(ne(int, xmb_multibuf_chunk(&mb, mb.cnt - 1u)->flags &
				  XMB_CHUNK_END, 0));
		cr_expect(eq(u32, xmb_multibuf_fragment_cnt(&mb),
			     len <= 12 ? 1 : len <= 20 ? 2 : 3));
		xmb_multibuf_release(&mb, &here.cache);
	}
}

Test(fragment, take_chunk_leaves_its_end_behind)
{
	static const char *const want[] = { "010101", "010101", "010101",
					    "001101", "001101", "001011",
					    "001011" };

	for (uint32_t k = 0; k < 7; k++) {
		struct xmb_multibuf mb = mb_of_fragments(three, 3);
		struct xmb_chunk c = { 0 };

		cr_assert(eq(int, xmb_multibuf_take_chunk(&mb, k, &c,
							  &here.cache), 0));
		expect_ends(&mb, want[k]);
		xmb_chunk_release(&c, &here.cache);
		xmb_multibuf_release(&mb, &here.cache);
	}
}

/* A split tears, wherever it is, and appending mends. */
Test(fragment, split_and_append_restore_it)
{
	for (uint32_t at = 0; at <= 28; at++) {
		struct xmb_multibuf mb = mb_of_fragments(three, 3);
		struct xmb_multibuf tail = { 0 };

		cr_assert(eq(int, xmb_multibuf_split(&mb, at, &tail,
						     &here.cache), 0));
		cr_assert(eq(int, xmb_multibuf_append(&mb, &tail,
						      &here.cache), 0));
		expect_ends(&mb, at % 4 == 0 ? "0010101" :
				 at < 12 ? "00010101" :
				 at < 20 ? "00100101" : "00101001");
		xmb_multibuf_release(&mb, &here.cache);
	}
}

Test(fragment, an_end_is_copied_with_the_last_part_of_its_chunk)
{
	for (uint32_t at = 1; at < 20; at++) {
		struct xmb_multibuf mb = { 0 }, tail = { 0 };
		struct xmb_chunk side[4];

		mb = crowded_mb(&here, &here, 2, 1, 20, side);
		xmb_multibuf_chunk(&mb, 1)->flags |= XMB_CHUNK_END;
		cr_assert(eq(int, xmb_multibuf_split(&mb, 20 + at, &tail,
						     &here.cache), 0));
		expect_ends(&mb, "00");
		expect_ends(&tail, "1");
		xmb_chunk_release_bulk(side, 4, &here.cache);
		xmb_multibuf_release(&mb, &here.cache);
		xmb_multibuf_release(&tail, &here.cache);
	}
}

Test(fragment, growth_behind_is_of_the_last_fragment)
{
	struct xmb_multibuf mb = mb_of_fragments(three, 3);

	cr_assert(eq(int, xmb_multibuf_grow_suffix(&mb, 100, &here.cache), 0));
	expect_ends(&mb, "001010" "01");
	cr_assert(eq(int, xmb_multibuf_grow_prefix(&mb, 100, &here.cache), 0));
	cr_expect(eq(u32, xmb_multibuf_fragment_cnt(&mb), 3));
	xmb_multibuf_release(&mb, &here.cache);
}
