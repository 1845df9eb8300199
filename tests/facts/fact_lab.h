/* SPDX-License-Identifier: BSD-2-Clause */
#ifndef XMBUF_TESTS_FACTS_FACT_LAB_H
#define XMBUF_TESTS_FACTS_FACT_LAB_H

#include <criterion/criterion.h>
#include <criterion/new/assert.h>
#include <errno.h>
#include <linux/if_xdp.h>
#include <stdbool.h>
#include <stdint.h>
#include <string.h>
#include <unistd.h>

/*
 * fact_lab: what the tests of the kernel's own behaviour stand on.
 *
 *      network namespace of this test process
 *      +---------------------------------------------------+
 *      |  fa (sockets, programs) ------------- fb (taps)   |
 *      |  ga (where a test asks for it) ------ gb          |
 *      +---------------------------------------------------+
 *
 * It speaks to the kernel in its own words (socket options, ring pointers, a
 * program of six instructions) and uses nothing of the library, because it is
 * the kernel that is tested.  Criterion forks for each test: namespace, devices
 * and sockets go with the process.
 *
 * Units      Lengths are bytes, times milliseconds.
 * Errors     Calls whose answer is the fact give 0 or a negative errno; the
 *            others abort the test.
 */

/* Newer than Debian 12's headers; the values are kernel ABI. */
#ifndef XDP_USE_SG
#define XDP_USE_SG (1 << 4)
#endif
#ifndef XDP_PKT_CONTD
#define XDP_PKT_CONTD (1 << 0)
#endif
#ifndef XDP_TX_METADATA
#define XDP_TX_METADATA (1 << 1)
#endif
#ifndef XDP_UMEM_TX_SW_CSUM
#define XDP_UMEM_TX_SW_CSUM (1 << 1)
#endif
#ifndef XDP_UMEM_TX_METADATA_LEN
#define XDP_UMEM_TX_METADATA_LEN (1 << 2)
#endif
#ifndef XDP_MAX_TX_SKB_BUDGET
#define XDP_MAX_TX_SKB_BUDGET 9
#endif
#ifndef BPF_F_XDP_DEV_BOUND_ONLY
#define BPF_F_XDP_DEV_BOUND_ONLY (1U << 6)
#endif

enum {
	FACT_WAIT_MS = 30000, /* for what must come, on whatever machine */
	FACT_QUIET_MS = 100,  /* for what must not */
	FACT_PACKET_MAX = 65536,
	FACT_RING_CNT = 64,
};

/* struct xdp_umem_reg as it is since Linux 6.8. */
struct fact_umem {
	uint64_t addr;
	uint64_t len;
	uint32_t chunk_len;
	uint32_t headroom;
	uint32_t flags;
	uint32_t meta_len;
};

/* Wait for a condition, which is asked for afterwards. */
#define fact_await(condition)                                                  \
	do {                                                                   \
		uint64_t await_end_ms = fact_now_ms() + FACT_WAIT_MS;          \
		while (!(condition) && fact_now_ms() < await_end_ms)           \
			usleep(1000);                                          \
	} while (0)

struct fact_ring {
	_Atomic uint32_t *producer;
	_Atomic uint32_t *consumer;
	_Atomic uint32_t *flags;
	void *entries;
	uint32_t mask;
	void *map;
	size_t map_len;
};

struct fact_sock {
	int fd;
	struct fact_umem umem;
	struct fact_ring fill, comp, rx, tx;
};

/* Skip without root or AF_XDP, else enter a namespace where nothing speaks. */
void fact_setup(void);

/* Is the running kernel older than major.minor? */
bool fact_is_before(int major, int minor);

/* Skip if it is. */
void fact_needs_kernel(int major, int minor, const char *why);

/* Run a shell command: give its exit status; or it must work. */
int fact_try(const char *fmt, ...) __attribute__((format(printf, 1, 2)));
void fact_sh(const char *fmt, ...) __attribute__((format(printf, 1, 2)));

/* Make and set up fa and fb, or ga and gb. */
void fact_pair(uint32_t mtu, int queue_cnt);
void fact_second_pair(uint32_t mtu);

/* Memory for chunks: a memfd, mapped shared and zeroed. */
struct fact_umem fact_memory(uint32_t chunk_cnt, uint32_t chunk_len);
static inline uint8_t *fact_at(const struct fact_sock *sock, uint64_t addr)
{
	return (uint8_t *)(uintptr_t)sock->umem.addr + addr;
}

/* An AF_XDP socket and nothing more. */
int fact_socket(void);

int fact_register(int fd, const struct fact_umem *umem);

/* Ask for a ring and map it. */
void fact_ring(int fd, struct fact_ring *ring, int which, uint32_t cnt);
void fact_unmap(struct fact_sock *sock);

/* A socket with registered memory and four rings, not bound. */
struct fact_sock fact_open(const struct fact_umem *umem);

/* A socket of another's memory: RX and TX ring, fill and completion if asked.
 */
struct fact_sock fact_open_sharing(const struct fact_sock *owner, bool is_full);

int fact_bind(int fd, const char *dev, uint32_t queue, uint16_t flags);
int fact_bind_sharing(int fd, const char *dev, uint32_t queue, uint16_t flags,
		      int owner_fd);

/* memory(), open(), bind() to queue 0 in copy mode with need_wakeup. */
struct fact_sock fact_plain(const char *dev);

/* The same in chunks of chunk_len and for packets of several buffers. */
struct fact_sock fact_several(const char *dev, uint32_t chunk_len);

/* Close, with its rings. */
void fact_close(struct fact_sock *sock);

void fact_fill(struct fact_sock *sock, uint64_t addr);

/* Fill with cnt chunks from the first one on. */
void fact_fill_chunks(struct fact_sock *sock, uint32_t first, uint32_t cnt);

/* Post a descriptor; the kernel sees it. */
void fact_post(struct fact_sock *sock, uint64_t addr, uint32_t len,
	       uint32_t options);

/* Post cnt of them, all or none at once. */
void fact_post_chain(struct fact_sock *sock, const struct xdp_desc *descs,
		     uint32_t cnt);

/* Descriptors that the kernel has not looked at. */
uint32_t fact_waiting(const struct fact_sock *sock);

/* sendto() of nothing: 0 or negative errno. */
int fact_kick(const struct fact_sock *sock);

/* Kick until all is taken. */
void fact_kick_all(const struct fact_sock *sock);

/* The next completion; false: none within wait_ms. */
bool fact_completed(struct fact_sock *sock, uint64_t *addr, int wait_ms);

/* The next received descriptor; false: none within wait_ms. */
bool fact_received(struct fact_sock *sock, struct xdp_desc *desc, int wait_ms);

/* Receive a packet: how many descriptors it had, its bytes to packet. */
uint32_t fact_receive(struct fact_sock *sock, uint8_t *packet, size_t *len);

struct xdp_statistics fact_stats(const struct fact_sock *sock);

/* An xskmap, and a program that sends each queue to its slot. */
int fact_xskmap(uint32_t cnt);
int fact_program(int map_fd, bool has_frags);
void fact_map_set(int map_fd, uint32_t queue, int xsk_fd);

/* program() attached natively by netlink; 0 or negative errno. */
int fact_attach(const char *dev, int prog_fd, uint32_t xdp_flags);

/* Steer queue 0 of dev to the socket; the map's fd. */
int fact_steer(const char *dev, const struct fact_sock *sock);

/* A program of one instruction: give this verdict for everything. */
int fact_verdict(int action);

/* A program that sends everything out of the device ifindex. */
int fact_redirect(int ifindex);

/* A classifier: tag (tci != 0) or redirect (ifindex != 0) what leaves or
 * comes in on dev. */
void fact_classify(const char *dev, bool is_egress, int tci, int ifindex);

/* A nonblocking AF_PACKET socket that sees what comes in on dev. */
int fact_tap(const char *dev);
void fact_tap_send(int fd, const void *packet, size_t len);

/* The next packet's length; 0: none within wait_ms. */
size_t fact_tap_recv(int fd, void *packet, size_t max, int wait_ms);

/* Write, send or expect a packet that is known in all its bytes. */
void fact_make(uint8_t *packet, size_t len, uint32_t tag);
void fact_tap_send_made(int fd, size_t len, uint32_t tag);
bool fact_tap_recv_made(int fd, size_t len, uint32_t tag);
bool fact_is_made(const uint8_t *packet, size_t len, uint32_t tag);

/* Drop one capability, or all and root. */
void fact_drop_capability(int cap);
void fact_drop_all(void);

int fact_ifindex(const char *dev);
uint64_t fact_now_ms(void);

#endif /* XMBUF_TESTS_FACTS_FACT_LAB_H */
