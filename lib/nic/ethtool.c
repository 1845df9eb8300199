/* SPDX-License-Identifier: BSD-2-Clause */
#include "nic/nic_priv.h"

#include <errno.h>
#include <linux/ethtool_netlink.h>
#include <linux/genetlink.h>
#include <string.h>

/* Every command's header nest is attribute 1, whatever the enum calls it. */
static struct nlmsghdr *begin_ethtool(struct xmb_nl *nl, uint8_t cmd,
				      int ifindex, uint32_t flags)
{
	struct nlmsghdr *nlh = xmb_genl_request(nl, cmd, ETHTOOL_GENL_VERSION);
	struct nlattr *nest = mnl_attr_nest_start(nlh, 1);

	mnl_attr_put_u32(nlh, ETHTOOL_A_HEADER_DEV_INDEX, (uint32_t)ifindex);
	mnl_attr_put_u32(nlh, ETHTOOL_A_HEADER_FLAGS, flags);
	mnl_attr_nest_end(nlh, nest);
	return nlh;
}

struct channels {
	uint32_t rx_cnt;
	uint32_t tx_cnt;
};

static int on_channels(const struct nlmsghdr *nlh, void *arg)
{
	struct channels *ch = arg;
	const struct nlattr *attr;

	XMB_ATTR_EACH(attr, nlh, sizeof(struct genlmsghdr)) {
		uint16_t type = mnl_attr_get_type(attr);
		uint32_t cnt;

		if (mnl_attr_validate(attr, MNL_TYPE_U32) < 0)
			continue;
		cnt = mnl_attr_get_u32(attr);
		if (type == ETHTOOL_A_CHANNELS_RX_COUNT ||
		    type == ETHTOOL_A_CHANNELS_COMBINED_COUNT)
			ch->rx_cnt += cnt;
		if (type == ETHTOOL_A_CHANNELS_TX_COUNT ||
		    type == ETHTOOL_A_CHANNELS_COMBINED_COUNT)
			ch->tx_cnt += cnt;
	}
	return MNL_CB_OK;
}

int xmb_ethtool_channels(int ifindex, uint32_t *rx_cnt, uint32_t *tx_cnt)
{
	struct channels ch = { 0 };
	struct xmb_nl nl;
	int err = xmb_genl_open(&nl, ETHTOOL_GENL_NAME);

	if (err)
		return err;
	begin_ethtool(&nl, ETHTOOL_MSG_CHANNELS_GET, ifindex, 0);
	err = xmb_nl_talk(&nl, on_channels, &ch);
	xmb_nl_close(&nl);
	if (err)
		return err;
	if (!ch.rx_cnt || !ch.tx_cnt)
		return -EOPNOTSUPP;
	*rx_cnt = ch.rx_cnt;
	*tx_cnt = ch.tx_cnt;
	return 0;
}

/* One bit of a bitset: is it the named one, and is its value flag there? */
static bool bit_is(const struct nlattr *bit, const char *name, bool *value)
{
	const struct nlattr *attr;
	bool found = false;

	*value = false;
	XMB_ATTR_EACH_NESTED(attr, bit) {
		if (mnl_attr_get_type(attr) == ETHTOOL_A_BITSET_BIT_VALUE)
			*value = true;
		else if (mnl_attr_get_type(attr) == ETHTOOL_A_BITSET_BIT_NAME &&
			 mnl_attr_validate(attr, MNL_TYPE_NUL_STRING) >= 0)
			found = !strcmp(mnl_attr_get_str(attr), name);
	}
	return found;
}

/*
 * Look a name up in a bitset.  One with a mask lists every bit and flags those
 * that are set; one without lists the set bits only.
 */
static bool bitset_has(const struct nlattr *set, const char *name, bool *listed)
{
	const struct nlattr *attr, *bit;
	bool nomask = false, value = false;

	*listed = false;
	XMB_ATTR_EACH_NESTED(attr, set)
		if (mnl_attr_get_type(attr) == ETHTOOL_A_BITSET_NOMASK)
			nomask = true;
	XMB_ATTR_EACH_NESTED(attr, set) {
		if (mnl_attr_get_type(attr) != ETHTOOL_A_BITSET_BITS)
			continue;
		XMB_ATTR_EACH_NESTED(bit, attr) {
			if (!bit_is(bit, name, &value))
				continue;
			*listed = true;
			return nomask || value;
		}
	}
	return false;
}

struct features {
	struct xmb_feature *list;
	size_t cnt;
};

static void feature_attr(struct xmb_feature *f, const struct nlattr *attr)
{
	bool listed, set = bitset_has(attr, f->name, &listed);

	switch (mnl_attr_get_type(attr)) {
	case ETHTOOL_A_FEATURES_HW:
		f->known = listed;
		f->fixed = f->fixed || !set;
		break;
	case ETHTOOL_A_FEATURES_WANTED:
		f->wanted = set;
		break;
	case ETHTOOL_A_FEATURES_ACTIVE:
		f->on = set;
		break;
	case ETHTOOL_A_FEATURES_NOCHANGE:
		f->fixed = f->fixed || set;
		break;
	}
}

static int on_features(const struct nlmsghdr *nlh, void *arg)
{
	const struct features *features = arg;
	const struct nlattr *attr;

	XMB_ATTR_EACH(attr, nlh, sizeof(struct genlmsghdr))
		for (size_t i = 0; i < features->cnt; i++)
			feature_attr(&features->list[i], attr);
	return MNL_CB_OK;
}

int xmb_ethtool_features(int ifindex, struct xmb_feature *list, size_t cnt)
{
	struct features features = { .list = list, .cnt = cnt };
	struct xmb_nl nl;
	int err = xmb_genl_open(&nl, ETHTOOL_GENL_NAME);

	if (err)
		return err;
	for (size_t i = 0; i < cnt; i++)
		list[i] = (struct xmb_feature){ .name = list[i].name };
	begin_ethtool(&nl, ETHTOOL_MSG_FEATURES_GET, ifindex, 0);
	err = xmb_nl_talk(&nl, on_features, &features);
	xmb_nl_close(&nl);
	return err;
}

int xmb_ethtool_want(int ifindex, const char *name, bool on)
{
	struct nlattr *set, *bits, *bit;
	struct nlmsghdr *nlh;
	struct xmb_nl nl;
	int err = xmb_genl_open(&nl, ETHTOOL_GENL_NAME);

	if (err)
		return err;
	nlh = begin_ethtool(&nl, ETHTOOL_MSG_FEATURES_SET, ifindex,
			    ETHTOOL_FLAG_OMIT_REPLY);
	set = mnl_attr_nest_start(nlh, ETHTOOL_A_FEATURES_WANTED);
	bits = mnl_attr_nest_start(nlh, ETHTOOL_A_BITSET_BITS);
	bit = mnl_attr_nest_start(nlh, ETHTOOL_A_BITSET_BITS_BIT);
	mnl_attr_put_strz(nlh, ETHTOOL_A_BITSET_BIT_NAME, name);
	if (on)
		mnl_attr_put(nlh, ETHTOOL_A_BITSET_BIT_VALUE, 0, NULL);
	mnl_attr_nest_end(nlh, bit);
	mnl_attr_nest_end(nlh, bits);
	mnl_attr_nest_end(nlh, set);
	err = xmb_nl_talk(&nl, NULL, NULL);
	xmb_nl_close(&nl);
	return err;
}
