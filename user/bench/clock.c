// SPDX-License-Identifier: GPL-2.0
/* fbuf compare and bench: the time, and what it costs to ask for it. */
#include <stdint.h>
#include <string.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include "compare.h"

#define CALIBRATE_NS	100000000ULL
#define SYSCALLS	101
#define TURNS		10000	/* of a loop with a known number of instructions */
#define TRIES		9

static double tsc_ns;		/* nanoseconds a tick, or 0: ask the kernel */

static enum { NANOSECONDS, TSC, INSTRUCTIONS } chosen;

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

#define CHEAP	2	/* instructions a turn */

static void cheap(unsigned long turns)
{
	__asm__ volatile ("1: dec %0; jnz 1b" : "+r" (turns) : : "cc");
}

#define DEAR	5

static void dear(unsigned long turns)
{
	__asm__ volatile ("1: mov %0, %%rax; xor %%edx, %%edx; div %1; dec %0; jnz 1b"
			  : "+r" (turns) : "r" (3UL) : "rax", "rdx", "cc");
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

#ifdef __aarch64__
#define CHEAP	2

static void cheap(unsigned long turns)
{
	__asm__ volatile ("1: subs %0, %0, #1; b.ne 1b"
			  : "+r" (turns) : : "cc");
}

#define DEAR	3

static void dear(unsigned long turns)
{
	unsigned long x = 3;

	__asm__ volatile ("1: udiv %1, %0, %1; subs %0, %0, #1; b.ne 1b"
			  : "+r" (turns), "+r" (x) : : "cc");
}
#else
/* Nothing is known of this processor, so no clock passes. */
#define CHEAP	2
#define DEAR	2

static void cheap(unsigned long turns)
{
	(void)turns;
}

static void dear(unsigned long turns)
{
	(void)turns;
}
#endif
#endif

static bool start_tsc(void)
{
	uint64_t start, end, first, last;

	if (!invariant()) {
		tool_err("This processor has no counter to tell the time by.");
		return false;
	}
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

/* By the clock: the least of a few, as an interrupt may come. */
static double loop_ns(void (*loop)(unsigned long turns), unsigned long turns)
{
	uint64_t start, ns, least = UINT64_MAX;
	int i;

	for (i = 0; i < TRIES; i++) {
		start = now_ns();
		loop(turns);
		ns = now_ns() - start;
		if (ns < least)
			least = ns;
	}
	return least;
}

/* Is it as many nanoseconds as instructions, to a hundredth? */
static bool one_each(void (*loop)(unsigned long turns), unsigned int per_turn)
{
	/* What asking the clock takes is in both. */
	double ns = loop_ns(loop, 2 * TURNS) - loop_ns(loop, TURNS);
	double want = (double)TURNS * per_turn;

	return ns > want * 0.99 && ns < want * 1.01;
}

static bool start_instructions(void)
{
	/* On a processor, one of these takes many times as long as the other. */
	if (one_each(cheap, CHEAP) && one_each(dear, DEAR))
		return true;
	tool_err("The clock of this machine does not count instructions: for that, run it in QEMU with -icount shift=0,sleep=off.");
	return false;
}

bool clock_choose(const char *name)
{
	if (!strcmp(name, "nanoseconds")) {
		chosen = NANOSECONDS;
	} else if (!strcmp(name, "tsc")) {
		chosen = TSC;
	} else if (!strcmp(name, "instructions")) {
		chosen = INSTRUCTIONS;
	} else {
		tool_err("The clock is nanoseconds, tsc or instructions, not \"%s\".",
			 name);
		return false;
	}
	return true;
}

bool clock_start(void)
{
	return chosen == NANOSECONDS ||
	       (chosen == TSC ? start_tsc() : start_instructions());
}

bool clock_is_instructions(void)
{
	return chosen == INSTRUCTIONS;
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
