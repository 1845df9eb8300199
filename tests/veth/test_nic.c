/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * lib/nic/nic: what is said of a device is what was made, and what is changed
 * can be put back.  The devices: nic_lab.h.
 */
#include "nic/nic.h"

#include "nic_lab.h"

#include <fcntl.h>
#include <linux/ethtool.h>
#include <linux/if_packet.h>
#include <linux/sockios.h>
#include <signal.h>
#include <sys/ioctl.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

enum { NO_IFINDEX = 9999, NOBODY = 65534 };

TestSuite(nic, .init = lab_setup, .timeout = 300);

/* What the older ioctl says: an oracle that shares no code with the library. */
static bool strips_vlan(const char *dev)
{
	struct ethtool_value value = { .cmd = ETHTOOL_GFLAGS };
	struct ifreq req = { .ifr_data = (char *)&value };
	int fd = socket(AF_INET, SOCK_DGRAM, 0);

	snprintf(req.ifr_name, sizeof(req.ifr_name), "%s", dev);
	cr_assert(eq(int, ioctl(fd, SIOCETHTOOL, &req), 0));
	close(fd);
	return value.data & ETH_FLAG_RXVLAN;
}

/* Returns how many the device took. */
static int send_frames(const char *dev, int cnt, size_t len)
{
	struct sockaddr_ll to = {
		.sll_family = AF_PACKET,
		.sll_ifindex = (int)if_nametoindex(dev),
	};
	uint8_t frame[256] = { 2, 0, 0, 0, 0, 1, 2, 0, 0, 0, 0, 2, 0x88, 0xb5 };
	int taken_cnt = 0, fd = socket(AF_PACKET, SOCK_RAW, 0);

	for (int i = 0; i < cnt; i++)
		taken_cnt += sendto(fd, frame, len, 0, (struct sockaddr *)&to,
				    sizeof(to)) == (ssize_t)len;
	close(fd);
	return taken_cnt;
}

Test(nic, query_tells_how_the_device_was_made)
{
	struct xmb_nic_info info = query("xv0");
	uint8_t mac[6] = { 2, 0, 0, 0, 0, 1 };

	cr_expect(eq(int, info.ifindex, xv0));
	cr_expect(eq(str, info.name, "xv0"));
	cr_expect(eq(str, info.driver, "veth"));
	cr_expect(zero(int, memcmp(info.mac, mac, sizeof(mac))));
	cr_expect(eq(u32, info.mtu, 1500));
	cr_expect(eq(u32, info.rx_queue_cnt, 4));
	cr_expect(eq(u32, info.tx_queue_cnt, 2));
	cr_expect(eq(u32, info.zc_segs_max, 0));
	cr_expect(eq(u32, info.zc_unit, 1));
	cr_expect(eq(u32, info.promisc_cnt, 0));
	cr_expect(not(info.up));
	cr_expect(not(info.running));

	info = query("xv1");
	cr_expect(eq(u32, info.rx_queue_cnt, 2));
	cr_expect(eq(u32, info.tx_queue_cnt, 4));
}

Test(nic, query_tells_queues_in_use_not_queues_allocated)
{
	struct xmb_nic_info info;

	sh("ethtool -L xv0 rx 1 tx 1");
	info = query("xv0");
	cr_expect(eq(u32, info.rx_queue_cnt, 1));
	cr_expect(eq(u32, info.tx_queue_cnt, 1));
}

Test(nic, the_number_of_queues_is_asked_alone)
{
	struct xmb_nic_info info = query("xv0");
	uint32_t rx_cnt = 0, tx_cnt = 0;

	sh("ethtool -L xv0 rx 3 tx 1");
	cr_expect(eq(int, xmb_nic_queue_cnt(info.ifindex, &rx_cnt, &tx_cnt),
		     0));
	cr_expect(eq(u32, rx_cnt, 3));
	cr_expect(eq(u32, tx_cnt, 1));
	cr_expect(eq(int, xmb_nic_queue_cnt(NO_IFINDEX, &rx_cnt, &tx_cnt),
		     -ENODEV));
	cr_expect(eq(u32, rx_cnt, 3));
}

Test(nic, query_tells_up_from_running)
{
	struct xmb_nic_info info;

	sh("ip link set xv0 up mtu 9000");
	info = query("xv0");
	cr_expect(info.up);
	cr_expect(not(info.running));
	cr_expect(eq(u32, info.mtu, 9000));
	sh("ip link set xv1 up");
	cr_expect(query("xv0").running);
	sh("ip link set xv0 down");
	info = query("xv0");
	cr_expect(not(info.up));
	cr_expect(not(info.running));
}

Test(nic, query_follows_each_feature)
{
	static const struct {
		const char *ethtool;
		size_t off;
	} rows[] = {
		{ "rxvlan", offsetof(struct xmb_nic_info, vlan_strip) },
		{ "rx-vlan-stag-hw-parse",
		  offsetof(struct xmb_nic_info, vlan_stag_strip) },
		{ "gro", offsetof(struct xmb_nic_info, gro) },
		{ "tso", offsetof(struct xmb_nic_info, tso) },
		{ "rx", offsetof(struct xmb_nic_info, rx_csum) },
		{ "tx", offsetof(struct xmb_nic_info, tx_csum) },
	};

	cr_expect(not(query("xv0").lro));
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		struct xmb_nic_info info;
		const bool *field = (bool *)((char *)&info + rows[i].off);

		sh("ethtool -K xv0 %s off >/dev/null", rows[i].ethtool);
		info = query("xv0");
		cr_expect(not(field[0]), "%s", rows[i].ethtool);
		sh("ethtool -K xv0 tx on %s on >/dev/null", rows[i].ethtool);
		info = query("xv0");
		cr_expect(field[0], "%s", rows[i].ethtool);
	}
}

Test(nic, device_without_channels_or_driver_is_described_too)
{
	struct xmb_nic_info info = query("lo");
	uint8_t none[6] = { 0 };

	cr_expect(eq(u32, info.rx_queue_cnt, 1));
	cr_expect(eq(u32, info.tx_queue_cnt, 1));
	cr_expect(zero(int, memcmp(info.mac, none, sizeof(none))));
	cr_expect(eq(u32, info.mtu, 65536));
	cr_expect(eq(str, info.driver, ""));
}

Test(nic, unknown_device_is_refused_in_words_and_changes_nothing)
{
	const char *names[] = { "xv9", "", "a-name-of-16-byte",
				"no/such\ndevice" };

	for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
		struct xmb_nic_info info = { .ifindex = 77 };

		said[0] = 0;
		cr_expect(eq(int, xmb_nic_query(names[i], &info), -ENODEV));
		cr_expect(eq(int, info.ifindex, 77));
		cr_expect(has_said("ip link"), "%s", said);
		cr_expect(has_said(names[i]), "%s", said);
	}
}

Test(nic, query_asks_the_namespace_of_its_thread)
{
	struct xmb_nic_info info;

	cr_assert(eq(int, unshare(CLONE_NEWNET), 0));
	cr_expect(eq(int, xmb_nic_query("xv0", &info), -ENODEV));
	cr_expect(eq(u32, query("lo").tx_queue_cnt, 1));
}

Test(nic, vlan_stripping_goes_off_and_is_put_back)
{
	cr_assert(query("xv0").vlan_strip);
	cr_assert(strips_vlan("xv0"));
	for (int i = 0; i < 2; i++) { /* the second time it is so already */
		cr_expect(
			eq(int,
			   xmb_nic_set_feature(xv0, "rx-vlan-hw-parse", false),
			   0));
		cr_expect(not(strips_vlan("xv0")));
		cr_expect(not(query("xv0").vlan_strip));
		cr_expect(query("xv0").vlan_strip_off);
	}
	cr_expect(not(query("xv0").vlan_stag_strip_off));
	cr_expect(not(query("lo").vlan_strip_off), "it has none");
	cr_expect(query("xv0").vlan_stag_strip, "took another one with it");
	cr_expect(strips_vlan("xv1"), "changed another device");

	cr_expect(
		eq(int, xmb_nic_set_feature(xv0, "rx-vlan-hw-parse", true), 0));
	cr_expect(strips_vlan("xv0"));
	cr_expect(query("xv0").vlan_strip);
	cr_expect(not(query("xv0").vlan_strip_off));
}

Test(nic, fixed_feature_is_refused_in_words)
{
	cr_expect(
		eq(int, xmb_nic_set_feature(xv0, "rx-lro", true), -EOPNOTSUPP));
	cr_expect(has_said("xv0") && has_said("rx-lro"), "%s", said);
	cr_expect(not(query("xv0").lro));
	cr_expect(eq(int, xmb_nic_set_feature(xv0, "rx-lro", false), 0),
		  "it is off as asked");
	/* Not the device's to offer: the kernel would call it a bad value. */
	cr_expect(eq(int, xmb_nic_set_feature(xv0, "vlan-challenged", true),
		     -EOPNOTSUPP));
}

/* The kernel drops segmentation while there is no scatter-gather. */
Test(nic, feature_the_kernel_takes_back_is_refused_and_not_left_wanted)
{
	sh("ethtool -K xv0 tx-tcp-segmentation off tx-tcp6-segmentation off "
	   "tx-scatter-gather off >/dev/null");
	cr_assert(not(query("xv0").tso));
	cr_expect(eq(int, xmb_nic_set_feature(xv0, "tx-tcp-segmentation", true),
		     -EOPNOTSUPP));
	sh("ethtool -K xv0 tx-scatter-gather on >/dev/null");
	cr_expect(not(query("xv0").tso), "the refused request came true later");
	cr_expect(eq(int, xmb_nic_set_feature(xv0, "tx-tcp-segmentation", true),
		     0));
	cr_expect(query("xv0").tso);
}

Test(nic, unknown_feature_and_device_are_refused)
{
	cr_expect(
		eq(int, xmb_nic_set_feature(xv0, "rx-no-such", true), -EINVAL));
	cr_expect(has_said("rx-no-such"), "%s", said);
	cr_expect(eq(int, xmb_nic_set_feature(NO_IFINDEX, "rx-gro", true),
		     -ENODEV));
	cr_expect(has_said("#9999"), "%s", said);
	cr_expect(eq(int, xmb_nic_set_feature(0, "rx-gro", true), -ENODEV));
	cr_expect(eq(int, xmb_nic_set_feature(-1, "rx-gro", true), -ENODEV));
}

Test(nic, without_privilege_one_may_ask_but_not_change)
{
	cr_assert(eq(int, seteuid(NOBODY), 0));
	cr_expect(eq(u32, query("xv0").rx_queue_cnt, 4));
	cr_expect(eq(int, xmb_nic_set_feature(xv0, "rx-vlan-hw-parse", false),
		     -EPERM));
	cr_expect(has_said("CAP_NET_ADMIN"), "%s", said);
	cr_expect(
		eq(int, xmb_nic_set_feature(xv0, "rx-vlan-hw-parse", true), 0),
		"it is on as asked");
	cr_expect(
		eq(int, xmb_nic_set_feature(xv0, "rx-lro", true), -EOPNOTSUPP),
		"privilege would not help");
	cr_expect(eq(int, xmb_nic_promisc_open(xv0), -EPERM));
	cr_expect(has_said("CAP_NET_RAW"), "%s", said);
	cr_expect(strips_vlan("xv0"));
	cr_expect(eq(u32, query("xv0").promisc_cnt, 0));
	/* A leak checker reads /proc/self at the end. */
	cr_assert(eq(int, seteuid(0), 0));
	prctl(PR_SET_DUMPABLE, 1);
}

Test(nic, promiscuity_lasts_as_long_as_its_descriptors)
{
	int a = xmb_nic_promisc_open(xv0), b = xmb_nic_promisc_open(xv0);
	char byte;

	cr_assert(ge(int, a, 0));
	cr_assert(ge(int, b, 0));
	cr_expect(eq(u32, query("xv0").promisc_cnt, 2));
	cr_expect(eq(u32, query("xv1").promisc_cnt, 0));
	cr_expect(eq(int, fcntl(a, F_GETFD) & FD_CLOEXEC, FD_CLOEXEC));

	sh("ip link set xv0 up && ip link set xv1 up");
	cr_assert(eq(int, send_frames("xv1", 3, 60), 3));
	cr_expect(eq(int, (int)recv(a, &byte, 1, MSG_DONTWAIT), -1));
	close(a);
	cr_expect(eq(u32, query("xv0").promisc_cnt, 1));
	close(b);
	cr_expect(eq(u32, query("xv0").promisc_cnt, 0));
}

Test(nic, promiscuity_ends_with_a_killed_process)
{
	int ready[2];
	char byte;
	pid_t pid;

	cr_assert(eq(int, pipe(ready), 0));
	pid = fork();
	if (pid == 0) {
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		byte = xmb_nic_promisc_open(xv0) >= 0;
		if (write(ready[1], &byte, 1) == 1)
			pause();
		_exit(1);
	}
	cr_assert(eq(int, (int)read(ready[0], &byte, 1), 1));
	cr_assert(eq(chr, byte, 1));
	cr_expect(eq(u32, query("xv0").promisc_cnt, 1));
	kill(pid, SIGKILL);
	waitpid(pid, NULL, 0);
	cr_expect(eq(u32, query("xv0").promisc_cnt, 0));
}

Test(nic, promiscuity_of_no_device_is_refused)
{
	cr_expect(eq(int, xmb_nic_promisc_open(NO_IFINDEX), -ENODEV));
	cr_expect(eq(int, xmb_nic_promisc_open(-1), -ENODEV));
	cr_expect(has_said("promiscuous"), "%s", said);
}

Test(nic, link_stats_count_what_passed)
{
	struct xmb_nic_link_stats was, is;

	sh("ip link set xv0 up && ip link set xv1 up");
	cr_assert(eq(int, xmb_nic_link_stats(xv0, &was), 0));
	cr_assert(eq(int, send_frames("xv1", 10, 100), 10));
	cr_assert(eq(int, send_frames("xv0", 7, 60), 7));
	cr_assert(eq(int, xmb_nic_link_stats(xv0, &is), 0));
	cr_expect(eq(u64, is.rx_packets - was.rx_packets, 10));
	cr_expect(eq(u64, is.rx_bytes - was.rx_bytes, 1000));
	cr_expect(eq(u64, is.tx_packets - was.tx_packets, 7));
	cr_expect(eq(u64, is.tx_bytes - was.tx_bytes, 420));
	cr_expect(eq(u64, is.rx_errors - was.rx_errors, 0));
	cr_expect(eq(u64, is.tx_dropped - was.tx_dropped, 0));

	/* The far end drops what is longer than its mtu, and we count it. */
	sh("ip link set xv1 mtu 200");
	cr_assert(eq(int, send_frames("xv0", 5, 250), 0));
	cr_assert(eq(int, xmb_nic_link_stats(xv0, &is), 0));
	cr_expect(eq(u64, is.tx_dropped - was.tx_dropped, 5));
}

Test(nic, link_stats_of_no_device_are_refused)
{
	struct xmb_nic_link_stats stats = { .rx_packets = 77 };

	cr_expect(eq(int, xmb_nic_link_stats(NO_IFINDEX, &stats), -ENODEV));
	cr_expect(eq(int, xmb_nic_link_stats(0, &stats), -ENODEV));
	cr_expect(eq(u64, stats.rx_packets, 77));
	cr_expect(has_said("counters"), "%s", said);
}

Test(nic, is_gone_is_told_of_what_is_gone_and_not_of_what_cannot_be_asked)
{
	struct rlimit limit, none;

	cr_expect(not(xmb_nic_is_gone(xv0)));
	cr_expect(xmb_nic_is_gone(NO_IFINDEX));
	cr_assert(eq(int, getrlimit(RLIMIT_NOFILE, &limit), 0));
	none = (struct rlimit){ .rlim_max = limit.rlim_max };
	cr_assert(eq(int, setrlimit(RLIMIT_NOFILE, &none), 0));
	cr_expect(not(xmb_nic_is_gone(xv0)), "without a descriptor to ask by");
	cr_expect(not(xmb_nic_is_gone(NO_IFINDEX)),
		  "without a descriptor to ask by");
	setrlimit(RLIMIT_NOFILE, &limit);
}

Test(nic, napis_are_listed_set_and_put_back)
{
	struct xmb_nic_napi was[8], now[8], set;
	int cnt;

	cr_expect(eq(int, xmb_nic_napi_list(xv0, was, 8), 0));
	sh("ip link set xv0 up && ip link set xv1 up && ethtool -K xv0 gro on");
	cnt = xmb_nic_napi_list(xv0, was, 8);
	if (cnt == -EOPNOTSUPP)
		cr_skip_test("NAPIs cannot be set before Linux 6.13");
	cr_assert(eq(int, cnt, 4));
	cr_expect(eq(int, xmb_nic_napi_list(xv0, now, 1), 4));
	set = (struct xmb_nic_napi){ .id = was[1].id,
				     .defer_hard_irqs = 7,
				     .gro_flush_ns = 300000,
				     .irq_suspend_ns = UINT64_C(20000000) };
	cr_expect(eq(int, xmb_nic_napi_set(&set), 0));
	cr_assert(eq(int, xmb_nic_napi_list(xv0, now, 8), 4));
	for (int i = 0; i < 4; i++) {
		const struct xmb_nic_napi *want = i == 1 ? &set : &was[i];

		cr_expect(eq(u32, now[i].id, want->id));
		cr_expect(eq(u32, now[i].defer_hard_irqs,
			     want->defer_hard_irqs));
		cr_expect(eq(u64, now[i].gro_flush_ns, want->gro_flush_ns));
		cr_expect(eq(u64, now[i].irq_suspend_ns, want->irq_suspend_ns));
	}
	cr_expect(eq(int, xmb_nic_napi_set(&was[1]), 0));
	cr_assert(eq(int, xmb_nic_napi_list(xv0, now, 8), 4));
	cr_expect(eq(u32, now[1].defer_hard_irqs, was[1].defer_hard_irqs));
}

Test(nic, napis_that_cannot_be_set_are_refused)
{
	struct xmb_nic_napi napi = { .id = 1 };

	cr_expect(eq(int, xmb_nic_napi_list(NO_IFINDEX, &napi, 1), 0));
	napi.id = UINT32_MAX;
	cr_expect(eq(int, xmb_nic_napi_set(&napi), -ENOENT));
	sh("ip link set xv0 up && ip link set xv1 up && ethtool -K xv0 gro on");
	cr_assert(gt(int, xmb_nic_napi_list(xv0, &napi, 1), 0));
	napi.defer_hard_irqs = UINT32_MAX;
	cr_expect(eq(int, xmb_nic_napi_set(&napi), -ERANGE));
	cr_assert(eq(int, setuid(NOBODY), 0));
	napi.defer_hard_irqs = 1;
	cr_expect(eq(int, xmb_nic_napi_set(&napi), -EPERM));
}
