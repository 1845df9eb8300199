/* SPDX-License-Identifier: BSD-2-Clause */
#include "view/layer.h"

/*
 * A view is kept by what is outside it.  Edits are inside the top view, and so
 * inside every view: none of these counts ever changes.
 */
static uint32_t before(const struct xmb_layers *layers)
{
	return layers->cnt > 0 ? layers->view[layers->cnt - 1].before : 0;
}

static uint32_t behind(const struct xmb_layers *layers)
{
	return layers->cnt > 0 ? layers->view[layers->cnt - 1].behind : 0;
}

static bool is_in(const struct xmb_layers *layers, size_t off, size_t n)
{
	size_t len = xmb_layers_len(layers);

	return off <= len && n <= len - off;
}

/* How many of the n bytes at off are in the top view. */
static size_t clip(const struct xmb_layers *layers, size_t off, size_t n)
{
	size_t len = xmb_layers_len(layers);

	if (off >= len)
		return 0;
	return n < len - off ? n : len - off;
}

void xmb_layers_init(struct xmb_layers *layers, struct xmb_multibuf *mb)
{
	*layers = (struct xmb_layers){ .mb = mb };
}

int xmb_layers_push(struct xmb_layers *layers, size_t off, size_t n)
{
	uint32_t rest;

	if (!is_in(layers, off, n))
		return -ERANGE;
	if (layers->cnt == XMB_LAYER_MAX)
		return -ENOSPC;
	rest = (uint32_t)(xmb_layers_len(layers) - off - n);
	layers->view[layers->cnt].before = before(layers) + (uint32_t)off;
	layers->view[layers->cnt].behind = behind(layers) + rest;
	layers->cnt++;
	return 0;
}

int xmb_layers_pop(struct xmb_layers *layers)
{
	if (layers->cnt == 0)
		return -ENOENT;
	layers->cnt--;
	return 0;
}

size_t xmb_layers_len(const struct xmb_layers *layers)
{
	size_t outside = (size_t)before(layers) + behind(layers);

	XMB_ASSERT(outside <= layers->mb->len);
	return layers->mb->len - outside;
}

size_t xmb_layers_off(const struct xmb_layers *layers)
{
	return before(layers);
}

void *xmb_layers_get(const struct xmb_layers *layers, size_t off, size_t n,
		     void *tmp)
{
	if (!is_in(layers, off, n))
		return NULL;
	return xmb_multibuf_get(layers->mb, before(layers) + off, n, tmp);
}

size_t xmb_layers_copy_to(const struct xmb_layers *layers, size_t off,
			  void *dst, size_t n)
{
	return xmb_multibuf_copy_to(layers->mb, before(layers) + off, dst,
				    clip(layers, off, n));
}

size_t xmb_layers_copy_from(struct xmb_layers *layers, size_t off,
			    const void *src, size_t n)
{
	return xmb_multibuf_copy_from(layers->mb, before(layers) + off, src,
				      clip(layers, off, n));
}

int xmb_layers_insert(struct xmb_layers *layers, size_t at,
		      struct xmb_multibuf *other, struct xmb_cache *cache)
{
	if (!is_in(layers, at, 0))
		return -ERANGE;
	return xmb_multibuf_insert(layers->mb, before(layers) + at, other,
				   cache);
}

int xmb_layers_take(struct xmb_layers *layers, size_t off, size_t n,
		    struct xmb_multibuf *out, struct xmb_cache *cache)
{
	if (!is_in(layers, off, n))
		return -ERANGE;
	return xmb_multibuf_take(layers->mb, before(layers) + off, n, out,
				 cache);
}

int xmb_layers_discard_segment(struct xmb_layers *layers, size_t off, size_t n,
			       struct xmb_cache *cache)
{
	if (!is_in(layers, off, n))
		return -ERANGE;
	return xmb_multibuf_discard_segment(layers->mb, before(layers) + off, n,
					    cache);
}

int xmb_layers_truncate(struct xmb_layers *layers, size_t len,
			struct xmb_cache *cache)
{
	size_t have = xmb_layers_len(layers);

	if (len > have)
		return -ERANGE;
	return xmb_layers_discard_segment(layers, len, have - len, cache);
}

/* The view lies in the multibuf, so that there is a range for the stream. */
void xmb_layers_reader(const struct xmb_layers *layers,
		       struct xmb_reader *reader)
{
	xmb_reader_init_range(reader, layers->mb, before(layers),
			      xmb_layers_len(layers));
}

void xmb_layers_writer(struct xmb_layers *layers, struct xmb_writer *writer)
{
	xmb_writer_init_range(writer, layers->mb, before(layers),
			      xmb_layers_len(layers));
}
