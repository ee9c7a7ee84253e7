/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * libfbuf: sendmsg() and writev() with memory of a pool, fbuf_msg(3). The iovecs
 * that lie in the pool go by reference, all others inline, however long they are
 * and however many. What cannot be sent that way goes as sendmsg() would send it.
 *
 * Any number of threads may call these functions at once. They return a negative
 * errno value on failure, and leave errno alone.
 */
#ifndef FBUF_MSG_H
#define FBUF_MSG_H

#include <sys/uio.h>

#include <fbuf/fbuf.h>

#ifdef __cplusplus
extern "C" {
#endif

/*
 * Send as sendmsg() does; flags is MSG_*. Returns the bytes taken. Memory of the
 * pool must stay as it is until no packet refers to it, unless the pool protects
 * it; that of a heap may be freed at once.
 */
ssize_t fbuf_sendmsg(struct fbuf_pool *pool, int sock,
		     const struct msghdr *msg, int flags);
/* Send as writev() does: to whatever it can write to. */
ssize_t fbuf_writev(struct fbuf_pool *pool, int sock, const struct iovec *iov,
		    int nr);

#ifdef __cplusplus
}
#endif

#endif /* FBUF_MSG_H */
