/* SPDX-License-Identifier: GPL-2.0 */
/* The pool in user space. See map.c. */
#ifndef FBUF_MAP_H
#define FBUF_MAP_H

struct fbuf_handle;
struct vm_area_struct;

int fbuf_map_pool(struct fbuf_handle *h, struct vm_area_struct *vma);

#endif /* FBUF_MAP_H */
