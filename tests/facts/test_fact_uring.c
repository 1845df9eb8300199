/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * AF_XDP sockets and their memory under io_uring.
 *
 * That liburing 2.3 lacks some of the newer calls is the library's matter, not
 * the kernel's.
 */
#include "fact_lab.h"

#include <fcntl.h>
#include <liburing.h>
#include <poll.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <unistd.h>

static struct io_uring ring;

static void setup(void)
{
	int err;

	fact_setup();
	err = io_uring_queue_init(16, &ring, 0);
	if (err)
		cr_skip_test("io_uring: %s", strerror(-err));
}

TestSuite(fact_uring, .init = setup, .timeout = 300);

/* The result of the next completion; INT32_MIN: none came. */
static int answer(int wait_ms, uint32_t *flags)
{
	struct __kernel_timespec limit = {
		.tv_sec = wait_ms / 1000,
		.tv_nsec = wait_ms % 1000 * 1000000LL,
	};
	struct io_uring_cqe *cqe = NULL;
	int res;

	if (io_uring_wait_cqe_timeout(&ring, &cqe, &limit) || !cqe)
		return INT32_MIN;
	res = cqe->res;
	if (flags)
		*flags = cqe->flags;
	io_uring_cqe_seen(&ring, cqe);
	return res;
}

static void post_many(struct fact_sock *sock, uint32_t cnt)
{
	for (uint64_t i = 0; i < cnt; i++)
		fact_post(sock, i * 4096, 64, 0);
}

static int send_nothing(int fd, int flags)
{
	struct io_uring_sqe *sqe = io_uring_get_sqe(&ring);

	io_uring_prep_send(sqe, fd, NULL, 0, flags);
	cr_assert(eq(int, io_uring_submit(&ring), 1));
	return answer(FACT_WAIT_MS, NULL);
}

Test(fact_uring, a_send_of_nothing_kicks)
{
	struct fact_sock sock;

	fact_pair(1500, 1);
	sock = fact_plain("fa");
	post_many(&sock, 10);
	cr_expect(eq(int, send_nothing(sock.fd, MSG_DONTWAIT), 0));
	cr_expect(eq(u32, fact_waiting(&sock), 0));
}

Test(fact_uring, a_send_of_nothing_that_may_wait_drains_the_whole_ring)
{
	struct fact_sock sock;

	fact_pair(1500, 1);
	sock = fact_plain("fa");
	post_many(&sock, FACT_RING_CNT - 1);
	cr_expect(eq(int, send_nothing(sock.fd, MSG_DONTWAIT), -EAGAIN));
	cr_expect(gt(u32, fact_waiting(&sock), 0));
	cr_expect(ge(int, send_nothing(sock.fd, 0), 0));
	cr_expect(eq(u32, fact_waiting(&sock), 0));
}

Test(fact_uring,
     a_multishot_poll_tells_once_a_wakeup_and_again_without_draining)
{
	struct io_uring_sqe *sqe = io_uring_get_sqe(&ring);
	struct fact_sock sock;
	uint32_t flags = 0;
	int tap;

	fact_pair(1500, 1);
	tap = fact_tap("fb");
	sock = fact_plain("fa");
	fact_steer("fa", &sock);
	fact_fill_chunks(&sock, 0, 32);
	io_uring_prep_poll_multishot(sqe, sock.fd, POLLIN);
	cr_assert(eq(int, io_uring_submit(&ring), 1));
	cr_expect(eq(int, answer(FACT_QUIET_MS, NULL), INT32_MIN));
	for (uint32_t i = 0; i < 5; i++) {
		fact_tap_send_made(tap, 100, i);
		cr_expect(
			eq(int, answer(FACT_WAIT_MS, &flags) & POLLIN, POLLIN));
		cr_expect(
			eq(u32, flags & IORING_CQE_F_MORE, IORING_CQE_F_MORE));
		/* Nothing was read, and without a new packet it is quiet. */
		cr_expect(eq(int, answer(FACT_QUIET_MS, NULL), INT32_MIN));
	}
}

/* A file on a disk, opened past the page cache. */
static int open_direct(void)
{
	char name[] = "/var/tmp/fact.XXXXXX";
	int fd = mkostemp(name, O_DIRECT);

	if (fd < 0)
		cr_skip_test("a file with O_DIRECT in /var/tmp: %s",
			     strerror(errno));
	unlink(name);
	return fd;
}

static int fixed(bool is_write, int fd, uint8_t *at, unsigned len, off_t off)
{
	struct io_uring_sqe *sqe = io_uring_get_sqe(&ring);

	if (is_write)
		io_uring_prep_write_fixed(sqe, fd, at, len, (uint64_t)off, 0);
	else
		io_uring_prep_read_fixed(sqe, fd, at, len, (uint64_t)off, 0);
	cr_assert(eq(int, io_uring_submit(&ring), 1));
	return answer(FACT_WAIT_MS, NULL);
}

Test(fact_uring, files_are_written_from_and_read_into_registered_frames)
{
	struct fact_umem umem = fact_memory(64, 4096);
	struct iovec all = { .iov_base = (void *)(uintptr_t)umem.addr,
			     .iov_len = umem.len };
	struct fact_sock sock = fact_open(&umem);
	int fd = open_direct(), tap;

	fact_pair(1500, 1);
	tap = fact_tap("fb");
	cr_assert(eq(int, fact_bind(sock.fd, "fa", 0, XDP_COPY), 0));
	cr_assert(eq(int, io_uring_register_buffers(&ring, &all, 1), 0));
	fact_make(fact_at(&sock, 4096), 4096, 1);
	cr_expect(
		eq(int, fixed(true, fd, fact_at(&sock, 4096), 4096, 0), 4096));
	cr_expect(
		eq(int, fixed(false, fd, fact_at(&sock, 8192), 4096, 0), 4096));
	cr_expect(fact_is_made(fact_at(&sock, 8192), 4096, 1));
	/* What was read from the file goes on the wire where it lies. */
	fact_post(&sock, 8192, 1000, 0);
	fact_kick_all(&sock);
	cr_expect(fact_tap_recv_made(tap, 1000, 1));
}

Test(fact_uring, past_the_page_cache_frames_are_aligned_to_512_bytes)
{
	struct fact_umem umem = fact_memory(64, 4096);
	struct iovec all = { .iov_base = (void *)(uintptr_t)umem.addr,
			     .iov_len = umem.len };
	uint8_t *area = (uint8_t *)(uintptr_t)umem.addr;
	int fd = open_direct();

	cr_assert(eq(int, io_uring_register_buffers(&ring, &all, 1), 0));
	cr_expect(eq(int, fixed(true, fd, area + 512, 512, 512), 512));
	cr_expect(eq(int, fixed(true, fd, area + 512, 512, 100), -EINVAL));
	cr_expect(eq(int, fixed(true, fd, area + 512, 100, 512), -EINVAL));
}

/* The same 2 MiB again and again, so that many are little memory. */
static void *map_many(size_t len)
{
	const size_t step = 2 << 20;
	int fd = memfd_create("fact", MFD_CLOEXEC);
	uint8_t *area =
		mmap(NULL, len + step, PROT_NONE,
		     MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);

	cr_assert(area != MAP_FAILED, "no map");
	cr_assert(eq(int, ftruncate(fd, (off_t)step), 0));
	for (size_t at = 0; at < len; at += step)
		cr_assert(mmap(area + at, step, PROT_READ | PROT_WRITE,
			       MAP_SHARED | MAP_FIXED, fd, 0) != MAP_FAILED,
			  "at %zu", at);
	return area;
}

Test(fact_uring, a_registered_buffer_is_at_most_1_gib_until_linux_7)
{
	const size_t gib = 1ul << 30;
	struct iovec all = { .iov_base = map_many(gib + 4096),
			     .iov_len = gib + 4096 };

	cr_expect(eq(int, io_uring_register_buffers(&ring, &all, 1),
		     fact_is_before(7, 0) ? -EFAULT : 0));
	if (!fact_is_before(7, 0))
		return;
	all.iov_len = gib;
	cr_expect(eq(int, io_uring_register_buffers(&ring, &all, 1), 0));
}
