/* SPDX-License-Identifier: BSD-2-Clause */
#include "prog/gate.h"

#include "prog/prog_priv.h"

#include <bpf/bpf.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <sys/vfs.h>
#include <unistd.h>

#define BPFFS "/sys/fs/bpf"
#define ROOT BPFFS "/xmbuf"
#define NETNS "/proc/thread-self/ns/net"

#define BPFFS_KIND 0xcafe4a11u /* of statfs() */

enum {
	ENTRY_PATH_MAX = 128,
	/*
	 * A directory may be removed while it is locked, and who sweeps has the
	 * lock of each that looks left over for a moment.
	 */
	LOCK_TRY_MAX = 50,
	LOCK_STEP_US = 2000,
};

static void path_of(char path[ENTRY_PATH_MAX], const struct xmb_gate *gate,
		    const char *entry)
{
	snprintf(path, ENTRY_PATH_MAX, "%s/%s", gate->path, entry);
}

static void counters_path(char path[ENTRY_PATH_MAX],
			  const struct xmb_gate *gate, uint32_t prog_id)
{
	char entry[24];

	snprintf(entry, sizeof(entry), "counters-%u", prog_id);
	path_of(path, gate, entry);
}

/* 0, or why there is none that can be seen. */
static int look_for_bpffs(void)
{
	struct statfs fs;

	if (statfs(BPFFS, &fs))
		return -errno;
	return (uint32_t)fs.f_type == BPFFS_KIND ? 0 : -EOPNOTSUPP;
}

static int tell_no_bpffs(const char *dev, int err)
{
	xmb_log(XMB_LOG_ERROR,
		"%s: a gate, or a program in libxdp's dispatcher, is kept in a "
		"bpffs, and there is none on " BPFFS
		" (%s): `mount -t bpf bpf " BPFFS
		"`; `ip netns exec` hides one that "
		"is there: use `nsenter --net=` instead",
		dev, strerror(-err));
	return -EOPNOTSUPP;
}

int xmb_link_ifindex(int link_fd, uint32_t *prog_id)
{
	struct bpf_link_info info = { 0 };
	uint32_t len = sizeof(info);
	int err = bpf_obj_get_info_by_fd(link_fd, &info, &len);

	if (err)
		return err;
	if (info.type != BPF_LINK_TYPE_XDP)
		return -EINVAL;
	if (prog_id)
		*prog_id = info.prog_id;
	return (int)info.xdp.ifindex;
}

static void remove_entries(const struct xmb_gate *gate)
{
	DIR *dir = opendir(gate->path);
	struct dirent *entry;
	char path[ENTRY_PATH_MAX];

	/* The link first: a gate without counters is a gate still. */
	path_of(path, gate, "link");
	unlink(path);
	while (dir && (entry = readdir(dir))) {
		if (entry->d_name[0] == '.')
			continue;
		snprintf(path, sizeof(path), "%s/%.40s", gate->path,
			 entry->d_name);
		unlink(path);
	}
	if (dir)
		closedir(dir);
}

void xmb_gate_close(struct xmb_gate *gate)
{
	if (gate->dir_fd < 0)
		return;
	/* Fails when something is pinned there, and so it should. */
	rmdir(gate->path);
	rmdir(ROOT);
	/* A child that was forked may hold the descriptor still. */
	flock(gate->dir_fd, LOCK_UN);
	close(gate->dir_fd);
	if (gate->link_fd >= 0)
		close(gate->link_fd);
	gate->dir_fd = -1;
	gate->link_fd = -1;
}

void xmb_gate_clear(struct xmb_gate *gate)
{
	if (gate->dir_fd < 0)
		return;
	remove_entries(gate);
	xmb_gate_close(gate);
}

/* Lock the directory at gate->path; it may be removed while we wait for it. */
static int lock(struct xmb_gate *gate, bool is_made, int try_max)
{
	for (int i = 0; i < try_max; i++) {
		struct stat held, there;
		int fd;

		if (is_made && mkdir(ROOT, 0700) && errno != EEXIST)
			return -errno;
		if (is_made && mkdir(gate->path, 0700) && errno != EEXIST) {
			if (errno == ENOENT)
				continue;
			return -errno;
		}
		fd = open(gate->path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
		if (fd < 0 && errno == ENOENT && is_made)
			continue;
		if (fd < 0)
			return -errno;
		if (flock(fd, LOCK_EX | LOCK_NB)) {
			close(fd);
			if (i + 1 < try_max)
				usleep(LOCK_STEP_US);
			continue;
		}
		if (!fstat(fd, &held) && !stat(gate->path, &there) &&
		    held.st_ino == there.st_ino) {
			gate->dir_fd = fd;
			return 0;
		}
		close(fd);
	}
	return -EBUSY;
}

/*
 * What is pinned there: link_fd and prog_id, or nothing that is of use, which
 * is removed.  What cannot be looked at may be a gate, and is left alone.
 */
static int look(struct xmb_gate *gate, int ifindex)
{
	char path[ENTRY_PATH_MAX];
	int fd, has;

	path_of(path, gate, "link");
	fd = bpf_obj_get(path);
	if (fd < 0 && fd != -ENOENT)
		return fd;
	has = fd < 0 ? 0 : xmb_link_ifindex(fd, &gate->prog_id);
	if (has > 0 && has == ifindex) {
		gate->link_fd = fd;
		return 0;
	}
	if (fd >= 0)
		close(fd);
	if (has < 0)
		return has;
	remove_entries(gate);
	return 0;
}

/* No link, or one that has lost its device.  A link may be about to come. */
static bool is_left_over(const struct xmb_gate *gate)
{
	char path[ENTRY_PATH_MAX];
	bool is_live;
	int fd;

	path_of(path, gate, "link");
	fd = bpf_obj_get(path);
	if (fd < 0)
		return fd == -ENOENT;
	is_live = xmb_link_ifindex(fd, NULL) != 0;
	close(fd);
	return !is_live;
}

/* Remove what is left of devices that are gone. */
static void sweep(void)
{
	DIR *dir = opendir(ROOT);
	struct dirent *entry;

	while (dir && (entry = readdir(dir))) {
		struct xmb_gate gate = { .dir_fd = -1, .link_fd = -1 };

		if (entry->d_name[0] == '.')
			continue;
		snprintf(gate.path, sizeof(gate.path), ROOT "/%.40s",
			 entry->d_name);
		/* A dispatcher's has no link, and a process that lives locks
		 * it. */
		if (!is_left_over(&gate) || lock(&gate, false, 1))
			continue;
		if (is_left_over(&gate)) {
			xmb_log(XMB_LOG_INFO,
				"%s: removed: nothing uses it any more",
				gate.path);
			remove_entries(&gate);
		}
		xmb_gate_close(&gate);
	}
	if (dir)
		closedir(dir);
}

static int tell_lock(const char *dev, const struct xmb_gate *gate, int err)
{
	if (err == -EBUSY) {
		xmb_log(XMB_LOG_ERROR,
			"%s: another process is using its gate, or its place "
			"in libxdp's dispatcher (%s: %s): end that first",
			dev, gate->path, strerror(-err));
		return err;
	}
	return xmb_gate_tell(dev, "the directory of its gate", gate->path, err);
}

/* Nothing is there, or it cannot be seen: err. */
static int tell_none(const char *dev, const struct xmb_gate *gate, int err)
{
	if (err && err != -ENOENT)
		return tell_lock(dev, gate, err);
	xmb_log(XMB_LOG_ERROR, "%s: it has no gate: nothing is pinned in %s",
		dev, gate->path);
	return -ENOENT;
}

int xmb_gate_open(struct xmb_gate *gate, const char *dev, int ifindex,
		  enum xmb_gate_want want)
{
	bool is_made = want == XMB_GATE_MAKE;
	struct stat ns;
	int err;

	*gate = (struct xmb_gate){ .dir_fd = -1, .link_fd = -1 };
	err = look_for_bpffs();
	if (err)
		return want == XMB_GATE_LOOK ? 0 : tell_no_bpffs(dev, err);
	if (stat(NETNS, &ns))
		return want == XMB_GATE_LOOK
			       ? 0
			       : xmb_gate_tell(dev, "the network namespace",
					       NETNS, -errno);
	if (want != XMB_GATE_LOOK)
		sweep();
	snprintf(gate->path, sizeof(gate->path), ROOT "/%ju-%d",
		 (uintmax_t)ns.st_ino, ifindex);
	err = lock(gate, is_made, LOCK_TRY_MAX);
	/* Who may not look has no gate, and is told of the program there. */
	if (err && want == XMB_GATE_LOOK && err != -EBUSY)
		return 0;
	if (err && want == XMB_GATE_NEED)
		return tell_none(dev, gate, err);
	if (err)
		return tell_lock(dev, gate, err);
	err = look(gate, ifindex);
	if (err) {
		xmb_gate_close(gate);
		return xmb_gate_tell(dev, "its gate", gate->path, err);
	}
	if (gate->link_fd >= 0 || is_made)
		return 0;
	xmb_gate_close(gate);
	return want == XMB_GATE_NEED ? tell_none(dev, gate, 0) : 0;
}

static int pin(const char *dev, const char *what, int fd, const char *path)
{
	int err = bpf_obj_pin(fd, path);

	return err ? xmb_gate_tell(dev, what, path, err) : 0;
}

int xmb_gate_pin_counters(struct xmb_gate *gate, const char *dev, int map_fd,
			  uint32_t id)
{
	char path[ENTRY_PATH_MAX];

	counters_path(path, gate, id);
	return pin(dev, "the counters of its gate", map_fd, path);
}

int xmb_gate_pin_link(struct xmb_gate *gate, const char *dev, int link_fd)
{
	char path[ENTRY_PATH_MAX];
	int err;

	path_of(path, gate, "link");
	err = pin(dev, "its gate", link_fd, path);
	gate->is_ours = !err;
	return err;
}

void xmb_gate_unpin_counters(struct xmb_gate *gate, uint32_t id)
{
	char path[ENTRY_PATH_MAX];

	counters_path(path, gate, id);
	unlink(path);
}

int xmb_gate_counters_fd(const struct xmb_gate *gate, uint32_t prog_id)
{
	char path[ENTRY_PATH_MAX];

	counters_path(path, gate, prog_id);
	return bpf_obj_get(path);
}

uint64_t xmb_gate_count(int counters_fd)
{
	uint64_t v[XMB_PROG_COUNTER_CNT];
	int err;

	if (counters_fd < 0)
		return UINT64_MAX;
	err = xmb_prog_sum(counters_fd, v);
	close(counters_fd);
	return err ? UINT64_MAX : v[XMB_PROG_GATE_DROP];
}

int xmb_gate_remove(const char *dev, int ifindex, uint64_t *dropped)
{
	struct xmb_gate gate;
	int counters_fd;
	int err = xmb_gate_open(&gate, dev, ifindex, XMB_GATE_NEED);

	if (err)
		return err;
	counters_fd = xmb_gate_counters_fd(&gate, gate.prog_id);
	err = bpf_link_detach(gate.link_fd);
	if (err) {
		if (counters_fd >= 0)
			close(counters_fd);
		err = xmb_gate_tell(dev, "its gate", gate.path, err);
		xmb_gate_close(&gate);
		return err;
	}
	xmb_gate_clear(&gate);
	*dropped = xmb_gate_count(counters_fd);
	return 0;
}
