// SPDX-License-Identifier: GPL-2.0
/*
 * SEND, FANOUT and SEND_BATCH: a gather to one socket or many, or many gathers,
 * by the best engine that each socket takes.
 *
 * One sendmsg a gather: other senders' data get in between only while it waits
 * for room. No lock of this module is held across it.
 */
#include <linux/file.h>
#include <linux/fs.h>
#include <linux/net.h>
#include <linux/sched/signal.h>
#include <linux/slab.h>
#include <linux/uaccess.h>
#include <linux/udp.h>

#include "args.h"
#include "buffer.h"
#include "compat.h"
#include "cookie.h"
#include "gather.h"
#include "pageref.h"
#include "parcel.h"
#include "ring.h"
#include "send.h"
#include "splice.h"
#include "trace.h"
#include "types.h"
#include "ubuf.h"

/* Targets of a fan-out that a call keeps on the stack. */
#define TARGETS_FAST	16

#define SEND_PROTS	(FBUF_SEND_VOLATILE | FBUF_SEND_SECURED | \
			 FBUF_SEND_SNAPSHOT)
/* Flags that say no more than sendmsg()'s do. */
#define SEND_PLAIN	(FBUF_SEND_DONTWAIT | FBUF_SEND_MORE | FBUF_SEND_EOR | \
			 FBUF_SEND_SIGPIPE)
/* Those that say what a ring is to tell. */
#define SEND_TOLD	(FBUF_SEND_NOTIFY | FBUF_SEND_COOKIE)
#define SEND_FLAGS	(SEND_PLAIN | SEND_TOLD | SEND_PROTS | FBUF_SEND_FREE)
#define SEND_DEFAULT	(FBUF_ENGINE_PAGEREF | FBUF_ENGINE_SPLICE | \
			 FBUF_ENGINE_COPY)
#define SEND_ENGINES	(SEND_DEFAULT | FBUF_ENGINE_UBUF)

static __always_inline unsigned int send_msg_flags(unsigned int flags,
						   const struct socket *sock)
{
	/* Without branches: each of these is a shift. */
	return (sock->file->f_flags & O_NONBLOCK ? MSG_DONTWAIT : 0) |
	       (flags & FBUF_SEND_DONTWAIT ? MSG_DONTWAIT : 0) |
	       (flags & FBUF_SEND_MORE ? MSG_MORE : 0) |
	       (flags & FBUF_SEND_EOR ? MSG_EOR : 0) |
	       (flags & FBUF_SEND_SIGPIPE ? 0 : MSG_NOSIGNAL);
}

/* Flags that not every send has: 0, or an error. */
static int send_check_flags(const struct fbuf_handle *h, unsigned int flags)
{
	unsigned int prots = flags & SEND_PROTS;

	if (flags & ~SEND_FLAGS || prots & (prots - 1))
		return -EINVAL;
	if (prots & ~FBUF_SEND_VOLATILE && fbuf_is_volatile(h->pool))
		return -EOPNOTSUPP;
	/* Pairs with fbuf_ring_setup(). */
	if (flags & SEND_TOLD && !smp_load_acquire(&h->ring))
		return -EINVAL;
	return 0;
}

/* How buffers are to be protected: enum fbuf_protection, or an error. */
static __always_inline int send_check(const struct fbuf_handle *h,
				      unsigned int flags, unsigned int engines)
{
	int err;

	if (!(h->rights & FBUF_RIGHT_SEND))
		return -EACCES;
	if (engines & ~SEND_ENGINES)
		return -EINVAL;
	if (!(flags & ~SEND_PLAIN))
		return h->pool->prot;
	err = send_check_flags(h, flags);
	if (err)
		return err;
	switch (flags & SEND_PROTS) {
	case FBUF_SEND_VOLATILE:
		return FBUF_VOLATILE;
	case FBUF_SEND_SNAPSHOT:
		return FBUF_SNAPSHOT;
	case FBUF_SEND_SECURED:
		return FBUF_SECURED;
	default:
		return h->pool->prot;
	}
}

/* A notice is of a buffer that packets refer to. */
static bool send_may_copy(unsigned int flags, unsigned int engines)
{
	return (!engines || engines & FBUF_ENGINE_COPY) &&
	       !(flags & FBUF_SEND_NOTIFY);
}

/* The address and the like: 0, or an error. */
static __always_inline int send_check_to(const struct fbuf_send *args)
{
	if (!(args->namelen | args->segment | args->name))
		return 0;
	if (args->namelen > FBUF_NAME_MAX || args->segment > U16_MAX)
		return -EINVAL;
	return args->name && !args->namelen ? -EINVAL : 0;
}

/*
 * May this gather go to packets as it is? If not, it is to be copied, or refused
 * where that is not allowed. Others than the peer keep no packets of the ubuf
 * engine: they are given copies.
 */
static noinline int send_must_copy(struct fbuf_pool *pool,
				   struct fbuf_gather *g, unsigned int engines)
{
	if (!g->must_copy) {
		if (engines & FBUF_ENGINE_UBUF || !fbuf_crowded(pool))
			return 0;
		g->must_copy = -EAGAIN;
	}
	return !engines || engines & FBUF_ENGINE_COPY ? 0 : g->must_copy;
}

static __always_inline int send_check_gather(struct fbuf_pool *pool,
					     struct fbuf_gather *g,
					     unsigned int engines)
{
	if (!g->must_copy && !READ_ONCE(pool->crowded))
		return 0;
	return send_must_copy(pool, g, engines);
}

/* Returns the bytes taken; sets args->engine and args->copied. */
static __always_inline int send_by_engine(struct fbuf_handle *h,
					  struct socket *sock,
					  struct fbuf_msg *fm,
					  const struct fbuf_gather *g,
					  struct fbuf_send *args)
{
	unsigned int engines = args->engines ?: SEND_DEFAULT;
	int ret;

	args->copied = 0;
	if (g->must_copy)
		engines = FBUF_ENGINE_COPY;
	if ((engines & FBUF_ENGINE_UBUF) &&
	    fbuf_pageref_takes(sock, g)) {
		args->engine = FBUF_ENGINE_UBUF;
		return fbuf_ubuf_send(sock, fm, h, g, &args->copied);
	}
	if (engines & FBUF_ENGINE_PAGEREF && fbuf_pageref_takes(sock, g)) {
		args->engine = FBUF_ENGINE_PAGEREF;
		return fbuf_pageref_send(sock, fm, &args->copied);
	}
	if (engines & FBUF_ENGINE_SPLICE && fbuf_splice_takes(sock, g)) {
		args->engine = FBUF_ENGINE_SPLICE;
		ret = fbuf_splice_send(sock, fm, g);
		if (ret > 0 && fbuf_route_copies(sock->sk))
			args->copied = ret;
		return ret;
	}
	if (!(engines & FBUF_ENGINE_COPY))
		return -EOPNOTSUPP;
	args->engine = FBUF_ENGINE_COPY;
	ret = sock_sendmsg(sock, &fm->msg);
	if (ret > 0)
		args->copied = ret;
	return ret;
}

/*
 * Is there a gather that one of these engines would send to this socket? What no
 * engine takes is not to be protected for nothing.
 */
static noinline bool send_takes_any(struct socket *sock, unsigned int engines)
{
	static const struct fbuf_gather none;

	if (engines & FBUF_ENGINE_COPY)
		return true;
	if (engines & (FBUF_ENGINE_PAGEREF | FBUF_ENGINE_UBUF) &&
	    fbuf_pageref_takes(sock, &none))
		return true;
	return engines & FBUF_ENGINE_SPLICE && fbuf_splice_takes(sock, &none);
}

/* What only some sends have; apart, to keep it off the stack of all others. */
struct send_extra {
	struct sockaddr_storage name;
	union {
		struct cmsghdr hdr;
		u8 room[CMSG_SPACE(sizeof(u16))];
	} control;
};

static int extra_segment(struct socket *sock, struct fbuf_msg *fm,
			 struct send_extra *extra, u16 segment)
{
	struct cmsghdr *hdr = &extra->control.hdr;

	if (sock->type != SOCK_DGRAM || sock->sk->sk_protocol != IPPROTO_UDP)
		return -EOPNOTSUPP;
	hdr->cmsg_len = CMSG_LEN(sizeof(segment));
	hdr->cmsg_level = SOL_UDP;
	hdr->cmsg_type = UDP_SEGMENT;
	*(u16 *)CMSG_DATA(hdr) = segment;
	fm->msg.msg_control = hdr;
	fm->msg.msg_controllen = sizeof(extra->control);
	return 0;
}

static noinline int send_with_extra(struct fbuf_handle *h, struct socket *sock,
				    struct fbuf_msg *fm,
				    const struct fbuf_gather *g,
				    struct fbuf_send *args)
{
	struct send_extra extra __uninitialized;
	int err;

	if (args->namelen) {
		if (copy_from_user(&extra.name, u64_to_user_ptr(args->name),
				   args->namelen))
			return -EFAULT;
		fm->msg.msg_name = &extra.name;
		fm->msg.msg_namelen = args->namelen;
	}
	if (args->segment) {
		err = extra_segment(sock, fm, &extra, args->segment);
		if (err)
			return err;
	}
	return send_by_engine(h, sock, fm, g, args);
}

/*
 * To one socket, from byte @done on; counted, if bytes were taken. Of a gather
 * that is not needed after it, @give the references away.
 */
static __always_inline int send_one(struct fbuf_handle *h,
				    const struct fbuf_gather *g,
				    struct socket *sock,
				    struct fbuf_send *args, bool give,
				    size_t done)
{
	struct fbuf_msg fm __uninitialized;
	struct fbuf_pool *pool = h->pool;
	int ret;

	/* The rest is the pageref engine's to set up. */
	fm.msg = (struct msghdr) {
		.msg_flags = send_msg_flags(args->flags, sock),
	};
	fm.give = give;
	fbuf_iov_iter_bvec(&fm.msg.msg_iter, g->runs, g->nr, g->len);
	if (done)
		iov_iter_advance(&fm.msg.msg_iter, done);
	if (args->namelen || args->segment)
		ret = send_with_extra(h, sock, &fm, g, args);
	else
		ret = send_by_engine(h, sock, &fm, g, args);
	trace_fbuf_send(pool, g->nr, g->len, SOCK_INODE(sock)->i_ino,
			args->engine, ret);
	if (ret < 0)
		return ret;
	if (g->copied && args->engine != FBUF_ENGINE_COPY)
		args->copied = min_t(u64, args->copied + g->copied, ret);
	this_cpu_inc(pool->counters->sends);
	this_cpu_add(pool->counters->bytes, ret);
	if (args->copied) {
		this_cpu_add(pool->counters->copied, args->copied);
		trace_fbuf_copy(pool, args->copied);
	}
	return ret;
}

/*
 * What a ring is to tell of a send is made ready before it, as a send that took bytes
 * does not fail. NULL if there is to be no cookie, or an error.
 */
static __always_inline struct fbuf_cookie *
send_cookie(struct fbuf_handle *h, unsigned int nr_segs, unsigned int flags,
	    u64 data)
{
	if (likely(!(flags & FBUF_SEND_COOKIE)))
		return NULL;
	return fbuf_ring_cookie(h, nr_segs, data);
}

/* Bytes were taken. A cookie waits for nothing that is all copied. */
static __always_inline void send_took(struct fbuf_cookie *cookie, u32 engine)
{
	if (unlikely(cookie) && engine != FBUF_ENGINE_COPY)
		cookie->refers = true;
}

/* A send is over whose end the ring is to tell, if it did not fail. */
static noinline void send_tell(struct fbuf_handle *h,
			       const struct fbuf_gather *g, unsigned int flags,
			       struct fbuf_cookie *cookie, bool failed)
{
	if (failed)
		fbuf_cookie_free(cookie);
	else
		fbuf_ring_expect(h, g->runs, g->nr, fbuf_gather_foreign(g),
				 flags & FBUF_SEND_NOTIFY, cookie);
}

/*
 * Whether poll() can tell when the socket takes more. Who sends to an address
 * waits for room with the receiver, of which poll() knows only in AF_UNIX when
 * connected.
 */
static bool send_polls(const struct socket *sock, const struct fbuf_send *args)
{
	return FBUF_URING_WAITS &&
	       !(sock->sk->sk_family == AF_UNIX && args->namelen);
}

/*
 * Not for long under io_uring: if the send took less than all, and may wait for
 * room, keep the gather, what is done of it and the socket in later->rest. Where
 * that cannot be, have it done again by a thread, or end it here. Returns the
 * result, if there is no rest.
 */
static noinline int send_leave(struct fbuf_later *later,
			       const struct fbuf_gather *g,
			       struct socket *sock,
			       const struct fbuf_send *args, int ret)
{
	struct fbuf_rest *rest;

	if (ret == g->len || (ret < 0 && ret != -EAGAIN))
		return ret;
	later->left = true;
	if (!later->waits || sock->file->f_flags & O_NONBLOCK)
		return ret;
	/* What is not protected is copied now or never. */
	if (g->must_copy && g->must_copy != -EAGAIN)
		return ret < 0 ? g->must_copy : ret;
	if (!send_polls(sock, args)) {
		later->punt = ret == -EAGAIN;
		return ret;
	}
	rest = kmalloc(later->size, GFP_KERNEL_ACCOUNT);
	if (!rest)
		return ret < 0 ? -ENOMEM : ret;
	fbuf_gather_move(&rest->g, g);
	rest->done = max(ret, 0);
	/* Once is enough. */
	if (rest->done)
		rest->g.copied = 0;
	rest->args = *args;
	rest->file = get_file(sock->file);
	rest->engine = args->engine;
	rest->copied = ret > 0 ? args->copied : 0;
	later->rest = rest;
	return -EAGAIN;
}

/*
 * What was not checked yet is where to, and the gather. @later is NULL for sends
 * that are over when this returns.
 */
static __always_inline int send_checked(struct fbuf_handle *h,
					struct fbuf_send *args,
					enum fbuf_protection prot,
					struct fbuf_later *later)
{
	bool told = args->flags & SEND_TOLD;
	struct fbuf_gather g __uninitialized;
	struct fbuf_cookie *cookie;
	struct fd f = fdget(args->fd);
	struct socket *sock;
	int ret;

	if (!fd_file(f))
		return -EBADF;
	ret = -ENOTSOCK;
	sock = sock_from_file(fd_file(f));
	if (!sock)
		goto out;
	ret = -EOPNOTSUPP;
	if (args->engines && !send_takes_any(sock, args->engines))
		goto out;
	ret = fbuf_gather_import(&g, h, u64_to_user_ptr(args->segs),
				 args->nr_segs, SOCK_INODE(sock)->i_ino, prot,
				 send_may_copy(args->flags, args->engines));
	if (ret)
		goto out;
	ret = send_check_gather(h->pool, &g, args->engines);
	if (ret)
		goto out_release;
	ret = -EINVAL;
	if (args->flags & FBUF_SEND_FREE && !fbuf_is_parcel(g.parcel))
		goto out_release;
	cookie = send_cookie(h, args->nr_segs, args->flags, args->cookie);
	ret = PTR_ERR_OR_ZERO(cookie);
	if (unlikely(ret))
		goto out_release;
	args->protects = g.tally.protects;
	args->snapshots = g.tally.snapshots;
	ret = send_one(h, &g, sock, args, !told && !later, 0);
	if (ret > 0)
		send_took(cookie, args->engine);
	if (later) {
		ret = send_leave(later, &g, sock, args, ret);
		if (later->rest) {
			later->rest->cookie = cookie;
			goto out;
		}
	}
	if (told)
		send_tell(h, &g, args->flags, cookie, ret < 0);
	/* Somebody else may have dropped it meanwhile. */
	if (args->flags & FBUF_SEND_FREE && ret == g.len)
		fbuf_parcels_free(h, &g.parcel, 1);
out_release:
	fbuf_gather_release(&g);
out:
	fdput(f);
	return ret;
}

static noinline int send_called(struct fbuf_handle *h, struct fbuf_send *args,
				struct fbuf_later *later)
{
	int prot, err;

	prot = send_check(h, args->flags, args->engines);
	if (prot < 0)
		return prot;
	err = send_check_to(args);
	return err ?: send_checked(h, args, prot, later);
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
	return send_called(h, args, NULL);
}

/**
 * fbuf_send_later() - fbuf_send() that need not be over when it returns
 * @h: the handle, which must have a hold on each buffer
 * @args: what and where; with FBUF_SEND_DONTWAIT, if later->waits
 * @later: see there; its out words are set
 *
 * Context: as fbuf_send().
 * Return: as fbuf_send(); -EAGAIN if there is a rest.
 */
int fbuf_send_later(struct fbuf_handle *h, struct fbuf_send *args,
		    struct fbuf_later *later)
{
	later->rest = NULL;
	later->punt = false;
	later->left = false;
	return send_called(h, args, later);
}

/**
 * fbuf_send_on() - go on with a send
 * @h: the handle
 * @rest: what is left of it
 *
 * Context: may sleep, but does not wait for room.
 * Return: -EAGAIN if bytes are left for which there is no room; or whatever
 * fbuf_send_end() is to be given.
 */
int fbuf_send_on(struct fbuf_handle *h, struct fbuf_rest *rest)
{
	int ret;

	ret = send_one(h, &rest->g, sock_from_file(rest->file),
		       &rest->args, false, rest->done);
	if (ret <= 0)
		return ret;
	send_took(rest->cookie, rest->args.engine);
	/* It is one send, however many pieces it goes in. */
	if (rest->done)
		this_cpu_add(h->pool->counters->sends, -1);
	rest->done += ret;
	rest->engine = rest->args.engine;
	rest->copied += rest->args.copied;
	return rest->done < rest->g.len ? -EAGAIN : ret;
}

/**
 * fbuf_send_end() - end a send that went on later
 * @h: the handle
 * @rest: what is left of it, whose pages and socket are let go of; engine and
 *        copied stay
 * @err: what it is to say if no bytes were taken
 *
 * Context: may sleep; takes the pool's lock for notices.
 * Return: the bytes taken, or @err.
 */
int fbuf_send_end(struct fbuf_handle *h, struct fbuf_rest *rest, int err)
{
	int ret = rest->done ?: err;

	if (rest->args.flags & SEND_TOLD)
		send_tell(h, &rest->g, rest->args.flags, rest->cookie, ret < 0);
	fbuf_gather_release(&rest->g);
	fput(rest->file);
	return ret;
}

/*
 * As fbuf_args_get(), but with no call. The words before the last are told, and not
 * kept: what is on both sides of them can be read, and so can they.
 */
static __always_inline int send_get(struct fbuf_send *args,
				    const struct fbuf_send __user *uargs)
{
	const u64 __user *from = (const u64 __user *)uargs;
	u64 *to = (u64 *)args;

	BUILD_BUG_ON(sizeof(*args) != 9 * sizeof(*to));
	BUILD_BUG_ON(offsetof(struct fbuf_send, protects) != 7 * sizeof(*to));
	BUILD_BUG_ON(offsetof(struct fbuf_send, cookie) != 8 * sizeof(*to));
	if (!user_read_access_begin(from, sizeof(*args)))
		return -EFAULT;
	unsafe_get_user(to[0], &from[0], fault);
	unsafe_get_user(to[1], &from[1], fault);
	unsafe_get_user(to[2], &from[2], fault);
	unsafe_get_user(to[3], &from[3], fault);
	unsafe_get_user(to[4], &from[4], fault);
	unsafe_get_user(to[5], &from[5], fault);
	unsafe_get_user(to[6], &from[6], fault);
	unsafe_get_user(to[8], &from[8], fault);
	user_read_access_end();
	return args->size == sizeof(*args) ? 0 : -EINVAL;

fault:
	user_read_access_end();
	return -EFAULT;
}

/* The bytes are gone: a fault here must not hide how many. */
static __always_inline void send_put(struct fbuf_send __user *uargs,
				     const struct fbuf_send *args)
{
	if (!user_write_access_begin(uargs, sizeof(*uargs)))
		return;
	unsafe_put_user(args->engine, &uargs->engine, fault);
	unsafe_put_user(args->copied, &uargs->copied, fault);
	unsafe_put_user(args->protects, &uargs->protects, fault);
	unsafe_put_user(args->snapshots, &uargs->snapshots, fault);
fault:
	user_write_access_end();
}

/**
 * fbuf_send_put() - tell the caller what a send did that took bytes
 * @uargs: the structure in user memory, as long as @args->size says
 * @args: what it did
 *
 * The bytes are gone: a fault here must not hide how many.
 *
 * Context: may sleep.
 */
void fbuf_send_put(struct fbuf_send __user *uargs, const struct fbuf_send *args)
{
	put_user(args->engine, &uargs->engine);
	put_user(args->copied, &uargs->copied);
	/* No more than the caller knows. */
	if (args->size >= offsetofend(struct fbuf_send, protects))
		put_user(args->protects, &uargs->protects);
	if (args->size >= offsetofend(struct fbuf_send, snapshots))
		put_user(args->snapshots, &uargs->snapshots);
}

/**
 * fbuf_send_user() - fbuf_send() for the ioctl, as quick as can be
 * @h: the handle
 * @uargs: what and where, in user memory; its out words are set
 *
 * Context: as fbuf_send().
 * Return: as fbuf_send(); -EFAULT.
 */
long fbuf_send_user(struct fbuf_handle *h, struct fbuf_send __user *uargs)
{
	struct fbuf_send args __uninitialized;
	int prot, ret;

	ret = send_get(&args, uargs);
	if (ret)
		return ret;
	prot = send_check(h, args.flags, args.engines);
	if (prot < 0)
		return prot;
	ret = send_check_to(&args);
	if (ret)
		return ret;
	ret = send_checked(h, &args, prot, NULL);
	if (ret >= 0)
		send_put(uargs, &args);
	return ret;
}

/* Read it once; what is 0 in it may be otherwise by now. */
static int item_get(struct fbuf_send *one,
		    const struct fbuf_send_item __user *item)
{
	if (!user_read_access_begin(item, sizeof(*item)))
		return -EFAULT;
	unsafe_get_user(one->segs, &item->segs, fault);
	unsafe_get_user(one->nr_segs, &item->nr_segs, fault);
	unsafe_get_user(one->fd, &item->fd, fault);
	unsafe_get_user(one->name, &item->name, fault);
	unsafe_get_user(one->namelen, &item->namelen, fault);
	unsafe_get_user(one->segment, &item->segment, fault);
	user_read_access_end();
	return 0;

fault:
	user_read_access_end();
	return -EFAULT;
}

/* The bytes are gone: a fault here must not hide that. */
static void item_put(struct fbuf_send_item __user *item,
		     const struct fbuf_send *one, int ret)
{
	if (!user_write_access_begin(item, sizeof(*item)))
		return;
	unsafe_put_user(ret, &item->result, fault);
	if (ret >= 0) {
		unsafe_put_user(one->engine, &item->engine, fault);
		unsafe_put_user(one->copied, &item->copied, fault);
	}
fault:
	user_write_access_end();
}

/**
 * fbuf_send_batch() - send many gathers, each to a socket, waiting for none
 * @h: the handle, which must have a hold on each buffer
 * @args: what they have in common, and where the items are
 *
 * Context: may sleep; takes the pool's lock only to protect and for notices.
 * Return: how many items have a result now; or, with nothing sent, -EACCES,
 * -EINVAL, -EOPNOTSUPP if the pool does not protect, -EFAULT, -EINTR.
 */
int fbuf_send_batch(struct fbuf_handle *h, const struct fbuf_send_batch *args)
{
	struct fbuf_send_item __user *items = u64_to_user_ptr(args->items);
	struct fbuf_send one = {
		.flags = args->flags | FBUF_SEND_DONTWAIT,
		.engines = args->engines,
	};
	unsigned int i;
	int prot, ret;

	prot = send_check(h, args->flags, args->engines);
	if (prot < 0)
		return prot;
	if (!args->count || args->count > FBUF_BATCH_MAX || args->pad)
		return -EINVAL;
	for (i = 0; i < args->count; i++) {
		ret = fatal_signal_pending(current) ? -EINTR :
						      item_get(&one, &items[i]);
		if (ret)
			return i ?: ret;
		one.cookie = args->cookie + i;
		ret = send_check_to(&one) ?:
		      send_checked(h, &one, prot, NULL);
		item_put(&items[i], &one, ret);
		cond_resched();
	}
	return i;
}

static void fanout_short(struct fbuf_pool *pool, const struct fbuf_gather *g,
			 struct socket *sock, int ret)
{
	if (ret == -EAGAIN || ret > 0)
		fbuf_gather_stamp(g, pool, SOCK_INODE(sock)->i_ino);
}

/* What the socket of a target says is the target's result. */
static int fanout_one(struct fbuf_handle *h, const struct fbuf_gather *g,
		      struct fbuf_send *one, struct fbuf_target *target)
{
	struct fd f = fdget(target->fd);
	struct socket *sock;
	int ret = -ENOTSOCK;

	if (!fd_file(f))
		return -EBADF;
	sock = sock_from_file(fd_file(f));
	if (sock) {
		ret = send_one(h, g, sock, one, false, 0);
		/* If buffers stay in flight, this is a socket to look at. */
		if (ret < (int)g->len)
			fanout_short(h->pool, g, sock, ret);
	}
	fdput(f);
	if (ret >= 0) {
		target->engine = one->engine;
		target->copied = one->copied;
	}
	return ret;
}

static int fanout_all(struct fbuf_handle *h, const struct fbuf_gather *g,
		      const struct fbuf_fanout *args,
		      struct fbuf_target *targets, struct fbuf_cookie *cookie)
{
	struct fbuf_send one = {
		.flags = args->flags | FBUF_SEND_DONTWAIT,
		.engines = args->engines,
	};
	unsigned int i, served = 0;

	for (i = 0; i < args->nr_targets; i++) {
		int ret = -EINTR;

		if (!fatal_signal_pending(current))
			ret = fanout_one(h, g, &one, &targets[i]);
		targets[i].result = ret;
		if (ret > 0) {
			send_took(cookie, one.engine);
			served++;
		}
		cond_resched();
	}
	return served;
}

static int fanout(struct fbuf_handle *h, const struct fbuf_fanout *args,
		  struct fbuf_target *targets)
{
	struct fbuf_gather g __uninitialized;
	struct fbuf_cookie *cookie;
	int prot, ret;

	prot = send_check(h, args->flags, args->engines);
	if (prot < 0)
		return prot;
	if (args->pad || args->flags & FBUF_SEND_FREE)
		return -EINVAL;
	ret = fbuf_gather_import(&g, h, u64_to_user_ptr(args->segs),
				 args->nr_segs, 0, prot,
				 send_may_copy(args->flags, args->engines));
	if (ret)
		return ret;
	ret = send_check_gather(h->pool, &g, args->engines);
	if (ret)
		goto out;
	cookie = send_cookie(h, args->nr_segs, args->flags, args->cookie);
	ret = PTR_ERR_OR_ZERO(cookie);
	if (ret)
		goto out;
	ret = fanout_all(h, &g, args, targets, cookie);
	if (args->flags & SEND_TOLD)
		send_tell(h, &g, args->flags, cookie, !ret);
out:
	fbuf_gather_release(&g);
	return ret;
}

/* The bytes are gone: a fault here must not hide that. */
static void targets_put(struct fbuf_target __user *to,
			const struct fbuf_target *from, unsigned int nr)
{
	unsigned int i;

	if (!user_write_access_begin(to, nr * sizeof(*to)))
		return;
	for (i = 0; i < nr; i++) {
		unsafe_put_user(from[i].result, &to[i].result, fault);
		unsafe_put_user(from[i].engine, &to[i].engine, fault);
		unsafe_put_user(from[i].copied, &to[i].copied, fault);
	}
fault:
	user_write_access_end();
}

/**
 * fbuf_fanout() - send a gather to many sockets, waiting for none
 * @h: the handle, which must have a hold on each buffer
 * @args: what and where to, copied from the caller; out words are set in user memory
 *
 * Context: may sleep; takes the pool's lock only to protect and for notices.
 * Return: how many took bytes; or, with nothing sent, -EACCES, -EINVAL, -EFAULT,
 * -ENOMEM, -EOPNOTSUPP if the pool does not protect, or what fbuf_gather_import()
 * says.
 */
int fbuf_fanout(struct fbuf_handle *h, const struct fbuf_fanout *args)
{
	struct fbuf_target fast[TARGETS_FAST] __uninitialized, *targets;
	int ret;

	if (!args->nr_targets || args->nr_targets > FBUF_TARGETS_MAX)
		return -EINVAL;
	targets = fbuf_array_get(fast, sizeof(fast), args->targets,
				 args->nr_targets * sizeof(*targets));
	if (IS_ERR(targets))
		return PTR_ERR(targets);
	ret = fanout(h, args, targets);
	if (ret >= 0)
		targets_put(u64_to_user_ptr(args->targets), targets,
			    args->nr_targets);
	fbuf_array_put(targets, fast);
	return ret;
}
