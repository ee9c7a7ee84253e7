/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The pool that a process has, and the memory that it gives of it. */
#ifndef RUN_POOL_H
#define RUN_POOL_H

#include <stdbool.h>
#include <stddef.h>

/* Bytes in a buffer: what is protected, and copied for a snapshot, at once. */
#define POOL_BUF_SHIFT	15U
#define POOL_BUF_SIZE	(1UL << POOL_BUF_SHIFT)

/*
 * Find /dev/fbuf, and take addresses for a pool of so many bytes; the pool itself
 * is made when something is to be put there. 0, or an errno value: then there will
 * be none.
 */
int pool_start(size_t size);

/*
 * Memory of the pool: NULL if it has no room, or there can be no pool. zeroed says
 * that nobody ever wrote there. Any thread, but not in a signal handler.
 */
void *pool_take(size_t size, size_t align, bool *zeroed);
/* Aborts if p is not what pool_take() returned. */
void pool_give(void *p);
size_t pool_size_of(const void *p);
/* Grow or shrink in place; false if there is no room behind. */
bool pool_resize(void *p, size_t size);

/*
 * fork(): the child has a copy of what is in use, made before either goes on; at
 * the same addresses, and in a pool of its own if it can have one.
 */
void pool_fork_before(void);
void pool_fork_parent(void);
void pool_fork_child(void);

#endif /* RUN_POOL_H */
