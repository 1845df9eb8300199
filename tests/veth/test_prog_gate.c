/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * lib/prog/gate: however a process ends that asked for a gate, nothing that
 * matches gets to the kernel before a successor has taken over or the gate was
 * removed; what fails leaves the gate as it was; and nothing is left pinned.
 */
#include "prog/gate.h"
#include "prog_lab.h"

#include <bpf/bpf.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/bpf.h>
#include <linux/capability.h>
#include <linux/if_link.h>
#include <net/if.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define ROOT "/sys/fs/bpf/xmbuf"

enum {
	KEPT = 0x88b5, /* EtherTypes for experiments: one matches, one not */
	LEFT = 0x88b6,
	SEND_CNT = 20,
	HELD_CNT = 400,
};

static void gate_setup(void)
{
	lab_setup();
	mount_bpffs();
	make_pair(1, 1);
}

TestSuite(prog_gate, .init = gate_setup, .timeout = 300);

static struct xmb_prog_opts gate_opts(enum xmb_prog_exit on_exit)
{
	struct xmb_prog_opts opts = opts_for(XMB_PROG_AUTO);

	opts.match.kind = XMB_MATCH_ETHER;
	opts.match.value = KEPT;
	opts.on_exit = on_exit;
	return opts;
}

static struct xmb_prog *attach_gate(enum xmb_prog_exit on_exit)
{
	struct xmb_prog_opts opts = gate_opts(on_exit);
	struct xmb_prog *prog = NULL;

	cr_assert(eq(int, xmb_prog_attach(&prog, &opts), 0));
	return prog;
}

/* A process that runs the program, with a socket in its slot; kill it. */
static pid_t start_holder(enum xmb_prog_mode mode, enum xmb_prog_exit on_exit)
{
	int ready[2];
	char byte;
	pid_t pid;

	cr_assert(eq(int, pipe2(ready, O_CLOEXEC), 0));
	pid = fork();
	if (pid == 0) {
		struct xmb_prog_opts opts = gate_opts(on_exit);
		int fd = socket(AF_XDP, SOCK_RAW | SOCK_CLOEXEC, 0);
		struct xmb_prog *prog;

		prctl(PR_SET_PDEATHSIG, SIGKILL);
		opts.mode = mode;
		if (xmb_prog_attach(&prog, &opts) ||
		    xmb_prog_steer(prog, 0, fd) || xmb_prog_commit(prog) ||
		    write(ready[1], "x", 1) != 1)
			_exit(1);
		pause();
		_exit(0);
	}
	close(ready[1]);
	cr_assert(eq(int, (int)read(ready[0], &byte, 1), 1));
	close(ready[0]);
	return pid;
}

static void kill_holder(pid_t pid)
{
	kill(pid, SIGKILL);
	cr_assert(eq(int, waitpid(pid, NULL, 0), pid));
}

static void expect_closed(bool is_closed)
{
	int kept = stack_open(KEPT), left = stack_open(LEFT);

	send_from_peer(KEPT, SEND_CNT);
	send_from_peer(LEFT, SEND_CNT);
	/* These come behind those, so when these are there, all are. */
	cr_expect(eq(int, stack_cnt(left, SEND_CNT), SEND_CNT));
	cr_expect(eq(int, stack_cnt(kept, is_closed ? 0 : SEND_CNT),
		     is_closed ? 0 : SEND_CNT));
	close(kept);
	close(left);
}

static void expect_gone(void)
{
	cr_expect(eq(u8, attached().attach_mode, XDP_ATTACHED_NONE));
	cr_expect(eq(int, entry_cnt(ROOT), 0));
	cr_expect(ne(int, access(ROOT, F_OK), 0), "the directory is left");
}

static uint64_t remove_gate(void)
{
	uint64_t dropped = 12345;

	cr_expect(eq(int,
		     xmb_gate_remove("va", (int)if_nametoindex("va"), &dropped),
		     0));
	return dropped;
}

static void expect_held_by(enum xmb_prog_mode mode, uint8_t attach_mode)
{
	pid_t pid = start_holder(mode, XMB_PROG_EXIT_DROP);

	cr_expect(eq(u8, attached().attach_mode, attach_mode));
	expect_closed(true);
	kill_holder(pid);
	expect_closed(true);
	cr_expect(eq(u8, attached().attach_mode, attach_mode));
	cr_expect(eq(u64, remove_gate(), SEND_CNT));
	expect_closed(false);
	expect_gone();
}

Test(prog_gate, a_killed_process_leaves_it_closed_until_it_is_removed)
{
	expect_held_by(XMB_PROG_NATIVE, XDP_ATTACHED_DRV);
	expect_held_by(XMB_PROG_GENERIC, XDP_ATTACHED_SKB);
}

Test(prog_gate, without_one_a_killed_process_lets_all_pass)
{
	kill_holder(start_holder(XMB_PROG_AUTO, XMB_PROG_EXIT_PASS));
	expect_closed(false);
	expect_gone();
}

Test(prog_gate, a_clean_end_leaves_it_closed_with_what_it_counts)
{
	struct xmb_prog *prog = attach_gate(XMB_PROG_EXIT_DROP);
	uint64_t v[XMB_PROG_COUNTER_CNT];

	cr_assert(eq(int, xmb_prog_commit(prog), 0));
	cr_assert(eq(int, xmb_prog_commit(prog), 0));
	expect_said(XMB_LOG_INFO, "`xmbuf detach va` opens the gate");
	xmb_prog_detach(prog);
	expect_said(XMB_LOG_INFO, "the gate stays closed");
	expect_closed(true);
	cr_expect(eq(int, xmb_prog_stats(prog, v), 0));
	cr_expect(eq(u64, v[XMB_PROG_GATE_DROP], SEND_CNT));
	cr_expect(eq(u64, v[XMB_PROG_NO_SOCKET], 0));
	xmb_prog_detach(prog);
	xmb_prog_destroy(prog);
	cr_expect(eq(u64, remove_gate(), SEND_CNT));
	expect_gone();
}

Test(prog_gate, what_was_not_committed_leaves_what_was_there)
{
	uint32_t prog_id;

	xmb_prog_destroy(attach_gate(XMB_PROG_EXIT_DROP));
	expect_gone();
	kill_holder(start_holder(XMB_PROG_AUTO, XMB_PROG_EXIT_DROP));
	prog_id = attached().prog_id;
	xmb_prog_destroy(attach_gate(XMB_PROG_EXIT_DROP));
	xmb_prog_destroy(attach_gate(XMB_PROG_EXIT_PASS));
	cr_expect(eq(u32, attached().prog_id, prog_id));
	expect_closed(true);
	cr_expect(eq(u64, remove_gate(), SEND_CNT));
}

Test(prog_gate, a_successor_takes_over_and_says_what_was_dropped)
{
	struct xmb_prog *prog;
	uint32_t first_id;

	kill_holder(start_holder(XMB_PROG_AUTO, XMB_PROG_EXIT_DROP));
	first_id = attached().prog_id;
	prog = attach_gate(XMB_PROG_EXIT_DROP);
	expect_said(XMB_LOG_INFO, "about to take the place of the gate");
	cr_expect(eq(u32, attached().prog_id, first_id));
	expect_closed(true);
	cr_assert(eq(int, xmb_prog_commit(prog), 0));
	expect_said(XMB_LOG_INFO, "it had dropped 20 packets; it stays closed");
	cr_expect(eq(u32, attached().prog_id, (uint32_t)xmb_prog_id(prog)));
	expect_closed(true);
	xmb_prog_destroy(prog);
	expect_closed(true);
	/* The successor's own count, and one directory with two files. */
	cr_expect(eq(int, entry_cnt(ROOT), 1));
	cr_expect(eq(u64, remove_gate(), 2 * SEND_CNT));
	expect_gone();
}

Test(prog_gate, a_successor_that_wants_none_opens_it_when_it_ends)
{
	struct xmb_prog *prog;
	pid_t pid;

	kill_holder(start_holder(XMB_PROG_AUTO, XMB_PROG_EXIT_DROP));
	prog = attach_gate(XMB_PROG_EXIT_PASS);
	expect_closed(true);
	cr_assert(eq(int, xmb_prog_commit(prog), 0));
	expect_said(XMB_LOG_INFO, "it is open when this process has ended");
	expect_closed(false);
	xmb_prog_destroy(prog);
	expect_gone();

	kill_holder(start_holder(XMB_PROG_AUTO, XMB_PROG_EXIT_DROP));
	pid = start_holder(XMB_PROG_AUTO, XMB_PROG_EXIT_PASS);
	expect_closed(true);
	kill_holder(pid);
	expect_closed(false);
	expect_gone();
}

/* Somebody sends without a pause while thirty processes come and are killed. */
Test(prog_gate, nothing_passes_while_successors_are_killed_one_after_the_other)
{
	_Atomic uint32_t *turns =
		mmap(NULL, sizeof(*turns), PROT_READ | PROT_WRITE,
		     MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	int kept = stack_open(KEPT);
	uint64_t dropped;
	pid_t sender;

	cr_assert(ne(ptr, turns, MAP_FAILED));
	kill_holder(start_holder(XMB_PROG_AUTO, XMB_PROG_EXIT_DROP));
	sender = fork();
	if (sender == 0) {
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		for (;; ++*turns)
			send_from_peer(KEPT, SEND_CNT);
	}
	for (int i = 0; i < 30; i++)
		kill_holder(start_holder(XMB_PROG_AUTO, XMB_PROG_EXIT_DROP));
	*turns = 0;
	for (int i = 0; i < WAIT_MS && *turns < 2; i++)
		usleep(1000);
	cr_expect(eq(int, stack_cnt(kept, 0), 0));
	dropped = remove_gate();
	cr_expect(gt(u64, dropped, 0));
	/* So the sender was at it, and the socket sees what passes. */
	cr_expect(gt(int, stack_cnt(kept, 1), 0));
	kill_holder(sender);
	expect_gone();
}

Test(prog_gate, nobody_takes_it_from_a_process_that_lives)
{
	struct xmb_prog_opts drop = gate_opts(XMB_PROG_EXIT_DROP),
			     pass = gate_opts(XMB_PROG_EXIT_PASS);
	uint64_t dropped = 12345;
	pid_t pid = start_holder(XMB_PROG_AUTO, XMB_PROG_EXIT_DROP);

	expect_refused(&drop, -EBUSY, "another process is using its gate");
	expect_refused(&pass, -EBUSY, "another process is using its gate");
	cr_expect(
		eq(int, xmb_gate_remove("va", drop.ifindex, &dropped), -EBUSY));
	cr_expect(eq(u64, dropped, 12345));
	cr_expect(ne(int, run("ip link set dev va xdp off"), 0));
	expect_closed(true);
	kill_holder(pid);
	remove_gate();
	expect_gone();
}

Test(prog_gate, a_gate_is_taken_over_in_the_mode_that_it_has)
{
	struct xmb_prog_opts opts = gate_opts(XMB_PROG_EXIT_DROP);
	struct xmb_prog *prog;

	kill_holder(start_holder(XMB_PROG_GENERIC, XMB_PROG_EXIT_DROP));
	opts.mode = XMB_PROG_NATIVE;
	expect_refused(&opts, -EBUSY, "its gate is in generic mode");
	expect_closed(true);
	prog = attach_gate(XMB_PROG_EXIT_DROP);
	cr_expect(eq(int, xmb_prog_mode(prog), XMB_PROG_GENERIC));
	cr_assert(eq(int, xmb_prog_commit(prog), 0));
	cr_expect(eq(u8, attached().attach_mode, XDP_ATTACHED_SKB));
	xmb_prog_destroy(prog);
	expect_closed(true);
	remove_gate();
	expect_gone();
}

Test(prog_gate, removing_what_is_not_there_says_so)
{
	uint64_t dropped = 12345;

	cr_expect(eq(int,
		     xmb_gate_remove("va", (int)if_nametoindex("va"), &dropped),
		     -ENOENT));
	cr_expect(eq(int, said_cnt(XMB_LOG_ERROR), 1));
	expect_said(XMB_LOG_ERROR, "va: it has no gate");
	cr_expect(eq(u64, dropped, 12345));
	expect_gone();
}

Test(prog_gate, without_a_bpffs_it_says_how_to_mount_one)
{
	struct xmb_prog_opts opts = gate_opts(XMB_PROG_EXIT_DROP);
	uint64_t dropped;

	cr_assert(eq(int, umount("/sys/fs/bpf"), 0));
	if (entry_cnt("/sys/fs/bpf"))
		cr_assert(eq(int, mount("none", "/sys/fs/bpf", "tmpfs", 0, ""),
			     0));
	expect_refused(&opts, -EOPNOTSUPP, "mount -t bpf bpf /sys/fs/bpf");
	expect_said(XMB_LOG_ERROR, "nsenter --net=");
	forget_said();
	cr_expect(eq(int, xmb_gate_remove("va", opts.ifindex, &dropped),
		     -EOPNOTSUPP));
	expect_said(XMB_LOG_ERROR, "mount -t bpf bpf /sys/fs/bpf");
	/* Who wants none needs none. */
	xmb_prog_destroy(attach_gate(XMB_PROG_EXIT_PASS));
}

static void become_nobody(void)
{
	cr_assert(eq(int, (int)syscall(SYS_setresgid, 65534, 65534, 65534), 0));
	cr_assert(eq(int, (int)syscall(SYS_setresuid, 65534, 65534, 65534), 0));
}

Test(prog_gate, without_privilege_it_stays_closed_and_says_so)
{
	uint64_t dropped = 12345;
	int status;
	pid_t pid;

	cr_assert(eq(int, chmod("/sys/fs/bpf", 0755), 0));
	kill_holder(start_holder(XMB_PROG_AUTO, XMB_PROG_EXIT_DROP));
	pid = fork();
	if (pid == 0) {
		int ifindex = (int)if_nametoindex("va");

		become_nobody();
		forget_said();
		if (xmb_gate_remove("va", ifindex, &dropped) != -EPERM)
			_exit(1);
		_exit(said(XMB_LOG_ERROR, "CAP_NET_ADMIN") ? 0 : 2);
	}
	cr_assert(eq(int, waitpid(pid, &status, 0), pid));
	cr_expect(eq(int, status, 0));
	expect_closed(true);
	remove_gate();
	expect_gone();
}

Test(prog_gate, the_gate_of_a_deleted_device_is_removed)
{
	struct xmb_prog *prog;
	uint64_t dropped;

	/* By its own process, */
	prog = attach_gate(XMB_PROG_EXIT_DROP);
	cr_assert(eq(int, xmb_prog_commit(prog), 0));
	must("ip link del va");
	xmb_prog_destroy(prog);
	cr_expect(eq(int, entry_cnt(ROOT), 0));

	/* and by whoever comes next. */
	make_pair(1, 1);
	kill_holder(start_holder(XMB_PROG_AUTO, XMB_PROG_EXIT_DROP));
	must("ip link del va");
	cr_expect(eq(int, entry_cnt(ROOT), 1));
	make_pair(1, 1);
	cr_expect(eq(int,
		     xmb_gate_remove("va", (int)if_nametoindex("va"), &dropped),
		     -ENOENT));
	expect_gone();
}

Test(prog_gate, a_stale_gate_of_the_same_index_is_no_gate)
{
	struct xmb_prog *prog;
	char command[128];
	int ifindex = (int)if_nametoindex("va");

	kill_holder(start_holder(XMB_PROG_AUTO, XMB_PROG_EXIT_DROP));
	must("ip link del va");
	snprintf(command, sizeof(command),
		 "ip link add va index %d type veth peer name vb && "
		 "ip link set va up && ip link set vb up",
		 ifindex);
	must(command);
	expect_closed(false);
	prog = attach_gate(XMB_PROG_EXIT_PASS);
	cr_assert(eq(int, xmb_prog_commit(prog), 0));
	cr_expect(eq(ptr, (void *)said(XMB_LOG_INFO, "taken over"), NULL));
	xmb_prog_destroy(prog);
	expect_gone();
}

Test(prog_gate, a_device_that_was_moved_stays_closed_where_it_is)
{
	struct xmb_prog *prog = attach_gate(XMB_PROG_EXIT_DROP);
	uint32_t prog_id = attached().prog_id;
	char command[128];

	cr_assert(eq(int, xmb_prog_commit(prog), 0));
	snprintf(command, sizeof(command),
		 "ip netns add xmb-%d-gate && ip link set va netns xmb-%d-gate",
		 getpid(), getpid());
	must(command);
	cr_expect(eq(int, xmb_prog_check(prog), 0));
	xmb_prog_destroy(prog);
	snprintf(command, sizeof(command),
		 "ip -n xmb-%d-gate -d link show va | grep -q 'id %u '",
		 getpid(), prog_id);
	cr_expect(eq(int, run(command), 0));
	snprintf(command, sizeof(command), "ip netns del xmb-%d-gate",
		 getpid());
	must(command);
}

/* Root can: it takes a bpf() call that names the link. */
Test(prog_gate, a_stranger_who_detaches_the_link_is_noticed)
{
	struct xmb_prog *prog = attach_gate(XMB_PROG_EXIT_DROP);
	uint32_t id = 0;
	int fd = -1;

	cr_assert(eq(int, xmb_prog_commit(prog), 0));
	cr_expect(eq(int, xmb_prog_check(prog), 0));
	while (fd < 0 && !bpf_link_get_next_id(id, &id)) {
		struct bpf_link_info info = { 0 };
		uint32_t len = sizeof(info);

		fd = bpf_link_get_fd_by_id(id);
		if (fd >= 0 && (bpf_obj_get_info_by_fd(fd, &info, &len) ||
				info.prog_id != (uint32_t)xmb_prog_id(prog))) {
			close(fd);
			fd = -1;
		}
	}
	cr_assert(ge(int, fd, 0));
	cr_assert(eq(int, bpf_link_detach(fd), 0));
	close(fd);
	forget_said();
	cr_expect(eq(int, xmb_prog_check(prog), -ENOLINK));
	expect_said(XMB_LOG_ERROR, "somebody took XDP program");
	xmb_prog_destroy(prog);
	expect_gone();
}

static void detach_by_hand(void)
{
	char path[300];
	FILE *pipe = popen("ls -d " ROOT "/*/link", "r");
	int fd;

	cr_assert(ne(ptr, pipe, NULL));
	cr_assert(ne(ptr, fgets(path, sizeof(path), pipe), NULL));
	pclose(pipe);
	path[strcspn(path, "\n")] = 0;
	fd = bpf_obj_get(path);
	cr_assert(ge(int, fd, 0));
	cr_assert(eq(int, bpf_link_detach(fd), 0));
	close(fd);
}

Test(prog_gate, a_successor_whose_gate_goes_before_commit_is_told)
{
	struct xmb_prog *prog;

	kill_holder(start_holder(XMB_PROG_AUTO, XMB_PROG_EXIT_DROP));
	prog = attach_gate(XMB_PROG_EXIT_DROP);
	detach_by_hand();
	cr_expect(eq(int, xmb_prog_commit(prog), -ENOLINK));
	expect_said(XMB_LOG_ERROR, "somebody took XDP program");
	xmb_prog_destroy(prog);
	xmb_prog_destroy(attach_gate(XMB_PROG_EXIT_DROP));
	expect_gone();
}

Test(prog_gate, a_successor_whose_device_goes_before_commit_is_told)
{
	struct xmb_prog *prog;

	kill_holder(start_holder(XMB_PROG_AUTO, XMB_PROG_EXIT_DROP));
	prog = attach_gate(XMB_PROG_EXIT_DROP);
	must("ip link del va");
	cr_expect(eq(int, xmb_prog_commit(prog), -ENODEV));
	expect_said(XMB_LOG_ERROR, "va: the device is gone");
	xmb_prog_destroy(prog);
	make_pair(1, 1);
	xmb_prog_destroy(attach_gate(XMB_PROG_EXIT_DROP));
	expect_gone();
}

/* The kernel refuses the update, or the pins: nothing changes. */
static void expect_failed(unsigned command, int err, bool is_commit)
{
	int status;
	pid_t pid = fork();

	if (pid == 0) {
		struct xmb_prog_opts opts = gate_opts(XMB_PROG_EXIT_DROP);
		struct xmb_prog *prog = NULL;
		int got;

		if (!is_commit)
			answer_bpf(command, (unsigned)-err, 0);
		got = xmb_prog_attach(&prog, &opts);
		if (is_commit && got)
			_exit(2);
		if (is_commit) {
			answer_bpf(command, (unsigned)-err, 0);
			got = xmb_prog_commit(prog);
		}
		if (got != err || !said(XMB_LOG_ERROR, strerror(-err)))
			_exit(1);
		xmb_prog_destroy(prog);
		_exit(0);
	}
	cr_assert(eq(int, waitpid(pid, &status, 0), pid));
	cr_expect(eq(int, status, 0), "command %u", command);
}

Test(prog_gate, a_refused_pin_leaves_nothing)
{
	expect_failed(BPF_OBJ_PIN, -ENOMEM, false);
	expect_gone();
	expect_failed(BPF_OBJ_PIN, -EPERM, false);
	expect_gone();
}

/* As each process has one that is in a dispatcher. */
Test(prog_gate, directories_that_others_have_locked_are_not_waited_for)
{
	struct timespec start, end;
	char path[64];

	cr_assert(eq(int, mkdir(ROOT, 0700), 0));
	for (int i = 0; i < HELD_CNT; i++) {
		snprintf(path, sizeof(path), ROOT "/held-%d", i);
		cr_assert(eq(int, mkdir(path, 0700), 0));
		cr_assert(eq(int, flock(open(path, O_RDONLY), LOCK_EX), 0));
	}
	clock_gettime(CLOCK_MONOTONIC, &start);
	xmb_prog_destroy(attach_gate(XMB_PROG_EXIT_DROP));
	clock_gettime(CLOCK_MONOTONIC, &end);
	/* A tenth of a second for each would be forty. */
	cr_expect(lt(long, end.tv_sec - start.tv_sec, 20));
	cr_expect(eq(int, entry_cnt(ROOT), HELD_CNT));
	must("rmdir " ROOT "/held-* " ROOT);
}

/* Take it for none, and the device would be opened. */
Test(prog_gate, what_cannot_be_looked_at_is_left_as_it_is)
{
	kill_holder(start_holder(XMB_PROG_AUTO, XMB_PROG_EXIT_DROP));
	expect_failed(BPF_OBJ_GET, -EMFILE, false);
	expect_closed(true);
	expect_failed(BPF_OBJ_GET, -EPERM, false);
	expect_closed(true);
	cr_expect(eq(int, entry_cnt(ROOT), 1));
	cr_expect(eq(u64, remove_gate(), 2 * SEND_CNT));
	expect_gone();
}

Test(prog_gate, a_refused_takeover_leaves_the_gate_as_it_was)
{
	uint32_t prog_id;

	kill_holder(start_holder(XMB_PROG_AUTO, XMB_PROG_EXIT_DROP));
	prog_id = attached().prog_id;
	expect_failed(BPF_LINK_UPDATE, -ENOMEM, true);
	expect_failed(BPF_OBJ_PIN, -ENOMEM, true);
	cr_expect(eq(u32, attached().prog_id, prog_id));
	expect_closed(true);
	cr_expect(eq(u64, remove_gate(), SEND_CNT));
	expect_gone();
}
