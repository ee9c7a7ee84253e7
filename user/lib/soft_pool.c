// SPDX-License-Identifier: LGPL-2.1-or-later
/* Pools without the module: their memory. */

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/sysinfo.h>
#include <unistd.h>

#include "soft.h"

#ifndef MADV_POPULATE_WRITE
#define MADV_POPULATE_WRITE	23
#endif
#ifndef F_SEAL_FUTURE_WRITE
#define F_SEAL_FUTURE_WRITE	0x0010
#endif
#ifndef MFD_NOEXEC_SEAL
#define MFD_NOEXEC_SEAL		0x0008U
#endif
/* As in linux/mempolicy.h, which comes with libnuma. */
#define MPOL_PREFERRED		1
#define NODES_MAX		1024

#define POOL_FLAGS	(FBUF_POOL_SECURED | FBUF_POOL_SNAPSHOT |	\
			 FBUF_POOL_SIGBUS | FBUF_POOL_LAZY)

unsigned long *soft_bits_new(const struct soft_pool *p)
{
	return calloc((p->nr_bufs + SOFT_WORD - 1) / SOFT_WORD,
		      sizeof(unsigned long));
}

static int create_check(const struct fbuf_pool_create *c)
{
	const uint32_t both = FBUF_POOL_SECURED | FBUF_POOL_SNAPSHOT;
	uint64_t size = (uint64_t)c->buf_size * c->nr_bufs;
	struct sysinfo si;

	if (c->flags & ~POOL_FLAGS || (c->flags & both) == both ||
	    (c->flags & FBUF_POOL_SIGBUS && !(c->flags & both)))
		return -EINVAL;
	if (c->buf_size & (c->buf_size - 1) ||
	    c->buf_size < (uint32_t)getpagesize() ||
	    c->buf_size > FBUF_BUF_SIZE_MAX || !c->nr_bufs ||
	    size > FBUF_POOL_SIZE_MAX || c->node < -1 || c->node >= NODES_MAX ||
	    c->pad || c->pad2)
		return -EINVAL;
	if (size > SIZE_MAX ||
	    (!sysinfo(&si) && size / si.mem_unit > si.totalram))
		return -ENOMEM;
	return 0;
}

/* Another file on the same memory, which no mprotect() makes writable. */
static void *map_readonly(const struct soft_pool *p, int memfd)
{
	char path[32];
	void *map;
	int fd;

	snprintf(path, sizeof(path), "/proc/self/fd/%d", memfd);
	fd = open(path, O_RDONLY | O_CLOEXEC);
	map = mmap(NULL, p->size, PROT_READ, MAP_SHARED, fd < 0 ? memfd : fd, 0);
	if (fd >= 0)
		close(fd);
	return map;
}

/* Of a lazy pool memory is to be had and given back: that is a write. */
static int pool_seal(const struct soft_pool *p, int memfd)
{
	int seals = F_SEAL_SHRINK | F_SEAL_GROW;

	if (!(p->flags & FBUF_POOL_LAZY))
		fcntl(memfd, F_ADD_SEALS, F_SEAL_FUTURE_WRITE);
	return fcntl(memfd, F_ADD_SEALS, seals | F_SEAL_SEAL);
}

static int pool_bind(const struct soft_pool *p)
{
	unsigned long nodes[NODES_MAX / SOFT_WORD] = { 0 };

	if (p->node < 0)
		return 0;
	soft_bit_set(nodes, p->node);
	if (!syscall(SYS_mbind, p->rw, p->size, MPOL_PREFERRED, nodes,
		     NODES_MAX + 1UL, 0UL))
		return 0;
	/* A kernel that knows no nodes has one. */
	return errno == ENOSYS && !p->node ? 0 : -EINVAL;
}

static int pool_populate(const struct soft_pool *p, int memfd)
{
	if (p->flags & FBUF_POOL_LAZY)
		return 0;
	if (fallocate(memfd, 0, 0, p->size))
		return -ENOMEM;
	/* Older kernels take page faults later. */
	if (madvise(p->rw, p->size, MADV_POPULATE_WRITE) && errno != EINVAL)
		return -ENOMEM;
	return 0;
}

static int pool_map(struct soft_pool *p, int memfd)
{
	int err;

	if (ftruncate(memfd, p->size))
		return -errno;
	p->rw = mmap(NULL, p->size, PROT_READ | PROT_WRITE, MAP_SHARED, memfd,
		     0);
	if (p->rw == MAP_FAILED)
		return -errno;
	err = pool_bind(p);
	if (!err)
		err = pool_populate(p, memfd);
	if (err)
		return err;
	if (pool_seal(p, memfd))
		return -errno;
	p->ro = map_readonly(p, memfd);
	return p->ro == MAP_FAILED ? -errno : 0;
}

/* Some systems want to hear that it is not to be executed; old ones cannot. */
static int memfd_new(void)
{
	const unsigned int flags = MFD_CLOEXEC | MFD_ALLOW_SEALING;
	int fd = memfd_create("fbuf", flags | MFD_NOEXEC_SEAL);

	return fd < 0 && errno == EINVAL ? memfd_create("fbuf", flags) : fd;
}

/* With the mappings it is all there, and nobody has an fd of it. */
static int pool_fill_in(struct soft_pool *p)
{
	static uint64_t last_id;
	int memfd, err;

	p->bufs = calloc(p->nr_bufs, sizeof(*p->bufs));
	if (!p->bufs)
		return -ENOMEM;
	memfd = memfd_new();
	if (memfd < 0)
		return -errno;
	err = pool_map(p, memfd);
	close(memfd);
	p->id = __atomic_add_fetch(&last_id, 1, __ATOMIC_RELAXED);
	p->uid = getuid();
	return err;
}

int soft_pool_new(struct soft_pool **pool,
		  const struct fbuf_pool_create *create)
{
	struct soft_pool *p;
	int err;

	err = create_check(create);
	if (err)
		return err;
	p = calloc(1, sizeof(*p));
	if (!p)
		return -ENOMEM;
	pthread_mutex_init(&p->lock, NULL);
	p->rw = MAP_FAILED;
	p->ro = MAP_FAILED;
	p->uffd = -1;
	p->size = (size_t)create->buf_size * create->nr_bufs;
	p->buf_size = create->buf_size;
	p->nr_bufs = create->nr_bufs;
	p->flags = create->flags;
	p->copy_above = create->copy_above;
	p->node = create->node;
	p->idle = SOFT_NONE;
	err = pool_fill_in(p);
	if (err)
		soft_pool_free(p);
	else
		*pool = p;
	return err;
}

void soft_pool_free(struct soft_pool *p)
{
	soft_secure_end(p);
	if (p->ro != MAP_FAILED)
		munmap(p->ro, p->size);
	if (p->rw != MAP_FAILED)
		munmap(p->rw, p->size);
	free(p->bufs);
	pthread_mutex_destroy(&p->lock);
	free(p);
}

uint64_t soft_pool_resident(const struct soft_pool *p)
{
	const size_t page = getpagesize();
	unsigned char has[4096];
	uint64_t pages = 0;
	size_t at, len, i;

	for (at = 0; at < p->size; at += len) {
		len = p->size - at < page * sizeof(has) ? p->size - at :
							  page * sizeof(has);
		if (mincore(p->rw + at, len, has))
			return p->size;
		for (i = 0; i < len / page; i++)
			pages += has[i] & 1;
	}
	return pages * page;
}
