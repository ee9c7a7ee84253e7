// SPDX-License-Identifier: GPL-2.0
/*
 * The pool fd: a handle on a pool, and its ioctls.
 */
#include <linux/anon_inodes.h>
#include <linux/bitmap.h>
#include <linux/file.h>
#include <linux/fs.h>
#include <linux/module.h>
#include <linux/seq_file.h>
#include <linux/slab.h>
#include <linux/uaccess.h>

#include "args.h"
#include "buffer.h"
#include "compat.h"
#include "drop.h"
#include "fill.h"
#include "handle.h"
#include "log.h"
#include "map.h"
#include "parcel.h"
#include "pipe.h"
#include "pool.h"
#include "protect.h"
#include "recv.h"
#include "ring.h"
#include "send.h"
#include "show.h"
#include "stats.h"
#include "types.h"
#include "uring.h"
#include "watch.h"

#define RIGHTS	(FBUF_RIGHT_READ | FBUF_RIGHT_WRITE | FBUF_RIGHT_ALLOC | \
		 FBUF_RIGHT_SEND)

#define ALLOC_FLAGS	(FBUF_ALLOC_WAIT | FBUF_ALLOC_ALL | FBUF_ALLOC_UNHELD)

/* Names or items that a call keeps on the stack. */
#define NAMES_FAST	32
#define ITEMS_FAST	16

static int alloc_check(const struct fbuf_handle *h,
		       const struct fbuf_batch *args)
{
	unsigned int most = h->pool->nr_bufs;

	if (!(h->rights & FBUF_RIGHT_ALLOC))
		return -EACCES;
	if (args->flags & ~ALLOC_FLAGS)
		return -EINVAL;
	if (args->flags & FBUF_ALLOC_UNHELD && !(args->flags & FBUF_ALLOC_WAIT))
		return -EINVAL;
	if (args->flags & FBUF_ALLOC_WAIT ? args->timeout < -1 : args->timeout)
		return -EINVAL;
	if (h->max_holds)
		most = min(most, h->max_holds);
	/* What can never be. */
	return args->flags & FBUF_ALLOC_ALL && args->count > most ? -EINVAL : 0;
}

static int batch_alloc(struct fbuf_handle *h, u64 *names,
		       const struct fbuf_batch *args)
{
	int ret;

	ret = alloc_check(h, args);
	if (ret)
		return ret;
	ret = fbuf_alloc_wait(h, names, args);
	if (ret > 0 && copy_to_user(u64_to_user_ptr(args->names), names,
				    ret * sizeof(u64))) {
		fbuf_alloc_undo(h, names, ret);
		return -EFAULT;
	}
	return ret;
}

static int names_get(u64 *names, const struct fbuf_batch *args)
{
	return copy_from_user(names, u64_to_user_ptr(args->names),
			      args->count * sizeof(u64)) ? -EFAULT : 0;
}

static int batch_wait(struct fbuf_handle *h, u64 *names,
		      const struct fbuf_batch *args)
{
	int err;

	if (args->flags & ~FBUF_WAIT_ANY || args->timeout < -1)
		return -EINVAL;
	err = names_get(names, args);
	return err ?: fbuf_wait(h, names, args);
}

/* What the first name is of, all are. */
static int batch_free(struct fbuf_handle *h, const u64 *names,
		      unsigned int count)
{
	return fbuf_is_parcel(names[0]) ? fbuf_parcels_free(h, names, count) :
					  fbuf_free(h, names, count);
}

/* FREE, HOLD, SECURE and DROP: all or none, at once. */
static int batch_names(struct fbuf_handle *h, u64 *names,
		       const struct fbuf_batch *args,
		       int (*fn)(struct fbuf_handle *h, const u64 *names,
				 unsigned int count))
{
	int err;

	if (args->flags || args->timeout)
		return -EINVAL;
	err = names_get(names, args);
	return err ?: fn(h, names, args->count);
}

static int batch_call(struct fbuf_handle *h, unsigned int cmd, u64 *names,
		      const struct fbuf_batch *args)
{
	switch (_IOC_NR(cmd)) {
	case _IOC_NR(FBUF_IOC_ALLOC):
		return batch_alloc(h, names, args);
	case _IOC_NR(FBUF_IOC_FREE):
		return batch_names(h, names, args, batch_free);
	case _IOC_NR(FBUF_IOC_HOLD):
		return batch_names(h, names, args, fbuf_hold);
	case _IOC_NR(FBUF_IOC_SECURE):
		return batch_names(h, names, args, fbuf_secure);
	case _IOC_NR(FBUF_IOC_DROP):
		return batch_names(h, names, args, fbuf_drop);
	default:
		return batch_wait(h, names, args);
	}
}

static int handle_batch(struct fbuf_handle *h, unsigned int cmd,
			unsigned long arg)
{
	u64 fast[NAMES_FAST] __uninitialized, *names = fast;
	struct fbuf_batch args;
	int ret;

	ret = fbuf_args_get(&args, sizeof(args), sizeof(args), cmd, arg);
	if (ret)
		return ret;
	if (!args.count || args.count > FBUF_BATCH_MAX)
		return -EINVAL;
	if (args.count > NAMES_FAST) {
		names = kvmalloc_array(args.count, sizeof(u64),
				       GFP_KERNEL_ACCOUNT);
		if (!names)
			return -ENOMEM;
	}
	ret = batch_call(h, cmd, names, &args);
	if (names != fast)
		kvfree(names);
	return ret;
}

static int handle_pass(struct fbuf_handle *h, unsigned int cmd,
		       unsigned long arg)
{
	struct fbuf_item fast[ITEMS_FAST] __uninitialized, *items;
	struct fbuf_pass args;
	int ret;

	ret = fbuf_args_get(&args, sizeof(args), sizeof(args), cmd, arg);
	if (ret)
		return ret;
	if (args.flags & ~FBUF_PASS_KEEP || !args.count ||
	    args.count > FBUF_BATCH_MAX)
		return -EINVAL;
	items = fbuf_array_get(fast, sizeof(fast), args.items,
			       args.count * sizeof(*items));
	if (IS_ERR(items))
		return PTR_ERR(items);
	ret = fbuf_pass(h, items, args.count, args.to,
			args.flags & FBUF_PASS_KEEP);
	fbuf_array_put(items, fast);
	return ret;
}

static int handle_fanout(struct fbuf_handle *h, unsigned int cmd,
			 unsigned long arg)
{
	struct fbuf_fanout args;
	int ret;

	ret = fbuf_args_get(&args, sizeof(args), FBUF_FANOUT_ARGS_MIN, cmd,
			    arg);
	return ret ?: fbuf_fanout(h, &args);
}

static int share_check(const struct fbuf_handle *h,
		       const struct fbuf_share *args)
{
	if (args->flags & ~FBUF_SHARE_NO_PIN || args->pad ||
	    args->rights & ~RIGHTS)
		return -EINVAL;
	/* Page tables cannot tell: what can be written can be read. */
	if ((args->rights & (FBUF_RIGHT_READ | FBUF_RIGHT_WRITE)) ==
	    FBUF_RIGHT_WRITE)
		return -EINVAL;
	if (args->rights & ~h->rights)
		return -EACCES;
	if (h->no_pin && !(args->flags & FBUF_SHARE_NO_PIN))
		return -EACCES;
	if (h->max_holds &&
	    (!args->max_holds || args->max_holds > h->max_holds))
		return -EDQUOT;
	return 0;
}

static int handle_share(struct fbuf_handle *h, unsigned int cmd,
			unsigned long arg)
{
	struct fbuf_share __user *uargs = (void __user *)arg;
	struct fbuf_share args;
	int ret;

	ret = fbuf_args_get(&args, sizeof(args), sizeof(args), cmd, arg);
	if (ret)
		return ret;
	ret = share_check(h, &args);
	if (ret)
		return ret;
	refcount_inc(&h->pool->refs);
	return fbuf_handle_install(h->pool, &args, &uargs->handle);
}

static int handle_ring(struct fbuf_handle *h, unsigned int cmd,
		       unsigned long arg)
{
	struct fbuf_ring_setup __user *uargs = (void __user *)arg;
	struct fbuf_ring_setup args;
	int ret;

	ret = fbuf_args_get(&args, sizeof(args), sizeof(args), cmd, arg);
	if (ret)
		return ret;
	return fbuf_ring_setup(h, &args, &uargs->map_size);
}

/* From a caller whose structure is not as long as ours. */
static int handle_send(struct fbuf_handle *h, unsigned int cmd,
		       unsigned long arg)
{
	struct fbuf_send __user *uargs = (void __user *)arg;
	struct fbuf_send args;
	int ret;

	ret = fbuf_args_get(&args, sizeof(args), FBUF_SEND_ARGS_MIN, cmd, arg);
	if (ret)
		return ret;
	ret = fbuf_send(h, &args);
	if (ret >= 0)
		fbuf_send_put(uargs, &args);
	return ret;
}

static int handle_send_batch(struct fbuf_handle *h, unsigned int cmd,
			     unsigned long arg)
{
	struct fbuf_send_batch args;
	int err;

	err = fbuf_args_get(&args, sizeof(args), FBUF_SEND_BATCH_ARGS_MIN, cmd,
			    arg);
	return err ?: fbuf_send_batch(h, &args);
}

static int handle_fill(struct fbuf_handle *h, unsigned int cmd,
		       unsigned long arg)
{
	struct fbuf_fill args;
	int ret;

	ret = fbuf_args_get(&args, sizeof(args), sizeof(args), cmd, arg);
	return ret ?: fbuf_fill(h, &args);
}

static int handle_recv(struct fbuf_handle *h, unsigned int cmd,
		       unsigned long arg)
{
	struct fbuf_recv args;
	int ret;

	ret = fbuf_args_get(&args, sizeof(args), sizeof(args), cmd, arg);
	return ret ?: fbuf_recv(h, &args, (void __user *)arg);
}

static int handle_read(struct fbuf_handle *h, unsigned int cmd,
		       unsigned long arg)
{
	struct fbuf_read args;
	int ret;

	ret = fbuf_args_get(&args, sizeof(args), sizeof(args), cmd, arg);
	return ret ?: fbuf_read(h, &args);
}

static int handle_show(struct fbuf_handle *h, unsigned int cmd,
		       unsigned long arg)
{
	struct fbuf_show args;
	int ret;

	ret = fbuf_args_get(&args, sizeof(args), sizeof(args), cmd, arg);
	return ret ?: fbuf_show(h, &args);
}

static int handle_info(struct fbuf_handle *h, unsigned int cmd,
		       unsigned long arg)
{
	struct fbuf_info args;
	int err;

	err = fbuf_args_get(&args, sizeof(args),
			    offsetof(struct fbuf_info, pool_flags), cmd, arg);
	if (err)
		return err;
	if (args.flags)
		return -EINVAL;
	fbuf_info(h, &args);
	/* No more than the caller knows. */
	return copy_to_user((void __user *)arg, &args,
			    min_t(size_t, args.size, sizeof(args))) ?
	       -EFAULT : 0;
}

static noinline long handle_call(struct fbuf_handle *h, unsigned int cmd,
				 unsigned long arg)
{
	if (_IOC_TYPE(cmd) != FBUF_IOC_MAGIC)
		return -ENOTTY;
	switch (_IOC_NR(cmd)) {
	case _IOC_NR(FBUF_IOC_SEND):
		return handle_send(h, cmd, arg);
	case _IOC_NR(FBUF_IOC_ALLOC):
	case _IOC_NR(FBUF_IOC_FREE):
	case _IOC_NR(FBUF_IOC_HOLD):
	case _IOC_NR(FBUF_IOC_WAIT):
	case _IOC_NR(FBUF_IOC_SECURE):
	case _IOC_NR(FBUF_IOC_DROP):
		return handle_batch(h, cmd, arg);
	case _IOC_NR(FBUF_IOC_PASS):
		return handle_pass(h, cmd, arg);
	case _IOC_NR(FBUF_IOC_FANOUT):
		return handle_fanout(h, cmd, arg);
	case _IOC_NR(FBUF_IOC_SEND_BATCH):
		return handle_send_batch(h, cmd, arg);
	case _IOC_NR(FBUF_IOC_FILL):
		return handle_fill(h, cmd, arg);
	case _IOC_NR(FBUF_IOC_RECV):
		return handle_recv(h, cmd, arg);
	case _IOC_NR(FBUF_IOC_READ):
		return handle_read(h, cmd, arg);
	case _IOC_NR(FBUF_IOC_SHOW):
		return handle_show(h, cmd, arg);
	case _IOC_NR(FBUF_IOC_SHARE):
		return handle_share(h, cmd, arg);
	case _IOC_NR(FBUF_IOC_RING):
		return handle_ring(h, cmd, arg);
	case _IOC_NR(FBUF_IOC_INFO):
		return handle_info(h, cmd, arg);
	}
	fbuf_log_notice("call %u, of which this module does not know: the program is for a newer fbuf, load a newer module",
			_IOC_NR(cmd));
	return -ENOTTY;
}

static long handle_ioctl(struct file *file, unsigned int cmd,
			 unsigned long arg)
{
	struct fbuf_handle *h = file->private_data;

	/* Ahead of the table. */
	if (cmd == FBUF_IOC_SEND)
		return fbuf_send_user(h, (void __user *)arg);
	return handle_call(h, cmd, arg);
}

static void handle_destroy(struct fbuf_handle *h)
{
	fbuf_ring_destroy(h);
	kvfree(h->holds);
	kvfree(h->secures);
	kfree(h);
}

/* From then on nobody passes anything to it. */
static void handle_leave(struct fbuf_handle *h)
{
	mutex_lock(&h->pool->lock);
	xa_erase(&h->pool->handles, h->id);
	h->pool->nr_handles--;
	mutex_unlock(&h->pool->lock);
}

/* No call runs and nothing is mapped: they hold the file. */
static int handle_release(struct inode *inode, struct file *file)
{
	struct fbuf_handle *h = file->private_data;
	struct fbuf_pool *pool = h->pool;

	/* The pool, and its mapping with it, may go before the file does. */
	file->f_mapping = inode->i_mapping;
	handle_leave(h);
	fbuf_parcels_free_all(h);
	fbuf_free_all(h);
	handle_destroy(h);
	fbuf_pool_put(pool);
	return 0;
}

/* For /proc, which may have others' locks: ours is not waited for. */
static void handle_show_fdinfo(struct seq_file *m, struct file *file)
{
	static const char * const names[] = { "read", "write", "alloc", "send" };
	struct fbuf_handle *h = file->private_data;
	u64 holds = READ_ONCE(h->nr_holds);
	const char *sep = "";
	unsigned int i;

	seq_printf(m, "fbuf-pool:\t%llu\n", h->pool->id);
	seq_printf(m, "fbuf-handle:\t%u\n", h->id);
	seq_puts(m, "fbuf-rights:\t");
	for (i = 0; i < ARRAY_SIZE(names); i++) {
		if (!(h->rights & BIT(i)))
			continue;
		seq_printf(m, "%s%s", sep, names[i]);
		sep = ",";
	}
	seq_printf(m, "%s\n", h->rights ? "" : "none");
	seq_printf(m, "fbuf-holds:\t%llu\n", holds);
	seq_printf(m, "fbuf-bytes:\t%llu\n", holds << h->pool->buf_shift);
}

/*
 * A child inherits the mapping: it is shared memory. It cannot grow, and it cannot be
 * made executable: what is received from a network must not run.
 */
static int handle_mmap(struct file *file, struct vm_area_struct *vma)
{
	struct fbuf_handle *h = file->private_data;

	if (!(vma->vm_flags & VM_SHARED))
		return -EINVAL;
	if (vma->vm_flags & VM_EXEC)
		return -EPERM;
	if (vma->vm_pgoff >= FBUF_MMAP_PARCELS >> PAGE_SHIFT)
		return fbuf_show_mmap(vma);
	if (vma->vm_pgoff >= FBUF_MMAP_RING >> PAGE_SHIFT)
		return fbuf_ring_mmap(h, vma);
	return fbuf_map_pool(h, vma);
}

static const struct file_operations handle_fops = {
	.owner		= THIS_MODULE,
	.release	= handle_release,
	.unlocked_ioctl	= handle_ioctl,
	.compat_ioctl	= compat_ptr_ioctl,
	.mmap		= handle_mmap,
	.poll		= fbuf_poll,
	.splice_read	= fbuf_splice_read,
	.uring_cmd	= fbuf_uring_cmd,
	.llseek		= fbuf_llseek,
	.show_fdinfo	= handle_show_fdinfo,
};

static struct fbuf_handle *handle_new(struct fbuf_pool *pool,
				      const struct fbuf_share *args)
{
	unsigned long nr = BITS_TO_LONGS(pool->nr_bufs);
	struct fbuf_handle *h;

	h = kzalloc(sizeof(*h), GFP_KERNEL_ACCOUNT);
	if (!h)
		return NULL;
	h->pool = pool;
	h->rights = args->rights;
	h->max_holds = args->max_holds;
	h->no_pin = args->flags & FBUF_SHARE_NO_PIN;
	init_waitqueue_head(&h->wait);
	INIT_LIST_HEAD(&h->notifying);
	spin_lock_init(&h->parcels.lock);
	mutex_init(&h->show_lock);
	h->holds = kvcalloc(nr, sizeof(long), GFP_KERNEL_ACCOUNT);
	if (!fbuf_is_volatile(pool))
		h->secures = kvcalloc(nr, sizeof(long), GFP_KERNEL_ACCOUNT);
	if (!h->holds || (!fbuf_is_volatile(pool) && !h->secures)) {
		handle_destroy(h);
		return NULL;
	}
	return h;
}

/* Give it a number: one that was not in use for long. */
static int handle_join(struct fbuf_handle *h)
{
	struct fbuf_pool *pool = h->pool;
	int ret;

	mutex_lock(&pool->lock);
	ret = xa_alloc_cyclic(&pool->handles, &h->id, h, XA_LIMIT(1, U32_MAX),
			      &pool->next_handle, GFP_KERNEL_ACCOUNT);
	if (ret >= 0)
		pool->nr_handles++;
	mutex_unlock(&pool->lock);
	return min(ret, 0);
}

/* The file takes over the caller's reference to the pool on success. */
static struct file *handle_open(struct fbuf_pool *pool,
				const struct fbuf_share *args)
{
	struct fbuf_handle *h;
	struct file *file;
	int err;

	h = handle_new(pool, args);
	if (!h)
		return ERR_PTR(-ENOMEM);
	err = handle_join(h);
	if (err) {
		handle_destroy(h);
		return ERR_PTR(err);
	}
	/* Rights are ours to check: a ring is written whatever they are. */
	file = anon_inode_getfile("[fbuf]", &handle_fops, h, O_RDWR);
	if (IS_ERR(file)) {
		handle_leave(h);
		handle_destroy(h);
		return file;
	}
	h->file = file;
	/* A file of the pool's bytes, for sendfile() and splice(). */
	file->f_mode |= FMODE_LSEEK | FMODE_PREAD;
	pool->mapping.host = file_inode(file);
	file->f_mapping = &pool->mapping;
	return file;
}

/**
 * fbuf_handle_install() - give the calling process a pool fd
 * @pool: the pool; takes over the caller's reference
 * @args: its rights, how many buffers it may hold, and flags
 * @uid: where its number goes, or NULL
 *
 * Context: may sleep.
 * Return: the fd, -ENOMEM, -EMFILE, -ENFILE or -EFAULT.
 */
int fbuf_handle_install(struct fbuf_pool *pool, const struct fbuf_share *args,
			u32 __user *uid)
{
	struct fbuf_handle *h;
	struct file *file;
	int fd, err;

	fd = get_unused_fd_flags(O_CLOEXEC);
	if (fd < 0) {
		fbuf_pool_put(pool);
		return fd;
	}
	file = handle_open(pool, args);
	if (IS_ERR(file)) {
		err = PTR_ERR(file);
		fbuf_pool_put(pool);
		goto err_fd;
	}
	h = file->private_data;
	err = -EFAULT;
	if (uid && put_user(h->id, uid))
		goto err_file;
	fd_install(fd, file);
	return fd;

err_file:
	fput(file);
err_fd:
	put_unused_fd(fd);
	return err;
}
