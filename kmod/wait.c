// SPDX-License-Identifier: GPL-2.0
/*
 * Tasks that wait for buffers: ALLOC, WAIT, and writes to protected buffers.
 *
 * When a packet lets go of a page, nobody tells, but the ubuf engine. So whoever
 * waits for a buffer in flight looks again at intervals; FREE wakes him too.
 */
#include <linux/ktime.h>
#include <linux/sched.h>
#include <linux/sched/signal.h>
#include <linux/wait.h>

#include "compat.h"
#include "fbuf.h"

/* On loopback a buffer is back in tens of microseconds; else be patient. */
#define NAP_FIRST	(50 * NSEC_PER_USEC)
#define NAP_LAST	(2 * NSEC_PER_MSEC)
#define NAP_SLACK	(50 * NSEC_PER_USEC)

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
	fbuf_pollers_wake(pool);
}

/* Is this a result to wait on? */
static bool alloc_waits(const struct fbuf_batch *args, int ret)
{
	if (!(args->flags & FBUF_ALLOC_WAIT))
		return false;
	return ret == -EAGAIN ||
	       (ret == -ENOBUFS && !(args->flags & FBUF_ALLOC_UNHELD));
}

/**
 * fbuf_alloc_wait() - fbuf_alloc() as the caller asks for it
 * @h: the handle that will have the holds
 * @names: where their names go
 * @args: how many, and whether to wait
 *
 * Context: may sleep; takes the pool's lock.
 * Return: as fbuf_alloc(), and as fbuf_waiter_sleep().
 */
int fbuf_alloc_wait(struct fbuf_handle *h, u64 *names,
		    const struct fbuf_batch *args)
{
	bool all = args->flags & FBUF_ALLOC_ALL;
	struct fbuf_waiter w;
	int err = 0, ret;

	ret = fbuf_alloc(h, names, args->count, all);
	if (!alloc_waits(args, ret))
		return ret;
	fbuf_waiter_begin(&w, h->pool, args->timeout, TASK_INTERRUPTIBLE);
	for (;;) {
		ret = fbuf_alloc(h, names, args->count, all);
		if (!alloc_waits(args, ret))
			break;
		err = fbuf_waiter_sleep(&w, ret == -EAGAIN);
		if (err)
			break;
	}
	fbuf_waiter_end(&w);
	return err ?: ret;
}

/* Sets @told if there will be a wake-up for each that is not idle. */
static int wait_look(struct fbuf_handle *h, const u64 *names,
		     unsigned int count, bool *told)
{
	struct fbuf_pool *pool = h->pool;
	unsigned int i, idle = 0;
	int index = 0;

	*told = true;
	mutex_lock(&pool->lock);
	for (i = 0; i < count; i++) {
		index = fbuf_buf_check(h, names[i]);
		if (index < 0)
			break;
		if (fbuf_settle(pool, &pool->bufs[index]))
			idle++;
		else if (!pool->bufs[index].told)
			*told = false;
		cond_resched();
	}
	mutex_unlock(&pool->lock);
	return index < 0 ? index : idle;
}

/**
 * fbuf_wait() - wait until buffers are idle
 * @h: the handle that holds them
 * @names: the buffers
 * @args: how many, whether one is enough, and how long
 *
 * Context: may sleep; takes the pool's lock.
 * Return: how many are idle; -EINVAL or -ESTALE for a bad name; as
 * fbuf_waiter_sleep().
 */
int fbuf_wait(struct fbuf_handle *h, const u64 *names,
	      const struct fbuf_batch *args)
{
	int need = args->flags & FBUF_WAIT_ANY ? 1 : args->count;
	struct fbuf_waiter w;
	int err = 0, ret;
	bool told;

	fbuf_waiter_begin(&w, h->pool, args->timeout, TASK_INTERRUPTIBLE);
	for (;;) {
		ret = wait_look(h, names, args->count, &told);
		if (ret < 0 || ret >= need)
			break;
		err = fbuf_waiter_sleep(&w, !told);
		if (err)
			break;
	}
	fbuf_waiter_end(&w);
	return err ?: ret;
}
