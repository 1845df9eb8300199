/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * What memory the kernel takes for a UMEM, whose pages it holds from then on,
 * and what the seals of a memfd keep another process from doing to it.
 */
#include "fact_lab.h"

#include <bpf/bpf.h>
#include <fcntl.h>
#include <linux/magic.h>
#include <setjmp.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/vfs.h>
#include <unistd.h>

/* Newer than glibc 2.36's headers; the value is kernel ABI. */
#ifndef F_SEAL_FUTURE_WRITE
#define F_SEAL_FUTURE_WRITE 0x0010
#endif

enum { LEN = 16 * 4096, HUGE_LEN = 2 << 20 };

TestSuite(fact_memory, .init = fact_setup, .timeout = 300);

static struct fact_umem umem_at(void *area, size_t len)
{
	cr_assert(area != MAP_FAILED, "%s", strerror(errno));
	return (struct fact_umem){ .addr = (uintptr_t)area,
				   .len = len,
				   .chunk_len = 4096 };
}

static int registers(void *area, size_t len)
{
	struct fact_umem umem = umem_at(area, len);
	int fd = fact_socket(), err = fact_register(fd, &umem);

	close(fd);
	return err;
}

static void *map_shared(int fd, int prot)
{
	return mmap(NULL, LEN, prot, MAP_SHARED, fd, 0);
}

/* A packet goes out of this memory and one comes in. */
static void expect_works(void *area, size_t len)
{
	struct fact_umem umem = umem_at(area, len);
	struct fact_sock sock = fact_open(&umem);
	struct xdp_desc desc;
	int tap;

	fact_pair(1500, 1);
	tap = fact_tap("fb");
	cr_assert(eq(int, fact_bind(sock.fd, "fa", 0, XDP_COPY), 0));
	fact_steer("fa", &sock);
	fact_make(fact_at(&sock, len - 4096), 500, 1);
	fact_post(&sock, len - 4096, 500, 0);
	fact_kick_all(&sock);
	cr_expect(fact_tap_recv_made(tap, 500, 1));
	fact_fill(&sock, 4096);
	fact_tap_send_made(tap, 600, 2);
	cr_assert(fact_received(&sock, &desc, FACT_WAIT_MS));
	cr_expect(fact_is_made(fact_at(&sock, desc.addr), 600, 2));
}

static int memory_file(unsigned flags)
{
	int fd = memfd_create("fact", MFD_CLOEXEC | flags);

	cr_assert(ge(int, fd, 0), "%s", strerror(errno));
	cr_assert(eq(int, ftruncate(fd, LEN), 0));
	return fd;
}

Test(fact_memory, a_memfd_works)
{
	expect_works(map_shared(memory_file(0), PROT_READ | PROT_WRITE), LEN);
}

Test(fact_memory, a_file_in_dev_shm_works)
{
	char name[] = "/dev/shm/fact.XXXXXX";
	int fd = mkstemp(name);

	cr_assert(ge(int, fd, 0));
	unlink(name);
	cr_assert(eq(int, ftruncate(fd, LEN), 0));
	expect_works(map_shared(fd, PROT_READ | PROT_WRITE), LEN);
}

Test(fact_memory, transparent_hugepages_work)
{
	uint8_t *area = mmap(NULL, 2 * HUGE_LEN, PROT_READ | PROT_WRITE,
			     MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	cr_assert(area != MAP_FAILED, "no map");
	area += HUGE_LEN - (uintptr_t)area % HUGE_LEN;
	madvise(area, HUGE_LEN, MADV_HUGEPAGE);
	memset(area, 0, HUGE_LEN);
	expect_works(area, HUGE_LEN);
}

static long hugepages(const char *set)
{
	FILE *file = fopen("/proc/sys/vm/nr_hugepages", set ? "w" : "r");
	long cnt = -1;

	if (!file)
		return -1;
	if (set)
		fputs(set, file);
	else if (fscanf(file, "%ld", &cnt) != 1)
		cnt = -1;
	fclose(file);
	return cnt;
}

Test(fact_memory, hugetlb_works)
{
	long before = hugepages(NULL);
	char text[32];
	void *area;

	snprintf(text, sizeof(text), "%ld", before + 1);
	hugepages(text);
	area = mmap(NULL, HUGE_LEN, PROT_READ | PROT_WRITE,
		    MAP_PRIVATE | MAP_ANONYMOUS | MAP_HUGETLB | MAP_POPULATE,
		    -1, 0);
	/* The page that is mapped stays until it is let go. */
	snprintf(text, sizeof(text), "%ld", before);
	hugepages(text);
	if (area == MAP_FAILED)
		cr_skip_test("no hugepage is to be had: %s", strerror(errno));
	expect_works(area, HUGE_LEN);
}

Test(fact_memory, several_memfds_side_by_side_are_one_umem)
{
	uint8_t *area = mmap(NULL, 3 * LEN, PROT_NONE,
			     MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	cr_assert(area != MAP_FAILED, "no map");
	for (int i = 0; i < 3; i++) {
		void *at = mmap(area + i * LEN, LEN, PROT_READ | PROT_WRITE,
				MAP_SHARED | MAP_FIXED, memory_file(0), 0);

		cr_assert(eq(ptr, at, area + i * LEN));
	}
	expect_works(area, 3 * LEN);
}

/* The kernel pins no page that a file system has to write back, since 6.5. */
Test(fact_memory, a_mapping_of_a_regular_file_is_efault)
{
	char name[] = "/var/tmp/fact.XXXXXX";
	int fd = mkstemp(name);
	struct statfs fs;

	cr_assert(ge(int, fd, 0), "%s", strerror(errno));
	unlink(name);
	cr_assert(eq(int, fstatfs(fd, &fs), 0));
	if (fs.f_type == TMPFS_MAGIC)
		cr_skip_test("/var/tmp is memory here, not a disk");
	cr_assert(eq(int, ftruncate(fd, LEN), 0));
	cr_expect(eq(int,
		     registers(map_shared(fd, PROT_READ | PROT_WRITE), LEN),
		     fact_is_before(6, 5) ? 0 : -EFAULT));
}

Test(fact_memory, a_read_only_mapping_is_efault)
{
	cr_expect(eq(int, registers(map_shared(memory_file(0), PROT_READ), LEN),
		     -EFAULT));
}

/* Register area, let the kernel forget or keep it, and look who sees what. */
static struct fact_sock receiver(struct fact_umem umem, int *tap)
{
	struct fact_sock sock;

	fact_pair(1500, 1);
	*tap = fact_tap("fb");
	memset((void *)(uintptr_t)umem.addr, 0, umem.len);
	sock = fact_open(&umem);
	cr_assert(eq(int, fact_bind(sock.fd, "fa", 0, XDP_COPY), 0));
	fact_steer("fa", &sock);
	fact_fill(&sock, 0);
	return sock;
}

Test(fact_memory, dontneed_detaches_the_view_of_anonymous_memory)
{
	void *area = mmap(NULL, LEN, PROT_READ | PROT_WRITE,
			  MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	struct xdp_desc desc;
	struct fact_sock sock;
	int tap;

	sock = receiver(umem_at(area, LEN), &tap);
	cr_assert(eq(int, madvise(area, LEN, MADV_DONTNEED), 0));
	fact_tap_send_made(tap, 300, 1);
	cr_assert(fact_received(&sock, &desc, FACT_WAIT_MS));
	cr_expect(eq(u32, desc.len, 300));
	cr_expect(not(fact_is_made(fact_at(&sock, desc.addr), 300, 1)));
	cr_expect(eq(u8, *fact_at(&sock, desc.addr), 0));
	/* The kernel still has what it wrote. */
	fact_post(&sock, desc.addr, desc.len, 0);
	fact_kick_all(&sock);
	cr_expect(fact_tap_recv_made(tap, 300, 1));
}

Test(fact_memory, dontneed_does_not_detach_a_shared_memfd)
{
	struct xdp_desc desc;
	struct fact_sock sock;
	void *area = map_shared(memory_file(0), PROT_READ | PROT_WRITE);
	int tap;

	sock = receiver(umem_at(area, LEN), &tap);
	cr_assert(eq(int, madvise(area, LEN, MADV_DONTNEED), 0));
	fact_tap_send_made(tap, 300, 1);
	cr_assert(fact_received(&sock, &desc, FACT_WAIT_MS));
	cr_expect(fact_is_made(fact_at(&sock, desc.addr), 300, 1));
}

Test(fact_memory, the_kernel_keeps_its_pages_when_the_application_unmaps_them)
{
	int fd = memory_file(0), tap;
	void *area = map_shared(fd, PROT_READ | PROT_WRITE);
	struct xdp_desc desc;
	struct fact_sock sock;

	sock = receiver(umem_at(area, LEN), &tap);
	munmap(area, LEN);
	fact_tap_send_made(tap, 300, 1);
	cr_assert(fact_received(&sock, &desc, FACT_WAIT_MS));
	/* Mapped anew, the file's pages are still the kernel's. */
	area = map_shared(fd, PROT_READ | PROT_WRITE);
	cr_expect(fact_is_made((uint8_t *)area + desc.addr, 300, 1));
}

static sigjmp_buf back;

static void jump(int sig)
{
	siglongjmp(back, sig);
}

/* The signal that reading the byte brings; 0: none. */
static int touch(const uint8_t *byte)
{
	struct sigaction act = { .sa_handler = jump }, old;
	int sig;

	sigaction(SIGBUS, &act, &old);
	sig = sigsetjmp(back, 1);
	if (!sig)
		cr_assert(
			eq(u8, __atomic_load_n(byte, __ATOMIC_RELAXED), 0x5a));
	sigaction(SIGBUS, &old, NULL);
	return sig;
}

static uint8_t *sealed(int *fd, int seals)
{
	uint8_t *area;

	*fd = memory_file(MFD_ALLOW_SEALING);
	area = map_shared(*fd, PROT_READ | PROT_WRITE);
	memset(area, 0x5a, LEN);
	if (fcntl(*fd, F_ADD_SEALS, seals))
		cr_skip_test("seals %#x: %s", seals, strerror(errno));
	return area;
}

Test(fact_memory, an_unsealed_memfd_that_is_cut_gives_its_owner_sigbus)
{
	uint8_t *area;
	int fd;

	area = sealed(&fd, 0);
	cr_expect(eq(int, touch(area), 0));
	cr_assert(eq(int, ftruncate(fd, 0), 0));
	cr_expect(eq(int, touch(area), SIGBUS));
}

Test(fact_memory, seals_of_the_size_do_not_keep_pages_from_being_wiped)
{
	uint8_t *area, *other;
	int fd;

	area = sealed(&fd, F_SEAL_SHRINK | F_SEAL_GROW);
	cr_expect(eq(int, ftruncate(fd, 0), -1));
	cr_assert(eq(int,
		     fallocate(fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE,
			       0, 4096),
		     0));
	cr_expect(eq(u8, area[0], 0));
	other = map_shared(fd, PROT_READ | PROT_WRITE);
	cr_assert(eq(int, madvise(other + 4096, 4096, MADV_REMOVE), 0));
	cr_expect(eq(u8, area[4096], 0));
	cr_expect(eq(u8, area[8192], 0x5a));
}

Test(fact_memory, the_future_write_seal_blocks_both_and_new_writable_maps)
{
	uint8_t *area, *other;
	int fd;

	area = sealed(&fd, F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_FUTURE_WRITE);
	cr_expect(eq(int,
		     fallocate(fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE,
			       0, 4096),
		     -1));
	cr_expect(eq(int, errno, EPERM));
	other = map_shared(fd, PROT_READ | PROT_WRITE);
	cr_expect(other == MAP_FAILED, "a writable map");
	other = map_shared(fd, PROT_READ);
	cr_assert(other != MAP_FAILED, "no map");
	cr_expect(eq(int, madvise(other, 4096, MADV_REMOVE), -1));
	cr_expect(eq(u8, area[0], 0x5a));
	cr_expect(eq(int, mprotect(other, LEN, PROT_READ | PROT_WRITE), -1));
}

Test(fact_memory, a_map_made_before_the_future_write_seal_stays_writable)
{
	uint8_t *area, *other;
	int fd;

	area = sealed(&fd, F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_FUTURE_WRITE);
	other = map_shared(fd, PROT_READ);
	area[7] = 1;
	cr_expect(eq(u8, other[7], 1));
	/* And such a map is what the kernel takes for a UMEM. */
	cr_expect(eq(int, registers(area, LEN), 0));
}
