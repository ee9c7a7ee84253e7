/* SPDX-License-Identifier: GPL-2.0 */
/* FILL. See fill.c. */
#ifndef FBUF_FILL_H
#define FBUF_FILL_H

struct fbuf_fill;
struct fbuf_handle;

int fbuf_fill(struct fbuf_handle *h, const struct fbuf_fill *args);

#endif /* FBUF_FILL_H */
