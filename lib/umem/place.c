/* SPDX-License-Identifier: BSD-2-Clause */
#include "umem/place.h"

#include <errno.h>
#include <linux/mempolicy.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

enum { LINE_LEN = 1024, LOCAL = 10, UNKNOWN_DISTANCE = 255 };

static uint64_t bit(int node)
{
	return UINT64_C(1) << node;
}

/* The node itself, or the nearest that has memory; of several the lowest. */
static int node_with_memory(const struct xmb_topology *topology, int node)
{
	int best = -1;
	uint32_t best_distance = UINT32_MAX;

	if (topology->nodes & bit(node))
		return node;
	for (int i = 0; i < XMB_NODE_MAX; i++) {
		uint32_t distance = xmb_or_u32(topology->distance[node][i],
					       UNKNOWN_DISTANCE);

		if (!(topology->nodes & bit(i)) || distance >= best_distance)
			continue;
		best = i;
		best_distance = distance;
	}
	return best;
}

struct xmb_place xmb_umem_place(const struct xmb_topology *topology,
				const int *dev_nodes, uint32_t dev_cnt)
{
	uint64_t wanted = 0;

	/* One bit, or none. */
	if ((topology->nodes & (topology->nodes - 1)) == 0)
		return (struct xmb_place){ .why = "one node has memory" };
	for (uint32_t i = 0; i < dev_cnt; i++)
		if (dev_nodes[i] >= 0 && dev_nodes[i] < XMB_NODE_MAX)
			wanted |= bit(node_with_memory(topology, dev_nodes[i]));
	if (wanted == 0)
		return (struct xmb_place){ .why = "no device says its node" };
	if ((wanted & (wanted - 1)) == 0)
		return (struct xmb_place){ XMB_PLACE_NODE, wanted,
					   "all devices are near it" };
	return (struct xmb_place){ XMB_PLACE_SPREAD, wanted,
				   "the devices are near different nodes" };
}

/* A file's first line. */
static int read_line(const char *root, const char *name, char line[LINE_LEN])
{
	char path[LINE_LEN];
	FILE *file;
	int err = 0;

	snprintf(path, sizeof(path), "%s/%s", root, name);
	file = fopen(path, "re");
	if (!file)
		return -errno;
	if (!fgets(line, LINE_LEN, file))
		err = -EINVAL;
	fclose(file);
	return err;
}

/* "0-1,4" as bits. */
static int parse_nodes(const char *text, uint64_t *nodes)
{
	uint64_t found = 0;

	for (;;) {
		char *end;
		unsigned long first = strtoul(text, &end, 10), last = first;

		if (end == text)
			return -EINVAL;
		if (*end == '-') {
			text = end + 1;
			last = strtoul(text, &end, 10);
			if (end == text)
				return -EINVAL;
		}
		if (first > last || last >= XMB_NODE_MAX)
			return -EINVAL;
		for (unsigned long i = first; i <= last; i++)
			found |= bit((int)i);
		if (*end != ',')
			break;
		text = end + 1;
	}
	*nodes = found;
	return 0;
}

/*
 * "10 21 31" are the distances to all nodes that are online, in their order.
 * A file that is missing leaves them unknown.
 */
static void read_distances(struct xmb_topology *topology, const char *root,
			   int node, uint64_t online)
{
	char name[64], line[LINE_LEN], *text = line;

	snprintf(name, sizeof(name), "node%d/distance", node);
	if (read_line(root, name, line))
		return;
	for (int i = 0; i < XMB_NODE_MAX; i++) {
		char *end;
		unsigned long distance;

		if (!(online & bit(i)))
			continue;
		distance = strtoul(text, &end, 10);
		if (end == text || distance < LOCAL ||
		    distance > UNKNOWN_DISTANCE)
			return;
		topology->distance[node][i] = (uint8_t)distance;
		text = end;
	}
}

int xmb_topology_read(struct xmb_topology *topology, const char *root)
{
	struct xmb_topology found = { 0 };
	char line[LINE_LEN];
	uint64_t online = 0;
	int err;

	if (!root)
		root = "/sys/devices/system/node";
	err = read_line(root, "has_memory", line);
	if (!err)
		err = parse_nodes(line, &found.nodes);
	if (!err)
		err = read_line(root, "online", line);
	if (!err)
		err = parse_nodes(line, &online);
	if (err)
		return err;
	for (int i = 0; i < XMB_NODE_MAX; i++)
		if (online & bit(i))
			read_distances(&found, root, i, online);
	*topology = found;
	return 0;
}

int xmb_umem_place_apply(void *area, size_t len, const struct xmb_place *place)
{
	const uint64_t nodes = place->nodes;
	int mode = place->kind == XMB_PLACE_NODE ? MPOL_PREFERRED
						 : MPOL_INTERLEAVE;

	if (place->kind == XMB_PLACE_ANY)
		return 0;
	/* The kernel reads one bit less than it is told. */
	if (syscall(SYS_mbind, area, len, mode, &nodes, XMB_NODE_MAX + 1, 0))
		return -errno;
	return 0;
}
