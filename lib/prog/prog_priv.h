/* SPDX-License-Identifier: BSD-2-Clause */
#ifndef XMBUF_PROG_PROG_PRIV_H
#define XMBUF_PROG_PROG_PRIV_H

#include "base/log.h"
#include "prog/prog.h"

#include <errno.h>

/*
 * What the files of the room share.
 *
 *      prog.c     the calls of prog.h
 *      load.c     program and map: ours, a file's, or a map that is there
 *      attach.c   bpf_link in the modes asked for, netlink last
 *      dispatch.c one of the programs of libxdp's dispatcher
 *      gate.c     the files of a gate
 *      refusal.c  why the kernel refused, in words
 */

struct bpf_map;
struct bpf_object;
struct bpf_program;
struct steer_bpf;
struct xmb_dispatch;

/* The directory of a device's gate, which is locked while dir_fd is open. */
struct xmb_gate {
	int dir_fd;  /* -1: none */
	int link_fd; /* of the gate that was there; -1: none was */
	uint32_t prog_id;
	bool is_ours; /* the link there is one that we pinned */
	char path[64];
};

struct xmb_prog {
	struct steer_bpf *skel;	   /* ours; NULL: a file's */
	struct bpf_object *object; /* NULL: a map that is there */
	struct bpf_program *program;
	struct bpf_map *map;
	struct xmb_dispatch *dispatch;	  /* NULL: none */
	int prog_fd, map_fd, counters_fd; /* -1: none */
	bool owns_map_fd;
	bool *is_steered; /* queues, in a map of the user's */
	int link_fd;	  /* -1: none */
	bool is_netlink, is_committed, is_taking_over;
	enum xmb_prog_way way; /* that is taken; BY_ANY: not yet, or none */
	struct xmb_gate gate;
	int ifindex, id;
	enum xmb_prog_mode mode;
	enum xmb_prog_exit on_exit;
	struct xmb_match match;
	uint32_t queue_cnt;
	char dev[32];
};

/*
 * Read what source says, all but a map that is there, and load nothing yet:
 * object, program and map.  The errors of xmb_prog_attach(), said.
 */
int xmb_prog_open(struct xmb_prog *prog, const struct xmb_prog_opts *opts);

/* Fill in prog_fd, map_fd, counters_fd and id when the object was loaded. */
int xmb_prog_fill(struct xmb_prog *prog);

/*
 * Open, load and fill, or take the map that is there, and then the mode too.
 * The errors of xmb_prog_attach(), said.
 */
int xmb_prog_load(struct xmb_prog *prog, const struct xmb_prog_opts *opts);
void xmb_prog_unload(struct xmb_prog *prog);

/* Sum a counters map of ours over the CPUs.  -EINVAL: it is none of ours. */
int xmb_prog_sum(int map_fd, uint64_t v[XMB_PROG_COUNTER_CNT]);

/* By its name, which the kernel cuts. */
bool xmb_prog_is_dispatcher(uint32_t prog_id);

/*
 * Tell the mode in which the program of this id is on the device; AUTO: in
 * none.  Fails as the query does, and then it may be there or not.
 */
int xmb_prog_mode_of(int ifindex, uint32_t prog_id, enum xmb_prog_mode *mode);

/* Put prog_fd on the device: link_fd or nothing, way and mode. */
int xmb_prog_put_on(struct xmb_prog *prog, const struct xmb_prog_opts *opts);

/* Take a program off that is on the device by netlink, and no other. */
void xmb_prog_take_off(int ifindex, enum xmb_prog_mode mode, int prog_fd);

/* Would another mode get the same answer? */
bool xmb_prog_is_final(int err);

/* libxdp's prints go to the log, too. */
void xmb_dispatch_print_to_log(void);

/* Is libxdp's dispatcher on the device?  False also where it cannot be seen. */
bool xmb_dispatch_is_on(int ifindex);

/*
 * Have the dispatcher that is on the device call what xmb_prog_open() opened,
 * or put one there that does; fills prog and the mode.  What a process left
 * there that was killed while it held the lock of the gate's directory, which
 * the caller holds now, is taken out.  The errors of xmb_prog_attach(), said.
 */
int xmb_dispatch_join(struct xmb_prog *prog, const struct xmb_prog_opts *opts);

/* Does the dispatcher call it still? */
bool xmb_dispatch_has(const struct xmb_prog *prog);

/*
 * Take it out if it is in, and nothing else; with the last one the dispatcher
 * goes.
 */
void xmb_dispatch_leave(struct xmb_prog *prog);

/* The device that the link holds, 0 if there is none any more; negative errno.
 */
int xmb_link_ifindex(int link_fd, uint32_t *prog_id);

enum xmb_gate_want {
	XMB_GATE_LOOK, /* none, or none that can be seen, is no error */
	XMB_GATE_NEED, /* none is -ENOENT */
	XMB_GATE_MAKE, /* the directory is made */
};

/*
 * Lock the directory of the device's gate and look what is there; 0 and dir_fd
 * -1: there is none.
 * -EBUSY, -ENOENT, -EPERM, -EOPNOTSUPP, -ENOMEM, -ENOSPC: said.
 */
int xmb_gate_open(struct xmb_gate *gate, const char *dev, int ifindex,
		  enum xmb_gate_want want);

/* Pin counters of program id, or the link; said. */
int xmb_gate_pin_counters(struct xmb_gate *gate, const char *dev, int map_fd,
			  uint32_t id);
int xmb_gate_pin_link(struct xmb_gate *gate, const char *dev, int link_fd);
void xmb_gate_unpin_counters(struct xmb_gate *gate, uint32_t id);

/* Let go of the lock; whatever is pinned stays, an empty directory does not. */
void xmb_gate_close(struct xmb_gate *gate);

/* Remove everything that is pinned, and let go. */
void xmb_gate_clear(struct xmb_gate *gate);

/* The counters that are pinned for that program, or a negative errno. */
int xmb_gate_counters_fd(const struct xmb_gate *gate, uint32_t prog_id);

/* What they say that the gate dropped, UINT64_MAX if nothing; closes them. */
uint64_t xmb_gate_count(int counters_fd);

/*
 * Why the kernel refused, in words.  Each function logs one sentence and gives
 * the error that xmb_prog_attach() documents for it.
 */

/* The kernel answered err, a negative errno, to loading the program. */
int xmb_prog_tell_load(const struct xmb_prog_opts *opts, int err);

/*
 * The kernel answered err to attaching in mode; then says what follows, such as
 * the mode that is tried instead.
 */
int xmb_prog_tell_attach(const struct xmb_prog_opts *opts,
			 enum xmb_prog_mode mode, int err,
			 enum xmb_log_level level, const char *then);

/*
 * libxdp answered err to attaching in mode, with these words of its own; then
 * as above, and NULL if nothing does.
 */
enum { XMB_DISPATCH_ALONE = -ENOSYS }; /* it left the dispatcher out */
int xmb_dispatch_tell(const struct xmb_prog_opts *opts, enum xmb_prog_mode mode,
		      int err, const char *words, const char *then);

/* The dispatcher is there in another mode than the one that is named. */
int xmb_dispatch_tell_mode(const struct xmb_prog_opts *opts,
			   enum xmb_prog_mode there);

/* The dispatcher that is there calls cnt programs, and has room for no more. */
int xmb_dispatch_tell_full(const struct xmb_prog_opts *opts, int cnt);

/* The kernel answered err to what was tried with a gate's file. */
int xmb_gate_tell(const char *dev, const char *what, const char *path, int err);

#endif /* XMBUF_PROG_PROG_PRIV_H */
