/* SPDX-License-Identifier: BSD-2-Clause */
#ifndef XMBUF_TESTS_VETH_PROG_LAB_H
#define XMBUF_TESTS_VETH_PROG_LAB_H

#include "base/log.h"
#include "prog/prog.h"

#include <bpf/libbpf.h>
#include <criterion/criterion.h>
#include <criterion/new/assert.h>

/*
 * prog_lab: a veth pair for the tests of lib/prog, and an ear for the log.
 *
 *      network namespace of this test process
 *      +------------------------------------------------+
 *      |   va (program, AF_XDP socket) ---- vb (sender) |
 *      +------------------------------------------------+
 *
 * Criterion runs each test in a process of its own; the namespace and the pair
 * go with it.
 */

enum {
	LINE_LEN = 512,
	WAIT_MS = 30000,     /* for what must come, however slow the machine */
	LINK_PROBE_LEN = 16, /* by which lib/prog asks whether links exist */
};

/* Skip without root, else enter a namespace and listen to the log. */
void lab_setup(void);

/* Make va with that many queues each way and vb with that many. */
void make_pair(int queue_cnt, int peer_queue_cnt);

/* Run a shell command and give its exit status. */
int run(const char *command);

/* Run a shell command that must work. */
void must(const char *command);

/* The first line of this level with this part in it; NULL: none. */
const char *said(enum xmb_log_level level, const char *part);
int said_cnt(enum xmb_log_level level);
void forget_said(void);

#define expect_said(level, part)                                               \
	cr_expect(ne(ptr, (void *)said(level, part), NULL), "%s", part)

/* A mount namespace of this process's own, and a bpffs there; or skip. */
void mount_bpffs(void);

/* How many entries there are below a directory; 0 if it is not there. */
int entry_cnt(const char *path);

/*
 * From now on the kernel answers err to this command of bpf(), but not where
 * its argument has spared_len bytes; 0: always.
 */
void answer_bpf(unsigned command, unsigned err, unsigned spared_len);

/* A program of someone else on va, attached as `ip link` does it. */
void attach_by_netlink(const char *name, uint32_t flags);

/* Send cnt frames of that EtherType out of vb. */
void send_from_peer(uint16_t type, int cnt);

/* A socket that sees what the kernel's stack gets of that EtherType on va. */
int stack_open(uint16_t type);

/* How many frames came there since the last call; waits for wanted of them. */
int stack_cnt(int fd, int wanted);

/* Options for one queue of va, matching all. */
struct xmb_prog_opts opts_for(enum xmb_prog_mode mode);

/* Attach with these options; it must work. */
struct xmb_prog *attach(enum xmb_prog_mode mode);

/* What the kernel says is on va. */
struct bpf_xdp_query_opts attached(void);

/* Descriptors that this process has open, give or take a constant. */
int open_fd_cnt(void);

/*
 * Expect that an attach with these options gives err, logs one error with part
 * in it, leaves its output and the device alone and no descriptor behind.
 */
void expect_refused(const struct xmb_prog_opts *opts, int err,
		    const char *part);

#endif /* XMBUF_TESTS_VETH_PROG_LAB_H */
