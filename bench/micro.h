/* SPDX-License-Identifier: BSD-2-Clause */
#ifndef XMBUF_BENCH_MICRO_H
#define XMBUF_BENCH_MICRO_H

#include <stdint.h>

/*
 * micro: what a packet costs where no kernel is: the same step on multibufs
 * (xmbuf), on DPDK's mbufs (rte_mbuf), on lwIP's pbufs (pbuf) and on flat
 * memory that is copied (malloc), in one process, turn about.
 *
 *      micro.c            rounds, and what is printed
 *      micro_xmbuf*.c     ours: packets, edits, bytes
 *      micro_dpdk.c       theirs; a step for which a library has no call is
 *      micro_lwip.c       left out, and never put together by hand
 *      micro_flat.c       malloc() and memcpy(): one buffer a packet
 *
 * Our pool and DPDK's have the same number of frames on transparent huge
 * pages, and caches of 512.  lwIP is Debian's: its pools are malloc() too, and
 * a mutex that nobody else wants is taken.
 *
 * A step begins and ends with nothing held, but for those between begin() and
 * end(), which find a packet there: of MICRO_PARTS times MICRO_PART_LEN bytes,
 * or 64 Ki packets in flight, of which each step works on the oldest, as a
 * program does that keeps them a while.
 */

enum {
	MICRO_FRAMES = 80 << 10,
	MICRO_FRAME_LEN = 2048,
	MICRO_IN_FLIGHT = 64 << 10,
	MICRO_BULK = 32,
	MICRO_HEADROOM = 128, /* as DPDK's */
	MICRO_LEN = 64,	      /* of a packet ... */
	MICRO_TRIM = 14,      /* an Ethernet header off and on again */
	MICRO_LONG = 1500,    /* ... that is cut: */
	MICRO_HEADER = 42,    /* at its headers' end */
	MICRO_MIDDLE = 700,   /* or in its middle */
	MICRO_PIECE = 100,    /* bytes that are put there, or go from there */
	MICRO_PARTS = 4,
	MICRO_PART_LEN = MICRO_LONG / MICRO_PARTS,
	MICRO_BORDER = MICRO_PART_LEN * 3, /* the third one */
	MICRO_ACROSS = 20,		   /* bytes that lie across it */
	MICRO_SMALL_PARTS = 24,		   /* of MICRO_LEN bytes */
	MICRO_PAYLOAD = 1400,
	MICRO_MTU = 500,
	MICRO_ALIGN = 64,
	MICRO_WORDS = MICRO_LONG / 4, /* of 32 bits */
	MICRO_TORN = 24,  /* words of which each lies across a border */
	MICRO_MARK = 0xa5 /* the last byte, and nowhere else */
};

/* X(id, steps counted for one, unit, what). */
#define MICRO_PACKET_ROWS(X)                                                   \
	X(alloc, 1, "ns/packet", "allocate and free one packet")               \
	X(bulk, MICRO_BULK, "ns/packet", "allocate and free in bulks of 32")   \
	X(allocator, 1, "ns/packet", "allocate from an allocator, free")       \
	X(trim, 1, "ns/packet",                                                \
	  "allocate, take 14 bytes off, claim them back, free")                \
	X(trim_fifo, 1, "ns/packet", "the same, 64 Ki packets in flight")      \
	X(chain, 1, "ns/packet",                                               \
	  "allocate two, make one packet of them, free it")                    \
	X(chain_fifo, 1, "ns/packet", "the same, 64 Ki packets in flight")     \
	X(chain4, 1, "ns/packet", "allocate four, one packet, free it")        \
	X(fifo, 1, "ns/packet",                                                \
	  "allocate one, free the oldest of 64 Ki in flight")                  \
	X(truncate, 1, "ns/packet", "allocate, keep 100 of 1500 bytes, free")  \
	X(slice, 1, "ns/packet",                                               \
	  "allocate, keep 100 bytes of the middle, free")                      \
	X(claim_suffix, 1, "ns/packet",                                        \
	  "allocate, claim 100 bytes behind, free")                            \
	X(waiter, 1, "ns/packet", "wait for what is there, take it, free")     \
	X(split, 1, "ns/packet",                                               \
	  "allocate, split into header and payload, free both")                \
	X(merge, 1, "ns/packet", "allocate, split, make one again, free")      \
	X(share, 1, "ns/packet", "allocate, share, free both")                 \
	X(share4, 1, "ns/packet", "the same, a packet of four chunks")         \
	X(unshare, 1, "ns/packet",                                             \
	  "allocate, share, free one, make the other writable")                \
	X(extbuf, 1, "ns/packet", "attach memory of the caller's, free")       \
	X(chunk_alloc, 1, "ns/chunk", "allocate and free one chunk")           \
	X(chunk_bulk, MICRO_BULK, "ns/chunk", "chunks in bulks of 32")         \
	X(chunk_trim, 1, "ns/chunk",                                           \
	  "a chunk, 14 bytes off, claimed back, freed")                        \
	X(chunk_trim_fifo, 1, "ns/chunk", "the same, 64 Ki in flight")         \
	X(chunk_fifo, 1, "ns/chunk",                                           \
	  "a chunk, free the oldest of 64 Ki in flight")                       \
	X(chunk_split, 1, "ns/chunk", "a chunk, split in two, both freed")     \
	X(chunk_take_prefix, 1, "ns/chunk",                                    \
	  "a chunk, its first 42 bytes taken off, both freed")                 \
	X(chunk_take_suffix, 1, "ns/chunk",                                    \
	  "a chunk, its last 42 bytes taken off, both freed")                  \
	X(chunk_share, 1, "ns/chunk", "a chunk, shared, both freed")

#define MICRO_EDIT_ROWS(X)                                                     \
	X(insert, 1, "ns/packet",                                              \
	  "allocate, insert 100 bytes in the middle, free")                    \
	X(take, 1, "ns/packet", "take 100 bytes from the middle, free both")   \
	X(discard_segment, 1, "ns/packet",                                     \
	  "allocate, discard 100 bytes in the middle, free")                   \
	X(grow, 1, "ns/packet", "a header where no headroom is, free")         \
	X(grow_suffix, 1, "ns/packet", "a trailer where no tailroom is, free") \
	X(push_pop, 1, "ns/step", "push a chunk in front, take it off")        \
	X(insert_chunk, 1, "ns/step",                                          \
	  "put a chunk in the middle of four, take it out")                    \
	X(reserve, 1, "ns/step", "reserve for 8 chunks")                       \
	X(fragments, 1, "ns/packet",                                           \
	  "append two packets to one, take them off, free")                    \
	X(layers, 1, "ns/packet", "enter two layers, get 8 bytes, leave them") \
	X(pullup, 1, "ns/packet", "54 bytes of 14 and 200 side by side, free") \
	X(linearize, 1, "ns/packet", "make one chunk of four, free")           \
	X(gather, 1, "ns/packet", "make one chunk of 24 of 64 bytes, free")    \
	X(align, 1, "ns/packet", "align the middle of 1500 bytes to 64, free") \
	X(overwrite, 1, "ns/packet",                                           \
	  "write 700 of 1500 bytes, drop the rest, free")                      \
	X(segment, 1, "ns/packet", "cut 1400 bytes to an MTU of 500, free")

#define MICRO_BYTE_ROWS(X)                                                     \
	X(index_at, 1, "ns/step", "which chunk byte 1325 is in")               \
	X(seek_skip, 1, "ns/step", "a reader back to byte 20, then 1300 on")   \
	X(get_inside, 1, "ns/step", "point to 20 bytes of the first chunk")    \
	X(get_across, 1, "ns/step", "20 bytes across the third border")        \
	X(copy_to, 1, "ns/packet", "copy 1500 bytes out of four chunks")       \
	X(copy_from, 1, "ns/packet", "copy 1500 bytes into four chunks")       \
	X(equal, 1, "ns/packet", "compare 1500 bytes with flat ones")          \
	X(compare, 1, "ns/packet", "compare two packets of 1500 bytes")        \
	X(find_byte, 1, "ns/packet", "find the last of 1500 bytes")            \
	X(find, 1, "ns/packet", "find the last 4 of 1500 bytes")               \
	X(bytes, MICRO_LONG, "ns/byte", "byte by byte, forward")               \
	X(bytes_back, MICRO_LONG, "ns/byte", "byte by byte, backward")         \
	X(get_be32, MICRO_WORDS, "ns/word", "read 375 words of 32 bits")       \
	X(get_be32_across, MICRO_TORN, "ns/word",                              \
	  "24 words, each across a border")                                    \
	X(put_be32, MICRO_WORDS, "ns/word", "write 375 words of 32 bits")      \
	X(iovec, 1, "ns/packet", "iovecs of four chunks")

#define MICRO_ROWS(X) MICRO_PACKET_ROWS(X) MICRO_EDIT_ROWS(X) MICRO_BYTE_ROWS(X)

#define MICRO_ID(id, each, unit, what) MICRO_##id,
enum micro_row { MICRO_ROWS(MICRO_ID) MICRO_ROW_CNT };
#undef MICRO_ID

/* run() does its step cnt times, between begin() and end() if there are. */
struct micro_step {
	void (*run)(uint32_t cnt);
	void (*begin)(void);
	void (*end)(void);
};

enum { MICRO_TABLES = 3 };

/* Each row is in one of the tables, or in none. */
struct micro_contender {
	const char *name;
	void (*init)(void); /* ends the process if it cannot */
	const struct micro_step *tables[MICRO_TABLES];
};

extern const struct micro_contender micro_xmbuf, micro_dpdk, micro_lwip,
	micro_flat;

/* What packets of MICRO_LONG bytes hold: MICRO_MARK is the last byte alone. */
extern uint8_t micro_data[MICRO_LONG];

/* Make the compiler believe that somebody looks at what p points to. */
static inline void micro_use(const void *p)
{
	__asm__("" : : "r"(p) : "memory");
}

/* And that it uses a number: no loop is left out, or becomes a vector's. */
#define micro_keep(number)                                                     \
	do {                                                                   \
		__asm__("" : "+r"(number));                                    \
		__asm__("" : : "r"(number));                                   \
	} while (0)

#endif /* XMBUF_BENCH_MICRO_H */
