/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * lib/umem/umem: memory that nobody can truncate, frames that are all free, and
 * an id for each socket.
 */
#include "umem_lab.h"

#include "buf/multibuf.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

TestSuite(umem, .init = listen_to_errors, .timeout = 300);

enum { HUGE_LEN = 2 << 20, HUGE_TRIES = 3 };

static void expect_refused(struct xmb_umem_opts opts, int err, const char *part)
{
	struct xmb_umem *const before = (struct xmb_umem *)8, *out = before;
	int fd = lowest_free_fd();

	said[0] = '\0';
	cr_expect(eq(int, xmb_umem_create(&out, &opts), err), "%s", part);
	cr_expect(eq(ptr, out, before));
	cr_expect(eq(int, lowest_free_fd(), fd));
	expect_said(part);
}

Test(umem, refuses_frames_of_other_than_2048_to_4096_bytes)
{
	static const uint32_t bad[] = { 1,    64,   1800,	2047,
					4097, 8192, UINT32_MAX };

	for (size_t i = 0; i < sizeof(bad) / sizeof(*bad); i++)
		expect_refused((struct xmb_umem_opts){ .frame_len = bad[i],
						       .frame_cnt = 16 },
			       -EINVAL, "2048 to 4096");
}

Test(umem, refuses_headroom_that_leaves_too_little_for_data)
{
	struct xmb_umem_opts opts = { .frame_cnt = 16, .headroom = 1281 };
	struct xmb_umem *umem = NULL;

	expect_refused(opts, -EINVAL, "leaves less than 512 for data");
	opts.headroom = UINT32_MAX;
	expect_refused(opts, -EINVAL, "headroom");
	opts.headroom = 1280;
	cr_assert(eq(int, xmb_umem_create(&umem, &opts), 0));
	xmb_umem_destroy(umem);
	opts.frame_len = 4096;
	opts.headroom = 3329;
	expect_refused(opts, -EINVAL, "headroom");
}

Test(umem, refuses_more_than_2_to_the_24_frames)
{
	expect_refused((struct xmb_umem_opts){ .frame_cnt = (1 << 24) + 1 },
		       -EINVAL, "at most 16777216");
	expect_refused((struct xmb_umem_opts){ .frame_cnt = UINT32_MAX },
		       -EINVAL, "at most 16777216");
}

Test(umem, zero_options_mean_the_defaults)
{
	struct xmb_umem *umem = make_umem(0, 0);

	cr_expect(eq(u32, umem->pool.domain.region_len, XMB_UMEM_FRAME_LEN));
	cr_expect(eq(u32, umem->pool.domain.region_cnt, XMB_UMEM_FRAME_CNT));
	cr_expect(eq(u32, umem->pool.spill_cnt, XMB_UMEM_FRAME_CNT / 8));
	xmb_umem_destroy(umem);
}

static void expect_all_free(uint32_t frame_len, uint32_t frame_cnt)
{
	struct xmb_umem *umem = make_umem(frame_len, frame_cnt);

	/* Of hugepages those that lie across two are nobody's. */
	cr_expect(eq(u32, xmb_pool_free_cnt(&umem->pool),
		     frame_cnt - umem->kept_cnt));
	cr_expect(le(u32, umem->kept_cnt, umem->is_huge ? 1 : 0));
	cr_expect(xmb_pool_check(&umem->pool, NULL, 0));
	cr_expect(ge(sz, umem->area_len, (size_t)frame_len * frame_cnt));
	cr_expect(eq(sz, (uintptr_t)umem->area % 4096, 0));
	/* All of it can be written, to the last byte. */
	memset(umem->area, 0xa5, (size_t)frame_len * frame_cnt);
	cr_expect(xmb_pool_check(&umem->pool, NULL, 0));
	xmb_umem_destroy(umem);
}

Test(umem, all_frames_are_free_after_create)
{
	expect_all_free(2048, 1);
	expect_all_free(2048, 1024);
	expect_all_free(4096, 1000);
	expect_all_free(4032, 1000);
	expect_all_free(2049, 777);
}

static void expect_mode(uint32_t frame_len, bool force, bool is_unaligned)
{
	struct xmb_umem_opts opts = { .frame_len = frame_len,
				      .frame_cnt = 64,
				      .is_unaligned = force };
	struct xmb_umem *umem = NULL;

	cr_assert(eq(int, xmb_umem_create(&umem, &opts), 0));
	cr_expect(eq(int, umem->is_unaligned, is_unaligned), "%u", frame_len);
	cr_expect(eq(u32, umem->kept_cnt, 0));
	cr_expect(eq(sz, umem->reg_len, (size_t)frame_len * 64));
	cr_expect(eq(u32, xmb_umem_pool_cnt(&opts), 64));
	xmb_umem_destroy(umem);
}

Test(umem, only_2048_and_4096_are_aligned_and_not_if_told_otherwise)
{
	expect_mode(2048, false, false);
	expect_mode(4096, false, false);
	expect_mode(2049, false, true);
	expect_mode(4032, false, true);
	expect_mode(4095, false, true);
	expect_mode(2048, true, true);
	expect_mode(4096, true, true);
}

Test(umem, nobody_can_change_the_size_of_the_memfd)
{
	struct xmb_umem *umem = make_umem(2048, 256);
	off_t len = (off_t)umem->area_len;
	struct stat st;
	int seals = fcntl(umem->memfd, F_GET_SEALS);

	cr_expect(eq(int, seals & (F_SEAL_SHRINK | F_SEAL_GROW),
		     F_SEAL_SHRINK | F_SEAL_GROW));
	cr_expect(eq(int, ftruncate(umem->memfd, 0), -1));
	cr_expect(eq(int, errno, EPERM));
	cr_expect(eq(int, ftruncate(umem->memfd, 2 * len), -1));
	cr_expect(eq(int, errno, EPERM));
	cr_assert(eq(int, fstat(umem->memfd, &st), 0));
	cr_expect(eq(i64, st.st_size, len));
	umem->area[0] = 1;
	umem->area[umem->area_len - 1] = 1;
	cr_expect(eq(int, fcntl(umem->memfd, F_GETFD) & FD_CLOEXEC,
		     FD_CLOEXEC));
	xmb_umem_destroy(umem);
}

Test(umem, whoever_maps_the_memfd_sees_the_same_frames)
{
	struct xmb_umem *umem = make_umem(4096, 16);
	uint8_t *other = mmap(NULL, umem->area_len, PROT_READ, MAP_SHARED,
			      umem->memfd, 0);

	cr_assert(ne(ptr, other, MAP_FAILED));
	xmb_domain_data(&umem->pool.domain, 3, 17)[0] = 0x5a;
	cr_expect(eq(u8, other[3 * 4096 + 17], 0x5a));
	munmap(other, umem->area_len);
	xmb_umem_destroy(umem);
}

Test(umem, ids_go_from_1_to_126_then_there_are_no_more)
{
	struct xmb_umem *umem = make_umem(2048, 16);

	for (int i = 1; i <= 126; i++)
		cr_assert(eq(int, xmb_umem_id_get(umem), i));
	cr_expect(eq(int, xmb_umem_id_get(umem), -ENOSPC));
	expect_said("all 126 sockets");
	xmb_umem_id_put(umem, 126);
	cr_expect(eq(int, xmb_umem_id_get(umem), 126));
	xmb_umem_id_put(umem, 64);
	xmb_umem_id_put(umem, 63);
	cr_expect(eq(int, xmb_umem_id_get(umem), 63));
	cr_expect(eq(int, xmb_umem_id_get(umem), 64));
	cr_expect(eq(int, xmb_umem_id_get(umem), -ENOSPC));
	for (uint32_t i = 1; i <= 126; i++)
		xmb_umem_id_put(umem, i);
	cr_expect(eq(int, xmb_umem_id_get(umem), 1));
	xmb_umem_destroy(umem);
}

Test(umem, an_id_that_never_was_aborts, .signal = SIGABRT)
{
	xmb_umem_id_put(make_umem(2048, 16), XMB_WHO_MAX + 1);
}

Test(umem, two_at_once_have_frames_and_ids_of_their_own)
{
	struct xmb_umem *one = make_umem(2048, 64), *two = make_umem(4096, 32);
	struct xmb_cache cache;
	struct xmb_multibuf mb = { 0 };

	cr_expect(ne(u8, one->pool.domain.id, two->pool.domain.id));
	cr_expect(eq(int, xmb_umem_id_get(one), 1));
	cr_expect(eq(int, xmb_umem_id_get(two), 1));
	memset(one->area, 0x11, 64 * 2048);
	memset(two->area, 0x22, 32 * 4096);
	cr_expect(eq(u8, one->area[64 * 2048 - 1], 0x11));
	cr_expect(eq(u8, two->area[0], 0x22));
	xmb_cache_init(&cache, &two->pool, 1);
	cr_expect(eq(int, xmb_multibuf_alloc(&cache, 32 * 4096, 0, &mb), 0));
	cr_expect(eq(u32, xmb_pool_free_cnt(&one->pool), 64));
	xmb_multibuf_release(&mb, &cache);
	xmb_cache_fini(&cache);
	xmb_umem_destroy(one);
	cr_expect(xmb_pool_check(&two->pool, NULL, 0));
	xmb_umem_destroy(two);
}

Test(umem, after_255_there_is_no_domain_left_and_one_destroyed_makes_room)
{
	struct xmb_umem *umems[255], *one_more = NULL;
	struct xmb_umem_opts opts = { .frame_len = 2048, .frame_cnt = 1 };
	int fd;

	for (int i = 0; i < 255; i++)
		cr_assert(eq(int, xmb_umem_create(&umems[i], &opts), 0));
	fd = lowest_free_fd();
	cr_expect(eq(int, xmb_umem_create(&one_more, &opts), -ENOSPC));
	cr_expect(eq(int, lowest_free_fd(), fd));
	xmb_umem_destroy(umems[100]);
	cr_expect(eq(int, xmb_umem_create(&umems[100], &opts), 0));
	for (int i = 0; i < 255; i++)
		xmb_umem_destroy(umems[i]);
}

/* Pages of address space that this process has. */
static uint64_t address_pages(void)
{
	uint64_t pages = 0;
	FILE *file = fopen("/proc/self/statm", "r");

	cr_assert(ne(ptr, file, NULL));
	cr_assert(eq(int, fscanf(file, "%lu", &pages), 1));
	fclose(file);
	return pages;
}

Test(umem, no_memory_is_refused_with_what_was_asked)
{
	rlim_t len = address_pages() * 4096 + (64 << 20);
	struct rlimit limit = { .rlim_cur = len, .rlim_max = len };

	cr_assert(eq(int, setrlimit(RLIMIT_AS, &limit), 0));
	expect_refused((struct xmb_umem_opts){ .frame_len = 4096,
					       .frame_cnt = 1 << 16 },
		       -ENOMEM, "cannot map 256 MiB for 65536 frames of 4096");
}

Test(umem, no_descriptor_is_refused_with_the_limit_to_raise)
{
	const struct xmb_umem_opts opts = { .frame_cnt = 64 };
	struct xmb_umem *out = NULL;
	struct rlimit limit;

	cr_assert(eq(int, getrlimit(RLIMIT_NOFILE, &limit), 0));
	limit.rlim_cur = (rlim_t)lowest_free_fd();
	cr_assert(eq(int, setrlimit(RLIMIT_NOFILE, &limit), 0));
	said[0] = '\0';
	cr_expect(eq(int, xmb_umem_create(&out, &opts), -EMFILE));
	cr_expect(eq(ptr, out, NULL));
	expect_said("raise the limit of open files");
}

Test(umem, nothing_is_left_after_destroy)
{
	uint64_t pages;
	int fd;

	xmb_umem_destroy(NULL);
	xmb_umem_destroy(make_umem(4096, 4096));
	fd = lowest_free_fd();
	pages = address_pages();
	for (int i = 0; i < 20; i++)
		xmb_umem_destroy(make_umem(4096, 4096));
	cr_expect(eq(int, lowest_free_fd(), fd));
	cr_expect(le(u64, address_pages(), pages + 1024));
}

static long huge_pages(const char *name)
{
	char line[128], want[64];
	FILE *file = fopen("/proc/meminfo", "r");
	long n = -1;

	cr_assert(ne(ptr, file, NULL));
	snprintf(want, sizeof(want), "HugePages_%s: %%ld", name);
	while (n < 0 && fgets(line, sizeof(line), file))
		if (sscanf(line, want, &n) != 1)
			n = -1;
	fclose(file);
	return n;
}

static bool set_huge_pages(long n)
{
	FILE *file = fopen("/proc/sys/vm/nr_hugepages", "w");
	bool ok;

	if (!file)
		return false;
	ok = fprintf(file, "%ld", n) > 0;
	return fclose(file) == 0 && ok;
}

enum { HUGE_TAKEN = 0, HUGE_NOT_TAKEN = 1, HUGE_NO_FALLBACK = 2,
       HUGE_CUT = 3, HUGE_NONE_FREE = 77 };

/*
 * 1040 frames of 4032 bytes in two hugepages: number 520 lies across the two
 * and is nobody's; the others come in their order.
 */
static bool keeps_cut_frames(void)
{
	struct xmb_umem *umem = make_umem(4032, 1040);
	struct xmb_ledger ledger;
	struct xmb_cache cache;
	bool ok = umem->is_huge && umem->is_contig && umem->kept_cnt == 1;

	ok &= xmb_pool_free_cnt(&umem->pool) == 1039;
	ok &= xmb_pool_check(&umem->pool, NULL, 0);
	xmb_cache_init(&cache, &umem->pool, 1);
	for (uint32_t n = 0; n < 1039; n++) {
		struct xmb_chunk chunk = { 0 };

		ok &= xmb_chunk_alloc(&cache, &chunk) == 0;
		ok &= chunk.region != 520;
		/* Left to the application: the frames are not used again. */
	}
	xmb_ledger_init(&ledger, umem);
	xmb_ledger_add_cache(&ledger, &cache);
	ok &= xmb_ledger_check(&ledger, umem) && ledger.frames == 1039;
	xmb_cache_fini(&cache);
	xmb_umem_destroy(umem);
	return ok;
}

/* Those that nobody has or was promised. */
static long huge_pages_left(void)
{
	return huge_pages("Free") - huge_pages("Rsvd");
}

/* The kernel counts what was unmapped a moment later, too. */
static bool wait_for_left(long left)
{
	for (int i = 0; i < 3000 && huge_pages_left() != left; i++)
		usleep(10000);
	return huge_pages_left() == left;
}

/* One umem of two hugepages, and one for which too few are free. */
static int try_huge_pages(void)
{
	long left = huge_pages_left();
	struct xmb_umem *small, *large;
	int code = HUGE_TAKEN;

	if (left < 2)
		return HUGE_NONE_FREE;
	small = make_umem(4096, 2 * HUGE_LEN / 4096);
	if (!small->is_huge || !wait_for_left(left - 2))
		code = HUGE_NOT_TAKEN;
	memset(small->area, 1, 2 * HUGE_LEN);
	large = make_umem(4096, (uint32_t)(left - 1) * HUGE_LEN / 4096);
	if (large->is_huge)
		code = HUGE_NO_FALLBACK;
	memset(large->area, 1, HUGE_LEN);
	xmb_umem_destroy(small);
	xmb_umem_destroy(large);
	if (code == HUGE_TAKEN && wait_for_left(left) && !keeps_cut_frames())
		code = HUGE_CUT;
	return wait_for_left(left) ? code : HUGE_NOT_TAKEN;
}

/*
 * The kernel frees what the child had a moment after the child is gone, and
 * until then counts it in the total.
 */
static void put_huge_pages_back(long n)
{
	for (int i = 0; i < 3000; i++) {
		set_huge_pages(n);
		if (huge_pages("Total") == n)
			return;
		usleep(10000);
	}
}

Test(umem, takes_hugepages_when_all_of_it_fits_and_does_without_when_not)
{
	long before = huge_pages("Total");
	int status = -1;

	if (before < 0)
		cr_skip_test("this kernel has no hugepages");
	if (!set_huge_pages(before + 3))
		cr_skip_test("setting vm.nr_hugepages needs root");
	/*
	 * What happens in there, the setting is put back.  Others, tests of
	 * this program too, may take and free hugepages meanwhile: again.
	 */
	for (int i = 0; i < HUGE_TRIES && status != 0; i++) {
		pid_t pid = fork();

		if (pid == 0)
			_exit(try_huge_pages());
		if (pid > 0)
			waitpid(pid, &status, 0);
	}
	put_huge_pages_back(before);
	cr_expect(eq(i64, huge_pages("Total"), before));
	cr_assert(eq(int, WIFEXITED(status), 1));
	if (WEXITSTATUS(status) == HUGE_NONE_FREE)
		cr_skip_test("no free memory in one piece for hugepages");
	cr_expect(eq(int, WEXITSTATUS(status), HUGE_TAKEN));
}
