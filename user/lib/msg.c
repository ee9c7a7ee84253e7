// SPDX-License-Identifier: LGPL-2.1-or-later
/*
 * sendmsg() and writev() of memory in a pool. What lies there goes by reference,
 * small memory beside it inline: all of one call by one send, or on a stream by
 * several where one does not take that much. Whatever is odd, or fails for a reason
 * that is not the socket's, goes to the real call, as if nothing had been tried.
 */
#include <errno.h>
#include <limits.h>
#include <stdbool.h>
#include <sys/uio.h>

#include <fbuf/msg.h>

#include "lib.h"
#include "piece.h"

/* MSG_* that a send can do; with any other the real call can. */
#define FLAGS_KNOWN	(MSG_DONTWAIT | MSG_MORE | MSG_NOSIGNAL | MSG_EOR)

/* What of a call is still to be sent. */
struct rest {
	const struct iovec *iov;
	size_t nr;
	size_t at;		/* in the first of them */
	size_t len;		/* in all */
};

struct msg {
	struct fbuf_pool *pool;
	int sock;
	int flags;		/* MSG_* */
	const struct msghdr *hdr;	/* or NULL: writev() */
};

static void rest_skip(struct rest *r, size_t len)
{
	r->len -= len;
	while (r->nr && len >= r->iov->iov_len - r->at) {
		len -= r->iov->iov_len - r->at;
		r->iov++;
		r->nr--;
		r->at = 0;
	}
	r->at += len;
}

/* As many segments as there is room for, of what is left, which stays. */
static void fill(struct segs *s, const struct fbuf_pool *pool, struct rest r)
{
	while (r.len && s->nr < SEGS_MAX) {
		const char *p = (char *)r.iov->iov_base + r.at;
		size_t left = r.iov->iov_len - r.at, n;

		if (left > r.len)
			left = r.len;
		n = left ? piece_add(s, pool, p, left) : 0;
		rest_skip(&r, n);
	}
}

static bool is_stream(int sock)
{
	socklen_t len = sizeof(int);
	int type;

	return !getsockopt(sock, SOL_SOCKET, SO_TYPE, &type, &len) &&
	       type == SOCK_STREAM;
}

/* As many iovecs as the kernel takes at once; returns the bytes that they have. */
static size_t iov_fill(struct iovec *iov, size_t *nr, struct rest r)
{
	size_t len = r.len;

	for (*nr = 0; r.len && *nr < IOV_MAX; (*nr)++) {
		size_t n = r.iov->iov_len - r.at;

		if (n > r.len)
			n = r.len;
		iov->iov_base = (char *)r.iov->iov_base + r.at;
		iov++->iov_len = n;
		rest_skip(&r, n);
	}
	return len - r.len;
}

/* The rest of a stream, or of writev(), by calls that copy. */
static ssize_t copy_rest(const struct msg *m, struct rest *r)
{
	struct iovec iov[IOV_MAX];
	ssize_t done = 0, ret;

	while (r->len) {
		struct msghdr hdr = { .msg_iov = iov };
		size_t len = iov_fill(iov, &hdr.msg_iovlen, *r);

		if (m->hdr)
			ret = sendmsg(m->sock, &hdr, m->flags |
				      (len < r->len ? MSG_MORE : 0));
		else
			ret = writev(m->sock, iov, hdr.msg_iovlen);
		if (ret < 0)
			return done ? done : -errno;
		done += ret;
		rest_skip(r, ret);
		if ((size_t)ret < len)
			break;
	}
	return done;
}

/* All of a call by the real one. */
static ssize_t copy_all(const struct msg *m, struct rest *r)
{
	ssize_t ret;

	if (r->nr > IOV_MAX && (!m->hdr || is_stream(m->sock)))
		return copy_rest(m, r);
	if (m->hdr)
		ret = sendmsg(m->sock, m->hdr, m->flags);
	else
		ret = writev(m->sock, r->iov, r->nr);
	return ret < 0 ? -errno : ret;
}

static unsigned int send_flags(const struct msg *m, bool more)
{
	unsigned int flags = more ? FBUF_SEND_MORE : 0;

	if (m->flags & MSG_DONTWAIT)
		flags |= FBUF_SEND_DONTWAIT;
	if (m->flags & MSG_MORE)
		flags |= FBUF_SEND_MORE;
	if (m->flags & MSG_EOR && !more)
		flags |= FBUF_SEND_EOR;
	if (!(m->flags & MSG_NOSIGNAL))
		flags |= FBUF_SEND_SIGPIPE;
	return flags;
}

static int send_segs(const struct msg *m, const struct segs *s, bool more)
{
	struct fbuf_send send = {
		.size = sizeof(send),
		.flags = send_flags(m, more),
		.segs = (uintptr_t)s->seg,
		.nr_segs = s->nr,
		.fd = m->sock,
	};

	if (m->hdr) {
		send.name = (uintptr_t)m->hdr->msg_name;
		send.namelen = m->hdr->msg_namelen;
	}
	return lib_call(m->pool, FBUF_IOC_SEND, &send);
}

/* EPIPE came with its signal already. */
static bool may_copy(int err)
{
	return err != EPIPE && segs_real_call(err);
}

static ssize_t send_rest(const struct msg *m, struct rest *r)
{
	ssize_t done = 0;

	while (r->len) {
		struct segs s;
		bool more;
		int ret;

		segs_init(&s);
		fill(&s, m->pool, *r);
		more = s.len < r->len;
		/* A message is one send. */
		if (more && !done && !is_stream(m->sock))
			return copy_all(m, r);
		ret = send_segs(m, &s, more);
		if (ret < 0 && !done)
			return may_copy(-ret) ? copy_all(m, r) : ret;
		if (ret <= 0)
			break;
		done += ret;
		rest_skip(r, ret);
		if ((size_t)ret < s.len)
			break;
	}
	return done;
}

/* Whether any of it is worth a reference; and how much there is. */
static bool measure(const struct fbuf_pool *pool, struct rest *r)
{
	bool refers = false;
	size_t i;

	for (i = 0; i < r->nr; i++) {
		size_t len = r->iov[i].iov_len;

		/* What that is told, the system knows. */
		if (len > SSIZE_MAX)
			return false;
		/* No more than the kernel takes by one call. */
		if (len > FBUF_GATHER_MAX - r->len)
			len = FBUF_GATHER_MAX - r->len;
		r->len += len;
		refers |= len >= SEGS_PIECE_MIN &&
			  piece_in_pool(pool, r->iov[i].iov_base, len);
	}
	return refers;
}

static ssize_t send_msg(const struct msg *m, struct rest *r, bool known)
{
	int saved = errno;
	ssize_t ret;

	if (measure(m->pool, r) && known)
		ret = send_rest(m, r);
	else
		ret = copy_all(m, r);
	errno = saved;
	return ret;
}

ssize_t fbuf_sendmsg(struct fbuf_pool *pool, int sock,
		     const struct msghdr *msg, int flags)
{
	const struct msg m = {
		.pool = pool, .sock = sock, .flags = flags, .hdr = msg,
	};
	struct rest r = { .iov = msg->msg_iov, .nr = msg->msg_iovlen };

	return send_msg(&m, &r, !msg->msg_controllen &&
			msg->msg_namelen <= FBUF_NAME_MAX &&
			!(flags & ~FLAGS_KNOWN));
}

ssize_t fbuf_writev(struct fbuf_pool *pool, int sock, const struct iovec *iov,
		    int nr)
{
	const struct msg m = { .pool = pool, .sock = sock };
	struct rest r = { .iov = iov, .nr = nr };

	if (nr < 0)
		return -EINVAL;
	return send_msg(&m, &r, true);
}
