/* SPDX-License-Identifier: BSD-2-Clause */
#ifndef XMBUF_PORT_PORT_PRIV_H
#define XMBUF_PORT_PORT_PRIV_H

#include "port/port.h"

enum { PORT_NAPI_MAX = 64, PORT_SYSFS_CNT = 2 };

/*
 * Files of a device in /sys/class/net that say when its interrupts are
 * deferred.  Once open they are of that device, whatever becomes of its name,
 * its namespace and our descriptors.
 */
struct port_sysfs {
	int fds[PORT_SYSFS_CNT];
};

/*
 * -ENODEV: /sys is not mounted, or for a network namespace that has not this
 * device.
 */
int port_sysfs_open(struct port_sysfs *sysfs, const struct xmb_nic_info *nic,
		    bool is_to_write);

/* Turns and timer of the device; neither id nor suspension is there. */
int port_sysfs_get(const struct port_sysfs *sysfs, struct xmb_nic_napi *values);

/* One of the two may be set when it fails.  -ENODEV: the device is gone. */
int port_sysfs_set(const struct port_sysfs *sysfs,
		   const struct xmb_nic_napi *values);

void port_sysfs_close(struct port_sysfs *sysfs);

/* Settings of a device's NAPIs for busy polling, and what they were. */
struct port_busy {
	struct xmb_nic_napi was[PORT_NAPI_MAX]; /* sysfs: the first */
	uint32_t cnt;				/* how many were changed */
	bool is_set;
	struct port_sysfs sysfs;
	enum xmb_port_defer way;
	uint32_t got_cnt;
	struct xmb_nic_napi got;
};

/* Defer interrupts where that is possible, with words where it is not. */
void port_busy_set(struct port_busy *busy, const struct xmb_nic_info *nic,
		   const struct xmb_port_opts *opts);

/* By sysfs alone.  -EOPNOTSUPP: it is not that of the device. */
int port_busy_by_sysfs(struct port_busy *busy, const struct xmb_nic_info *nic,
		       const struct xmb_nic_napi *want);

/* Say of NAPIs that are found as port_busy_set() sets them how to undo it. */
void port_busy_tell(const struct xmb_nic_info *nic);

/* As it was, where the NAPI is still there. */
void port_busy_put_back(struct port_busy *busy, const char *dev);

#endif /* XMBUF_PORT_PORT_PRIV_H */
