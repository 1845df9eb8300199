/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * lib/port: what it refuses before anything is changed, what opening changes on
 * a device, and that closing, or a failure on the way, puts it all back.
 */
#include "port_lab.h"

#include "base/clock.h"

TestSuite(port, .init = port_lab_setup, .timeout = 300);

/* 0: none; else the id of the XDP program on the device. */
static uint32_t xdp_on(const char *dev)
{
	struct bpf_xdp_query_opts xdp = { .sz = sizeof(xdp) };

	cr_assert(eq(int, bpf_xdp_query((int)if_nametoindex(dev), 0, &xdp), 0));
	return xdp.prog_id;
}

static void expect_refused_create(const struct xmb_port_opts *opts, int err,
				  const char *part)
{
	struct xmb_port *const before = (struct xmb_port *)8, *out = before;

	forget_said();
	cr_expect(eq(int, xmb_port_create(&out, opts), err), "%s", part);
	cr_expect(eq(ptr, out, before));
	expect_said(XMB_LOG_ERROR, part);
}

Test(port, refuses_a_device_that_is_not_there)
{
	expect_refused_create(&(struct xmb_port_opts){ .dev = "nosuch" },
			      -ENODEV, "nosuch");
}

Test(port, refuses_a_link_that_is_down)
{
	must("ip link set left down");
	expect_refused_create(&(struct xmb_port_opts){ .dev = "left" },
			      -ENETDOWN, "ip link set left up");
}

Test(port, refuses_more_queues_than_the_device_has)
{
	struct xmb_port_opts opts = { .dev = "left", .queue_cnt = 5 };

	expect_refused_create(&opts, -EINVAL, "the device receives on 4");
	opts.queue_cnt = 65;
	expect_refused_create(&opts, -EINVAL, "at most 64");
	opts.queue_cnt = UINT32_MAX;
	expect_refused_create(&opts, -EINVAL, "at most 64");
}

Test(port, refuses_a_list_of_queues_that_cannot_be)
{
	static const uint32_t beyond[] = { 0, 4 }, twice[] = { 1, 3, 1 },
			      mute[] = { 2, 3 };
	struct xmb_port_opts opts = { .dev = "left" };

	opts.queues = beyond;
	opts.queue_cnt = 2;
	expect_refused_create(&opts, -EINVAL, "queue 4 was asked for");
	opts.queues = twice;
	opts.queue_cnt = 3;
	expect_refused_create(&opts, -EINVAL, "queue 1 is named twice");
	opts.queues = mute;
	opts.queue_cnt = 2;
	expect_refused_create(&opts, -EINVAL,
			      "none of the queues chosen can send");
}

Test(port, takes_all_queues_when_none_is_named_and_counts_the_senders)
{
	struct xmb_port *port =
		create(&(struct xmb_port_opts){ .dev = "left" });

	cr_expect(eq(u32, xmb_port_queue_cnt(port), 4));
	cr_expect(eq(u32, xmb_port_tx_cnt(port), 2));
	cr_expect(eq(str, (char *)xmb_port_nic(port)->name, "left"));
	cr_expect(eq(int, said_cnt(XMB_LOG_WARN), 0));
	xmb_port_destroy(port);
	xmb_port_destroy(NULL);
}

Test(port, warns_of_queues_that_go_to_the_kernel)
{
	struct xmb_port_opts opts = { .dev = "left", .queue_cnt = 3 };

	xmb_port_destroy(create(&opts));
	expect_said(XMB_LOG_WARN, "receiving on 3 of 4 queues");
}

Test(port, puts_those_queues_first_that_can_send)
{
	static const uint32_t queues[] = { 3, 1, 2, 0 };
	static const uint32_t sorted[] = { 1, 0, 3, 2 };
	struct xmb_port_opts opts = { .dev = "left",
				      .queues = queues,
				      .queue_cnt = 4 };
	struct xmb_port *port = open_port(&opts);

	cr_expect(eq(u32, xmb_port_tx_cnt(port), 2));
	for (uint32_t i = 0; i < 4; i++)
		cr_expect(eq(u32, xmb_xsk_queue(xmb_port_xsk(port, i)),
			     sorted[i]));
	close_port(port);
	lab_finish();
}

Test(port, creating_changes_nothing)
{
	struct xmb_nic_info before = left_now(), after;
	struct xmb_port *port =
		create(&(struct xmb_port_opts){ .dev = "left" });

	after = left_now();
	cr_expect(after.vlan_strip);
	cr_expect(eq(u32, after.promisc_cnt, before.promisc_cnt));
	cr_expect(eq(u32, xdp_on("left"), 0));
	cr_expect(eq(u32, lab_free_cnt(), 4096));
	xmb_port_destroy(port);
}

Test(port, open_keeps_tags_and_is_promiscuous_until_close)
{
	struct xmb_nic_info before = left_now(), now;
	struct xmb_port *port;

	cr_assert(before.vlan_strip);
	port = open_port(&(struct xmb_port_opts){ .dev = "left" });
	now = left_now();
	cr_expect(not(now.vlan_strip));
	cr_expect(eq(u32, now.promisc_cnt, before.promisc_cnt + 1));
	cr_expect(gt(u32, xdp_on("left"), 0));
	cr_expect(eq(int, xmb_port_xdp_mode(port), XMB_PROG_NATIVE));
	cr_expect(xmb_port_has_partial_csum(port));
	expect_said(XMB_LOG_INFO, "VLAN stripping (rx-vlan-hw-parse) switched");
	expect_said(XMB_LOG_INFO, "promiscuous mode on, put back at exit");
	close_port(port);
	now = left_now();
	cr_expect(now.vlan_strip);
	cr_expect(eq(u32, now.promisc_cnt, before.promisc_cnt));
	cr_expect(eq(u32, xdp_on("left"), 0));
	lab_finish();
}

Test(port, what_was_off_before_is_off_afterwards)
{
	struct xmb_nic_info now;

	must("ethtool -K left rx-vlan-hw-parse off");
	close_port(open_port(&(struct xmb_port_opts){ .dev = "left" }));
	now = left_now();
	cr_expect(not(now.vlan_strip));
	cr_expect(eq(ptr, (void *)said(XMB_LOG_INFO, "VLAN stripping (rx-vlan"
						     "-hw-parse) switched"),
		     NULL));
	expect_said(XMB_LOG_INFO, "VLAN stripping (rx-vlan-hw-parse) is off");
	expect_said(XMB_LOG_INFO, "ethtool -K left rx-vlan-hw-parse on");
	lab_finish();
}

Test(port, no_promisc_leaves_the_device_as_it_is)
{
	struct xmb_port_opts opts = { .dev = "left", .no_promisc = true };
	uint32_t before = left_now().promisc_cnt;
	struct xmb_port *port = open_port(&opts);

	cr_expect(eq(u32, left_now().promisc_cnt, before));
	cr_expect(eq(ptr, (void *)said(XMB_LOG_INFO, "promisc"), NULL));
	close_port(port);
	lab_finish();
}

Test(port, generic_mode_says_what_the_offloads_do_to_it)
{
	struct xmb_port_opts opts = { .dev = "left", .xdp = XMB_PROG_GENERIC };
	struct xmb_port *port;

	must("ethtool -K left gro on tso on");
	port = open_port(&opts);
	cr_expect(eq(int, xmb_port_xdp_mode(port), XMB_PROG_GENERIC));
	expect_said(XMB_LOG_WARN, "generic XDP with GRO on");
	expect_said(XMB_LOG_WARN, "a peer on this machine with TSO");
	cr_expect(xmb_port_has_partial_csum(port));
	close_port(port);
	lab_finish();
}

/* Open must fail; the device and the frames are then as before. */
static void expect_refused_open(const struct xmb_port_opts *opts, int err,
				const char *part)
{
	struct xmb_nic_info before = left_now(), now;
	uint32_t prog_id = xdp_on("left"), free_cnt = lab_free_cnt();
	struct xmb_port *port = create(opts);

	cr_expect(eq(int, xmb_port_open(port, lab.umem, caches, share), err));
	expect_said(XMB_LOG_ERROR, part);
	now = left_now();
	cr_expect(eq(int, now.vlan_strip, before.vlan_strip));
	cr_expect(eq(u32, now.promisc_cnt, before.promisc_cnt));
	cr_expect(eq(u32, xdp_on("left"), prog_id));
	settle(port);
	xmb_port_destroy(port);
	cr_expect(eq(u32, lab_free_cnt(), free_cnt));
}

Test(port, a_program_of_somebody_else_is_left_alone)
{
	struct xmb_port_opts opts = { .dev = "left" };
	struct xmb_port *first = open_port(&opts);

	expect_refused_open(&opts, -EBUSY, "left");
	cr_expect(gt(u32, xdp_on("left"), 0));
	close_port(first);
	lab_finish();
}

Test(port, a_queue_that_is_bound_undoes_the_sockets_opened_before_it)
{
	struct xmb_port_opts opts = { .dev = "left" };
	struct xmb_xsk_opts xsk_opts = lab_opts("left");
	struct xmb_xsk *xsk;

	xsk_opts.queue = 2;
	xsk = lab_open(&xsk_opts);
	expect_refused_open(&opts, -EBUSY, "another AF_XDP socket has this");
	lab_close(xsk);
	close_port(open_port(&opts));
	lab_finish();
}

Test(port, zero_copy_that_veth_has_not_is_refused)
{
	expect_refused_open(
		&(struct xmb_port_opts){ .dev = "left", .bind = XMB_XSK_ZC },
		-EOPNOTSUPP, "use auto or copy");
	lab_finish();
}

Test(port, too_few_frames_are_refused_by_the_socket_that_lacks_them)
{
	static struct xmb_chunk all[4096];
	uint32_t cnt = 0;

	while (lab_free_cnt() > 600)
		cr_assert(eq(int, xmb_chunk_alloc(&lab.cache, &all[cnt++]), 0));
	expect_refused_open(&(struct xmb_port_opts){ .dev = "left" }, -ENOBUFS,
			    "left queue 2: 256 frames are needed");
	xmb_chunk_release_bulk(all, cnt, &lab.cache);
	lab_finish();
}

/* What arrived on any socket of the port. */
static uint32_t recv_any(struct xmb_port *port, uint32_t want)
{
	uint64_t end_ns = xmb_clock_ns() + WAIT_MS * XMB_NS_PER_MS;
	struct xmb_multibuf mbs[16];
	uint32_t got = 0;

	while (got < want && xmb_clock_ns() < end_ns)
		for (uint32_t i = 0; i < xmb_port_queue_cnt(port); i++) {
			uint32_t n = xmb_xsk_recv(xmb_port_xsk(port, i),
						  &lab.cache, mbs, 16);

			xmb_multibuf_release_bulk(mbs, n, &lab.cache);
			got += n;
		}
	return got;
}

Test(port, what_matches_is_received_and_what_not_is_counted_as_passed)
{
	struct xmb_port_opts opts = { .dev = "left" };
	uint64_t values[XMB_PROG_COUNTER_CNT];
	struct xmb_port *port;
	int tap = tap_open("ltap");

	cr_assert(eq(int, xmb_match_parse(&opts.match, "ether 0x88b5"), 0));
	port = open_port(&opts);
	for (uint32_t i = 0; i < 10; i++)
		tap_send_made(tap, 100, i);
	tap_send(tap, (uint8_t[60]){ 2, 0, 0, 0, 0, 2, 2, 0, 0, 0, 0, 1, 8, 0 },
		 60);
	cr_expect(eq(u32, recv_any(port, 10), 10));
	for (int i = 0; i < WAIT_MS; i++) {
		xmb_port_prog_stats(port, values);
		if (values[XMB_PROG_PASSED])
			break;
		usleep(1000);
	}
	cr_expect(eq(u64, values[XMB_PROG_MATCHED], 10));
	cr_expect(eq(u64, values[XMB_PROG_PASSED], 1));
	/* After detach nothing comes any more; the counts stay. */
	xmb_port_detach(port);
	tap_send_made(tap, 100, 11);
	usleep(50000);
	cr_expect(not(xmb_xsk_has_rx(xmb_port_xsk(port, 0))));
	memset(values, 0, sizeof(values));
	xmb_port_prog_stats(port, values);
	cr_expect(eq(u64, values[XMB_PROG_MATCHED], 10));
	cr_expect(eq(u64, values[XMB_PROG_PASSED], 1));
	close_port(port);
	lab_finish();
}

Test(port, a_device_that_is_deleted_gives_all_frames_back)
{
	struct xmb_port *port =
		open_port(&(struct xmb_port_opts){ .dev = "left" });

	must("ip link del left");
	close_port(port);
	cr_expect(eq(int, said_cnt(XMB_LOG_ERROR), 0));
	lab_finish();
}
