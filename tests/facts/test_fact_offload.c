/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * What a frame has beside its bytes: a checksum that was left to the device, a
 * tag that lies outside of the data, and what kfuncs tell a program of it.
 *
 * Known of this subject, and not to be seen on veth with this kernel: time
 * stamps of a device's clock (hardware), and no kfuncs (Linux before 6.3, tags
 * before 6.8).
 */
#include "fact_lab.h"

#include "rx_meta.skel.h"

#include <arpa/inet.h>
#include <bpf/bpf.h>
#include <linux/if_ether.h>
#include <linux/if_link.h>
#include <sys/socket.h>
#include <unistd.h>

TestSuite(fact_offload, .init = fact_setup, .timeout = 300);

enum { TCI = 42, UDP_AT = 14 + 20, UDP_LEN = 8 + 100 };

static struct fact_sock receiver(void)
{
	struct fact_sock sock = fact_plain("fa");

	fact_steer("fa", &sock);
	fact_fill_chunks(&sock, 0, 32);
	return sock;
}

/* A datagram that the kernel makes on fb. */
static void send_datagram(void)
{
	struct sockaddr_in to = { .sin_family = AF_INET,
				  .sin_port = htons(9),
				  .sin_addr = { htonl(0x0a000002) } };
	int fd = socket(AF_INET, SOCK_DGRAM, 0);
	uint8_t bytes[UDP_LEN - 8];

	fact_sh("ip address add 10.0.0.1/24 dev fb && ip neigh add 10.0.0.2 "
		"lladdr 02:00:00:00:00:02 dev fb");
	memset(bytes, 0x35, sizeof(bytes));
	cr_assert(eq(long,
		     sendto(fd, bytes, sizeof(bytes), 0, (struct sockaddr *)&to,
			    sizeof(to)),
		     sizeof(bytes)));
	close(fd);
}

/* Receive the datagram: the sum over it, 0xffff if its checksum is right. */
static uint32_t sum_of_received(struct fact_sock *sock)
{
	uint32_t sum = IPPROTO_UDP + UDP_LEN;
	struct xdp_desc desc;
	uint8_t *data;

	/* An address that is set may be announced: look for the datagram. */
	do {
		cr_assert(fact_received(sock, &desc, FACT_WAIT_MS));
		data = fact_at(sock, desc.addr);
	} while (data[12] != 8 || data[13] != 0 || data[23] != IPPROTO_UDP);
	cr_assert(eq(u32, desc.len, UDP_AT + UDP_LEN));
	/* The pseudo header's addresses stand before the UDP header. */
	for (uint32_t i = UDP_AT - 8; i < UDP_AT + UDP_LEN; i += 2)
		sum += (uint32_t)data[i] << 8 | data[i + 1];
	while (sum >> 16)
		sum = (sum & 0xffff) + (sum >> 16);
	return sum;
}

Test(fact_offload, a_senders_checksum_offload_leaves_partial_checksums)
{
	struct fact_sock sock;

	fact_pair(1500, 1);
	sock = receiver();
	send_datagram();
	cr_expect(ne(u32, sum_of_received(&sock), 0xffff));
}

Test(fact_offload, tx_off_at_the_sender_completes_them)
{
	struct fact_sock sock;

	fact_pair(1500, 1);
	fact_sh("ethtool -K fb tx off");
	sock = receiver();
	send_datagram();
	cr_expect(eq(u32, sum_of_received(&sock), 0xffff));
}

/* A frame that got a tag on its way out of fb. */
static void send_tagged(void)
{
	int tap = fact_tap("fb");

	fact_classify("fb", true, TCI, 0);
	fact_tap_send_made(tap, 100, 1);
}

Test(fact_offload, a_tag_is_not_in_the_data)
{
	struct fact_sock sock;
	struct xdp_desc desc;

	fact_pair(1500, 1);
	sock = receiver();
	send_tagged();
	cr_assert(fact_received(&sock, &desc, FACT_WAIT_MS));
	cr_expect(eq(u32, desc.len, 100));
	cr_expect(fact_is_made(fact_at(&sock, desc.addr), 100, 1));
}

Test(fact_offload, txvlan_off_at_the_sender_puts_it_there)
{
	static const uint8_t tag[] = { 0x81, 0x00, 0, TCI, 0x88, 0xb5 };
	struct fact_sock sock;
	struct xdp_desc desc;

	fact_pair(1500, 1);
	fact_sh("ethtool -K fb txvlan off");
	sock = receiver();
	send_tagged();
	cr_assert(fact_received(&sock, &desc, FACT_WAIT_MS));
	cr_expect(eq(u32, desc.len, 104));
	cr_expect(eq(int,
		     memcmp(fact_at(&sock, desc.addr) + 12, tag, sizeof(tag)),
		     0));
}

/* The program, not loaded yet, for a device or for none. */
static struct rx_meta *opened(const char *dev)
{
	struct rx_meta *skel = rx_meta__open();

	cr_assert(ne(ptr, skel, NULL));
	if (dev) {
		bpf_program__set_ifindex(skel->progs.rx_meta,
					 (uint32_t)fact_ifindex(dev));
		bpf_program__set_flags(skel->progs.rx_meta,
				       BPF_F_XDP_DEV_BOUND_ONLY);
	}
	return skel;
}

Test(fact_offload, kfuncs_need_a_program_that_is_bound_to_the_device)
{
	fact_needs_kernel(6, 8, "the kfunc of a tag");
	fact_pair(1500, 1);
	cr_expect(ne(int, rx_meta__load(opened(NULL)), 0));
	cr_expect(eq(int, rx_meta__load(opened("fa")), 0));
}

static int attach(struct rx_meta *skel, const char *dev, uint32_t flags)
{
	return fact_attach(dev, bpf_program__fd(skel->progs.rx_meta), flags);
}

Test(fact_offload, kfuncs_need_a_native_program_on_that_device)
{
	struct rx_meta *skel;

	fact_needs_kernel(6, 8, "the kfunc of a tag");
	fact_pair(1500, 1);
	skel = opened("fa");
	cr_assert(eq(int, rx_meta__load(skel), 0));
	cr_expect(ne(int, attach(skel, "fa", XDP_FLAGS_SKB_MODE), 0));
	cr_expect(ne(int, attach(skel, "fb", XDP_FLAGS_DRV_MODE), 0));
	cr_expect(eq(int, attach(skel, "fa", XDP_FLAGS_DRV_MODE), 0));
}

static struct rx_meta *watching(void)
{
	struct rx_meta *skel;

	fact_needs_kernel(6, 8, "the kfunc of a tag");
	fact_pair(1500, 1);
	skel = opened("fa");
	cr_assert(eq(int, rx_meta__load(skel), 0));
	cr_assert(eq(int, attach(skel, "fa", XDP_FLAGS_DRV_MODE), 0));
	return skel;
}

static void wait_for_frame(struct rx_meta *skel)
{
	for (int i = 0; i < FACT_WAIT_MS; i++) {
		if (__atomic_load_n(&skel->bss->seen.frame_cnt,
				    __ATOMIC_ACQUIRE))
			return;
		usleep(1000);
	}
	cr_fatal("no frame came");
}

Test(fact_offload, veth_tells_a_hash_and_a_time_stamp_that_may_be_0)
{
	struct rx_meta *skel = watching();
	int tap = fact_tap("fb");

	fact_tap_send_made(tap, 100, 1);
	wait_for_frame(skel);
	cr_expect(eq(int, skel->bss->seen.hash_err, 0));
	cr_expect(eq(int, skel->bss->seen.stamp_err, 0));
	cr_expect(eq(u64, skel->bss->seen.stamp, 0));
	cr_expect(eq(int, skel->bss->seen.tag_err, -ENODATA));
}

Test(fact_offload, veth_tells_a_tag_that_lies_outside_of_the_data)
{
	struct rx_meta *skel = watching();

	send_tagged();
	wait_for_frame(skel);
	cr_expect(eq(int, skel->bss->seen.tag_err, 0));
	cr_expect(eq(u16, skel->bss->seen.proto, htons(ETH_P_8021Q)));
	cr_expect(eq(u16, skel->bss->seen.tci, TCI));
}

Test(fact_offload, veth_tells_no_tag_that_lies_in_the_data)
{
	struct rx_meta *skel = watching();

	fact_sh("ethtool -K fb txvlan off");
	send_tagged();
	wait_for_frame(skel);
	cr_expect(eq(int, skel->bss->seen.tag_err, -ENODATA));
}
