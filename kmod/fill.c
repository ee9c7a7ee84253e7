// SPDX-License-Identifier: GPL-2.0
/*
 * FILL: a part of a buffer is read from a file or a socket, as read() and recv()
 * would, but into the pool's pages themselves: direct I/O goes there by DMA.
 *
 * It may take for ever, and no lock of this module is held meanwhile. What it
 * writes to is kept by references to the pages: the buffer is in flight. That no
 * packet gets to see half of it is seen to, in pools that are not volatile, by
 * &struct fbuf_buf.fills. It is counted up under the pool's lock when the buffer
 * may be written, and may then not be protected before it is 0 again.
 */
#include <linux/fadvise.h>
#include <linux/file.h>
#include <linux/fs.h>
#include <linux/net.h>
#include <linux/sched/signal.h>
#include <linux/sched/xacct.h>
#include <linux/stat.h>

#include "compat.h"
#include "fill.h"
#include "folio.h"
#include "gather.h"
#include "protect.h"
#include "trace.h"
#include "types.h"
#include "wait.h"

#define FILL_FLAGS	(FBUF_FILL_DIRECT | FBUF_FILL_POS | \
			 FBUF_FILL_DONTWAIT | FBUF_FILL_ALL)

static int fill_check(const struct fbuf_handle *h,
		      const struct fbuf_fill *args)
{
	u32 buf_size = 1U << h->pool->buf_shift;

	if (!(h->rights & FBUF_RIGHT_WRITE))
		return -EACCES;
	if (args->flags & ~FILL_FLAGS || !args->len ||
	    args->offset >= buf_size || args->len > buf_size - args->offset)
		return -EINVAL;
	if (args->flags & FBUF_FILL_POS ? args->pos > LLONG_MAX : args->pos)
		return -EINVAL;
	/* To read ahead is to use the page cache, and may have to wait. */
	if (args->ahead > FBUF_AHEAD_MAX ||
	    (args->ahead &&
	     args->flags & (FBUF_FILL_DIRECT | FBUF_FILL_DONTWAIT)))
		return -EINVAL;
	return 0;
}

/*
 * What can be known before the buffer is touched. Pool fds, like all files that
 * are read by copy_to_user() alone, have no read_iter().
 */
static int fill_check_file(struct file *file, const struct fbuf_fill *args)
{
	umode_t mode = file_inode(file)->i_mode;

	if (!(file->f_mode & FMODE_READ))
		return -EBADF;
	if (S_ISDIR(mode))
		return -EISDIR;
	if (!(file->f_mode & FMODE_CAN_READ) || !file->f_op->read_iter)
		return -EINVAL;
	if (args->flags & FBUF_FILL_POS && !(file->f_mode & FMODE_PREAD))
		return -ESPIPE;
	if (args->flags & FBUF_FILL_DIRECT &&
	    !(file->f_mode & FMODE_CAN_ODIRECT))
		return -EOPNOTSUPP;
	if (args->ahead &&
	    (file->f_flags & O_DIRECT || !(S_ISREG(mode) || S_ISBLK(mode))))
		return -EINVAL;
	/* A socket is told by its own flag. */
	if (args->flags & FBUF_FILL_DONTWAIT && !S_ISSOCK(mode) &&
	    !(file->f_mode & FMODE_NOWAIT))
		return -EOPNOTSUPP;
	return 0;
}

/*
 * Refer to the pages, if the buffer may be written. Returns -EBUSY if it must not,
 * and sets *in_flight if that is because of packets.
 */
static int fill_try(struct fbuf_handle *h, const struct fbuf_fill *args,
		    struct fbuf_gather *g, bool *in_flight)
{
	struct fbuf_pool *pool = h->pool;
	struct fbuf_buf *buf;
	int index, err = 0;

	mutex_lock(&pool->lock);
	index = fbuf_buf_check(h, args->name);
	if (index < 0) {
		err = index;
		goto out;
	}
	buf = &pool->bufs[index];
	*in_flight = !buf->secures;
	err = fbuf_buf_get_memory(pool, buf);
	if (!err && !fbuf_is_volatile(pool))
		err = fbuf_may_write(pool, buf, NULL);
	if (err)
		goto out;
	err = fbuf_gather_part(g, pool, fbuf_buf_first(pool, buf) +
			       (args->offset >> PAGE_SHIFT),
			       offset_in_page(args->offset), args->len);
	if (!err)
		buf->fills++;
out:
	mutex_unlock(&pool->lock);
	return err;
}

/* Where a write through a mapping would wait, so does this. */
static int fill_wait(struct fbuf_handle *h, const struct fbuf_fill *args,
		     struct fbuf_gather *g)
{
	bool sigbus = h->pool->flags & FBUF_POOL_SIGBUS;
	struct fbuf_waiter w;
	bool in_flight;
	int err, slept = 0;

	fbuf_waiter_begin(&w, h->pool, sigbus ? FBUF_GRACE_MS : -1,
			  TASK_INTERRUPTIBLE);
	do {
		err = fill_try(h, args, g, &in_flight);
		if (err != -EBUSY || (sigbus && !in_flight))
			break;
		slept = fbuf_waiter_sleep(&w, in_flight);
	} while (!slept);
	fbuf_waiter_end(&w);
	return slept && slept != -ETIMEDOUT ? slept : err;
}

static int fill_begin(struct fbuf_handle *h, const struct fbuf_fill *args,
		      struct fbuf_gather *g)
{
	bool in_flight;
	int err;

	fbuf_gather_init(g, 0);
	err = fill_try(h, args, g, &in_flight);
	if (err == -EBUSY && !(args->flags & FBUF_FILL_DONTWAIT))
		err = fill_wait(h, args, g);
	if (err)
		fbuf_gather_release(g);
	return err;
}

static void fill_end(struct fbuf_pool *pool, u64 name, struct fbuf_gather *g)
{
	struct fbuf_buf *buf = &pool->bufs[FBUF_NAME_INDEX(name)];

	mutex_lock(&pool->lock);
	/* Together: the next holder finds a buffer that he may protect. */
	fbuf_gather_release(g);
	buf->fills--;
	fbuf_wake(pool);
	mutex_unlock(&pool->lock);
}

static ssize_t fill_from_socket(struct socket *sock,
				const struct fbuf_fill *args,
				const struct iov_iter *iter)
{
	struct msghdr msg = { .msg_iter = *iter };
	int flags = 0;

	if (args->flags & FBUF_FILL_DONTWAIT ||
	    sock->file->f_flags & O_NONBLOCK)
		flags |= MSG_DONTWAIT;
	if (args->flags & FBUF_FILL_ALL)
		flags |= MSG_WAITALL;
	return sock_recvmsg(sock, &msg, flags);
}

/* With all checks of read(2), those of security modules included. */
static ssize_t fill_read(struct kiocb *iocb, struct iov_iter *iter, bool all)
{
	ssize_t ret, done = 0;

	do {
		ret = vfs_iocb_iter_read(iocb->ki_filp, iocb, iter);
		if (ret <= 0)
			break;
		done += ret;
	} while (all && iov_iter_count(iter) && !signal_pending(current));
	add_rchar(current, done);
	inc_syscr(current);
	return done ?: ret;
}

/* As fdget_pos(), which is not for modules, if others had the file too. */
static int fill_pos_lock(struct file *file, bool dontwait)
{
	if (!(file->f_mode & FMODE_ATOMIC_POS))
		return 0;
	if (dontwait)
		return mutex_trylock(&file->f_pos_lock) ? 0 : -EAGAIN;
	return mutex_lock_killable(&file->f_pos_lock);
}

static void fill_pos_unlock(struct file *file)
{
	if (file->f_mode & FMODE_ATOMIC_POS)
		mutex_unlock(&file->f_pos_lock);
}

/* From the file's own position, which moves on, or from none. */
static ssize_t fill_read_on(struct kiocb *iocb, struct iov_iter *iter, bool all)
{
	struct file *file = iocb->ki_filp;
	ssize_t ret;

	if (file->f_mode & FMODE_STREAM)
		return fill_read(iocb, iter, all);
	ret = fill_pos_lock(file, iocb->ki_flags & IOCB_NOWAIT);
	if (ret)
		return ret;
	iocb->ki_pos = file->f_pos;
	ret = fill_read(iocb, iter, all);
	if (ret >= 0)
		file->f_pos = iocb->ki_pos;
	fill_pos_unlock(file);
	return ret;
}

static ssize_t fill_from_file(struct file *file, const struct fbuf_fill *args,
			      struct iov_iter *iter)
{
	bool all = args->flags & FBUF_FILL_ALL;
	struct kiocb iocb;
	ssize_t ret;

	init_sync_kiocb(&iocb, file);
	if (args->flags & FBUF_FILL_DIRECT)
		iocb.ki_flags |= IOCB_DIRECT;
	if (args->flags & FBUF_FILL_DONTWAIT)
		iocb.ki_flags |= IOCB_NOWAIT | IOCB_NOIO;
	if (args->flags & FBUF_FILL_POS) {
		iocb.ki_pos = args->pos;
		ret = fill_read(&iocb, iter, all);
	} else {
		ret = fill_read_on(&iocb, iter, all);
	}
	/* Only advice: what comes of it is no error. */
	if (ret > 0 && args->ahead)
		vfs_fadvise(file, iocb.ki_pos, args->ahead,
			    POSIX_FADV_WILLNEED);
	return ret;
}

static int fill_from(struct fbuf_handle *h, const struct fbuf_fill *args,
		     struct file *file)
{
	struct socket *sock = sock_from_file(file);
	struct fbuf_gather g __uninitialized;
	struct iov_iter iter;
	int ret;

	ret = fill_check_file(file, args);
	if (ret)
		return ret;
	ret = fill_begin(h, args, &g);
	if (ret)
		return ret;
	iov_iter_bvec(&iter, ITER_DEST, g.runs, g.nr, g.len);
	if (sock)
		ret = fill_from_socket(sock, args, &iter);
	else
		ret = fill_from_file(file, args, &iter);
	fill_end(h->pool, args->name, &g);
	return ret;
}

/**
 * fbuf_fill() - read from a file or a socket into a buffer
 * @h: the handle, which must have a hold on the buffer
 * @args: what and where to
 *
 * Context: may sleep; takes the pool's lock, but not while it reads.
 * Return: as read() or recv(); -EACCES, -EINVAL, -ESTALE, -EBADF, -EISDIR,
 * -ESPIPE, -EOPNOTSUPP, -ENOMEM; -EBUSY if the buffer must not be written and
 * that is not to be waited for; as fbuf_waiter_sleep().
 */
int fbuf_fill(struct fbuf_handle *h, const struct fbuf_fill *args)
{
	struct fbuf_pool *pool = h->pool;
	struct fd f;
	int ret;

	ret = fill_check(h, args);
	if (ret)
		return ret;
	f = fdget(args->fd);
	if (!fd_file(f))
		return -EBADF;
	ret = fill_from(h, args, fd_file(f));
	trace_fbuf_fill(pool, args, ret);
	fdput(f);
	if (ret < 0)
		return ret;
	this_cpu_add(pool->counters->fills, 1);
	this_cpu_add(pool->counters->filled, ret);
	return ret;
}
