// SPDX-License-Identifier: LGPL-2.1-or-later
/*
 * What a page fault, or a flush of other CPUs' TLBs, costs depends on the machine:
 * next to nothing, or, in User Mode Linux, many times a copy. So it is timed, once
 * for each process that makes a pool: the pool's pages put into a pipe, and written
 * to after, against the same bytes written to the pipe.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stdint.h>
#include <time.h>
#include <unistd.h>

#include "next.h"
#include "price.h"

#define ROUNDS		3
#define PAGE		4096U

static uint64_t now(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return ts.tv_sec * 1000000000ULL + ts.tv_nsec;
}

static void touch(void *p)
{
	volatile char *c = p;
	size_t i;

	for (i = 0; i < PRICE_BYTES; i += PAGE)
		c[i] = 0;
}

/* All that is in the pipe is let go of: was it so much? */
static bool drain(int pipe)
{
	char bytes[PAGE];
	size_t got = 0;
	ssize_t ret;

	while ((ret = read(pipe, bytes, sizeof(bytes))) > 0)
		got += ret;
	return got == PRICE_BYTES;
}

/* Of putting the pages into the pipe; nanoseconds, or 0: it cannot be done. */
static uint64_t time_of_splice(int pool, size_t at, const int fds[2])
{
	loff_t from = at;
	uint64_t start = now(), took;
	ssize_t ret;

	/* One call gives what is in one buffer. */
	do {
		ret = splice(pool, &from, fds[1], NULL, at + PRICE_BYTES - from,
			     SPLICE_F_NONBLOCK);
	} while (ret > 0 && from < (loff_t)(at + PRICE_BYTES));
	took = now() - start;
	return drain(fds[0]) ? took : 0;
}

/* What a splice takes the longer for having to protect, and the faults after. */
static uint64_t time_of_protection(void *p, int pool, size_t at,
				   const int fds[2])
{
	uint64_t first = time_of_splice(pool, at, fds);
	uint64_t again = time_of_splice(pool, at, fds), start;

	if (!first || !again)
		return 0;
	start = now();
	touch(p);
	return now() - start + (first > again ? first - again : 0);
}

static uint64_t time_of_copy(const void *p, const int fds[2])
{
	uint64_t start = now(), took;
	ssize_t ret;

	ret = next.write(fds[1], p, PRICE_BYTES);
	took = now() - start;
	if (ret != PRICE_BYTES)
		took = 0;
	return drain(fds[0]) ? took : 0;
}

static size_t price(void *p, int pool, size_t at, const int fds[2])
{
	uint64_t protection = UINT64_MAX, copy = UINT64_MAX, took;
	int i;

	touch(p);
	for (i = 0; i < ROUNDS; i++) {
		took = time_of_protection(p, pool, at, fds);
		if (took < protection)
			protection = took;
		took = time_of_copy(p, fds);
		if (took < copy)
			copy = took;
	}
	return protection && copy ? protection * PRICE_BYTES / copy : 0;
}

size_t price_of_protection(void *p, int pool, size_t at)
{
	int fds[2], saved = errno;
	size_t ret;

	if (pipe2(fds, O_CLOEXEC | O_NONBLOCK))
		return 0;
	ret = price(p, pool, at, fds);
	next.close(fds[0]);
	next.close(fds[1]);
	errno = saved;
	return ret;
}
