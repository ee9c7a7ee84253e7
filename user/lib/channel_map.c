// SPDX-License-Identifier: LGPL-2.1-or-later
/*
 * Files in memory. A page that another process cuts off the file is gone from every
 * mapping: who touches it gets SIGBUS. The kernel, when it reads user memory for a
 * system call, gets EFAULT; so the reads here are its.
 */

#include <limits.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/uio.h>
#include <unistd.h>

#include "channel.h"

/* Of newer headers; Linux has it since 5.14. */
#ifndef MADV_POPULATE_READ
#define MADV_POPULATE_READ	22
#endif

/* Pages that is_loaded asks for at once. */
#define MINCORE_PAGES		4096U
/* Bytes that a pipe surely takes. */
#define PIPE_PIECE		((size_t)4096)

struct fbuf_map {
	char *base;		/* on a page; or NULL: size is 0 */
	size_t total;		/* from there on */
	char *addr;
	size_t size;
	unsigned int mode;
};

static size_t page_size(void)
{
	return sysconf(_SC_PAGESIZE);
}

/*
 * The file becomes longer; by ftruncate() it would become shorter, if another made
 * it longer still meanwhile. Not all file systems have that.
 */
static int grow(int file, off_t size)
{
	struct quiet q;
	int ret;

	quiet_begin(&q);
	do {
		ret = fallocate(file, 0, size - 1, 1);
		if (ret < 0 && errno == EOPNOTSUPP)
			ret = ftruncate(file, size);
	} while (ret < 0 && errno == EINTR);
	if (ret < 0)
		ret = -errno;
	quiet_end(&q, ret < 0);
	return ret;
}

static int check_file(int file, unsigned int mode, off_t end)
{
	int flags = fcntl(file, F_GETFL);
	struct stat st;
	bool writable;

	if (flags < 0 || fstat(file, &st) < 0)
		return -errno;
	writable = (flags & O_ACCMODE) == O_RDWR;
	if (mode != FBUF_MAP_READ_ONLY && !writable)
		return -EACCES;
	if (!S_ISREG(st.st_mode) || st.st_size >= end)
		return 0;
	return writable ? grow(file, end) : -EACCES;
}

static int map_file(struct fbuf_map *m, int file, off_t pos)
{
	size_t skip = pos & (page_size() - 1);
	int prot = PROT_READ;

	if (m->mode != FBUF_MAP_READ_ONLY)
		prot |= PROT_WRITE;
	m->total = m->size + skip;
	m->base = mmap(NULL, m->total, prot, m->mode == FBUF_MAP_PRIVATE ?
		       MAP_PRIVATE : MAP_SHARED, file, pos - skip);
	if (m->base == MAP_FAILED)
		return -errno;
	m->addr = m->base + skip;
	return 0;
}

static int map_open(struct fbuf_map *m, int file, off_t pos)
{
	off_t end;
	int ret;

	if (m->mode < FBUF_MAP_READ_ONLY || m->mode > FBUF_MAP_PRIVATE ||
	    pos < 0 || m->size > SSIZE_MAX ||
	    __builtin_add_overflow(pos, (off_t)m->size, &end))
		return -EINVAL;
	ret = check_file(file, m->mode, end);
	return ret < 0 || !m->size ? ret : map_file(m, file, pos);
}

int fbuf_map_open(struct fbuf_map **map, int file, unsigned int mode, off_t pos,
		  size_t size)
{
	struct fbuf_map *m;
	int saved = errno;
	int ret = -ENOMEM;

	m = calloc(1, sizeof(*m));
	if (m) {
		m->mode = mode;
		m->size = size;
		ret = map_open(m, file, pos);
	}
	if (ret < 0)
		free(m);
	else
		*map = m;
	errno = saved;
	return ret;
}

void fbuf_map_close(struct fbuf_map *map)
{
	int saved = errno;

	if (!map)
		return;
	if (map->base)
		munmap(map->base, map->total);
	free(map);
	errno = saved;
}

void *fbuf_map_addr(const struct fbuf_map *map)
{
	return map->addr;
}

size_t fbuf_map_size(const struct fbuf_map *map)
{
	return map->size;
}

unsigned int fbuf_map_mode(const struct fbuf_map *map)
{
	return map->mode;
}

int fbuf_map_force_range(struct fbuf_map *map, size_t offset, size_t len)
{
	int saved = errno, ret = 0;
	size_t skip;

	if (offset > map->size || len > map->size - offset)
		return -EINVAL;
	if (!len || map->mode != FBUF_MAP_READ_WRITE)
		return 0;
	skip = (uintptr_t)(map->addr + offset) & (page_size() - 1);
	if (msync(map->addr + offset - skip, len + skip, MS_SYNC) < 0)
		ret = -errno;
	errno = saved;
	return ret;
}

int fbuf_map_force(struct fbuf_map *map)
{
	return fbuf_map_force_range(map, 0, map->size);
}

/* Copies up to len bytes of our own memory, or returns -EFAULT. */
static ssize_t vm_read(const char *from, void *buf, size_t len)
{
	struct iovec here = { buf, len }, there = { (void *)from, len };
	ssize_t ret;

	if (!channel_is_open(CHANNEL_VM))
		return CHANNEL_NOT_SO;
	ret = process_vm_readv(getpid(), &here, 1, &there, 1, 0);
	if (ret >= 0)
		return ret;
	if (errno == EFAULT)
		return -EFAULT;
	/* A kernel without it, or a filter: it will not come. */
	channel_close_way(CHANNEL_VM);
	return CHANNEL_NOT_SO;
}

/* The same by way of a pipe, which is empty before and after. */
static ssize_t pipe_read(const int fds[2], const char *from, void *buf,
			 size_t len)
{
	ssize_t ret;

	/* A write that fails within a page has none of it. */
	if (len > PIPE_PIECE - ((uintptr_t)from & (PIPE_PIECE - 1)))
		len = PIPE_PIECE - ((uintptr_t)from & (PIPE_PIECE - 1));
	ret = write(fds[1], from, len);
	if (ret > 0)
		ret = read(fds[0], buf, ret);
	return ret < 0 ? -errno : ret;
}

static ssize_t pipe_read_all(const char *from, char *buf, size_t len)
{
	ssize_t ret = 0;
	size_t done = 0;
	int fds[2];

	if (pipe2(fds, O_CLOEXEC | O_NONBLOCK) < 0)
		return -errno;
	while (done < len) {
		ret = pipe_read(fds, from + done, buf + done, len - done);
		if (ret <= 0)
			break;
		done += ret;
	}
	close(fds[0]);
	close(fds[1]);
	return transfer_result(done, ret);
}

static ssize_t safe_read(const char *from, char *buf, size_t len)
{
	ssize_t ret = 0;
	size_t done = 0;

	while (done < len) {
		ret = vm_read(from + done, buf + done, len - done);
		if (ret == CHANNEL_NOT_SO)
			ret = pipe_read_all(from + done, buf + done,
					    len - done);
		if (ret <= 0)
			break;
		done += ret;
	}
	return ret == -EFAULT ? (ssize_t)done : transfer_result(done, ret);
}

ssize_t fbuf_map_read(const struct fbuf_map *map, size_t offset, void *buf,
		      size_t len)
{
	int saved = errno;
	ssize_t ret;

	if (offset > map->size || len > map->size - offset)
		return -EINVAL;
	ret = len ? safe_read(map->addr + offset, buf, len) : 0;
	errno = saved;
	return ret;
}

/* A byte of each page, as populate does it. */
static int touch(const struct fbuf_map *map)
{
	size_t page = page_size(), i;
	ssize_t ret;
	char byte;

	for (i = 0; i < map->total; i += page) {
		ret = safe_read(map->base + i, &byte, 1);
		if (ret != 1)
			return ret ? ret : -EFAULT;
	}
	return 0;
}

static int populate(const struct fbuf_map *map)
{
	if (!channel_is_open(CHANNEL_POPULATE))
		return touch(map);
	if (!madvise(map->base, map->total, MADV_POPULATE_READ))
		return 0;
	if (errno != EINVAL)
		return -errno;
	channel_close_way(CHANNEL_POPULATE);
	return touch(map);
}

int fbuf_map_load(struct fbuf_map *map)
{
	int saved = errno, ret = 0;

	if (map->base) {
		madvise(map->base, map->total, MADV_WILLNEED);
		ret = populate(map);
	}
	errno = saved;
	return ret;
}

static int is_loaded(const struct fbuf_map *map)
{
	unsigned char pages[MINCORE_PAGES];
	size_t page = page_size(), left = map->total, n, i;
	char *at = map->base;

	while (left) {
		n = (left + page - 1) / page;
		if (n > MINCORE_PAGES)
			n = MINCORE_PAGES;
		if (mincore(at, n * page, pages) < 0)
			return -errno;
		for (i = 0; i < n; i++)
			if (!(pages[i] & 1))
				return 0;
		at += n * page;
		left -= left < n * page ? left : n * page;
	}
	return 1;
}

int fbuf_map_is_loaded(const struct fbuf_map *map)
{
	int saved = errno, ret = is_loaded(map);

	errno = saved;
	return ret;
}
