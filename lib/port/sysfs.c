/* SPDX-License-Identifier: BSD-2-Clause */
#include "port/port_priv.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { DEFER, FLUSH, TEXT_LEN = 24, PATH_LEN = 64 };

static const char *const names[PORT_SYSFS_CNT] = {
	[DEFER] = "napi_defer_hard_irqs",
	[FLUSH] = "gro_flush_timeout",
};

static int read_text(int fd, char text[TEXT_LEN])
{
	ssize_t len = pread(fd, text, TEXT_LEN - 1, 0);

	if (len < 0)
		return -errno;
	text[len] = '\0';
	return 0;
}

static int write_number(int fd, uint64_t value)
{
	char text[TEXT_LEN];
	int len = snprintf(text, sizeof(text), "%" PRIu64, value);
	ssize_t done = pwrite(fd, text, (size_t)len, 0);

	return done == len ? 0 : done < 0 ? -errno : -EIO;
}

static int open_at(int dir, const char *name, int flags)
{
	int fd = openat(dir, name, flags | O_CLOEXEC);

	return fd < 0 ? -errno : fd;
}

static int read_at(int dir, const char *name, char text[TEXT_LEN])
{
	int fd = open_at(dir, name, O_RDONLY), err;

	if (fd < 0)
		return fd;
	err = read_text(fd, text);
	close(fd);
	return err;
}

/* In the /sys of another network namespace there may be one of that name. */
static int check_device(int dir, const struct xmb_nic_info *nic)
{
	char number[TEXT_LEN], address[TEXT_LEN], mac[TEXT_LEN];
	const uint8_t *m = nic->mac;
	int err = read_at(dir, "ifindex", number);

	if (!err)
		err = read_at(dir, "address", address);
	if (err)
		return err;
	snprintf(mac, sizeof(mac), "%02x:%02x:%02x:%02x:%02x:%02x\n", m[0],
		 m[1], m[2], m[3], m[4], m[5]);
	return atoi(number) == nic->ifindex && !strcmp(address, mac) ? 0
								     : -ENODEV;
}

static int open_files(struct port_sysfs *sysfs, int dir, int flags)
{
	for (int i = 0; i < PORT_SYSFS_CNT; i++) {
		int fd = open_at(dir, names[i], flags);

		if (fd < 0) {
			while (i-- > 0)
				close(sysfs->fds[i]);
			return fd;
		}
		sysfs->fds[i] = fd;
	}
	return 0;
}

int port_sysfs_open(struct port_sysfs *sysfs, const struct xmb_nic_info *nic,
		    bool is_to_write)
{
	char path[PATH_LEN];
	int dir, err;

	snprintf(path, sizeof(path), "/sys/class/net/%s", nic->name);
	dir = open_at(AT_FDCWD, path, O_PATH | O_DIRECTORY);
	if (dir < 0)
		return dir == -ENOENT ? -ENODEV : dir;
	err = check_device(dir, nic);
	if (!err)
		err = open_files(sysfs, dir, is_to_write ? O_RDWR : O_RDONLY);
	close(dir);
	return err;
}

int port_sysfs_get(const struct port_sysfs *sysfs, struct xmb_nic_napi *values)
{
	uint64_t got[PORT_SYSFS_CNT];

	for (int i = 0; i < PORT_SYSFS_CNT; i++) {
		char text[TEXT_LEN];
		int err = read_text(sysfs->fds[i], text);

		if (err)
			return err;
		got[i] = strtoull(text, NULL, 10);
	}
	*values = (struct xmb_nic_napi){
		.defer_hard_irqs = (uint32_t)got[DEFER],
		.gro_flush_ns = got[FLUSH],
	};
	return 0;
}

int port_sysfs_set(const struct port_sysfs *sysfs,
		   const struct xmb_nic_napi *values)
{
	int err = write_number(sysfs->fds[FLUSH], values->gro_flush_ns);

	return err ? err
		   : write_number(sysfs->fds[DEFER], values->defer_hard_irqs);
}

void port_sysfs_close(struct port_sysfs *sysfs)
{
	for (int i = 0; i < PORT_SYSFS_CNT; i++)
		close(sysfs->fds[i]);
}
