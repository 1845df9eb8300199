/* SPDX-License-Identifier: BSD-2-Clause */
#include "umem/ledger.h"

#include "base/log.h"
#include "umem/piece.h"

#include <inttypes.h>
#include <stdio.h>

enum { NAMED_MAX = 4 }; /* frames of a kind that are named, not just counted */

/* How many frames of a kind the words show. */
struct census {
	int64_t state[XMB_FRAME_STATE_CNT]; /* whole frames; bad ones in none */
	int64_t split, split_tx, tx_slots;
	int64_t bad, kept;
};

/* The pool's domain, then those of pieces; NULL: there are no more. */
static const struct xmb_domain *domain_at(const struct xmb_umem *umem,
					  uint32_t i)
{
	if (i == 0)
		return &umem->pool.domain;
	return i <= umem->piece_cnt ? &umem->pieces[i - 1].domain : NULL;
}

/* A piece counts like a holder: what is neither free nor the kernel's is out.
 */
static void add_piece(struct xmb_ledger *ledger, const struct xmb_piece *piece)
{
	uint32_t cnt = piece->domain.region_cnt - piece->kept_cnt;
	uint32_t free_cnt =
		atomic_load_explicit(&piece->free_cnt, memory_order_relaxed);
	uint32_t kernel_cnt =
		atomic_load_explicit(&piece->kernel_cnt, memory_order_relaxed);

	ledger->frames += cnt;
	ledger->free += free_cnt;
	ledger->app += (int64_t)cnt - free_cnt - kernel_cnt;
}

void xmb_ledger_init(struct xmb_ledger *ledger, const struct xmb_umem *umem)
{
	*ledger = (struct xmb_ledger){
		.frames = umem->pool.domain.region_cnt - umem->kept_cnt,
		.free = xmb_pool_free_cnt(&umem->pool),
		.app = -xmb_pool_foreign_cnt(&umem->pool),
	};
	for (uint32_t i = 0; i < umem->piece_cnt; i++)
		add_piece(ledger, &umem->pieces[i]);
}

void xmb_ledger_add_cache(struct xmb_ledger *ledger,
			  const struct xmb_cache *cache)
{
	ledger->free += cache->cnt;
	ledger->app += cache->app_cnt;
	ledger->copies += xmb_counter_read(&cache->copies);
	ledger->copied_bytes += xmb_counter_read(&cache->copied_bytes);
}

void xmb_ledger_add(struct xmb_ledger *ledger, const struct xmb_ledger *part)
{
	ledger->free += part->free;
	ledger->fill += part->fill;
	ledger->rx += part->rx;
	ledger->app += part->app;
	ledger->chan += part->chan;
	ledger->tx += part->tx;
	ledger->held += part->held;
	ledger->tx_slots += part->tx_slots;
	ledger->copies += part->copies;
	ledger->copied_bytes += part->copied_bytes;
}

int64_t xmb_ledger_sum(struct xmb_ledger *ledger)
{
	ledger->missing =
		(int64_t)ledger->frames -
		(ledger->free + ledger->fill + ledger->rx + ledger->app +
		 ledger->chan + ledger->tx + ledger->held);
	return ledger->missing;
}

static void census_split(struct census *census, uint64_t state)
{
	bool in_tx = false;

	for (int k = 0; k < XMB_TRACKER_SLOTS; k++) {
		uint64_t owner = state >> (8 * k) & 0xff;

		if (owner >= XMB_OWNER_TX(0)) {
			census->tx_slots++;
			in_tx = true;
		}
	}
	census->split++;
	census->split_tx += in_tx;
}

static void take_census(const struct xmb_domain *domain, struct census *census)
{
	const uint64_t owners = (UINT64_C(1) << 40) - 1;

	for (uint32_t i = 0; i < domain->region_cnt; i++) {
		uint32_t word = xmb_frame_load(domain, i);
		uint64_t state = atomic_load_explicit(
			&domain->trackers[i].state, memory_order_acquire);

		if (word == xmb_frame_word(XMB_FRAME_HELD, 0, 0))
			census->kept++;
		else if (state & owners)
			census_split(census, state);
		else if (xmb_frame_word_state(word) < XMB_FRAME_STATE_CNT)
			census->state[xmb_frame_word_state(word)]++;
		else if (census->bad++ < NAMED_MAX)
			xmb_log(XMB_LOG_ERROR,
				"ledger: frame %u has the impossible word %08x",
				i, word);
	}
}

static bool agrees(const char *what, int64_t counted, int64_t seen)
{
	if (counted == seen)
		return true;
	xmb_log(XMB_LOG_ERROR,
		"ledger: %" PRId64 " %s frames counted, but %" PRId64
		" frames say so",
		counted, what, seen);
	return false;
}

static uint32_t name_frames_of(const struct xmb_domain *domain,
			       const char *where, enum xmb_frame_state state,
			       uint32_t named)
{
	for (uint32_t i = 0; i < domain->region_cnt && named < NAMED_MAX; i++) {
		uint32_t word = xmb_frame_load(domain, i);

		if (xmb_frame_word_state(word) != state)
			continue;
		xmb_log(XMB_LOG_ERROR, "ledger: frame %u%s is %s of %u (%u/%u)",
			i, where, xmb_frame_state_name(state),
			xmb_frame_word_who(word), named + 1, NAMED_MAX);
		named++;
	}
	return named;
}

/* Which frames are in a state that has more of them than were counted. */
static void name_frames(const struct xmb_umem *umem, enum xmb_frame_state state)
{
	const struct xmb_domain *domain;
	uint32_t named = 0;

	for (uint32_t i = 0; (domain = domain_at(umem, i)); i++) {
		char where[32] = "";

		if (i)
			snprintf(where, sizeof(where), " of piece %u", i - 1);
		named = name_frames_of(domain, where, state, named);
	}
}

/* As agrees(), of frames whose words have this state. */
static bool state_agrees(const struct xmb_umem *umem, const char *what,
			 enum xmb_frame_state state, int64_t counted,
			 int64_t seen)
{
	if (agrees(what, counted, seen))
		return true;
	if (seen > counted)
		name_frames(umem, state);
	return false;
}

static int64_t kept_cnt(const struct xmb_umem *umem)
{
	int64_t cnt = umem->kept_cnt;

	for (uint32_t i = 0; i < umem->piece_cnt; i++)
		cnt += umem->pieces[i].kept_cnt;
	return cnt;
}

bool xmb_ledger_check(struct xmb_ledger *ledger, const struct xmb_umem *umem)
{
	const struct xmb_domain *domain;
	struct census seen = { 0 };
	bool ok;

	for (uint32_t i = 0; (domain = domain_at(umem, i)); i++)
		take_census(domain, &seen);
	ok = state_agrees(umem, "free", XMB_FRAME_FREE, ledger->free,
			  seen.state[XMB_FRAME_FREE]);
	ok &= state_agrees(umem, "fill and rx", XMB_FRAME_FILL,
			   ledger->fill + ledger->rx,
			   seen.state[XMB_FRAME_FILL]);
	ok &= state_agrees(umem, "app", XMB_FRAME_APP, ledger->app,
			   seen.state[XMB_FRAME_APP] + seen.split);
	ok &= state_agrees(umem, "tx", XMB_FRAME_TX, ledger->tx,
			   seen.state[XMB_FRAME_TX]);
	ok &= state_agrees(umem, "chan", XMB_FRAME_CHAN, ledger->chan,
			   seen.state[XMB_FRAME_CHAN]);
	ok &= state_agrees(umem, "held", XMB_FRAME_HELD, ledger->held,
			   seen.state[XMB_FRAME_HELD]);
	ok &= agrees("tx slots of split", ledger->tx_slots, seen.tx_slots);
	ok &= agrees("kept", kept_cnt(umem), seen.kept);
	if (xmb_ledger_sum(ledger) != 0)
		ok = agrees("all", (int64_t)ledger->frames - ledger->missing,
			    ledger->frames);
	ledger->app -= seen.split_tx;
	ledger->tx += seen.split_tx;
	return ok;
}
