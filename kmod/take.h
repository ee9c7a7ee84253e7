/* SPDX-License-Identifier: GPL-2.0 */
/* Parcels from TCP. See take.c. */
#ifndef FBUF_TAKE_H
#define FBUF_TAKE_H

#include <linux/types.h>

struct fbuf_parcel;
struct socket;

int fbuf_take_init(void);
bool fbuf_take_takes(const struct socket *sock);
int fbuf_take(struct socket *sock, struct fbuf_parcel *p, unsigned int len,
	      bool dontwait, bool all);

#endif /* FBUF_TAKE_H */
