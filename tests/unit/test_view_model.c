/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * All of lib/view in random order against arrays of bytes: what is read is what
 * the array has, what is written changes the array's bytes and no others, and
 * what is refused is refused for a reason that the model sees.
 */
#include "view/flat.h"
#include "view/layer.h"
#include "view/span.h"
#include "view/stream.h"

#include "view_model.h"

#include <stdlib.h>
#include <time.h>

static uint32_t refused_cnt, written_cnt, flat_cnt, edit_cnt, found_cnt;

/* u8 be16 be24 be32 be64 le16 le32 le64 */
static const uint32_t widths[] = { 1, 2, 3, 4, 8, 2, 4, 8 };

enum {
	KIND_CNT = sizeof(widths) / sizeof(*widths),
	KIND_LE = 5,
};

static uint64_t number_at(const uint8_t *at, uint32_t kind)
{
	uint32_t n = widths[kind];
	uint64_t v = 0;

	for (uint32_t i = 0; i < n; i++)
		v = v << 8 | at[kind < KIND_LE ? i : n - 1 - i];
	return v;
}

static void number_to(uint8_t *at, uint32_t kind, uint64_t v)
{
	uint32_t n = widths[kind];

	for (uint32_t i = 0; i < n; i++, v >>= 8)
		at[kind < KIND_LE ? n - 1 - i : i] = (uint8_t)v;
}

static int get_number(struct xmb_reader *r, uint32_t kind, uint64_t *v)
{
	uint8_t u8 = 0;
	uint16_t u16 = 0;
	uint32_t u32 = 0;
	uint64_t u64 = 0;
	int rc = kind == 0   ? xmb_reader_get_u8(r, &u8)
		 : kind == 1 ? xmb_reader_get_be16(r, &u16)
		 : kind == 2 ? xmb_reader_get_be24(r, &u32)
		 : kind == 3 ? xmb_reader_get_be32(r, &u32)
		 : kind == 4 ? xmb_reader_get_be64(r, &u64)
		 : kind == 5 ? xmb_reader_get_le16(r, &u16)
		 : kind == 6 ? xmb_reader_get_le32(r, &u32)
			     : xmb_reader_get_le64(r, &u64);

	*v = u8 | u16 | u32 | u64;
	return rc;
}

static int put_number(struct xmb_writer *w, uint32_t kind, uint64_t v)
{
	return kind == 0   ? xmb_writer_put_u8(w, (uint8_t)v)
	       : kind == 1 ? xmb_writer_put_be16(w, (uint16_t)v)
	       : kind == 2 ? xmb_writer_put_be24(w, (uint32_t)v)
	       : kind == 3 ? xmb_writer_put_be32(w, (uint32_t)v)
	       : kind == 4 ? xmb_writer_put_be64(w, v)
	       : kind == 5 ? xmb_writer_put_le16(w, (uint16_t)v)
	       : kind == 6 ? xmb_writer_put_le32(w, (uint32_t)v)
			   : xmb_writer_put_le64(w, v);
}

static void read_number(struct xmb_reader *r, const uint8_t *at, uint32_t left)
{
	uint32_t kind = rnd(KIND_CNT);
	uint64_t v;
	int rc = get_number(r, kind, &v);

	MUST(rc == (left < widths[kind] ? -ENODATA : 0));
	MUST(v == (rc < 0 ? 0 : number_at(at, kind)));
}

/* One call of a reader that has left bytes before it, at these. */
static void read_step(struct xmb_reader *r, const struct map *map, uint32_t off,
		      const uint8_t *at, uint32_t left)
{
	uint32_t want = rnd(40), got = xmb_min_u32(want, left);
	uint8_t bytes[64] = { 0 };
	const uint8_t *p;
	size_t len;

	switch (rnd(6)) {
	case 0:
		MUST(xmb_reader_read(r, bytes, want) == got);
		MUST(memcmp(bytes, at, got) == 0 && bytes[got] == 0);
		break;
	case 1:
		MUST(xmb_reader_peek(r, bytes, want) == got);
		MUST(memcmp(bytes, at, got) == 0 && bytes[got] == 0);
		break;
	case 2:
		MUST(xmb_reader_skip(r, want) == got);
		break;
	case 3:
		p = xmb_reader_get(r, want, bytes);
		MUST(!p == (want > left));
		MUST(!p || memcmp(p, at, want) == 0);
		MUST(!p || want == 0 ||
		     (p == map->at[off]) ==
			     (map->owner[off] == map->owner[off + want - 1]));
		break;
	case 4:
		p = xmb_reader_run(r, want, &len);
		MUST(!p == (got == 0) && len <= got);
		MUST(!p || (p == map->at[off] &&
			    p + len - 1 == map->at[off + len - 1]));
		MUST(len == got || map->owner[off + len] != map->owner[off]);
		break;
	default:
		read_number(r, at, left);
	}
}

static void do_read(uint32_t i)
{
	uint32_t off = rnd(flats[i].len + 1), n = rnd(flats[i].len - off + 1);
	struct map map = map_of(i);
	struct xmb_reader reader;

	MUST(xmb_reader_init_range(&reader, &mbs[i], off, n) == 0);
	for (uint32_t k = 0; k < 16; k++) {
		uint32_t place = (uint32_t)xmb_reader_tell(&reader);
		uint32_t to = rnd(n + 2);

		MUST(place <= n && xmb_reader_remaining(&reader) == n - place);
		if (rnd(3) == 0)
			MUST(xmb_reader_seek(&reader, to) ==
				     (to > n ? -ERANGE : 0) &&
			     xmb_reader_tell(&reader) == (to > n ? place : to));
		else
			read_step(&reader, &map, off + place,
				  flats[i].bytes + off + place, n - place);
	}
}

/* One call of a writer that has left bytes before it; the model follows. */
static void write_step(struct xmb_writer *w, const struct map *map,
		       uint32_t off, uint8_t *at, uint32_t left)
{
	uint32_t want = rnd(40), got = xmb_min_u32(want, left);
	uint32_t free_cnt = writable_cnt(map, off, got);
	uint32_t kind = rnd(KIND_CNT), n = widths[kind];
	uint64_t v = number_at((const uint8_t *)&rng, rnd(4));
	uint8_t bytes[40];
	int rc;

	memset(bytes, (int)rnd(3), sizeof(bytes));
	switch (rnd(4)) {
	case 0:
		MUST(xmb_writer_write(w, bytes, want) == free_cnt);
		memcpy(at, bytes, free_cnt);
		break;
	case 1:
		MUST(xmb_writer_fill(w, bytes[0], want) == free_cnt);
		memcpy(at, bytes, free_cnt);
		break;
	case 2:
		MUST(xmb_writer_skip(w, want) == got);
		break;
	default:
		rc = put_number(w, kind, v);
		MUST(rc == (left < n			    ? -ENOSPC
			    : writable_cnt(map, off, n) < n ? -EPERM
							    : 0));
		refused_cnt += rc < 0;
		written_cnt += rc == 0;
		if (rc == 0)
			number_to(at, kind, v);
	}
}

static void do_write(uint32_t i)
{
	uint32_t off = rnd(flats[i].len + 1), n = rnd(flats[i].len - off + 1);
	struct map map = map_of(i);
	struct xmb_writer writer;

	MUST(xmb_writer_init_range(&writer, &mbs[i], off, n) == 0);
	for (uint32_t k = 0; k < 16; k++) {
		uint32_t place = (uint32_t)xmb_writer_tell(&writer);
		uint32_t to = rnd(n + 2);

		MUST(place <= n && xmb_writer_remaining(&writer) == n - place);
		if (rnd(3) == 0)
			MUST(xmb_writer_seek(&writer, to) ==
				     (to > n ? -ERANGE : 0) &&
			     xmb_writer_tell(&writer) == (to > n ? place : to));
		else
			write_step(&writer, &map, off + place,
				   flats[i].bytes + off + place, n - place);
	}
}

static void do_span(uint32_t i)
{
	uint32_t off = rnd(flats[i].len + 1), n = rnd(flats[i].len - off + 1);
	uint32_t max = rnd(8), at = off;
	struct map map = map_of(i);
	struct iovec iov[8];
	size_t done;
	int cnt;

	MUST(xmb_span_iovec(&mbs[i], off, flats[i].len - off + 1, iov, max,
			    &done) == -ERANGE);
	cnt = xmb_span_iovec(&mbs[i], off, n, iov, max, &done);
	MUST(cnt >= 0 && (uint32_t)cnt <= max && done <= n);
	MUST(done == n || (uint32_t)cnt == max);
	for (int k = 0; k < cnt; k++) {
		uint32_t len = (uint32_t)iov[k].iov_len;

		MUST(len > 0 && iov[k].iov_base == map.at[at]);
		MUST(map.owner[at] == map.owner[at + len - 1]);
		MUST(at == off || map.owner[at] != map.owner[at - 1]);
		at += len;
	}
	MUST(at == off + done);
	MUST(xmb_flat_is_contiguous(&mbs[i], off, n) ==
	     (n == 0 || map.owner[off] == map.owner[off + n - 1]));
}

static void do_bytes(uint32_t i)
{
	const struct flat *flat = &flats[i];
	uint32_t at = rnd(flat->len + 1);
	struct xmb_byte_iter iter;

	MUST(xmb_byte_iter_init(&iter, &mbs[i], at) == 0);
	for (uint32_t k = 0, back = rnd(2); k < 60; k++) {
		if (rnd(8) == 0)
			back = !back;
		if (back)
			MUST(xmb_byte_prev(&iter) ==
			     (at > 0 ? flat->bytes[--at] : -1));
		else
			MUST(xmb_byte_next(&iter) ==
			     (at < flat->len ? flat->bytes[at++] : -1));
		MUST(xmb_byte_tell(&iter) == at);
	}
}

static void do_search(uint32_t i, uint32_t j)
{
	const struct flat *a = &flats[i], *b = &flats[j];
	uint32_t n = rnd(8), off = rnd(a->len + 2), at = off;
	int cmp = memcmp(a->bytes, b->bytes, xmb_min_u32(a->len, b->len));
	uint8_t what[8];
	int64_t want;

	if (cmp == 0)
		cmp = (a->len > b->len) - (a->len < b->len);
	want = xmb_span_compare(&mbs[i], &mbs[j]);
	MUST((cmp > 0) - (cmp < 0) == (want > 0) - (want < 0));
	for (uint32_t k = 0; k < n; k++)
		what[k] = (uint8_t)rnd(3);
	while (at + n <= a->len && memcmp(a->bytes + at, what, n) != 0)
		at++;
	want = at + n <= a->len ? (int64_t)at : -ENOENT;
	found_cnt += n > 1 && want > 0;
	MUST(xmb_span_find(&mbs[i], off, what, n) == want);
	MUST(n != 1 || xmb_span_find_byte(&mbs[i], off, what[0]) == want);
	MUST(xmb_span_equal(&mbs[i], off, what, n) == (want == off));
}

/* Is there less than the bytes and chunks of mbs[i] and more could need? */
static bool is_tight(const struct xmb_cache *cache, uint32_t chunk_cnt,
		     uint32_t len)
{
	struct room *room = cache == &here.cache ? &here : &there;

	return frames_free(room) <= len / room->pool.domain.region_len + 1 ||
	       blocks_free(room) <= chunk_cnt / 3 + 1 ||
	       blocks_free(room) < 3; /* edits in the middle stock so many */
}

static void do_flat(uint32_t i)
{
	struct xmb_cache *cache = any_cache();
	uint32_t frame_len = cache->pool->domain.region_len;
	uint32_t headroom = rnd(rnd(4) ? 8 : frame_len + 2), kind = rnd(3);
	uint32_t n = kind == 0 ? rnd(flats[i].len + 2) : flats[i].len;
	static struct xmb_chunk was[CHUNK_MAX];
	uint32_t cnt = mbs[i].cnt, room = frame_len - headroom;
	uint64_t copied = xmb_counter_read(&cache->copied_bytes);
	int rc;

	MUST(cnt <= CHUNK_MAX);
	for (uint32_t k = 0; k < cnt; k++)
		was[k] = *xmb_multibuf_chunk(&mbs[i], k);
	rc = kind == 0	 ? xmb_flat_pullup(&mbs[i], n, headroom, cache)
	     : kind == 1 ? xmb_flat_linearize(&mbs[i], headroom, cache)
			 : xmb_flat_gather(&mbs[i], headroom, cache);
	if (rc < 0) {
		MUST(mbs[i].cnt == cnt);
		for (uint32_t k = 0; k < cnt; k++)
			MUST(memcmp(&was[k], xmb_multibuf_chunk(&mbs[i], k),
				    sizeof(*was)) == 0);
		MUST(copied == xmb_counter_read(&cache->copied_bytes));
		MUST(rc == (n > flats[i].len ? -ERANGE
			    : kind < 2 && (headroom > frame_len || n > room)
				    ? -EMSGSIZE
			    : headroom >= frame_len ? -EMSGSIZE
						    : -ENOBUFS));
		MUST(rc != -ENOBUFS || is_tight(cache, cnt, n));
		refused_cnt++;
		return;
	}
	flat_cnt += cnt != mbs[i].cnt;
	MUST(xmb_counter_read(&cache->copied_bytes) - copied <= n);
	if (kind < 2)
		MUST(xmb_flat_is_contiguous(&mbs[i], 0, n));
	if (kind == 1)
		MUST(mbs[i].cnt <= 1);
	if (kind == 2 && n > 0)
		MUST(mbs[i].cnt <=
		     1 + (n > room ? (n - room + frame_len - 1) / frame_len
				   : 0));
}

/* The views of a multibuf, as the model has them: at off, of len bytes. */
struct views {
	uint32_t cnt;
	uint32_t off[XMB_LAYER_MAX + 1], len[XMB_LAYER_MAX + 1];
};

static void grow_views(struct views *views, int32_t n)
{
	for (uint32_t k = 0; k <= views->cnt; k++)
		views->len[k] += (uint32_t)n;
}

static void edit_insert(struct xmb_layers *layers, struct views *views,
			uint32_t i, uint32_t j)
{
	uint32_t base = views->off[views->cnt], len = views->len[views->cnt];
	uint32_t at = rnd(len + 2), cnt = mbs[i].cnt + mbs[j].cnt;
	struct xmb_cache *cache = any_cache();
	int rc;

	if (i == j || flats[i].len + flats[j].len > LEN_MAX)
		return;
	rc = xmb_layers_insert(layers, at, &mbs[j], cache);
	if (rc < 0) {
		MUST(at > len ? rc == -ERANGE
			      : rc == -ENOBUFS &&
					is_tight(cache, cnt, flats[i].len));
		refused_cnt++;
		return;
	}
	MUST(at <= len && mbs[j].cnt == 0);
	grow_views(views, (int32_t)flats[j].len);
	flat_put(&flats[i], base + at, &flats[j]);
	flats[j].len = 0;
	edit_cnt++;
}

/* Take, discard or truncate; what is taken is mbs[j], if that is empty. */
static void edit_cut(struct xmb_layers *layers, struct views *views, uint32_t i,
		     uint32_t j)
{
	uint32_t base = views->off[views->cnt], len = views->len[views->cnt];
	uint32_t off = rnd(len + 2), n = rnd(40), cnt = mbs[i].cnt;
	struct xmb_cache *cache = any_cache();
	uint32_t kind = rnd(3);
	int rc;

	if (kind == 0 && (i == j || mbs[j].cnt > 0))
		kind = 1;
	if (kind == 2 && off <= len)
		n = len - off;
	rc = kind == 0	 ? xmb_layers_take(layers, off, n, &mbs[j], cache)
	     : kind == 1 ? xmb_layers_discard_segment(layers, off, n, cache)
			 : xmb_layers_truncate(layers, off, cache);
	if (rc < 0) {
		MUST(off > len || n > len - off
			     ? rc == -ERANGE
			     : rc == -ENOBUFS &&
				       is_tight(cache, cnt, flats[i].len));
		refused_cnt++;
		return;
	}
	MUST(off <= len && n <= len - off);
	if (kind == 0) {
		flats[j].len = n;
		memcpy(flats[j].bytes, flats[i].bytes + base + off, n);
	}
	flat_cut(&flats[i], base + off, n);
	grow_views(views, -(int32_t)n);
	edit_cnt++;
}

static void view_bytes(struct xmb_layers *layers, const struct views *views,
		       uint32_t i)
{
	uint32_t base = views->off[views->cnt], len = views->len[views->cnt];
	uint32_t off = rnd(len + 2), n = rnd(40);
	uint32_t in = off < len ? xmb_min_u32(n, len - off) : 0, done;
	struct map map = map_of(i);
	uint8_t bytes[64];
	const uint8_t *p;

	MUST(xmb_layers_copy_to(layers, off, bytes, n) == in);
	MUST(in == 0 || memcmp(bytes, flats[i].bytes + base + off, in) == 0);
	p = xmb_layers_get(layers, off, n, bytes);
	MUST(!p == (off > len || n > len - off));
	MUST(!p || memcmp(p, flats[i].bytes + base + off, n) == 0);
	memset(bytes, (int)rnd(3), sizeof(bytes));
	done = in > 0 ? writable_cnt(&map, base + off, in) : 0;
	MUST(xmb_layers_copy_from(layers, off, bytes, n) == done);
	if (done > 0)
		memcpy(flats[i].bytes + base + off, bytes, done);
}

static void do_layers(uint32_t i, uint32_t j)
{
	struct views views = { .len[0] = flats[i].len };
	struct xmb_layers layers;
	uint32_t off, n;
	int rc;

	xmb_layers_init(&layers, &mbs[i]);
	for (uint32_t k = 0; k < 16; k++) {
		uint32_t *cnt = &views.cnt;

		MUST(xmb_layers_off(&layers) == views.off[*cnt]);
		MUST(xmb_layers_len(&layers) == views.len[*cnt]);
		switch (rnd(6)) {
		case 0:
			edit_insert(&layers, &views, i, j);
			break;
		case 1:
			edit_cut(&layers, &views, i, j);
			break;
		case 2:
			rc = xmb_layers_pop(&layers);
			MUST(rc == (*cnt > 0 ? 0 : -ENOENT));
			*cnt -= rc == 0;
			break;
		case 3:
			view_bytes(&layers, &views, i);
			break;
		default:
			off = rnd(20);
			n = rnd(views.len[*cnt] + 3);
			rc = xmb_layers_push(&layers, off, n);
			MUST(rc ==
			     (off > views.len[*cnt] || n > views.len[*cnt] - off
				      ? -ERANGE
			      : *cnt == XMB_LAYER_MAX ? -ENOSPC
						      : 0));
			if (rc == 0) {
				views.off[*cnt + 1] = views.off[*cnt] + off;
				views.len[++*cnt] = n;
			}
		}
	}
}

static void do_step(void)
{
	uint32_t i = rnd(MB_CNT), j = rnd(MB_CNT);

	switch (rnd(15)) {
	case 0:
	case 1:
		do_build(i);
		break;
	case 2:
		do_crowd(i);
		break;
	case 3:
		do_share(i);
		break;
	case 4:
		do_claim(i);
		break;
	case 5:
	case 6:
		do_read(i);
		break;
	case 7:
		do_write(i);
		break;
	case 8:
		do_span(i);
		break;
	case 9:
		do_bytes(i);
		break;
	case 10:
		do_search(i, j);
		break;
	case 11:
	case 12:
		do_flat(i);
		break;
	default:
		do_layers(i, j);
	}
	verify(i);
	verify(j);
}

/* XMB_STEPS: so many calls in all, with seeds that differ from run to run. */
Test(view_model, random_calls_agree_with_the_model, .init = setup,
     .fini = teardown_or_abort, .timeout = 1800)
{
	const char *steps = getenv("XMB_STEPS");
	uint32_t first = steps ? (uint32_t)time(NULL) | 1 : 1;
	uint32_t cnt =
		steps ? (uint32_t)strtoul(steps, NULL, 10) / STEP_CNT : 3;

	cr_log_info("seeds from %u", first);
	for (seed = first; seed < first + cnt; seed++) {
		rng = seed;
		for (step = 1; step <= STEP_CNT; step++)
			do_step();
		for (uint32_t i = 0; i < MB_CNT; i++)
			drop(i);
		xmb_chunk_release_bulk(clones, CLONE_CNT, &here.cache);
		MUST(ext_cnt == 0);
	}
	/* The run is worth something only if it went everywhere. */
	cr_log_info("%u refused, %u written, %u flat, %u edits, %u found",
		    refused_cnt, written_cnt, flat_cnt, edit_cnt, found_cnt);
	cr_expect(gt(u32, refused_cnt, STEP_CNT / 20));
	cr_expect(gt(u32, written_cnt, STEP_CNT / 20));
	cr_expect(gt(u32, flat_cnt, STEP_CNT / 20));
	cr_expect(gt(u32, edit_cnt, STEP_CNT / 20));
	cr_expect(gt(u32, found_cnt, STEP_CNT / 50));
}
