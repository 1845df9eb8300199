/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * lib/nic/watch: a watch sees all that can befall a device, and says so when it
 * has missed something.  The devices: nic_lab.h.
 */
#include "nic/watch.h"

#include "base/clock.h"
#include "nic_lab.h"

#include <poll.h>
#include <signal.h>
#include <sys/ioctl.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

enum { WAIT_MS = 50000 };

TestSuite(watch, .init = lab_setup, .timeout = 300);

static void set_mtu(const char *dev, int mtu)
{
	static int fd;
	struct ifreq req = { .ifr_mtu = mtu };

	if (!fd)
		fd = socket(AF_INET, SOCK_DGRAM, 0);
	snprintf(req.ifr_name, sizeof(req.ifr_name), "%s", dev);
	cr_assert(eq(int, ioctl(fd, SIOCSIFMTU, &req), 0));
}

/* The last event of the device that is looked for, and how many there were. */
struct seen {
	int ifindex; /* 0: any */
	int cnt;
	int gone_cnt;
	struct xmb_nic_event last;
};

static void on_event(void *arg, const struct xmb_nic_event *event)
{
	struct seen *seen = arg;

	if (seen->ifindex && event->ifindex != seen->ifindex)
		return;
	seen->cnt++;
	seen->gone_cnt += event->kind == XMB_NIC_GONE;
	seen->last = *event;
}

static struct xmb_nic_watch *watch_open(void)
{
	struct xmb_nic_watch *watch;

	cr_assert(eq(int, xmb_nic_watch_open(&watch), 0));
	return watch;
}

static bool is_readable(const struct xmb_nic_watch *watch, int ms)
{
	struct pollfd p = { .fd = xmb_nic_watch_fd(watch), .events = POLLIN };

	return poll(&p, 1, ms) == 1;
}

/* Read until the device is last seen as told. */
static bool sees(struct xmb_nic_watch *watch, struct seen *seen,
		 const struct xmb_nic_event *as)
{
	uint64_t end = xmb_clock_ns() + WAIT_MS * XMB_NS_PER_MS;

	do {
		const struct xmb_nic_event *e = &seen->last;

		cr_assert(
			eq(int, xmb_nic_watch_read(watch, on_event, seen), 0));
		if (seen->cnt && e->kind == as->kind && e->up == as->up &&
		    e->running == as->running && e->mtu == as->mtu &&
		    !strcmp(e->name, as->name))
			return true;
		is_readable(watch, 100);
	} while (xmb_clock_ns() < end);
	return false;
}

Test(watch, link_and_mtu_and_name_are_followed_to_the_end)
{
	static const struct {
		const char *cmd;
		struct xmb_nic_event as;
	} rows[] = {
		{ "ip link set xv0 up",
		  { .up = true, .mtu = 1500, .name = "xv0" } },
		{ "ip link set xv1 up",
		  { .up = true, .running = true, .mtu = 1500, .name = "xv0" } },
		{ "ip link set xv0 mtu 9000",
		  { .up = true, .running = true, .mtu = 9000, .name = "xv0" } },
		{ "ip link set xv1 down",
		  { .up = true, .mtu = 9000, .name = "xv0" } },
		{ "ip link set xv0 down", { .mtu = 9000, .name = "xv0" } },
		{ "ip link set xv0 name xv7", { .mtu = 9000, .name = "xv7" } },
		{ "ip link set xv7 up && ip link set xv1 up",
		  { .up = true, .running = true, .mtu = 9000, .name = "xv7" } },
		{ "ip link del xv7",
		  { .kind = XMB_NIC_GONE, .mtu = 9000, .name = "xv7" } },
	};
	struct xmb_nic_watch *watch = watch_open();
	struct seen seen = { .ifindex = xv0 };

	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		cr_expect(eq(int, seen.gone_cnt, 0));
		sh("%s", rows[i].cmd);
		cr_assert(sees(watch, &seen, &rows[i].as), "%s", rows[i].cmd);
	}
	cr_expect(eq(int, seen.gone_cnt, 1));
	xmb_nic_watch_close(watch);
}

Test(watch, device_made_later_is_seen)
{
	struct xmb_nic_watch *watch = watch_open();
	struct xmb_nic_event as = { .mtu = 1500, .name = "xv8" };
	struct seen seen = { 0 };

	sh("ip link add xv9 type veth peer name xv8");
	seen.ifindex = (int)if_nametoindex("xv8");
	cr_expect(sees(watch, &seen, &as));
	xmb_nic_watch_close(watch);
}

/* A process in another namespace, to which a device can be given. */
static pid_t fork_namespace(void)
{
	int ready[2];
	char byte = 0;
	pid_t pid;

	cr_assert(eq(int, pipe(ready), 0));
	pid = fork();
	if (pid == 0) {
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		if (!unshare(CLONE_NEWNET) && write(ready[1], &byte, 1) == 1)
			pause();
		_exit(1);
	}
	close(ready[1]);
	cr_assert(eq(int, (int)read(ready[0], &byte, 1), 1));
	close(ready[0]);
	return pid;
}

Test(watch, device_moved_to_another_namespace_is_gone)
{
	struct xmb_nic_watch *watch = watch_open();
	struct xmb_nic_event as = { .kind = XMB_NIC_GONE,
				    .mtu = 1500,
				    .name = "xv0" };
	struct seen seen = { .ifindex = xv0 };
	pid_t pid = fork_namespace();
	struct xmb_nic_info info;

	sh("ip link set xv0 up && ip link set xv1 up");
	sh("ip link set xv0 netns %d", (int)pid);
	cr_expect(sees(watch, &seen, &as));
	cr_expect(eq(int, xmb_nic_query("xv0", &info), -ENODEV));
	cr_expect(eq(str, query("xv1").name, "xv1"), "only moved, not deleted");
	is_readable(watch, 200);
	xmb_nic_watch_read(watch, on_event, &seen);
	cr_expect(eq(int, (int)seen.last.kind, XMB_NIC_GONE));
	kill(pid, SIGKILL);
	waitpid(pid, NULL, 0);
	xmb_nic_watch_close(watch);
}

Test(watch, watch_stays_with_the_namespace_it_was_opened_in)
{
	struct xmb_nic_watch *watch = watch_open();
	struct seen seen = { 0 };

	cr_assert(eq(int, unshare(CLONE_NEWNET), 0));
	sh("ip link add xv0 type veth peer name xv1");
	cr_expect(not(is_readable(watch, 100)));
	cr_expect(eq(int, xmb_nic_watch_read(watch, on_event, &seen), 0));
	cr_expect(eq(int, seen.cnt, 0));
	xmb_nic_watch_close(watch);
}

/* A bridge that loses a port says RTM_DELLINK of the port, in its family. */
Test(watch, device_that_leaves_a_bridge_is_not_gone)
{
	struct xmb_nic_watch *watch = watch_open();
	struct xmb_nic_event as = { .mtu = 1400, .name = "xv0" };
	struct seen seen = { .ifindex = xv0 };

	if (system("ip link add xbr type bridge"))
		cr_skip("this kernel has no bridges");
	sh("ip link set xv0 master xbr && ip link set xv0 nomaster");
	sh("ip link set xv0 mtu 1400");
	cr_expect(sees(watch, &seen, &as));
	cr_expect(eq(int, seen.gone_cnt, 0));
	xmb_nic_watch_close(watch);
}

Test(watch, read_of_nothing_does_not_block)
{
	struct xmb_nic_watch *watch = watch_open();
	struct seen seen = { 0 };

	cr_expect(eq(int, xmb_nic_watch_read(watch, on_event, &seen), 0));
	cr_expect(eq(int, seen.cnt, 0));
	xmb_nic_watch_close(watch);
}

Test(watch, lost_events_are_said_and_a_fresh_list_follows)
{
	struct xmb_nic_watch *watch = watch_open();
	struct xmb_nic_event as = { .mtu = 1099, .name = "xv0" };
	struct seen seen = { 0 };
	int small = 4096;

	setsockopt(xmb_nic_watch_fd(watch), SOL_SOCKET, SO_RCVBUF, &small,
		   sizeof(small));
	for (int i = 0; i < 100; i++)
		set_mtu("xv0", 1000 + i);
	cr_assert(is_readable(watch, 0));
	cr_expect(
		eq(int, xmb_nic_watch_read(watch, on_event, &seen), -ENOBUFS));
	cr_expect(lt(int, seen.cnt, 100));

	cr_expect(is_readable(watch, WAIT_MS), "nobody would read the list");
	seen = (struct seen){ .ifindex = xv0 };
	cr_expect(sees(watch, &seen, &as), "not in the list");
	/* And events come as before. */
	as.mtu = 1300;
	set_mtu("xv0", 1300);
	cr_expect(sees(watch, &seen, &as));
	xmb_nic_watch_close(watch);
}

Test(watch, one_read_is_bounded_and_wakes_the_reader_again)
{
	struct xmb_nic_watch *watch = watch_open();
	struct xmb_nic_event as = { .mtu = 1001, .name = "xv0" };
	struct seen seen = { .ifindex = xv0 };
	int large = 256 << 20, first;

	cr_assert(eq(int,
		     setsockopt(xmb_nic_watch_fd(watch), SOL_SOCKET,
				SO_RCVBUFFORCE, &large, sizeof(large)),
		     0));
	for (int i = 0; i < 6000; i++)
		set_mtu("xv0", 1000 + i % 2);
	cr_expect(
		eq(int, xmb_nic_watch_read(watch, on_event, &seen), -ENOBUFS));
	first = seen.cnt;
	cr_expect(lt(int, first, 6000));
	cr_expect(is_readable(watch, 0));
	cr_expect(eq(int, xmb_nic_watch_read(watch, on_event, &seen), 0));
	cr_expect(ge(int, seen.cnt, 6000), "events were thrown away");
	cr_expect(sees(watch, &seen, &as));
	xmb_nic_watch_close(watch);
}

Test(watch, close_of_nothing_is_allowed)
{
	xmb_nic_watch_close(NULL);
}
