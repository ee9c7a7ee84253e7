// SPDX-License-Identifier: LGPL-2.1-or-later
/* Parcels: what was received, and stays where it is. */

#include <errno.h>
#include <sys/mman.h>

#include <fbuf/parcel.h>

#include "lib.h"

#define PLACES_SIZE	((size_t)FBUF_MMAP_PARCELS_SIZE)

/* What the words of a call cannot hold is too much in any case. */
static bool fits(size_t len)
{
	return len <= FBUF_PARCEL_MAX;
}

static int parcel_call(const struct fbuf_pool *pool, unsigned long cmd,
		       void *arg)
{
	return pool->parcels ? lib_call(pool, cmd, arg) : -EOPNOTSUPP;
}

/* As long as the old parcel is there, it is the caller's. */
static ssize_t recv_call(const struct fbuf_pool *pool, struct fbuf_recv *recv,
			 size_t len, uint64_t *name)
{
	int ret;

	if (!fits(len))
		return -EINVAL;
	recv->size = sizeof(*recv);
	recv->len = len;
	ret = parcel_call(pool, FBUF_IOC_RECV, recv);
	*name = ret > 0 ? recv->name : recv->drop;
	return ret;
}

ssize_t fbuf_recv(struct fbuf_pool *pool, int sock, size_t len,
		  unsigned int flags, uint64_t *name)
{
	struct fbuf_recv recv = { .flags = flags, .fd = sock };

	return recv_call(pool, &recv, len, name);
}

ssize_t fbuf_recv_head(struct fbuf_pool *pool, int sock, size_t len,
		       unsigned int flags, void *head, size_t *head_len,
		       uint64_t *name)
{
	struct fbuf_recv recv = {
		.flags = flags,
		.fd = sock,
		.drop = *name,
		.head = (uintptr_t)head,
		.head_len = *head_len < len ? *head_len : len,
	};
	ssize_t ret = recv_call(pool, &recv, len, name);

	*head_len = ret > 0 ? recv.head_len : 0;
	return ret;
}

int fbuf_parcel_read(const struct fbuf_pool *pool, uint64_t name, size_t offset,
		     void *to, size_t len)
{
	struct fbuf_read read = {
		.size = sizeof(read),
		.name = name,
		.to = (uintptr_t)to,
		.offset = offset,
		.len = len,
	};
	int ret;

	if (!fits(offset) || !fits(len))
		return -EINVAL;
	ret = parcel_call(pool, FBUF_IOC_READ, &read);
	return ret < 0 ? ret : 0;
}

int fbuf_parcel_show(struct fbuf_pool *pool, uint64_t name,
		     struct fbuf_part *parts, unsigned int count)
{
	struct fbuf_show show = {
		.size = sizeof(show),
		.name = name,
		.parts = (uintptr_t)parts,
		.count = count < FBUF_BATCH_MAX ? count : FBUF_BATCH_MAX,
	};

	return parcel_call(pool, FBUF_IOC_SHOW, &show);
}

/*
 * The places of all parcels, once and for all: what is there comes and goes with
 * them. NULL: there are no such addresses to be had.
 */
static char *parcels_map(struct fbuf_pool *pool)
{
	char *map = __atomic_load_n(&pool->parcel_map, __ATOMIC_ACQUIRE);
	int saved = errno;
	char *old = NULL;

	if (map || FBUF_MMAP_PARCELS_SIZE > SIZE_MAX)
		return map;
	map = mmap(NULL, PLACES_SIZE, PROT_READ, MAP_SHARED | MAP_NORESERVE,
		   pool->fd, FBUF_MMAP_PARCELS);
	errno = saved;
	if (map == MAP_FAILED)
		return NULL;
	if (__atomic_compare_exchange_n(&pool->parcel_map, &old, map, false,
					__ATOMIC_ACQ_REL, __ATOMIC_ACQUIRE))
		return map;
	munmap(map, PLACES_SIZE);
	return old;
}

const void *fbuf_parcel_addr(struct fbuf_pool *pool,
			     const struct fbuf_part *part)
{
	uint64_t at = part->at - FBUF_MMAP_PARCELS;
	const char *map;

	if (at >= FBUF_MMAP_PARCELS_SIZE ||
	    part->len > FBUF_MMAP_PARCELS_SIZE - at)
		return NULL;
	map = parcels_map(pool);
	return map ? map + at : NULL;
}

void lib_parcels_unmap(struct fbuf_pool *pool)
{
	if (pool->parcel_map)
		munmap(pool->parcel_map, PLACES_SIZE);
}
