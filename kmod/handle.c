// SPDX-License-Identifier: GPL-2.0
/*
 * The pool fd: a handle on a pool, and its ioctls.
 */
#include <linux/anon_inodes.h>
#include <linux/bitmap.h>
#include <linux/file.h>
#include <linux/fs.h>
#include <linux/module.h>
#include <linux/slab.h>
#include <linux/uaccess.h>

#include "compat.h"
#include "fbuf.h"

/* Names that a batch keeps on the stack. */
#define NAMES_FAST	32

static int batch_alloc(struct fbuf_handle *h, u64 *names,
		       const struct fbuf_batch *args)
{
	int ret = fbuf_alloc(h, names, args->count);

	if (ret > 0 && copy_to_user(u64_to_user_ptr(args->names), names,
				    ret * sizeof(u64))) {
		fbuf_free(h, names, ret);
		return -EFAULT;
	}
	return ret;
}

static int batch_free(struct fbuf_handle *h, u64 *names,
		      const struct fbuf_batch *args)
{
	if (copy_from_user(names, u64_to_user_ptr(args->names),
			   args->count * sizeof(u64)))
		return -EFAULT;
	return fbuf_free(h, names, args->count);
}

static int handle_batch(struct fbuf_handle *h, unsigned int cmd,
			unsigned long arg,
			int (*fn)(struct fbuf_handle *h, u64 *names,
				  const struct fbuf_batch *args))
{
	u64 fast[NAMES_FAST] __uninitialized, *names = fast;
	struct fbuf_batch args;
	int ret;

	ret = fbuf_args_get(&args, sizeof(args), cmd, arg);
	if (ret)
		return ret;
	if (args.flags || args.pad || !args.count ||
	    args.count > FBUF_BATCH_MAX)
		return -EINVAL;
	if (args.count > NAMES_FAST) {
		names = kvmalloc_array(args.count, sizeof(u64),
				       GFP_KERNEL_ACCOUNT);
		if (!names)
			return -ENOMEM;
	}
	ret = fn(h, names, &args);
	if (names != fast)
		kvfree(names);
	return ret;
}

static int handle_send(struct fbuf_handle *h, unsigned int cmd,
		       unsigned long arg)
{
	struct fbuf_send __user *uargs = (void __user *)arg;
	struct fbuf_send args;
	int ret;

	ret = fbuf_args_get(&args, sizeof(args), cmd, arg);
	if (ret)
		return ret;
	ret = fbuf_send(h, &args);
	if (ret < 0)
		return ret;
	/* The bytes are gone: a fault here must not hide how many. */
	put_user(args.engine, &uargs->engine);
	put_user(args.copied, &uargs->copied);
	return ret;
}

static int handle_info(struct fbuf_handle *h, unsigned int cmd,
		       unsigned long arg)
{
	struct fbuf_info args;
	int err;

	err = fbuf_args_get(&args, sizeof(args), cmd, arg);
	if (err)
		return err;
	if (args.flags)
		return -EINVAL;
	fbuf_pool_info(h->pool, &args);
	return copy_to_user((void __user *)arg, &args, sizeof(args)) ?
	       -EFAULT : 0;
}

static long handle_ioctl(struct file *file, unsigned int cmd,
			 unsigned long arg)
{
	struct fbuf_handle *h = file->private_data;

	if (_IOC_TYPE(cmd) != FBUF_IOC_MAGIC)
		return -ENOTTY;
	switch (_IOC_NR(cmd)) {
	case _IOC_NR(FBUF_IOC_SEND):
		return handle_send(h, cmd, arg);
	case _IOC_NR(FBUF_IOC_ALLOC):
		return handle_batch(h, cmd, arg, batch_alloc);
	case _IOC_NR(FBUF_IOC_FREE):
		return handle_batch(h, cmd, arg, batch_free);
	case _IOC_NR(FBUF_IOC_INFO):
		return handle_info(h, cmd, arg);
	}
	return -ENOTTY;
}

static void handle_destroy(struct fbuf_handle *h)
{
	kvfree(h->holds);
	kfree(h);
}

/* No call runs and nothing is mapped: they hold the file. */
static int handle_release(struct inode *inode, struct file *file)
{
	struct fbuf_handle *h = file->private_data;

	fbuf_free_all(h);
	fbuf_pool_put(h->pool);
	handle_destroy(h);
	return 0;
}

static const struct file_operations handle_fops = {
	.owner		= THIS_MODULE,
	.release	= handle_release,
	.unlocked_ioctl	= handle_ioctl,
	.compat_ioctl	= compat_ptr_ioctl,
	.mmap		= fbuf_mmap,
	.llseek		= noop_llseek,
};

/**
 * fbuf_handle_install() - give the calling process a pool fd
 * @pool: the pool; the handle takes over the caller's reference on success
 *
 * Context: may sleep.
 * Return: the fd, -ENOMEM, -EMFILE or -ENFILE.
 */
int fbuf_handle_install(struct fbuf_pool *pool)
{
	struct fbuf_handle *h;
	struct file *file;
	int fd, err;

	h = kzalloc(sizeof(*h), GFP_KERNEL_ACCOUNT);
	if (!h)
		return -ENOMEM;
	h->pool = pool;
	err = -ENOMEM;
	h->holds = kvcalloc(BITS_TO_LONGS(pool->nr_bufs), sizeof(long),
			    GFP_KERNEL_ACCOUNT);
	if (!h->holds)
		goto err_handle;
	fd = get_unused_fd_flags(O_CLOEXEC);
	if (fd < 0) {
		err = fd;
		goto err_handle;
	}
	file = anon_inode_getfile("[fbuf]", &handle_fops, h, O_RDWR);
	if (IS_ERR(file)) {
		err = PTR_ERR(file);
		goto err_fd;
	}
	fbuf_pool_set_mapping(pool, file->f_mapping);
	fd_install(fd, file);
	return fd;

err_fd:
	put_unused_fd(fd);
err_handle:
	handle_destroy(h);
	return err;
}
