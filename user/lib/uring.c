// SPDX-License-Identifier: LGPL-2.1-or-later
/* Sends as commands of io_uring, whichever library submits them. */

#include <string.h>

#include "lib.h"

/* Where it goes, in an sqe, may be declared as bytes. */
static void uring_cmd(void *cmd, const void *args)
{
	const struct fbuf_uring_cmd to = { .args = (uintptr_t)args };

	memcpy(cmd, &to, sizeof(to));
}

/* Into a structure of the caller's, which may be shorter than ours, or longer. */
static void args_put(void *args, size_t size, const void *from, size_t len)
{
	memset(args, 0, size);
	memcpy(args, from, size < len ? size : len);
}

unsigned int fbuf_uring_send_sized(struct fbuf_send *args, void *cmd,
				   const struct fbuf_gather *g, int sock,
				   unsigned int flags, unsigned int engines,
				   size_t size)
{
	const struct fbuf_send send = {
		.size = size,
		.flags = flags,
		.segs = (uintptr_t)g->segs,
		.nr_segs = g->nr,
		.fd = sock,
		.engines = engines,
	};

	args_put(args, size, &send, sizeof(send));
	uring_cmd(cmd, args);
	return LIB_IOC(FBUF_IOC_SEND, size);
}

unsigned int fbuf_uring_fanout_sized(struct fbuf_fanout *args, void *cmd,
				     const struct fbuf_gather *g,
				     struct fbuf_target *targets,
				     unsigned int count, unsigned int flags,
				     unsigned int engines, size_t size)
{
	const struct fbuf_fanout fanout = {
		.size = size,
		.flags = flags,
		.segs = (uintptr_t)g->segs,
		.targets = (uintptr_t)targets,
		.nr_segs = g->nr,
		.nr_targets = count,
		.engines = engines,
	};

	args_put(args, size, &fanout, sizeof(fanout));
	uring_cmd(cmd, args);
	return LIB_IOC(FBUF_IOC_FANOUT, size);
}
