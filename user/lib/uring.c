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

unsigned int fbuf_uring_send(struct fbuf_send *args, void *cmd,
			     const struct fbuf_gather *g, int sock,
			     unsigned int flags, unsigned int engines)
{
	*args = (struct fbuf_send) {
		.size = sizeof(*args),
		.flags = flags,
		.segs = (uintptr_t)g->segs,
		.nr_segs = g->nr,
		.fd = sock,
		.engines = engines,
	};
	uring_cmd(cmd, args);
	return FBUF_IOC_SEND;
}

unsigned int fbuf_uring_fanout(struct fbuf_fanout *args, void *cmd,
			       const struct fbuf_gather *g,
			       struct fbuf_target *targets, unsigned int count,
			       unsigned int flags, unsigned int engines)
{
	*args = (struct fbuf_fanout) {
		.size = sizeof(*args),
		.flags = flags,
		.segs = (uintptr_t)g->segs,
		.targets = (uintptr_t)targets,
		.nr_segs = g->nr,
		.nr_targets = count,
		.engines = engines,
	};
	uring_cmd(cmd, args);
	return FBUF_IOC_FANOUT;
}
