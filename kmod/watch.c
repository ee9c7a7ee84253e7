// SPDX-License-Identifier: GPL-2.0
/*
 * The watch: looks what is idle for those who do not wait in a call of ours,
 * but poll the pool fd or expect notices in a ring. It runs only while somebody
 * does, and something is in flight.
 */
#include <linux/file.h>
#include <linux/hrtimer.h>
#include <linux/poll.h>
#include <linux/sched.h>

#include "buffer.h"
#include "compat.h"
#include "look.h"
#include "nudge.h"
#include "ring.h"
#include "types.h"
#include "wait.h"
#include "watch.h"

/* Between two looks of the watch. */
#define NAP_LAST	(2 * NSEC_PER_MSEC)

/* Post what notices are due; true if others wait for packets. */
static bool watch_notices(struct fbuf_pool *pool, unsigned int looks)
	__must_hold(&pool->lock)
{
	struct fbuf_handle *h, *next, *last;
	bool more = false;

	if (list_empty(&pool->notifying))
		return false;
	last = list_last_entry(&pool->notifying, struct fbuf_handle, notifying);
	list_for_each_entry_safe(h, next, &pool->notifying, notifying) {
		bool end = h == last;

		/* Its turn comes last, if it still waits then. */
		list_move_tail(&h->notifying, &pool->notifying);
		more |= fbuf_ring_notify(h, &looks);
		if (end)
			return more;
		if (!looks)
			return true;
		cond_resched();
	}
	return more;
}

/* Wake pollers if a buffer is to be had; true if they wait for packets. */
static bool watch_pollers(struct fbuf_pool *pool, unsigned int looks)
	__must_hold(&pool->lock)
{
	if (!pool->want_out || !wq_has_sleeper(&pool->pollers))
		return false;
	if (!fbuf_to_be_had(pool, looks))
		return pool->nr_limbo;
	fbuf_pollers_tell(pool);
	return false;
}

/* Look, and see when to look again; true if somebody waits for packets. */
static bool watch_look(struct fbuf_pool *pool)
	__must_hold(&pool->lock)
{
	unsigned int looks = fbuf_looks(pool);
	bool packets;

	packets = watch_notices(pool, looks);
	packets |= watch_pollers(pool, looks);
	if (pool->dead || !(packets || pool->nr_notify)) {
		pool->watching = false;
	} else {
		fbuf_watch_after(pool, packets ? NAP_LAST : FBUF_WATCH_FULL);
		this_cpu_inc(pool->counters->waits);
	}
	return packets;
}

static void fbuf_watch_work(struct work_struct *work)
{
	struct fbuf_pool *pool = container_of(work, struct fbuf_pool,
					      watch_work);
	bool packets;

	mutex_lock(&pool->lock);
	packets = watch_look(pool);
	mutex_unlock(&pool->lock);
	if (packets)
		fbuf_nudge();
}

/**
 * fbuf_watch_look() - look at once, as packets are gone
 * @pool: the pool
 *
 * Context: may sleep; the pool's lock is held.
 */
void fbuf_watch_look(struct fbuf_pool *pool)
{
	lockdep_assert_held(&pool->lock);
	if (pool->watching)
		watch_look(pool);
}

/**
 * fbuf_watch_init() - make ready for fbuf_watch()
 * @pool: a new pool
 */
void fbuf_watch_init(struct fbuf_pool *pool)
{
	INIT_WORK(&pool->watch_work, fbuf_watch_work);
}

/**
 * fbuf_watch_exit() - end the watch for good
 * @pool: a pool whose last handle is gone
 *
 * Context: may sleep; takes the pool's lock.
 */
void fbuf_watch_exit(struct fbuf_pool *pool)
{
	mutex_lock(&pool->lock);
	pool->dead = true;
	mutex_unlock(&pool->lock);
	/* From here on the work starts the timer no more. */
	hrtimer_cancel(&pool->watch_timer);
	cancel_work_sync(&pool->watch_work);
}

/* Is a buffer to be had? If not, whoever asks is to be told when one is. */
static bool poll_out(struct fbuf_handle *h)
	__must_hold(&h->pool->lock)
{
	h->polls_out = true;
	h->pool->polls_out = true;
	if (!fbuf_at_max_holds(h) && fbuf_to_be_had(h->pool, fbuf_looks(h->pool)))
		return true;
	fbuf_pollers_want(h);
	return false;
}

/**
 * fbuf_poll() - poll a pool fd
 * @file: its file
 * @table: the poll table
 *
 * epoll registers once, and may ask for EPOLLOUT later: so everybody who may
 * ALLOC is on the queue of those who do.
 *
 * Context: may sleep; takes the pool's lock.
 * Return: EPOLLIN if the ring has entries, EPOLLOUT if ALLOC would hand out a
 * buffer.
 */
__poll_t fbuf_poll(struct file *file, struct poll_table_struct *table)
{
	struct fbuf_handle *h = file->private_data;
	struct fbuf_pool *pool = h->pool;
	bool may = h->rights & FBUF_RIGHT_ALLOC;
	__poll_t mask = 0;

	poll_wait(file, &h->wait, table);
	if (may)
		poll_wait(file, &pool->pollers, table);
	mutex_lock(&pool->lock);
	if (h->ring && fbuf_ring_used(h->ring))
		mask |= EPOLLIN | EPOLLRDNORM;
	if (may && poll_requested_events(table) & (EPOLLOUT | EPOLLWRNORM) &&
	    poll_out(h))
		mask |= EPOLLOUT | EPOLLWRNORM;
	mutex_unlock(&pool->lock);
	return mask;
}
