// SPDX-License-Identifier: LGPL-2.1-or-later
/* Send queues: what a connection still has to send. */
#include <stdlib.h>
#include <sys/epoll.h>

#include "queue.h"

#define LIMIT		(1UL << 20)
#define BUDGET		(1UL << 20)

/* Bytes of the options as they were first. */
#define OPTIONS_MIN	(offsetof(struct fbuf_queue_options, send_flags) + \
			 sizeof(unsigned int))

#define SEND_FLAGS	(FBUF_SEND_VOLATILE | FBUF_SEND_SECURED |	\
			 FBUF_SEND_SNAPSHOT)

/* Views that are as short are copied, and let go of at once. */
#define COPY_MAX	256U
/* Bytes of copies: at first, with what malloc() adds; and if more follow. */
#define BLOCK_FIRST	(512U - 16U - sizeof(struct block))
#define BLOCK_NEXT	FBUF_INLINE_MAX

static int options_get(struct fbuf_queue_options *opt, const void *from,
		       size_t size)
{
	int ret;

	memset(opt, 0, sizeof(*opt));
	if (!from)
		return 0;
	ret = lib_options_get(opt, sizeof(*opt), from, size, OPTIONS_MIN);
	if (ret < 0)
		return ret;
	if (opt->flags & ~FBUF_QUEUE_HOLD || opt->send_flags & ~SEND_FLAGS ||
	    opt->send_flags & (opt->send_flags - 1))
		return -EINVAL;
	return 0;
}

int fbuf_queue_create_sized(struct fbuf_queue **q, struct fbuf_heap *heap,
			    int sock,
			    const struct fbuf_queue_options *options,
			    size_t size)
{
	struct fbuf_queue_options opt;
	socklen_t len = sizeof(int);
	int saved = errno, type, ret;
	struct fbuf_queue *n;

	ret = options_get(&opt, options, size);
	if (ret < 0)
		return ret;
	if (getsockopt(sock, SOL_SOCKET, SO_TYPE, &type, &len) < 0) {
		ret = -errno;
		errno = saved;
		return ret;
	}
	n = calloc(1, sizeof(*n));
	errno = saved;
	if (!n)
		return -ENOMEM;
	n->heap = heap;
	n->pool = fbuf_heap_pool(heap);
	n->notices = notices_get(n->pool);
	if (!n->notices) {
		free(n);
		return -ENOMEM;
	}
	n->sock = sock;
	n->stream = type == SOCK_STREAM;
	n->limit = opt.limit ? opt.limit : LIMIT;
	n->flags = opt.flags;
	n->send_flags = opt.send_flags;
	n->budget = BUDGET;
	*q = n;
	return 0;
}

void fbuf_queue_destroy(struct fbuf_queue *q)
{
	int saved = errno;

	if (!q || q->doomed)
		return;
	q->doomed = true;
	queue_enter(q);
	/* Until an SQE is done, the kernel may be reading what is queued. */
	if (!queue_is_under_way(q))
		items_drop(q, -ECANCELED);
	queue_leave(q, 0);
	errno = saved;
}

int fbuf_queue_sock(const struct fbuf_queue *q)
{
	return q->sock;
}

size_t fbuf_queue_len(const struct fbuf_queue *q)
{
	return q->len;
}

size_t fbuf_queue_room(const struct fbuf_queue *q)
{
	return q->len < q->limit ? q->limit - q->len : 0;
}

unsigned int fbuf_queue_events(const struct fbuf_queue *q)
{
	return q->nr ? EPOLLOUT : 0;
}

/* Where more copies can go, after those that are there; a message fills its block. */
static struct item *open_block(const struct fbuf_queue *q)
{
	struct item *last = q->nr ? queue_item(q, q->nr - 1) : NULL;

	return last && last->kind == ITEM_COPY &&
	       last->block->used < last->block->room ? last : NULL;
}

static int add_block(struct fbuf_queue *q, size_t len, size_t room)
{
	struct item item = { .kind = ITEM_COPY };
	int saved = errno, ret;

	/* The limit was seen to. */
	ret = q->nr == q->room ? item_grow(q) : 0;
	if (ret < 0)
		return ret;
	if (room < len || !q->stream)
		room = len;
	item.block = malloc(sizeof(*item.block) + room);
	errno = saved;
	if (!item.block)
		return -ENOMEM;
	item.block->room = room;
	item.block->used = 0;
	item_add(q, &item);
	return 0;
}

static void fill_block(struct fbuf_queue *q, struct item *item,
		       const char *data, size_t len)
{
	if (!len)
		return;
	memcpy(item->block->data + item->block->used, data, len);
	item->block->used += len;
	item->len += len;
	q->len += len;
}

int fbuf_queue_copy(struct fbuf_queue *q, const void *data, size_t len)
{
	const struct item *last;
	unsigned int at = q->nr;
	size_t fits = 0;
	int ret;

	ret = item_may(q, len);
	if (ret < 0 || (!len && q->stream))
		return ret;
	last = open_block(q);
	if (last) {
		fits = last->block->room - last->block->used;
		at--;
	}
	if (fits > len)
		fits = len;
	if (fits < len || !last) {
		ret = add_block(q, len - fits, last ? BLOCK_NEXT : BLOCK_FIRST);
		if (ret < 0)
			return ret;
	}
	if (last)
		fill_block(q, queue_item(q, at++), data, fits);
	if (at < q->nr)
		fill_block(q, queue_item(q, at), (const char *)data + fits,
			   len - fits);
	return 0;
}

/* A short view goes as a copy, so that many are one piece to send. */
static int copy_view(struct fbuf_queue *q, struct fbuf_view *view, size_t len)
{
	char copy[COPY_MAX];
	int ret;

	ret = fbuf_view_get(view, fbuf_view_reader(view), copy, len);
	if (!ret)
		ret = fbuf_queue_copy(q, copy, len);
	if (!ret)
		fbuf_view_release(view);
	return ret;
}

/* Adds an item, and who is to be told of it. */
static int add_item(struct fbuf_queue *q, struct item *item,
		    void (*taken)(void *arg, int err),
		    void (*idle)(void *arg), void *arg)
{
	bool holds = item->kind == ITEM_VIEW && q->flags & FBUF_QUEUE_HOLD;
	int ret = item_reserve(q, item->len);

	if (ret < 0)
		return ret;
	if (taken || idle || holds) {
		item->watch = watch_new(taken, idle, arg);
		if (!item->watch)
			return -ENOMEM;
		item->watch->view = item->kind == ITEM_VIEW ? item->view : NULL;
		item->watch->ptr = item->ptr;
		item->watch->len = item->len;
	}
	item_add(q, item);
	return 0;
}

int fbuf_queue_view_with(struct fbuf_queue *q, struct fbuf_view *view,
			 void (*taken)(void *arg, int err),
			 void (*idle)(void *arg), void *arg)
{
	struct item item = {
		.kind = ITEM_VIEW,
		.len = fbuf_view_len(view),
		.view = view,
	};

	if (item.len <= COPY_MAX && q->stream && !taken && !idle)
		return copy_view(q, view, item.len);
	return add_item(q, &item, taken, idle, arg);
}

int fbuf_queue_view(struct fbuf_queue *q, struct fbuf_view *view)
{
	return fbuf_queue_view_with(q, view, NULL, NULL, NULL);
}

int fbuf_queue_mem(struct fbuf_queue *q, const void *ptr, size_t len,
		   void (*taken)(void *arg, int err), void (*idle)(void *arg),
		   void *arg)
{
	struct item item = { .kind = ITEM_MEM, .len = len, .ptr = ptr };

	return add_item(q, &item, taken, idle, arg);
}
