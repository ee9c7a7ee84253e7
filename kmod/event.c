// SPDX-License-Identifier: GPL-2.0
/*
 * Events of pools, for those above to tell of, and references to pools that are not
 * a handle's. An event sets a bit and queues the pool's work item: nobody to whom
 * something happens allocates or waits for that.
 */
#include <linux/bits.h>
#include <linux/bitops.h>

#include <linux/fbuf_netlink.h>

#include "event.h"
#include "types.h"
#include "wait.h"

/* Set once, before there is a pool. */
const struct fbuf_teller *fbuf_teller;

/**
 * fbuf_pool_unref() - drop a reference to a pool
 * @pool: the pool, which may be gone then
 *
 * Context: any: who reclaims memory does not wait for the end of a pool.
 */
void fbuf_pool_unref(struct fbuf_pool *pool)
{
	if (refcount_dec_and_test(&pool->life))
		queue_work(fbuf_wq, &pool->end);
}

/**
 * fbuf_event() - tell listeners of something that happened to a pool
 * @pool: the pool, to which the caller has a reference
 * @nr: FBUF_CMD_*_NTF, or FBUF_EVENT_LOOK
 *
 * A moment later the work does so. What happens twice before is told once. That a
 * pool is gone comes by itself.
 *
 * Context: any.
 */
void fbuf_event(struct fbuf_pool *pool, unsigned int nr)
{
	if (!fbuf_teller->listening())
		return;
	set_bit(nr, &pool->events);
	/* The work has a reference until it is done. */
	refcount_inc(&pool->life);
	if (!queue_work(fbuf_wq, &pool->events_work))
		fbuf_pool_unref(pool);
}

static void events_work_fn(struct work_struct *work)
{
	struct fbuf_pool *pool = container_of(work, struct fbuf_pool,
					      events_work);

	fbuf_teller->tell(pool, xchg(&pool->events, 0));
	fbuf_pool_unref(pool);
}

/**
 * fbuf_event_gone() - tell listeners that a pool is gone
 * @pool: the pool, to which nobody has a reference: its other events were told
 *
 * Context: may sleep; takes the pool's lock.
 */
void fbuf_event_gone(struct fbuf_pool *pool)
{
	fbuf_teller->tell(pool, BIT(FBUF_CMD_DESTROYED_NTF));
}

/**
 * fbuf_events_init() - make ready for events
 * @pool: a new pool
 */
void fbuf_events_init(struct fbuf_pool *pool)
{
	INIT_WORK(&pool->events_work, events_work_fn);
}
