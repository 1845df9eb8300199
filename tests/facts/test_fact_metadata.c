/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * What the kernel does with metadata in front of a packet that is sent: which
 * lengths it registers, what it checks, what it computes, and what an invalid
 * one does to the ring.
 *
 * Known of this subject, and not to be seen on veth with this kernel:
 *
 *      fact                                            where it shows
 *      no metadata at all                              Linux before 6.8
 *      checksum and time stamp by the device           zero copy
 *
 * That an untrusted writer of such memory must not exist follows from it; it
 * states nothing that a kernel does.
 */
#include "fact_lab.h"

#include <libmnl/libmnl.h>
#include <linux/genetlink.h>
#include <time.h>
#include <unistd.h>

/* struct xsk_tx_metadata, kernel ABI since Linux 6.8. */
struct metadata {
	uint64_t flags;
	union {
		struct {
			uint16_t csum_start;
			uint16_t csum_offset;
		} request;
		struct {
			uint64_t tx_timestamp;
		} completion;
	};
	uint64_t room;
};

enum {
	META_LEN = 24,
	META_TIMESTAMP = 1 << 0,
	META_CHECKSUM = 1 << 1,
	META_UNKNOWN = 1 << 20,
	NETDEV_GET = 1,	     /* NETDEV_CMD_DEV_GET */
	NETDEV_IFINDEX = 1,  /* NETDEV_A_DEV_IFINDEX */
	NETDEV_FEATURES = 6, /* NETDEV_A_DEV_XSK_FEATURES */
	CSUM_START = 14,
	CSUM_OFFSET = 6,
};

static int tap;

static int registers(uint32_t meta_len)
{
	struct fact_umem umem = fact_memory(4, 4096);
	int fd = fact_socket(), err;

	umem.flags = XDP_UMEM_TX_METADATA_LEN;
	umem.meta_len = meta_len;
	err = fact_register(fd, &umem);
	close(fd);
	return err;
}

static void setup(void)
{
	fact_setup();
	fact_needs_kernel(6, 11, "the flag of a length of TX metadata");
}

TestSuite(fact_metadata, .init = setup, .timeout = 300);

static struct fact_sock sender(uint32_t umem_flags, uint16_t bind_flags)
{
	struct fact_umem umem = fact_memory(64, 4096);
	struct fact_sock sock;

	umem.flags = XDP_UMEM_TX_METADATA_LEN | umem_flags;
	umem.meta_len = META_LEN;
	fact_pair(1500, 1);
	tap = fact_tap("fb");
	sock = fact_open(&umem);
	cr_assert(eq(int,
		     fact_bind(sock.fd, "fa", 0,
			       XDP_COPY | XDP_USE_NEED_WAKEUP | bind_flags),
		     0));
	return sock;
}

static struct metadata *metadata_at(struct fact_sock *sock, uint64_t addr)
{
	return (void *)fact_at(sock, addr - META_LEN);
}

Test(fact_metadata, lengths_of_16_24_64_and_248_are_registered)
{
	cr_expect(eq(int, registers(16), 0));
	cr_expect(eq(int, registers(24), 0));
	cr_expect(eq(int, registers(64), 0));
	cr_expect(eq(int, registers(248), 0));
}

Test(fact_metadata, lengths_of_20_and_from_256_on_are_not)
{
	cr_expect(eq(int, registers(20), -EINVAL));
	cr_expect(eq(int, registers(256), -EINVAL));
	cr_expect(eq(int, registers(1024), -EINVAL));
}

/* Too short for anything, which Linux 7 says. */
Test(fact_metadata, lengths_of_0_and_8_are_registered_until_linux_7)
{
	int err = fact_is_before(7, 0) ? 0 : -EINVAL;

	cr_expect(eq(int, registers(0), err));
	cr_expect(eq(int, registers(8), err));
}

Test(fact_metadata, every_descriptor_needs_room_for_it)
{
	struct fact_sock sock = sender(0, 0);

	/* Even one that has none. */
	fact_post(&sock, 4096 + META_LEN - 1, 100, 0);
	fact_kick(&sock);
	fact_kick(&sock);
	cr_expect(eq(u64, fact_stats(&sock).tx_invalid_descs, 1));
	fact_make(fact_at(&sock, 8192 + META_LEN), 100, 1);
	fact_post(&sock, 8192 + META_LEN, 100, 0);
	fact_kick_all(&sock);
	cr_expect(fact_tap_recv_made(tap, 100, 1));
	cr_expect(eq(u64, fact_stats(&sock).tx_invalid_descs, 1));
}

/* The Internet checksum of bytes from on, as it is written. */
static uint16_t checksum(const uint8_t *bytes, size_t len)
{
	uint32_t sum = 0;

	for (size_t i = 0; i < len; i++)
		sum += i % 2 ? bytes[i] : (uint32_t)bytes[i] << 8;
	while (sum >> 16)
		sum = (sum & 0xffff) + (sum >> 16);
	return (uint16_t)~sum;
}

static void request_checksum(struct fact_sock *sock, uint64_t addr)
{
	*metadata_at(sock, addr) = (struct metadata){
		.flags = META_CHECKSUM,
		.request = { .csum_start = CSUM_START,
			     .csum_offset = CSUM_OFFSET },
	};
}

/* The field of a packet that arrived is the sum of its first len bytes. */
static void expect_checksum(uint8_t *got, size_t len)
{
	uint8_t *field = got + CSUM_START + CSUM_OFFSET;
	uint16_t is = (uint16_t)(field[0] << 8 | field[1]);

	field[0] = field[1] = 0;
	cr_expect(eq(u16, is, checksum(got + CSUM_START, len - CSUM_START)));
}

static void make_without_sum(uint8_t *packet, size_t len)
{
	fact_make(packet, len, 9);
	memset(packet + CSUM_START + CSUM_OFFSET, 0, 2);
}

static void expect_sum_of_one_buffer(uint32_t umem_flags)
{
	struct fact_sock sock = sender(umem_flags, 0);
	const uint64_t addr = 4096 + 64;
	uint8_t got[1500];

	make_without_sum(fact_at(&sock, addr), 301);
	request_checksum(&sock, addr);
	if (!umem_flags)
		fact_sh("ethtool -K fa tx off");
	fact_post(&sock, addr, 301, XDP_TX_METADATA);
	fact_kick_all(&sock);
	cr_assert(eq(sz, fact_tap_recv(tap, got, sizeof(got), FACT_WAIT_MS),
		     301));
	expect_checksum(got, 301);
}

Test(fact_metadata, a_checksum_is_computed_for_one_buffer)
{
	expect_sum_of_one_buffer(XDP_UMEM_TX_SW_CSUM);
}

Test(fact_metadata, a_checksum_is_computed_for_a_device_that_does_not)
{
	expect_sum_of_one_buffer(0);
}

Test(fact_metadata, a_checksum_of_several_buffers_covers_the_first_only)
{
	struct fact_sock sock = sender(XDP_UMEM_TX_SW_CSUM, XDP_USE_SG);
	const uint64_t addr = 4096 + 64, rest = 8192 + 64;
	const struct xdp_desc descs[] = {
		{ .addr = addr,
		  .len = 200,
		  .options = XDP_TX_METADATA | XDP_PKT_CONTD },
		{ .addr = rest, .len = 200 },
	};
	uint8_t packet[400], got[1500];

	make_without_sum(packet, 400);
	memcpy(fact_at(&sock, addr), packet, 200);
	memcpy(fact_at(&sock, rest), packet + 200, 200);
	request_checksum(&sock, addr);
	fact_post_chain(&sock, descs, 2);
	fact_kick_all(&sock);
	cr_assert(eq(sz, fact_tap_recv(tap, got, sizeof(got), FACT_WAIT_MS),
		     400));
	expect_checksum(got, 200);
}

Test(fact_metadata, the_time_stamp_is_of_clock_tai)
{
	struct fact_sock sock = sender(0, 0);
	const uint64_t addr = 4096 + 64;
	struct metadata *meta = metadata_at(&sock, addr);
	struct timespec before, after;
	uint64_t stamp;

	*meta = (struct metadata){ .flags = META_TIMESTAMP };
	fact_post(&sock, addr, 100, XDP_TX_METADATA);
	clock_gettime(CLOCK_TAI, &before);
	fact_kick_all(&sock);
	cr_assert(fact_completed(&sock, NULL, FACT_WAIT_MS));
	clock_gettime(CLOCK_TAI, &after);
	stamp = meta->completion.tx_timestamp;
	/* The fast clock of interrupts may be a little behind. */
	cr_expect(ge(u64, stamp + 10000000,
		     (uint64_t)before.tv_sec * 1000000000 +
			     (uint64_t)before.tv_nsec));
	cr_expect(le(u64, stamp,
		     (uint64_t)after.tv_sec * 1000000000 +
			     (uint64_t)after.tv_nsec + 10000000));
}

/*
 * 6.18 completes the address at each kick although nothing was sent; 6.12 and
 * 7.3 do not.
 */
Test(fact_metadata, an_invalid_one_blocks_the_ring_until_it_is_cured_in_place)
{
	struct fact_sock sock = sender(0, 0);
	const uint64_t addr = 4096 + 64;
	struct metadata *meta = metadata_at(&sock, addr);
	bool completes = !fact_is_before(6, 18) && fact_is_before(7, 0);
	uint64_t got;

	fact_make(fact_at(&sock, addr), 100, 1);
	fact_make(fact_at(&sock, 8192 + 64), 100, 2);
	*meta = (struct metadata){ .flags = META_UNKNOWN };
	fact_post(&sock, addr, 100, XDP_TX_METADATA);
	fact_post(&sock, 8192 + 64, 100, 0);
	for (int i = 0; i < 3; i++) {
		cr_expect(eq(int, fact_kick(&sock), -EINVAL));
		cr_expect(eq(u32, fact_waiting(&sock), 2));
		if (completes) {
			cr_assert(fact_completed(&sock, &got, FACT_WAIT_MS));
			cr_expect(eq(u64, got, addr));
		}
		cr_expect(not(fact_completed(&sock, &got, 10)));
	}
	meta->flags = 0;
	fact_kick_all(&sock);
	cr_expect(fact_tap_recv_made(tap, 100, 1));
	cr_expect(fact_tap_recv_made(tap, 100, 2));
	cr_assert(fact_completed(&sock, &got, FACT_WAIT_MS));
	cr_expect(eq(u64, got, addr));
}

static int attribute_in(const struct nlattr *attr, void *data)
{
	const struct nlattr **found = data;

	if (mnl_attr_get_type(attr) == mnl_attr_get_type(*found)) {
		*found = attr;
		return MNL_CB_STOP;
	}
	return MNL_CB_OK;
}

/* Ask a generic netlink family for one attribute; its bytes, or none. */
static bool ask(uint16_t type, uint8_t cmd, uint16_t by, const void *value,
		size_t value_len, uint16_t want, void *out, size_t out_len)
{
	static char room[65536];
	struct mnl_socket *nl = mnl_socket_open(NETLINK_GENERIC);
	struct nlmsghdr *head = mnl_nlmsg_put_header(room);
	struct genlmsghdr *genl;
	struct nlattr key = { .nla_type = want };
	const struct nlattr *found = &key;

	head->nlmsg_type = type;
	head->nlmsg_flags = NLM_F_REQUEST;
	genl = mnl_nlmsg_put_extra_header(head, sizeof(*genl));
	genl->cmd = cmd;
	genl->version = 1;
	mnl_attr_put(head, by, value_len, value);
	cr_assert(ne(ptr, nl, NULL));
	cr_assert(eq(int, mnl_socket_bind(nl, 0, MNL_SOCKET_AUTOPID), 0));
	cr_assert(gt(long, mnl_socket_sendto(nl, head, head->nlmsg_len), 0));
	cr_assert(gt(long, mnl_socket_recvfrom(nl, room, sizeof(room)), 0));
	mnl_socket_close(nl);
	if (head->nlmsg_type == NLMSG_ERROR)
		return false;
	mnl_attr_parse(head, sizeof(*genl), attribute_in, &found);
	if (found == &key)
		return false;
	memcpy(out, mnl_attr_get_payload(found), out_len);
	return true;
}

Test(fact_metadata, netlink_tells_no_feature_of_veth_although_both_work)
{
	uint64_t features = ~0ull;
	uint16_t family = 0;
	uint32_t ifindex;

	fact_pair(1500, 1);
	ifindex = (uint32_t)fact_ifindex("fa");
	if (!ask(GENL_ID_CTRL, CTRL_CMD_GETFAMILY, CTRL_ATTR_FAMILY_NAME,
		 "netdev", sizeof("netdev"), CTRL_ATTR_FAMILY_ID, &family,
		 sizeof(family)))
		cr_skip_test("no netlink family netdev");
	cr_assert(ask(family, NETDEV_GET, NETDEV_IFINDEX, &ifindex,
		      sizeof(ifindex), NETDEV_FEATURES, &features,
		      sizeof(features)));
	cr_expect(eq(u64, features, 0));
}
