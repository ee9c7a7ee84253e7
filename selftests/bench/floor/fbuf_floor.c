// SPDX-License-Identifier: GPL-2.0
/*
 * fbuf_floor: what a send costs with nothing around it, for "fbuf bench".
 *
 * Pages of its own go to sockets as kmod/pageref.c sends those of a pool, but
 * from within the kernel: no system call for a send, no segments to read and to
 * check, no holds, no counters. This is the least that a send by page reference
 * can cost: what fbuf costs above it is fbuf's own.
 *
 * For measuring only: who may open the device (root) is trusted.
 */
#include <linux/fs.h>
#include <linux/gfp.h>
#include <linux/ktime.h>
#include <linux/miscdevice.h>
#include <linux/mm.h>
#include <linux/module.h>
#include <linux/mutex.h>
#include <linux/uaccess.h>

#include "compat.h"
#include "fbuf_floor.h"

#define SEG_SIZE_MAX	(2U << 20)

/* The message of an open file. */
struct floor_file {
	struct mutex lock;	/* of all that follows */
	struct bio_vec *runs;	/* each in a folio of its own */
	unsigned int nr;
	size_t seg_size;
};

/* Nobody looks at the ubuf_info after the call: see kmod/pageref.c. */
static void floor_complete(struct sk_buff *skb, struct ubuf_info *ubuf,
			   bool success)
{
}

FBUF_DECLARE_UBUF_OPS(fbuf_floor_ops);
FBUF_DEFINE_UBUF_OPS(fbuf_floor_ops, floor_complete);

/* Runs never continue one another: a frag each, or what is left of one. */
static int floor_fill(struct sk_buff *skb, struct iov_iter *from, size_t length)
{
	struct skb_shared_info *shinfo = skb_shinfo(skb);
	size_t left = min(length, from->count), done = left;
	int err = 0;

	while (left) {
		const struct bio_vec *run = from->bvec;
		unsigned int len = min_t(size_t, left,
					 run->bv_len - from->iov_offset);
		int nr = shinfo->nr_frags;

		if (nr && skb_can_coalesce(skb, nr, run->bv_page,
					   from->iov_offset)) {
			skb_frag_size_add(&shinfo->frags[nr - 1], len);
		} else if (nr < MAX_SKB_FRAGS) {
			get_page(run->bv_page);
			skb_fill_page_desc_noacc(skb, nr, run->bv_page,
						 from->iov_offset, len);
		} else {
			err = -EMSGSIZE;
			break;
		}
		left -= len;
		from->iov_offset += len;
		if (from->iov_offset == run->bv_len) {
			from->iov_offset = 0;
			from->bvec++;
			from->nr_segs--;
		}
	}
	done -= left;
	from->count -= done;
	skb->len += done;
	skb->data_len += done;
	skb->truesize += done;
	return err;
}

FBUF_DECLARE_SG_FROM_ITER(fbuf_floor_sg_from_iter);
FBUF_DEFINE_SG_FROM_ITER(fbuf_floor_sg_from_iter, floor_fill)

static int floor_send_one(struct socket *sock, const struct floor_file *f)
{
	struct ubuf_info ubuf = { .flags = SKBFL_SHARED_FRAG };
	struct msghdr msg = {
		.msg_flags = MSG_ZEROCOPY | MSG_DONTWAIT | MSG_NOSIGNAL,
		.msg_ubuf = &ubuf,
		.sg_from_iter = fbuf_floor_sg_from_iter,
	};

	fbuf_ubuf_init(&ubuf, fbuf_floor_ops);
	refcount_set(&ubuf.refcnt, 1);
	iov_iter_bvec(&msg.msg_iter, ITER_SOURCE, f->runs, f->nr,
		      f->nr * f->seg_size);
	return sock_sendmsg(sock, &msg);
}

/* All in one window of the clock, to read it once, not for each socket. */
static int floor_send_all(struct socket **socks, unsigned int nr,
			  const struct floor_file *f, u64 *ns)
{
	u64 start = ktime_get_ns();
	unsigned int i;
	int ret;

	for (i = 0; i < nr; i++) {
		ret = floor_send_one(socks[i], f);
		if (ret != f->nr * f->seg_size)
			return ret < 0 ? ret : -EMSGSIZE;
	}
	*ns = ktime_get_ns() - start;
	return 0;
}

static int floor_send(const struct floor_file *f, struct floor *args)
{
	const __s32 __user *fds = u64_to_user_ptr(args->fds);
	struct socket **socks;
	unsigned int i;
	int ret = 0;
	__s32 fd;

	if (!f->nr || !args->nr || args->nr > FLOOR_SOCKS_MAX)
		return -EINVAL;
	socks = kvmalloc_array(args->nr, sizeof(*socks), GFP_KERNEL);
	if (!socks)
		return -ENOMEM;
	for (i = 0; i < args->nr; i++) {
		if (get_user(fd, &fds[i])) {
			ret = -EFAULT;
			goto out;
		}
		socks[i] = sockfd_lookup(fd, &ret);
		if (!socks[i])
			goto out;
	}
	ret = floor_send_all(socks, args->nr, f, &args->ns);
out:
	while (i)
		sockfd_put(socks[--i]);
	kvfree(socks);
	return ret;
}

static void floor_drop(struct floor_file *f)
{
	unsigned int i;

	for (i = 0; i < f->nr; i++)
		put_page(f->runs[i].bv_page);
	kvfree(f->runs);
	f->runs = NULL;
	f->nr = 0;
}

static int floor_setup(struct floor_file *f, const struct floor *args)
{
	unsigned int order;
	struct page *page;

	if (!args->nr || args->nr > FLOOR_SEGS_MAX || !args->seg_size ||
	    args->seg_size > SEG_SIZE_MAX)
		return -EINVAL;
	floor_drop(f);
	f->runs = kvcalloc(args->nr, sizeof(*f->runs), GFP_KERNEL);
	if (!f->runs)
		return -ENOMEM;
	f->seg_size = args->seg_size;
	/* One order more than needed: no two runs touch. */
	order = get_order(args->seg_size) + (args->nr > 1);
	while (f->nr < args->nr) {
		page = alloc_pages(GFP_KERNEL | __GFP_COMP | __GFP_ZERO, order);
		if (!page) {
			floor_drop(f);
			return -ENOMEM;
		}
		f->runs[f->nr].bv_page = page;
		f->runs[f->nr].bv_len = f->seg_size;
		f->runs[f->nr].bv_offset = 0;
		f->nr++;
	}
	return 0;
}

static long floor_ioctl(struct file *file, unsigned int cmd, unsigned long arg)
{
	struct floor __user *uargs = (struct floor __user *)arg;
	struct floor_file *f = file->private_data;
	struct floor args;
	long ret;

	if (copy_from_user(&args, uargs, sizeof(args)))
		return -EFAULT;
	mutex_lock(&f->lock);
	switch (cmd) {
	case FLOOR_IOC_SETUP:
		ret = floor_setup(f, &args);
		break;
	case FLOOR_IOC_SEND:
		ret = floor_send(f, &args);
		if (!ret && put_user(args.ns, &uargs->ns))
			ret = -EFAULT;
		break;
	default:
		ret = -ENOTTY;
	}
	mutex_unlock(&f->lock);
	return ret;
}

/* The rest of a segment at most. */
static ssize_t floor_write(struct file *file, const char __user *buf,
			   size_t len, loff_t *pos)
{
	struct floor_file *f = file->private_data;
	ssize_t ret = -ENOSPC;
	size_t off;

	mutex_lock(&f->lock);
	if (*pos < f->nr * f->seg_size) {
		struct page *page = f->runs[*pos / f->seg_size].bv_page;

		off = *pos % f->seg_size;
		ret = min(len, f->seg_size - off);
		if (copy_from_user(page_address(page) + off, buf, ret))
			ret = -EFAULT;
		else
			*pos += ret;
	}
	mutex_unlock(&f->lock);
	return ret;
}

static int floor_open(struct inode *inode, struct file *file)
{
	struct floor_file *f = kzalloc(sizeof(*f), GFP_KERNEL);

	if (!f)
		return -ENOMEM;
	mutex_init(&f->lock);
	file->private_data = f;
	return 0;
}

static int floor_release(struct inode *inode, struct file *file)
{
	struct floor_file *f = file->private_data;

	floor_drop(f);
	kfree(f);
	return 0;
}

static const struct file_operations floor_fops = {
	.owner		= THIS_MODULE,
	.open		= floor_open,
	.release	= floor_release,
	.unlocked_ioctl	= floor_ioctl,
	.write		= floor_write,
};

static struct miscdevice floor_device = {
	.minor	= MISC_DYNAMIC_MINOR,
	.name	= "fbuf-floor",
	.fops	= &floor_fops,
	.mode	= 0600,
};

module_misc_device(floor_device);
MODULE_DESCRIPTION("What fbuf's sends would cost with nothing around them");
MODULE_LICENSE("GPL");
