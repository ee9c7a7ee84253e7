// SPDX-License-Identifier: GPL-2.0
/*
 * rewrite PORT SIZE: a server that writes its one object to whoever asks, and at once its
 * next version over it: the worst that can be done to memory which is protected as
 * long as a packet has it. The versions take turns, and are made beforehand.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/tcp.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "../../run/content.h"

#define KEY	1
#define TURNS	3

static char *versions[TURNS], *memory;
static size_t length;		/* of a head and the object */

static void die(const char *what)
{
	fprintf(stderr, "rewrite: %s: %s\n", what, strerror(errno));
	exit(2);
}

static void *must(void *got)
{
	if (!got)
		die("malloc");
	return got;
}

static void make_versions(size_t size)
{
	char line[32];
	int i, head = snprintf(line, sizeof(line), "%zu\n", size);

	length = head + size;
	for (i = 0; i < TURNS; i++) {
		versions[i] = must(malloc(length));
		memcpy(versions[i], line, head);
		content_fill(versions[i] + head, KEY, i + 1, size);
	}
	memory = must(malloc(length));
}

/* Each client gets the first version first. */
static void serve(int client)
{
	unsigned int turn = 0;
	char line[64];
	size_t sent;
	ssize_t n;

	memcpy(memory, versions[0], length);
	while (read(client, line, sizeof(line)) > 0) {
		for (sent = 0; sent < length; sent += n) {
			n = write(client, memory + sent, length - sent);
			if (n < 0)
				return;
		}
		memcpy(memory, versions[++turn % TURNS], length);
	}
}

/* So that whoever is preloaded says what he counted. */
static void end(int sig)
{
	_exit(sig != SIGTERM);
}

int main(int argc, char **argv)
{
	struct sockaddr_in addr = { .sin_family = AF_INET,
				    .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
	int server, client, one = 1;

	if (argc != 3) {
		fprintf(stderr, "usage: rewrite PORT SIZE\n");
		return 2;
	}
	signal(SIGPIPE, SIG_IGN);
	signal(SIGTERM, end);
	make_versions(strtoul(argv[2], NULL, 10));
	addr.sin_port = htons(atoi(argv[1]));
	server = socket(AF_INET, SOCK_STREAM, 0);
	setsockopt(server, SOL_SOCKET, SO_REUSEADDR, &one, sizeof(one));
	if (bind(server, (struct sockaddr *)&addr, sizeof(addr)) || listen(server, 8))
		die("listen");
	for (;;) {
		client = accept(server, NULL, NULL);
		if (client < 0)
			die("accept");
		setsockopt(client, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
		serve(client);
		close(client);
	}
}
