/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * A model, for spin, of the protocol by which the chunks of one split region
 * keep out of each other's bytes (lib/buf/tracker_priv.h).
 *
 *      region.pml    actors, the supervisor, what is asked at the end
 *      memory.pml    the shared words, the handles, the checks
 *      steps.pml     alloc, split, trim, claim, release, only me
 *      sharing.pml   merge, share, unshare
 *      traffic.pml   between threads, between processes, TX and completion
 *
 * Actors are threads of one process, or (PROCESSES) processes with a ring each
 * way.  Each does any call on any handle it has, with any arguments, at any
 * time: all orders of all steps are explored, up to CALLS calls altogether, or
 * without end.  WITH_DEATH: a process may stop before any of its steps; the
 * supervisor then reclaims, and lets it begin anew under the same id, any
 * number of times, one death at a time.
 *
 * A d_step or atomic{} is one access to a shared word and the arithmetic
 * around it.  A CAS loop is one step too: what it would have done with a value
 * that is no longer there has no effect.  "only me -> EXCL" is a call of its
 * own, so that split and claim are tried with it and without.  gen is not a
 * number (see memory.pml), so it has no wrap, and a claim may give up after
 * any number of scans in which gen moved.
 *
 * Checked, each by its MUST(): no byte has two writable owners, nor one beside
 * what the kernel is sending; true bytes are inside their word (I3); a slot
 * without owner is EMPTY (I4); place names the holder of an exclusive handle
 * (I1); a region comes home once; each owned slot has its handle and the words
 * are exact whenever nobody is inside a call; a claim or unshare that nobody
 * disturbed is refused only when something live was in the way; a reclaim
 * takes what is the dead one's and nothing else; nobody gets stuck, and when
 * all is over the region is home.
 *
 * Not covered: memory orders, for spin explores sequential consistency only
 * (they are for ThreadSanitizer and buf_stress); more bytes, slots and actors
 * than a configuration says; two deaths at once, and the supervisor's; a wrap
 * of gen; the pool, which is one step here; cookies and spill blocks.
 *
 * Broken forms, one at a time, by -DBREAK_x: model.py lists them and the check
 * that each must fail.  They are searched with HARM_ONLY, which leaves out the
 * checks of words that a broken form fails by itself, and waits for the harm.
 * One form that looks broken is not, within 6 calls: a claim that takes owners
 * and gen from before its exchange.  No byte changes its slot unless gen rises,
 * so it finds out; with gen from after and owners from before it does not.
 *
 * Measured on one core of a shared machine, the compiler's 3 seconds apart;
 * a state takes some 50 bytes, the tables up to 0.9 GB beside:
 *
 *      bytes slots actors                  calls       states     s
 *      3     3     2 threads    all            6      6705134     8
 *      2     2     2 threads    all      no end        836371     1
 *      2     2     2 processes  TX merge no end      10397930    13
 *      2     2     2 processes  all            5      2646593     3
 *   slow:
 *      3     3     3 threads    all            6     20372140    23
 *      4     4     2 threads    all            6     51900562    77
 *      3     3     2 threads    all            7     36601798    53
 *      3     3     2 threads    merge    no end      26029435    38
 *      3     3     2 processes  all            5     28735437    40
 *      2     2     2 processes  all      no end      32213717    47
 */
#include "memory.pml"
#include "steps.pml"
#include "sharing.pml"
#include "traffic.pml"

/* What one actor does for ever, or until it may begin nothing more. */
inline act()
{
	do
	:: alloc()
	:: free_exclusive()
	:: trim_exclusive()
	:: split_exclusive()
	:: become_exclusive()
	:: split()
	:: trim()
	:: claim()
	:: release()
#ifdef WITH_MERGE
	:: merge()
#endif
#ifdef WITH_SHARE
	:: share()
	:: unshare()
#endif
#ifdef WITH_TX
	:: send()
	:: send_exclusive()
	:: complete()
#endif
#ifdef PROCESSES
	:: publish()
	:: receive()
#else
	:: pass()
	:: pass_slot()
#endif
	od
}

#ifdef BREAK_STALE_STATE
#define LOCALS byte h, k, lo, hi, edge, wide; short v; bit flag, stale
#else
#define LOCALS byte h, k, lo, hi, edge, wide; short v; bit flag
#endif

active [ACTORS] proctype actor()
{
	byte me = _pid + 1;
	LOCALS;

#ifdef WITH_DEATH
alive:
	{ act() } unless {
		atomic {
			dead == me && !buried ->
			buried = 1;
			h = 0; k = 0; lo = 0; hi = 0; edge = 0; wide = 0;
			v = 0; flag = 0
		}
	}
	do
	:: dead != me -> goto alive
	:: atomic { dead == me && !buried -> buried = 1 }
	od
#else
	act()
#endif
}

#ifdef WITH_DEATH
/* What it has not read and not yet made its own goes back to who sent it. */
inline give_back()
{
	do
	:: d_step {
		nempty(ring[3 - dead]) ->
		STEP("%d: reclaim 1: an entry that it did not read\n");
		ring[3 - dead]?h, wide;
		SHOW(h, wide);
		if
		:: h == X && place == 3 - dead ->
			MUST(xat == RING(3 - dead) && xheld == wide,
			     "what goes back is what was sent");
			xat = 3 - dead
		:: h != X && OWNER(st, h) == 3 - dead ->
			MUST(at[h] == RING(3 - dead) && held[h] == wide,
			     "what goes back is what was sent");
			at[h] = 3 - dead
		:: else
		fi;
		h = 0;
		wide = 0
	   }
	:: empty(ring[3 - dead]) -> break
	od;
	k = 0
}


/* Slots and frames in the dead one's name, or in that of its TX ring. */
inline sweep()
{
	k = 0;
	do
	:: k < SLOTS ->
		d_step {
			flag = OWNER(st, k) == id;
			if
			:: flag ->
				STEP("%d: reclaim 2: the slot's owner\n");
				SHOW(k, word[k]);
				st = st + OB(k, SUP) - OB(k, id);
				at[k] = SUP
			:: else
			fi
		}
		if
		:: flag -> leave(k, SUP, SUP, SUP); flag = 0
		:: else
		fi;
		k++
	:: else -> break
	od;
	k = 0;
	sweep_frame()
}

inline sweep_frame()
{
#ifdef BREAK_PLACE_FIRST
	take_frame();
	if
	:: flag ->
		d_step { STEP("%d: reclaim 3: load state\n"); flag = (st == 0) }
	:: else
	fi;
#else
	d_step { STEP("%d: reclaim 3: load state\n"); flag = (st == 0) }
	if
	:: flag -> take_frame()
	:: else
	fi;
#endif
	if
	:: flag ->
		k = 0;
		do
		:: k < SLOTS -> d_step { word[k] = EMPTY; k++ }
		:: else -> break
		od;
		k = 0;
		d_step {
			MUST(xat == dead || xat == RING(dead) ||
			     xat == TX(dead) || xat == 0,
			     "only a dead one's frame is reclaimed");
			splitting = 0;
			xat = 0;
			xheld = NONE
		}
		recycle();
		flag = 0
	:: else
	fi
}

inline take_frame()
{
	d_step { STEP("%d: reclaim 3: load place\n"); flag = (place == id) }
	if
	:: flag ->
		d_step {
			STEP("%d: reclaim 3: take the frame\n");
			flag = (place == id);
			place = (flag -> SUP : place)
		}
	:: else
	fi
}

active proctype supervisor()
{
	byte me = SUP;
	byte id, k, h, wide;
	bit flag;

	do
	:: atomic {
		MAY_BEGIN ->
		if
		:: dead = 1
		:: dead = 2
		fi;
		printf("actor %d dies\n", dead);
		id = dead;
		quiet = 0
	   }
	   buried;
#ifdef BREAK_RETURN_LATE
	   sweep();
	   give_back();
#else
	   give_back();
	   sweep();
#endif
#ifdef WITH_TX
	   d_step {
		STEP("%d: reclaim 4: its sockets are closed\n");
		do
		:: nempty(sent[dead]) ->
			sent[dead]?wide;
			count_flight(wide, -1)
		:: empty(sent[dead]) -> break
		od;
		wide = 0;
		id = TX(dead)
	   }
	   sweep();
#endif
	   d_step {
		empty(ring[dead]) ->
		STEP("%d: reclaim 5: the id may be used again\n");
		acting = acting & ~BIT(dead);
		moved = moved & ~BIT(dead);
		quiet = 0;
		buried = 0;
		dead = 0;
		id = 0;
		k = 0;
		check_rest()
	   }
	od
}
#endif

/* Nobody gets stuck, and when all is done the region is home. */
active proctype judge()
{
	timeout ->
	MUST(!MAY_BEGIN && acting == 0 && dead == 0 && home && st == 0,
	     "nobody is stuck, and at the end the region is home")
}
