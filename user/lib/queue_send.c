// SPDX-License-Identifier: LGPL-2.1-or-later
/* Sends by calls, of what is queued. */
#include <stdlib.h>
#include <sys/uio.h>

#include "queue.h"

/* With fewer bytes of the pool, the call that copies is the cheaper one. */
#define REFER_MIN	4096U
/* Either puts entries into the ring. */
#define SEND_TELLS	(FBUF_SEND_COOKIE | FBUF_SEND_NOTIFY)
/* Bytes that are worth a send: for a socket that takes little, or much. */
#define BUDGET_MIN	(256UL << 10)
#define BUDGET_MAX	(16UL << 20)

unsigned int batch_iov(const struct fbuf_queue *q, const struct batch *b,
		       struct iovec *iov)
{
	unsigned int i;

	for (i = 0; i < b->segs.nr; i++) {
		const struct fbuf_seg *seg = &b->segs.seg[i];

		iov[i].iov_base = seg->flags & FBUF_SEG_INLINE ?
				  (void *)(uintptr_t)seg->addr :
				  q->pool->map + seg->addr;
		iov[i].iov_len = seg->len;
	}
	return i;
}

static ssize_t send_iov(int sock, struct iovec *iov, unsigned int nr, bool more)
{
	const struct msghdr msg = { .msg_iov = iov, .msg_iovlen = nr };
	ssize_t ret;

	ret = sendmsg(sock, &msg, MSG_DONTWAIT | MSG_NOSIGNAL |
				  (more ? MSG_MORE : 0));
	return ret < 0 ? -errno : ret;
}

static ssize_t send_copy(struct fbuf_queue *q, struct batch *b)
{
	struct iovec iov[SEGS_MAX];
	int ret;

	if (b->parcels)
		batch_fill_copies(q, b);
	ret = batch_failed(q, b);
	if (ret)
		return ret;
	return send_iov(q->sock, iov, batch_iov(q, b, iov), b->more);
}

bool batch_refers(const struct batch *b)
{
	return b->segs.referred >= REFER_MIN || b->parcels;
}

void batch_send_init(struct fbuf_queue *q, const struct batch *b,
		     struct fbuf_send *send)
{
	*send = (struct fbuf_send){
		.size = sizeof(*send),
		.flags = q->send_flags | (b->more ? FBUF_SEND_MORE : 0),
		.segs = (uintptr_t)b->segs.seg,
		.nr_segs = b->segs.nr,
		.fd = q->sock,
	};
	if (!b->nr_watches)
		return;
	send->cookie = notices_cookie(q->notices, b);
	send->flags |= send->cookie ? FBUF_SEND_COOKIE :
				      notices_flags(q->notices);
}

static ssize_t send_batch(struct fbuf_queue *q, struct batch *b)
{
	struct fbuf_send send;
	int ret;

	if (!batch_refers(b))
		return send_copy(q, b);
	batch_send_init(q, b, &send);
	send.flags |= FBUF_SEND_DONTWAIT;
	ret = lib_call(q->pool, FBUF_IOC_SEND, &send);
	if (b->nr_watches)
		notices_sent(q->notices, send.cookie, b, ret);
	/* Too many wait for theirs: then these are looked at. */
	if (ret == -ENOBUFS && send.flags & SEND_TELLS) {
		send.flags &= ~SEND_TELLS;
		ret = lib_call(q->pool, FBUF_IOC_SEND, &send);
		notices_sent(q->notices, 0, b, ret);
	}
	if (ret < 0 && segs_real_call(-ret))
		return send_copy(q, b);
	return ret;
}

/* A message of more pieces than one send takes. */
static ssize_t send_message(struct fbuf_queue *q, const struct item *item)
{
	struct iovec iov = { .iov_len = item->len };
	ssize_t ret;

	iov.iov_base = malloc(item->len);
	if (!iov.iov_base)
		return -ENOMEM;
	ret = fbuf_view_get(item->view, fbuf_view_reader(item->view),
			    iov.iov_base, item->len);
	if (ret && ret != -ENOMEM)
		ret = -EINVAL;
	if (!ret)
		ret = send_iov(q->sock, &iov, 1, false);
	free(iov.iov_base);
	return ret;
}

bool queue_must_wait(int err)
{
	return err == EAGAIN || err == ENOMEM || err == ENOBUFS;
}

/* What is wrong with the one message, and not with the socket. */
bool queue_message_failed(const struct fbuf_queue *q, int err)
{
	if (q->stream)
		return false;
	return err == EMSGSIZE || err == ECONNREFUSED || err == EINVAL ||
	       err == EPERM || err == EACCES || err == EHOSTUNREACH ||
	       err == ENETUNREACH || err == ENETDOWN || err == EIO;
}

void queue_adapt(struct fbuf_queue *q, const struct batch *b, size_t sent)
{
	if (sent < b->segs.len)
		q->budget = sent * 2 > BUDGET_MIN ? sent * 2 : BUDGET_MIN;
	else if (b->more && q->budget < BUDGET_MAX)
		q->budget *= 2;
	if (q->budget > BUDGET_MAX)
		q->budget = BUDGET_MAX;
}

/* One send: 1, or 0: the socket is full; or the connection is over. */
static int send_one(struct fbuf_queue *q)
{
	struct batch b;
	ssize_t ret;

	batch_fill(q, &b);
	if (q->stream && !b.segs.len)
		ret = b.err;
	else if (!q->stream && b.more)
		ret = send_message(q, queue_item(q, 0));
	else
		ret = send_batch(q, &b);
	if (ret == -EINTR)
		return 1;
	if (ret < 0 && queue_must_wait(-ret))
		return 0;
	if (ret < 0 && !queue_message_failed(q, -ret))
		return queue_over(q, ret);
	if (!q->stream) {
		item_done(q, ret < 0 ? ret : 0);
		return 1;
	}
	/* A callback may have the queue destroyed; its memory stays. */
	queue_adapt(q, &b, ret);
	items_taken(q, ret);
	return ret || !b.segs.len;
}

int queue_send(struct fbuf_queue *q)
{
	int ret = 1;

	while (ret > 0 && q->nr)
		ret = send_one(q);
	return ret;
}

int fbuf_queue_flush(struct fbuf_queue *q)
{
	int saved = errno, ret;

	/* Called back by a function that goes on with it anyway. */
	if (q->depth)
		return q->doomed ? -ECANCELED : q->err;
	if (queue_is_under_way(q))
		return -EBUSY;
	if (q->err)
		return q->err;
	queue_enter(q);
	ret = queue_send(q);
	q->full = !ret;
	ret = queue_leave(q, ret);
	errno = saved;
	return ret;
}
