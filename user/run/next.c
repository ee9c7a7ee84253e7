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

#define FIRST(type, name, takes, args)					\
	static type first_##name takes					\
	{								\
		next_resolve();						\
		return next.name args;					\
	}

FIRST(ssize_t, write, (int fd, const void *p, size_t n), (fd, p, n))
FIRST(ssize_t, writev, (int fd, const struct iovec *v, int n), (fd, v, n))
FIRST(ssize_t, pwritev2,
      (int fd, const struct iovec *v, int n, off_t pos, int flags),
      (fd, v, n, pos, flags))
FIRST(ssize_t, send, (int fd, const void *p, size_t n, int flags),
      (fd, p, n, flags))
FIRST(ssize_t, sendto,
      (int fd, const void *p, size_t n, int flags, const struct sockaddr *to,
       socklen_t len), (fd, p, n, flags, to, len))
FIRST(ssize_t, sendmsg, (int fd, const struct msghdr *m, int flags),
      (fd, m, flags))
FIRST(int, sendmmsg, (int fd, struct mmsghdr *m, unsigned int n, int flags),
      (fd, m, n, flags))
FIRST(int, close, (int fd), (fd))
FIRST(int, close_range, (unsigned int first, unsigned int last, int flags),
      (first, last, flags))
FIRST(int, dup2, (int from, int to), (from, to))
FIRST(int, dup3, (int from, int to, int flags), (from, to, flags))
FIRST(int, madvise, (void *p, size_t n, int advice), (p, n, advice))
FIRST(int, prctl, (int op, unsigned long a, unsigned long b, unsigned long c,
		   unsigned long d), (op, a, b, c, d))
FIRST(long, syscall, (long nr, long a, long b, long c, long d, long e, long f),
      (nr, a, b, c, d, e, f))
FIRST(pid_t, _Fork, (void), ())
FIRST(int, clone, (int (*fn)(void *), void *stack, int flags, void *arg,
		   void *parent, void *tls, void *child),
      (fn, stack, flags, arg, parent, tls, child))

static void first_closefrom(int low)
{
	next_resolve();
	next.closefrom(low);
}

static void first__exit(int status)
{
	next_resolve();
	next._exit(status);
}

struct next next = {
#define F(type, name, args)	.name = first_##name,
	NEXT_FUNCTIONS(F)
#undef F
};

void next_resolve(void)
{
	struct next found;

	resolving = true;
	/* What the C library does not have, no program calls: NULL. */
#define F(type, name, args)	found.name = dlsym(RTLD_NEXT, #name);
	NEXT_FUNCTIONS(F)
#undef F
	resolving = false;
	/* Threads see each pointer as it was or as it is: both will do. */
	next = found;
}
