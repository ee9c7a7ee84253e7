// SPDX-License-Identifier: GPL-2.0
/*
 * request [OPTION...] PROTOCOL PORT SIZE: what a request for an object costs, with its
 * answer, which is read: from the start of one to the start of the next, with all that
 * both ends do meanwhile. One connection, one request at a time. Writes JSON.
 *
 *	--get		the server has the object, as version 1: it is not stored first
 *	--append	each request stores a new version, and gets it
 *	--turns N	the server goes to its next version by itself, of so many in turn
 *	--write FILE	only leave version 1 there: request --write FILE SIZE
 *	--clock CLOCK	instructions, or nanoseconds
 *	--warm N, --windows N, --requests N
 *			requests before it counts; how often it looks at the clock, and
 *			how many requests lie between; the last of them is compared
 *
 * The first answers are compared byte for byte, some of the others, and the last ones,
 * after what is counted. It fails if one is wrong, and says so in "wrong".
 */
#include <arpa/inet.h>
#include <errno.h>
#include <getopt.h>
#include <netinet/tcp.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "../clock.h"
#include "../../run/content.h"
#include "../../run/protocol.h"

#define KEY		1
#define TRIES		600	/* to connect, a tenth of a second apart */
#define AFTER		32	/* answers compared before and after what is counted */
#define WINDOWS_MAX	4096

static struct {
	const struct protocol *protocol;
	unsigned int port, warm, windows, requests, turns;
	size_t size;
	bool get, append, instructions;
	const char *write;
} options = { .warm = 512, .windows = 15, .requests = 16 };

static int sock;
static char *answer;		/* head, object, and what is behind it */
static struct head head, last;	/* of this answer; of the last object */
static char last_head[HEAD_MAX];
static unsigned char *object;	/* to be stored */
static unsigned int version = 1, compared, wrong;
static double windows[WINDOWS_MAX];

static void die(const char *what)
{
	fprintf(stderr, "request: %s: %s\n", what, strerror(errno));
	exit(2);
}

static void complain(const char *what)
{
	fprintf(stderr, "request: %s\n", what);
	exit(2);
}

static double now(void)
{
	return clock_now(options.instructions);
}

static void connect_to(unsigned int port)
{
	struct sockaddr_in addr = { .sin_family = AF_INET, .sin_port = htons(port),
				    .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
	struct timespec pause = { .tv_nsec = 100000000 };
	int i, one = 1;

	for (i = 0; i < TRIES; i++) {
		sock = socket(AF_INET, SOCK_STREAM, 0);
		if (sock < 0)
			die("socket");
		if (!connect(sock, (struct sockaddr *)&addr, sizeof(addr))) {
			setsockopt(sock, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
			return;
		}
		close(sock);
		nanosleep(&pause, NULL);
	}
	die("connect");
}

static void put_out(const void *data, size_t len, int flags)
{
	const char *from = data;
	ssize_t n;

	while (len) {
		n = send(sock, from, len, flags | MSG_NOSIGNAL);
		if (n < 0)
			die("send");
		from += n;
		len -= n;
	}
}

/* Room for what a server may say: more than is read is never asked for. */
static size_t room(void)
{
	return HEAD_MAX + options.size + HEAD_MAX;
}

/* An answer whose head is that of the last object needs no more than this look. */
static bool same_head(size_t got)
{
	return got >= last.used && !memcmp(answer, last_head, last.used);
}

/* What an answer is of which so much is there; whoever reads it reads up to a zero. */
static enum answer parse_head(size_t got)
{
	char start[HEAD_MAX + 1];
	enum answer kind;

	if (got > HEAD_MAX)
		got = HEAD_MAX;
	memcpy(start, answer, got);
	start[got] = 0;
	head = (struct head){ };
	kind = options.protocol->answer(start, &head);
	if (kind == ANSWER_OBJECT) {
		if (head.len != options.size)
			complain("an object of another size");
		memcpy(last_head, answer, head.used);
		last = head;
	}
	return kind;
}

/* Read an answer: its head is at the start of it. */
static enum answer take_answer(void)
{
	size_t got = 0, all = 0;
	enum answer kind = ANSWER_MORE;
	ssize_t n;

	while (!all || got < all) {
		n = recv(sock, answer + got, (all ? all : room()) - got, 0);
		if (n < 0)
			die("recv");
		if (!n)
			complain("the server closed the connection");
		got += n;
		if (all)
			continue;
		if (last.used && same_head(got)) {
			kind = ANSWER_OBJECT;
			head = last;
		} else {
			kind = parse_head(got);
			if (kind == ANSWER_MORE)
				continue;
		}
		all = head.used + head.len + (head.after ? strlen(head.after) : 0);
		if (got > all)
			complain("more than was asked for");
	}
	return kind;
}

static void store(void)
{
	char line[256];

	content_fill(object, KEY, version, options.size);
	options.protocol->put(line, sizeof(line), KEY, options.size);
	put_out(line, strlen(line), MSG_MORE);
	put_out(object, options.size, *options.protocol->put_end ? MSG_MORE : 0);
	put_out(options.protocol->put_end, strlen(options.protocol->put_end), 0);
	if (take_answer() != ANSWER_STORED)
		complain("the server does not take it");
}

/* One request. That of versions which the server makes is known by how many there were. */
static void request(void)
{
	static unsigned int requests;
	static char line[256];
	static size_t length;

	if (!length)
		length = options.protocol->get(line, sizeof(line), KEY);
	if (options.append) {
		version++;
		store();
	}
	if (options.turns)
		version = 1 + requests++ % options.turns;
	put_out(line, length, 0);
	if (take_answer() != ANSWER_OBJECT)
		complain("the server does not have it");
}

static void compare(void)
{
	struct content_check check;
	const char *after = answer + head.used + head.len;

	content_start(&check, KEY);
	content_piece(&check, answer + head.used, head.len);
	compared++;
	if (!check.wrong && check.version == version &&
	    (!head.after || !memcmp(after, head.after, strlen(head.after))))
		return;
	if (!wrong++)
		content_explain(&check, version);
}

/* The first request after a comparison has something of it in it, and is not counted. */
static double window(void)
{
	double start;
	unsigned int i;

	request();
	start = now();
	for (i = 0; i < options.requests; i++)
		request();
	return (now() - start) / options.requests;
}

static int by_size(const void *a, const void *b)
{
	double x = *(const double *)a, y = *(const double *)b;

	return (x > y) - (x < y);
}

static unsigned int *number_of(int option)
{
	switch (option) {
	case 't':
		return &options.turns;
	case 'w':
		return &options.warm;
	case 'n':
		return &options.windows;
	case 'r':
		return &options.requests;
	default:
		return NULL;
	}
}

static void parse(int argc, char **argv)
{
	static const struct option longs[] = {
		{ "get", no_argument, NULL, 'g' },
		{ "append", no_argument, NULL, 'a' },
		{ "write", required_argument, NULL, 'f' },
		{ "clock", required_argument, NULL, 'c' },
		{ "turns", required_argument, NULL, 't' },
		{ "warm", required_argument, NULL, 'w' },
		{ "windows", required_argument, NULL, 'n' },
		{ "requests", required_argument, NULL, 'r' },
		{ }
	};
	int option;

	while ((option = getopt_long(argc, argv, "", longs, NULL)) != -1) {
		unsigned int *number = number_of(option);

		if (number)
			*number = strtoul(optarg, NULL, 10);
		else if (option == 'g')
			options.get = true;
		else if (option == 'a')
			options.append = true;
		else if (option == 'f')
			options.write = optarg;
		else if (option == 'c')
			options.instructions = !strcmp(optarg, "instructions");
		else
			exit(2);
	}
	if (options.write && argc - optind == 1) {
		options.size = strtoul(argv[optind], NULL, 10);
		return;
	}
	if (argc - optind != 3)
		complain("usage: request [OPTION...] PROTOCOL PORT SIZE");
	options.protocol = protocol_named(argv[optind]);
	options.port = atoi(argv[optind + 1]);
	options.size = strtoul(argv[optind + 2], NULL, 10);
	if (!options.protocol || options.size < CONTENT_MIN || !options.requests ||
	    !options.windows || options.windows > WINDOWS_MAX)
		complain("no such protocol, or a number that will not do");
}

static int write_object(void)
{
	FILE *file = fopen(options.write, "w");

	content_fill(object, KEY, version, options.size);
	if (!file || fwrite(object, options.size, 1, file) != 1 || fclose(file))
		die(options.write);
	return 0;
}

int main(int argc, char **argv)
{
	double sum = 0;
	unsigned int i;

	parse(argc, argv);
	answer = malloc(room());
	object = malloc(options.size);
	if (!answer || !object)
		die("malloc");
	if (options.write)
		return write_object();
	if (options.instructions && !clock_counts_instructions())
		complain("the clock counts no instructions: that of QEMU with -icount does");
	memset(answer, 1, room());
	connect_to(options.port);
	if (!options.get)
		store();
	for (i = 0; i < options.warm; i++) {
		request();
		if (i < AFTER || i % AFTER == 0)
			compare();
	}
	for (i = 0; i < options.windows; i++) {
		windows[i] = window();
		sum += windows[i];
		compare();
	}
	for (i = 0; i < AFTER; i++) {
		request();
		compare();
	}
	printf("{\"mean\": %.0f, \"windows\": [", sum / options.windows);
	for (i = 0; i < options.windows; i++)
		printf("%s%.0f", i ? ", " : "", windows[i]);
	qsort(windows, options.windows, sizeof(*windows), by_size);
	printf("], \"median\": %.0f, \"least\": %.0f, \"compared\": %u, \"wrong\": %u}\n",
	       windows[options.windows / 2], windows[0], compared, wrong);
	return wrong ? 1 : 0;
}
