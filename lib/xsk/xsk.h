/* SPDX-License-Identifier: BSD-2-Clause */
#ifndef XMBUF_XSK_XSK_H
#define XMBUF_XSK_XSK_H

#include "base/base.h"
#include "buf/multibuf.h"
#include "stats/counter.h"
#include "umem/ledger.h"
#include "umem/umem.h"

/*
 * xsk: one AF_XDP socket on one queue of one device, with its four rings.
 *
 *                 refill()            recv()
 *      pool ---> fill ring --kernel--> RX ring ---> multibufs
 *      pool <--- completion <-kernel-- TX ring <--- multibufs
 *                 reap()              send(), kick()
 *
 * A received packet is a multibuf of the frames it was received in; a sent
 * one is posted where it lies, all of its chunks or none: frames of the umem's
 * pool and of its pieces.  A packet with a chunk of another umem, or of other
 * memory, is copied into frames first, and counted; or dropped by name, on a
 * socket that forbids it.
 *
 * The fill level, how many frames wait for packets, follows the traffic: as
 * few as the longest pause of this thread needs (frames stay in the CPU's
 * cache), more at once when packets pile up, never less than the device's ring
 * in zero copy.
 *
 * A chain of more buffers than may be sent is gathered into fewer frames, and
 * counted; one that full frames could not hold either is dropped by name.
 *
 * Several sockets on one queue: the first has fill and completion ring, those
 * that share with it have RX and TX only:
 *
 *      first     fill   completion   RX   TX     refill() reap() recv() send()
 *      sibling                       RX   TX                     recv() send()
 *      sibling                       RX   TX                     recv() send()
 *
 * The first's refill() feeds all of them, its reap() takes back what any of
 * them sent: while one sends, the first's thread has to reap.  Which of them a
 * packet goes to, the XDP program says by its index in the XSKMAP.
 *
 * Units      Counts are of packets (multibufs) unless named otherwise.
 * Ownership  send() consumes what it counts.  Frames that the kernel has when
 *            the socket closes are HELD until settle() saw the queue let go;
 *            those of a sibling come home by the first's reap() too.  The
 *            first closes last.
 * Threads    Each ring has one thread for life: recv() and refill() belong to
 *            one, send() and kick() to one (the same or another), each with
 *            its own cache; reap() to the one that sends, and where siblings
 *            share to the one of the first.  Siblings are opened, closed and
 *            destroyed while no thread works on the first or on them, nor
 *            makes its ledger; take one out of the XSKMAP before it is closed.
 *            Counters may be read from any.
 * Errors     0 or negative errno.  A packet that cannot be sent is a named
 *            counter, never a return code.
 * Kernel     5.4 (need_wakeup); several buffers a packet 6.6; preferred busy
 *            polling 5.11 with CAP_NET_ADMIN.  CAP_NET_RAW.
 */

#define XMB_XSK_RING_CNT 2048u
#define XMB_XSK_FILL_BASE 256u
#define XMB_XSK_L2_LEN 22u    /* beyond the MTU: MAC header, two VLAN tags */
#define XMB_XSK_SHARE_MAX 15u /* sockets that share with a first */

enum xmb_xsk_bind {
	XMB_XSK_AUTO, /* zero copy, else copy; xmb_xsk_mode() tells */
	XMB_XSK_COPY,
	XMB_XSK_ZC,
};

/* X(UPPER, lower, KIND, sentence) */
#define XMB_XSK_COUNTERS(X)                                                    \
	X(RX_PACKETS, rx_packets, TOTAL, "packets received")                   \
	X(RX_BYTES, rx_bytes, TOTAL, "bytes received")                         \
	X(RX_CHAINS, rx_chains, TOTAL, "packets received in several frames")   \
	X(TX_PACKETS, tx_packets, TOTAL, "packets posted to the TX ring")      \
	X(TX_BYTES, tx_bytes, TOTAL, "bytes posted to the TX ring")            \
	X(TX_COMPLETED, tx_completed, TOTAL,                                   \
	  "buffers that the kernel gave back after sending")                   \
	X(TX_GATHERED, tx_gathered, EVENT,                                     \
	  "chains of more buffers than may be sent that were copied into "     \
	  "fewer frames: larger frames avoid the copy")                        \
	X(RX_NO_SPILL, rx_no_spill, DROP,                                      \
	  "received chains with no spill block left: raise spill_cnt or the "  \
	  "frame size")                                                        \
	X(RX_BROKEN, rx_broken, DROP,                                          \
	  "received chains of which a buffer was unusable: see rx_bad_desc")   \
	X(TX_EMPTY, tx_empty, DROP,                                            \
	  "packets of 0 bytes, which cannot be sent: the handler made them")   \
	X(TX_TOO_LONG, tx_too_long, DROP,                                      \
	  "packets longer than the MTU of the way out: raise it there")        \
	X(TX_TOO_MANY_FRAGS, tx_too_many_frags, DROP,                          \
	  "chains that full frames could not hold either in as few buffers "   \
	  "as may be sent: use larger frames or a smaller MTU")                \
	X(TX_NO_FRAMES, tx_no_frames, DROP,                                    \
	  "memory outside the umem could not be copied: no frame was free")    \
	X(TX_FOREIGN, tx_foreign, DROP,                                        \
	  "packets in memory outside the umem, where forbid_copy is set: put " \
	  "them in its frames, or in a piece of it")                           \
	X(TX_FULL, tx_full, DROP,                                              \
	  "the TX ring or the port's share of frames was full: the way out "   \
	  "is "                                                                \
	  "slower than the way in")                                            \
	X(TX_KERNEL_DROP, tx_kernel_drop, DROP,                                \
	  "the kernel took the packet and dropped it: the device's queue was " \
	  "full or its peer is down")                                          \
	X(TX_UNSENT, tx_unsent, DROP,                                          \
	  "packets still in the TX ring when the socket closed: the link was " \
	  "down, or too slow to send them in time")                            \
	X(RX_UNREAD, rx_unread, DROP,                                          \
	  "packets still in the RX ring when the socket closed: they came "    \
	  "after the program had stopped receiving")                           \
	X(RX_DROPPED, rx_dropped, DROP,                                        \
	  "the kernel had no frame for the packet, or it was longer than a "   \
	  "frame without multi-buffer: raise the fill level or frame size")    \
	X(RX_RING_FULL, rx_ring_full, DROP,                                    \
	  "the RX ring was full: this program is slower than the traffic")     \
	X(RX_FILL_EMPTY, rx_fill_empty, EVENT,                                 \
	  "times the kernel found the fill ring empty: the fill level rises; " \
	  "if it goes on, ask for more frames")                                \
	X(TX_RING_EMPTY, tx_ring_empty, EVENT,                                 \
	  "times the kernel found the TX ring empty: it had sent all there "   \
	  "was")                                                               \
	X(TX_KICKS, tx_kicks, EVENT, "system calls to start sending")          \
	X(RX_KICKS, rx_kicks, EVENT,                                           \
	  "system calls to resume receiving, or to poll the device busily")    \
	X(TX_AGAIN, tx_again, EVENT,                                           \
	  "kicks after which packets still waited: the device or the send "    \
	  "buffer was full")                                                   \
	X(TX_LINK_DOWN, tx_link_down, EVENT,                                   \
	  "kicks refused because the link is down: what is posted waits for "  \
	  "it to come back")                                                   \
	X(FILL_RAISED, fill_raised, EVENT,                                     \
	  "times the fill level was raised because packets piled up")          \
	X(RX_INVALID, rx_invalid, FAULT,                                       \
	  "fill ring entries that the kernel refused: a mistake of this "      \
	  "library, please report it")                                         \
	X(TX_INVALID, tx_invalid, FAULT,                                       \
	  "TX descriptors that the kernel refused: it has stricter rules "     \
	  "than this library knows, please report it")                         \
	X(RX_BAD_DESC, rx_bad_desc, FAULT,                                     \
	  "RX descriptors that name no frame of ours: ignored")                \
	X(COMP_UNKNOWN, comp_unknown, FAULT,                                   \
	  "completions of nothing that was in flight: ignored")                \
	X(TX_LEAKED, tx_leaked, FAULT,                                         \
	  "buffers that the kernel took and never completed: given back by "   \
	  "reconcile(), a mistake of the kernel")

#define XMB_XSK_ENUM(up, low, kind, meaning) XMB_XSK_##up,
enum xmb_xsk_counter { XMB_XSK_COUNTERS(XMB_XSK_ENUM) XMB_XSK_COUNTER_CNT };

XMB_API extern const struct xmb_counter_desc
	xmb_xsk_counter_descs[XMB_XSK_COUNTER_CNT];

/*
 * Makes the kernel look at a ring of fd: by default sendto() for TX and
 * recvfrom() for RX, each of 0 bytes.  0 or negative errno.
 */
typedef int xmb_xsk_kick_fn(void *arg, int fd, bool is_tx);

struct xmb_xsk_opts {
	const char *dev; /* for messages */
	int ifindex;
	uint32_t queue;
	enum xmb_xsk_bind bind;
	uint32_t mtu;	    /* of the device: bytes behind the MAC header */
	uint32_t ring_cnt;  /* entries of each ring; 0: XMB_XSK_RING_CNT */
	uint32_t fill_base; /* lowest fill level; 0: XMB_XSK_FILL_BASE packets
			     * of the mtu */
	uint32_t fill_max;  /* highest; 0: ring_cnt */
	uint32_t tx_cap;    /* most frames in TX; 0: ring_cnt */
	uint32_t frags_max; /* buffers a packet may have; 0: as the mode can */
	/*
	 * Several sockets on one queue.  Of the first: how many will share with
	 * it, which its completion ring makes room for.  Of the others: the
	 * first (same device, queue and umem), whose mode they get; bind and
	 * the options of the fill ring are then not looked at.
	 */
	struct xmb_xsk *share;
	uint32_t share_cnt;
	bool tx_only; /* no RX ring; no frame waits for packets */
	/*
	 * Busy polling: for so long a call polls the device (0: none), and for
	 * so many packets (0: the kernel's); preferred over interrupts where
	 * the device defers those (xmb_nic_napi_set()).  refill() then calls
	 * into the kernel whenever the RX ring is empty.  The preference is
	 * given up, with a warning, where nothing is ever sent with it.
	 */
	uint32_t busy_poll_us, busy_poll_budget;
	bool prefer_busy_poll;
	/*
	 * Of the device in zero copy, as xmb_nic_info has them: buffers that a
	 * packet may have (0: not known), and the unit in which received
	 * packets fill a frame (0: a byte).
	 */
	uint32_t zc_segs_max, zc_unit;
	bool forbid_copy;    /* what is not in the umem is not sent */
	bool no_need_wakeup; /* the kernel is to look without being asked */
	uint64_t wait_ns;    /* for a queue that is being let go; 0: 2 s */
	xmb_xsk_kick_fn *kick;
	void *kick_arg;
};

/* What was got, not what was asked. */
struct xmb_xsk_mode {
	bool is_zc;
	bool is_sg;	    /* several buffers a packet */
	uint32_t frags_max; /* buffers a sent packet may have */
	uint32_t busy_ms;   /* how long the queue was waited for */
	uint32_t tx_budget; /* descriptors that a kick moves, copy mode */
	uint32_t sndbuf;    /* SO_SNDBUF, a bound of what is in flight there */
};

/* Busy polling as the kernel has it now; of a closed socket as it had it. */
struct xmb_xsk_busy {
	uint32_t us;	  /* 0: none */
	uint32_t budget;  /* packets; 0: the kernel's own, 8 */
	uint32_t napi_id; /* 0: not known, and then a call polls nothing */
	bool is_preferred;
};

struct xmb_xsk;

/*
 * Open, fill the fill ring from cache, bind.
 * -EBUSY: another socket has the queue, still after wait_ns.  -EPERM: no
 * CAP_NET_RAW.  -ENOBUFS: over RLIMIT_MEMLOCK, or too few free frames to fill.
 * -ENOMEM: no memory, or pages of a piece are gone; -EFAULT: all of them are.
 * -EOPNOTSUPP: the mode that was asked for is not to be had; zero copy of
 * frames that lie across pages (umem.h); MTU above a frame and a kernel without
 * multi-buffer.  -ENODEV: no such device.
 * -EINVAL: the device has no such queue, ring_cnt is no power of two, share_cnt
 * above XMB_XSK_SHARE_MAX, or share is closed, of another device, queue or
 * umem, or tx_only when this one is not.  -ENOSPC: no socket id, or no room for
 * this TX ring in the first's completion ring.  Busy polling that is refused is
 * logged, and no failure.
 */
XMB_API int xmb_xsk_open(struct xmb_xsk **out, struct xmb_umem *umem,
			 struct xmb_cache *cache,
			 const struct xmb_xsk_opts *opts);

XMB_API int xmb_xsk_fd(const struct xmb_xsk *xsk);
XMB_API uint32_t xmb_xsk_queue(const struct xmb_xsk *xsk);
XMB_API struct xmb_xsk_mode xmb_xsk_mode(const struct xmb_xsk *xsk);
XMB_API struct xmb_xsk_busy xmb_xsk_busy(const struct xmb_xsk *xsk);

/*
 * Receive up to cnt packets into the empty mbs; returns how many.  Before its
 * first packet a sibling has to have been given frames: by the first.
 */
XMB_API uint32_t xmb_xsk_recv(struct xmb_xsk *xsk, struct xmb_cache *cache,
			      struct xmb_multibuf *mbs, uint32_t cnt);

/*
 * Bring the fill ring to its level, from the cache, and adapt the level
 * (now_ns: xmb_clock_ns()) to what the last recv() found waiting; call it once
 * for each.  Kicks the kernel when it waits for that.  Of a sibling, or with
 * tx_only: only the latter.
 */
XMB_API void xmb_xsk_refill(struct xmb_xsk *xsk, struct xmb_cache *cache,
			    uint64_t now_ns);

/*
 * Before a sleep: bring the fill ring to the highest level.  Whoever sleeps
 * has time for cold frames, and wakes late: a burst then finds as many frames
 * as there can be.  The level itself does not change.
 */
XMB_API void xmb_xsk_refill_idle(struct xmb_xsk *xsk, struct xmb_cache *cache);

/*
 * Post packets from the front of mbs.  Returns how many were consumed, posted
 * or dropped by name; the rest did not fit and is left as it was.
 */
XMB_API uint32_t xmb_xsk_send(struct xmb_xsk *xsk, struct xmb_cache *cache,
			      struct xmb_multibuf *mbs, uint32_t cnt);

/*
 * What send() would make of the packet, ring and pool permitting.
 * 0: it goes from where it lies.  1: it is copied first.
 * -EXDEV: it has a chunk that is not in the umem, and copying is forbidden.
 * -ENODATA: 0 bytes.  -EMSGSIZE: longer than the MTU.  -E2BIG: a chain of more
 * buffers than frags_max.
 */
XMB_API int xmb_xsk_check(const struct xmb_xsk *xsk,
			  const struct xmb_multibuf *mb);

/* Release cnt packets that did not fit and count them as tx_full. */
XMB_API void xmb_xsk_drop_full(struct xmb_xsk *xsk, struct xmb_cache *cache,
			       struct xmb_multibuf *mbs, uint32_t cnt);

/*
 * Take back what was sent, by siblings too.  Returns how many buffers; of a
 * sibling 0: the first does it.
 */
XMB_API uint32_t xmb_xsk_reap(struct xmb_xsk *xsk, struct xmb_cache *cache);

/*
 * Have the kernel send what is posted, as far as it does now.
 * -EAGAIN: some waits.  -ENETDOWN: link down.  -ENXIO: the device is gone.
 */
XMB_API int xmb_xsk_kick(struct xmb_xsk *xsk);

/* Buffers posted that the kernel has not looked at. */
XMB_API uint32_t xmb_xsk_tx_waiting(const struct xmb_xsk *xsk);

/* Buffers posted and not taken back: waiting, being sent, or completed. */
XMB_API uint32_t xmb_xsk_tx_inflight(const struct xmb_xsk *xsk);

/* True if a packet waits in the RX ring. */
XMB_API bool xmb_xsk_has_rx(const struct xmb_xsk *xsk);

/* Frames that wait for packets are to be at least this many. */
XMB_API uint32_t xmb_xsk_fill_level(const struct xmb_xsk *xsk);

/* Read all counters, the kernel's included. */
XMB_API void xmb_xsk_stats(const struct xmb_xsk *xsk,
			   uint64_t values[XMB_XSK_COUNTER_CNT]);

/* Add what this socket has to the report. */
XMB_API void xmb_xsk_ledger(const struct xmb_xsk *xsk,
			    struct xmb_ledger *ledger);

/*
 * Give back buffers that the kernel took and will never complete.  Kernels do
 * lose some, and say so by nothing: so this is asked, now and then, by a caller
 * who sends nothing meanwhile on the socket and its siblings (and asks the
 * first for all of them), and what tells is silence.  Returns how many were
 * given back (tx_leaked), 0: nothing is in flight.
 * -EAGAIN: something is posted that the kernel has not taken, or a posted,
 * taken or completed one was new within quiet_ns of calls (now_ns:
 * xmb_clock_ns()).  -EBUSY: zero copy, and by the rings' indexes fewer were
 * completed than taken: the device may still read them.
 * In copy mode the kernel has copied what it took (but for drivers as
 * virtio_net, whose packets lie in the frames until they are sent: there it is
 * as in zero copy, and close() is the way), so that a completion that comes
 * after all can at worst be taken for that of the same frame's next sending:
 * choose quiet_ns well above what a qdisc or a paused link keeps (seconds).
 * Sure in every mode: close() and settle().
 */
XMB_API int xmb_xsk_reconcile(struct xmb_xsk *xsk, struct xmb_cache *cache,
			      uint64_t now_ns, uint64_t quiet_ns);

/*
 * Stop: take back what the kernel has finished, close the fd; the frames that
 * it still has are HELD.  Counters and ledger can be read on.
 * -EBUSY: sockets that share with it are open.
 */
XMB_API int xmb_xsk_close(struct xmb_xsk *xsk, struct xmb_cache *cache);

/*
 * Free the held frames if the kernel has let the queue go (a bind of it
 * succeeds, or the device is gone).
 * -EAGAIN: not yet; of a sibling, not while the first is open.
 */
XMB_API int xmb_xsk_settle(struct xmb_xsk *xsk, struct xmb_cache *cache);

/* Free a socket that settled, or one whose umem goes too. */
XMB_API void xmb_xsk_destroy(struct xmb_xsk *xsk);

#endif /* XMBUF_XSK_XSK_H */
