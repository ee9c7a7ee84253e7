// SPDX-License-Identifier: LGPL-2.1-or-later
/*
 * What a transfer costs by each way, of a file in memory to TCP over the loopback
 * interface, its reader included: nanoseconds, or instructions where the clock counts
 * those. Each figure is the least of some.
 */

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

#include "channel.h"
#include "test_transfers.h"

#define KIB		((size_t)1024)
#define MAX		(1024 * KIB)
#define ROUNDS		3U

struct way {
	const char *name;
	unsigned int closed;
};

static const struct way ways[] = {
	{ "direct", 0 },
	{ "pool", CHANNEL_DIRECT },
	{ "mapped", CHANNEL_DIRECT | CHANNEL_POOL },
	{ "buffer", CHANNEL_DIRECT | CHANNEL_POOL | CHANNEL_MAPPED },
};

static char buf[MAX];
static bool drops;

static long long now_ns(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return t.tv_sec * 1000000000LL + t.tv_nsec;
}

/* Send len bytes, and have them read: in one thread, as much as fits at a time. */
static bool once(struct fbuf_heap *heap, int file, const int fd[2], size_t len)
{
	size_t sent = 0, got = 0;
	ssize_t n;

	while (got < len) {
		n = fbuf_transfer_to(heap, file, sent, len - sent, fd[0]);
		if (n < 0)
			return false;
		sent += n;
		while (got < sent) {
			n = recv(fd[1], buf, sizeof(buf), drops ? MSG_TRUNC : 0);
			if (n <= 0)
				break;
			got += n;
		}
	}
	return true;
}

static void measure(struct fbuf_heap *heap, int file, const int fd[2],
		    const struct way *way, size_t len)
{
	unsigned int i, j, times = len < 64 * KIB ? 64 : 8;
	long long start, ns, least = 0;

	channel_closed = way->closed;
	for (i = 0; i < ROUNDS; i++) {
		start = now_ns();
		for (j = 0; j < times; j++) {
			if (!once(heap, file, fd, len)) {
				printf("%s: it failed\n", way->name);
				return;
			}
		}
		ns = (now_ns() - start) / times;
		if (!least || ns < least)
			least = ns;
	}
	printf("%-8s %5zu KiB %9lld\n", way->name, len / KIB, least);
}

int main(int argc, char **argv)
{
	static const size_t sizes[] = {
		4 * KIB, 16 * KIB, 64 * KIB, 256 * KIB, MAX,
	};
	struct fbuf_pool *pool = NULL;
	struct fbuf_heap *heap = NULL;
	int file = memfd_create("file", 0), fd[2];
	unsigned int i, w;

	drops = argc > 1 && !strcmp(argv[1], "drop");
	if (!fbuf_pool_create(&pool, 64 * KIB, 128) &&
	    fbuf_heap_create(&heap, pool, 0))
		return 1;
	memset(buf, 'x', sizeof(buf));
	if (write(file, buf, MAX) != (ssize_t)MAX || transfers_tcp(fd))
		return 1;
	fcntl(fd[0], F_SETFL, O_NONBLOCK);
	fcntl(fd[1], F_SETFL, O_NONBLOCK);
	printf("# %s, the reader %s\n", heap ? "with a heap" : "no pool",
	       drops ? "drops" : "reads");
	for (i = 0; i < sizeof(sizes) / sizeof(*sizes); i++)
		for (w = 0; w < sizeof(ways) / sizeof(*ways); w++)
			measure(heap, file, fd, &ways[w], sizes[i]);
	fbuf_heap_destroy(heap);
	fbuf_pool_close(pool);
	return 0;
}
