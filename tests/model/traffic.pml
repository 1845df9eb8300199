/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * What takes handles elsewhere: another thread, another process, a TX ring.
 * Included by region.pml.
 */

#define OTHER (ACTORS == 2 -> 3 - me : 1 + me % ACTORS)

/* Between threads: nothing of the region's words changes. */
inline pass()
{
	d_step {
		MAY_BEGIN && xat == me ->
		STEP("%d: pass the exclusive handle\n");
		quiet = 0;
		SPEND;
		xat = OTHER
	}
}

inline pass_slot()
{
	atomic {
		PICK(MINE_NOW);
		STEP("%d: pass\n");
		quiet = 0;
		SPEND;
		at[h] = OTHER;
		h = 0
	}
}

#ifdef WITH_TX
inline count_flight(w, by)
{
	c = START(w);
	do
	:: c < END(w) -> inflight[c] = inflight[c] + by; c++
	:: else -> break
	od;
	c = 0
}

inline post()
{
	d_step {
		STEP("%d: TX 2: post\n");
		SHOW(h, wide);
		sent[me]!wide;
		count_flight(wide, 1);
		check_bytes();
		end_call()
	}
}

inline send()
{
	atomic {
		PICK(SENDABLE);
		begin();
		SPEND;
		STEP("%d: TX 1: owner\n");
		wide = held[h];
		st = st + OB(h, TX(me) - ID(me));
		at[h] = TX(me)
	}
	post()
}

inline send_exclusive()
{
	d_step {
		MAY_BEGIN && xat == me && HAS_BYTES(xheld) &&
		nfull(sent[me]) ->
		begin();
		SPEND;
		STEP("%d: TX 1: place\n");
		wide = xheld;
		place = TX(me);
		xat = TX(me)
	}
	post()
}

#ifdef BREAK_TX_START
#define IS_SENT(k) (OWNER(v, k) != 0 && START(word[k]) == START(wide) && \
		    edge == NONE)
#elif defined(BREAK_TX_LARGEST)
#define IS_SENT(k) (OWNER(v, k) == TX(me) && \
		    START(word[k]) == START(wide) && \
		    (edge == NONE || END(word[k]) > END(edge)))
#else
#define IS_SENT(k) (OWNER(v, k) == TX(me) && \
		    START(word[k]) == START(wide) && END(word[k]) < END(edge))
#endif

inline complete()
{
	d_step {
		nempty(sent[me]) ->
		begin();
		STEP("%d: completion: from the ring\n");
		sent[me]?wide;
		count_flight(wide, -1);
		edge = NONE
	}
	d_step {
		STEP("%d: completion: place\n");
		flag = (place == TX(me))
	}
	if
	:: flag ->
		d_step {
			STEP("%d: completion: the whole frame\n");
			MUST(xat == TX(me), "a completed frame was sent");
			place = ID(me);
			xat = 0;
			xheld = NONE
		}
		recycle()
	:: else ->
		d_step { STEP("%d: completion: state\n"); v = st; k = 0 }
		do
		:: d_step {
			k < SLOTS ->
			STEP("%d: completion: a word\n");
			SHOW(k, word[k]);
			if
			:: IS_SENT(k) -> h = k; edge = word[k]
			:: else
			fi;
			k++
		   }
		:: k == SLOTS -> break
		od;
		MUST(edge != NONE, "what was sent is found again");
		leave(h, TX(me), ID(me), TX(me))
	fi;
	d_step { end_call() }
}
#endif

#ifdef PROCESSES
#define PUBLISHABLE(k) (MINE_NOW(k) && nfull(ring[me]) && dead == 0)

/* The chunk stays in the sender's name until the receiver's CAS. */
inline publish()
{
	atomic {
		if
		:: PICK(PUBLISHABLE);
		   wide = held[h];
		   at[h] = RING(me)
		:: MAY_BEGIN && xat == me && nfull(ring[me]) && dead == 0 ->
		   h = X;
		   wide = xheld;
		   xat = RING(me)
		fi;
		STEP("%d: hand-over: publish\n");
		SHOW(h, wide);
		quiet = 0;
		SPEND;
		ring[me]!h, wide;
		h = 0;
		wide = 0
	}
}

/* Read the ring's entry, make it ours, and only then free its place. */
inline receive()
{
	d_step {
		nempty(ring[OTHER]) ->
		begin();
		ring[OTHER]?<h, wide>;
#ifdef BREAK_RING_FIRST
		ring[OTHER]?h, wide
	}
	d_step {
#endif
		STEP("%d: hand-over: take the name\n");
		SHOW(h, wide);
		if
		:: h == X && place == OTHER ->
			MUST(xat == RING(OTHER) && xheld == wide,
			     "a descriptor is taken for what it was");
			place = me;
			xat = me
		:: h != X && OWNER(st, h) == OTHER ->
			MUST(at[h] == RING(OTHER) && held[h] == wide,
			     "a descriptor is taken for what it was");
			st = st + OB(h, me) - OB(h, OTHER);
			at[h] = me
		:: else -> STEP("%d: hand-over: it was reclaimed\n")
		fi
	}
	d_step {
#ifndef BREAK_RING_FIRST
		STEP("%d: hand-over: free the entry\n");
		ring[OTHER]?h, wide;
#endif
		end_call()
	}
}
#endif
