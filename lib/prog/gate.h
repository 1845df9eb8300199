/* SPDX-License-Identifier: BSD-2-Clause */
#ifndef XMBUF_PROG_GATE_H
#define XMBUF_PROG_GATE_H

#include "base/base.h"

/*
 * gate: what is left on a device when a program was attached with
 * XMB_PROG_EXIT_DROP and its process has ended.
 *
 *      /sys/fs/bpf/xmbuf/NETNS-IFINDEX/link          keeps program and device
 *                                     /counters-ID   what program ID counted
 *
 * NETNS is the inode of the network namespace in which the gate was made.  The
 * process that uses a gate holds a lock on its directory.  The gate of a device
 * that was deleted is removed by the next call that looks.
 *
 * Units      Frames.
 * Ownership  The kernel's: files in a bpffs.
 * Threads    Any; it is the calling thread's network namespace that counts.
 * Errors     0 or a negative errno, with its sentence in the log.
 * Kernel     CAP_NET_ADMIN and CAP_BPF, and the right to write the files.
 */

/*
 * Remove the gate of the device, which dev is the name of, so that all its
 * traffic goes to the kernel again; *dropped says how many frames that had no
 * socket it dropped, UINT64_MAX that this cannot be told.
 * -ENOENT: the device has no gate.
 * -EBUSY: a process is using it.
 * -EPERM: a privilege is missing.
 * -EOPNOTSUPP: no bpffs is mounted on /sys/fs/bpf, so none is to be seen.
 */
XMB_API int xmb_gate_remove(const char *dev, int ifindex, uint64_t *dropped);

#endif /* XMBUF_PROG_GATE_H */
