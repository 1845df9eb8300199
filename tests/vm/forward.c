/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The xmbuf program itself, between two cards: what it says it got, that it
 * carries packets, and that its ledger is whole.
 */
#include "vm_lab.h"

#include "base/clock.h"
#include "port/port.h"

#include <jansson.h>
#include <net/if.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

enum { MANY = 512, START_MS = 60000, LEN = 1514 };

TestSuite(forward, .init = vm_setup, .timeout = 300);

static pid_t start_with(int *out, char *const *args)
{
	int ends[2];
	pid_t pid;

	cr_assert(eq(int, pipe(ends), 0));
	pid = fork();
	cr_assert(ge(int, pid, 0));
	if (pid == 0) {
		/* A test that fails takes it along. */
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		dup2(ends[1], 1);
		execv("/bin/xmbuf", args);
		_exit(127);
	}
	close(ends[1]);
	*out = ends[0];
	return pid;
}

static pid_t start(int *out)
{
	static char *const args[] = { "xmbuf",	    "forward", "--json",
				      "--interval", "60",      "left",
				      "right",	    NULL };

	return start_with(out, args);
}

/* Until a packet gets through; a card may negotiate its link first. */
static void await_traffic(int in, int out)
{
	uint64_t end_ns = xmb_clock_ns() + START_MS * XMB_NS_PER_MS;
	uint8_t packet[PACKET_MAX];

	/* What was on its way to the tap before does not count. */
	while (tap_recv(out, packet, sizeof(packet), 300))
		;
	do {
		cr_assert(lt(u64, xmb_clock_ns(), end_ns));
		packet_make(packet, LEN, 0);
		if (send(in, packet, LEN, 0) < 0)
			usleep(10000);
	} while (tap_recv(out, packet, sizeof(packet), 100) == 0);
	while (tap_recv(out, packet, sizeof(packet), 300))
		;
}

static void carry(int in, int out)
{
	for (uint32_t tag = 1; tag <= MANY; tag += VM_BURST) {
		for (uint32_t i = 0; i < VM_BURST; i++)
			tap_send_made(in, LEN, tag + i);
		for (uint32_t i = 0; i < VM_BURST; i++)
			cr_assert(tap_recv_made(out, LEN, tag + i), "tag %u",
				  tag + i);
	}
}

/* The last object of what it said. */
static json_t *final_report(int out)
{
	FILE *file = fdopen(out, "r");
	json_t *last = NULL, *next;

	while ((next = json_loadf(file, JSON_DISABLE_EOF_CHECK, NULL))) {
		json_decref(last);
		last = next;
	}
	fclose(file);
	cr_assert(ne(ptr, last, NULL));
	cr_assert(eq(str,
		     (char *)json_string_value(json_object_get(last, "type")),
		     "final"));
	return last;
}

/* The kernel has to take back what a card has of a program that is no more. */
Test(forward, a_program_that_is_killed_leaves_the_cards_to_the_next)
{
	int ltap = tap_open("ltap"), rtap = tap_open("rtap"), out, status;

	for (int turn = 0; turn < 2; turn++) {
		pid_t pid = start(&out);

		await_traffic(ltap, rtap);
		await_traffic(rtap, ltap);
		for (uint32_t i = 0; turn == 0 && i < MANY; i++)
			tap_send_made(ltap, LEN, i);
		if (turn == 1)
			carry(rtap, ltap);
		kill(pid, turn == 0 ? SIGKILL : SIGINT);
		cr_assert(eq(int, waitpid(pid, &status, 0), pid));
		close(out);
	}
	cr_expect(eq(int, status, 0));
	lab_finish();
}

Test(forward, the_program_carries_packets_between_two_cards)
{
	const char *want = vm_is("7") ? "zero-copy" : "copy";
	int ltap = tap_open("ltap"), rtap = tap_open("rtap"), out, status;
	pid_t pid = start(&out);
	json_t *report, *ports, *port;
	size_t i;

	await_traffic(ltap, rtap);
	await_traffic(rtap, ltap);
	carry(ltap, rtap);
	carry(rtap, ltap);
	kill(pid, SIGINT);
	report = final_report(out);
	cr_assert(eq(int, waitpid(pid, &status, 0), pid));
	cr_expect(eq(int, status, 0));
	ports = json_object_get(report, "ports");
	cr_assert(eq(sz, json_array_size(ports), 2));
	json_array_foreach(ports, i, port)
	{
		cr_expect(eq(str,
			     (char *)json_string_value(
				     json_object_get(port, "bind")),
			     (char *)want));
		cr_expect(eq(
			str,
			(char *)json_string_value(json_object_get(port, "xdp")),
			"native"));
	}
	cr_expect(eq(i64,
		     json_integer_value(json_object_get(
			     json_object_get(report, "ledger"), "missing")),
		     0));
	json_decref(report);
	lab_finish();
}

static void write_sysfs(const char *dev, const char *name, uint32_t value)
{
	char path[LINE_LEN];
	FILE *file;

	snprintf(path, sizeof(path), "/sys/class/net/%s/%s", dev, name);
	file = fopen(path, "w");
	cr_assert(ne(ptr, file, NULL));
	fprintf(file, "%u", value);
	cr_assert(eq(int, fclose(file), 0), "%s", path);
}

static void defer(const char *dev, uint32_t turns, uint32_t ns)
{
	write_sysfs(dev, "napi_defer_hard_irqs", turns);
	write_sysfs(dev, "gro_flush_timeout", ns);
}

static uint32_t read_sysfs(const char *dev, const char *name)
{
	char path[LINE_LEN];
	uint32_t value = 0;
	FILE *file;

	snprintf(path, sizeof(path), "/sys/class/net/%s/%s", dev, name);
	file = fopen(path, "r");
	cr_assert(ne(ptr, file, NULL));
	cr_assert(eq(int, fscanf(file, "%u", &value), 1));
	fclose(file);
	return value;
}

/* Where each NAPI has its own, what is in sysfs is of none of them. */
static void expect_deferred(const char *dev, uint32_t turns, uint32_t ns)
{
	struct xmb_nic_napi napi;

	if (!vm_is("7")) {
		cr_expect(eq(u32, read_sysfs(dev, "napi_defer_hard_irqs"),
			     turns));
		cr_expect(eq(u32, read_sysfs(dev, "gro_flush_timeout"), ns));
		return;
	}
	cr_assert(ge(int, xmb_nic_napi_list((int)if_nametoindex(dev), &napi, 1),
		     1));
	cr_expect(eq(u32, napi.defer_hard_irqs, turns));
	cr_expect(eq(u64, napi.gro_flush_ns, ns));
}

static void expect_busy(json_t *report)
{
	json_t *ports = json_object_get(report, "ports"), *port;
	size_t i;

	cr_assert(eq(sz, json_array_size(ports), 2));
	json_array_foreach(ports, i, port)
	{
		const char *by;
		json_int_t turns, flush_ns, suspend_ns;
		int is_preferred;
		json_t *napis;

		cr_assert(
			eq(int,
			   json_unpack(port, "{s:{s:b,s:s,s:o,s:I,s:I,s:I}}",
				       "busy_poll", "preferred", &is_preferred,
				       "deferred_by", &by, "napis_deferred",
				       &napis, "napi_defer_hard_irqs", &turns,
				       "gro_flush_timeout_ns", &flush_ns,
				       "irq_suspend_timeout_ns", &suspend_ns),
			   0));
		cr_expect(
			eq(str, (char *)by, vm_is("7") ? "netlink" : "sysfs"));
		/* Zero copy on virtio_net cannot; of several queues one tells.
		 */
		if (!vm_is("igb"))
			cr_expect(eq(int, is_preferred, !vm_is("7")));
		cr_expect(eq(i64, turns, 3));
		cr_expect(eq(i64, flush_ns, 300000));
		cr_expect(eq(i64, suspend_ns, vm_is("7") ? 20000000 : 0));
		cr_expect(eq(int, json_is_integer(napis), vm_is("7")));
	}
}

Test(forward, interrupts_are_deferred_as_this_kernel_can_and_put_back)
{
	static char *const args[] = { "xmbuf",	"forward",
				      "--json", "--interval",
				      "60",	"--busy-poll",
				      "20",	"--napi-defer-hard-irqs",
				      "3",	"--gro-flush-timeout",
				      "300",	"--irq-suspend-timeout",
				      "20",	"left",
				      "right",	NULL };
	int ltap = tap_open("ltap"), rtap = tap_open("rtap"), out, status;
	json_t *report;
	pid_t pid;

	defer("left", 1, 1000);
	pid = start_with(&out, args);
	await_traffic(ltap, rtap);
	await_traffic(rtap, ltap);
	expect_deferred("left", 3, 300000);
	expect_deferred("right", 3, 300000);
	kill(pid, SIGINT);
	report = final_report(out);
	cr_assert(eq(int, waitpid(pid, &status, 0), pid));
	cr_expect(eq(int, status, 0));
	expect_busy(report);
	json_decref(report);
	expect_deferred("left", 1, 1000);
	expect_deferred("right", 0, 0);
	defer("left", 0, 0);
	lab_finish();
}

static uint32_t told_cnt;

static void hear_of_deferred(void *arg, enum xmb_log_level level,
			     const char *text)
{
	(void)arg;
	(void)level;
	told_cnt += strstr(text, "are deferred, as for busy polling") != NULL;
}

Test(forward, interrupts_that_were_left_deferred_are_told_of)
{
	struct xmb_nic_info nic;

	cr_assert(eq(int, xmb_nic_query("left", &nic), 0));
	xmb_log_set(hear_of_deferred, NULL);
	xmb_port_tell_off(&nic);
	cr_expect(eq(u32, told_cnt, 0));
	defer("left", 2, 200000);
	xmb_port_tell_off(&nic);
	cr_expect(eq(u32, told_cnt, 1));
	defer("left", 2, 200001);
	xmb_port_tell_off(&nic);
	cr_expect(eq(u32, told_cnt, 1));
	defer("left", 0, 0);
	lab_finish();
}
