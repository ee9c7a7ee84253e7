// SPDX-License-Identifier: GPL-2.0
/* fbuf relay: one direction of a connection, by parcels, by a copy or by splice(). */

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include <fbuf/parcel.h>

#include "relay.h"

#define STRETCH		((size_t)1 << 20)	/* received at once, at most */
#define COPY_SIZE	((size_t)256 << 10)	/* the same by a copy */
/* In the place of a parcel: so much may lie there for every connection. */
#define FALLBACK_SIZE	((size_t)64 << 10)
/* Stretches that a flow moves before others have their turn. */
#define TURNS		4

/* Stands for whatever looks at bytes: it reads them all. */
static void filter(struct relay *r, const char *data, size_t len)
{
	const char *at = data, *end;

	if (len > r->peek)
		len = r->peek;
	for (end = data + len; (at = memchr(at, '\n', end - at)); at++)
		r->lines++;
	r->peeked += len;
}

static size_t copy_size(const struct relay *r)
{
	return r->method == RELAY_COPY ? COPY_SIZE : FALLBACK_SIZE;
}

/* Who has nothing to send needs no memory for it: one buffer does for many. */
static bool buf_take(struct relay *r, struct relay_flow *f)
{
	f->buf = r->spare ? r->spare : malloc(copy_size(r));
	r->spare = NULL;
	return f->buf;
}

static void buf_give(struct relay *r, struct relay_flow *f)
{
	if (r->spare)
		free(f->buf);
	else
		r->spare = f->buf;
	f->buf = NULL;
}

static ssize_t copy_receive(struct relay *r, struct relay_flow *f)
{
	ssize_t n;

	if (!buf_take(r, f))
		return -ENOMEM;
	n = recv(f->from, f->buf, copy_size(r), MSG_DONTWAIT);
	if (n <= 0) {
		n = n ? -errno : 0;
		buf_give(r, f);
		return n;
	}
	r->copied += n;
	filter(r, f->buf, n);
	return n;
}

/* What no parcel could be made of. */
static ssize_t fall_back(struct relay *r, struct relay_flow *f)
{
	ssize_t n = copy_receive(r, f);

	f->hurry = false;
	r->fallbacks += n > 0;
	return n;
}

static ssize_t parcel_receive(struct relay *r, struct relay_flow *f)
{
	size_t head_len = r->peek;
	ssize_t n;

	n = fbuf_recv_head(r->pool, f->from, STRETCH, FBUF_RECV_DONTWAIT,
			   r->head, &head_len, &f->parcel);
	switch (n) {
	case -EDQUOT:
	case -ENOMEM:
	case -ENOBUFS:
		/* A parcel that goes makes room; but its peer may be asleep. */
		if (r->parcels && !f->hurry && !r->stuck)
			return n;
		return fall_back(r, f);
	case -EOPNOTSUPP:
		return fall_back(r, f);
	}
	f->hurry = false;
	if (n > 0) {
		r->parcels++;
		r->copied += head_len;
		filter(r, r->head, head_len);
	}
	return n;
}

static ssize_t splice_receive(struct relay_flow *f)
{
	ssize_t n = splice(f->from, NULL, f->pipe[1], NULL, STRETCH,
			   SPLICE_F_MOVE | SPLICE_F_NONBLOCK);

	return n < 0 ? -errno : n;
}

static ssize_t receive(struct relay *r, struct relay_flow *f)
{
	ssize_t n;

	if (r->method == RELAY_PARCEL)
		n = parcel_receive(r, f);
	else if (r->method == RELAY_COPY)
		n = copy_receive(r, f);
	else
		n = splice_receive(f);
	r->stretches += n > 0;
	return n;
}

static void parcel_gone(struct relay *r, struct relay_flow *f)
{
	f->parcel = 0;
	r->parcels--;
	r->freed = true;
	r->stuck = false;
}

static ssize_t send_parcel(struct relay *r, struct relay_flow *f)
{
	ssize_t n;
	int err;

	fbuf_gather_reset(r->gather);
	err = fbuf_gather_append(r->gather, f->parcel, f->at, f->len - f->at);
	if (err)
		return err;
	n = fbuf_send(r->gather, f->to, FBUF_SEND_DONTWAIT | FBUF_SEND_FREE,
		      NULL);
	if (n == (ssize_t)(f->len - f->at))
		parcel_gone(r, f);
	return n;
}

static ssize_t send_copy(struct relay *r, struct relay_flow *f)
{
	ssize_t n = send(f->to, f->buf + f->at, f->len - f->at,
			 MSG_DONTWAIT | MSG_NOSIGNAL);

	if (n < 0)
		return -errno;
	r->copied += n;
	if (n == (ssize_t)(f->len - f->at))
		buf_give(r, f);
	return n;
}

static ssize_t send_pipe(const struct relay_flow *f)
{
	ssize_t n = splice(f->pipe[0], NULL, f->to, NULL, f->len - f->at,
			   SPLICE_F_MOVE | SPLICE_F_NONBLOCK);

	return n < 0 ? -errno : n;
}

static ssize_t send_some(struct relay *r, struct relay_flow *f)
{
	if (f->parcel)
		return send_parcel(r, f);
	return f->buf ? send_copy(r, f) : send_pipe(f);
}

bool relay_flow_init(const struct relay *r, struct relay_flow *f)
{
	*f = (struct relay_flow){ .from = -1, .to = -1, .pipe = { -1, -1 } };
	if (r->method != RELAY_SPLICE)
		return true;
	if (pipe2(f->pipe, O_CLOEXEC | O_NONBLOCK))
		return false;
	/* As much as there may be: the limit is another's to say. */
	fcntl(f->pipe[1], F_SETPIPE_SZ, (int)STRETCH);
	return true;
}

void relay_flow_end(struct relay *r, struct relay_flow *f)
{
	if (f->parcel) {
		fbuf_free(r->pool, &f->parcel, 1);
		parcel_gone(r, f);
	}
	if (f->buf)
		buf_give(r, f);
	if (f->pipe[0] >= 0) {
		close(f->pipe[0]);
		close(f->pipe[1]);
	}
}

/* 0 once all is sent. */
static int send_all(struct relay *r, struct relay_flow *f, uint64_t *sent)
{
	ssize_t n;

	while (f->at < f->len) {
		n = send_some(r, f);
		if (n == -EINTR)
			continue;
		if (n < 0)
			return n;
		f->at += n;
		*sent += n;
	}
	return 0;
}

static enum relay_wait pass_end(struct relay_flow *f)
{
	/* It may be gone already, and then there is nobody to tell. */
	shutdown(f->to, SHUT_WR);
	f->shut = true;
	return RELAY_DONE;
}

static enum relay_wait wait_to_receive(ssize_t err)
{
	switch (err) {
	case -EAGAIN:
		return RELAY_READ;
	case -EDQUOT:
	case -ENOMEM:
	case -ENOBUFS:
		return RELAY_ROOM;
	default:
		return RELAY_BROKEN;
	}
}

/*
 * While something is not sent, nothing is received: the sender's window closes. A
 * stretch that is shorter than it could be was the last one, as a rule, and epoll tells
 * if it was not: that saves the call that would say so.
 */
enum relay_wait relay_flow_run(struct relay *r, struct relay_flow *f,
			       uint64_t *sent)
{
	int err, turns = TURNS;
	ssize_t n;

	for (;;) {
		err = send_all(r, f, sent);
		if (err)
			return err == -EAGAIN ? RELAY_WRITE : RELAY_BROKEN;
		if (!turns || (f->len && f->len < STRETCH / 4))
			break;
		turns--;
		do {
			n = receive(r, f);
		} while (n == -EINTR);
		if (n < 0)
			return wait_to_receive(n);
		if (!n)
			return pass_end(f);
		f->at = 0;
		f->len = n;
	}
	f->len = 0;
	f->at = 0;
	return RELAY_READ;
}
