/* SPDX-License-Identifier: GPL-2.0 */
/* DROP. See drop.c. */
#ifndef FBUF_DROP_H
#define FBUF_DROP_H

#include <linux/types.h>

struct fbuf_handle;

int fbuf_drop(struct fbuf_handle *h, const u64 *names, unsigned int count);

#endif /* FBUF_DROP_H */
