// SPDX-License-Identifier: LGPL-2.1-or-later
/* Buffers: taken, held, waited for, secured, passed and freed. */

#include <errno.h>
#include <limits.h>

#include "lib.h"

static int batch_call(const struct fbuf_pool *pool, unsigned long cmd,
		      const uint64_t *names, unsigned int count,
		      unsigned int flags, int timeout_ms)
{
	struct fbuf_batch batch = {
		.size = sizeof(batch),
		.flags = flags,
		.names = (uintptr_t)names,
		.count = count,
		.timeout = timeout_ms,
	};

	return lib_call(pool, cmd, &batch);
}

/* For the calls that do all or nothing. */
static int batch_all(const struct fbuf_pool *pool, unsigned long cmd,
		     const uint64_t *names, unsigned int count)
{
	int ret = batch_call(pool, cmd, names, count, 0, 0);

	return ret < 0 ? ret : 0;
}

int fbuf_alloc_flags(struct fbuf_pool *pool, uint64_t *names,
		     unsigned int count, unsigned int flags, int timeout_ms)
{
	return batch_call(pool, FBUF_IOC_ALLOC, names, count, flags,
			  timeout_ms);
}

/*
 * For ever is as long as can be, time and again: without any limit the module
 * would start again after a signal.
 */
int fbuf_alloc(struct fbuf_pool *pool, uint64_t *names, unsigned int count,
	       int timeout_ms)
{
	unsigned int flags = 0;
	int ret;

	if (timeout_ms)
		flags = FBUF_ALLOC_WAIT | FBUF_ALLOC_UNHELD;
	if (count > FBUF_BATCH_MAX)
		count = FBUF_BATCH_MAX;
	do {
		ret = fbuf_alloc_flags(pool, names, count, flags,
				       timeout_ms < 0 ? INT_MAX : timeout_ms);
	} while (ret == -ETIMEDOUT && timeout_ms < 0);
	return ret == -ETIMEDOUT ? -EAGAIN : ret;
}

int fbuf_free(struct fbuf_pool *pool, const uint64_t *names,
	      unsigned int count)
{
	return batch_all(pool, FBUF_IOC_FREE, names, count);
}

int fbuf_hold(struct fbuf_pool *pool, const uint64_t *names,
	      unsigned int count)
{
	return batch_all(pool, FBUF_IOC_HOLD, names, count);
}

int fbuf_drop(struct fbuf_pool *pool, const uint64_t *names,
	      unsigned int count)
{
	return batch_all(pool, FBUF_IOC_DROP, names, count);
}

int fbuf_secure(struct fbuf_pool *pool, const uint64_t *names,
		unsigned int count)
{
	return batch_all(pool, FBUF_IOC_SECURE, names, count);
}

int fbuf_wait(struct fbuf_pool *pool, const uint64_t *names,
	      unsigned int count, unsigned int flags, int timeout_ms)
{
	return batch_call(pool, FBUF_IOC_WAIT, names, count, flags, timeout_ms);
}

int fbuf_pass(struct fbuf_pool *pool, unsigned int to,
	      const struct fbuf_item *items, unsigned int count,
	      unsigned int flags)
{
	struct fbuf_pass pass = {
		.size = sizeof(pass),
		.flags = flags,
		.items = (uintptr_t)items,
		.count = count,
		.to = to,
	};
	int ret = lib_call(pool, FBUF_IOC_PASS, &pass);

	return ret < 0 ? ret : 0;
}

void *fbuf_addr(const struct fbuf_pool *pool, uint64_t name)
{
	unsigned int index = FBUF_NAME_INDEX(name);

	if (!pool->map || index >= pool->nr_bufs)
		return NULL;
	return pool->map + index * pool->buf_size;
}
