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

#include "compat.h"
#include "fbuf.h"

#define NAP_FIRST	(NSEC_PER_MSEC)
#define NAP_LAST	(2 * NSEC_PER_MSEC)
/* While notices only wait for room in rings, or for packets that tell. */
#define NAP_FULL	(32 * NSEC_PER_MSEC)

static enum hrtimer_restart watch_fire(struct hrtimer *timer)
{
	struct fbuf_pool *pool = container_of(timer, struct fbuf_pool,
					      watch_timer);

	queue_work(fbuf_wq, &pool->watch_work);
	return HRTIMER_NORESTART;
}

static void watch_start(struct fbuf_pool *pool)
	__must_hold(&pool->lock)
{
	hrtimer_start(&pool->watch_timer, pool->watch_nap, HRTIMER_MODE_REL);
}

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

/*
 * A buffer is to be had. Whoever was told that there is none has to hear of it;
 * else it is an edge, for one of those who were told of others.
 */
static void pollers_wake(struct fbuf_pool *pool)
	__must_hold(&pool->lock)
{
	__wake_up(&pool->pollers, TASK_NORMAL, pool->want_out ? 0 : 1,
		  poll_to_key(EPOLLOUT | EPOLLWRNORM));
	pool->want_out = false;
}

/* Wake pollers if a buffer is to be had; true if they wait for packets. */
static bool watch_pollers(struct fbuf_pool *pool, unsigned int looks)
	__must_hold(&pool->lock)
{
	if (!pool->want_out || !wq_has_sleeper(&pool->pollers))
		return false;
	if (!fbuf_to_be_had(pool, looks))
		return pool->nr_limbo;
	pollers_wake(pool);
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
		pool->watch_nap = packets ? NAP_LAST : NAP_FULL;
		watch_start(pool);
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
 * fbuf_watch() - see to it that somebody looks what is idle
 * @pool: the pool
 *
 * Context: the pool's lock is held.
 */
void fbuf_watch(struct fbuf_pool *pool)
{
	lockdep_assert_held(&pool->lock);
	/* If it only waits for room in rings, others need it sooner. */
	if (pool->dead || (pool->watching && pool->watch_nap != NAP_FULL))
		return;
	pool->watching = true;
	pool->watch_nap = NAP_FIRST;
	watch_start(pool);
}

/**
 * fbuf_pollers_wake() - buffers were freed: tell whoever polls for one
 * @pool: the pool
 *
 * Context: the pool's lock is held.
 */
void fbuf_pollers_wake(struct fbuf_pool *pool)
{
	lockdep_assert_held(&pool->lock);
	/* Not for those who never ask for it, though they are on the queue. */
	if (!pool->polls_out || !wq_has_sleeper(&pool->pollers))
		return;
	if (pool->nr_free || pool->nr_bare)
		pollers_wake(pool);
	else if (pool->want_out && pool->nr_limbo)
		fbuf_watch(pool);
}

static bool at_max_holds(const struct fbuf_handle *h)
	__must_hold(&h->pool->lock)
{
	return h->max_holds && h->nr_holds >= h->max_holds;
}

/**
 * fbuf_pollers_want() - see to it that who polls hears of the next buffer
 * @h: the handle, on which somebody has asked for EPOLLOUT
 *
 * Context: the pool's lock is held.
 */
void fbuf_pollers_want(struct fbuf_handle *h)
{
	struct fbuf_pool *pool = h->pool;

	lockdep_assert_held(&pool->lock);
	pool->want_out = true;
	/* Until it frees one itself, none that comes back is for it. */
	if (pool->nr_limbo && !at_max_holds(h) &&
	    wq_has_sleeper(&pool->pollers))
		fbuf_watch(pool);
}

/**
 * fbuf_watch_init() - make ready for fbuf_watch()
 * @pool: a new pool
 */
void fbuf_watch_init(struct fbuf_pool *pool)
{
	fbuf_hrtimer_setup(&pool->watch_timer, watch_fire);
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
	if (!at_max_holds(h) && fbuf_to_be_had(h->pool, fbuf_looks(h->pool)))
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
