/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The words that actors share, the handles they hold, and what must be true of
 * both.  Included by region.pml, which tells how to read it.
 *
 * st       owners only, four bits a slot: 0 none, 1..3 an actor, SUP, 8+i in
 *          the TX ring of actor i, LIMBO only in a broken form
 * gen      not a number but what scans ask of it: moved has a bit for each
 *          actor, set when gen rises, cleared when that actor loads st; so it
 *          has no width and no wrap
 * word     an interval, or EMPTY
 * place    whose frame it is; NOBODY in the shared pool
 *
 * held, at, ro, and xheld, xat of the exclusive handle, are not memory: they
 * are the handles that exist, the bytes each truly owns, where it is, and
 * whether it is read-only.  Checks compare them with the words.
 */

#define INTERVAL(s, e) ((s) << 3 | (e))
#define START(w) ((w) >> 3)
#define END(w) ((w) & 7)
#define EMPTY 255
#define NONE 255
#define HAS_BYTES(w) (START(w) < END(w))
#define OVERLAP(x, y) (HAS_BYTES(x) && HAS_BYTES(y) && \
		       START(x) < END(y) && START(y) < END(x))
#define WITHIN(x, y) (START(y) <= START(x) && END(x) <= END(y))

#define NOBODY 0
#define SUP 7
#define TX(i) (8 + (i))
#define LIMBO 15
#define IN_TX(a) (((a) & 24) == 8)
#define RING(i) (16 + (i))		/* at: in the ring that i writes */
#define X 9				/* instead of a slot: exclusive */
#define BIT(i) (1 << (i))

#define OB(k, o) ((o) << (4 * (k)))
#define OWNER(v, k) (((v) >> (4 * (k))) & 15)
#define ONLY(v, k) (((v) & ~OB(k, 15)) == 0)

#ifdef PROCESSES
#define ID(i) (i)			/* an owner is a process */
#else
#define ID(i) 1				/* the actors are its threads */
#endif

int st;
byte word[SLOTS] = EMPTY;
byte place = NOBODY;
byte moved;

byte held[SLOTS] = NONE;
byte at[SLOTS];
bit ro[SLOTS];
byte xheld = NONE;
byte xat;
bit home = 1;				/* the frame is in the pool */

byte acting;				/* bits: who is inside a call */
byte quiet;				/* the claimer nobody has disturbed */
byte dead;				/* who was killed and not yet swept */
bit buried;				/* it does nothing more */
bit splitting;				/* an exclusive split is under way */
#ifdef CALLS
byte calls = CALLS;			/* what may still be begun */
#define MAY_BEGIN (calls > 0)
#define SPEND calls--
#else
#define MAY_BEGIN true
#define SPEND skip
#endif

#ifdef WITH_TX
chan sent[ACTORS + 1] = [SENT_MAX] of { byte };
byte inflight[BYTES];
#endif
#ifdef PROCESSES
chan ring[ACTORS + 1] = [1] of { byte, byte };
#endif

/* The runner shows why when cond does not hold. */
#define MUST(cond, why) assert(cond)

hidden byte c, d;			/* of checks, inside one d_step */

/* I3: whoever may write has his bytes alone; what is in flight nobody does. */
inline check_bytes()
{
	c = 0;
	do
	:: c < SLOTS ->
		d = c + 1;
		do
		:: d < SLOTS ->
			MUST(!OVERLAP(held[c], held[d]) || (ro[c] && ro[d]),
			     "no byte has two writable owners");
			d++
		:: else -> break
		od;
		MUST(xheld == NONE || held[c] == NONE,
		     "an exclusive handle is alone");
		check_flight(c);
		c++
	:: else -> break
	od;
	c = 0
}

inline check_flight(k)
{
#ifdef WITH_TX
	d = 0;
	do
	:: d < BYTES ->
		MUST(inflight[d] == 0 || IN_TX(at[k]) || ro[k] ||
		     !(START(held[k]) <= d && d < END(held[k])),
		     "nobody may write what is being sent");
		MUST(inflight[d] == 0 || xat == 0 || IN_TX(xat),
		     "what is being sent keeps its region");
		d++
	:: else -> break
	od;
	d = 0
#else
	skip
#endif
}

/* After a release: what the kernel still sends is still in a slot for that. */
inline check_sent()
{
#ifdef WITH_TX
	d = 0;
	do
	:: d < BYTES ->
		c = 0;
		do
		:: c < SLOTS && !(IN_TX(at[c]) && START(held[c]) <= d &&
				  d < END(held[c])) -> c++
		:: else -> break
		od;
		MUST(inflight[d] == 0 || c < SLOTS || IN_TX(xat),
		     "what is being sent is not yet released");
		d++
	:: else -> break
	od;
	c = 0;
	d = 0
#else
	skip
#endif
}

/* After every store: true bytes are inside their word (I3), and I4. */
inline check_words()
{
#ifndef HARM_ONLY
	c = 0;
	do
	:: c < SLOTS ->
		MUST(held[c] == NONE || WITHIN(held[c], word[c]),
		     "the bytes of a handle are inside its word (I3)");
		MUST(OWNER(st, c) != 0 || splitting ||
		     (word[c] == EMPTY && held[c] == NONE),
		     "a slot that nobody owns is EMPTY (I4)");
		c++
	:: else -> break
	od
#else
	skip
#endif
}

/* While nobody is inside a call every word is exact and nothing is leaked. */
inline check_rest()
{
	if
	:: acting == 0 && dead == 0 ->
		c = 0;
		do
		:: c < SLOTS ->
			MUST((OWNER(st, c) != 0) == (at[c] != 0),
			     "each owned slot has its handle: none leaks");
			MUST((at[c] != 0) == (held[c] != NONE),
			     "a handle that is somewhere has bytes");
#ifndef HARM_ONLY
			MUST(word[c] == held[c],
			     "while nobody acts a word is exact");
#endif
			c++
		:: else -> break
		od;
		MUST((st == 0) == (home || xat != 0),
		     "a region without owners is home or exclusive");
		MUST(!(home && xat != 0), "what is home has no handle");
		MUST((xat != 0) == (xheld != NONE),
		     "an exclusive handle is somewhere");
		MUST(!home || place == NOBODY, "what is home is in no name");
		MUST(xat == 0 || place == xat || place == ID(xat & 7),
		     "place names the exclusive handle's holder (I1)")
	:: else
	fi
}
