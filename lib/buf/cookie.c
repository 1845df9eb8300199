/* SPDX-License-Identifier: BSD-2-Clause */
#include "buf/cookie.h"

#include <errno.h>
#include <pthread.h>
#include <stdlib.h>

enum { BOX_MAX = 256, ENTRY_BITS = 24 };

#define NONE UINT32_MAX

/* A frame's tracker link is box:8 | entry:24 while it carries a cookie. */
static struct xmb_cookie_box *boxes[BOX_MAX];
static pthread_mutex_t boxes_lock = PTHREAD_MUTEX_INITIALIZER;

static int enter_box(struct xmb_cookie_box *box)
{
	int err = -ENOSPC;

	pthread_mutex_lock(&boxes_lock);
	for (uint32_t id = 1; id < BOX_MAX && err; id++) {
		if (boxes[id])
			continue;
		boxes[id] = box;
		box->id = id;
		err = 0;
	}
	pthread_mutex_unlock(&boxes_lock);
	return err;
}

int xmb_cookie_box_init(struct xmb_cookie_box *box, uint32_t entry_cnt)
{
	int err;

	if (entry_cnt == 0 || entry_cnt > 1u << ENTRY_BITS)
		return -EINVAL;
	*box = (struct xmb_cookie_box){
		.entries = calloc(entry_cnt, sizeof(*box->entries)),
		.entry_cnt = entry_cnt,
		.done = NONE,
		.reaped = NONE,
	};
	if (!box->entries)
		return -ENOMEM;
	err = enter_box(box);
	if (err) {
		free(box->entries);
		*box = (struct xmb_cookie_box){ 0 };
		return err;
	}
	for (uint32_t i = 0; i < entry_cnt; i++)
		box->entries[i].next = i + 1 < entry_cnt ? i + 1 : NONE;
	return 0;
}

int xmb_cookie_box_fini(struct xmb_cookie_box *box)
{
	if (box->out_cnt > 0)
		return -EBUSY;
	if (!box->entries)
		return 0;
	pthread_mutex_lock(&boxes_lock);
	boxes[box->id] = NULL;
	pthread_mutex_unlock(&boxes_lock);
	free(box->entries);
	*box = (struct xmb_cookie_box){ 0 };
	return 0;
}

/* Whether the frames of mb can carry a cookie; how many they are. */
static int count_frames(const struct xmb_multibuf *mb)
{
	struct xmb_multibuf_iter iter;
	int cnt = 0;

	for (const struct xmb_chunk *c = xmb_multibuf_first(mb, &iter); c;
	     c = xmb_multibuf_next(&iter)) {
		const struct xmb_domain *domain = xmb_chunk_domain(c);

		if (!domain->spills)
			return -EXDEV;
		if (!xmb_chunk_is_excl(c) ||
		    xmb_frame_load(domain, c->region) & XMB_FRAME_COOKIE)
			return -EBUSY;
		xmb_chunk_verify(c, domain, "attach a cookie");
		cnt++;
	}
	return cnt ? cnt : -ENODATA;
}

int xmb_cookie_attach(struct xmb_cookie_box *box, const struct xmb_multibuf *mb,
		      uint64_t cookie)
{
	int cnt = count_frames(mb);
	struct xmb_multibuf_iter iter;
	struct xmb_cookie_entry *e;
	uint32_t idx = box->free;

	if (cnt < 0)
		return cnt;
	if (idx == NONE)
		return -ENOSPC;
	e = &box->entries[idx];
	box->free = e->next;
	box->out_cnt++;
	e->cookie = cookie;
	e->frame_cnt = (uint32_t)cnt;
	atomic_store_explicit(&e->sent_cnt, 0, memory_order_relaxed);
	atomic_store_explicit(&e->dropped_cnt, 0, memory_order_relaxed);
	atomic_store_explicit(&e->left, (uint32_t)cnt, memory_order_relaxed);
	for (const struct xmb_chunk *c = xmb_multibuf_first(mb, &iter); c;
	     c = xmb_multibuf_next(&iter)) {
		struct xmb_domain *domain = xmb_chunk_domain(c);

		/* Release: a pop of the pool that lost its race and reads
		 * this link must see the new top as well. */
		atomic_store_explicit(&domain->trackers[c->region].link,
				      box->id << ENTRY_BITS | idx,
				      memory_order_release);
		xmb_frame_store(domain, c->region,
				xmb_frame_load(domain, c->region) |
					XMB_FRAME_COOKIE);
	}
	return 0;
}

static void push_done(struct xmb_cookie_box *box, uint32_t idx)
{
	uint32_t head = atomic_load_explicit(&box->done, memory_order_relaxed);

	do {
		box->entries[idx].next = head;
		/* Pairs with the exchange in reap(): no element is popped one
		 * by one, so a head that is met again does no harm. */
	} while (!atomic_compare_exchange_weak_explicit(&box->done, &head, idx,
							memory_order_release,
							memory_order_relaxed));
}

void xmb_cookie_frame_home(const struct xmb_domain *domain, uint32_t region,
			   enum xmb_home how)
{
	uint32_t link = atomic_load_explicit(&domain->trackers[region].link,
					     memory_order_relaxed);
	struct xmb_cookie_box *box = boxes[link >> ENTRY_BITS];
	uint32_t idx = link & ((1u << ENTRY_BITS) - 1);
	struct xmb_cookie_entry *e = &box->entries[idx];

	if (how == XMB_HOME_SENT)
		atomic_fetch_add_explicit(&e->sent_cnt, 1,
					  memory_order_relaxed);
	else if (how == XMB_HOME_DROPPED)
		atomic_fetch_add_explicit(&e->dropped_cnt, 1,
					  memory_order_relaxed);
	/* Acquire and release: the last one has what all others did. */
	if (atomic_fetch_sub_explicit(&e->left, 1, memory_order_acq_rel) == 1)
		push_done(box, idx);
}

uint32_t xmb_cookie_reap(struct xmb_cookie_box *box,
			 struct xmb_completion *done, uint32_t cnt)
{
	uint32_t n = 0;

	while (n < cnt) {
		uint32_t idx = box->reaped, sent, dropped;
		struct xmb_cookie_entry *e;

		if (idx == NONE) {
			idx = atomic_exchange_explicit(&box->done, NONE,
						       memory_order_acquire);
			if (idx == NONE)
				break;
		}
		e = &box->entries[idx];
		sent = atomic_load_explicit(&e->sent_cnt, memory_order_relaxed);
		dropped = atomic_load_explicit(&e->dropped_cnt,
					       memory_order_relaxed);
		done[n++] = (struct xmb_completion){
			.cookie = e->cookie,
			.sent_cnt = sent,
			.dropped_cnt = dropped,
			.released_cnt = e->frame_cnt - sent - dropped,
		};
		box->reaped = e->next;
		e->next = box->free;
		box->free = idx;
		box->out_cnt--;
	}
	return n;
}
