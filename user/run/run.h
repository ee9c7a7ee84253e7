/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* What the files of libfbuf-run.so share: where its memory is, and from when on. */
#ifndef RUN_RUN_H
#define RUN_RUN_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#define likely(x)	__builtin_expect(!!(x), 1)
#define unlikely(x)	__builtin_expect(!!(x), 0)

/* Ours are seen by the program; all else is not. */
#define EXPORT		__attribute__((__visibility__("default")))

/*
 * What each call looks at, alone in its cache line. All are set before the program
 * has a second thread, but for the last, which any thread may set, once.
 *
 * @base, @size: the addresses that the pool is mapped at, or will be; not another's
 * @min: allocations and sends of fewer bytes are none of ours; SIZE_MAX while there
 *       is nothing to gain
 */
struct run {
	uintptr_t base;
	size_t size;
	size_t min;
};

extern struct run run __attribute__((__aligned__(64)));

/* Whose memory this is: a child of vfork() is not, and must change nothing. */
extern pid_t run_owner;

/* The program has a seccomp filter of its own: no call that it does not make itself. */
extern bool run_filtered;

static inline bool run_has(const void *p)
{
	return (uintptr_t)p - run.base < run.size;
}

static inline size_t run_min(void)
{
	return __atomic_load_n(&run.min, __ATOMIC_RELAXED);
}

#endif /* RUN_RUN_H */
