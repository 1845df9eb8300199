/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * What a kernel does in zero copy and not on veth, in its own words: nothing of
 * the library is under test here, and tests/facts has the rest.
 */
#include "vm_lab.h"

#include "fact_lab.h"

#include <linux/if_link.h>
#include <stdatomic.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <unistd.h>

enum { PAGE = 4096, CHUNK = 3000, AT = 48, RX_OFFSET = 256, HUGE = 2 << 20 };

static void set_up(void)
{
	vm_setup_links(1500);
}

TestSuite(raw, .init = set_up, .timeout = 300);

/* A bind while the link is up; a queue that was just closed is had late. */
static void bind_zc(const struct fact_sock *sock, const char *dev, int owner_fd)
{
	uint16_t flags =
		owner_fd ? XDP_SHARED_UMEM : XDP_ZEROCOPY | XDP_USE_NEED_WAKEUP;
	uint64_t end_ms = fact_now_ms() + FACT_WAIT_MS;
	int err;

	do {
		err = fact_bind_sharing(sock->fd, dev, 0, flags, owner_fd);
	} while (err == -EBUSY && fact_now_ms() < end_ms);
	cr_assert(eq(int, err, 0), "%s: %s", dev, strerror(-err));
	vm_wait_link(dev);
}

/* Send all of dev's packets to the socket, program first. */
static int put_program(const char *dev)
{
	int map_fd = fact_xskmap(1);

	fact_sh("ip link set %s down", dev);
	cr_assert(eq(int,
		     fact_attach(dev, fact_program(map_fd, false),
				 XDP_FLAGS_DRV_MODE),
		     0));
	fact_sh("ip link set %s up", dev);
	vm_wait_link(dev);
	return map_fd;
}

static void take_program(const char *dev)
{
	fact_sh("ip link set %s down", dev);
	cr_expect(eq(int, fact_attach(dev, -1, XDP_FLAGS_DRV_MODE), 0));
	fact_sh("ip link set %s up", dev);
}

static bool is_zc(const struct fact_sock *sock)
{
	struct xdp_options options = { 0 };
	socklen_t len = sizeof(options);

	cr_assert(eq(int,
		     getsockopt(sock->fd, SOL_XDP, XDP_OPTIONS, &options, &len),
		     0));
	return options.flags & XDP_OPTIONS_ZEROCOPY;
}

/* Kick until the card has sent what is posted. */
static bool completed(struct fact_sock *sock, uint64_t *addr)
{
	for (int i = 0; i < FACT_WAIT_MS / 10; i++) {
		fact_kick(sock);
		if (fact_completed(sock, addr, 10))
			return true;
	}
	return false;
}

Test(raw, several_buffers_a_packet_are_not_to_be_had_in_zero_copy)
{
	struct fact_umem umem = fact_memory(64, PAGE);
	struct fact_sock sock = fact_open(&umem);

	fact_fill_chunks(&sock, 0, 32);
	cr_expect(eq(int,
		     fact_bind(sock.fd, "left", 0, XDP_ZEROCOPY | XDP_USE_SG),
		     -EOPNOTSUPP));
	fact_close(&sock);
}

Test(raw, a_umem_is_shared_by_two_devices)
{
	struct fact_umem umem = fact_memory(256, PAGE);
	struct fact_sock in = fact_open(&umem), out;
	int in_map = put_program("left"), from = fact_tap("ltap");
	int to = fact_tap("rtap");
	struct xdp_desc desc;
	uint64_t addr = 0;

	put_program("right");
	out = fact_open_sharing(&in, true);
	fact_fill_chunks(&in, 0, FACT_RING_CNT);
	fact_fill_chunks(&out, 100, FACT_RING_CNT);
	bind_zc(&in, "left", 0);
	bind_zc(&out, "right", in.fd);
	cr_expect(is_zc(&in));
	cr_expect(is_zc(&out));
	fact_map_set(in_map, 0, in.fd);
	for (uint32_t i = 0; i < 32; i++) {
		fact_tap_send_made(from, 200, i);
		cr_assert(fact_received(&in, &desc, FACT_WAIT_MS), "%u", i);
		cr_expect(eq(u64, desc.addr % PAGE, RX_OFFSET));
		fact_post(&out, desc.addr, desc.len, 0);
		cr_assert(completed(&out, &addr));
		cr_expect(eq(u64, addr, desc.addr));
		cr_expect(fact_tap_recv_made(to, 200, i));
	}
	fact_close(&out);
	fact_close(&in);
	take_program("left");
	take_program("right");
}

/*
 * A hugepage's frames may lie across pages.  RX names frame and offset apart;
 * a completion is the word that was posted, whichever way it was put.
 */
Test(raw, unaligned_mode_names_base_and_offset_and_completes_as_posted)
{
	struct fact_umem umem = { .len = HUGE,
				  .chunk_len = CHUNK,
				  .flags = XDP_UMEM_UNALIGNED_CHUNK_FLAG };
	const uint64_t base = 5 * PAGE - 332;
	struct fact_sock sock;
	struct xdp_desc desc;
	uint64_t addr = 0;
	int map_fd, tap;
	void *area;

	vm_hugepages(1);
	area = mmap(NULL, HUGE, PROT_READ | PROT_WRITE,
		    MAP_SHARED | MAP_ANONYMOUS | MAP_HUGETLB, -1, 0);
	cr_assert(area != MAP_FAILED, "no hugepage");
	umem.addr = (uintptr_t)area;
	map_fd = put_program("left");
	tap = fact_tap("ltap");
	sock = fact_open(&umem);
	for (uint64_t i = 0; i < FACT_RING_CNT; i++)
		fact_fill(&sock, base + i * CHUNK);
	bind_zc(&sock, "left", 0);
	fact_map_set(map_fd, 0, sock.fd);
	fact_tap_send_made(tap, 1400, 1);
	cr_assert(fact_received(&sock, &desc, FACT_WAIT_MS));
	cr_expect(eq(u64, desc.addr, base | (uint64_t)RX_OFFSET << AT));
	cr_expect(fact_is_made(fact_at(&sock, base + RX_OFFSET), 1400, 1));
	fact_post(&sock, desc.addr, desc.len, 0);
	cr_assert(completed(&sock, &addr));
	cr_expect(eq(u64, addr, desc.addr));
	cr_expect(fact_tap_recv_made(tap, 1400, 1));
	fact_post(&sock, base + RX_OFFSET, desc.len, 0);
	cr_assert(completed(&sock, &addr));
	cr_expect(eq(u64, addr, base + RX_OFFSET));
	cr_expect(fact_tap_recv_made(tap, 1400, 1));
	fact_close(&sock);
	take_program("left");
	munmap(area, HUGE);
	vm_hugepages(0);
}

/* Memory whose pages 2n and 2n + 1 are one: neighbours of nothing. */
static struct fact_umem doubled(uint32_t page_cnt)
{
	struct fact_umem umem = { .len = (uint64_t)page_cnt * PAGE,
				  .chunk_len = CHUNK,
				  .flags = XDP_UMEM_UNALIGNED_CHUNK_FLAG };
	uint8_t *area = mmap(NULL, umem.len, PROT_NONE,
			     MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	int fd = memfd_create("fact", MFD_CLOEXEC);

	cr_assert(area != MAP_FAILED, "no map");
	cr_assert(eq(int, ftruncate(fd, (off_t)umem.len / 2), 0));
	for (uint32_t i = 0; i < page_cnt; i++) {
		void *at =
			mmap(area + i * PAGE, PAGE, PROT_READ | PROT_WRITE,
			     MAP_SHARED | MAP_FIXED, fd, (off_t)(i / 2) * PAGE);

		cr_assert(at != MAP_FAILED, "page %u", i);
	}
	close(fd);
	umem.addr = (uintptr_t)area;
	return umem;
}

/*
 * In the fill ring it is eaten, and nobody counts it; in the TX ring it is
 * counted, completed and not sent.
 */
Test(raw, a_frame_across_pages_that_are_no_neighbours_is_refused)
{
	const uint64_t good = 100 * PAGE, bad = 3 * PAGE - 700;
	struct fact_umem umem = doubled(256);
	struct fact_sock sock = fact_open(&umem);
	int map_fd = put_program("left"), tap = fact_tap("ltap");
	struct xdp_desc desc;
	uint64_t addr = 0;

	/* Every other one lies across. */
	for (uint64_t i = 0; i < FACT_RING_CNT / 2; i++) {
		fact_fill(&sock, (2 * i + 1) * PAGE - 1500);
		fact_fill(&sock, good + 2 * i * PAGE);
	}
	bind_zc(&sock, "left", 0);
	fact_map_set(map_fd, 0, sock.fd);
	for (uint32_t i = 0; i < 16; i++) {
		fact_tap_send_made(tap, 1400, i);
		cr_assert(fact_received(&sock, &desc, FACT_WAIT_MS), "%u", i);
		cr_expect(
			eq(u64, desc.addr,
			   (good + 2 * i * PAGE) | (uint64_t)RX_OFFSET << AT));
	}
	cr_expect(eq(u64, fact_stats(&sock).rx_invalid_descs, 0));
	fact_make(fact_at(&sock, good), 1400, 99);
	fact_post(&sock, bad, 1400, 0);
	fact_post(&sock, good, 1400, 0);
	cr_assert(completed(&sock, &addr));
	cr_expect(eq(u64, addr, bad));
	cr_assert(completed(&sock, &addr));
	cr_expect(eq(u64, addr, good));
	cr_expect(fact_tap_recv_made(tap, 1400, 99));
	cr_expect(eq(u64, fact_stats(&sock).tx_invalid_descs, 1));
	fact_close(&sock);
	take_program("left");
}
