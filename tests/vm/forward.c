/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The xmbuf program itself, between two cards: what it says it got, that it
 * carries packets, and that its ledger is whole.
 */
#include "vm_lab.h"

#include "base/clock.h"

#include <jansson.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

enum { MANY = 512, START_MS = 60000, LEN = 1514 };

TestSuite(forward, .init = vm_setup, .timeout = 300);

static pid_t start(int *out)
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
		execl("/bin/xmbuf", "xmbuf", "forward", "--json", "--interval",
		      "60", "left", "right", (char *)NULL);
		_exit(127);
	}
	close(ends[1]);
	*out = ends[0];
	return pid;
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
