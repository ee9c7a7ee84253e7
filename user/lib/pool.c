// SPDX-License-Identifier: LGPL-2.1-or-later
/* Pools. */

#include <errno.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

#include "lib.h"

void lib_close(int fd)
{
	int saved = errno;

	close(fd);
	errno = saved;
}

long long lib_now_ms(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return ts.tv_sec * 1000LL + ts.tv_nsec / 1000000;
}

/* As the handle's rights allow. */
static int pool_map(struct fbuf_pool *p)
{
	int prot = PROT_READ, saved = errno;
	void *map;

	if (!(p->rights & FBUF_RIGHT_READ))
		return 0;
	if (p->rights & FBUF_RIGHT_WRITE)
		prot |= PROT_WRITE;
	map = mmap(NULL, p->size, prot, MAP_SHARED, p->fd, FBUF_MMAP_POOL);
	if (map == MAP_FAILED) {
		int err = -errno;

		errno = saved;
		return err;
	}
	p->map = map;
	return 0;
}

/*
 * Addresses and gathers are computed from it; and who passed us the fd may have
 * passed one that is no pool, but a device of his own that says what he likes.
 */
static bool info_is_sane(const struct fbuf_info *info)
{
	uint32_t size = info->buf_size;

	return size && !(size & (size - 1)) && size <= FBUF_BUF_SIZE_MAX &&
	       info->nr_bufs && info->pool_size == (uint64_t)size * info->nr_bufs;
}

static int pool_init(struct fbuf_pool *p, int fd)
{
	struct fbuf_info info = { .size = sizeof(info) };
	int ret;

	p->fd = fd;
	ret = lib_ioctl(fd, FBUF_IOC_INFO, &info);
	if (ret == -ENOTTY) {
		ret = soft_open(p);
		if (!ret)
			ret = lib_call(p, FBUF_IOC_INFO, &info);
	}
	if (ret < 0)
		return ret;
	if (!info_is_sane(&info))
		return -EPROTO;
	/* A 64-bit pool in a 32-bit process. */
	if (info.pool_size > SIZE_MAX)
		return -EOVERFLOW;

	p->size = info.pool_size;
	p->buf_size = info.buf_size;
	p->nr_bufs = info.nr_bufs;
	p->rights = info.rights;
	p->handle = info.handle;
	p->named = info.features & FBUF_FEATURE_NAMED_SEGS;
	p->parcels = info.features & FBUF_FEATURE_PARCELS;
	return p->soft ? 0 : pool_map(p);
}

int fbuf_pool_open(struct fbuf_pool **pool, int fd)
{
	int saved = errno, ret;
	struct fbuf_pool *p;

	p = calloc(1, sizeof(*p));
	if (!p) {
		errno = saved;
		return -ENOMEM;
	}
	ret = pool_init(p, fd);
	if (ret < 0)
		free(p);
	else
		*pool = p;
	errno = saved;
	return ret < 0 ? ret : 0;
}

int lib_options_get(void *opt, size_t known, const void *from, size_t size,
		    size_t least)
{
	const char *byte = from;
	size_t i;

	if (size < least)
		return -EINVAL;
	for (i = known; i < size; i++)
		if (byte[i])
			return -E2BIG;
	memset(opt, 0, known);
	memcpy(opt, from, size < known ? size : known);
	return 0;
}

static int pool_create(const struct fbuf_pool_options *opt)
{
	const struct fbuf_pool_create create = {
		.size = sizeof(create),
		.flags = opt->flags,
		.buf_size = opt->buf_size,
		.nr_bufs = opt->nr_bufs,
		.node = opt->node,
		.copy_above = opt->copy_above,
	};

	if (create.buf_size != opt->buf_size)
		return -EINVAL;
	return lib_pool_create(&create);
}

int fbuf_pool_create_sized(struct fbuf_pool **pool,
			   const struct fbuf_pool_options *options,
			   size_t size)
{
	struct fbuf_pool_options opt;
	int fd, ret;

	ret = lib_options_get(&opt, sizeof(opt), options, size,
			      LIB_OPTIONS_MIN);
	if (ret < 0)
		return ret;
	fd = pool_create(&opt);
	if (fd < 0)
		return fd;

	ret = fbuf_pool_open(pool, fd);
	if (ret < 0)
		lib_close(fd);
	return ret;
}

int fbuf_pool_create_on(struct fbuf_pool **pool, size_t buf_size,
			unsigned int nr_bufs, int node)
{
	const struct fbuf_pool_options opt = {
		.buf_size = buf_size,
		.nr_bufs = nr_bufs,
		.node = node,
	};

	return fbuf_pool_create_with(pool, &opt);
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
	lib_notices_free(pool->notices);
	if (pool->soft) {
		soft_close(pool);
	} else {
		if (pool->map)
			munmap(pool->map, pool->size);
		if (pool->ring)
			munmap(pool->ring, pool->ring_size);
		lib_parcels_unmap(pool);
		close(pool->fd);
	}
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

unsigned int fbuf_pool_rights(const struct fbuf_pool *pool)
{
	return pool->rights;
}

unsigned int fbuf_pool_handle(const struct fbuf_pool *pool)
{
	return pool->handle;
}

int fbuf_pool_info_sized(const struct fbuf_pool *pool, struct fbuf_info *info,
			 size_t size)
{
	if (size < LIB_INFO_MIN || size > _IOC_SIZEMASK)
		return -EINVAL;
	memset((void *)info, 0, size);
	info->size = size;
	return lib_call(pool, LIB_IOC(FBUF_IOC_INFO, size), info);
}
