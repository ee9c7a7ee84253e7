/* SPDX-License-Identifier: GPL-2.0 WITH Linux-syscall-note */
/*
 * fbuf: buffers that user space and kernel share, sent without a CPU copy.
 *
 * open("/dev/fbuf") gives a control fd. FBUF_IOC_POOL_CREATE on it returns a
 * pool fd; everything else happens on pool fds. Every structure
 *
 *  - starts with its size, which the caller sets to sizeof(), and a flags word;
 *  - has no pointers (a __u64 carries one) and no holes: it is the same for
 *    32-bit and 64-bit callers; words named pad or reserved must be zero;
 *  - may grow at its end: an older module takes a longer structure whose new
 *    part is all zero (E2BIG otherwise), a newer one takes a shorter structure
 *    and reads the missing part as zero.
 *
 * Unknown flags and dirty padding are EINVAL. Documentation/abi.rst lists every
 * error of every call.
 */
#ifndef _UAPI_LINUX_FBUF_H
#define _UAPI_LINUX_FBUF_H

#include <linux/ioctl.h>
#include <linux/types.h>

#define FBUF_DEVICE		"/dev/fbuf"

/* Limits of the ABI; a module may allow less (see its parameters). */
#define FBUF_BUF_SIZE_MAX	(2U << 20)	/* bytes in a buffer */
#define FBUF_POOL_SIZE_MAX	(1ULL << 40)	/* bytes in a pool */
#define FBUF_BATCH_MAX		4096U		/* names in one ALLOC or FREE */
#define FBUF_SEGS_MAX		1024U		/* segments in a gather */
#define FBUF_INLINE_MAX		4096U		/* bytes in an inline segment */
#define FBUF_GATHER_MAX		0x7ffff000U	/* bytes in a gather */
#define FBUF_NAME_MAX		128U		/* bytes in a socket address */

/* Offsets for mmap() of a pool fd. Those from 1 << 40 up are reserved. */
#define FBUF_MMAP_POOL		0ULL

/*
 * A buffer's name: its index in the pool, and a generation that changes each
 * time the buffer is handed out, so that a stale name is refused (ESTALE).
 */
#define FBUF_NAME(index, gen)	(((__u64)(gen) << 32) | (__u32)(index))
#define FBUF_NAME_INDEX(name)	((__u32)(name))
#define FBUF_NAME_GEN(name)	((__u32)((name) >> 32))

/**
 * struct fbuf_pool_create - FBUF_IOC_POOL_CREATE, on a control fd
 * @size: sizeof(struct fbuf_pool_create)
 * @flags: 0
 * @buf_size: bytes in a buffer: a power of two, from one page to
 *            FBUF_BUF_SIZE_MAX
 * @nr_bufs: number of buffers, at least 1
 * @node: NUMA node to take memory from, or -1 to follow the caller's memory
 *        policy
 * @pad: 0
 *
 * Returns a pool fd (O_CLOEXEC). Its memory is zeroed and charged to the
 * caller's RLIMIT_MEMLOCK (unless CAP_IPC_LOCK) and memory cgroup until the
 * last reference to it is gone, references of packets in flight included.
 */
struct fbuf_pool_create {
	__u32 size;
	__u32 flags;
	__u32 buf_size;
	__u32 nr_bufs;
	__s32 node;
	__u32 pad;
};

/**
 * struct fbuf_batch - FBUF_IOC_ALLOC and FBUF_IOC_FREE, on a pool fd
 * @size: sizeof(struct fbuf_batch)
 * @flags: 0
 * @names: address of an array of @count buffer names (__u64)
 * @count: names in the array, 1 to FBUF_BATCH_MAX
 * @pad: 0
 *
 * ALLOC takes a hold on up to @count idle buffers, writes their names and
 * returns how many, at least 1. A buffer's memory may hold what an earlier
 * holder wrote. EAGAIN: buffers are free but all of them are in flight; try
 * again. ENOBUFS: every buffer is held.
 *
 * FREE drops the holds on all buffers named and returns @count; or, if one
 * name is bad, drops none.
 */
struct fbuf_batch {
	__u32 size;
	__u32 flags;
	__u64 names;
	__u32 count;
	__u32 pad;
};

/* What a segment is, &struct fbuf_seg.flags. */
#define FBUF_SEG_INLINE		(1U << 0)	/* user memory, not the pool */

/**
 * struct fbuf_seg - one segment of a gather
 * @addr: offset of the first byte in the pool; with FBUF_SEG_INLINE its
 *        address in the caller's memory, which is copied by the call
 * @len: bytes, at least 1; within one buffer, on which the handle has a hold,
 *       or with FBUF_SEG_INLINE up to FBUF_INLINE_MAX
 * @flags: FBUF_SEG_*
 */
struct fbuf_seg {
	__u64 addr;
	__u32 len;
	__u32 flags;
};

/* How pages reach the socket, &struct fbuf_send.engines and .engine. */
#define FBUF_ENGINE_PAGEREF	(1U << 0)	/* one frag a contiguous run */
#define FBUF_ENGINE_SPLICE	(1U << 1)	/* one frag a page */
#define FBUF_ENGINE_COPY	(1U << 3)	/* the CPU copies every byte */

/* &struct fbuf_send.flags */
#define FBUF_SEND_DONTWAIT	(1U << 0)	/* as MSG_DONTWAIT */
#define FBUF_SEND_MORE		(1U << 1)	/* as MSG_MORE */
#define FBUF_SEND_EOR		(1U << 2)	/* as MSG_EOR */
#define FBUF_SEND_SIGPIPE	(1U << 3)	/* raise SIGPIPE with EPIPE */

/**
 * struct fbuf_send - FBUF_IOC_SEND, on a pool fd
 * @size: sizeof(struct fbuf_send)
 * @flags: FBUF_SEND_*
 * @segs: address of an array of @nr_segs struct fbuf_seg
 * @nr_segs: segments, 1 to FBUF_SEGS_MAX
 * @fd: a socket
 * @engines: mask of the engines that may run, FBUF_ENGINE_*, or 0 for all;
 *           EOPNOTSUPP when the socket takes none of them
 * @namelen: bytes of the address at @name, or 0 for a connected socket
 * @name: address of a struct sockaddr, as sendto() takes it, or 0
 * @engine: out: the engine that ran
 * @pad: 0
 * @copied: out: bytes of the result that the CPU copied into the socket; the
 *          copy that takes an inline segment into the kernel is not counted
 *
 * Sends the gather by one sendmsg(): one message, or one stretch of stream,
 * which other senders' data interrupt only while it waits for room. Returns what
 * sendmsg() would: the bytes taken or an error. The buffers may be freed at once;
 * the pool hands them out again only when no packet refers to them. Nothing is
 * sent unless every segment is right. On an error @engine and @copied are left
 * alone.
 */
struct fbuf_send {
	__u32 size;
	__u32 flags;
	__u64 segs;
	__u32 nr_segs;
	__s32 fd;
	__u32 engines;
	__u32 namelen;
	__u64 name;
	__u32 engine;
	__u32 pad;
	__u64 copied;
};

/**
 * struct fbuf_info - FBUF_IOC_INFO, on a pool fd
 * @size: sizeof(struct fbuf_info)
 * @flags: 0
 * @id: number of the pool, unique since the module was loaded
 * @pool_size: bytes in the pool, all buffers
 * @buf_size: bytes in a buffer
 * @nr_bufs: buffers in the pool
 * @nr_held: buffers with a hold
 * @nr_in_flight: buffers without a hold to which the kernel still refers
 * @nr_split: buffers in more pieces than need be, because memory was fragmented
 *            when the pool was made
 * @node: NUMA node asked for, or -1
 * @uid: user who is charged for the pool, in the caller's user namespace
 * @pad: 0
 * @sends: gathers sent
 * @bytes: bytes sent
 * @copied: bytes of them that the CPU copied, as &struct fbuf_send.copied
 * @allocs: buffers handed out
 *
 * All but @size and @flags are out.
 */
struct fbuf_info {
	__u32 size;
	__u32 flags;
	__u64 id;
	__u64 pool_size;
	__u32 buf_size;
	__u32 nr_bufs;
	__u32 nr_held;
	__u32 nr_in_flight;
	__u32 nr_split;
	__s32 node;
	__u32 uid;
	__u32 pad;
	__u64 sends;
	__u64 bytes;
	__u64 copied;
	__u64 allocs;
};

#define FBUF_IOC_MAGIC		0xfb
#define FBUF_IOC_POOL_CREATE	_IOWR(FBUF_IOC_MAGIC, 0x00, struct fbuf_pool_create)
#define FBUF_IOC_ALLOC		_IOWR(FBUF_IOC_MAGIC, 0x10, struct fbuf_batch)
#define FBUF_IOC_FREE		_IOWR(FBUF_IOC_MAGIC, 0x11, struct fbuf_batch)
#define FBUF_IOC_SEND		_IOWR(FBUF_IOC_MAGIC, 0x12, struct fbuf_send)
#define FBUF_IOC_INFO		_IOWR(FBUF_IOC_MAGIC, 0x13, struct fbuf_info)

#endif /* _UAPI_LINUX_FBUF_H */
