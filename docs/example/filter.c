/* SPDX-License-Identifier: BSD-2-Clause */
#include <inttypes.h>
#include <netinet/in.h>
#include <stdio.h>
#include <xmbuf.h>

/* Everything goes out of the other device, but UDP to port 9 nowhere. */
static void handle(void *arg, struct xmb_burst *burst)
{
	for (uint32_t i = 0; i < burst->cnt; i++) {
		struct xmb_parse at;
		uint8_t tmp[2], *port = NULL;

		if (xmb_parse(&burst->mbs[i], &at) == 0 &&
		    at.l4_proto == IPPROTO_UDP && at.l4_hdr_len > 0)
			port = xmb_multibuf_get(&burst->mbs[i], at.l4_off + 2,
						2, tmp);
		burst->to[i] = port && xmb_be16_load(port) == 9 ?
			XMB_TO_DROP : burst->port ^ 1;
	}
}

static void tick(void *arg, const struct xmb_engine_report *report)
{
	printf("forwarded %" PRIu64 ", dropped %" PRIu64 "\n",
	       report->workers[XMB_WORKER_FORWARDED],
	       report->workers[XMB_WORKER_HANDLER_DROP]);
}

static void say(void *arg, enum xmb_log_level level, const char *text)
{
	fprintf(stderr, "%s\n", text);
}

int main(int argc, char **argv)
{
	struct xmb_port_opts ports[2] = { 0 };
	struct xmb_engine_opts opts = { .ports = ports, .port_cnt = 2,
					.handler = handle, .tick = tick };
	struct xmb_engine *engine;
	int err;

	if (argc != 3)
		return 2;
	ports[0].dev = argv[1];
	ports[1].dev = argv[2];
	xmb_log_set(say, NULL);
	if (xmb_engine_create(&engine, &opts))
		return 1;
	err = xmb_engine_run(engine); /* until SIGINT or SIGTERM */
	xmb_engine_destroy(engine);
	return err ? 1 : 0;
}
