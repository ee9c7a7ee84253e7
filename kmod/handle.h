/* SPDX-License-Identifier: GPL-2.0 */
/* Handles on pools, as fds. See handle.c. */
#ifndef FBUF_HANDLE_H
#define FBUF_HANDLE_H

#include <linux/types.h>

struct fbuf_pool;
struct fbuf_share;

int fbuf_handle_install(struct fbuf_pool *pool, const struct fbuf_share *args,
			u32 __user *uid);

#endif /* FBUF_HANDLE_H */
