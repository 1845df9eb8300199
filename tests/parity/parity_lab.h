/* SPDX-License-Identifier: BSD-2-Clause */
#ifndef XMBUF_TESTS_PARITY_PARITY_LAB_H
#define XMBUF_TESTS_PARITY_PARITY_LAB_H

#include "../facts/fact_lab.h"
#include "../veth/xsk_lab.h"
#include "parity.skel.h"

#include "base/clock.h"

/*
 * parity_lab: the cases of the kernel's own AF_XDP selftest, by our library.
 *
 *      network namespace of this test process
 *      +--------------------------------------------------------------+
 *      |  sender (socket) ----------- receiver (program and socket)   |
 *      +--------------------------------------------------------------+
 *
 * Both sockets have the same frames.  A case is run in four variants, as the
 * selftest does: the program native or generic, and each with busy polling
 * preferred.  What the library would never do, for it refuses or avoids it, is
 * done by a bare socket of fact_lab at one end.
 */

enum variant {
	NATIVE,
	GENERIC,
	NATIVE_BUSY,
	GENERIC_BUSY,
};

enum {
	PACKET_LEN = 64,
	PACKET_CNT = 4096,
	BATCH = 64,
	QUIET_MS = 100,
	FRAME_CNT = 4096,
	JUMBO_LEN = 9000,
};

/* A case in all of its variants; its name is the selftest's. */
#define PARITY(name)                                                           \
	static void case_##name(enum variant variant);                         \
	Test(native, name)                                                     \
	{                                                                      \
		case_##name(NATIVE);                                           \
	}                                                                      \
	Test(generic, name)                                                    \
	{                                                                      \
		case_##name(GENERIC);                                          \
	}                                                                      \
	Test(native_busy_poll, name)                                           \
	{                                                                      \
		case_##name(NATIVE_BUSY);                                      \
	}                                                                      \
	Test(generic_busy_poll, name)                                          \
	{                                                                      \
		case_##name(GENERIC_BUSY);                                     \
	}                                                                      \
	static void case_##name(enum variant variant)

#define PARITY_SUITES                                                          \
	TestSuite(native, .init = xsk_lab_setup, .timeout = 300);              \
	TestSuite(generic, .init = xsk_lab_setup, .timeout = 300);             \
	TestSuite(native_busy_poll, .init = xsk_lab_setup, .timeout = 300);    \
	TestSuite(generic_busy_poll, .init = xsk_lab_setup, .timeout = 300)

struct parity {
	enum variant variant;
	struct xmb_xsk *tx, *rx;
	struct xmb_prog *prog;
};

static inline bool is_native(enum variant variant)
{
	return variant == NATIVE || variant == NATIVE_BUSY;
}

/* Make the devices and frames; or sockets and steering as well. */
void parity_frames(uint32_t frame_len, uint32_t mtu);
struct parity parity_up(enum variant variant, uint32_t frame_len, uint32_t mtu);
struct parity parity_up_of(enum variant variant,
			   const struct xmb_umem_opts *opts, uint32_t mtu);

/* Open a socket as the variant wants it; or with options besides. */
struct xmb_xsk *parity_open(enum variant variant, const char *dev);
struct xmb_xsk *parity_open_with(enum variant variant,
				 struct xmb_xsk_opts opts);

/* Set on a bare socket what the library sets on its own. */
void parity_busy(enum variant variant, int fd);
struct xmb_prog *parity_steer(enum variant variant, struct xmb_xsk *xsk);

/* Send cnt packets of len; the rx end must get each, in order and whole. */
void parity_pass(struct parity *p, uint32_t len, uint32_t cnt);

/* Make and post packets [first, first + cnt); returns how many were taken. */
uint32_t parity_post(struct xmb_xsk *tx, uint32_t len, uint32_t first,
		     uint32_t cnt);

/* Send all of them: posted, kicked, completed. */
void parity_send(struct xmb_xsk *tx, uint32_t len, uint32_t first,
		 uint32_t cnt);

/* The next packet must be this one. */
void parity_expect(struct xmb_xsk *rx, uint32_t len, uint32_t tag);

/* Nothing comes, for a while. */
void parity_expect_none(struct xmb_xsk *rx);

/* Load one program of the skeleton and attach it to a device. */
struct parity_bpf *parity_load(const char *program);
void parity_attach(enum variant variant, struct parity_bpf *skel,
		   const char *program, const char *dev);

/* A bare socket with its own memory, on a device. */
struct fact_sock parity_bare(enum variant variant, const char *dev,
			     struct fact_umem umem, uint16_t flags);

/* A bare sender with memory of its own, and the library at the other end. */
struct mixed {
	struct fact_sock tx;
	struct xmb_xsk *rx;
};

struct mixed mixed_up(enum variant variant, struct fact_umem umem,
		      uint16_t flags);

/* Bare kicks stop at what is invalid: go on until all was looked at. */
void mixed_kick(struct mixed *m);

/* Descriptors of packets of one buffer, base and offset perhaps apart. */
struct piece {
	uint64_t addr;
	uint32_t len;
	bool is_valid;
};

/* Post all; the valid ones must arrive, in order, and the others be counted. */
void mixed_pieces(struct mixed *m, const struct piece *pieces, uint32_t cnt);

/* Post a packet of cnt pieces, each at its address. */
void mixed_chain(struct mixed *m, const uint64_t *at, uint32_t cnt,
		 uint32_t piece_len, uint32_t tag);

/*
 * Post each of cnt chains that have something invalid, and behind it a good one
 * of 3 pieces: it must arrive, alone.
 */
void mixed_spoiled(struct mixed *m, const struct xdp_desc (*bad)[3],
		   uint32_t cnt, const uint64_t *good_at);

/* Write packet (len, tag) into its memory. */
void parity_make(struct fact_sock *sock, uint64_t addr, uint32_t len,
		 uint32_t tag);

/* The next packet of a bare socket must be this one. */
void parity_expect_bare(struct fact_sock *sock, uint32_t len, uint32_t tag);

#endif /* XMBUF_TESTS_PARITY_PARITY_LAB_H */
