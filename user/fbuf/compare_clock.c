// SPDX-License-Identifier: GPL-2.0
/* fbuf compare and bench: the time, and what it costs to ask for it. */
#include <stdint.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include "compare.h"

#define CALIBRATE_NS	100000000ULL
#define SYSCALLS	101

static double tsc_ns;		/* nanoseconds a tick, or 0: ask the kernel */

static uint64_t kernel_ns(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return ts.tv_sec * 1000000000ULL + ts.tv_nsec;
}

#ifdef __x86_64__
#include <cpuid.h>
#include <x86intrin.h>

/* A counter is only a clock if its rate does not change. */
static bool invariant(void)
{
	unsigned int a, b, c, d;

	return __get_cpuid(0x80000007, &a, &b, &c, &d) && (d & (1 << 8));
}

static uint64_t ticks(void)
{
	unsigned int cpu;

	return __rdtscp(&cpu);
}
#else
static bool invariant(void)
{
	return false;
}

static uint64_t ticks(void)
{
	return 0;
}
#endif

bool clock_tsc(void)
{
	uint64_t start, end, first, last;

	if (!invariant())
		return false;
	start = kernel_ns();
	first = ticks();
	do {
		end = kernel_ns();
		last = ticks();
	} while (end - start < CALIBRATE_NS);
	tsc_ns = (double)(end - start) / (last - first);
	return true;
}

uint64_t now_ns(void)
{
	return tsc_ns ? (uint64_t)(ticks() * tsc_ns) : kernel_ns();
}

double clock_syscall(void)
{
	double ns[SYSCALLS];
	uint64_t t;
	int i;

	for (i = 0; i < SYSCALLS; i++) {
		t = now_ns();
		syscall(SYS_getppid);
		ns[i] = now_ns() - t;
	}
	return median(ns, SYSCALLS);
}
