// SPDX-License-Identifier: GPL-2.0
/*
 * RECV: a parcel of what a stream socket has received.
 *
 * From TCP take.c takes it. Any other socket's recvmsg() copies it, into pages of the
 * parcel's own; so it does what only it can do: to peek, and to know what to do about
 * an urgent byte.
 */
#include <linux/file.h>
#include <linux/fs.h>
#include <linux/mm.h>
#include <linux/net.h>
#include <linux/uaccess.h>
#include <linux/uio.h>

#include "compat.h"
#include "parcel.h"
#include "recv.h"
#include "take.h"
#include "trace.h"
#include "types.h"

#define RECV_FLAGS	(FBUF_RECV_DONTWAIT | FBUF_RECV_ALL | FBUF_RECV_PEEK)

/* What is copied by one call, at most: it is charged while that waits. */
#define COPY_MAX	SZ_256K
#define COPY_ORDER	3

static int recv_check(const struct fbuf_handle *h, const struct fbuf_recv *args)
{
	if (!(h->rights & FBUF_RIGHT_ALLOC))
		return -EACCES;
	if (args->flags & ~RECV_FLAGS || !args->len ||
	    args->len > FBUF_PARCEL_MAX)
		return -EINVAL;
	return args->head_len && !args->head ? -EINVAL : 0;
}

/* Pages of its own for up to @len bytes: at least one, or an error. */
static int copy_get_pages(struct fbuf_parcel *p, unsigned int len)
{
	unsigned int order = min(COPY_ORDER, get_order(len)), room;
	struct page *page;
	int err;

	err = fbuf_parcel_charge(p, len);
	if (err)
		return err;
	room = min_t(size_t, fbuf_parcel_room(p), round_up(len, PAGE_SIZE));
	while (p->len < room) {
		while (order && p->len + (PAGE_SIZE << order) > room)
			order--;
		page = alloc_pages(order ? GFP_KERNEL_ACCOUNT | __GFP_COMP |
				   __GFP_NORETRY | __GFP_NOWARN :
				   GFP_KERNEL_ACCOUNT, order);
		if (!page && order--)
			continue;
		if (!page)
			break;
		err = fbuf_parcel_add(p, page, 0, PAGE_SIZE << order);
		/* It has a reference of its own. */
		put_page(page);
		if (err)
			break;
	}
	return p->len ? 0 : -ENOMEM;
}

/* Keep what was received, and no page more. */
static void copy_cut(struct fbuf_parcel *p, unsigned int len)
{
	unsigned int i, left = len;

	p->len = len;
	p->copied = len;
	for (i = 0; i < p->nr && left; i++) {
		p->cost += page_size(p->runs[i].bv_page);
		p->runs[i].bv_len = min(left, p->runs[i].bv_len);
		left -= p->runs[i].bv_len;
	}
	len = i;
	for (; i < p->nr; i++)
		put_page(p->runs[i].bv_page);
	p->nr = len;
}

static int recv_copy(struct socket *sock, struct fbuf_parcel *p,
		     const struct fbuf_recv *args, bool dontwait)
{
	struct msghdr msg = { };
	int flags = 0, ret;

	if (dontwait)
		flags |= MSG_DONTWAIT;
	if (args->flags & FBUF_RECV_ALL)
		flags |= MSG_WAITALL;
	if (args->flags & FBUF_RECV_PEEK)
		flags |= MSG_PEEK;
	ret = copy_get_pages(p, min_t(unsigned int, args->len, COPY_MAX));
	if (ret)
		return ret;
	iov_iter_bvec(&msg.msg_iter, ITER_DEST, p->runs, p->nr,
		      min(args->len, p->len));
	ret = sock_recvmsg(sock, &msg, flags);
	copy_cut(p, max(ret, 0));
	return ret;
}

/* With the checks of splice(2), or of recv(2), those of security modules included. */
static int recv_from(struct file *file, struct fbuf_parcel *p,
		     const struct fbuf_recv *args)
{
	struct socket *sock = sock_from_file(file);
	bool dontwait = args->flags & FBUF_RECV_DONTWAIT ||
			file->f_flags & O_NONBLOCK;
	int ret;

	if (args->flags & FBUF_RECV_PEEK || !fbuf_take_takes(sock))
		return recv_copy(sock, p, args, dontwait);
	ret = rw_verify_area(READ, file, NULL, args->len);
	if (ret < 0)
		return ret;
	ret = fbuf_take(sock, p, args->len, dontwait,
			args->flags & FBUF_RECV_ALL);
	return ret == -ENOPROTOOPT ? recv_copy(sock, p, args, dontwait) : ret;
}

/* The bytes are there: that these cannot be copied must not lose them. */
static u32 recv_head(const struct fbuf_parcel *p, const struct fbuf_recv *args)
{
	u32 len = min(args->head_len, p->len);

	if (len && fbuf_parcel_copy(p, 0, u64_to_user_ptr(args->head), len))
		len = 0;
	return len;
}

/* Tell of a parcel; if that fails, the caller could not name it, and it goes. */
static int recv_put(struct fbuf_handle *h, const struct fbuf_parcel *p,
		    u32 head_len, struct fbuf_recv __user *uargs)
{
	u64 name = fbuf_parcel_name(p);

	if (!user_write_access_begin(uargs, sizeof(*uargs)))
		goto fault;
	unsafe_put_user(head_len, &uargs->head_len, end);
	unsafe_put_user(p->copied, &uargs->copied, end);
	unsafe_put_user(name, &uargs->name, end);
	user_write_access_end();
	return 0;
end:
	user_write_access_end();
fault:
	fbuf_parcels_free(h, &name, 1);
	return -EFAULT;
}

/* Look whether the caller can be told, while nothing was taken yet. */
static int recv_probe(const struct fbuf_recv *args,
		      struct fbuf_recv __user *uargs)
{
	if (!user_write_access_begin(uargs, sizeof(*uargs)))
		return -EFAULT;
	unsafe_put_user(args->drop, &uargs->drop, end);
	unsafe_put_user(args->head_len, &uargs->head_len, end);
	unsafe_put_user(args->copied, &uargs->copied, end);
	unsafe_put_user(args->name, &uargs->name, end);
	user_write_access_end();
	return 0;
end:
	user_write_access_end();
	return -EFAULT;
}

static void recv_count(struct fbuf_pool *pool, const struct fbuf_parcel *p)
{
	this_cpu_inc(pool->counters->recvs);
	this_cpu_add(pool->counters->received, p->len);
	if (p->copied)
		this_cpu_add(pool->counters->recv_copied, p->copied);
}

static int recv_parcel(struct fbuf_handle *h, struct file *file,
		       const struct fbuf_recv *args,
		       struct fbuf_recv __user *uargs)
{
	struct fbuf_parcel *p;
	u32 head_len;
	int ret, err;

	p = fbuf_parcel_new(h);
	if (IS_ERR(p))
		return PTR_ERR(p);
	ret = recv_from(file, p, args);
	trace_fbuf_recv(h->pool, file_inode(file)->i_ino, ret, p->copied);
	if (ret <= 0) {
		fbuf_parcel_put(p);
		return ret;
	}
	head_len = recv_head(p, args);
	recv_count(h->pool, p);
	/* Another thread may guess its name, and free it. */
	refcount_inc(&p->refs);
	fbuf_parcel_publish(p);
	err = recv_put(h, p, head_len, uargs);
	fbuf_parcel_put(p);
	return err ?: ret;
}

static int recv_file(struct fbuf_handle *h, struct file *file,
		     const struct fbuf_recv *args,
		     struct fbuf_recv __user *uargs)
{
	struct socket *sock = sock_from_file(file);
	int ret;

	if (!sock)
		return -ENOTSOCK;
	if (sock->type != SOCK_STREAM)
		return -EOPNOTSUPP;
	ret = recv_probe(args, uargs);
	if (ret)
		return ret;
	if (args->drop) {
		ret = fbuf_parcels_free(h, &args->drop, 1);
		if (ret < 0)
			return ret;
		/* So the caller knows; and a call that is restarted. */
		put_user(0, &uargs->drop);
	}
	return recv_parcel(h, file, args, uargs);
}

/**
 * fbuf_recv() - RECV: make a parcel of what a socket has received
 * @h: the handle that will have it
 * @args: from where, and how much
 * @uargs: the same in user memory; its out words are set
 *
 * Context: may sleep; takes the pool's lock, but not while it waits.
 * Return: the parcel's bytes; 0 at the end of the stream, without a parcel; as recv();
 * -EACCES, -EINVAL, -EBADF, -ENOTSOCK, -ESTALE, -EFAULT; -EOPNOTSUPP for a socket that
 * is no stream, or has pages that cannot be read; -EDQUOT, -ENOMEM or -ENOBUFS at a
 * limit. With an error nothing was taken from the socket.
 */
int fbuf_recv(struct fbuf_handle *h, struct fbuf_recv *args,
	      struct fbuf_recv __user *uargs)
{
	struct fd f;
	int ret;

	ret = recv_check(h, args);
	if (ret)
		return ret;
	f = fdget(args->fd);
	if (!fd_file(f))
		return -EBADF;
	ret = recv_file(h, fd_file(f), args, uargs);
	fdput(f);
	return ret;
}
