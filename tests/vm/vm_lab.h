/* SPDX-License-Identifier: BSD-2-Clause */
#ifndef XMBUF_TESTS_VM_VM_LAB_H
#define XMBUF_TESTS_VM_VM_LAB_H

#include "xsk_lab.h"

/*
 * vm_lab: what tests inside an emulated machine have beyond xsk_lab.
 *
 *      ltap ===== left       left and right: cards of the driver under test,
 *      rtap ===== right      queue 0 of each
 *
 * Unlike veth pairs the cards outlive a test: each test begins with all links
 * up, at MTU 1500, and no program on them.
 */

enum {
	VM_FRAMES = 4096,
	VM_RING = 512,
	VM_BURST = 64,
	LINK_WAIT_MS = 60000, /* igb negotiates for 2 s */
};

/* Is this machine's suite of that driver ("igb") or kernel ("6.12")? */
bool vm_is(const char *part);

/* Listen to the log, make frames of 4096, have every link ready. */
void vm_setup(void);

/* The same with frames of that length, and devices of that MTU. */
void vm_setup_with(uint32_t frame_len, uint32_t mtu);

/* The same with any options of the umem; or with none, links only. */
void vm_setup_of(const struct xmb_umem_opts *opts, uint32_t mtu);
void vm_setup_links(uint32_t mtu);

/* Have exactly that many free pages of 2 MiB. */
void vm_hugepages(int cnt);

/* Wait until the link of a device has its carrier. */
void vm_wait_link(const char *dev);

/* Was this said, as an error or a warning? */
bool vm_said(const char *part);

/* Options for queue 0 of dev as a port gives them. */
struct xmb_xsk_opts vm_opts(const char *dev);

/*
 * Open queue 0 of a device as a port does, program first; the link is down
 * while the program comes, for a driver that resets it otherwise.  What change
 * has of bind, kick, no_need_wakeup, share_cnt, zc_unit and busy polling is
 * taken over; NULL: nothing.
 */
struct xmb_xsk *vm_open(const char *dev, const struct xmb_xsk_opts *change);

/* Expect that an open is refused with err and part in the log. */
void vm_expect_refused(const struct xmb_xsk_opts *opts, int err,
		       const char *part);

/* Receive what was sent as packet_make(len, tag...). */
void vm_expect_rx(struct xmb_xsk *xsk, size_t len, uint32_t tag, uint32_t cnt);

/* Send packets that are made, and expect them at the tap. */
void vm_expect_tx(struct xmb_xsk *xsk, int tap, size_t len, uint32_t tag,
		  uint32_t cnt);

/* Send cnt packets from a tap at a device, received as made. */
void vm_exchange(struct xmb_xsk *xsk, int tap, size_t len, uint32_t cnt);

/*
 * Forward cnt packets of len bytes from a tap through two sockets to another
 * tap, each in the frames that it came in.
 */
void vm_forward(struct xmb_xsk *in, int in_tap, struct xmb_xsk *out,
		int out_tap, size_t len, uint32_t cnt);

#endif /* XMBUF_TESTS_VM_VM_LAB_H */
