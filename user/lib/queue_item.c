// SPDX-License-Identifier: LGPL-2.1-or-later
/*
 * What is queued: a ring of items. Whenever one is done with, functions of the
 * program's run, which may queue more, or destroy the queue.
 */
#include <stdlib.h>

#include "queue.h"

#define ITEMS_FIRST	4U
/* A queue that had more gives the memory back when it is empty. */
#define ITEMS_KEEP	16U

int item_grow(struct fbuf_queue *q)
{
	unsigned int room = q->room ? q->room * 2 : ITEMS_FIRST, i;
	struct item *items;
	int saved = errno;

	items = room ? calloc(room, sizeof(*items)) : NULL;
	errno = saved;
	if (!items)
		return -ENOMEM;
	for (i = 0; i < q->nr; i++)
		items[i] = *queue_item(q, i);
	free(q->items);
	q->items = items;
	q->room = room;
	q->head = 0;
	return 0;
}

static void ring_shrink(struct fbuf_queue *q)
{
	if (q->room <= ITEMS_KEEP)
		return;
	free(q->items);
	q->items = NULL;
	q->room = 0;
	q->head = 0;
}

int item_may(const struct fbuf_queue *q, size_t len)
{
	if (q->doomed)
		return -ECANCELED;
	if (q->err)
		return q->err;
	return q->len && len > fbuf_queue_room(q) ? -EAGAIN : 0;
}

int item_reserve(struct fbuf_queue *q, size_t len)
{
	int ret = item_may(q, len);

	if (ret < 0)
		return ret;
	return q->nr == q->room ? item_grow(q) : 0;
}

void item_add(struct fbuf_queue *q, const struct item *item)
{
	*queue_item(q, q->nr) = *item;
	q->nr++;
	q->len += item->len;
}

void item_done(struct fbuf_queue *q, int err)
{
	const struct item item = *queue_item(q, 0);
	struct watch *w = item.watch;

	q->len -= item.len - q->at;
	q->at = 0;
	q->head++;
	if (!--q->nr)
		ring_shrink(q);
	if (item.kind == ITEM_COPY)
		free(item.block);
	if (!w) {
		if (item.kind == ITEM_VIEW)
			fbuf_view_release(item.view);
		return;
	}
	if (w->taken)
		w->taken(w->arg, err);
	watch_put(q->notices, w);
}

void items_taken(struct fbuf_queue *q, size_t len)
{
	while (q->nr) {
		size_t left = queue_item(q, 0)->len - q->at;

		if (len < left) {
			q->at += len;
			q->len -= len;
			return;
		}
		len -= left;
		item_done(q, 0);
	}
}

void items_drop(struct fbuf_queue *q, int err)
{
	while (q->nr)
		item_done(q, err);
}

void queue_enter(struct fbuf_queue *q)
{
	q->depth++;
}

int queue_leave(struct fbuf_queue *q, int ret)
{
	if (q->doomed)
		ret = -ECANCELED;
	if (!--q->depth && q->doomed && !queue_is_under_way(q)) {
		free(q->items);
		free(q->uring);
		free(q);
	}
	return ret;
}

int queue_over(struct fbuf_queue *q, int err)
{
	q->err = err;
	items_drop(q, err);
	return err;
}
