/* SPDX-License-Identifier: GPL-2.0 */
/* The life of pools. See pool.c. */
#ifndef FBUF_POOL_H
#define FBUF_POOL_H

#include <linux/types.h>

struct fbuf_counters;
struct fbuf_pool;
struct fbuf_pool_create;
struct folio;

int fbuf_pool_init(void);
struct fbuf_pool *fbuf_pool_create(const struct fbuf_pool_create *args);
void fbuf_pool_put(struct fbuf_pool *pool);
struct fbuf_pool *fbuf_pool_find(u64 id);
struct fbuf_pool *fbuf_pool_next(u64 id);
struct fbuf_pool *fbuf_pool_of(const struct folio *folio);
void fbuf_totals(struct fbuf_counters *sum);
void fbuf_pool_exit(void);

#endif /* FBUF_POOL_H */
