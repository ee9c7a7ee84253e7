// SPDX-License-Identifier: GPL-2.0
/*
 * SEND: a gather to a socket, by the best engine that takes it.
 *
 * One sendmsg a gather: other senders' data get in between only while it waits
 * for room. No lock of this module is held across it.
 */
#include <linux/file.h>
#include <linux/fs.h>
#include <linux/net.h>
#include <linux/uaccess.h>

#include "compat.h"
#include "fbuf.h"

#define SEND_FLAGS	(FBUF_SEND_DONTWAIT | FBUF_SEND_MORE | FBUF_SEND_EOR | \
			 FBUF_SEND_SIGPIPE)
#define SEND_ENGINES	(FBUF_ENGINE_PAGEREF | FBUF_ENGINE_SPLICE | \
			 FBUF_ENGINE_COPY)

static unsigned int send_msg_flags(unsigned int flags, struct socket *sock)
{
	unsigned int msg_flags = 0;

	if (flags & FBUF_SEND_DONTWAIT || sock->file->f_flags & O_NONBLOCK)
		msg_flags |= MSG_DONTWAIT;
	if (flags & FBUF_SEND_MORE)
		msg_flags |= MSG_MORE;
	if (flags & FBUF_SEND_EOR)
		msg_flags |= MSG_EOR;
	if (!(flags & FBUF_SEND_SIGPIPE))
		msg_flags |= MSG_NOSIGNAL;
	return msg_flags;
}

static int send_check(const struct fbuf_send *args)
{
	if (args->flags & ~SEND_FLAGS || args->engines & ~SEND_ENGINES ||
	    args->pad || args->namelen > FBUF_NAME_MAX)
		return -EINVAL;
	if (!args->namelen && args->name)
		return -EINVAL;
	return 0;
}

/* Returns the bytes taken; sets args->engine and args->copied. */
static int send_by_engine(struct socket *sock, struct fbuf_msg *fm,
			  const struct fbuf_gather *g, struct fbuf_send *args)
{
	unsigned int engines = args->engines ?: SEND_ENGINES;
	int ret;

	iov_iter_bvec(&fm->msg.msg_iter, ITER_SOURCE, g->runs, g->nr, g->len);
	args->copied = 0;
	if (engines & FBUF_ENGINE_PAGEREF && fbuf_pageref_takes(sock, g)) {
		args->engine = FBUF_ENGINE_PAGEREF;
		return fbuf_pageref_send(sock, fm, &args->copied);
	}
	if (engines & FBUF_ENGINE_SPLICE && fbuf_splice_takes(sock, g)) {
		args->engine = FBUF_ENGINE_SPLICE;
		return fbuf_splice_send(sock, fm, g);
	}
	if (!(engines & FBUF_ENGINE_COPY))
		return -EOPNOTSUPP;
	args->engine = FBUF_ENGINE_COPY;
	ret = sock_sendmsg(sock, &fm->msg);
	if (ret > 0)
		args->copied = ret;
	return ret;
}

static int send_gather(struct socket *sock, const struct fbuf_gather *g,
		       struct fbuf_send *args)
{
	struct fbuf_msg fm = {
		.msg.msg_flags = send_msg_flags(args->flags, sock),
	};

	return send_by_engine(sock, &fm, g, args);
}

/* Apart, to keep the address off the stack of all who need none. */
static noinline int send_gather_to(struct socket *sock,
				   const struct fbuf_gather *g,
				   struct fbuf_send *args)
{
	struct sockaddr_storage name __uninitialized;
	struct fbuf_msg fm = {
		.msg.msg_flags = send_msg_flags(args->flags, sock),
		.msg.msg_name = &name,
		.msg.msg_namelen = args->namelen,
	};

	if (copy_from_user(&name, u64_to_user_ptr(args->name), args->namelen))
		return -EFAULT;
	return send_by_engine(sock, &fm, g, args);
}

/**
 * fbuf_send() - send a gather to a socket
 * @h: the handle, which must have a hold on each buffer
 * @args: what and where; its out words are set when bytes were taken
 *
 * Context: may sleep; takes no lock of the pool.
 * Return: as sendmsg(), or what fbuf_gather_import() says; -EINVAL, -EBADF,
 * -ENOTSOCK, -EOPNOTSUPP if no engine that may run takes the socket.
 */
int fbuf_send(struct fbuf_handle *h, struct fbuf_send *args)
{
	struct fbuf_counters __percpu *counters = h->pool->counters;
	struct fbuf_gather g __uninitialized;
	struct socket *sock;
	struct fd f;
	int ret;

	ret = send_check(args);
	if (ret)
		return ret;
	f = fdget(args->fd);
	if (!fd_file(f))
		return -EBADF;
	ret = -ENOTSOCK;
	sock = sock_from_file(fd_file(f));
	if (!sock)
		goto out;
	ret = fbuf_gather_import(&g, h, u64_to_user_ptr(args->segs),
				 args->nr_segs);
	if (ret)
		goto out;
	if (args->namelen)
		ret = send_gather_to(sock, &g, args);
	else
		ret = send_gather(sock, &g, args);
	fbuf_gather_release(&g);
	if (ret >= 0) {
		this_cpu_inc(counters->sends);
		this_cpu_add(counters->bytes, ret);
		this_cpu_add(counters->copied, args->copied);
	}
out:
	fdput(f);
	return ret;
}
