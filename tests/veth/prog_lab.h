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
	WAIT_MS = 3000,
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

/* Options for one queue of va, matching all. */
struct xmb_prog_opts opts_for(enum xmb_prog_mode mode);

/* Attach with these options; it must work. */
struct xmb_prog *attach(enum xmb_prog_mode mode);

/* What the kernel says is on va. */
struct bpf_xdp_query_opts attached(void);

/*
 * Expect that an attach with these options gives err, logs one error with part
 * in it, leaves its output and the device alone and no descriptor behind.
 */
void expect_refused(const struct xmb_prog_opts *opts, int err,
		    const char *part);

#endif /* XMBUF_TESTS_VETH_PROG_LAB_H */
