/* SPDX-License-Identifier: GPL-2.0 */
/* The watch, and poll(). See watch.c. */
#ifndef FBUF_WATCH_H
#define FBUF_WATCH_H

#include <linux/poll.h>
#include <linux/types.h>

struct fbuf_pool;
struct file;
struct poll_table_struct;

void fbuf_watch_init(struct fbuf_pool *pool);
void fbuf_watch_exit(struct fbuf_pool *pool);
void fbuf_watch_look(struct fbuf_pool *pool);
__poll_t fbuf_poll(struct file *file, struct poll_table_struct *table);

#endif /* FBUF_WATCH_H */
