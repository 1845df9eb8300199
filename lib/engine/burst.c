/* SPDX-License-Identifier: BSD-2-Clause */
#include "engine/engine_priv.h"

#include "pkt/csum.h"

#include <string.h>

/*
 * Returns how many are left, in the front: one whose checksum cannot be
 * finished, since a handler shared the packet, would go out wrong.
 */
static uint32_t complete_csums(struct xmb_worker *w, struct xmb_multibuf *mbs,
			       uint32_t cnt)
{
	uint32_t done = 0, left = xmb_csum_count_complete(mbs, cnt);

	for (uint32_t i = left; i < cnt; i++) {
		int rc = xmb_csum_count_complete(&mbs[i], 1)
				 ? 0
				 : xmb_csum_complete(&mbs[i]);

		done += rc == 1;
		if (XMB_UNLIKELY(rc == -EPERM)) {
			xmb_multibuf_drop(&mbs[i], &w->cache);
			continue;
		}
		if (XMB_UNLIKELY(left < i)) {
			mbs[left] = mbs[i];
			mbs[i] = (struct xmb_multibuf){ 0 };
		}
		left++;
	}
	if (done)
		xmb_worker_count(w, XMB_WORKER_CSUM_COMPLETED, done);
	if (left < cnt)
		xmb_worker_count(w, XMB_WORKER_CSUM_SHARED, cnt - left);
	return left;
}

static void send_whole(struct xmb_burst *burst, uint32_t port,
		       struct xmb_multibuf *mbs, uint32_t cnt)
{
	struct xmb_worker *w = burst->worker;

	if (port >= w->engine->opts.port_cnt) {
		xmb_worker_count(w, XMB_WORKER_NO_ROUTE, cnt);
		xmb_multibuf_drop_bulk(mbs, cnt, &w->cache);
		return;
	}
	xmb_worker_count(w, XMB_WORKER_FORWARDED, cnt);
	w->role->send(burst, XMB_PART_WHOLE, port, mbs, cnt);
}

/* By which port a packet that was kept came in is not known any more. */
void xmb_burst_send(struct xmb_burst *burst, uint32_t port,
		    struct xmb_multibuf *mbs, uint32_t cnt)
{
	xmb_worker_count(burst->worker, XMB_WORKER_GIVEN, cnt);
	if (burst->worker->engine->any_partial_csum)
		cnt = complete_csums(burst->worker, mbs, cnt);
	send_whole(burst, port, mbs, cnt);
}

/* What the other half has to wait for is said even when this one is gone. */
static void send_tombstones(struct xmb_burst *burst, uint32_t first,
			    uint32_t cnt)
{
	struct xmb_worker *w = burst->worker;

	for (uint32_t i = first; i < first + cnt; i++) {
		xmb_multibuf_drop(&burst->mbs[i], &w->cache);
		burst->mbs[i].user = burst->marks[i];
	}
	xmb_worker_count(w, XMB_WORKER_HALF_DROPPED, cnt);
	w->role->send(burst, burst->part, 0, &burst->mbs[first], cnt);
}

static void send_halves(struct xmb_burst *burst, uint32_t port, uint32_t first,
			uint32_t cnt)
{
	struct xmb_worker *w = burst->worker;

	for (uint32_t i = first; i < first + cnt; i++)
		burst->mbs[i].user = burst->marks[i];
	xmb_worker_count(w, XMB_WORKER_FORWARDED, cnt);
	w->role->send(burst, burst->part, port, &burst->mbs[first], cnt);
}

/* Do what the verdict says to a run of packets that have the same. */
static void dispatch_run(struct xmb_burst *burst, bool has_partial_csum,
			 uint32_t first, uint32_t cnt)
{
	struct xmb_worker *w = burst->worker;
	struct xmb_multibuf *mbs = &burst->mbs[first];
	uint8_t to = burst->to[first];

	if (to == XMB_TO_KEEP)
		for (uint32_t i = 0; i < cnt; i++)
			XMB_ASSERT(xmb_multibuf_is_empty(&mbs[i]));
	if (burst->part != XMB_PART_WHOLE) {
		if (to < w->engine->opts.port_cnt)
			send_halves(burst, to, first, cnt);
		else
			send_tombstones(burst, first, cnt);
	} else if (to == XMB_TO_DROP) {
		xmb_worker_count(w, XMB_WORKER_HANDLER_DROP, cnt);
		xmb_multibuf_drop_bulk(mbs, cnt, &w->cache);
	} else if (to == XMB_TO_KEEP) {
		xmb_worker_count(w, XMB_WORKER_KEPT, cnt);
	} else {
		if (has_partial_csum)
			cnt = complete_csums(w, mbs, cnt);
		send_whole(burst, to, mbs, cnt);
	}
}

void xmb_burst_handle(struct xmb_burst *burst, bool has_partial_csum)
{
	const struct xmb_engine_opts *opts = &burst->worker->engine->opts;
	uint32_t marks[XMB_ENGINE_BURST], first = 0;

	burst->marks = marks;
	memset(burst->to, XMB_TO_DROP, burst->cnt);
	for (uint32_t i = 0; burst->part != XMB_PART_WHOLE && i < burst->cnt;
	     i++)
		marks[i] = burst->mbs[i].user;
	opts->handler(opts->handler_arg, burst);
	xmb_worker_count(burst->worker, XMB_WORKER_HANDLED, burst->cnt);
	for (uint32_t i = 1; i <= burst->cnt; i++) {
		if (i < burst->cnt && burst->to[i] == burst->to[first])
			continue;
		dispatch_run(burst, has_partial_csum, first, i - first);
		first = i;
	}
}
