/* SPDX-License-Identifier: GPL-2.0 */
/* Buffers: holds, ALLOC, FREE, HOLD, PASS and WAIT. See buffer.c. */
#ifndef FBUF_BUFFER_H
#define FBUF_BUFFER_H

#include <linux/types.h>

struct fbuf_batch;
struct fbuf_buf;
struct fbuf_handle;
struct fbuf_item;
struct fbuf_pool;

void fbuf_buf_init(struct fbuf_pool *pool);
void fbuf_put_limbo(struct fbuf_pool *pool, struct fbuf_buf *buf);
void fbuf_reap(struct fbuf_pool *pool, unsigned int looks);
bool fbuf_to_be_had(struct fbuf_pool *pool, unsigned int looks);
bool fbuf_crowded(struct fbuf_pool *pool);
int fbuf_alloc_wait(struct fbuf_handle *h, u64 *names,
		    const struct fbuf_batch *args);
int fbuf_wait(struct fbuf_handle *h, const u64 *names,
	      const struct fbuf_batch *args);
void fbuf_alloc_undo(struct fbuf_handle *h, const u64 *names,
		     unsigned int count);
int fbuf_free(struct fbuf_handle *h, const u64 *names, unsigned int count);
void fbuf_free_all(struct fbuf_handle *h);
int fbuf_hold(struct fbuf_handle *h, const u64 *names, unsigned int count);
int fbuf_pass(struct fbuf_handle *h, const struct fbuf_item *items,
	      unsigned int count, u32 id, bool keep);

#endif /* FBUF_BUFFER_H */
