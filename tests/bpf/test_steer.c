/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * bpf/steer: which frames go to the socket, which to the kernel, and what is
 * counted, by BPF_PROG_RUN on byte arrays.  There is no socket, so a frame that
 * matches is passed too and counted as no_socket: the counters tell.
 */
#include "../../bpf/shared.h"
#include "frames.h"
#include "steer.skel.h"

#include <bpf/bpf.h>
#include <criterion/criterion.h>
#include <criterion/new/assert.h>
#include <linux/bpf.h>
#include <stdlib.h>
#include <unistd.h>

enum {
	FRAME_MIN = 14, /* BPF_PROG_RUN takes nothing shorter for XDP */
	SWEEP_MAX = 128,
	CPU_MAX = 1024,
};

enum verdict { PASS, MATCH };

static struct steer_bpf *skel;
static int prog_fd, cpu_cnt;
static bool is_gate;

static void load(enum xmb_steer_kind kind, bool negate, unsigned value)
{
	if (skel)
		steer_bpf__destroy(skel);
	skel = steer_bpf__open();
	cr_assert(ne(ptr, skel, NULL));
	skel->rodata->settings.kind = kind;
	skel->rodata->settings.negate = negate;
	skel->rodata->settings.value = value;
	skel->rodata->settings.is_gate = is_gate;
	cr_assert(eq(int, steer_bpf__load(skel), 0), "kind %d", kind);
	prog_fd = bpf_program__fd(skel->progs.xmb_steer);
}

static struct xmb_steer_counters counts(void)
{
	static struct xmb_steer_counters per_cpu[CPU_MAX];
	struct xmb_steer_counters sum = { 0 };
	uint32_t key = 0;

	cr_assert(eq(int,
		     bpf_map_lookup_elem(bpf_map__fd(skel->maps.counters), &key,
					 per_cpu),
		     0));
	for (int cpu = 0; cpu < cpu_cnt; cpu++)
		for (int i = 0; i < XMB_STEER_COUNTER_CNT; i++)
			sum.v[i] += per_cpu[cpu].v[i];
	return sum;
}

/* Run the first len bytes of the frame; say what was counted for them. */
static struct xmb_steer_counters run_len(uint32_t len)
{
	struct xmb_steer_counters before = counts(), after;
	LIBBPF_OPTS(bpf_test_run_opts, opts, .data_in = f.byte,
		    .data_size_in = len, .repeat = 1);

	cr_assert(eq(int, bpf_prog_test_run_opts(prog_fd, &opts), 0),
		  "length %u", len);
	cr_assert(eq(u32, opts.retval, XDP_PASS), "length %u", len);
	after = counts();
	for (int i = 0; i < XMB_STEER_COUNTER_CNT; i++)
		after.v[i] -= before.v[i];
	cr_assert(eq(u64, after.v[XMB_STEER_MATCHED], 0));
	cr_assert(eq(u64,
		     after.v[XMB_STEER_PASSED] + after.v[XMB_STEER_NO_SOCKET],
		     1));
	return after;
}

static enum verdict run(void)
{
	struct xmb_steer_counters c = run_len(f.len);

	cr_expect(eq(u64, c.v[XMB_STEER_MALFORMED], 0));
	return c.v[XMB_STEER_NO_SOCKET] ? MATCH : PASS;
}

/* A malformed frame does not match, and is counted as such besides. */
static void expect_malformed(const char *what)
{
	struct xmb_steer_counters c = run_len(f.len);

	cr_expect(eq(u64, c.v[XMB_STEER_MALFORMED], 1), "%s", what);
	cr_expect(eq(u64, c.v[XMB_STEER_PASSED], 1), "%s", what);
}

static void setup(void)
{
	if (geteuid() != 0)
		cr_skip_test("loading a BPF program needs root");
	cpu_cnt = libbpf_num_possible_cpus();
	cr_assert(gt(int, cpu_cnt, 0));
	cr_assert(le(int, cpu_cnt, CPU_MAX));
}

static void teardown(void)
{
	if (skel)
		steer_bpf__destroy(skel);
}

TestSuite(steer, .init = setup, .fini = teardown, .timeout = 300);

static const struct kind {
	const char *name;
	void (*make)(void);
	bool tcp, udp, port53;
	unsigned types[3]; /* that `ether N` finds */
} kinds[] = {
	{ "arp", make_arp, 0, 0, 0, { ARP } },
	{ "tcp4", make_tcp4, 1, 0, 1, { IP4 } },
	{ "udp4", make_udp4, 0, 1, 1, { IP4 } },
	{ "icmp4", make_icmp4, 0, 0, 0, { IP4 } },
	{ "sctp4", make_sctp4, 0, 0, 0, { IP4 } },
	{ "tcp6", make_tcp6, 1, 0, 1, { IP6 } },
	{ "udp6", make_udp6, 0, 1, 1, { IP6 } },
	{ "vlan", make_vlan, 0, 1, 1, { CTAG, IP4 } },
	{ "qinq", make_qinq, 1, 0, 1, { STAG, CTAG, IP6 } },
	{ "triple", make_triple, 0, 0, 0, { STAG, CTAG } },
	{ "options4", make_options4, 0, 1, 1, { IP4 } },
	{ "first4", make_first4, 0, 1, 1, { IP4 } },
	{ "later4", make_later4, 0, 1, 0, { IP4 } },
	{ "ext6", make_ext6, 0, 1, 1, { IP6 } },
	{ "first6", make_first6, 1, 0, 1, { IP6 } },
	{ "later6", make_later6, 0, 1, 0, { IP6 } },
	{ "later6_options", make_later6_options, 0, 0, 0, { IP6 } },
	{ "esp6", make_esp6, 0, 0, 0, { IP6 } },
	{ "long6", make_long6, 0, 1, 1, { IP6 } },
};

enum { KIND_CNT = sizeof(kinds) / sizeof(kinds[0]) };

static bool has_type(const struct kind *k, unsigned type)
{
	return k->types[0] == type || k->types[1] == type ||
	       k->types[2] == type;
}

static bool expected(const struct kind *k, enum xmb_steer_kind kind,
		     unsigned value)
{
	switch (kind) {
	case XMB_STEER_ALL:
		return true;
	case XMB_STEER_TCP:
		return k->tcp;
	case XMB_STEER_UDP:
		return k->udp;
	case XMB_STEER_PORT:
		return k->port53 && (value == 53 || value == 40000);
	default:
		return has_type(k, value);
	}
}

/* Ask every frame of the table one question and its opposite. */
static void ask_all(enum xmb_steer_kind kind, unsigned value)
{
	for (int negate = 0; negate < 2; negate++) {
		load(kind, negate, value);
		for (int i = 0; i < KIND_CNT; i++) {
			const struct kind *k = &kinds[i];

			k->make();
			cr_expect(eq(int, run(),
				     expected(k, kind, value) != negate),
				  "%s, kind %d value %u negate %d", k->name,
				  kind, value, negate);
		}
	}
}

Test(steer, all_matches_every_frame_and_not_all_none)
{
	ask_all(XMB_STEER_ALL, 0);
}

Test(steer, tcp_and_udp_match_by_protocol_in_fragments_too)
{
	ask_all(XMB_STEER_TCP, 0);
	ask_all(XMB_STEER_UDP, 0);
}

Test(steer, port_matches_source_or_destination_of_tcp_and_udp)
{
	ask_all(XMB_STEER_PORT, 53);
	ask_all(XMB_STEER_PORT, 40000);
	ask_all(XMB_STEER_PORT, 54);
	/* 53 with its bytes swapped: the order is the network's. */
	ask_all(XMB_STEER_PORT, 53 << 8);
}

Test(steer, ether_matches_a_tag_and_what_it_carries)
{
	static const unsigned types[] = { ARP, IP4, IP6, CTAG, STAG, 0x88cc };

	for (size_t i = 0; i < sizeof(types) / sizeof(types[0]); i++)
		ask_all(XMB_STEER_ETHER, types[i]);
}

Test(steer, every_cut_length_gets_one_verdict_and_no_error)
{
	static const struct {
		enum xmb_steer_kind kind;
		unsigned value;
	} asked[] = { { XMB_STEER_ALL, 0 },
		      { XMB_STEER_TCP, 0 },
		      { XMB_STEER_UDP, 0 },
		      { XMB_STEER_PORT, 53 },
		      { XMB_STEER_ETHER, IP6 } };

	for (size_t a = 0; a < sizeof(asked) / sizeof(asked[0]); a++) {
		load(asked[a].kind, false, asked[a].value);
		for (int i = 0; i < KIND_CNT; i++) {
			const struct kind *k = &kinds[i];
			bool whole = expected(k, asked[a].kind, asked[a].value);
			bool seen = false;

			k->make();
			for (uint32_t n = FRAME_MIN; n <= SWEEP_MAX; n++) {
				struct xmb_steer_counters c;

				/* Behind the frame there is padding. */
				if (n > f.len)
					f.byte[n - 1] = 0;
				c = run_len(n);
				/* A cut may hide a match, never invent one,
				 * and what was seen stays seen. */
				if (c.v[XMB_STEER_NO_SOCKET]) {
					cr_expect(whole, "%s %u", k->name, n);
					seen = true;
				} else {
					cr_expect(not(seen), "%s %u", k->name,
						  n);
				}
				cr_expect(not(c.v[XMB_STEER_NO_SOCKET] &&
					      c.v[XMB_STEER_MALFORMED]));
			}
			if (f.len <= SWEEP_MAX)
				cr_expect(eq(int, seen, whole), "%s", k->name);
		}
	}
}

Test(steer, a_cut_header_is_malformed_from_its_first_byte_to_its_last)
{
	static const struct {
		void (*make)(void);
		uint32_t need; /* bytes that answer `port 53` */
	} rows[] = {
		{ make_tcp4, 14 + 20 + 4 },
		{ make_options4, 14 + 60 + 4 },
		{ make_udp6, 14 + 40 + 4 },
		{ make_vlan, 18 + 20 + 4 },
		{ make_qinq, 22 + 40 + 4 },
		{ make_first6, 14 + 40 + 8 + 4 },
		{ make_ext6, 14 + 40 + 80 + 4 },
	};

	load(XMB_STEER_PORT, false, 53);
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		rows[i].make();
		for (uint32_t n = FRAME_MIN; n <= f.len; n++) {
			struct xmb_steer_counters c = run_len(n);
			bool cut = n < rows[i].need;

			cr_expect(eq(u64, c.v[XMB_STEER_MALFORMED], cut),
				  "row %zu, %u bytes", i, n);
			cr_expect(eq(u64, c.v[XMB_STEER_NO_SOCKET], !cut),
				  "row %zu, %u bytes", i, n);
		}
	}
}

Test(steer, tcp_is_answered_without_the_transport_header)
{
	load(XMB_STEER_TCP, false, 0);
	make_tcp4();
	f.len = 14 + 20;
	cr_expect(eq(int, run(), MATCH));
	make_tcp6();
	f.len = 14 + 40;
	cr_expect(eq(int, run(), MATCH));
}

Test(steer, cut_options_are_malformed_though_the_protocol_is_there)
{
	load(XMB_STEER_UDP, false, 0);
	make_options4();
	f.len = 14 + 59;
	expect_malformed("59 of 60 bytes of IPv4 header");
	f.len = 14 + 60;
	cr_expect(eq(int, run(), MATCH));
}

Test(steer, headers_that_contradict_themselves_are_malformed)
{
	load(XMB_STEER_UDP, false, 0);

	make_udp4();
	f.byte[14] = 0x55;
	expect_malformed("version 5 in IPv4");
	make_udp4();
	f.byte[14] = 0x44;
	expect_malformed("IPv4 header of 16 bytes");
	make_udp4();
	f.byte[16] = 0, f.byte[17] = 19;
	expect_malformed("IPv4 length below its header");
	make_udp6();
	f.byte[14] = 0x40;
	expect_malformed("version 4 in IPv6");
	make_first6();
	f.byte[18] = 0, f.byte[19] = 7;
	expect_malformed("extension header behind the end of IPv6");
}

Test(steer, ports_in_the_padding_of_a_frame_are_not_ports)
{
	load(XMB_STEER_PORT, false, 53);
	ether(IP4);
	ipv4(0, UDP, 0, 3);
	ports(53, 53);
	expect_malformed("IPv4 with 3 bytes of payload");
	ether(IP6);
	ipv6(UDP, 3);
	ports(53, 53);
	expect_malformed("IPv6 with 3 bytes of payload");
}

Test(steer, the_walk_over_extension_headers_ends_after_eight)
{
	load(XMB_STEER_PORT, false, 53);
	for (unsigned cnt = 1; cnt <= XMB_STEER_IPV6_EXT_MAX + 1u; cnt++) {
		ether(IP6);
		ipv6(DEST, cnt * 8 + PORTS_LEN);
		for (unsigned i = 1; i < cnt; i++)
			ext(DEST, DEST, 8);
		ext(DEST, UDP, 8);
		ports(40000, 53);
		if (cnt <= XMB_STEER_IPV6_EXT_MAX)
			cr_expect(eq(int, run(), MATCH), "%u headers", cnt);
		else
			expect_malformed("nine extension headers");
	}
}

Test(steer, malformed_matches_the_negation)
{
	struct xmb_steer_counters c;

	load(XMB_STEER_PORT, true, 53);
	make_udp4();
	c = run_len(14 + 20 + 3);
	cr_expect(eq(u64, c.v[XMB_STEER_MALFORMED], 1));
	cr_expect(eq(u64, c.v[XMB_STEER_NO_SOCKET], 1));
}

Test(steer, a_gate_drops_what_has_no_socket_and_passes_the_rest)
{
	static const struct {
		uint32_t action;
		enum xmb_steer_counter counter;
		bool negate;
	} rows[] = { { XDP_DROP, XMB_STEER_GATE_DROP, false },
		     { XDP_PASS, XMB_STEER_PASSED, true } };

	is_gate = true;
	for (int i = 0; i < 2; i++) {
		LIBBPF_OPTS(bpf_test_run_opts, opts, .data_in = f.byte,
			    .repeat = 1);
		struct xmb_steer_counters c;

		load(XMB_STEER_UDP, rows[i].negate, 0);
		make_udp4();
		opts.data_size_in = f.len;
		cr_assert(eq(int, bpf_prog_test_run_opts(prog_fd, &opts), 0));
		cr_expect(eq(u32, opts.retval, rows[i].action));
		c = counts();
		for (int j = 0; j < XMB_STEER_COUNTER_CNT; j++)
			cr_expect(eq(u64, c.v[j],
				     j == (int)rows[i].counter ? 1 : 0));
	}
}

static uint32_t next_random(void)
{
	static uint32_t rng = 1; /* fixed, so a failure repeats */

	rng = rng * 1664525u + 1013904223u;
	return rng >> 8;
}

/* run_len() checks that each frame goes one way and is counted so. */
Test(steer, random_bytes_go_one_way_and_are_counted_once)
{
	static const unsigned types[] = { IP4, IP6, CTAG, STAG };
	static const uint8_t next[] = { HOP, ROUTE, FRAG, AH, DEST, UDP };

	load(XMB_STEER_PORT, false, 53);
	for (int step = 0; step < 20000; step++) {
		unsigned type = types[next_random() % 4];
		uint32_t len = FRAME_MIN + next_random() % SWEEP_MAX;

		ether(type);
		while (f.len < len)
			put8(next_random() & 0xff);
		/* Chance alone rarely gets behind the first header. */
		if (type == IP4)
			f.byte[14] = 0x45 + next_random() % 4;
		if (type == IP6) {
			f.byte[14] = 0x60;
			f.byte[20] = next[next_random() % sizeof(next)];
		}
		run_len(len);
	}
}
