/* SPDX-License-Identifier: GPL-2.0 */
/* How often what is in flight is looked at. See look.c. */
#ifndef FBUF_LOOK_H
#define FBUF_LOOK_H

#include <linux/types.h>

#include "types.h"

/* How often a call may, at most: it bounds how long that takes. */
#define FBUF_LOOKS_MAX	2048U

extern unsigned int fbuf_stuck_ms;
enum fbuf_age fbuf_buf_age(const struct fbuf_buf *buf);
bool fbuf_buf_stuck(const struct fbuf_buf *buf);
unsigned int fbuf_looks(struct fbuf_pool *pool);
void fbuf_looks_pay(struct fbuf_pool *pool);
unsigned int fbuf_looks_skip(struct fbuf_pool *pool);

#endif /* FBUF_LOOK_H */
