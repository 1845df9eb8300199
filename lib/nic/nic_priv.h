/* SPDX-License-Identifier: BSD-2-Clause */
#ifndef XMBUF_NIC_NIC_PRIV_H
#define XMBUF_NIC_NIC_PRIV_H

#include "base/base.h"

#include <libmnl/libmnl.h>

/*
 * nic_priv: netlink sockets, messages about links, and the ethtool family.
 *
 * Threads    One thread at a time per struct xmb_nl.
 * Errors     0 or a negative errno, the kernel's where it answered with one.
 *            These functions leave the words to their callers.
 */

/*
 * Longest netlink message that is sent or read.  A reply with the names of all
 * features is about 6 KiB, more than libmnl's own buffer size of a page.
 */
enum { XMB_NL_LEN = 32768 };

/* What a user can do about the kernel's answer err, a negative errno. */
const char *xmb_nic_advice(int err);

struct xmb_nl {
	struct mnl_socket *sock;
	uint32_t seq;
	uint16_t family; /* id of the generic netlink family, once looked up */
	_Alignas(struct nlmsghdr) uint8_t buf[XMB_NL_LEN]; /* request, reply */
};

/* Open a socket of a protocol (NETLINK_ROUTE, ...) with flags of socket(). */
int xmb_nl_open(struct xmb_nl *nl, int protocol, int flags);
void xmb_nl_close(struct xmb_nl *nl);

/* Begin a request in nl->buf: append attributes, then xmb_nl_talk(). */
struct nlmsghdr *xmb_nl_request(struct xmb_nl *nl, uint16_t type);

/* Send the request; hand each message of the answer to cb, unless NULL. */
int xmb_nl_talk(struct xmb_nl *nl, mnl_cb_t cb, void *arg);

/*
 * libmnl's own loops over attributes narrow a pointer difference to int, which
 * -Wconversion refuses; these are the same with the narrowing written down.
 */
static inline bool xmb_attr_fits(const struct nlattr *attr, const void *end)
{
	return mnl_attr_ok(attr, (int)((const char *)end - (const char *)attr));
}

#define XMB_ATTR_EACH(attr, nlh, offset)                                       \
	for ((attr) = mnl_nlmsg_get_payload_offset(nlh, offset);               \
	     xmb_attr_fits(attr, mnl_nlmsg_get_payload_tail(nlh));             \
	     (attr) = mnl_attr_next(attr))

#define XMB_ATTR_EACH_NESTED(attr, nest)                                       \
	for ((attr) = mnl_attr_get_payload(nest);                              \
	     xmb_attr_fits(attr, mnl_attr_next(nest));                         \
	     (attr) = mnl_attr_next(attr))

/*
 * Open a generic netlink socket for a family.
 * -EOPNOTSUPP: the kernel has no such family.
 */
int xmb_genl_open(struct xmb_nl *nl, const char *family);

/* Begin a request to the family that nl was opened for. */
struct nlmsghdr *xmb_genl_request(struct xmb_nl *nl, uint8_t cmd,
				  uint8_t version);

/* What of an RTM_NEWLINK or RTM_DELLINK matters to this room. */
struct xmb_link {
	int ifindex;
	bool up;
	bool running;
	uint32_t mtu;
	uint32_t promisc_cnt;
	uint32_t rx_queue_max;
	uint32_t tx_queue_max;
	const char *name;		       /* these three point into the */
	const uint8_t *mac;		       /* message, or are NULL */
	const struct rtnl_link_stats64 *stats; /* not aligned: copy it out */
};

/* Read a message about a link; -EPROTO: it is about something else. */
int xmb_link_parse(const struct nlmsghdr *nlh, struct xmb_link *link);

/* Queues in use; -EOPNOTSUPP: the device does not report them. */
int xmb_ethtool_channels(int ifindex, uint32_t *rx_cnt, uint32_t *tx_cnt);

/*
 * Buffers that a sent packet may have in zero copy.
 * -EOPNOTSUPP: the kernel does not tell, or the device has no zero copy.
 */
int xmb_netdev_zc_segs(int ifindex, uint32_t *segs_max);

struct xmb_feature {
	const char *name; /* filled by the caller, the rest by the call */
	bool known;	  /* to this kernel */
	bool on;
	bool wanted; /* asked for: on needs the device's consent as well */
	bool fixed;  /* nobody can change it */
};

int xmb_ethtool_features(int ifindex, struct xmb_feature *list, size_t cnt);

/* Want a feature on or off; the device may decide otherwise and 0 is said. */
int xmb_ethtool_want(int ifindex, const char *name, bool on);

/*
 * The NUMA node of the PCI slot bus ("0000:03:00.0") under root, as
 * "/sys/bus/pci/devices"; -1: no such slot, or of no node.
 */
int xmb_pci_node(const char *root, const char *bus);

#endif /* XMBUF_NIC_NIC_PRIV_H */
