/* SPDX-License-Identifier: BSD-2-Clause */
#ifndef XMBUF_TESTS_VETH_XSK_LAB_H
#define XMBUF_TESTS_VETH_XSK_LAB_H

#include "base/clock.h"
#include "prog_lab.h"
#include "xsk/xsk_priv.h"

#include <errno.h>
#include <string.h>
#include <unistd.h>

/*
 * xsk_lab: two veth pairs for the tests of lib/xsk, with frames for them.
 *
 *      network namespace of this test process
 *      +---------------------------------------------------------------+
 *      |  ltap ---- left (sockets under test) right ---- rtap          |
 *      +---------------------------------------------------------------+
 *
 * What AF_PACKET sends on ltap is received on left; what is sent on right
 * arrives at rtap.  The lab keeps count of what it opened, so that finish()
 * can close it and ask for every frame back.
 */

enum {
	LAB_MAX = 8, /* sockets, and programs */
	TAG_OFF = 14,
	PACKET_MAX = 9014,
};

struct xsk_lab {
	struct xmb_umem *umem;
	struct xmb_cache cache;
	struct xmb_xsk *xsks[LAB_MAX];
	struct xmb_prog *progs[LAB_MAX];
	uint32_t xsk_cnt, prog_cnt;
};

extern struct xsk_lab lab;

/*
 * Wait for a condition, for WAIT_MS at most: whoever waits asks for it
 * afterwards, so that no test depends on how fast the machine is.
 */
#define await(condition)                                                       \
	do {                                                                   \
		uint64_t await_end_ns =                                        \
			xmb_clock_ns() + WAIT_MS * XMB_NS_PER_MS;              \
		while (!(condition) && xmb_clock_ns() < await_end_ns)          \
			usleep(1000);                                          \
	} while (0)

/* As lab_setup(); skip where there is no AF_XDP. */
void xsk_lab_setup(void);

/* Make and set up both pairs with that many queues each way. */
void lab_wire(int queue_cnt, uint32_t mtu);

/* Make the frames, all free. */
void lab_frames(uint32_t frame_len, uint32_t frame_cnt);

/* The same with any options. */
void lab_frames_of(const struct xmb_umem_opts *opts);

/* Memory of the application's, and how many frames of it came home. */
struct lab_app {
	int fd;
	uint8_t *mem; /* its own mapping */
	uint32_t home_cnt;
};

extern struct lab_app app;

/* Make it, by memfd_create() with flags besides; a piece of all of it. */
struct xmb_umem_piece_opts lab_app_piece(size_t len, bool is_pool,
					 unsigned int flags);

/* Take these bytes of piece 0; they must be free. */
struct xmb_multibuf lab_take(size_t off, size_t len);

/* wire(), frames() and nothing special. */
void lab_plain(void);

/* Options for queue 0 of dev, with small rings. */
struct xmb_xsk_opts lab_opts(const char *dev);

/* Open a socket; it must work. */
struct xmb_xsk *lab_open(const struct xmb_xsk_opts *opts);
struct xmb_xsk *lab_open_dev(const char *dev);

/* Attach a program to the socket's device that sends it everything. */
void lab_steer(struct xmb_xsk *xsk);

/*
 * Expect that an open is refused with err and part in the log, and leaves the
 * pool whole and the id free.
 */
void lab_expect_refused(const struct xmb_xsk_opts *opts, int err,
			const char *part);

/* The ledger of everything that the lab has; it must balance and agree. */
struct xmb_ledger lab_ledger(void);

/* Free frames, in the pool and in the cache. */
uint32_t lab_free_cnt(void);

/* Close a socket and settle it. */
void lab_close(struct xmb_xsk *xsk);

/* Close everything; all frames must come home. */
void lab_finish(void);

uint64_t lab_counter(const struct xmb_xsk *xsk, enum xmb_xsk_counter which);

#define expect_counter(xsk, which, n)                                          \
	cr_expect(eq(u64, lab_counter(xsk, which), n), "%s",                   \
		  xmb_xsk_counter_descs[which].name)

/* A nonblocking AF_PACKET socket on a device, with room for a lot. */
int tap_open(const char *dev);

/* Send; wait while the device has no room. */
void tap_send(int fd, const void *packet, size_t len);

/* The next packet's length; 0: none came in time. */
size_t tap_recv(int fd, void *packet, size_t max, int wait_ms);

/* Write a packet that says its tag (if it has room) and is all of it known. */
void packet_make(uint8_t *packet, size_t len, uint32_t tag);

/* Send packet_make(len, tag) from a tap. */
void tap_send_made(int fd, size_t len, uint32_t tag);

/* True if the next packet is packet_make(len, tag). */
bool tap_recv_made(int fd, size_t len, uint32_t tag);

/* Receive, refilling, until there are cnt or none came in time. */
uint32_t lab_recv(struct xmb_xsk *xsk, struct xmb_multibuf *mbs, uint32_t cnt);

/* Send all and wait until all came back. */
void lab_send(struct xmb_xsk *xsk, struct xmb_multibuf *mbs, uint32_t cnt);

/* Allocate a packet_make(len, tag) with 64 bytes of headroom. */
struct xmb_multibuf lab_packet(size_t len, uint32_t tag);

/* True if mb is packet_make(len, tag). */
bool lab_is_made(const struct xmb_multibuf *mb, size_t len, uint32_t tag);

#endif /* XMBUF_TESTS_VETH_XSK_LAB_H */
