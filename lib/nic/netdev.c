/* SPDX-License-Identifier: BSD-2-Clause */
#include "nic/nic.h"
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
	NETDEV_NAPI_GET = 11,	    /* Linux 6.8 */
	NETDEV_NAPI_SET = 14,	    /* Linux 6.13, as the values below */
	NETDEV_NAPI_IFINDEX = 1,
	NETDEV_NAPI_ID = 2,
	NETDEV_NAPI_DEFER = 5,
	NETDEV_NAPI_FLUSH = 6,
	NETDEV_NAPI_SUSPEND = 7,
};

struct napis {
	struct xmb_nic_napi *list;
	uint32_t cnt, max;
	bool has_values;
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

/* A number of netlink's "uint": 4 or 8 bytes, as it needs. */
static uint64_t get_uint(const struct nlattr *attr)
{
	if (mnl_attr_get_payload_len(attr) == sizeof(uint64_t))
		return mnl_attr_get_u64(attr);
	return mnl_attr_validate(attr, MNL_TYPE_U32) >= 0
		       ? mnl_attr_get_u32(attr)
		       : 0;
}

static int on_napi(const struct nlmsghdr *nlh, void *arg)
{
	struct napis *napis = arg;
	struct xmb_nic_napi napi = { 0 };
	const struct nlattr *attr;

	XMB_ATTR_EACH(attr, nlh, sizeof(struct genlmsghdr))
		switch (mnl_attr_get_type(attr)) {
		case NETDEV_NAPI_ID:
			napi.id = (uint32_t)get_uint(attr);
			break;
		case NETDEV_NAPI_DEFER:
			napi.defer_hard_irqs = (uint32_t)get_uint(attr);
			napis->has_values = true;
			break;
		case NETDEV_NAPI_FLUSH:
			napi.gro_flush_ns = get_uint(attr);
			break;
		case NETDEV_NAPI_SUSPEND:
			napi.irq_suspend_ns = get_uint(attr);
			break;
		default:
			break;
		}
	if (napis->cnt < napis->max)
		napis->list[napis->cnt] = napi;
	napis->cnt++;
	return MNL_CB_OK;
}

int xmb_nic_napi_list(int ifindex, struct xmb_nic_napi *list, uint32_t max)
{
	struct napis napis = { .list = list, .max = max };
	struct nlmsghdr *nlh;
	struct xmb_nl nl;
	int err = xmb_genl_open(&nl, NETDEV_FAMILY);

	if (err)
		return err;
	nlh = xmb_genl_request(&nl, NETDEV_NAPI_GET, NETDEV_VERSION);
	nlh->nlmsg_flags |= NLM_F_DUMP;
	mnl_attr_put_u32(nlh, NETDEV_NAPI_IFINDEX, (uint32_t)ifindex);
	err = xmb_nl_talk(&nl, on_napi, &napis);
	xmb_nl_close(&nl);
	if (err)
		return err;
	if (napis.cnt && !napis.has_values)
		return -EOPNOTSUPP;
	return (int)napis.cnt;
}

int xmb_nic_napi_set(const struct xmb_nic_napi *napi)
{
	struct nlmsghdr *nlh;
	struct xmb_nl nl;
	int err = xmb_genl_open(&nl, NETDEV_FAMILY);

	if (err)
		return err;
	nlh = xmb_genl_request(&nl, NETDEV_NAPI_SET, NETDEV_VERSION);
	mnl_attr_put_u32(nlh, NETDEV_NAPI_ID, napi->id);
	mnl_attr_put_u32(nlh, NETDEV_NAPI_DEFER, napi->defer_hard_irqs);
	mnl_attr_put_u64(nlh, NETDEV_NAPI_FLUSH, napi->gro_flush_ns);
	mnl_attr_put_u64(nlh, NETDEV_NAPI_SUSPEND, napi->irq_suspend_ns);
	err = xmb_nl_talk(&nl, NULL, NULL);
	xmb_nl_close(&nl);
	return err;
}
