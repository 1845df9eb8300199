/* SPDX-License-Identifier: BSD-2-Clause */
#include "buf/edit_priv.h"

int xmb_multibuf_append_fragment(struct xmb_multibuf *mb,
				 struct xmb_multibuf *other,
				 struct xmb_cache *cache)
{
	struct xmb_chunk *end, *other_end, none = { 0 };
	uint8_t flags, other_flags;
	int rc;

	if (mb == other)
		return -EINVAL;
	if (other->cnt == 0)
		return -ENODATA;
	end = mb->cnt > 0 ? xmb_multibuf_last(mb) : &none;
	other_end = xmb_multibuf_last(other);
	flags = end->flags;
	other_flags = other_end->flags;
	end->flags |= XMB_CHUNK_END;
	other_end->flags |= XMB_CHUNK_END;
	rc = xmb_multibuf_append(mb, other, cache);
	if (rc < 0) {
		end->flags = flags;
		other_end->flags = other_flags;
	}
	return rc;
}

int xmb_multibuf_take_fragment(struct xmb_multibuf *mb,
			       struct xmb_multibuf *out,
			       struct xmb_cache *cache)
{
	struct xmb_multibuf_iter iter;
	struct xmb_multibuf rest = { 0 };
	struct xmb_chunk *chunk;
	uint32_t cnt = 1;

	XMB_ASSERT(out->cnt == 0 && out != mb);
	if (mb->cnt == 0)
		return -ENOENT;
	chunk = xmb_multibuf_first(mb, &iter);
	for (; !xmb_chunk_is_end(chunk) && cnt < mb->cnt; cnt++)
		chunk = xmb_multibuf_next(&iter);
	/* Alone it has no boundary, as before it was appended. */
	chunk->flags &= (uint8_t)~XMB_CHUNK_END;
	xmb_multibuf_split_at_chunk(mb, cnt, &rest, cache);
	*out = *mb;
	*mb = rest;
	return 0;
}

uint32_t xmb_multibuf_fragment_cnt(const struct xmb_multibuf *mb)
{
	struct xmb_multibuf_iter iter;
	const struct xmb_chunk *chunk, *last = NULL;
	uint32_t cnt = 0;

	for (chunk = xmb_multibuf_first(mb, &iter); chunk;
	     chunk = xmb_multibuf_next(&iter)) {
		cnt += xmb_chunk_is_end(chunk);
		last = chunk;
	}
	return cnt + (last && !xmb_chunk_is_end(last));
}
