/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * lib/buf/domain: the table of domains, and the names of a frame's states.
 * That a 256th domain is refused is in test_pool.c.
 */
#include "buf/domain.h"

#include "buf_lab.h"

static void remove_twice(void)
{
	static struct xmb_domain domain;

	if (xmb_domain_add(&domain))
		_exit(0);
	xmb_domain_remove(&domain);
	xmb_domain_remove(&domain);
}

Test(domain, removing_a_domain_twice_aborts)
{
	lab_expect_death(remove_twice, "xmb_domain_remove: must hold");
}

Test(domain, an_id_is_not_reused_at_once)
{
	struct xmb_domain a = { .id = 0 }, b = { .id = 0 };
	uint8_t id;

	cr_assert(eq(int, xmb_domain_add(&a), 0));
	id = a.id;
	cr_expect(ne(u8, id, 0));
	xmb_domain_remove(&a);
	cr_assert(eq(int, xmb_domain_add(&b), 0));
	cr_expect(ne(u8, b.id, id));
	xmb_domain_remove(&b);
}

Test(domain, states_have_names)
{
	const char *const names[] = { "free", "fill", "app",	"chan",
				      "tx",   "held", "damaged" };

	for (int i = 0; i <= XMB_FRAME_STATE_CNT; i++)
		cr_expect(eq(
			str,
			(char *)xmb_frame_state_name((enum xmb_frame_state)i),
			(char *)names[i]));
}

Test(domain, a_byte_is_in_the_region_that_a_division_tells)
{
	static const uint32_t lens[] = { 64,   2048, 2049, 2500, 3968,
					 4032, 4095, 4096, 65535 };

	for (size_t i = 0; i < sizeof(lens) / sizeof(*lens); i++) {
		struct xmb_domain domain = { .region_len = lens[i],
					     .region_cnt = UINT32_MAX };
		uint64_t len = lens[i];

		cr_assert(eq(int, xmb_domain_add(&domain), 0));
		for (uint64_t region = 0; region < UINT32_MAX;
		     region = region * 3 + 1) {
			const uint64_t at = region * len;

			cr_assert(eq(u64, xmb_domain_region_at(&domain, at),
				     region));
			cr_assert(
				eq(u64,
				   xmb_domain_region_at(&domain, at + len - 1),
				   region));
		}
		/* What no kernel means, but one might say. */
		for (int bit = 48; bit < 64; bit++)
			cr_assert(ge(u64,
				     xmb_domain_region_at(&domain,
							  UINT64_C(1) << bit),
				     UINT32_MAX));
		cr_assert(ge(u64, xmb_domain_region_at(&domain, UINT64_MAX),
			     UINT32_MAX));
		xmb_domain_remove(&domain);
	}
}
