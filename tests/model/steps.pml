/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The calls on handles, one inline each and one d_step or atomic for each
 * access to a shared word.  A call's first step also chooses its arguments,
 * which is nobody else's business.  Included by region.pml.
 */

#define STEP(what) printf(what, me)
#define SHOW(s, w) printf("    slot %d, [%d, %d)\n", s, START(w), END(w))

#if SLOTS == 2
#define PICK(P) if :: P(0) -> h = 0 :: P(1) -> h = 1 fi
#elif SLOTS == 3
#define PICK(P) if :: P(0) -> h = 0 :: P(1) -> h = 1 :: P(2) -> h = 2 fi
#else
#define PICK(P) if :: P(0) -> h = 0 :: P(1) -> h = 1 :: P(2) -> h = 2 \
		   :: P(3) -> h = 3 fi
#endif
#define MINE(k) (at[k] == me)
#define MINE_NOW(k) (MAY_BEGIN && at[k] == me)
#define WRITABLE(k) (MAY_BEGIN && at[k] == me && !ro[k])
#define WIDENABLE(k) (WRITABLE(k) && held[k] != INTERVAL(0, BYTES))
#define READ_ONLY(k) (MAY_BEGIN && at[k] == me && ro[k])
#define ALONE(k) (MAY_BEGIN && at[k] == me && ONLY(st, k))
#define SENDABLE(k) (MAY_BEGIN && at[k] == me && HAS_BYTES(held[k]) && \
		     nfull(sent[me]))

inline begin()
{
	quiet = 0;
	acting = acting | BIT(me)
}

inline end_call()
{
	acting = acting & ~BIT(me);
	moved = moved & ~BIT(me);
	quiet = (quiet == me -> 0 : quiet);
	h = 0; k = 0; lo = 0; hi = 0; edge = 0; v = 0; wide = 0; flag = 0;
	check_rest()
}

/* Any interval within [lo, hi). */
inline any_interval()
{
	do
	:: lo < hi -> lo++
	:: lo < hi -> hi--
	:: break
	od
}

inline raise_gen()
{
	moved = moved | (acting & ~BIT(me))
}

/* The first free slot, or SLOTS. */
inline reserve()
{
	k = 0;
	do
	:: k < SLOTS && OWNER(st, k) != 0 -> k++
	:: else -> break
	od;
	if
#ifdef BREAK_MASK
	:: k < SLOTS -> st = st | OB(k, LIMBO)
#else
	:: k < SLOTS -> st = st | OB(k, ID(me))
#endif
	:: else
	fi
}

inline reserved()
{
#ifdef BREAK_MASK
	if
	:: k < SLOTS -> d_step { STEP("%d: its owner\n"); name_owner(k) }
	:: else
	fi
#else
	skip
#endif
}

inline name_owner(s)
{
	st = (st & ~OB(s, 15)) | OB(s, ID(me))
}

inline alloc()
{
	d_step {
		MAY_BEGIN && home && place == NOBODY ->
		STEP("%d: alloc\n");
		begin();
		SPEND;
		home = 0;
		place = ID(me);
		xheld = INTERVAL(0, BYTES);
		xat = me;
		end_call()
	}
}

inline recycle()
{
	d_step {
		STEP("%d: recycle\n");
		MUST(!home, "a region comes home once");
		MUST(st == 0, "a region comes home without owners");
		home = 1;
		place = NOBODY
	}
}

inline free_exclusive()
{
	d_step {
		xat == me ->
		STEP("%d: release the exclusive handle\n");
		begin();
		xheld = NONE;
		xat = 0
	}
	recycle();
	d_step { end_call() }
}

/* Trim or claim: arithmetic on the handle. */
inline trim_exclusive()
{
	atomic {
		MAY_BEGIN && xat == me ->
		STEP("%d: trim or claim, exclusive\n");
		SPEND;
		hi = BYTES;
		any_interval();
		xheld = INTERVAL(lo, hi);
		lo = 0;
		hi = 0
	}
}

/* Cut at edge; or share, when lo is START and edge the END of both. */
inline split_exclusive()
{
	atomic {
		MAY_BEGIN && xat == me ->
		begin();
		SPEND;
		splitting = 1;
		edge = START(xheld);
		lo = edge;
		hi = END(xheld);
		do
		:: edge < hi -> edge++
		:: break
		od;
#ifdef WITH_SHARE
		if
		:: flag = 0
		:: edge == hi -> flag = 1
		fi;
#endif
		STEP("%d: exclusive split: word 0\n");
		word[0] = INTERVAL(lo, edge)
	}
	d_step {
		STEP("%d: exclusive split: word 1\n");
		word[1] = INTERVAL((flag -> lo : edge), hi)
	}
	d_step {
		STEP("%d: exclusive split: state\n");
		st = OB(0, ID(me)) | OB(1, ID(me));
		raise_gen();
		splitting = 0;
		xheld = NONE;
		xat = 0;
		held[0] = word[0];
		held[1] = word[1];
		at[0] = me;
		at[1] = me;
		ro[0] = flag;
		ro[1] = flag;
		SHOW(0, word[0]);
		SHOW(1, word[1]);
		check_words();
		check_bytes();
		end_call()
	}
}

/*
 * only me -> EXCL, as a call of its own.  Split and claim begin with this when
 * they can; here they may also go on without, which is more than they do.
 */
inline become_exclusive()
{
	atomic {
		PICK(ALONE);
		begin();
		SPEND;
		STEP("%d: only me: load state\n");
		v = st;
		xheld = held[h];
		xat = me;
		held[h] = NONE;
		at[h] = 0;
		ro[h] = 0
	}
	d_step { STEP("%d: only me: place\n"); place = ID(me) }
	d_step { STEP("%d: only me: empty the word\n"); word[h] = EMPTY }
	d_step {
		STEP("%d: only me: state\n");
		MUST(v == st && !(moved & BIT(me)),
		     "while only I am there nobody else writes the state");
		st = 0;
		check_words();
		check_bytes();
		end_call()
	}
}

inline split()
{
	atomic {
		PICK(WRITABLE);
		begin();
		SPEND;
		edge = START(held[h]);
		do
		:: edge < END(held[h]) -> edge++
		:: break
		od;
		STEP("%d: split 1: reserve a slot\n");
		SHOW(h, held[h]);
		reserve()
	}
	reserved();
	if
	:: k == SLOTS
	:: else ->
		wide = held[h];
#ifdef BREAK_SPLIT_NARROW
		d_step {
			STEP("%d: split 4, too early: narrow the old word\n");
			word[h] = INTERVAL(START(wide), edge)
		}
#endif
		d_step {
			STEP("%d: split 2: show in the new word\n");
			word[k] = INTERVAL(edge, END(wide));
			SHOW(k, word[k]);
			check_words()
		}
#ifndef BREAK_SPLIT_GEN
		d_step { STEP("%d: split 3: raise gen\n"); raise_gen() }
#endif
		d_step {
			STEP("%d: split 4: narrow the old word\n");
			word[h] = INTERVAL(START(wide), edge);
			held[h] = word[h];
			held[k] = INTERVAL(edge, END(wide));
			at[k] = me;
			check_words();
			check_bytes()
		}
	fi;
	d_step { end_call() }
}

/* Discard, truncate or slice. */
inline trim()
{
	atomic {
		PICK(MINE_NOW);
		begin();
		SPEND;
		lo = START(held[h]);
		hi = END(held[h]);
		any_interval();
		STEP("%d: trim\n");
		held[h] = INTERVAL(lo, hi);
#ifndef BREAK_TRIM
		word[h] = held[h];
#endif
		SHOW(h, word[h]);
		check_words();
		end_call()
	}
}

/* Whether a neighbour's word is in the way of [lo, hi). */
#define BLOCKS(w) ((w) != EMPTY && \
	(HAS_BYTES(w) -> START(w) < hi && END(w) > lo : \
	 edge != NONE && (START(w) == edge || \
			  (START(w) > lo && START(w) < hi))))

inline to_next_owned()
{
	do
	:: k < SLOTS && (k == h || OWNER(v, k) == 0) -> k++
	:: else -> break
	od;
	skip
}

/* Whether, with nobody else about, anything was in the way. */
inline check_refusal()
{
	if
	:: quiet == me ->
		c = 0;
		d = 0;
		do
		:: c < SLOTS ->
			d = d || (c != h && BLOCKS(held[c]));
			c++
		:: else -> break
		od;
		MUST(d, "no claim is refused without a cause")
	:: else
	fi
}

inline load_state()
{
	v = st;
	moved = moved & ~BIT(me);
	k = 0;
	to_next_owned()
}

/* Claim 2, 3, 5 and 6; flag tells that it was refused. */
inline look_around()
{
	do
	:: d_step {
		STEP("%d: claim 2: load state\n");
#ifdef BREAK_STALE_STATE
		if
		:: stale ->
			stale = 0;
			moved = moved & ~BIT(me);
			to_next_owned()
		:: else -> load_state()
		fi
#else
		load_state()
#endif
	   }
	   do
	   :: d_step {
		k < SLOTS && !flag ->
		STEP("%d: claim 3: load a neighbour's word\n");
		SHOW(k, word[k]);
		flag = BLOCKS(word[k]);
		k++;
		to_next_owned()
	   }
	   :: k >= SLOTS || flag -> break
	   od;
	   if
	   :: flag -> break
	   :: atomic {
		!flag ->
		STEP("%d: claim 5: load state again\n");
#ifndef BREAK_NO_RECHECK
		if
		:: moved & BIT(me) ->		/* again, or tired of it */
			if
			:: flag = 0
			:: flag = 1; break
			fi
		:: else ->
#endif
			STEP("%d: claim 6: success\n");
			held[h] = wide;
			ro[h] = 0;
			check_words();
			check_bytes();
			break
#ifndef BREAK_NO_RECHECK
		fi
#endif
	   }
	   fi
	od
}

inline claim()
{
	atomic {
		PICK(WIDENABLE);
		quiet = (acting == 0 && dead == 0 -> me : 0);
		acting = acting | BIT(me);
		SPEND;
		lo = START(held[h]);
		hi = END(held[h]);
		if
		:: lo > 0 ->
			edge = lo;
			hi = lo;
			lo--;
			do
			:: lo > 0 -> lo--
			:: break
			od;
			wide = INTERVAL(lo, END(held[h]))
		:: hi < BYTES ->
			edge = hi;
			lo = hi;
			hi++;
			do
			:: hi < BYTES -> hi++
			:: break
			od;
			wide = INTERVAL(START(held[h]), hi)
		fi;
#ifdef BREAK_STALE_STATE
		load_state();
		stale = 1
	}
	d_step {
#endif
		STEP("%d: claim 1: exchange\n");
		SHOW(h, wide);
		word[h] = wide;
		check_words()
	}
	look_around();
	if
	:: flag ->
		d_step {
			STEP("%d: claim 4: give up\n");
			check_refusal();
			word[h] = held[h];
			check_words();
			end_call()
		}
	:: else -> d_step { end_call() }
	fi
}

/* Slot s, of owner o, in the name of who. */
inline leave(s, o, who, holder)
{
#ifdef BREAK_RELEASE_ORDER
	leave_state(s, o);
	leave_word(s, holder);
#else
	leave_word(s, holder);
	leave_state(s, o);
#endif
	if
	:: flag ->
		d_step {
			STEP("%d: release 3: place\n");
			MUST(xat == 0 || xat == dead,
			     "the last out of a region is alone");
			xat = 0;
			xheld = NONE;
			place = who
		}
		d_step {
			STEP("%d: release 3: state\n");
			MUST(ONLY(st, s),
			     "nobody joins a region after its last");
			st = 0;
			check_words()
		}
		recycle()
	:: else
	fi
}

inline leave_word(s, holder)
{
	d_step {
		STEP("%d: release 1: empty the word\n");
		SHOW(s, held[s]);
		MUST(at[s] == holder, "nobody else's slot is released");
		held[s] = NONE;
		at[s] = 0;
		ro[s] = 0;
		word[s] = EMPTY;
		check_sent()
	}
}

inline leave_state(s, o)
{
#ifdef BREAK_MASK
	d_step {
		STEP("%d: release, its owner\n");
		st = st | OB(s, LIMBO)
	}
#endif
	d_step {
		STEP("%d: release 2, 3: leave, unless the last\n");
		flag = ONLY(st, s);
		if
		:: flag
#ifdef BREAK_MASK
		:: else -> st = st - OB(s, LIMBO)
#else
		:: else -> st = st - OB(s, o)
#endif
		fi;
		check_words()
	}
}

inline release()
{
	atomic { PICK(MINE); begin() }
	leave(h, ID(me), ID(me), me);
	d_step { end_call() }
}
