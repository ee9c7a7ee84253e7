// SPDX-License-Identifier: LGPL-2.1-or-later
/*
 * A snapshot pool of lazy buffers, all of them held from the start to the end: who
 * has which memory of it is decided here, in user space (runs.h). Snapshots make
 * that safe: memory that is given back while it is in flight may be written by
 * whoever gets it next, and packets keep what was in it.
 *
 * A part of what the user allows is left to snapshots: the pool is smaller by that.
 */
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include <linux/fbuf.h>

#include "../lib/lib.h"
#include "../lib/runs.h"
#include "fds.h"
#include "next.h"
#include "pool.h"
#include "run.h"
#include "stats.h"

/* Of what is allowed, the part that the pool leaves to snapshots. */
#define SNAPSHOT_PART	8
/* No pool is smaller. */
#define POOL_MIN	(16 * POOL_BUF_SIZE)
/*
 * A pool is worth its making once there is an allocation as large as a buffer, or
 * so many that are smaller: opendir() takes 32 KiB.
 */
#define POOL_SMALL_ONES	8

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
/*
 * This thread has it, or is about to: a signal handler must not ask for it, and
 * what it protects may be half written.
 */
static __thread volatile bool inside
	__attribute__((__tls_model__("initial-exec")));
static struct runs *runs;	/* under lock; NULL while there is no pool */
static unsigned int small_ones;	/* under lock */
static size_t limit;		/* what the user allows */
static size_t pool_bytes;	/* of the pool, or of what it would be */

/* What a fork makes before it happens, all under lock. */
static struct {
	int fd;			/* of the child's pool, or -1 */
	void *copy;		/* without a pool: ordinary memory, or NULL */
	bool lost;		/* neither could be had */
} child = { .fd = -1 };

/* It forks in a signal handler that came while it was inside: see above. */
static __thread bool blind __attribute__((__tls_model__("initial-exec")));

static void enter(void)
{
	inside = true;
	pthread_mutex_lock(&lock);
}

static void leave(void)
{
	pthread_mutex_unlock(&lock);
	inside = false;
}

size_t pool_limit(void)
{
	return limit;
}

/* A new pool, all of whose buffers are held; its fd, or a negative errno value. */
static int make(size_t size)
{
	struct fbuf_pool_create create = {
		.size = sizeof(create),
		.flags = FBUF_POOL_SNAPSHOT | FBUF_POOL_LAZY,
		.buf_size = POOL_BUF_SIZE,
		.nr_bufs = size >> POOL_BUF_SHIFT,
		.node = -1,
	};
	uint64_t names[512];
	struct fbuf_batch batch = {
		.size = sizeof(batch),
		.names = (uintptr_t)names,
	};
	unsigned int left = create.nr_bufs;
	int fd, ret;

	fd = lib_ioctl(fds_get(FD_CONTROL), FBUF_IOC_POOL_CREATE, &create);
	if (fd == -EINVAL) {
		/* A module of before lazy pools: it has all its memory at once. */
		create.flags = FBUF_POOL_SNAPSHOT;
		fd = lib_ioctl(fds_get(FD_CONTROL), FBUF_IOC_POOL_CREATE,
			       &create);
	}
	for (; fd >= 0 && left; left -= ret) {
		batch.count = left < 512 ? left : 512;
		ret = lib_ioctl(fd, FBUF_IOC_ALLOC, &batch);
		if (ret <= 0) {
			next.close(fd);
			return ret ?: -EIO;
		}
	}
	return fd;
}

/* As large as limits allow. */
static int make_some(size_t *size)
{
	int fd;

	for (;;) {
		fd = make(*size);
		if (fd >= 0 || (fd != -ENOMEM && fd != -EDQUOT) ||
		    *size / 2 < POOL_MIN)
			return fd;
		*size = *size / 2 & ~(POOL_BUF_SIZE - 1);
	}
}

/* Where the addresses are, that pool, or nothing: fd -1. */
static bool map_at(void *at, size_t size, int fd)
{
	int prot = fd < 0 ? PROT_NONE : PROT_READ | PROT_WRITE;
	int flags = fd < 0 ? MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE :
			     MAP_SHARED;

	return mmap(at, size, prot, flags | MAP_FIXED, fd, FBUF_MMAP_POOL) == at;
}

/* No more of this: what is in use stays as it is. */
static void give_up(const char *words, int err)
{
	__atomic_store_n(&run.min, SIZE_MAX, __ATOMIC_RELAXED);
	stats_say(words, err);
}

/* A child that came by without fork() must not have the parent's memory. */
static bool open_pool(void)
{
	size_t size = pool_bytes;
	int fd = make_some(&size);

	if (fd < 0) {
		give_up("there can be no pool", -fd);
		return false;
	}
	fd = fds_up(fd);
	if (!map_at((void *)run.base, size, fd) ||
	    madvise((void *)run.base, size, MADV_DONTFORK)) {
		int err = errno;

		map_at((void *)run.base, size, -1);
		next.close(fd);
		give_up("the pool cannot be mapped", err);
		return false;
	}
	runs = runs_new((void *)run.base, size);
	if (!runs) {
		map_at((void *)run.base, size, -1);
		next.close(fd);
		give_up("no memory to keep account of the pool", ENOMEM);
		return false;
	}
	pool_bytes = size;
	fds_set(FD_POOL, fd);
	return true;
}

static bool is_worth_it(size_t size)
{
	return size >= POOL_BUF_SIZE || ++small_ones > POOL_SMALL_ONES;
}

void *pool_take(size_t size, size_t align, bool *zeroed)
{
	int saved = errno;
	void *p = NULL;
	size_t used;

	enter();
	if (runs || (run_min() != SIZE_MAX && is_worth_it(size) && open_pool())) {
		p = runs_take(runs, size, align, zeroed);
		used = runs_used(runs);
		if (used > stats.peak)
			stats.peak = used;
		if (!p)
			stats_add(&stats.full, 1);
	}
	leave();
	errno = saved;
	return p;
}

/* As the C library does with what is no pointer of its own. */
static void check(size_t size)
{
	if (size)
		return;
	stats_say("the program frees, or resizes, what it did not allocate", 0);
	abort();
}

void pool_give(void *p)
{
	enter();
	check(runs ? runs_size(runs, p) : 0);
	runs_give(runs, p);
	leave();
}

size_t pool_size_of(const void *p)
{
	size_t size;

	enter();
	size = runs ? runs_size(runs, p) : 0;
	leave();
	check(size);
	return size;
}

bool pool_resize(void *p, size_t size)
{
	size_t used;
	bool ret;

	enter();
	check(runs ? runs_size(runs, p) : 0);
	ret = runs_resize(runs, p, size);
	used = runs_used(runs);
	if (used > stats.peak)
		stats.peak = used;
	leave();
	return ret;
}

size_t pool_memory(void)
{
	struct fbuf_info info = { .size = sizeof(info) };

	if (lib_ioctl(fds_get(FD_POOL), FBUF_IOC_INFO, &info) < 0)
		return 0;
	return info.resident + info.charged - info.pool_size;
}

static void copy_run(void *p, size_t size, void *to)
{
	memcpy((char *)to + ((uintptr_t)p - run.base), p, size);
}

/*
 * Other threads go on meanwhile: what they write to the pool at this moment, the
 * child may have or not. As it has none of these threads, nor their locks, it can
 * hardly rely on it.
 */
void pool_fork_before(void)
{
	size_t size = pool_bytes;
	void *copy;

	blind = inside;
	if (blind)
		return;
	enter();
	if (!runs || !runs_used(runs))
		return;
	child.fd = make(size);
	if (child.fd < 0) {
		child.fd = -1;
		copy = mmap(NULL, size, PROT_READ | PROT_WRITE,
			    MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	} else {
		child.fd = fds_up(child.fd);
		copy = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED,
			    child.fd, FBUF_MMAP_POOL);
	}
	if (copy == MAP_FAILED) {
		/* The child will have nothing there, rather than ours. */
		if (child.fd >= 0)
			next.close(child.fd);
		child.fd = -1;
		child.lost = true;
		return;
	}
	runs_each(runs, copy_run, copy);
	if (child.fd < 0)
		child.copy = copy;
	else
		munmap(copy, size);
}

void pool_fork_parent(void)
{
	int saved = errno;

	if (blind)
		return;
	if (child.fd >= 0)
		next.close(child.fd);
	if (child.copy)
		munmap(child.copy, pool_bytes);
	child.fd = -1;
	child.copy = NULL;
	child.lost = false;
	leave();
	errno = saved;
}

/* Nothing is in use: the child makes a pool when it wants one. */
static void child_begins_anew(void)
{
	if (!map_at((void *)run.base, run.size, -1))
		abort();
	runs_destroy(runs);
	runs = NULL;
	small_ones = 0;
	pool_bytes = run.size;
	fds_set(FD_POOL, -1);
}

static void child_has_copy(void)
{
	if (mremap(child.copy, pool_bytes, pool_bytes,
		   MREMAP_MAYMOVE | MREMAP_FIXED, run.base) == MAP_FAILED)
		abort();
	fds_set(FD_POOL, -1);
	give_up("a child has no pool, but ordinary memory", 0);
}

/* It can free what it has, and exec; to touch it is the end. */
static void child_has_nothing(void)
{
	map_at((void *)run.base, run.size, -1);
	fds_set(FD_POOL, -1);
	give_up("no memory for a child's copy of the pool", ENOMEM);
}

static void child_has_pool(void)
{
	if (!map_at((void *)run.base, pool_bytes, child.fd) ||
	    madvise((void *)run.base, pool_bytes, MADV_DONTFORK))
		abort();
	fds_set(FD_POOL, -1);
	fds[FD_POOL] = child.fd;
}

void pool_fork_child(void)
{
	run_owner = getpid();
	if (blind) {
		child_has_nothing();
		return;
	}
	if (child.fd >= 0)
		child_has_pool();
	else if (child.copy)
		child_has_copy();
	else if (child.lost)
		child_has_nothing();
	else if (runs)
		child_begins_anew();
	child.fd = -1;
	child.copy = NULL;
	child.lost = false;
	leave();
}

int pool_start(size_t size)
{
	size_t bytes = (size - size / SNAPSHOT_PART) & ~(POOL_BUF_SIZE - 1);
	void *base;
	int fd;

	fd = open(FBUF_DEVICE, O_RDWR | O_CLOEXEC);
	if (fd < 0)
		return errno;
	base = mmap(NULL, bytes, PROT_NONE,
		    MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	if (base == MAP_FAILED) {
		int err = errno;

		next.close(fd);
		return err;
	}
	fds_set(FD_CONTROL, fd);
	limit = size;
	pool_bytes = bytes;
	run.base = (uintptr_t)base;
	run.size = bytes;
	return 0;
}
