// SPDX-License-Identifier: GPL-2.0
/*
 * Those who wait for buffers: tasks in a call or in a write to a protected buffer,
 * pollers, and whoever expects a notice, for whom a timer has the watch look.
 *
 * When a packet lets go of a page, nobody tells, but the ubuf engine. So whoever
 * waits for a buffer in flight looks again at intervals; FREE wakes him too.
 */
#include <linux/hrtimer.h>
#include <linux/ktime.h>
#include <linux/poll.h>
#include <linux/sched.h>
#include <linux/sched/signal.h>
#include <linux/wait.h>

#include "compat.h"
#include "nudge.h"
#include "types.h"
#include "wait.h"

/* On loopback a buffer is back in tens of microseconds; else be patient. */
#define NAP_FIRST	(50 * NSEC_PER_USEC)
#define NAP_LAST	(2 * NSEC_PER_MSEC)
#define NAP_SLACK	(50 * NSEC_PER_USEC)

/* Until the watch first looks, as nobody sleeps in a call. */
#define WATCH_FIRST	(NSEC_PER_MSEC)

/* For work that looks after pools: unloading drains it. */
struct workqueue_struct *fbuf_wq;

/**
 * fbuf_waiter_begin() - start to wait
 * @w: the waiter
 * @pool: the pool, which must stay
 * @timeout: milliseconds to wait at most, or -1
 * @mode: the state to sleep in
 *
 * Then, in a loop, look for what is awaited, and fbuf_waiter_sleep() if it is
 * not there.
 *
 * Context: any.
 */
void fbuf_waiter_begin(struct fbuf_waiter *w, struct fbuf_pool *pool,
		       int timeout, unsigned int mode)
{
	init_waitqueue_func_entry(&w->entry, woken_wake_function);
	w->entry.private = current;
	w->pool = pool;
	w->end = timeout < 0 ? KTIME_MAX :
			       ktime_add_ms(ktime_get(), timeout);
	w->nap = NAP_FIRST;
	w->mode = mode;
	add_wait_queue(&pool->wait, &w->entry);
}

/**
 * fbuf_waiter_sleep() - sleep until it makes sense to look again
 * @w: the waiter
 * @in_flight: what it waits for is in flight, or may be, and there may be no
 *             wake-up when it is not any more
 *
 * Context: may sleep.
 * Return: 0; -ETIMEDOUT; on a signal that the mode allows for -EINTR, or
 * -ERESTARTSYS if there is no timeout.
 */
int fbuf_waiter_sleep(struct fbuf_waiter *w, bool in_flight)
{
	ktime_t now = ktime_get(), until = w->end;

	if (signal_pending_state(w->mode, current))
		return w->end == KTIME_MAX ? -ERESTARTSYS : -EINTR;
	if (ktime_compare(now, w->end) >= 0)
		return -ETIMEDOUT;
	if (in_flight) {
		fbuf_nudge();
		until = min(until, ktime_add_ns(now, w->nap));
		w->nap = min_t(ktime_t, 2 * w->nap, NAP_LAST);
	}
	this_cpu_add(w->pool->counters->waits, 1);

	/* As wait_woken(), but with a finer clock. */
	set_current_state(w->mode);
	if (!(w->entry.flags & WQ_FLAG_WOKEN))
		schedule_hrtimeout_range(until == KTIME_MAX ? NULL : &until,
					 NAP_SLACK, HRTIMER_MODE_ABS);
	__set_current_state(TASK_RUNNING);
	/*
	 * Before the next look: a wake-up after it must not get lost. Pairs with
	 * woken_wake_function().
	 */
	smp_store_mb(w->entry.flags, w->entry.flags & ~WQ_FLAG_WOKEN);
	return 0;
}

/**
 * fbuf_waiter_end() - wait no more
 * @w: the waiter
 *
 * Context: any.
 */
void fbuf_waiter_end(struct fbuf_waiter *w)
{
	remove_wait_queue(&w->pool->wait, &w->entry);
}

/**
 * fbuf_grace_sleep() - sleep before one more try at what others refer to
 * @w: the waiter, of fbuf_grace_begin()
 * @pool: the pool
 *
 * References that pass, as those of page faults do, are waited for, no longer than
 * FBUF_GRACE_MS in all.
 *
 * Context: may sleep.
 * Return: whether to try once more.
 */
bool fbuf_grace_sleep(struct fbuf_waiter *w, struct fbuf_pool *pool)
{
	if (!w->pool)
		fbuf_waiter_begin(w, pool, FBUF_GRACE_MS, TASK_KILLABLE);
	return !fbuf_waiter_sleep(w, true);
}

/**
 * fbuf_grace_end() - what came of it
 * @w: the waiter; it is none any more
 * @err: what the last try returned
 *
 * Context: any.
 * Return: @err, or -EBUSY if that is -EAGAIN.
 */
int fbuf_grace_end(struct fbuf_waiter *w, int err)
{
	if (w->pool)
		fbuf_waiter_end(w);
	return err == -EAGAIN ? -EBUSY : err;
}

static enum hrtimer_restart watch_fire(struct hrtimer *timer)
{
	struct fbuf_pool *pool = container_of(timer, struct fbuf_pool,
					      watch_timer);

	queue_work(fbuf_wq, &pool->watch_work);
	return HRTIMER_NORESTART;
}

/**
 * fbuf_watch_after() - have the watch look
 * @pool: the pool
 * @nap: after so many nanoseconds
 *
 * Context: the pool's lock is held.
 */
void fbuf_watch_after(struct fbuf_pool *pool, ktime_t nap)
{
	lockdep_assert_held(&pool->lock);
	pool->watch_nap = nap;
	hrtimer_start(&pool->watch_timer, nap, HRTIMER_MODE_REL);
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
	if (pool->dead || (pool->watching && pool->watch_nap != FBUF_WATCH_FULL))
		return;
	pool->watching = true;
	fbuf_watch_after(pool, WATCH_FIRST);
}

/**
 * fbuf_pollers_tell() - wake pollers, as a buffer is to be had
 * @pool: the pool
 *
 * Whoever was told that there is none has to hear of it; else it is an edge, for one
 * of those who were told of others.
 *
 * Context: the pool's lock is held.
 */
void fbuf_pollers_tell(struct fbuf_pool *pool)
{
	lockdep_assert_held(&pool->lock);
	__wake_up(&pool->pollers, TASK_NORMAL, pool->want_out ? 0 : 1,
		  poll_to_key(EPOLLOUT | EPOLLWRNORM));
	pool->want_out = false;
}

/* Buffers were freed: tell whoever polls for one. */
static void pollers_wake(struct fbuf_pool *pool)
	__must_hold(&pool->lock)
{
	/* Not for those who never ask for it, though they are on the queue. */
	if (!pool->polls_out || !wq_has_sleeper(&pool->pollers))
		return;
	if (pool->nr_free || pool->nr_bare)
		fbuf_pollers_tell(pool);
	else if (pool->want_out && pool->nr_limbo)
		fbuf_watch(pool);
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
	if (pool->nr_limbo && !fbuf_at_max_holds(h) &&
	    wq_has_sleeper(&pool->pollers))
		fbuf_watch(pool);
}

/**
 * fbuf_wake() - buffers were freed or may be written: tell whoever waits
 * @pool: the pool
 *
 * Context: the pool's lock is held.
 */
void fbuf_wake(struct fbuf_pool *pool)
{
	lockdep_assert_held(&pool->lock);
	if (wq_has_sleeper(&pool->wait))
		wake_up_all(&pool->wait);
	pollers_wake(pool);
}

/**
 * fbuf_wait_init() - make ready for those who wait
 * @pool: a new pool
 */
void fbuf_wait_init(struct fbuf_pool *pool)
{
	init_waitqueue_head(&pool->wait);
	init_waitqueue_head(&pool->pollers);
	fbuf_hrtimer_setup(&pool->watch_timer, watch_fire);
}
