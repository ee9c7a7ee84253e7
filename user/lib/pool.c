// SPDX-License-Identifier: LGPL-2.1-or-later
/* Pools and their buffers. */

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

#include "lib.h"

#define NSEC_PER_SEC	1000000000LL
#define NSEC_PER_MSEC	1000000LL

/* Sleeps while buffers are in flight: from a short one, doubled up to this. */
#define WAIT_FIRST_NS	50000LL
#define WAIT_LAST_NS	NSEC_PER_MSEC

int lib_ioctl(int fd, unsigned long cmd, void *arg)
{
	int saved = errno;
	int ret = ioctl(fd, cmd, arg);

	if (ret < 0) {
		ret = -errno;
		errno = saved;
	}
	return ret;
}

static int pool_map(struct fbuf_pool *p)
{
	int saved = errno;
	void *map;

	map = mmap(NULL, p->size, PROT_READ | PROT_WRITE, MAP_SHARED, p->fd,
		   FBUF_MMAP_POOL);
	if (map == MAP_FAILED) {
		int err = -errno;

		errno = saved;
		return err;
	}
	p->map = map;
	return 0;
}

int fbuf_pool_open(struct fbuf_pool **pool, int fd)
{
	struct fbuf_info info = { .size = sizeof(info) };
	int saved = errno;
	struct fbuf_pool *p;
	int ret;

	ret = lib_ioctl(fd, FBUF_IOC_INFO, &info);
	if (ret < 0)
		return ret;
	/* A 64-bit pool in a 32-bit process. */
	if (info.pool_size > SIZE_MAX)
		return -EOVERFLOW;

	p = malloc(sizeof(*p));
	if (!p) {
		errno = saved;
		return -ENOMEM;
	}
	p->size = info.pool_size;
	p->buf_size = info.buf_size;
	p->nr_bufs = info.nr_bufs;
	p->fd = fd;

	ret = pool_map(p);
	if (ret < 0) {
		free(p);
		return ret;
	}
	*pool = p;
	return 0;
}

static void close_quietly(int fd)
{
	int saved = errno;

	close(fd);
	errno = saved;
}

int fbuf_pool_create_on(struct fbuf_pool **pool, size_t buf_size,
			unsigned int nr_bufs, int node)
{
	struct fbuf_pool_create create = {
		.size = sizeof(create),
		.buf_size = buf_size,
		.nr_bufs = nr_bufs,
		.node = node,
	};
	int saved = errno;
	int ctl, fd, ret;

	if (create.buf_size != buf_size)
		return -EINVAL;

	ctl = open(FBUF_DEVICE, O_RDWR | O_CLOEXEC);
	if (ctl < 0) {
		ret = -errno;
		errno = saved;
		return ret;
	}
	fd = lib_ioctl(ctl, FBUF_IOC_POOL_CREATE, &create);
	close_quietly(ctl);
	if (fd < 0)
		return fd;

	ret = fbuf_pool_open(pool, fd);
	if (ret < 0)
		close_quietly(fd);
	return ret;
}

int fbuf_pool_create(struct fbuf_pool **pool, size_t buf_size,
		     unsigned int nr_bufs)
{
	return fbuf_pool_create_on(pool, buf_size, nr_bufs, -1);
}

void fbuf_pool_close(struct fbuf_pool *pool)
{
	int saved = errno;

	if (!pool)
		return;
	munmap(pool->map, pool->size);
	close(pool->fd);
	free(pool);
	errno = saved;
}

int fbuf_pool_fd(const struct fbuf_pool *pool)
{
	return pool->fd;
}

size_t fbuf_pool_buf_size(const struct fbuf_pool *pool)
{
	return pool->buf_size;
}

unsigned int fbuf_pool_nr_bufs(const struct fbuf_pool *pool)
{
	return pool->nr_bufs;
}

int fbuf_pool_info(const struct fbuf_pool *pool, struct fbuf_info *info)
{
	*info = (struct fbuf_info){ .size = sizeof(*info) };
	return lib_ioctl(pool->fd, FBUF_IOC_INFO, info);
}

static long long now_ns(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return ts.tv_sec * NSEC_PER_SEC + ts.tv_nsec;
}

/*
 * ALLOC does not block: when a packet drops a page nobody tells the module, so
 * that somebody has to look again. A short first sleep, because on loopback a
 * buffer is back in tens of microseconds. unblocked is the signal mask to sleep
 * with: the caller blocked all, so that none slips in between two sleeps.
 */
static int alloc_wait(struct fbuf_pool *pool, struct fbuf_batch *batch,
		      int timeout_ms, const sigset_t *unblocked)
{
	long long end = now_ns() + timeout_ms * NSEC_PER_MSEC;
	long long nap = WAIT_FIRST_NS, left = WAIT_LAST_NS;
	struct timespec ts = { 0 };
	int ret;

	for (;;) {
		if (timeout_ms > 0)
			left = end - now_ns();
		if (left <= 0)
			return -EAGAIN;
		ts.tv_nsec = nap < left ? nap : left;
		if (ppoll(NULL, 0, &ts, unblocked) < 0)
			return -errno;

		ret = lib_ioctl(pool->fd, FBUF_IOC_ALLOC, batch);
		if (ret != -EAGAIN)
			return ret;
		nap = nap * 2 < WAIT_LAST_NS ? nap * 2 : WAIT_LAST_NS;
	}
}

int fbuf_alloc(struct fbuf_pool *pool, uint64_t *names, unsigned int count,
	       int timeout_ms)
{
	struct fbuf_batch batch = {
		.size = sizeof(batch),
		.names = (uintptr_t)names,
		.count = count < FBUF_BATCH_MAX ? count : FBUF_BATCH_MAX,
	};
	int ret = lib_ioctl(pool->fd, FBUF_IOC_ALLOC, &batch);
	int saved = errno;
	sigset_t all, old;

	if (ret != -EAGAIN || !timeout_ms)
		return ret;

	sigfillset(&all);
	pthread_sigmask(SIG_SETMASK, &all, &old);
	ret = alloc_wait(pool, &batch, timeout_ms, &old);
	pthread_sigmask(SIG_SETMASK, &old, NULL);
	errno = saved;
	return ret;
}

int fbuf_free(struct fbuf_pool *pool, const uint64_t *names,
	      unsigned int count)
{
	struct fbuf_batch batch = {
		.size = sizeof(batch),
		.names = (uintptr_t)names,
		.count = count,
	};
	int ret = lib_ioctl(pool->fd, FBUF_IOC_FREE, &batch);

	return ret < 0 ? ret : 0;
}

void *fbuf_addr(const struct fbuf_pool *pool, uint64_t name)
{
	unsigned int index = FBUF_NAME_INDEX(name);

	if (index >= pool->nr_bufs)
		return NULL;
	return pool->map + index * pool->buf_size;
}
