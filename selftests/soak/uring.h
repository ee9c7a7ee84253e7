/* SPDX-License-Identifier: GPL-2.0 */
/* uring.c: one request at a time by io_uring. */
#ifndef FBUF_SOAK_URING_H
#define FBUF_SOAK_URING_H

#include <liburing.h>

#include "soak.h"

struct uring {
	struct io_uring ring;
	bool there;
};

void uring_init(struct uring *u, const struct lane *l);
void uring_exit(struct uring *u);
/* By io_uring what the ioctl would return, or -errno; without a ring, by ioctl: 0. */
int pool_command(struct uring *u, int pool, __u32 op, void *args);
/* SEND_ZC of memory that does not change, so that nobody has to wait for it. */
ssize_t uring_send_zc(struct uring *u, int sock, const void *p, size_t len);

#endif /* FBUF_SOAK_URING_H */
