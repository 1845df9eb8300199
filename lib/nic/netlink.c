/* SPDX-License-Identifier: BSD-2-Clause */
#include "nic/nic_priv.h"

#include <errno.h>
#include <linux/genetlink.h>
#include <linux/if_link.h>
#include <linux/rtnetlink.h>
#include <net/if.h>
#include <sys/socket.h>

/* Datagrams in one answer: one device never fills more than two. */
enum { REPLY_MAX = 64 };

int xmb_nl_open(struct xmb_nl *nl, int protocol, int flags)
{
	int err;

	nl->seq = 0;
	nl->family = 0;
	nl->sock = mnl_socket_open2(protocol, SOCK_CLOEXEC | flags);
	if (!nl->sock)
		return -errno;
	if (mnl_socket_bind(nl->sock, 0, MNL_SOCKET_AUTOPID) < 0) {
		err = -errno;
		mnl_socket_close(nl->sock);
		return err;
	}
	return 0;
}

void xmb_nl_close(struct xmb_nl *nl)
{
	mnl_socket_close(nl->sock);
}

struct nlmsghdr *xmb_nl_request(struct xmb_nl *nl, uint16_t type)
{
	struct nlmsghdr *nlh = mnl_nlmsg_put_header(nl->buf);

	nlh->nlmsg_type = type;
	nlh->nlmsg_flags = NLM_F_REQUEST | NLM_F_ACK;
	nlh->nlmsg_seq = ++nl->seq;
	return nlh;
}

int xmb_nl_talk(struct xmb_nl *nl, mnl_cb_t cb, void *arg)
{
	struct nlmsghdr *nlh = (struct nlmsghdr *)nl->buf;
	uint32_t port = mnl_socket_get_portid(nl->sock);

	while (mnl_socket_sendto(nl->sock, nlh, nlh->nlmsg_len) < 0)
		if (errno != EINTR)
			return -errno;
	for (int i = 0; i < REPLY_MAX; i++) {
		ssize_t len =
			mnl_socket_recvfrom(nl->sock, nl->buf, XMB_NL_LEN);
		int more;

		if (len < 0 && errno == EINTR)
			continue;
		if (len < 0)
			return -errno;
		more = mnl_cb_run(nl->buf, (size_t)len, nl->seq, port, cb, arg);
		if (more < 0)
			return -errno;
		if (more == MNL_CB_STOP)
			return 0;
	}
	return -EPROTO;
}

static struct nlmsghdr *begin(struct xmb_nl *nl, uint16_t type, uint8_t cmd,
			      uint8_t version)
{
	struct nlmsghdr *nlh = xmb_nl_request(nl, type);
	struct genlmsghdr *genl;

	genl = mnl_nlmsg_put_extra_header(nlh, sizeof(*genl));
	genl->cmd = cmd;
	genl->version = version;
	return nlh;
}

static int on_family(const struct nlmsghdr *nlh, void *arg)
{
	struct xmb_nl *nl = arg;
	const struct nlattr *attr;

	XMB_ATTR_EACH(attr, nlh, sizeof(struct genlmsghdr))
		if (mnl_attr_get_type(attr) == CTRL_ATTR_FAMILY_ID &&
		    mnl_attr_validate(attr, MNL_TYPE_U16) >= 0)
			nl->family = mnl_attr_get_u16(attr);
	return MNL_CB_OK;
}

int xmb_genl_open(struct xmb_nl *nl, const char *family)
{
	struct nlmsghdr *nlh;
	int err = xmb_nl_open(nl, NETLINK_GENERIC, 0);

	if (err)
		return err;
	nlh = begin(nl, GENL_ID_CTRL, CTRL_CMD_GETFAMILY, 1);
	mnl_attr_put_strz(nlh, CTRL_ATTR_FAMILY_NAME, family);
	err = xmb_nl_talk(nl, on_family, nl);
	/* A kernel built without the family answers -ENOENT. */
	if (err == -ENOENT || (!err && !nl->family))
		err = -EOPNOTSUPP;
	if (err)
		xmb_nl_close(nl);
	return err;
}

struct nlmsghdr *xmb_genl_request(struct xmb_nl *nl, uint8_t cmd,
				  uint8_t version)
{
	return begin(nl, nl->family, cmd, version);
}

static bool is_u32(const struct nlattr *attr)
{
	return mnl_attr_validate(attr, MNL_TYPE_U32) >= 0;
}

static void link_attr(struct xmb_link *link, const struct nlattr *attr)
{
	uint16_t type = mnl_attr_get_type(attr);

	if (type == IFLA_IFNAME &&
	    mnl_attr_validate(attr, MNL_TYPE_NUL_STRING) >= 0)
		link->name = mnl_attr_get_str(attr);
	else if (type == IFLA_ADDRESS && mnl_attr_get_payload_len(attr) == 6)
		link->mac = mnl_attr_get_payload(attr);
	else if (type == IFLA_STATS64 &&
		 mnl_attr_get_payload_len(attr) >= sizeof(*link->stats))
		link->stats = mnl_attr_get_payload(attr);
	else if (type == IFLA_CARRIER && mnl_attr_get_payload_len(attr) == 1)
		link->running = mnl_attr_get_u8(attr);
	else if (type == IFLA_MTU && is_u32(attr))
		link->mtu = mnl_attr_get_u32(attr);
	else if (type == IFLA_PROMISCUITY && is_u32(attr))
		link->promisc_cnt = mnl_attr_get_u32(attr);
	else if (type == IFLA_NUM_RX_QUEUES && is_u32(attr))
		link->rx_queue_max = mnl_attr_get_u32(attr);
	else if (type == IFLA_NUM_TX_QUEUES && is_u32(attr))
		link->tx_queue_max = mnl_attr_get_u32(attr);
}

int xmb_link_parse(const struct nlmsghdr *nlh, struct xmb_link *link)
{
	const struct ifinfomsg *ifi = mnl_nlmsg_get_payload(nlh);
	const struct nlattr *attr;

	if (nlh->nlmsg_type != RTM_NEWLINK && nlh->nlmsg_type != RTM_DELLINK)
		return -EPROTO;
	/* A bridge reports its ports as links of its own family as well. */
	if (mnl_nlmsg_get_payload_len(nlh) < sizeof(*ifi) ||
	    ifi->ifi_family != AF_UNSPEC)
		return -EPROTO;

	*link = (struct xmb_link){
		.ifindex = ifi->ifi_index,
		.up = ifi->ifi_flags & IFF_UP,
		.running = ifi->ifi_flags & IFF_RUNNING,
	};
	/*
	 * IFF_RUNNING follows the carrier up to a second late (linkwatch is
	 * rate-limited); where the message has the carrier itself, that wins.
	 */
	XMB_ATTR_EACH(attr, nlh, sizeof(*ifi))
		link_attr(link, attr);
	link->running = link->running && link->up;
	return 0;
}
