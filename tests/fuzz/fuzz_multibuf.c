/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * libFuzzer on multibufs, their chunks, edits and views, and on what vends
 * them: the input is a stream of calls.  Each multibuf and each loose chunk has
 * an array beside it with the bytes that it must have (multibuf_model.h).
 * After each call all of them are compared, a refused call must have left every
 * handle and every count as they were, and at the end of an input each frame,
 * block and span is home.
 */
#include "multibuf_model.h"

#include <string.h>

static int op_alloc(uint32_t i, uint32_t j, struct xmb_cache *cache)
{
	size_t len = get() * 4;
	int rc;

	(void)j;
	if (mbs[i].cnt > 0)
		return 0;
	mbs[i].user = mb_bytes[i].user = next_byte;
	rc = xmb_multibuf_alloc(cache, len, get() % 64, &mbs[i]);
	if (rc < 0)
		return rc;
	learn(i, 0, len);
	write_new(i, 0, len);
	return 0;
}

static int op_release(uint32_t i, uint32_t j, struct xmb_cache *cache)
{
	(void)j;
	xmb_multibuf_release(&mbs[i], cache);
	mb_bytes[i].len = mb_bytes[i].user = 0;
	return 0;
}

static int op_join(uint32_t i, uint32_t j, struct xmb_cache *cache)
{
	uint32_t kind = get() % 4;
	size_t at = get_upto(mbs[i].len);
	int rc;

	if (kind == 0)
		rc = xmb_multibuf_append(&mbs[i], &mbs[j], cache);
	else if (kind == 1)
		rc = xmb_multibuf_prepend(&mbs[i], &mbs[j], cache);
	else if (kind == 2)
		rc = xmb_multibuf_append_fragment(&mbs[i], &mbs[j], cache);
	else
		rc = xmb_multibuf_insert(&mbs[i], at, &mbs[j], cache);
	if (rc < 0)
		return rc;
	MUST(i != j && (kind != 3 || at <= mb_bytes[i].len));
	if (kind != 3)
		at = kind == 1 ? 0 : mb_bytes[i].len;
	bytes_insert(&mb_bytes[i], at, mb_bytes[j].b, mb_bytes[j].len);
	mb_bytes[j].len = mb_bytes[j].user = 0;
	return 0;
}

static int op_cut(uint32_t i, uint32_t j, struct xmb_cache *cache)
{
	size_t at = get_upto(mbs[i].len), n = get_upto(mbs[i].len);
	uint32_t kind = get() % 4, old = mbs[i].len;
	int rc;

	if (i == j || mbs[j].cnt > 0)
		return 0;
	if (kind == 0) {
		rc = xmb_multibuf_split(&mbs[i], at, &mbs[j], cache);
		if (rc == 0)
			moved(i, j, at, old - at);
	} else if (kind == 1) {
		rc = xmb_multibuf_split_at_chunk(&mbs[i], (uint32_t)(at % 64),
						 &mbs[j], cache);
		if (rc == 0)
			moved(i, j, mbs[i].len, old - mbs[i].len);
	} else if (kind == 2) {
		rc = xmb_multibuf_take_fragment(&mbs[i], &mbs[j], cache);
		if (rc == 0)
			moved(i, j, 0, mbs[j].len);
	} else {
		rc = xmb_multibuf_take(&mbs[i], at, n, &mbs[j], cache);
		if (rc == 0 && n > 0)
			moved(i, j, at, n);
	}
	return rc;
}

static int op_trim(uint32_t i, uint32_t j, struct xmb_cache *cache)
{
	size_t from = get_upto(mbs[i].len), to = get_upto(mbs[i].len);
	struct bytes *bytes = &mb_bytes[i];
	uint32_t kind = get() % 4;
	int rc;

	(void)j;
	if (kind == 0) {
		rc = xmb_multibuf_discard_prefix(&mbs[i], from, cache);
		if (rc == 0)
			bytes_remove(bytes, 0, from);
	} else if (kind == 1) {
		rc = xmb_multibuf_truncate(&mbs[i], to, cache);
		if (rc == 0)
			bytes->len = (uint32_t)to;
	} else if (kind == 2) {
		rc = xmb_multibuf_slice(&mbs[i], from, to, cache);
		if (rc < 0)
			return rc;
		bytes->len = (uint32_t)to;
		bytes_remove(bytes, 0, from);
	} else {
		rc = xmb_multibuf_discard_segment(&mbs[i], from, to, cache);
		if (rc == 0)
			bytes_remove(bytes, from, to);
	}
	return rc;
}

static int op_more(uint32_t i, uint32_t j, struct xmb_cache *cache)
{
	uint32_t kind = get() % 4, n = get() % 200, old = mbs[i].len;
	int rc;

	(void)j;
	if (kind == 0)
		rc = xmb_multibuf_claim_prefix(&mbs[i], n);
	else if (kind == 1)
		rc = xmb_multibuf_claim_suffix(&mbs[i], n);
	else if (kind == 2)
		rc = xmb_multibuf_grow_prefix(&mbs[i], n, cache);
	else
		rc = xmb_multibuf_grow_suffix(&mbs[i], n, cache);
	if (rc < 0)
		return rc;
	learn(i, kind % 2 ? old : 0, n);
	if (n > 0)
		write_new(i, kind % 2 ? old : 0, n);
	return 0;
}

static int op_write(uint32_t i, uint32_t j, struct xmb_cache *cache)
{
	size_t off = get_upto(mbs[i].len), n = get(), done;

	(void)j;
	if (off > mbs[i].len || n > mbs[i].len - off)
		return 0;
	if (get() % 2) {
		write_new(i, off, n);
		return 0;
	}
	new_bytes(n);
	done = xmb_multibuf_copy_from_and_truncate(&mbs[i], off, scratch, n,
						   cache);
	memcpy(&mb_bytes[i].b[off], scratch, done);
	if (done == n)
		mb_bytes[i].len = (uint32_t)(off + n);
	return 0;
}

static int op_align(uint32_t i, uint32_t j, struct xmb_cache *cache)
{
	size_t at = get_upto(mbs[i].len);
	uint32_t align = get() % 16 ? 1u << get() % 13 : get();
	struct xmb_multibuf_index index;
	int rc = xmb_multibuf_align(&mbs[i], at, align, cache);

	(void)j;
	if (rc < 0 || at == mbs[i].len)
		return rc;
	MUST(xmb_multibuf_index_at(&mbs[i], at, &index) == 0);
	MUST((uintptr_t)xmb_multibuf_at(&mbs[i], index) % align == 0);
	return 0;
}

static int op_share(uint32_t i, uint32_t j, struct xmb_cache *cache)
{
	int rc;

	if (get() % 2)
		return xmb_multibuf_unshare(&mbs[i]);
	if (i == j || mbs[j].cnt > 0)
		return 0;
	rc = xmb_multibuf_share(&mbs[i], &mbs[j], cache);
	if (rc < 0)
		return rc;
	mb_bytes[j].len = 0;
	mb_bytes[j].user = mb_bytes[i].user;
	bytes_insert(&mb_bytes[j], 0, mb_bytes[i].b, mb_bytes[i].len);
	return 0;
}

/* Move a chunk between a multibuf and the loose ones. */
static int op_chunk(uint32_t i, uint32_t j, struct xmb_cache *cache)
{
	struct bytes *bytes = &loose_bytes[j % LOOSE_CNT];
	struct xmb_chunk *c = &loose[j % LOOSE_CNT];
	uint32_t kind = get() % 4, idx = get() % (mbs[i].cnt + 2u), at = 0;
	int rc;

	for (uint32_t k = 0; k < idx && k < mbs[i].cnt; k++)
		at += xmb_multibuf_chunk(&mbs[i], k)->len;
	if (!xmb_chunk_is_live(c)) {
		rc = kind == 0 ? xmb_multibuf_pop_front(&mbs[i], c, cache)
		     : kind == 1
			     ? xmb_multibuf_pop_back(&mbs[i], c, cache)
			     : xmb_multibuf_take_chunk(&mbs[i], idx, c, cache);
		if (rc < 0)
			return rc;
		at = kind == 0 ? 0 : kind == 1 ? mbs[i].len : at;
		bytes_insert(bytes, 0, &mb_bytes[i].b[at], c->len);
		bytes_remove(&mb_bytes[i], at, c->len);
		return 0;
	}
	rc = kind == 0	 ? xmb_multibuf_push_front(&mbs[i], c, cache)
	     : kind == 1 ? xmb_multibuf_push_back(&mbs[i], c, cache)
			 : xmb_multibuf_insert_chunk(&mbs[i], idx, c, cache);
	if (rc < 0)
		return rc;
	at = kind == 0 ? 0 : kind == 1 ? mb_bytes[i].len : at;
	bytes_insert(&mb_bytes[i], at, bytes->b, bytes->len);
	bytes->len = 0;
	return 0;
}

static int op_chunk_part(uint32_t i, uint32_t j, struct xmb_cache *cache)
{
	struct xmb_chunk *c = &loose[i % LOOSE_CNT], *o = &loose[j % LOOSE_CNT];
	struct bytes *cb = &loose_bytes[i % LOOSE_CNT];
	struct bytes *ob = &loose_bytes[j % LOOSE_CNT];
	uint32_t kind = get() % 6, old = c->len;
	size_t n = get_upto(old);
	int rc;

	(void)cache;
	if (kind == 0) {
		rc = xmb_chunk_merge(c, o);
		if (rc == 0) {
			bytes_insert(cb, cb->len, ob->b, ob->len);
			ob->len = 0;
		}
		return rc;
	}
	if (kind == 1)
		return xmb_chunk_is_live(c) ? xmb_chunk_unshare(c) : 0;
	if (xmb_chunk_is_live(o) || c == o || !xmb_chunk_is_live(c))
		return 0;
	rc = kind == 2	 ? xmb_chunk_split(c, n, o)
	     : kind == 3 ? xmb_chunk_take_prefix(c, n, o)
	     : kind == 4 ? xmb_chunk_take_suffix(c, n, o)
			 : xmb_chunk_share(c, o);
	if (rc < 0)
		return rc;
	if (kind == 5) {
		bytes_insert(ob, 0, cb->b, cb->len);
	} else if (kind == 3) {
		bytes_insert(ob, 0, cb->b, n);
		bytes_remove(cb, 0, n);
	} else {
		n = kind == 4 ? old - n : n;
		bytes_insert(ob, 0, &cb->b[n], old - n);
		cb->len = (uint32_t)n;
	}
	return 0;
}

static int op_chunk_range(uint32_t i, uint32_t j, struct xmb_cache *cache)
{
	struct xmb_chunk *c = &loose[i % LOOSE_CNT];
	struct bytes *bytes = &loose_bytes[i % LOOSE_CNT];
	uint32_t kind = get() % 5;
	size_t n = get_upto(c->len + 64);
	int rc;

	(void)j;
	if (kind == 0) {
		if (xmb_chunk_is_live(c)) {
			xmb_chunk_release(c, cache);
			bytes->len = 0;
			return 0;
		}
		rc = xmb_chunk_alloc(cache, c);
		if (rc == 0)
			bytes_insert(bytes, 0, xmb_chunk_data(c), c->len);
		return rc;
	}
	if (!xmb_chunk_is_live(c))
		return 0;
	if (kind == 1) {
		rc = xmb_chunk_discard_prefix(c, n);
		if (rc == 0)
			bytes_remove(bytes, 0, n);
	} else if (kind == 2) {
		rc = xmb_chunk_truncate(c, n);
		if (rc == 0)
			bytes->len = (uint32_t)n;
	} else {
		rc = kind == 3 ? xmb_chunk_claim_prefix(c, n)
			       : xmb_chunk_claim_suffix(c, n);
		if (rc == 0) {
			bytes->len = 0;
			bytes_insert(bytes, 0, xmb_chunk_data(c), c->len);
		}
	}
	return rc;
}

static op_fn *const ops[] = {
	op_alloc,      op_alloc,      op_release,     op_join,	  op_join,
	op_cut,	       op_cut,	      op_trim,	      op_more,	  op_write,
	op_align,      op_share,      op_chunk,	      op_chunk,	  op_chunk,
	op_chunk_part, op_chunk_part, op_chunk_range, op_flat,	  op_layers,
	op_layers,     op_read,	      op_overwrite,   op_attach,  op_vendor,
	op_vend,       op_vend,	      op_segment,     op_segment,
};

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
	static struct state before, after;

	input_begin(data, len);
	model_begin();
	while (input_is_left()) {
		op_fn *op = ops[get() % (sizeof(ops) / sizeof(ops[0]))];
		uint32_t i = get(), j = i / MB_CNT % MB_CNT;
		struct xmb_cache *cache = get_cache();

		take_state(&before);
		if (op(i % MB_CNT, j, cache) < 0) {
			take_state(&after);
			if (op == op_alloc)
				memcpy(after.user, before.user,
				       sizeof(before.user));
			MUST(memcmp(&before, &after, sizeof(before)) == 0);
		}
		verify();
	}
	model_end();
	return 0;
}
