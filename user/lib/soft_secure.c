// SPDX-License-Identifier: LGPL-2.1-or-later
/*
 * Pools without the module: buffers that nobody writes to while they are secured.
 * A userfaultfd write-protects them. Nobody answers its faults: who stores there
 * sleeps until the protection goes, or gets SIGBUS, as the pool says, and a system
 * call that would store there fails with EFAULT.
 */

#include <fcntl.h>
#include <linux/userfaultfd.h>
#include <stdio.h>
#include <unistd.h>

#include "soft.h"

#ifndef UFFD_USER_MODE_ONLY
#define UFFD_USER_MODE_ONLY	1
#endif
#ifndef UFFD_FEATURE_WP_HUGETLBFS_SHMEM
#define UFFD_FEATURE_WP_HUGETLBFS_SHMEM	(1 << 12)
#endif

/* As long as the module waits for what passes. */
#define BUSY_MS		10

static int uffd_new(uint64_t features)
{
	struct uffdio_api api = {
		.api = UFFD_API,
		.features = features | UFFD_FEATURE_PAGEFAULT_FLAG_WP |
			    UFFD_FEATURE_WP_HUGETLBFS_SHMEM,
	};
	int fd = syscall(SYS_userfaultfd,
			 O_CLOEXEC | O_NONBLOCK | UFFD_USER_MODE_ONLY);

	if (fd >= 0 && ioctl(fd, UFFDIO_API, &api)) {
		close(fd);
		fd = -1;
	}
	return fd;
}

bool soft_can_secure(void)
{
	int fd = uffd_new(UFFD_FEATURE_SIGBUS);

	if (fd >= 0)
		close(fd);
	return fd >= 0;
}

static int uffd_get(struct soft_pool *p)
{
	struct uffdio_register reg = {
		.range = { .start = (uintptr_t)p->rw, .len = p->size },
		.mode = UFFDIO_REGISTER_MODE_WP,
	};
	int fd;

	if (p->uffd >= 0)
		return 0;
	fd = uffd_new(p->flags & FBUF_POOL_SIGBUS ? UFFD_FEATURE_SIGBUS : 0);
	if (fd < 0)
		return -EOPNOTSUPP;
	if (ioctl(fd, UFFDIO_REGISTER, &reg)) {
		close(fd);
		return -EOPNOTSUPP;
	}
	p->uffd = fd;
	return 0;
}

void soft_secure_end(struct soft_pool *p)
{
	static const char want[] = "anon_inode:[userfaultfd]";
	char path[32], is[sizeof(want)];
	ssize_t len;

	if (p->uffd < 0)
		return;
	snprintf(path, sizeof(path), "/proc/self/fd/%d", p->uffd);
	len = readlink(path, is, sizeof(is));
	/* It may have been closed, and another have its number. */
	if (len < 0 || (len == sizeof(want) - 1 && !memcmp(is, want, len)))
		close(p->uffd);
}

static int protect(const struct soft_pool *p, uint32_t index, bool on)
{
	struct uffdio_writeprotect wp = {
		.range = {
			.start = (uintptr_t)soft_addr(p, index),
			.len = p->buf_size,
		},
		.mode = on ? UFFDIO_WRITEPROTECT_MODE_WP : 0,
	};

	while (ioctl(p->uffd, UFFDIO_WRITEPROTECT, &wp))
		if (errno != EAGAIN)
			return -ENOMEM;
	return 0;
}

static int check_all(const struct soft_handle *h, const uint64_t *names,
		     unsigned int count)
{
	unsigned int i;

	for (i = 0; i < count; i++) {
		int64_t index = soft_buf_check(h, names[i]);

		if (index < 0)
			return index;
		if (h->pool->bufs[index].fills)
			return -EBUSY;
	}
	return 0;
}

/* 1, or 0 if it was secured, or an error. */
static int secure_one(struct soft_handle *h, uint32_t index)
{
	struct soft_buf *b = &h->pool->bufs[index];
	int err = 0;

	if (soft_bit(h->secures, index))
		return 0;
	if (!b->secured)
		err = protect(h->pool, index, true);
	if (err)
		return err;
	soft_bit_set(h->secures, index);
	b->secured++;
	return 1;
}

void soft_unsecure(struct soft_handle *h, uint32_t index)
{
	struct soft_buf *b = &h->pool->bufs[index];

	if (!soft_bit(h->secures, index))
		return;
	soft_bit_clear(h->secures, index);
	if (!--b->secured)
		protect(h->pool, index, false);
}

/* All, or none that was not secured before. */
static int secure_all(struct soft_handle *h, const uint64_t *names,
		      unsigned int count)
{
	struct soft_pool *p = h->pool;
	unsigned int i;
	int ret = 0;

	p->batch++;
	for (i = 0; i < count; i++) {
		uint32_t index = FBUF_NAME_INDEX(names[i]);

		ret = secure_one(h, index);
		if (ret < 0)
			break;
		if (ret)
			p->bufs[index].mark = p->batch;
	}
	if (ret >= 0)
		return count;
	while (i--)
		if (p->bufs[FBUF_NAME_INDEX(names[i])].mark == p->batch)
			soft_unsecure(h, FBUF_NAME_INDEX(names[i]));
	return ret;
}

int soft_secure(struct soft_handle *h, const uint64_t *names,
		unsigned int count)
{
	struct soft_deadline d;
	int err, late = 0;

	if (soft_is_volatile(h->pool))
		return -EOPNOTSUPP;
	soft_deadline(&d, BUSY_MS);
	while ((err = check_all(h, names, count)) == -EBUSY && !late)
		late = soft_sleep(h->pool, &d);
	if (!err)
		err = uffd_get(h->pool);
	return err ? err : secure_all(h, names, count);
}
