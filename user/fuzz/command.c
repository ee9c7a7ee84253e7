// SPDX-License-Identifier: GPL-2.0
/* The fake kernel of the tool, and the tool as a function. */

#include <errno.h>
#include <getopt.h>
#include <netdb.h>
#include <stdlib.h>
#include <string.h>

#include <netlink/netlink.h>

#include "../bench/flow.h"
#include "../bench/plot.h"
#include "fake.h"

#define FAMILY		0x20
#define MESSAGE_MAX	0xfff

void fake_command(int argc, char **argv)
{
	static FILE *null;
	char **args = calloc(2 * (argc + 2), sizeof(*args));
	char **sorted;
	int i;

	if (!null)
		null = fopen("/dev/null", "w");
	FAKE_CHECK(args && null);
	stdout = null;
	stderr = null;
	/* What a process starts with. */
	optind = 0;
	tool_json = false;
	file_dir = NULL;
	disk_dir = NULL;
	source_size = 0;
	transport = (struct transport){ .addr = "127.0.0.1" };

	args[0] = strdup("fbuf");
	for (i = 0; i < argc; i++)
		args[i + 1] = strdup(argv[i]);
	/* getopt() sorts them, so free them by another list. */
	sorted = args + argc + 2;
	memcpy(sorted, args, (argc + 2) * sizeof(*args));
	tool_main(argc + 1, sorted);
	for (i = 0; i <= argc; i++)
		free(args[i]);
	free(args);
	fake_stop(false);
}

int fake_refuse(void)
{
	errno = EPERM;
	return -1;
}

FILE *fake_fopen(void)
{
	char text[64];
	size_t len = fake_take(text, fake_byte() % sizeof(text));
	FILE *f = len ? fmemopen(NULL, sizeof(text), "w+") : NULL;

	if (!f) {
		errno = ENOENT;
		return NULL;
	}
	fwrite(text, 1, len, f);
	rewind(f);
	return f;
}

/* All that is left of the input is the file. */
json_t *fake_json(const char *path, size_t flags, json_error_t *err)
{
	static char text[1 << 16];
	size_t len = fake_take(text, sizeof(text));

	(void)path;
	return json_loadb(text, len, flags, err);
}

/* Names would be asked for on the network. */
int fake_getaddrinfo(const char *host, const char *port,
		     const struct addrinfo *hints, struct addrinfo **list)
{
	struct addrinfo numeric = *hints;

	numeric.ai_flags |= AI_NUMERICHOST | AI_NUMERICSERV;
	return getaddrinfo(host, port, &numeric, list);
}

int fake_nl_resolve(void)
{
	return fake_more() ? FAMILY : -NLE_OBJ_NOTFOUND;
}

int fake_nl_send(void)
{
	return fake_more() ? 0 : -NLE_BAD_SOCK;
}

/*
 * A datagram: two bytes for its length, and whether the length in its first
 * header is put right; the rest as it comes.
 */
static int feed(struct nl_sock *sock, struct sockaddr_nl *from,
		unsigned char **buf, struct ucred **creds)
{
	uint16_t how = fake_bytes(2);
	size_t len = how & MESSAGE_MAX;
	struct nlmsghdr *head;

	(void)sock;
	(void)creds;
	memset(from, 0, sizeof(*from));
	from->nl_family = AF_NETLINK;
	if (!len)
		return 0;
	*buf = calloc(1, len);
	if (!*buf)
		return -NLE_NOMEM;
	fake_take(*buf, len);
	head = (struct nlmsghdr *)*buf;
	if (!(how & ~MESSAGE_MAX) && len >= sizeof(*head))
		head->nlmsg_len = len;
	return len;
}

/* It cannot be guessed. */
static int any_seq(struct nl_msg *msg, void *arg)
{
	(void)msg;
	(void)arg;
	return NL_OK;
}

int fake_nl_recv(struct nl_sock *sock, struct nl_cb *cb)
{
	if (!fake_more())
		return -NLE_BAD_SOCK;
	nl_cb_overwrite_recv(cb, feed);
	nl_cb_set(cb, NL_CB_SEQ_CHECK, NL_CB_CUSTOM, any_seq, NULL);
	return nl_recvmsgs(sock, cb);
}

/* gnuplot is not fuzzed: what it would get is looked at. */
bool plot_ready(void)
{
	return false;
}

bool plot_draw(FILE *to, const struct plot *p, bool narrow)
{
	unsigned int i, j;

	for (i = 0; i < p->nr_xs; i++)
		fprintf(to, "%s %g %d\n", p->x_names[i], p->xs[i],
			p->shaded[i]);
	for (i = 0; i < p->nr_lines; i++) {
		fputs(p->lines[i].name, to);
		for (j = 0; j < p->nr_xs; j++)
			fprintf(to, " %g", p->lines[i].y[j]);
	}
	return fprintf(to, "%s %s %s %d\n", p->title, p->xlabel, p->ylabel,
		       narrow) > 0;
}
