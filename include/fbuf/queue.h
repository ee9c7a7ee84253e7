/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * libfbuf: send queues, fbuf_queue(3). A queue is what a connection still has to
 * send: views, memory of the heap and small copies, in order. It remembers how far
 * the socket came, and goes on from there.
 *
 * A queue belongs to one thread at a time, as the socket of an event loop does.
 * Queueing sends nothing: fbuf_queue_flush() does, and never waits. What can fail
 * returns a negative errno value, and leaves errno alone.
 */
#ifndef FBUF_QUEUE_H
#define FBUF_QUEUE_H

#include <fbuf/heap.h>

#ifdef __cplusplus
extern "C" {
#endif

struct fbuf_queue;
struct fbuf_view;
struct io_uring_sqe;

/*
 * Views that the queue has are let go of when their memory is idle, and not as soon
 * as the socket took their bytes: for who writes to memory that he has back.
 */
#define FBUF_QUEUE_HOLD		(1U << 0)

/**
 * struct fbuf_queue_options - what a queue is to be
 * @limit: bytes that may be queued; 0 for 1 MiB. A queue without bytes takes
 *         anything, however long
 * @flags: FBUF_QUEUE_*
 * @send_flags: FBUF_SEND_VOLATILE, _SECURED or _SNAPSHOT, of each send; or 0: as
 *              the pool was made
 */
struct fbuf_queue_options {
	size_t limit;
	unsigned int flags;
	unsigned int send_flags;
};

/*
 * Make a queue for a connected socket, which stays the caller's. It is sent to
 * without waiting, whether or not it blocks. options may be NULL; size is
 * sizeof(*options). The heap must outlive the queue.
 */
int fbuf_queue_create_sized(struct fbuf_queue **q, struct fbuf_heap *heap,
			    int sock,
			    const struct fbuf_queue_options *options,
			    size_t size);
static __inline__ int
fbuf_queue_create(struct fbuf_queue **q, struct fbuf_heap *heap, int sock,
		  const struct fbuf_queue_options *options)
{
	return fbuf_queue_create_sized(q, heap, sock, options,
				       sizeof(*options));
}

/*
 * What is queued is let go of: "taken" is told -ECANCELED. While an SQE of it is
 * under way, the memory of the queue stays until fbuf_queue_done(). NULL is
 * ignored.
 */
void fbuf_queue_destroy(struct fbuf_queue *q);
int fbuf_queue_sock(const struct fbuf_queue *q);

/*
 * Queue what is readable in a view. 0: the reference is the queue's now, and
 * nobody may move the view's cursors. Else it is the caller's as before: -EAGAIN:
 * the limit is reached; or how the connection ended.
 */
int fbuf_queue_view(struct fbuf_queue *q, struct fbuf_view *view);
/*
 * The same, and two functions, each of which may be NULL, are called once each:
 * taken() when the socket has taken all bytes, with 0, or when it never will, with
 * a negative errno value; and after that idle() when no packet refers to them, just
 * before the view is let go of. They may call any function, also for this queue.
 */
int fbuf_queue_view_with(struct fbuf_queue *q, struct fbuf_view *view,
			 void (*taken)(void *arg, int err),
			 void (*idle)(void *arg), void *arg);
/* Memory of any kind, copied now. */
int fbuf_queue_copy(struct fbuf_queue *q, const void *data, size_t len);
/* Memory that stays as it is until idle(), if it is the heap's, or else taken(). */
int fbuf_queue_mem(struct fbuf_queue *q, const void *ptr, size_t len,
		   void (*taken)(void *arg, int err), void (*idle)(void *arg),
		   void *arg);

/*
 * Send what is queued. 1: all was taken; 0: the socket is full: when it has room,
 * once more; or a negative errno value: the connection is over, nothing is queued
 * any more, and nothing can be. -EBUSY: an SQE of the queue is under way.
 */
int fbuf_queue_flush(struct fbuf_queue *q);
/* Bytes that were not taken yet; how many more the limit allows. */
size_t fbuf_queue_len(const struct fbuf_queue *q);
size_t fbuf_queue_room(const struct fbuf_queue *q);
/* What to ask epoll for: EPOLLOUT while something is queued, or 0. */
unsigned int fbuf_queue_events(const struct fbuf_queue *q);

/*
 * One view for many queues of one heap, which keep a reference each; the caller's
 * stays his. Queues that are empty are sent to by one call. results, if not NULL,
 * gets for each: 1: all was taken; 0: some is queued; -EAGAIN: the limit is reached
 * and nothing was queued; or how the connection ended. Returns how many queues took
 * the view.
 */
int fbuf_queue_fanout(struct fbuf_queue *const *queues, unsigned int nr,
		      struct fbuf_view *view, int *results);

/*
 * When memory is idle: a descriptor to poll, which is readable then, and what to
 * call then: it runs functions idle(), of all queues of the heap, and returns how
 * many. Without a call none of them runs. The descriptor stays the library's.
 */
int fbuf_queue_notices_fd(struct fbuf_heap *heap);
int fbuf_queue_notices(struct fbuf_heap *heap);
/*
 * The same, waiting up to timeout_ms milliseconds (-1: for ever) until no function
 * is left that is to run for memory in flight: 0, or -ETIMEDOUT.
 */
int fbuf_queue_notices_wait(struct fbuf_heap *heap, int timeout_ms);
/*
 * For who has set up the pool's ring himself: an entry of it that he took. Returns
 * 1 if it was one of the queues', else 0.
 */
int fbuf_queue_notice(struct fbuf_heap *heap,
		      const struct fbuf_ring_entry *entry);

/*
 * By io_uring, one SQE at a time: fill in one, but for its user_data, to send what
 * is queued, or to wait for room. 1: submit it, and give the cqe's res to
 * fbuf_queue_done(), also if the queue was destroyed meanwhile; 0: nothing is
 * queued. The library does not need liburing.
 */
int fbuf_queue_prep(struct fbuf_queue *q, struct io_uring_sqe *sqe);
/* As fbuf_queue_flush() returns; after 0, prepare the next one. */
int fbuf_queue_done(struct fbuf_queue *q, int res);

#ifdef __cplusplus
}
#endif

#endif /* FBUF_QUEUE_H */
