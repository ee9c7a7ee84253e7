// SPDX-License-Identifier: GPL-2.0
/*
 * client [OPTION...] PROTOCOL ADDRESS PORT: asks a server for objects, gives it new
 * versions of them meanwhile, and looks at each byte of what comes back: an answer must
 * be one whole version, not older than what had been stored when it was asked for, nor
 * newer than what had been sent when it was there. See tell_usage() for the options.
 */
#include <errno.h>
#include <getopt.h>
#include <netdb.h>
#include <netinet/in.h>
#include <signal.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>

#include "client.h"

struct client_options opt = {
	.sizes = { 1000, 40000, 100000, 1000000 }, .nr_sizes = 4, .keys = 16,
	.connections = 8, .threads = 1, .requests = 1000, .writes = 10, .slow = 25,
	.seconds = 60,
};

void die(const char *format, ...)
{
	va_list args;

	va_start(args, format);
	fprintf(stderr, "client: ");
	vfprintf(stderr, format, args);
	fprintf(stderr, "\n");
	va_end(args);
	exit(1);
}

unsigned long long now_ns(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return now.tv_sec * 1000000000ULL + now.tv_nsec;
}

static void tell_usage(FILE *to)
{
	fputs("usage: client [OPTION...] memcached|redis|http|tcp ADDRESS PORT\n"
	      "  -s, --sizes LIST       bytes in objects, of each key another: 1000,40K,1M\n"
	      "  -k, --keys N           objects\n"
	      "      --first N          number of the first key\n"
	      "  -c, --connections N\n"
	      "  -t, --threads N\n"
	      "  -n, --requests N       of all of them together\n"
	      "  -w, --writes PERCENT   of the requests, that store a new version\n"
	      "      --slow PERCENT     of the connections, that read slowly\n"
	      "      --fill             store the first versions before; alone with -n 0\n"
	      "      --even             versions of an object have one length\n"
	      "      --files DIR        objects are stored as files there, not by the protocol\n"
	      "      --tls              by TLS\n"
	      "      --once             a connection for each request\n"
	      "      --stale            older versions are right, too: there is a cache\n"
	      "      --seed N           another order of requests\n"
	      "      --newest N         versions up to this may be there already\n"
	      "      --lossy            and the server may die, and forget what it had\n"
	      "      --seconds N        that an answer may take\n"
	      "      --rcvbuf BYTES     of the connections that are not slow\n", to);
}

static size_t bytes(const char *word, char **end)
{
	size_t value = strtoul(word, end, 10);

	if (**end == 'K' || **end == 'M') {
		value <<= **end == 'K' ? 10 : 20;
		++*end;
	}
	return value;
}

static void parse_sizes(char *list)
{
	char *end = list;

	for (opt.nr_sizes = 0; *list; list = end) {
		if (opt.nr_sizes == SIZES_MAX)
			die("more than %d sizes", SIZES_MAX);
		opt.sizes[opt.nr_sizes] = bytes(list, &end);
		if (opt.sizes[opt.nr_sizes] < CONTENT_MIN ||
		    opt.sizes[opt.nr_sizes] > 64 << 20 || end == list)
			die("sizes are from %d bytes to 64M", CONTENT_MIN);
		opt.nr_sizes++;
		if (*end == ',')
			end++;
		else if (*end)
			die("no size: %s", end);
	}
	if (!opt.nr_sizes)
		die("no sizes");
}

/* What an option sets, by its kind. */
enum kind { FLAG, NUMBER, BYTES, WORD, SIZES, HELP };

static const struct {
	const char *name;
	char letter;
	enum kind kind;
	void *to;
} words[] = {
	{ "sizes", 's', SIZES, NULL },
	{ "keys", 'k', NUMBER, &opt.keys },
	{ "first", 0, NUMBER, &opt.first },
	{ "connections", 'c', NUMBER, &opt.connections },
	{ "threads", 't', NUMBER, &opt.threads },
	{ "requests", 'n', NUMBER, &opt.requests },
	{ "writes", 'w', NUMBER, &opt.writes },
	{ "slow", 0, NUMBER, &opt.slow },
	{ "fill", 0, FLAG, &opt.fill },
	{ "even", 0, FLAG, &opt.even },
	{ "files", 0, WORD, &opt.files },
	{ "tls", 0, FLAG, &opt.tls },
	{ "once", 0, FLAG, &opt.once },
	{ "stale", 0, FLAG, &opt.stale },
	{ "lossy", 0, FLAG, &opt.lossy },
	{ "seconds", 0, NUMBER, &opt.seconds },
	{ "seed", 0, NUMBER, &opt.seed },
	{ "newest", 0, NUMBER, &opt.newest },
	{ "rcvbuf", 0, BYTES, &opt.rcvbuf },
	{ "help", 'h', HELP, NULL },
};

#define NR_WORDS (sizeof(words) / sizeof(*words))

static void set(size_t i, char *value)
{
	char *end = NULL;

	switch (words[i].kind) {
	case FLAG:
		*(bool *)words[i].to = true;
		break;
	case NUMBER:
		*(unsigned int *)words[i].to = strtoul(value, &end, 10);
		break;
	case BYTES:
		*(unsigned int *)words[i].to = bytes(value, &end);
		break;
	case WORD:
		*(const char **)words[i].to = value;
		break;
	case SIZES:
		parse_sizes(value);
		break;
	case HELP:
		tell_usage(stdout);
		exit(0);
	}
	if (end && (*end || end == value))
		die("--%s: %s is no number", words[i].name, value);
}

static void parse_options(int argc, char **argv)
{
	struct option longs[NR_WORDS + 1] = { };
	char shorts[3 * NR_WORDS], *p = shorts;
	size_t i;
	int c;

	for (i = 0; i < NR_WORDS; i++) {
		longs[i].name = words[i].name;
		longs[i].has_arg = words[i].kind != FLAG && words[i].kind != HELP;
		longs[i].val = words[i].letter ?: 256 + (int)i;
		if (words[i].letter)
			p += sprintf(p, "%c%s", words[i].letter, longs[i].has_arg ? ":" : "");
	}
	while ((c = getopt_long(argc, argv, shorts, longs, NULL)) != -1) {
		for (i = 0; i < NR_WORDS && longs[i].val != c; i++)
			;
		if (i == NR_WORDS) {
			tell_usage(stderr);
			exit(2);
		}
		set(i, optarg);
	}
}

static void parse(int argc, char **argv)
{
	struct addrinfo hints = { .ai_socktype = SOCK_STREAM, .ai_flags = AI_NUMERICHOST }, *found;
	int err;

	parse_options(argc, argv);
	if (argc - optind != 3 || !opt.keys || !opt.connections || !opt.threads) {
		tell_usage(stderr);
		exit(2);
	}
	opt.protocol = protocol_named(argv[optind]);
	if (!opt.protocol)
		die("no protocol %s", argv[optind]);
	err = getaddrinfo(argv[optind + 1], argv[optind + 2], &hints, &found);
	if (err)
		die("%s: %s", argv[optind + 1], gai_strerror(err));
	memcpy(&opt.addr, found->ai_addr, found->ai_addrlen);
	opt.addrlen = found->ai_addrlen;
	freeaddrinfo(found);
}

int main(int argc, char **argv)
{
	signal(SIGPIPE, SIG_IGN);
	parse(argc, argv);
	conn_prepare();
	load_prepare();
	if (opt.fill)
		load_fill();
	return !load_ask();
}
