/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Calls on two handles: merge, share and unshare.  Included by region.pml.
 */

#define TWO_MINE(a, b) (WRITABLE(a) && WRITABLE(b) && \
			END(held[a]) == START(held[b]))
#if SLOTS == 2
#define PICK_TWO if \
	:: TWO_MINE(0, 1) -> h = 0; k = 1 :: TWO_MINE(1, 0) -> h = 1; k = 0 fi
#else
#define PICK_TWO if \
	:: TWO_MINE(0, 1) -> h = 0; k = 1 :: TWO_MINE(1, 0) -> h = 1; k = 0 \
	:: TWO_MINE(0, 2) -> h = 0; k = 2 :: TWO_MINE(2, 0) -> h = 2; k = 0 \
	:: TWO_MINE(1, 2) -> h = 1; k = 2 :: TWO_MINE(2, 1) -> h = 2; k = 1 \
	PICK_FOURTH fi
#if SLOTS == 3
#define PICK_FOURTH
#else
#define PICK_FOURTH \
	:: TWO_MINE(0, 3) -> h = 0; k = 3 :: TWO_MINE(3, 0) -> h = 3; k = 0 \
	:: TWO_MINE(1, 3) -> h = 1; k = 3 :: TWO_MINE(3, 1) -> h = 3; k = 1 \
	:: TWO_MINE(2, 3) -> h = 2; k = 3 :: TWO_MINE(3, 2) -> h = 3; k = 2
#endif
#endif

inline merge()
{
	atomic {
		PICK_TWO;
		begin();
		SPEND;
		STEP("%d: merge 1: widen the first word\n");
		word[h] = INTERVAL(START(held[h]), END(held[k]));
		SHOW(h, word[h])
	}
#ifndef BREAK_MERGE_GEN
	d_step { STEP("%d: merge 2: raise gen\n"); raise_gen() }
#endif
	d_step {
		STEP("%d: merge 3: empty the second word\n");
		SHOW(k, held[k]);
		held[h] = word[h];
		held[k] = NONE;
		at[k] = 0;
		word[k] = EMPTY;
		check_words();
		check_bytes()
	}
	d_step {
		STEP("%d: merge 4: leave the second slot\n");
		MUST(!ONLY(st, k), "merge is never the last to leave");
		st = st - OB(k, ID(me));
		check_words();
		end_call()
	}
}

inline share()
{
	atomic {
		PICK(MINE_NOW);
		begin();
		SPEND;
		STEP("%d: share 1: reserve a slot\n");
		reserve()
	}
	reserved();
	if
	:: k == SLOTS
	:: else ->
		d_step {
			STEP("%d: share 2, 3: read-only; the new word\n");
			ro[h] = 1;
			word[k] = held[h];
			SHOW(k, word[k]);
			check_words()
		}
#ifndef BREAK_SHARE_GEN
		d_step { STEP("%d: share 4: raise gen\n"); raise_gen() }
#endif
		d_step {
			held[k] = word[k];
			at[k] = me;
			ro[k] = 1;
			check_words();
			check_bytes()
		}
	fi;
	d_step { end_call() }
}

/* The scan of claim, over all of the handle's bytes and without a wish. */
inline unshare()
{
	atomic {
		PICK(READ_ONLY);
		quiet = (acting == 0 && dead == 0 -> me : 0);
		acting = acting | BIT(me);
		SPEND;
		wide = held[h];
		lo = START(wide);
		hi = END(wide);
		edge = NONE;
		STEP("%d: unshare\n");
		SHOW(h, wide)
	}
#ifdef BREAK_UNSHARE_SCAN
	d_step {
		ro[h] = 0;
		check_bytes()
	}
#else
	look_around();
#endif
	if
	:: flag -> d_step { check_refusal(); end_call() }
	:: else -> d_step { end_call() }
	fi
}
