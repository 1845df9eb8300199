/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * lib/buf/chunk, step by step: chunk.c is built in here with a hook before
 * each of its atomic accesses.  For every call and every one of its steps the
 * neighbour does one or two whole calls just then, as another thread might.
 * Afterwards no byte may have two owners, and all must come home.
 *
 *      0        L        gap        R          C    64
 *      +--------+--------+----------+----------+-----+
 *        ops 0..                ops 0..          keeps the region shared
 *
 * In a second round one of left's chunks has a share on the right, which adds
 * it to what the right does.
 *
 * This finds steps that are missing or in the wrong order, each time and on
 * any machine; memory orders are for ThreadSanitizer and buf_stress.
 */
#include <stdatomic.h>

static void step(void);

/* Each access names its order, and so calls step() on its way. */
#define memory_order_relaxed (step(), __ATOMIC_RELAXED)
#define memory_order_acquire (step(), __ATOMIC_ACQUIRE)
#define memory_order_release (step(), __ATOMIC_RELEASE)
#define memory_order_acq_rel (step(), __ATOMIC_ACQ_REL)
#define memory_order_seq_cst (step(), __ATOMIC_SEQ_CST)

#include "buf/chunk.c"

#include "buf_lab.h"

enum { FRAME_LEN = 64, STEP_MAX = 200, HANDLE_CNT = 8 };

static struct lab lab;
/* Left, what left splits off, the same right, far right and its tail; what
 * right shares with left, and what it splits off or shares of that. */
static struct xmb_chunk h[HANDLE_CNT];
#define L (&h[0])
#define LT (&h[1])
#define R (&h[2])
#define RT (&h[3])
#define C (&h[4])
#define CT (&h[5])
#define S (&h[6])
#define ST (&h[7])

/* What happens before step number countdown, and what the hook sees of it. */
static void (*inject[2])(void);
static int countdown = -1;
static bool is_inside;

static void step(void)
{
	if (is_inside || countdown < 0 || countdown-- > 0)
		return;
	is_inside = true;
	for (int i = 0; i < 2; i++) {
		if (inject[i])
			inject[i]();
	}
	is_inside = false;
}

/* Calls; each does nothing where its handle is empty. */

static void claim(struct xmb_chunk *chunk, bool is_prefix, uint32_t n)
{
	int ret;

	if (!xmb_chunk_is_live(chunk))
		return;
	ret = is_prefix ? xmb_chunk_claim_prefix(chunk, n) :
			  xmb_chunk_claim_suffix(chunk, n);
	if (xmb_chunk_is_rdonly(chunk))
		cr_assert(eq(int, ret, -EPERM));
	else
		cr_assert(ret == 0 || ret == -EBUSY || ret == -ERANGE);
}

static void split(struct xmb_chunk *chunk, uint32_t at, struct xmb_chunk *tail)
{
	if (!xmb_chunk_is_live(chunk) || xmb_chunk_is_live(tail))
		return;
	cr_assert(eq(int, xmb_chunk_split(chunk, xmb_min_u32(at, chunk->len),
					  tail),
		     xmb_chunk_is_rdonly(chunk) ? -EPERM : 0));
}

static void share(struct xmb_chunk *chunk, struct xmb_chunk *clone)
{
	if (!xmb_chunk_is_live(chunk) || xmb_chunk_is_live(clone))
		return;
	cr_assert(eq(int, xmb_chunk_share(chunk, clone), 0));
}

static void stop_sharing(struct xmb_chunk *chunk)
{
	int ret = xmb_chunk_unshare(chunk);

	cr_assert(ret == 0 || ret == -EBUSY);
	cr_assert(eq(int, xmb_chunk_is_rdonly(chunk), ret == -EBUSY));
}

static void merge(struct xmb_chunk *chunk, struct xmb_chunk *next)
{
	uint32_t len = chunk->len + next->len;
	bool is_fit = xmb_chunk_is_live(chunk) && xmb_chunk_is_live(next) &&
		      chunk->off + chunk->len == next->off;

	if (!is_fit || xmb_chunk_is_rdonly(chunk) || xmb_chunk_is_rdonly(next))
		return;
	cr_assert(eq(int, xmb_chunk_merge(chunk, next), 0));
	cr_assert(eq(u32, chunk->len, len));
}

static void l_claim_8(void) { claim(L, false, 8); }
static void l_claim_16(void) { claim(L, false, 16); }
static void l_claim_24(void) { claim(L, false, 24); }
static void l_split_0(void) { split(L, 0, LT); }
static void l_split_8(void) { split(L, 8, LT); }
static void l_split_all(void) { split(L, FRAME_LEN, LT); }
static void l_truncate(void) { xmb_chunk_truncate(L, L->len / 2); }
static void l_release(void) { xmb_chunk_release(L, &lab.cache); }
static void lt_claim_8(void) { claim(LT, false, 8); }
static void lt_claim_back_8(void) { claim(LT, true, 8); }
static void lt_discard(void) { xmb_chunk_discard_prefix(LT, LT->len / 2); }
static void lt_release(void) { xmb_chunk_release(LT, &lab.cache); }
static void r_claim_8(void) { claim(R, true, 8); }
static void r_claim_16(void) { claim(R, true, 16); }
static void r_claim_24(void) { claim(R, true, 24); }
static void r_claim_32(void) { claim(R, true, 32); }
static void r_claim_behind(void) { claim(R, false, 8); }
static void r_split_0(void) { split(R, 0, RT); }
static void r_split_8(void) { split(R, 8, RT); }
static void r_discard(void) { xmb_chunk_discard_prefix(R, R->len / 2); }
static void r_truncate(void) { xmb_chunk_truncate(R, 0); }
static void r_release(void) { xmb_chunk_release(R, &lab.cache); }
static void rt_claim_8(void) { claim(RT, true, 8); }
static void rt_release(void) { xmb_chunk_release(RT, &lab.cache); }
static void l_merge(void) { merge(L, LT); }
static void r_merge(void) { merge(R, RT); }
static void l_share(void) { share(L, LT); }
static void r_share(void) { share(R, RT); }
static void l_unshare(void) { stop_sharing(L); }
static void lt_unshare(void) { stop_sharing(LT); }
static void r_unshare(void) { stop_sharing(R); }
static void s_claim_8(void) { claim(S, true, 8); }
static void s_claim_behind(void) { claim(S, false, 8); }
static void s_split_8(void) { split(S, 8, ST); }
static void s_truncate(void) { xmb_chunk_truncate(S, S->len / 2); }
static void s_discard(void) { xmb_chunk_discard_prefix(S, S->len / 2); }
static void s_share(void) { share(S, ST); }
static void s_unshare(void) { stop_sharing(S); }
static void s_merge(void) { merge(S, ST); }
static void s_release(void) { xmb_chunk_release(S, &lab.cache); }
static void st_unshare(void) { stop_sharing(ST); }
static void st_release(void) { xmb_chunk_release(ST, &lab.cache); }

typedef void call_fn(void);

static call_fn *const left[] = {
	l_claim_8, l_claim_16, l_claim_24, l_split_0, l_split_8, l_split_all,
	l_truncate, l_release, lt_claim_8, lt_claim_back_8, lt_discard,
	lt_release, l_merge, l_share, l_unshare, NULL,
};
static call_fn *const right[] = {
	r_claim_8, r_claim_16, r_claim_24, r_claim_32, r_claim_behind,
	r_split_0, r_split_8, r_discard, r_truncate, r_release, rt_claim_8,
	rt_release, r_merge, r_share, r_unshare, NULL,
};

/* Where left and right have shares of the same bytes. */
static call_fn *const left_sharing[] = {
	l_claim_8, l_claim_24, l_split_8, l_truncate, l_release, l_merge,
	l_share, l_unshare, lt_claim_8, lt_discard, lt_release, lt_unshare,
	NULL,
};
static call_fn *const right_sharing[] = {
	s_claim_8, s_claim_behind, s_split_8, s_truncate, s_discard, s_share,
	s_unshare, s_merge, s_release, st_unshare, st_release, r_claim_16,
	r_claim_32, r_release, NULL,
};

/* Which handles there are, and how much is between left and right. */
struct scene {
	bool has_far, has_left_tail;
	uint32_t gap;
	/* What of left is shared, and which bytes the share then has. */
	const struct xmb_chunk *shared;
	uint32_t from, to;
};

static void set_up(const struct scene *scene)
{
	struct xmb_chunk whole = { 0 };

	cr_assert(eq(int, xmb_chunk_alloc(&lab.cache, &whole), 0));
	*L = whole;
	split(L, FRAME_LEN / 2, R);
	split(R, 16, C);
	xmb_chunk_discard_prefix(C, 8);
	if (!scene->has_far)
		xmb_chunk_release(C, &lab.cache);
	if (scene->has_left_tail)
		split(L, 16, LT);
	xmb_chunk_truncate(scene->has_left_tail ? LT : L,
			   (scene->has_left_tail ? 16 : 32) - scene->gap);
	if (!scene->shared)
		return;
	share(&h[scene->shared - h], S);
	xmb_chunk_slice(S, scene->from, xmb_min_u32(scene->to, S->len));
}

static bool overlap(const struct xmb_chunk *a, const struct xmb_chunk *b)
{
	if (xmb_chunk_is_rdonly(a) && xmb_chunk_is_rdonly(b))
		return false;
	return a->len > 0 && b->len > 0 && a->off < b->off + b->len &&
	       b->off < a->off + a->len;
}

/* No byte has two owners, and all go home. */
static void tear_down(int outer, int first, int second, int at)
{
	for (int i = 0; i < HANDLE_CNT; i++) {
		cr_assert(xmb_chunk_check(&h[i]),
			  "call %d, then %d and %d at step %d: chunk %d",
			  outer, first, second, at, i);
		for (int k = 0; k < i; k++) {
			bool is_bad = overlap(&h[i], &h[k]);

			cr_assert(not(is_bad), "call %d, then %d and %d at "
				  "step %d: chunks %d and %d overlap",
				  outer, first, second, at, i, k);
		}
	}
	xmb_chunk_release_bulk(h, HANDLE_CNT, &lab.cache);
	cr_assert(zero(i64, lab.cache.app_cnt));
	for (int i = 0; i < XMB_TRACKER_SLOTS; i++)
		cr_assert(eq(u32, lab.pool.domain.trackers->slot[i],
			     XMB_SLOT_EMPTY));
}

/* Returns whether the call has a step of that number. */
static bool try(const struct scene *scene, call_fn *const *ours,
		call_fn *const *theirs, int outer, int first, int second,
		int at)
{
	bool is_met;

	is_inside = true;
	set_up(scene);
	is_inside = false;
	inject[0] = theirs[first];
	inject[1] = theirs[second];
	countdown = at;
	ours[outer]();
	is_met = countdown < 0;
	countdown = -1;
	tear_down(outer, first, second, at);
	return is_met;
}

static uint32_t try_all(const struct scene *scene, call_fn *const *ours,
			call_fn *const *theirs)
{
	uint32_t cnt = 0;

	for (int outer = 0; ours[outer]; outer++) {
		for (int first = 0; theirs[first]; first++) {
			int second = -1, at;

			do {
				second++;
				for (at = 0; at < STEP_MAX; at++) {
					if (!try(scene, ours, theirs, outer,
						 first, second, at))
						break;
				}
				cr_assert(lt(int, at, STEP_MAX));
				cnt += (uint32_t)at;
			} while (theirs[second]);
		}
	}
	return cnt;
}

TestSuite(chunk_steps, .timeout = 300);

Test(chunk_steps, no_byte_has_two_owners_wherever_a_neighbour_cuts_in)
{
	uint32_t cnt = 0;

	lab_open(&lab, FRAME_LEN, 1, 0);
	for (uint32_t i = 0; i < 16; i++) {
		struct scene scene = {
			.has_far = i & 1,
			.has_left_tail = i & 2,
			.gap = (i >> 2) * 4,
		};

		cnt += try_all(&scene, left, right);
		cnt += try_all(&scene, right, left);
	}
	cr_expect(gt(u32, cnt, 100000));
	is_inside = true;
	lab_close(&lab);
}

Test(chunk_steps, nobody_writes_what_another_reads_wherever_it_cuts_in)
{
	uint32_t cnt = 0;

	lab_open(&lab, FRAME_LEN, 1, 0);
	for (uint32_t i = 0; i < 24; i++) {
		struct scene scene = {
			.gap = (i & 1) * 8,
			.has_left_tail = i & 2,
			.shared = i & 2 && i & 4 ? LT : L,
			.from = i / 8 == 1 ? 8 : 0,
			.to = i / 8 == 2 ? 8 : FRAME_LEN,
		};

		cnt += try_all(&scene, left_sharing, right_sharing);
		cnt += try_all(&scene, right_sharing, left_sharing);
	}
	cr_expect(gt(u32, cnt, 100000));
	is_inside = true;
	lab_close(&lab);
}

/* Gets the fifth slot, or comes too late. */
static void c_split(void)
{
	int ret = xmb_chunk_split(C, 4, CT);

	cr_assert(ret == 0 || ret == -ENOSPC);
}

/* Four slots are taken; the fifth goes meanwhile, but a lower one comes. */
Test(chunk_steps, split_finds_the_slot_that_became_free_meanwhile)
{
	static call_fn *const ours[] = { r_split_8, NULL };
	static call_fn *const theirs[] = { c_split, l_release, NULL };
	const struct scene scene = { .has_far = true, .has_left_tail = true };
	int at = 0;

	lab_open(&lab, FRAME_LEN, 1, 0);
	while (try(&scene, ours, theirs, 0, 0, 1, at))
		at++;
	cr_expect(gt(int, at, 5));
	is_inside = true;
	lab_close(&lab);
}
