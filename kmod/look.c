// SPDX-License-Identifier: GPL-2.0
/*
 * How often what is in flight is looked at.
 */
#include <linux/jiffies.h>

#include "look.h"
#include "types.h"

/*
 * When a packet lets go of a page, nobody tells, so that buffers in flight have to
 * be looked at. That must not cost the more, the more there are: a call may look in
 * vain at LOOKS_MIN of them, and each that goes into flight pays for LOOKS_PAID
 * more. With that, a buffer is seen to be back within a part of the time that it
 * was away, however many there are.
 */
#define LOOKS_MIN	64U
#define LOOKS_PAID	4U

/* A socket's packets let go in order: if one did not, up to 15 more need no look. */
#define SKIP_SHIFT	(32 - 4)

/* What comes back at all is back by then, but for the slowest of peers. */
#define RECENT_JIFFIES	(HZ / 2)

/* A module parameter, in milliseconds. */
unsigned int fbuf_stuck_ms = 10000;

/**
 * fbuf_buf_age() - is a buffer in flight for long?
 * @buf: the buffer
 *
 * Context: any.
 * Return: FBUF_OLD if it was not sent of late.
 */
enum fbuf_age fbuf_buf_age(const struct fbuf_buf *buf)
{
	unsigned long sent = READ_ONCE(buf->sent);

	return sent && time_before(jiffies, sent + RECENT_JIFFIES) ?
	       FBUF_RECENT : FBUF_OLD;
}

/**
 * fbuf_buf_stuck() - is a buffer in flight for longer than is well?
 * @buf: the buffer
 *
 * Context: any.
 * Return: whether it was sent fbuf_stuck_ms ago, or before.
 */
bool fbuf_buf_stuck(const struct fbuf_buf *buf)
{
	unsigned long sent = READ_ONCE(buf->sent);

	return sent && jiffies_to_msecs(jiffies - sent) >=
		       READ_ONCE(fbuf_stuck_ms);
}

/**
 * fbuf_looks() - how many looks at what is in flight are there for a call?
 * @pool: the pool
 *
 * Only those are meant that find that it still is.
 *
 * Context: the pool's lock is held.
 * Return: their number, at most FBUF_LOOKS_MAX.
 */
unsigned int fbuf_looks(struct fbuf_pool *pool)
{
	unsigned int looks = min(LOOKS_MIN + pool->looks, FBUF_LOOKS_MAX);

	lockdep_assert_held(&pool->lock);
	pool->looks = 0;
	return looks;
}

/**
 * fbuf_looks_pay() - something more will have to be looked at
 * @pool: the pool
 *
 * Context: the pool's lock is held.
 */
void fbuf_looks_pay(struct fbuf_pool *pool)
{
	lockdep_assert_held(&pool->lock);
	pool->looks = min(pool->looks + LOOKS_PAID, FBUF_LOOKS_MAX);
}

/**
 * fbuf_looks_skip() - how many more of its socket need no look after one in vain?
 * @pool: the pool
 *
 * Not always as many, nor as many in a period that those in flight may have too:
 * none is to be skipped each time.
 *
 * Context: the pool's lock is held.
 * Return: their number.
 */
unsigned int fbuf_looks_skip(struct fbuf_pool *pool)
{
	lockdep_assert_held(&pool->lock);
	/* As in Numerical Recipes: all numbers of 32 bits, of which the upper are good. */
	pool->skip = 1664525 * pool->skip + 1013904223;
	return pool->skip >> SKIP_SHIFT;
}
