/* SPDX-License-Identifier: BSD-2-Clause */
#include "nic/nic_priv.h"

#include <errno.h>
#include <linux/genetlink.h>

/* Newer than Debian 12's headers; the values are kernel ABI (linux/netdev.h).
 */
#define NETDEV_FAMILY "netdev"

enum {
	NETDEV_VERSION = 1,
	NETDEV_DEV_GET = 1,
	NETDEV_DEV_IFINDEX = 1,
	NETDEV_DEV_ZC_MAX_SEGS = 4, /* Linux 6.6; absent without zero copy */
};

static int on_dev(const struct nlmsghdr *nlh, void *arg)
{
	uint32_t *segs_max = arg;
	const struct nlattr *attr;

	XMB_ATTR_EACH(attr, nlh, sizeof(struct genlmsghdr))
		if (mnl_attr_get_type(attr) == NETDEV_DEV_ZC_MAX_SEGS &&
		    mnl_attr_validate(attr, MNL_TYPE_U32) >= 0)
			*segs_max = mnl_attr_get_u32(attr);
	return MNL_CB_OK;
}

int xmb_netdev_zc_segs(int ifindex, uint32_t *segs_max)
{
	uint32_t found = 0;
	struct nlmsghdr *nlh;
	struct xmb_nl nl;
	int err = xmb_genl_open(&nl, NETDEV_FAMILY);

	if (err)
		return err;
	nlh = xmb_genl_request(&nl, NETDEV_DEV_GET, NETDEV_VERSION);
	mnl_attr_put_u32(nlh, NETDEV_DEV_IFINDEX, (uint32_t)ifindex);
	err = xmb_nl_talk(&nl, on_dev, &found);
	xmb_nl_close(&nl);
	if (err)
		return err;
	if (found == 0)
		return -EOPNOTSUPP;
	*segs_max = found;
	return 0;
}
