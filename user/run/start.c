// SPDX-License-Identifier: LGPL-2.1-or-later
/*
 * libfbuf-run.so, preloaded by "fbuf run": see fbuf-run(1). Whatever is missing,
 * the module, a permission, memory, the program runs as if this were not there.
 *
 * Files, each calling only those before it: next, fds, stats, price, pays, room, pool, hot,
 * mem, send, start.
 */
#include <errno.h>
#include <linux/seccomp.h>
#include <pthread.h>
#include <sched.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "fds.h"
#include "limits.h"
#include "next.h"
#include "pool.h"
#include "run.h"
#include "stats.h"

struct run run = { .min = SIZE_MAX };
pid_t run_owner;
bool run_filtered;

/*
 * A size with K, M or G behind it: "fbuf run" has looked at it already. The program
 * finds errno as it is at the start of each.
 */
static size_t size_of(const char *name, size_t otherwise)
{
	const char *text = getenv(name);
	int saved = errno, shift = 0;
	bool fits;
	char *end;
	size_t n;

	/* strtoul() takes a sign, and what is below zero for a large number. */
	if (!text || *text < '0' || *text > '9')
		return otherwise;
	errno = 0;
	n = strtoul(text, &end, 0);
	fits = !errno;
	errno = saved;
	if (*end && strchr("KMG", *end)) {
		shift = *end == 'K' ? 10 : *end == 'M' ? 20 : 30;
		end++;
	}
	if (*end || !n || !fits || n > SIZE_MAX >> shift)
		return otherwise;
	return n << shift;
}

static size_t clamp(size_t n, size_t least, size_t most)
{
	return n < least ? least : n > most ? most : n;
}

/* The first of all: memory may be asked for before, and is the next one's then. */
__attribute__((__constructor__(101))) static void start(void)
{
	size_t size, min;
	int err;

	run_owner = getpid();
	next_resolve();
	stats_start(getenv("FBUF_RUN_STATS"), getenv("FBUF_RUN_VERBOSE"));
	size = size_of("FBUF_RUN_POOL", RUN_POOL_DEFAULT);
	min = size_of("FBUF_RUN_MIN", RUN_MIN_DEFAULT);

	err = pool_start(clamp(size, RUN_POOL_LEAST, RUN_POOL_MOST));
	if (!err)
		err = pthread_atfork(pool_fork_before, pool_fork_parent,
				     pool_fork_child);
	if (err) {
		stats_say("nothing is sent without a copy: /dev/fbuf", err);
		return;
	}
	__atomic_store_n(&run.min, min, __ATOMIC_RELAXED);
}

/*
 * A filter that the program sets may kill it for an ioctl that it does not know
 * of. No more of them, then; what is in the pool stays there. If it cannot be set,
 * all is as before.
 */
static size_t before_filter(void)
{
	size_t min = run_min();

	if (min != SIZE_MAX)
		stats_say("the program sets a seccomp filter: no more is sent without a copy",
			  0);
	__atomic_store_n(&run.min, SIZE_MAX, __ATOMIC_RELAXED);
	run_filtered = true;
	return min;
}

static void after_filter(size_t min, long ret)
{
	if (ret >= 0)
		return;
	run_filtered = false;
	__atomic_store_n(&run.min, min, __ATOMIC_RELAXED);
}

EXPORT int prctl(int op, ...)
{
	unsigned long a, b, c, d;
	va_list ap;
	size_t min;
	int ret;

	va_start(ap, op);
	a = va_arg(ap, unsigned long);
	b = va_arg(ap, unsigned long);
	c = va_arg(ap, unsigned long);
	d = va_arg(ap, unsigned long);
	va_end(ap);
	if (likely(op != PR_SET_SECCOMP || run_filtered))
		return next.prctl(op, a, b, c, d);
	min = before_filter();
	ret = next.prctl(op, a, b, c, d);
	after_filter(min, ret);
	return ret;
}

/* A new process by these has a copy of memory, without the C library's handlers. */
static bool is_fork(long nr, long arg)
{
	switch (nr) {
#ifdef SYS_fork
	case SYS_fork:
		return true;
#endif
	case SYS_clone:
		return !(arg & CLONE_VM);
	case SYS_clone3:
		/* The flags come first in the structure. */
		return arg && !(*(uint64_t *)arg & CLONE_VM);
	default:
		return false;
	}
}

/* In the parent, which has the child's pid or an error; or in the child. */
static void after_fork(long pid)
{
	if (pid)
		pool_fork_parent();
	else
		pool_fork_child();
}

/* Our fds are not there, whichever way they are asked for. */
static long other_call(long nr, long a, long b, long c, long d, long e, long f)
{
	switch (nr) {
	case SYS_close:
		return close(a);
	case SYS_close_range:
		return close_range(a, b, c);
#ifdef SYS_dup2
	case SYS_dup2:
		return dup2(a, b);
#endif
	case SYS_dup3:
		return dup3(a, b, c);
	default:
		return next.syscall(nr, a, b, c, d, e, f);
	}
}

EXPORT long syscall(long nr, ...)
{
	long a, b, c, d, e, f, ret;
	size_t min = SIZE_MAX;
	va_list ap;

	va_start(ap, nr);
	a = va_arg(ap, long);
	b = va_arg(ap, long);
	c = va_arg(ap, long);
	d = va_arg(ap, long);
	e = va_arg(ap, long);
	f = va_arg(ap, long);
	va_end(ap);
	if (is_fork(nr, a))
		pool_fork_before();
	else if (nr == SYS_seccomp && a != SECCOMP_GET_ACTION_AVAIL && !run_filtered)
		min = before_filter();
	else
		return other_call(nr, a, b, c, d, e, f);

	ret = next.syscall(nr, a, b, c, d, e, f);
	if (nr == SYS_seccomp)
		after_filter(min, ret);
	else
		after_fork(ret);
	return ret;
}

/* fork() without the handlers. */
EXPORT pid_t _Fork(void)
{
	pid_t pid;

	pool_fork_before();
	pid = next.fork_only();
	after_fork(pid);
	return pid;
}

/* What a child of clone() begins with; it has its own copy of this. */
struct begin {
	int (*fn)(void *arg);
	void *arg;
};

static int begin_child(void *arg)
{
	const struct begin *begin = arg;

	pool_fork_child();
	return begin->fn(begin->arg);
}

EXPORT int clone(int (*fn)(void *), void *stack, int flags, void *arg, ...)
{
	struct begin begin = { fn, arg };
	void *parent, *tls, *child;
	va_list ap;
	int pid;

	va_start(ap, arg);
	parent = va_arg(ap, void *);
	tls = va_arg(ap, void *);
	child = va_arg(ap, void *);
	va_end(ap);
	if (flags & CLONE_VM || !fn || !stack)
		return next.clone(fn, stack, flags, arg, parent, tls, child);

	pool_fork_before();
	pid = next.clone(begin_child, stack, flags, &begin, parent, tls, child);
	pool_fork_parent();
	return pid;
}
