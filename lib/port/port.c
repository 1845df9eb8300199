/* SPDX-License-Identifier: BSD-2-Clause */
#include "port/port.h"

#include "base/log.h"
#include "port/port_priv.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* A feature that was switched off, to be put back. */
enum { FEATURE_CNT = 2, PUT_BACK_TRIES = 3, PUT_BACK_STEP_US = 1000 };
static const char *const strip_features[FEATURE_CNT] = {
	"rx-vlan-hw-parse",
	"rx-vlan-stag-hw-parse",
};

struct xmb_port {
	struct xmb_nic_info nic;
	struct xmb_port_opts opts;
	uint32_t queues[XMB_PORT_QUEUE_MAX];
	uint32_t queue_cnt, tx_cnt;
	struct xmb_xsk *xsks[XMB_PORT_QUEUE_MAX];
	struct xmb_prog *prog;
	enum xmb_prog_mode xdp_mode;
	enum xmb_prog_way xdp_way;
	int promisc_fd;
	bool was_stripping[FEATURE_CNT];
	struct port_busy busy;
};

static int take_queue(struct xmb_port *port, uint32_t queue)
{
	const struct xmb_nic_info *nic = &port->nic;

	if (queue >= nic->rx_queue_cnt) {
		xmb_log(XMB_LOG_ERROR,
			"%s: queue %u was asked for, but the device receives "
			"on %u (0..%u): choose among those, or ethtool -L",
			nic->name, queue, nic->rx_queue_cnt,
			nic->rx_queue_cnt - 1);
		return -EINVAL;
	}
	for (uint32_t i = 0; i < port->queue_cnt; i++) {
		if (port->queues[i] != queue)
			continue;
		xmb_log(XMB_LOG_ERROR, "%s: queue %u is named twice", nic->name,
			queue);
		return -EINVAL;
	}
	port->queues[port->queue_cnt++] = queue;
	return 0;
}

/* Keep the order, but those that can send come first. */
static void senders_first(struct xmb_port *port)
{
	uint32_t sorted[XMB_PORT_QUEUE_MAX], n = 0;

	for (uint32_t i = 0; i < port->queue_cnt; i++)
		if (port->queues[i] < port->nic.tx_queue_cnt)
			sorted[n++] = port->queues[i];
	port->tx_cnt = n;
	for (uint32_t i = 0; i < port->queue_cnt; i++)
		if (port->queues[i] >= port->nic.tx_queue_cnt)
			sorted[n++] = port->queues[i];
	memcpy(port->queues, sorted, n * sizeof(*sorted));
}

static int choose_queues(struct xmb_port *port)
{
	const struct xmb_port_opts *opts = &port->opts;
	uint32_t cnt = opts->queue_cnt;
	int err = 0;

	if (cnt == 0)
		cnt = xmb_min_u32(port->nic.rx_queue_cnt, XMB_PORT_QUEUE_MAX);
	if (cnt > XMB_PORT_QUEUE_MAX) {
		xmb_log(XMB_LOG_ERROR, "%s: %u queues: at most %u are possible",
			port->nic.name, cnt, XMB_PORT_QUEUE_MAX);
		return -EINVAL;
	}
	for (uint32_t i = 0; i < cnt && !err; i++)
		err = take_queue(port, opts->queues ? opts->queues[i] : i);
	if (err)
		return err;
	senders_first(port);
	if (port->tx_cnt == 0) {
		xmb_log(XMB_LOG_ERROR,
			"%s: none of the queues chosen can send: the device "
			"sends on %u",
			port->nic.name, port->nic.tx_queue_cnt);
		return -EINVAL;
	}
	if (port->queue_cnt < port->nic.rx_queue_cnt)
		xmb_log(XMB_LOG_WARN,
			"%s: receiving on %u of %u queues: what the device "
			"puts on the others %s",
			port->nic.name, port->queue_cnt,
			port->nic.rx_queue_cnt,
			opts->on_exit == XMB_PROG_EXIT_DROP ?
				"is dropped by the gate, if it matches" :
				"goes to the kernel");
	return 0;
}

int xmb_port_create(struct xmb_port **out, const struct xmb_port_opts *opts)
{
	struct xmb_port *port = calloc(1, sizeof(*port));
	int err;

	if (!port)
		return -ENOMEM;
	port->opts = *opts;
	port->promisc_fd = -1;
	err = xmb_nic_query(opts->dev, &port->nic);
	if (!err && !port->nic.up) {
		xmb_log(XMB_LOG_ERROR,
			"%s: the link is down: ip link set %s up", opts->dev,
			opts->dev);
		err = -ENETDOWN;
	}
	if (!err)
		err = choose_queues(port);
	if (err) {
		free(port);
		return err;
	}
	port->opts.dev = port->nic.name;
	port->opts.queues = NULL;
	*out = port;
	return 0;
}

void xmb_port_tell_off(const struct xmb_nic_info *nic)
{
	const bool are_off[FEATURE_CNT] = { nic->vlan_strip_off,
					    nic->vlan_stag_strip_off };

	for (int i = 0; i < FEATURE_CNT; i++)
		if (are_off[i])
			xmb_log(XMB_LOG_INFO,
				"%s: VLAN stripping (%s) is off and stays so; "
				"if a process that was killed left it off: "
				"ethtool -K %s %s on",
				nic->name, strip_features[i], nic->name,
				strip_features[i]);
	port_busy_tell(nic);
}

static void keep_tags(struct xmb_port *port)
{
	const bool strips[FEATURE_CNT] = { port->nic.vlan_strip,
					   port->nic.vlan_stag_strip };

	for (int i = 0; i < FEATURE_CNT; i++) {
		const char *feature = strip_features[i];
		int err;

		if (!strips[i])
			continue;
		err = xmb_nic_set_feature(port->nic.ifindex, feature, false);
		port->was_stripping[i] = err == 0;
		if (err)
			xmb_log(XMB_LOG_WARN,
				"%s: %s cannot be switched off (%s): VLAN tags "
				"of received packets are lost",
				port->nic.name, feature, strerror(-err));
		else
			xmb_log(XMB_LOG_INFO,
				"%s: VLAN stripping (%s) switched off, put "
				"back at exit; not by SIGKILL: then `ethtool "
				"-K %s %s on`",
				port->nic.name, feature, port->nic.name,
				feature);
	}
	xmb_port_tell_off(&port->nic);
}

/* Nobody else would do it later: what may pass is waited for. */
static int switch_on(const struct xmb_port *port, const char *feature)
{
	int err = xmb_nic_set_feature(port->nic.ifindex, feature, true);

	for (int i = 1; i < PUT_BACK_TRIES && err && err != -ENODEV; i++) {
		usleep(PUT_BACK_STEP_US);
		err = xmb_nic_set_feature(port->nic.ifindex, feature, true);
	}
	return err;
}

static void put_back(struct xmb_port *port)
{
	/* A device that was deleted has nothing to be put back. */
	bool is_gone = xmb_nic_is_gone(port->nic.ifindex);

	for (int i = 0; i < FEATURE_CNT; i++) {
		int err;

		if (!port->was_stripping[i])
			continue;
		port->was_stripping[i] = false;
		if (is_gone) {
			xmb_log(XMB_LOG_WARN,
				"%s is not in this namespace any more: if it "
				"was moved, switch %s on there (ethtool -K)",
				port->nic.name, strip_features[i]);
			continue;
		}
		err = switch_on(port, strip_features[i]);
		if (err && err != -ENODEV)
			xmb_log(XMB_LOG_WARN,
				"%s: %s was not put back: %s: ethtool -K %s %s "
				"on",
				port->nic.name, strip_features[i],
				strerror(-err), port->nic.name,
				strip_features[i]);
	}
	port_busy_put_back(&port->busy, port->nic.name);
	if (port->promisc_fd >= 0)
		close(port->promisc_fd);
	port->promisc_fd = -1;
}

static int be_promiscuous(struct xmb_port *port)
{
	if (port->opts.no_promisc)
		return 0;
	port->promisc_fd = xmb_nic_promisc_open(port->nic.ifindex);
	if (port->promisc_fd < 0)
		return port->promisc_fd;
	xmb_log(XMB_LOG_INFO,
		"%s: promiscuous mode on, put back at exit (--no-promisc "
		"leaves it alone)",
		port->nic.name);
	return 0;
}

/*
 * In generic mode packets come from behind the kernel's receive offloads, and
 * from a sender on the same machine unsegmented.
 */
static void report_offloads(const struct xmb_port *port)
{
	const struct xmb_nic_info *nic = &port->nic;

	if (port->xdp_mode == XMB_PROG_GENERIC && (nic->gro || nic->lro))
		xmb_log(XMB_LOG_WARN,
			"%s: generic XDP with %s%s%s on: packets merged above "
			"the MTU will be dropped on the way out: ethtool -K "
			"%s gro off lro off",
			nic->name, nic->gro ? "GRO" : "",
			nic->gro && nic->lro ? " and " : "",
			nic->lro ? "LRO" : "", nic->name);
	if (port->xdp_mode == XMB_PROG_GENERIC && nic->tso)
		xmb_log(XMB_LOG_WARN,
			"%s: generic XDP: a peer on this machine with TSO on "
			"sends packets above the MTU, which are dropped on the "
			"way out: ethtool -K PEER tso off gso off",
			nic->name);
	if (!strcmp(nic->driver, "veth"))
		xmb_log(XMB_LOG_INFO,
			"%s: veth: a VLAN tag that the peer leaves to its "
			"device is not in the data: ethtool -K PEER txvlan off",
			nic->name);
	if (xmb_port_has_partial_csum(port))
		xmb_log(XMB_LOG_INFO,
			"%s: %s: checksums that the sender left partial are "
			"completed and counted",
			nic->name,
			port->xdp_mode == XMB_PROG_GENERIC ? "generic XDP"
							   : nic->driver);
}

static int open_sockets(struct xmb_port *port, struct xmb_umem *umem,
			struct xmb_cache *const *caches,
			struct xmb_port_share share)
{
	for (uint32_t i = 0; i < port->queue_cnt; i++) {
		struct xmb_xsk_opts opts = {
			.dev = port->nic.name,
			.ifindex = port->nic.ifindex,
			.queue = port->queues[i],
			.bind = port->opts.bind,
			.mtu = port->nic.mtu,
			.ring_cnt = port->opts.ring_cnt,
			.fill_base = port->opts.fill_base,
			.fill_max = share.fill_max,
			.tx_cap = share.tx_cap,
			.zc_segs_max = port->nic.zc_segs_max,
			.zc_unit = port->nic.zc_unit,
			.frags_max = port->opts.frags_max,
			.busy_poll_us = port->opts.busy_poll_us,
			.busy_poll_budget = port->opts.busy_poll_budget,
			.prefer_busy_poll = port->opts.busy_poll_us > 0,
		};
		int err = xmb_xsk_open(&port->xsks[i], umem, caches[i], &opts);

		if (err)
			return err;
	}
	/* Only when all are there: no packet is taken by a half open port. */
	for (uint32_t i = 0; i < port->queue_cnt; i++) {
		int err = xmb_prog_steer(port->prog, port->queues[i],
					 xmb_xsk_fd(port->xsks[i]));

		if (err)
			return err;
	}
	return 0;
}

/* Of the program: ours has one for each queue, another's may have fewer. */
static uint32_t slots_needed(const struct xmb_port *port)
{
	const struct xmb_prog_source *source = &port->opts.program;
	uint32_t last = 0;

	if (!source->file && !source->xskmap && !source->xskmap_fd)
		return port->nic.rx_queue_cnt;
	for (uint32_t i = 0; i < port->queue_cnt; i++)
		last = xmb_max_u32(last, port->queues[i]);
	return last + 1;
}

int xmb_port_open(struct xmb_port *port, struct xmb_umem *umem,
		  struct xmb_cache *const *caches, struct xmb_port_share share)
{
	struct xmb_prog_opts opts = {
		.dev = port->nic.name,
		.ifindex = port->nic.ifindex,
		.mode = port->opts.xdp,
		.way = port->opts.way,
		.match = port->opts.match,
		.queue_cnt = slots_needed(port),
		.on_exit = port->opts.on_exit,
		.source = port->opts.program,
	};
	int err = be_promiscuous(port);

	if (!err) {
		keep_tags(port);
		err = xmb_prog_attach(&port->prog, &opts);
	}
	if (!err) {
		port->xdp_mode = xmb_prog_mode(port->prog);
		port->xdp_way = xmb_prog_way(port->prog);
		report_offloads(port);
		err = open_sockets(port, umem, caches, share);
	}
	if (!err && port->opts.busy_poll_us)
		port_busy_set(&port->busy, &port->nic, &port->opts);
	if (err) {
		xmb_port_detach(port);
		xmb_port_close(port, caches);
	}
	return err;
}

const struct xmb_nic_info *xmb_port_nic(const struct xmb_port *port)
{
	return &port->nic;
}

uint32_t xmb_port_queue_cnt(const struct xmb_port *port)
{
	return port->queue_cnt;
}

uint32_t xmb_port_tx_cnt(const struct xmb_port *port)
{
	return port->tx_cnt;
}

struct xmb_xsk *xmb_port_xsk(const struct xmb_port *port, uint32_t i)
{
	return port->xsks[i];
}

enum xmb_prog_mode xmb_port_xdp_mode(const struct xmb_port *port)
{
	return port->xdp_mode;
}

enum xmb_prog_way xmb_port_xdp_way(const struct xmb_port *port)
{
	return port->xdp_way;
}

bool xmb_port_has_partial_csum(const struct xmb_port *port)
{
	/* Drivers behind which a sender's own packets arrive as it made them.
	 */
	static const char *const local[] = { "veth", "virtio_net", "tun",
					     "netkit" };

	if (port->xdp_mode != XMB_PROG_NATIVE)
		return true;
	for (size_t i = 0; i < sizeof(local) / sizeof(*local); i++)
		if (!strcmp(port->nic.driver, local[i]))
			return true;
	return false;
}

struct xmb_port_busy xmb_port_busy(const struct xmb_port *port)
{
	struct xmb_port_busy busy = {
		.defer = port->busy.way,
		.napi_cnt = port->busy.got_cnt,
		.napi = port->busy.got,
	};

	for (uint32_t i = 0; i < port->queue_cnt; i++) {
		struct xmb_xsk_busy xsk = xmb_xsk_busy(port->xsks[i]);

		busy.xsk.us = xsk.us;
		busy.xsk.budget = xsk.budget;
		busy.xsk.is_preferred = xsk.is_preferred;
		busy.xsk.napi_id = xmb_or_u32(busy.xsk.napi_id, xsk.napi_id);
		busy.known_cnt += xsk.napi_id != 0;
	}
	return busy;
}

void xmb_port_prog_stats(const struct xmb_port *port,
			 uint64_t values[XMB_PROG_COUNTER_CNT])
{
	memset(values, 0, XMB_PROG_COUNTER_CNT * sizeof(*values));
	if (port->prog)
		xmb_prog_stats(port->prog, values);
}

bool xmb_port_has_prog_stats(const struct xmb_port *port)
{
	return port->prog && xmb_prog_has_counters(port->prog);
}

int xmb_port_commit(struct xmb_port *port)
{
	return xmb_prog_commit(port->prog);
}

/* Who has chosen some of the queues has left out the others by himself. */
static int check_queues(const struct xmb_port *port)
{
	const struct xmb_nic_info *nic = &port->nic;
	uint32_t rx_cnt, tx_cnt;

	if (port->queue_cnt < nic->rx_queue_cnt ||
	    xmb_nic_queue_cnt(nic->ifindex, &rx_cnt, &tx_cnt) ||
	    rx_cnt <= nic->rx_queue_cnt)
		return 0;
	xmb_log(XMB_LOG_ERROR,
		"%s: somebody had it receive on %u queues; on %u it did at the "
		"start, and what comes on the others no socket sees: start "
		"again to have them all, or put it back (ethtool -L)",
		nic->name, rx_cnt, nic->rx_queue_cnt);
	return -ECHRNG;
}

int xmb_port_check(const struct xmb_port *port)
{
	int err = xmb_prog_check(port->prog);

	return err ? err : check_queues(port);
}

void xmb_port_detach(struct xmb_port *port)
{
	if (port->prog)
		xmb_prog_detach(port->prog);
}

void xmb_port_close(struct xmb_port *port, struct xmb_cache *const *caches)
{
	for (uint32_t i = 0; i < port->queue_cnt; i++)
		if (port->xsks[i])
			xmb_xsk_close(port->xsks[i], caches[i]);
	put_back(port);
}

int xmb_port_settle(struct xmb_port *port, struct xmb_cache *cache)
{
	int err = 0;

	for (uint32_t i = 0; i < port->queue_cnt; i++)
		if (port->xsks[i] && xmb_xsk_settle(port->xsks[i], cache))
			err = -EAGAIN;
	return err;
}

void xmb_port_destroy(struct xmb_port *port)
{
	if (!port)
		return;
	for (uint32_t i = 0; i < port->queue_cnt; i++)
		xmb_xsk_destroy(port->xsks[i]);
	xmb_prog_destroy(port->prog);
	free(port);
}
