/* SPDX-License-Identifier: BSD-2-Clause */
#include "buf/domain.h"

#include <errno.h>
#include <pthread.h>

enum { TABLE_CNT = 256 };

struct xmb_domain *xmb_domain_table[TABLE_CNT];
uint8_t xmb_owner_self = 1;

static pthread_mutex_t table_lock = PTHREAD_MUTEX_INITIALIZER;
static uint32_t last_id;

int xmb_domain_set_owner(uint32_t id)
{
	int ret = 0;

	if (id < 1 || id > XMB_OWNER_MAX)
		return -EINVAL;
	pthread_mutex_lock(&table_lock);
	for (uint32_t i = 1; i < TABLE_CNT; i++) {
		if (xmb_domain_table[i])
			ret = -EBUSY;
	}
	if (ret == 0)
		xmb_owner_self = (uint8_t)id;
	pthread_mutex_unlock(&table_lock);
	return ret;
}

int xmb_domain_add(struct xmb_domain *domain)
{
	int ret = -ENOSPC;

	XMB_ASSERT(domain->region_len != 1);
	if (domain->region_len)
		domain->inverse = UINT64_MAX / domain->region_len + 1;
	pthread_mutex_lock(&table_lock);
	/*
	 * Start behind the id given last, so that a stale chunk of a domain
	 * that is gone meets no domain rather than a new one.
	 */
	for (uint32_t i = 0; i < TABLE_CNT - 1; i++) {
		uint32_t id = 1 + (last_id + i) % (TABLE_CNT - 1);

		if (xmb_domain_table[id])
			continue;
		domain->id = (uint8_t)id;
		xmb_domain_table[id] = domain;
		last_id = id;
		ret = 0;
		break;
	}
	pthread_mutex_unlock(&table_lock);
	return ret;
}

void xmb_domain_remove(struct xmb_domain *domain)
{
	pthread_mutex_lock(&table_lock);
	XMB_ASSERT(domain->id && xmb_domain_table[domain->id] == domain);
	xmb_domain_table[domain->id] = NULL;
	domain->id = 0;
	pthread_mutex_unlock(&table_lock);
}

const char *xmb_frame_state_name(enum xmb_frame_state state)
{
	static const char *const names[XMB_FRAME_STATE_CNT] = {
		[XMB_FRAME_FREE] = "free", [XMB_FRAME_FILL] = "fill",
		[XMB_FRAME_APP] = "app",   [XMB_FRAME_CHAN] = "chan",
		[XMB_FRAME_TX] = "tx",	   [XMB_FRAME_HELD] = "held",
	};

	return (unsigned int)state < XMB_FRAME_STATE_CNT ? names[state]
							 : "damaged";
}

static const char *likely_cause(enum xmb_frame_state state, uint32_t gen,
				uint32_t handle_gen)
{
	if ((unsigned int)state >= XMB_FRAME_STATE_CNT)
		return "the frame words were overwritten";
	if (gen == handle_gen) {
		if (state == XMB_FRAME_TX || state == XMB_FRAME_HELD)
			return "it was used after it was sent";
		if (state == XMB_FRAME_CHAN)
			return "it was used after it was granted away";
		return "the handle is not one that was given out";
	}
	if (state == XMB_FRAME_FREE)
		return "it was released twice, or is a stale copy of a "
		       "handle that was released or sent";
	return "it is a stale copy: since then the region was split, or "
	       "released and taken again";
}

void xmb_frame_panic(const struct xmb_domain *domain, uint32_t region,
		     uint32_t handle_gen, const char *doing)
{
	uint32_t word = xmb_frame_load(domain, region);
	enum xmb_frame_state state = xmb_frame_word_state(word);
	uint32_t gen = xmb_frame_word_gen(word);

	xmb_panic("%s: region %u of domain %u: the handle is of generation %u,"
		  " but the region is in state %s, of %u, in generation %u;"
		  " most likely %s",
		  doing, region, domain->id, handle_gen,
		  xmb_frame_state_name(state), xmb_frame_word_who(word), gen,
		  likely_cause(state, gen, handle_gen));
}
