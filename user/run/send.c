// SPDX-License-Identifier: LGPL-2.1-or-later
/*
 * write() and its family. What lies in the pool goes to a TCP socket by reference,
 * small memory beside it inline; all of one call by one send, or by several where
 * one does not take that much. Whatever is odd, or fails for a reason that is not
 * the socket's, goes to the real call, as if nothing had been tried.
 *
 * Nothing here locks or allocates: write() may be called in a signal handler.
 */
#include <errno.h>
#include <limits.h>
#include <netinet/in.h>
#include <pthread.h>
#include <stdint.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <unistd.h>

#include <linux/fbuf.h>

#include "../lib/lib.h"
#include "../lib/segs.h"
#include "fds.h"
#include "hot.h"
#include "next.h"
#include "pays.h"
#include "pool.h"
#include "room.h"
#include "run.h"
#include "stats.h"

/* MSG_* that a send can do; with any other, or an address, the real call can. */
#define FLAGS_KNOWN	(MSG_DONTWAIT | MSG_MORE | MSG_NOSIGNAL)

/* What of a call is still to be sent. */
struct rest {
	const struct iovec *iov;
	size_t nr;
	size_t at;		/* in the first of them */
};

/* The segments of one send; at most the first and the last have parts of buffers. */
struct batch {
	struct segs segs;
	const void *part[2];	/* of a buffer, by reference; or NULL */
};

/* A call, as it is judged. */
struct job {
	int fd;
	unsigned int flags;	/* FBUF_SEND_* */
	size_t pool;		/* bytes of the pool */
	size_t beside;		/* bytes of other memory */
};

/*
 * Of a part of a buffer that is to be copied it may be but the beginning: then the
 * rest of it is shorter, and judged by itself.
 */
static size_t add_pool(struct batch *b, const char *p, size_t left)
{
	size_t at = (uintptr_t)p - run.base;
	size_t piece = segs_in_buf(at, left, POOL_BUF_SIZE);

	if (piece < SEGS_PIECE_MIN || (piece < POOL_BUF_SIZE && hot_is(p, piece)))
		return segs_inline(&b->segs, p, piece);
	if (piece < POOL_BUF_SIZE)
		b->part[!!b->part[0]] = p;
	return segs_pool(&b->segs, at, piece, left, POOL_BUF_SIZE);
}

/* As many segments as there is room for. */
static void fill(struct batch *b, struct rest *rest)
{
	segs_init(&b->segs);
	b->part[0] = NULL;
	b->part[1] = NULL;
	for (; rest->nr; rest->iov++, rest->nr--, rest->at = 0) {
		const char *p = rest->iov->iov_base;
		size_t len = rest->iov->iov_len, at = rest->at;
		bool ours = run_has(p);

		while (at < len && b->segs.nr < SEGS_MAX)
			at += ours ? add_pool(b, p + at, len - at) :
				     segs_inline(&b->segs, p + at, len - at);
		b->segs.len += at - rest->at;
		rest->at = at;
		if (at < len)
			return;
	}
}

/* A thread that waits here may be cancelled, as in write(). */
static int send_call(struct fbuf_send *send)
{
	int type, ret;

	/* Nothing is held around the one call. NOLINTNEXTLINE(cert-pos47-c) */
	pthread_setcanceltype(PTHREAD_CANCEL_ASYNCHRONOUS, &type);
	ret = lib_ioctl(fds_get(FD_POOL), FBUF_IOC_SEND, send);
	pthread_setcanceltype(type, &type);
	return ret;
}

static bool is_tcp(int fd)
{
	socklen_t len = sizeof(int);
	int proto, saved = errno;
	bool ret;

	ret = !getsockopt(fd, SOL_SOCKET, SO_PROTOCOL, &proto, &len) &&
	      proto == IPPROTO_TCP;
	errno = saved;
	return ret;
}

/*
 * What kind of send an fd had last: only to put the next one into its class, as
 * the number may be another's by now.
 */
static uint8_t kinds[256];

static enum pays_kind kind_of(int fd)
{
	return __atomic_load_n(&kinds[fd & 255], __ATOMIC_RELAXED);
}

/*
 * TCP without a layer on top, or with TLS. AF_UNIX sockets would take pages too,
 * but join them to the last packet, which may be one that carries an fd.
 */
static int send_pages(struct fbuf_send *send)
{
	enum pays_kind kind = PAYS_TCP;
	int ret;

	send->engines = FBUF_ENGINE_PAGEREF;
	ret = send_call(send);
	if (ret == -EOPNOTSUPP && is_tcp(send->fd)) {
		kind = PAYS_TLS;
		send->engines = FBUF_ENGINE_SPLICE;
		ret = send_call(send);
	}
	if (ret > 0)
		__atomic_store_n(&kinds[send->fd & 255], kind,
				 __ATOMIC_RELAXED);
	return ret;
}

/* Why the real call is to be made, in a word; or NR_WHY: it is not. */
static enum stats_why why_of(int err)
{
	if (!segs_real_call(err))
		return NR_WHY;
	switch (err) {
	case EOPNOTSUPP:
	case ENOTSOCK:
	case EBADF:
		return WHY_SOCKET;
	case EBUSY:
		return WHY_BUSY;
	case ENOMEM:
	case EDQUOT:
		return WHY_LIMIT;
	default:
		return WHY_OTHER;
	}
}

static void count(struct pays_class *c, const struct batch *b,
		  const struct fbuf_send *send, size_t sent)
{
	size_t referred = sent < b->segs.referred ? sent : b->segs.referred;
	unsigned int i;

	stats_add(&stats.sends, 1);
	stats_add(&stats.bytes, referred);
	stats_add(&stats.beside, sent - referred);
	stats_add(&stats.protects, send->protects);
	stats_add(&stats.snapshots, send->snapshots);
	pays_add(c, referred, send->protects, send->snapshots);
	/* If it had not to protect all of them, it was these: likely. */
	for (i = 0; i < 2 && b->part[i]; i++) {
		if (send->protects < b->segs.bufs || b->segs.bufs == 1)
			hot_sent(b->part[i], send->protects);
	}
}

/* Nothing was done, the real call is to be made. */
#define NOT_OURS	(-2)

/* iovecs of a call that is made for a part of another: signal stacks are small. */
#define REST_IOVS	32U

/* After a part of a call to TCP went: the rest of it by the real one. */
static __attribute__((__noinline__)) ssize_t
send_rest(const struct job *job, struct rest *rest)
{
	int flags = MSG_NOSIGNAL |
		    (job->flags & FBUF_SEND_DONTWAIT ? MSG_DONTWAIT : 0);
	struct iovec iov[REST_IOVS];
	struct msghdr msg = { .msg_iov = iov };
	ssize_t done = 0, ret, len;
	int saved = errno;
	size_t i;

	do {
		for (i = 0, len = 0; i < rest->nr && i < REST_IOVS; i++) {
			iov[i] = rest->iov[i];
			if (!i) {
				iov[i].iov_base = (char *)iov[i].iov_base + rest->at;
				iov[i].iov_len -= rest->at;
			}
			len += iov[i].iov_len;
		}
		msg.msg_iovlen = i;
		rest->iov += i;
		rest->nr -= i;
		rest->at = 0;
		ret = next.sendmsg(job->fd, &msg, flags |
				   (rest->nr || job->flags & FBUF_SEND_MORE ?
				    MSG_MORE : 0));
		if (ret > 0)
			done += ret;
	} while (rest->nr && ret == len);
	errno = saved;
	return done;
}

/* Returns the bytes; or a negative errno value; *why is what to do then. */
static int send_batch(const struct job *job, const struct batch *b, bool more,
		      struct pays_class *c, enum stats_why *why)
{
	const uint64_t room = (uint64_t)b->segs.bufs << POOL_BUF_SHIFT;
	struct fbuf_send send = {
		.size = sizeof(send),
		.flags = job->flags | (more ? FBUF_SEND_MORE : 0),
		.segs = (uintptr_t)b->segs.seg,
		.nr_segs = b->segs.nr,
		.fd = job->fd,
	};
	int ret;

	if (unlikely(!room_take(room))) {
		*why = WHY_CROWDED;
		return -EDQUOT;
	}
	ret = send_pages(&send);
	room_give(room);
	if (ret > 0)
		count(c, b, &send, ret);
	else if (ret < 0)
		*why = why_of(-ret);
	return ret;
}

/*
 * Send all of it, or what the socket takes. Returns the bytes; -1 with errno; or
 * NOT_OURS.
 */
static ssize_t send_all(const struct job *job, struct rest *rest,
			struct pays_class *c)
{
	struct batch b;
	ssize_t done = 0;

	while (rest->nr) {
		struct rest from = *rest;
		enum stats_why why;
		int ret;

		fill(&b, rest);
		/* A message is one send. */
		if (rest->nr && !done && !is_tcp(job->fd))
			return NOT_OURS;
		ret = send_batch(job, &b, rest->nr, c, &why);
		if (ret >= 0) {
			done += ret;
			if (ret && (size_t)ret == b.segs.len)
				continue;
			break;
		}
		if (why == NR_WHY) {
			if (done)
				break;
			errno = -ret;
			return -1;
		}
		if (why == WHY_BUSY)
			pays_lost(c);
		stats_add(&stats.copied[why], job->pool);
		return done ? done + send_rest(job, &from) : NOT_OURS;
	}
	return done;
}

/* Sees what of a call lies where; false if it is none of ours. */
static bool judge(struct job *job, const struct iovec *iov, size_t nr)
{
	size_t i;

	if (nr > IOV_MAX)
		return false;
	for (i = 0; i < nr; i++) {
		size_t len = iov[i].iov_len;

		if (len > FBUF_GATHER_MAX)
			return false;
		if (!run_has(iov[i].iov_base))
			job->beside += len;
		else if (len <= run.base + run.size - (uintptr_t)iov[i].iov_base)
			job->pool += len;
		else
			return false;
	}
	return job->pool >= run_min() && job->beside <= job->pool &&
	       job->pool + job->beside <= FBUF_GATHER_MAX;
}

static ssize_t try_send(int fd, const struct iovec *iov, size_t nr,
			unsigned int flags)
{
	struct job job = { .fd = fd, .flags = flags };
	struct rest rest = { iov, nr, 0 };
	struct pays_class *c;

	if (!judge(&job, iov, nr) || fds_get(FD_POOL) < 0)
		return NOT_OURS;
	c = pays_class(job.pool, kind_of(fd));
	if (!pays_try(c)) {
		stats_add(&stats.copied[WHY_UNPAID], job.pool);
		return NOT_OURS;
	}
	return send_all(&job, &rest, c);
}

/* The same with MSG_*. */
static ssize_t try_send_flags(int fd, const struct iovec *iov, size_t nr,
			      int flags)
{
	if (flags & ~FLAGS_KNOWN)
		return NOT_OURS;
	return try_send(fd, iov, nr,
			(flags & MSG_DONTWAIT ? FBUF_SEND_DONTWAIT : 0) |
			(flags & MSG_MORE ? FBUF_SEND_MORE : 0));
}

static __attribute__((__noinline__)) ssize_t
try_one(int fd, const void *p, size_t n, int flags)
{
	struct iovec iov = { (void *)p, n };

	return try_send_flags(fd, &iov, 1, flags);
}

EXPORT ssize_t write(int fd, const void *p, size_t n)
{
	ssize_t ret;

	if (likely(n < run_min() || !run_has(p)))
		return next.write(fd, p, n);
	ret = try_one(fd, p, n, 0);
	return ret == NOT_OURS ? next.write(fd, p, n) : ret;
}

EXPORT ssize_t send(int fd, const void *p, size_t n, int flags)
{
	ssize_t ret;

	if (likely(n < run_min() || !run_has(p)))
		return next.send(fd, p, n, flags);
	ret = try_one(fd, p, n, flags);
	return ret == NOT_OURS ? next.send(fd, p, n, flags) : ret;
}

EXPORT ssize_t sendto(int fd, const void *p, size_t n, int flags,
		      const struct sockaddr *to, socklen_t len)
{
	ssize_t ret = NOT_OURS;

	if (unlikely(n >= run_min() && run_has(p) && !to))
		ret = try_one(fd, p, n, flags);
	return ret == NOT_OURS ? next.sendto(fd, p, n, flags, to, len) : ret;
}

EXPORT ssize_t writev(int fd, const struct iovec *iov, int nr)
{
	ssize_t ret = NOT_OURS;

	if (nr > 0 && run_min() != SIZE_MAX)
		ret = try_send(fd, iov, nr, 0);
	return ret == NOT_OURS ? next.writev(fd, iov, nr) : ret;
}

/* A position of -1 is the fd's own: what a socket has. */
EXPORT ssize_t pwritev2(int fd, const struct iovec *iov, int nr, off_t pos,
			int flags)
{
	ssize_t ret = NOT_OURS;

	if (nr > 0 && pos == -1 && !flags && run_min() != SIZE_MAX)
		ret = try_send(fd, iov, nr, 0);
	return ret == NOT_OURS ? next.pwritev2(fd, iov, nr, pos, flags) : ret;
}

EXPORT ssize_t pwritev64v2(int fd, const struct iovec *iov, int nr, off_t pos,
			   int flags) __attribute__((__alias__("pwritev2")));

static ssize_t try_message(int fd, const struct msghdr *msg, int flags)
{
	if (run_min() == SIZE_MAX || msg->msg_name || msg->msg_namelen ||
	    msg->msg_controllen || !msg->msg_iovlen)
		return NOT_OURS;
	return try_send_flags(fd, msg->msg_iov, msg->msg_iovlen, flags);
}

EXPORT ssize_t sendmsg(int fd, const struct msghdr *msg, int flags)
{
	ssize_t ret = try_message(fd, msg, flags);

	return ret == NOT_OURS ? next.sendmsg(fd, msg, flags) : ret;
}

/* Was it sent whole? Else the kernel sends no other one after it. */
static bool is_whole(const struct mmsghdr *m)
{
	size_t all = 0, i;

	for (i = 0; i < m->msg_hdr.msg_iovlen; i++)
		all += m->msg_hdr.msg_iov[i].iov_len;
	return m->msg_len == all;
}

static bool is_for_us(const struct msghdr *msg)
{
	struct job job = { };

	return !msg->msg_name && !msg->msg_controllen &&
	       judge(&job, msg->msg_iov, msg->msg_iovlen);
}

/* The first of them alone, or as many as are not ours; returns how many went. */
static int send_some(int fd, struct mmsghdr *msgs, unsigned int nr, int flags)
{
	unsigned int n = 0;
	ssize_t ret;

	while (n < nr && !is_for_us(&msgs[n].msg_hdr))
		n++;
	if (n)
		return next.sendmmsg(fd, msgs, n, flags);
	ret = try_message(fd, &msgs->msg_hdr, flags);
	if (ret == NOT_OURS)
		return next.sendmmsg(fd, msgs, 1, flags);
	if (ret < 0)
		return -1;
	msgs->msg_len = ret;
	return 1;
}

EXPORT int sendmmsg(int fd, struct mmsghdr *msgs, unsigned int nr, int flags)
{
	unsigned int done = 0;
	int saved = errno, ret;

	if (!nr || run_min() == SIZE_MAX)
		return next.sendmmsg(fd, msgs, nr, flags);
	if (nr > IOV_MAX)
		nr = IOV_MAX;
	do {
		ret = send_some(fd, msgs + done, nr - done, flags);
		if (ret <= 0)
			break;
		done += ret;
	} while (done < nr && is_whole(&msgs[done - 1]));
	if (!done)
		return ret;
	errno = saved;
	return done;
}
