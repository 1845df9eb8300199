/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * libFuzzer on the rings of an AF_XDP socket, as a hostile kernel would fill
 * them: the input is a stream of calls of ours and of deeds of the kernel's,
 * honest ones and others, on rings that lie in plain memory.
 *
 *      ours     receive, refill, send, reap, kick, exchange, release
 *      honest   a frame from the fill ring is received; what was posted is
 *               sent and completed
 *      hostile  descriptors and completions of any address, length and
 *               options, indexes and flags of any value, any answer to a kick
 *
 * After each call the socket's counts explain what went through its rings, each
 * multibuf lies within its frames, and the ledger is whole; at the end of an
 * input each frame is free, where it may be for the kernel's sake.
 */
#include "must.h"

#include "umem/ledger.h"
#include "xsk/xsk_priv.h"
#include "xsk/xsksock.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum {
	POOL_CNT = 2, /* the socket's, and one whose frames are foreign to it */
	FRAME_LEN = 256,
	FRAMES = 96,
	BLOCKS = 6,
	RING = 32,
	HAND_MAX = 24, /* multibufs in the application's hands */
	BURST = 8,
	WHO = 3,
	NS_A_TICK = 300000,
	STEPS_MAX = 4096,
};

enum ring_kind { FILL, COMP, RX, TX, RING_CNT };

struct ring {
	uint32_t prod, cons, flags;
	union {
		uint64_t addr[RING];
		struct xdp_desc desc[RING];
	};
};

static struct ring rings[RING_CNT];
static struct xmb_umem umems[POOL_CNT];
static struct xmb_cache caches[POOL_CNT];
static uint8_t memory[POOL_CNT][FRAMES * FRAME_LEN]
	__attribute__((aligned(64)));
static uint8_t side[POOL_CNT][16384] __attribute__((aligned(64)));

static struct xmb_xsk xsk;
static struct xmb_xsk_socket sock;
static struct xmb_multibuf hand[HAND_MAX];
static uint32_t hand_cnt;
static uint64_t now_ns;

/* The input, read to its end and zeros behind it. */
static const uint8_t *input;
static size_t input_len;

static uint32_t get(void)
{
	if (input_len == 0)
		return 0;
	input_len--;
	return *input++;
}

static uint64_t get_many(uint32_t len)
{
	uint64_t v = 0;

	while (len--)
		v = v << 8 | get();
	return v;
}

/* An address that was one once, a neighbour of one, or anything at all. */
static uint64_t get_addr(void)
{
	uint32_t how = get(), at = get() % RING;
	uint64_t addr;

	switch (how % 6) {
	case 0:
		addr = rings[FILL].addr[at];
		break;
	case 1:
		addr = rings[TX].desc[at].addr;
		break;
	case 2:
		addr = rings[COMP].addr[at];
		break;
	case 3:
		addr = rings[RX].desc[at].addr;
		break;
	case 4:
		addr = (uint64_t)(at * 3) * FRAME_LEN + get();
		break;
	default:
		return get_many(8);
	}
	return how & 0x80 ? addr ^ 1 : how & 0x40 ? addr + get() : addr;
}

/* 0, a bit, or any. */
static uint32_t get_options(void)
{
	uint32_t how = get();

	return how < 128   ? 0
	       : how < 240 ? XDP_PKT_CONTD
			   : (uint32_t)get_many(4);
}

/* What went through, as the rings and as the counters have it. */
struct books {
	uint32_t rx_cons, comp_cons, fill_prod, fill_cnt, inflight;
	uint64_t v[XMB_XSK_COUNTER_CNT];
};

static struct books books_now(void)
{
	struct books b = {
		.rx_cons = xsk.rx.cached_cons,
		.comp_cons = xsk.comp.cached_cons,
		.fill_prod = xsk.fill.cached_prod,
		.fill_cnt = count_get(&xsk.fill_cnt),
		.inflight = xmb_xsk_tx_inflight(&xsk),
	};

	xmb_xsk_stats(&xsk, b.v);
	return b;
}

/* Each descriptor and each completion is a frame that moved, or a fault. */
static void verify_books(const struct books *before)
{
	struct books now = books_now();
	uint64_t bad =
		now.v[XMB_XSK_RX_BAD_DESC] - before->v[XMB_XSK_RX_BAD_DESC];
	uint64_t filled = now.fill_prod - before->fill_prod;
	uint64_t completed =
		now.v[XMB_XSK_TX_COMPLETED] - before->v[XMB_XSK_TX_COMPLETED];
	uint64_t unknown =
		now.v[XMB_XSK_COMP_UNKNOWN] - before->v[XMB_XSK_COMP_UNKNOWN];

	MUST(before->fill_cnt + filled - now.fill_cnt + bad ==
	     now.rx_cons - before->rx_cons);
	MUST(completed + unknown == now.comp_cons - before->comp_cons);
	MUST(now.fill_cnt <= RING && now.inflight <= RING);
}

static void verify_ledger(void)
{
	struct xmb_ledger ledger;

	xmb_ledger_init(&ledger, &umems[0]);
	xmb_ledger_add_cache(&ledger, &caches[0]);
	xmb_xsk_ledger(&xsk, &ledger);
	MUST(xmb_ledger_check(&ledger, &umems[0]));
	MUST(ledger.rx >= 0 && ledger.fill >= 0 && ledger.tx >= 0);
}

/* All bytes may be read and written, and belong to nobody else. */
static void verify_packet(struct xmb_multibuf *mb)
{
	struct xmb_multibuf_iter iter;
	size_t len = 0;

	MUST(xmb_multibuf_check(mb));
	for (struct xmb_chunk *c = xmb_multibuf_first(mb, &iter); c;
	     c = xmb_multibuf_next(&iter)) {
		uint32_t pool = c->dom == umems[0].pool.domain.id ? 0 : 1;
		const uint8_t *data = xmb_chunk_data(c);

		len += c->len;
		MUST(data >= memory[pool]);
		MUST(data + c->len <= memory[pool] + sizeof(memory[pool]));
		MUST((data - memory[pool]) % FRAME_LEN + c->len <= FRAME_LEN);
	}
	MUST(len == mb->len);
}

static void keep(struct xmb_multibuf *mbs, uint32_t cnt)
{
	for (uint32_t i = 0; i < cnt; i++) {
		verify_packet(&mbs[i]);
		if (hand_cnt < HAND_MAX)
			hand[hand_cnt++] = mbs[i];
		else
			xmb_multibuf_release(&mbs[i], &caches[0]);
	}
}

static void op_recv(void)
{
	struct xmb_multibuf mbs[BURST] = { 0 };

	keep(mbs, xmb_xsk_recv(&xsk, &caches[0], mbs, get() % (BURST + 1)));
}

static void op_refill(void)
{
	uint32_t how = get();

	now_ns += (uint64_t)how * NS_A_TICK / 64;
	if (how % 8 == 0)
		xmb_xsk_refill_idle(&xsk, &caches[0]);
	else
		xmb_xsk_refill(&xsk, &caches[0], now_ns);
}

/* A packet of our own making: of one frame or more, split, or foreign. */
static void op_make(void)
{
	uint32_t how = get(), at = get();
	struct xmb_multibuf mb = { 0 }, rest = { 0 };

	if (hand_cnt + 2 > HAND_MAX)
		return;
	if (xmb_multibuf_alloc(&caches[how % 8 == 0], (how & 0xf8u) * 3,
			       how % 7, &mb))
		return;
	if (how % 4 == 1 && xmb_multibuf_split(&mb, at, &rest, &caches[0]) == 0)
		keep(&rest, 1);
	keep(&mb, 1);
}

/* Send from the front of what is in hand; the rest moves up. */
static void op_send(void)
{
	uint32_t cnt = xmb_min_u32(get() % (BURST + 1), hand_cnt), done;

	done = get() % 2 ? xmb_socket_send(&sock.sock, hand, cnt)
			 : xmb_xsk_send(&xsk, &caches[0], hand, cnt);
	MUST(done <= cnt);
	hand_cnt -= done;
	memmove(hand, hand + done, hand_cnt * sizeof(hand[0]));
}

static void op_release(void)
{
	uint32_t cnt = xmb_min_u32(get() % (BURST + 1), hand_cnt);

	hand_cnt -= cnt;
	if (get() % 2)
		xmb_xsk_drop_full(&xsk, &caches[0], hand + hand_cnt, cnt);
	else
		xmb_multibuf_release_bulk(hand + hand_cnt, cnt, &caches[0]);
}

static void op_reap(void)
{
	MUST(xmb_xsk_reap(&xsk, &caches[0]) <= UINT16_MAX);
}

static void op_kick(void)
{
	if (get() % 2)
		xmb_socket_flush(&sock.sock);
	else
		xmb_xsk_kick(&xsk);
}

static void op_exchange(void)
{
	struct xmb_multibuf mbs[BURST] = { 0 };
	uint32_t empty = xmb_min_u32(get() % (BURST + 1), hand_cnt), cnt;

	hand_cnt -= empty;
	cnt = xmb_socket_exchange(&sock.sock, hand + hand_cnt, empty, mbs,
				  get() % (BURST + 1));
	keep(mbs, cnt);
}

static void rx_put(struct xdp_desc desc)
{
	if (rings[RX].prod - rings[RX].cons < RING)
		rings[RX].desc[rings[RX].prod++ % RING] = desc;
}

static void comp_put(uint64_t addr)
{
	if (rings[COMP].prod - rings[COMP].cons < RING)
		rings[COMP].addr[rings[COMP].prod++ % RING] = addr;
}

/* Frames from the fill ring come back filled. */
static void kernel_receives(void)
{
	uint32_t how = get();

	for (uint32_t i = how % BURST; i > 0; i--) {
		if (rings[FILL].cons == rings[FILL].prod)
			return;
		rx_put((struct xdp_desc){
			.addr = rings[FILL].addr[rings[FILL].cons++ % RING],
			.len = 1 + how % FRAME_LEN,
			.options = how & 0x80 && i > 1 ? XDP_PKT_CONTD : 0,
		});
	}
}

static void kernel_sends(void)
{
	for (uint32_t i = get() % (BURST + 1); i > 0; i--) {
		if (rings[TX].cons == rings[TX].prod)
			return;
		comp_put(rings[TX].desc[rings[TX].cons++ % RING].addr);
	}
}

/* Of a length that fits, does not by a byte, or is any. */
static void kernel_lies_of_rx(void)
{
	struct xdp_desc desc = { .addr = get_addr() };
	uint32_t how = get();

	if (how < 192)
		desc.len = how;
	else if (how < 248)
		desc.len = FRAME_LEN - (uint32_t)(desc.addr % FRAME_LEN) +
			   how % 3 - 1;
	else
		desc.len = (uint32_t)get_many(4);
	desc.options = get_options();
	rx_put(desc);
}

static void kernel_lies_of_tx(void)
{
	uint64_t addr = get_addr();

	for (uint32_t i = get() % 4; i < 4; i++)
		comp_put(addr);
}

static void kernel_scribbles(void)
{
	struct ring *ring = &rings[get() % RING_CNT];
	uint32_t what = get(), v = (uint32_t)get_many(what & 0x10 ? 4 : 1);

	if (what % 4 == 0)
		ring->prod = what & 0x20 ? v : ring->prod + v;
	else if (what % 4 == 1)
		ring->cons = what & 0x20 ? v : ring->cons - v;
	else if (what % 4 == 2)
		ring->flags = v;
	else
		memset(ring->addr, (int)v, sizeof(ring->addr));
}

static int kernel_answers(void *arg, int fd, bool is_tx)
{
	static const int errs[] = { 0,	       -EAGAIN, -EBUSY, -ENOBUFS,
				    -ENETDOWN, -ENXIO,	-EINTR, -EINVAL };

	(void)arg;
	MUST(fd == -1);
	if (is_tx)
		kernel_sends();
	return errs[get() % (sizeof(errs) / sizeof(errs[0]))];
}

typedef void op_fn(void);

static op_fn *const ops[] = {
	op_recv,	   op_refill,	      op_make,
	op_send,	   op_release,	      op_reap,
	op_kick,	   op_exchange,	      kernel_receives,
	kernel_sends,	   kernel_receives,   kernel_sends,
	kernel_lies_of_rx, kernel_lies_of_tx, kernel_lies_of_rx,
	kernel_scribbles,
};

static void start_pool(uint32_t i)
{
	struct xmb_pool_opts opts = {
		.base = memory[i],
		.frame_len = FRAME_LEN,
		.frame_cnt = FRAMES,
		.spill_cnt = BLOCKS,
	};

	MUST(xmb_pool_footprint(&opts) <= sizeof(side[i]));
	memset(side[i], 0, sizeof(side[i]));
	memset(&umems[i], 0, sizeof(umems[i]));
	MUST(xmb_pool_init(&umems[i].pool, side[i], &opts) == 0);
	xmb_cache_init(&caches[i], &umems[i].pool, i + 1);
}

static void start_prod(struct xsk_ring_prod *r, struct ring *ring)
{
	*r = (struct xsk_ring_prod){
		.cached_cons = RING, /* a ring's length ahead, as open.c does */
		.mask = RING - 1,
		.size = RING,
		.producer = &ring->prod,
		.consumer = &ring->cons,
		.ring = ring->addr,
		.flags = &ring->flags,
	};
}

static void start_cons(struct xsk_ring_cons *r, struct ring *ring)
{
	*r = (struct xsk_ring_cons){
		.mask = RING - 1,
		.size = RING,
		.producer = &ring->prod,
		.consumer = &ring->cons,
		.ring = ring->addr,
		.flags = &ring->flags,
	};
}

/* What xmb_xsk_open() leaves behind, but for the descriptor and the mappings.
 */
static void start(uint32_t how)
{
	for (uint32_t i = 0; i < POOL_CNT; i++)
		start_pool(i);
	memset(rings, 0, sizeof(rings));
	memset(&xsk, 0, sizeof(xsk));
	xsk.umem = &umems[0];
	xsk.fd = -1;
	xsk.who = WHO;
	xsk.ring_cnt = RING;
	xsk.first = &xsk;
	xsk.comp_cnt = RING;
	xsk.packet_max = 4 * FRAME_LEN;
	xsk.mode = (struct xmb_xsk_mode){
		.is_zc = how & 1,
		.is_sg = true,
		.frags_max = 1 + how % 18,
	};
	xsk.opts.kick = kernel_answers;
	xsk.opts.no_need_wakeup = how & 2;
	xsk.tx_cap = how & 4 ? RING / 2 : RING;
	start_prod(&xsk.fill, &rings[FILL]);
	start_cons(&xsk.comp, &rings[COMP]);
	start_cons(&xsk.rx, &rings[RX]);
	start_prod(&xsk.tx, &rings[TX]);
	rings[TX].flags = rings[FILL].flags = XDP_RING_NEED_WAKEUP;
	xmb_level_init(&xsk.level, how & 8 ? RING : RING / 4, RING);
	xmb_xsk_socket_init(&sock, &xsk, &caches[0], NULL);
	hand_cnt = 0;
	now_ns = 1;
}

static uint32_t blocks_free(void)
{
	uint32_t got[BLOCKS], cnt = 0, i;

	while (cnt < BLOCKS &&
	       (got[cnt] = xmb_cache_spill_get(&caches[0])) != XMB_SPILL_NONE)
		cnt++;
	for (i = cnt; i > 0; i--)
		xmb_cache_spill_put(&caches[0], &umems[0].pool.domain,
				    got[i - 1]);
	return cnt;
}

/* The frames that the kernel never gave back are free when it is gone. */
static void end(void)
{
	xmb_xsk_close(&xsk, &caches[0]);
	verify_ledger();
	xmb_multibuf_release_bulk(hand, hand_cnt, &caches[0]);
	verify_ledger();
	xmb_handover_unhold(&caches[0], WHO);
	for (uint32_t i = 0; i < POOL_CNT; i++) {
		struct xmb_cache *cache = &caches[i];

		MUST(xmb_pool_check(&umems[i].pool, &cache, 1));
		MUST(cache->cnt + xmb_pool_free_cnt(&umems[i].pool) == FRAMES);
	}
	MUST(blocks_free() == BLOCKS);
	for (uint32_t i = 0; i < POOL_CNT; i++) {
		xmb_cache_fini(&caches[i]);
		xmb_pool_fini(&umems[i].pool);
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
	input = data;
	input_len = len;
	start(get());
	for (uint32_t i = 0; input_len > 0 && i < STEPS_MAX; i++) {
		struct books before = books_now();

		ops[get() % (sizeof(ops) / sizeof(ops[0]))]();
		verify_books(&before);
		verify_ledger();
		for (uint32_t k = 0; k < hand_cnt; k++)
			verify_packet(&hand[k]);
	}
	end();
	return 0;
}
