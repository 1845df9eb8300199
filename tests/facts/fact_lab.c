/* SPDX-License-Identifier: BSD-2-Clause */
#include "fact_lab.h"

#include <bpf/libbpf.h>
#include <linux/capability.h>
#include <net/if.h>
#include <poll.h>
#include <sched.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/utsname.h>
#include <time.h>
#include <unistd.h>

void fact_setup(void)
{
	int fd;

	if (geteuid() != 0)
		cr_skip_test("devices and programs need root");
	if (unshare(CLONE_NEWNET))
		cr_skip_test("a network namespace of its own: %s",
			     strerror(errno));
	fd = socket(AF_XDP, SOCK_RAW, 0);
	if (fd < 0)
		cr_skip_test("an AF_XDP socket: %s", strerror(errno));
	close(fd);
	libbpf_set_print(NULL);
	/* No neighbour discovery: the tests count every frame. */
	fact_sh("[ ! -d /proc/sys/net/ipv6 ] || "
		"echo 1 >/proc/sys/net/ipv6/conf/default/disable_ipv6");
}

bool fact_is_before(int major, int minor)
{
	int is_major = 0, is_minor = 0;
	struct utsname name;

	cr_assert(eq(int, uname(&name), 0));
	cr_assert(eq(int, sscanf(name.release, "%d.%d", &is_major, &is_minor),
		     2));
	return is_major < major || (is_major == major && is_minor < minor);
}

void fact_needs_kernel(int major, int minor, const char *why)
{
	struct utsname name;

	cr_assert(eq(int, uname(&name), 0));
	if (fact_is_before(major, minor))
		cr_skip_test("%s since Linux %d.%d, and this is %s", why, major,
			     minor, name.release);
}

static int run(const char *fmt, va_list ap, char *command, size_t len)
{
	char quiet[600];
	int status;

	vsnprintf(command, len, fmt, ap);
	snprintf(quiet, sizeof(quiet), "(%s) >/dev/null 2>&1", command);
	status = system(quiet);
	return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
}

int fact_try(const char *fmt, ...)
{
	char command[512];
	va_list ap;
	int status;

	va_start(ap, fmt);
	status = run(fmt, ap, command, sizeof(command));
	va_end(ap);
	return status;
}

void fact_sh(const char *fmt, ...)
{
	char command[512];
	va_list ap;
	int status;

	va_start(ap, fmt);
	status = run(fmt, ap, command, sizeof(command));
	va_end(ap);
	cr_assert(eq(int, status, 0), "%s", command);
}

static void pair(char name, uint32_t mtu, int queue_cnt)
{
	fact_sh("ip link add %ca mtu %u numrxqueues %d numtxqueues %d type "
		"veth peer name %cb mtu %u numrxqueues %d numtxqueues %d && "
		"ip link set %ca up && ip link set %cb up",
		name, mtu, queue_cnt, queue_cnt, name, mtu, queue_cnt,
		queue_cnt, name, name);
}

void fact_pair(uint32_t mtu, int queue_cnt)
{
	pair('f', mtu, queue_cnt);
}

void fact_second_pair(uint32_t mtu)
{
	pair('g', mtu, 1);
}

struct fact_umem fact_memory(uint32_t chunk_cnt, uint32_t chunk_len)
{
	struct fact_umem umem = {
		.len = (uint64_t)chunk_cnt * chunk_len,
		.chunk_len = chunk_len,
	};
	int fd = memfd_create("fact", MFD_CLOEXEC);
	void *area;

	cr_assert(ge(int, fd, 0));
	cr_assert(eq(int, ftruncate(fd, (off_t)umem.len), 0));
	area = mmap(NULL, umem.len, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	cr_assert(area != MAP_FAILED);
	close(fd);
	umem.addr = (uintptr_t)area;
	return umem;
}

int fact_socket(void)
{
	int fd = socket(AF_XDP, SOCK_RAW | SOCK_CLOEXEC, 0);

	cr_assert(ge(int, fd, 0), "%s", strerror(errno));
	return fd;
}

/* Kernels before 6.8 know a shorter struct, and take no longer one. */
int fact_register(int fd, const struct fact_umem *umem)
{
	size_t len = umem->meta_len || umem->flags & XDP_UMEM_TX_METADATA_LEN
			     ? sizeof(*umem)
			     : sizeof(struct xdp_umem_reg);

	if (setsockopt(fd, SOL_XDP, XDP_UMEM_REG, umem, (socklen_t)len))
		return -errno;
	return 0;
}

static void *at_off(void *map, uint64_t off)
{
	return (uint8_t *)map + off;
}

void fact_ring(int fd, struct fact_ring *ring, int which, uint32_t cnt)
{
	bool is_addrs = which == XDP_UMEM_FILL_RING ||
			which == XDP_UMEM_COMPLETION_RING;
	struct xdp_mmap_offsets all;
	const struct xdp_ring_offset *off = &all.rx;
	off_t at = XDP_PGOFF_RX_RING;
	socklen_t len = sizeof(all);
	void *map;

	cr_assert(
		eq(int, setsockopt(fd, SOL_XDP, which, &cnt, sizeof(cnt)), 0));
	cr_assert(eq(int, getsockopt(fd, SOL_XDP, XDP_MMAP_OFFSETS, &all, &len),
		     0));
	if (which == XDP_UMEM_FILL_RING) {
		off = &all.fr;
		at = XDP_UMEM_PGOFF_FILL_RING;
	} else if (which == XDP_UMEM_COMPLETION_RING) {
		off = &all.cr;
		at = XDP_UMEM_PGOFF_COMPLETION_RING;
	} else if (which == XDP_TX_RING) {
		off = &all.tx;
		at = XDP_PGOFF_TX_RING;
	}
	ring->map_len = off->desc + cnt * (is_addrs ? sizeof(uint64_t)
						    : sizeof(struct xdp_desc));
	map = mmap(NULL, ring->map_len, PROT_READ | PROT_WRITE,
		   MAP_SHARED | MAP_POPULATE, fd, at);
	cr_assert(map != MAP_FAILED, "%s", strerror(errno));
	ring->map = map;
	ring->producer = at_off(map, off->producer);
	ring->consumer = at_off(map, off->consumer);
	ring->flags = at_off(map, off->flags);
	ring->entries = at_off(map, off->desc);
	ring->mask = cnt - 1;
}

void fact_unmap(struct fact_sock *sock)
{
	struct fact_ring *rings[] = { &sock->fill, &sock->comp, &sock->rx,
				      &sock->tx };

	for (size_t i = 0; i < 4; i++) {
		if (rings[i]->map)
			munmap(rings[i]->map, rings[i]->map_len);
		rings[i]->map = NULL;
	}
}

struct fact_sock fact_open(const struct fact_umem *umem)
{
	struct fact_sock sock = { .fd = fact_socket(), .umem = *umem };

	cr_assert(eq(int, fact_register(sock.fd, umem), 0));
	fact_ring(sock.fd, &sock.fill, XDP_UMEM_FILL_RING, FACT_RING_CNT);
	fact_ring(sock.fd, &sock.comp, XDP_UMEM_COMPLETION_RING, FACT_RING_CNT);
	fact_ring(sock.fd, &sock.rx, XDP_RX_RING, FACT_RING_CNT);
	fact_ring(sock.fd, &sock.tx, XDP_TX_RING, FACT_RING_CNT);
	return sock;
}

struct fact_sock fact_open_sharing(const struct fact_sock *owner, bool is_full)
{
	struct fact_sock sock = { .fd = fact_socket(), .umem = owner->umem };

	if (is_full) {
		fact_ring(sock.fd, &sock.fill, XDP_UMEM_FILL_RING,
			  FACT_RING_CNT);
		fact_ring(sock.fd, &sock.comp, XDP_UMEM_COMPLETION_RING,
			  FACT_RING_CNT);
	}
	fact_ring(sock.fd, &sock.rx, XDP_RX_RING, FACT_RING_CNT);
	fact_ring(sock.fd, &sock.tx, XDP_TX_RING, FACT_RING_CNT);
	return sock;
}

int fact_bind_sharing(int fd, const char *dev, uint32_t queue, uint16_t flags,
		      int owner_fd)
{
	struct sockaddr_xdp addr = {
		.sxdp_family = AF_XDP,
		.sxdp_flags = flags,
		.sxdp_ifindex = (uint32_t)fact_ifindex(dev),
		.sxdp_queue_id = queue,
		.sxdp_shared_umem_fd = (uint32_t)owner_fd,
	};

	return bind(fd, (struct sockaddr *)&addr, sizeof(addr)) ? -errno : 0;
}

int fact_bind(int fd, const char *dev, uint32_t queue, uint16_t flags)
{
	return fact_bind_sharing(fd, dev, queue, flags, 0);
}

struct fact_sock fact_plain(const char *dev)
{
	struct fact_umem umem = fact_memory(256, 4096);
	struct fact_sock sock = fact_open(&umem);

	cr_assert(eq(int,
		     fact_bind(sock.fd, dev, 0, XDP_COPY | XDP_USE_NEED_WAKEUP),
		     0));
	return sock;
}

struct fact_sock fact_several(const char *dev, uint32_t chunk_len)
{
	struct fact_umem umem = fact_memory(256, chunk_len);
	struct fact_sock sock = fact_open(&umem);
	int err = fact_bind(sock.fd, dev, 0,
			    XDP_COPY | XDP_USE_NEED_WAKEUP | XDP_USE_SG);

	if (err)
		fact_needs_kernel(6, 6, "packets of several buffers");
	cr_assert(eq(int, err, 0));
	return sock;
}

void fact_close(struct fact_sock *sock)
{
	fact_unmap(sock);
	close(sock->fd);
	sock->fd = -1;
}

void fact_fill(struct fact_sock *sock, uint64_t addr)
{
	uint32_t at = atomic_load(sock->fill.producer);

	((uint64_t *)sock->fill.entries)[at & sock->fill.mask] = addr;
	atomic_store(sock->fill.producer, at + 1);
}

void fact_fill_chunks(struct fact_sock *sock, uint32_t first, uint32_t cnt)
{
	for (uint32_t i = first; i < first + cnt; i++)
		fact_fill(sock, (uint64_t)i * sock->umem.chunk_len);
}

void fact_post_chain(struct fact_sock *sock, const struct xdp_desc *descs,
		     uint32_t cnt)
{
	uint32_t at = atomic_load(sock->tx.producer);
	struct xdp_desc *entries = sock->tx.entries;

	for (uint32_t i = 0; i < cnt; i++)
		entries[(at + i) & sock->tx.mask] = descs[i];
	atomic_store(sock->tx.producer, at + cnt);
}

void fact_post(struct fact_sock *sock, uint64_t addr, uint32_t len,
	       uint32_t options)
{
	struct xdp_desc desc = { .addr = addr, .len = len, .options = options };

	fact_post_chain(sock, &desc, 1);
}

uint32_t fact_waiting(const struct fact_sock *sock)
{
	return atomic_load(sock->tx.producer) - atomic_load(sock->tx.consumer);
}

int fact_kick(const struct fact_sock *sock)
{
	return sendto(sock->fd, NULL, 0, MSG_DONTWAIT, NULL, 0) < 0 ? -errno
								    : 0;
}

void fact_kick_all(const struct fact_sock *sock)
{
	int err = 0;

	for (int i = 0; i < 100 && fact_waiting(sock); i++)
		err = fact_kick(sock);
	cr_assert(eq(u32, fact_waiting(sock), 0), "%s", strerror(-err));
}

/* The next entry of a ring that the kernel fills; NULL: none in time. */
static const void *next(struct fact_ring *ring, size_t len, int wait_ms)
{
	uint64_t end_ms = fact_now_ms() + (uint64_t)wait_ms;
	uint32_t at = atomic_load(ring->consumer);

	while (atomic_load(ring->producer) == at) {
		if (fact_now_ms() >= end_ms)
			return NULL;
		usleep(100);
	}
	return (uint8_t *)ring->entries + (at & ring->mask) * len;
}

bool fact_completed(struct fact_sock *sock, uint64_t *addr, int wait_ms)
{
	const uint64_t *entry = next(&sock->comp, sizeof(*entry), wait_ms);

	if (!entry)
		return false;
	if (addr)
		*addr = *entry;
	atomic_fetch_add(sock->comp.consumer, 1);
	return true;
}

bool fact_received(struct fact_sock *sock, struct xdp_desc *desc, int wait_ms)
{
	const struct xdp_desc *entry = next(&sock->rx, sizeof(*entry), wait_ms);

	if (!entry)
		return false;
	if (desc)
		*desc = *entry;
	atomic_fetch_add(sock->rx.consumer, 1);
	return true;
}

uint32_t fact_receive(struct fact_sock *sock, uint8_t *packet, size_t *len)
{
	struct xdp_desc desc;
	uint32_t cnt = 0;

	*len = 0;
	do {
		if (!fact_received(sock, &desc, FACT_WAIT_MS))
			return 0;
		cr_assert(le(sz, *len + desc.len, FACT_PACKET_MAX));
		memcpy(packet + *len, fact_at(sock, desc.addr), desc.len);
		*len += desc.len;
		cnt++;
	} while (desc.options & XDP_PKT_CONTD);
	return cnt;
}

struct xdp_statistics fact_stats(const struct fact_sock *sock)
{
	struct xdp_statistics stats;
	socklen_t len = sizeof(stats);

	cr_assert(
		eq(int,
		   getsockopt(sock->fd, SOL_XDP, XDP_STATISTICS, &stats, &len),
		   0));
	return stats;
}

static void set_caps(const struct __user_cap_data_struct data[2])
{
	struct __user_cap_header_struct head = {
		.version = _LINUX_CAPABILITY_VERSION_3,
	};

	cr_assert(eq(long, syscall(SYS_capset, &head, data), 0));
}

void fact_drop_capability(int cap)
{
	struct __user_cap_header_struct head = {
		.version = _LINUX_CAPABILITY_VERSION_3,
	};
	struct __user_cap_data_struct data[2];

	cr_assert(eq(long, syscall(SYS_capget, &head, data), 0));
	data[cap / 32].effective &= ~(1u << cap % 32);
	set_caps(data);
}

void fact_drop_all(void)
{
	static const struct __user_cap_data_struct none[2];

	cr_assert(eq(int, setresgid(65534, 65534, 65534), 0));
	cr_assert(eq(int, setresuid(65534, 65534, 65534), 0));
	set_caps(none);
}

int fact_ifindex(const char *dev)
{
	int ifindex = (int)if_nametoindex(dev);

	cr_assert(gt(int, ifindex, 0), "%s", dev);
	return ifindex;
}

uint64_t fact_now_ms(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (uint64_t)now.tv_sec * 1000 + (uint64_t)now.tv_nsec / 1000000;
}
