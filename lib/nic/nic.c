/* SPDX-License-Identifier: BSD-2-Clause */
#include "nic/nic.h"

#include "base/log.h"
#include "nic/nic_priv.h"

#include <errno.h>
#include <linux/ethtool.h>
#include <linux/if_link.h>
#include <linux/if_packet.h>
#include <linux/rtnetlink.h>
#include <linux/sockios.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <unistd.h>

const char *xmb_nic_advice(int err)
{
	switch (err) {
	case -EINVAL:
		return "`ethtool -k` lists the names this kernel knows";
	case -EOPNOTSUPP:
		return "the device keeps this feature as it is";
	case -ENODEV:
		return "the device is not in this network namespace (any more)";
	case -EPERM:
		return "run as root or give CAP_NET_ADMIN and CAP_NET_RAW";
	case -EMFILE:
	case -ENFILE:
		return "close some files or raise the limit (`ulimit -n`)";
	case -ENOMEM:
	case -ENOBUFS:
		return "free some memory";
	case -EINTR:
	case -EAGAIN:
	case -EBUSY:
		return "try again";
	}
	return "no known remedy";
}

/*
 * Several names for one field: any of them makes it true.  idle_off is that of
 * the field which says that it is off and could be on; 0: there is none.
 */
static const struct {
	const char *name;
	size_t field_off, idle_off;
} feature_fields[] = {
	{ "rx-vlan-hw-parse", offsetof(struct xmb_nic_info, vlan_strip),
	  offsetof(struct xmb_nic_info, vlan_strip_off) },
	{ "rx-vlan-stag-hw-parse",
	  offsetof(struct xmb_nic_info, vlan_stag_strip),
	  offsetof(struct xmb_nic_info, vlan_stag_strip_off) },
	{ "rx-gro", offsetof(struct xmb_nic_info, gro), 0 },
	{ "rx-gro-hw", offsetof(struct xmb_nic_info, gro), 0 },
	{ "rx-lro", offsetof(struct xmb_nic_info, lro), 0 },
	{ "tx-tcp-segmentation", offsetof(struct xmb_nic_info, tso), 0 },
	{ "tx-tcp6-segmentation", offsetof(struct xmb_nic_info, tso), 0 },
	{ "tx-checksum-ip-generic", offsetof(struct xmb_nic_info, tx_csum), 0 },
	{ "tx-checksum-ipv4", offsetof(struct xmb_nic_info, tx_csum), 0 },
	{ "tx-checksum-ipv6", offsetof(struct xmb_nic_info, tx_csum), 0 },
	{ "rx-checksum", offsetof(struct xmb_nic_info, rx_csum), 0 },
};

enum { FIELD_CNT = sizeof(feature_fields) / sizeof(feature_fields[0]) };

/* What a refusal calls the device: its name, while it still has one. */
struct label {
	char text[IFNAMSIZ];
};

static struct label label_of(int ifindex)
{
	struct label label;

	if (!if_indextoname((unsigned int)ifindex, label.text))
		snprintf(label.text, sizeof(label.text), "#%d", ifindex);
	return label;
}

bool xmb_nic_is_gone(int ifindex)
{
	char name[IF_NAMESIZE];

	return !if_indextoname((unsigned int)ifindex, name) && errno == ENXIO;
}

int xmb_nic_queue_cnt(int ifindex, uint32_t *rx_cnt, uint32_t *tx_cnt)
{
	return xmb_ethtool_channels(ifindex, rx_cnt, tx_cnt);
}

static int on_link(const struct nlmsghdr *nlh, void *arg)
{
	struct xmb_link link;
	struct xmb_nic_info *info = arg;

	if (xmb_link_parse(nlh, &link))
		return MNL_CB_OK;
	info->ifindex = link.ifindex;
	info->up = link.up;
	info->running = link.running;
	info->mtu = link.mtu;
	info->promisc_cnt = link.promisc_cnt;
	info->rx_queue_cnt = link.rx_queue_max;
	info->tx_queue_cnt = link.tx_queue_max;
	if (link.name)
		snprintf(info->name, sizeof(info->name), "%s", link.name);
	if (link.mac)
		memcpy(info->mac, link.mac, sizeof(info->mac));
	return MNL_CB_OK;
}

/* Ask for one link, by name unless that is NULL. */
static int get_link(const char *dev, int ifindex, mnl_cb_t cb, void *arg)
{
	struct ifinfomsg *ifi;
	struct nlmsghdr *nlh;
	struct xmb_nl nl;
	int err = xmb_nl_open(&nl, NETLINK_ROUTE, 0);

	if (err)
		return err;
	nlh = xmb_nl_request(&nl, RTM_GETLINK);
	ifi = mnl_nlmsg_put_extra_header(nlh, sizeof(*ifi));
	ifi->ifi_index = ifindex;
	if (dev)
		mnl_attr_put_strz(nlh, IFLA_IFNAME, dev);
	err = xmb_nl_talk(&nl, cb, arg);
	xmb_nl_close(&nl);
	return err;
}

/* Since Linux 5.17 virtual devices answer with their kind ("veth") too. */
static void query_driver(struct xmb_nic_info *info)
{
	struct ethtool_drvinfo drv = { .cmd = ETHTOOL_GDRVINFO };
	struct ifreq req = { .ifr_data = (char *)&drv };
	int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);

	if (fd < 0)
		return;
	memcpy(req.ifr_name, info->name, sizeof(req.ifr_name));
	if (ioctl(fd, SIOCETHTOOL, &req) == 0)
		snprintf(info->driver, sizeof(info->driver), "%s", drv.driver);
	info->numa_node = xmb_pci_node("/sys/bus/pci/devices", drv.bus_info);
	close(fd);
}

/*
 * igb and igc tell the device a buffer's size in KiB, rounded down: of a frame
 * of 2048 bytes, 1792 of them for data, it fills 1024.  igb then hands on the
 * two parts of a packet of 1514 as two packets (seen on Linux 7.3).
 */
static uint32_t zc_unit_of(const char *driver)
{
	return !strcmp(driver, "igb") || !strcmp(driver, "igc") ? 1024 : 1;
}

static int query_zero_copy(struct xmb_nic_info *info)
{
	int err = xmb_netdev_zc_segs(info->ifindex, &info->zc_segs_max);

	info->zc_unit = zc_unit_of(info->driver);
	return err == -EOPNOTSUPP ? 0 : err;
}

static int query_features(struct xmb_nic_info *info)
{
	struct xmb_feature list[FIELD_CNT];
	int err;

	for (size_t i = 0; i < FIELD_CNT; i++)
		list[i].name = feature_fields[i].name;
	err = xmb_ethtool_features(info->ifindex, list, FIELD_CNT);
	if (err)
		return err;
	for (size_t i = 0; i < FIELD_CNT; i++) {
		const struct xmb_feature *f = &list[i];

		if (f->on)
			*(bool *)((char *)info + feature_fields[i].field_off) =
				true;
		else if (feature_fields[i].idle_off && f->known && !f->fixed)
			*(bool *)((char *)info + feature_fields[i].idle_off) =
				true;
	}
	return 0;
}

static int query(const char *dev, struct xmb_nic_info *info)
{
	int err;

	if (!dev[0] || strlen(dev) >= IFNAMSIZ)
		return -ENODEV;
	err = get_link(dev, 0, on_link, info);
	if (err)
		return err;
	query_driver(info);
	err = xmb_ethtool_channels(info->ifindex, &info->rx_queue_cnt,
				   &info->tx_queue_cnt);
	if (err && err != -EOPNOTSUPP)
		return err;
	err = query_zero_copy(info);
	if (err)
		return err;
	return query_features(info);
}

int xmb_nic_query(const char *dev, struct xmb_nic_info *info)
{
	struct xmb_nic_info found = { .numa_node = -1 };
	int err = query(dev, &found);

	if (err == -ENODEV)
		xmb_log(XMB_LOG_ERROR,
			"device %s: there is none of this name in this network "
			"namespace; `ip link` lists those there are",
			dev);
	else if (err)
		xmb_log(XMB_LOG_ERROR,
			"device %s: asked for its settings over netlink, the "
			"kernel answered: %s; %s",
			dev, strerror(-err), xmb_nic_advice(err));
	else
		*info = found;
	return err;
}

/* Leaves the device as it was unless it ends as asked. */
static int set_feature(int ifindex, const char *feature, bool on)
{
	struct xmb_feature f = { .name = feature };
	bool wanted;
	int err = xmb_ethtool_features(ifindex, &f, 1);

	if (err)
		return err;
	if (!f.known)
		return -EINVAL;
	if (f.on == on)
		return 0;
	if (f.fixed)
		return -EOPNOTSUPP;

	wanted = f.wanted;
	/* It may have been done, and only the answer have been lost. */
	err = xmb_ethtool_want(ifindex, feature, on);
	if (!err)
		err = xmb_ethtool_features(ifindex, &f, 1);
	if (!err && f.on != on)
		err = -EOPNOTSUPP;
	if (err)
		xmb_ethtool_want(ifindex, feature, wanted);
	return err;
}

int xmb_nic_set_feature(int ifindex, const char *feature, bool on)
{
	int err = set_feature(ifindex, feature, on);

	if (err)
		xmb_log(XMB_LOG_ERROR,
			"device %s: asked to switch %s %s, got: %s; %s",
			label_of(ifindex).text, feature, on ? "on" : "off",
			strerror(-err), xmb_nic_advice(err));
	return err;
}

static int promisc_open(int ifindex)
{
	struct packet_mreq req = {
		.mr_ifindex = ifindex,
		.mr_type = PACKET_MR_PROMISC,
	};
	/* Protocol 0: the socket is never handed a packet. */
	int err, fd = socket(AF_PACKET, SOCK_RAW | SOCK_CLOEXEC, 0);

	if (fd < 0)
		return -errno;
	if (setsockopt(fd, SOL_PACKET, PACKET_ADD_MEMBERSHIP, &req,
		       sizeof(req))) {
		err = -errno;
		close(fd);
		return err;
	}
	return fd;
}

int xmb_nic_promisc_open(int ifindex)
{
	int fd = promisc_open(ifindex);

	if (fd < 0)
		xmb_log(XMB_LOG_ERROR,
			"device %s: asked for promiscuous mode, the kernel "
			"answered: %s; %s",
			label_of(ifindex).text, strerror(-fd),
			xmb_nic_advice(fd));
	return fd;
}

static int on_stats(const struct nlmsghdr *nlh, void *arg)
{
	struct rtnl_link_stats64 *stats = arg;
	struct xmb_link link;

	if (!xmb_link_parse(nlh, &link) && link.stats)
		memcpy(stats, link.stats, sizeof(*stats));
	return MNL_CB_OK;
}

int xmb_nic_link_stats(int ifindex, struct xmb_nic_link_stats *stats)
{
	struct rtnl_link_stats64 got = { 0 };
	int err = -ENODEV;

	/* Rtnetlink calls a number that can be no device's a bad request. */
	if (ifindex > 0)
		err = get_link(NULL, ifindex, on_stats, &got);
	if (err) {
		xmb_log(XMB_LOG_ERROR,
			"device %s: asked for its counters, the kernel "
			"answered: %s; %s",
			label_of(ifindex).text, strerror(-err),
			xmb_nic_advice(err));
		return err;
	}
	*stats = (struct xmb_nic_link_stats){
		.rx_packets = got.rx_packets,
		.rx_bytes = got.rx_bytes,
		.rx_dropped = got.rx_dropped,
		.rx_errors = got.rx_errors,
		.tx_packets = got.tx_packets,
		.tx_bytes = got.tx_bytes,
		.tx_dropped = got.tx_dropped,
		.tx_errors = got.tx_errors,
	};
	return 0;
}
