/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * interop/lwip with lwIP itself: pbufs made of chunks go through its stack, and
 * what its stack sends comes out as multibufs.
 *
 *      test --to_pbuf--> [ ethernet, ARP, IP, ICMP, UDP of lwIP ]
 *      test <--to_multibuf-- linkoutput of a netif, 192.0.2.1
 */
#include "interop/lwip.h"

#include "interop_lab.h"

#include <lwip/etharp.h>
#include <lwip/inet_chksum.h>
#include <lwip/netif.h>
#include <lwip/tcpip.h>
#include <lwip/udp.h>
#include <netif/ethernet.h>
#include <semaphore.h>

enum { NODES = 64, SENT_MAX = 4, LINK_HEADER = 14 };

static struct xmb_lwip ctx;
static struct xmb_lwip_node nodes[NODES];
static uint8_t data[2000], flat[2000];

static void setup(void)
{
	open_lab();
	xmb_lwip_init(&ctx, &lab.cache, nodes, NODES);
	numbers(data, sizeof(data));
}

static void teardown(void)
{
	cr_expect(eq(u32, ctx.free_cnt, NODES));
	close_lab();
}

TestSuite(lwip, .init = setup, .fini = teardown, .timeout = 300);

Test(lwip, a_chain_of_pbufs_is_made_of_the_chunks_and_frees_them)
{
	struct xmb_multibuf mb = awkward(data, 300);
	const uint8_t *first = xmb_chunk_data(&mb.c[0]);
	uint32_t free_cnt = frames_free();
	struct pbuf *p;

	cr_assert(eq(int, xmb_lwip_to_pbuf(&ctx, &mb, &p), 0));
	cr_expect(xmb_multibuf_is_empty(&mb));
	cr_expect(eq(u32, p->tot_len, 300));
	cr_expect(eq(ptr, p->payload, (uint8_t *)first));
	cr_expect(eq(u32, pbuf_copy_partial(p, flat, 300, 0), 300));
	cr_expect(eq(int, memcmp(flat, data, 300), 0));
	/* lwIP's own view of the chain. */
	cr_expect(eq(u32, pbuf_clen(p), NODES - ctx.free_cnt));
	cr_expect(eq(int, pbuf_memcmp(p, 100, data + 100, 150), 0));
	/* A reference keeps all of it. */
	pbuf_ref(p);
	pbuf_free(p);
	cr_expect(lt(u32, ctx.free_cnt, NODES));
	pbuf_free(p);
	cr_expect(gt(u32, frames_free(), free_cnt));
	cr_expect(eq(u64, xmb_counter_read(&lab.cache.copies), 0));
}

Test(lwip, what_cannot_be_a_chain_of_pbufs_stays_a_multibuf)
{
	struct xmb_multibuf mb = { 0 };
	struct pbuf *p = NULL;

	cr_expect(eq(int, xmb_lwip_to_pbuf(&ctx, &mb, &p), -ENODATA));
	mb = awkward(data, 700);
	cr_expect(eq(int, xmb_lwip_to_pbuf(&ctx, &mb, &p), -ENOBUFS));
	cr_expect(holds(&mb, data, 700));
	xmb_multibuf_release(&mb, &lab.cache);
	lab_close(&lab);
	lab_open(&lab, 32768, 3, 16);
	cr_assert(eq(int, xmb_multibuf_alloc(&lab.cache, 65536, 0, &mb), 0));
	cr_expect(eq(int, xmb_lwip_to_pbuf(&ctx, &mb, &p), -EMSGSIZE));
	cr_expect(eq(u32, mb.len, 65536));
	/* The longest that there is. */
	xmb_multibuf_truncate(&mb, 65535, &lab.cache);
	cr_assert(eq(int, xmb_lwip_to_pbuf(&ctx, &mb, &p), 0));
	cr_expect(eq(u32, p->tot_len, 65535));
	pbuf_free(p);
}

Test(lwip, a_packet_that_is_shared_is_none_that_lwip_may_write)
{
	struct xmb_multibuf mb = awkward(data, 90), clone = { 0 };
	struct pbuf *p = NULL;

	cr_assert(eq(int, xmb_multibuf_share(&mb, &clone, &lab.cache), 0));
	cr_expect(eq(int, xmb_lwip_to_pbuf(&ctx, &mb, &p), -EPERM));
	cr_expect(zero(ptr, p));
	cr_expect(eq(u32, ctx.free_cnt, NODES));
	cr_expect(holds(&mb, data, 90));
	xmb_multibuf_release(&clone, &lab.cache);
	cr_assert(eq(int, xmb_multibuf_unshare(&mb), 0));
	cr_assert(eq(int, xmb_lwip_to_pbuf(&ctx, &mb, &p), 0));
	pbuf_free(p);
}

Test(lwip, chunks_of_a_chain_that_is_refused_are_writable_as_before)
{
	struct xmb_multibuf mb = awkward(data, 40), back = { 0 };
	struct pbuf *p, *q;

	cr_assert(eq(int, xmb_lwip_to_pbuf(&ctx, &mb, &p), 0));
	for (uint32_t i = 0; i < 300; i++) {
		q = pbuf_alloc(PBUF_RAW, 1, PBUF_RAM);
		cr_assert(not(zero(ptr, q)));
		pbuf_cat(p, q);
	}
	cr_expect(eq(int, xmb_lwip_to_multibuf(&ctx, p, &back), -ENOSPC));
	for (uint32_t i = 0; i < NODES; i++)
		cr_expect(not(xmb_chunk_is_rdonly(&nodes[i].chunk)));
	pbuf_free(p);
}

Test(lwip, pbufs_that_came_back_are_shares_of_their_chunks)
{
	struct xmb_multibuf mb = awkward(data, 90), back = { .user = 4 };
	struct pbuf *p;

	cr_assert(eq(int, xmb_lwip_to_pbuf(&ctx, &mb, &p), 0));
	/* As a protocol takes its header off. */
	cr_assert(eq(int, pbuf_remove_header(p, 1), 0));
	cr_assert(eq(int, xmb_lwip_to_multibuf(&ctx, p, &back), 0));
	cr_expect(eq(u32, back.user, 4));
	cr_expect(holds(&back, data + 1, 89));
	cr_expect(not(xmb_multibuf_is_writable(&back)));
	pbuf_free(p);
	cr_expect(eq(u32, ctx.free_cnt, NODES));
	/* lwIP has let go: the bytes are ours alone again. */
	cr_expect(eq(int, xmb_multibuf_unshare(&back), 0));
	cr_expect(holds(&back, data + 1, 89));
	xmb_multibuf_release(&back, &lab.cache);
}

Test(lwip, memory_of_lwips_own_is_held_until_the_packet_has_gone)
{
	struct xmb_multibuf mb = { 0 }, tail = { 0 };
	struct pbuf *p = pbuf_alloc(PBUF_TRANSPORT, 1500, PBUF_RAM);
	struct pbuf *q = pbuf_alloc(PBUF_RAW, 100, PBUF_RAM);

	cr_assert(eq(int, pbuf_take(p, data, 1500), 0));
	cr_assert(eq(int, pbuf_take(q, data + 1500, 100), 0));
	pbuf_cat(p, q);
	cr_assert(eq(int, xmb_lwip_to_multibuf(&ctx, p, &mb), 0));
	cr_expect(eq(u32, p->ref, 2));
	pbuf_free(p);
	cr_expect(holds(&mb, data, 1600));
	cr_assert(eq(int, xmb_multibuf_split(&mb, 700, &tail, &lab.cache), 0));
	xmb_multibuf_release(&mb, &lab.cache);
	cr_expect(eq(u32, p->ref, 1));
	cr_expect(holds(&tail, data + 700, 900));
	xmb_multibuf_release(&tail, &lab.cache);
	p = pbuf_alloc(PBUF_RAW, 0, PBUF_RAM);
	cr_expect(eq(int, xmb_lwip_to_multibuf(&ctx, p, &mb), -ENODATA));
	pbuf_free(p);
}

Test(lwip, more_pbufs_than_domains_are_refused_and_let_go)
{
	struct pbuf *p = pbuf_alloc(PBUF_RAW, 1, PBUF_RAM), *q;
	struct xmb_multibuf mb = { .user = 2 };

	for (uint32_t i = 0; i < 300; i++) {
		q = pbuf_alloc(PBUF_RAW, 1, PBUF_RAM);
		cr_assert(not(zero(ptr, q)));
		pbuf_cat(p, q);
	}
	cr_expect(eq(int, xmb_lwip_to_multibuf(&ctx, p, &mb), -ENOSPC));
	cr_expect(xmb_multibuf_is_empty(&mb));
	cr_expect(eq(u32, mb.user, 2));
	for (q = p; q; q = q->next)
		cr_expect(eq(u32, q->ref, 1));
	pbuf_free(p);
}

/* The stack: what it sends is kept here. */
static struct xmb_multibuf sent[SENT_MAX];
static uint32_t sent_cnt;

static err_t link_output(struct netif *netif, struct pbuf *p)
{
	(void)netif;
	cr_assert(lt(u32, sent_cnt, SENT_MAX));
	cr_assert(eq(int, xmb_lwip_to_multibuf(&ctx, p, &sent[sent_cnt]), 0));
	sent_cnt++;
	return ERR_OK;
}

static err_t netif_up(struct netif *netif)
{
	netif->name[0] = 'x';
	netif->name[1] = 'm';
	netif->output = etharp_output;
	netif->linkoutput = link_output;
	netif->mtu = 1500;
	netif->hwaddr_len = ETH_HWADDR_LEN;
	memcpy(netif->hwaddr, "\2\0\0\0\0\1", ETH_HWADDR_LEN);
	netif->flags =
		NETIF_FLAG_ETHARP | NETIF_FLAG_ETHERNET | NETIF_FLAG_LINK_UP;
	return ERR_OK;
}

static void stack_ready(void *arg)
{
	sem_post(arg);
}

/* The stack runs in this thread: its core lock is held throughout. */
static void stack_start(struct netif *netif)
{
	ip4_addr_t address, mask, gateway;
	sem_t ready;

	sem_init(&ready, 0, 0);
	tcpip_init(stack_ready, &ready);
	while (sem_wait(&ready) < 0)
		;
	LOCK_TCPIP_CORE();
	IP4_ADDR(&address, 192, 0, 2, 1);
	IP4_ADDR(&mask, 255, 255, 255, 0);
	IP4_ADDR(&gateway, 0, 0, 0, 0);
	cr_assert(not(zero(ptr, netif_add(netif, &address, &mask, &gateway,
					  NULL, netif_up, ethernet_input))));
	netif_set_up(netif);
	/* It says who it is; nobody has to hear. */
	xmb_multibuf_release_bulk(sent, sent_cnt, &lab.cache);
	sent_cnt = 0;
}

static void stack_stop(struct netif *netif)
{
	xmb_multibuf_release_bulk(sent, sent_cnt, &lab.cache);
	netif_remove(netif);
	UNLOCK_TCPIP_CORE();
}

static void receive(struct netif *netif, const void *frame, uint32_t len)
{
	struct xmb_multibuf mb = { 0 };
	struct pbuf *p;

	/* Headers in one piece, as lwIP wants them; the rest as it comes. */
	cr_assert(eq(int, xmb_multibuf_alloc(&lab.cache, len, 0, &mb), 0));
	xmb_multibuf_copy_from(&mb, 0, frame, len);
	cr_assert(eq(int, xmb_lwip_to_pbuf(&ctx, &mb, &p), 0));
	cr_assert(eq(int, netif->input(p, netif), ERR_OK));
}

static const uint8_t arp_request[] = {
	0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 2, 0, 0, 0, 0,   9, 8, 6,
	0,    1,    8,	  0,	6,    4,    0, 1, 2, 0, 0,   0, 0, 9,
	192,  0,    2,	  9,	0,    0,    0, 0, 0, 0, 192, 0, 2, 1,
};

/* Who asks by ARP is known from then on. */
static void learn_peer(struct netif *netif)
{
	receive(netif, arp_request, sizeof(arp_request));
	cr_assert(eq(u32, sent_cnt, 1));
	xmb_multibuf_copy_to(&sent[0], 0, flat, sizeof(flat));
	/* An answer, from its address to mine. */
	cr_expect(eq(int, memcmp(flat, "\2\0\0\0\0\x9\2\0\0\0\0\1\x8\x6", 14),
		     0));
	cr_expect(eq(u32, flat[21], 2));
	xmb_multibuf_release(&sent[0], &lab.cache);
	sent_cnt = 0;
}

Test(lwip, the_stack_answers_a_ping_that_came_in_chunks)
{
	static uint8_t ping[LINK_HEADER + 20 + 8 + 400] = {
		2,    0, 0,	   0,	       0, 1, 2, 0, 0,  0, 0, 9, 8,   0,
		0x45, 0, 428 >> 8, 428 & 0xff, 0, 1, 0, 0, 64, 1, 0, 0, 192, 0,
		2,    9, 192,	   0,	       2, 1, 8, 0, 0,  0, 0, 7, 0,   1,
	};
	struct netif netif;
	uint16_t sum;

	memcpy(ping + 42, data, 400);
	sum = inet_chksum(ping + LINK_HEADER, 20);
	memcpy(ping + LINK_HEADER + 10, &sum, 2);
	sum = inet_chksum(ping + LINK_HEADER + 20, 408);
	memcpy(ping + LINK_HEADER + 22, &sum, 2);
	stack_start(&netif);
	learn_peer(&netif);
	receive(&netif, ping, sizeof(ping));
	cr_assert(eq(u32, sent_cnt, 1));
	cr_assert(eq(u32, sent[0].len, sizeof(ping)));
	xmb_multibuf_copy_to(&sent[0], 0, flat, sizeof(flat));
	cr_expect(eq(u32, flat[34], 0), "it is an echo reply");
	cr_expect(eq(int, memcmp(flat + 42, data, 400), 0));
	cr_expect(eq(u32, inet_chksum(flat + LINK_HEADER + 20, 408), 0));
	/* All that came in is home, though the answer is still held. */
	cr_expect(eq(u32, ctx.free_cnt, NODES));
	stack_stop(&netif);
}

Test(lwip, a_datagram_is_sent_from_the_frames_that_the_application_filled)
{
	struct xmb_multibuf payload = { 0 };
	const uint8_t *where;
	struct udp_pcb *pcb;
	struct netif netif;
	struct pbuf *p;
	ip_addr_t to;

	stack_start(&netif);
	learn_peer(&netif);
	cr_assert(eq(int, xmb_multibuf_alloc(&lab.cache, 60, 0, &payload), 0));
	xmb_multibuf_copy_from(&payload, 0, data, 60);
	where = xmb_chunk_data(&payload.c[0]);
	cr_assert(eq(int, xmb_lwip_to_pbuf(&ctx, &payload, &p), 0));
	pcb = udp_new();
	IP_ADDR4(&to, 192, 0, 2, 9);
	cr_assert(eq(int, udp_sendto(pcb, p, &to, 4242), ERR_OK));
	pbuf_free(p);
	udp_remove(pcb);
	cr_assert(eq(u32, sent_cnt, 1));
	cr_assert(eq(u32, sent[0].len, LINK_HEADER + 20 + 8 + 60));
	/* The header is lwIP's, the payload lies where it was put. */
	cr_expect(eq(ptr, xmb_multibuf_get(&sent[0], 42, 60, flat),
		     (uint8_t *)where));
	cr_expect(eq(int, memcmp(where, data, 60), 0));
	cr_expect(eq(u64, xmb_counter_read(&lab.cache.copies), 0));
	stack_stop(&netif);
}
