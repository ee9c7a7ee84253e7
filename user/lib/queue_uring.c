// SPDX-License-Identifier: LGPL-2.1-or-later
/*
 * Sends of queues by io_uring, one SQE at a time: by the module's command, or where
 * there is nothing for that by SENDMSG. A socket that is full is waited for by POLL.
 */
#include <poll.h>
#include <stdlib.h>

#include <linux/io_uring.h>

#include <fbuf/backend.h>

#include "queue.h"

struct queue_uring {
	bool under_way;
	bool refers;		/* the SQE is the module's command */
	bool polls;		/* it is to wait for room */
	bool full;		/* the next one is */
	bool copies;		/* the next ones must not be commands */
	struct fbuf_send send;
	struct msghdr msg;
	struct batch batch;
	struct iovec iov[SEGS_MAX];
};

bool queue_is_under_way(const struct fbuf_queue *q)
{
	return q->uring && q->uring->under_way;
}

static int uring_need(struct fbuf_queue *q)
{
	int saved = errno;

	if (!q->uring)
		q->uring = calloc(1, sizeof(*q->uring));
	errno = saved;
	return q->uring ? 0 : -ENOMEM;
}

static void prep(struct io_uring_sqe *sqe, unsigned int op, int fd)
{
	__u64 data = sqe->user_data;

	/* It may be of 64 bytes. */
	memset(sqe, 0, offsetof(struct io_uring_sqe, cmd) +
		       sizeof(struct fbuf_uring_cmd));
	sqe->opcode = op;
	sqe->fd = fd;
	sqe->user_data = data;
}

static void prep_poll(struct fbuf_queue *q, struct io_uring_sqe *sqe)
{
	prep(sqe, IORING_OP_POLL_ADD, q->sock);
	sqe->poll32_events = POLLOUT;
#if __BYTE_ORDER == __BIG_ENDIAN
	sqe->poll32_events <<= 16;
#endif
	q->uring->polls = true;
}

static void prep_copy(struct fbuf_queue *q, struct io_uring_sqe *sqe)
{
	struct queue_uring *u = q->uring;

	u->msg = (struct msghdr){
		.msg_iov = u->iov,
		.msg_iovlen = batch_iov(q, &u->batch, u->iov),
	};
	prep(sqe, IORING_OP_SENDMSG, q->sock);
	sqe->addr = (uintptr_t)&u->msg;
	sqe->len = 1;
	sqe->msg_flags = MSG_NOSIGNAL | (u->batch.more ? MSG_MORE : 0);
}

static void prep_refer(struct fbuf_queue *q, struct io_uring_sqe *sqe)
{
	struct queue_uring *u = q->uring;
	const struct fbuf_uring_cmd cmd = { .args = (uintptr_t)&u->send };

	batch_send_init(q, &u->batch, &u->send);
	prep(sqe, IORING_OP_URING_CMD, q->pool->fd);
	sqe->cmd_op = FBUF_IOC_SEND;
	memcpy(sqe->cmd, &cmd, sizeof(cmd));
	u->refers = true;
}

/* Of what is next no byte is to be had: try again, or leave it. */
static int prep_failed(struct fbuf_queue *q, struct io_uring_sqe *sqe, int err)
{
	if (queue_must_wait(-err)) {
		prep_poll(q, sqe);
		return 1;
	}
	if (q->stream)
		return queue_over(q, err);
	item_done(q, err);
	return 0;
}

/* Fills in what is to be sent next; 0: there is nothing. Callbacks may run. */
static int prep_send(struct fbuf_queue *q, struct io_uring_sqe *sqe)
{
	bool refers = !q->uring->copies &&
		      fbuf_pool_backend(q->pool) == FBUF_BACKEND_MODULE;
	struct batch *b = &q->uring->batch;
	int ret;

	while (q->nr && !q->doomed) {
		if (refers)
			batch_fill(q, b);
		else
			batch_fill_copies(q, b);
		ret = batch_failed(q, b);
		if (ret) {
			ret = prep_failed(q, sqe, ret);
			if (ret)
				return ret;
			continue;
		}
		if (q->stream && !b->segs.len) {
			items_taken(q, 0);
			continue;
		}
		if (!q->stream && b->more) {
			item_done(q, -EMSGSIZE);
			continue;
		}
		if (refers && batch_refers(b))
			prep_refer(q, sqe);
		else
			prep_copy(q, sqe);
		return 1;
	}
	return 0;
}

int fbuf_queue_prep(struct fbuf_queue *q, struct io_uring_sqe *sqe)
{
	int saved = errno, ret;

	if (q->depth || queue_is_under_way(q))
		return -EBUSY;
	if (q->err || !q->nr)
		return q->err;
	ret = uring_need(q);
	if (ret < 0)
		return ret;
	queue_enter(q);
	if (q->uring->full) {
		prep_poll(q, sqe);
		ret = 1;
	} else {
		ret = prep_send(q, sqe);
	}
	q->uring->full = false;
	q->uring->under_way = ret > 0;
	ret = queue_leave(q, ret);
	errno = saved;
	return ret;
}

/* What came of a send; > 0: go on. */
static int sent(struct fbuf_queue *q, int res)
{
	struct queue_uring *u = q->uring;
	bool refers = u->refers;

	u->refers = false;
	if (refers && u->batch.nr_watches)
		notices_sent(q->notices, u->send.cookie, &u->batch, res);
	if (res >= 0) {
		queue_adapt(q, &u->batch, res);
		u->copies = false;
		if (q->stream)
			items_taken(q, res);
		else
			item_done(q, 0);
		return 1;
	}
	if (refers && (segs_real_call(-res) || res == -ENOBUFS))
		u->copies = true;
	else if (queue_must_wait(-res))
		u->full = true;
	else if (queue_message_failed(q, -res))
		item_done(q, res);
	else if (res != -EINTR && res != -ECANCELED)
		return queue_over(q, res);
	return 1;
}

int fbuf_queue_done(struct fbuf_queue *q, int res)
{
	int saved = errno, ret;

	if (!queue_is_under_way(q))
		return -EINVAL;
	queue_enter(q);
	q->uring->under_way = false;
	if (q->uring->polls)
		ret = 1;
	else
		ret = sent(q, res);
	q->uring->polls = false;
	if (q->doomed)
		items_drop(q, -ECANCELED);
	if (ret > 0)
		ret = !q->nr;
	ret = queue_leave(q, ret);
	errno = saved;
	return ret;
}
