/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * lib/prog/dispatch on kernels that load libxdp's dispatcher: our program is
 * one of several on a card, in its order, and comes and goes alone.
 *
 *      packet --> theirs (10) --> ours (20) --> theirs (50) --> kernel
 *                                  |
 *                                  +--> socket
 */
#include "vm_lab.h"

#include "prog/gate.h"

#include <bpf/bpf.h>
#include <net/if.h>
#include <signal.h>
#include <stdio.h>
#include <sys/wait.h>
#include <unistd.h>
#include <xdp/libxdp.h>

#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wpedantic"
#include "beside.skel.h"
#pragma GCC diagnostic pop

enum { MANY = 256, FIRST = 10, LAST = 50, MADE_TYPE = 0x88b5 };

/* A program of somebody else's. */
struct theirs {
	struct bpf_object *object;
	struct xdp_program *program;
};

static char said_all[64 * LINE_LEN];

static void hear_all(void *arg, enum xmb_log_level level, const char *text)
{
	size_t len = strlen(said_all);

	(void)arg;
	if (level == XMB_LOG_DEBUG)
		return;
	fprintf(stderr, "# %s\n", text);
	snprintf(said_all + len, sizeof(said_all) - len, "%s\n", text);
}

static bool was_said(const char *part)
{
	return strstr(said_all, part);
}

static int left_index(void)
{
	return (int)if_nametoindex("left");
}

static struct xdp_multiprog *dispatcher(void)
{
	struct xdp_multiprog *mp =
		xdp_multiprog__get_from_ifindex(left_index());

	return mp && !libxdp_get_error(mp) ? mp : NULL;
}

static void dispatcher_setup_with(uint32_t mtu)
{
	struct xdp_multiprog *mp = dispatcher();

	/* A test that failed leaves it there. */
	if (mp)
		xdp_multiprog__detach(mp);
	xdp_multiprog__close(mp);
	vm_setup_with(4096, mtu);
	xmb_log_set(hear_all, NULL);
}

static void dispatcher_setup(void)
{
	dispatcher_setup_with(1500);
}

TestSuite(dispatcher, .init = dispatcher_setup, .timeout = 300);

/* How many programs of that name the dispatcher calls; NULL: of any. */
static int called_cnt(const char *name)
{
	struct xdp_multiprog *mp = dispatcher();
	struct xdp_program *p = NULL;
	int cnt = 0;

	if (!mp)
		return 0;
	cr_expect(not(xdp_multiprog__is_legacy(mp)));
	while ((p = xdp_multiprog__next_prog(p, mp)))
		cnt += !name || !strcmp(xdp_program__name(p), name);
	xdp_multiprog__close(mp);
	return cnt;
}

static struct theirs put_theirs(unsigned priority)
{
	struct theirs it = { 0 };
	struct xdp_program_opts opts = { .sz = sizeof(opts),
					 .prog_name = "beside" };
	const void *bytes;
	size_t len;

	bytes = beside_bpf__elf_bytes(&len);
	it.object = bpf_object__open_mem(bytes, len, NULL);
	cr_assert(ne(ptr, it.object, NULL));
	opts.obj = it.object;
	it.program = xdp_program__create(&opts);
	cr_assert(eq(long, libxdp_get_error(it.program), 0));
	cr_assert(eq(int, xdp_program__set_run_prio(it.program, priority), 0));
	cr_assert(eq(int, xdp_program__set_xdp_frags_support(it.program, true),
		     0));
	cr_assert(eq(int,
		     xdp_program__attach(it.program, left_index(),
					 XDP_MODE_NATIVE, 0),
		     0));
	return it;
}

static void take_theirs(struct theirs it)
{
	cr_expect(eq(int,
		     xdp_program__detach(it.program, left_index(),
					 XDP_MODE_NATIVE, 0),
		     0));
	xdp_program__close(it.program);
	bpf_object__close(it.object);
}

static uint64_t seen_by(struct theirs it)
{
	int fd = bpf_object__find_map_fd_by_name(it.object, "seen");
	uint32_t key = 0;
	uint64_t cnt = 0;

	cr_assert(eq(int, bpf_map_lookup_elem(fd, &key, &cnt), 0));
	return cnt;
}

static struct xmb_prog_opts ours(enum xmb_prog_way way)
{
	return (struct xmb_prog_opts){
		.dev = "left",
		.ifindex = left_index(),
		.way = way,
		.queue_cnt = 1,
	};
}

static struct xmb_prog *attach_ours(const struct xmb_prog_opts *opts)
{
	struct xmb_prog *prog = NULL;

	cr_assert(eq(int, xmb_prog_attach(&prog, opts), 0));
	cr_assert(eq(int, xmb_prog_commit(prog), 0));
	cr_expect(eq(int, xmb_prog_way(prog), XMB_PROG_BY_DISPATCHER));
	cr_expect(was_said("by libxdp's dispatcher"));
	return prog;
}

static struct xmb_xsk *open_for(struct xmb_prog *prog)
{
	struct xmb_xsk_opts opts = vm_opts("left");
	struct xmb_xsk *xsk = lab_open(&opts);

	cr_assert(eq(int, xmb_prog_steer(prog, 0, xmb_xsk_fd(xsk)), 0));
	return xsk;
}

static uint64_t counted(const struct xmb_prog *prog,
			enum xmb_prog_counter which)
{
	uint64_t v[XMB_PROG_COUNTER_CNT];

	cr_assert(eq(int, xmb_prog_stats(prog, v), 0));
	return v[which];
}

Test(dispatcher, our_program_joins_one_that_is_there_and_leaves_alone)
{
	struct theirs first = put_theirs(FIRST);
	struct xmb_prog_opts opts = ours(XMB_PROG_BY_ANY);
	struct xmb_prog *prog = attach_ours(&opts);
	struct xmb_xsk *xsk = open_for(prog);
	int tap = tap_open("ltap");

	cr_expect(eq(int, xmb_prog_mode(prog), XMB_PROG_NATIVE));
	cr_expect(was_said("is on the device, and calls by priority: "
			   "beside (10), xmb_steer (20);"));
	cr_expect(eq(int, called_cnt(NULL), 2));
	vm_exchange(xsk, tap, 1514, MANY);
	for (uint32_t tag = 0; tag < MANY; tag += VM_BURST)
		vm_expect_tx(xsk, tap, 1514, tag, VM_BURST);
	cr_expect(ge(u64, seen_by(first), MANY));
	cr_expect(eq(u64, counted(prog, XMB_PROG_MATCHED), seen_by(first)));
	cr_expect(eq(int, xmb_prog_check(prog), 0));
	cr_expect(eq(int, xmb_prog_unsteer(prog, 0), 0));
	xmb_prog_destroy(prog);
	cr_expect(eq(int, called_cnt("beside"), 1));
	cr_expect(eq(int, called_cnt(NULL), 1));
	cr_expect(eq(int, access("/sys/fs/bpf/xmbuf", F_OK), -1));
	take_theirs(first);
	cr_expect(eq(ptr, dispatcher(), NULL));
	lab_finish();
}

Test(dispatcher, what_does_not_match_goes_on_to_the_next_program)
{
	struct theirs last = put_theirs(LAST);
	struct xmb_prog_opts opts = ours(XMB_PROG_BY_ANY);
	struct xmb_prog *prog;
	struct xmb_xsk *xsk;
	int tap = tap_open("ltap");
	uint64_t before;

	opts.match = (struct xmb_match){ .kind = XMB_MATCH_ETHER,
					 .value = MADE_TYPE };
	prog = attach_ours(&opts);
	xsk = open_for(prog);
	cr_expect(was_said("xmb_steer (20), beside (50);"));
	before = seen_by(last);
	vm_exchange(xsk, tap, 300, MANY);
	cr_expect(eq(u64, counted(prog, XMB_PROG_MATCHED), MANY));
	cr_expect(lt(u64, seen_by(last) - before, MANY));
	xmb_prog_destroy(prog);
	/* The same, and not: now all of them go on. */
	opts.match.negate = true;
	prog = attach_ours(&opts);
	before = seen_by(last);
	for (uint32_t i = 0; i < MANY; i++)
		tap_send_made(tap, 300, i);
	for (int i = 0; i < 1500 && seen_by(last) - before < MANY; i++)
		usleep(20000);
	cr_expect(ge(u64, seen_by(last) - before, MANY));
	cr_expect(ge(u64, counted(prog, XMB_PROG_PASSED), MANY));
	xmb_prog_destroy(prog);
	take_theirs(last);
	lab_finish();
}

Test(dispatcher, one_that_is_asked_for_by_name_is_put_there_for_others_to_join)
{
	struct xmb_prog_opts opts = ours(XMB_PROG_BY_DISPATCHER);
	struct xmb_prog *prog = attach_ours(&opts);
	struct xmb_xsk *xsk = open_for(prog);
	int tap = tap_open("ltap");
	struct theirs first;

	cr_expect(was_said("libxdp's dispatcher was asked for"));
	vm_exchange(xsk, tap, 300, MANY);
	first = put_theirs(FIRST);
	cr_expect(eq(int, xmb_prog_check(prog), 0));
	cr_expect(eq(int, xmb_prog_check(prog), 0));
	vm_exchange(xsk, tap, 300, MANY);
	cr_expect(ge(u64, seen_by(first), MANY));
	take_theirs(first);
	cr_expect(eq(int, xmb_prog_check(prog), 0));
	vm_exchange(xsk, tap, 300, MANY);
	cr_expect(eq(int, called_cnt(NULL), 1));
	xmb_prog_destroy(prog);
	cr_expect(eq(ptr, dispatcher(), NULL));
	lab_finish();
}

Test(dispatcher, a_program_that_a_stranger_takes_out_is_missed)
{
	struct theirs first = put_theirs(FIRST);
	struct xmb_prog_opts opts = ours(XMB_PROG_BY_ANY);
	struct xmb_prog *prog = attach_ours(&opts);
	struct xdp_program *same;

	cr_expect(eq(int, xmb_prog_check(prog), 0));
	same = xdp_program__from_id((uint32_t)xmb_prog_id(prog));
	cr_assert(eq(long, libxdp_get_error(same), 0));
	cr_assert(
		eq(int,
		   xdp_program__detach(same, left_index(), XDP_MODE_NATIVE, 0),
		   0));
	xdp_program__close(same);
	cr_expect(eq(int, xmb_prog_check(prog), -ENOLINK));
	cr_expect(was_said("somebody took XDP program"));
	xmb_prog_destroy(prog);
	cr_expect(not(was_said("stays in libxdp's dispatcher (")));
	cr_expect(eq(int, called_cnt("beside"), 1));
	take_theirs(first);
	cr_expect(eq(ptr, dispatcher(), NULL));
	lab_finish();
}

/* A process that has joined, and waits to be killed. */
static pid_t start_holder(void)
{
	int ends[2];
	char byte;
	pid_t pid;

	cr_assert(eq(int, pipe(ends), 0));
	pid = fork();
	cr_assert(ge(int, pid, 0));
	if (pid == 0) {
		struct xmb_prog_opts opts = ours(XMB_PROG_BY_ANY);
		struct xmb_prog *prog;

		if (!xmb_prog_attach(&prog, &opts) && !xmb_prog_commit(prog) &&
		    write(ends[1], "", 1) == 1)
			pause();
		_exit(1);
	}
	close(ends[1]);
	cr_assert(eq(int, (int)read(ends[0], &byte, 1), 1));
	close(ends[0]);
	return pid;
}

Test(dispatcher, what_a_killed_process_leaves_hands_on_until_the_next_start)
{
	struct theirs last = put_theirs(LAST);
	struct xmb_prog_opts opts = ours(XMB_PROG_BY_ANY);
	struct xmb_prog *prog = NULL;
	struct xmb_xsk *xsk;
	int tap = tap_open("ltap");
	pid_t pid = start_holder();
	uint64_t before;

	/* While it lives, the device is its. */
	cr_expect(eq(int, xmb_prog_attach(&prog, &opts), -EBUSY));
	cr_expect(was_said("another process is using its gate, or its place"));
	kill(pid, SIGKILL);
	cr_assert(eq(int, waitpid(pid, NULL, 0), pid));
	cr_expect(eq(int, called_cnt("xmb_steer"), 1));
	before = seen_by(last);
	for (uint32_t i = 0; i < MANY; i++)
		tap_send_made(tap, 300, i);
	for (int i = 0; i < 1500 && seen_by(last) - before < MANY; i++)
		usleep(20000);
	cr_expect(ge(u64, seen_by(last) - before, MANY));
	prog = attach_ours(&opts);
	cr_expect(was_said("which a process that was killed left"));
	cr_expect(eq(int, called_cnt("xmb_steer"), 1));
	cr_expect(eq(int, called_cnt(NULL), 2));
	xsk = open_for(prog);
	vm_exchange(xsk, tap, 300, MANY);
	xmb_prog_destroy(prog);
	take_theirs(last);
	lab_finish();
}

enum { CALLED_MAX = 10 }; /* by libxdp's dispatcher */

Test(dispatcher, a_full_one_has_room_where_a_killed_process_left_ours)
{
	struct theirs all[CALLED_MAX] = { put_theirs(LAST) };
	struct xmb_prog_opts opts = ours(XMB_PROG_BY_ANY);
	struct xmb_prog *prog;
	pid_t pid = start_holder();

	kill(pid, SIGKILL);
	cr_assert(eq(int, waitpid(pid, NULL, 0), pid));
	for (int i = 1; i < CALLED_MAX - 1; i++)
		all[i] = put_theirs(LAST);
	cr_assert(eq(int, called_cnt(NULL), CALLED_MAX));
	prog = attach_ours(&opts);
	cr_expect(was_said("which a process that was killed left in libxdp's "
			   "dispatcher, was taken out"));
	cr_expect(eq(int, called_cnt("xmb_steer"), 1));
	cr_expect(eq(int, called_cnt(NULL), CALLED_MAX));
	vm_exchange(open_for(prog), tap_open("ltap"), 300, MANY);
	xmb_prog_destroy(prog);
	/* Full of others' it stays as it is. */
	all[CALLED_MAX - 1] = put_theirs(LAST);
	said_all[0] = '\0';
	cr_expect(eq(int, xmb_prog_attach(&prog, &opts), -EBUSY));
	cr_expect(
		was_said("calls 10 programs, as many as it can: take one out"));
	cr_expect(eq(int, called_cnt("beside"), CALLED_MAX));
	for (int i = 0; i < CALLED_MAX; i++)
		take_theirs(all[i]);
	cr_expect(eq(ptr, dispatcher(), NULL));
	lab_finish();
}

/*
 * libxdp 1.3.1 leaves one open for itself and one for each program that is
 * called, at each look: attach, look around, detach.
 */
Test(dispatcher, a_join_and_a_leave_leave_few_descriptors_open_and_a_check_none)
{
	struct theirs first = put_theirs(FIRST), last;
	struct xmb_prog_opts opts = ours(XMB_PROG_BY_ANY);
	int before = open_fd_cnt(), joined;
	struct xmb_prog *prog = attach_ours(&opts);

	xmb_prog_destroy(prog);
	cr_expect(le(int, open_fd_cnt() - before, 2 + 3 + 3));
	prog = attach_ours(&opts);
	last = put_theirs(LAST);
	joined = open_fd_cnt();
	for (int i = 0; i < MANY; i++)
		cr_assert(eq(int, xmb_prog_check(prog), 0));
	cr_expect(eq(int, open_fd_cnt(), joined));
	xmb_prog_destroy(prog);
	take_theirs(last);
	take_theirs(first);
	lab_finish();
}

/* Theirs is there, and stays. */
static void expect_no_way(const struct xmb_prog_opts *opts, const char *part)
{
	struct xmb_prog *prog = NULL;

	said_all[0] = '\0';
	cr_expect(lt(int, xmb_prog_attach(&prog, opts), 0), "%s", part);
	cr_expect(eq(ptr, prog, NULL));
	cr_expect(was_said(part), "%s", part);
	cr_expect(eq(int, called_cnt("beside"), 1));
	cr_expect(eq(int, called_cnt(NULL), 1));
	cr_expect(eq(int, access("/sys/fs/bpf/xmbuf", F_OK), -1));
}

Test(dispatcher, what_does_not_go_with_one_that_is_there_is_refused)
{
	struct theirs first = put_theirs(FIRST);
	struct xmb_prog_opts opts = ours(XMB_PROG_BY_ANY);

	opts.on_exit = XMB_PROG_EXIT_DROP;
	expect_no_way(&opts, "a gate is a bpf_link that is pinned, and");
	opts.on_exit = XMB_PROG_EXIT_PASS;
	opts.mode = XMB_PROG_GENERIC;
	expect_no_way(&opts, "libxdp's dispatcher is there in native mode");
	opts = ours(XMB_PROG_BY_LINK);
	expect_no_way(&opts, "is attached: join it (as root");
	opts = ours(XMB_PROG_BY_NETLINK);
	expect_no_way(&opts, "is attached: join it (as root");
	take_theirs(first);
	lab_finish();
}

/* In the middle of what libxdp does. */
static void expect_no_way_when(unsigned command, unsigned err, const char *part)
{
	struct xmb_prog_opts opts = ours(XMB_PROG_BY_ANY);
	pid_t pid = fork();
	int status;

	if (pid == 0) {
		struct xmb_prog *prog = NULL;

		answer_bpf(command, err, 0);
		_exit(xmb_prog_attach(&prog, &opts) >= 0	? 1
		      : prog					? 2
		      : !was_said(part)				? 3
		      : access("/sys/fs/bpf/xmbuf", F_OK) != -1 ? 4
								: 0);
	}
	cr_assert(eq(int, waitpid(pid, &status, 0), pid));
	cr_expect(eq(int, status, 0), "%s: step %d", part, WEXITSTATUS(status));
	cr_expect(eq(int, called_cnt("beside"), 1));
	cr_expect(eq(int, called_cnt(NULL), 1));
}

Test(dispatcher, a_join_that_fails_changes_nothing)
{
	struct theirs first = put_theirs(FIRST);

	expect_no_way_when(BPF_LINK_CREATE, EPERM, "it cannot be changed");
	expect_no_way_when(BPF_LINK_CREATE, ENOMEM, "no memory");
	expect_no_way_when(BPF_OBJ_PIN, ENOSPC, "in libxdp's dispatcher");
	expect_no_way_when(BPF_PROG_LOAD, EINVAL, "in libxdp's dispatcher");
	take_theirs(first);
	cr_expect(eq(ptr, dispatcher(), NULL));
	lab_finish();
}

Test(dispatcher, a_gate_that_is_closed_is_not_joined)
{
	struct xmb_prog_opts opts = ours(XMB_PROG_BY_LINK);
	struct xmb_prog *gate, *prog = NULL;
	uint64_t dropped;

	opts.on_exit = XMB_PROG_EXIT_DROP;
	cr_assert(eq(int, xmb_prog_attach(&gate, &opts), 0));
	cr_assert(eq(int, xmb_prog_commit(gate), 0));
	xmb_prog_destroy(gate);
	opts = ours(XMB_PROG_BY_DISPATCHER);
	cr_expect(eq(int, xmb_prog_attach(&prog, &opts), -EBUSY));
	cr_expect(was_said("its gate, a bpf_link, has the device"));
	cr_expect(eq(int, xmb_gate_remove("left", left_index(), &dropped), 0));
	cr_expect(eq(int, access("/sys/fs/bpf/xmbuf", F_OK), -1));
	lab_finish();
}

/* Few at once: the card has room for 256 pieces. */
static void exchange_jumbo(struct xmb_xsk *xsk, int tap)
{
	for (uint32_t tag = 0; tag < VM_BURST; tag += 8) {
		for (uint32_t i = 0; i < 8; i++)
			tap_send_made(tap, 9014, tag + i);
		vm_expect_rx(xsk, 9014, tag, 8);
	}
	expect_counter(xsk, XMB_XSK_RX_CHAINS, VM_BURST);
}

/* 6.1 has no packets of several buffers in virtio_net: generic XDP it is. */
Test(dispatcher, jumbo_packets_come_through_it, .init = NULL)
{
	struct xmb_prog_opts opts;
	struct xmb_prog *prog;
	struct theirs first;
	int tap;

	dispatcher_setup_with(9000);
	opts = ours(XMB_PROG_BY_DISPATCHER);
	prog = attach_ours(&opts);
	if (vm_is("6.1")) {
		cr_expect(eq(int, xmb_prog_mode(prog), XMB_PROG_GENERIC));
		cr_expect(was_said("trying generic XDP"));
	} else {
		cr_expect(eq(int, xmb_prog_mode(prog), XMB_PROG_NATIVE));
		tap = tap_open("ltap");
		first = put_theirs(FIRST);
		exchange_jumbo(open_for(prog), tap);
		cr_expect(ge(u64, seen_by(first), VM_BURST));
		take_theirs(first);
	}
	xmb_prog_destroy(prog);
	cr_expect(eq(ptr, dispatcher(), NULL));
	lab_finish();
}

Test(dispatcher, a_users_program_has_the_place_that_it_says)
{
	static const char path[] = "/tmp/beside.o";
	struct theirs first = put_theirs(FIRST);
	struct xmb_prog_opts opts = ours(XMB_PROG_BY_ANY);
	struct xmb_prog *prog;
	size_t len;
	const void *bytes = beside_bpf__elf_bytes(&len);
	FILE *file = fopen(path, "w");

	cr_assert(ne(ptr, file, NULL));
	cr_assert(eq(sz, fwrite(bytes, 1, len, file), len));
	fclose(file);
	opts.source.file = path;
	opts.source.section = "user";
	prog = attach_ours(&opts);
	cr_expect(was_said("beside (10), user (33);"));
	vm_exchange(open_for(prog), tap_open("ltap"), 300, MANY);
	cr_expect(ge(u64, seen_by(first), MANY));
	xmb_prog_destroy(prog);
	cr_expect(eq(int, called_cnt(NULL), 1));
	take_theirs(first);
	lab_finish();
}
