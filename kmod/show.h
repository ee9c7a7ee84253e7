/* SPDX-License-Identifier: GPL-2.0 */
/* Parcels in user space. See show.c. */
#ifndef FBUF_SHOW_H
#define FBUF_SHOW_H

struct fbuf_handle;
struct fbuf_show;
struct vm_area_struct;

int fbuf_show(struct fbuf_handle *h, const struct fbuf_show *args);
int fbuf_show_mmap(struct vm_area_struct *vma);

#endif /* FBUF_SHOW_H */
