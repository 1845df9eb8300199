/* SPDX-License-Identifier: BSD-2-Clause */
#include "interop/lwip.h"

#include "buf/edit.h"
#include "buf/extbuf.h"
#include "view/span.h"

void xmb_lwip_init(struct xmb_lwip *lwip, struct xmb_cache *cache,
		   struct xmb_lwip_node *nodes, uint32_t cnt)
{
	*lwip = (struct xmb_lwip){ .cache = cache,
				   .node_cnt = cnt,
				   .free_cnt = cnt };
	for (uint32_t i = cnt; i-- > 0;) {
		nodes[i] = (struct xmb_lwip_node){ .lwip = lwip,
						   .next = lwip->free };
		lwip->free = &nodes[i];
	}
}

/* lwIP drops its last reference; pbuf is the first member of the node. */
static void node_free(struct pbuf *pbuf)
{
	struct xmb_lwip_node *node = (struct xmb_lwip_node *)pbuf;
	struct xmb_lwip *lwip = node->lwip;

	xmb_chunk_release(&node->chunk, lwip->cache);
	node->next = lwip->free;
	lwip->free = node;
	lwip->free_cnt++;
}

static struct pbuf *node_take(struct xmb_lwip *lwip, struct xmb_chunk *chunk)
{
	struct xmb_lwip_node *node = lwip->free;

	lwip->free = node->next;
	lwip->free_cnt--;
	xmb_chunk_move(&node->chunk, chunk);
	*chunk = (struct xmb_chunk){ 0 };
	node->pbuf.custom_free_function = node_free;
	/* No header fits in front: lwIP puts a pbuf of its own there. */
	return pbuf_alloced_custom(PBUF_RAW, (u16_t)node->chunk.len, PBUF_REF,
				   &node->pbuf, xmb_chunk_data(&node->chunk),
				   (u16_t)node->chunk.len);
}

int xmb_lwip_to_pbuf(struct xmb_lwip *lwip, struct xmb_multibuf *mb,
		     struct pbuf **pbuf)
{
	struct pbuf *last = NULL, *one;
	struct xmb_multibuf_iter iter;
	struct xmb_chunk *chunk;
	uint32_t left = mb->len;

	if (left == 0)
		return -ENODATA;
	if (left > UINT16_MAX)
		return -EMSGSIZE;
	if (!xmb_multibuf_is_writable(mb))
		return -EPERM;
	if (xmb_span_cnt(mb) > lwip->free_cnt)
		return -ENOBUFS;
	for (chunk = xmb_multibuf_first(mb, &iter); chunk;
	     chunk = xmb_multibuf_next(&iter)) {
		if (chunk->len == 0)
			continue;
		one = node_take(lwip, chunk);
		one->tot_len = (u16_t)left;
		left -= one->len;
		if (last)
			last->next = one;
		else
			*pbuf = one;
		last = one;
	}
	/* Its chunks are {0} now, or of no bytes: releasing gives blocks back.
	 */
	xmb_multibuf_release(mb, lwip->cache);
	return 0;
}

static void pbuf_unhold(void *arg, void *mem, size_t len)
{
	(void)mem;
	(void)len;
	pbuf_free(arg);
}

/* The node behind a pbuf of this context, NULL: lwIP's own. */
static struct xmb_lwip_node *node_of(const struct xmb_lwip *lwip,
				     struct pbuf *pbuf)
{
	struct pbuf_custom *custom = (struct pbuf_custom *)pbuf;
	struct xmb_lwip_node *node = (struct xmb_lwip_node *)pbuf;

	if (!(pbuf->flags & PBUF_FLAG_IS_CUSTOM) ||
	    custom->custom_free_function != node_free || node->lwip != lwip)
		return NULL;
	return node;
}

/* A share of the node's chunk, as narrow as lwIP made the pbuf. */
static int share_node(struct xmb_lwip_node *node, struct xmb_multibuf *one)
{
	const uint8_t *data = xmb_chunk_data(&node->chunk);
	const uint8_t *payload = node->pbuf.pbuf.payload;
	struct xmb_chunk clone = { 0 };
	int rc;

	/* A header that lwIP put in front by force is not in the chunk. */
	if (payload < data ||
	    payload + node->pbuf.pbuf.len > data + node->chunk.len)
		return -ERANGE;
	rc = xmb_chunk_share(&node->chunk, &clone);
	if (rc < 0)
		return rc;
	xmb_chunk_slice(&clone, (size_t)(payload - data),
			(size_t)(payload - data) + node->pbuf.pbuf.len);
	xmb_multibuf_init(one, &clone);
	return 0;
}

static int hold_pbuf(struct xmb_lwip *lwip, struct pbuf *pbuf,
		     struct xmb_multibuf *one)
{
	int rc;

	rc = xmb_extbuf_attach(lwip->cache, pbuf->payload, pbuf->len,
			       pbuf_unhold, pbuf, one);
	if (rc == 0)
		pbuf_ref(pbuf);
	return rc;
}

static int add_pbuf(struct xmb_lwip *lwip, struct pbuf *pbuf,
		    struct xmb_multibuf *mb)
{
	struct xmb_lwip_node *node = node_of(lwip, pbuf);
	struct xmb_multibuf one = { 0 };
	int rc = -ERANGE;

	if (node)
		rc = share_node(node, &one);
	if (rc == -ERANGE || rc == -ENOSPC)
		rc = hold_pbuf(lwip, pbuf, &one);
	if (rc < 0)
		return rc;
	rc = xmb_multibuf_append(mb, &one, lwip->cache);
	if (rc < 0)
		xmb_multibuf_release(&one, lwip->cache);
	return rc;
}

/* Chunks of the packet that nobody else has are lwIP's to write again. */
static void unshare_nodes(const struct xmb_lwip *lwip, struct pbuf *pbuf)
{
	struct xmb_lwip_node *node;

	for (struct pbuf *q = pbuf; q; q = q->next) {
		node = node_of(lwip, q);
		if (node)
			xmb_chunk_unshare(&node->chunk);
		if (q->tot_len == q->len)
			break;
	}
}

int xmb_lwip_to_multibuf(struct xmb_lwip *lwip, struct pbuf *pbuf,
			 struct xmb_multibuf *mb)
{
	struct xmb_multibuf made = { .user = mb->user };
	int rc = 0;

	XMB_ASSERT(xmb_multibuf_is_empty(mb));
	if (pbuf->tot_len == 0)
		return -ENODATA;
	/* A queue of packets is linked by next too: tot_len ends this one. */
	for (struct pbuf *q = pbuf; q && rc == 0; q = q->next) {
		if (q->len > 0)
			rc = add_pbuf(lwip, q, &made);
		if (q->tot_len == q->len)
			break;
	}
	if (rc < 0) {
		xmb_multibuf_release(&made, lwip->cache);
		unshare_nodes(lwip, pbuf);
		return rc;
	}
	*mb = made;
	return 0;
}
