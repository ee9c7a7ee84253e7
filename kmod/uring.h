/* SPDX-License-Identifier: GPL-2.0 */
/* The commands of io_uring. See uring.c. */
#ifndef FBUF_URING_H
#define FBUF_URING_H

struct io_uring_cmd;

int fbuf_uring_cmd(struct io_uring_cmd *cmd, unsigned int issue_flags);

#endif /* FBUF_URING_H */
