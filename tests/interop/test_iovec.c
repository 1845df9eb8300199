/* SPDX-License-Identifier: BSD-2-Clause */
#include "interop/iovec.h"

#include "interop_lab.h"

#include <fcntl.h>
#include <sys/mman.h>

TestSuite(iovec, .init = open_lab, .fini = close_lab);

static uint8_t data[700];

Test(iovec, a_packet_of_many_chunks_is_written_and_read_back_by_the_kernel)
{
	struct xmb_multibuf out, in;
	int fd = memfd_create("iovec", 0);
	ssize_t n, all = 0;

	numbers(data, sizeof(data));
	out = awkward(data, sizeof(data));
	in = awkward(NULL, sizeof(data));
	/* More chunks than one call hands over. */
	cr_assert(gt(u32, xmb_span_cnt(&out), 64));
	while ((n = xmb_iovec_writev(fd, &out, (size_t)all,
				     sizeof(data) - (size_t)all)) > 0)
		all += n;
	cr_expect(eq(sz, (size_t)all, sizeof(data)));
	cr_assert(eq(int, (int)lseek(fd, 0, SEEK_SET), 0));
	for (all = 0; (n = xmb_iovec_readv(fd, &in, (size_t)all,
					   sizeof(data) - (size_t)all)) > 0;)
		all += n;
	cr_expect(eq(sz, (size_t)all, sizeof(data)));
	cr_expect(holds(&in, data, sizeof(data)));
	cr_expect(eq(u64, xmb_counter_read(&lab.cache.copies), 0));
	close(fd);
	xmb_multibuf_release(&in, &lab.cache);
	xmb_multibuf_release(&out, &lab.cache);
}

Test(iovec, what_the_kernel_refuses_is_told_and_nothing_is_read)
{
	struct xmb_multibuf mb;

	numbers(data, 100);
	mb = awkward(data, 100);
	cr_expect(eq(int, (int)xmb_iovec_writev(-1, &mb, 0, 100), -EBADF));
	cr_expect(eq(int, (int)xmb_iovec_readv(-1, &mb, 0, 100), -EBADF));
	cr_expect(eq(int, (int)xmb_iovec_writev(1, &mb, 101, 100), -ERANGE));
	cr_expect(eq(int, (int)xmb_iovec_writev(1, &mb, SIZE_MAX, 2), -ERANGE));
	cr_expect(eq(int, (int)xmb_iovec_readv(0, &mb, 101, 0), -ERANGE));
	cr_expect(eq(int, (int)xmb_iovec_readv(-1, &mb, 100, SIZE_MAX), 0));
	cr_expect(eq(int, (int)xmb_iovec_writev(-1, &mb, 100, 0), 0));
	cr_expect(holds(&mb, data, 100));
	xmb_multibuf_release(&mb, &lab.cache);
}

Test(iovec, more_than_there_is_means_up_to_the_end_of_the_data)
{
	struct xmb_multibuf out, in;
	int fd = memfd_create("iovec", 0);

	numbers(data, 100);
	out = awkward(data, 100);
	in = awkward(data, 100);
	cr_expect(eq(int, (int)xmb_iovec_writev(fd, &out, 1, 100), 99));
	cr_expect(eq(int, (int)lseek(fd, 0, SEEK_SET), 0));
	cr_expect(eq(int, (int)xmb_iovec_readv(fd, &in, 2, SIZE_MAX), 98));
	memmove(data + 2, data + 1, 98);
	cr_expect(holds(&in, data, 100));
	close(fd);
	xmb_multibuf_release(&in, &lab.cache);
	xmb_multibuf_release(&out, &lab.cache);
}

Test(iovec, a_read_only_packet_is_written_but_not_read_into)
{
	struct xmb_multibuf mb, clone = { 0 };
	int fd = memfd_create("iovec", 0);

	numbers(data, 40);
	mb = awkward(data, 40);
	cr_assert(eq(int, xmb_multibuf_share(&mb, &clone, &lab.cache), 0));
	cr_expect(eq(int, (int)xmb_iovec_writev(fd, &clone, 0, 40), 40));
	cr_expect(eq(int, (int)lseek(fd, 0, SEEK_SET), 0));
	cr_expect(eq(int, (int)xmb_iovec_readv(fd, &mb, 0, 40), -EPERM));
	cr_expect(holds(&mb, data, 40));
	close(fd);
	xmb_multibuf_release(&clone, &lab.cache);
	xmb_multibuf_release(&mb, &lab.cache);
}

static uint32_t freed_cnt;
static size_t freed_len;

static void count(void *arg, void *mem, size_t len)
{
	cr_expect(eq(ptr, arg, &lab));
	cr_expect(not(zero(ptr, mem)));
	freed_cnt++;
	freed_len += len;
}

Test(iovec, an_array_of_the_callers_becomes_one_packet_and_comes_back)
{
	struct xmb_multibuf mb = { .user = 7 }, tail = { 0 };
	struct iovec iov[] = { { data, 10 },
			       { data + 50, 0 },
			       { data + 100, 90 },
			       { data + 300, 400 } };

	numbers(data, sizeof(data));
	cr_assert(eq(int,
		     xmb_iovec_attach(&lab.cache, iov, 4, count, &lab, &mb),
		     0));
	cr_expect(eq(u32, mb.len, 500));
	cr_expect(eq(u32, mb.user, 7));
	cr_expect(eq(u32, xmb_multibuf_chunk_cnt(&mb), 3));
	cr_expect(eq(ptr, xmb_chunk_data(xmb_multibuf_chunk(&mb, 1)),
		     data + 100));
	cr_assert(eq(int, xmb_multibuf_split(&mb, 50, &tail, &lab.cache), 0));
	xmb_multibuf_release(&mb, &lab.cache);
	cr_expect(eq(u32, freed_cnt, 1));
	xmb_multibuf_release(&tail, &lab.cache);
	cr_expect(eq(u32, freed_cnt, 3));
	cr_expect(eq(sz, freed_len, 500));
}

Test(iovec, pieces_that_cannot_be_attached_all_stay_the_callers)
{
	struct xmb_multibuf mb = { .user = 7 };
	struct iovec iov[300];

	for (uint32_t i = 0; i < 300; i++)
		iov[i] = (struct iovec){ data, 1 };
	cr_expect(eq(int,
		     xmb_iovec_attach(&lab.cache, iov, 300, count, &lab, &mb),
		     -ENOSPC));
	cr_expect(eq(u32, freed_cnt, 0));
	cr_expect(xmb_multibuf_is_empty(&mb));
	cr_expect(eq(u32, mb.user, 7));
	/* The domains are free again. */
	cr_assert(eq(int,
		     xmb_iovec_attach(&lab.cache, iov, 200, count, &lab, &mb),
		     0));
	xmb_multibuf_release(&mb, &lab.cache);
	cr_expect(eq(u32, freed_cnt, 200));
	iov[0].iov_len = 0;
	cr_expect(eq(int,
		     xmb_iovec_attach(&lab.cache, iov, 1, count, &lab, &mb),
		     0));
	cr_expect(xmb_multibuf_is_empty(&mb));
}
