// SPDX-License-Identifier: GPL-2.0
/*
 * SEND and FANOUT: a gather to one socket or many, by the best engine that each
 * takes.
 *
 * One sendmsg a gather: other senders' data get in between only while it waits
 * for room. No lock of this module is held across it.
 */
#include <linux/file.h>
#include <linux/fs.h>
#include <linux/net.h>
#include <linux/sched/signal.h>
#include <linux/uaccess.h>

#include "compat.h"
#include "fbuf.h"
#include "trace.h"

#define SEND_PROTS	(FBUF_SEND_VOLATILE | FBUF_SEND_SECURED | \
			 FBUF_SEND_SNAPSHOT)
#define SEND_FLAGS	(FBUF_SEND_DONTWAIT | FBUF_SEND_MORE | FBUF_SEND_EOR | \
			 FBUF_SEND_SIGPIPE | FBUF_SEND_NOTIFY | SEND_PROTS)
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

static int send_check(const struct fbuf_handle *h,
		      const struct fbuf_send *args)
{
	if (!(h->rights & FBUF_RIGHT_SEND))
		return -EACCES;
	if (args->flags & ~SEND_FLAGS || args->engines & ~SEND_ENGINES ||
	    args->pad || args->namelen > FBUF_NAME_MAX)
		return -EINVAL;
	if (!args->namelen && args->name)
		return -EINVAL;
	if (!(args->flags & FBUF_SEND_NOTIFY))
		return 0;
	/* Pairs with fbuf_ring_setup(). */
	return smp_load_acquire(&h->ring) ? 0 : -EINVAL;
}

/* How the send's buffers are protected: enum fbuf_protection, or an error. */
static int send_protection(const struct fbuf_pool *pool, unsigned int flags)
{
	switch (flags & SEND_PROTS) {
	case 0:
		return pool->prot;
	case FBUF_SEND_VOLATILE:
		return FBUF_VOLATILE;
	case FBUF_SEND_SNAPSHOT:
		return fbuf_is_volatile(pool) ? -EOPNOTSUPP : FBUF_SNAPSHOT;
	case FBUF_SEND_SECURED:
		return fbuf_is_volatile(pool) ? -EOPNOTSUPP : FBUF_SECURED;
	default:
		return -EINVAL;
	}
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

/* To one socket; counted, if bytes were taken. */
static __always_inline int send_one(struct fbuf_pool *pool,
				    const struct fbuf_gather *g,
				    struct socket *sock,
				    struct fbuf_send *args)
{
	int ret;

	if (args->namelen)
		ret = send_gather_to(sock, g, args);
	else
		ret = send_gather(sock, g, args);
	trace_fbuf_send(pool, g, SOCK_INODE(sock)->i_ino, args->engine, ret);
	if (ret < 0)
		return ret;
	this_cpu_add(pool->counters->sends, 1);
	this_cpu_add(pool->counters->bytes, ret);
	if (args->copied) {
		this_cpu_add(pool->counters->copied, args->copied);
		trace_fbuf_copy(pool, args->copied);
	}
	return ret;
}

/**
 * fbuf_send() - send a gather to a socket
 * @h: the handle, which must have a hold on each buffer
 * @args: what and where; its out words are set when bytes were taken
 *
 * Context: may sleep; takes the pool's lock only to protect and for notices.
 * Return: as sendmsg(), or what fbuf_gather_import() says; -EACCES, -EINVAL,
 * -EBADF, -ENOTSOCK, -EOPNOTSUPP if no engine that may run takes the socket or
 * the pool does not protect.
 */
int fbuf_send(struct fbuf_handle *h, struct fbuf_send *args)
{
	struct fbuf_gather g __uninitialized;
	struct socket *sock;
	struct fd f;
	int prot, ret;

	ret = send_check(h, args);
	if (ret)
		return ret;
	prot = send_protection(h->pool, args->flags);
	if (prot < 0)
		return prot;
	f = fdget(args->fd);
	if (!fd_file(f))
		return -EBADF;
	ret = -ENOTSOCK;
	sock = sock_from_file(fd_file(f));
	if (!sock)
		goto out;
	ret = fbuf_gather_import(&g, h, u64_to_user_ptr(args->segs),
				 args->nr_segs, SOCK_INODE(sock)->i_ino, prot);
	if (ret)
		goto out;
	ret = send_one(h->pool, &g, sock, args);
	if (ret >= 0 && args->flags & FBUF_SEND_NOTIFY)
		fbuf_gather_notify(&g, h);
	fbuf_gather_release(&g);
out:
	fdput(f);
	return ret;
}

/* What the socket of a target says is the target's result. */
static int fanout_one(struct fbuf_pool *pool, const struct fbuf_gather *g,
		      const struct fbuf_fanout *args,
		      struct fbuf_target *target)
{
	struct fbuf_send one = {
		.flags = args->flags | FBUF_SEND_DONTWAIT,
		.engines = args->engines,
	};
	struct fd f = fdget(target->fd);
	struct socket *sock;
	int ret = -ENOTSOCK;

	if (!fd_file(f))
		return -EBADF;
	sock = sock_from_file(fd_file(f));
	if (sock) {
		ret = send_one(pool, g, sock, &one);
		/* If buffers stay in flight, this is a socket to look at. */
		if (ret == -EAGAIN || (ret > 0 && ret < g->len))
			fbuf_gather_stamp(g, pool, SOCK_INODE(sock)->i_ino);
	}
	fdput(f);
	if (ret >= 0) {
		target->engine = one.engine;
		target->copied = one.copied;
	}
	return ret;
}

static int fanout_all(struct fbuf_pool *pool, const struct fbuf_gather *g,
		      const struct fbuf_fanout *args,
		      struct fbuf_target *targets)
{
	unsigned int i, served = 0;

	for (i = 0; i < args->nr_targets; i++) {
		int ret = -EINTR;

		if (!fatal_signal_pending(current))
			ret = fanout_one(pool, g, args, &targets[i]);
		targets[i].result = ret;
		served += ret > 0;
		cond_resched();
	}
	return served;
}

/**
 * fbuf_fanout() - send a gather to many sockets, waiting for none
 * @h: the handle, which must have a hold on each buffer
 * @args: what
 * @targets: where to; their out words are set
 *
 * Context: may sleep; takes the pool's lock only to protect and for notices.
 * Return: how many took bytes; or, with nothing sent, -EACCES, -EINVAL,
 * -EOPNOTSUPP if the pool does not protect, or what fbuf_gather_import() says.
 */
int fbuf_fanout(struct fbuf_handle *h, const struct fbuf_fanout *args,
		struct fbuf_target *targets)
{
	const struct fbuf_send check = {
		.flags = args->flags,
		.engines = args->engines,
		.pad = args->pad,
	};
	struct fbuf_gather g __uninitialized;
	int prot, ret;

	ret = send_check(h, &check);
	if (ret)
		return ret;
	prot = send_protection(h->pool, args->flags);
	if (prot < 0)
		return prot;
	ret = fbuf_gather_import(&g, h, u64_to_user_ptr(args->segs),
				 args->nr_segs, 0, prot);
	if (ret)
		return ret;
	ret = fanout_all(h->pool, &g, args, targets);
	if (ret && args->flags & FBUF_SEND_NOTIFY)
		fbuf_gather_notify(&g, h);
	fbuf_gather_release(&g);
	return ret;
}
