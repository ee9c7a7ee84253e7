/* SPDX-License-Identifier: GPL-2.0 */
/* The splice engine. See splice.c. */
#ifndef FBUF_SPLICE_H
#define FBUF_SPLICE_H

#include <linux/types.h>

struct fbuf_gather;
struct fbuf_msg;
struct socket;

bool fbuf_splice_takes(struct socket *sock, const struct fbuf_gather *g);
int fbuf_splice_send(struct socket *sock, struct fbuf_msg *fm,
		     const struct fbuf_gather *g);

#endif /* FBUF_SPLICE_H */
