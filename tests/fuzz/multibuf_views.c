/* SPDX-License-Identifier: BSD-2-Clause */
/* Calls on views of a multibuf: flat bytes, layers and streams. */
#include "multibuf_model.h"

#include "view/flat.h"
#include "view/layer.h"
#include "view/stream.h"

#include <string.h>

/* A layer as it must be: where it begins in the multibuf, and its bytes. */
struct seen {
	size_t off, len;
};

int op_flat(uint32_t i, uint32_t j, struct xmb_cache *cache)
{
	uint32_t kind = get() % 3, headroom = get();
	size_t n = get_upto(mbs[i].len);
	int rc;

	(void)j;
	if (kind == 0) {
		rc = xmb_flat_pullup(&mbs[i], n, headroom, cache);
		MUST(rc < 0 || xmb_flat_is_contiguous(&mbs[i], 0, n));
		MUST(rc == -ERANGE || n <= mbs[i].len);
	} else if (kind == 1) {
		rc = xmb_flat_linearize(&mbs[i], headroom, cache);
		MUST(rc < 0 || mbs[i].cnt <= 1);
	} else {
		rc = xmb_flat_gather(&mbs[i], headroom, cache);
	}
	return rc;
}

/* A number of these bytes, the first one the highest. */
static uint64_t number_of(const uint8_t *bytes, uint32_t len, bool is_be)
{
	uint64_t value = 0;

	for (uint32_t k = 0; k < len; k++)
		value = value << 8 | bytes[is_be ? k : len - 1 - k];
	return value;
}

enum number { U8, BE16, BE24, BE32, BE64, LE16, LE32, LE64, NUMBERS };

static const uint32_t number_lens[NUMBERS] = { 1, 2, 3, 4, 8, 2, 4, 8 };

static int get_number(struct xmb_reader *r, enum number kind, uint64_t *value)
{
	uint8_t v8 = 0;
	uint16_t v16 = 0;
	uint32_t v32 = 0;
	uint64_t v64 = 0;
	int rc = kind == U8	? xmb_reader_get_u8(r, &v8)
		 : kind == BE16 ? xmb_reader_get_be16(r, &v16)
		 : kind == BE24 ? xmb_reader_get_be24(r, &v32)
		 : kind == BE32 ? xmb_reader_get_be32(r, &v32)
		 : kind == BE64 ? xmb_reader_get_be64(r, &v64)
		 : kind == LE16 ? xmb_reader_get_le16(r, &v16)
		 : kind == LE32 ? xmb_reader_get_le32(r, &v32)
				: xmb_reader_get_le64(r, &v64);

	*value = v8 | v16 | v32 | v64;
	return rc;
}

static int put_number(struct xmb_writer *w, enum number kind, uint64_t value)
{
	return kind == U8     ? xmb_writer_put_u8(w, (uint8_t)value)
	       : kind == BE16 ? xmb_writer_put_be16(w, (uint16_t)value)
	       : kind == BE24 ? xmb_writer_put_be24(w, (uint32_t)value)
	       : kind == BE32 ? xmb_writer_put_be32(w, (uint32_t)value)
	       : kind == BE64 ? xmb_writer_put_be64(w, value)
	       : kind == LE16 ? xmb_writer_put_le16(w, (uint16_t)value)
	       : kind == LE32 ? xmb_writer_put_le32(w, (uint32_t)value)
			      : xmb_writer_put_le64(w, value);
}

/* A number at the place, whose bytes, of which left are there, are want's. */
static size_t read_number(struct xmb_reader *r, const uint8_t *want,
			  size_t left, enum number kind)
{
	uint32_t len = number_lens[kind];
	uint64_t value;
	int rc = get_number(r, kind, &value);

	MUST(rc == (len <= left ? 0 : -ENODATA));
	if (rc < 0)
		return 0;
	MUST(value == number_of(want, len, kind <= BE64));
	return len;
}

/* One call at the place; returns how many bytes it must have passed. */
static size_t read_once(struct xmb_reader *r, const uint8_t *want, size_t left)
{
	uint32_t kind = get() % 7, number = get() % NUMBERS;
	size_t n = get_upto((uint32_t)left), part = min_size(n, left), run;
	const void *in_place;

	if (kind == 0)
		return read_number(r, want, left, number);
	if (kind == 1) {
		MUST(xmb_reader_skip(r, n) == part);
		return part;
	}
	if (kind == 2) {
		in_place = xmb_reader_run(r, n, &run);
		MUST(run <= part && (run > 0) == (part > 0));
		MUST(run == 0 ? !in_place : !memcmp(in_place, want, run));
		return run;
	}
	if (kind == 3) {
		MUST(xmb_reader_peek(r, scratch, n) == part);
		MUST(memcmp(scratch, want, part) == 0);
		return 0;
	}
	if (kind == 4) {
		MUST(xmb_reader_read(r, scratch, n) == part);
		MUST(memcmp(scratch, want, part) == 0);
		return part;
	}
	if (kind == 5) {
		MUST(xmb_reader_read_all(r, scratch, n) ==
		     (n <= left ? 0 : -ENODATA));
		MUST(n > left || memcmp(scratch, want, n) == 0);
	} else {
		in_place = xmb_reader_get(r, n, scratch);
		MUST(n <= left ? !!in_place : !in_place);
		MUST(n > left || memcmp(in_place, want, n) == 0);
	}
	return n <= left ? n : 0;
}

/* Read what must be the len bytes of want, here and there. */
static void read_some(struct xmb_reader *r, const uint8_t *want, size_t len)
{
	size_t at = 0, to;

	for (uint32_t calls = get() % 8; calls > 0; calls--) {
		if (get() % 4 == 0) {
			to = get_upto((uint32_t)len);
			MUST(xmb_reader_seek(r, to) ==
			     (to <= len ? 0 : -ERANGE));
			at = to <= len ? to : at;
		} else {
			at += read_once(r, want + at, len - at);
		}
		MUST(xmb_reader_tell(r) == at);
		MUST(xmb_reader_remaining(r) == len - at);
	}
}

/* As read_once(); can: the bytes there before the first read-only one. */
static size_t write_once(struct xmb_writer *w, uint8_t *model, size_t left,
			 size_t can)
{
	uint32_t kind = get() % 5, number = get() % NUMBERS;
	size_t n = get_upto((uint32_t)left), part = min_size(n, can);
	const uint8_t *src;
	int want;

	if (kind == 0) {
		part = min_size(n, left);
		MUST(xmb_writer_skip(w, n) == part);
		return part;
	}
	if (kind == 1) {
		MUST(xmb_writer_fill(w, next_byte, n) == part);
		memset(model, next_byte++, part);
		return part;
	}
	if (kind == 2)
		n = number_lens[number];
	src = new_bytes(min_size(n, left + number_lens[number]));
	if (kind == 3) {
		MUST(xmb_writer_write(w, src, n) == part);
		memcpy(model, src, part);
		return part;
	}
	want = n > left ? -ENOSPC : n > can ? -EPERM : 0;
	if (kind == 2)
		MUST(put_number(w, number,
				number_of(src, (uint32_t)n, number <= BE64)) ==
		     want);
	else
		MUST(xmb_writer_write_all(w, src, n) == want);
	if (want < 0)
		return 0;
	memcpy(model, src, n);
	return n;
}

/* Write over the len bytes of i at off, which are the writer's, here and there.
 */
static void write_some(struct xmb_writer *w, uint32_t i, size_t off, size_t len)
{
	uint8_t *model = &mb_bytes[i].b[off];
	size_t at = 0, to, can;

	for (uint32_t calls = get() % 8; calls > 0; calls--) {
		if (get() % 4 == 0) {
			to = get_upto((uint32_t)len);
			MUST(xmb_writer_seek(w, to) ==
			     (to <= len ? 0 : -ERANGE));
			at = to <= len ? to : at;
		} else {
			can = writable_len(&mbs[i], off + at, len - at);
			at += write_once(w, model + at, len - at, can);
		}
		MUST(xmb_writer_tell(w) == at);
		MUST(xmb_writer_remaining(w) == len - at);
	}
}

int op_read(uint32_t i, uint32_t j, struct xmb_cache *cache)
{
	size_t off = get_upto(mbs[i].len), n = get_upto(mbs[i].len);
	struct xmb_reader reader;
	int rc;

	(void)j;
	(void)cache;
	if (get() % 4 == 0) {
		xmb_reader_init(&reader, &mbs[i]);
		read_some(&reader, mb_bytes[i].b, mb_bytes[i].len);
		return 0;
	}
	rc = xmb_reader_init_range(&reader, &mbs[i], off, n);
	MUST(rc == (off <= mbs[i].len && n <= mbs[i].len - off ? 0 : -ERANGE));
	if (rc == 0)
		read_some(&reader, &mb_bytes[i].b[off], n);
	return rc;
}

int op_overwrite(uint32_t i, uint32_t j, struct xmb_cache *cache)
{
	size_t off = get_upto(mbs[i].len), n = get_upto(mbs[i].len);
	struct xmb_writer writer;
	int rc;

	(void)j;
	(void)cache;
	if (get() % 4 == 0) {
		xmb_writer_init(&writer, &mbs[i]);
		write_some(&writer, i, 0, mbs[i].len);
		return 0;
	}
	rc = xmb_writer_init_range(&writer, &mbs[i], off, n);
	MUST(rc == (off <= mbs[i].len && n <= mbs[i].len - off ? 0 : -ERANGE));
	if (rc == 0)
		write_some(&writer, i, off, n);
	return rc;
}

/* Look at, or write over, what the top view shows; nothing gets longer. */
static void use_layers(struct xmb_layers *layers, uint32_t i, struct seen top)
{
	uint32_t kind = get() % 5;
	size_t off = get_upto((uint32_t)top.len), n = get(), part;
	uint8_t *model = &mb_bytes[i].b[top.off];
	struct xmb_reader reader;
	struct xmb_writer writer;
	const void *bytes;

	part = off < top.len ? min_size(n, top.len - off) : 0;
	if (kind == 0) {
		bytes = xmb_layers_get(layers, off, n, scratch);
		MUST(!bytes == (off > top.len || n > top.len - off));
		MUST(!bytes || memcmp(bytes, &model[off], n) == 0);
	} else if (kind == 1) {
		MUST(xmb_layers_copy_to(layers, off, scratch, n) == part);
		MUST(memcmp(scratch, &model[off < top.len ? off : 0], part) ==
		     0);
	} else if (kind == 2) {
		if (part > 0)
			part = writable_len(&mbs[i], top.off + off, part);
		MUST(xmb_layers_copy_from(layers, off, new_bytes(n), n) ==
		     part);
		if (part > 0)
			memcpy(&model[off], scratch, part);
	} else if (kind == 3) {
		xmb_layers_reader(layers, &reader);
		read_some(&reader, model, top.len);
	} else {
		xmb_layers_writer(layers, &writer);
		write_some(&writer, i, top.off, top.len);
	}
}

/* Edit what the top view shows, and the model with it. */
static int edit_layers(struct xmb_layers *layers, uint32_t i, uint32_t j,
		       struct seen top, struct xmb_cache *cache)
{
	uint32_t kind = get() % 4;
	size_t off = get_upto((uint32_t)top.len);
	size_t n = get_upto((uint32_t)top.len), at = top.off + off;
	bool is_in = off <= top.len && n <= top.len - off;
	int rc;

	if (kind == 0) {
		rc = xmb_layers_insert(layers, off, &mbs[j], cache);
		MUST((rc == -ERANGE) == (off > top.len));
		if (rc < 0)
			return rc;
		bytes_insert(&mb_bytes[i], at, mb_bytes[j].b, mb_bytes[j].len);
		mb_bytes[j].len = mb_bytes[j].user = 0;
	} else if (kind == 1) {
		if (i == j || mbs[j].cnt > 0)
			return 0;
		rc = xmb_layers_take(layers, off, n, &mbs[j], cache);
		MUST((rc == -ERANGE) == !is_in);
		if (rc == 0 && n > 0)
			moved(i, j, at, n);
	} else if (kind == 2) {
		rc = xmb_layers_discard_segment(layers, off, n, cache);
		MUST((rc == -ERANGE) == !is_in);
		if (rc == 0)
			bytes_remove(&mb_bytes[i], at, n);
	} else {
		rc = xmb_layers_truncate(layers, off, cache);
		MUST((rc == -ERANGE) == (off > top.len));
		if (rc == 0)
			bytes_remove(&mb_bytes[i], at, top.len - off);
	}
	return rc;
}

int op_layers(uint32_t i, uint32_t j, struct xmb_cache *cache)
{
	struct seen seen[XMB_LAYER_MAX + 1] = { { 0, mbs[i].len } };
	uint32_t cnt = 0, old = mbs[i].len;
	struct xmb_layers layers;
	int rc = 0;

	xmb_layers_init(&layers, &mbs[i]);
	for (uint32_t pushes = get() % 10; pushes > 0; pushes--) {
		struct seen top = seen[cnt];
		size_t off = get_upto((uint32_t)top.len);
		size_t n = get_upto((uint32_t)top.len);

		rc = xmb_layers_push(&layers, off, n);
		if (off > top.len || n > top.len - off) {
			MUST(rc == -ERANGE);
		} else if (cnt == XMB_LAYER_MAX) {
			MUST(rc == -ENOSPC);
		} else {
			MUST(rc == 0);
			seen[++cnt] = (struct seen){ top.off + off, n };
		}
	}
	rc = 0;
	if (get() % 2)
		use_layers(&layers, i, seen[cnt]);
	else
		rc = edit_layers(&layers, i, j, seen[cnt], cache);
	/* What an edit adds or takes, it does to all views. */
	for (;;) {
		MUST(xmb_layers_off(&layers) == seen[cnt].off);
		MUST(xmb_layers_len(&layers) ==
		     seen[cnt].len + mbs[i].len - old);
		if (cnt-- == 0)
			break;
		MUST(xmb_layers_pop(&layers) == 0);
	}
	MUST(xmb_layers_pop(&layers) == -ENOENT);
	return rc;
}
