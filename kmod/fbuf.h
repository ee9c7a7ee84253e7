/* SPDX-License-Identifier: GPL-2.0 */
/*
 * What the module's files share, grouped by the file that defines it.
 */
#ifndef FBUF_H
#define FBUF_H

#include <linux/bvec.h>
#include <linux/list.h>
#include <linux/mutex.h>
#include <linux/percpu.h>
#include <linux/refcount.h>
#include <linux/skbuff.h>
#include <linux/socket.h>
#include <linux/types.h>
#include <linux/uaccess.h>
#include <linux/uidgid.h>
#include <linux/workqueue.h>

#include <linux/fbuf.h>

struct address_space;
struct file;
struct folio;
struct socket;
struct user_struct;
struct vm_area_struct;

/**
 * struct fbuf_buf - one buffer
 * @node: on the pool's free or limbo list; alone while there is a hold
 * @gen: generation, changed at each ALLOC
 * @holds: number of handles with a hold
 *
 * Everything is protected by the pool's lock.
 */
struct fbuf_buf {
	struct list_head node;
	u32 gen;
	u32 holds;
};

/**
 * struct fbuf_counters - what a pool did, on one CPU
 * @sends: gathers sent
 * @bytes: bytes sent
 * @copied: bytes of them that the CPU copied
 * @allocs: buffers handed out
 */
struct fbuf_counters {
	u64 sends;
	u64 bytes;
	u64 copied;
	u64 allocs;
};

/**
 * struct fbuf_pool - a set of equal-size buffers
 * @pages: the page at each page offset; set once. The pool has one reference
 *         to each folio.
 * @nr_pages: number of them
 * @buf_shift: log2 of the bytes in a buffer
 * @nr_bufs: number of buffers
 * @bufs: the buffers
 * @counters: see there; any CPU adds, INFO sums
 * @lock: protects @bufs, @free, @limbo, @nr_held, @nr_limbo and the holds of
 *        every handle against change. A send only tests holds and takes no
 *        lock: see fbuf_gather_import().
 * @free: buffers without a hold that were idle when they came here; last in,
 *        first out, for warm caches
 * @limbo: buffers without a hold that were in flight when they came here, the
 *         oldest first
 * @nr_held: buffers with a hold
 * @nr_limbo: buffers on @limbo
 * @refs: handles
 * @user: who is charged, or NULL if nobody is
 * @charged: pages that @user is charged for
 * @uid: who made the pool
 * @id: number for people to read
 * @node: NUMA node asked for
 * @nr_split: buffers in more folios than need be
 * @retire: frees what is in flight when the last handle is gone
 * @retire_delay: jiffies until it looks again
 * @retired: on the list of such pools
 */
struct fbuf_pool {
	/* Set once. */
	struct page **pages;
	unsigned long nr_pages;
	unsigned int buf_shift;
	unsigned int nr_bufs;
	struct fbuf_buf *bufs;
	struct fbuf_counters __percpu *counters;

	struct mutex lock ____cacheline_aligned_in_smp;
	struct list_head free;
	struct list_head limbo;
	unsigned int nr_held;
	unsigned int nr_limbo;

	refcount_t refs;
	struct user_struct *user;
	unsigned long charged;
	kuid_t uid;
	u64 id;
	int node;
	unsigned int nr_split;
	struct delayed_work retire;
	unsigned long retire_delay;
	struct list_head retired;
};

/**
 * struct fbuf_handle - one open file on a pool, the unit of ownership
 * @pool: the pool; the handle has a reference
 * @holds: a bit for each buffer; changed under the pool's lock
 */
struct fbuf_handle {
	struct fbuf_pool *pool;
	unsigned long *holds;
};

/* Runs that a gather keeps without an allocation. */
#define FBUF_RUNS_FAST		16

/**
 * struct fbuf_msg - a message on its way to a socket
 * @msg: what sock_sendmsg() is given; its iterator is over the gather's runs
 * @ubuf: for the pageref engine, which finds the whole from @msg's iterator
 * @taken: bytes whose pages went to the socket by the pageref engine
 */
struct fbuf_msg {
	struct msghdr msg;
	struct ubuf_info ubuf;
	size_t taken;
};

/**
 * struct fbuf_gather - segments that were checked, as runs of pages
 * @runs: one for each physically contiguous run; each has a reference to its
 *        folio, and bv_page is its head
 * @nr: number of runs
 * @max: room in @runs
 * @len: bytes
 * @fast: where @runs points while they are few
 */
struct fbuf_gather {
	struct bio_vec *runs;
	unsigned int nr;
	unsigned int max;
	size_t len;
	struct bio_vec fast[FBUF_RUNS_FAST];
};

/* main.c, called by fbuf_args_get() */
int fbuf_args_get_grown(void *args, size_t size, size_t usize,
			const void __user *uargs);

/**
 * fbuf_args_get() - copy the structure of an ioctl, once, and check its size
 * @args: where to
 * @size: bytes of the structure as this module knows it, a constant, which
 *        makes the copy a short one
 * @cmd: the ioctl, whose size field is the caller's idea of it
 * @arg: its address in user memory
 *
 * Context: may sleep.
 * Return: 0; -ENOTTY if @cmd has another direction; as fbuf_args_get_grown();
 * -EINVAL if the first word of the structure is not its size.
 */
static __always_inline int fbuf_args_get(void *args, size_t size,
					 unsigned int cmd, unsigned long arg)
{
	const void __user *uargs = (const void __user *)arg;
	size_t usize = _IOC_SIZE(cmd);
	int err;

	if (_IOC_DIR(cmd) != (_IOC_READ | _IOC_WRITE))
		return -ENOTTY;
	if (likely(usize == size))
		err = copy_from_user(args, uargs, size) ? -EFAULT : 0;
	else
		err = fbuf_args_get_grown(args, size, usize, uargs);
	if (err)
		return err;
	return *(u32 *)args == usize ? 0 : -EINVAL;
}

/* handle.c, called by pool.c */
int fbuf_handle_install(struct fbuf_pool *pool);

/* pool.c */
int fbuf_pool_init(void);
void fbuf_pool_set_mapping(struct fbuf_pool *pool,
			   struct address_space *mapping);
int fbuf_pool_create(const struct fbuf_pool_create *args);
void fbuf_pool_put(struct fbuf_pool *pool);
void fbuf_pool_info(struct fbuf_pool *pool, struct fbuf_info *info);
void fbuf_pool_exit(void);

/* buffer.c */
void fbuf_buf_init(struct fbuf_pool *pool);
bool fbuf_folio_idle(struct folio *folio);
int fbuf_alloc(struct fbuf_handle *h, u64 *names, unsigned int count);
int fbuf_free(struct fbuf_handle *h, const u64 *names, unsigned int count);
void fbuf_free_all(struct fbuf_handle *h);
void fbuf_buf_info(struct fbuf_pool *pool, struct fbuf_info *info);

/* map.c */
int fbuf_mmap(struct file *file, struct vm_area_struct *vma);

/* gather.c */
int fbuf_gather_import(struct fbuf_gather *g, struct fbuf_handle *h,
		       const struct fbuf_seg __user *segs, unsigned int nr);
void fbuf_gather_release(struct fbuf_gather *g);

/* send.c */
int fbuf_send(struct fbuf_handle *h, struct fbuf_send *args);

/* pageref.c, splice.c: the engines, called by send.c */
bool fbuf_pageref_takes(struct socket *sock, const struct fbuf_gather *g);
int fbuf_pageref_send(struct socket *sock, struct fbuf_msg *fm, u64 *copied);
bool fbuf_splice_takes(struct socket *sock, const struct fbuf_gather *g);
int fbuf_splice_send(struct socket *sock, struct fbuf_msg *fm,
		     const struct fbuf_gather *g);

/* nudge.c */
int fbuf_nudge_init(void);
void fbuf_nudge_exit(void);
void fbuf_nudge(void);

#endif /* FBUF_H */
