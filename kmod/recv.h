/* SPDX-License-Identifier: GPL-2.0 */
/* RECV. See recv.c. */
#ifndef FBUF_RECV_H
#define FBUF_RECV_H

#include <linux/compiler.h>

struct fbuf_handle;
struct fbuf_recv;

int fbuf_recv(struct fbuf_handle *h, struct fbuf_recv *args,
	      struct fbuf_recv __user *uargs);

#endif /* FBUF_RECV_H */
