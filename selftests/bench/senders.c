// SPDX-License-Identifier: GPL-2.0
/*
 * senders FILE SECONDS NUMBER...: how much so many processes send at once, all from
 * one pool, or each by write() from memory of its own; every one on a TCP connection
 * of its own over loopback, whose other end it empties itself. Writes JSON, and a
 * table to the terminal; fails if data arrives changed.
 *
 * A process takes a buffer, writes to each page of it, sends it and frees it, over and
 * over; with write() it writes to its memory as often.
 */
#include <fcntl.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "util.h"

#define MOST		16	/* senders */
#define SOCKBUF		(8 << 20)
#define VERIFIED	4	/* messages that are compared, of each */
#define WARM_UP		16
#define ROUNDS		3	/* the methods take turns */

struct sender {
	struct pool *pool;	/* or NULL: write() */
	__u8 *memory, *sink;
	size_t size;
	int sock[2], nr;
	__u64 name;
	__u8 *data;		/* of the message at hand */
};

/* What a sender tells its parent. */
struct told {
	atomic_ullong messages, ns;
	atomic_bool verified;
};

struct shared {
	atomic_uint ready;
	atomic_bool go, stop;
	struct told told[MOST];
};

static struct shared *shared;

/* What is in the buffer of the report is its parent's to write. */
static void die(const char *what, int err)
{
	fprintf(stderr, "senders: %s: %s\n", what, strerror(err < 0 ? -err : err));
	_exit(2);
}

static __u64 now(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return ts.tv_sec * 1000000000ULL + ts.tv_nsec;
}

static void take(struct sender *s)
{
	int n;

	s->data = s->memory;
	if (!s->pool)
		return;
	n = pool_alloc_wait(s->pool->fd, &s->name, 1, DEADLINE_MS);
	if (n != 1)
		die("ALLOC", n);
	s->data = buf_addr(s->pool, s->name);
}

static void leave(struct sender *s)
{
	if (s->pool && pool_free(s->pool->fd, &s->name, 1) != 1)
		die("FREE", EIO);
}

static ssize_t send_some(struct sender *s, size_t at)
{
	struct fbuf_seg seg;
	ssize_t n;

	if (s->pool) {
		seg = named_seg(s->name, at, s->size - at);
		return pool_send(s->pool->fd, s->sock[0], &seg, 1,
				 FBUF_SEND_DONTWAIT, 0, NULL);
	}
	n = write(s->sock[0], s->data + at, s->size - at);
	return n < 0 ? -errno : n;
}

/* Sends the message, and takes it from the other end, in turns. */
static void pass(struct sender *s, int flags)
{
	size_t sent = 0, got = 0;
	ssize_t n;

	while (got < s->size) {
		if (sent < s->size) {
			n = send_some(s, sent);
			if (n < 0 && n != -EAGAIN)
				die("send", n);
			sent += n > 0 ? n : 0;
		}
		n = recv(s->sock[1], s->sink + got, s->size - got,
			 MSG_DONTWAIT | flags);
		if (n < 0 && errno != EAGAIN)
			die("recv", errno);
		got += n > 0 ? n : 0;
	}
}

static bool verify(struct sender *s)
{
	unsigned int i, seed;
	bool same = true;

	for (i = 0; i < VERIFIED; i++) {
		seed = s->nr * VERIFIED + i;
		take(s);
		pattern_fill(s->data, seed, 0, s->size);
		pass(s, 0);
		leave(s);
		same &= pattern_differs(s->sink, seed, 0, s->size) == -1;
	}
	return same;
}

static void one(struct sender *s)
{
	size_t at;

	take(s);
	for (at = 0; at < s->size; at += 4096)
		s->data[at]++;
	pass(s, MSG_TRUNC);
	leave(s);
}

static void sender(struct sender *s)
{
	struct told *told = &shared->told[s->nr];
	__u64 start, messages = 0;
	int i;

	prctl(PR_SET_PDEATHSIG, SIGKILL);
	pin_to_cpu(s->nr % nr_cpus());
	told->verified = verify(s);
	for (i = 0; i < WARM_UP; i++)
		one(s);
	shared->ready++;
	while (!shared->go)
		relax();
	start = now();
	while (!shared->stop) {
		one(s);
		messages++;
	}
	told->ns = now() - start;
	told->messages = messages;
	_exit(0);
}

static void open_sockets(struct sender *s)
{
	int size = SOCKBUF, i;

	if (tcp_pair(AF_INET, s->sock))
		die("sockets", errno);
	for (i = 0; i < 2; i++) {
		setsockopt(s->sock[i], SOL_SOCKET, SO_SNDBUFFORCE, &size,
			   sizeof(size));
		setsockopt(s->sock[i], SOL_SOCKET, SO_RCVBUFFORCE, &size,
			   sizeof(size));
	}
	if (fcntl(s->sock[0], F_SETFL, O_NONBLOCK))
		die("O_NONBLOCK", errno);
}

static __u8 *memory(size_t size)
{
	__u8 *p = mmap(NULL, size, PROT_READ | PROT_WRITE,
		       MAP_PRIVATE | MAP_ANONYMOUS | MAP_POPULATE, -1, 0);

	if (p == MAP_FAILED)
		die("memory", errno);
	return p;
}

/* Memory of its own, rather than shared with the others until it is written to. */
static pid_t start(struct pool *pool, size_t size, int nr)
{
	struct sender s = { .pool = pool, .size = size, .nr = nr };
	pid_t pid = fork();

	if (pid < 0)
		die("fork", errno);
	if (!pid) {
		s.memory = memory(size);
		s.sink = memory(size);
		open_sockets(&s);
		sender(&s);
	}
	return pid;
}

/* One that ended has said why. */
static void wait_ready(unsigned int number)
{
	while (shared->ready < number) {
		if (waitpid(-1, NULL, WNOHANG))
			exit(2);
		relax();
	}
}

/* Of the pool, for each: what was sent stays in flight until TCP has its answer. */
static unsigned int buffers(size_t size)
{
	size_t n = SOCKBUF / size;

	return n > 64 ? 64 : n;
}

/* Messages in a second, of all together; 0 if data arrived changed. */
static double measure(bool ours, size_t size, unsigned int number, double seconds)
{
	struct timespec ts = { .tv_sec = seconds,
			       .tv_nsec = (seconds - (time_t)seconds) * 1e9 };
	struct pool pool;
	pid_t pids[MOST];
	double rate = 0;
	unsigned int i;
	int err;

	memset(shared, 0, sizeof(*shared));
	err = ours ? pool_make(&pool, size, buffers(size) * number) : 0;
	if (err)
		die("a pool", err);
	for (i = 0; i < number; i++)
		pids[i] = start(ours ? &pool : NULL, size, i);
	wait_ready(number);
	shared->go = true;
	nanosleep(&ts, NULL);
	shared->stop = true;
	for (i = 0; i < number; i++) {
		if (child_status(pids[i]))
			exit(2);
		rate += shared->told[i].messages * 1e9 / shared->told[i].ns;
	}
	for (i = 0; i < number; i++)
		rate = shared->told[i].verified ? rate : 0;
	if (ours)
		pool_unmake(&pool);
	return rate;
}

static int by_value(const void *a, const void *b)
{
	double x = *(const double *)a, y = *(const double *)b;

	return (x > y) - (x < y);
}

static bool row(FILE *out, bool ours, size_t size, unsigned int number,
		double *rates)
{
	static bool more;
	const char *method = ours ? "fbuf" : "write";
	double rate;

	qsort(rates, ROUNDS, sizeof(*rates), by_value);
	rate = rates[ROUNDS / 2];
	printf("%-6s %8zu bytes %3u senders: %9.0f messages/s %6.2f GB/s%s\n",
	       method, size, number, rate, rate * size / 1e9,
	       rates[0] ? "" : ": data arrived changed");
	fflush(stdout);
	fprintf(out, "%s{\"method\": \"%s\", \"size\": %zu, \"senders\": %u, ",
		more ? ",\n" : "", method, size, number);
	fprintf(out, "\"messages_per_s\": %.1f, \"min\": %.1f, \"max\": %.1f, ",
		rate, rates[0], rates[ROUNDS - 1]);
	fprintf(out, "\"verified\": %s}", rates[0] ? "true" : "false");
	more = true;
	return rates[0];
}

static bool compare(FILE *out, size_t size, unsigned int number, double seconds)
{
	double rates[2][ROUNDS];
	int round, ours;
	bool good;

	for (round = 0; round < ROUNDS; round++) {
		for (ours = 0; ours < 2; ours++)
			rates[ours][round] = measure(ours, size, number, seconds);
	}
	good = row(out, false, size, number, rates[0]);
	return row(out, true, size, number, rates[1]) && good;
}

int main(int argc, char **argv)
{
	double seconds = argc > 3 ? atof(argv[2]) : 0;
	unsigned int number;
	bool good = true;
	size_t size;
	FILE *out;
	int i;

	if (seconds <= 0) {
		fprintf(stderr, "usage: senders FILE SECONDS NUMBER...\n");
		return 2;
	}
	out = fopen(argv[1], "w");
	if (!out)
		die(argv[1], errno);
	shared = mmap(NULL, sizeof(*shared), PROT_READ | PROT_WRITE,
		      MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	if (shared == MAP_FAILED)
		die("memory", errno);
	fprintf(out, "[");
	for (size = 4096; size <= 1 << 20; size *= 16) {
		for (i = 3; i < argc; i++) {
			number = atoi(argv[i]);
			if (!number || number > MOST)
				die(argv[i], ERANGE);
			good &= compare(out, size, number, seconds);
		}
	}
	fprintf(out, "]\n");
	return fclose(out) || !good;
}
