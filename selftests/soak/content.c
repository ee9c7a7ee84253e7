// SPDX-License-Identifier: GPL-2.0
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "soak.h"

#define PERIOD		1048573U	/* a prime */
#define WINDOW		(PERIOD + MSG_MAX)

static __u8 *window;

static __u64 mix(__u64 x)
{
	x += 0x9e3779b97f4a7c15ULL;
	x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9ULL;
	x = (x ^ (x >> 27)) * 0x94d049bb133111ebULL;
	return x ^ (x >> 31);
}

static __u64 state;

void rnd_seed(__u64 seed, __u64 a, __u64 b)
{
	state = mix(mix(seed + a) + b);
}

__u64 rnd(void)
{
	state += 0x9e3779b97f4a7c15ULL;
	return mix(state);
}

unsigned int between(unsigned int from, unsigned int to)
{
	return from + rnd() % (to - from + 1);
}

void nap_us(unsigned int us)
{
	usleep(us);
}

void content_make(__u64 seed)
{
	size_t i;

	window = mmap(NULL, WINDOW + 8, PROT_READ | PROT_WRITE,
		      MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	if (window == MAP_FAILED)
		fail("no memory for a lane's content");
	for (i = 0; i < PERIOD; i += 8) {
		__u64 word = mix(seed + i);

		memcpy(window + i, &word, 8);
	}
	for (i = PERIOD; i < WINDOW; i += PERIOD)
		memcpy(window + i, window, i + PERIOD > WINDOW ?
		       WINDOW - i : PERIOD);
}

off_t content_offset(__u64 pos)
{
	return pos % PERIOD;
}

const __u8 *content_at(__u64 pos)
{
	return window + content_offset(pos);
}

int content_file(void)
{
	int fd = memfd_create("content", MFD_CLOEXEC);

	if (fd < 0 || write(fd, window, WINDOW) != WINDOW)
		return -1;
	return fd;
}

long content_find(const __u8 *bytes, size_t len)
{
	const __u8 *found = memmem(window, PERIOD + len, bytes, len);

	return found ? found - window : -1;
}
