/* SPDX-License-Identifier: BSD-2-Clause */
/* What scripts/mutate found that no other test of lib/buf/chunk noticed. */
#include "buf/chunk.h"
#include "buf_lab.h"

static struct lab lab;
static struct xmb_chunk whole, copy;

static void merge_with_its_copy(void)
{
	xmb_chunk_merge(&whole, &copy);
}

/* Only an empty chunk begins where it ends, and so can meet its own copy. */
Test(chunk_mutants, an_empty_frame_does_not_merge_with_its_stale_copy)
{
	lab_open(&lab, 256, 1, 0);
	cr_assert(eq(int, xmb_chunk_alloc(&lab.cache, &whole), 0));
	cr_assert(eq(int, xmb_chunk_truncate(&whole, 0), 0));
	copy = whole;
	lab_expect_death(merge_with_its_copy, "the handle is of generation");
	xmb_chunk_release(&whole, &lab.cache);
	lab_close(&lab);
}

static void release_the_copy(void)
{
	xmb_chunk_release(&copy, &lab.cache);
}

/* The one way to an exclusive chunk that does not go through alloc_part(). */
Test(chunk_mutants, frames_taken_in_bulk_are_of_the_generation_they_had)
{
	struct xmb_chunk two[2] = { 0 };
	uint32_t gen;

	lab_open(&lab, 256, 2, 0);
	cr_assert(eq(int, xmb_chunk_alloc(&lab.cache, &whole), 0));
	copy = whole;
	gen = whole.slot;
	xmb_chunk_release(&whole, &lab.cache);
	cr_assert(eq(int, xmb_chunk_alloc_bulk(&lab.cache, two, 2), 0));
	cr_assert(eq(u32, two[0].region, copy.region));
	cr_expect(eq(u32, two[0].slot, gen + 1));
	cr_expect(xmb_chunk_check(&two[0]) && xmb_chunk_check(&two[1]));
	lab_expect_death(release_the_copy, "the handle is of generation");
	xmb_chunk_release_bulk(two, 2, &lab.cache);
	lab_close(&lab);
}
