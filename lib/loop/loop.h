/* SPDX-License-Identifier: BSD-2-Clause */
#ifndef XMBUF_LOOP_LOOP_H
#define XMBUF_LOOP_LOOP_H

#include "base/base.h"

#include <signal.h>

/*
 * loop: one io_uring that waits for everything the control plane waits for.
 *
 * Whatever is watched is a file descriptor inside (a timer a timerfd, signals
 * a signalfd, wakes an eventfd) under a multishot poll: one request to the
 * kernel for the life of the watch, one system call for a round of the loop.
 *
 *      xmb_loop_run --wait--> completion --> fn(arg, res) --> next or wait
 *                                            may add, remove, stop
 *
 * A multishot poll reports an edge: data that was there when fn returned is
 * not reported again until more arrives.  A callback of xmb_loop_add_fd()
 * therefore reads until -EAGAIN.  The other kinds are drained by the loop.
 *
 * Units      _ns nanoseconds.  An id is positive, names one watch, and goes
 *            stale when that is removed.
 * Ownership  The loop owns its descriptors, the caller those he adds: remove
 *            the watch before closing one.  The kernel holds the file open
 *            until the loop next waits or is destroyed; so long the watch
 *            counts among the XMB_LOOP_WATCH_MAX.
 * Threads    One: the thread that created the loop adds, removes, runs, stops
 *            and destroys.  Only xmb_loop_wake() may be called from any thread
 *            and from a signal handler, from create until destroy.
 * Errors     0 or a negative errno; what the kernel refuses is logged with
 *            what to do.  Adding fails with -ENOSPC at
 *            XMB_LOOP_WATCH_MAX watches, and as the kernel refuses the
 *            descriptor that it needs (-EMFILE, -ENFILE, -ENOMEM).
 * Kernel     6.1 for SINGLE_ISSUER and DEFER_TASKRUN, without them 5.13.
 */

enum { XMB_LOOP_WATCH_MAX = 256 };

struct xmb_loop;

/*
 * What res says depends on the watch.  Below 0 it is an errno: the kernel has
 * ended the watch, its id is stale.  May remove any watch, its own too; may not
 * run or destroy the loop.
 */
typedef void xmb_loop_fn(void *arg, int res);

/*
 * Create a loop.
 * -ENOSYS: the kernel, or the sandbox of a container, has no io_uring.
 * -EPERM: the sysctl kernel.io_uring_disabled or a sandbox forbids it.
 * -ENOMEM, -EMFILE, -ENFILE: no memory or descriptors left.
 */
XMB_API int xmb_loop_create(struct xmb_loop **loop);

/*
 * Remove all watches without calling them, wait until the kernel has let their
 * files go, and free the loop; NULL is allowed.
 */
XMB_API void xmb_loop_destroy(struct xmb_loop *loop);

/*
 * Watch fd for input; res is its poll events (POLLIN, POLLHUP, ...).  Returns
 * an id.  Remove the watch at POLLHUP or POLLERR: it has nothing more to tell.
 * -EBADF: fd is not open.
 */
XMB_API int xmb_loop_add_fd(struct xmb_loop *loop, int fd, xmb_loop_fn *fn,
			    void *arg);

/*
 * Call fn every interval_ns from now; res is the number of intervals that have
 * passed since it was last called, more than 1 when the loop was late.  It does
 * not drift: the kernel counts from the first.  Returns an id.
 * -EINVAL: interval_ns is 0.
 */
XMB_API int xmb_loop_add_timer(struct xmb_loop *loop, uint64_t interval_ns,
			       xmb_loop_fn *fn, void *arg);

/*
 * Block the signals of set in this thread, and so in those it makes later, and
 * have them as calls of fn; res is the signal's number.  Removing the watch
 * puts the thread's mask back; signals that wait then are swallowed, so that a
 * second SIGINT does not kill a program that is ending.  Returns an id.
 * -EBUSY: this loop has a watch for signals.
 */
XMB_API int xmb_loop_add_signals(struct xmb_loop *loop, const sigset_t *set,
				 xmb_loop_fn *fn, void *arg);

/*
 * Call fn after xmb_loop_wake(); res is the number of wakes since the last
 * call, those before this watch was added among them.  Returns an id.
 * -EBUSY: this loop has a watch for wakes.
 */
XMB_API int xmb_loop_add_wake(struct xmb_loop *loop, xmb_loop_fn *fn,
			      void *arg);

/* Wake the loop.  Async-signal-safe. */
XMB_API void xmb_loop_wake(struct xmb_loop *loop);

/*
 * End a watch: its fn is not called again.
 * -ENOENT: the id is stale, or never was one.
 */
XMB_API int xmb_loop_remove(struct xmb_loop *loop, int id);

/*
 * Wait and call back until xmb_loop_stop(); returns the code given there.  It
 * may be run again.
 * -ENOENT: nothing is watched (any more), so that nothing could ever stop it;
 *	the kernel has let go of all that was.
 * -EEXIST: another thread created the loop.
 * Another errno that is not a code: as io_uring_enter() failed; nothing that
 *	is watched is lost, and it may be run again.
 */
XMB_API int xmb_loop_run(struct xmb_loop *loop);

/*
 * Make xmb_loop_run() return code after the callback that is being run; called
 * between runs, make the next one return at once.
 */
XMB_API void xmb_loop_stop(struct xmb_loop *loop, int code);

#endif /* XMBUF_LOOP_LOOP_H */
