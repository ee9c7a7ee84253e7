// SPDX-License-Identifier: LGPL-2.1-or-later
/* Buffers filled from files and sockets. */

#include <errno.h>

#include "lib.h"

ssize_t fbuf_fill_at(struct fbuf_pool *pool, uint64_t name, size_t offset,
		     size_t len, int fd, off_t pos, size_t ahead,
		     unsigned int flags)
{
	struct fbuf_fill fill = {
		.size = sizeof(fill),
		.flags = flags,
		.name = name,
		.offset = offset,
		.len = len,
		.fd = fd,
		.ahead = ahead,
	};

	/* What the words of the call cannot hold is too much in any case. */
	if (offset > FBUF_BUF_SIZE_MAX || len > FBUF_BUF_SIZE_MAX ||
	    ahead > FBUF_AHEAD_MAX)
		return -EINVAL;
	/* As preadv2() has it: -1 is no position. */
	if (pos != -1) {
		fill.flags |= FBUF_FILL_POS;
		fill.pos = pos;
	}
	return lib_call(pool, FBUF_IOC_FILL, &fill);
}

ssize_t fbuf_fill(struct fbuf_pool *pool, uint64_t name, size_t offset,
		  size_t len, int fd, unsigned int flags)
{
	return fbuf_fill_at(pool, name, offset, len, fd, -1, 0, flags);
}
