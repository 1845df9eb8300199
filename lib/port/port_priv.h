/* SPDX-License-Identifier: BSD-2-Clause */
#ifndef XMBUF_PORT_PORT_PRIV_H
#define XMBUF_PORT_PORT_PRIV_H

#include "nic/nic.h"

/* Settings of a device's NAPIs for busy polling, and what they were. */

enum { PORT_NAPI_MAX = 64 };

struct port_busy {
	struct xmb_nic_napi was[PORT_NAPI_MAX];
	uint32_t cnt; /* how many were changed */
	bool is_set;
};

/* Defer interrupts where that is possible, with words where it is not. */
void port_busy_set(struct port_busy *busy, const struct xmb_nic_info *nic);

/* Say of NAPIs that are found as port_busy_set() sets them how to undo it. */
void port_busy_tell(const struct xmb_nic_info *nic);

/* As it was, where the NAPI is still there. */
void port_busy_put_back(struct port_busy *busy, const char *dev);

#endif /* XMBUF_PORT_PORT_PRIV_H */
