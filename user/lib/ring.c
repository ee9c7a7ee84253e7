// SPDX-License-Identifier: LGPL-2.1-or-later
/* Rings: what the module tells a handle of its buffers. */

#include <errno.h>
#include <poll.h>
#include <stdbool.h>
#include <sys/mman.h>

#include "lib.h"

/* The fd may be of another driver, see fbuf_pool_open(). */
static bool map_fits(uint64_t size, unsigned int entries)
{
	return entries && size <= SIZE_MAX &&
	       size >= FBUF_RING_ENTRIES +
		       (uint64_t)entries * sizeof(struct fbuf_ring_entry);
}

int fbuf_ring_setup(struct fbuf_pool *pool, unsigned int entries,
		    unsigned int flags, int eventfd)
{
	struct fbuf_ring_setup setup = {
		.size = sizeof(setup),
		.flags = flags,
		.entries = entries,
		/* The module wants 0 where there is none. */
		.eventfd = flags & FBUF_RING_EVENTFD ? eventfd : 0,
	};
	int saved = errno, ret;
	void *map;

	ret = lib_call(pool, FBUF_IOC_RING, &setup);
	if (ret < 0)
		return ret;
	if (pool->ring || !map_fits(setup.map_size, entries))
		return -EPROTO;
	if (pool->soft)
		map = soft_ring_memory(pool->soft);
	else
		map = mmap(NULL, setup.map_size, PROT_READ | PROT_WRITE,
			   MAP_SHARED, pool->fd, FBUF_MMAP_RING);
	if (map == MAP_FAILED) {
		ret = -errno;
		errno = saved;
		return ret;
	}
	pool->ring_size = setup.map_size;
	pool->ring_mask = entries - 1;
	pool->ring = map;
	return 0;
}

/* By words: another thread may have claimed it, and its place be written anew. */
static struct fbuf_ring_entry ring_entry(const struct fbuf_pool *pool,
					 uint32_t number)
{
	const char *base = (const char *)pool->ring + FBUF_RING_ENTRIES;
	const struct fbuf_ring_entry *from =
		(const struct fbuf_ring_entry *)base +
		(number & pool->ring_mask);
	union lib_ring_words to;
	unsigned int i;

	for (i = 0; i < LIB_RING_WORDS; i++)
		to.words[i] = __atomic_load_n((const lib_word *)from + i,
					      __ATOMIC_RELAXED);
	return to.entry;
}

/*
 * Any number of threads may consume: the entry is copied before it is claimed.
 * If somebody else was faster, what was copied may be a newer entry or half of
 * one, but then the claim fails.
 */
int fbuf_ring_next(struct fbuf_pool *pool, struct fbuf_ring_entry *entry)
{
	struct fbuf_ring *ring = pool->ring;
	struct fbuf_ring_entry e;
	uint32_t head, tail;

	if (!ring)
		return -EINVAL;
	head = __atomic_load_n(&ring->head, __ATOMIC_ACQUIRE);
	do {
		tail = __atomic_load_n(&ring->tail, __ATOMIC_ACQUIRE);
		if (head == tail)
			return 0;
		e = ring_entry(pool, head);
	} while (!__atomic_compare_exchange_n(&ring->head, &head, head + 1,
					      0, __ATOMIC_ACQ_REL,
					      __ATOMIC_ACQUIRE));
	if (pool->soft)
		soft_ring_took(pool, head + 1 == tail);
	*entry = e;
	return 1;
}

int fbuf_ring_wait(struct fbuf_pool *pool, struct fbuf_ring_entry *entry,
		   int timeout_ms)
{
	struct pollfd pfd = { .fd = pool->fd, .events = POLLIN };
	long long end = 0, left = timeout_ms;
	int saved = errno, ret;

	ret = fbuf_ring_next(pool, entry);
	if (ret || !timeout_ms)
		return ret;
	if (timeout_ms > 0)
		end = lib_now_ms() + timeout_ms;
	do {
		/* Another thread may have been faster: then once more. */
		ret = poll(&pfd, 1, timeout_ms < 0 ? -1 : left);
		if (ret < 0)
			ret = -errno;
		else if (ret && !(pfd.revents & POLLIN))
			ret = -EIO;
		else
			ret = fbuf_ring_next(pool, entry);
		if (timeout_ms > 0)
			left = end - lib_now_ms();
	} while (!ret && (timeout_ms < 0 || left > 0));
	errno = saved;
	return ret;
}

int fbuf_ring_overflow(const struct fbuf_pool *pool, uint64_t *overflow)
{
	if (!pool->ring)
		return -EINVAL;
	*overflow = __atomic_load_n(&pool->ring->overflow, __ATOMIC_RELAXED);
	return 0;
}
