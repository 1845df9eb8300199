/* SPDX-License-Identifier: BSD-2-Clause */
#include "umem/piece.h"

#include "buf/edit.h"
#include "buf/tracker_priv.h"
#include "umem/area_priv.h"

#include <stdlib.h>

static uint64_t bit_of(uint32_t frame)
{
	return UINT64_C(1) << (frame & 63);
}

/* A frame is free again; release: who takes it next sees what we did to it. */
static void set_free(struct xmb_piece *piece, uint32_t frame)
{
	atomic_fetch_or_explicit(&piece->free_map[frame >> 6], bit_of(frame),
				 memory_order_release);
	atomic_fetch_add_explicit(&piece->free_cnt, 1, memory_order_relaxed);
}

static bool try_take(struct xmb_piece *piece, uint32_t frame)
{
	if (!(atomic_fetch_and_explicit(&piece->free_map[frame >> 6],
					~bit_of(frame), memory_order_acquire) &
	      bit_of(frame)))
		return false;
	atomic_fetch_sub_explicit(&piece->free_cnt, 1, memory_order_relaxed);
	return true;
}

static void piece_release(struct xmb_domain *domain, uint32_t region,
			  struct xmb_cache *cache)
{
	struct xmb_piece *piece = (struct xmb_piece *)domain;

	(void)cache;
	set_free(piece, region);
	if (piece->home)
		piece->home(piece->arg, (uint32_t)(piece - piece->umem->pieces),
			    region);
}

static size_t map_len(uint32_t frame_cnt)
{
	return ((size_t)frame_cnt + 63) / 64 * sizeof(uint64_t);
}

/* Side arrays: trackers, free map, words; in one block of memory. */
static int make_side(struct xmb_piece *piece)
{
	struct xmb_domain *domain = &piece->domain;
	size_t trackers = domain->region_cnt * sizeof(struct xmb_tracker);
	size_t words = domain->region_cnt * sizeof(uint32_t);
	uint8_t *side = aligned_alloc(
		XMB_CACHE_LINE,
		xmb_align_up(trackers + map_len(domain->region_cnt) + words,
			     XMB_CACHE_LINE));

	if (!side)
		return -ENOMEM;
	domain->trackers = (void *)side;
	piece->free_map = (void *)(side + trackers);
	domain->words = (void *)(side + trackers + map_len(domain->region_cnt));
	return 0;
}

static void init_frames(struct xmb_piece *piece)
{
	struct xmb_domain *domain = &piece->domain;
	const struct xmb_umem *umem = piece->umem;

	for (size_t i = 0; i < map_len(domain->region_cnt) / 8; i++)
		atomic_init(&piece->free_map[i], 0);
	for (uint32_t i = 0; i < domain->region_cnt; i++) {
		uint64_t addr = piece->addr + (uint64_t)i * domain->region_len;

		xmb_tracker_init(&domain->trackers[i]);
		if (umem->is_unaligned && umem->is_contig &&
		    xmb_area_is_cut(addr, domain->region_len)) {
			atomic_init(&domain->words[i],
				    xmb_frame_word(XMB_FRAME_HELD, 0, 0));
			piece->kept_cnt++;
			continue;
		}
		atomic_init(&domain->words[i],
			    xmb_frame_word(XMB_FRAME_FREE, 0, 0));
		set_free(piece, i);
	}
}

int xmb_piece_init(struct xmb_piece *piece, uint32_t frame_len)
{
	struct xmb_domain *domain = &piece->domain;
	int err;

	domain->base = piece->umem->area + piece->addr;
	domain->region_len = frame_len;
	domain->region_cnt = (uint32_t)(piece->len / frame_len);
	domain->last_len = frame_len;
	domain->release = piece_release;
	err = make_side(piece);
	if (err)
		return err;
	init_frames(piece);
	err = xmb_domain_add(domain);
	if (err)
		xmb_piece_fini(piece);
	return err;
}

void xmb_piece_fini(struct xmb_piece *piece)
{
	if (piece->domain.id)
		xmb_domain_remove(&piece->domain);
	free(piece->domain.trackers);
	piece->domain = (struct xmb_domain){ 0 };
}

/* A piece whose frames are given out on request. */
static struct xmb_piece *find(const struct xmb_umem *umem, uint32_t piece)
{
	if (piece >= umem->piece_cnt || umem->pieces[piece].domain.id == 0)
		return NULL;
	return &umem->pieces[piece];
}

uint32_t xmb_umem_piece_frame_cnt(const struct xmb_umem *umem, uint32_t piece)
{
	const struct xmb_piece *p = find(umem, piece);

	return p ? p->domain.region_cnt : 0;
}

uint32_t xmb_umem_piece_free_cnt(const struct xmb_umem *umem, uint32_t piece)
{
	const struct xmb_piece *p = find(umem, piece);

	return p ? atomic_load_explicit(&p->free_cnt, memory_order_relaxed) : 0;
}

uint8_t *xmb_umem_piece_data(const struct xmb_umem *umem, uint32_t piece)
{
	return piece < umem->piece_cnt ? umem->area + umem->pieces[piece].addr
				       : NULL;
}

/* The chunk of a frame that was just taken. */
static struct xmb_chunk chunk_of(struct xmb_piece *piece,
				 const struct xmb_cache *cache, uint32_t frame,
				 uint32_t off, uint32_t len)
{
	struct xmb_chunk chunk = { 0 };
	uint32_t gen =
		xmb_frame_word_gen(xmb_frame_load(&piece->domain, frame));

	xmb_frame_store(&piece->domain, frame,
			xmb_frame_word(XMB_FRAME_APP, cache->who, gen));
	xmb_chunk_make_excl(&chunk, &piece->domain, frame, off, len, gen);
	return chunk;
}

/* Nobody has seen it taken: home() is not told. */
static void put_back(struct xmb_piece *piece, uint32_t frame)
{
	uint32_t gen =
		xmb_frame_word_gen(xmb_frame_load(&piece->domain, frame));

	xmb_frame_store(&piece->domain, frame,
			xmb_frame_word(XMB_FRAME_FREE, 0, gen));
	set_free(piece, frame);
}

/* Take the frames [first, first + cnt), all or none. */
static bool take_frames(struct xmb_piece *piece, uint32_t first, uint32_t cnt)
{
	for (uint32_t i = 0; i < cnt; i++) {
		if (try_take(piece, first + i))
			continue;
		while (i-- > 0)
			put_back(piece, first + i);
		return false;
	}
	return true;
}

/* The chunks of [off, off + len), whose frames are taken, as a multibuf. */
static int make_multibuf(struct xmb_piece *piece, struct xmb_cache *cache,
			 size_t off, size_t len, struct xmb_multibuf *mb)
{
	const uint32_t frame_len = piece->domain.region_len;
	struct xmb_multibuf made = { .user = mb->user };
	struct xmb_chunk chunk;
	size_t end = off + len;
	int err = 0;

	/* From the back: a push in front takes the same time at any length. */
	while (end > off && !err) {
		uint32_t frame = (uint32_t)((end - 1) / frame_len);
		size_t start = (size_t)frame * frame_len;
		uint32_t from = start < off ? (uint32_t)(off - start) : 0;

		chunk = chunk_of(piece, cache, frame, from,
				 (uint32_t)(end - start) - from);
		err = xmb_multibuf_push_front(&made, &chunk, cache);
		if (!err)
			end = start + from;
	}
	if (!err) {
		*mb = made;
		return 0;
	}
	/* The frames go back unseen: these handles are dropped, not released.
	 */
	do {
		chunk = (struct xmb_chunk){ 0 };
	} while (xmb_multibuf_take_chunk(&made, 0, &chunk, cache) == 0);
	xmb_multibuf_release(&made, cache);
	for (size_t i = off / frame_len; i <= (off + len - 1) / frame_len; i++)
		put_back(piece, (uint32_t)i);
	return err;
}

int xmb_umem_piece_take(struct xmb_umem *umem, uint32_t piece,
			struct xmb_cache *cache, size_t off, size_t len,
			struct xmb_multibuf *mb)
{
	struct xmb_piece *p = find(umem, piece);
	uint32_t first, cnt;
	size_t room;

	XMB_ASSERT(xmb_multibuf_is_empty(mb));
	if (!p)
		return -EINVAL;
	room = (size_t)p->domain.region_cnt * p->domain.region_len;
	if (len == 0 || off > room || len > room - off)
		return -EINVAL;
	first = (uint32_t)(off / p->domain.region_len);
	cnt = (uint32_t)((off + len - 1) / p->domain.region_len) - first + 1;
	if (cnt > UINT16_MAX)
		return -EINVAL;
	if (!take_frames(p, first, cnt))
		return -EBUSY;
	return make_multibuf(p, cache, off, len, mb);
}

/* Any free frame, from word `from` of the map on; UINT32_MAX: none. */
static uint32_t take_any(struct xmb_piece *piece, uint32_t from)
{
	uint32_t words = (piece->domain.region_cnt + 63) / 64;

	for (uint32_t i = 0; i < words; i++) {
		uint32_t at = (from + i) % words;
		uint64_t bits;

		while ((bits = atomic_load_explicit(&piece->free_map[at],
						    memory_order_relaxed))) {
			uint32_t frame =
				at * 64 + (uint32_t)__builtin_ctzll(bits);

			if (!try_take(piece, frame))
				continue;
			atomic_store_explicit(&piece->search_from, at,
					      memory_order_relaxed);
			return frame;
		}
	}
	return UINT32_MAX;
}

int xmb_umem_piece_alloc(struct xmb_umem *umem, uint32_t piece,
			 struct xmb_cache *cache, uint32_t len,
			 struct xmb_multibuf *mb)
{
	struct xmb_piece *p = find(umem, piece);
	struct xmb_chunk chunk;
	uint32_t frame;

	XMB_ASSERT(xmb_multibuf_is_empty(mb));
	if (!p || len == 0 || len > p->domain.region_len)
		return -EINVAL;
	frame = take_any(
		p, atomic_load_explicit(&p->search_from, memory_order_relaxed));
	if (frame == UINT32_MAX)
		return -ENOBUFS;
	chunk = chunk_of(p, cache, frame, 0, len);
	/* One chunk needs no spill block. */
	return xmb_multibuf_push_back(mb, &chunk, cache);
}

struct xmb_piece *xmb_umem_piece_of(const struct xmb_umem *umem, uint8_t dom)
{
	struct xmb_domain *domain = xmb_domain_table[dom];
	struct xmb_piece *piece = (struct xmb_piece *)domain;

	if (!domain || domain->release != piece_release || piece->umem != umem)
		return NULL;
	return piece;
}

uint64_t xmb_umem_piece_tx(struct xmb_piece *piece, uint32_t who,
			   struct xmb_chunk *chunk, bool *is_excl)
{
	uint64_t off = xmb_handover_tx_of(&piece->domain, who, chunk, is_excl);

	if (*is_excl)
		atomic_fetch_add_explicit(&piece->kernel_cnt, 1,
					  memory_order_relaxed);
	return piece->addr + off;
}

/* The piece with frames of its own in which addr is; NULL: none. */
static struct xmb_piece *piece_at(const struct xmb_umem *umem, uint64_t addr)
{
	for (uint32_t i = 0; i < umem->piece_cnt; i++) {
		struct xmb_piece *piece = &umem->pieces[i];

		if (piece->domain.id && addr >= piece->addr &&
		    addr - piece->addr < piece->len)
			return piece;
	}
	return NULL;
}

int xmb_umem_piece_complete(struct xmb_umem *umem, struct xmb_cache *cache,
			    uint32_t who, uint64_t addr)
{
	struct xmb_piece *piece = piece_at(umem, addr);
	int got;

	if (!piece)
		return -EPROTO;
	got = xmb_handover_complete_of(cache, &piece->domain, who,
				       addr - piece->addr);
	if (got == 1)
		atomic_fetch_sub_explicit(&piece->kernel_cnt, 1,
					  memory_order_relaxed);
	return got;
}

uint32_t xmb_umem_tx_end(const struct xmb_umem *umem, uint32_t who,
			 uint64_t addr)
{
	const struct xmb_piece *piece = piece_at(umem, addr);

	if (!piece)
		return xmb_handover_tx_end(&umem->pool.domain, who, addr);
	return xmb_handover_tx_end(&piece->domain, who, addr - piece->addr);
}

int xmb_umem_complete_held(struct xmb_umem *umem, struct xmb_cache *cache,
			   uint32_t who, uint64_t addr)
{
	struct xmb_piece *piece = piece_at(umem, addr);
	int err;

	if (!piece)
		return xmb_handover_complete_held(cache, &umem->pool.domain,
						  who, addr);
	err = xmb_handover_complete_held(cache, &piece->domain, who,
					 addr - piece->addr);
	if (!err)
		atomic_fetch_sub_explicit(&piece->kernel_cnt, 1,
					  memory_order_relaxed);
	return err;
}

struct xmb_handover_held xmb_umem_unsend(struct xmb_umem *umem,
					 struct xmb_cache *cache, uint32_t who)
{
	struct xmb_handover_held home =
		xmb_handover_unsend_of(cache, &umem->pool.domain, who);

	for (uint32_t i = 0; i < umem->piece_cnt; i++) {
		struct xmb_piece *piece = &umem->pieces[i];
		struct xmb_handover_held more =
			xmb_handover_unsend_of(cache, &piece->domain, who);

		atomic_fetch_sub_explicit(&piece->kernel_cnt, more.tx_cnt,
					  memory_order_relaxed);
		home.tx_cnt += more.tx_cnt;
		home.slot_cnt += more.slot_cnt;
	}
	return home;
}

struct xmb_handover_held xmb_umem_hold(struct xmb_umem *umem, uint32_t who)
{
	struct xmb_handover_held held = xmb_handover_hold(&umem->pool, who);

	for (uint32_t i = 0; i < umem->piece_cnt; i++) {
		struct xmb_handover_held more =
			xmb_handover_hold_of(&umem->pieces[i].domain, who);

		held.tx_cnt += more.tx_cnt;
		held.slot_cnt += more.slot_cnt;
	}
	return held;
}

uint32_t xmb_umem_unhold(struct xmb_umem *umem, struct xmb_cache *cache,
			 uint32_t who)
{
	uint32_t cnt = xmb_handover_unhold(cache, who);

	for (uint32_t i = 0; i < umem->piece_cnt; i++) {
		struct xmb_piece *piece = &umem->pieces[i];
		struct xmb_handover_held freed =
			xmb_handover_unhold_of(cache, &piece->domain, who);

		atomic_fetch_sub_explicit(&piece->kernel_cnt, freed.tx_cnt,
					  memory_order_relaxed);
		cnt += freed.tx_cnt + freed.slot_cnt;
	}
	return cnt;
}
