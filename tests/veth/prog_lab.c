/* SPDX-License-Identifier: BSD-2-Clause */
#include "prog_lab.h"

#include <arpa/inet.h>
#include <bpf/bpf.h>
#include <dirent.h>
#include <errno.h>
#include <linux/bpf.h>
#include <linux/filter.h>
#include <linux/if_ether.h>
#include <linux/if_packet.h>
#include <linux/seccomp.h>
#include <net/if.h>
#include <poll.h>
#include <sched.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

enum { LINE_MAX_CNT = 1024 };

static struct line {
	enum xmb_log_level level;
	char text[LINE_LEN];
} lines[LINE_MAX_CNT];
static int line_cnt;

static void listen_to(void *arg, enum xmb_log_level level, const char *text)
{
	(void)arg;
	cr_expect(eq(ptr, strchr(text, '\n'), NULL));
	if (line_cnt == LINE_MAX_CNT)
		return;
	lines[line_cnt].level = level;
	snprintf(lines[line_cnt++].text, LINE_LEN, "%s", text);
}

const char *said(enum xmb_log_level level, const char *part)
{
	for (int i = 0; i < line_cnt; i++)
		if (lines[i].level == level && strstr(lines[i].text, part))
			return lines[i].text;
	return NULL;
}

int said_cnt(enum xmb_log_level level)
{
	int cnt = 0;

	for (int i = 0; i < line_cnt; i++)
		cnt += lines[i].level == level;
	return cnt;
}

void forget_said(void)
{
	line_cnt = 0;
}

int run(const char *command)
{
	char quiet[LINE_LEN];
	int status;

	snprintf(quiet, sizeof(quiet), "%s 2>/dev/null", command);
	status = system(quiet);
	return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
}

void must(const char *command)
{
	cr_assert(eq(int, run(command), 0), "%s", command);
}

void make_pair(int queue_cnt, int peer_queue_cnt)
{
	char command[LINE_LEN];

	snprintf(command, sizeof(command),
		 "ip link add va numrxqueues %d numtxqueues %d type veth "
		 "peer name vb numrxqueues %d numtxqueues %d",
		 queue_cnt, queue_cnt, peer_queue_cnt, peer_queue_cnt);
	must(command);
	must("ip link set va up && ip link set vb up");
}

void lab_setup(void)
{
	FILE *file;

	if (geteuid() != 0)
		cr_skip_test("attaching an XDP program needs root");
	if (unshare(CLONE_NEWNET))
		cr_skip_test("a network namespace of its own: %s",
			     strerror(errno));
	if (run("ip link add vp type veth && ip link del vp"))
		cr_skip_test("`ip link add type veth` does not work here");
	/* No neighbour discovery: the tests count every frame. */
	file = fopen("/proc/sys/net/ipv6/conf/default/disable_ipv6", "w");
	if (file) {
		fputs("1", file);
		fclose(file);
	}
	xmb_log_set(listen_to, NULL);
}

void mount_bpffs(void)
{
	if (unshare(CLONE_NEWNS) ||
	    mount("none", "/", NULL, MS_REC | MS_PRIVATE, NULL) ||
	    mount("bpf", "/sys/fs/bpf", "bpf", 0, NULL))
		cr_skip_test("a bpffs of its own: %s", strerror(errno));
}

int entry_cnt(const char *path)
{
	DIR *dir = opendir(path);
	struct dirent *entry;
	int cnt = 0;

	if (!dir)
		return 0;
	while ((entry = readdir(dir)))
		cnt += entry->d_name[0] != '.';
	closedir(dir);
	return cnt;
}

void answer_bpf(unsigned command, unsigned err, unsigned spared_len)
{
	struct sock_filter code[] = {
		BPF_STMT(BPF_LD | BPF_W | BPF_ABS,
			 offsetof(struct seccomp_data, nr)),
		BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_bpf, 0, 5),
		BPF_STMT(BPF_LD | BPF_W | BPF_ABS,
			 offsetof(struct seccomp_data, args[0])),
		BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, command, 0, 3),
		BPF_STMT(BPF_LD | BPF_W | BPF_ABS,
			 offsetof(struct seccomp_data, args[2])),
		BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, spared_len, 1, 0),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | err),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
	};
	struct sock_fprog fprog = { sizeof(code) / sizeof(code[0]), code };

	cr_assert(eq(int, prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0), 0));
	cr_assert(
		eq(int, prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &fprog), 0));
}

void attach_by_netlink(const char *name, uint32_t flags)
{
	struct bpf_insn pass[] = {
		{ .code = BPF_ALU64 | BPF_MOV | BPF_K, .imm = XDP_PASS },
		{ .code = BPF_JMP | BPF_EXIT },
	};
	int fd = bpf_prog_load(BPF_PROG_TYPE_XDP, name, "GPL", pass, 2, NULL);

	cr_assert(ge(int, fd, 0));
	cr_assert(eq(int,
		     bpf_xdp_attach((int)if_nametoindex("va"), fd, flags, NULL),
		     0));
	close(fd);
}

static int packet_open(const char *dev, uint16_t type)
{
	struct sockaddr_ll at = {
		.sll_family = AF_PACKET,
		.sll_protocol = htons(type),
		.sll_ifindex = (int)if_nametoindex(dev),
	};
	int fd = socket(AF_PACKET, SOCK_RAW | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);

	cr_assert(ge(int, fd, 0));
	cr_assert(eq(int, bind(fd, (struct sockaddr *)&at, sizeof(at)), 0));
	return fd;
}

void send_from_peer(uint16_t type, int cnt)
{
	uint8_t frame[60] = { 0x02, 0, 0, 0, 0, 1, 0x02, 0, 0, 0, 0, 2 };
	int fd = packet_open("vb", type);

	frame[12] = (uint8_t)(type >> 8);
	frame[13] = (uint8_t)type;
	for (int i = 0; i < cnt; i++) {
		ssize_t len = -1;

		/* Wait while the device has no room. */
		for (int ms = 0; len < 0 && ms < WAIT_MS; ms++) {
			len = write(fd, frame, sizeof(frame));
			if (len < 0 && errno != ENOBUFS && errno != EAGAIN)
				break;
			if (len < 0)
				usleep(1000);
		}
		cr_assert(eq(int, (int)len, (int)sizeof(frame)));
	}
	close(fd);
}

int stack_open(uint16_t type)
{
	return packet_open("va", type);
}

int stack_cnt(int fd, int wanted)
{
	struct pollfd poll_fd = { .fd = fd, .events = POLLIN };
	uint8_t frame[2048];
	int cnt = 0;

	do {
		while (recv(fd, frame, sizeof(frame), 0) > 0)
			cnt++;
	} while (cnt < wanted && poll(&poll_fd, 1, WAIT_MS) > 0);
	return cnt;
}

struct xmb_prog_opts opts_for(enum xmb_prog_mode mode)
{
	return (struct xmb_prog_opts){
		.dev = "va",
		.ifindex = (int)if_nametoindex("va"),
		.mode = mode,
		.queue_cnt = 1,
	};
}

struct bpf_xdp_query_opts attached(void)
{
	struct bpf_xdp_query_opts xdp = { .sz = sizeof(xdp) };

	cr_assert(
		eq(int, bpf_xdp_query((int)if_nametoindex("va"), 0, &xdp), 0));
	return xdp;
}

struct xmb_prog *attach(enum xmb_prog_mode mode)
{
	struct xmb_prog_opts opts = opts_for(mode);
	struct xmb_prog *prog = NULL;

	cr_assert(eq(int, xmb_prog_attach(&prog, &opts), 0));
	return prog;
}

int open_fd_cnt(void)
{
	DIR *dir = opendir("/proc/self/fd");
	int cnt = 0;

	cr_assert(ne(ptr, dir, NULL));
	while (readdir(dir))
		cnt++;
	closedir(dir);
	return cnt;
}

void expect_refused(const struct xmb_prog_opts *opts, int err, const char *part)
{
	struct xmb_prog *const before = (struct xmb_prog *)8, *out = before;
	struct bpf_xdp_query_opts was = attached(), is;
	int fd_cnt = open_fd_cnt();

	forget_said();
	cr_expect(eq(int, xmb_prog_attach(&out, opts), err), "%s", part);
	cr_expect(eq(ptr, out, before));
	cr_expect(eq(int, said_cnt(XMB_LOG_ERROR), 1), "%s", part);
	expect_said(XMB_LOG_ERROR, part);
	cr_expect(eq(int, open_fd_cnt(), fd_cnt), "%s", part);
	is = attached();
	cr_expect(eq(u32, is.prog_id, was.prog_id), "%s", part);
	cr_expect(eq(u8, is.attach_mode, was.attach_mode), "%s", part);
}
