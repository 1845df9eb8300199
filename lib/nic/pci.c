/* SPDX-License-Identifier: BSD-2-Clause */
#include "nic/nic_priv.h"

#include <ctype.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>

/* A slot's name; what else a driver calls its bus is no path to be opened. */
static bool is_slot(const char *bus)
{
	size_t len = strspn(bus, "0123456789abcdefABCDEF:.");

	return len > 0 && bus[len] == '\0' && isxdigit((unsigned char)*bus);
}

int xmb_pci_node(const char *root, const char *bus)
{
	char path[PATH_MAX];
	FILE *file;
	int node = -1;

	if (!is_slot(bus))
		return -1;
	snprintf(path, sizeof(path), "%s/%s/numa_node", root, bus);
	file = fopen(path, "re");
	if (!file)
		return -1;
	if (fscanf(file, "%d", &node) != 1 || node < 0)
		node = -1;
	fclose(file);
	return node;
}
