/* SPDX-License-Identifier: BSD-2-Clause */
#ifndef XMBUF_BENCH_MICRO_H
#define XMBUF_BENCH_MICRO_H

#include <stdint.h>

/*
 * micro: what a packet costs where no kernel is: the same steps on xmbuf's
 * multibufs and on DPDK's mbufs, in one process, turn about.
 *
 * Both pools have the same number of frames on transparent huge pages, both
 * caches hold 512.  A step that runs "in flight" works on the oldest of 64 Ki
 * packets, as a program does that keeps them a while.
 *
 * Each function does its step cnt times.
 */

enum {
	MICRO_FRAMES = 80 << 10,
	MICRO_FRAME_LEN = 2048,
	MICRO_IN_FLIGHT = 64 << 10,
	MICRO_BULK = 32,
	MICRO_LEN = 64,		/* of a packet ... */
	MICRO_SPLIT_LEN = 1500, /* ... that is split at its headers' end */
	MICRO_SPLIT_AT = 42,
	MICRO_HEADROOM = 128, /* as DPDK's */
	MICRO_TRIM = 14,      /* an Ethernet header off and on again */
};

/*
 * X(row, the peer's step, what).  A packet here is a multibuf; the rows of
 * chunks are the buffer alone, which is all that an mbuf of one segment is.
 */
#define MICRO_ROWS(X)                                                          \
	X(alloc, alloc, "allocate and free one packet")                        \
	X(bulk, bulk, "allocate and free in bulks of 32")                      \
	X(trim, trim, "allocate, take 14 bytes off, claim them back, free")    \
	X(trim_fifo, trim_fifo, "the same, 64 Ki packets in flight")           \
	X(chain, chain, "allocate two, make one packet of them, free it")      \
	X(fifo, fifo, "allocate one, free the oldest of 64 Ki in flight")      \
	X(split, split, "allocate, split into header and payload, free both")  \
	X(chunk_alloc, alloc, "allocate and free one chunk")                   \
	X(chunk_bulk, bulk, "chunks in bulks of 32")                           \
	X(chunk_trim, trim, "a chunk, 14 bytes off, claimed back, freed")      \
	X(chunk_trim_fifo, trim_fifo, "the same, 64 Ki chunks in flight")      \
	X(chunk_fifo, fifo, "a chunk, free the oldest of 64 Ki in flight")     \
	X(chunk_split, split, "a chunk, split in two, both freed")

#define MICRO_PEERS(X)                                                         \
	X(alloc) X(bulk) X(trim) X(trim_fifo) X(chain) X(fifo) X(split)

#define MICRO_PEER(name) void micro_peer_##name(uint32_t cnt);
MICRO_PEERS(MICRO_PEER)
#undef MICRO_PEER

/* Start DPDK and make its pools; ends the process if it cannot. */
void micro_peer_init(void);

/* Make the compiler believe that somebody looks at what p points to. */
static inline void micro_use(const void *p)
{
	__asm__("" : : "r"(p) : "memory");
}

#endif /* XMBUF_BENCH_MICRO_H */
