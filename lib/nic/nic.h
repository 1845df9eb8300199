/* SPDX-License-Identifier: BSD-2-Clause */
#ifndef XMBUF_NIC_NIC_H
#define XMBUF_NIC_NIC_H

#include "base/base.h"

#include <net/if.h>

/*
 * nic: what a network device can do and how it is set up.
 *
 * Everything is asked of the kernel at each call, over sockets opened for that
 * call: the answer is of the network namespace that the calling thread is in,
 * and nothing of it is remembered.  /sys/class/net is not read, for it shows
 * the namespace of whoever mounted it; /sys/bus/pci, which knows none, is.
 *
 * Units      mtu is bytes of payload behind the Ethernet header; _cnt counts
 *            queues, packets or requests.
 * Ownership  The caller owns every struct; xmb_nic_promisc_open() hands out a
 *            file descriptor.  xmb_nic_set_feature() changes the device for
 *            everyone and for good: put back what you found.
 * Threads    Any.
 * Errors     0 or a negative errno, with words in the log.  A call that fails
 *            changes nothing.  Any call may fail as socket() or recvmsg() do
 *            (-EMFILE, -ENOBUFS, ...).
 * Kernel     6.1, napi 6.13; reading needs no privilege, set_feature and
 *            napi_set CAP_NET_ADMIN, promisc_open CAP_NET_RAW.
 */

struct xmb_nic_info {
	int ifindex;
	char name[IFNAMSIZ];
	char driver[32]; /* "veth"; empty: the device does not say */
	uint8_t mac[6];	 /* zeroes: the device has no Ethernet address */
	uint32_t mtu;
	bool up;	      /* set up by the administrator */
	bool running;	      /* up, and the link has a carrier */
	uint32_t promisc_cnt; /* requests for promiscuous mode that stand */
	int numa_node;	      /* of its PCI slot; -1: none, or not known */

	/*
	 * Queues that carry packets now.  A device that has no channels to
	 * report (a TAP) is taken at the number it has allocated.
	 */
	uint32_t rx_queue_cnt;
	uint32_t tx_queue_cnt;

	/*
	 * Zero copy.  A sent packet may have so many buffers (1: no chains);
	 * 0: the device has none, or the kernel does not tell (before 6.6).
	 * A received packet fills a frame only in whole units of so many bytes;
	 * what does not fit is handed on as a packet of its own.
	 */
	uint32_t zc_segs_max;
	uint32_t zc_unit;

	/* Features that are switched on. */
	bool vlan_strip;      /* rx-vlan-hw-parse */
	bool vlan_stag_strip; /* rx-vlan-stag-hw-parse, the outer tag of QinQ */
	bool gro;	      /* rx-gro or rx-gro-hw */
	bool lro;	      /* rx-lro */
	bool tso;	      /* tx-tcp-segmentation or tx-tcp6-segmentation */
	bool tx_csum;	      /* tx-checksum-ip-generic, -ipv4 or -ipv6 */
	bool rx_csum;	      /* rx-checksum */

	/* Off, though they could be on. */
	bool vlan_strip_off;
	bool vlan_stag_strip_off;
};

/* The kernel's own count of what passed, without XDP that went elsewhere. */
struct xmb_nic_link_stats {
	uint64_t rx_packets;
	uint64_t rx_bytes;
	uint64_t rx_dropped;
	uint64_t rx_errors;
	uint64_t tx_packets;
	uint64_t tx_bytes;
	uint64_t tx_dropped;
	uint64_t tx_errors;
};

/*
 * Describe the device named dev.
 * -ENODEV: no device of that name in this network namespace.
 */
XMB_API int xmb_nic_query(const char *dev, struct xmb_nic_info *info);

/*
 * How many queues of a device carry packets now; they may change while it is
 * in use.  Only an answer: nothing is logged.
 * -EOPNOTSUPP: it has no channels to report.  -ENODEV: no such device.
 */
XMB_API int xmb_nic_queue_cnt(int ifindex, uint32_t *rx_cnt, uint32_t *tx_cnt);

/*
 * True if this network namespace has no such device (any more).  False also
 * where that could not be found out, for want of descriptors or memory.
 */
XMB_API bool xmb_nic_is_gone(int ifindex);

/*
 * Switch a feature, named as `ethtool -k` and the kernel name it
 * ("rx-vlan-hw-parse"), on or off; 0: it is so now, or was already.
 * -EINVAL: the kernel knows no feature of that name.
 * -EOPNOTSUPP: the device keeps it as it is.
 * -ENODEV: no such device.
 * -EPERM: it would have to change and the caller lacks CAP_NET_ADMIN.
 */
XMB_API int xmb_nic_set_feature(int ifindex, const char *feature, bool on);

/*
 * Make the device take in every frame for as long as the returned file
 * descriptor is open.  The kernel counts such requests and takes this one back
 * however the process ends.  The descriptor receives nothing.
 * -ENODEV: no such device.
 * -EPERM: the caller lacks CAP_NET_RAW.
 */
XMB_API int xmb_nic_promisc_open(int ifindex);

/* One instance that polls a device's queues in the kernel. */
struct xmb_nic_napi {
	uint32_t id; /* as SO_INCOMING_NAPI_ID tells it of a socket */
	/* Turns that may find nothing before interrupts are on again. */
	uint32_t defer_hard_irqs;
	uint64_t gro_flush_ns; /* then a timer polls, so long after */
	/*
	 * While epoll_wait() of a busy poller finds packets, interrupts are off
	 * for so long; recvfrom() and poll() do not do that.  Linux 6.13.
	 */
	uint64_t irq_suspend_ns;
};

/*
 * List the instances of a device, up to max; returns how many there are.
 * They come and go: veth has one a queue while it has an XDP program or GRO.
 * Of a device that is not there the kernel says the same as of one without: 0.
 * -EOPNOTSUPP: the kernel does not tell (before 6.13): sysfs has the settings
 * for all of a device (napi_defer_hard_irqs, gro_flush_timeout), where it is
 * mounted for this network namespace.
 */
XMB_API int xmb_nic_napi_list(int ifindex, struct xmb_nic_napi *list,
			      uint32_t max);

/*
 * Set all of an instance: put back what you found.
 * -ENOENT: there is none of that id in this network namespace.
 * -ERANGE: a value that the kernel does not take.
 * -EPERM: needs CAP_NET_ADMIN.  -EOPNOTSUPP: before Linux 6.13.
 */
XMB_API int xmb_nic_napi_set(const struct xmb_nic_napi *napi);

/*
 * Read the counters of a device.
 * -ENODEV: no such device.
 */
XMB_API int xmb_nic_link_stats(int ifindex, struct xmb_nic_link_stats *stats);

#endif /* XMBUF_NIC_NIC_H */
