/* SPDX-License-Identifier: GPL-2.0 */
/* The ubuf engine. See ubuf.c. */
#ifndef FBUF_UBUF_H
#define FBUF_UBUF_H

#include <linux/types.h>

struct fbuf_gather;
struct fbuf_handle;
struct fbuf_msg;
struct socket;

int fbuf_ubuf_send(struct socket *sock, struct fbuf_msg *fm,
		   struct fbuf_handle *h, const struct fbuf_gather *g,
		   u64 *copied);
int fbuf_ubuf_start(void);
void fbuf_ubuf_stop(void);

#endif /* FBUF_UBUF_H */
