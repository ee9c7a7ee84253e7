/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Buffers of which a part is sent, and another part written, again and again. */
#ifndef RUN_HOT_H
#define RUN_HOT_H

#include <stdbool.h>
#include <stddef.h>

/* A whole buffer is never hot; a part is, however long. */
#define HOT_PART_MAX	POOL_BUF_SIZE

/* Is a part of len bytes, at p in the pool, to be copied? */
bool hot_is(const void *p, size_t len);
/* A part of the buffer at p was sent, which had to be protected for that, or not. */
void hot_sent(const void *p, bool protected);

#endif /* RUN_HOT_H */
