/* SPDX-License-Identifier: BSD-2-Clause */
#ifndef XMBUF_TESTS_VETH_ENGINE_LAB_H
#define XMBUF_TESTS_VETH_ENGINE_LAB_H

#include "buf/cookie.h"
#include "engine/engine.h"
#include "xsk_lab.h"

/*
 * engine_lab: an engine between the two pairs of xsk_lab, in the test's own
 * thread, and traffic in a second one that stops it.
 *
 *      ltap ---- left [ engine ] right ---- rtap
 *       '--------------- traffic --------------'
 */

enum { LEFT, RIGHT };

/* What the lab heard from the engine. */
struct engine_lab {
	struct xmb_port_opts ports[2];
	struct xmb_engine_opts opts;
	struct xmb_engine *engine;
	int ltap, rtap;
	_Atomic int tick_cnt;
	_Atomic bool has_ended;
	int final_cnt;
	struct xmb_engine_report last;
};

extern struct engine_lab el;

/* Wire with that many queues, open taps, and set el.opts to forward. */
void engine_lab_setup(int queue_cnt, uint32_t mtu);

/* Send out of the other port. */
void pass(void *arg, struct xmb_burst *burst);

/* Create it; it must work. */
void engine_create(void);

/*
 * Create, run beside traffic(), which is followed by a stop unless it has
 * ended the engine itself, check the last report, destroy.  Returns what run()
 * returned.
 */
int engine_run_with(void (*traffic)(void));

/* For traffic() that ends the engine itself: wait until it has. */
void await_end(void);

/* While it runs: of a port; of all data threads; packets that programs took. */
uint64_t port_now(int port, enum xmb_xsk_counter which);
uint64_t worker_now(enum xmb_worker_counter which);
uint64_t matched_now(void);

/* Of the last report: of a port, of the workers, of all drops by name. */
uint64_t port_counter(int port, enum xmb_xsk_counter which);
uint64_t worker_counter(enum xmb_worker_counter which);
uint64_t all_drops(void);

#define expect_port(port, which, n)                                            \
	cr_expect(eq(u64, port_counter(port, which), n), "%s of port %d",      \
		  xmb_xsk_counter_descs[which].name, port)
#define expect_worker(which, n)                                                \
	cr_expect(eq(u64, worker_counter(which), n), "%s",                     \
		  xmb_worker_counter_descs[which].name)

/*
 * Let one thread of the engine mark packets with cookies, and say after its
 * run what became of all frames; .cookie is how many cookies came back.
 */
void cookies_open(void);
void cookie_give(const struct xmb_multibuf *mb, uint64_t cookie);
struct xmb_completion cookies_close(void);

/* Send one on ltap, see it on rtap; or the other way. */
void expect_passes(size_t len, uint32_t tag);
void expect_passes_back(size_t len, uint32_t tag);

/* Packets that a tap was handed since it was last asked, lost ones too. */
uint32_t tap_seen(int fd);

/* The same when they are cnt, or do not come any more. */
uint32_t tap_sees(int fd, uint64_t cnt);

#endif /* XMBUF_TESTS_VETH_ENGINE_LAB_H */
