// SPDX-License-Identifier: GPL-2.0
/*
 * fbuf relay: a TCP proxy. Each connection that is accepted is connected to the target,
 * and what comes on one side is sent on the other, both ways, until both have ended.
 */

#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <netdb.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

#include <fbuf/backend.h>

#include "relay.h"

#define OTHER_FILES	16	/* that are no connection's */
#define PEEK_MAX	(1ULL << 20)

static const char help[] =
"Usage: fbuf relay [OPTIONS] [ADDRESS:]PORT HOST:PORT\n"
"\n"
"A TCP proxy: listen on PORT, and pass every connection on to HOST:PORT, both ways,\n"
"by parcels: the bytes stay where the network put them. \"listening on port N\" on\n"
"standard error says when to connect; PORT 0 takes a free one. SIGINT or SIGTERM ends\n"
"it, and it says what it did. An IPv6 address is in brackets.\n"
"\n"
"  -p, --peek N         look at the first N bytes of each stretch, as a filter would\n"
"      --copy           by recv() and send() instead\n"
"      --splice         by splice() through a pipe instead, which shows no bytes\n"
"  -c, --connections N  take so many connections, and end when they have\n"
"  -4, -6               IPv4 or IPv6 only\n"
"  -j, --json           results as JSON\n"
"  -h, --help           print this\n";

static const char * const method_names[] = { "parcel", "copy", "splice" };

struct job {
	struct relay_loop loop;
	int family;
	char *addr, *port;	/* where to listen */
};

static bool stopped;	/* atomic: a handler of signals sets it */

static void stop(int sig)
{
	(void)sig;
	__atomic_store_n(&stopped, true, __ATOMIC_RELAXED);
}

/*
 * "HOST:PORT", "[ADDRESS]:PORT" or "PORT" into its two parts, without brackets; the
 * host is NULL if there is none. False if it is something else.
 */
static bool split(char *arg, char **host, char **port)
{
	char *colon = strrchr(arg, ':');

	*host = NULL;
	*port = arg;
	if (!colon)
		return *arg;
	*colon = '\0';
	*host = arg;
	*port = colon + 1;
	if (*arg == '[' && colon[-1] == ']') {
		colon[-1] = '\0';
		*host = arg + 1;
	} else if (strpbrk(arg, ":[]")) {
		return false;
	}
	return **host && **port;
}

static int parse_args(int argc, char **argv, struct job *j)
{
	struct relay_loop *l = &j->loop;
	char *host, *port;

	if (argc - optind != 2)
		return tool_usage("relay", "It takes PORT and HOST:PORT.");
	if (!split(argv[optind], &j->addr, &j->port))
		return tool_usage("relay", "Where to listen is PORT or ADDRESS:PORT.");
	if (!split(argv[optind + 1], &host, &port) || !host)
		return tool_usage("relay", "The target is HOST:PORT or [IPv6]:PORT.");
	if (l->r.peek && l->r.method == RELAY_SPLICE)
		return tool_usage("relay", "splice() shows no bytes: leave out one.");
	l->host = host;
	l->port = port;
	return tool_port(j->port) && tool_port(port) ? TOOL_OK : TOOL_USAGE;
}

static int parse(int argc, char **argv, struct job *j)
{
	enum { OPT_COPY = 256, OPT_SPLICE };
	static const struct option longs[] = {
		{ "peek", required_argument, NULL, 'p' },
		{ "copy", no_argument, NULL, OPT_COPY },
		{ "splice", no_argument, NULL, OPT_SPLICE },
		{ "connections", required_argument, NULL, 'c' },
		{ "json", no_argument, NULL, 'j' },
		{ "help", no_argument, NULL, 'h' },
		{ 0 }
	};
	struct relay *r = &j->loop.r;
	uint64_t peek;
	int c;

	while ((c = tool_getopt(argc, argv, "p:c:46jh", longs)) != -1) {
		switch (c) {
		case 'p':
			if (!tool_size("bytes to look at", optarg, 1, PEEK_MAX,
				       &peek))
				return TOOL_USAGE;
			r->peek = peek;
			break;
		case 'c':
			if (!tool_size("connections", optarg, 1, UINT32_MAX,
				       &j->loop.limit))
				return TOOL_USAGE;
			break;
		case OPT_COPY:
		case OPT_SPLICE:
			if (r->method != RELAY_PARCEL)
				return tool_usage("relay", "It is --copy or --splice.");
			r->method = c == OPT_COPY ? RELAY_COPY : RELAY_SPLICE;
			break;
		case '4':
		case '6':
			j->family = c == '4' ? AF_INET : AF_INET6;
			break;
		case 'j':
			tool_json = true;
			break;
		case 'h':
			fputs(help, stdout);
			return -1;
		default:
			return TOOL_USAGE;
		}
	}
	return parse_args(argc, argv, j);
}

/* As many files as we may have, and how many connections these are enough for. */
static void raise_files(struct relay_loop *l)
{
	const unsigned int each = l->r.method == RELAY_SPLICE ? 6 : 2;
	struct rlimit limit;

	l->max = 1;
	if (getrlimit(RLIMIT_NOFILE, &limit))
		return;
	limit.rlim_cur = limit.rlim_max;
	if (setrlimit(RLIMIT_NOFILE, &limit))
		getrlimit(RLIMIT_NOFILE, &limit);
	if (limit.rlim_cur > OTHER_FILES + each)
		l->max = (limit.rlim_cur - OTHER_FILES) / each;
}

static bool prepare_parcels(struct relay *r)
{
	/* Buffers it needs none, but a pool has one. */
	const size_t size = sysconf(_SC_PAGESIZE);
	struct fbuf_info info = { };

	if (r->method != RELAY_PARCEL)
		return true;
	fbuf_backend_set(0);
	if (tool_pool_create(&r->pool, size, 1))
		return false;
	/* Of this pool: there may be no room for another, of which to ask. */
	if (fbuf_pool_info(r->pool, &info) ||
	    !(info.features & FBUF_FEATURE_PARCELS)) {
		tool_err("The module knows no parcels: load a newer one, or use --copy.");
		return false;
	}
	if (fbuf_pool_backend(r->pool) == FBUF_BACKEND_USER)
		tool_err("The module fbuf cannot be had: the library takes its place, and copies.");
	r->gather = fbuf_gather_new(r->pool);
	r->head = malloc(r->peek ? r->peek : 1);
	if (r->gather && r->head)
		return true;
	tool_err("No memory.");
	return false;
}

static bool look_up(struct job *j)
{
	const struct addrinfo hints = {
		.ai_family = j->family,
		.ai_socktype = SOCK_STREAM,
	};
	struct relay_loop *l = &j->loop;
	int ret = getaddrinfo(l->host, l->port, &hints, &l->to);

	if (ret)
		tool_err("Cannot resolve %s port %s: %s.", l->host, l->port,
			 ret == EAI_SYSTEM ? strerror(errno) :
					     gai_strerror(ret));
	return !ret;
}

static bool prepare(struct job *j)
{
	const struct sigaction sa = { .sa_handler = stop };
	unsigned int port;
	int fd;

	raise_files(&j->loop);
	if (!look_up(j) || !prepare_parcels(&j->loop.r))
		return false;
	fd = tool_listen(j->family, j->addr, j->port, &port);
	if (fd < 0)
		return false;
	/* Many come at once; and who is gone before he is asked in must not stop us. */
	listen(fd, SOMAXCONN);
	fcntl(fd, F_SETFL, O_NONBLOCK);
	if (!relay_loop_init(&j->loop, fd))
		return false;
	sigaction(SIGINT, &sa, NULL);
	sigaction(SIGTERM, &sa, NULL);
	fprintf(stderr, "listening on port %u\n", port);
	return true;
}

static void report_json(const struct relay_loop *l, uint64_t copied,
			double seconds)
{
	const struct {
		const char *name;
		uint64_t value;
	} rows[] = {
		{ "connections", l->accepted },
		{ "refused", l->refused },
		{ "bytes_to_target", l->r.bytes[0] },
		{ "bytes_to_client", l->r.bytes[1] },
		{ "stretches", l->r.stretches },
		{ "fallbacks", l->r.fallbacks },
		{ "peeked", l->r.peeked },
		{ "lines", l->r.lines },
		{ "copied", copied },
	};
	json_t *o = json_object();
	const char *backend;
	size_t i;

	json_object_set_new(o, "method",
			    json_string(method_names[l->r.method]));
	if (l->r.pool) {
		backend = fbuf_backend_name(fbuf_pool_backend(l->r.pool));
		json_object_set_new(o, "backend", json_string(backend));
	}
	for (i = 0; i < sizeof(rows) / sizeof(*rows); i++)
		json_object_set_new(o, rows[i].name, tool_json_u64(rows[i].value));
	json_object_set_new(o, "seconds", json_real(seconds));
	tool_print_json(stdout, o);
}

static void report_text(const struct relay_loop *l, uint64_t copied,
			double seconds)
{
	char to[FMT_BYTES_MAX], back[FMT_BYTES_MAX], n[FMT_BYTES_MAX];

	printf("%llu connections in %.2f s, by %s; %llu found no target\n",
	       (unsigned long long)l->accepted, seconds,
	       method_names[l->r.method], (unsigned long long)l->refused);
	printf("%s to the target, %s to clients, in %llu stretches\n",
	       fmt_bytes(to, l->r.bytes[0]), fmt_bytes(back, l->r.bytes[1]),
	       (unsigned long long)l->r.stretches);
	if (l->r.peek)
		printf("looked at %s, with %llu ends of lines\n",
		       fmt_bytes(n, l->r.peeked),
		       (unsigned long long)l->r.lines);
	if (l->r.fallbacks)
		printf("no parcel could be had for %llu stretches\n",
		       (unsigned long long)l->r.fallbacks);
	if (l->r.method != RELAY_SPLICE)
		printf("copied %s\n", fmt_bytes(n, copied));
}

static void report(const struct relay_loop *l)
{
	double seconds = tool_now() - l->start;
	uint64_t copied = l->r.copied;
	struct fbuf_info info;

	if (l->r.pool && !fbuf_pool_info(l->r.pool, &info))
		copied += info.recv_copied + info.copied;
	if (tool_json)
		report_json(l, copied, seconds);
	else
		report_text(l, copied, seconds);
}

int cmd_relay(int argc, char **argv)
{
	struct job j = { .family = AF_UNSPEC };
	struct relay_loop *l = &j.loop;
	int ret = parse(argc, argv, &j);

	if (ret)
		return ret < 0 ? TOOL_OK : ret;
	ret = TOOL_FAIL;
	if (prepare(&j)) {
		relay_loop_run(l, &stopped);
		report(l);
		ret = TOOL_OK;
	}
	if (l->to)
		freeaddrinfo(l->to);
	fbuf_gather_destroy(l->r.gather);
	fbuf_pool_close(l->r.pool);
	free(l->r.head);
	return ret;
}
