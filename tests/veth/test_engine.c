/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * lib/engine, its life: what it refuses and leaves alone, each way to end it,
 * and the reports on the way.
 */
#include "engine_lab.h"

#include "base/clock.h"
#include "nic/nic.h"

#include <net/if.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

enum {
	PROBE_LEN = 61,
	TICK_CNT = 20,
	SPELL_MAX = 10,
	USED_US_MAX = 300000, /* of 1.5 s; half a second with its start */
	SLEEPS_MAX = 100,
};

#define HOUR_NS (3600 * XMB_NS_PER_S)

TestSuite(engine, .init = xsk_lab_setup, .timeout = 300);

static int lowest_free_fd(void)
{
	int fd = dup(STDERR_FILENO);

	cr_assert(ge(int, fd, 0));
	close(fd);
	return fd;
}

/* Is a device as nobody touched it? */
static void expect_untouched(const char *dev)
{
	struct bpf_xdp_query_opts xdp = { .sz = sizeof(xdp) };
	struct xmb_nic_info nic;

	cr_assert(eq(int, xmb_nic_query(dev, &nic), 0));
	cr_expect(eq(u32, nic.promisc_cnt, 0), "%s", dev);
	cr_expect(nic.vlan_strip, "%s", dev);
	cr_assert(eq(int, bpf_xdp_query(nic.ifindex, 0, &xdp), 0));
	cr_expect(eq(u32, xdp.prog_id, 0), "%s", dev);
}

static void expect_refused_create(int err, const char *part)
{
	struct xmb_engine *const before = (struct xmb_engine *)8, *out = before;
	int fd = lowest_free_fd();

	forget_said();
	cr_expect(eq(int, xmb_engine_create(&out, &el.opts), err), "%s", part);
	cr_expect(eq(ptr, out, before));
	expect_said(XMB_LOG_ERROR, part);
	cr_expect(eq(int, lowest_free_fd(), fd), "%s", part);
	expect_untouched("left");
	expect_untouched("right");
}

Test(engine, refuses_to_be_without_a_handler)
{
	engine_lab_setup(1, 1500);
	el.opts.handler = NULL;
	expect_refused_create(-EINVAL, "needs a handler and 1 to 8 ports");
}

Test(engine, refuses_no_ports_and_too_many)
{
	engine_lab_setup(1, 1500);
	el.opts.port_cnt = 0;
	expect_refused_create(-EINVAL, "needs a handler and 1 to 8 ports");
	el.opts.port_cnt = 9;
	expect_refused_create(-EINVAL, "needs a handler and 1 to 8 ports");
}

Test(engine, refuses_a_device_that_is_named_twice)
{
	engine_lab_setup(1, 1500);
	el.ports[RIGHT].dev = "left";
	expect_refused_create(-EINVAL, "left is named twice");
}

Test(engine, refuses_a_device_that_is_not_there)
{
	engine_lab_setup(1, 1500);
	el.ports[RIGHT].dev = "nosuch";
	expect_refused_create(-ENODEV, "nosuch");
}

Test(engine, refuses_a_cpu_that_the_machine_has_not)
{
	const int negative[] = { -1 }, large[] = { 0, 100000 };

	engine_lab_setup(1, 1500);
	el.opts.cpus = negative;
	el.opts.cpu_cnt = 1;
	expect_refused_create(-EINVAL,
			      "CPU -1 was asked for, this machine has 0..");
	el.opts.cpus = large;
	el.opts.cpu_cnt = 2;
	expect_refused_create(-EINVAL, "CPU 100000 was asked for");
}

Test(engine, refuses_too_few_frames_and_says_how_many_it_needs)
{
	const char *line;
	unsigned need = 0;

	engine_lab_setup(2, 1500);
	el.opts.umem.frame_cnt = 100;
	expect_refused_create(-EINVAL,
			      "100 frames are too few for 4 queues and 2");
	line = said(XMB_LOG_ERROR, "at least ");
	cr_assert(ne(ptr, (void *)line, NULL));
	cr_assert(eq(int, sscanf(strstr(line, "at least "), "at least %u",
				 &need), 1));
	el.opts.umem.frame_cnt = need - 1;
	expect_refused_create(-EINVAL, "too few");
	el.opts.umem.frame_cnt = need;
	engine_create();
	xmb_engine_destroy(el.engine);
	expect_untouched("left");
}

Test(engine, a_second_program_on_the_last_port_undoes_the_first_port)
{
	struct xmb_prog_opts opts = { .dev = "right", .queue_cnt = 1 };
	struct bpf_xdp_query_opts xdp = { .sz = sizeof(xdp) };
	struct xmb_engine *out = NULL;
	struct xmb_prog *prog;

	engine_lab_setup(1, 1500);
	opts.ifindex = (int)if_nametoindex("right");
	cr_assert(eq(int, xmb_prog_attach(&prog, &opts), 0));
	forget_said();
	cr_expect(eq(int, xmb_engine_create(&out, &el.opts), -EBUSY));
	cr_expect(eq(ptr, out, NULL));
	expect_said(XMB_LOG_ERROR, "right");
	expect_untouched("left");
	cr_assert(eq(int, bpf_xdp_query(opts.ifindex, 0, &xdp), 0));
	cr_expect(eq(u32, xdp.prog_id, (uint32_t)xmb_prog_id(prog)));
	xmb_prog_destroy(prog);
	expect_untouched("right");
	engine_create();
	xmb_engine_destroy(el.engine);
}

enum { CREATED, REFUSED, LEFT_SOMETHING };

/* Create with room for cnt descriptors more. */
static int create_within(int cnt)
{
	int first = lowest_free_fd();
	struct rlimit limit;
	struct xmb_engine *out = NULL;

	getrlimit(RLIMIT_NOFILE, &limit);
	limit.rlim_cur = (rlim_t)(first + cnt);
	setrlimit(RLIMIT_NOFILE, &limit);
	if (xmb_engine_create(&out, &el.opts) == 0) {
		xmb_engine_destroy(out);
		return lowest_free_fd() == first ? CREATED : LEFT_SOMETHING;
	}
	return lowest_free_fd() == first && !out ? REFUSED : LEFT_SOMETHING;
}

Test(engine, wherever_it_runs_out_of_descriptors_the_devices_are_as_before)
{
	int refused = 0, status = -1;

	engine_lab_setup(2, 1500);
	for (int cnt = 1; cnt < 100 && WEXITSTATUS(status) != CREATED; cnt++) {
		/* libbpf remembers for good what it could not probe once. */
		pid_t pid = fork();

		if (pid == 0)
			_exit(create_within(cnt));
		cr_assert(eq(int, waitpid(pid, &status, 0), pid));
		cr_assert(eq(int, WIFEXITED(status), 1), "%d", cnt);
		cr_assert(ne(int, WEXITSTATUS(status), LEFT_SOMETHING), "%d",
			  cnt);
		refused += WEXITSTATUS(status) == REFUSED;
		expect_untouched("left");
		expect_untouched("right");
	}
	cr_expect(eq(int, WEXITSTATUS(status), CREATED));
	cr_expect(gt(int, refused, 5));
}

Test(engine, created_and_destroyed_it_leaves_nothing)
{
	int fd;

	engine_lab_setup(2, 1500);
	engine_create();
	xmb_engine_destroy(el.engine);
	xmb_engine_destroy(NULL);
	fd = lowest_free_fd();
	engine_create();
	xmb_engine_destroy(el.engine);
	cr_expect(eq(int, lowest_free_fd(), fd));
	expect_untouched("left");
	expect_untouched("right");
}

static void both_ways(void)
{
	for (uint32_t i = 0; i < 100; i++) {
		expect_passes(60 + i, i);
		expect_passes_back(1000 + i, i);
	}
}

Test(engine, forwards_both_ways_until_another_thread_stops_it)
{
	engine_lab_setup(1, 1500);
	cr_expect(eq(int, engine_run_with(both_ways), 0));
	expect_port(LEFT, XMB_XSK_RX_PACKETS, 100);
	expect_port(LEFT, XMB_XSK_TX_PACKETS, 100);
	expect_port(RIGHT, XMB_XSK_RX_PACKETS, 100);
	expect_port(RIGHT, XMB_XSK_TX_PACKETS, 100);
	expect_worker(XMB_WORKER_HANDLED, 200);
	expect_worker(XMB_WORKER_FORWARDED, 200);
	cr_expect(eq(u64, all_drops(), 0));
	cr_expect(eq(u64, el.last.ledger.copies, 0));
	cr_expect(eq(i64, el.last.ledger.free, 8192));
	cr_expect(eq(u64, el.last.ports[LEFT].prog[XMB_PROG_MATCHED], 100));
	cr_expect(eq(u64, el.last.ports[LEFT].prog[XMB_PROG_PASSED], 0));
	expect_untouched("left");
	expect_untouched("right");
}

Test(engine, a_stop_before_the_run_ends_it_at_once)
{
	engine_lab_setup(1, 1500);
	el.opts.tick_ns = HOUR_NS;
	engine_create();
	xmb_engine_stop(el.engine);
	cr_expect(eq(int, xmb_engine_run(el.engine), 0));
	/* It waited for nothing: the last report is the only one. */
	cr_expect(eq(int, el.tick_cnt, 1));
	cr_expect(eq(int, el.final_cnt, 1));
	xmb_engine_destroy(el.engine);
}

Test(engine, ends_after_its_duration)
{
	uint64_t start_ns, ran_ns;

	engine_lab_setup(1, 1500);
	el.opts.duration_ns = 300 * XMB_NS_PER_MS;
	engine_create();
	start_ns = xmb_clock_ns();
	cr_expect(eq(int, xmb_engine_run(el.engine), 0));
	ran_ns = xmb_clock_ns() - start_ns;
	cr_expect(ge(u64, ran_ns, 300 * XMB_NS_PER_MS));
	cr_expect(lt(u64, ran_ns, 60 * XMB_NS_PER_S));
	cr_expect(el.last.is_balanced);
	xmb_engine_destroy(el.engine);
}

static int signal_to_send;

static void send_signal(void)
{
	expect_passes(100, 1);
	kill(getpid(), signal_to_send);
	/* The lab stops it too: only when the signal has not. */
	await_end();
}

static void expect_ended_by(int sig, const char *part)
{
	signal_to_send = sig;
	engine_lab_setup(1, 1500);
	cr_expect(eq(int, engine_run_with(send_signal), 0));
	expect_said(XMB_LOG_INFO, part);
	expect_port(RIGHT, XMB_XSK_TX_PACKETS, 1);
	expect_untouched("left");
}

Test(engine, sigterm_ends_it)
{
	expect_ended_by(SIGTERM, "SIGTERM: sending what was received");
}

Test(engine, sigint_ends_it)
{
	expect_ended_by(SIGINT, "SIGINT: sending what was received");
}

static void delete_left(void)
{
	expect_passes(100, 1);
	cr_expect(eq(int, run("ip link del left"), 0));
	await_end();
}

Test(engine, a_deleted_device_ends_it_with_enodev)
{
	engine_lab_setup(1, 1500);
	cr_expect(eq(int, engine_run_with(delete_left), -ENODEV));
	expect_said(XMB_LOG_ERROR, "left was deleted or moved");
	expect_untouched("right");
}

Test(engine, a_device_deleted_before_the_run_is_noticed_too)
{
	engine_lab_setup(1, 1500);
	engine_create();
	must("ip link del right");
	cr_expect(eq(int, xmb_engine_run(el.engine), -ENODEV));
	cr_expect(el.last.is_balanced);
	xmb_engine_destroy(el.engine);
	expect_untouched("left");
}

/* Both ends have 4 queues, of which 2 are in use. */
static void setup_some_of_4_queues(void)
{
	engine_lab_setup(4, 1500);
	must("ethtool -L left rx 2 tx 2 && ethtool -L ltap rx 2 tx 2");
}

static void win_queues(void)
{
	expect_passes(100, 1);
	/* Fewer than are bound the kernel refuses, and all goes on. */
	cr_expect(ne(int, run("ethtool -L left rx 1 tx 1"), 0));
	usleep(100000);
	expect_passes(100, 2);
	cr_expect(eq(int, run("ethtool -L left rx 3 tx 2"), 0));
	await_end();
}

Test(engine, queues_that_a_device_wins_end_it_in_words)
{
	setup_some_of_4_queues();
	cr_expect(eq(int, engine_run_with(win_queues), -ECHRNG));
	expect_said(XMB_LOG_ERROR,
		    "left: somebody had it receive on 3 queues; on 2 it did");
	expect_untouched("left");
	expect_untouched("right");
}

static void change_other_queues(void)
{
	expect_passes(100, 1);
	cr_expect(eq(int, run("ethtool -L ltap tx 1"), 0));
	cr_expect(eq(int, run("ethtool -L left rx 1 tx 1"), 0));
	usleep(100000);
	expect_passes(100, 2);
	cr_expect(eq(int, run("ethtool -L left rx 4 tx 4"), 0));
	usleep(100000);
	expect_passes_back(100, 3);
}

Test(engine, queues_that_were_not_chosen_come_and_go)
{
	setup_some_of_4_queues();
	el.ports[LEFT].queue_cnt = 1;
	cr_expect(eq(int, engine_run_with(change_other_queues), 0));
}

static _Atomic int down_cnt;
static _Atomic bool is_back;

/* The next packet that is no probe must be this one. */
static void expect_behind_probes(int fd, size_t len, uint32_t tag)
{
	uint8_t got[PACKET_MAX], want[PACKET_MAX];
	size_t got_len;

	packet_make(want, len, tag);
	while ((got_len = tap_recv(fd, got, sizeof(got), WAIT_MS)) == PROBE_LEN)
		;
	cr_expect(eq(sz, got_len, len));
	cr_expect(not(memcmp(got, want, len)), "%u", tag);
}

/* A peer hears of the link a moment later, and sends into nothing till then. */
static void probe_until_it_passes(void)
{
	uint64_t end_ns = xmb_clock_ns() + WAIT_MS * XMB_NS_PER_MS;
	uint8_t got[PACKET_MAX];

	do
		tap_send_made(el.ltap, PROBE_LEN, 0);
	while (!tap_recv(el.rtap, got, sizeof(got), 20) &&
	       xmb_clock_ns() < end_ns);
}

static void flap(void)
{
	expect_passes(100, 1);
	cr_expect(eq(int, run("ip link set left down"), 0));
	await(atomic_load(&down_cnt));
	cr_expect(eq(int, run("ip link set left up"), 0));
	await(atomic_load(&is_back));
	probe_until_it_passes();
	for (uint32_t i = 2; i < 10; i++) {
		tap_send_made(el.ltap, 100, i);
		expect_behind_probes(el.rtap, 100, i);
		expect_passes_back(100, i);
	}
}

static void hear_link(void *arg, const struct xmb_engine_report *report)
{
	const struct xmb_nic_info *left = &report->ports[LEFT].nic;

	(void)arg;
	if (!left->up && !left->running)
		down_cnt++;
	else if (down_cnt)
		atomic_store(&is_back, left->up && left->running);
	el.final_cnt += report->is_final;
	el.last = *report;
	atomic_fetch_add(&el.tick_cnt, 1);
}

Test(engine, a_link_that_comes_back_goes_on)
{
	engine_lab_setup(1, 1500);
	el.opts.tick = hear_link;
	cr_expect(eq(int, engine_run_with(flap), 0));
	expect_said(XMB_LOG_WARN, "left: the link is down");
	expect_said(XMB_LOG_WARN, "left: the link is up again");
	cr_expect(ge(int, down_cnt, 1));
	cr_expect(lt(int, down_cnt, el.tick_cnt));
	cr_expect(el.last.ports[LEFT].nic.up);
	cr_expect(el.last.ports[LEFT].nic.running);
}

static uint64_t last_uptime_ns;
static int bad_uptime_cnt, bad_ledger_cnt;

static void hear_ticks(void *arg, const struct xmb_engine_report *report)
{
	el.tick_cnt++;
	el.final_cnt += report->is_final;
	bad_uptime_cnt += report->uptime_ns <= last_uptime_ns;
	last_uptime_ns = report->uptime_ns;
	/* Nothing moves here: each report must be exact. */
	bad_ledger_cnt += report->ledger.missing != 0;
	el.last = *report;
	(void)arg;
}

static void await_ticks(void)
{
	await(el.tick_cnt >= TICK_CNT);
}

Test(engine, reports_come_each_tick_and_the_last_is_final)
{
	engine_lab_setup(2, 1500);
	el.opts.tick = hear_ticks;
	el.opts.tick_ns = 50 * XMB_NS_PER_MS;
	cr_expect(eq(int, engine_run_with(await_ticks), 0));
	cr_expect(gt(int, el.tick_cnt, TICK_CNT));
	/* One for each tick, one for those before the start, and the last. */
	cr_expect(le(u64, (uint64_t)el.tick_cnt,
		     el.last.uptime_ns / el.opts.tick_ns + 3));
	cr_expect(eq(int, el.final_cnt, 1));
	cr_expect(el.last.is_final);
	cr_expect(eq(int, bad_uptime_cnt, 0));
	cr_expect(eq(int, bad_ledger_cnt, 0));
	cr_expect(eq(u32, el.last.port_cnt, 2));
	cr_expect(eq(u32, el.last.thread_cnt, 2));
	cr_expect(eq(str, el.last.ports[RIGHT].nic.name, "right"));
	cr_expect(eq(int, el.last.ports[RIGHT].xdp, XMB_PROG_NATIVE));
	cr_expect(not(el.last.ports[LEFT].is_zc));
	cr_expect(el.last.ports[LEFT].is_sg);
	cr_expect(eq(u32, el.last.ports[LEFT].queue_cnt, 2));
}

static uint64_t cpu_us(void)
{
	struct rusage use;

	getrusage(RUSAGE_SELF, &use);
	return (uint64_t)(use.ru_utime.tv_sec + use.ru_stime.tv_sec) * 1000000 +
	       (uint64_t)(use.ru_utime.tv_usec + use.ru_stime.tv_usec);
}

static uint64_t used_us, sleeps;

/* Time that a CPU was taken away may count as ours: the best of some spells. */
static void sleep_then_send(void)
{
	for (int i = 0; i < SPELL_MAX; i++) {
		used_us = cpu_us();
		sleeps = worker_now(XMB_WORKER_SLEEPS);
		usleep(1500000);
		used_us = cpu_us() - used_us;
		sleeps = worker_now(XMB_WORKER_SLEEPS) - sleeps;
		if (used_us < USED_US_MAX && sleeps < SLEEPS_MAX)
			break;
	}
	expect_passes(100, 1);
}

Test(engine, threads_sleep_when_nothing_comes_and_wake_for_the_first_packet)
{
	engine_lab_setup(2, 1500);
	el.opts.tick_ns = XMB_NS_PER_S / 5;
	cr_expect(eq(int, engine_run_with(sleep_then_send), 0));
	cr_expect(gt(u64, worker_counter(XMB_WORKER_SLEEPS), 0));
	cr_expect(lt(u64, sleeps, SLEEPS_MAX));
	cr_expect(lt(u64, used_us, USED_US_MAX), "%lu us", used_us);
	expect_port(RIGHT, XMB_XSK_TX_PACKETS, 1);
}

static int cpu_seen;

static void note_cpu(void *arg, struct xmb_burst *burst)
{
	cpu_seen = sched_getcpu();
	pass(arg, burst);
}

static void one_packet(void)
{
	expect_passes(100, 1);
}

Test(engine, threads_run_on_the_cpu_that_was_named)
{
	const int cpus[] = { (int)sysconf(_SC_NPROCESSORS_ONLN) - 1 };

	engine_lab_setup(1, 1500);
	cpu_seen = -1;
	el.opts.handler = note_cpu;
	el.opts.cpus = cpus;
	el.opts.cpu_cnt = 1;
	cr_expect(eq(int, engine_run_with(one_packet), 0));
	cr_expect(eq(int, cpu_seen, cpus[0]));
}

Test(engine, ten_times_in_a_row_without_ebusy)
{
	engine_lab_setup(2, 1500);
	for (int i = 0; i < 10; i++)
		cr_expect(eq(int, engine_run_with(one_packet), 0));
	cr_expect(eq(int, said_cnt(XMB_LOG_ERROR), 0));
}

Test(engine, tells_of_a_way_out_with_a_smaller_mtu)
{
	engine_lab_setup(1, 1500);
	must("ip link set right mtu 1400");
	engine_create();
	expect_said(XMB_LOG_WARN, "left has MTU 1500, but right has 1400");
	xmb_engine_destroy(el.engine);
}

/* Frames of 2048 at MTU 9000, and a way out of so many buffers. */
static void open_with(uint32_t frags_max)
{
	el.opts.umem.frame_len = 2048;
	el.ports[RIGHT].frags_max = frags_max;
	forget_said();
	engine_create();
	xmb_engine_destroy(el.engine);
}

Test(engine, tells_of_a_way_out_for_shorter_chains_and_what_avoids_the_copy)
{
	engine_lab_setup(1, 9000);
	open_with(0);
	cr_expect(eq(ptr, (void *)said(XMB_LOG_WARN, "frames of"), NULL));
	open_with(5);
	expect_said(XMB_LOG_WARN,
		    "left to right: packets of 9022 bytes come in 6 frames of "
		    "2048, and leave in at most 5: they are copied into fuller "
		    "frames (tx_gathered): --frame-size 4096 avoids it");
	cr_expect(eq(ptr, (void *)said(XMB_LOG_WARN, "right to left"), NULL));
	open_with(4);
	expect_said(XMB_LOG_WARN, "dropped (tx_too_many_frags): --frame-size");
	open_with(2);
	expect_said(XMB_LOG_WARN, "a smaller MTU avoids it");
}
