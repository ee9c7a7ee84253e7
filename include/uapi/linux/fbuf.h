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
#define FBUF_BATCH_MAX		4096U		/* names or items in one call */
#define FBUF_SEGS_MAX		1024U		/* segments in a gather */
#define FBUF_INLINE_MAX		4096U		/* bytes in an inline segment */
#define FBUF_GATHER_MAX		0x7ffff000U	/* bytes in a gather */
#define FBUF_NAME_MAX		128U		/* bytes in a socket address */
#define FBUF_RING_MAX		65536U		/* entries in a ring */
#define FBUF_TARGETS_MAX	4096U		/* sockets of a fan-out */
#define FBUF_AHEAD_MAX		(16U << 20)	/* bytes to read ahead */
#define FBUF_PARCEL_MAX		(16U << 20)	/* bytes in a parcel */
#define FBUF_PARCELS_MAX	65536U		/* parcels of a handle */

/* Offsets for mmap() of a pool fd. Those from 1 << 40 up are reserved. */
#define FBUF_MMAP_POOL		0ULL
#define FBUF_MMAP_RING		(1ULL << 41)	/* this handle's ring */
#define FBUF_MMAP_PARCELS	(1ULL << 42)	/* this handle's parcels */
#define FBUF_MMAP_PARCELS_SIZE	((__u64)FBUF_PARCELS_MAX * FBUF_PARCEL_MAX)

/*
 * A buffer's name: its index in the pool, and a generation that changes each
 * time the buffer is handed out, so that a stale name is refused (ESTALE). That of
 * a parcel is the same, with FBUF_NAME_PARCEL set, and known to its handle alone.
 */
#define FBUF_NAME(index, gen)	(((__u64)(gen) << 32) | (__u32)(index))
#define FBUF_NAME_INDEX(name)	((__u32)(name))
#define FBUF_NAME_GEN(name)	((__u32)((name) >> 32))
#define FBUF_NAME_PARCEL	(1U << 31)

/*
 * What a write to a buffer does while the buffer is in flight. Without either
 * of the first two the pool is volatile: the peer sees the write.
 */
#define FBUF_POOL_SECURED	(1U << 0)	/* it waits until idle */
#define FBUF_POOL_SNAPSHOT	(1U << 1)	/* it goes to a fresh copy */
#define FBUF_POOL_SIGBUS	(1U << 2)	/* what would wait gets SIGBUS */
/* Buffers get memory when they are touched, and not before. */
#define FBUF_POOL_LAZY		(1U << 3)

/* What a handle may do. */
#define FBUF_RIGHT_READ		(1U << 0)	/* map for reading */
#define FBUF_RIGHT_WRITE	(1U << 1)	/* map for writing; FILL */
#define FBUF_RIGHT_ALLOC	(1U << 2)	/* ALLOC and RECV */
#define FBUF_RIGHT_SEND		(1U << 3)	/* SEND */

/**
 * struct fbuf_pool_create - FBUF_IOC_POOL_CREATE, on a control fd
 * @size: sizeof(struct fbuf_pool_create)
 * @flags: FBUF_POOL_*; not both SECURED and SNAPSHOT, and SIGBUS only with one
 *         of them
 * @buf_size: bytes in a buffer: a power of two, from one page to
 *            FBUF_BUF_SIZE_MAX
 * @nr_bufs: number of buffers, at least 1
 * @node: NUMA node to take memory from, or -1 to follow the caller's memory
 *        policy
 * @pad: 0
 * @copy_above: while more buffers than this are in flight without a hold, sends
 *              copy; 0 for half of the pool, and only while one of them is stuck
 * @pad2: 0
 *
 * Returns a pool fd (O_CLOEXEC). Its memory is zeroed and charged to the
 * caller's RLIMIT_MEMLOCK (unless CAP_IPC_LOCK) and memory cgroup until the
 * last reference to it is gone, references of packets in flight included. With
 * FBUF_POOL_LAZY the memory cgroup is charged as buffers get memory.
 */
struct fbuf_pool_create {
	__u32 size;
	__u32 flags;
	__u32 buf_size;
	__u32 nr_bufs;
	__s32 node;
	__u32 pad;
	__u32 copy_above;
	__u32 pad2;
};

/* &struct fbuf_batch.flags of ALLOC */
#define FBUF_ALLOC_WAIT		(1U << 0)	/* wait, up to the timeout */
#define FBUF_ALLOC_ALL		(1U << 1)	/* all of them or none */
#define FBUF_ALLOC_UNHELD	(1U << 2)	/* do not wait for held ones */

/* &struct fbuf_batch.flags of WAIT */
#define FBUF_WAIT_ANY		(1U << 0)	/* until one is idle, not all */

/**
 * struct fbuf_batch - ALLOC, FREE, HOLD, WAIT, SECURE and DROP, on a pool fd
 * @size: sizeof(struct fbuf_batch)
 * @flags: FBUF_ALLOC_* or FBUF_WAIT_*; for the others 0
 * @names: address of an array of @count buffer names (__u64)
 * @count: names in the array, 1 to FBUF_BATCH_MAX
 * @timeout: milliseconds that WAIT, and ALLOC with FBUF_ALLOC_WAIT, wait at
 *           most; -1 for ever. Otherwise 0.
 *
 * FBUF_IOC_ALLOC takes a hold on up to @count idle buffers, writes their names
 * and returns how many, at least 1. A buffer's memory may hold what an earlier
 * holder wrote; in a lazy pool it may have none yet, and is zero. EAGAIN:
 * buffers are free but all of them are in flight; try again. ENOBUFS: every
 * buffer is held. ETIMEDOUT: it waited in vain.
 *
 * FBUF_IOC_FREE drops the holds on all buffers named, and what they secured; or all
 * parcels named, if the first name is a parcel's.
 *
 * FBUF_IOC_HOLD takes a hold on each buffer named, all of them held by others:
 * so a buffer that another process named stays when that one lets go of it.
 *
 * FBUF_IOC_WAIT waits until the buffers named, which the handle holds, are not
 * in flight, or with FBUF_WAIT_ANY one of them. It returns how many are not;
 * ETIMEDOUT if not all, or none.
 *
 * FBUF_IOC_SECURE, on a pool that is not volatile, keeps everybody from writing
 * to the buffers named for as long as the handle holds them: writers wait, or
 * get SIGBUS, as the pool says.
 *
 * FBUF_IOC_DROP, on a lazy pool, takes the memory of the buffers named away, which
 * this handle alone holds, and none of which is in flight or secured: they keep
 * their names, and are zero when they are touched next.
 *
 * All but ALLOC and WAIT return @count; or, if one name is bad, do nothing.
 */
struct fbuf_batch {
	__u32 size;
	__u32 flags;
	__u64 names;
	__u32 count;
	__s32 timeout;
};

/* &struct fbuf_share.flags, &struct fbuf_info.handle_flags */
#define FBUF_SHARE_NO_PIN	(1U << 0)	/* its mappings cannot be pinned */

/**
 * struct fbuf_share - FBUF_IOC_SHARE, on a pool fd
 * @size: sizeof(struct fbuf_share)
 * @flags: FBUF_SHARE_*; those of this handle are a must
 * @rights: FBUF_RIGHT_*, a subset of this handle's own; WRITE needs READ
 * @max_holds: buffers that the new handle may hold at once, or 0 for any number
 * @handle: out: number of the new handle, for PASS
 * @pad: 0
 *
 * Returns a second pool fd (O_CLOEXEC) with a handle of its own, to be passed
 * to another process by SCM_RIGHTS.
 */
struct fbuf_share {
	__u32 size;
	__u32 flags;
	__u32 rights;
	__u32 max_holds;
	__u32 handle;
	__u32 pad;
};

/* &struct fbuf_pass.flags */
#define FBUF_PASS_KEEP		(1U << 0)	/* keep our holds as well */

/**
 * struct fbuf_item - a buffer to pass
 * @name: its name
 * @data: goes to the receiver as it is: a length, say
 */
struct fbuf_item {
	__u64 name;
	__u64 data;
};

/**
 * struct fbuf_pass - FBUF_IOC_PASS, on a pool fd
 * @size: sizeof(struct fbuf_pass)
 * @flags: FBUF_PASS_*
 * @items: address of an array of @count struct fbuf_item
 * @count: items in the array, 1 to FBUF_BATCH_MAX
 * @to: number of the handle that gets them
 *
 * Hands buffers over to another handle of the pool: the holds move there, and
 * an entry for each appears in its ring, which must have FBUF_RING_ACCEPT. This
 * is the message too: the receiver needs no call to take the buffers. Returns
 * @count, or does nothing. EAGAIN: there is no room for all in that ring.
 */
struct fbuf_pass {
	__u32 size;
	__u32 flags;
	__u64 items;
	__u32 count;
	__u32 to;
};

/* &struct fbuf_ring_setup.flags */
#define FBUF_RING_ACCEPT	(1U << 0)	/* others may pass buffers */
#define FBUF_RING_EVENTFD	(1U << 1)	/* @eventfd is one to signal */

/**
 * struct fbuf_ring_setup - FBUF_IOC_RING, on a pool fd
 * @size: sizeof(struct fbuf_ring_setup)
 * @flags: FBUF_RING_*
 * @entries: room in the ring: a power of two up to FBUF_RING_MAX
 * @eventfd: signalled for each batch of new entries
 * @map_size: out: bytes to map at FBUF_MMAP_RING, read and write
 *
 * Makes the handle's ring; once.
 */
struct fbuf_ring_setup {
	__u32 size;
	__u32 flags;
	__u32 entries;
	__s32 eventfd;
	__u64 map_size;
};

/* What an entry of a ring says, &struct fbuf_ring_entry.type. */
#define FBUF_RING_IDLE		1U	/* @name is not in flight any more */
#define FBUF_RING_PASSED	2U	/* @name is now held by this handle */
#define FBUF_RING_SENT		3U	/* a send's buffers are not in flight any more */

/**
 * struct fbuf_ring_entry - one entry
 * @name: the buffer; for FBUF_RING_SENT 0
 * @data: of &struct fbuf_item, for FBUF_RING_PASSED; the send's cookie, for
 *        FBUF_RING_SENT; else 0
 * @type: FBUF_RING_IDLE, FBUF_RING_PASSED or FBUF_RING_SENT
 * @from: number of the handle that passed it; else 0
 * @reserved: 0
 */
struct fbuf_ring_entry {
	__u64 name;
	__u64 data;
	__u32 type;
	__u32 from;
	__u64 reserved;
};

/* Where the entries begin in the mapping. */
#define FBUF_RING_ENTRIES	4096U

/**
 * struct fbuf_ring - the head of a ring, at the start of its mapping
 * @tail: the kernel's: entries produced; read it with acquire semantics
 * @mask: number of entries less one: entry number n is at n & @mask
 * @overflow: times that entries of FBUF_RING_IDLE or FBUF_RING_SENT found the ring
 *            full; they are not lost, but come when there is room again
 * @reserved: 0
 * @head: the user's: entries consumed; write it with release semantics
 *
 * The entries are FBUF_RING_ENTRIES bytes further on.
 */
struct fbuf_ring {
	__u32 tail;
	__u32 mask;
	__u64 overflow;
	__u64 reserved[6];
	__u32 head;
};

/* What a segment is, &struct fbuf_seg.flags: one of these, or none. */
#define FBUF_SEG_INLINE		(1U << 0)	/* user memory, not the pool */
#define FBUF_SEG_NAMED		(1U << 1)	/* @addr is a name */
/* With FBUF_SEG_NAMED, where in the buffer or parcel the first byte is. */
#define FBUF_SEG_OFFSET(offset)	((__u32)(offset) << 8)

/**
 * struct fbuf_seg - one segment of a gather
 * @addr: offset of the first byte in the pool; or with FBUF_SEG_NAMED the
 *        buffer's name, so that a segment of a buffer that was handed out again
 *        is refused (ESTALE), or a parcel's; or with FBUF_SEG_INLINE an address in
 *        the caller's memory, which is copied by the call
 * @len: bytes, at least 1; within one buffer, on which the handle has a hold, or
 *       one parcel of the handle's; or with FBUF_SEG_INLINE up to FBUF_INLINE_MAX
 * @flags: FBUF_SEG_*; with FBUF_SEG_NAMED also FBUF_SEG_OFFSET()
 */
struct fbuf_seg {
	__u64 addr;
	__u32 len;
	__u32 flags;
};

/* How pages reach the socket, &struct fbuf_send.engines and .engine. */
#define FBUF_ENGINE_PAGEREF	(1U << 0)	/* one frag a contiguous run */
#define FBUF_ENGINE_SPLICE	(1U << 1)	/* one frag a page */
#define FBUF_ENGINE_UBUF	(1U << 2)	/* as PAGEREF, tells when done */
#define FBUF_ENGINE_COPY	(1U << 3)	/* the CPU copies every byte */

/* &struct fbuf_send.flags */
#define FBUF_SEND_DONTWAIT	(1U << 0)	/* as MSG_DONTWAIT */
#define FBUF_SEND_MORE		(1U << 1)	/* as MSG_MORE */
#define FBUF_SEND_EOR		(1U << 2)	/* as MSG_EOR */
#define FBUF_SEND_SIGPIPE	(1U << 3)	/* raise SIGPIPE with EPIPE */
#define FBUF_SEND_NOTIFY	(1U << 4)	/* an entry per buffer, once idle */
/* At most one of these three; without, as the pool was made. */
#define FBUF_SEND_VOLATILE	(1U << 5)
#define FBUF_SEND_SECURED	(1U << 6)
#define FBUF_SEND_SNAPSHOT	(1U << 7)
#define FBUF_SEND_COOKIE	(1U << 8)	/* one entry, once all are idle */
#define FBUF_SEND_FREE		(1U << 9)	/* the parcel, once all was taken */

/**
 * struct fbuf_send - FBUF_IOC_SEND, on a pool fd
 * @size: sizeof(struct fbuf_send)
 * @flags: FBUF_SEND_*
 * @segs: address of an array of @nr_segs struct fbuf_seg
 * @nr_segs: segments, 1 to FBUF_SEGS_MAX
 * @fd: a socket
 * @engines: mask of the engines that may run, FBUF_ENGINE_*, or 0 for all but
 *           UBUF; EOPNOTSUPP when the socket takes none of them
 * @namelen: bytes of the address at @name, or 0 for a connected socket
 * @name: address of a struct sockaddr, as sendto() takes it, or 0
 * @engine: out: the engine that ran
 * @segment: for UDP: bytes in each datagram but the last, as UDP_SEGMENT takes
 *           it, into which the gather is cut; or 0 for one datagram
 * @copied: out: bytes of the result that the CPU copies, into the socket or for
 *          a device that cannot gather; the copy that takes an inline segment
 *          into the kernel is not counted
 * @protects: out: buffers of the gather that were not protected against writes yet,
 *            and are now
 * @snapshots: out: those of them of which a snapshot was made, because of a write,
 *             since they were protected before
 * @cookie: with FBUF_SEND_COOKIE, what the entry of FBUF_RING_SENT says that comes
 *          when the buffers are not in flight any more; else not looked at
 *
 * Sends the gather by one sendmsg(): one message, or one stretch of stream,
 * which other senders' data interrupt only while it waits for room. Returns what
 * sendmsg() would: the bytes taken or an error. The buffers may be freed at once;
 * the pool hands them out again only when no packet refers to them. Nothing is
 * sent unless every segment is right. On an error all that is out is left alone.
 *
 * With FBUF_SEND_FREE, of a gather with segments of one parcel, the parcel is dropped
 * when the result is the gather's length. Not for FANOUT, nor by io_uring.
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
	__u32 segment;
	__u64 copied;
	__u32 protects;
	__u32 snapshots;
	__u64 cookie;
};

/**
 * struct fbuf_target - one socket of a fan-out
 * @fd: the socket, connected
 * @result: out: the bytes taken, or a negative errno value
 * @engine: out: as &struct fbuf_send.engine
 * @copied: out: as &struct fbuf_send.copied
 */
struct fbuf_target {
	__s32 fd;
	__s32 result;
	__u32 engine;
	__u32 copied;
};

/**
 * struct fbuf_fanout - FBUF_IOC_FANOUT, on a pool fd
 * @size: sizeof(struct fbuf_fanout)
 * @flags: FBUF_SEND_*; FBUF_SEND_DONTWAIT goes without saying
 * @segs: address of an array of @nr_segs struct fbuf_seg
 * @targets: address of an array of @nr_targets struct fbuf_target
 * @nr_segs: segments, 1 to FBUF_SEGS_MAX
 * @nr_targets: sockets, 1 to FBUF_TARGETS_MAX
 * @engines: as &struct fbuf_send.engines
 * @pad: 0
 * @cookie: as &struct fbuf_send.cookie, of all the sockets: one entry
 *
 * Sends one gather to many sockets, to each as FBUF_IOC_SEND would, but waiting
 * for none: a socket that is full or dead has its own result, and the others
 * are served. Returns how many took bytes. Nothing is sent unless every segment
 * is right.
 */
struct fbuf_fanout {
	__u32 size;
	__u32 flags;
	__u64 segs;
	__u64 targets;
	__u32 nr_segs;
	__u32 nr_targets;
	__u32 engines;
	__u32 pad;
	__u64 cookie;
};

/* &struct fbuf_fill.flags */
#define FBUF_FILL_DIRECT	(1U << 0)	/* past the page cache */
#define FBUF_FILL_POS		(1U << 1)	/* from @pos on, as pread() */
#define FBUF_FILL_DONTWAIT	(1U << 2)	/* as RWF_NOWAIT, MSG_DONTWAIT */
#define FBUF_FILL_ALL		(1U << 3)	/* all, as MSG_WAITALL */

/**
 * struct fbuf_fill - FBUF_IOC_FILL, on a pool fd
 * @size: sizeof(struct fbuf_fill)
 * @flags: FBUF_FILL_*
 * @name: a buffer that the handle holds
 * @pos: with FBUF_FILL_POS where in the file to begin, and the file's own
 *       position stays; else 0
 * @offset: where in the buffer the bytes go
 * @len: how many, at least 1; within the buffer
 * @fd: a file to read from, or a socket
 * @ahead: bytes after those read that are to be read into the page cache
 *         meanwhile, up to FBUF_AHEAD_MAX; else, as for direct I/O, 0
 *
 * Reads into the buffer what read() or recv() would, and returns what they
 * would: the bytes read, which may be fewer than @len; 0 at the end; or an error,
 * after which the bytes of the buffer from @offset on may be any. Nothing is
 * copied by way of user memory, and with direct I/O, nothing by the CPU at all.
 */
struct fbuf_fill {
	__u32 size;
	__u32 flags;
	__u64 name;
	__u64 pos;
	__u32 offset;
	__u32 len;
	__s32 fd;
	__u32 ahead;
};

/* &struct fbuf_recv.flags */
#define FBUF_RECV_DONTWAIT	(1U << 0)	/* as MSG_DONTWAIT */
#define FBUF_RECV_ALL		(1U << 1)	/* all, as MSG_WAITALL */
#define FBUF_RECV_PEEK		(1U << 2)	/* a copy, as MSG_PEEK */

/**
 * struct fbuf_recv - FBUF_IOC_RECV, on a pool fd
 * @size: sizeof(struct fbuf_recv)
 * @flags: FBUF_RECV_*
 * @fd: a stream socket
 * @len: bytes to receive at most, 1 to FBUF_PARCEL_MAX
 * @drop: a parcel that is dropped first, whatever comes of the rest, or 0; out: 0
 *        once that is done
 * @head: where the first bytes are copied to as well, or 0
 * @head_len: in: room there; out: bytes that were copied there
 * @copied: out: bytes of the parcel that the CPU copied, what went to @head not
 *          counted
 * @name: out: the parcel's name
 *
 * Makes a parcel of bytes that were received: of a TCP socket, references to the
 * pages where the network put them; of other stream sockets, and of what may not be
 * referred to, copies. Returns how many bytes it has, which may be fewer than @len, as
 * recv() does; 0 at the end of the stream, or an error, without a parcel.
 *
 * The parcel is charged to the pool's maker by what its packets took of memory. It is
 * the handle's, and is there until FBUF_IOC_FREE, or the handle goes.
 */
struct fbuf_recv {
	__u32 size;
	__u32 flags;
	__s32 fd;
	__u32 len;
	__u64 drop;
	__u64 head;
	__u32 head_len;
	__u32 copied;
	__u64 name;
};

/**
 * struct fbuf_read - FBUF_IOC_READ, on a pool fd
 * @size: sizeof(struct fbuf_read)
 * @flags: 0
 * @name: a parcel of the handle's
 * @to: where the bytes go, in the caller's memory
 * @offset: the first byte of the parcel that is wanted
 * @len: how many, at least 1; within the parcel
 *
 * Copies bytes of a parcel. Returns @len.
 */
struct fbuf_read {
	__u32 size;
	__u32 flags;
	__u64 name;
	__u64 to;
	__u32 offset;
	__u32 len;
};

/**
 * struct fbuf_part - a part of a parcel that can be mapped
 * @at: offset for mmap(), in whole pages
 * @offset: the byte of the parcel that is there
 * @len: bytes, whole pages
 */
struct fbuf_part {
	__u64 at;
	__u32 offset;
	__u32 len;
};

/**
 * struct fbuf_show - FBUF_IOC_SHOW, on a pool fd
 * @size: sizeof(struct fbuf_show)
 * @flags: 0
 * @name: a parcel of the handle's
 * @parts: address of an array of @count struct fbuf_part
 * @count: room in the array, up to FBUF_BATCH_MAX; 0 to ask how many there are
 * @pad: 0
 *
 * Lets the pages of a parcel be mapped that may be shown: those of which the parcel
 * has all bytes, in order, and that belong to a pool whose sender had them protected,
 * so that nobody can change them. They are at @at of a mapping from FBUF_MMAP_PARCELS
 * on, for reading, until the parcel is dropped. Returns how many parts there are,
 * and tells the first @count of them, in order.
 */
struct fbuf_show {
	__u32 size;
	__u32 flags;
	__u64 name;
	__u64 parts;
	__u32 count;
	__u32 pad;
};

/**
 * struct fbuf_send_item - one send of a batch
 * @segs: as &struct fbuf_send.segs, like all that follows but @result
 * @nr_segs: segments
 * @fd: a socket
 * @name: address of a struct sockaddr, or 0
 * @namelen: bytes of it, or 0
 * @segment: for UDP: bytes in each datagram, or 0
 * @result: out: the bytes taken, or a negative errno value
 * @engine: out: the engine that ran
 * @copied: out: bytes that the CPU copied
 */
struct fbuf_send_item {
	__u64 segs;
	__u32 nr_segs;
	__s32 fd;
	__u64 name;
	__u32 namelen;
	__u32 segment;
	__s32 result;
	__u32 engine;
	__u64 copied;
};

/**
 * struct fbuf_send_batch - FBUF_IOC_SEND_BATCH, on a pool fd
 * @size: sizeof(struct fbuf_send_batch)
 * @flags: FBUF_SEND_*, for all; FBUF_SEND_DONTWAIT goes without saying
 * @items: address of an array of @count struct fbuf_send_item
 * @count: items in the array, 1 to FBUF_BATCH_MAX
 * @engines: as &struct fbuf_send.engines, for all
 * @pad: 0
 * @cookie: as &struct fbuf_send.cookie, of the first item; that of each other is 1
 *          more than that of the one before it
 *
 * Does each item's send as FBUF_IOC_SEND would, one after another, but waits for
 * none: an item that is wrong, or whose socket is full, has its own result, and
 * the next one is done. Returns how many items have a result, which is @count
 * unless an item cannot be read or the process is killed.
 */
struct fbuf_send_batch {
	__u32 size;
	__u32 flags;
	__u64 items;
	__u32 count;
	__u32 engines;
	__u64 pad;
	__u64 cookie;
};

/**
 * struct fbuf_uring_cmd - FBUF_IOC_SEND, _FANOUT, _SEND_BATCH or _RECV by io_uring
 * @args: address of the struct fbuf_send, fbuf_fanout, fbuf_send_batch or fbuf_recv
 * @reserved: 0
 *
 * Goes to sqe->cmd of an IORING_OP_URING_CMD on a pool fd, whose sqe->cmd_op is
 * the ioctl. The cqe's res is what the ioctl returns, with -errno for errors.
 */
struct fbuf_uring_cmd {
	__u64 args;
	__u64 reserved;
};

/* What a module can do that its first release could not, .features below. */
#define FBUF_FEATURE_NAMED_SEGS	(1U << 0)	/* FBUF_SEG_NAMED */
#define FBUF_FEATURE_NO_PIN	(1U << 1)	/* FBUF_SHARE_NO_PIN */
#define FBUF_FEATURE_COPY_ABOVE	(1U << 2)	/* .copy_above */
#define FBUF_FEATURE_LAZY	(1U << 3)	/* FBUF_POOL_LAZY */
#define FBUF_FEATURE_PROTECTS	(1U << 4)	/* and .snapshots, of a send */
#define FBUF_FEATURE_COOKIE	(1U << 5)	/* FBUF_SEND_COOKIE */
#define FBUF_FEATURE_DROP	(1U << 6)	/* FBUF_IOC_DROP */
#define FBUF_FEATURE_PARCELS	(1U << 7)	/* FBUF_IOC_RECV, _READ, _SHOW */

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
 *            when the pool was made; 0 for a lazy one
 * @node: NUMA node asked for, or -1
 * @uid: user who is charged for the pool, in the caller's user namespace
 * @pad: 0
 * @sends: gathers sent
 * @bytes: bytes sent
 * @copied: bytes of them that the CPU copied, as &struct fbuf_send.copied
 * @allocs: buffers handed out
 * @pool_flags: FBUF_POOL_* of the pool
 * @rights: FBUF_RIGHT_* of this handle
 * @handle: number of this handle, for PASS
 * @nr_handles: handles on the pool
 * @holds: buffers that this handle holds
 * @max_holds: how many it may, or 0 for any number
 * @charged: bytes charged for the pool: its own, snapshots in flight, those that
 *           writes to buffers in flight may need, and parcels
 * @resident: bytes of its own that have memory now: under pressure free buffers
 *            lose theirs, and get it back on use; in a lazy pool none has any
 *            before it is touched
 * @ring_size: bytes to map of this handle's ring, or 0 if it has none
 * @reuses: buffers that were in flight when they were freed, and are idle since
 * @protects: buffers that were protected against writes
 * @snapshots: buffers that were copied because of a write
 * @fills: FILLs that did not fail
 * @filled: bytes that they read
 * @features: FBUF_FEATURE_* of the module
 * @handle_flags: FBUF_SHARE_* of this handle
 * @copy_above: as the pool was made
 * @pad2: 0
 * @nr_parcels: parcels of all handles
 * @pad3: 0
 * @parcel_bytes: bytes charged for them, and for those that are being received
 * @recvs: RECVs that made a parcel
 * @received: bytes of them
 * @recv_copied: bytes of them that the CPU copied, as &struct fbuf_recv.copied
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
	__u32 pool_flags;
	__u32 rights;
	__u32 handle;
	__u32 nr_handles;
	__u32 holds;
	__u32 max_holds;
	__u64 charged;
	__u64 resident;
	__u64 ring_size;
	__u64 reuses;
	__u64 protects;
	__u64 snapshots;
	__u64 fills;
	__u64 filled;
	__u32 features;
	__u32 handle_flags;
	__u32 copy_above;
	__u32 pad2;
	__u32 nr_parcels;
	__u32 pad3;
	__u64 parcel_bytes;
	__u64 recvs;
	__u64 received;
	__u64 recv_copied;
};

#define FBUF_IOC_MAGIC		0xfb
#define FBUF_IOC_POOL_CREATE	_IOWR(FBUF_IOC_MAGIC, 0x00, struct fbuf_pool_create)
#define FBUF_IOC_ALLOC		_IOWR(FBUF_IOC_MAGIC, 0x10, struct fbuf_batch)
#define FBUF_IOC_FREE		_IOWR(FBUF_IOC_MAGIC, 0x11, struct fbuf_batch)
#define FBUF_IOC_SEND		_IOWR(FBUF_IOC_MAGIC, 0x12, struct fbuf_send)
#define FBUF_IOC_INFO		_IOWR(FBUF_IOC_MAGIC, 0x13, struct fbuf_info)
#define FBUF_IOC_HOLD		_IOWR(FBUF_IOC_MAGIC, 0x14, struct fbuf_batch)
#define FBUF_IOC_WAIT		_IOWR(FBUF_IOC_MAGIC, 0x15, struct fbuf_batch)
#define FBUF_IOC_SECURE		_IOWR(FBUF_IOC_MAGIC, 0x16, struct fbuf_batch)
#define FBUF_IOC_SHARE		_IOWR(FBUF_IOC_MAGIC, 0x17, struct fbuf_share)
#define FBUF_IOC_PASS		_IOWR(FBUF_IOC_MAGIC, 0x18, struct fbuf_pass)
#define FBUF_IOC_RING		_IOWR(FBUF_IOC_MAGIC, 0x19, struct fbuf_ring_setup)
#define FBUF_IOC_FANOUT		_IOWR(FBUF_IOC_MAGIC, 0x1a, struct fbuf_fanout)
#define FBUF_IOC_FILL		_IOWR(FBUF_IOC_MAGIC, 0x1b, struct fbuf_fill)
#define FBUF_IOC_SEND_BATCH	_IOWR(FBUF_IOC_MAGIC, 0x1c, struct fbuf_send_batch)
#define FBUF_IOC_DROP		_IOWR(FBUF_IOC_MAGIC, 0x1d, struct fbuf_batch)
#define FBUF_IOC_RECV		_IOWR(FBUF_IOC_MAGIC, 0x1e, struct fbuf_recv)
#define FBUF_IOC_READ		_IOWR(FBUF_IOC_MAGIC, 0x1f, struct fbuf_read)
#define FBUF_IOC_SHOW		_IOWR(FBUF_IOC_MAGIC, 0x20, struct fbuf_show)

#endif /* _UAPI_LINUX_FBUF_H */
