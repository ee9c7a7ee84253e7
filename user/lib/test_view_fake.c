// SPDX-License-Identifier: LGPL-2.1-or-later
/* A pool without a module, for tests of views: ioctl() is our own, or all is. */

#include <errno.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <unistd.h>

#include <fbuf/backend.h>
#include <fbuf/parcel.h>

#include "lib.h"
#include "test_view_fake.h"

#define MAX_BUFS	512U
#define MAX_POOLS	8U
#define MAX_PARCELS	4096U
#define GEN		3U

struct fake {
	int fd;
	unsigned int flags;
	unsigned int nr;
	bool held[MAX_BUFS];
	unsigned int nr_parcels;
	char *parcels[MAX_PARCELS];
};

static struct {
	pthread_mutex_t lock;
	unsigned int nr;
	struct fake pools[MAX_POOLS];
	bool flies;
} fakes = { .lock = PTHREAD_MUTEX_INITIALIZER };

static int info(const struct fake *fake, struct fbuf_info *info)
{
	unsigned int i;

	for (i = 0; i < fake->nr; i++)
		info->nr_held += fake->held[i];
	info->pool_size = (uint64_t)FAKE_BUF * fake->nr;
	info->buf_size = FAKE_BUF;
	info->nr_bufs = fake->nr;
	info->rights = FBUF_RIGHT_READ | FBUF_RIGHT_WRITE | FBUF_RIGHT_ALLOC |
		       FBUF_RIGHT_SEND;
	info->pool_flags = fake->flags;
	info->nr_parcels = fake->nr_parcels;
	info->features = FBUF_FEATURE_NAMED_SEGS | FBUF_FEATURE_PARCELS;
	return 0;
}

static int alloc(struct fake *fake, const struct fbuf_batch *b, uint64_t *names)
{
	unsigned int i, n = 0;

	for (i = 0; i < fake->nr && n < b->count; i++) {
		if (fake->held[i])
			continue;
		fake->held[i] = true;
		names[n++] = FBUF_NAME(i, GEN);
	}
	return n ? (int)n : -ENOBUFS;
}

/* Generations are the lengths. */
static char **parcel_at(struct fake *fake, uint64_t name)
{
	uint32_t index = FBUF_NAME_INDEX(name) & ~FBUF_NAME_PARCEL;

	return fbuf_is_parcel(name) && index < MAX_PARCELS &&
	       fake->parcels[index] ? &fake->parcels[index] : NULL;
}

static int recv_parcel(struct fake *fake, struct fbuf_recv *r)
{
	unsigned int i = 0;

	while (i < MAX_PARCELS && fake->parcels[i])
		i++;
	if (i == MAX_PARCELS)
		return -ENOBUFS;
	fake->parcels[i] = malloc(r->len);
	if (recv(r->fd, fake->parcels[i], r->len, 0) != (ssize_t)r->len)
		return -EIO;
	fake->nr_parcels++;
	r->name = FBUF_NAME(FBUF_NAME_PARCEL | i, r->len);
	return r->len;
}

static int read_parcel(struct fake *fake, const struct fbuf_read *r)
{
	char **data = parcel_at(fake, r->name);
	size_t len = FBUF_NAME_GEN(r->name);

	if (!data)
		return -ESTALE;
	if (!r->len || r->offset >= len || r->len > len - r->offset)
		return -EINVAL;
	memcpy((void *)(uintptr_t)r->to, *data + r->offset, r->len);
	return r->len;
}

static int free_parcel(struct fake *fake, uint64_t name)
{
	char **data = parcel_at(fake, name);

	if (!data)
		return -ESTALE;
	free(*data);
	*data = NULL;
	fake->nr_parcels--;
	return 1;
}

static int free_all(struct fake *fake, const struct fbuf_batch *b, const uint64_t *names)
{
	unsigned int i;

	if (fbuf_is_parcel(names[0]))
		return free_parcel(fake, names[0]);
	for (i = 0; i < b->count; i++) {
		uint32_t index = FBUF_NAME_INDEX(names[i]);

		if (index >= fake->nr || !fake->held[index])
			return -ESTALE;
		fake->held[index] = false;
	}
	return b->count;
}

static int wait_all(const struct fbuf_batch *b)
{
	return fakes.flies ? -ETIMEDOUT : (int)b->count;
}

static int batch(struct fake *fake, unsigned long request,
		 const struct fbuf_batch *b)
{
	uint64_t *names = (void *)(uintptr_t)b->names;

	switch (request) {
	case FBUF_IOC_ALLOC:
		return alloc(fake, b, names);
	case FBUF_IOC_FREE:
		return free_all(fake, b, names);
	case FBUF_IOC_WAIT:
		return wait_all(b);
	}
	return -ENOTTY;
}

int ioctl(int fd, unsigned long request, ...)
{
	unsigned int i = 0;
	int ret = -ENOTTY;
	va_list ap;
	void *arg;

	va_start(ap, request);
	arg = va_arg(ap, void *);
	va_end(ap);
	pthread_mutex_lock(&fakes.lock);
	while (i < fakes.nr && fakes.pools[i].fd != fd)
		i++;
	if (i < fakes.nr && request == FBUF_IOC_INFO)
		ret = info(&fakes.pools[i], arg);
	else if (i < fakes.nr && request == FBUF_IOC_RECV)
		ret = recv_parcel(&fakes.pools[i], arg);
	else if (i < fakes.nr && request == FBUF_IOC_READ)
		ret = read_parcel(&fakes.pools[i], arg);
	else if (i < fakes.nr && request == FBUF_IOC_SHOW)
		ret = 0;
	else if (i < fakes.nr)
		ret = batch(&fakes.pools[i], request, arg);
	pthread_mutex_unlock(&fakes.lock);
	if (ret >= 0)
		return ret;
	errno = -ret;
	return -1;
}

/* One of the library's own. */
static int user_pool(struct fbuf_pool **pool, unsigned int nr,
		     unsigned int flags)
{
	struct fbuf_pool_options options = FBUF_POOL_OPTIONS_INIT;
	int ret;

	options.buf_size = FAKE_BUF;
	options.nr_bufs = nr;
	options.flags = flags;
	ret = fbuf_backend_set(FBUF_BACKEND_USER);
	return ret ? ret : fbuf_pool_create_with(pool, &options);
}

struct fbuf_pool *fake_pool(unsigned int nr, unsigned int flags)
{
	const char *backend = getenv("FBUF_BACKEND");
	struct fbuf_pool *pool;
	int fd;

	if (backend && !strcmp(backend, "user")) {
		if (!user_pool(&pool, nr, flags))
			return pool;
		goto bail;
	}
	fd = memfd_create("pool", MFD_CLOEXEC);
	if (fd < 0 || ftruncate(fd, (off_t)nr * FAKE_BUF) ||
	    fakes.nr == MAX_POOLS)
		goto bail;
	fakes.pools[fakes.nr++] = (struct fake){
		.fd = fd,
		.nr = nr,
		.flags = flags,
	};
	if (!fbuf_pool_open(&pool, fd))
		return pool;
bail:
	printf("Bail out! No pool.\n");
	exit(1);
}

void fake_fly(bool flies)
{
	pthread_mutex_lock(&fakes.lock);
	fakes.flies = flies;
	pthread_mutex_unlock(&fakes.lock);
}

unsigned int fake_held(const struct fbuf_pool *pool)
{
	struct fbuf_info info;

	return fbuf_pool_info(pool, &info) ? ~0U :
					     info.nr_held + info.nr_parcels;
}
