/* SPDX-License-Identifier: BSD-2-Clause */
#include "interop/nanopb.h"

#include "interop_lab.h"
#include "sample.pb.h"
#include "sock/pipe.h"

#include <stdio.h>

TestSuite(nanopb, .init = open_lab, .fini = close_lab);

static Sample sample_of(uint32_t seed)
{
	Sample s = { .id = seed,
		     .crc = 0xdeadbeef ^ seed,
		     .stamp = UINT64_C(0x0123456789abcdef) + seed,
		     .ratio = 1.5 * seed,
		     .points_count = (pb_size_t)(seed % 17),
		     .values_count = (pb_size_t)(seed % 65) };

	snprintf(s.name, sizeof(s.name), "packet number %u", seed);
	s.blob.size = (pb_size_t)(seed * 37 % 2001);
	numbers(s.blob.bytes, s.blob.size);
	for (uint32_t i = 0; i < s.points_count; i++)
		s.points[i] = (Point){ -(int32_t)(i << i), (int64_t)i << 50 };
	for (uint32_t i = 0; i < s.values_count; i++)
		s.values[i] = (uint64_t)seed << i;
	return s;
}

/* What nanopb itself makes of it, in one piece. */
static uint32_t flat_of(const Sample *sample, uint8_t *flat, size_t max)
{
	pb_ostream_t stream = pb_ostream_from_buffer(flat, max);

	cr_assert(pb_encode(&stream, Sample_fields, sample));
	return (uint32_t)stream.bytes_written;
}

Test(nanopb, a_message_in_small_chunks_is_the_one_in_a_flat_buffer)
{
	static uint8_t flat[8192];

	for (uint32_t seed = 1; seed < 200; seed += 3) {
		Sample sample = sample_of(seed), back = Sample_init_zero;
		uint32_t len = flat_of(&sample, flat, sizeof(flat));
		struct xmb_multibuf mb = { 0 };

		cr_assert(eq(int,
			     xmb_nanopb_encode(&lab.cache, Sample_fields,
					       &sample, 20, &mb),
			     0));
		cr_expect(holds(&mb, flat, len), "seed %u", seed);
		/* Headroom before each chunk, as asked for. */
		cr_expect(eq(int, xmb_multibuf_claim_prefix(&mb, 20), 0));
		cr_expect(eq(
			int,
			xmb_nanopb_decode(&mb, 20, len, Sample_fields, &back),
			0));
		cr_expect(eq(u32, flat_of(&back, flat, sizeof(flat)), len));
		xmb_multibuf_discard_prefix(&mb, 20, &lab.cache);
		cr_expect(holds(&mb, flat, len), "seed %u", seed);
		xmb_multibuf_release(&mb, &lab.cache);
	}
}

Test(nanopb, what_nanopb_encoded_flat_is_decoded_from_awkward_chunks)
{
	static uint8_t flat[8192];
	Sample sample = sample_of(64), back = Sample_init_zero;
	uint32_t len = flat_of(&sample, flat, sizeof(flat));
	struct xmb_multibuf mb = awkward(flat, len);

	cr_assert(eq(int, xmb_nanopb_decode(&mb, 0, len, Sample_fields, &back),
		     0));
	cr_expect(eq(str, back.name, sample.name));
	cr_expect(eq(u32, back.blob.size, sample.blob.size));
	cr_expect(eq(int,
		     memcmp(back.blob.bytes, sample.blob.bytes, back.blob.size),
		     0));
	cr_expect(eq(int,
		     memcmp(back.values, sample.values, sizeof(back.values)),
		     0));
	cr_expect(eq(int,
		     memcmp(back.points, sample.points, sizeof(back.points)),
		     0));
	xmb_multibuf_release(&mb, &lab.cache);
}

Test(nanopb, a_message_that_is_cut_or_garbled_is_refused)
{
	static uint8_t flat[8192];
	Sample sample = sample_of(64), back = Sample_init_zero;
	uint32_t len = flat_of(&sample, flat, sizeof(flat));
	struct xmb_multibuf mb = awkward(flat, len);

	cr_expect(eq(int,
		     xmb_nanopb_decode(&mb, 0, len - 1, Sample_fields, &back),
		     -EPROTO));
	cr_expect(eq(int, xmb_nanopb_decode(&mb, 1, len, Sample_fields, &back),
		     -ERANGE));
	*(uint8_t *)xmb_multibuf_get(&mb, 0, 1, &(uint8_t){ 0 }) = 0xff;
	cr_expect(eq(int, xmb_nanopb_decode(&mb, 0, len, Sample_fields, &back),
		     -EPROTO));
	xmb_multibuf_release(&mb, &lab.cache);
}

Test(nanopb, a_message_for_which_there_is_no_memory_takes_none)
{
	Sample sample = sample_of(1900);
	struct xmb_multibuf mb = { .user = 9 }, all = { 0 };
	uint32_t free_cnt;

	cr_assert(
		eq(int, xmb_multibuf_alloc(&lab.cache, 250 * 64, 0, &all), 0));
	free_cnt = frames_free();
	cr_expect(eq(
		int,
		xmb_nanopb_encode(&lab.cache, Sample_fields, &sample, 0, &mb),
		-ENOBUFS));
	cr_expect(eq(u32, frames_free(), free_cnt));
	cr_expect(xmb_multibuf_is_empty(&mb));
	cr_expect(eq(u32, mb.user, 9));
	/* A name without its end is nothing that nanopb encodes. */
	memset(sample.name, 'x', sizeof(sample.name));
	cr_expect(eq(
		int,
		xmb_nanopb_encode(&lab.cache, Sample_fields, &sample, 0, &mb),
		-EINVAL));
	cr_expect(eq(u32, frames_free(), free_cnt));
	xmb_multibuf_release(&all, &lab.cache);
}

Test(nanopb, a_message_is_sent_into_a_socket_and_comes_out_as_it_was)
{
	Sample sample = sample_of(33), back = Sample_init_zero;
	Sample nothing = Sample_init_zero;
	struct xmb_multibuf mb = { 0 };
	struct xmb_socket *near, *far;
	struct xmb_pipe pipe;

	/* A pipe of two packets; both ends are this thread's. */
	cr_assert(eq(int, xmb_pipe_init(&pipe, 2, &lab.cache, &lab.cache), 0));
	near = &pipe.end[0].sock;
	far = &pipe.end[1].sock;
	cr_expect(eq(int, xmb_nanopb_send(near, Sample_fields, &nothing, 0),
		     -ENODATA));
	for (uint32_t i = 0; i < 2; i++)
		cr_assert(eq(int,
			     xmb_nanopb_send(near, Sample_fields, &sample, 14),
			     0));
	/* Full: it is not sent, and not lost. */
	cr_expect(eq(int, xmb_nanopb_send(near, Sample_fields, &sample, 14),
		     -EAGAIN));
	cr_assert(eq(int, xmb_socket_flush(near), 0));
	for (uint32_t i = 0; i < 2; i++) {
		cr_assert(eq(u32, xmb_socket_recv(far, &mb, 1), 1));
		cr_expect(eq(
			int,
			xmb_nanopb_decode(&mb, 0, mb.len, Sample_fields, &back),
			0));
		cr_expect(eq(u64, back.stamp, sample.stamp));
		xmb_multibuf_release(&mb, &lab.cache);
	}
	xmb_pipe_fini(&pipe, &lab.cache);
}
