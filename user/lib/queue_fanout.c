// SPDX-License-Identifier: LGPL-2.1-or-later
/*
 * One view to many queues. Those that have nothing queued are sent to at once, by
 * one call for many of them; only what their sockets do not take is queued.
 */
#include "queue.h"

/* Sockets of one call; they are on the stack. */
#define TARGETS		256U

/* A fan-out, and what of it is the same for all queues. */
struct fanout {
	struct fbuf_queue *const *queues;
	struct fbuf_view *view;
	size_t len;
	int *results;		/* or NULL */
	struct batch *batch;	/* the view whole; or NULL: it is too long */
	const struct fbuf_queue *first;	/* the batch is for those like it */
	unsigned int nr;	/* that are */
	unsigned int which[TARGETS];
	struct fbuf_target targets[TARGETS];
};

static bool is_like(const struct fbuf_queue *a, const struct fbuf_queue *b)
{
	return a->pool == b->pool && a->send_flags == b->send_flags &&
	       a->stream == b->stream;
}

static bool goes_at_once(const struct fanout *f, const struct fbuf_queue *q)
{
	return f->batch && is_like(f->first, q) && !q->nr && !q->depth &&
	       !(q->flags & FBUF_QUEUE_HOLD) && item_may(q, f->len) >= 0 &&
	       !queue_is_under_way(q);
}

/* Queue what is left of it, after the bytes that were taken. */
static int queue_rest(struct fanout *f, struct fbuf_queue *q, size_t taken)
{
	const struct item item = {
		.kind = ITEM_VIEW, .len = f->len, .view = f->view,
	};
	int ret = item_reserve(q, f->len);

	if (ret < 0)
		return ret;
	item_add(q, &item);
	fbuf_view_retain(f->view);
	q->at = taken;
	q->len -= taken;
	q->full = true;
	return 0;
}

/* A queue that has to be served by itself; not now, if its socket was full. */
static int fanout_one(struct fanout *f, struct fbuf_queue *q)
{
	int ret;

	fbuf_view_retain(f->view);
	ret = fbuf_queue_view(q, f->view);
	if (ret < 0)
		fbuf_view_release(f->view);
	else if (!q->full && !q->depth && !queue_is_under_way(q))
		ret = fbuf_queue_flush(q);
	return ret;
}

/* What became of a queue that was sent to at once. */
static int fanout_end(struct fanout *f, struct fbuf_queue *q, int sent)
{
	if (sent == (int)f->len)
		return 1;
	if (sent >= 0)
		return queue_rest(f, q, sent);
	if (queue_must_wait(-sent))
		return queue_rest(f, q, 0);
	if (segs_real_call(-sent) || !q->stream)
		return fanout_one(f, q);
	queue_enter(q);
	return queue_leave(q, queue_over(q, sent));
}

static unsigned int set_result(struct fanout *f, unsigned int i, int ret)
{
	if (f->results)
		f->results[i] = ret;
	return ret >= 0;
}

/* By sendmsg() one after the other, if that is cheaper. */
static void send_small(struct fanout *f)
{
	struct iovec iov[SEGS_MAX];
	const struct msghdr msg = {
		.msg_iov = iov,
		.msg_iovlen = batch_iov(f->first, f->batch, iov),
	};
	unsigned int i;
	ssize_t ret;

	for (i = 0; i < f->nr; i++) {
		ret = sendmsg(f->targets[i].fd, &msg,
			      MSG_DONTWAIT | MSG_NOSIGNAL);
		f->targets[i].result = ret < 0 ? -errno : ret;
	}
}

static void send_many(struct fanout *f)
{
	struct fbuf_fanout fanout = {
		.size = sizeof(fanout),
		.flags = f->first->send_flags,
		.segs = (uintptr_t)f->batch->segs.seg,
		.targets = (uintptr_t)f->targets,
		.nr_segs = f->batch->segs.nr,
		.nr_targets = f->nr,
	};
	unsigned int i;
	int ret;

	/* A result that is not set is one of none: it goes by itself. */
	for (i = 0; i < f->nr; i++)
		f->targets[i].result = -EOPNOTSUPP;
	ret = lib_call(f->first->pool, FBUF_IOC_FANOUT, &fanout);
	if (ret < 0)
		for (i = 0; i < f->nr; i++)
			f->targets[i].result = -EOPNOTSUPP;
}

/* Send to those that were collected; returns how many queues took the view. */
static unsigned int fanout_send(struct fanout *f)
{
	unsigned int i, took = 0;

	if (!f->nr)
		return 0;
	if (batch_refers(f->batch))
		send_many(f);
	else
		send_small(f);
	for (i = 0; i < f->nr; i++)
		took += set_result(f, f->which[i],
				   fanout_end(f, f->queues[f->which[i]],
					      f->targets[i].result));
	f->nr = 0;
	return took;
}

static int fanout(struct fanout *f, unsigned int nr)
{
	unsigned int i, took = 0;

	for (i = 0; i < nr; i++) {
		struct fbuf_queue *q = f->queues[i];

		if (!goes_at_once(f, q)) {
			took += set_result(f, i, fanout_one(f, q));
			continue;
		}
		f->which[f->nr] = i;
		f->targets[f->nr++] = (struct fbuf_target){ .fd = q->sock };
		if (f->nr == TARGETS)
			took += fanout_send(f);
	}
	return took + fanout_send(f);
}

int fbuf_queue_fanout(struct fbuf_queue *const *queues, unsigned int nr,
		      struct fbuf_view *view, int *results)
{
	struct batch b;
	struct fanout f = {
		.queues = queues,
		.view = view,
		.len = fbuf_view_len(view),
		.results = results,
	};
	int saved = errno, ret;

	if (!nr)
		return 0;
	f.first = queues[0];
	if (f.len && f.len <= FBUF_GATHER_MAX &&
	    batch_view(f.first, &b, view, f.len))
		f.batch = &b;
	ret = fanout(&f, nr);
	errno = saved;
	return ret;
}
