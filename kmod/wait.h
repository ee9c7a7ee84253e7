/* SPDX-License-Identifier: GPL-2.0 */
/* Those who wait for buffers. See wait.c. */
#ifndef FBUF_WAIT_H
#define FBUF_WAIT_H

#include <linux/ktime.h>
#include <linux/types.h>
#include <linux/wait.h>
#include <linux/workqueue.h>

struct fbuf_handle;
struct fbuf_pool;

/*
 * References of page faults and the like pass. How long somebody waits for that
 * who is not to wait for packets: a program's own write or call; and the fault of
 * a system call, whose locks others may want.
 */
#define FBUF_GRACE_MS		10
#define FBUF_KERNEL_GRACE_MS	1

/**
 * struct fbuf_waiter - a task that waits for buffers, see wait.c
 * @entry: on the pool's wait queue
 * @pool: the pool
 * @end: when to give up
 * @nap: until it looks again
 * @mode: the state to sleep in
 */
struct fbuf_waiter {
	struct wait_queue_entry entry;
	struct fbuf_pool *pool;
	ktime_t end;
	ktime_t nap;
	unsigned int mode;
};

/* The watch's nap while notices only wait for room in rings, or for who tells. */
#define FBUF_WATCH_FULL		(32 * NSEC_PER_MSEC)

extern struct workqueue_struct *fbuf_wq;
void fbuf_wait_init(struct fbuf_pool *pool);
void fbuf_waiter_begin(struct fbuf_waiter *w, struct fbuf_pool *pool,
		       int timeout, unsigned int mode);
int fbuf_waiter_sleep(struct fbuf_waiter *w, bool in_flight);
void fbuf_waiter_end(struct fbuf_waiter *w);
bool fbuf_grace_sleep(struct fbuf_waiter *w, struct fbuf_pool *pool);
int fbuf_grace_end(struct fbuf_waiter *w, int err);

/* Before the first try of what fbuf_grace_sleep() is for. */
static inline void fbuf_grace_begin(struct fbuf_waiter *w)
{
	w->pool = NULL;
}

void fbuf_wake(struct fbuf_pool *pool);
void fbuf_watch(struct fbuf_pool *pool);
void fbuf_watch_after(struct fbuf_pool *pool, ktime_t nap);
void fbuf_pollers_tell(struct fbuf_pool *pool);
void fbuf_pollers_want(struct fbuf_handle *h);

#endif /* FBUF_WAIT_H */
