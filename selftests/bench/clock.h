/* SPDX-License-Identifier: GPL-2.0 */
/* The clock of what measures requests: of instructions, or of nanoseconds. */
#ifndef CLOCK_H
#define CLOCK_H

#include <stdbool.h>
#include <time.h>

/* The processor's counter has no system call in it where the clock has. */
static inline double clock_now(bool instructions)
{
	struct timespec ts;

#ifdef __x86_64__
	if (instructions)
		return __builtin_ia32_rdtsc();
#endif
	clock_gettime(CLOCK_MONOTONIC, &ts);
	return ts.tv_sec * 1e9 + ts.tv_nsec;
}

/* A loop of two instructions a turn: the least of a few, as an interrupt may come. */
static inline bool clock_counts_instructions(void)
{
	const unsigned int turns = 100000;
	double start, took, least = 1e18;
	unsigned int i, n;

	for (i = 0; i < 9; i++) {
		start = clock_now(true);
		for (n = turns; n; n--)
			__asm__ volatile ("");
		took = clock_now(true) - start;
		if (took < least)
			least = took;
	}
	return least >= 1.99 * turns && least <= 2.01 * turns + 100;
}

#endif /* CLOCK_H */
