// SPDX-License-Identifier: GPL-2.0
/*
 * load [OPTION...] http|relay PORT SIZE CONNECTIONS: what an answer of a server costs,
 * or what a message costs for each subscriber: all that the machine does meanwhile,
 * and what the server's threads do of it. And how long small ones take while large
 * ones go out. Writes JSON.
 *
 *	--server PID	its threads' own time is told too, as far as the kernel counts it
 *	--clock CLOCK	instructions, or nanoseconds
 *	--drop		answers are received and not read, but for those that are compared
 *	--fill DIR	only leave the objects there: load --fill DIR SIZE
 *	--warm N, --windows N, --requests N, --samples N
 *
 * Before, between and after the windows answers are compared byte for byte, on the
 * same connections. It fails if one is wrong.
 */
#include <arpa/inet.h>
#include <dirent.h>
#include <errno.h>
#include <getopt.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

#include "load.h"
#include "../clock.h"

#define TRIES		600	/* to connect, a tenth of a second apart */
#define WINDOWS_MAX	1000
#define EVENTS		512

struct load_options options = { .warm = 256, .windows = 9, .requests = 16, .samples = 200 };
unsigned int nr_samples;

static int poller;
static unsigned int compared, wrong;
static double windows[WINDOWS_MAX], servers[WINDOWS_MAX], samples[SAMPLES_MAX];

void die(const char *what)
{
	fprintf(stderr, "load: %s: %s\n", what, strerror(errno));
	exit(2);
}

void complain(const char *what)
{
	fprintf(stderr, "load: %s\n", what);
	exit(2);
}

double now(void)
{
	return clock_now(options.instructions);
}

struct conn *conn_new(bool small)
{
	struct sockaddr_in addr = { .sin_family = AF_INET, .sin_port = htons(options.port),
				    .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
	struct epoll_event event = { .events = EPOLLIN };
	struct timespec pause = { .tv_nsec = 100000000 };
	struct conn *conn = calloc(1, sizeof(*conn));
	int i, one = 1;

	if (!conn)
		die("calloc");
	conn->small = small;
	for (i = 0; i < TRIES; i++) {
		conn->fd = socket(AF_INET, SOCK_STREAM, 0);
		if (conn->fd < 0)
			die("socket");
		if (!connect(conn->fd, (struct sockaddr *)&addr, sizeof(addr)))
			break;
		close(conn->fd);
		nanosleep(&pause, NULL);
	}
	if (i == TRIES)
		die("connect");
	setsockopt(conn->fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
	event.data.ptr = conn;
	if (epoll_ctl(poller, EPOLL_CTL_ADD, conn->fd, &event))
		die("epoll_ctl");
	return conn;
}

void put_out(const struct conn *conn, const void *data, size_t len)
{
	const char *from = data;
	ssize_t n;

	for (; len; from += n, len -= n) {
		n = send(conn->fd, from, len, MSG_NOSIGNAL);
		if (n < 0)
			die("send");
	}
}

size_t take_in(const struct conn *conn, void *to, size_t len)
{
	int flags = MSG_DONTWAIT;
	ssize_t n;

	/* The head is read, or nobody would know where the answer ends. */
	if (options.drop && !conn->checking && conn->all)
		flags |= MSG_TRUNC;
	n = recv(conn->fd, to, len, flags);
	if (!n)
		complain("the server closed a connection");
	if (n < 0 && errno != EAGAIN)
		die("recv");
	return n < 0 ? 0 : n;
}

void listen_once(void (*hear)(struct conn *conn))
{
	static struct epoll_event events[EVENTS];
	int i, n = epoll_wait(poller, events, EVENTS, 60000);

	if (n <= 0)
		complain("no answer for a minute");
	for (i = 0; i < n; i++)
		hear(events[i].data.ptr);
}

void judge(bool right)
{
	compared++;
	wrong += !right;
}

void sample(double took)
{
	if (nr_samples < SAMPLES_MAX)
		samples[nr_samples++] = took;
}

/* What the server's threads had of the processor, in nanoseconds. */
static double server_time(void)
{
	unsigned long long one;
	struct dirent *entry;
	double sum = 0;
	char path[300];
	FILE *file;
	DIR *dir;

	if (!options.server)
		return 0;
	snprintf(path, sizeof(path), "/proc/%d/task", options.server);
	dir = opendir(path);
	if (!dir)
		die(path);
	while ((entry = readdir(dir))) {
		snprintf(path, sizeof(path), "/proc/%d/task/%s/schedstat", options.server,
			 entry->d_name);
		file = *entry->d_name == '.' ? NULL : fopen(path, "r");
		if (!file)
			continue;
		if (fscanf(file, "%llu", &one) == 1)
			sum += one;
		fclose(file);
	}
	closedir(dir);
	return sum;
}

static int by_size(const void *a, const void *b)
{
	double x = *(const double *)a, y = *(const double *)b;

	return (x > y) - (x < y);
}

static double median(double *values, unsigned int nr)
{
	qsort(values, nr, sizeof(*values), by_size);
	return nr ? values[nr / 2] : 0;
}

static void measure(const struct work *work)
{
	double start, before, least, all, sum = 0;
	unsigned int i, all_at_once = work->each ? options.connections : 1;
	unsigned int each = options.requests * (work->each ?: options.connections);

	work->start();
	work->some(options.warm, true);
	work->some(all_at_once + options.requests, false);
	for (i = 0; i < options.windows; i++) {
		before = server_time();
		start = now();
		work->some(options.requests, false);
		windows[i] = (now() - start) / each;
		servers[i] = (server_time() - before) / each;
		sum += windows[i];
		/* The next window begins as this one did. */
		work->some(options.requests / 4 + 1, true);
		work->some(all_at_once, false);
	}
	if (options.samples)
		work->small(options.samples);
	work->some(options.requests, true);
	all = median(windows, options.windows);
	least = windows[0];
	printf("{\"mean\": %.0f, \"windows\": [", sum / options.windows);
	for (i = 0; i < options.windows; i++)
		printf("%s%.0f", i ? ", " : "", windows[i]);
	printf("], \"median\": %.0f, \"least\": %.0f, \"server\": %.0f, ", all, least,
	       median(servers, options.windows));
	if (nr_samples) {
		median(samples, nr_samples);
		printf("\"samples\": %u, \"p50_small_ns\": %.0f, \"p99_small_ns\": %.0f, ",
		       nr_samples, samples[nr_samples / 2], samples[nr_samples * 99 / 100]);
	}
	printf("\"compared\": %u, \"wrong\": %u}\n", compared, wrong);
}

static unsigned int *number_of(int option)
{
	switch (option) {
	case 'w':
		return &options.warm;
	case 'n':
		return &options.windows;
	case 'r':
		return &options.requests;
	case 's':
		return &options.samples;
	default:
		return NULL;
	}
}

static const struct work *parse(int argc, char **argv)
{
	static const struct option longs[] = {
		{ "server", required_argument, NULL, 'p' },
		{ "clock", required_argument, NULL, 'c' },
		{ "drop", no_argument, NULL, 'd' },
		{ "fill", required_argument, NULL, 'f' },
		{ "warm", required_argument, NULL, 'w' },
		{ "windows", required_argument, NULL, 'n' },
		{ "requests", required_argument, NULL, 'r' },
		{ "samples", required_argument, NULL, 's' },
		{ }
	};
	int option;

	while ((option = getopt_long(argc, argv, "", longs, NULL)) != -1) {
		unsigned int *number = number_of(option);

		if (number)
			*number = strtoul(optarg, NULL, 10);
		else if (option == 'p')
			options.server = atoi(optarg);
		else if (option == 'c')
			options.instructions = !strcmp(optarg, "instructions");
		else if (option == 'd')
			options.drop = true;
		else if (option == 'f')
			options.fill = optarg;
		else
			exit(2);
	}
	if (options.fill && argc - optind == 1) {
		options.size = strtoul(argv[optind], NULL, 10);
		return NULL;
	}
	if (argc - optind != 4)
		complain("usage: load [OPTION...] http|relay PORT SIZE CONNECTIONS");
	options.port = atoi(argv[optind + 1]);
	options.size = strtoul(argv[optind + 2], NULL, 10);
	options.connections = atoi(argv[optind + 3]);
	if (options.size < CONTENT_MIN || !options.connections || !options.requests ||
	    !options.windows || options.windows > WINDOWS_MAX)
		complain("a number that will not do");
	return strcmp(argv[optind], "http") ? &relay_work : &http_work;
}

int main(int argc, char **argv)
{
	const struct work *work = parse(argc, argv);
	struct rlimit limit;

	if (!work) {
		http_fill(options.fill);
		return 0;
	}
	if (options.instructions && !clock_counts_instructions())
		complain("the clock counts no instructions: that of QEMU with -icount does");
	getrlimit(RLIMIT_NOFILE, &limit);
	limit.rlim_cur = limit.rlim_max;
	setrlimit(RLIMIT_NOFILE, &limit);
	poller = epoll_create1(0);
	measure(work);
	return wrong ? 1 : 0;
}
