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
	const char *const names[] = { "free", "fill", "app", "chan", "tx",
				      "held", "damaged" };

	for (int i = 0; i <= XMB_FRAME_STATE_CNT; i++)
		cr_expect(eq(str, (char *)xmb_frame_state_name(
					  (enum xmb_frame_state)i),
			     (char *)names[i]));
}
