/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * libfbuf: buffers shared with the kernel, sent without a CPU copy.
 *
 * Every function that can fail returns a negative errno value on failure and
 * leaves errno alone. Pools may be used by any number of threads at once; a
 * gather belongs to one thread at a time. Man pages: fbuf(7), and one for each
 * group below.
 */
#ifndef FBUF_FBUF_H
#define FBUF_FBUF_H

#include <stddef.h>
#include <stdint.h>
#include <sys/socket.h>
#include <sys/types.h>

#include <linux/fbuf.h>

#ifdef __cplusplus
extern "C" {
#endif

struct fbuf_pool;
struct fbuf_gather;

/**
 * struct fbuf_result - what a send did besides its return value
 * @engine: the engine that ran, FBUF_ENGINE_*
 * @copied: bytes that the CPU copied, as struct fbuf_send says
 */
struct fbuf_result {
	unsigned int engine;
	uint64_t copied;
};

/* Pools: fbuf_pool(3). */

/* Make a pool of nr_bufs buffers of buf_size bytes. */
int fbuf_pool_create(struct fbuf_pool **pool, size_t buf_size,
		     unsigned int nr_bufs);
/* The same on a NUMA node; -1 follows the caller's memory policy. */
int fbuf_pool_create_on(struct fbuf_pool **pool, size_t buf_size,
			unsigned int nr_bufs, int node);
/* Use a pool fd that another process passed; takes the fd on success. */
int fbuf_pool_open(struct fbuf_pool **pool, int fd);
/* Unmap and close; drops every hold of the handle. NULL is ignored. */
void fbuf_pool_close(struct fbuf_pool *pool);
int fbuf_pool_fd(const struct fbuf_pool *pool);
size_t fbuf_pool_buf_size(const struct fbuf_pool *pool);
unsigned int fbuf_pool_nr_bufs(const struct fbuf_pool *pool);
int fbuf_pool_info(const struct fbuf_pool *pool, struct fbuf_info *info);

/* Buffers: fbuf_alloc(3). */

/*
 * Take up to count buffers; returns how many, at least 1. While all free
 * buffers are in flight it waits, up to timeout_ms milliseconds (0: not at all,
 * -EAGAIN; -1: for ever). -ENOBUFS at once when every buffer is held.
 */
int fbuf_alloc(struct fbuf_pool *pool, uint64_t *names, unsigned int count,
	       int timeout_ms);
/* Drop the holds on count buffers: all, and return 0, or on an error none. */
int fbuf_free(struct fbuf_pool *pool, const uint64_t *names,
	      unsigned int count);
/* Where a buffer is mapped, or NULL if the name is not one of this pool. */
void *fbuf_addr(const struct fbuf_pool *pool, uint64_t name);

/* Gathers: fbuf_gather(3). */

struct fbuf_gather *fbuf_gather_new(struct fbuf_pool *pool);
void fbuf_gather_destroy(struct fbuf_gather *g);
/* Forget all segments, keep the memory. */
void fbuf_gather_reset(struct fbuf_gather *g);
/* Bytes offset .. offset + len - 1 of a buffer. */
int fbuf_gather_append(struct fbuf_gather *g, uint64_t name, size_t offset,
		       size_t len);
int fbuf_gather_prepend(struct fbuf_gather *g, uint64_t name, size_t offset,
			size_t len);
/* User memory, read by the send and not before: it must live that long. */
int fbuf_gather_append_inline(struct fbuf_gather *g, const void *data,
			      size_t len);
int fbuf_gather_prepend_inline(struct fbuf_gather *g, const void *data,
			       size_t len);
/* Append to g bytes offset .. offset + len - 1 of another gather. */
int fbuf_gather_slice(struct fbuf_gather *g, const struct fbuf_gather *from,
		      size_t offset, size_t len);
size_t fbuf_gather_len(const struct fbuf_gather *g);
unsigned int fbuf_gather_nr_segs(const struct fbuf_gather *g);
const struct fbuf_seg *fbuf_gather_segs(const struct fbuf_gather *g);

/* Sending: fbuf_send(3). */

/*
 * One send, as sendmsg(): returns the bytes taken, which may be fewer than the
 * gather has. flags is FBUF_SEND_*; result may be NULL.
 */
ssize_t fbuf_send(const struct fbuf_gather *g, int sock, unsigned int flags,
		  struct fbuf_result *result);
/* The same with a mask of engines, and an address for a datagram socket. */
ssize_t fbuf_sendto(const struct fbuf_gather *g, int sock, unsigned int flags,
		    unsigned int engines, const struct sockaddr *addr,
		    socklen_t addrlen, struct fbuf_result *result);
/*
 * Send the whole gather on a stream socket, however many calls it takes; polls
 * where the socket is non-blocking. Returns its length, or the error that
 * ended it; *sent, if not NULL, is how many bytes went out in either case.
 */
ssize_t fbuf_send_all(const struct fbuf_gather *g, int sock,
		      unsigned int flags, size_t *sent);

/* "pageref", "splice", "copy". */
const char *fbuf_engine_name(unsigned int engine);
/* Version of the library, "MAJOR.MINOR.PATCH". */
const char *fbuf_version(void);

#ifdef __cplusplus
}
#endif

#endif /* FBUF_FBUF_H */
