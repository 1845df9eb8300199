/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * lib/umem/place: where packet memory should lie, on machines that we have not
 * got; and lib/nic, on which node a device is.
 */
#include "umem_lab.h"

#include "nic/nic_priv.h"
#include "umem/place.h"

#include <errno.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/stat.h>

TestSuite(place, .init = listen_to_errors, .timeout = 300);

#define NODES(...) ((const int[]){ __VA_ARGS__ })
#define CNT(...) (sizeof(NODES(__VA_ARGS__)) / sizeof(int))
#define expect_place(t, kind_, nodes_, ...)                                    \
	do {                                                                   \
		struct xmb_place p_ = xmb_umem_place(t, NODES(__VA_ARGS__),    \
						     CNT(__VA_ARGS__));        \
		cr_expect(eq(int, p_.kind, kind_));                            \
		cr_expect(eq(u64, p_.nodes, nodes_));                          \
		cr_expect(ne(ptr, (void *)(uintptr_t)p_.why, NULL));           \
	} while (0)

static const struct xmb_topology one = { .nodes = 1 };
static const struct xmb_topology two = {
	.nodes = 3, .distance = { { 10, 21 }, { 21, 10 } }
};

Test(place, one_node_machines_have_no_choice)
{
	const struct xmb_topology fifth = { .nodes = 1 << 5 }, none = { 0 };

	expect_place(&one, XMB_PLACE_ANY, 0, 0);
	expect_place(&one, XMB_PLACE_ANY, 0, -1, 0);
	expect_place(&fifth, XMB_PLACE_ANY, 0, 5);
	expect_place(&none, XMB_PLACE_ANY, 0, 0);
}

Test(place, devices_near_one_node_have_their_memory_there)
{
	expect_place(&two, XMB_PLACE_NODE, 1, 0);
	expect_place(&two, XMB_PLACE_NODE, 2, 1);
	expect_place(&two, XMB_PLACE_NODE, 2, 1, 1, 1);
}

Test(place, devices_that_do_not_tell_leave_it_to_those_that_do)
{
	expect_place(&two, XMB_PLACE_ANY, 0, -1);
	expect_place(&two, XMB_PLACE_ANY, 0, -1, -1);
	expect_place(&two, XMB_PLACE_NODE, 2, -1, 1);
	expect_place(&two, XMB_PLACE_ANY, 0, 64);
	cr_expect(eq(int, xmb_umem_place(&two, NULL, 0).kind, XMB_PLACE_ANY));
}

Test(place, ports_on_different_nodes_spread_it_over_just_these)
{
	const struct xmb_topology four = { .nodes = 0xf };

	expect_place(&two, XMB_PLACE_SPREAD, 3, 0, 1);
	expect_place(&four, XMB_PLACE_SPREAD, 0xa, 3, 1, 3, -1);
	expect_place(&four, XMB_PLACE_NODE, 8, 3, 3);
}

Test(place, a_node_without_memory_counts_for_the_nearest_that_has_some)
{
	/* Node 1 has CPUs and slots only; 2 is nearer to it than 0. */
	const struct xmb_topology t = {
		.nodes = 1 | 4,
		.distance = { { 10, 31, 21 }, { 31, 10, 11 }, { 21, 11, 10 } },
	};
	const struct xmb_topology untold = { .nodes = 1 | 4 };

	expect_place(&t, XMB_PLACE_NODE, 4, 1);
	expect_place(&t, XMB_PLACE_NODE, 4, 1, 2);
	expect_place(&t, XMB_PLACE_SPREAD, 5, 0, 1);
	/* Distances that are not known: of several the lowest. */
	expect_place(&untold, XMB_PLACE_NODE, 1, 1);
}

Test(place, the_last_node_of_all_is_one_too)
{
	const struct xmb_topology t = { .nodes = 1 | UINT64_C(1) << 63 };

	expect_place(&t, XMB_PLACE_NODE, UINT64_C(1) << 63, 63);
}

static char root[64];

static void write_file(const char *name, const char *text)
{
	char path[256];
	FILE *file;

	snprintf(path, sizeof(path), "%s/%s", root, name);
	file = fopen(path, "w");
	cr_assert(ne(ptr, file, NULL));
	fputs(text, file);
	fclose(file);
}

static void make_dir(const char *name)
{
	char path[256];

	snprintf(path, sizeof(path), "%s/%s", root, name);
	cr_assert(eq(int, mkdir(path, 0700), 0));
}

static void make_root(void)
{
	strcpy(root, "/tmp/xmbuf-place-XXXXXX");
	cr_assert(ne(ptr, mkdtemp(root), NULL));
}

static void remove_root(void)
{
	char command[128];

	snprintf(command, sizeof(command), "rm -rf '%s'", root);
	cr_expect(eq(int, system(command), 0));
}

Test(place, reads_nodes_and_distances_of_those_online)
{
	struct xmb_topology t;

	make_root();
	write_file("has_memory", "0,2-3\n");
	write_file("online", "0-3\n");
	make_dir("node1");
	make_dir("node2");
	write_file("node1/distance", "31 10 11 25\n");
	write_file("node2/distance", "21 11 10\n");
	cr_expect(eq(int, xmb_topology_read(&t, root), 0));
	cr_expect(eq(u64, t.nodes, 0xd));
	cr_expect(eq(u8, t.distance[1][0], 31));
	cr_expect(eq(u8, t.distance[1][2], 11));
	cr_expect(eq(u8, t.distance[1][3], 25));
	cr_expect(eq(u8, t.distance[2][2], 10));
	cr_expect(eq(u8, t.distance[2][3], 0));
	cr_expect(eq(u8, t.distance[0][1], 0));
	expect_place(&t, XMB_PLACE_NODE, 4, 1);
	remove_root();
}

Test(place, what_it_cannot_read_is_refused_and_changes_nothing)
{
	static const char *const bad[] = { "",	    "x\n",  "0-\n",
					   "3-1\n", "64\n", "0-9999999999\n",
					   "0,\n" };
	struct xmb_topology t = { .nodes = 7 };

	make_root();
	cr_expect(eq(int, xmb_topology_read(&t, root), -ENOENT));
	for (size_t i = 0; i < sizeof(bad) / sizeof(*bad); i++) {
		write_file("has_memory", bad[i]);
		write_file("online", "0\n");
		cr_expect(eq(int, xmb_topology_read(&t, root), -EINVAL), "%s",
			  bad[i]);
	}
	write_file("has_memory", "0\n");
	write_file("online", "?\n");
	cr_expect(eq(int, xmb_topology_read(&t, root), -EINVAL));
	cr_expect(eq(u64, t.nodes, 7));
	remove_root();
}

Test(place, the_kernel_takes_what_is_decided)
{
	struct xmb_topology t;
	struct xmb_place place = { 0 };
	size_t len = 1 << 20;
	uint8_t *area = mmap(NULL, len, PROT_READ | PROT_WRITE,
			     MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	int err;

	cr_assert(ne(ptr, area, MAP_FAILED));
	if (xmb_topology_read(&t, NULL))
		cr_skip_test("this kernel describes no nodes");
	cr_expect(eq(int, xmb_umem_place_apply(area, len, &place), 0));
	/* The first node with memory, as if there were others too. */
	place.kind = XMB_PLACE_NODE;
	place.nodes = t.nodes & (~t.nodes + 1);
	err = xmb_umem_place_apply(area, len, &place);
	if (err == -ENOSYS || err == -EPERM)
		cr_skip_test("mbind: %s", strerror(-err));
	cr_expect(eq(int, err, 0));
	place.kind = XMB_PLACE_SPREAD;
	cr_expect(eq(int, xmb_umem_place_apply(area, len, &place), 0));
	memset(area, 1, len);
	place.nodes = ~t.nodes;
	cr_expect(eq(int, xmb_umem_place_apply(area, len, &place), -EINVAL));
	munmap(area, len);
}

Test(place, a_umem_for_devices_of_this_machine_is_made)
{
	const int nodes[] = { 0, -1 };
	struct xmb_umem_opts opts = { .frame_cnt = 64,
				      .dev_nodes = nodes,
				      .dev_cnt = 2 };
	struct xmb_umem *umem = NULL;

	cr_assert(eq(int, xmb_umem_create(&umem, &opts), 0));
	memset(umem->area, 1, 64 * 2048);
	xmb_umem_destroy(umem);
}

Test(place, a_pci_slot_tells_its_node_and_nothing_else_does)
{
	make_root();
	make_dir("0000:03:00.0");
	make_dir("0000:04:00.1");
	make_dir("0000:05:00.0");
	make_dir("slot");
	write_file("0000:03:00.0/numa_node", "1\n");
	write_file("0000:04:00.1/numa_node", "-1\n");
	write_file("slot/numa_node", "1\n");
	cr_expect(eq(int, xmb_pci_node(root, "0000:03:00.0"), 1));
	cr_expect(eq(int, xmb_pci_node(root, "0000:04:00.1"), -1));
	cr_expect(eq(int, xmb_pci_node(root, "0000:05:00.0"), -1));
	cr_expect(eq(int, xmb_pci_node(root, "0000:06:00.0"), -1));
	/* What a driver without a slot says, and what could be a path. */
	cr_expect(eq(int, xmb_pci_node(root, ""), -1));
	cr_expect(eq(int, xmb_pci_node(root, "N/A"), -1));
	cr_expect(eq(int, xmb_pci_node(root, "slot"), -1));
	cr_expect(eq(int, xmb_pci_node(root, "../slot"), -1));
	cr_expect(eq(int, xmb_pci_node(root, ".."), -1));
	remove_root();
}
