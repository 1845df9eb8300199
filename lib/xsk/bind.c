/* SPDX-License-Identifier: BSD-2-Clause */
#include "xsk/xsk_priv.h"

#include "base/clock.h"
#include "base/log.h"

#include <errno.h>
#include <sys/socket.h>
#include <unistd.h>

/* A socket's mode: what to ask the kernel for, in which order, what it gave. */

enum {
	FRAGS_MAX_COPY = 17, /* MAX_SKB_FRAGS may be configured down to it */
	FRAGS_MAX_ZC = 5,    /* of a device that does not tell */
};

static int bind_once(struct xmb_xsk *xsk, uint16_t flags, uint64_t deadline_ns)
{
	struct sockaddr_xdp addr = {
		.sxdp_family = AF_XDP,
		.sxdp_flags = flags,
		.sxdp_ifindex = (uint32_t)xsk->opts.ifindex,
		.sxdp_queue_id = xsk->opts.queue,
	};

	while (bind(xsk->fd, (struct sockaddr *)&addr, sizeof(addr))) {
		int err = -errno;

		if (err == -EINTR)
			continue;
		if (err != -EBUSY || xmb_clock_ns() >= deadline_ns)
			return err;
		usleep(XSK_RETRY_US);
	}
	xsk->mode.is_sg = flags & XDP_USE_SG;
	return 0;
}

static int refuse_bind(const struct xmb_xsk *xsk, int err)
{
	switch (err) {
	case -EBUSY:
		return xsk_refuse(
			xsk, err, "bind",
			"another AF_XDP socket has this queue: end that "
			"program or choose another queue");
	case -ENODEV:
		return xsk_refuse(xsk, err, "bind", "the device is gone");
	case -EINVAL:
		return xsk_refuse(
			xsk, err, "bind",
			"has the device this queue? (ethtool -l shows "
			"how many)");
	case -ENETDOWN:
		return xsk_refuse(xsk, err, "bind",
				  "the link is down: ip link set it up");
	case -EOPNOTSUPP:
		return xsk_refuse(
			xsk, err, "bind",
			xsk->opts.bind == XMB_XSK_ZC
				? "the driver has no zero copy: use auto or "
				  "copy"
				: "the driver lacks XDP");
	default:
		return xsk_refuse(xsk, err, "bind",
				  "try again; the kernel's log (dmesg) may say "
				  "more");
	}
}

/*
 * Where zero copy would cut packets in two, it is not to be had.  True if so,
 * with words: an auto bind goes on in copy mode.
 */
static bool would_cut(const struct xmb_xsk *xsk, uint32_t room)
{
	uint32_t unit = xmb_or_u32(xsk->opts.zc_unit, 1);
	uint32_t zc_room = room - room % unit;
	bool is_auto = xsk->opts.bind == XMB_XSK_AUTO;

	if (xsk->opts.bind == XMB_XSK_COPY || xsk->packet_max <= zc_room ||
	    zc_room == room)
		return false;
	xmb_log(is_auto ? XMB_LOG_WARN : XMB_LOG_ERROR,
		"%s: in zero copy its driver fills %u bytes of a frame of %u "
		"and cuts longer packets in two: MTU %u needs larger frames%s",
		xsk->dev, zc_room, xsk->umem->pool.domain.region_len,
		xsk->opts.mtu, is_auto ? "; taking copy mode" : "");
	return true;
}

/*
 * A device writes to physical memory: a frame that lies across two pages that
 * are not neighbours there is refused entry by entry, and nothing would be
 * received.  True if so, with words, as would_cut().
 */
static bool would_cross(const struct xmb_xsk *xsk)
{
	bool is_zc = xsk->opts.bind == XMB_XSK_ZC;

	if (!xsk->umem->is_unaligned || xsk->umem->is_contig ||
	    xmb_is_pow2(xsk->umem->pool.domain.region_len) ||
	    xsk->opts.bind == XMB_XSK_COPY)
		return false;
	if (is_zc || xsk->opts.zc_segs_max)
		xmb_log(is_zc ? XMB_LOG_ERROR : XMB_LOG_WARN,
			"%s: frames of %u bytes lie across pages, which zero "
			"copy takes only in hugepages (vm.nr_hugepages), or "
			"use frames of 2048 or 4096 bytes%s",
			xsk->dev, xsk->umem->pool.domain.region_len,
			is_zc ? "" : "; taking copy mode");
	return true;
}

/*
 * A device may have zero copy only for packets of one buffer, and then an
 * auto bind with XDP_USE_SG ends in copy mode: while packets fit a frame, try
 * zero copy without it first.
 */
static int bind_mode(struct xmb_xsk *xsk, uint64_t deadline_ns)
{
	const uint16_t base =
		xsk->opts.no_need_wakeup ? 0 : XDP_USE_NEED_WAKEUP;
	uint32_t room = xsk_data_room(xsk);
	bool needs_sg = xsk->packet_max > room;
	uint16_t force = xsk->opts.bind == XMB_XSK_COPY ? XDP_COPY
			 : xsk->opts.bind == XMB_XSK_ZC ? XDP_ZEROCOPY
							: 0;
	int err;

	if (would_cross(xsk) || would_cut(xsk, room)) {
		if (xsk->opts.bind == XMB_XSK_ZC)
			return -EMSGSIZE;
		force = XDP_COPY;
	}
	if (force != XDP_COPY && !needs_sg) {
		err = bind_once(xsk, base | XDP_ZEROCOPY | XDP_USE_SG,
				deadline_ns);
		if (err == -EINVAL || err == -EOPNOTSUPP)
			err = bind_once(xsk, base | XDP_ZEROCOPY, deadline_ns);
		if (!err || err == -EBUSY)
			return err;
	}
	err = bind_once(xsk, base | force | XDP_USE_SG, deadline_ns);
	if (!err || err == -EBUSY || (err != -EINVAL && err != -EOPNOTSUPP))
		return err;
	if (!needs_sg)
		return bind_once(xsk, base | force, deadline_ns);
	xmb_log(XMB_LOG_ERROR,
		"%s: MTU %u does not fit a frame of %u bytes (%u for data), "
		"and this kernel or driver gave no multi-buffer (Linux 6.6): "
		"lower the MTU, or use larger frames if that is enough",
		xsk->dev, xsk->opts.mtu, xsk->umem->pool.domain.region_len,
		room);
	return -EMSGSIZE;
}

/*
 * Where the driver takes the frames' pages as they are (virtio_net) it is pages
 * that are counted, and a frame may lie across two.
 */
static uint32_t frags_max(const struct xmb_xsk *xsk)
{
	if (!xsk->mode.is_sg)
		return 1;
	if (!xsk->mode.is_zc)
		return xsk->umem->is_unaligned ? FRAGS_MAX_COPY / 2
					       : FRAGS_MAX_COPY;
	return xmb_or_u32(xsk->opts.zc_segs_max, FRAGS_MAX_ZC);
}

int xsk_bind(struct xmb_xsk *xsk, uint64_t deadline_ns)
{
	struct xdp_options options = { 0 };
	socklen_t len = sizeof(options);
	uint64_t start_ns = xmb_clock_ns();
	int err = xsk->first == xsk ? bind_mode(xsk, deadline_ns)
				    : xsk_share_bind(xsk);

	if (err == -EMSGSIZE) /* said already */
		return -EOPNOTSUPP;
	if (err)
		return refuse_bind(xsk, err);
	xsk->is_bound = true;
	xsk->mode.busy_ms =
		(uint32_t)((xmb_clock_ns() - start_ns) / XMB_NS_PER_MS);
	/* What holds for copy mode would be wrong for zero copy. */
	if (getsockopt(xsk->fd, SOL_XDP, XDP_OPTIONS, &options, &len))
		return xsk_refuse(
			xsk, -errno, "ask whether it is zero copy",
			"Linux 5.3 is needed; try again if it is that");
	xsk->mode.is_zc = options.flags & XDP_OPTIONS_ZEROCOPY;
	xsk->mode.frags_max = frags_max(xsk);
	if (xsk->opts.frags_max)
		xsk->mode.frags_max =
			xmb_min_u32(xsk->mode.frags_max, xsk->opts.frags_max);
	return 0;
}
