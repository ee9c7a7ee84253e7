// SPDX-License-Identifier: GPL-2.0
/*
 * scale [--hold RATIO] FILE NUMBER...: what calls cost with so many buffers in
 * flight to peers that do not read, in instructions; and what pools of that size,
 * handles and sockets cost. Writes JSON, and a table to the terminal. With --hold,
 * it fails if a call costs that many times as much with the most as with the least.
 *
 * It runs in a VM whose clock counts instructions. No call may sleep.
 */
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/ioctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/utsname.h>
#include <time.h>
#include <unistd.h>

#include "nl.h"
#include "util.h"

#define SIZE		((int)PAGE)
#define SOCKETS		16
#define SOCKBUF		(1 << 30)
#define BATCH		1000U	/* buffers to send at a time */
#define WARM_UP		2048	/* calls: as many as what was sent may have paid for */
#define CALLS		1001
#define TURNS		100000000UL	/* of a loop of two instructions */
#define SHARES		10000U
#define LARGE		1000000U

struct costs {
	unsigned int number;
	double create, close, dump, memory;	/* a buffer */
	double alloc, poll, info, watch;	/* a call */
};

static const struct {
	const char *name;
	size_t at;
	const char *what;
	bool held;
} columns[] = {
	{ "ALLOC", offsetof(struct costs, alloc), "call", true },
	{ "poll", offsetof(struct costs, poll), "call", true },
	{ "INFO", offsetof(struct costs, info), "call", true },
	{ "watch", offsetof(struct costs, watch), "look", true },
	{ "create", offsetof(struct costs, create), "buffer", false },
	{ "close", offsetof(struct costs, close), "buffer", false },
	{ "dump", offsetof(struct costs, dump), "buffer", false },
	{ "memory", offsetof(struct costs, memory), "buffer", false },
};

#define ARRAY_SIZE(array)	(sizeof(array) / sizeof((array)[0]))
#define NR_COLUMNS	ARRAY_SIZE(columns)

static double column(const struct costs *c, size_t i)
{
	double value;

	memcpy(&value, (const char *)c + columns[i].at, sizeof(value));
	return value;
}

static struct nl nl;

static void die(const char *what, int err)
{
	fprintf(stderr, "scale: %s: %s\n", what, strerror(err < 0 ? -err : err));
	exit(2);
}

static __u64 now(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return ts.tv_sec * 1000000000ULL + ts.tv_nsec;
}

static __u64 spin(unsigned long turns)
{
	__u64 start = now();

#ifdef __aarch64__
	__asm__ volatile ("1: subs %0, %0, #1; b.ne 1b" : "+r" (turns) : : "cc");
#else
	__asm__ volatile ("1: dec %0; jnz 1b" : "+r" (turns) : : "cc");
#endif
	return now() - start;
}

static void see_clock(void)
{
	double each = (spin(2 * WARM_UP * 100) - spin(WARM_UP * 100)) /
		      (WARM_UP * 100.0);

	if (each > 1.9 && each < 2.1)
		return;
	fprintf(stderr, "scale: the clock counts no instructions: try \"make scale\"\n");
	exit(2);
}

/* Bytes that large arrays take. */
static __u64 memory_used(void)
{
	unsigned long kib = 0;
	char line[128];
	FILE *f = fopen("/proc/meminfo", "r");

	if (!f)
		die("/proc/meminfo", errno);
	while (fgets(line, sizeof(line), f)) {
		if (sscanf(line, "VmallocUsed: %lu kB", &kib) == 1)
			break;
	}
	fclose(f);
	return (__u64)kib << 10;
}

static void measure_pool(struct costs *c)
{
	__u64 before = memory_used(), start = now(), id;
	int fd = pool_create(SIZE, c->number), i;
	struct fbuf_info info;
	struct nl_row row;

	if (fd < 0)
		die("a pool", fd);
	c->create = (double)(now() - start) / c->number;
	/* Of few, other things take more than they do. */
	if (c->number >= LARGE)
		c->memory = ((double)memory_used() - before) / c->number;
	pool_info(fd, &info);
	id = info.id;
	for (i = 0; i < 2; i++) {
		start = now();
		if (nl_pool(&nl, id, &row))
			die("netlink", EIO);
		c->dump = (double)(now() - start) / c->number;
	}
	start = now();
	close(fd);
	c->close = (double)(now() - start) / c->number;
}

/* So many sockets, and so many buffers in flight to peers that do not read. */
struct flight {
	int fd;
	unsigned int sockets;
	int (*pair)[2];
};

static void flight_send(struct flight *f, unsigned int number)
{
	struct fbuf_seg segs[BATCH];
	unsigned int most = number / f->sockets + 1, turn = 0, i, n, at;
	__u64 names[BATCH];

	if (most > BATCH)
		most = BATCH;
	for (; number; number -= n) {
		n = number < most ? number : most;
		if (pool_alloc(f->fd, names, n) != (int)n)
			die("ALLOC", ENOBUFS);
		for (i = 0; i < n; i++)
			segs[i] = named_seg(names[i], 0, SIZE);
		at = turn++ % f->sockets;
		if (pool_send(f->fd, f->pair[at][0], segs, n,
			      FBUF_SEND_DONTWAIT, 0, NULL) != (int)n * SIZE)
			die("SEND", EAGAIN);
		if (pool_free(f->fd, names, n) != (int)n)
			die("FREE", EIO);
	}
}

static void flight_start(struct flight *f, unsigned int number,
			 unsigned int sockets)
{
	int size = SOCKBUF;
	unsigned int i;

	f->fd = pool_create(SIZE, number);
	if (f->fd < 0)
		die("a pool", f->fd);
	f->sockets = sockets;
	f->pair = calloc(sockets, sizeof(*f->pair));
	if (!f->pair)
		die("memory", ENOMEM);
	for (i = 0; i < sockets; i++) {
		if (tcp_pair(AF_INET, f->pair[i]))
			die("sockets", errno);
		if (setsockopt(f->pair[i][0], SOL_SOCKET, SO_SNDBUFFORCE, &size,
			       sizeof(size)))
			die("SO_SNDBUFFORCE", errno);
	}
	flight_send(f, number);
}

static void flight_end(struct flight *f)
{
	const struct linger reset = { .l_onoff = 1 };
	unsigned int i;

	for (i = 0; i < f->sockets; i++) {
		setsockopt(f->pair[i][0], SOL_SOCKET, SO_LINGER, &reset,
			   sizeof(reset));
		close(f->pair[i][0]);
		close(f->pair[i][1]);
	}
	free(f->pair);
	close(f->fd);
}

static void call_alloc(int fd)
{
	__u64 name;

	if (pool_alloc(fd, &name, 1) != -EAGAIN)
		die("ALLOC found a buffer that is in flight", EIO);
}

static void call_poll(int fd)
{
	struct pollfd p = { .fd = fd, .events = POLLOUT };

	if (poll(&p, 1, 0))
		die("poll() found a buffer that is in flight", EIO);
}

static void call_info(int fd)
{
	struct fbuf_info info;

	if (pool_info(fd, &info) || info.nr_in_flight != info.nr_bufs)
		die("INFO does not see what is in flight", EIO);
}

/* The mean of many: what one call leaves to the next is counted. */
static double measure_call(int fd, void (*call)(int fd))
{
	__u64 start;
	int i;

	for (i = 0; i < WARM_UP; i++)
		call(fd);
	start = now();
	for (i = 0; i < CALLS; i++)
		call(fd);
	return (double)(now() - start) / CALLS;
}

static __u64 looks(int fd)
{
	struct nl_row row;
	struct nl_arg arg = { .type = FBUF_A_STATS_POOL_ID, .len = 8 };
	struct fbuf_info info;

	pool_info(fd, &info);
	arg.val = info.id;
	if (nl_do(&nl, FBUF_CMD_STATS_GET, &arg, 1, &row))
		die("statistics", EIO);
	return row.val[FBUF_A_STATS_WAITS];
}

/* By how much it slows a program that does something else. */
static double measure_watch(int fd)
{
	struct epoll_event e = { .events = EPOLLOUT };
	__u64 idle = spin(TURNS), before, busy;
	int epoll = epoll_create1(0);

	if (epoll < 0 || epoll_ctl(epoll, EPOLL_CTL_ADD, fd, &e))
		die("epoll", errno);
	before = looks(fd);
	busy = spin(TURNS);
	before = looks(fd) - before;
	close(epoll);
	if (before < 10)
		die("the watch does not look", EIO);
	return ((double)busy - idle) / before;
}

static void measure_calls(struct costs *c, unsigned int number,
			  unsigned int sockets)
{
	struct flight f;

	flight_start(&f, number, sockets);
	c->alloc = measure_call(f.fd, call_alloc);
	c->poll = measure_call(f.fd, call_poll);
	c->info = measure_call(f.fd, call_info);
	c->watch = measure_watch(f.fd);
	flight_end(&f);
}

/* A handle each, of so many on one pool. */
static void measure_handles(FILE *out, unsigned int number)
{
	int fd = pool_create(SIZE, 64), *fds = calloc(number, sizeof(*fds));
	__u64 start = now(), share, closing;
	unsigned int i;

	if (fd < 0 || !fds)
		die("a pool", fd);
	for (i = 0; i < number; i++) {
		fds[i] = pool_share(fd, ALL_RIGHTS, 0, NULL);
		if (fds[i] < 0)
			die("SHARE", fds[i]);
	}
	share = now() - start;
	start = now();
	for (i = 0; i < number; i++)
		close(fds[i]);
	closing = now() - start;
	close(fd);
	free(fds);
	printf("%8u handles on a pool: SHARE %.0f, close %.0f instructions each\n",
	       number, (double)share / number, (double)closing / number);
	fprintf(out, "{\"handles\": %u, \"share\": %.1f, \"close\": %.1f}",
		number, (double)share / number, (double)closing / number);
}

static void measure_sockets(FILE *out, unsigned int sockets)
{
	struct costs c = {};

	measure_calls(&c, 10000, sockets);
	printf("%8u sockets, 10000 in flight: ALLOC %.0f, poll %.0f, INFO %.0f, watch %.0f\n",
	       sockets, c.alloc, c.poll, c.info, c.watch);
	fprintf(out, "{\"sockets\": %u, \"alloc\": %.1f, \"poll\": %.1f, ",
		sockets, c.alloc, c.poll);
	fprintf(out, "\"info\": %.1f, \"watch\": %.1f}", c.info, c.watch);
}

static void print_costs(FILE *out, const struct costs *c, bool first)
{
	size_t i;

	printf("%9u", c->number);
	fprintf(out, "%s{\"number\": %u", first ? "" : ",\n", c->number);
	for (i = 0; i < NR_COLUMNS; i++) {
		printf(" %8.0f", column(c, i));
		fprintf(out, ", \"%s\": %.1f", columns[i].name, column(c, i));
	}
	printf("\n");
	fflush(stdout);
	fprintf(out, "}");
}

/* How many columns cost too much at the most, of what they do at the least. */
static int hold(const struct costs *c, int nr, double ratio)
{
	int failed = 0;
	size_t i;

	for (i = 0; ratio && i < NR_COLUMNS; i++) {
		double of = column(&c[nr - 1], i) / column(&c[0], i);

		if (!columns[i].held)
			continue;
		printf("%s %s: %.2f times\n", of > ratio ? "not ok" : "ok",
		       columns[i].name, of);
		failed += of > ratio;
	}
	return failed;
}

int main(int argc, char **argv)
{
	struct rlimit files = { 65536, 65536 };
	struct costs costs[8] = {};
	double ratio = 0;
	int i, nr, failed;
	size_t col;
	FILE *out;

	if (argc > 2 && !strcmp(argv[1], "--hold")) {
		ratio = atof(argv[2]);
		argv += 2;
		argc -= 2;
	}
	nr = argc - 2;
	if (nr < 1 || nr > 8) {
		fprintf(stderr, "usage: scale [--hold RATIO] FILE NUMBER...\n");
		return 2;
	}
	see_clock();
	out = fopen(argv[1], "w");
	if (!out || nl_open(&nl) || setrlimit(RLIMIT_NOFILE, &files))
		die(argv[1], errno);
	if (file_put("/proc/sys/net/ipv4/tcp_mem", "8000000 8000000 8000000"))
		die("tcp_mem", EACCES);
	printf("   number");
	for (col = 0; col < NR_COLUMNS; col++)
		printf(" %8s", columns[col].name);
	printf("\n         ");
	for (col = 0; col < NR_COLUMNS; col++)
		printf(" %8s", columns[col].what);
	printf("\n");
	fprintf(out, "{\"flight\": [\n");
	for (i = 0; i < nr; i++) {
		costs[i].number = atoi(argv[i + 2]);
		measure_pool(&costs[i]);
		measure_calls(&costs[i], costs[i].number, SOCKETS);
		print_costs(out, &costs[i], !i);
	}
	fprintf(out, "],\n\"handles\": [\n");
	if (!ratio) {
		measure_handles(out, 100);
		fprintf(out, ",\n");
		measure_handles(out, SHARES);
	}
	fprintf(out, "],\n\"sockets\": [\n");
	if (!ratio) {
		measure_sockets(out, SOCKETS);
		fprintf(out, ",\n");
		measure_sockets(out, 64 * SOCKETS);
	}
	fprintf(out, "]}\n");
	failed = hold(costs, nr, ratio);
	if (fclose(out))
		die(argv[1], errno);
	return failed ? 1 : 0;
}
