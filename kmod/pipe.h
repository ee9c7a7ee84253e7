/* SPDX-License-Identifier: GPL-2.0 */
/* The pool as a file. See pipe.c. */
#ifndef FBUF_PIPE_H
#define FBUF_PIPE_H

#include <linux/types.h>

struct file;
struct pipe_inode_info;

ssize_t fbuf_splice_read(struct file *in, loff_t *ppos,
			 struct pipe_inode_info *pipe, size_t len,
			 unsigned int flags);
loff_t fbuf_llseek(struct file *file, loff_t offset, int whence);

#endif /* FBUF_PIPE_H */
