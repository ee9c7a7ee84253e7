// SPDX-License-Identifier: LGPL-2.1-or-later
/*
 * The next function of each name, in the C library or in an allocator that the
 * program brings. Others' constructors call malloc() before ours runs, so each
 * pointer begins as a function that looks all of them up.
 *
 * dlsym() may allocate. What is asked for meanwhile comes from a small array, and
 * is never given back.
 */
#include <dlfcn.h>
#include <string.h>

#include "next.h"
#include "run.h"

#define EARLY_SIZE	16384U
#define EARLY_ALIGN	16U

static char early[EARLY_SIZE] __attribute__((__aligned__(EARLY_ALIGN)));
static size_t early_used;
/* Whoever resolves; threads do not exist so early, or only the one that asks. */
static __thread bool resolving __attribute__((__tls_model__("initial-exec")));

bool next_is_early(const void *p)
{
	return (uintptr_t)p - (uintptr_t)early < EARLY_SIZE;
}

/* Its size stands before it. */
static void *early_alloc(size_t size)
{
	size_t need, at;

	if (size > EARLY_SIZE)
		return NULL;
	need = (size + 2 * EARLY_ALIGN - 1) & ~(size_t)(EARLY_ALIGN - 1);
	at = __atomic_fetch_add(&early_used, need, __ATOMIC_RELAXED);
	if (at + need > EARLY_SIZE)
		return NULL;
	memcpy(early + at, &size, sizeof(size));
	return early + at + EARLY_ALIGN;
}

size_t next_early_size(const void *p)
{
	size_t size;

	memcpy(&size, (const char *)p - EARLY_ALIGN, sizeof(size));
	return size;
}

/* The first call of each; what follows goes to the function itself. */

static void *first_malloc(size_t size)
{
	if (resolving)
		return early_alloc(size);
	next_resolve();
	return next.malloc(size);
}

/* The array is zero, and nothing of it is used twice. */
static void *first_calloc(size_t nr, size_t size)
{
	if (resolving)
		return size && nr > EARLY_SIZE / size ? NULL :
							early_alloc(nr * size);
	next_resolve();
	return next.calloc(nr, size);
}

static void *first_memalign(size_t align, size_t size)
{
	if (resolving)
		return align <= EARLY_ALIGN ? early_alloc(size) : NULL;
	next_resolve();
	return next.memalign(align, size);
}

static void *first_realloc(void *p, size_t size)
{
	void *to;

	if (!resolving) {
		next_resolve();
		return next.realloc(p, size);
	}
	to = early_alloc(size);
	if (to && p)
		memcpy(to, p, next_early_size(p) < size ? next_early_size(p) : size);
	return to;
}

static void first_free(void *p)
{
	if (resolving)
		return;
	next_resolve();
	next.free(p);
}

static size_t first_malloc_usable_size(void *p)
{
	if (resolving)
		return p ? next_early_size(p) : 0;
	next_resolve();
	return next.malloc_usable_size(p);
}

static ssize_t first_write(int fd, const void *p, size_t n)
{
	next_resolve();
	return next.write(fd, p, n);
}

static ssize_t first_writev(int fd, const struct iovec *iov, int nr)
{
	next_resolve();
	return next.writev(fd, iov, nr);
}

static ssize_t first_pwritev2(int fd, const struct iovec *iov, int nr,
			      off_t pos, int flags)
{
	next_resolve();
	return next.pwritev2(fd, iov, nr, pos, flags);
}

static ssize_t first_send(int fd, const void *p, size_t n, int flags)
{
	next_resolve();
	return next.send(fd, p, n, flags);
}

static ssize_t first_sendto(int fd, const void *p, size_t n, int flags,
			    const struct sockaddr *to, socklen_t len)
{
	next_resolve();
	return next.sendto(fd, p, n, flags, to, len);
}

static ssize_t first_sendmsg(int fd, const struct msghdr *msg, int flags)
{
	next_resolve();
	return next.sendmsg(fd, msg, flags);
}

static int first_sendmmsg(int fd, struct mmsghdr *msgs, unsigned int nr,
			  int flags)
{
	next_resolve();
	return next.sendmmsg(fd, msgs, nr, flags);
}

static int first_close(int fd)
{
	next_resolve();
	return next.close(fd);
}

static void first_closefrom(int low)
{
	next_resolve();
	next.closefrom(low);
}

static int first_close_range(unsigned int first, unsigned int last, int flags)
{
	next_resolve();
	return next.close_range(first, last, flags);
}

static int first_dup2(int from, int to)
{
	next_resolve();
	return next.dup2(from, to);
}

static int first_dup3(int from, int to, int flags)
{
	next_resolve();
	return next.dup3(from, to, flags);
}

static int first_madvise(void *p, size_t size, int advice)
{
	next_resolve();
	return next.madvise(p, size, advice);
}

static int first_prctl(int op, unsigned long a, unsigned long b,
		       unsigned long c, unsigned long d)
{
	next_resolve();
	return next.prctl(op, a, b, c, d);
}

static long first_syscall(long nr, long a, long b, long c, long d, long e,
			  long f)
{
	next_resolve();
	return next.syscall(nr, a, b, c, d, e, f);
}

static pid_t first_fork_only(void)
{
	next_resolve();
	return next.fork_only();
}

static int first_clone(int (*fn)(void *arg), void *stack, int flags, void *arg,
		       void *parent, void *tls, void *child)
{
	next_resolve();
	return next.clone(fn, stack, flags, arg, parent, tls, child);
}

static void first_exit_now(int status)
{
	next_resolve();
	next.exit_now(status);
}

struct next next = {
	.malloc = first_malloc,
	.free = first_free,
	.calloc = first_calloc,
	.realloc = first_realloc,
	.memalign = first_memalign,
	.malloc_usable_size = first_malloc_usable_size,
	.write = first_write,
	.writev = first_writev,
	.pwritev2 = first_pwritev2,
	.send = first_send,
	.sendto = first_sendto,
	.sendmsg = first_sendmsg,
	.sendmmsg = first_sendmmsg,
	.close = first_close,
	.closefrom = first_closefrom,
	.close_range = first_close_range,
	.dup2 = first_dup2,
	.dup3 = first_dup3,
	.madvise = first_madvise,
	.prctl = first_prctl,
	.syscall = first_syscall,
	.fork_only = first_fork_only,
	.clone = first_clone,
	.exit_now = first_exit_now,
};

/* What each is called in the C library. */
static const struct {
	size_t at;
	const char *name;
} names[] = {
	{ offsetof(struct next, malloc), "malloc" },
	{ offsetof(struct next, free), "free" },
	{ offsetof(struct next, calloc), "calloc" },
	{ offsetof(struct next, realloc), "realloc" },
	{ offsetof(struct next, memalign), "memalign" },
	{ offsetof(struct next, malloc_usable_size), "malloc_usable_size" },
	{ offsetof(struct next, write), "write" },
	{ offsetof(struct next, writev), "writev" },
	{ offsetof(struct next, pwritev2), "pwritev2" },
	{ offsetof(struct next, send), "send" },
	{ offsetof(struct next, sendto), "sendto" },
	{ offsetof(struct next, sendmsg), "sendmsg" },
	{ offsetof(struct next, sendmmsg), "sendmmsg" },
	{ offsetof(struct next, close), "close" },
	{ offsetof(struct next, closefrom), "closefrom" },
	{ offsetof(struct next, close_range), "close_range" },
	{ offsetof(struct next, dup2), "dup2" },
	{ offsetof(struct next, dup3), "dup3" },
	{ offsetof(struct next, madvise), "madvise" },
	{ offsetof(struct next, prctl), "prctl" },
	{ offsetof(struct next, syscall), "syscall" },
	{ offsetof(struct next, fork_only), "_Fork" },
	{ offsetof(struct next, clone), "clone" },
	{ offsetof(struct next, exit_now), "_exit" },
};

void next_resolve(void)
{
	struct next found;
	unsigned int i;

	resolving = true;
	/* What the C library does not have, no program calls: NULL. */
	for (i = 0; i < sizeof(names) / sizeof(*names); i++) {
		void *p = dlsym(RTLD_NEXT, names[i].name);

		memcpy((char *)&found + names[i].at, &p, sizeof(p));
	}
	resolving = false;
	/* Threads see each pointer as it was or as it is: both will do. */
	next = found;
}
