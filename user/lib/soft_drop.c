// SPDX-License-Identifier: LGPL-2.1-or-later
/* Pools without the module: buffers of lazy pools lose their memory. */

#include <sys/mman.h>

#include "soft.h"

static int drop_check(const struct soft_handle *h, const uint64_t *names,
		      unsigned int count)
{
	unsigned int i;

	for (i = 0; i < count; i++) {
		int64_t index = soft_buf_check(h, names[i]);
		const struct soft_buf *b = &h->pool->bufs[index < 0 ? 0 : index];

		if (index < 0)
			return index;
		if (b->holds > 1 || b->secured || b->flights)
			return -EBUSY;
	}
	return 0;
}

/* The pool is locked: no call refers to any of them meanwhile. */
int soft_drop(struct soft_handle *h, const uint64_t *names, unsigned int count)
{
	struct soft_pool *p = h->pool;
	unsigned int i;
	int err;

	if (!(h->rights & FBUF_RIGHT_WRITE))
		return -EACCES;
	if (!(p->flags & FBUF_POOL_LAZY))
		return -EOPNOTSUPP;
	err = drop_check(h, names, count);
	for (i = 0; i < count && !err; i++)
		if (madvise(soft_addr(p, FBUF_NAME_INDEX(names[i])),
			    p->buf_size, MADV_REMOVE))
			err = -ENOMEM;
	return err ? err : (int)count;
}
