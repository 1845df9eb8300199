/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * lib/umem/piece: frames in memory that the application has already.
 */
#include "umem_lab.h"

#include "umem/piece.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/vfs.h>

enum { PAGE = 4096, LEN = 64 * PAGE, FRAME = 2048, CNT = LEN / FRAME };

static struct xmb_umem *umem;
static struct xmb_cache cache;

TestSuite(umem_piece, .init = listen_to_errors, .timeout = 300);

static int make_fd(size_t len, int seals)
{
	int fd = memfd_create("piece", MFD_CLOEXEC | MFD_ALLOW_SEALING);

	cr_assert(ge(int, fd, 0));
	cr_assert(eq(int, ftruncate(fd, (off_t)len), 0));
	if (seals)
		cr_assert(eq(int, fcntl(fd, F_ADD_SEALS, seals), 0));
	return fd;
}

static struct {
	int cnt;
	uint32_t piece, frame;
} home;

static void note_home(void *arg, uint32_t piece, uint32_t frame)
{
	cr_expect(eq(ptr, arg, &home));
	home.cnt++;
	home.piece = piece;
	home.frame = frame;
}

/* 64 frames of its own, and pieces. */
static void create(const struct xmb_umem_piece_opts *pieces, uint32_t cnt,
		   uint32_t frame_len)
{
	struct xmb_umem_opts opts = { .frame_len = frame_len,
				      .frame_cnt = 64,
				      .pieces = pieces,
				      .piece_cnt = cnt };

	cr_assert(eq(int, xmb_umem_create(&umem, &opts), 0), "%s", said);
	xmb_cache_init(&cache, &umem->pool, 1);
}

static void expect_ledger(int64_t free_cnt, int64_t app_cnt)
{
	struct xmb_ledger ledger;

	xmb_ledger_init(&ledger, umem);
	xmb_ledger_add_cache(&ledger, &cache);
	cr_expect(xmb_ledger_check(&ledger, umem), "%s", said);
	cr_expect(eq(i64, ledger.free, free_cnt));
	cr_expect(eq(i64, ledger.app, app_cnt));
}

static void finish(void)
{
	struct xmb_cache *caches[] = { &cache };

	cr_expect(xmb_pool_check(&umem->pool, caches, 1));
	xmb_cache_fini(&cache);
	xmb_umem_destroy(umem);
}

/* One piece, told when frames come home; its fd stays open. */
static int one_piece(uint32_t frame_len)
{
	struct xmb_umem_piece_opts piece = {
		.fd = make_fd(LEN, F_SEAL_SHRINK),
		.len = LEN,
		.home = note_home,
		.arg = &home,
	};

	create(&piece, 1, frame_len);
	return piece.fd;
}

Test(umem_piece, shows_what_the_application_wrote_and_the_other_way_round)
{
	int fd = one_piece(FRAME);
	uint8_t *mine =
		mmap(NULL, LEN, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	struct xmb_multibuf mb = { .user = 7 };
	uint8_t got[100];

	cr_assert(ne(ptr, mine, MAP_FAILED));
	for (int i = 0; i < LEN; i++)
		mine[i] = (uint8_t)(i * 7 + i / 256);
	cr_expect(eq(u32, xmb_umem_piece_frame_cnt(umem, 0), CNT));
	cr_expect(eq(u32, xmb_umem_piece_free_cnt(umem, 0), CNT));
	cr_expect(eq(int, memcmp(xmb_umem_piece_data(umem, 0), mine, LEN), 0));
	expect_ledger(64 + CNT, 0);
	cr_assert(eq(int, xmb_umem_piece_take(umem, 0, &cache, 2000, 100, &mb),
		     0));
	cr_expect(eq(u32, xmb_multibuf_len(&mb), 100));
	cr_expect(eq(u32, mb.user, 7));
	cr_expect(eq(u32, mb.cnt, 2));
	cr_expect(eq(sz, xmb_multibuf_copy_to(&mb, 0, got, 100), 100));
	cr_expect(eq(int, memcmp(got, mine + 2000, 100), 0));
	expect_ledger(64 + CNT - 2, 2);
	memset(got, 0xee, 100);
	xmb_multibuf_copy_from(&mb, 0, got, 100);
	cr_expect(eq(int, memcmp(got, mine + 2000, 100), 0));
	xmb_multibuf_release(&mb, &cache);
	cr_expect(eq(int, home.cnt, 2));
	expect_ledger(64 + CNT, 0);
	finish();
	/* The application's mapping outlives the umem. */
	cr_expect(eq(u8, mine[2000], 0xee));
	munmap(mine, LEN);
	close(fd);
}

Test(umem_piece, is_filled_from_a_file_by_read)
{
	char path[] = "/tmp/xmbuf-piece-XXXXXX";
	struct xmb_multibuf mb = { 0 };
	int fd = one_piece(4032), file = mkstemp(path);
	uint8_t want[5000], got[5000];

	unlink(path);
	for (size_t i = 0; i < sizeof(want); i++)
		want[i] = (uint8_t)(i * 13);
	cr_assert(eq(i64, pwrite(file, want, sizeof(want), 0), sizeof(want)));
	cr_assert(eq(i64,
		     pread(file, xmb_umem_piece_data(umem, 0) + 4001,
			   sizeof(want), 0),
		     sizeof(want)));
	cr_assert(eq(
		int,
		xmb_umem_piece_take(umem, 0, &cache, 4001, sizeof(want), &mb),
		0));
	cr_expect(eq(sz, xmb_multibuf_copy_to(&mb, 0, got, sizeof(got)),
		     sizeof(got)));
	cr_expect(eq(int, memcmp(got, want, sizeof(want)), 0));
	xmb_multibuf_release(&mb, &cache);
	cr_expect(eq(u64, xmb_counter_read(&cache.copies), 0));
	close(file);
	close(fd);
	finish();
}

Test(umem_piece, a_frame_is_taken_once_until_its_last_chunk_is_home)
{
	struct xmb_multibuf mb = { 0 }, tail = { 0 }, none = { 0 };

	close(one_piece(FRAME));
	cr_assert(
		eq(int,
		   xmb_umem_piece_take(umem, 0, &cache, 3 * FRAME, FRAME, &mb),
		   0));
	cr_expect(eq(int,
		     xmb_umem_piece_take(umem, 0, &cache, 2 * FRAME, 2 * FRAME,
					 &none),
		     -EBUSY));
	cr_expect(xmb_multibuf_is_empty(&none));
	expect_ledger(64 + CNT - 1, 1);
	cr_assert(eq(int, xmb_multibuf_split(&mb, 101, &tail, &cache), 0));
	xmb_multibuf_release(&mb, &cache);
	cr_expect(eq(int, home.cnt, 0));
	cr_expect(eq(int,
		     xmb_umem_piece_take(umem, 0, &cache, 3 * FRAME, 1, &none),
		     -EBUSY));
	xmb_multibuf_release(&tail, &cache);
	cr_expect(eq(int, home.cnt, 1));
	cr_expect(eq(u32, home.piece, 0));
	cr_expect(eq(u32, home.frame, 3));
	cr_assert(eq(int,
		     xmb_umem_piece_take(umem, 0, &cache, 2 * FRAME, 2 * FRAME,
					 &none),
		     0));
	xmb_multibuf_release(&none, &cache);
	finish();
}

Test(umem_piece, ranges_that_are_none_are_refused)
{
	static const struct {
		uint32_t piece;
		size_t off, len;
	} bad[] = {
		{ 0, 0, 0 },	      { 0, LEN, 1 },	  { 0, LEN - 1, 2 },
		{ 0, SIZE_MAX, 2 },   { 0, 1, SIZE_MAX }, { 1, 0, 1 },
		{ UINT32_MAX, 0, 1 },
	};
	struct xmb_multibuf mb = { 0 };

	close(one_piece(FRAME));
	for (size_t i = 0; i < sizeof(bad) / sizeof(*bad); i++)
		cr_expect(eq(int,
			     xmb_umem_piece_take(umem, bad[i].piece, &cache,
						 bad[i].off, bad[i].len, &mb),
			     -EINVAL),
			  "%zu", i);
	cr_expect(eq(int, xmb_umem_piece_alloc(umem, 0, &cache, 0, &mb),
		     -EINVAL));
	cr_expect(eq(int, xmb_umem_piece_alloc(umem, 0, &cache, FRAME + 1, &mb),
		     -EINVAL));
	cr_expect(eq(int, xmb_umem_piece_alloc(umem, 1, &cache, 1, &mb),
		     -EINVAL));
	cr_expect(xmb_multibuf_is_empty(&mb));
	cr_expect(eq(u32, xmb_umem_piece_frame_cnt(umem, 1), 0));
	cr_expect(eq(ptr, xmb_umem_piece_data(umem, 1), NULL));
	expect_ledger(64 + CNT, 0);
	finish();
}

Test(umem_piece, more_than_65535_frames_at_once_are_refused)
{
	const size_t len = 65536ul * FRAME;
	struct xmb_umem_piece_opts piece = { .fd = make_fd(len, F_SEAL_SHRINK),
					     .len = len };
	struct xmb_multibuf mb = { 0 };

	create(&piece, 1, FRAME);
	cr_expect(eq(int, xmb_umem_piece_take(umem, 0, &cache, 0, len, &mb),
		     -EINVAL));
	cr_expect(eq(u32, xmb_umem_piece_free_cnt(umem, 0), 65536));
	finish();
}

Test(umem_piece, without_a_spill_block_nothing_is_taken)
{
	uint32_t spills[4096], cnt = 0;
	struct xmb_multibuf mb = { 0 };

	close(one_piece(FRAME));
	while ((spills[cnt] = xmb_cache_spill_get(&cache)) != XMB_SPILL_NONE)
		cnt++;
	cr_expect(eq(int,
		     xmb_umem_piece_take(umem, 0, &cache, 0, 8 * FRAME, &mb),
		     -ENOBUFS));
	cr_expect(xmb_multibuf_is_empty(&mb));
	cr_expect(eq(int, home.cnt, 0));
	cr_expect(eq(u32, xmb_umem_piece_free_cnt(umem, 0), CNT));
	expect_ledger(64 + CNT, 0);
	while (cnt)
		xmb_cache_spill_put(&cache, &umem->pool.domain, spills[--cnt]);
	cr_expect(eq(int,
		     xmb_umem_piece_take(umem, 0, &cache, 0, 8 * FRAME, &mb),
		     0));
	xmb_multibuf_release(&mb, &cache);
	cr_expect(eq(int, home.cnt, 8));
	finish();
}

Test(umem_piece, alloc_gives_each_frame_once_and_then_no_more)
{
	static struct xmb_multibuf mbs[CNT + 1];
	bool seen[CNT] = { false };

	close(one_piece(FRAME));
	for (int i = 0; i < CNT; i++) {
		cr_assert(
			eq(int,
			   xmb_umem_piece_alloc(umem, 0, &cache, 100, &mbs[i]),
			   0));
		cr_assert(not(seen[mbs[i].c[0].region]));
		seen[mbs[i].c[0].region] = true;
	}
	cr_expect(eq(int, xmb_umem_piece_alloc(umem, 0, &cache, 100, &mbs[CNT]),
		     -ENOBUFS));
	expect_ledger(64, CNT);
	xmb_multibuf_release_bulk(mbs, CNT, &cache);
	expect_ledger(64 + CNT, 0);
	/* The pool has what it had: no frame of the piece got in there. */
	cr_expect(eq(u32, xmb_pool_free_cnt(&umem->pool) + cache.cnt, 64));
	finish();
}

static void *take_and_release(void *arg)
{
	struct xmb_cache mine;

	xmb_cache_init(&mine, &umem->pool, *(uint32_t *)arg);
	for (int i = 0; i < 20000; i++) {
		struct xmb_multibuf mb = { 0 };
		size_t off = (size_t)(i * 37 % (CNT - 2)) * FRAME + FRAME / 2;

		if (i & 1 ? xmb_umem_piece_alloc(umem, 0, &mine, 64, &mb)
			  : xmb_umem_piece_take(umem, 0, &mine, off, 2 * FRAME,
						&mb))
			continue;
		memset(xmb_chunk_data(&mb.c[0]), i, mb.c[0].len);
		xmb_multibuf_release(&mb, &mine);
	}
	xmb_cache_fini(&mine);
	return NULL;
}

Test(umem_piece, two_threads_never_have_the_same_frame)
{
	struct xmb_umem_piece_opts piece = { .fd = make_fd(LEN, F_SEAL_SHRINK),
					     .len = LEN };
	uint32_t whos[2] = { 2, 3 };
	pthread_t threads[2];

	create(&piece, 1, FRAME);
	for (int i = 0; i < 2; i++)
		cr_assert(eq(int,
			     pthread_create(&threads[i], NULL, take_and_release,
					    &whos[i]),
			     0));
	for (int i = 0; i < 2; i++)
		pthread_join(threads[i], NULL);
	/* Had two had one frame, the second release would have aborted. */
	expect_ledger(64 + CNT, 0);
	finish();
}

Test(umem_piece, several_lie_side_by_side_each_with_its_own_frames)
{
	struct xmb_umem_piece_opts pieces[3] = {
		{ .fd = make_fd(LEN, F_SEAL_SHRINK), .len = LEN },
		{ .fd = make_fd(3 * PAGE, F_SEAL_SHRINK),
		  .len = 2 * PAGE,
		  .off = PAGE },
		{ .fd = make_fd(PAGE, F_SEAL_SHRINK), .len = PAGE },
	};
	struct xmb_multibuf mb = { 0 };

	create(pieces, 3, FRAME);
	cr_expect(eq(ptr, xmb_umem_piece_data(umem, 1),
		     xmb_umem_piece_data(umem, 0) + LEN));
	cr_expect(eq(ptr, xmb_umem_piece_data(umem, 2),
		     xmb_umem_piece_data(umem, 1) + 2 * PAGE));
	cr_expect(eq(u64, umem->pieces[2].addr,
		     (uint64_t)(xmb_umem_piece_data(umem, 2) - umem->area)));
	cr_expect(eq(sz, umem->reg_len, umem->pieces[2].addr + PAGE));
	cr_expect(eq(u32, xmb_umem_piece_frame_cnt(umem, 1), 4));
	cr_assert(eq(int, xmb_umem_piece_alloc(umem, 1, &cache, 5, &mb), 0));
	cr_expect(eq(ptr, xmb_umem_piece_of(umem, mb.c[0].dom),
		     &umem->pieces[1]));
	cr_expect(eq(ptr, xmb_umem_piece_of(umem, umem->pool.domain.id), NULL));
	cr_expect(eq(ptr, xmb_umem_piece_of(umem, 0), NULL));
	cr_assert(eq(i64, pwrite(pieces[1].fd, "hello", 5, PAGE), 5));
	cr_expect(eq(int, memcmp(xmb_umem_piece_data(umem, 1), "hello", 5), 0));
	xmb_multibuf_release(&mb, &cache);
	expect_ledger(64 + CNT + 4 + 2, 0);
	finish();
}

Test(umem_piece, pieces_for_the_pool_are_where_packets_are_received)
{
	struct xmb_umem_piece_opts pieces[2] = {
		{ .fd = make_fd(LEN, F_SEAL_SHRINK),
		  .len = LEN,
		  .is_pool = true },
		{ .fd = make_fd(LEN, F_SEAL_SHRINK), .len = LEN },
	};
	struct xmb_umem_opts opts = { .frame_len = 4032,
				      .pieces = pieces,
				      .piece_cnt = 2 };
	struct xmb_multibuf mb = { 0 };
	struct stat st;

	cr_assert(eq(int, xmb_umem_create(&umem, &opts), 0));
	xmb_cache_init(&cache, &umem->pool, 1);
	cr_expect(eq(int, umem->memfd, -1));
	cr_expect(eq(u32, umem->pool.domain.region_cnt, LEN / 4032));
	cr_expect(eq(u32, xmb_umem_pool_cnt(&opts), LEN / 4032));
	cr_expect(eq(u32, xmb_umem_piece_frame_cnt(umem, 0), 0));
	cr_expect(eq(int, xmb_umem_piece_take(umem, 0, &cache, 0, 1, &mb),
		     -EINVAL));
	memset(umem->area, 0x5a, LEN);
	cr_expect(eq(int, fstat(pieces[0].fd, &st), 0));
	cr_expect(gt(i64, st.st_blocks, 0));
	cr_expect(eq(int, fstat(pieces[1].fd, &st), 0));
	cr_expect(eq(i64, st.st_blocks, 0));
	expect_ledger(2 * (LEN / 4032), 0);
	finish();
}

Test(umem_piece, frames_of_its_own_and_of_pieces_make_one_pool)
{
	struct xmb_umem_piece_opts piece = { .fd = make_fd(LEN, F_SEAL_SHRINK),
					     .len = LEN,
					     .is_pool = true };

	create(&piece, 1, FRAME);
	/* The own part is mapped in units of 2 MiB, all of it in use. */
	cr_expect(eq(u32, umem->pool.domain.region_cnt, 1024 + CNT));
	memset(umem->area, 1, umem->reg_len);
	expect_ledger(1024 + CNT, 0);
	finish();
}

static void expect_refused(struct xmb_umem_piece_opts piece, int err,
			   const char *part)
{
	struct xmb_umem_opts opts = { .frame_cnt = 64,
				      .pieces = &piece,
				      .piece_cnt = 1 };
	struct xmb_umem *const before = (struct xmb_umem *)8, *out = before;
	int fd = lowest_free_fd();

	said[0] = '\0';
	cr_expect(eq(int, xmb_umem_create(&out, &opts), err), "%s", part);
	cr_expect(eq(ptr, out, before));
	cr_expect(eq(int, lowest_free_fd(), fd));
	expect_said(part);
}

Test(umem_piece, what_is_no_memory_or_closed_is_refused)
{
	char path[] = "/var/tmp/xmbuf-piece-XXXXXX", proc[64];
	int fd = make_fd(LEN, F_SEAL_SHRINK), rdonly, file;
	struct statfs fs;

	expect_refused((struct xmb_umem_piece_opts){ .fd = -1, .len = LEN },
		       -EBADF, "piece 0: its fd is not open");
	snprintf(proc, sizeof(proc), "/proc/self/fd/%d", fd);
	rdonly = open(proc, O_RDONLY | O_CLOEXEC);
	cr_assert(ge(int, rdonly, 0));
	expect_refused((struct xmb_umem_piece_opts){ .fd = rdonly, .len = LEN },
		       -EACCES, "reading and writing");
	file = mkstemp(path);
	cr_assert(ge(int, file, 0));
	unlink(path);
	cr_assert(eq(int, ftruncate(file, LEN), 0));
	cr_assert(eq(int, fstatfs(file, &fs), 0));
	if (fs.f_type == 0x01021994)
		cr_skip_test("/var/tmp is in memory here");
	expect_refused((struct xmb_umem_piece_opts){ .fd = file, .len = LEN },
		       -EOPNOTSUPP, "no file on a disk");
}

Test(umem_piece, seals_say_whether_it_may_be_used)
{
	int unsealed = make_fd(LEN, 0);
	int written = make_fd(LEN, F_SEAL_SHRINK | F_SEAL_WRITE);
	struct xmb_umem_piece_opts piece = { .fd = unsealed, .len = LEN };

	expect_refused(piece, -EPERM, "F_SEAL_SHRINK");
	piece.is_unsealed = true;
	create(&piece, 1, FRAME);
	finish();
	piece.fd = written;
	expect_refused(piece, -EPERM, "sealed against writing");
}

Test(umem_piece, a_file_in_dev_shm_is_taken_if_the_caller_knows)
{
	char path[] = "/dev/shm/xmbuf-piece-XXXXXX";
	struct xmb_umem_piece_opts piece = { .fd = mkstemp(path), .len = LEN };

	if (piece.fd < 0)
		cr_skip_test("no /dev/shm");
	unlink(path);
	cr_assert(eq(int, ftruncate(piece.fd, LEN), 0));
	expect_refused(piece, -EPERM, "is_unsealed");
	piece.is_unsealed = true;
	create(&piece, 1, FRAME);
	cr_expect(eq(u32, xmb_umem_piece_free_cnt(umem, 0), CNT));
	finish();
}

Test(umem_piece, sizes_that_do_not_fit_are_refused)
{
	int fd = make_fd(LEN, F_SEAL_SHRINK);
	struct xmb_umem_piece_opts piece = { .fd = fd, .len = LEN };

	piece.off = 2048;
	expect_refused(piece, -EINVAL, "whole pages of 4096");
	piece.off = 0;
	piece.len = LEN - 1;
	expect_refused(piece, -EINVAL, "whole pages of 4096");
	piece.len = 0;
	expect_refused(piece, -EINVAL, "no room for one frame");
	piece.len = LEN + PAGE;
	expect_refused(piece, -EINVAL, "end behind its file");
	piece.len = LEN;
	piece.off = PAGE;
	expect_refused(piece, -EINVAL, "end behind its file");
	piece.off = UINT64_MAX - PAGE + 1;
	expect_refused(piece, -EINVAL, "end behind its file");
	piece.off = 0;
	piece.is_pool = true;
	piece.home = note_home;
	expect_refused(piece, -EINVAL, "nobody is told");
}

Test(umem_piece, two_that_share_bytes_or_come_in_the_wrong_order_are_refused)
{
	int fd = make_fd(LEN, F_SEAL_SHRINK);
	struct xmb_umem_piece_opts pieces[65] = {
		{ .fd = fd, .len = 2 * PAGE },
		{ .fd = dup(fd), .off = PAGE, .len = PAGE },
	};
	struct xmb_umem_opts opts = { .frame_cnt = 64,
				      .pieces = pieces,
				      .piece_cnt = 2 };

	cr_expect(eq(int, xmb_umem_create(&umem, &opts), -EINVAL));
	expect_said("piece 1: has bytes that piece 0 has too");
	pieces[1].off = 2 * PAGE;
	cr_expect(eq(int, xmb_umem_create(&umem, &opts), 0));
	xmb_umem_destroy(umem);
	pieces[1].is_pool = true;
	cr_expect(eq(int, xmb_umem_create(&umem, &opts), -EINVAL));
	expect_said("piece 1: pieces for the pool come first");
	opts.piece_cnt = 65;
	cr_expect(eq(int, xmb_umem_create(&umem, &opts), -EINVAL));
	expect_said("65 pieces: there are at most 64");
}

Test(umem_piece, more_than_2_to_the_24_frames_with_pieces_are_refused)
{
	const size_t len = (size_t)(1 << 24) * FRAME;

	expect_refused((struct xmb_umem_piece_opts){ .fd = 0, .len = len },
		       -EINVAL, "at most 16777216");
}
