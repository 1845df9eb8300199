/* SPDX-License-Identifier: BSD-2-Clause */
#include "vm_lab.h"

#include "base/clock.h"
#include "nic/nic.h"

#include <net/if.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

static const char *const devs[] = { "left", "ltap", "right", "rtap" };
static char heard[16 * LINE_LEN];

bool vm_is(const char *part)
{
	const char *suite = getenv("XMBUF_VM_SUITE");
	const char *kernel = suite ? strchr(suite, '-') : NULL;
	size_t len = strlen(part);

	cr_assert(ne(ptr, (void *)kernel, NULL));
	return !strcmp(kernel + 1, part) ||
	       ((size_t)(kernel - suite) == len && !memcmp(suite, part, len));
}

static void hear(void *arg, enum xmb_log_level level, const char *text)
{
	size_t len = strlen(heard);

	(void)arg;
	if (level > XMB_LOG_WARN)
		return;
	fprintf(stderr, "# %s\n", text);
	snprintf(heard + len, sizeof(heard) - len, "%s\n", text);
}

bool vm_said(const char *part)
{
	return strstr(heard, part);
}

void vm_wait_link(const char *dev)
{
	uint64_t end_ns = xmb_clock_ns() + LINK_WAIT_MS * XMB_NS_PER_MS;
	struct xmb_nic_info nic;

	do {
		cr_assert(eq(int, xmb_nic_query(dev, &nic), 0), "%s", dev);
		if (nic.running)
			return;
		usleep(10000);
	} while (xmb_clock_ns() < end_ns);
	cr_fatal("%s: no carrier in %d ms", dev, LINK_WAIT_MS);
}

void vm_setup_links(uint32_t mtu)
{
	char command[LINE_LEN];

	xmb_log_set(hear, NULL);
	for (size_t i = 0; i < 4; i++) {
		snprintf(command, sizeof(command), "ip link set %s mtu %u up",
			 devs[i], mtu);
		must(command);
	}
	for (size_t i = 0; i < 4; i++)
		vm_wait_link(devs[i]);
}

void vm_setup_of(const struct xmb_umem_opts *opts, uint32_t mtu)
{
	vm_setup_links(mtu);
	lab_frames_of(opts);
}

void vm_setup_with(uint32_t frame_len, uint32_t mtu)
{
	struct xmb_umem_opts opts = { .frame_len = frame_len,
				      .frame_cnt = VM_FRAMES };

	vm_setup_of(&opts, mtu);
}

void vm_setup(void)
{
	vm_setup_with(4096, 1500);
}

void vm_hugepages(int cnt)
{
	const char *path = "/proc/sys/vm/nr_hugepages";
	FILE *file = fopen(path, "w");
	int got = -1;

	cr_assert(ne(ptr, file, NULL));
	fprintf(file, "%d", cnt);
	fclose(file);
	file = fopen(path, "r");
	cr_assert(eq(int, fscanf(file, "%d", &got), 1));
	fclose(file);
	cr_assert(eq(int, got, cnt));
}

static void set_link(const char *dev, const char *state)
{
	char command[LINE_LEN];

	snprintf(command, sizeof(command), "ip link set %s %s", dev, state);
	must(command);
}

static struct xmb_prog *attach_native(const char *dev)
{
	struct xmb_prog_opts opts = {
		.dev = dev,
		.ifindex = (int)if_nametoindex(dev),
		.mode = XMB_PROG_NATIVE,
		.queue_cnt = 1,
	};
	struct xmb_prog *prog = NULL;

	set_link(dev, "down");
	cr_assert(eq(int, xmb_prog_attach(&prog, &opts), 0));
	set_link(dev, "up");
	vm_wait_link(dev);
	lab.progs[lab.prog_cnt++] = prog;
	return prog;
}

struct xmb_xsk_opts vm_opts(const char *dev)
{
	struct xmb_xsk_opts opts = lab_opts(dev);
	struct xmb_nic_info nic;

	cr_assert(eq(int, xmb_nic_query(dev, &nic), 0));
	opts.ring_cnt = VM_RING;
	opts.zc_segs_max = nic.zc_segs_max;
	opts.zc_unit = nic.zc_unit;
	return opts;
}

struct xmb_xsk *vm_open(const char *dev, const struct xmb_xsk_opts *change)
{
	struct xmb_prog *prog = attach_native(dev);
	struct xmb_xsk_opts opts = vm_opts(dev);
	struct xmb_xsk *xsk;

	if (change) {
		opts.bind = change->bind;
		opts.kick = change->kick;
		opts.no_need_wakeup = change->no_need_wakeup;
		opts.share_cnt = change->share_cnt;
		opts.busy_poll_us = change->busy_poll_us;
		opts.busy_poll_budget = change->busy_poll_budget;
		opts.prefer_busy_poll = change->prefer_busy_poll;
		opts.zc_unit = xmb_or_u32(change->zc_unit, opts.zc_unit);
	}
	xsk = lab_open(&opts);
	cr_assert(eq(int, xmb_prog_steer(prog, 0, xmb_xsk_fd(xsk)), 0));
	vm_wait_link(dev);
	return xsk;
}

void vm_expect_refused(const struct xmb_xsk_opts *opts, int err,
		       const char *part)
{
	struct xmb_xsk *xsk = NULL;
	uint32_t free_cnt = lab_free_cnt();

	heard[0] = '\0';
	cr_expect(eq(int, xmb_xsk_open(&xsk, lab.umem, &lab.cache, opts), err));
	cr_expect(eq(ptr, xsk, NULL));
	cr_expect(vm_said(part), "%s", part);
	cr_expect(eq(u32, lab_free_cnt(), free_cnt));
}

void vm_expect_rx(struct xmb_xsk *xsk, size_t len, uint32_t tag, uint32_t cnt)
{
	struct xmb_multibuf mbs[VM_BURST] = { 0 };
	uint32_t got;

	cr_assert(le(u32, cnt, VM_BURST));
	got = lab_recv(xsk, mbs, cnt);
	cr_assert(eq(u32, got, cnt), "from tag %u on", tag);
	for (uint32_t i = 0; i < cnt; i++)
		cr_assert(lab_is_made(&mbs[i], len, tag + i),
			  "tag %u came with %u bytes", tag + i, mbs[i].len);
	xmb_multibuf_release_bulk(mbs, cnt, &lab.cache);
}

static void expect_at(int tap, size_t len, uint32_t tag, uint32_t cnt)
{
	for (uint32_t i = 0; i < cnt; i++)
		cr_assert(tap_recv_made(tap, len, tag + i), "tag %u", tag + i);
}

void vm_expect_tx(struct xmb_xsk *xsk, int tap, size_t len, uint32_t tag,
		  uint32_t cnt)
{
	struct xmb_multibuf mbs[VM_BURST];

	cr_assert(le(u32, cnt, VM_BURST));
	for (uint32_t i = 0; i < cnt; i++)
		mbs[i] = lab_packet(len, tag + i);
	lab_send(xsk, mbs, cnt);
	expect_at(tap, len, tag, cnt);
}

void vm_exchange(struct xmb_xsk *xsk, int tap, size_t len, uint32_t cnt)
{
	for (uint32_t tag = 0; tag < cnt; tag += VM_BURST) {
		for (uint32_t i = 0; i < VM_BURST; i++)
			tap_send_made(tap, len, tag + i);
		vm_expect_rx(xsk, len, tag, VM_BURST);
	}
}

static void forward_burst(struct xmb_xsk *in, struct xmb_xsk *out)
{
	struct xmb_multibuf mbs[VM_BURST] = { 0 };
	const void *at[VM_BURST];
	uint32_t first = out->tx.cached_prod;

	cr_assert(eq(u32, lab_recv(in, mbs, VM_BURST), VM_BURST));
	for (uint32_t i = 0; i < VM_BURST; i++)
		at[i] = xmb_chunk_data(&mbs[i].c[0]);
	lab_send(out, mbs, VM_BURST);
	for (uint32_t i = 0; i < VM_BURST; i++) {
		uint64_t addr =
			xsk_ring_prod__tx_desc(&out->tx, first + i)->addr;

		cr_expect(eq(ptr, (void *)at[i], lab.umem->area + addr));
	}
}

void vm_forward(struct xmb_xsk *in, int in_tap, struct xmb_xsk *out,
		int out_tap, size_t len, uint32_t cnt)
{
	for (uint32_t tag = 0; tag < cnt; tag += VM_BURST) {
		for (uint32_t i = 0; i < VM_BURST; i++)
			tap_send_made(in_tap, len, tag + i);
		forward_burst(in, out);
		expect_at(out_tap, len, tag, VM_BURST);
	}
	cr_expect(eq(u64, lab_ledger().copies, 0));
}
