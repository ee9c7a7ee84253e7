/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * libfbuf: buffers shared with the kernel, sent without a CPU copy.
 *
 * Every function that can fail returns a negative errno value on failure and
 * leaves errno alone. Pools may be used by any number of threads at once; a
 * gather belongs to one thread at a time. Man pages: fbuf(7), and one for each
 * group below.
 *
 * A program runs with any later library as it was built. The structures that
 * may grow (fbuf_pool_options, fbuf_info, fbuf_send and fbuf_fanout) therefore
 * go to functions named _sized, together with the size that the program knows;
 * in C, inline functions give it. All other structures stay as they are.
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

/**
 * struct fbuf_pool_options - what a pool is to be
 * @buf_size: bytes in a buffer: a power of two
 * @nr_bufs: buffers
 * @node: NUMA node, or -1 for the caller's memory policy
 * @flags: FBUF_POOL_*, what a write to a buffer in flight does
 * @copy_above: as &struct fbuf_pool_create.copy_above; or 0
 *
 * Begin with FBUF_POOL_OPTIONS_INIT: a node of 0 is a node.
 */
struct fbuf_pool_options {
	size_t buf_size;
	unsigned int nr_bufs;
	int node;
	unsigned int flags;
	unsigned int copy_above;
};

#define FBUF_POOL_OPTIONS_INIT	{ 0, 0, -1, 0, 0 }

/* Pools: fbuf_pool(3). */

/* Make a pool of nr_bufs buffers of buf_size bytes. */
int fbuf_pool_create(struct fbuf_pool **pool, size_t buf_size,
		     unsigned int nr_bufs);
/* The same on a NUMA node; -1 follows the caller's memory policy. */
int fbuf_pool_create_on(struct fbuf_pool **pool, size_t buf_size,
			unsigned int nr_bufs, int node);
/* size is sizeof(*options); -E2BIG if what the library does not know is set. */
int fbuf_pool_create_sized(struct fbuf_pool **pool,
			   const struct fbuf_pool_options *options,
			   size_t size);
static __inline__ int
fbuf_pool_create_with(struct fbuf_pool **pool,
		      const struct fbuf_pool_options *options)
{
	return fbuf_pool_create_sized(pool, options, sizeof(*options));
}

/*
 * Use a pool fd that another process passed; takes the fd on success. Maps what
 * the handle's rights allow: all for reading and writing, for reading, nothing.
 */
int fbuf_pool_open(struct fbuf_pool **pool, int fd);
/* Unmap and close; drops every hold of the handle. NULL is ignored. */
void fbuf_pool_close(struct fbuf_pool *pool);
int fbuf_pool_fd(const struct fbuf_pool *pool);
size_t fbuf_pool_buf_size(const struct fbuf_pool *pool);
unsigned int fbuf_pool_nr_bufs(const struct fbuf_pool *pool);
/* FBUF_RIGHT_* of the handle, and its number. */
unsigned int fbuf_pool_rights(const struct fbuf_pool *pool);
unsigned int fbuf_pool_handle(const struct fbuf_pool *pool);
/* size is sizeof(*info), and becomes info->size; what is not known is 0. */
int fbuf_pool_info_sized(const struct fbuf_pool *pool, struct fbuf_info *info,
			 size_t size);
static __inline__ int fbuf_pool_info(const struct fbuf_pool *pool,
				     struct fbuf_info *info)
{
	return fbuf_pool_info_sized(pool, info, sizeof(*info));
}

/* Buffers: fbuf_alloc(3). */

/*
 * Take up to count buffers; returns how many, at least 1. While all free
 * buffers are in flight it waits, up to timeout_ms milliseconds (0: not at all,
 * -EAGAIN; -1: for ever). -ENOBUFS at once when every buffer is held.
 */
int fbuf_alloc(struct fbuf_pool *pool, uint64_t *names, unsigned int count,
	       int timeout_ms);
/* As FBUF_IOC_ALLOC says, with FBUF_ALLOC_*; waits for held buffers as well. */
int fbuf_alloc_flags(struct fbuf_pool *pool, uint64_t *names,
		     unsigned int count, unsigned int flags, int timeout_ms);
/* Drop the holds on count buffers: all, and return 0, or on an error none. */
int fbuf_free(struct fbuf_pool *pool, const uint64_t *names,
	      unsigned int count);
/*
 * Where a buffer is mapped, or NULL if the name is not one of this pool or the
 * handle may not read.
 */
void *fbuf_addr(const struct fbuf_pool *pool, uint64_t name);
/*
 * Wait until no buffer named is in flight, or with FBUF_WAIT_ANY one is not;
 * returns how many are not, or -ETIMEDOUT.
 */
int fbuf_wait(struct fbuf_pool *pool, const uint64_t *names,
	      unsigned int count, unsigned int flags, int timeout_ms);
/*
 * Give the memory of buffers of a lazy pool back, which only this handle holds, and
 * which are not in flight: all, or none. They are zero when they are used again.
 */
int fbuf_drop(struct fbuf_pool *pool, const uint64_t *names,
	      unsigned int count);
/* Nobody writes to these buffers while this handle holds them: all or none. */
int fbuf_secure(struct fbuf_pool *pool, const uint64_t *names,
		unsigned int count);

/* Filling: fbuf_fill(3). */

/*
 * Read up to len bytes from a file or a socket into a buffer, from its byte
 * offset on, as read() or recv() would; returns how many, 0 at the end. flags is
 * FBUF_FILL_*.
 */
ssize_t fbuf_fill(struct fbuf_pool *pool, uint64_t name, size_t offset,
		  size_t len, int fd, unsigned int flags);
/*
 * The same from a position of the file, as pread(), or with -1 from its own; and
 * have the kernel read up to ahead bytes after that into the page cache.
 */
ssize_t fbuf_fill_at(struct fbuf_pool *pool, uint64_t name, size_t offset,
		     size_t len, int fd, off_t pos, size_t ahead,
		     unsigned int flags);

/* Sharing: fbuf_share(3). */

/*
 * Make another handle with some of this one's rights; returns its fd. handle,
 * if not NULL, gets its number. max_holds 0 is any number.
 */
int fbuf_pool_share(struct fbuf_pool *pool, unsigned int rights,
		    unsigned int max_holds, unsigned int *handle);
/* The same with FBUF_SHARE_*. */
int fbuf_pool_share_flags(struct fbuf_pool *pool, unsigned int rights,
			  unsigned int max_holds, unsigned int flags,
			  unsigned int *handle);
/* Hand an fd over an AF_UNIX socket; take one, which is returned. */
int fbuf_pool_fd_send(int sock, int fd);
int fbuf_pool_fd_recv(int sock);
/* Hold buffers that others hold: all, and return 0, or none. */
int fbuf_hold(struct fbuf_pool *pool, const uint64_t *names,
	      unsigned int count);
/*
 * Hand buffers over to the handle numbered to, which finds them in its ring:
 * all, and return 0, or none. flags is FBUF_PASS_*.
 */
int fbuf_pass(struct fbuf_pool *pool, unsigned int to,
	      const struct fbuf_item *items, unsigned int count,
	      unsigned int flags);

/* The ring: fbuf_ring(3). */

/* Make and map this handle's ring; eventfd counts with FBUF_RING_EVENTFD. */
int fbuf_ring_setup(struct fbuf_pool *pool, unsigned int entries,
		    unsigned int flags, int eventfd);
/* Take the next entry: 1, or 0 if there is none. No system call. */
int fbuf_ring_next(struct fbuf_pool *pool, struct fbuf_ring_entry *entry);
/* The same, waiting up to timeout_ms milliseconds (-1: for ever) for one. */
int fbuf_ring_wait(struct fbuf_pool *pool, struct fbuf_ring_entry *entry,
		   int timeout_ms);
/* How often a notice found the ring full, and had to wait. */
int fbuf_ring_overflow(const struct fbuf_pool *pool, uint64_t *overflow);

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
 * The same on a UDP socket, cut into datagrams of segment bytes each, the last
 * one shorter if need be.
 */
ssize_t fbuf_send_datagrams(const struct fbuf_gather *g, int sock,
			    unsigned int flags, unsigned int engines,
			    const struct sockaddr *addr, socklen_t addrlen,
			    unsigned int segment, struct fbuf_result *result);
/*
 * Send the whole gather on a stream socket, however many calls it takes; polls
 * where the socket is non-blocking. Returns its length, or the error that
 * ended it; *sent, if not NULL, is how many bytes went out in either case.
 */
ssize_t fbuf_send_all(const struct fbuf_gather *g, int sock,
		      unsigned int flags, size_t *sent);
/*
 * Send one gather to count connected sockets, waiting for none. Sets result,
 * engine and copied of each target; returns how many took bytes.
 */
int fbuf_fanout(const struct fbuf_gather *g, struct fbuf_target *targets,
		unsigned int count, unsigned int flags, unsigned int engines);

/*
 * Many sends by one call, waiting for none. fbuf_item_set() fills in one of them,
 * but for its name, namelen and segment; the gather must stay as it is until the
 * batch is sent. fbuf_send_batch() sets result, engine and copied of each item,
 * and returns how many it came to: count, but for an error.
 */
void fbuf_item_set(struct fbuf_send_item *item, const struct fbuf_gather *g,
		   int sock);
int fbuf_send_batch(const struct fbuf_pool *pool, struct fbuf_send_item *items,
		    unsigned int count, unsigned int flags,
		    unsigned int engines);

/*
 * The same by io_uring, fbuf_uring(3): fill in args, which must last until the
 * completion, and sqe->cmd; return what sqe->cmd_op is to be. size is
 * sizeof(*args).
 */
unsigned int fbuf_uring_send_sized(struct fbuf_send *args, void *cmd,
				   const struct fbuf_gather *g, int sock,
				   unsigned int flags, unsigned int engines,
				   size_t size);
unsigned int fbuf_uring_fanout_sized(struct fbuf_fanout *args, void *cmd,
				     const struct fbuf_gather *g,
				     struct fbuf_target *targets,
				     unsigned int count, unsigned int flags,
				     unsigned int engines, size_t size);
static __inline__ unsigned int
fbuf_uring_send(struct fbuf_send *args, void *cmd, const struct fbuf_gather *g,
		int sock, unsigned int flags, unsigned int engines)
{
	return fbuf_uring_send_sized(args, cmd, g, sock, flags, engines,
				     sizeof(*args));
}

static __inline__ unsigned int
fbuf_uring_fanout(struct fbuf_fanout *args, void *cmd,
		  const struct fbuf_gather *g, struct fbuf_target *targets,
		  unsigned int count, unsigned int flags, unsigned int engines)
{
	return fbuf_uring_fanout_sized(args, cmd, g, targets, count, flags,
				       engines, sizeof(*args));
}

/* "pageref", "splice", "ubuf", "copy". */
const char *fbuf_engine_name(unsigned int engine);
/* Version of the library, "MAJOR.MINOR.PATCH". */
const char *fbuf_version(void);

#ifdef __cplusplus
}
#endif

#endif /* FBUF_FBUF_H */
