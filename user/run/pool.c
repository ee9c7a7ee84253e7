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
#include "pays.h"
#include "pool.h"
#include "price.h"
#include "room.h"
#include "run.h"
#include "stats.h"

/* Of what is allowed, the part that the pool leaves to snapshots. */
#define SNAPSHOT_PART	8
/* No pool is smaller. */
#define POOL_MIN	(1UL << 20)
/*
 * A pool is worth its making once there is an allocation of so many bytes, or so many
 * that are smaller: opendir() takes 32 KiB.
 */
#define POOL_LARGE_ONE	65536U
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
static size_t pool_bytes;	/* of the pool, or of what it would be */
static size_t high;		/* under lock: nothing was in use from here on */

/* What a fork makes before it happens, all under lock. */
static struct {
	int fd;			/* of the child's pool, or -1 */
	void *copy;		/* without a pool: ordinary memory, or NULL */
	bool lost;		/* neither could be had */
} child = { .fd = -1 };

/* It forks in a signal handler that came while it was inside. */
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

/* Nothing is in use yet. */
static void learn_price(void)
{
	size_t price = price_of_protection((void *)run.base, fds_get(FD_POOL), 0);

	pays_price(PRICE_BYTES, price);
	stats_price(price * 100 / PRICE_BYTES);
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
	learn_price();
	return true;
}

static bool is_worth_it(size_t size)
{
	return size >= POOL_LARGE_ONE || ++small_ones > POOL_SMALL_ONES;
}

static size_t whole_buffers(size_t end)
{
	return (end + POOL_BUF_SIZE - 1) & ~(POOL_BUF_SIZE - 1);
}

/* How much is in use at most, and how far up; false: no further, for now. */
static bool note(const void *p, size_t size)
{
	size_t used = runs_used(runs);
	size_t end = (uintptr_t)p - run.base + size;

	if (!room_rise(whole_buffers(end)))
		return false;
	if (used > stats.peak)
		stats.peak = used;
	if (end > high)
		high = end;
	return true;
}

void *pool_take(size_t size, size_t align, bool *zeroed)
{
	int saved = errno;
	void *p = NULL;

	enter();
	if (runs || (run_min() != SIZE_MAX && is_worth_it(size) && open_pool())) {
		p = runs_take(runs, size, align, zeroed);
		if (p && !note(p, runs_size(runs, p))) {
			runs_give(runs, p);
			p = NULL;
		}
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
	if (likely(size))
		return;
	/* A handler of SIGABRT may allocate. */
	leave();
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
	check(size);
	leave();
	return size;
}

bool pool_resize(void *p, size_t size)
{
	size_t was;
	bool ret;

	enter();
	was = runs ? runs_size(runs, p) : 0;
	check(was);
	ret = runs_resize(runs, p, size);
	if (ret && !note(p, runs_size(runs, p)))
		ret = !runs_resize(runs, p, was);
	leave();
	return ret;
}

/* From one mapping of a pool to that of another. */
struct copying {
	char *to;
	const char *from;
};

static void copy_run(void *p, size_t size, void *arg)
{
	const struct copying *c = arg;
	size_t at = (uintptr_t)p - run.base;

	memcpy(c->to + at, c->from + at, size);
}

/*
 * Made with a mapping of its own: the program may have made parts of its memory
 * unreadable. In a signal handler that came while this thread was inside, the
 * account is half written: all goes that ever was in use.
 */
static bool copy_all(void *to)
{
	struct copying c = { .to = to };

	c.from = mmap(NULL, pool_bytes, PROT_READ, MAP_SHARED, fds_get(FD_POOL),
		      FBUF_MMAP_POOL);
	if (c.from == MAP_FAILED)
		return false;
	if (blind)
		copy_run((void *)run.base, high, &c);
	else
		runs_each(runs, copy_run, &c);
	munmap((void *)c.from, pool_bytes);
	return true;
}

/* A pool for the child, with all that is in use. */
static bool copy_to_pool(void)
{
	bool ret;
	void *to;

	child.fd = make(pool_bytes);
	if (child.fd < 0)
		return false;
	child.fd = fds_up(child.fd);
	to = mmap(NULL, pool_bytes, PROT_READ | PROT_WRITE, MAP_SHARED,
		  child.fd, FBUF_MMAP_POOL);
	ret = to != MAP_FAILED && copy_all(to);
	if (to != MAP_FAILED)
		munmap(to, pool_bytes);
	if (!ret)
		next.close(child.fd);
	return ret;
}

/* Ordinary memory instead, which the child has in common with us until it writes. */
static bool copy_to_memory(void)
{
	void *to = mmap(NULL, pool_bytes, PROT_READ | PROT_WRITE,
			MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);

	if (to == MAP_FAILED)
		return false;
	if (!copy_all(to)) {
		munmap(to, pool_bytes);
		return false;
	}
	child.copy = to;
	return true;
}

/*
 * Other threads go on meanwhile: what they write to the pool at this moment, the
 * child may have or not. As it has none of these threads, nor their locks, it can
 * hardly rely on it.
 */
void pool_fork_before(void)
{
	int saved = errno;

	blind = inside;
	if (!blind)
		enter();
	child.fd = -1;
	child.copy = NULL;
	child.lost = false;
	if (runs && (blind || runs_used(runs)) &&
	    (run_filtered || !copy_to_pool())) {
		child.fd = -1;
		/* It will have nothing there, rather than ours. */
		child.lost = !copy_to_memory();
	}
	errno = saved;
}

static void fork_is_over(void)
{
	if (blind)
		blind = false;
	else
		leave();
}

void pool_fork_parent(void)
{
	int saved = errno;

	if (child.fd >= 0)
		next.close(child.fd);
	if (child.copy)
		munmap(child.copy, pool_bytes);
	fork_is_over();
	errno = saved;
}

/* Nothing is in use: the child makes a pool when it wants one. */
static void child_begins_anew(void)
{
	if (!map_at((void *)run.base, run.size, -1))
		abort();
	runs_destroy(runs);
	runs = NULL;
	high = 0;
	room_anew(0);
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
	room_anew(whole_buffers(high));
}

void pool_fork_child(void)
{
	if (!run_filtered)
		run_owner = getpid();
	/* What the parent did is the parent's to tell. */
	stats = (struct stats){ };
	if (child.fd >= 0)
		child_has_pool();
	else if (child.copy)
		child_has_copy();
	else if (child.lost)
		child_has_nothing();
	else if (runs)
		child_begins_anew();
	fork_is_over();
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
	room_start(size);
	pool_bytes = bytes;
	run.base = (uintptr_t)base;
	run.size = bytes;
	return 0;
}
