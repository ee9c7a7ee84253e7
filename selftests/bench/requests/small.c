// SPDX-License-Identifier: GPL-2.0
/*
 * small FILE: what the calls cost that are none of its business, for whoever is put between
 * a program and its C library: malloc(64) with its free(), and write() of 100 bytes to
 * a socket and to a file. Instructions a call, the median of many. Writes JSON to FILE.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#define CALLS	2001
#define WARM	200
#define BLOCK	64
#define BYTES	100

static unsigned long long costs[CALLS];
static char bytes[BYTES];

static void die(const char *what)
{
	fprintf(stderr, "small: %s: %s\n", what, strerror(errno));
	exit(2);
}

static unsigned long long now(void)
{
#ifdef __x86_64__
	return __builtin_ia32_rdtsc();
#else
	return 0;
#endif
}

static int by_size(const void *a, const void *b)
{
	unsigned long long x = *(const unsigned long long *)a, y = *(const unsigned long long *)b;

	return (x > y) - (x < y);
}

static unsigned long long median(void)
{
	qsort(costs, CALLS, sizeof(*costs), by_size);
	return costs[CALLS / 2];
}

static unsigned long long cost_of_malloc(void)
{
	unsigned long long start;
	void *block;
	int i;

	for (i = -WARM; i < CALLS; i++) {
		start = now();
		block = malloc(BLOCK);
		/* Or the compiler leaves both out. */
		__asm__ volatile ("" : : "r" (block) : "memory");
		free(block);
		if (i >= 0)
			costs[i] = now() - start;
	}
	return median();
}

/* What was written is read again at once, from the other end if there is one. */
static unsigned long long cost_of_write(int fd, int other)
{
	unsigned long long start;
	char sink[BYTES];
	ssize_t n;
	int i;

	for (i = -WARM; i < CALLS; i++) {
		start = now();
		n = write(fd, bytes, BYTES);
		if (i >= 0)
			costs[i] = now() - start;
		if (n != BYTES)
			die("write");
		n = other < 0 ? pread(fd, sink, BYTES, 0) :
				recv(other, sink, BYTES, MSG_WAITALL);
		if (n != BYTES)
			die("read");
		if (memcmp(sink, bytes, BYTES)) {
			fprintf(stderr, "small: other bytes than were written\n");
			exit(1);
		}
		if (other < 0 && lseek(fd, 0, SEEK_SET))
			die("lseek");
		bytes[(i + WARM) % BYTES]++;
	}
	return median();
}

static void connect_both(int pair[2])
{
	struct sockaddr_in addr = { .sin_family = AF_INET,
				    .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
	socklen_t len = sizeof(addr);
	int server = socket(AF_INET, SOCK_STREAM, 0);

	if (bind(server, (struct sockaddr *)&addr, len) || listen(server, 1) ||
	    getsockname(server, (struct sockaddr *)&addr, &len))
		die("listen");
	pair[0] = socket(AF_INET, SOCK_STREAM, 0);
	if (connect(pair[0], (struct sockaddr *)&addr, len))
		die("connect");
	pair[1] = accept(server, NULL, NULL);
	if (pair[1] < 0)
		die("accept");
	close(server);
}

int main(int argc, char **argv)
{
	char name[] = "/tmp/small-XXXXXX";
	unsigned long long block, socket, here;
	int pair[2], file;
	FILE *out;

	if (argc != 2)
		die("usage: small FILE");
	connect_both(pair);
	file = mkstemp(name);
	if (file < 0)
		die(name);
	unlink(name);
	block = cost_of_malloc();
	socket = cost_of_write(pair[0], pair[1]);
	here = cost_of_write(file, -1);
	out = fopen(argv[1], "w");
	if (!out)
		die(argv[1]);
	fprintf(out, "{\"malloc\": %llu, \"socket\": %llu, \"file\": %llu}\n",
		block, socket, here);
	return fclose(out) ? 1 : 0;
}
