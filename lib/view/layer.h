/* SPDX-License-Identifier: BSD-2-Clause */
#ifndef XMBUF_VIEW_LAYER_H
#define XMBUF_VIEW_LAYER_H

#include "buf/edit.h"
#include "view/stream.h"

/*
 * layer: views of a multibuf that are pushed and popped as protocols are
 * entered and left; offsets count from the top view.
 *
 *      multibuf   [ eth | ip | udp | payload                | trailer ]
 *      push(14,.)       [ ip | udp | payload                ]
 *      push(20,.)            [ udp | payload                ]
 *      push(8,.)                   [ payload                ]   <- top
 *
 * Edits of the top view change the multibuf: what is inserted, also at the
 * view's two ends, lengthens it and every view below; what is discarded
 * shortens them; what is outside the top view stays as it is, byte for byte.
 * A pop moves nothing: it only shows more again.
 *
 * Units      Bytes; off and at count from the start of the top view.
 * Ownership  The caller owns both structs; while layers are in use the
 *            multibuf is changed through them only (one that has become too
 *            short for its views aborts).
 * Threads    One at a time.
 * Errors     -ERANGE, and those of the edits; a call that fails changes
 *            nothing.
 */

#define XMB_LAYER_MAX 8u

struct xmb_layers {
	struct xmb_multibuf *mb;
	uint32_t cnt; /* views that are pushed; 0: all of mb is seen */
	struct {
		uint32_t before; /* bytes of mb before the view */
		uint32_t behind; /* and behind it */
	} view[XMB_LAYER_MAX];
};

/* See all of mb. */
XMB_API void xmb_layers_init(struct xmb_layers *layers,
			     struct xmb_multibuf *mb);

/*
 * See the n bytes at off of the top view only.
 * -ERANGE: beyond it.  -ENOSPC: there are XMB_LAYER_MAX views.
 */
XMB_API int xmb_layers_push(struct xmb_layers *layers, size_t off, size_t n);

/* See what was seen before the last push.  -ENOENT: nothing was pushed. */
XMB_API int xmb_layers_pop(struct xmb_layers *layers);

/* Bytes of the top view, and where it begins in the multibuf. */
XMB_API size_t xmb_layers_len(const struct xmb_layers *layers);
XMB_API size_t xmb_layers_off(const struct xmb_layers *layers);

/*
 * A pointer to the n bytes at off: in place when they lie in one chunk, else to
 * tmp, into which they are copied.  NULL: beyond the top view.
 */
XMB_API void *xmb_layers_get(const struct xmb_layers *layers, size_t off,
			     size_t n, void *tmp);

/*
 * Copy out of, or into, the top view at off; returns how many bytes: fewer than
 * n at its end or, into it, before a read-only chunk.
 */
XMB_API size_t xmb_layers_copy_to(const struct xmb_layers *layers, size_t off,
				  void *dst, size_t n);
XMB_API size_t xmb_layers_copy_from(struct xmb_layers *layers, size_t off,
				    const void *src, size_t n);

/*
 * Put all chunks of other before the byte at `at`; at = len: at the view's end.
 * -ERANGE: at > len.  -EINVAL: other is the multibuf.  And as
 * xmb_multibuf_insert().
 */
XMB_API int xmb_layers_insert(struct xmb_layers *layers, size_t at,
			      struct xmb_multibuf *other,
			      struct xmb_cache *cache);

/*
 * Move the n bytes at off into the empty out.
 * -ERANGE: beyond the top view.  And as xmb_multibuf_take().
 */
XMB_API int xmb_layers_take(struct xmb_layers *layers, size_t off, size_t n,
			    struct xmb_multibuf *out, struct xmb_cache *cache);

/*
 * Release the n bytes at off.
 * -ERANGE: beyond the top view.  And as xmb_multibuf_discard_segment().
 */
XMB_API int xmb_layers_discard_segment(struct xmb_layers *layers, size_t off,
				       size_t n, struct xmb_cache *cache);

/*
 * Keep the first len bytes of the top view; what is behind the view stays.
 * -ERANGE: len is more than there is.  And as discard_segment().
 */
XMB_API int xmb_layers_truncate(struct xmb_layers *layers, size_t len,
				struct xmb_cache *cache);

/* Streams over the top view as it is now: they end before the next edit. */
XMB_API void xmb_layers_reader(const struct xmb_layers *layers,
			       struct xmb_reader *reader);
XMB_API void xmb_layers_writer(struct xmb_layers *layers,
			       struct xmb_writer *writer);

#endif /* XMBUF_VIEW_LAYER_H */
