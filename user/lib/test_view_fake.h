/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* A pool and a heap for tests of views, without a module: ioctl() is our own. */
#ifndef FBUF_TEST_VIEW_FAKE_H
#define FBUF_TEST_VIEW_FAKE_H

#include <stdbool.h>

#include <fbuf/heap.h>

#define FAKE_BUF	65536U

/*
 * Of nr buffers, at most 512; FBUF_POOL_*. With FBUF_BACKEND=user in the environment
 * it is one of the library itself, where nothing flies.
 */
struct fbuf_pool *fake_pool(unsigned int nr, unsigned int flags);
/* A packet refers to all buffers of all pools, or none does. */
void fake_fly(bool flies);
/* Buffers that are held, and parcels. */
unsigned int fake_held(const struct fbuf_pool *pool);

#endif /* FBUF_TEST_VIEW_FAKE_H */
