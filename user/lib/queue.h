/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * What the files of send queues share. Each calls only those before it:
 *
 * queue_notice.c	who is to be told when, and of memory in flight
 * queue_item.c		what is queued
 * queue_batch.c	the segments of one send, of what is queued
 * queue_send.c		sends by calls
 * queue_fanout.c	one view to many queues
 * queue_uring.c	sends by io_uring
 * queue.c		what is left of what the library offers
 */
#ifndef FBUF_LIB_QUEUE_H
#define FBUF_LIB_QUEUE_H

#include <fbuf/queue.h>
#include <fbuf/view.h>

#include "lib.h"
#include "segs.h"

/*
 * Who is to be told of an item. It outlives the item, for as long as packets refer
 * to its memory; all but taken() is under the lock of the notices.
 */
struct watch {
	void (*taken)(void *arg, int err);
	void (*idle)(void *arg);
	void *arg;
	struct fbuf_view *view;	/* let go of when idle; or NULL */
	const void *ptr;	/* without a view */
	size_t len;
	unsigned int pending;	/* the item, and sends that are in flight */
	bool sent;		/* by reference, and no notice will tell of it */
	struct watch *next;	/* in the list of those looked at, or of a flight */
};

/* An item's memory. */
enum item_kind {
	ITEM_COPY,	/* a block */
	ITEM_VIEW,
	ITEM_MEM,
};

/* Copies, of many calls one after the other if they are small. */
struct block {
	size_t used;
	size_t room;
	char data[];
};

#define BLOCK_ROOM	(FBUF_INLINE_MAX - sizeof(struct block))

struct item {
	enum item_kind kind;
	size_t len;
	union {
		struct block *block;
		struct fbuf_view *view;
		const char *ptr;
	};
	struct watch *watch;	/* or NULL: nobody is to be told */
};

/* Sends that have watches have as many at most. */
#define BATCH_WATCHES	64U

struct batch {
	struct segs segs;
	struct watch *watches[BATCH_WATCHES];
	size_t begins[BATCH_WATCHES];	/* where the item does of each */
	unsigned int nr_watches;
	bool parcels;		/* are referred to */
	bool copies;		/* none is to be: their bytes are in memory */
	int err;		/* why a view's bytes are not to be had, or 0 */
	bool more;		/* is queued than that */
	size_t budget;		/* bytes that it is to have at most */
};

struct queue_uring;

struct fbuf_queue {
	struct fbuf_heap *heap;
	struct fbuf_pool *pool;
	struct lib_notices *notices;	/* the pool's */
	int sock;
	int err;		/* how the connection ended, or 0 */
	unsigned int flags;	/* FBUF_QUEUE_* */
	unsigned int send_flags;
	bool stream;		/* else each item is a message */
	bool doomed;		/* destroyed; it goes when nothing uses it */
	bool full;		/* the socket was, when it was sent to last */
	unsigned int depth;	/* functions that use it, which callbacks may call */
	size_t limit;
	size_t len;		/* bytes queued, and not taken */
	size_t at;		/* bytes of the first item that were taken */
	size_t budget;		/* bytes that are worth a send */
	struct item *items;	/* a ring of items, its size a power of two */
	unsigned int head;
	unsigned int nr;
	unsigned int room;
	struct queue_uring *uring;	/* or NULL: not used yet */
};

static inline struct item *queue_item(const struct fbuf_queue *q,
				      unsigned int nr)
{
	return &q->items[(q->head + nr) & (q->room - 1)];
}

/* queue_notice.c */
/* The pool's; made if there is none. NULL: no memory. */
struct lib_notices *notices_get(struct fbuf_pool *pool);
struct watch *watch_new(void (*taken)(void *arg, int err),
			void (*idle)(void *arg), void *arg);
/*
 * A send of a batch with watches: what its cookie is to be, or 0: none is to be
 * had. Then notices_sent() must say of how many of them bytes are in flight.
 */
uint64_t notices_cookie(struct lib_notices *n, const struct batch *b);
void notices_sent(struct lib_notices *n, uint64_t cookie,
		  const struct batch *b, int sent);
/* The item is gone, and taken() was called: idle() is, once it is so. */
void watch_put(struct lib_notices *n, struct watch *w);
/* Of a send that has watches and no cookie: FBUF_SEND_NOTIFY, or 0. */
unsigned int notices_flags(struct lib_notices *n);

/* queue_item.c */
/* Whether len bytes more may be queued, or why not; with room for an item. */
int item_may(const struct fbuf_queue *q, size_t len);
int item_reserve(struct fbuf_queue *q, size_t len);
int item_grow(struct fbuf_queue *q);
/* There is room. */
void item_add(struct fbuf_queue *q, const struct item *item);
/*
 * The first item is done with, err says how; bytes of the stream were taken; all
 * are done with. Callbacks run, and may do anything: between queue_enter() and
 * queue_leave(), which returns ret, or -ECANCELED if the queue is no more.
 */
void item_done(struct fbuf_queue *q, int err);
void items_taken(struct fbuf_queue *q, size_t len);
void items_drop(struct fbuf_queue *q, int err);
void queue_enter(struct fbuf_queue *q);
int queue_leave(struct fbuf_queue *q, int ret);
/* The connection is over: returns err. */
int queue_over(struct fbuf_queue *q, int err);

/* queue_batch.c */
/* As much as is worth a send. A message is one item, or there is more. */
void batch_fill(struct fbuf_queue *q, struct batch *b);
/* The same for calls that know no parcels. */
void batch_fill_copies(struct fbuf_queue *q, struct batch *b);
/* Nothing of what is queued is in it, and why: an error; else 0. */
int batch_failed(const struct fbuf_queue *q, const struct batch *b);
/* All of a view that is not queued; false if that is too much. */
bool batch_view(const struct fbuf_queue *q, struct batch *b,
		const struct fbuf_view *view, size_t len);

/* queue_send.c */
/* Whether there is enough in it for a send by reference, of the pool or of parcels. */
bool batch_refers(const struct batch *b);
/* The same bytes for calls that copy, if no parcels are referred to; returns how many iovecs. */
unsigned int batch_iov(const struct fbuf_queue *q, const struct batch *b,
		       struct iovec *iov);
/* Fills in a send; notices_sent() must follow if it has watches. */
void batch_send_init(struct fbuf_queue *q, const struct batch *b,
		     struct fbuf_send *send);
/* An error after which the socket will take more. */
bool queue_must_wait(int err);
/* What is wrong with one message, and not with the socket. */
bool queue_message_failed(const struct fbuf_queue *q, int err);
/* See how much is worth a send, by what came of this one. */
void queue_adapt(struct fbuf_queue *q, const struct batch *b, size_t sent);
/* 1: all was taken; 0: the socket is full; or how the connection ended. */
int queue_send(struct fbuf_queue *q);

/* queue_uring.c */
bool queue_is_under_way(const struct fbuf_queue *q);

#endif /* FBUF_LIB_QUEUE_H */
